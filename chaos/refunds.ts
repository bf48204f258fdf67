/**
 * Asks some succeeded orders back while everything is killed: a file of refunds per wave, given to a process of its own
 * that is killed while it works, given the same file again, and sometimes two at once. Remembers every answer.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Currency, formatAmount } from '../src/core/money.ts';
import type { RefundAnswer, RefundBody } from './child.ts';
import type { Eyes } from './database.ts';
import type { WavePlan } from './plan.ts';
import { pause } from './processes.ts';
import type { Random } from './random.ts';
import { giveUntilDone, type SubmitContext } from './submit.ts';

/** Orders asked back, of those that a wave finds succeeded. */
const SHARE_ASKED = 0.15;
/** Looked at per wave. */
const CANDIDATES = 200;
/** Small, so that a killed process has always some done and some not. */
const BATCH = 4;
/** Until something has succeeded (ms, looks). */
const LOOK_PAUSE_MS = 500;
const MAX_LOOKS = 8;
/** Every amount is a whole number of these at Stripe: tens of a fils, whole króna. */
const KWD_STEP = 10n;

export type AskedRefund = {
  readonly orderId: bigint;
  /** Null: all that is left. */
  readonly amountMinor: bigint | null;
};

export type RefundSubmissions = {
  readonly asked: Map<string, AskedRefund>;
  /** Name to our id, as answered after commit. */
  readonly answers: Map<string, string>;
  /** Name to the kind of refusal. */
  readonly refusals: Map<string, string>;
  readonly contradictions: string[];
  /** Answers that a name got after its first. */
  repeats: number;
  kills: number;
};

export function createRefundSubmissions(): RefundSubmissions {
  return {
    asked: new Map(),
    answers: new Map(),
    refusals: new Map(),
    contradictions: [],
    repeats: 0,
    kills: 0,
  };
}

export type RefundsContext = SubmitContext & { readonly refunds: RefundSubmissions; readonly eyes: Eyes };

/** Resolves when every refund of the wave was answered, most of them at least twice. */
export async function refundWave(context: RefundsContext, wave: WavePlan, random: Random): Promise<void> {
  const { refunds } = context;
  const orders = await findSucceeded(context);
  const chosen = orders.filter(
    ({ orderId }) =>
      random.chance(SHARE_ASKED) && ![...refunds.asked.values()].some((one) => one.orderId === orderId),
  );
  if (chosen.length === 0) return;
  const bodies = chosen.flatMap((order) => planRefunds(refunds, order, wave.number, random));
  const file = join(context.folder, `refunds-${wave.number}.json`);
  await writeFile(file, JSON.stringify(batchesOf(bodies)));
  const { document, connection } = context;
  const give = async (kills: readonly number[]): Promise<void> => {
    refunds.kills += await giveUntilDone(context, {
      job: { role: 'refunder', document, connection, file },
      kills,
      onLine: (line) => {
        if (line.kind !== 'refunds') return;
        for (const answer of line.answers) noteAnswer(refunds, answer);
      },
    });
  };
  await Promise.all([give(wave.submitterKills), wave.mode === 'once' ? null : give([])]);
  // Once more, when all of them have been answered.
  await give([]);
}

/** A person asks anew for what an order has not given back yet. @returns how many were asked */
export async function askAgain(
  context: RefundsContext,
  orderIds: readonly bigint[],
  round: number,
): Promise<number> {
  const { refunds, document, connection } = context;
  if (orderIds.length === 0) return 0;
  const bodies = orderIds.map((orderId) => {
    const name = `chaos-person${round}-ord_${orderId}`;
    refunds.asked.set(name, { orderId, amountMinor: null });
    return { refund_id: name, payment_order_id: `ord_${orderId}` };
  });
  const file = join(context.folder, `refunds-again-${round}.json`);
  await writeFile(file, JSON.stringify(batchesOf(bodies)));
  await giveUntilDone(context, {
    job: { role: 'refunder', document, connection, file },
    kills: [],
    onLine: (line) => {
      if (line.kind !== 'refunds') return;
      for (const answer of line.answers) noteAnswer(refunds, answer);
    },
  });
  return bodies.length;
}

type Candidate = { readonly orderId: bigint; readonly amountMinor: bigint; readonly currency: string };

async function findSucceeded({ eyes }: RefundsContext): Promise<readonly Candidate[]> {
  for (let look = 0; look < MAX_LOOKS; look += 1) {
    const db = eyes.db();
    const rows = await db.sql<Candidate[]>`
      select payment_order_id as order_id, amount_minor, currency
        from ${db.t.operation}
       where kind = 'charge'
         and sub_state = 'succeeded'
       order by id desc
       limit ${CANDIDATES}`.catch(() => []);
    if (rows.length > 0) return rows;
    await pause(LOOK_PAUSE_MS);
  }
  return [];
}

/** All of it, a part, two parts that are all of it, or more than there is. */
function planRefunds(
  refunds: RefundSubmissions,
  order: Candidate,
  wave: number,
  random: Random,
): readonly RefundBody[] {
  const { orderId, amountMinor } = order;
  const step = order.currency === 'KWD' ? KWD_STEP : 1n;
  const half = (amountMinor / (2n * step)) * step;
  const amounts = random.pick<readonly (bigint | null)[]>([
    [null],
    [amountMinor],
    [half],
    [half, amountMinor - half],
    [half, null],
    [amountMinor + step],
    [amountMinor, half],
  ]);
  return amounts.map((amount, part) => {
    const name = `chaos-w${wave}-ord_${orderId}-${part}`;
    refunds.asked.set(name, { orderId, amountMinor: amount });
    return bodyOf(name, order, amount);
  });
}

function bodyOf(name: string, order: Candidate, amountMinor: bigint | null): RefundBody {
  const currency = order.currency as Currency;
  return {
    refund_id: name,
    payment_order_id: `ord_${order.orderId}`,
    ...(amountMinor === null ? {} : { amount: formatAmount({ amountMinor, currency }) }),
  };
}

function batchesOf(bodies: readonly RefundBody[]): readonly (readonly RefundBody[])[] {
  const batches: (readonly RefundBody[])[] = [];
  for (let start = 0; start < bodies.length; start += BATCH) batches.push(bodies.slice(start, start + BATCH));
  return batches;
}

/** One name has one answer for ever, and once it was accepted it is never refused. A refusal may come to be accepted. */
function noteAnswer(refunds: RefundSubmissions, { name, kind, id }: RefundAnswer): void {
  const before = refunds.answers.get(name);
  if (before !== undefined || refunds.refusals.has(name)) refunds.repeats += 1;
  if (id === null) {
    refunds.refusals.set(name, kind);
    if (before !== undefined)
      refunds.contradictions.push(`${name} was answered as ${before} and then refused: ${kind}`);
    return;
  }
  if (before !== undefined && before !== id)
    refunds.contradictions.push(`${name} was answered as ${before} and as ${id}`);
  refunds.refusals.delete(name);
  refunds.answers.set(name, id);
}
