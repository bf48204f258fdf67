/** The pictures of docs/reconciliation.md are what the commands print: written here, and compared at every run. */
import { expect, test } from 'vitest';
import type { ResolutionPlan } from '../../core/settlement/plan-resolution.ts';
import { breakAnswer, currencyOf, reconcileAnswer } from '../../testing/reconcile-fixtures.ts';
import { terminalPicture } from '../../testing/terminal-picture.ts';
import { breakResult } from '../actions/read-breaks.ts';
import { dryRunText, planBlocks, planText } from '../actions/resolve-break-command.ts';
import { reconcileResult } from './reconcile-summary.ts';
import { renderResult } from './render-result.ts';
import { renderBlocks } from './table.ts';

const DOCS = '../../../docs';
const SCREEN = { width: 100, color: false };
const EUR = currencyOf('EUR');

test('what reconcile prints', async () => {
  const text = await renderResult(reconcileResult(reconcileAnswer(), 'report.html'), 'table', SCREEN);
  const picture = terminalPicture('What paygate reconcile prints', [
    { command: 'paygate reconcile stripe-balance.csv --report report.html', text },
  ]);
  await expect(picture).toMatchFileSnapshot(`${DOCS}/reconcile.svg`);
});

test('one break, looked at, and what its correction would book', async () => {
  const one = breakAnswer({
    id: 'brk_31',
    code: 'unclassified_line',
    severity: 'P2',
    amountMinor: -1_250n,
    ageDays: 1,
    firstSeenAt: '2026-11-24T02:00:00.000Z',
    says: 'Nobody has said what rows of this type are. (-12.50 EUR)',
    offers: ['enquire', 'expense', 'suspense'],
    external: {
      label: 'stripe-balance.csv line 411',
      kind: 'unclassified',
      currency: EUR,
      amountMinor: -1_250n,
      reference: 'adj_1MtHbE2eZv',
      at: '2026-11-23T16:05:00.000Z',
    },
    internal: null,
  });
  const opened = {
    at: '2026-11-24T02:00:00.000Z',
    kind: 'opened',
    principal: 'daemon:eu-1',
    reason: null,
    from: null,
    to: 'open' as const,
    entryId: null,
  };
  const shown = await renderResult(
    breakResult({ break: one, history: [opened], raw: null }),
    'table',
    SCREEN,
  );
  const plan: ResolutionPlan = {
    break: one,
    action: 'expense',
    from: 'open',
    to: 'resolved',
    entry: {
      cause: 'settle:brk_31',
      kind: 'line_expensed',
      postings: [
        {
          debit: 'expense:psp_fees',
          credit: 'psp:stripe_main:receivable',
          currency: EUR,
          amountMinor: 1_250n,
        },
      ],
    },
    links: [],
    restMinor: 0n,
    rest: null,
    secondPerson: 'not_needed',
  };
  const resolved = `${planText(plan)}\n${renderBlocks(planBlocks(plan), SCREEN)}${dryRunText(plan)}`;
  const picture = terminalPicture('One break, looked at, and what its correction would book', [
    { command: 'paygate breaks show brk_31', text: shown },
    {
      command: 'paygate breaks resolve brk_31 --as expense --reason "terminal rent, contract 4.2" --dry-run',
      text: resolved,
    },
  ]);
  await expect(picture).toMatchFileSnapshot(`${DOCS}/reconcile-break.svg`);
});
