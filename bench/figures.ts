/**
 * What a load generator counts as it runs: latencies in a histogram, and for each flow
 * of messages whether all of them came, once and in order. Counting a message
 * allocates nothing.
 *
 * @module
 */

/** Buckets for each power of two: a value is known to 1 in 128. */
const SUB_BITS = 7;
const SUBS = 1 << SUB_BITS;

/** Whole microseconds up to this, half an hour, are told apart. */
const MAX_US = 2 ** 31 - 1;

/**
 * A histogram of whole microseconds whose buckets grow with the value, so that
 * every percentile is known to within 0.8 %.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Histogram } from "./figures.ts";
 *
 * const histogram = new Histogram();
 * for (let us = 1; us <= 100; us++) histogram.add(us);
 * assertEquals([histogram.count, histogram.percentile(0.99)], [100, 99]);
 * ```
 */
export class Histogram {
  readonly #buckets = new Float64Array((32 - SUB_BITS + 1) * SUBS);
  #count = 0;
  #max = 0;

  /** Values that were added. */
  get count(): number {
    return this.#count;
  }

  /** The greatest of them, 0 when there is none. */
  get max(): number {
    return this.#max;
  }

  /** Adds a value in microseconds; what is below 0 is 0. */
  add(us: number): void {
    const value = us <= 0 ? 0 : us >= MAX_US ? MAX_US : us | 0;
    this.#buckets[bucketOf(value)]!++;
    this.#count++;
    if (value > this.#max) this.#max = value;
  }

  /** Forgets all. */
  clear(): void {
    this.#buckets.fill(0);
    this.#count = 0;
    this.#max = 0;
  }

  /**
   * The value that a share of all does not exceed, in microseconds: the middle of
   * its bucket. 0 when there is none.
   *
   * @param share 0 to 1
   */
  percentile(share: number): number {
    const rank = Math.max(1, Math.ceil(share * this.#count));
    if (rank >= this.#count) return this.#max;
    let seen = 0;
    for (let i = 0; i < this.#buckets.length; i++) {
      seen += this.#buckets[i]!;
      if (seen >= rank) return Math.min(this.#max, middleOf(i));
    }
    return this.#max;
  }
}

/** Each value below 128 has a bucket, then each power of two has 128. */
function bucketOf(value: number): number {
  if (value < SUBS) return value;
  const shift = 31 - Math.clz32(value) - SUB_BITS;
  return ((shift + 1) << SUB_BITS) + (value >>> shift) - SUBS;
}

function middleOf(bucket: number): number {
  if (bucket < 2 * SUBS) return bucket;
  const shift = (bucket >> SUB_BITS) - 1;
  const low = (SUBS + (bucket & (SUBS - 1))) * 2 ** shift;
  return low + (2 ** shift - 1) / 2;
}

/** Messages that are missing and still told apart from doubled ones. */
const MAX_MISSING = 1_000_000;

/**
 * Whether the messages of each flow, numbered from 0, all came, once and in order.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { FlowCheck } from "./figures.ts";
 *
 * const check = new FlowCheck(1);
 * for (const seq of [0, 2, 1, 2]) check.take(0, seq);
 * assertEquals([check.received, check.reordered, check.duplicates], [3, 1, 1]);
 * assertEquals(check.lostOf(0, 4), 1);
 * ```
 */
export class FlowCheck {
  /** What each flow is to bring next, if it is in order. */
  readonly #next: Uint32Array;
  /** Messages of each flow that came, each once. */
  readonly #received: Uint32Array;
  /** What later ones have overtaken, by flow and number. */
  readonly #missing = new Set<number>();
  #sum = 0;
  #reordered = 0;
  #duplicates = 0;

  /** Starts with so many flows in which nothing has come. */
  constructor(flows: number) {
    this.#next = new Uint32Array(flows);
    this.#received = new Uint32Array(flows);
  }

  /** Messages that came, each once. */
  get received(): number {
    return this.#sum;
  }

  /** Those of them that a later one had overtaken. */
  get reordered(): number {
    return this.#reordered;
  }

  /** Messages that had come before. */
  get duplicates(): number {
    return this.#duplicates;
  }

  /**
   * Takes a message.
   *
   * @returns whether it has not come before
   */
  take(flow: number, seq: number): boolean {
    const next = this.#next[flow]!;
    if (seq !== next) {
      if (seq < next) {
        if (!this.#missing.delete(keyOf(flow, seq))) {
          this.#duplicates++;
          return false;
        }
        this.#reordered++;
      } else {
        for (let lost = next; lost < seq; lost++) {
          if (this.#missing.size >= MAX_MISSING) break;
          this.#missing.add(keyOf(flow, lost));
        }
      }
    }
    if (seq >= next) this.#next[flow] = seq + 1;
    this.#received[flow]!++;
    this.#sum++;
    return true;
  }

  /** Messages of a flow that have not come, if so many were sent. */
  lostOf(flow: number, sent: number): number {
    return sent - this.#received[flow]!;
  }
}

function keyOf(flow: number, seq: number): number {
  return flow * 2 ** 32 + seq;
}

/** What is in the middle, and from where to where. */
export interface Spread {
  /** The median. */
  readonly median: number;
  /** The least. */
  readonly min: number;
  /** The greatest. */
  readonly max: number;
}

/**
 * The median of some values, and their spread.
 *
 * @param values in any order
 * @returns `NaN` for all three when there is none
 */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const median =
    (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
  return { median, min: sorted[0] ?? NaN, max: sorted.at(-1) ?? NaN };
}
