/**
 * Carries out calls: idempotency around the operations, every change journalled in the turn it is made.
 * Knows neither sockets nor time-outs; the HTTP layer decides when to begin, finish and answer.
 */
import type { Change, TopUp } from './balance.ts';
import { SandboxClock } from './clock.ts';
import type { EventListener, EventRecord } from './events.ts';
import { drawFault, type Fault, FaultQueue } from './faults.ts';
import { forcedBy } from './forced.ts';
import { canonicalText, type Form } from './form.ts';
import { fingerprintOf, type KeyEntry, KeyTable } from './idempotency.ts';
import { settleIntent } from './intent.ts';
import type { Journal } from './journal.ts';
import {
  changeLine,
  clockLine,
  doneLine,
  hookedLine,
  hooksLine,
  openLine,
  seenLine,
  topUpLine,
} from './journal-lines.ts';
import { answerRead } from './queries.ts';
import { settleRefund } from './refund.ts';
import { refundChanges } from './refund-calls.ts';
import { renderError, renderShown } from './render.ts';
import type { Route } from './routes.ts';
import type { Settings } from './settings.ts';
import { SandboxState, type Timed } from './state.ts';
import { apiError, idempotencyMismatch, keyInUse, type StripeError } from './stripe-errors.ts';
import { undoTransfer } from './transfer.ts';
import { type Answer, type Effect, NO_CHANGES, type Prepared } from './write-call.ts';
import { prepareWrite } from './writes.ts';

/** One call under /v1/ after authorization, with its parameters from body or query. */
export interface Call {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** Path and query as sent. */
  readonly url: string;
  readonly route: Route;
  readonly form: Form;
  /** The idempotency key; null for GETs and for POSTs without one. */
  readonly key: string | null;
}

/** What is sent back. `replayed` answers carry the header `idempotent-replayed: true`. */
export interface Reply {
  readonly status: number;
  readonly body: string;
  readonly origin: 'executed' | 'replayed' | 'refused';
}

/** A call whose execution has begun; its key is in use until it is finished. */
export interface Started {
  readonly call: Call;
  readonly entry: KeyEntry | null;
  readonly prepared: Extract<Prepared, { kind: 'ready' }>;
  readonly epoch: number;
}

export type Begun =
  | { readonly kind: 'reply'; readonly reply: Reply }
  | { readonly kind: 'started'; readonly started: Started };

/** How execution ends: as it should, executed but stored as a 500, or a 500 without executing. */
export type FinishMode = 'act' | 'act_stored_as_500' | 'only_500';

/** Counters of GETs by address are dropped beyond this many; only needed to draw their faults. */
const MAX_GET_COUNTERS = 100_000;

export class Engine {
  readonly clock = new SandboxClock();
  readonly state = new SandboxState();
  readonly keys = new KeyTable();
  readonly queue = new FaultQueue();
  settings: Settings;
  /** Raised by `reset`: what began before must not act afterwards. */
  epoch = 0;
  private journal: Journal | null = null;
  private readonly getsSeen = new Map<string, number>();
  private listener: EventListener | null = null;

  constructor(settings: Settings) {
    this.settings = settings;
  }

  /** Attaches the journal once it was read; an empty one gets its first line. */
  attach(journal: Journal): void {
    this.journal = journal;
    if (journal.bytes === 0) journal.append(openLine());
  }

  /** From here on the listener is told of every event, of those that a sandbox before this one owed first. */
  attachListener(
    listener: EventListener,
    owed: { readonly from: number; readonly events: readonly EventRecord[] } | null,
  ): void {
    this.listener = listener;
    const sends = this.settings.webhookUrl !== null;
    if (sends !== (owed !== null)) this.journal?.append(hooksLine(sends ? this.state.events.end : null));
    for (const event of sends ? (owed?.events ?? []) : []) listener.add(event);
  }

  /** Other settings from here on; a webhook address only gets what happens after it was given. */
  configure(settings: Settings): void {
    const [before, after] = [this.settings.webhookUrl !== null, settings.webhookUrl !== null];
    this.settings = settings;
    if (before !== after) this.journal?.append(hooksLine(after ? this.state.events.end : null));
  }

  /** The event needs no more tries, also after a restart. */
  eventDone(event: EventRecord): void {
    this.journal?.append(hookedLine(event.seq));
  }

