/**
 * A stand-in for `@std/assert` where JSR cannot be reached, with the original's
 * names, signatures and verdicts. `node:assert` words the differences.
 *
 * Served: {@linkcode assert}, {@linkcode assertAlmostEquals},
 * {@linkcode assertEquals}, {@linkcode assertExists}, {@linkcode assertFalse},
 * {@linkcode assertGreater}, {@linkcode assertGreaterOrEqual},
 * {@linkcode assertInstanceOf}, {@linkcode assertIsError},
 * {@linkcode AssertionError}, {@linkcode assertLess},
 * {@linkcode assertLessOrEqual}, {@linkcode assertMatch},
 * {@linkcode assertNotEquals}, {@linkcode assertRejects},
 * {@linkcode assertStrictEquals}, {@linkcode assertStringIncludes},
 * {@linkcode assertThrows} and {@linkcode fail}. Not served: the rest of the
 * original, and its one module for each of them.
 *
 * @module
 */

export { AssertionError } from "./assertion_error.ts";
export { assertIsError, assertRejects, assertThrows } from "./errors.ts";
export {
  type AnyConstructor,
  assert,
  assertExists,
  assertFalse,
  assertInstanceOf,
  assertMatch,
  assertStringIncludes,
  fail,
  type Falsy,
} from "./truth.ts";
export {
  assertAlmostEquals,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertLess,
  assertLessOrEqual,
  assertNotEquals,
  assertStrictEquals,
} from "./comparison.ts";
