-- Refunds: the second kind of operation. What the caller asked for stands in refund and never changes; what became of
-- it is in operation and attempt, as for a charge.

-- For refunds and payouts: whose wallet pays, how much of the fee goes back, and what was taken from pending money.
-- Charges have these facts on their order.
alter table operation
  add column seller             text,
  add column fee_share_minor    bigint not null default 0,
  add column from_pending_minor bigint not null default 0,
  add constraint money_out_has_a_seller check (kind = 'charge' or seller is not null),
  add constraint fee_share_within_amount check (fee_share_minor between 0 and amount_minor),
  add constraint from_pending_within_share check (from_pending_minor between 0 and amount_minor - fee_share_minor);

-- 'reversed': it had succeeded, and the PSP took it back.
alter table operation drop constraint operation_sub_state_check;
alter table operation add constraint operation_sub_state_check check (sub_state in (
  'queued', 'in_risk_review',
  'pending_psp', 'awaiting_customer', 'retry_wait', 'unknown', 'held_config',
  'succeeded',
  'declined', 'rejected', 'risk_blocked', 'canceled', 'expired', 'reversed'));
alter table attempt drop constraint attempt_state_check;
alter table attempt add constraint attempt_state_check check (state in (
  'created', 'sent', 'pending', 'awaiting_customer', 'unknown',
  'succeeded', 'succeeded_surplus', 'declined', 'rejected', 'not_sent', 'reversed'));

create table refund (
  id               bigint primary key,
  -- The caller's name of it: unique for ever.
  refund_id        text not null unique,
  -- SHA-256 over order and amount as asked for ("the rest" is another request than the same amount).
  fingerprint      bytea not null,
  payment_id       bigint not null,
  payment_order_id bigint not null,
  operation_id     bigint not null unique,
  amount_minor     bigint not null check (amount_minor > 0),
  currency         text not null,
  fee_share_minor  bigint not null check (fee_share_minor between 0 and amount_minor),
  -- request: somebody asked; partial: the rest of its payment failed.
  cause            text not null check (cause in ('request', 'partial')),
  reason           text not null,
  principal        text not null,
  requested_at     timestamptz not null default now()
);
create index refund_by_order on refund (payment_order_id);
create index refund_by_payment on refund (payment_id);
create trigger refund_is_append_only before update or delete or truncate on refund
  for each statement execute function refuse_change();

-- An intention is guarded by the database: what is being refunded or has been, together, never passes what was
-- captured. The order's charge is locked first, so that two refunds of one order come one after the other. Facts (a
-- dispute, a late success) are not asked: they are booked whatever they are.
create function guard_refunds() returns trigger
  language plpgsql security definer set search_path from current as $$
declare
  too_much bigint;
begin
  perform 1 from operation
    where kind = 'charge' and payment_order_id in (select payment_order_id from added)
    order by id for no key update;

  select c.payment_order_id into too_much
    from operation c
    join lateral (select coalesce(sum(r.amount_minor), 0) as refunded
                    from refund r
                    join operation o on o.id = r.operation_id
                   where r.payment_order_id = c.payment_order_id
                     and o.sub_state not in ('declined', 'rejected', 'canceled', 'expired', 'reversed')) s on true
   where c.kind = 'charge'
     and c.payment_order_id in (select payment_order_id from added)
     and (c.sub_state <> 'succeeded' or s.refunded > c.amount_minor)
   limit 1;
  if found then
    raise exception 'order % would be refunded beyond what was captured', too_much using errcode = 'PG005';
  end if;
  if exists (select 1 from added a
              where not exists (select 1 from operation o
                                 where o.id = a.operation_id and o.kind = 'refund' and o.seller is not null)) then
    raise exception 'a refund names an operation that is not its own' using errcode = 'foreign_key_violation';
  end if;
  return null;
end $$;
create trigger refund_within_captured after insert on refund
  referencing new table as added for each statement execute function guard_refunds();

-- Payments of several orders whose policy is to refund a partial success: looked at until all of their orders ended.
create table partial_watch (
  payment_id bigint primary key
);

grant select, insert on refund to {{app_role}};
-- For update skip locked asks for the right to update.
grant select, insert, update, delete on partial_watch to {{app_role}};

-- A piece of evidence that says "it had succeeded, and was taken back".
alter table evidence drop constraint evidence_kind_check;
alter table evidence add constraint evidence_kind_check check (kind in (
  'succeeded', 'declined', 'rejected', 'pending', 'awaiting_customer', 'not_sent', 'rate_limited',
  'config_error', 'unknown', 'not_found', 'reversed'));
