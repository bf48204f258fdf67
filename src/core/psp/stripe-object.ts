/**
 * What every object of ours at Stripe has in common: its name, its kind, and our references in its metadata.
 * Decides only; an object that is not ours or makes no sense is doubt, never a result.
 */
import { isJsonObject, type JsonObject, textOrNull } from './json.ts';
import type { Reply } from './psp.ts';

/**
 * Our references on every object at Stripe. The key is there because it holds the book's random id: operation ids
 * alone could meet again where two books share a Stripe account.
 */
export type References = {
  readonly paygate_operation: string;
  readonly paygate_attempt: string;
  readonly paygate_key: string;
};

/** True when the object carries our references of exactly this attempt. */
export function carriesReferences(object: unknown, references: References): boolean {
  if (!isJsonObject(object) || !isJsonObject(object.metadata)) return false;
  const { metadata } = object;
  return (
    metadata.paygate_operation === references.paygate_operation &&
    metadata.paygate_attempt === references.paygate_attempt &&
    metadata.paygate_key === references.paygate_key
  );
}

/** The references in stored parameters; null when one of them is missing. */
export function readReferences(metadata: unknown): References | null {
  if (!isJsonObject(metadata)) return null;
  const { paygate_operation, paygate_attempt, paygate_key } = metadata;
  const known =
    typeof paygate_operation === 'string' &&
    typeof paygate_attempt === 'string' &&
    typeof paygate_key === 'string';
  return known ? { paygate_operation, paygate_attempt, paygate_key } : null;
}

export type OwnObject =
  | { readonly kind: 'ours'; readonly id: string; readonly object: JsonObject }
  | { readonly kind: 'senseless'; readonly reply: Reply };

/** The object when it is of the named kind and carries the references of this attempt. */
export function readOwnObject(
  object: unknown,
  name: 'payment_intent' | 'refund' | 'transfer',
  references: References,
): OwnObject {
  if (!isJsonObject(object)) return { kind: 'senseless', reply: senseless('the answer is not an object') };
  const id = textOrNull(object.id);
  if (object.object !== name || id === null)
    return { kind: 'senseless', reply: senseless(`the answer is not a ${name}`) };
  if (!carriesReferences(object, references))
    return { kind: 'senseless', reply: senseless(`${id} carries the references of another attempt`) };
  return { kind: 'ours', id, object };
}

/** Sending again would bring the same object back; only looking at the account can tell. */
export function senseless(reason: string): Reply {
  return { kind: 'unknown', reason, next: 'enquire', retryAfterMs: null };
}
