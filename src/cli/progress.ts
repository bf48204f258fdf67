/**
 * Shows how far a long work is: a bar on a terminal, a line every ten seconds anywhere else, nothing for a
 * work that is over before anybody could read it. Knows no domain.
 */
import type { Session } from './session.ts';

export type ProgressPlan = {
  /** What has been done to the things counted: "accepted". */
  readonly label: string;
  readonly noun: string;
  readonly total: number;
};

export type Progress = {
  update(done: number): void;
  /** Takes the bar away; call it whatever happens. */
  end(): Promise<void>;
};

/** Between two lines where there is no terminal (ms). */
const LINE_EVERY_MS = 10_000;
/** Between two pictures of the bar (ms). */
const FRAME_MS = 100;
/** A work shorter than this is not worth loading a screen for (ms). */
const SCREEN_AFTER_MS = 300;

/** Works of one thing say nothing. */
const MIN_TOTAL = 2;

/** Starts showing at nothing done; the caller ends it, whatever happens. */
export function startProgress(session: Session, plan: ProgressPlan): Progress {
  if (session.globals.quiet || plan.total < MIN_TOTAL)
    return { update: () => undefined, end: async () => undefined };
  return session.isScreen ? startBar(session, plan) : startLines(session, plan);
}

function startLines(session: Session, plan: ProgressPlan): Progress {
  const startedMs = performance.now();
  let done = 0;
  const timer = setInterval(() => {
    const pace = paceOf(done, plan.total, performance.now() - startedMs);
    session.progressLine(progressText(plan, done, pace), {
      [plan.label]: done,
      total: plan.total,
      per_second: Math.round(pace.perSecond),
      seconds_left: pace.leftS,
    });
  }, LINE_EVERY_MS);
  timer.unref();
  return {
    update: (now) => {
      done = now;
    },
    end: async () => clearInterval(timer),
  };
}

/** The screen's library costs nearly half a second: it is loaded while the work is running. */
function startBar(session: Session, plan: ProgressPlan): Progress {
  const startedMs = performance.now();
  let done = 0;
  let ended = false;
  let bar: { show(done: number, elapsedMs: number): void; close(): Promise<void> } | null = null;
  let frames: NodeJS.Timeout | null = null;
  const open = async (): Promise<void> => {
    const { openBar } = await import('./screens/progress-bar.tsx');
    if (ended) return;
    const show = () => bar?.show(done, performance.now() - startedMs);
    bar = openBar(session.host.stderr as NodeJS.WriteStream, plan);
    show();
    frames = setInterval(show, FRAME_MS);
  };
  let opening: Promise<void> = Promise.resolve();
  const later = setTimeout(() => {
    opening = open();
  }, SCREEN_AFTER_MS);
  return {
    update: (now) => {
      done = now;
    },
    end: async () => {
      ended = true;
      clearTimeout(later);
      await opening;
      if (frames !== null) clearInterval(frames);
      bar?.show(done, performance.now() - startedMs);
      await bar?.close();
    },
  };
}

export type Pace = {
  readonly perSecond: number /** Whole seconds; null while unknown. */;
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
