/**
 * Breaks of every kind, planted among lines that are right: each is found, exactly as often as it was planted, and nothing else is.
 * The plants and their places are drawn from a seed.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  applyOutside,
  claim,
  openTestBook,
  orderRequest,
  paymentRequest,
  queueCharges,
  REPLY,
  startTestDaemon,
  type TestBook,
  type TestDaemon,
  uniqueName,
} from '../../testing/fixtures.ts';
import {
  backdate,
  type Charged,
  charged,
  line,
  lineOf,
  reconcile,
  settling,
} from '../../testing/settlement-fixtures.ts';
import { verifyLedger } from '../ledger/verify-ledger.ts';
import { parseCurrency } from '../money.ts';
import { findingOf, recordFindings } from '../operation/execute-operations.ts';
import { retryOrder } from '../payment/retry-order.ts';
import { getBookKey } from '../queue/queue-store.ts';
import { submitRefunds } from '../refund/submit-refunds.ts';
import { BREAK_CODES, type BreakCode } from './reconcile-answer.ts';
import type { SettlementLine } from './settlement-line.ts';

/** Lines that are right. A larger number: PAYGATE_PLANTED_LINES. */
const PLAIN = Number(process.env.PAYGATE_PLANTED_LINES ?? 1_500);
const USD = parseCurrency('USD')!;

let book: TestBook;
let daemon: TestDaemon;
beforeAll(async () => {
  book = await openTestBook();
  daemon = await startTestDaemon(book.db);
});
afterAll(async () => {
  expect((await verifyLedger(book.db)).verdict).toBe('balanced');
  await book.close();
});

/** A small generator of numbers below one, the same for the same seed. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

type Planted = {
  readonly lines: readonly SettlementLine[];
  /** How often each code must be found open. */
  readonly open: Partial<Record<BreakCode, number>>;
  /** Resolved by the run itself. */
  readonly resolved: number;
};

class Garden {
  readonly account: string;
  readonly random: () => number;
  readonly lines: SettlementLine[] = [];
  readonly open: Partial<Record<BreakCode, number>> = {};
  resolved = 0;
  private pool: readonly Charged[] = [];
  private next = 0;

  constructor(account: string, random: () => number) {
    this.account = account;
    this.random = random;
  }

  async fill(count: number): Promise<void> {
    this.pool = await charged(book.db, daemon, this.account, count, 1_000);
  }

  take(): Charged {
    const charge = this.pool[this.next++];
    if (charge === undefined) throw new Error('the pool of charges is too small');
    return charge;
  }

  times(): number {
    return 1 + Math.floor(this.random() * 4);
  }

  expectOpen(code: BreakCode, count = 1): void {
    this.open[code] = (this.open[code] ?? 0) + count;
  }

  /** Everything that is left of the pool is shown rightly, in an order of chance. */
  finish(): Planted {
    while (this.next < this.pool.length) this.lines.push(lineOf(this.take(), { feeMinor: 25n }));
    for (let i = this.lines.length - 1; i > 0; i -= 1) {
      const j = Math.floor(this.random() * (i + 1));
      [this.lines[i], this.lines[j]] = [this.lines[j]!, this.lines[i]!];
    }
    return { lines: this.lines, open: this.open, resolved: this.resolved };
  }
}

/** Plants one of each code, on charges of the pool. */
const PLANTS: Partial<Record<BreakCode, (garden: Garden) => void | Promise<void>>> = {
  missing_internal: (g) => {
    g.lines.push(line({ grossMinor: 9_000_001n, paymentReference: uniqueName('pi_nobody') }));
  },
  missing_external: (g) => void g.take(),
  amount_mismatch: (g) => {
    const charge = g.take();
    g.lines.push(lineOf(charge, { grossMinor: charge.amountMinor - 1n, netMinor: charge.amountMinor - 1n }));
  },
  currency_mismatch: (g) => {
    g.lines.push(lineOf(g.take(), { currency: USD }));
  },
  fx_variance: (g) => {
    const charge = g.take();
    const original = { currency: line().currency, amountMinor: charge.amountMinor - 3n };
    g.lines.push(lineOf(charge, { currency: USD, original }));
  },
  fee_mismatch: (g) => {
    const charge = g.take();
    g.lines.push(lineOf(charge, { feeMinor: 30n, netMinor: charge.amountMinor - 31n }));
  },
  duplicate_external: (g) => {
    const charge = g.take();
    g.lines.push(lineOf(charge), lineOf(charge, { lineKey: uniqueName('txn_again') }));
  },
  refund_unexpected: (g) => {
    g.lines.push(line({ kind: 'refund', grossMinor: -777_001n, reference: uniqueName('re_nobody') }));
  },
  chargeback_unbooked: (g) => {
    const paymentReference = uniqueName('pi_nobody');
    g.lines.push(
      line({ kind: 'dispute', grossMinor: -4_444n, reference: uniqueName('dp'), paymentReference }),
    );
  },
  chargeback_reversed: (g) => {
    g.lines.push(line({ kind: 'dispute_reversed', grossMinor: 4_321n, reference: uniqueName('dp') }));
  },
  returned_payout: (g) => {
    g.lines.push(line({ kind: 'payout_returned', grossMinor: 5_432n, reference: uniqueName('tr_nobody') }));
  },
  unclassified_line: (g) => {
    g.lines.push(line({ kind: 'unclassified', rawType: 'issuing_dispute', grossMinor: -66n }));
  },
  late_adjustment: (g) => {
    g.lines.push(line({ kind: 'adjustment', grossMinor: -67n }));
  },
  reserve_movement: (g) => {
    g.lines.push(line({ kind: 'reserve_held', grossMinor: -68n }));
  },
  direction_mismatch: (g) => {
    g.lines.push(line({ kind: 'refund', grossMinor: 69n, batch: uniqueName('backwards') }));
  },
};

