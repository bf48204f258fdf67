/** Flags of `paygate sandbox …`. The actions do the work. */
import { type CommandUnknownOpts, InvalidArgumentError, Option } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';
import { nounCommand, readWhole } from './options.ts';

const DEFAULT_PORT = 12_111;

const RUN_HELP = `
The sandbox speaks Stripe's API on 127.0.0.1 and moves no money. Point an account at it:
  [psp.stripe]
  psp = "stripe"
  base_url = "http://127.0.0.1:${DEFAULT_PORT}"

Faults are chances per request, such as --fault act_then_drop=0.02 --fault fail_500=0.01`;

/** Adds the commands to the program; `launch` runs what an action does. */
export function registerSandbox(program: CommandUnknownOpts, launch: Launch): void {
  const sandbox = nounCommand(program, 'sandbox', 'a PSP to try things on');
  registerRun(sandbox, launch);
  registerFiles(sandbox, launch);
}

function registerRun(sandbox: CommandUnknownOpts, launch: Launch): void {
  sandbox
    .command('run')
    .description('run a Stripe-compatible sandbox in the foreground')
    .option(
      '--port <port>',
      'where it listens; 0 takes a free one',
      (text) => readWhole(text, 0, 65_535),
      DEFAULT_PORT,
    )
    .option('--journal <file>', 'keep its truth in this file; without it, in memory only')
    .option(
      '--seed <number>',
      'decides which requests the faults hit',
      (text) => readWhole(text, 0, 999_999_999),
      1,
    )
    .option('--fault <name=chance>', 'a fault and how often; may be given several times', readRate)
    .option('--latency <ms>', 'how long every request takes', (text) => readWhole(text, 0, 60_000), 0)
    .addHelpText('after', RUN_HELP)
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/run-sandbox.ts')).runSandbox(session, {
          port: flags.port,
          journal: flags.journal ?? null,
          seed: flags.seed,
          rates: flags.fault ?? {},
          latencyMs: flags.latency,
        }),
      ),
    );
}

const FILES_HELP = `
Writes what the PSP and the bank would send about everything that happened in the running sandbox,
and planted.json with what was planted: the break that a reconciliation must find, its reference
and amount. Mismatches: missing_line, extra_line, wrong_amount, wrong_fee, overcharge,
wrong_currency, duplicate_line, fx_variance, ambiguous, status, second_success, missing_refund,
extra_refund, chargeback, chargeback_reversed, refund_and_chargeback, direction,
returned_payout, unclassified, late_adjustment, reserve, batch_out_of_balance, deposit_missing,
deposit_differs.

Example:
  paygate sandbox files files --seed 7 --plant missing_line=2 --plant wrong_amount=1
  paygate reconcile files/stripe-balance.csv --report report.html`;

function registerFiles(sandbox: CommandUnknownOpts, launch: Launch): void {
  sandbox
    .command('files')
    .argument('<folder>', 'where they go; made when it is not there')
    .description('write the settlement files of a running sandbox')
    .option('--url <url>', 'where the sandbox listens', `http://127.0.0.1:${DEFAULT_PORT}`)
    .addOption(
      new Option('--psp <psp>', 'whose files')
        .choices(['stripe', 'adyen'] as const)
        .default('stripe' as const),
    )
    .option('--seed <number>', 'decides which rows are hit', (text) => readWhole(text, 0, 999_999_999), 1)
    .option('--plant <name=count>', 'a mismatch and how many; may be given several times', readPlant)
    .addHelpText('after', FILES_HELP)
    .action((folder, flags) =>
      launch(async (session) =>
        (await import('../actions/sandbox-files.ts')).sandboxFilesCommand(session, {
          folder,
          url: flags.url,
          psp: flags.psp,
          seed: flags.seed,
          plant: flags.plant ?? {},
        }),
      ),
    );
}

function readPlant(text: string, previous: Readonly<Record<string, number>> | undefined) {
  const match = /^([a-z_]+)=(\d{1,4})$/.exec(text);
  if (match === null)
    throw new InvalidArgumentError('It must be a name and a count, such as missing_line=2.');
  return { ...previous, [match[1]!]: Number(match[2]) };
}

function readRate(text: string, previous: Readonly<Record<string, number>> | undefined) {
  const match = /^([a-z0-9_]+)=(0|1|0?\.\d{1,6})$/.exec(text);
  if (match === null)
    throw new InvalidArgumentError('It must be a name and a chance, such as fail_500=0.01.');
  return { ...previous, [match[1]!]: Number(match[2]) };
}
