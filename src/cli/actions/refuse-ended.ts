/** Says no before anything is promised: what has ended is not ended again. The workflow decides, under its locks. */
import { OperatorError } from '../../core/errors.ts';
import { isEnded, type SubState } from '../../core/operation/operation.ts';

/** @throws OperatorError already_ended */
export function refuseEnded(name: string, subState: SubState | null): void {
  if (subState === null || !isEnded(subState)) return;
  throw new OperatorError('already_ended', `${name} has ended as ${subState}.`, { kind: 'refused' });
}
