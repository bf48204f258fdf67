/** Flags of `paygate wallets …`. The actions do the work. */
import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';
import { DEFAULT_LIMIT, nounCommand, readLimit } from './options.ts';

/** Adds the commands to the program; `launch` runs what an action does. */
export function registerWallets(program: CommandUnknownOpts, launch: Launch): void {
  const wallets = nounCommand(program, 'wallets', 'what each seller is owed');
  wallets
    .command('list')
    .description('wallets of all sellers')
    .option('--currency <code>', 'in this currency')
    .option('--top <count>', 'the largest first, this many', readLimit)
    .option('--limit <count>', 'how many at most', readLimit, DEFAULT_LIMIT)
    .option('--cursor <cursor>', 'go on where a list ended (its next_cursor)')
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/read-wallets.ts')).listWalletsCommand(session, {
          currency: flags.currency ?? null,
          order: flags.top === undefined ? 'seller' : 'total',
          limit: flags.top ?? flags.limit,
          cursor: flags.cursor ?? null,
        }),
      ),
    );
  wallets
    .command('show')
    .argument('<seller>', 'the seller’s name')
    .description('the wallet of one seller, per currency')
    .action((seller) =>
      launch(async (session) => (await import('../actions/read-wallets.ts')).showWallet(session, seller)),
    );
}
