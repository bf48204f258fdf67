-- A settlement file's lines go by COPY straight into their table: what is the same for nearly every line comes from here instead of
-- over the wire, and its number from the book's number space.

alter table settlement_line
  alter column id set default nextval('object_id'),
  alter column occurrence set default 1,
  alter column version set default 1;
