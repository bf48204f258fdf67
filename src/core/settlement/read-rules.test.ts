/** The reading rules of CSV files, one by one. */
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { cutBytes, fixtureBytes, readWhole, type WholeReading } from '../../testing/settlement-reading.ts';
import { OperatorError } from '../errors.ts';
import { parseSettlementMapping } from './parse-settlement-mapping.ts';
import type { SettlementMapping } from './settlement-mapping.ts';

const HEADER = 'balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,source_id';
const stripeRow = (id: number, gross = '10.00', currency = 'eur') =>
  `txn_${id},2026-11-24 10:00:00,${currency},${gross},0.00,${gross},charge,ch_${id}`;
const stripe = (...rows: readonly string[]) => `${[HEADER, ...rows].join('\n')}\n`;

const faultsOf = ({ end }: WholeReading) =>
  end.kind === 'ok' ? [] : end.faults.map(({ line, column, code }) => `${line} ${column} ${code}`);
const rowsOf = ({ lines }: WholeReading) => lines.map((line) => line.row);

function mapping(text: string): SettlementMapping {
  const reading = parseSettlementMapping(Buffer.from(text));
  if (reading.kind === 'bad') throw new Error(JSON.stringify(reading.faults));
  return reading.mapping;
}
const SIMPLE = 'name = "simple"\n[columns]\ngross = "amount"\ncurrency = "ccy"\nkey = ["id"]\n';

async function refusal(input: Buffer | string, options = {}): Promise<string> {
  const error = await readWhole(input, options).catch((reason: unknown) => reason);
  return error instanceof OperatorError
    ? `${error.code}: ${error.message}`
    : `no OperatorError: ${String(error)}`;
}

describe('a file is recognised by its content', () => {
  test.each([
    ['', 'has no text in it'],
    ['\n\n  \n', 'has no text in it'],
    ['hello\n', 'is no settlement file that is known here'],
    ['id,amount\n1,2\n', 'is no settlement file that is known here'],
    ['<html><body/></html>', 'is XML and no bank statement'],
    ['<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.054.001.08"/>', 'is camt.054.001.08'],
    ['<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.09"/>', 'is camt.053.001.09'],
  ])('%j is not', async (text, reason) => {
    expect(await refusal(text)).toContain(`settlement_format_unknown: the file ${reason}`);
  });

  test.each([
    ['PK\u0003\u0004 whatever', 'a zip archive or a spreadsheet'],
    ['%PDF-1.7', 'a PDF document'],
  ])('%j is no text', async (text, reason) => {
    expect(await refusal(text)).toContain(`settlement_file_unusable: the file is ${reason}`);
  });

  test('a format that is named is believed, and a header that is not there is said', async () => {
    expect(await refusal('a,b\n1,2\n', { format: 'stripe_balance' })).toContain(
      'has no header of stripe_balance',
    );
    expect(await refusal('a,b\n1,2\n', { format: 'generic_csv' })).toContain('needs a mapping file');
    const forced = await readWhole(stripe(stripeRow(1)), { format: 'stripe_payout' });
    expect(forced.format).toBe('stripe_payout');
  });

  test('columns that are missing are all named, and no row is read', async () => {
    const whole = await readWhole(stripe(stripeRow(1)).replace('net,', 'nett,').replace('currency', 'curr'));
    expect(faultsOf(whole)).toEqual([
      'null null header_unusable',
      '1 currency column_missing',
      '1 net column_missing',
    ]);
    expect(whole.lines).toEqual([]);
  });

  test('a column that stands twice is refused', async () => {
    const whole = await readWhole(stripe(`${stripeRow(1)},12.00`).replace('source_id', 'source_id,Gross'));
    expect(faultsOf(whole)).toContain('1 gross column_twice');
  });

  test('a first line without an end is no header', async () => {
    const endless = `${HEADER},${'x'.repeat(200_000)}\n${stripeRow(1)}\n`;
    expect(await refusal(endless)).toContain('has a first line that does not end');
  });

  test('rows before the header are never taken for titles', async () => {
    expect(await refusal(`${stripeRow(1)}\n${stripe(stripeRow(2))}`)).toContain(
      'has rows before its header: line 1',
    );
  });
});

