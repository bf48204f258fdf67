/**
 * Reads named parameters out of a parsed form and remembers what was asked for, so that whatever is left
 * is an unknown parameter. The first complaint wins; unknown parameters come before all others.
 */
import type { FormMap, FormValue } from './form.ts';
import {
  invalidRequest,
  missingParameter,
  notModelled,
  type StripeError,
  unknownParameters,
} from './stripe-errors.ts';

/** Stripe's limits for metadata. Source: https://docs.stripe.com/api/metadata */
const METADATA_MAX_KEYS = 50;
const METADATA_MAX_KEY_LENGTH = 40;
const METADATA_MAX_VALUE_LENGTH = 500;
const TEXT_MAX_LENGTH = 5000;

/** Reader of one map; `prefix` is the full name of that map, '' for the whole form. */
export class Params {
  private readonly map: FormMap;
  private readonly prefix: string;
  private readonly asked = new Set<string>();
  private readonly children: Params[] = [];
  private complaint: StripeError | null = null;

  constructor(map: FormMap, prefix = '') {
    this.map = map;
    this.prefix = prefix;
  }

  /** What is wrong with all that was read so far and with all that was not asked for; null when nothing. */
  problem(): StripeError | null {
    const unknown = this.unknownNames();
    return unknown.length > 0 ? unknownParameters(unknown) : this.firstComplaint();
  }

  /** A text of up to `maxLength` characters; null when absent. Stripe refuses an empty one. */
  text(name: string, maxLength = TEXT_MAX_LENGTH): string | null {
    const value = this.take(name);
    if (value === undefined) return null;
    if (typeof value !== 'string') return this.complain(`Invalid string: ${name}`, name);
    if (value === '') return this.complainEmpty(name);
    if (value.length > maxLength)
      return this.complain(`Invalid string: ${name} must be at most ${maxLength} characters`, name);
    return value;
  }

  requiredText(name: string): string {
    if (!this.map.has(name)) this.refuse(missingParameter(this.fullName(name)));
    return this.text(name) ?? '';
  }

  /** A whole number of at least `minimum`, exact in a double; null when absent. */
  integer(name: string, minimum: number): number | null {
    const value = this.take(name);
    if (value === undefined) return null;
    if (value === '') return this.complainEmpty(name);
    const number = typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
    const code = 'parameter_invalid_integer';
    if (Number.isNaN(number)) return this.complain(`Invalid integer: ${textOf(value)}`, name, code);
    if (number < minimum)
      return this.complain(`This value must be greater than or equal to ${minimum}.`, name, code);
    return number;
  }

  requiredInteger(name: string, minimum: number): number {
    if (!this.map.has(name)) this.refuse(missingParameter(this.fullName(name)));
    return this.integer(name, minimum) ?? minimum;
  }

  /** `true` or `false` as text; absent means false. */
  flag(name: string): boolean {
    const value = this.take(name);
    if (value === undefined || value === 'false') return false;
    if (value !== 'true') this.complain(`Invalid boolean: ${textOf(value)}`, name);
    return value === 'true';
  }

  oneOf<T extends string>(name: string, choices: readonly T[]): T | null {
    const value = this.take(name);
    if (value === undefined) return null;
    const choice = choices.find((candidate) => candidate === value);
    if (choice !== undefined) return choice;
    return this.complain(`Invalid ${name}: must be one of ${choices.join(', ')}`, name);
  }

  /** A reader of the object under `name`; of an empty one when absent. */
  object(name: string): Params {
    const value = this.take(name);
    if (typeof value === 'string') this.complain(`Invalid object`, name);
    const child = new Params(value instanceof Map ? value : new Map(), this.fullName(name));
    this.children.push(child);
    return child;
  }

  /** True when the parameter is there as an object rather than as a plain value. */
  isObject(name: string): boolean {
    return this.map.get(name) instanceof Map;
  }

  /** The texts of an array such as `expand[]`; empty when absent. */
  list(name: string): string[] {
    const value = this.take(name);
    if (value === undefined) return [];
    if (typeof value === 'string') {
      this.complain('Invalid array', name);
      return [];
    }
    return [...value.values()].map(textOf);
  }

  /** Metadata as JSON text of one flat object; `{}` when absent. Empty values are not stored, as at Stripe. */
  metadata(name: string): string {
    const value = this.take(name);
    if (value === undefined || value === '') return '{}';
    if (typeof value === 'string') {
      this.complain('Invalid object', name);
      return '{}';
    }
    const entries: [string, string][] = [];
    for (const [key, text] of value) {
      if (typeof text !== 'string') this.complain('Invalid string', `${name}[${key}]`);
      else if (key.length > METADATA_MAX_KEY_LENGTH)
        this.complain(`Metadata keys can have up to ${METADATA_MAX_KEY_LENGTH} characters.`, name);
      else if (text.length > METADATA_MAX_VALUE_LENGTH)
        this.complain(`Metadata values can have up to ${METADATA_MAX_VALUE_LENGTH} characters.`, name);
      else if (text !== '') entries.push([key, text]);
    }
    if (entries.length > METADATA_MAX_KEYS)
      this.complain(`You can have up to ${METADATA_MAX_KEYS} metadata keys.`, name);
    return JSON.stringify(Object.fromEntries(entries));
  }

  /** Parameters that Stripe has and this sandbox does not act on: refused with a code of our own. */
  refuseUnmodelled(names: readonly string[]): void {
    for (const name of names) {
      if (this.take(name) !== undefined) this.refuse(notModelled(this.fullName(name)));
    }
  }

  private take(name: string): FormValue | undefined {
    this.asked.add(name);
    return this.map.get(name);
  }

  private refuse(error: StripeError): void {
    this.complaint ??= error;
  }

  private complain(message: string, name: string, code?: string): null {
    this.refuse(
      invalidRequest(message, { param: this.fullName(name), ...(code === undefined ? {} : { code }) }),
    );
    return null;
  }

  private complainEmpty(name: string): null {
    const full = this.fullName(name);
    const message = `You passed an empty string for '${full}'. We assume empty values are an attempt to unset a parameter; however '${full}' cannot be unset. You should remove '${full}' from your request or supply a non-empty value.`;
    return this.complain(message, name, 'parameter_invalid_empty');
  }

  private fullName(name: string): string {
    return this.prefix === '' ? name : `${this.prefix}[${name}]`;
  }

  private unknownNames(): string[] {
    const own = [...this.map.keys()].filter((name) => !this.asked.has(name));
    return [
      ...own.map((name) => this.fullName(name)),
      ...this.children.flatMap((child) => child.unknownNames()),
    ];
  }

  private firstComplaint(): StripeError | null {
    if (this.complaint !== null) return this.complaint;
    for (const child of this.children) {
      const complaint = child.firstComplaint();
      if (complaint !== null) return complaint;
    }
    return null;
  }
}

function textOf(value: FormValue): string {
  return typeof value === 'string' ? value : '[object]';
}
