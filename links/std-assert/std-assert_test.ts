/**
 * Tests of what the stand-in for `@std/assert` promises beyond the original.
 * What both promise is in `tests/project/links_test.ts`.
 *
 * @module
 */

import { assertEquals, AssertionError, assertThrows } from "@std/assert";

Deno.test("assertEquals() shows where they part when both are too long to compare", () => {
  const bytes = new Uint8Array(65_535);
  const other = bytes.with(40_000, 7).fill(8, 50_000);
  const { message } = assertThrows(
    () => assertEquals(bytes, other),
    AssertionError,
    "Values are not equal",
  );
  assertEquals(
    message.split("\n").slice(1, 7),
    [
      "+ actual - expected, from line 40002 of 65537 and 65537",
      "",
      "    0,",
      "    0,",
      "    0,",
      "+   0,",
    ],
  );
});
