/**
 * Datagrams on their way to a thread that sends them: a ring in shared memory, with
 * one thread that writes and one that reads.
 *
 * The ring is made of blocks of 32 octets. A datagram is a block with its length
 * and the `sockaddr` of its receiver (`transport/sockaddr.ts`), and behind it its octets,
 * unless they are the same as those of the datagram before: then a fan-out costs
 * a block a receiver. What would not fit before the end begins at the start, and
 * a block says so.
 *
 * `HEAD` is where the writer has got to, `TAIL` where the reader has: what lies
 * between is the reader's, all else the writer's. Both count up and wrap. The
 * reader says by `CLAIM` what it is about to send, so that a thread that follows a
 * reader that failed sends nothing twice. The octets that were read last before
 * `TAIL` are kept in shared memory, as the first behind it may be the same.
 *
 * @module
 */

import { SOCKADDR_WORDS } from "./sockaddr.ts";

const BLOCK = 32;
const BLOCK_WORDS = BLOCK / 4;

/** Octets of a ring, unless told otherwise: some 8,000 datagrams of 64 octets. */
const RING_OCTETS = 1 << 20;

/** Room for the octets that were read last, behind the head of shared memory. */
const LAST_OCTETS = 65_536;

/** Octets of the head of shared memory. */
const HEAD_OCTETS = 256;

// The writer's words and the reader's are in different lines of the cache.
const HEAD = 0;
/** 1 when the reader is to end once it has read all. */
const STOP = 1;
/** 1 while the reader sleeps, and has to be woken. */
const SLEEPING = 2;
/** Datagrams that were written; it wraps. */
const WRITTEN = 3;
const TAIL = 16;
const CLAIM = 17;
const LAST_LENGTH = 18;
/** Datagrams that were read and are done with, sent or not; it wraps. */
const DONE = 19;
/** Counters from here on, 64 bits each. */
const COUNTERS = 16;

/** The block's length says: the octets are those of the datagram before. */
const SAME = 1 << 30;
/** The block says: go on at the start. */
const WRAP = -1;

/** What a reader counts; each is the place of its counter. */
export const RING_COUNTERS = [
  "sent",
  "congested",
  "lost",
  "EPERM",
  "EACCES",
  "EINVAL",
  "EMSGSIZE",
  "EADDRNOTAVAIL",
  "ENETUNREACH",
  "EHOSTUNREACH",
  "ECONNREFUSED",
  "other",
] as const;

/** One of {@linkcode RING_COUNTERS}. */
export type RingCounter = typeof RING_COUNTERS[number];

/** What both ends have. */
export abstract class SharedRing {
  /** The memory that both ends share. */
  readonly memory: SharedArrayBuffer;
  /** The words that say how far either end has got. */
  protected readonly head: Int32Array;
  /** The blocks, as words. */
  protected readonly words: Int32Array;
  /** The blocks, as octets. */
  protected readonly bytes: Uint8Array;
  /** The octets that were read last, and room for more. */
  protected readonly last: Uint8Array;
  /** How many blocks there are. */
  protected readonly blocks: number;
  readonly #counters: BigInt64Array;

  /** Looks at the memory of a ring. */
  constructor(memory: SharedArrayBuffer) {
    const start = HEAD_OCTETS + LAST_OCTETS;
    this.memory = memory;
    this.head = new Int32Array(memory, 0, HEAD_OCTETS / 4);
    this.#counters = new BigInt64Array(memory, 0, HEAD_OCTETS / 8);
    this.last = new Uint8Array(memory, HEAD_OCTETS, LAST_OCTETS);
    this.words = new Int32Array(memory, start);
    this.bytes = new Uint8Array(memory, start);
    this.blocks = this.bytes.length / BLOCK;
  }

