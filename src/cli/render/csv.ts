/**
 * Records as CSV (RFC 4180): objects flattened, "balance": {"amount": …} as column balance_amount, lists as
 * JSON. Knows no domain.
 */

/** Header and rows; columns in the order in which they first appear. Empty text for no records. */
export function csvText(records: readonly object[]): string {
  const rows = records.map((record) => flatten(record));
  const columns = [...new Set(rows.flatMap((row) => [...row.keys()]))];
  if (columns.length === 0) return '';
  const lines = [
    columns.map(cell),
    ...rows.map((row) => columns.map((column) => cell(row.get(column) ?? ''))),
  ];
  return lines.map((line) => `${line.join(',')}\r\n`).join('');
}

function flatten(record: object): ReadonlyMap<string, string> {
  const row = new Map<string, string>();
  const add = (prefix: string, value: unknown): void => {
    if (value === null || value === undefined) row.set(prefix, '');
    else if (Array.isArray(value)) row.set(prefix, value.length === 0 ? '' : JSON.stringify(value));
    else if (typeof value === 'object') {
      for (const [key, inner] of Object.entries(value)) add(prefix === '' ? key : `${prefix}_${key}`, inner);
    } else row.set(prefix, typeof value === 'string' ? harmless(value) : String(value));
  };
  add('', record);
  return row;
}

const FORMULA = /^[=+@\t\r]|^-(?!\d+(\.\d+)?$)/;

/** A spreadsheet would run a name like "=HYPERLINK(…)": an apostrophe in front keeps it text. */
function harmless(text: string): string {
  return FORMULA.test(text) ? `'${text}` : text;
}

function cell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
