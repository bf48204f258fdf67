/**
 * The Adyen connector: sends stored charges, refunds and payouts through the official library and says what each
 * call is evidence of. Never retries a money call, never touches the database, never throws for a business result.
 */
import { createRequire } from 'node:module';
import type { Client } from '@adyen/api-library';
import { Bug, OperatorError } from '../errors.ts';
import {
  type AdyenFailure,
  classifyAdyenFailure,
  replyOfPayment,
  replyOfRefund,
  replyOfTransfer,
} from './adyen-classify.ts';
import { enquireAdyen, type ListResult } from './adyen-enquiry.ts';
import { AdyenCallFailed, createAdyenHttpClient } from './adyen-http-client.ts';
import { newsOfAdyen } from './adyen-news.ts';
import { parseAdyenCharge, parseAdyenPayout, parseAdyenRefund } from './adyen-request.ts';
import { parseAdyenWebhook } from './adyen-webhook.ts';
import { clean } from './classify.ts';
import { type JsonObject, parseJsonObject } from './json.ts';
import type {
  AdyenAccount,
  Connector,
  EnquiryReply,
  OperationKind,
  Reply,
  SentWindow,
  StoredAttempt,
} from './psp.ts';
import { capabilitiesOf } from './request.ts';

// The library's index loads every interface of Adyen's (47 MB, 270 ms); these three modules are what its services
// are made of. They are required and not imported: what `default` of a CommonJS module is depends on who loads it.
const load = createRequire(import.meta.url);
type Module<T> = { readonly default: T };
const { default: AdyenClient } = load('@adyen/api-library/lib/src/client.js') as Module<typeof Client>;
const { default: Service } = load('@adyen/api-library/lib/src/service.js') as Module<ServiceConstructor>;
const { default: Resource } = load(
  '@adyen/api-library/lib/src/services/resource.js',
) as Module<ResourceConstructor>;

type Service = { readonly client: Client; createBaseUrl(url: string): string };
type ServiceConstructor = new (client: Client) => Service;
type RequestOptions = Parameters<Client['httpClient']['request']>[4];
type ResourceConstructor = new (
  service: Service,
  endpoint: string,
) => { request(json: string, options: RequestOptions): Promise<string> };

const CHECKOUT_URL = 'https://checkout-test.adyen.com/v72';
const TRANSFERS_URL = 'https://balanceplatform-api-test.adyen.com/btl/v4';

/** One call of the connector: which interface, and what of the stored attempt goes out. */
type Call = { readonly path: string; readonly body: string };

/** The library with its addresses worked out. */
type OpenedLibrary = {
  readonly account: AdyenAccount;
  readonly service: Service;
  readonly checkoutUrl: string;
  readonly transfersUrl: string;
};

/**
 * A connector for one merchant account at Adyen; opens no connection until its first call.
 * @throws OperatorError `psp_account_invalid` for an address or a key that no request could be made with
 */
export function createAdyenConnector(account: AdyenAccount): Connector {
  const http = createAdyenHttpClient(parseBaseUrl(account), account.maxConcurrent);
  const library = openLibrary(account, http.client);
  return {
    capabilities: capabilitiesOf('adyen'),
    charge: (attempt, deadlineMs) => charge(library, attempt, deadlineMs),
    refund: (attempt, deadlineMs) => refund(library, attempt, deadlineMs),
    payout: (attempt, deadlineMs) => payout(library, attempt, deadlineMs),
    enquire: (attempt, sent, deadlineMs) => enquire(library, attempt, sent, deadlineMs),
    dispute: async () => ({ kind: 'unaskable' }),
    parseWebhook(rawBody, _headers, secret) {
      const reading = parseAdyenWebhook(rawBody.toString('utf8'), secret);
      if (reading.kind === 'refused') return reading;
      return { kind: 'news', news: reading.events.map(newsOfAdyen) };
    },
    async close() {
      http.close();
    },
  };
}

function openLibrary(account: AdyenAccount, httpClient: Client['httpClient']): OpenedLibrary {
  const { liveUrlPrefix } = account;
  const config = {
    apiKey: checkApiKey(account),
    environment: (liveUrlPrefix === null ? 'TEST' : 'LIVE') as Environment,
    ...(liveUrlPrefix === null ? {} : { liveEndpointUrlPrefix: liveUrlPrefix }),
  };
  const service = new Service(new AdyenClient(config, httpClient));
  return {
    account,
    service,
    checkoutUrl: service.createBaseUrl(CHECKOUT_URL),
    transfersUrl: service.createBaseUrl(TRANSFERS_URL),
  };
}

type Environment = NonNullable<ConstructorParameters<typeof Client>[0]['environment']>;

