import { assert, assertEquals } from "@std/assert";
import { Broker } from "../../broker.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import {
  answerAll,
  EVERYBODY,
  GatewayBench,
  octets,
  packetsTo,
  publishOf,
  SocketClient,
  subscribedId,
  textOf,
} from "../support/gateway.ts";
import { ANN, BOB, FAR } from "../support/router.ts";

const CONNACK = { type: "CONNACK", returnCode: 0 } as const;
const DISCONNECT = { type: "DISCONNECT", duration: undefined } as const;
const PINGRESP = { type: "PINGRESP" } as const;

/** T_retry and N_retry as they are unless told. */
const RETRY_MS = 10_000;
const RETRIES = 4;

Deno.test("§17 every answer comes from the address and port that was asked", async () => {
  await using broker = await Broker.listen({
    port: 0,
    retryMs: 20,
    retries: 999,
  });
  await using client = await SocketClient.towards(broker.address);
  const steps: readonly (readonly [string, readonly string[]])[] = [
    ["02 16", ["0218"]],
    ["03 01 00", ["030201"]],
    ["07 04 0C 01 00 00 61", ["0206"]],
    ["06 07 30 61 2F 77", ["0208"]],
    ["05 09 62 79 65", ["030500"]],
    ["07 12 22 00 01 61 62", ["0813200000000100"]],
    // Its own PUBLISH comes back to it, and again as it is not answered.
    [
      "08 0C 22 61 62 00 02 78",
      ["070d6162000200", "080c226162000178", "080ca26162000178"],
    ],
  ];
  for (const [asked, answers] of steps) {
    client.send({ hex: asked });
    for (const answer of answers) {
      const [from, bytes] = await client.next();
      assertEquals([from, bytes.toHex()], [broker.address.key, answer]);
    }
  }
  client.send({ text: '{"type":"publish","topic":"t","data":"x"}' });
  client.send({ hex: "02 18" });
  for (let isOver = false; !isOver;) {
    const [from, bytes] = await client.next();
    assertEquals(from, broker.address.key);
    isOver = bytes.toHex() === "0218";
  }
});

Deno.test("§17 the length takes three octets from 256 on, never below", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, { short: "ab" });
  for (let size = 0; size <= 300; size++) {
    const data = "x".repeat(size);
    bench.publish(BOB, { short: "ab" }, data, { qos: -1 });
    const total = 7 + size;
    const length = total < 256
      ? total.toString(16).padStart(2, "0")
      : "01" + (total + 2).toString(16).padStart(4, "0");
    assertEquals(bench.wire, [
      `${length}0c0261620000${"78".repeat(size)}`,
    ]);
  }
});

Deno.test("§17 a REGISTER takes the long form as well, when it is needed", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "#");
  bench.connect(BOB, "bob");
  for (const [size, head] of [[249, "ff0a"], [250, "0101020a"]] as const) {
    const id = bench.register(BOB, "n".repeat(size));
    answerAll(bench, ANN, bench.publish(BOB, { id }, "x"));
    // What was sent first is gone from the wire by now: ask once more.
    bench.connect(ANN, "ann", { duration: size });
    bench.subscribe(ANN, "#");
    bench.publish(BOB, { id }, "x");
    assertEquals(bench.wire.map((hex) => hex.slice(0, head.length)), [head]);
  }
});

Deno.test("§17 DISCONNECT is answered, whoever sends it and in whatever state", () => {
  const bench = new GatewayBench();
  const gone = [[ANN.key, DISCONNECT]] as ReturnType<GatewayBench["take"]>;
  bench.connect(ANN, "ann");
  assertEquals(bench.take(ANN, "02 18"), gone);
  assertEquals(bench.take(ANN, "02 18"), gone); // its answer was lost
  bench.connect(ANN, "ann");
  assertEquals(bench.sleep(ANN, 10), gone);
  assertEquals(bench.sleep(ANN, 10), gone);
  assertEquals(bench.take(ANN, "02 18"), gone);
  assertEquals(bench.sleep(ANN, 10), gone); // though it is not connected
  assertEquals(bench.stats.clients.total, 0);
});

