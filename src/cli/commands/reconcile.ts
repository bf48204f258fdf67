/** Flags of `paygate reconcile`. The action does the work. */
import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';

const FORMATS = [
  'stripe_balance',
  'stripe_payout',
  'adyen_settlement',
  'paypal_settlement',
  'paypal_transactions',
  'generic_csv',
  'camt053',
  'mt940',
  'bai2',
] as const;

const HELP = `
Takes a PSP's settlement file or a bank's statement, holds each line against the books, books what
both sides agree on, and shows matched, in transit and breaks with a proof that closes. The format
is recognised by the file itself. The whole file is checked first; nothing is taken from a file
with bad rows. The same file again changes nothing, and goes on where it was interrupted.

Exit codes: 0 everything is explained; 1 there are breaks, a proof does not close, or rows were
left out; 2 the file can't be used and nothing changed.

Examples:
  paygate reconcile settlement.csv --report report.html
  paygate reconcile statement.xml --bank main
  paygate reconcile export.csv --account checkout --mapping checkout.toml --dry-run
  paygate reconcile --run run_7 --report report.html`;

/** Adds the command to the program; `launch` runs what the action does. */
export function registerReconcile(program: CommandUnknownOpts, launch: Launch): void {
  program
    .command('reconcile')
    .argument('[file]', "a PSP's settlement file or a bank's statement; - is standard input")
    .description('hold a settlement file or bank statement against the books')
    .addOption(new Option('--format <format>', 'do not recognise it, take it for this').choices(FORMATS))
    .option('--mapping <file>', 'how to read any other CSV file (TOML)')
    .addOption(new Option('--account <name>', 'our PSP account that the file is about').conflicts('bank'))
    .option('--bank <name>', 'the bank whose statement it is')
    .option('--report <file>', 'write the result as one HTML page too')
    .addOption(
      new Option('--run <id>', 'show an earlier run again: run_7').conflicts([
        ...['format', 'mapping', 'account', 'bank', 'acceptRejects'],
      ]),
    )
    .option('--accept-rejects', 'leave bad rows out and take the others; ends with 1')
    .addHelpText('after', HELP)
    .action((file, flags) =>
      launch(async (session) =>
        (await import('../actions/reconcile-command.ts')).reconcileCommand(session, {
          file: file ?? null,
          run: flags.run ?? null,
          format: flags.format ?? null,
          mapping: flags.mapping ?? null,
          account: flags.account ?? null,
          bank: flags.bank ?? null,
          report: flags.report ?? null,
          acceptRejects: flags.acceptRejects === true,
        }),
      ),
    );
}
