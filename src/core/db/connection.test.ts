import { describe, expect, test } from 'vitest';
import { OperatorError, TransientError } from '../errors.ts';
import {
  asOperatorError,
  BOOK_NAME,
  errorCode,
  isConnectionError,
  isRetryableError,
  lines,
  list,
} from './connection.ts';

const connection = { host: 'db.example', port: 5432, database: 'shop', user: 'ana', password: 'hunter2' };

function coded(code: string): Error {
  return Object.assign(new Error('as the driver says it'), { code });
}

describe('a failed connection is told in words that say what to do', () => {
  test.each<[string, RegExp]>([
    ['ECONNREFUSED', /No database answers at db\.example:5432\/shop.*paygate db start/],
    ['ENOENT', /No database answers/],
    ['ENOTFOUND', /No database answers/],
    ['ECONNRESET', /was cut/],
    ['CONNECT_TIMEOUT', /No database answers/],
    ['CONNECTION_CLOSED', /was cut/],
    ['28P01', /refused user "ana".*password/],
    ['28000', /refused user "ana"/],
    ['3D000', /no database "shop"/],
    ['53300', /no free connections/],
    ['57P03', /starting up or shutting down/],
  ])('%s', (code, words) => {
    const error = asOperatorError(coded(code), { connection });
    expect(error).toBeInstanceOf(OperatorError);
    expect(error).toMatchObject({ code: 'database_unreachable', kind: 'failed' });
    expect((error as Error).message).toMatch(words);
  });

  test('and never with the password', () => {
    for (const code of ['ECONNREFUSED', '28P01', '3D000', '53300', '57P03']) {
      const error = asOperatorError(coded(code), { connection }) as OperatorError;
      expect(`${error.message} ${JSON.stringify(error.details)}`).not.toContain('hunter2');
    }
  });

  test('what is no failure of a connection passes unchanged', () => {
    for (const error of [coded('23505'), new TypeError('x'), null, 'text']) {
      expect(asOperatorError(error, { connection })).toBe(error);
    }
  });
});

describe('error codes', () => {
  test('are read from whatever was thrown', () => {
    expect([coded('23505'), { code: 5 }, {}, null, undefined, 'text'].map(errorCode)).toEqual([
      '23505',
      null,
      null,
      null,
      null,
      null,
    ]);
  });

  test.each(['08006', '08P01', '57P01', '57P02', '53300', 'CONNECTION_CLOSED', 'ECONNRESET', 'EPIPE'])(
    '%s is the trouble of the connection, not of the statement',
    (code) => {
      expect(isConnectionError(coded(code))).toBe(true);
    },
  );

  test.each(['23505', '22003', 'PG003', '53100', '40001', '42501', '57014'])(
    '%s is not the trouble of the connection',
    (code) => {
      expect(isConnectionError(coded(code))).toBe(false);
    },
  );

  test('a second try cures a deadlock, a serialisation failure and a lock that was not free, and no more', () => {
    for (const code of ['40001', '40P01', '55P03']) expect(isRetryableError(coded(code))).toBe(true);
    for (const code of ['23505', 'PG003', '57P01']) expect(isRetryableError(coded(code))).toBe(false);
    expect(isRetryableError(new TransientError('busy', 'busy'))).toBe(true);
  });
});

describe('array literals', () => {
  test.each<[string, Parameters<typeof list>[0], string]>([
    ['nothing', [], '{}'],
    ['numbers', [1, -2, 3n], '{1,-2,3}'],
    ['beyond 2^53, exactly', [9_223_372_036_854_775_807n], '{9223372036854775807}'],
    ['booleans', [true, false], '{true,false}'],
    ['null is NULL', [null], '{NULL}'],
    ['the text NULL is a text', ['NULL'], '{"NULL"}'],
    ['the empty text is a text', [''], '{""}'],
    ['quotes and backslashes are escaped', ['a"b', 'c\\d'], '{"a\\"b","c\\\\d"}'],
    ['braces and commas are in quotes', ['{1,2}'], '{"{1,2}"}'],
  ])('%s', (_, values, expected) => {
    expect(list(values)).toBe(expected);
  });

  test('JSON texts stand on a line each; one with a line feed would be taken for two', () => {
    expect(lines([])).toBe('');
    expect(lines(['{"a":"\\n"}', '{}'])).toBe('{"a":"\\n"}\n{}');
    expect(() => lines(['{\n}', '{}'])).toThrow('a line feed');
    expect(() => lines(['{}\n'])).toThrow('a line feed');
  });
});

test.each([
  ['paygate', true],
  ['_book_2', true],
  ['a'.repeat(40), true],
  ['a'.repeat(41), false],
  ['Paygate', false],
  ['2books', false],
  ['pay-gate', false],
  ['pay"gate', false],
  ['', false],
])('%j can name a book: %s', (name, may) => {
  expect(BOOK_NAME.test(name)).toBe(may);
});
