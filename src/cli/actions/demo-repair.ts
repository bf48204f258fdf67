/**
 * The demo's repair: the PSP refuses one charge because a payment method is not switched on in our account, which makes
 * a dead letter; once it is switched on, the letter is replayed, and the order is charged by a new attempt.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Db } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import { ANY_LETTER, listDeadLetters } from '../../core/queue/dead-letter-store.ts';
import type { Stage } from './demo-stage.ts';
import { WAIT_SECONDS, waitForQueue } from './demo-wait.ts';

const CHECKOUT = 'demo-switched-off';
/** Between two looks for the letter (ms). */
const LOOK_EVERY_MS = 50;

/** Run while the queue is empty: the fault hits the next charge, whosever it is. */
export async function repairAndReplay(stage: Stage, db: Db, sandboxUrl: string): Promise<void> {
  await switchOffOnce(sandboxUrl);
  const parties = ['--checkout', CHECKOUT, '--buyer', 'Ada Byron', '--seller', 'Boutique Zoë'];
  const money = ['--amount', '42.00', '--currency', 'EUR', '--method', 'pm_card_visa'];
  await stage.quietly(['payments', 'submit', ...parties, ...money, '--yes']);
  const letter = await awaitLetter(db);
  await stage.run(['dlq', 'show', letter]);
  const replay = ['dlq', 'replay', letter];
  await stage.run([...replay, '--dry-run']);
  await stage.run([...replay, '--reason', 'cards are switched on in the Dashboard again', '--yes']);
  await waitForQueue(db);
  await stage.run(['payments', 'show', CHECKOUT]);
}

/** The sandbox's admin is the PSP's Dashboard here: off for the next charge, then on again. */
async function switchOffOnce(sandboxUrl: string): Promise<void> {
  const match = { method: 'POST', path_prefix: '/v1/payment_intents' };
  const response = await fetch(`${sandboxUrl}/_sandbox/faults`, {
    method: 'POST',
    body: JSON.stringify({ match, sequence: ['not_activated'] }),
  });
  if (!response.ok)
    throw new OperatorError('sandbox_refused', `The sandbox refused a fault: ${await response.text()}`);
}

async function awaitLetter(db: Db): Promise<string> {
  const filter = { ...ANY_LETTER, state: 'open', code: 'rejected', beforeId: null, limit: 1 } as const;
  const deadline = performance.now() + WAIT_SECONDS * 1_000;
  while (performance.now() < deadline) {
    const [letter] = await listDeadLetters(db, filter);
    if (letter !== undefined) return formatId('deadLetter', letter.id);
    await sleep(LOOK_EVERY_MS);
  }
  throw new OperatorError('demo_step_failed', 'No dead letter was opened.', { kind: 'failed' });
}
