import { assert, assertEquals, assertFalse } from "@std/assert";
import { Begun } from "../../broker/begun.ts";
import { MemoryBudget } from "../../broker/memory_budget.ts";
import { parseTopicFilter, parseTopicName } from "../../wire/topics.ts";
import { makePersister } from "../support/kept.ts";

const FILTER = parseTopicFilter("room/+")!;
const ONE = parseTopicName("room/1")!;
const TWO = parseTopicName("room/2")!;

const told = (topicName: string) =>
  ({ type: "begun", session: 1, topicFilter: "room/+", topicName }) as const;

const END = { type: "begunEnd", session: 1, topicFilter: "room/+" } as const;

Deno.test("Begun.add() notes a topic once, and tells of it", () => {
  const { persister, take } = makePersister();
  const budget = new MemoryBudget(1_000);
  const begun = new Begun(FILTER, budget);
  assertFalse(begun.has(ONE));
  begun.add(ONE, persister);
  const { used } = budget;
  begun.add(ONE, persister);
  assert(begun.has(ONE));
  assertFalse(begun.has(TWO));
  assertEquals([take(), budget.used], [[told(ONE)], used]);
});

Deno.test("Begun.add() notes and tells nothing that there is no room for", () => {
  const { persister, take } = makePersister();
  const budget = new MemoryBudget(60);
  const begun = new Begun(FILTER, budget);
  begun.add(ONE, persister);
  begun.add(TWO, persister);
  assertEquals([begun.has(ONE), begun.has(TWO)], [true, false]);
  assertEquals(take(), [told(ONE)]);
});

Deno.test("Begun.restore() knows no limit, and tells nothing", () => {
  const { persister, take } = makePersister();
  const budget = new MemoryBudget(0);
  const begun = new Begun(FILTER, budget);
  for (const topicName of [ONE, TWO, ONE]) begun.restore(topicName);
  assertEquals([begun.has(ONE), begun.has(TWO)], [true, true]);
  begun.add(TWO, persister);
  assertEquals(take(), []);
  begun.end(persister);
  assertEquals([take(), budget.used], [[END], 0]);
});

Deno.test("Begun.persistAll() persists all topics, in the order in which they were begun", () => {
  const { persister, take } = makePersister();
  const begun = new Begun(FILTER, new MemoryBudget(1_000));
  begun.add(TWO, undefined);
  begun.add(ONE, undefined);
  begun.persistAll(persister);
  assertEquals(take(), [told(TWO), told(ONE)]);
});

Deno.test("Begun.end() forgets all, and tells of it if there were any", () => {
  const { persister, take } = makePersister();
  const budget = new MemoryBudget(1_000);
  const begun = new Begun(FILTER, budget);
  begun.end(persister);
  assertEquals(take(), []);
  begun.add(ONE, persister);
  begun.end(persister);
  assertEquals(take(), [told(ONE), END]);
  assertEquals([begun.has(ONE), budget.used], [false, 0]);
  begun.end(persister);
  assertEquals(take(), []);
});
