/**
 * One HTTP request and its complete answer under one absolute deadline, over kept-alive sockets, with an honest
 * word on whether any byte of the request may have left. Never retries, never redirects, never parses.
 */
import { type Dispatcher, Pool } from 'undici';
import { unreachable } from '../errors.ts';

/**
 * How long an idle socket is kept, in ms, unless the server's `Keep-Alive: timeout=` hint is shorter: a write into
 * a socket that the server is closing is an unknown outcome.
 */
const IDLE_SOCKET_MS = 30_000;
/** A connection that does not come about in this time (ms, with TLS) is given up: nothing was sent then. */
const CONNECT_TIMEOUT_MS = 10_000;

/** Names in lower case; a list where the server sent a name several times. */
type AnswerHeaders = Readonly<Record<string, string | string[] | undefined>>;

export type ExchangeRequest = {
  readonly method: string;
  /** Path and query, starting with "/". */
  readonly path: string;
  readonly headers: Readonly<Record<string, string | number | string[]>>;
  /** Empty for none. */
  readonly body: string;
  /** From now until the last byte of the answer, in ms; waiting for a socket counts. */
  readonly deadlineMs: number;
  /** The answer's body is given up beyond this many bytes. */
  readonly maxBodyBytes: number;
};

export type ExchangeResult =
  /** A complete answer; the body is decoded as UTF-8. */
  | {
      readonly kind: 'answered';
      readonly statusCode: number;
      readonly headers: AnswerHeaders;
      readonly body: string;
    }
  /** `never`: no byte of this request was written to a connected socket. `maybe`: it may have arrived. */
  | { readonly kind: 'failed'; readonly sent: 'never' | 'maybe'; readonly reason: string };

export type HttpExchange = {
  /** Resolves within the deadline (and the event loop's delay); never rejects. */
  exchange(request: ExchangeRequest): Promise<ExchangeResult>;
  /** Ends every exchange under way and closes all sockets. Later exchanges fail as never sent. */
  close(): void;
};

/** How far a request came; from `sending` on, it may have arrived. */
type Phase = 'waiting_for_socket' | 'connecting' | 'sending' | 'reading_answer';

/**
 * An exchange with one server.
 * @param baseUrl http(s)://host[:port]; a path in it is ignored
 * @param maxSockets connections at once; further requests wait, within their deadline
 */
