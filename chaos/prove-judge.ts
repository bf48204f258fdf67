/**
 * Proves that the judges of refunds and payouts can fail: falsifies one fact of a run that has just been judged, one way after the
 * other, and expects the judge to name it. In memory only; a judge that misses one makes the run worth nothing.
 */
import { comparePostings } from './expected-books.ts';
import type { Difference } from './judge.ts';
import { judgePayouts, type PayoutFact } from './judge-payouts.ts';
import { judgeRefunds, type RefundMaterial } from './judge-refunds.ts';
import type { PostingFact } from './refund-facts.ts';
import type { TrueTransfer } from './sandbox.ts';

export type Proof = {
  /** Falsifications tried: none where the run had no refund to falsify. */
  readonly tried: number;
  /** Those that nobody noticed. */
  readonly blind: readonly string[];
};

type Falsification = {
  readonly name: string;
  readonly measure: Difference['measure'];
  /** Null where this run has nothing of the kind. */
  readonly falsify: (material: RefundMaterial) => RefundMaterial | null;
};

const FALSIFICATIONS: readonly Falsification[] = [
  {
    name: 'a refund is made twice at the sandbox',
    measure: 'refunded_twice',
    falsify: (all) => withMoved(all, (one) => [one, { ...one, id: `${one.id}_again` }]),
  },
  {
    name: 'more is given back than was charged',
    measure: 'over_refunded',
    falsify: (all) => withMoved(all, (one) => [one, { ...one, id: `${one.id}_again` }]),
  },
  {
    name: 'a refund at the sandbox is nobody’s',
    measure: 'unexplained',
    falsify: (all) => withMoved(all, (one) => [one, { ...one, id: `${one.id}_strange`, metadata: {} }]),
  },
  {
    name: 'a refund never reached the sandbox',
    measure: 'unexplained',
    falsify: (all) => withMoved(all, () => []),
  },
  {
    name: 'a refund was declined that nobody ever saw',
    measure: 'unexplained',
    falsify: (all) => {
      const operation = moved(all)?.metadata.paygate_operation;
      const without = withMoved(all, () => []);
      if (without === null) return null;
      return withRefunds(without, (refund) => `op_${refund.operationId}` === operation, [
        { subState: 'declined', deadLetter: null },
      ]);
    },
  },
  {
    name: 'a refund failed there after it had succeeded here',
    measure: 'unexplained',
    falsify: (all) => withMoved(all, (one) => [{ ...one, status: 'failed', moved: 0, held: 0 }]),
  },
  {
    name: 'a refund is over another amount',
    measure: 'unexplained',
    falsify: (all) =>
      withMoved(all, (one) => [{ ...one, amount: one.amount - 1, moved: one.moved - 1, held: one.held - 1 }]),
  },
  {
    name: 'a refund is of another charge',
    measure: 'unexplained',
    falsify: (all) => {
      const other = all.intents.find((intent) => intent.id !== moved(all)?.payment_intent);
      if (other === undefined) return null;
      return withMoved(all, (one) => [{ ...one, payment_intent: other.id }]);
    },
  },
  {
    name: 'the book forgot a refund',
    measure: 'unexplained',
    falsify: (all) => withRefunds(all, (refund) => refund.subState === 'succeeded', []),
  },
  {
    name: 'a refund moved that the book calls failed',
    measure: 'unexplained',
    falsify: (all) =>
      withRefunds(all, (refund) => refund.subState === 'succeeded', [
        { subState: 'declined', deadLetter: 'refund_declined' },
      ]),
  },
  {
    name: 'no person is told of a refund that was declined',
    measure: 'unexplained',
    falsify: (all) => withRefunds(all, (refund) => refund.subState === 'declined', [{ deadLetter: null }]),
  },
  {
    name: 'a refund hangs without a job and without a letter',
    measure: 'unexplained',
    falsify: (all) =>
      withRefunds(all, (refund) => refund.subState === 'succeeded', [
        { subState: 'unknown', job: 'none', deadLetter: null },
      ]),
  },
  {
    name: 'the fee share is off by one',
    measure: 'imbalance',
    falsify: (all) => {
      const clean = all.refunds.find(
        (refund) =>
          refund.subState === 'succeeded' &&
          all.refunds.every((other) => other.orderId !== refund.orderId || other.subState === 'succeeded'),
      );
      if (clean === undefined) return null;
      return withRefunds(all, (refund) => refund === clean, [{ feeShareMinor: clean.feeShareMinor + 1n }]);
    },
  },
  {
    name: 'nobody gave back what a payment in part had charged',
    measure: 'refunds_missing',
    falsify: (all) => {
      const only = all.refunds.find(
        (refund) =>
          refund.cause === 'partial' &&
          all.refunds.every((o) => o === refund || o.orderId !== refund.orderId),
      );
      return only === undefined ? null : withRefunds(all, (refund) => refund === only, []);
    },
  },
  {
    name: 'a payment in part was given back twice',
    measure: 'refunded_twice',
    falsify: (all) => withRefunds(all, (refund) => refund.cause === 'partial', [{}, {}]),
  },
];

