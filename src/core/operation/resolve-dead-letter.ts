/**
 * Closes a dead letter about something that has ended: a person dealt with it, and says how. Changes no operation, sends
 * and books nothing; what is in doubt, or in suspense, is ended by evidence or a decision and never by this.
 */
import { insertEvents } from '../audit/event-store.ts';
import { type Db, transact } from '../db/connection.ts';
import { Bug, OperatorError } from '../errors.ts';
import { formatId } from '../ids.ts';
import {
  ANY_LETTER,
  closeLettersAs,
  type LockedLetter,
  listDeadLetters,
  lockDeadLetters,
} from '../queue/dead-letter-store.ts';
import { lockJobs } from '../queue/queue-store.ts';
import { isEnded } from './operation.ts';
import { listStandings, lockOperations, type Standing } from './reopening-store.ts';

/**
 * @returns the operation that the letter was about
 * @throws OperatorError dead_letter_not_found, dead_letter_closed, not_over, needs_a_decision
 */
export async function resolveDeadLetter(
  db: Db,
  letterId: bigint,
  resolution: { readonly reason: string; readonly principal: string },
): Promise<Pick<Standing, 'operationId' | 'subState'>> {
  const [named] = await listDeadLetters(db, { ...ANY_LETTER, ids: [letterId], beforeId: null, limit: 1 });
  if (named === undefined) {
    const message = `There is no dead letter ${formatId('deadLetter', letterId)}.`;
    throw new OperatorError('dead_letter_not_found', message, { kind: 'answer_is_no' });
  }
  const { operationId } = named;
  return transact(db, async (tx) => {
    await lockJobs(tx, [operationId]);
    await lockOperations(tx, [operationId]);
    const [standing] = await listStandings(tx, [operationId]);
    const [letter] = await lockDeadLetters(tx, [letterId]);
    if (standing === undefined || letter === undefined) throw new Bug('a dead letter without its operation');
    refuseUnlessOver(letter, standing);
    const { reason, principal } = resolution;
    const closed = await closeLettersAs(tx, [letterId], { state: 'resolved', reason, principal });
    if (closed.length !== 1) throw new Bug('a dead letter moved under its own lock');
    const data = JSON.stringify({
      dead_letter: formatId('deadLetter', letterId),
      code: letter.code,
      operation: operationId.toString(),
      reason,
    });
    await insertEvents(tx, principal, [
      { kind: 'dead_letter_resolved', paymentId: standing.paymentId, data },
    ]);
    return { operationId, subState: standing.subState };
  });
}

function refuseUnlessOver(letter: LockedLetter, standing: Standing): void {
  const name = formatId('deadLetter', letter.id);
  const refused = { kind: 'refused' } as const;
  if (letter.state !== 'open')
    throw new OperatorError('dead_letter_closed', `${name} is ${letter.state} already.`, refused);
  if (!isEnded(standing.subState) || standing.hasJob) {
    const where = `${formatId('operation', standing.operationId)} is ${standing.subState}`;
    const message = `${where}: it is not over, and only evidence or a replay ends it.`;
    throw new OperatorError('not_over', message, refused);
  }
  if (letter.code === 'quarantined') {
    const message = `Its answer is stored and not booked: paygate dlq replay ${name}`;
    throw new OperatorError('needs_a_decision', message, refused);
  }
  const isInSuspense = letter.code === 'late_success' || letter.code === 'surplus_success';
  if (isInSuspense && standing.kind === 'charge') {
    const message = `Its money is in suspense: first decide whether the order takes it or the buyer gets it back.`;
    throw new OperatorError('needs_a_decision', message, refused);
  }
}
