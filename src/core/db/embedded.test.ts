/** Starts real servers in temporary folders: what the supervisor promises is about processes and files. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import postgres from 'postgres';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  type EmbeddedServer,
  embeddedConnection,
  startEmbedded,
  statusEmbedded,
  stopEmbedded,
} from './embedded.ts';
import { withFolderLock } from './embedded-lock.ts';
import { listProcessesOf, readStartTicks, waitUntil } from './embedded-process.ts';

const MODULE = new URL('./embedded.ts', import.meta.url).href;
const CHILD_TIMEOUT_MS = 30_000;
const WAIT_MS = 10_000;

/** Most tests share one state folder, stopped between them: a first start takes longer than all else. */
let base = '';
let shared = '';
let stateDir = '';

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'paygate embedded-'));
  // Root's server runs as somebody else, who must get this far.
  await chmod(base, 0o711);
  shared = join(base, "state's folder");
  await mkdir(shared);
});

beforeEach(() => {
  stateDir = shared;
});

afterEach(async () => {
  await stopEmbedded({ stateDir });
  expect(await listProcessesOf(join(stateDir, 'postgres', 'data'))).toEqual([]);
  if (stateDir !== shared) await rm(stateDir, { recursive: true, force: true });
});

afterAll(async () => {
  await rm(base, { recursive: true, force: true });
});

