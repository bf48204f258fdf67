/**
 * Finds out what became of an attempt by looking at the account's objects, within one deadline. What to look for is
 * the search's. Moves no money, so it may try again; a failed look is doubt and never says anything about the attempt.
 */
import pRetry from 'p-retry';
import type { CallFailure } from './classify.ts';
import { classifyFailure } from './classify.ts';
import { isJsonObject, textOrNull } from './json.ts';
import type { EnquiryReply, Reply } from './psp.ts';
import type { StripeSearch } from './stripe-search.ts';

/** Stripe's largest page (docs.stripe.com/api/pagination). */
const PAGE_SIZE = 100;

/** 100,000 objects: an hour and more at Stripe's rate limit. The deadline usually comes first. */
const MAX_PAGES = 1_000;

/** Tries of one GET after the first, 200 ms and 400 ms apart (half to all of it); the deadline bounds them too. */
const MAX_RETRIES = 2;
const RETRY_DELAY_MS = 200;

/** Succeeded charges of one order to look into; more than this is not a case for a short cut. */
const MAX_CANDIDATES = 5;

export type StripeEnquiry = {
  readonly search: StripeSearch;
  /** Stripe's name of the object, where an answer has told it before. */
  readonly known: string | null;
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
 * The evidence in what Stripe's account shows: the object's own state, or `not_found` after a full listing. A
 * failure of the enquiry itself is unknown, rate_limited or config_error.
 */
export async function enquireStripe(enquiry: StripeEnquiry): Promise<EnquiryReply> {
  const getWithin = createRetryingGet(enquiry);
  try {
    const known = await readKnown(enquiry, getWithin).catch(unlessInDoubt);
    if (known !== null) return known;
    const succeeded = await findByTransferGroup(enquiry.search, getWithin).catch(unlessInDoubt);
    if (succeeded !== null) return succeeded;
    return judge(await listObjects(enquiry.search, getWithin), enquiry.search);
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

/** The failure of a look says nothing about the attempt: "refused" or "never sent" must not come out of here. */
export function asEvidence(reply: Reply, call: 'enquiry' | 'cancellation' = 'enquiry'): Reply {
  switch (reply.kind) {
    case 'rate_limited':
    case 'config_error':
      return { ...reply, reason: `the ${call} was refused: ${reply.reason}` };
    default: {
      const why = 'reason' in reply ? reply.reason : reply.kind;
      return doubt(`the ${call} failed: ${why}`, 'retryAfterMs' in reply ? reply.retryAfterMs : null);
    }
  }
}

function doubt(reason: string, retryAfterMs: number | null = null): Reply {
  return { kind: 'unknown', reason, next: 'enquire', retryAfterMs };
}

/**
 * The object itself, where its name is known: one call instead of a listing of everything that was made in its window,
 * which a busy account with a slow PSP may not get to the end of. Null: not known, or it is about something else.
 */
async function readKnown({ search, known }: StripeEnquiry, get: Get): Promise<Reply | null> {
  if (known === null) return null;
  const object = await get(`${search.path}/${encodeURIComponent(known)}`);
  return search.isOurs(object) ? search.replyOf(object) : null;
}

/**
 * The short cut: charges carry the order as transfer group, so one call finds a success where the listing of a
 * busy account takes hundreds. Only a success ends the search; an intent that has no charge yet is not seen here.
 */
async function findByTransferGroup(search: StripeSearch, get: Get): Promise<Reply | null> {
  if (search.transferGroup === null) return null;
  const query = new URLSearchParams({ transfer_group: search.transferGroup, limit: String(PAGE_SIZE) });
  const { data } = readPage(await get(`/v1/charges?${query}`));
  const ids = data
    .filter((one) => isJsonObject(one) && one.status === 'succeeded')
    .map((one) => (isJsonObject(one) ? textOrNull(one.payment_intent) : null))
    .filter((id) => id !== null);
  const found: unknown[] = [];
  for (const id of [...new Set(ids)].slice(0, MAX_CANDIDATES)) {
    const intent = await get(`/v1/payment_intents/${encodeURIComponent(id)}`);
    if (search.isOurs(intent)) found.push(intent);
  }
  if (found.length === 0) return null;
  const reply = judge(found, search);
  return reply.kind === 'succeeded' ? reply : null;
}

/** The short cut may fail where the listing does not: then the listing decides. */
function unlessInDoubt(error: unknown): null {
  if (error instanceof EnquiryEnded && error.reply.kind === 'unknown') return null;
  throw error;
}

/** Every object of this attempt in the whole list. */
async function listObjects(search: StripeSearch, get: Get): Promise<readonly unknown[]> {
  const query = new URLSearchParams({ limit: String(PAGE_SIZE), ...search.query });
  const found: unknown[] = [];
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const { data, hasMore } = readPage(await get(`${search.path}?${query}`));
    for (const object of data) {
      if (search.isOurs(object)) found.push(object);
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

function readPage(answer: unknown): { data: readonly unknown[]; hasMore: boolean } {
  if (isJsonObject(answer) && Array.isArray(answer.data) && typeof answer.has_more === 'boolean') {
    return { data: answer.data, hasMore: answer.has_more };
  }
  throw new EnquiryEnded(doubt('the listing is not a list'));
}

/** The evidence of all objects that carry the references; more than one means that a key outlived its window. */
function judge(found: readonly unknown[], { noun, replyOf }: StripeSearch): EnquiryReply {
  const replies = found.map(replyOf);
  const [first] = replies;
  if (first === undefined) {
    return { kind: 'not_found', reason: `a full listing shows no ${noun} of this attempt` };
  }
  if (replies.length === 1) return first;
  const kinds = replies.map((reply) => reply.kind).join(', ');
  const note = `${replies.length} ${noun}s carry the references of this attempt: ${kinds}`;
  const succeeded = replies.find((reply) => reply.kind === 'succeeded');
  if (succeeded !== undefined) return { ...succeeded, reason: note };
  const open = replies.filter((reply) => reply.kind !== 'declined');
  if (open.length > 1) return doubt(`${note}; more than one could still succeed`);
  const best = open[0] ?? first;
  return 'reason' in best ? { ...best, reason: `${best.reason} (${note})` } : best;
}
