/**
 * Deadlines: one queue for the deadlines of many owners, so that a machine can
 * tell its shell the earliest.
 *
 * An owner has one entry at most. A deadline that moves away is not worth
 * touching the queue for: an owner that is taken out too early looks at its own
 * deadlines and enters the queue again. So a keep alive that begins anew with
 * each message costs nothing.
 *
 * @module
 */

import type { Millis } from "./clock.ts";

/** What can have a deadline: it holds its own place in the queue. */
export interface Timed {
  /** When it is due as far as the queue knows; set by {@linkcode Deadlines}. */
  dueAt: Millis;
  /** Its place in the queue, −1 for none; set by {@linkcode Deadlines}. */
  dueIndex: number;
}

/**
 * The queue: a binary heap in which each owner knows its place.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Deadlines } from "./deadlines.ts";
 *
 * const deadlines = new Deadlines();
 * const lamp = { dueAt: Infinity, dueIndex: -1 };
 * deadlines.set(lamp, 500);
 * assertEquals(deadlines.next, 500);
 * assertEquals(deadlines.take(499), undefined);
 * assertEquals(deadlines.take(500), lamp);
 * assertEquals(deadlines.next, undefined);
 * ```
 */
export class Deadlines<Owner extends Timed> {
  readonly #heap: Owner[] = [];

  /** How many have a deadline. */
  get size(): number {
    return this.#heap.length;
  }

  /** The earliest deadline, `undefined` when there is none. */
  get next(): Millis | undefined {
    return this.#heap[0]?.dueAt;
  }

  /** Enters an owner, or moves it to another moment. */
  set(owner: Owner, at: Millis): void {
    if (owner.dueIndex < 0) owner.dueIndex = this.#heap.push(owner) - 1;
    const isEarlier = at < owner.dueAt;
    owner.dueAt = at;
    if (isEarlier) this.#rise(owner);
    else this.#sink(owner);
  }

  /** Enters an owner, or moves it if that is earlier than it is due already. */
  expedite(owner: Owner, at: Millis): void {
    if (at < owner.dueAt) this.set(owner, at);
  }

  /** Takes an owner out, if it is there. */
  delete(owner: Owner): void {
    const { dueIndex } = owner;
    if (dueIndex < 0) return;
    owner.dueIndex = -1;
    owner.dueAt = Infinity;
    const last = this.#heap.pop()!;
    if (last === owner) return;
    this.#heap[dueIndex] = last;
    last.dueIndex = dueIndex;
    this.#rise(last);
    this.#sink(last);
  }

  /** Takes the earliest out if it is due, `undefined` if none is. */
  take(now: Millis): Owner | undefined {
    const [first] = this.#heap;
    if (first === undefined || first.dueAt > now) return undefined;
    this.delete(first);
    return first;
  }

  #rise(owner: Owner): void {
    const heap = this.#heap;
    let index = owner.dueIndex;
    while (index > 0) {
      const above = (index - 1) >> 1;
      const other = heap[above]!;
      if (other.dueAt <= owner.dueAt) break;
      heap[index] = other;
      other.dueIndex = index;
      index = above;
    }
    heap[index] = owner;
    owner.dueIndex = index;
  }

  #sink(owner: Owner): void {
    const heap = this.#heap;
    let index = owner.dueIndex;
    while (true) {
      let below = 2 * index + 1;
      if (below >= heap.length) break;
      if (
        below + 1 < heap.length && heap[below + 1]!.dueAt < heap[below]!.dueAt
      ) below++;
      const other = heap[below]!;
      if (other.dueAt >= owner.dueAt) break;
      heap[index] = other;
      other.dueIndex = index;
      index = below;
    }
    heap[index] = owner;
    owner.dueIndex = index;
  }
}
