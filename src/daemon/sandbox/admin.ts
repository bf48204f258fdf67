/**
 * The admin API under /_sandbox/: settings, queued faults, time, truth. JSON in, JSON out, loopback only.
 * What happens to money stands in admin-objects.ts, what it reports of money in admin-truth.ts.
 */
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { type Answer, failure, json, withBody } from './admin-answer.ts';
import { steerObject } from './admin-objects.ts';
import { tellTruth } from './admin-truth.ts';
import type { AdyenEngine } from './adyen/engine.ts';
import type { Counters } from './counters.ts';
import type { Engine } from './engine.ts';
import { FAULT_NAMES, type Fault, type FaultMatch, MAX_RULES } from './faults.ts';
import { ADMIN_PREFIX, type AdminHandler } from './http.ts';
import { applyPatch, describeSettings, findSettingsFault, settingsSchema } from './settings.ts';
import { settlementFiles, settlementSchema } from './settlement/settlement-files.ts';
import { nameOf } from './shown.ts';
import { FAILURE_NAMES } from './test-cards.ts';
import type { WebhookSender } from './webhook-sender.ts';

const MAX_MS = 10 * 366 * 24 * 60 * 60 * 1000;
const MAX_REPEAT = 1_000_000;
const MAX_SEQUENCE = 1000;

const DEFAULT_KEYS_LIMIT = 1000;

const faultName = z.enum([...FAULT_NAMES, 'ok']);
const faultItem = z.union([
  faultName,
  z.strictObject({
    fault: faultName,
    ms: z.int().min(0).max(MAX_MS).optional(),
    retry_after_s: z.int().min(0).max(3600).optional(),
    decline: z.enum(FAILURE_NAMES).optional(),
  }),
]);
const faultsSchema = z.strictObject({
  match: z
    .strictObject({
      key: z.string().optional(),
      metadata: z.record(z.string(), z.string()).optional(),
      method: z.enum(['GET', 'POST']).optional(),
      path_prefix: z.string().optional(),
    })
    .default({}),
  sequence: z.array(faultItem).min(1).max(MAX_SEQUENCE),
  repeat: z.int().min(1).max(MAX_REPEAT).default(1),
});
const clockSchema = z.strictObject({ advance_ms: z.int().min(0).max(MAX_MS) });
const outageSchema = z.strictObject({ ms: z.int().min(0).max(600_000) });

/**
 * @property adyen what Adyen's side knows; forgotten with everything else
 * @property outage stops listening and cuts all connections for so many milliseconds
 */
export interface AdminParts {
  readonly adyen: Pick<AdyenEngine, 'state' | 'settleDue'>;
  readonly engine: Engine;
  readonly counters: Counters;
  readonly webhooks: Pick<WebhookSender, 'describe'>;
  readonly startedMs: number;
  readonly journalBytes: () => number | null;
  readonly outage: (ms: number) => void;
}

/** Handles every request under /_sandbox/; answers only what is in the journal. */
export function createAdmin(parts: AdminParts): AdminHandler {
  return (request, response, body) => {
    const answer = route(parts, request, body);
    parts.engine.whenWritten(() => {
      if (answer.kind === 'stream') return answer.write(response);
      response.writeHead(answer.status, { 'content-type': 'application/json' });
      response.end(`${JSON.stringify(answer.value)}\n`);
    });
  };
}

