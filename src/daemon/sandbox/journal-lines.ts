/**
 * What the journal's lines mean: printing them, and rebuilding the sandbox from them.
 * One executed request is one line, so its money and its idempotency key are on disk together or not at all.
 */
import { OperatorError } from '../../core/errors.ts';
import type { SandboxClock } from './clock.ts';
import type { KeyEntry, KeyTable } from './idempotency.ts';
import type { ChargeRecord, IntentRecord } from './intent.ts';
import type { Answer } from './operations.ts';
import type { SandboxState } from './state.ts';
import type { StripeError } from './stripe-errors.ts';

/** Raised when a line means something else than before; an older file is then refused, not guessed at. */
const VERSION = 1;

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
  readonly charges?: readonly ChargeRecord[] | undefined;
  readonly settle?: IntentRecord['settle'] | undefined;
  readonly canceled?: IntentRecord['canceled'] | undefined;
  readonly extras?: IntentRecord['extras'] | undefined;
}

/** An answer: status, error, the intent it shows (by name: the version is the newest at that line). */
interface PackedAnswer {
  readonly s: number;
  readonly e?: StripeError | undefined;
  readonly i?: string | undefined;
  readonly x?: 1 | undefined;
}

/**
 * open: the first line. done: a key's request was executed. intent: a change without a key.
 * seen: a key was seen again or hit by a fault. clock: the admin moved time. adyen: Adyen's side, in its own words.
 */
type Line =
  | { readonly k: 'open'; readonly version: number }
  | {
      readonly k: 'done';
      readonly key: string;
      readonly fp: string;
      readonly at: number;
      readonly pi?: PackedIntent | undefined;
      readonly a: PackedAnswer;
    }
  | { readonly k: 'intent'; readonly pi: PackedIntent }
  | { readonly k: 'seen'; readonly key: string; readonly n: number; readonly f: number }
  | { readonly k: 'clock'; readonly offset: number }
  | { readonly k: 'adyen'; readonly a: unknown };

export function openLine(): string {
  return print({ k: 'open', version: VERSION });
}

/** @param intent the new version, null when the request changed none */
export function doneLine(key: string, entry: KeyEntry, intent: IntentRecord | null, answer: Answer): string {
  const pi = intent === null ? undefined : pack(intent);
  return print({
    k: 'done',
    key,
    fp: entry.fingerprint,
    at: entry.storedAtS,
    pi,
    a: packAnswer(answer),
  });
}

export function intentLine(intent: IntentRecord): string {
  return print({ k: 'intent', pi: pack(intent) });
}

export function seenLine(key: string, entry: KeyEntry): string {
  return print({ k: 'seen', key, n: entry.seen, f: entry.faults });
}

export function adyenLine(entry: unknown): string {
  return print({ k: 'adyen', a: entry });
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
      case 'intent':
        this.put(line.pi);
        return;
      case 'seen': {
        const entry = this.keys.entry(line.key, 0);
        entry.seen = line.n;
        entry.faults = line.f;
        return;
      }
      case 'done': {
        if (line.pi !== undefined)
          this.put({ ...line.pi, key: line.key === line.pi.key ? line.key : line.pi.key });
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

  private put(packed: PackedIntent): void {
    const intent = unpack(packed, this.texts);
    this.newestS = Math.max(this.newestS, intent.created);
    this.state.put(intent);
  }

  private unpackAnswer(packed: PackedAnswer): Answer {
    return {
      status: packed.s,
      error: packed.e ?? null,
      intent: packed.i === undefined ? null : this.state.find(packed.i),
      expansion: packed.x === 1 ? 'latest_charge' : 'none',
    };
  }
}

function packAnswer(answer: Answer): PackedAnswer {
  return {
    s: answer.status,
    e: answer.error ?? undefined,
    i: answer.intent?.id,
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
    charges: intent.charges.length === 0 ? undefined : intent.charges,
    settle: intent.settle ?? undefined,
    canceled: intent.canceled ?? undefined,
    extras: intent.extras ?? undefined,
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
