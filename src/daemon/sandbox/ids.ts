/**
 * Names for the sandbox's objects. A name carries the object's position; a charge's and a reversal's name carry
 * the object they stand on: none of them needs an index. The part in the middle is random per start: two
 * sandboxes never share a name.
 */
import { randomBytes } from 'node:crypto';

const SEQ_DIGITS = 8;
const INSTANCE_DIGITS = 13;

/** Stripe's prefixes: payment intent, refund, transfer, dispute. */
export type ObjectPrefix = 'pi' | 're' | 'tr' | 'du';

const PATTERN = /^(pi|re|tr|du)_3[0-9a-z]{21}00$/;
const PREFIX_LENGTH = 2;

/** 13 characters, different for each start of a sandbox. */
export function newInstance(): string {
  return randomBytes(16)
    .readBigUInt64BE()
    .toString(36)
    .padStart(INSTANCE_DIGITS, '0')
    .slice(-INSTANCE_DIGITS);
}

/** `seq` counts from 0 up to 36^8. */
export function objectId(prefix: ObjectPrefix, instance: string, seq: number): string {
  return `${prefix}_3${instance}${seq.toString(36).padStart(SEQ_DIGITS, '0')}00`;
}

/** The position in an object's name, or null for a name that no sandbox gives to this kind of object. */
export function seqOfObject(prefix: ObjectPrefix, id: string): number | null {
  if (!id.startsWith(prefix) || !PATTERN.test(id)) return null;
  return Number.parseInt(id.slice(PREFIX_LENGTH + 2 + INSTANCE_DIGITS, -2), 36);
}

/** `number` is the charge's place on its intent, from 0. */
export function chargeId(ofIntent: string, number: number): string {
  return `ch_${ofIntent.slice(3, -2)}${placeOf(number)}`;
}

/** The intent's name in a charge's name, and the charge's place there; null for a name that is no charge's. */
export function intentOfCharge(id: string): { readonly intent: string; readonly number: number } | null {
  const match = /^ch_(3[0-9a-z]{21})([0-9a-z]{2})$/.exec(id);
  const [, middle, place] = match ?? [];
  if (middle === undefined || place === undefined) return null;
  return { intent: `pi_${middle}00`, number: Number.parseInt(place, 36) - 1 };
}

/** `number` is the reversal's place on its transfer, from 0. */
export function reversalId(ofTransfer: string, number: number): string {
  return `trr_${ofTransfer.slice(3, -2)}${placeOf(number)}`;
}

/** The transfer's name in a reversal's name, and the reversal's place there; null for a name that is none. */
export function transferOfReversal(
  id: string,
): { readonly transfer: string; readonly number: number } | null {
  const match = /^trr_(3[0-9a-z]{21})([0-9a-z]{2})$/.exec(id);
  const [, middle, place] = match ?? [];
  if (middle === undefined || place === undefined) return null;
  return { transfer: `tr_${middle}00`, number: Number.parseInt(place, 36) - 1 };
}

/** `count` is the number of the request since the start. */
export function requestId(instance: string, count: number): string {
  return `req_${instance.slice(0, 6)}${count.toString(36).padStart(8, '0')}`;
}

function placeOf(number: number): string {
  return (number + 1).toString(36).padStart(2, '0');
}
