/**
 * Topic ids and subscriptions at the gateway (MQTT-SN 1.2 §6.5, §6.7, §6.9, §6.10).
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import type { MqttSnPacket } from "../../wire/packets.ts";
import {
  answerAll,
  GatewayBench,
  packetsTo,
  publishOf,
  subscribedId,
  textOf,
} from "../support/gateway.ts";
import { ANN, BOB, CYD } from "../support/router.ts";
import {
  CONNACK,
  DISCONNECT,
  PINGRESP,
  RETRIES,
  RETRY_MS,
  typesOf,
} from "../support/gateway_packets.ts";

// Topic ids

Deno.test("G10 answers REGISTER with an id, and the same name with the same id", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.take(ANN, "09 0A 00 00 00 01 61 2F 62");
  assertEquals(bench.wire, ["070b0001000100"]);
  bench.take(ANN, "09 0A 00 00 00 02 61 2F 63");
  assertEquals(bench.wire, ["070b0002000200"]);
  bench.take(ANN, "09 0A 00 00 00 03 61 2F 62");
  assertEquals(bench.wire, ["070b0001000300"]);
});

Deno.test("G10 gives one name one id, by REGISTER and by SUBSCRIBE", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.register(ANN, "other");
  const topicId = bench.register(ANN, "a");
  assertEquals(subscribedId(bench.subscribe(ANN, "a")), topicId);
});

Deno.test("G10 refuses a name that is none with a reason", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  for (const topicName of ["a/+", "#", "a\0b"]) {
    assertEquals(
      bench.take(ANN, { type: "REGISTER", topicId: 0, msgId: 7, topicName }),
      [[ANN.key, { type: "REGACK", topicId: 0, msgId: 7, returnCode: 3 }]],
    );
  }
  assertEquals(bench.stats.refused.topicName, 3);
});

Deno.test("G10 gives a pre-defined topic an id of its own unless told otherwise", () => {
  const predefined = new Map([[7, "a"]]);
  const plain = new GatewayBench({ predefined });
  plain.connect(ANN, "ann");
  assertEquals(plain.register(ANN, "a"), 1);
  const other = new GatewayBench({ predefined, registerPredefined: true });
  other.connect(ANN, "ann");
  assertEquals(other.register(ANN, "a"), 7);
});

Deno.test("G11 has one table of ids for each client", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.connect(BOB, "bob");
  assertEquals([bench.register(ANN, "x"), bench.register(ANN, "y")], [1, 2]);
  assertEquals(bench.register(BOB, "y"), 1);
  assertEquals(bench.publish(BOB, { id: 2 }, "x"), [
    [BOB.key, { type: "PUBACK", topicId: 2, msgId: 0, returnCode: 2 }],
  ]);
  assertEquals(subscribedId(bench.subscribe(ANN, "y")), 2);
  assertEquals(bench.publish(BOB, { id: 1 }, "x"), [
    [ANN.key, publishOf(2, "x")],
  ]);
});

Deno.test("G11 gives the ids of a client to nobody who has its address later", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann", { cleanSession: false });
  const topicId = bench.register(ANN, "x");
  bench.take(ANN, DISCONNECT);
  bench.connect(ANN, "bob");
  assertEquals(bench.publish(ANN, { id: topicId }, "x"), [
    [ANN.key, { type: "PUBACK", topicId, msgId: 0, returnCode: 2 }],
  ]);
});

Deno.test("G12 gives every id from 1 to 65534, no other, and then says congestion", () => {
  const bench = new GatewayBench({ maxTopicIds: 65_534, maxMemory: 2 ** 30 });
  bench.connect(ANN, "ann");
  const ids = new Set<number>();
  for (let i = 0; i < 65_534; i++) ids.add(bench.register(ANN, `t/${i}`));
  assertEquals(ids.size, 65_534);
  assertEquals([Math.min(...ids), Math.max(...ids)], [1, 0xfffe]);
  const topicName = "one more";
  assertEquals(
    bench.take(ANN, { type: "REGISTER", topicId: 0, msgId: 9, topicName }),
    [[ANN.key, { type: "REGACK", topicId: 0, msgId: 9, returnCode: 1 }]],
  );
  assertEquals(bench.wire, ["070b0000000901"]);
  assertEquals(bench.stats.refused.topicIds, 1);
  // What has an id keeps it.
  assertEquals(bench.register(ANN, "t/0"), 1);
});

Deno.test("G12 has no limit on ids beyond 65534", () => {
  assertThrows(() => new GatewayBench({ maxTopicIds: 65_535 }), RangeError);
});

Deno.test("G13 tells the id of a name in SUBACK, and 0000 for wildcards", () => {
  const bench = new GatewayBench({ predefined: new Map([[5, "five"]]) });
  bench.connect(ANN, "ann");
  bench.take(ANN, "0A 12 20 00 01 54 45 53 54 31");
  assertEquals(bench.wire, ["0813200001000100"]);
  bench.take(ANN, "08 12 40 00 02 61 2F 2B"); // "a/+" at QoS 2
  assertEquals(bench.wire, ["0813400000000200"]);
  bench.take(ANN, "06 12 00 00 03 23"); // "#"
  assertEquals(bench.wire, ["0813000000000300"]);
  bench.take(ANN, "07 12 21 00 04 00 05"); // pre-defined
  assertEquals(bench.wire, ["0813200005000400"]);
  bench.take(ANN, "07 12 02 00 05 61 62"); // short
  assertEquals(bench.wire, ["0813000000000500"]);
  assertEquals(bench.stats.subscriptions, 5);
});

Deno.test("G14 registers a topic that a wildcard matches before it publishes to it", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "room/+");
  bench.connect(BOB, "bob");
  bench.register(BOB, "other");
  const id = bench.register(BOB, "room/1");
  const topicName = "room/1";
  assertEquals(bench.publish(BOB, { id }, "one"), [
    [ANN.key, { type: "REGISTER", topicId: 1, msgId: 1, topicName }],
  ]);
  assertEquals(bench.wire, ["0c0a00010001726f6f6d2f31"]);
  // Nothing overtakes: the second one waits as well.
  assertEquals(bench.publish(BOB, { id }, "two"), []);
  assertEquals(bench.take(ANN, "07 0B 00 01 00 01 00"), [
    [ANN.key, publishOf(1, "one")],
    [ANN.key, publishOf(1, "two")],
  ]);
  assertEquals(bench.publish(BOB, { id }, "three"), [
    [ANN.key, publishOf(1, "three")],
  ]);
});

Deno.test("G14 does not publish on a REGACK that answers another REGISTER", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "#");
  bench.publish(BOB, { short: "ab" }, "x", { qos: -1 });
  assertEquals(bench.take(ANN, "07 0B 00 01 00 09 00"), []);
  assertEquals(bench.router.stats().dropped.lateAck, 1);
  assertEquals(bench.take(ANN, "07 0B 00 01 00 01 00"), [
    [ANN.key, publishOf(1, "x")],
  ]);
});

Deno.test("G14 sends an unanswered REGISTER again, to the octet, and in the end gives up", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "#");
  bench.publish(BOB, { short: "ab" }, "x", { qos: -1 });
  assertEquals(bench.wire, ["080a000100016162"]);
  for (let i = 0; i < RETRIES; i++) {
    assertEquals(bench.advance(RETRY_MS - 1), []);
    bench.advance(1);
    assertEquals(bench.wire, ["080a000100016162"]);
  }
  assertEquals(bench.advance(RETRY_MS), []);
  const { lostBy, retried } = bench.stats;
  assertEquals([lostBy["retries exhausted"], retried], [1, RETRIES]);
});

Deno.test("G14 registers anew for a client that has come back with its session", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann", { cleanSession: false });
  const topicId = subscribedId(bench.subscribe(ANN, "ab"));
  bench.take(ANN, DISCONNECT);
  bench.connect(ANN, "ann", { cleanSession: false, duration: 60 });
  const topicName = "ab";
  assertEquals(bench.publish(BOB, { short: "ab" }, "x", { qos: -1 }), [
    [ANN.key, { type: "REGISTER", topicId, msgId: 1, topicName }],
  ]);
  assertEquals(
    bench.take(ANN, { type: "REGACK", topicId, msgId: 1, returnCode: 0 }),
    [[ANN.key, publishOf(topicId, "x")]],
  );
});

for (const returnCode of [2, 3]) {
  Deno.test(`G15 ends the subscription to a topic that REGACK 0${returnCode} refuses`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann", { cleanSession: false });
    const topicId = subscribedId(bench.subscribe(ANN, "ab", 1));
    bench.subscribe(ANN, "cd", 1);
    bench.take(ANN, DISCONNECT);
    bench.connect(ANN, "ann", { cleanSession: false, duration: 60 });
    bench.publish(BOB, { short: "ab" }, "x", { qos: -1 });
    assertEquals(
      bench.take(ANN, { type: "REGACK", topicId, msgId: 1, returnCode }),
      [],
    );
    const { subscriptions, lost, queued } = bench.stats;
    assertEquals([subscriptions, lost.topicRefused, queued], [1, 1, 0]);
    assertEquals(bench.publish(BOB, { short: "ab" }, "y", { qos: -1 }), []);
    const sent = bench.publish(BOB, { short: "cd" }, "z", { qos: -1 });
    assertEquals(typesOf(packetsTo(ANN, sent)), ["REGISTER"]);
  });
}

Deno.test("G15 asks again after REGACK 01, which is no refusal for good", () => {
  const bench = new GatewayBench({ retryMs: 100, retries: 2 });
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "+", 1);
  const [sent] = packetsTo(
    ANN,
    bench.publish(BOB, { short: "ab" }, "x", { qos: -1 }),
  );
  assert(sent?.type === "REGISTER");
  const { topicId, msgId } = sent;
  const ack = { type: "REGACK", topicId, msgId } as const;
  assertEquals(bench.take(ANN, { ...ack, returnCode: 1 }), []);
  assertEquals(bench.advance(100), [[ANN.key, sent]]);
  assertEquals(bench.take(ANN, { ...ack, returnCode: 0 }), [
    [ANN.key, publishOf(topicId, "x")],
  ]);
});

Deno.test("G15 gives a message up that REGACK 01 answers again and again, not the client", () => {
  const bench = new GatewayBench({ retryMs: 100, retries: 2 });
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "+", 1);
  bench.publish(BOB, { short: "ab" }, "x", { qos: -1 });
  for (let i = 0; i < 3; i++) {
    bench.take(ANN, { type: "REGACK", topicId: 1, msgId: 1, returnCode: 1 });
    bench.advance(100);
  }
  const { lost, clients, queued, subscriptions } = bench.stats;
  assertEquals([lost.messageRefused, clients.active, queued], [1, 1, 0]);
  assertEquals(subscriptions, 1);
});

Deno.test("G15 keeps a wildcard subscription, but not for the topic that was refused", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "#", 1);
  bench.publish(BOB, { short: "ab" }, "x", { qos: -1 });
  assertEquals(
    bench.take(ANN, { type: "REGACK", topicId: 1, msgId: 1, returnCode: 3 }),
    [],
  );
  assertEquals(bench.stats.subscriptions, 1);
  assertEquals(bench.publish(BOB, { short: "ab" }, "y", { qos: -1 }), []);
  assertEquals(bench.stats.lost.topicRefused, 2);
  const sent = bench.publish(BOB, { short: "cd" }, "z", { qos: -1 });
  assertEquals(answerAll(bench, ANN, sent).map(textOf).at(-1), "z");
});

for (
  const [how, topic] of [
    ["name", "ab"],
    ["short name", { short: "ab" }],
    ["pre-defined id", { predefined: 5 }],
  ] as const
) {
  Deno.test(`G15 publishes to a refused topic again once the client subscribes by its ${how}`, () => {
    const bench = new GatewayBench({ predefined: new Map([[5, "ab"]]) });
    bench.connect(ANN, "ann");
    bench.subscribe(ANN, "#");
    bench.publish(BOB, { short: "ab" }, "x", { qos: -1 });
    bench.take(ANN, { type: "REGACK", topicId: 1, msgId: 1, returnCode: 3 });
    bench.subscribe(ANN, topic);
    const sent = bench.publish(BOB, { short: "ab" }, "y", { qos: -1 });
    assertEquals(packetsTo(ANN, sent).map(textOf), ["y"]);
  });
}

for (const qos of [1, 2] as const) {
  Deno.test(`G16 registers and publishes again on PUBACK 02 to QoS ${qos}`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann");
    const topicId = subscribedId(bench.subscribe(ANN, "ab", qos));
    bench.connect(BOB, "bob");
    const sent = bench.publish(BOB, { short: "ab" }, "x", { qos });
    const first = publishOf(topicId, "x", { qos, msgId: 1 });
    assertEquals(packetsTo(ANN, sent), [first]);
    assertEquals(
      bench.take(ANN, { type: "PUBACK", topicId, msgId: 1, returnCode: 2 }),
      [[ANN.key, { type: "REGISTER", topicId, msgId: 2, topicName: "ab" }]],
    );
    assertEquals(
      bench.take(ANN, { type: "REGACK", topicId, msgId: 2, returnCode: 0 }),
      [[ANN.key, { ...first, dup: true }]],
    );
  });
}

/** Refuses every PUBLISH, and grants every REGISTER; gives what was sent. */
function refuseAll(bench: GatewayBench): MqttSnPacket[] {
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "ab", 1);
  bench.connect(BOB, "bob");
  const queue = packetsTo(
    ANN,
    bench.publish(BOB, { short: "ab" }, "x", { qos: 1 }),
  );
  const seen: MqttSnPacket[] = [];
  for (let packet; (packet = queue.shift()) !== undefined;) {
    seen.push(packet);
    assert(seen.length < 100, "it goes on for ever");
    if (packet.type !== "PUBLISH" && packet.type !== "REGISTER") continue;
    const { topicId, msgId } = packet;
    const answer: MqttSnPacket = packet.type === "PUBLISH"
      ? { type: "PUBACK", topicId, msgId, returnCode: 2 }
      : { type: "REGACK", topicId, msgId, returnCode: 0 };
    queue.push(...packetsTo(ANN, bench.take(ANN, answer)));
  }
  return seen;
}

