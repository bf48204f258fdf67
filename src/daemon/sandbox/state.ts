/**
 * Everything the sandbox knows, in memory: its objects, what is due by itself, and the balance.
 * Holds truth only; who may change it, and that it is on disk first, is the engine's business.
 */
import { Balances, type Change, type TopUp } from './balance.ts';
import type { DisputeRecord } from './dispute.ts';
import { EventLog, type EventRecord } from './events.ts';
import { transferOfReversal } from './ids.ts';
import type { IntentRecord } from './intent.ts';
import { ObjectTable } from './object-table.ts';
import type { RefundRecord } from './refund.ts';
import type { Shown } from './shown.ts';
import type { TransferRecord } from './transfer.ts';

/** What can change by itself with time. */
export type Timed = Extract<Change, { kind: 'intent' | 'refund' | 'transfer' }>;

/** An object that changes by itself, and when. */
interface Due {
  readonly atMs: number;
  readonly kind: Timed['kind'];
  readonly seq: number;
}

export class SandboxState {
  readonly intents = new ObjectTable<IntentRecord>('pi', (intent) => intent.transferGroup);
  readonly refunds = new ObjectTable<RefundRecord>('re', (refund) => refund.intentId);
  readonly transfers = new ObjectTable<TransferRecord>('tr', (transfer) => transfer.transferGroup);
  readonly disputes = new ObjectTable<DisputeRecord>('du', (dispute) => dispute.intentId);
  readonly balances = new Balances();
  readonly events = new EventLog();
  /** In their order. */
  readonly topUps: TopUp[] = [];
  private dues: Due[] = [];

  /** The newest version of the object with this name, whatever its kind. */
  find(id: string): Shown | null {
    const reversal = transferOfReversal(id);
    if (reversal !== null) {
      const record = this.transfers.find(reversal.transfer);
      return record === null ? null : { kind: 'reversal', record, number: reversal.number };
    }
    const intent = this.intents.find(id);
    if (intent !== null) return { kind: 'intent', record: intent };
    const refund = this.refunds.find(id);
    if (refund !== null) return { kind: 'refund', record: refund };
    const transfer = this.transfers.find(id);
    if (transfer !== null) return { kind: 'transfer', record: transfer };
    const dispute = this.disputes.find(id);
    return dispute === null ? null : { kind: 'dispute', record: dispute };
  }

  /**
   * Puts a new object or a new version of one; returns what Stripe would tell of it.
   * @param atS seconds since 1970, sandbox time
   */
  put(change: Change, atS: number): readonly EventRecord[] {
    const before = this.store(change);
    this.balances.apply(change, before);
    const atMs = change.kind === 'dispute' ? null : dueMs(change);
    if (change.kind !== 'dispute' && atMs !== null)
      this.addDue({ atMs, kind: change.kind, seq: change.record.seq });
    return this.events.record(before, change, atS);
  }

  topUp(topUp: TopUp): void {
    this.topUps.push(topUp);
    this.balances.topUp(topUp);
  }

  /** Takes out and returns one object whose time has come by `nowMs`; null when none is due. */
  takeDue(nowMs: number): Timed | null {
    for (;;) {
      const due = this.dues[0];
      if (due === undefined || due.atMs > nowMs) return null;
      this.dues.shift();
      const found = this.timed(due);
      if (dueMs(found) === due.atMs) return found;
    }
  }

  /** Forgets everything; names given before are not given again. */
  clear(): void {
    for (const table of [this.intents, this.refunds, this.transfers, this.disputes]) table.clear();
    this.balances.clear();
    this.events.clear();
    this.topUps.length = 0;
    this.dues = [];
  }

  private store(change: Change): Change['record'] | null {
    switch (change.kind) {
      case 'intent':
        return this.intents.put(change.record);
      case 'refund':
        return this.refunds.put(change.record);
      case 'transfer':
        return this.transfers.put(change.record);
      case 'dispute':
        return this.disputes.put(change.record);
    }
  }

  private timed(due: Due): Timed {
    switch (due.kind) {
      case 'intent':
        return { kind: 'intent', record: this.intents.at(due.seq) };
      case 'refund':
        return { kind: 'refund', record: this.refunds.at(due.seq) };
      case 'transfer':
        return { kind: 'transfer', record: this.transfers.at(due.seq) };
    }
  }

  private addDue(due: Due): void {
    let place = this.dues.length;
    while (place > 0 && (this.dues[place - 1]?.atMs ?? 0) > due.atMs) place--;
    this.dues.splice(place, 0, due);
  }
}

/** When the object changes by itself, sandbox time in milliseconds; null when it does not. */
function dueMs(timed: Timed): number | null {
  return timed.kind === 'transfer' ? timed.record.undoAtMs : (timed.record.settle?.atMs ?? null);
}
