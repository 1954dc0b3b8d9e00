/**
 * Which datagrams of a batch the system can be given as one message: those to one peer
 * that are as long as each other.
 *
 * Order to a peer is kept: a datagram joins the latest message to its peer or
 * begins a later one. Between peers nobody is promised any.
 *
 * @module
 */

import { SOCKADDR_WORDS } from "./sockaddr.ts";

/** Datagrams of one message, at most: an older system's limit. */
const MAX_SIZE = 64;

/** Octets of one message, at most, below the longest datagram of IP. */
const MAX_OCTETS = 65_000;

/**
 * Octets of a datagram that may share a message: what is longer might not fit a
 * way's packets, and only alone it is cut on the way.
 */
const MAX_LENGTH = 1_200;

/**
 * The messages of a batch.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Segments } from "./segments.ts";
 *
 * // Datagrams to the peers 1, 2 and 1, each address eight words long.
 * const names = Int32Array.from({ length: 24 }, (_, i) => i >> 3 === 1 ? 2 : 1);
 * const segments = new Segments(3, false);
 * segments.gather(names, 0, Int32Array.of(71, 71, 71), 3);
 * assertEquals(segments.count, 2);
 * assertEquals([...segments.sizes.subarray(0, 2)], [2, 1]);
 * assertEquals([...segments.order], [0, 2, 1]);
 * ```
 */
export class Segments {
  /** How many messages there are. */
  count = 0;
  /** Datagrams of each message. */
  readonly sizes: Int32Array;
  /** The first datagram of each message. */
  readonly firsts: Int32Array;
  /** The datagrams, a message's behind each other, in the order of messages. */
  readonly order: Int32Array;
  readonly #words: number;
  readonly #octets: Int32Array;
  readonly #messageOf: Int32Array;
  readonly #starts: Int32Array;
  /** A peer's latest message + 1, 0 where there is none: open addressing. */
  readonly #latest: Int32Array;

  /**
   * Makes room.
   *
   * @param capacity datagrams of a batch, at most
   * @param isIpv6 whether addresses are those of IPv6
   */
  constructor(capacity: number, isIpv6: boolean) {
    this.#words = isIpv6 ? 7 : 2;
    this.sizes = new Int32Array(capacity);
    this.firsts = new Int32Array(capacity);
    this.order = new Int32Array(capacity);
    this.#octets = new Int32Array(capacity);
    this.#messageOf = new Int32Array(capacity);
    this.#starts = new Int32Array(capacity);
    this.#latest = new Int32Array(4 * 2 ** Math.ceil(Math.log2(capacity)));
  }

  /**
   * Makes messages of datagrams.
   *
   * @param words where the receivers' `sockaddr`s stand
   * @param at the first word of the first datagram's
   * @param lengths octets of each datagram
   * @param datagrams how many
   */
  gather(
    words: Int32Array,
    at: number,
    lengths: Int32Array,
    datagrams: number,
  ): void {
    this.count = 0;
    this.#latest.fill(0);
    for (let i = 0; i < datagrams; i++) {
      const length = lengths[i]!;
      const place = this.#placeOf(words, at, i);
      let message = this.#latest[place]! - 1;
      if (message < 0 || !this.#joins(message, length, lengths)) {
        message = this.#begin(i);
        this.#latest[place] = message + 1;
      }
      this.#messageOf[i] = message;
      this.sizes[message]!++;
      this.#octets[message]! += length;
    }
    for (let message = 0, start = 0; message < this.count; message++) {
      this.#starts[message] = start;
      start += this.sizes[message]!;
    }
    for (let i = 0; i < datagrams; i++) {
      this.order[this.#starts[this.#messageOf[i]!]!++] = i;
    }
  }

  /** Makes a message of each of so many datagrams. */
  separate(datagrams: number): void {
    this.count = 0;
    for (let i = 0; i < datagrams; i++) this.#alone(i);
  }

  /** Makes a message of each datagram of the messages from one on; no others stay. */
  split(message: number): void {
    let from = 0;
    for (let i = 0; i < message; i++) from += this.sizes[i]!;
    let to = from;
    for (let i = message; i < this.count; i++) to += this.sizes[i]!;
    this.count = 0;
    for (let i = from; i < to; i++) this.#alone(this.order[i]!);
  }

  #alone(datagram: number): void {
    const message = this.#begin(datagram);
    this.sizes[message] = 1;
    this.order[message] = datagram;
  }

  #begin(datagram: number): number {
    const message = this.count++;
    this.firsts[message] = datagram;
    this.sizes[message] = 0;
    this.#octets[message] = 0;
    return message;
  }

  #joins(message: number, length: number, lengths: Int32Array): boolean {
    return length === lengths[this.firsts[message]!] &&
      length > 0 && length <= MAX_LENGTH &&
      this.sizes[message]! < MAX_SIZE &&
      this.#octets[message]! + length <= MAX_OCTETS;
  }

  /** Where the latest message to a datagram's receiver is, or will be. */
  #placeOf(words: Int32Array, at: number, datagram: number): number {
    const mask = this.#latest.length - 1;
    const name = at + datagram * SOCKADDR_WORDS;
    let hash = 0;
    for (let i = 0; i < this.#words; i++) {
      hash = Math.imul(hash ^ words[name + i]!, 0x9e37_79b1);
      hash ^= hash >>> 15;
    }
    for (let place = hash & mask;; place = (place + 1) & mask) {
      const message = this.#latest[place]! - 1;
      if (message < 0) return place;
      const other = at + this.firsts[message]! * SOCKADDR_WORDS;
      let same = 0;
      while (same < this.#words && words[name + same] === words[other + same]) {
        same++;
      }
      if (same === this.#words) return place;
    }
  }
}