Deno.test("G16 stops when a client goes on refusing, and counts it", () => {
  const bench = new GatewayBench();
  refuseAll(bench);
  const { lost, queued, clients } = bench.stats;
  assertEquals([lost.messageRefused, queued, clients.active], [1, 0, 2]);
  assertEquals(bench.run(60_000), []);
});

Deno.test("G16 registers once more, and no more often than there are retries", () => {
  const once = ["REGISTER", "PUBLISH"];
  assertEquals(typesOf(refuseAll(new GatewayBench({ retries: 1 }))), [
    "PUBLISH",
    ...once,
  ]);
  assertEquals(typesOf(refuseAll(new GatewayBench({ retries: 3 }))), [
    "PUBLISH",
    ...once,
    ...once,
    ...once,
  ]);
});

Deno.test("G16 registers before the next PUBLISH when one of QoS 0 was refused with 02", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const topicId = subscribedId(bench.subscribe(ANN, "ab"));
  bench.publish(BOB, { short: "ab" }, "x", { qos: -1 });
  assertEquals(
    bench.take(ANN, { type: "PUBACK", topicId, msgId: 0, returnCode: 2 }),
    [],
  );
  assertEquals(bench.publish(BOB, { short: "ab" }, "y", { qos: -1 }), [
    [ANN.key, { type: "REGISTER", topicId, msgId: 1, topicName: "ab" }],
  ]);
});

