import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalText, type FormMap, type FormValue, parseForm } from './form.ts';

/** A nested object as a caller would hand it to an SDK; arrays are objects with the keys 0, 1, … */
type Nested = string | { [name: string]: Nested };

const name = fc
  .string({ minLength: 1, maxLength: 8, unit: 'grapheme' })
  .filter((text) => !/[[\]]/.test(text) && text.isWellFormed());
const text = fc.string({ maxLength: 12, unit: 'grapheme' }).filter((value) => value.isWellFormed());
const { nested } = fc.letrec<{ nested: Nested; object: { [name: string]: Nested } }>((tie) => ({
  nested: fc.oneof({ depthSize: 'small', maxDepth: 3 }, text, tie('object')),
  object: fc.dictionary(name, tie('nested'), { minKeys: 1, maxKeys: 4, noNullPrototype: false }),
}));
const form = fc.dictionary(name, nested, { maxKeys: 6 });

describe('form text', () => {
  test('printing and parsing give the same values back', () => {
    fc.assert(
      fc.property(form, (value) => {
        const parsed = parseForm(print(pairsOf(value)));
        expect(parsed.kind).toBe('form');
        if (parsed.kind === 'form') expect(plain(parsed.root)).toEqual(nullProto(value));
      }),
    );
  });

  test('the order of the pairs does not change the canonical text, a changed value does', () => {
    fc.assert(
      fc.property(form, fc.integer(), (value, salt) => {
        const pairs = pairsOf(value);
        const shuffled = [...pairs].sort((a, b) => ((a[0].length + salt) % 3) - ((b[0].length + salt) % 3));
        expect(canonical(print(shuffled))).toBe(canonical(print(pairs)));
        const more = [...pairs, ['another name', 'x'] as const];
        expect(canonical(print(more))).not.toBe(canonical(print(pairs)));
      }),
    );
  });

  test('no text makes the parser throw', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (a, b) => {
        expect(['form', 'malformed']).toContain(parseForm(`${a}&${b}=${a}[${b}]`).kind);
      }),
    );
  });
});

describe('form shapes', () => {
  test.each([
    ['', {}],
    ['a=1', { a: '1' }],
    ['a', { a: '' }],
    ['a=1&a=2', { a: '2' }],
    ['a[b][c]=1&a[d]=2', { a: { b: { c: '1' }, d: '2' } }],
    ['expand[]=x&expand[]=y', { expand: { 0: 'x', 1: 'y' } }],
    ['expand%5B0%5D=x+y%20z', { expand: { 0: 'x y z' } }],
    ['a[b=1', { 'a[b': '1' }],
    ['a]b=1', { 'a]b': '1' }],
    ['__proto__[x]=1', { ['__proto__']: { x: '1' } }],
  ])('%s', (input, expected) => {
    const parsed = parseForm(input);
    if (parsed.kind !== 'form') throw new Error(parsed.message);
    expect(plain(parsed.root)).toEqual(nullProto(expected as unknown as Nested));
  });

  test.each(['a=%zz', 'a=1&a[b]=2', 'a[b]=2&a=1', `${'a[x]'.repeat(1)}${'[x]'.repeat(9)}=1`])(
    'refuses %s',
    (input) => {
      expect(parseForm(input).kind).toBe('malformed');
    },
  );
});

function pairsOf(value: { [name: string]: Nested }): (readonly [string, string])[] {
  const walk = (path: string, inner: Nested): (readonly [string, string])[] =>
    typeof inner === 'string'
      ? [[path, inner]]
      : Object.entries(inner).flatMap(([key, deeper]) => walk(`${path}[${key}]`, deeper));
  return Object.entries(value).flatMap(([key, inner]) => walk(key, inner));
}

function print(pairs: readonly (readonly [string, string])[]): string {
  return pairs
    .map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value).replaceAll('%20', '+')}`)
    .join('&');
}

function canonical(input: string): string {
  const parsed = parseForm(input);
  if (parsed.kind !== 'form') throw new Error(parsed.message);
  return canonicalText(parsed);
}

/** Null prototypes on both sides, so that `__proto__` is compared like any other name. */
function plain(value: FormValue): unknown {
  if (typeof value === 'string') return value;
  return build([...(value as FormMap)].map(([key, inner]) => [key, plain(inner)]));
}

function nullProto(value: Nested): unknown {
  if (typeof value === 'string') return value;
  return build(Object.entries(value).map(([key, inner]) => [key, nullProto(inner)]));
}

function build(entries: [string, unknown][]): unknown {
  const object: object = Object.create(null);
  for (const [key, value] of entries)
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true });
  return object;
}
