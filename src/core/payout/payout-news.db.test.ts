/** What becomes of a payout after the PSP took it: it arrives, it comes back, and the news of it comes in any order. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Sandbox, startSandbox } from '../../daemon/sandbox/main.ts';
import {
  applyOutside,
  balanceOf,
  makeDue,
  openTestBook,
  REPLY,
  scriptedConnector,
  standingOf,
  startTestDaemon,
  type TestBook,
  uniqueName,
} from '../../testing/fixtures.ts';
import { approvalContext, fundedSeller, pay, payoutRequest, submit } from '../../testing/payout-fixtures.ts';
import { parseId } from '../ids.ts';
import { callPsp, claimTasks, findingOf, recordFindings } from '../operation/execute-operations.ts';
import { createAdyenConnector } from '../psp/adyen-connector.ts';
import type { AdyenAccount, Connector, Reply } from '../psp/psp.ts';
import { capabilitiesOf } from '../psp/request.ts';
import { laneOf } from '../queue/job.ts';
import { changeDestination } from '../seller/change-seller.ts';
import { acceptWebhooks } from '../webhook/accept-webhooks.ts';
import type { WebhookEvent } from '../webhook/webhook.ts';
import { approveItems, startApproval } from './approve-payouts.ts';
import { payoutStateOf } from './payout.ts';
import { ANY_PAYOUT, listPayouts } from './payout-list-store.ts';

let book: TestBook;
let sandbox: Sandbox;
beforeAll(async () => {
  book = await openTestBook();
  sandbox = await startSandbox({ port: 0, journalPath: null, seed: 1 });
});
afterAll(async () => {
  await sandbox.close();
  await book.close();
});

const PAID = { kind: 'succeeded', pspReference: 'T1', arrived: true } as const;
const RETURNED = {
  kind: 'declined',
  reason: 'returned',
  mayRetryAsNew: false,
  pspReference: 'T1',
  isUndone: true,
} as const;

type Sent = { readonly account: string; readonly seller: string; readonly operationId: bigint };

/** A payout of 60.00 out of 100.00, claimed once and answered so. */
async function sent(reply: Reply): Promise<Sent> {
  const account = uniqueName('acct');
  const seller = await fundedSeller(book.db, account, '100.00');
  const { batchId } = await pay(book.db, account, [payoutRequest(seller, '60.00')]);
  const [item] = await listPayouts(book.db, { ...ANY_PAYOUT, batchId, limit: 10 });
  await work(account, 'stripe', scriptedConnector([reply]));
  return { account, seller, operationId: item!.operationId! };
}

/** One turn of the executor's loop: what is due goes to the PSP. */
async function work(account: string, psp: 'stripe' | 'adyen', connector: Connector): Promise<void> {
  const daemon = await startTestDaemon(book.db);
  const context = { ...daemon.context, capabilitiesOf: () => capabilitiesOf(psp) };
  await makeDue(book.owner, account);
  for (const priority of ['batch', 'online'] as const) {
    for (const task of await claimTasks(context, laneOf(account, priority), 10, connector))
      await recordFindings(context, [findingOf(task, await callPsp(connector, task, 10_000))]);
  }
}

async function stateOf(operationId: bigint): Promise<string> {
  const rows = await listPayouts(book.db, { ...ANY_PAYOUT, limit: 1000 });
  const row = rows.find((one) => one.operationId === operationId)!;
  return payoutStateOf(row.state, row.subState);
}

/** An observation of which nobody knows how old it is. */
async function learn(operationId: bigint, reply: Reply): Promise<void> {
  await applyOutside(book.db, [{ operationId, attemptNumber: 1, source: 'webhook', reply, held: null }]);
}

/** Available, in payout, and what the PSP owes us after the 100.00 that came in. */
async function money({ account, seller }: Pick<Sent, 'account' | 'seller'>) {
  return [
    await balanceOf(book.db, `seller:${seller}:available`, 'EUR'),
    await balanceOf(book.db, `seller:${seller}:in_payout`, 'EUR'),
    await balanceOf(book.db, `psp:${account}:receivable`, 'EUR'),
  ];
}

