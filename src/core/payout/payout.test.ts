import { describe, expect, test } from 'vitest';
import { money } from '../../testing/fixtures.ts';
import { SUB_STATES } from '../operation/operation.ts';
import {
  type Bearer,
  nameUseOf,
  PAYOUT_STATES,
  type PayoutRequest,
  payoutStateOf,
  storedBehind,
} from './payout.ts';
import { coverInOrder, judgePayee, needsSecondPerson } from './payout-decision.ts';

const EUR = money('1', 'EUR').currency;
const JPY = money('1', 'JPY').currency;

describe('the state of a payout', () => {
  test.each([
    ['draft', null, 'draft'],
    ['refused', null, 'refused'],
    ['canceled', null, 'canceled'],
    ['approved', 'queued', 'approved'],
    ['approved', 'claimed', 'sent'],
    ['approved', 'unknown', 'sent'],
    ['approved', 'pending_psp', 'sent'],
    ['approved', 'retry_wait', 'sent'],
    ['approved', 'held_config', 'sent'],
    ['approved', 'succeeded', 'accepted'],
    ['approved', 'declined', 'failed'],
    ['approved', 'rejected', 'failed'],
    ['approved', 'reversed', 'returned'],
    ['approved', 'canceled', 'canceled'],
  ] as const)('%s with an operation that is %s is %s', (item, subState, state) => {
    expect(payoutStateOf(item, subState)).toBe(state);
  });

  test('is looked for by exactly what is stored behind it', () => {
    for (const state of PAYOUT_STATES) {
      const { items, operations } = storedBehind(state);
      expect(items.every((item) => payoutStateOf(item, null) === state)).toBe(true);
      expect(operations.every((subState) => payoutStateOf('approved', subState) === state)).toBe(true);
    }
    const found = PAYOUT_STATES.flatMap((state) => storedBehind(state).operations);
    expect(found.toSorted()).toEqual([...SUB_STATES].toSorted());
  });
});

describe('a name', () => {
  const request: PayoutRequest = {
    line: 2,
    itemRef: 'p-1',
    seller: 's',
    money: money('1.00', 'EUR'),
    destination: null,
    memo: null,
  };
  const bearer: Bearer = {
    payoutId: 7n,
    batchId: 6n,
    itemRef: 'p-1',
    seller: 's',
    amountMinor: 100n,
    currency: 'EUR',
    destination: null,
    memo: null,
    state: 'draft',
    subState: null,
    hasSurplus: false,
  };

  test('that nobody bears is free', () => {
    expect(nameUseOf(request, undefined)).toEqual({ kind: 'free' });
  });

  test.each([
    ['refused', null, true],
    ['canceled', null, true],
    ['draft', null, false],
    ['approved', 'queued', false],
    ['approved', 'unknown', false],
    ['approved', 'succeeded', false],
    ['approved', 'reversed', false],
    ['approved', 'declined', true],
    ['approved', 'rejected', true],
  ] as const)('whose payout is %s, %s: free is %s', (state, subState, isFree) => {
    expect(nameUseOf(request, { ...bearer, state, subState }).kind === 'free').toBe(isFree);
    const other = { ...request, money: money('2.00', 'EUR') };
    expect(nameUseOf(other, { ...bearer, state, subState }).kind).toBe(isFree ? 'free' : 'conflict');
    expect(nameUseOf(request, { ...bearer, state, subState, hasSurplus: true }).kind).toBe('there');
  });
});

describe('a payee', () => {
  const item = { seller: 's', money: money('1.00', 'EUR'), destination: 'acct_1' };
  const payee = { seller: 's', status: 'active', destination: 'acct_1', coolingUntil: null } as const;

  test('in good order is paid where the register says', () => {
    expect(judgePayee(item, payee)).toEqual({ kind: 'payable', destination: 'acct_1' });
    expect(judgePayee({ ...item, destination: null }, payee)).toMatchObject({ destination: 'acct_1' });
  });

  test.each([
    ['seller_unknown', undefined],
    ['seller_frozen', { ...payee, status: 'frozen', destination: 'acct_2' }],
    ['no_destination', { ...payee, destination: null }],
    ['destination_differs', { ...payee, destination: 'acct_2', coolingUntil: '2026-11-28 10:00:00+00' }],
    ['destination_cooling', { ...payee, coolingUntil: '2026-11-28 10:00:00+00' }],
  ] as const)('is refused as %s', (code, found) => {
    expect(judgePayee(item, found)).toMatchObject({ kind: 'refused', refusal: { code } });
  });
});

test('wallets cover in the order given, pass over what does not fit, and never go below zero', () => {
  const amounts = ['7.00', '4.00', '3.00', '0.01'];
  const items = amounts.map((amount) => ({ seller: 's', money: money(amount, 'EUR') }));
  const others = [
    { seller: 't', money: money('1.00', 'EUR') },
    { seller: 's', money: money('5', 'JPY') },
  ];
  const available = new Map([
    ['EUR s', 1000n],
    ['EUR t', -5n],
    ['JPY s', 5n],
  ]);
  expect(coverInOrder([...items, ...others], available)).toEqual([true, false, true, false, false, true]);
  expect(available.get('EUR s')).toBe(1000n);
});

describe('a second person', () => {
  const batch = {
    submittedBy: 'ana',
    totals: new Map([
      [EUR, 100n],
      [JPY, 5n],
    ]),
  };
  test.each([
    ['is not needed where there is no limit', 'ana', [], []],
    ['is needed above a limit of zero, which a currency without one has', 'ana', [[EUR, 100n]], [JPY]],
    [
      'is needed above the limit, and not at it',
      'ana',
      [
        [EUR, 99n],
        [JPY, 5n],
      ],
      [EUR],
    ],
    ['is there when another one approves', 'ben', [[EUR, 0n]], []],
  ] as const)('%s', (_, approver, limits, expected) => {
    expect(needsSecondPerson(batch, approver, new Map(limits))).toEqual(expected);
  });
});
