/**
 * `sandbox files`: has a running sandbox write the files that its PSP and a bank would send, with planted mismatches on request,
 * and the list of what was planted. Moves nothing.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { errorCode } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import { EXIT } from '../exit-codes.ts';
import type { Block } from '../render/table.ts';
import { refuseDryRun, type Session } from '../session.ts';
import { countText } from '../words.ts';

export type SandboxFilesFlags = {
  readonly folder: string;
  readonly url: string;
  readonly psp: 'stripe' | 'adyen';
  readonly seed: number;
  /** How many of each mismatch. */
  readonly plant: Readonly<Record<string, number>>;
};

const plantedSchema = z.looseObject({
  plant: z.string(),
  code: z.string(),
  reference: z.string(),
  amount: z.object({ amount: z.string(), currency: z.string() }),
});
const answerSchema = z.object({
  files: z.array(
    z.object({ name: z.string().regex(/^[\w.-]+$/), from: z.enum(['psp', 'bank']), text: z.string() }),
  ),
  rows: z.int(),
  deposits: z.int(),
  planted: z.array(plantedSchema),
  short: z.array(z.string()),
});
type Answer = z.infer<typeof answerSchema>;

const TRUTH_FILE = 'planted.json';
/** Writing a million lines takes the sandbox a while (ms). */
const TIMEOUT_MS = 120_000;

/** Exit 1 when the sandbox had too few rows for what was to be planted. */
export async function sandboxFilesCommand(session: Session, flags: SandboxFilesFlags): Promise<number> {
  refuseDryRun(session);
  const answer = await ask(flags);
  const folder = resolve(session.host.cwd, flags.folder);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const paths = await Promise.all(
    answer.files.map(async ({ name, text }) => {
      const path = join(folder, name);
      await writeFile(path, text, { mode: 0o600 });
      return path;
    }),
  );
  const truth = { psp: flags.psp, seed: flags.seed, planted: answer.planted };
  await writeFile(join(folder, TRUTH_FILE), `${JSON.stringify(truth, null, 2)}\n`, { mode: 0o600 });
  await session.print({
    json: {
      files: answer.files.map(({ name, from }, i) => ({ name, from, path: paths[i] })),
      rows: answer.rows,
      deposits: answer.deposits,
      ...truth,
      short: answer.short,
    },
    records: answer.planted,
    blocks: blocksOf(answer, folder),
  });
  if (answer.short.length === 0) return EXIT.done;
  session.note(`Too few rows for: ${answer.short.join(', ')}.`);
  return EXIT.answerIsNo;
}

/** @throws OperatorError sandbox_unreachable, sandbox_refused */
async function ask({ url, psp, seed, plant }: SandboxFilesFlags): Promise<Answer> {
  let response: Response;
  try {
    response = await fetch(new URL('/_sandbox/settlement', url), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ psp, seed, plant }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch (error) {
    throw new OperatorError(
      'sandbox_unreachable',
      `No sandbox answers at ${url} (${errorCode(error instanceof Error ? error.cause : error) ?? 'no answer'}). Start one: paygate sandbox run`,
      { kind: 'failed', cause: error },
    );
  }
  const body: unknown = await response.json().catch(() => null);
  const parsed = answerSchema.safeParse(body);
  if (response.ok && parsed.success) return parsed.data;
  const said = z.object({ error: z.string() }).safeParse(body);
  throw new OperatorError(
    'sandbox_refused',
    `The sandbox refused: ${said.success ? said.data.error : `status ${response.status}`}`,
  );
}

function blocksOf(answer: Answer, folder: string): readonly Block[] {
  return [
    {
      kind: 'line',
      text: `${countText(answer.rows, 'row')}, ${countText(answer.deposits, 'deposit')}, ${countText(answer.planted.length, 'planted mismatch').replace(/mismatchs$/, 'mismatches')}`,
    },
    ...answer.files.map(({ name }): Block => ({ kind: 'line', text: join(folder, name) })),
    { kind: 'line', text: `${join(folder, TRUTH_FILE)} (what was planted)` },
    {
      kind: 'table',
      empty: 'nothing planted',
      columns: [
        { title: 'PLANTED' },
        { title: 'A BREAK OF' },
        { title: 'AMOUNT', align: 'right' },
        { title: 'REFERENCE', shrink: true },
      ],
      rows: answer.planted.map(({ plant, code, reference, amount }) => [
        plant,
        code,
        `${amount.amount} ${amount.currency}`,
        reference,
      ]),
    },
  ];
}
