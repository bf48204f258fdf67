/**
 * What every PSP connector must do, whatever the PSP: one suite, run against that PSP's sandbox. The sandbox is
 * the oracle of what really moved. For tests only; knows no PSP.
 */
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import net from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type {
  Connector,
  EnquiryReply,
  OperationKind,
  Reply,
  SentWindow,
  StoredAttempt,
} from '../core/psp/psp.ts';

/**
 * What the sandbox can be told to do to the next request of an attempt that moves money.
 * `act_…`: it is executed first, then the answer goes wrong. `fail_500`: refused with a 500 that the PSP
 * stores under the key. `hang_then_act`: nothing for {@link HANG_MS}, then executed. `pending_then_succeed`: charges and
 * refunds only. `decline`: the PSP looks at it and says no.
 */
export type ConformanceFault =
  | 'act_then_drop'
  | 'act_then_truncate'
  | 'act_then_empty'
  | 'act_then_drip'
  | 'act_then_500'
  | 'act_then_bad_gateway'
  | 'drop_before_acting'
  | 'fail_500'
  | 'bad_gateway'
  | 'hang_then_act'
  | 'rate_limited'
  | 'key_in_use'
  | 'unauthorized'
  | 'decline'
  | 'pending_then_succeed';

/** How long the sandbox hangs, and how far apart it drips, in ms; well beyond {@link SHORT_DEADLINE_MS}. */
export const HANG_MS = 900;

/** What the sandbox asks to wait after `rate_limited`, in seconds. */
export const RETRY_AFTER_S = 7;

/** Deadline of a call that must not reach it, and of one that must, in ms. */
const DEADLINE_MS = 10_000;
const SHORT_DEADLINE_MS = 250;

/** Resends after which a test stops waiting for an attempt to end, and the pause between two, in ms. */
const MAX_RESENDS = 50;
const RESEND_PAUSE_MS = 100;

/** `is_declined`: softly; `is_declined_for_ever`: with a reason after which the card is not to be tried again. */
export type ConformancePayer =
  | 'pays'
  | 'is_declined'
  | 'is_declined_for_ever'
  | 'must_authenticate'
  | 'must_authenticate_absent';

/** What a PSP brings to the suite. */
export type ConformanceHarness = {
  /** Where its sandbox listens, on 127.0.0.1. */
  readonly port: number;
  /** A connector to a PSP at http://127.0.0.1:{port}. */
  connect(options: { port: number; maxConcurrent: number }): Connector;
  /** A new attempt of a charge, with a key and an operation of its own. */
  attempt(payer: ConformancePayer): StoredAttempt;
  /** A new attempt that the PSP will carry out: a charge, a refund of all of a paid charge, a payout that is funded. */
  attemptOf(kind: OperationKind): Promise<StoredAttempt>;
  /** A refund of more than was charged. */
  overRefund(): Promise<StoredAttempt>;
  /** A payout of more than our balance at the PSP. */
  unfundedPayout(): StoredAttempt;
  /** The PSP ends the attempt's pending refund: the buyer has the money. */
  complete(attempt: StoredAttempt): Promise<void>;
  /** The buyer of a charge that waits for one pays, or fails to. */
  answerChallenge(attempt: StoredAttempt, answer: 'pays' | 'fails'): Promise<void>;
  /** How the PSP tells the end of a charge that it was asked to cancel: its answer, or its webhook as evidence. */
  told(attempt: StoredAttempt, answer: EnquiryReply | null): Promise<EnquiryReply | null>;
  /** The PSP takes back what the attempt moved: its refund fails, its transfer is reversed in full. */
  undo(attempt: StoredAttempt): Promise<void>;
  /** The same attempt with another amount in its request, of whatever kind it is. */
  withOtherParameters(attempt: StoredAttempt): StoredAttempt;
  /** The next request of this attempt that moves money meets the fault, once. */
  queueFault(attempt: StoredAttempt, fault: ConformanceFault): Promise<void>;
  /** The next enquiry request, whichever comes first, meets the fault, once. */
  queueEnquiryFault(fault: 'rate_limited' | 'unauthorized' | 'drop_before_acting'): Promise<void>;
  /** How many times money really moved for the attempt's operation, by the sandbox's own books. */
  movements(attempt: StoredAttempt): Promise<number>;
  stop(): Promise<void>;
};

