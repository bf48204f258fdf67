/**
 * A reconciliation for the terminal, as bars and totals that fit 60 columns, and for machines as JSON. Decides only.
 */
import type { Currency } from '../../core/money.ts';
import { toMoneyJson } from '../../core/money.ts';
import type {
  BreakAnswer,
  BreakSide,
  Proof,
  ReconcileAnswer,
  Tally,
} from '../../core/settlement/reconcile-answer.ts';
import { countText, timeText } from '../words.ts';
import {
  changeText,
  codeText,
  identitiesOf,
  outcomeText,
  severitiesText,
  signedText,
  statusSentence,
  statusWord,
} from './reconcile-words.ts';
import type { Result } from './render-result.ts';
import type { Block, Cell, Tone } from './table.ts';

/** With the widest numbers beside it a row stays within 60 columns. */
const BAR_WIDTH = 16;
const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'] as const;

/** The whole result of a run. */
export function reconcileResult(answer: ReconcileAnswer, reportPath: string | null): Result {
  return {
    json: { ...answerJson(answer), report: reportPath },
    records: answer.breaks.map(breakJson),
    blocks: [...answerBlocks(answer), ...nextLines(answer, reportPath)],
  };
}

function answerBlocks(answer: ReconcileAnswer): readonly Block[] {
  return [
    { kind: 'facts', facts: factsOf(answer) },
    totalsTable(answer),
    ...(answer.byCode.length === 0 ? [] : [codeTable(answer), ageTable(answer)]),
    proofTable(answer.proofs),
    ...openIdentities(answer.proofs),
    { kind: 'line', text: { text: statusSentence(answer), tone: toneOf(answer) } },
  ];
}

function toneOf({ status }: ReconcileAnswer): Tone {
  if (status === 'closed') return 'good';
  return status === 'breaks' ? 'warn' : 'bad';
}

function factsOf(answer: ReconcileAnswer): readonly (readonly [string, Cell])[] {
  const { file } = answer;
  const known = file.knownCount === 0 ? '' : `, ${file.knownCount} known before`;
  const covers =
    file.coversFrom === null || file.coversTo === null
      ? []
      : [['covers', `${timeText(file.coversFrom)} to ${timeText(file.coversTo)}`] as const];
  return [
    ['file', file.id === null ? file.name : `${file.name} (${file.id})`],
    ['source', `${file.source}, ${file.format}`],
    ...covers,
    ['lines', `${file.lineCount}${known}; ${outcomeText(answer)}`],
    ['result', { text: statusWord(answer), tone: toneOf(answer) }],
    ...(answer.resolvedCount === 0
      ? []
      : [['resolved', `${countText(answer.resolvedCount, 'break')} that this file explains`] as const]),
  ];
}

/** The bar shows a share of the row's own currency: amounts of two currencies do not compare. */
function totalsTable({ byCurrency }: ReconcileAnswer): Block {
  const rows = byCurrency.flatMap(({ currency, matched, inTransit, breaks }) => {
    const sum = matched.grossMinor + inTransit.grossMinor + breaks.grossMinor;
    const kinds = [
      ['matched', matched, 'good'],
      ['in transit', inTransit, 'warn'],
      ['breaks', breaks, 'bad'],
    ] as const;
    return kinds
      .filter(([name, tally]) => name === 'matched' || tally.count > 0)
      .map(([name, tally, tone]): readonly Cell[] => [
        name,
        { text: barText(tally.grossMinor, sum), tone },
        String(tally.count),
        signedText(tally.grossMinor, currency),
      ]);
  });
  return {
    kind: 'table',
    empty: 'no amounts',
    columns: [
      { title: 'BY AMOUNT' },
      { title: ''.padEnd(BAR_WIDTH) },
      { title: 'COUNT', align: 'right' },
      { title: 'GROSS', align: 'right' },
    ],
    rows,
  };
}

