/** An answer as it is stored with its run: JSON text in which minor units are texts marked as such. Decides only. */
import type { ReconcileAnswer } from './reconcile-answer.ts';

/** Minor units of any size stay exact: "12345n" is how they are written. */
const MINOR = /^-?\d+n$/;

export function answerText(answer: ReconcileAnswer): string {
  return JSON.stringify(answer, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value));
}

export function parseAnswer(text: string): ReconcileAnswer {
  return JSON.parse(text, (key: string, value: unknown) =>
    key.endsWith('Minor') || key === 'minor'
      ? typeof value === 'string' && MINOR.test(value)
        ? BigInt(value.slice(0, -1))
        : value
      : value,
  ) as ReconcileAnswer;
}
