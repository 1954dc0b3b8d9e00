/**
 * A buffer: the last datagrams that came and went, their octets in one ring, with
 * when, which way and whose.
 *
 * A datagram costs a copy of its octets and a few numbers in arrays: no object is
 * made for it until somebody asks. Of both, datagrams and octets, there is only so
 * much: the oldest go, and are counted. The arrays start small and double until
 * they are as long as they may be.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import { type Peer, peerOf } from "../base/peer.ts";
import { requireInteger } from "../base/units.ts";

/** Which way a datagram went, seen from the program that has the buffer; or it is a note. */
export type Way = "received" | "sent" | "note";

/**
 * How much a buffer keeps.
 *
 * @example
 * ```ts
 * import { Broker, type DatagramBufferOptions } from "../mod.ts";
 *
 * const journal: DatagramBufferOptions = { maxEntries: 100 };
 * await using _broker = await Broker.listen({ port: 0, journal });
 * ```
 */
export interface DatagramBufferOptions {
  /** Datagrams and notes, 1 to 10,000,000. Default 8,192. */
  readonly maxEntries?: number;
  /** Their octets, 65,536 (any datagram fits) to 1 GiB. Default 1 MiB. */
  readonly maxOctets?: number;
}

/** A part of a buffer as arrays of its own, which can be handed to another thread. */
export interface Slice {
  /** The number of the first entry. */
  readonly first: number;
  /** When each was, in milliseconds. */
  readonly times: Float64Array<ArrayBuffer>;
  /** Which way each went, by its place in {@linkcode WAYS}. */
  readonly ways: Uint8Array<ArrayBuffer>;
  /** How many octets each has. */
  readonly lengths: Uint32Array<ArrayBuffer>;
  /** Whose each is, by its place in `peers`, from 1; 0 for nobody's. */
  readonly owners: Uint32Array<ArrayBuffer>;
  /** Who they are. */
  readonly peers: readonly Peer[];
  /** All octets, one entry behind the other. */
  readonly octets: Uint8Array<ArrayBuffer>;
}

/** The ways, in the order of their codes. */
export const WAYS: readonly Way[] = ["received", "sent", "note"];

const CODES: Readonly<Record<Way, number>> = { received: 0, sent: 1, note: 2 };

const FIRST_ENTRIES = 256;
const FIRST_OCTETS = 65_536;
const MOST_ENTRIES = 10_000_000;
const MOST_OCTETS = 2 ** 30;

/** Ports, modulo this, at which a peer is looked for first. */
const RECENT = 1_024;

/** Below this a loop copies faster than a call of `set`. */
const SHORT = 48;

/**
 * A buffer.
 *
 * Entries are numbered from 0 in the order in which they came, and keep their
 * numbers: those from `first` on, before `next`, are still there.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { peerOf } from "../base/peer.ts";
 * import { DatagramBuffer } from "./buffer.ts";
 *
 * const buffer = new DatagramBuffer({ maxEntries: 2 });
 * const peer = peerOf("127.0.0.1", 4711);
 * for (const octet of [7, 8, 9]) {
 *   buffer.add(octet, "received", peer, Uint8Array.of(octet));
 * }
 * assertEquals([buffer.first, buffer.next], [1, 3]);
 * assertEquals(buffer.bytesOf(1), Uint8Array.of(8));
 * assertEquals([buffer.atOf(2), buffer.peerOf(2)], [9, peer]);
 * ```
 */
export class DatagramBuffer {
  /**
   * Is told of the oldest entry just before it goes; it may still be read, and
   * nothing be added.
   */
  onForget: ((entry: number) => void) | undefined;
  readonly #maxEntries: number;
  readonly #maxOctets: number;
  #first = 0;
  #size = 0;
  #used = 0;

  // A slot for each entry, in a ring: the oldest is in #oldest.
  #slots: number;
  #oldest = 0;
  #times: Float64Array;
  #ways: Uint8Array;
  #owners: Uint32Array;
  #starts: Uint32Array;
  #lengths: Uint32Array;

  // Octets, in a ring: an entry that does not fit before the end begins at 0.
  #ring: Uint8Array;
  #head = 0;

  // Peers, each once while an entry is theirs; place 0 is nobody.
  readonly #places = new Map<string, number>();
  readonly #peers: (Peer | undefined)[] = [undefined];
  readonly #entriesOf: number[] = [0];
  readonly #free: number[] = [];
  /** Where a peer was found last, by its port: its key need not be hashed then. */
  readonly #recent = new Uint32Array(RECENT);

