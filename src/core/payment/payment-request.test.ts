import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import {
  canonicalPaymentText,
  type PaymentRequest,
  paymentBodySchema,
  readPaymentRequest,
} from './payment-request.ts';

const order = { seller: 'Ana', amount: '12.50', currency: 'EUR', payment_method: 'pm_card_visa' } as const;
const body = {
  buyer: 'Bo',
  checkout_id: 'chk-1',
  idempotency_key: 'key-1',
  payment_orders: [order],
} as const;

function read(value: unknown): PaymentRequest {
  const reading = readPaymentRequest(value);
  if (reading.kind === 'bad') throw new Error(JSON.stringify(reading.faults));
  return reading.request;
}

/** "field code" of every fault, in order. */
function faultsOf(value: unknown): readonly string[] {
  const reading = readPaymentRequest(value);
  return reading.kind === 'ok' ? [] : reading.faults.map(({ field, code }) => `${field} ${code}`);
}

const inOrder = (fields: Record<string, unknown>) => ({ ...body, payment_orders: [{ ...order, ...fields }] });
const inPayment = (fields: Record<string, unknown>) => ({ ...body, ...fields });

describe('a payment that is right', () => {
  test('the shortest', () => {
    expect(read(body)).toEqual({
      checkoutId: 'chk-1',
      idempotencyKey: 'key-1',
      buyer: 'Bo',
      metadata: {},
      orders: [
        {
          seller: 'Ana',
          money: { amountMinor: 1250n, currency: 'EUR' },
          paymentMethod: 'pm_card_visa',
          platformFeeMinor: null,
          orderRef: null,
          customerPresent: false,
          metadata: {},
        },
      ],
    });
  });

  test('with everything', () => {
    const request = read({
      ...body,
      payment_method: 'pm_default',
      metadata: { campaign: 'spring', empty: '' },
      payment_orders: [
        {
          ...order,
          amount: '1.230',
          currency: 'KWD',
          platform_fee: '0.01',
          order_ref: 'A-1',
          customer_present: true,
          metadata: { note: 'two\nlines\tand a tab' },
        },
        { seller: '海の店', amount: '500', currency: 'JPY' },
      ],
    });
    expect(request.metadata).toEqual({ campaign: 'spring', empty: '' });
    expect(request.orders[0]).toMatchObject({
      money: { amountMinor: 1230n, currency: 'KWD' },
      platformFeeMinor: 10n,
      orderRef: 'A-1',
      customerPresent: true,
      metadata: { note: 'two\nlines\tand a tab' },
    });
    expect(request.orders[1]).toMatchObject({ seller: '海の店', paymentMethod: 'pm_default' });
  });

  test('null is the same as absent, for whatever is optional', () => {
    const optional = { platform_fee: null, order_ref: null, customer_present: null, metadata: null };
    expect(read({ ...inOrder(optional), payment_method: null, metadata: null })).toEqual(read(body));
  });

  test('names are kept in Unicode normal form C', () => {
    const request = read({ ...inOrder({ seller: 'Cafe\u0301' }), buyer: 'Zoe\u0308' });
    expect([request.orders[0]?.seller, request.buyer]).toEqual(['Café', 'Zoë']);
  });

  test.each([
    ['a fee of nothing', inOrder({ platform_fee: '0' })],
    ['a fee of all', inOrder({ platform_fee: '12.50' })],
    ['a name of 255 characters', inPayment({ checkout_id: 'x'.repeat(255) })],
    ['a buyer of 128 characters beyond the basic plane', inPayment({ buyer: '😀'.repeat(128) })],
    ['a seller whose name needs a joiner', inOrder({ seller: 'می\u200cخواهم' })],
    ['100 orders', inPayment({ payment_orders: Array.from({ length: 100 }, () => order) })],
    ['a UUID as key', inPayment({ idempotency_key: '6f1f8f4e-4c1e-4f6e-9b57-7d2f0a1d9f11' })],
    ['20 metadata keys', inPayment({ metadata: numbered(20) })],
    ['a value of 500 characters', inPayment({ metadata: { a: 'x'.repeat(500) } })],
    ['the largest amount', inOrder({ amount: '9999999999999.99' })],
  ])('%s', (_what, value) => {
    expect(faultsOf(value)).toEqual([]);
  });
});

