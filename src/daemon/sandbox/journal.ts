/**
 * An append-only file of JSON lines. Lines are gathered and written with one write per turn of the event loop;
 * whoever waits is told after the write. Knows nothing of what the lines mean.
 */
import { closeSync, fdatasync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { OperatorError } from '../../core/errors.ts';

/** Read in pieces, so that a long journal does not need as much memory again. */
const READ_BYTES = 4 * 1024 * 1024;
const NEWLINE = 10;

/** `fsync` waits for the disk before anyone is told; `page_cache` survives a killed process, not a power cut. */
export type Durability = 'fsync' | 'page_cache';

export class Journal {
  private readonly fd: number | null;
  private readonly durability: Durability;
  private lines: string[] = [];
  private waiting: (() => void)[] = [];
  private state: 'idle' | 'planned' | 'syncing' | 'failed' | 'closed' = 'idle';
  private readonly onFailure: (cause: unknown) => void;
  /** Bytes in the file. */
  bytes: number;

  /**
   * @param fd an open file positioned at its end, or null to keep nothing
   * @param onFailure called once when the file cannot be written any more; nobody who waits is told then
   */
  constructor(fd: number | null, bytes: number, durability: Durability, onFailure: (cause: unknown) => void) {
    this.fd = fd;
    this.bytes = bytes;
    this.durability = durability;
    this.onFailure = onFailure;
  }

  /** Adds a line (JSON without a newline). */
  append(line: string): void {
    if (this.fd === null) return;
    this.lines.push(line);
    this.plan();
  }

  /** Calls back once every line added so far is written; at once when there is none. Never after a failure. */
  whenWritten(callback: () => void): void {
    if (this.state === 'failed' || this.state === 'closed') return;
    if (this.state === 'idle') callback();
    else this.waiting.push(callback);
  }

  /** Empties the file; lines not yet written are dropped, and whoever waits for them is told. */
  truncate(): void {
    this.lines = [];
    if (this.fd === null) return;
    ftruncateSync(this.fd, 0);
    this.bytes = 0;
  }

  /** Writes what is left and closes the file. */
  close(): void {
    if (this.state === 'closed') return;
    if (this.state !== 'failed' && this.lines.length > 0) this.write();
    this.state = 'closed';
    if (this.fd !== null) closeSync(this.fd);
    this.waiting = [];
  }

  private plan(): void {
    if (this.state !== 'idle') return;
    this.state = 'planned';
    setImmediate(() => this.flush());
  }

  private flush(): void {
    if (this.state !== 'planned') return;
    const told = this.waiting;
    this.waiting = [];
    try {
      this.write();
    } catch (cause) {
      this.fail(cause);
      return;
    }
    if (this.durability === 'page_cache' || this.fd === null) {
      this.written(told);
      return;
    }
    this.state = 'syncing';
    fdatasync(this.fd, (error) => {
      if (this.state === 'closed') return;
      if (error === null) this.written(told);
      else this.fail(error);
    });
  }

  private written(told: readonly (() => void)[]): void {
    this.state = 'idle';
    if (this.lines.length > 0 || this.waiting.length > 0) this.plan();
    for (const callback of told) callback();
  }

  private write(): void {
    if (this.fd === null || this.lines.length === 0) return;
    const buffer = Buffer.from(`${this.lines.join('\n')}\n`, 'utf8');
    this.lines = [];
    let done = 0;
    while (done < buffer.length) done += writeSync(this.fd, buffer, done, buffer.length - done);
    this.bytes += buffer.length;
  }

  private fail(cause: unknown): void {
    this.state = 'failed';
    this.waiting = [];
    this.onFailure(cause);
  }
}

/**
 * Opens the journal, hands every whole line to `onLine` in order, and cuts a torn last line off the file.
 * A last line that is whole but not JSON counts as torn too (a file system may leave zeros behind).
 * @throws OperatorError `sandbox_journal_unreadable` when the file cannot be opened, `sandbox_journal_corrupt`
 *   when a line before the last one is not JSON
 */
export function openJournal(
  path: string | null,
  durability: Durability,
  onLine: (line: unknown) => void,
  onFailure: (cause: unknown) => void,
): Journal {
  if (path === null) return new Journal(null, 0, durability, onFailure);
  const fd = openForAppending(path);
  try {
    const length = fstatSync(fd).size;
    const good = readLines(fd, length, onLine);
    if (good < length) ftruncateSync(fd, good);
    return new Journal(fd, good, durability, onFailure);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function openForAppending(path: string): number {
  try {
    return openSync(path, 'a+');
  } catch (cause) {
    throw new OperatorError(
      'sandbox_journal_unreadable',
      `The sandbox's journal ${path} cannot be opened; give a path in a folder that exists and may be written.`,
      { kind: 'failed', cause },
    );
  }
}

/** Reads the first `length` bytes; returns how many from the start are good. */
function readLines(fd: number, length: number, onLine: (line: unknown) => void): number {
  const chunk = Buffer.alloc(READ_BYTES);
  let rest: Buffer = Buffer.alloc(0);
  let good = 0;
  let count = 0;
  let bad: string | null = null;
  for (let at = 0; ; ) {
    const read = readSync(fd, chunk, 0, Math.min(READ_BYTES, length - at), at);
    if (read === 0) return good;
    at += read;
    const data = Buffer.concat([rest, chunk.subarray(0, read)]);
    let start = 0;
    for (let end = data.indexOf(NEWLINE); end !== -1; end = data.indexOf(NEWLINE, start)) {
      if (bad !== null) throw corrupt(count, bad);
      count++;
      const text = data.toString('utf8', start, end);
      const line = parseLine(text);
      if (line === null) bad = text;
      else {
        onLine(line);
        good += end + 1 - start;
      }
      start = end + 1;
    }
    rest = data.subarray(start);
  }
}

function parseLine(text: string): object | null {
  try {
    const line: unknown = JSON.parse(text);
    return typeof line === 'object' ? line : null;
  } catch {
    return null;
  }
}

function corrupt(line: number, text: string): OperatorError {
  return new OperatorError(
    'sandbox_journal_corrupt',
    `Line ${line} of the sandbox's journal is damaged and others follow it; move the file away to start afresh.`,
    { kind: 'failed', details: { line, text: text.slice(0, 200) } },
  );
}
