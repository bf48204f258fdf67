/** `ledger accounts`, `ledger balance` and `ledger entries`. Reads only. */
import { OperatorError } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import { parseAccountCode } from '../../core/ledger/chart-of-accounts.ts';
import {
  type AccountBalance,
  type EntryPosting,
  listAccounts,
  listEntryPostings,
  type TrialBalanceRow,
  trialBalance,
} from '../../core/ledger/ledger-queries-store.ts';
import { type Currency, formatAmount, toMoneyJson } from '../../core/money.ts';
import { isoTime } from '../../core/payment/payment-answer.ts';
import { shownText } from '../../core/shown-text.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import type { Block, Cell } from '../render/table.ts';
import type { Session } from '../session.ts';
import { moneyOf, moneyText, requireCurrency, requireId, timeText } from '../words.ts';
import { askFor, decodeCursor, encodeCursor, listResult, pageOf } from './page.ts';

export type AccountListFlags = {
  readonly account: string | null;
  readonly currency: string | null;
  readonly limit: number;
  readonly cursor: string | null;
};

/** One page, by code and currency. */
export async function listAccountsCommand(session: Session, flags: AccountListFlags): Promise<number> {
  const [code, currency] = flags.cursor === null ? [null, null] : decodeCursor(flags.cursor);
  const filter = {
    code: flags.account === null ? null : readAccountPattern(flags.account),
    currency: requireCurrency(flags.currency),
    after: code === null ? null : { code, currency },
    limit: askFor(flags.limit),
  };
  return withBook(
    session,
    async ({ db }) => {
      const page = pageOf(await listAccounts(db, filter), flags.limit);
      const cursor = page.next === null ? null : encodeCursor([page.next.code, page.next.currency]);
      await session.print(listResult(page.items.map(accountView), cursor, [accountTable(page.items)]));
      return EXIT.done;
    },
    { workload: 'report' },
  );
}

/** @throws OperatorError account_invalid for a code that the chart of accounts does not have */
function readAccountPattern(text: string): string {
  const code = text.normalize('NFC');
  if (code.endsWith('*') || parseAccountCode(code) !== null) return code;
  throw new OperatorError(
    'account_invalid',
    `${shownText(text)} is not in the chart of accounts. Accounts look like seller:NAME:available; list them with: paygate ledger accounts`,
  );
}

function accountView(account: AccountBalance) {
  const currency = account.currency as Currency;
  return {
    account: account.code,
    currency: account.currency,
    type: account.type,
    normal_balance: account.normalBalance,
    debits: toMoneyJson({ amountMinor: account.debits, currency }),
    credits: toMoneyJson({ amountMinor: account.credits, currency }),
    balance: toMoneyJson({ amountMinor: account.balanceMinor, currency }),
    opened_at: isoTime(account.openedAt),
  };
}

function accountTable(accounts: readonly AccountBalance[]): Block {
  return {
    kind: 'table',
    empty: 'no accounts',
    columns: [
      { title: 'ACCOUNT', shrink: true },
      { title: 'TYPE' },
      { title: 'DEBITS', align: 'right' },
      { title: 'CREDITS', align: 'right' },
      { title: 'BALANCE', align: 'right' },
    ],
    rows: accounts.map((account) => {
      const { currency } = account;
      const balance: Cell = {
        text: moneyText(moneyOf({ amountMinor: account.balanceMinor, currency })),
        tone: account.balanceMinor < 0n ? 'bad' : null,
      };
      const side = (amountMinor: bigint) => formatAmount(moneyOf({ amountMinor, currency }));
      return [account.code, account.type, side(account.debits), side(account.credits), balance];
    }),
  };
}

/** One account has so many currencies at most that one page holds them. */
const MAX_CURRENCIES = 1_000;

/** Exit 1 for an account nothing was posted to, and for a trial balance that does not balance. */
export async function showBalance(session: Session, account: string | null): Promise<number> {
  if (account === null) return showTrialBalance(session);
  const code = readAccountPattern(account);
  return withBook(session, async ({ db }) => {
    const found = await listAccounts(db, { code, currency: null, after: null, limit: MAX_CURRENCIES });
    if (found.length === 0) {
      throw new OperatorError('account_not_found', `Nothing was ever posted to ${shownText(account)}.`, {
        kind: 'answer_is_no',
      });
    }
    await session.print({
      json: { items: found.map(accountView) },
      records: found.map(accountView),
      blocks: [accountTable(found)],
    });
    return EXIT.done;
  });
}

