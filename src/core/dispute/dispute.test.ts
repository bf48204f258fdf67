/** Every way of a dispute, as a table; that no way loses money; and what signed words add up to. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createBalanceSheet } from '../../testing/balance-sheet.ts';
import type { DisputeState } from '../psp/psp.ts';
import {
  DISPUTE_PATHS,
  type Dispute,
  type DisputedCharge,
  type DisputeFact,
  judgeDispute,
  stateOfWords,
} from './dispute.ts';

const STATES = ['opened', 'won', 'lost'] as const;
const POLICY = { lostFee: 'platform_fees' } as const;

const CHARGE: DisputedCharge = {
  operationId: 12n,
  attemptNumber: 1,
  attemptState: 'succeeded',
  subState: 'succeeded',
  pspAccount: 'main',
  paymentId: 10n,
  orderId: 11n,
  seller: 'Café Ana',
  grossMinor: 10_000n,
  feeMinor: 300n,
  currency: 'EUR',
  takenMinor: 0n,
  sharesGivenMinor: 0n,
  suspenseRefunded: false,
};

const FACT: DisputeFact = {
  pspAccount: 'main',
  pspReference: 'du_1',
  operationId: 12n,
  attemptNumber: 1,
  amountMinor: 10_000n,
  currency: 'EUR',
  reason: 'fraudulent',
  state: 'opened',
  observation: 1n,
};

function judge(
  stored: Dispute | null,
  fact: Partial<DisputeFact> = {},
  charge: Partial<DisputedCharge> = {},
) {
  return judgeDispute(stored, { ...FACT, ...fact }, { ...CHARGE, ...charge }, POLICY, 99n);
}

/** A dispute of these states, one after the other. */
function tell(states: readonly DisputeState[], charge: Partial<DisputedCharge> = {}) {
  const sheet = createBalanceSheet();
  const causes: string[] = [];
  let stored: Dispute | null = null;
  for (const [i, state] of states.entries()) {
    const verdict = judge(stored, { state, observation: BigInt(i + 1) }, charge);
    if (!('dispute' in verdict)) throw new Error(verdict.kind);
    stored = verdict.dispute;
    if (verdict.kind !== 'moves') continue;
    for (const { cause, kind, postings } of verdict.entries) {
      causes.push(`${cause} ${kind}`);
      sheet.post(postings);
    }
  }
  const left = Object.fromEntries(
    sheet.balances().flatMap(({ code, balanceMinor }) => (balanceMinor === 0n ? [] : [[code, balanceMinor]])),
  );
  return { causes, left, stored: stored! };
}

describe('the way of a dispute', () => {
  test('from state to state; ">" opens another round', () => {
    const cell = (text: string) => text.padEnd(24);
    const rows = (['none', ...STATES] as const).map((from) =>
      [
        from,
        ...STATES.map((to) => {
          const { steps, round } = DISPUTE_PATHS[from][to];
          return `${round === 'next' ? '> ' : ''}${steps.join(', ') || '-'}`;
        }),
      ]
        .map(cell)
        .join('')
        .trimEnd(),
    );
    expect(
      `\n${[['', ...STATES].map(cell).join('').trimEnd(), ...rows].join('\n')}\n`,
    ).toMatchInlineSnapshot(`
      "
                              opened                  won                     lost
      none                    opened                  opened, won             opened, lost
      opened                  -                       won                     lost
      won                     > opened                -                       > opened, lost
      lost                    > loss_reversed         > loss_reversed, won    -
      "
    `);
  });

  test.each(STATES)('that was only ever heard of as %s is booked whole', (state) => {
    expect(tell([state]).left).toEqual(tell(['opened', state]).left);
  });

  test('ends the same whatever came before, and posts each cause once', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...STATES), { minLength: 1, maxLength: 12 }), (states) => {
        const { left, causes } = tell(states);
        expect(left).toEqual(tell([states.at(-1)!]).left);
        expect(new Set(causes).size).toBe(causes.length);
      }),
    );
  });

  test('won leaves nothing; lost takes the seller’s share and the platform’s', () => {
    expect(tell(['won']).left).toEqual({});
    expect(tell(['lost']).left).toEqual({
      'platform:fees': -300n,
      'psp:main:receivable': -10_000n,
      'seller:Café Ana:available': -9_700n,
    });
  });
});