  /** Counts something that a reader does. */
  count(counter: RingCounter, times = 1): void {
    const at = COUNTERS + RING_COUNTERS.indexOf(counter);
    Atomics.add(this.#counters, at, BigInt(times));
  }

  /** What the readers of this ring have counted. */
  counted(counter: RingCounter): number {
    const at = COUNTERS + RING_COUNTERS.indexOf(counter);
    return Number(Atomics.load(this.#counters, at));
  }
}

/**
 * The end that puts datagrams in.
 *
 * @example
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { SharedRingReader, SharedRingWriter } from "./shared_ring.ts";
 *
 * const writer = new SharedRingWriter();
 * const reader = new SharedRingReader(writer.memory);
 * assert(writer.write(new Int32Array(8), 0, Uint8Array.of(1, 2)));
 * writer.publish();
 * assertEquals(writer.pending, 1);
 *
 * const read: number[] = [];
 * reader.take((_words, _at, bytes) => read.push(bytes.length) > 0);
 * reader.release();
 * assertEquals([read, writer.pending], [[2], 0]);
 * ```
 */
export class SharedRingWriter extends SharedRing {
  /** Where the next block goes; it wraps, as `HEAD` does. */
  #position: number;
  #last: Uint8Array | undefined;

  /**
   * Makes a ring.
   *
   * @param octets its size, a power of two from 128 KiB on
   * @param position where `HEAD` and `TAIL` begin to count
   */
  constructor(octets: number = RING_OCTETS, position = 0) {
    super(new SharedArrayBuffer(HEAD_OCTETS + LAST_OCTETS + octets));
    this.#position = position | 0;
    for (const word of [HEAD, TAIL, CLAIM]) this.head[word] = this.#position;
  }

  /** Datagrams that were written and are not done with. */
  get pending(): number {
    return this.head[WRITTEN]! - Atomics.load(this.head, DONE) | 0;
  }

  /**
   * Writes a datagram, which the reader sees when it is published.
   *
   * @param words where the receiver's `sockaddr` stands
   * @param at its first word there
   * @param bytes the datagram, 65,535 octets at most
   * @returns false when there is no room
   */
  write(words: Int32Array, at: number, bytes: Uint8Array): boolean {
    const isSame = bytes === this.#last;
    const size = isSame ? 1 : 1 + (bytes.length + BLOCK - 1 >>> 5);
    const mask = this.blocks - 1;
    let block = this.#position & mask;
    const left = this.blocks - block;
    const skipped = size > left ? left : 0;
    const used = this.#position - Atomics.load(this.head, TAIL) | 0;
    if (used + skipped + size > this.blocks) return false;
    if (skipped > 0) {
      this.words[block * BLOCK_WORDS] = WRAP;
      this.#position = this.#position + skipped | 0;
      block = 0;
    }
    const base = block * BLOCK_WORDS;
    this.words[base] = isSame ? bytes.length | SAME : bytes.length;
    for (let i = 0; i < SOCKADDR_WORDS - 1; i++) {
      this.words[base + 1 + i] = words[at + i]!;
    }
    if (!isSame) {
      this.bytes.set(bytes, (block + 1) * BLOCK);
      this.#last = bytes;
    }
    this.#position = this.#position + size | 0;
    this.head[WRITTEN] = this.head[WRITTEN]! + 1;
    return true;
  }

  /** Lets the reader have what was written, and wakes it if it sleeps. */
  publish(): void {
    if (Atomics.load(this.head, HEAD) === this.#position) return;
    Atomics.store(this.head, HEAD, this.#position);
    if (Atomics.load(this.head, SLEEPING) === 1) this.#wake();
  }

  /** Asks the reader to end when it has read what was published. */
  stop(): void {
    Atomics.store(this.head, STOP, 1);
    this.#wake();
  }

  #wake(): void {
    Atomics.store(this.head, SLEEPING, 0);
    Atomics.notify(this.head, SLEEPING);
  }
}

/**
 * Is given a datagram.
 *
 * @param words where the receiver's `sockaddr` stands
 * @param at its first word there
 * @param bytes the datagram; the same object again for the same octets
 * @returns whether it was taken
 */
export type DatagramTaker = (
  words: Int32Array,
  at: number,
  bytes: Uint8Array,
) => boolean;

/** The end that takes datagrams out; there may be one after another, never two. */
export class SharedRingReader extends SharedRing {
  #position: number;
  #taken = 0;
  /** The octets that were read last: in the ring, once it is released kept. */
  #bytes: Uint8Array;
  #isKept = true;

  /**
   * Goes on where the last reader was, behind what it may have sent.
   *
   * @param memory what the writer made
   */
  constructor(memory: SharedArrayBuffer) {
    super(memory);
    this.#position = Atomics.load(this.head, TAIL);
    this.#bytes = this.last.subarray(0, Atomics.load(this.head, LAST_LENGTH));
    const claimed = Atomics.load(this.head, CLAIM);
    if (claimed === this.#position) return;
    this.take((_words, _at, _bytes) => this.#position !== claimed);
    this.count("lost", this.#taken);
    this.release();
  }

  /**
   * Takes datagrams out, in order, until there are none or one is not taken.
   * They are the taker's until {@linkcode SharedRingReader.release}.
   *
   * @returns how many
   */
  take(taker: DatagramTaker): number {
    const end = Atomics.load(this.head, HEAD);
    const mask = this.blocks - 1;
    let count = 0;
    while (this.#position !== end) {
      const block = this.#position & mask;
      const base = block * BLOCK_WORDS;
      const word = this.words[base]!;
      if (word === WRAP) {
        this.#position = this.#position + this.blocks - block | 0;
        continue;
      }
      const isSame = (word & SAME) !== 0;
      const length = word & ~SAME;
      if (!isSame) this.#read((block + 1) * BLOCK, length);
      if (!taker(this.words, base + 1, this.#bytes)) break;
      const size = isSame ? 1 : 1 + (length + BLOCK - 1 >>> 5);
      this.#position = this.#position + size | 0;
      count++;
    }
    this.#taken += count;
    return count;
  }

  #read(at: number, length: number): void {
    if (length > LAST_OCTETS) {
      throw new RangeError(`Cannot read a datagram of ${length} octets`);
    }
    this.#bytes = this.bytes.subarray(at, at + length);
    this.#isKept = false;
  }

  /** Keeps what was read last, before the writer may use its place. */
  #keep(): void {
    if (this.#isKept) return;
    const { length } = this.#bytes;
    this.last.set(this.#bytes);
    Atomics.store(this.head, LAST_LENGTH, length);
    this.#bytes = this.last.subarray(0, length);
    this.#isKept = true;
  }

  /** Says that what was taken is about to be sent. */
  claim(): void {
    Atomics.store(this.head, CLAIM, this.#position);
  }

  /** Gives back the room of what was taken. */
  release(): void {
    Atomics.store(this.head, CLAIM, this.#position);
    this.#keep();
    Atomics.store(this.head, TAIL, this.#position);
    Atomics.add(this.head, DONE, this.#taken);
    this.#taken = 0;
  }

  /** Leaves out all that was published, and counts it as lost. */
  abandon(): void {
    this.#position = Atomics.load(this.head, HEAD);
    Atomics.store(this.head, CLAIM, this.#position);
    Atomics.store(this.head, TAIL, this.#position);
    const left = this.head[WRITTEN]! - Atomics.load(this.head, DONE) | 0;
    Atomics.add(this.head, DONE, left);
    this.count("lost", left);
    this.#taken = 0;
  }

  /** Whether it is to end once it has read all. */
  get isStopped(): boolean {
    return Atomics.load(this.head, STOP) === 1;
  }

  /** Sleeps until there is something to read, or the end. Blocks the thread. */
  wait(): void {
    Atomics.store(this.head, SLEEPING, 1);
    const isIdle = Atomics.load(this.head, HEAD) === this.#position;
    if (isIdle && !this.isStopped) Atomics.wait(this.head, SLEEPING, 1);
    Atomics.store(this.head, SLEEPING, 0);
  }
}