function numbered(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`key_${index}`, 'x']));
}

const CARD = '4111 1111 1111 1111';

describe('one fault at a time', () => {
  test.each<[string, unknown, readonly string[]]>([
    ['no object', 'text', [' wrong_type']],
    ['null', null, [' wrong_type']],
    ['an array', [], [' wrong_type']],
    ['checkout missing', inPayment({ checkout_id: undefined }), ['checkout_id missing']],
    ['checkout null', inPayment({ checkout_id: null }), ['checkout_id missing']],
    ['checkout empty', inPayment({ checkout_id: '' }), ['checkout_id empty']],
    ['checkout a number', inPayment({ checkout_id: 7 }), ['checkout_id wrong_type']],
    ['checkout too long', inPayment({ checkout_id: 'x'.repeat(256) }), ['checkout_id too_long']],
    ['checkout far too long', inPayment({ checkout_id: 'x'.repeat(1_000_000) }), ['checkout_id too_long']],
    ['key missing', inPayment({ idempotency_key: undefined }), ['idempotency_key missing']],
    ['key empty', inPayment({ idempotency_key: '' }), ['idempotency_key empty']],
    ['key too long', inPayment({ idempotency_key: 'é'.repeat(256) }), ['idempotency_key too_long']],
    ['buyer too long', inPayment({ buyer: 'x'.repeat(129) }), ['buyer too_long']],
    ['buyer with NUL', inPayment({ buyer: 'a\u0000b' }), ['buyer control_character']],
    ['buyer with an escape sequence', inPayment({ buyer: 'a\u001b[2Jb' }), ['buyer control_character']],
    ['buyer with a direction override', inPayment({ buyer: 'a\u202eb' }), ['buyer control_character']],
    ['buyer with half a character', inPayment({ buyer: 'a\ud83d' }), ['buyer not_well_formed']],
    ['buyer of spaces', inPayment({ buyer: '  ' }), ['buyer space_at_the_ends']],
    [
      'key with a trailing space',
      inPayment({ idempotency_key: 'k ' }),
      ['idempotency_key space_at_the_ends'],
    ],
    ['no orders', inPayment({ payment_orders: [] }), ['payment_orders no_orders']],
    ['orders missing', inPayment({ payment_orders: undefined }), ['payment_orders missing']],
    ['orders no array', inPayment({ payment_orders: order }), ['payment_orders wrong_type']],
    [
      '101 orders',
      inPayment({ payment_orders: Array.from({ length: 101 }, () => order) }),
      ['payment_orders too_many_orders'],
    ],
    ['an order that is null', inPayment({ payment_orders: [null] }), ['payment_orders[0] wrong_type']],
    ['seller with a colon', inOrder({ seller: 'a:b' }), ['payment_orders[0].seller not_a_seller_name']],
    [
      'method missing everywhere',
      inOrder({ payment_method: undefined }),
      ['payment_orders[0].payment_method missing'],
    ],
    ['amount a number', inOrder({ amount: 12.5 }), ['payment_orders[0].amount wrong_type']],
    ['amount missing', inOrder({ amount: undefined }), ['payment_orders[0].amount missing']],
    ['amount zero', inOrder({ amount: '0.00' }), ['payment_orders[0].amount zero']],
    ['amount negative', inOrder({ amount: '-1' }), ['payment_orders[0].amount negative']],
    ['amount empty', inOrder({ amount: '' }), ['payment_orders[0].amount empty']],
    ['amount 1e3', inOrder({ amount: '1e3' }), ['payment_orders[0].amount not_a_decimal']],
    ['amount in full-width digits', inOrder({ amount: '１２' }), ['payment_orders[0].amount not_a_decimal']],
    ['amount too fine', inOrder({ amount: '1.234' }), ['payment_orders[0].amount too_many_decimals']],
    ['amount too large', inOrder({ amount: '10000000000000' }), ['payment_orders[0].amount too_large']],
    ['currency lower case', inOrder({ currency: 'eur' }), ['payment_orders[0].currency unknown_currency']],
    ['currency empty', inOrder({ currency: '' }), ['payment_orders[0].currency empty']],
    [
      'fee above the amount',
      inOrder({ platform_fee: '12.51' }),
      ['payment_orders[0].platform_fee fee_over_amount'],
    ],
    ['fee negative', inOrder({ platform_fee: '-0.01' }), ['payment_orders[0].platform_fee negative']],
    [
      'fee too fine',
      inOrder({ platform_fee: '0.001' }),
      ['payment_orders[0].platform_fee too_many_decimals'],
    ],
    ['fee a number', inOrder({ platform_fee: 1 }), ['payment_orders[0].platform_fee wrong_type']],
    [
      'fee a card number',
      inOrder({ platform_fee: '4222222222222' }),
      ['payment_orders[0].platform_fee card_number'],
    ],
    ...[
      'ftp://shop.example/x',
      'shop.example/x',
      'https://',
      'https://user:pass@shop.example/',
      'https://shop.example/a b',
      ' https://shop.example/',
      'javascript:alert(1)',
      'https://shop.example/\u202e',
    ].map((url): [string, unknown, string[]] => [
      `return_url ${JSON.stringify(url)}`,
      inOrder({ return_url: url }),
      ['payment_orders[0].return_url not_a_url'],
    ]),
    ['return_url empty', inPayment({ return_url: '' }), ['return_url empty']],
    [
      'return_url too long',
      inOrder({ return_url: `https://shop.example/${'x'.repeat(1_980)}` }),
      ['payment_orders[0].return_url too_long'],
    ],
    [
      'return_url with a card number',
      inOrder({ return_url: 'https://shop.example/?card=4242424242424242' }),
      ['payment_orders[0].return_url card_number'],
    ],
    [
      'customer_present text',
      inOrder({ customer_present: 'true' }),
      ['payment_orders[0].customer_present wrong_type'],
    ],
    ['reference empty', inOrder({ order_ref: '' }), ['payment_orders[0].order_ref empty']],
    ['metadata no object', inPayment({ metadata: [1] }), ['metadata wrong_type']],
    ['metadata of a number', inPayment({ metadata: { a: 1 } }), ['metadata.a wrong_type']],
    [
      'metadata with a bad key',
      inOrder({ metadata: { A: 'x' } }),
      ['payment_orders[0].metadata.A bad_metadata_key'],
    ],
    ['metadata with 21 keys', inPayment({ metadata: numbered(21) }), ['metadata too_many_metadata_keys']],
    ['metadata too long', inPayment({ metadata: { a: 'x'.repeat(501) } }), ['metadata.a too_long']],
    ['metadata with a bell', inPayment({ metadata: { a: '\u0007' } }), ['metadata.a control_character']],
    [
      'metadata __proto__',
      JSON.parse(`{${JSON.stringify(body).slice(1, -1)},"metadata":{"__proto__":"x"}}`),
      ['metadata.__proto__ bad_metadata_key'],
    ],
    ['unknown field', inPayment({ amount: '1' }), ['amount unknown_field']],
    ['unknown field in an order', inOrder({ Amount: '1' }), ['payment_orders[0].Amount unknown_field']],
    [
      '__proto__',
      JSON.parse(`{${JSON.stringify(body).slice(1, -1)},"__proto__":{"x":1}}`),
      ['__proto__ unknown_field'],
    ],
    ['card number as buyer', inPayment({ buyer: `Bo ${CARD}` }), ['buyer card_number']],
    ['card number as checkout', inPayment({ checkout_id: CARD }), ['checkout_id card_number']],
    ['card number as key', inPayment({ idempotency_key: CARD }), ['idempotency_key card_number']],
    [
      'card number as method',
      inOrder({ payment_method: CARD }),
      ['payment_orders[0].payment_method card_number'],
    ],
    ['card number as seller', inOrder({ seller: CARD }), ['payment_orders[0].seller card_number']],
    ['card number as reference', inOrder({ order_ref: CARD }), ['payment_orders[0].order_ref card_number']],
    ['card number as currency', inOrder({ currency: CARD }), ['payment_orders[0].currency card_number']],
    [
      'card number in metadata',
      inOrder({ metadata: { note: CARD } }),
      ['payment_orders[0].metadata.note card_number'],
    ],
    [
      'card number as metadata key',
      inPayment({ metadata: { '4111111111111111': 'x' } }),
      ['metadata["[card number]"] card_number'],
    ],
    ['card number as field', inPayment({ [CARD]: 'x' }), ['["[card number]"] unknown_field']],
  ])('%s', (_what, value, faults) => {
    expect(faultsOf(value)).toEqual(faults);
  });
});

