/**
 * What people do while everything is killed and afterwards: try dead letters again, say what became of what nobody can
 * be asked about, ask anew for money that was not given back, and have lost news sent again. Each acts through a
 * process of its own, which is killed like all others; what they say is what the sandbox shows them.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { intentsOf, refundsOf, transfersOf } from './adyen-truth.ts';
import type { Deed } from './child.ts';
import type { Eyes } from './database.ts';
import { type Deliveries, resendStripeNews } from './deliveries.ts';
import type { WavePlan } from './plan.ts';
import type { Random } from './random.ts';
import { askAgain, type RefundSubmissions } from './refunds.ts';
import { giveUntilDone, type SubmitContext } from './submit.ts';
import type { World } from './world.ts';

/** Letters that trying again may answer. */
const WORTH_A_TRY = ['rejected', 'unknown_unresolved', 'enquiry_failed', 'rescued_too_often'];
/** Letters looked at per wave, and in one deed. */
const MAX_LETTERS = 60;
const LETTERS_PER_DEED = 10;
/** Of the letters that a wave finds open. */
const SHARE_TRIED = 0.4;

export type People = {
  /** Letters that moved, operations that were resolved. */
  done: number;
  /** Deeds that were refused, by code. */
  readonly refused: Record<string, number>;
  kills: number;
  /** News that was sent once more at the end. */
  resent: number;
};

export function createPeople(): People {
  return { done: 0, refused: {}, kills: 0, resent: 0 };
}

export type PeopleContext = SubmitContext & {
  readonly people: People;
  readonly refunds: RefundSubmissions;
  readonly eyes: Eyes;
};

/** In the middle of it all: some of the open letters, tried again. */
export async function replayWave(context: PeopleContext, wave: WavePlan, random: Random): Promise<void> {
  const letters = (await listLetters(context.eyes)).filter(() => random.chance(SHARE_TRIED));
  const deeds = replaysOf(letters, null);
  await act(context, `wave-${wave.number}`, deeds, random.chance(0.5) ? [1] : []);
}

/**
 * At rest, with the faults off. Whoever is left waiting is looked up at its PSP, and the answer said.
 * @returns whether anything was done, so that everybody has to come to rest again
 */
export async function actAtRest(
  world: World,
  context: PeopleContext,
  deliveries: Deliveries,
  round: number,
): Promise<boolean> {
  const waiting = await listWaiting(context.eyes);
  const letters = round < 2 ? await listLetters(context.eyes) : [];
  // One that was just sent again is looked up only when that has told nothing.
  const tried = new Set(letters.map((letter) => letter.operationId));
  const stuck = waiting.filter((operation) => !tried.has(operation.id));
  const deeds = [...replaysOf(letters, round === 0 ? null : 'send'), ...(await lookUp(world, stuck))];
  await act(context, `rest-${round}`, deeds, round === 0 ? [1] : []);
  // What a person has just answered needs no news; of everything else even late news must do no harm.
  const answered = new Set(stuck.map((operation) => `op_${operation.id}`));
  const sent = deliveries.sendLost((operation) => !answered.has(operation));
  if (round === 0) context.people.resent = await resendStripeNews(world.sandbox.url, world.relay.url);
  const asked = round === 0 ? 0 : await askAgain(context, await listKept(context.eyes), round);
  return round === 0 || deeds.length + sent + asked > 0;
}

async function act(
  context: PeopleContext,
  name: string,
  deeds: readonly Deed[],
  kills: readonly number[],
): Promise<void> {
  if (deeds.length === 0) return;
  const { people, folder, document, connection } = context;
  const file = join(folder, `deeds-${name}.json`);
  await writeFile(file, JSON.stringify(deeds));
  people.kills += await giveUntilDone(context, {
    job: { role: 'person', document, connection, file },
    kills,
    onLine: (line) => {
      if (line.kind !== 'deed') return;
      people.done += line.done;
      for (const code of line.refused) people.refused[code] = (people.refused[code] ?? 0) + 1;
    },
  });
}

type Letter = { readonly id: bigint; readonly operationId: bigint };