Deno.test("§17 DISCONNECT is answered before all that is still on its way", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "ab", 1);
  bench.connect(BOB, "bob");
  for (let msgId = 1; msgId <= 3; msgId++) {
    bench.publish(BOB, { short: "ab" }, "x", { qos: 1, msgId });
  }
  assertEquals(bench.take(ANN, "02 18"), [[ANN.key, DISCONNECT]]);
  assertEquals(bench.run(100_000), []);
});

Deno.test("§17 PUBACK carries the topic id of the PUBLISH", () => {
  const bench = new GatewayBench({ predefined: new Map([[5, "five"]]) });
  bench.connect(ANN, "ann");
  bench.register(ANN, "a");
  const id = bench.register(ANN, "b");
  bench.publish(ANN, { id }, "x", { qos: 1, msgId: 1 });
  assertEquals(bench.wire, ["070d0002000100"]);
  bench.publish(ANN, { short: "ab" }, "x", { qos: 1, msgId: 2 });
  assertEquals(bench.wire, ["070d6162000200"]);
  bench.publish(ANN, { predefined: 5 }, "x", { qos: 1, msgId: 3 });
  assertEquals(bench.wire, ["070d0005000300"]);
  bench.publish(ANN, { id: 77 }, "x", { qos: 1, msgId: 4 });
  assertEquals(bench.wire, ["070d004d000402"]);
});

Deno.test("§17 SUBACK carries 0 for a short topic and for a wildcard", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  for (
    const hex of [
      "07 12 02 00 05 61 62",
      "07 12 00 00 05 61 23", // "a#" is refused, with 0 too
      "08 12 00 00 05 61 2F 23",
      "06 12 00 00 05 2B",
    ]
  ) {
    bench.take(ANN, hex);
    assertEquals(bench.wire.map((sent) => sent.slice(6, 10)), ["0000"]);
  }
});

Deno.test("§17 a REGISTER with msgId 0 is answered with msgId 0", () => {
  for (const strict of [false, true]) {
    const bench = new GatewayBench({ strict });
    bench.connect(ANN, "ann");
    bench.take(ANN, "07 0A 00 00 00 00 61");
    assertEquals(bench.wire, ["070b0001000000"]);
    bench.take(ANN, "07 0A 00 00 00 00 23");
    assertEquals(bench.wire, ["070b0000000003"]);
  }
});

Deno.test("§17 a sleeper wakes by PINGREQ without a client id, from its address", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const topicId = subscribedId(bench.subscribe(ANN, "ab", 1));
  bench.sleep(ANN, 600);
  bench.publish(FAR, { short: "ab" }, "one", { qos: -1 });
  assertEquals(bench.publish(FAR, { short: "ab" }, "two", { qos: -1 }), []);
  assertEquals(bench.take(ANN, "02 16"), [
    [ANN.key, publishOf(topicId, "one")],
    [ANN.key, publishOf(topicId, "two")],
    [ANN.key, PINGRESP],
  ]);
  assertEquals(bench.stats.clients.asleep, 1);
  assertEquals(bench.take(ANN, "02 16"), [[ANN.key, PINGRESP]]);
});

for (const returnCode of [2, 3]) {
  for (const topic of ["ab", { short: "ab" }] as const) {
    const name = typeof topic === "string" ? "an id" : "a short name";
    Deno.test(`§17 a sleeper that has forgotten ${name}, and says 0${returnCode}, is told again`, () => {
      const bench = new GatewayBench();
      bench.connect(ANN, "ann");
      bench.subscribe(ANN, topic, 1);
      bench.connect(BOB, "bob");
      bench.sleep(ANN, 600);
      bench.publish(BOB, { short: "ab" }, "x", { qos: 1 });
      const [first] = packetsTo(ANN, bench.wake(ANN, "ann"));
      assert(first?.type === "PUBLISH");
      const { topicId, msgId } = first;
      const puback = { type: "PUBACK", topicId, msgId, returnCode } as const;
      const sent = bench.take(ANN, puback);
      const [register] = packetsTo(ANN, sent);
      assertEquals(
        register?.type === "REGISTER" && register.topicName,
        "ab",
      );
      const seen = answerAll(bench, ANN, sent);
      assertEquals(seen.map(({ type }) => type), [
        "REGISTER",
        "PUBLISH",
        "PINGRESP",
      ]);
      const again = seen[1]!;
      assert(again.type === "PUBLISH" && again.topicIdType === "normal");
      assertEquals([again.dup, again.msgId, textOf(again)], [true, msgId, "x"]);
      assertEquals([bench.stats.clients.asleep, bench.stats.queued], [1, 0]);
    });
  }
}

