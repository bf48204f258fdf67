/** What daemons and the PSP do: claims, answers in and out of time, deaths, news. For tests only. */
import fc from 'fast-check';
import { expect } from 'vitest';
import {
  callPsp,
  claimTasks,
  findingOf,
  recordFindings,
  type Task,
} from '../../core/operation/execute-operations.ts';
import { rescueOperations } from '../../core/operation/rescue-operations.ts';
import type { EnquiryReply } from '../../core/psp/psp.ts';
import { acceptWebhooks } from '../../core/webhook/accept-webhooks.ts';
import {
  applyOutside,
  lapse,
  makeDue,
  makeSteady,
  REPLY,
  type ReplyKind,
  scriptedConnector,
  startTestDaemon,
  uniqueName,
} from '../fixtures.ts';
import * as model from './book-model.ts';
import { type Command, command, pick, which } from './command.ts';
import {
  applyFinding,
  currentAttempt,
  foldEvidence,
  hasEnded,
  type ModelOperation,
  newJob,
  shownState,
} from './operation-model.ts';
import { refund } from './payment-commands.ts';
import { capabilitiesNow, type World, withRules } from './world.ts';

const LANES = ['online', 'batch'] as const;

/** Success and plain ends are what mostly happens; the rest must be seen often enough. */
const kind = fc.constantFrom<ReplyKind>(
  ...(['succeeded', 'succeeded', 'succeeded', 'declined', 'declined', 'unknown', 'pending'] as const),
  ...(['rejected', 'not_sent', 'rate_limited', 'config_error', 'not_found', 'awaiting_customer'] as const),
);

/** What a PSP can say to this: not everything is an answer to everything. */
function replyTo(
  operation: ModelOperation,
  attempt: number,
  todo: Task['todo'],
  said: ReplyKind,
): EnquiryReply {
  let named = said;
  if (todo === 'enquire' && named === 'rejected') named = 'not_found';
  if (todo === 'enquire' && named === 'not_sent') named = 'unknown';
  if (todo === 'send' && named === 'not_found') named = 'rejected';
  if (operation.kind !== 'charge' && named === 'awaiting_customer') named = 'pending';
  const reply = REPLY[named];
  return 'pspReference' in reply ? { ...reply, pspReference: `ref_${operation.id}_${attempt}` } : reply;
}

function operationOf({ model: expected }: World, id: bigint): ModelOperation {
  return model.operationsOf(expected).find((one) => one.id === id)!;
}

function rulesOf(world: World) {
  return { keyWindowIsOver: world.model.keyWindowIsOver, canEnquire: true };
}

export const claim: fc.Arbitrary<Command> = fc
  .record({ lane: fc.constantFrom(...LANES), limit: fc.integer({ min: 1, max: 4 }) })
  .map((asked) =>
    command(
      `claim ${JSON.stringify(asked)}`,
      (expected) => readyIn(expected, asked.lane).length > 0,
      async (world) => {
        await claimSome(world, asked.lane, asked.limit);
      },
    ),
  );

function readyIn(expected: model.ModelBook, lane: string): readonly ModelOperation[] {
  return model
    .operationsOf(expected)
    .filter(({ job }) => job !== null && job.heldBy === null && job.lane === lane);
}

async function claimSome(
  world: World,
  lane: (typeof LANES)[number],
  limit: number,
): Promise<readonly Task[]> {
  const ready = readyIn(world.model, lane);
  await makeDue(world.book.owner, world.account);
  const connector = { ...scriptedConnector([]), capabilities: capabilitiesNow(world) };
  const tasks = await claimTasks(world.daemon.context, `${world.account}/${lane}`, limit, connector);
  expect(tasks).toHaveLength(Math.min(limit, ready.length));
  for (const task of tasks) {
    const operation = operationOf(world, task.job.operationId);
    expect(ready).toContain(operation);
    const attempt = operation.attempts[operation.job!.attempt - 1]!;
    operation.job!.heldBy = task;
    attempt.wasClaimed = true;
    if (operation.job!.action === 'send') attempt.sends += 1;
    expect({ attempt: task.job.attemptNumber, todo: task.todo, sends: task.job.sends }).toEqual({
      attempt: operation.job!.attempt,
      todo: todoOf(world, operation),
      sends: attempt.sends,
    });
    world.tasks.push(task);
  }
  return tasks;
}