  /** A call has come in: counts it for its key and decides which fault hits it. */
  arrive(call: Call): Fault {
    this.settleDue();
    const { key } = call;
    const entry = key === null ? null : this.keys.entry(key, this.clock.nowS());
    if (entry !== null) entry.seen++;
    const queued = this.queue.take({
      method: call.method,
      path: call.path,
      key,
      metadata: () => this.metadataOf(call),
    });
    const fault = queued ?? this.draw(call, entry);
    if (key !== null && entry !== null && (entry.seen > 1 || fault.name !== 'ok'))
      this.journal?.append(seenLine(key, entry));
    return fault;
  }

  /** Answers a reading call. */
  read(call: Call): Reply {
    if (call.route.kind !== 'read') return refusal(apiError());
    this.settleDue();
    const result = answerRead(call.route.name, call.form.root, call.route.id, this.state);
    if (result.kind === 'refused') return refusal(result.error);
    return { status: 200, body: result.body, origin: 'executed' };
  }

  /** Looks the key up and checks the parameters; from `started` on the result will be stored. */
  begin(call: Call): Begun {
    const { route, key } = call;
    if (route.kind !== 'write') return { kind: 'reply', reply: this.read(call) };
    this.settleDue();
    const nowS = this.clock.nowS();
    const entry = key === null ? null : this.keys.entry(key, nowS);
    const fingerprint = entry === null ? '' : fingerprintOf(call.method, call.path, canonicalText(call.form));
    if (key !== null && entry !== null) {
      const verdict = this.keys.judge(entry, fingerprint);
      if (verdict.kind === 'replay') return { kind: 'reply', reply: replyOf(verdict.answer, 'replayed') };
      if (verdict.kind === 'mismatch') return { kind: 'reply', reply: refusal(idempotencyMismatch(key)) };
      if (verdict.kind === 'in_use') return { kind: 'reply', reply: refusal(keyInUse(key)) };
    }
    const prepared = prepareWrite(route.name, call.form.root, route.id, this.state);
    if (prepared.kind === 'refused') return { kind: 'reply', reply: refusal(prepared.error) };
    if (entry !== null) this.keys.start(entry, fingerprint, nowS);
    return { kind: 'started', started: { call, entry, prepared, epoch: this.epoch } };
  }

  /**
   * Executes what `begin` started, stores and journals the result. Neither the answer nor a replay of it may be
   * sent before `whenWritten` calls back.
   */
  finish(started: Started, mode: FinishMode, fault: Fault): Reply {
    const { entry, call } = started;
    const effect: Effect =
      mode === 'only_500'
        ? { changes: NO_CHANGES, answer: STORED_500 }
        : started.prepared.act({
            nowS: this.clock.nowS(),
            key: call.key,
            forced: forcedBy(fault, this.settings, this.clock.nowMs()),
            state: this.state,
          });
    const answer = mode === 'act' ? effect.answer : STORED_500;
    const atS = entry?.storedAtS ?? this.clock.nowS();
    const events = this.put(effect.changes, atS);
    if (entry !== null && call.key !== null) {
      entry.answer = answer;
      entry.phase = 'done';
      this.journal?.append(doneLine(call.key, entry, effect.changes, answer));
    } else if (effect.changes.length > 0) {
      this.journal?.append(changeLine(effect.changes, atS));
    }
    this.tell(events);
    return replyOf(answer, 'executed');
  }

  /** A line that another PSP's side keeps in the same journal. */
  append(line: string): void {
    this.journal?.append(line);
  }

  /** Calls back once everything done so far is in the journal. */
  whenWritten(callback: () => void): void {
    if (this.journal === null) callback();
    else this.journal.whenWritten(callback);
  }

  /** Like `whenWritten`, and not before the webhooks that are to come before the answer. */
  whenAnswerable(callback: () => void): void {
    if (this.listener === null) this.whenWritten(callback);
    else this.listener.whenEarlySent(() => this.whenWritten(callback));
  }

  /** Moves sandbox time forward: pending payments end, old keys are pruned. Returns how many keys. */
  advance(ms: number): number {
    this.clock.advance(ms);
    this.journal?.append(clockLine(this.clock.offsetMs));
    this.settleDue();
    return this.keys.prune(this.clock.nowS());
  }