test('all faults of a body are given at once', () => {
  const faults = faultsOf({
    buyer: '',
    checkout_id: 'x '.repeat(200),
    payment_orders: [
      { seller: 'a:b', amount: '1,5', currency: 'EURO', platform_fee: '-1', colour: 'red' },
      { ...order, platform_fee: '13' },
    ],
    metadata: 'x',
  });
  expect([...faults].sort()).toEqual(
    [
      'buyer empty',
      'checkout_id too_long',
      'idempotency_key missing',
      'metadata wrong_type',
      'payment_orders[0].seller not_a_seller_name',
      'payment_orders[0].amount not_a_decimal',
      'payment_orders[0].currency unknown_currency',
      'payment_orders[0].platform_fee negative',
      'payment_orders[0].colour unknown_field',
      'payment_orders[0].payment_method missing',
      'payment_orders[1].platform_fee fee_over_amount',
    ].sort(),
  );
});

test('messages are short, show no control character and no card number', () => {
  const nasty = [
    `${'x'.repeat(500)}`,
    '\u001b]0;pwned\u0007',
    '\u202egnp.exe',
    CARD,
    '4111-1111-1111-1111',
    '\ud800',
  ];
  for (const text of nasty) {
    const values = [
      inPayment({
        buyer: text,
        checkout_id: text,
        idempotency_key: text,
        [text]: text,
        metadata: { [text]: text },
      }),
      inOrder({ seller: `${text}:`, amount: text, currency: text, platform_fee: text, order_ref: text }),
      { ...inOrder({ payment_method: text, metadata: { note: text } }), payment_method: text },
    ];
    for (const value of values) {
      const reading = readPaymentRequest(value);
      for (const { field, message } of reading.kind === 'bad' ? reading.faults : []) {
        expect(`${field} ${message}`).not.toMatch(/\p{Cc}|\p{Cs}|\u202e|4111|x{41}/u);
      }
    }
  }
});

