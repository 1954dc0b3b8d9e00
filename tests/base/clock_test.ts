import {
  assert,
  assertEquals,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import { ManualClock, seededRandom } from "../../base/clock.ts";

Deno.test("ManualClock.advance() moves the clock forward only", () => {
  const clock = new ManualClock(100);
  clock.advance(0);
  clock.advance(2.5);
  assertEquals(clock.now(), 102.5);
  for (const ms of [-1, NaN]) {
    assertThrows(() => clock.advance(ms), RangeError, "Cannot advance");
  }
  assertEquals(clock.now(), 102.5);
});

Deno.test("ManualClock.alarm() rings when the clock is moved there, in order", () => {
  const clock = new ManualClock();
  const rung: string[] = [];
  const ring = (name: string) => () => rung.push(`${name} at ${clock.now()}`);
  clock.alarm(20, ring("second"));
  clock.alarm(10, () => {
    ring("first")();
    clock.alarm(15, ring("between")); // is due before the clock is where it goes
    clock.alarm(5, ring("late")); // time does not go back for it
  });
  const off = clock.alarm(12, ring("never"));
  clock.alarm(40, ring("third"));
  off();
  clock.advance(9);
  assertEquals(rung, []);
  clock.advance(20);
  assertEquals(rung, [
    ...["first at 10", "late at 10", "between at 15", "second at 20"],
  ]);
  assertEquals(clock.now(), 29);
  clock.advance(11);
  assertEquals(rung.at(-1), "third at 40");
});

Deno.test("seededRandom() gives the same numbers for the same seed", () => {
  const numbers = (seed: number) => {
    const random = seededRandom(seed);
    return Array.from({ length: 1_000 }, random);
  };
  assertEquals(numbers(1), numbers(1));
  assertNotEquals(numbers(1), numbers(2));
  // Written down, so that a seed means the same on every machine for good.
  assertEquals(
    numbers(2026).slice(0, 3).map((number) => Math.floor(number * 2 ** 32)),
    FIRST_OF_2026,
  );
});

Deno.test("seededRandom() spreads its numbers evenly from 0 to 1", () => {
  const random = seededRandom(3);
  const counts = new Array<number>(10).fill(0);
  for (let i = 0; i < 100_000; i++) {
    const number = random();
    assert(number >= 0 && number < 1, String(number));
    counts[Math.floor(number * 10)]! += 1;
  }
  for (const count of counts) {
    assert(Math.abs(count - 10_000) < 500, `${counts}`);
  }
});

const FIRST_OF_2026 = [3705979955, 956177921, 506830889];
