/** What several commands' flags share. Decides only; a bad value is a usage error. */
import { type CommandUnknownOpts, InvalidArgumentError } from '@commander-js/extra-typings';

export const DEFAULT_LIMIT = 50;
export const MAX_LIMIT = 1_000;

/** Page size, 1–1,000. */
export function readLimit(text: string): number {
  return readWhole(text, 1, MAX_LIMIT);
}

/** A whole number within the bounds, both included. */
export function readWhole(text: string, min: number, max: number): number {
  const value = /^\d{1,12}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
}

/** For a flag that may be given several times. */
export function collect(value: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), value];
}

/** A command that only groups others: help is asked for in one way, `paygate help …`. */
export function nounCommand(program: CommandUnknownOpts, name: string, description: string) {
  return program.command(name).description(description).helpCommand(false);
}

const MS_OF = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const DURATION = /^(\d{1,6})([smhd])$/;

/** "90s", "15m", "2h", "3d" in milliseconds. */
export function readDuration(text: string): number {
  const [, count, unit] = DURATION.exec(text) ?? [];
  if (count === undefined) throw new InvalidArgumentError('It must be a duration like 90s, 15m, 2h or 3d.');
  return Number(count) * MS_OF[unit as keyof typeof MS_OF];
}

const RATE = /^(\d{1,4})(?:\/s)?$/;
const MAX_RATE = 1_000;

/** "20/s": how many each second, 1–1,000. */
export function readRate(text: string): number {
  const perSecond = Number(RATE.exec(text)?.[1] ?? Number.NaN);
  if (perSecond >= 1 && perSecond <= MAX_RATE) return perSecond;
  throw new InvalidArgumentError(`It must be a rate like 20/s, from 1 to ${MAX_RATE} each second.`);
}
