/**
 * Brings a book's schema to this version: numbered SQL files, each in one transaction, never edited once
 * applied (a checksum tells). Forward only.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import postgres from 'postgres';
import { Bug, OperatorError } from '../errors.ts';
import { asOperatorError, BOOK_NAME, type ConnectionOptions } from './connection.ts';

const MIGRATIONS_FOLDER = new URL('../../../src/core/db/migrations/', import.meta.url);
const FILE_NAME = /^(\d{4})_([a-z_]+)\.sql$/;
/** One process migrates at a time; the number is arbitrary and ours ("payg"). */
const ADVISORY_LOCK = 0x70617967;
const ROLE_NAME = /^[a-z_][a-z0-9_]{0,62}$/;

export type Migration = {
  readonly version: number;
  readonly name: string;
  readonly checksum: string;
  readonly text: string;
};

export type MigrateOptions = {
  /** Connects as the owner of the book. */
  readonly connection: ConnectionOptions;
  readonly book: string;
  /** The role that daemons and commands use; created without a password where it is missing. */
  readonly appRole: string;
};

export type MigrateResult = {
  readonly from: number;
  readonly to: number;
  readonly applied: readonly string[];
};

export async function readMigrations(): Promise<readonly Migration[]> {
  const names = (await readdir(MIGRATIONS_FOLDER)).filter((name) => name.endsWith('.sql')).sort();
  return Promise.all(
    names.map(async (file, index) => {
      const match = FILE_NAME.exec(file);
      if (match === null || Number(match[1]) !== index + 1)
        throw new Bug(`migration file ${file} is misnumbered`);
      const text = await readFile(new URL(file, MIGRATIONS_FOLDER), 'utf8');
      const checksum = createHash('sha256').update(text).digest('hex');
      return { version: index + 1, name: match[2]!, checksum, text };
    }),
  );
}

/**
 * Applies what is missing. Idempotent; several at once wait for each other.
 * @throws OperatorError database_newer, migration_edited, or as a connection fails
 */
export async function migrate(options: MigrateOptions): Promise<MigrateResult> {
  if (!BOOK_NAME.test(options.book)) {
    throw new OperatorError(
      'book_name_invalid',
      `"${options.book}" can't name a book: use a-z, 0-9, _; at most 40.`,
    );
  }
  if (!ROLE_NAME.test(options.appRole)) {
    throw new OperatorError(
      'role_name_invalid',
      `"${options.appRole}" can't name a role: use a-z, 0-9, _; at most 63.`,
    );
  }
  const sql = postgres({
    connect_timeout: 10,
    ...(options.connection as object),
    max: 1,
    onnotice: () => undefined,
  });
  try {
    await sql`select pg_advisory_lock(${ADVISORY_LOCK})`;
    return await applyMissing(sql, options);
  } catch (error) {
    throw asOperatorError(error, options);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

async function applyMissing(sql: postgres.Sql, options: MigrateOptions): Promise<MigrateResult> {
  await ensureRoleAndSchema(sql, options);
  const table = sql(`${options.book}.migration`);
  const done = await sql<{ version: number; checksum: string; name: string }[]>`
    select version, name, checksum from ${table} order by version`;
  const migrations = await readMigrations();
  const from = done.at(-1)?.version ?? 0;
  if (from > migrations.length) {
    throw new OperatorError(
      'database_newer',
      `The book's schema is version ${from}; this paygate knows ${migrations.length}. Use the newer paygate.`,
    );
  }
  for (const row of done) {
    if (migrations[row.version - 1]?.checksum !== row.checksum) {
      throw new OperatorError(
        'migration_edited',
        `Migration ${row.version} (${row.name}) was changed after it had been applied. Install the released paygate.`,
      );
    }
  }
  const applied: string[] = [];
  for (const migration of migrations.slice(from)) {
    await sql.begin(async (tx) => {
      await tx.unsafe(`set local search_path to "${options.book}", pg_temp`);
      await tx.unsafe(
        migration.text
          .replaceAll('{{book}}', `"${options.book}"`)
          .replaceAll('{{app_role}}', `"${options.appRole}"`),
      );
      await tx`insert into ${table} (version, name, checksum)
               values (${migration.version}, ${migration.name}, ${migration.checksum})`;
    });
    applied.push(migration.name);
  }
  return { from, to: migrations.length, applied };
}

async function ensureRoleAndSchema(sql: postgres.Sql, options: MigrateOptions): Promise<void> {
  const [role] = await sql`select 1 from pg_roles where rolname = ${options.appRole}`;
  if (role === undefined) await sql.unsafe(`create role "${options.appRole}" login`);
  await sql.unsafe(`create schema if not exists "${options.book}"`);
  await sql.unsafe(`create table if not exists "${options.book}".migration (
    version integer primary key, name text not null, checksum text not null,
    applied_at timestamptz not null default now())`);
}
