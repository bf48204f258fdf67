/**
 * What the journal's lines mean: printing them, and rebuilding the sandbox from them.
 * One executed request is one line, so its money and its idempotency key are on disk together or not at all.
 */
import { OperatorError } from '../../core/errors.ts';
import type { Change, TopUp } from './balance.ts';
import type { SandboxClock } from './clock.ts';
import type { DisputeRecord } from './dispute.ts';
import type { EventRecord } from './events.ts';
import type { KeyEntry, KeyTable } from './idempotency.ts';
import type { ChargeRecord, IntentRecord } from './intent.ts';
import type { RefundRecord } from './refund.ts';
import { nameOf } from './shown.ts';
import type { SandboxState } from './state.ts';
import type { StripeError } from './stripe-errors.ts';
import type { TransferRecord } from './transfer.ts';
import type { Answer } from './write-call.ts';

/** Raised when a line means something else than before; an older file is then refused, not guessed at. */
const VERSION = 3;

/** A charge with its zeros left out. */
type PackedCharge = Omit<ChargeRecord, 'refunded' | 'disputed'> & {
  readonly refunded?: number | undefined;
  readonly disputed?: true | undefined;
};

/** An intent with its nulls left out. */
interface PackedIntent {
  readonly id: string;
  readonly seq: number;
  readonly at: number;
  readonly amount: number;
  readonly received?: number | undefined;
  readonly currency: string;
  readonly status: IntentRecord['status'];
  readonly capture: IntentRecord['captureMethod'];
  readonly pm?: string | undefined;
  readonly metadata: string;
  readonly group?: string | undefined;
  readonly key?: string | undefined;
  readonly failure?: IntentRecord['failure'] | undefined;
  readonly charges?: readonly PackedCharge[] | undefined;
  readonly settle?: IntentRecord['settle'] | undefined;
  readonly canceled?: IntentRecord['canceled'] | undefined;
  readonly extras?: IntentRecord['extras'] | undefined;
}

/** New objects and new versions, at most one of each kind; all but the intent are rare and stand as they are. */
interface PackedChanges {
  readonly pi?: PackedIntent | undefined;
  readonly re?: RefundRecord | undefined;
  readonly tr?: TransferRecord | undefined;
  readonly du?: DisputeRecord | undefined;
}

/** An answer: status, error, the object it shows (by name: the version is the newest at that line). */
interface PackedAnswer {
  readonly s: number;
  readonly e?: StripeError | undefined;
  readonly i?: string | undefined;
  readonly x?: 1 | undefined;
}

/**
 * open: the first line. done: a key's request was executed. change: a change without a key. top_up: money from
 * nowhere. seen: a key was seen again or hit by a fault. clock: the admin moved time. hooks: from which event on
 * webhooks are sent, null for none. hooked: an event that needs no more tries. adyen: Adyen's side, in its own words.
 */
type Line =
  | { readonly k: 'open'; readonly version: number }
  | (PackedChanges & {
      readonly k: 'done';
      readonly key: string;
      readonly fp: string;
      readonly at: number;
      readonly a: PackedAnswer;
    })
  | (PackedChanges & { readonly k: 'change'; readonly at: number })
  | { readonly k: 'top_up'; readonly currency: string; readonly amount: number; readonly at?: number }
  | { readonly k: 'seen'; readonly key: string; readonly n: number; readonly f: number }
  | { readonly k: 'clock'; readonly offset: number }
  | { readonly k: 'adyen'; readonly a: unknown }
  | { readonly k: 'hooks'; readonly from: number | null }
  | { readonly k: 'hooked'; readonly n: number };

export function openLine(): string {
  return print({ k: 'open', version: VERSION });
}

/** @param changes empty when the request changed nothing */
export function doneLine(key: string, entry: KeyEntry, changes: readonly Change[], answer: Answer): string {
  return print({
    k: 'done',
    key,
    fp: entry.fingerprint,
    at: entry.storedAtS,
    ...packChanges(changes),
    a: packAnswer(answer),
  });
}

/** @param atS seconds since 1970, sandbox time */
export function changeLine(changes: readonly Change[], atS: number): string {
  return print({ k: 'change', at: atS, ...packChanges(changes) });
}

