/**
 * How a call ends for the caller, given the fault that hit it (pure): a whole answer, a broken one, or none.
 */
import type { Call, FinishMode, Reply } from './engine.ts';
import { refusal } from './engine.ts';
import type { Fault } from './faults.ts';
import type { Settings } from './settings.ts';
import { apiError, expiredApiKey, keyInUse, notActivated, rateLimited } from './stripe-errors.ts';

/** @property headers further headers as name, value, name, value */
export type Ending =
  | { readonly kind: 'whole'; readonly reply: Reply; readonly headers: readonly string[] }
  | { readonly kind: 'truncated'; readonly reply: Reply }
  | { readonly kind: 'empty'; readonly reply: Reply }
  | { readonly kind: 'dripped'; readonly reply: Reply; readonly pauseMs: number }
  | { readonly kind: 'bad_gateway' }
  | { readonly kind: 'dropped' };

/** The ending of a call that a fault stops before anything is done; null when it is to be executed. */
export function endingBefore(call: Call, fault: Fault, settings: Settings, apiKey: string): Ending | null {
  switch (fault.name) {
    case 'drop_before_acting':
      return { kind: 'dropped' };
    case 'bad_gateway':
      return { kind: 'bad_gateway' };
    case 'rate_limited': {
      const seconds = String(fault.retryAfterS ?? settings.retryAfterS);
      const headers = ['retry-after', seconds, 'stripe-rate-limited-reason', 'global-rate'];
      return { kind: 'whole', reply: refusal(rateLimited()), headers };
    }
    case 'unauthorized':
      return whole(refusal(expiredApiKey(apiKey)));
    case 'not_activated':
      return whole(refusal(notActivated()));
    case 'key_in_use':
      return call.key === null ? null : whole(refusal(keyInUse(call.key)));
    case 'fail_500':
      // A POST gets its 500 from the engine, which stores it.
      return call.method === 'GET' ? whole(refusal(apiError())) : null;
    default:
      return null;
  }
}

/** The ending of a call that was executed (or read, or replayed) with `reply`. */
export function endingAfter(
  call: Pick<Call, 'method'>,
  reply: Reply,
  fault: Fault,
  settings: Settings,
): Ending {
  switch (fault.name) {
    case 'act_then_drop':
      return { kind: 'dropped' };
    case 'act_then_bad_gateway':
      return { kind: 'bad_gateway' };
    case 'act_then_truncate':
      return { kind: 'truncated', reply };
    case 'act_then_empty':
      return { kind: 'empty', reply };
    case 'act_then_drip':
      return { kind: 'dripped', reply, pauseMs: fault.ms ?? settings.dripMs };
    case 'act_then_500':
      return whole(call.method === 'GET' ? refusal(apiError()) : reply);
    default:
      return whole(reply);
  }
}

/** What the engine is to store. */
export function finishMode(fault: Fault): FinishMode {
  if (fault.name === 'fail_500') return 'only_500';
  return fault.name === 'act_then_500' ? 'act_stored_as_500' : 'act';
}

export function whole(reply: Reply): Ending {
  return { kind: 'whole', reply, headers: [] };
}
