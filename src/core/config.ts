/**
 * The configuration: one TOML file, a few environment variables, checked whole at start. Turns text into
 * the typed policies that the rest trusts. Reads no file itself.
 */
import { z } from 'zod';
import type { DisputePolicy } from './dispute/dispute.ts';
import { OperatorError, unreachable } from './errors.ts';
import { type Currency, type FeeRate, parseAmount, parseCurrency } from './money.ts';
import type { AcceptPolicy } from './payment/accept-payments.ts';
import type { PayoutPolicy } from './payout/payout-decision.ts';
import type { PspAccount } from './psp/psp.ts';
import type { AmountRange, Routing, RoutingRule } from './psp/route.ts';
import type { RefundPolicy } from './refund/refund.ts';
import type { RiskRules } from './risk/risk.ts';
import type { RuleSet } from './risk/rule-set.ts';
import {
  type DropFolder,
  settlementSchema,
  toDropFolder,
  toSettlementPolicy,
} from './settlement/settlement-config.ts';
import type { SettlementPolicy } from './settlement/settlement-policy.ts';

const accountSettings = {
  /** A file with the secret key, readable by its owner only; or the variable PAYGATE_PSP_<NAME>_API_KEY. */
  api_key_file: z.string().min(1).optional(),
  /** A file with what the PSP signs its webhooks with; or the variable PAYGATE_PSP_<NAME>_WEBHOOK_SECRET. */
  webhook_secret_file: z.string().min(1).optional(),
  base_url: z.url({ protocol: /^https?$/ }).optional(),
  max_concurrent: z.int().min(1).max(512).default(32),
  timeout_ms: z.int().min(100).max(120_000).default(30_000),
};

const pspAccountSchema = z.discriminatedUnion('psp', [
  z.strictObject({ psp: z.literal('stripe'), ...accountSettings }),
  z.strictObject({
    psp: z.literal('adyen'),
    /** Adyen's name of the account that takes the payments. */
    merchant_account: z.string().min(1).max(80),
    /** Adyen's id of the balance account that payouts are paid from. */
    balance_account_id: z
      .string()
      .regex(/^BA\w+$/, 'a balance account of Adyen starts with BA')
      .optional(),
    /** Makes it Adyen's live environment; left out: the test environment. */
    live_url_prefix: z
      .string()
      .regex(/^[\w-]+$/, 'give the prefix alone, as the Customer Area shows it')
      .optional(),
    ...accountSettings,
  }),
]);

/** More rules than anybody reads; each is looked at for each order. */
const MAX_ROUTING_RULES = 100;

/** After a decline, at most so many further attempts. */
const MAX_FURTHER_ACCOUNTS = 5;

const routingSchema = z.strictObject({
  account: z.string(),
  currencies: z.array(z.string()).min(1).optional(),
  sellers: z.array(z.string()).min(1).optional(),
  /** Major units, of each of the rule's currencies; both ends included. */
  min_amount: z.string().optional(),
  max_amount: z.string().optional(),
  /** Percent of the checkouts that the rule would take. */
  share: z.int().min(1).max(100).default(100),
  /** Accounts at which a soft decline is tried again, in this order; the payment method must be known to them. */
  on_soft_decline: z.array(z.string()).min(1).max(MAX_FURTHER_ACCOUNTS).optional(),
});

