/** The Adyen side of the sandbox, by the official library's own services. */
import { createHmac } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CheckoutAPI,
  Client,
  EnvironmentEnum,
  hmacValidator as HmacValidator,
  TransfersAPI,
} from '@adyen/api-library';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Sandbox, startSandbox } from '../main.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
let sandbox: Sandbox;
let checkout: CheckoutAPI;
let transfers: TransfersAPI;

beforeAll(async () => {
  sandbox = await startSandbox({ port: 0, journalPath: null, seed: 1 });
  const client = clientOf(() => sandbox);
  checkout = new CheckoutAPI(client);
  transfers = new TransfersAPI(client);
});
afterAll(() => sandbox.close());
beforeEach(() => admin('POST', 'reset'));

/** An answer that is an error, as the library's own exception would carry it. */
class Refused extends Error {
  readonly status: number;
  readonly code: unknown;
  readonly transient: string | null;

  constructor(status: number, body: string, transient: string | null) {
    super(body);
    this.status = status;
    this.code = body === '' ? null : (JSON.parse(body) as { errorCode?: unknown }).errorCode;
    this.transient = transient;
  }
}

/** The library refuses plain http by itself; everything else is its own. */
function clientOf(which: () => Sandbox, apiKey = 'adyen_test_one'): Client {
  return new Client(
    { apiKey, environment: EnvironmentEnum.TEST },
    {
      async request(endpoint, json, config, _isApiKeyRequired, options = {}) {
        const { pathname } = new URL(endpoint);
        const query = options.params === undefined ? '' : `?${new URLSearchParams(options.params)}`;
        const key = options.idempotencyKey;
        const response = await fetch(`${which().url}${pathname}${query}`, {
          method: options.method ?? 'POST',
          headers: {
            'x-api-key': config.apiKey ?? '',
            ...(key === undefined ? {} : { 'idempotency-key': key }),
          },
          ...(json === '' ? {} : { body: String(json) }),
        });
        const text = await response.text();
        if (!response.ok) throw new Refused(response.status, text, response.headers.get('transient-error'));
        return text;
      },
    },
  );
}

async function admin<T>(method: string, path: string, body?: unknown): Promise<T> {
  const init = body === undefined ? { method } : { method, body: JSON.stringify(body) };
  const response = await fetch(`${sandbox.url}/_sandbox/${path}`, init);
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()) as T;
}

type PaymentRequest = Parameters<CheckoutAPI['PaymentsApi']['payments']>[0];

function paymentOf(token: string, more: Record<string, unknown> = {}): PaymentRequest {
  return {
    merchantAccount: 'MarketplaceEU',
    reference: 'op_1',
    amount: { currency: 'EUR', value: 1999 },
    paymentMethod: { type: 'scheme', storedPaymentMethodId: token },
    shopperReference: 'buyer-1',
    shopperInteraction: 'ContAuth',
    recurringProcessingModel: 'UnscheduledCardOnFile',
    ...more,
  } as unknown as PaymentRequest;
}

function pay(token: string, idempotencyKey = 'k1', more: Record<string, unknown> = {}) {
  return checkout.PaymentsApi.payments(paymentOf(token, more), { idempotencyKey });
}

function refund(payment: string | undefined, value: number, idempotencyKey: string, reference = 'op_2') {
  const request = { merchantAccount: 'MarketplaceEU', amount: { currency: 'EUR', value }, reference };
  return checkout.ModificationsApi.refundCapturedPayment(payment ?? '', request, { idempotencyKey });
}

type Row = {
  readonly charged: number;
  readonly refunded: number;
  readonly paid_out: number;
  readonly moved_in: object;
  readonly moved_out: object;
};

async function truth(reference: string): Promise<Row | undefined> {
  return (await admin<{ rows: Row[] }>('GET', `adyen/truth?reference=${reference}`)).rows[0];
}

type Listed = { readonly hmac_key: string; readonly webhooks: readonly { body: string }[] };
type Item = Parameters<HmacValidator['validateHMAC']>[0];

async function webhooks(): Promise<readonly Item[]> {
  const { hmac_key, webhooks: listed } = await admin<Listed>('GET', 'adyen/webhooks');
  return listed.map(({ body }) => {
    const parsed = JSON.parse(body) as { notificationItems: { NotificationRequestItem: Item }[] };
    const item = parsed.notificationItems[0]!.NotificationRequestItem;
    expect(new HmacValidator().validateHMAC(item, hmac_key)).toBe(true);
    return item;
  });
}

