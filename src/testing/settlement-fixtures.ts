/** Settlement files made by hand, and the charges that they settle: helpers of reconciliation's tests. For tests only. */
import { createHash } from 'node:crypto';
import type { Db } from '../core/db/connection.ts';
import { findingOf, recordFindings } from '../core/operation/execute-operations.ts';
import { capabilitiesOf } from '../core/psp/request.ts';
import type { ReconcileAnswer } from '../core/settlement/reconcile-answer.ts';
import {
  type ReconcileRequest,
  type ReconcileResult,
  reconcileFile,
} from '../core/settlement/reconcile-file.ts';
import type {
  LineBlock,
  SettlementLine,
  SettlementReading,
  StatedTotal,
} from '../core/settlement/settlement-line.ts';
import { type AccountSettlement, DEFAULT_SETTLEMENT } from '../core/settlement/settlement-policy.ts';
import {
  claim,
  money,
  orderRequest,
  paymentRequest,
  queueCharges,
  type TestDaemon,
  uniqueName,
} from './fixtures.ts';

/** A charge that succeeded, as a line must show it. */
export type Charged = {
  readonly operationId: bigint;
  readonly orderId: bigint;
  readonly reference: string;
  readonly amountMinor: bigint;
};

/** Accepted at once, claimed at once (the limits of the workflows). */
const AT_ONCE = 100;

/** Charges that succeed, with amounts that differ from each other: 10.00, 10.01, … */
export async function charged(
  db: Db,
  daemon: TestDaemon,
  pspAccount: string,
  count: number,
  firstMinor = 1_000,
  code = 'EUR',
): Promise<readonly Charged[]> {
  const done: Charged[] = [];
  for (let from = 0; from < count; from += AT_ONCE) {
    const amounts = Array.from({ length: Math.min(AT_ONCE, count - from) }, (_, i) => firstMinor + from + i);
    const requests = amounts.map((minor) =>
      paymentRequest({ orders: [orderRequest({ money: money((minor / 100).toFixed(2), code) })] }),
    );
    const queued = await queueCharges(db, pspAccount, requests);
    // Others of the account may be in doubt, and due again: they stay so.
    const own = new Set(queued.map(({ operationId }) => operationId));
    const tasks = (await claim(daemon, pspAccount, AT_ONCE)).filter(({ job }) => own.has(job.operationId));
    await recordFindings(
      daemon.context,
      tasks.map((task) => {
        return findingOf(task, { kind: 'succeeded', pspReference: `pi_${task.job.operationId}` });
      }),
    );
    done.push(
      ...queued.map(({ operationId, orderId }, i) => ({
        operationId,
        orderId,
        reference: `pi_${operationId}`,
        amountMinor: BigInt(amounts[i]!),
      })),
    );
  }
  return done;
}

let nextRow = 2;

/** A line of which only what matters is given. */
export function line(overrides: Partial<SettlementLine> = {}): SettlementLine {
  const row = nextRow++;
  const grossMinor = overrides.grossMinor ?? 1_000n;
  const feeMinor = overrides.feeMinor ?? 0n;
  return {
    row,
    lineKey: `txn_${row}`,
    kind: 'charge',
    rawType: overrides.kind ?? 'charge',
    currency: money('1', 'EUR').currency,
    grossMinor,
    feeMinor,
    netMinor: grossMinor - feeMinor,
    reference: null,
    paymentReference: null,
    ourReference: null,
    original: null,
    occurredAt: '2026-11-20T10:00:00.000Z',
    availableOn: null,
    batch: null,
    raw: null,
    ...overrides,
  };
}

/** The line that a PSP's file has for a charge. */
export function lineOf(charge: Charged, overrides: Partial<SettlementLine> = {}): SettlementLine {
  return line({
    lineKey: `txn_${charge.operationId}`,
    grossMinor: charge.amountMinor,
    reference: `ch_${charge.operationId}`,
    paymentReference: charge.reference,
    ...overrides,
  });
}

