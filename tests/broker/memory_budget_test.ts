import { assert, assertEquals, assertFalse } from "@std/assert";
import { MemoryBudget } from "../../broker/memory_budget.ts";
import { seededRandom } from "../../base/clock.ts";

Deno.test("MemoryBudget.take() takes up to the limit, and nothing beyond it", () => {
  const budget = new MemoryBudget(100);
  assert(budget.take(60));
  assertFalse(budget.take(41));
  assertEquals(budget.used, 60);
  assert(budget.take(40));
  assertFalse(budget.take(1));
  assert(budget.take(0));
  assertEquals(budget.used, 100);
});

Deno.test("MemoryBudget.allows() tells what take() would say, and takes nothing", () => {
  const budget = new MemoryBudget(100);
  assert(budget.allows(100));
  assertFalse(budget.allows(101));
  assertEquals(budget.used, 0);
});

Deno.test("MemoryBudget of nothing gives nothing", () => {
  const budget = new MemoryBudget(0);
  assert(budget.take(0));
  assertFalse(budget.take(1));
});

Deno.test("MemoryBudget is whole again when all is given back, in whatever order", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = seededRandom(seed);
    const budget = new MemoryBudget(10_000);
    const taken: number[] = [];
    let sum = 0;
    for (let step = 0; step < 200; step++) {
      const octets = Math.floor(random() * 1_000);
      if (random() < 0.6) {
        const isWithin = sum + octets <= 10_000;
        assertEquals(budget.take(octets), isWithin, `Seed ${seed}`);
        if (isWithin) {
          taken.push(octets);
          sum += octets;
        }
      } else {
        const index = Math.floor(random() * taken.length);
        for (const given of taken.splice(index, 1)) {
          budget.give(given);
          sum -= given;
        }
      }
      assertEquals(budget.used, sum, `Seed ${seed}`);
    }
    for (const octets of taken) budget.give(octets);
    assertEquals(budget.used, 0, `Seed ${seed}`);
  }
});
