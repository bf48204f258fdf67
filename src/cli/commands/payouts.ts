/** Flags of `paygate payouts …`. Knows no payout: the actions do the work. */
import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import { PAYOUT_STATES } from '../../core/payout/payout.ts';
import type { Launch } from '../launch.ts';
import { DEFAULT_LIMIT, nounCommand, readLimit, readWhole } from './options.ts';

/** Adds the commands to the program; `launch` runs what an action does. */
export function registerPayouts(program: CommandUnknownOpts, launch: Launch): void {
  const payouts = nounCommand(program, 'payouts', 'pay sellers what they are owed');
  registerSubmit(payouts, launch);
  registerApproval(payouts, launch);
  registerReading(payouts, launch);
  registerResolve(payouts, launch);
}

const SUBMIT_HELP = `
One payout per row. Columns, or keys of one JSON object per line: item_ref, seller, amount,
currency; optional destination, memo. The whole file is checked first; nothing is stored from a
file with bad rows. Submitting stores drafts and moves nothing: payouts approve does.

item_ref names a payout for ever: whatever file it stands in again, it is paid once. It is free
again only where its payout was refused, canceled or definitely failed, so that a corrected file
pays what was not paid.

Examples:
  paygate payouts submit march.csv --dry-run
  paygate payouts submit march.csv`;

function registerSubmit(payouts: CommandUnknownOpts, launch: Launch): void {
  payouts
    .command('submit')
    .argument('<file>', 'CSV or NDJSON file; - is standard input')
    .description('check a payout file, show what it would pay, and store it as drafts')
    .option('--psp-account <name>', 'our account that pays; default: the default account')
    .addHelpText('after', SUBMIT_HELP)
    .action((file, flags) =>
      launch(async (session) =>
        (await import('../actions/submit-payouts.ts')).submitPayoutsCommand(session, {
          file,
          pspAccount: flags.pspAccount ?? null,
        }),
      ),
    );
}

/** Longest wait for the end of payouts (s): a day. */
const MAX_WAIT_S = 86_400;
const DEFAULT_WAIT_S = 900;

const APPROVE_HELP = `
Shows the plan and every wallet before and after, has the total typed (or --confirm), reserves
the wallets and queues the payouts. Above payouts.approval_limit of the configuration it takes
another person than the submitter. What a wallet does not cover, a frozen seller or a destination
that is not the register's is refused item by item; the others are paid. The same again goes on
where it was interrupted.

Example:
  paygate payouts approve pob_17 --confirm 48210.55EUR --wait`;

function registerApproval(payouts: CommandUnknownOpts, launch: Launch): void {
  payouts
    .command('approve')
    .argument('<batch>', 'pob_17')
    .description('reserve the wallets of a batch and let it be paid')
    .option('--wait', 'follow to the end: then exit 1 when not all are paid, 4 when unknown')
    .option(
      '--wait-timeout <seconds>',
      'give up following after this long',
      (text) => readWhole(text, 1, MAX_WAIT_S),
      DEFAULT_WAIT_S,
    )
    .addHelpText('after', APPROVE_HELP)
    .action((batch, flags) =>
      launch(async (session) =>
        (await import('../actions/approve-payouts.ts')).approvePayoutsCommand(session, batch, {
          mode: 'approve',
          waitS: flags.wait === true ? flags.waitTimeout : null,
        }),
      ),
    );
  payouts
    .command('resume')
    .argument('<batch>', 'pob_17')
    .description('go on with an approval that was interrupted')
    .option('--wait', 'follow to the end: then exit 1 when not all are paid, 4 when unknown')
    .option(
      '--wait-timeout <seconds>',
      'give up following after this long',
      (text) => readWhole(text, 1, MAX_WAIT_S),
      DEFAULT_WAIT_S,
    )
    .action((batch, flags) =>
      launch(async (session) =>
        (await import('../actions/approve-payouts.ts')).approvePayoutsCommand(session, batch, {
          mode: 'resume',
          waitS: flags.wait === true ? flags.waitTimeout : null,
        }),
      ),
    );
  payouts
    .command('cancel')
    .argument('<id>', 'pob_17, or a payout: po_18')
    .description('cancel the drafts of a batch, or a payout that was never sent; needs --reason')
    .action((id) =>
      launch(async (session) =>
        /^pob_/.test(id)
          ? (await import('../actions/approve-payouts.ts')).cancelPayoutsCommand(session, id)
          : (await import('../actions/settle-payout.ts')).cancelPayout(session, id),
      ),
    );
}

const RESOLVE_HELP = `
For a payout whose outcome only a person can tell: look it up at the PSP first. Your word is
stored as evidence with your name; it ends a doubt, it never overrules what is known.

Example:
  paygate payouts resolve po_18 --as succeeded --evidence "dashboard shows tr_1Nx, 12:31 UTC"`;

function registerResolve(payouts: CommandUnknownOpts, launch: Launch): void {
  payouts
    .command('resolve')
    .argument('<payout>', 'po_18, its item_ref or its op_19')
    .description('say what became of a payout that is in doubt')
    .addOption(
      new Option('--as <outcome>', 'what the PSP really did')
        .choices(['succeeded', 'failed'] as const)
        .makeOptionMandatory(),
    )
    .requiredOption('--evidence <text>', 'what you saw and where')
    .option('--psp-reference <id>', "the PSP's name of the transfer")
    .addHelpText('after', RESOLVE_HELP)
    .action((payout, flags) =>
      launch(async (session) =>
        (await import('../actions/settle-payout.ts')).resolvePayout(session, {
          payout,
          verdict: flags.as,
          evidence: flags.evidence,
          pspReference: flags.pspReference ?? null,
        }),
      ),
    );
}

const BATCH_STATES = ['draft', 'approving', 'approved', 'canceled'] as const;

function registerReading(payouts: CommandUnknownOpts, launch: Launch): void {
  payouts
    .command('show')
    .argument('<id>', 'po_18, its item_ref or its op_19; a batch: pob_17')
    .description('one payout, or where a batch stands')
    .action((id) =>
      launch(async (session) => (await import('../actions/read-payouts.ts')).showPayout(session, id)),
    );
  payouts
    .command('list')
    .description('payouts, newest first')
    .addOption(new Option('--status <status>', 'that stand there').choices(PAYOUT_STATES))
    .option('--seller <name>', 'to this seller')
    .option('--batch <id>', 'of this batch: pob_17')
    .option('--limit <count>', 'how many at most', readLimit, DEFAULT_LIMIT)
    .option('--cursor <cursor>', 'go on where a list ended (its next_cursor)')
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/read-payouts.ts')).listPayoutsCommand(session, {
          status: flags.status ?? null,
          seller: flags.seller ?? null,
          batch: flags.batch ?? null,
          limit: flags.limit,
          cursor: flags.cursor ?? null,
        }),
      ),
    );
  payouts
    .command('batches')
    .description('payout batches, newest first')
    .addOption(new Option('--status <status>', 'that stand there').choices(BATCH_STATES))
    .option('--limit <count>', 'how many at most', readLimit, DEFAULT_LIMIT)
    .option('--cursor <cursor>', 'go on where a list ended (its next_cursor)')
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/read-payouts.ts')).listBatchesCommand(session, {
          status: flags.status ?? null,
          limit: flags.limit,
          cursor: flags.cursor ?? null,
        }),
      ),
    );
}
