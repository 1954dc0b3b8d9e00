import {
  assert,
  assertEquals,
  assertFalse,
  assertStrictEquals,
} from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import { Message } from "../../wire/message.ts";
import {
  type RetainedLimits,
  RetainedMessages,
} from "../../broker/retained.ts";
import {
  matchesFilter,
  parseTopicFilter,
  parseTopicName,
} from "../../wire/topics.ts";

const name = (text: string) => parseTopicName(text)!;
const filter = (text: string) => parseTopicFilter(text)!;
const message = (topicName: string, octets = 1): Message =>
  new Message(name(topicName), new Uint8Array(octets), 0, true);

function retainedMessages(limits: Partial<RetainedLimits> = {}) {
  return new RetainedMessages({
    maxRetained: 1_000,
    maxMemory: 1e9,
    ...limits,
  });
}

function matched(retained: RetainedMessages, text: string): string[] {
  const names: string[] = [];
  const matches = retained.match(filter(text));
  for (let next; !(next = matches.next()).done;) {
    names.push(next.value.topicName);
  }
  return names;
}

Deno.test("RetainedMessages.set() keeps a topic's last message, as it was handed over", () => {
  const retained = retainedMessages();
  assert(retained.set(message("a/b")));
  const last = message("a/b", 0);
  assert(retained.set(last));
  assertStrictEquals(retained.get(name("a/b")), last);
  assertEquals(retained.size, 1);
  assertEquals(matched(retained, "a/b"), ["a/b"]);
  for (const other of ["a", "a/", "a/b/", "a/b/c", "b", "/a/b"]) {
    assertEquals(retained.get(name(other)), undefined);
  }
});

Deno.test("RetainedMessages.delete() forgets one topic's", () => {
  const retained = retainedMessages();
  for (const topicName of ["a/b", "a", "a/b/c"]) {
    retained.set(message(topicName));
  }
  assertFalse(retained.delete(name("a/b/c/d")));
  assert(retained.delete(name("a/b")));
  assertFalse(retained.delete(name("a/b")));
  assertEquals(matched(retained, "#"), ["a", "a/b/c"]);
  assert(retained.delete(name("a/b/c")));
  assert(retained.delete(name("a")));
  assertEquals([retained.size, retained.memory], [0, 0]);
});

Deno.test("RetainedMessages.set() refuses one more than there may be, and still replaces", () => {
  const retained = retainedMessages({ maxRetained: 2 });
  assert(retained.set(message("a/b")));
  assert(retained.set(message("c")));
  const { memory } = retained;
  for (const topicName of ["a", "a/b/c", "d"]) {
    assertFalse(retained.set(message(topicName)));
  }
  assertEquals([retained.size, retained.memory], [2, memory]);
  assertEquals(matched(retained, "#"), ["a/b", "c"]);
  assert(retained.set(message("c", 9)));
  assert(retained.delete(name("a/b")));
  assert(retained.set(message("d")));
  assertFalse(retainedMessages({ maxRetained: 0 }).set(message("a")));
});

Deno.test("RetainedMessages.set() refuses what memory forbids, and changes nothing", () => {
  const retained = retainedMessages({ maxMemory: 10_000 });
  const first = message("a/b", 5_000);
  assert(retained.set(first));
  const { memory } = retained;
  assertFalse(retained.set(message("a/c", 5_000)));
  assertFalse(retained.set(message("a/b", 10_000)));
  assertEquals(retained.memory, memory);
  assertStrictEquals(retained.get(name("a/b")), first);
  assert(retained.set(message("a/b", 8_000)));
  assert(retained.memory <= 10_000);
  assert(retained.set(message("a/b", 10)));
  assert(retained.memory < memory);
});

Deno.test("RetainedMessages.memory counts the levels of a name", () => {
  const retained = retainedMessages({ maxMemory: 10_000 });
  assertFalse(retained.set(message("/".repeat(199))));
  assertEquals([retained.size, retained.memory], [0, 0]);
  assert(retained.set(message("/".repeat(9))));
});

