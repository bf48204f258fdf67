/** The enquiry against scripted answers: windows, pages, several objects, and failures that must stay doubt. */
import { describe, expect, test } from 'vitest';
import type { CallFailure } from './classify.ts';
import type { GetResult, StripeEnquiry } from './stripe-enquiry.ts';
import { enquireStripe } from './stripe-enquiry.ts';
import { searchForCharge, searchForRefund, searchForTransfer } from './stripe-search.ts';

const METADATA = {
  paygate_payment: 'pay_1',
  paygate_order: 'ord_2',
  paygate_operation: 'op_9',
  paygate_attempt: '1',
  paygate_key: 'b7f3-op_9-1',
};

type Json = Record<string, unknown>;

function intent(id: string, status: string, metadata: Json = METADATA): Json {
  return { id, object: 'payment_intent', amount: 1250, currency: 'eur', metadata, status };
}

function list(data: unknown[], hasMore = false): Json {
  return { object: 'list', data, has_more: hasMore };
}

const OTHER = { ...METADATA, paygate_operation: 'op_1' };

/** Runs an enquiry; `answer` gets each path and gives the JSON, or a failure. */
async function enquire(
  answer: (path: string) => Json | CallFailure,
  options: Partial<StripeEnquiry> = {},
): Promise<{ reply: Awaited<ReturnType<typeof enquireStripe>>; paths: string[] }> {
  const paths: string[] = [];
  const reply = await enquireStripe({
    search: searchForCharge(
      {
        parameters: {},
        expected: { amount: 1250, currency: 'eur', customerPresent: false, metadata: METADATA },
      },
      { firstSentAt: '2026-11-23T10:00:00.400Z', lastSentAt: '2026-11-23T10:30:00.400Z' },
      30_000,
    ),
    known: null,
    deadlineMs: 10_000,
    async get(path): Promise<GetResult> {
      const decoded = decodeURIComponent(path);
      paths.push(decoded);
      const given = answer(decoded);
      return 'kind' in given
        ? { kind: 'failed', failure: given as CallFailure }
        : { kind: 'answered', answer: given };
    },
    ...options,
  });
  return { reply, paths };
}

/** No charge of the order; the listing as given. */
const listing = (data: unknown[]) => (path: string) =>
  path.startsWith('/v1/charges') ? list([]) : list(data);

describe('the window', () => {
  test('reaches from 5 minutes before the first send to 5 minutes after the last could have ended', async () => {
    const { paths } = await enquire(listing([]));
    const from = Date.parse('2026-11-23T09:55:00Z') / 1000;
    const to = Date.parse('2026-11-23T10:35:31Z') / 1000;
    expect(paths[1]).toBe(`/v1/payment_intents?limit=100&created[gte]=${from}&created[lte]=${to}`);
  });
});

describe('an object whose name is known', () => {
  test('is asked for by it, and nothing else is', async () => {
    const { reply, paths } = await enquire(() => intent('pi_7', 'requires_payment_method'), {
      known: 'pi_7',
    });
    expect(reply).toMatchObject({ kind: 'declined', pspReference: 'pi_7' });
    expect(paths).toEqual(['/v1/payment_intents/pi_7']);
  });

  test('that is not there, or not ours, is looked for as if the name were not known', async () => {
    const missing: CallFailure = {
      ...{ kind: 'refused', statusCode: 404, headers: {}, type: 'invalid_request_error' },
      ...{ code: 'resource_missing', declineCode: null, adviceCode: null, message: 'm', intent: null },
    };
    for (const wrong of [missing, intent('pi_7', 'succeeded', OTHER)]) {
      const { reply } = await enquire(
        (path) => (path.endsWith('/pi_7') ? wrong : listing([intent('pi_8', 'processing')])(path)),
        { known: 'pi_7' },
      );
      expect(reply).toEqual({ kind: 'pending', pspReference: 'pi_8' });
    }
  });
});

