/** `config show`: every setting in force and where it comes from. Shows no secret. */
import type { Config } from '../../core/config.ts';
import { redactDatabaseUrl } from '../../core/db/database-url.ts';
import { type Currency, formatAmount } from '../../core/money.ts';
import type { AdyenAccount } from '../../core/psp/psp.ts';
import type { AmountRange, RoutingRule } from '../../core/psp/route.ts';
import type { ExpectedFee } from '../../core/settlement/expected-fee.ts';
import { settlementOf } from '../../core/settlement/settlement-policy.ts';
import { EXIT } from '../exit-codes.ts';
import { type LoadedConfig, loadConfig } from '../load-config.ts';
import type { Session } from '../session.ts';

type Setting = {
  readonly name: string;
  readonly value: string;
  /** Variable that overrules the file. */
  readonly variable?: string;
  /** Where it stands in the file, if that is not its name. */
  readonly key?: string;
};

/** `with`: also where each setting comes from. */
export async function showConfig(session: Session, origin: 'with' | 'without'): Promise<number> {
  const loaded = loadConfig(session);
  const settings = settingsOf(loaded.config).map((setting) => ({
    ...setting,
    origin: originOf(session, loaded, setting),
  }));
  const columns = [{ title: 'SETTING' }, { title: 'VALUE', shrink: true as const }];
  await session.print({
    json: {
      file: loaded.path,
      settings: settings.map(({ name, value, origin: from }) => ({
        name,
        value,
        ...(origin === 'with' ? { origin: from } : {}),
      })),
    },
    records: settings.map(({ name, value, origin: from }) => ({
      name,
      value,
      ...(origin === 'with' ? { origin: from } : {}),
    })),
    blocks: [
      {
        kind: 'table',
        empty: '',
        columns: origin === 'with' ? [...columns, { title: 'FROM', shrink: true as const }] : columns,
        rows: settings.map((setting) =>
          [setting.name, setting.value, setting.origin].slice(0, origin === 'with' ? 3 : 2),
        ),
      },
    ],
  });
  return EXIT.done;
}

function settingsOf(config: Config): readonly Setting[] {
  const { database } = config;
  const url = (text: string | null, absent: string) => (text === null ? absent : redactDatabaseUrl(text));
  return [
    { name: 'env', value: config.env, variable: 'PAYGATE_ENV' },
    { name: 'database.url', value: url(database.url, '(embedded)'), variable: 'PAYGATE_DATABASE_URL' },
    {
      name: 'database.owner_url',
      value: url(database.ownerUrl, '(as url)'),
      variable: 'PAYGATE_DATABASE_OWNER_URL',
    },
    { name: 'database.listen_url', value: url(database.listenUrl, '(as url)') },
    { name: 'database.book', value: database.book, variable: 'PAYGATE_BOOK' },
    { name: 'database.app_role', value: database.appRole },
    { name: 'database.pool_size', value: String(database.poolSize) },
    { name: 'database.pooler', value: database.prepare ? 'none' : 'transaction' },
    ...config.pspAccounts.flatMap((account) => accountSettings(account, config.webhookSecrets)),
    ...acceptSettings(config),
    { name: 'disputes.lost_fee', value: config.disputes.lostFee },
    { name: 'payouts.cooling_days', value: String(config.payouts.coolingDays) },
    { name: 'payouts.repeat_days', value: String(config.payouts.repeatDays) },
    ...[...config.payouts.approvalLimits].map(([currency, amountMinor]) => ({
      name: `payouts.approval_limit.${currency}`,
      value: formatAmount({ amountMinor, currency }),
    })),
    ...reconcileSettings(config),
    { name: 'http.host', value: config.http.host },
    { name: 'http.port', value: config.http.port === 0 ? '0 (off)' : String(config.http.port) },
    { name: 'log.level', value: config.logLevel },
  ];
}

function reconcileSettings({ dropFolder, settlement, pspAccounts }: Config): readonly Setting[] {
  const accounts = pspAccounts.flatMap(({ name }) => {
    const at = `reconcile.accounts.${name}`;
    const { timeZone, cutOffMinute, settleDays, graceDays, holidays, bank, fees } = settlementOf(
      settlement,
      name,
    );
    return [
      { name: `${at}.time_zone`, value: timeZone },
      { name: `${at}.cut_off`, value: timeOfDay(cutOffMinute) },
      { name: `${at}.settle_days`, value: String(settleDays) },
      { name: `${at}.grace_days`, value: String(graceDays) },
      { name: `${at}.holidays`, value: `(${holidays.size} days)` },
      { name: `${at}.bank`, value: bank },
      ...[...fees].map(([currency, fee]) => ({
        name: `${at}.fees.${currency}`,
        value: feeText(fee, currency),
      })),
    ];
  });
  const night = dropFolder?.nightlyMinute ?? null;
  return [
    { name: 'reconcile.drop_folder', value: dropFolder?.folder ?? '(none)' },
    { name: 'reconcile.nightly', value: night === null ? '(as files come)' : timeOfDay(night) },
    ...accounts,
    ...[...settlement.writeOffLimits].map(([currency, amountMinor]) => ({
      name: `reconcile.write_off_limit.${currency}`,
      value: formatAmount({ amountMinor, currency }),
    })),
  ];
}

