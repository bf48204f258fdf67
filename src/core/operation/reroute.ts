/**
 * Which declined charges are tried at another PSP account, and where. Decides only: off unless a routing rule names
 * accounts for it, and never where anything is in doubt.
 */
import type { Currency } from '../money.ts';
import { findChargeFault } from '../psp/request.ts';
import { accountAfterDecline, type RoutedAccount } from '../psp/route.ts';
import type { Reroute, Verdict } from './finding.ts';

/** A charge that was just declined, with all that its next request is made of. */
export type DeclinedCharge = {
  readonly operationId: bigint;
  readonly paymentId: bigint;
  readonly orderId: bigint;
  readonly pspAccount: string;
  readonly operationFence: number;
  readonly attemptNumber: number;
  /** JSON text as it was frozen for the account that declined it. */
  readonly request: string;
  readonly checkoutId: string;
  readonly buyer: string;
  readonly seller: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly customerPresent: boolean;
  readonly returnUrl: string | null;
  /** Accounts of all its attempts. */
  readonly tried: readonly string[];
};

/**
 * The PSP looked at it for the first time, said no, and advises to try again: nothing was ever in doubt, nobody wanted it
 * canceled, and the word is the PSP's own answer to whoever holds the job.
 */
export function isSoftlyDeclined({
  subject,
  finding,
  right,
  outcome,
  subState,
  wasInDoubt,
}: Verdict): boolean {
  if (subject.kind !== 'charge' || right !== 'held' || subState !== 'declined') return false;
  if (outcome.kind !== 'declined' || outcome.contradicted || wasInDoubt || subject.cancelAs !== null)
    return false;
  return finding.reply?.kind === 'declined' && finding.reply.mayRetryAsNew;
}

/** The first account of the list that the charge has not been at and that can take it; null: it stays declined. */
export function nextAccount(
  { route }: Reroute,
  charge: DeclinedCharge,
  paymentMethod: string,
): RoutedAccount | null {
  const currency = charge.currency as Currency;
  const tried = new Set(charge.tried);
  const terms = { amountMinor: charge.amountMinor, currency, paymentMethod, buyer: charge.buyer };
  for (;;) {
    const account = accountAfterDecline(route, { ...charge, currency }, tried);
    if (account === null || findChargeFault(account, terms) === null) return account;
    tried.add(account.name);
  }
}
