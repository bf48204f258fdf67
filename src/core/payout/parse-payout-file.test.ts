import { describe, expect, test } from 'vitest';
import { MAX_PAYOUT_ROWS, parsePayoutFile } from './parse-payout-file.ts';

const HEADER = 'item_ref,seller,amount,currency,destination,memo\n';

async function faultsOf(text: string | Buffer): Promise<readonly (readonly unknown[])[]> {
  const file = await parsePayoutFile(Buffer.from(text));
  if (file.kind !== 'bad') throw new Error('the file is good');
  return file.faults.map(({ line, column, code }) => [line, column, code]);
}

describe('a payout file', () => {
  test('becomes payouts in its order, with totals per currency', async () => {
    const rows = 'p-1,Café Zoë,40.00,EUR,acct_1,"March, final"\np-2,海の店,1200,JPY,,\np-3,b,0.5,EUR,,\n';
    const file = await parsePayoutFile(Buffer.from(`\ufeff${HEADER}${rows}`));
    expect(file).toMatchObject({
      kind: 'ok',
      payouts: [
        { line: 2, itemRef: 'p-1', seller: 'Café Zoë', destination: 'acct_1', memo: 'March, final' },
        { line: 3, itemRef: 'p-2', money: { amountMinor: 1200n, currency: 'JPY' }, destination: null },
        { line: 4, itemRef: 'p-3', money: { amountMinor: 50n }, memo: null },
      ],
      totals: new Map([
        ['EUR', 4050n],
        ['JPY', 1200n],
      ]),
    });
  });

  test('may have its columns in any order, another delimiter, and no optional ones', async () => {
    const file = await parsePayoutFile(Buffer.from('currency;amount;seller;item_ref\r\nEUR;1.00;s;p-1\r\n'));
    expect(file).toMatchObject({ kind: 'ok', payouts: [{ itemRef: 'p-1', seller: 's', line: 2 }] });
  });

  test('is read the same whatever pieces it comes in', async () => {
    const whole = Buffer.from(`${HEADER}p-1,Zoë,1.00,EUR,,"two\nlines"\np-2,s,2.00,EUR,,\n`);
    const pieces = async function* () {
      for (const byte of whole) yield Buffer.from([byte]);
    };
    expect(await parsePayoutFile(pieces())).toEqual(await parsePayoutFile(whole));
  });

  test('with bad rows gives every fault with its line and column, and no payout', async () => {
    const rows = [
      'p-1,s,1.005,EUR,,',
      'p-2,a:b,0,EUR,,',
      ',s,1.00,EURO,,',
      'p-1,s,1.00,EUR,,',
      'p-5,s,1.00',
      'p-6,s,1.00,EUR, acct,x\u0007',
    ];
    expect(await faultsOf(`${HEADER}${rows.join('\n')}\np-7,s,1.00,EUR,,\np-7,s,1.00,EUR,,\n`)).toEqual([
      [2, 'amount', 'too_many_decimals'],
      [3, 'seller', 'not_a_seller_name'],
      [3, 'amount', 'zero'],
      [4, 'item_ref', 'empty'],
      [4, 'currency', 'unknown_currency'],
      [6, null, 'wrong_cell_count'],
      [7, 'destination', 'space_at_the_ends'],
      [7, 'memo', 'control_character'],
      [9, 'item_ref', 'duplicate_item_ref'],
    ]);
  });

  test('with a card number in any text is refused, and no message repeats it', async () => {
    const card = '4111 1111 1111 1111';
    const rows = [`${card},s,1.00,EUR,,`, `p-2,${card},1.00,EUR,,`, `p-3,s,1.00,EUR,${card},`];
    const more = [`p-4,s,1.00,EUR,,pay ${card} please`, `p-5,s,1.00,${card},,`, `p-6,s,${card},EUR,,`];
    const file = await parsePayoutFile(Buffer.from(`${HEADER}${[...rows, ...more].join('\n')}\n`));
    if (file.kind !== 'bad') throw new Error('the file is good');
    expect(file.faults.map((fault) => fault.column)).toEqual([
      'item_ref',
      'seller',
      'destination',
      'memo',
      'currency',
      'amount',
    ]);
    expect(JSON.stringify(file)).not.toContain('1111');
  });

  test.each([
    ['nothing', '', [[null, null, 'empty_file']]],
    ['blank lines', '\n\n', [[null, null, 'empty_file']]],
    ['only a header', HEADER, [[null, null, 'no_rows']]],
    [
      'other columns',
      'item_ref,seller,Amount,iban,seller\n',
      [
        [1, 'Amount', 'unknown_column'],
        [1, 'iban', 'unknown_column'],
        [1, 'seller', 'duplicate_column'],
        [1, 'amount', 'missing_column'],
        [1, 'currency', 'missing_column'],
      ],
    ],
    ['an open quote', `${HEADER}p-1,"s,1.00,EUR,,\n`, [[2, null, 'bad_quotes']]],
  ])('of %s is refused', async (_, text, faults) => {
    expect(await faultsOf(text)).toEqual(faults);
  });

  test('may be one JSON object per line, with the columns’ names as keys', async () => {
    const csv = `${HEADER}p-1,Café Zoë,40.00,EUR,acct_1,"March, final"\np-2,海の店,1200,JPY,,\n`;
    const ndjson = [
      '{"item_ref":"p-1","seller":"Café Zoë","amount":"40.00","currency":"EUR","destination":"acct_1","memo":"March, final"}',
      '',
      '{"currency":"JPY","amount":"1200","seller":"海の店","item_ref":"p-2"}',
    ];
    const one = await parsePayoutFile(Buffer.from(csv));
    const other = await parsePayoutFile(Buffer.from(`\ufeff${ndjson.join('\n')}`));
    if (one.kind === 'bad' || other.kind === 'bad') throw new Error('a file is bad');
    const unplaced = (file: typeof one) => file.payouts.map(({ line, ...payout }) => payout);
    expect(unplaced(other)).toEqual(unplaced(one));
    expect(other.payouts.map((payout) => payout.line)).toEqual([1, 3]);
  });

  test('of JSON with bad rows gives every fault with its line and key', async () => {
    const good = '{"item_ref":"p-1","seller":"s","amount":"1.00","currency":"EUR"}';
    const rows = [
      good,
      '{"item_ref":"p-2","seller":"s","amount":1.5,"currency":"EUR","iban":"x"}',
      '{"item_ref":"p-3","seller":"s","amount":"1.005","currency":"EUR"}',
      '{"item_ref":"p-4"',
      good,
      '[1]',
      '{"item_ref":"p-7","seller":"4111 1111 1111 1111","amount":"1.00","currency":"EUR"}',
    ];
    expect(await faultsOf(rows.join('\n'))).toEqual([
      [2, 'amount', 'wrong_type'],
      [2, 'iban', 'unknown_key'],
      [3, 'amount', 'too_many_decimals'],
      [4, null, 'not_json'],
      [5, 'item_ref', 'duplicate_item_ref'],
      [6, null, 'not_json'],
      [7, 'seller', expect.stringMatching(/card/)],
    ]);
    expect(await faultsOf(`[${good}]`)).toEqual([[1, null, 'json_array']]);
  });

  test('that is no text, or has too many rows, is refused', async () => {
    expect(await faultsOf(Buffer.from([0x50, 0x4b, 0x03, 0x04]))).toEqual([[null, null, 'not_text']]);
    const rows = Array.from({ length: MAX_PAYOUT_ROWS + 1 }, (_, i) => `p-${i},s,1.00,EUR,,\n`).join('');
    expect(await faultsOf(HEADER + rows)).toEqual([[MAX_PAYOUT_ROWS + 2, null, 'too_many_rows']]);
  });
});
