/**
 * Assertions about one value. They look at it once and compare it with no
 * other; that is `comparison.ts`.
 *
 * @module
 */

import { AssertionError, ending } from "./assertion_error.ts";

/** What counts as false. */
export type Falsy = false | 0 | 0n | "" | null | undefined;

/** Any class. */
// deno-lint-ignore no-explicit-any
export type AnyConstructor = new (...args: any[]) => any;

/**
 * Fails unless `expr` is truthy.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 *
 * assert("a/b".startsWith("a/"));
 * ```
 *
 * @param expr what must be truthy
 * @param msg what to say otherwise
 * @throws {AssertionError} when `expr` is falsy
 */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/**
 * Fails unless `expr` is falsy.
 *
 * @example
 * ```ts
 * import { assertFalse } from "@std/assert";
 *
 * assertFalse("a/b".startsWith("b"));
 * ```
 *
 * @param expr what must be falsy
 * @param msg what to say otherwise
 * @throws {AssertionError} when `expr` is truthy
 */
export function assertFalse(expr: unknown, msg = ""): asserts expr is Falsy {
  if (expr) throw new AssertionError(msg);
}

/**
 * Fails when `actual` is `null` or `undefined`.
 *
 * @example
 * ```ts
 * import { assertExists } from "@std/assert";
 *
 * assertExists(new Map([[1, "a"]]).get(1));
 * ```
 *
 * @param actual what must be there
 * @param msg what to add to the message otherwise
 * @throws {AssertionError} when `actual` is `null` or `undefined`
 */
export function assertExists<T>(
  actual: T,
  msg?: string,
): asserts actual is NonNullable<T> {
  if (actual !== null && actual !== undefined) return;
  throw new AssertionError(
    `Expected actual: "${actual}" to not be null or undefined${ending(msg)}`,
  );
}

/**
 * Fails unless `actual` was made by the class `expectedType` or one that
 * extends it.
 *
 * @example
 * ```ts
 * import { assertInstanceOf } from "@std/assert";
 *
 * assertInstanceOf(new RangeError("7"), Error);
 * ```
 *
 * @param actual what must be an instance
 * @param expectedType of what class
 * @param msg what to add to the message otherwise
 * @throws {AssertionError} when it is of no such class
 */
export function assertInstanceOf<T extends AnyConstructor>(
  actual: unknown,
  expectedType: T,
  msg = "",
): asserts actual is InstanceType<T> {
  if (actual instanceof expectedType) return;
  throw new AssertionError(
    `Expected object to be an instance of "${expectedType.name}" but was "${
      kindOf(actual)
    }"${ending(msg)}`,
  );
}

/**
 * Fails unless `actual` matches `expected`.
 *
 * @example
 * ```ts
 * import { assertMatch } from "@std/assert";
 *
 * assertMatch("client-12", /^client-\d+$/);
 * ```
 *
 * @param actual the text to search
 * @param expected what to look for
 * @param msg what to add to the message otherwise
 * @throws {AssertionError} when there is no match
 */
export function assertMatch(
  actual: string,
  expected: RegExp,
  msg?: string,
): void {
  if (expected.test(actual)) return;
  throw new AssertionError(
    `Expected actual: "${actual}" to match: "${expected}"${ending(msg)}`,
  );
}

/**
 * Fails unless `expected` is somewhere in `actual`.
 *
 * @example
 * ```ts
 * import { assertStringIncludes } from "@std/assert";
 *
 * assertStringIncludes("Broker started at 127.0.0.1", "started");
 * ```
 *
 * @param actual the text to search
 * @param expected what to look for
 * @param msg what to add to the message otherwise
 * @throws {AssertionError} when it is not there
 */
export function assertStringIncludes(
  actual: string,
  expected: string,
  msg?: string,
): void {
  if (actual.includes(expected)) return;
  throw new AssertionError(
    `Expected actual: "${actual}" to contain: "${expected}"${ending(msg)}`,
  );
}

/**
 * Fails, always: for a line that must not be reached.
 *
 * @example
 * ```ts
 * import { AssertionError, assertThrows, fail } from "@std/assert";
 *
 * assertThrows(() => fail("came here"), AssertionError, "came here");
 * ```
 *
 * @param msg what to add to the message
 * @throws {AssertionError} always
 */
export function fail(msg?: string): never {
  throw new AssertionError(`Failed assertion${ending(msg)}`);
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (typeof value !== "object") return typeof value;
  return value.constructor?.name ?? "Object";
}
