/** `payments resolve`: takes a person's word on an order in doubt, shows what it will do, and stores it. */
import { pspOf } from '../../core/config.ts';
import { formatId } from '../../core/ids.ts';
import { checkEvidence, resolveOperation } from '../../core/operation/resolve-operation.ts';
import { capabilitiesOf } from '../../core/psp/request.ts';
import { shownText } from '../../core/shown-text.ts';
import { confirmOne } from '../confirm.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import type { Session } from '../session.ts';
import { moneyOf, moneyText, requireId, sumUp } from '../words.ts';
import { findOrderRow } from './find-order.ts';
import { refuseEnded } from './refuse-ended.ts';

export type ResolveFlags = {
  readonly order: string;
  readonly verdict: 'succeeded' | 'failed';
  readonly evidence: string;
  readonly pspReference: string | null;
};

/** Asks before it stores; exit 5 when it is not confirmed, was never sent, or has ended. */
export async function resolveOrder(session: Session, flags: ResolveFlags): Promise<number> {
  const orderId = requireId('order', flags.order);
  checkEvidence(flags.evidence);
  return withBook(session, async (book) => {
    const row = await findOrderRow(book, orderId, flags.order);
    refuseEnded(formatId('order', orderId), row.subState);
    const amount = moneyText(moneyOf(row));
    const effect =
      flags.verdict === 'succeeded'
        ? `book ${amount} as charged for ${shownText(row.seller)}`
        : 'end it as not charged';
    session.note(`${formatId('order', orderId)} is ${row.subState} (${amount}); this will ${effect}.`);
    if (session.globals.dryRun) return EXIT.done;
    await confirmOne(session, 'Is that what the PSP did?', sumUp([moneyOf(row)]));
    const applied = await resolveOperation(book.db, {
      operationId: row.operationId,
      verdict: flags.verdict,
      evidence: flags.evidence,
      pspReference: flags.pspReference,
      principal: book.principal,
      capabilitiesOf: (name) => capabilitiesOf(pspOf(book.config)(name)),
    });
    await session.print({
      json: {
        payment_order_id: formatId('order', orderId),
        operation_id: formatId('operation', applied.operationId),
        from: applied.from,
        to: applied.to,
        outcome: applied.outcome,
        dead_letter: applied.deadLetter,
      },
      blocks: [{ kind: 'line', text: `${formatId('order', orderId)}: ${applied.from} → ${applied.to}` }],
    });
    return EXIT.done;
  });
}
