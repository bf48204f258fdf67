/** `daemon run`: finds configuration and database, then hands over to the daemon until it has stopped. */
import { EXIT } from '../exit-codes.ts';
import { loadConfig } from '../load-config.ts';
import { locateDatabase, migrateBook, readUrl } from '../open-book.ts';
import { refuseDryRun, type Session } from '../session.ts';

/** Exit 0 after a drain in good order. */
export async function runDaemonCommand(session: Session): Promise<number> {
  refuseDryRun(session);
  const { config } = loadConfig(session);
  const connection = await locateDatabase(session, config, 'app');
  if (config.database.url === null) await migrateBook(session, config);
  const { listenUrl } = config.database;
  const listenConnection = listenUrl === null ? null : await readUrl(session, listenUrl);
  const { runDaemon } = await session.host.loaders.startDaemon();
  // It drains after the first signal and leaves at the second one.
  session.host.interrupt.takeOver();
  await runDaemon({
    config,
    connection,
    listenConnection,
    renderReport: async (answer) =>
      (await import('../render/reconcile-report.ts')).renderReconcileReport(answer),
  });
  return EXIT.done;
}
