import { describe, expect, test } from 'vitest';
import { readConfig } from './config.ts';
import { OperatorError } from './errors.ts';
import { parseCurrency } from './money.ts';

const EUR = parseCurrency('EUR')!;
const JPY = parseCurrency('JPY')!;

function read(document: object, environment: Readonly<Record<string, string>> = {}) {
  return readConfig({
    env: 'development',
    document,
    origin: 'paygate.toml',
    environment,
    readSecret: (path) => `content of ${path}\n`,
    readRules: (path) => {
      throw new Error(`no rules in ${path}`);
    },
    readText: () => '2026-12-24 a day off\n\n2026-12-31,another\n',
  });
}

function faultsOf(document: object): string {
  try {
    read(document);
  } catch (error) {
    if (error instanceof OperatorError && error.code === 'config_invalid') return error.message;
    throw error;
  }
  return '';
}

const STRIPE = { psp: 'stripe' };
const ADYEN = { psp: 'adyen', merchant_account: 'MarketplaceEU' };
const PSPS = { psp: { stripe_main: STRIPE, adyen_eu: ADYEN }, default_psp_account: 'stripe_main' };

describe('a PSP account', () => {
  test('at Adyen has a merchant account, and what payouts and the live environment need', () => {
    const whole = { ...ADYEN, balance_account_id: 'BA1', live_url_prefix: '1797a841fbb37ca7-Market' };
    const document = { psp: { adyen_eu: { ...whole, api_key_file: 'key', base_url: 'http://127.0.0.1:1' } } };
    expect(read(document).pspAccounts).toEqual([
      {
        name: 'adyen_eu',
        psp: 'adyen',
        apiKey: 'content of key',
        baseUrl: 'http://127.0.0.1:1',
        maxConcurrent: 32,
        timeoutMs: 30_000,
        merchantAccount: 'MarketplaceEU',
        balanceAccountId: 'BA1',
        liveUrlPrefix: '1797a841fbb37ca7-Market',
      },
    ]);
    expect(read({ psp: { adyen_eu: ADYEN } }).pspAccounts).toMatchObject([
      { balanceAccountId: null, liveUrlPrefix: null },
    ]);
  });

  test.each<[object, string]>([
    [{ psp: 'adyen' }, 'psp.adyen_eu.merchant_account'],
    [{ ...ADYEN, balance_account_id: '1' }, 'starts with BA'],
    [{ ...ADYEN, live_url_prefix: 'https://x' }, 'give the prefix alone'],
    [{ ...STRIPE, merchant_account: 'x' }, 'merchant_account'],
    [{ psp: 'nobody' }, 'psp.adyen_eu.psp: must be "stripe" or "adyen"'],
    [{ ...STRIPE, timeout: 3 }, 'psp.adyen_eu.timeout: is not a setting here'],
    [
      { ...STRIPE, api_key: 'sk_1' },
      'psp.adyen_eu.api_key: secrets stand in files of their own: write api_key_file',
    ],
  ])('%j is refused by name', (account, fault) => {
    expect(faultsOf({ psp: { adyen_eu: account } })).toContain(fault);
  });

  test('takes its key from the environment before the file', () => {
    const config = read({ psp: { main: STRIPE } }, { PAYGATE_PSP_MAIN_API_KEY: 'sk_test_env' });
    expect(config.pspAccounts).toMatchObject([{ apiKey: 'sk_test_env' }]);
  });

  test('takes webhooks only where there is a secret for them, and the environment comes first', () => {
    expect(read({ psp: { main: STRIPE } }).webhookSecrets.size).toBe(0);
    const psp = { main: { ...STRIPE, webhook_secret_file: 'webhook.secret' } };
    expect(read({ psp }).webhookSecrets.size).toBe(1);
    const config = read({ psp }, { PAYGATE_PSP_MAIN_WEBHOOK_SECRET: ' whsec_env\n' });
    expect(config.webhookSecrets.get('main')).toBe('whsec_env');
  });
});

describe('disputes', () => {
  test('that are lost take the platform’s fee, unless the file says that it is written off', () => {
    expect(read(PSPS).disputes).toEqual({ lostFee: 'platform_fees' });
    expect(read({ ...PSPS, disputes: { lost_fee: 'write_off' } }).disputes).toEqual({ lostFee: 'write_off' });
    expect(faultsOf({ ...PSPS, disputes: { lost_fee: 'suspense' } })).toContain('disputes.lost_fee');
  });
});

