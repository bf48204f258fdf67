/** `payouts approve --wait`: what an operator's script sees of a batch that is paid, not paid, or in doubt. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { claimTasks } from '../core/operation/execute-operations.ts';
import type { EnquiryReply } from '../core/psp/psp.ts';
import { createTestHost } from '../testing/cli-host.ts';
import {
  makeDue,
  openTestBook,
  REPLY,
  record,
  scriptedConnector,
  startTestDaemon,
  type TestBook,
  uniqueName,
  until,
} from '../testing/fixtures.ts';
import { fundedSeller } from '../testing/payout-fixtures.ts';
import { execute } from './main.ts';

let book: TestBook;
let folder = '';
let env: Readonly<Record<string, string>> = {};
beforeAll(async () => {
  book = await openTestBook();
  folder = mkdtempSync(join(tmpdir(), 'paygate-wait-'));
  writeFileSync(join(folder, 'paygate.toml'), '[psp.main]\npsp = "stripe"\n\n[payouts]\nrepeat_days = 0\n');
  const { user, database, host, port } = book.database.appConnection;
  env = {
    PAYGATE_DATABASE_URL: `postgres://${user}@/${database}?host=${String(host)}&port=${String(port)}`,
  };
});
afterAll(async () => {
  await book.close();
  rmSync(folder, { recursive: true, force: true });
});

async function json(args: readonly string[]) {
  const { host, out, err } = createTestHost({ cwd: folder, env });
  const code = await execute([...args, '-o', 'json'], host);
  return { code, out: out() === '' ? null : JSON.parse(out()), err: err() };
}

/** Drafts of 10.00 each; the batch's name. */
async function drafts(count: number): Promise<string> {
  const seller = await fundedSeller(book.db, 'main', `${count * 10}.00`);
  const rows = Array.from({ length: count }, () =>
    JSON.stringify({ item_ref: uniqueName('item'), seller, amount: '10.00', currency: 'EUR' }),
  );
  writeFileSync(join(folder, 'batch.ndjson'), `${rows.join('\n')}\n`);
  const { code, out } = await json(['payouts', 'submit', 'batch.ndjson', '-q']);
  expect({ code, accepted: out.accepted }).toEqual({ code: 0, accepted: count });
  return out.batch_id;
}

/** A daemon that gives these answers, one to each payout, while `work` runs; those in doubt are asked for in vain. */
async function answering<T>(replies: readonly EnquiryReply[], work: () => Promise<T>): Promise<T> {
  const daemon = await startTestDaemon(book.db);
  const left = [...replies];
  let isOver = false;
  const looping = until(async () => {
    for (const task of await claimTasks(daemon.context, 'main/batch', 10, scriptedConnector([])))
      await record(daemon, task, task.job.sends > 1 ? REPLY.not_found : (left.shift() ?? null));
    await makeDue(book.owner, 'main');
    return isOver;
  });
  try {
    return await work();
  } finally {
    isOver = true;
    await looping;
  }
}

async function approve(count: number, replies: readonly EnquiryReply[], ...more: string[]) {
  const batch = await drafts(count);
  const args = ['payouts', 'approve', batch, '--wait', '--confirm', `${count * 10}.00EUR`, ...more];
  return { batch, ...(await answering(replies, () => json(args))) };
}

const ARRIVED = { ...REPLY.succeeded, arrived: true } as const;

describe('waiting for a batch', () => {
  test('that is paid ends with 0, whether or not the PSP tells that it arrived', async () => {
    const done = await approve(2, [ARRIVED, REPLY.succeeded]);
    expect(done).toMatchObject({
      code: 0,
      out: {
        state: 'approved',
        statuses: [
          { status: 'accepted', items: 1 },
          { status: 'paid', items: 1 },
        ],
      },
    });
    // Again, it only looks.
    const again = await json(['payouts', 'approve', done.batch, '--wait']);
    expect(again).toMatchObject({ code: 0, out: { statuses: [{}, {}] } });
  });

  test('of which one is not paid ends with 1', async () => {
    expect(await approve(2, [REPLY.declined, ARRIVED])).toMatchObject({
      code: 1,
      out: { statuses: [{ status: 'paid' }, { status: 'failed' }] },
    });
  });

  test('of which one is in doubt and with a person ends with 4', async () => {
    const { code, out } = await approve(2, [REPLY.unknown, REPLY.declined]);
    expect({ code, out }).toMatchObject({
      code: 4,
      out: { statuses: [{ status: 'sent' }, { status: 'failed' }] },
    });
  });

  test('that nobody works on ends with 4 when time is up', async () => {
    const batch = await drafts(2);
    const { code, out } = await json([
      'payouts',
      'approve',
      batch,
      '--wait',
      '--wait-timeout',
      '1',
      '--confirm',
      '20.00EUR',
    ]);
    expect({ code, out }).toMatchObject({ code: 4, out: { statuses: [{ status: 'approved', items: 2 }] } });
  });
});
