/**
 * What a router sends again, and what it does with what a client sends again.
 */

import { assertEquals } from "@std/assert";
import type { DeliveryQos } from "../../wire/message.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import {
  GatewayBench,
  octets,
  puback,
  publishTo,
  regack,
  to,
} from "../support/gateway.ts";
import { ANN, BOB } from "../support/router.ts";
import { publish } from "../support/outbox.ts";

/** Ann subscribed to `a` at QoS 2, by name or by a filter; Bob publishes. */
function begin(filter = "a") {
  const bench = new GatewayBench({ retryMs: 100, retries: 4 });
  bench.connect(BOB, "bob");
  const topic = { id: bench.register(BOB, "a") };
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, filter, 2);
  /** Bob publishes; gives the octets that go to Ann. */
  const tell = (data: string, qos: DeliveryQos, msgId: number) => {
    const sent = bench.publish(BOB, topic, data, { qos, msgId });
    return bench.wire.filter((_, i) => sent[i]![0] === ANN.key);
  };
  /** The octets that are sent by then. */
  const after = (ms: number) => {
    bench.advance(ms);
    return [...bench.wire];
  };
  return { bench, topic, tell, after };
}

Deno.test("§5.3.4 DUP is 0 the first time, 1 on retransmission, in PUBLISH", () => {
  const { tell, after } = begin();
  assertEquals(tell("x", 1, 1), [publish("20", 1, "x")]);
  assertEquals(after(99), []);
  assertEquals(after(1), [publish("a0", 1, "x")]);
  assertEquals(after(100), [publish("a0", 1, "x")]);
});

Deno.test("§5.3.4 REGISTER is resent unchanged", () => {
  const { tell, after } = begin("+");
  assertEquals(tell("x", 1, 1), ["070a0001000161"]);
  assertEquals(after(100), ["070a0001000161"]);
  assertEquals(after(100), ["070a0001000161"]);
});

Deno.test("§5.3.4 a later message does not inherit DUP", () => {
  const { bench, tell, after } = begin();
  tell("x", 1, 1);
  after(100);
  bench.take(ANN, puback(1, 1));
  assertEquals(tell("y", 1, 2), [publish("20", 2, "y")]);
});

for (
  const [what, change] of [
    ["is unsubscribed from", "07 14 02 00 07 61 62"],
    ["is subscribed to by name", "07 12 20 00 07 61 62"],
    ["is registered", "08 0A 00 00 00 07 61 62"],
  ] as const
) {
  Deno.test(`§6.13 a retransmission has the same octets but DUP, also when its short topic ${what}`, () => {
    const { bench, after } = begin("z");
    const ab = { short: "ab" };
    bench.subscribe(ANN, ab, 1);
    bench.publish(BOB, ab, "x", { qos: 1 });
    assertEquals(bench.wire.at(-1), "080c226162000178");
    bench.take(ANN, change);
    assertEquals(bench.wire.length, 1, "answered, and nothing else");
    assertEquals(after(100), ["080ca26162000178"]);
  });
}

for (
  const [what, change] of [
    ["is unsubscribed from", "06 14 00 00 07 7A 7A"],
    ["is subscribed to as a short one", "07 12 22 00 07 7A 7A"],
  ] as const
) {
  Deno.test(`§6.13 a retransmission has the same octets but DUP, also when its topic ${what}`, () => {
    const { bench, after } = begin("zz");
    const zz = { short: "zz" };
    bench.publish(BOB, zz, "x", { qos: 1 });
    assertEquals(bench.wire.at(-1), publish("20", 1, "x"));
    const bytes = octets(change);
    bytes[0] = bytes.length;
    bench.take(ANN, bytes);
    assertEquals(after(100), [publish("a0", 1, "x")]);
  });
}

Deno.test("§6.13 a QoS 1 PUBLISH with DUP is taken, and acknowledged each time", () => {
  const { bench } = begin("z");
  bench.subscribe(ANN, { short: "ab" });
  const options = { qos: 1, msgId: 7, dup: true } as const;
  for (let i = 0; i < 2; i++) {
    assertEquals(bench.publish(BOB, { short: "ab" }, "x", options), [
      to(BOB, puback(0x6162, 7)),
      publishTo(ANN, { short: "ab" }, "x"),
    ]);
  }
});

Deno.test("§6.13 a repeated SUBSCRIBE and REGISTER are answered as the first time", () => {
  const { bench } = begin("z");
  bench.publish(BOB, { short: "ab" }, "kept", { retain: true });
  const subscribe = "07 12 A2 00 07 61 62";
  const [first, second] = [bench.take(ANN, subscribe), bench.wire];
  assertEquals(first[0]![1].type, "SUBACK");
  assertEquals(second.length, 2, "with what is retained");
  assertEquals(bench.take(ANN, subscribe)[0], first[0]);
  const register = "07 0A 00 00 00 08 6E";
  assertEquals(bench.take(ANN, register), bench.take(ANN, register));
  assertEquals(bench.stats.subscriptions, 2);
});

Deno.test("§6.6 PUBREL unanswered is sent again; PUBREC again brings no PUBLISH", () => {
  const { bench, tell, after } = begin();
  tell("x", 2, 1);
  bench.take(ANN, { type: "PUBREC", msgId: 1 });
  assertEquals(bench.wire, ["04100001"]);
  assertEquals(after(100), ["04100001"]);
  bench.take(ANN, { type: "PUBREC", msgId: 1 });
  for (const hex of bench.wire) assertEquals(hex, "04100001");
  assertEquals(bench.take(ANN, { type: "PUBCOMP", msgId: 1 }), []);
  assertEquals(after(1e6), []);
});

