/** Whatever happens to charges, refunds, transfers and disputes: no charge gives back more than it took, the balance adds up. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { steerObject } from './admin-objects.ts';
import { availableOf } from './balance.ts';
import { Engine } from './engine.ts';
import { parseForm } from './form.ts';
import { heldByRefund } from './refund.ts';
import { findRoute } from './routes.ts';
import { DEFAULT_SETTINGS } from './settings.ts';
import { reversedOf } from './transfer.ts';

const CARD = 'confirm=true&payment_method=pm_card_visa&automatic_payment_methods[enabled]=true';
const PAY = `currency=eur&${CARD}&automatic_payment_methods[allow_redirects]=never`;

/** One call under /v1/ from beginning to end, hit by a fault or not. */
function call(
  engine: Engine,
  path: string,
  body: string,
  key: string,
  fault: 'ok' | 'undo_later' | 'decline',
) {
  const [route, form] = [findRoute('POST', path), parseForm(body)];
  if (route === null || form.kind === 'malformed') throw new Error(`no call: ${path} ${body}`);
  const begun = engine.begin({ method: 'POST', path, url: path, route, form, key });
  if (begun.kind === 'started') engine.finish(begun.started, 'act', { name: fault });
}

const number = fc.nat(9);
const amount = fc.integer({ min: 1, max: 900 });
const fault = fc.constantFrom('ok' as const, 'ok' as const, 'undo_later' as const, 'decline' as const);
const step = fc.oneof(
  fc.record({ kind: fc.constant('pay' as const), amount, number, fault }),
  fc.record({ kind: fc.constant('refund' as const), amount, number, fault }),
  fc.record({ kind: fc.constant('transfer' as const), amount, number, fault }),
  fc.record({ kind: fc.constant('reverse' as const), amount, number, fault }),
  fc.record({ kind: fc.constant('fail_refund' as const), amount, number, fault }),
  fc.record({ kind: fc.constant('dispute' as const), amount, number, fault }),
  fc.record({ kind: fc.constant('win' as const), amount, number, fault }),
  fc.record({ kind: fc.constant('bounce' as const), amount, number, fault }),
  fc.record({ kind: fc.constant('wait' as const), amount, number, fault }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function take({ kind, amount, number, fault }: Step, engine: Engine, nth: number): void {
  const { intents, refunds, transfers, disputes } = engine.state;
  const key = `k${nth}`;
  const nameIn = (table: { readonly end: number; at(seq: number): { readonly id: string } }) =>
    table.end === 0 ? 'none' : table.at(number % table.end).id;
  const of = `payment_intent=${nameIn(intents)}`;
  switch (kind) {
    case 'pay':
      call(engine, '/v1/payment_intents', `amount=${amount + 50}&${PAY}`, key, fault);
      return;
    case 'refund':
      call(engine, '/v1/refunds', `${of}&amount=${amount}`, key, fault);
      return;
    case 'transfer':
      call(engine, '/v1/transfers', `amount=${amount}&currency=eur&destination=acct_1`, key, fault);
      return;
    case 'reverse':
      call(engine, `/v1/transfers/${nameIn(transfers)}/reversals`, `amount=${amount}`, key, 'ok');
      return;
    case 'fail_refund':
      steerObject(engine, `POST refunds/${nameIn(refunds)}/move`, '{"to":"failed"}');
      return;
    case 'dispute':
      steerObject(engine, `POST payment_intents/${nameIn(intents)}/dispute`, '{}');
      return;
    case 'win':
      steerObject(engine, `POST disputes/${nameIn(disputes)}/close`, '{"result":"won"}');
      return;
    case 'bounce':
      steerObject(engine, `POST payment_intents/${nameIn(intents)}/bounce`, '{}');
      return;
    case 'wait':
      engine.advance(10_000);
  }
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, one) => total + one, 0);

test('no charge gives back more than it took, and the balance is the sum of all objects', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const engine = new Engine(DEFAULT_SETTINGS);
      steps.forEach((one, nth) => {
        take(one, engine, nth);
        const { state } = engine;
        const [intents, refunds] = [state.intents.snapshot(), state.refunds.snapshot()];
        for (const intent of intents) {
          const held = sum(refunds.filter((refund) => refund.intentId === intent.id).map(heldByRefund));
          expect(sum(intent.charges.map((charge) => charge.refunded))).toBe(held);
          expect(held).toBeLessThanOrEqual(intent.received);
        }
        const out =
          sum(refunds.map(heldByRefund)) +
          sum(state.transfers.snapshot().map((transfer) => transfer.amount - reversedOf(transfer))) +
          sum(state.disputes.snapshot().map(({ status, amount }) => (status === 'won' ? 0 : amount)));
        const balance = state.balances.all().get('eur');
        const available = balance === undefined ? 0 : availableOf(balance);
        expect(available).toBe(sum(intents.map((intent) => intent.received)) - out);
      });
    }),
    { numRuns: 200 },
  );
});
