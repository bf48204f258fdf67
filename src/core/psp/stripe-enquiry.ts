/**
 * Finds out what became of an attempt by looking at the account's payment intents, within one deadline.
 * Moves no money, so it may try again; a failed look is doubt and never says anything about the charge.
 */
import pRetry from 'p-retry';
import type { CallFailure } from './classify.ts';
import { classifyFailure } from './classify.ts';
import { isJsonObject, textOrNull } from './json.ts';
import type { EnquiryReply, Reply, SentWindow } from './psp.ts';
import { isIntentOf, replyOfIntent } from './stripe-intent.ts';
import type { ExpectedIntent } from './stripe-request.ts';

/** 5 minutes in ms, on both sides of the window, for the difference between our clock and Stripe's. */
const CLOCK_MARGIN_MS = 5 * 60 * 1000;

/** Stripe's largest page (docs.stripe.com/api/pagination). */
const PAGE_SIZE = 100;

/** 100,000 payment intents: an hour and more at Stripe's rate limit. The deadline usually comes first. */
const MAX_PAGES = 1_000;

/** Tries of one GET after the first, 200 ms and 400 ms apart (half to all of it); the deadline bounds them too. */
const MAX_RETRIES = 2;
const RETRY_DELAY_MS = 200;

/** Succeeded charges of one order to look into; more than this is not a case for a short cut. */
const MAX_CANDIDATES = 5;

export type StripeEnquiry = {
  readonly expected: ExpectedIntent;
  readonly transferGroup: string;
  readonly sent: SentWindow;
  /** How long the last send may have been under way, in ms. */
  readonly timeoutMs: number;
  /** For the whole enquiry, from now, in ms. */
  readonly deadlineMs: number;
  /** One GET. Never throws for a failed call. */
  readonly get: (path: string, deadlineMs: number) => Promise<GetResult>;
};

export type GetResult =
  | { readonly kind: 'answered'; readonly answer: unknown }
  | { readonly kind: 'failed'; readonly failure: CallFailure };

/** A reply that ends the enquiry early; thrown inside this file only, so that reading pages stays a plain loop. */
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
 * The evidence in what Stripe's account shows: the object's own state, or `not_found` after a full listing over
 * [first sent − 5 min, last sent + time-out + 5 min]. A failure of the enquiry itself is unknown, rate_limited or
 * config_error.
 */
export async function enquireStripe(enquiry: StripeEnquiry): Promise<EnquiryReply> {
  const getWithin = createRetryingGet(enquiry);
  try {
    const succeeded = await findByTransferGroup(enquiry, getWithin).catch(unlessInDoubt);
    if (succeeded !== null) return succeeded;
    const found = await listIntents(enquiry, getWithin);
    return judge(found, enquiry.expected);
  } catch (error) {
    if (error instanceof EnquiryEnded) return error.reply;
    throw error;
  }
}

type Get = (path: string) => Promise<unknown>;

/** A GET that tries again for what may pass by itself, and otherwise ends the enquiry. */
function createRetryingGet(enquiry: StripeEnquiry): Get {
  const endsAt = performance.now() + enquiry.deadlineMs;
  const once = async (path: string): Promise<unknown> => {
    const leftMs = endsAt - performance.now();
    if (leftMs <= 0) throw new EnquiryEnded(doubt(`the enquiry did not end within ${enquiry.deadlineMs} ms`));
    const result = await enquiry.get(path, leftMs);
    if (result.kind === 'answered') return result.answer;
    const reply = classifyFailure(result.failure);
    throw new EnquiryEnded(asEvidence(reply), reply.kind === 'not_sent' || reply.kind === 'unknown');
  };
  return (path) =>
    pRetry(() => once(path), {
      retries: MAX_RETRIES,
      minTimeout: RETRY_DELAY_MS,
      randomize: true,
      maxRetryTime: Math.max(0, endsAt - performance.now()),
      shouldRetry: ({ error }) => error instanceof EnquiryEnded && error.mayPass,
    });
}

/** The failure of a GET says nothing about the charge: "refused" or "never sent" must not come out of here. */
function asEvidence(reply: Reply): Reply {
  switch (reply.kind) {
    case 'rate_limited':
      return { ...reply, reason: `the enquiry was refused: ${reply.reason}` };
    case 'config_error':
      return { ...reply, reason: `the enquiry was refused: ${reply.reason}` };
    default: {
      const why = 'reason' in reply ? reply.reason : reply.kind;
      return doubt(`the enquiry failed: ${why}`, 'retryAfterMs' in reply ? reply.retryAfterMs : null);
    }
  }
}

