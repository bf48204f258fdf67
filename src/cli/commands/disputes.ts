/** Flags of `paygate disputes …`. Knows no dispute: the actions do the work. */
import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';
import { DEFAULT_LIMIT, nounCommand, readLimit } from './options.ts';

/** Adds the commands to the program; `launch` runs what an action does. */
export function registerDisputes(program: CommandUnknownOpts, launch: Launch): void {
  const disputes = nounCommand(program, 'disputes', "what buyers' banks took back, or hold");
  disputes
    .command('show')
    .argument('<id>', "dsp_19, or the PSP's own name of it")
    .description('one dispute')
    .action((id) =>
      launch(async (session) => (await import('../actions/read-disputes.ts')).showDispute(session, id)),
    );
  disputes
    .command('list')
    .description('disputes, newest first')
    .addOption(new Option('--state <state>', 'in this state').choices(['opened', 'won', 'lost'] as const))
    .option('--order <id>', 'of this order: ord_13')
    .option('--payment <id>', 'of this payment: pay_12')
    .option('--seller <name>', 'of this seller')
    .option('--limit <count>', 'how many at most', readLimit, DEFAULT_LIMIT)
    .option('--cursor <cursor>', 'go on where a list ended (its next_cursor)')
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/read-disputes.ts')).listDisputesCommand(session, {
          state: flags.state ?? null,
          order: flags.order ?? null,
          payment: flags.payment ?? null,
          seller: flags.seller ?? null,
          limit: flags.limit,
          cursor: flags.cursor ?? null,
        }),
      ),
    );
}
