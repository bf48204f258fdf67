/** The entry as a process: what no in-process test can see. Needs dist/ (`pretest` builds it). */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const ENTRY = join(ROOT, 'bin', 'paygate.mjs');
/** A Node that is too old, where the machine has one; the tests themselves run on the locked one. */
const OLD_NODE = '/usr/bin/node';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'paygate-bin-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const ENV = { PATH: process.env.PATH ?? '', HOME: '/nonexistent' };

function run(node: string, args: readonly string[], entry = ENTRY) {
  return new Promise<{ code: number | string; out: string; err: string }>((resolve) => {
    execFile(node, [entry, ...args], { cwd: folder, env: ENV }, (error, out, err) => {
      resolve({ code: error === null ? 0 : (error.code ?? error.signal ?? 'unknown'), out, err });
    });
  });
}

test('runs, and ends with the command’s exit code', async () => {
  expect(await run(process.execPath, ['--version'])).toEqual({ code: 0, out: '0.1.0\n', err: '' });
  const wrong = await run(process.execPath, ['nothing']);
  expect(wrong).toMatchObject({ code: 2, out: '' });
  expect(wrong.err).toContain("unknown command 'nothing'");
});

test('a reader that goes away is no error', async () => {
  const shell = `"${process.execPath}" "${ENTRY}" payments submit --help | true; echo \${PIPESTATUS[0]}`;
  const out = await new Promise<string>((resolve) => {
    execFile('bash', ['-c', shell], { cwd: folder, env: ENV }, (_, stdout, stderr) =>
      resolve(stdout + stderr),
    );
  });
  expect(out).toBe('0\n');
});

test('without dist/ it says how to build', async () => {
  mkdirSync(join(folder, 'bin'), { recursive: true });
  cpSync(ENTRY, join(folder, 'bin', 'paygate.mjs'));
  const { code, err } = await run(process.execPath, ['--version'], join(folder, 'bin', 'paygate.mjs'));
  expect(code).toBe(2);
  expect(err).toContain('npm run build');
});

/** Starts a program that stays, and waits for its first word. */
async function start(node: string): Promise<ChildProcess> {
  const child = spawn(node, [ENTRY, 'sandbox', 'run', '--port', '0'], { cwd: folder, env: ENV });
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('exit', () => reject(new Error('it ended at once')));
  });
  return child;
}

function endOf(child: ChildProcess): Promise<number | string> {
  return new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal ?? 'unknown')));
}

test('SIGTERM ends a program that stays in good order', async () => {
  const child = await start(process.execPath);
  const end = endOf(child);
  child.kill('SIGTERM');
  expect(await end).toBe(0);
});

describe.skipIf(!existsSync(OLD_NODE) || !(await isTooOld()))('on a Node that is too old', () => {
  test('runs on the locked one, with its output and its exit code', async () => {
    expect(await run(OLD_NODE, ['--version'])).toEqual({ code: 0, out: '0.1.0\n', err: '' });
    expect(await run(OLD_NODE, ['nothing'])).toMatchObject({ code: 2 });
  });

  test('without a replacement says what to install', async () => {
    mkdirSync(join(folder, 'alone'), { recursive: true });
    cpSync(ENTRY, join(folder, 'alone', 'paygate.mjs'));
    const { code, err } = await run(OLD_NODE, ['--version'], join(folder, 'alone', 'paygate.mjs'));
    expect(code).toBe(2);
    expect(err).toContain('Install Node 24');
    expect(err).not.toMatch(/\n\s+at /);
  });

  test('SIGTERM is handed on, and the exit code handed back', async () => {
    const wrapper = await start(OLD_NODE);
    const end = endOf(wrapper);
    wrapper.kill('SIGTERM');
    expect(await end).toBe(0);
  });

  test('even kill -9 of the wrapper ends its child', async () => {
    const wrapper = await start(OLD_NODE);
    // The child holds the other end of this pipe: it closes when the child is gone.
    const gone = new Promise<void>((resolve) => wrapper.stdout?.once('close', () => resolve()));
    wrapper.stdout?.resume();
    wrapper.kill('SIGKILL');
    await gone;
  });
});

function isTooOld(): Promise<boolean> {
  return new Promise((resolve) => {
    execFile(OLD_NODE, ['--version'], (error, out) => {
      const [major = 0, minor = 0] = out.slice(1).split('.').map(Number);
      resolve(error === null && (major < 22 || (major === 22 && minor < 12)));
    });
  });
}
