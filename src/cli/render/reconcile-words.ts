/** What terminal, page and machines say alike about a reconciliation: amounts, statuses, steps of a proof. Decides only. */
import type { Currency } from '../../core/money.ts';
import type {
  BreakAnswer,
  BreakCode,
  Proof,
  ReconcileAnswer,
  Severity,
} from '../../core/settlement/reconcile-answer.ts';
import { moneyText } from '../words.ts';
import { RESOLUTIONS } from './resolutions.ts';

/** "missing external". */
export function codeText(code: BreakCode): string {
  return code.replaceAll('_', ' ');
}

/** "-12.50 EUR". */
export function signedText(amountMinor: bigint, currency: Currency): string {
  return moneyText({ amountMinor, currency });
}

/** "+12.50 EUR" for what comes on top. */
export function changeText(amountMinor: bigint, currency: Currency): string {
  return amountMinor > 0n ? `+${signedText(amountMinor, currency)}` : signedText(amountMinor, currency);
}

/** One sentence about how the run ended. */
export function statusSentence(answer: ReconcileAnswer): string {
  switch (answer.status) {
    case 'closed':
      return 'Every line is explained and every proof closes.';
    case 'breaks':
      return `${answer.breakCount === 1 ? '1 break needs' : `${answer.breakCount} breaks need`} a decision; every proof closes.`;
    case 'incomplete':
      return 'INCOMPLETE: a proof does not close, or a batch was not posted. Do not rely on these books before that is found.';
  }
}

/** "closed", "5 breaks", "INCOMPLETE". */
export function statusWord(answer: ReconcileAnswer): string {
  if (answer.status === 'closed') return 'closed';
  if (answer.status === 'incomplete') return 'INCOMPLETE';
  return answer.breakCount === 1 ? '1 break' : `${answer.breakCount} breaks`;
}

/** What became of the file, in words. */
export function outcomeText(answer: ReconcileAnswer): string {
  switch (answer.outcome) {
    case 'imported':
      return 'imported';
    case 'already_imported':
      return `already imported as ${answer.file.id ?? 'an earlier file'}`;
    case 'dry_run':
      return 'dry run: nothing was stored';
  }
}

const SEVERITIES: readonly Severity[] = ['P1', 'P2', 'P3', 'P4'];

/** "2 × P1, 1 × P3"; empty without breaks. */
export function severitiesText(byCode: ReconcileAnswer['byCode']): string {
  return SEVERITIES.flatMap((severity) => {
    const count = byCode
      .filter((one) => one.severity === severity)
      .reduce((sum, one) => sum + one.tally.count, 0);
    return count === 0 ? [] : [`${count} × ${severity}`];
  }).join(', ');
}

/** A proof as its four identities, each with what it says and whether it holds; null where the source states nothing. */
export type Identity = { readonly name: string; readonly says: string; readonly holds: boolean | null };

export function identitiesOf(proof: Proof): readonly Identity[] {
  const { currency, receivable, closing, balance, bank } = proof;
  const text = (minor: bigint) => signedText(minor, currency);
  const change = (minor: bigint) => changeText(minor, currency);
  const explained = closing.breaks.reduce((sum, { minor }) => sum + minor, closing.inTransitMinor);
  return [
    {
      name: 'receivable rolls forward',
      says: `opening ${text(receivable.openingMinor)}, facts ${change(receivable.factsMinor)}, lines ${change(receivable.linesMinor)}: ${text(receivable.closingMinor)}`,
      holds:
        receivable.openingMinor + receivable.factsMinor + receivable.linesMinor === receivable.closingMinor,
    },
    {
      name: 'what is left is explained',
      says: `in transit ${text(closing.inTransitMinor)}, breaks ${change(explained - closing.inTransitMinor)}, residual ${text(closing.residualMinor)}: ${text(explained + closing.residualMinor)}`,
      holds: closing.residualMinor === 0n && explained + closing.residualMinor === receivable.closingMinor,
    },
    {
      name: 'PSP balance',
      says: `our mirror ${text(balance.mirrorMinor)}, all lines ${text(balance.linesMinor)}, the PSP says ${balance.statedMinor === null ? 'nothing' : text(balance.statedMinor)}`,
      holds:
        balance.mirrorMinor === balance.linesMinor &&
        (balance.statedMinor === null || balance.statedMinor === balance.mirrorMinor),
    },
    {
      name: bank === null ? 'bank' : `bank ${bank.bank}`,
      says:
        bank === null
          ? 'no statement yet'
          : `our cash ${text(bank.cashMinor)}, the statement says ${text(bank.statedMinor)}`,
      holds: bank === null ? null : bank.cashMinor === bank.statedMinor,
    },
  ];
}

/** What can be done about a break, most fitting first: commands, and what only a person can do. */
export function waysOut(one: BreakAnswer): readonly string[] {
  return one.offers.map((offer) => {
    if (RESOLUTIONS.some((action) => action === offer))
      return `paygate breaks resolve ${one.id} --as ${offer} --reason "…" --dry-run`;
    const reference = one.external?.reference ?? one.internal?.reference ?? '';
    return offer === 'refund'
      ? `give the money back (paygate refunds create, or at the PSP: ${reference})`
      : `look it up at the PSP: ${reference}`;
  });
}
