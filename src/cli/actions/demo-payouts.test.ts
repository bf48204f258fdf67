import { expect, test } from 'vitest';
import { parsePayoutFile } from '../../core/payout/parse-payout-file.ts';
import { payoutFile } from './demo-payouts.ts';

test('the demo pays parts of each wallet, and at last asks for more than one has left', async () => {
  const wallets = [
    { seller: 'Werkstatt Jürgen', currency: 'EUR', availableMinor: 831_338n },
    { seller: 'สวน แก้ว', currency: 'KWD', availableMinor: 123_457n },
  ];
  const text = payoutFile(wallets);
  expect(text).toMatchInlineSnapshot(`
    "item_ref,seller,amount,currency
    march-1,Werkstatt Jürgen,3741.00,EUR
    march-2,Werkstatt Jürgen,2078.00,EUR
    march-3,Werkstatt Jürgen,831.00,EUR
    march-4,สวน แก้ว,55.500,KWD
    march-5,สวน แก้ว,30.800,KWD
    march-6,สวน แก้ว,12.300,KWD
    march-7,Werkstatt Jürgen,7482.00,EUR
    "
  `);
  expect((await parsePayoutFile(Buffer.from(text))).kind).toBe('ok');
});
