/**
 * What the run's own kinds of process do: the sandbox, and what submits a file of payments or of refunds. (Daemons are
 * started by the command line, as anybody would.) Each gets its job as one JSON argument and leaves when its parent is
 * gone.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { accountsOf, readConfig } from '../src/core/config.ts';
import { type ConnectionOptions, type Db, openBook, transact } from '../src/core/db/connection.ts';
import { formatId } from '../src/core/ids.ts';
import type { Currency } from '../src/core/money.ts';
import { type AcceptContext, fingerprint } from '../src/core/payment/accept-payments.ts';
import { type PaymentFile, parsePaymentFile } from '../src/core/payment/parse-payment-file.ts';
import type { FilePayment } from '../src/core/payment/payment-collector.ts';
import { markBatchSubmitted, openBatch } from '../src/core/payment/payment-store.ts';
import { type SubmitResult, submitPayments } from '../src/core/payment/submit-payments.ts';
import { type ApprovalContext, approveItems, startApproval } from '../src/core/payout/approve-payouts.ts';
import type { PayoutRequest } from '../src/core/payout/payout.ts';
import { submitPayouts } from '../src/core/payout/submit-payouts.ts';
import { getBookKey } from '../src/core/queue/queue-store.ts';
import type { RefundContext } from '../src/core/refund/accept-refunds.ts';
import type { RefundRequest } from '../src/core/refund/refund.ts';
import { readRefundRequest } from '../src/core/refund/refund-request.ts';
import { submitRefunds } from '../src/core/refund/submit-refunds.ts';
import { createSeller } from '../src/core/seller/change-seller.ts';
import type { SandboxOptions } from '../src/daemon/sandbox/main.ts';

export type ChildJob =
  | { readonly role: 'sandbox'; readonly options: SandboxOptions }
  | {
      readonly role: 'submitter';
      readonly document: unknown;
      readonly connection: ConnectionOptions;
      readonly file: string;
    }
  | {
      /** `refunder`: JSON, batches of {@link RefundBody}. `payer`: JSON, {@link PayoutLine}s. */
      readonly role: 'refunder' | 'payer';
      readonly document: unknown;
      readonly connection: ConnectionOptions;
      readonly file: string;
    };

/** A payout of the run. */
export type PayoutLine = {
  readonly name: string;
  readonly seller: string;
  readonly currency: string;
  readonly amountMinor: string;
};

/** A refund as it is asked for, in JSON as over HTTP. */
export type RefundBody = {
  readonly refund_id: string;
  readonly payment_order_id: string;
  readonly amount?: string;
};

/** `id`: ours, null for a refusal. */
export type RefundAnswer = { readonly name: string; readonly kind: string; readonly id: string | null };

type FileJob = Extract<ChildJob, { role: 'refunder' | 'payer' }>;

/** What a submitter prints, one JSON line per batch, as soon as the batch is committed. */
export type SubmitterLine =
  | { readonly kind: 'batch'; readonly payments: readonly (readonly [checkout: string, payment: string])[] }
  | { readonly kind: 'refused'; readonly checkout: string; readonly why: string }
  | { readonly kind: 'refunds'; readonly answers: readonly RefundAnswer[] }
  | { readonly kind: 'payouts' }
  | { readonly kind: 'done' };

/** The PSP account of the run. The key opens nothing but the sandbox. */
export const PSP_ACCOUNT = 'sandbox';
export const SANDBOX_KEY = 'sk_test_chaos';
/** The variable that holds the key of {@link PSP_ACCOUNT}. */
export const KEY_VARIABLE = `PAYGATE_PSP_${PSP_ACCOUNT.toUpperCase()}_API_KEY`;

/** Payments of one transaction: small, so that a killed submitter has always some done and some not. */
const SUBMIT_BATCH = 15;
/** Between two batches (ms), so that a kill finds it at work. */
const SUBMIT_PAUSE_MS = 60;
/** "In progress" answers to one payment before the submitter gives up. */
const MAX_IN_PROGRESS = 30;

export async function runChild(job: ChildJob): Promise<void> {
  leaveWithParent();
  switch (job.role) {
    case 'sandbox': {
      const { startSandbox } = await import('../src/daemon/sandbox/main.ts');
      const sandbox = await startSandbox(job.options);
      print({ port: sandbox.port });
      return;
    }
    case 'submitter':
      return submit(job);
    case 'refunder':
      return askRefunds(job);
    case 'payer':
      return payOut(job);
  }
}

