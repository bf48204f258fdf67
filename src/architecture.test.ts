/**
 * The house rules that can be read off the import statements: who may know whom, which files are pure, where
 * SQL may stand. Tests, bench and chaos are exempt.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { LATEST_VERSION } from './core/db/schema-version.ts';

const SRC = dirname(fileURLToPath(import.meta.url));

type Import = {
  /** A path from src/ ("core/money.ts"), or a package ("postgres", "node:fs"). */
  readonly target: string;
  /** True when nothing of it is left at run time. */
  readonly isTypeOnly: boolean;
};

type SourceFile = { readonly path: string; readonly text: string; readonly imports: readonly Import[] };

function isForTests(path: string): boolean {
  return /(^|[./-])test\.tsx?$/.test(path) || path.startsWith('testing/') || path.endsWith('/test-server.ts');
}

const STATEMENT =
  /^\s*(?:import|export)\s+(type\s+)?([^'";]*?)\s*from\s+'([^']+)'|^\s*import\s+'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/gm;

function importsOf(path: string, text: string): readonly Import[] {
  return [...text.matchAll(STATEMENT)].map((match) => {
    const [, type, clause = '', from, bare, dynamic] = match;
    const target = from ?? bare ?? dynamic ?? '';
    const isRelative = target.startsWith('.');
    return {
      target: isRelative ? posix.join(posix.dirname(path), target) : target,
      isTypeOnly: type !== undefined || isClauseOfTypes(clause),
    };
  });
}

/** `{ type A, type B }` */
function isClauseOfTypes(clause: string): boolean {
  const names = /^\{([\s\S]*)\}$/.exec(clause)?.[1];
  if (names === undefined) return false;
  return names
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
    .every((name) => name.startsWith('type '));
}

/** Every file of the program, by its path from src/; no tests and nothing that only tests use. */
const FILES: ReadonlyMap<string, SourceFile> = new Map(
  readdirSync(SRC, { recursive: true, encoding: 'utf8' })
    .map((name) => name.split('\\').join('/'))
    .filter((name) => /\.tsx?$/.test(name) && !isForTests(name))
    .sort()
    .map((path) => {
      const text = readFileSync(join(SRC, path), 'utf8');
      return [path, { path, text, imports: importsOf(path, text) }];
    }),
);

/** "a imports b" for every import that the rule does not allow. */
function violations(
  concerns: (path: string) => boolean,
  isAllowed: (target: string, file: SourceFile, one: Import) => boolean,
): readonly string[] {
  return [...FILES.values()]
    .filter((file) => concerns(file.path))
    .flatMap((file) =>
      file.imports
        .filter((one) => !isAllowed(one.target, file, one))
        .map((one) => `${file.path} imports ${one.target}`),
    );
}

const isIn = (folder: string) => (path: string) => path.startsWith(`${folder}/`);
const isOurs = (target: string) => FILES.has(target);

// --- The three kinds of file in core, told apart by name ---

const isStore = (path: string) => path.startsWith('core/') && path.endsWith('-store.ts');
const isDatabase = isIn('core/db');
/** Files that do: a verb first. What they import is theirs to choose, within the rules below. */
const VERBS =
  /^core\/[a-z]+\/(accept|apply|approve|assess|book|cancel|change|decide|execute|gather|import|look|match|note|parse|plan|prune|read|reconcile|refund|release|replay|rescue|resolve|retry|review|submit|verify|withdraw)-[a-z-]+\.ts$/;
/** Functions that take a transaction; several workflows share them. */
const STEPS = [
  'core/dispute/apply-disputes.ts',
  'core/dispute/note-disputes.ts',
  'core/operation/apply-findings.ts',
  'core/operation/retry-elsewhere.ts',
  'core/payment/accept-payments.ts',
  'core/refund/accept-refunds.ts',
  'core/risk/assess-payments.ts',
  'core/settlement/book-lines.ts',
  'core/settlement/import-lines.ts',
  'core/settlement/match-ahead.ts',
  'core/settlement/match-lines.ts',
  'core/settlement/plan-resolution.ts',
  'core/settlement/read-items.ts',
  'core/settlement/withdraw-decisions.ts',
];
/** The connectors' own input and output. */
const TRANSPORTS = [
  'core/psp/adyen-connector.ts',
  'core/psp/adyen-enquiry.ts',
  'core/psp/adyen-http-client.ts',
  'core/psp/http-exchange.ts',
  'core/psp/registry.ts',
  'core/psp/stripe-connector.ts',
  'core/psp/stripe-enquiry.ts',
  'core/psp/stripe-http-client.ts',
];
const isWorkflow = (path: string) => VERBS.test(path) && !isStore(path);
const isPure = (path: string) =>
  path.startsWith('core/') &&
  !isStore(path) &&
  !isDatabase(path) &&
  !isWorkflow(path) &&
  !TRANSPORTS.includes(path);

describe('who may know whom', () => {
  test('the test sees the program: files, and imports of every form', () => {
    expect(FILES.size).toBeGreaterThan(80);
    for (const path of [...STEPS, ...TRANSPORTS]) expect([...FILES.keys()]).toContain(path);
    const example =
      "import a from './a.ts';\nimport type { B } from './b.ts';\nimport {\n  type C,\n  type D,\n} from 'c';\nimport './e.ts';\nexport { f } from '../f.ts';\nawait import('./g.ts');";
    expect(importsOf('core/x/y.ts', example)).toEqual([
      { target: 'core/x/a.ts', isTypeOnly: false },
      { target: 'core/x/b.ts', isTypeOnly: true },
      { target: 'c', isTypeOnly: true },
      { target: 'core/x/e.ts', isTypeOnly: false },
      { target: 'core/f.ts', isTypeOnly: false },
      { target: 'core/x/g.ts', isTypeOnly: false },
    ]);
  });

  test('core knows neither the daemon nor the command line', () => {
    expect(violations(isIn('core'), (target) => !isOurs(target) || isIn('core')(target))).toEqual([]);
  });

  test('the daemon knows core and not the command line', () => {
    expect(violations(isIn('daemon'), (target) => !isIn('cli')(target))).toEqual([]);
  });

  test('the command line knows core and not the daemon', () => {
    expect(violations(isIn('cli'), (target) => !isIn('daemon')(target))).toEqual([]);
  });

  test('the sandbox knows nothing of the gateway but its error classes, and nobody in the gateway knows it', () => {
    const inSandbox = isIn('daemon/sandbox');
    const allowed = (target: string) => !isOurs(target) || inSandbox(target) || target === 'core/errors.ts';
    expect(violations(inSandbox, allowed)).toEqual([]);
    expect(
      violations(
        (path) => !inSandbox(path),
        (target) => !inSandbox(target),
      ),
    ).toEqual([]);
  });

  test('psp knows no database, no ledger, no queue: not even their types', () => {
    const allowed = (target: string) =>
      !isOurs(target)
        ? target !== 'postgres'
        : isIn('core/psp')(target) || /^core\/(money|errors|ids|shown-text)\.ts$/.test(target);
    expect(violations(isIn('core/psp'), allowed)).toEqual([]);
  });

  test('pure files import nothing that reads, writes, waits or connects', () => {
    const allowed = (target: string, _: SourceFile, one: Import) => {
      if (one.isTypeOnly) return true;
      if (isOurs(target)) return isPure(target);
      // Hashing is a function of its input; what is random in node:crypto the next test looks for.
      // So is asking bytes whether they are UTF-8.
      if (target === 'node:crypto' || target === 'node:buffer') return true;
      return (
        !target.startsWith('node:') &&
        !['postgres', 'p-retry', 'stripe', '@adyen/api-library', 'pino', 'fastify'].includes(target)
      );
    };
    expect(violations(isPure, allowed)).toEqual([]);
  });

  test('pure files ask neither a clock nor chance', () => {
    const asks =
      /\b(Date\.now|new Date\(\)|performance\.now|Math\.random|randomUUID|randomBytes|setTimeout|process\.(env|argv|cwd))\b/;
    const found = [...FILES.values()].filter(
      ({ path, text }) => isPure(path) && asks.test(withoutComments(text)),
    );
    expect(found.map(({ path }) => path)).toEqual([]);
  });

  test('stores know the database, their own pure module, and the event log', () => {
    const allowed = (target: string, file: SourceFile, one: Import) => {
      if (one.isTypeOnly || target === 'core/errors.ts' || target === 'core/audit/event-store.ts')
        return true;
      if (!isOurs(target)) return false;
      return isDatabase(target) || (isPure(target) && posix.dirname(target) === posix.dirname(file.path));
    };
    expect(violations(isStore, allowed)).toEqual([]);
  });

  test('a workflow uses no other workflow, only steps', () => {
    const allowed = (target: string, _: SourceFile, one: Import) =>
      one.isTypeOnly || !isWorkflow(target) || STEPS.includes(target);
    expect(violations(isWorkflow, allowed)).toEqual([]);
  });

  test('steps take a transaction and open none', () => {
    for (const path of STEPS) expect(FILES.get(path)!.text).not.toMatch(/\btransact(Once)?\(/);
  });

  test('postgres is imported by the database folder alone', () => {
    const allowed = (target: string, file: SourceFile) => target !== 'postgres' || isDatabase(file.path);
    expect(violations(() => true, allowed)).toEqual([]);
  });
});

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
}

describe('where things stand', () => {
  test('only stores and the database folder hold SQL', () => {
    const holds = /\bsql(<[^`]*>)?`|\bsql\.(unsafe|listen|file|begin)\(/;
    const found = [...FILES.values()].filter(
      ({ path, text }) => !isStore(path) && !isDatabase(path) && holds.test(withoutComments(text)),
    );
    expect(found.map(({ path }) => path)).toEqual([]);
  });

  test('there are no barrels', () => {
    const barrels = [...FILES.values()].filter(
      ({ path, text }) =>
        /(^|\/)index\.tsx?$/.test(path) || /^\s*export\s+(\*|(type\s+)?\{[^}]*\}\s*from)/m.test(text),
    );
    expect(barrels.map(({ path }) => path)).toEqual([]);
  });

  test('every relative import ends in .ts or .tsx and names a file that is there', () => {
    expect(
      violations(
        () => true,
        (target, _, one) => !/^(core|daemon|cli|testing)\//.test(target) || isOurs(one.target),
      ),
    ).toEqual([]);
  });

  test('imports never run in a circle', () => {
    expect(circles((one) => !one.isTypeOnly)).toEqual([]);
    expect(circles(() => true)).toEqual([]);
  });

  test('the program knows as many schema versions as there are migrations', () => {
    const migrations = readdirSync(join(SRC, 'core/db/migrations')).filter((name) => name.endsWith('.sql'));
    expect(LATEST_VERSION).toBe(migrations.length);
  });
});

/** Every circle once, as "a → b → a". */
function circles(counts: (one: Import) => boolean): readonly string[] {
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) found.push([...trail.slice(start), path].join(' → '));
    if (start >= 0 || done.has(path)) return;
    for (const one of FILES.get(path)?.imports ?? []) {
      if (counts(one) && isOurs(one.target)) visit(one.target, [...trail, path]);
    }
    done.add(path);
  };
  for (const path of FILES.keys()) visit(path, []);
  return found;
}