/** A share in eighths of a character; what is not nothing is seen. */
export function barText(part: bigint, whole: bigint): string {
  if (whole <= 0n || part <= 0n) return '';
  const eighths = Number((part * BigInt(BAR_WIDTH) * 8n) / whole);
  const shown = Math.min(Math.max(eighths, 1), BAR_WIDTH * 8);
  return '█'.repeat(Math.floor(shown / 8)) + EIGHTHS[shown % 8]!;
}

function codeTable({ byCode }: ReconcileAnswer): Block {
  return {
    kind: 'table',
    empty: '',
    columns: [
      { title: 'BREAKS', shrink: true },
      { title: '' },
      { title: 'COUNT', align: 'right' },
      { title: 'GROSS', align: 'right' },
    ],
    rows: byCode.map(({ code, severity, currency, tally }) => [
      codeText(code),
      { text: severity, tone: severity === 'P1' ? 'bad' : 'warn' },
      String(tally.count),
      signedText(tally.grossMinor, currency),
    ]),
  };
}

function ageTable({ ageing }: ReconcileAnswer): Block {
  const most = new Map<Currency, bigint>();
  for (const { currency, tally } of ageing)
    if (tally.grossMinor > (most.get(currency) ?? 0n)) most.set(currency, tally.grossMinor);
  return {
    kind: 'table',
    empty: '',
    columns: [
      { title: 'AGE (DAYS)' },
      { title: ''.padEnd(BAR_WIDTH) },
      { title: 'COUNT', align: 'right' },
      { title: 'GROSS', align: 'right' },
    ],
    rows: ageing
      .filter(({ tally }) => tally.count > 0)
      .map(({ bucket, currency, tally }) => [
        bucket,
        { text: barText(tally.grossMinor, most.get(currency) ?? 0n), tone: 'warn' },
        String(tally.count),
        signedText(tally.grossMinor, currency),
      ]),
  };
}

function proofTable(proofs: readonly Proof[]): Block {
  return {
    kind: 'table',
    empty: 'nothing to prove: no account was touched',
    columns: [
      { title: 'PROOF', shrink: true },
      { title: 'RECEIVABLE', align: 'right' },
      { title: 'IN TRANSIT', align: 'right' },
      { title: 'BREAKS', align: 'right' },
      { title: 'RESIDUAL', align: 'right' },
    ],
    rows: proofs.map(({ pspAccount, currency, receivable, closing, closes }) => {
      const amount = (minor: bigint) => signedText(minor, currency).replace(` ${currency}`, '');
      const broken = closing.breaks.reduce((sum, { minor }) => sum + minor, 0n);
      return [
        `${currency} ${pspAccount}`,
        amount(receivable.closingMinor),
        amount(closing.inTransitMinor),
        amount(broken),
        { text: amount(closing.residualMinor), tone: closes ? 'good' : 'bad' },
      ];
    }),
  };
}

/** Only what does not hold is worth a line here; the page has them all. */
function openIdentities(proofs: readonly Proof[]): readonly Block[] {
  return proofs.flatMap((proof) =>
    identitiesOf(proof)
      .filter(({ holds }) => holds === false)
      .map(
        ({ name, says }): Block => ({
          kind: 'line',
          text: { text: `${proof.currency} ${proof.pspAccount}: ${name}: ${says}`, tone: 'bad' },
        }),
      ),
  );
}

function nextLines(answer: ReconcileAnswer, reportPath: string | null): readonly Block[] {
  const severities = severitiesText(answer.byCode);
  const first = answer.outcome === 'dry_run' ? undefined : answer.breaks[0];
  const lines = [
    ...(answer.breakCount === 0 ? [] : [`${severities}. Look at them: paygate breaks list`]),
    ...(first === undefined ? [] : [`The worst and oldest first: paygate breaks show ${first.id}`]),
    ...(reportPath === null ? [] : [`report: ${reportPath}`]),
  ];
  return lines.map((text) => ({ kind: 'line', text }));
}

