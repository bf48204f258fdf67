/** Where money in suspense stands, and who may decide what about it, as a table. */
import { describe, expect, test } from 'vitest';
import { SUB_STATES } from '../operation/operation.ts';
import {
  parseRef,
  refText,
  refuseAdoption,
  refuseSuspenseRefund,
  type SuspenseCase,
  suspenseStateOf,
} from './suspense.ts';

const OPEN: SuspenseCase = {
  operationId: 14n,
  attemptNumber: 2,
  cause: 'late',
  attemptState: 'succeeded_surplus',
  pspAccount: 'main',
  pspReference: 'pi_1',
  paymentId: 10n,
  orderId: 11n,
  seller: 'Café Ana',
  amountMinor: 1250n,
  currency: 'EUR',
  feeMinor: 125n,
  releaseAfterDays: null,
  subState: 'declined',
  isUnresolved: false,
  isPartRefunded: false,
  isAdopted: false,
  refundId: null,
  refundOperationId: null,
  refundSubState: null,
  disputeReference: null,
  since: '2026-01-01T00:00:00Z',
};

const refunded = (refundSubState: SuspenseCase['refundSubState']): Partial<SuspenseCase> => ({
  refundId: 'r',
  refundOperationId: 20n,
  refundSubState,
});

const decided = (changes: Partial<SuspenseCase>) => {
  const one = { ...OPEN, ...changes };
  return [
    suspenseStateOf(one),
    refuseAdoption(one)?.code ?? 'may',
    refuseSuspenseRefund(one)?.code ?? 'may',
  ] as const;
};

describe('money in suspense', () => {
  test.each<[string, Partial<SuspenseCase>, string, string, string]>([
    ['of an order that failed', {}, 'open', 'may', 'may'],
    ['of an order that succeeded', { subState: 'succeeded' }, 'open', 'order_succeeded', 'may'],
    ['of an order that may still be charged', { isUnresolved: true }, 'open', 'attempt_unresolved', 'may'],
    ['of a payment that is given back', { isPartRefunded: true }, 'open', 'part_refunded', 'may'],
    ['of an order that was reversed', { subState: 'reversed' }, 'open', 'not_adoptable', 'may'],
    ['that was adopted', { isAdopted: true }, 'adopted', 'not_in_suspense', 'not_in_suspense'],
    ['that is disputed', { disputeReference: 'du_1' }, 'disputed', 'not_in_suspense', 'not_in_suspense'],
    [
      'that the PSP took back',
      { attemptState: 'reversed' },
      'reversed',
      'not_in_suspense',
      'not_in_suspense',
    ],
    ['whose refund waits', refunded('queued'), 'refunding', 'not_in_suspense', 'not_in_suspense'],
    ['whose refund is in doubt', refunded('unknown'), 'refunding', 'not_in_suspense', 'not_in_suspense'],
    ['whose refund is done', refunded('succeeded'), 'refunded', 'not_in_suspense', 'not_in_suspense'],
    ['whose refund was declined', refunded('declined'), 'open', 'may', 'may'],
    ['whose refund was canceled', refunded('canceled'), 'open', 'may', 'may'],
    ['whose refund came back', refunded('reversed'), 'open', 'may', 'may'],
    ['without a name at the PSP', { pspReference: null }, 'open', 'may', 'not_in_suspense'],
  ])('%s', (_, changes, ...expected) => {
    expect(decided(changes)).toEqual(expected);
  });

  test('is adopted only from the ends that charged nothing', () => {
    const may = SUB_STATES.filter((subState) => refuseAdoption({ ...OPEN, subState }) === null);
    expect(may).toEqual(['declined', 'rejected', 'canceled', 'expired']);
  });
});

describe('the name of an attempt', () => {
  test('is read as it is written', () => {
    expect(parseRef(refText(OPEN))).toEqual({ operationId: 14n, attemptNumber: 2 });
  });

  test.each(['14/2', 'op_14', 'op_14/', 'op_14/0', 'op_14/2/3', 'op_x/1', 'ord_14/1', 'op_14/99999', ''])(
    '%j is none',
    (text) => {
      expect(parseRef(text)).toBeNull();
    },
  );
});
