/**
 * Assertions about errors and about what throws them. Knows nothing of values
 * that are compared.
 *
 * @module
 */

import { stripVTControlCharacters } from "node:util";
import { AssertionError, ending } from "./assertion_error.ts";

// deno-lint-ignore no-explicit-any
type ErrorClass<E> = new (...args: any[]) => E;

/**
 * Fails unless `error` is an `Error`, of that class, with that message.
 *
 * @example
 * ```ts
 * import { assertIsError } from "@std/assert";
 *
 * assertIsError(new RangeError("Out of range"), RangeError, "range");
 * ```
 *
 * @param error what must be an error
 * @param ErrorClass the class it must be of
 * @param msgMatches what its message must include or match, colors aside
 * @param msg what to add to the message otherwise
 * @throws {AssertionError} when it is no such error
 */
export function assertIsError<E extends Error = Error>(
  error: unknown,
  // deno-lint-ignore no-explicit-any
  ErrorClass?: abstract new (...args: any[]) => E,
  msgMatches?: string | RegExp,
  msg?: string,
): asserts error is E {
  if (!(error instanceof Error)) {
    throw new AssertionError(
      `Expected "error" to be an Error object${ending(msg)}`,
    );
  }
  if (ErrorClass && !(error instanceof ErrorClass)) {
    throw new AssertionError(
      `Expected error to be instance of "${ErrorClass.name}", but was "${
        (error as Error).constructor.name
      }"${ending(msg)}`,
      { cause: error },
    );
  }
  if (!msgMatches) return;
  const message = stripVTControlCharacters(error.message);
  const matches = typeof msgMatches === "string"
    ? message.includes(stripVTControlCharacters(msgMatches))
    : msgMatches.test(message);
  if (matches) return;
  const wanted = typeof msgMatches === "string"
    ? JSON.stringify(msgMatches)
    : String(msgMatches);
  throw new AssertionError(
    `Expected error message to include ${wanted}, but got ${
      JSON.stringify(error.message)
    }${ending(msg)}`,
    { cause: error },
  );
}

/**
 * Fails unless `fn` throws.
 *
 * @param fn what must throw
 * @param msg what to add to the message otherwise
 * @returns what it threw
 * @throws {AssertionError} when it does not throw
 */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/**
 * Fails unless `fn` throws an error of that class, with that in its message.
 *
 * @example
 * ```ts
 * import { assertThrows } from "@std/assert";
 *
 * const error = assertThrows(() => JSON.parse("{"), SyntaxError, "JSON");
 * console.assert(error instanceof SyntaxError);
 * ```
 *
 * @param fn what must throw
 * @param ErrorClass the class of the error
 * @param msgIncludes what its message must include
 * @param msg what to add to the message otherwise
 * @returns the error
 * @throws {AssertionError} when it does not throw, or throws something else
 */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  // deno-lint-ignore no-explicit-any
  ErrorClass: new (...args: any[]) => E,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  classOrMsg?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): unknown {
  const own = typeof classOrMsg === "string" ? classOrMsg : msg;
  try {
    fn();
  } catch (error) {
    if (typeof classOrMsg === "function") {
      assertCaught(error, classOrMsg, msgIncludes, own, "thrown");
    }
    return error;
  }
  throw new AssertionError(`Expected function to throw${ending(own)}`);
}

/**
 * Fails unless the promise that `fn` gives rejects.
 *
 * @param fn what must give that promise
 * @param msg what to add to the message otherwise
 * @returns what it rejected with
 * @throws {AssertionError} when it does not reject, or `fn` gives no promise
 */
export function assertRejects(
  fn: () => PromiseLike<unknown>,
  msg?: string,
): Promise<unknown>;
/**
 * Fails unless the promise that `fn` gives rejects with an error of that class,
 * with that in its message.
 *
 * @example
 * ```ts
 * import { assertRejects } from "@std/assert";
 *
 * await assertRejects(() => Promise.reject(new TypeError("7")), TypeError);
 * ```
 *
 * @param fn what must give that promise
 * @param ErrorClass the class of the error
 * @param msgIncludes what its message must include
 * @param msg what to add to the message otherwise
 * @returns the error
 * @throws {AssertionError} when it does not reject, rejects with something
 * else, or `fn` throws or gives no promise
 */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  // deno-lint-ignore no-explicit-any
  ErrorClass: new (...args: any[]) => E,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  classOrMsg?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): Promise<unknown> {
  const own = typeof classOrMsg === "string" ? classOrMsg : msg;
  let promise: PromiseLike<unknown> | undefined;
  try {
    promise = fn();
  } catch (cause) {
    throw new AssertionError(
      `Function throws when expected to reject${ending(own)}`,
      { cause },
    );
  }
  if (typeof promise?.then !== "function") {
    throw new AssertionError(
      `Function throws when expected to reject${ending(own)}`,
    );
  }
  try {
    await promise;
  } catch (error) {
    if (typeof classOrMsg === "function") {
      assertCaught(error, classOrMsg, msgIncludes, own, "rejected");
    }
    return error;
  }
  throw new AssertionError(`Expected function to reject${ending(own)}`);
}

function assertCaught<E extends Error>(
  error: unknown,
  Class: ErrorClass<E>,
  msgIncludes: string | undefined,
  msg: string | undefined,
  how: string,
): void {
  if (!(error instanceof Error)) {
    throw new AssertionError(`A non-Error object was ${how}${ending(msg)}`, {
      cause: error,
    });
  }
  assertIsError(error, Class, msgIncludes, msg);
}
