/**
 * What a rule file says, as data: rules, lists and how long a review waits. Decides nothing; `rule-file.ts` makes
 * it from a document, `assessment.ts` asks it.
 */
import type { Currency } from '../money.ts';

/** The longest window that a rule may have (s); what is older than that is counted for nobody. */
export const MAX_WINDOW_S = 31 * 86_400;

/** What a rule asks for when it hits: block > review > allow. */
export type RuleAction = 'block' | 'review' | 'allow';

/** Whose checkouts a rule counts, or which name it looks up in a list. */
export type Party = 'buyer' | 'payment_method' | 'seller';

export type Amounts = ReadonlyMap<Currency, bigint>;

type RuleBase = {
  /** Unique in the file; stands in reasons, hits and overrides. */
  readonly id: string;
  readonly action: RuleAction;
  /** Shadow: evaluated and stored, changes nothing. */
  readonly mode: 'live' | 'shadow';
  /** Ids of rules whose hits do not count where this one hits; only on rules that allow. */
  readonly overrides: readonly string[];
};

/** The payment sums up to more than this in one of its currencies (minor units). */
type AmountRule = RuleBase & { readonly kind: 'amount'; readonly max: Amounts };

/** More checkouts, or more money, of one party within a sliding window. */
export type VelocityRule = RuleBase & {
  readonly kind: 'velocity';
  readonly by: Party;
  /** 60–2,678,400 (s); counted in whole minutes, the one that the window begins in included. */
  readonly windowS: number;
  /** Most checkouts, this one included; null: not limited. */
  readonly maxCount: number | null;
  /** Most money per currency, this checkout included (minor units); empty: not limited. */
  readonly maxSum: Amounts;
};

export type ListRule = RuleBase & { readonly kind: 'list'; readonly party: Party; readonly list: string };

/** The same buyer orders the same from the same sellers again, under another checkout. */
type DuplicateRule = RuleBase & { readonly kind: 'duplicate'; readonly windowS: number };

/** A buyer of whom no payment has succeeded yet, above an amount (minor units). */
type FirstTimeBuyerRule = RuleBase & { readonly kind: 'first_time_buyer'; readonly above: Amounts };

/** A seller's sum since midnight UTC, this checkout included (minor units). */
type SellerDailyCapRule = RuleBase & { readonly kind: 'seller_daily_cap'; readonly max: Amounts };

export type Rule =
  | AmountRule
  | VelocityRule
  | ListRule
  | DuplicateRule
  | FirstTimeBuyerRule
  | SellerDailyCapRule;

export type ListEntry = {
  readonly reason: string;
  /** Milliseconds since 1970; from then on the entry is no longer there. Null: for ever. */
  readonly expiresMs: number | null;
};

export type RuleSet = {
  /** The file's name and the SHA-256 of its bytes: which rules a decision was made by. */
  readonly version: string;
  readonly rules: readonly Rule[];
  readonly lists: ReadonlyMap<string, ReadonlyMap<string, ListEntry>>;
  /** How long a payment waits for a person before it is rejected (s). */
  readonly reviewTimeoutS: number;
  /**
   * What the rules need to know besides the request: `nothing`, the database's `time` (entries that expire), or the
   * `history` of parties. An acceptance pays only for what is needed.
   */
  readonly needs: 'nothing' | 'time' | 'history';
};
