/**
 * The writing calls on refunds. What depends on the charge's state is found out while executing, so that the refusal
 * is stored under the key, as at Stripe; what is wrong with the parameters alone is not stored.
 */
import type { Change } from './balance.ts';
import { checkLastDigits, words } from './currencies.ts';
import type { FormMap } from './form.ts';
import { chargeId, intentOfCharge } from './ids.ts';
import { type ChargeRecord, type IntentRecord, paidCharge, withChargeChanged } from './intent.ts';
import { Params } from './params.ts';
import { heldByRefund, moveRefund, type RefundRecord } from './refund.ts';
import type { SandboxState } from './state.ts';
import { invalidRequest, missingParameter, noSuch, type StripeError } from './stripe-errors.ts';
import { type ActContext, type Effect, type Prepared, refusedEffect, shownEffect } from './write-call.ts';

export type RefundWrite = 'create_refund' | 'cancel_refund';

const REASONS = ['duplicate', 'fraudulent', 'requested_by_customer'] as const;

/** Parameters that Stripe has for creating a refund, and which this sandbox refuses by name. */
const UNMODELLED = [
  ...['currency', 'customer', 'expand', 'instructions_email', 'origin', 'refund_application_fee'],
  'reverse_transfer',
];

/** Checks the parameters; `id` is the refund's name from the path, null for `create_refund`. */
export function prepareRefundWrite(
  name: RefundWrite,
  form: FormMap,
  id: string | null,
  state: SandboxState,
): Prepared {
  return name === 'create_refund' ? prepareCreate(form, state) : prepareCancel(form, id ?? '', state);
}

function prepareCreate(form: FormMap, state: SandboxState): Prepared {
  const params = new Params(form);
  const ofIntent = params.text('payment_intent');
  const ofCharge = params.text('charge');
  const amount = params.integer('amount', 1);
  const reason = params.oneOf('reason', REASONS);
  const metadataJson = params.metadata('metadata');
  params.refuseUnmodelled(UNMODELLED);
  const problem = params.problem();
  if (problem !== null) return { kind: 'refused', error: problem };
  const target = findTarget(ofIntent, ofCharge, state);
  if (target.kind === 'refused') return target;
  const { intentId, currency } = target;
  const digits = amount === null ? null : checkLastDigits(amount, currency, 'amount');
  if (digits !== null) return { kind: 'refused', error: digits };
  return {
    kind: 'ready',
    act: (context) => createRefund(context, { intentId, amount, reason, metadataJson }),
  };
}

type Target =
  | { readonly kind: 'refused'; readonly error: StripeError }
  | { readonly kind: 'found'; readonly intentId: string; readonly currency: string };

function findTarget(ofIntent: string | null, ofCharge: string | null, state: SandboxState): Target {
  if (ofIntent === null && ofCharge === null) return { kind: 'refused', error: missingParameter('charge') };
  const charged = ofCharge === null ? null : intentOfCharge(ofCharge);
  if (ofCharge !== null) {
    const intent = charged === null ? null : state.intents.find(charged.intent);
    const charge = intent?.charges[charged?.number ?? -1];
    if (intent === null || charge === undefined)
      return { kind: 'refused', error: noSuch('charge', ofCharge, 'charge') };
    if (ofIntent === null || ofIntent === intent.id)
      return { kind: 'found', intentId: intent.id, currency: intent.currency };
    const error = invalidRequest(`The charge ${ofCharge} does not belong to ${ofIntent}.`, {
      param: 'charge',
    });
    return { kind: 'refused', error };
  }
  const intent = state.intents.find(ofIntent ?? '');
  if (intent === null)
    return { kind: 'refused', error: noSuch('payment_intent', ofIntent ?? '', 'payment_intent') };
  return { kind: 'found', intentId: intent.id, currency: intent.currency };
}

interface RefundWish {
  readonly intentId: string;
  readonly amount: number | null;
  readonly reason: string | null;
  readonly metadataJson: string;
}

