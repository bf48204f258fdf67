/**
 * What the sandbox can be told while it runs, with its defaults and its checks. No effects.
 */
import { z } from 'zod';
import { FAULT_NAMES, type FaultRates } from './faults.ts';
import { FAILURE_NAMES, type FailureName } from './test-cards.ts';
import { WEBHOOK_FAULT_NAMES, type WebhookFaultRates } from './webhook-faults.ts';

/**
 * Times in milliseconds unless the name says otherwise.
 * @property rates chances of seeded faults for POSTs that carry an idempotency key
 * @property getRates the same for GETs, drawn by address
 * @property maxFaultsPerKey seeded faults stop after so many on one key; queued ones do not count
 * @property latencyMs how long each execution takes; the key is in use meanwhile
 * @property hangMs of hang_then_act; longer than the SDK's own time-out of 80 s
 * @property webhookUrl where events are sent; null sends none
 * @property webhookTargets `loopback` refuses every other address: nothing leaves the machine by mistake
 * @property webhookDelayMs from the change to the first try, so that the answer to the call usually comes first
 * @property webhookReorderMs how much later a reordered event comes
 * @property webhookRetryMs pause after the first try that failed; doubles
 */
export interface Settings {
  readonly seed: number;
  readonly rates: FaultRates;
  readonly getRates: FaultRates;
  readonly maxFaultsPerKey: number;
  readonly latencyMs: number;
  readonly hangMs: number;
  readonly slowMs: number;
  readonly dripMs: number;
  readonly pendingMs: number;
  readonly retryAfterS: number;
  readonly decline: FailureName;
  readonly webhookUrl: string | null;
  readonly webhookSecret: string;
  readonly webhookTargets: 'loopback' | 'any';
  readonly webhookRates: WebhookFaultRates;
  readonly webhookDelayMs: number;
  readonly webhookReorderMs: number;
  readonly webhookRetryMs: number;
}

export const DEFAULT_SETTINGS: Settings = {
  seed: 0,
  rates: {},
  getRates: {},
  maxFaultsPerKey: 3,
  latencyMs: 0,
  hangMs: 100_000,
  slowMs: 2_000,
  dripMs: 200,
  pendingMs: 5_000,
  retryAfterS: 1,
  decline: 'generic_decline',
  webhookUrl: null,
  webhookSecret: 'whsec_sandbox',
  webhookTargets: 'loopback',
  webhookRates: {},
  webhookDelayMs: 50,
  webhookReorderMs: 500,
  webhookRetryMs: 500,
};

const DAY_MS = 24 * 60 * 60 * 1000;
const milliseconds = z.int().min(0).max(DAY_MS);

const TOO_MUCH = { message: 'the rates add up to more than 1' };

/** Chances per fault; refused when they add up to more than 1. */
const chance = z.number().min(0).max(1);
const ratesSchema = z.partialRecord(z.enum(FAULT_NAMES), chance).refine(addUp, TOO_MUCH);
const webhookRatesSchema = z.partialRecord(z.enum(WEBHOOK_FAULT_NAMES), chance).refine(addUp, TOO_MUCH);

function addUp(rates: Readonly<Record<string, number | undefined>>): boolean {
  return Object.values(rates).reduce<number>((sum, rate) => sum + (rate ?? 0), 0) <= 1 + 1e-9;
}

/** The admin's JSON for changing settings: every field may be left out, none may be unknown. */
export const settingsSchema = z.strictObject({
  seed: z.int().optional(),
  rates: ratesSchema.optional(),
  get_rates: ratesSchema.optional(),
  max_faults_per_key: z.int().min(0).optional(),
  latency_ms: milliseconds.optional(),
  hang_ms: milliseconds.optional(),
  slow_ms: milliseconds.optional(),
  drip_ms: milliseconds.optional(),
  pending_ms: milliseconds.optional(),
  retry_after_s: z.int().min(0).max(3600).optional(),
  decline: z.enum(FAILURE_NAMES).optional(),
  webhook_url: z
    .url({ protocol: /^https?$/ })
    .nullable()
    .optional(),
  webhook_secret: z.string().min(1).max(200).optional(),
  webhook_targets: z.enum(['loopback', 'any']).optional(),
  webhook_rates: webhookRatesSchema.optional(),
  webhook_delay_ms: milliseconds.optional(),
  webhook_reorder_ms: milliseconds.optional(),
  webhook_retry_ms: milliseconds.optional(),
});

export type SettingsPatch = z.infer<typeof settingsSchema>;

/** The settings with the patch's fields in place; `rates` are replaced as a whole. */
export function applyPatch(settings: Settings, patch: SettingsPatch): Settings {
  return {
    seed: patch.seed ?? settings.seed,
    rates: patch.rates ?? settings.rates,
    getRates: patch.get_rates ?? settings.getRates,
    maxFaultsPerKey: patch.max_faults_per_key ?? settings.maxFaultsPerKey,
    latencyMs: patch.latency_ms ?? settings.latencyMs,
    hangMs: patch.hang_ms ?? settings.hangMs,
    slowMs: patch.slow_ms ?? settings.slowMs,
    dripMs: patch.drip_ms ?? settings.dripMs,
    pendingMs: patch.pending_ms ?? settings.pendingMs,
    retryAfterS: patch.retry_after_s ?? settings.retryAfterS,
    decline: patch.decline ?? settings.decline,
    webhookUrl: patch.webhook_url === undefined ? settings.webhookUrl : patch.webhook_url,
    webhookSecret: patch.webhook_secret ?? settings.webhookSecret,
    webhookTargets: patch.webhook_targets ?? settings.webhookTargets,
    webhookRates: patch.webhook_rates ?? settings.webhookRates,
    webhookDelayMs: patch.webhook_delay_ms ?? settings.webhookDelayMs,
    webhookReorderMs: patch.webhook_reorder_ms ?? settings.webhookReorderMs,
    webhookRetryMs: patch.webhook_retry_ms ?? settings.webhookRetryMs,
  };
}

/** 127.0.0.0/8, ::1 and the name for them. */
const LOOPBACK = /^(127(\.\d{1,3}){3}|\[::1\]|localhost)$/;

/** What is wrong with settings that are each right by themselves; null when nothing. */
export function findSettingsFault({ webhookUrl, webhookTargets }: Settings): string | null {
  if (webhookUrl === null || webhookTargets === 'any') return null;
  if (LOOPBACK.test(new URL(webhookUrl).hostname)) return null;
  return 'webhook_url is not on this machine; say webhook_targets "any" if you mean it';
}

/** The settings under the names the admin API uses. */
export function describeSettings(settings: Settings): Record<string, unknown> {
  return {
    seed: settings.seed,
    rates: settings.rates,
    get_rates: settings.getRates,
    max_faults_per_key: settings.maxFaultsPerKey,
    latency_ms: settings.latencyMs,
    hang_ms: settings.hangMs,
    slow_ms: settings.slowMs,
    drip_ms: settings.dripMs,
    pending_ms: settings.pendingMs,
    retry_after_s: settings.retryAfterS,
    decline: settings.decline,
    webhook_url: settings.webhookUrl,
    webhook_secret: settings.webhookSecret,
    webhook_targets: settings.webhookTargets,
    webhook_rates: settings.webhookRates,
    webhook_delay_ms: settings.webhookDelayMs,
    webhook_reorder_ms: settings.webhookReorderMs,
    webhook_retry_ms: settings.webhookRetryMs,
  };
}
