import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createTestHost, type TestHostOptions } from '../testing/cli-host.ts';
import { execute } from './main.ts';

async function run(args: readonly string[], options: TestHostOptions = {}) {
  const { host, out, err } = createTestHost(options);
  const code = await execute(args, host);
  return { code, out: out(), err: err() };
}

const GOLDEN = '../../fixtures/cli';

describe('help', () => {
  test.each([
    ['help', ['--help']],
    ['help-payments', ['payments', '--help']],
    ['help-payments-submit', ['payments', 'submit', '--help']],
    ['help-payments-list', ['help', 'payments', 'list']],
    ['help-payments-resolve', ['help', 'payments', 'resolve']],
    ['help-sellers', ['sellers', '--help']],
    ['help-sellers-destination', ['sellers', 'destination', '--help']],
    ['help-payouts', ['payouts', '--help']],
    ['help-payouts-submit', ['payouts', 'submit', '--help']],
    ['help-payouts-approve', ['payouts', 'approve', '--help']],
    ['help-payouts-resolve', ['payouts', 'resolve', '--help']],
    ['help-payouts-list', ['help', 'payouts', 'list']],
    ['help-wallets-list', ['help', 'wallets', 'list']],
    ['help-ledger', ['help', 'ledger']],
    ['help-payments-retry', ['help', 'payments', 'retry']],
    ['help-payments-cancel', ['help', 'payments', 'cancel']],
    ['help-dlq-list', ['help', 'dlq', 'list']],
    ['help-dlq-replay', ['help', 'dlq', 'replay']],
    ['help-dlq-resolve', ['help', 'dlq', 'resolve']],
    ['help-dlq-discard', ['help', 'dlq', 'discard']],
    ['help-risk', ['help', 'risk']],
    ['help-risk-review', ['help', 'risk', 'review']],
    ['help-risk-test', ['help', 'risk', 'test']],
    ['help-db', ['help', 'db']],
    ['help-daemon', ['help', 'daemon']],
    ['help-sandbox-run', ['help', 'sandbox', 'run']],
    ['help-sandbox-files', ['help', 'sandbox', 'files']],
    ['help-reconcile', ['reconcile', '--help']],
    ['help-breaks', ['breaks', '--help']],
    ['help-breaks-list', ['help', 'breaks', 'list']],
    ['help-breaks-resolve', ['help', 'breaks', 'resolve']],
    ['help-exit-codes', ['help', 'exit-codes']],
  ])('%s is as it was agreed', async (name, args) => {
    const { code, out, err } = await run(args);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    await expect(out).toMatchFileSnapshot(`${GOLDEN}/${name}.txt`);
  });

  test('no line of any help is wider than 100 columns', async () => {
    for (const args of [
      ['--help'],
      ['payments', 'submit', '--help'],
      ['payments', 'resolve', '--help'],
      ['payouts', 'submit', '--help'],
      ['payouts', 'approve', '--help'],
      ['sellers', 'destination', '--help'],
      ['dlq', 'replay', '--help'],
      ['reconcile', '--help'],
      ['breaks', 'resolve', '--help'],
      ['sandbox', 'files', '--help'],
      ['help', 'exit-codes'],
    ]) {
      const { out } = await run(args);
      expect(out.split('\n').filter((line) => line.length > 100)).toEqual([]);
    }
  });

  test('the version is printed', async () => {
    expect(await run(['--version'])).toEqual({ code: 0, out: '0.1.0\n', err: '' });
  });
});

