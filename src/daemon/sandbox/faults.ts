/**
 * Which fault hits a request: an exact list queued by the admin first, then a seeded draw.
 * The draw is a hash of seed, idempotency key and how often the key was seen, so it depends on no timing and
 * no order. Only decides; it does nothing to a request itself.
 */
import { hash } from 'node:crypto';
import type { FailureName } from './test-cards.ts';

/**
 * act_…: the request is executed first. drop: the connection is reset. truncate: half the body, then reset.
 * empty: 200 with no body. drip: the body in small pieces. 500 and fail_500: stored and replayed, as Stripe
 * does. bad_gateway: 502 with HTML. hang_then_act: not looked at until `hang_ms` have passed, then executed.
 * not_activated: refused because the method is not switched on in our account; nothing at Adyen.
 * slow: executed after `slow_ms`, the key being in use all the time. decline, pending: what becomes of the money
 * (a card declines, a refund fails, a transfer finds the balance empty; a transfer is never pending). undo_later: a
 * refund fails after it succeeded, a transfer is reversed, `pending_ms` later; nothing for a charge.
 */
export const FAULT_NAMES = [
  'act_then_drop',
  'act_then_truncate',
  'act_then_empty',
  'act_then_drip',
  'act_then_500',
  'act_then_bad_gateway',
  'drop_before_acting',
  'fail_500',
  'bad_gateway',
  'hang_then_act',
  'slow',
  'rate_limited',
  'key_in_use',
  'unauthorized',
  'not_activated',
  'decline',
  'pending_then_succeed',
  'pending_then_fail',
  'undo_later',
] as const;

type FaultName = (typeof FAULT_NAMES)[number];

/**
 * One decision. `ok` means no fault. The other fields overrule the configuration for this one request.
 * @property ms how long, for hang_then_act, slow, act_then_drip (per piece), the pending ones and undo_later
 */
export interface Fault {
  readonly name: FaultName | 'ok';
  readonly ms?: number | undefined;
  readonly retryAfterS?: number | undefined;
  readonly decline?: FailureName | undefined;
}

/** Probabilities from 0 to 1, summing to 1 at most. */
export type FaultRates = Readonly<Partial<Record<FaultName, number>>>;

/** Which requests a queued list is for; what is left out matches everything. */
export interface FaultMatch {
  readonly key?: string | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly method?: 'GET' | 'POST' | undefined;
  readonly pathPrefix?: string | undefined;
}

/** A request as far as faults look at it. `metadata` is asked for only when a rule needs it. */
export interface FaultCandidate {
  readonly method: string;
  readonly path: string;
  readonly key: string | null;
  readonly metadata: () => Readonly<Record<string, string>>;
}

/** A queued list: its faults hit the next matching requests one by one, `repeat` times over. */
interface Rule {
  readonly id: number;
  readonly match: FaultMatch;
  readonly sequence: readonly Fault[];
  readonly total: number;
  used: number;
}

/** More lists than any test needs; each is looked at for each request. */
export const MAX_RULES = 10_000;

const NO_FAULT: Fault = { name: 'ok' };

/** The admin's queued lists. The oldest list that matches and has something left decides. */
export class FaultQueue {
  private rules: Rule[] = [];
  private nextId = 1;

  /** Adds a list; returns its number, or null when there are MAX_RULES already. */
  add(match: FaultMatch, sequence: readonly Fault[], repeat: number): number | null {
    if (this.rules.length >= MAX_RULES) return null;
    const id = this.nextId++;
    this.rules.push({ id, match, sequence, total: sequence.length * repeat, used: 0 });
    return id;
  }

  /** The next fault of the first list that matches; null when none does. Uses it up. */
  take(candidate: FaultCandidate): Fault | null {
    const rule = this.rules.find((one) => matches(one.match, candidate));
    if (rule === undefined) return null;
    const fault = rule.sequence[rule.used % rule.sequence.length] ?? NO_FAULT;
    rule.used++;
    if (rule.used >= rule.total) this.rules = this.rules.filter((one) => one !== rule);
    return fault;
  }

  list(): { id: number; match: FaultMatch; left: number; next: string }[] {
    return this.rules.map((rule) => ({
      id: rule.id,
      match: rule.match,
      left: rule.total - rule.used,
      next: (rule.sequence[rule.used % rule.sequence.length] ?? NO_FAULT).name,
    }));
  }

  clear(): void {
    this.rules = [];
  }
}

/**
 * The seeded draw: the same for the same seed, identity and count.
 * @param identity the idempotency key of a POST, method and address of a GET
 * @param seen how often that identity was seen, from 1
 */
export function drawFault(rates: FaultRates, seed: number, identity: string, seen: number): Fault {
  const name = drawByRate(FAULT_NAMES, rates, `${seed}\n${identity}\n${seen}`);
  return name === null ? NO_FAULT : { name };
}

/** One of the names, as often as the rates say, or null: the same for the same text. */
export function drawByRate<T extends string>(
  names: readonly T[],
  rates: Readonly<Partial<Record<T, number>>>,
  text: string,
): T | null {
  let rest = unitInterval(text);
  for (const name of names) {
    const rate = rates[name] ?? 0;
    if (rest < rate) return name;
    rest -= rate;
  }
  return null;
}

/** A number in [0, 1) from the first 52 bits of a SHA-256. */
function unitInterval(text: string): number {
  return Number.parseInt(hash('sha256', text).slice(0, 13), 16) / 2 ** 52;
}

function matches(match: FaultMatch, candidate: FaultCandidate): boolean {
  if (match.key !== undefined && match.key !== candidate.key) return false;
  if (match.method !== undefined && match.method !== candidate.method) return false;
  if (match.pathPrefix !== undefined && !candidate.path.startsWith(match.pathPrefix)) return false;
  if (match.metadata === undefined) return true;
  const metadata = candidate.metadata();
  return Object.entries(match.metadata).every(([name, value]) => metadata[name] === value);
}