function route(parts: AdminParts, request: IncomingMessage, body: string): Answer {
  const url = new URL(request.url ?? '/', 'http://sandbox');
  const path = url.pathname.slice(ADMIN_PREFIX.length);
  const call = `${request.method} ${path}`;
  const { engine, counters } = parts;
  switch (call) {
    case 'GET health':
      return json(describeHealth(parts));
    case 'GET config':
      return json(describeSettings(engine.settings));
    case 'POST config':
      return withBody(body, settingsSchema, (patch) => {
        const settings = applyPatch(engine.settings, patch);
        const fault = findSettingsFault(settings);
        if (fault !== null) return failure(400, fault);
        engine.configure(settings);
        return json(describeSettings(engine.settings));
      });
    case 'GET faults':
      return json({ rules: engine.queue.list() });
    case 'POST faults':
      return withBody(body, faultsSchema, (input) => addFaults(engine, input));
    case 'DELETE faults':
      engine.queue.clear();
      return json({ rules: [] });
    case 'GET clock':
      return json(describeClock(engine));
    case 'POST clock':
      return withBody(body, clockSchema, ({ advance_ms }) => {
        const pruned = engine.advance(advance_ms);
        return json({ ...describeClock(engine), pruned_keys: pruned });
      });
    case 'GET webhooks':
      return json(parts.webhooks.describe());
    case 'GET requests':
      return json(counters.describe());
    case 'GET keys':
      return listKeys(engine, url.searchParams);
    case 'POST settlement':
      return withBody(body, settlementSchema, (wish) => {
        engine.settleDue();
        parts.adyen.settleDue();
        const truth = { stripe: engine.state, adyen: parts.adyen.state, nowMs: engine.clock.nowMs() };
        return json(settlementFiles(truth, wish));
      });
    case 'POST reset':
      engine.reset();
      parts.adyen.state.clear();
      counters.clear();
      return json({ reset: true });
    case 'POST outage':
      return withBody(body, outageSchema, ({ ms }) => {
        setImmediate(() => parts.outage(ms));
        return json({ outage_ms: ms });
      });
    default:
      return (
        tellTruth(engine, call, url.searchParams) ??
        steerObject(engine, call, body) ??
        failure(404, `There is no ${call} in the sandbox's admin API.`)
      );
  }
}

function addFaults(engine: Engine, input: z.infer<typeof faultsSchema>): Answer {
  const { key, metadata, method, path_prefix: pathPrefix } = input.match;
  const match: FaultMatch = { key, metadata, method, pathPrefix };
  const sequence = input.sequence.map((item): Fault => {
    if (typeof item === 'string') return { name: item };
    return { name: item.fault, ms: item.ms, retryAfterS: item.retry_after_s, decline: item.decline };
  });
  const id = engine.queue.add(match, sequence, input.repeat);
  return id === null ? failure(409, `There are ${MAX_RULES} fault lists already.`) : json({ id });
}

function listKeys(engine: Engine, query: URLSearchParams): Answer {
  const only = query.get('key');
  const limit = Number(query.get('limit') ?? DEFAULT_KEYS_LIMIT);
  const rows: unknown[] = [];
  for (const [key, entry] of engine.keys.all()) {
    if (rows.length >= limit) break;
    if (only !== null && key !== only) continue;
    const shown = entry.answer?.shown ?? null;
    rows.push({
      key,
      seen: entry.seen,
      faults: entry.faults,
      phase: entry.phase,
      stored_at: entry.storedAtS === 0 ? null : entry.storedAtS,
      status: entry.answer?.status ?? null,
      payment_intent: shown?.kind === 'intent' ? shown.record.id : null,
      object: shown === null ? null : nameOf(shown),
    });
  }
  return json({ total: engine.keys.size, keys: rows });
}

function describeHealth(parts: AdminParts): Record<string, unknown> {
  return {
    status: 'ok',
    pid: process.pid,
    uptime_ms: Date.now() - parts.startedMs,
    payment_intents: parts.engine.state.intents.end,
    refunds: parts.engine.state.refunds.end,
    transfers: parts.engine.state.transfers.end,
    keys: parts.engine.keys.size,
    journal_bytes: parts.journalBytes(),
    memory_bytes: process.memoryUsage.rss(),
  };
}

function describeClock(engine: Engine): Record<string, unknown> {
  const nowMs = engine.clock.nowMs();
  return { now_ms: nowMs, now: new Date(nowMs).toISOString(), offset_ms: engine.clock.offsetMs };
}
