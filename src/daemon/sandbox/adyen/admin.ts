/**
 * The admin API under /_sandbox/adyen/: truth, webhooks, and what shoppers and banks do later. JSON in, JSON out.
 */
import { z } from 'zod';
import { ADYEN_ADMIN_PREFIX, type AdminHandler } from '../http.ts';
import type { AdyenEngine } from './engine.ts';
import {
  type AdyenRecord,
  announceDispute,
  type Change,
  endPayment,
  failCapture,
  failRefund,
  moveDispute,
  returnTransfer,
} from './records.ts';
import { truthOf } from './truth.ts';
import { listWebhooks, push, SANDBOX_HMAC_KEY } from './webhooks.ts';

/** How often one webhook may be sent in one push. */
const MAX_COPIES = 100;

const pushSchema = z.strictObject({
  url: z.url({ protocol: /^http$/, hostname: /^(127\.0\.0\.1|localhost)$/ }),
  /** Only what happened after this number. */
  after: z.int().min(0).default(0),
  order: z.enum(['as_happened', 'reversed']).default('as_happened'),
  copies: z.int().min(1).max(MAX_COPIES).default(1),
  signature: z.enum(['good', 'bad']).default('good'),
});

const HAPPENINGS = [
  'shopper_pays',
  'shopper_fails',
  'capture_fails',
  'refund_fails',
  'transfer_returns',
  'dispute_announced',
  'dispute_opened',
  'dispute_won',
  'dispute_lost',
] as const;
const happeningSchema = z.strictObject({ happening: z.enum(HAPPENINGS) });

type Answer = { readonly status: number; readonly value: unknown };

/** Handles every request under /_sandbox/adyen/; answers only what is in the journal. */
export function createAdyenAdmin(engine: AdyenEngine): AdminHandler {
  return (request, response, body) => {
    const end = ({ status, value }: Answer): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(`${JSON.stringify(value)}\n`);
    };
    engine.settleDue();
    const url = new URL(request.url ?? '/', 'http://sandbox');
    const path = url.pathname.slice(ADYEN_ADMIN_PREFIX.length);
    const answer = route(engine, `${request.method} ${path}`, url.searchParams, body);
    engine.shared.whenWritten(() => {
      if (answer instanceof Promise) answer.then(end, () => response.destroy());
      else end(answer);
    });
  };
}

function route(
  engine: AdyenEngine,
  call: string,
  query: URLSearchParams,
  body: string,
): Answer | Promise<Answer> {
  switch (call) {
    case 'GET truth':
      return ok({ rows: truthOf(engine.state, query.get('reference')) });
    case 'GET webhooks': {
      const webhooks = listWebhooks(engine.state, Number(query.get('after') ?? 0), 'good');
      return ok({ hmac_key: SANDBOX_HMAC_KEY, webhooks });
    }
    case 'POST webhooks/push':
      return withBody(body, pushSchema, (input) => pushAll(engine, input));
    default: {
      const name = /^POST objects\/([^/]+)$/.exec(call)?.[1];
      if (name === undefined) return failure(404, `There is no ${call} in the sandbox's Adyen API.`);
      return withBody(body, happeningSchema, ({ happening }) => happen(engine, name, happening));
    }
  }
}

async function pushAll(engine: AdyenEngine, input: z.infer<typeof pushSchema>): Promise<Answer> {
  const url = new URL(input.url);
  const webhooks = [...listWebhooks(engine.state, input.after, input.signature)];
  if (input.order === 'reversed') webhooks.reverse();
  const pushed: { number: number; status: number | null }[] = [];
  for (const { number, body } of webhooks) {
    for (let copy = 0; copy < input.copies; copy++) pushed.push({ number, status: await push(url, body) });
  }
  return ok({ pushed });
}

function happen(engine: AdyenEngine, name: string, happening: (typeof HAPPENINGS)[number]): Answer {
  const record = engine.state.find(name);
  const change = record === null ? null : changeBy(engine, record, happening);
  if (change === null) return failure(409, `${happening} cannot happen to ${name}.`);
  engine.change(change);
  return ok({ object: change.record });
}

function changeBy(
  engine: AdyenEngine,
  record: AdyenRecord,
  happening: (typeof HAPPENINGS)[number],
): Change | null {
  const nowMs = engine.nowMs();
  switch (happening) {
    case 'shopper_pays':
    case 'shopper_fails':
      return record.kind === 'payment' && record.status === 'awaiting_shopper'
        ? endPayment(record, happening === 'shopper_pays', nowMs)
        : null;
    case 'capture_fails':
      return failCapture(record, nowMs);
    case 'refund_fails':
      return failRefund(record, nowMs);
    // Of a payment; the others of the dispute that this makes.
    case 'dispute_announced':
      return announceDispute(record, engine.state.nextName(), nowMs);
    case 'dispute_opened':
      return moveDispute(record, 'opened', nowMs);
    case 'dispute_won':
      return moveDispute(record, 'won', nowMs);
    case 'dispute_lost':
      return moveDispute(record, 'lost', nowMs);
    case 'transfer_returns':
      return returnTransfer(record);
  }
}

function withBody<T>(
  body: string,
  schema: z.ZodType<T>,
  then: (input: T) => Answer | Promise<Answer>,
): Answer | Promise<Answer> {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return failure(400, 'The body is not JSON.');
  }
  const parsed = schema.safeParse(value);
  return parsed.success ? then(parsed.data) : failure(400, z.prettifyError(parsed.error));
}

function ok(value: unknown): Answer {
  return { status: 200, value };
}

function failure(status: number, message: string): Answer {
  return { status, value: { error: message } };
}
