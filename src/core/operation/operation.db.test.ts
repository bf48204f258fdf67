/** The states as the database knows them: the schema and the SQL that moves rows agree with the pure table. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  claimOne,
  lapse,
  makeSteady,
  openTestBook,
  queueCharge,
  REPLY_KINDS,
  standingOf,
  startTestDaemon,
  type TestBook,
  uniqueName,
} from '../../testing/fixtures.ts';
import {
  type AttemptState,
  type EvidenceKind,
  type EvidenceSource,
  isOpenAttempt,
  merge,
} from './evidence.ts';
import { SUB_STATES, type SubState, shownSubState, transition } from './operation.ts';
import { rescueOperations } from './rescue-operations.ts';

let book: TestBook;
beforeAll(async () => {
  book = await openTestBook();
});
afterAll(() => book.close());

/** Exhaustive by type. */
const ATTEMPT_STATES: Readonly<Record<AttemptState, true>> = {
  created: true,
  sent: true,
  pending: true,
  awaiting_customer: true,
  unknown: true,
  succeeded: true,
  succeeded_surplus: true,
  declined: true,
  rejected: true,
  not_sent: true,
  reversed: true,
};
const SOURCES: Readonly<Record<EvidenceSource, true>> = {
  reply: true,
  late_reply: true,
  lapse: true,
  enquiry: true,
  webhook: true,
  person: true,
  settlement: true,
};

/** The literals that a column's CHECK constraint lists. */
async function checkedValues(table: string, column: string): Promise<readonly string[]> {
  const rows = await book.owner.sql<{ definition: string }[]>`
    select pg_get_constraintdef(c.oid) as definition
      from pg_constraint c
      join pg_attribute a on a.attrelid = c.conrelid and a.attnum = any(c.conkey)
     where c.contype = 'c' and cardinality(c.conkey) = 1
       and c.conrelid = ${`paygate.${table}`}::regclass and a.attname = ${column}`;
  return rows.flatMap((row) => [...row.definition.matchAll(/'([^']+)'::text/g)].map((match) => match[1]!));
}

const STORED = SUB_STATES.filter((state) => state !== 'claimed');

describe('the schema', () => {
  test('knows exactly the sub-states of the table', async () => {
    // 'claimed' is what a leased job says; nobody stores it.
    expect([...(await checkedValues('operation', 'sub_state'))].sort()).toEqual([...STORED].sort());
  });

  test.each(SUB_STATES)('shows an operation that is %s as the program does', async (state) => {
    const { sql, t } = book.owner;
    for (const job of ['ready', 'leased', null] as const) {
      const [row] = await sql`select ${t.shownSubState}(${state}, ${job}) as shown`;
      expect(row).toEqual({ shown: shownSubState(state, job) });
    }
  });

  test('knows exactly the attempt states of the program', async () => {
    expect([...(await checkedValues('attempt', 'state'))].sort()).toEqual(Object.keys(ATTEMPT_STATES).sort());
  });

  test('knows exactly the kinds and sources of evidence of the program', async () => {
    const kinds: readonly EvidenceKind[] = [...REPLY_KINDS, 'paid'];
    expect([...(await checkedValues('evidence', 'kind'))].sort()).toEqual([...kinds].sort());
    expect([...(await checkedValues('evidence', 'source'))].sort()).toEqual(Object.keys(SOURCES).sort());
  });

  test('agrees on which attempts are open', async () => {
    const { sql, t } = book.owner;
    const { operationId } = await queueCharge(book.db, uniqueName('acct'));
    for (const state of Object.keys(ATTEMPT_STATES) as AttemptState[]) {
      const isOpen = isOpenAttempt(state);
      const set = (open: boolean) => sql`
        update ${t.attempt} set state = ${state}, is_open = ${open} where operation_id = ${operationId}`;
      await set(isOpen);
      await expect(set(!isOpen)).rejects.toMatchObject({ constraint_name: 'open_says_the_state' });
    }
  });
});

async function putInto(state: SubState, operationId: bigint): Promise<void> {
  await book.owner.sql`
    update ${book.owner.t.operation} set sub_state = ${state} where id = ${operationId}`;
}

describe('the claim', () => {
  test.each(STORED)('moves an operation that is %s as the table says', async (state) => {
    const account = uniqueName('acct');
    const { operationId } = await queueCharge(book.db, account);
    await putInto(state, operationId);
    await claimOne(await startTestDaemon(book.db), account);
    const { subState } = await standingOf(book.db, operationId);
    expect(subState).toBe(transition(state, 'claimed') ?? state);
  });
});

describe('the rescue', () => {
  /** What is known of an operation that can be in hand, by its state at the claim. */
  const KNOWN: readonly [SubState, readonly EvidenceKind[]][] = [
    ['queued', []],
    ['retry_wait', ['not_sent']],
    ['held_config', ['config_error']],
    ['unknown', ['unknown']],
    ['pending_psp', ['pending']],
    ['awaiting_customer', ['awaiting_customer']],
  ];

  test.each(KNOWN)(
    'moves an operation that is %s, knowing %j, as evidence of a doubt would',
    async (state, known) => {
      const account = uniqueName('acct');
      const { operationId } = await queueCharge(book.db, account);
      const [daemon, rescuer] = [await startTestDaemon(book.db), await startTestDaemon(book.db)];
      await claimOne(daemon, account);
      await putInto(state, operationId);
      await lapse(book.owner, daemon);
      await makeSteady(book.owner, rescuer);
      await rescueOperations(book.db, { daemonId: rescuer.id, principal: 'test', resendDelayMs: 0 });
      const evidence = [...known, 'unknown' as const].map((kind) => ({
        source: 'reply' as const,
        kind,
        reason: null,
        pspReference: null,
      }));
      const { subState } = await standingOf(book.db, operationId);
      expect(subState).toBe(transition(shownSubState(state, 'leased'), merge(evidence).kind));
    },
  );
});