/** @param expected what the true truth makes of the books, which is what was found there */
export function proveJudge(
  material: RefundMaterial,
  payouts: PayoutMaterial,
  expected: readonly PostingFact[],
): Proof {
  let tried = 0;
  const blind: string[] = [];
  // A book with a fault may have it just where the truth would be falsified; such a run has failed anyway.
  if (judgeRefunds(material).length + judgeThem(payouts).length > 0) return { tried: 0, blind: [] };
  for (const { name, measure, falsify } of FALSIFICATIONS) {
    const falsified = falsify(material);
    if (falsified === null) continue;
    tried += 1;
    if (!names(judgeRefunds(falsified), measure)) blind.push(name);
  }
  for (const [name, measure, falsified] of falsifyPayouts(payouts)) {
    tried += 1;
    if (!names(judgeThem(falsified), measure)) blind.push(name);
  }
  for (const [name, falsified] of falsifyPostings(expected)) {
    tried += 1;
    if (comparePostings(expected, falsified).length === 0) blind.push(name);
  }
  return { tried, blind };
}

function names(differences: readonly Difference[], measure: Difference['measure']): boolean {
  return differences.some((one) => one.measure === measure);
}

function moved(material: RefundMaterial) {
  return material.trueRefunds.find((refund) => refund.moved > 0);
}

type TrueRefund = RefundMaterial['trueRefunds'][number];

/** The first refund that really moved replaced by what `change` makes of it. */
function withMoved(
  material: RefundMaterial,
  change: (refund: TrueRefund) => readonly TrueRefund[],
): RefundMaterial | null {
  const chosen = moved(material);
  if (chosen === undefined) return null;
  const trueRefunds = material.trueRefunds.flatMap((one) => (one === chosen ? change(one) : [one]));
  return { ...material, trueRefunds };
}

type RefundFact = RefundMaterial['refunds'][number];

/** The first refund of the book that `is` chooses, replaced by as many as there are changes. */
function withRefunds(
  material: RefundMaterial,
  is: (refund: RefundFact) => boolean,
  changes: readonly Partial<RefundFact>[],
): RefundMaterial | null {
  const chosen = material.refunds.find(is);
  if (chosen === undefined) return null;
  const instead = changes.map((change) => ({ ...chosen, ...change }));
  return { ...material, refunds: material.refunds.flatMap((one) => (one === chosen ? instead : [one])) };
}

export type PayoutMaterial = {
  readonly names: ReadonlySet<string>;
  readonly payouts: readonly PayoutFact[];
  readonly transfers: readonly TrueTransfer[];
};

function judgeThem({ names, payouts, transfers }: PayoutMaterial): readonly Difference[] {
  return judgePayouts(names, payouts, transfers);
}

/** A transfer too many, too few, nobody's, over another amount, to somebody else; a payout that the book forgot. */
function falsifyPayouts(
  all: PayoutMaterial,
): readonly (readonly [string, Difference['measure'], PayoutMaterial])[] {
  const chosen = all.transfers.find((transfer) => transfer.moved > 0);
  if (chosen === undefined) return [];
  const others = all.transfers.filter((transfer) => transfer !== chosen);
  const instead = (...transfers: readonly TrueTransfer[]): PayoutMaterial => ({
    ...all,
    transfers: [...others, ...transfers],
  });
  const isChosen = (payout: PayoutFact) => `op_${payout.operationId}` === chosen.metadata.paygate_operation;
  const again = { ...chosen, id: `${chosen.id}_again` };
  return [
    ['a payout is paid twice', 'paid_twice', instead(chosen, again)],
    ['a payout never reached the sandbox', 'unexplained', instead()],
    ['a transfer is nobody’s', 'unexplained', instead(chosen, { ...again, metadata: {} })],
    ['a payout is over another amount', 'unexplained', instead({ ...chosen, amount: chosen.amount - 1 })],
    ['a payout went to somebody else', 'unexplained', instead({ ...chosen, destination: 'acct_other' })],
    [
      'the book forgot a payout',
      'unexplained',
      { ...all, payouts: all.payouts.filter((one) => !isChosen(one)) },
    ],
    [
      'a payout moved that the book calls failed',
      'unexplained',
      {
        ...all,
        payouts: all.payouts.map((one) =>
          isChosen(one) ? { ...one, subState: 'declined', deadLetter: null } : one,
        ),
      },
    ],
  ];
}

/** One entry too few, one twice, one over another amount, one of another account. */
function falsifyPostings(postings: readonly PostingFact[]): readonly (readonly [string, PostingFact[]])[] {
  const at = postings.findIndex((posting) => posting.kind === 'refund_succeeded');
  const chosen = postings[at];
  if (chosen === undefined) return [];
  const others = postings.toSpliced(at, 1);
  return [
    ['a refund is not booked', others],
    ['a refund is booked twice', [...postings, chosen]],
    [
      'a refund is booked over another amount',
      [...others, { ...chosen, amountMinor: chosen.amountMinor + 1n }],
    ],
    [
      'a refund is taken from another account',
      [...others, { ...chosen, debit: 'seller:somebody-else:in_refund' }],
    ],
  ];
}
