/** The writing calls there are, each handed to its resource. A new resource is a new line here. */
import type { FormMap } from './form.ts';
import { type IntentWrite, prepareIntentWrite } from './intent-calls.ts';
import { prepareRefundWrite, type RefundWrite } from './refund-calls.ts';
import type { SandboxState } from './state.ts';
import { prepareTransferWrite, type TransferWrite } from './transfer-calls.ts';
import type { Prepared } from './write-call.ts';

export type WriteName = IntentWrite | RefundWrite | TransferWrite;

/** Checks the parameters of a writing call; `id` is the name from the path, null where the path has none. */
export function prepareWrite(
  name: WriteName,
  form: FormMap,
  id: string | null,
  state: SandboxState,
): Prepared {
  switch (name) {
    case 'create':
    case 'confirm':
    case 'capture':
    case 'cancel':
      return prepareIntentWrite(name, form, id, state);
    case 'create_refund':
    case 'cancel_refund':
      return prepareRefundWrite(name, form, id, state);
    case 'create_transfer':
    case 'reverse_transfer':
      return prepareTransferWrite(name, form, id, state);
  }
}
