/** Flags of `paygate breaks …`. The actions do the work. */
import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import { BREAK_CODES } from '../../core/settlement/reconcile-answer.ts';
import type { Launch } from '../launch.ts';
import { RESOLUTIONS, RESTS } from '../render/resolutions.ts';
import { collect, DEFAULT_LIMIT, nounCommand, readDuration, readLimit } from './options.ts';

const STATES = ['active', 'open', 'acknowledged', 'waiting_psp', 'resolved', 'written_off', 'all'] as const;
const SEVERITIES = ['P1', 'P2', 'P3', 'P4'] as const;
/** Adds the commands to the program; `launch` runs what an action does. */
export function registerBreaks(program: CommandUnknownOpts, launch: Launch): void {
  const breaks = nounCommand(program, 'breaks', 'mismatches between our books and a file');
  registerList(breaks, launch);
  breaks
    .command('show')
    .argument('<break>', 'brk_12')
    .description('one break: both sides, its history, and what can be done about it')
    .action((id) =>
      launch(async (session) => (await import('../actions/read-breaks.ts')).showBreakCommand(session, id)),
    );
  breaks
    .command('items')
    .argument('<break>', 'brk_12')
    .description('what is open and the line of a break may be: the same amount first, then the nearest day')
    .option('--limit <count>', 'how many at most', readLimit, DEFAULT_LIMIT)
    .action((id, flags) =>
      launch(async (session) =>
        (await import('../actions/read-breaks.ts')).listItemsCommand(session, id, flags.limit),
      ),
    );
  registerResolve(breaks, launch);
}

function registerList(breaks: CommandUnknownOpts, launch: Launch): void {
  breaks
    .command('list')
    .description('breaks, in the order in which they were found')
    .addOption(
      new Option('--state <state>', 'that stand there; active: everything but resolved and written_off')
        .choices(STATES)
        .default('active' as const),
    )
    .addOption(new Option('--code <code>', 'with this code').choices(BREAK_CODES))
    .addOption(new Option('--severity <severity>', 'of this severity').choices(SEVERITIES))
    .addOption(new Option('--account <name>', 'of this PSP account').conflicts('bank'))
    .option('--bank <name>', "of this bank's statements")
    .option('--currency <code>', 'in this currency')
    .option('--assignee <name>', 'that this person works on')
    .option('--older-than <duration>', 'first seen longer ago than 2d, 30d', readDuration)
    .option('--limit <count>', 'how many at most', readLimit, DEFAULT_LIMIT)
    .option('--cursor <cursor>', 'go on where a list ended (its next_cursor)')
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/read-breaks.ts')).listBreaksCommand(session, {
          state: flags.state,
          code: flags.code ?? null,
          severity: flags.severity ?? null,
          account: flags.account ?? null,
          bank: flags.bank ?? null,
          currency: flags.currency ?? null,
          assignee: flags.assignee ?? null,
          olderThanMs: flags.olderThan ?? null,
          limit: flags.limit,
          cursor: flags.cursor ?? null,
        }),
      ),
    );
}

const RESOLVE_HELP = `
Shows what it would book and has it confirmed: y/N or --yes, a write-off by typing its amount or
--confirm. What fits is in "breaks show". Every decision is kept with its reason and your name; a
write-off over the limit of the configuration is kept as a proposal until another person gives the
same command.

  acknowledge, assign, wait_for_psp, reopen   say who looks at it; nothing is booked
  accept        the file is right: book what it says
  adjust        book the difference
  expense       book it as a fee
  suspense      book it as not yet explained
  link          say what the line shows: the proposed payment, or each --item (see "breaks items");
                a part of one is --item op_12=40.00, and what is left of the line goes to --rest
  reverse       undo what we booked
  write_off     give it up

Examples:
  paygate breaks resolve brk_12 --as assign --assignee ana
  paygate breaks resolve brk_12 --as expense --reason "fee raised in March, contract 4.2" --dry-run
  paygate breaks resolve brk_7 --as link --item po_1a --item po_2b --reason "one transfer"
  paygate breaks resolve brk_9 --as write_off --reason "below the cost of asking" --confirm 0.12EUR`;

function registerResolve(breaks: CommandUnknownOpts, launch: Launch): void {
  breaks
    .command('resolve')
    .argument('<break>', 'brk_12')
    .description('decide what becomes of a break')
    .addOption(new Option('--as <action>', 'what becomes of it').choices(RESOLUTIONS).makeOptionMandatory())
    .option('--assignee <name>', 'for --as assign: who works on it')
    .option('--item <name[=amount]>', 'for --as link: what the line shows; may be repeated', collect)
    .addOption(new Option('--rest <action>', 'for --as link: where what is left goes').choices(RESTS))
    .option('--key <text>', 'your name of this decision: the same again does nothing twice')
    .addHelpText('after', RESOLVE_HELP)
    .action((id, flags) =>
      launch(async (session) =>
        (await import('../actions/resolve-break-command.ts')).resolveBreakCommand(session, {
          break: id,
          action: flags.as,
          assignee: flags.assignee ?? null,
          key: flags.key ?? null,
          items: flags.item ?? [],
          rest: flags.rest ?? null,
        }),
      ),
    );
}