describe('lines, quotes and delimiters', () => {
  test.each([
    ['LF', '\n'],
    ['CR LF', '\r\n'],
    ['CR', '\r'],
  ])('%s ends lines', async (_, end) => {
    const whole = await readWhole(stripe(stripeRow(1), '', stripeRow(2)).replaceAll('\n', end));
    expect(rowsOf(whole)).toEqual([2, 4]);
    expect(faultsOf(whole)).toEqual([]);
  });

  test('all three kinds in one file', async () => {
    const whole = await readWhole(`${HEADER}\r\n${stripeRow(1)}\r${stripeRow(2)}\n${stripeRow(3)}`);
    expect(rowsOf(whole)).toEqual([2, 3, 4]);
  });

  test.each([',', ';', '\t', '|'])('%j separates', async (delimiter) => {
    const whole = await readWhole(stripe(stripeRow(1)).replaceAll(',', delimiter));
    expect(rowsOf(whole)).toEqual([2]);
  });

  test('a quoted cell may hold line ends, and the rows after it keep their numbers', async () => {
    const note = stripeRow(1).replace('ch_1', '"ch\r\n\n""1"""');
    const whole = await readWhole(stripe(note, stripeRow(2)));
    expect(whole.lines.map((line) => [line.row, line.reference])).toEqual([
      [2, 'ch\r\n\n"1"'],
      [5, 'ch_2'],
    ]);
  });

  test('after a broken quote nothing can be told apart, and that is said', async () => {
    const whole = await readWhole(stripe(stripeRow(1), stripeRow(2).replace('ch_2', 'c"h'), stripeRow(3)));
    expect(faultsOf(whole)).toEqual(['null null not_read_to_end', '3 null bad_quotes']);
    const open = await readWhole(stripe(stripeRow(1), stripeRow(2).replace('ch_2', '"ch'), stripeRow(3)));
    expect(faultsOf(open)).toEqual(['null null not_read_to_end', '3 null bad_quotes']);
  });

  test('cells that nobody reads may be missing at the end, and others not', async () => {
    const header = `${HEADER},description`;
    const rows = [
      `${stripeRow(1)},note`,
      stripeRow(2),
      stripeRow(3).replace(',ch_3', ''),
      `${stripeRow(4)},a,b`,
    ];
    const whole = await readWhole(`${[header, ...rows].join('\n')}\n`);
    expect(rowsOf(whole)).toEqual([2, 3]);
    expect(faultsOf(whole)).toEqual(['4 null wrong_cell_count', '5 null wrong_cell_count']);
  });

  test('rows with bytes that are no text are named, the others stay', async () => {
    const good = Buffer.from(stripe(stripeRow(1).replace('ch_1', 'ché'), stripeRow(2)));
    const whole = await readWhole(
      Buffer.concat([good, Buffer.from([0x74, 0]), Buffer.from(`${stripeRow(3)}\n`)]),
    );
    expect(rowsOf(whole)).toEqual([2, 3]);
    expect(faultsOf(whole)).toEqual(['4 null not_text']);
  });
});

describe('ends and line ends that tell of damage', () => {
  test('a last row without its end is not a short one', async () => {
    const header = `${HEADER},description`;
    const whole = await readWhole(`${header}\n${stripeRow(1)}\n${stripeRow(2)}`);
    expect(rowsOf(whole)).toEqual([2]);
    expect(faultsOf(whole)).toEqual(['3 null row_cut_off']);
  });
  test('a CR that comes late may have been the end of a row', async () => {
    const many = Array.from({ length: 2_000 }, (_, index) => stripeRow(index));
    const whole = await readWhole(`${stripe(...many)}${stripeRow(1)}x\rtxn_9\n${stripeRow(2)}\n`);
    expect(whole.lines).toHaveLength(2_001);
    expect(faultsOf(whole)).toEqual(['2002 null stray_line_end']);
  });
  test('UTF-16 that lost a byte is refused as a whole', async () => {
    const bytes = Buffer.from(`\ufeff${stripe(stripeRow(1), stripeRow(2), stripeRow(3))}`, 'utf16le');
    const lost = bytes.indexOf(Buffer.from('ch_1', 'utf16le')) + 5;
    const whole = await readWhole(Buffer.concat([bytes.subarray(0, lost), bytes.subarray(lost + 1)]));
    expect(whole.lines).toEqual([]);
    expect(faultsOf(whole)).toEqual(['null null text_shifted', '2 null not_text']);
  });
});

