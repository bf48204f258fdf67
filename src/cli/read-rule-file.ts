/** Reads a rule file from the disk and says everything that is wrong with it. Interprets no rule. */
import { readFileSync, statSync } from 'node:fs';
import { errorCode } from '../core/db/connection.ts';
import { OperatorError } from '../core/errors.ts';
import { type ParsedRuleFile, parseRuleFile } from '../core/risk/parse-rule-file.ts';

const MAX_RULE_FILE_BYTES = 16 * 1024 * 1024;
/** Faults that a message repeats; all of them are in its details. */
const MAX_TOLD_FAULTS = 20;

/**
 * @param path absolute
 * @throws OperatorError rules_unreadable, rules_invalid
 */
export function readRuleFile(path: string): Extract<ParsedRuleFile, { kind: 'ok' }> {
  const parsed = parseRuleFile(readBytes(path));
  if (parsed.kind === 'ok') return parsed;
  const { faults } = parsed;
  const told = faults
    .slice(0, MAX_TOLD_FAULTS)
    .map(({ path: place, message }) => `  ${place === '' ? 'the file' : place}: ${message}`);
  const more = faults.length > told.length ? [`  … and ${faults.length - told.length} more`] : [];
  throw new OperatorError(
    'rules_invalid',
    [`The risk rules in ${path} are not usable:`, ...told, ...more].join('\n'),
    { details: { file: path, faults } },
  );
}

function readBytes(path: string): Buffer {
  try {
    const facts = statSync(path);
    if (!facts.isFile()) throw new OperatorError('rules_unreadable', `${path} is not a file.`);
    if (facts.size > MAX_RULE_FILE_BYTES) {
      throw new OperatorError('rules_unreadable', `${path} is larger than 16 MB.`);
    }
    return readFileSync(path);
  } catch (error) {
    if (error instanceof OperatorError) throw error;
    throw new OperatorError(
      'rules_unreadable',
      `The risk rules in ${path} can't be read (${errorCode(error)}).`,
      {
        cause: error,
      },
    );
  }
}