const configSchema = z.strictObject({
  database: z
    .strictObject({
      url: z.string().min(1).optional(),
      owner_url: z.string().min(1).optional(),
      listen_url: z.string().min(1).optional(),
      book: z.string().default('paygate'),
      app_role: z.string().default('paygate_app'),
      pool_size: z.int().min(2).max(50).default(8),
      pooler: z.enum(['none', 'transaction']).default('none'),
    })
    .prefault({}),
  psp: z.record(z.string().regex(/^[a-z0-9_]{1,40}$/), pspAccountSchema).default({}),
  /** Which PSP account serves an order: the first rule that fits. */
  routing: z.array(routingSchema).max(MAX_ROUTING_RULES).default([]),
  /** The PSP account of orders that no rule takes; may be left out when there is only one. */
  default_psp_account: z.string().optional(),
  /** Per currency: basis points of the gross and a fixed part in major units. */
  fees: z
    .record(z.string(), z.strictObject({ bps: z.int().min(0).max(10_000), fixed: z.string().default('0') }))
    .default({}),
  payments: z
    .strictObject({
      /** What becomes of a payment of which some orders succeed and some fail. */
      on_partial: z.enum(['keep', 'refund']).default('refund'),
      /** How long a buyer may take to finish a charge; then it is canceled at the PSP. At most three days. */
      customer_minutes: z.int().min(5).max(4_320).default(1_440),
    })
    .prefault({}),
  refunds: z
    .strictObject({
      /** Whether the platform gives back its fee with a refund. */
      fee: z.enum(['proportional', 'kept']).default('proportional'),
      /** Whether a refund may take a wallet below zero. */
      overdraw: z.enum(['allowed', 'refused']).default('allowed'),
    })
    .prefault({}),
  disputes: z
    .strictObject({
      /** Who bears the platform's part of a lost dispute: it gives its fee back, or writes the part off. */
      lost_fee: z.enum(['platform_fees', 'write_off']).default('platform_fees'),
    })
    .prefault({}),
  payouts: z
    .strictObject({
      /** How long a changed destination is not paid. */
      cooling_days: z.int().min(0).max(365).default(3),
      /** The same seller and amount so recently is asked about; 0: never. */
      repeat_days: z.int().min(0).max(365).default(7),
      /** Per currency: a batch with a larger total is approved by another person than its submitter. */
      approval_limit: z.record(z.string(), z.string()).default({}),
    })
    .prefault({}),
  release: z
    .strictObject({
      /** When a seller's share becomes available; left out: after_days says it. */
      at: z.enum(['capture', 'days', 'settlement']).optional(),
      after_days: z.int().min(0).max(365).default(0),
    })
    .prefault({}),
  risk: z
    .strictObject({
      max_payment: z.record(z.string(), z.string()).default({}),
      blocked_buyers: z.array(z.string()).default([]),
      blocked_sellers: z.array(z.string()).default([]),
      /** The rule file, beside this one; read when the program starts. */
      rules_file: z.string().min(1).optional(),
    })
    .prefault({}),
  /** How PSP accounts settle, and who may write off. */
  reconcile: settlementSchema,
  http: z
    .strictObject({
      host: z.enum(['127.0.0.1', '::1', 'localhost']).default('127.0.0.1'),
      /** 0 turns the HTTP API off. */
      port: z.int().min(0).max(65_535).default(0),
    })
    .prefault({}),
  log: z.strictObject({ level: z.enum(['debug', 'info', 'warn', 'error']).default('info') }).prefault({}),
});

export type Config = {
  readonly env: 'development' | 'production';
  readonly database: {
    /** Null: the embedded server. */
    readonly url: string | null;
    readonly ownerUrl: string | null;
    readonly listenUrl: string | null;
    readonly book: string;
    readonly appRole: string;
    readonly poolSize: number;
    readonly prepare: boolean;
  };
  readonly pspAccounts: readonly PspAccount[];
  /** By PSP account: what its webhooks are signed with; accounts without one take none. */
  readonly webhookSecrets: ReadonlyMap<string, string>;
  readonly accept: AcceptPolicy | null;
  /** How long a buyer may take to finish a charge (ms). */
  readonly customerLimitMs: number;
  readonly refunds: RefundPolicy;
  readonly disputes: DisputePolicy;
  readonly payouts: PayoutPolicy;
  readonly settlement: SettlementPolicy;
  /** The same as in `accept`, which may be missing. */
  readonly risk: RiskRules;
  readonly http: { readonly host: string; readonly port: number };
  /** Where settlement files arrive; null: nowhere. */
  readonly dropFolder: DropFolder | null;
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error';
};

