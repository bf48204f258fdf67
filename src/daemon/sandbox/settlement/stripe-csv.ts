/**
 * Stripe's two itemised reports as CSV text: balance change from activity (with the payouts themselves), and payout
 * reconciliation. Amounts in signed major units. Column names: https://docs.stripe.com/reports/report-types
 */
import { amountText, csvCell, type Deposit, type Row, utcText } from './row.ts';
import { stripeUnit } from './stripe-rows.ts';

/** Stripe's reporting categories. Source: https://docs.stripe.com/reports/reporting-categories */
const CATEGORY: Readonly<Record<Row['kind'], string>> = {
  charge: 'charge',
  charge_failure: 'charge_failure',
  refund: 'refund',
  refund_failure: 'refund_failure',
  transfer: 'transfer',
  transfer_reversal: 'transfer_reversal',
  top_up: 'topup',
  dispute: 'dispute',
  dispute_reversal: 'dispute_reversal',
  adjustment: 'other_adjustment',
  reserve: 'risk_reserved_funds',
  mystery: 'sandbox_mystery',
};

const COLUMNS = [
  'balance_transaction_id',
  'created_utc',
  'created',
  'available_on_utc',
  'currency',
  'gross',
  'fee',
  'net',
  'reporting_category',
  'source_id',
  'description',
  'customer_facing_amount',
  'customer_facing_currency',
  'charge_id',
  'payment_intent_id',
  'automatic_payout_id',
  'automatic_payout_effective_at_utc',
  'payment_metadata[paygate_order]',
  'payment_metadata[paygate_operation]',
  'payment_metadata[paygate_key]',
  'refund_metadata[paygate_operation]',
  'transfer_metadata[paygate_operation]',
] as const;
type Column = (typeof COLUMNS)[number];
/** By this column the two reports are told apart. */
const BALANCE_COLUMNS = COLUMNS.filter((column) => column !== 'automatic_payout_effective_at_utc');
type Cells = Readonly<Partial<Record<Column, string>>>;

/** Every row, and a row for each deposit: what the balance comes to. */
export function stripeBalanceCsv(rows: readonly Row[], deposits: readonly Deposit[]): string {
  const byName = new Map(deposits.map((deposit) => [deposit.name, deposit]));
  const lines = [...rows.map((row) => cellsOf(row, byName)), ...deposits.map(cellsOfDeposit)];
  return csv(BALANCE_COLUMNS, lines);
}

/** The rows that were paid out, with the payout that each is in; payouts have no rows of their own. */
export function stripePayoutCsv(rows: readonly Row[], deposits: readonly Deposit[]): string {
  const byName = new Map(deposits.map((deposit) => [deposit.name, deposit]));
  const lines = rows.filter((row) => row.deposit !== null).map((row) => cellsOf(row, byName));
  return csv(COLUMNS, lines);
}

function csv(columns: readonly Column[], lines: readonly Cells[]): string {
  const text = [columns.join(',')];
  for (const cells of lines) text.push(columns.map((column) => csvCell(cells[column] ?? '')).join(','));
  return `${text.join('\n')}\n`;
}

function cellsOf(row: Row, deposits: ReadonlyMap<string, Deposit>): Cells {
  const unit = stripeUnit(row.currency);
  const deposit = row.deposit === null ? undefined : deposits.get(row.deposit);
  const isCharge = row.kind === 'charge';
  const facing = row.facing ?? row;
  return {
    balance_transaction_id: row.name,
    ...timesOf(row.atMs),
    currency: row.currency.toLowerCase(),
    gross: amountText(row.gross, unit),
    fee: amountText(row.fee, unit),
    net: amountText(row.net, unit),
    reporting_category: CATEGORY[row.kind],
    source_id: row.source,
    customer_facing_amount: isCharge ? amountText(facing.gross, stripeUnit(facing.currency)) : '',
    customer_facing_currency: isCharge ? facing.currency.toLowerCase() : '',
    charge_id: row.charge ?? '',
    payment_intent_id: row.payment ?? '',
    automatic_payout_id: deposit?.name ?? '',
    automatic_payout_effective_at_utc: deposit === undefined ? '' : utcText(deposit.atMs),
    'payment_metadata[paygate_order]': row.ours.paygate_order ?? '',
    'payment_metadata[paygate_operation]': row.ours.paygate_operation ?? '',
    'payment_metadata[paygate_key]': row.ours.paygate_key ?? '',
    'refund_metadata[paygate_operation]': isRefund(row) ? (row.own.paygate_operation ?? '') : '',
    'transfer_metadata[paygate_operation]': isRefund(row) ? '' : (row.own.paygate_operation ?? ''),
  };
}

function isRefund({ kind }: Row): boolean {
  return kind === 'refund' || kind === 'refund_failure';
}

function cellsOfDeposit(deposit: Deposit): Cells {
  const unit = stripeUnit(deposit.currency);
  return {
    balance_transaction_id: `txn_${deposit.name.replace('_', '')}`,
    ...timesOf(deposit.atMs),
    currency: deposit.currency.toLowerCase(),
    gross: amountText(-deposit.amount, unit),
    fee: amountText(0, unit),
    net: amountText(-deposit.amount, unit),
    reporting_category: 'payout',
    source_id: deposit.name,
    description: 'STRIPE PAYOUT',
  };
}

function timesOf(atMs: number) {
  const text = utcText(atMs);
  return { created_utc: text, created: text, available_on_utc: text };
}
