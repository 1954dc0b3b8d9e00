/**
 * PUBLISH at the gateway, at each QoS (MQTT-SN 1.2 §6.6, §6.8).
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { peerOf } from "../../base/peer.ts";
import type { MqttSnPacket, Qos } from "../../wire/packets.ts";
import {
  answerAll,
  GatewayBench,
  packetsTo,
  publishOf,
  subscribedId,
  textOf,
} from "../support/gateway.ts";
import { ANN, BOB, CYD, FAR } from "../support/router.ts";
import { RETRIES, RETRY_MS, typesOf } from "../support/gateway_packets.ts";

// Publish

Deno.test("G21 takes a PUBLISH of QoS 0 without an answer", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const id = bench.register(ANN, "a");
  assertEquals(bench.publish(ANN, { id }, "x"), []);
  assertEquals(bench.publish(ANN, { id }, "x", { msgId: 9 }), []);
  assertEquals(bench.stats.published, 2);
});

Deno.test("G21 answers QoS 1 with PUBACK, and the same PUBLISH again", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.register(ANN, "a");
  bench.take(ANN, "09 0C 20 00 01 00 02 68 69");
  assertEquals(bench.wire, ["070d0001000200"]);
  bench.take(ANN, "09 0C A0 00 01 00 02 68 69");
  assertEquals(bench.wire, ["070d0001000200"]);
});

Deno.test("G21 answers QoS 2 with PUBREC and PUBCOMP, and publishes once", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.connect(BOB, "bob");
  const topicId = subscribedId(bench.subscribe(BOB, "ab"));
  const sent = bench.take(ANN, "09 0C 42 61 62 00 02 68 69");
  assertEquals(sent, [
    [ANN.key, { type: "PUBREC", msgId: 2 }],
    [BOB.key, publishOf(topicId, "hi")],
  ]);
  assertEquals(bench.wire[0], "040f0002");
  assertEquals(bench.take(ANN, "04 10 00 02"), [
    [ANN.key, { type: "PUBCOMP", msgId: 2 }],
  ]);
  assertEquals(bench.wire, ["040e0002"]);
  assertEquals(bench.stats.published, 1);
});

Deno.test("G21 answers PUBREL for an unknown msgId with PUBCOMP", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  assertEquals(bench.take(ANN, "04 10 12 34"), [
    [ANN.key, { type: "PUBCOMP", msgId: 0x1234 }],
  ]);
});

Deno.test("G21 delivers at QoS 1 until PUBACK, and at QoS 2 until PUBCOMP", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const one = subscribedId(bench.subscribe(ANN, "q1", 1));
  const two = subscribedId(bench.subscribe(ANN, "q2", 2));
  bench.connect(BOB, "bob");
  let sent = bench.publish(BOB, { short: "q1" }, "x", { qos: 1 });
  assertEquals(packetsTo(ANN, sent), [
    publishOf(one, "x", { qos: 1, msgId: 1 }),
  ]);
  sent = bench.publish(BOB, { short: "q2" }, "y", { qos: 2, msgId: 401 });
  assertEquals(packetsTo(ANN, sent), []);
  assertEquals(
    bench.take(ANN, { type: "PUBACK", topicId: one, msgId: 1, returnCode: 0 }),
    [[ANN.key, publishOf(two, "y", { qos: 2, msgId: 2 })]],
  );
  assertEquals(bench.take(ANN, "04 0F 00 02"), [
    [ANN.key, { type: "PUBREL", msgId: 2 }],
  ]);
  assertEquals(bench.take(ANN, "04 0E 00 02"), []);
  assertEquals(bench.stats.queued, 0);
  assertEquals(bench.run(100_000), []);
});

for (const qos of [0, 1, 2] as const) {
  Deno.test(`G22 answers a PUBLISH of QoS ${qos} to an unknown id with PUBACK 02`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann");
    bench.publish(ANN, { id: 0x63 }, "x", { qos, msgId: 9 });
    const msgId = qos === 0 ? "0000" : "0009";
    assertEquals(bench.wire, [`070d0063${msgId}02`]);
    assertEquals([bench.stats.published, bench.stats.refused.topicId], [0, 1]);
  });
}

Deno.test("G22 refuses the reserved ids 0000 and FFFF with 02", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  for (const [id, hex] of [[0, "0000"], [0xffff, "ffff"]] as const) {
    bench.publish(ANN, { id }, "x", { qos: 1 });
    assertEquals(bench.wire, [`070d${hex}019002`]);
  }
});

Deno.test("G22 refuses the reserved topic id type with 03, in every request", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.take(ANN, "08 0C 23 61 62 00 02 78");
  assertEquals(bench.wire, ["070d6162000203"]);
  bench.take(ANN, "07 12 03 00 05 61 62");
  assertEquals(bench.wire, ["0813000000000503"]);
  bench.take(ANN, "07 14 03 00 05 61 62");
  assertEquals(bench.wire, ["04150005"]);
  assertEquals(bench.stats.refused.topicIdType, 2);
});

for (
  const [hostname, peer] of [["unknown", FAR], ["connected", ANN]] as const
) {
  Deno.test(`G23 takes QoS −1 from a peer that is ${hostname}, and answers nothing`, () => {
    const bench = new GatewayBench({ predefined: new Map([[5, "five"]]) });
    bench.connect(ANN, "ann");
    bench.connect(BOB, "bob");
    bench.subscribe(BOB, { short: "ab" }, 2);
    bench.subscribe(BOB, { predefined: 5 }, 2);
    bench.take(peer, "08 0C 62 61 62 00 00 78");
    assertEquals(bench.wire, ["080c026162000078"]);
    bench.take(peer, "08 0C 61 00 05 00 00 78");
    assertEquals(bench.wire, ["080c010005000078"]);
    const { clients, qosMinusOne, published } = bench.stats;
    assertEquals([clients.total, qosMinusOne, published], [2, 2, 2]);
  });
}

Deno.test("G23 retains what is published at QoS −1 with Retain", () => {
  const bench = new GatewayBench();
  bench.take(FAR, "08 0C 72 61 62 00 00 78");
  bench.connect(ANN, "ann");
  const sent = bench.subscribe(ANN, { short: "ab" }, 1);
  assertEquals(sent.at(-1), [
    ANN.key,
    publishOf(0x6162, "x", { topicIdType: "short", retain: true }),
  ]);
});

Deno.test("G24 needs no connection of its own for QoS −1: it is the server itself", () => {
  const bench = new GatewayBench();
  for (let port = 1; port <= 100; port++) {
    const peer = peerOf("192.0.2.1", port);
    assertEquals(bench.publish(peer, { short: "ab" }, "x", { qos: -1 }), []);
  }
  const { clients, published, prompts } = bench.stats;
  assertEquals([clients.maximum, published, prompts], [0, 100, 0]);
  assertEquals(bench.router.nextTimeout(), undefined);
});

for (
  const [why, hex] of [
    ["a normal id", "08 0C 60 00 01 00 00 78"],
    ["an unknown pre-defined id", "08 0C 61 00 01 00 00 78"],
    ["the reserved topic id type", "08 0C 63 61 62 00 00 78"],
    ["a short name that is none", "08 0C 62 2B 62 00 00 78"],
    ["a short name that is not UTF-8", "08 0C 62 FF FF 00 00 78"],
    ["its topic spelled out", "0A 0C 60 00 02 00 00 61 62 78"],
  ] as const
) {
  Deno.test(`G25 drops and counts QoS −1 with ${why}`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann");
    bench.register(ANN, "a");
    bench.subscribe(ANN, "#");
    assertEquals(bench.take(FAR, hex), []);
    assertEquals(bench.take(ANN, hex), []);
    assertEquals(bench.router.stats().dropped.qosMinusOne, 2);
    assertEquals(bench.stats.published, 0);
  });
}

Deno.test("G25 drops and counts all of QoS −1 when it is switched off", () => {
  const bench = new GatewayBench({ qosMinusOne: false });
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, { short: "ab" });
  assertEquals(bench.publish(FAR, { short: "ab" }, "x", { qos: -1 }), []);
  assertEquals(bench.router.stats().dropped.qosMinusOne, 1);
  assertEquals(bench.stats.published, 0);
});

Deno.test("G25 takes a topic that is spelled out when it is told to", () => {
  const bench = new GatewayBench({ namedQosMinusOne: true });
  bench.connect(ANN, "ann");
  const topicId = subscribedId(bench.subscribe(ANN, "abc"));
  assertEquals(bench.take(FAR, "0B 0C 60 00 03 00 00 61 62 63 78"), [
    [ANN.key, publishOf(topicId, "x")],
  ]);
  // A name longer than the message, or none.
  bench.take(FAR, "0A 0C 60 00 04 00 00 61 62 63");
  bench.take(FAR, "0A 0C 60 00 00 00 00 61 62 63");
  assertEquals(bench.router.stats().dropped.qosMinusOne, 2);
});

Deno.test("G26 refuses a SUBSCRIBE of QoS −1 with 03", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.take(ANN, "09 12 60 00 01 74 65 73 74");
  assertEquals(bench.wire, ["0813000000000103"]);
  const { subscriptions, refused } = bench.stats;
  assertEquals([subscriptions, refused.qos], [0, 1]);
});

Deno.test("G26 never sends QoS −1 to a client", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  for (const qos of [0, 1, 2] as const) {
    bench.subscribe(ANN, { short: "ab" }, qos, 200 + qos);
    bench.take(FAR, "08 0C 72 61 62 00 00 78");
    assertEquals(bench.wire, ["080c026162000078"]);
  }
});

Deno.test("G27 publishes a QoS 2 message once until PUBREL, whatever its DUP flag", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const pubrec = [[ANN.key, { type: "PUBREC", msgId: 2 }]];
  for (const flags of ["42", "C2", "42", "C2"]) {
    assertEquals(
      bench.take(ANN, `08 0C ${flags} 61 62 00 02 78`) as unknown,
      pubrec,
    );
  }
  assertEquals([bench.stats.published, bench.stats.repeated], [1, 3]);
});

Deno.test("G27 takes a QoS 2 message that comes with DUP for the first time", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  assertEquals(bench.take(ANN, "08 0C C2 61 62 00 02 78"), [
    [ANN.key, { type: "PUBREC", msgId: 2 }],
  ]);
  assertEquals(bench.stats.published, 1);
});

Deno.test("G27 goes by the msgId alone until PUBREL, not by what is published", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.take(ANN, "08 0C 42 61 62 00 02 78");
  bench.take(ANN, "08 0C 42 61 62 00 02 79");
  assertEquals(bench.stats.published, 1);
  bench.take(ANN, "04 10 00 02");
  bench.take(ANN, "08 0C 42 61 62 00 02 79");
  assertEquals(bench.stats.published, 2);
});

Deno.test("G27 takes the same octets to another topic for another message after PUBREL", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.take(ANN, "08 0C 42 61 62 00 02 78");
  bench.take(ANN, "04 10 00 02");
  bench.take(ANN, "08 0C 42 63 64 00 02 78");
  assertEquals(bench.stats.published, 2);
});

Deno.test("G27 takes a msgId for free when no copy of the last message can come", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.take(ANN, "08 0C 42 61 62 00 02 78");
  bench.take(ANN, "04 10 00 02");
  bench.take(ANN, "08 0C 42 61 62 00 02 78"); // what the network held back
  assertEquals(bench.stats.published, 1);
  bench.advance(2_000);
  bench.take(ANN, "08 0C 42 61 62 00 02 78");
  assertEquals(bench.stats.published, 2);
});

Deno.test("G27 remembers the msgIds of a session that is kept", () => {
  const bench = new GatewayBench();
  const options = { cleanSession: false };
  bench.connect(ANN, "ann", options);
  bench.take(ANN, "08 0C 42 61 62 00 02 78");
  bench.connect(BOB, "ann", options);
  assertEquals(bench.take(BOB, "08 0C C2 61 62 00 02 78"), [
    [BOB.key, { type: "PUBREC", msgId: 2 }],
  ]);
  assertEquals(bench.stats.published, 1);
});

Deno.test("G28 retains, replaces and deletes what a topic retains", () => {
  const bench = new GatewayBench();
  bench.connect(BOB, "bob");
  const topic = { short: "ab" };
  bench.publish(BOB, topic, "one", { retain: true });
  bench.publish(BOB, topic, "two", { retain: true });
  bench.publish(BOB, topic, "three");
  bench.connect(ANN, "ann");
  const sent = bench.subscribe(ANN, "ab");
  const topicId = subscribedId(sent);
  assertEquals(packetsTo(ANN, sent).slice(1), [
    publishOf(topicId, "two", { retain: true }),
  ]);
  assertEquals(bench.stats.retained, 1);
  // To who subscribed before it is no retained message, nor is its deletion.
  assertEquals(bench.publish(BOB, topic, "four", { retain: true }), [
    [ANN.key, publishOf(topicId, "four")],
  ]);
  assertEquals(bench.publish(BOB, topic, "", { retain: true }), [
    [ANN.key, publishOf(topicId, "")],
  ]);
  assertEquals(bench.stats.retained, 0);
  assertEquals(bench.subscribe(ANN, "ab", 0, 201).length, 1);
});

Deno.test("G28 sends what is retained after SUBACK, at the lower QoS, to who subscribes alone", () => {
  const bench = new GatewayBench();
  bench.connect(BOB, "bob");
  bench.publish(BOB, { short: "ab" }, "x", { qos: 2, retain: true });
  bench.connect(CYD, "cyd");
  bench.subscribe(CYD, "ab");
  for (const qos of [0, 1, 2] as const) {
    bench.connect(ANN, "ann", { duration: 1 + qos });
    const sent = bench.subscribe(ANN, { short: "ab" }, qos);
    assertEquals(sent, [
      [ANN.key, { type: "SUBACK", qos, topicId: 0, msgId: 200, returnCode: 0 }],
      [
        ANN.key,
        publishOf(0x6162, "x", {
          topicIdType: "short",
          retain: true,
          qos,
          msgId: qos, // the first two that have one
        }),
      ],
    ]);
  }
});

Deno.test("G28 sends what is retained again to who subscribes again", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.publish(ANN, { short: "ab" }, "x", { retain: true });
  const topic = { short: "ab" };
  assertEquals(bench.subscribe(ANN, topic, 0, 1).length, 2);
  assertEquals(bench.subscribe(ANN, topic, 0, 2).length, 2);
  bench.unsubscribe(ANN, topic);
  assertEquals(bench.subscribe(ANN, topic, 0, 2).length, 2);
});

Deno.test("G29 has one PUBLISH of QoS 1 or 2 under way to a client", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const topicId = subscribedId(bench.subscribe(ANN, "ab", 2));
  bench.connect(BOB, "bob");
  const seen: MqttSnPacket[] = [];
  for (let i = 1; i <= 6; i++) {
    const qos = (i % 2 + 1) as Qos;
    const options = { qos, msgId: i };
    const sent = bench.publish(BOB, { short: "ab" }, `${i}`, options);
    seen.push(...packetsTo(ANN, sent));
  }
  assertEquals(seen, [publishOf(topicId, "1", { qos: 2, msgId: 1 })]);
  assertEquals(bench.stats.queued, 6);
  const all = answerAll(bench, ANN, seen.map((packet) => [ANN.key, packet]));
  assertEquals(
    all.filter(({ type }) => type === "PUBLISH").map(textOf),
    ["1", "2", "3", "4", "5", "6"],
  );
  assertEquals(typesOf(all), [
    ...["PUBLISH", "PUBREL", "PUBLISH"],
    ...["PUBLISH", "PUBREL", "PUBLISH"],
    ...["PUBLISH", "PUBREL", "PUBLISH"],
  ]);
});

for (const qos of [1, 2] as const) {
  Deno.test(`G29 sends a PUBLISH of QoS ${qos} again with DUP, and then gives the client up`, () => {
    const bench = new GatewayBench();
    const will = { topicName: "will", data: "bye" };
    bench.connect(CYD, "cyd");
    bench.subscribe(CYD, "will");
    bench.connectWithWill(ANN, "ann", will);
    const topicId = subscribedId(bench.subscribe(ANN, "ab", qos));
    bench.connect(BOB, "bob");
    bench.publish(BOB, { short: "ab" }, "x", { qos });
    const again = publishOf(topicId, "x", { qos, msgId: 1, dup: true });
    for (let i = 0; i < RETRIES; i++) {
      assertEquals(bench.advance(RETRY_MS - 1), []);
      assertEquals(bench.advance(1), [[ANN.key, again]]);
    }
    const sent = bench.advance(RETRY_MS);
    assertEquals(packetsTo(ANN, sent), []);
    assertEquals(packetsTo(CYD, sent).map(textOf), ["bye"]);
    const { lostBy, clients, delivered, retried } = bench.stats;
    assertEquals(lostBy["retries exhausted"], 1);
    assertEquals([clients.total, delivered, retried], [2, 2, RETRIES]);
    assertEquals(bench.run(100_000), []);
  });
}

Deno.test("G29 sends PUBREL again, the same, when PUBREC has come", () => {
  const bench = new GatewayBench({ retryMs: 100, retries: 2 });
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "ab", 2);
  bench.connect(BOB, "bob");
  bench.publish(BOB, { short: "ab" }, "x", { qos: 2 });
  bench.take(ANN, "04 0F 00 01");
  assertEquals(bench.wire, ["04100001"]);
  for (let i = 0; i < 2; i++) {
    bench.advance(100);
    assertEquals(bench.wire, ["04100001"]);
  }
  bench.advance(100);
  assertEquals(bench.wire, []);
  assertEquals(bench.stats.lostBy["retries exhausted"], 1);
});

Deno.test("G29 counts each message's retries for itself", () => {
  const bench = new GatewayBench({ retryMs: 100, retries: 1 });
  bench.connect(ANN, "ann");
  const topicId = subscribedId(bench.subscribe(ANN, "ab", 1));
  bench.connect(BOB, "bob");
  for (let msgId = 1; msgId <= 3; msgId++) {
    bench.publish(BOB, { short: "ab" }, "x", { qos: 1, msgId });
  }
  for (let msgId = 1; msgId <= 3; msgId++) {
    const sent = bench.advance(100);
    assertEquals(sent, [
      [ANN.key, publishOf(topicId, "x", { qos: 1, msgId, dup: true })],
    ]);
    bench.take(ANN, { type: "PUBACK", topicId, msgId, returnCode: 0 });
  }
  assertEquals([bench.stats.clients.active, bench.stats.queued], [2, 0]);
});

Deno.test("G29 keeps what a client with a kept session did not get for its return", () => {
  const bench = new GatewayBench({ retryMs: 100, retries: 0 });
  bench.connect(ANN, "ann", { cleanSession: false });
  const topicId = subscribedId(bench.subscribe(ANN, { short: "ab" }, 1));
  assertEquals(topicId, 0);
  bench.connect(BOB, "bob");
  bench.publish(BOB, { short: "ab" }, "x", { qos: 1 });
  bench.advance(100);
  assertEquals(bench.stats.clients.lost, 1);
  bench.publish(BOB, { short: "ab" }, "y", { qos: 1, msgId: 401 });
  bench.publish(BOB, { short: "ab" }, "not kept");
  const sent = bench.connect(ANN, "ann", { cleanSession: false });
  const seen = answerAll(bench, ANN, sent);
  assertEquals(typesOf(seen), ["CONNACK", "PUBLISH", "PUBLISH"]);
  assertEquals(seen.slice(1).map(textOf), ["x", "y"]);
  assertEquals(
    seen.slice(1).map((packet) => packet.type === "PUBLISH" && packet.dup),
    [true, false],
  );
});

Deno.test("G30 delivers at the lower of the QoS published and granted", () => {
  for (const published of [0, 1, 2] as const) {
    for (const granted of [0, 1, 2] as const) {
      const bench = new GatewayBench();
      bench.connect(ANN, "ann");
      const [suback] = packetsTo(ANN, bench.subscribe(ANN, "ab", granted));
      assertEquals(suback?.type === "SUBACK" && suback.qos, granted);
      bench.connect(BOB, "bob");
      const topic = { short: "ab" };
      const sent = bench.publish(BOB, topic, "x", { qos: published });
      const [packet] = packetsTo(ANN, sent);
      const qos = Math.min(published, granted) as Qos;
      assertEquals(packet?.type === "PUBLISH" && packet.qos, qos);
    }
  }
});

Deno.test("G30 delivers once, at the highest QoS granted, when filters overlap", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.register(ANN, "ab");
  for (const [filter, qos] of [["ab", 0], ["#", 2], ["+", 1]] as const) {
    bench.subscribe(ANN, filter, qos, 200 + qos);
  }
  bench.connect(BOB, "bob");
  const sent = bench.publish(BOB, { short: "ab" }, "x", { qos: 2 });
  assertEquals(packetsTo(ANN, sent), [
    publishOf(1, "x", { qos: 2, msgId: 1 }),
  ]);
});
