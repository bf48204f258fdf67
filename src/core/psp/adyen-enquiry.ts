/**
 * Finds out what became of a payout by looking for its reference among the balance account's transfers, within one
 * deadline. Moves no money, so it may try again; a failed look is doubt and never says anything about the payout.
 */
import pRetry from 'p-retry';
import { type AdyenFailure, classifyAdyenFailure, replyOfTransfer } from './adyen-classify.ts';
import type { AdyenPayout } from './adyen-request.ts';
import { isJsonObject, type JsonObject, parseJsonObject, textOrNull } from './json.ts';
import type { EnquiryReply, Reply, SentWindow } from './psp.ts';

/** 5 minutes in ms, on both sides of the window, for the difference between our clock and Adyen's. */
const CLOCK_MARGIN_MS = 5 * 60 * 1000;

/** Adyen's largest page (docs.adyen.com/api-explorer/transfers/4/get/transfers). */
const PAGE_SIZE = 100;

/** 1,000 transfers under one reference: far more than there are books that share a platform. */
const MAX_PAGES = 10;

/** Tries of one GET after the first, 200 ms and 400 ms apart (half to all of it); the deadline bounds them too. */
const MAX_RETRIES = 2;
const RETRY_DELAY_MS = 200;

export type AdyenEnquiry = {
  readonly payout: AdyenPayout;
  readonly sent: SentWindow;
  /** How long the last send may have been under way, in ms. */
  readonly timeoutMs: number;
  /** For the whole enquiry, from now, in ms. */
  readonly deadlineMs: number;
  /** One GET of the transfers. Never throws for a failed call. */
  readonly list: (query: Readonly<Record<string, string>>, deadlineMs: number) => Promise<ListResult>;
};

export type ListResult =
  | { readonly kind: 'answered'; readonly body: string }
  | { readonly kind: 'failed'; readonly failure: AdyenFailure };

/** A reply that ends the enquiry early; thrown inside this file only. */
class EnquiryEnded extends Error {
  readonly reply: Reply;
  /** True for a failure that may pass by itself within a second. */
  readonly mayPass: boolean;

  constructor(reply: Reply, mayPass = false) {
    super(reply.kind);
    this.reply = reply;
    this.mayPass = mayPass;
  }
}

/**
 * The transfer's own state, or `not_found` after a full listing over [first sent − 5 min, last sent + time-out +
 * 5 min]. A failure of the enquiry itself is unknown, rate_limited or config_error.
 */
export async function enquireAdyen(enquiry: AdyenEnquiry): Promise<EnquiryReply> {
  try {
    return judge(await listTransfers(enquiry), enquiry.payout);
  } catch (error) {
    if (error instanceof EnquiryEnded) return error.reply;
    throw error;
  }
}

async function listTransfers(enquiry: AdyenEnquiry): Promise<readonly JsonObject[]> {
  const { payout, sent, timeoutMs } = enquiry;
  const endsAt = performance.now() + enquiry.deadlineMs;
  const query: Record<string, string> = {
    balanceAccountId: payout.balanceAccountId,
    reference: payout.expected.reference,
    createdSince: new Date(Date.parse(sent.firstSentAt) - CLOCK_MARGIN_MS).toISOString(),
    createdUntil: new Date(Date.parse(sent.lastSentAt) + timeoutMs + CLOCK_MARGIN_MS).toISOString(),
    limit: String(PAGE_SIZE),
  };
  const found: JsonObject[] = [];
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const { data, cursor } = readPage(await getPage(enquiry, query, endsAt));
    for (const transfer of data) {
      // Another book on the same platform may have an operation of this number.
      if (transfer.description === payout.description) found.push(transfer);
    }
    if (cursor === null) return found;
    query.cursor = cursor;
  }
  throw new EnquiryEnded(doubt(`the listing has more than ${MAX_PAGES} pages`));
}

/** A GET that tries again for what may pass by itself, and otherwise ends the enquiry. */
function getPage(
  enquiry: AdyenEnquiry,
  query: Readonly<Record<string, string>>,
  endsAt: number,
): Promise<string> {
  const once = async (): Promise<string> => {
    const leftMs = endsAt - performance.now();
    if (leftMs <= 0) throw new EnquiryEnded(doubt(`the enquiry did not end within ${enquiry.deadlineMs} ms`));
    const result = await enquiry.list(query, leftMs);
    if (result.kind === 'answered') return result.body;
    const reply = classifyAdyenFailure(result.failure);
    throw new EnquiryEnded(asEvidence(reply), reply.kind === 'not_sent' || reply.kind === 'unknown');
  };
  return pRetry(once, {
    retries: MAX_RETRIES,
    minTimeout: RETRY_DELAY_MS,
    randomize: true,
    maxRetryTime: Math.max(0, endsAt - performance.now()),
    shouldRetry: ({ error }) => error instanceof EnquiryEnded && error.mayPass,
  });
}

/** The failure of a look says nothing about the attempt: "refused" or "never sent" must not come out of here. */
export function asEvidence(reply: Reply, call: 'enquiry' | 'cancellation' = 'enquiry'): Reply {
  if (reply.kind === 'rate_limited' || reply.kind === 'config_error') {
    return { ...reply, reason: `the ${call} was refused: ${reply.reason}` };
  }
  const why = 'reason' in reply ? reply.reason : reply.kind;
  return doubt(`the ${call} failed: ${why}`, 'retryAfterMs' in reply ? reply.retryAfterMs : null);
}

function readPage(body: string): { data: readonly JsonObject[]; cursor: string | null } {
  const page = parseJsonObject(body);
  const data = page?.data;
  if (!Array.isArray(data) || !data.every(isJsonObject)) {
    throw new EnquiryEnded(doubt('the listing is not a list of transfers'));
  }
  return { data, cursor: cursorOf(page) };
}

/** The address of the next page stands in the answer; only its cursor is taken from there. */
function cursorOf(page: JsonObject | null): string | null {
  const links = page?._links;
  const next = isJsonObject(links) && isJsonObject(links.next) ? textOrNull(links.next.href) : null;
  if (next === null) return null;
  const cursor = URL.canParse(next) ? new URL(next).searchParams.get('cursor') : null;
  if (cursor === null) throw new EnquiryEnded(doubt('the listing has more pages but does not say where'));
  return cursor;
}

function judge(found: readonly JsonObject[], payout: AdyenPayout): EnquiryReply {
  const [first] = found;
  if (first === undefined) {
    return { kind: 'not_found', reason: 'a full listing of the window shows no transfer of this attempt' };
  }
  if (found.length === 1) return replyOfTransfer(first, payout.expected);
  const replies = found.map((transfer) => replyOfTransfer(transfer, payout.expected));
  const note = `${found.length} transfers carry the key of this attempt`;
  const succeeded = replies.find((reply) => reply.kind === 'succeeded');
  return succeeded === undefined ? doubt(note) : { ...succeeded, reason: note };
}

function doubt(reason: string, retryAfterMs: number | null = null): Reply {
  return { kind: 'unknown', reason, next: 'enquire', retryAfterMs };
}