async function showTrialBalance(session: Session): Promise<number> {
  return withBook(
    session,
    async ({ db }) => {
      const currencies = [...Map.groupBy(await trialBalance(db), (row) => row.currency)].map(trialView);
      const isBalanced = currencies.every((currency) => currency.balanced);
      await session.print({
        json: { balanced: isBalanced, currencies },
        records: currencies,
        blocks: [trialTable(currencies)],
      });
      return isBalanced ? EXIT.done : EXIT.answerIsNo;
    },
    { workload: 'report' },
  );
}

function trialView([code, rows]: readonly [string, readonly TrialBalanceRow[]]) {
  const currency = code as Currency;
  const sum = (side: (row: TrialBalanceRow) => bigint) => rows.reduce((total, row) => total + side(row), 0n);
  const debits = sum((row) => row.debits);
  const credits = sum((row) => row.credits);
  return {
    currency: code,
    accounts: rows.reduce((total, row) => total + row.accounts, 0),
    debits: toMoneyJson({ amountMinor: debits, currency }),
    credits: toMoneyJson({ amountMinor: credits, currency }),
    balanced: debits === credits,
    by_type: rows.map((row) => ({
      type: row.type,
      accounts: row.accounts,
      debits: toMoneyJson({ amountMinor: row.debits, currency }),
      credits: toMoneyJson({ amountMinor: row.credits, currency }),
    })),
  };
}

function trialTable(currencies: readonly ReturnType<typeof trialView>[]): Block {
  return {
    kind: 'table',
    empty: 'the ledger is empty',
    columns: [
      { title: 'CURRENCY' },
      { title: 'ACCOUNTS', align: 'right' },
      { title: 'DEBITS', align: 'right' },
      { title: 'CREDITS', align: 'right' },
      { title: '' },
    ],
    rows: currencies.map((row) => [
      row.currency,
      String(row.accounts),
      row.debits.amount,
      row.credits.amount,
      row.balanced ? { text: 'balanced', tone: 'good' } : { text: 'OUT OF BALANCE', tone: 'bad' },
    ]),
  };
}

export type EntryListFlags = {
  readonly account: string | null;
  readonly currency: string | null;
  readonly cause: string | null;
  readonly limit: number;
  readonly cursor: string | null;
};

/** One page, newest first; the limit counts entries, not postings. */
export async function listEntries(session: Session, flags: EntryListFlags): Promise<number> {
  const currency = requireCurrency(flags.currency);
  if (currency !== null && flags.account === null) {
    throw new OperatorError('account_missing', '--currency narrows --account: name the account.');
  }
  const filter = {
    cause: flags.cause,
    account: flags.account === null ? null : { code: readAccountPattern(flags.account), currency },
    beforeId: flags.cursor === null ? null : requireId('entry', flags.cursor),
    limit: askFor(flags.limit),
  };
  return withBook(
    session,
    async ({ db }) => {
      const postings = await listEntryPostings(db, filter);
      const entries = [...Map.groupBy(postings, (posting) => posting.entryId).values()];
      const page = pageOf(entries, flags.limit);
      const cursor = page.next === null ? null : formatId('entry', page.next[0]!.entryId);
      await session.print(listResult(page.items.map(entryView), cursor, [entryTable(page.items)]));
      return EXIT.done;
    },
    { workload: 'report' },
  );
}

/** @param postings of one entry, by line; at least one */
function entryView(postings: readonly EntryPosting[]) {
  const first = postings[0]!;
  return {
    entry_id: formatId('entry', first.entryId),
    cause: first.cause,
    kind: first.kind,
    recorded_at: isoTime(first.recordedAt),
    postings: postings.map((posting) => ({
      debit: posting.debit,
      credit: posting.credit,
      ...toMoneyJson(moneyOf(posting)),
    })),
  };
}

function entryTable(entries: readonly (readonly EntryPosting[])[]): Block {
  return {
    kind: 'table',
    empty: 'no entries',
    columns: [
      { title: 'ENTRY' },
      { title: 'RECORDED' },
      { title: 'CAUSE' },
      { title: 'KIND', shrink: true },
      { title: 'DEBIT', shrink: true },
      { title: 'CREDIT', shrink: true },
      { title: 'AMOUNT', align: 'right' },
    ],
    rows: entries.flatMap((postings) =>
      postings.map((posting, i) => [
        i === 0 ? formatId('entry', posting.entryId) : '',
        i === 0 ? timeText(isoTime(posting.recordedAt)) : '',
        i === 0 ? posting.cause : '',
        i === 0 ? posting.kind : '',
        posting.debit,
        posting.credit,
        moneyText(moneyOf(posting)),
      ]),
    ),
  };
}
