/**
 * Changes the register of sellers, each change with its reason, its principal and its event in one transaction.
 * Moves no money; a payout reads the register under a lock that waits for these.
 */
import { insertEvents } from '../audit/event-store.ts';
import { type Db, type Tx, transact } from '../db/connection.ts';
import { OperatorError } from '../errors.ts';
import { shownText } from '../shown-text.ts';
import {
  findDestination,
  insertSeller,
  insertSellerChange,
  lockSeller,
  type NewSellerChange,
  putDestination,
  type SellerStatus,
  updateSellerStatus,
} from './seller-store.ts';

type Who = {
  /** A seller's name, as nameFault('seller', …) accepts it. */
  readonly seller: string;
  /** 1–500 characters, stored with the change. */
  readonly reason: string;
  readonly principal: string;
};

type Place = { readonly pspAccount: string; readonly destination: string };

/** Registers a seller, with a first destination where one is given. `exists`: nothing was changed. */
export async function createSeller(
  db: Db,
  seller: Who & { readonly place: Place | null },
): Promise<'created' | 'exists'> {
  return transact(db, async (tx) => {
    if (!(await insertSeller(tx, seller.seller))) return 'exists';
    await record(tx, seller, { kind: 'created', pspAccount: null, destination: null });
    if (seller.place !== null) await place(tx, seller, seller.place);
    return 'created';
  });
}

/**
 * Freezes (nothing is paid any more) or unfreezes.
 * @throws OperatorError seller_not_found
 */
export async function changeStatus(
  db: Db,
  change: Who & { readonly status: SellerStatus },
): Promise<'changed' | 'unchanged'> {
  return transact(db, async (tx) => {
    const { status } = await requireSeller(tx, change.seller);
    if (status === change.status) return 'unchanged';
    await updateSellerStatus(tx, change.seller, change.status);
    const kind = change.status === 'frozen' ? 'frozen' : 'unfrozen';
    await record(tx, change, { kind, pspAccount: null, destination: null });
    return 'changed';
  });
}

/**
 * Sets where the seller is paid at a PSP account; another destination than before begins its cooling period.
 * @throws OperatorError seller_not_found
 */
export async function changeDestination(db: Db, change: Who & Place): Promise<'changed' | 'unchanged'> {
  return transact(db, async (tx) => {
    await requireSeller(tx, change.seller);
    const before = await findDestination(tx, change.seller, change.pspAccount);
    if (before === change.destination) return 'unchanged';
    await place(tx, change, change);
    return 'changed';
  });
}

async function place(tx: Tx, who: Who, { pspAccount, destination }: Place): Promise<void> {
  await putDestination(tx, { seller: who.seller, pspAccount, destination });
  await record(tx, who, { kind: 'destination', pspAccount, destination });
}

async function requireSeller(tx: Tx, name: string): Promise<{ readonly status: SellerStatus }> {
  const seller = await lockSeller(tx, name);
  if (seller !== null) return seller;
  throw new OperatorError('seller_not_found', `The register has no seller ${shownText(name)}.`, {
    kind: 'answer_is_no',
  });
}

async function record(
  tx: Tx,
  { seller, reason, principal }: Who,
  what: Pick<NewSellerChange, 'kind' | 'pspAccount' | 'destination'>,
): Promise<void> {
  const id = await insertSellerChange(tx, principal, { seller, reason, ...what });
  const data = JSON.stringify({
    id: id.toString(),
    seller,
    kind: what.kind,
    psp_account: what.pspAccount,
    destination: what.destination,
    reason,
  });
  await insertEvents(tx, principal, [{ kind: 'seller_changed', paymentId: null, data }]);
}
