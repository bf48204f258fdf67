/**
 * Carries out Adyen's calls: idempotency around the operations, every change journalled in the turn it is made.
 * Clock, settings, fault lists and journal are those of the whole sandbox. Knows no sockets and no time-outs.
 */
import type { Engine, FinishMode, Reply } from '../engine.ts';
import { drawFault, type Fault } from '../faults.ts';
import { adyenLine } from '../journal-lines.ts';
import { errorText, INTERNAL_ERROR, KEY_IN_USE, refusal } from './answers.ts';
import {
  type Body,
  type Effect,
  type Forced,
  objectOf,
  type Prepared,
  prepareWrite,
  surfaceOf,
  textOf,
  type WriteRoute,
} from './operations.ts';
import { type AdyenEvent, type AdyenRecord, type Change, settleRecord } from './records.ts';
import { AdyenState } from './state.ts';
import { refusalOfFailure } from './test-tokens.ts';

/** A writing call after authorization. */
export interface AdyenCall {
  readonly path: string;
  readonly route: WriteRoute;
  readonly body: Body;
  /** The idempotency key; null without one. */
  readonly key: string | null;
}

/** A call whose execution has begun; its key is in use until it is finished. */
export interface AdyenStarted {
  readonly call: AdyenCall;
  readonly prepared: Extract<Prepared, { kind: 'ready' }>;
  readonly epoch: number;
}

export type AdyenBegun =
  | { readonly kind: 'reply'; readonly reply: Reply }
  | { readonly kind: 'started'; readonly started: AdyenStarted };

/** What the journal keeps of one change: the record, its events, and the key's answer, all in one line. */
type JournalEntry =
  | {
      readonly t: 'change';
      readonly record?: AdyenRecord | undefined;
      readonly events?: readonly AdyenEvent[] | undefined;
      readonly key?: string | undefined;
      readonly at?: number | undefined;
      readonly status?: number | undefined;
      readonly body?: string | undefined;
    }
  | { readonly t: 'seen'; readonly key: string; readonly seen: number; readonly faults: number };

export class AdyenEngine {
  readonly shared: Engine;
  readonly state = new AdyenState();

  constructor(shared: Engine) {
    this.shared = shared;
  }

  /** One line of the journal again, at start. */
  readonly rebuild = (value: unknown): void => {
    const entry = value as JournalEntry;
    if (entry.t === 'seen') {
      const key = this.state.key(entry.key, 0);
      key.seen = entry.seen;
      key.faults = entry.faults;
      return;
    }
    if (entry.record !== undefined) this.state.apply({ record: entry.record, events: entry.events ?? [] });
    if (entry.key === undefined) return;
    const key = this.state.key(entry.key, 0);
    key.seen = Math.max(key.seen, 1);
    key.startedMs = entry.at ?? 0;
    key.phase = 'done';
    key.answer = { status: entry.status ?? 0, body: entry.body ?? '' };
  };

  /** A writing call has come in: counts it for its key and decides which fault hits it. */
  arrive(call: AdyenCall): Fault {
    this.settleDue();
    const { key, path, body } = call;
    const entry = key === null ? null : this.state.key(key, this.nowMs());
    if (entry !== null) entry.seen++;
    const metadata = () => ({ ...textsOf(body.metadata), reference: textOf(body.reference) });
    const queued = this.shared.queue.take({ method: 'POST', path, key, metadata });
    const fault = queued ?? this.draw(call);
    if (key !== null && entry !== null && (entry.seen > 1 || fault.name !== 'ok'))
      this.record({ t: 'seen', key, seen: entry.seen, faults: entry.faults });
    return fault;
  }

  /** A reading call has come in: decides which fault hits it. */
  arriveToRead({ pathname, search }: URL): Fault {
    this.settleDue();
    const candidate = { method: 'GET', path: pathname, key: null, metadata: () => ({}) };
    return this.shared.queue.take(candidate) ?? this.shared.drawRead(pathname + search);
  }

