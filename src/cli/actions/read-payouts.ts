/** `payouts show`, `list` and `batches`. Reads only; a batch is summed up by the database, never loaded. */
import type { Queryable } from '../../core/db/connection.ts';
import { OperatorError, unreachable } from '../../core/errors.ts';
import { formatId, parseId } from '../../core/ids.ts';
import type { PayoutState } from '../../core/payout/payout.ts';
import {
  type BatchView,
  batchView,
  type PayoutView,
  payoutView,
  type StatusSum,
  sumsByStatus,
} from '../../core/payout/payout-answer.ts';
import {
  ANY_PAYOUT,
  listPayoutBatches,
  listPayouts,
  listRefused,
  type PayoutFilter,
  type PayoutRow,
  sumUpBatch,
} from '../../core/payout/payout-list-store.ts';
import { findPayoutBatch, type PayoutBatch } from '../../core/payout/payout-store.ts';
import { shownText } from '../../core/shown-text.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import type { Result } from '../render/render-result.ts';
import type { Block, Tone } from '../render/table.ts';
import type { Session } from '../session.ts';
import { requireId, timeText } from '../words.ts';
import { askFor, listResult, pageOf } from './page.ts';
import { MAX_LISTED } from './payout-plan.ts';

/** A batch by its id, a payout by its id or its name; exit 1 when there is none. */
export async function showPayout(session: Session, text: string): Promise<number> {
  const batchId = /^pob_/.test(text) ? requireId('payoutBatch', text) : null;
  return withBook(session, async ({ db }) => {
    if (batchId !== null) {
      await session.print(await batchResult(db, await requireBatch(db, batchId)));
      return EXIT.done;
    }
    await session.print(payoutResult(payoutView(await requirePayout(db, text))));
    return EXIT.done;
  });
}

/** By its id, its operation's, or its name. @throws OperatorError payout_not_found */
export async function requirePayout(on: Queryable, text: string): Promise<PayoutRow> {
  const [row] = await listPayouts(on, { ...ANY_PAYOUT, ...namedBy(text) });
  if (row !== undefined) return row;
  throw new OperatorError('payout_not_found', `There is no payout ${shownText(text)}.`, {
    kind: 'answer_is_no',
  });
}

function namedBy(text: string): Partial<PayoutFilter> {
  const id = /^po_/.test(text) ? parseId('payout', text) : null;
  if (id !== null) return { id };
  const operationId = /^op_/.test(text) ? parseId('operation', text) : null;
  return operationId === null ? { itemRef: text.normalize('NFC') } : { operationId };
}

/** One payout, for a person and as JSON. */
export function payoutResult(view: PayoutView): Result {
  return { json: view, blocks: [factsOf(view)] };
}

/** @throws OperatorError payout_batch_not_found */
export async function requireBatch(on: Queryable, id: bigint): Promise<PayoutBatch> {
  const batch = await findPayoutBatch(on, id);
  if (batch !== null) return batch;
  const name = formatId('payoutBatch', id);
  throw new OperatorError('payout_batch_not_found', `There is no payout batch ${name}.`, {
    kind: 'answer_is_no',
  });
}

/** Where a batch stands: its sums by status, and the first 1,000 that were refused. */
export async function batchResult(on: Queryable, batch: PayoutBatch): Promise<Result> {
  const sums = sumsByStatus(await sumUpBatch(on, batch.id));
  const refused = await listRefused(on, batch.id, MAX_LISTED);
  const view = batchView(batch);
  const refusals = refused.map(({ id, line, itemRef, code, reason }) => ({
    payout_id: formatId('payout', id),
    line,
    item_ref: itemRef,
    code,
    reason,
  }));
  return {
    json: { ...view, statuses: sums, refusals },
    blocks: [
      batchFacts(view),
      sumTable(sums),
      ...(refusals.length > 0 ? [refusalTable(refusals)] : []),
      { kind: 'line', text: { text: `items: paygate payouts list --batch ${view.batch_id}`, tone: 'dim' } },
    ],
  };
}

function batchFacts(view: BatchView): Block {
  return {
    kind: 'facts',
    facts: [
      ['batch', view.batch_id],
      ['state', { text: view.state, tone: view.state === 'approved' ? 'good' : 'warn' }],
      ['file', `${view.source}, ${view.items} new`],
      ['paid from', view.psp_account],
      ['submitted', `${timeText(view.submitted_at)} by ${view.submitted_by}`],
      ...(view.approved_at === null
        ? []
        : [['approved', `${timeText(view.approved_at)} by ${view.approved_by}`] as const]),
    ],
  };
}

function sumTable(sums: readonly StatusSum[]): Block {
  return {
    kind: 'table',
    empty: '',
    columns: [{ title: 'STATUS' }, { title: 'PAYOUTS', align: 'right' }, { title: 'TOTAL', align: 'right' }],
    rows: sums.map(({ status, items, totals }) => [
      { text: status, tone: toneOfPayout(status) },
      String(items),
      totals.map(({ amount, currency }) => `${amount} ${currency}`).join(', '),
    ]),
  };
}

