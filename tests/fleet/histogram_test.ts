/**
 * Tests of the histogram.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import { Histogram } from "../../fleet/histogram.ts";

Deno.test("Histogram.percentile() is off by a 64th at most, and never too small", () => {
  const random = seededRandom(3);
  // From a hundredth of a millisecond to a week.
  const times = Array.from(
    { length: 5_000 },
    () => 10 ** (random() * 10.8 - 2),
  );
  const histogram = new Histogram();
  for (const ms of times) histogram.add(ms);
  times.sort((one, other) => one - other);
  for (const percent of [0.1, 1, 10, 50, 90, 99, 99.9, 100]) {
    const exact = times[Math.ceil(percent / 100 * times.length) - 1]!;
    const found = histogram.percentile(percent)!;
    assert(found >= exact, `${percent} %: ${found}, not ${exact}`);
    assert(found <= exact * 65 / 64 + 1 / 64, `${percent} %: ${found}`);
  }
  const mean = times.reduce((sum, ms) => sum + ms, 0) / times.length;
  assert(Math.abs(histogram.mean! / mean - 1) < 1e-9);
});

Deno.test("Histogram.curve() ends at all of them, and rises", () => {
  const histogram = new Histogram();
  for (const ms of [0, 0, 5, 5, 5, 1_000, 1e6, 1e6]) histogram.add(ms);
  const curve = histogram.curve();
  assertEquals(curve.map(({ share }) => share), [0.25, 0.625, 0.75, 1]);
  assertEquals(curve.at(-1)!.ms, 1e6);
});

Deno.test("Histogram.addAll() comes to the same as adding one by one", () => {
  const [one, other, both] = [
    new Histogram(),
    new Histogram(),
    new Histogram(),
  ];
  for (const ms of [1, 2, 500]) {
    one.add(ms);
    both.add(ms);
  }
  for (const ms of [3, 70_000]) {
    other.add(ms);
    both.add(ms);
  }
  one.addAll(other);
  assertEquals(one.curve(), both.curve());
  assertEquals([one.count, one.mean], [both.count, both.mean]);
});

Deno.test("Histogram has no percentile of nothing", () => {
  const empty = new Histogram();
  assertEquals([empty.percentile(50), empty.mean], [undefined, undefined]);
  assertEquals(empty.curve(), []);
});
