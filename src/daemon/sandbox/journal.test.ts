import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Journal, openJournal } from './journal.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sandbox-journal-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function open(path: string): { journal: Journal; lines: unknown[] } {
  const lines: unknown[] = [];
  const journal = openJournal(
    path,
    'page_cache',
    (line) => lines.push(line),
    (cause) => {
      throw cause;
    },
  );
  return { journal, lines };
}

function written(journal: Journal): Promise<void> {
  return new Promise((resolve) => journal.whenWritten(resolve));
}

describe('the journal', () => {
  test.each(['page_cache', 'fsync'] as const)(
    '%s: whoever waits is told after the write',
    async (durability) => {
      const path = join(folder, durability);
      const journal = openJournal(
        path,
        durability,
        () => undefined,
        () => undefined,
      );
      journal.append('{"n":1}');
      expect(readFileSync(path, 'utf8')).toBe('');
      await written(journal);
      expect(readFileSync(path, 'utf8')).toBe('{"n":1}\n');
      journal.append('{"n":2}');
      journal.append('{"n":3}');
      await Promise.all([written(journal), written(journal)]);
      journal.close();
      expect(open(path).lines).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
    },
  );

  test('a torn last line is cut and writing goes on behind the good ones', async () => {
    const path = join(folder, 'torn');
    writeFileSync(path, '{"n":1}\n{"n":2}\n{"n":3');
    const { journal, lines } = open(path);
    expect(lines).toEqual([{ n: 1 }, { n: 2 }]);
    journal.append('{"n":4}');
    await written(journal);
    journal.close();
    expect(readFileSync(path, 'utf8')).toBe('{"n":1}\n{"n":2}\n{"n":4}\n');
  });

  test('a last line of zeros counts as torn', () => {
    const path = join(folder, 'zeros');
    writeFileSync(path, `{"n":1}\n${'\0'.repeat(20)}\n`);
    const { journal, lines } = open(path);
    expect(lines).toEqual([{ n: 1 }]);
    expect(journal.bytes).toBe(8);
    journal.close();
  });

  test('damage before the last line is refused, and says where', () => {
    const path = join(folder, 'damaged');
    writeFileSync(path, '{"n":1}\n{"n"\n{"n":3}\n');
    expect(() => open(path)).toThrow(/Line 2/);
    expect(readFileSync(path, 'utf8')).toContain('{"n":3}');
  });

  test('lines that cross the pieces of reading stay whole', () => {
    const path = join(folder, 'long');
    const text = 'ü'.repeat(1_500_000);
    for (let n = 0; n < 4; n++) appendFileSync(path, `${JSON.stringify({ n, text })}\n`);
    const { journal, lines } = open(path);
    journal.close();
    expect(lines).toHaveLength(4);
    expect(lines[3]).toEqual({ n: 3, text });
  });

  test('a path that cannot be opened is an error a person can act on', () => {
    expect(() => open(join(folder, 'no', 'such', 'folder'))).toThrow(/cannot be opened/);
  });
});
