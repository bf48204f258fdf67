/** The demo's configuration and its risk rules, written into its folder. Runs nothing. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The demo's PSP gives up after this long (ms). */
const PSP_TIMEOUT_MS = 1_500;

const RULES = `name = "demo rules 1"
review_timeout = "24h"

[[rules]]
id = "large"
kind = "amount"
max = { EUR = "5000.00" }
action = "review"
`;

/** Returns the path of the configuration. */
export async function writeSettings(folder: string, name: string, sandboxUrl: string): Promise<string> {
  const keyPath = join(folder, 'sandbox.key');
  // The sandbox takes every test key; this one opens nothing else.
  await writeFile(keyPath, 'sk_test_demo\n', { mode: 0o600 });
  await writeFile(join(folder, 'risk.toml'), RULES, { mode: 0o600 });
  const path = join(folder, 'paygate.toml');
  const lines = [
    '# Made by `paygate demo`; the book is a schema of its own in the embedded Postgres.',
    '[database]',
    `book = "demo_${name}"`,
    '',
    '[psp.sandbox]',
    'psp = "stripe"',
    `base_url = "${sandboxUrl}"`,
    `api_key_file = ${JSON.stringify(keyPath)}`,
    `timeout_ms = ${PSP_TIMEOUT_MS}`,
    '',
    '[fees.EUR]',
    'bps = 250',
    'fixed = "0.25"',
    '',
    '[payments]',
    'on_partial = "refund"',
    '',
    '[risk]',
    'rules_file = "risk.toml"',
    '[risk.max_payment]',
    'EUR = "50000"',
    '',
  ];
  await writeFile(path, lines.join('\n'), { mode: 0o600 });
  return path;
}
