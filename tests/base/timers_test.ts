import { assertEquals } from "@std/assert";
import { Timers } from "../../base/timers.ts";

Deno.test("Timers tells the earliest of those that run", () => {
  const timers = new Timers(["a", "b", "c"]);
  assertEquals(timers.next, undefined);
  timers.set("b", 20);
  timers.set("c", 10);
  assertEquals([timers.next, timers.at("a"), timers.at("b")], [
    10,
    undefined,
    20,
  ]);
  timers.set("c", 30);
  assertEquals(timers.next, 20);
  timers.stop("b");
  timers.stop("a");
  assertEquals([timers.next, timers.at("b")], [30, undefined]);
});

Deno.test("Timers.take() takes a timer once, at its moment and not before", () => {
  const timers = new Timers(["a", "b"]);
  timers.set("a", 10);
  timers.set("b", 10);
  assertEquals(timers.take("a", 9), false);
  assertEquals(timers.take("a", 10), true);
  assertEquals(timers.take("a", 11), false);
  assertEquals([timers.next, timers.take("b", 1_000)], [10, true]);
});
