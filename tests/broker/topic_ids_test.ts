import { assert, assertEquals, assertFalse } from "@std/assert";
import { MemoryBudget } from "../../broker/memory_budget.ts";
import type { TopicName } from "../../wire/message.ts";
import { MAX_TOPIC_ID, TopicIds } from "../../broker/topic_ids.ts";
import { parseTopicName } from "../../wire/topics.ts";
import { GatewayBench, publishTo } from "../support/gateway.ts";
import { makePersister } from "../support/kept.ts";
import { ANN } from "../support/router.ts";

function name(text: string | number): TopicName {
  return parseTopicName(`${text}`)!;
}

function makeTable(maxTopicIds = 10, octets = 1e9) {
  const nameBudget = new MemoryBudget(octets);
  return {
    table: new TopicIds({ maxTopicIds, nameBudget }),
    nameBudget,
  };
}

Deno.test("TopicIds.assign() gives ids from 1, and the same name the same id", () => {
  const { table } = makeTable();
  assertEquals(table.assign(name("a"))?.topicId, 1);
  assertEquals(table.assign(name("b"))?.topicId, 2);
  assertEquals(table.assign(name("a"))?.topicId, 1);
  assertEquals(table.size, 2);
  assertEquals(table.at(2), table.get(name("b")));
  assertEquals(table.at(3), undefined);
  assertEquals(table.get(name("c")), undefined);
});

Deno.test("TopicIds.assign() tells nobody: who got an id does not know it yet", () => {
  const { table } = makeTable();
  const entry = table.assign(name("a"))!;
  assertFalse(entry.isKnown);
  assertFalse(entry.isRefused);
});

Deno.test("TopicIds.assign() takes the wanted id if it is free, else the next", () => {
  const { table } = makeTable();
  assertEquals(table.assign(name("a"), 3)?.topicId, 3);
  assertEquals(table.assign(name("b"), 3)?.topicId, 1);
  assertEquals(table.assign(name("c"))?.topicId, 2);
  assertEquals(table.assign(name("d"))?.topicId, 4, "3 is taken");
  assertEquals(table.assign(name("a"), 9)?.topicId, 3, "it has one");
});

/** Gives a name an id that the client counts on. */
function register(table: TopicIds, text: string | number): number | undefined {
  const entry = table.assign(name(text));
  if (entry !== undefined) entry.isRegistered = true;
  return entry?.topicId;
}

Deno.test("TopicIds.assign() says undefined when the client counts on the whole table", () => {
  const { table, nameBudget } = makeTable(2);
  register(table, "a");
  register(table, "b");
  const { used } = nameBudget;
  assertEquals(table.assign(name("c")), undefined);
  assertEquals(table.assign(name("a"))?.topicId, 1, "an old one is found");
  assertEquals([table.size, nameBudget.used], [2, used]);
});

Deno.test("TopicIds.assign() lets the oldest go that the client does not count on", () => {
  const { table, nameBudget } = makeTable(3);
  register(table, "a");
  table.assign(name("b"));
  table.assign(name("c"));
  const { used } = nameBudget;
  assertEquals(table.assign(name("d"))?.topicId, 4, "as late as can be");
  assertEquals(table.get(name("b")), undefined);
  assertEquals(table.at(2), undefined);
  assertEquals([table.size, nameBudget.used], [3, used]);
  assertEquals(table.get(name("a"))?.topicId, 1);
  // What was subscribed to by name is counted on until it is unsubscribed.
  table.get(name("c"))!.isSubscribed = true;
  table.get(name("d"))!.isSubscribed = true;
  assertEquals(table.assign(name("e")), undefined);
  table.unsubscribe(name("c"));
  assertEquals(table.assign(name("e"))?.topicId, 5);
  assertEquals(table.get(name("c")), undefined);
});

