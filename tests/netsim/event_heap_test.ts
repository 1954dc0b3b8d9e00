/**
 * Tests of the agenda.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { EventHeap } from "../../netsim/event_heap.ts";
import { seededRandom } from "../../base/clock.ts";

Deno.test("EventHeap gives out what is due in the order of moments, and of entry", () => {
  const random = seededRandom(5);
  const agenda = new EventHeap();
  /** The same, kept plainly: by slot its moment and its place in the order. */
  const plain = new Map<number, readonly [at: number, order: number]>();
  let order = 0;
  let now = 0;
  for (let step = 0; step < 20_000; step++) {
    const chance = random();
    const at = now + Math.floor(random() * 50);
    if (chance < 0.4) {
      const slot = agenda.open();
      agenda.set(slot, at);
      plain.set(slot, [at, order++]);
    } else if (chance < 0.6 && plain.size > 0) {
      const slots = [...plain.keys()];
      const slot = slots[Math.floor(random() * slots.length)]!;
      agenda.set(slot, at);
      plain.set(slot, [at, order++]);
    } else {
      now += Math.floor(random() * 4);
      const [first] = [...plain].sort(([, one], [, other]) =>
        one[0] - other[0] || one[1] - other[1]
      );
      assertEquals(agenda.next, first?.[1][0]);
      const wanted = first !== undefined && first[1][0] <= now
        ? first[0]
        : undefined;
      assertEquals(agenda.take(now), wanted);
      if (wanted === undefined) continue;
      assertEquals(agenda.taken, first![1][0]);
      assertEquals(agenda.at(wanted), Infinity);
      agenda.close(wanted);
      plain.delete(wanted);
    }
    assertEquals(agenda.size, plain.size);
  }
});

Deno.test("EventHeap uses the numbers of closed slots again", () => {
  const agenda = new EventHeap();
  const slots = Array.from({ length: 1_000 }, () => agenda.open());
  assertEquals(new Set(slots).size, 1_000);
  for (const slot of slots) agenda.close(slot);
  for (let count = 0; count < 1_000; count++) agenda.open();
  assertEquals(agenda.open(), 1_000);
});