/** Finds the configured PSP account of a name in the books; null for one that is not, or no longer, there. */
export function accountsOf(config: Pick<Config, 'pspAccounts'>): (pspAccount: string) => PspAccount | null {
  return (name) => config.pspAccounts.find((account) => account.name === name) ?? null;
}

export type ConfigSource = {
  readonly env: 'development' | 'production';
  /** The parsed TOML document; an empty object when there is no file. */
  readonly document: unknown;
  /** Where it came from, for messages. */
  readonly origin: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Reads a secret file; throws OperatorError when it is readable by others. */
  readonly readSecret: (path: string) => string;
  /** Reads and checks a rule file; throws OperatorError when it is not usable. */
  readonly readRules: (path: string) => RuleSet;
  /** Reads a file that the configuration names and that is no secret; throws OperatorError when it can't be read. */
  readonly readText: (path: string) => string;
};

/**
 * Checks and translates the configuration.
 * @throws OperatorError config_invalid, with every fault
 */
export function readConfig(source: ConfigSource): Config {
  const parsed = configSchema.safeParse(source.document);
  if (!parsed.success) {
    throw invalid(source, parsed.error.issues.flatMap(faultsOf));
  }
  const file = parsed.data;
  const faults: string[] = [];
  const pspAccounts = Object.entries(file.psp).map(([name, account]) => toPspAccount(source, name, account));
  const risk = toRiskRules(source, file, faults);
  const config: Config = {
    env: source.env,
    database: {
      url: source.environment.PAYGATE_DATABASE_URL ?? file.database.url ?? null,
      ownerUrl: source.environment.PAYGATE_DATABASE_OWNER_URL ?? file.database.owner_url ?? null,
      listenUrl: file.database.listen_url ?? null,
      book: source.environment.PAYGATE_BOOK ?? file.database.book,
      appRole: file.database.app_role,
      poolSize: file.database.pool_size,
      prepare: file.database.pooler === 'none',
    },
    pspAccounts,
    webhookSecrets: toWebhookSecrets(source, file.psp),
    accept: toAcceptPolicy(file, pspAccounts, risk, faults),
    customerLimitMs: file.payments.customer_minutes * 60_000,
    refunds: file.refunds,
    disputes: { lostFee: file.disputes.lost_fee },
    payouts: {
      coolingDays: file.payouts.cooling_days,
      repeatDays: file.payouts.repeat_days,
      approvalLimits: readAmounts('payouts.approval_limit', file.payouts.approval_limit, faults),
    },
    settlement: {
      ...toSettlementPolicy(
        file.reconcile,
        {
          writeOffLimits: readAmounts('reconcile.write_off_limit', file.reconcile.write_off_limit, faults),
          faults,
        },
        new Set(Object.keys(file.psp)),
        source.readText,
      ),
      disputes: { lostFee: file.disputes.lost_fee },
    },
    risk,
    http: { host: file.http.host, port: file.http.port },
    dropFolder: toDropFolder(file.reconcile),
    logLevel: file.log.level,
  };
  if (faults.length > 0) throw invalid(source, faults);
  return config;
}

/** Which PSP an account of the book is at; one may have been taken out of the configuration since. */
export function pspOf(config: Config): (pspAccount: string) => PspAccount['psp'] {
  return (name) => config.pspAccounts.find((account) => account.name === name)?.psp ?? 'stripe';
}

/** In words, one for every setting that is wrong. */
function faultsOf(issue: z.core.$ZodIssue): readonly string[] {
  const at = issue.path.join('.');
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => `${at === '' ? key : `${at}.${key}`}: ${notASetting(key)}`);
  }
  if (issue.code === 'invalid_union' && issue.discriminator === 'psp') {
    return [`${at}: must be "stripe" or "adyen"`];
  }
  return [`${at || '(top level)'}: ${issue.message}`];
}

function notASetting(key: string): string {
  return SECRETS.includes(key)
    ? `secrets stand in files of their own: write ${key}_file = "/path/to/it"`
    : 'is not a setting here';
}

const SECRETS: readonly string[] = ['api_key', 'webhook_secret'];