/** Nothing is sent where what is stored tells the end of it, or the PSP may have forgotten the key. */
function todoOf(world: World, operation: ModelOperation): Task['todo'] {
  const { action, attempt } = operation.job!;
  const { evidence, sends } = operation.attempts[attempt - 1]!;
  if (action === 'recheck') return 'enquire';
  if (evidence.length === 0 || (sends <= 1 && action === 'send')) return action;
  const { kind: outcome } = foldEvidence(evidence);
  if (outcome === 'succeeded' || outcome === 'declined' || outcome === 'reversed') return 'fold';
  if (outcome === 'pending' || outcome === 'awaiting_customer') return 'enquire';
  return outcome === 'unknown' && world.model.keyWindowIsOver ? 'enquire' : action;
}

/** Any claim that was ever made answers: in time, a second time, or long after somebody else had it. */
export const answer: fc.Arbitrary<Command> = fc.record({ which, kind }).map((asked) =>
  command(
    `answer ${JSON.stringify(asked)}`,
    (expected) => model.operationsOf(expected).some((one) => one.attempts.some(({ sends }) => sends > 0)),
    async (world) => {
      if (world.tasks.length > 0) await answerTask(world, pick(world.tasks, asked.which), asked.kind);
    },
  ),
);

async function answerTask(world: World, task: Task, said: ReplyKind): Promise<void> {
  const { job } = task;
  const operation = operationOf(world, job.operationId);
  const script = task.todo === 'fold' ? [] : [replyTo(operation, job.attemptNumber, task.todo, said)];
  const connector = scriptedConnector(script);
  const reply = await callPsp(connector, task, 1_000);
  const asks = task.todo === 'enquire' ? 'enquire' : operation.kind;
  expect(connector.calls).toEqual(task.todo === 'fold' ? [] : [asks]);
  const [recorded] = await recordFindings(world.daemon.context, [findingOf(task, reply)]);
  const finding = { attempt: job.attemptNumber, reply, task };
  const right = applyFinding(rulesOf(world), operation, model.chargeOf(world.model, operation), finding);
  expect(recorded).toMatchObject({ right });
}

/** What a daemon mostly does: claims, and answers at once; the other lane where there is nothing in this one. */
export const work: fc.Arbitrary<Command> = fc
  .record({ lane: fc.constantFrom(...LANES), kinds: fc.array(kind, { minLength: 1, maxLength: 4 }) })
  .map((asked) =>
    command(
      `work ${JSON.stringify(asked)}`,
      (expected) => LANES.some((lane) => readyIn(expected, lane).length > 0),
      async (world) => {
        const order = asked.lane === 'online' ? LANES : LANES.toReversed();
        const lane = order.find((one) => readyIn(world.model, one).length > 0)!;
        const tasks = await claimSome(world, lane, asked.kinds.length);
        for (const [i, task] of tasks.entries()) await answerTask(world, task, asked.kinds[i]!);
      },
    ),
  );

/** The daemon dies with all that it has in hand; another one takes it over. */
export const die: fc.Arbitrary<Command> = fc.constant(
  command(
    'die',
    (expected) =>
      model.operationsOf(expected).some(({ job }) => job !== null && job.heldBy !== null && job.rescues < 5),
    dieAndRescue,
  ),
);

async function dieAndRescue(world: World): Promise<void> {
  const { db, owner } = world.book;
  const next = await startTestDaemon(db);
  await lapse(owner, world.daemon);
  await makeSteady(owner, next);
  await rescueOperations(db, { daemonId: next.id, principal: 'test:rescue', resendDelayMs: 0 });
  world.daemon = withRules(world, next);
  for (const operation of model.operationsOf(world.model)) takeBack(operation);
}

