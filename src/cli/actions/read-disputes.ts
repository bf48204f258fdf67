/** `disputes show` and `disputes list`. Reads only. */
import type { Queryable } from '../../core/db/connection.ts';
import { type DisputeView, disputeView } from '../../core/dispute/dispute-answer.ts';
import { ANY_DISPUTE, type DisputeRow, listDisputes } from '../../core/dispute/dispute-store.ts';
import { OperatorError, unreachable } from '../../core/errors.ts';
import { formatId, parseId } from '../../core/ids.ts';
import type { DisputeState } from '../../core/psp/psp.ts';
import { shownText } from '../../core/shown-text.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import type { Block, Tone } from '../render/table.ts';
import type { Session } from '../session.ts';
import { requireId, timeText } from '../words.ts';
import { askFor, listResult, pageOf } from './page.ts';

/** Exit 1 when there is none. */
export async function showDispute(session: Session, name: string): Promise<number> {
  return withBook(session, async ({ db }) => {
    const view = disputeView(await requireDispute(db, name));
    await session.print({ json: view, blocks: [{ kind: 'facts', facts: factsOf(view) }] });
    return EXIT.done;
  });
}

/** By our id, or the PSP's name of it: the prefix decides. */
async function requireDispute(on: Queryable, name: string): Promise<DisputeRow> {
  const id = name.startsWith('dsp_') ? parseId('dispute', name) : null;
  const filter = id === null ? { pspReference: name } : { ids: [id] };
  const [row] = await listDisputes(on, { ...ANY_DISPUTE, ...filter, limit: 1 });
  if (row !== undefined) return row;
  throw new OperatorError('dispute_not_found', `There is no dispute ${shownText(name)}.`, {
    kind: 'answer_is_no',
  });
}

function factsOf(view: DisputeView): Extract<Block, { kind: 'facts' }>['facts'] {
  const share = `${view.seller_share} ${view.currency}`;
  const bears =
    view.holder === 'suspense' ? 'nobody: the money is in suspense' : `${view.seller} bears ${share} of it`;
  return [
    ['dispute', view.id],
    ['state', { text: view.state, tone: toneOfDispute(view.state) }],
    ['reason', view.reason],
    ['order', `${view.payment_order_id} of ${view.payment_id}`],
    ['charge', `${view.operation_id}/${view.attempt_number}`],
    ['amount', `${view.amount} ${view.currency}`],
    ['seller', bears],
    ...(view.borne_by === null ? [] : [['the rest', `borne by ${view.borne_by}`] as const]),
    ['PSP', `${view.psp_account} ${view.psp_reference}`],
    ['opened', timeText(view.opened_at)],
    ['updated', timeText(view.updated_at)],
  ];
}

export type DisputeListFlags = {
  readonly state: DisputeState | null;
  readonly order: string | null;
  readonly payment: string | null;
  readonly seller: string | null;
  readonly limit: number;
  readonly cursor: string | null;
};

/** One page, newest first. */
export async function listDisputesCommand(session: Session, flags: DisputeListFlags): Promise<number> {
  const filter = {
    ...ANY_DISPUTE,
    state: flags.state,
    orderId: flags.order === null ? null : requireId('order', flags.order),
    paymentIds: flags.payment === null ? null : [requireId('payment', flags.payment)],
    seller: flags.seller?.normalize('NFC') ?? null,
    beforeId: flags.cursor === null ? null : requireId('dispute', flags.cursor),
    limit: askFor(flags.limit),
  };
  return withBook(session, async ({ db }) => {
    const page = pageOf(await listDisputes(db, filter), flags.limit);
    const next = page.next === null ? null : formatId('dispute', page.next.id);
    const views = page.items.map(disputeView);
    await session.print(listResult(views, next, [disputeTable(views)]));
    return EXIT.done;
  });
}

export function disputeTable(views: readonly DisputeView[]): Block {
  return {
    kind: 'table',
    empty: 'no disputes',
    columns: [
      { title: 'DISPUTE' },
      { title: 'ORDER' },
      { title: 'SELLER', shrink: true },
      { title: 'AMOUNT', align: 'right' },
      { title: 'STATE' },
      { title: 'REASON', shrink: true },
      { title: 'PSP REFERENCE', shrink: true },
      { title: 'OPENED' },
    ],
    rows: views.map((view) => [
      view.id,
      view.payment_order_id,
      view.seller,
      `${view.amount} ${view.currency}`,
      { text: view.state, tone: toneOfDispute(view.state) },
      view.reason,
      view.psp_reference,
      timeText(view.opened_at),
    ]),
  };
}

function toneOfDispute(state: DisputeState): Tone {
  switch (state) {
    case 'opened':
      return 'warn';
    case 'won':
      return 'good';
    case 'lost':
      return 'bad';
    default:
      return unreachable(state);
  }
}
