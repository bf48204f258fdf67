import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { startSandbox } from './main.ts';

const CARD = 'confirm=true&payment_method=pm_card_visa&automatic_payment_methods[enabled]=true';
const BODY = `currency=usd&${CARD}&automatic_payment_methods[allow_redirects]=never`;
let folder = '';
let journalPath = '';
const children: ChildProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sandbox-restart-'));
  journalPath = join(folder, 'journal');
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

interface Answered {
  readonly status: number;
  readonly replayed: string | null;
  readonly body: string;
}

async function post(url: string, path: string, key: string, body: string): Promise<Answered> {
  const headers = {
    authorization: 'Bearer sk_test_x',
    'content-type': 'application/x-www-form-urlencoded',
    'idempotency-key': key,
  };
  const response = await fetch(`${url}${path}`, { method: 'POST', headers, body });
  return {
    status: response.status,
    replayed: response.headers.get('idempotent-replayed'),
    body: await response.text(),
  };
}

const pay = (url: string, key: string, more = 'amount=1000') =>
  post(url, '/v1/payment_intents', key, `${more}&${BODY}`);

async function admin<T>(url: string, method: string, path: string, body?: unknown): Promise<T> {
  const init = body === undefined ? { method } : { method, body: JSON.stringify(body) };
  return (await (await fetch(`${url}/_sandbox/${path}`, init)).json()) as T;
}

/** Runs `inside` against a sandbox in this process, closed afterwards; returns what `inside` returned. */
async function withSandbox<T>(inside: (url: string) => Promise<T>): Promise<T> {
  const sandbox = await startSandbox({ port: 0, journalPath, seed: 1 });
  try {
    return await inside(sandbox.url);
  } finally {
    await sandbox.close();
  }
}

/** A sandbox in a process of its own, to be killed. */
async function spawnSandbox(): Promise<{ child: ChildProcess; url: string }> {
  const main = new URL('./main.ts', import.meta.url).href;
  const script = `import { startSandbox } from ${JSON.stringify(main)};
    const sandbox = await startSandbox({ port: 0, journalPath: process.argv[1], seed: 1 });
    console.log(sandbox.url);`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script, journalPath], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const [url] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return { child, url };
}

