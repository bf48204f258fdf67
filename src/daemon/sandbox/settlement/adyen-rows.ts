/**
 * What moved on the sandbox's Adyen merchant account: captures and refunds. Transfers leave another account (the balance
 * platform's), which has reports of its own. Reads the truth; knows no file.
 */
import type { AdyenRecord, DisputeRecord, ModificationRecord, PaymentRecord } from '../adyen/records.ts';
import type { AdyenState } from '../adyen/state.ts';
import { feeOfCharge, feeOfDispute, type Row, type Unit } from './row.ts';
import type { PspRows } from './stripe-rows.ts';

/** Decimals where Adyen's table differs from ISO 4217, and the zero- and three-decimal currencies. */
const TWO_FOR_ZERO = new Set(['CLP', 'ISK']);
const ZERO = new Set('BIF CVE DJF GNF IDR JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF'.split(' '));
const THREE = new Set('BHD IQD JOD KWD LYD OMR TND'.split(' '));

/** How Adyen counts a currency (upper case). */
export function adyenUnit(currency: string): Unit {
  if (ZERO.has(currency)) return { decimals: 0, step: 1 };
  if (THREE.has(currency)) return { decimals: 3, step: 1 };
  return { decimals: 2, step: TWO_FOR_ZERO.has(currency) ? 100 : 1 };
}

/** Every movement of one merchant account, in the order in which they happened; null: of all accounts. */
export function adyenRows(state: AdyenState, merchantAccount: string | null): PspRows {
  const records = [...state.all()].filter(
    (record) =>
      merchantAccount === null || (record.kind !== 'transfer' && record.merchantAccount === merchantAccount),
  );
  const rows = records.flatMap((record) => rowsOf(record, state));
  const failed = records.flatMap((record) =>
    record.kind === 'payment' && record.status === 'refused' ? [paymentRow(record)] : [],
  );
  return { rows: rows.toSorted((left, right) => left.atMs - right.atMs), failed };
}

function rowsOf(record: AdyenRecord, state: AdyenState): readonly Row[] {
  if (record.kind === 'payment') return record.status === 'authorised' ? [paymentRow(record)] : [];
  if (record.kind === 'dispute') return disputeRows(record, state);
  if (record.kind === 'transfer' || record.type === 'capture' || record.type === 'cancel') return [];
  return record.status === 'succeeded' ? [refundRow(record, state)] : [];
}

function paymentRow(record: PaymentRecord): Row {
  const { currency, value } = record.amount;
  const fee = feeOfCharge(value, adyenUnit(currency));
  return {
    kind: 'charge',
    name: `${record.name}-settled`,
    source: record.name,
    payment: record.name,
    charge: record.name,
    ours: { reference: record.reference },
    own: {},
    currency,
    gross: value,
    fee,
    net: value - fee,
    atMs: record.createdMs,
    deposit: null,
  };
}

function refundRow(record: ModificationRecord, state: AdyenState): Row {
  const payment = state.find(record.payment);
  const { currency, value } = record.amount;
  return {
    kind: 'refund',
    name: `${record.name}-refunded`,
    source: record.name,
    payment: record.payment,
    charge: record.payment,
    ours: { reference: payment?.reference ?? '' },
    own: { modification: record.reference },
    currency,
    gross: -value,
    fee: 0,
    net: -value,
    atMs: record.createdMs,
    deposit: null,
  };
}

/** What is only announced has taken nothing yet. */
function disputeRows(record: DisputeRecord, state: AdyenState): readonly Row[] {
  if (record.status === 'announced') return [];
  const payment = state.find(record.payment);
  const { currency, value } = record.amount;
  const fee = feeOfDispute(adyenUnit(currency));
  const opened: Row = {
    kind: 'dispute',
    name: `${record.name}-chargeback`,
    source: record.name,
    payment: record.payment,
    charge: record.payment,
    ours: { reference: payment?.reference ?? '' },
    own: {},
    currency,
    gross: -value,
    fee,
    net: -value - fee,
    atMs: record.createdMs,
    deposit: null,
  };
  if (record.status !== 'won') return [opened];
  const back = { kind: 'dispute_reversal', name: `${record.name}-reversed`, gross: value, fee: 0 } as const;
  return [opened, { ...opened, ...back, net: value, atMs: record.createdMs + 1 }];
}
