/** What the commands of the model's test share. For tests only. */
import fc from 'fast-check';
import type { ModelBook } from './book-model.ts';
import { compare, type World } from './world.ts';

export type Command = fc.AsyncCommand<ModelBook, World>;

/** Does it to the real book and to the model, and then compares all of both. The text stands in a counterexample. */
export function command(
  text: string,
  can: (expected: ModelBook) => boolean,
  run: (world: World) => Promise<void>,
): Command {
  return {
    check: can,
    run: async (_, world) => {
      await run(world);
      await compare(world);
    },
    toString: () => text,
  };
}

/** One of them, whatever the number is. */
export function pick<T>(items: readonly T[], index: number): T {
  return items[index % items.length]!;
}

/** Which of the things there are, whatever their number. */
export const which = fc.nat({ max: 60 });

export const WHO = { principal: 'os:ana', reason: 'seen in the dashboard, and checked' } as const;
