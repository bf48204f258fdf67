/** What a falsification is: one fact of a run that has just been judged, changed so that the judge must name it. Pure. */
import { type Difference, judgeCharges } from './judge.ts';
import { judgePayouts, type PayoutFact } from './judge-payouts.ts';
import { judgeKept, judgeRefunds, type RefundMaterial } from './judge-refunds.ts';
import { judgeWallets, type WalletFact } from './judge-wallets.ts';
import { ADYEN_ACCOUNT, STRIPE_ACCOUNT } from './psps.ts';
import type { TrueTransfer } from './sandbox.ts';

/** Everything that is judged without asking anybody any more. */
export type Material = RefundMaterial & {
  /** Of the payouts that were submitted. */
  readonly names: ReadonlySet<string>;
  readonly payouts: readonly PayoutFact[];
  readonly transfers: readonly TrueTransfer[];
  readonly wallets: readonly WalletFact[];
};

export type Falsification = {
  readonly name: string;
  readonly measure: Difference['measure'];
  /** Null where this run has nothing of the kind at the account. */
  readonly falsify: (material: Material, account: string) => Material | null;
};

export function judgeAll(all: Material): readonly Difference[] {
  return [
    ...judgeCharges(all.orders, all.intents),
    ...judgeRefunds(all),
    ...judgeKept(all),
    ...judgePayouts(all.names, all.payouts, all.transfers),
    ...judgeWallets(all.wallets),
  ];
}

export function otherThan(account: string): string {
  return account === STRIPE_ACCOUNT ? ADYEN_ACCOUNT : STRIPE_ACCOUNT;
}