Deno.test("TopicIds.assign() says undefined when the shared memory is spent", () => {
  const nameBudget = new MemoryBudget(400);
  const one = new TopicIds({ maxTopicIds: 10, nameBudget });
  const other = new TopicIds({ maxTopicIds: 10, nameBudget });
  let taken = 0;
  while (taken < 10 && register(one, taken) !== undefined) taken++;
  assert(taken > 0 && taken < 10);
  assertEquals(other.assign(name("a")), undefined);
  assertEquals(other.size, 0);
  one.clear();
  assertEquals(nameBudget.used, 0);
  assertEquals(other.assign(name("a"))?.topicId, 1);
});

Deno.test("TopicIds gives every id but 0000 and FFFF, each once (§5.3.11)", () => {
  const { table } = makeTable(MAX_TOPIC_ID);
  const ids = new Set<number>();
  table.assign(name("wanted"), MAX_TOPIC_ID)!.isRegistered = true;
  ids.add(MAX_TOPIC_ID);
  for (let i = 1; i < MAX_TOPIC_ID; i++) ids.add(register(table, i)!);
  assertEquals(ids.size, 65_534);
  assertEquals([Math.min(...ids), Math.max(...ids)], [0x0001, 0xfffe]);
  assertEquals(table.assign(name("one too many")), undefined);
});

Deno.test("TopicIds gives the ids from 1 again when all have been given", () => {
  const { table } = makeTable(2);
  for (let i = 1; i <= MAX_TOPIC_ID; i++) table.assign(name(i));
  assertEquals(table.at(MAX_TOPIC_ID)?.topicName, name(MAX_TOPIC_ID));
  assertEquals(table.assign(name("again"))?.topicId, 1);
});

Deno.test("TopicIds.setAlias() needs no normal id", () => {
  const { table, nameBudget } = makeTable(1);
  const alias = { topicIdType: "short", topicId: 0x6162 } as const;
  assert(table.setAlias(name("ab"), alias));
  assertEquals(table.get(name("ab"))?.topicId, 0);
  assertEquals(table.get(name("ab"))?.alias, alias);
  assertEquals(table.at(0), undefined);
  assertFalse(table.setAlias(name("cd"), alias), "it takes a place");
  assert(nameBudget.used > 0);
  // One place is for both.
  assertEquals(table.assign(name("ab"))?.topicId, 1);
  assertEquals(table.get(name("ab"))?.alias, alias);
});

Deno.test("TopicIds.setAlias() takes an alias back, also one that is not there", () => {
  const { table } = makeTable(1);
  table.unsubscribe(name("ab"));
  assertEquals(table.size, 0);
  table.setAlias(name("ab"), { topicIdType: "predefined", topicId: 5 });
  table.unsubscribe(name("ab"));
  assertEquals(table.get(name("ab"))?.alias, undefined);
  table.unsubscribe(name("cd"));
});

Deno.test("TopicIds.forgetKnown() keeps ids and aliases, and asks anew (§6.5)", () => {
  const { table } = makeTable();
  const a = table.assign(name("a"))!;
  const b = table.assign(name("b"))!;
  a.isKnown = true;
  b.isRefused = true;
  const alias = { topicIdType: "short", topicId: 0x6162 } as const;
  table.setAlias(name("ab"), alias);
  table.forgetKnown();
  assertEquals([a.isKnown, b.isRefused], [false, false]);
  assertEquals([a.topicId, b.topicId], [1, 2]);
  assertEquals(table.get(name("ab"))?.alias, alias);
});

Deno.test("TopicIds.clear() gives its memory back, and begins at 1 again", () => {
  const { table, nameBudget } = makeTable();
  table.assign(name("a"));
  table.assign(name("é".repeat(100)), 7);
  table.setAlias(name("ab"), { topicIdType: "short", topicId: 0x6162 });
  table.clear();
  assertEquals([table.size, nameBudget.used], [0, 0]);
  assertEquals([table.at(1), table.at(7)], [undefined, undefined]);
  assertEquals(table.assign(name("b"))?.topicId, 1);
});

