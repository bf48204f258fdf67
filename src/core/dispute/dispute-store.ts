/** Remembers disputes, what was said of them, and that they are to be looked at: all SQL on those three tables. */
import { list, type Queryable, type Tx } from '../db/connection.ts';
import type { AttemptState } from '../operation/evidence.ts';
import type { SubState } from '../operation/operation.ts';
import type { DisputeState } from '../psp/psp.ts';
import type { Dispute } from './dispute.ts';

/** What names a dispute. */
export type DisputeName = { readonly pspAccount: string; readonly pspReference: string };

/**
 * A number for a read of something at a PSP that begins now: higher than all before. An older read never overwrites a
 * newer one. From the book's number space.
 */
export async function takeObservation(on: Queryable): Promise<bigint> {
  const [row] = await on.sql<{ observation: bigint }[]>`
    select nextval(${`${on.book}.object_id`}::regclass) as observation`;
  return row!.observation;
}

/** Locks what is stored of them (the charges must be locked before); none for those that are new. */
export async function lockDisputes(tx: Tx, names: readonly DisputeName[]): Promise<readonly Dispute[]> {
  return tx.sql<Dispute[]>`
    select d.id, d.psp_account, d.psp_reference, d.operation_id, d.attempt_number, d.payment_id,
           d.payment_order_id as order_id, d.seller, d.amount_minor, d.currency, d.holder, d.seller_share_minor, d.reason,
           d.state, d.round, d.borne_by, d.observation
      from unnest(${list(names.map((n) => n.pspAccount))}::text[],
                  ${list(names.map((n) => n.pspReference))}::text[]) as n (psp_account, psp_reference)
      join ${tx.t.dispute} d on d.psp_account = n.psp_account and d.psp_reference = n.psp_reference
     order by d.id
       for update of d`;
}

/** The charge of a dispute's attempt, its row locked; without what was taken of it. */
export type ChargeOfDispute = {
  readonly operationId: bigint;
  readonly attemptNumber: number;
  readonly attemptState: AttemptState;
  readonly subState: SubState;
  readonly pspAccount: string;
  readonly paymentId: bigint;
  readonly orderId: bigint;
  readonly seller: string;
  readonly grossMinor: bigint;
  readonly feeMinor: bigint;
  readonly currency: string;
  readonly suspenseRefunded: boolean;
};

/** Reads charges whose rows the caller has locked; none for an attempt that does not exist, or is no charge's. */
export async function listChargesOfDisputes(
  tx: Tx,
  refs: readonly { readonly operationId: bigint; readonly attemptNumber: number }[],
): Promise<readonly ChargeOfDispute[]> {
  return tx.sql<ChargeOfDispute[]>`
    select distinct o.id as operation_id, a.number as attempt_number, a.state as attempt_state, o.sub_state, o.psp_account,
           o.payment_id, o.payment_order_id as order_id, po.seller, o.amount_minor as gross_minor,
           po.platform_fee_minor as fee_minor, o.currency,
           exists (select 1
                     from ${tx.t.suspenseDecision} s
                     join ${tx.t.operation} r on r.id = s.refund_operation_id
                    where s.operation_id = o.id and s.attempt_number = a.number
                      and r.sub_state not in ('declined', 'rejected', 'canceled', 'expired', 'reversed'))
             as suspense_refunded
      from unnest(${list(refs.map((r) => r.operationId))}::bigint[],
                  ${list(refs.map((r) => r.attemptNumber))}::smallint[]) as r (operation_id, number)
      join ${tx.t.operation} o on o.id = r.operation_id and o.kind = 'charge'
      join ${tx.t.attempt} a on a.operation_id = o.id and a.number = r.number
      join ${tx.t.paymentOrder} po on po.id = o.payment_order_id`;
}

/**
 * Locks the jobs of refunds of these charges' orders that no daemon has claimed yet. The charges are locked, so that no
 * refund can come meanwhile. Out of the usual order, and so without ever waiting: what somebody has in hand is left out.
 */
export async function lockUnsentRefunds(tx: Tx, chargeIds: readonly bigint[]): Promise<readonly bigint[]> {
  const rows = await tx.sql<{ operationId: bigint }[]>`
    select j.operation_id
      from ${tx.t.operation} c
      join ${tx.t.refund} r on r.payment_order_id = c.payment_order_id
      join ${tx.t.job} j on j.operation_id = r.operation_id and j.state = 'ready' and j.sends = 0
     where c.id = any(${list(chargeIds)}::bigint[]) and c.kind = 'charge'
     order by j.operation_id
       for update of j skip locked`;
  return rows.map((row) => row.operationId);
}

