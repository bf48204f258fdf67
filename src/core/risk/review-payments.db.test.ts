/** Reviews on a real book: one decision, audited, with what follows from it in the same transaction. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  claimOne,
  openTestBook,
  orderRequest,
  queueCharge,
  REPLY,
  record,
  standingOf,
  startTestDaemon,
  type TestBook,
  uniqueName,
} from '../../testing/fixtures.ts';
import { listEvents } from '../audit/event-store.ts';
import { parseRuleFile } from './parse-rule-file.ts';
import { decideReview, expireReviews, type ReviewDecision } from './review-payments.ts';
import type { RiskRules } from './risk.ts';
import { listReviews } from './risk-store.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

const REVIEW_ALL = '[[rules]]\nid = "all"\nkind = "amount"\nmax = { EUR = "0" }\naction = "review"\n';
const REASON = 'looked at, and it is fine';

function rulesOf(toml: string, blockedBuyers: readonly string[] = []): RiskRules {
  const parsed = parseRuleFile(Buffer.from(`name = "test rules"\n${toml}`));
  if (parsed.kind === 'bad') throw new Error(JSON.stringify(parsed.faults));
  return {
    maxPaymentMinor: new Map(),
    blockedBuyers: new Set(blockedBuyers),
    blockedSellers: new Set(),
    ruleSet: parsed.ruleSet,
  };
}

const RULES = rulesOf(REVIEW_ALL);

/** A payment of one order that waits for a review, in a lane of its own. */
async function waiting(toml = REVIEW_ALL) {
  const account = uniqueName('acct');
  const charge = await queueCharge(book.db, account, { buyer: `of ${account}` }, { risk: rulesOf(toml) });
  return { account, buyer: `of ${account}`, ...charge };
}

function decide(
  paymentId: bigint,
  verdict: ReviewDecision['verdict'],
  further: Partial<ReviewDecision> = {},
) {
  return decideReview(book.db, {
    paymentId,
    verdict,
    reason: REASON,
    principal: 'cli:ana/paygate_app',
    rules: RULES,
    ...further,
  });
}

async function reviewOf(paymentId: bigint) {
  const [row] = await listReviews(book.db, { state: null, beforeId: paymentId + 1n, limit: 1 });
  return row!;
}

async function eventsOf(paymentId: bigint) {
  const events = await listEvents(book.db, { afterId: 0n, limit: 1_000, paymentId });
  return events.filter((event) => event.kind === 'risk_reviewed');
}

describe('approving', () => {
  test('queues every charge of the payment, and they are charged like any other', async () => {
    const { account, paymentId, operationId } = await waiting();
    expect(await decide(paymentId, 'approved')).toBe(1);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'queued',
      attemptState: 'created',
      job: { state: 'ready', action: 'send', fence: 0 },
    });
    const daemon = await startTestDaemon(book.db);
    await record(daemon, await claimOne(daemon, account), REPLY.succeeded);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'succeeded',
      entries: ['charge_succeeded'],
    });
  });

  test('stores who, why and under which rules', async () => {
    const { paymentId } = await waiting();
    await decide(paymentId, 'approved', { reason: `  ${REASON} ` });
    expect(await reviewOf(paymentId)).toMatchObject({
      state: 'approved',
      decidedBy: 'cli:ana/paygate_app',
      reason: REASON,
      hits: [{ rule: 'all' }],
    });
    const [event, ...others] = await eventsOf(paymentId);
    expect(others).toEqual([]);
    expect(event).toMatchObject({ principal: 'cli:ana/paygate_app' });
    expect(JSON.parse(event!.data)).toMatchObject({
      state: 'approved',
      reason: REASON,
      rules_version: RULES.ruleSet!.version,
    });
  });

  test('of a payment of several orders queues them all', async () => {
    const orders = [orderRequest({ seller: 'one' }), orderRequest({ seller: 'two' })];
    const { paymentId } = await queueCharge(book.db, uniqueName('acct'), { orders }, { risk: RULES });
    expect(await decide(paymentId, 'approved')).toBe(2);
  });

  test.each([
    ['of the configuration', (buyer: string) => rulesOf(REVIEW_ALL, [buyer])],
    [
      'of the rule file',
      (buyer: string) =>
        rulesOf(
          `[[lists.bad]]\nvalue = "${buyer}"\nreason = "chargebacks"\n[[rules]]\nid = "bad"\nkind = "list"\nparty = "buyer"\nlist = "bad"\naction = "block"`,
        ),
    ],
  ])('asks the block lists %s again, and refuses who is on one now', async (_, rules) => {
    const { paymentId, operationId, buyer } = await waiting();
    await expect(decide(paymentId, 'approved', { rules: rules(buyer) })).rejects.toMatchObject({
      code: 'on_block_list',
      kind: 'refused',
    });
    expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'in_risk_review', job: null });
    expect((await reviewOf(paymentId)).state).toBe('open');
    await decide(paymentId, 'rejected', { rules: rules(buyer) });
  });

  test('does not ask rules that are no lists: the person decides on those', async () => {
    const { paymentId } = await waiting();
    await decide(paymentId, 'approved', {
      rules: rulesOf('[[rules]]\nid = "all"\nkind = "amount"\nmax = { EUR = "0" }\naction = "block"'),
    });
    expect((await reviewOf(paymentId)).state).toBe('approved');
  });
});

