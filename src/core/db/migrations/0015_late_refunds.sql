-- A refund that had failed, and that the PSP made all the same, has taken the money too: it counts like one that was done.

create or replace function guard_refunds() returns trigger
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
                     and (o.sub_state not in ('declined', 'rejected', 'canceled', 'expired', 'reversed')
                          or exists (select 1 from attempt a
                                      where a.operation_id = o.id and a.state = 'succeeded_surplus'))) s on true
    join lateral (select coalesce(sum(d.amount_minor), 0) as disputed
                    from dispute d
                   where d.payment_order_id = c.payment_order_id
                     and d.holder = 'seller'
                     and d.state in ('opened', 'lost')) t on true
   where c.kind = 'charge'
     and c.payment_order_id in (select payment_order_id from added)
     and (c.sub_state <> 'succeeded' or s.refunded + t.disputed > c.amount_minor)
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
