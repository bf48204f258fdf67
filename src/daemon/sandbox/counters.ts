/**
 * Counts what came in and what went out, for tests and for people who watch. Starts at zero with the process.
 */

export class Counters {
  private total = 0;
  private byPath = new Map<string, number>();
  private byFault = new Map<string, number>();
  private byStatus = new Map<string, number>();

  /** A call under /v1/; `label` has `{id}` in place of names, and is `other` for unknown addresses. */
  request(label: string): void {
    this.total++;
    add(this.byPath, label);
  }

  fault(name: string): void {
    add(this.byFault, name);
  }

  /** An answer: its HTTP status, or `dropped` for a connection that was cut instead. */
  answer(status: number | 'dropped'): void {
    add(this.byStatus, String(status));
  }

  describe(): Record<string, unknown> {
    return {
      total: this.total,
      by_path: Object.fromEntries(this.byPath),
      by_fault: Object.fromEntries(this.byFault),
      by_status: Object.fromEntries(this.byStatus),
    };
  }

  clear(): void {
    this.total = 0;
    this.byPath = new Map();
    this.byFault = new Map();
    this.byStatus = new Map();
  }
}

function add(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}
