/**
 * What a failed assertion throws, and how its message ends. Knows no assertion.
 *
 * @module
 */

/**
 * What a failed assertion throws.
 *
 * @example
 * ```ts
 * import { AssertionError, assertThrows, fail } from "@std/assert";
 *
 * assertThrows(() => fail("not here"), AssertionError, "not here");
 * ```
 */
export class AssertionError extends Error {
  /** Makes the error of an assertion that found `message` wrong. */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AssertionError";
  }
}

/** The end of a message: the caller's own words, where there are any. */
export function ending(msg: string | undefined): string {
  return msg ? `: ${msg}` : ".";
}
