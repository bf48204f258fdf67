/**
 * What the run's processes do with refunds, payouts and dead letters: each works through its file, is killed in the
 * middle of it, and works through the same file again.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { accountsOf, pspOf } from '../src/core/config.ts';
import { type Db, openBook } from '../src/core/db/connection.ts';
import { OperatorError } from '../src/core/errors.ts';
import { formatId } from '../src/core/ids.ts';
import type { Currency } from '../src/core/money.ts';
import { type ReplayContext, replayDeadLetters } from '../src/core/operation/replay-dead-letters.ts';
import { resolveOperation } from '../src/core/operation/resolve-operation.ts';
import { type ApprovalContext, approveItems, startApproval } from '../src/core/payout/approve-payouts.ts';
import type { PayoutRequest } from '../src/core/payout/payout.ts';
import { submitPayouts } from '../src/core/payout/submit-payouts.ts';
import { capabilitiesOf } from '../src/core/psp/request.ts';
import { getBookKey } from '../src/core/queue/queue-store.ts';
import type { RefundContext } from '../src/core/refund/accept-refunds.ts';
import type { RefundRequest } from '../src/core/refund/refund.ts';
import { readRefundRequest } from '../src/core/refund/refund-request.ts';
import { submitRefunds } from '../src/core/refund/submit-refunds.ts';
import { changeDestination, createSeller } from '../src/core/seller/change-seller.ts';
import type { Deed, FileJob, PayoutLine, RefundBody, SubmitterLine } from './child.ts';
import { configOf, print, SUBMIT_PAUSE_MS } from './child-tools.ts';
import { pause } from './processes.ts';
import { destinationOf } from './psps.ts';

/** The whole file, batch by batch; what was asked before is answered the same again. */
export async function askRefunds(job: FileJob): Promise<void> {
  const batches = JSON.parse(await readFile(job.file, 'utf8')) as readonly (readonly RefundBody[])[];
  const config = configOf(job.document);
  const db = await openBook({ connection: job.connection, book: 'paygate', max: 2 });
  try {
    const context: RefundContext = {
      policy: config.refunds,
      bookKey: await getBookKey(db),
      principal: 'chaos refunder',
      accountOf: accountsOf(config),
    };
    for (const batch of batches) {
      const results = await submitRefunds(db, context, batch.map(readBody));
      const answers = results.map((result, i) => ({
        name: batch[i]!.refund_id,
        kind: result.kind,
        id: 'refund' in result ? formatId('refund', result.refund.id) : null,
      }));
      print({ kind: 'refunds', answers } satisfies SubmitterLine);
      await pause(SUBMIT_PAUSE_MS);
    }
    print({ kind: 'done' } satisfies SubmitterLine);
  } finally {
    await db.close();
  }
}

/**
 * Registers the sellers, submits the file and approves every batch of it that is not through: whoever was killed before
 * us may have left one at any point.
 */
export async function payOut(job: FileJob): Promise<void> {
  const lines = JSON.parse(await readFile(job.file, 'utf8')) as readonly PayoutLine[];
  const config = configOf(job.document);
  const db = await openBook({ connection: job.connection, book: 'paygate', max: 2 });
  const principal = 'chaos payer';
  try {
    await registerSellers(db, lines, principal);
    for (const [pspAccount, own] of Map.groupBy(lines, (line) => line.pspAccount)) {
      const sha256 = createHash('sha256').update(`${job.file} ${pspAccount}`).digest('hex');
      await submitPayouts(db, { principal, pspAccount, sha256, source: job.file }, own.map(readLine));
    }
    print({ kind: 'payouts' } satisfies SubmitterLine);
    await pause(SUBMIT_PAUSE_MS);
    const context: ApprovalContext = {
      policy: config.payouts,
      bookKey: await getBookKey(db),
      principal,
      accountOf: accountsOf(config),
    };
    for (const batchId of await listOpenBatches(db, job.file)) {
      const start = await startApproval(db, context, batchId, 'approve');
      if (start.kind === 'second_person_needed')
        throw new Error(`payout batch ${batchId} is not ours to approve`);
      if (start.kind === 'ended') continue;
      const run = { signal: new AbortController().signal, onProgress: () => undefined };
      await approveItems(db, context, start.batch, run);
    }
    print({ kind: 'done' } satisfies SubmitterLine);
  } finally {
    await db.close();
  }
}

