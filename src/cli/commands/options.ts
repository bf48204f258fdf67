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
