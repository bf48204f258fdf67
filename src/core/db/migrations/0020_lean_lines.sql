-- A settlement file's lines go by COPY straight into their table: what is the same for nearly every line comes from here instead of
-- over the wire, and its number from the book's number space.

alter table settlement_line
  alter column id set default nextval('object_id'),
  alter column occurrence set default 1,
  alter column version set default 1;

-- Lines that tell an earlier one anew are few; looking for them in a file must not read the file's lines.
create index settlement_line_anew on settlement_line (file_id, id) where version > 1;

-- Lines are matched while their file is read, some thousand at a time: each finds its item by the name that the PSP gave it.
create index open_item_by_reference on open_item (reference);
