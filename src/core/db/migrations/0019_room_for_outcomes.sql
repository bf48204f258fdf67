-- Outcomes come in batches: one transaction rewrites all rows of a page, and vacuum comes later. A page that is to take
-- that in place needs room for each of its rows twice, and then keeps it: the tables are no larger in the end.
--
-- operation (rows of about 145 bytes): with less room, measured, 37 of 100 rewritten rows went to another page and got
-- new entries in both indexes.
-- attempt (rows of about 500 bytes, most of it the frozen request): a row that stays on its page costs the log only what
-- changed of it, one that leaves it all of its bytes: 290 bytes of log for each recorded order.
alter table operation set (fillfactor = 45);
alter table attempt set (fillfactor = 46);
