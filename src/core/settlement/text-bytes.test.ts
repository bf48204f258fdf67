import { expect, test } from 'vitest';
import { createTextBytes, type Encoding } from './text-bytes.ts';

function decode(bytes: Buffer, forced: Encoding | null = null, cutAt = bytes.length) {
  const text = createTextBytes(forced);
  const pieces = [text.write(bytes.subarray(0, cutAt)), text.write(bytes.subarray(cutAt)), text.end()];
  return { text: Buffer.concat(pieces).toString('utf8'), isDamaged: text.isDamaged() };
}

const WORDS = 'Müller, 12,50 €\r\nZoë';
const utf16be = (text: string) => Buffer.from(text, 'utf16le').swap16();

test.each([
  ['UTF-8', Buffer.from(WORDS)],
  ['UTF-8 with a mark', Buffer.from(`\ufeff${WORDS}`)],
  ['UTF-16 little endian with a mark', Buffer.from(`\ufeff${WORDS}`, 'utf16le')],
  ['UTF-16 big endian with a mark', utf16be(`\ufeff${WORDS}`)],
  ['UTF-16 little endian', Buffer.from(WORDS, 'utf16le')],
  ['UTF-16 big endian', utf16be(WORDS)],
  ['Windows-1252', Buffer.from('4dfc6c6c65722c2031322c353020800d0a5a6feb', 'hex')],
])('%s is recognised', (_, bytes) => {
  expect(decode(bytes)).toEqual({ text: WORDS, isDamaged: false });
});

test('ASCII until late does not decide too early', () => {
  const ascii = Buffer.from('a,b\n'.repeat(30_000));
  const cases: readonly (readonly [Buffer, string])[] = [
    [Buffer.from('é'), 'é'],
    [Buffer.from([0xe9]), 'é'],
  ];
  for (const [late, expected] of cases) {
    for (const cutAt of [ascii.length - 1, ascii.length, ascii.length + 1]) {
      const bytes = Buffer.concat([ascii, late, Buffer.from('\n')]);
      const read = decode(bytes, null, cutAt);
      expect(read.text.slice(ascii.length)).toBe(`${expected}\n`);
      expect(read.isDamaged).toBe(false);
    }
  }
});

test('a character cut by the end of a piece is whole', () => {
  const bytes = Buffer.from('a€😀é');
  for (let cutAt = 0; cutAt <= bytes.length; cutAt += 1) {
    expect(decode(bytes, null, cutAt)).toEqual({ text: 'a€😀é', isDamaged: false });
  }
});

test('bytes that are no text of the encoding are noticed', () => {
  expect(decode(Buffer.concat([Buffer.from('\ufeffé'), Buffer.from([0xe9, 0x2c])])).isDamaged).toBe(true);
  expect(decode(Buffer.from('a\0b')).isDamaged).toBe(true);
  expect(decode(Buffer.from('\ufeffé€').subarray(0, -1)).isDamaged).toBe(true);
  const sure = createTextBytes(null);
  sure.write(Buffer.from('é is UTF-8\n'));
  sure.write(Buffer.from([0x61, 0xe9, 0x0a]));
  expect(sure.isDamaged()).toBe(true);
});

test('a named encoding wins over guessing, and a mark over both', () => {
  expect(decode(Buffer.from('é'), 'windows-1252').text).toBe('Ã©');
  expect(decode(Buffer.from('\ufeffé'), 'windows-1252').text).toBe('é');
});
