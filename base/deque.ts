/**
 * A queue in which no item moves when the first one leaves. `Array.shift()`
 * moves all that are behind the first, as soon as there are many.
 *
 * @module
 */

/** Places that may be empty in front of the first item before they are cut off. */
const MAX_GAP = 1_024;

/**
 * Items in the order in which they came.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Deque } from "./deque.ts";
 *
 * const deque = new Deque<string>();
 * deque.push("a");
 * deque.push("b");
 * assertEquals(deque.shift(), "a");
 * assertEquals([deque.first, deque.size], ["b", 1]);
 * ```
 */
export class Deque<Item> {
  readonly #items: (Item | undefined)[] = [];
  /** The place of the first item; the places before it are empty. */
  #head = 0;

  /** How many items there are. */
  get size(): number {
    return this.#items.length - this.#head;
  }

  /** The first item, `undefined` when there is none. */
  get first(): Item | undefined {
    return this.#items[this.#head];
  }

  /** The last item, `undefined` when there is none. */
  get last(): Item | undefined {
    return this.size === 0 ? undefined : this.#items[this.#items.length - 1];
  }

  /** Adds an item at the end. */
  push(item: Item): void {
    this.#items.push(item);
  }

  /** Takes the first item out, `undefined` when there is none. */
  shift(): Item | undefined {
    const items = this.#items;
    if (this.size <= 1) {
      // This keeps the array's memory, which the next item needs again.
      const last = items.pop();
      if (this.#head > 0) this.clear();
      return last;
    }
    const item = items[this.#head];
    items[this.#head++] = undefined;
    if (this.#head >= MAX_GAP && this.#head * 2 >= items.length) {
      items.splice(0, this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Takes the first item out that meets a condition; those behind it move. */
  take(meets: (item: Item) => boolean): Item | undefined {
    const items = this.#items;
    for (let place = this.#head; place < items.length; place++) {
      const item = items[place]!;
      if (!meets(item)) continue;
      if (place === this.#head) return this.shift();
      items.splice(place, 1);
      return item;
    }
    return undefined;
  }

  /** Takes all items out. */
  clear(): void {
    this.#items.length = 0;
    this.#head = 0;
  }

  /** The items from the first to the last. */
  *[Symbol.iterator](): Generator<Item> {
    for (let place = this.#head; place < this.#items.length; place++) {
      yield this.#items[place]!;
    }
  }
}
