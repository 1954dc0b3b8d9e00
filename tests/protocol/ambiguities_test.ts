/**
 * Where the specification is silent or contradicts itself: which of the possible
 * readings is taken, row by row of the table of ambiguities, and the options that
 * choose another one.
 */

import { assert, assertEquals } from "@std/assert";
import { type Peer, peerOf } from "../../base/peer.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import type { Connect, MqttSnPacket } from "../../wire/packets.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import {
  GatewayBench,
  GOODBYE,
  PONG,
  puback,
  publishTo,
  regack,
  to,
} from "../support/gateway.ts";
import { ANN, BOB, CYD, FAR } from "../support/router.ts";

const KEPT = { cleanSession: false } as const;

const PING: MqttSnPacket = { type: "PINGREQ", clientId: "" };

function connack(peer: Peer, returnCode = 0) {
  return to(peer, { type: "CONNACK", returnCode });
}

function suback(peer: Peer, topicId: number, returnCode = 0, msgId = 200) {
  return to(peer, { type: "SUBACK", qos: 0, topicId, msgId, returnCode });
}

/** Ann, whose session is kept, sleeps, and a message of QoS 1 waits for her. */
function withSleeper(
  options: ConstructorParameters<typeof GatewayBench>[0] = {},
) {
  const bench = new GatewayBench(options);
  bench.connect(BOB, "bob");
  const a = { id: bench.register(BOB, "a") };
  const will = { topicName: "a", data: "lost" };
  bench.connectWithWill(ANN, "ann", will, { ...KEPT, duration: 60 });
  bench.subscribe(ANN, "a", 1);
  bench.sleep(ANN, 30);
  bench.publish(BOB, a, "x", { qos: 1 });
  return { bench, a };
}

// A1

Deno.test("A1 CONNECT from asleep honours its flags: Clean=1 forgets everything", () => {
  const { bench } = withSleeper();
  assertEquals(bench.connect(ANN, "ann", { duration: 5 }), [connack(ANN)]);
  const { queued, subscriptions, nameMemory } = bench.stats;
  assertEquals([queued, subscriptions], [0, 0]);
  assert(nameMemory > 0, "Bob's");
  assertEquals(bench.run(1e6), []);
  assertEquals(bench.stats.lostBy.silence, 1);
  assertEquals(bench.stats.wills, 0, "the will was forgotten too");
});

Deno.test("A1 CONNECT from asleep honours its flags: Clean=0 keeps everything", () => {
  const { bench } = withSleeper();
  assertEquals(bench.connect(ANN, "ann", { ...KEPT, duration: 5 }), [
    connack(ANN),
    to(ANN, { type: "REGISTER", topicId: 1, msgId: 1, topicName: "a" }),
  ]);
  assertEquals(bench.take(ANN, regack(1, 1)), [
    publishTo(ANN, { id: 1 }, "x", { qos: 1, msgId: 2 }),
  ]);
  assertEquals(bench.take(ANN, puback(1, 2)), []);
  assertEquals(bench.run(1e6), []);
  assertEquals(bench.stats.wills, 1, "the will was kept");
});

Deno.test("A1 CONNECT from asleep honours its flags: Will=1 asks for a will", () => {
  const { bench } = withSleeper();
  const connect = { ...KEPT, will: true, duration: 5 };
  assertEquals(bench.connect(ANN, "ann", connect), [
    to(ANN, { type: "WILLTOPICREQ" }),
  ]);
  assertEquals(bench.stats.clients.asleep, 1, "until it is given");
});

for (const will of [false, true]) {
  Deno.test(`A1 with connectWakesOnly, CONNECT wakes whatever its flags, Will=${will}`, () => {
    const { bench, a } = withSleeper({ connectWakesOnly: true });
    const sent = bench.connect(ANN, "ann", { will, cleanSession: true });
    assertEquals(sent[0], connack(ANN));
    assertEquals(bench.stats.subscriptions, 1);
    // Whether it was told the id once more or not: the message comes.
    if (sent[1]?.[1].type === "REGISTER") {
      sent.push(...bench.take(ANN, regack(1, sent[1][1].msgId)));
    }
    const last = sent.at(-1)![1];
    assert(last.type === "PUBLISH" && last.qos === 1, JSON.stringify(sent));
    assertEquals(bench.take(ANN, puback(1, last.msgId)), []);
    assertEquals(bench.stats.clients.active, 2);
    assertEquals(bench.publish(BOB, a, "y"), [
      publishTo(ANN, { id: 1 }, "y"),
    ]);
    // The session is what it was: kept when its connection ends.
    bench.take(ANN, GOODBYE);
    assertEquals(bench.stats.clients.disconnected, 1);
  });
}

