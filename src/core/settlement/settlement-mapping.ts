/**
 * Mapping files: how any PSP's or bank's CSV is read without code. Decides only; a bad mapping is a list of all its faults, each
 * with its path and what to write instead.
 */
import { z } from 'zod';
import { type Currency, parseCurrency } from '../money.ts';
import { shownText } from '../shown-text.ts';
import { normalName } from './csv-columns.ts';
import { compileDatePattern, type DatePattern } from './date-pattern.ts';
import { findZone, type Zone } from './date-text.ts';
import { LINE_KINDS, type LineKind } from './settlement-line.ts';

/** `path` as in "columns.gross"; "" for the whole file. */
type MappingFault = { readonly path: string; readonly message: string };

export type MappingReading =
  | { readonly kind: 'ok'; readonly mapping: SettlementMapping }
  | { readonly kind: 'bad'; readonly faults: readonly MappingFault[] };

/** Where a row's direction comes from. `parentheses` reads like `signed`, which knows them too; it is the word people look for. */
type SignRule = 'signed' | 'parentheses' | 'debit_credit' | 'direction' | 'type';

/** `direction` only under the sign rule `type`. */
export type MappedType = { readonly kind: LineKind; readonly direction: 'in' | 'out' | null };

export type SettlementMapping = {
  readonly name: string;
  readonly delimiter: string | null;
  readonly encoding: 'utf-8' | 'utf-16le' | 'utf-16be' | 'windows-1252' | null;
  /** Null: the file's rows show it. */
  readonly decimalMark: '.' | ',' | null;
  /** Lines before the header that are skipped unread. */
  readonly preambleLines: number;
  /** Rows at the end that are no money. */
  readonly trailerRows: number;
  readonly totalRow: { readonly column: string; readonly text: string } | null;
  /** Column names as the file writes them. */
  readonly columns: Readonly<Record<MappedColumn, string | null>> & { readonly key: readonly string[] };
  readonly sign: SignRule;
  /** `minor`: whole numbers of the currency's minor unit. */
  readonly unit: 'major' | 'minor';
  readonly feeSign: 'cost_positive' | 'cost_negative';
  readonly currency: Currency | null;
  /** Words of the direction column, in lower case. */
  readonly debitWords: ReadonlySet<string>;
  readonly creditWords: ReadonlySet<string>;
  readonly dates: DatePattern;
  readonly zone: Zone;
  /** By the file's word in lower case. */
  readonly types: ReadonlyMap<string, MappedType>;
};

const COLUMN_NAMES = [
  'gross',
  'gross_debit',
  'gross_credit',
  'fee',
  'net',
  'net_debit',
  'net_credit',
  'currency',
  'type',
  'direction',
  'reference',
  'payment_reference',
  'our_reference',
  'batch',
  'account',
  'occurred_at',
  'available_on',
  'original_amount',
  'original_currency',
] as const;
export type MappedColumn = (typeof COLUMN_NAMES)[number];

const MAX_PREAMBLE_LINES = 1_000;
const MAX_TRAILER_ROWS = 100;
const MAX_TYPES = 1_000;
const MAX_KEY_COLUMNS = 10;

const columnSchema = z
  .string({ error: 'must be a column name in quotes' })
  .min(1, 'must not be empty')
  .max(200);
const kindSchema = z.enum(LINE_KINDS, { error: `must be one of: ${LINE_KINDS.join(', ')}` });
const typeSchema = z.union(
  [kindSchema, z.strictObject({ kind: kindSchema, direction: z.enum(['in', 'out']).optional() })],
  { error: `must be a kind (${LINE_KINDS.join(', ')}) or { kind = "refund", direction = "out" }` },
);
const words = (fallback: readonly string[]) =>
  z
    .array(z.string().min(1), { error: 'must be a list of words such as ["DR"]' })
    .min(1)
    .default([...fallback])
    .transform((list) => new Set(list.map((word) => word.trim().toLowerCase())));

