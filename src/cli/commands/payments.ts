/** Flags of `paygate payments …`. Knows no payment: the actions do the work. */
import { type CommandUnknownOpts, Option } from '@commander-js/extra-typings';
import type { Launch } from '../launch.ts';
import { collect, DEFAULT_LIMIT, nounCommand, readLimit, readWhole } from './options.ts';

/** Adds the commands to the program; `launch` runs what an action does. */
export function registerPayments(program: CommandUnknownOpts, launch: Launch): void {
  const payments = nounCommand(program, 'payments', 'submit payments and see what became of them');
  registerSubmit(payments, launch);
  registerReading(payments, launch);
  registerResolve(payments, launch);
  registerRetry(payments, launch);
  registerCancel(payments, launch);
}

const SUBMIT_HELP = `
A batch file has one payment order per row. Columns (CSV header or NDJSON keys): checkout_id, buyer,
seller, amount, currency, payment_method; optional idempotency_key, platform_fee, order_ref,
customer_present, return_url, metadata_*. Rows that share a checkout_id are one payment. The whole
file is checked first; nothing is submitted from a file with bad rows. The same file again charges
nothing twice.

Examples:
  paygate payments submit orders.csv
  paygate payments submit orders.csv --confirm 48210.55EUR,1200JPY
  paygate payments submit --checkout order-1001 --buyer b-17 --seller s-4 --amount 12.50 \\
    --currency EUR --method pm_card_visa --yes --wait`;

/** Longest wait for the end of payments (s): a day. */
const MAX_WAIT_S = 86_400;
const DEFAULT_WAIT_S = 900;

function registerSubmit(payments: CommandUnknownOpts, launch: Launch): void {
  payments
    .command('submit')
    .argument('[file]', 'batch file (CSV or NDJSON); - is standard input')
    .description(
      'submit one payment (by flags) or a batch file; each checkout is charged once, whatever happens',
    )
    .optionsGroup('One payment:')
    .option('--checkout <id>', 'names the event for ever: one checkout is charged once')
    .option('--buyer <name>', 'who pays')
    .option('--seller <name>', 'whom the money is for')
    .option('--amount <amount>', 'gross, in major units: 12.50')
    .option('--currency <code>', 'ISO 4217: EUR')
    .option('--method <id>', "the PSP's name of the payment method: pm_…")
    .option('--key <key>', 'names this request; default: the checkout')
    .option('--fee <amount>', 'our part of the amount; default: by the fee schedule')
    .option('--order-ref <text>', "the caller's own name of the order")
    .option('--customer-present', 'the buyer can be asked to authenticate')
    .option('--return-url <url>', 'where a buyer who was sent away to authenticate comes back to')
    .option('--metadata <key=value>', 'a note, kept and given back; may be given several times', collect)
    .optionsGroup('Batch file:')
    .addOption(
      new Option('--format <format>', 'of the file; default: by its content').choices([
        'csv',
        'ndjson',
      ] as const),
    )
    .optionsGroup('Afterwards:')
    .option('--wait', 'follow to the end: then exit 1 when declined, 4 when unknown')
    .option(
      '--wait-timeout <seconds>',
      'give up following after this long',
      (text) => readWhole(text, 1, MAX_WAIT_S),
      DEFAULT_WAIT_S,
    )
    .addHelpText('after', SUBMIT_HELP)
    .action((file, flags) =>
      launch(async (session) => {
        const { submitPaymentsCommand } = await import('../actions/submit-payments.ts');
        return submitPaymentsCommand(session, {
          file: file ?? null,
          format: flags.format ?? null,
          waitS: flags.wait === true ? flags.waitTimeout : null,
          fields: {
            checkout_id: flags.checkout,
            idempotency_key: flags.key ?? flags.checkout,
            buyer: flags.buyer,
            seller: flags.seller,
            amount: flags.amount,
            currency: flags.currency,
            payment_method: flags.method,
            platform_fee: flags.fee,
            order_ref: flags.orderRef,
            customer_present: flags.customerPresent,
            return_url: flags.returnUrl,
          },
          metadata: flags.metadata ?? [],
        });
      }),
    );
}

const STATUSES = ['NOT_STARTED', 'EXECUTING', 'SUCCESS', 'FAILED'] as const;

