/**
 * Octets for what is short and soon over: a datagram, or a payload until it is sent.
 *
 * To make an array of its own costs more than all else that is done for a short
 * datagram. So short ones are cut from a larger array, no octet of which is ever
 * given out twice. Who keeps one keeps the larger array with it: so what may stay
 * is copied into one that is small. And a program that transfers the array of one to
 * another thread takes it from all: what an application is handed in a message has
 * an array to itself.
 *
 * @module
 */

/** Octets that are made at once, for many to be cut from. */
const SLAB = 16 * 1024;

/** What is longer than this has an array to itself. */
const MAX_CUT = 1024;

/**
 * The same for what may stay: one that stays alone has less than twice as much as
 * in an array of its own, which takes some 300 octets beside its own.
 */
const SMALL_SLAB = 512;
const MAX_SMALL_CUT = 128;

let slab = new ArrayBuffer(SLAB);
let slabAt = 0;
let smallSlab = new ArrayBuffer(SMALL_SLAB);
let smallSlabAt = 0;

/**
 * Makes octets that are all 0, for what is soon over.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { allocate } from "./slab.ts";
 *
 * assertEquals(allocate(2), Uint8Array.of(0, 0));
 * ```
 */
export function allocate(octets: number): Uint8Array<ArrayBuffer> {
  if (octets > MAX_CUT) return new Uint8Array(octets);
  if (slabAt + octets > SLAB) {
    slab = new ArrayBuffer(SLAB);
    slabAt = 0;
  }
  const start = slabAt;
  slabAt += octets;
  return new Uint8Array(slab, start, octets);
}

/**
 * Copies octets that may stay for long.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { copyOf } from "./slab.ts";
 *
 * const octets = Uint8Array.of(1, 2);
 * const copy = copyOf(octets);
 * octets.fill(0);
 * assertEquals(copy, Uint8Array.of(1, 2));
 * ```
 */
export function copyOf(octets: Uint8Array): Uint8Array<ArrayBuffer> {
  const { length } = octets;
  if (length > MAX_SMALL_CUT) return new Uint8Array(octets);
  if (smallSlabAt + length > SMALL_SLAB) {
    smallSlab = new ArrayBuffer(SMALL_SLAB);
    smallSlabAt = 0;
  }
  const copy = new Uint8Array(smallSlab, smallSlabAt, length);
  smallSlabAt += length;
  copy.set(octets);
  return copy;
}
