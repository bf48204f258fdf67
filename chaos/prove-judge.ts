/**
 * Proves that the judges can fail: falsifies one fact of a run that has just been judged, one way after the other and at
 * one PSP after the other, and expects the judge to name it. In memory only; a judge that misses one makes the run worth
 * nothing.
 */
import { comparePostings } from './expected-books.ts';
import { type Falsification, judgeAll, type Material } from './falsify.ts';
import { CHARGE_FALSIFICATIONS } from './falsify-charges.ts';
import { PAYOUT_FALSIFICATIONS } from './falsify-payouts.ts';
import { REFUND_FALSIFICATIONS } from './falsify-refunds.ts';
import { ACCOUNTS } from './psps.ts';
import type { PostingFact } from './refund-facts.ts';

export type Proof = {
  /** Falsifications tried: none where the run had nothing to falsify. */
  readonly tried: number;
  /** Those that nobody noticed. */
  readonly blind: readonly string[];
};

const FALSIFICATIONS: readonly Falsification[] = [
  ...CHARGE_FALSIFICATIONS,
  ...REFUND_FALSIFICATIONS,
  ...PAYOUT_FALSIFICATIONS,
];

/** @param expected what the true truth makes of the books, which is what was found there */
export function proveJudge(material: Material, expected: readonly PostingFact[]): Proof {
  let tried = 0;
  const blind: string[] = [];
  // A book with a fault may have it just where the truth would be falsified; such a run has failed anyway.
  if (judgeAll(material).length > 0) return { tried: 0, blind: [] };
  for (const account of ACCOUNTS) {
    for (const { name, measure, falsify } of FALSIFICATIONS) {
      const falsified = falsify(material, account);
      if (falsified === null) continue;
      tried += 1;
      if (!judgeAll(falsified).some((one) => one.measure === measure)) blind.push(`${name} (${account})`);
    }
  }
  for (const [name, falsified] of KINDS.flatMap((kind) => falsifyPostings(expected, kind))) {
    tried += 1;
    if (comparePostings(expected, falsified).length === 0) blind.push(name);
  }
  return { tried, blind };
}

/** Of each of these: one entry too few, one twice, one over another amount, one of another account. */
const KINDS = [
  'charge_succeeded',
  'refund_succeeded',
  'refund_failed_after_success',
  'payout_accepted',
  'payout_returned',
];

function falsifyPostings(
  postings: readonly PostingFact[],
  kind: string,
): readonly (readonly [string, PostingFact[]])[] {
  const at = postings.findIndex((posting) => posting.kind === kind);
  const chosen = postings[at];
  if (chosen === undefined) return [];
  const others = postings.toSpliced(at, 1);
  return [
    [`${kind} is not booked`, others],
    [`${kind} is booked twice`, [...postings, chosen]],
    [
      `${kind} is booked over another amount`,
      [...others, { ...chosen, amountMinor: chosen.amountMinor + 1n }],
    ],
    [
      `${kind} is taken from another account`,
      [...others, { ...chosen, debit: 'seller:somebody-else:available' }],
    ],
  ];
}
