/** The result of a run as one JSON object, as text for people, and as yes or no. Decides only. */
import type { Killed } from './kill.ts';
import type { RunResult } from './run.ts';

/** Differing orders shown. */
const MAX_NAMES = 20;

/** The contract of `npm run chaos -- --json`; further counts may be added. */
export function resultJson(result: RunResult, wantedKills: number) {
  const { checked, submissions, settling, keys } = result;
  const counted = result.kills.filter((killed) => killed.inFlight > 0);
  return {
    seed: result.plan.seed,
    orders: result.plan.orders,
    operations: sumOf(checked.operations),
    kills: counted.length,
    lost: checked.lost,
    charged_twice: checked.chargedTwice,
    refunded_twice: checked.refundedTwice,
    over_refunded: checked.overRefunded,
    refunds_missing: checked.refundsMissing,
    paid_twice: checked.paidTwice,
    unexplained: checked.unexplained,
    imbalance: checked.imbalance,
    wallet_differences: checked.walletDifferences,
    wallets_below_zero: checked.walletsBelowZero,
    failed_with_money_kept: checked.kept,
    forged_webhooks_taken: result.webhooks.adyen.badly_taken,
    replay_differences: checked.replayDifferences,
    second_attempts: checked.secondAttempts,
    silent_sends: checked.silentSends,
    contradictory_answers: checked.contradictions,
    blind_checks: checked.proof.blind.length,
    falsifications_noticed: checked.proof.tried - checked.proof.blind.length,
    ok: isOk(result, wantedKills),
    duration_s: result.durationS,
    kills_by_kind: countBy(counted.map((killed) => killed.kind)),
    kills_not_counted: result.kills.length - counted.length,
    in_flight_at_kills: spread(counted.map((killed) => killed.inFlight)),
    ended_under_fire: settling.endedBefore,
    states: checked.states,
    charged_at_sandbox: checked.chargedIntents,
    refunds: checked.refunds.asked,
    refunds_partial: checked.refunds.partials,
    refunded_at_sandbox: checked.refunds.moved,
    refunds_in_doubt: checked.refunds.inDoubt,
    refunds_undone: checked.refunds.states['FAILED reversed'] ?? 0,
    refund_states: checked.refunds.states,
    payouts: checked.payouts.items,
    paid_out_at_sandbox: checked.payouts.moved,
    payout_states: checked.payouts.states,
    payouts_returned: checked.payouts.states['FAILED reversed'] ?? 0,
    operations_by_account: checked.operations,
    wallets_overdrawn_for_a_reason: checked.walletsOverdrawn,
    webhooks_stored: checked.counts.webhooks,
    webhooks_that_made_look: checked.counts.looks,
    webhooks_lost: result.webhooks.lost,
    webhook_answers: result.webhooks.answers,
    webhooks_of_adyen: result.webhooks.adyen,
    told_by_webhook: checked.counts.toldByWebhook,
    told_by_person: checked.counts.toldByPerson,
    letters_replayed: checked.counts.replays,
    deeds_refused: result.people.refused,
    person_kills: result.people.kills,
    news_sent_again: result.people.resent,
    payer_kills: result.payouts.kills,
    unknown_open: checked.unknownOpen,
    dead_letters: checked.deadLetters,
    resends: checked.counts.resends,
    rescues: checked.counts.rescues,
    lapses: checked.counts.lapses,
    fenced_late_replies: checked.counts.lateReplies,
    folded_without_sending: checked.counts.foldedWithoutSending,
    requests_seen_again: keys.seenAgain,
    requests_with_a_fault: keys.faultedOnce,
    requests_with_several_faults: keys.faultedAgain,
    refunds_answered: result.refunds.answers.size,
    refunds_refused: result.refunds.refusals.size,
    refunds_answered_again: result.refunds.repeats,
    refunder_kills: result.refunds.kills,
    submitter_kills: submissions.submitterKills,
    files_submitted_twice: submissions.filesTwice,
    events: checked.events,
    settled: settling.end,
    settled_s: settling.seconds,
    people_rounds: settling.rounds,
    jobs_left: settling.jobsLeft,
    unexpected_ends: result.unexpectedEnds.length,
    unclean_stops: result.uncleanStops + result.kills.filter((killed) => killed.note !== null).length,
    log: result.logCounts,
  };
}