  /**
   * Starts empty.
   *
   * @throws {RangeError} when a limit is out of its range
   */
  constructor(options: DatagramBufferOptions = {}) {
    const { maxEntries = 8_192, maxOctets = 2 ** 20 } = options;
    requireInteger("maxEntries", maxEntries, 1, MOST_ENTRIES);
    requireInteger("maxOctets", maxOctets, 65_536, MOST_OCTETS);
    this.#maxEntries = maxEntries;
    this.#maxOctets = maxOctets;
    const slots = Math.min(FIRST_ENTRIES, maxEntries);
    this.#slots = slots;
    this.#times = new Float64Array(slots);
    this.#ways = new Uint8Array(slots);
    this.#owners = new Uint32Array(slots);
    this.#starts = new Uint32Array(slots);
    this.#lengths = new Uint32Array(slots);
    this.#ring = new Uint8Array(Math.min(FIRST_OCTETS, maxOctets));
  }

  /** The number of the oldest entry that is kept: so many have gone. */
  get first(): number {
    return this.#first;
  }

  /** The number that the next entry will have: so many were added. */
  get next(): number {
    return this.#first + this.#size;
  }

  /** Octets that are kept. */
  get octets(): number {
    return this.#used;
  }

  /**
   * Adds an entry; its octets are copied.
   *
   * @param peer who sent it or was sent it; a note may have nobody
   * @throws {RangeError} when it has more than 65,536 octets
   */
  add(at: Millis, way: Way, peer: Peer | undefined, bytes: Uint8Array): void {
    const { length } = bytes;
    if (length > 65_536) {
      throw new RangeError(
        `Cannot keep ${length} octets: no datagram has them`,
      );
    }
    if (this.#size === this.#slots) this.#makeSlot();
    const start = this.#place(length);
    let slot = this.#oldest + this.#size;
    if (slot >= this.#slots) slot -= this.#slots;
    this.#times[slot] = at;
    this.#ways[slot] = CODES[way];
    this.#owners[slot] = peer === undefined ? 0 : this.#placeOf(peer);
    this.#starts[slot] = start;
    this.#lengths[slot] = length;
    const ring = this.#ring;
    if (length < SHORT) {
      for (let i = 0; i < length; i++) ring[start + i] = bytes[i]!;
    } else ring.set(bytes, start);
    this.#head = start + length;
    this.#used += length;
    this.#size++;
  }

  /** When an entry was. */
  atOf(entry: number): Millis {
    return this.#times[this.#slotOf(entry)]!;
  }

  /** Which way it went. */
  wayOf(entry: number): Way {
    return WAYS[this.#ways[this.#slotOf(entry)]!]!;
  }

  /** Whose it is: an address, also for a node behind a forwarder. */
  peerOf(entry: number): Peer | undefined {
    return this.#peers[this.#owners[this.#slotOf(entry)]!];
  }

  /** Its octets, a view that is valid until the next entry is added. */
  bytesOf(entry: number): Uint8Array {
    const slot = this.#slotOf(entry);
    const start = this.#starts[slot]!;
    return this.#ring.subarray(start, start + this.#lengths[slot]!);
  }

  /**
   * Copies entries that follow each other, as many as there are within limits.
   *
   * @param from the number of the first, at least `first`
   * @param maxEntries how many at most, 1 or more
   * @param maxOctets after how many octets no further one is begun
   */
  slice(from: number, maxEntries: number, maxOctets: number): Slice {
    const most = Math.min(this.next - from, maxEntries);
    const start = this.#slotOf(from);
    let octets = 0;
    let count = 0;
    for (let slot = start; count < most && octets < maxOctets; count++) {
      octets += this.#lengths[slot]!;
      if (++slot === this.#slots) slot = 0;
    }
    const times = new Float64Array(count);
    const ways = new Uint8Array(count);
    const lengths = new Uint32Array(count);
    const owners = new Uint32Array(count);
    // One piece, or two where the ring of slots has its end.
    const whole = Math.min(count, this.#slots - start);
    for (
      const [i, at, size] of [[0, start, whole], [whole, 0, count - whole]]
    ) {
      times.set(this.#times.subarray(at, at! + size!), i);
      ways.set(this.#ways.subarray(at, at! + size!), i);
      lengths.set(this.#lengths.subarray(at, at! + size!), i);
      owners.set(this.#owners.subarray(at, at! + size!), i);
    }
    const peers: Peer[] = [];
    const renumbered = new Uint32Array(this.#peers.length);
    for (let i = 0; i < count; i++) {
      const place = owners[i]!;
      if (place === 0) continue;
      renumbered[place] ||= peers.push(this.#peers[place]!);
      owners[i] = renumbered[place]!;
    }
    const copy = new Uint8Array(octets);
    this.#copy(from, count, copy);
    return { first: from, times, ways, lengths, owners, peers, octets: copy };
  }

  #slotOf(entry: number): number {
    const slot = this.#oldest + entry - this.#first;
    return slot >= this.#slots ? slot - this.#slots : slot;
  }

  /** Copies the octets of entries: one piece, or two where the ring has its end. */
  #copy(from: number, count: number, target: Uint8Array): void {
    let done = 0;
    let slot = this.#slotOf(from);
    for (let i = 0; i < count;) {
      const start = this.#starts[slot]!;
      let end = start;
      while (i < count && this.#starts[slot] === end) {
        end += this.#lengths[slot]!;
        i++;
        if (++slot === this.#slots) slot = 0;
      }
      target.set(this.#ring.subarray(start, end), done);
      done += end - start;
    }
  }

  #makeSlot(): void {
    if (this.#slots === this.#maxEntries) return this.#forget();
    const slots = Math.min(this.#slots * 2, this.#maxEntries);
    const grown = <A extends Float64Array | Uint8Array | Uint32Array>(
      array: A,
      next: A,
    ): A => {
      next.set(array.subarray(this.#oldest));
      next.set(array.subarray(0, this.#oldest), this.#slots - this.#oldest);
      return next;
    };
    this.#times = grown(this.#times, new Float64Array(slots));
    this.#ways = grown(this.#ways, new Uint8Array(slots));
    this.#owners = grown(this.#owners, new Uint32Array(slots));
    this.#starts = grown(this.#starts, new Uint32Array(slots));
    this.#lengths = grown(this.#lengths, new Uint32Array(slots));
    this.#oldest = 0;
    this.#slots = slots;
  }

  /** Finds room for octets, in one piece, and says where. */
  #place(length: number): number {
    while (true) {
      if (this.#size === 0) return 0;
      const tail = this.#starts[this.#oldest]!;
      const head = this.#head;
      if (head >= tail) {
        if (this.#ring.length - head >= length) return head;
        // Never up to the tail: head and tail at one place mean that all is free.
        if (length < tail) return 0;
      } else if (length < tail - head) return head;
      if (this.#ring.length < this.#maxOctets) this.#lengthen();
      else this.#forget();
    }
  }

  #lengthen(): void {
    const ring = new Uint8Array(
      Math.min(this.#ring.length * 2, this.#maxOctets),
    );
    this.#copy(this.#first, this.#size, ring);
    let start = 0;
    for (let i = 0; i < this.#size; i++) {
      const slot = this.#slotOf(this.#first + i);
      this.#starts[slot] = start;
      start += this.#lengths[slot]!;
    }
    this.#ring = ring;
    this.#head = start;
  }

  #forget(): void {
    this.onForget?.(this.#first);
    const slot = this.#oldest;
    this.#used -= this.#lengths[slot]!;
    const place = this.#owners[slot]!;
    if (place > 0 && --this.#entriesOf[place]! === 0) {
      this.#places.delete(this.#peers[place]!.key);
      this.#peers[place] = undefined;
      this.#free.push(place);
    }
    this.#oldest = slot + 1 === this.#slots ? 0 : slot + 1;
    this.#first++;
    this.#size--;
  }

  #placeOf({ hostname, port, key }: Peer): number {
    const slot = port % RECENT;
    const recent = this.#recent[slot]!;
    const known = this.#peers[recent];
    if (known?.port === port && known.hostname === hostname) {
      this.#entriesOf[recent]!++;
      return recent;
    }
    // On the wire a node behind a forwarder is the forwarder.
    const plain = key.includes("/") ? peerOf(hostname, port).key : key;
    let place = this.#places.get(plain);
    if (place === undefined) {
      place = this.#free.pop() ?? this.#peers.length;
      this.#peers[place] = { hostname, port, key: plain };
      this.#entriesOf[place] = 0;
      this.#places.set(plain, place);
    }
    this.#recent[slot] = place;
    this.#entriesOf[place]!++;
    return place;
  }
}
