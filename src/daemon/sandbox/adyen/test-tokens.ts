/**
 * What a payment does, chosen by the name of its stored token, by the card holder's name, or by Adyen's own test
 * field. Only tables and a choice between them: no state, no time, no randomness.
 */

/** How a payment ends at once. `challenge` is a refusal for a shopper who is not there. */
export type Behaviour =
  | { readonly kind: 'authorised' }
  | { readonly kind: 'refused'; readonly code: string }
  | { readonly kind: 'cancelled' }
  | { readonly kind: 'error' }
  | { readonly kind: 'pending'; readonly resultCode: 'Pending' | 'Received' }
  | {
      readonly kind: 'challenge';
      readonly resultCode: 'RedirectShopper' | 'ChallengeShopper' | 'IdentifyShopper';
    };

/** Adyen's words for its refusal reason codes. Source: docs.adyen.com/development-resources/refusal-reasons. */
const REFUSALS: ReadonlyMap<string, string> = new Map([
  ['2', 'Refused'],
  ['5', 'Blocked Card'],
  ['6', 'Expired Card'],
  ['12', 'Not enough balance'],
  ['14', 'acquirer fraud'],
  ['20', 'FRAUD'],
  ['22', 'FRAUD-CANCELLED'],
  ['25', 'Restricted Card'],
  ['26', 'Revocation Of Auth'],
  ['28', 'Withdrawal amount exceeded'],
  ['29', 'Withdrawal count exceeded'],
  ['31', 'Issuer Suspected Fraud'],
  ['38', 'Authentication required'],
]);

const BEHAVIOURS: ReadonlyMap<string, Behaviour> = new Map<string, Behaviour>([
  ['authorised', { kind: 'authorised' }],
  ['refused', { kind: 'refused', code: '2' }],
  ['blocked_card', { kind: 'refused', code: '5' }],
  ['expired_card', { kind: 'refused', code: '6' }],
  ['not_enough_balance', { kind: 'refused', code: '12' }],
  ['fraud', { kind: 'refused', code: '20' }],
  ['restricted_card', { kind: 'refused', code: '25' }],
  ['cancelled', { kind: 'cancelled' }],
  ['error', { kind: 'error' }],
  ['pending', { kind: 'pending', resultCode: 'Pending' }],
  ['received', { kind: 'pending', resultCode: 'Received' }],
  ['redirect', { kind: 'challenge', resultCode: 'RedirectShopper' }],
  ['challenge', { kind: 'challenge', resultCode: 'ChallengeShopper' }],
  ['identify', { kind: 'challenge', resultCode: 'IdentifyShopper' }],
]);

const TOKEN_PREFIX = 'stored_';

/** Adyen's word for a refusal reason code; codes that are not in the table are plain refusals. */
export function refusalReason(code: string): string {
  return REFUSALS.get(code) ?? 'Refused';
}

/** What the token does ("stored_authorised"); null for a token that nobody stored. */
export function behaviourOfToken(token: string): Behaviour | null {
  return token.startsWith(TOKEN_PREFIX) ? (BEHAVIOURS.get(token.slice(TOKEN_PREFIX.length)) ?? null) : null;
}

/** What a card holder's name asks for ("NOT_ENOUGH_BALANCE"); null for an ordinary name. */
export function behaviourOfHolder(holderName: string): Behaviour | null {
  return BEHAVIOURS.get(holderName.trim().toLowerCase()) ?? null;
}

/** What `RequestedTestAcquirerResponseCode` asks for; null for a code that is no refusal. */
export function behaviourOfCode(code: string): Behaviour | null {
  return REFUSALS.has(code) ? { kind: 'refused', code } : null;
}

/** Refusal codes for the failures that the fault API has names for. */
const FAILURE_CODES: ReadonlyMap<string, string> = new Map([
  ['insufficient_funds', '12'],
  ['expired_card', '6'],
  ['lost_card', '5'],
  ['stolen_card', '5'],
  ['authentication_required', '38'],
]);

/** The refusal code of a forced decline. */
export function refusalOfFailure(failure: string): string {
  return FAILURE_CODES.get(failure) ?? '2';
}