export function topUpLine({ currency, amount, atMs }: TopUp): string {
  return print({ k: 'top_up', currency, amount, at: atMs });
}

export function seenLine(key: string, entry: KeyEntry): string {
  return print({ k: 'seen', key, n: entry.seen, f: entry.faults });
}

export function adyenLine(entry: unknown): string {
  return print({ k: 'adyen', a: entry });
}

/** @param from position of the first event to be sent; null when no more are sent */
export function hooksLine(from: number | null): string {
  return print({ k: 'hooks', from });
}

/** @param seq position of an event that needs no more tries */
export function hookedLine(seq: number): string {
  return print({ k: 'hooked', n: seq });
}

export function clockLine(offsetMs: number): string {
  return print({ k: 'clock', offset: offsetMs });
}

/** Rebuilds the sandbox from a journal's lines, one by one in their order. */
export class Rebuild {
  private readonly state: SandboxState;
  private readonly keys: KeyTable;
  private readonly clock: SandboxClock;
  private readonly adyen: (entry: unknown) => void;
  private offsetMs = 0;
  private newestS = 0;
  /** One copy of each text that many intents share; a parsed line has its own. */
  private readonly texts = new Texts();
  /** Events that need no more tries, by position. */
  private readonly hooked = new Set<number>();
  private hooksFrom: number | null = null;
  /** How many lines were read. */
  count = 0;

  constructor(state: SandboxState, keys: KeyTable, clock: SandboxClock, adyen: (entry: unknown) => void) {
    this.adyen = adyen;
    this.state = state;
    this.keys = keys;
    this.clock = clock;
  }

  /** @throws OperatorError `sandbox_journal_foreign` when the file is no journal of this version */
  readonly apply = (value: unknown): void => {
    const line = value as Line;
    if (this.count++ === 0 && (line.k !== 'open' || line.version !== VERSION)) throw foreign();
    switch (line.k) {
      case 'open':
        return;
      case 'clock':
        this.offsetMs = line.offset;
        return;
      case 'adyen':
        this.adyen(line.a);
        return;
      case 'change':
        this.put(line, line.at, null);
        return;
      case 'hooks':
        this.hooksFrom = line.from;
        return;
      case 'hooked':
        this.hooked.add(line.n);
        return;
      case 'top_up':
        this.state.topUp({ currency: line.currency, amount: line.amount, atMs: line.at ?? 0 });
        return;
      case 'seen': {
        const entry = this.keys.entry(line.key, 0);
        entry.seen = line.n;
        entry.faults = line.f;
        return;
      }
      case 'done': {
        this.put(line, line.at, line.key);
        this.newestS = Math.max(this.newestS, line.at);
        const entry = this.keys.entry(line.key, 0);
        // A second execution under one key means that the first was pruned in between: counting began anew.
        entry.seen = entry.phase === 'done' ? 1 : Math.max(entry.seen, 1);
        entry.fingerprint = line.fp;
        entry.storedAtS = line.at;
        entry.phase = 'done';
        entry.answer = this.unpackAnswer(line.a);
        return;
      }
      default:
        throw foreign();
    }
  };

  /** After the last line. */
  finish(): void {
    this.clock.restore(this.offsetMs, this.newestS);
    this.keys.prune(this.clock.nowS());
  }

  /** What was not sent yet when the sandbox ended; null when nothing was to be sent. */
  unsent(): { readonly from: number; readonly events: readonly EventRecord[] } | null {
    if (this.hooksFrom === null) return null;
    const { events } = this.state;
    const found: EventRecord[] = [];
    for (let seq = Math.max(events.first, this.hooksFrom); seq < events.end; seq++)
      if (!this.hooked.has(seq)) found.push(events.at(seq));
    return { from: this.hooksFrom, events: found };
  }

