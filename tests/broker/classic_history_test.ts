import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import { parseClassicTopic } from "../../wire/classic.ts";
import { seededRandom } from "../../base/clock.ts";
import {
  ClassicHistory,
  type HistoryLimits,
} from "../../broker/classic_history.ts";
import { EffectQueue } from "../../base/machine.ts";
import { MAX_DATAGRAM } from "../../base/peer.ts";
import { Persistence } from "../../broker/persistence.ts";
import type { StoreChange } from "../../broker/records.ts";
import { decodeUtf8, encodeUtf8, utf8Length } from "../../base/utf8.ts";

const topic = (name: string) => parseClassicTopic(name)!;

/** What a history holds, as text. */
function read(histories: ClassicHistory, name: ReturnType<typeof topic>) {
  const bytes = histories.read(name);
  return bytes === undefined ? undefined : decodeUtf8(bytes);
}

/** Appends a text from octets that are another's afterwards. */
function append(
  histories: ClassicHistory,
  name: ReturnType<typeof topic>,
  text: string,
  isPromised?: boolean,
): void {
  const bytes = encodeUtf8(text);
  histories.append(name, bytes, isPromised);
  bytes.fill(0xee);
}

function histories(limits: Partial<HistoryLimits> = {}) {
  const forgotten: [string, string, number][] = [];
  const usual = { history: 1_000, maxTopics: 100, maxMemory: 1e9 };
  return {
    forgotten,
    histories: new ClassicHistory(
      { ...usual, ...limits },
      (topicName, reason, count) => forgotten.push([topicName, reason, count]),
    ),
  };
}

Deno.test("ClassicHistory.read() joins a topic's data by line ends, oldest first", () => {
  const { histories: kept } = histories();
  assertEquals(read(kept, topic("a")), undefined);
  assertFalse(kept.has(topic("a")));
  append(kept, topic("a"), "1");
  append(kept, topic("b"), "x");
  append(kept, topic("a"), "2\n3");
  assertEquals(read(kept, topic("a")), "1\n2\n3");
  assertEquals(read(kept, topic("b")), "x");
  assertEquals(kept.size, 2);
});

Deno.test("ClassicHistory.append() counts octets as UTF-8 has them", () => {
  const { histories: kept } = histories();
  for (
    const text of [
      "a",
      "é",
      "€",
      "😀",
      "\ud83d",
      "\ude00x",
      "\ud83d\ud83d\ude00",
    ]
  ) {
    const before = kept.octetsOf(topic("a"));
    append(kept, topic("a"), text);
    const added = kept.octetsOf(topic("a")) - before;
    assertEquals(added, utf8Length(text) + (before > 0 ? 1 : 0), text);
  }
});

Deno.test("ClassicHistory.append() forgets the oldest datum beyond the count", () => {
  const { histories: kept, forgotten } = histories({ history: 3 });
  for (const text of ["1", "2", "3", "4", "5"]) append(kept, topic("a"), text);
  assertEquals(read(kept, topic("a")), "3\n4\n5");
  assertEquals(forgotten, [["a", "count", 1], ["a", "count", 1]]);
});

Deno.test("ClassicHistory.append() keeps what fits one datagram, in whole data", () => {
  const { histories: kept, forgotten } = histories();
  const datum = "é".repeat(10_000); // 20,000 octets
  for (let i = 0; i < 3; i++) append(kept, topic("a"), datum);
  assertEquals(forgotten, []);
  append(kept, topic("a"), "x".repeat(MAX_DATAGRAM - 3 * 20_001));
  assertEquals(utf8Length(read(kept, topic("a"))!), MAX_DATAGRAM);
  assertEquals(forgotten, []);

  append(kept, topic("a"), "y");
  assertEquals(forgotten, [["a", "datagram", 1]]);
  assertEquals(read(kept, topic("a"))!.split("\n").length, 4);
  append(kept, topic("a"), "z".repeat(MAX_DATAGRAM));
  assertEquals(read(kept, topic("a")), "z".repeat(MAX_DATAGRAM));
  // All that went for one datum is told at once.
  assertEquals(forgotten.slice(1), [["a", "datagram", 4]]);
});

