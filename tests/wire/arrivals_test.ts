/**
 * The messages at QoS 2 that have come, each taken once; and messages that find
 * no room, told through the device.
 *
 * @module
 */

import { assert, assertEquals, assertFalse } from "@std/assert";
import { Arrivals } from "../../wire/arrivals.ts";
import type { ReceivedMessage } from "../../client/events.ts";
import { LATE_MS } from "../../wire/duplicates.ts";
import { Bench, CONNACK, RETRY_MS, withMsgId } from "../support/device.ts";
import { GOODBYE, publishOf } from "../support/gateway.ts";

const X = publishOf(5, "x", { qos: 2, msgId: 7 });
const X_DUP = { ...X, dup: true };
const Y = publishOf(5, "y", { qos: 2, msgId: 7 });
const Y_DUP = { ...Y, dup: true };

Deno.test("has() knows a message by its msgId until PUBREL", () => {
  const arrivals = new Arrivals(RETRY_MS);
  assertFalse(arrivals.has(0, X));
  arrivals.add(X);
  for (const packet of [X, X_DUP, Y, Y_DUP]) {
    assert(arrivals.has(1e9, packet));
  }
  assertFalse(arrivals.has(0, { ...X, msgId: 8 }));
});

Deno.test("has() knows a released message for as long as the network is late", () => {
  for (const retryMs of [100, RETRY_MS]) {
    const lateMs = Math.min(retryMs, LATE_MS);
    const arrivals = new Arrivals(retryMs);
    arrivals.add(X);
    arrivals.release(0, 7);
    assert(arrivals.has(lateMs - 1, X));
    assertFalse(arrivals.has(lateMs - 1, Y));
    assertFalse(arrivals.has(lateMs, X));
  }
});

Deno.test("release() of what never came does nothing", () => {
  const arrivals = new Arrivals(RETRY_MS);
  arrivals.release(0, 7);
  assertFalse(arrivals.has(0, X));
});

Deno.test("doubt() takes another message under a msgId that waits for PUBREL", () => {
  const arrivals = new Arrivals(RETRY_MS);
  arrivals.add(X);
  arrivals.doubt(0);
  assertFalse(arrivals.has(0, Y));
  assertFalse(arrivals.has(0, Y_DUP));
  arrivals.add(Y);
  // Now that one is known, and the other one's digest says nothing more.
  assert(arrivals.has(0, Y));
  arrivals.release(0, 7);
  assertFalse(arrivals.has(1e9, X_DUP));
});

Deno.test("doubt() knows the same message that was sent before, however late", () => {
  const arrivals = new Arrivals(RETRY_MS);
  arrivals.add(X);
  arrivals.doubt(0);
  arrivals.doubt(1_000); // lost once more, before it came
  assert(arrivals.has(1e9, X_DUP));
  // So the gateway has not forgotten: all that comes under it is a copy.
  assert(arrivals.has(2e9, X));
  arrivals.release(2e9, 7);
  assertFalse(arrivals.has(3e9, X_DUP));
});

Deno.test("doubt() takes the same message anew that was never sent before", () => {
  const arrivals = new Arrivals(RETRY_MS);
  arrivals.add(X);
  arrivals.doubt(0);
  assert(arrivals.has(LATE_MS - 1, X)); // a late copy
  assertFalse(arrivals.has(LATE_MS, X));
});

Deno.test("doubt() ends with PUBREL", () => {
  const arrivals = new Arrivals(RETRY_MS);
  arrivals.add(X);
  arrivals.doubt(0);
  arrivals.release(1_000, 7);
  assertFalse(arrivals.has(1e9, X_DUP));
});

Deno.test("doubt() is not about what was released", () => {
  const arrivals = new Arrivals(RETRY_MS);
  arrivals.add(X);
  arrivals.release(0, 7);
  arrivals.doubt(0);
  assertFalse(arrivals.has(1e9, X_DUP));
});

Deno.test("clear() forgets all", () => {
  const arrivals = new Arrivals(RETRY_MS);
  arrivals.add(X);
  arrivals.clear();
  assertFalse(arrivals.has(0, X));
  arrivals.doubt(0);
  assertFalse(arrivals.has(0, X_DUP));
  arrivals.add(X);
  arrivals.doubt(0);
  arrivals.clear();
  assertFalse(arrivals.has(0, X_DUP));
  assertFalse(arrivals.has(0, X));
});

