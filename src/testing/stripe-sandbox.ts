/**
 * A PSP sandbox of a test file's own with the official SDK in front of it. For tests only.
 */
import Stripe from 'stripe';
import { type Sandbox, startSandbox } from '../daemon/sandbox/main.ts';

export type StripeSandbox = {
  readonly sandbox: Sandbox;
  readonly stripe: Stripe;
  /** An SDK with this API key. */
  client(key: string): Stripe;
  /** A call of the admin API, by its path below `/_sandbox/`; throws what it refuses. */
  admin<T>(method: string, path: string, body?: unknown): Promise<T>;
  /** The lines of an answer that comes as lines. */
  adminLines<T>(path: string): Promise<readonly T[]>;
};

/** Starts a sandbox in memory that takes only `apiKey`. */
export async function startStripeSandbox(apiKey = 'sk_test_one'): Promise<StripeSandbox> {
  const sandbox = await startSandbox({ port: 0, journalPath: null, seed: 1, apiKey });
  const client = (key: string) =>
    new Stripe(key, {
      host: '127.0.0.1',
      port: sandbox.port,
      protocol: 'http',
      telemetry: false,
      maxNetworkRetries: 0,
    });
  const call = async (method: string, path: string, body?: unknown): Promise<string> => {
    const init = body === undefined ? { method } : { method, body: JSON.stringify(body) };
    const response = await fetch(`${sandbox.url}/_sandbox/${path}`, init);
    const text = await response.text();
    if (!response.ok) throw new Error(text);
    return text;
  };
  return {
    sandbox,
    stripe: client(apiKey),
    client,
    admin: async <T>(method: string, path: string, body?: unknown) =>
      JSON.parse(await call(method, path, body)) as T,
    adminLines: async <T>(path: string) => {
      const lines = (await call('GET', path)).split('\n');
      return lines.flatMap((line) => (line === '' ? [] : [JSON.parse(line) as T]));
    },
  };
}

/** The error of a call that must fail. */
export async function errorOf(promise: Promise<unknown>): Promise<Stripe.errors.StripeError> {
  const error = await promise.then(
    () => new Error('the call succeeded'),
    (cause: unknown) => cause,
  );
  if (error instanceof Stripe.errors.StripeError) return error;
  throw error;
}