async function charge(library: OpenedLibrary, attempt: StoredAttempt, deadlineMs: number): Promise<Reply> {
  requireKind(attempt, 'charge');
  const stored = parseAdyenCharge(attempt.request);
  if (stored === null) return NOT_A_REQUEST;
  const call = { path: `${library.checkoutUrl}/payments`, body: attempt.request };
  return send(library, attempt, call, deadlineMs, (answer) =>
    replyOfPayment(answer, stored.expected, stored.customerPresent),
  );
}

async function refund(library: OpenedLibrary, attempt: StoredAttempt, deadlineMs: number): Promise<Reply> {
  requireKind(attempt, 'refund');
  const stored = parseAdyenRefund(attempt.request);
  if (stored === null) return NOT_A_REQUEST;
  const payment = encodeURIComponent(stored.paymentPspReference);
  const call = { path: `${library.checkoutUrl}/payments/${payment}/refunds`, body: stored.body };
  return send(library, attempt, call, deadlineMs, (answer) =>
    replyOfRefund(answer, stored.expected, stored.paymentPspReference),
  );
}

async function payout(library: OpenedLibrary, attempt: StoredAttempt, deadlineMs: number): Promise<Reply> {
  requireKind(attempt, 'payout');
  const stored = parseAdyenPayout(attempt.request);
  if (stored === null) return NOT_A_REQUEST;
  const call = { path: `${library.transfersUrl}/transfers`, body: attempt.request };
  return send(library, attempt, call, deadlineMs, (answer) => replyOfTransfer(answer, stored.expected));
}

/**
 * Not the library's typed services: the stored text goes out as it is, whatever the types of the library of the
 * day say of it, because the key must come back with the same request.
 */
async function send(
  library: OpenedLibrary,
  attempt: StoredAttempt,
  call: Call,
  deadlineMs: number,
  read: (answer: JsonObject) => Reply,
): Promise<Reply> {
  try {
    const text = await new Resource(library.service, call.path).request(call.body, {
      method: 'POST',
      idempotencyKey: attempt.idempotencyKey,
      timeout: deadlineMs,
    });
    return read(parseJsonObject(text) ?? {});
  } catch (error) {
    return classifyAdyenFailure(failureOf(error));
  }
}

async function enquire(
  library: OpenedLibrary,
  attempt: StoredAttempt,
  sent: SentWindow,
  deadlineMs: number,
): Promise<EnquiryReply> {
  if (attempt.operationKind !== 'payout') return NO_LOOK_UP;
  const stored = parseAdyenPayout(attempt.request);
  if (stored === null) return { ...NO_LOOK_UP, reason: NOT_A_REQUEST.reason };
  return enquireAdyen({
    payout: stored,
    sent,
    timeoutMs: library.account.timeoutMs,
    deadlineMs,
    list: (query, callDeadlineMs) => listTransfers(library, query, callDeadlineMs),
  });
}

async function listTransfers(
  library: OpenedLibrary,
  query: Readonly<Record<string, string>>,
  deadlineMs: number,
): Promise<ListResult> {
  try {
    const body = await new Resource(library.service, `${library.transfersUrl}/transfers`).request('', {
      method: 'GET',
      params: query,
      timeout: deadlineMs,
    });
    return { kind: 'answered', body };
  } catch (error) {
    return { kind: 'failed', failure: failureOf(error) };
  }
}

const NOT_A_REQUEST = {
  kind: 'rejected',
  reason: 'the stored request is not one that this connector wrote',
} as const satisfies Reply;

const NO_LOOK_UP = {
  kind: 'unknown',
  reason: 'Adyen cannot be asked for a payment or a refund by reference',
  next: 'enquire',
  retryAfterMs: null,
} as const satisfies Reply;

function requireKind(attempt: StoredAttempt, kind: OperationKind): void {
  if (attempt.operationKind !== kind) {
    throw new Bug(`a ${attempt.operationKind} was given to the ${kind} connector`);
  }
}

function failureOf(error: unknown): AdyenFailure {
  if (error instanceof AdyenCallFailed) return error.failure;
  return { kind: 'no_answer', reason: `unexpected: ${clean(String(error))}` };
}

/** Null for Adyen's own addresses. */
function parseBaseUrl(account: AdyenAccount): URL | null {
  const { baseUrl } = account;
  if (baseUrl === null) return null;
  const url = URL.canParse(baseUrl) ? new URL(baseUrl) : null;
  if (url !== null && (url.protocol === 'http:' || url.protocol === 'https:') && url.pathname === '/') {
    return url;
  }
  throw new OperatorError(
    'psp_account_invalid',
    `PSP account ${account.name}: "${baseUrl}" is not http(s)://host[:port]`,
  );
}

/** A key with a line break in it, as a secrets file gives, would fail in every call. */
function checkApiKey(account: AdyenAccount): string {
  if (/^[\x21-\x7e]+$/.test(account.apiKey)) return account.apiKey;
  throw new OperatorError(
    'psp_account_invalid',
    `PSP account ${account.name}: the API key is empty or has spaces or line breaks in it`,
  );
}
