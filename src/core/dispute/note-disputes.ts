/**
 * Remembers that webhooks told of disputes, in the transaction that stores them: what a signed word says where nobody
 * can be asked, and that a daemon is to look. Decides nothing about a dispute.
 */
import type { Tx } from '../db/connection.ts';
import type { DisputeNews } from '../psp/psp.ts';
import { storableReason } from './dispute.ts';
import { insertDisputeWords, type NewDisputeWord, wantDisputeLooks } from './dispute-store.ts';

/** An event of one delivery; those without a dispute are passed over. */
type Told = { readonly operationId: bigint | null; readonly dispute?: DisputeNews };

/** Returns how many disputes are to be looked at. */
export async function noteDisputes(tx: Tx, pspAccount: string, events: readonly Told[]): Promise<number> {
  const told = events.flatMap(({ operationId, dispute }) => (dispute ? [{ operationId, dispute }] : []));
  const references = [...new Set(told.map(({ dispute }) => dispute.reference))].sort();
  if (references.length === 0) return 0;
  await insertDisputeWords(
    tx,
    told.flatMap((one) => toWord(pspAccount, one.operationId, one.dispute)),
  );
  await wantDisputeLooks(tx, pspAccount, references);
  return references.length;
}

/** A word without an amount cannot be booked; the event itself is stored all the same. */
function toWord(
  pspAccount: string,
  operationId: bigint | null,
  dispute: DisputeNews,
): readonly NewDisputeWord[] {
  const { reference, word } = dispute;
  if (word === null || word.money === null || operationId === null) return [];
  const { code, chargeReference, money, reason } = word;
  const said = { code, chargeReference, operationId, ...money, reason: storableReason(reason) };
  return [{ pspAccount, pspReference: reference, ...said }];
}
