/**
 * What a benchmark is and what it reports. Decides only: turns measured runs of ours and of the peer into
 * the report whose JSON is a contract.
 */
import type { BenchServer } from './server.ts';
import { median, rounded, shown, spread } from './statistics.ts';

/** One run of one side. */
export type Measured = {
  /** Items that were finished, and well. */
  readonly done: number;
  /** Items that were asked for and not finished, or failed. */
  readonly dropped: number;
  readonly elapsedMs: number;
  /** Processor time of the program's own process in the measured time; null where unknown. */
  readonly programCpuMs: number | null;
  /** Processor time of all of Postgres in the measured time; null where unknown. */
  readonly postgresCpuMs: number | null;
  /** Of the sandbox's process, where there is one. */
  readonly sandboxCpuMs?: number | null;
};

/** The last line of stdout. */
export type BenchReport = {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
  readonly peer: string | null;
  readonly peer_value: number | null;
  /** How many times better than the peer; null where the peer is missing. */
  readonly ratio: number | null;
  readonly goal: number;
  readonly floor: number | null;
  /** Whether goal and floor are about `ratio` or about `value`. */
  readonly goal_kind: 'ratio' | 'absolute';
  /** False also where it could not be shown because the peer is missing. */
  readonly met: boolean;
  readonly runs: number;
  readonly dropped: number;
  readonly notes: readonly string[];
};

export type BenchContext = {
  readonly server: BenchServer;
  /** Runs of each side, in turn. */
  readonly runs: number;
  /** Amount of work per run, 1 for a figure that counts; smaller to try things out. */
  readonly scale: number;
  readonly progress: (text: string) => void;
};

export type Benchmark = {
  readonly name: string;
  /** One line for people: what one item is. */
  readonly what: string;
  run(context: BenchContext): Promise<BenchReport>;
};

/** `scale` applied to an amount of work; at least `least`. */
export function scaled(context: Pick<BenchContext, 'scale'>, amount: number, least = 1): number {
  return Math.max(least, Math.round(amount * context.scale));
}

/** Items per second. */
export function rateOf(run: Measured): number {
  return (run.done / run.elapsedMs) * 1000;
}

/** Ours and the peer's run in turn (A B A B …), so that both see the same machine. */
export async function inTurn<Ours, Peer>(
  context: BenchContext,
  ours: (round: number) => Promise<Ours>,
  peer: (round: number) => Promise<Peer>,
): Promise<{ readonly ours: readonly Ours[]; readonly peer: readonly Peer[] }> {
  const results = { ours: [] as Ours[], peer: [] as Peer[] };
  for (let round = 0; round < context.runs; round += 1) {
    context.progress(`run ${round + 1} of ${context.runs}: ours`);
    results.ours.push(await ours(round));
    context.progress(`run ${round + 1} of ${context.runs}: peer`);
    results.peer.push(await peer(round));
  }
  return results;
}

export type RatioInput = {
  readonly name: string;
  readonly unit: string;
  readonly goal: number;
  readonly floor: number | null;
  readonly ours: readonly Measured[];
  /** Null where the peer is missing on this machine; `notes` must then say why. */
  readonly peer: { readonly name: string; readonly runs: readonly Measured[] } | null;
  readonly notes: readonly string[];
};

/** A report whose goal is a ratio of rates. */
export function reportRatio(input: RatioInput): BenchReport {
  const rates = input.ours.map(rateOf);
  const peerRates = input.peer?.runs.map(rateOf) ?? [];
  const value = median(rates);
  const peerValue = input.peer === null ? null : median(peerRates);
  const ratio = peerValue === null ? null : value / peerValue;
  const dropped = input.ours.reduce((sum, run) => sum + run.dropped, 0);
  const peerDropped = input.peer?.runs.reduce((sum, run) => sum + run.dropped, 0) ?? 0;
  return {
    name: input.name,
    value: rounded(value, 0),
    unit: input.unit,
    better: 'higher',
    peer: input.peer?.name ?? null,
    peer_value: peerValue === null ? null : rounded(peerValue, 0),
    ratio: ratio === null ? null : rounded(ratio, 2),
    goal: input.goal,
    floor: input.floor,
    goal_kind: 'ratio',
    met: ratio !== null && ratio >= input.goal && dropped === 0,
    runs: input.ours.length,
    dropped,
    notes: [
      'ratio = median of ours / median of the peer, run in turn on the same server',
      `ours ${spread(rates)}${peerRates.length > 0 ? `, peer ${spread(peerRates)}` : ''} ${input.unit} (lowest–highest)`,
      ...(peerRates.length === rates.length && rates.length > 1
        ? [`ratio of each pair of runs: ${rates.map((rate, i) => shown(rate / peerRates[i]!, 1)).join(', ')}`]
        : []),
      ...cpuNotes('ours', input.ours),
      ...(input.peer === null ? [] : cpuNotes('peer', input.peer.runs)),
      ...(peerDropped > 0 ? [`the peer dropped or failed ${peerDropped}`] : []),
      ...input.notes,
    ],
  };
}

/** Processor time per item: moves less with a busy machine than the time on the wall does. */
function cpuNotes(side: string, runs: readonly Measured[]): readonly string[] {
  const perItem = (pick: (run: Measured) => number | null): string | null => {
    const values = runs.flatMap((run) => {
      const ms = pick(run);
      return ms === null || run.done === 0 ? [] : [(ms * 1000) / run.done];
    });
    return values.length === 0 ? null : `${shown(median(values))} µs`;
  };
  const parts = [
    ['Node', perItem((run) => run.programCpuMs)],
    ['Postgres', perItem((run) => run.postgresCpuMs)],
    ['sandbox', perItem((run) => run.sandboxCpuMs ?? null)],
  ].flatMap(([name, time]) => (time === null ? [] : [`${name} ${time}`]));
  return parts.length === 0 ? [] : [`${side}, processor time per item: ${parts.join(', ')}`];
}
