/**
 * Mends faults of postgres.js 3.4.9 after every install (run by `prepare`), until a release has them
 * (porsager/postgres issues 1066, 1154, 1208; pull requests 1168, 1209):
 * - a write that was deferred until after the connection had closed throws outside of any promise and ends the
 *   process: a daemon would die with its database;
 * - a query of a transaction whose connection has closed is written to nobody, and the connection is filed as
 *   busy for ever: the pool loses it, and with the last one every query hangs;
 * - a transaction whose connection was lost goes on with its later queries on the new connection, outside of
 *   any transaction;
 * - closing forgets to disarm that write, so the connection never flushes again after it has reconnected, and
 *   its queries hang for ever;
 * - a server that falls silent without closing (half-open: a firewall forgot the connection, a host died) leaves its
 *   queries waiting for ever: there is no time-out on the client's side. Option `silence: { limitMs }`, read at each
 *   look, ends such a connection with CONNECTION_SILENT. Copies have deadlines of their own.
 * Idempotent. Refuses to guess: other source than expected is an error that says what to look at.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const PATCHED_VERSION = '3.4.9';
const entry = import.meta.resolve('postgres');
const { version } = JSON.parse(readFileSync(new URL('../package.json', entry), 'utf8'));

/** Edits of src/connection.js and src/index.js. */
const CONNECTION_EDITS = [
  {
    from: `  function execute(q) {
    if (terminated)
`,
    to: `  function execute(q) {
    if (socket === null && !terminated) {
      queryError(q, Errors.connection('CONNECTION_CLOSED', options))
      return true
    }
    if (terminated)
`,
  },
  {
    from: `  function nextWrite(fn) {
    const x = socket.write(chunk, fn)
`,
    to: `  function nextWrite(fn) {
    if (socket === null) {
      chunk = nextWriteTimer = null
      error(Errors.connection('CONNECTION_CLOSED', options))
      return true
    }
    const x = socket.write(chunk, fn)
`,
  },
  {
    from: `    clearImmediate(nextWriteTimer)
    if (socket) {
`,
    to: `    clearImmediate(nextWriteTimer)
    chunk = nextWriteTimer = null
    if (socket) {
`,
  },
  {
    from: `    clearImmediate(nextWriteTimer)
    socket.removeListener('data', data)
`,
    to: `    clearImmediate(nextWriteTimer)
    chunk = nextWriteTimer = null
    socket.removeListener('data', data)
`,
  },
];

const SILENCE_EDITS = [
  {
    from: `    , nextWriteTimer = null
    , terminated = false
`,
    to: `    , nextWriteTimer = null
    , silenceTimer = null
    , heardAt = 0
    , terminated = false
`,
  },
  {
    from: `        : (query = q, query.active = true)

      build(q)
`,
    to: `        : (query = q, query.active = true, heardAt = performance.now())

      build(q)
`,
  },
  {
    from: `  function data(x) {
    if (incomings) {
`,
    to: `  function silent() {
    if ((!query && !sent.length) || stream || performance.now() - heardAt < options.silence.limitMs)
      return
    error(Errors.connection('CONNECTION_SILENT', options, socket))
    socket.destroy()
  }

  function data(x) {
    heardAt = performance.now()
    if (incomings) {
`,
  },
  {
    from: `      const s = StartupMessage()
      write(s)
`,
    to: `      clearInterval(silenceTimer)
      options.silence && (silenceTimer = setInterval(silent, Math.min(1000, options.silence.limitMs / 4)).unref())
      const s = StartupMessage()
      write(s)
`,
  },
  {
    from: `    idleTimer.cancel()
    lifeTimer.cancel()
    connectTimer.cancel()

    socket.removeAllListeners()
`,
    to: `    idleTimer.cancel()
    lifeTimer.cancel()
    connectTimer.cancel()
    clearInterval(silenceTimer)

    socket.removeAllListeners()
`,
  },
];

const POOL_EDITS = [
  {
    from: `    socket          : o.socket,
`,
    to: `    socket          : o.socket,
    silence         : o.silence,
`,
  },
  {
    from: `      , connection
      , prepare = null
`,
    to: `      , connection
      , lost = null
      , prepare = null
`,
  },
  {
    from: `new Promise((_, reject) => connection.onclose = reject)`,
    to: `new Promise((_, reject) => connection.onclose = e => reject(lost = e))`,
  },
  {
    from: `        q.catch(e => uncaughtError || (uncaughtError = e))
`,
    to: `        q.catch(e => uncaughtError || (uncaughtError = e))
        if (lost)
          return q.reject(lost)
`,
  },
];

function mend(name, edits) {
  const file = fileURLToPath(new URL(name, entry));
  const source = readFileSync(file, 'utf8');
  const wanted = edits.filter(({ to }) => !source.includes(to));
  if (wanted.length === 0) return;
  if (version !== PATCHED_VERSION || wanted.some(({ from }) => source.split(from).length !== 2)) {
    console.error(
      `bin/patch-postgres.mjs knows postgres ${PATCHED_VERSION}; ${version} is installed. See whether it still needs the patch.`,
    );
    process.exit(1);
  }
  writeFileSync(
    file,
    wanted.reduce((text, { from, to }) => text.replace(from, () => to), source),
  );
}

mend('./connection.js', [...CONNECTION_EDITS, ...SILENCE_EDITS]);
mend('./index.js', POOL_EDITS);