Deno.test("TopicIds of two clients are two tables (§7.3)", () => {
  const nameBudget = new MemoryBudget(1e6);
  const ann = new TopicIds({ maxTopicIds: 10, nameBudget });
  const bob = new TopicIds({ maxTopicIds: 10, nameBudget });
  ann.assign(name("a"));
  assertEquals(bob.at(1), undefined);
  assertEquals(bob.assign(name("b"))?.topicId, 1);
  assertEquals(ann.at(1)?.topicName, name("a"));
});

Deno.test("G14 what the client registered or was told in SUBACK needs no REGISTER", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const id = bench.register(ANN, "a");
  bench.subscribe(ANN, "+");
  assertEquals(bench.publish(ANN, { id }, "x"), [publishTo(ANN, { id }, "x")]);
  bench.subscribe(ANN, "bb");
  assertEquals(bench.publish(ANN, { short: "bb" }, "y"), [
    publishTo(ANN, { id: id + 1 }, "y"),
  ]);
});

// What is kept of it

function keptTable(maxTopicIds = 10) {
  const nameBudget = new MemoryBudget(1e9);
  const { persister, take } = makePersister();
  const owner: { persister: typeof persister | undefined } = { persister };
  const table = new TopicIds({ maxTopicIds, nameBudget }, owner);
  return { table, nameBudget, owner, persister, take };
}

const ROW = {
  type: "topicId",
  session: 1,
  topicName: "a",
  topicId: 1,
  aliasType: undefined,
  aliasId: 0,
  isRegistered: false,
  isSubscribed: false,
} as const;

Deno.test("TopicIds tells of each change of what a client may count on, and of no other", () => {
  const { table, take } = keptTable();
  const entry = table.assign(name("a"))!;
  assertEquals(take(), [ROW]);
  table.assign(name("a"));
  assertEquals(take(), []);
  table.register(entry);
  table.register(entry);
  assertEquals(take(), [{ ...ROW, isRegistered: true }]);
  table.subscribe(entry);
  table.subscribe(entry);
  const both = { ...ROW, isRegistered: true, isSubscribed: true };
  assertEquals(take(), [both]);
  table.setAlias(name("a"), { topicIdType: "short", topicId: 0x6162 });
  assertEquals(take(), [{ ...both, aliasType: "short", aliasId: 0x6162 }]);
  table.refuse(entry);
  table.forgive(() => true);
  table.forgetKnown();
  assertEquals(take(), [], "what it was told is not kept");
  table.unsubscribe(name("a"));
  assertEquals(take(), [{ ...ROW, isRegistered: true }]);
});

Deno.test("TopicIds tells of an alias that its client does not know", () => {
  const { table, take } = keptTable();
  table.setAlias(name("a"), { topicIdType: "predefined", topicId: 5 });
  const alias = {
    ...ROW,
    topicId: 0,
    aliasType: "predefined",
    aliasId: 5,
  } as const;
  assertEquals(take(), [alias]);
  assert(table.forget(5));
  assertEquals(take(), [{ ...ROW, topicId: 0 }]);
  table.setAlias(name("a"), { topicIdType: "predefined", topicId: 5 });
  take();
  table.unlearn(table.get(name("a"))!);
  assertEquals(take(), [{ ...ROW, topicId: 0 }]);
  table.unlearn(table.get(name("a"))!);
  assertEquals(take(), [], "it has none any more");
});

Deno.test("TopicIds tells of an entry that goes for another", () => {
  const { table, take } = keptTable(1);
  table.assign(name("a"));
  take();
  table.assign(name("b"));
  assertEquals(take(), [
    { type: "topicIdEnd", session: 1, topicName: "a" },
    { ...ROW, topicName: "b", topicId: 2 },
  ]);
});

Deno.test("TopicIds.persistAll() persists all", () => {
  const { table, owner, persister, take } = keptTable();
  owner.persister = undefined;
  table.assign(name("a"));
  table.setAlias(name("b"), { topicIdType: "predefined", topicId: 5 });
  assertEquals(take(), []);
  table.persistAll(persister);
  assertEquals(take(), [
    ROW,
    { ...ROW, topicName: "b", topicId: 0, aliasType: "predefined", aliasId: 5 },
  ]);
});

