/** The plan of a payout batch, for people and as JSON: totals, refusals, repeats, each wallet before and after. Decides only. */
import { formatId } from '../../core/ids.ts';
import { toMoneyJson } from '../../core/money.ts';
import type { PayoutRequest } from '../../core/payout/payout.ts';
import type {
  PayoutPlan,
  PlannedRefusal,
  PlannedRepeat,
  PlannedWallet,
} from '../../core/payout/plan-payouts.ts';
import type { Block } from '../render/table.ts';
import { countText, moneyText, sumUp, type Totals, totalsCode, totalsJson, totalsText } from '../words.ts';

/** Rows of a part that JSON lists; all are counted. */
export const MAX_LISTED = 1_000;
/** Rows of a part that a person is shown. */
const MAX_SHOWN = 20;

/** What is planned: these payouts, and what would become of them. */
export type Planned = { readonly requests: readonly PayoutRequest[]; readonly plan: PayoutPlan };

export function totalsOf(requests: readonly PayoutRequest[]): Totals {
  return sumUp(requests.map((request) => request.money));
}

/** In one line and a few below it. */
export function planText({ requests, plan }: Planned): string {
  const lines = [
    `${countText(requests.length, 'payout')} to ${countText(sellersOf(requests), 'seller')}, ${totalsText(totalsOf(requests))}`,
  ];
  if (plan.refusals.length > 0) {
    const paid = plan.payableCount === 0 ? 'nothing' : totalsText(plan.payable);
    lines.push(`  would be refused: ${plan.refusals.length}; ${paid} would be paid`);
  }
  if (plan.repeats.length > 0)
    lines.push(
      `  the same seller and amount again: ${plan.repeats.length}, paid a short time ago or in this file`,
    );
  return lines.join('\n');
}

function sellersOf(requests: readonly PayoutRequest[]): number {
  return new Set(requests.map((request) => request.seller)).size;
}

/** The wallets, and what would be refused or looks like the same again. */
export function planBlocks({ plan }: Planned): readonly Block[] {
  return [
    walletTable(plan.wallets),
    ...cut(plan.wallets.length, 'wallet'),
    ...(plan.refusals.length > 0 ? [refusalTable(plan.refusals)] : []),
    ...cut(plan.refusals.length, 'refusal'),
    ...(plan.repeats.length > 0 ? [repeatTable(plan.repeats)] : []),
    ...cut(plan.repeats.length, 'repeat'),
  ];
}

function cut(count: number, noun: string): readonly Block[] {
  if (count <= MAX_SHOWN) return [];
  return [{ kind: 'line', text: { text: `… and ${countText(count - MAX_SHOWN, noun)} more`, tone: 'dim' } }];
}

function walletTable(wallets: readonly PlannedWallet[]): Block {
  return {
    kind: 'table',
    empty: '',
    columns: [
      { title: 'SELLER', shrink: true },
      { title: 'AVAILABLE', align: 'right' },
      { title: 'PAYOUTS', align: 'right' },
      { title: 'AFTER', align: 'right' },
    ],
    rows: wallets.slice(0, MAX_SHOWN).map(({ seller, currency, ...wallet }) => {
      const text = (amountMinor: bigint) => moneyText({ amountMinor, currency });
      return [seller, text(wallet.beforeMinor), text(wallet.payoutMinor), text(wallet.afterMinor)];
    }),
  };
}

function refusalTable(refusals: readonly PlannedRefusal[]): Block {
  return {
    kind: 'table',
    empty: '',
    columns: [
      { title: 'LINE', align: 'right' },
      { title: 'ITEM', shrink: true },
      { title: 'REFUSED' },
      { title: 'REASON', shrink: true },
    ],
    rows: refusals
      .slice(0, MAX_SHOWN)
      .map(({ request, refusal }) => [
        String(request.line),
        request.itemRef,
        { text: refusal.code, tone: 'bad' },
        refusal.reason,
      ]),
  };
}

function repeatTable(repeats: readonly PlannedRepeat[]): Block {
  return {
    kind: 'table',
    empty: '',
    columns: [
      { title: 'LINE', align: 'right' },
      { title: 'ITEM', shrink: true },
      { title: 'SELLER', shrink: true },
      { title: 'AMOUNT', align: 'right' },
      { title: 'THE SAME AS' },
    ],
    rows: repeats
      .slice(0, MAX_SHOWN)
      .map(({ request, payoutId, line }) => [
        String(request.line),
        request.itemRef,
        request.seller,
        moneyText(request.money),
        payoutId === null ? `line ${line}` : formatId('payout', payoutId),
      ]),
  };
}

/** The plan in JSON; `confirm` is what --confirm takes at approval. */
export function planJson({ requests, plan }: Planned) {
  const totals = totalsOf(requests);
  return {
    payouts: requests.length,
    totals: totalsJson(totals),
    confirm: totalsCode(totals),
    payable: plan.payableCount,
    payable_totals: totalsJson(plan.payable),
    refusal_count: plan.refusals.length,
    refusals: plan.refusals.slice(0, MAX_LISTED).map(({ request, refusal }) => ({
      line: request.line,
      item_ref: request.itemRef,
      ...refusal,
    })),
    repeat_count: plan.repeats.length,
    repeats: plan.repeats.slice(0, MAX_LISTED).map(({ request, payoutId, line }) => ({
      line: request.line,
      item_ref: request.itemRef,
      same_as_payout_id: payoutId === null ? null : formatId('payout', payoutId),
      same_as_line: line,
    })),
    wallet_count: plan.wallets.length,
    wallets: plan.wallets.slice(0, MAX_LISTED).map(walletJson),
  };
}

function walletJson({ seller, currency, ...wallet }: PlannedWallet) {
  const amount = (amountMinor: bigint) => toMoneyJson({ amountMinor, currency });
  return {
    seller,
    currency,
    available: amount(wallet.beforeMinor),
    payouts: amount(wallet.payoutMinor),
    after: amount(wallet.afterMinor),
  };
}
