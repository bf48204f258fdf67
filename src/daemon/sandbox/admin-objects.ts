/**
 * What happens to money without a call of Stripe's API: customers who answer a challenge, refunds that end or fail
 * later, transfers that come back, disputes, charges that bounce, top-ups. Each is one line of the journal.
 */
import { z } from 'zod';
import { type Answer, failure, json, withBody } from './admin-answer.ts';
import type { Change } from './balance.ts';
import { checkCurrency } from './currencies.ts';
import {
  answerDispute,
  closeDispute,
  DISPUTE_REASONS,
  type DisputeReason,
  type DisputeRecord,
} from './dispute.ts';
import type { Engine } from './engine.ts';
import { authenticateIntent, bounceIntent, paidCharge, withChargeChanged } from './intent.ts';
import { moveRefund, REFUND_FAILURES, REFUND_STATUSES } from './refund.ts';
import { refundChanges } from './refund-calls.ts';
import { reversedOf, reverseTransfer } from './transfer.ts';
import { disputeLine, refundLine, transferLine, truthLine } from './truth.ts';

/** Fifteen digits: exact in a double, whatever is added up. */
const MAX_AMOUNT = 999_999_999_999_999;

const amount = z.int().min(1).max(MAX_AMOUNT);
const authenticateSchema = z.strictObject({ result: z.enum(['succeeded', 'failed']) });
const disputeSchema = z.strictObject({
  amount: amount.optional(),
  reason: z.enum(DISPUTE_REASONS).default('fraudulent'),
});
const closeSchema = z.strictObject({ result: z.enum(['won', 'lost']) });
const moveSchema = z.strictObject({
  to: z.enum(REFUND_STATUSES),
  failure: z.enum(REFUND_FAILURES).default('declined'),
});
const reverseSchema = z.strictObject({ amount: amount.optional() });
const topUpSchema = z.strictObject({ currency: z.string(), amount });
const emptySchema = z.strictObject({});

/** Carries out `POST {path}`; null when it is none of these. */
export function steerObject(engine: Engine, call: string, body: string): Answer | null {
  if (call === 'POST balance/top_up')
    return withBody(body, topUpSchema, (input) => {
      if (checkCurrency(input.currency) !== null)
        return failure(400, `Currency ${input.currency} is not one of Stripe's; write it in lower case.`);
      engine.topUp({ ...input, atMs: engine.clock.nowMs() });
      return json({ available: engine.state.balances.available(input.currency) });
    });
  const [, resource, id = '', action] = /^POST (\w+)\/([^/]+)\/(\w+)$/.exec(call) ?? [];
  engine.settleDue();
  switch (`${resource} ${action}`) {
    case 'payment_intents authenticate':
      return withBody(body, authenticateSchema, ({ result }) => authenticate(engine, id, result));
    case 'payment_intents dispute':
      return withBody(body, disputeSchema, (wish) =>
        openDispute(engine, id, { ...wish, status: 'needs_response' }),
      );
    case 'payment_intents bounce':
      return withBody(body, emptySchema, () => bounce(engine, id));
    case 'payment_intents reverse':
      return withBody(body, emptySchema, () =>
        openDispute(engine, id, { reason: 'insufficient_funds', status: 'lost' }),
      );
    case 'refunds move':
      return withBody(body, moveSchema, (wish) => moveOne(engine, id, wish));
    case 'transfers reverse':
      return withBody(body, reverseSchema, (wish) => reverseOne(engine, id, wish.amount ?? null));
    case 'disputes answer':
      return withBody(body, emptySchema, () => moveDispute(engine, id, answerDispute));
    case 'disputes close':
      return withBody(body, closeSchema, ({ result }) =>
        moveDispute(engine, id, (dispute) => closeDispute(dispute, result)),
      );
    default:
      return null;
  }
}

/** The customer passes or fails the challenge. */
function authenticate(engine: Engine, id: string, result: 'succeeded' | 'failed'): Answer {
  const intent = engine.state.intents.find(id);
  const next = intent === null ? null : authenticateIntent(intent, result, engine.clock.nowS());
  if (next === null) return failure(409, `Payment intent ${id} does not wait for its customer.`);
  engine.change([{ kind: 'intent', record: next }]);
  return json(JSON.parse(truthLine(next)));
}

/** A charge fails after it had succeeded. */
function bounce(engine: Engine, id: string): Answer {
  const intent = engine.state.intents.find(id);
  const record = intent === null ? null : bounceIntent(intent);
  if (record === null) return failure(409, `Payment intent ${id} has no charge that could bounce.`);
  engine.change([{ kind: 'intent', record }]);
  return json(JSON.parse(truthLine(record)));
}

/** A dispute that is lost at once is a debit that bounced after it had succeeded. */
function openDispute(
  engine: Engine,
  intentId: string,
  wish: { amount?: number | undefined; reason: DisputeReason; status: 'needs_response' | 'lost' },
): Answer {
  const { state } = engine;
  const intent = state.intents.find(intentId);
  const chargeNumber = intent === null ? -1 : paidCharge(intent);
  const charge = intent?.charges[chargeNumber];
  if (intent === null || charge === undefined || charge.disputed)
    return failure(409, `Payment intent ${intentId} has no charge that could be disputed.`);
  const record: DisputeRecord = {
    ...state.disputes.nextName(),
    created: engine.clock.nowS(),
    amount: wish.amount ?? charge.captured - charge.refunded,
    currency: intent.currency,
    intentId,
    chargeNumber,
    status: wish.status,
    reason: wish.reason,
  };
  if (record.amount < 1 || record.amount > charge.captured)
    return failure(409, `A dispute of ${intentId} is over 1 to ${charge.captured}, not ${record.amount}.`);
  const disputed = withChargeChanged(intent, chargeNumber, { disputed: true });
  engine.change([
    { kind: 'dispute', record },
    { kind: 'intent', record: disputed },
  ]);
  return json(JSON.parse(disputeLine(record)));
}

function moveOne(engine: Engine, id: string, wish: z.infer<typeof moveSchema>): Answer {
  const refund = engine.state.refunds.find(id);
  const moved = refund === null ? null : moveRefund(refund, wish.to, wish.failure);
  if (refund === null || moved === null)
    return failure(409, `Refund ${id} is ${refund?.status ?? 'not there'} and cannot become ${wish.to}.`);
  engine.change(refundChanges(engine.state, refund, moved));
  return json(JSON.parse(refundLine(moved)));
}

function reverseOne(engine: Engine, id: string, wanted: number | null): Answer {
  const transfer = engine.state.transfers.find(id);
  const left = transfer === null ? 0 : transfer.amount - reversedOf(transfer);
  if (transfer === null || left === 0 || (wanted ?? left) > left)
    return failure(409, `Transfer ${id} has ${left} left to reverse.`);
  const reversal = { created: engine.clock.nowS(), amount: wanted ?? left, metadataJson: '{}' };
  const record = reverseTransfer(transfer, reversal);
  engine.change([{ kind: 'transfer', record }]);
  return json(JSON.parse(transferLine(record)));
}

function moveDispute(
  engine: Engine,
  id: string,
  move: (dispute: DisputeRecord) => DisputeRecord | null,
): Answer {
  const dispute = engine.state.disputes.find(id);
  const record = dispute === null ? null : move(dispute);
  if (record === null) return failure(409, `Dispute ${id} is not open.`);
  const change: Change = { kind: 'dispute', record };
  engine.change([change]);
  return json(JSON.parse(disputeLine(record)));
}
