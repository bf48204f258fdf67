/**
 * The demo: runs the real commands against a real Postgres and a PSP sandbox with seeded faults, then holds
 * the books against the sandbox's truth and reconciles its files. Nothing in it is faked; it only reads what the commands did.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Db } from '../../core/db/connection.ts';
import { resolveFolders } from '../../core/db/embedded-folders.ts';
import { withBook } from '../open-book.ts';
import type { Session } from '../session.ts';
import { chargeBatch, reviewLargePayments } from './demo-charges.ts';
import { paySellers } from './demo-payouts.ts';
import { reconcileDemo } from './demo-reconcile.ts';
import { refundOrders } from './demo-refunds.ts';
import { repairAndReplay } from './demo-repair.ts';
import { reportDemo } from './demo-report.ts';
import { writeSettings } from './demo-settings.ts';
import { openShop, type Shop, sandboxUrlOf } from './demo-shop.ts';
import { freePort, openStage, type Stage } from './demo-stage.ts';
import { compareWithTruth } from './demo-truth.ts';
import { waitForQueue } from './demo-wait.ts';

const REFUNDS_SHOWN = 10;

export async function runDemo(session: Session, options: { readonly seed: number }): Promise<number> {
  const started = performance.now();
  const say = (text: string) => session.host.stdout.write(`${text}\n`);
  const stateDir = (await resolveFolders()).stateDir;
  const name = stamp();
  const folder = join(stateDir, 'demo', name);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const shop = { folder, port: await freePort(), seed: options.seed };
  const configPath = await writeSettings(folder, name, sandboxUrlOf(shop.port));
  const stage = openStage(session, folder, { PAYGATE_CONFIG: configPath });
  const ofDemo = { ...session, globals: { ...session.globals, configPath } };
  say(
    'A marketplace in a minute: a real Postgres, a PSP that misbehaves, each checkout charged exactly once.',
  );
  try {
    await openShop(stage, shop);
    const code = await withBook(ofDemo, async ({ db }) => {
      await play(stage, db, shop);
      const code = await showResult(session, db, shop);
      return (await reconcileDemo(stage, db, shop, say)) ? code : 1;
    });
    await stage.run(['ledger', 'verify']);
    await stage.run(['wallets', 'list', '--top', '5']);
    await stage.stopAll();
    say(closing(folder, configPath, (performance.now() - started) / 1000));
    return code;
  } finally {
    await stage.stopAll();
  }
}

async function play(stage: Stage, db: Db, shop: Shop): Promise<void> {
  await chargeBatch(stage);
  await refundOrders(stage, db);
  await reviewLargePayments(stage, db);
  const batch = await paySellers(stage, db, shop.folder);
  await waitForQueue(db);
  await repairAndReplay(stage, db, sandboxUrlOf(shop.port));
  // A refund that follows a payment's end could come between the two sides of the comparison.
  await stage.stop('daemon');
  await stage.run(['refunds', 'list', '--limit', String(REFUNDS_SHOWN)]);
  await stage.run(['payouts', 'show', batch]);
}

/** Exit 1 when anything differs. */
async function showResult(session: Session, db: Db, shop: Shop): Promise<number> {
  const truth = await compareWithTruth(db, sandboxUrlOf(shop.port));
  await reportDemo(session, db, truth);
  return truth.differences.length === 0 ? 0 : 1;
}

/** Day and time, fit for names of folders and schemas: 20261123_031500. */
function stamp(): string {
  return new Date().toISOString().slice(0, 19).replace('T', '_').replaceAll(/[-:]/g, '');
}

function closing(folder: string, configPath: string, seconds: number): string {
  return `
Done in ${seconds.toFixed(0)} s. Daemon and sandbox have ended; Postgres keeps running until: paygate db stop
The data lives in the embedded Postgres; logs, configuration and the sandbox's journal in
  ${folder}

Look around:
  export PAYGATE_CONFIG=${configPath}
  npx paygate payments list --status FAILED
  npx paygate payments show pay_1
  npx paygate ledger entries --limit 5
  npx paygate dlq list
  npx paygate sellers list
  npx paygate payouts list --status paid
  npx paygate breaks list
Charge for real: see "Use it for real" in README.md.`;
}
