import { assert, assertEquals, assertFalse } from "@std/assert";
import type { Publish } from "../../wire/packets.ts";
import { digestOf, DuplicateFilter } from "../../wire/duplicates.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import { GatewayBench, publishTo, to } from "../support/gateway.ts";
import { makePersister } from "../support/kept.ts";
import { ANN, BOB } from "../support/router.ts";

const LAMP = digestOf(publishOf("lamp"));
const DOOR = digestOf(publishOf("door"));

function publishOf(text: string): Publish {
  return {
    type: "PUBLISH",
    dup: false,
    qos: 2,
    retain: false,
    topicIdType: "short",
    topicId: 0x6162,
    msgId: 7,
    data: encodeUtf8(text),
  };
}

// By itself

Deno.test("DuplicateFilter.has() knows a msgId until PUBREL, whatever comes under it", () => {
  const received = new DuplicateFilter();
  assertFalse(received.has(0, 7, LAMP));
  received.add(7, LAMP);
  assert(received.has(0, 7, LAMP));
  assert(received.has(1e12, 7, DOOR), "the msgId decides");
  assertFalse(received.has(0, 8, LAMP));
  assertEquals(received.unreleased, 1);
});

Deno.test("DuplicateFilter.release() frees the msgId, but for late copies", () => {
  const received = new DuplicateFilter();
  received.add(7, LAMP);
  received.release(100, 7, 1_000);
  assertEquals(received.unreleased, 0);
  assert(received.has(1_099, 7, LAMP));
  assertFalse(received.has(1_099, 7, DOOR));
  assertFalse(received.has(1_100, 7, LAMP));
});

Deno.test("DuplicateFilter.release() again, when no copy is expected any more, expects some", () => {
  const received = new DuplicateFilter();
  received.add(7, LAMP);
  received.release(0, 7, 1_000);
  assertFalse(received.has(1_000, 7, LAMP));
  received.release(5_000, 7, 1_000);
  assert(received.has(5_999, 7, LAMP));
  assertFalse(received.has(5_999, 7, DOOR));
  assertFalse(received.has(6_000, 7, LAMP));
  assertEquals(received.unreleased, 0);
});

Deno.test("DuplicateFilter.release() of what is not there changes nothing", () => {
  const received = new DuplicateFilter();
  received.release(0, 7, 1_000);
  assertEquals(received.unreleased, 0);
  received.add(7, LAMP);
  received.release(100, 7, 1_000);
  received.release(900, 7, 1_000);
  assertFalse(received.has(1_100, 7, LAMP), "a second PUBREL adds no time");
  assertEquals(received.unreleased, 0);
});

Deno.test("DuplicateFilter.add() takes a released msgId again", () => {
  const received = new DuplicateFilter();
  received.add(7, LAMP);
  received.release(0, 7, 1_000);
  received.add(7, DOOR);
  assertEquals(received.unreleased, 1);
  assert(received.has(1e12, 7, LAMP));
  received.release(10, 7, 1_000);
  assertEquals(received.unreleased, 0);
  assertFalse(received.has(20, 7, LAMP));
  assert(received.has(20, 7, DOOR));
});

Deno.test("DuplicateFilter.add() counts a msgId once that waits already", () => {
  const received = new DuplicateFilter();
  received.add(7, LAMP);
  received.add(7, DOOR);
  assertEquals(received.unreleased, 1);
});

Deno.test("DuplicateFilter keeps 256 released msgIds at most, the latest", () => {
  const received = new DuplicateFilter();
  for (let msgId = 1; msgId <= 1_000; msgId++) {
    received.add(msgId, LAMP);
    received.release(0, msgId, 1_000);
  }
  assertEquals(received.unreleased, 0);
  const known = [];
  for (let msgId = 1; msgId <= 1_000; msgId++) {
    if (received.has(1, msgId, LAMP)) known.push(msgId);
  }
  assertEquals(known.length, 256);
  assertEquals([known[0], known.at(-1)], [745, 1_000]);
});

