/**
 * CONNECT and wills at the gateway (MQTT-SN 1.2 §6.2 to §6.4).
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
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
  encode,
  PINGRESP,
  typesOf,
} from "../support/gateway_packets.ts";

// Connect and will

Deno.test("G1 answers a CONNECT without a will with CONNACK at once", () => {
  const bench = new GatewayBench();
  assertEquals(bench.take(ANN, "0E 04 04 01 00 3C 63 6C 69 65 6E 74 49 64"), [
    [ANN.key, { type: "CONNACK", returnCode: 0 }],
  ]);
  assertEquals(bench.wire, ["030500"]);
});

Deno.test("G1 takes a CONNECT in the long form as well", () => {
  const bench = new GatewayBench();
  bench.take(ANN, "01 00 10 04 04 01 00 3C 63 6C 69 65 6E 74 49 64");
  assertEquals(bench.wire, ["030500"]);
  assertEquals(bench.stats.clients.active, 1);
});

Deno.test("G1 prompts for topic and message of a will, and only then accepts", () => {
  const bench = new GatewayBench();
  assertEquals(bench.take(ANN, "08 04 0C 01 00 0A 63 31").length, 1);
  assertEquals(bench.wire, ["0206"]);
  assertEquals(bench.take(ANN, "06 07 30 61 2F 77").length, 1);
  assertEquals(bench.wire, ["0208"]);
  assertEquals([bench.stats.clients.total, bench.stats.prompts], [0, 1]);
  assertEquals(bench.take(ANN, "05 09 62 79 65").length, 1);
  assertEquals(bench.wire, ["030500"]);
  assertEquals([bench.stats.clients.active, bench.stats.prompts], [1, 0]);
});

Deno.test("G1 does not accept a client that answers the prompts in the wrong order", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann", { will: true });
  const sent = bench.take(ANN, { type: "WILLMSG", data: encode("bye") });
  assert(!typesOf(packetsTo(ANN, sent)).includes("CONNACK"));
  assertEquals(bench.stats.clients.total, 0);
});

Deno.test("G2 refuses a client with congestion when the table is full", () => {
  const bench = new GatewayBench({ maxClients: 1 });
  bench.connect(ANN, "ann");
  assertEquals(bench.connect(BOB, "bob"), [
    [BOB.key, { type: "CONNACK", returnCode: 1 }],
  ]);
  assertEquals(bench.wire, ["030501"]);
  const { clients, refused, connected } = bench.stats;
  assertEquals([clients.total, refused.clients, connected], [1, 1, 1]);
  // Whoever has a place keeps it, and comes back to it.
  assertEquals(bench.connect(CYD, "ann").at(-1), [CYD.key, CONNACK]);
});

Deno.test("G2 accepts no more clients than there is room for, prompted ones included", () => {
  const bench = new GatewayBench({ maxClients: 1 });
  const sent = [
    ...bench.connect(ANN, "ann", { will: true }),
    ...bench.connect(BOB, "bob"),
    ...bench.take(ANN, "06 07 30 61 2F 77"),
    ...bench.take(ANN, "05 09 62 79 65"),
  ];
  const codes = sent.flatMap(([, packet]) =>
    packet.type === "CONNACK" ? [packet.returnCode] : []
  );
  assertEquals(codes.sort(), [0, 1]);
  const { clients, refused } = bench.stats;
  assertEquals([clients.maximum, refused.clients], [1, 1]);
});

for (
  const [why, topicName, qos] of [
    ["has wildcards", "will/+", 0],
    ["is to be published at QoS −1", "will", -1],
  ] as const
) {
  Deno.test(`G2 refuses a client whose will ${why}`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann", { will: true });
    assertEquals(
      bench.take(ANN, {
        type: "WILLTOPIC",
        will: { qos, retain: false, topicName },
      }),
      [[ANN.key, { type: "CONNACK", returnCode: 3 }]],
    );
    assertEquals([bench.stats.clients.total, bench.stats.prompts], [0, 0]);
  });
}

Deno.test("G3 refuses any other protocol id with 03", () => {
  for (const protocolId of [0, 2, 0xff]) {
    const bench = new GatewayBench();
    assertEquals(bench.connect(ANN, "ann", { protocolId }), [
      [ANN.key, { type: "CONNACK", returnCode: 3 }],
    ]);
    const { clients, refused } = bench.stats;
    assertEquals([clients.total, refused.protocolId], [0, 1]);
  }
});

Deno.test("G3 leaves a connected client as it is when it asks for another protocol", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.connect(ANN, "ann", { protocolId: 2 });
  assertEquals(bench.take(ANN, "02 16"), [[ANN.key, PINGRESP]]);
});

/** A client with will and subscription that has gone, with its session kept. */
function withSession(): GatewayBench {
  const bench = new GatewayBench();
  const will = { topicName: "will", data: "old" };
  bench.connectWithWill(ANN, "ann", will, { cleanSession: false });
  bench.subscribe(ANN, "kept", 1);
  bench.take(ANN, DISCONNECT);
  bench.connect(BOB, "bob");
  bench.connect(CYD, "cyd");
  bench.subscribe(CYD, "will");
  return bench;
}

