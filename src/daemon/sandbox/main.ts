/**
 * The PSP sandbox: a process that the official SDKs of Stripe and Adyen talk to unmodified, and the tests' oracle.
 * It imports nothing of the gateway but its error classes: it must be able to disagree with it.
 */
import type { AddressInfo } from 'node:net';
import type { z } from 'zod';
import { OperatorError } from '../../core/errors.ts';
import { createAdmin } from './admin.ts';
import { createAdyenAdmin } from './adyen/admin.ts';
import { AdyenEngine } from './adyen/engine.ts';
import { AdyenSide } from './adyen/http.ts';
import { Counters } from './counters.ts';
import { Engine } from './engine.ts';
import { FAULT_NAMES, type FaultRates } from './faults.ts';
import { createSandboxServer } from './http.ts';
import { type Durability, type Journal, openJournal } from './journal.ts';
import { Rebuild } from './journal-lines.ts';
import {
  applyPatch,
  DEFAULT_SETTINGS,
  findSettingsFault,
  type Settings,
  type SettingsPatch,
  settingsSchema,
} from './settings.ts';
import { Timers } from './timers.ts';
import { WebhookSender } from './webhook-sender.ts';

/**
 * @property port 0 takes a free one
 * @property journalPath where the truth is kept; null keeps it in memory only
 * @property seed decides, with the idempotency keys, which requests the rates hit
 * @property rates chances per fault name, summing to 1 at most
 * @property latencyMs how long every execution takes, milliseconds
 * @property apiKey the one key that is taken; without it every `sk_test_…` is
 * @property durability `page_cache` (default) survives kill -9; `fsync` a power cut too
 * @property settings further settings under the admin API's names, such as `hang_ms`
 */
export interface SandboxOptions {
  readonly port: number;
  readonly host?: '127.0.0.1';
  readonly journalPath: string | null;
  readonly seed: number;
  readonly rates?: FaultRates;
  readonly latencyMs?: number;
  readonly apiKey?: string;
  readonly durability?: Durability;
  readonly settings?: SettingsPatch;
}

/** A sandbox that answers; `close` cuts its connections, forgets what hangs, and writes its journal. */
export interface Sandbox {
  readonly url: string;
  readonly port: number;
  close(): Promise<void>;
}

const HOST = '127.0.0.1';

/**
 * Starts a sandbox on the loopback address, rebuilt from its journal.
 * @throws OperatorError `sandbox_settings_invalid`, `sandbox_port_unavailable`, or one of the journal's
 */
export async function startSandbox(options: SandboxOptions): Promise<Sandbox> {
  const engine = new Engine(readSettings(options));
  const adyen = new AdyenEngine(engine);
  const counters = new Counters();
  const timers = new Timers();
  const rebuild = new Rebuild(engine.state, engine.keys, engine.clock, adyen.rebuild);
  const journal = openJournal(
    options.journalPath,
    options.durability ?? 'page_cache',
    rebuild.apply,
    (cause) => {
      console.error('The sandbox cannot write its journal and answers nobody any more:', cause);
      server.closeAllConnections();
      server.close();
    },
  );
  rebuild.finish();
  engine.attach(journal);
  const webhooks = new WebhookSender({
    timers,
    settings: () => engine.settings,
    whenWritten: (callback) => engine.whenWritten(callback),
    onDone: (event) => engine.eventDone(event),
  });
  engine.attachListener(webhooks, rebuild.unsent());
  engine.settleDue();
  adyen.settleDue();
  const admin = createAdmin({
    engine,
    adyen,
    counters,
    webhooks,
    startedMs: Date.now(),
    journalBytes: () => (options.journalPath === null ? null : journal.bytes),
    outage: (ms) => {
      server.close();
      server.closeAllConnections();
      timers.after(ms, () => server.listen(port, HOST));
    },
  });
  const server = createSandboxServer({
    engine,
    counters,
    timers,
    apiKey: options.apiKey ?? null,
    admin,
    adyen: new AdyenSide({ engine: adyen, counters, timers }),
    adyenAdmin: createAdyenAdmin(adyen),
  });
  const port = await listen(server, options.port, journal);
  return {
    url: `http://${HOST}:${port}`,
    port,
    close: async () => {
      timers.clear();
      webhooks.close();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
      journal.close();
    },
  };
}

function readSettings(options: SandboxOptions): Settings {
  const patch = {
    ...options.settings,
    seed: options.seed,
    ...(options.rates === undefined ? {} : { rates: options.rates }),
    ...(options.latencyMs === undefined ? {} : { latency_ms: options.latencyMs }),
  };
  const parsed = settingsSchema.safeParse(patch);
  if (!parsed.success) throw invalidSettings(parsed.error.issues.map(inWords).join('; '));
  const settings = applyPatch(DEFAULT_SETTINGS, parsed.data);
  const fault = findSettingsFault(settings);
  if (fault !== null) throw invalidSettings(fault);
  return settings;
}

function inWords(issue: z.core.$ZodIssue): string {
  const at = issue.path.join('.');
  if (issue.code !== 'unrecognized_keys' || at !== 'rates') return `${at}: ${issue.message}`;
  return `there is no fault "${issue.keys.join('", "')}"; there are ${FAULT_NAMES.join(', ')}`;
}

function invalidSettings(what: string): OperatorError {
  return new OperatorError('sandbox_settings_invalid', `The sandbox's settings: ${what}`);
}

function listen(
  server: ReturnType<typeof createSandboxServer>,
  port: number,
  journal: Journal,
): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      journal.close();
      reject(
        new OperatorError(
          'sandbox_port_unavailable',
          `The sandbox cannot listen on ${HOST}:${port}; stop what listens there or choose another port.`,
          { kind: 'failed', cause },
        ),
      );
    });
    server.listen(port, HOST, () => {
      server.removeAllListeners('error');
      resolve((server.address() as AddressInfo).port);
    });
  });
}
