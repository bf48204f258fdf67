/**
 * The tree of commands with their flags. Loads nothing that a command needs to run: each action imports its
 * own work, so that `--help` stays fast.
 */
import { Command, Option } from '@commander-js/extra-typings';
import { registerBreaks } from './commands/breaks.ts';
import { registerConfig } from './commands/config.ts';
import { registerDaemon } from './commands/daemon.ts';
import { registerDb } from './commands/db.ts';
import { registerDemo } from './commands/demo.ts';
import { registerDisputes } from './commands/disputes.ts';
import { registerDlq } from './commands/dlq.ts';
import { registerHelp } from './commands/help.ts';
import { registerLedger } from './commands/ledger.ts';
import { registerPayments } from './commands/payments.ts';
import { registerPayouts } from './commands/payouts.ts';
import { registerReconcile } from './commands/reconcile.ts';
import { registerRefunds } from './commands/refunds.ts';
import { registerRisk } from './commands/risk.ts';
import { registerSandbox } from './commands/sandbox.ts';
import { registerSellers } from './commands/sellers.ts';
import { registerSuspense } from './commands/suspense.ts';
import { registerWallets } from './commands/wallets.ts';
import type { Host } from './host.ts';
import type { Launch, Work } from './launch.ts';
import { type Globals, OUTPUT_FORMATS } from './session.ts';

const VERSION = '0.1.0';

/** Terminals narrower or wider than this are not followed: help texts are lines of prose. */
const MIN_HELP_WIDTH = 60;
const MAX_HELP_WIDTH = 100;

export type ProgramOptions = {
  readonly host: Host;
  /** How errors are written; under JSON nothing else may stand on standard error. */
  readonly messages: 'text' | 'json';
  readonly launch: (globals: Globals, work: Work) => Promise<void>;
};

/** A fresh tree: commander keeps what it parsed, so one is good for one command line. */
export function createProgram({ host, messages, launch }: ProgramOptions) {
  const root = new Command('paygate')
    .description('A payment gateway: charges exactly once, books every movement, shows where it stands.')
    .helpOption('-h, --help', 'show help')
    .version(VERSION, '-V, --version', 'print the version');
  const program = withGlobalOptions(root)
    .helpCommand(false)
    .exitOverride()
    .configureHelp({ showGlobalOptions: false })
    .configureOutput({
      writeOut: (text) => host.stdout.write(text),
      writeErr: (text) => (messages === 'text' ? host.stderr.write(text) : undefined),
      // Errors are reported in one place, from what is thrown.
      outputError: () => undefined,
      getOutHelpWidth: () => helpWidth(host.stdout.columns),
      getErrHelpWidth: () => helpWidth(host.stderr.columns),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .addHelpText('afterAll', ({ command }) => (command.parent === null ? EPILOGUE : SHORT_EPILOGUE));

  const launchHere: Launch = (work) => launch(readGlobals(program.opts()), work);
  program.commandsGroup('Money:');
  registerPayments(program, launchHere);
  registerSellers(program, launchHere);
  registerPayouts(program, launchHere);
  registerWallets(program, launchHere);
  program.commandsGroup('Books:');
  registerLedger(program, launchHere);
  program.commandsGroup('Exceptions:');
  registerRefunds(program, launchHere);
  registerDisputes(program, launchHere);
  registerSuspense(program, launchHere);
  registerDlq(program, launchHere);
  registerReconcile(program, launchHere);
  registerBreaks(program, launchHere);
  registerRisk(program, launchHere);
  program.commandsGroup('Operate:');
  registerDaemon(program, launchHere);
  registerDb(program, launchHere);
  registerSandbox(program, launchHere);
  registerConfig(program, launchHere);
  registerDemo(program, launchHere);
  registerHelp(program, host.stdout);
  return program;
}

function helpWidth(columns: number | undefined): number {
  return Math.min(MAX_HELP_WIDTH, Math.max(MIN_HELP_WIDTH, columns ?? MAX_HELP_WIDTH));
}

const EPILOGUE = `
Every command takes the global options, before or after its name.
Help on one of them: paygate payments submit --help    Exit codes: paygate help exit-codes`;

const SHORT_EPILOGUE = '\nGlobal options: paygate --help';

function withGlobalOptions(program: Command) {
  return program
    .optionsGroup('Global options:')
    .addOption(
      new Option('-o, --output <format>', 'how the result is written')
        .choices(OUTPUT_FORMATS)
        .default('table' as const),
    )
    .option('--no-color', 'no colours (NO_COLOR and TERM=dumb do the same)')
    .option('--no-input', 'never ask; refuse instead')
    .option('-q, --quiet', 'no remarks and no progress')
    .option('-v, --verbose', 'say more; stack traces of internal errors')
    .option('--config <file>', 'configuration file (else $PAYGATE_CONFIG, ./paygate.toml, …)')
    .addOption(
      new Option('--env <name>', 'production refuses what is only for trying (else $PAYGATE_ENV)').choices([
        'development',
        'production',
      ] as const),
    )
    .option('-n, --dry-run', 'show the plan and stop')
    .option('-y, --yes', 'confirm what moves the money of one payment')
    .option('--confirm <total>', 'confirm a batch by its total, such as 48210.55EUR,1200JPY')
    .option('--reason <text>', 'why; stored with what the command does');
}

type GlobalOptions = ReturnType<ReturnType<typeof withGlobalOptions>['opts']>;

function readGlobals(options: GlobalOptions): Globals {
  return {
    output: options.output,
    color: options.color,
    input: options.input,
    quiet: options.quiet === true,
    verbose: options.verbose === true,
    configPath: options.config ?? null,
    env: options.env ?? null,
    dryRun: options.dryRun === true,
    yes: options.yes === true,
    confirm: options.confirm ?? null,
    reason: options.reason ?? null,
  };
}
