import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { createByteGuard, MAX_FILE_BYTES } from './file-bytes.ts';
import { MAX_LISTED_FAULTS } from './file-fault.ts';
import { MAX_ROWS, type PaymentFile, parsePaymentFile } from './parse-payment-file.ts';

const fixture = (name: string) => readFileSync(new URL(`../../../fixtures/batches/${name}`, import.meta.url));
const HEADER = 'checkout_id,buyer,seller,amount,currency,payment_method';
const row = (checkout: string, amount = '12.50') => `${checkout},Bo,Ana,${amount},EUR,pm_card_visa`;

async function parse(text: string | Buffer): Promise<PaymentFile> {
  return parsePaymentFile(Buffer.from(text));
}

async function payments(text: string | Buffer) {
  const file = await parse(text);
  if (file.kind === 'bad') throw new Error(JSON.stringify(file.faults));
  return file.payments;
}

/** "line column code" of every fault listed. */
async function faults(text: string | Buffer): Promise<readonly string[]> {
  const file = await parse(text);
  return file.kind === 'ok' ? [] : file.faults.map(({ line, column, code }) => `${line} ${column} ${code}`);
}

/** Chunks that count how many of them were asked for. */
function endless(chunk: Buffer, limit: number) {
  const taken = { count: 0 };
  async function* chunks() {
    for (; taken.count < limit; taken.count += 1) yield chunk;
  }
  return { taken, chunks };
}

describe('the fixtures', () => {
  test('the demo is a batch of all kinds that every connector can express', async () => {
    const file = await parsePaymentFile(fixture('demo.csv'));
    if (file.kind === 'bad') throw new Error(JSON.stringify(file.faults));
    const orders = file.payments.flatMap(({ request }) => request.orders);
    expect([file.rowCount, orders.length, file.payments.length]).toEqual([606, 606, 520]);
    expect([...file.totals.keys()]).toEqual(['BRL', 'EUR', 'GBP', 'ISK', 'JPY', 'KWD', 'USD']);
    expect(new Set(orders.map((order) => order.seller)).size).toBeGreaterThanOrEqual(200);
    for (const { money, platformFeeMinor } of orders) {
      // Stripe: at most eight digits, two decimals for ISK, and dinars in tens.
      const factor = money.currency === 'ISK' ? 100n : 1n;
      expect(money.amountMinor * factor <= 99_999_999n).toBe(true);
      if (money.currency === 'KWD')
        expect([money.amountMinor % 10n, (platformFeeMinor ?? 0n) % 10n]).toEqual([0n, 0n]);
    }
    expect(new Set(orders.map((order) => order.paymentMethod))).toEqual(
      new Set([
        'pm_card_visa',
        'pm_card_visa_chargeDeclined',
        'pm_card_visa_chargeDeclinedInsufficientFunds',
      ]),
    );
  });

  test('the demo is what its generator prints, byte for byte', () => {
    const script = new URL('../../../fixtures/batches/generate-demo.mjs', import.meta.url).pathname;
    expect(execFileSync(process.execPath, [script]).equals(fixture('demo.csv'))).toBe(true);
  });

  test('the small batch is the same in both formats', async () => {
    const [csv, ndjson] = [await payments(fixture('small.csv')), await payments(fixture('small.ndjson'))];
    expect(csv.map((payment) => payment.request)).toEqual(ndjson.map((payment) => payment.request));
    expect(csv.map((payment) => payment.line)).toEqual([2, 3, 4, 6, 7]);
    expect(ndjson.map((payment) => payment.line)).toEqual([1, 2, 3, 4, 5]);
  });

  test('every bad row is reported, all of them, with its line and column', async () => {
    expect(await faults(fixture('bad-rows.csv'))).toEqual([
      '4 amount not_a_decimal',
      '5 amount not_a_decimal',
      '6 amount negative',
      '7 amount zero',
      '8 amount too_many_decimals',
      '9 amount too_many_decimals',
      '10 currency unknown_currency',
      '11 currency unknown_currency',
      '12 seller empty',
      '13 seller not_a_seller_name',
      '14 buyer space_at_the_ends',
      '15 platform_fee fee_over_amount',
      '16 order_ref card_number',
      '17 payment_method card_number',
      '18 customer_present wrong_type',
      '20 null duplicate_row',
      '22 buyer buyer_differs',
      '24 idempotency_key idempotency_key_differs',
      '25 idempotency_key idempotency_key_shared',
      '26 idempotency_key idempotency_key_shared',
      '27 null wrong_cell_count',
      '28 null empty_row',
      '29 checkout_id empty',
      '29 buyer empty',
      '29 seller empty',
      '29 payment_method empty',
      '29 currency unknown_currency',
      '29 amount not_a_decimal',
      '29 platform_fee negative',
    ]);
    const file = await parsePaymentFile(fixture('bad-rows.csv'));
    expect(file).toMatchObject({ kind: 'bad', faultCount: 29, rowCount: 27 });
    expect(JSON.stringify(file)).not.toContain('4111');
  });
});