Deno.test("ClassicHistory.octetsOf() is the length of what read() gives", () => {
  const { histories: kept } = histories({ history: 3 });
  assertEquals(kept.octetsOf(topic("a")), 0);
  for (const text of ["x", "é", "€\n", "😀", "yz"]) {
    append(kept, topic("a"), text);
    assertEquals(
      kept.octetsOf(topic("a")),
      utf8Length(read(kept, topic("a"))!),
    );
  }
});

Deno.test("ClassicHistory.append() shortens a history that takes all memory alone", () => {
  const { histories: kept, forgotten } = histories({ maxMemory: MAX_DATAGRAM });
  for (let i = 0; i < 1_000; i++) append(kept, topic("a"), "b");
  assert(kept.memory <= MAX_DATAGRAM, String(kept.memory));
  assert(forgotten.length > 0);
  assertEquals(forgotten.find(([, reason]) => reason !== "memory"), undefined);
});

Deno.test("ClassicHistory.append() throws RangeError for a datum beyond a datagram", () => {
  const { histories: kept } = histories();
  assertThrows(
    () => append(kept, topic("a"), "x".repeat(MAX_DATAGRAM + 1)),
    RangeError,
  );
  assertFalse(kept.has(topic("a")));
  assertEquals(kept.memory, 0);
});

Deno.test("ClassicHistory.append() forgets the topic published to longest ago when there are too many", () => {
  const { histories: kept, forgotten } = histories({ maxTopics: 2 });
  append(kept, topic("a"), "1");
  append(kept, topic("b"), "1");
  append(kept, topic("a"), "2");
  append(kept, topic("c"), "1");
  assertEquals(forgotten, [["b", "memory", 1]]);
  assertEquals(read(kept, topic("a")), "1\n2");
  assertEquals(kept.size, 2);
});

Deno.test("ClassicHistory.append() stays within its memory, and gives all of it back", () => {
  const maxMemory = 200_000;
  const { histories: kept, forgotten } = histories({ maxMemory, history: 50 });
  const random = seededRandom(5);
  let added = 0;
  for (let i = 0; i < 20_000; i++) {
    const name = topic(`topic/${Math.floor(random() * 300)}`);
    append(kept, name, "é".repeat(1 + Math.floor(random() * 400)));
    added++;
    assert(kept.memory <= maxMemory, `${kept.memory} after ${i}`);
  }
  assert(forgotten.some(([, reason]) => reason === "memory"));
  const gone = forgotten.reduce((sum, [, , count]) => sum + count, 0);
  let left = 0;
  for (let i = 0; i < 300; i++) {
    left += read(kept, topic(`topic/${i}`))?.split("\n").length ?? 0;
  }
  assertEquals(left + gone, added);
});

Deno.test("ClassicHistory.memory is nothing again when all is forgotten", () => {
  const { histories: kept } = histories({ maxTopics: 1 });
  append(kept, topic("a"), "one");
  const alone = kept.memory;
  for (const text of ["1", "22", "333"]) append(kept, topic("b"), text);
  append(kept, topic("c"), "one");
  assertEquals(kept.memory, alone);
});

// What is kept of it

function keptHistories(limits: Partial<HistoryLimits> = {}) {
  const effects = new EffectQueue<unknown, StoreChange>();
  const persistence = new Persistence(effects);
  persistence.state = "ready";
  const usual = { history: 1_000, maxTopics: 100, maxMemory: 1e9 };
  const take = () => {
    const changes: StoreChange[] = [];
    for (let effect; (effect = effects.poll()) !== undefined;) {
      if (effect.type === "persist") changes.push(effect.change);
    }
    return changes;
  };
  return {
    histories: new ClassicHistory(
      { ...usual, ...limits },
      () => {},
      persistence,
    ),
    persistence,
    take,
  };
}

const datum = (seq: number, topicName: string, text: string) =>
  ({ type: "datum", seq, topicName, text }) as const;
