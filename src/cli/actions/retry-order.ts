/**
 * `payments retry`: another attempt at an order that was definitely not charged. Shows what it will do, has it
 * confirmed, opens the attempt; the same command again gets the same answer.
 */
import { accountsOf } from '../../core/config.ts';
import { OperatorError, unreachable } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import { isOpenAttempt } from '../../core/operation/evidence.ts';
import { listStandings, type Standing } from '../../core/operation/reopening-store.ts';
import {
  findRetryRefusal,
  type RetryAnswer,
  type RetryRequest,
  readRetryRequest,
} from '../../core/payment/payment-retry.ts';
import { findAnsweredKey, type PaymentRow } from '../../core/payment/payment-store.ts';
import { type RetryResult, retryOrder } from '../../core/payment/retry-order.ts';
import { getBookKey } from '../../core/queue/queue-store.ts';
import { shownText } from '../../core/shown-text.ts';
import { confirmOne } from '../confirm.ts';
import { EXIT } from '../exit-codes.ts';
import { requirePolicy } from '../load-config.ts';
import { withBook } from '../open-book.ts';
import type { Session } from '../session.ts';
import { moneyOf, moneyText, requireId, sumUp } from '../words.ts';
import { findOrderRow } from './find-order.ts';

export type RetryFlags = { readonly order: string; readonly method: string; readonly key: string | null };

/** Exit 5 when it is not confirmed, refused as the order stands, or stopped by the risk check. */
export async function retryOrderCommand(session: Session, flags: RetryFlags): Promise<number> {
  const orderId = requireId('order', flags.order);
  const { risk } = requirePolicy(session);
  return withBook(session, async (book) => {
    const { db, config, principal } = book;
    const row = await findOrderRow(book, orderId, flags.order);
    const [standing] = await listStandings(db, [row.operationId]);
    const request = requireRequest(flags, orderId, standing);
    // What was answered already opens nothing: there is nothing to confirm.
    if ((await findAnsweredKey(db, request.idempotencyKey)) === null) {
      const refusal = findRetryRefusal(standing);
      if (refusal !== null) throw new OperatorError(refusal.code, refusal.message, { kind: 'refused' });
      session.note(planText(row, request, standing));
      if (session.globals.dryRun) return EXIT.done;
      await confirmOne(session, 'Charge it?', sumUp([moneyOf(row)]));
    } else if (session.globals.dryRun) return sayKnown(session);
    const context = { risk, bookKey: await getBookKey(db), principal, accountOf: accountsOf(config) };
    return report(session, await retryOrder(db, context, row.id, request));
  });
}

function sayKnown(session: Session): number {
  session.note('This retry was answered already; nothing would be opened.');
  return EXIT.done;
}

/**
 * The key names the attempt that is asked for: the same command again, while that is under way, is the same request.
 * @throws OperatorError retry_invalid, with every fault
 */
function requireRequest(flags: RetryFlags, orderId: bigint, standing: Standing | undefined): RetryRequest {
  const order = formatId('order', orderId);
  const reading = readRetryRequest({
    payment_order_id: order,
    payment_method: flags.method,
    idempotency_key: flags.key ?? `retry-${order}-${attemptMeant(standing)}`,
  });
  if (reading.kind === 'ok') return reading.request;
  const faults = reading.faults.map(({ field, code, message }) => ({
    flag: field === 'payment_method' ? '--method' : '--key',
    code,
    message,
  }));
  const lines = faults.map(({ flag, message }) => `  ${flag} ${message}`);
  throw new OperatorError('retry_invalid', ['This retry is not right:', ...lines].join('\n'), {
    details: { faults },
  });
}

function attemptMeant(standing: Standing | undefined): number {
  if (standing === undefined) return 1;
  const { attemptNumber, attemptState } = standing;
  return isOpenAttempt(attemptState) && attemptNumber > 1 ? attemptNumber : attemptNumber + 1;
}

function planText(row: PaymentRow, request: RetryRequest, standing: Standing | undefined): string {
  const order = formatId('order', row.orderId);
  return (
    `${order} is ${row.subState}. Charge ${moneyText(moneyOf(row))} to ${shownText(row.buyer)} for ` +
    `${shownText(row.seller)} by ${shownText(request.paymentMethod)}: attempt ${attemptMeant(standing)}`
  );
}

async function report(session: Session, result: RetryResult): Promise<number> {
  switch (result.kind) {
    case 'accepted':
    case 'replayed':
      return printAnswer(session, result.answer, result.kind);
    case 'not_found':
      throw new OperatorError('order_not_found', result.message, { kind: 'answer_is_no' });
    case 'refused':
      throw new OperatorError(result.code, result.message, { kind: 'refused' });
    case 'idempotency_key_reused':
      throw new OperatorError(result.kind, result.message, { kind: 'refused' });
    case 'not_expressible':
      throw new OperatorError(result.kind, result.message);
    case 'request_in_progress':
      throw new OperatorError(result.kind, 'Somebody works on the same order just now; try again.', {
        kind: 'failed',
      });
    default:
      return unreachable(result);
  }
}

async function printAnswer(
  session: Session,
  answer: RetryAnswer,
  result: 'accepted' | 'replayed',
): Promise<number> {
  const isBlocked = answer.risk.decision === 'block';
  const text = isBlocked
    ? `${answer.payment_order_id} stays ${answer.status}`
    : `${answer.payment_order_id}: attempt ${answer.attempt_number} is queued; look: paygate payments show ${answer.payment_id}`;
  await session.print({ json: { ...answer, result }, blocks: [{ kind: 'line', text }] });
  if (!isBlocked) return EXIT.done;
  session.note(`Stopped by the risk check: ${answer.risk.reason}.`);
  return EXIT.refused;
}
