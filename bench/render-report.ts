/** A report as text for a terminal. Decides only. */
import type { BenchReport } from './benchmark.ts';
import type { Machine } from './machine.ts';
import { shown } from './statistics.ts';

export function renderReport(report: BenchReport, machine: Machine, command: string, what: string): string {
  const figure = (value: number): string => `${shown(value, decimalsOf(report))} ${report.unit}`;
  const rows: readonly (readonly [string, string])[] = [
    ['measured', what],
    ['value', `${figure(report.value)} (${report.better} is better)`],
    ['peer', report.peer ?? 'none'],
    ['peer value', report.peer_value === null ? '–' : figure(report.peer_value)],
    ['ratio', report.ratio === null ? '–' : `${shown(report.ratio, 2)}×`],
    ['goal', goalText(report)],
    ['met', report.met ? 'yes' : 'no'],
    ['runs', String(report.runs)],
    ['dropped', String(report.dropped)],
    ['machine', machineText(machine)],
    ['command', command],
    ...report.notes.map((note, i) => [i === 0 ? 'notes' : '', note] as const),
  ];
  const width = Math.max(...rows.map(([label]) => label.length));
  const lines = rows.map(([label, text]) => `  ${label.padEnd(width)}  ${text}`);
  return `${report.name}\n${lines.join('\n')}\n\n`;
}

/** Rates are whole numbers, times are not. */
export function decimalsOf(report: Pick<BenchReport, 'better'>): number {
  return report.better === 'higher' ? 0 : 2;
}

/** "≥ 10× (floor 5×)" or "≤ 25 ms". */
export function goalText(
  report: Pick<BenchReport, 'goal' | 'floor' | 'goal_kind' | 'better' | 'unit'>,
): string {
  const unit = report.goal_kind === 'ratio' ? '×' : ` ${report.unit}`;
  const sign = report.goal_kind === 'ratio' || report.better === 'higher' ? '≥' : '≤';
  const floor = report.floor === null ? '' : ` (floor ${report.floor}${unit})`;
  return `${sign} ${report.goal}${unit}${floor}`;
}

export function machineText(machine: Machine): string {
  const { cores, memory_gb: memory, node, postgres, commit } = machine;
  return `${cores} cores, ${memory} GB, Node ${node}, Postgres ${postgres}, commit ${commit ?? 'unknown'}`;
}
