import { describe, expect, test } from 'vitest';
import { parseAmount, parseCurrency } from '../money.ts';
import type { PaymentOrderRequest, PaymentRequest } from '../payment/payment-request.ts';
import { assess, assessLists, type Knowledge } from './assessment.ts';
import { checkoutKey, emptyTally, type Facts, partyKey, usageQuestion } from './facts.ts';
import { parseRuleFile } from './parse-rule-file.ts';
import type { RiskRules } from './risk.ts';

function money(amount: string, code: string): PaymentOrderRequest['money'] {
  const currency = parseCurrency(code)!;
  const parsed = parseAmount(amount, currency);
  if (parsed.kind === 'fault') throw new Error(parsed.message);
  return { amountMinor: parsed.amountMinor, currency };
}

function order(overrides: Partial<PaymentOrderRequest> = {}): PaymentOrderRequest {
  return {
    seller: 'Café Ana',
    money: money('12.50', 'EUR'),
    paymentMethod: 'pm_1',
    platformFeeMinor: null,
    orderRef: null,
    customerPresent: false,
    metadata: {},
    ...overrides,
  };
}

function payment(orders: readonly PaymentOrderRequest[] = [order()], buyer = 'Ana'): PaymentRequest {
  return { checkoutId: 'c', idempotencyKey: 'k', buyer, orders, metadata: {} };
}

function rulesOf(toml: string, builtIn: Partial<RiskRules> = {}): RiskRules {
  const parsed = parseRuleFile(Buffer.from(`name = "n"\n${toml}`));
  if (parsed.kind === 'bad') throw new Error(JSON.stringify(parsed.faults));
  const { ruleSet } = parsed;
  return {
    maxPaymentMinor: new Map(),
    blockedBuyers: new Set(),
    blockedSellers: new Set(),
    ruleSet,
    ...builtIn,
  };
}

const FACTS: Facts = { nowMs: 1_000, usage: new Map(), knownBuyers: new Set(), lookalikes: new Map() };
const know = (facts: Partial<Facts> = {}): Knowledge => ({
  facts: { ...FACTS, ...facts },
  tally: emptyTally(),
});
const UNKNOWN: Knowledge = { facts: { fault: 'the question was cancelled' }, tally: emptyTally() };

const amount = (id: string, action: string, max: string, further = '') =>
  `[[rules]]\nid = "${id}"\nkind = "amount"\nmax = { EUR = "${max}" }\naction = "${action}"\n${further}\n`;
const list = (id: string, action: string, party: string, value: string, further = '') =>
  `[[lists.${id}]]\nvalue = "${value}"\nreason = "because"\n[[rules]]\nid = "${id}"\nkind = "list"\nparty = "${party}"\nlist = "${id}"\naction = "${action}"\n${further}\n`;
const over = (...rules: string[]) => `overrides = [${rules.map((rule) => `"${rule}"`).join(', ')}]`;

describe('block goes before review, review before allow', () => {
  test.each([
    ['nothing hits', amount('a', 'block', '100'), 'allow', 'no rule hit'],
    ['one asks for a review', amount('a', 'review', '1'), 'review', 'a: the payment is over 1.00 EUR'],
    [
      'one asks for a review, another blocks',
      amount('a', 'review', '1') + amount('b', 'block', '2'),
      'block',
      'b: the payment is over 2.00 EUR',
    ],
    [
      'two block',
      amount('a', 'block', '1') + amount('b', 'block', '2'),
      'block',
      'a: the payment is over 1.00 EUR; b: the payment is over 2.00 EUR',
    ],
    [
      'five ask for a review: three are named',
      ['a', 'b', 'c', 'd', 'e'].map((id) => amount(id, 'review', '1')).join(''),
      'review',
      'a: the payment is over 1.00 EUR; b: the payment is over 1.00 EUR; c: the payment is over 1.00 EUR; and 2 more',
    ],
    [
      'an allowed buyer does not outweigh what it does not name',
      amount('a', 'review', '1') +
        amount('b', 'review', '1') +
        list('ok', 'allow', 'buyer', 'Ana', over('b')),
      'review',
      'a: the payment is over 1.00 EUR',
    ],
    [
      'an override takes the named hits away',
      amount('a', 'block', '1') + list('ok', 'allow', 'buyer', 'Ana', over('a')),
      'allow',
      'ok overrides a',
    ],
    [
      'an override of somebody else changes nothing',
      amount('a', 'block', '1') + list('ok', 'allow', 'buyer', 'Bob', over('a')),
      'block',
      'a: the payment is over 1.00 EUR',
    ],
  ])('%s', (_, toml, decision, reason) => {
    expect(assess(payment(), rulesOf(toml), know())).toMatchObject({ decision, reason });
  });

  test('the rules of the configuration stand beside the file, and can be overridden by name', () => {
    const builtIn = { blockedBuyers: new Set(['Ana']) };
    expect(assess(payment(), rulesOf('', builtIn), know())).toMatchObject({
      decision: 'block',
      reason: 'buyer is on the block list',
    });
    const trusting = list('ok', 'allow', 'seller', 'Café Ana', over('config.blocked_buyers'));
    expect(assess(payment(), rulesOf(trusting, builtIn), know()).decision).toBe('allow');
  });
});

