import { assert, assertEquals } from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import { Deadlines, type Timed } from "../../base/deadlines.ts";

interface Owner extends Timed {
  readonly name: string;
}

function owner(name: string): Owner {
  return { name, dueAt: Infinity, dueIndex: -1 };
}

Deno.test("Deadlines is empty at first", () => {
  const deadlines = new Deadlines<Owner>();
  assertEquals([deadlines.size, deadlines.next], [0, undefined]);
  assertEquals(deadlines.take(Number.MAX_VALUE), undefined);
});

Deno.test("Deadlines.take() gives who is due, from that very moment on", () => {
  const deadlines = new Deadlines<Owner>();
  const ann = owner("ann");
  deadlines.set(ann, 500);
  assertEquals(deadlines.take(499.999), undefined);
  assertEquals(deadlines.take(500), ann);
  assertEquals(deadlines.take(500), undefined);
  assertEquals([ann.dueIndex, ann.dueAt], [-1, Infinity]);
});

Deno.test("Deadlines.set() moves whoever is there, to both sides", () => {
  const deadlines = new Deadlines<Owner>();
  const [ann, bob, cyd] = [owner("ann"), owner("bob"), owner("cyd")];
  deadlines.set(ann, 1);
  deadlines.set(bob, 2);
  deadlines.set(cyd, 3);
  deadlines.set(ann, 4);
  assertEquals(deadlines.next, 2);
  deadlines.set(cyd, 0);
  assertEquals(deadlines.next, 0);
  assertEquals(deadlines.size, 3);
  const order = [0, 1, 2].map(() => deadlines.take(10)?.name);
  assertEquals(order, ["cyd", "bob", "ann"]);
});

Deno.test("Deadlines.expedite() moves nobody to a later moment", () => {
  const deadlines = new Deadlines<Owner>();
  const ann = owner("ann");
  deadlines.expedite(ann, 5);
  deadlines.expedite(ann, 9);
  assertEquals(deadlines.next, 5);
  deadlines.expedite(ann, 3);
  assertEquals([deadlines.next, deadlines.size], [3, 1]);
});

Deno.test("Deadlines.delete() of who is not there does nothing", () => {
  const deadlines = new Deadlines<Owner>();
  const [ann, bob] = [owner("ann"), owner("bob")];
  deadlines.set(ann, 1);
  deadlines.delete(bob);
  deadlines.delete(ann);
  deadlines.delete(ann);
  assertEquals([deadlines.size, deadlines.next], [0, undefined]);
});

Deno.test("Deadlines agrees with a sorted list, whatever is done to both", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = seededRandom(seed);
    const below = (limit: number) => Math.floor(random() * limit);
    const deadlines = new Deadlines<Owner>();
    const owners = Array.from(
      { length: 1 + below(60) },
      (_, i) => owner(`${i}`),
    );
    /** The same by the simplest means. */
    const list = new Map<Owner, number>();
    const earliest = () =>
      list.size === 0 ? undefined : Math.min(...list.values());
    const what = (step: number) => `Seed ${seed}, step ${step}`;

    for (let step = 0; step < 300; step++) {
      const someone = owners[below(owners.length)]!;
      const at = below(50); // few moments, so that many are the same
      switch (below(5)) {
        case 0:
        case 1:
          deadlines.set(someone, at);
          list.set(someone, at);
          break;
        case 2:
          deadlines.expedite(someone, at);
          list.set(someone, Math.min(at, list.get(someone) ?? Infinity));
          break;
        case 3:
          deadlines.delete(someone);
          list.delete(someone);
          break;
        default: {
          const first = earliest();
          const due = deadlines.take(at);
          if (first === undefined || first > at) {
            assertEquals(due, undefined, what(step));
          } else {
            // Who of several at a moment is first, nobody has said.
            assert(due !== undefined, what(step));
            assertEquals(list.get(due), first, what(step));
            list.delete(due);
          }
        }
      }
      assertEquals(deadlines.size, list.size, what(step));
      assertEquals(deadlines.next, earliest(), what(step));
      for (const each of owners) {
        assertEquals(each.dueAt, list.get(each) ?? Infinity, what(step));
        assertEquals(each.dueIndex >= 0, list.has(each), what(step));
      }
    }

    const sorted = [...list.values()].toSorted((one, other) => one - other);
    const taken: (number | undefined)[] = [];
    while (deadlines.size > 0) {
      taken.push(deadlines.next);
      deadlines.take(Infinity);
    }
    assertEquals(taken, sorted, `Seed ${seed}, at the end`);
  }
});
