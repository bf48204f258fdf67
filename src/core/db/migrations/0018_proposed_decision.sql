-- A second person agrees to what the first one proposed, to the same entry, and not merely to some decision about the same break.
alter table recon_break add column proposed_plan text;
grant update (proposed_plan) on recon_break to {{app_role}};