Deno.test("G17 refuses an unknown pre-defined id with 02, whatever is registered", () => {
  const bench = new GatewayBench({ predefined: new Map([[5, "five"]]) });
  bench.connect(ANN, "ann");
  for (let i = 0; i < 7; i++) bench.register(ANN, `t/${i}`);
  for (const qos of [0, 1, 2] as const) {
    assertEquals(bench.publish(ANN, { predefined: 6 }, "x", { qos }), [
      [ANN.key, {
        type: "PUBACK",
        topicId: 6,
        msgId: qos === 0 ? 0 : 400,
        returnCode: 2,
      }],
    ]);
  }
  assertEquals([bench.stats.published, bench.stats.refused.topicId], [0, 3]);
  assertEquals(bench.publish(ANN, { predefined: 5 }, "x"), []);
  assertEquals(bench.stats.published, 1);
});

Deno.test("G18 delivers by short name or pre-defined id only to who subscribed", () => {
  const bench = new GatewayBench({ predefined: new Map([[5, "five"]]) });
  bench.connect(ANN, "ann");
  bench.connect(BOB, "bob");
  const short = { topicIdType: "short", topicId: 0x6162 } as const;
  const predefined = { topicIdType: "predefined", topicId: 5 } as const;
  assertEquals(bench.publish(ANN, { short: "ab" }, "x"), []);
  assertEquals(bench.publish(ANN, { predefined: 5 }, "x"), []);
  bench.subscribe(BOB, { short: "ab" });
  bench.subscribe(BOB, { predefined: 5 });
  assertEquals(bench.publish(ANN, { short: "ab" }, "x"), [
    [BOB.key, publishOf(0, "x", short)],
  ]);
  assertEquals(bench.wire, ["080c026162000078"]);
  assertEquals(bench.publish(ANN, { predefined: 5 }, "x"), [
    [BOB.key, publishOf(0, "x", predefined)],
  ]);
  assertEquals(bench.wire, ["080c010005000078"]);
  bench.unsubscribe(BOB, { short: "ab" });
  bench.unsubscribe(BOB, { predefined: 5 });
  assertEquals(bench.stats.subscriptions, 0);
  assertEquals(bench.publish(ANN, { short: "ab" }, "x"), []);
  assertEquals(bench.publish(ANN, { predefined: 5 }, "x"), []);
});