async function refusalOf(promise: Promise<unknown>): Promise<Refused> {
  const error = await promise.then(
    () => new Error('the call succeeded'),
    (cause: unknown) => cause,
  );
  if (error instanceof Refused) return error;
  throw error;
}

describe('payments', () => {
  test('a stored token pays, and the webhook says so', async () => {
    const payment = await pay('stored_authorised');
    expect(payment).toMatchObject({ resultCode: 'Authorised', merchantReference: 'op_1' });
    expect(payment.pspReference).toMatch(/^[0-9A-Z]{16}$/);
    expect(await truth('op_1')).toMatchObject({ charged: 1, moved_in: { EUR: 1999 } });
    expect(await webhooks()).toMatchObject([
      { eventCode: 'AUTHORISATION', success: 'true', merchantReference: 'op_1' },
    ]);
  });

  test.each([
    ['stored_refused', 'Refused', '2'],
    ['stored_not_enough_balance', 'Refused', '12'],
    ['stored_fraud', 'Refused', '20'],
    ['stored_redirect', 'Refused', '38'],
    ['stored_cancelled', 'Cancelled', undefined],
    ['stored_error', 'Error', undefined],
    ['stored_pending', 'Pending', undefined],
    ['stored_received', 'Received', undefined],
  ])('%s is %s (%s)', async (token, resultCode, refusalReasonCode) => {
    expect(await pay(token)).toMatchObject({ resultCode });
    const payment = await pay(token);
    expect(payment.refusalReasonCode).toBe(refusalReasonCode);
    expect(await truth('op_1')).toMatchObject({ charged: 0 });
  });

  test('the holder’s name and Adyen’s own test field choose too', async () => {
    const paymentMethod = {
      type: 'scheme',
      storedPaymentMethodId: 'stored_authorised',
      holderName: 'REFUSED',
    };
    expect(await pay('stored_authorised', 'k1', { paymentMethod })).toMatchObject({ resultCode: 'Refused' });
    const additionalData = { RequestedTestAcquirerResponseCode: '12' };
    const refused = await pay('stored_authorised', 'k2', { additionalData });
    expect(refused).toMatchObject({ resultCode: 'Refused', refusalReasonCode: '12' });
  });

  test.each(['redirect', 'challenge', 'identify'])(
    'a shopper who is there meets a %s, and pays',
    async (name) => {
      const present = { recurringProcessingModel: 'CardOnFile' };
      const payment = await pay(`stored_${name}`, 'k1', present);
      expect(payment.action).toBeDefined();
      const [row] = (await admin<{ rows: { objects: string[] }[] }>('GET', 'adyen/truth')).rows;
      await admin('POST', `adyen/objects/${row?.objects[0]}`, { happening: 'shopper_pays' });
      expect(await truth('op_1')).toMatchObject({ charged: 1 });
    },
  );

  test.each<[string, Record<string, unknown>, number, string]>([
    ['no merchant account', { merchantAccount: undefined }, 403, '901'],
    ['no reference', { reference: undefined }, 422, '130'],
    ['no amount', { amount: undefined }, 422, '137'],
    ['half a cent', { amount: { currency: 'EUR', value: 0.5 } }, 422, '137'],
    ['no payment method', { paymentMethod: undefined }, 422, '14_004'],
    ['no shopper', { shopperReference: undefined }, 422, '800'],
  ])('%s is refused', async (_, more, status, code) => {
    expect(await refusalOf(pay('stored_authorised', 'k1', more))).toMatchObject({ status, code });
    expect(await truth('op_1')).toBeUndefined();
  });

  test('a token that nobody stored and a key that is not one', async () => {
    expect(await refusalOf(pay('stored_nothing'))).toMatchObject({ status: 422, code: '800' });
    const stranger = new CheckoutAPI(clientOf(() => sandbox, 'live_key'));
    const refused = await refusalOf(stranger.PaymentsApi.payments(paymentOf('stored_authorised')));
    expect(refused).toMatchObject({ status: 401 });
  });
});