/** MQTT 3.1.1 §4.7, as `wire/topics_test.ts` has them, the other way round. */
const MATCHES: readonly (readonly [string, string[]])[] = [
  ["sport/#", ["sport", "sport/", "sport/tennis", "sport/tennis/p1"]],
  ["sport/+", ["sport/", "sport/tennis"]],
  ["sport/tennis/#", ["sport/tennis", "sport/tennis/p1"]],
  ["sport/+/p1", ["sport/tennis/p1"]],
  ["+", ["sport"]],
  ["+/+", ["sport/", "sport/tennis", "/finance", "/$x"]],
  ["/+", ["/finance", "/$x"]],
  ["/#", ["/finance", "/$x"]],
  ["+/finance", ["/finance"]],
  ["$SYS/#", ["$SYS", "$SYS/uptime"]],
  ["$SYS/+", ["$SYS/uptime"]],
  ["+/uptime", []],
  ["#", [
    "sport",
    "sport/",
    "sport/tennis",
    "sport/tennis/p1",
    "/finance",
    "/$x",
  ]],
];

Deno.test("RetainedMessages.match() visits in the order in which levels came", () => {
  const retained = retainedMessages();
  for (
    const topicName of [
      "sport/",
      "sport/tennis/p1",
      "sport",
      "$SYS/uptime",
      "/finance",
      "sport/tennis",
      "$SYS",
      "/$x",
    ]
  ) retained.set(message(topicName));
  for (const [text, names] of MATCHES) {
    assertEquals(matched(retained, text), names, text);
  }
});

const LEVELS = ["", "a", "b", "$SYS", "a level of some length"];

Deno.test("RetainedMessages agrees with matchesFilter() on any set, and ends empty", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = seededRandom(seed);
    const below = (limit: number) => Math.floor(random() * limit);
    const pick = <T>(items: readonly T[]) => items[below(items.length)]!;
    const text = (levels: readonly string[], last: readonly string[]) =>
      [...Array.from({ length: below(4) }, () => pick(levels)), pick(last)]
        .join("/");

    const retained = retainedMessages({ maxRetained: 60 });
    const kept = new Map<string, Message>();
    for (let step = 0; step < 400; step++) {
      const one = message(text(LEVELS, LEVELS) || "a", below(50));
      const { topicName } = one;
      const hint = `seed ${seed}, step ${step}, "${topicName}"`;
      if (below(5) < 3) {
        const fits = kept.has(topicName) || kept.size < 60;
        assertEquals(retained.set(one), fits, hint);
        if (fits) kept.set(topicName, one);
      } else {
        assertEquals(retained.delete(topicName), kept.delete(topicName), hint);
      }
      assertEquals(retained.size, kept.size, hint);
      assertStrictEquals(retained.get(topicName), kept.get(topicName), hint);

      if (step % 4 > 0) continue;
      const wanted = filter(
        text([...LEVELS, "+", "+"], [...LEVELS, "+", "#", "#"]) || "#",
      );
      assertEquals(
        matched(retained, wanted).sort(),
        [...kept.values()].map(({ topicName }) => topicName)
          .filter((topicName) => matchesFilter(wanted, topicName)).sort(),
        `${hint}, "${wanted}"`,
      );
    }
    for (const { topicName } of kept.values()) {
      assert(retained.delete(topicName), `seed ${seed}, "${topicName}"`);
    }
    assertEquals([retained.size, retained.memory], [0, 0], `seed ${seed}`);
    assertEquals(matched(retained, "#"), []);
  }
});

Deno.test("RetainedMessages.restore() knows no limit, but what is new does", () => {
  const retained = retainedMessages({ maxRetained: 1, maxMemory: 1_000 });
  retained.restore(message("a", 5_000));
  retained.restore(message("b"));
  assertEquals([retained.size, matched(retained, "#")], [2, ["a", "b"]]);
  assertFalse(retained.set(message("c")));
  assertFalse(retained.set(message("b", 2)), "there is no memory for more");
  assert(retained.set(message("a", 0)), "but for less");
  retained.restore(message("a", 1));
  assertEquals(retained.size, 2);
  for (const topicName of ["a", "b"]) retained.delete(name(topicName));
  assertEquals([retained.size, retained.memory], [0, 0]);
});