Deno.test("TopicIds.restore() gives names their ids again, to be told once more", () => {
  const { table, nameBudget, take } = keptTable();
  assert(table.restore(name("a"), { ...ROW, topicId: 9, isRegistered: true }));
  assert(
    table.restore(name("b"), {
      ...ROW,
      topicId: 0,
      aliasType: "short",
      aliasId: 3,
    }),
  );
  const entry = table.at(9)!;
  assertEquals(entry, table.get(name("a")));
  assertEquals([entry.isKnown, entry.isRegistered], [false, true]);
  assertEquals(table.get(name("b"))?.alias, {
    topicIdType: "short",
    topicId: 3,
  });
  assertEquals(table.assign(name("a"))?.topicId, 9);
  assertEquals(table.assign(name("c"))?.topicId, 10, "not one that was used");
  assertEquals(take().length, 1, "what was kept is not told again");
  table.clear();
  assertEquals(nameBudget.used, 0);
});

Deno.test("TopicIds.restore() takes no name twice, nor an id", () => {
  const { table } = keptTable();
  assert(table.restore(name("a"), ROW));
  assertFalse(table.restore(name("a"), { ...ROW, topicId: 2 }));
  assertFalse(table.restore(name("b"), ROW));
  assertEquals([table.size, table.at(1)?.topicName], [1, name("a")]);
});

Deno.test("TopicIds.restore() knows no limit, but what is new does", () => {
  const { table } = keptTable(2);
  for (const topicId of [1, 2, 3]) {
    const row = { ...ROW, topicId, isRegistered: true };
    assert(table.restore(name(topicId), row));
  }
  assertEquals(table.size, 3);
  assertEquals(table.assign(name("new")), undefined);
  assertEquals(table.assign(name(2))?.topicId, 2);
});

Deno.test("TopicIds.restore() of the highest id lets the next begin anew", () => {
  const { table } = keptTable();
  table.restore(name("a"), { ...ROW, topicId: MAX_TOPIC_ID });
  table.restore(name("b"), { ...ROW, topicId: 1 });
  assertEquals(table.assign(name("c"))?.topicId, 2);
});

Deno.test("TopicIds finds each of its topics by name and by id, however many they are", () => {
  const { table, nameBudget } = makeTable(40);
  for (let count = 1; count <= 40; count++) {
    assertEquals(table.assign(name(`t${count}`))?.topicId, count);
    assert(table.setAlias(name(`t${count}`), ALIAS));
    assertEquals(table.size, count);
    for (let id = 0; id <= 41; id++) {
      const entry = table.at(id);
      assertEquals(entry?.topicId, id >= 1 && id <= count ? id : undefined);
      if (entry !== undefined) assertEquals(table.get(entry.topicName), entry);
    }
  }
  // It makes room for others: the oldest go that the client does not count on.
  for (let id = 2; id <= 40; id += 2) table.unsubscribe(name(`t${id}`));
  assertEquals(table.assign(name("a"))?.topicId, 41);
  assertEquals(table.assign(name("b"))?.topicId, 42);
  assertEquals(table.size, 40);
  const gone = Array.from({ length: 42 }, (_, i) => i + 1)
    .filter((id) => table.at(id) === undefined);
  assertEquals(gone, [2, 4]);
  table.clear();
  assertEquals([table.size, table.at(1), nameBudget.used], [0, undefined, 0]);
  assertEquals(table.assign(name("a"))?.topicId, 1);
});

Deno.test("TopicIds lets the oldest of a few go that the client does not count on", () => {
  const { table } = makeTable(3);
  register(table, "a");
  for (const text of ["b", "c", "d"]) table.assign(name(text));
  assertEquals(
    ["a", "b", "c", "d"].map((text) => table.get(name(text))?.topicId),
    [1, undefined, 3, 4],
  );
  assertEquals(table.at(2), undefined);
});

const ALIAS = { topicIdType: "short", topicId: 0x6162 } as const;
