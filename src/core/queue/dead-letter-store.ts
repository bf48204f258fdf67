/**
 * Reads the dead letters (operations that need a person) and closes those that a person dealt with. They are opened
 * by the queue's statements.
 */
import { list, type Queryable, type Tx } from '../db/connection.ts';
import type { SubState } from '../operation/operation.ts';

export type DeadLetter = {
  readonly id: bigint;
  readonly operationId: bigint;
  readonly operationKind: 'charge' | 'refund' | 'payout';
  readonly attemptNumber: number;
  readonly orderId: bigint | null;
  readonly paymentId: bigint | null;
  readonly pspAccount: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly subState: SubState;
  readonly code: string;
  readonly reason: string;
  /** Code and reason with every id and number blanked: letters of one cause have one. */
  readonly fingerprint: string;
  readonly state: 'open' | 'replayed' | 'resolved' | 'discarded';
  readonly openedAt: string;
  readonly closedAt: string | null;
  readonly closedBy: string | null;
  readonly closeReason: string | null;
};

/** What letters are looked for by; null: any. */
export type DeadLetterChoice = {
  readonly ids: readonly bigint[] | null;
  readonly state: DeadLetter['state'] | null;
  readonly code: string | null;
  readonly fingerprint: string | null;
  readonly pspAccount: string | null;
  /** Open for at least, at most so long (ms), by database time. */
  readonly olderThanMs: number | null;
  readonly newerThanMs: number | null;
  readonly currency: string | null;
  /** In minor units of the currency, which must be given then; both ends included. */
  readonly minMinor: bigint | null;
  readonly maxMinor: bigint | null;
};

export const ANY_LETTER: DeadLetterChoice = {
  ids: null,
  state: null,
  code: null,
  fingerprint: null,
  pspAccount: null,
  olderThanMs: null,
  newerThanMs: null,
  currency: null,
  minMinor: null,
  maxMinor: null,
};

export type DeadLetterFilter = DeadLetterChoice & {
  /** Keyset cursor: only letters before this one. */
  readonly beforeId: bigint | null;
  /** Page size, 1–1,000. */
  readonly limit: number;
};

/**
 * Dead letters, newest first.
 *
 * EXPLAIN (a million letters): the index of the filter, backwards, up to the limit; the operations by key. Loser: in the
 * order of the ids, which reads every letter to find the oldest (400 ms).
 */
export async function listDeadLetters(
  on: Queryable,
  filter: DeadLetterFilter,
): Promise<readonly DeadLetter[]> {
  const { sql, t } = on;
  return sql<DeadLetter[]>`
    select d.id, d.operation_id, o.kind as operation_kind, d.attempt_number, o.payment_order_id as order_id,
           o.payment_id, d.psp_account, d.amount_minor, d.currency, o.sub_state, d.code, d.reason,
           d.fingerprint, d.state, d.opened_at, d.closed_at, d.closed_by, d.close_reason
      from ${t.deadLetter} d
      join ${t.operation} o on o.id = d.operation_id
     where ${chosen(on, filter)}
       ${
         filter.beforeId === null
           ? sql``
           : sql`and (d.opened_at, d.id) < (select opened_at, id from ${t.deadLetter} where id = ${filter.beforeId})`
       }
     order by d.opened_at desc, d.id desc
     limit ${filter.limit}`;
}

/** The condition on a letter `d`. */
function chosen({ sql }: Queryable, choice: DeadLetterChoice) {
  const seconds = (ms: number) => sql`now() - make_interval(secs => ${ms / 1000})`;
  return sql`
           ${choice.ids === null ? sql`true` : sql`d.id = any(${list(choice.ids)}::bigint[])`}
       ${choice.state === null ? sql`` : sql`and d.state = ${choice.state}`}
       ${choice.code === null ? sql`` : sql`and d.code = ${choice.code}`}
       ${choice.fingerprint === null ? sql`` : sql`and d.fingerprint = ${choice.fingerprint}`}
       ${choice.pspAccount === null ? sql`` : sql`and d.psp_account = ${choice.pspAccount}`}
       ${choice.olderThanMs === null ? sql`` : sql`and d.opened_at <= ${seconds(choice.olderThanMs)}`}
       ${choice.newerThanMs === null ? sql`` : sql`and d.opened_at >= ${seconds(choice.newerThanMs)}`}
       ${choice.currency === null ? sql`` : sql`and d.currency = ${choice.currency}`}
       ${choice.minMinor === null ? sql`` : sql`and d.amount_minor >= ${choice.minMinor}`}
       ${choice.maxMinor === null ? sql`` : sql`and d.amount_minor <= ${choice.maxMinor}`}`;
}

