/**
 * Tests of the heap.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { EventHeap } from "../../netsim/event_heap.ts";
import { seededRandom } from "../../base/clock.ts";

Deno.test("EventHeap gives out what is due in the order of moments, and of entry", () => {
  const random = seededRandom(5);
  const heap = new EventHeap();
  /** The same, kept plainly: by slot its moment and its place in the order. */
  const plain = new Map<number, readonly [at: number, order: number]>();
  let order = 0;
  let now = 0;
  for (let step = 0; step < 20_000; step++) {
    const chance = random();
    const at = now + Math.floor(random() * 50);
    if (chance < 0.4) {
      const slot = heap.open();
      heap.set(slot, at);
      plain.set(slot, [at, order++]);
    } else if (chance < 0.6 && plain.size > 0) {
      const slots = [...plain.keys()];
      const slot = slots[Math.floor(random() * slots.length)]!;
      heap.set(slot, at);
      plain.set(slot, [at, order++]);
    } else {
      now += Math.floor(random() * 4);
      const [first] = [...plain].sort(([, one], [, other]) =>
        one[0] - other[0] || one[1] - other[1]
      );
      assertEquals(heap.next, first?.[1][0]);
      const wanted = first !== undefined && first[1][0] <= now
        ? first[0]
        : undefined;
      assertEquals(heap.take(now), wanted);
      if (wanted === undefined) continue;
      assertEquals(heap.taken, first![1][0]);
      assertEquals(heap.at(wanted), Infinity);
      heap.close(wanted);
      plain.delete(wanted);
    }
    assertEquals(heap.size, plain.size);
  }
});

Deno.test("EventHeap uses the numbers of closed slots again", () => {
  const heap = new EventHeap();
  const slots = Array.from({ length: 1_000 }, () => heap.open());
  assertEquals(new Set(slots).size, 1_000);
  for (const slot of slots) heap.close(slot);
  for (let count = 0; count < 1_000; count++) heap.open();
  assertEquals(heap.open(), 1_000);
});
