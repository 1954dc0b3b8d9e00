/**
 * Time and chance as values that are passed in. Nothing in a pure room reads
 * the system's clock or its random numbers: a shell hands it one of these, a
 * test hands it one that it can turn by hand and repeat.
 *
 * @module
 */

/**
 * A moment or a length of time in milliseconds. Moments count from a start that
 * only the clock knows: compare them, never show them as a date.
 *
 * @example
 * ```ts
 * import type { Millis } from "../mod.ts";
 *
 * const _minute: Millis = 60_000;
 * ```
 */
export type Millis = number;

/**
 * Where a shell reads the time.
 *
 * @example
 * ```ts
 * import { ManualClock } from "../entries/testing.ts";
 * import { Broker, type Clock } from "../mod.ts";
 *
 * const clock: Clock = new ManualClock();
 * await using _broker = await Broker.listen({ port: 0, clock });
 * ```
 */
export interface Clock {
  /** The present moment; never less than what it answered before. */
  now(): Millis;
  /**
   * Calls back, once, when a moment has come. A clock that has no such alarm goes
   * as the system's does, whose timers are used instead.
   *
   * @param at the moment
   * @param ring is called then, never within this call
   * @returns what takes the alarm back
   */
  alarm?(at: Millis, ring: () => void): () => void;
}

/**
 * A clock that stands still until it is told to move.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { ManualClock } from "./clock.ts";
 *
 * const clock = new ManualClock();
 * clock.advance(5_000);
 * assertEquals(clock.now(), 5_000);
 * ```
 */
export class ManualClock implements Clock {
  #now: Millis;
  readonly #alarms = new Set<
    { readonly at: Millis; readonly ring: () => void }
  >();

  /**
   * Makes a clock.
   *
   * @param start the first moment, in milliseconds
   */
  constructor(start: Millis = 0) {
    this.#now = start;
  }

  /** The moment that the clock was last moved to. */
  now(): Millis {
    return this.#now;
  }

  /**
   * Moves the clock forward; alarms ring in their order, each at its moment.
   *
   * @param ms how far, in milliseconds, 0 or more
   * @throws {RangeError} when `ms` is negative: time does not go back
   */
  advance(ms: Millis): void {
    if (!(ms >= 0)) {
      throw new RangeError(`Cannot advance the clock by "${ms}" ms`);
    }
    const end = this.#now + ms;
    for (let next; (next = this.#nextBy(end)) !== undefined;) {
      this.#alarms.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.ring();
    }
    this.#now = Math.max(this.#now, end);
  }

  /** Calls back when the clock is moved to a moment, or past it. */
  alarm(at: Millis, ring: () => void): () => void {
    const alarm = { at, ring };
    this.#alarms.add(alarm);
    return () => this.#alarms.delete(alarm);
  }

  /** The first alarm that is due by then. */
  #nextBy(
    end: Millis,
  ): { readonly at: Millis; readonly ring: () => void } | undefined {
    let next;
    for (const alarm of this.#alarms) {
      if (alarm.at <= end && (next === undefined || alarm.at < next.at)) {
        next = alarm;
      }
    }
    return next;
  }
}

/** The earlier of two moments, either of which may be never. */
export function earliest(
  one: Millis | undefined,
  other: Millis | undefined,
): Millis | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return Math.min(one, other);
}

/** A source of random numbers, each at least 0 and less than 1. */
export type Random = () => number;

/**
 * Makes a source whose numbers depend on the seed alone: the same seed gives
 * the same numbers on every machine. Not for secrets.
 *
 * @param seed any number; its lowest 32 bits are used
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { seededRandom } from "./clock.ts";
 *
 * assertEquals(seededRandom(7)(), seededRandom(7)());
 * ```
 */
export function seededRandom(seed: number): Random {
  // A Weyl sequence whose steps are scrambled by two multiply-xorshift rounds.
  let weyl = seed >>> 0;
  return () => {
    weyl = (weyl + 0x9e3779b9) >>> 0;
    let word = weyl;
    word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
    word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
    return ((word ^ (word >>> 16)) >>> 0) / 2 ** 32;
  };
}
