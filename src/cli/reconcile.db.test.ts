/**
 * Reconciliation from end to end: what a sandbox really moved, the files that it writes about it, the real command, and the list
 * of what was planted. Found must be planted, code by code and amount by amount.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ACCOUNT, openSettledShop, type SettledShop, trade } from '../testing/settled-shop.ts';

let shop: SettledShop;
beforeAll(async () => {
  shop = await openSettledShop();
  await trade(shop, { charges: 240, declined: 4, refunds: 6, payouts: 6 });
}, 120_000);
afterAll(() => shop.close());

test('explore', async () => {
  const plants = (process.env.PLANTS ?? '')
    .split(',')
    .filter(Boolean)
    .flatMap((p) => ['--plant', p]);
  const files = await shop.run([
    'sandbox',
    'files',
    'files',
    '--url',
    shop.sandbox.url,
    '--seed',
    '3',
    ...plants,
  ]);
  console.log(files.out, files.err);
  const done = await shop.run(['reconcile', 'files/stripe-balance.csv', '--report', 'out.html']);
  console.log(done.code, done.out, done.err);
  const bank = await shop.run(['reconcile', 'files/bank.camt053.xml', '--report', 'bank.html']);
  console.log(bank.code, bank.out, bank.err);
  console.log((await shop.run(['breaks', 'list'])).out);
});
