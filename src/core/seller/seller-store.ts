/** Remembers the register of sellers: all SQL on seller, seller_destination and seller_change. */
import { list, type Queryable, type Tx } from '../db/connection.ts';

export type SellerStatus = 'active' | 'frozen';

/** Registers a seller; false when the register has the name. */
export async function insertSeller(tx: Tx, name: string): Promise<boolean> {
  const rows = await tx.sql`
    insert into ${tx.t.seller} (name) values (${name}) on conflict (name) do nothing returning name`;
  return rows.length === 1;
}

/** Locks a seller against approvals and other changes; null when the register does not have it. */
export async function lockSeller(tx: Tx, name: string): Promise<{ status: SellerStatus } | null> {
  const [row] = await tx.sql<{ status: SellerStatus }[]>`
    select status from ${tx.t.seller} where name = ${name} for update`;
  return row ?? null;
}

export async function updateSellerStatus(tx: Tx, name: string, status: SellerStatus): Promise<void> {
  await tx.sql`update ${tx.t.seller} set status = ${status} where name = ${name}`;
}

/** Where the seller is paid at the PSP account, or null. */
export async function findDestination(
  on: Queryable,
  seller: string,
  pspAccount: string,
): Promise<string | null> {
  const [row] = await on.sql<{ destination: string }[]>`
    select destination from ${on.t.sellerDestination} where seller = ${seller} and psp_account = ${pspAccount}`;
  return row?.destination ?? null;
}

/** The cooling period begins when this takes the place of another destination, and not with the first one. */
export async function putDestination(
  tx: Tx,
  place: { readonly seller: string; readonly pspAccount: string; readonly destination: string },
): Promise<void> {
  await tx.sql`
    insert into ${tx.t.sellerDestination} (seller, psp_account, destination, set_at)
    values (${place.seller}, ${place.pspAccount}, ${place.destination}, now())
        on conflict (seller, psp_account) do update
       set destination = excluded.destination, set_at = now(), changed_at = now()`;
}

export type NewSellerChange = {
  readonly seller: string;
  readonly kind: 'created' | 'frozen' | 'unfrozen' | 'destination';
  readonly pspAccount: string | null;
  readonly destination: string | null;
  readonly reason: string;
};

/** Adds to the history; returns the number of the change. */
export async function insertSellerChange(
  tx: Tx,
  principal: string,
  change: NewSellerChange,
): Promise<bigint> {
  const [row] = await tx.sql<{ id: bigint }[]>`
    insert into ${tx.t.sellerChange} (seller, kind, psp_account, destination, reason, principal)
    values (${change.seller}, ${change.kind}, ${change.pspAccount}, ${change.destination}, ${change.reason},
            ${principal})
    returning id`;
  return row!.id;
}

/** What an approval must know of a seller at one PSP account. */
export type Payee = {
  readonly seller: string;
  readonly status: SellerStatus;
  readonly destination: string | null;
  /** Until when a changed destination is not paid; null when it is not cooling. */
  readonly coolingUntil: string | null;
};

/** Keeps these sellers as they are until the transaction ends; in name order. */
export async function lockPayees(tx: Tx, sellers: readonly string[]): Promise<void> {
  await tx.sql`
    select name from ${tx.t.seller} where name = any(${list(sellers)}::text[]) order by name for share`;
}

/** Those of the sellers that the register has. */
export async function listPayees(
  on: Queryable,
  wanted: {
    readonly sellers: readonly string[];
    readonly pspAccount: string;
    readonly coolingDays: number;
  },
): Promise<readonly Payee[]> {
  return on.sql<Payee[]>`
    select s.name as seller, s.status, d.destination,
           case when d.changed_at + make_interval(days => ${wanted.coolingDays}) > now()
                then d.changed_at + make_interval(days => ${wanted.coolingDays}) end as cooling_until
      from ${on.t.seller} s
      left join ${on.t.sellerDestination} d on d.seller = s.name and d.psp_account = ${wanted.pspAccount}
     where s.name = any(${list(wanted.sellers)}::text[])`;
}

export type SellerDestination = {
  readonly pspAccount: string;
  readonly destination: string;
  readonly setAt: string;
  readonly coolingUntil: string | null;
};

export type Seller = {
  readonly name: string;
  readonly status: SellerStatus;
  readonly createdAt: string;
};

export async function findSeller(on: Queryable, name: string): Promise<Seller | null> {
  const [row] = await on.sql<Seller[]>`
    select name, status, created_at from ${on.t.seller} where name = ${name}`;
  return row ?? null;
}

/** Where a seller is paid, by PSP account. */
export async function listDestinations(
  on: Queryable,
  seller: string,
  coolingDays: number,
): Promise<readonly SellerDestination[]> {
  return on.sql<SellerDestination[]>`
    select psp_account, destination, set_at,
           case when changed_at + make_interval(days => ${coolingDays}) > now()
                then changed_at + make_interval(days => ${coolingDays}) end as cooling_until
      from ${on.t.sellerDestination}
     where seller = ${seller}
     order by psp_account`;
}

export type SellerChange = NewSellerChange & {
  readonly id: bigint;
  readonly principal: string;
  readonly changedAt: string;
};

/** The history of a seller, newest first. */
export async function listSellerChanges(
  on: Queryable,
  seller: string,
  limit: number,
): Promise<readonly SellerChange[]> {
  return on.sql<SellerChange[]>`
    select id, seller, kind, psp_account, destination, reason, principal, changed_at
      from ${on.t.sellerChange}
     where seller = ${seller}
     order by id desc
     limit ${limit}`;
}

export type SellerFilter = {
  readonly status: SellerStatus | null;
  /** Only names after this one (keyset cursor). */
  readonly after: string | null;
  /** Page size, 1–1,000. */
  readonly limit: number;
};

/** By name. */
export async function listSellers(on: Queryable, filter: SellerFilter): Promise<readonly Seller[]> {
  const { sql, t } = on;
  return sql<Seller[]>`
    select name, status, created_at
      from ${t.seller}
     where ${filter.after === null ? sql`true` : sql`name > ${filter.after}`}
       ${filter.status === null ? sql`` : sql`and status = ${filter.status}`}
     order by name
     limit ${filter.limit}`;
}