describe('the seller’s share', () => {
  test('and the platform’s are never more than the fee, whatever refunds took before', () => {
    const amounts = fc.record({
      disputed: fc.bigInt(1n, 20_000n),
      taken: fc.bigInt(0n, 20_000n),
      given: fc.bigInt(0n, 300n),
    });
    fc.assert(
      fc.property(amounts, ({ disputed, taken, given }) => {
        const verdict = judge(
          null,
          { amountMinor: disputed },
          { takenMinor: taken, sharesGivenMinor: given },
        );
        if (verdict.kind !== 'moves') throw new Error(verdict.kind);
        const share = disputed - verdict.dispute.sellerShareMinor;
        expect(share >= 0n && share <= 300n - given && share <= disputed).toBe(true);
      }),
    );
  });

  test('is nothing where the money is in suspense, which bears it while it is there', () => {
    const late = { attemptState: 'succeeded_surplus' } as const;
    expect(tell(['lost'], late).left).toEqual({ 'psp:main:receivable': -10_000n, 'suspense:main': -10_000n });
    expect(tell(['lost'], { ...late, suspenseRefunded: true }).left).toEqual({
      'expense:write_off': 10_000n,
      'psp:main:receivable': -10_000n,
    });
    const takenBack = { attemptState: 'reversed', subState: 'declined' } as const;
    expect(tell(['lost'], takenBack).stored).toMatchObject({ holder: 'suspense', borneBy: 'write_off' });
    const reversed = { attemptState: 'reversed', subState: 'reversed' } as const;
    expect(tell(['lost'], reversed).stored).toMatchObject({ holder: 'seller', sellerShareMinor: 9_700n });
    expect(tell(['opened'], late).stored).toMatchObject({ holder: 'suspense', sellerShareMinor: 0n });
  });
});

describe('a fact', () => {
  const stored = tell(['opened', 'won']).stored;

  test.each([
    ['that was read earlier is stale', stored, { state: 'lost', observation: 1n }, {}, 'stale'],
    ['that was read at the same time is stale', stored, { state: 'lost', observation: 2n }, {}, 'stale'],
    ['that says the same again changes nothing', stored, { state: 'won', observation: 9n }, {}, 'unchanged'],
    ['with another amount differs', stored, { amountMinor: 1n, observation: 9n }, {}, 'differs'],
    ['of another attempt differs', stored, { attemptNumber: 2, observation: 9n }, {}, 'differs'],
    ['in another currency is of another charge', null, { currency: 'USD' }, {}, 'unmatched'],
    ['of another account is of another charge', null, { pspAccount: 'other' }, {}, 'unmatched'],
    ['of a charge that is under way is early', null, {}, { attemptState: 'pending' }, 'unmatched'],
    ['of a charge that was declined is early', null, {}, { attemptState: 'declined' }, 'unmatched'],
    ['of a charge that was taken back is booked', null, {}, { attemptState: 'reversed' }, 'moves'],
  ] as const)('%s', (_, before, fact, charge, kind) => {
    expect(judge(before, fact, charge).kind).toBe(kind);
  });

  test('of no charge is unmatched', () => {
    expect(judgeDispute(null, FACT, null, POLICY, 1n).kind).toBe('unmatched');
  });
});

describe('signed words', () => {
  test.each([
    [['NOTIFICATION_OF_CHARGEBACK', 'REQUEST_FOR_INFORMATION'], null],
    [['DISPUTE_DEFENSE_PERIOD_ENDED'], null],
    [['CHARGEBACK'], 'opened'],
    [['NOTIFICATION_OF_CHARGEBACK', 'CHARGEBACK'], 'opened'],
    [['CHARGEBACK', 'DISPUTE_DEFENSE_PERIOD_ENDED'], 'lost'],
    [['CHARGEBACK', 'CHARGEBACK_REVERSED'], 'won'],
    [['CHARGEBACK_REVERSED'], 'won'],
    [['CHARGEBACK', 'CHARGEBACK_REVERSED', 'PREARBITRATION_WON'], 'won'],
    [['CHARGEBACK', 'CHARGEBACK_REVERSED', 'SECOND_CHARGEBACK'], 'lost'],
    [['CHARGEBACK', 'CHARGEBACK_REVERSED', 'PREARBITRATION_LOST'], 'lost'],
    [['SOMETHING_NEW'], null],
    [[], null],
  ] as const)('%j add up to %s', (words, state) => {
    expect(stateOfWords(new Set(words))).toBe(state);
  });
});
