/** Which deliveries are Stripe's, what they are about, and that nothing else is listened to. */
import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readStripeWebhook } from './stripe-webhook.ts';

const SECRET = 'whsec_one';
const NOW_S = 1_795_600_000;

const REFUND = { id: 're_1', object: 'refund', metadata: { paygate_operation: 'op_12' } };

function bodyOf(object: unknown = REFUND, more: Record<string, unknown> = {}): Buffer {
  const event = { id: 'evt_1', object: 'event', type: 'refund.updated', data: { object }, ...more };
  return Buffer.from(JSON.stringify(event, null, 2));
}

function sign(body: Buffer | string, secret = SECRET, t: number | string = NOW_S): string {
  return createHmac('sha256', secret).update(`${t}.`).update(body).digest('hex');
}

function header(body: Buffer, t = NOW_S, secret = SECRET): string {
  return `t=${t},v1=${sign(body, secret, t)}`;
}

function read(body: Buffer, signature: string | undefined = header(body), nowS = NOW_S) {
  return readStripeWebhook(body, { 'stripe-signature': signature }, SECRET, nowS);
}

describe('an event', () => {
  test.each<[string, unknown, string | null, string | null]>([
    ['a refund', REFUND, 'op_12', 're_1'],
    ['an object without our metadata', { id: 'tr_1', object: 'transfer', metadata: {} }, null, 'tr_1'],
    [
      'a charge, known by its payment intent',
      { id: 'ch_1', object: 'charge', payment_intent: 'pi_1', metadata: { paygate_operation: 'op_1' } },
      'op_1',
      'pi_1',
    ],
    [
      'a reference that is not ours',
      { ...REFUND, metadata: { paygate_operation: 'op_1; drop' } },
      null,
      're_1',
    ],
    ['a reference that is no text', { ...REFUND, metadata: { paygate_operation: 12 } }, null, 're_1'],
    ['no object', null, null, null],
  ])('about %s', (_name, object, operationReference, pspReference) => {
    const event = { kind: 'event', id: 'evt_1', type: 'refund.updated' };
    expect(read(bodyOf(object))).toEqual({ ...event, operationReference, pspReference });
  });

  test('about a dispute names it too', () => {
    const dispute = { id: 'du_1', object: 'dispute', payment_intent: 'pi_1', metadata: {} };
    const about = { operationReference: null, pspReference: 'pi_1', disputeReference: 'du_1' };
    expect(read(bodyOf(dispute))).toMatchObject({ kind: 'event', ...about });
  });

  test('may carry several signatures and other schemes, as while a secret is replaced', () => {
    const body = bodyOf();
    const signatures = `v0=${'0'.repeat(64)}, v1=${sign(body, 'whsec_old')}, v1=${sign(body)}`;
    expect(read(body, `t=${NOW_S},${signatures}`)).toMatchObject({ kind: 'event' });
  });

  test.each([-300, 300])('may have been signed %i s from now', (offset) => {
    const body = bodyOf();
    expect(read(body, header(body, NOW_S + offset))).toMatchObject({ kind: 'event' });
  });
});

describe('what is refused', () => {
  const body = bodyOf();
  test.each<[string, string | undefined, RegExp]>([
    ['no header', undefined, /no Stripe-Signature/],
    ['an empty header', '', /no Stripe-Signature/],
    ['no time', `v1=${sign(body)}`, /cannot be read/],
    ['two times', `t=1,t=${NOW_S},v1=${sign(body)}`, /cannot be read/],
    ['a time that is no number', `t=now,v1=${sign(body, SECRET, 'now')}`, /cannot be read/],
    ['no signature', `t=${NOW_S}`, /no signature matches/],
    ['another scheme only', `t=${NOW_S},v0=${sign(body)}`, /no signature matches/],
    ['another secret', header(body, NOW_S, 'whsec_two'), /no signature matches/],
    ['another time', `t=${NOW_S + 1},v1=${sign(body)}`, /no signature matches/],
    ['half a signature', `t=${NOW_S},v1=${sign(body).slice(0, 32)}`, /no signature matches/],
    ['too many signatures', `t=${NOW_S}${`,v1=${sign(body)}`.repeat(17)}`, /cannot be read/],
    ['a long header', `t=${NOW_S},v1=${'a'.repeat(5_000)}`, /too long/],
    ['stale', header(body, NOW_S - 301), /more than 300 s/],
    ['from the future', header(body, NOW_S + 301), /more than 300 s/],
  ])('%s', (_name, signature, reason) => {
    const reading = readStripeWebhook(body, { 'stripe-signature': signature }, SECRET, NOW_S);
    expect(reading).toEqual({ kind: 'refused', reason: expect.stringMatching(reason) });
  });

  test('a body that was parsed and printed again', () => {
    const printed = Buffer.from(JSON.stringify(JSON.parse(body.toString())));
    expect(read(printed, header(body))).toMatchObject({ kind: 'refused' });
  });

  test('everything, while no secret is configured', () => {
    const unsigned = `t=${NOW_S},v1=${sign(body, '')}`;
    const reading = readStripeWebhook(body, { 'stripe-signature': unsigned }, '', NOW_S);
    expect(reading).toMatchObject({ kind: 'refused', reason: expect.stringContaining('secret') });
  });

  test.each([
    ['not JSON', Buffer.from('hello')],
    ['no event', bodyOf(REFUND, { object: 'refund' })],
    ['no id', bodyOf(REFUND, { id: '' })],
    ['no type', bodyOf(REFUND, { type: undefined })],
    ['too long', bodyOf('x'.repeat(1_000_000))],
  ])('signed, but %s', (_name, odd) => {
    expect(read(odd)).toMatchObject({ kind: 'refused' });
  });
});

test('nothing that anybody sends makes it throw', () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.string(), (bytes, signature) => {
      expect(read(Buffer.from(bytes), signature).kind).toBe('refused');
    }),
  );
});

test('a changed byte is noticed, wherever it is', () => {
  const body = bodyOf();
  fc.assert(
    fc.property(fc.nat(body.length - 1), fc.integer({ min: 1, max: 255 }), (place, change) => {
      const changed = Buffer.from(body);
      changed[place] = changed[place]! ^ change;
      expect(read(changed, header(body)).kind).toBe('refused');
    }),
  );
});
