import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseRuleFile } from './parse-rule-file.ts';

function read(toml: string) {
  return parseRuleFile(Buffer.from(toml));
}

function ruleSetOf(toml: string) {
  const parsed = read(toml);
  if (parsed.kind === 'bad') throw new Error(JSON.stringify(parsed.faults));
  return parsed.ruleSet;
}

/** "path: message" of every fault. */
function faultsOf(toml: string): readonly string[] {
  const parsed = read(toml);
  return parsed.kind === 'ok' ? [] : parsed.faults.map(({ path, message }) => `${path}: ${message}`);
}

const NAME = 'name = "n"\n';
const rule = (text: string) => `${NAME}[[rules]]\nid = "r"\n${text}`;
const AMOUNT = 'kind = "amount"\naction = "block"\nmax = { EUR = "1" }\n';
const LIST = '[[lists.l]]\nvalue = "x"\nreason = "because"\n';

describe('a rule file', () => {
  test('in the documentation is usable, and shows every kind of rule', () => {
    const text = readFileSync(new URL('../../../docs/risk.md', import.meta.url), 'utf8');
    const example = /```toml\n(name = [\s\S]*?)```/.exec(text)![1]!;
    const parsed = read(example);
    expect(parsed).toMatchObject({ kind: 'ok', warnings: [] });
    expect(new Set(ruleSetOf(example).rules.map(({ kind }) => kind))).toEqual(
      new Set(['amount', 'velocity', 'list', 'duplicate', 'first_time_buyer', 'seller_daily_cap']),
    );
  });

  test('is known by its name and the hash of its bytes: a comment makes another version', () => {
    const [one, two] = [ruleSetOf(NAME), ruleSetOf(`${NAME}# changed\n`)];
    expect(one.version).toMatch(/^n [0-9a-f]{64}$/);
    expect(two.version).not.toBe(one.version);
    expect(ruleSetOf(NAME).version).toBe(one.version);
  });

  test('reads amounts exactly, times in seconds, names in normal form', () => {
    const set = ruleSetOf(
      `${NAME}review_timeout = "90m"\n[[lists.l]]\nvalue = "Zoe\u0308"\nreason = "because"\nexpires = 2027-01-31T01:00:00+01:00\n[[rules]]\nid = "a"\nkind = "velocity"\nby = "seller"\nwindow = "2d"\nmax_sum = { EUR = "12.5", JPY = "7" }\naction = "review"\n`,
    );
    expect(set.reviewTimeoutS).toBe(5_400);
    expect(set.rules).toEqual([
      {
        id: 'a',
        kind: 'velocity',
        by: 'seller',
        windowS: 172_800,
        maxCount: null,
        maxSum: new Map([
          ['EUR', 1_250n],
          ['JPY', 7n],
        ]),
        action: 'review',
        mode: 'live',
        overrides: [],
      },
    ]);
    expect(set.lists.get('l')?.get('Zoë')?.expiresMs).toBe(Date.UTC(2027, 0, 31));
  });

  test('without rules and a time-out: a review waits a day, and a person is told that nothing is checked', () => {
    const parsed = read(NAME);
    expect(parsed).toMatchObject({ ruleSet: { reviewTimeoutS: 86_400 }, warnings: [{ path: 'rules' }] });
  });

  test.each([
    ['nothing', rule(AMOUNT)],
    [
      'nothing',
      `${NAME}${LIST}[[rules]]\nid = "r"\nkind = "list"\naction = "block"\nparty = "buyer"\nlist = "l"`,
    ],
    [
      'time',
      `${NAME}${LIST}expires = 2027-01-31T00:00:00Z\n[[rules]]\nid = "r"\nkind = "list"\naction = "block"\nparty = "buyer"\nlist = "l"`,
    ],
    ['nothing', `${rule(AMOUNT)}${LIST}expires = 2027-01-31T00:00:00Z\n`],
    ['history', rule('kind = "duplicate"\naction = "review"\nwindow = "5m"\nmode = "shadow"')],
    ['history', rule('kind = "seller_daily_cap"\naction = "review"\nmax = { EUR = "1" }')],
  ])('needs %s for what it holds', (needs, toml) => {
    expect(ruleSetOf(toml).needs).toBe(needs);
  });
});

