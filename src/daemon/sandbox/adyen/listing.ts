/**
 * Adyen's reading calls: one transfer, and the transfers of a balance account, by reference and time, in pages.
 */
import type { Reply } from '../engine.ts';
import { refusal, transferText, validationError } from './answers.ts';
import type { AdyenRecord, TransferRecord } from './records.ts';
import type { AdyenState } from './state.ts';

const DEFAULT_LIMIT = 10;
const MAX_LIMIT = 100;

/** The transfer of that name. */
export function readTransfer(state: AdyenState, name: string): Reply {
  const record = state.find(name);
  if (record?.kind === 'transfer') return { status: 200, body: transferText(record), origin: 'executed' };
  return refusal({ ...validationError('30_081', 'Transfer not found'), status: 404 }, 'platform');
}

/** The cursor is the place of the next transfer in the whole list. */
export function listTransfers(state: AdyenState, query: URLSearchParams): Reply {
  const since = Date.parse(query.get('createdSince') ?? '');
  const until = Date.parse(query.get('createdUntil') ?? '');
  const account = query.get('balanceAccountId');
  const limit = Number(query.get('limit') ?? DEFAULT_LIMIT);
  const from = Number(query.get('cursor') ?? 0);
  if (Number.isNaN(since) || Number.isNaN(until) || account === null) {
    return refusal(
      validationError('30_010', 'createdSince, createdUntil or an account is missing'),
      'platform',
    );
  }
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT || !Number.isInteger(from)) {
    return refusal(validationError('30_010', 'limit or cursor is not valid'), 'platform');
  }
  const reference = query.get('reference');
  const records = reference === null ? [...state.all()] : state.listByReference(reference);
  const found = records.filter(
    (record): record is TransferRecord =>
      isTransferOf(record, account) && record.createdMs >= since && record.createdMs <= until,
  );
  const page = found.slice(from, from + limit).map(transferText);
  const links = found.length > from + limit ? { next: { href: nextPage(query, from + limit) } } : {};
  const body = `{"data":[${page.join(',')}],"_links":${JSON.stringify(links)}}`;
  return { status: 200, body, origin: 'executed' };
}

function isTransferOf(record: AdyenRecord, account: string): record is TransferRecord {
  return record.kind === 'transfer' && record.balanceAccount === account;
}

function nextPage(query: URLSearchParams, cursor: number): string {
  const next = new URLSearchParams(query);
  next.set('cursor', String(cursor));
  return `https://balanceplatform-api-test.adyen.com/btl/v4/transfers?${next}`;
}
