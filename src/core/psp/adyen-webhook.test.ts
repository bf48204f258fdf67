import { createHmac } from 'node:crypto';
import { hmacValidator as HmacValidator } from '@adyen/api-library';
import { describe, expect, test } from 'vitest';
import { parseAdyenWebhook } from './adyen-webhook.ts';

/** Obviously of no account. */
const KEY = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff';

const ITEM = {
  pspReference: 'R1',
  originalReference: 'P1',
  merchantAccountCode: 'MarketplaceEU',
  merchantReference: 'op_12',
  amount: { value: 1250, currency: 'EUR' },
  eventCode: 'REFUND',
  success: 'true',
};

const EVENT = {
  id: 'R1:REFUND:true',
  type: 'REFUND',
  success: true,
  operationReference: 'op_12',
  pspReference: 'R1',
  originalReference: 'P1',
  amount: { currency: 'EUR', value: 1250 },
  reason: null,
};

function sign(item: typeof ITEM, key = KEY): string {
  const { amount, ...fields } = item;
  const text = [
    fields.pspReference,
    fields.originalReference,
    fields.merchantAccountCode,
    fields.merchantReference,
    amount.value,
    amount.currency,
    fields.eventCode,
    fields.success,
  ].join(':');
  return createHmac('sha256', Buffer.from(key, 'hex')).update(text).digest('base64');
}

function bodyOf(...items: readonly object[]): string {
  return JSON.stringify({
    live: 'false',
    notificationItems: items.map((item) => ({ NotificationRequestItem: item })),
  });
}

function signed(changes: Partial<typeof ITEM> = {}): object {
  const item = { ...ITEM, ...changes };
  return { ...item, additionalData: { hmacSignature: sign(item) } };
}

describe('a webhook that is signed with the key', () => {
  test('says what happened to which operation', () => {
    expect(parseAdyenWebhook(bodyOf(signed()), KEY)).toEqual({ kind: 'verified', events: [EVENT] });
  });

  test('may say that it failed', () => {
    const parsed = parseAdyenWebhook(bodyOf(signed({ success: 'false' })), KEY);
    expect(parsed).toMatchObject({ events: [{ id: 'R1:REFUND:false', success: false }] });
  });

  test('may have several items', () => {
    const body = bodyOf(signed(), signed({ pspReference: 'P2', eventCode: 'AUTHORISATION' }));
    expect(parseAdyenWebhook(body, KEY)).toMatchObject({
      events: [{ type: 'REFUND' }, { type: 'AUTHORISATION' }],
    });
  });

  test.each(['12', 'order 7', 'op_', 'op_0', 'op_x', ''])(
    'with the reference "%s" is about none of our operations',
    (merchantReference) => {
      const parsed = parseAdyenWebhook(bodyOf(signed({ merchantReference })), KEY);
      expect(parsed).toMatchObject({ kind: 'verified', events: [{ operationReference: null }] });
    },
  );

  test('is signed as the official library signs', () => {
    const item = JSON.parse(JSON.stringify(ITEM)) as Parameters<HmacValidator['calculateHmac']>[0];
    expect(new HmacValidator().calculateHmac(item, KEY)).toBe(sign(ITEM));
  });
});

describe('a webhook is refused', () => {
  test.each<[string, string, string, string]>([
    ['with another key', bodyOf(signed()), KEY.replace('00', 'ff'), 'not signed'],
    ['with a key that is not hexadecimal', bodyOf(signed()), 'xyz', 'not hexadecimal'],
    ['with an empty key', bodyOf(signed()), '', 'not hexadecimal'],
    ['without a signature', bodyOf(ITEM), KEY, 'not signed'],
    [
      'with half a signature',
      bodyOf({ ...ITEM, additionalData: { hmacSignature: sign(ITEM).slice(0, 20) } }),
      KEY,
      'not signed',
    ],
    ['when one item of two is not signed', bodyOf(signed(), ITEM), KEY, 'item 1'],
    ['that is no JSON', '{', KEY, 'notification items'],
    ['that is no list', '{}', KEY, 'notification items'],
    ['that is empty', bodyOf(), KEY, '0 items'],
    ['with a verdict that is none', bodyOf(signed({ success: 'maybe' })), KEY, 'verdict'],
    ['without a reference', bodyOf(signed({ pspReference: '' })), KEY, 'no reference'],
  ])('%s', (_, body, key, reason) => {
    const parsed = parseAdyenWebhook(body, key);
    expect(parsed).toMatchObject({ kind: 'refused', reason: expect.stringContaining(reason) });
  });

  test.each([
    { amount: { value: 99, currency: 'EUR' } },
    { amount: { value: 1250, currency: 'USD' } },
    { merchantReference: 'op_13' },
    { originalReference: 'P2' },
    { merchantAccountCode: 'Other' },
    { eventCode: 'CAPTURE' },
    { success: 'false' },
  ])('when %j was changed on the way', (changes) => {
    expect(parseAdyenWebhook(bodyOf({ ...signed(), ...changes }), KEY)).toMatchObject({ kind: 'refused' });
  });
});