Deno.test("A1 with connectWakesOnly, CONNECT of who does not sleep begins anew", () => {
  const { bench } = withSleeper({ connectWakesOnly: true });
  bench.take(ANN, GOODBYE);
  assertEquals(bench.connect(ANN, "ann"), [connack(ANN)]);
  assertEquals(bench.stats.subscriptions, 0);
});

// A2

Deno.test("A2 PINGREQ with ClientId from a new address moves the session there", () => {
  const { bench, a } = withSleeper();
  assertEquals(bench.wake(FAR, "ann"), [
    publishTo(FAR, { id: 1 }, "x", { qos: 1, msgId: 1 }),
  ]);
  assertEquals(bench.take(FAR, puback(1, 1)), [to(FAR, PONG)]);
  assertEquals(bench.stats.moved, 1);
  assertEquals(bench.stats.wills, 0);
  assertEquals(bench.take(ANN, PING), [to(ANN, GOODBYE)]);
  assertEquals(bench.stats.clients.total, 2);
  bench.connect(FAR, "ann", KEPT);
  bench.take(FAR, regack(1, 2));
  assertEquals(bench.publish(BOB, a, "y").map(([peer]) => peer), [FAR.key]);
});

Deno.test("A2 PINGREQ with ClientId moves an active session too", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  assertEquals(bench.wake(FAR, "ann"), [to(FAR, PONG)]);
  assertEquals(bench.take(FAR, PING), [to(FAR, PONG)]);
  assertEquals(bench.take(ANN, PING), [to(ANN, GOODBYE)]);
});

Deno.test("A2 without allowMove it is refused, and the session stays", () => {
  const { bench } = withSleeper({ allowMove: false });
  assertEquals(bench.wake(FAR, "ann"), [to(FAR, GOODBYE)]);
  assertEquals(bench.stats.moved, 0);
  assertEquals(bench.stats.clients.asleep, 1);
  assertEquals(bench.wake(ANN, "ann"), [
    publishTo(ANN, { id: 1 }, "x", { qos: 1, msgId: 1 }),
  ]);
});

// A3

Deno.test("A3 PINGREQ with the ClientId of nobody: DISCONNECT", () => {
  const { bench } = withSleeper();
  assertEquals(bench.wake(FAR, "eve"), [to(FAR, GOODBYE)]);
  assertEquals(bench.wake(ANN, "eve"), [to(ANN, GOODBYE)]);
  assertEquals(bench.stats.queued, 1, "nothing was delivered");
});

for (const state of ["disconnected", "lost"] as const) {
  Deno.test(`A3 PINGREQ with the ClientId of who is ${state}: DISCONNECT`, () => {
    const { bench } = withSleeper();
    if (state === "lost") bench.run(45_000);
    else bench.take(ANN, GOODBYE);
    assertEquals(bench.stats.clients[state], 1);
    assertEquals(bench.wake(ANN, "ann"), [to(ANN, GOODBYE)]);
    assertEquals(bench.wake(FAR, "ann"), [to(FAR, GOODBYE)]);
    assertEquals(bench.stats.clients[state], 1);
  });
}

Deno.test("A3 PINGREQ with another's ClientId moves that other, as in A2", () => {
  const { bench } = withSleeper();
  const will = { topicName: "a", data: "cyd is lost" };
  bench.connectWithWill(CYD, "cyd", will);
  assertEquals(bench.wake(CYD, "ann"), [
    publishTo(CYD, { id: 1 }, "x", { qos: 1, msgId: 1 }),
  ]);
  const { moved, lostBy, wills } = bench.stats;
  assertEquals([moved, lostBy.displaced, wills], [1, 1, 1]);
  // Cyd's will waits for Ann, who subscribed to its topic.
  assertEquals(bench.take(CYD, puback(1, 1)), [
    publishTo(CYD, { id: 1 }, "cyd is lost"),
    to(CYD, PONG),
  ]);
});

Deno.test("A3 without allowMove, another's ClientId is refused", () => {
  const { bench } = withSleeper({ allowMove: false });
  assertEquals(bench.wake(BOB, "ann"), [to(BOB, GOODBYE)]);
  assertEquals(bench.stats.clients.active, 1);
  assertEquals(bench.stats.lostBy.displaced, 0);
});

// A4

Deno.test("A4 PINGREQ without ClientId wakes the sleeper at that address", () => {
  const { bench } = withSleeper();
  assertEquals(bench.take(ANN, "02 16"), [
    publishTo(ANN, { id: 1 }, "x", { qos: 1, msgId: 1 }),
  ]);
  assertEquals(bench.stats.clients.awake, 1);
  assertEquals(bench.take(ANN, puback(1, 1)), [to(ANN, PONG)]);
  assertEquals(bench.take(ANN, "02 16"), [to(ANN, PONG)]);
});

Deno.test("A4 PINGREQ without ClientId from an unknown address: DISCONNECT", () => {
  const { bench } = withSleeper();
  assertEquals(bench.take(FAR, "02 16"), [to(FAR, GOODBYE)]);
});