/**
 * Declares the suite; `start` is called once, before its first test.
 * @param psp.kinds what the harness has attempts of; the rest of the PSP is tested elsewhere
 * @param psp.findable of those, what this PSP can be asked for by our reference
 */
export function connectorConformance(
  name: string,
  psp: { readonly kinds: readonly OperationKind[]; readonly findable: readonly OperationKind[] },
  start: () => Promise<ConformanceHarness>,
): void {
  describe(`${name} conforms to the connector port`, () => {
    const world = new World();
    beforeAll(async () => {
      world.harness = await start();
    });
    afterEach(() => world.cleanUp());
    afterAll(() => world.harness?.stop());

    declareResults(world, psp.findable);
    declareWaiting(world, psp.findable);
    if (psp.kinds.includes('refund')) declareRefunds(world);
    if (psp.kinds.includes('payout')) declarePayouts(world);
    for (const kind of psp.kinds) {
      describe(`a ${kind}`, () => {
        declareSuccess(world, kind);
        declareLostAnswers(world, kind);
        declareStoredFailures(world, kind);
        declareRefusals(world, kind);
        if (psp.findable.includes(kind)) declareEnquiries(world, kind);
        else declareNoEnquiries(world, kind);
      });
    }
    declareSockets(world);
  });
}

/** The harness and what a test opened, so that the next test starts clean. */
class World {
  harness: ConformanceHarness | null = null;
  private readonly cleanups: (() => Promise<void> | void)[] = [];

  get psp(): ConformanceHarness {
    if (this.harness === null) throw new Error('the harness did not start');
    return this.harness;
  }

  connect(options: { port?: number; maxConcurrent?: number } = {}): Connector {
    const connector = this.psp.connect({
      port: options.port ?? this.psp.port,
      maxConcurrent: options.maxConcurrent ?? 4,
    });
    this.onCleanUp(() => connector.close());
    return connector;
  }

  onCleanUp(cleanup: () => Promise<void> | void): void {
    this.cleanups.push(cleanup);
  }

  async cleanUp(): Promise<void> {
    for (const cleanup of this.cleanups.splice(0).reverse()) await cleanup();
  }
}

/** Sends the attempt by the method of its kind. */
function send(connector: Connector, attempt: StoredAttempt, deadlineMs = DEADLINE_MS): Promise<Reply> {
  return connector[attempt.operationKind](attempt, deadlineMs);
}