/** A daemon stalls with a job in hand, another one takes it over and claims it again, and then the first one answers. */
export const stall: fc.Arbitrary<Command> = fc
  .record({ lane: fc.constantFrom(...LANES), kind })
  .map((asked) =>
    command(
      `stall ${JSON.stringify(asked)}`,
      (expected) => readyIn(expected, asked.lane).some(({ job }) => job!.rescues < 5),
      async (world) => {
        const [task] = await claimSome(world, asked.lane, 1);
        await dieAndRescue(world);
        await claimSome(world, asked.lane, 100);
        await answerTask(world, task!, asked.kind);
      },
    ),
  );

/** A send in hand is doubt for ever. */
function takeBack(operation: ModelOperation): void {
  const { job } = operation;
  if (job === null || job.heldBy === null) return;
  const attempt = operation.attempts[job.attempt - 1]!;
  operation.job = { ...job, heldBy: null, rescues: job.rescues + 1 };
  if (operation.job.rescues > 5) {
    operation.job = null;
    operation.letters.set('rescued_too_often', job.attempt);
  }
  if (job.action !== 'send') return;
  attempt.evidence.push({ kind: 'unknown', isSeen: false });
  if (attempt.state === 'created' || attempt.state === 'sent') attempt.state = 'unknown';
  if (['queued', 'retry_wait', 'held_config'].includes(operation.state)) operation.state = 'unknown';
}

/** The PSP has news of an operation: it is asked again, or its signed word is evidence where it cannot be asked. */
export const news: fc.Arbitrary<Command> = fc.record({ which }).map((asked) =>
  command(
    `news ${JSON.stringify(asked)}`,
    (expected) => model.operationsOf(expected).length > 0,
    async (world) => {
      const all = model.operationsOf(world.model);
      const doubtful = all.filter((one) => one.letters.size > 0 && !hasEnded(one));
      const operation = pick(doubtful.length > 0 && asked.which % 2 > 0 ? doubtful : all, asked.which);
      await hearNews(world, operation);
    },
  ),
);

/** Webhooks tell of news of an operation, whatever the daemon is at. */
async function hearNews(world: World, operation: ModelOperation): Promise<void> {
  const event = {
    eventId: uniqueName('evt'),
    type: 'object.failed',
    operationId: operation.id,
    pspReference: null,
    says: null,
  };
  const state = shownState(operation);
  const isIdle =
    state === 'queued' ||
    state === 'in_risk_review' ||
    (state === 'reversed' && operation.kind !== 'charge') ||
    (state === 'claimed' && operation.kind === 'charge');
  const mayUndo = operation.kind !== 'charge' || state === 'succeeded';
  const isHeld = operation.job !== null && operation.job.heldBy !== null;
  const told = acceptWebhooks(world.book.db, world.daemon.context, world.account, [event]);
  if (!isIdle && isHeld && mayUndo) {
    await expect(told).rejects.toMatchObject({ code: 'webhook_busy' });
    return;
  }
  const current = currentAttempt(operation);
  const looks = !isIdle && !isHeld && current !== undefined && current.sends > 0;
  expect(await told).toEqual({ fresh: 1, looks: looks ? 1 : 0 });
  if (!looks) return;
  if (operation.job === null) operation.job = newJob(operation.attempts.length, 'online', 'recheck');
  // The PSP would repeat its first answer, of before the news.
  else if (mayUndo && operation.job.action === 'send') operation.job.action = 'enquire';
}

/** Evidence from outside of the queue, of any attempt that was ever sent. */
export const told: fc.Arbitrary<Command> = fc
  .record({ which, kind: fc.constantFrom<ReplyKind>('succeeded', 'declined', 'pending') })
  .map((asked) =>
    command(
      `told ${JSON.stringify(asked)}`,
      (expected) => sentAttempts(expected).length > 0,
      (world) => tell(world, pick(sentAttempts(world.model), asked.which), asked.kind),
    ),
  );

/** The PSP takes back a refund or payout that was done, or does one that it had refused. */
export const turnAround: fc.Arbitrary<Command> = fc.record({ which }).map((asked) =>
  command(
    `turn around ${JSON.stringify(asked)}`,
    (expected) => endedOutflows(expected).length > 0,
    async (world) => {
      const sent = pick(endedOutflows(world.model), asked.which);
      await tell(world, sent, sent.operation.state === 'succeeded' ? 'declined' : 'succeeded');
    },
  ),
);