/** Standard input is a pipe from the parent: it ends when the parent does, even by kill -9. */
function leaveWithParent(): void {
  process.stdin.resume();
  process.stdin.once('end', () => process.exit(9));
  process.stdin.once('error', () => process.exit(9));
  // A submitter ends by itself; this must not keep it alive.
  const { stdin } = process;
  if ('unref' in stdin) stdin.unref();
}

function print(line: unknown): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function configOf(document: unknown) {
  return readConfig({
    env: 'development',
    document,
    origin: 'the configuration of the chaos run',
    environment: { [KEY_VARIABLE]: SANDBOX_KEY },
    readSecret: () => '',
    readRules: (path) => {
      throw new Error(`a chaos run has no rule file ${path}`);
    },
    readText: (path) => {
      throw new Error(`no text in ${path}`);
    },
  });
}

/** The whole file, in order, whoever else submits it: what was accepted before answers the same again. */
async function submit(job: Extract<ChildJob, { role: 'submitter' }>): Promise<void> {
  const file = await parsePaymentFile(await readFile(job.file));
  if (file.kind === 'bad') throw new Error(`the planned file is bad: ${JSON.stringify(file.faults[0])}`);
  const db = await openBook({ connection: job.connection, book: 'paygate', max: 2 });
  try {
    await submitFile(db, job.document, job.file, file);
    print({ kind: 'done' } satisfies SubmitterLine);
  } finally {
    await db.close();
  }
}

async function submitFile(
  db: Db,
  document: unknown,
  source: string,
  file: Extract<PaymentFile, { kind: 'ok' }>,
): Promise<void> {
  const policy = configOf(document).accept;
  if (policy === null) throw new Error('the configuration of the run has no PSP account');
  const principal = 'chaos submitter';
  const { sha256, rowCount, payments } = file;
  const batch = await transact(db, (tx) =>
    openBatch(tx, { sha256, source, rowCount, paymentCount: payments.length, principal }),
  );
  const context: AcceptContext = {
    policy,
    bookKey: await getBookKey(db),
    principal,
    priority: 'batch',
    batchId: batch.id,
  };
  for (let start = 0; start < payments.length; start += SUBMIT_BATCH) {
    await submitSome(db, context, payments.slice(start, start + SUBMIT_BATCH));
    await pause(SUBMIT_PAUSE_MS);
  }
  await transact(db, (tx) => markBatchSubmitted(tx, batch.id, principal));
}

/** The whole file, batch by batch; what was asked before is answered the same again. */
async function askRefunds(job: FileJob): Promise<void> {
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
async function payOut(job: FileJob): Promise<void> {
  const lines = JSON.parse(await readFile(job.file, 'utf8')) as readonly PayoutLine[];
  const config = configOf(job.document);
  const db = await openBook({ connection: job.connection, book: 'paygate', max: 2 });
  const principal = 'chaos payer';
  try {
    for (const { seller } of lines) {
      const destination = `acct_${Buffer.from(seller).toString('hex')}`.slice(0, 40);
      const place = { pspAccount: PSP_ACCOUNT, destination };
      await createSeller(db, { seller, place, reason: 'the chaos run pays it', principal });
    }
    const sha256 = createHash('sha256').update(job.file).digest('hex');
    const submission = { principal, pspAccount: PSP_ACCOUNT, sha256, source: job.file };
    await submitPayouts(db, submission, lines.map(readLine));
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

async function submitSome(db: Db, context: AcceptContext, payments: readonly FilePayment[]): Promise<void> {
  let left = payments.map(({ request }) => fingerprint(request));
  for (let round = 0; left.length > 0; round += 1) {
    if (round > MAX_IN_PROGRESS) throw new Error(`${left.length} payments stay in progress`);
    const results = await submitPayments(db, context, left);
    const told = results.map((result, i) => ({ result, checkout: left[i]!.request.checkoutId }));
    print({ kind: 'batch', payments: told.flatMap(paymentOf) } satisfies SubmitterLine);
    for (const { result, checkout } of told) {
      if (!isRefused(result)) continue;
      print({ kind: 'refused', checkout, why: `${result.kind}: ${result.message}` } satisfies SubmitterLine);
    }
    left = left.filter((_, i) => results[i]!.kind === 'request_in_progress');
  }
}

function paymentOf(told: { result: SubmitResult; checkout: string }): readonly (readonly [string, string])[] {
  return 'answer' in told.result ? [[told.checkout, told.result.answer.payment_id]] : [];
}

type Refused = Extract<SubmitResult, { readonly message: string }>;

function isRefused(result: SubmitResult): result is Refused {
  return 'message' in result;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
