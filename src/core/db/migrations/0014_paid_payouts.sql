-- What payouts and dead letters still lacked: a payout that has arrived is paid, old risk counters may go, and a letter is
-- found among a million.

-- A payout that the PSP says has reached the seller is paid; until now it stayed accepted for ever. Both lists of words
-- get one more, whatever else stands in them.

create function add_word(table_name text, constraint_name text, word text) returns void
  language plpgsql set search_path from current as $$
declare
  definition text;
begin
  select pg_get_constraintdef(c.oid) into strict definition
    from pg_constraint c
   where c.conrelid = table_name::regclass
     and c.conname = constraint_name;
  if definition not like '%''succeeded''::text%' then
    raise exception 'constraint % of % is not a list of words: %', constraint_name, table_name, definition;
  end if;
  execute format('alter table %I drop constraint %I', table_name, constraint_name);
  execute format('alter table %I add constraint %I %s', table_name, constraint_name,
                 replace(definition, '''succeeded''::text', format('''succeeded''::text, %L::text', word)));
end $$;
select add_word('operation', 'operation_sub_state_check', 'paid');
select add_word('evidence', 'evidence_kind_check', 'paid');
drop function add_word;

-- Counters that no rule's window can reach are pruned, oldest first; the database itself keeps those that one can.
create index risk_counter_by_age on risk_counter (minute, key, currency);
create trigger risk_counter_keeps_its_window before delete on risk_counter
  for each row when (old.minute > now() - interval '31 days') execute function refuse_change();
create trigger risk_counter_is_not_truncated before truncate on risk_counter
  for each statement execute function refuse_change();
grant delete on risk_counter, risk_key to {{app_role}};

-- Letters are looked for among a million of them: what they are looked for by stands on the letter itself, copied from
-- its operation, where it never changes.
alter table dead_letter add column psp_account text, add column currency text, add column amount_minor bigint;
update dead_letter d
   set psp_account = o.psp_account, currency = o.currency, amount_minor = o.amount_minor
  from operation o
 where o.id = d.operation_id;
alter table dead_letter
  alter column psp_account set not null,
  alter column currency set not null,
  alter column amount_minor set not null;

create function copy_operation_to_letter() returns trigger
  language plpgsql set search_path from current as $$
begin
  select o.psp_account, o.currency, o.amount_minor into new.psp_account, new.currency, new.amount_minor
    from operation o
   where o.id = new.operation_id;
  return new;
end $$;
create trigger dead_letter_knows_its_operation before insert on dead_letter
  for each row execute function copy_operation_to_letter();

create index dead_letter_by_code on dead_letter (code, opened_at, id);
create index dead_letter_by_fingerprint on dead_letter (fingerprint, opened_at, id);
create index dead_letter_by_account on dead_letter (psp_account, opened_at, id);
create index dead_letter_by_amount on dead_letter (currency, amount_minor);
create index dead_letter_by_age on dead_letter (opened_at, id);
create index dead_letter_by_end on dead_letter (state, opened_at, id) where state <> 'open';
