/** Reads what the book says about every order, for the judgement. All SQL of the check on orders; no opinion. */
import type { Db } from '../src/core/db/connection.ts';
import type { SubState } from '../src/core/operation/operation.ts';

/** An order as the book has it. */
export type OrderFact = {
  readonly orderId: bigint;
  readonly paymentId: bigint;
  readonly operationId: bigint;
  readonly pspAccount: string;
  readonly checkoutId: string;
  readonly line: number;
  readonly seller: string;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly feeMinor: bigint;
  readonly subState: SubState;
  readonly attempts: number;
  /** Attempts that a person asked for. */
  readonly renewals: number;
  readonly openAttempts: number;
  readonly sends: number;
  /** Codes of the open dead letters. */
  readonly deadLetter: string | null;
  readonly job: 'none' | 'ready' | 'leased';
  /** Entries of kind charge_succeeded, and of kinds that put money into suspense. */
  readonly successEntries: number;
  readonly suspenseEntries: number;
};

export async function listOrderFacts(db: Db): Promise<readonly OrderFact[]> {
  const { t } = db;
  return db.sql<OrderFact[]>`
    with tries as (
      select a.operation_id, count(*)::integer as attempts, count(*) filter (where a.is_open)::integer as open_attempts,
             sum(greatest(a.sends, j.sends))::integer as sends
        from ${t.attempt} a
        left join ${t.job} j on j.operation_id = a.operation_id and j.attempt_number = a.number
       group by a.operation_id
    ), letters as (
      select operation_id, string_agg(code, ', ' order by code) as codes
        from ${t.deadLetter}
       where state = 'open'
       group by operation_id
    ), renewed as (
      select (data->>'operation')::bigint as operation_id, count(*)::integer as renewals
        from ${t.event}
       where kind = 'dead_letter_replayed' and json_typeof(data->'attempt_row') = 'object'
       group by 1
    ), booked as (
      select split_part(cause, '/', 1) as operation,
             count(*) filter (where kind = 'charge_succeeded')::integer as success_entries,
             count(*) filter (where kind in ('late_success', 'surplus_success'))::integer as suspense_entries
        from ${t.journalEntry}
       group by 1
    )
    select po.id as order_id, po.payment_id, o.id as operation_id, o.psp_account, p.checkout_id, po.line, po.seller, po.amount_minor,
           po.currency, po.platform_fee_minor as fee_minor, ${t.shownSubState}(o.sub_state, j.state) as sub_state, coalesce(a.attempts, 0) as attempts,
           coalesce(r.renewals, 0) as renewals, coalesce(a.open_attempts, 0) as open_attempts, coalesce(a.sends, 0) as sends, d.codes as dead_letter,
           coalesce(j.state, 'none') as job, coalesce(b.success_entries, 0) as success_entries,
           coalesce(b.suspense_entries, 0) as suspense_entries
      from ${t.paymentOrder} po
      join ${t.payment} p on p.id = po.payment_id
      join ${t.operation} o on o.payment_order_id = po.id and o.kind = 'charge'
      left join tries a on a.operation_id = o.id
      left join letters d on d.operation_id = o.id
      left join renewed r on r.operation_id = o.id
      left join ${t.job} j on j.operation_id = o.id
      left join booked b on b.operation = 'op_' || o.id
     order by po.id`;
}

/** A claim that sent, or may have sent, and of which nothing is known. */
export type SilentSend = { readonly operationId: bigint; readonly why: string };

/**
 * Every claim that counts as a send left evidence under its fence: a reply, a late reply, an enquiry, or a lapse.
 * A claim that only folded what was stored leaves an event without evidence instead; one that a webhook or a person
 * overtook has no job any more whose lapse could be noted, and theirs is the evidence.
 */
export async function listSilentSends(db: Db): Promise<readonly SilentSend[]> {
  const { t } = db;
  return db.sql<SilentSend[]>`
    with claim as materialized (
      select c.operation_id, c.fence
        from ${t.event} e,
             rows from (json_array_elements_text(e.data->'operations'), json_array_elements_text(e.data->'fences'),
                        json_array_elements_text(e.data->'actions')) as x (operation, fence, action),
             lateral (select x.operation::bigint, x.fence::integer) as c (operation_id, fence)
       where e.kind = 'jobs_claimed' and x.action = 'send'
    ), told as materialized (
      select distinct operation_id, fence from ${t.evidence} where fence is not null
    ), folded as (
      select (data->>'operation')::bigint as operation_id, count(*) as folds
        from ${t.event}
       where kind = 'operation_evidence' and json_typeof(data->'evidence') = 'null'
       group by 1
    ), outside as (
      select operation_id, count(*) as words from ${t.evidence} where source in ('webhook', 'person') group by 1
    ), silent as (
      select c.operation_id, count(*) as silent
        from claim c
        left join told using (operation_id, fence)
       where told.fence is null
       group by c.operation_id
    ), sent as (
      select a.operation_id, sum(greatest(a.sends, j.sends)) as sends
        from ${t.attempt} a
        left join ${t.job} j on j.operation_id = a.operation_id and j.attempt_number = a.number
       group by a.operation_id
    ), claimed as (
      select operation_id, count(*) as claims from claim group by operation_id
    )
    select s.operation_id, s.silent || ' sends without evidence, ' || coalesce(f.folds, 0) || ' folds, '
           || coalesce(o.words, 0) || ' words from outside' as why
      from silent s
      left join folded f using (operation_id)
      left join outside o using (operation_id)
     where s.silent > coalesce(f.folds, 0) + coalesce(o.words, 0)
    union all
    select operation_id, coalesce(n.sends, 0) || ' sends on the attempt, ' || coalesce(c.claims, 0) || ' claims in the events'
      from sent n
      full join claimed c using (operation_id)
     where coalesce(n.sends, 0) <> coalesce(c.claims, 0)
     order by 1`;
}

