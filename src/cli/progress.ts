/**
 * Shows how far a long work is: a bar on a terminal, a line every ten seconds anywhere else, nothing for a
 * work that is over before anybody could read it. Knows no domain.
 */
import { type ProgressPlan, paceOf, progressText } from './progress-text.ts';
import type { Session } from './session.ts';

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
