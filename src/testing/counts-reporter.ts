/**
 * Prints `N passed, N failed, N skipped` as the very last line of a test run, for people and scripts that
 * read only that. It is printed when the process ends, so that a failing teardown still counts.
 */
import type { Reporter, SerializedError, TestModule, TestRunEndReason } from 'vitest/node';

type Counts = { passed: number; failed: number; skipped: number };

/** A reporter for vitest's `reporters`; any place in the list will do. */
export default class CountsReporter implements Reporter {
  private started = false;
  private counts: Counts | null = null;

  onInit(): void {
    process.once('exit', (exitCode) => {
      if (this.started) process.stdout.write(`${lineOf(this.counts, exitCode)}\n`);
    });
  }

  onTestRunStart(): void {
    this.started = true;
    this.counts = null;
  }

  onTestRunEnd(
    modules: readonly TestModule[],
    unhandledErrors: readonly SerializedError[],
    _reason: TestRunEndReason,
  ): void {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    for (const module of modules) countModule(module, counts);
    this.counts = counts;
  }
}

/** An error outside the tests (a file that can't be read, a hook) counts as one failure: its tests show as skipped. */
function countModule(module: TestModule, counts: Counts): void {
  counts.failed += module.errors().length;
  for (const suite of module.children.allSuites()) counts.failed += suite.errors().length;
  for (const test of module.children.allTests()) {
    const { state } = test.result();
    // A test that never came to its end has not passed.
    if (state === 'pending') counts.failed += 1;
    else counts[state] += 1;
  }
}

/** A run that broke off, or ended in an error that no test stands for, is at least one failure. */
function lineOf(counts: Counts | null, exitCode: number): string {
  const { passed, failed, skipped } = counts ?? { passed: 0, failed: 1, skipped: 0 };
  const shown = exitCode !== 0 && failed === 0 ? 1 : failed;
  return `${passed} passed, ${shown} failed, ${skipped} skipped`;
}