export function createHttpExchange(baseUrl: URL, maxSockets: number): HttpExchange {
  const pool = new Pool(baseUrl.origin, {
    connections: maxSockets,
    // One request on a socket at a time, and nothing is ever sent again by itself.
    pipelining: 1,
    allowH2: false,
    connect: { timeout: CONNECT_TIMEOUT_MS },
    keepAliveTimeout: IDLE_SOCKET_MS,
    keepAliveMaxTimeout: IDLE_SOCKET_MS,
    // The deadline of a request is absolute and ours; these two measure pauses.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const underWay = new Set<Exchange>();
  /** In the order in which they came; a set, because one that gives up leaves from the middle. */
  const waiting = new Set<Exchange>();
  let closed = false;
  const finish = (exchange: Exchange): void => {
    if (waiting.delete(exchange) || !underWay.delete(exchange)) return;
    const [next] = waiting;
    if (next !== undefined) begin(next);
  };
  const begin = (exchange: Exchange): void => {
    waiting.delete(exchange);
    underWay.add(exchange);
    exchange.dispatchOn(pool);
  };
  return {
    exchange(wanted) {
      if (closed) {
        return Promise.resolve({ kind: 'failed', sent: 'never', reason: 'the connection pool is closed' });
      }
      return new Promise((resolve) => {
        const exchange = new Exchange(wanted, (result) => {
          finish(exchange);
          resolve(result);
        });
        if (underWay.size < maxSockets) begin(exchange);
        else waiting.add(exchange);
      });
    },
    close() {
      closed = true;
      for (const exchange of [...waiting, ...underWay]) exchange.giveUp('the connection pool was closed');
      void pool.destroy();
    },
  };
}

/** The state of one request, and what undici tells of it. A class and not closures: thousands of these are made a second. */
class Exchange implements Dispatcher.DispatchHandler {
  private readonly wanted: ExchangeRequest;
  private readonly settleWith: (result: ExchangeResult) => void;
  private readonly timer: NodeJS.Timeout;
  private phase: Phase = 'waiting_for_socket';
  private settled = false;
  private controller: Dispatcher.DispatchController | null = null;
  private statusCode = 0;
  private headers: AnswerHeaders = {};
  private readonly chunks: Buffer[] = [];
  private bytes = 0;

  constructor(wanted: ExchangeRequest, settleWith: (result: ExchangeResult) => void) {
    this.wanted = wanted;
    this.settleWith = settleWith;
    this.timer = setTimeout(() => this.giveUp(this.whyTimedOut()), wanted.deadlineMs);
  }

  dispatchOn(pool: Pool): void {
    const { method, path, headers, body } = this.wanted;
    this.phase = 'connecting';
    try {
      pool.dispatch(
        {
          method: method as Dispatcher.HttpMethod,
          path,
          headers: headers as Record<string, string | string[]>,
          body: body === '' ? null : body,
        },
        this,
      );
    } catch (error) {
      // Header values and paths with control characters are refused before a socket is looked for.
      this.fail(`the request cannot be sent: ${messageOf(error)}`);
    }
  }

  giveUp(reason: string): void {
    // Settled first: aborting makes the request report an error of its own.
    this.fail(reason);
    this.controller?.abort(new Error(reason));
  }

  /**
   * Called when a connected (and, with TLS, trusted) socket is there, before the first byte is written: from here on
   * anything may have been written to it. One that was given up while it waited for its connection is not sent any more.
   */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.settled || this.phase !== 'connecting') {
      controller.abort(new Error('given up before it was sent'));
      return;
    }
    this.controller = controller;
    this.phase = 'sending';
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    statusCode: number,
    headers: AnswerHeaders,
  ): void {
    // Informational: the answer is still to come.
    if (statusCode < 200) return;
    this.phase = 'reading_answer';
    this.statusCode = statusCode;
    this.headers = headers;
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.bytes += chunk.length;
    if (this.bytes > this.wanted.maxBodyBytes) {
      this.giveUp(`the answer is longer than ${this.wanted.maxBodyBytes} bytes`);
      return;
    }
    this.chunks.push(chunk);
  }

  onResponseEnd(): void {
    const [only] = this.chunks;
    const body = this.chunks.length === 1 && only !== undefined ? only : Buffer.concat(this.chunks);
    this.settle({
      kind: 'answered',
      statusCode: this.statusCode,
      headers: this.headers,
      body: body.toString('utf8'),
    });
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    const reason = messageOf(error);
    this.fail(this.phase === 'reading_answer' ? `the answer was cut off: ${reason}` : reason);
  }

  private whyTimedOut(): string {
    const within = `within ${this.wanted.deadlineMs} ms`;
    switch (this.phase) {
      case 'waiting_for_socket':
        return `no free socket ${within}`;
      case 'connecting':
        return `no connection ${within}`;
      case 'sending':
        return `no answer ${within}`;
      case 'reading_answer':
        return `no complete answer ${within}`;
      default:
        return unreachable(this.phase);
    }
  }

  private fail(reason: string): void {
    const sent = this.phase === 'sending' || this.phase === 'reading_answer' ? 'maybe' : 'never';
    this.settle({ kind: 'failed', sent, reason });
  }

  private settle(result: ExchangeResult): void {
    if (this.settled) return;
    this.settled = true;
    clearTimeout(this.timer);
    this.settleWith(result);
  }
}

/** The code (ECONNREFUSED) is what a person looks up; the message adds the address. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = (error as NodeJS.ErrnoException).code;
  // Node tries every address of a host; the aggregate has no message of its own.
  if (error instanceof AggregateError && error.message === '') {
    return error.errors.map(messageOf).join('; ');
  }
  return code === undefined || error.message.includes(code) ? error.message : `${code}: ${error.message}`;
}
