/**
 * FNV-1a: a short number for octets, which differs, as a rule, when they do.
 *
 * @module
 */

/** The state before the first octet. */
export const FNV_START = 0x811c9dc5;

/** Takes one octet, or another 32-bit number, into the state. */
export function mix(state: number, value: number): number {
  return Math.imul(state ^ value, 0x01000193);
}

/**
 * Digests octets.
 *
 * @param state the digest of what comes before them. Default: nothing
 * @returns a whole number from 0 to 2³² − 1
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { digest } from "./digest.ts";
 *
 * assertEquals(digest(new TextEncoder().encode("a")), 0xe40c292c);
 * ```
 */
export function digest(octets: Uint8Array, state: number = FNV_START): number {
  let digested = state;
  for (let at = 0; at < octets.length; at++) {
    digested = mix(digested, octets[at]!);
  }
  return digested >>> 0;
}
