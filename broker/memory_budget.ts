/**
 * A bound on memory that many tables share. Knows octets, and nothing of what
 * they are spent on.
 *
 * @module
 */

/**
 * So many octets, and no more.
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
   * @param whole the budget that this one is a share of: what is spent here is
   * spent there too
   */
  constructor(limit: number, whole?: MemoryBudget) {
    this.#limit = limit;
    this.#whole = whole;
  }

  /** Octets that are spent. */
  get used(): number {
    return this.#used;
  }

  /** Whether so many octets more would still be within the bound. */
  allows(octets: number): boolean {
    return this.#used + octets <= this.#limit &&
      (this.#whole?.allows(octets) ?? true);
  }

  /**
   * Spends octets.
   *
   * @returns whether they were there; nothing is spent if not
   */
  take(octets: number): boolean {
    if (!this.allows(octets)) return false;
    this.charge(octets);
    return true;
  }

  /** Spends octets whether they are there or not. */
  charge(octets: number): void {
    this.#used += octets;
    this.#whole?.charge(octets);
  }

  /** Gives octets back that were taken. */
  give(octets: number): void {
    this.#used -= octets;
    this.#whole?.give(octets);
  }
}
