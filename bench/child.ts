/**
 * Entry of every process that a benchmark starts: runs the program that the parent names, sends back what
 * it returns, and ends with its parent.
 */
import { PROGRAMS, type ProgramHost, type ProgramMessage, type ProgramOrder } from './programs.ts';

type AnyProgram = { run(input: unknown, host: ProgramHost): Promise<unknown> };

const send = (message: ProgramMessage): void => {
  process.send?.(message);
};

/** Sends the last message; the process ends once it is on its way. */
function finish(message: ProgramMessage, code: number): void {
  if (process.send === undefined) process.exit(code);
  process.send(message, () => process.exit(code));
}

let stop: () => void = () => undefined;
const stopped = new Promise<void>((resolve) => {
  stop = resolve;
});

process.on('disconnect', () => process.exit(1));
process.on('message', (order: ProgramOrder) => {
  if (order.kind === 'stop') return stop();
  void (async () => {
    try {
      const program = (await PROGRAMS[order.program]()) as AnyProgram;
      const result = await program.run(order.input, { tell: send, stopped });
      finish({ kind: 'result', result }, 0);
    } catch (error) {
      finish(
        { kind: 'failed', reason: error instanceof Error ? (error.stack ?? error.message) : String(error) },
        1,
      );
    }
  })();
});