// A5

Deno.test("A5 DISCONNECT with Duration 0 is a plain DISCONNECT", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann", { ...KEPT, duration: 10 });
  bench.register(ANN, "lamp"); // something to keep
  assertEquals(bench.take(ANN, "04 18 00 00"), [to(ANN, GOODBYE)]);
  const { disconnected, asleep } = bench.stats.clients;
  assertEquals([disconnected, asleep], [1, 0]);
  assertEquals(bench.run(1e9), []);
  assertEquals(bench.stats.lostBy.silence, 0);
});

// A6

Deno.test("A6 keep alive 0 is accepted, and never over", () => {
  const bench = new GatewayBench();
  assertEquals(bench.connect(ANN, "ann", { duration: 0 }), [connack(ANN)]);
  assertEquals(bench.run(1e12), []);
  assertEquals(bench.take(ANN, PING), [to(ANN, PONG)]);
});

Deno.test("A6 with requireKeepAlive it is refused with 03", () => {
  const bench = new GatewayBench({ requireKeepAlive: true });
  assertEquals(bench.connect(ANN, "ann", { duration: 0 }), [connack(ANN, 3)]);
  assertEquals(bench.stats.refused.keepAlive, 1);
  assertEquals(bench.take(ANN, PING), [to(ANN, GOODBYE)]);
  assertEquals(bench.connect(ANN, "ann", { duration: 1 }), [connack(ANN)]);
});

// A7

Deno.test("A7 QoS 0 to an unknown normal id: PUBACK 02 with MsgId 0000", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  assertEquals(bench.take(ANN, "08 0C 00 00 63 00 00 78"), [
    to(ANN, puback(0x63, 0, 2)),
  ]);
  assertEquals(bench.wire, ["070d0063000002"]);
  assertEquals(bench.stats.refused.topicId, 1);
  assertEquals(bench.router.stats().published, 0);
});

// A8

Deno.test("A8 an empty WILLTOPIC in the prompt skips WILLMSGREQ", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann", { will: true });
  assertEquals(bench.take(ANN, "02 07"), [connack(ANN)]);
  assertEquals(bench.stats.clients.active, 1);
});

Deno.test("A8 an empty WILLTOPIC in the prompt deletes the will that was kept", () => {
  const { bench } = withSleeper();
  bench.connect(ANN, "ann", { ...KEPT, will: true, duration: 5 });
  const [first] = bench.take(ANN, "02 07");
  assertEquals(first, connack(ANN));
  bench.take(ANN, regack(1, 1));
  bench.take(ANN, puback(1, 2));
  assertEquals(bench.run(7_500), []);
  const { lostBy, wills } = bench.stats;
  assertEquals([lostBy.silence, wills], [1, 0]);
});

// A9

Deno.test("A9 a MsgId at QoS 0 is accepted, and ignored", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, { short: "ab" });
  assertEquals(bench.publish(ANN, { short: "ab" }, "x", { msgId: 77 }), [
    publishTo(ANN, { short: "ab" }, "x"),
  ]);
});

Deno.test("A9 a MsgId at QoS 0 is not echoed in an error", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  assertEquals(bench.publish(ANN, { id: 9 }, "x", { msgId: 77 }), [
    to(ANN, puback(9, 0, 2)),
  ]);
});

Deno.test("A9 a MsgId at QoS −1 is accepted, and ignored", () => {
  const bench = new GatewayBench({ strict: true });
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, { short: "ab" });
  const options = { qos: -1 as const, msgId: 77 };
  assertEquals(bench.publish(FAR, { short: "ab" }, "x", options), [
    publishTo(ANN, { short: "ab" }, "x"),
  ]);
});

// A10

Deno.test("A10 MsgId 0 is accepted and echoed", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  assertEquals(bench.subscribe(ANN, { short: "ab" }, 0, 0), [
    suback(ANN, 0, 0, 0),
  ]);
  const ab = { short: "ab" };
  assertEquals(bench.publish(ANN, ab, "1", { qos: 1, msgId: 0 }), [
    to(ANN, puback(0x6162, 0)),
    publishTo(ANN, ab, "1"),
  ]);
  assertEquals(bench.publish(ANN, ab, "2", { qos: 2, msgId: 0 }), [
    to(ANN, { type: "PUBREC", msgId: 0 }),
    publishTo(ANN, ab, "2"),
  ]);
  assertEquals(bench.take(ANN, { type: "PUBREL", msgId: 0 }), [
    to(ANN, { type: "PUBCOMP", msgId: 0 }),
  ]);
});

