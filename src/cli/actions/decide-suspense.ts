/**
 * `suspense adopt` and `suspense refund`: show what will happen to the order, the wallet and the money, have it
 * confirmed, and store the decision. The daemon sends what is to be sent.
 */
import { accountsOf } from '../../core/config.ts';
import { OperatorError } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import { nameFault, normalText } from '../../core/payment/payment-fields.ts';
import { getBookKey } from '../../core/queue/queue-store.ts';
import { shownText } from '../../core/shown-text.ts';
import {
  adoptSuspense,
  refundSuspense,
  type SuspenseRefundResult,
} from '../../core/suspense/decide-suspense.ts';
import {
  refText,
  refuseAdoption,
  refuseSuspenseRefund,
  type SuspenseCase,
  type SuspenseRef,
  type SuspenseRefusal,
} from '../../core/suspense/suspense.ts';
import { findSuspenseRefund } from '../../core/suspense/suspense-store.ts';
import { listWallets } from '../../core/wallet/wallet-store.ts';
import { confirmOne } from '../confirm.ts';
import { EXIT } from '../exit-codes.ts';
import { type Book, withBook } from '../open-book.ts';
import { requireReason } from '../require-reason.ts';
import type { Session } from '../session.ts';
import { moneyOf, moneyText, sumUp } from '../words.ts';
import { requireRef, requireSuspense, suspenseResult } from './read-suspense.ts';

/** Exit 5 where it is refused, 1 where there is nothing. */
export async function adoptSuspenseCommand(session: Session, text: string): Promise<number> {
  const [ref, reason] = [requireRef(text), requireReason(session)];
  return withBook(session, async (book) => {
    const one = await requireSuspense(book.db, ref);
    throwRefusal(refuseAdoption(one));
    await tellAdoption(session, book, one);
    if (session.globals.dryRun) return EXIT.done;
    await confirmOne(session, 'Let the order take it?', sumUp([moneyOf(one)]));
    const result = await adoptSuspense(book.db, { principal: book.principal, reason }, ref);
    if (result.kind === 'adopted') {
      await session.print(suspenseResult(result.suspense));
      return EXIT.done;
    }
    if (result.kind === 'refused') throwRefusal(result);
    throw new OperatorError('suspense_not_found', result.message, { kind: 'answer_is_no' });
  });
}

/** Says what will happen; what really happens is decided under the row locks. */
async function tellAdoption(session: Session, { db }: Book, one: SuspenseCase): Promise<void> {
  const share = { ...moneyOf(one), amountMinor: one.amountMinor - one.feeMinor };
  const [wallet] = await listWallets(db, {
    seller: one.seller,
    currency: one.currency,
    order: 'seller',
    after: null,
    limit: 1,
  });
  const owed = { ...moneyOf(one), amountMinor: wallet?.totalMinor ?? 0n };
  const after = { ...owed, amountMinor: owed.amountMinor + share.amountMinor };
  session.note(
    `${refText(one)} moved ${moneyText(moneyOf(one))} for ${formatId('order', one.orderId)}, which is ${one.subState}. ` +
      `This will make it SUCCESS: ${shownText(one.seller)} is owed ${moneyText(owed)} now and ${moneyText(after)} afterwards.`,
  );
}

/** Exit 5 where it is refused, 1 where there is nothing, or where the refund of that name has failed. */
export async function refundSuspenseCommand(
  session: Session,
  text: string,
  flags: { readonly refundId: string | null },
): Promise<number> {
  const [ref, reason] = [requireRef(text), requireReason(session)];
  const refundId = readRefundId(flags.refundId) ?? `suspense:${refText(ref)}`;
  return withBook(session, async (book) => {
    const one = await requireSuspense(book.db, ref);
    const isAsked = await wasAsked(book, ref, refundId);
    if (!isAsked) throwRefusal(refuseSuspenseRefund(one));
    session.note(
      `${refText(one)} moved ${moneyText(moneyOf(one))} for ${formatId('order', one.orderId)}, which is ${one.subState}. ` +
        `This will give all of it back to the buyer as "${refundId}".`,
    );
    if (session.globals.dryRun) return EXIT.done;
    await confirmOne(session, 'Refund it?', sumUp([moneyOf(one)]));
    const refunder = {
      principal: book.principal,
      reason,
      bookKey: await getBookKey(book.db),
      accountOf: accountsOf(book.config),
    };
    return report(session, await refundSuspense(book.db, refunder, ref, refundId));
  });
}

async function wasAsked({ db }: Book, ref: SuspenseRef, refundId: string): Promise<boolean> {
  const named = await findSuspenseRefund(db, refundId);
  return named !== null && named.operationId === ref.operationId && named.attemptNumber === ref.attemptNumber;
}

/** @throws OperatorError refund_invalid */
function readRefundId(text: string | null): string | null {
  if (text === null) return null;
  const fault = nameFault('idempotency_key', text);
  if (fault === null) return normalText(text);
  throw new OperatorError('refund_invalid', `refund_id ${fault.message}`);
}

async function report(session: Session, result: SuspenseRefundResult): Promise<number> {
  switch (result.kind) {
    case 'accepted':
    case 'replayed': {
      const failed = result.kind === 'replayed' && refuseSuspenseRefund(result.suspense) === null;
      if (failed) session.note('The refund of this name has failed. Give another --refund-id to try again.');
      else if (result.kind === 'replayed')
        session.note('This refund was asked for before; nothing was done.');
      await session.print(suspenseResult(result.suspense));
      return failed ? EXIT.answerIsNo : EXIT.done;
    }
    case 'refused':
      return throwRefusal(result) ?? EXIT.refused;
    case 'not_found':
      throw new OperatorError('suspense_not_found', result.message, { kind: 'answer_is_no' });
    default:
      throw new OperatorError(result.kind, result.message, { kind: 'refused' });
  }
}

/** @throws OperatorError with the refusal's code; nothing for null */
function throwRefusal(refusal: SuspenseRefusal | null): null {
  if (refusal === null) return null;
  throw new OperatorError(refusal.code, refusal.message, { kind: 'refused' });
}
