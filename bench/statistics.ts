/** The little arithmetic that figures need. Decides only. */

/** The middle value; the mean of the two middle ones where the number of values is even. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  if (sorted.length === 0) throw new RangeError('no median of no values');
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Nearest rank: the smallest value that at least `percent` of all values do not exceed. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  if (sorted.length === 0) throw new RangeError('no percentile of no values');
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)]!;
}

/** "5,120–5,480": lowest and highest, for people. */
export function spread(values: readonly number[], decimals = 0): string {
  return `${shown(Math.min(...values), decimals)}–${shown(Math.max(...values), decimals)}`;
}

/** With thousands separators and a fixed number of decimals. */
export function shown(value: number, decimals = 0): string {
  return value.toLocaleString('en-US', { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

export function rounded(value: number, decimals: number): number {
  return Number(value.toFixed(decimals));
}
