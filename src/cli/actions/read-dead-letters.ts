/** `dlq list`, by letter or by group, and `dlq show`. Reads only. */
import { OperatorError } from '../../core/errors.ts';
import { formatId } from '../../core/ids.ts';
import { type Currency, type Money, toMoneyJson } from '../../core/money.ts';
import { isEnded } from '../../core/operation/operation.ts';
import { isoTime } from '../../core/payment/payment-answer.ts';
import {
  ANY_LETTER,
  type DeadLetter,
  type DeadLetterGroup,
  listDeadLetterGroups,
  listDeadLetters,
} from '../../core/queue/dead-letter-store.ts';
import { shownText } from '../../core/shown-text.ts';
import { EXIT } from '../exit-codes.ts';
import { withBook } from '../open-book.ts';
import type { Block } from '../render/table.ts';
import type { Session } from '../session.ts';
import { moneyOf, moneyText, requireId, timeText } from '../words.ts';
import { chooseLetters, type LetterFlags } from './choose-dead-letters.ts';
import { askFor, listResult, pageOf } from './page.ts';

export type DeadLetterListFlags = LetterFlags & {
  readonly state: DeadLetter['state'] | null;
  readonly limit: number;
  readonly cursor: string | null;
};

/** One page, newest first. */
export async function listDeadLettersCommand(session: Session, flags: DeadLetterListFlags): Promise<number> {
  const filter = {
    ...chooseLetters(flags, [], flags.state),
    beforeId: flags.cursor === null ? null : requireId('deadLetter', flags.cursor),
    limit: askFor(flags.limit),
  };
  return withBook(session, async ({ db }) => {
    const page = pageOf(await listDeadLetters(db, filter), flags.limit);
    const cursor = page.next === null ? null : formatId('deadLetter', page.next.id);
    await session.print(listResult(page.items.map(letterView), cursor, [tableOf(page.items)]));
    return EXIT.done;
  });
}

/** What letters have in common: groups by fingerprint, the largest first. */
export async function listDeadLetterGroupsCommand(
  session: Session,
  flags: Omit<DeadLetterListFlags, 'cursor'>,
): Promise<number> {
  const choice = chooseLetters(flags, [], flags.state);
  return withBook(session, async ({ db }) => {
    const groups = await listDeadLetterGroups(db, choice, flags.limit);
    await session.print(listResult(groups.map(groupView), null, [tableOfGroups(groups)]));
    return EXIT.done;
  });
}

function moniesOf(group: DeadLetterGroup): readonly Money[] {
  return group.totals.map(({ currency, amountMinor }) => ({
    amountMinor: BigInt(amountMinor),
    currency: currency as Currency,
  }));
}

function groupView(group: DeadLetterGroup) {
  return {
    fingerprint: group.fingerprint,
    code: group.code,
    letters: group.letters,
    totals: moniesOf(group).map(toMoneyJson),
    oldest_at: isoTime(group.oldestAt),
    newest_at: isoTime(group.newestAt),
    newest_dead_letter_id: formatId('deadLetter', group.newestId),
  };
}

function tableOfGroups(groups: readonly DeadLetterGroup[]): Block {
  return {
    kind: 'table',
    empty: 'no dead letters',
    columns: [
      { title: 'LETTERS', align: 'right' },
      { title: 'TOTAL', align: 'right' },
      { title: 'FINGERPRINT', shrink: true },
      { title: 'OLDEST' },
      { title: 'NEWEST' },
      { title: 'EXAMPLE' },
    ],
    rows: groups.map((group) => [
      String(group.letters),
      moniesOf(group).map(moneyText).join(', '),
      group.fingerprint,
      timeText(isoTime(group.oldestAt)),
      timeText(isoTime(group.newestAt)),
      formatId('deadLetter', group.newestId),
    ]),
  };
}

/** Exit 1 when there is none. */
export async function showDeadLetter(session: Session, text: string): Promise<number> {
  const id = requireId('deadLetter', text);
  return withBook(session, async ({ db }) => {
    const [letter] = await listDeadLetters(db, { ...ANY_LETTER, ids: [id], beforeId: null, limit: 1 });
    if (letter === undefined) {
      throw new OperatorError('dead_letter_not_found', `There is no dead letter ${shownText(text)}.`, {
        kind: 'answer_is_no',
      });
    }
    await session.print({ json: letterView(letter), blocks: [factsOf(letter), ...adviceOn(letter)] });
    return EXIT.done;
  });
}

