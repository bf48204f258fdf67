import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { OperatorError } from '../errors.ts';
import { parseDatabaseUrl, redactDatabaseUrl } from './database-url.ts';

const understood: [string, Record<string, unknown>][] = [
  [
    'postgres://shop:secret@db.example:6432/books?sslmode=require&application_name=pay%20gate',
    {
      host: 'db.example',
      port: 6432,
      user: 'shop',
      password: 'secret',
      database: 'books',
      ssl: 'require',
      connection: { application_name: 'pay gate' },
    },
  ],
  ['postgresql://u@h', { host: 'h', port: 5432, user: 'u', database: 'u', ssl: 'prefer' }],
  ['POSTGRES://u@h/d', { host: 'h', port: 5432, user: 'u', database: 'd', ssl: 'prefer' }],
  ['postgres://u@h:/d', { host: 'h', port: 5432, user: 'u', database: 'd', ssl: 'prefer' }],
  ['postgres://', { host: '/var/run/postgresql', port: 5432, user: 'me', database: 'me', ssl: false }],
  ['postgres:///d', { host: '/var/run/postgresql', port: 5432, user: 'me', database: 'd', ssl: false }],
  [
    'postgres://u:p%40%2F%3A%25+%C3%A9@h/my%20books',
    { host: 'h', port: 5432, user: 'u', password: 'p@/:%+é', database: 'my books', ssl: 'prefer' },
  ],
  [
    'postgres://u:a:b@h/d',
    { host: 'h', port: 5432, user: 'u', password: 'a:b', database: 'd', ssl: 'prefer' },
  ],
  [
    'postgres://u:pw@host:5432/db?host=/socket/dir&sslmode=require',
    { host: '/socket/dir', port: 5432, user: 'u', password: 'pw', database: 'db', ssl: false },
  ],
  [
    'postgres:///d?host=/tmp/my%20sockets/&port=5433&user=x&password=p%26q',
    { host: '/tmp/my sockets', port: 5433, user: 'x', password: 'p&q', database: 'd', ssl: false },
  ],
  ['postgres://u@%2Ftmp%2Fs:5433/d', { host: '/tmp/s', port: 5433, user: 'u', database: 'd', ssl: false }],
  ['postgres://u@[::1]:5433/d', { host: ['::1'], port: [5433], user: 'u', database: 'd', ssl: 'prefer' }],
  [
    'postgres://u@a:1,b,c:3/d?target_session_attrs=read-write',
    {
      host: ['a', 'b', 'c'],
      port: [1, 5432, 3],
      user: 'u',
      database: 'd',
      ssl: 'prefer',
      target_session_attrs: 'read-write',
    },
  ],
  [
    'postgres://u@h/d?connect_timeout=7&sslmode=disable&options=-c%20geqo%3Doff&target_session_attrs=any',
    {
      host: 'h',
      port: 5432,
      user: 'u',
      database: 'd',
      ssl: false,
      connect_timeout: 7,
      connection: { options: '-c geqo=off' },
    },
  ],
  ['host=/tmp port=5433 dbname=x user=y', { host: '/tmp', port: 5433, user: 'y', database: 'x', ssl: false }],
  [
    "  host = h  user='a b' password='it\\'s \\\\ me' dbname=x\\ y sslmode=verify-full ",
    { host: 'h', port: 5432, user: 'a b', password: "it's \\ me", database: 'x y', ssl: 'verify-full' },
  ],
  ["host=h password='' user=", { host: 'h', port: 5432, user: 'me', database: 'me', ssl: 'prefer' }],
  [
    'host=a,b port=6000 dbname=d user=u',
    { host: ['a', 'b'], port: [6000, 6000], user: 'u', database: 'd', ssl: 'prefer' },
  ],
  ['host=fe80::1 user=u', { host: ['fe80::1'], port: [5432], user: 'u', database: 'u', ssl: 'prefer' }],
];

describe('parseDatabaseUrl', () => {
  test.each(understood)('understands %s', (text, expected) => {
    expect(parseDatabaseUrl(text, { user: 'me' })).toEqual(expected);
  });

  test('verify-ca trusts the authority and not the name', () => {
    const { ssl } = parseDatabaseUrl('postgres://u@h/d?sslmode=verify-ca');
    expect(ssl).toEqual({ checkServerIdentity: expect.any(Function) });
  });

  test('needs a user from somewhere', () => {
    expect(() => parseDatabaseUrl('postgres://h/d')).toThrow(/names no user/);
  });
});

