/** The file of the reconciliation's benchmark: Stripe's itemised balance report, one row per charge of the book. */

import { once } from 'node:events';
import { createWriteStream } from 'node:fs';

const HEADER =
  'balance_transaction_id,created_utc,available_on_utc,currency,gross,fee,net,reporting_category,source_id,description,charge_id,payment_intent_id,automatic_payout_id,payment_metadata[paygate_operation]';
const ROWS_AT_ONCE = 5_000;

/** Amount of the n-th charge in cents; the same for book and file. */
export function amountOf(n: number): number {
  return 1_000 + (n % 5_000);
}

/** The PSP's name of the n-th charge. */
export function referenceOf(n: number): string {
  return `pi_3QbenchK${String(n).padStart(15, '0')}`;
}

function decimal(cents: number): string {
  return `${Math.trunc(cents / 100)}.${String(cents % 100).padStart(2, '0')}`;
}

function rowOf(n: number): string {
  const gross = amountOf(n);
  const fee = 25 + Math.round(gross * 0.015);
  const name = String(n).padStart(15, '0');
  const minute = String(n % 60).padStart(2, '0');
  return `txn_3QbenchT${name},2026-11-20 10:${minute}:00,2026-11-24 00:00:00,eur,${decimal(gross)},${decimal(fee)},${decimal(gross - fee)},charge,ch_3QbenchC${name},Order ${n},ch_3QbenchC${name},${referenceOf(n)},po_1Qbench${String(Math.floor(n / 50_000)).padStart(6, '0')},\n`;
}

/** Writes rows `first` to `first + count - 1`. */
export async function writeSettlementFile(path: string, first: number, count: number): Promise<void> {
  const stream = createWriteStream(path);
  stream.write(`${HEADER}\n`);
  for (let from = first; from < first + count; from += ROWS_AT_ONCE) {
    const rows = Array.from({ length: Math.min(ROWS_AT_ONCE, first + count - from) }, (_, i) =>
      rowOf(from + i),
    );
    if (!stream.write(rows.join(''))) await once(stream, 'drain');
  }
  stream.end();
  await once(stream, 'finish');
}
