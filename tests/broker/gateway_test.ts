import { assert, assertEquals, assertThrows } from "@std/assert";
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

const CONNACK = { type: "CONNACK", returnCode: 0 } as const;
const DISCONNECT = { type: "DISCONNECT", duration: undefined } as const;
const PINGRESP = { type: "PINGRESP" } as const;

/** T_retry and N_retry as they are unless told. */
const RETRY_MS = 10_000;
const RETRIES = 4;

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** The types of what was sent, in order. */
function typesOf(packets: readonly MqttSnPacket[]): string[] {
  return packets.map(({ type }) => type);
}

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
