/**
 * The configuration: one TOML file, a few environment variables, checked whole at start. Turns text into
 * the typed policies that the rest trusts. Reads no file itself.
 */
import { z } from 'zod';
import { OperatorError } from './errors.ts';
import { type Currency, type FeeRate, parseAmount, parseCurrency } from './money.ts';
import type { AcceptPolicy } from './payment/accept-payments.ts';
import type { PspAccount } from './psp/psp.ts';

const pspAccountSchema = z.strictObject({
  psp: z.literal('stripe'),
  /** A file with the secret key, readable by its owner only; or the variable PAYGATE_PSP_<NAME>_API_KEY. */
  api_key_file: z.string().min(1).optional(),
  base_url: z.url({ protocol: /^https?$/ }).optional(),
  max_concurrent: z.int().min(1).max(512).default(32),
  timeout_ms: z.int().min(100).max(120_000).default(30_000),
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
  /** The PSP account that charges go to; may be left out when there is only one. */
  default_psp_account: z.string().optional(),
  /** Per currency: basis points of the gross and a fixed part in major units. */
  fees: z
    .record(z.string(), z.strictObject({ bps: z.int().min(0).max(10_000), fixed: z.string().default('0') }))
    .default({}),
  release: z.strictObject({ after_days: z.int().min(0).max(365).default(0) }).prefault({}),
  risk: z
    .strictObject({
      max_payment: z.record(z.string(), z.string()).default({}),
      blocked_buyers: z.array(z.string()).default([]),
      blocked_sellers: z.array(z.string()).default([]),
    })
    .prefault({}),
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
  readonly accept: AcceptPolicy | null;
  readonly http: { readonly host: string; readonly port: number };
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error';
};

export type ConfigSource = {
  readonly env: 'development' | 'production';
  /** The parsed TOML document; an empty object when there is no file. */
  readonly document: unknown;
  /** Where it came from, for messages. */
  readonly origin: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Reads a secret file; throws OperatorError when it is readable by others. */
  readonly readSecret: (path: string) => string;
};

/**
 * Checks and translates the configuration.
 * @throws OperatorError config_invalid, with every fault
 */
export function readConfig(source: ConfigSource): Config {
  const parsed = configSchema.safeParse(source.document);
  if (!parsed.success) {
    const faults = parsed.error.issues.map(
      (issue) => `${issue.path.join('.') || '(top level)'}: ${issue.message}`,
    );
    throw invalid(source, faults);
  }
  const file = parsed.data;
  const faults: string[] = [];
  const pspAccounts = Object.entries(file.psp).map(([name, account]) => toPspAccount(source, name, account));
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
    accept: toAcceptPolicy(file, pspAccounts, faults),
    http: { host: file.http.host, port: file.http.port },
    logLevel: file.log.level,
  };
  if (faults.length > 0) throw invalid(source, faults);
  return config;
}

/** Which PSP an account of the book is at; one may have been taken out of the configuration since. */
export function pspOf(config: Config): (pspAccount: string) => PspAccount['psp'] {
  return (name) => config.pspAccounts.find((account) => account.name === name)?.psp ?? 'stripe';
}

function invalid(source: ConfigSource, faults: readonly string[]): OperatorError {
  return new OperatorError('config_invalid', `${source.origin} is not usable:\n  ${faults.join('\n  ')}`, {
    details: { faults },
  });
}

function toPspAccount(
  source: ConfigSource,
  name: string,
  account: z.infer<typeof pspAccountSchema>,
): PspAccount {
  const variable = `PAYGATE_PSP_${name.toUpperCase()}_API_KEY`;
  const fromFile = account.api_key_file === undefined ? '' : source.readSecret(account.api_key_file);
  return {
    name,
    psp: account.psp,
    // Checked by the daemon, which alone needs it: submitting payments works without the secret.
    apiKey: (source.environment[variable] ?? fromFile).trim(),
    baseUrl: account.base_url ?? null,
    maxConcurrent: account.max_concurrent,
    timeoutMs: account.timeout_ms,
  };
}

/** Null without a PSP account: reading commands work all the same. */
function toAcceptPolicy(
  file: z.infer<typeof configSchema>,
  accounts: readonly PspAccount[],
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
  const maxPaymentMinor = new Map<Currency, bigint>();
  for (const [code, text] of Object.entries(file.risk.max_payment)) {
    const amount = readAmount(`risk.max_payment.${code}`, text, code, faults);
    if (amount !== null) maxPaymentMinor.set(amount.currency, amount.amountMinor);
  }
  if (account === undefined) return null;
  return {
    pspAccount: account,
    fees,
    risk: {
      maxPaymentMinor,
      blockedBuyers: new Set(file.risk.blocked_buyers),
      blockedSellers: new Set(file.risk.blocked_sellers),
    },
    releaseAfterDays: file.release.after_days === 0 ? null : file.release.after_days,
  };
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
