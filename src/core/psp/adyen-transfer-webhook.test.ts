import { createHmac } from 'node:crypto';
import { hmacValidator as HmacValidator } from '@adyen/api-library';
import { describe, expect, test } from 'vitest';
import { createAdyenConnector } from './adyen-connector.ts';
import { parseTransferWebhook } from './adyen-transfer-webhook.ts';

/** Obviously of no account. */
const KEY = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff';
const OTHER = 'ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff';

function bodyOf(data: object = {}, rest: object = {}): Buffer {
  const transfer = { id: 'TR1', reference: 'op_12', status: 'booked', sequenceNumber: 3, ...data };
  const type = 'balancePlatform.transfer.updated';
  return Buffer.from(JSON.stringify({ data: transfer, environment: 'test', type, ...rest }));
}

function sign(body: Buffer, key = KEY) {
  return { hmacsignature: createHmac('sha256', Buffer.from(key, 'hex')).update(body).digest('base64') };
}

const parse = (body: Buffer, headers = sign(body)) => parseTransferWebhook(body, headers, KEY);

describe('a webhook about a transfer', () => {
  test('is a reason to ask about the operation that the transfer names, and nothing more', () => {
    expect(parse(bodyOf())).toEqual({
      kind: 'news',
      news: [
        {
          id: 'TR1:3',
          type: 'balancePlatform.transfer.updated',
          operationReference: 'op_12',
          pspReference: 'TR1',
          says: null,
        },
      ],
    });
  });

  test('is signed as Adyen’s own library checks it', () => {
    const body = bodyOf();
    const { hmacsignature } = sign(body);
    expect(new HmacValidator().validateHMACSignature(KEY, hmacsignature, body.toString())).toBe(true);
  });

  test('without a number is known by its status and time', () => {
    const data = { sequenceNumber: undefined, status: 'returned', updatedAt: '2026-11-25T10:00:00Z' };
    expect(parse(bodyOf(data))).toMatchObject({ news: [{ id: 'TR1:returned:2026-11-25T10:00:00Z' }] });
  });

  test.each([
    ['another system’s', 'invoice-7'],
    ['an operation that cannot be', 'op_0x1'],
    ['nothing', undefined],
  ])('that names %s is about none of ours', (_, reference) => {
    expect(parse(bodyOf({ reference }))).toMatchObject({ news: [{ operationReference: null }] });
  });

  test('of another kind is taken and holds no news', () => {
    const type = 'balancePlatform.balanceAccount.updated';
    expect(parse(bodyOf({}, { type }))).toEqual({ kind: 'news', news: [] });
  });
});

describe('is refused', () => {
  test('signed with another key, changed on its way, or without a signature', () => {
    const body = bodyOf();
    expect(parse(body, sign(body, OTHER))).toMatchObject({ kind: 'refused' });
    expect(parse(bodyOf({ status: 'returned' }), sign(body))).toMatchObject({ kind: 'refused' });
    expect(parseTransferWebhook(body, {}, KEY)).toMatchObject({ kind: 'refused' });
    expect(parseTransferWebhook(body, sign(body), 'no key')).toMatchObject({ kind: 'refused' });
  });

  test.each([
    ['no JSON', Buffer.from('[')],
    ['no type', bodyOf({}, { type: undefined })],
    ['no transfer', bodyOf({}, { data: null })],
    ['no status', bodyOf({ status: '' })],
  ])('signed, with %s', (_, body) => {
    expect(parse(body)).toMatchObject({ kind: 'refused' });
  });
});

describe('an account', () => {
  const connector = createAdyenConnector({
    name: 'adyen_eu',
    psp: 'adyen',
    apiKey: 'adyen_test_abc',
    baseUrl: 'http://127.0.0.1:1',
    maxConcurrent: 1,
    timeoutMs: 1_000,
    merchantAccount: 'MarketplaceEU',
    balanceAccountId: null,
    liveUrlPrefix: null,
  });

  test('has a key for each of its webhooks, and takes what one of them signed', () => {
    const body = bodyOf();
    const read = (secret: string) => connector.parseWebhook(body, sign(body), secret, 0).kind;
    expect(read(`${OTHER}\n${KEY}\n`)).toBe('news');
    expect(read(OTHER)).toBe('refused');
    expect(read(' ')).toBe('refused');
  });
});
