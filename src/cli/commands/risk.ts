/** Flags of `paygate risk …`. The actions do the work. */
import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';
import { DEFAULT_LIMIT, nounCommand, readLimit } from './options.ts';

/** Adds the commands to the program; `launch` runs what an action does. */
export function registerRisk(program: CommandUnknownOpts, launch: Launch): void {
  const risk = nounCommand(
    program,
    'risk',
    'payments that wait for a person, and the rules that send them there',
  );
  registerReview(risk, launch);
  risk
    .command('lint')
    .argument('[file]', "a rule file; default: the configuration's risk.rules_file")
    .description('check a rule file: every fault with its place and what to write instead')
    .action((file) =>
      launch(async (session) => (await import('../actions/check-rules.ts')).lintRules(session, file ?? null)),
    );
  registerTest(risk, launch);
}

const REVIEW_HELP = `
One decision only: the second person is told who was first. What nobody decides in time
(review_timeout in the rule file) is rejected. An approval asks the block lists again.

Examples:
  paygate risk review list
  paygate risk review approve pay_12 --reason "called the buyer, order confirmed"
  paygate risk review reject pay_12 --reason "card reported stolen by the issuer"`;

function registerReview(risk: CommandUnknownOpts, launch: Launch): void {
  const review = nounCommand(risk, 'review', 'payments that the rules sent to a person').addHelpText(
    'after',
    REVIEW_HELP,
  );
  review
    .command('list')
    .description('reviews, newest payment first')
    .addOption(
      new Option('--state <state>', 'in this state')
        .choices(['open', 'approved', 'rejected', 'timed_out', 'all'] as const)
        .default('open' as const),
    )
    .option('--limit <count>', 'how many at most', readLimit, DEFAULT_LIMIT)
    .option('--cursor <cursor>', 'go on where a list ended (its next_cursor)')
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/review-risk.ts')).listReviewsCommand(session, {
          state: flags.state === 'all' ? null : flags.state,
          limit: flags.limit,
          cursor: flags.cursor ?? null,
        }),
      ),
    );
  for (const [name, verdict, description] of [
    ['approve', 'approved', 'charge it after all (give --reason)'],
    ['reject', 'rejected', 'end it unsent (give --reason)'],
  ] as const) {
    review
      .command(name)
      .argument('<payment>', 'pay_12')
      .description(description)
      .action((payment) =>
        launch(async (session) =>
          (await import('../actions/review-risk.ts')).decideReviewCommand(session, payment, verdict),
        ),
      );
  }
}

const TEST_HELP = `
Reads the same batch files as payments submit. Rules that look back (velocity, duplicate, first-time
buyer, daily cap) read what the book has counted so far; nothing is written.

Examples:
  paygate risk test yesterday.csv
  paygate risk test yesterday.csv --rules draft.toml -o json`;

function registerTest(risk: CommandUnknownOpts, launch: Launch): void {
  risk
    .command('test')
    .argument('<file>', 'batch file (CSV or NDJSON); - is standard input')
    .description('what the rules would say to each payment of a batch file; writes nothing')
    .option('--rules <file>', "another rule file; default: the configuration's risk.rules_file")
    .addOption(
      new Option('--format <format>', 'of the batch file; default: by its content').choices([
        'csv',
        'ndjson',
      ] as const),
    )
    .addHelpText('after', TEST_HELP)
    .action((file, flags) =>
      launch(async (session) =>
        (await import('../actions/check-rules.ts')).testRules(session, {
          file,
          rules: flags.rules ?? null,
          format: flags.format ?? null,
        }),
      ),
    );
}