/** Another command that starts the server, of a user who keeps all files closed; `done` gives what it printed. */
function startInChild(): {
  kill: () => boolean;
  done: Promise<{ server: EmbeddedServer | null; errors: string }>;
} {
  const script = `
    process.umask(0o077);
    const { startEmbedded } = await import(${JSON.stringify(MODULE)});
    process.stdout.write(JSON.stringify(await startEmbedded({ stateDir: ${JSON.stringify(stateDir)} })));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { timeout: CHILD_TIMEOUT_MS });
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  const done = new Promise<{ server: EmbeddedServer | null; errors: string }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => {
      resolve({ server: output === '' ? null : (JSON.parse(output) as EmbeddedServer), errors });
    });
  });
  return { kill: () => child.kill('SIGKILL'), done };
}

async function ask<T extends object>(
  server: EmbeddedServer,
  role: 'owner' | 'app',
  text: string,
): Promise<T[]> {
  const sql = postgres({ ...embeddedConnection(server, role), max: 1, onnotice: () => undefined });
  try {
    return await sql.unsafe<T[]>(text);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

async function killServer(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  expect(await waitUntil(async () => (await readStartTicks(pid)) === null, WAIT_MS)).toBe(true);
}

describe('one server for all who ask', () => {
  test('commands that start it at once get the same one, and it outlives them', async () => {
    stateDir = join(base, 'at once');
    const results = await Promise.all([1, 2, 3].map(() => startInChild().done));
    expect(results.map((result) => result.errors)).toEqual(['', '', '']);
    const servers = results.map((result) => result.server!);
    expect(new Set(servers.map((server) => server.pid)).size).toBe(1);
    expect(servers.filter((server) => server.startedNow)).toHaveLength(1);

    const again = await startEmbedded({ stateDir });
    expect(again).toEqual({ ...servers[0], startedNow: false });
    // A session of its own: a terminal's Ctrl-C goes to the starter's.
    const fields = (await readFile(`/proc/${again.pid}/stat`, 'utf8')).split(') ')[1]!.split(' ');
    expect(Number(fields[3])).toBe(again.pid);
  });

  test('the application may log in and is nobody special; data is checked and durable', async () => {
    const server = await startEmbedded({ stateDir, settings: { work_mem: '5MB' } });
    const [app] = await ask<Record<string, unknown>>(
      server,
      'app',
      `select current_user as who, rolsuper or rolcreaterole or rolcreatedb or rolreplication as special,
              has_database_privilege('paygate', 'create') as may_create,
              current_setting('fsync') as fsync, current_setting('data_checksums') as checksums,
              current_setting('listen_addresses') as listen, current_setting('work_mem') as work_mem,
              current_setting('server_encoding') as encoding, lower('ÄÉ') as lower, 'B' < 'a' as by_code
         from pg_roles where rolname = current_user`,
    );
    expect(app).toEqual({
      who: 'paygate_app',
      special: false,
      may_create: false,
      fsync: 'on',
      checksums: 'on',
      listen: '',
      work_mem: '5MB',
      encoding: 'UTF8',
      lower: 'äé',
      by_code: true,
    });
    expect((await stat(server.socketDir)).mode & 0o777).toBe(0o700);
  });

  test('stopping it twice says what there was to stop, and status follows', async () => {
    const nowhere = { stateDir: join(base, 'nowhere') };
    expect(await stopEmbedded(nowhere)).toBe(false);
    expect(await statusEmbedded(nowhere)).toMatchObject({ state: 'stopped', majorVersion: null });
    await expect(stat(nowhere.stateDir)).rejects.toThrow('ENOENT');
    const { pid, socketDir } = await startEmbedded({ stateDir });
    const running = await statusEmbedded({ stateDir });
    expect(running).toMatchObject({ state: 'running', pid, socketDir, majorVersion: 18 });
    expect(running.sizeBytes).toBeGreaterThan(10_000_000);
    expect(await stopEmbedded({ stateDir })).toBe(true);
    expect(await stopEmbedded({ stateDir })).toBe(false);
    expect(await statusEmbedded({ stateDir })).toMatchObject({ state: 'stopped', majorVersion: 18 });
  });

  test('a path too long for a socket gets a short private folder, and nobody else’s', async () => {
    stateDir = join(base, 'x'.repeat(100));
    const mark = createHash('sha256').update(stateDir).digest('hex').slice(0, 12);
    const [user] = (await readFile('/etc/passwd', 'utf8'))
      .split('\n')
      .filter((line) => line.startsWith('postgres:'));
    const uid = process.getuid?.() === 0 ? (user?.split(':')[2] ?? '65534') : process.getuid?.();
    const short = `/tmp/paygate-${uid}-${mark}`;
    await symlink(base, short);
    try {
      await expect(startEmbedded({ stateDir })).rejects.toMatchObject({ code: 'embedded_folder_foreign' });
      await rm(short);
      const server = await startEmbedded({ stateDir });
      expect(server.socketDir).toBe(short);
      expect(await ask(server, 'owner', 'select 1 as one')).toEqual([{ one: 1 }]);
    } finally {
      await stopEmbedded({ stateDir });
      await rm(short, { recursive: true, force: true });
    }
  });
});

describe('after kill -9', () => {
  test('of the server, it starts again with its data', async () => {
    const first = await startEmbedded({ stateDir });
    await ask(first, 'owner', 'create table kept as select 42 as answer');
    await killServer(first.pid);
    const second = await startEmbedded({ stateDir });
    expect(second).toMatchObject({ startedNow: true });
    expect(second.pid).not.toBe(first.pid);
    expect(await ask(second, 'owner', 'select answer from kept')).toEqual([{ answer: 42 }]);
  });

  test('of the server, when another program has got its number, that one is left alone', async () => {
    const { pid, socketDir } = await startEmbedded({ stateDir });
    const pidFile = join(stateDir, 'postgres', 'data', 'postmaster.pid');
    const stranger = spawn('/bin/sleep', ['60'], { stdio: 'ignore' });
    try {
      await killServer(pid);
      const renumber = async (path: string): Promise<void> => {
        const text = await readFile(path, 'utf8');
        await writeFile(path, text.replace(String(pid), String(stranger.pid)));
      };
      await renumber(pidFile);
      await renumber(join(socketDir, '.s.PGSQL.5432.lock'));
      expect(await statusEmbedded({ stateDir })).toMatchObject({ state: 'stopped' });
      expect(await stopEmbedded({ stateDir })).toBe(false);
      expect(await startEmbedded({ stateDir })).toMatchObject({ startedNow: true });
      expect(await readStartTicks(stranger.pid!)).not.toBeNull();
    } finally {
      stranger.kill('SIGKILL');
    }
  });

  test('of the starter, at many moments of its work, the next one finishes it', async () => {
    stateDir = join(base, 'fresh');
    // Copying the binaries takes about 0.6 s, initdb 0.7 s, the start 0.2 s.
    for (const delayMs of [300, 700, 1_100, 1_500]) {
      const starter = startInChild();
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      starter.kill();
      await starter.done;
    }
    const server = await startEmbedded({ stateDir });
    expect(await ask(server, 'app', 'select current_database() as name')).toEqual([{ name: 'paygate' }]);
    // A starter killed when its server already ran leaves its lock to the next command that needs one.
    expect(await stopEmbedded({ stateDir })).toBe(true);
    expect(await readdir(join(stateDir, 'lock'))).toEqual([]);
  });

  test('what a half-done creation left is thrown away', async () => {
    await startEmbedded({ stateDir });
    await stopEmbedded({ stateDir });
    const clusterDir = join(stateDir, 'postgres');
    await rm(join(clusterDir, 'data'), { recursive: true });
    await mkdir(join(clusterDir, 'data.new-0badf00d'));
    const runtime = join(stateDir, 'runtime');
    const [version] = await readdir(runtime);
    await mkdir(join(runtime, 'new-0badf00d'));
    // As a power failure leaves a file: the name is there, the content is not.
    await writeFile(join(runtime, version!, 'bin', 'initdb'), '');
    expect(await startEmbedded({ stateDir })).toMatchObject({ startedNow: true });
    expect(await readdir(clusterDir)).toEqual(['data']);
    expect(await readdir(runtime)).toEqual([version]);
  });
});

describe('the lock', () => {
  async function plantLock(owner: string): Promise<void> {
    await mkdir(join(stateDir, 'lock'), { recursive: true });
    await writeFile(join(stateDir, 'lock', owner), '');
  }
  const bootMark = async (): Promise<string> =>
    (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).slice(0, 8);

  test.each([
    ['whose number is another program by now', async () => `${process.pid}-1-${await bootMark()}-00000000`],
    [
      'from before the last boot',
      async () => `${process.pid}-${await readStartTicks(process.pid)}-ffffffff-00000000`,
    ],
    ['that is dead', async () => `999999999-1-${await bootMark()}-00000000`],
  ])('of an owner %s is broken', async (_, owner) => {
    await plantLock(await owner());
    expect(await withFolderLock(stateDir, async () => 'worked', 1_000)).toBe('worked');
  });

  test('of a living owner is waited for, and then the owner is named', async () => {
    await withFolderLock(
      stateDir,
      () =>
        expect(withFolderLock(stateDir, async () => 'never', 200)).rejects.toMatchObject({
          code: 'embedded_busy',
          message: expect.stringContaining(`process ${process.pid}`),
        }),
      1_000,
    );

    expect((await readdir(stateDir)).filter((name) => name.startsWith('lock.'))).toEqual([]);
  });

  test('lets many through, one at a time', async () => {
    let inside = 0;
    let most = 0;
    await plantLock(`999999999-1-${await bootMark()}-00000000`);
    const work = async (): Promise<void> => {
      inside += 1;
      most = Math.max(most, inside);
      await new Promise((resolve) => setTimeout(resolve, 5));
      inside -= 1;
    };
    await Promise.all(Array.from({ length: 20 }, () => withFolderLock(stateDir, work, WAIT_MS)));
    expect(most).toBe(1);
  });
});

describe('what can not work says why', () => {
  test('data of another major version is not touched', async () => {
    await startEmbedded({ stateDir });
    await stopEmbedded({ stateDir });
    const versionFile = join(stateDir, 'postgres', 'data', 'PG_VERSION');
    const version = await readFile(versionFile);
    await writeFile(versionFile, '17\n');
    await expect(startEmbedded({ stateDir })).rejects.toMatchObject({
      code: 'embedded_other_version',
      kind: 'failed',
      message: expect.stringMatching(/made by Postgres 17; this paygate brings Postgres 18/),
    });
    await rm(versionFile);
    await expect(startEmbedded({ stateDir })).rejects.toMatchObject({ code: 'embedded_data_damaged' });
    await writeFile(versionFile, version);
    expect(await startEmbedded({ stateDir })).toMatchObject({ startedNow: true });
  });

  test('a server that does not start shows its last words', async () => {
    await expect(startEmbedded({ stateDir, settings: { work_mem: 'plenty' } })).rejects.toMatchObject({
      code: 'embedded_start_failed',
      message: expect.stringMatching(
        /did not start \(exit code 1\)[\s\S]*invalid value for parameter "work_mem"/,
      ),
    });
    expect(await startEmbedded({ stateDir })).toMatchObject({ startedNow: true });
  });

  test.each([
    ['relative', 'state', 'embedded_folder_invalid'],
    ['for a shell', '/tmp/a$(b)', 'embedded_folder_invalid'],
    ['in a file', '/etc/passwd/state', 'embedded_not_writable'],
  ])('a state folder %s', async (_, folder, code) => {
    await expect(startEmbedded({ stateDir: folder })).rejects.toMatchObject({ code });
  });

  test.runIf(process.getuid?.() === 0)('a state folder that the server’s user can not reach', async () => {
    await mkdir(join(base, 'closed'), { mode: 0o700 });
    const closed = { stateDir: join(base, 'closed', 'state') };
    await expect(startEmbedded(closed)).rejects.toMatchObject({ code: 'embedded_folder_unreachable' });
  });
});