Deno.test("A10 with strict, MsgId 0 is dropped at QoS 1 and 2 and in SUBSCRIBE", () => {
  const bench = new GatewayBench({ strict: true });
  bench.connect(ANN, "ann");
  const ab = { short: "ab" };
  assertEquals(bench.subscribe(ANN, ab, 0, 0), []);
  assertEquals(bench.publish(ANN, ab, "1", { qos: 1, msgId: 0 }), []);
  assertEquals(bench.publish(ANN, ab, "2", { qos: 2, msgId: 0 }), []);
  const { dropped, published, subscribed } = bench.router.stats();
  assertEquals([dropped.strict, published, subscribed], [3, 0, 0]);
  assertEquals(bench.publish(ANN, ab, "0"), [], "QoS 0 has none");
  assertEquals(bench.router.stats().published, 1);
});

// A11

const CLIENT_IDS: readonly (readonly [number, boolean, number])[] = [
  [23, false, 0],
  [24, false, 0],
  [256, false, 0],
  [257, false, 3],
  [23, true, 0],
  [24, true, 3],
];

for (const [octets, strict, returnCode] of CLIENT_IDS) {
  Deno.test(`A11 a ClientId of ${octets}${strict ? ", strict" : ""}: CONNACK 0${returnCode}`, () => {
    const bench = new GatewayBench({ strict });
    assertEquals(bench.connect(ANN, "c".repeat(octets)), [
      connack(ANN, returnCode),
    ]);
    assertEquals(bench.stats.refused.clientId, returnCode === 0 ? 0 : 1);
  });
}

Deno.test("A11 the limit of 256 is one of octets", () => {
  const bench = new GatewayBench();
  assertEquals(bench.connect(ANN, "é".repeat(128)), [connack(ANN)]);
  assertEquals(bench.connect(BOB, "é".repeat(129)), [connack(BOB, 3)]);
});

// A12

Deno.test("A12 a ClientId of length 0: CONNACK 03", () => {
  const bench = new GatewayBench();
  assertEquals(bench.take(ANN, "06 04 04 01 00 3C"), [connack(ANN, 3)]);
  assertEquals(bench.stats.refused.clientId, 1);
  assertEquals(bench.stats.clients.total, 0);
});

Deno.test("A12 with allowEmptyClientId each such client is one of its own", () => {
  const bench = new GatewayBench({ allowEmptyClientId: true });
  assertEquals(bench.connect(ANN, ""), [connack(ANN)]);
  assertEquals(bench.connect(BOB, ""), [connack(BOB)]);
  assertEquals(bench.stats.clients.active, 2);
  assertEquals(bench.stats.takenOver, 0);
  bench.subscribe(ANN, { short: "ab" });
  assertEquals(
    bench.publish(BOB, { short: "ab" }, "x"),
    [publishTo(ANN, { short: "ab" }, "x")],
  );
});

Deno.test("A12 with allowEmptyClientId who connects again is not another one", () => {
  const bench = new GatewayBench({ allowEmptyClientId: true, maxClients: 1 });
  assertEquals(bench.connect(ANN, ""), [connack(ANN)]);
  bench.run(60_000);
  assertEquals(bench.connect(ANN, ""), [connack(ANN)], "the table is not full");
  assertEquals(bench.stats.clients.total, 1);
});

// A13

const PREDEFINED = new Map([[7, "lamp"]]);

Deno.test("A13 REGISTER of a pre-defined name gives a fresh normal id", () => {
  const bench = new GatewayBench({ predefined: PREDEFINED });
  bench.connect(ANN, "ann");
  assertEquals(bench.register(ANN, "lamp"), 1);
  bench.connect(BOB, "bob");
  bench.subscribe(BOB, "lamp");
  assertEquals(bench.publish(ANN, { id: 1 }, "x"), [
    publishTo(BOB, { id: 1 }, "x"),
  ]);
  assertEquals(bench.publish(ANN, { predefined: 7 }, "x"), [
    publishTo(BOB, { id: 1 }, "x"),
  ]);
  assertEquals(bench.publish(ANN, { id: 7 }, "x"), [
    to(ANN, puback(7, 0, 2)),
  ], "the types are two");
});

Deno.test("A13 with registerPredefined it gives the pre-defined id", () => {
  const bench = new GatewayBench({
    predefined: PREDEFINED,
    registerPredefined: true,
  });
  bench.connect(ANN, "ann");
  assertEquals(bench.register(ANN, "lamp"), 7);
  assertEquals(bench.register(ANN, "lamp"), 7, "again");
  assertEquals(bench.register(ANN, "other"), 1);
  for (let id = 2; id <= 6; id++) {
    assertEquals(bench.register(ANN, `${id}`), id);
  }
  assertEquals(bench.register(ANN, "eighth"), 8, "7 is taken");
  bench.connect(BOB, "bob");
  bench.subscribe(BOB, "lamp");
  assertEquals(bench.publish(ANN, { id: 7 }, "x").length, 1);
});

// A14