const SECRET = 'hunter2';
const refused: [string, RegExp][] = [
  ['', /empty/],
  ['paygate', /neither a URL/],
  ['mysql://u@h/d', /must begin with postgres/],
  ['postgres://u@h/d\nx', /line break/],
  [`postgres://u:${SECRET}@x@h/d`, /%40/],
  [`postgres://u:x@${SECRET}/x@h/d`, /%40/],
  [`postgres://u:x/${SECRET}@h/d`, /%2F/],
  [`postgres://u:x?${SECRET}@h/d`, /%3F/],
  [`postgres://u:x#${SECRET}@h/d`, /%23/],
  [`postgres://u:x?${SECRET}=1&y@h/d`, /%3F/],
  [`postgres://u:p@h/d?${SECRET}=1`, /setting 1 is not known/],
  [`postgres://u:p@h/d?${SECRET}`, /parameter 1/],
  [`postgres://u:%${SECRET}@h/d`, /password is wrongly percent-encoded/],
  [`postgres://u:${SECRET}%00@h/d`, /password is wrongly percent-encoded/],
  [`postgres://u:${SECRET}`, /can't be told apart/],
  [`postgres://u:p@h:${SECRET}/d`, /can't be told apart/],
  ['postgres://u@::1/d', /brackets/],
  ['postgres://u@h:0/d', /1 to 65535/],
  ['postgres://u@h:70000/d', /1 to 65535/],
  ['postgres://u@h/a/b', /too many/],
  ['postgres://u@a,b/d?port=1,2,3', /number of ports/],
  ['postgres://u@a,,b/d', /each must have a name/],
  ['postgres://u@h/d?sslmode=maybe', /sslmode must be/],
  ['postgres://u@h/d?connect_timeout=soon', /number of seconds/],
  ['postgres://u@h/d?target_session_attrs=rw', /target_session_attrs must be/],
  ['postgres://u@h/d?sslrootcert=/ca.pem', /NODE_EXTRA_CA_CERTS/],
  ['host=@abstract user=u', /abstract/],
  [`host=h password=two ${SECRET}`, /setting 3/],
  [`host=h password='${SECRET}`, /setting 2/],
  [`host=h password=x ${SECRET}=y`, /setting 3 is not known/],
];

describe('what is not understood', () => {
  test.each(refused)('%j is refused without repeating any of it', (text, reason) => {
    let thrown: unknown;
    try {
      parseDatabaseUrl(text, { user: 'me' });
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(OperatorError);
    expect(thrown).toMatchObject({ code: 'database_url_invalid', kind: 'usage' });
    expect((thrown as Error).message).toMatch(reason);
    expect(inspect(thrown, { depth: 9 }).replace(/\n {4}at .*/g, '')).not.toContain(SECRET);
  });
});

describe('redactDatabaseUrl', () => {
  test.each([
    [`postgres://u:${SECRET}@h:1/d?sslmode=require`, 'postgres://u:***@h:1/d?sslmode=require'],
    [`postgres://u:${SECRET}@h/d?application_name=a@b`, 'postgres://u:***@h/d?application_name=a@b'],
    ['postgres://u@[::1]:1/d', 'postgres://u@[::1]:1/d'],
    [`postgres:///d?user=u&password=${SECRET}&port=1`, 'postgres:///d?user=u&password=***&port=1'],
    [`postgres:///d?p%61ssword=${SECRET}`, 'postgres:///d?p%61ssword=***'],
    [`host=h password=${SECRET} user=u`, 'host=h password=*** user=u'],
    [`host=h password = 'it\\'s ${SECRET}' user=u`, 'host=h password = *** user=u'],
    ['host=h user=u', 'host=h user=u'],
  ])('%s', (text, expected) => {
    expect(redactDatabaseUrl(text)).toBe(expected);
  });

  // What stands after the last "@" in a port's place is shown: it can't be a password.
  const maybeSecret = refused.filter(([text]) => !text.includes(`@h:${SECRET}`));
  test.each(maybeSecret)('hides the secret in what can not be parsed: %j', (text) => {
    expect(redactDatabaseUrl(text)).not.toContain(SECRET);
  });
});