describe('shadow', () => {
  test('a rule that would block changes nothing but what is stored', () => {
    const found = assess(payment(), rulesOf(amount('a', 'block', '1', 'mode = "shadow"')), know());
    expect(found).toMatchObject({
      decision: 'allow',
      reason: 'no rule hit',
      shadowDecision: 'block',
      hits: [{ rule: 'a', mode: 'shadow' }],
    });
  });

  test('a rule that would allow overrides nothing', () => {
    const toml =
      amount('a', 'block', '1') + list('ok', 'allow', 'buyer', 'Ana', `${over('a')}\nmode = "shadow"`);
    expect(assess(payment(), rulesOf(toml), know())).toMatchObject({
      decision: 'block',
      shadowDecision: 'allow',
    });
  });

  test('a rule that fails sends nobody to review', () => {
    const toml =
      '[[rules]]\nid = "d"\nkind = "duplicate"\nwindow = "5m"\naction = "block"\nmode = "shadow"\n';
    expect(assess(payment(), rulesOf(toml), UNKNOWN)).toMatchObject({
      decision: 'allow',
      shadowDecision: 'review',
    });
  });
});

describe('what cannot be found out', () => {
  const NEEDY = [
    '[[rules]]\nid = "n"\nkind = "duplicate"\nwindow = "5m"\naction = "block"\n',
    '[[rules]]\nid = "n"\nkind = "velocity"\nby = "buyer"\nwindow = "5m"\nmax_count = 1\naction = "block"\n',
    '[[rules]]\nid = "n"\nkind = "first_time_buyer"\nabove = { EUR = "99" }\naction = "block"\n',
    '[[rules]]\nid = "n"\nkind = "seller_daily_cap"\nmax = { EUR = "99" }\naction = "block"\n',
  ];
  test.each(NEEDY)('%j means review', (toml) => {
    expect(assess(payment(), rulesOf(toml), UNKNOWN)).toMatchObject({
      decision: 'review',
      reason: 'n: the rule could not be evaluated',
      hits: [{ rule: 'n', action: 'review', inputs: { fault: 'the question was cancelled' }, isFault: true }],
    });
  });

  test('is not overridden: nobody knows what would be', () => {
    const toml = NEEDY[0]! + list('ok', 'allow', 'buyer', 'Ana', over('n'));
    expect(assess(payment(), rulesOf(toml), UNKNOWN).decision).toBe('review');
  });

  test('unblocks nobody', () => {
    expect(assess(payment(), rulesOf(NEEDY[0]! + amount('a', 'block', '1')), UNKNOWN).decision).toBe('block');
  });

  test('an entry that expires is for a person, one that does not is as clear as ever', () => {
    const expiring = `[[lists.l]]\nvalue = "Ana"\nreason = "because"\nexpires = 2027-01-31T00:00:00Z\n[[rules]]\nid = "l"\nkind = "list"\nparty = "buyer"\nlist = "l"\naction = "block"\n`;
    expect(assess(payment(), rulesOf(expiring), UNKNOWN).decision).toBe('review');
    expect(assess(payment(), rulesOf(list('l', 'block', 'buyer', 'Ana')), UNKNOWN).decision).toBe('block');
  });
});