function createRefund(context: ActContext, wish: RefundWish): Effect {
  const intent = context.state.intents.find(wish.intentId);
  const chargeNumber = intent === null ? -1 : paidCharge(intent);
  const charge = intent?.charges[chargeNumber];
  if (intent === null || charge === undefined)
    return refusedEffect(
      invalidRequest(`This PaymentIntent (${wish.intentId}) does not have a successful charge to refund.`),
    );
  const refusal = checkRefundable(intent, charge, chargeNumber, wish.amount);
  if (refusal !== null) return refusedEffect(refusal);
  const amount = wish.amount ?? charge.captured - charge.refunded;
  const refund: RefundRecord = {
    ...context.state.refunds.nextName(),
    created: context.nowS,
    amount,
    currency: intent.currency,
    intentId: intent.id,
    chargeNumber,
    reason: wish.reason,
    metadataJson: wish.metadataJson,
    key: context.key,
    ...firstStatus(context),
  };
  return shownEffect(changesOf(null, refund, intent), { kind: 'refund', record: refund });
}

function checkRefundable(
  intent: IntentRecord,
  charge: ChargeRecord,
  chargeNumber: number,
  amount: number | null,
): StripeError | null {
  const id = chargeId(intent.id, chargeNumber);
  if (charge.disputed)
    return invalidRequest(`Charge ${id} has been charged back; cannot issue a refund.`, {
      code: 'charge_disputed',
    });
  const left = charge.captured - charge.refunded;
  if (left === 0)
    return invalidRequest(`Charge ${id} has already been refunded.`, { code: 'charge_already_refunded' });
  if (amount === null || amount <= left) return null;
  return invalidRequest(
    `Refund amount (${words(amount, intent.currency)}) is greater than unrefunded amount on charge (${words(left, intent.currency)})`,
    { param: 'amount' },
  );
}

/** A card's refund succeeds at once, unless a fault makes something else of it. */
function firstStatus({
  forced,
}: ActContext): Pick<RefundRecord, 'status' | 'failure' | 'reached' | 'settle'> {
  switch (forced.kind) {
    case 'none':
      return { status: 'succeeded', failure: null, reached: true, settle: null };
    case 'undo_later':
      return {
        status: 'succeeded',
        failure: null,
        reached: true,
        settle: { atMs: forced.atMs, to: 'failed' },
      };
    case 'decline':
      return { status: 'failed', failure: 'declined', reached: false, settle: null };
    case 'pending': {
      const to = forced.result === 'succeeded' ? 'succeeded' : 'failed';
      return { status: 'pending', failure: null, reached: false, settle: { atMs: forced.atMs, to } };
    }
  }
}

function prepareCancel(form: FormMap, id: string, state: SandboxState): Prepared {
  const params = new Params(form);
  params.refuseUnmodelled(['expand']);
  const problem = params.problem();
  if (problem !== null) return { kind: 'refused', error: problem };
  if (state.refunds.find(id) === null) return { kind: 'refused', error: noSuch('refund', id, 'id') };
  return { kind: 'ready', act: (context) => cancelRefund(context, id) };
}

/** Only a refund that waits for the customer can be canceled (https://docs.stripe.com/api/refunds/cancel). */
function cancelRefund({ state }: ActContext, id: string): Effect {
  const refund = state.refunds.find(id);
  const canceled = refund === null ? null : moveRefund(refund, 'canceled', 'unknown');
  if (refund === null || canceled === null)
    return refusedEffect(
      invalidRequest(
        `This refund (${id}) has a status of ${refund?.status}; only a refund with a status of requires_action can be canceled.`,
      ),
    );
  return shownEffect(refundChanges(state, refund, canceled), { kind: 'refund', record: canceled });
}

/** A refund's new version, and that of its intent where the charge's refunded amount changes with it. */
export function refundChanges(
  state: SandboxState,
  before: RefundRecord,
  refund: RefundRecord,
): readonly Change[] {
  const intent = state.intents.find(refund.intentId);
  return intent === null ? [{ kind: 'refund', record: refund }] : changesOf(before, refund, intent);
}

function changesOf(
  before: RefundRecord | null,
  refund: RefundRecord,
  intent: IntentRecord,
): readonly Change[] {
  const change: Change = { kind: 'refund', record: refund };
  const delta = heldByRefund(refund) - (before === null ? 0 : heldByRefund(before));
  const charge = intent.charges[refund.chargeNumber];
  if (delta === 0 || charge === undefined) return [change];
  const changed = withChargeChanged(intent, refund.chargeNumber, { refunded: charge.refunded + delta });
  return [change, { kind: 'intent', record: changed }];
}
