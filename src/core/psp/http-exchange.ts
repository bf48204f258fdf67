/**
 * One HTTP request and its complete answer under one absolute deadline, over kept-alive sockets, with an honest
 * word on whether any byte of the request may have left. Never retries, never redirects, never parses.
 */
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { unreachable } from '../errors.ts';

/**
 * How long an idle socket is kept, in ms. Must be set, or Node ignores the server's `Keep-Alive: timeout=` hint
 * and writes into sockets that the server is closing; a write into a closed socket is an unknown outcome.
 */
const IDLE_SOCKET_MS = 30_000;

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
      readonly headers: IncomingHttpHeaders;
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
  const secure = baseUrl.protocol === 'https:';
  const agentOptions = { keepAlive: true, maxSockets, maxFreeSockets: maxSockets, timeout: IDLE_SOCKET_MS };
  const target = {
    // URL keeps the brackets of an IPv6 address; sockets want it without.
    host: baseUrl.hostname.replace(/^\[|\]$/g, ''),
    port: baseUrl.port === '' ? (secure ? 443 : 80) : Number(baseUrl.port),
    agent: secure ? new https.Agent(agentOptions) : new http.Agent(agentOptions),
  };
  const request = secure ? https.request : http.request;
  const underWay = new Set<Exchange>();
  let closed = false;
  return {
    exchange(wanted) {
      if (closed) {
        return Promise.resolve({ kind: 'failed', sent: 'never', reason: 'the connection pool is closed' });
      }
      return new Promise((resolve) => {
        const exchange = new Exchange(wanted, (result) => {
          underWay.delete(exchange);
          resolve(result);
        });
        underWay.add(exchange);
        exchange.start(() =>
          request({ ...target, method: wanted.method, path: wanted.path, headers: wanted.headers }),
        );
      });
    },
    close() {
      closed = true;
      for (const exchange of underWay) exchange.giveUp('the connection pool was closed');
      target.agent.destroy();
    },
  };
}

/** The state of one request. A class and not closures: thousands of these are made a second. */
class Exchange {
  private readonly wanted: ExchangeRequest;
  private readonly settleWith: (result: ExchangeResult) => void;
  private phase: Phase = 'waiting_for_socket';
  private settled = false;
  private clientRequest: ClientRequest | null = null;
  private timer: NodeJS.Timeout | undefined;
  private readonly chunks: Buffer[] = [];
  private bytes = 0;

  constructor(wanted: ExchangeRequest, settleWith: (result: ExchangeResult) => void) {
    this.wanted = wanted;
    this.settleWith = settleWith;
  }

  start(open: () => ClientRequest): void {
    let clientRequest: ClientRequest;
    try {
      clientRequest = open();
    } catch (error) {
      // Node refuses header values and paths with control characters before it looks for a socket.
      this.fail(`the request cannot be sent: ${messageOf(error)}`);
      return;
    }
    this.clientRequest = clientRequest;
    this.timer = setTimeout(() => this.giveUp(this.whyTimedOut()), this.wanted.deadlineMs);
    clientRequest.on('socket', (socket) => this.onSocket(socket));
    clientRequest.on('response', (response) => this.onResponse(response));
    clientRequest.on('error', (error) => this.fail(messageOf(error)));
    clientRequest.on('close', () => this.fail('the connection was closed without an answer'));
    clientRequest.end(this.wanted.body);
  }

  giveUp(reason: string): void {
    // Settled first: destroying makes the request emit an error of its own.
    this.fail(reason);
    this.clientRequest?.destroy();
  }

  /**
   * Node holds the request back until a new socket is connected (and, with TLS, trusted), so until then nothing
   * left. A reused socket is connected already: from here on anything may have been written to it.
   */
  private onSocket(socket: Socket & { secureConnecting?: boolean }): void {
    if (!socket.connecting && socket.secureConnecting !== true) {
      this.phase = 'sending';
      return;
    }
    this.phase = 'connecting';
    socket.once(socket.secureConnecting === true ? 'secureConnect' : 'connect', () => {
      if (this.phase === 'connecting') this.phase = 'sending';
    });
  }

  private onResponse(response: IncomingMessage): void {
    this.phase = 'reading_answer';
    response.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length;
      if (this.bytes > this.wanted.maxBodyBytes) {
        this.giveUp(`the answer is longer than ${this.wanted.maxBodyBytes} bytes`);
        return;
      }
      this.chunks.push(chunk);
    });
    response.on('end', () => {
      if (!response.complete) {
        this.fail('the answer was cut off');
        return;
      }
      const [only] = this.chunks;
      const body = this.chunks.length === 1 && only !== undefined ? only : Buffer.concat(this.chunks);
      this.settle({
        kind: 'answered',
        statusCode: response.statusCode ?? 0,
        headers: response.headers,
        body: body.toString('utf8'),
      });
    });
    response.on('error', (error) => this.fail(`the answer was cut off: ${messageOf(error)}`));
    response.on('close', () => this.fail('the answer was cut off'));
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
