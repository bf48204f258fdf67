/**
 * Opens the connectors of the configured PSP accounts. The SDKs are loaded here, on demand, and nowhere else:
 * they cost every command that does not talk to a PSP hundreds of milliseconds.
 */
import { OperatorError, unreachable } from '../errors.ts';
import type { Connector, PspAccount } from './psp.ts';

/**
 * One connector per account, by account name. Opens no connection yet.
 * @throws OperatorError `psp_account_duplicate`, `psp_account_invalid`
 */
export async function openConnectors(
  accounts: readonly PspAccount[],
): Promise<ReadonlyMap<string, Connector>> {
  const connectors = new Map<string, Connector>();
  for (const account of accounts) {
    if (connectors.has(account.name)) {
      throw new OperatorError('psp_account_duplicate', `PSP account ${account.name} is configured twice`);
    }
    connectors.set(account.name, await openConnector(account));
  }
  return connectors;
}

async function openConnector(account: PspAccount): Promise<Connector> {
  switch (account.psp) {
    case 'stripe': {
      const { createStripeConnector } = await import('./stripe-connector.ts');
      return createStripeConnector(account);
    }
    case 'adyen': {
      const { createAdyenConnector } = await import('./adyen-connector.ts');
      return createAdyenConnector(account);
    }
    default:
      return unreachable(account);
  }
}
