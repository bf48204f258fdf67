/** Where a result is shown. Types only. */
export type Surface = {
  /** Columns of the terminal; null: not a terminal, nothing is cut. */
  readonly width: number | null;
  readonly color: boolean;
};
