/**
 * Reads the document of a rule file into a rule set. Decides only; a bad file is a list of all its faults, each with
 * its path and what to write instead. Reads no file.
 */
import { TomlDate } from 'smol-toml';
import { z } from 'zod';
import { Bug, unreachable } from '../errors.ts';
import { type Currency, parseAmount, parseCurrency } from '../money.ts';
import { normalText } from '../payment/payment-fields.ts';
import { shownText } from '../shown-text.ts';
import { BUILT_IN_RULES } from './risk.ts';
import { type Amounts, type ListEntry, MAX_WINDOW_S, type Rule, type RuleSet } from './rule-set.ts';

/** `path` as in "rules[2].max.EUR"; "" for the whole file. */
export type RuleFault = { readonly path: string; readonly message: string };

export type RuleReading =
  | {
      readonly kind: 'ok';
      readonly ruleSet: Omit<RuleSet, 'version'>;
      /** What is allowed and probably not meant. */
      readonly warnings: readonly RuleFault[];
    }
  | { readonly kind: 'bad'; readonly faults: readonly RuleFault[] };

/** Every rule looks at every payment of a batch. */
const MAX_RULES = 200;
const MAX_LIST_ENTRIES = 100_000;
const MIN_WINDOW_S = 60;
const DEFAULT_REVIEW_TIMEOUT_S = 86_400;

const UNIT_S: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

const nameSchema = z.string().regex(/^[a-z0-9][a-z0-9_-]{0,39}$/, {
  error: 'must be a name of a-z, 0-9, _ and -, at most 40 characters',
});
const durationSchema = z.string({ error: 'must be a text such as "10m"' }).transform((text, context) => {
  const [, count, unit] = /^(\d{1,7})([smhd])$/.exec(text) ?? [];
  const seconds = Number(count) * (UNIT_S[unit ?? ''] ?? Number.NaN);
  if (seconds >= MIN_WINDOW_S && seconds <= MAX_WINDOW_S) return seconds;
  context.addIssue({ code: 'custom', message: 'must be from "1m" to "31d": a number and s, m, h or d' });
  return z.NEVER;
});
const amountsSchema = z
  .record(z.string(), z.string({ error: 'must be a text such as "500.00"' }), {
    error: 'must be amounts by currency, such as { EUR = "500.00" }',
  })
  .transform((texts, context): Amounts => {
    const amounts = new Map<Currency, bigint>();
    for (const [code, text] of Object.entries(texts)) {
      const currency = parseCurrency(code);
      const amount = currency === null ? null : parseAmount(text, currency);
      if (currency !== null && amount?.kind === 'ok') amounts.set(currency, amount.amountMinor);
      const message =
        currency === null ? 'is not an ISO 4217 currency' : amount?.kind === 'fault' ? amount.message : null;
      if (message !== null) context.addIssue({ code: 'custom', path: [code], message });
    }
    return amounts;
  });
const someAmounts = amountsSchema.refine((amounts) => amounts.size > 0, 'name at least one currency');
const partySchema = z.enum(['buyer', 'payment_method', 'seller'], {
  error: 'must be "buyer", "payment_method" or "seller"',
});

const base = {
  id: nameSchema,
  mode: z.enum(['live', 'shadow'], { error: 'must be "live" or "shadow"' }).default('live'),
};
/** Only lists allow: that a payment is small or rare is no reason to trust it. */
const stops = {
  ...base,
  action: z.enum(['block', 'review'], { error: 'must be "block" or "review"; only a list can allow' }),
};