export type DeadLetterGroup = {
  readonly fingerprint: string;
  readonly code: string;
  readonly letters: number;
  readonly oldestAt: string;
  readonly newestAt: string;
  /** The newest of them, as an example. */
  readonly newestId: bigint;
  /** Sums of their operations, by currency, sorted by code; minor units as text. */
  readonly totals: readonly { readonly currency: string; readonly amountMinor: string }[];
};

/** Dead letters by fingerprint, the largest group first. */
export async function listDeadLetterGroups(
  on: Queryable,
  choice: DeadLetterChoice,
  limit: number,
): Promise<readonly DeadLetterGroup[]> {
  const { sql, t } = on;
  return sql<DeadLetterGroup[]>`
    select fingerprint, min(code) as code, sum(letters)::integer as letters, min(oldest_at) as oldest_at,
           max(newest_at) as newest_at, max(newest_id) as newest_id,
           json_agg(json_build_object('currency', currency, 'amountMinor', amount_minor::text) order by currency)
             as totals
      from (select d.fingerprint, d.code, d.currency, count(*) as letters, min(d.opened_at) as oldest_at,
                   max(d.opened_at) as newest_at, max(d.id) as newest_id, sum(d.amount_minor) as amount_minor
              from ${t.deadLetter} d
             where ${chosen(on, choice)}
             group by d.fingerprint, d.code, d.currency) as part
     group by fingerprint
     order by letters desc, fingerprint
     limit ${limit}`;
}

export type LockedLetter = Pick<DeadLetter, 'id' | 'operationId' | 'attemptNumber' | 'code' | 'state'>;

/** Locks letters in id order (their operations must be locked before). */
export async function lockDeadLetters(tx: Tx, ids: readonly bigint[]): Promise<readonly LockedLetter[]> {
  return tx.sql<LockedLetter[]>`
    select id, operation_id, attempt_number, code, state
      from ${tx.t.deadLetter}
     where id = any(${list(ids)}::bigint[])
     order by id
       for update`;
}

/** Closes open letters as a person decided. Returns those that were open. */
export async function closeLettersAs(
  tx: Tx,
  ids: readonly bigint[],
  closing: {
    readonly state: 'replayed' | 'resolved' | 'discarded';
    readonly principal: string;
    readonly reason: string;
  },
): Promise<readonly bigint[]> {
  if (ids.length === 0) return [];
  const rows = await tx.sql<{ id: bigint }[]>`
    update ${tx.t.deadLetter}
       set state = ${closing.state}, closed_at = now(), closed_by = ${closing.principal},
           close_reason = ${closing.reason}
     where id = any(${list(ids)}::bigint[])
       and state = 'open'
    returning id`;
  return rows.map((row) => row.id);
}

export type ReplayedState = {
  readonly operationId: bigint;
  readonly subState: SubState;
  readonly hasJob: boolean;
  /** Its newest open letter; null when it has none. */
  readonly newestLetterId: bigint | null;
};

/** Where the operations of replayed letters have come to. */
export async function listReplayedStates(
  on: Queryable,
  operationIds: readonly bigint[],
): Promise<readonly ReplayedState[]> {
  const { sql, t } = on;
  return sql<ReplayedState[]>`
    select o.id as operation_id, o.sub_state, j.operation_id is not null as has_job,
           (select max(d.id)
              from ${t.deadLetter} d
             where d.operation_id = o.id and d.state = 'open') as newest_letter_id
      from ${t.operation} o
      left join ${t.job} j on j.operation_id = o.id
     where o.id = any(${list(operationIds)}::bigint[])
     order by o.id`;
}

/** Open dead letters by reason. */
export async function countOpenDeadLetters(
  on: Queryable,
): Promise<readonly { code: string; letters: number }[]> {
  return on.sql<{ code: string; letters: number }[]>`
    select code, count(*)::integer as letters
      from ${on.t.deadLetter}
     where state = 'open'
     group by code
     order by code`;
}
