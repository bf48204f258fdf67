/**
 * One file of the drop folder: reconciles it, writes its report, moves it. It is moved only after its run is committed; a crash
 * before that leaves it lying there, and the same bytes again change nothing.
 */
import { createHash } from 'node:crypto';
import { createReadStream, type ReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { type Config, pspOf } from '../../core/config.ts';
import type { Db } from '../../core/db/connection.ts';
import { OperatorError } from '../../core/errors.ts';
import type { FileFault } from '../../core/payment/file-fault.ts';
import { capabilitiesOf } from '../../core/psp/request.ts';
import { parseSettlementMapping } from '../../core/settlement/parse-settlement-mapping.ts';
import { openSettlementFile } from '../../core/settlement/read-settlement.ts';
import type { ReconcileAnswer } from '../../core/settlement/reconcile-answer.ts';
import { reconcileFile } from '../../core/settlement/reconcile-file.ts';
import type { SettlementReading } from '../../core/settlement/settlement-line.ts';
import type { SettlementMapping } from '../../core/settlement/settlement-mapping.ts';
import { requireKnownSource, sourceOfFormat, timeZoneOf } from '../../core/settlement/settlement-source.ts';
import { DONE, type DroppedFile, moveFile, placeOf, REJECTED } from './dropped-files.ts';

export type DropContext = {
  readonly db: Db;
  readonly config: Config;
  readonly folder: string;
  readonly principal: string;
  readonly renderReport: (answer: ReconcileAnswer) => Promise<string>;
};

export type DropResult =
  | { readonly kind: 'reconciled'; readonly answer: ReconcileAnswer; readonly movedTo: string }
  | { readonly kind: 'rejected'; readonly code: string; readonly reason: string; readonly movedTo: string };

/**
 * @throws whatever is not the file's fault (the database is away, a mistake of ours): the file stays where it is
 */
export async function reconcileDropped(context: DropContext, file: DroppedFile): Promise<DropResult> {
  const sha256 = await hashOf(file.path);
  const streams: ReadStream[] = [];
  try {
    const result = await run(context, file, sha256, streams);
    if (result.kind === 'bad_file') {
      const { faults, faultCount } = result;
      const reason = `${faultCount} ${faultCount === 1 ? 'fault' : 'faults'}; nothing was imported`;
      return await reject(context, file, sha256, { code: 'file_has_bad_rows', reason, faults });
    }
    const { answer } = result;
    const movedTo = placeOf(context.folder, DONE, answer.runId ?? answer.file.id ?? 'run', file.name);
    await writeFile(`${movedTo}.html`, await context.renderReport(answer), { mode: 0o640 });
    await moveFile(file.path, movedTo);
    return { kind: 'reconciled', answer, movedTo };
  } catch (error) {
    if (!(error instanceof OperatorError) || error.kind !== 'usage') throw error;
    return await reject(context, file, sha256, { code: error.code, reason: error.message, faults: [] });
  } finally {
    for (const stream of streams) stream.destroy();
  }
}

async function run(context: DropContext, file: DroppedFile, sha256: string, streams: ReadStream[]) {
  const { db, config, principal } = context;
  const mapping = file.mapping === null ? null : await readMapping(file.mapping);
  let reading: Promise<SettlementReading> | null = null;
  const open = (): Promise<SettlementReading> => {
    reading ??= openSettlementFile(openStream(file.path, streams), {
      format: null,
      mapping,
      timeZone: timeZoneOf(config, file.source),
    });
    return reading;
  };
  const source =
    file.source === null
      ? sourceOfFormat(config, (await open()).format)
      : requireKnownSource(config, file.source);
  return reconcileFile(db, {
    fileName: file.name,
    source,
    sha256,
    open,
    mode: 'commit',
    rejects: 'refused',
    principal,
    policy: config.settlement,
    capabilitiesOf: (account) => capabilitiesOf(pspOf(config)(account)),
  });
}

function openStream(path: string, streams: ReadStream[]): ReadStream {
  const stream = createReadStream(path);
  streams.push(stream);
  return stream;
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** @throws OperatorError mapping_invalid */
async function readMapping(path: string): Promise<SettlementMapping> {
  const reading = parseSettlementMapping(await readFile(path));
  if (reading.kind === 'ok') return reading.mapping;
  const faults = reading.faults.map((fault) => `${fault.path}: ${fault.message}`);
  throw new OperatorError('mapping_invalid', `The mapping ${path} is not usable: ${faults.join('; ')}`);
}

type Rejection = { readonly code: string; readonly reason: string; readonly faults: readonly FileFault[] };

/** Named by its bytes, so that the same file again finds its place taken by itself. */
async function reject(
  context: DropContext,
  file: DroppedFile,
  sha256: string,
  { code, reason, faults }: Rejection,
): Promise<DropResult> {
  const movedTo = placeOf(context.folder, REJECTED, sha256.slice(0, 12), file.name);
  const lines = faults.map(
    ({ line, column, message }) => `line ${line ?? '-'}${column === null ? '' : `, ${column}`}: ${message}`,
  );
  await writeFile(`${movedTo}.txt`, `${[`${code}: ${reason}`, ...lines].join('\n')}\n`, { mode: 0o640 });
  await moveFile(file.path, movedTo);
  return { kind: 'rejected', code, reason, movedTo };
}
