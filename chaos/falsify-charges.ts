/** Ways to falsify one fact about charges or wallets, each of which the judge must name. Pure; in memory only. */
import { type Falsification, type Material, otherThan } from './falsify.ts';

type TrueIntent = Material['intents'][number];
type OrderFact = Material['orders'][number];

export const CHARGE_FALSIFICATIONS: readonly Falsification[] = [
  {
    name: 'a buyer is charged twice',
    measure: 'charged_twice',
    falsify: (all, account) => withPaid(all, account, (one) => [one, { ...one, id: `${one.id}_again` }]),
  },
  {
    name: 'a buyer is charged at the other PSP too',
    measure: 'charged_twice',
    falsify: (all, account) =>
      withPaid(all, account, (one) => [one, { ...one, id: `${one.id}_again`, account: otherThan(account) }]),
  },
  {
    name: 'a charge is at the wrong PSP',
    measure: 'unexplained',
    falsify: (all, account) => withPaid(all, account, (one) => [{ ...one, account: otherThan(account) }]),
  },
  {
    name: 'a charge is nobody’s',
    measure: 'unexplained',
    falsify: (all, account) =>
      withPaid(all, account, (one) => [one, { ...one, id: `${one.id}_strange`, metadata: {} }]),
  },
  {
    name: 'a charge never reached the sandbox',
    measure: 'unexplained',
    falsify: (all, account) => withPaid(all, account, () => []),
  },
  {
    name: 'a charge is over another amount',
    measure: 'unexplained',
    falsify: (all, account) =>
      withPaid(all, account, (one) => [{ ...one, amount_received: one.amount_received - 1 }]),
  },
  {
    name: 'the book forgot a charge',
    measure: 'unexplained',
    falsify: (all, account) => withOrder(all, account, isSucceeded, []),
  },
  {
    name: 'an order took money that the book calls failed',
    measure: 'unexplained',
    falsify: (all, account) => withOrder(all, account, isSucceeded, [{ subState: 'declined' }]),
  },
  {
    name: 'the letter of a rejected order excuses no money',
    measure: 'unexplained',
    falsify: (all, account) =>
      withOrder(all, account, isSucceeded, [{ subState: 'rejected', deadLetter: 'rejected' }]),
  },
  {
    name: 'an order hangs without a job and without a letter',
    measure: 'unexplained',
    falsify: (all, account) =>
      withOrder(all, account, isSucceeded, [{ subState: 'pending_psp', job: 'none', deadLetter: null }]),
  },
  {
    name: 'a success is not booked',
    measure: 'imbalance',
    falsify: (all, account) => withOrder(all, account, isSucceeded, [{ successEntries: 0 }]),
  },
  {
    name: 'a second attempt that no person asked for',
    measure: 'second_attempts',
    falsify: (all, account) =>
      withOrder(all, account, () => true, [(one) => ({ attempts: one.renewals + 2 })]),
  },
  {
    name: 'a payout took a wallet below zero',
    measure: 'wallets_below_zero',
    falsify: (all) => withWallet(all, 'available', (one) => -one.overdrawnByMinor - 1n),
  },
  {
    name: 'more came out of a reservation than was in it',
    measure: 'wallets_below_zero',
    falsify: (all) => withWallet(all, 'in_refund', () => -1n),
  },
];

function isSucceeded(order: OrderFact): boolean {
  return order.subState === 'succeeded';
}

/** The first charge of the account that took money, replaced by what `change` makes of it. */
function withPaid(
  all: Material,
  account: string,
  change: (intent: TrueIntent) => readonly TrueIntent[],
): Material | null {
  const chosen = all.intents.find((intent) => intent.account === account && intent.amount_received > 0);
  if (chosen === undefined) return null;
  return { ...all, intents: all.intents.flatMap((one) => (one === chosen ? change(one) : [one])) };
}

type Change = Partial<OrderFact> | ((order: OrderFact) => Partial<OrderFact>);

/** The first of the account's orders that `is` chooses, replaced by as many as there are changes. */
function withOrder(
  all: Material,
  account: string,
  is: (order: OrderFact) => boolean,
  changes: readonly Change[],
): Material | null {
  const chosen = all.orders.find((order) => order.pspAccount === account && is(order));
  if (chosen === undefined) return null;
  const instead = changes.map((change) => ({
    ...chosen,
    ...(typeof change === 'function' ? change(chosen) : change),
  }));
  return { ...all, orders: all.orders.flatMap((one) => (one === chosen ? instead : [one])) };
}

function withWallet(
  all: Material,
  purpose: string,
  balanceOf: (wallet: Material['wallets'][number]) => bigint,
): Material | null {
  const chosen = all.wallets.find((wallet) => wallet.purpose === purpose);
  if (chosen === undefined) return null;
  const instead = { ...chosen, balanceMinor: balanceOf(chosen) };
  return { ...all, wallets: all.wallets.map((one) => (one === chosen ? instead : one)) };
}