  /** Changes that no call under /v1/ makes: the admin's, and those that come with time. */
  change(changes: readonly Change[]): void {
    const atS = this.clock.nowS();
    const events = this.put(changes, atS);
    this.journal?.append(changeLine(changes, atS));
    this.tell(events);
  }

  /** Puts money of the platform's own into the balance. */
  topUp(topUp: TopUp): void {
    this.state.topUp(topUp);
    this.journal?.append(topUpLine(topUp));
  }

  /** Forgets all objects, keys and queued faults, and empties the journal; settings and time stay. */
  reset(): void {
    this.epoch++;
    this.state.clear();
    this.keys.clear();
    this.queue.clear();
    this.getsSeen.clear();
    this.listener?.clear();
    this.journal?.truncate();
    this.journal?.append(openLine());
    if (this.settings.webhookUrl !== null) this.journal?.append(hooksLine(0));
    if (this.clock.offsetMs > 0) this.journal?.append(clockLine(this.clock.offsetMs));
  }

  /** Whatever changes by itself and whose time has come: payments and refunds end, transfers come back. */
  settleDue(): void {
    const nowMs = this.clock.nowMs();
    for (let due = this.state.takeDue(nowMs); due !== null; due = this.state.takeDue(nowMs))
      this.change(this.settled(due));
  }

  private put(changes: readonly Change[], atS: number): readonly EventRecord[] {
    if (changes.length === 1) return this.state.put(changes[0]!, atS);
    return changes.flatMap((change) => this.state.put(change, atS));
  }

  /** After the journal line, so that whoever sends waits for it. */
  private tell(events: readonly EventRecord[]): void {
    if (this.listener === null) return;
    for (const event of events) this.listener.add(event);
  }

  private settled(due: Timed): readonly Change[] {
    switch (due.kind) {
      case 'intent':
        return [{ kind: 'intent', record: settleIntent(due.record) }];
      case 'refund':
        return refundChanges(this.state, due.record, settleRefund(due.record));
      case 'transfer':
        return [{ kind: 'transfer', record: undoTransfer(due.record, this.clock.nowS()) }];
    }
  }

  /** The seeded fault of a GET, drawn by its address and how often that was seen. */
  drawRead(url: string): Fault {
    const { getRates, seed } = this.settings;
    if (Object.keys(getRates).length === 0) return { name: 'ok' };
    if (this.getsSeen.size >= MAX_GET_COUNTERS) this.getsSeen.clear();
    const seen = (this.getsSeen.get(url) ?? 0) + 1;
    this.getsSeen.set(url, seen);
    return drawFault(getRates, seed, `GET ${url}`, seen);
  }

  private draw(call: Call, entry: KeyEntry | null): Fault {
    const { rates, seed, maxFaultsPerKey } = this.settings;
    if (call.method === 'GET') return this.drawRead(call.url);
    if (entry === null || call.key === null || entry.faults >= maxFaultsPerKey) return { name: 'ok' };
    if (Object.keys(rates).length === 0) return { name: 'ok' };
    const fault = drawFault(rates, seed, call.key, entry.seen);
    if (fault.name !== 'ok') entry.faults++;
    return fault;
  }

  /** The metadata a request carries, or that of the object it names. */
  private metadataOf(call: Call): Readonly<Record<string, string>> {
    const given = call.form.root.get('metadata');
    const own =
      given instanceof Map
        ? Object.fromEntries(
            [...given].filter((pair): pair is [string, string] => typeof pair[1] === 'string'),
          )
        : {};
    const found = call.route.id === null ? null : this.state.find(call.route.id);
    if (found === null || found.kind === 'dispute') return own;
    return { ...(JSON.parse(found.record.metadataJson) as Record<string, string>), ...own };
  }
}

const STORED_500: Answer = { status: 500, error: apiError(), shown: null, expansion: 'none' };

/** An error that nothing was stored of. */
export function refusal(error: StripeError): Reply {
  return { status: error.status, body: renderError(error, null), origin: 'refused' };
}

function replyOf(answer: Answer, origin: 'executed' | 'replayed'): Reply {
  const { status, error, shown, expansion } = answer;
  if (error !== null) return { status, body: renderError(error, shown), origin };
  return { status, body: shown === null ? '{}' : renderShown(shown, expansion), origin };
}