Deno.test("§17 a PUBLISH left unanswered while a client waits for SUBACK comes again", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const topicId = subscribedId(bench.subscribe(ANN, "ab", 1));
  bench.connect(BOB, "bob");
  const sent = bench.publish(BOB, { short: "ab" }, "x", { qos: 1 });
  const publish = publishOf(topicId, "x", { qos: 1, msgId: 1 });
  assertEquals(packetsTo(ANN, sent), [publish]);
  // The answer to SUBSCRIBE does not wait for it, and is not held up by it.
  bench.advance(1_000);
  assertEquals(bench.subscribe(ANN, "cd", 1).length, 1);
  assertEquals(bench.advance(RETRY_MS - 1_000), [
    [ANN.key, { ...publish, dup: true }],
  ]);
  bench.take(ANN, { type: "PUBACK", topicId, msgId: 1, returnCode: 0 });
  assertEquals(bench.run(100_000), []);
});

Deno.test("§17 a PUBLISH left unanswered while a client waits for DISCONNECT comes when it is back", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann", { cleanSession: false });
  bench.subscribe(ANN, { short: "ab" }, 1);
  bench.connect(BOB, "bob");
  const sent = bench.publish(BOB, { short: "ab" }, "x", { qos: 1 });
  const [publish] = packetsTo(ANN, sent);
  assertEquals(bench.take(ANN, "02 18"), [[ANN.key, DISCONNECT]]);
  assertEquals(bench.run(100_000), []);
  assertEquals(bench.connect(ANN, "ann", { cleanSession: false }), [
    [ANN.key, CONNACK],
    [ANN.key, { ...publish, dup: true } as MqttSnPacket],
  ]);
});

for (const qos of [1, 2] as const) {
  Deno.test(`§17 a client's own message at QoS ${qos} comes back after its acknowledgement`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann");
    const topicId = subscribedId(bench.subscribe(ANN, "ab", qos));
    const sent = bench.publish(ANN, { id: topicId }, "x", { qos, msgId: 77 });
    assertEquals(sent, [
      [
        ANN.key,
        qos === 1
          ? { type: "PUBACK", topicId, msgId: 77, returnCode: 0 }
          : { type: "PUBREC", msgId: 77 },
      ],
      [ANN.key, publishOf(topicId, "x", { qos, msgId: 1 })],
    ]);
  });
}

Deno.test("§17 /# as a short topic is a filter", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.take(ANN, "07 12 02 00 05 2F 23");
  assertEquals(bench.wire, ["0813000000000500"]);
  bench.connect(BOB, "bob");
  const id = bench.register(BOB, "/a/b");
  const topicName = "/a/b";
  assertEquals(bench.publish(BOB, { id }, "x"), [
    [ANN.key, { type: "REGISTER", topicId: 1, msgId: 1, topicName }],
  ]);
  assertEquals(bench.take(ANN, "07 0B 00 01 00 01 00"), [
    [ANN.key, publishOf(1, "x")],
  ]);
  assertEquals(bench.publish(BOB, { short: "ab" }, "no"), []);
  bench.take(ANN, "07 14 02 00 06 2F 23");
  assertEquals(bench.wire, ["04150006"]);
  assertEquals(bench.stats.subscriptions, 0);
});

Deno.test("§17 /# as a short topic is refused with 03 where rules are strict", () => {
  const bench = new GatewayBench({ strict: true });
  bench.connect(ANN, "ann");
  bench.take(ANN, "07 12 02 00 05 2F 23");
  assertEquals(bench.wire, ["0813000000000503"]);
  const { subscriptions, refused } = bench.stats;
  assertEquals([subscriptions, refused.topicName], [0, 1]);
});