function refusalTable(
  refusals: readonly { line: number; item_ref: string; code: string; reason: string }[],
): Block {
  return {
    kind: 'table',
    empty: '',
    columns: [
      { title: 'LINE', align: 'right' },
      { title: 'ITEM', shrink: true },
      { title: 'REFUSED' },
      { title: 'REASON', shrink: true },
    ],
    rows: refusals.map(({ line, item_ref, code, reason }) => [String(line), item_ref, code, reason]),
  };
}

function factsOf(view: PayoutView): Block {
  return {
    kind: 'facts',
    facts: [
      ['payout', view.payout_id],
      ['name', view.item_ref],
      ['batch', `${view.batch_id}, line ${view.line}`],
      ['seller', view.seller],
      ['amount', `${view.amount} ${view.currency}`],
      ['destination', view.destination ?? '(as the register says)'],
      ['status', { text: view.status, tone: toneOfPayout(view.status) }],
      ...(view.reason === null ? [] : [['reason', view.reason] as const]),
      ...(view.operation_id === null
        ? []
        : [['operation', `${view.operation_id} (${view.sub_state})`] as const]),
      ['PSP', `${view.psp_account} ${view.psp_reference ?? ''}`.trim()],
      ...(view.memo === null ? [] : [['memo', view.memo] as const]),
      ['updated', timeText(view.updated_at)],
    ],
  };
}

export type PayoutListFlags = {
  readonly status: PayoutState | null;
  readonly seller: string | null;
  readonly batch: string | null;
  readonly limit: number;
  readonly cursor: string | null;
};

/** One page, newest first. */
export async function listPayoutsCommand(session: Session, flags: PayoutListFlags): Promise<number> {
  const filter: PayoutFilter = {
    ...ANY_PAYOUT,
    state: flags.status,
    seller: flags.seller?.normalize('NFC') ?? null,
    batchId: flags.batch === null ? null : requireId('payoutBatch', flags.batch),
    beforeId: flags.cursor === null ? null : requireId('payout', flags.cursor),
    limit: askFor(flags.limit),
  };
  return withBook(session, async ({ db }) => {
    const page = pageOf(await listPayouts(db, filter), flags.limit);
    const next = page.next === null ? null : formatId('payout', page.next.id);
    const views = page.items.map(payoutView);
    await session.print(listResult(views, next, [payoutTable(views)]));
    return EXIT.done;
  });
}

function payoutTable(views: readonly PayoutView[]): Block {
  return {
    kind: 'table',
    empty: 'no payouts',
    columns: [
      { title: 'PAYOUT' },
      { title: 'ITEM', shrink: true },
      { title: 'SELLER', shrink: true },
      { title: 'AMOUNT', align: 'right' },
      { title: 'STATUS' },
      { title: 'DETAIL', shrink: true },
      { title: 'UPDATED' },
    ],
    rows: views.map((view) => [
      view.payout_id,
      view.item_ref,
      view.seller,
      `${view.amount} ${view.currency}`,
      { text: view.status, tone: toneOfPayout(view.status) },
      view.reason ?? view.sub_state ?? '',
      timeText(view.updated_at),
    ]),
  };
}

export type BatchListFlags = {
  readonly status: PayoutBatch['state'] | null;
  readonly limit: number;
  readonly cursor: string | null;
};

/** One page, newest first. */
export async function listBatchesCommand(session: Session, flags: BatchListFlags): Promise<number> {
  const beforeId = flags.cursor === null ? null : requireId('payoutBatch', flags.cursor);
  return withBook(session, async ({ db }) => {
    const found = await listPayoutBatches(db, { beforeId, state: flags.status, limit: askFor(flags.limit) });
    const page = pageOf(found, flags.limit);
    const next = page.next === null ? null : formatId('payoutBatch', page.next.id);
    const views = page.items.map(batchView);
    await session.print(listResult(views, next, [batchTable(views)]));
    return EXIT.done;
  });
}

function batchTable(views: readonly BatchView[]): Block {
  return {
    kind: 'table',
    empty: 'no payout batches',
    columns: [
      { title: 'BATCH' },
      { title: 'STATE' },
      { title: 'FILE', shrink: true },
      { title: 'ITEMS', align: 'right' },
      { title: 'SUBMITTED' },
      { title: 'BY', shrink: true },
      { title: 'APPROVED BY', shrink: true },
    ],
    rows: views.map((view) => [
      view.batch_id,
      { text: view.state, tone: view.state === 'approved' ? 'good' : 'warn' },
      view.source,
      String(view.items),
      timeText(view.submitted_at),
      view.submitted_by,
      view.approved_by ?? '',
    ]),
  };
}

function toneOfPayout(state: PayoutState): Tone | null {
  switch (state) {
    case 'accepted':
    case 'paid':
      return 'good';
    case 'refused':
    case 'failed':
    case 'returned':
    case 'canceled':
      return 'bad';
    case 'sent':
    case 'draft':
      return 'warn';
    case 'approved':
      return null;
    default:
      return unreachable(state);
  }
}
