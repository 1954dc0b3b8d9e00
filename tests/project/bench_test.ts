/**
 * Tests of what a load generator counts with (`bench/figures.ts`).
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { FlowCheck, Histogram, spreadOf } from "../../bench/figures.ts";
import { seededRandom } from "../../base/clock.ts";

Deno.test("Histogram knows every percentile to within 0.8 %", () => {
  const seed = 5;
  const random = seededRandom(seed);
  const histogram = new Histogram();
  const values: number[] = [];
  for (let i = 0; i < 20_000; i++) {
    // As many short times as long ones, over seven powers of ten.
    const us = Math.floor(10 ** (random() * 7));
    values.push(us);
    histogram.add(us);
  }
  values.sort((a, b) => a - b);
  assertEquals(histogram.count, values.length);
  assertEquals(histogram.max, values.at(-1));
  for (const share of [0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1]) {
    const exact = values[Math.ceil(share * values.length) - 1]!;
    const told = histogram.percentile(share);
    assert(
      Math.abs(told - exact) <= exact * 0.008,
      `seed ${seed}: ${told} for ${exact} at ${share}`,
    );
  }
});

Deno.test("Histogram tells small values exactly, and bounds the others", () => {
  const histogram = new Histogram();
  assertEquals([histogram.percentile(0.5), histogram.max], [0, 0]);
  for (const us of [-3, 0, 255, 1e12]) histogram.add(us);
  assertEquals(histogram.percentile(0.5), 0);
  assertEquals(histogram.percentile(0.75), 255);
  assertEquals(histogram.percentile(1), histogram.max);
  assertEquals(histogram.max, 2 ** 31 - 1);
  histogram.clear();
  assertEquals([histogram.count, histogram.percentile(1)], [0, 0]);
});

Deno.test("FlowCheck tells lost from late from doubled, for each flow", () => {
  const check = new FlowCheck(2);
  const news = [0, 1, 4, 2, 2, 1, 5].map((seq) => check.take(0, seq));
  assertEquals(news, [true, true, true, true, false, false, true]);
  check.take(1, 1);
  assertEquals([check.received, check.reordered, check.duplicates], [6, 1, 2]);
  assertEquals([check.lostOf(0, 6), check.lostOf(0, 8)], [1, 3]);
  assertEquals(check.lostOf(1, 2), 1);
});

Deno.test("spreadOf() gives the middle, the least and the most", () => {
  assertEquals(spreadOf([3, 1, 2]), { median: 2, min: 1, max: 3 });
  assertEquals(spreadOf([4, 1, 2, 3]), { median: 2.5, min: 1, max: 4 });
  assertEquals(spreadOf([]), { median: NaN, min: NaN, max: NaN });
});