describe('a payout that was accepted', () => {
  test('is paid when the PSP says that the seller has it, which books nothing', async () => {
    const one = await sent(REPLY.succeeded);
    expect(await stateOf(one.operationId)).toBe('accepted');
    await learn(one.operationId, PAID);
    await learn(one.operationId, REPLY.succeeded);
    expect(await stateOf(one.operationId)).toBe('paid');
    expect((await standingOf(book.db, one.operationId)).entries).toEqual([
      'payout_approved',
      'payout_accepted',
    ]);
    expect(await money(one)).toEqual([4000n, 0n, 4000n]);
  });

  test('and paid can still come back, which is booked once', async () => {
    const one = await sent(PAID);
    expect(await stateOf(one.operationId)).toBe('paid');
    await learn(one.operationId, RETURNED);
    await learn(one.operationId, RETURNED);
    await learn(one.operationId, PAID);
    expect(await stateOf(one.operationId)).toBe('returned');
    expect(await standingOf(book.db, one.operationId)).toMatchObject({
      entries: ['payout_approved', 'payout_accepted', 'payout_returned'],
      deadLetters: ['reversed_after_success'],
      job: null,
    });
    expect(await money(one)).toEqual([10_000n, 0n, 10_000n]);
  });

  test('of which a part came back is told to a person, once for each part', async () => {
    const one = await sent(PAID);
    const part = { ...PAID, reason: '200 of 6000 eur were reversed since' };
    await learn(one.operationId, part);
    expect(await standingOf(book.db, one.operationId)).toMatchObject({
      subState: 'paid',
      deadLetters: ['moved_amiss'],
    });
    await book.owner.sql`
      update ${book.owner.t.deadLetter} set state = 'resolved', closed_at = now(), closed_by = 'test'
       where operation_id = ${one.operationId}`;
    await learn(one.operationId, part);
    expect((await standingOf(book.db, one.operationId)).deadLetters).toEqual([]);
    await learn(one.operationId, { ...part, reason: '300 of 6000 eur were reversed since' });
    expect((await standingOf(book.db, one.operationId)).deadLetters).toEqual(['moved_amiss']);
  });
});

describe('observations in any order', () => {
  const looks = {
    pending: { ...REPLY.pending, pspReference: 'T1' },
    accepted: REPLY.succeeded,
    PAID,
    RETURNED,
  };
  const names = Object.keys(looks) as readonly (keyof typeof looks)[];
  const orders = names.flatMap((a) =>
    names.flatMap((b) => names.map((c) => [a, b, c] as const).filter((o) => new Set(o).size === 3)),
  );

  test.each(orders.filter((order) => order.includes('RETURNED')))(
    '%s, %s, %s: it came back',
    async (...order) => {
      const one = await sent(REPLY.unknown);
      for (const name of order) await learn(one.operationId, looks[name]);
      expect(await stateOf(one.operationId)).toBe('returned');
      expect((await standingOf(book.db, one.operationId)).entries).toEqual([
        'payout_approved',
        'payout_accepted',
        'payout_returned',
      ]);
      expect(await money(one)).toEqual([10_000n, 0n, 10_000n]);
    },
  );

  test('at the same time: one return is booked, and the wallet is right', async () => {
    for (let round = 0; round < 10; round += 1) {
      const one = await sent(round % 2 === 0 ? PAID : REPLY.unknown);
      const news = [RETURNED, PAID, RETURNED, REPLY.succeeded, RETURNED];
      await Promise.all(news.map((reply) => learn(one.operationId, reply)));
      expect((await standingOf(book.db, one.operationId)).entries).toEqual([
        'payout_approved',
        'payout_accepted',
        'payout_returned',
      ]);
      expect(await money(one)).toEqual([10_000n, 0n, 10_000n]);
    }
  });

  test('a return that nobody saw leave is booked as both, and an older look adds nothing', async () => {
    const one = await sent(RETURNED);
    expect(await stateOf(one.operationId)).toBe('returned');
    await learn(one.operationId, REPLY.succeeded);
    expect(await standingOf(book.db, one.operationId)).toMatchObject({
      subState: 'reversed',
      attemptState: 'reversed',
      deadLetters: ['reversed_after_success'],
      entries: ['payout_approved', 'payout_accepted', 'payout_returned'],
    });
    expect(await money(one)).toEqual([10_000n, 0n, 10_000n]);
  });
});

function adyen(name: string): AdyenAccount {
  return {
    name,
    psp: 'adyen',
    apiKey: 'adyen_test_abc',
    baseUrl: sandbox.url,
    maxConcurrent: 4,
    timeoutMs: 5_000,
    merchantAccount: 'MarketplaceEU',
    balanceAccountId: 'BA_US',
    liveUrlPrefix: null,
  };
}

