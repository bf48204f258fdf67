/** The demo's charges: a batch file, and two large payments that a rule holds for a person. */
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Db } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import { listReviews } from '../../core/risk/risk-store.ts';
import type { Stage } from './demo-stage.ts';
import { WAIT_SECONDS } from './demo-wait.ts';

/** As somebody in the project's folder would type it. */
const FIXTURE = relative(
  process.cwd(),
  fileURLToPath(new URL('../../../fixtures/batches/demo.csv', import.meta.url)),
);

/** Above what the demo's rules let pass. */
const LARGE = [
  { checkout: 'demo-large-1', buyer: 'Jan Kowalski', seller: 'Werkstatt Jürgen', amount: '7400.00' },
  { checkout: 'demo-large-2', buyer: 'Mallory', seller: 'Boutique Zoë', amount: '9800.00' },
] as const;

export async function chargeBatch(stage: Stage): Promise<void> {
  const plan = await stage.read(['payments', 'submit', FIXTURE, '--dry-run', '-o', 'json']);
  const { confirm } = JSON.parse(plan) as { confirm: string };
  const wait = ['--wait', '--wait-timeout', String(WAIT_SECONDS)];
  await stage.run(['payments', 'submit', FIXTURE, '--confirm', confirm, ...wait], [0, 1, 4]);
}

/** Submits both, approves the first and rejects the second. */
export async function reviewLargePayments(stage: Stage, db: Db): Promise<void> {
  for (const { checkout, buyer, seller, amount } of LARGE) {
    const parties = ['--checkout', checkout, '--buyer', buyer, '--seller', seller];
    const money = ['--amount', amount, '--currency', 'EUR', '--method', 'pm_card_visa'];
    await stage.quietly(['payments', 'submit', ...parties, ...money, '--yes']);
  }
  await stage.run(['risk', 'review', 'list']);
  const [second, first] = await listReviews(db, { state: 'open', beforeId: null, limit: LARGE.length });
  if (first === undefined || second === undefined)
    throw new OperatorError('demo_step_failed', 'No two payments wait for a review.', { kind: 'failed' });
  const review = ['risk', 'review'];
  const known = 'called the buyer, order confirmed';
  await stage.run([...review, 'approve', formatId('payment', first.paymentId), '--reason', known, '--yes']);
  const stolen = 'card reported stolen by the issuer';
  await stage.run([...review, 'reject', formatId('payment', second.paymentId), '--reason', stolen]);
}