Deno.test("A clean session knows nothing of a message from before", () => {
  const bench = Bench.active();
  const register = () =>
    bench.take({ type: "REGISTER", topicId: 5, msgId: 1, topicName: "a" });
  register();
  bench.take(X);
  bench.take(GOODBYE);
  bench.run(5_000);
  bench.take(CONNACK);
  register();
  bench.take(Y);
  bench.take(X_DUP); // under the msgId of the last one
  assertEquals(bench.payloads, ["x", "y"]);
});

// hasRoom

/** A device whose room is what the test says; its topic 5 is "a". */
function crowded(cleanSession = true): [Bench, { hasRoom: boolean }] {
  const room = { hasRoom: false };
  const bench = Bench.active({ cleanSession, hasRoom: () => room.hasRoom });
  bench.take({ type: "REGISTER", topicId: 5, msgId: 1, topicName: "a" });
  return [bench, room];
}

for (const qos of [1, 2] as const) {
  const taken = qos === 1
    ? "PUBACK topicId=5 msgId=7 returnCode=0"
    : "PUBREC msgId=7";

  Deno.test(`A message at QoS ${qos} without room is held, and taken later`, () => {
    const [bench, room] = crowded();
    const publish = publishOf(5, "x", { qos, msgId: 7 });
    assertEquals(bench.take(publish), []);
    assertEquals(bench.take({ ...publish, dup: true }), []);
    assertEquals(bench.held, ["a", "a"]);
    assertEquals(bench.messages, []);
    room.hasRoom = true;
    assertEquals(bench.take({ ...publish, dup: true }), [taken]);
    assertEquals(bench.payloads, ["x"]);
    assertEquals(bench.messages[0]!.dup, qos === 1);
    assertEquals(bench.held.length, 2);
  });
}

Deno.test("A message at QoS 2 that was taken is acknowledged without room", () => {
  const [bench, room] = crowded();
  room.hasRoom = true;
  bench.take(X);
  room.hasRoom = false;
  assertEquals(bench.take(X_DUP), ["PUBREC msgId=7"]);
  assertEquals(bench.take(withMsgId("PUBREL", 7)), ["PUBCOMP msgId=7"]);
  assertEquals(bench.held, []);
  assertEquals(bench.payloads, ["x"]);
});

Deno.test("has() knows what was in doubt for as long after PUBREL as all else", () => {
  const arrivals = new Arrivals(RETRY_MS);
  arrivals.add(X);
  arrivals.doubt(0);
  arrivals.release(LATE_MS, 7);
  assert(arrivals.has(2 * LATE_MS - 1, X_DUP)); // which PUBREL has overtaken
  assertFalse(arrivals.has(2 * LATE_MS, X_DUP));
});

Deno.test("A message at QoS 0 needs no room", () => {
  const [bench] = crowded();
  bench.take(publishOf(5, "x"));
  assertEquals(bench.payloads, ["x"]);
  assertEquals(bench.held, []);
});

Deno.test("hasRoom() is asked for the message itself", () => {
  const seen: ReceivedMessage[] = [];
  const bench = Bench.active({
    hasRoom: (message) => {
      seen.push(message);
      return message.text() !== "x";
    },
  });
  const topicIdType = "short";
  const publish = { qos: 1, msgId: 7, topicIdType } as const;
  assertEquals(bench.take(publishOf(0x6162, "x", publish)), []);
  assertEquals(bench.take(publishOf(0x6162, "y", publish)).length, 1);
  assertEquals(bench.held, ["ab"]);
  assertEquals(bench.payloads, ["y"]);
  assertEquals(seen.map(({ topicName }) => topicName), ["ab", "ab"]);
  assert(seen[1] === bench.messages[0]);
});

Deno.test("A message whose id is not known is asked for, room or not", () => {
  const [bench] = crowded();
  assertEquals(bench.take(publishOf(9, "x", { qos: 1, msgId: 7 })), [
    "PUBACK topicId=9 msgId=7 returnCode=2",
  ]);
  assertEquals(bench.held, []);
});

Deno.test("A message that was held comes once, also over a new connection", () => {
  const [bench, room] = crowded(false);
  bench.take(X);
  bench.take(GOODBYE);
  bench.run(5_000);
  bench.take(CONNACK);
  bench.take({ type: "REGISTER", topicId: 5, msgId: 1, topicName: "a" });
  room.hasRoom = true;
  assertEquals(bench.take(X_DUP), ["PUBREC msgId=7"]);
  assertEquals(bench.take(X_DUP), ["PUBREC msgId=7"]);
  assertEquals(bench.payloads, ["x"]);
});