describe('CSV as people and spreadsheets write it', () => {
  const expected = [
    { checkoutId: 'a', amountMinor: 1250n, line: 2 },
    { checkoutId: 'b', amountMinor: 100n, line: 3 },
  ];
  const plain = `${HEADER}\n${row('a')}\n${row('b', '1.00')}\n`;
  test.each([
    ['plain', plain],
    ['without a line feed at the end', plain.trimEnd()],
    ['with CR LF', plain.replaceAll('\n', '\r\n')],
    ['with a byte order mark', `\ufeff${plain}`],
    ['with semicolons', plain.replaceAll(',', ';')],
    ['with tabs', plain.replaceAll(',', '\t')],
    ['with everything quoted', plain.replace(/[^,\n]+/g, '"$&"')],
    [
      'with a byte order mark and a quoted header',
      `\ufeff${plain.replace(/^.*$/m, (line) => line.replace(/[^,]+/g, '"$&"'))}`,
    ],
    ['with blank lines at the end', `${plain}\n\n`],
    ['with the columns in another order', plain.replace(/^([^,\n]+),([^,\n]+),([^,\n]+)/gm, '$3,$1,$2')],
  ])('%s', async (_what, text) => {
    const found = (await payments(text)).map(({ request, line }) => {
      return { checkoutId: request.checkoutId, amountMinor: request.orders[0]?.money.amountMinor, line };
    });
    expect(found).toEqual(expected);
  });

  test('optional columns: empty cells are absent values, the key is the checkout by default', async () => {
    const text = [
      `${HEADER},idempotency_key,platform_fee,order_ref,customer_present,metadata_a,metadata_b_2`,
      `${row('a')},,,,,,`,
      `${row('b')},key-b,0.50,A-1,TRUE,"say ""hi"", twice",x`,
    ].join('\n');
    const [first, second] = await payments(text);
    expect(first?.request).toMatchObject({ idempotencyKey: 'a', metadata: {} });
    expect(first?.request.orders[0]).toMatchObject({ platformFeeMinor: null, orderRef: null, metadata: {} });
    expect(second?.request.idempotencyKey).toBe('key-b');
    expect(second?.request.orders[0]).toMatchObject({
      platformFeeMinor: 50n,
      orderRef: 'A-1',
      customerPresent: true,
      metadata: { a: 'say "hi", twice', b_2: 'x' },
    });
  });

  test.each([
    ['LF', '\n'],
    ['CR LF', '\r\n'],
  ])('line numbers are right after quoted newlines and blank lines, with %s', async (_name, end) => {
    const lines = [
      `${HEADER},metadata_note`,
      `${row('a')},"one`,
      'two',
      '',
      'three"',
      '',
      `${row('b')},plain`,
      `${row('c', 'x')},"last`,
      'one"',
      `${row('d', 'y')},plain`,
    ];
    expect(await faults(lines.join(end))).toEqual(['8 amount not_a_decimal', '10 amount not_a_decimal']);
    expect(await faults(`${end}${end}${lines.join(end)}`)).toEqual([
      '10 amount not_a_decimal',
      '12 amount not_a_decimal',
    ]);
  });

  test('totals and hash are those of the whole file', async () => {
    const text = `${HEADER}\n${row('a')}\n${row('b', '1.00')}\nc,Bo,Ana,500,JPY,pm\n`;
    const file = await parse(text);
    expect(file).toMatchObject({
      kind: 'ok',
      rowCount: 3,
      sha256: createHash('sha256').update(text).digest('hex'),
    });
    expect(file.kind === 'ok' ? [...file.totals] : []).toEqual([
      ['EUR', 1350n],
      ['JPY', 500n],
    ]);
  });
});

