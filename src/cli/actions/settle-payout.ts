/**
 * `payouts cancel` and `payouts resolve` of one payout: takes back what was never sent, or a person's word on what is in
 * doubt; shows what it will do, has it confirmed, and stores it.
 */
import type { Queryable } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import { cancelOperation } from '../../core/operation/cancel-operation.ts';
import { checkEvidence, resolveOperation } from '../../core/operation/resolve-operation.ts';
import { payoutView } from '../../core/payout/payout-answer.ts';
import type { PayoutRow } from '../../core/payout/payout-list-store.ts';
import { capabilitiesOf } from '../../core/psp/request.ts';
import { shownText } from '../../core/shown-text.ts';
import { confirmOne } from '../confirm.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import { requireReason } from '../require-reason.ts';
import type { Session } from '../session.ts';
import { moneyOf, moneyText, sumUp } from '../words.ts';
import { payoutResult, requirePayout } from './read-payouts.ts';
import { refuseEnded } from './refuse-ended.ts';

type ApprovedRow = PayoutRow & { readonly operationId: bigint };

/** Exit 5 when it is not confirmed, may have been sent, or has ended. */
export async function cancelPayout(session: Session, text: string): Promise<number> {
  const reason = requireReason(session);
  return withBook(session, async ({ db, principal }) => {
    const row = await requireApproved(db, text);
    refuseEnded(formatId('payout', row.id), row.subState);
    session.note(`${describe(row)}; this will give the money back to the wallet.`);
    if (session.globals.dryRun) return EXIT.done;
    await confirmOne(session, 'Cancel it?', sumUp([moneyOf(row)]));
    await cancelOperation(db, row.operationId, { reason, principal });
    await session.print(payoutResult(payoutView(await requirePayout(db, formatId('payout', row.id)))));
    return EXIT.done;
  });
}

export type ResolvePayoutFlags = {
  readonly payout: string;
  readonly verdict: 'succeeded' | 'failed';
  readonly evidence: string;
  readonly pspReference: string | null;
};

/** Exit 5 when it is not confirmed, was never sent, or has ended. */
export async function resolvePayout(session: Session, flags: ResolvePayoutFlags): Promise<number> {
  checkEvidence(flags.evidence);
  return withBook(session, async ({ db, config, principal }) => {
    const row = await requireApproved(db, flags.payout);
    refuseEnded(formatId('payout', row.id), row.subState);
    const effect =
      flags.verdict === 'succeeded' ? 'book it as paid' : 'end it as not paid and give the money back';
    session.note(`${describe(row)}; this will ${effect}.`);
    if (session.globals.dryRun) return EXIT.done;
    await confirmOne(session, 'Is that what the PSP did?', sumUp([moneyOf(row)]));
    await resolveOperation(db, {
      operationId: row.operationId,
      verdict: flags.verdict,
      evidence: flags.evidence,
      pspReference: flags.pspReference,
      principal,
      capabilitiesOf: (name) =>
        capabilitiesOf(config.pspAccounts.find((account) => account.name === name)?.psp ?? 'stripe'),
    });
    await session.print(payoutResult(payoutView(await requirePayout(db, formatId('payout', row.id)))));
    return EXIT.done;
  });
}

function describe(row: PayoutRow): string {
  const { status } = payoutView(row);
  return `${formatId('payout', row.id)} of ${moneyText(moneyOf(row))} to ${shownText(row.seller)} is ${status}`;
}

/** @throws OperatorError payout_not_found, not_approved */
async function requireApproved(on: Queryable, text: string): Promise<ApprovedRow> {
  const row = await requirePayout(on, text);
  const { operationId } = row;
  if (operationId !== null) return { ...row, operationId };
  const batch = formatId('payoutBatch', row.batchId);
  const how =
    row.state === 'draft' ? ` Drafts are canceled by their batch: paygate payouts cancel ${batch}` : '';
  throw new OperatorError('not_approved', `${formatId('payout', row.id)} is ${row.state}.${how}`, {
    kind: 'refused',
  });
}
