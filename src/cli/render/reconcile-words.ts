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

/** One thing that can be done: in words, and what to type for it. */
export type Way = {
  readonly does: string;
  /** Null: it is done elsewhere, at the PSP. */
  readonly command: string | null;
};

/** What can be done about a break, most fitting first. What books something is shown with --dry-run: a look costs nothing. */
export function waysOut(one: BreakAnswer): readonly Way[] {
  const ways = one.offers.map((offer) => wayOf(one, offer));
  if (one.proposal === undefined || one.proposal === null) return ways;
  const agree = `paygate breaks resolve ${one.id} --as ${one.proposal.as} --reason "…" --dry-run`;
  return [{ does: `agree with ${one.proposal.by}, as another person`, command: agree }, ...ways];
}

function wayOf(one: BreakAnswer, offer: string): Way {
  const who = one.source.startsWith('bank:') ? 'the bank' : 'the PSP';
  const name = one.external?.reference ?? one.internal?.reference ?? one.external?.label ?? one.id;
  const resolve = (more: string) => `paygate breaks resolve ${one.id} --as ${offer}${more}`;
  const look = resolve(' --reason "…" --dry-run');
  const amount = signedText(one.amountMinor < 0n ? -one.amountMinor : one.amountMinor, one.currency);
  switch (offer) {
    case 'enquire':
      return { does: `ask ${who} about ${name}`, command: null };
    case 'wait_for_psp':
      return { does: `say that ${who} is asked`, command: resolve('') };
    case 'corrected_file':
      return {
        does: 'ask for a file that is right, and reconcile it',
        command: null,
      };
    case 'refund_at_psp':
      return { does: `have the PSP give ${name} back`, command: null };
    case 'answer_dispute':
      return {
        does: `answer ${name} at the PSP: the buyer has the money already`,
        command: 'paygate disputes list',
      };
    case 'adopt_suspended':
      return {
        does: 'let the order take the money',
        command: `paygate suspense adopt ${one.suspended ?? ''} --reason "…" --dry-run`,
      };
    case 'refund_suspended':
      return {
        does: 'give the buyer the money back',
        command: `paygate suspense refund ${one.suspended ?? ''} --reason "…" --dry-run`,
      };
    case 'dead_letter':
      return { does: 'read its dead letter', command: `paygate dlq show ${one.deadLetter ?? ''}` };
    case 'link':
      return one.code === 'ambiguous'
        ? {
            does: `take ${one.internal?.label ?? 'the proposed item'} for what the line shows`,
            command: look,
          }
        : { does: 'say which of our items the line shows', command: `paygate breaks items ${one.id}` };
    case 'accept':
      return { does: 'leave it as the file says; nothing more is booked', command: look };
    case 'adjust':
      return { does: `write the difference of ${amount} off`, command: look };
    case 'expense':
      return { does: `book ${amount} as a fee of the PSP`, command: look };
    case 'suspense':
      return { does: `book ${amount} as not yet explained`, command: look };
    case 'write_off':
      return { does: `give ${amount} up`, command: look };
    case 'reverse':
      return { does: 'it never moved: undo what we booked', command: look };
    default:
      return { does: offer.replaceAll('_', ' '), command: look };
  }
}
