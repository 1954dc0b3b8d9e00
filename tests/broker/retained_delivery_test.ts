import { assert, assertEquals, assertFalse } from "@std/assert";
import { MemoryBudget } from "../../broker/memory_budget.ts";
import { RetainedDelivery } from "../../broker/retained_delivery.ts";
import { Message } from "../../wire/message.ts";
import { parseTopicFilter, parseTopicName } from "../../wire/topics.ts";
import { makePersistence } from "../support/kept.ts";

const FILTER = parseTopicFilter("room/+")!;
const ONE = parseTopicName("room/1")!;
const TWO = parseTopicName("room/2")!;
const MESSAGES = [ONE, TWO].map((topicName) =>
  new Message(topicName, Uint8Array.of(1), 2, true)
);

const begun = (topicName: string) =>
  ({ type: "begun", topicFilter: "room/+", topicName, session: 1 }) as const;

const END = { type: "begunEnd", topicFilter: "room/+", session: 1 } as const;

function make(octets = 1_000) {
  const budget = new MemoryBudget(octets);
  const retained = new RetainedDelivery(budget);
  const { session, take } = makePersistence();
  const add = (begun?: Iterable<typeof ONE>) =>
    retained.add({
      filter: FILTER,
      messages: MESSAGES.values(),
      granted: 2,
      begun,
    }, session);
  /** The next message's source. */
  const next = () => {
    const step = retained.next();
    assert(step?.type === "message");
    return step.source;
  };
  return { retained, budget, session, take, add, next };
}

Deno.test("RetainedDelivery.next() gives each message, then the end of its subscription, until it is dropped", () => {
  const { retained, add, session } = make();
  assertEquals(retained.next(), undefined);
  add();
  assertEquals([retained.size, retained.has(FILTER)], [1, true]);
  const topics: unknown[] = [];
  for (let step; (step = retained.next()) !== undefined;) {
    topics.push(step.type === "end" ? step.filter : step.message.topicName);
    if (step.type === "end") retained.drop(step.filter, session);
  }
  assertEquals(topics, [ONE, TWO, FILTER]);
  assertEquals([retained.size, retained.has(FILTER)], [0, false]);
});

Deno.test("RetainedDelivery.note() notes a topic once, and persists it", () => {
  const { retained, budget, session, take, add, next } = make();
  add();
  const source = next();
  retained.note(source, ONE, session);
  const { used } = budget;
  retained.note(source, ONE, session);
  assertEquals([take(), budget.used], [[begun(ONE)], used]);
});

Deno.test("RetainedDelivery.note() notes and persists nothing that there is no room for", () => {
  const { retained, session, take, add, next } = make(60);
  add();
  const source = next();
  retained.note(source, ONE, session);
  retained.note(source, TWO, session);
  assertEquals(take(), [begun(ONE)]);
});

Deno.test("RetainedDelivery.note() is not about a subscription that was made anew", () => {
  const { retained, session, take, add, next } = make();
  add();
  const source = next();
  add();
  retained.note(source, ONE, session);
  assertEquals(take(), []);
  retained.drop(FILTER, session);
  retained.note(source, ONE, session);
  assertEquals(take(), []);
});

Deno.test("RetainedDelivery.add() takes topics that were noted before, whatever the limits, and passes them over", () => {
  const { retained, budget, session, take, add } = make(0);
  add([ONE, TWO, ONE]);
  assertEquals(take(), []);
  assertEquals(retained.next(), { type: "end", filter: FILTER });
  retained.drop(FILTER, session);
  assertEquals([take(), budget.used], [[END], 0]);
});

Deno.test("RetainedDelivery.persistAll() persists all topics, in the order in which they were noted", () => {
  const { retained, session, take, add, next } = make();
  add();
  const source = next();
  retained.note(source, TWO, undefined);
  retained.note(source, ONE, undefined);
  retained.persistAll(session);
  assertEquals(take(), [begun(TWO), begun(ONE)]);
});

Deno.test("RetainedDelivery.drop() forgets all, and persists that if a topic was noted", () => {
  const { retained, budget, session, take, add, next } = make();
  add();
  retained.drop(FILTER, session);
  assertEquals(take(), []);
  add();
  retained.note(next(), ONE, session);
  retained.drop(FILTER, session);
  assertEquals(take(), [begun(ONE), END]);
  assertEquals([retained.has(FILTER), budget.used], [false, 0]);
  retained.drop(FILTER, session);
  assertEquals(take(), []);
});

Deno.test("RetainedDelivery.clear() forgets all, and persists nothing", () => {
  const { retained, budget, take, add, next } = make();
  add();
  retained.note(next(), ONE, undefined);
  retained.clear();
  assertEquals([take(), budget.used, retained.size], [[], 0, 0]);
  assertFalse(retained.has(FILTER));
});

Deno.test("RetainedDelivery.add() of a subscription that is made anew keeps its place", () => {
  const { retained, add, session } = make();
  const other = parseTopicFilter("hall/+")!;
  add();
  retained.add({
    filter: other,
    messages: [].values(),
    granted: 0,
  }, session);
  add();
  const step = retained.next();
  assert(step?.type === "message");
  assertEquals(step.source.filter, FILTER);
});
