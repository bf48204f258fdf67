import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { AdyenEngine } from './adyen/engine.ts';
import { AdyenSide } from './adyen/http.ts';
import { Counters } from './counters.ts';
import { Engine } from './engine.ts';
import { createSandboxServer } from './http.ts';
import { openJournal } from './journal.ts';
import { DEFAULT_SETTINGS } from './settings.ts';
import { Timers } from './timers.ts';

const nothing = () => undefined;

test('no answer, not even one that only reads, leaves before the journal is written', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sandbox-http-'));
  const journal = openJournal(join(folder, 'journal'), 'page_cache', nothing, nothing);
  const engine = new Engine(DEFAULT_SETTINGS);
  engine.attach(journal);
  const timers = new Timers();
  const counters = new Counters();
  const server = createSandboxServer({
    engine,
    counters,
    timers,
    apiKey: null,
    admin: nothing,
    adyen: new AdyenSide({ engine: new AdyenEngine(engine), counters, timers }),
    adyenAdmin: nothing,
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/payment_intents`;
  const waiting: (() => void)[] = [];
  vi.spyOn(journal, 'whenWritten').mockImplementation((callback) => waiting.push(callback));

  const authorization = 'Bearer sk_test_x';
  const headers = { authorization, 'content-type': 'application/x-www-form-urlencoded' };
  let answered = 0;
  const body = 'amount=1000&currency=usd&payment_method=pm_card_visa';
  const write = fetch(url, { method: 'POST', headers, body }).finally(() => answered++);
  const read = fetch(url, { headers: { authorization } }).finally(() => answered++);
  await expect.poll(() => waiting.length, { timeout: 20_000 }).toBe(2);
  expect(engine.state.intents.end).toBe(1);
  await pause(50);
  expect(answered).toBe(0);
  for (const callback of waiting) callback();
  expect([(await write).status, (await read).status]).toEqual([200, 200]);

  server.closeAllConnections();
  server.close();
  journal.close();
  rmSync(folder, { recursive: true, force: true });
});
