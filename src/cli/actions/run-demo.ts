/**
 * The demo: runs the real commands against a real Postgres and a PSP sandbox with seeded faults, then holds
 * the books against the sandbox's truth. Nothing in it is faked; it only reads what the commands did.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import pRetry from 'p-retry';
import type { Db } from '../../core/db/connection.ts';
import { resolveFolders } from '../../core/db/embedded-folders.ts';
import { OperatorError } from '../../core/errors.ts';
import { withBook } from '../open-book.ts';
import type { Session } from '../session.ts';
import { reportDemo } from './demo-report.ts';
import { freePort, openStage, type Stage } from './demo-stage.ts';
import { compareWithTruth } from './demo-truth.ts';

/** As somebody in the project's folder would type it. */
const FIXTURE = relative(
  process.cwd(),
  fileURLToPath(new URL('../../../fixtures/batches/demo.csv', import.meta.url)),
);

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
/** The demo's PSP gives up after this long (ms), and a hanging request acts a little later. */
const PSP_TIMEOUT_MS = 1_500;
const HANG_MS = 2_500;
const PENDING_MS = 1_500;
const WAIT_SECONDS = 45;
const SANDBOX_START = { retries: 40, minTimeout: 50, maxTimeout: 250 };

export async function runDemo(session: Session, options: { readonly seed: number }): Promise<number> {
  const started = performance.now();
  const say = (text: string) => session.host.stdout.write(`${text}\n`);
  const stateDir = (await resolveFolders()).stateDir;
  const name = stamp();
  const folder = join(stateDir, 'demo', name);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const port = await freePort();
  const configPath = await writeConfig(folder, name, port);
  const stage = openStage(session, folder, { PAYGATE_CONFIG: configPath });
  say(
    'A marketplace in a minute: a real Postgres, a PSP that misbehaves, each checkout charged exactly once.',
  );
  try {
    await play(stage, { folder, port, seed: options.seed });
    const code = await withBook({ ...session, globals: { ...session.globals, configPath } }, ({ db }) =>
      showResult(session, db, port),
    );
    await stage.run(['ledger', 'verify']);
    await stage.run(['wallets', 'list', '--top', '5']);
    await stage.stopAll();
    say(closing(folder, configPath, (performance.now() - started) / 1000));
    return code;
  } finally {
    await stage.stopAll();
  }
}

async function play(stage: Stage, demo: { folder: string; port: number; seed: number }): Promise<void> {
  await stage.run(['db', 'start']);
  await stage.run(['db', 'migrate']);
  const faults = Object.entries(FAULTS).flatMap(([name, rate]) => ['--fault', `${name}=${rate}`]);
  const journal = join(demo.folder, 'sandbox.journal');
  stage.start('sandbox', [
    'sandbox',
    'run',
    '--port',
    String(demo.port),
    '--seed',
    String(demo.seed),
    '--journal',
    journal,
    ...faults,
  ]);
  await configureSandbox(`http://127.0.0.1:${demo.port}`);
  stage.start('daemon', ['daemon', 'run']);
  const plan = JSON.parse(await stage.read(['payments', 'submit', FIXTURE, '--dry-run', '-o', 'json'])) as {
    confirm: string;
  };
  await stage.run(
    [
      'payments',
      'submit',
      FIXTURE,
      '--confirm',
      plan.confirm,
      '--wait',
      '--wait-timeout',
      String(WAIT_SECONDS),
    ],
    [0, 1, 4],
  );
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

async function showResult(session: Session, db: Db, port: number): Promise<number> {
  const { intents, differences } = await compareWithTruth(db, `http://127.0.0.1:${port}`);
  await reportDemo(session, db, { intents, differences });
  return differences.length === 0 ? 0 : 1;
}

async function writeConfig(folder: string, name: string, port: number): Promise<string> {
  const keyPath = join(folder, 'sandbox.key');
  // The sandbox takes every test key; this one opens nothing else.
  await writeFile(keyPath, 'sk_test_demo\n', { mode: 0o600 });
  const path = join(folder, 'paygate.toml');
  const lines = [
    '# Made by `paygate demo`; the book is a schema of its own in the embedded Postgres.',
    '[database]',
    `book = "demo_${name}"`,
    '',
    '[psp.sandbox]',
    'psp = "stripe"',
    `base_url = "http://127.0.0.1:${port}"`,
    `api_key_file = ${JSON.stringify(keyPath)}`,
    `timeout_ms = ${PSP_TIMEOUT_MS}`,
    '',
    '[fees.EUR]',
    'bps = 250',
    'fixed = "0.25"',
    '',
    '[risk.max_payment]',
    'EUR = "50000"',
    '',
  ];
  await writeFile(path, lines.join('\n'), { mode: 0o600 });
  return path;
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
Charge for real: see "Use it for real" in README.md.`;
}
