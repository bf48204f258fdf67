/**
 * Faults beyond the drawn ones: the same fault several times on one order's request, and bursts that refuse
 * everybody. Steers the sandbox only. What it queues is forgotten when the sandbox is killed: so be it. On wish it also
 * falsifies the sandbox's truth at the end, to prove that the judge can fail.
 */
import type { FaultRates } from '../src/daemon/sandbox/faults.ts';
import type { Eyes } from './database.ts';
import type { WavePlan } from './plan.ts';
import { pause } from './processes.ts';
import { STRIPE_KEY } from './psps.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

type FaultName = keyof FaultRates;

/** Each hits the chosen request two to four times in a row. */
const REPEATED: readonly FaultName[] = [
  'act_then_drop',
  'act_then_truncate',
  'act_then_bad_gateway',
  'drop_before_acting',
  'bad_gateway',
  'hang_then_act',
  'rate_limited',
  'key_in_use',
  'unauthorized',
];
/** A burst ends after so many requests or so long (ms); more would only keep the breakers open. */
const BURST_REQUESTS = 20;
const BURST_MS = 1_500;
/** Between two looks for orders that wait in the queue (ms). */
const LOOK_PAUSE_MS = 250;
const MAX_LOOKS = 20;

export async function sabotage(world: World, eyes: Eyes, wave: WavePlan, random: Random): Promise<void> {
  if (wave.burst !== 'none') {
    const fault: FaultName = wave.burst === 'refusals' ? 'unauthorized' : 'rate_limited';
    const match = { method: 'POST', path_prefix: random.pick(['/v1/', '/v72/']) };
    await world.sandbox.post('faults', { match, sequence: [fault], repeat: BURST_REQUESTS });
    await pause(BURST_MS);
    await world.sandbox.clearFaults();
  }
  for (const choice of wave.saboteur) {
    const key = await findWaitingKey(eyes, choice);
    if (key === null) return;
    const fault = random.pick(REPEATED);
    const sequence = Array.from({ length: random.between(2, 4) }, () => fault);
    await world.sandbox.post('faults', { match: { key }, sequence });
  }
}

/**
 * Moves money at the sandbox behind everybody's back, when the run is over: a refund that fails after it succeeded, one
 * that nobody asked for, a transfer that comes back, and one made twice; at Adyen a refund and a transfer that come back.
 * The judge must name each.
 */
export async function falsifyTruth({ sandbox, log }: World): Promise<void> {
  const refunds = (await sandbox.refunds()).filter((refund) => refund.moved > 0);
  const [first, again] = (await sandbox.transfers()).filter((transfer) => transfer.moved > 0);
  const isRefunded = new Set(refunds.map((refund) => refund.payment_intent));
  const kept = (await sandbox.truth()).find((one) => one.amount_received > 0 && !isRefunded.has(one.id));
  const write = async (path: string, body: Readonly<Record<string, string>>): Promise<void> => {
    const response = await fetch(`${sandbox.url}/v1/${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${STRIPE_KEY}`, connection: 'close' },
      body: new URLSearchParams(body),
    });
    if (!response.ok) throw new Error(`the truth could not be falsified: ${await response.text()}`);
  };
  if (refunds[0] !== undefined) await sandbox.post(`refunds/${refunds[0].id}/move`, { to: 'failed' });
  if (kept !== undefined) await write('refunds', { payment_intent: kept.id });
  if (first !== undefined) await sandbox.post(`transfers/${first.id}/reverse`, {});
  if (again !== undefined) {
    const { amount, currency, destination, metadata } = again;
    const operation = metadata.paygate_operation ?? '';
    await write('transfers', {
      amount: String(amount),
      currency,
      destination,
      'metadata[paygate_operation]': operation,
    });
  }
  const records = await sandbox.adyen();
  const happen = async (happening: string, name: string | undefined): Promise<void> => {
    if (name !== undefined) await sandbox.post(`adyen/objects/${name}`, { happening });
  };
  const isRefund = (one: (typeof records)[number]) => one.kind === 'modification' && one.type === 'refund';
  await happen('refund_fails', records.find((one) => isRefund(one) && one.status === 'succeeded')?.name);
  await happen(
    'transfer_returns',
    records.find((one) => one.kind === 'transfer' && one.status === 'booked')?.name,
  );
  log.note('saboteur', 'falsified the truth of the sandbox: this run must not be ok');
}

/** The key of an order that waits in the queue and was never sent; null when there is none for a while. */
async function findWaitingKey(eyes: Eyes, choice: number): Promise<string | null> {
  for (let look = 0; look < MAX_LOOKS; look += 1) {
    const db = eyes.db();
    const rows = await db.sql<{ key: string }[]>`
      select a.idempotency_key as key
        from ${db.t.job} j
        join ${db.t.attempt} a on a.operation_id = j.operation_id and a.number = j.attempt_number
       where j.state = 'ready'
         and j.sends = 0
       order by j.operation_id desc
       limit 20`.catch(() => []);
    if (rows.length > 0) return rows[Math.floor(choice * rows.length)]!.key;
    await pause(LOOK_PAUSE_MS);
  }
  return null;
}
