/** `dlq resolve`: closes a dead letter about something that has ended and was dealt with. */
import { formatId } from '../../core/ids.ts';
import { resolveDeadLetter } from '../../core/operation/resolve-dead-letter.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import { requireReason } from '../require-reason.ts';
import { refuseDryRun, type Session } from '../session.ts';
import { requireId } from '../words.ts';

/** Exit 5 where its operation is not over, or its money still waits for a decision. */
export async function resolveDeadLetterCommand(session: Session, text: string): Promise<number> {
  const letterId = requireId('deadLetter', text);
  const reason = requireReason(session);
  refuseDryRun(session);
  return withBook(session, async ({ db, principal }) => {
    const { operationId, subState } = await resolveDeadLetter(db, letterId, { reason, principal });
    const letter = formatId('deadLetter', letterId);
    const operation = formatId('operation', operationId);
    await session.print({
      json: { dead_letter_id: letter, state: 'resolved', operation_id: operation, sub_state: subState },
      blocks: [{ kind: 'line', text: `${letter} is resolved; ${operation} stays ${subState}` }],
    });
    return EXIT.done;
  });
}