Deno.test("§6.6 PUBREC for an unknown MsgId is ignored, and counted", () => {
  const { bench } = begin();
  assertEquals(bench.take(ANN, { type: "PUBREC", msgId: 77 }), []);
  assertEquals(bench.router.stats().dropped.lateAck, 1);
});

Deno.test("§6.6 PUBREL for an unknown MsgId is answered with PUBCOMP", () => {
  const { bench } = begin();
  assertEquals(bench.take(BOB, { type: "PUBREL", msgId: 77 }), [
    to(BOB, { type: "PUBCOMP", msgId: 77 }),
  ]);
});

Deno.test("§6.2 a CONNECT again while prompting: the prompt again", () => {
  const bench = new GatewayBench();
  const connect = "08 04 0C 01 00 0A 63 31";
  for (let i = 0; i < 3; i++) {
    assertEquals(bench.take(ANN, connect), [
      to(ANN, { type: "WILLTOPICREQ" }),
    ]);
  }
  bench.take(ANN, "06 07 30 61 2F 77");
  assertEquals(bench.take(ANN, connect), [to(ANN, { type: "WILLMSGREQ" })]);
  assertEquals(bench.take(ANN, "05 09 62 79 65"), [
    to(ANN, { type: "CONNACK", returnCode: 0 }),
  ]);
  assertEquals(bench.stats.connected, 1);
  assertEquals(bench.stats.prompts, 0);
});

for (const connect of ["08 04 04 01 00 0A 63 31", "08 04 0C 01 00 0A 63 31"]) {
  Deno.test(`§6.2 a CONNECT (${connect}) again within T_retry of its CONNACK wipes nothing`, () => {
    const bench = new GatewayBench({ retryMs: 100 });
    bench.take(ANN, connect);
    if (connect.includes("0C")) {
      bench.take(ANN, "06 07 30 61 2F 77");
      bench.take(ANN, "05 09 62 79 65");
    }
    bench.subscribe(ANN, "a");
    bench.advance(99);
    assertEquals(bench.take(ANN, connect), [
      to(ANN, { type: "CONNACK", returnCode: 0 }),
    ]);
    assertEquals(bench.stats.subscriptions, 1);
    assertEquals(bench.stats.connected, 1);
    bench.advance(1);
    bench.take(ANN, connect);
    const isAskedAgain = connect.includes("0C");
    assertEquals(bench.stats.subscriptions, isAskedAgain ? 1 : 0);
    assertEquals(bench.stats.connected, isAskedAgain ? 1 : 2);
    assertEquals(bench.stats.prompts, isAskedAgain ? 1 : 0);
  });
}

Deno.test("§6.2 another CONNECT within T_retry is a new one", () => {
  const bench = new GatewayBench();
  bench.take(ANN, "08 04 04 01 00 0A 63 31");
  bench.subscribe(ANN, "a");
  assertEquals(bench.take(ANN, "08 04 04 01 00 0B 63 31"), [
    to(ANN, { type: "CONNACK", returnCode: 0 }),
  ]);
  assertEquals(bench.stats.subscriptions, 0);
});

Deno.test("§5.3.7 our MsgId 1 and the client's MsgId 1 are two", () => {
  const { bench, tell } = begin();
  assertEquals(tell("x", 2, 1), [publish("40", 1, "x")]);
  const short = { short: "ab" };
  assertEquals(bench.publish(ANN, short, "y", { qos: 2, msgId: 1 }), [
    to(ANN, { type: "PUBREC", msgId: 1 }),
  ]);
  assertEquals(bench.take(ANN, { type: "PUBREL", msgId: 1 }), [
    to(ANN, { type: "PUBCOMP", msgId: 1 }),
  ]);
  assertEquals(bench.take(ANN, { type: "PUBREC", msgId: 1 }), [
    to(ANN, { type: "PUBREL", msgId: 1 }),
  ]);
  assertEquals(bench.take(ANN, { type: "PUBCOMP", msgId: 1 }), []);
  assertEquals(bench.router.stats().dropped.lateAck, 0);
});

Deno.test("§5.3.7 acks are matched by type", () => {
  const { bench, tell } = begin("+");
  assertEquals(tell("x", 1, 1), ["070a0001000161"]);
  assertEquals(bench.take(ANN, puback(1, 1)), []);
  assertEquals(bench.take(ANN, { type: "PUBREC", msgId: 1 }), []);
  assertEquals(bench.router.stats().dropped.lateAck, 2);
  bench.take(ANN, regack(1, 1));
  assertEquals(bench.wire, [publish("20", 2, "x")]);
});

Deno.test("Router copies what waits: its caller may use the buffer again", () => {
  const { bench, topic } = begin();
  bench.sleep(ANN, 30);
  const bytes = encodePacket({
    type: "PUBLISH",
    dup: false,
    qos: 1,
    retain: true,
    topicIdType: "normal",
    topicId: topic.id,
    msgId: 1,
    data: encodeUtf8("x"),
  });
  bench.take(BOB, bytes);
  bytes.fill(0);
  bench.wake(ANN, "ann");
  assertEquals(bench.wire, [publish("20", 1, "x")]);
  bench.subscribe(BOB, "+");
  assertEquals(bench.wire.length, 2, "SUBACK, and what is retained");
});