/** A refund is asked for, done, and taken back by the PSP: what it took from pending money is available then. */
export const refundTakenBack: fc.Arbitrary<Command> = refund.map((asked) =>
  command(
    `${asked}, and taken back`,
    (expected) => asked.check(expected),
    async (world) => {
      const before = world.model.refunds.length;
      await asked.run(world.model, world);
      const made = world.model.refunds[before];
      if (made === undefined) return;
      for (const task of await claimSome(world, 'online', 100)) await answerTask(world, task, 'succeeded');
      const sent = { operation: made.operation, attempt: 1 };
      if (made.operation.state === 'succeeded') await tell(world, sent, 'declined');
    },
  ),
);

/** A refund in doubt that an enquiry finds failed; then somebody tells that it was done, now or before. */
export const failedRefundDone: fc.Arbitrary<Command> = fc
  .record({ asked: refund, isSeen: fc.boolean() })
  .map(({ asked, isSeen }) =>
    command(
      `${asked}, found failed, and ${isSeen ? 'seen' : 'said to be'} done`,
      (expected) => asked.check(expected),
      async (world) => {
        const before = world.model.refunds.length;
        await asked.run(world.model, world);
        const made = world.model.refunds[before]?.operation;
        if (made === undefined) return;
        const answerAll = async (said: ReplyKind) => {
          for (const task of await claimSome(world, 'online', 100)) await answerTask(world, task, said);
        };
        await answerAll('unknown');
        await hearNews(world, made);
        await answerAll('declined');
        if (!hasEnded(made)) return;
        if (!isSeen) return tell(world, { operation: made, attempt: 1 }, 'succeeded');
        await hearNews(world, made);
        await answerAll('succeeded');
      },
    ),
  );

function endedOutflows(expected: model.ModelBook) {
  return sentAttempts(expected).filter(({ operation }) => operation.kind !== 'charge' && hasEnded(operation));
}

type Sent = { readonly operation: ModelOperation; readonly attempt: number };

async function tell(world: World, { operation, attempt }: Sent, said: ReplyKind): Promise<void> {
  const reply = replyTo(operation, attempt, 'send', said);
  const [applied] = await applyOutside(world.book.db, [
    { operationId: operation.id, attemptNumber: attempt, source: 'webhook', reply, held: null },
  ]);
  const charge = model.chargeOf(world.model, operation);
  const right = applyFinding(rulesOf(world), operation, charge, { attempt, reply, task: null });
  expect(applied).toMatchObject({ right });
}

function sentAttempts(expected: model.ModelBook): readonly Sent[] {
  return model
    .operationsOf(expected)
    .flatMap((operation) =>
      operation.attempts.flatMap(({ sends }, i) => (sends > 0 ? [{ operation, attempt: i + 1 }] : [])),
    );
}

/** Days pass: the PSP may have forgotten the keys; or they are fresh again, for what is sent from now on. */
export const age: fc.Arbitrary<Command> = fc.boolean().map((isOver) =>
  command(
    `age ${isOver}`,
    (expected) => expected.keyWindowIsOver !== isOver,
    async ({ model: expected }) => {
      expected.keyWindowIsOver = isOver;
    },
  ),
);

/** Everything that waits is worked on until nothing does, the PSP saying yes: no doubt is left behind. */
export async function drain(world: World): Promise<void> {
  for (let round = 0; round < 40; round += 1) {
    for (const task of world.tasks) {
      const operation = operationOf(world, task.job.operationId);
      if (operation.job?.heldBy === task) await answerTask(world, task, 'succeeded');
    }
    for (const lane of LANES) if (readyIn(world.model, lane).length > 0) await claimSome(world, lane, 100);
    if (model.operationsOf(world.model).every(({ job }) => job === null)) break;
  }
  const busy = model.operationsOf(world.model).filter(({ job }) => job !== null);
  expect(busy.map((one) => one.id)).toEqual([]);
  // Whatever has not ended waits for a person, who has a letter.
  const lost = model
    .operationsOf(world.model)
    .filter((one) => !hasEnded(one) && one.letters.size === 0 && one.state !== 'in_risk_review');
  expect(lost.map((one) => one.id)).toEqual([]);
}
