-- That nothing is paid twice is held by the database too: the name of a payout passes to another one only where the
-- former ended without money. Whoever would take a name from a payout that is on its way, done or returned is refused,
-- whatever the program believes.

create function refuse_second_payout() returns trigger
  language plpgsql security definer set search_path from current as $$
begin
  if exists (
    select 1
      from payout_item i
      left join operation o on o.id = i.operation_id
     where i.id = old.payout_id
       and (i.state = 'draft'
            or i.state = 'approved' and o.sub_state not in ('declined', 'rejected', 'canceled', 'expired')
            or exists (select 1 from attempt a
                        where a.operation_id = i.operation_id and a.state in ('succeeded', 'succeeded_surplus')))
  ) then
    raise exception 'the name % belongs to a payout that was paid or may be', old.item_ref using errcode = 'PG006';
  end if;
  return null;
end $$;
create trigger payout_ref_is_paid_once after update on payout_ref
  for each row execute function refuse_second_payout();