export async function insertDisputes(tx: Tx, disputes: readonly Dispute[]): Promise<void> {
  if (disputes.length === 0) return;
  await tx.sql`
    insert into ${tx.t.dispute}
      (id, psp_account, psp_reference, operation_id, attempt_number, payment_id, payment_order_id, seller, amount_minor,
       currency, holder, seller_share_minor, reason, state, round, borne_by, observation)
    select * from unnest(${list(disputes.map((d) => d.id))}::bigint[],
                         ${list(disputes.map((d) => d.pspAccount))}::text[],
                         ${list(disputes.map((d) => d.pspReference))}::text[],
                         ${list(disputes.map((d) => d.operationId))}::bigint[],
                         ${list(disputes.map((d) => d.attemptNumber))}::smallint[],
                         ${list(disputes.map((d) => d.paymentId))}::bigint[],
                         ${list(disputes.map((d) => d.orderId))}::bigint[],
                         ${list(disputes.map((d) => d.seller))}::text[],
                         ${list(disputes.map((d) => d.amountMinor))}::bigint[],
                         ${list(disputes.map((d) => d.currency))}::text[],
                         ${list(disputes.map((d) => d.holder))}::text[],
                         ${list(disputes.map((d) => d.sellerShareMinor))}::bigint[],
                         ${list(disputes.map((d) => d.reason))}::text[],
                         ${list(disputes.map((d) => d.state))}::text[],
                         ${list(disputes.map((d) => d.round))}::smallint[],
                         ${list(disputes.map((d) => d.borneBy))}::text[],
                         ${list(disputes.map((d) => d.observation))}::bigint[])`;
}

/** Where they stand now. An older observation never overwrites a newer one, whatever the caller believes. */
export async function updateDisputes(tx: Tx, disputes: readonly Dispute[]): Promise<void> {
  if (disputes.length === 0) return;
  await tx.sql`
    update ${tx.t.dispute} d
       set state = c.state, round = c.round, borne_by = c.borne_by, observation = c.observation, updated_at = now()
      from unnest(${list(disputes.map((d) => d.id))}::bigint[],
                  ${list(disputes.map((d) => d.state))}::text[],
                  ${list(disputes.map((d) => d.round))}::smallint[],
                  ${list(disputes.map((d) => d.borneBy))}::text[],
                  ${list(disputes.map((d) => d.observation))}::bigint[])
           as c (id, state, round, borne_by, observation)
     where d.id = c.id
       and d.observation < c.observation`;
}

export type NewDisputeWord = DisputeName & {
  readonly code: string;
  readonly chargeReference: string;
  readonly operationId: bigint;
  readonly amountMinor: bigint;
  readonly currency: string;
  readonly reason: string;
};

/** A word that was said before is not stored again. */
export async function insertDisputeWords(tx: Tx, words: readonly NewDisputeWord[]): Promise<void> {
  if (words.length === 0) return;
  await tx.sql`
    insert into ${tx.t.disputeWord}
      (psp_account, psp_reference, code, charge_reference, operation_id, amount_minor, currency, reason)
    select * from unnest(${list(words.map((w) => w.pspAccount))}::text[],
                         ${list(words.map((w) => w.pspReference))}::text[],
                         ${list(words.map((w) => w.code))}::text[],
                         ${list(words.map((w) => w.chargeReference))}::text[],
                         ${list(words.map((w) => w.operationId))}::bigint[],
                         ${list(words.map((w) => w.amountMinor))}::bigint[],
                         ${list(words.map((w) => w.currency))}::text[],
                         ${list(words.map((w) => w.reason))}::text[])
        on conflict (psp_account, psp_reference, code) do nothing`;
}

/** All words of a dispute, in the order they came. */
export async function listDisputeWords(on: Queryable, name: DisputeName): Promise<readonly NewDisputeWord[]> {
  return on.sql<NewDisputeWord[]>`
    select psp_account, psp_reference, code, charge_reference, operation_id, amount_minor, currency, reason
      from ${on.t.disputeWord}
     where psp_account = ${name.pspAccount} and psp_reference = ${name.pspReference}
     order by id`;
}

/** Has disputes looked at now; those that wait already, once more. References in order, each once. */
export async function wantDisputeLooks(
  tx: Tx,
  pspAccount: string,
  references: readonly string[],
): Promise<void> {
  await tx.sql`
    insert into ${tx.t.disputeLook} as l (psp_account, psp_reference)
    select ${pspAccount}, reference from unnest(${list(references)}::text[]) as r (reference)
        on conflict (psp_account, psp_reference)
        do update set wanted = l.wanted + 1, run_at = now(), tries = 0`;
}