Deno.test("DuplicateFilter forgets no unreleased one for all the released ones", () => {
  const received = new DuplicateFilter();
  for (let msgId = 1; msgId <= 5; msgId++) received.add(msgId, DOOR);
  for (let msgId = 6; msgId <= 2_000; msgId++) {
    received.add(msgId, LAMP);
    received.release(0, msgId, 1_000);
  }
  assertEquals(received.unreleased, 5);
  for (let msgId = 1; msgId <= 5; msgId++) {
    assert(received.has(0, msgId, DOOR));
  }
});

// Through the gateway

const TWICE = { qos: 2, msgId: 9 } as const;
const AB = { short: "ab" };
const CD = { short: "cd" };

function begin(options = {}) {
  const bench = new GatewayBench(options);
  bench.connect(BOB, "bob");
  bench.subscribe(BOB, AB);
  bench.subscribe(BOB, CD);
  bench.connect(ANN, "ann");
  return bench;
}

const PUBREC = to(ANN, { type: "PUBREC", msgId: 9 });
const PUBCOMP = to(ANN, { type: "PUBCOMP", msgId: 9 });

function release(bench: GatewayBench) {
  return bench.take(ANN, { type: "PUBREL", msgId: 9 });
}

for (const dup of [false, true]) {
  Deno.test(`G27 a QoS 2 PUBLISH that comes first with DUP=${dup} is published`, () => {
    const bench = begin();
    assertEquals(bench.publish(ANN, AB, "x", { ...TWICE, dup }), [
      PUBREC,
      publishTo(BOB, AB, "x"),
    ]);
  });

  Deno.test(`G27 the same msgId before PUBREL with DUP=${dup} is not published again`, () => {
    const bench = begin();
    bench.publish(ANN, AB, "x", TWICE);
    assertEquals(bench.publish(ANN, AB, "x", { ...TWICE, dup }), [PUBREC]);
    bench.run(1e6);
    assertEquals(bench.publish(ANN, AB, "x", { ...TWICE, dup }), [PUBREC]);
    assertEquals(bench.stats.published, 1);
    assertEquals(release(bench), [PUBCOMP]);
  });
}

Deno.test("G27 after PUBREL the msgId is free for another message", () => {
  const bench = begin();
  bench.publish(ANN, AB, "x", TWICE);
  assertEquals(release(bench), [PUBCOMP]);
  assertEquals(bench.publish(ANN, AB, "y", TWICE), [
    PUBREC,
    publishTo(BOB, AB, "y"),
  ]);
});

Deno.test("G27 after PUBREL the msgId is free for the same payload to another topic", () => {
  const bench = begin();
  bench.publish(ANN, AB, "1", TWICE);
  assertEquals(release(bench), [PUBCOMP]);
  assertEquals(bench.publish(ANN, CD, "1", TWICE), [
    PUBREC,
    publishTo(BOB, CD, "1"),
  ]);
});

Deno.test("G27 when no copy can come any more the msgId is free for the same message", () => {
  const bench = begin();
  // A client that has one msgId, and a sensor that says the same twice.
  bench.publish(ANN, AB, "on", TWICE);
  assertEquals(release(bench), [PUBCOMP]);
  bench.advance(1_999);
  assertEquals(bench.publish(ANN, AB, "on", TWICE), [PUBREC]);
  bench.advance(1);
  assertEquals(bench.publish(ANN, AB, "on", TWICE), [
    PUBREC,
    publishTo(BOB, AB, "on"),
  ]);
});

Deno.test("G27 a late copy, DUP set, after PUBREL is not published again", () => {
  const bench = begin();
  bench.publish(ANN, AB, "x", TWICE);
  assertEquals(release(bench), [PUBCOMP]);
  assertEquals(bench.publish(ANN, AB, "x", { ...TWICE, dup: true }), [PUBREC]);
  assertEquals(bench.stats.published, 1);
});

Deno.test("G37 too many QoS 2 messages without PUBREL: PUBACK 01", () => {
  const bench = begin({ maxUnreleased: 3 });
  for (let msgId = 1; msgId <= 3; msgId++) {
    assertEquals(bench.publish(ANN, AB, "x", { qos: 2, msgId })[0], [
      ANN.key,
      { type: "PUBREC", msgId },
    ]);
  }
  const fourth = { qos: 2, msgId: 4 } as const;
  assertEquals(bench.publish(ANN, AB, "x", fourth), [
    to(ANN, { type: "PUBACK", topicId: 0x6162, msgId: 4, returnCode: 1 }),
  ]);
  assertEquals(bench.stats.refused.unreleased, 1);
  bench.take(ANN, { type: "PUBREL", msgId: 2 });
  assertEquals(bench.publish(ANN, AB, "x", fourth).length, 2);
});

