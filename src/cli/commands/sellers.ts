/** Flags of `paygate sellers …`. Knows no seller: the actions do the work. */
import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';
import { DEFAULT_LIMIT, nounCommand, readLimit } from './options.ts';

const DESTINATION_HELP = `
Another destination than before is not paid until its cooling period is over
(payouts.cooling_days in the configuration); the first one is paid at once.

Example:
  paygate sellers destination s-4 acct_1Nv0FGQ --reason "new bank, confirmed by phone"`;

/** Adds the commands to the program; `launch` runs what an action does. */
export function registerSellers(program: CommandUnknownOpts, launch: Launch): void {
  const sellers = nounCommand(program, 'sellers', 'the register of who may be paid, and where');
  registerChanges(sellers, launch);
  sellers
    .command('show')
    .argument('<seller>', 'the seller’s name')
    .description('one seller, with destinations and history')
    .action((seller) =>
      launch(async (session) => (await import('../actions/read-sellers.ts')).showSeller(session, seller)),
    );
  sellers
    .command('list')
    .description('all sellers, by name')
    .addOption(new Option('--status <status>', 'only these').choices(['active', 'frozen'] as const))
    .option('--limit <count>', 'how many at most', readLimit, DEFAULT_LIMIT)
    .option('--cursor <cursor>', 'go on where a list ended (its next_cursor)')
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/read-sellers.ts')).listSellersCommand(session, {
          status: flags.status ?? null,
          limit: flags.limit,
          cursor: flags.cursor ?? null,
        }),
      ),
    );
}

function registerChanges(sellers: CommandUnknownOpts, launch: Launch): void {
  sellers
    .command('create')
    .argument('<seller>', 'the seller’s name, as payment orders have it')
    .description('register a seller')
    .option('--destination <account>', "the seller's account at the PSP")
    .option('--psp-account <name>', 'our account that pays there; default: the default account')
    .action((seller, flags) =>
      launch(async (session) =>
        (await import('../actions/change-sellers.ts')).createSellerCommand(session, {
          seller,
          destination: flags.destination ?? null,
          pspAccount: flags.pspAccount ?? null,
        }),
      ),
    );
  for (const [verb, status, text] of [
    ['freeze', 'frozen', 'pay a seller nothing any more; needs --reason'],
    ['unfreeze', 'active', 'let a seller be paid again; needs --reason'],
  ] as const) {
    sellers
      .command(verb)
      .argument('<seller>', 'the seller’s name')
      .description(text)
      .action((seller) =>
        launch(async (session) =>
          (await import('../actions/change-sellers.ts')).changeStatusCommand(session, seller, status),
        ),
      );
  }
  sellers
    .command('destination')
    .argument('<seller>', 'the seller’s name')
    .argument('<account>', "the seller's account at the PSP: acct_…")
    .description('set where a seller is paid; needs --reason')
    .option('--psp-account <name>', 'our account that pays there; default: the default account')
    .addHelpText('after', DESTINATION_HELP)
    .action((seller, destination, flags) =>
      launch(async (session) =>
        (await import('../actions/change-sellers.ts')).changeDestinationCommand(session, {
          seller,
          destination,
          pspAccount: flags.pspAccount ?? null,
        }),
      ),
    );
}
