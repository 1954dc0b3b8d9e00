/**
 * Numbers that a person gives: quantities with a unit, as `200ms` or `10%`, and the
 * ranges of options.
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

/**
 * Refuses what is not a whole number of a range.
 *
 * @param name what the number is for, as the error says it: `"maxQueue"`
 * @param max the largest that is taken. Default: no limit
 * @throws {RangeError} when it is out of the range, or not whole
 * @example
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { requireInteger } from "./units.ts";
 *
 * requireInteger("the port", 12003, 0, 65_535);
 * assertThrows(
 *   () => requireInteger("the port", 70_000, 0, 65_535),
 *   RangeError,
 *   'Cannot take "70000" as the port: it is a whole number from 0 to 65535',
 * );
 * ```
 */
export function requireInteger(
  name: string,
  value: number,
  min: number,
  max = Infinity,
): void {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return;
  throw outOfRange(name, value, "a whole number", min, max);
}

/**
 * Refuses what is not a number of a range. Infinity is one, where no largest is
 * given.
 *
 * @param name what the number is for, as the error says it: `"tolerance"`
 * @param max the largest that is taken. Default: no limit
 * @throws {RangeError} when it is out of the range
 * @example
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { requireNumber } from "./units.ts";
 *
 * requireNumber("tolerance", 1.5, 1, 10);
 * assertThrows(
 *   () => requireNumber("speed", -1, 0),
 *   RangeError,
 *   'Cannot take "-1" as speed: it is a number, 0 or more',
 * );
 * ```
 */
export function requireNumber(
  name: string,
  value: number,
  min: number,
  max = Infinity,
): void {
  if (value >= min && value <= max) return;
  throw outOfRange(name, value, "a number", min, max);
}

function outOfRange(
  name: string,
  value: number,
  kind: string,
  min: number,
  max: number,
): RangeError {
  const range = max >= Number.MAX_SAFE_INTEGER
    ? `${kind}, ${min} or more`
    : `${kind} from ${min} to ${max}`;
  return new RangeError(`Cannot take "${value}" as ${name}: it is ${range}`);
}
