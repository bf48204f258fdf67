/** The sandbox's settlement files against its own truth: every cent, every planted mismatch, every kind of currency. */
import { parse } from 'csv-parse/sync';
import { SaxesParser } from 'saxes';
import { afterEach, describe, expect, test } from 'vitest';
import { type StripeSandbox, startStripeSandbox } from '../../../testing/stripe-sandbox.ts';

let psp: StripeSandbox | null = null;
afterEach(async () => {
  await psp?.sandbox.close();
  psp = null;
});

type Row = Readonly<Record<string, string>>;
type Planted = {
  readonly plant: string;
  readonly code: string;
  readonly reference: string;
  readonly amount: { readonly amount: string; readonly currency: string };
};
type Answer = {
  readonly files: readonly { readonly name: string; readonly from: string; readonly text: string }[];
  readonly rows: number;
  readonly planted: readonly Planted[];
  readonly short: readonly string[];
};

async function charge(amount: number, currency: string, method = 'pm_card_visa') {
  return psp!.stripe.paymentIntents.create({
    amount,
    currency,
    payment_method: method,
    confirm: true,
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    metadata: { paygate_order: `ord_${amount}`, paygate_operation: `op_${amount}` },
  });
}

/** Charges of three kinds of currency, a refund, a transfer, a declined card, a dispute. */
async function openShop(): Promise<void> {
  psp = await startStripeSandbox();
  const first = await charge(10_000, 'eur');
  for (let i = 1; i < 12; i += 1) await charge(10_000 + i, 'eur');
  await charge(1_200, 'jpy');
  await charge(5_120, 'kwd');
  await charge(500, 'isk');
  await charge(777, 'eur', 'pm_card_visa_chargeDeclined').catch(() => undefined);
  await psp.stripe.refunds.create({ payment_intent: first.id, amount: 2_500 });
  await psp.stripe.transfers.create({ amount: 1_000, currency: 'eur', destination: 'acct_one' });
  const disputed = await charge(4_000, 'eur');
  await psp.admin('POST', `payment_intents/${disputed.id}/dispute`, {});
}

async function files(wish: object = {}): Promise<Answer> {
  return psp!.admin<Answer>('POST', 'settlement', wish);
}

function textOf(answer: Answer, name: string): string {
  return answer.files.find((file) => file.name === name)!.text;
}

function rowsOf(answer: Answer, name = 'stripe-balance.csv'): readonly Row[] {
  return parse(textOf(answer, name), { columns: true }) as Row[];
}

const cents = (text: string): number => Math.round(Number(text) * 100);

describe('without anything planted', () => {
  test('the balance file comes to nothing once deposits are in it, and every row adds up', async () => {
    await openShop();
    const rows = rowsOf(await files());
    for (const row of rows) expect(cents(row.gross!) - cents(row.fee!)).toBe(cents(row.net!));
    const ofEur = rows.filter((row) => row.currency === 'eur');
    expect(ofEur.reduce((sum, row) => sum + cents(row.net!), 0)).toBe(0);
    const kinds = Map.groupBy(rows, (row) => row.reporting_category!);
    expect(Object.fromEntries([...kinds].map(([kind, found]) => [kind, found.length]))).toEqual({
      charge: 16,
      refund: 1,
      transfer: 1,
      dispute: 1,
      payout: 4,
    });
  });

  test('amounts have the decimals that Stripe counts', async () => {
    await openShop();
    const rows = rowsOf(await files());
    const gross = (currency: string) => rows.find((row) => row.currency === currency)!.gross;
    expect([gross('jpy'), gross('kwd'), gross('isk')]).toEqual(['1200', '5.120', '5.00']);
  });

  test('the gross of all charges is what the truth says was received', async () => {
    await openShop();
    const summary = await psp!.admin<Record<string, { received: number }>>('GET', 'truth/summary');
    const charges = rowsOf(await files()).filter((row) => row.reporting_category === 'charge');
    const eur = charges.filter((row) => row.currency === 'eur');
    expect(eur.reduce((sum, row) => sum + cents(row.gross!), 0)).toBe(summary.eur!.received);
  });

  test('payouts of the second file are the deposits of the first, and of the bank', async () => {
    await openShop();
    const answer = await files();
    const paid = rowsOf(answer).filter((row) => row.reporting_category === 'payout');
    const inPayouts = Map.groupBy(rowsOf(answer, 'stripe-payouts.csv'), (row) => row.automatic_payout_id!);
    for (const row of paid) {
      const members = inPayouts.get(row.source_id!)!;
      expect(members.reduce((sum, member) => sum + cents(member.net!), 0)).toBe(-cents(row.net!));
      expect(textOf(answer, 'bank.camt053.xml')).toContain(`<EndToEndId>${row.source_id}</EndToEndId>`);
    }
    expect(paid).toHaveLength(4);
  });

  test('the bank statement is well-formed and its entries sum to its closing balance', async () => {
    await openShop();
    const text = textOf(await files(), 'bank.camt053.xml');
    new SaxesParser({ xmlns: true }).write(text).close();
    for (const statement of text.match(/<Stmt>[\s\S]*?<\/Stmt>/g)!) {
      const entries = [...statement.matchAll(/<Ntry>\s*<Amt Ccy="\w+">([\d.]+)</g)].map((m) => cents(m[1]!));
      const closing = /CLBD<\/Cd><\/CdOrPrtry><\/Tp><Amt Ccy="\w+">([\d.]+)</.exec(statement)![1]!;
      expect(entries.reduce((sum, amount) => sum + amount, 0)).toBe(cents(closing));
    }
    expect(text).toContain('<Amt Ccy="ISK">5</Amt>');
  });
});

