/**
 * The writing calls on transfers. Whether the balance is enough is known only while executing, so the refusal
 * `balance_insufficient` is stored under the key and replayed, whatever comes into the balance afterwards: a funded try
 * needs a new key. Stripe stores what happens once execution begins and drops only what validation refuses
 * (https://docs.stripe.com/api/idempotent_requests).
 */

import { detach } from './confirmation.ts';
import { checkCurrency, checkLastDigits, internCurrency, words } from './currencies.ts';
import type { FormMap } from './form.ts';
import { Params } from './params.ts';
import type { SandboxState } from './state.ts';
import { insufficientBalance, invalidRequest, noSuch, type StripeError } from './stripe-errors.ts';
import { reversedOf, reverseTransfer, type TransferRecord } from './transfer.ts';
import { type ActContext, type Effect, type Prepared, refusedEffect, shownEffect } from './write-call.ts';

export type TransferWrite = 'create_transfer' | 'reverse_transfer';

/** Any connected account there might be; other texts are no account of anybody's. */
const ACCOUNT = /^acct_\w{1,60}$/;

/** Checks the parameters; `id` is the transfer's name from the path, null for `create_transfer`. */
export function prepareTransferWrite(
  name: TransferWrite,
  form: FormMap,
  id: string | null,
  state: SandboxState,
): Prepared {
  return name === 'create_transfer' ? prepareCreate(form) : prepareReversal(form, id ?? '', state);
}

type Wish = Pick<
  TransferRecord,
  'amount' | 'currency' | 'destination' | 'transferGroup' | 'description' | 'metadataJson'
>;

function prepareCreate(form: FormMap): Prepared {
  const params = new Params(form);
  const amount = params.requiredInteger('amount', 1);
  const currency = params.requiredText('currency').toLowerCase();
  const destination = params.requiredText('destination');
  const wish: Wish = {
    amount,
    currency: internCurrency(currency),
    destination: detach(destination) ?? destination,
    transferGroup: detach(params.text('transfer_group')),
    description: detach(params.text('description')),
    metadataJson: params.metadata('metadata'),
  };
  params.refuseUnmodelled(['expand', 'source_transaction', 'source_type']);
  const error =
    params.problem() ??
    checkCurrency(currency) ??
    checkLastDigits(amount, currency, 'amount') ??
    checkDestination(destination);
  if (error !== null) return { kind: 'refused', error };
  return { kind: 'ready', act: (context) => createTransfer(context, wish) };
}

function checkDestination(destination: string): StripeError | null {
  if (ACCOUNT.test(destination)) return null;
  return invalidRequest(`No such destination: '${destination}'`, {
    code: 'resource_missing',
    param: 'destination',
  });
}

function createTransfer({ state, nowS, key, forced }: ActContext, wish: Wish): Effect {
  if (forced.kind === 'decline' || state.balances.available(wish.currency) < wish.amount)
    return refusedEffect(insufficientBalance());
  const record: TransferRecord = {
    ...state.transfers.nextName(),
    ...wish,
    created: nowS,
    reversals: [],
    undoAtMs: forced.kind === 'undo_later' ? forced.atMs : null,
    key,
  };
  const shown = { kind: 'transfer', record } as const;
  return shownEffect([shown], shown);
}

function prepareReversal(form: FormMap, id: string, state: SandboxState): Prepared {
  const params = new Params(form);
  const amount = params.integer('amount', 1);
  const metadataJson = params.metadata('metadata');
  params.refuseUnmodelled(['description', 'expand', 'refund_application_fee']);
  const problem = params.problem();
  if (problem !== null) return { kind: 'refused', error: problem };
  const transfer = state.transfers.find(id);
  if (transfer === null) return { kind: 'refused', error: noSuch('transfer', id, 'id') };
  const digits = amount === null ? null : checkLastDigits(amount, transfer.currency, 'amount');
  if (digits !== null) return { kind: 'refused', error: digits };
  return { kind: 'ready', act: (context) => reverse(context, id, amount, metadataJson) };
}

function reverse(context: ActContext, id: string, wanted: number | null, metadataJson: string): Effect {
  const transfer = context.state.transfers.find(id);
  if (transfer === null) return refusedEffect(noSuch('transfer', id, 'id'));
  const left = transfer.amount - reversedOf(transfer);
  const amount = wanted ?? left;
  if (left === 0) return refusedEffect(invalidRequest(`Transfer ${id} is already fully reversed.`));
  if (amount > left)
    return refusedEffect(
      invalidRequest(
        `The amount to reverse (${words(amount, transfer.currency)}) is greater than what is left of the transfer (${words(left, transfer.currency)}).`,
        { param: 'amount' },
      ),
    );
  const record = reverseTransfer(transfer, { created: context.nowS, amount, metadataJson });
  const number = record.reversals.length - 1;
  return shownEffect([{ kind: 'transfer', record }], { kind: 'reversal', record, number });
}
