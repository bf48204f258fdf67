/**
 * The admin API's account of what really happened: GET truth and everything below it. Reads only.
 */
import { type Answer, json, jsonList, ndjson } from './admin-answer.ts';
import { availableOf } from './balance.ts';
import type { Engine } from './engine.ts';
import {
  chargesOf,
  disputeLine,
  disputeMovement,
  type Movement,
  matchesFilter,
  matchesMetadata,
  movedBy,
  refundLine,
  refundMovement,
  type Shape,
  summarize,
  type TruthFilter,
  transferLine,
  transferMovement,
  truthLine,
} from './truth.ts';

/** Answers a GET of the truth; null when there is no such account. */
export function tellTruth(engine: Engine, call: string, query: URLSearchParams): Answer | null {
  const { state } = engine;
  engine.settleDue();
  switch (call) {
    case 'GET truth':
      return intents(engine, query);
    case 'GET truth/summary':
      return json(summarize(state.intents.snapshot()));
    case 'GET truth/moved':
      return moved(query, chargesOf(state.intents.snapshot()), 'paygate_order', 'intents');
    case 'GET truth/refunds':
      return objects(query, 'refunds', state.refunds.snapshot().filter(refundFilter(query)), refundLine);
    case 'GET truth/refunded':
      return moved(query, state.refunds.snapshot().map(refundMovement), 'paygate_operation', 'objects');
    case 'GET truth/transfers':
      return objects(
        query,
        'transfers',
        state.transfers.snapshot().filter(transferFilter(query)),
        transferLine,
      );
    case 'GET truth/transferred':
      return moved(query, state.transfers.snapshot().map(transferMovement), 'paygate_operation', 'objects');
    case 'GET truth/disputes':
      return objects(query, 'disputes', state.disputes.snapshot(), disputeLine);
    case 'GET truth/disputed': {
      const movements = state.disputes.snapshot().flatMap((dispute) => {
        const intent = state.intents.find(dispute.intentId);
        return intent === null ? [] : [disputeMovement(dispute, intent)];
      });
      return moved(query, movements, 'paygate_operation', 'objects');
    }
    case 'GET truth/balance':
      return json(
        Object.fromEntries(
          [...state.balances.all()].map(([currency, one]) => [
            currency,
            { ...one, available: availableOf(one) },
          ]),
        ),
      );
    default:
      return null;
  }
}

function intents(engine: Engine, query: URLSearchParams): Answer {
  const filter: TruthFilter = { metadata: metadataOf(query), transferGroup: query.get('transfer_group') };
  const found = engine.state.intents.snapshot().filter((intent) => matchesFilter(intent, filter));
  if (query.get('format') === 'ndjson') return ndjson(found, truthLine);
  return jsonList(`"summary":${JSON.stringify(summarize(found))},`, 'payment_intents', found, truthLine);
}

function objects<T>(
  query: URLSearchParams,
  name: string,
  found: readonly T[],
  print: (item: T) => string,
): Answer {
  return query.get('format') === 'ndjson' ? ndjson(found, print) : jsonList('', name, found, print);
}

function refundFilter(query: URLSearchParams) {
  const metadata = metadataOf(query);
  const intent = query.get('payment_intent');
  return (refund: { readonly metadataJson: string; readonly intentId: string }) =>
    (intent === null || refund.intentId === intent) && matchesMetadata(refund.metadataJson, metadata);
}

function transferFilter(query: URLSearchParams) {
  const metadata = metadataOf(query);
  const group = query.get('transfer_group');
  return (transfer: { readonly metadataJson: string; readonly transferGroup: string | null }) =>
    (group === null || transfer.transferGroup === group) && matchesMetadata(transfer.metadataJson, metadata);
}

/** One line per reference: `by` names a metadata key, or the object's own group. */
function moved(
  query: URLSearchParams,
  movements: readonly Movement[],
  byDefault: string,
  shape: Shape,
): Answer {
  const atLeast = Number(query.get('at_least') ?? 0);
  const rows = movedBy(movements, query.get('by') ?? byDefault, shape);
  return ndjson(
    rows.filter((row) => row.succeeded >= atLeast),
    (row) => JSON.stringify(row),
  );
}

function metadataOf(query: URLSearchParams): Readonly<Record<string, string>> {
  return Object.fromEntries(
    [...query].flatMap(([name, value]) => {
      const key = /^metadata\[(.+)\]$/.exec(name)?.[1];
      return key === undefined ? [] : [[key, value]];
    }),
  );
}
