import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parsePaymentFile } from './parse-payment-file.ts';
import { readPaymentRequest } from './payment-request.ts';
import { columnOfField } from './payment-row.ts';

const GOOD = {
  checkout_id: 'chk-1',
  idempotency_key: 'key-1',
  buyer: 'Bo',
  seller: 'Ana',
  amount: '12.50',
  currency: 'EUR',
  payment_method: 'pm_card_visa',
  platform_fee: '0.50',
  order_ref: 'A-1',
  customer_present: 'true',
  return_url: 'https://shop.example/back',
  metadata_note: 'x',
} as const;
type Row = Record<keyof typeof GOOD, string>;

const COLUMNS = Object.keys(GOOD) as (keyof typeof GOOD)[];
const OPTIONAL = [
  'idempotency_key',
  'platform_fee',
  'order_ref',
  'customer_present',
  'return_url',
  'metadata_note',
];

/** What people, spreadsheets and attackers put into a field. */
const NASTY = [
  '',
  ' ',
  'a',
  ' a',
  'a ',
  '\u00a0a',
  'a\tb',
  'a\nb',
  'a\r\nb',
  'a\rb',
  'a"b',
  '"',
  '""',
  'a,b',
  'a;b',
  "a'b",
  '\\',
  '\\n',
  'null',
  'undefined',
  'true',
  'FALSE',
  'maybe',
  '0',
  '0.00',
  '-0',
  '-1',
  '+1',
  '1e3',
  '0x10',
  'NaN',
  'Infinity',
  '007.50',
  '12,50',
  '12.505',
  '12.',
  '.5',
  '１２',
  '٣',
  '1_000',
  '1 000',
  '9999999999999.99',
  '10000000000000',
  '9'.repeat(300),
  'EUR',
  'eur',
  'JPY',
  'KWD',
  'XXX',
  'EURO',
  'a:b',
  ':',
  '{}',
  '__proto__',
  'constructor',
  '=1+1',
  '@SUM(A1)',
  '-2+3',
  'x'.repeat(128),
  'x'.repeat(129),
  'x'.repeat(255),
  'x'.repeat(256),
  'x'.repeat(500),
  'x'.repeat(501),
  'é'.repeat(255),
  'e\u0301'.repeat(255),
  '😀'.repeat(128),
  '😀'.repeat(129),
  'Cafe\u0301',
  'می\u200cخواهم',
  '海の店',
  'متجر سارة',
  '\u202egnp',
  '\u0000',
  '\u001b[2J',
  '\u0085',
  '\u2028',
  '\ufeff',
  'a\ufeffb',
  '\u200b',
  '4111111111111111',
  '4111 1111 1111 1111',
  '4111-1111-1111-1111',
  '1000000000000',
  '4222222222222',
  '2026-08-01-000123',
  '550e8400-e29b-41d4-a716-446655440000',
  '<script>',
  "'; drop table payment; --",
  '../../etc/passwd',
  '%00',
  'ﬁ',
  'İ',
  'ß',
  'ＡＢＣ',
];

/** The row as an HTTP body: the reference for what is right. Empty optional cells are absent values. */
function bodyOf(row: Row) {
  const optional = (column: keyof Row) => (row[column] === '' ? undefined : row[column]);
  return {
    checkout_id: row.checkout_id,
    idempotency_key: optional('idempotency_key') ?? row.checkout_id,
    buyer: row.buyer,
    payment_orders: [
      {
        seller: row.seller,
        amount: row.amount,
        currency: row.currency,
        payment_method: row.payment_method,
        platform_fee: optional('platform_fee'),
        order_ref: optional('order_ref'),
        customer_present: presentOf(row.customer_present),
        return_url: optional('return_url'),
        metadata: row.metadata_note === '' ? undefined : { note: row.metadata_note },
      },
    ],
  };
}

function presentOf(text: string): string | boolean | undefined {
  const lower = text.toLowerCase();
  return lower === 'true' ? true : lower === 'false' ? false : text === '' ? undefined : text;
}

function csvOf(row: Row): Buffer {
  const cells = COLUMNS.map((column) => `"${row[column].replaceAll('"', '""')}"`);
  return Buffer.from(`${COLUMNS.join(',')}\n${cells.join(',')}\n`);
}

function ndjsonOf(row: Row): Buffer {
  const present = presentOf(row.customer_present) ?? '';
  const entries = COLUMNS.map(
    (column) => [column, column === 'customer_present' ? present : row[column]] as const,
  );
  const kept = entries.filter(([column, value]) => !(value === '' && OPTIONAL.includes(column)));
  return Buffer.from(`${JSON.stringify(Object.fromEntries(kept))}\n`);
}