function invalid(source: ConfigSource, faults: readonly string[]): OperatorError {
  return new OperatorError('config_invalid', `${source.origin} is not usable:\n  ${faults.join('\n  ')}`, {
    details: { faults },
  });
}

/** What the environment says, or else the file; empty when neither is given. */
function readPspSecret(
  source: ConfigSource,
  account: string,
  what: 'API_KEY' | 'WEBHOOK_SECRET',
  path: string | undefined,
): string {
  const fromFile = path === undefined ? '' : source.readSecret(path);
  return (source.environment[`PAYGATE_PSP_${account.toUpperCase()}_${what}`] ?? fromFile).trim();
}

function toWebhookSecrets(
  source: ConfigSource,
  accounts: Readonly<Record<string, z.infer<typeof pspAccountSchema>>>,
): ReadonlyMap<string, string> {
  const secrets = Object.entries(accounts).map(
    ([name, account]) =>
      [name, readPspSecret(source, name, 'WEBHOOK_SECRET', account.webhook_secret_file)] as const,
  );
  return new Map(secrets.filter(([, secret]) => secret !== ''));
}

function toPspAccount(
  source: ConfigSource,
  name: string,
  account: z.infer<typeof pspAccountSchema>,
): PspAccount {
  const settings = {
    name,
    // Checked by the daemon, which alone needs it: submitting payments works without the secret.
    apiKey: readPspSecret(source, name, 'API_KEY', account.api_key_file),
    baseUrl: account.base_url ?? null,
    maxConcurrent: account.max_concurrent,
    timeoutMs: account.timeout_ms,
  };
  switch (account.psp) {
    case 'stripe':
      return { psp: account.psp, ...settings };
    case 'adyen':
      return {
        psp: account.psp,
        ...settings,
        merchantAccount: account.merchant_account,
        balanceAccountId: account.balance_account_id ?? null,
        liveUrlPrefix: account.live_url_prefix ?? null,
      };
    default:
      return unreachable(account);
  }
}

/** Null without a PSP account: reading commands work all the same. */
function toAcceptPolicy(
  file: z.infer<typeof configSchema>,
  accounts: readonly PspAccount[],
  risk: RiskRules,
  faults: string[],
): AcceptPolicy | null {
  const wanted = file.default_psp_account;
  const account =
    wanted === undefined && accounts.length === 1 ? accounts[0] : accounts.find((a) => a.name === wanted);
  if (account === undefined && (wanted !== undefined || accounts.length > 1)) {
    faults.push(
      wanted === undefined
        ? 'default_psp_account: name one of several PSP accounts'
        : `default_psp_account: there is no [psp.${wanted}]`,
    );
  }
  const fees = new Map<Currency, FeeRate>();
  for (const [code, fee] of Object.entries(file.fees)) {
    const amount = readAmount(`fees.${code}.fixed`, fee.fixed, code, faults);
    if (amount !== null) fees.set(amount.currency, { feeBps: fee.bps, fixedMinor: amount.amountMinor });
  }
  const rules = file.routing.flatMap((rule, index) => toRoutingRule(rule, index, accounts, faults) ?? []);
  if (account === undefined) return null;
  const route: Routing = { rules, fallback: account };
  return {
    route,
    fees,
    onPartial: file.payments.on_partial,
    risk,
    releaseAfterDays: toReleaseDays(file.release, faults),
  };
}

/** As an order keeps it: null at capture, 0 at settlement, else days. */
function toReleaseDays(release: z.infer<typeof configSchema>['release'], faults: string[]): number | null {
  const { at, after_days: days } = release;
  if (at === 'settlement' || at === 'capture') {
    if (days > 0) faults.push(`release.after_days: is for at = "days", not for at = "${at}"`);
    return at === 'settlement' ? 0 : null;
  }
  if (at === 'days' && days === 0) faults.push('release.after_days: say how many days');
  return days === 0 ? null : days;
}

