/**
 * Delays that end with the sandbox: closing it forgets all of them, so a closed sandbox never acts late.
 */

export class Timers {
  private readonly pending = new Set<NodeJS.Timeout>();

  /** Runs `callback` once, `ms` milliseconds of real time from now, unless cleared before. */
  after(ms: number, callback: () => void): void {
    const timer = setTimeout(() => {
      this.pending.delete(timer);
      callback();
    }, ms);
    this.pending.add(timer);
  }

  clear(): void {
    for (const timer of this.pending) clearTimeout(timer);
    this.pending.clear();
  }
}