for (const topicName of ["#", "+", "a/#", "a/+/b", "a#"]) {
  Deno.test(`A14 REGISTER of "${topicName}": REGACK 03`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann");
    const register = {
      type: "REGISTER",
      topicId: 0,
      msgId: 5,
      topicName,
    } as const;
    assertEquals(bench.take(ANN, register), [to(ANN, regack(0, 5, 3))]);
    assertEquals(bench.stats.refused.topicName, 1);
    assertEquals(bench.stats.nameMemory, 0);
  });
}

// A15

Deno.test("A15 SUBACK carries 0000 for a short name, the id for a pre-defined one", () => {
  const bench = new GatewayBench({ predefined: PREDEFINED });
  bench.connect(ANN, "ann");
  assertEquals(bench.take(ANN, "07 12 02 00 05 61 62"), [
    suback(ANN, 0, 0, 5),
  ]);
  assertEquals(bench.take(ANN, "07 12 01 00 06 00 07"), [
    suback(ANN, 7, 0, 6),
  ]);
  assertEquals(bench.publish(ANN, { short: "ab" }, "x"), [
    publishTo(ANN, { short: "ab" }, "x"),
  ]);
  assertEquals(bench.publish(ANN, { predefined: 7 }, "x"), [
    publishTo(ANN, { predefined: 7 }, "x"),
  ]);
});

Deno.test("A15 a wildcard in a short name is a filter, and refused with strict", () => {
  for (const strict of [false, true]) {
    const bench = new GatewayBench({ strict });
    bench.connect(ANN, "ann");
    assertEquals(bench.subscribe(ANN, { short: "/#" }), [
      suback(ANN, 0, strict ? 3 : 0),
    ]);
    assertEquals(bench.stats.subscriptions, strict ? 0 : 1);
  }
});

// A16

Deno.test("A16 the same ClientId from a new address takes over: DISCONNECT to the old one", () => {
  const { bench, a } = withSleeper();
  assertEquals(bench.connect(FAR, "ann", KEPT), [
    to(ANN, GOODBYE),
    connack(FAR),
    to(FAR, { type: "REGISTER", topicId: 1, msgId: 1, topicName: "a" }),
  ]);
  assertEquals(bench.take(FAR, regack(1, 1)), [
    publishTo(FAR, { id: 1 }, "x", { qos: 1, msgId: 2 }),
  ]);
  bench.take(FAR, puback(1, 2));
  const { takenOver, clients, lostBy } = bench.stats;
  assertEquals([takenOver, clients.total, lostBy.displaced], [1, 2, 0]);
  assertEquals(bench.take(ANN, PING), [to(ANN, GOODBYE)]);
  assertEquals(bench.publish(BOB, a, "y"), [publishTo(FAR, { id: 1 }, "y")]);
});

Deno.test("A16 what comes late from the old address does not disturb the new one", () => {
  const { bench } = withSleeper();
  bench.connect(FAR, "ann", KEPT);
  assertEquals(bench.take(ANN, GOODBYE), [to(ANN, GOODBYE)]);
  assertEquals(bench.take(ANN, regack(1, 1)), []);
  assertEquals(bench.router.stats().dropped.unknownPeer, 1);
  assertEquals(bench.take(FAR, PING), [to(FAR, PONG)]);
});

Deno.test("A16 a takeover by prompt happens when the will has come, not before", () => {
  const { bench } = withSleeper();
  const will = { topicName: "b", data: "" };
  bench.connect(FAR, "ann", { will: true });
  assertEquals(bench.take(ANN, PING).length, 1, "still hers");
  const sent = bench.connectWithWill(FAR, "ann", will, KEPT);
  assertEquals(sent.filter(([peer]) => peer === ANN.key), [to(ANN, GOODBYE)]);
});

// A17

Deno.test("A17 a new ClientId at the same address: the old session is lost, with its will", () => {
  const bench = new GatewayBench();
  bench.connect(CYD, "cyd");
  bench.subscribe(CYD, "will");
  const will = { topicName: "will", data: "ann is lost" };
  bench.connectWithWill(ANN, "ann", will, KEPT);
  const sent = bench.connect(ANN, "other");
  assertEquals(sent.filter(([peer]) => peer === ANN.key), [connack(ANN)]);
  assertEquals(sent.filter(([peer]) => peer === CYD.key), [
    publishTo(CYD, { id: 1 }, "ann is lost"),
  ]);
  assertEquals(sent.length, 2);
  const { clients, lostBy, wills } = bench.stats;
  assertEquals([clients.lost, clients.active], [1, 2]);
  assertEquals([lostBy.displaced, wills], [1, 1]);
  // As if timed out: it can return.
  assertEquals(bench.connect(BOB, "ann", KEPT), [connack(BOB)]);
  assertEquals(bench.take(ANN, PING), [to(ANN, PONG)], "the other one");
});

