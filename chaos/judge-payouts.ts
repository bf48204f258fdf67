/** Judges payouts: what the book says against the transfers that the sandbox really made. Reads the book; no opinion else. */
import type { Db } from '../src/core/db/connection.ts';
import { publicStateOf, type SubState } from '../src/core/operation/operation.ts';
import type { Difference } from './judge.ts';
import { accountOf, amountAt } from './psps.ts';
import type { TrueTransfer } from './sandbox.ts';

/** A payout as the book has it. */
export type PayoutFact = {
  readonly id: bigint;
  readonly name: string;
  readonly state: 'draft' | 'approved' | 'refused' | 'canceled';
  /** Zero while it is no operation. */
  readonly operationId: bigint;
  /** Null while it is no operation. */
  readonly pspAccount: string | null;
  readonly seller: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly paidTo: string | null;
  readonly subState: SubState | null;
  readonly attempts: number;
  /** Codes of the open dead letters. */
  readonly deadLetter: string | null;
  /** Codes of all dead letters ever, closed ones too. */
  readonly letters: string | null;
  readonly job: 'none' | 'ready' | 'leased';
};

export async function listPayoutFacts(db: Db): Promise<readonly PayoutFact[]> {
  const { t } = db;
  return db.sql<PayoutFact[]>`
    select i.id, i.item_ref as name, i.state, coalesce(i.operation_id, 0) as operation_id, o.psp_account, i.seller, i.amount_minor,
           i.currency, i.paid_to, ${t.shownSubState}(o.sub_state, j.state) as sub_state,
           (select count(*) from ${t.attempt} a where a.operation_id = o.id)::integer as attempts,
           (select string_agg(d.code, ', ') from ${t.deadLetter} d where d.operation_id = o.id and d.state = 'open')
             as dead_letter,
           (select string_agg(d.code, ', ') from ${t.deadLetter} d where d.operation_id = o.id) as letters,
           coalesce(j.state, 'none') as job
      from ${t.payoutItem} i
      left join ${t.operation} o on o.id = i.operation_id
      left join ${t.job} j on j.operation_id = o.id
     order by i.id`;
}

/** Every payout against its transfers; no name is paid twice, and no transfer is nobody's. */
export function judgePayouts(
  names: ReadonlySet<string>,
  payouts: readonly PayoutFact[],
  transfers: readonly TrueTransfer[],
): readonly Difference[] {
  const theirs = Map.groupBy(transfers, (transfer) => transfer.metadata.paygate_operation ?? '');
  const paidFor = new Map<string, string[]>();
  const found = payouts.flatMap((payout) => {
    const operation = `op_${payout.operationId}`;
    const own = theirs.get(operation) ?? [];
    theirs.delete(operation);
    const moved = own.filter((one) => one.moved > 0).map((one) => one.id);
    paidFor.set(payout.name, [...(paidFor.get(payout.name) ?? []), ...moved]);
    return judgePayout(payout, own);
  });
  for (const [name, ids] of paidFor) {
    if (ids.length > 1) found.push({ measure: 'paid_twice', what: `${name}: ${ids.join(' and ')} paid it` });
  }
  for (const [name, strangers] of theirs) {
    for (const { id } of strangers)
      found.push({ measure: 'unexplained', what: `${id} is for ${name || 'nobody'}, unknown here` });
  }
  for (const name of names) {
    if (!paidFor.has(name)) found.push({ measure: 'lost', what: `payout ${name} is not in the book` });
  }
  return found;
}

function judgePayout(payout: PayoutFact, own: readonly TrueTransfer[]): readonly Difference[] {
  const name = `payout ${payout.id} (${payout.name}, op_${payout.operationId})`;
  const found: Difference[] = [];
  const add = (measure: Difference['measure'], what: string): void => {
    found.push({ measure, what: `${name}: ${what}` });
  };
  const account = payout.pspAccount ?? accountOf(payout);
  if (account !== accountOf(payout)) add('unexplained', `it is paid from ${account}, which is the wrong PSP`);
  const wanted = amountAt(account, payout.amountMinor, payout.currency);
  for (const one of own) {
    const isSame =
      one.account === account &&
      one.amount === wanted &&
      one.currency === payout.currency.toLowerCase() &&
      one.destination === payout.paidTo;
    if (!isSame)
      add(
        'unexplained',
        `${one.id} pays ${one.amount} ${one.currency} to ${one.destination}, not as approved`,
      );
  }
  const unexplained = explain(payout, own);
  if (unexplained !== null) add('unexplained', unexplained);
  if (payout.attempts > 1) add('second_attempts', `${payout.attempts} attempts`);
  return found;
}

function explain(payout: PayoutFact, own: readonly TrueTransfer[]): string | null {
  const isPaid = own.some((one) => one.moved > 0);
  if (payout.state === 'draft') return 'submitted, approved and still a draft';
  if (payout.subState === null) return isPaid ? `${payout.state} here and paid there` : null;
  switch (publicStateOf(payout.subState)) {
    case 'SUCCESS':
      return isPaid ? null : 'succeeded here, nothing there';
    case 'FAILED':
      // What came back was there once, and a person was told that it came back.
      if (payout.subState === 'reversed') {
        if (own.length === 0 || isPaid) return `came back here, ${isPaid ? 'paid' : 'nothing'} there`;
        return hasCode(payout.letters, RETURNED) ? null : 'came back, and no person is told';
      }
      return isPaid && !hasCode(payout.letters, LATE) ? `${payout.subState} here and paid there` : null;
    case 'NOT_STARTED':
    case 'EXECUTING':
      if (payout.deadLetter !== null || (payout.subState === 'unknown' && payout.job === 'ready'))
        return null;
      return `${payout.subState} here, its job is ${payout.job} and it has no dead letter`;
  }
}

const RETURNED = ['reversed_after_success'];
/** The PSP moved it although it had ended: booked, and a person is told. */
const LATE = ['late_success', 'surplus_success', 'contradicting_evidence', 'quarantined'];

function hasCode(letters: string | null, codes: readonly string[]): boolean {
  return letters?.split(', ').some((code) => codes.includes(code)) ?? false;
}
