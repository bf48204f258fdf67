-- A proof looks at the lines that a later file told anew, to find those that changed their currency. They are few: the index has
-- only them.
create index settlement_line_replaced on settlement_line (source_id) where version > 1;