/** Whether a client is still subscribed to `kept`. */
function isSubscribed(bench: GatewayBench): boolean {
  const id = bench.register(BOB, "kept");
  const sent = bench.publish(BOB, { id }, "x", { qos: 1 });
  answerAll(bench, ANN, sent);
  return packetsTo(ANN, sent).length > 0;
}

/** What somebody gets when a client with a keep alive of 10 s falls silent. */
function willOf(bench: GatewayBench): string[] {
  return packetsTo(CYD, bench.run(20_000)).map(textOf);
}

const WITH = { duration: 10 };

Deno.test("G4 clean 1 will 1 deletes subscriptions and will, and prompts", () => {
  const bench = withSession();
  const sent = bench.connect(ANN, "ann", { ...WITH, will: true });
  assertEquals(sent, [[ANN.key, { type: "WILLTOPICREQ" }]]);
  bench.take(ANN, {
    type: "WILLTOPIC",
    will: { qos: 0, retain: false, topicName: "will" },
  });
  bench.take(ANN, { type: "WILLMSG", data: encode("new") });
  assertEquals(isSubscribed(bench), false);
  assertEquals(willOf(bench), ["new"]);
});

Deno.test("G4 clean 1 will 1 keeps nothing of the old will when none follows", () => {
  const bench = withSession();
  bench.connect(ANN, "ann", { ...WITH, will: true });
  assertEquals(bench.take(ANN, "02 07"), [[ANN.key, CONNACK]]);
  assertEquals(isSubscribed(bench), false);
  assertEquals(willOf(bench), []);
});

Deno.test("G4 clean 1 will 0 deletes subscriptions and will, and does not prompt", () => {
  const bench = withSession();
  const sent = bench.connect(ANN, "ann", { ...WITH, will: false });
  assertEquals(sent, [[ANN.key, CONNACK]]);
  assertEquals(isSubscribed(bench), false);
  assertEquals(willOf(bench), []);
  assertEquals([bench.stats.wills, bench.stats.lostBy.silence], [0, 1]);
});

Deno.test("G4 clean 0 will 1 keeps subscriptions, and prompts for another will", () => {
  const bench = withSession();
  const again = { ...WITH, cleanSession: false, will: true };
  assertEquals(bench.connect(ANN, "ann", again), [
    [ANN.key, { type: "WILLTOPICREQ" }],
  ]);
  bench.take(ANN, {
    type: "WILLTOPIC",
    will: { qos: 0, retain: false, topicName: "will" },
  });
  bench.take(ANN, { type: "WILLMSG", data: encode("new") });
  assertEquals(isSubscribed(bench), true);
  assertEquals(willOf(bench), ["new"]);
});

Deno.test("G4 clean 0 will 1 keeps the stored will until another has come", () => {
  const bench = withSession();
  bench.connect(ANN, "ann", { ...WITH, cleanSession: false });
  // The client announces another will and is never heard of again.
  bench.connect(ANN, "ann", { ...WITH, cleanSession: false, will: true });
  assertEquals(willOf(bench), ["old"]);
});

Deno.test("G4 clean 0 will 0 keeps subscriptions and will, and does not prompt", () => {
  const bench = withSession();
  assertEquals(bench.connect(ANN, "ann", { ...WITH, cleanSession: false }), [
    [ANN.key, CONNACK],
  ]);
  assertEquals(isSubscribed(bench), true);
  assertEquals(willOf(bench), ["old"]);
  assertEquals(bench.stats.wills, 1);
});

