/** Reads the bytes of a mapping file: TOML, then its meaning. Writes nothing. */
import { parse, TomlError } from 'smol-toml';
import { type MappingReading, readSettlementMapping } from './settlement-mapping.ts';

/** @param bytes UTF-8 */
export function parseSettlementMapping(bytes: Buffer): MappingReading {
  let document: unknown;
  try {
    document = parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    return { kind: 'bad', faults: [{ path: '', message: syntaxFault(error) }] };
  }
  return readSettlementMapping(document);
}

/** Only the parser's first line: the rest repeats the file. */
function syntaxFault(error: unknown): string {
  if (!(error instanceof TomlError)) return 'is not UTF-8 text';
  const reason = error.message.split('\n', 1)[0]!.replace(/^Invalid TOML document: /, '');
  return `line ${error.line}, column ${error.column}: ${reason}`;
}
