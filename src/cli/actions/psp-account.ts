/** Which of our PSP accounts a command is about. Decides only. */
import type { Config } from '../../core/config.ts';
import { OperatorError } from '../../core/errors.ts';
import type { PspAccount } from '../../core/psp/psp.ts';
import { shownText } from '../../core/shown-text.ts';

/**
 * The named account, else the default one.
 * @throws OperatorError psp_account_missing
 */
export function requirePspAccount(config: Config, name: string | null): PspAccount {
  const wanted = name ?? config.accept?.route.fallback.name;
  const account = config.pspAccounts.find((candidate) => candidate.name === wanted);
  if (account !== undefined) return account;
  const message =
    name === null
      ? 'No PSP account is configured. Add a [psp.NAME] table to the configuration.'
      : `The configuration has no PSP account ${shownText(name)}.`;
  throw new OperatorError('psp_account_missing', message);
}