function letterView(letter: DeadLetter) {
  return {
    dead_letter_id: formatId('deadLetter', letter.id),
    state: letter.state,
    code: letter.code,
    reason: letter.reason,
    fingerprint: letter.fingerprint,
    operation_id: formatId('operation', letter.operationId),
    operation_kind: letter.operationKind,
    attempt_number: letter.attemptNumber,
    payment_id: letter.paymentId === null ? null : formatId('payment', letter.paymentId),
    payment_order_id: letter.orderId === null ? null : formatId('order', letter.orderId),
    psp_account: letter.pspAccount,
    ...toMoneyJson(moneyOf(letter)),
    sub_state: letter.subState,
    opened_at: isoTime(letter.openedAt),
    closed_at: letter.closedAt === null ? null : isoTime(letter.closedAt),
    closed_by: letter.closedBy,
    close_reason: letter.closeReason,
  };
}

function tableOf(letters: readonly DeadLetter[]): Block {
  return {
    kind: 'table',
    empty: 'no dead letters',
    columns: [
      { title: 'LETTER' },
      { title: 'CODE' },
      { title: 'ORDER' },
      { title: 'AMOUNT', align: 'right' },
      { title: 'NOW' },
      { title: 'PSP', shrink: true },
      { title: 'REASON', shrink: true },
      { title: 'OPENED' },
    ],
    rows: letters.map((letter) => [
      formatId('deadLetter', letter.id),
      letter.code,
      letter.orderId === null ? formatId('operation', letter.operationId) : formatId('order', letter.orderId),
      moneyText(moneyOf(letter)),
      letter.subState,
      letter.pspAccount,
      letter.reason,
      timeText(isoTime(letter.openedAt)),
    ]),
  };
}

function factsOf(letter: DeadLetter): Block {
  const view = letterView(letter);
  return {
    kind: 'facts',
    facts: [
      ['dead letter', view.dead_letter_id],
      ['state', { text: view.state, tone: view.state === 'open' ? 'warn' : null }],
      ['code', view.code],
      ['reason', view.reason],
      ['operation', `${view.operation_id} (${view.operation_kind}), attempt ${view.attempt_number}`],
      ['order', view.payment_order_id ?? ''],
      ['payment', view.payment_id ?? ''],
      ['amount', moneyText(moneyOf(letter))],
      ['PSP account', view.psp_account],
      ['now', view.sub_state],
      ['opened', timeText(view.opened_at)],
      ...(view.closed_at === null
        ? []
        : [
            [
              'closed',
              `${timeText(view.closed_at)} by ${view.closed_by}: ${view.close_reason ?? ''}`,
            ] as const,
          ]),
    ],
  };
}

/** What a person can do now, for what only a person can end. */
function adviceOn(letter: DeadLetter): readonly Block[] {
  const isInDoubt = ['unknown', 'pending_psp', 'awaiting_customer'].includes(letter.subState);
  if (letter.state !== 'open') return [];
  const replay: Block = {
    kind: 'line',
    text: `What trying again would do: paygate dlq replay ${formatId('deadLetter', letter.id)}`,
  };
  if (isOver(letter)) {
    const text = `When it is dealt with: paygate dlq resolve ${formatId('deadLetter', letter.id)} --reason "…"`;
    return [replay, { kind: 'line', text }];
  }
  const resolve = resolveCommand(letter);
  if (!isInDoubt || resolve === null) return [replay];
  return [
    replay,
    {
      kind: 'line',
      text: `Look for ${formatId('operation', letter.operationId)} at the PSP, then say what it did:`,
    },
    {
      kind: 'line',
      text: `  ${resolve} --as succeeded|failed --evidence "what you saw and where"`,
    },
  ];
}

/** Its operation has ended; what is in suspense still waits for a decision. */
function isOver({ subState, code, operationKind }: DeadLetter): boolean {
  const isUndecided = code === 'quarantined' || (operationKind === 'charge' && /_success$/.test(code));
  return isEnded(subState) && !isUndecided;
}

function resolveCommand(letter: DeadLetter): string | null {
  if (letter.operationKind === 'payout')
    return `paygate payouts resolve ${formatId('operation', letter.operationId)}`;
  return letter.orderId === null ? null : `paygate payments resolve ${formatId('order', letter.orderId)}`;
}
