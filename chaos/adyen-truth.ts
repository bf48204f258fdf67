/**
 * Adyen's side of the sandbox in the judge's terms: its own records, each as the Stripe object that says the same. The
 * sandbox's word only; no opinion.
 */
import { z } from 'zod';
import { ADYEN_ACCOUNT } from './psps.ts';
import type { TrueIntent, TrueRefund, TrueTransfer } from './sandbox.ts';

const amountSchema = z.object({ currency: z.string(), value: z.number() });
const settleSchema = z.object({ result: z.enum(['succeeded', 'failed']) }).nullable();
const common = { name: z.string(), reference: z.string(), amount: amountSchema, settle: settleSchema };

const recordSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('payment'), status: z.string(), ...common }),
  z.object({
    kind: z.literal('modification'),
    type: z.string(),
    payment: z.string(),
    status: z.string(),
    ...common,
  }),
  z.object({
    kind: z.literal('transfer'),
    status: z.string(),
    request: z.object({
      counterparty: z.object({
        balanceAccountId: z.string().optional(),
        transferInstrumentId: z.string().optional(),
      }),
    }),
    ...common,
  }),
]);
export const recordsSchema = z.object({ records: z.array(recordSchema) });
export type AdyenRecord = z.infer<typeof recordSchema>;

/** Stripe's word for a payment's state. */
const INTENT_STATUS: Readonly<Record<string, string>> = {
  authorised: 'succeeded',
  pending: 'processing',
  awaiting_shopper: 'requires_action',
};

/** Payments; `paygate_order` is not among what Adyen keeps, so whoever knows it says it. */
export function intentsOf(
  records: readonly AdyenRecord[],
  orderOf: ReadonlyMap<string, string>,
): readonly TrueIntent[] {
  return records.flatMap((record) => {
    if (record.kind !== 'payment') return [];
    const { name, reference, amount, status } = record;
    return [
      {
        id: name,
        account: ADYEN_ACCOUNT,
        amount: amount.value,
        currency: amount.currency.toLowerCase(),
        status: INTENT_STATUS[status] ?? 'canceled',
        amount_received: status === 'authorised' ? amount.value : 0,
        metadata: { paygate_operation: reference, paygate_order: orderOf.get(reference) ?? reference },
      },
    ];
  });
}

export function refundsOf(records: readonly AdyenRecord[]): readonly TrueRefund[] {
  return records.flatMap((record) => {
    if (record.kind !== 'modification' || record.type !== 'refund') return [];
    const { name, reference, amount, status, settle, payment } = record;
    const moved = status === 'succeeded' ? amount.value : 0;
    const isComing = status === 'received' && settle?.result === 'succeeded';
    return [
      {
        id: name,
        account: ADYEN_ACCOUNT,
        payment_intent: payment,
        amount: amount.value,
        currency: amount.currency.toLowerCase(),
        status,
        moved,
        held: isComing ? amount.value : moved,
        metadata: { paygate_operation: reference },
      },
    ];
  });
}

export function transfersOf(records: readonly AdyenRecord[]): readonly TrueTransfer[] {
  return records.flatMap((record) => {
    if (record.kind !== 'transfer') return [];
    const { name, reference, amount, status, request } = record;
    const { balanceAccountId, transferInstrumentId } = request.counterparty;
    return [
      {
        id: name,
        account: ADYEN_ACCOUNT,
        amount: amount.value,
        currency: amount.currency.toLowerCase(),
        destination: balanceAccountId ?? transferInstrumentId ?? '',
        moved: status === 'booked' ? amount.value : 0,
        metadata: { paygate_operation: reference },
      },
    ];
  });
}