Deno.test("G18 publishes to a short name's subscribers by name, and the other way round", () => {
  const bench = new GatewayBench({ predefined: new Map([[5, "ab"]]) });
  for (
    const [peer, clientId] of [[ANN, "a"], [BOB, "b"], [CYD, "c"]] as const
  ) {
    bench.connect(peer, clientId);
  }
  bench.subscribe(ANN, { short: "ab" });
  const topicId = subscribedId(bench.subscribe(BOB, "ab"));
  bench.subscribe(CYD, { predefined: 5 });
  const id = bench.register(ANN, "ab");
  for (const topic of [{ id }, { short: "ab" }, { predefined: 5 }]) {
    const sent = bench.publish(ANN, topic, "x");
    assertEquals(sent.length, 3);
    assertEquals(packetsTo(BOB, sent), [publishOf(topicId, "x")]);
    assertEquals(packetsTo(CYD, sent), [
      publishOf(5, "x", { topicIdType: "predefined" }),
    ]);
  }
});

Deno.test("G18 never sends again by a name that the client has unsubscribed from", () => {
  // The id of a subscription that has ended is no normal id: what is resent is
  // sent by an id that the client was told, or not at all.
  for (const topic of [{ short: "ab" }, { predefined: 5 }]) {
    const bench = new GatewayBench({ predefined: new Map([[5, "ab"]]) });
    bench.connect(ANN, "ann");
    bench.subscribe(ANN, topic, 1);
    bench.connect(BOB, "bob");
    bench.publish(BOB, { short: "ab" }, "x", { qos: 1 });
    bench.unsubscribe(ANN, topic);
    for (const packet of packetsTo(ANN, bench.run(RETRY_MS))) {
      assert(
        packet.type !== "PUBLISH" || packet.topicId !== 0,
        "a PUBLISH to the reserved id 0000",
      );
    }
  }
});

