/** Whose file it is: as somebody says, or by its format where only one account or bank fits. Decides only. */
import type { Config } from '../config.ts';
import { OperatorError, unreachable } from '../errors.ts';
import { shownText } from '../shown-text.ts';
import type { SettlementFormat } from './settlement-line.ts';
import { parseSource, settlementOf } from './settlement-policy.ts';

type Accounts = Pick<Config, 'pspAccounts' | 'settlement'>;

/**
 * The source itself, when the configuration knows its account or bank.
 * @param source "psp:checkout" or "bank:main"
 * @throws OperatorError psp_account_missing, bank_missing
 */
export function requireKnownSource(config: Accounts, source: string): string {
  const parsed = parseSource(source);
  const name = parsed?.name ?? source;
  if (parsed?.kind === 'bank') {
    const banks = banksOf(config);
    if (banks.includes(name)) return source;
    throw new OperatorError(
      'bank_missing',
      `No PSP account pays to a bank ${shownText(name)}; the configuration knows ${banks.join(', ') || 'none'}.`,
    );
  }
  if (config.pspAccounts.some((account) => account.name === name)) return source;
  throw new OperatorError('psp_account_missing', `The configuration has no PSP account ${shownText(name)}.`);
}

/**
 * "psp:checkout" or "bank:main" for a file of this format.
 * @throws OperatorError source_ambiguous
 */
export function sourceOfFormat(config: Accounts, format: SettlementFormat): string {
  const issuer = issuerOf(format);
  if (issuer === 'unknown') {
    throw new OperatorError(
      'source_ambiguous',
      'The file does not say whose it is: give --account NAME for a PSP, or --bank NAME for a bank.',
    );
  }
  const candidates =
    issuer === 'bank'
      ? banksOf(config)
      : config.pspAccounts.filter(({ psp }) => psp === issuer).map(({ name }) => name);
  const [only] = candidates;
  if (only !== undefined && candidates.length === 1) return `${issuer === 'bank' ? 'bank' : 'psp'}:${only}`;
  const flag = issuer === 'bank' ? '--bank' : '--account';
  throw new OperatorError(
    'source_ambiguous',
    only === undefined
      ? `This is a file of ${issuer}, and the configuration has no such PSP account. Give ${flag} NAME.`
      : `Whose file is it? Give ${candidates.map((name) => `${flag} ${name}`).join(' or ')}.`,
    { details: { candidates } },
  );
}

function issuerOf(format: SettlementFormat): 'stripe' | 'adyen' | 'paypal' | 'bank' | 'unknown' {
  switch (format) {
    case 'stripe_balance':
    case 'stripe_payout':
      return 'stripe';
    case 'adyen_settlement':
      return 'adyen';
    case 'paypal_settlement':
    case 'paypal_transactions':
      return 'paypal';
    case 'camt053':
    case 'mt940':
    case 'bai2':
      return 'bank';
    case 'generic_csv':
      return 'unknown';
    default:
      return unreachable(format);
  }
}

/** The banks that the accounts' deposits go to, each once. */
function banksOf({ pspAccounts, settlement }: Accounts): readonly string[] {
  return [...new Set(pspAccounts.map(({ name }) => settlementOf(settlement, name).bank))].sort();
}

/** The zone of times that a file gives without one; null where accounts of several zones could be meant. */
export function timeZoneOf({ pspAccounts, settlement }: Accounts, source: string | null): string | null {
  const named = source === null ? null : parseSource(source);
  if (named?.kind === 'psp') return settlementOf(settlement, named.name).timeZone;
  const zones = new Set(pspAccounts.map(({ name }) => settlementOf(settlement, name).timeZone));
  return zones.size === 1 ? [...zones][0]! : null;
}
