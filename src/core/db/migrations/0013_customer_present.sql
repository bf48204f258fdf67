-- Charges that wait for their buyer: what the shop hands over, until when, and how an attempt that can still succeed is
-- taken back: the PSP is asked to cancel it first, and only what the PSP says of that ends the order.

-- Where the buyer comes back to; part of what was asked for, like the payment method.
alter table payment_order add column return_url text check (length(return_url) <= 2000);

-- State of an attempt, rebuilt by replay: until when the buyer may finish it, and what the order ends as once the PSP has
-- said that nothing will be charged. Set once; the first intention stands.
alter table attempt
  add column customer_until timestamptz,
  add column cancel_as      text check (cancel_as in ('declined', 'expired', 'canceled')),
  add column cancel_reason  text,
  add constraint canceling_is_explained check ((cancel_as is null) = (cancel_reason is null));
grant update (customer_until, cancel_as, cancel_reason) on attempt to {{app_role}};

-- What the buyer needs to finish: a secret. It stands in no event, no evidence and no log, so it is not state that replay
-- rebuilds; it goes when its attempt ends. Whoever lost it gets it again from the PSP, or lets the attempt expire.
create table hand_off (
  operation_id   bigint primary key,
  attempt_number smallint not null,
  -- JSON text as the API shows it.
  data           text not null,
  stored_at      timestamptz not null default now()
);
grant select, insert, update, delete on hand_off to {{app_role}};

-- 'cancel': ask the PSP to cancel the attempt, as often as it takes.
alter table job drop constraint job_action_check;
alter table job add constraint job_action_check check (action in ('send', 'enquire', 'recheck', 'cancel'));

-- After a soft decline a charge may be tried at another PSP account. The operation is where its latest attempt is; an
-- earlier attempt that was made elsewhere says where (null: at the operation's).
alter table attempt add column psp_account text;
grant update (psp_account) on attempt to {{app_role}};
grant update (psp_account) on operation to {{app_role}};

-- Nobody moves an operation away from an account that may still charge for it, or has.
create function guard_account_change() returns trigger
  language plpgsql security definer set search_path from current as $$
begin
  if old.kind <> 'charge' or exists (
       select 1 from attempt a
        where a.operation_id = old.id and (a.is_open or a.state in ('succeeded', 'succeeded_surplus'))) then
    raise exception 'operation % stays at its PSP account', old.id using errcode = 'PG013';
  end if;
  return new;
end $$;
create trigger operation_stays_at_its_account before update of psp_account on operation
  for each row when (old.psp_account is distinct from new.psp_account) execute function guard_account_change();
create trigger attempt_stays_where_it_was before update of psp_account on attempt
  for each row when (old.psp_account is distinct from new.psp_account and (old.psp_account is not null or old.is_open))
  execute function refuse_change();
