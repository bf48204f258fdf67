/** Flags of `paygate dlq …`. The actions do the work. */
import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';
import { DEFAULT_LIMIT, nounCommand, readLimit } from './options.ts';

/** Adds the commands to the program; `launch` runs what an action does. */
export function registerDlq(program: CommandUnknownOpts, launch: Launch): void {
  const dlq = nounCommand(program, 'dlq', 'dead letters: operations that need a person');
  dlq
    .command('list')
    .description('dead letters, newest first')
    .addOption(
      new Option('--state <state>', 'in this state')
        .choices(['open', 'replayed', 'resolved', 'discarded', 'all'] as const)
        .default('open' as const),
    )
    .option('--code <code>', 'with this reason: unknown_unresolved')
    .option('--limit <count>', 'how many at most', readLimit, DEFAULT_LIMIT)
    .option('--cursor <cursor>', 'go on where a list ended (its next_cursor)')
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/read-dead-letters.ts')).listDeadLettersCommand(session, {
          state: flags.state === 'all' ? null : flags.state,
          code: flags.code ?? null,
          limit: flags.limit,
          cursor: flags.cursor ?? null,
        }),
      ),
    );
  dlq
    .command('show')
    .argument('<id>', 'dl_4')
    .description('one dead letter, and what can be done about it')
    .action((id) =>
      launch(async (session) =>
        (await import('../actions/read-dead-letters.ts')).showDeadLetter(session, id),
      ),
    );
}
