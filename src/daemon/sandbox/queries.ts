/**
 * The reading calls: one object, lists with Stripe's paging, the balance. Changes nothing.
 */
import { availableOf } from './balance.ts';
import { readExpansion } from './confirmation.ts';
import type { FormMap } from './form.ts';
import { chargeId, intentOfCharge } from './ids.ts';
import type { ChargeRecord, IntentRecord } from './intent.ts';
import type { Numbered, Ordered } from './object-table.ts';
import { collect, pageOf, readCreated, readPage, reversed } from './paging.ts';
import { Params } from './params.ts';
import {
  renderCharge,
  renderDispute,
  renderEvent,
  renderIntent,
  renderList,
  renderRefund,
  renderTransfer,
} from './render.ts';
import type { SandboxState } from './state.ts';
import { noSuch, type StripeError } from './stripe-errors.ts';

export type ReadName =
  | 'retrieve'
  | 'list'
  | 'charges'
  | 'balance'
  | 'retrieve_refund'
  | 'list_refunds'
  | 'retrieve_transfer'
  | 'list_transfers'
  | 'retrieve_dispute'
  | 'list_disputes'
  | 'retrieve_event'
  | 'list_events';

export type ReadResult =
  | { readonly kind: 'body'; readonly body: string }
  | { readonly kind: 'refused'; readonly error: StripeError };

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
    case 'retrieve_refund':
      return retrieveOne(params, id ?? '', 'refund', state.refunds, renderRefund);
    case 'list_refunds':
      return listRefunds(params, state);
    case 'retrieve_transfer':
      return retrieveOne(params, id ?? '', 'transfer', state.transfers, renderTransfer);
    case 'list_transfers':
      return listTransfers(params, state);
    case 'retrieve_dispute':
      return retrieveDispute(params, id ?? '', state);
    case 'list_disputes':
      return listDisputes(params, state);
    case 'retrieve_event':
      return retrieveOne(params, id ?? '', 'event', state.events, renderEvent);
    case 'list_events':
      return listEvents(params, state);
  }
}

