/**
 * Holds the books against the sandbox's own truth, charge by charge, refund by refund, transfer by transfer: what moved
 * there and what we say. Reads both sides, believes neither.
 */
import { z } from 'zod';
import type { Db } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import { type Booked, listCharged, listPaidOut, listRefunded, NOTHING } from './demo-books.ts';

/**
 * @property path of the sandbox's account of them
 * @property moved the field with the minor units that moved and stayed
 * @property reference the metadata by which both sides name them
 */
const KINDS = [
  {
    noun: 'payment intents',
    path: 'truth',
    moved: 'amount_received',
    reference: 'paygate_order',
    book: listCharged,
  },
  {
    noun: 'refunds',
    path: 'truth/refunds',
    moved: 'moved',
    reference: 'paygate_operation',
    book: listRefunded,
  },
  {
    noun: 'transfers',
    path: 'truth/transfers',
    moved: 'moved',
    reference: 'paygate_operation',
    book: listPaidOut,
  },
] as const;

const lineSchema = z.looseObject({ currency: z.string(), metadata: z.record(z.string(), z.string()) });

/** @property name ours (ord_13, rfd_16, po_18), or the sandbox's reference where we know nothing of it */
export type Difference = { readonly name: string; readonly there: string; readonly here: string };

export type Comparison = {
  /** How many objects the sandbox has. */
  readonly counts: readonly { readonly noun: string; readonly objects: number }[];
  readonly differences: readonly Difference[];
};

/** Money that moved there, per reference, as texts like "1250 eur"; two texts moved twice. */
export type Moved = ReadonlyMap<string, readonly string[]>;

const TRUTH_TIMEOUT_MS = 30_000;

/** Everything whose money differs between the sandbox and the books; an empty sandbox is an error. */
export async function compareWithTruth(db: Db, sandboxUrl: string): Promise<Comparison> {
  const counts: { noun: string; objects: number }[] = [];
  const differences: Difference[] = [];
  for (const kind of KINDS) {
    const { objects, moved } = await readTruth(sandboxUrl, kind);
    counts.push({ noun: kind.noun, objects });
    differences.push(...findDifferences(moved, await kind.book(db)));
  }
  return { counts, differences };
}

export function findDifferences(there: Moved, here: readonly Booked[]): readonly Difference[] {
  const known = new Set(here.map(({ reference }) => reference));
  const shown = (texts: readonly string[] | undefined) => texts?.join(' + ') ?? NOTHING;
  const ours = here.map(({ name, reference, moved }) => ({
    name,
    there: shown(there.get(reference)),
    here: moved,
  }));
  const unknown = [...there]
    .filter(([reference]) => !known.has(reference))
    .map(([name, texts]) => ({ name, there: shown(texts), here: 'not there' }));
  return [...ours, ...unknown].filter((row) => row.there !== row.here);
}

async function readTruth(
  url: string,
  kind: (typeof KINDS)[number],
): Promise<{ readonly objects: number; readonly moved: Moved }> {
  const response = await fetch(`${url}/_sandbox/${kind.path}?format=ndjson`, {
    signal: AbortSignal.timeout(TRUTH_TIMEOUT_MS),
  });
  const lines = (await response.text()).split('\n').filter((line) => line !== '');
  if (!response.ok || lines.length === 0) {
    throw new OperatorError('sandbox_empty', `The sandbox shows no ${kind.noun}: nothing can be compared.`, {
      kind: 'failed',
    });
  }
  const moved = new Map<string, string[]>();
  for (const line of lines) {
    const object = lineSchema.parse(JSON.parse(line));
    const amount = z.number().parse(object[kind.moved]);
    if (amount === 0) continue;
    const reference = object.metadata[kind.reference] ?? '(no reference)';
    moved.set(reference, [...(moved.get(reference) ?? []), `${amount} ${object.currency}`]);
  }
  return { objects: lines.length, moved };
}