describe('headers that cannot be used', () => {
  test.each<[string, string, readonly string[]]>([
    ['unknown column', `${HEADER},colour`, ['1 colour unknown_column']],
    ['duplicate column', `${HEADER},buyer`, ['1 buyer duplicate_column']],
    ['a column without a name', `${HEADER},`, ['1  unknown_column']],
    ['a bad metadata name', `${HEADER},metadata_Ä`, ['1 metadata_Ä bad_metadata_key']],
    ['metadata without a name', `${HEADER},metadata_`, ['1 metadata_ bad_metadata_key']],
    ['upper case', HEADER.replace('buyer', 'Buyer'), ['1 Buyer unknown_column', '1 buyer missing_column']],
    [
      'no header at all',
      row('a'),
      [
        '1 a unknown_column',
        '1 Bo unknown_column',
        '1 Ana unknown_column',
        '1 12.50 unknown_column',
        '1 EUR unknown_column',
        '1 pm_card_visa unknown_column',
        '1 checkout_id missing_column',
        '1 buyer missing_column',
        '1 seller missing_column',
        '1 amount missing_column',
        '1 currency missing_column',
        '1 payment_method missing_column',
      ],
    ],
    ['a header that is a card number', `${HEADER},4111111111111111`, ['1 [card number] unknown_column']],
  ])('%s', async (_what, header, expected) => {
    expect(await faults(`${header}\n${row('a')}\n`)).toEqual(expected);
  });
});

describe('NDJSON', () => {
  const flat = {
    checkout_id: 'a',
    buyer: 'Bo',
    seller: 'Ana',
    amount: '12.50',
    currency: 'EUR',
    payment_method: 'pm',
  };
  const lines = (...objects: readonly unknown[]) =>
    objects.map((object) => JSON.stringify(object)).join('\n');

  test('flat and nested lines of one checkout are one payment', async () => {
    const nested = {
      checkout_id: 'a',
      buyer: 'Bo',
      payment_method: 'pm',
      payment_orders: [{ seller: 'Ben', amount: '1', currency: 'EUR' }],
    };
    const [payment, ...others] = await payments(lines(flat, nested));
    expect(others).toEqual([]);
    expect(payment?.request.orders.map((order) => order.seller)).toEqual(['Ana', 'Ben']);
  });

  test('a byte order mark, CR LF, blank lines and spaces around are fine', async () => {
    const text = `\ufeff\r\n  ${JSON.stringify(flat)}  \r\n\r\n${JSON.stringify({ ...flat, checkout_id: 'b' })}`;
    expect((await payments(text)).map((payment) => payment.line)).toEqual([2, 4]);
  });

  test.each<[string, string, readonly string[]]>([
    ['no JSON', '{"a":', ['1 null not_json']],
    [
      'an object over several lines',
      '{\n"checkout_id": "a"\n}',
      ['1 null not_json', '2 null not_json', '3 null not_json'],
    ],
    ['an array', `${lines(flat)}\n[]`, ['2 null not_json']],
    ['a JSON array of objects', '[{"a":1}]', ['1 null json_array']],
    ['an amount that is a number', lines({ ...flat, amount: 12.5 }), ['1 amount wrong_type']],
    ['an empty optional text', lines({ ...flat, order_ref: '' }), ['1 order_ref empty']],
    ['an unknown name', lines({ ...flat, colour: 'red' }), ['1 colour unknown_field']],
    ['a name that every object has', lines({ ...flat, toString: 'x' }), ['1 toString unknown_field']],
    ['__proto__', `{"__proto__":"x",${lines(flat).slice(1)}`, ['1 __proto__ unknown_field']],
    ['a bad metadata name', lines({ ...flat, metadata_A: 'x' }), ['1 metadata_A bad_metadata_key']],
    [
      'metadata __proto__',
      `{"metadata___proto__":"x",${lines(flat).slice(1)}`,
      ['1 metadata___proto__ bad_metadata_key'],
    ],
    [
      'missing names',
      '{}',
      [
        '1 checkout_id missing',
        '1 buyer missing',
        '1 seller missing',
        '1 amount missing',
        '1 currency missing',
        '1 payment_method missing',
      ],
    ],
    [
      'customer_present as text',
      lines({ ...flat, customer_present: 'true' }),
      ['1 customer_present wrong_type'],
    ],
    [
      'a nested line, second order',
      lines({
        ...flat,
        seller: undefined,
        amount: undefined,
        currency: undefined,
        payment_orders: [
          { seller: 'A', amount: '1', currency: 'EUR' },
          { seller: 'A', amount: '0', currency: 'EUR' },
        ],
      }),
      ['1 payment_orders[1].amount zero'],
    ],
    ['a card number', lines({ ...flat, buyer: '4111 1111 1111 1111' }), ['1 buyer card_number']],
  ])('%s', async (_what, text, expected) => {
    expect(await faults(text)).toEqual(expected);
  });

  test('metadata_* belongs to the order, an object "metadata" to the payment', async () => {
    const [payment] = await payments(lines({ ...flat, metadata_a: 'x', metadata: { b: 'y' } }));
    expect([payment?.request.metadata, payment?.request.orders[0]?.metadata]).toEqual([
      { b: 'y' },
      { a: 'x' },
    ]);
  });

  test('the format can be forced', async () => {
    const asCsv = await parsePaymentFile(Buffer.from(lines(flat)), { format: 'csv' });
    expect(asCsv).toMatchObject({ kind: 'bad', faultCount: 1, faults: [{ line: 1, code: 'bad_quotes' }] });
    const asJson = await parsePaymentFile(Buffer.from(`${HEADER}\n${row('a')}`), { format: 'ndjson' });
    expect(asJson).toMatchObject({
      kind: 'bad',
      faultCount: 2,
      faults: [{ code: 'not_json' }, { code: 'not_json' }],
    });
  });
});

