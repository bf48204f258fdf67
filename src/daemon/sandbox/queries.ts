/**
 * The reading calls: one intent, lists with Stripe's paging, charges, the balance. Changes nothing.
 */
import { readExpansion } from './confirmation.ts';
import type { FormMap } from './form.ts';
import { chargeId } from './ids.ts';
import type { ChargeRecord, IntentRecord } from './intent.ts';
import { Params } from './params.ts';
import { renderCharge, renderIntent, renderList } from './render.ts';
import type { SandboxState } from './state.ts';
import { invalidRequest, noSuch, type StripeError } from './stripe-errors.ts';

export type ReadName = 'retrieve' | 'list' | 'charges' | 'balance';

export type ReadResult =
  | { readonly kind: 'body'; readonly body: string }
  | { readonly kind: 'refused'; readonly error: StripeError };

/** Stripe's page size when none is given, and the largest it gives. */
const DEFAULT_LIMIT = 10;
const MAX_LIMIT = 100;

/** Answers a reading call; `id` is the name in the path, null where the path has none. */
export function answerRead(
  name: ReadName,
  query: FormMap,
  id: string | null,
  state: SandboxState,
): ReadResult {
  const params = new Params(query);
  switch (name) {
    case 'retrieve':
      return retrieve(params, id ?? '', state);
    case 'list':
      return listIntents(params, state);
    case 'charges':
      return listCharges(params, state);
    case 'balance':
      return balance(params, state);
  }
}

function retrieve(params: Params, id: string, state: SandboxState): ReadResult {
  const expansion = readExpansion(params);
  const error = params.problem() ?? expansion.error;
  if (error !== null) return refused(error);
  const intent = state.find(id);
  if (intent === null) return refused(noSuch('payment_intent', id, 'intent'));
  return { kind: 'body', body: renderIntent(intent, expansion.value) };
}

function listIntents(params: Params, state: SandboxState): ReadResult {
  const page = readPage(params);
  const created = readCreated(params);
  const customer = params.text('customer');
  const expansion = readExpansion(params, 'data.');
  params.refuseUnmodelled(['customer_account']);
  const error = params.problem() ?? expansion.error ?? page.error;
  if (error !== null) return refused(error);
  const cursor = page.cursor === null ? null : state.find(page.cursor);
  if (page.cursor !== null && cursor === null)
    return refused(noSuch('payment_intent', page.cursor, page.cursorParam));
  const from = state.firstSince(created.fromS);
  const before = state.firstSince(created.beforeS);
  const wanted = (seq: number): IntentRecord | null => {
    const intent = state.at(seq);
    return customer === null || intent.extras?.customer === customer ? intent : null;
  };
  const found =
    page.direction === 'older'
      ? collect(Math.min(before, cursor?.seq ?? before) - 1, from, -1, page.limit, wanted)
      : reversed(collect(Math.max(from, (cursor?.seq ?? -1) + 1), before - 1, 1, page.limit, wanted));
  const data = found.items.map((intent) => renderIntent(intent, expansion.value));
  return { kind: 'body', body: renderList('/v1/payment_intents', data, found.more) };
}

function listCharges(params: Params, state: SandboxState): ReadResult {
  const page = readPage(params);
  const created = readCreated(params);
  const customer = params.text('customer');
  const group = params.text('transfer_group');
  const ofIntent = params.text('payment_intent');
  params.refuseUnmodelled(['expand']);
  const error = params.problem() ?? page.error;
  if (error !== null) return refused(error);
  if (ofIntent !== null && state.find(ofIntent) === null)
    return refused(noSuch('payment_intent', ofIntent, 'payment_intent'));
  const charges = chargesOf(state, ofIntent, group).filter(
    ({ intent, charge }) =>
      charge.created >= created.fromS &&
      charge.created < created.beforeS &&
      (group === null || intent.transferGroup === group) &&
      (customer === null || intent.extras?.customer === customer),
  );
  const place = page.cursor === null ? null : charges.findIndex(({ id }) => id === page.cursor);
  if (place === -1) return refused(noSuch('charge', page.cursor ?? '', page.cursorParam));
  const wanted = (index: number): NumberedCharge | null => charges[index] ?? null;
  const found =
    page.direction === 'older'
      ? collect((place ?? -1) + 1, charges.length - 1, 1, page.limit, wanted)
      : reversed(collect((place ?? charges.length) - 1, 0, -1, page.limit, wanted));
  const data = found.items.map(({ intent, charge, number }) => renderCharge(intent, charge, number));
  return { kind: 'body', body: renderList('/v1/charges', data, found.more) };
}

