/**
 * Watches the drop folder and has what arrives reconciled, by one daemon at a time. What goes wrong with a file is an alert: a line
 * of the log and an event. Decides nothing about money.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { insertEvents, type NewEvent } from '../../core/audit/event-store.ts';
import { type Db, transact } from '../../core/db/connection.ts';
import { enterDropFolder, getUtcNow, leaveDropFolder } from '../../core/settlement/drop-folder-store.ts';
import type { Log } from '../log.ts';
import { DropFolderView, type DroppedFile, prepareDropFolder } from './dropped-files.ts';
import { type DropContext, type DropResult, reconcileDropped } from './reconcile-dropped.ts';

export type DropFolderOptions = DropContext & {
  /** A session of its own, for the lock. */
  readonly lock: Db;
  /** Minute of the UTC day at which files are taken; null: as they come. */
  readonly nightlyMinute: number | null;
  readonly log: Log;
  /** How often the folder is looked at (ms). */
  readonly everyMs?: number;
};

const LOOK_EVERY_MS = 2_000;
/** A file that failed for no fault of its own is tried again after this long (ms). */
const RETRY_AFTER_MS = 60_000;
/** A stop waits this long for the file in hand (ms); what is cut off then goes on after the next start. */
const STOP_GRACE_MS = 5_000;
/** Which night was the last one whose files were taken. */
const NIGHT_FILE = '.last-night';

/** Runs until the returned function is called. */
export function startDropFolder(options: DropFolderOptions): () => Promise<void> {
  const watch = new DropWatch(options);
  let stopped = false;
  let timer: NodeJS.Timeout | null = null;
  let round: Promise<void> = Promise.resolve();
  const next = (): void => {
    round = watch
      .look(performance.now(), () => stopped)
      .catch((error: unknown) => options.log.warn({ error: String(error) }, 'drop folder: trying again'))
      .then(() => {
        if (!stopped) timer = setTimeout(next, options.everyMs ?? LOOK_EVERY_MS);
      });
  };
  next();
  return async () => {
    stopped = true;
    if (timer !== null) clearTimeout(timer);
    let grace: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      grace = setTimeout(resolve, STOP_GRACE_MS);
    });
    await Promise.race([round, late]);
    clearTimeout(grace);
  };
}

/** One look after the other at the same folder; for tests with a clock of their own. */
export class DropWatch {
  private readonly options: DropFolderOptions;
  private readonly view: DropFolderView;
  private readonly notBefore = new Map<string, number>();
  private isPrepared = false;
  private nightFiles = 0;

  constructor(options: DropFolderOptions) {
    this.options = options;
    this.view = new DropFolderView(options.folder);
  }

  /** @param nowMs of a clock that never runs backwards */
  async look(nowMs: number, isStopped: () => boolean): Promise<void> {
    const { folder, lock } = this.options;
    if (!this.isPrepared) await prepareDropFolder(folder);
    this.isPrepared = true;
    const { whole, growing } = await this.view.look(nowMs);
    const due = whole.filter(({ path }) => (this.notBefore.get(path) ?? 0) <= nowMs);
    const night = await this.dueNight();
    if (night === 'wait' || (due.length === 0 && night === null)) return;
    if (!(await enterDropFolder(lock))) return;
    try {
      for (const file of due) {
        if (isStopped()) return;
        await this.take(file, nowMs);
      }
      this.nightFiles += due.length;
      // What still grows belongs to this night too.
      if (night !== null && growing === 0) await this.endNight(night);
    } finally {
      await leaveDropFolder(lock).catch(() => undefined);
    }
  }

  private async take(file: DroppedFile, nowMs: number): Promise<void> {
    const { log } = this.options;
    try {
      const result = await reconcileDropped(this.options, file);
      this.notBefore.delete(file.path);
      await this.tell(file, result);
    } catch (error) {
      const isNew = !this.notBefore.has(file.path);
      this.notBefore.set(file.path, nowMs + RETRY_AFTER_MS);
      log.error({ file: file.name, error: String(error) }, 'a dropped file could not be reconciled yet');
      if (isNew) await this.alert(file, 'not_reconciled', String(error)).catch(() => undefined);
    }
  }

  private async tell(file: DroppedFile, result: DropResult): Promise<void> {
    const { log } = this.options;
    if (result.kind === 'rejected') {
      const { code, reason, movedTo } = result;
      log.error({ file: file.name, code, reason, movedTo }, 'a dropped file was rejected');
      return this.alert(file, code, reason);
    }
    const { answer, movedTo } = result;
    const { source, lineCount } = answer.file;
    const { status, runId, outcome, breakCount } = answer;
    const facts = { file: file.name, source, lineCount, runId, outcome, status, breakCount, movedTo };
    if (status === 'closed') log.info(facts, 'reconciled a dropped file');
    else log.warn(facts, 'reconciled a dropped file; somebody must look at it');
    if (status === 'incomplete') await this.alert(file, 'proof_incomplete', `${runId ?? ''} does not close`);
  }

  private async alert(file: DroppedFile, code: string, reason: string): Promise<void> {
    const data = { file: file.name, source: file.source, code, reason };
    await this.store({ kind: 'settlement_alert', paymentId: null, data: JSON.stringify(data) });
  }

  private store(event: NewEvent): Promise<void> {
    const { db, principal } = this.options;
    return transact(db, (tx) => insertEvents(tx, principal, [event]));
  }

  /** The day whose files are to be taken now; null: files are taken as they come; "wait": it is not time yet. */
  private async dueNight(): Promise<string | null> {
    const { nightlyMinute, db } = this.options;
    if (nightlyMinute === null) return null;
    const { day, minute } = await getUtcNow(db);
    if (minute < nightlyMinute) return 'wait';
    const last = await readFile(this.nightPath(), 'utf8').catch(() => '');
    return last.trim() === day ? 'wait' : day;
  }

  /** A night without any file is one too: somebody should have sent one. */
  private async endNight(day: string): Promise<void> {
    if (this.nightFiles === 0) {
      this.options.log.error({ day }, 'no settlement file arrived');
      const data = { file: null, source: null, code: 'no_file_arrived', reason: day };
      await this.store({ kind: 'settlement_alert', paymentId: null, data: JSON.stringify(data) });
    }
    this.nightFiles = 0;
    await writeFile(this.nightPath(), `${day}\n`, { mode: 0o640 });
  }

  private nightPath(): string {
    return join(this.options.folder, NIGHT_FILE);
  }
}
