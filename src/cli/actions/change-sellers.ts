/** `sellers create`, `freeze`, `unfreeze` and `destination`: checks what was typed and stores the change. */
import { OperatorError } from '../../core/errors.ts';
import { nameFault, normalText } from '../../core/payment/payment-fields.ts';
import { changeDestination, changeStatus, createSeller } from '../../core/seller/change-seller.ts';
import type { SellerStatus } from '../../core/seller/seller-store.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import { requireReason } from '../require-reason.ts';
import { refuseDryRun, type Session } from '../session.ts';
import { requirePspAccount } from './psp-account.ts';
import { sellerResult } from './read-sellers.ts';

export type SellerPlaceFlags = {
  readonly seller: string;
  readonly destination: string | null;
  readonly pspAccount: string | null;
};

/** Exit 5 where the register has the name already. */
export async function createSellerCommand(session: Session, flags: SellerPlaceFlags): Promise<number> {
  refuseDryRun(session);
  const seller = readName('seller', flags.seller);
  const reason = session.globals.reason === null ? 'registered' : requireReason(session);
  const destination = flags.destination === null ? null : readName('destination', flags.destination);
  return withBook(session, async ({ db, config, principal }) => {
    const pspAccount = destination === null ? '' : requirePspAccount(config, flags.pspAccount).name;
    const place = destination === null ? null : { pspAccount, destination };
    if ((await createSeller(db, { seller, place, reason, principal })) === 'exists') {
      throw new OperatorError('seller_exists', `The register has ${seller} already. Nothing was changed.`, {
        kind: 'refused',
      });
    }
    await session.print(await sellerResult(db, config, seller));
    return EXIT.done;
  });
}

/** Exit 0 also where there is nothing to change; 1 where there is no such seller. */
export async function changeStatusCommand(
  session: Session,
  name: string,
  status: SellerStatus,
): Promise<number> {
  refuseDryRun(session);
  const seller = readName('seller', name);
  const reason = requireReason(session);
  return withBook(session, async ({ db, config, principal }) => {
    const changed = await changeStatus(db, { seller, status, reason, principal });
    if (changed === 'unchanged') session.note(`Already ${status}; nothing was changed.`);
    await session.print(await sellerResult(db, config, seller));
    return EXIT.done;
  });
}

/** Exit 0 also where there is nothing to change; 1 where there is no such seller. */
export async function changeDestinationCommand(
  session: Session,
  flags: SellerPlaceFlags & { readonly destination: string },
): Promise<number> {
  refuseDryRun(session);
  const seller = readName('seller', flags.seller);
  const destination = readName('destination', flags.destination);
  const reason = requireReason(session);
  return withBook(session, async ({ db, config, principal }) => {
    const pspAccount = requirePspAccount(config, flags.pspAccount).name;
    const changed = await changeDestination(db, { seller, pspAccount, destination, reason, principal });
    if (changed === 'unchanged') session.note('That is the destination already; nothing was changed.');
    await session.print(await sellerResult(db, config, seller));
    return EXIT.done;
  });
}

/** @throws OperatorError seller_invalid, destination_invalid */
function readName(field: 'seller' | 'destination', text: string): string {
  const fault = nameFault(field, text);
  if (fault === null) return normalText(text);
  throw new OperatorError(`${field}_invalid`, `The ${field} ${fault.message}.`);
}