const datumEnd = (seq: number) => ({ type: "datumEnd", seq }) as const;

Deno.test("ClassicHistory.append() tells of each datum by a number that counts up over all topics", () => {
  const { histories: kept, take } = keptHistories();
  append(kept, topic("a"), "1");
  append(kept, topic("b"), "2");
  append(kept, topic("a"), "3");
  assertEquals(take(), [
    datum(1, "a", "1"),
    datum(2, "b", "2"),
    datum(3, "a", "3"),
  ]);
});

Deno.test("ClassicHistory.append() tells of each datum that is forgotten, and once", () => {
  const { histories: kept, take } = keptHistories({ history: 2, maxTopics: 2 });
  for (const text of ["1", "2", "3"]) append(kept, topic("a"), text);
  append(kept, topic("b"), "4");
  take();
  append(kept, topic("a"), "5");
  assertEquals(take(), [datum(5, "a", "5"), datumEnd(2)]);
  append(kept, topic("c"), "6");
  assertEquals(take(), [datum(6, "c", "6"), datumEnd(4)]);
  append(kept, topic("c"), "x".repeat(MAX_DATAGRAM));
  assertEquals(take().slice(1), [datumEnd(6)]);
  append(kept, topic("d"), "8");
  // Of a's five only the last two were left.
  assertEquals(take(), [datum(8, "d", "8"), datumEnd(3), datumEnd(5)]);
});

Deno.test("ClassicHistory.append() throws before it tells of anything", () => {
  const { histories: kept, take } = keptHistories();
  assertThrows(() => append(kept, topic("a"), "x".repeat(MAX_DATAGRAM + 1)));
  assertEquals(take(), []);
  append(kept, topic("a"), "1");
  assertEquals(take(), [datum(1, "a", "1")]);
});

for (const state of ["busy", "refusing"] as const) {
  Deno.test(`ClassicHistory.append() leaves out what nobody was promised while the store is ${state}`, () => {
    const { histories: kept, persistence, take } = keptHistories({
      history: 1,
    });
    persistence.state = state;
    append(kept, topic("a"), "1", false);
    append(kept, topic("a"), "2", false);
    assertEquals([take(), persistence.skipped], [[], 2]);
    append(kept, topic("b"), "3");
    assertEquals(take(), [datum(3, "b", "3")], "but not what somebody was");
    persistence.state = "ready";
    append(kept, topic("a"), "4", false);
    assertEquals(take(), [datum(4, "a", "4")], "what went was not kept");
    persistence.state = state;
    append(kept, topic("a"), "5", false);
    assertEquals(take(), [datumEnd(4)], "what is kept is forgotten");
  });
}

Deno.test("ClassicHistory.restore() puts data back, and what follows behind them", () => {
  const { histories: kept, take } = keptHistories();
  kept.restore(topic("b"), encodeUtf8("1"), 3);
  kept.restore(topic("a"), encodeUtf8("2"), 7);
  kept.restore(topic("a"), encodeUtf8("3"), 9);
  assertEquals([read(kept, topic("a")), read(kept, topic("b"))], ["2\n3", "1"]);
  assertEquals(take(), []);
  append(kept, topic("a"), "4");
  assertEquals(take(), [datum(10, "a", "4")]);
});

Deno.test("ClassicHistory.restore() keeps to its limits, and tells what goes for good", () => {
  const { histories: kept, persistence, take } = keptHistories({
    history: 2,
    maxTopics: 2,
  });
  persistence.state = "loading";
  kept.restore(topic("a"), encodeUtf8("1"), 1);
  kept.restore(topic("a"), encodeUtf8("2"), 2);
  kept.restore(topic("a"), encodeUtf8("3"), 3);
  assertEquals(take(), [datumEnd(1)]);
  kept.restore(topic("b"), encodeUtf8("4"), 4);
  kept.restore(topic("c"), encodeUtf8("5"), 5);
  assertEquals(take(), [datumEnd(2), datumEnd(3)]);
  assertEquals([kept.size, persistence.skipped], [2, 0]);
});
