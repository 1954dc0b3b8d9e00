/**
 * Figures as people read them.
 *
 * @module
 */

import { spreadOf } from "./figures.ts";

/** The median, and from where to where. */
export function spread(
  values: readonly number[],
  digits: number,
): [median: string, range: string] {
  const { median, min, max } = spreadOf(values);
  return [
    shown(median, digits),
    `${shown(min, digits)}–${shown(max, digits)}`,
  ];
}

/** A number as it is read; a dash where there is none. */
export function shown(value: number, digits: number): string {
  if (!Number.isFinite(value)) return "-";
  return value.toLocaleString("en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** Columns, the first to the left and the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, i) =>
    Math.max(...rows.map((row) => row[i]?.length ?? 0))
  );
  return rows
    .map((row) =>
      row
        .map((cell, i) =>
          i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)
        )
        .join("  ")
    )
    .join("\n");
}
