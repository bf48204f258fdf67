import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createTestHost } from '../testing/cli-host.ts';
import { execute } from './main.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'paygate-cli-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, text: string, mode = 0o600): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

async function show(args: readonly string[] = [], env: Readonly<Record<string, string>> = {}) {
  const { host, out, err } = createTestHost({ cwd: folder, env });
  const code = await execute(['config', 'show', '--origin', '-o', 'json', ...args], host);
  if (code !== 0)
    return { code, error: (JSON.parse(err()) as { error: { code: string; message: string } }).error };
  const shown = JSON.parse(out()) as {
    file: string | null;
    settings: { name: string; value: string; origin: string }[];
  };
  const value = (name: string) => shown.settings.find((setting) => setting.name === name);
  return { code, file: shown.file, value, text: out() };
}

describe('which file counts', () => {
  test('none is fine', async () => {
    expect((await show()).file).toBeNull();
  });

  test('--config before PAYGATE_CONFIG before ./paygate.toml before the user’s own', async () => {
    const flag = write('flag.toml', '');
    const variable = write('variable.toml', '');
    mkdirSync(join(folder, 'xdg', 'paygate'), { recursive: true });
    const own = write('xdg/paygate/config.toml', '');
    const env = { XDG_CONFIG_HOME: join(folder, 'xdg') };
    expect((await show([], env)).file).toBe(own);
    const here = write('paygate.toml', '');
    expect((await show([], env)).file).toBe(here);
    expect((await show([], { ...env, PAYGATE_CONFIG: variable })).file).toBe(variable);
    expect((await show(['--config', 'flag.toml'], { ...env, PAYGATE_CONFIG: variable })).file).toBe(flag);
  });

  test('a named file that is not there is an error', async () => {
    expect(await show(['--config', 'nope.toml'])).toMatchObject({
      code: 2,
      error: { code: 'config_not_found' },
    });
  });
});

describe('what is wrong in the file is said', () => {
  test('not TOML: line and column, and nothing of the text, which may be a secret', async () => {
    write('paygate.toml', '[database]\nurl = "postgres://u:sesame@h/d\n');
    const { code, error } = await show();
    expect(code).toBe(2);
    expect(error?.message).toMatch(/paygate\.toml, line 2, column \d+/);
    expect(error?.message).not.toContain('sesame');
  });

  test('an unknown setting is named', async () => {
    write('paygate.toml', '[database]\nbok = "x"\n');
    const { error } = await show();
    expect(error?.code).toBe('config_invalid');
    expect(error?.message).toContain('bok');
  });

  test('an environment that is not known', async () => {
    expect(await show([], { PAYGATE_ENV: 'prod' })).toMatchObject({
      code: 2,
      error: { code: 'env_unknown' },
    });
  });
});

describe('secrets', () => {
  const ACCOUNT = '[psp.main]\npsp = "stripe"\napi_key_file = "key"\n';

  test('a key file lies beside the configuration and is never shown', async () => {
    write('paygate.toml', ACCOUNT, 0o644);
    write('key', 'sk_test_sesame\n');
    const { value, text } = await show();
    expect(value?.('psp.main.api_key')?.value).toBe('(set)');
    expect(text).not.toContain('sesame');
  });

  test.each([0o640, 0o604, 0o644, 0o620])('a key file with mode %o is refused', async (mode) => {
    write('paygate.toml', ACCOUNT);
    write('key', 'sk_test_sesame', mode);
    expect(await show()).toMatchObject({ code: 2, error: { code: 'secret_exposed' } });
  });

  test('a key file that is missing is named', async () => {
    write('paygate.toml', ACCOUNT);
    const { error } = await show();
    expect(error?.code).toBe('secret_unreadable');
    expect(error?.message).toContain(join(folder, 'key'));
  });

  test('systemd’s credential directory is looked in, whatever its modes', async () => {
    write('paygate.toml', ACCOUNT);
    mkdirSync(join(folder, 'credentials'));
    write('credentials/key', 'sk_test_sesame', 0o440);
    const { value } = await show([], { CREDENTIALS_DIRECTORY: join(folder, 'credentials') });
    expect(value?.('psp.main.api_key')?.value).toBe('(set)');
  });

  test('a database password in a file that others can read is refused', async () => {
    write('paygate.toml', '[database]\nurl = "postgres://u:sesame@h/d"\n', 0o644);
    expect(await show()).toMatchObject({ code: 2, error: { code: 'config_exposed' } });
    write('paygate.toml', '[database]\nurl = "postgres://u:sesame@h/d"\n', 0o600);
    const { value } = await show();
    expect(value?.('database.url')).toEqual({
      name: 'database.url',
      value: 'postgres://u:***@h/d',
      origin: join(folder, 'paygate.toml'),
    });
  });

  test('PAYGATE_DATABASE_URL_FILE names a secret file', async () => {
    write('url', 'postgres://u:sesame@h/d\n');
    const { value, text } = await show([], { PAYGATE_DATABASE_URL_FILE: 'url' });
    expect(value?.('database.url')).toMatchObject({
      value: 'postgres://u:***@h/d',
      origin: '$PAYGATE_DATABASE_URL_FILE',
    });
    expect(text).not.toContain('sesame');
    const both = await show([], {
      PAYGATE_DATABASE_URL_FILE: 'url',
      PAYGATE_DATABASE_URL: 'postgres://u@h/d',
    });
    expect(both).toMatchObject({ code: 2, error: { code: 'config_invalid' } });
  });
});

test('production refuses the embedded database', async () => {
  for (const args of [
    ['payments', 'list'],
    ['db', 'start'],
    ['db', 'status'],
    ['db', 'url'],
  ]) {
    const { host, err } = createTestHost({ cwd: folder });
    expect(await execute(['--env', 'production', '-o', 'json', ...args], host)).toBe(2);
    expect(JSON.parse(err())).toMatchObject({ error: { code: 'embedded_in_production' } });
  }
});

test('a database that is not there: one message, exit code 3', async () => {
  const env = { PAYGATE_DATABASE_URL: `postgres://u@/d?host=${folder}` };
  const { host, err } = createTestHost({ cwd: folder, env });
  expect(await execute(['payments', 'list', '-o', 'json'], host)).toBe(3);
  expect(JSON.parse(err())).toMatchObject({ error: { code: 'database_unreachable', exit_code: 3 } });
});
