/** What every one of the run's own processes needs. */
import { readConfig } from '../src/core/config.ts';
import { SECRETS } from './psps.ts';

/** Between two batches (ms), so that a kill finds it at work. */
export const SUBMIT_PAUSE_MS = 60;

export function print(line: unknown): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

export function configOf(document: unknown) {
  return readConfig({
    env: 'development',
    document,
    origin: 'the configuration of the chaos run',
    environment: SECRETS,
    readSecret: () => '',
    readRules: (path) => {
      throw new Error(`a chaos run has no rule file ${path}`);
    },
    readText: (path) => {
      throw new Error(`a chaos run has no file ${path}`);
    },
  });
}
