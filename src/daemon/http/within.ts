/** How long a request waits for the database. */
import { TransientError } from '../../core/errors.ts';

/**
 * The result, or a TransientError when it takes longer: the work goes on without its caller. (Fastify's own
 * handlerTimeout ends with the body of the request, on Node 24, and so never meets a POST.)
 */
export async function within<T>(timeoutMs: number, work: PromiseLike<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new TransientError('database_timeout', `no answer of the database in ${timeoutMs} ms`)),
    timeoutMs,
  );
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
