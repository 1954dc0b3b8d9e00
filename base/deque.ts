/**
 * A queue that gives its first item away without moving the others.
 *
 * @module
 */

/** A list of so few is moved: that costs less than to grow it anew. */
const FEW = 16;

/** Empty places at the head after which they are given back. */
const MAX_EMPTY = 1_024;

/**
 * A queue.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Deque } from "./deque.ts";
 *
 * const deque = new Deque<string>();
 * deque.push("a");
 * deque.push("b");
 * assertEquals([deque.shift(), deque.length, deque.first], ["a", 1, "b"]);
 * ```
 */
export class Deque<Item> implements Iterable<Item> {
  #items: (Item | undefined)[] = [];
  /** The place of the first item; the places before it are empty. */
  #head = 0;

  /** How many items there are. */
  get length(): number {
    return this.#items.length - this.#head;
  }

  /** The item that came first. */
  get first(): Item | undefined {
    return this.#items[this.#head];
  }

  /** The item that came last. */
  get last(): Item | undefined {
    return this.length === 0 ? undefined : this.#items.at(-1);
  }

  /** Puts an item at the end. */
  push(item: Item): void {
    this.#items.push(item);
  }

  /** Takes the first item out; `undefined` when there is none. */
  shift(): Item | undefined {
    if (this.#head === 0 && this.#items.length <= FEW) {
      return this.#items.shift();
    }
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#items.length) this.clear();
    else if (this.#head > MAX_EMPTY) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Takes the first item out that fits; `undefined` when none does. */
  remove(fits: (item: Item) => boolean): Item | undefined {
    for (let at = this.#head; at < this.#items.length; at++) {
      const item = this.#items[at]!;
      if (!fits(item)) continue;
      if (at === this.#head) return this.shift();
      this.#items.splice(at, 1);
      return item;
    }
    return undefined;
  }

  /** Takes all items out. */
  clear(): void {
    this.#items = [];
    this.#head = 0;
  }

  /** The items, in the order in which they came. */
  *[Symbol.iterator](): IterableIterator<Item> {
    for (let at = this.#head; at < this.#items.length; at++) {
      yield this.#items[at]!;
    }
  }
}
