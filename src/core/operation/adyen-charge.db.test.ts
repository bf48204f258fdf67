/** Orders that a rule sends to Adyen: accepted, sent by the connector, recorded; the sandbox says what moved. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sandbox } from '../../daemon/sandbox/main.ts';
import { startSandbox } from '../../daemon/sandbox/main.ts';
import {
  acceptContext,
  applyOutside,
  balanceOf,
  makeDue,
  openTestBook,
  orderRequest,
  paymentRequest,
  standingOf,
  startTestDaemon,
  type TestBook,
  turn,
  uniqueName,
} from '../../testing/fixtures.ts';
import { transact } from '../db/connection.ts';
import { acceptPayments, fingerprint } from '../payment/accept-payments.ts';
import { createAdyenConnector } from '../psp/adyen-connector.ts';
import type { AdyenAccount, Connector } from '../psp/psp.ts';
import { capabilitiesOf } from '../psp/request.ts';

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

function accountOf(name: string): AdyenAccount {
  return {
    name,
    psp: 'adyen',
    apiKey: 'adyen_test_abc',
    baseUrl: sandbox.url,
    maxConcurrent: 4,
    timeoutMs: 5_000,
    merchantAccount: 'MarketplaceEU',
    balanceAccountId: null,
    liveUrlPrefix: null,
  };
}

/** One order with this token, in a lane of its own. */
async function queueAt(account: AdyenAccount, paymentMethod: string): Promise<bigint> {
  const context = await acceptContext(book.db, { route: { rules: [], fallback: account } });
  const request = paymentRequest({ orders: [orderRequest({ paymentMethod })] });
  await transact(book.db, (tx) => acceptPayments(tx, context, [fingerprint(request)]));
  const [row] = await book.db.sql<{ id: bigint }[]>`
    select id from ${book.db.t.operation} where psp_account = ${account.name}`;
  return row!.id;
}

/** Drives the account's one job for so many turns. */
async function drive(account: AdyenAccount, turns: number): Promise<void> {
  const daemon = await startTestDaemon(book.db);
  const capabilities = capabilitiesOf('adyen');
  const context = { ...daemon.context, capabilitiesOf: () => capabilities };
  const connector: Connector = createAdyenConnector(account);
  try {
    for (let nth = 0; nth < turns; nth += 1) {
      await makeDue(book.owner, account.name);
      await turn({ ...daemon, context }, account.name, connector);
    }
  } finally {
    await connector.close();
  }
}

async function charged(operationId: bigint): Promise<number> {
  const response = await fetch(`${sandbox.url}/_sandbox/adyen/truth?reference=op_${operationId}`);
  const { rows } = (await response.json()) as { rows: { charged: number }[] };
  return rows[0]?.charged ?? 0;
}

async function queueFaults(operationId: bigint, sequence: readonly string[]): Promise<void> {
  const match = { metadata: { reference: `op_${operationId}` } };
  const body = JSON.stringify({ match, sequence });
  await fetch(`${sandbox.url}/_sandbox/faults`, { method: 'POST', body });
}

function receivable(account: AdyenAccount): Promise<bigint> {
  return balanceOf(book.db, `psp:${account.name}:receivable`, 'EUR');
}

describe('an order at Adyen', () => {
  test('is charged and booked', async () => {
    const account = accountOf(uniqueName('acct'));
    const operationId = await queueAt(account, 'stored_authorised');
    await drive(account, 1);
    expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'succeeded', sends: 1 });
    expect([await charged(operationId), await receivable(account)]).toEqual([1, 1250n]);
  });

  test('whose card has not enough on it is declined', async () => {
    const account = accountOf(uniqueName('acct'));
    const operationId = await queueAt(account, 'stored_not_enough_balance');
    await drive(account, 1);
    expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'declined' });
    expect([await charged(operationId), await receivable(account)]).toEqual([0, 0n]);
  });

  test('whose answers are lost is sent again under its key until one arrives: one charge, booked once', async () => {
    const account = accountOf(uniqueName('acct'));
    const operationId = await queueAt(account, 'stored_authorised');
    await queueFaults(operationId, ['act_then_drop', 'key_in_use', 'rate_limited', 'bad_gateway']);
    await drive(account, 5);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'succeeded',
      sends: 5,
      attempts: 1,
      entries: ['charge_succeeded'],
    });
    expect([await charged(operationId), await receivable(account)]).toEqual([1, 1250n]);
  });

  test('that Adyen keeps an error for is a dead letter, and a webhook’s word still books it', async () => {
    const account = accountOf(uniqueName('acct'));
    const operationId = await queueAt(account, 'stored_authorised');
    await queueFaults(operationId, ['act_then_500']);
    await drive(account, 1);
    expect(await standingOf(book.db, operationId)).toMatchObject({
      subState: 'unknown',
      deadLetters: [expect.stringContaining('enquiry_failed')],
    });
    const reply = { kind: 'succeeded', pspReference: 'P1' } as const;
    const finding = { operationId, attemptNumber: 1, source: 'enquiry', reply, held: null } as const;
    await applyOutside(book.db, [finding]);
    expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'succeeded' });
    expect([await charged(operationId), await receivable(account)]).toEqual([1, 1250n]);
  });

  test('that is pending waits for its webhook', async () => {
    const account = accountOf(uniqueName('acct'));
    const operationId = await queueAt(account, 'stored_pending');
    await drive(account, 3);
    expect(await standingOf(book.db, operationId)).toMatchObject({ subState: 'pending_psp', sends: 1 });
  });
});
