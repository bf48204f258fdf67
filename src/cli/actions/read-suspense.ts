/** `suspense show` and `suspense list`. Reads only. */
import type { Queryable } from '../../core/db/connection.ts';
import { OperatorError, unreachable } from '../../core/errors.ts';
import { shownText } from '../../core/shown-text.ts';
import {
  parseRef,
  refText,
  refuseAdoption,
  refuseSuspenseRefund,
  type SuspenseCase,
  type SuspenseRef,
  type SuspenseState,
} from '../../core/suspense/suspense.ts';
import { type SuspenseView, suspenseView } from '../../core/suspense/suspense-answer.ts';
import { ANY_SUSPENSE, listSuspense } from '../../core/suspense/suspense-store.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import type { Result } from '../render/render-result.ts';
import type { Block, Tone } from '../render/table.ts';
import type { Session } from '../session.ts';
import { requireId, timeText } from '../words.ts';
import { askFor, listResult, pageOf } from './page.ts';

/** Exit 1 when there is none. */
export async function showSuspense(session: Session, text: string): Promise<number> {
  const ref = requireRef(text);
  return withBook(session, async ({ db }) => {
    await session.print(suspenseResult(await requireSuspense(db, ref)));
    return EXIT.done;
  });
}

/** @throws OperatorError id_invalid */
export function requireRef(text: string): SuspenseRef {
  const ref = parseRef(text);
  if (ref !== null) return ref;
  throw new OperatorError('id_invalid', `${shownText(text)} is not an attempt like op_14/2.`);
}

/** @throws OperatorError suspense_not_found */
export async function requireSuspense(on: Queryable, ref: SuspenseRef): Promise<SuspenseCase> {
  const [one] = await listSuspense(on, { ...ANY_SUSPENSE, refs: [ref], limit: 1 });
  if (one !== undefined) return one;
  throw new OperatorError('suspense_not_found', `${refText(ref)} has no money in suspense.`, {
    kind: 'answer_is_no',
  });
}

/** One of them, with what can be done about it. */
export function suspenseResult(one: SuspenseCase): Result {
  const view = suspenseView(one);
  const { refund } = view;
  return {
    json: view,
    blocks: [
      {
        kind: 'facts',
        facts: [
          ['attempt', view.attempt],
          ['state', { text: view.state, tone: toneOfSuspense(view.state) }],
          ['why', view.cause === 'late' ? 'its order had failed' : 'its order had been charged already'],
          ['amount', `${view.amount} ${view.currency}`],
          ['order', `${view.payment_order_id} of ${view.payment_id}, ${view.order_sub_state}`],
          ['seller', view.seller],
          ['PSP', `${view.psp_account} ${view.psp_reference ?? ''}`.trim()],
          ...(refund === null
            ? []
            : [['refund', `"${refund.refund_id}", ${refund.operation_id}: ${refund.sub_state}`] as const]),
          ...(view.dispute === null ? [] : [['dispute', view.dispute] as const]),
          ['since', timeText(view.since)],
          ['next', nextOf(one)],
        ],
      },
    ],
  };
}

/** What a person can do about it. */
function nextOf(one: SuspenseCase): string {
  const name = refText(one);
  const [adoption, refund] = [refuseAdoption(one), refuseSuspenseRefund(one)];
  const ways = [
    ...(adoption === null ? [`paygate suspense adopt ${name}`] : []),
    ...(refund === null ? [`paygate suspense refund ${name}`] : []),
  ];
  return ways.length === 0 ? 'nothing to decide' : ways.join(' or ');
}

export type SuspenseListFlags = {
  readonly which: 'undecided' | 'all';
  readonly payment: string | null;
  readonly psp: string | null;
  readonly limit: number;
  readonly cursor: string | null;
};

/** One page, newest first. */
export async function listSuspenseCommand(session: Session, flags: SuspenseListFlags): Promise<number> {
  const filter = {
    ...ANY_SUSPENSE,
    which: flags.which,
    paymentIds: flags.payment === null ? null : [requireId('payment', flags.payment)],
    pspAccount: flags.psp,
    before: flags.cursor === null ? null : requireRef(flags.cursor),
    limit: askFor(flags.limit),
  };
  return withBook(session, async ({ db }) => {
    const page = pageOf(await listSuspense(db, filter), flags.limit);
    const next = page.next === null ? null : refText(page.next);
    const views = page.items.map(suspenseView);
    await session.print(listResult(views, next, [tableOf(views)]));
    return EXIT.done;
  });
}

function tableOf(views: readonly SuspenseView[]): Block {
  return {
    kind: 'table',
    empty: 'nothing in suspense',
    columns: [
      { title: 'ATTEMPT' },
      { title: 'ORDER' },
      { title: 'SELLER', shrink: true },
      { title: 'AMOUNT', align: 'right' },
      { title: 'CAUSE' },
      { title: 'STATE' },
      { title: 'REFUND', shrink: true },
      { title: 'PSP', shrink: true },
      { title: 'SINCE' },
    ],
    rows: views.map((view) => [
      view.attempt,
      view.payment_order_id,
      view.seller,
      `${view.amount} ${view.currency}`,
      view.cause,
      { text: view.state, tone: toneOfSuspense(view.state) },
      view.refund === null ? '' : `${view.refund.refund_id}: ${view.refund.sub_state}`,
      `${view.psp_account} ${view.psp_reference ?? ''}`.trim(),
      timeText(view.since),
    ]),
  };
}

function toneOfSuspense(state: SuspenseState): Tone | null {
  switch (state) {
    case 'open':
    case 'disputed':
      return 'bad';
    case 'refunding':
      return 'warn';
    case 'refunded':
    case 'adopted':
      return 'good';
    case 'reversed':
      return null;
    default:
      return unreachable(state);
  }
}
