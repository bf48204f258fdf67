/**
 * What each row of a settlement file or bank statement books: the second half of the posting table. Only
 * these rules move the PSP balance, our mirror of what the PSP says it holds. Decides only.
 */
import { Bug } from '../errors.ts';
import type { Currency } from '../money.ts';
import {
  type AccountCode,
  bankAccount,
  expenseAccount,
  fxAccount,
  pspAccount,
  suspenseAccount,
} from './chart-of-accounts.ts';
import { type Entry, type Posting, pair, requirePositive } from './posting-rules.ts';

type AtPsp = { readonly pspAccount: string; readonly currency: Currency };

/** What the PSP charged in this row: above zero a cost, below zero a rebate. */
type Fee = { readonly feeMinor: bigint; readonly feeExpense: 'psp_fees' | 'dispute_fees' };

/**
 * Any row that moves our money at the PSP: `grossMinor` above zero came in, below zero went out. A fee in
 * the same row is part of the same entry. Zero gross and zero fee give an entry without postings.
 */
export function settlementLine(event: AtPsp & Fee & { readonly grossMinor: bigint }): Entry {
  const { currency, grossMinor } = event;
  const balance = pspAccount(event.pspAccount, 'balance');
  const receivable = pspAccount(event.pspAccount, 'receivable');
  return {
    kind: 'settlement_line',
    postings: [
      ...signedPair(balance, receivable, currency, grossMinor),
      ...feePair(event.pspAccount, currency, event),
    ],
  };
}

/** A row of its own for a fee or a rebate. */
export function pspFee(event: AtPsp & Fee): Entry {
  if (event.feeMinor === 0n) throw new Bug('a fee row without a fee');
  return { kind: 'psp_fee', postings: feePair(event.pspAccount, event.currency, event) };
}

function feePair(psp: string, currency: Currency, fee: Fee): readonly Posting[] {
  return signedPair(expenseAccount(fee.feeExpense), pspAccount(psp, 'balance'), currency, fee.feeMinor);
}

/** The PSP holds back part of our balance. */
export function reserveHeld(event: AtPsp & { readonly amountMinor: bigint }): Entry {
  requirePositive('reserve', event.amountMinor);
  const { reserve, balance } = ofPsp(event.pspAccount);
  return { kind: 'reserve_held', postings: pair(reserve, balance, event.currency, event.amountMinor) };
}

export function reserveReleased(event: AtPsp & { readonly amountMinor: bigint }): Entry {
  requirePositive('reserve', event.amountMinor);
  const { reserve, balance } = ofPsp(event.pspAccount);
  return { kind: 'reserve_released', postings: pair(balance, reserve, event.currency, event.amountMinor) };
}

function ofPsp(psp: string): { readonly reserve: AccountCode; readonly balance: AccountCode } {
  return { reserve: pspAccount(psp, 'reserve'), balance: pspAccount(psp, 'balance') };
}

type BetweenPspAndBank = AtPsp & { readonly bank: string; readonly amountMinor: bigint };
type AtBank = { readonly bank: string; readonly currency: Currency; readonly amountMinor: bigint };

/** The PSP's file says that it paid us; the bank has not shown it yet. */
export function depositPaid(event: BetweenPspAndBank): Entry {
  requirePositive('deposit', event.amountMinor);
  const { balance } = ofPsp(event.pspAccount);
  const postings = pair(bankAccount(event.bank, 'in_transit'), balance, event.currency, event.amountMinor);
  return { kind: 'deposit_paid', postings };
}

/** The bank's statement shows the deposit. */
export function depositArrived(event: AtBank): Entry {
  requirePositive('deposit', event.amountMinor);
  const [cash, inTransit] = [bankAccount(event.bank, 'cash'), bankAccount(event.bank, 'in_transit')];
  return { kind: 'deposit_arrived', postings: pair(cash, inTransit, event.currency, event.amountMinor) };
}

