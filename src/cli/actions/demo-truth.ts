/**
 * Holds the books against the sandbox's own truth, order by order: what was charged there and what we say.
 * Reads both sides, believes neither.
 */
import { z } from 'zod';
import type { Db } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import type { Currency } from '../../core/money.ts';
import { publicStateOf } from '../../core/operation/operation.ts';
import { listPaymentIds, listPaymentRows } from '../../core/payment/payment-store.ts';
import { toStripeAmount } from '../../core/psp/stripe-minor-unit.ts';

const intentSchema = z.object({
  status: z.string(),
  currency: z.string(),
  amount_received: z.number(),
  metadata: z.record(z.string(), z.string()),
});

export type Difference = { readonly orderId: string; readonly there: string; readonly here: string };

const TRUTH_TIMEOUT_MS = 30_000;
const PAGE = 1_000;

/** Every order whose money differs between the sandbox and the books; an empty sandbox is an error. */
export async function compareWithTruth(
  db: Db,
  sandboxUrl: string,
): Promise<{ readonly intents: number; readonly differences: readonly Difference[] }> {
  const charged = await readTruth(sandboxUrl);
  const differences: Difference[] = [];
  for (let beforeId: bigint | null = null; ; ) {
    const ids = await listPaymentIds(db, {
      beforeId,
      limit: PAGE,
      buyer: null,
      seller: null,
      batchId: null,
      subStates: null,
    });
    for (const row of await listPaymentRows(db, ids)) {
      const orderId = formatId('order', row.orderId);
      const there = (charged.moved.get(orderId) ?? []).join(' + ') || 'nothing';
      charged.moved.delete(orderId);
      const succeeded = publicStateOf(row.subState) === 'SUCCESS';
      const here = succeeded ? inStripeUnits(row.amountMinor, row.currency as Currency) : 'nothing';
      if (there !== here) differences.push({ orderId, there, here });
    }
    if (ids.length < PAGE) break;
    beforeId = ids.at(-1)!;
  }
  for (const [orderId, moved] of charged.moved) {
    differences.push({ orderId, there: moved.join(' + '), here: 'no such order' });
  }
  return { intents: charged.intents, differences };
}

function inStripeUnits(amountMinor: bigint, currency: Currency): string {
  const amount = toStripeAmount(amountMinor, currency);
  return amount.kind === 'ok' ? `${amount.amount} ${currency.toLowerCase()}` : 'not expressible';
}

/** Money really moved, per order, as texts like "1250 eur"; two texts are two charges. */
async function readTruth(url: string): Promise<{ intents: number; moved: Map<string, string[]> }> {
  const response = await fetch(`${url}/_sandbox/truth?format=ndjson`, {
    signal: AbortSignal.timeout(TRUTH_TIMEOUT_MS),
  });
  const lines = (await response.text()).split('\n').filter((line) => line !== '');
  if (!response.ok || lines.length === 0) {
    throw new OperatorError(
      'sandbox_empty',
      'The sandbox shows no payment at all: nothing can be compared.',
      {
        kind: 'failed',
      },
    );
  }
  const moved = new Map<string, string[]>();
  for (const line of lines) {
    const intent = intentSchema.parse(JSON.parse(line));
    if (intent.amount_received === 0) continue;
    const orderId = intent.metadata.paygate_order ?? '(no order)';
    moved.set(orderId, [...(moved.get(orderId) ?? []), `${intent.amount_received} ${intent.currency}`]);
  }
  return { intents: lines.length, moved };
}
