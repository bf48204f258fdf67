/**
 * A reconciliation as one page that can be mailed, kept and printed: no script, nothing loaded, every text of a file escaped.
 * Decides only.
 */
import type { Currency } from '../../core/money.ts';
import type {
  BreakAnswer,
  BreakSide,
  Proof,
  ReconcileAnswer,
} from '../../core/settlement/reconcile-answer.ts';
import { countText, timeText } from '../words.ts';
import { html, Markup } from './html.ts';
import {
  changeText,
  codeText,
  identitiesOf,
  outcomeText,
  severitiesText,
  signedText,
  statusSentence,
  statusWord,
  waysOut,
} from './reconcile-words.ts';
import { type Bar, bars, type Step, shareBar, waterfall } from './report-charts.ts';
import { REPORT_STYLE } from './report-style.ts';

/** XHTML-compatible HTML, ending with a line break. */
export function renderReconcileReport(answer: ReconcileAnswer): string {
  const page = html`<html lang="en" xmlns="http://www.w3.org/1999/xhtml">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>
<title>${`Reconciliation of ${answer.file.name}: ${statusWord(answer)}`}</title>
<style>${new Markup(REPORT_STYLE)}</style>
</head>
<body>
<header>
<h1>${`Reconciliation of ${answer.file.name}`}</h1>
<div class="status ${answer.status}"><strong>${statusWord(answer)}</strong><span>${statusSentence(answer)}</span></div>
${factsOf(answer)}
</header>
<main>
${overview(answer)}
${codes(answer)}
${ageing(answer)}
${breakList(answer)}
${proofs(answer)}
</main>
<footer>Made by paygate on ${timeText(answer.at)}. Amounts of breaks are gross: plus and minus do not cancel. Times are UTC.</footer>
</body>
</html>`;
  return `<!DOCTYPE html>\n${page.text}\n`;
}

function factsOf({ file, ...answer }: ReconcileAnswer): Markup {
  const facts: readonly (readonly [string, string])[] = [
    ['File', `${file.name}${file.id === null ? '' : ` (${file.id})`}, ${outcomeText({ file, ...answer })}`],
    ['Source', `${file.source}, ${file.format}`],
    ['Covers', coverText(file)],
    ['Lines', `${file.lineCount}${file.knownCount === 0 ? '' : `, of which ${file.knownCount} were known`}`],
    ['SHA-256', file.sha256],
    ['Run', `${answer.runId ?? 'none'}, ${timeText(answer.at)}`],
    ...(answer.resolvedCount === 0
      ? []
      : [['Resolved', `${countText(answer.resolvedCount, 'break')} explained by this file`] as const]),
  ];
  return html`<dl>${facts.map(([label, value]) => html`<dt>${label}</dt><dd>${value}</dd>`)}</dl>`;
}

function coverText({ coversFrom, coversTo }: ReconcileAnswer['file']): string {
  if (coversFrom === null || coversTo === null) return 'not said';
  return `${timeText(coversFrom)} to ${timeText(coversTo)}`;
}

function overview({ byCurrency }: ReconcileAnswer): Markup {
  const legend = html`<p class="soft"><span class="key matched"></span>matched <span class="key transit"></span>in transit <span class="key break"></span>breaks</p>`;
  return html`<section>
<h2>Matched, in transit, breaks</h2>
${legend}
${byCurrency.map((one, place) => {
  const parts: readonly Bar[] = [
    { label: 'matched', ...barOf(one.matched.grossMinor, one.currency), tone: 'matched' },
    { label: 'in transit', ...barOf(one.inTransit.grossMinor, one.currency), tone: 'transit' },
    { label: 'breaks', ...barOf(one.breaks.grossMinor, one.currency), tone: 'break' },
  ];
  return html`<h3>${one.currency}</h3>
${shareBar(`share-${place}`, `${one.currency} by amount`, parts)}`;
})}
<div class="wide"><table>
<caption>Lines and payments by currency, gross</caption>
<thead><tr><th scope="col">Currency</th><th scope="col" class="amount">Matched</th><th scope="col" class="amount">Amount</th><th scope="col" class="amount">In transit</th><th scope="col" class="amount">Amount</th><th scope="col" class="amount">Breaks</th><th scope="col" class="amount">Amount</th></tr></thead>
<tbody>${byCurrency.map(
    ({ currency, matched, inTransit, breaks }) =>
      html`<tr><th scope="row">${currency}</th>${[matched, inTransit, breaks].map(
        ({ count, grossMinor }) =>
          html`<td class="amount">${count}</td><td class="amount">${signedText(grossMinor, currency)}</td>`,
      )}</tr>
`,
  )}</tbody>
</table></div>
</section>`;
}