describe('the decimal mark is found and never guessed', () => {
  test('a PSP’s file with commas', async () => {
    const amounts = ['7', '12,50', '12.50'];
    const rows = amounts.map(
      (amount, id) => `txn_${id};2026-11-24 10:00:00;eur;${amount};0;${amount};charge;ch_1`,
    );
    const whole = await readWhole(`${[HEADER.replaceAll(',', ';'), ...rows].join('\n')}\n`);
    expect(whole.lines.map((line) => line.grossMinor)).toEqual([700n, 1250n]);
    expect(faultsOf(whole)).toEqual(['4 gross amount_unreadable', '4 net amount_unreadable']);
  });

  const generic = (...rows: readonly string[]) => `id;amount;ccy\n${rows.join('\n')}\n`;
  test.each([
    [
      ['a;1,234;EUR', 'b;7;EUR', 'c;0,50;EUR'],
      [1234n, 7000n, 500n].map((minor) => minor / 10n),
      ['2 amount amount_too_precise'],
    ],
    [['a;1,234;EUR', 'b;7;EUR', 'c;0.50;EUR'], [123400n, 700n, 50n], []],
    [['a;1,234;KWD', 'c;0.500;KWD'], [1234000n, 500n], []],
    [['a;1,234;EUR', 'b;7;EUR'], [700n], ['2 null amount_ambiguous']],
    [['a;7;EUR', 'b;8;EUR'], [700n, 800n], []],
    [['a;1.50;EUR', 'b;1,50;EUR'], [150n], ['3 amount amount_unreadable']],
  ])('%j', async (rows, minors, faults) => {
    const whole = await readWhole(generic(...rows), { mapping: mapping(SIMPLE) });
    expect(faultsOf(whole)).toEqual(faults);
    const expected = faults.includes('2 amount amount_too_precise') ? [700n, 50n] : minors;
    expect(whole.lines.map((line) => line.grossMinor)).toEqual(expected);
  });

  test('a mark that the mapping names is not asked for', async () => {
    const named = mapping(`${SIMPLE}[file]\ndecimal_mark = "."\n`);
    const whole = await readWhole(generic('a;1,234;EUR'), { mapping: named });
    expect(whole.lines.map((line) => line.grossMinor)).toEqual([123400n]);
  });

  test('a file that never tells is given up before it fills the memory', async () => {
    const rows = Array.from({ length: 12_000 }, (_, index) => `${index};1,234;EUR`);
    const whole = await readWhole(generic(...rows), { mapping: mapping(SIMPLE) });
    expect(whole.end).toMatchObject({ kind: 'bad', faultCount: 10_001 });
    expect(faultsOf(whole)[0]).toBe('null null decimal_mark_unclear');
  });
});

describe('totals at the end', () => {
  test('one that fits is no line', async () => {
    const whole = await readWhole(stripe(stripeRow(1), stripeRow(2), 'Total,,,20.00,0.00,20.00,,'));
    expect(rowsOf(whole)).toEqual([2, 3]);
    expect(faultsOf(whole)).toEqual([]);
  });
  test.each([
    ['one that differs', 'Total,,,20.01,0.00,20.00,,', ['4 gross total_differs']],
    ['one of another currency', 'Total,,usd,20.00,0.00,20.00,,', ['4 null total_unclear']],
  ])('%s', async (_, total, faults) => {
    expect(faultsOf(await readWhole(stripe(stripeRow(1), stripeRow(2), total)))).toEqual(faults);
  });
  test('one for several currencies cannot be checked', async () => {
    const whole = await readWhole(
      stripe(stripeRow(1), stripeRow(2, '10.00', 'usd'), 'Total,,,20.00,0.00,20.00,,'),
    );
    expect(faultsOf(whole)).toEqual(['4 null total_unclear']);
  });
  test('rows at the end that the mapping calls trailers are no lines', async () => {
    const trailing = mapping(`${SIMPLE}[file]\ntrailer_rows = 2\n`);
    const whole = await readWhole('id,amount,ccy\na,1.00,EUR\nb,2.00,EUR\nend,of,file\n,,x\n', {
      mapping: trailing,
    });
    expect(rowsOf(whole)).toEqual([2, 3]);
    expect(faultsOf(whole)).toEqual([]);
  });
});