describe('modifications', () => {
  test('a refund is received, and the webhook tells the truth', async () => {
    const payment = await pay('stored_authorised');
    const received = await refund(payment.pspReference, 500, 'k2');
    expect(received).toMatchObject({ status: 'received', paymentPspReference: payment.pspReference });
    expect(await truth('op_2')).toMatchObject({ refunded: 1, moved_out: { EUR: 500 } });
    expect((await webhooks())[1]).toMatchObject({
      eventCode: 'REFUND',
      success: 'true',
      merchantReference: 'op_2',
      originalReference: payment.pspReference,
    });
  });

  test('more than was paid is received all the same, and fails', async () => {
    const payment = await pay('stored_authorised');
    await refund(payment.pspReference, 1500, 'k2');
    await refund(payment.pspReference, 500, 'k3', 'op_3');
    expect(await truth('op_3')).toMatchObject({ refunded: 0 });
    expect((await webhooks())[2]).toMatchObject({ eventCode: 'REFUND', success: 'false' });
  });

  test('a refund that succeeded may fail later', async () => {
    const payment = await pay('stored_authorised');
    const received = await refund(payment.pspReference, 500, 'k2');
    await admin('POST', `adyen/objects/${received.pspReference}`, { happening: 'refund_fails' });
    expect(await truth('op_2')).toMatchObject({ refunded: 0 });
    expect((await webhooks())[2]).toMatchObject({ eventCode: 'REFUND_FAILED' });
  });

  test('a shopper who is waited for is canceled by reference, and pays no more', async () => {
    await pay('stored_redirect', 'k1', { recurringProcessingModel: 'CardOnFile' });
    const [row] = (await admin<{ rows: { objects: string[] }[] }>('GET', 'adyen/truth')).rows;
    const asked = { merchantAccount: 'MarketplaceEU', paymentReference: 'op_1', reference: 'op_1' };
    const received = await checkout.ModificationsApi.cancelAuthorisedPayment(asked);
    expect(received).toMatchObject({ status: 'received' });
    await checkout.ModificationsApi.cancelAuthorisedPayment(asked);
    expect((await webhooks()).map(({ eventCode, success }) => `${eventCode} ${success}`)).toEqual([
      'TECHNICAL_CANCEL true',
      'TECHNICAL_CANCEL false',
    ]);
    await expect(
      admin('POST', `adyen/objects/${row?.objects[0]}`, { happening: 'shopper_pays' }),
    ).rejects.toThrow();
    expect(await truth('op_1')).toMatchObject({ charged: 0, open: 0 });
  });

  test('captures, cancels and reversals', async () => {
    const payment = (await pay('stored_authorised')).pspReference ?? '';
    const account = { merchantAccount: 'MarketplaceEU' };
    const amount = { currency: 'EUR', value: 1999 };
    await checkout.ModificationsApi.captureAuthorisedPayment(payment, { ...account, amount });
    await checkout.ModificationsApi.cancelAuthorisedPaymentByPspReference(payment, account);
    await checkout.ModificationsApi.refundOrCancelPayment(payment, { ...account, reference: 'op_9' });
    expect(await truth('op_9')).toMatchObject({ refunded: 1, moved_out: { EUR: 1999 } });
    const told = (await webhooks()).map(({ eventCode, success }) => `${eventCode} ${success}`);
    expect(told).toEqual([
      'AUTHORISATION true',
      'CAPTURE true',
      'CANCELLATION false',
      'CANCEL_OR_REFUND true',
    ]);
  });

  test('a payment that is not there', async () => {
    expect(await refusalOf(refund('0000000000000000', 1, 'k2'))).toMatchObject({ status: 422, code: '167' });
  });
});

type TransferInfo = Parameters<TransfersAPI['TransfersApi']['transferFunds']>[0];

function transfer(idempotencyKey: string, more: Record<string, unknown> = {}) {
  const info = {
    amount: { currency: 'EUR', value: 700 },
    balanceAccountId: 'BA1',
    category: 'internal',
    counterparty: { balanceAccountId: 'BA2' },
    reference: 'op_5',
    description: idempotencyKey,
    ...more,
  };
  return transfers.TransfersApi.transferFunds(info as TransferInfo, { idempotencyKey });
}

function listOf(reference: string, limit?: number, cursor?: string) {
  const [since, until] = [new Date(Date.now() - DAY_MS), new Date(Date.now() + DAY_MS)];
  return transfers.TransfersApi.getAllTransfers(
    since,
    until,
    undefined,
    undefined,
    'BA1',
    undefined,
    reference,
    undefined,
    undefined,
    cursor,
    limit,
  );
}