function barOf(minor: bigint, currency: Currency): Pick<Bar, 'minor' | 'amount'> {
  return { minor, amount: signedText(minor, currency) };
}

/** Each currency has its own scale: amounts of two currencies do not compare. */
function byCurrencyOf<Row extends { readonly currency: Currency }>(rows: readonly Row[]) {
  return [...Map.groupBy(rows, ({ currency }) => currency)];
}

function codes({ byCode }: ReconcileAnswer): Markup {
  if (byCode.length === 0) return html`<section><h2>Breaks by code</h2><p>There are none.</p></section>`;
  return html`<section>
<h2>Breaks by code</h2>
<p class="soft">${severitiesText(byCode)}</p>
${byCurrencyOf(byCode).map(
  ([currency, rows], place) =>
    html`<div class="currency">${bars(
      `codes-${place}`,
      `Open breaks in ${currency} by code, gross`,
      rows.map(({ code, severity, tally }) => ({
        label: `${severity} ${codeText(code)} × ${tally.count}`,
        ...barOf(tally.grossMinor, currency),
        tone: 'break',
      })),
    )}</div>`,
)}
</section>`;
}

function ageing({ ageing: buckets }: ReconcileAnswer): Markup {
  const there = buckets.filter(({ tally }) => tally.count > 0);
  if (there.length === 0) return html``;
  return html`<section>
<h2>Age of open breaks</h2>
${byCurrencyOf(there).map(
  ([currency, rows], place) =>
    html`<div class="currency">${bars(
      `age-${place}`,
      `Open breaks in ${currency} by days since first seen, gross`,
      rows.map(({ bucket, tally }) => ({
        label: `${bucket.replace('-', '–')} days × ${tally.count}`,
        ...barOf(tally.grossMinor, currency),
        tone: 'break',
      })),
    )}</div>`,
)}
</section>`;
}

function breakList({ breaks, breakCount }: ReconcileAnswer): Markup {
  if (breaks.length === 0) return html``;
  const cut =
    breakCount > breaks.length
      ? html`<p class="soft">${`The most severe ${breaks.length} of ${breakCount}; all of them: paygate breaks list`}</p>`
      : html``;
  return html`<section>
<h2>Every break</h2>
${cut}
<div class="wide"><table>
<caption>Most severe and oldest first; the amount is what the file has more than the books</caption>
<thead><tr><th scope="col">Break</th><th scope="col" class="amount">Amount</th><th scope="col">What is wrong</th><th scope="col">In the file</th><th scope="col">In the books</th><th scope="col">Age</th></tr></thead>
<tbody>${breaks.map(breakRow)}</tbody>
</table></div>
</section>`;
}

function breakRow(one: BreakAnswer): Markup {
  const assignee = one.assignee === null ? html`` : html`<br/><span class="soft">${one.assignee}</span>`;
  return html`<tr id="${one.id}"><th scope="row">${one.id}<br/><span class="severity ${one.severity}">${one.severity}</span> ${codeText(one.code)}</th><td class="amount">${changeText(one.amountMinor, one.currency)}</td><td>${one.says}${wayText(one)}</td>${sideCell(one.external)}${sideCell(one.internal)}<td>${countText(one.ageDays, 'day')}<br/><span class="soft">${one.state}</span>${assignee}</td></tr>
`;
}

