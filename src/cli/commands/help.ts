/** `paygate help`: the help of any command, and topics that belong to none. */
import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { EXIT_CODES_HELP } from '../exit-codes.ts';
import type { OutStream } from '../host.ts';

const TOPICS: Readonly<Record<string, string>> = { 'exit-codes': EXIT_CODES_HELP };

/** Adds `help`, which writes to standard output. */
export function registerHelp(program: CommandUnknownOpts, stdout: OutStream): void {
  program
    .command('help')
    .argument('[words...]', 'a command, or the topic exit-codes')
    .description('help on a command, or on the topic exit-codes')
    .action((words) => {
      const topic = words.length === 1 ? TOPICS[words[0]!] : undefined;
      if (topic !== undefined) {
        stdout.write(topic);
        return;
      }
      find(program, words).outputHelp();
    });
}

function find(program: CommandUnknownOpts, words: readonly string[]): CommandUnknownOpts {
  let found = program;
  for (const word of words) {
    const next = found.commands.find((command) => command.name() === word);
    if (next === undefined) return program.error(`error: there is no help on '${words.join(' ')}'`);
    found = next;
  }
  return found;
}