describe('routing', () => {
  test('without rules everything goes to the default account', () => {
    expect(read(PSPS).accept?.route).toMatchObject({ rules: [], fallback: { name: 'stripe_main' } });
  });

  test('rules keep their order; amounts are read in each of their currencies', () => {
    const routing = [
      { account: 'adyen_eu', currencies: ['EUR', 'JPY'], min_amount: '10', max_amount: '500', share: 30 },
      { account: 'stripe_main', sellers: ['a', 'b'] },
    ];
    const rules = read({ ...PSPS, routing }).accept?.route.rules;
    expect(rules).toMatchObject([
      { account: { name: 'adyen_eu', merchantAccount: 'MarketplaceEU' }, sellers: null, share: 30 },
      { account: { name: 'stripe_main' }, sellers: new Set(['a', 'b']), currencies: null, share: 100 },
    ]);
    expect(rules?.[0]?.currencies).toEqual(
      new Map([
        [EUR, { minMinor: 1_000n, maxMinor: 50_000n }],
        [JPY, { minMinor: 10n, maxMinor: 500n }],
      ]),
    );
  });

  test('a rule may name where a soft decline is tried next; by itself none does', () => {
    const routing = [{ account: 'adyen_eu', on_soft_decline: ['stripe_main'] }, { account: 'stripe_main' }];
    const rules = read({ ...PSPS, routing }).accept?.route.rules;
    expect(rules?.[0]?.onSoftDecline).toMatchObject([{ name: 'stripe_main', psp: 'stripe' }]);
    expect(rules?.[1]).not.toHaveProperty('onSoftDecline');
  });

  test('a currency without amounts is open at both ends', () => {
    const rules = read({ ...PSPS, routing: [{ account: 'adyen_eu', currencies: ['EUR'] }] }).accept?.route
      .rules;
    expect(rules?.[0]?.currencies).toEqual(new Map([[EUR, { minMinor: null, maxMinor: null }]]));
  });

  test.each<[object, string]>([
    [{ account: 'nobody' }, 'routing.0.account: there is no [psp.nobody]'],
    [{ account: 'adyen_eu', currencies: ['XXX'] }, 'XXX is not an ISO 4217 currency'],
    [{ account: 'adyen_eu', currencies: [] }, 'routing.0.currencies'],
    [{ account: 'adyen_eu', min_amount: '1' }, 'name it in currencies'],
    [{ account: 'adyen_eu', currencies: ['JPY'], min_amount: '1.5' }, 'has 1 decimals'],
    [
      { account: 'adyen_eu', currencies: ['EUR'], min_amount: '2', max_amount: '1' },
      'max_amount is less than min_amount',
    ],
    [{ account: 'adyen_eu', share: 0 }, 'routing.0.share'],
    [{ account: 'adyen_eu', share: 33.3 }, 'routing.0.share'],
    [{ account: 'adyen_eu', weight: 3 }, 'weight'],
    [{ account: 'adyen_eu', on_soft_decline: ['nobody'] }, 'on_soft_decline: there is no [psp.nobody]'],
    [{ account: 'adyen_eu', on_soft_decline: ['adyen_eu'] }, 'each account is tried once'],
    [{ account: 'adyen_eu', on_soft_decline: ['stripe_main', 'stripe_main'] }, 'each account is tried once'],
    [{ account: 'adyen_eu', on_soft_decline: [] }, 'routing.0.on_soft_decline'],
  ])('%j is refused', (rule, fault) => {
    expect(faultsOf({ ...PSPS, routing: [rule] })).toContain(fault);
  });
});

test('a buyer has a day to finish, or as long as is said, up to three days', () => {
  expect(read({}).customerLimitMs).toBe(86_400_000);
  expect(read({ payments: { customer_minutes: 5 } }).customerLimitMs).toBe(300_000);
  for (const customer_minutes of [4, 4_321, 10.5]) {
    expect(faultsOf({ payments: { customer_minutes } })).toContain('payments.customer_minutes');
  }
});

describe('a share is released', () => {
  const days = (release: object) => read({ ...PSPS, release }).accept!.releaseAfterDays;

  test('at capture, after days, or at settlement', () => {
    expect([
      days({}),
      days({ at: 'capture' }),
      days({ after_days: 3 }),
      days({ at: 'days', after_days: 3 }),
    ]).toEqual([null, null, 3, 3]);
    expect(days({ at: 'settlement' })).toBe(0);
  });

  test('not in two ways at once', () => {
    expect(faultsOf({ ...PSPS, release: { at: 'settlement', after_days: 3 } })).toContain(
      'release.after_days',
    );
    expect(faultsOf({ ...PSPS, release: { at: 'days' } })).toContain('say how many days');
  });
});

describe('reconciliation', () => {
  test('settles an account as it says, and otherwise in two days with one of grace', () => {
    const said = {
      time_zone: 'America/New_York',
      cut_off: '17:30',
      settle_days: 3,
      holidays: ['2026-12-25'],
      holidays_file: 'days',
      bank: 'first',
    };
    const { settlement } = read({ reconcile: { accounts: { main: said }, write_off_limit: { EUR: '50' } } });
    expect(settlement.accounts.get('main')).toEqual({
      timeZone: 'America/New_York',
      cutOffMinute: 1_050,
      settleDays: 3,
      graceDays: 1,
      holidays: new Set(['2026-12-25', '2026-12-24', '2026-12-31']),
      bank: 'first',
      fees: new Map(),
    });
    expect(settlement.writeOffLimits).toEqual(new Map([[EUR, 5_000n]]));
    expect(read({}).settlement).toEqual({
      accounts: new Map(),
      writeOffLimits: new Map(),
      disputes: { lostFee: 'platform_fees' },
    });
  });

  test.each([
    [{ time_zone: 'Mars/Olympus' }, 'is no time zone'],
    [{ cut_off: '25:00' }, 'is no time like'],
    [{ holidays: ['25.12.2026'] }, 'is no day like'],
    [{ bank: 'First Bank' }, 'a bank is named'],
  ])('refuses %j', (account, message) => {
    expect(faultsOf({ reconcile: { accounts: { main: account } } })).toContain(message);
  });
});