type Verdict = { readonly request: unknown } | { readonly faults: readonly string[] };

/** A key that is only the default repeats what is wrong with the checkout's name; files leave that out. */
function verdictOfBody(row: Row): Verdict {
  const body = bodyOf(row);
  const reading = readPaymentRequest(body);
  if (reading.kind === 'ok') return { request: reading.request };
  const isDefault = body.idempotency_key === body.checkout_id;
  const repeats = isDefault && reading.faults.some((fault) => fault.field === 'checkout_id');
  const told = reading.faults.filter((fault) => !(repeats && fault.field === 'idempotency_key'));
  return { faults: told.map(({ field, code }) => `${columnOfField(field)} ${code}`).sort() };
}

async function verdictOfFile(bytes: Buffer): Promise<Verdict> {
  const file = await parsePaymentFile(bytes);
  if (file.kind === 'ok') return { request: file.payments[0]?.request };
  return { faults: file.faults.map(({ column, code }) => `${column} ${code}`).sort() };
}

/** Bytes that no file may hold at all are refused before any field is looked at. */
const isText = (row: Row) =>
  COLUMNS.every((column) => !row[column].includes('\0') && row[column].isWellFormed());

async function expectAgreement(row: Row): Promise<void> {
  const expected = verdictOfBody(row);
  expect(await verdictOfFile(csvOf(row)), 'CSV').toEqual(expected);
  expect(await verdictOfFile(ndjsonOf(row)), 'NDJSON').toEqual(expected);
}

describe('a file and an HTTP body are judged alike', () => {
  test.each(COLUMNS)('whatever stands in %s', async (column) => {
    for (const value of NASTY) {
      const row = { ...GOOD, [column]: value };
      if (isText(row)) await expectAgreement(row);
    }
  });

  test('whatever stands in all fields together', async () => {
    const value = fc.oneof(fc.constantFrom(...NASTY), fc.string({ unit: 'binary', maxLength: 20 }));
    const rows = fc.record(
      Object.fromEntries(
        COLUMNS.map((column) => [
          column,
          fc.oneof({ weight: 3, arbitrary: fc.constant(GOOD[column]) }, value),
        ]),
      ),
    );
    await fc.assert(
      fc.asyncProperty(rows, async (row) => {
        if (isText(row as Row)) await expectAgreement(row as Row);
      }),
      { numRuns: 500 },
    );
  });
});

const BATCH = Buffer.from(
  [
    '\ufeffcheckout_id,buyer,seller,amount,currency,payment_method,order_ref,metadata_note',
    'a,Bo,海の店,12.50,EUR,pm,1,"two\r\nlines, ""quoted"""',
    '',
    'b,Zoë,Лавка,7,JPY,pm,,',
    'a,Bo,Ana,x,EUR,pm,2,y',
    'c,😀,Ana,1.00,USD,pm,,z',
  ].join('\r\n'),
);

test('how a file is cut into chunks changes nothing', async () => {
  const whole = await parsePaymentFile(BATCH);
  expect(whole).toMatchObject({ kind: 'bad', rowCount: 4, faults: [{ line: 6, column: 'amount' }] });
  const good = Buffer.from(BATCH.toString().replace(',x,', ',3,'));
  const wholeGood = await parsePaymentFile(good);
  expect(wholeGood).toMatchObject({ kind: 'ok', rowCount: 4 });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), async (sizes) => {
      async function* cut(bytes: Buffer) {
        for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
          const size = sizes[turn % sizes.length] ?? 1;
          yield bytes.subarray(at, at + size);
          at += size;
        }
      }
      expect(await parsePaymentFile(cut(BATCH))).toEqual(whole);
      expect(await parsePaymentFile(cut(good))).toEqual(wholeGood);
    }),
  );
});

test('no bytes whatever make it throw, and what is refused has a reason', async () => {
  const soup = fc
    .string({ unit: fc.constantFrom(...'a"\',;\t\r\n{}[]:0.é😀'), maxLength: 200 })
    .map((text) => Buffer.from(text));
  const header = Buffer.from('checkout_id,buyer,seller,amount,currency,payment_method\n');
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array)),
    soup,
    soup.map((text) => Buffer.concat([header, text])),
  );
  await fc.assert(
    fc.asyncProperty(
      bytes,
      fc.constantFrom(undefined, 'csv' as const, 'ndjson' as const),
      async (input, format) => {
        const file = await parsePaymentFile(input, format === undefined ? {} : { format });
        if (file.kind === 'ok') return;
        expect(file.faultCount).toBeGreaterThan(0);
        for (const fault of file.faults) expect(fault.message).toMatch(/^[^\p{Cc}]+$/u);
      },
    ),
    { numRuns: 1_000 },
  );
});