describe('sign rules of mappings', () => {
  const read = async (extra: string, text: string) => {
    const whole = await readWhole(text, { mapping: mapping(`name = "m"\n${extra}`) });
    return { minors: whole.lines.map((line) => [line.kind, line.grossMinor]), faults: faultsOf(whole) };
  };
  test('a type tells the direction, and an unknown one nothing', async () => {
    const toml =
      '[columns]\ngross = "a"\ntype = "t"\nkey = ["i"]\n[amounts]\nsign = "type"\ncurrency = "USD"\n[types]\nSale = { kind = "charge", direction = "in" }\nBack = { kind = "refund", direction = "out" }\n';
    expect(await read(toml, 'i,t,a\n1,Sale,5.00\n2,Back,5.00\n3,Odd,5.00\n4,Back,-5.00\n')).toEqual({
      minors: [
        ['charge', 500n],
        ['refund', -500n],
      ],
      faults: ['4 t direction_unknown', '5 a sign_unexpected'],
    });
  });
  test('a column tells the direction by its words', async () => {
    const toml =
      '[columns]\ngross = "a"\ndirection = "d"\nkey = ["i"]\n[amounts]\nsign = "direction"\ncurrency = "USD"\ndebit_words = ["af"]\ncredit_words = ["bij"]\n';
    expect(await read(toml, 'i,d,a\n1,Bij,5.00\n2,Af,5.00\n3,D,5.00\n')).toEqual({
      minors: [
        ['deposit', 500n],
        ['top_up', -500n],
      ],
      faults: ['4 d direction_unknown'],
    });
  });
  test('a pair has one side', async () => {
    const toml =
      '[columns]\nnet_debit = "d"\nnet_credit = "c"\nkey = ["i"]\n[amounts]\nsign = "debit_credit"\ncurrency = "USD"\n';
    expect(await read(toml, 'i,d,c\n1,5.00,\n2,,5.00\n3,0.00,5.00\n4,1.00,5.00\n5,,\n6,,-1.00\n')).toEqual({
      minors: [
        ['top_up', -500n],
        ['deposit', 500n],
        ['deposit', 500n],
      ],
      faults: ['5 c sign_unexpected', '6 c amount_missing', '7 c sign_unexpected'],
    });
  });
  test('minor units are whole numbers', async () => {
    const toml = '[columns]\ngross = "a"\nkey = ["i"]\n[amounts]\nunit = "minor"\ncurrency = "USD"\n';
    expect(await read(toml, 'i,a\n1,500\n2,5.00\n')).toEqual({
      minors: [['deposit', 500n]],
      faults: ['3 a amount_unreadable'],
    });
  });
});

describe('names of rows', () => {
  test('without key columns equal rows share a hash, and others do not', async () => {
    const keyless = mapping(SIMPLE.replace('key = ["id"]\n', ''));
    const whole = await readWhole('id,amount,ccy\na,1.00,EUR\na,1.00,EUR\na,1.01,EUR\n', {
      mapping: keyless,
    });
    const keys = whole.lines.map((line) => line.lineKey);
    expect(keys[0]).toBe(keys[1]);
    expect(keys[0]).not.toBe(keys[2]);
    expect(keys[0]).toMatch(/^sha256:[0-9a-f]{64}$/);
  });
  test('a name that is too long for a name is a fault', async () => {
    const whole = await readWhole(stripe(stripeRow(1).replace('txn_1', `txn_${'1'.repeat(400)}`)));
    expect(faultsOf(whole)).toEqual(['2 null text_too_long']);
  });
});

describe('Stripe’s times', () => {
  const LOCAL = stripe(stripeRow(1)).replace('created_utc', 'created');
  test('plain ones have a zone only where somebody names it', async () => {
    expect((await readWhole(LOCAL)).lines[0]?.occurredAt).toBeNull();
    const whole = await readWhole(LOCAL, { timeZone: 'Europe/Berlin' });
    expect(whole.lines[0]?.occurredAt).toBe('2026-11-24T09:00:00.000Z');
  });
});

