-- Dead letters that have one cause are one work: a fingerprint groups them, and a replay can name the group. It is the
-- code and the reason with everything blanked that differs from letter to letter: every word that holds a digit (ids of
-- the PSP, amounts, HTTP numbers, ids of UUID form). Generated, so that it can never disagree with the reason.

alter table dead_letter
  add column fingerprint text not null generated always as (
    code || ': ' || left(regexp_replace(reason, '[A-Za-z0-9_-]*[0-9][A-Za-z0-9_-]*', '#', 'g'), 300)) stored;
