/** The idempotency key of an attempt at the PSP. Decides only. */

/**
 * The book's own random part, the operation and the attempt (at most 64 characters): a rebuilt database has another
 * book key, and so never uses one again.
 */
export function attemptKey(bookKey: string, operationId: bigint, attemptNumber: number): string {
  return `pg-${bookKey}-${operationId}-${attemptNumber}`;
}