describe('the listing', () => {
  test('without the attempt is not found', async () => {
    const { reply } = await enquire(listing([intent('pi_1', 'succeeded', OTHER)]));
    expect(reply).toMatchObject({ kind: 'not_found' });
  });

  test.each([
    ['processing', { kind: 'pending', pspReference: 'pi_7' }],
    ['succeeded', { kind: 'succeeded', pspReference: 'pi_7' }],
    ['requires_payment_method', { kind: 'declined', pspReference: 'pi_7' }],
    ['canceled', { kind: 'declined' }],
    ['requires_capture', { kind: 'config_error' }],
    ['requires_confirmation', { kind: 'unknown', next: 'enquire' }],
  ])('with the attempt as %s gives its state', async (status, expected) => {
    const { reply } = await enquire(listing([intent('pi_1', 'succeeded', OTHER), intent('pi_7', status)]));
    expect(reply).toMatchObject(expected);
  });

  test('is read to its last page', async () => {
    const { reply, paths } = await enquire((path) => {
      if (path.startsWith('/v1/charges')) return list([]);
      if (path.includes('starting_after=pi_b')) return list([intent('pi_c', 'processing')]);
      if (path.includes('starting_after=pi_a')) return list([intent('pi_b', 'succeeded', OTHER)], true);
      return list([intent('pi_a', 'succeeded', OTHER)], true);
    });
    expect(reply).toEqual({ kind: 'pending', pspReference: 'pi_c' });
    expect(paths).toHaveLength(4);
  });

  test.each<[string, (path: string) => Json]>([
    ['that is not a list', () => ({ object: 'charge' })],
    ['with more to come after an empty page', () => list([], true)],
    ['with more to come after an object without id', () => list([{ object: 'payment_intent' }], true)],
  ])('%s is doubt, not a miss', async (_name, answer) => {
    const { reply } = await enquire((path) => (path.startsWith('/v1/charges') ? list([]) : answer(path)));
    expect(reply).toMatchObject({ kind: 'unknown', next: 'enquire' });
  });

  test('that never ends is given up after a thousand pages', async () => {
    let pages = 0;
    const { reply } = await enquire((path) => {
      if (path.startsWith('/v1/charges')) return list([]);
      pages += 1;
      return list([intent(`pi_${pages}`, 'succeeded', OTHER)], true);
    });
    expect(reply).toMatchObject({ kind: 'unknown', reason: 'the listing has more than 1000 pages' });
    expect(pages).toBe(1_000);
  });
});

describe('several objects of one attempt', () => {
  const note = (kinds: string) => `2 payment intents carry the references of this attempt: ${kinds}`;
  test.each<[string[], object]>([
    [
      ['requires_payment_method', 'succeeded'],
      { kind: 'succeeded', pspReference: 'pi_1', reason: note('declined, succeeded') },
    ],
    [
      ['succeeded', 'succeeded'],
      { kind: 'succeeded', pspReference: 'pi_0', reason: note('succeeded, succeeded') },
    ],
    [['canceled', 'processing'], { kind: 'pending', pspReference: 'pi_1' }],
    [
      ['processing', 'processing'],
      {
        kind: 'unknown',
        next: 'enquire',
        reason: expect.stringContaining('more than one could still succeed'),
      },
    ],
    [['canceled', 'canceled'], { kind: 'declined', reason: expect.stringContaining('2 payment intents') }],
  ])('%j', async (statuses, expected) => {
    const { reply } = await enquire(listing(statuses.map((status, index) => intent(`pi_${index}`, status))));
    expect(reply).toMatchObject(expected);
  });
});

describe('the short cut by transfer group', () => {
  const charges = [
    { object: 'charge', status: 'failed', payment_intent: 'pi_1' },
    { object: 'charge', status: 'succeeded', payment_intent: 'pi_2' },
  ];

  test('finds a success without reading the listing', async () => {
    const { reply, paths } = await enquire((path) =>
      path.startsWith('/v1/charges') ? list(charges) : intent('pi_2', 'succeeded'),
    );
    expect(reply).toEqual({ kind: 'succeeded', pspReference: 'pi_2' });
    expect(paths).toEqual(['/v1/charges?transfer_group=ord_2&limit=100', '/v1/payment_intents/pi_2']);
  });

  test("is not satisfied by another attempt's success", async () => {
    const { reply } = await enquire((path) => {
      if (path.startsWith('/v1/charges')) return list(charges);
      if (path === '/v1/payment_intents/pi_2')
        return intent('pi_2', 'succeeded', { ...METADATA, paygate_attempt: '2' });
      return list([intent('pi_1', 'requires_payment_method')]);
    });
    expect(reply).toMatchObject({ kind: 'declined', pspReference: 'pi_1' });
  });

  test('that fails leaves the answer to the listing', async () => {
    const { reply } = await enquire((path) =>
      path.startsWith('/v1/charges')
        ? { kind: 'unreadable', statusCode: 500, headers: {}, reason: 'an empty answer' }
        : list([intent('pi_1', 'succeeded')]),
    );
    expect(reply).toEqual({ kind: 'succeeded', pspReference: 'pi_1' });
  });
});

const REFERENCES = { paygate_operation: 'op_9', paygate_attempt: '1', paygate_key: 'b7f3-op_9-1' };

