/**
 * The sandbox's own time: the machine's clock plus an offset that the admin can raise.
 * Never runs backwards, so objects are created in the order of their `created` stamps.
 */

/** @property offsetMs how far the sandbox is ahead of the machine, in milliseconds, 0 or more */
export class SandboxClock {
  offsetMs = 0;
  private lastMs = 0;

  /** Milliseconds since 1970 in sandbox time; equal or greater on each call. */
  nowMs(): number {
    const now = Date.now() + this.offsetMs;
    if (now > this.lastMs) this.lastMs = now;
    return this.lastMs;
  }

  /** Whole seconds since 1970 in sandbox time, as Stripe's `created` has them. */
  nowS(): number {
    return Math.floor(this.nowMs() / 1000);
  }

  /** Moves the sandbox forward by `ms` milliseconds (0 or more). */
  advance(ms: number): void {
    this.offsetMs += ms;
  }

  /** After reading a journal: `offsetMs` as it was, and no time before the newest stamp in it. */
  restore(offsetMs: number, newestS: number): void {
    this.offsetMs = offsetMs;
    this.lastMs = Math.max(this.lastMs, newestS * 1000);
  }
}
