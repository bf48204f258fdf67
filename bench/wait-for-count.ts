/** Waits for a counter, and for no longer than it moves. */

/** The clock is stopped this exactly (ms). */
const LOOK_EVERY_MS = 5;
/** A counter that stands still for this long (ms) will not move any more: what is missing counts as dropped. */
const STUCK_MS = 20_000;

/** Resolves with `wanted`, or with what was reached when nothing moved any more. */
export async function waitForCount(read: () => number, wanted: number): Promise<number> {
  let seen = -1;
  let seenAtMs = 0;
  for (;;) {
    const count = read();
    const nowMs = performance.now();
    if (count >= wanted) return wanted;
    if (count !== seen) [seen, seenAtMs] = [count, nowMs];
    else if (nowMs - seenAtMs > STUCK_MS) return count;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}
