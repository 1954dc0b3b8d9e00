/**
 * Assertions that set two values against each other.
 *
 * @module
 */

import { AssertionError as NodeAssertionError } from "node:assert/strict";
import { inspect } from "node:util";
import { AssertionError, ending } from "./assertion_error.ts";
import { equal } from "./equal.ts";

/**
 * Fails unless both values have the same structure. `NaN` equals `NaN`, 0
 * equals -0, and a property that is `undefined` is not one that is missing.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals({ bytes: new Uint8Array([1]) }, { bytes: new Uint8Array([1]) });
 * ```
 *
 * @param actual what there is
 * @param expected what there should be
 * @param msg what to add to the message otherwise
 * @throws {AssertionError} when they differ, with the difference
 */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (equal(actual, expected)) return;
  throw new AssertionError(
    `Values are not equal${ending(msg)}\n${difference(actual, expected)}`,
  );
}

/**
 * Fails when both values have the same structure.
 *
 * @example
 * ```ts
 * import { assertNotEquals } from "@std/assert";
 *
 * assertNotEquals([1, 2], [2, 1]);
 * ```
 *
 * @param actual what there is
 * @param expected what there should not be
 * @param msg what to add to the message otherwise
 * @throws {AssertionError} when they are equal
 */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!equal(actual, expected)) return;
  throw new AssertionError(
    `Expected actual: ${show(actual)} not to be: ${show(expected)}${
      ending(msg)
    }`,
  );
}

/**
 * Fails unless both are the same value, as `Object.is` has it.
 *
 * @example
 * ```ts
 * import { assertStrictEquals } from "@std/assert";
 *
 * const list = [1];
 * assertStrictEquals(list, list);
 * ```
 *
 * @param actual what there is
 * @param expected what there should be
 * @param msg what to add to the message otherwise
 * @throws {AssertionError} when they are not one and the same
 */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  msg?: string,
): asserts actual is T {
  if (Object.is(actual, expected)) return;
  const shown = show(actual);
  throw new AssertionError(
    shown === show(expected)
      ? `Values have the same structure but are not reference-equal${
        ending(msg)
      }\n\n${shown}\n`
      : `Values are not strictly equal${ending(msg)}\n${
        difference(actual, expected)
      }`,
  );
}

/**
 * Fails unless `actual` is within `tolerance` of `expected`.
 *
 * @example
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 *
 * assertAlmostEquals(0.1 + 0.2, 0.3);
 * ```
 *
 * @param actual what there is
 * @param expected what there should be
 * @param tolerance how far apart they may be; a ten-millionth of `expected`
 * when left out
 * @param msg what to add to the message otherwise
 * @throws {AssertionError} when they are further apart
 */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance?: number,
  msg?: string,
): void {
  if (Object.is(actual, expected)) return;
  const delta = Math.abs(expected - actual);
  const limit = tolerance ??
    (Number.isFinite(expected) ? Math.abs(expected) * 1e-7 : 1e-7);
  if (delta <= limit) return;
  throw new AssertionError(
    `Expected actual: "${actual}" to be close to "${expected}": ` +
      `delta "${delta}" is greater than "${limit}"${ending(msg)}`,
  );
}

/**
 * Fails unless `actual` > `expected`.
 *
 * @example
 * ```ts
 * import { assertGreater } from "@std/assert";
 *
 * assertGreater(2, 1);
 * ```
 *
 * @param actual what there is
 * @param expected what it must exceed
 * @param msg what to say otherwise
 * @throws {AssertionError} when it does not
 */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (actual > expected) return;
  throw new AssertionError(
    msg ?? `Expect ${show(actual)} > ${show(expected)}`,
  );
}

/**
 * Fails unless `actual` >= `expected`.
 *
 * @example
 * ```ts
 * import { assertGreaterOrEqual } from "@std/assert";
 *
 * assertGreaterOrEqual(2, 2);
 * ```
 *
 * @param actual what there is
 * @param expected what it must reach
 * @param msg what to say otherwise
 * @throws {AssertionError} when it does not
 */
export function assertGreaterOrEqual<T>(
  actual: T,
  expected: T,
  msg?: string,
): void {
  if (actual >= expected) return;
  throw new AssertionError(
    msg ?? `Expect ${show(actual)} >= ${show(expected)}`,
  );
}

/**
 * Fails unless `actual` < `expected`.
 *
 * @example
 * ```ts
 * import { assertLess } from "@std/assert";
 *
 * assertLess(1, 2);
 * ```
 *
 * @param actual what there is
 * @param expected what it must stay below
 * @param msg what to say otherwise
 * @throws {AssertionError} when it does not
 */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (actual < expected) return;
  throw new AssertionError(
    msg ?? `Expect ${show(actual)} < ${show(expected)}`,
  );
}

/**
 * Fails unless `actual` <= `expected`.
 *
 * @example
 * ```ts
 * import { assertLessOrEqual } from "@std/assert";
 *
 * assertLessOrEqual(2, 2);
 * ```
 *
 * @param actual what there is
 * @param expected what it must not exceed
 * @param msg what to say otherwise
 * @throws {AssertionError} when it does
 */
export function assertLessOrEqual<T>(
  actual: T,
  expected: T,
  msg?: string,
): void {
  if (actual <= expected) return;
  throw new AssertionError(
    msg ?? `Expect ${show(actual)} <= ${show(expected)}`,
  );
}

/** More lines than `node:assert` compares within the blink of an eye. */
const MANY_LINES = 1_000;

/** The lines that differ, in the words of `node:assert` without its title. */
function difference(actual: unknown, expected: unknown): string {
  const left = lines(actual);
  const right = lines(expected);
  if (Math.max(left.length, right.length) > MANY_LINES) {
    return firstDifference(left, right);
  }
  const { message } = new NodeAssertionError({
    actual,
    expected,
    operator: "deepStrictEqual",
  });
  return message.slice(message.indexOf("\n") + 1);
}

/** A few lines of either side from where they part. */
function firstDifference(left: string[], right: string[]): string {
  const parted = left.findIndex((line, i) => line !== right[i]);
  const at = parted === -1 ? left.length : parted;
  return [
    `+ actual - expected, from line ${
      at + 1
    } of ${left.length} and ${right.length}`,
    "",
    ...left.slice(Math.max(0, at - 3), at).map((line) => `  ${line}`),
    ...left.slice(at, at + 10).map((line) => `+ ${line}`),
    ...right.slice(at, at + 10).map((line) => `- ${line}`),
    "",
  ].join("\n");
}

function lines(value: unknown): string[] {
  return inspect(value, {
    breakLength: 1,
    compact: false,
    depth: Infinity,
    maxArrayLength: Infinity,
    maxStringLength: Infinity,
    sorted: true,
  }).split("\n");
}

function show(value: unknown): string {
  return inspect(value, { depth: Infinity, maxArrayLength: 100, sorted: true });
}
