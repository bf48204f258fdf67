import { describe, expect, test } from 'vitest';
import { parseSettlementMapping } from './parse-settlement-mapping.ts';

const GOOD = `
name = "acquirer"
[columns]
gross = "Value"
currency = "Ccy"
type = "Event"
key = ["Id"]
[types]
Sale = "charge"
"Money back" = { kind = "refund" }
`;

function faultsOf(text: string): readonly string[] {
  const reading = parseSettlementMapping(Buffer.from(text));
  return reading.kind === 'ok' ? [] : reading.faults.map(({ path, message }) => `${path}: ${message}`);
}

test('a good mapping has defaults that guess nothing', () => {
  const reading = parseSettlementMapping(Buffer.from(GOOD));
  expect(reading).toMatchObject({
    kind: 'ok',
    mapping: {
      decimalMark: null,
      sign: 'signed',
      unit: 'major',
      trailerRows: 0,
      delimiter: null,
      encoding: null,
    },
  });
});

describe('what is wrong is said with its path and what to write', () => {
  test.each([
    ['name = ', 'line 1, column'],
    ['', 'name: is missing'],
    ['name = "a"', 'columns'],
    [GOOD.replace('gross', 'groos'), 'columns.groos: is not known here'],
    [GOOD.replace('gross = "Value"\n', ''), 'columns: name the column gross, net or both'],
    [GOOD.replace('currency = "Ccy"\n', ''), 'columns.currency: is missing'],
    [GOOD.replace('"charge"', '"sale"'), 'types.Sale: must be a kind'],
    [GOOD.replace('type = "Event"\n', ''), 'columns.type: is missing'],
    [`${GOOD}\n[file]\ndecimal_mark = "x"`, 'file.decimal_mark: must be'],
    [`${GOOD}\n[file]\ntrailer_rows = 1000`, 'file.trailer_rows: '],
    [`${GOOD}\n[file]\ndelimiter = "--"`, 'file.delimiter: must be'],
    [`${GOOD}\n[dates]\nformat = "yyyy-QQ"`, 'dates.format: knows'],
    [`${GOOD}\n[dates]\nzone = "Mars"`, 'dates.zone: "Mars" is no zone'],
    [`${GOOD}\n[amounts]\nsign = "direction"`, 'columns.direction: is missing'],
    [`${GOOD}\n[amounts]\nsign = "type"`, 'types.Sale: needs a direction'],
    [`${GOOD}\n[amounts]\nsign = "debit_credit"`, 'columns: the sign rule "debit_credit" needs'],
    [`${GOOD}\n[amounts]\ncurrency = "EURO"`, 'amounts.currency: "EURO" is not an ISO 4217 currency'],
    [GOOD.replace('gross =', 'gross_debit = "D"\ngross ='), 'columns.gross_debit: is read only'],
    [
      GOOD.replace('gross =', 'original_amount = "O"\ngross ='),
      'columns: original_amount and original_currency go together',
    ],
  ])('%j', (text, expected) => {
    expect(faultsOf(text).join('\n')).toContain(expected);
  });

  test('bytes that are no text', () => {
    expect(parseSettlementMapping(Buffer.from([0xff, 0xfe, 0x41]))).toMatchObject({ kind: 'bad' });
  });
});
