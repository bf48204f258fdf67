/** The sandbox's files as the gateway's own readers take them: two sides that were written apart must agree on each line. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openSettlementFile } from '../../../core/settlement/read-settlement.ts';
import type { ReadingEnd, SettlementLine } from '../../../core/settlement/settlement-line.ts';
import { type StripeSandbox, startStripeSandbox } from '../../../testing/stripe-sandbox.ts';

let psp: StripeSandbox;
beforeEach(async () => {
  psp = await startStripeSandbox();
});
afterEach(() => psp.sandbox.close());

type Answer = {
  readonly files: readonly { readonly name: string; readonly text: string }[];
  readonly planted: readonly { readonly plant: string; readonly reference: string }[];
};

async function charge(amount: number, currency: string) {
  return psp.stripe.paymentIntents.create({
    amount,
    currency,
    payment_method: 'pm_card_visa',
    confirm: true,
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    metadata: { paygate_order: `ord_${amount}`, paygate_operation: `op_${amount}` },
  });
}

async function fill(): Promise<void> {
  const intents = [];
  for (let i = 0; i < 30; i += 1) intents.push(await charge(10_000 + i, 'eur'));
  await charge(1_200, 'jpy');
  await charge(5_120, 'kwd');
  await charge(500, 'isk');
  const metadata = { paygate_operation: 'op_77', paygate_order: 'ord_10000' };
  await psp.stripe.refunds.create({ payment_intent: intents[0]!.id, amount: 2_500, metadata });
  const own = { paygate_operation: 'op_88' };
  await psp.stripe.transfers.create({
    amount: 1_000,
    currency: 'eur',
    destination: 'acct_one',
    metadata: own,
  });
  await psp.admin('POST', `payment_intents/${intents[1]!.id}/dispute`, {});
}

async function read(text: string): Promise<{ lines: readonly SettlementLine[]; end: ReadingEnd }> {
  const input = (async function* () {
    yield Buffer.from(text);
  })();
  const reading = await openSettlementFile(input, { format: null, mapping: null, timeZone: null });
  const lines: SettlementLine[] = [];
  for await (const block of reading.blocks) lines.push(...block.lines);
  return { lines, end: await reading.end };
}

async function readFiles(wish: object = {}) {
  const answer = await psp.admin<Answer>('POST', 'settlement', wish);
  const files = await Promise.all(
    answer.files.map(async ({ name, text }) => [name, await read(text)] as const),
  );
  return { answer, files: new Map(files) };
}

const sum = (lines: readonly SettlementLine[], currency: string) =>
  lines.filter((line) => line.currency === currency).reduce((total, line) => total + line.netMinor, 0n);

test('Stripe: each row is a line of the right kind, in minor units of ISO 4217, that nets to nothing', async () => {
  await fill();
  const { files } = await readFiles();
  const { lines, end } = files.get('stripe-balance.csv')!;
  expect(end).toMatchObject({ kind: 'ok', summary: { format: 'stripe_balance' } });
  for (const currency of ['EUR', 'JPY', 'KWD', 'ISK']) expect(sum(lines, currency)).toBe(0n);
  const gross = (currency: string) => lines.find((line) => line.currency === currency)!.grossMinor;
  expect([gross('JPY'), gross('KWD'), gross('ISK')]).toEqual([1_200n, 5_120n, 5n]);
  const count = (kind: string) => lines.filter((line) => line.kind === kind).length;
  expect(['charge', 'refund', 'payout', 'dispute', 'deposit'].map(count)).toEqual([33, 1, 1, 1, 4]);
  for (const line of lines) expect(line.grossMinor - line.feeMinor).toBe(line.netMinor);
  const ours = (kind: string) => lines.find((line) => line.kind === kind)!.ourReference;
  expect([ours('charge'), ours('refund'), ours('payout')]).toEqual(['op_10000', 'op_77', 'op_88']);
});

test('the bank statement brings the deposits of the balance file', async () => {
  await fill();
  const { files } = await readFiles();
  const bank = files.get('bank.camt053.xml')!;
  expect(bank.end).toMatchObject({ kind: 'ok', summary: { format: 'camt053' } });
  const paid = files.get('stripe-balance.csv')!.lines.filter((line) => line.kind === 'deposit');
  const arrived = new Map(bank.lines.map((line) => [line.ourReference, line.netMinor]));
  for (const line of paid)
    expect([...arrived.entries()]).toContainEqual([expect.stringContaining(line.reference!), -line.netMinor]);
  expect(bank.lines).toHaveLength(paid.length);
});

test('the payout file has the same lines under the same keys', async () => {
  await fill();
  const { files } = await readFiles();
  const keys = (name: string) =>
    files
      .get(name)!
      .lines.filter((line) => line.kind !== 'deposit')
      .map((line) => line.lineKey);
  expect(keys('stripe-payouts.csv')).toEqual(keys('stripe-balance.csv'));
});

test('a file with everything planted that can be is still a good file', async () => {
  await fill();
  const plants = [
    ...['missing_line', 'extra_line', 'wrong_amount', 'wrong_fee', 'wrong_currency', 'duplicate_line'],
    ...['extra_refund', 'chargeback', 'direction', 'unclassified', 'late_adjustment', 'reserve'],
    ...['missing_refund', 'returned_payout', 'deposit_missing', 'deposit_differs', 'batch_out_of_balance'],
  ];
  const { answer, files } = await readFiles({ plant: Object.fromEntries(plants.map((name) => [name, 1])) });
  expect(answer.planted.map(({ plant }) => plant).sort()).toEqual([...plants].sort());
  for (const [name, { end }] of files) expect([name, end.kind]).toEqual([name, 'ok']);
  const { lines } = files.get('stripe-balance.csv')!;
  const kindOf = (plant: string) => {
    const { reference } = answer.planted.find((one) => one.plant === plant)!;
    return lines.find((line) => line.reference === reference)?.kind;
  };
  expect(['extra_refund', 'chargeback', 'unclassified', 'late_adjustment', 'reserve'].map(kindOf)).toEqual([
    'refund',
    'dispute',
    'unclassified',
    'adjustment',
    'reserve_held',
  ]);
});

test('Adyen: a batch sums to nothing in each currency, refunds name their payment', async () => {
  const call = async (path: string, body: object) => {
    const response = await fetch(`${psp.sandbox.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': 'adyen_test_one' },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(await response.text());
    return (await response.json()) as { pspReference: string };
  };
  const pay = (value: number, currency: string) =>
    call('/v72/payments', {
      merchantAccount: 'ShopECOM',
      reference: `op_${value}`,
      amount: { value, currency },
      paymentMethod: { type: 'scheme', storedPaymentMethodId: 'stored_authorised' },
      shopperReference: 'buyer',
    });
  const paid = await pay(10_000, 'EUR');
  for (let i = 1; i < 12; i += 1) await pay(10_000 + i, 'EUR');
  await pay(1_200, 'JPY');
  await pay(500, 'ISK');
  await call(`/v72/payments/${paid.pspReference}/refunds`, {
    merchantAccount: 'ShopECOM',
    reference: 'op_77',
    amount: { value: 2_500, currency: 'EUR' },
  });
  const { files } = await readFiles({ psp: 'adyen' });
  const { lines, end } = files.get('adyen-settlement.csv')!;
  expect(end).toMatchObject({ kind: 'ok', summary: { format: 'adyen_settlement', accounts: ['ShopECOM'] } });
  for (const currency of ['EUR', 'JPY', 'ISK']) expect(sum(lines, currency)).toBe(0n);
  const refund = lines.find((line) => line.kind === 'refund')!;
  expect(refund).toMatchObject({
    paymentReference: paid.pspReference,
    ourReference: 'op_77',
    grossMinor: -2_500n,
  });
  const planted = await readFiles({
    psp: 'adyen',
    plant: { missing_line: 1, wrong_fee: 1, duplicate_line: 1, chargeback: 1, direction: 1, unclassified: 1 },
  });
  expect(planted.files.get('adyen-settlement.csv')!.end.kind).toBe('ok');
  expect(planted.answer.planted).toHaveLength(6);
});