/** All measures are zero, nothing was silent or contradicted, and the kills were real. */
export function isOk(result: RunResult, wantedKills: number): boolean {
  const { checked } = result;
  const bad =
    checked.lost +
    checked.chargedTwice +
    checked.refundedTwice +
    checked.overRefunded +
    checked.paidTwice +
    checked.refundsMissing +
    checked.proof.blind.length +
    checked.unexplained +
    checked.imbalance +
    checked.walletDifferences +
    checked.walletsBelowZero +
    checked.kept +
    (result.webhooks.adyen.badly_taken ?? 0) +
    checked.replayDifferences +
    checked.secondAttempts +
    checked.silentSends +
    checked.contradictions;
  return bad === 0 && result.kills.filter((killed) => killed.inFlight > 0).length >= wantedKills;
}

function sumOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

function countBy(names: readonly string[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

function spread(numbers: readonly number[]): { least: number; median: number; most: number } {
  const sorted = [...numbers].sort((left, right) => left - right);
  return { least: sorted[0] ?? 0, median: sorted[sorted.length >> 1] ?? 0, most: sorted.at(-1) ?? 0 };
}

/** For standard error: the names of what differs, and what nobody expected. */
export function detailsText(result: RunResult): string {
  const { names } = result.checked;
  const more = names.length > MAX_NAMES ? [`… and ${names.length - MAX_NAMES} more`] : [];
  return [
    ...names.slice(0, MAX_NAMES),
    ...more,
    ...result.unexpectedEnds,
    ...result.checked.letters.map((line) => `letters: ${line}`),
    ...result.alarms.map((line) => `log: ${line}`),
  ].join('\n');
}

/** For people, where no JSON was asked for. */
export function summaryText(result: RunResult, wantedKills: number): string {
  const json = resultJson(result, wantedKills);
  const kills = result.kills.map(describeKill);
  const list = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([name, count]) => `${count} ${name}`)
      .join(', ') || 'none';
  return [
    `Chaos run with seed ${json.seed}: ${json.ok ? 'nothing lost, nothing charged twice, all explained' : 'NOT OK'}`,
    '',
    `  orders             ${json.orders} in ${json.duration_s} s; ${list(json.states)}`,
    `  at the sandbox     ${json.charged_at_sandbox} charged; ${json.ended_under_fire} orders ended while the killing went on`,
    `  refunds            ${json.refunds} asked, ${json.refunds_partial} of them of payments that failed in part; ${list(json.refund_states)}`,
    `  payouts            ${json.payouts}, ${json.paid_out_at_sandbox} of them paid there; ${list(json.payout_states)}`,
    `  webhooks           ${json.webhooks_stored} stored, ${json.webhooks_lost} lost on their way; ${list(json.webhook_answers)}`,
    `  people             ${json.letters_replayed} letters tried again, ${json.told_by_person} operations resolved; refused: ${list(json.deeds_refused)}`,
    `  undone             ${json.refunds_undone} refunds, ${json.payouts_returned} payouts`,
    `  kills that counted ${json.kills} of ${wantedKills} (${list(json.kills_by_kind)})`,
    `  in flight at them  ${json.in_flight_at_kills.least} to ${json.in_flight_at_kills.most}, median ${json.in_flight_at_kills.median}`,
    `  submitters         ${json.submitter_kills} killed, ${json.files_submitted_twice} files submitted twice at once`,
    `  resends            ${json.resends}; rescues ${json.rescues}; late replies kept ${json.fenced_late_replies}`,
    `  faults             on ${json.requests_with_a_fault} requests, several on ${json.requests_with_several_faults}`,
    `  open               ${json.unknown_open} unknown; dead letters: ${list(json.dead_letters)}`,
    `  settled            ${json.settled} after ${json.settled_s} s`,
    '',
    `  lost ${json.lost}, charged twice ${json.charged_twice}, refunded twice ${json.refunded_twice}, over-refunded ${json.over_refunded},`,
    `  refunds missing ${json.refunds_missing}, paid twice ${json.paid_twice}, blind checks ${json.blind_checks},`,
    `  unexplained ${json.unexplained}, imbalance ${json.imbalance},`,
    `  wallet differences ${json.wallet_differences}, wallets below zero ${json.wallets_below_zero}, replay differences ${json.replay_differences},`,
    `  failed payments with money kept ${json.failed_with_money_kept}, forged webhooks taken ${json.forged_webhooks_taken},`,
    `  second attempts ${json.second_attempts}, silent sends ${json.silent_sends}`,
    '',
    ...kills,
  ].join('\n');
}

function describeKill(killed: Killed, number: number): string {
  const counts = killed.inFlight > 0 ? `${killed.inFlight} in flight` : 'nothing in flight, does not count';
  return `  kill ${String(number + 1).padStart(3)}  ${killed.kind.padEnd(18)} ${counts}`;
}
