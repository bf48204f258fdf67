import { describe, expect, test } from 'vitest';
import {
  isEnded,
  OPERATION_EVENTS,
  type OperationEvent,
  paymentStateOf,
  publicStateOf,
  SUB_STATES,
  type SubState,
  subStatesOf,
  TRANSITIONS,
  transition,
} from './operation.ts';

const ENDED = SUB_STATES.filter(isEnded);
const IN_DOUBT_OR_PENDING = ['unknown', 'pending_psp', 'awaiting_customer'] as const;
/** Events that say that a call of ours did nothing. After a doubt they must end nothing. */
const HARMLESS_EVENTS = ['not_sent', 'config_error', 'rejected'] as const;

describe('the transition table', () => {
  test('has exactly these cells; "-" is illegal', () => {
    const width = Math.max(...SUB_STATES.map((state) => state.length)) + 2;
    const cell = (text: string) => text.padEnd(width);
    const lines = SUB_STATES.map((from) =>
      [from, ...OPERATION_EVENTS.map((event) => transition(from, event) ?? '-')].map(cell).join('').trimEnd(),
    );
    const head = ['', ...OPERATION_EVENTS].map(cell).join('').trimEnd();
    expect(`\n${[head, ...lines].join('\n')}\n`).toMatchInlineSnapshot(`
      "
                         claimed            succeeded          declined           rejected           pending            awaiting_customer  unknown            not_sent           config_error       reversed           canceled           retried            adopted
      queued             claimed            -                  -                  -                  -                  -                  -                  -                  -                  -                  canceled           -                  -
      in_risk_review     -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  -
      claimed            -                  succeeded          declined           rejected           pending_psp        awaiting_customer  unknown            retry_wait         held_config        declined           -                  -                  -
      pending_psp        pending_psp        succeeded          declined           -                  pending_psp        awaiting_customer  unknown            -                  -                  declined           -                  -                  -
      awaiting_customer  awaiting_customer  succeeded          declined           -                  pending_psp        awaiting_customer  unknown            -                  -                  declined           -                  -                  -
      retry_wait         claimed            succeeded          declined           rejected           pending_psp        awaiting_customer  unknown            retry_wait         held_config        declined           -                  -                  -
      unknown            unknown            succeeded          declined           -                  pending_psp        awaiting_customer  unknown            -                  -                  declined           -                  -                  -
      held_config        claimed            succeeded          declined           rejected           pending_psp        awaiting_customer  unknown            retry_wait         held_config        declined           -                  -                  -
      succeeded          -                  -                  -                  -                  -                  -                  -                  -                  -                  reversed           -                  -                  -
      declined           -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  queued             succeeded
      rejected           -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  queued             succeeded
      risk_blocked       -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  -
      canceled           -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  queued             succeeded
      expired            -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  queued             succeeded
      reversed           -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  -                  -
      "
    `);
  });

  test('is the only way: transition answers from it and from nothing else', () => {
    for (const from of SUB_STATES) {
      for (const event of OPERATION_EVENTS) {
        expect(transition(from, event)).toBe(TRANSITIONS[from][event] ?? null);
      }
    }
    expect(Object.keys(TRANSITIONS).sort()).toEqual([...SUB_STATES].sort());
  });

  test.each(ENDED)(
    '%s has ended: nothing that happens leads out of it, but a success that the PSP takes back',
    (state) => {
      const happens = OPERATION_EVENTS.filter((event) => event !== 'retried' && event !== 'adopted');
      expect(happens.map((event) => transition(state, event))).toEqual(
        happens.map((event) => (state === 'succeeded' && event === 'reversed' ? 'reversed' : null)),
      );
    },
  );

  test('a person may have tried again what was definitely not charged, and nothing else', () => {
    const again = SUB_STATES.filter((state) => transition(state, 'retried') !== null);
    expect(again).toEqual(['declined', 'rejected', 'canceled', 'expired']);
    expect(again.map((state) => transition(state, 'retried'))).toEqual(again.map(() => 'queued'));
  });

  test('an order that ended without a charge can take money that moved all the same, and no other can', () => {
    const taking = SUB_STATES.filter((state) => transition(state, 'adopted') !== null);
    expect(taking).toEqual(['declined', 'rejected', 'canceled', 'expired']);
    expect(taking.map((state) => transition(state, 'adopted'))).toEqual(taking.map(() => 'succeeded'));
  });

  test('only what waits for its first claim can be canceled', () => {
    expect(SUB_STATES.filter((state) => transition(state, 'canceled') !== null)).toEqual(['queued']);
  });

  test.each(IN_DOUBT_OR_PENDING)('%s is left by evidence about the attempt alone', (state) => {
    for (const event of HARMLESS_EVENTS) expect(transition(state, event)).toBeNull();
    expect(transition(state, 'claimed')).toBe(state);
  });

  test('no event turns a doubt back into something that may be sent as if it were new', () => {
    const cannotFollowDoubt: readonly SubState[] = [
      'queued',
      'claimed',
      'retry_wait',
      'held_config',
      'rejected',
    ];
    for (const state of IN_DOUBT_OR_PENDING) {
      for (const event of OPERATION_EVENTS) {
        expect(cannotFollowDoubt).not.toContain(transition(state, event));
      }
    }
  });

  test('only a claim starts what is queued, and only a person takes it away', () => {
    const legal = OPERATION_EVENTS.filter((event) => transition('queued', event) !== null);
    expect(legal).toEqual(['claimed', 'canceled']);
  });

  test('nothing charges an order in risk review', () => {
    expect(OPERATION_EVENTS.filter((event) => transition('in_risk_review', event) !== null)).toEqual([]);
  });

  test('success and decline are reachable from every state that has been sent', () => {
    const sent: readonly SubState[] = ['claimed', 'retry_wait', 'held_config', ...IN_DOUBT_OR_PENDING];
    for (const state of sent) {
      expect(transition(state, 'succeeded')).toBe('succeeded');
      expect(transition(state, 'declined')).toBe('declined');
    }
  });

  test('every state that a cell leads to can be shown', () => {
    for (const cells of Object.values(TRANSITIONS)) {
      for (const state of Object.values(cells)) expect(SUB_STATES).toContain(state);
    }
  });

  test('every event leads somewhere from some state', () => {
    const dead = OPERATION_EVENTS.filter((event: OperationEvent) =>
      SUB_STATES.every((state) => transition(state, event) === null),
    );
    expect(dead).toEqual([]);
  });
});