describe('a command line that is not understood ends with 2 and says where to read on', () => {
  test.each([
    [['lst'], "error: unknown command 'lst'\nSee: paygate --help\n"],
    [
      ['payments', 'lis'],
      "error: unknown command 'lis'\n(Did you mean list?)\nSee: paygate payments --help\n",
    ],
    [
      ['payments', 'submit', '--bogus'],
      "error: unknown option '--bogus'\nSee: paygate payments submit --help\n",
    ],
    [['payments', 'show'], "error: missing required argument 'id'\nSee: paygate payments show --help\n"],
    [
      ['payments', 'list', '--limit', '0'],
      "error: option '--limit <count>' argument '0' is invalid. It must be a whole number from 1 to 1000.\n" +
        'See: paygate payments list --help\n',
    ],
    [
      ['payments', 'list', '-o', 'xml'],
      "error: option '-o, --output <format>' argument 'xml' is invalid. Allowed choices are table, json, ndjson, csv.\n" +
        'See: paygate payments list --help\n',
    ],
    [['help', 'nothing'], "error: there is no help on 'nothing'\nSee: paygate --help\n"],
  ])('%j', async (args, err) => {
    expect(await run(args)).toEqual({ code: 2, out: '', err });
  });

  test('a missing command shows the commands there are', async () => {
    const { code, out, err } = await run(['payments']);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain('submit');
    expect(err).toContain('error: a command is missing');
  });

  test('under JSON the error is one line of JSON and nothing else', async () => {
    for (const args of [
      ['payments', '-o', 'json'],
      ['-ojson', 'payments', 'lis'],
      ['--output=ndjson', 'ledger', 'entries', '--limit', 'x'],
    ]) {
      const { code, out, err } = await run(args);
      expect({ code, out }).toEqual({ code: 2, out: '' });
      expect(JSON.parse(err)).toMatchObject({ error: { code: 'usage', exit_code: 2 } });
      expect(err.trimEnd()).not.toContain('\n');
    }
  });

  test('a card number on the command line is not repeated', async () => {
    const { err } = await run(['payments', 'list', '--4111111111111111']);
    expect(err).toContain('[card number]');
    expect(err).not.toContain('4111');
  });

  test('an escape sequence on the command line does not reach the terminal', async () => {
    const { err } = await run(['payments', 'show', 'a', '\u001b[31mred\u001b[0m']);
    expect(err).not.toContain('\u001b');
  });
});

test('whatever the words, the answer is an exit code and never a stack trace', async () => {
  const word = fc.oneof(
    fc.constantFrom(
      'payments',
      'submit',
      'list',
      'show',
      'wallets',
      'ledger',
      'entries',
      'verify',
      'dlq',
      'payouts',
      'approve',
      'sellers',
      'help',
    ),
    fc.constantFrom(
      '-o',
      'json',
      '--limit',
      '--cursor',
      '--confirm',
      '--yes',
      '-n',
      '--',
      '-',
      '--no-input',
      '-q',
    ),
    fc.string({ maxLength: 12 }),
    fc.string({ maxLength: 8, unit: 'binary' }),
  );
  const env = { PAYGATE_CONFIG: '/nonexistent/paygate.toml' };
  await fc.assert(
    fc.asyncProperty(fc.array(word, { maxLength: 7 }), async (args) => {
      // Two commands need no configuration: they would run.
      fc.pre(!args.includes('demo') && !args.includes('sandbox'));
      const { code, err } = await run(args, { env });
      expect([0, 2]).toContain(code);
      expect(err).not.toMatch(/\n\s+at |internal error [0-9a-f]/);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: that none gets through is the point
      expect(err).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    }),
    { numRuns: 300 },
  );
});

describe('how a command ends', () => {
  const CONFIG_IS_MISSING = { PAYGATE_CONFIG: '/nonexistent/paygate.toml' };

  test('a message for the operator is one line, with the exit code of its kind', async () => {
    const { code, err } = await run(['payments', 'list'], { env: CONFIG_IS_MISSING });
    expect(code).toBe(2);
    expect(err).toBe('error: There is no configuration file /nonexistent/paygate.toml.\n');
  });

  test('a mistake of ours has an id and no stack trace, unless asked for', async () => {
    const loaders = {
      startSandbox: async () => ({
        startSandbox: () => Promise.reject(new TypeError('boom')),
      }),
    };
    const plain = await run(['sandbox', 'run'], { loaders });
    expect(plain.code).toBe(3);
    expect(plain.err).toMatch(/^error: internal error [0-9a-f]{8}: .*\nRun the command again with -v .*\n$/);
    const verbose = await run(['-v', 'sandbox', 'run'], { loaders });
    expect(verbose.err).toContain('TypeError: boom\n    at ');
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s ends a command that has nothing to bring to an end', async (signal, expected) => {
    const { host, interrupt } = createTestHost({
      loaders: { startSandbox: () => new Promise<never>(() => undefined) },
    });
    const running = execute(['sandbox', 'run'], host);
    setTimeout(() => interrupt(signal), 20);
    expect(await running).toBe(expected);
  });

  test('the sandbox is closed when a signal comes', async () => {
    let closed = false;
    const close = async () => {
      closed = true;
    };
    const { host, interrupt, out } = createTestHost({
      loaders: {
        startSandbox: async () => ({
          startSandbox: async ({ port }) => ({ url: `http://127.0.0.1:${port}`, port, close }),
        }),
      },
    });
    const running = execute(['sandbox', 'run', '--port', '12345', '-o', 'json'], host);
    setTimeout(() => interrupt('SIGTERM'), 50);
    expect(await running).toBe(0);
    expect(closed).toBe(true);
    expect(JSON.parse(out())).toEqual({ url: 'http://127.0.0.1:12345', port: 12345 });
  });
});
