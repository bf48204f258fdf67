/** Flags of `paygate db …`. The actions do the work. */
import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';
import { nounCommand } from './options.ts';

/** Adds the commands to the program; `launch` runs what an action does. */
export function registerDb(program: CommandUnknownOpts, launch: Launch): void {
  const db = nounCommand(program, 'db', 'the database: embedded Postgres, or your own');
  db.command('start')
    .description('start the embedded Postgres and bring its schema up to date')
    .action(() =>
      launch(async (session) => (await import('../actions/manage-database.ts')).startDatabase(session)),
    );
  db.command('stop')
    .description('stop the embedded Postgres; its data stays')
    .action(() =>
      launch(async (session) => (await import('../actions/manage-database.ts')).stopDatabase(session)),
    );
  db.command('status')
    .description('where the database is and whether it runs; exit 1 when it does not')
    .action(() =>
      launch(async (session) => (await import('../actions/manage-database.ts')).showDatabase(session)),
    );
  db.command('url')
    .description('a URL for psql and others; passwords are left out')
    .addOption(
      new Option('--role <role>', 'app does the daily work, owner migrates')
        .choices(['app', 'owner'] as const)
        .default('app' as const),
    )
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/manage-database.ts')).printDatabaseUrl(session, flags.role),
      ),
    );
  db.command('migrate')
    .description('bring the schema up to date')
    .action(() =>
      launch(async (session) => (await import('../actions/manage-database.ts')).migrateDatabase(session)),
    );
}
