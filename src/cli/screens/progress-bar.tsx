/** A progress bar of one line on standard error. Only shows what it is told; reads nothing. */
import { Box, render, Text } from 'ink';
import { type ProgressPlan, paceOf, progressText } from '../progress-text.ts';

const BAR_WIDTH = 24;

type BarProps = { readonly plan: ProgressPlan; readonly done: number; readonly elapsedMs: number };

/** `elapsedMs`: milliseconds since the start. */
export function ProgressBar({ plan, done, elapsedMs }: BarProps) {
  const filled =
    plan.total === 0 ? BAR_WIDTH : Math.floor((Math.min(done, plan.total) * BAR_WIDTH) / plan.total);
  return (
    <Box>
      <Text color="green">{'█'.repeat(filled)}</Text>
      <Text dimColor>{'░'.repeat(BAR_WIDTH - filled)}</Text>
      <Text wrap="truncate"> {progressText(plan, done, paceOf(done, plan.total, elapsedMs))}</Text>
    </Box>
  );
}

/** Opens the bar; `close` leaves its last picture. */
export function openBar(stderr: NodeJS.WriteStream, plan: ProgressPlan) {
  const app = render(<ProgressBar plan={plan} done={0} elapsedMs={0} />, {
    stdout: stderr,
    stderr,
    exitOnCtrlC: false,
    patchConsole: false,
  });
  return {
    show: (done: number, elapsedMs: number): void => {
      app.rerender(<ProgressBar plan={plan} done={done} elapsedMs={elapsedMs} />);
    },
    close: async (): Promise<void> => {
      app.unmount();
      await app.waitUntilExit();
    },
  };
}
