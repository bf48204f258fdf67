/** Damages the bytes of a file the way people, spreadsheets, transfers and attackers do. Seeded: the same seed damages alike. */
import { gzipSync } from 'node:zlib';
import type { Random } from './random.ts';

export type Mutated = {
  readonly bytes: Buffer;
  /** The same before packing: what the text is; null where the archive itself was damaged. */
  readonly text: Buffer | null;
  /** Names of what was done, for the report. */
  readonly done: readonly string[];
};

type Mutation = { readonly name: string; readonly apply: (bytes: Buffer, random: Random) => Buffer };

const text = (bytes: Buffer): string => bytes.toString('latin1');
const bytesOf = (value: string): Buffer => Buffer.from(value, 'latin1');
const linesOf = (bytes: Buffer): string[] => text(bytes).split('\n');
const indexIn = (items: { readonly length: number }, random: Random) =>
  random.between(0, Math.max(0, items.length - 1));

/** Characters that change what a number or a row means. */
const SPITEFUL = [
  ...'0123456789.,-+eE()$ ;"\'\t\r\n/:<>&\\|',
  '\u00a0',
  '\u00e9',
  '\u0000',
  '\u00ff',
  'E+0',
  '1e3',
  '--',
  ',,',
  '1,234',
  '1.234,5',
];

const MUTATIONS: readonly Mutation[] = [
  {
    name: 'flip a byte',
    apply: (bytes, random) => {
      const copy = Buffer.from(bytes);
      const at = indexIn(copy, random);
      copy[at] = (copy[at] ?? 0) ^ (1 << random.between(0, 7));
      return copy;
    },
  },
  {
    name: 'put something in',
    apply: (bytes, random) => {
      const at = indexIn(bytes, random);
      return Buffer.concat([bytes.subarray(0, at), bytesOf(random.pick(SPITEFUL)), bytes.subarray(at)]);
    },
  },
  {
    name: 'cut a piece out',
    apply: (bytes, random) => {
      const at = indexIn(bytes, random);
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random.between(1, 30))]);
    },
  },
  { name: 'cut the end off', apply: (bytes, random) => bytes.subarray(0, indexIn(bytes, random)) },
  {
    name: 'drop a line',
    apply: (bytes, random) => {
      const lines = linesOf(bytes);
      lines.splice(indexIn(lines, random), 1);
      return bytesOf(lines.join('\n'));
    },
  },
  {
    name: 'repeat a line',
    apply: (bytes, random) => {
      const lines = linesOf(bytes);
      const at = indexIn(lines, random);
      lines.splice(indexIn(lines, random), 0, lines[at] ?? '');
      return bytesOf(lines.join('\n'));
    },
  },
  {
    name: 'swap two lines',
    apply: (bytes, random) => {
      const lines = linesOf(bytes);
      const [left, right] = [indexIn(lines, random), indexIn(lines, random)];
      [lines[left], lines[right]] = [lines[right] ?? '', lines[left] ?? ''];
      return bytesOf(lines.join('\n'));
    },
  },
  {
    name: 'swap two cells of a line',
    apply: (bytes, random) => {
      const lines = linesOf(bytes);
      const at = indexIn(lines, random);
      lines[at] = swapped(lines[at] ?? '', random);
      return bytesOf(lines.join('\n'));
    },
  },
  {
    name: 'swap two columns',
    apply: (bytes, random) => {
      const lines = linesOf(bytes);
      const delimiter = random.pick([',', ';']);
      const width = (lines[0] ?? '').split(delimiter).length;
      const [left, right] = [random.between(0, width - 1), random.between(0, width - 1)];
      return bytesOf(lines.map((line) => swappedAt(line, delimiter, left, right)).join('\n'));
    },
  },
  {
    name: 'change a digit',
    apply: (bytes, random) => {
      const places = [...text(bytes).matchAll(/\d/g)].map((match) => match.index);
      if (places.length === 0) return bytes;
      const copy = Buffer.from(bytes);
      copy[random.pick(places)] = 0x30 + random.between(0, 9);
      return copy;
    },
  },
  {
    name: 'write a number in another way',
    apply: (bytes, random) => {
      const numbers = [...text(bytes).matchAll(/\d+[.,]?\d*/g)];
      if (numbers.length === 0) return bytes;
      const found = random.pick(numbers);
      const written = random.pick(WAYS)(found[0]);
      return bytesOf(
        text(bytes).slice(0, found.index) + written + text(bytes).slice(found.index + found[0].length),
      );
    },
  },
  {
    name: 'a huge field',
    apply: (bytes, random) => {
      const at = indexIn(bytes, random);
      const filling = random.pick(['9', 'x', '"', ' ', ',']).repeat(random.pick([300, 5_000, 70_000]));
      return Buffer.concat([bytes.subarray(0, at), bytesOf(filling), bytes.subarray(at)]);
    },
  },
  { name: 'CR instead of LF', apply: (bytes) => bytesOf(text(bytes).replace(/\r?\n/g, '\r')) },
  { name: 'CR LF', apply: (bytes) => bytesOf(text(bytes).replace(/\r?\n/g, '\r\n')) },
  {
    name: 'blank lines',
    apply: (bytes, random) => bytesOf(text(bytes).replace(/\n/g, () => '\n'.repeat(random.between(1, 3)))),
  },
  {
    name: 'a line before the header',
    apply: (bytes) => Buffer.concat([bytesOf('Report of today\n\n'), bytes]),
  },
  {
    name: 'UTF-16',
    apply: (bytes) =>
      Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(bytes.toString('utf8'), 'utf16le')]),
  },
  { name: 'a byte order mark', apply: (bytes) => Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), bytes]) },
  {
    name: 'Windows-1252 in it',
    apply: (bytes, random) => {
      const at = indexIn(bytes, random);
      return Buffer.concat([bytes.subarray(0, at), Buffer.from([0xe9, 0x80]), bytes.subarray(at)]);
    },
  },
];