describe('planting', () => {
  test('each row mismatch is in the file exactly as the list says', async () => {
    await openShop();
    const clean = rowsOf(await files());
    const names = ['missing_line', 'extra_line', 'wrong_amount', 'wrong_fee', 'duplicate_line', 'status'];
    const answer = await files({ plant: Object.fromEntries(names.map((name) => [name, 1])) });
    const rows = rowsOf(answer);
    expect(answer.planted.map(({ plant }) => plant)).toEqual(names);
    expect(answer.short).toEqual([]);
    const of = (plant: string, from = rows) => {
      const { reference } = answer.planted.find((one) => one.plant === plant)!;
      return from.filter((row) => row.source_id === reference);
    };
    const amountOf = (plant: string) =>
      cents(answer.planted.find((one) => one.plant === plant)!.amount.amount);
    expect(of('missing_line')).toEqual([]);
    expect(of('missing_line', clean)).toHaveLength(1);
    expect(of('extra_line')).toHaveLength(1);
    expect(of('extra_line', clean)).toEqual([]);
    expect(cents(of('wrong_amount')[0]!.gross!) - cents(of('wrong_amount', clean)[0]!.gross!)).toBe(
      amountOf('wrong_amount'),
    );
    const fee = of('wrong_fee')[0]!;
    expect(cents(fee.gross!) - cents(fee.fee!) - cents(fee.net!)).toBe(-amountOf('wrong_fee'));
    expect(of('duplicate_line')).toHaveLength(2);
    expect(new Set(of('duplicate_line').map((row) => row.balance_transaction_id)).size).toBe(2);
    expect(of('status')[0]!.gross).toBe('7.77');
  });

  test('a batch stays in balance with what was planted, unless that is what was asked for', async () => {
    await openShop();
    const off = async (plant: object) => {
      const rows = rowsOf(await files({ plant }));
      return rows.filter((row) => row.currency === 'eur').reduce((sum, row) => sum + cents(row.net!), 0);
    };
    expect(await off({ missing_line: 2, wrong_amount: 2, chargeback: 1, missing_refund: 1 })).toBe(0);
    expect(await off({ batch_out_of_balance: 4 })).not.toBe(0);
  });

  test('the same seed plants the same, another one elsewhere', async () => {
    await openShop();
    const planted = async (seed: number) => (await files({ seed, plant: { missing_line: 3 } })).planted;
    expect(await planted(5)).toEqual(await planted(5));
    expect(await planted(5)).not.toEqual(await planted(6));
  });

  test('the bank misses or shortens a deposit', async () => {
    await openShop();
    const clean = textOf(await files(), 'bank.camt053.xml');
    const answer = await files({ plant: { deposit_missing: 1, deposit_differs: 1 } });
    const bank = textOf(answer, 'bank.camt053.xml');
    const [missing, differs] = answer.planted;
    expect([missing!.code, differs!.code]).toEqual(['deposit_missing_at_bank', 'deposit_amount_differs']);
    expect(bank).not.toContain(missing!.reference);
    expect(bank).toContain(differs!.reference);
    expect(bank.length).toBeLessThan(clean.length);
  });

  test('says when there is nothing that a plant fits, and refuses what it does not know', async () => {
    await openShop();
    expect((await files({ plant: { returned_payout: 2 } })).short).toEqual(['returned_payout']);
    await expect(files({ plant: { nonsense: 1 } })).rejects.toThrow(/nonsense|Invalid/);
  });
});