describe('restart', () => {
  test('kill -9 in the middle of work: everything acknowledged is there, and is replayed', {
    timeout: 60_000,
  }, async () => {
    const acknowledged = new Map<string, string>();
    for (let round = 0; round < 2; round++) {
      const { child, url } = await spawnSandbox();
      let working = true;
      const worker = async (name: number): Promise<void> => {
        for (let n = 0; working; n++) {
          const key = `round-${round}-${name}-${n}`;
          const answer = await pay(url, key).catch(() => null);
          if (answer === null) return;
          acknowledged.set(key, answer.body);
        }
      };
      const workers = Array.from({ length: 8 }, (_, name) => worker(name));
      const before = acknowledged.size;
      await expect
        .poll(() => acknowledged.size - before, { interval: 5, timeout: 20_000 })
        .toBeGreaterThan(300);
      child.kill('SIGKILL');
      await once(child, 'exit');
      working = false;
      await Promise.all(workers);
    }
    await withSandbox(async (url) => {
      const truth = await admin<{
        payment_intents: { id: string; idempotency_key: string; status: string }[];
      }>(url, 'GET', 'truth');
      const keys = truth.payment_intents.map((intent) => intent.idempotency_key);
      expect(new Set(keys).size).toBe(keys.length);
      for (const [key, body] of acknowledged) {
        expect(keys).toContain(key);
        const again = await pay(url, key);
        expect([again.status, again.replayed, again.body]).toEqual([200, 'true', body]);
      }
    });
  });

  test('every kind of change is the same after a restart', async () => {
    const before = await withSandbox(async (url) => {
      const idOf = (answer: Answered) => (JSON.parse(answer.body) as { id: string }).id;
      const held = await pay(url, 'held', 'amount=2000&capture_method=manual&transfer_group=g&metadata[a]=b');
      await post(url, `/v1/payment_intents/${idOf(held)}/capture`, 'capture', 'amount_to_capture=1500');
      const canceled = await pay(url, 'canceled', 'amount=2000&capture_method=manual&description=ä');
      await post(url, `/v1/payment_intents/${idOf(canceled)}/cancel`, 'cancel', '');
      await post(url, `/v1/payment_intents/${idOf(canceled)}/cancel`, 'refused', '');
      await pay(url, 'small', 'amount=1');
      await admin(url, 'POST', 'faults', {
        sequence: ['decline', 'act_then_500', 'fail_500', { fault: 'pending_then_succeed', ms: 3_600_000 }],
      });
      for (const key of ['declined', 'acted', 'failed', 'pending']) await pay(url, key);
      await admin(url, 'POST', 'clock', { advance_ms: 60_000 });
      const whole = await pay(url, 'expanded', 'amount=3000&expand[]=latest_charge');
      await moneyOut(url, idOf(whole), idOf(await pay(url, 'paid', 'amount=4000')));
      return everything(url);
    });
    const after = await withSandbox(everything);
    expect(after).toEqual(before);
    const settled = await withSandbox(async (url) => {
      await admin(url, 'POST', 'clock', { advance_ms: 3_600_000 });
      return admin<Record<string, { received: number }>>(url, 'GET', 'truth/summary');
    });
    expect(settled).toMatchObject({ usd: { received: 1500 + 1000 + 1000 + 3000 + 4000 } });
    const late = await withSandbox((url) => admin<{ refunds: unknown }>(url, 'GET', 'truth/refunds'));
    expect(late.refunds).toMatchObject([
      { status: 'succeeded' },
      { status: 'failed', ever_succeeded: true },
      { status: 'succeeded' },
    ]);
  });

  test('new intents take names and places of their own after a restart', async () => {
    const first = await withSandbox((url) => pay(url, 'one'));
    const second = await withSandbox((url) => pay(url, 'two'));
    expect(JSON.parse(second.body).id).not.toBe(JSON.parse(first.body).id);
    const summary = await withSandbox((url) => admin(url, 'GET', 'truth/summary'));
    expect(summary).toMatchObject({ usd: { intents: 2 } });
  });

  test('how often a key was seen and hit survives', async () => {
    await withSandbox(async (url) => {
      await admin(url, 'POST', 'config', { rates: { rate_limited: 1 }, max_faults_per_key: 2 });
      for (let n = 0; n < 4; n++) await pay(url, 'k');
    });
    const keys = await withSandbox((url) => admin(url, 'GET', 'keys'));
    expect(keys).toMatchObject({ total: 1, keys: [{ key: 'k', seen: 4, faults: 2, phase: 'done' }] });
  });

  test('a torn last line is forgotten, the rest stays', async () => {
    const answer = await withSandbox((url) => pay(url, 'kept'));
    appendFileSync(journalPath, '{"k":"done","key":"torn","fp":"x","at":1,"pi":{"id":"pi_3');
    await withSandbox(async (url) => {
      expect(await pay(url, 'kept')).toEqual({ ...answer, replayed: 'true' });
      expect(await pay(url, 'torn')).toMatchObject({ status: 200, replayed: null });
    });
    expect(await withSandbox((url) => pay(url, 'torn'))).toMatchObject({ status: 200, replayed: 'true' });
  });

  test('a reset empties the journal too', async () => {
    await withSandbox(async (url) => {
      await pay(url, 'k');
      await admin(url, 'POST', 'reset');
      await pay(url, 'after');
    });
    expect(await withSandbox((url) => admin(url, 'GET', 'keys'))).toMatchObject({ keys: [{ key: 'after' }] });
  });

  test.runIf(existsSync('/dev/full'))('a sandbox that cannot write its journal answers nobody', async () => {
    const silenced = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    const sandbox = await startSandbox({ port: 0, journalPath: '/dev/full', seed: 1 });
    await expect(pay(sandbox.url, 'k')).rejects.toThrow();
    expect(silenced).toHaveBeenCalledOnce();
    silenced.mockRestore();
    await sandbox.close();
  });

  test('a file that is no journal of ours is left alone', async () => {
    writeFileSync(journalPath, '{"some":"thing"}\n');
    await expect(startSandbox({ port: 0, journalPath, seed: 1 })).rejects.toMatchObject({
      code: 'sandbox_journal_foreign',
    });
  });
});