function replaysOf(letters: readonly Letter[], action: 'send' | null): readonly Deed[] {
  const deeds: Deed[] = [];
  for (let start = 0; start < letters.length; start += LETTERS_PER_DEED) {
    const some = letters.slice(start, start + LETTERS_PER_DEED);
    deeds.push({ kind: 'replay', letters: some.map((letter) => letter.id.toString()), action });
  }
  return deeds;
}

async function listLetters(eyes: Eyes): Promise<readonly Letter[]> {
  const { sql, t } = eyes.db();
  return sql<Letter[]>`
    select id, operation_id
      from ${t.deadLetter}
     where state = 'open'
       and code = any(string_to_array(${WORTH_A_TRY.join(',')}, ','))
     order by id desc
     limit ${MAX_LETTERS}`.catch(() => []);
}

type WaitingOperation = { readonly id: bigint; readonly kind: 'charge' | 'refund' | 'payout' };

/** Operations that have not ended and that no daemon is going to look at soon. */
async function listWaiting(eyes: Eyes): Promise<readonly WaitingOperation[]> {
  const { sql, t } = eyes.db();
  return sql<WaitingOperation[]>`
    select o.id, o.kind
      from ${t.operation} o
      left join ${t.job} j on j.operation_id = o.id
     where o.sub_state in ('unknown', 'pending_psp', 'awaiting_customer', 'retry_wait', 'held_config')
       and (j.operation_id is null or (j.state = 'ready' and j.run_at > now() + interval '5 minutes'))
     order by o.id`;
}

/** What the sandbox shows of each: moved, or nothing that could still move; what is open there is left alone. */
async function lookUp({ sandbox }: World, waiting: readonly WaitingOperation[]): Promise<readonly Deed[]> {
  if (waiting.length === 0) return [];
  const records = await sandbox.adyen();
  const intents = [...(await sandbox.truth()), ...intentsOf(records, new Map())].map((one) => ({
    ...one,
    moved: one.amount_received,
    held: ['canceled', 'requires_payment_method'].includes(one.status) ? 0 : 1,
  }));
  const refunds = [...(await sandbox.refunds()), ...refundsOf(records)];
  const transfers = [...(await sandbox.transfers()), ...transfersOf(records)].map((one) => ({
    ...one,
    held: one.moved,
  }));
  const shown = { charge: intents, refund: refunds, payout: transfers };
  return waiting.flatMap(({ id, kind }): readonly Deed[] => {
    const own = shown[kind].filter((one) => one.metadata.paygate_operation === `op_${id}`);
    const moved = own.find((one) => one.moved > 0);
    if (moved === undefined && own.some((one) => one.held > 0)) return [];
    const verdict = moved === undefined ? 'failed' : 'succeeded';
    const pspReference = (moved ?? own[0])?.id ?? null;
    return [{ kind: 'resolve', operation: id.toString(), verdict, pspReference }];
  });
}

/** Succeeded orders of payments that have failed, of which some is not given back, and no refund is under way. */
async function listKept(eyes: Eyes): Promise<readonly bigint[]> {
  const { sql, t } = eyes.db();
  const rows = await sql<{ orderId: bigint }[]>`
    with charge as materialized (
      select payment_id, payment_order_id, sub_state, amount_minor from ${t.operation} where kind = 'charge'
    ), ended as (
      select payment_id
        from charge
       group by payment_id
      having bool_and(sub_state in ('succeeded', 'declined', 'rejected', 'risk_blocked', 'canceled', 'expired'))
         and bool_or(sub_state <> 'succeeded')
    ), given as (
      select r.payment_order_id, sum(r.amount_minor) as amount_minor
        from ${t.refund} r
        join ${t.operation} o on o.id = r.operation_id
       where o.sub_state not in ('declined', 'rejected', 'canceled', 'expired', 'reversed')
       group by 1
    )
    select c.payment_order_id as order_id
      from charge c
      join ended using (payment_id)
      left join given g using (payment_order_id)
     where c.sub_state = 'succeeded'
       and c.amount_minor > coalesce(g.amount_minor, 0)
     order by 1`;
  return rows.map((row) => row.orderId);
}