describe('a refund', () => {
  const search = searchForRefund({
    parameters: {},
    expected: { amount: 500, paymentIntent: 'pi_7', references: REFERENCES },
  });
  const refund = (id: string, status: string, metadata: Json = REFERENCES): Json => {
    return { id, object: 'refund', amount: 500, payment_intent: 'pi_7', status, metadata };
  };

  test('is looked for among all refunds of its payment intent, on every page', async () => {
    const { reply, paths } = await enquire(
      (path) =>
        path.includes('starting_after=re_1')
          ? list([refund('re_2', 'pending')])
          : list([refund('re_1', 'succeeded', OTHER)], true),
      { search },
    );
    expect(reply).toEqual({ kind: 'pending', pspReference: 're_2' });
    expect(paths).toEqual([
      '/v1/refunds?limit=100&payment_intent=pi_7',
      '/v1/refunds?limit=100&payment_intent=pi_7&starting_after=re_1',
    ]);
  });

  test('that is not there is not found', async () => {
    const { reply } = await enquire(() => list([]), { search });
    expect(reply).toMatchObject({ kind: 'not_found', reason: expect.stringContaining('refund') });
  });

  test('of a payment intent that Stripe does not know is doubt', async () => {
    const missing: CallFailure = {
      ...{ kind: 'refused', statusCode: 404, headers: {}, type: 'invalid_request_error' },
      ...{ code: 'resource_missing', declineCode: null, adviceCode: null, message: 'm', intent: null },
    };
    const { reply } = await enquire(() => missing, { search });
    expect(reply).toMatchObject({ kind: 'unknown', next: 'enquire' });
  });

  test('that was made twice counts as done, and says so', async () => {
    const { reply } = await enquire(() => list([refund('re_1', 'failed'), refund('re_2', 'succeeded')]), {
      search,
    });
    expect(reply).toMatchObject({
      kind: 'succeeded',
      pspReference: 're_2',
      reason: '2 refunds carry the references of this attempt: declined, succeeded',
    });
  });
});

describe('a payout', () => {
  const search = searchForTransfer({
    parameters: {},
    expected: {
      ...{ amount: 700, currency: 'eur', destination: 'acct_7', transferGroup: 'op_9' },
      references: REFERENCES,
    },
  });
  const transfer = (reversed: boolean): Json => ({
    ...{ id: 'tr_1', object: 'transfer', amount: 700, currency: 'eur', destination: 'acct_7', reversed },
    metadata: REFERENCES,
  });

  test.each([
    [false, { kind: 'succeeded', pspReference: 'tr_1', arrived: true }],
    [
      true,
      { kind: 'declined', reason: 'reversed', mayRetryAsNew: false, pspReference: 'tr_1', isUndone: true },
    ],
  ])('is looked for in its group (reversed: %s)', async (reversed, expected) => {
    const { reply, paths } = await enquire(() => list([transfer(reversed)]), { search });
    expect(reply).toEqual(expected);
    expect(paths).toEqual(['/v1/transfers?limit=100&transfer_group=op_9']);
  });
});

describe('an enquiry that fails says nothing about the attempt', () => {
  const refusal = {
    headers: {},
    code: null,
    declineCode: null,
    adviceCode: null,
    message: 'm',
    intent: null,
  };
  test.each<[string, CallFailure, object, number]>([
    [
      'connection refused',
      { kind: 'never_sent', reason: 'ECONNREFUSED' },
      { kind: 'unknown', next: 'enquire' },
      3,
    ],
    ['no answer', { kind: 'no_answer', reason: 'ECONNRESET' }, { kind: 'unknown', next: 'enquire' }, 3],
    [
      'rejected',
      { kind: 'refused', statusCode: 400, type: 'invalid_request_error', ...refusal },
      { kind: 'unknown', next: 'enquire' },
      1,
    ],
    [
      'declined',
      { kind: 'refused', statusCode: 402, type: 'card_error', ...refusal },
      { kind: 'unknown', next: 'enquire' },
      1,
    ],
    [
      '401',
      { kind: 'refused', statusCode: 401, type: 'invalid_request_error', ...refusal },
      { kind: 'config_error' },
      1,
    ],
    [
      '429',
      { kind: 'unreadable', statusCode: 429, headers: { 'retry-after': '4' }, reason: 'r' },
      { kind: 'rate_limited', retryAfterMs: 4000 },
      1,
    ],
  ])('%s', async (_name, failure, expected, callsOfListing) => {
    const { reply, paths } = await enquire((path) => (path.startsWith('/v1/charges') ? list([]) : failure));
    expect(reply).toMatchObject(expected);
    expect(paths.length - 1).toBe(callsOfListing);
  });

  test('a passing failure is tried again', async () => {
    let calls = 0;
    const { reply } = await enquire((path) => {
      if (path.startsWith('/v1/charges')) return list([]);
      calls += 1;
      return calls < 3 ? { kind: 'no_answer', reason: 'ECONNRESET' } : list([intent('pi_1', 'succeeded')]);
    });
    expect(reply).toEqual({ kind: 'succeeded', pspReference: 'pi_1' });
  });

  test('the deadline ends it', async () => {
    const { reply } = await enquire(
      (path) => (path.startsWith('/v1/charges') ? list([]) : { kind: 'no_answer', reason: 'slow' }),
      { deadlineMs: 30 },
    );
    expect(reply).toMatchObject({ kind: 'unknown', next: 'enquire' });
  });
});
