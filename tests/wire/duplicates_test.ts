import { assert, assertEquals, assertFalse } from "@std/assert";
import type { Publish } from "../../wire/packets.ts";
import { digestOf, DuplicateFilter, LATE_MS } from "../../wire/duplicates.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import {
  GatewayBench,
  publishOf as packetOf,
  publishTo,
  to,
} from "../support/gateway.ts";
import { RETRY_MS } from "../support/device.ts";
import { makePersistence } from "../support/kept.ts";
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

function persistedFilter() {
  const { session, take } = makePersistence();
  const owner: { persistence: typeof session | undefined } = {
    persistence: session,
  };
  return { received: new DuplicateFilter(owner), owner, session, take };
}

const RECEIVED = {
  type: "received",
  session: 1,
  msgId: 7,
  digest: LAMP,
} as const;

Deno.test("DuplicateFilter tells of each message as it comes, is released and is forgotten", () => {
  const { received, take } = persistedFilter();
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
  const { received, take } = persistedFilter();
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

Deno.test("DuplicateFilter tells nobody as long as it is not kept, and then all by persistAll()", () => {
  const { received, owner, session, take } = persistedFilter();
  owner.persistence = undefined;
  received.add(7, LAMP);
  received.add(9, DOOR);
  received.release(0, 9, 1_000);
  assertEquals(take(), []);
  received.persistAll(session);
  assertEquals(take(), [
    { ...RECEIVED, until: undefined },
    { ...RECEIVED, msgId: 9, digest: DOOR, until: 1_000 },
  ]);
});

Deno.test("DuplicateFilter.restore() awaits no copy for longer than it is told, as clocks may have been ahead", () => {
  const { received } = persistedFilter();
  received.restore({ ...RECEIVED, until: 86_400_000 }, 2_000);
  assert(received.has(1_999, 7, RECEIVED.digest));
  assertFalse(received.has(2_000, 7, RECEIVED.digest));
});

Deno.test("DuplicateFilter.restore() knows again what came and what was released", () => {
  const { received, take } = persistedFilter();
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

// What may have been forgotten by its sender

const X = packetOf(5, "x", { qos: 2, msgId: 7 });
const X_DUP = { ...X, dup: true };
const Y = packetOf(5, "y", { qos: 2, msgId: 7 });
const Y_DUP = { ...Y, dup: true };

/** The filter of a client, by packets. */
class ClientFilter {
  readonly #filter = new DuplicateFilter();
  readonly #lateMs: number;

  constructor(retryMs: number) {
    this.#lateMs = Math.min(retryMs, LATE_MS);
  }

  has(now: number, packet: typeof X): boolean {
    return this.#filter.has(now, packet.msgId, digestOf(packet), packet.dup);
  }

  add(packet: typeof X): void {
    this.#filter.add(packet.msgId, digestOf(packet));
  }

  release(now: number, msgId: number): void {
    this.#filter.release(now, msgId, this.#lateMs);
  }

  doubt(now: number): void {
    this.#filter.doubt(now, this.#lateMs);
  }

  clear(): void {
    this.#filter.clear();
  }
}

Deno.test("DuplicateFilter.has() knows a message by its msgId until PUBREL", () => {
  const received = new ClientFilter(RETRY_MS);
  assertFalse(received.has(0, X));
  received.add(X);
  for (const packet of [X, X_DUP, Y, Y_DUP]) {
    assert(received.has(1e9, packet));
  }
  assertFalse(received.has(0, { ...X, msgId: 8 }));
});

Deno.test("DuplicateFilter.has() knows a released message for as long as the network is late", () => {
  for (const retryMs of [100, RETRY_MS]) {
    const lateMs = Math.min(retryMs, LATE_MS);
    const received = new ClientFilter(retryMs);
    received.add(X);
    received.release(0, 7);
    assert(received.has(lateMs - 1, X));
    assertFalse(received.has(lateMs - 1, Y));
    assertFalse(received.has(lateMs, X));
  }
});

Deno.test("DuplicateFilter.release() of what never came does nothing", () => {
  const received = new ClientFilter(RETRY_MS);
  received.release(0, 7);
  assertFalse(received.has(0, X));
});

Deno.test("DuplicateFilter.doubt() takes another message under a msgId that waits for PUBREL", () => {
  const received = new ClientFilter(RETRY_MS);
  received.add(X);
  received.doubt(0);
  assertFalse(received.has(0, Y));
  assertFalse(received.has(0, Y_DUP));
  received.add(Y);
  // Now that one is known, and the other one's digest says nothing more.
  assert(received.has(0, Y));
  received.release(0, 7);
  assertFalse(received.has(1e9, X_DUP));
});

Deno.test("DuplicateFilter.doubt() knows the same message that was sent before, however late", () => {
  const received = new ClientFilter(RETRY_MS);
  received.add(X);
  received.doubt(0);
  received.doubt(1_000); // lost once more, before it came
  assert(received.has(1e9, X_DUP));
  // So the gateway has not forgotten: all that comes under it is a copy.
  assert(received.has(2e9, X));
  received.release(2e9, 7);
  assertFalse(received.has(3e9, X_DUP));
});

Deno.test("DuplicateFilter.doubt() takes the same message anew that was never sent before", () => {
  const received = new ClientFilter(RETRY_MS);
  received.add(X);
  received.doubt(0);
  assert(received.has(LATE_MS - 1, X)); // a late copy
  assertFalse(received.has(LATE_MS, X));
});

Deno.test("DuplicateFilter.doubt() ends with PUBREL", () => {
  const received = new ClientFilter(RETRY_MS);
  received.add(X);
  received.doubt(0);
  received.release(1_000, 7);
  assertFalse(received.has(1e9, X_DUP));
});

Deno.test("DuplicateFilter.doubt() is not about what was released", () => {
  const received = new ClientFilter(RETRY_MS);
  received.add(X);
  received.release(0, 7);
  received.doubt(0);
  assertFalse(received.has(1e9, X_DUP));
});

Deno.test("DuplicateFilter.clear() forgets all", () => {
  const received = new ClientFilter(RETRY_MS);
  received.add(X);
  received.clear();
  assertFalse(received.has(0, X));
  received.doubt(0);
  assertFalse(received.has(0, X_DUP));
  received.add(X);
  received.doubt(0);
  received.clear();
  assertFalse(received.has(0, X_DUP));
  assertFalse(received.has(0, X));
});

Deno.test("DuplicateFilter.has() knows what was in doubt for as long after PUBREL as all else", () => {
  const received = new ClientFilter(RETRY_MS);
  received.add(X);
  received.doubt(0);
  received.release(LATE_MS, 7);
  assert(received.has(2 * LATE_MS - 1, X_DUP)); // which PUBREL has overtaken
  assertFalse(received.has(2 * LATE_MS, X_DUP));
});
