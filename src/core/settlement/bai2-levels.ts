/**
 * The levels of a BAI2 file, each with what its trailer must state: how many records it has, and what their amounts add up to.
 * Decides only.
 */
import type { Currency } from '../money.ts';
import { shownText } from '../shown-text.ts';
import type { LineCollector } from './line-collector.ts';
import type { StatedTotal } from './settlement-line.ts';

/** Sums of one level while its records come. `children` are the groups of a file and the accounts of a group. */
export type Level = { total: bigint; records: number; children: number; bad: boolean };

export type Group = Level & { readonly currency: string; readonly asOf: string | null };

export type Account = Level & {
  readonly number: string;
  readonly currency: Currency | null;
  opening: bigint | null;
  closing: bigint | null;
};

export function emptyLevel(): Level {
  return { total: 0n, records: 0, children: 0, bad: false };
}

/** What is open at a place of the file. */
export type Levels = {
  readonly collector: LineCollector;
  readonly accounts: Set<string>;
  readonly totals: StatedTotal[];
  file: Level | null;
  group: Group | null;
  account: Account | null;
  isClosed: boolean;
};

/** A fault; the levels around it cannot add up any more, and that is no fault of its own. */
export function refuseIn(
  levels: Levels,
  row: number,
  column: string | null,
  code: string,
  message: string,
): void {
  for (const level of [levels.file, levels.group, levels.account]) if (level !== null) level.bad = true;
  levels.collector.refuse(row, column, code, message);
}

export function countRecords(levels: Levels, physical: number): void {
  for (const level of [levels.file, levels.group, levels.account])
    if (level !== null) level.records += physical;
}

/** 49 */
export function closeAccount(levels: Levels, fields: readonly string[], row: number): void {
  const { account, group } = levels;
  if (account === null) {
    refuseIn(levels, row, '49', 'record_unexpected', 'closes no account');
    return;
  }
  checkTrailer(levels, account, fields, row, null);
  if (group !== null) group.total += account.total;
  levels.accounts.add(account.number);
  levels.account = null;
  if (account.currency === null) return;
  levels.totals.push({
    batch: `${account.number} ${group?.asOf?.slice(0, 10) ?? ''}`.trim(),
    currency: account.currency,
    openingMinor: account.opening,
    closingMinor: account.closing,
    sumMinor: null,
  });
}

/** 98 */
export function closeGroup(levels: Levels, fields: readonly string[], row: number): void {
  const { account, group, file } = levels;
  if (group === null) {
    refuseIn(levels, row, '98', 'record_unexpected', 'closes no group');
    return;
  }
  if (account !== null)
    refuseIn(levels, row, '98', 'record_missing', 'the account before has no trailer (49)');
  checkTrailer(levels, group, fields, row, 'accounts');
  if (file !== null) file.total += group.total;
  levels.group = null;
  levels.account = null;
}

/** 99 */
export function closeFile(levels: Levels, fields: readonly string[], row: number): void {
  const { group, file } = levels;
  if (file === null) {
    refuseIn(levels, row, '99', 'record_unexpected', 'closes no file');
    return;
  }
  if (group !== null) refuseIn(levels, row, '99', 'record_missing', 'the group before has no trailer (98)');
  checkTrailer(levels, file, fields, row, 'groups');
  levels.file = null;
  levels.isClosed = true;
}

/** A trailer: code, control total, number of children where the level has some, number of records. */
function checkTrailer(
  { collector }: Levels,
  level: Level,
  fields: readonly string[],
  row: number,
  children: string | null,
): void {
  const [code = null, total = '', ...counts] = fields;
  const compare = (what: string, stated: string, counted: bigint | number) => {
    if (level.bad || stated === String(counted)) return;
    const message = `states ${what} ${shownText(stated)}, and there are ${counted}: a record is missing or changed`;
    collector.refuse(row, code, 'control_total_differs', message);
  };
  const plain = counts.map((one) => (/^\d{1,15}$/.test(one) ? String(Number(one)) : one));
  compare('a control total of', plainTotal(total), level.total);
  if (children !== null) compare(`a number of ${children} of`, plain[0] ?? '', level.children);
  compare('a number of records of', plain[children === null ? 0 : 1] ?? '', level.records);
}

/** Without plus and leading zeros. */
function plainTotal(text: string): string {
  return /^[+-]?\d{1,24}$/.test(text) ? String(BigInt(text.replace('+', ''))) : text;
}