export type RunCounts = {
  readonly lateReplies: number;
  readonly lapses: number;
  readonly rescues: number;
  readonly resends: number;
  readonly foldedWithoutSending: number;
  /** Operations whose attempts hold a webhook's or a person's word. */
  readonly toldByWebhook: number;
  readonly toldByPerson: number;
  readonly replays: number;
  /** Webhooks stored, and those that made somebody look. */
  readonly webhooks: number;
  readonly looks: number;
};

export async function countRun(db: Db): Promise<RunCounts> {
  const { t } = db;
  const [row] = await db.sql<RunCounts[]>`
    select (select count(*) from ${t.evidence} where source = 'late_reply')::integer as late_replies,
           (select count(*) from ${t.evidence} where source = 'lapse')::integer as lapses,
           (select count(*) from ${t.event} where kind = 'job_rescued')::integer as rescues,
           (select coalesce(sum(greatest(sends - 1, 0)), 0) from ${t.attempt})::integer as resends,
           (select count(*) from ${t.event}
             where kind = 'operation_evidence' and json_typeof(data->'evidence') = 'null')::integer
             as folded_without_sending,
           (select count(distinct operation_id) from ${t.evidence} where source = 'webhook')::integer as told_by_webhook,
           (select count(distinct operation_id) from ${t.evidence} where source = 'person')::integer as told_by_person,
           (select count(*) from ${t.event} where kind = 'dead_letter_replayed')::integer as replays,
           (select count(*) from ${t.webhookEvent})::integer as webhooks,
           (select count(*) from ${t.webhookEvent} where effect = 'looks')::integer as looks`;
  return row!;
}

export async function countDeadLetters(db: Db): Promise<Readonly<Record<string, number>>> {
  const rows = await db.sql<{ code: string; letters: number }[]>`
    select code, count(*)::integer as letters from ${db.t.deadLetter} where state = 'open' group by code order by code`;
  return Object.fromEntries(rows.map((row) => [row.code, row.letters]));
}

/** Why letters that nobody has answered were opened: the commonest reasons, with what their attempts were told last. */
export async function describeLetters(db: Db): Promise<readonly string[]> {
  const { t } = db;
  const rows = await db.sql<{ line: string }[]>`
    with why as (
      select d.code || ' at ' || o.psp_account || ' (' || o.kind || ' ' || o.sub_state || '): '
             || regexp_replace(d.reason, '[a-z]+_[0-9a-zA-Z]+', '…', 'g') || '; last told: '
             || coalesce(regexp_replace(e.reason, '[a-z]+_[0-9a-zA-Z]+', '…', 'g'), e.kind) as reason
        from ${t.deadLetter} d
        join ${t.operation} o on o.id = d.operation_id
        join lateral (select kind, reason from ${t.evidence} where operation_id = o.id order by id desc limit 1) e on true
       where d.state = 'open'
    )
    select count(*) || ' ' || reason as line from why group by reason order by count(*) desc limit 15`;
  return rows.map((row) => row.line);
}

/** What the run's queue still held when it was given up: named, because it should have ended. */
export async function describeJobsLeft(db: Db): Promise<readonly string[]> {
  const { t } = db;
  const rows = await db.sql<{ line: string }[]>`
    select 'op_' || j.operation_id || ' is ' || j.state || ' to ' || j.action || ', ' || ${t.shownSubState}(o.sub_state, j.state)
           || coalesce(', held by ' || d.name || case when d.stopped_at is null then '' else ' (stopped)' end, '')
           || ', fence ' || j.fence || ', burned ' || j.burned || ', waits ' || j.waits || ', rescues ' || j.rescues
           || ', due in ' || round(extract(epoch from j.run_at - now())) || ' s' as line
      from ${t.job} j
      join ${t.operation} o on o.id = j.operation_id
      left join ${t.daemon} d on d.id = j.daemon_id
     order by j.operation_id
     limit 20`;
  return rows.map((row) => row.line);
}