/** Codes that need more than a line: a refund, a doubt, a second success. */
async function refundOf(garden: Garden, charge: Charged, reference: string): Promise<void> {
  const context = {
    policy: { fee: 'proportional', overdraw: 'allowed' } as const,
    bookKey: await getBookKey(book.db),
    principal: 'test:refund',
    accountOf: () => ({ psp: 'stripe' as const }),
  };
  const request = {
    refundId: uniqueName('refund'),
    orderId: charge.orderId,
    amount: null,
    reason: 'test',
    cause: 'request' as const,
  };
  await submitRefunds(book.db, context, [request]);
  const tasks = await claim(daemon, garden.account);
  await recordFindings(
    daemon.context,
    tasks.map((task) => findingOf(task, { kind: 'succeeded', pspReference: reference })),
  );
}

async function plantRefundMissing(g: Garden): Promise<void> {
  const charge = g.take();
  g.lines.push(lineOf(charge));
  await refundOf(g, charge, uniqueName('re'));
}

/** A dispute of one of our charges is booked from its line, and what comes back too. */
function plantDispute(g: Garden): void {
  const charge = g.take();
  const dispute = { reference: uniqueName('dp'), paymentReference: charge.reference };
  g.lines.push(lineOf(charge));
  g.lines.push(line({ ...dispute, kind: 'dispute', grossMinor: -charge.amountMinor, feeMinor: 1_500n }));
  g.resolved += 1;
}

async function plantRefundAndChargeback(g: Garden): Promise<void> {
  const charge = g.take();
  const reference = uniqueName('re');
  await refundOf(g, charge, reference);
  g.lines.push(
    lineOf(charge),
    line({ kind: 'refund', grossMinor: -charge.amountMinor, reference, paymentReference: charge.reference }),
  );
  g.lines.push(
    line({
      kind: 'dispute',
      grossMinor: -charge.amountMinor,
      reference: uniqueName('dp'),
      paymentReference: charge.reference,
    }),
  );
}

async function plantStatus(g: Garden, reply: 'unknown' | 'declined'): Promise<void> {
  const [queued] = await queueCharges(book.db, g.account, [paymentRequest()]);
  const tasks = await claim(daemon, g.account);
  const task = tasks.find(({ job }) => job.operationId === queued!.operationId);
  await recordFindings(daemon.context, [findingOf(task!, REPLY[reply])]);
  const reference = uniqueName('pi_late');
  g.lines.push(
    line({
      grossMinor: 1_250n,
      reference: uniqueName('ch'),
      paymentReference: reference,
      ourReference: `op_${queued!.operationId}`,
    }),
  );
}

