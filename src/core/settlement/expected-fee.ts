/** What a charge should have cost by the contract with the PSP. Decides only. */
import { Decimal } from 'decimal.js';
import { Bug } from '../errors.ts';

export type ExpectedFee = {
  /** Percent of the gross, as decimal text from "0" to "100" with at most {@link MAX_PERCENT_DECIMALS} decimals. */
  readonly percent: string;
  /** Minor units, from 0. */
  readonly fixedMinor: bigint;
  /** Minor units by which a row's fee may be off, from 0: PSPs round in their own ways. */
  readonly toleranceMinor: bigint;
};

export const MAX_PERCENT_DECIMALS = 6;
const PERCENT = new RegExp(`^\\d{1,3}(\\.\\d{1,${MAX_PERCENT_DECIMALS}})?$`);

export function isPercent(text: string): boolean {
  return PERCENT.test(text) && new Decimal(text).lte(100);
}

/** The percentage as the share of one that it is: "1.5" is "0.015". Exact. */
export function rateOf({ percent }: ExpectedFee): string {
  return new Decimal(percent).div(100).toFixed();
}

/** Minor units: the share of the gross, halves up, and the fixed part. Throws Bug for a gross below zero. */
export function expectedFee(grossMinor: bigint, fee: ExpectedFee): bigint {
  if (grossMinor < 0n) throw new Bug(`a fee of a gross of ${grossMinor}`);
  const share = new Decimal(grossMinor.toString()).mul(rateOf(fee)).toDecimalPlaces(0, Decimal.ROUND_HALF_UP);
  return BigInt(share.toFixed()) + fee.fixedMinor;
}
