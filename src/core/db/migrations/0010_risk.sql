-- The risk engine: what its rules found, who decided on what they sent to a person, and the memory that velocity,
-- duplicate and first-time rules need. Nothing here is written for payments that no such rule concerns: an
-- acceptance without a rule file costs what it did before.

-- What the rules said about a payment, with every hit and what it was compared with. A row for each payment that was
-- assessed by a rule file, and for each that a rule of the configuration stopped.
create table risk_assessment (
  payment_id      bigint primary key,
  -- The rule file's name and the SHA-256 of its bytes.
  rules_version   text not null,
  decision        text not null check (decision in ('allow', 'review', 'block')),
  -- The decision if every shadow rule were live.
  shadow_decision text not null check (shadow_decision in ('allow', 'review', 'block')),
  hits            json not null,
  assessed_at     timestamptz not null default now()
);
create trigger risk_assessment_is_append_only before update or delete or truncate on risk_assessment
  for each statement execute function refuse_change();

-- A payment that waits for a person. Its row lock makes two deciders one decision.
create table risk_review (
  payment_id  bigint primary key,
  -- Where its jobs go once it is approved.
  -- How urgent its charges are once they may be sent.
  priority    text not null check (priority in ('online', 'batch')),
  state       text not null default 'open' check (state in ('open', 'approved', 'rejected', 'timed_out')),
  opened_at   timestamptz not null default now(),
  -- Frozen at acceptance: from then on silence is a no.
  due_at      timestamptz not null,
  decided_at  timestamptz,
  decided_by  text,
  reason      text,
  constraint deciding_is_explained check (
    (state = 'open') = (decided_at is null) and (decided_at is null) = (decided_by is null)
    and (decided_at is null) = (reason is null))
);
create index risk_review_open on risk_review (due_at, payment_id) where state = 'open';

-- One row per name that rules count. Acceptances lock the rows of their names, in key order, before they read the
-- counts: concurrent checkouts of one buyer go one after the other. Rows, not advisory locks: a batch may name
-- thousands, and the server's lock table has room for a few thousand in all.
create table risk_key (
  -- SHA-256 of what is counted: names are long, and no index of people is wanted.
  key       bytea primary key,
  locked_at timestamptz not null default now()
) with (fillfactor = 50);

-- Checkouts and money by name and minute, of payments that were not blocked. A window reads at most as many rows as
-- it has minutes, however many payments there were.
create table risk_counter (
  key          bytea not null,
  minute       timestamptz not null,
  currency     text not null,
  -- A payment counts once under a key, in its first currency there.
  checkouts    integer not null check (checkouts >= 0),
  -- Not bigint: a sum of sums must never be the reason why a payment is refused.
  amount_minor numeric not null check (amount_minor >= 0),
  primary key (key, minute, currency)
) with (fillfactor = 70);

-- Under which names a payment that was not blocked can be found again: a checkout's content, its buyer.
create table risk_trace (
  key        bytea not null,
  payment_id bigint not null,
  at         timestamptz not null default now(),
  primary key (key, payment_id)
);
create trigger risk_trace_is_append_only before update or delete or truncate on risk_trace
  for each statement execute function refuse_change();

grant select, insert on risk_assessment, risk_trace to {{app_role}};
grant select, insert on risk_review, risk_key, risk_counter to {{app_role}};
grant update (state, decided_at, decided_by, reason) on risk_review to {{app_role}};
grant update (locked_at) on risk_key to {{app_role}};
grant update (checkouts, amount_minor) on risk_counter to {{app_role}};
