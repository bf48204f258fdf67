/**
 * Answers bytes that Node's parser refuses (garbage, headers too large, too slow) with a problem document on the
 * bare socket. Never writes where a caller would take it for the answer to an earlier request that is still on
 * its way: a payment just being accepted must not look refused.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { errorCode } from '../../core/db/connection.ts';
import { type Problem, parserProblem, renderProblem } from './problem.ts';

type Exchange = { readonly request: IncomingMessage; readonly response: ServerResponse };

export type BrokenRequests = {
  /** Begins to note which requests are under way on which connection. */
  readonly watch: (server: Server) => void;
  /** For Node's 'clientError'. */
  readonly answer: (error: unknown, socket: Duplex) => void;
};

export function createBrokenRequests(): BrokenRequests {
  const underWay = new WeakMap<Duplex, Set<Exchange>>();

  const note = (request: IncomingMessage, response: ServerResponse): void => {
    const { socket } = request;
    const exchange = { request, response };
    const exchanges = underWay.get(socket) ?? new Set();
    underWay.set(socket, exchanges.add(exchange));
    response.once('close', () => exchanges.delete(exchange));
  };

  return {
    watch: (server) => {
      server.prependListener('request', note);
      server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
        const rendered = renderProblem({
          code: 'expectation_failed',
          detail: 'Leave the Expect header out.',
        });
        response.writeHead(rendered.status, { ...rendered.headers, connection: 'close' }).end(rendered.body);
        request.resume();
      });
    },
    answer: (error, socket) => {
      if (errorCode(error) === 'ECONNRESET' || !socket.writable) {
        socket.destroy();
        return;
      }
      // A request whose body broke off is the broken one itself and gets no other answer.
      const earlier = [...(underWay.get(socket) ?? [])].filter(({ request }) => request.complete);
      void Promise.all(earlier.map(({ response }) => closed(response))).then(() => {
        if (socket.writable) socket.end(rawAnswer(parserProblem(error)), () => socket.destroy());
      });
    },
  };
}

function closed(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    if (response.closed) resolve();
    else response.once('close', () => resolve());
  });
}

function rawAnswer(problem: Problem): string {
  const { status, headers, body } = renderProblem(problem);
  const lines = Object.entries({
    ...headers,
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`;
}