/** Ways in which somebody may write the same digits, not all of them the same number. */
const WAYS: readonly ((number: string) => string)[] = [
  (number) => `-${number}`,
  (number) => `(${number})`,
  (number) => `$${number}`,
  (number) => `${number}-`,
  (number) => number.replace(/[.,]/, (mark) => (mark === '.' ? ',' : '.')),
  (number) => `${number}0`,
  (number) => `${number}1`,
  (number) => `0${number}`,
  (number) => `${number}e2`,
  (number) => `1.${number}`,
  (number) => `1,${number}`,
  (number) => `"${number}"`,
  () => '',
  () => '0',
  () => '1,234',
  () => '1.234.567,89',
  () => '\u0661\u0662',
  () => '1e400',
];

function swapped(line: string, random: Random): string {
  const delimiter = random.pick([',', ';']);
  const width = line.split(delimiter).length;
  return swappedAt(line, delimiter, random.between(0, width - 1), random.between(0, width - 1));
}

function swappedAt(line: string, delimiter: string, left: number, right: number): string {
  const cells = line.split(delimiter);
  if (left >= cells.length || right >= cells.length) return line;
  [cells[left], cells[right]] = [cells[right] ?? '', cells[left] ?? ''];
  return cells.join(delimiter);
}

/** One to four kinds of damage; sometimes packed, and then sometimes the archive is damaged too. */
export function mutate(original: Buffer, random: Random): Mutated {
  const done: string[] = [];
  let bytes = original;
  const count = random.between(1, 4);
  for (let turn = 0; turn < count; turn += 1) {
    const mutation = random.pick(MUTATIONS);
    bytes = mutation.apply(bytes, random);
    done.push(mutation.name);
  }
  if (!random.chance(0.1)) return { bytes, text: bytes, done };
  const packed = gzipSync(bytes);
  if (random.chance(0.5)) return { bytes: packed, text: bytes, done: [...done, 'gzip'] };
  if (random.chance(0.5)) {
    return {
      bytes: packed.subarray(0, random.between(3, packed.length - 1)),
      text: null,
      done: [...done, 'gzip cut off'],
    };
  }
  const copy = Buffer.from(packed);
  const at = random.between(2, copy.length - 1);
  copy[at] = (copy[at] ?? 0) ^ 0x10;
  return { bytes: copy, text: null, done: [...done, 'gzip damaged'] };
}
