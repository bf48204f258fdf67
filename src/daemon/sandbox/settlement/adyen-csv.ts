/**
 * Adyen's settlement details report as CSV text: unsigned debit and credit pairs in major units, a batch for each day, its
 * payouts as rows. Columns: https://docs.adyen.com/reporting/settlement-reconciliation/transaction-level/settlement-details-report
 */
import { adyenUnit } from './adyen-rows.ts';
import { amountText, csvCell, type Deposit, dayOf, type Row, utcText } from './row.ts';

const TYPE: Readonly<Record<Row['kind'], string>> = {
  charge: 'Settled',
  charge_failure: 'SettledReversed',
  refund: 'Refunded',
  refund_failure: 'RefundedReversed',
  transfer: 'Balancetransfer',
  transfer_reversal: 'Balancetransfer',
  top_up: 'DepositCorrection',
  dispute: 'Chargeback',
  dispute_reversal: 'ChargebackReversed',
  adjustment: 'ManualCorrected',
  reserve: 'ReserveAdjustment',
  mystery: 'SandboxMystery',
};

const COLUMNS = [
  'Company Account',
  'Merchant Account',
  'Psp Reference',
  'Merchant Reference',
  'Payment Method',
  'Creation Date',
  'TimeZone',
  'Type',
  'Modification Reference',
  'Gross Currency',
  'Gross Debit (GC)',
  'Gross Credit (GC)',
  'Exchange Rate',
  'Net Currency',
  'Net Debit (NC)',
  'Net Credit (NC)',
  'Commission (NC)',
  'Markup (NC)',
  'Scheme Fees (NC)',
  'Interchange (NC)',
  'Payment Method Variant',
  'Modification Merchant Reference',
  'Batch Number',
] as const;
type Column = (typeof COLUMNS)[number];
type Cells = Readonly<Partial<Record<Column, string>>>;

/** Batches are numbered by their days: the same day has the same number in a corrected file. */
export function adyenSettlementCsv(
  rows: readonly Row[],
  deposits: readonly Deposit[],
  merchantAccount: string,
): string {
  const account = { 'Company Account': 'Sandbox', 'Merchant Account': merchantAccount, TimeZone: 'UTC' };
  const settled = rows.filter((row) => row.deposit !== null);
  const lines: readonly Cells[] = [...settled.map(cellsOf), ...deposits.map(cellsOfDeposit)];
  const text = [COLUMNS.join(',')];
  for (const cells of lines) {
    const whole: Cells = { ...account, ...cells };
    text.push(COLUMNS.map((column) => csvCell(whole[column] ?? '')).join(','));
  }
  return `${text.join('\n')}\n`;
}

/** Days since 1970: rises by one each day, like Adyen's numbers. */
function batchOf(atMs: number): string {
  return String(Date.parse(dayOf(atMs)) / 86_400_000);
}

function cellsOf(row: Row): Cells {
  const unit = adyenUnit(row.currency);
  const isCharge = row.kind === 'charge';
  const facing = row.facing ?? row;
  const hasPayment = row.payment !== null;
  return {
    'Psp Reference': row.payment ?? '',
    'Merchant Reference': row.ours.reference ?? '',
    'Payment Method': hasPayment ? 'visa' : '',
    'Creation Date': utcText(row.atMs),
    Type: TYPE[row.kind],
    'Modification Reference': row.source,
    'Gross Currency': facing.currency,
    ...sides('Gross', '(GC)', facing.gross, adyenUnit(facing.currency)),
    'Exchange Rate': row.facing === undefined ? '1' : (row.gross / facing.gross).toFixed(12),
    'Net Currency': row.currency,
    ...sides('Net', '(NC)', row.net, unit),
    ...(isCharge ? { 'Commission (NC)': amountText(row.fee, unit) } : {}),
    ...(!isCharge && row.fee !== 0 ? { 'Markup (NC)': amountText(row.fee, unit) } : {}),
    'Payment Method Variant': hasPayment ? 'visastandarddebit' : '',
    'Modification Merchant Reference': row.own.modification ?? '',
    'Batch Number': batchOf(row.atMs),
  };
}

function cellsOfDeposit(deposit: Deposit): Cells {
  const unit = adyenUnit(deposit.currency);
  return {
    'Creation Date': utcText(deposit.atMs),
    Type: 'MerchantPayout',
    'Modification Reference': deposit.name,
    'Net Currency': deposit.currency,
    ...sides('Net', '(NC)', -deposit.amount, unit),
    'Batch Number': batchOf(deposit.atMs),
  };
}

function sides(
  what: 'Gross' | 'Net',
  tail: '(GC)' | '(NC)',
  amount: number,
  unit: { decimals: number; step: number },
) {
  const text = amountText(Math.abs(amount), unit);
  return amount < 0 ? { [`${what} Debit ${tail}`]: text } : { [`${what} Credit ${tail}`]: text };
}