const ruleSchema = z.discriminatedUnion(
  'kind',
  [
    z.strictObject({ ...stops, kind: z.literal('amount'), max: someAmounts }),
    z
      .strictObject({
        ...stops,
        kind: z.literal('velocity'),
        by: partySchema,
        window: durationSchema,
        max_count: z.int().min(1).max(1_000_000).optional(),
        max_sum: someAmounts.optional(),
      })
      .refine((rule) => rule.max_count !== undefined || rule.max_sum !== undefined, {
        error: 'limits nothing: give max_count, max_sum or both',
      }),
    z
      .strictObject({
        ...base,
        kind: z.literal('list'),
        action: z.enum(['block', 'review', 'allow'], { error: 'must be "block", "review" or "allow"' }),
        party: partySchema,
        list: z.string(),
        overrides: z.array(z.string()).default([]),
      })
      .refine((rule) => (rule.action === 'allow') === rule.overrides.length > 0, {
        error: 'a rule that allows names the rules it overrides, and no other rule overrides any',
        path: ['overrides'],
      }),
    z.strictObject({ ...stops, kind: z.literal('duplicate'), window: durationSchema }),
    z.strictObject({ ...stops, kind: z.literal('first_time_buyer'), above: someAmounts }),
    z.strictObject({ ...stops, kind: z.literal('seller_daily_cap'), max: someAmounts }),
  ],
  {
    error: 'kind must be "amount", "velocity", "list", "duplicate", "first_time_buyer" or "seller_daily_cap"',
  },
);

const EXPIRES = 'must be a date with a time and an offset, without quotes: 2027-01-31T00:00:00Z';
const entrySchema = z.strictObject({
  value: z.string().min(1, 'must not be empty'),
  reason: z.string({ error: 'is missing: say why the name is on the list' }).min(3).max(200),
  /** A TOML date with a time and an offset. */
  expires: z
    .instanceof(TomlDate, { error: EXPIRES })
    .refine((date) => date.isDateTime() && !date.isLocal(), { error: EXPIRES })
    .optional(),
});

const fileSchema = z.strictObject({
  name: z
    .string({ error: 'is missing: name the rules, such as name = "shop rules"' })
    .regex(/^[\w. -]{1,60}$/, {
      error: 'must be 1 to 60 letters, digits, spaces, ".", "_" and "-"',
    }),
  review_timeout: durationSchema.optional(),
  lists: z.record(nameSchema, z.array(entrySchema)).default({}),
  rules: z.array(ruleSchema).max(MAX_RULES).default([]),
});

type FileRule = z.output<typeof ruleSchema>;
type RuleFile = z.output<typeof fileSchema>;

/** Reads a parsed TOML document of any shape; `name` is the file's own name for its rules. */
export function readRuleDocument(document: unknown): RuleReading & { readonly name: string } {
  const parsed = fileSchema.safeParse(document);
  if (!parsed.success) {
    const faults = parsed.error.issues.flatMap(faultsOf);
    return { kind: 'bad', faults, name: '' };
  }
  const file = parsed.data;
  const faults = crossFaults(file);
  if (faults.length > 0) return { kind: 'bad', faults, name: file.name };
  const rules = file.rules.map(toRule);
  const lists = new Map(Object.entries(file.lists).map(([name, entries]) => [name, toList(entries)]));
  const reviewTimeoutS = file.review_timeout ?? DEFAULT_REVIEW_TIMEOUT_S;
  const ruleSet = { rules, lists, reviewTimeoutS, needs: needsOf(rules, lists) };
  return { kind: 'ok', ruleSet, warnings: warningsOf(file), name: file.name };
}

/** zod's words where they are plain enough, and a path a person can follow. */
function faultsOf(issue: z.core.$ZodIssue): readonly RuleFault[] {
  const path = pathText(issue.path);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      path: pathText([...issue.path, key]),
      message: 'is not known here: remove it, or correct its name',
    }));
  }
  return [{ path, message: issue.message }];
}

