/**
 * The order in which a replay books. Events are numbered before they commit, so an approval may come before the money
 * that it was made of: what was allowed then must not be refused now. So everything that gives comes first, then what
 * was guarded against an overdraft, and what may overdraw last. The sums are the same in any order.
 */

/** As events hold it: debit, credit, currency, amount, and whether it was guarded. */
type PostingData = readonly [string, string, string, string, boolean];

export type EntryData = {
  readonly id: string;
  readonly cause: string;
  readonly kind: string;
  readonly postings: readonly PostingData[];
};

export type Bookings = {
  /** An account was opened. */
  open(account: { readonly id?: unknown; readonly family?: unknown; readonly purpose?: unknown }): void;
  /** Books now what takes from nobody's available money; the rest waits (a few entries per refund and payout). */
  add(at: string, entries: readonly EntryData[]): Promise<void>;
  /** Books what waits. */
  finish(): Promise<void>;
};

type Waiting = { readonly at: string; readonly entry: EntryData };

export function createBookings(book: (at: string, entries: readonly EntryData[]) => Promise<void>): Bookings {
  const available = new Set<string>();
  const guarded: Waiting[] = [];
  const last: Waiting[] = [];
  return {
    open: ({ id, family, purpose }) => {
      if (family === 'seller' && purpose === 'available') available.add(String(id));
    },
    add: async (at, entries) => {
      const now: EntryData[] = [];
      for (const entry of entries) {
        if (entry.postings.some(([, , , , isGuarded]) => isGuarded)) guarded.push({ at, entry });
        else if (entry.postings.some(([debit]) => available.has(debit))) last.push({ at, entry });
        else now.push(entry);
      }
      await book(at, now);
    },
    finish: async () => {
      for (const { at, entry } of [...guarded, ...last]) await book(at, [entry]);
    },
  };
}