Deno.test("G5 deletes the will when the prompt is answered by an empty WILLTOPIC", () => {
  const bench = withSession();
  bench.connect(ANN, "ann", { ...WITH, cleanSession: false, will: true });
  bench.take(ANN, "02 07");
  assertEquals(bench.wire, ["030500"]);
  assertEquals(isSubscribed(bench), true);
  assertEquals(willOf(bench), []);
  assertEquals([bench.stats.wills, bench.stats.lostBy.silence], [0, 1]);
});

for (
  const [order, first, second] of [
    ["topic first", "06 1A 30 61 2F 77", "05 1C 62 79 65"],
    ["message first", "05 1C 62 79 65", "06 1A 30 61 2F 77"],
  ] as const
) {
  Deno.test(`G6 takes a will from a connected client, ${order}`, () => {
    const bench = new GatewayBench();
    bench.connect(CYD, "cyd");
    const topicId = subscribedId(bench.subscribe(CYD, "a/w", 1));
    bench.connect(ANN, "ann", { duration: 10 });
    for (const hex of [first, second]) {
      bench.take(ANN, hex);
      const answer = hex.slice(3, 5) === "1A" ? "031b00" : "031d00";
      assertEquals(bench.wire, [answer]);
    }
    assertEquals(bench.advance(15_000), [
      [CYD.key, publishOf(topicId, "bye", { qos: 1, msgId: 1 })],
    ]);
    assertEquals(bench.stats.retained, 1);
  });
}

Deno.test("G6 overwrites only the part of the will that is sent", () => {
  for (
    const [update, expected] of [
      ["06 1A 00 61 2F 77", ["a/w", "old"]],
      ["05 1C 6E 65 77", ["will", "new"]],
    ] as const
  ) {
    const bench = new GatewayBench();
    bench.connect(CYD, "cyd");
    const names = new Map(["a/w", "will"].map((name) => [
      subscribedId(bench.subscribe(CYD, name)),
      name,
    ]));
    const will = { topicName: "will", data: "old" };
    bench.connectWithWill(ANN, "ann", will, { duration: 10 });
    bench.take(ANN, update);
    const got = packetsTo(CYD, bench.run(20_000)).map((packet) => [
      packet.type === "PUBLISH" ? names.get(packet.topicId) : packet.type,
      textOf(packet),
    ]);
    assertEquals(got, [[...expected]]);
  }
});

Deno.test("G6 deletes topic and message of the will by an empty WILLTOPICUPD", () => {
  const bench = new GatewayBench();
  bench.connect(CYD, "cyd");
  bench.subscribe(CYD, "a/w");
  const will = { topicName: "a/w", data: "old" };
  bench.connectWithWill(ANN, "ann", will, { duration: 10 });
  bench.take(ANN, "02 1A");
  assertEquals(bench.wire, ["031b00"]);
  // The topic comes back, the message does not.
  bench.take(ANN, "06 1A 00 61 2F 77");
  assertEquals(willOf(bench), [""]);

  bench.connectWithWill(ANN, "ann", will, { duration: 10 });
  bench.take(ANN, "02 1A");
  assertEquals(willOf(bench), []);
  assertEquals(bench.stats.wills, 1);
});

Deno.test("G6 refuses a will whose topic is not valid, and keeps the one it has", () => {
  const bench = new GatewayBench();
  bench.connect(CYD, "cyd");
  bench.subscribe(CYD, "#");
  const will = { topicName: "a/w", data: "old" };
  bench.connectWithWill(ANN, "ann", will, { duration: 10 });
  const topicName = "a/#";
  assertEquals(
    bench.take(ANN, {
      type: "WILLTOPICUPD",
      will: { qos: 0, retain: false, topicName },
    }),
    [[ANN.key, { type: "WILLTOPICRESP", returnCode: 3 }]],
  );
  assertEquals(packetsTo(CYD, bench.advance(15_000)).at(0), {
    type: "REGISTER",
    topicId: 1,
    msgId: 1,
    topicName: "a/w",
  });
});

Deno.test("G7 stores a will's message without a topic, and publishes it only with one", () => {
  const bench = new GatewayBench();
  bench.connect(CYD, "cyd");
  bench.subscribe(CYD, "#");
  bench.connect(ANN, "ann", { duration: 10 });
  bench.take(ANN, "05 1C 62 79 65");
  assertEquals(bench.wire, ["031d00"]);
  assertEquals(bench.run(20_000), []);
  assertEquals([bench.stats.wills, bench.stats.lostBy.silence], [0, 1]);
});

