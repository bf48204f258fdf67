/** Flags of `paygate dlq …`. The actions do the work. */
import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';
import { DEFAULT_LIMIT, nounCommand, readDuration, readLimit, readRate, readWhole } from './options.ts';

/** Adds the commands to the program; `launch` runs what an action does. */
export function registerDlq(program: CommandUnknownOpts, launch: Launch): void {
  const dlq = nounCommand(program, 'dlq', 'dead letters: operations that need a person');
  registerList(dlq, launch);
  dlq
    .command('show')
    .argument('<id>', 'dl_4')
    .description('one dead letter, and what can be done about it')
    .action((id) =>
      launch(async (session) =>
        (await import('../actions/read-dead-letters.ts')).showDeadLetter(session, id),
      ),
    );
  registerReplay(dlq, launch);
  registerResolve(dlq, launch);
  registerDiscard(dlq, launch);
}

function registerList(dlq: CommandUnknownOpts, launch: Launch): void {
  const list = dlq
    .command('list')
    .description('dead letters, newest first')
    .addOption(
      new Option('--state <state>', 'in this state')
        .choices(['open', 'replayed', 'resolved', 'discarded', 'all'] as const)
        .default('open' as const),
    )
    .option('--group', 'what they have in common: one line for each fingerprint, the largest first')
    .option('--code <code>', 'with this code: unknown_unresolved')
    .option('--fingerprint <text>', 'with this fingerprint, as --group shows it')
    .option('--psp <account>', 'of this PSP account')
    .option('--older-than <duration>', 'open for longer than 15m, 2h, 3d', readDuration)
    .option('--newer-than <duration>', 'open for less than that', readDuration)
    .option('--currency <code>', 'in this currency')
    .option('--min-amount <amount>', 'of this amount or more, in the currency')
    .option('--max-amount <amount>', 'of this amount or less, in the currency')
    .option('--limit <count>', 'how many at most', readLimit, DEFAULT_LIMIT)
    .option('--cursor <cursor>', 'go on where a list ended (its next_cursor)');
  list.action((flags) =>
    launch(async (session) => {
      const read = await import('../actions/read-dead-letters.ts');
      const chosen = { ...flags, state: flags.state === 'all' ? null : flags.state };
      if (flags.group === true) return read.listDeadLetterGroupsCommand(session, chosen);
      return read.listDeadLettersCommand(session, { ...chosen, cursor: flags.cursor ?? null });
    }),
  );
}

const REPLAY_HELP = `
Shows what it would do, and does it only when it is confirmed: one letter by y/N or --yes, more by
typing the total or --confirm. What may have been sent goes on under its original key; past the
PSP's key window it can only be asked for (--action enquire). What the PSP refused becomes a new
attempt with a key of its own. Each letter moves by itself: the same command again goes on with
those that are still open.

Examples:
  paygate dlq replay dl_4 --reason "outage at the PSP is over" --yes
  paygate dlq replay --fingerprint "enquiry_failed: still unknown after # tries" --canary 5 \\
    --reason "outage at the PSP is over" --confirm 48210.55EUR`;

/** Letters that go first, at most. */
const MAX_CANARY = 100;
/** Longest wait for the canaries (s): an hour. */
const MAX_CANARY_WAIT_S = 3_600;
const DEFAULT_CANARY_WAIT_S = 300;
const DEFAULT_RATE = 20;

function registerReplay(dlq: CommandUnknownOpts, launch: Launch): void {
  dlq
    .command('replay')
    .argument('[ids...]', 'dl_4 dl_5 …')
    .description('give operations that need a person back to the daemons; a dry run until it is confirmed')
    .optionsGroup('Which letters:')
    .option('--code <code>', 'with this code: unknown_unresolved')
    .option('--fingerprint <text>', 'with this fingerprint, as dlq list --group shows it')
    .option('--psp <account>', 'of this PSP account')
    .option('--older-than <duration>', 'open for longer than 15m, 2h, 3d', readDuration)
    .option('--newer-than <duration>', 'open for less than that', readDuration)
    .option('--currency <code>', 'in this currency')
    .option('--min-amount <amount>', 'of this amount or more, in the currency')
    .option('--max-amount <amount>', 'of this amount or less, in the currency')
    .optionsGroup('How:')
    .addOption(
      new Option('--action <action>', 'send again, or only ask what became of it; default: send').choices([
        'send',
        'enquire',
      ] as const),
    )
    .option(
      '--canary <count>',
      'so many go first; the rest only when none of them is a dead letter again',
      (text) => readWhole(text, 1, MAX_CANARY),
    )
    .option(
      '--canary-timeout <seconds>',
      'give up waiting for the canaries after this long',
      (text) => readWhole(text, 1, MAX_CANARY_WAIT_S),
      DEFAULT_CANARY_WAIT_S,
    )
    .option('--rate <rate>', 'letters each second', readRate, DEFAULT_RATE)
    .addHelpText('after', REPLAY_HELP)
    .action((ids, { rate, canary, canaryTimeout, action, ...flags }) =>
      launch(async (session) => {
        const { replayDeadLettersCommand } = await import('../actions/replay-dead-letters.ts');
        return replayDeadLettersCommand(session, {
          ...flags,
          ids,
          action: action ?? null,
          canary: canary ?? 0,
          canaryTimeoutS: canaryTimeout,
          perSecond: rate,
        });
      }),
    );
}

const RESOLVE_HELP = `
For what has ended and was dealt with elsewhere: a refund that was paid by other means, a payout that
came back, two answers that were cleared up. It closes the letter and changes nothing else. What is in
doubt is ended by evidence (payments resolve, payouts resolve), what can go on by dlq replay.

Example:
  paygate dlq resolve dl_4 --reason "paid by bank transfer, ticket 311"`;

function registerResolve(dlq: CommandUnknownOpts, launch: Launch): void {
  dlq
    .command('resolve')
    .argument('<id>', 'dl_4')
    .description('close a letter about something that has ended and was dealt with; needs --reason')
    .addHelpText('after', RESOLVE_HELP)
    .action((id) =>
      launch(async (session) =>
        (await import('../actions/resolve-dead-letter.ts')).resolveDeadLetterCommand(session, id),
      ),
    );
}

const DISCARD_HELP = `
Only for what no daemon ever claimed: nothing may have been sent. It ends the operation as canceled.
Everything else is ended by evidence: paygate payments resolve.`;

function registerDiscard(dlq: CommandUnknownOpts, launch: Launch): void {
  dlq
    .command('discard')
    .argument('<id>', 'dl_4')
    .description('end an operation that was never sent; needs --reason')
    .addHelpText('after', DISCARD_HELP)
    .action((id) =>
      launch(async (session) =>
        (await import('../actions/discard-dead-letter.ts')).discardDeadLetterCommand(session, id),
      ),
    );
}