export type MadeFile = {
  readonly lines: readonly SettlementLine[];
  readonly totals?: readonly StatedTotal[];
  readonly format?: SettlementReading['format'];
  /** Lines of a block. */
  readonly blockLines?: number;
};

function text(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? part.toString() : part));
}

export function shaOf(file: MadeFile): string {
  return createHash('sha256').update(text(file)).digest('hex');
}

/** A reading whose blocks are there already. */
export function readingOf(file: MadeFile): SettlementReading {
  const { lines, totals = [], blockLines = 2_000, format = 'stripe_balance' } = file;
  async function* blocks(): AsyncGenerator<LineBlock> {
    for (let from = 0; from < lines.length; from += blockLines) {
      yield { lines: lines.slice(from, from + blockLines), bytesRead: from };
    }
  }
  const typeCounts = new Map<string, number>();
  for (const { rawType } of lines) typeCounts.set(rawType, (typeCounts.get(rawType) ?? 0) + 1);
  const times = lines.flatMap((one) => one.occurredAt ?? []).sort();
  return {
    format,
    blocks: blocks(),
    end: Promise.resolve({
      kind: 'ok',
      summary: {
        format,
        accounts: [],
        coversFrom: times[0] ?? null,
        coversTo: times.at(-1) ?? null,
        totals,
        lineCount: lines.length,
        typeCounts,
        sha256: shaOf(file),
        byteCount: lines.length * 100,
      },
    }),
  };
}

/** Everything is due at once, or nothing for months. */
export function settling(
  due: 'now' | 'later',
  overrides: Partial<AccountSettlement> = {},
): AccountSettlement {
  return {
    ...DEFAULT_SETTLEMENT,
    settleDays: due === 'now' ? 0 : 30,
    graceDays: due === 'now' ? 0 : 30,
    ...overrides,
  };
}

export function reconcileRequest(
  source: string,
  file: MadeFile,
  overrides: Partial<ReconcileRequest> = {},
): ReconcileRequest {
  const name = source.replace(/^\w+:/, '');
  return {
    fileName: `${uniqueName('file')}.csv`,
    source,
    sha256: shaOf(file),
    open: async () => readingOf(file),
    mode: 'commit',
    rejects: 'refused',
    principal: 'test:reconcile',
    policy: { accounts: new Map([[name, settling('later')]]), writeOffLimits: new Map() },
    capabilitiesOf: () => capabilitiesOf('stripe'),
    ...overrides,
  };
}

/** Reconciles a usable file. */
export async function reconcile(
  db: Db,
  source: string,
  file: MadeFile,
  overrides: Partial<ReconcileRequest> = {},
): Promise<ReconcileAnswer> {
  return answered(await reconcileFile(db, reconcileRequest(source, file, overrides)));
}

export function answered(result: ReconcileResult): ReconcileAnswer {
  if (result.kind !== 'answered') throw new Error(`the file was refused: ${result.faultCount} faults`);
  return result.answer;
}

/** Facts of the account are as old as this: what a calendar and the safety lag see. */
export async function backdate(owner: Db, pspAccount: string, interval: string): Promise<void> {
  await owner.sql.begin(async (sql) => {
    await sql`set local session_replication_role = 'replica'`;
    await sql`
      update ${owner.t.journalEntry} e set recorded_at = now() - ${interval}::text::interval
       where exists (select from ${owner.t.posting} p join ${owner.t.account} a on a.id in (p.debit_id, p.credit_id)
                      where p.entry_id = e.id and a.code = ${`psp:${pspAccount}:receivable`})`;
  });
}

/** The facts of these payments are so much younger again: as if they had been booked later than what {@link backdate} made old. */
export async function postdate(owner: Db, references: readonly string[], interval: string): Promise<void> {
  await owner.sql.begin(async (sql) => {
    await sql`set local session_replication_role = 'replica'`;
    await sql`
      update ${owner.t.journalEntry} set recorded_at = recorded_at + ${interval}::text::interval
       where cause in (select 'op_' || id from ${owner.t.operation}
                        where psp_reference in (select json_array_elements_text(${JSON.stringify(references)}::text::json)))`;
  });
}
