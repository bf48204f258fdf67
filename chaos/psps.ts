/**
 * The run's two PSP accounts, both at the one sandbox: which orders go to which, what each counts amounts in, and what
 * the configuration says of them. Decides only.
 */
import type { Currency } from '../src/core/money.ts';
import { toAdyenValue } from '../src/core/psp/adyen-minor-unit.ts';
import { toStripeAmount } from '../src/core/psp/stripe-minor-unit.ts';

/** Stripe's account, which takes what no rule sends elsewhere. The key opens nothing but the sandbox. */
export const STRIPE_ACCOUNT = 'sandbox';
export const STRIPE_KEY = 'sk_test_chaos';
/** What the sandbox signs with by itself. */
export const STRIPE_SECRET = 'whsec_sandbox';

export const ADYEN_ACCOUNT = 'adyen';
const ADYEN_KEY = 'adyen_test_chaos';
/** What every sandbox signs Adyen's webhooks with, those of transfers by the second; it says so itself. */
const ADYEN_SECRET = `${'AD'.repeat(32)} ${'AE'.repeat(32)}`;

export const ACCOUNTS = [STRIPE_ACCOUNT, ADYEN_ACCOUNT] as const;
export type Account = (typeof ACCOUNTS)[number];

/** The variables that hold the secrets of both. */
export const SECRETS = {
  PAYGATE_PSP_SANDBOX_API_KEY: STRIPE_KEY,
  PAYGATE_PSP_SANDBOX_WEBHOOK_SECRET: STRIPE_SECRET,
  PAYGATE_PSP_ADYEN_API_KEY: ADYEN_KEY,
  PAYGATE_PSP_ADYEN_WEBHOOK_SECRET: ADYEN_SECRET,
} as const;

/** Names of several scripts among plain ones; the first few are hot. */
export const SELLERS: readonly string[] = [
  'market-hall',
  'seller-001',
  '東京商店',
  'Кофейня Ирина',
  'مقهى النيل',
  'Zoë & Söhne',
  ...Array.from({ length: 120 }, (_, i) => `seller-${100 + i}`),
];

/** Every third seller is charged at Adyen, and so is everybody in pounds. */
const AT_ADYEN = SELLERS.filter((_, place) => place % 3 === 2);
const CURRENCIES_AT_ADYEN: readonly string[] = ['GBP'];

/** Where an order must go: what the rules of {@link routingOf} say, written down a second time. */
export function accountOf(order: { readonly seller: string; readonly currency: string }): Account {
  const isAdyens = AT_ADYEN.includes(order.seller) || CURRENCIES_AT_ADYEN.includes(order.currency);
  return isAdyens ? ADYEN_ACCOUNT : STRIPE_ACCOUNT;
}

type Settings = { readonly base_url: string; readonly max_concurrent: number; readonly timeout_ms: number };

/** The part of the configuration that names both accounts and the way to them. */
export function pspDocument(settings: Settings) {
  return {
    default_psp_account: STRIPE_ACCOUNT,
    psp: {
      [STRIPE_ACCOUNT]: { psp: 'stripe', ...settings },
      [ADYEN_ACCOUNT]: {
        psp: 'adyen',
        merchant_account: 'ChaosMarket',
        balance_account_id: 'BA00CHAOS',
        ...settings,
      },
    },
    routing: [
      { account: ADYEN_ACCOUNT, sellers: AT_ADYEN },
      { account: ADYEN_ACCOUNT, currencies: CURRENCIES_AT_ADYEN },
    ],
  };
}

/** Where a seller is paid, in the form that the account's PSP takes. */
export function destinationOf(account: Account, seller: string): string {
  const hex = Buffer.from(seller).toString('hex');
  return (account === STRIPE_ACCOUNT ? `acct_${hex}` : `BA${hex}`).slice(0, 40);
}

/** The amount as the account's PSP counts it; null where it cannot. */
export function amountAt(account: string, amountMinor: bigint, currency: string): number | null {
  const known = currency as Currency;
  if (account === ADYEN_ACCOUNT) {
    const value = toAdyenValue(amountMinor, known);
    return value.kind === 'ok' ? value.value : null;
  }
  const amount = toStripeAmount(amountMinor, known);
  return amount.kind === 'ok' ? amount.amount : null;
}

/** What a payment method of the plan is called at Adyen. */
const ADYEN_TOKENS: Readonly<Record<string, string>> = {
  pm_card_visa: 'stored_authorised',
  pm_card_mastercard: 'stored_authorised',
  pm_card_visa_chargeDeclined: 'stored_refused',
  pm_card_visa_chargeDeclinedInsufficientFunds: 'stored_not_enough_balance',
  pm_card_authenticationRequired: 'stored_redirect',
};

/** The payment method under the name that it has where the order goes; one that nobody knows stays unknown. */
export function methodAt(account: Account, method: string): string {
  if (account === STRIPE_ACCOUNT) return method;
  return ADYEN_TOKENS[method] ?? 'stored_that_nobody_has';
}
