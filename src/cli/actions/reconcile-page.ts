/** Where the HTML page of a reconciliation goes. Writes whole pages only. */
import { randomUUID } from 'node:crypto';
import { access, constants, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { errorCode } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import type { ReconcileAnswer } from '../../core/settlement/reconcile-answer.ts';
import { renderReconcileReport } from '../render/reconcile-report.ts';
import type { Session } from '../session.ts';

/**
 * Looks before anything is done whether the page can be written; returns its whole path.
 * @throws OperatorError report_unwritable
 */
export async function checkReportPath(session: Session, name: string): Promise<string> {
  const path = resolve(session.host.cwd, name);
  const folder = dirname(path);
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (isFolder) throw unwritable(name, 'is a folder');
  try {
    await access(folder, constants.W_OK | constants.X_OK);
    return path;
  } catch (error) {
    throw unwritable(name, errorCode(error) === 'ENOENT' ? 'has no folder to stand in' : "can't be written");
  }
}

/** Only its owner reads it: it has amounts and references. Readers see the old page or the new one, never half of it. */
export async function writeReport(path: string, answer: ReconcileAnswer): Promise<string> {
  const draft = `${path}.${randomUUID()}`;
  try {
    await writeFile(draft, renderReconcileReport(answer), { mode: 0o600, flag: 'wx' });
    await rename(draft, path);
    return path;
  } catch (error) {
    await rm(draft, { force: true });
    throw new OperatorError(
      'report_unwritable',
      `The report ${path} can't be written (${errorCode(error)}). The reconciliation itself is done.`,
      { kind: 'failed', cause: error },
    );
  }
}

function unwritable(name: string, what: string): OperatorError {
  return new OperatorError('report_unwritable', `The report ${name} ${what}. Nothing was done.`);
}
