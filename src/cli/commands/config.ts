/** Flags of `paygate config …`. The actions do the work. */
import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';
import { nounCommand } from './options.ts';

/** Adds the commands to the program; `launch` runs what an action does. */
export function registerConfig(program: CommandUnknownOpts, launch: Launch): void {
  const config = nounCommand(program, 'config', 'the configuration in force');
  config
    .command('show')
    .description('every setting in force; secrets are never shown')
    .option('--origin', 'and where each comes from')
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/show-config.ts')).showConfig(
          session,
          flags.origin === true ? 'with' : 'without',
        ),
      ),
    );
}