function retrieve(params: Params, id: string, state: SandboxState): ReadResult {
  const expansion = readExpansion(params);
  const error = params.problem() ?? expansion.error;
  if (error !== null) return refused(error);
  const intent = state.intents.find(id);
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
  const cursor = page.cursor === null ? null : state.intents.find(page.cursor);
  if (page.cursor !== null && cursor === null)
    return refused(noSuch('payment_intent', page.cursor, page.cursorParam));
  const wanted = (intent: IntentRecord) => customer === null || intent.extras?.customer === customer;
  const found = pageOf(state.intents, null, page, created, cursor, wanted);
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
  if (ofIntent !== null && state.intents.find(ofIntent) === null)
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

/** Source: https://docs.stripe.com/api/balance/balance_object */
function balance(params: Params, state: SandboxState): ReadResult {
  const error = params.problem();
  if (error !== null) return refused(error);
  const available = [...state.balances.all()].map(([currency, one]) => {
    const amount = availableOf(one);
    return { amount, currency, source_types: { card: amount } };
  });
  const body = JSON.stringify({
    object: 'balance',
    available,
    livemode: false,
    pending: available.map(({ currency }) => ({ amount: 0, currency, source_types: { card: 0 } })),
  });
  return { kind: 'body', body };
}

/** Objects that can be listed and found by name. */
type Findable<T extends Numbered> = Ordered<T> & { find(id: string): T | null };

function retrieveOne<T extends Numbered>(
  params: Params,
  id: string,
  what: string,
  table: Findable<T>,
  render: (record: T) => string,
): ReadResult {
  params.refuseUnmodelled(['expand']);
  const error = params.problem();
  if (error !== null) return refused(error);
  const record = table.find(id);
  return record === null ? refused(noSuch(what, id, 'id')) : { kind: 'body', body: render(record) };
}

/** With its payment intent as the whole object where the caller asks for that. */
function retrieveDispute(params: Params, id: string, state: SandboxState): ReadResult {
  const expanded = params.list('expand');
  if (expanded.some((name) => name !== 'payment_intent')) params.refuseUnmodelled(['expand']);
  const error = params.problem();
  if (error !== null) return refused(error);
  const dispute = state.disputes.find(id);
  if (dispute === null) return refused(noSuch('dispute', id, 'id'));
  const intent = expanded.length === 0 ? null : state.intents.find(dispute.intentId);
  return { kind: 'body', body: renderDispute(dispute, intent) };
}

function listRefunds(params: Params, state: SandboxState): ReadResult {
  const { ofIntent, chargeNumber, error } = readCharged(params, state);
  return listOf(params, error, {
    what: 'refund',
    table: state.refunds,
    positions: ofIntent === null ? null : state.refunds.inGroup(ofIntent),
    isWanted: (refund) => chargeNumber === null || refund.chargeNumber === chargeNumber,
    render: renderRefund,
  });
}

function listTransfers(params: Params, state: SandboxState): ReadResult {
  const group = params.text('transfer_group');
  const destination = params.text('destination');
  return listOf(params, null, {
    what: 'transfer',
    table: state.transfers,
    positions: group === null ? null : state.transfers.inGroup(group),
    isWanted: (transfer) => destination === null || transfer.destination === destination,
    render: renderTransfer,
  });
}

function listDisputes(params: Params, state: SandboxState): ReadResult {
  const { ofIntent, chargeNumber, error } = readCharged(params, state);
  return listOf(params, error, {
    what: 'dispute',
    table: state.disputes,
    positions: ofIntent === null ? null : state.disputes.inGroup(ofIntent),
    isWanted: (dispute) => chargeNumber === null || dispute.chargeNumber === chargeNumber,
    render: (dispute) => renderDispute(dispute),
  });
}

function listEvents(params: Params, state: SandboxState): ReadResult {
  const type = params.text('type');
  const types = params.list('types');
  params.refuseUnmodelled(['delivery_success']);
  return listOf(params, null, {
    what: 'event',
    table: state.events,
    positions: null,
    isWanted: (event) =>
      (type === null || event.type === type) && (types.length === 0 || types.includes(event.type)),
    render: renderEvent,
  });
}

/** The filters `payment_intent` and `charge`; a name that is nobody's is refused, as at Stripe. */
function readCharged(params: Params, state: SandboxState) {
  const intent = params.text('payment_intent');
  const charge = params.text('charge');
  const charged = charge === null ? null : intentOfCharge(charge);
  const foreign = charge !== null && state.intents.find(charged?.intent ?? '') === null;
  const error = foreign
    ? noSuch('charge', charge, 'charge')
    : intent !== null && state.intents.find(intent) === null
      ? noSuch('payment_intent', intent, 'payment_intent')
      : null;
  return { ofIntent: intent ?? charged?.intent ?? null, chargeNumber: charged?.number ?? null, error };
}

/** What makes one list different from another. */
interface Listing<T extends Numbered> {
  readonly what: 'refund' | 'transfer' | 'dispute' | 'event';
  readonly table: Findable<T>;
  readonly positions: readonly number[] | null;
  readonly isWanted: (record: T) => boolean;
  readonly render: (record: T) => string;
}

/** @param filterError what is wrong with the filters the caller has read already */
function listOf<T extends Numbered>(
  params: Params,
  filterError: StripeError | null,
  listing: Listing<T>,
): ReadResult {
  const page = readPage(params);
  const created = readCreated(params);
  params.refuseUnmodelled(['expand']);
  const error = params.problem() ?? page.error ?? filterError;
  if (error !== null) return refused(error);
  const cursor = page.cursor === null ? null : listing.table.find(page.cursor);
  if (page.cursor !== null && cursor === null)
    return refused(noSuch(listing.what, page.cursor, page.cursorParam));
  const found = pageOf(listing.table, listing.positions, page, created, cursor, listing.isWanted);
  return {
    kind: 'body',
    body: renderList(`/v1/${listing.what}s`, found.items.map(listing.render), found.more),
  };
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
    const intent = state.intents.find(ofIntent);
    return intent === null ? [] : [intent];
  }
  return group === null
    ? state.intents.snapshot()
    : state.intents.inGroup(group).map((seq) => state.intents.at(seq));
}

function refused(error: StripeError): ReadResult {
  return { kind: 'refused', error };
}
