/**
 * The end of a run: faults off, customers answer, and everybody works until nothing moves any more. Then people act on
 * what is left, again and again, until there is nothing for them to do.
 */
import { look } from './census.ts';
import type { Eyes } from './database.ts';
import type { Deliveries } from './deliveries.ts';
import { actAtRest, type PeopleContext } from './people.ts';
import { pause } from './processes.ts';
import type { Progress } from './progress.ts';
import { createRandom, type Random } from './random.ts';
import type { World } from './world.ts';

/** Everything must have come to rest within this time, each time that somebody has acted (ms). */
const SETTLE_LIMIT_MS = 600_000;
/** Nothing moves any more: no event for longer than the longest pause between two tries, 60 s (ms). */
const QUIET_MS = 75_000;
/** People act at most so often. */
const MAX_ROUNDS = 6;

export type Settling = {
  /** Orders that had ended when the faults were turned off. */
  readonly endedBefore: number;
  readonly end: 'queue_empty' | 'nothing_moves' | 'limit';
  readonly seconds: number;
  readonly jobsLeft: number;
  /** How often people found something to do. */
  readonly rounds: number;
};

export async function settle(
  world: World,
  context: PeopleContext,
  deliveries: Deliveries,
  progress: Progress,
): Promise<Settling> {
  progress.say('faults off; waiting until nothing moves any more');
  const { eyes } = context;
  const endedBefore = (await look(eyes))?.ended ?? 0;
  await world.sandbox.calmDown();
  deliveries.calmDown();
  const random = createRandom(1);
  const startedAt = performance.now();
  for (let round = 0; ; round += 1) {
    const rest = await comeToRest(world, eyes, deliveries, random);
    const seconds = Math.round((performance.now() - startedAt) / 1000);
    const settling = { ...rest, endedBefore, seconds, rounds: round };
    if (round >= MAX_ROUNDS) return settling;
    progress.say('at rest; people look at what is left');
    if (!(await actAtRest(world, context, deliveries, round))) return settling;
  }
}

/** No job is due soon, no webhook waits; what nobody can be asked about may wait for ever. */
async function comeToRest(
  world: World,
  eyes: Eyes,
  deliveries: Deliveries,
  random: Random,
): Promise<Pick<Settling, 'end' | 'jobsLeft'>> {
  const startedAt = performance.now();
  let moved = { event: -1n, at: startedAt };
  for (;;) {
    await answerChallenges(world, random);
    const census = await look(eyes);
    const now = performance.now();
    const jobsLeft = census?.jobs ?? -1;
    if (census !== null) {
      const told = deliveries.waiting() + (await world.sandbox.deliveries()).pending;
      if (census.due === 0 && census.watches === 0 && told === 0)
        return { end: jobsLeft === 0 ? 'queue_empty' : 'nothing_moves', jobsLeft };
      if (census.lastEvent !== moved.event) moved = { event: census.lastEvent, at: now };
    }
    if (now - moved.at > QUIET_MS) return { end: 'nothing_moves', jobsLeft };
    if (now - startedAt > SETTLE_LIMIT_MS) return { end: 'limit', jobsLeft };
    await pause(1_000);
  }
}

/** The customers who were asked to authenticate do so; one in four fails. */
async function answerChallenges({ sandbox }: World, random: Random): Promise<void> {
  for (const intent of await sandbox.truth()) {
    if (intent.status !== 'requires_action') continue;
    const result = random.chance(0.75) ? 'succeeded' : 'failed';
    await sandbox.post(`payment_intents/${intent.id}/authenticate`, { result });
  }
  for (const record of await sandbox.adyen()) {
    if (record.kind !== 'payment' || record.status !== 'awaiting_shopper') continue;
    const happening = random.chance(0.75) ? 'shopper_pays' : 'shopper_fails';
    await sandbox.post(`adyen/objects/${record.name}`, { happening });
  }
}
