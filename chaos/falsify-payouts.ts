/** Ways to falsify one fact about payouts, each of which the judge must name. Pure; in memory only. */
import { type Falsification, type Material, otherThan } from './falsify.ts';

type TrueTransfer = Material['transfers'][number];
type PayoutFact = Material['payouts'][number];

export const PAYOUT_FALSIFICATIONS: readonly Falsification[] = [
  {
    name: 'a payout is paid twice',
    measure: 'paid_twice',
    falsify: (all, account) => withMoved(all, account, (one) => [one, { ...one, id: `${one.id}_again` }]),
  },
  {
    name: 'a payout is paid at the other PSP too',
    measure: 'paid_twice',
    falsify: (all, account) =>
      withMoved(all, account, (one) => [one, { ...one, id: `${one.id}_again`, account: otherThan(account) }]),
  },
  {
    name: 'a payout never reached the sandbox',
    measure: 'unexplained',
    falsify: (all, account) => withMoved(all, account, () => []),
  },
  {
    name: 'a transfer is nobody’s',
    measure: 'unexplained',
    falsify: (all, account) =>
      withMoved(all, account, (one) => [one, { ...one, id: `${one.id}_strange`, metadata: {} }]),
  },
  {
    name: 'a payout is over another amount',
    measure: 'unexplained',
    falsify: (all, account) => withMoved(all, account, (one) => [{ ...one, amount: one.amount - 1 }]),
  },
  {
    name: 'a payout went to somebody else',
    measure: 'unexplained',
    falsify: (all, account) => withMoved(all, account, (one) => [{ ...one, destination: 'acct_other' }]),
  },
  {
    name: 'a payout came back there and stands here',
    measure: 'unexplained',
    falsify: (all, account) => withMoved(all, account, (one) => [{ ...one, moved: 0 }]),
  },
  {
    name: 'the book forgot a payout',
    measure: 'unexplained',
    falsify: (all, account) => withPaid(all, account, []),
  },
  {
    name: 'a payout moved that the book calls failed',
    measure: 'unexplained',
    falsify: (all, account) =>
      withPaid(all, account, [{ subState: 'declined', deadLetter: null, letters: null }]),
  },
  {
    name: 'a payout came back here and stands there',
    measure: 'unexplained',
    falsify: (all, account) =>
      withPaid(all, account, [{ subState: 'reversed', letters: 'reversed_after_success' }]),
  },
  {
    name: 'no person is told of a payout that came back',
    measure: 'unexplained',
    falsify: (all, account) => {
      const chosen = all.payouts.find((one) => one.pspAccount === account && one.subState === 'reversed');
      if (chosen === undefined) return null;
      const payouts = all.payouts.map((one) => (one === chosen ? { ...one, letters: null } : one));
      return { ...all, payouts };
    },
  },
];

function movedOf({ transfers }: Material, account: string): TrueTransfer | undefined {
  return transfers.find((transfer) => transfer.account === account && transfer.moved > 0);
}

/** The account's first transfer that stands, replaced by what `change` makes of it. */
function withMoved(
  all: Material,
  account: string,
  change: (transfer: TrueTransfer) => readonly TrueTransfer[],
): Material | null {
  const chosen = movedOf(all, account);
  if (chosen === undefined) return null;
  return { ...all, transfers: all.transfers.flatMap((one) => (one === chosen ? change(one) : [one])) };
}

/** The payout of that transfer, replaced by as many as there are changes. */
function withPaid(all: Material, account: string, changes: readonly Partial<PayoutFact>[]): Material | null {
  const operation = movedOf(all, account)?.metadata.paygate_operation;
  const chosen = all.payouts.find((payout) => `op_${payout.operationId}` === operation);
  if (chosen === undefined) return null;
  const instead = changes.map((change) => ({ ...chosen, ...change }));
  return { ...all, payouts: all.payouts.flatMap((one) => (one === chosen ? instead : [one])) };
}