async function plantSurplus(g: Garden): Promise<void> {
  const [queued] = await queueCharges(book.db, g.account, [paymentRequest({ orders: [orderRequest()] })]);
  const [first, second] = [uniqueName('pi_first'), uniqueName('pi_second')];
  const [task] = await claim(daemon, g.account);
  await recordFindings(daemon.context, [findingOf(task!, { ...REPLY.declined, pspReference: first })]);
  const context = {
    risk: { maxPaymentMinor: new Map(), blockedBuyers: new Set<string>(), blockedSellers: new Set<string>() },
    bookKey: await getBookKey(book.db),
    principal: 'test:retry',
    accountOf: () => ({ psp: 'stripe' as const }),
  };
  const retry = { orderId: queued!.orderId, paymentMethod: 'pm_other', idempotencyKey: uniqueName('retry') };
  await retryOrder(book.db, context, queued!.paymentId, retry);
  const [again] = await claim(daemon, g.account);
  await recordFindings(daemon.context, [findingOf(again!, { kind: 'succeeded', pspReference: second })]);
  const reply = { kind: 'succeeded', pspReference: first } as const;
  await applyOutside(book.db, [
    { operationId: queued!.operationId, attemptNumber: 1, source: 'enquiry', reply, held: null },
  ]);
  for (const reference of [first, second]) {
    g.lines.push(line({ grossMinor: 1_250n, reference: `ch_${reference}`, paymentReference: reference }));
  }
}

/** The same amount and day as one open item, and no name in common. */
async function plantAmbiguous(g: Garden, minor: number): Promise<void> {
  await charged(book.db, daemon, g.account, 1, minor);
  const occurredAt = new Date().toISOString();
  g.lines.push(line({ grossMinor: BigInt(minor), paymentReference: uniqueName('pi_other'), occurredAt }));
}

async function plant(seed: number): Promise<Planted & { readonly account: string }> {
  const garden = new Garden(uniqueName('acct'), generator(seed));
  await garden.fill(PLAIN);
  for (const [code, sow] of Object.entries(PLANTS)) {
    for (let n = garden.times(); n > 0; n -= 1) {
      await sow(garden);
      garden.expectOpen(code as BreakCode);
    }
  }
  const grown: readonly [BreakCode, (g: Garden) => Promise<void>][] = [
    ['refund_missing', plantRefundMissing],
    ['refund_and_chargeback', plantRefundAndChargeback],
    ['status_mismatch', (g) => plantStatus(g, 'declined')],
    ['duplicate_internal', plantSurplus],
  ];
  for (const [code, sow] of grown) {
    for (let n = garden.times(); n > 0; n -= 1) {
      await sow(garden);
      garden.expectOpen(code);
    }
  }
  for (let n = garden.times(); n > 0; n -= 1) {
    await plantStatus(garden, 'unknown');
    garden.resolved += 1;
  }
  for (let n = garden.times(); n > 0; n -= 1) plantDispute(garden);
  await backdate(book.owner, garden.account, '10 days');
  for (let n = garden.times(); n > 0; n -= 1) {
    await plantAmbiguous(garden, 8_000_000 + n);
    garden.expectOpen('ambiguous');
  }
  const stated = uniqueName('batch');
  garden.lines.push(line({ kind: 'adjustment', grossMinor: 10n, batch: stated }));
  garden.expectOpen('batch_out_of_balance');
  return { ...garden.finish(), account: garden.account };
}

describe.each([1, 2, 3])('seed %i', (seed) => {
  test('every planted break is found, as often as planted, and no other', async () => {
    const { account, lines, open, resolved } = await plant(seed);
    const batch = lines.find((one) => one.batch?.startsWith('batch'))!.batch;
    const currency = line().currency;
    const totals = [{ batch, currency, openingMinor: null, closingMinor: null, sumMinor: 11n }];
    const policy = { accounts: new Map([[account, settling('now')]]), writeOffLimits: new Map() };
    const answer = await reconcile(book.db, `psp:${account}`, { lines, totals }, { policy });
    const found: Partial<Record<BreakCode, number>> = {};
    for (const { code, tally } of answer.byCode) found[code] = (found[code] ?? 0) + tally.count;
    expect(found).toEqual(open);
    expect(answer.resolvedCount).toBe(resolved);
    for (const proof of answer.proofs) expect(proof.closing.residualMinor).toBe(0n);
    // Refused batches are told, and nothing else is wrong with the proofs.
    expect(answer.status).toBe('incomplete');
    for (const { balance, receivable } of answer.proofs) {
      expect(balance.mirrorMinor).toBe(balance.linesMinor);
      expect(receivable.openingMinor + receivable.factsMinor + receivable.linesMinor).toBe(
        receivable.closingMinor,
      );
    }
  });
});

test('every code is planted here, but those of a bank', async () => {
  const planted = new Set<string>([
    ...Object.keys(PLANTS),
    'refund_missing',
    'refund_and_chargeback',
    'status_mismatch',
  ]);
  for (const code of ['duplicate_internal', 'ambiguous', 'batch_out_of_balance']) planted.add(code);
  expect(BREAK_CODES.filter((code) => !planted.has(code))).toEqual([
    'deposit_missing_at_bank',
    'deposit_amount_differs',
  ]);
});
