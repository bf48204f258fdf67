/** Facts about the machine that a figure must be read with; no names and no paths. */
import { execFile } from 'node:child_process';
import { availableParallelism, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const GIT_TIMEOUT_MS = 10_000;

export type Machine = {
  readonly cores: number;
  readonly memory_gb: number;
  readonly node: string;
  readonly postgres: string;
  /** Short name of the commit, with "+" where files differ from it; null outside a checkout. */
  readonly commit: string | null;
};

export async function readMachine(postgresVersion: string): Promise<Machine> {
  return {
    cores: availableParallelism(),
    memory_gb: Math.round(totalmem() / 1024 ** 3),
    node: process.versions.node,
    postgres: postgresVersion,
    commit: await readCommit(),
  };
}

async function readCommit(): Promise<string | null> {
  const git = async (...args: string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)('git', args, { cwd: ROOT, timeout: GIT_TIMEOUT_MS });
    return stdout.trim();
  };
  try {
    const commit = await git('rev-parse', '--short=12', 'HEAD');
    // What a run itself writes does not count as a change.
    const changed = await git('status', '--porcelain', '--', '.', ':!docs/benchmarks');
    return changed === '' ? commit : `${commit}+`;
  } catch {
    return null;
  }
}
