/** `wallets list` and `wallets show`. Reads only. */
import { OperatorError } from '../../core/errors.ts';
import { type Currency, toMoneyJson } from '../../core/money.ts';
import { shownText } from '../../core/shown-text.ts';
import { listWallets, type Wallet } from '../../core/wallet/wallet-store.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import type { Block, Cell } from '../render/table.ts';
import type { Session } from '../session.ts';
import { moneyOf, moneyText, requireCurrency } from '../words.ts';
import { askFor, decodeCursor, encodeCursor, listResult, pageOf } from './page.ts';

export type WalletListFlags = {
  readonly currency: string | null;
  readonly order: 'seller' | 'total';
  readonly limit: number;
  readonly cursor: string | null;
};

/** One page by seller, or the largest ones. */
export async function listWalletsCommand(session: Session, flags: WalletListFlags): Promise<number> {
  if (flags.cursor !== null && flags.order === 'total') {
    throw new OperatorError('cursor_invalid', '--top gives one page: leave out --cursor.');
  }
  const [seller, currency] = flags.cursor === null ? [null, null] : decodeCursor(flags.cursor);
  const filter = {
    seller: null,
    currency: requireCurrency(flags.currency),
    order: flags.order,
    after: seller === null ? null : { seller, currency },
    limit: askFor(flags.limit),
  };
  return withBook(
    session,
    async ({ db }) => {
      const page = pageOf(await listWallets(db, filter), flags.limit);
      const { next } = page;
      const cursor =
        next === null || flags.order === 'total' ? null : encodeCursor([next.seller, next.currency]);
      await session.print(listResult(page.items.map(walletView), cursor, [tableOf(page.items)]));
      return EXIT.done;
    },
    { workload: 'report' },
  );
}

/** Sellers have so many currencies at most that one page holds them. */
const MAX_WALLETS_OF_SELLER = 1_000;

/** All currencies of a seller; exit 1 when there are none. */
export async function showWallet(session: Session, seller: string): Promise<number> {
  return withBook(session, async ({ db }) => {
    const wallets = await listWallets(db, {
      seller: seller.normalize('NFC'),
      currency: null,
      order: 'seller',
      after: null,
      limit: MAX_WALLETS_OF_SELLER,
    });
    if (wallets.length === 0) {
      throw new OperatorError('wallet_not_found', `No seller ${shownText(seller)} has ever been credited.`, {
        kind: 'answer_is_no',
      });
    }
    await session.print({
      json: { seller: wallets[0]!.seller, wallets: wallets.map(walletView) },
      records: wallets.map(walletView),
      blocks: [tableOf(wallets)],
    });
    return EXIT.done;
  });
}

function walletView(wallet: Wallet) {
  const amount = (amountMinor: bigint) => toMoneyJson({ amountMinor, currency: wallet.currency as Currency });
  return {
    seller: wallet.seller,
    currency: wallet.currency,
    pending: amount(wallet.pendingMinor),
    available: amount(wallet.availableMinor),
    in_payout: amount(wallet.inPayoutMinor),
    in_refund: amount(wallet.inRefundMinor),
    in_dispute: amount(wallet.inDisputeMinor),
    total: amount(wallet.totalMinor),
  };
}

function tableOf(wallets: readonly Wallet[]): Block {
  return {
    kind: 'table',
    empty: 'no wallets',
    columns: [
      { title: 'SELLER', shrink: true },
      { title: 'PENDING', align: 'right' },
      { title: 'AVAILABLE', align: 'right' },
      { title: 'IN PAYOUT', align: 'right' },
      { title: 'IN REFUND', align: 'right' },
      { title: 'IN DISPUTE', align: 'right' },
      { title: 'TOTAL', align: 'right' },
    ],
    rows: wallets.map((wallet) => {
      const cell = (amountMinor: bigint): Cell => ({
        text: moneyText(moneyOf({ amountMinor, currency: wallet.currency })).replace(/ .*$/, ''),
        tone: amountMinor < 0n ? 'bad' : amountMinor === 0n ? 'dim' : null,
      });
      return [
        wallet.seller,
        cell(wallet.pendingMinor),
        cell(wallet.availableMinor),
        cell(wallet.inPayoutMinor),
        cell(wallet.inRefundMinor),
        cell(wallet.inDisputeMinor),
        {
          text: moneyText(moneyOf({ amountMinor: wallet.totalMinor, currency: wallet.currency })),
          tone: wallet.totalMinor < 0n ? 'bad' : null,
        },
      ];
    }),
  };
}
