/** The configuration's part about reconciliation: its shape, and the policy that it says. Decides only. */
import { z } from 'zod';
import { type Currency, parseAmount, parseCurrency } from '../money.ts';
import { type ExpectedFee, isPercent, MAX_PERCENT_DECIMALS } from './expected-fee.ts';
import { type AccountSettlement, DEFAULT_SETTLEMENT, type SettlementPolicy } from './settlement-policy.ts';

const DAY = /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/;

const feeSchema = z.strictObject({
  /** Of the gross. */
  percent: z
    .string()
    .refine(isPercent, `is no percentage like "1.4", with at most ${MAX_PERCENT_DECIMALS} decimals`)
    .default('0'),
  fixed: z.string().default('0'),
  /** By so much a row's fee may be off; left out: by one minor unit. */
  tolerance: z.string().optional(),
});

const accountSchema = z.strictObject({
  /** Zone of the PSP's days. */
  time_zone: z.string().refine(isTimeZone, 'is no time zone like Europe/Berlin').default('UTC'),
  /** What is booked from then on belongs to the PSP's next day. */
  cut_off: z
    .string()
    .regex(/^([01]\d|2[0-3]):[0-5]\d$|^24:00$/, 'is no time like 17:00')
    .default('24:00'),
  settle_days: z.int().min(0).max(30).default(DEFAULT_SETTLEMENT.settleDays),
  grace_days: z.int().min(0).max(30).default(DEFAULT_SETTLEMENT.graceDays),
  holidays: z.array(z.string().regex(DAY, 'is no day like 2026-12-25')).max(2_000).default([]),
  /** One day a line; what follows a day is a comment. */
  holidays_file: z.string().min(1).optional(),
  bank: z
    .string()
    .regex(/^[a-z0-9_]{1,40}$/, 'a bank is named with a-z, 0-9, _')
    .default(DEFAULT_SETTLEMENT.bank),
  /** By settlement currency: what a charge costs. Amounts in major units. */
  fees: z.record(z.string(), feeSchema).default({}),
});

export const settlementSchema = z
  .strictObject({
    /** By PSP account. */
    accounts: z.record(z.string().regex(/^[a-z0-9_]{1,40}$/), accountSchema).default({}),
    /** Per currency: a larger write-off needs another person than the one who proposed it. */
    write_off_limit: z.record(z.string(), z.string()).default({}),
    /** Files that are put here are reconciled by a daemon. */
    drop_folder: z.string().startsWith('/', 'give an absolute path').optional(),
    /** "02:30" in UTC: files wait until then, and a night without one is an alert; left out: as they come. */
    nightly: z
      .string()
      .regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'is no time like 02:30')
      .optional(),
  })
  .prefault({});

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en-GB', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/**
 * @param pspAccounts whose fees can be expected
 * @param readFile gives a holidays file's text, or throws an OperatorError
 */
export function toSettlementPolicy(
  file: z.infer<typeof settlementSchema>,
  {
    writeOffLimits,
    faults,
  }: { readonly writeOffLimits: ReadonlyMap<Currency, bigint>; readonly faults: string[] },
  pspAccounts: ReadonlySet<string>,
  readFile: (path: string) => string,
): SettlementPolicy {
  const accounts = Object.entries(file.accounts).map(([name, account]): [string, AccountSettlement] => {
    const [hours, minutes] = account.cut_off.split(':').map(Number);
    if (Object.keys(account.fees).length > 0 && !pspAccounts.has(name))
      faults.push(`reconcile.accounts.${name}.fees: there is no [psp.${name}]`);
    const fromFile =
      account.holidays_file === undefined
        ? []
        : readHolidays(`reconcile.accounts.${name}.holidays_file`, readFile(account.holidays_file), faults);
    return [
      name,
      {
        timeZone: account.time_zone,
        cutOffMinute: hours! * 60 + minutes!,
        settleDays: account.settle_days,
        graceDays: account.grace_days,
        holidays: new Set([...account.holidays, ...fromFile]),
        bank: account.bank,
        fees: toFees(`reconcile.accounts.${name}.fees`, account.fees, faults),
      },
    ];
  });
  return { accounts: new Map(accounts), writeOffLimits };
}

function toFees(
  field: string,
  fees: z.infer<typeof accountSchema>['fees'],
  faults: string[],
): AccountSettlement['fees'] {
  const read = new Map<Currency, ExpectedFee>();
  for (const [code, { percent, fixed, tolerance }] of Object.entries(fees)) {
    const currency = parseCurrency(code);
    if (currency === null) {
      faults.push(`${field}.${code}: is no currency of ISO 4217 such as EUR`);
      continue;
    }
    const fixedMinor = readMinor(`${field}.${code}.fixed`, fixed, currency, faults);
    const toleranceMinor =
      tolerance === undefined ? 1n : readMinor(`${field}.${code}.tolerance`, tolerance, currency, faults);
    read.set(currency, { percent, fixedMinor, toleranceMinor });
  }
  return read;
}

function readMinor(field: string, text: string, currency: Currency, faults: string[]): bigint {
  const amount = parseAmount(text, currency);
  if (amount.kind === 'ok') return amount.amountMinor;
  faults.push(`${field}: ${amount.message}`);
  return 0n;
}

function readHolidays(field: string, text: string, faults: string[]): readonly string[] {
  return text.split(/\r?\n/).flatMap((row, i) => {
    const [day = ''] = row.trim().split(/[\s,;#]/);
    if (day === '') return [];
    if (DAY.test(day)) return [day];
    faults.push(`${field}: line ${i + 1} starts with no day like 2026-12-25`);
    return [];
  });
}

/** @property nightlyMinute of the UTC day (0–1439) at which files are taken; null: as they come */
export type DropFolder = { readonly folder: string; readonly nightlyMinute: number | null };

/** Where settlement files arrive; null: nowhere. */
export function toDropFolder(file: z.infer<typeof settlementSchema>): DropFolder | null {
  if (file.drop_folder === undefined) return null;
  const [hours = 0, minutes = 0] = file.nightly?.split(':').map(Number) ?? [];
  const nightlyMinute = file.nightly === undefined ? null : hours * 60 + minutes;
  return { folder: file.drop_folder, nightlyMinute };
}