  /** Looks the key up and checks the body; from `started` on the result will be stored. */
  begin(call: AdyenCall): AdyenBegun {
    this.settleDue();
    const surface = surfaceOf(call.route);
    const entry = call.key === null ? null : this.state.key(call.key, this.nowMs());
    // Adyen does not compare bodies: a key that was answered brings its first answer.
    if (entry !== null && entry.answer !== null)
      return { kind: 'reply', reply: { ...entry.answer, origin: 'replayed' } };
    if (entry?.phase === 'running') return { kind: 'reply', reply: refusal(KEY_IN_USE, surface) };
    const prepared = prepareWrite(call.route, call.body);
    if (prepared.kind === 'refused') return { kind: 'reply', reply: refusal(prepared.error, surface) };
    if (entry !== null) {
      entry.phase = 'running';
      entry.startedMs = this.nowMs();
    }
    return { kind: 'started', started: { call, prepared, epoch: this.shared.epoch } };
  }

  /** Executes what `begin` started, stores and journals the result. */
  finish({ call, prepared }: AdyenStarted, mode: FinishMode, fault: Fault): Reply {
    const nowMs = this.nowMs();
    const effect: Effect =
      mode === 'only_500'
        ? { change: null, ...this.stored500(call) }
        : prepared.act({
            state: this.state,
            nowMs,
            forced: this.forcedBy(fault),
            pendingUntilMs: nowMs + this.shared.settings.pendingMs,
          });
    const answer = mode === 'act' ? { status: effect.status, body: effect.body } : this.stored500(call);
    if (effect.change !== null) this.state.apply(effect.change);
    const entry = call.key === null ? null : this.state.key(call.key, nowMs);
    if (entry !== null) {
      entry.answer = answer;
      entry.phase = 'done';
    }
    this.record({
      t: 'change',
      record: effect.change?.record,
      events: effect.change?.events,
      ...(entry === null ? {} : { key: call.key ?? '', at: entry.startedMs, ...answer }),
    });
    return { ...answer, origin: 'executed' };
  }

  /** Something that the admin does to an object. */
  change(change: Change): void {
    this.state.apply(change);
    this.record({ t: 'change', record: change.record, events: change.events });
  }

  /** Ends everything whose waiting is over. */
  settleDue(): void {
    const nowMs = this.nowMs();
    for (let due = this.state.takeDue(nowMs); due !== null; due = this.state.takeDue(nowMs)) {
      const ended = settleRecord(due);
      if (ended !== null) this.change(ended);
    }
  }

  nowMs(): number {
    return this.shared.clock.nowMs();
  }

  private stored500(call: AdyenCall): { status: number; body: string } {
    return { status: INTERNAL_ERROR.status, body: errorText(INTERNAL_ERROR, surfaceOf(call.route)) };
  }

  private draw({ key }: AdyenCall): Fault {
    const { rates, seed, maxFaultsPerKey } = this.shared.settings;
    if (key === null || Object.keys(rates).length === 0) return { name: 'ok' };
    const entry = this.state.key(key, this.nowMs());
    if (entry.faults >= maxFaultsPerKey) return { name: 'ok' };
    const fault = drawFault(rates, seed, key, entry.seen);
    if (fault.name !== 'ok') entry.faults++;
    return fault;
  }

  private forcedBy(fault: Fault): Forced | null {
    const { settings } = this.shared;
    const atMs = this.nowMs() + (fault.ms ?? settings.pendingMs);
    switch (fault.name) {
      case 'decline':
        return { kind: 'declined', code: refusalOfFailure(fault.decline ?? settings.decline) };
      case 'pending_then_succeed':
        return { kind: 'settles', settle: { atMs, result: 'succeeded' } };
      case 'pending_then_fail':
        return { kind: 'settles', settle: { atMs, result: 'failed' } };
      default:
        return null;
    }
  }

  private record(entry: JournalEntry): void {
    this.shared.append(adyenLine(entry));
  }
}

function textsOf(value: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries(objectOf(value)).filter((pair): pair is [string, string] => typeof pair[1] === 'string'),
  );
}