describe('rules', () => {
  test('a limit is reached and not exceeded by exactly its amount', () => {
    const rules = rulesOf(amount('a', 'block', '12.50'));
    expect(assess(payment(), rules, know()).decision).toBe('allow');
    const more = payment([order(), order({ money: money('0.01', 'EUR') })]);
    expect(assess(more, rules, know()).decision).toBe('block');
    const other = payment([order(), order({ money: money('9999', 'JPY') })]);
    expect(assess(other, rules, know()).decision).toBe('allow');
  });

  test.each([
    ['buyer', 'Ana'],
    ['seller', 'Second'],
    ['payment_method', 'pm_2'],
  ])('a list knows a %s, in whichever order it stands', (party, value) => {
    const orders = [order(), order({ seller: 'Second', paymentMethod: 'pm_2' })];
    const found = assess(payment(orders), rulesOf(list('l', 'review', party, value)), know());
    expect(found).toMatchObject({
      decision: 'review',
      hits: [{ inputs: { party, value, reason: 'because' } }],
    });
  });

  test('an entry ends at the moment of its expiry', () => {
    const toml = `[[lists.l]]\nvalue = "Ana"\nreason = "because"\nexpires = 1970-01-01T00:00:01Z\n[[rules]]\nid = "l"\nkind = "list"\nparty = "buyer"\nlist = "l"\naction = "block"\n`;
    expect(assess(payment(), rulesOf(toml), know({ nowMs: 999 })).decision).toBe('block');
    expect(assess(payment(), rulesOf(toml), know({ nowMs: 1_000 })).decision).toBe('allow');
  });

  test('velocity adds what is stored, what stands before it in the batch, and itself', () => {
    const toml =
      '[[rules]]\nid = "v"\nkind = "velocity"\nby = "seller"\nwindow = "10m"\nmax_count = 3\naction = "block"\n';
    const key = partyKey('seller', 'Café Ana');
    const usage = new Map([[usageQuestion({ key, span: 600 }), { checkouts: 2, sums: new Map() }]]);
    const knowledge = know({ usage });
    expect(assess(payment(), rulesOf(toml), knowledge).decision).toBe('allow');
    knowledge.tally.usage.set(key, { checkouts: 1, sums: new Map() });
    expect(assess(payment(), rulesOf(toml), knowledge)).toMatchObject({
      decision: 'block',
      reason: 'v: more than 3 checkouts of the seller in 10 minutes',
      hits: [{ inputs: { party: 'seller', value: 'Café Ana', count: 4, max_count: 3, window_s: 600 } }],
    });
  });

  test('a first-time rule concerns amounts above its own, and buyers of whom nothing has succeeded', () => {
    const rules = rulesOf(
      '[[rules]]\nid = "f"\nkind = "first_time_buyer"\nabove = { EUR = "12" }\naction = "review"\n',
    );
    expect(assess(payment(), rules, know()).decision).toBe('review');
    expect(
      assess(payment(), rules, know({ knownBuyers: new Set([partyKey('buyer', 'Ana')]) })).decision,
    ).toBe('allow');
    expect(assess(payment([order({ money: money('12', 'EUR') })]), rules, know()).decision).toBe('allow');
  });
});

describe('checkouts look the same', () => {
  const key = (orders: readonly PaymentOrderRequest[], buyer = 'Ana') => checkoutKey(payment(orders, buyer));
  const [a, b] = [order({ seller: 'a' }), order({ seller: 'b' })];

  test('in any order of their orders, by any method', () => {
    expect(key([a, b])).toBe(key([b, { ...a, paymentMethod: 'pm_2', orderRef: 'r' }]));
  });

  test.each([
    ['another buyer', key([a, b], 'Bob')],
    ['another amount', key([a, { ...b, money: money('12.51', 'EUR') }])],
    ['another currency', key([a, { ...b, money: money('1250', 'JPY') }])],
    ['one order less', key([a])],
    ['one order twice', key([a, a, b])],
  ])('and not with %s', (_, other) => {
    expect(other).not.toBe(key([a, b]));
  });
});

test('an approval asks lists that block and their overrides, and nothing else', () => {
  const toml =
    amount('a', 'block', '1') +
    list('bad', 'block', 'buyer', 'Ana') +
    list('look', 'review', 'buyer', 'Ana') +
    list('ok', 'allow', 'seller', 'Café Ana', over('bad'));
  expect(assessLists(payment(), rulesOf(toml), know())).toMatchObject({ decision: 'allow' });
  const strict = rulesOf(toml.replace('value = "Café Ana"', 'value = "Other"'));
  expect(assessLists(payment(), strict, know())).toMatchObject({
    decision: 'block',
    reason: 'bad: the buyer is on the list bad (because)',
  });
});