function registerReading(payments: CommandUnknownOpts, launch: Launch): void {
  payments
    .command('show')
    .argument('<id>', 'pay_12, ord_13, or the checkout')
    .description('one payment with its orders')
    .action((id) =>
      launch(async (session) => (await import('../actions/read-payments.ts')).showPayment(session, id)),
    );
  payments
    .command('list')
    .description('payments, newest first')
    .addOption(new Option('--status <status>', 'some order of it stands there').choices(STATUSES))
    .option('--buyer <name>', 'of this buyer')
    .option('--seller <name>', 'with an order for this seller')
    .option('--batch <id>', 'of this batch: bat_3')
    .option('--limit <count>', 'how many at most', readLimit, DEFAULT_LIMIT)
    .option('--cursor <cursor>', 'go on where a list ended (its next_cursor)')
    .action((flags) =>
      launch(async (session) =>
        (await import('../actions/read-payments.ts')).listPayments(session, {
          status: flags.status ?? null,
          buyer: flags.buyer ?? null,
          seller: flags.seller ?? null,
          batch: flags.batch ?? null,
          limit: flags.limit,
          cursor: flags.cursor ?? null,
        }),
      ),
    );
}

const RESOLVE_HELP = `
For an order whose outcome only a person can tell: look it up at the PSP first. Your word is stored
as evidence with your name; it ends a doubt, it never overrules what is known.

Example:
  paygate payments resolve ord_13 --as succeeded \\
    --evidence "dashboard shows pi_3Nx succeeded at 12:31 UTC"`;

function registerResolve(payments: CommandUnknownOpts, launch: Launch): void {
  payments
    .command('resolve')
    .argument('<order>', 'ord_13')
    .description('say what became of an order that is in doubt')
    .addOption(
      new Option('--as <outcome>', 'what the PSP really did')
        .choices(['succeeded', 'failed'] as const)
        .makeOptionMandatory(),
    )
    .requiredOption('--evidence <text>', 'what you saw and where')
    .option('--psp-reference <id>', "the PSP's name of the charge")
    .addHelpText('after', RESOLVE_HELP)
    .action((order, flags) =>
      launch(async (session) =>
        (await import('../actions/resolve-order.ts')).resolveOrder(session, {
          order,
          verdict: flags.as,
          evidence: flags.evidence,
          pspReference: flags.pspReference ?? null,
        }),
      ),
    );
}

const CANCEL_HELP = `
For an order that no daemon has claimed yet, and for one that waits for its buyer: there the PSP is
asked to cancel it, and the order ends when the PSP says so; a buyer who was faster has paid. What
else may have been sent cannot be taken back: evidence ends it (paygate payments resolve), and a
charge that went through is refunded.

Example:
  paygate payments cancel ord_13 --reason "the buyer ordered twice"`;

function registerCancel(payments: CommandUnknownOpts, launch: Launch): void {
  payments
    .command('cancel')
    .argument('<order>', 'ord_13')
    .description('take back an order that was never sent or waits for its buyer; needs --reason')
    .addHelpText('after', CANCEL_HELP)
    .action((order) =>
      launch(async (session) => (await import('../actions/cancel-order.ts')).cancelOrder(session, order)),
    );
}

const RETRY_HELP = `
For an order that was definitely not charged: declined, rejected, canceled or expired. Refused while
any attempt is in doubt, after a success, where the risk check stopped the order, where the rest of
the payment was given back, and for a method that was declined for good: give another one. The same
command again, while the new attempt is under way, gets the same answer and charges nothing twice.

Example:
  paygate payments retry ord_13 --method pm_1NxOther`;

function registerRetry(payments: CommandUnknownOpts, launch: Launch): void {
  payments
    .command('retry')
    .argument('<order>', 'ord_13')
    .description('try another payment method after a decline')
    .requiredOption('--method <id>', "the PSP's name of the payment method: pm_…")
    .option('--key <key>', 'names this request; default: the order and the number of the attempt')
    .addHelpText('after', RETRY_HELP)
    .action((order, flags) =>
      launch(async (session) =>
        (await import('../actions/retry-order.ts')).retryOrderCommand(session, {
          order,
          method: flags.method,
          key: flags.key ?? null,
        }),
      ),
    );
}
