/**
 * What a chaos run will do, decided before it begins from the seed alone: files of payments in waves, and one
 * kill for each wave. Decides only. The plan repeats exactly; how the machine's timing meets it does not.
 */
import { accountOf, methodAt, SELLERS } from './psps.ts';
import { createRandom, type Random } from './random.ts';

/**
 * daemon_kill, sandbox_kill, postgres_kill: kill -9. daemon_stop: SIGSTOP past the lease, then SIGCONT.
 * daemon_term: graceful. postgres_immediate: SIGQUIT. postgres_away: gone for longer than the lease.
 * sandbox_away: refuses connections for a while.
 */
export type KillKind =
  | 'daemon_kill'
  | 'daemon_stop'
  | 'daemon_term'
  | 'sandbox_kill'
  | 'sandbox_away'
  | 'postgres_kill'
  | 'postgres_immediate'
  | 'postgres_away';

/** How often each kind comes in 30 kills. */
const DECK: Readonly<Record<KillKind, number>> = {
  daemon_kill: 9,
  postgres_kill: 5,
  sandbox_kill: 4,
  daemon_stop: 4,
  postgres_immediate: 3,
  daemon_term: 2,
  postgres_away: 2,
  sandbox_away: 1,
};

export type KillPlan = {
  readonly kind: KillKind;
  /** From the beginning of its wave to the kill (ms). */
  readonly afterMs: number;
  /** How long the part stays killed, stopped or away (ms). */
  readonly downMs: number;
  /** From the end of the kill to the next wave (ms). */
  readonly restMs: number;
  /** In [0, 1): which of several daemons. */
  readonly choice: number;
};

type PlannedOrder = {
  readonly seller: string;
  /** As the file has it, in major units. */
  readonly amount: string;
  readonly currency: string;
  readonly method: string;
  readonly customerPresent: boolean;
};

export type PlannedPayment = {
  readonly checkoutId: string;
  readonly buyer: string;
  readonly orders: readonly PlannedOrder[];
};

/** `twice`: two processes submit the same file at once. `two_keys`: the second file asks with keys of its own. */
type SubmitMode = 'once' | 'twice' | 'two_keys';

export type WavePlan = {
  readonly number: number;
  readonly payments: readonly PlannedPayment[];
  readonly mode: SubmitMode;
  /** The submitter is killed -9 after so many accepted batches, once per number, and the file given again. */
  readonly submitterKills: readonly number[];
  /** In [0, 1): which orders are hit by the same fault again and again. */
  readonly saboteur: readonly number[];
  /** `refusals`: the sandbox answers 401 for a while; `limits`: 429. */
  readonly burst: 'none' | 'refusals' | 'limits';
  /** 0: the sellers' shares of the wave are available at capture; else after so many days. */
  readonly releaseAfterDays: number;
};

export type Plan = {
  readonly seed: number;
  readonly orders: number;
  readonly waves: readonly WavePlan[];
  readonly kills: readonly KillPlan[];
};

/** Waves beyond one per kill: a kill that met nothing is made up for, and needs orders too. */
const SPARE_WAVES = 0.2;
/** Of every so many waves one has its money pending until tomorrow: it is refunded from there, and never paid out. */
const PENDING_EVERY = 5;

export function makePlan(wanted: { seed: number; orders: number; kills: number }): Plan {
  const random = createRandom(wanted.seed);
  const kills = dealKills(random, wanted.kills);
  const wantedWaves = wanted.kills + Math.ceil(wanted.kills * SPARE_WAVES);
  const waveCount = Math.max(1, Math.min(wantedWaves, wanted.orders));
  const waves: WavePlan[] = [];
  for (let number = 0; number < waveCount; number += 1) {
    const from = Math.floor((wanted.orders * number) / waveCount);
    const to = Math.floor((wanted.orders * (number + 1)) / waveCount);
    waves.push(planWave(random, wanted.seed, number, to - from));
  }
  return { seed: wanted.seed, orders: wanted.orders, waves, kills };
}

function dealKills(random: Random, count: number): readonly KillPlan[] {
  const kinds: KillKind[] = [];
  while (kinds.length < count) {
    const deck = Object.entries(DECK).flatMap(([kind, times]) =>
      Array<KillKind>(times).fill(kind as KillKind),
    );
    kinds.push(...random.shuffle(deck));
  }
  return kinds.slice(0, count).map((kind) => planKill(random, kind));
}

/** One more kill for one that met nothing in flight and so did not count. */
export function planKill(random: Random, kind: KillKind): KillPlan {
  return {
    kind,
    afterMs: random.between(300, 3_500),
    downMs: downMsOf(random, kind),
    restMs: random.between(300, 2_000),
    choice: random.unit(),
  };
}

