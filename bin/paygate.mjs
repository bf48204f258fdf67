#!/usr/bin/env node
// Entry of the command line: on a Node that is new enough, one import; on an older one, the same again on
// the locked Node that npm installed. Plain JavaScript that old Nodes can read; knows nothing of payments.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** First Node with everything that dist/ needs. */
const NEEDED = [22, 12];
const EXIT_USAGE = 2;
const SELF = fileURLToPath(import.meta.url);

if (isNewEnough(process.versions.node)) await start();
else restartOn(findLockedNode());

function isNewEnough(version) {
  const [major, minor] = version.split('.').map(Number);
  return major > NEEDED[0] || (major === NEEDED[0] && minor >= NEEDED[1]);
}

async function start() {
  endWithWrapper();
  const main = new URL('../dist/cli/main.js', import.meta.url);
  if (!existsSync(main)) {
    console.error('paygate is not built yet: there is no dist/ folder. Run: npm run build');
    process.exit(EXIT_USAGE);
  }
  const { run } = await import(main.href);
  await run({
    startDaemon: () => import('../dist/daemon/main.js'),
    startSandbox: () => import('../dist/daemon/sandbox/main.js'),
  });
}

/** The wrapper holds the other end of a channel: when even kill -9 ends it, the channel closes. */
function endWithWrapper() {
  if (process.channel === undefined || process.channel === null) return;
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
  process.channel.unref();
}

/** Wherever npm put the package; null where it has none for this machine. */
function findLockedNode() {
  try {
    const manifest = createRequire(import.meta.url).resolve(`node-linux-${process.arch}/package.json`);
    const node = join(dirname(manifest), 'bin', 'node');
    return process.platform === 'linux' && existsSync(node) ? node : null;
  } catch {
    return null;
  }
}

function restartOn(node) {
  if (node === null) {
    refuse('and no replacement is installed.');
    return;
  }
  const child = spawn(node, [SELF, ...process.argv.slice(2)], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  });
  child.on('error', (error) => refuse(`and its replacement does not start (${error.code}).`));
  const forward = (signal) => child.kill(signal);
  process.on('SIGTERM', forward);
  process.on('SIGHUP', forward);
  // A terminal's Ctrl-C reaches both processes; this one waits for the other's answer.
  process.on('SIGINT', () => undefined);
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code);
    process.off('SIGTERM', forward);
    process.off('SIGHUP', forward);
    process.removeAllListeners('SIGINT');
    process.kill(process.pid, signal);
    // Signals that Node ignores by default (SIGPIPE) do not end us: say it with the exit code.
    setTimeout(() => process.exit(128 + constants.signals[signal]), 100);
  });
}

function refuse(why) {
  console.error(
    `paygate needs Node ${NEEDED.join('.')} or newer; this is ${process.versions.node}, ${why}\n` +
      'Install Node 24 (https://nodejs.org), or run npm ci with optional dependencies on Linux x64 or arm64.',
  );
  process.exit(EXIT_USAGE);
}
