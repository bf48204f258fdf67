/** Accepts refunds in a transaction of their own. Used by the command line and by HTTP alike. */
import { type Db, errorCode, transact } from '../db/connection.ts';
import { acceptRefunds, type RefundContext, type RefundResult } from './accept-refunds.ts';
import type { RefundRequest } from './refund.ts';

/** A name can be taken under our eyes only so often before something else is wrong. */
const MAX_RACES = 5;

/** Results in the order of the requests; a name that somebody took meanwhile is found by the next try. */
export async function submitRefunds(
  db: Db,
  context: RefundContext,
  requests: readonly RefundRequest[],
): Promise<readonly RefundResult[]> {
  for (let race = 1; ; race += 1) {
    try {
      return await transact(db, (tx) => acceptRefunds(tx, context, requests));
    } catch (error) {
      if (errorCode(error) !== '23505' || race >= MAX_RACES) throw error;
    }
  }
}