/** The most fitting way out; the rest is on the screen. */
function wayText(one: BreakAnswer): Markup {
  const [first] = waysOut(one);
  const does = first === undefined ? html`` : html`<br/>${sentence(first.does)}`;
  return html`${does}<br/><code>${first?.command ?? `paygate breaks show ${one.id}`}</code>`;
}

function sentence(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`;
}

function sideCell(side: BreakSide | null): Markup {
  if (side === null) return html`<td class="reference soft">nothing</td>`;
  const reference = side.reference === null ? html`` : html`<br/><code>${side.reference}</code>`;
  const at = side.at === null ? html`` : html`<br/><span class="soft">${timeText(side.at)}</span>`;
  return html`<td class="reference">${side.kind} ${signedText(side.amountMinor, side.currency)}<br/>${side.label}${reference}${at}</td>`;
}

function proofs({ proofs: list }: ReconcileAnswer): Markup {
  return html`<section>
<h2>Proof</h2>
${list.map(proofOf)}
</section>`;
}

function proofOf(proof: Proof, place: number): Markup {
  const name = `${proof.pspAccount}, ${proof.currency}`;
  const word = proof.closes
    ? html`<span class="yes">closes</span>`
    : html`<span class="no">does not close</span>`;
  return html`<article class="proof">
<h3>${name}: ${word}</h3>
${waterfall(`roll-${place}`, `${name}: the receivable rolls forward`, rollSteps(proof))}
${restOf(proof, place, name)}
<table>
<caption>${`Identities of ${name}`}</caption>
<tbody>${identitiesOf(proof).map(
    ({ name: identity, says, holds }) =>
      html`<tr><th scope="row">${identity}</th><td>${says}</td><td>${holdsText(holds)}</td></tr>
`,
  )}</tbody>
</table>
</article>`;
}

function restOf(proof: Proof, place: number, name: string): Markup {
  const steps = restSteps(proof);
  if (steps.every(({ minor }) => minor === 0n)) return html`<p class="soft">Nothing is left open.</p>`;
  return waterfall(`rest-${place}`, `${name}: what the closing receivable is made of`, steps);
}

function holdsText(holds: boolean | null): Markup {
  if (holds === null) return html`<span class="soft">not stated</span>`;
  return holds ? html`<span class="yes">holds</span>` : html`<span class="no">DIFFERS</span>`;
}

function rollSteps({ receivable, currency }: Proof): readonly Step[] {
  const total = (label: string, minor: bigint): Step => ({
    label,
    ...barOf(minor, currency),
    tone: 'total',
    kind: 'total',
  });
  const change = (label: string, minor: bigint, tone: Step['tone']): Step => ({
    label,
    minor,
    amount: changeText(minor, currency),
    tone,
    kind: 'change',
  });
  return [
    total('opening receivable', receivable.openingMinor),
    change('facts booked', receivable.factsMinor, 'fact'),
    change('lines of files', receivable.linesMinor, 'matched'),
    total('closing receivable', receivable.closingMinor),
  ];
}

function restSteps({ closing, receivable, currency }: Proof): readonly Step[] {
  const change = (label: string, minor: bigint, tone: Step['tone']): Step => ({
    label,
    minor,
    amount: changeText(minor, currency),
    tone,
    kind: 'change',
  });
  return [
    change('in transit', closing.inTransitMinor, 'transit'),
    ...closing.breaks.map(({ code, minor }) => change(codeText(code), minor, 'break')),
    change('residual, unexplained', closing.residualMinor, 'residual'),
    {
      label: 'closing receivable',
      ...barOf(receivable.closingMinor, currency),
      tone: 'total',
      kind: 'total',
    },
  ];
}
