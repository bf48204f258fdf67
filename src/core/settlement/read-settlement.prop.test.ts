import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FAMILIES, fuzz } from '../../../chaos/fuzz-settlement.ts';
import { cutBytes, fixtureBytes, fixtureMapping, readWhole } from '../../testing/settlement-reading.ts';
import { OperatorError } from '../errors.ts';
import { type Currency, formatAmount } from '../money.ts';

describe('damaged files: no crash, no wrong amount, no row that is missing', () => {
  test.each(FAMILIES)('%s', async (family) => {
    const { wrong, usable, refused } = await fuzz(family, 120, 20_261_125);
    expect(wrong).toEqual([]);
    expect(usable).toBeGreaterThan(0);
    expect(refused).toBeGreaterThan(0);
  });
});

const minor = fc.bigInt({ min: -999_999_999_999n, max: 999_999_999_999n });
const row = fc.record({
  gross: minor,
  fee: minor,
  currency: fc.constantFrom('eur', 'JPY', 'kwd', 'ISK', 'Usd'),
  note: fc.string({ unit: fc.constantFrom(...'abc,;"\'\n\r é€'), maxLength: 12 }),
  blankBefore: fc.boolean(),
});

/** Any text in a cell, quoted as CSV wants it. */
const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;

test('every row of a whole file becomes a line with the amounts that were written', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(row, { maxLength: 30 }),
      fc.constantFrom('\n', '\r\n'),
      fc.constantFrom('utf8', 'utf16le'),
      fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 5 }),
      async (rows, end, encoding, sizes) => {
        const amountOf = (amountMinor: bigint, code: string) =>
          formatAmount({ amountMinor, currency: code.toUpperCase() as Currency });
        // A CR of its own is a line end in a file that has one from the start.
        const noteOf = (note: string) => note.replace(/\r/g, '\n');
        const records = rows.map(({ gross, fee, currency, note, blankBefore }, index) => {
          const amounts = [gross, fee, gross - fee].map((one) => amountOf(one, currency));
          const cells = [`txn_${index}`, quoted(noteOf(note)), currency, ...amounts, 'charge', `ch_${index}`];
          return `${blankBefore ? end : ''}${cells.join(',')}${end}`;
        });
        const header =
          'balance_transaction_id,description,currency,gross,fee,net,reporting_category,source_id';
        const bytes = Buffer.from(`\ufeff${header}${end}${records.join('')}`, encoding as BufferEncoding);
        const { lines, end: readingEnd } = await readWhole(cutBytes(bytes, sizes));
        expect(readingEnd.kind).toBe('ok');
        expect(lines.map((line) => [line.lineKey, line.grossMinor, line.feeMinor, line.netMinor])).toEqual(
          rows.map(({ gross, fee }, index) => [`txn_${index}`, gross, fee, gross - fee]),
        );
        const text = bytes.toString(encoding as BufferEncoding).split('\n');
        for (const line of lines)
          expect(text[line.row - 1]?.replace('\ufeff', '')).toMatch(new RegExp(`^${line.lineKey},`));
      },
    ),
    { numRuns: 150 },
  );
});

test('no bytes whatever make it throw anything but that it does not know the file', async () => {
  const starts = [
    '',
    'balance_transaction_id,currency,gross,fee,net,reporting_category\n',
    ':20:X\n',
    '01,A,B,261125,0600,1,,,2/\n',
  ]
    .concat(
      '"RH",1\n"CH","Transaction ID"\n',
      '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02">',
    )
    .map((text) => Buffer.from(text));
  const soup = fc
    .string({ unit: fc.constantFrom(...'a"\',;\t\r\n<>&/:0.é😀{}-'), maxLength: 200 })
    .map((text) => Buffer.from(text));
  const anything = fc.oneof(
    soup,
    fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array)),
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...starts), anything, async (start, rest) => {
      try {
        const { end } = await readWhole(Buffer.concat([start, rest]));
        if (end.kind === 'ok') return;
        expect(end.faultCount).toBeGreaterThan(0);
        for (const fault of end.faults) expect(fault.message).toMatch(/^[^\p{Cc}]+$/u);
      } catch (error) {
        expect(error).toBeInstanceOf(OperatorError);
      }
    }),
    { numRuns: 600 },
  );
});

test('the order of the columns changes nothing', async () => {
  const cases = [
    ['stripe-balance.csv', ','],
    ['adyen-settlement.csv', ','],
  ] as const;
  for (const [name, delimiter] of cases) {
    const whole = await readWhole(fixtureBytes(name));
    const rows = fixtureBytes(name).toString('utf8').trimEnd().split('\n');
    // Rows of several lines cannot be cut at their commas.
    const plain = rows.filter((one) => !one.includes('"') && !/^wrapped/.test(one));
    const width = plain[0]!.split(delimiter).length;
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray([...Array(width).keys()], { minLength: width }), async (order) => {
        const moved = plain.map((one) =>
          order.map((index) => one.split(delimiter)[index] ?? '').join(delimiter),
        );
        const { lines } = await readWhole(moved.join('\n'));
        const known = new Map(whole.lines.map((line) => [line.lineKey, line.netMinor]));
        expect(lines.length).toBeGreaterThan(10);
        for (const line of lines) expect(line.netMinor).toBe(known.get(line.lineKey));
      }),
      { numRuns: 30 },
    );
  }
});

test('a mapping reads what it maps, whatever else the file has', async () => {
  const mapping = fixtureMapping('acquirer.toml');
  const whole = await readWhole(fixtureBytes('acquirer.csv'), { mapping });
  expect(whole.end.kind).toBe('ok');
});