/** Where each is paid at the account that pays; a seller that has been paid from another one gets a second place. */
async function registerSellers(db: Db, lines: readonly PayoutLine[], principal: string): Promise<void> {
  for (const { seller, pspAccount } of lines) {
    const place = { pspAccount, destination: destinationOf(pspAccount, seller) };
    const who = { seller, reason: 'the chaos run pays it', principal };
    const result = await createSeller(db, { ...who, place });
    if (result === 'exists') await changeDestination(db, { ...who, ...place });
  }
}

function readLine({ name, seller, currency, amountMinor }: PayoutLine, index: number): PayoutRequest {
  const money = { amountMinor: BigInt(amountMinor), currency: currency as Currency };
  return { line: index + 1, itemRef: name, seller, money, destination: null, memo: null };
}

async function listOpenBatches(db: Db, source: string): Promise<readonly bigint[]> {
  const rows = await db.sql<{ id: bigint }[]>`
    select id from ${db.t.payoutBatch} where source = ${source} and state in ('draft', 'approving') order by id`;
  return rows.map((row) => row.id);
}

function readBody(body: RefundBody): RefundRequest {
  const reading = readRefundRequest(body);
  if (reading.kind === 'ok') return reading.request;
  throw new Error(`the planned refund is bad: ${JSON.stringify(reading.faults[0])}`);
}

/** Deed by deed; what an earlier life of ours did already is refused, and that is no trouble. */
export async function actAsPerson(job: FileJob): Promise<void> {
  const deeds = JSON.parse(await readFile(job.file, 'utf8')) as readonly Deed[];
  const config = configOf(job.document);
  const db = await openBook({ connection: job.connection, book: 'paygate', max: 2 });
  try {
    const bookKey = await getBookKey(db);
    for (const deed of deeds) {
      const done =
        deed.kind === 'replay'
          ? await replay(db, { bookKey, pspOf: pspOf(config) }, deed)
          : await resolve(db, (account) => capabilitiesOf(pspOf(config)(account)), deed);
      print({ kind: 'deed', ...done } satisfies SubmitterLine);
      await pause(SUBMIT_PAUSE_MS);
    }
    print({ kind: 'done' } satisfies SubmitterLine);
  } finally {
    await db.close();
  }
}

type Done = { readonly done: number; readonly refused: readonly string[] };
const PERSON = 'chaos person';

async function replay(
  db: Db,
  context: Pick<ReplayContext, 'bookKey' | 'pspOf'>,
  { letters, action }: Extract<Deed, { kind: 'replay' }>,
): Promise<Done> {
  const who = { principal: PERSON, reason: 'the chaos run tries it again', action };
  const results = await replayDeadLetters(db, { ...context, ...who }, letters.map(BigInt));
  const refused = results.flatMap((result) => (result.kind === 'refused' ? [result.code] : []));
  return { done: results.length - refused.length, refused };
}

async function resolve(
  db: Db,
  capabilities: Parameters<typeof resolveOperation>[1]['capabilitiesOf'],
  { operation, verdict, pspReference }: Extract<Deed, { kind: 'resolve' }>,
): Promise<Done> {
  const evidence = `seen in the sandbox's own list: it ${verdict}`;
  const word = { verdict, pspReference, evidence, principal: PERSON, capabilitiesOf: capabilities };
  try {
    await resolveOperation(db, { operationId: BigInt(operation), ...word });
    return { done: 1, refused: [] };
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    return { done: 0, refused: [error.code] };
  }
}
