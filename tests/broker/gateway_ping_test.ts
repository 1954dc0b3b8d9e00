/**
 * PINGREQ, DISCONNECT, unknown peers and congestion at the gateway (MQTT-SN 1.2 §6.11, §6.12, §5.3.10).
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { peerOf } from "../../base/peer.ts";
import type { Qos } from "../../wire/packets.ts";
import {
  answerAll,
  GatewayBench,
  packetsTo,
  subscribedId,
  textOf,
} from "../support/gateway.ts";
import { ANN, BOB, CYD, FAR } from "../support/router.ts";
import {
  CONNACK,
  DISCONNECT,
  RETRIES,
  RETRY_MS,
} from "../support/gateway_packets.ts";

// Ping, disconnect, unknown peers

Deno.test("G31 answers PINGREQ with PINGRESP", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.take(ANN, "02 16");
  assertEquals(bench.wire, ["0217"]);
  bench.take(ANN, "05 16 61 6E 6E");
  assertEquals(bench.wire, ["0217"]);
  assertEquals(bench.stats.clients.active, 1);
});

Deno.test("G31 answers no PINGREQ of a client that it does not know", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  for (
    const [peer, clientId] of [[BOB, ""], [BOB, "bob"], [ANN, "bob"]] as const
  ) {
    assertEquals(bench.take(peer, { type: "PINGREQ", clientId }), [
      [peer.key, DISCONNECT],
    ]);
  }
});

Deno.test("G32 answers DISCONNECT with DISCONNECT of two octets, also to sleep", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.take(ANN, "04 18 00 0A");
  assertEquals(bench.wire, ["0218"]);
  assertEquals(bench.stats.clients.asleep, 1);
  bench.take(ANN, "04 18 00 0A");
  assertEquals(bench.wire, ["0218"]);
  bench.take(ANN, "02 18");
  assertEquals(bench.wire, ["0218"]);
  assertEquals(bench.stats.clients.total, 0);
});

Deno.test("G32 takes a sleep of no duration for the end", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.take(ANN, "04 18 00 00");
  assertEquals(bench.wire, ["0218"]);
  assertEquals(bench.stats.clients.total, 0);
});

for (
  const [name, hex] of [
    ["REGISTER", "09 0A 00 00 00 01 61 2F 62"],
    ["PUBLISH of QoS 0", "09 0C 00 00 01 00 00 68 69"],
    ["PUBLISH of QoS 1", "09 0C 20 00 01 00 02 68 69"],
    ["PUBLISH of QoS 2", "09 0C 40 00 01 00 02 68 69"],
    ["SUBSCRIBE", "09 12 00 00 01 74 65 73 74"],
    ["UNSUBSCRIBE", "09 14 00 00 03 74 65 73 74"],
    ["PINGREQ", "02 16"],
    ["PINGREQ with a client id", "04 16 63 31"],
    ["PUBREL", "04 10 00 02"],
    ["WILLTOPICUPD", "06 1A 30 61 2F 77"],
    ["WILLMSGUPD", "05 1C 62 79 65"],
    ["WILLTOPIC", "06 07 30 61 2F 77"],
    ["WILLMSG", "05 09 62 79 65"],
    ["DISCONNECT to sleep", "04 18 00 0A"],
  ] as const
) {
  Deno.test(`G33 tells an unknown peer that sends ${name} to connect`, () => {
    const bench = new GatewayBench();
    assertEquals(bench.take(FAR, hex), [[FAR.key, DISCONNECT]]);
    assertEquals(bench.wire, ["0218"]);
    assertEquals(bench.stats.clients.maximum, 0);
  });
}

for (
  const [name, hex] of [
    ["PUBLISH of QoS −1", "08 0C 62 61 62 00 00 78"],
    ["ADVERTISE", "05 00 07 03 84"],
    ["GWINFO", "03 02 07"],
    ["GWINFO of a client", "08 02 07 04 7F 00 00 01"],
    ["PUBACK", "07 0D 00 01 00 02 00"],
    ["REGACK", "07 0B 00 01 00 02 00"],
    ["PUBREC", "04 0F 00 02"],
    ["PUBCOMP", "04 0E 00 02"],
    ["SUBACK", "08 13 00 00 01 00 01 00"],
    ["UNSUBACK", "04 15 00 03"],
    ["CONNACK", "03 05 00"],
    ["PINGRESP", "02 17"],
    ["WILLTOPICREQ", "02 06"],
    ["WILLMSGREQ", "02 08"],
    ["WILLTOPICRESP", "03 1B 00"],
    ["WILLMSGRESP", "03 1D 00"],
    ["a reserved type", "02 03"],
  ] as const
) {
  Deno.test(`G33 does not answer an unknown peer that sends ${name}`, () => {
    const bench = new GatewayBench();
    assertEquals(bench.take(FAR, hex), []);
    assertEquals(bench.stats.clients.maximum, 0);
  });
}

Deno.test("G33 answers SEARCHGW and CONNECT of an unknown peer with what they ask for", () => {
  const bench = new GatewayBench({ gwId: 1 });
  bench.take(FAR, "03 01 00");
  assert(bench.wire.every((hex) => hex === "030201"), String(bench.wire));
  bench.take(FAR, "0E 04 04 01 00 3C 63 6C 69 65 6E 74 49 64");
  assertEquals(bench.wire, ["030500"]);
});

Deno.test("G33 tells a source only so often, and counts the rest", () => {
  const bench = new GatewayBench();
  let sent = 0;
  for (let port = 1; port <= 1_000; port++) {
    sent += bench.take(peerOf("192.0.2.9", port), "02 16").length;
  }
  const { quiet } = bench.router.stats().dropped;
  assert(sent > 0 && sent <= 200, `${sent}`);
  assertEquals(sent + quiet, 1_000);
  // No other source is any quieter for it, nor this one for ever.
  assertEquals(bench.take(FAR, "02 16").length, 1);
  bench.advance(1_000);
  assertEquals(bench.take(peerOf("192.0.2.9", 1), "02 16").length, 1);
});

Deno.test("G34 answers DISCONNECT of an unknown peer with DISCONNECT", () => {
  const bench = new GatewayBench();
  bench.take(FAR, "02 18");
  assertEquals(bench.wire, ["0218"]);
});

Deno.test("G34 forgets a client that disconnects while it is asked for its will", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann", { will: true });
  assertEquals(bench.take(ANN, "02 18"), [[ANN.key, DISCONNECT]]);
  assertEquals(bench.stats.prompts, 0);
  assertEquals(bench.take(ANN, "06 07 30 61 2F 77"), [[ANN.key, DISCONNECT]]);
});

Deno.test("G35 ignores and counts answers to what was not asked", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  for (
    const hex of [
      "07 0D 00 01 00 02 00",
      "07 0B 00 01 00 02 00",
      "04 0F 00 02",
      "04 0E 00 02",
      "02 17",
    ]
  ) assertEquals(bench.take(ANN, hex), []);
  assertEquals(bench.router.stats().dropped.lateAck, 5);
  assertEquals(bench.take(BOB, "04 0F 00 02"), []);
  assertEquals(bench.router.stats().dropped.unknownPeer, 1);
});

Deno.test("G35 does not take a wrong answer for the one that it waits for", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const topicId = subscribedId(bench.subscribe(ANN, "ab", 2));
  bench.connect(BOB, "bob");
  bench.publish(BOB, { short: "ab" }, "x", { qos: 2 });
  for (
    const packet of [
      { type: "PUBACK", topicId, msgId: 1, returnCode: 0 }, // of QoS 1
      { type: "PUBCOMP", msgId: 1 }, // not released yet
      { type: "PUBREC", msgId: 2 },
      { type: "REGACK", topicId, msgId: 1, returnCode: 0 },
    ] as const
  ) assertEquals(bench.take(ANN, packet), []);
  assertEquals(bench.router.stats().dropped.lateAck, 4);
  assertEquals(bench.stats.queued, 1);
  assertEquals(bench.take(ANN, { type: "PUBREC", msgId: 1 }), [
    [ANN.key, { type: "PUBREL", msgId: 1 }],
  ]);
});

Deno.test("G35 takes an answer that comes twice once", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const topicId = subscribedId(bench.subscribe(ANN, "ab", 1));
  bench.connect(BOB, "bob");
  for (let msgId = 1; msgId <= 2; msgId++) {
    bench.publish(BOB, { short: "ab" }, "x", { qos: 1, msgId });
  }
  const puback = { type: "PUBACK", topicId, msgId: 1, returnCode: 0 } as const;
  assertEquals(bench.take(ANN, puback).length, 1);
  assertEquals(bench.take(ANN, puback), []);
  assertEquals(bench.stats.queued, 1);
  assertEquals(bench.router.stats().dropped.lateAck, 1);
});

// Congestion

Deno.test("G36 says congestion by code 01 in CONNACK, REGACK, PUBACK and SUBACK", () => {
  const bench = new GatewayBench({
    maxClients: 1,
    maxTopicIds: 1,
    maxSubscriptions: 1,
    maxUnreleased: 1,
  });
  bench.connect(ANN, "ann");
  bench.take(BOB, "08 04 04 01 00 0A 63 31");
  assertEquals(bench.wire, ["030501"]);
  bench.register(ANN, "a");
  bench.take(ANN, "07 0A 00 00 00 02 62");
  assertEquals(bench.wire, ["070b0000000201"]);
  bench.take(ANN, "06 12 20 00 03 62");
  assertEquals(bench.wire, ["0813200000000301"]);
  bench.take(ANN, "06 12 20 00 04 61");
  assertEquals(bench.wire, ["0813200001000400"]);
  bench.take(ANN, "06 12 20 00 05 23");
  assertEquals(bench.wire, ["0813200000000501"]);
  bench.publish(ANN, { id: 1 }, "x", { qos: 2, msgId: 6 });
  bench.publish(ANN, { id: 1 }, "x", { qos: 2, msgId: 7 });
  assertEquals(bench.wire, ["070d0001000701"]);
  const { clients, topicIds, subscriptions, unreleased } = bench.stats.refused;
  assertEquals([clients, topicIds, subscriptions, unreleased], [1, 2, 1, 1]);
});

Deno.test("G37 refuses a REGISTER when the client's table of topics is full", () => {
  const bench = new GatewayBench({ maxTopicIds: 2 });
  bench.connect(ANN, "ann");
  bench.register(ANN, "a");
  bench.register(ANN, "b");
  const refused = { type: "REGACK", topicId: 0, msgId: 3, returnCode: 1 };
  assertEquals(
    bench.take(ANN, { type: "REGISTER", topicId: 0, msgId: 3, topicName: "c" }),
    [[ANN.key, refused]] as unknown as ReturnType<GatewayBench["take"]>,
  );
  assertEquals(bench.register(ANN, "b"), 2);
  bench.connect(BOB, "bob");
  assertEquals(bench.register(BOB, "c"), 1);
});

Deno.test("G37 refuses the publisher when a subscriber has no room, if told to", () => {
  const bench = new GatewayBench({ overflow: "refuse", maxQueue: 2 });
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "ab", 1);
  bench.connect(BOB, "bob");
  bench.sleep(ANN, 600);
  const codes: number[] = [];
  for (let msgId = 1; msgId <= 4; msgId++) {
    const options = { qos: 1, msgId } as const;
    const sent = bench.publish(BOB, { short: "ab" }, `${msgId}`, options);
    const [puback] = packetsTo(BOB, sent);
    if (puback?.type === "PUBACK") codes.push(puback.returnCode);
  }
  assertEquals(codes, [0, 0, 1, 1]);
  const { refused, lost, queued } = bench.stats;
  assertEquals([refused.queue, lost.overflow, queued], [2, 0, 2]);
  const seen = answerAll(bench, ANN, bench.wake(ANN, "ann"));
  assertEquals(seen.slice(0, 2).map(textOf), ["1", "2"]);
});

Deno.test("G37 lets the oldest go when a client's queue is full, QoS 0 before all others", () => {
  const bench = new GatewayBench({ maxQueue: 3 });
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "ab", 1);
  bench.connect(BOB, "bob");
  bench.sleep(ANN, 600);
  for (const [data, qos] of [["1", 1], ["2", 0], ["3", 1], ["4", 1]] as const) {
    bench.publish(BOB, { short: "ab" }, data, { qos, msgId: qos });
  }
  bench.publish(BOB, { short: "ab" }, "5", { qos: 1, msgId: 9 });
  assertEquals([bench.stats.queued, bench.stats.lost.overflow], [3, 2]);
  const seen = answerAll(bench, ANN, bench.wake(ANN, "ann"));
  assertEquals(seen.slice(0, -1).map(textOf), ["3", "4", "5"]);
});

Deno.test("G37 refuses who publishes too fast, from the first message on and at any QoS", () => {
  const bench = new GatewayBench({ maxRate: 2 });
  bench.connect(ANN, "ann");
  const codes = [0, 1, 2, 0].map((qos, i) => {
    const options = { qos: qos as Qos, msgId: qos && i };
    const sent = bench.publish(ANN, { short: "ab" }, "x", options);
    return sent.map(([, packet]) =>
      packet.type === "PUBACK" ? packet.returnCode : packet.type
    );
  });
  assertEquals(codes, [[], [0], [1], [1]]);
  assertEquals([bench.stats.published, bench.stats.refused.rate], [2, 2]);
  bench.advance(1_000);
  assertEquals(bench.publish(ANN, { short: "ab" }, "x"), []);
});

Deno.test("G37 refuses a PUBLISH for which there is no room to retain it", () => {
  const bench = new GatewayBench({ maxRetained: 1 });
  bench.connect(ANN, "ann");
  const options = { retain: true, qos: 1 } as const;
  bench.publish(ANN, { short: "ab" }, "x", options);
  bench.publish(ANN, { short: "cd" }, "x", options);
  assertEquals(bench.wire, ["070d6364019001"]);
  bench.publish(ANN, { short: "ab" }, "y", options);
  assertEquals(bench.wire, ["070d6162019000"]);
  assertEquals([bench.stats.retained, bench.stats.refused.retained], [1, 1]);
});

Deno.test("G37 gives a place back when a client has gone", () => {
  const bench = new GatewayBench({ maxClients: 1 });
  bench.connect(ANN, "ann", { duration: 10 });
  bench.take(ANN, DISCONNECT);
  assertEquals(bench.connect(BOB, "bob", { duration: 10 }), [
    [BOB.key, CONNACK],
  ]);
  bench.run(15_000);
  assertEquals(bench.connect(CYD, "cyd", { will: true }), [
    [CYD.key, { type: "WILLTOPICREQ" }],
  ]);
  bench.run(RETRY_MS * (RETRIES + 1));
  assertEquals(bench.stats.promptsExpired, 1);
  assertEquals(bench.connect(ANN, "ann"), [[ANN.key, CONNACK]]);
});

Deno.test("G37 does not let one sleeper take the room of all other clients", () => {
  // 64 KiB for all queues: one client that sleeps could fill them.
  const bench = new GatewayBench({ maxMemory: 65_536 });
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "ab", 1);
  bench.connect(BOB, "bob");
  bench.connect(CYD, "cyd");
  bench.subscribe(CYD, "cd", 1);
  bench.sleep(ANN, 6_000);
  for (let msgId = 1; msgId <= 100; msgId++) {
    const data = "x".repeat(1_000);
    bench.publish(BOB, { short: "ab" }, data, { qos: 1, msgId });
  }
  const sent = bench.publish(BOB, { short: "cd" }, "y".repeat(1_000), {
    qos: 1,
    msgId: 101,
  });
  assertEquals(packetsTo(CYD, sent).length, 1);
});