const datesSchema = z.strictObject({
  format: z
    .string({ error: 'must be a pattern such as "yyyy-MM-dd HH:mm:ss"' })
    .default('yyyy-MM-dd HH:mm:ss')
    .transform((pattern, context): DatePattern => {
      const compiled = compileDatePattern(pattern);
      if (typeof compiled !== 'string') return compiled;
      context.addIssue({ code: 'custom', message: compiled });
      return z.NEVER;
    }),
  zone: z
    .string({ error: 'must be a zone such as "Europe/Amsterdam" or "UTC"' })
    .default('UTC')
    .transform((name, context): Zone => {
      const zone = findZone(name);
      if (zone !== null) return zone;
      context.addIssue({
        code: 'custom',
        message: `${shownText(name)} is no zone such as "Europe/Amsterdam"`,
      });
      return z.NEVER;
    }),
});

const count = (most: number) =>
  z
    .int({ error: `must be a whole number from 0 to ${most}` })
    .min(0)
    .max(most)
    .default(0);

const mappingSchema = z.strictObject({
  name: z
    .string({ error: 'is missing: name the mapping, such as name = "worldpay settlement"' })
    .regex(/^[\w. -]{1,60}$/, { error: 'must be 1 to 60 letters, digits, spaces, ".", "_" and "-"' }),
  file: z
    .strictObject({
      delimiter: z.enum([',', ';', '\t', '|'], { error: 'must be ",", ";", "|" or "\\t"' }).optional(),
      encoding: z
        .enum(['utf-8', 'utf-16le', 'utf-16be', 'windows-1252'], {
          error: 'must be "utf-8", "utf-16le", "utf-16be" or "windows-1252"',
        })
        .optional(),
      decimal_mark: z.enum(['.', ',', 'auto'], { error: 'must be ".", "," or "auto"' }).default('auto'),
      preamble_lines: count(MAX_PREAMBLE_LINES),
      trailer_rows: count(MAX_TRAILER_ROWS),
      total_row: z.strictObject({ column: columnSchema, text: z.string().min(1) }).optional(),
    })
    .prefault({}),
  columns: z.strictObject({
    ...(Object.fromEntries(COLUMN_NAMES.map((name) => [name, columnSchema.optional()])) as Record<
      MappedColumn,
      z.ZodOptional<typeof columnSchema>
    >),
    key: z
      .array(columnSchema, { error: 'must be a list of column names such as ["Transaction ID"]' })
      .max(MAX_KEY_COLUMNS)
      .default([]),
  }),
  amounts: z
    .strictObject({
      sign: z
        .enum(['signed', 'parentheses', 'debit_credit', 'direction', 'type'], {
          error: 'must be "signed", "parentheses", "debit_credit", "direction" or "type"',
        })
        .default('signed'),
      unit: z.enum(['major', 'minor'], { error: 'must be "major" or "minor"' }).default('major'),
      fee_sign: z
        .enum(['cost_positive', 'cost_negative'], { error: 'must be "cost_positive" or "cost_negative"' })
        .default('cost_positive'),
      currency: z
        .string()
        .transform((text, context): Currency => {
          const currency = parseCurrency(text);
          if (currency !== null) return currency;
          context.addIssue({ code: 'custom', message: `${shownText(text)} is not an ISO 4217 currency` });
          return z.NEVER;
        })
        .optional(),
      debit_words: words(['d', 'dr', 'debit']),
      credit_words: words(['c', 'cr', 'credit']),
    })
    .prefault({}),
  dates: datesSchema.prefault({}),
  types: z.record(z.string(), typeSchema).default({}),
});

type MappingFile = z.output<typeof mappingSchema>;

/** Reads a parsed TOML document of any shape. */
export function readSettlementMapping(document: unknown): MappingReading {
  const parsed = mappingSchema.safeParse(document);
  if (!parsed.success) return { kind: 'bad', faults: parsed.error.issues.flatMap(faultsOf) };
  const faults = crossFaults(parsed.data);
  if (faults.length > 0) return { kind: 'bad', faults };
  return { kind: 'ok', mapping: toMapping(parsed.data) };
}

function faultsOf(issue: z.core.$ZodIssue): readonly MappingFault[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      path: pathText([...issue.path, key]),
      message: 'is not known here: remove it, or correct its name',
    }));
  }
  return [{ path: pathText(issue.path), message: issue.message }];
}