// A18

Deno.test("A18 a session outlives DISCONNECT if CleanSession was not set", () => {
  const bench = new GatewayBench();
  bench.connect(BOB, "bob");
  const a = { id: bench.register(BOB, "a") };
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, "a", 1);
  bench.take(ANN, GOODBYE);
  bench.publish(BOB, a, "x", { qos: 1 });
  assertEquals(bench.connect(ANN, "ann", KEPT)[1]?.[1].type, "REGISTER");
  assertEquals(bench.stats.subscriptions, 1);
});

Deno.test("A18 unless the next CONNECT is clean", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, "a", 1);
  bench.take(ANN, GOODBYE);
  assertEquals(bench.stats.subscriptions, 1);
  assertEquals(bench.connect(ANN, "ann"), [connack(ANN)]);
  assertEquals(bench.stats.subscriptions, 0);
});

Deno.test("A18 a clean session ends with its connection", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "a", 1);
  bench.take(ANN, GOODBYE);
  const { subscriptions, clients, nameMemory } = bench.stats;
  assertEquals([subscriptions, clients.total, nameMemory], [0, 0, 0]);
  bench.connect(ANN, "ann", KEPT);
  assertEquals(bench.stats.subscriptions, 0);
});

// A19

Deno.test("A19 a SUBSCRIBE at QoS −1: SUBACK 03", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  assertEquals(bench.take(ANN, "06 12 60 00 05 61"), [suback(ANN, 0, 3, 5)]);
  assertEquals(bench.stats.refused.qos, 1);
});

for (const filter of ["a#", "#/a", "a/b+", "a\0"]) {
  Deno.test(`A19 a SUBSCRIBE to ${JSON.stringify(filter)}: SUBACK 03`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann");
    assertEquals(bench.subscribe(ANN, filter), [suback(ANN, 0, 3)]);
    assertEquals(bench.stats.refused.topicName, 1);
    assertEquals(bench.stats.subscriptions, 0);
  });
}

Deno.test("A19 a reserved TopicIdType: SUBACK and PUBACK 03", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  assertEquals(bench.take(ANN, "07 12 03 00 05 00 01"), [
    suback(ANN, 0, 3, 5),
  ]);
  assertEquals(bench.take(ANN, "08 0C 23 00 01 00 06 78"), [
    to(ANN, puback(1, 6, 3)),
  ]);
  assertEquals(bench.stats.refused.topicIdType, 2);
});

Deno.test("A19 an unknown ProtocolId: CONNACK 03", () => {
  const bench = new GatewayBench();
  assertEquals(bench.connect(ANN, "ann", { protocolId: 2 }), [
    connack(ANN, 3),
  ]);
  assertEquals(bench.stats.refused.protocolId, 1);
});

for (const topicName of ["#", "a/+", "$SYS/broker/version"]) {
  Deno.test(`A19 a will for "${topicName}": CONNACK 03 in the prompt`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann", { will: true });
    const will = { qos: 0, retain: true, topicName } as const;
    assertEquals(bench.take(ANN, { type: "WILLTOPIC", will }), [
      connack(ANN, 3),
    ]);
    assertEquals(bench.stats.clients.total, 0);
  });

  Deno.test(`A19 a will for "${topicName}": WILLTOPICRESP 03 later`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann");
    const will = { qos: 0, retain: true, topicName } as const;
    assertEquals(bench.take(ANN, { type: "WILLTOPICUPD", will }), [
      to(ANN, { type: "WILLTOPICRESP", returnCode: 3 }),
    ]);
  });
}

// A20

for (const state of ["unknown", "disconnected", "lost"] as const) {
  Deno.test(`A20 DISCONNECT with Duration of who is ${state}: DISCONNECT, and it stays so`, () => {
    const bench = new GatewayBench();
    if (state !== "unknown") {
      bench.connect(ANN, "ann", { ...KEPT, duration: 1 });
      bench.register(ANN, "lamp"); // something to keep
      if (state === "lost") bench.run(1_500);
      else bench.take(ANN, GOODBYE);
    }
    assertEquals(bench.take(ANN, "04 18 00 0A"), [to(ANN, GOODBYE)]);
    assertEquals(bench.stats.clients.asleep, 0);
    if (state !== "unknown") assertEquals(bench.stats.clients[state], 1);
    assertEquals(bench.router.nextTimeout(), undefined);
  });
}

// A21

/** What a sleeper is sent when it wakes, as text, each acknowledged. */
function collect(bench: GatewayBench): string[] {
  const texts: string[] = [];
  const decoder = new TextDecoder();
  let sent = bench.wake(ANN, "ann");
  while (sent.length > 0) {
    let next: typeof sent = [];
    for (const [, packet] of sent) {
      if (packet.type === "PINGRESP") return texts;
      assert(packet.type === "PUBLISH", packet.type);
      texts.push(`${decoder.decode(packet.data)} at ${packet.qos}`);
      if (packet.qos === 1) next = bench.take(ANN, puback(1, packet.msgId));
    }
    sent = next;
  }
  throw new Error("No PINGRESP came");
}

