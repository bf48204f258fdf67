import { readdirSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import {
  cutBytes,
  fixtureBytes,
  fixtureMapping,
  readWhole,
  SETTLEMENT_FIXTURES,
  type WholeReading,
} from '../../testing/settlement-reading.ts';

const GOLDEN = '../../../fixtures/settlement/golden';
const FILES = readdirSync(SETTLEMENT_FIXTURES, { withFileTypes: true })
  .filter((file) => file.isFile() && !file.name.endsWith('.toml'))
  .map((file) => file.name)
  .sort();

/** One line of JSON for each line, total and fault: what a reviewer compares with the fixture. */
function goldenText({ format, lines, end }: WholeReading): string {
  const text = (value: unknown) =>
    JSON.stringify(value, (_, part) =>
      typeof part === 'bigint' ? String(part) : part instanceof Map ? Object.fromEntries(part) : part,
    );
  const last =
    end.kind === 'ok' ? [{ ...end.summary, totals: undefined }, ...end.summary.totals] : end.faults;
  return `${[format, ...[...lines, { end: end.kind }, ...last].map(text)].join('\n')}\n`;
}

function mappingOf(name: string) {
  const toml = name.replace(/\.[a-z]+$/, '.toml');
  const hasMapping = readdirSync(SETTLEMENT_FIXTURES).includes(toml);
  return hasMapping ? { mapping: fixtureMapping(toml) } : {};
}

describe('every fixture reads as its golden file says', () => {
  test.each(FILES)('%s', async (name) => {
    const whole = await readWhole(fixtureBytes(name), mappingOf(name));
    await expect(goldenText(whole)).toMatchFileSnapshot(`${GOLDEN}/${name}.txt`);
  });
});

describe('how a file comes changes nothing', () => {
  test.each(FILES)('%s in single bytes, in odd pieces and packed', async (name) => {
    const options = mappingOf(name);
    const bytes = fixtureBytes(name);
    const whole = await readWhole(bytes, options);
    for (const sizes of [[1], [7, 1, 64], [3]]) {
      expect(await readWhole(cutBytes(bytes, sizes), options), `pieces of ${sizes}`).toEqual(whole);
    }
    const packed = await readWhole(cutBytes(gzipSync(bytes), [5, 11]), options);
    expect(packed.lines).toEqual(whole.lines);
    expect(packed.end.kind).toBe(whole.end.kind);
  });
});