function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((key) => (/^[\w-]{1,60}$/.test(String(key)) ? String(key) : shownText(String(key))))
    .join('.');
}

/** What only the whole file tells. */
function crossFaults({ columns, amounts, types }: MappingFile): readonly MappingFault[] {
  const faults: MappingFault[] = [];
  const add = (path: string, message: string) => faults.push({ path, message });
  const hasPair = (debit: string | undefined, credit: string | undefined) =>
    debit !== undefined && credit !== undefined;
  if (amounts.sign === 'debit_credit') {
    if (
      !hasPair(columns.gross_debit, columns.gross_credit) &&
      !hasPair(columns.net_debit, columns.net_credit)
    ) {
      add(
        'columns',
        'the sign rule "debit_credit" needs gross_debit and gross_credit, or net_debit and net_credit',
      );
    }
    if (columns.gross !== undefined || columns.net !== undefined) {
      add('columns', 'the sign rule "debit_credit" reads pairs: remove gross and net');
    }
  } else {
    if (columns.gross === undefined && columns.net === undefined)
      add('columns', 'name the column gross, net or both');
    for (const name of ['gross_debit', 'gross_credit', 'net_debit', 'net_credit'] as const) {
      if (columns[name] !== undefined)
        add(`columns.${name}`, 'is read only under the sign rule "debit_credit"');
    }
  }
  if (amounts.sign === 'direction' && columns.direction === undefined) {
    add('columns.direction', 'is missing: the sign rule "direction" reads it');
  }
  if (amounts.sign === 'type') {
    if (columns.type === undefined) add('columns.type', 'is missing: the sign rule "type" reads it');
    for (const [word, type] of Object.entries(types)) {
      if (typeof type === 'string' || type.direction === undefined) {
        add(pathText(['types', word]), 'needs a direction: { kind = "refund", direction = "out" }');
      }
    }
  }
  if (columns.currency === undefined && amounts.currency === undefined) {
    add('columns.currency', 'is missing: name the column, or the currency of all rows as amounts.currency');
  }
  if ((columns.original_amount === undefined) !== (columns.original_currency === undefined)) {
    add('columns', 'original_amount and original_currency go together');
  }
  if (Object.keys(types).length > MAX_TYPES) add('types', `has more than ${MAX_TYPES} entries`);
  if (Object.keys(types).length > 0 && columns.type === undefined) {
    add('columns.type', 'is missing: the types below are looked up by it');
  }
  return faults;
}

function toMapping({ name, file, columns, amounts, dates, types }: MappingFile): SettlementMapping {
  const named = Object.fromEntries(COLUMN_NAMES.map((column) => [column, columns[column] ?? null]));
  const typeOf = (type: MappingFile['types'][string]): MappedType =>
    typeof type === 'string'
      ? { kind: type, direction: null }
      : { kind: type.kind, direction: type.direction ?? null };
  return {
    name,
    delimiter: file.delimiter ?? null,
    encoding: file.encoding ?? null,
    decimalMark: file.decimal_mark === 'auto' ? null : file.decimal_mark,
    preambleLines: file.preamble_lines,
    trailerRows: file.trailer_rows,
    totalRow: file.total_row ?? null,
    columns: { ...(named as Record<MappedColumn, string | null>), key: columns.key },
    sign: amounts.sign,
    unit: amounts.unit,
    feeSign: amounts.fee_sign,
    currency: amounts.currency ?? null,
    debitWords: amounts.debit_words,
    creditWords: amounts.credit_words,
    dates: dates.format,
    zone: dates.zone,
    types: new Map(Object.entries(types).map(([word, type]) => [word.trim().toLowerCase(), typeOf(type)])),
  };
}

/** Names of columns by which a file of this mapping is known: all that the mapping reads. */
export function columnsOfMapping(mapping: SettlementMapping): readonly string[] {
  const { key, ...named } = mapping.columns;
  const all = [...Object.values(named), ...key, mapping.totalRow?.column ?? null];
  return [...new Set(all.filter((name) => name !== null).map(normalName))];
}
