/**
 * A limit of memory that many tables share. It counts octets as the tables estimate
 * them.
 *
 * @module
 */

/**
 * A number of octets to spend.
 *
 * @example
 * ```ts
 * import { assert, assertEquals, assertFalse } from "@std/assert";
 * import { MemoryBudget } from "./memory_budget.ts";
 *
 * const budget = new MemoryBudget(100);
 * assert(budget.take(60));
 * assertFalse(budget.take(60));
 * budget.give(60);
 * assertEquals(budget.used, 0);
 * ```
 */
export class MemoryBudget {
  readonly #limit: number;
  readonly #whole: MemoryBudget | undefined;
  #used = 0;

  /**
   * Starts with nothing spent.
   *
   * @param limit octets, 0 or more
   * @param whole the budget that this one is a part of: it is charged, too
   */
  constructor(limit: number, whole?: MemoryBudget) {
    this.#limit = limit;
    this.#whole = whole;
  }

  /** Octets that are spent. */
  get used(): number {
    return this.#used;
  }

  /** Whether so many octets more are still within the limit. */
  allows(octets: number): boolean {
    return this.#used + octets <= this.#limit &&
      (this.#whole?.allows(octets) ?? true);
  }

  /**
   * Spends octets.
   *
   * @returns whether they were within the limit; nothing is spent if not
   */
  take(octets: number): boolean {
    if (!this.allows(octets)) return false;
    this.charge(octets);
    return true;
  }

  /** Spends octets; the limit does not apply. */
  charge(octets: number): void {
    this.#used += octets;
    this.#whole?.charge(octets);
  }

  /** Gives back octets that were spent. */
  give(octets: number): void {
    this.#used -= octets;
    this.#whole?.give(octets);
  }
}
