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
