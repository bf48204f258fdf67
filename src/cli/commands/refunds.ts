/** Flags of `paygate refunds …`. Knows no refund: the actions do the work. */
import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';
import { DEFAULT_LIMIT, nounCommand, readLimit } from './options.ts';

const CREATE_HELP = `
The refund's name makes it safe to ask twice: the same name with the same content gives the same
refund, whatever happened meanwhile. Without a terminal it must be given.

Examples:
  paygate refunds create ord_13 --refund-id return-77 --amount 5.00 --yes
  paygate refunds create ord_13`;

/** Adds the commands to the program; `launch` runs what an action does. */
export function registerRefunds(program: CommandUnknownOpts, launch: Launch): void {
  const refunds = nounCommand(program, 'refunds', 'give buyers their money back, and see what became of it');
  refunds
    .command('create')
    .argument('<order>', 'ord_13')
    .description('refund an order, all that is left of it or a part')
    .option('--refund-id <name>', 'names the refund for ever')
    .option('--amount <amount>', "in major units of the order's currency: 12.50; default: all that is left")
    .addHelpText('after', CREATE_HELP)
    .action((order, flags) =>
      launch(async (session) =>
        (await import('../actions/create-refund.ts')).createRefund(session, {
          order,
          refundId: flags.refundId ?? null,
          amount: flags.amount ?? null,
        }),
      ),
    );
  refunds
    .command('show')
    .argument('<id>', "rfd_16, or the refund's own name")
    .description('one refund')
    .action((id) =>
      launch(async (session) => (await import('../actions/read-refunds.ts')).showRefund(session, id)),
    );
  refunds
    .command('list')
    .description('refunds, newest first')
    .option('--order <id>', 'of this order: ord_13')
    .option('--payment <id>', 'of this payment: pay_12')
    .option('--limit <count>', 'how many at most', readLimit, DEFAULT_LIMIT)
    .option('--cursor <cursor>', 'go on where a list ended (its next_cursor)')
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/read-refunds.ts')).listRefundsCommand(session, {
          order: flags.order ?? null,
          payment: flags.payment ?? null,
          limit: flags.limit,
          cursor: flags.cursor ?? null,
        }),
      ),
    );
}