describe('every fault is said with its place', () => {
  test.each([
    ['not TOML', 'name = "n\n', /^: line 1, column \d+: /],
    ['no name', '', /^name: is missing/],
    ['an unknown field', `${NAME}rulez = 1\n`, /^rulez: is not known here/],
    ['an unknown field of a rule', rule(`${AMOUNT}windw = "1m"`), /^rules\[0\]\.windw: is not known here/],
    [
      'an unknown kind',
      rule('kind = "magic"\naction = "block"'),
      /^rules\[0\]\.kind: kind must be "amount", /,
    ],
    ['an id with spaces', `${NAME}[[rules]]\nid = "a b"\n${AMOUNT}`, /^rules\[0\]\.id: must be a name/],
    ['a number as an amount', rule(AMOUNT.replace('"1"', '1')), /^rules\[0\]\.max\.EUR: must be a text/],
    ['too many decimals', rule(AMOUNT.replace('"1"', '"1.005"')), /^rules\[0\]\.max\.EUR: .*3 decimals/],
    ['no such currency', rule(AMOUNT.replace('EUR', 'EURO')), /^rules\[0\]\.max\.EURO: is not an ISO 4217/],
    ['no amounts', rule(AMOUNT.replace('EUR = "1"', '')), /^rules\[0\]\.max: name at least one currency/],
    [
      'an amount rule that allows',
      rule(AMOUNT.replace('block', 'allow')),
      /^rules\[0\]\.action: .*only a list/,
    ],
    [
      'a window too short',
      rule('kind = "duplicate"\naction = "block"\nwindow = "59s"'),
      /^rules\[0\]\.window: must be from "1m" to "31d"/,
    ],
    [
      'a window too long',
      rule('kind = "duplicate"\naction = "block"\nwindow = "32d"'),
      /^rules\[0\]\.window: must be from/,
    ],
    [
      'a velocity without a limit',
      rule('kind = "velocity"\naction = "block"\nby = "buyer"\nwindow = "5m"'),
      /^rules\[0\]: limits nothing/,
    ],
    [
      'a list that is not there',
      rule('kind = "list"\naction = "block"\nparty = "buyer"\nlist = "gone"'),
      /^rules\[0\]\.list: there is no list "gone"/,
    ],
    [
      'a list rule that allows without overrides',
      `${rule('kind = "list"\naction = "allow"\nparty = "buyer"\nlist = "l"\n')}${LIST}`,
      /^rules\[0\]\.overrides: /,
    ],
    [
      'a list rule that blocks and overrides',
      `${rule('kind = "list"\naction = "block"\nparty = "buyer"\nlist = "l"\noverrides = ["config.max_payment"]\n')}${LIST}`,
      /^rules\[0\]\.overrides: /,
    ],
    [
      'an override of nothing',
      `${rule('kind = "list"\naction = "allow"\nparty = "buyer"\nlist = "l"\noverrides = ["r"]\n')}${LIST}`,
      /^rules\[0\]\.overrides\[0\]: there is no other rule "r"/,
    ],
    ['an entry without a reason', `${NAME}[[lists.l]]\nvalue = "x"\n`, /^lists\.l\[0\]\.reason: is missing/],
    [
      'an expiry in quotes',
      `${NAME}${LIST}expires = "2027-01-31"\n`,
      /^lists\.l\[0\]\.expires: must be a date/,
    ],
    [
      'an expiry without an offset',
      `${NAME}${LIST}expires = 2027-01-31\n`,
      /^lists\.l\[0\]\.expires: must be a date/,
    ],
    [
      'the same id twice',
      `${rule(AMOUNT)}[[rules]]\nid = "r"\n${AMOUNT}`,
      /^rules\[1\]\.id: "r" names another/,
    ],
    ['an id of the configuration', rule(AMOUNT).replace('"r"', '"config.max_payment"'), /^rules\[0\]\.id: /],
  ])('%s', (_, toml, fault) => {
    const faults = faultsOf(toml);
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatch(fault);
  });

  test('all of them at once', () => {
    const toml = `${NAME}review_timeout = "soon"\n[[rules]]\nid = "a"\n${AMOUNT.replace('"1"', '"x"')}[[rules]]\nid = "b"\nkind = "magic"\n`;
    expect(faultsOf(toml).map((fault) => fault.split(':')[0])).toEqual([
      'review_timeout',
      'rules[0].max.EUR',
      'rules[1].kind',
    ]);
  });

  test('bytes that are no text', () => {
    expect(parseRuleFile(Buffer.from([0xff, 0xfe, 0x00]))).toEqual({
      kind: 'bad',
      faults: [{ path: '', message: 'is not UTF-8 text' }],
    });
  });

  test.each([
    ['[]'],
    ['rules = {}'],
    ['lists = []'],
    ['name = "n"\nrules = [1]'],
    ['name = "n"\nlists = { a = 1 }'],
  ])('%j is a list of faults and never an exception', (toml) => {
    expect(read(toml).kind).toBe('bad');
  });
});

test('a list that nobody looks into, and a name that stands there twice, are remarked on', () => {
  const parsed = read(`${NAME}${LIST}${LIST}[[rules]]\nid = "r"\n${AMOUNT}`);
  expect(parsed).toMatchObject({
    kind: 'ok',
    warnings: [{ path: 'lists.l' }, { path: 'lists.l[1].value' }],
  });
});