/** "1.4% + 0.25, within 0.01". */
function feeText({ percent, fixedMinor, toleranceMinor }: ExpectedFee, currency: Currency): string {
  const text = (amountMinor: bigint) => formatAmount({ amountMinor, currency });
  return `${percent}% + ${text(fixedMinor)}, within ${text(toleranceMinor)}`;
}

/** "02:30" of a minute of the day. */
function timeOfDay(minute: number): string {
  return [Math.floor(minute / 60), minute % 60].map((part) => String(part).padStart(2, '0')).join(':');
}

function accountSettings(
  account: Config['pspAccounts'][number],
  webhookSecrets: Config['webhookSecrets'],
): readonly Setting[] {
  const at = `psp.${account.name}`;
  return [
    { name: `${at}.psp`, value: account.psp },
    {
      name: `${at}.api_key`,
      value: account.apiKey === '' ? '(none)' : '(set)',
      variable: `PAYGATE_PSP_${account.name.toUpperCase()}_API_KEY`,
      key: `${at}.api_key_file`,
    },
    {
      name: `${at}.webhook_secret`,
      value: webhookSecrets.has(account.name) ? '(set)' : '(none: takes no webhooks)',
      variable: `PAYGATE_PSP_${account.name.toUpperCase()}_WEBHOOK_SECRET`,
      key: `${at}.webhook_secret_file`,
    },
    { name: `${at}.base_url`, value: account.baseUrl ?? "(the PSP's own)" },
    { name: `${at}.max_concurrent`, value: String(account.maxConcurrent) },
    { name: `${at}.timeout_ms`, value: String(account.timeoutMs) },
    ...(account.psp === 'adyen' ? adyenSettings(at, account) : []),
  ];
}

function adyenSettings(at: string, account: AdyenAccount): readonly Setting[] {
  return [
    { name: `${at}.merchant_account`, value: account.merchantAccount },
    { name: `${at}.balance_account_id`, value: account.balanceAccountId ?? '(none: no payouts)' },
    { name: `${at}.live_url_prefix`, value: account.liveUrlPrefix ?? '(none: the test environment)' },
  ];
}

function routingSettings(rules: readonly RoutingRule[]): readonly Setting[] {
  return rules.map((rule, index) => {
    const conditions = [
      rule.currencies === null ? null : [...rule.currencies].map(rangeText).join(', '),
      rule.sellers === null ? null : `${rule.sellers.size} sellers`,
      rule.share === 100 ? null : `${rule.share} % of the checkouts`,
    ].filter((condition) => condition !== null);
    const when = conditions.length === 0 ? 'always' : conditions.join(', ');
    const further = (rule.onSoftDecline ?? []).map(({ name }) => `, after a soft decline ${name}`).join('');
    return { name: `routing.${index}`, value: `${rule.account.name}: ${when}${further}`, key: 'routing' };
  });
}

/** "EUR", "EUR from 10.00", "EUR up to 99.00", "EUR from 10.00 up to 99.00" */
function rangeText([currency, range]: readonly [Currency, AmountRange]): string {
  const text = (amountMinor: bigint) => formatAmount({ amountMinor, currency });
  const from = range.minMinor === null ? '' : ` from ${text(range.minMinor)}`;
  const upTo = range.maxMinor === null ? '' : ` up to ${text(range.maxMinor)}`;
  return `${currency}${from}${upTo}`;
}

function acceptSettings(config: Config): readonly Setting[] {
  const { accept } = config;
  if (accept === null) return [];
  return [
    { name: 'default_psp_account', value: accept.route.fallback.name },
    ...routingSettings(accept.route.rules),
    ...[...accept.fees].map(([currency, fee]) => ({
      name: `fees.${currency}`,
      value: `${fee.feeBps} bps + ${formatAmount({ amountMinor: fee.fixedMinor, currency })}`,
    })),
    { name: 'payments.customer_minutes', value: String(config.customerLimitMs / 60_000) },
    accept.releaseAfterDays === 0
      ? { name: 'release.at', value: 'settlement' }
      : { name: 'release.after_days', value: String(accept.releaseAfterDays ?? 0) },
    ...[...accept.risk.maxPaymentMinor].map(([currency, amountMinor]) => ({
      name: `risk.max_payment.${currency}`,
      value: formatAmount({ amountMinor, currency }),
    })),
    { name: 'risk.blocked_buyers', value: String(accept.risk.blockedBuyers.size) },
    { name: 'risk.blocked_sellers', value: String(accept.risk.blockedSellers.size) },
    { name: 'risk.rules_file', value: accept.risk.ruleSet?.version ?? '(none)' },
  ];
}

function originOf(session: Session, loaded: LoadedConfig, setting: Setting): string {
  if (setting.name === 'env' && session.globals.env !== null) return '--env';
  const { variable } = setting;
  if (variable !== undefined) {
    if (session.host.env[variable] !== undefined) return `$${variable}`;
    if (session.host.env[`${variable}_FILE`] !== undefined) return `$${variable}_FILE`;
  }
  return isInDocument(loaded.document, (setting.key ?? setting.name).split('.'))
    ? (loaded.path ?? '')
    : 'default';
}

function isInDocument(value: unknown, path: readonly string[]): boolean {
  if (path.length === 0) return true;
  if (typeof value !== 'object' || value === null) return false;
  const [first, ...rest] = path;
  return first! in value && isInDocument((value as Record<string, unknown>)[first!], rest);
}