function withQueue(overflow: "drop" | "refuse") {
  const bench = new GatewayBench({ maxQueue: 3, overflow });
  bench.connect(BOB, "bob");
  const a = { id: bench.register(BOB, "a") };
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "a", 1);
  bench.sleep(ANN, 600);
  const tell = (data: string, qos: 0 | 1) =>
    bench.publish(BOB, a, data, { qos });
  return { bench, a, tell };
}

Deno.test("A21 the buffer of a sleeper is bounded, and the oldest of QoS 0 goes first", () => {
  const { bench, a, tell } = withQueue("drop");
  const accepted = [to(BOB, puback(a.id, 400))];
  assertEquals(tell("1", 1), accepted);
  assertEquals(tell("2", 0), []);
  assertEquals(tell("3", 0), []);
  assertEquals(tell("4", 1), accepted);
  assertEquals(bench.stats.lost.overflow, 1);
  assertEquals(tell("5", 0), []);
  assertEquals(bench.stats.queued, 3);
  assertEquals(bench.stats.lost.overflow, 2);
  assertEquals(collect(bench), ["1 at 1", "4 at 1", "5 at 0"]);
});

Deno.test("A21 without any of QoS 0 the oldest goes, but not for one of QoS 0", () => {
  const { bench, tell } = withQueue("drop");
  for (const data of ["1", "2", "3", "4"]) tell(data, 1);
  assertEquals(bench.stats.lost.overflow, 1);
  tell("5", 0);
  assertEquals(bench.stats.lost.overflow, 2);
  assertEquals(collect(bench), ["2 at 1", "3 at 1", "4 at 1"]);
  assertEquals(bench.stats.queueMemory, 0);
});

Deno.test("A21 with overflow refuse, the publisher is told congestion", () => {
  const { bench, a, tell } = withQueue("refuse");
  tell("1", 1);
  tell("2", 0);
  tell("3", 1);
  tell("4", 1);
  assertEquals(bench.stats.lost.overflow, 1, "that of QoS 0");
  assertEquals(tell("5", 1), [to(BOB, puback(a.id, 400, 1))]);
  assertEquals(bench.stats.refused.queue, 1);
  assertEquals(tell("6", 0), [], "at QoS 0 nobody is refused");
  assertEquals(bench.stats.lost.overflow, 2);
  assertEquals(collect(bench), ["1 at 1", "3 at 1", "4 at 1"]);
});

Deno.test("A21 with overflow refuse, what was refused reaches nobody else either", () => {
  const { bench, a, tell } = withQueue("refuse");
  bench.connect(CYD, "cyd");
  bench.subscribe(CYD, "a", 1);
  for (const data of ["1", "2", "3"]) {
    tell(data, 1);
    bench.take(CYD, puback(1, Number(data)));
  }
  const options = { qos: 1, retain: true } as const;
  assertEquals(bench.publish(BOB, a, "4", options), [
    to(BOB, puback(a.id, 400, 1)),
  ]);
  assertEquals(bench.stats.retained, 0);
});

Deno.test("A21 with overflow refuse, nothing is acknowledged that one of two sleepers does not get", () => {
  const bench = new GatewayBench({ overflow: "refuse", maxMemory: 65_507 });
  bench.connect(BOB, "bob");
  const a = { id: bench.register(BOB, "a") };
  for (const [peer, clientId] of [[ANN, "ann"], [CYD, "cyd"]] as const) {
    bench.connect(peer, clientId);
    bench.subscribe(peer, "a", 1);
    bench.sleep(peer, 600);
  }
  // There is room for one of the two, but not for both.
  const sent = bench.publish(BOB, a, "x".repeat(40_000), { qos: 1 });
  assertEquals(sent, [to(BOB, puback(a.id, 400, 1))]);
  assertEquals(bench.stats.lost.memory, 0);
});

// A22

Deno.test("A22 a broker is itself the server: nothing but its clients is needed", () => {
  const bench = new GatewayBench();
  assertEquals(bench.connect(ANN, "ann"), [connack(ANN)]);
  assertEquals(bench.subscribe(ANN, "a"), [suback(ANN, 1)]);
  assertEquals(bench.connect(BOB, "bob"), [connack(BOB)]);
  const a = { id: bench.register(BOB, "a") };
  assertEquals(bench.publish(BOB, a, "x"), [publishTo(ANN, { id: 1 }, "x")]);
  assertEquals(bench.stats.sentByType.ADVERTISE, 0);
});

// QoS −1 (§6.8), and what is behind a message