function pathText(path: readonly PropertyKey[]): string {
  let text = '';
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`;
    else
      text += `${text === '' ? '' : '.'}${/^[\w-]{1,60}$/.test(String(key)) ? String(key) : shownText(String(key))}`;
  }
  return text;
}

/** What only the whole file tells: names that are taken, and names that are not there. */
function crossFaults(file: RuleFile): readonly RuleFault[] {
  const faults: RuleFault[] = [];
  const ids = new Set<string>(BUILT_IN_RULES);
  for (const [i, rule] of file.rules.entries()) {
    if (ids.has(rule.id)) {
      faults.push({
        path: `rules[${i}].id`,
        message: `"${rule.id}" names another rule already: choose a new one`,
      });
    }
    ids.add(rule.id);
  }
  for (const [i, rule] of file.rules.entries()) {
    if (rule.kind !== 'list') continue;
    if (!Object.hasOwn(file.lists, rule.list)) {
      const message = `there is no list ${shownText(rule.list)}: write [[lists.NAME]] entries, or correct the name`;
      faults.push({ path: `rules[${i}].list`, message });
    }
    for (const [n, id] of rule.overrides.entries()) {
      if (ids.has(id) && id !== rule.id) continue;
      const message = `there is no other rule ${shownText(id)} to override`;
      faults.push({ path: `rules[${i}].overrides[${n}]`, message });
    }
  }
  const entries = Object.values(file.lists).reduce((sum, list) => sum + list.length, 0);
  if (entries > MAX_LIST_ENTRIES) {
    faults.push({ path: 'lists', message: `${entries} entries; the limit is ${MAX_LIST_ENTRIES}` });
  }
  return faults;
}

function warningsOf(file: RuleFile): readonly RuleFault[] {
  const warnings: RuleFault[] = [];
  const used = new Set(file.rules.flatMap((rule) => (rule.kind === 'list' ? [rule.list] : [])));
  for (const [name, entries] of Object.entries(file.lists)) {
    if (!used.has(name)) warnings.push({ path: `lists.${name}`, message: 'no rule looks into this list' });
    const seen = new Set<string>();
    for (const [i, entry] of entries.entries()) {
      const value = normalText(entry.value);
      if (seen.has(value)) {
        const message = `${shownText(value)} stands in the list twice; the last one counts`;
        warnings.push({ path: `lists.${name}[${i}].value`, message });
      }
      seen.add(value);
    }
  }
  if (file.rules.length === 0)
    warnings.push({ path: 'rules', message: 'there are none: everything is allowed' });
  return warnings;
}

function toList(entries: readonly z.output<typeof entrySchema>[]): ReadonlyMap<string, ListEntry> {
  return new Map(
    entries.map((entry) => [
      normalText(entry.value),
      { reason: entry.reason, expiresMs: entry.expires?.getTime() ?? null },
    ]),
  );
}

function toRule(rule: FileRule): Rule {
  const { id, action, mode } = rule;
  const shared = { id, action, mode, overrides: [] };
  switch (rule.kind) {
    case 'amount':
      return { ...shared, kind: rule.kind, max: rule.max };
    case 'velocity':
      return {
        ...shared,
        kind: rule.kind,
        by: rule.by,
        windowS: rule.window,
        maxCount: rule.max_count ?? null,
        maxSum: rule.max_sum ?? new Map(),
      };
    case 'list':
      return { ...shared, kind: rule.kind, party: rule.party, list: rule.list, overrides: rule.overrides };
    case 'duplicate':
      return { ...shared, kind: rule.kind, windowS: rule.window };
    case 'first_time_buyer':
      return { ...shared, kind: rule.kind, above: rule.above };
    case 'seller_daily_cap':
      return { ...shared, kind: rule.kind, max: rule.max };
    default:
      return unreachable(rule);
  }
}

function needsOf(rules: readonly Rule[], lists: RuleSet['lists']): RuleSet['needs'] {
  if (rules.some((rule) => rule.kind !== 'amount' && rule.kind !== 'list')) return 'history';
  const expires = rules.some(
    (rule) => rule.kind === 'list' && listOf(lists, rule.list).some((e) => e.expiresMs !== null),
  );
  return expires ? 'time' : 'nothing';
}

function listOf(lists: RuleSet['lists'], name: string): readonly ListEntry[] {
  const list = lists.get(name);
  if (list === undefined) throw new Bug(`a checked rule names a list that is not there: ${name}`);
  return [...list.values()];
}
