/**
 * Quantities with a unit, as a person writes them: `200ms`, `10%`. Knows units;
 * nothing of what is measured.
 *
 * @module
 */

import type { Millis } from "./clock.ts";

/** Times have a unit: tc takes a bare number as microseconds, people do not. */
const TIMES: ReadonlyMap<string, Millis> = new Map([
  ["us", 0.001],
  ["ms", 1],
  ["s", 1_000],
  ["min", 60_000],
  ["h", 3_600_000],
]);

/** The longest time that is taken, in milliseconds: a day. */
const MAX_TIME: Millis = 24 * 3_600_000;

/**
 * A number with a unit.
 *
 * @param units what each unit is worth, by its name in small letters
 * @returns `undefined` if the text is not that
 */
export function measureFrom(
  text: string,
  units: ReadonlyMap<string, number>,
): number | undefined {
  const [, digits, unit] = /^(\d*\.?\d+)([a-z]+)$/i.exec(text) ?? [];
  const factor = units.get(unit?.toLowerCase() ?? "");
  return factor === undefined ? undefined : Number(digits) * factor;
}

/**
 * A time, in milliseconds; `undefined` if the text is none, or more than a day.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { timeFrom } from "./units.ts";
 *
 * assertEquals(timeFrom("1.5s"), 1_500);
 * assertEquals(timeFrom("200"), undefined);
 * ```
 */
export function timeFrom(text: string): Millis | undefined {
  const time = measureFrom(text, TIMES);
  return time === undefined || time > MAX_TIME ? undefined : time;
}

/**
 * A percentage as a share, 0 to 1; `undefined` if the text is none.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { shareFrom } from "./units.ts";
 *
 * assertEquals(shareFrom("2.5%"), 0.025);
 * assertEquals(shareFrom("101%"), undefined);
 * ```
 */
export function shareFrom(text: string): number | undefined {
  const [, digits] = /^(\d*\.?\d+)%$/.exec(text) ?? [];
  const share = Number(digits ?? NaN) / 100;
  return share <= 1 ? share : undefined;
}
