import { render } from 'ink-testing-library';
import { expect, test } from 'vitest';
import { ProgressBar } from './progress-bar.tsx';

const PLAN = { label: 'accepted', noun: 'payment', total: 1_000 };

test('shows how much is done, how fast, and how long it still takes', () => {
  const { lastFrame, rerender } = render(<ProgressBar plan={PLAN} done={0} elapsedMs={0} />);
  expect(lastFrame()).toBe(`${'░'.repeat(24)} 0 of 1000 payments accepted, 0%, 0/s`);
  rerender(<ProgressBar plan={PLAN} done={500} elapsedMs={2_000} />);
  expect(lastFrame()).toBe(
    `${'█'.repeat(12)}${'░'.repeat(12)} 500 of 1000 payments accepted, 50%, 250/s, about 2 s left`,
  );
  rerender(<ProgressBar plan={PLAN} done={1_000} elapsedMs={4_000} />);
  expect(lastFrame()).toBe(`${'█'.repeat(24)} 1000 of 1000 payments accepted, 100%, 250/s`);
});