const REFUND = (intent: string, amount: number) => `payment_intent=${intent}&amount=${amount}&metadata[a]=b`;
const TRANSFER = 'amount=500&currency=usd&destination=acct_1&transfer_group=g';

/** Refunds in every state, transfers that came back in part and that found no money, a dispute, a top-up. */
async function moneyOut(url: string, refunded: string, disputed: string): Promise<void> {
  await post(url, '/v1/refunds', 'refund', REFUND(refunded, 100));
  await admin(url, 'POST', 'faults', {
    sequence: [
      { fault: 'undo_later', ms: 3_600_000 },
      { fault: 'pending_then_succeed', ms: 3_600_000 },
    ],
  });
  await post(url, '/v1/refunds', 'undone', REFUND(refunded, 200));
  await post(url, '/v1/refunds', 'pending_refund', REFUND(refunded, 300));
  await post(url, '/v1/refunds', 'over', REFUND(refunded, 9000));
  await post(url, '/v1/transfers', 'poor', `${TRANSFER}&amount=99999999`);
  await admin(url, 'POST', 'balance/top_up', { currency: 'usd', amount: 700 });
  const transfer = await post(url, '/v1/transfers', 'transfer', TRANSFER);
  const { id } = JSON.parse(transfer.body) as { id: string };
  await post(url, `/v1/transfers/${id}/reversals`, 'reversal', 'amount=100&metadata[c]=d');
  await admin(url, 'POST', `payment_intents/${disputed}/dispute`, { amount: 4000 });
}

/** Truth, keys (but how often they were seen: asking for replays counts) and the replay of every key. */
async function everything(url: string): Promise<unknown> {
  const { keys } = await admin<{ keys: { key: string; seen?: number }[] }>(url, 'GET', 'keys');
  const { transfers } = await admin<{ transfers: { id: string }[] }>(url, 'GET', 'truth/transfers');
  const { payment_intents } = await admin<{ payment_intents: { id: string; idempotency_key: string }[] }>(
    url,
    'GET',
    'truth',
  );
  const refunded = payment_intents.find((intent) => intent.idempotency_key === 'expanded')?.id ?? '';
  return {
    payment_intents,
    refunds: await admin(url, 'GET', 'truth/refunds'),
    transfers,
    disputes: await admin(url, 'GET', 'truth/disputes'),
    balance: await admin(url, 'GET', 'truth/balance'),
    keys: keys.filter(({ key }) => key !== 'small').map((entry) => ({ ...entry, seen: undefined })),
    offset: (await admin<{ offset_ms: number }>(url, 'GET', 'clock')).offset_ms,
    replays: [
      await pay(url, 'held', 'amount=2000&capture_method=manual&transfer_group=g&metadata[a]=b'),
      await pay(url, 'canceled', 'amount=2000&capture_method=manual&description=ä'),
      ...(await Promise.all(['declined', 'acted', 'failed', 'pending'].map((key) => pay(url, key)))),
      await pay(url, 'expanded', 'amount=3000&expand[]=latest_charge'),
      await post(url, '/v1/refunds', 'refund', REFUND(refunded, 100)),
      await post(url, '/v1/refunds', 'pending_refund', REFUND(refunded, 300)),
      await post(url, '/v1/refunds', 'over', REFUND(refunded, 9000)),
      await post(url, '/v1/transfers', 'poor', `${TRANSFER}&amount=99999999`),
      await post(url, '/v1/transfers', 'transfer', TRANSFER),
      await post(url, `/v1/transfers/${transfers[0]?.id}/reversals`, 'reversal', 'amount=100&metadata[c]=d'),
    ],
  };
}