describe('rows of one checkout', () => {
  const withRef = (checkout: string, ref: string) => `${row(checkout)},${ref}`;
  const header = `${HEADER},order_ref`;

  test('are one payment, adjacent or not, in the order of their first rows', async () => {
    const found = await payments(
      [header, withRef('a', '1'), withRef('b', '2'), withRef('a', '3')].join('\n'),
    );
    expect(
      found.map(({ request }) => [request.checkoutId, request.orders.map((order) => order.orderRef)]),
    ).toEqual([
      ['a', ['1', '3']],
      ['b', ['2']],
    ]);
  });

  test('that are the same are a fault unless each has its own reference', async () => {
    expect(await faults([header, withRef('a', ''), withRef('a', ''), withRef('a', '')].join('\n'))).toEqual([
      '3 null duplicate_row',
      '4 null duplicate_row',
    ]);
    expect(await faults([header, withRef('a', '1'), withRef('a', '1')].join('\n'))).toEqual([
      '3 null duplicate_row',
    ]);
    expect(await faults([header, withRef('a', '1'), withRef('a', '2'), withRef('a', '')].join('\n'))).toEqual(
      [],
    );
  });

  test('that disagree are compared even when other things are wrong with them', async () => {
    const text = `${HEADER}\na,Bo,Ana,x,EUR,pm\na,Bea,Ana,1,EUR,pm\n`;
    expect(await faults(text)).toEqual(['2 amount not_a_decimal', '3 buyer buyer_differs']);
  });

  test('are at most 100', async () => {
    const rows = (count: number) => Array.from({ length: count }, (_, index) => withRef('a', String(index)));
    expect((await payments([header, ...rows(100)].join('\n')))[0]?.request.orders).toHaveLength(100);
    expect(await faults([header, ...rows(102)].join('\n'))).toEqual(['102 checkout_id too_many_orders']);
  });

  test('of two checkouts cannot share a key, also not when one is only the default', async () => {
    const text = `idempotency_key,${HEADER}\nb,${row('a')}\n,${row('b')}\n,${row('c')}\n`;
    expect(await faults(text)).toEqual([
      '2 idempotency_key idempotency_key_shared',
      '3 idempotency_key idempotency_key_shared',
    ]);
  });
});

describe('files that are no batch', () => {
  const good = Buffer.from(`${HEADER}\n${row('a')}\n`);
  test.each<[string, Buffer, string, RegExp]>([
    ['nothing', Buffer.alloc(0), 'null null empty_file', /is empty/],
    ['white space', Buffer.from(' \n\r\n\t\n'), 'null null empty_file', /is empty/],
    ['only a byte order mark', Buffer.from('\ufeff'), 'null null empty_file', /is empty/],
    ['only a header', Buffer.from(`${HEADER}\n`), 'null null no_rows', /no rows/],
    ['only a header, not ended', Buffer.from(HEADER), 'null null no_rows', /no rows/],
    ['UTF-16', Buffer.from('\ufeffa,b\n', 'utf16le'), 'null null not_text', /UTF-16/],
    ['gzip', Buffer.from([0x1f, 0x8b, 8, 0]), 'null null not_text', /gzip/],
    ['a spreadsheet', Buffer.from('PK\u0003\u0004 and so on'), 'null null not_text', /spreadsheet/],
    [
      'a zero byte',
      Buffer.concat([good, Buffer.from('x\0')]),
      '3 null not_text',
      /has a zero byte at byte offset 89;/,
    ],
    [
      'Latin-1',
      Buffer.concat([good, Buffer.from('Caf\xe9,', 'latin1')]),
      '3 null not_text',
      /is no valid UTF-8 at byte offset 92;/,
    ],
    ['an overlong form', Buffer.from([0x61, 0xc0, 0xaf]), '1 null not_text', /offset 1;/],
    ['half a surrogate pair', Buffer.from([0xed, 0xa0, 0x80]), '1 null not_text', /offset 1;/],
    ['beyond Unicode', Buffer.from([0xf4, 0x90, 0x80, 0x80]), '1 null not_text', /offset 1;/],
    [
      'the end within a character',
      Buffer.from([0x61, 0xe2, 0x82]),
      '1 null not_text',
      /ends in the middle of a character at byte offset 3/,
    ],
    [
      'carriage returns only',
      Buffer.from(good.toString().replaceAll('\n', '\r')),
      'null null line_ends',
      /line feeds/,
    ],
    [
      'an open quote',
      Buffer.from(`${HEADER}\n${row('a')}\n"b,Bo\n,,,\n`),
      '3 null bad_quotes',
      /never closed/,
    ],
    ['a quote in a cell', Buffer.from(`${HEADER}\n${row('a"b')}\n`), '2 null bad_quotes', /double the quote/],
    ['text after a quote', Buffer.from(`${HEADER}\n"a"b,Bo\n`), '2 null bad_quotes', /double the quote/],
  ])('%s', async (_what, bytes, expected, message) => {
    const file = await parsePaymentFile(bytes);
    expect(await faults(bytes)).toEqual([expected]);
    expect(file.kind === 'bad' ? file.faults[0]?.message : '').toMatch(message);
  });

  test('what a broken file said before the break is still reported', async () => {
    expect(await faults(`${HEADER}\n${row('a', 'x')}\n"b`)).toEqual([
      '2 amount not_a_decimal',
      '3 null bad_quotes',
    ]);
  });
});