describe('transfers', () => {
  test('are authorised at once, then booked, and found by their reference', async () => {
    const made = await transfer('k1');
    expect(made).toMatchObject({ status: 'authorised', reference: 'op_5' });
    const found = await listOf('op_5');
    expect(found.data).toMatchObject([{ id: made.id, status: 'booked', description: 'k1' }]);
    expect(await transfers.TransfersApi.getTransfer(made.id ?? '')).toMatchObject({ status: 'booked' });
    expect(await truth('op_5')).toMatchObject({ paid_out: 1, moved_out: { EUR: 700 } });
    expect((await listOf('op_6')).data).toEqual([]);
  });

  test('come in pages', async () => {
    for (const key of ['k1', 'k2', 'k3']) await transfer(key);
    const first = await listOf('op_5', 2);
    expect(first.data).toHaveLength(2);
    const cursor = new URL(first._links?.next?.href ?? '').searchParams.get('cursor') ?? '';
    const second = await listOf('op_5', 2, cursor);
    expect(second.data).toMatchObject([{ description: 'k3' }]);
    expect(second._links?.next).toBeUndefined();
  });

  test('without funds, or to an account that takes none, are refused', async () => {
    expect(await transfer('k1', { balanceAccountId: 'BA_EMPTY' })).toMatchObject({
      status: 'refused',
      reason: 'notEnoughBalance',
    });
    const counterparty = { balanceAccountId: 'BA_REFUSED' };
    expect(await transfer('k2', { counterparty })).toMatchObject({ status: 'refused' });
    expect(await truth('op_5')).toMatchObject({ paid_out: 0 });
  });

  test('may come back', async () => {
    const { id } = await transfer('k1');
    await admin('POST', `adyen/objects/${id}`, { happening: 'transfer_returns' });
    expect(await transfers.TransfersApi.getTransfer(id ?? '')).toMatchObject({ status: 'returned' });
    expect(await truth('op_5')).toMatchObject({ paid_out: 0 });
  });
});

