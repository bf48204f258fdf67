/** How far a long work is, in words. Decides only. */

export type ProgressPlan = {
  /** What has been done to the things counted: "accepted". */
  readonly label: string;
  readonly noun: string;
  readonly total: number;
};

export type Pace = {
  readonly perSecond: number;
  /** Whole seconds; null while unknown. */
  readonly leftS: number | null;
};

/** Average since the start; `elapsedMs` in milliseconds. */
export function paceOf(done: number, total: number, elapsedMs: number): Pace {
  const perSecond = elapsedMs > 0 ? (done * 1_000) / elapsedMs : 0;
  return { perSecond, leftS: perSecond > 0 ? Math.ceil((total - done) / perSecond) : null };
}

/** "1200 of 5000 payments accepted, 24%, 800/s, about 5 s left". */
export function progressText(plan: ProgressPlan, done: number, pace: Pace): string {
  const percent = plan.total === 0 ? 100 : Math.floor((done * 100) / plan.total);
  const left = pace.leftS === null || done === plan.total ? '' : `, about ${durationText(pace.leftS)} left`;
  return `${done} of ${plan.total} ${plan.noun}s ${plan.label}, ${percent}%, ${Math.round(pace.perSecond)}/s${left}`;
}

function durationText(seconds: number): string {
  if (seconds < 90) return `${seconds} s`;
  return seconds < 5_400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3_600)} h`;
}
