/**
 * How often what took how long: counts in bins that are as wide, in proportion, at a
 * millisecond as at a day, so that a million latencies take no more room than ten.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";

/** Bins of each doubling: a value is off by 1/64 of itself at most. */
const BINS = 64;

/** The finest difference, in milliseconds: 1/64. */
const UNITS = 64;

/** A value's share of all, for a curve. */
export interface CurvePoint {
  /** Up to so many milliseconds. */
  readonly ms: Millis;
  /** Which part of all, 0 to 1. */
  readonly share: number;
}

/**
 * Times, counted.
 *
 * @example
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { Histogram } from "./histogram.ts";
 *
 * const latencies = new Histogram();
 * for (let ms = 1; ms <= 1_000; ms++) latencies.add(ms);
 * assertEquals(latencies.count, 1_000);
 * assert(Math.abs(latencies.percentile(50)! - 500) < 8);
 * assertEquals(latencies.percentile(100), 1_000);
 * assertEquals(new Histogram().percentile(50), undefined);
 * ```
 */
export class Histogram {
  readonly #bins: number[] = [];
  #count = 0;
  #sum = 0;
  #longest: Millis = 0;

  /** How many there are. */
  get count(): number {
    return this.#count;
  }

  /** Their mean in milliseconds, `undefined` for none. */
  get mean(): Millis | undefined {
    return this.#count === 0 ? undefined : this.#sum / this.#count;
  }

  /** Counts a time, in milliseconds, 0 or more. */
  add(ms: Millis): void {
    this.#count++;
    this.#sum += ms;
    this.#longest = Math.max(this.#longest, ms);
    const bin = binOf(ms);
    while (this.#bins.length <= bin) this.#bins.push(0);
    this.#bins[bin]!++;
  }

  /** Counts all that another one has. */
  addAll(other: Histogram): void {
    this.#count += other.#count;
    this.#sum += other.#sum;
    this.#longest = Math.max(this.#longest, other.#longest);
    other.#bins.forEach((count, bin) => {
      while (this.#bins.length <= bin) this.#bins.push(0);
      this.#bins[bin]! += count;
    });
  }

  /**
   * The time that so many per cent did not exceed, in milliseconds.
   *
   * @param percent more than 0, 100 at most
   * @returns `undefined` when there are none
   */
  percentile(percent: number): Millis | undefined {
    if (this.#count === 0) return undefined;
    const wanted = Math.ceil(percent / 100 * this.#count);
    let sum = 0;
    for (const [bin, count] of this.#bins.entries()) {
      sum += count;
      if (sum >= wanted) return Math.min(endOf(bin), this.#longest);
    }
    return this.#longest;
  }

  /** Which part of all took how long at most: a point for each bin that has any. */
  curve(): readonly CurvePoint[] {
    const points: CurvePoint[] = [];
    let sum = 0;
    for (const [bin, count] of this.#bins.entries()) {
      if (count === 0) continue;
      sum += count;
      const ms = Math.min(endOf(bin), this.#longest);
      points.push({ ms, share: sum / this.#count });
    }
    return points;
  }
}

/** The bin of a time: its first units one by one, then 64 to each doubling. */
function binOf(ms: Millis): number {
  const units = Math.floor(ms * UNITS);
  if (units < 2 * BINS) return units;
  const doublings = Math.floor(Math.log2(units / BINS));
  return doublings * BINS + Math.floor(units / 2 ** doublings);
}

/** The end of a bin, in milliseconds. */
function endOf(bin: number): Millis {
  const doublings = Math.max(0, Math.floor(bin / BINS) - 1);
  return (bin - doublings * BINS + 1) * 2 ** doublings / UNITS;
}
