/**
 * Where PSPs deliver their webhooks: `POST /v1/webhooks/{psp}`. The only address that is meant for strangers: nothing
 * of a body is believed before its signature is verified, on the bytes as they came.
 */
import type { Db } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import { parseId } from '../../core/ids.ts';
import type { FindingContext } from '../../core/operation/finding.ts';
import type { Connector, PspAccount, WebhookHeaders, WebhookNews } from '../../core/psp/psp.ts';
import { acceptWebhooks } from '../../core/webhook/accept-webhooks.ts';
import type { WebhookEvent } from '../../core/webhook/webhook.ts';
import type { Log } from '../log.ts';
import { type App, sendProblem } from './http-app.ts';
import { NO_WEBHOOKS, OVERLOADED, type Problem } from './problem.ts';
import { within } from './within.ts';

/** Bytes of a delivery: an event holds one object of a few KB. */
const BODY_LIMIT_BYTES = 1_000_000;
/** Stripe and Adyen give up after 10 s or more and deliver again (ms). */
const ANSWER_TIMEOUT_MS = 8_000;
/** Deliveries at once; more are told to come again, so that they do not take the database from payments. */
const MAX_IN_HAND = 64;

/** A PSP account whose webhooks are taken. */
export type WebhookAccount = {
  readonly name: string;
  readonly psp: PspAccount['psp'];
  /** What its PSP signs with. */
  readonly secret: string;
  readonly connector: Pick<Connector, 'parseWebhook'>;
};

export type WebhookOptions = {
  readonly db: Db;
  readonly log: Log;
  readonly accounts: readonly WebhookAccount[];
  readonly findings: Omit<FindingContext, 'principal' | 'quarantine'>;
};

/** Adds the address to `app`, in a scope of its own: its bodies stay bytes. */
export function addWebhookRoute(app: App, options: WebhookOptions): void {
  const { log } = options;
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    let inHand = 0;
    scope.post<{ Params: { psp: string } }>(
      '/v1/webhooks/:psp',
      { bodyLimit: BODY_LIMIT_BYTES },
      async (request, reply) => {
        const { psp } = request.params;
        const body = request.body instanceof Buffer ? request.body : Buffer.alloc(0);
        const delivery = readDelivery(psp, body, request.headers, options.accounts);
        if (delivery.kind === 'problem') {
          log.warn({ code: delivery.problem.code, detail: delivery.problem.detail }, 'webhook refused');
          return sendProblem(reply, delivery.problem);
        }
        if (inHand >= MAX_IN_HAND) return sendProblem(reply, OVERLOADED);
        inHand += 1;
        try {
          const work = storeDelivery(options, delivery);
          const taken = await within(ANSWER_TIMEOUT_MS, work);
          log.debug({ account: delivery.account, ...taken }, 'webhook taken');
        } catch (error) {
          if (!(error instanceof OperatorError && error.code === 'webhook_busy')) throw error;
          return sendProblem(reply, OVERLOADED);
        } finally {
          inHand -= 1;
        }
        return reply.code(200).header('cache-control', 'no-store').type('text/plain').send(ACKNOWLEDGED);
      },
    );
  });
}

/** Stripe reads the status alone; Adyen's older servers want these very bytes. */
const ACKNOWLEDGED = '[accepted]';

type Delivery =
  | { readonly kind: 'verified'; readonly account: string; readonly events: readonly WebhookEvent[] }
  | { readonly kind: 'problem'; readonly problem: Problem };

/** The account is the one whose secret fits: an address serves all accounts of its PSP. */
function readDelivery(
  psp: string,
  body: Buffer,
  headers: WebhookHeaders,
  accounts: readonly WebhookAccount[],
): Delivery {
  const candidates = accounts.filter((account) => account.psp === psp);
  const nowS = Math.floor(Date.now() / 1_000);
  const reasons = new Set<string>();
  for (const { name, secret, connector } of candidates) {
    const delivery = connector.parseWebhook(body, headers, secret, nowS);
    if (delivery.kind === 'news') {
      return { kind: 'verified', account: name, events: delivery.news.map(toEvent) };
    }
    reasons.add(delivery.reason);
  }
  if (candidates.length === 0) return { kind: 'problem', problem: NO_WEBHOOKS };
  return { kind: 'problem', problem: { code: 'webhook_refused', detail: `${[...reasons].join('; ')}.` } };
}

function toEvent({ id, type, operationReference, ...rest }: WebhookNews): WebhookEvent {
  const operationId = operationReference === null ? null : parseId('operation', operationReference);
  return { eventId: id, type, operationId, ...rest };
}

function storeDelivery({ db, findings }: WebhookOptions, delivery: Extract<Delivery, { kind: 'verified' }>) {
  const principal = `webhook:${delivery.account}`;
  return acceptWebhooks(db, { ...findings, principal }, delivery.account, delivery.events);
}
