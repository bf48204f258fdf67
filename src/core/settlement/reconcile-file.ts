/**
 * Reconciles one settlement file or bank statement: load → match → evidence → breaks → post → proof. Every phase is one transaction
 * that can be repeated; after a crash at any point the same file again goes on where it was.
 */
import type { Db } from '../db/connection.ts';
import { Bug } from '../errors.ts';
import type { FileFault } from '../payment/file-fault.ts';
import type { Capabilities } from '../psp/psp.ts';
import type { ReconcileAnswer } from './reconcile-answer.ts';
import type { SettlementReading } from './settlement-line.ts';
import type { SettlementPolicy } from './settlement-policy.ts';

export type ReconcileProgress = {
  readonly phase: 'reading' | 'matching' | 'posting';
  readonly lines: number;
  /** Bytes of the file that were read so far; unchanged after the reading. */
  readonly bytes: number;
};

export type ReconcileRequest = {
  /** Shown to people; never opened. */
  readonly fileName: string;
  /** "psp:{account}" or "bank:{name}". */
  readonly source: string;
  /** Of the file's bytes, in hex, where they could be hashed before: a known file is then not read again. Null: a stream. */
  readonly sha256: string | null;
  /** Called once at most, and not for a file that is known. */
  readonly open: () => Promise<SettlementReading>;
  /** `dry_run` answers what would become of it and changes nothing. */
  readonly mode: 'commit' | 'dry_run';
  /** `left_out`: the operator accepted that bad rows are not imported. */
  readonly rejects: 'refused' | 'left_out';
  /** Who was authenticated; never a flag. */
  readonly principal: string;
  readonly policy: SettlementPolicy;
  readonly capabilitiesOf: (pspAccount: string) => Capabilities;
  readonly onProgress?: (progress: ReconcileProgress) => void;
};

export type ReconcileResult =
  | { readonly kind: 'answered'; readonly answer: ReconcileAnswer }
  | {
      readonly kind: 'bad_file';
      readonly faults: readonly FileFault[];
      readonly faultCount: number;
      readonly lineCount: number;
    };

/**
 * @throws OperatorError source_invalid; whatever the reading throws
 */
export async function reconcileFile(_db: Db, request: ReconcileRequest): Promise<ReconcileResult> {
  throw new Bug(`reconciling ${request.fileName} comes with the next commit`);
}