Deno.test("G18 refuses wildcards within short names with 03", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  for (const short of ["+a", "a#", "##"]) {
    assertEquals(bench.subscribe(ANN, { short }), [
      [ANN.key, {
        type: "SUBACK",
        qos: 0,
        topicId: 0,
        msgId: 200,
        returnCode: 3,
      }],
    ]);
  }
  assertEquals(bench.stats.subscriptions, 0);
});

Deno.test("G19 gives up a delivery whose data are too long, and only counts it", () => {
  const bench = new GatewayBench({ maxPacket: 64 });
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "ab", 1);
  bench.connect(BOB, "bob");
  const puback = {
    type: "PUBACK",
    topicId: 0x6162,
    msgId: 400,
    returnCode: 0,
  } as const;
  const fits = "x".repeat(57);
  assertEquals(bench.publish(BOB, { short: "ab" }, `${fits}x`, { qos: 1 }), [
    [BOB.key, puback],
  ]);
  assertEquals(bench.stats.lost.tooLong, 1);
  assertEquals(
    bench.events.findLast(({ type }) => type === "lose"),
    { type: "lose", clientId: "ann", topicName: "ab", reason: "tooLong" },
  );
  assertEquals([bench.stats.clients.active, bench.stats.queued], [2, 0]);
  const sent = bench.publish(BOB, { short: "ab" }, fits, { qos: 1 });
  assertEquals(packetsTo(ANN, sent).map(textOf), [fits]);
  assertEquals(bench.wire.map((hex) => hex.length / 2), [7, 64]);
});