/** Sends the attempt again, as the executor would, until it is known to have succeeded. */
async function resendUntilSucceeded(connector: Connector, attempt: StoredAttempt): Promise<Reply> {
  let reply = await send(connector, attempt);
  for (let resend = 0; resend < MAX_RESENDS && reply.kind !== 'succeeded'; resend += 1) {
    await pause(RESEND_PAUSE_MS);
    reply = await send(connector, attempt);
  }
  return reply;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function sentNow(): SentWindow {
  const now = new Date().toISOString();
  return { firstSentAt: now, lastSentAt: now };
}

const SUCCEEDED = { kind: 'succeeded', pspReference: expect.stringMatching(/./) };
const RESEND = { kind: 'unknown', next: 'resend' };
const ENQUIRE = { kind: 'unknown', next: 'enquire' };

function declareResults(world: World, findable: readonly OperationKind[]): void {
  describe('the result of a charge', () => {
    test('a decline moves nothing, however often it is asked', async () => {
      const connector = world.connect();
      const attempt = world.psp.attempt('is_declined');
      expect(await connector.charge(attempt, DEADLINE_MS)).toMatchObject({
        kind: 'declined',
        reason: expect.stringMatching(/./),
      });
      expect(await connector.charge(attempt, DEADLINE_MS)).toMatchObject({ kind: 'declined' });
      expect(await world.psp.movements(attempt)).toBe(0);
    });

    test('a decline says whether the same card may be tried again', async () => {
      const connector = world.connect();
      expect(await connector.charge(world.psp.attempt('is_declined'), DEADLINE_MS)).toMatchObject({
        kind: 'declined',
        mayRetryAsNew: true,
      });
      expect(await connector.charge(world.psp.attempt('is_declined_for_ever'), DEADLINE_MS)).toMatchObject({
        kind: 'declined',
        mayRetryAsNew: false,
      });
    });

    test('a challenge is handed to the buyer who is present', async () => {
      const attempt = world.psp.attempt('must_authenticate');
      expect(await world.connect().charge(attempt, DEADLINE_MS)).toMatchObject({
        kind: 'awaiting_customer',
        handOff: { type: expect.stringMatching(/^(stripe_client_secret|redirect)$/) },
      });
      expect(await world.psp.movements(attempt)).toBe(0);
    });

    test('a challenge for an absent buyer is a decline', async () => {
      const attempt = world.psp.attempt('must_authenticate_absent');
      expect(await world.connect().charge(attempt, DEADLINE_MS)).toMatchObject({
        kind: 'declined',
        reason: 'authentication_required',
      });
      expect(await world.psp.movements(attempt)).toBe(0);
    });

    test('a charge that takes its time is pending', async () => {
      const attempt = world.psp.attempt('pays');
      await world.psp.queueFault(attempt, 'pending_then_succeed');
      expect(await world.connect().charge(attempt, DEADLINE_MS)).toMatchObject({ kind: 'pending' });
    });

    if (!findable.includes('charge')) return;
    test('a decline can be enquired', async () => {
      const connector = world.connect();
      const attempt = world.psp.attempt('is_declined');
      const sent = sentNow();
      await connector.charge(attempt, DEADLINE_MS);
      expect(await connector.enquire(attempt, sent, DEADLINE_MS)).toMatchObject({ kind: 'declined' });
    });
  });
}

/** A charge that waits for its buyer: it can be canceled until it is paid, and a payment wins. */
function declareWaiting(world: World, findable: readonly OperationKind[]): void {
  describe('a charge that waits for its buyer', () => {
    const challenged = async (): Promise<[Connector, StoredAttempt, string | null]> => {
      const connector = world.connect();
      const attempt = world.psp.attempt('must_authenticate');
      const reply = await connector.charge(attempt, DEADLINE_MS);
      if (reply.kind !== 'awaiting_customer') throw new Error(`it is ${reply.kind}`);
      return [connector, attempt, reply.pspReference];
    };

    test('that is canceled is declined, and its buyer can pay no more', async () => {
      const [connector, attempt, reference] = await challenged();
      const answer = await connector.cancel(attempt, reference, DEADLINE_MS);
      expect((await world.psp.told(attempt, answer))?.kind).toMatch(/^(declined|reversed)$/);
      await expect(world.psp.answerChallenge(attempt, 'pays')).rejects.toThrow(/cannot happen|does not wait/);
      expect(await world.psp.movements(attempt)).toBe(0);
    });

    test('that is canceled twice is canceled', async () => {
      const [connector, attempt, reference] = await challenged();
      await connector.cancel(attempt, reference, DEADLINE_MS);
      const answer = await connector.cancel(attempt, reference, DEADLINE_MS);
      expect((await world.psp.told(attempt, answer))?.kind).toMatch(/^(declined|reversed)$/);
    });

    test('whose buyer was faster than the cancellation has succeeded', async () => {
      const [connector, attempt, reference] = await challenged();
      await world.psp.answerChallenge(attempt, 'pays');
      const answer = await connector.cancel(attempt, reference, DEADLINE_MS);
      expect(await world.psp.told(attempt, answer)).toMatchObject(SUCCEEDED);
      expect(await world.psp.movements(attempt)).toBe(1);
    });

    test('a cancellation that cannot connect says nothing about the attempt', async () => {
      const [, attempt, reference] = await challenged();
      const unconnected = world.connect({ port: await unusedPort() });
      expect(await unconnected.cancel(attempt, reference, DEADLINE_MS)).toMatchObject(ENQUIRE);
    });

    if (!findable.includes('charge')) return;
    test('is found waiting, paid, or failed; failed, it waits until it is canceled and keeps the reason', async () => {
      const sent = sentNow();
      const [connector, attempt] = await challenged();
      const first = await connector.enquire(attempt, sent, DEADLINE_MS);
      expect(first).toMatchObject({ kind: 'awaiting_customer', handOff: expect.anything() });
      await world.psp.answerChallenge(attempt, 'pays');
      expect(await connector.enquire(attempt, sent, DEADLINE_MS)).toMatchObject(SUCCEEDED);
      const [, failing, reference] = await challenged();
      await world.psp.answerChallenge(failing, 'fails');
      const failed = await connector.enquire(failing, sent, DEADLINE_MS);
      expect(failed).toMatchObject({ kind: 'awaiting_customer', reason: expect.stringMatching(/./) });
      const why = failed.kind === 'awaiting_customer' ? failed.reason : null;
      expect(await connector.cancel(failing, reference, DEADLINE_MS)).toMatchObject({
        kind: 'declined',
        reason: why,
        mayRetryAsNew: true,
      });
      expect(await world.psp.movements(failing)).toBe(0);
    });
  });
}

function declareRefunds(world: World): void {
  describe('the result of a refund', () => {
    test('one that takes its time is pending until the PSP says that it is done', async () => {
      const connector = world.connect();
      const attempt = await world.psp.attemptOf('refund');
      const sent = sentNow();
      await world.psp.queueFault(attempt, 'pending_then_succeed');
      expect(await send(connector, attempt)).toMatchObject({ kind: 'pending' });
      expect(await world.psp.movements(attempt)).toBe(0);
      expect(await connector.enquire(attempt, sent, DEADLINE_MS)).toMatchObject({ kind: 'pending' });
      await world.psp.complete(attempt);
      expect(await connector.enquire(attempt, sent, DEADLINE_MS)).toMatchObject(SUCCEEDED);
      expect(await world.psp.movements(attempt)).toBe(1);
    });

    test('one that fails at the PSP is declined, with the reason', async () => {
      const attempt = await world.psp.attemptOf('refund');
      await world.psp.queueFault(attempt, 'decline');
      expect(await send(world.connect(), attempt)).toMatchObject({
        kind: 'declined',
        reason: expect.stringMatching(/./),
      });
      expect(await world.psp.movements(attempt)).toBe(0);
    });

    test('one of more than was charged is rejected', async () => {
      const attempt = await world.psp.overRefund();
      expect(await send(world.connect(), attempt)).toMatchObject({ kind: 'rejected' });
      expect(await world.psp.movements(attempt)).toBe(0);
    });

    declareUndone(world, 'refund');
  });
}

function declarePayouts(world: World): void {
  describe('the result of a payout', () => {
    test('one that the balance does not cover is declined and may be tried again as new', async () => {
      const connector = world.connect();
      const attempt = world.psp.unfundedPayout();
      const declined = { kind: 'declined', reason: 'balance_insufficient', mayRetryAsNew: true };
      expect(await send(connector, attempt)).toMatchObject(declined);
      expect(await send(connector, attempt)).toMatchObject(declined);
      expect(await world.psp.movements(attempt)).toBe(0);
    });

    declareUndone(world, 'payout');
  });
}

function declareUndone(world: World, kind: OperationKind): void {
  test('one that the PSP takes back after it succeeded is declined from then on', async () => {
    const connector = world.connect();
    const attempt = await world.psp.attemptOf(kind);
    const sent = sentNow();
    expect(await send(connector, attempt)).toMatchObject(SUCCEEDED);
    await world.psp.undo(attempt);
    expect(await connector.enquire(attempt, sent, DEADLINE_MS)).toMatchObject({
      kind: 'declined',
      reason: expect.stringMatching(/./),
    });
    expect(await world.psp.movements(attempt)).toBe(0);
  });
}

function declareSuccess(world: World, kind: OperationKind): void {
  test('success moves money once, and the same key brings the same object', async () => {
    const connector = world.connect();
    const attempt = await world.psp.attemptOf(kind);
    const first = await send(connector, attempt);
    expect(first).toMatchObject(SUCCEEDED);
    expect(await send(connector, attempt)).toEqual(first);
    expect(await world.psp.movements(attempt)).toBe(1);
  });

  test('sent by three at the same time it still moves money once', async () => {
    const connector = world.connect();
    const attempt = await world.psp.attemptOf(kind);
    const replies = await Promise.all([1, 2, 3].map(() => send(connector, attempt)));
    for (const reply of replies) expect(['succeeded', 'unknown']).toContain(reply.kind);
    expect(await resendUntilSucceeded(connector, attempt)).toMatchObject(SUCCEEDED);
    expect(await world.psp.movements(attempt)).toBe(1);
  });

  test('given to the method of another kind it is a bug of ours', async () => {
    const connector = world.connect();
    const attempt = await world.psp.attemptOf(kind);
    for (const other of (['charge', 'refund', 'payout'] as const).filter((one) => one !== kind))
      await expect(connector[other](attempt, DEADLINE_MS)).rejects.toThrow(kind);
    expect(await world.psp.movements(attempt)).toBe(0);
  });
}

function declareLostAnswers(world: World, kind: OperationKind): void {
  describe('an answer that is lost leaves doubt, and the same request with the same key ends it', () => {
    test.each<ConformanceFault>([
      'act_then_drop',
      'act_then_truncate',
      'act_then_empty',
      'act_then_bad_gateway',
      'drop_before_acting',
      'bad_gateway',
    ])('%s', async (fault) => {
      const connector = world.connect();
      const attempt = await world.psp.attemptOf(kind);
      await world.psp.queueFault(attempt, fault);
      expect(await send(connector, attempt)).toMatchObject(RESEND);
      expect(await send(connector, attempt)).toMatchObject(SUCCEEDED);
      expect(await world.psp.movements(attempt)).toBe(1);
    });

    test.each<ConformanceFault>(['hang_then_act', 'act_then_drip'])(
      '%s: the deadline holds for the whole call',
      async (fault) => {
        const connector = world.connect();
        const attempt = await world.psp.attemptOf(kind);
        await world.psp.queueFault(attempt, fault);
        expect(await send(connector, attempt, SHORT_DEADLINE_MS)).toMatchObject(RESEND);
        expect(await resendUntilSucceeded(connector, attempt)).toMatchObject(SUCCEEDED);
        // The request that hung may still be executed: it must meet its own key.
        await pause(HANG_MS);
        expect(await world.psp.movements(attempt)).toBe(1);
      },
    );
  });
}

function declareStoredFailures(world: World, kind: OperationKind): void {
  describe('a failure that the PSP stored under the key', () => {
    test.each<[ConformanceFault, EnquiryReply['kind'], number]>([
      ['fail_500', 'not_found', 0],
      ['act_then_500', 'succeeded', 1],
    ])('%s: a resend brings it again, an enquiry says %s', async (fault, found, moved) => {
      const connector = world.connect();
      const attempt = await world.psp.attemptOf(kind);
      const sent = sentNow();
      await world.psp.queueFault(attempt, fault);
      expect(await send(connector, attempt)).toMatchObject({ kind: 'unknown' });
      expect(await send(connector, attempt)).toMatchObject(ENQUIRE);
      if (connector.capabilities.canEnquire[kind]) {
        expect(await connector.enquire(attempt, sent, DEADLINE_MS)).toMatchObject({ kind: found });
      }
      expect(await world.psp.movements(attempt)).toBe(moved);
    });
  });
}

function declareRefusals(world: World, kind: OperationKind): void {
  describe('a refusal to look at the request', () => {
    test.each<[ConformanceFault, object]>([
      ['rate_limited', { kind: 'rate_limited', retryAfterMs: RETRY_AFTER_S * 1000 }],
      ['unauthorized', { kind: 'config_error', fix: expect.stringMatching(/./) }],
      ['key_in_use', RESEND],
    ])('%s: the same request goes through later', async (fault, expected) => {
      const connector = world.connect();
      const attempt = await world.psp.attemptOf(kind);
      await world.psp.queueFault(attempt, fault);
      expect(await send(connector, attempt)).toMatchObject(expected);
      expect(await world.psp.movements(attempt)).toBe(0);
      expect(await send(connector, attempt)).toMatchObject(SUCCEEDED);
      expect(await world.psp.movements(attempt)).toBe(1);
    });

    test('other parameters under a used key: doubt, because the first request may have succeeded', async () => {
      const connector = world.connect();
      const attempt = await world.psp.attemptOf(kind);
      const sent = sentNow();
      expect(await send(connector, attempt)).toMatchObject(SUCCEEDED);
      const changed = world.psp.withOtherParameters(attempt);
      expect(await send(connector, changed)).toMatchObject(ENQUIRE);
      if (connector.capabilities.canEnquire[kind]) {
        expect(await connector.enquire(attempt, sent, DEADLINE_MS)).toMatchObject(SUCCEEDED);
      }
      expect(await world.psp.movements(attempt)).toBe(1);
    });

    test('a stored request that nobody can read is rejected without a call', async () => {
      const attempt = { ...(await world.psp.attemptOf(kind)), request: '{"amount":' };
      expect(await send(world.connect(), attempt)).toMatchObject({ kind: 'rejected' });
    });
  });
}

function declareSockets(world: World): void {
  describe('the network', () => {
    test('connection refused: not sent', async () => {
      const connector = world.connect({ port: await unusedPort() });
      expect(await connector.charge(world.psp.attempt('pays'), DEADLINE_MS)).toMatchObject({
        kind: 'not_sent',
      });
    });

    test('no free socket before the deadline: not sent, not even later', async () => {
      const connector = world.connect({ maxConcurrent: 1 });
      const [holder, waiting] = [world.psp.attempt('pays'), world.psp.attempt('pays')];
      await world.psp.queueFault(holder, 'hang_then_act');
      const held = connector.charge(holder, DEADLINE_MS);
      expect(await connector.charge(waiting, SHORT_DEADLINE_MS)).toMatchObject({ kind: 'not_sent' });
      expect(await held).toMatchObject(SUCCEEDED);
      await pause(SHORT_DEADLINE_MS);
      expect(await world.psp.movements(waiting)).toBe(0);
    });

    test('sockets that are closed between calls cost nothing but a new connection', async () => {
      const proxy = await startProxy(world.psp.port);
      world.onCleanUp(() => proxy.stop());
      const connector = world.connect({ port: proxy.port, maxConcurrent: 1 });
      for (let nth = 0; nth < 5; nth += 1) {
        const attempt = world.psp.attempt('pays');
        expect(await connector.charge(attempt, DEADLINE_MS)).toMatchObject(SUCCEEDED);
        proxy.closeConnections();
        await pause(20);
      }
    });

    test('sockets that are closed under a request leave doubt, never "not sent"', async () => {
      const proxy = await startProxy(world.psp.port);
      world.onCleanUp(() => proxy.stop());
      const connector = world.connect({ port: proxy.port, maxConcurrent: 1 });
      for (let nth = 0; nth < 20; nth += 1) {
        const attempt = world.psp.attempt('pays');
        expect(await resendUntilSucceeded(connector, attempt)).toMatchObject(SUCCEEDED);
        const next = world.psp.attempt('pays');
        const pending = connector.charge(next, DEADLINE_MS);
        proxy.closeConnections();
        const reply = await pending;
        if (reply.kind === 'not_sent') expect(await world.psp.movements(next)).toBe(0);
        expect(await resendUntilSucceeded(connector, next)).toMatchObject(SUCCEEDED);
        expect(await world.psp.movements(next)).toBe(1);
      }
    });

    test('closing the connector ends the calls under way', async () => {
      const connector = world.connect();
      const attempt = world.psp.attempt('pays');
      await world.psp.queueFault(attempt, 'hang_then_act');
      const pending = connector.charge(attempt, DEADLINE_MS);
      await pause(SHORT_DEADLINE_MS);
      await connector.close();
      expect(await pending).toMatchObject(RESEND);
      expect(await connector.charge(attempt, DEADLINE_MS)).toMatchObject({ kind: 'not_sent' });
    });
  });
}

function declareEnquiries(world: World, kind: OperationKind): void {
  describe('an enquiry', () => {
    test('finds a success whose answer was lost', async () => {
      const connector = world.connect();
      const attempt = await world.psp.attemptOf(kind);
      const sent = sentNow();
      await world.psp.queueFault(attempt, 'act_then_drop');
      await send(connector, attempt);
      expect(await connector.enquire(attempt, sent, DEADLINE_MS)).toMatchObject(SUCCEEDED);
    });

    test('does not take one attempt for another', async () => {
      const connector = world.connect();
      const sent = sentNow();
      await send(connector, await world.psp.attemptOf(kind));
      const neverSent = await world.psp.attemptOf(kind);
      expect(await connector.enquire(neverSent, sent, DEADLINE_MS)).toMatchObject({ kind: 'not_found' });
    });

    test.each<['rate_limited' | 'unauthorized', object]>([
      ['rate_limited', { kind: 'rate_limited', retryAfterMs: RETRY_AFTER_S * 1000 }],
      ['unauthorized', { kind: 'config_error' }],
    ])('that is refused (%s) says so and nothing about the attempt', async (fault, expected) => {
      const connector = world.connect();
      await world.psp.queueEnquiryFault(fault);
      expect(await connector.enquire(await world.psp.attemptOf(kind), sentNow(), DEADLINE_MS)).toMatchObject(
        expected,
      );
    });

    test('that meets a dropped connection tries again', async () => {
      const connector = world.connect();
      const attempt = await world.psp.attemptOf(kind);
      const sent = sentNow();
      await send(connector, attempt);
      await world.psp.queueEnquiryFault('drop_before_acting');
      expect(await connector.enquire(attempt, sent, DEADLINE_MS)).toMatchObject(SUCCEEDED);
    });

    test('that cannot connect is doubt, never "not sent"', async () => {
      const connector = world.connect({ port: await unusedPort() });
      expect(await connector.enquire(await world.psp.attemptOf(kind), sentNow(), DEADLINE_MS)).toMatchObject(
        ENQUIRE,
      );
    });
  });
}

function declareNoEnquiries(world: World, kind: OperationKind): void {
  test('an enquiry calls nobody and is doubt, because this PSP cannot be asked', async () => {
    const connector = world.connect({ port: await unusedPort() });
    expect(connector.capabilities.canEnquire[kind]).toBe(false);
    const attempt = await world.psp.attemptOf(kind);
    expect(await connector.enquire(attempt, sentNow(), DEADLINE_MS)).toMatchObject(ENQUIRE);
  });
}

/** A port of this machine on which nothing listens. */
async function unusedPort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

type Proxy = { readonly port: number; closeConnections(): void; stop(): void };

/** A TCP proxy whose connections a test can close at will. */
async function startProxy(targetPort: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  const server = net.createServer((client) => {
    const upstream = net.connect(targetPort, '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.pipe(upstream).pipe(client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const closeConnections = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    closeConnections,
    stop() {
      closeConnections();
      server.close();
    },
  };
}
