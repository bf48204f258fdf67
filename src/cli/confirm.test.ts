import { describe, expect, test } from 'vitest';
import { OperatorError } from '../core/errors.ts';
import { parseCurrency } from '../core/money.ts';
import { createTestHost, type TestHostOptions } from '../testing/cli-host.ts';
import { confirmOne, confirmTotal } from './confirm.ts';
import { createSession, type Globals } from './session.ts';

const TOTALS = new Map([
  [parseCurrency('EUR')!, 4_821_055n],
  [parseCurrency('JPY')!, 1_200n],
]);

const GLOBALS: Globals = {
  output: 'table',
  color: true,
  input: true,
  quiet: false,
  verbose: false,
  configPath: null,
  env: null,
  dryRun: false,
  yes: false,
  confirm: null,
  reason: null,
};

function session(globals: Partial<Globals>, host: TestHostOptions = {}) {
  return createSession(createTestHost(host).host, { ...GLOBALS, ...globals });
}

async function codeOf(promise: Promise<void>): Promise<string> {
  try {
    await promise;
    return 'confirmed';
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    expect(error.kind).toBe('refused');
    return error.code;
  }
}

describe('a batch', () => {
  const confirm = (globals: Partial<Globals>, host?: TestHostOptions) =>
    codeOf(confirmTotal(session(globals, host), TOTALS, 'stdin'));

  test.each(['48210.55EUR,1200JPY', '48210.55 EUR, 1200 JPY', '48210.55eur,1200jpy'])(
    'is confirmed by %s',
    async (text) => {
      expect(await confirm({ confirm: text })).toBe('confirmed');
      expect(await confirm({}, { answers: [text] })).toBe('confirmed');
    },
  );

  test.each(['', '48210.55EUR', '1200JPY,48210.55EUR', '48210.5EUR,1200JPY', 'y'])(
    'is not confirmed by "%s"',
    async (text) => {
      expect(await confirm({ confirm: text })).toBe('confirm_differs');
      expect(await confirm({}, { answers: [text] })).toBe(text === '' ? 'not_confirmed' : 'confirm_differs');
    },
  );

  test('is not confirmed by --yes', async () => {
    expect(await confirm({ yes: true })).toBe('not_confirmed');
  });

  test('is refused where nobody can be asked, naming the flag', async () => {
    await expect(confirmTotal(session({}), TOTALS, 'stdin')).rejects.toThrow('--confirm 48210.55EUR,1200JPY');
    expect(await confirm({ input: false }, { answers: ['48210.55EUR,1200JPY'] })).toBe('not_confirmed');
    expect(await confirm({}, { answers: [] })).toBe('not_confirmed');
  });

  test('is asked about on the terminal when standard input is the file', async () => {
    const asked: string[] = [];
    const host = { answers: ['48210.55EUR,1200JPY'], onAsk: (_: string, where: string) => asked.push(where) };
    await confirmTotal(session({}, host), TOTALS, 'terminal');
    expect(asked).toEqual(['terminal']);
  });
});

describe('one payment', () => {
  const confirm = (globals: Partial<Globals>, host?: TestHostOptions) =>
    codeOf(confirmOne(session(globals, host), 'Charge?', TOTALS));

  test('is confirmed by --yes, by y, by yes and by its total', async () => {
    expect(await confirm({ yes: true })).toBe('confirmed');
    expect(await confirm({ confirm: '48210.55EUR,1200JPY' })).toBe('confirmed');
    expect(await confirm({}, { answers: ['y'] })).toBe('confirmed');
    expect(await confirm({}, { answers: ['YES '] })).toBe('confirmed');
  });

  test('is not confirmed by anything else', async () => {
    for (const text of ['', 'n', 'ja', 'yy'])
      expect(await confirm({}, { answers: [text] })).toBe('not_confirmed');
    expect(await confirm({ confirm: '1EUR', yes: true })).toBe('confirm_differs');
    await expect(confirmOne(session({}), 'Charge?', TOTALS)).rejects.toThrow('--yes');
  });
});