describe('archives', () => {
  const packed = gzipSync(
    Buffer.from(stripe(...Array.from({ length: 3_000 }, (_, index) => stripeRow(index)))),
  );
  test('are unpacked on the way, and hashed as they are', async () => {
    const whole = await readWhole(cutBytes(packed, [1_000]));
    expect(whole.lines).toHaveLength(3_000);
    expect(whole.end).toMatchObject({ kind: 'ok', summary: { byteCount: packed.length } });
  });
  test('that are cut off or damaged are refused', async () => {
    const big = gzipSync(
      Buffer.from(stripe(...Array.from({ length: 30_000 }, (_, index) => stripeRow(index * 7919)))),
    );
    expect(faultsOf(await readWhole(big.subarray(0, big.length - 5)))).toEqual(['null null archive_damaged']);
    expect(await refusal(packed.subarray(0, 100))).toContain('settlement_file_unusable');
    expect(await refusal(Buffer.from([0x1f, 0x8b, 0, 0, 1, 2, 3]))).toContain('settlement_file_unusable');
  });
  test('that unpack without end are refused', async () => {
    const row = stripeRow(1).replace('ch_1', 'x'.repeat(900));
    const bomb = gzipSync(Buffer.from(`${HEADER}\n${`${row}\n`.repeat(20_000)}`));
    expect(faultsOf(await readWhole(bomb))).toEqual(['null null archive_too_large']);
    const limited = await readWhole(packed, { maxExpandedBytes: 100_000 });
    expect(faultsOf(limited)).toEqual(['null null archive_too_large']);
  });
});

test('a reading that is given up closes its input', async () => {
  let isClosed = false;
  async function* input() {
    try {
      yield Buffer.from(`${stripe(...Array.from({ length: 30_000 }, (_, index) => stripeRow(index)))}`);
      yield Buffer.from('more');
    } finally {
      isClosed = true;
    }
  }
  const { openSettlementFile } = await import('./read-settlement.ts');
  const reading = await openSettlementFile(input(), { format: null, mapping: null, timeZone: null });
  for await (const block of reading.blocks) {
    expect(block.lines.length).toBeGreaterThan(0);
    break;
  }
  await expect(reading.end).rejects.toThrow('given up');
  expect(isClosed).toBe(true);
});

test('an input that breaks is nobody’s fault in the file', async () => {
  async function* input() {
    yield Buffer.from(stripe(...Array.from({ length: 3_000 }, (_, index) => stripeRow(index))));
    throw new Error('the disk is gone');
  }
  await expect(readWhole(input())).rejects.toThrow('the disk is gone');
});

test.each([
  ['88160E1234567890', []],
  ['9E+15', ['2 Psp Reference reference_destroyed']],
  ['9.1e15', ['2 Psp Reference reference_destroyed']],
])('an Adyen reference %s has the faults %j', async (reference, faults) => {
  const [header, first] = fixtureBytes('adyen-settlement.csv').toString().split('\n');
  const at = header!.split(',').indexOf('Psp Reference');
  const cells = first!.split(',').map((cell, i) => (i === at ? reference : cell));
  const reading = await readWhole(Buffer.from(`${header}\n${cells.join(',')}\n`));
  expect(faultsOf(reading).filter((fault) => fault.includes('Psp Reference'))).toEqual(faults);
  expect(reading.lines.map((line) => line.paymentReference)).toEqual(faults.length === 0 ? [reference] : []);
});

test('a bank entry of which a part is bad is left out as a whole', async () => {
  const good = fixtureBytes('camt053-v2.xml').toString();
  const whole = (await readWhole(Buffer.from(good))).lines.filter(({ row }) => row === 18);
  expect(whole).toHaveLength(2);
  const bad = good.replace('<EndToEndId>tu_2</EndToEndId>', `<EndToEndId>${'9'.repeat(5_000)}</EndToEndId>`);
  const reading = await readWhole(Buffer.from(bad));
  expect(faultsOf(reading)).toEqual(['18 null text_too_long']);
  expect(rowsOf(reading)).not.toContain(18);
});

test('a fixture of every kind is known without being named', async () => {
  const formats = await Promise.all(
    [
      'stripe-balance.csv',
      'adyen-settlement.csv',
      'paypal-settlement.csv',
      'camt053-v8.xml',
      'mt940.sta',
      'bai2.txt',
    ].map(async (name) => (await readWhole(fixtureBytes(name))).format),
  );
  expect(formats).toEqual([
    'stripe_balance',
    'adyen_settlement',
    'paypal_settlement',
    'camt053',
    'mt940',
    'bai2',
  ]);
});
