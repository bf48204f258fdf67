/**
 * What the PSP pays to the bank: one deposit for each currency and day, of what its rows come to. Decides only.
 */
import { createHash } from 'node:crypto';
import { type Deposit, dayOf, type Row } from './row.ts';

/** Rows with the name of their deposit, and the deposits, oldest first. */
export interface Deposited {
  readonly rows: readonly Row[];
  readonly deposits: readonly Deposit[];
}

/**
 * A day that comes to nothing or less has no deposit: its rows stay in the balance.
 * @param truth the rows before planting: a deposit has the same name in a file with mismatches and in a corrected one
 */
export function depositRows(rows: readonly Row[], truth: readonly Row[], prefix: string): Deposited {
  const firstOf = new Map<string, Row>();
  for (const row of truth) if (!firstOf.has(groupOf(row))) firstOf.set(groupOf(row), row);
  const deposits = new Map<string, Deposit>();
  for (const [group, members] of Map.groupBy(rows, groupOf)) {
    const amount = members.reduce((sum, row) => sum + row.net, 0);
    if (amount <= 0) continue;
    const first = firstOf.get(group)?.name ?? group;
    deposits.set(group, {
      name: `${prefix}${createHash('sha256').update(first).digest('hex').slice(0, 16)}`,
      currency: members[0]!.currency,
      amount,
      atMs: members.reduce((latest, row) => Math.max(latest, row.atMs), 0),
    });
  }
  return {
    rows: rows.map((row) => ({ ...row, deposit: deposits.get(groupOf(row))?.name ?? null })),
    deposits: [...deposits.values()].toSorted((left, right) => left.atMs - right.atMs),
  };
}

function groupOf(row: Row): string {
  return `${dayOf(row.atMs)} ${row.currency}`;
}