describe('idempotency as Adyen does it', () => {
  test('a key brings its first answer, whatever comes with it', async () => {
    const first = await pay('stored_authorised');
    expect(await pay('stored_authorised')).toEqual(first);
    const other = { amount: { currency: 'EUR', value: 1 } };
    expect(await pay('stored_refused', 'k1', other)).toEqual(first);
    expect(await truth('op_1')).toMatchObject({ charged: 1 });
  });

  test('a key in flight is refused with 704, to be sent again', async () => {
    await admin('POST', 'faults', { match: { key: 'k1' }, sequence: [{ fault: 'slow', ms: 500 }] });
    const first = pay('stored_authorised');
    // The first must have arrived, which its counter tells.
    for (let look = 0; look < 100; look++) {
      const { total } = await admin<{ total: number }>('GET', 'requests');
      if (total > 0) break;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const refused = await refusalOf(pay('stored_authorised'));
    expect(refused).toMatchObject({ status: 422, code: '704', transient: 'true' });
    expect(await pay('stored_authorised', 'k2', { reference: 'op_2' })).toMatchObject({
      resultCode: 'Authorised',
    });
    await first;
    expect(await truth('op_1')).toMatchObject({ charged: 1 });
  });

  test('keys are good for seven days', async () => {
    await pay('stored_authorised');
    await admin('POST', 'clock', { advance_ms: 7 * DAY_MS - 60_000 });
    await pay('stored_authorised');
    expect(await truth('op_1')).toMatchObject({ charged: 1 });
    await admin('POST', 'clock', { advance_ms: 60_000 });
    await pay('stored_authorised');
    expect(await truth('op_1')).toMatchObject({ charged: 2 });
  });

  test('a refused body leaves the key unused', async () => {
    await refusalOf(pay('stored_authorised', 'k1', { amount: undefined }));
    expect(await pay('stored_authorised')).toMatchObject({ resultCode: 'Authorised' });
  });

  test('a stored 500 comes again and says that it lasts', async () => {
    await admin('POST', 'faults', { match: { key: 'k1' }, sequence: ['act_then_500'] });
    for (let send = 0; send < 2; send++) {
      expect(await refusalOf(pay('stored_authorised'))).toMatchObject({ status: 500, transient: 'false' });
    }
    expect(await truth('op_1')).toMatchObject({ charged: 1 });
  });
});

describe('faults', () => {
  test('a payment that takes its time ends later, one way or the other', async () => {
    const sequence = [{ fault: 'pending_then_succeed', ms: 1_000 }];
    await admin('POST', 'faults', { match: { metadata: { reference: 'op_1' } }, sequence });
    expect(await pay('stored_authorised')).toMatchObject({ resultCode: 'Pending' });
    expect(await webhooks()).toEqual([]);
    await admin('POST', 'clock', { advance_ms: 1_000 });
    expect(await webhooks()).toMatchObject([{ eventCode: 'AUTHORISATION', success: 'true' }]);
    expect(await truth('op_1')).toMatchObject({ charged: 1 });
  });

  test('a refund that is declined, and one that fails later', async () => {
    const payment = await pay('stored_authorised');
    const faults = ['decline', { fault: 'pending_then_fail', ms: 1_000 }];
    await admin('POST', 'faults', { match: { path_prefix: '/v72/' }, sequence: faults });
    await refund(payment.pspReference, 500, 'k2');
    await refund(payment.pspReference, 500, 'k3', 'op_3');
    await admin('POST', 'clock', { advance_ms: 1_000 });
    const told = (await webhooks()).map(({ eventCode, success }) => `${eventCode} ${success}`);
    expect(told).toEqual(['AUTHORISATION true', 'REFUND false', 'REFUND false']);
  });
});

describe('webhooks', () => {
  test('are pushed in any order, any number of times, also badly signed', async () => {
    const received: string[] = [];
    const endpoint = http.createServer((request, response) => {
      let body = '';
      request.on('data', (chunk) => {
        body += String(chunk);
      });
      request.on('end', () => {
        received.push(body);
        response.end('[accepted]');
      });
    });
    await new Promise<void>((resolve) => endpoint.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(endpoint.address() as AddressInfo).port}/`;
    try {
      await pay('stored_authorised');
      await pay('stored_refused', 'k2', { reference: 'op_2' });
      await admin('POST', 'adyen/webhooks/push', { url, order: 'reversed', copies: 2 });
      const references = received.map((body) => /"merchantReference":"(\w+)"/.exec(body)?.[1]);
      expect(references).toEqual(['op_2', 'op_2', 'op_1', 'op_1']);
      received.length = 0;
      await admin('POST', 'adyen/webhooks/push', { url, after: 1, signature: 'bad' });
      const signature = /"hmacSignature":"([^"]+)"/.exec(received[0] ?? '')?.[1];
      expect(signature).toHaveLength(createHmac('sha256', 'x').digest('base64').length);
      const good = (await admin<Listed>('GET', 'adyen/webhooks?after=1')).webhooks[0];
      expect(received).toHaveLength(1);
      expect(received[0]).not.toBe(good?.body);
    } finally {
      endpoint.close();
    }
  });

  test('to an endpoint that is not there are told as such', async () => {
    await pay('stored_authorised');
    const pushed = await admin('POST', 'adyen/webhooks/push', { url: 'http://127.0.0.1:1/' });
    expect(pushed).toEqual({ pushed: [{ number: 1, status: null }] });
  });
});

test('a restart changes nothing: money, keys and webhooks are what they were', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'paygate-adyen-'));
  const options = { port: 0, journalPath: join(folder, 'journal'), seed: 1 };
  let own = await startSandbox(options);
  const api = new CheckoutAPI(clientOf(() => own));
  const read = async (path: string) => (await fetch(`${own.url}/_sandbox/adyen/${path}`)).json();
  try {
    const idempotencyKey = 'k1';
    const first = await api.PaymentsApi.payments(paymentOf('stored_authorised'), { idempotencyKey });
    const happen = async (name: string | undefined, happening: string) => {
      const init = { method: 'POST', body: JSON.stringify({ happening }) };
      return (await fetch(`${own.url}/_sandbox/adyen/objects/${name}`, init)).json();
    };
    const { object } = (await happen(first.pspReference, 'dispute_announced')) as {
      object: { name: string };
    };
    for (const step of ['dispute_opened', 'dispute_won', 'dispute_lost']) await happen(object.name, step);
    const before = [await read('truth'), await read('webhooks')];
    expect(before[0]).toMatchObject({ rows: [{ charged: 1, disputed: 1 }] });
    expect(
      (before[1] as { webhooks: { event_code: string }[] }).webhooks.map((one) => one.event_code),
    ).toEqual([
      'AUTHORISATION',
      'NOTIFICATION_OF_CHARGEBACK',
      'CHARGEBACK',
      'CHARGEBACK_REVERSED',
      'SECOND_CHARGEBACK',
    ]);
    await own.close();
    own = await startSandbox(options);
    expect([await read('truth'), await read('webhooks')]).toEqual(before);
    const again = await api.PaymentsApi.payments(paymentOf('stored_authorised'), { idempotencyKey });
    expect(again).toEqual(first);
    expect(await read('truth')).toEqual(before[0]);
  } finally {
    await own.close();
    rmSync(folder, { recursive: true });
  }
});