  /**
   * In the order in which the call made its changes, or the events would get other positions.
   * @param key of the line, shared with the intent that it created
   */
  private put(packed: PackedChanges, atS: number, key: string | null): void {
    if (packed.re !== undefined) this.putOne({ kind: 'refund', record: packed.re }, atS);
    if (packed.tr !== undefined) this.putOne({ kind: 'transfer', record: packed.tr }, atS);
    if (packed.du !== undefined) this.putOne({ kind: 'dispute', record: packed.du }, atS);
    if (packed.pi === undefined) return;
    const intent = unpack(packed.pi, this.texts);
    this.putOne({ kind: 'intent', record: intent.key === key ? { ...intent, key } : intent }, atS);
  }

  private putOne(change: Change, atS: number): void {
    this.newestS = Math.max(this.newestS, change.record.created, atS);
    this.state.put(change, atS);
  }

  private unpackAnswer(packed: PackedAnswer): Answer {
    return {
      status: packed.s,
      error: packed.e ?? null,
      shown: packed.i === undefined ? null : this.state.find(packed.i),
      expansion: packed.x === 1 ? 'latest_charge' : 'none',
    };
  }
}

/** A request changes at most one object of a kind. */
function packChanges(changes: readonly Change[]): PackedChanges {
  const packed: { -readonly [K in keyof PackedChanges]: PackedChanges[K] } = {};
  for (const change of changes) {
    switch (change.kind) {
      case 'intent':
        packed.pi = pack(change.record);
        break;
      case 'refund':
        packed.re = change.record;
        break;
      case 'transfer':
        packed.tr = change.record;
        break;
      case 'dispute':
        packed.du = change.record;
        break;
    }
  }
  return packed;
}

function packAnswer(answer: Answer): PackedAnswer {
  return {
    s: answer.status,
    e: answer.error ?? undefined,
    i: answer.shown === null ? undefined : nameOf(answer.shown),
    x: answer.expansion === 'latest_charge' ? 1 : undefined,
  };
}

function pack(intent: IntentRecord): PackedIntent {
  return {
    id: intent.id,
    seq: intent.seq,
    at: intent.created,
    amount: intent.amount,
    received: intent.received === 0 ? undefined : intent.received,
    currency: intent.currency,
    status: intent.status,
    capture: intent.captureMethod,
    pm: intent.paymentMethod ?? undefined,
    metadata: intent.metadataJson,
    group: intent.transferGroup ?? undefined,
    key: intent.key ?? undefined,
    failure: intent.failure ?? undefined,
    charges: intent.charges.length === 0 ? undefined : intent.charges.map(packCharge),
    settle: intent.settle ?? undefined,
    canceled: intent.canceled ?? undefined,
    extras: intent.extras ?? undefined,
  };
}

function packCharge(charge: ChargeRecord): PackedCharge {
  return {
    ...charge,
    refunded: charge.refunded === 0 ? undefined : charge.refunded,
    disputed: charge.disputed ? true : undefined,
  };
}

class Texts {
  private readonly known = new Map<string, string>();

  share<T extends string>(text: T): T {
    const found = this.known.get(text);
    if (found === undefined) this.known.set(text, text);
    return (found ?? text) as T;
  }
}

function unpack(packed: PackedIntent, texts: Texts): IntentRecord {
  return {
    id: packed.id,
    seq: packed.seq,
    created: packed.at,
    amount: packed.amount,
    received: packed.received ?? 0,
    currency: texts.share(packed.currency),
    status: texts.share(packed.status),
    captureMethod: texts.share(packed.capture),
    paymentMethod: packed.pm === undefined ? null : texts.share(packed.pm),
    metadataJson: packed.metadata,
    transferGroup: packed.group ?? null,
    key: packed.key ?? null,
    failure: packed.failure ?? null,
    charges: (packed.charges ?? []).map((charge) => ({
      ...charge,
      refunded: charge.refunded ?? 0,
      disputed: charge.disputed ?? false,
      paymentMethod: texts.share(charge.paymentMethod),
    })),
    settle: packed.settle ?? null,
    canceled: packed.canceled ?? null,
    extras: packed.extras ?? null,
  };
}

function print(line: Line): string {
  return JSON.stringify(line);
}

function foreign(): OperatorError {
  return new OperatorError(
    'sandbox_journal_foreign',
    'The file given as the sandbox journal was not written by this version of the sandbox; give another path.',
    { kind: 'failed' },
  );
}
