/** `dlq discard`: ends a dead letter whose operation was never claimed. */
import { formatId } from '../../core/ids.ts';
import { discardDeadLetter } from '../../core/operation/cancel-operation.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import { refuseDryRun, requireReason, type Session } from '../session.ts';
import { requireId } from '../words.ts';

/** Exit 5 when something may have been sent: then only evidence ends it. */
export async function discardDeadLetterCommand(session: Session, text: string): Promise<number> {
  const letterId = requireId('deadLetter', text);
  const reason = requireReason(session);
  refuseDryRun(session);
  return withBook(session, async ({ db, principal }) => {
    const canceled = await discardDeadLetter(db, letterId, { reason, principal });
    const letter = formatId('deadLetter', letterId);
    const operation = formatId('operation', canceled.operationId);
    await session.print({
      json: { dead_letter_id: letter, state: 'discarded', operation_id: operation, sub_state: 'canceled' },
      blocks: [{ kind: 'line', text: `${letter} is discarded, ${operation} canceled; nothing was sent` }],
    });
    return EXIT.done;
  });
}
