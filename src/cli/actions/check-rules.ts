/** `risk lint` and `risk test`: checks a rule file, and rehearses it on a batch file. Writes nothing anywhere. */
import { resolve } from 'node:path';
import { type Db, readSnapshot } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import type { PaymentFileFormat } from '../../core/payment/parse-payment-file.ts';
import type { FilePayment } from '../../core/payment/payment-collector.ts';
import { hitJson, rehearseOffline, rehearsePayments } from '../../core/risk/assess-payments.ts';
import type { Assessment, Decision } from '../../core/risk/assessment.ts';
import { emptyTally } from '../../core/risk/facts.ts';
import type { RiskRules } from '../../core/risk/risk.ts';
import type { RuleSet } from '../../core/risk/rule-set.ts';
import { EXIT } from '../exit-codes.ts';
import { loadConfig } from '../load-config.ts';
import { withBook } from '../open-book.ts';
import { readRuleFile } from '../read-rule-file.ts';
import type { Block, Tone } from '../render/table.ts';
import type { Session } from '../session.ts';
import { countText } from '../words.ts';
import { readBatch } from './read-payment-input.ts';

/** Exit 0 when the file is usable, with or without warnings; 2 when it is not. */
export async function lintRules(session: Session, file: string | null): Promise<number> {
  const path = file === null ? requireRulesPath(session) : resolve(session.host.cwd, file);
  const { ruleSet, warnings } = readRuleFile(path);
  const shadow = ruleSet.rules.filter((rule) => rule.mode === 'shadow').length;
  await session.print({
    json: {
      file: file ?? path,
      rules_version: ruleSet.version,
      rules: ruleSet.rules.map(({ id, kind, action, mode }) => ({ id, kind, action, mode })),
      lists: [...ruleSet.lists].map(([name, entries]) => ({ name, entries: entries.size })),
      review_timeout_s: ruleSet.reviewTimeoutS,
      needs: ruleSet.needs,
      warnings,
    },
    blocks: [
      {
        kind: 'facts',
        facts: [
          ['rules', ruleSet.version],
          ['', `${countText(ruleSet.rules.length, 'rule')}, ${shadow} in shadow mode`],
          ['lists', [...ruleSet.lists].map(([name, entries]) => `${name} (${entries.size})`).join(', ')],
          ['needs', NEEDS[ruleSet.needs]],
        ],
      },
      ...warnings.map(({ path: place, message }): Block => {
        return { kind: 'line', text: { text: `warning: ${place}: ${message}`, tone: 'warn' } };
      }),
    ],
  });
  return EXIT.done;
}

const NEEDS: Readonly<Record<RuleSet['needs'], string>> = {
  nothing: 'nothing but the payment: acceptance runs no further statement',
  time: "the database's time, for entries that expire: one round trip a batch",
  history: 'counts of earlier payments: locks the names concerned, one round trip a batch and one write',
};

/** @throws OperatorError no_rules_file, or as the configuration fails */
function requireRulesPath(session: Session): string {
  const { rulesPath } = loadConfig(session);
  if (rulesPath !== null) return rulesPath;
  throw new OperatorError('no_rules_file', 'Name a rule file, or set risk.rules_file in the configuration.');
}

export type TestFlags = {
  readonly file: string;
  /** Null: the configuration's. */
  readonly rules: string | null;
  readonly format: PaymentFileFormat | null;
};

/** Payments assessed in one round trip, as at acceptance. */
const CHUNK = 200;
/** Longest time of one question (ms). */
const QUESTION_TIMEOUT_MS = 60_000;
/** A person looks at the first ones; JSON has all. */
const MAX_SHOWN = 1_000;

type Rehearsed = { readonly payment: FilePayment; readonly assessment: Assessment };

