/**
 * Turns what `payments submit` was given, a file or the flags of one payment, into checked payments. All or
 * nothing: with one fault it says every fault and gives none. Submits nothing.
 */
import { OperatorError } from '../../core/errors.ts';
import { type AcceptPolicy, findInexpressible } from '../../core/payment/accept-payments.ts';
import { type FileFault, MAX_LISTED_FAULTS } from '../../core/payment/file-fault.ts';
import { type PaymentFileFormat, parsePaymentFile } from '../../core/payment/parse-payment-file.ts';
import type { FilePayment } from '../../core/payment/payment-collector.ts';
import { readPaymentRequest } from '../../core/payment/payment-request.ts';
import type { Session } from '../session.ts';
import { sumUp, type Totals } from '../words.ts';
import { badRows, readBatchFile, sourceOf } from './batch-file.ts';

/** What one payment's flags are called in a body. */
type PaymentFields = {
  readonly checkout_id: string | undefined;
  readonly idempotency_key: string | undefined;
  readonly buyer: string | undefined;
  readonly seller: string | undefined;
  readonly amount: string | undefined;
  readonly currency: string | undefined;
  readonly payment_method: string | undefined;
  readonly platform_fee: string | undefined;
  readonly order_ref: string | undefined;
  readonly customer_present: true | undefined;
  readonly return_url: string | undefined;
};

export type SubmitFlags = {
  readonly file: string | null;
  readonly format: PaymentFileFormat | null;
  /** How long to follow (s); null: not at all. */
  readonly waitS: number | null;
  readonly fields: PaymentFields;
  readonly metadata: readonly string[];
};

/** A file's bytes name its batch; the flags of one payment make none. */
type FileIdentity = { readonly sha256: string; readonly source: string; readonly rowCount: number };

export type PaymentInput = {
  readonly payments: readonly FilePayment[];
  readonly totals: Totals;
  readonly file: FileIdentity | null;
};

/**
 * @throws OperatorError input_missing, file_and_flags, file_unreadable, file_has_bad_rows, payment_invalid
 */
export async function readPaymentInput(
  session: Session,
  flags: SubmitFlags,
  policy: AcceptPolicy,
): Promise<PaymentInput> {
  const given = Object.values(flags.fields).some((value) => value !== undefined) || flags.metadata.length > 0;
  if (flags.file !== null && given) {
    throw new OperatorError('file_and_flags', 'Give a batch file or the flags of one payment, not both.');
  }
  if (flags.file !== null) return readBatch(session, flags.file, flags.format, policy);
  if (given) return readFlags(flags, policy);
  throw new OperatorError(
    'input_missing',
    'Name a batch file (- is standard input), or give --checkout, --buyer, --seller, --amount, --currency and --method.',
  );
}

/**
 * A batch file, checked whole.
 * @param policy null: whether the PSP can express the amounts is not looked at
 * @throws OperatorError file_unreadable, file_has_bad_rows
 */
export async function readBatch(
  session: Session,
  name: string,
  format: PaymentFileFormat | null,
  policy: AcceptPolicy | null,
): Promise<PaymentInput> {
  const options = format === null ? {} : { format };
  const parsed = await readBatchFile(session, name, (input) => parsePaymentFile(input, options));
  const source = sourceOf(name);
  if (parsed.kind === 'bad')
    throw await badRows(session, source, parsed.faults, parsed.faultCount, parsed.rowCount);
  const faults = policy === null ? [] : inexpressible(parsed.payments, policy);
  if (faults.length > 0) {
    throw await badRows(session, source, faults.slice(0, MAX_LISTED_FAULTS), faults.length, parsed.rowCount);
  }
  const { payments, totals, sha256, rowCount } = parsed;
  return { payments, totals, file: { sha256, source, rowCount } };
}

/** What the PSP cannot express exactly is a fault of the row, found before anything is stored. */
function inexpressible(payments: readonly FilePayment[], policy: AcceptPolicy): readonly FileFault[] {
  return payments.flatMap(({ request, line }) => {
    const reason = findInexpressible(request, policy);
    return reason === null ? [] : [{ line, column: 'amount', code: 'not_expressible', message: reason }];
  });
}

function readFlags(flags: SubmitFlags, policy: AcceptPolicy): PaymentInput {
  const { checkout_id, idempotency_key, buyer, ...order } = flags.fields;
  const metadata = flags.metadata.length === 0 ? undefined : readMetadata(flags.metadata);
  const reading = readPaymentRequest({
    checkout_id,
    idempotency_key,
    buyer,
    payment_orders: [{ ...order, metadata }],
  });
  if (reading.kind === 'bad') throw badFlags(reading.faults);
  const reason = findInexpressible(reading.request, policy);
  if (reason !== null) {
    const message = reason.replace(/^payment_orders\[0\]: /, '');
    throw badFlags([{ field: 'payment_orders[0].amount', code: 'too_many_decimals', message }]);
  }
  const payments = [{ request: reading.request, line: 1 }];
  return { payments, totals: sumUp(reading.request.orders.map((one) => one.money)), file: null };
}

/** @throws OperatorError metadata_invalid */
function readMetadata(texts: readonly string[]): Readonly<Record<string, string>> {
  const entries = texts.map((text) => {
    const equals = text.indexOf('=');
    if (equals > 0) return [text.slice(0, equals), text.slice(equals + 1)] as const;
    throw new OperatorError('metadata_invalid', '--metadata must be key=value.');
  });
  return Object.fromEntries(entries);
}

const FLAG_OF_FIELD: Readonly<Record<string, string>> = {
  checkout_id: '--checkout',
  idempotency_key: '--key',
  payment_method: '--method',
  platform_fee: '--fee',
};

type RequestFault = Extract<ReturnType<typeof readPaymentRequest>, { kind: 'bad' }>['faults'][number];

function badFlags(faults: readonly RequestFault[]): OperatorError {
  const isKeyOnlyDefault = faults.some((fault) => fault.field === 'checkout_id');
  const told = faults
    .filter((fault) => !(fault.field === 'idempotency_key' && isKeyOnlyDefault))
    .map((fault) => {
      const field = fault.field.replace(/^payment_orders\[0\]\./, '').replace(/[.[].*$/, '');
      return {
        flag: FLAG_OF_FIELD[field] ?? `--${field.replaceAll('_', '-')}`,
        code: fault.code,
        message: fault.message,
      };
    });
  return new OperatorError(
    'payment_invalid',
    ['This payment is not right:', ...told.map(({ flag, message }) => `  ${flag} ${message}`)].join('\n'),
    {
      details: { faults: told },
    },
  );
}