/** The bank's statement shows money that we sent to fund the PSP balance. */
export function topUpSent(event: AtBank): Entry {
  requirePositive('top-up', event.amountMinor);
  const [cash, inTransit] = [bankAccount(event.bank, 'cash'), bankAccount(event.bank, 'in_transit')];
  return { kind: 'top_up_sent', postings: pair(inTransit, cash, event.currency, event.amountMinor) };
}

/** The PSP's file shows the top-up. */
export function topUpArrived(event: BetweenPspAndBank): Entry {
  requirePositive('top-up', event.amountMinor);
  const { balance } = ofPsp(event.pspAccount);
  const postings = pair(balance, bankAccount(event.bank, 'in_transit'), event.currency, event.amountMinor);
  return { kind: 'top_up_arrived', postings };
}

/**
 * A row that the PSP settled in another currency than the charge's: one entry with two currencies, each
 * balanced in itself. Amounts are signed like a settlement line's and agree in sign; the fee is in the
 * settled currency. What stays on fx:{psp} is closed by {@link fxClosed}.
 */
export function settledInAnotherCurrency(
  event: Fee & {
    readonly pspAccount: string;
    readonly chargeCurrency: Currency;
    readonly chargeMinor: bigint;
    readonly settledCurrency: Currency;
    readonly settledMinor: bigint;
  },
): Entry {
  const { chargeCurrency, chargeMinor, settledCurrency, settledMinor } = event;
  if (chargeCurrency === settledCurrency)
    throw new Bug(`${chargeCurrency} settled in itself is no conversion`);
  if (chargeMinor === 0n || chargeMinor * settledMinor < 0n) {
    throw new Bug(
      `${chargeMinor} ${chargeCurrency} cannot have settled as ${settledMinor} ${settledCurrency}`,
    );
  }
  const fx = fxAccount(event.pspAccount);
  const receivable = pspAccount(event.pspAccount, 'receivable');
  const { balance } = ofPsp(event.pspAccount);
  return {
    kind: 'settled_in_another_currency',
    postings: [
      ...signedPair(fx, receivable, chargeCurrency, chargeMinor),
      ...signedPair(balance, fx, settledCurrency, settledMinor),
      ...feePair(event.pspAccount, settledCurrency, event),
    ],
  };
}

/**
 * Closes what a PSP's conversions left on fx:{psp} to expense:fx, for each currency its balance (above
 * zero: a debit balance). Booked by a named person or job, never by itself.
 */
export function fxClosed(event: {
  readonly pspAccount: string;
  readonly balances: readonly { readonly currency: Currency; readonly balanceMinor: bigint }[];
}): Entry {
  const fx = fxAccount(event.pspAccount);
  const postings = event.balances.flatMap(({ currency, balanceMinor }) =>
    signedPair(expenseAccount('fx'), fx, currency, balanceMinor),
  );
  return { kind: 'fx_closed', postings };
}

/**
 * Beside the line's own entry: nobody can explain it, so it waits in suspense instead of on the receivable.
 * Signed like the line.
 */
export function lineUnexplained(event: AtPsp & { readonly grossMinor: bigint }): Entry {
  if (event.grossMinor === 0n) throw new Bug('a line without an amount needs no explanation');
  const receivable = pspAccount(event.pspAccount, 'receivable');
  const suspense = suspenseAccount(event.pspAccount);
  return {
    kind: 'line_unexplained',
    postings: signedPair(receivable, suspense, event.currency, event.grossMinor),
  };
}

/** The fact that explains the line is booked after all: suspense gives the amount back to the receivable. */
export function lineExplained(event: AtPsp & { readonly grossMinor: bigint }): Entry {
  const { postings } = lineUnexplained({ ...event, grossMinor: -event.grossMinor });
  return { kind: 'line_explained', postings };
}

/** The pair for an amount above zero, the opposite pair below zero, none at zero. */
function signedPair(
  debit: AccountCode,
  credit: AccountCode,
  currency: Currency,
  amountMinor: bigint,
): readonly Posting[] {
  return amountMinor < 0n
    ? pair(credit, debit, currency, -amountMinor)
    : pair(debit, credit, currency, amountMinor);
}