Deno.test("§17 GWINFO goes to who asked, and to all", () => {
  const bench = new GatewayBench({ gwId: 9 });
  const gwInfo = { type: "GWINFO", gwId: 9, gwAdd: new Uint8Array() } as const;
  assertEquals(bench.take(FAR, "03 01 00"), [
    [FAR.key, gwInfo],
    [EVERYBODY, gwInfo],
  ]);
  // It has no address: the datagram's source is the gateway's.
  assertEquals(bench.wire, ["030209", "030209"]);
});

Deno.test("§17 an empty client id is refused with 03", () => {
  const bench = new GatewayBench();
  for (const will of [false, true]) {
    bench.connect(ANN, "", { will });
    assertEquals(bench.wire, ["030503"]);
  }
  const { clients, refused } = bench.stats;
  assertEquals([clients.total, refused.clientId], [0, 2]);
});

Deno.test("§17 an empty client id becomes one of its own for each client, when that is allowed", () => {
  const bench = new GatewayBench({ allowEmptyClientId: true });
  assertEquals(bench.connect(ANN, ""), [[ANN.key, CONNACK]]);
  assertEquals(bench.connect(BOB, ""), [[BOB.key, CONNACK]]);
  assertEquals(bench.stats.clients.active, 2);
  const ids = bench.events.flatMap((event) =>
    event.type === "connect" ? [event.clientId] : []
  );
  assertEquals(new Set(ids).size, 2);
  assert(ids.every((id) => id !== ""));
  assertEquals(bench.take(ANN, "02 16"), [[ANN.key, PINGRESP]]);
});

Deno.test("§17 payloads of 230 to 270 octets arrive as they are, at every QoS", () => {
  for (const qos of [0, 1, 2] as const) {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann");
    const topicId = subscribedId(bench.subscribe(ANN, "ab", qos));
    bench.connect(BOB, "bob");
    const id = bench.register(BOB, "ab");
    for (let size = 230; size <= 270; size++) {
      const data = Uint8Array.from({ length: size }, (_, i) => i ^ size);
      const msgId = qos === 0 ? 0 : size;
      const options = { qos, msgId, data };
      const sent = bench.publish(BOB, { id }, "", options);
      const [publish] = packetsTo(ANN, sent);
      assert(publish?.type === "PUBLISH");
      assertEquals(
        publish,
        publishOf(topicId, data, { qos, msgId: publish.msgId }),
      );
      const last = octets(bench.wire.at(-1)!);
      assertEquals(last.subarray(-size), data);
      answerAll(bench, ANN, sent);
      bench.take(BOB, { type: "PUBREL", msgId });
    }
    assertEquals([bench.stats.queued, bench.stats.published], [0, 41]);
  }
});

Deno.test("§17 payloads of 230 to 270 octets arrive in either form of the length", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, { short: "ab" });
  for (let size = 230; size <= 270; size++) {
    const data = "78".repeat(size);
    const long = "01" + (9 + size).toString(16).padStart(4, "0");
    bench.take(FAR, `${long}0C62 6162 0000 ${data}`);
    const sent = bench.wire[0]!;
    assertEquals(sent.slice(-data.length - 12), `0c0261620000${data}`);
    if (7 + size > 255) continue;
    bench.take(FAR, `${(7 + size).toString(16)}0C62 6162 0000 ${data}`);
    assertEquals(bench.wire, [sent]);
  }
});

Deno.test("§17 a datagram of 2,084 octets is read, delivered and survived", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, { short: "ab" });
  const data = "78".repeat(2_084 - 9);
  bench.take(FAR, `01 08 24 0C 62 61 62 00 00 ${data}`);
  assertEquals(bench.wire, [`0108240c0261620000${data}`]);
  for (const octet of ["00", "01", "02", "7b", "fe", "ff"]) {
    assertEquals(bench.take(FAR, octet.repeat(2_084)), []);
  }
  assertEquals(bench.take(ANN, "02 16"), [[ANN.key, PINGRESP]]);
});

