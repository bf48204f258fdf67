import { errorCodes } from 'fastify';
import { describe, expect, it } from 'vitest';
import { TransientError } from '../../core/errors.ts';
import { parserProblem, problemOf, renderProblem } from './problem.ts';

function coded(code: string, statusCode?: number): Error {
  return Object.assign(new Error('secret'), { code, ...(statusCode === undefined ? {} : { statusCode }) });
}

describe('problemOf', () => {
  it.each([
    ['FST_ERR_CTP_INVALID_JSON_BODY', 'invalid_json'],
    ['FST_ERR_CTP_EMPTY_JSON_BODY', 'invalid_json'],
    ['FST_ERR_CTP_INVALID_MEDIA_TYPE', 'unsupported_media_type'],
    ['FST_ERR_CTP_BODY_TOO_LARGE', 'body_too_large'],
    ['FST_ERR_CTP_INVALID_CONTENT_LENGTH', 'invalid_http'],
    ['FST_ERR_BAD_URL', 'invalid_url'],
    ['FST_ERR_MAX_PARAM_LENGTH', 'not_found'],
    ['FST_ERR_NOT_FOUND', 'not_found'],
    ['FST_ERR_VALIDATION', 'invalid_http'],
    ['FST_ERR_REP_INVALID_PAYLOAD_TYPE', undefined],
  ] as const)('knows %s of fastify', (name, code) => {
    expect(problemOf(new errorCodes[name](), 'writes')?.code).toBe(code);
  });

  it.each([
    'ECONNREFUSED',
    'CONNECTION_CLOSED',
    'CONNECT_TIMEOUT',
    '57P01',
    '53100',
    '53300',
    '28P01',
    '3D000',
  ])('calls %s an unavailable database, and says what to do', (code) => {
    const problem = problemOf(coded(code), 'writes');
    expect(problem).toMatchObject({ code: 'database_unavailable', retryAfterS: 2 });
    expect(problem?.detail).toContain('same idempotency key');
    expect(problemOf(coded(code), 'reads')?.detail).not.toContain('idempotency key');
  });

  it.each(['40P01', '40001', '55P03', '25006', '57014'])('lets %s be tried again', (code) => {
    expect(problemOf(coded(code), 'writes')?.code).toBe('database_unavailable');
  });

  it('lets what was too slow be tried again', () => {
    expect(problemOf(new TransientError('database_timeout', 'slow'), 'reads')?.code).toBe(
      'database_unavailable',
    );
  });

  it('does not blame the database for a caller who hung up', () => {
    expect(problemOf(coded('ECONNRESET', 400), 'writes')?.code).toBe('invalid_http');
  });

  it.each([coded('23505'), coded('22P02'), new Error('x'), null, 'text', coded('X', 500)])(
    'leaves our own mistakes to the caller: %s',
    (error) => {
      expect(problemOf(error, 'writes')).toBeNull();
    },
  );
});

describe('renderProblem', () => {
  it('is a problem document that names no more than it must', () => {
    const { status, headers, body } = renderProblem({
      code: 'request_in_progress',
      detail: 'Wait.',
      retryAfterS: 2,
    });
    expect(status).toBe(409);
    expect(headers).toEqual({
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      'retry-after': '2',
    });
    expect(JSON.parse(body)).toEqual({
      type: 'urn:paygate:problem:request_in_progress',
      title: 'The first request with this key is still being worked on',
      status: 409,
      detail: 'Wait.',
      code: 'request_in_progress',
    });
  });
});

describe('parserProblem', () => {
  it.each([
    ['HPE_HEADER_OVERFLOW', 'headers_too_large'],
    ['ERR_HTTP_REQUEST_TIMEOUT', 'request_timeout'],
    ['HPE_INVALID_METHOD', 'invalid_http'],
  ])('knows %s', (code, expected) => {
    expect(parserProblem(coded(code)).code).toBe(expected);
  });
});