describe('rejecting', () => {
  test('ends the charges unsent, and closes their attempts for good', async () => {
    const { paymentId, operationId } = await waiting();
    expect(await decide(paymentId, 'rejected')).toBe(1);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'risk_blocked',
      attemptState: 'not_sent',
      isOpen: false,
      maybeSent: false,
      sends: 0,
      job: null,
      entries: [],
    });
  });
});

describe('one decision only', () => {
  test.each(['approved', 'rejected'] as const)(
    'the second decider is told: it was %s, and by whom',
    async (first) => {
      const { paymentId } = await waiting();
      await decide(paymentId, first);
      for (const second of ['approved', 'rejected'] as const) {
        await expect(decide(paymentId, second, { principal: 'cli:bob/paygate_app' })).rejects.toMatchObject({
          code: 'already_decided',
          kind: 'refused',
          details: { state: first, decided_by: 'cli:ana/paygate_app' },
        });
      }
      expect(await eventsOf(paymentId)).toHaveLength(1);
    },
  );

  test('of many at the same moment exactly one wins', async () => {
    const { paymentId, operationId } = await waiting();
    const verdicts = Array.from(
      { length: 8 },
      (_, i) => (i % 2 === 0 ? 'approved' : 'rejected') as 'approved' | 'rejected',
    );
    const ends = await Promise.allSettled(verdicts.map((verdict) => decide(paymentId, verdict)));
    const winners = verdicts.filter((_, i) => ends[i]!.status === 'fulfilled');
    expect(winners).toHaveLength(1);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: winners[0] === 'approved' ? 'queued' : 'risk_blocked',
    });
    expect(await eventsOf(paymentId)).toHaveLength(1);
  });

  test('what was never in review cannot be decided', async () => {
    const { paymentId } = await queueCharge(book.db, uniqueName('acct'));
    await expect(decide(paymentId, 'approved')).rejects.toMatchObject({ code: 'not_in_review' });
  });

  test.each([
    ['too short', 'because', 'reason_too_short'],
    ['only spaces', ' '.repeat(50), 'reason_too_short'],
    ['too long', 'x'.repeat(2_001), 'reason_too_long'],
  ])('a reason that is %s decides nothing', async (_, reason, code) => {
    const { paymentId } = await waiting();
    await expect(decide(paymentId, 'rejected', { reason })).rejects.toMatchObject({ code, kind: 'usage' });
    expect((await reviewOf(paymentId)).state).toBe('open');
  });
});

describe('time', () => {
  test('the rule file says how long a review waits; frozen when the payment is accepted', async () => {
    const { paymentId } = await waiting(`review_timeout = "90m"\n${REVIEW_ALL}`);
    const [row] = await book.db.sql<{ s: number }[]>`
      select extract(epoch from due_at - opened_at)::integer as s from ${book.db.t.riskReview}
       where payment_id = ${paymentId}`;
    expect(row!.s).toBe(5_400);
  });

  test('that is up rejects, once, and leaves other reviews alone', async () => {
    const late = [await waiting(), await waiting()];
    const other = await waiting();
    await book.owner.sql`
      update ${book.owner.t.riskReview} set due_at = now() - interval '1 second'
       where payment_id in (${late[0]!.paymentId}, ${late[1]!.paymentId})`;
    await expect(decide(late[0]!.paymentId, 'approved')).rejects.toMatchObject({ code: 'review_timed_out' });
    expect(await expireReviews(book.db, 'daemon:test')).toBe(2);
    expect(await expireReviews(book.db, 'daemon:test')).toBe(0);
    for (const { operationId, paymentId } of late) {
      expect(await standingOf(book.db, operationId)).toMatchObject({
        subState: 'risk_blocked',
        isOpen: false,
      });
      expect(await reviewOf(paymentId)).toMatchObject({ state: 'timed_out', decidedBy: 'daemon:test' });
      expect(await eventsOf(paymentId)).toHaveLength(1);
      await expect(decide(paymentId, 'approved')).rejects.toMatchObject({ code: 'already_decided' });
    }
    expect((await reviewOf(other.paymentId)).state).toBe('open');
  });
});
