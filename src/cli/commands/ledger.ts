/** Flags of `paygate ledger …`. The actions do the work. */
import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';
import { DEFAULT_LIMIT, nounCommand, readLimit } from './options.ts';

/** Adds the commands to the program; `launch` runs what an action does. */
export function registerLedger(program: CommandUnknownOpts, launch: Launch): void {
  const ledger = nounCommand(program, 'ledger', 'accounts, balances and entries of the books');
  ledger
    .command('accounts')
    .argument('[account]', 'code, or the beginning of one with *: seller:*')
    .description('accounts with their balances')
    .option('--currency <code>', 'in this currency')
    .option('--limit <count>', 'how many at most', readLimit, DEFAULT_LIMIT)
    .option('--cursor <cursor>', 'go on where a list ended (its next_cursor)')
    .action((account, flags) =>
      launch(async (session) =>
        (await import('../actions/read-ledger.ts')).listAccountsCommand(session, {
          account: account ?? null,
          currency: flags.currency ?? null,
          limit: flags.limit,
          cursor: flags.cursor ?? null,
        }),
      ),
    );
  ledger
    .command('balance')
    .argument('[account]', 'code of one account: psp:stripe:receivable')
    .description('balance of an account per currency; without one, the trial balance')
    .action((account) =>
      launch(async (session) =>
        (await import('../actions/read-ledger.ts')).showBalance(session, account ?? null),
      ),
    );
  ledger
    .command('entries')
    .description('journal entries, newest first')
    .option('--account <code>', 'that touch this account')
    .option('--currency <code>', 'of the account in this currency')
    .option('--cause <id>', 'made necessary by this: op_14')
    .option('--limit <count>', 'how many at most', readLimit, DEFAULT_LIMIT)
    .option('--cursor <cursor>', 'go on where a list ended (its next_cursor)')
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/read-ledger.ts')).listEntries(session, {
          account: flags.account ?? null,
          currency: flags.currency ?? null,
          cause: flags.cause ?? null,
          limit: flags.limit,
          cursor: flags.cursor ?? null,
        }),
      ),
    );
  ledger
    .command('verify')
    .description(
      'recompute every balance from the postings; exit 1 when anything differs, or nothing is there',
    )
    .action(() =>
      launch(async (session) => (await import('../actions/verify-ledger.ts')).verifyLedgerCommand(session)),
    );
}