describe('limits', () => {
  test('a line of 100 MB is refused after the first megabyte', async () => {
    for (const filler of ['x', ',', '"', '\u0001', '{']) {
      const { taken, chunks } = endless(Buffer.alloc(256 * 1024, filler), 400);
      expect(await parsePaymentFile(chunks())).toMatchObject({
        kind: 'bad',
        faultCount: 1,
        faults: [{ line: 1, code: 'record_too_long' }],
      });
      expect(taken.count).toBeLessThan(8);
    }
  });

  test('a record of 100 MB in many lines is refused after the first megabyte', async () => {
    const { taken, chunks } = endless(Buffer.from(`${'x'.repeat(99)}\n`.repeat(2_000)), 500);
    async function* file() {
      yield Buffer.from(`${HEADER}\n"`);
      yield* chunks();
    }
    expect(await parsePaymentFile(file())).toMatchObject({ faults: [{ line: 2, code: 'record_too_long' }] });
    expect(taken.count).toBeLessThan(10);
  });

  test('a file beyond 512 MB is refused', () => {
    const guard = createByteGuard();
    const chunk = Buffer.alloc(64 * 1024 * 1024, `${'x'.repeat(1023)}\n`);
    for (let size = 0; size < MAX_FILE_BYTES; size += chunk.length) expect(guard.check(chunk)).toBeNull();
    expect(guard.check(Buffer.from('x'))).toMatchObject({ line: null, code: 'file_too_large' });
  });

  test('more than 250,000 rows are refused, and exactly so many were read', async () => {
    async function* rows(count: number) {
      yield Buffer.from(`${HEADER}\n`);
      for (let first = 0; first < count; first += 10_000) {
        const length = Math.min(10_000, count - first);
        yield Buffer.from(Array.from({ length }, (_, index) => `${row(`c${first + index}`)}\n`).join(''));
      }
    }
    expect(await parsePaymentFile(rows(MAX_ROWS + 1))).toMatchObject({
      kind: 'bad',
      rowCount: MAX_ROWS,
      faults: [{ line: MAX_ROWS + 2, code: 'too_many_rows' }],
    });
  });

  test('a file of blank lines is refused early', async () => {
    const { taken, chunks } = endless(Buffer.alloc(64 * 1024, '\n'), 1_000);
    async function* file() {
      yield Buffer.from(`${HEADER}\n`);
      yield* chunks();
    }
    expect(await parsePaymentFile(file())).toMatchObject({ faults: [{ code: 'too_many_blank_lines' }] });
    expect(taken.count).toBeLessThan(3);
  });

  test('a thousand faults are listed, all are counted', async () => {
    const rows = Array.from({ length: 1_200 }, (_, index) => row(`c${index}`, 'x'));
    const file = await parse([HEADER, ...rows].join('\n'));
    expect(file).toMatchObject({ kind: 'bad', faultCount: 1_200, rowCount: 1_200 });
    expect(file.kind === 'bad' ? file.faults.length : 0).toBe(MAX_LISTED_FAULTS);
  });
});