/** Everything ever received counts as available: fees, refunds and deposits come with a later issue. */
function balance(params: Params, state: SandboxState): ReadResult {
  const error = params.problem();
  if (error !== null) return refused(error);
  const available = [...state.received].map(([currency, amount]) => ({
    amount,
    currency,
    source_types: { card: amount },
  }));
  const body = JSON.stringify({
    object: 'balance',
    available,
    livemode: false,
    pending: available.map(({ currency }) => ({ amount: 0, currency, source_types: { card: 0 } })),
  });
  return { kind: 'body', body };
}

interface NumberedCharge {
  readonly id: string;
  readonly intent: IntentRecord;
  readonly charge: ChargeRecord;
  readonly number: number;
}

/** Charges, newest first, of one intent, of one transfer group, or of all. */
function chargesOf(state: SandboxState, ofIntent: string | null, group: string | null): NumberedCharge[] {
  const charges = intentsOf(state, ofIntent, group).flatMap((intent) =>
    intent.charges.map((charge, number) => ({ id: chargeId(intent.id, number), intent, charge, number })),
  );
  return charges.reverse().sort((a, b) => b.charge.created - a.charge.created);
}

function intentsOf(
  state: SandboxState,
  ofIntent: string | null,
  group: string | null,
): readonly IntentRecord[] {
  if (ofIntent !== null) {
    const intent = state.find(ofIntent);
    return intent === null ? [] : [intent];
  }
  return group === null ? state.snapshot() : state.inTransferGroup(group).map((seq) => state.at(seq));
}

interface Page {
  readonly limit: number;
  readonly cursor: string | null;
  readonly cursorParam: 'starting_after' | 'ending_before';
  readonly direction: 'older' | 'newer';
  readonly error: StripeError | null;
}

function readPage(params: Params): Page {
  const limit = params.integer('limit', 1) ?? DEFAULT_LIMIT;
  const after = params.text('starting_after');
  const before = params.text('ending_before');
  const error =
    limit > MAX_LIMIT
      ? invalidRequest(`Invalid integer: ${limit} must be at most ${MAX_LIMIT}`, { param: 'limit' })
      : after !== null && before !== null
        ? invalidRequest('You cannot parameterize both starting_after and ending_before.')
        : null;
  return {
    limit,
    cursor: after ?? before,
    cursorParam: before === null ? 'starting_after' : 'ending_before',
    direction: before === null ? 'older' : 'newer',
    error,
  };
}

/** The range of `created` as [fromS, beforeS), in seconds. */
function readCreated(params: Params): { readonly fromS: number; readonly beforeS: number } {
  if (!params.isObject('created')) {
    const exact = params.integer('created', 0);
    return exact === null
      ? { fromS: 0, beforeS: Number.MAX_SAFE_INTEGER }
      : { fromS: exact, beforeS: exact + 1 };
  }
  const range = params.object('created');
  const gt = range.integer('gt', 0) ?? -1;
  const gte = range.integer('gte', 0) ?? 0;
  const lt = range.integer('lt', 0) ?? Number.MAX_SAFE_INTEGER;
  const lte = range.integer('lte', 0) ?? Number.MAX_SAFE_INTEGER - 1;
  return { fromS: Math.max(gt + 1, gte), beforeS: Math.min(lt, lte + 1) };
}

interface Collected<T> {
  readonly items: T[];
  readonly more: 'has_more' | 'is_last';
}

/** Up to `limit` wanted items from index `first` to `last` (both included), and whether there is another. */
function collect<T>(
  first: number,
  last: number,
  step: 1 | -1,
  limit: number,
  wanted: (index: number) => T | null,
): Collected<T> {
  const items: T[] = [];
  for (let index = first; step === 1 ? index <= last : index >= last; index += step) {
    const item = wanted(index);
    if (item === null) continue;
    if (items.length === limit) return { items, more: 'has_more' };
    items.push(item);
  }
  return { items, more: 'is_last' };
}

function reversed<T>(found: Collected<T>): Collected<T> {
  return { items: found.items.reverse(), more: found.more };
}

function refused(error: StripeError): ReadResult {
  return { kind: 'refused', error };
}
