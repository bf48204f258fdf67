/**
 * What moved at the sandbox's Stripe, as balance transactions: charges, refunds, transfers, disputes, top-ups. Reads the
 * truth; knows no file and nothing of what the gateway believes.
 */
import { decimalsOf } from '../currencies.ts';
import type { DisputeRecord } from '../dispute.ts';
import { chargeId, reversalId } from '../ids.ts';
import type { IntentRecord } from '../intent.ts';
import { heldByRefund, type RefundRecord } from '../refund.ts';
import type { SandboxState } from '../state.ts';
import type { TransferRecord } from '../transfer.ts';
import { feeOfCharge, feeOfDispute, type Row, type Unit } from './row.ts';

/** Whole units that Stripe counts with two decimals. */
const HUNDREDS = new Set(['ISK', 'UGX']);

/** How Stripe counts a currency (upper case); a three-decimal amount ends in 0. */
export function stripeUnit(currency: string): Unit {
  const decimals = decimalsOf(currency.toLowerCase());
  return { decimals, step: HUNDREDS.has(currency) ? 100 : decimals === 3 ? 10 : 1 };
}

/** @property failed what a charge that was declined would look like, had it succeeded: for planting */
export interface PspRows {
  readonly rows: readonly Row[];
  readonly failed: readonly Row[];
}

/** Every movement, in the order in which they happened. */
export function stripeRows(state: SandboxState): PspRows {
  const intents = state.intents.snapshot();
  const rows = [
    ...intents.flatMap(chargeRows),
    ...state.refunds.snapshot().flatMap((refund) => refundRows(refund, state)),
    ...state.transfers.snapshot().flatMap(transferRows),
    ...state.disputes.snapshot().flatMap((dispute) => disputeRows(dispute, state)),
    ...state.topUps.map(({ currency, amount, atMs }, place) =>
      row('top_up', `tu_${place + 1}`, currency, amount, 0, atMs),
    ),
  ];
  return {
    rows: rows.toSorted((left, right) => left.atMs - right.atMs),
    failed: intents
      .filter((intent) => intent.failure !== null && intent.received === 0 && !hasBounced(intent))
      .map((intent) => chargeRow(intent, intent.amount)),
  };
}

/** A charge that bounced has two rows: the money that came, and that it went. */
function chargeRows(intent: IntentRecord): readonly Row[] {
  if (intent.received > 0) return [chargeRow(intent, intent.received)];
  if (!hasBounced(intent)) return [];
  const came = chargeRow(intent, intent.amount);
  const gone = { gross: -came.gross, fee: 0, net: -came.gross, atMs: came.atMs + 1 };
  return [came, { ...came, kind: 'charge_failure', name: `${came.name}r`, ...gone }];
}

function hasBounced({ charges }: IntentRecord): boolean {
  return charges.some(({ bounced }) => bounced === true);
}

function chargeRow(intent: IntentRecord, gross: number): Row {
  const paid = intent.charges.findLastIndex(({ captured, bounced }) => captured > 0 || bounced === true);
  const number = Math.max(paid, 0);
  const unit = stripeUnit(intent.currency.toUpperCase());
  const at = intent.charges[number]?.created ?? intent.created;
  const source = chargeId(intent.id, number);
  return {
    ...row('charge', source, intent.currency, gross, feeOfCharge(gross, unit), at * 1_000),
    payment: intent.id,
    charge: source,
    ours: metadataOf(intent.metadataJson),
  };
}

/** A refund leaves the balance when it is made, and comes back when it fails. */
function refundRows(refund: RefundRecord, state: SandboxState): readonly Row[] {
  if (heldByRefund(refund) === 0 && !refund.reached) return [];
  const own = metadataOf(refund.metadataJson);
  const of = { ...ofCharge(refund.intentId, refund.chargeNumber, state), own };
  const atMs = refund.created * 1_000;
  const made = { ...row('refund', refund.id, refund.currency, -refund.amount, 0, atMs), ...of };
  if (heldByRefund(refund) > 0) return [made];
  const failed = { ...row('refund_failure', refund.id, refund.currency, refund.amount, 0, atMs + 1), ...of };
  return [made, failed];
}

function transferRows(transfer: TransferRecord): readonly Row[] {
  const { currency } = transfer;
  const own = metadataOf(transfer.metadataJson);
  const made = {
    ...row('transfer', transfer.id, currency, -transfer.amount, 0, transfer.created * 1_000),
    own,
  };
  // A reversal has metadata of its own, which nobody gave it: the row does not name the transfer's.
  const reversals = transfer.reversals.map(({ created, amount }, number) =>
    row('transfer_reversal', reversalId(transfer.id, number), currency, amount, 0, created * 1_000),
  );
  return [made, ...reversals];
}

function disputeRows(dispute: DisputeRecord, state: SandboxState): readonly Row[] {
  const of = ofCharge(dispute.intentId, dispute.chargeNumber, state);
  const fee = feeOfDispute(stripeUnit(dispute.currency.toUpperCase()));
  const atMs = dispute.created * 1_000;
  const opened = { ...row('dispute', dispute.id, dispute.currency, -dispute.amount, fee, atMs), ...of };
  if (dispute.status !== 'won') return [opened];
  const won = {
    ...row('dispute_reversal', dispute.id, dispute.currency, dispute.amount, -fee, atMs + 1),
    ...of,
  };
  return [opened, won];
}

function ofCharge(intentId: string, number: number, state: SandboxState) {
  const intent = state.intents.find(intentId);
  return {
    payment: intentId,
    charge: chargeId(intentId, number),
    ours: intent === null ? {} : metadataOf(intent.metadataJson),
  };
}

function metadataOf(json: string): Readonly<Record<string, string>> {
  return JSON.parse(json) as Record<string, string>;
}

function row(
  kind: Row['kind'],
  source: string,
  currency: string,
  gross: number,
  fee: number,
  atMs: number,
): Row {
  const suffix = kind === 'refund_failure' || kind === 'dispute_reversal' ? 'r' : '';
  return {
    kind,
    name: `txn_${source.replace('_', '')}${suffix}`,
    source,
    payment: null,
    charge: null,
    ours: {},
    own: {},
    currency: currency.toUpperCase(),
    gross,
    fee,
    net: gross - fee,
    atMs,
    deposit: null,
  };
}
