/**
 * A table of named timers: a machine sets and stops them by name, asks for the earliest,
 * and takes those that are due.
 *
 * @module
 */

import type { Millis } from "./clock.ts";

/**
 * The timers of one machine.
 *
 * @example
 * ```ts
 * import { assert, assertEquals, assertFalse } from "@std/assert";
 * import { Timers } from "./timers.ts";
 *
 * const timers = new Timers(["wake", "sleep"]);
 * timers.set("wake", 100);
 * assertEquals(timers.next, 100);
 * assertFalse(timers.take("wake", 99));
 * assert(timers.take("wake", 100));
 * assertEquals(timers.next, undefined);
 * ```
 */
export class Timers<Name extends string> {
  readonly #names: readonly Name[];
  /**
   * When each is due, `Infinity` for one that does not run; `undefined` until the first
   * is set, for most machines of a fleet set none.
   */
  #at: Record<Name, Millis> | undefined;

  /**
   * Makes timers that do not run.
   *
   * @param names of all of them
   */
  constructor(names: readonly Name[]) {
    this.#names = names;
  }

  /** When a timer is due, `undefined` when it does not run. */
  at(name: Name): Millis | undefined {
    const at = this.#at?.[name];
    return at === Infinity ? undefined : at;
  }

  /** When the earliest is due, `undefined` when none runs. */
  get next(): Millis | undefined {
    if (this.#at === undefined) return undefined;
    let earliest = Infinity;
    for (const name of this.#names) {
      if (this.#at[name] < earliest) earliest = this.#at[name];
    }
    return earliest === Infinity ? undefined : earliest;
  }

  /** Has a timer due at a moment, whether it runs or not. */
  set(name: Name, at: Millis): void {
    this.#at ??= Object.fromEntries(
      this.#names.map((name) => [name, Infinity]),
    ) as Record<Name, Millis>;
    this.#at[name] = at;
  }

  /** Stops a timer; one that does not run stays as it is. */
  stop(name: Name): void {
    if (this.#at !== undefined) this.#at[name] = Infinity;
  }

  /** Stops a timer if it is due; tells whether it was. */
  take(name: Name, now: Millis): boolean {
    const at = this.at(name);
    if (at === undefined || now < at) return false;
    this.stop(name);
    return true;
  }
}
