/** Flags of `paygate demo`. The action does the work. */
import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';
import { readWhole } from './options.ts';

export function registerDemo(program: CommandUnknownOpts, launch: Launch): void {
  program
    .command('demo')
    .description(
      'a marketplace in a minute: real Postgres, a PSP that misbehaves, a batch charged exactly once',
    )
    .option(
      '--seed <number>',
      'decides which requests the faults hit',
      (text) => readWhole(text, 0, 999_999_999),
      7,
    )
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/run-demo.ts')).runDemo(session, { seed: flags.seed }),
      ),
    );
}