describe('at Adyen', () => {
  type Pushed = { readonly number: number; readonly body: string; readonly signature: string | null };

  /** A payout to a bank account, sent and booked there. */
  async function bankPayout(): Promise<Sent & { connector: Connector; account: string }> {
    const account = adyen(uniqueName('adyen'));
    const seller = await fundedSeller(book.db, account.name, '100.00');
    const place = { pspAccount: account.name, destination: 'SE322KT223222D5FJ7TJN2986' };
    await changeDestination(book.db, { seller, ...place, reason: 'test', principal: 'test' });
    const { batchId } = await submit(book.db, account.name, [payoutRequest(seller, '60.00')]);
    const context = { ...(await approvalContext(book.db, { coolingDays: 0 })), accountOf: () => account };
    const start = await startApproval(book.db, context, batchId!, 'approve');
    if (start.kind !== 'approving') throw new Error(start.kind);
    const { signal } = new AbortController();
    await approveItems(book.db, context, start.batch, { signal, onProgress: () => undefined });
    const [item] = await listPayouts(book.db, { ...ANY_PAYOUT, batchId, limit: 10 });
    const connector = createAdyenConnector(account);
    const one = { account: account.name, seller, operationId: item!.operationId!, connector };
    await drive(one);
    return one;
  }

  async function drive({ account, connector }: { account: string; connector: Connector }): Promise<void> {
    await work(account, 'adyen', connector);
  }

  async function admin(path: string, body?: object): Promise<unknown> {
    const init = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    const response = await fetch(`${sandbox.url}/_sandbox/adyen/${path}`, init);
    if (!response.ok) throw new Error(`${path}: ${await response.text()}`);
    return response.json();
  }

  async function truthOf(operationId: bigint) {
    const { rows } = (await admin(`truth?reference=op_${operationId}`)) as {
      rows: { paid_out: number; arrived: number; objects: string[] }[];
    };
    return rows[0]!;
  }

  /** Everything that Adyen has told of this payout, verified as a delivery would be. */
  async function told({ operationId, connector }: Sent & { connector: Connector }) {
    const { webhooks, transfer_hmac_key: key } = (await admin('webhooks')) as {
      webhooks: Pushed[];
      transfer_hmac_key: string;
    };
    return webhooks.flatMap(({ body, signature }) => {
      if (signature === null) return [];
      const reading = connector.parseWebhook(Buffer.from(body), { hmacsignature: signature }, key, 0);
      if (reading.kind !== 'news') throw new Error(reading.reason);
      return reading.news
        .filter((one) => one.operationReference === `op_${operationId}`)
        .map(
          (one): WebhookEvent => ({
            ...one,
            eventId: one.id,
            operationId: parseId('operation', one.operationReference!),
          }),
        );
    });
  }

  async function deliver(account: string, events: readonly WebhookEvent[]) {
    const { context } = await startTestDaemon(book.db);
    const findings = { ...context, capabilitiesOf: () => capabilitiesOf('adyen') };
    return acceptWebhooks(book.db, findings, account, events);
  }

  async function happen({ operationId }: Sent, happening: string): Promise<void> {
    const { objects } = await truthOf(operationId);
    await admin(`objects/${objects[0]}`, { happening });
  }

  test('it is accepted when booked, and paid when the bank has it', async () => {
    const one = await bankPayout();
    await drive(one);
    expect(await stateOf(one.operationId)).toBe('accepted');
    await happen(one, 'transfer_pays');
    const events = await told(one);
    expect(events.map((event) => event.eventId.split(':')[1])).toEqual(['1', '2', '3']);
    expect(await deliver(one.account, events)).toMatchObject({ fresh: 3 });
    await drive(one);
    expect(await stateOf(one.operationId)).toBe('paid');
    expect(await truthOf(one.operationId)).toMatchObject({ paid_out: 1, arrived: 1 });
    await one.connector.close();
  });

  test.each(['transfer_returns', 'transfer_fails'])(
    'what comes back (%s) is booked back once, whatever order its webhooks come in',
    async (happening) => {
      const one = await bankPayout();
      await drive(one);
      await happen(one, 'transfer_pays');
      await happen(one, happening);
      const events = await told(one);
      for (const event of [...events.toReversed(), ...events]) {
        await deliver(one.account, [event]);
        await drive(one);
      }
      expect(await stateOf(one.operationId)).toBe('returned');
      expect((await standingOf(book.db, one.operationId)).entries).toEqual([
        'payout_approved',
        'payout_accepted',
        'payout_returned',
      ]);
      expect(await money(one)).toEqual([10_000n, 0n, 10_000n]);
      expect(await truthOf(one.operationId)).toMatchObject({ paid_out: 0, arrived: 0 });
      await one.connector.close();
    },
  );

  test('what its bank refuses before it was booked was never paid', async () => {
    const body = JSON.stringify({ match: {}, sequence: ['pending_then_fail'] });
    await fetch(`${sandbox.url}/_sandbox/faults`, { method: 'POST', body });
    const one = await bankPayout();
    expect(await stateOf(one.operationId)).toBe('sent');
    await happen(one, 'transfer_fails');
    await deliver(one.account, await told(one));
    await drive(one);
    expect(await stateOf(one.operationId)).toBe('failed');
    expect(await money(one)).toEqual([10_000n, 0n, 10_000n]);
    await one.connector.close();
  });
});
