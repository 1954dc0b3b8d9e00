/**
 * What is to happen when, in virtual time: moments in order, each under a number that
 * mean something to the part that entered it.
 *
 * Moments and places are numbers in typed arrays: a run enters millions of them,
 * and none is to be an object for the collector to look at. What is entered first
 * happens first at its moment, so that the order never depends on how the heap
 * lies.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";

/** Slots that an heap begins with. */
const FIRST_SIZE = 64;

/** No place in the heap. */
const OUT = -1;

/**
 * A binary heap of slots.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { EventHeap } from "./event_heap.ts";
 *
 * const heap = new EventHeap();
 * const [bell, lamp] = [heap.open(), heap.open()];
 * heap.set(bell, 500);
 * heap.set(lamp, 300);
 * heap.set(bell, 200);
 * assertEquals(heap.take(250), bell);
 * assertEquals(heap.take(250), undefined);
 * assertEquals(heap.next, 300);
 * ```
 */
export class EventHeap {
  /** By slot: when it is due, and behind how many others that are due then. */
  #at = new Float64Array(FIRST_SIZE);
  #order = new Float64Array(FIRST_SIZE);
  /** By slot: its place in the heap. */
  #place = new Int32Array(FIRST_SIZE).fill(OUT);
  #heap = new Int32Array(FIRST_SIZE);
  #size = 0;
  #slots = 0;
  readonly #closed: number[] = [];
  #lastOrder = 0;
  #taken: Millis = -Infinity;

  /** How many slots are due at some moment. */
  get size(): number {
    return this.#size;
  }

  /** The earliest moment, `undefined` when nothing is due. */
  get next(): Millis | undefined {
    return this.#size === 0 ? undefined : this.#at[this.#heap[0]!];
  }

  /** When the slot that was taken out last was due. */
  get taken(): Millis {
    return this.#taken;
  }

  /** Makes a slot that is not due yet; its number may have been a closed one's. */
  open(): number {
    const closed = this.#closed.pop();
    if (closed !== undefined) return closed;
    if (this.#slots === this.#at.length) this.#grow();
    return this.#slots++;
  }

  /** Gives a slot up that is not due: its number may be used again. */
  close(slot: number): void {
    this.#closed.push(slot);
  }

  /** When a slot is due, `Infinity` when it is not. */
  at(slot: number): Millis {
    return this.#place[slot] === OUT ? Infinity : this.#at[slot]!;
  }

  /** Has a slot due at a moment, behind all that are due then; or moves it there. */
  set(slot: number, at: Millis): void {
    const place = this.#place[slot]!;
    const isLater = place !== OUT && at >= this.#at[slot]!;
    this.#at[slot] = at;
    this.#order[slot] = ++this.#lastOrder;
    if (isLater) this.#sink(slot, place);
    else this.#rise(slot, place === OUT ? this.#size++ : place);
  }

  /** Takes the first slot out if it is due by `until`, `undefined` if none is. */
  take(until: Millis): number | undefined {
    if (this.#size === 0) return undefined;
    const first = this.#heap[0]!;
    const at = this.#at[first]!;
    if (at > until) return undefined;
    this.#taken = at;
    this.#place[first] = OUT;
    const last = this.#heap[--this.#size]!;
    if (this.#size > 0) this.#sink(last, 0);
    return first;
  }

  #rise(slot: number, from: number): void {
    const heap = this.#heap;
    const places = this.#place;
    const times = this.#at;
    const at = times[slot]!;
    let place = from;
    while (place > 0) {
      const above = (place - 1) >> 1;
      const other = heap[above]!;
      // Nothing that is in has a higher order: moments alone decide.
      if (times[other]! <= at) break;
      heap[place] = other;
      places[other] = place;
      place = above;
    }
    heap[place] = slot;
    places[slot] = place;
  }

  #sink(slot: number, from: number): void {
    const heap = this.#heap;
    const places = this.#place;
    const size = this.#size;
    let place = from;
    for (let below; (below = 2 * place + 1) < size; place = below) {
      if (below + 1 < size && this.#isBefore(heap[below + 1]!, heap[below]!)) {
        below++;
      }
      const other = heap[below]!;
      if (!this.#isBefore(other, slot)) break;
      heap[place] = other;
      places[other] = place;
    }
    heap[place] = slot;
    places[slot] = place;
  }

  #isBefore(one: number, other: number): boolean {
    const difference = this.#at[one]! - this.#at[other]!;
    if (difference !== 0) return difference < 0;
    return this.#order[one]! < this.#order[other]!;
  }

  #grow(): void {
    const size = 2 * this.#at.length;
    this.#at = resized(this.#at, new Float64Array(size));
    this.#order = resized(this.#order, new Float64Array(size));
    this.#place = resized(this.#place, new Int32Array(size).fill(OUT));
    this.#heap = resized(this.#heap, new Int32Array(size));
  }
}

function resized<Numbers extends Float64Array | Int32Array>(
  numbers: Numbers,
  into: Numbers,
): Numbers {
  into.set(numbers);
  return into;
}