function downMsOf(random: Random, kind: KillKind): number {
  switch (kind) {
    // The lease is 6 s; 8 s and more leave time for somebody to rescue.
    case 'daemon_stop':
      return random.between(8_000, 10_000);
    case 'postgres_away':
      return random.between(9_000, 10_000);
    case 'sandbox_away':
      return random.between(2_000, 5_000);
    default:
      return random.between(0, 1_500);
  }
}

function planWave(random: Random, seed: number, number: number, orders: number): WavePlan {
  const payments: PlannedPayment[] = [];
  for (let left = orders; left > 0; ) {
    const size = Math.min(left, random.chance(0.7) ? 1 : random.between(2, 4));
    payments.push(planPayment(random, `chaos-${seed}-w${number}-${payments.length + 1}`, size));
    left -= size;
  }
  const submitterKills: number[] = [];
  while (submitterKills.length < 3 && random.chance(0.4)) submitterKills.push(random.between(1, 4));
  return {
    number,
    payments,
    mode: random.pick<SubmitMode>(['once', 'once', 'twice', 'two_keys']),
    submitterKills,
    saboteur: Array.from({ length: 4 }, () => random.unit()),
    burst: planBurst(random),
    releaseAfterDays: (seed + number) % PENDING_EVERY === 0 ? 1 : 0,
  };
}

/** Rare: after a refused key the breakers stay open for 10 s, and nothing is in flight to be killed. */
function planBurst(random: Random): WavePlan['burst'] {
  if (random.chance(0.06)) return 'refusals';
  return random.chance(0.1) ? 'limits' : 'none';
}

/** The risk check refuses this buyer. */
export const BLOCKED_BUYER = 'buyer-blocked';

function planPayment(random: Random, checkoutId: string, size: number): PlannedPayment {
  return {
    checkoutId,
    buyer: random.chance(0.005) ? BLOCKED_BUYER : `buyer-${random.between(1, 900)}`,
    orders: Array.from({ length: size }, () => planOrder(random)),
  };
}

function planOrder(random: Random): PlannedOrder {
  const hot = random.chance(0.4);
  const method = planMethod(random);
  const seller = hot ? SELLERS[random.between(0, 5)]! : random.pick(SELLERS);
  const money = planAmount(random);
  return {
    seller,
    ...money,
    method: methodAt(accountOf({ seller, ...money }), method),
    customerPresent: method === 'pm_card_authenticationRequired' && random.chance(0.5),
  };
}

/** Most cards work; the rest is declined, wants its owner, or does not exist (rejected with 400). */
function planMethod(random: Random): string {
  const draw = random.unit();
  if (draw < 0.03) return 'pm_card_visa_chargeDeclined';
  if (draw < 0.04) return 'pm_card_visa_chargeDeclinedInsufficientFunds';
  if (draw < 0.05) return 'pm_card_authenticationRequired';
  if (draw < 0.054) return 'pm_card_that_does_not_exist';
  return draw < 0.5 ? 'pm_card_visa' : 'pm_card_mastercard';
}

/** Currencies with 0, 2 and 3 decimals, and ISK, which Stripe counts in its own way. */
function planAmount(random: Random): { amount: string; currency: string } {
  const currency = random.pick(['EUR', 'EUR', 'USD', 'GBP', 'JPY', 'KWD', 'ISK']);
  switch (currency) {
    case 'JPY':
    case 'ISK':
      return { amount: String(random.between(100, 60_000)), currency };
    case 'KWD':
      return { amount: (random.between(100, 9_999) / 100).toFixed(2), currency };
    default:
      return { amount: (random.between(100, 50_000) / 100).toFixed(2), currency };
  }
}

const COLUMNS =
  'checkout_id,idempotency_key,buyer,seller,amount,currency,payment_method,order_ref,customer_present';

/** The wave as a batch file; with `keySuffix` the same payments under other idempotency keys. */
export function csvOf(wave: WavePlan, keySuffix: string): string {
  const rows = wave.payments.flatMap((payment) =>
    payment.orders.map((order, line) =>
      [
        payment.checkoutId,
        `${payment.checkoutId}-key${keySuffix}`,
        payment.buyer,
        order.seller,
        order.amount,
        order.currency,
        order.method,
        `${payment.checkoutId}-${line + 1}`,
        String(order.customerPresent),
      ]
        .map((cell) => `"${cell.replaceAll('"', '""')}"`)
        .join(','),
    ),
  );
  return `${COLUMNS}\n${rows.join('\n')}\n`;
}
