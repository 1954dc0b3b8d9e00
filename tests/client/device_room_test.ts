/**
 * Messages that find no room at a client, and those at QoS 2 that come twice.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import type { ReceivedMessage } from "../../client/events.ts";
import { Bench, CONNACK, withMsgId } from "../support/device.ts";
import { GOODBYE, publishOf } from "../support/gateway.ts";

const X = publishOf(5, "x", { qos: 2, msgId: 7 });
const X_DUP = { ...X, dup: true };
const Y = publishOf(5, "y", { qos: 2, msgId: 7 });

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
