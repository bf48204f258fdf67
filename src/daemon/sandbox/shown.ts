/** What an answer or an event can show: a version of an object, or one reversal of a transfer. */
import type { Change } from './balance.ts';
import { reversalId } from './ids.ts';
import type { TransferRecord } from './transfer.ts';

/** A version of an object, or one reversal of a transfer by its place there. */
export type Shown =
  | Change
  | { readonly kind: 'reversal'; readonly record: TransferRecord; readonly number: number };

/** The name under which an answer shows it. */
export function nameOf(shown: Shown): string {
  return shown.kind === 'reversal' ? reversalId(shown.record.id, shown.number) : shown.record.id;
}
