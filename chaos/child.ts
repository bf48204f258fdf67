/**
 * What the run's own kinds of process do: the sandbox, and what submits a file of payments; what works on refunds,
 * payouts and letters stands in child-work.ts. (Daemons are started by the command line, as anybody would.) Each gets
 * its job as one JSON argument and leaves when its parent is gone.
 */
import { readFile } from 'node:fs/promises';
import { type ConnectionOptions, type Db, openBook, transact } from '../src/core/db/connection.ts';
import { type AcceptContext, fingerprint } from '../src/core/payment/accept-payments.ts';
import { type PaymentFile, parsePaymentFile } from '../src/core/payment/parse-payment-file.ts';
import type { FilePayment } from '../src/core/payment/payment-collector.ts';
import { markBatchSubmitted, openBatch } from '../src/core/payment/payment-store.ts';
import { type SubmitResult, submitPayments } from '../src/core/payment/submit-payments.ts';
import { getBookKey } from '../src/core/queue/queue-store.ts';
import type { SandboxOptions } from '../src/daemon/sandbox/main.ts';
import { configOf, print, SUBMIT_PAUSE_MS } from './child-tools.ts';
import { pause } from './processes.ts';
import type { Account } from './psps.ts';

export type ChildJob =
  | { readonly role: 'sandbox'; readonly options: SandboxOptions }
  | {
      readonly role: 'submitter';
      readonly document: unknown;
      readonly connection: ConnectionOptions;
      readonly file: string;
    }
  | {
      /** JSON. `refunder`: batches of {@link RefundBody}; `payer`: {@link PayoutLine}s; `person`: {@link Deed}s. */
      readonly role: 'refunder' | 'payer' | 'person';
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
  /** The PSP account that pays. */
  readonly pspAccount: Account;
};

/** A refund as it is asked for, in JSON as over HTTP. */
export type RefundBody = {
  readonly refund_id: string;
  readonly payment_order_id: string;
  readonly amount?: string;
};

/** `id`: ours, null for a refusal. */
export type RefundAnswer = { readonly name: string; readonly kind: string; readonly id: string | null };

/** What a person does with a dead letter, or with an operation that nobody else can end. */
export type Deed =
  | { readonly kind: 'replay'; readonly letters: readonly string[]; readonly action: 'send' | null }
  | {
      readonly kind: 'resolve';
      readonly operation: string;
      readonly verdict: 'succeeded' | 'failed';
      readonly pspReference: string | null;
    };

export type FileJob = Extract<ChildJob, { role: 'refunder' | 'payer' | 'person' }>;

/** What a submitter prints, one JSON line per batch, as soon as the batch is committed. */
export type SubmitterLine =
  | { readonly kind: 'batch'; readonly payments: readonly (readonly [checkout: string, payment: string])[] }
  | { readonly kind: 'refused'; readonly checkout: string; readonly why: string }
  | { readonly kind: 'refunds'; readonly answers: readonly RefundAnswer[] }
  | { readonly kind: 'payouts' }
  | { readonly kind: 'deed'; readonly done: number; readonly refused: readonly string[] }
  | { readonly kind: 'done' };

/** Payments of one transaction: small, so that a killed submitter has always some done and some not. */
const SUBMIT_BATCH = 15;
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
      return (await import('./child-work.ts')).askRefunds(job);
    case 'payer':
      return (await import('./child-work.ts')).payOut(job);
    case 'person':
      return (await import('./child-work.ts')).actAsPerson(job);
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