/** Exit 0 whatever the rules say; 2 for bad rows or bad rules. */
export async function testRules(session: Session, flags: TestFlags): Promise<number> {
  const { config } = loadConfig(session);
  const { risk: configured } = config;
  const rules: RiskRules =
    flags.rules === null
      ? configured
      : { ...configured, ruleSet: readRuleFile(resolve(session.host.cwd, flags.rules)).ruleSet };
  const { payments } = await readBatch(session, flags.file, flags.format, config.accept);
  const requests = payments.map((payment) => payment.request);
  const needs = rules.ruleSet?.needs ?? 'nothing';
  const assessments =
    needs === 'nothing'
      ? rehearseOffline(rules, requests)
      : await withBook(session, ({ db }) => rehearse(db, rules, payments));
  const items = payments.map((payment, i) => ({ payment, assessment: assessments[i]! }));
  await session.print({
    json: { ...summaryOf(rules, items), items: items.map(itemView) },
    records: items.map(itemView),
    blocks: blocksOf(rules, items),
  });
  return EXIT.done;
}

async function rehearse(
  db: Db,
  rules: RiskRules,
  payments: readonly FilePayment[],
): Promise<readonly Assessment[]> {
  return readSnapshot(db, QUESTION_TIMEOUT_MS, async (tx) => {
    const tally = emptyTally();
    const assessments: Assessment[] = [];
    for (let start = 0; start < payments.length; start += CHUNK) {
      const chunk = payments.slice(start, start + CHUNK).map((payment) => payment.request);
      assessments.push(...(await rehearsePayments(tx, rules, chunk, tally)));
    }
    return assessments;
  });
}

function summaryOf(rules: RiskRules, items: readonly Rehearsed[]) {
  const count = (decision: Decision) => items.filter((item) => item.assessment.decision === decision).length;
  const differs = ({ assessment }: Rehearsed) => assessment.shadowDecision !== assessment.decision;
  return {
    rules_version: rules.ruleSet?.version ?? null,
    payments: items.length,
    allow: count('allow'),
    review: count('review'),
    block: count('block'),
    shadow_would_change: items.filter(differs).length,
  };
}

function itemView({ payment, assessment }: Rehearsed) {
  return {
    line: payment.line,
    checkout_id: payment.request.checkoutId,
    buyer: payment.request.buyer,
    decision: assessment.decision,
    shadow_decision: assessment.shadowDecision,
    reason: assessment.reason,
    hits: assessment.hits.map(hitJson),
  };
}

const TONES: Readonly<Record<Decision, Tone>> = { allow: 'good', review: 'warn', block: 'bad' };

/** Payments that no rule spoke about are counted, not listed. */
function blocksOf(rules: RiskRules, items: readonly Rehearsed[]): readonly Block[] {
  const summary = summaryOf(rules, items);
  const hit = items.filter((item) => item.assessment.hits.length > 0);
  const unlisted = hit.length - MAX_SHOWN;
  return [
    {
      kind: 'table',
      empty: 'no rule hit',
      columns: [
        { title: 'LINE', align: 'right' },
        { title: 'CHECKOUT', shrink: true },
        { title: 'DECISION' },
        { title: 'WITH SHADOW' },
        { title: 'REASON', shrink: true },
      ],
      rows: hit
        .slice(0, MAX_SHOWN)
        .map(({ payment, assessment }) => [
          String(payment.line),
          payment.request.checkoutId,
          { text: assessment.decision, tone: TONES[assessment.decision] },
          assessment.shadowDecision,
          assessment.reason,
        ]),
    },
    ...(unlisted > 0 ? [{ kind: 'line' as const, text: `… and ${unlisted} more (-o json has all)` }] : []),
    {
      kind: 'facts',
      facts: [
        ['rules', summary.rules_version ?? 'of the configuration alone'],
        [
          'payments',
          `${summary.payments}: ${summary.allow} allow, ${summary.review} review, ${summary.block} block`,
        ],
        ['shadow', `would change ${summary.shadow_would_change}`],
      ],
    },
  ];
}
