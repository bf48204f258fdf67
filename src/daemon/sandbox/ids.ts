/**
 * Names for the sandbox's objects. An intent's name carries its position, a charge's name its intent,
 * so neither needs an index. The part in the middle is random per start: two sandboxes never share a name.
 */
import { randomBytes } from 'node:crypto';

const SEQ_DIGITS = 8;
const INSTANCE_DIGITS = 13;
const INTENT_PATTERN = /^pi_3[0-9a-z]{21}00$/;

/** 13 characters, different for each start of a sandbox. */
export function newInstance(): string {
  return randomBytes(16)
    .readBigUInt64BE()
    .toString(36)
    .padStart(INSTANCE_DIGITS, '0')
    .slice(-INSTANCE_DIGITS);
}

/** `seq` counts from 0 up to 36^8. */
export function intentId(instance: string, seq: number): string {
  return `pi_3${instance}${seq.toString(36).padStart(SEQ_DIGITS, '0')}00`;
}

/** The position in an intent's name, or null for a name that no sandbox gives. */
export function seqOfIntent(id: string): number | null {
  if (!INTENT_PATTERN.test(id)) return null;
  return Number.parseInt(id.slice(4 + INSTANCE_DIGITS, -2), 36);
}

/** `number` is the charge's place on its intent, from 0. */
export function chargeId(ofIntent: string, number: number): string {
  return `ch_${ofIntent.slice(3, -2)}${(number + 1).toString(36).padStart(2, '0')}`;
}

/** `count` is the number of the request since the start. */
export function requestId(instance: string, count: number): string {
  return `req_${instance.slice(0, 6)}${count.toString(36).padStart(8, '0')}`;
}
