/**
 * What every writing call is made of: checked first (nothing is stored of a refusal), then acted on once.
 * Types only, shared by the files of calls, one per resource.
 */
import type { Change } from './balance.ts';
import type { Forced } from './forced.ts';
import type { Expansion } from './render.ts';
import type { Shown } from './shown.ts';
import type { SandboxState } from './state.ts';
import type { StripeError } from './stripe-errors.ts';

/** What was answered, by reference to a version of an object; rendered when sent, and again when replayed. */
export interface Answer {
  readonly status: number;
  readonly error: StripeError | null;
  readonly shown: Shown | null;
  readonly expansion: Expansion;
}

/** What a call did: new objects and new versions (none when it changed nothing), and the answer. */
export interface Effect {
  readonly changes: readonly Change[];
  readonly answer: Answer;
}

/**
 * @property nowS seconds since 1970, sandbox time
 * @property forced what a fault made of the call
 */
export interface ActContext {
  readonly nowS: number;
  readonly key: string | null;
  readonly forced: Forced;
  readonly state: SandboxState;
}

export type Prepared =
  | { readonly kind: 'refused'; readonly error: StripeError }
  | { readonly kind: 'ready'; readonly act: (context: ActContext) => Effect };

export const NO_CHANGES: readonly Change[] = [];

/** The call was executed and came to nothing: the refusal is stored under the key. */
export function refusedEffect(error: StripeError, shown: Shown | null = null): Effect {
  return { changes: NO_CHANGES, answer: { status: error.status, error, shown, expansion: 'none' } };
}

/** The call made these changes and shows one object. */
export function shownEffect(changes: readonly Change[], shown: Shown): Effect {
  return { changes, answer: { status: 200, error: null, shown, expansion: 'none' } };
}
