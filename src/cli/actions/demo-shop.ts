/** Opens the demo's shop: Postgres, a PSP sandbox with seeded faults, one daemon. Moves no money. */
import { join } from 'node:path';
import pRetry from 'p-retry';
import { OperatorError } from '../../core/errors.ts';
import type { Stage } from './demo-stage.ts';

/** What the sandbox does wrong, as chances per request: about one request in ten. */
const FAULTS = {
  act_then_drop: 0.02,
  act_then_truncate: 0.01,
  drop_before_acting: 0.02,
  act_then_500: 0.01,
  fail_500: 0.004,
  bad_gateway: 0.01,
  hang_then_act: 0.004,
  rate_limited: 0.01,
  key_in_use: 0.005,
  pending_then_succeed: 0.01,
} as const;
/** A hanging request acts a little later than the demo's PSP time-out (ms). */
const HANG_MS = 2_500;
const PENDING_MS = 1_500;
const SANDBOX_START = { retries: 40, minTimeout: 50, maxTimeout: 250 };

export type Shop = { readonly folder: string; readonly port: number; readonly seed: number };

export function sandboxUrlOf(port: number): string {
  return `http://127.0.0.1:${port}`;
}

export async function openShop(stage: Stage, shop: Shop): Promise<void> {
  await stage.run(['db', 'start']);
  await stage.run(['db', 'migrate']);
  const faults = Object.entries(FAULTS).flatMap(([name, rate]) => ['--fault', `${name}=${rate}`]);
  const journal = join(shop.folder, 'sandbox.journal');
  const place = ['--port', String(shop.port), '--seed', String(shop.seed), '--journal', journal];
  stage.start('sandbox', ['sandbox', 'run', ...place, ...faults]);
  await configureSandbox(sandboxUrlOf(shop.port));
  stage.start('daemon', ['daemon', 'run']);
}

/** Waits until the sandbox answers and sets the times that its flags do not. */
async function configureSandbox(url: string): Promise<void> {
  await pRetry(async () => {
    const response = await fetch(`${url}/_sandbox/config`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ hang_ms: HANG_MS, pending_ms: PENDING_MS }),
      signal: AbortSignal.timeout(1_000),
    });
    if (!response.ok)
      throw new OperatorError(
        'sandbox_refused',
        `The sandbox refused its settings: ${await response.text()}`,
      );
  }, SANDBOX_START);
}