test('no value whatever makes it throw, and every fault has a field, a code and a message', () => {
  const keys = [
    'buyer',
    'checkout_id',
    'idempotency_key',
    'payment_orders',
    'payment_method',
    'metadata',
    'x',
  ];
  const orderKeys = [
    'seller',
    'amount',
    'currency',
    'payment_method',
    'platform_fee',
    'order_ref',
    'metadata',
    'x',
  ];
  const orders = fc.dictionary(fc.constantFrom(...orderKeys), fc.anything());
  const bodies = fc.oneof(
    fc.anything(),
    fc.dictionary(fc.constantFrom(...keys), fc.anything()),
    orders.map((fields) => inOrder(fields)),
  );
  fc.assert(
    fc.property(bodies, (value) => {
      const reading = readPaymentRequest(value);
      if (reading.kind === 'ok') return;
      expect(reading.faults.length).toBeGreaterThan(0);
      for (const fault of reading.faults) {
        expect(fault).toEqual({
          field: expect.any(String),
          code: expect.stringMatching(/^[a-z_]+$/),
          message: expect.stringMatching(/./),
        });
      }
    }),
    { numRuns: 500 },
  );
});

test('the schema can be published', () => {
  const schema = z.toJSONSchema(paymentBodySchema, { io: 'input' });
  expect(schema).toMatchObject({
    type: 'object',
    additionalProperties: false,
    required: ['checkout_id', 'idempotency_key', 'buyer', 'payment_orders'],
    properties: { payment_orders: { maxItems: 100, items: { required: ['seller', 'amount', 'currency'] } } },
  });
});

