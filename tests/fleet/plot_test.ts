/**
 * Tests of the plots.
 *
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type Axis, drawPlot, escapeHtml } from "../../fleet/plot.ts";

const draw = (
  x: Axis,
  y: Axis,
  points: readonly (readonly [number, number])[],
) =>
  drawPlot({
    description: "a plot",
    x,
    y,
    curves: [{ name: "it", style: 1, points }],
  });

const ticksIn = (html: string) =>
  [...html.matchAll(/class="tick"[^>]*>([^<]*)</g)].map(([, text]) => text);

Deno.test("drawPlot() has round ticks, and factors of ten on a logarithmic axis", () => {
  const html = draw(
    { label: "x", range: [0.5, 2_000], isLogarithmic: true },
    { label: "y", range: [0, 0.7] },
    [[1, 0]],
  );
  assertEquals(ticksIn(html), [
    ...["0", "0.2", "0.4", "0.6"],
    ...["1", "10", "100", "1000"],
  ]);
});

Deno.test("drawPlot() puts points where they belong, inside of its axes", () => {
  const html = draw(
    { label: "x", range: [0, 10] },
    { label: "y", range: [0, 100] },
    [[0, 0], [5, 50], [10, 100], [20, 500]],
  );
  assertStringIncludes(html, 'd="M64 254L344 133L624 12L624 12"');
});

Deno.test("drawPlot() draws what has no points, or no extent", () => {
  for (const points of [[], [[3, 3]]] as const) {
    const html = draw(
      { label: "x", range: [3, 3] },
      { label: "y", range: [0, 0] },
      points,
    );
    assert(!html.includes("NaN") && !html.includes("Infinity"), html);
  }
});

Deno.test("drawPlot() names several curves in a legend, and tells them by dashes", () => {
  const html = drawPlot({
    description: "two",
    x: { label: "x", range: [0, 1] },
    y: { label: "y", range: [0, 1] },
    curves: [
      { name: "a < b", style: 1, points: [[0, 0], [1, 1]] },
      { name: "c", style: 2, points: [[0, 1], [1, 0]], isFilled: true },
    ],
  });
  assertStringIncludes(html, "</svg>a &#60; b</li>");
  assertStringIncludes(html, 'stroke-dasharray="7 4"');
  assertStringIncludes(html, 'aria-label="two"');
  assertStringIncludes(html, 'class="area c2"');
});

Deno.test("escapeHtml() leaves no sign that means something", () => {
  assertEquals(
    escapeHtml(`<a b="c">&'`),
    "&#60;a b=&#34;c&#34;&#62;&#38;&#39;",
  );
});
