/** Flags of `paygate suspense …`. Knows no money: the actions do the work. */
import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';
import { DEFAULT_LIMIT, nounCommand, readLimit } from './options.ts';

const ADOPT_HELP = `
The order becomes SUCCESS and its seller is owed the money, as if the charge had succeeded in time.
Refused where the order has been charged already, or may still be.

Examples:
  paygate suspense adopt op_14/1 --reason "the shop delivers" --yes`;

const REFUND_HELP = `
All of it goes back to the buyer, by a refund that the daemon sends. The same name again gives the
same refund; without --refund-id the name is made from the attempt, so that asking twice is safe.
A refund that failed is tried again under another name.

Examples:
  paygate suspense refund op_14/2 --reason "charged twice" --yes`;

/** Adds the commands to the program; `launch` runs what an action does. */
export function registerSuspense(program: CommandUnknownOpts, launch: Launch): void {
  const suspense = nounCommand(program, 'suspense', 'money that moved although its order had ended');
  suspense
    .command('list')
    .description('what somebody must decide about, newest first')
    .option('--all', 'also what is decided and done')
    .option('--payment <id>', 'of this payment: pay_12')
    .option('--psp <account>', 'of this PSP account')
    .option('--limit <count>', 'how many at most', readLimit, DEFAULT_LIMIT)
    .option('--cursor <cursor>', 'go on where a list ended (its next_cursor)')
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/read-suspense.ts')).listSuspenseCommand(session, {
          which: flags.all === true ? 'all' : 'undecided',
          payment: flags.payment ?? null,
          psp: flags.psp ?? null,
          limit: flags.limit,
          cursor: flags.cursor ?? null,
        }),
      ),
    );
  suspense
    .command('show')
    .argument('<attempt>', 'op_14/2')
    .description('one of them')
    .action((attempt) =>
      launch(async (session) => (await import('../actions/read-suspense.ts')).showSuspense(session, attempt)),
    );
  suspense
    .command('adopt')
    .argument('<attempt>', 'op_14/1')
    .description('let the order take the money; needs --reason')
    .addHelpText('after', ADOPT_HELP)
    .action((attempt) =>
      launch(async (session) =>
        (await import('../actions/decide-suspense.ts')).adoptSuspenseCommand(session, attempt),
      ),
    );
  suspense
    .command('refund')
    .argument('<attempt>', 'op_14/2')
    .description('give the buyer the money back; needs --reason')
    .option('--refund-id <name>', 'names the refund for ever')
    .addHelpText('after', REFUND_HELP)
    .action((attempt, flags) =>
      launch(async (session) =>
        (await import('../actions/decide-suspense.ts')).refundSuspenseCommand(session, attempt, {
          refundId: flags.refundId ?? null,
        }),
      ),
    );
}