Deno.test("§17 a datagram of 2,084 octets leaves a broker at a socket alive", async () => {
  await using broker = await Broker.listen({ port: 0 });
  await using client = await SocketClient.towards(broker.address);
  client.send({ hex: "ff".repeat(2_084) });
  client.send({ hex: "01 08 24 0C 62 61 62 00 00" + "78".repeat(2_075) });
  assertEquals(await client.ask("07 04 04 01 00 00 61"), "030500");
  const { failures, dropped, mqttsn } = broker.stats();
  assertEquals([failures, dropped.malformed, mqttsn.published], [0, 1, 1]);
});

for (const qos of [1, 2] as const) {
  Deno.test(`§17 delivery at QoS ${qos} goes on, in order, once a queue has formed`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann");
    bench.subscribe(ANN, "ab", qos);
    bench.connect(BOB, "bob");
    const sent: ReturnType<GatewayBench["take"]> = [];
    for (let i = 1; i <= 200; i++) {
      const options = { qos, msgId: i };
      sent.push(...bench.publish(BOB, { short: "ab" }, `${i}`, options));
      bench.take(BOB, { type: "PUBREL", msgId: i });
    }
    assertEquals(packetsTo(ANN, sent).length, 1);
    assertEquals(bench.stats.queued, 200);
    const seen = answerAll(bench, ANN, sent);
    assertEquals(
      seen.filter(({ type }) => type === "PUBLISH").map(textOf),
      Array.from({ length: 200 }, (_, i) => `${i + 1}`),
    );
    assertEquals([bench.stats.queued, bench.stats.queueMemory], [0, 0]);
    assertEquals(bench.stats.retried, 0);
  });
}

Deno.test("§17 delivery goes on in order when answers are lost while a queue has formed", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "ab", 1);
  bench.connect(BOB, "bob");
  const queue: MqttSnPacket[] = [];
  for (let i = 1; i <= 10; i++) {
    const options = { qos: 1, msgId: i } as const;
    const sent = bench.publish(BOB, { short: "ab" }, `${i}`, options);
    queue.push(...packetsTo(ANN, sent));
  }
  const seen: string[] = [];
  for (let packet; (packet = queue.shift()) !== undefined;) {
    assert(packet.type === "PUBLISH");
    seen.push(`${textOf(packet)}${packet.dup ? " again" : ""}`);
    const { topicId, msgId, dup } = packet;
    // Each first PUBLISH is left unanswered.
    const sent = dup
      ? bench.take(ANN, { type: "PUBACK", topicId, msgId, returnCode: 0 })
      : bench.run(RETRY_MS);
    queue.push(...packetsTo(ANN, sent));
  }
  assertEquals(
    seen,
    Array.from({ length: 10 }, (_, i) => [`${i + 1}`, `${i + 1} again`]).flat(),
  );
  assertEquals([bench.stats.queued, bench.stats.clients.active], [0, 2]);
});

Deno.test("§17 keep alive expires: for who never speaks, and for who has spoken", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann", { duration: 10 });
  bench.connect(BOB, "bob", { duration: 10 });
  for (let i = 0; i < 10; i++) {
    bench.run(10_000);
    assertEquals(bench.take(BOB, "02 16"), [[BOB.key, PINGRESP]]);
  }
  assertEquals(bench.stats.lostBy.silence, 1);
  bench.run(14_999);
  assertEquals(bench.stats.clients.active, 1);
  bench.run(1);
  assertEquals([bench.stats.clients.total, bench.stats.lostBy.silence], [0, 2]);
  assertEquals(bench.router.nextTimeout(), undefined);
});

Deno.test("§17 keep alive expires although messages are sent to the client", () => {
  const bench = new GatewayBench({ retries: RETRIES });
  bench.connect(ANN, "ann", { duration: 10 });
  bench.subscribe(ANN, "ab");
  for (let i = 0; i < 14; i++) {
    bench.run(1_000);
    bench.publish(FAR, { short: "ab" }, "x", { qos: -1 });
  }
  bench.run(1_000);
  assertEquals(bench.stats.lostBy.silence, 1);
  assertEquals(bench.publish(FAR, { short: "ab" }, "x", { qos: -1 }), []);
});