function answerJson(answer: ReconcileAnswer) {
  const { file } = answer;
  return {
    run_id: answer.runId,
    status: answer.status,
    outcome: answer.outcome,
    at: answer.at,
    file: {
      file_id: file.id,
      name: file.name,
      format: file.format,
      source: file.source,
      line_count: file.lineCount,
      known_count: file.knownCount,
      sha256: file.sha256,
      covers_from: file.coversFrom,
      covers_to: file.coversTo,
    },
    by_currency: answer.byCurrency.map(({ currency, matched, inTransit, breaks }) => ({
      currency,
      matched: tallyJson(matched, currency),
      in_transit: tallyJson(inTransit, currency),
      breaks: tallyJson(breaks, currency),
    })),
    by_code: answer.byCode.map(({ code, severity, currency, tally }) => ({
      code,
      severity,
      ...tallyJson(tally, currency),
    })),
    ageing: answer.ageing.map(({ bucket, currency, tally }) => ({ bucket, ...tallyJson(tally, currency) })),
    break_count: answer.breakCount,
    resolved_count: answer.resolvedCount,
    breaks: answer.breaks.map(breakJson),
    proofs: answer.proofs.map(proofJson),
  };
}

function tallyJson({ count, grossMinor }: Tally, currency: Currency) {
  return { count, gross: toMoneyJson({ amountMinor: grossMinor, currency }) };
}

/** One break as JSON carries it: also `breaks list` and `breaks show`. */
export function breakJson(one: BreakAnswer) {
  return {
    break_id: one.id,
    code: one.code,
    severity: one.severity,
    state: one.state,
    source: one.source,
    ...toMoneyJson({ amountMinor: one.amountMinor, currency: one.currency }),
    first_seen_at: one.firstSeenAt,
    last_seen_at: one.lastSeenAt,
    age_days: one.ageDays,
    assignee: one.assignee,
    says: one.says,
    offers: one.offers,
    suspended: one.suspended ?? null,
    dead_letter: one.deadLetter ?? null,
    proposed_by: one.proposal?.by ?? null,
    proposed_as: one.proposal?.as ?? null,
    external: sideJson(one.external),
    internal: sideJson(one.internal),
  };
}

function sideJson(side: BreakSide | null) {
  if (side === null) return null;
  const { label, kind, currency, amountMinor, reference, at } = side;
  return { label, kind, ...toMoneyJson({ amountMinor, currency }), reference, at };
}

function proofJson({ pspAccount, currency, receivable, closing, balance, bank, closes }: Proof) {
  const money = (amountMinor: bigint) => toMoneyJson({ amountMinor, currency });
  return {
    psp_account: pspAccount,
    currency,
    closes,
    receivable: {
      opening: money(receivable.openingMinor),
      facts: money(receivable.factsMinor),
      lines: money(receivable.linesMinor),
      closing: money(receivable.closingMinor),
    },
    closing: {
      in_transit: money(closing.inTransitMinor),
      breaks: closing.breaks.map(({ code, minor }) => ({ code, ...money(minor) })),
      residual: money(closing.residualMinor),
    },
    balance: {
      mirror: money(balance.mirrorMinor),
      lines: money(balance.linesMinor),
      stated: balance.statedMinor === null ? null : money(balance.statedMinor),
    },
    bank:
      bank === null
        ? null
        : { bank: bank.bank, cash: money(bank.cashMinor), stated: money(bank.statedMinor) },
  };
}

/** Breaks as a table of one line each. */
export function breakTable(breaks: readonly BreakAnswer[]): Block {
  return {
    kind: 'table',
    empty: 'no breaks',
    columns: [
      { title: 'BREAK' },
      { title: '' },
      { title: 'CODE', shrink: true },
      { title: 'AMOUNT', align: 'right' },
      { title: 'AGE', align: 'right' },
      { title: 'STATE' },
      { title: 'ASSIGNEE', shrink: true },
    ],
    rows: breaks.map((one) => [
      one.id,
      { text: one.severity, tone: one.severity === 'P1' ? 'bad' : 'warn' },
      codeText(one.code),
      changeText(one.amountMinor, one.currency),
      `${one.ageDays} d`,
      one.state,
      one.assignee ?? '',
    ]),
  };
}
