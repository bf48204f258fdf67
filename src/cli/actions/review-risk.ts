/** `risk review list|approve|reject`: shows what waits for a person, and takes the person's decision. */
import { OperatorError } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import { isoTime } from '../../core/payment/payment-answer.ts';
import { listPaymentRows, type PaymentRow } from '../../core/payment/payment-store.ts';
import { decideReview } from '../../core/risk/review-payments.ts';
import { listReviews, type ReviewRow, type ReviewState } from '../../core/risk/risk-store.ts';
import { shownText } from '../../core/shown-text.ts';
import { confirmOne } from '../confirm.ts';
import { EXIT } from '../exit-codes.ts';
import { type Book, withBook } from '../open-book.ts';
import type { Block } from '../render/table.ts';
import type { Session } from '../session.ts';
import { countText, moneyOf, requireId, sumUp, timeText, totalsJson, totalsText } from '../words.ts';
import { askFor, listResult, pageOf } from './page.ts';

export type ReviewListFlags = {
  readonly state: ReviewState | null;
  readonly limit: number;
  readonly cursor: string | null;
};

/** A review with the orders of its payment. */
type Item = { readonly review: ReviewRow; readonly orders: readonly PaymentRow[] };

/** One page, newest payment first. */
export async function listReviewsCommand(session: Session, flags: ReviewListFlags): Promise<number> {
  const beforeId = flags.cursor === null ? null : requireId('payment', flags.cursor);
  return withBook(session, async ({ db }) => {
    const found = await listReviews(db, { state: flags.state, beforeId, limit: askFor(flags.limit) });
    const page = pageOf(found, flags.limit);
    const rows = Map.groupBy(
      await listPaymentRows(
        db,
        page.items.map((review) => review.paymentId),
      ),
      (row) => row.id,
    );
    const items = page.items.map((review) => ({ review, orders: rows.get(review.paymentId) ?? [] }));
    const cursor = page.next === null ? null : formatId('payment', page.next.paymentId);
    await session.print(listResult(items.map(reviewView), cursor, [tableOf(items)]));
    return EXIT.done;
  });
}

function reviewView({ review, orders }: Item) {
  return {
    payment_id: formatId('payment', review.paymentId),
    state: review.state,
    buyer: orders[0]?.buyer ?? '',
    totals: totalsJson(sumUp(orders.map(moneyOf))),
    reason: orders[0]?.riskReason ?? '',
    rules_version: review.rulesVersion,
    hits: review.hits,
    opened_at: isoTime(review.openedAt),
    due_at: isoTime(review.dueAt),
    decided_at: review.decidedAt === null ? null : isoTime(review.decidedAt),
    decided_by: review.decidedBy,
    decide_reason: review.reason,
  };
}

function tableOf(items: readonly Item[]): Block {
  return {
    kind: 'table',
    empty: 'no reviews',
    columns: [
      { title: 'PAYMENT' },
      { title: 'STATE' },
      { title: 'BUYER', shrink: true },
      { title: 'AMOUNT', align: 'right' },
      { title: 'WHY', shrink: true },
      { title: 'DUE' },
    ],
    rows: items.map((item) => {
      const view = reviewView(item);
      return [
        view.payment_id,
        { text: view.state, tone: view.state === 'open' ? 'warn' : null },
        view.buyer,
        totalsText(sumUp(item.orders.map(moneyOf))),
        view.reason,
        timeText(view.due_at),
      ];
    }),
  };
}

/** Asks before it approves; exit 5 when not confirmed, decided before, timed out, or on a block list. */
export async function decideReviewCommand(
  session: Session,
  text: string,
  verdict: 'approved' | 'rejected',
): Promise<number> {
  const paymentId = requireId('payment', text);
  const { reason } = session.globals;
  if (reason === null) {
    throw new OperatorError(
      'reason_missing',
      'Say why: --reason "what you found out"; it is stored with your name.',
    );
  }
  return withBook(session, async (book) => {
    const rows = await findRows(book, paymentId, text);
    const totals = sumUp(rows.map(moneyOf));
    const effect =
      verdict === 'approved'
        ? `charge ${totalsText(totals)} to ${shownText(rows[0]!.buyer)}`
        : 'end it unsent';
    const name = formatId('payment', paymentId);
    // Where none of it waits there is nothing to promise or to ask; the workflow says why.
    const waits = rows.some((row) => row.subState === 'in_risk_review');
    if (waits) session.note(`${name} was sent to review (${rows[0]!.riskReason}); this will ${effect}.`);
    if (session.globals.dryRun) return EXIT.done;
    if (waits && verdict === 'approved') await confirmOne(session, 'Approve it?', totals);
    const { principal, config } = book;
    const charges = await decideReview(book.db, {
      paymentId,
      verdict,
      reason,
      principal,
      rules: config.risk,
    });
    await session.print({
      json: {
        payment_id: name,
        state: verdict,
        charges,
        decided_by: principal,
        decide_reason: reason.trim(),
      },
      blocks: [
        {
          kind: 'line',
          text: `${name}: ${verdict}, ${countText(charges, 'charge')} ${verdict === 'approved' ? 'queued' : 'ended'}`,
        },
      ],
    });
    return EXIT.done;
  });
}

async function findRows({ db }: Book, paymentId: bigint, text: string): Promise<readonly PaymentRow[]> {
  const rows = await listPaymentRows(db, [paymentId]);
  if (rows.length > 0) return rows;
  throw new OperatorError('payment_not_found', `There is no payment ${shownText(text)}.`, {
    kind: 'answer_is_no',
  });
}
