/** The results of `payments submit`, for one payment and for a batch. Decides only, but for one look at a payment. */
import type { Db } from '../../core/db/connection.ts';
import { formatId, parseId } from '../../core/ids.ts';
import { publicStateOf } from '../../core/operation/operation.ts';
import { type AcceptedAnswer, isoTime } from '../../core/payment/payment-answer.ts';
import { type Batch, listPaymentRows } from '../../core/payment/payment-store.ts';
import type { Result } from '../render/render-result.ts';
import type { Block } from '../render/table.ts';
import { countText, totalsJson, totalsText } from '../words.ts';
import type { Followed } from './follow-payments.ts';
import { conflictsJson, conflictTable, type Plan } from './plan-submission.ts';
import { paymentResult } from './read-payments.ts';
import type { Tally } from './run-submission.ts';

/** `incomplete`: all were tried and some conflict. */
export type BatchEnd = 'submitted' | 'incomplete' | 'interrupted';

/** The answer of the acceptance, or after waiting the payment as it stands. */
export async function singleResult(
  db: Db,
  answer: AcceptedAnswer,
  tally: Tally,
  what: 'accepted' | 'followed',
): Promise<Result> {
  if (what === 'followed')
    return paymentResult(await listPaymentRows(db, [parseId('payment', answer.payment_id)!]));
  const result = tally.deduplicated > 0 ? 'deduplicated' : tally.existing > 0 ? 'replayed' : 'accepted';
  const words = {
    accepted: 'accepted',
    replayed: 'was accepted before',
    deduplicated: 'is there already, under another key',
  };
  return {
    json: { ...answer, result },
    blocks: [
      {
        kind: 'line',
        text: `${answer.payment_id} ${RISK_WORDS[answer.risk.decision] ?? words[result]}`,
      },
      {
        kind: 'facts',
        facts: [
          ['checkout', answer.checkout_id],
          ['status at acceptance', answer.status],
          ['risk', `${answer.risk.decision}: ${answer.risk.reason}`],
          ...answer.payment_orders.map((order) => ['order', orderText(order)] as const),
          ['see', `paygate payments show ${answer.payment_id}`],
        ],
      },
    ],
  };
}

/** Where the risk check has more to say than that it is stored. */
const RISK_WORDS: Readonly<Record<string, string>> = {
  block: 'is stored, and stopped by the risk check',
  review: 'is stored, and waits for a risk review',
};

function orderText(order: AcceptedAnswer['payment_orders'][number]): string {
  return `${order.payment_order_id}: ${order.amount} ${order.currency} for ${order.seller}, fee ${order.platform_fee}`;
}

/** `followed`: null without --wait. */
export function batchResult(
  batch: Batch,
  plan: Plan,
  tally: Tally,
  state: BatchEnd,
  followed: Followed | null,
): Result {
  const { accepted, existing, deduplicated, riskBlocked, inRiskReview, conflicts } = tally;
  return {
    json: {
      batch_id: formatId('batch', batch.id),
      state,
      payments: plan.payments,
      orders: plan.orders,
      totals: totalsJson(plan.totals),
      accepted,
      already_there: existing,
      deduplicated,
      risk_blocked: riskBlocked,
      in_risk_review: inRiskReview,
      conflict_count: conflicts.length,
      conflicts: conflictsJson(conflicts),
      ...followedJson(followed),
    },
    blocks: [
      {
        kind: 'facts',
        facts: [
          [
            'batch',
            {
              text: `${formatId('batch', batch.id)}, ${state}`,
              tone: state === 'submitted' ? 'good' : 'warn',
            },
          ],
          [
            'total',
            `${countText(plan.payments, 'payment')}, ${countText(plan.orders, 'order')}, ${totalsText(plan.totals)}`,
          ],
          ['accepted', String(accepted)],
          ...(existing > 0 ? [['already there', String(existing)] as const] : []),
          ...(deduplicated > 0 ? [['under another key', String(deduplicated)] as const] : []),
          ...(riskBlocked > 0
            ? [['stopped by risk', { text: String(riskBlocked), tone: 'warn' as const }] as const]
            : []),
          ...(inRiskReview > 0
            ? [['wait for review', { text: String(inRiskReview), tone: 'warn' as const }] as const]
            : []),
          ...(conflicts.length > 0
            ? [['in conflict', { text: String(conflicts.length), tone: 'bad' as const }] as const]
            : []),
        ],
      },
      ...(conflicts.length > 0 ? [conflictTable(conflicts)] : []),
      ...followedBlocks(followed),
    ],
  };
}

/** For a file whose bytes were submitted whole before. */
export function alreadySubmittedResult(batch: Batch, plan: Plan, followed: Followed | null): Result {
  return {
    json: {
      batch_id: formatId('batch', batch.id),
      state: 'already_submitted',
      submitted_at: batch.submittedAt === null ? null : isoTime(batch.submittedAt),
      payments: plan.payments,
      orders: plan.orders,
      totals: totalsJson(plan.totals),
      accepted: 0,
      already_there: plan.existing,
      deduplicated: plan.deduplicated,
      risk_blocked: 0,
      in_risk_review: 0,
      conflict_count: plan.conflicts.length,
      conflicts: conflictsJson(plan.conflicts),
      ...followedJson(followed),
    },
    blocks: [
      { kind: 'line', text: `${formatId('batch', batch.id)}: already submitted, nothing to do` },
      ...followedBlocks(followed),
    ],
  };
}

function followedJson(followed: Followed | null) {
  if (followed === null || followed.outcomes === null) return {};
  return { outcomes: Object.fromEntries(followed.outcomes), open_orders: followed.open };
}

function followedBlocks(followed: Followed | null): readonly Block[] {
  if (followed === null || followed.outcomes === null) return [];
  return [
    {
      kind: 'table',
      empty: 'no orders',
      columns: [{ title: 'OUTCOME' }, { title: 'ORDERS', align: 'right' }],
      rows: [...followed.outcomes].map(([subState, orders]) => {
        const state = publicStateOf(subState);
        const tone = state === 'SUCCESS' ? 'good' : state === 'FAILED' ? 'bad' : 'warn';
        return [{ text: subState, tone }, String(orders)];
      }),
    },
  ];
}
