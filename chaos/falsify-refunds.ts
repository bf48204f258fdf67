/** Ways to falsify one fact about refunds, each of which the judge must name. Pure; in memory only. */
import type { Falsification, Material } from './falsify.ts';
import { otherThan } from './falsify.ts';

export const REFUND_FALSIFICATIONS: readonly Falsification[] = [
  {
    name: 'a refund is made twice at the sandbox',
    measure: 'refunded_twice',
    falsify: (all, account) => withMoved(all, account, (one) => [one, { ...one, id: `${one.id}_again` }]),
  },
  {
    name: 'more is given back than was charged',
    measure: 'over_refunded',
    falsify: (all, account) => {
      // Twice a part may still fit: one more of all that the charge took never does.
      const charge = all.intents.find(({ id }) => id === moved(all, account)?.payment_intent);
      if (charge === undefined) return null;
      return withMoved(all, account, (one) => [
        one,
        { ...one, id: `${one.id}_again`, held: charge.amount_received },
      ]);
    },
  },
  {
    name: 'a refund at the sandbox is nobody’s',
    measure: 'unexplained',
    falsify: (all, account) =>
      withMoved(all, account, (one) => [one, { ...one, id: `${one.id}_strange`, metadata: {} }]),
  },
  {
    name: 'a refund never reached the sandbox',
    measure: 'unexplained',
    falsify: (all, account) => withMoved(all, account, () => []),
  },
  {
    name: 'a refund was declined that nobody ever saw',
    measure: 'unexplained',
    falsify: (all, account) => {
      const operation = moved(all, account)?.metadata.paygate_operation;
      const without = withMoved(all, account, () => []);
      if (without === null) return null;
      return withRefunds(without, account, (refund) => `op_${refund.operationId}` === operation, [
        { subState: 'declined', deadLetter: null, letters: null, isResolved: false },
      ]);
    },
  },
  {
    name: 'a refund failed there after it had succeeded here',
    measure: 'unexplained',
    falsify: (all, account) =>
      withMoved(all, account, (one) => [{ ...one, status: 'failed', moved: 0, held: 0 }]),
  },
  {
    name: 'a refund is over another amount',
    measure: 'unexplained',
    falsify: (all, account) =>
      withMoved(all, account, (one) => [
        { ...one, amount: one.amount - 1, moved: one.moved - 1, held: one.held - 1 },
      ]),
  },
  {
    name: 'a refund is of another charge',
    measure: 'unexplained',
    falsify: (all, account) => {
      const other = all.intents.find(
        (intent) => intent.account === account && intent.id !== moved(all, account)?.payment_intent,
      );
      if (other === undefined) return null;
      return withMoved(all, account, (one) => [{ ...one, payment_intent: other.id }]);
    },
  },
  {
    name: 'the book forgot a refund',
    measure: 'unexplained',
    falsify: (all, account) => withRefunds(all, account, (refund) => refund.subState === 'succeeded', []),
  },
  {
    name: 'a refund moved that the book calls failed',
    measure: 'unexplained',
    falsify: (all, account) =>
      withRefunds(all, account, (refund) => refund.subState === 'succeeded', [
        { subState: 'declined', deadLetter: 'refund_declined', letters: 'refund_declined' },
      ]),
  },
  {
    name: 'no person is told of a refund that was declined',
    measure: 'unexplained',
    falsify: (all, account) =>
      withRefunds(all, account, (refund) => refund.subState === 'declined', [
        { deadLetter: null, letters: null },
      ]),
  },
  {
    name: 'a refund hangs without a job and without a letter',
    measure: 'unexplained',
    falsify: (all, account) =>
      withRefunds(all, account, (refund) => refund.subState === 'succeeded', [
        { subState: 'unknown', job: 'none', deadLetter: null },
      ]),
  },
  {
    name: 'the fee share is off by one',
    measure: 'imbalance',
    falsify: (all, account) => {
      const clean = all.refunds.find(
        (refund) =>
          refund.pspAccount === account &&
          refund.subState === 'succeeded' &&
          all.refunds.every((other) => other.orderId !== refund.orderId || other.subState === 'succeeded'),
      );
      if (clean === undefined) return null;
      return withRefunds(all, account, (refund) => refund === clean, [
        { feeShareMinor: clean.feeShareMinor + 1n },
      ]);
    },
  },
  {
    name: 'nobody gave back what a payment in part had charged',
    measure: 'refunds_missing',
    falsify: (all, account) => {
      const only = all.refunds.find(
        (refund) =>
          refund.pspAccount === account &&
          refund.cause === 'partial' &&
          all.refunds.every((o) => o === refund || o.orderId !== refund.orderId),
      );
      return only === undefined ? null : withRefunds(all, account, (refund) => refund === only, []);
    },
  },
  {
    name: 'a payment in part was given back twice',
    measure: 'refunded_twice',
    falsify: (all, account) => withRefunds(all, account, (refund) => refund.cause === 'partial', [{}, {}]),
  },
  {
    name: 'a refund was undone here and stands there',
    measure: 'unexplained',
    falsify: (all, account) =>
      withRefunds(all, account, (refund) => refund.subState === 'succeeded', [
        { subState: 'reversed', letters: 'reversed_after_success' },
      ]),
  },
  {
    name: 'no person is told of a refund that was undone',
    measure: 'unexplained',
    falsify: (all, account) =>
      withRefunds(all, account, (refund) => refund.subState === 'reversed', [{ letters: null }]),
  },
  {
    name: 'a refund that was undone stands there after all',
    measure: 'unexplained',
    falsify: (all, account) => {
      const undone = all.refunds.find((one) => one.pspAccount === account && one.subState === 'reversed');
      const operation = `op_${undone?.operationId}`;
      if (undone === undefined) return null;
      const trueRefunds = all.trueRefunds.map((one) =>
        one.metadata.paygate_operation === operation ? { ...one, moved: one.amount, held: one.amount } : one,
      );
      return { ...all, trueRefunds };
    },
  },
  {
    name: 'a refund went to the other PSP',
    measure: 'unexplained',
    falsify: (all, account) => withMoved(all, account, (one) => [{ ...one, account: otherThan(account) }]),
  },
  {
    name: 'a failed payment keeps its money',
    measure: 'kept',
    falsify: (all, account) => {
      const only = all.refunds.find(
        (refund) =>
          refund.pspAccount === account &&
          refund.cause === 'partial' &&
          refund.subState === 'succeeded' &&
          all.refunds.every((one) => one === refund || one.orderId !== refund.orderId),
      );
      if (only === undefined) return null;
      const trueRefunds = all.trueRefunds.map((one) =>
        one.metadata.paygate_operation === `op_${only.operationId}` ? { ...one, moved: 0, held: 0 } : one,
      );
      return { ...all, trueRefunds };
    },
  },
];

function moved(material: Material, account: string) {
  return material.trueRefunds.find((refund) => refund.account === account && refund.moved > 0);
}

type TrueRefund = Material['trueRefunds'][number];

/** The first refund of the account that really moved replaced by what `change` makes of it. */
function withMoved(
  material: Material,
  account: string,
  change: (refund: TrueRefund) => readonly TrueRefund[],
): Material | null {
  const chosen = moved(material, account);
  if (chosen === undefined) return null;
  const trueRefunds = material.trueRefunds.flatMap((one) => (one === chosen ? change(one) : [one]));
  return { ...material, trueRefunds };
}

type RefundFact = Material['refunds'][number];

/** The first of the account's refunds that `is` chooses, replaced by as many as there are changes. */
function withRefunds(
  material: Material,
  account: string,
  is: (refund: RefundFact) => boolean,
  changes: readonly Partial<RefundFact>[],
): Material | null {
  const chosen = material.refunds.find((refund) => refund.pspAccount === account && is(refund));
  if (chosen === undefined) return null;
  const instead = changes.map((change) => ({ ...chosen, ...change }));
  return { ...material, refunds: material.refunds.flatMap((one) => (one === chosen ? instead : [one])) };
}
