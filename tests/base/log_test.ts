import { assert, assertEquals, assertFalse } from "@std/assert";
import { Log, type LogOptions, printable } from "../../base/log.ts";

function logOf(options: LogOptions) {
  const lines: string[] = [];
  const log = new Log({
    write: (line) => lines.push(line),
    timeOfDay: () => Date.UTC(2026, 10, 23, 1, 2, 3, 4),
    ...options,
  });
  log.debug(() => "d");
  log.info("i");
  log.warn("w");
  log.error("e");
  return { log, lines };
}

Deno.test("Log shows time and level, from its level on", () => {
  assertEquals(logOf({ level: "debug" }).lines, [
    "2026-11-23T01:02:03.004Z debug d",
    "2026-11-23T01:02:03.004Z info  i",
    "2026-11-23T01:02:03.004Z warn  w",
    "2026-11-23T01:02:03.004Z error e",
  ]);
  assertEquals(logOf({}).lines.length, 3);
  assertEquals(logOf({ level: "warn" }).lines.length, 2);
  assertEquals(logOf({ level: "error" }).lines.length, 1);
  assertEquals(logOf({ level: "none" }).lines, []);
});

Deno.test("Log.debug() does not build a text that is not shown", () => {
  const { log } = logOf({ level: "info" });
  log.debug(() => {
    throw new Error("It was built");
  });
  assertFalse(log.shows("debug"));
  assert(log.shows("info"));
});

Deno.test("Log writes a JSON object a line when asked to", () => {
  const { log, lines } = logOf({ level: "error", json: true });
  log.error('a "quoted"\nline');
  assertEquals(lines.map((line) => JSON.parse(line)), [
    { time: "2026-11-23T01:02:03.004Z", level: "error", message: "e" },
    {
      time: "2026-11-23T01:02:03.004Z",
      level: "error",
      message: 'a "quoted"\nline',
    },
  ]);
});

Deno.test("printable() shows control characters instead of obeying them", () => {
  assertEquals(
    printable("a\x1b[31m\r\n\x07é😀\x9b"),
    "a\\u001b[31m\\u000d\\u000a\\u0007é😀\\u009b",
  );
  const { log, lines } = logOf({ level: "error" });
  log.error("\x1b]0;title\x07");
  assertEquals(
    lines.at(-1),
    "2026-11-23T01:02:03.004Z error \\u001b]0;title\\u0007",
  );
});
