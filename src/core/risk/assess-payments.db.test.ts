/** Rules at acceptance, on a real book: what is stored, what counts, and that nobody slips through. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  acceptContext,
  claimOne,
  money,
  openTestBook,
  orderRequest,
  paymentRequest,
  queueCharge,
  REPLY,
  record,
  standingOf,
  startTestDaemon,
  type TestBook,
  uniqueName,
  untilBlocked,
} from '../../testing/fixtures.ts';
import { transact, transactOnce } from '../db/connection.ts';
import { acceptPayments, fingerprint } from '../payment/accept-payments.ts';
import type { PaymentRequest } from '../payment/payment-request.ts';
import { submitPayments } from '../payment/submit-payments.ts';
import { rehearsePayments } from './assess-payments.ts';
import { emptyTally } from './facts.ts';
import { parseRuleFile } from './parse-rule-file.ts';
import type { RiskRules } from './risk.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

function rulesOf(toml: string, builtIn: Partial<RiskRules> = {}): RiskRules {
  const parsed = parseRuleFile(Buffer.from(`name = "test rules"\n${toml}`));
  if (parsed.kind === 'bad') throw new Error(JSON.stringify(parsed.faults));
  return {
    maxPaymentMinor: new Map(),
    blockedBuyers: new Set(),
    blockedSellers: new Set(),
    ruleSet: parsed.ruleSet,
    ...builtIn,
  };
}

async function accept(rules: RiskRules, requests: readonly PaymentRequest[]) {
  const context = await acceptContext(book.db, { risk: rules });
  const results = await transact(book.db, (tx) => acceptPayments(tx, context, requests.map(fingerprint)));
  return results.map((result) => {
    if (result.kind !== 'accepted') throw new Error(result.kind);
    return { id: BigInt(result.answer.payment_id.slice(4)), ...result.answer.risk };
  });
}

async function decisions(rules: RiskRules, requests: readonly PaymentRequest[]): Promise<readonly string[]> {
  return (await accept(rules, requests)).map((answer) => answer.decision);
}

async function assessmentOf(paymentId: bigint) {
  const [row] = await book.db.sql`
    select rules_version, decision, shadow_decision, hits from ${book.db.t.riskAssessment}
     where payment_id = ${paymentId}`;
  return row;
}

const many = (count: number, make: () => PaymentRequest) => Array.from({ length: count }, make);
const LIMIT_2 = `
[[rules]]
id = "burst"
kind = "velocity"
by = "buyer"
window = "10m"
max_count = 2
action = "block"
`;

describe('what is stored', () => {
  test('every hit with its inputs, under the name and hash of the file', async () => {
    const rules = rulesOf(
      '[[rules]]\nid = "big"\nkind = "amount"\nmax = { EUR = "10.00" }\naction = "block"',
    );
    const [answer] = await accept(rules, [paymentRequest()]);
    expect(answer).toMatchObject({ decision: 'block', reason: 'big: the payment is over 10.00 EUR' });
    expect(await assessmentOf(answer!.id)).toEqual({
      rulesVersion: expect.stringMatching(/^test rules [0-9a-f]{64}$/),
      decision: 'block',
      shadowDecision: 'block',
      hits: [
        {
          rule: 'big',
          action: 'block',
          mode: 'live',
          text: 'big: the payment is over 10.00 EUR',
          inputs: { amount: '12.50', max: '10.00', currency: 'EUR' },
        },
      ],
    });
  });

  test('nothing without a rule file and a hit; a hit of the configuration by itself', async () => {
    const { ruleSet: _, ...plain } = rulesOf('');
    const [allowed] = await accept(plain, [paymentRequest()]);
    expect(await assessmentOf(allowed!.id)).toBeUndefined();
    const [blocked] = await accept({ ...plain, blockedBuyers: new Set(['Mallory']) }, [
      paymentRequest({ buyer: 'Mallory' }),
    ]);
    expect(await assessmentOf(blocked!.id)).toMatchObject({
      rulesVersion: 'configuration',
      hits: [{ rule: 'config.blocked_buyers', inputs: { buyer: 'Mallory' } }],
    });
  });

  test('an assessment cannot be changed, not even by the owner', async () => {
    await expect(
      book.owner.sql`update ${book.owner.t.riskAssessment} set decision = 'allow'`,
    ).rejects.toMatchObject({ code: 'PG001' });
  });

  test('a rule that needs no memory leaves none', async () => {
    const rules = rulesOf('[[rules]]\nid = "big"\nkind = "amount"\nmax = { EUR = "99" }\naction = "block"');
    const before = await book.db.sql`select key from ${book.db.t.riskKey}`;
    await accept(rules, [paymentRequest()]);
    expect(await book.db.sql`select key from ${book.db.t.riskKey}`).toEqual(before);
  });
});

describe('velocity', () => {
  test('payments of one batch count each other, in the order of the requests whatever their keys', async () => {
    const buyer = uniqueName('buyer');
    const batch = ['c', 'a', 'b', 'd'].map((key) =>
      paymentRequest({ buyer, idempotencyKey: `${key}-${buyer}` }),
    );
    expect(await decisions(rulesOf(LIMIT_2), batch)).toEqual(['allow', 'allow', 'block', 'block']);
  });

  test('payments of earlier transactions count; blocked ones do not, and other buyers neither', async () => {
    const buyer = uniqueName('buyer');
    const rules = rulesOf(LIMIT_2);
    expect(await decisions(rules, [paymentRequest({ buyer })])).toEqual(['allow']);
    expect(
      await decisions(
        rules,
        many(3, () => paymentRequest({ buyer })),
      ),
    ).toEqual(['allow', 'block', 'block']);
    expect(await decisions(rules, [paymentRequest({ buyer: uniqueName('buyer') })])).toEqual(['allow']);
    const [row] = await book.db.sql<{ checkouts: number }[]>`
      select sum(checkouts)::integer as checkouts from ${book.db.t.riskCounter}
       where key = sha256(convert_to(${JSON.stringify(['buyer', buyer])}, 'UTF8'))`;
    expect(row!.checkouts).toBe(2);
  });

  test('what is older than the window does not count', async () => {
    const buyer = uniqueName('buyer');
    const rules = rulesOf(LIMIT_2);
    await accept(
      rules,
      many(2, () => paymentRequest({ buyer })),
    );
    expect(await decisions(rules, [paymentRequest({ buyer })])).toEqual(['block']);
    await book.owner.sql`update ${book.owner.t.riskCounter} set minute = minute - interval '12 minutes'`;
    expect(await decisions(rules, [paymentRequest({ buyer })])).toEqual(['allow']);
  });

  test.each(['buyer', 'payment_method', 'seller'])('sums by %s, each currency for itself', async (by) => {
    const name = uniqueName('name');
    const rules = rulesOf(
      `[[rules]]\nid = "sum"\nkind = "velocity"\nby = "${by}"\nwindow = "1h"\nmax_sum = { EUR = "25.00", JPY = "100" }\naction = "review"`,
    );
    const order = (amount: string, code: string) =>
      orderRequest({ seller: name, paymentMethod: name, money: money(amount, code) });
    const request = (amount: string, code: string) =>
      paymentRequest({ buyer: name, orders: [order(amount, code)] });
    expect(
      await decisions(rules, [request('25.00', 'EUR'), request('100', 'JPY'), request('0.01', 'EUR')]),
    ).toEqual(['allow', 'allow', 'review']);
    const [last] = await accept(rules, [request('1', 'JPY')]);
    expect(last!.decision).toBe('review');
    expect(await assessmentOf(last!.id)).toMatchObject({
      hits: [
        { inputs: { party: by, value: name, amount: '101', max: '100', currency: 'JPY', window_s: 3600 } },
      ],
    });
  });

  test('a payment of several currencies is one checkout', async () => {
    const buyer = uniqueName('buyer');
    const two = () =>
      paymentRequest({ buyer, orders: [orderRequest(), orderRequest({ money: money('1', 'JPY') })] });
    expect(await decisions(rulesOf(LIMIT_2), [two(), two(), two()])).toEqual(['allow', 'allow', 'block']);
    expect(await decisions(rulesOf(LIMIT_2), [two()])).toEqual(['block']);
  });

  test('concurrent checkouts cannot slip through: exactly as many pass as may', async () => {
    const buyer = uniqueName('buyer');
    const rules = rulesOf(LIMIT_2.replace('max_count = 2', 'max_count = 5'));
    const context = await acceptContext(book.db, { risk: rules });
    const submissions = many(24, () =>
      paymentRequest({ buyer, orders: [orderRequest({ seller: uniqueName('s') })] }),
    );
    const results = await Promise.all(
      submissions.map((request) => submitPayments(book.db, context, [fingerprint(request)])),
    );
    const kinds = results
      .flat()
      .map((result) => (result.kind === 'accepted' ? result.answer.risk.decision : result.kind));
    expect(kinds.filter((kind) => kind === 'allow')).toHaveLength(5);
    expect(kinds.filter((kind) => kind === 'block')).toHaveLength(19);
  });

  test('batches that name the same parties in opposite orders never end in a circle', async () => {
    const buyers = Array.from({ length: 20 }, () => uniqueName('buyer'));
    const context = await acceptContext(book.db, { risk: rulesOf(LIMIT_2.replace('= 2', '= 1000')) });
    const batches = Array.from({ length: 8 }, (_, i) =>
      (i % 2 === 0 ? buyers : [...buyers].reverse()).map((buyer) => paymentRequest({ buyer })),
    );
    const results = await Promise.all(
      batches.map((batch) => transact(book.db, (tx) => acceptPayments(tx, context, batch.map(fingerprint)))),
    );
    expect(results.flat().filter((result) => result.kind === 'accepted')).toHaveLength(160);
  });

  test('a name that another acceptance holds too long is "in progress", not a review', async () => {
    const buyer = uniqueName('buyer');
    const context = await acceptContext(book.db, { risk: rulesOf(LIMIT_2) });
    await transactOnce(book.db, async (tx) => {
      await acceptPayments(tx, context, [fingerprint(paymentRequest({ buyer }))]);
      const [other] = await submitPayments(book.db, context, [fingerprint(paymentRequest({ buyer }))]);
      expect(other).toMatchObject({ kind: 'request_in_progress' });
    });
  });
});

describe('other rules', () => {
  test("a seller's daily cap counts from midnight UTC, over all payments", async () => {
    const seller = uniqueName('seller');
    const rules = rulesOf(
      '[[rules]]\nid = "cap"\nkind = "seller_daily_cap"\nmax = { EUR = "30" }\naction = "review"',
    );
    const request = () => paymentRequest({ buyer: uniqueName('b'), orders: [orderRequest({ seller })] });
    expect(await decisions(rules, [request(), request(), request()])).toEqual(['allow', 'allow', 'review']);
    expect(await decisions(rules, [request()])).toEqual(['review']);
    await book.owner.sql`update ${book.owner.t.riskCounter} set minute = minute - interval '1 day'`;
    expect(await decisions(rules, [request()])).toEqual(['allow']);
  });

  test('a checkout that looks like another is told which; one that failed is no double', async () => {
    const rules = rulesOf('[[rules]]\nid = "double"\nkind = "duplicate"\nwindow = "15m"\naction = "review"');
    const orders = [orderRequest({ seller: uniqueName('a') }), orderRequest({ seller: uniqueName('b') })];
    const buyer = uniqueName('buyer');
    const [first] = await accept(rules, [paymentRequest({ buyer, orders })]);
    expect(first!.decision).toBe('allow');
    const [second] = await accept(rules, [paymentRequest({ buyer, orders: [...orders].reverse() })]);
    expect(second).toMatchObject({ decision: 'review', reason: `double: looks like pay_${first!.id}` });
    expect(await decisions(rules, [paymentRequest({ buyer, orders: orders.slice(1) })])).toEqual(['allow']);
    await book.owner.sql`
      update ${book.owner.t.operation} set sub_state = 'declined' where payment_id in (${first!.id}, ${second!.id})`;
    expect(await decisions(rules, [paymentRequest({ buyer, orders })])).toEqual(['allow']);
  });

  test('two of one batch that look the same: the second one is the double', async () => {
    const rules = rulesOf('[[rules]]\nid = "double"\nkind = "duplicate"\nwindow = "15m"\naction = "block"');
    const buyer = uniqueName('buyer');
    expect(await decisions(rules, [paymentRequest({ buyer }), paymentRequest({ buyer })])).toEqual([
      'allow',
      'block',
    ]);
  });

  test('a buyer is new until a payment has succeeded, and only above the amount', async () => {
    const rules = rulesOf(
      '[[rules]]\nid = "new"\nkind = "first_time_buyer"\nabove = { EUR = "20" }\naction = "review"',
    );
    const buyer = uniqueName('buyer');
    const large = () => paymentRequest({ buyer, orders: [orderRequest({ money: money('20.01', 'EUR') })] });
    const account = uniqueName('acct');
    await queueCharge(book.db, account, { buyer }, { risk: rules });
    expect(await decisions(rules, [large()])).toEqual(['review']);
    const daemon = await startTestDaemon(book.db);
    await record(daemon, await claimOne(daemon, account), REPLY.succeeded);
    expect(await decisions(rules, [large()])).toEqual(['allow']);
  });

  test('an entry of a list is gone when it has expired, by database time', async () => {
    const list = (expires: string) =>
      rulesOf(
        `[[lists.bad]]\nvalue = "Eve"\nreason = "chargebacks"\nexpires = ${expires}\n[[rules]]\nid = "bad"\nkind = "list"\nparty = "buyer"\nlist = "bad"\naction = "block"`,
      );
    expect(await decisions(list('2999-01-01T00:00:00Z'), [paymentRequest({ buyer: 'Eve' })])).toEqual([
      'block',
    ]);
    expect(await decisions(list('2001-01-01T00:00:00Z'), [paymentRequest({ buyer: 'Eve' })])).toEqual([
      'allow',
    ]);
  });

  test('a shadow rule is evaluated and stored, and changes nothing', async () => {
    const buyer = uniqueName('buyer');
    const answers = await accept(
      rulesOf(`${LIMIT_2}mode = "shadow"`),
      many(3, () => paymentRequest({ buyer })),
    );
    expect(answers.map((answer) => answer.decision)).toEqual(['allow', 'allow', 'allow']);
    expect(await assessmentOf(answers[2]!.id)).toMatchObject({
      decision: 'allow',
      shadowDecision: 'block',
      hits: [{ rule: 'burst', mode: 'shadow', inputs: { count: 3, max_count: 2 } }],
    });
  });
});

describe('a fault of the engine', () => {
  test('means review, never allow; and the acceptance stands', async () => {
    await book.owner.sql`revoke select on ${book.owner.t.riskTrace} from paygate_app`;
    try {
      const rules = rulesOf('[[rules]]\nid = "double"\nkind = "duplicate"\nwindow = "15m"\naction = "block"');
      const [answer] = await accept(rules, [paymentRequest({ buyer: uniqueName('b') })]);
      expect(answer).toMatchObject({
        decision: 'review',
        reason: 'double: the rule could not be evaluated',
      });
      expect(await assessmentOf(answer!.id)).toMatchObject({
        hits: [
          { rule: 'double', action: 'review', inputs: { fault: expect.stringContaining('permission') } },
        ],
      });
    } finally {
      await book.owner.sql`grant select on ${book.owner.t.riskTrace} to paygate_app`;
    }
  });

  test('is also a question that was cancelled; what was cancelled with it is remembered all the same', async () => {
    const buyer = uniqueName('buyer');
    const rules = rulesOf(LIMIT_2);
    let answers: Awaited<ReturnType<typeof accept>> = [];
    let running: Promise<void> | null = null;
    await transactOnce(book.owner, async (tx) => {
      await tx.sql`lock table ${tx.t.riskCounter}`;
      running = accept(rules, [paymentRequest({ buyer })]).then((given) => {
        answers = given;
      });
      await untilBlocked(book.owner, 'make_interval');
      await book.owner.sql`
        select pg_cancel_backend(pid) from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock' and pid <> pg_backend_pid()`;
    });
    await running;
    expect(answers).toMatchObject([{ decision: 'review', reason: 'burst: the rule could not be evaluated' }]);
    expect(
      await decisions(
        rules,
        many(2, () => paymentRequest({ buyer })),
      ),
    ).toEqual(['allow', 'block']);
  });

  test('does not unblock who is on a list', async () => {
    await book.owner.sql`revoke select on ${book.owner.t.riskTrace} from paygate_app`;
    try {
      const rules = rulesOf(
        '[[rules]]\nid = "double"\nkind = "duplicate"\nwindow = "15m"\naction = "review"',
        {
          blockedBuyers: new Set(['Mallory']),
        },
      );
      expect(await decisions(rules, [paymentRequest({ buyer: 'Mallory' })])).toEqual(['block']);
    } finally {
      await book.owner.sql`grant select on ${book.owner.t.riskTrace} to paygate_app`;
    }
  });
});

test('a payment sent to review has its frozen request, and no job', async () => {
  const rules = rulesOf('[[rules]]\nid = "big"\nkind = "amount"\nmax = { EUR = "10.00" }\naction = "review"');
  const charge = await queueCharge(book.db, uniqueName('acct'), {}, { risk: rules });
  expect(await standingOf(book.db, charge.operationId)).toMatchObject({
    subState: 'in_risk_review',
    attemptState: 'created',
    isOpen: true,
    job: null,
  });
});

test('a rehearsal says what each would get, counts them among themselves, and stores nothing', async () => {
  const buyer = uniqueName('buyer');
  const rules = rulesOf(LIMIT_2);
  await accept(rules, [paymentRequest({ buyer })]);
  const rows = () => book.db.sql`select * from ${book.db.t.riskCounter} order by key, minute, currency`;
  const before = await rows();
  const tally = emptyTally();
  const first = await rehearsePayments(book.db, rules, [paymentRequest({ buyer })], tally);
  const second = await rehearsePayments(book.db, rules, [paymentRequest({ buyer })], tally);
  expect([...first, ...second].map((one) => one.decision)).toEqual(['allow', 'block']);
  expect(await rows()).toEqual(before);
});