for (
  const [duration, allowedMs, tolerance] of [
    [10, 15_000, undefined],
    [60, 90_000, undefined],
    [61, 67_100, undefined],
    [65_535, 72_088_500, undefined],
    [100, 150_000, 1.5],
    [60, 90_000, 1.1],
  ] as const
) {
  const told = tolerance === undefined ? "" : ` at a tolerance of ${tolerance}`;
  Deno.test(`G8 gives a client of ${duration} s up after ${allowedMs} ms${told}`, () => {
    const bench = new GatewayBench(
      tolerance === undefined ? {} : { tolerance },
    );
    bench.connect(CYD, "cyd");
    const topicId = subscribedId(bench.subscribe(CYD, "will", 2));
    const will = {
      topicName: "will",
      data: "bye",
      qos: 2,
      retain: true,
    } as const;
    bench.connectWithWill(ANN, "ann", will, { duration });
    assertEquals(bench.advance(allowedMs - 1), []);
    assertEquals(bench.stats.clients.active, 2);
    assertEquals(bench.advance(1), [
      [CYD.key, publishOf(topicId, "bye", { qos: 2, msgId: 1 })],
    ]);
    const { clients, lostBy, wills, retained } = bench.stats;
    assertEquals([clients.total, lostBy.silence, wills, retained], [
      1,
      1,
      1,
      1,
    ]);
    assertEquals(bench.take(ANN, "02 16"), [[ANN.key, DISCONNECT]]);
  });
}

Deno.test("G8 never gives up a client without keep alive", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann", { duration: 0 });
  assertEquals(bench.run(365 * 24 * 3_600_000), []);
  assertEquals(bench.take(ANN, "02 16"), [[ANN.key, PINGRESP]]);
});

const SIGNS_OF_LIFE: readonly (readonly [string, string])[] = [
  ["PINGREQ", "02 16"],
  ["PINGREQ with its client id", "05 16 61 6E 6E"],
  ["PINGRESP", "02 17"],
  ["PUBLISH of QoS 0 to no topic", "08 0C 00 00 09 00 00 78"],
  ["PUBLISH of QoS −1", "08 0C 62 61 62 00 00 78"],
  ["REGISTER", "09 0A 00 00 00 01 61 2F 62"],
  ["SUBSCRIBE", "09 12 00 00 01 74 65 73 74"],
  ["UNSUBSCRIBE", "09 14 00 00 03 74 65 73 74"],
  ["PUBACK", "07 0D 00 01 00 02 00"],
  ["REGACK", "07 0B 00 01 00 02 00"],
  ["PUBREC", "04 0F 00 02"],
  ["PUBREL", "04 10 00 02"],
  ["PUBCOMP", "04 0E 00 02"],
  ["WILLTOPICUPD", "06 1A 30 61 2F 77"],
  ["WILLMSGUPD", "05 1C 62 79 65"],
  ["SEARCHGW", "03 01 00"],
];

for (const [name, hex] of SIGNS_OF_LIFE) {
  Deno.test(`G8 takes ${name} for a sign of life`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann", { duration: 10 });
    bench.advance(14_999);
    bench.take(ANN, hex);
    bench.run(14_999);
    assertEquals(bench.stats.clients.active, 1);
    bench.run(1);
    assertEquals(bench.stats.lostBy.silence, 1);
  });
}

Deno.test("G8 takes a repeated CONNECT for a sign of life", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann", { duration: 2 });
  bench.advance(2_999);
  assertEquals(bench.connect(ANN, "ann", { duration: 2 }), [
    [ANN.key, CONNACK],
  ]);
  bench.run(2_999);
  assertEquals(bench.stats.clients.active, 1);
});

Deno.test("G9 never publishes the will of a client that disconnects", () => {
  for (const cleanSession of [true, false]) {
    const bench = new GatewayBench();
    bench.connect(CYD, "cyd");
    bench.subscribe(CYD, "will");
    const will = { topicName: "will", data: "bye", retain: true };
    bench.connectWithWill(ANN, "ann", will, { duration: 10, cleanSession });
    assertEquals(bench.take(ANN, "02 18"), [[ANN.key, DISCONNECT]]);
    assertEquals(bench.run(3_600_000), []);
    const { wills, retained, clients } = bench.stats;
    assertEquals([wills, retained, clients.lost], [0, 0, 0]);
  }
});
