/** The state diagram in docs/ is made from the transition table; a stale one fails here (update with `vitest -u`). */
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { OPERATION_EVENTS, publicStateOf, SUB_STATES, TRANSITIONS } from './operation.ts';

const DOCUMENT = fileURLToPath(new URL('../../../docs/states.md', import.meta.url));

function diagram(): string {
  const lines = SUB_STATES.flatMap((from) => {
    const targets = Map.groupBy(
      OPERATION_EVENTS.filter((event) => TRANSITIONS[from][event] !== undefined),
      (event) => TRANSITIONS[from][event]!,
    );
    return [...targets].map(([to, events]) => `  ${from} --> ${to}: ${events.join(', ')}`);
  });
  const groups = ['NOT_STARTED', 'EXECUTING', 'SUCCESS', 'FAILED'].map((state) => {
    const members = SUB_STATES.filter((subState) => publicStateOf(subState) === state);
    return `| ${state} | ${members.join(', ')} |`;
  });
  return [
    '# States of a charge',
    '',
    'Made from `src/core/operation/operation.ts` by its test. What is not drawn is illegal.',
    '',
    '| what the API shows | sub-state |',
    '| --- | --- |',
    ...groups,
    '',
    '```mermaid',
    'stateDiagram-v2',
    '  [*] --> queued: accepted',
    '  [*] --> risk_blocked: blocked',
    '  [*] --> in_risk_review: sent to review',
    // Not events of an attempt: a decision moves these, under the review\'s own lock.
    '  in_risk_review --> queued: approved',
    '  in_risk_review --> risk_blocked: rejected, timed out',
    ...lines,
    '```',
    '',
  ].join('\n');
}

test('the state diagram in docs is the transition table', async () => {
  await expect(diagram()).toMatchFileSnapshot(DOCUMENT);
});