Deno.test("G27 a reordered PUBREL before its PUBLISH: PUBCOMP, and the PUBLISH counts", () => {
  const bench = begin();
  assertEquals(release(bench), [PUBCOMP]);
  assertEquals(bench.publish(ANN, AB, "x", TWICE), [
    PUBREC,
    publishTo(BOB, AB, "x"),
  ]);
});

// What is kept of it

function keptReceived() {
  const { persister, take } = makePersister();
  const owner: { persister: typeof persister | undefined } = { persister };
  return { received: new DuplicateFilter(owner), owner, persister, take };
}

const RECEIVED = {
  type: "received",
  session: 1,
  msgId: 7,
  digest: LAMP,
} as const;

Deno.test("DuplicateFilter tells of each message as it comes, is released and is forgotten", () => {
  const { received, take } = keptReceived();
  received.add(7, LAMP);
  assertEquals(take(), [{ ...RECEIVED, until: undefined }]);
  assert(received.has(50, 7, DOOR));
  assertEquals(take(), [], "a copy is nothing new");
  received.release(100, 7, 1_000);
  assertEquals(take(), [{ ...RECEIVED, until: 1_100 }]);
  received.release(200, 7, 1_000);
  assertEquals(take(), [], "a second PUBREL");
  received.release(200, 99, 1_000);
  assertEquals(take(), [], "nor of what never came");
  received.add(8, DOOR);
  take();
  received.release(1_100, 8, 1_000);
  assertEquals(take(), [
    { ...RECEIVED, msgId: 8, digest: DOOR, until: 2_100 },
    { type: "receivedEnd", session: 1, msgId: 7 },
  ]);
});

Deno.test("DuplicateFilter.add() tells of a msgId that is used again", () => {
  const { received, take } = keptReceived();
  received.add(7, LAMP);
  received.release(0, 7, 1_000);
  take();
  assertFalse(received.has(500, 7, DOOR));
  received.add(7, DOOR);
  assertEquals(take(), [{ ...RECEIVED, digest: DOOR, until: undefined }]);
  received.add(8, LAMP);
  received.release(5_000, 8, 1_000);
  const types = take().map(({ type }) => type);
  assertEquals(types, ["received", "received"], "7 is not forgotten");
});

Deno.test("DuplicateFilter persists nothing without a persister, and all by persistAll()", () => {
  const { received, owner, persister, take } = keptReceived();
  owner.persister = undefined;
  received.add(7, LAMP);
  received.add(9, DOOR);
  received.release(0, 9, 1_000);
  assertEquals(take(), []);
  received.persistAll(persister);
  assertEquals(take(), [
    { ...RECEIVED, until: undefined },
    { ...RECEIVED, msgId: 9, digest: DOOR, until: 1_000 },
  ]);
});

Deno.test("DuplicateFilter.restore() awaits no copy for longer than it is told, as clocks may have been ahead", () => {
  const { received } = keptReceived();
  received.restore({ ...RECEIVED, until: 86_400_000 }, 2_000);
  assert(received.has(1_999, 7, RECEIVED.digest));
  assertFalse(received.has(2_000, 7, RECEIVED.digest));
});

Deno.test("DuplicateFilter.restore() knows again what came and what was released", () => {
  const { received, take } = keptReceived();
  received.restore({ ...RECEIVED, until: undefined }, 2_000);
  received.restore({ ...RECEIVED, msgId: 8, until: 1_000 }, 2_000);
  assertEquals([received.unreleased, received.isEmpty], [1, false]);
  assert(received.has(5_000, 7, DOOR), "before PUBREL the msgId decides");
  assert(received.has(999, 8, LAMP));
  assertFalse(received.has(999, 8, DOOR));
  assertFalse(received.has(1_000, 8, LAMP));
  assertEquals(take(), [], "it is kept already");
  received.release(2_000, 7, 1_000);
  assertEquals(take(), [
    { ...RECEIVED, until: 3_000 },
    { type: "receivedEnd", session: 1, msgId: 8 },
  ]);
});
