import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { csvText } from './csv.ts';

test('nested amounts become columns, lists become JSON, nothing becomes an empty cell', () => {
  expect(
    csvText([{ id: 'pay_1', total: { amount: '1.00', currency: 'EUR' }, tags: ['a'], note: null }]),
  ).toBe('id,total_amount,total_currency,tags,note\r\npay_1,1.00,EUR,"[""a""]",\r\n');
});

test('rows may have different columns', () => {
  expect(csvText([{ a: '1' }, { b: '2' }])).toBe('a,b\r\n1,\r\n,2\r\n');
});

test('a name that a spreadsheet would run is kept as text; a negative amount is not one', () => {
  expect(
    csvText([
      { name: '=1+1', amount: '-12.50' },
      { name: '@x', amount: '-x' },
    ]),
  ).toBe("name,amount\r\n'=1+1,-12.50\r\n'@x,'-x\r\n");
});

test('any text can be read back', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary' }), { minLength: 1 }), (texts) => {
      const rows = parse(csvText(texts.map((text) => ({ text, end: 'x' }))), { columns: true }) as {
        text: string;
      }[];
      expect(rows.map((row) => row.text.replace(/^'(?=[=+@\t\r-])/, ''))).toEqual(texts);
    }),
  );
});