Deno.test("G19 gives up a delivery whose topic's name is too long, and only counts it", () => {
  const bench = new GatewayBench({ maxPacket: 64 });
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "#");
  bench.connect(BOB, "bob");
  const tooLong = bench.register(BOB, "n".repeat(59));
  assertEquals(bench.publish(BOB, { id: tooLong }, "x"), []);
  assertEquals(bench.stats.lost.tooLong, 1);
  const fits = bench.register(BOB, "n".repeat(58));
  const sent = bench.publish(BOB, { id: fits }, "x");
  assertEquals(typesOf(packetsTo(ANN, sent)), ["REGISTER"]);
  assertEquals(bench.wire.map((hex) => hex.length / 2), [64]);
});

Deno.test("G20 keeps topic ids while the client sleeps", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const topicId = subscribedId(bench.subscribe(ANN, "ab", 1));
  assertEquals(bench.sleep(ANN, 600), [[ANN.key, DISCONNECT]]);
  assertEquals(bench.publish(BOB, { short: "ab" }, "x", { qos: -1 }), []);
  assertEquals(bench.wake(ANN, "ann"), [
    [ANN.key, publishOf(topicId, "x")],
    [ANN.key, PINGRESP],
  ]);
  assertEquals(bench.register(ANN, "ab"), topicId);
});

Deno.test("G20 tells a client that comes back its ids again before it uses them", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann", { cleanSession: false });
  bench.register(ANN, "first");
  const topicId = subscribedId(bench.subscribe(ANN, "ab", 1));
  bench.take(ANN, DISCONNECT);
  bench.connect(BOB, "bob");
  bench.publish(BOB, { short: "ab" }, "x", { qos: 1 });
  assertEquals(
    bench.connect(ANN, "ann", { cleanSession: false, duration: 60 }),
    [
      [ANN.key, CONNACK],
      [ANN.key, { type: "REGISTER", topicId, msgId: 1, topicName: "ab" }],
    ],
  );
  assertEquals(
    bench.take(ANN, { type: "REGACK", topicId, msgId: 1, returnCode: 0 }),
    [[ANN.key, publishOf(topicId, "x", { qos: 1, msgId: 2 })]],
  );
});