function toRiskRules(source: ConfigSource, file: z.infer<typeof configSchema>, faults: string[]): RiskRules {
  const { rules_file: rulesFile } = file.risk;
  return {
    maxPaymentMinor: readAmounts('risk.max_payment', file.risk.max_payment, faults),
    blockedBuyers: new Set(file.risk.blocked_buyers),
    blockedSellers: new Set(file.risk.blocked_sellers),
    ...(rulesFile === undefined ? {} : { ruleSet: source.readRules(rulesFile) }),
  };
}

/** Null where the rule makes no sense; `faults` says why then. */
function toRoutingRule(
  rule: z.infer<typeof routingSchema>,
  index: number,
  accounts: readonly PspAccount[],
  faults: string[],
): RoutingRule | null {
  const at = `routing.${index}`;
  const account = accounts.find(({ name }) => name === rule.account);
  if (account === undefined) faults.push(`${at}.account: there is no [psp.${rule.account}]`);
  const hasAmounts = rule.min_amount !== undefined || rule.max_amount !== undefined;
  if (hasAmounts && rule.currencies === undefined) {
    faults.push(`${at}: amounts are in a currency; name it in currencies`);
  }
  const currencies = rule.currencies === undefined ? null : toRanges(rule, rule.currencies, at, faults);
  const further = toFurtherAccounts(rule, at, accounts, faults);
  if (account === undefined) return null;
  const sellers = rule.sellers === undefined ? null : new Set(rule.sellers);
  return {
    account,
    sellers,
    currencies,
    share: rule.share,
    ...(further.length === 0 ? {} : { onSoftDecline: further }),
  };
}

function toFurtherAccounts(
  { account, on_soft_decline: names = [] }: z.infer<typeof routingSchema>,
  at: string,
  accounts: readonly PspAccount[],
  faults: string[],
): readonly PspAccount[] {
  if (new Set([account, ...names]).size <= names.length) {
    faults.push(`${at}.on_soft_decline: each account is tried once, account itself first`);
  }
  return names.flatMap((name) => {
    const found = accounts.find((one) => one.name === name);
    if (found === undefined) faults.push(`${at}.on_soft_decline: there is no [psp.${name}]`);
    return found ?? [];
  });
}

function toRanges(
  rule: z.infer<typeof routingSchema>,
  codes: readonly string[],
  at: string,
  faults: string[],
): ReadonlyMap<Currency, AmountRange> {
  const ranges = new Map<Currency, AmountRange>();
  for (const code of codes) {
    // Without amounts a zero, so that the currency itself is checked.
    const min = readAmount(`${at}.min_amount`, rule.min_amount ?? '0', code, faults);
    const max =
      rule.max_amount === undefined ? null : readAmount(`${at}.max_amount`, rule.max_amount, code, faults);
    if (min === null) continue;
    const maxMinor = max?.amountMinor ?? null;
    if (maxMinor !== null && maxMinor < min.amountMinor) {
      faults.push(`${at}: max_amount is less than min_amount`);
    }
    const minMinor = rule.min_amount === undefined ? null : min.amountMinor;
    ranges.set(min.currency, { minMinor, maxMinor });
  }
  return ranges;
}

/** Amounts in minor units from a table of amounts in major units by currency code. */
function readAmounts(
  field: string,
  table: Readonly<Record<string, string>>,
  faults: string[],
): ReadonlyMap<Currency, bigint> {
  const amounts = new Map<Currency, bigint>();
  for (const [code, text] of Object.entries(table)) {
    const amount = readAmount(`${field}.${code}`, text, code, faults);
    if (amount !== null) amounts.set(amount.currency, amount.amountMinor);
  }
  return amounts;
}

function readAmount(
  field: string,
  text: string,
  code: string,
  faults: string[],
): { currency: Currency; amountMinor: bigint } | null {
  const currency = parseCurrency(code);
  if (currency === null) {
    faults.push(`${field}: ${code} is not an ISO 4217 currency`);
    return null;
  }
  const amount = parseAmount(text, currency);
  if (amount.kind === 'ok') return { currency, amountMinor: amount.amountMinor };
  faults.push(`${field}: ${amount.message}`);
  return null;
}