describe('public states', () => {
  test('doubt is never shown as failure', () => {
    for (const state of [...IN_DOUBT_OR_PENDING, 'retry_wait', 'held_config', 'claimed'] as const) {
      expect(publicStateOf(state)).toBe('EXECUTING');
    }
  });

  test('each sub-state stands behind exactly one public state', () => {
    const all = (['NOT_STARTED', 'EXECUTING', 'SUCCESS', 'FAILED'] as const).flatMap(subStatesOf);
    expect([...all].sort()).toEqual([...SUB_STATES].sort());
  });

  test('ended means SUCCESS or FAILED', () => {
    expect(ENDED).toEqual([...subStatesOf('SUCCESS'), ...subStatesOf('FAILED')]);
  });
});

describe("a payment's state", () => {
  test.each<[string, readonly SubState[], string]>([
    ['has not started before an order has', ['queued', 'in_risk_review'], 'NOT_STARTED'],
    ['is executing once one order has started', ['queued', 'claimed'], 'EXECUTING'],
    ['is executing while one order has ended and another not begun', ['succeeded', 'queued'], 'EXECUTING'],
    ['is executing while one order failed and another is in doubt', ['declined', 'unknown'], 'EXECUTING'],
    ['is a success when all orders are', ['succeeded', 'succeeded'], 'SUCCESS'],
    ['has failed when all orders have', ['declined', 'risk_blocked'], 'FAILED'],
    ['has failed when only some orders succeeded', ['succeeded', 'declined'], 'FAILED'],
  ])('%s', (_, orders, expected) => {
    expect(paymentStateOf(orders)).toBe(expected);
    expect(paymentStateOf([...orders].reverse())).toBe(expected);
  });
});