describe('the canonical text', () => {
  const text = (value: unknown) => canonicalPaymentText(read(value));

  test('is pinned: another text would be another fingerprint of payments that are stored', () => {
    const full = inOrder({
      platform_fee: '0.50',
      order_ref: 'A-1',
      customer_present: true,
      metadata: { b: '2', a: '1' },
    });
    expect(text({ ...full, metadata: { note: 'é' } })).toBe(
      '["payment.1","chk-1","Bo",[["note","é"]],[["Ana","EUR","1250","pm_card_visa","50","A-1",true,[["a","1"],["b","2"]]]]]',
    );
    expect(text(body)).toBe(
      '["payment.1","chk-1","Bo",[],[["Ana","EUR","1250","pm_card_visa",null,null,false,[]]]]',
    );
  });

  test.each([
    ['the idempotency key', inPayment({ idempotency_key: 'other' })],
    ['how the amount is written', inOrder({ amount: '012.5' })],
    ['the order of fields', Object.fromEntries(Object.entries(body).reverse())],
    [
      'the method at the payment',
      { ...inOrder({ payment_method: undefined }), payment_method: 'pm_card_visa' },
    ],
    ['empty metadata', inPayment({ metadata: {} })],
    ['what is false by default', inOrder({ customer_present: false })],
  ])('does not depend on %s', (_what, value) => {
    expect(text(value)).toBe(text(body));
  });

  test.each([
    ['the checkout', inPayment({ checkout_id: 'chk-2' })],
    ['the buyer', inPayment({ buyer: 'Bea' })],
    ['the seller', inOrder({ seller: 'Ben' })],
    ['the amount', inOrder({ amount: '12.51' })],
    ['the currency', inOrder({ currency: 'USD' })],
    ['the method', inOrder({ payment_method: 'pm_card_mastercard' })],
    ['the fee', inOrder({ platform_fee: '0' })],
    ['the reference', inOrder({ order_ref: 'A-1' })],
    ['the presence of the customer', inOrder({ customer_present: true })],
    ['where the buyer comes back to', inOrder({ return_url: 'https://shop.example/a' })],
    ["an order's metadata", inOrder({ metadata: { a: '' } })],
    ["the payment's metadata", inPayment({ metadata: { a: '' } })],
    ['the number of orders', inPayment({ payment_orders: [order, order] })],
  ])('depends on %s', (_what, value) => {
    expect(text(value)).not.toBe(text(body));
  });

  test('depends on the sequence of the orders', () => {
    const [first, second] = [order, { ...order, seller: 'Ben' }];
    expect(text(inPayment({ payment_orders: [first, second] }))).not.toBe(
      text(inPayment({ payment_orders: [second, first] })),
    );
  });

  test('cannot be confused by what the fields hold', () => {
    expect(text(inPayment({ checkout_id: 'a","b', buyer: 'c' }))).not.toBe(
      text(inPayment({ checkout_id: 'a', buyer: 'b","c' })),
    );
  });
});

test('the payment says where buyers come back to, unless the order does; 2,000 characters are enough', () => {
  const longest = `https://shop.example/${'x'.repeat(1_979)}`;
  const reading = readPaymentRequest({
    checkout_id: 'c',
    idempotency_key: 'k',
    buyer: 'b',
    payment_method: 'pm',
    return_url: longest,
    payment_orders: [
      { seller: 's', amount: '1', currency: 'EUR' },
      { seller: 's', amount: '1', currency: 'EUR', return_url: 'HTTP://localhost:3000/back?a=b#c' },
    ],
  });
  const urls = reading.kind === 'ok' ? reading.request.orders.map((one) => one.returnUrl) : reading.faults;
  expect(urls).toEqual([longest, 'HTTP://localhost:3000/back?a=b#c']);
});