const MINUS_ONE = { qos: -1 } as const;

Deno.test("G23 QoS −1 is taken from anyone, and never answered", () => {
  const bench = new GatewayBench({ predefined: PREDEFINED });
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, { predefined: 7 }, 2);
  assertEquals(bench.publish(FAR, { predefined: 7 }, "x", MINUS_ONE), [
    publishTo(ANN, { predefined: 7 }, "x"),
  ]);
  assertEquals(bench.publish(ANN, { predefined: 7 }, "y", MINUS_ONE), [
    publishTo(ANN, { predefined: 7 }, "y"),
  ]);
  assertEquals(bench.stats.qosMinusOne, 2);
});

for (
  const [name, topic] of [
    ["an unknown pre-defined id", { predefined: 8 }],
    ["a normal id", { id: 1 }],
    ["a wildcard", { short: "/#" }],
  ] as const
) {
  Deno.test(`G25 QoS −1 to ${name} is dropped and counted`, () => {
    const bench = new GatewayBench({ predefined: PREDEFINED });
    bench.connect(ANN, "ann");
    assertEquals(bench.register(ANN, "a"), 1);
    assertEquals(bench.publish(FAR, topic, "x", MINUS_ONE), []);
    assertEquals(bench.publish(ANN, topic, "x", MINUS_ONE), []);
    assertEquals(bench.router.stats().dropped.qosMinusOne, 2);
    assertEquals(bench.stats.qosMinusOne, 0);
  });
}

Deno.test("G25 without qosMinusOne it is dropped and counted", () => {
  const bench = new GatewayBench({ qosMinusOne: false });
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, { short: "ab" });
  assertEquals(bench.publish(FAR, { short: "ab" }, "x", MINUS_ONE), []);
  assertEquals(bench.router.stats().dropped.qosMinusOne, 1);
  assertEquals(bench.publish(ANN, { short: "ab" }, "x").length, 1);
});

/** Paho's extension: the name's length as topic id, the name before the data. */
function named(length: number, text: string): Uint8Array {
  return encodePacket({
    type: "PUBLISH",
    dup: false,
    qos: -1,
    retain: false,
    topicIdType: "normal",
    topicId: length,
    msgId: 0,
    data: encodeUtf8(text),
  });
}

Deno.test("G25 a spelled-out name at QoS −1 is dropped unless namedQosMinusOne", () => {
  for (const namedQosMinusOne of [false, true]) {
    const bench = new GatewayBench({ namedQosMinusOne });
    bench.connect(ANN, "ann");
    bench.subscribe(ANN, "long/name");
    assertEquals(
      bench.take(FAR, named(9, "long/namehello")),
      namedQosMinusOne ? [publishTo(ANN, { id: 1 }, "hello")] : [],
    );
    const { dropped } = bench.router.stats();
    assertEquals(dropped.qosMinusOne, namedQosMinusOne ? 0 : 1);
  }
});

for (
  const [name, length, text] of [
    ["that is longer than the message", 100, "short"],
    ["of length 0", 0, "short"],
    ["with a wildcard", 3, "a/#x"],
    ["that is the broker's own", 6, "$SYS/xx"],
  ] as const
) {
  Deno.test(`G25 with namedQosMinusOne, a name ${name} is dropped`, () => {
    const bench = new GatewayBench({ namedQosMinusOne: true });
    assertEquals(bench.take(FAR, named(length, text)), []);
    assertEquals(bench.router.stats().dropped.qosMinusOne, 1);
  });
}

const CONNECT: Connect = {
  type: "CONNECT",
  will: false,
  cleanSession: true,
  protocolId: 1,
  duration: 0,
  clientId: "ann",
};

Deno.test("F6 octets behind a message: dropped, unless ignoreTail", () => {
  const bytes = Uint8Array.of(...encodePacket(CONNECT), 0xaa, 0xbb);
  const strict = new GatewayBench();
  assertEquals(strict.take(ANN, bytes), []);
  assertEquals(strict.router.stats().dropped.malformed, 1);
  assertEquals(strict.stats.clients.total, 0);
  const lenient = new GatewayBench({ ignoreTail: true });
  assertEquals(lenient.take(ANN, bytes), [connack(ANN)]);
  assertEquals(lenient.wake(BOB, "ann"), [to(BOB, PONG)], "its id has no tail");
});

Deno.test("F6 a length beyond the datagram: dropped, also with ignoreTail", () => {
  for (const ignoreTail of [false, true]) {
    const bench = new GatewayBench({ ignoreTail });
    const bytes = encodePacket(CONNECT).subarray(0, -1);
    assertEquals(bench.take(peerOf("192.0.2.9", 1), bytes), []);
    assertEquals(bench.router.stats().dropped.malformed, 1);
    assertEquals(bench.stats.clients.total, 0);
  }
});
