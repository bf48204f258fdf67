/** The report's looks: light, dark, and on paper. No font, picture or script from anywhere. Decides only. */

export const REPORT_STYLE = `
:root { color-scheme: light dark; --paper: #ffffff; --ink: #16202b; --soft: #5b6875; --line: #d9dfe5; --panel: #f5f7f9;
  --matched: #0072b2; --transit: #e69f00; --break: #d55e00; --total: #46535f; --fact: #56a0c8; --residual: #a40e4c;
  --good: #00734f; --warn: #a84900; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #11171d; --ink: #e4eaf0; --soft: #9aa8b5; --line: #2e3944; --panel: #1a222a;
    --matched: #4ea8de; --transit: #f2b84b; --break: #f0814a; --total: #8d9aa6; --fact: #7fbfe0; --residual: #ef6ba0;
    --good: #4cc38a; --warn: #f0814a; --bad: #ff8a80; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .5rem; }
p { margin: .25rem 0 .75rem; }
.soft { color: var(--soft); }
.status { display: flex; gap: .75rem; align-items: baseline; flex-wrap: wrap; margin: 1rem 0; padding: .75rem 1rem;
  border-left: .4rem solid var(--tone); background: var(--panel); }
.status strong { font-size: 1.3rem; color: var(--tone); }
.closed { --tone: var(--good); } .breaks { --tone: var(--warn); } .incomplete { --tone: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .25rem 0 1rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: .25rem 0; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 600; }
td.amount, th.amount { text-align: right; white-space: nowrap; }
td.reference { overflow-wrap: anywhere; min-width: 9rem; }
tbody th { font-weight: 600; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .92em; overflow-wrap: anywhere; }
.severity { font-weight: 700; } .P1 { color: var(--bad); } .P2 { color: var(--warn); } .P3, .P4 { color: var(--soft); }
.yes { color: var(--good); font-weight: 600; } .no { color: var(--bad); font-weight: 600; }
svg { display: block; width: 100%; height: auto; margin: .25rem 0 .75rem; }
svg text { font-size: 13px; fill: var(--ink); } svg text.amount { text-anchor: end; font-variant-numeric: tabular-nums; }
svg.chart { max-width: 760px; } svg.share { height: 1.1rem; } svg .axis { stroke: var(--line); stroke-width: 1; }
svg .matched { fill: var(--matched); } svg .transit { fill: var(--transit); } svg .break { fill: var(--break); }
svg .total { fill: var(--total); } svg .fact { fill: var(--fact); } svg .residual { fill: var(--residual); }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .35em; background: var(--tone); }
.key.matched { --tone: var(--matched); } .key.transit { --tone: var(--transit); } .key.break { --tone: var(--break); }
.proof, .currency { break-inside: avoid; }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .9rem; border-top: 1px solid var(--line); padding-top: .75rem; }
@media print {
  :root { color-scheme: light; --paper: #ffffff; --ink: #000000; --soft: #444444; --line: #bbbbbb; --panel: #f3f3f3;
    --matched: #0072b2; --transit: #e69f00; --break: #d55e00; --total: #46535f; --fact: #56a0c8; --residual: #a40e4c;
    --good: #00734f; --warn: #a84900; --bad: #b3261e; }
  body { padding: 0; max-width: none; font-size: 11px; }
  svg, .key, .status { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  tr, svg { break-inside: avoid; } thead { display: table-header-group; } .wide { overflow: visible; }
  @page { margin: 14mm; }
}
`;
