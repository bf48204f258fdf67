/** What one person proposes and another one agrees to, as text that is the same only for the same decision. Decides only. */
import { type Currency, formatAmount } from '../money.ts';

/** What of a plan two people must agree about; minor units. */
type Proposed = {
  readonly action: string;
  readonly rest: string | null;
  readonly links: readonly {
    readonly item: { readonly id: string; readonly currency: Currency };
    readonly amountMinor: bigint;
  }[];
  readonly entry: {
    readonly postings: readonly {
      readonly debit: string;
      readonly credit: string;
      readonly currency: string;
      readonly amountMinor: bigint;
    }[];
  } | null;
};

/** The decision as a person gives it, and every posting that it would make. */
export function proposalText(plan: Proposed): string {
  const items = plan.links.map(({ item, amountMinor }) => {
    const size = amountMinor < 0n ? -amountMinor : amountMinor;
    return `--item ${item.id}=${formatAmount({ amountMinor: size, currency: item.currency })}`;
  });
  const as = [plan.action, ...items, ...(plan.rest === null ? [] : [`--rest ${plan.rest}`])].join(' ');
  const postings = (plan.entry?.postings ?? []).map(
    ({ debit, credit, currency, amountMinor }) => `${debit} ${credit} ${amountMinor} ${currency}`,
  );
  return JSON.stringify({ as, postings });
}

/** What stands after `--as` in the command that agrees. */
export function proposedAs(text: string): string {
  return (JSON.parse(text) as { readonly as: string }).as;
}