/**
 * A look that somebody has in hand.
 * @property tries with this one
 * @property observation taken now, before the PSP is read
 */
export type TakenLook = DisputeName & {
  readonly wanted: number;
  readonly tries: number;
  readonly observation: bigint;
};

/** Takes looks that are due; whoever takes them and dies loses them for `holdS` seconds. */
export async function takeDueLooks(
  on: Queryable,
  options: { readonly accounts: readonly string[]; readonly limit: number; readonly holdS: number },
): Promise<readonly TakenLook[]> {
  return on.sql<TakenLook[]>`
    with due as materialized (
      select psp_account, psp_reference
        from ${on.t.disputeLook}
       where run_at <= now()
         and psp_account = any(${list(options.accounts)}::text[])
       order by run_at
       limit ${options.limit}
         for update skip locked
    )
    update ${on.t.disputeLook} l
       set run_at = now() + make_interval(secs => ${options.holdS}), tries = least(l.tries + 1, 30000)
      from due
     where l.psp_account = due.psp_account and l.psp_reference = due.psp_reference
    returning l.psp_account, l.psp_reference, l.wanted, l.tries,
              nextval(${`${on.book}.object_id`}::regclass) as observation`;
}

/** The look is over, unless somebody wants it again meanwhile: that is due already. */
export async function endLook(tx: Tx, look: TakenLook): Promise<void> {
  await tx.sql`
    delete from ${tx.t.disputeLook}
     where psp_account = ${look.pspAccount} and psp_reference = ${look.pspReference} and wanted = ${look.wanted}`;
}

/** Looks once more after a while (s), as if for the first time where something was learned. */
export async function lookAgainIn(
  on: Queryable,
  look: TakenLook,
  delayS: number,
  tries: number,
): Promise<void> {
  await on.sql`
    update ${on.t.disputeLook}
       set run_at = now() + make_interval(secs => ${delayS}), tries = ${tries}
     where psp_account = ${look.pspAccount} and psp_reference = ${look.pspReference} and wanted = ${look.wanted}`;
}

/** The attempt of a charge that carries this key or this reference of the PSP's; null when there is none. */
export async function findDisputedAttempt(
  on: Queryable,
  by: {
    readonly operationId: bigint;
    readonly idempotencyKey: string | null;
    readonly pspReference: string | null;
  },
): Promise<number | null> {
  const [row] = await on.sql<{ number: number }[]>`
    select number
      from ${on.t.attempt}
     where operation_id = ${by.operationId}
       and (idempotency_key = ${by.idempotencyKey} or psp_reference = ${by.pspReference})`;
  return row?.number ?? null;
}

/** A dispute as people see it. */
export type DisputeRow = Dispute & { readonly openedAt: string; readonly updatedAt: string };

export type DisputeFilter = {
  readonly ids: readonly bigint[] | null;
  readonly pspReference: string | null;
  readonly paymentIds: readonly bigint[] | null;
  readonly orderId: bigint | null;
  readonly seller: string | null;
  readonly state: DisputeState | null;
  /** Keyset cursor: only disputes before this one. */
  readonly beforeId: bigint | null;
  /** Page size, 1–1,000. */
  readonly limit: number;
};

export const ANY_DISPUTE: DisputeFilter = {
  ids: null,
  pspReference: null,
  paymentIds: null,
  orderId: null,
  seller: null,
  state: null,
  beforeId: null,
  limit: 1_000,
};

/** Disputes, newest first. */
export async function listDisputes(on: Queryable, filter: DisputeFilter): Promise<readonly DisputeRow[]> {
  const { sql, t } = on;
  const { ids, pspReference, paymentIds, orderId, seller, state } = filter;
  return sql<DisputeRow[]>`
    select id, psp_account, psp_reference, operation_id, attempt_number, payment_id, payment_order_id as order_id,
           seller, amount_minor, currency, holder, seller_share_minor, reason, state, round, borne_by, observation,
           opened_at, updated_at
      from ${t.dispute}
     where ${filter.beforeId === null ? sql`true` : sql`id < ${filter.beforeId}`}
       ${ids === null ? sql`` : sql`and id = any(${list(ids)}::bigint[])`}
       ${pspReference === null ? sql`` : sql`and psp_reference = ${pspReference}`}
       ${paymentIds === null ? sql`` : sql`and payment_id = any(${list(paymentIds)}::bigint[])`}
       ${orderId === null ? sql`` : sql`and payment_order_id = ${orderId}`}
       ${seller === null ? sql`` : sql`and seller = ${seller}`}
       ${state === null ? sql`` : sql`and state = ${state}`}
     order by id desc
     limit ${filter.limit}`;
}