function doubt(reason: string, retryAfterMs: number | null = null): Reply {
  return { kind: 'unknown', reason, next: 'enquire', retryAfterMs };
}

/**
 * The short cut: charges carry the order as transfer group, so one call finds a success where the listing of a
 * busy account takes hundreds. Only a success ends the search; an intent that has no charge yet is not seen here.
 */
async function findByTransferGroup(enquiry: StripeEnquiry, get: Get): Promise<Reply | null> {
  const query = new URLSearchParams({ transfer_group: enquiry.transferGroup, limit: String(PAGE_SIZE) });
  const { data } = readPage(await get(`/v1/charges?${query}`));
  const ids = data
    .filter((one) => isJsonObject(one) && one.status === 'succeeded')
    .map((one) => (isJsonObject(one) ? textOrNull(one.payment_intent) : null))
    .filter((id) => id !== null);
  const found: unknown[] = [];
  for (const id of [...new Set(ids)].slice(0, MAX_CANDIDATES)) {
    const intent = await get(`/v1/payment_intents/${encodeURIComponent(id)}`);
    if (isIntentOf(intent, enquiry.expected)) found.push(intent);
  }
  if (found.length === 0) return null;
  const reply = judge(found, enquiry.expected);
  return reply.kind === 'succeeded' ? reply : null;
}

/** The short cut may fail where the listing does not: then the listing decides. */
function unlessInDoubt(error: unknown): null {
  if (error instanceof EnquiryEnded && error.reply.kind === 'unknown') return null;
  throw error;
}

/** Every payment intent of this attempt that was created in the window. */
async function listIntents(enquiry: StripeEnquiry, get: Get): Promise<readonly unknown[]> {
  const query = new URLSearchParams({ limit: String(PAGE_SIZE), ...createdWithin(enquiry) });
  const found: unknown[] = [];
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const { data, hasMore } = readPage(await get(`/v1/payment_intents?${query}`));
    for (const intent of data) {
      if (isIntentOf(intent, enquiry.expected)) found.push(intent);
    }
    if (!hasMore) return found;
    const last = data.at(-1);
    const lastId = isJsonObject(last) ? textOrNull(last.id) : null;
    if (lastId === null)
      throw new EnquiryEnded(doubt('the listing has more pages but its last object has no id'));
    query.set('starting_after', lastId);
  }
  throw new EnquiryEnded(doubt(`the listing has more than ${MAX_PAGES} pages`));
}

function createdWithin({ sent, timeoutMs }: StripeEnquiry): Record<string, string> {
  const from = Date.parse(sent.firstSentAt) - CLOCK_MARGIN_MS;
  const to = Date.parse(sent.lastSentAt) + timeoutMs + CLOCK_MARGIN_MS;
  // Stripe counts whole seconds.
  return { 'created[gte]': String(Math.floor(from / 1000)), 'created[lte]': String(Math.ceil(to / 1000)) };
}

function readPage(answer: unknown): { data: readonly unknown[]; hasMore: boolean } {
  if (isJsonObject(answer) && Array.isArray(answer.data) && typeof answer.has_more === 'boolean') {
    return { data: answer.data, hasMore: answer.has_more };
  }
  throw new EnquiryEnded(doubt('the listing is not a list'));
}

/** The evidence of all objects that carry the references; more than one means that a key outlived its window. */
function judge(found: readonly unknown[], expected: ExpectedIntent): EnquiryReply {
  const replies = found.map((intent) => replyOfIntent(intent, expected));
  const [first] = replies;
  if (first === undefined) {
    return {
      kind: 'not_found',
      reason: 'a full listing of the window shows no payment intent of this attempt',
    };
  }
  if (replies.length === 1) return first;
  const kinds = replies.map((reply) => reply.kind).join(', ');
  const note = `${replies.length} payment intents carry the references of this attempt: ${kinds}`;
  const succeeded = replies.find((reply) => reply.kind === 'succeeded');
  if (succeeded !== undefined) return { ...succeeded, reason: note };
  const open = replies.filter((reply) => reply.kind !== 'declined');
  if (open.length > 1) return doubt(`${note}; more than one could still succeed`);
  const best = open[0] ?? first;
  return 'reason' in best ? { ...best, reason: `${best.reason} (${note})` } : best;
}
