/** Flags of `paygate daemon …`. The actions do the work. */
import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';
import { nounCommand } from './options.ts';

/** Adds the commands to the program; `launch` runs what an action does. */
export function registerDaemon(program: CommandUnknownOpts, launch: Launch): void {
  const daemon = nounCommand(program, 'daemon', 'the process that charges; any number may run');
  daemon
    .command('run')
    .description('run in the foreground until SIGTERM or Ctrl-C; a second one ends it at once')
    .action(() =>
      launch(async (session) => (await import('../actions/run-daemon.ts')).runDaemonCommand(session)),
    );
  daemon
    .command('status')
    .description('daemons that are alive, and the queue; exit 1 when none is alive')
    .action(() =>
      launch(async (session) => (await import('../actions/show-daemons.ts')).showDaemons(session)),
    );
}
