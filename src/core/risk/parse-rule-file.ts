/** Reads the bytes of a rule file: TOML, rules, and the version that decisions are stored with. Writes nothing. */
import { createHash } from 'node:crypto';
import { parse, TomlError } from 'smol-toml';
import { type RuleFault, readRuleDocument } from './rule-file.ts';
import type { RuleSet } from './rule-set.ts';

export type ParsedRuleFile =
  | { readonly kind: 'ok'; readonly ruleSet: RuleSet; readonly warnings: readonly RuleFault[] }
  | { readonly kind: 'bad'; readonly faults: readonly RuleFault[] };

/** @param bytes UTF-8; the version is the file's name and the SHA-256 of exactly these */
export function parseRuleFile(bytes: Buffer): ParsedRuleFile {
  let document: unknown;
  try {
    document = parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    return { kind: 'bad', faults: [{ path: '', message: syntaxFault(error) }] };
  }
  const reading = readRuleDocument(document);
  if (reading.kind === 'bad') return reading;
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const ruleSet = { ...reading.ruleSet, version: `${reading.name} ${sha256}` };
  return { kind: 'ok', ruleSet, warnings: reading.warnings };
}

/** Only the parser's first line: the rest repeats the file, which names people. */
function syntaxFault(error: unknown): string {
  if (!(error instanceof TomlError)) return 'is not UTF-8 text';
  const reason = error.message.split('\n', 1)[0]!.replace(/^Invalid TOML document: /, '');
  return `line ${error.line}, column ${error.column}: ${reason}`;
}
