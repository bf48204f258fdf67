/**
 * What moves money is confirmed by the person who means it: one payment by y/N or --yes, a batch by typing
 * its total or --confirm. Never asks where nobody can answer.
 */
import { OperatorError } from '../core/errors.ts';
import type { Session } from './session.ts';
import { type Totals, totalsCode } from './words.ts';

/** Where to ask: standard input, or the terminal itself when standard input is the data. */
export type AskWhere = 'stdin' | 'terminal';

/**
 * Asks about one payment.
 * @param totals what --confirm may name instead of --yes
 * @throws OperatorError not_confirmed, confirm_differs
 */
export async function confirmOne(
  session: Session,
  question: string,
  totals: Totals,
  where: AskWhere = 'stdin',
): Promise<void> {
  const { globals } = session;
  if (globals.confirm !== null) return checkTotal(globals.confirm, totals, '--confirm said');
  if (globals.yes) return;
  const text = await ask(session, `${question} [y/N] `, where, '--yes');
  if (/^y(es)?$/i.test(text.trim())) return;
  throw new OperatorError('not_confirmed', 'Not confirmed: nothing was done.', { kind: 'refused' });
}

/**
 * Asks for the total of a batch; --yes is not enough for it.
 * @throws OperatorError not_confirmed, confirm_differs
 */
export async function confirmTotal(
  session: Session,
  totals: Totals,
  where: AskWhere,
  purpose: 'submit' | 'approve' | 'replay' | 'write off' = 'submit',
): Promise<void> {
  const { globals } = session;
  const wanted = totalsCode(totals);
  if (globals.confirm !== null) return checkTotal(globals.confirm, totals, '--confirm said');
  if (globals.yes) {
    throw new OperatorError(
      'not_confirmed',
      `--yes confirms one payment. A batch is confirmed by its total: --confirm ${wanted}`,
      {
        kind: 'refused',
        details: { confirm: wanted },
      },
    );
  }
  const text = await ask(session, `Type the total (${wanted}) to ${purpose}: `, where, `--confirm ${wanted}`);
  if (text.trim() === '') {
    throw new OperatorError('not_confirmed', 'Not confirmed: nothing was done.', { kind: 'refused' });
  }
  checkTotal(text, totals, 'you typed');
}

function checkTotal(text: string, totals: Totals, who: string): void {
  const wanted = totalsCode(totals);
  // Spaces and small letters are how people write; the digits must be exact.
  if (text.replace(/\s+/g, '').toUpperCase() === wanted) return;
  throw new OperatorError(
    'confirm_differs',
    `The total is ${wanted}; ${who} something else. Nothing was done.`,
    { kind: 'refused', details: { confirm: wanted } },
  );
}

async function ask(session: Session, question: string, where: AskWhere, flag: string): Promise<string> {
  const answer = session.globals.input
    ? await session.host.ask(question, where)
    : { kind: 'no_terminal' as const };
  if (answer.kind === 'answer') return answer.text;
  const message =
    answer.kind === 'closed'
      ? 'Not confirmed: nothing was done.'
      : `Not confirmed, and nobody can be asked here: give ${flag}`;
  throw new OperatorError('not_confirmed', message, { kind: 'refused', details: { flag } });
}
