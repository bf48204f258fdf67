/** What a submission would do, found out by reading only: what is new, what is there already, what conflicts. */
import type { Queryable } from '../../core/db/connection.ts';
import { formatId } from '../../core/ids.ts';
import type { FingerprintedRequest } from '../../core/payment/accept-payments.ts';
import { findKnownRequests, type KnownRequest } from '../../core/payment/payment-store.ts';
import type { Block } from '../render/table.ts';
import { countText, sumUp, type Totals, totalsCode, totalsJson, totalsText } from '../words.ts';
import type { PaymentInput } from './read-payment-input.ts';

/** A payment of the input that the book refuses, for it knows its name with other content. */
export type Conflict = {
  readonly line: number;
  readonly checkoutId: string;
  readonly code: string;
  readonly message: string;
  readonly paymentId: string | null;
};

export type Plan = {
  readonly payments: number;
  readonly orders: number;
  readonly totals: Totals;
  readonly fresh: number;
  readonly freshTotals: Totals;
  readonly existing: number;
  readonly deduplicated: number;
  readonly conflicts: readonly Conflict[];
  /** Of those that are there already. */
  readonly knownPaymentIds: readonly bigint[];
};

/** Names looked up in one query. */
const LOOKUP = 1_000;

/** Looks up every name of the input; `requests` in the order of its payments. Changes nothing. */
export async function planSubmission(
  on: Queryable,
  input: PaymentInput,
  requests: readonly FingerprintedRequest[],
): Promise<Plan> {
  const known = new Map<number, KnownRequest>();
  for (let start = 0; start < requests.length; start += LOOKUP) {
    const chunk = requests.slice(start, start + LOOKUP).map((item) => item.request);
    for (const hit of await findKnownRequests(on, chunk)) known.set(start + hit.index, hit);
  }
  const conflicts: Conflict[] = [];
  const knownPaymentIds: bigint[] = [];
  const counts = { fresh: 0, existing: 0, deduplicated: 0 };
  for (const [index, { line }] of input.payments.entries()) {
    const fate = fateOf(requests[index]!, known.get(index));
    if (fate.kind === 'conflict') {
      conflicts.push({ line, checkoutId: requests[index]!.request.checkoutId, ...fate.conflict });
      continue;
    }
    counts[fate.kind] += 1;
    if (fate.kind !== 'fresh') knownPaymentIds.push(fate.paymentId);
  }
  const isFresh = (index: number) => !known.has(index);
  return {
    payments: input.payments.length,
    orders: input.payments.reduce((sum, { request }) => sum + request.orders.length, 0),
    totals: input.totals,
    freshTotals: sumUp(
      input.payments
        .filter((_, i) => isFresh(i))
        .flatMap(({ request }) => request.orders.map((o) => o.money)),
    ),
    conflicts,
    knownPaymentIds,
    ...counts,
  };
}

type Fate =
  | { readonly kind: 'fresh' }
  | { readonly kind: 'existing' | 'deduplicated'; readonly paymentId: bigint }
  | { readonly kind: 'conflict'; readonly conflict: Pick<Conflict, 'code' | 'message' | 'paymentId'> };

/** The same answers as at acceptance, which decides again. */
function fateOf(item: FingerprintedRequest, hit: KnownRequest | undefined): Fate {
  if (hit === undefined) return { kind: 'fresh' };
  const isSame = (stored: Buffer | null) => stored?.toString('hex') === item.fingerprintHex;
  if (hit.keyPaymentId !== null) {
    if (isSame(hit.keyFingerprint)) return { kind: 'existing', paymentId: hit.keyPaymentId };
    return conflict(
      'idempotency_key_reused',
      'the idempotency key was used for another request',
      hit.keyPaymentId,
    );
  }
  const paymentId = hit.checkoutPaymentId!;
  if (isSame(hit.checkoutFingerprint)) return { kind: 'deduplicated', paymentId };
  return conflict('checkout_conflict', 'the checkout is there already, with other content', paymentId);
}

function conflict(code: string, message: string, paymentId: bigint): Fate {
  return { kind: 'conflict', conflict: { code, message, paymentId: formatId('payment', paymentId) } };
}

/** For a person, before anything happens. */
export function planText(plan: Plan, input: PaymentInput): string {
  const { fresh, existing, deduplicated, conflicts } = plan;
  const amount = totalsText(plan.totals);
  const { checkoutId, buyer, orders } = input.payments[0]!.request;
  const lines =
    input.file === null
      ? [
          `Charge ${amount} to ${buyer} for ${orders.map((order) => order.seller).join(', ')}, checkout ${checkoutId}`,
        ]
      : [
          `${input.file.source}: ${countText(plan.payments, 'payment')}, ${countText(plan.orders, 'order')}, ${amount}`,
        ];
  const known = existing + deduplicated;
  if (known > 0) lines.push(`  there already: ${known}, which will not be charged again`);
  if (conflicts.length > 0) lines.push(`  in conflict: ${conflicts.length}, which will not be charged`);
  if (fresh > 0 && fresh < plan.payments) lines.push(`  new: ${fresh}, ${totalsText(plan.freshTotals)}`);
  return lines.join('\n');
}

/** The plan in `--dry-run -o json`; `confirm` is what --confirm takes. */
export function planJson(plan: Plan) {
  return {
    payments: plan.payments,
    orders: plan.orders,
    totals: totalsJson(plan.totals),
    confirm: totalsCode(plan.totals),
    new: plan.fresh,
    new_totals: totalsJson(plan.freshTotals),
    already_there: plan.existing,
    deduplicated: plan.deduplicated,
    conflict_count: plan.conflicts.length,
    conflicts: conflictsJson(plan.conflicts),
  };
}

/** A person looks at the first conflicts; all are counted. */
const MAX_LISTED_CONFLICTS = 1_000;

/** The first 1,000, as every result lists them. */
export function conflictsJson(conflicts: readonly Conflict[]) {
  return conflicts.slice(0, MAX_LISTED_CONFLICTS).map(({ line, checkoutId, code, message, paymentId }) => ({
    line,
    checkout_id: checkoutId,
    code,
    message,
    payment_id: paymentId,
  }));
}

/** The first 1,000, for people. */
export function conflictTable(conflicts: readonly Conflict[]): Block {
  return {
    kind: 'table',
    empty: '',
    columns: [
      { title: 'LINE', align: 'right' },
      { title: 'CHECKOUT', shrink: true },
      { title: 'CONFLICT' },
      { title: 'PAYMENT' },
      { title: 'REASON', shrink: true },
    ],
    rows: conflicts
      .slice(0, MAX_LISTED_CONFLICTS)
      .map(({ line, checkoutId, code, message, paymentId }) => [
        String(line),
        checkoutId,
        code,
        paymentId ?? '',
        message,
      ]),
  };
}
