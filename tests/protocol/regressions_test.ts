import { assert, assertEquals } from "@std/assert";
import { Broker } from "../../broker.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import {
  answerAll,
  GatewayBench,
  GOODBYE,
  packetsTo,
  PONG,
  publishOf,
  publishTo,
  regack,
  SocketClient,
  subscribedId,
  textOf,
  to,
} from "../support/gateway.ts";
import { ANN, BOB, CYD } from "../support/router.ts";

const CONNACK = { type: "CONNACK", returnCode: 0 } as const;

/** T_retry as it is unless told. */
const RETRY_MS = 10_000;

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** The types of what a peer was sent, in order. */
function typesTo(
  peer: Peer,
  sent: readonly (readonly [string, MqttSnPacket])[],
): string[] {
  return packetsTo(peer, sent).map(({ type }) => type);
}

/** Hands over a packet in a buffer that then holds something else. */
function takeAndOverwrite(bench: GatewayBench, packet: MqttSnPacket): void {
  const buffer = encodePacket(packet);
  bench.take(ANN, buffer);
  buffer.fill(0x2a);
}

function willTopic(topicName: string): MqttSnPacket {
  return { type: "WILLTOPIC", will: { qos: 0, retain: false, topicName } };
}

function willMsg(data: string): MqttSnPacket {
  return { type: "WILLMSG", data: encode(data) };
}

/** A bench with one message that is retained. */
function withRetained(topic: string, data: string): GatewayBench {
  const bench = new GatewayBench();
  bench.connect(BOB, "bob");
  const id = bench.register(BOB, topic);
  bench.publish(BOB, { id }, data, { retain: true });
  return bench;
}

// Retained messages

Deno.test("A message has Retain for whoever subscribes after it was sent live, and only there", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.connect(BOB, "bob");
  bench.connect(CYD, "cyd");
  bench.subscribe(ANN, "lamp");
  const id = bench.register(BOB, "lamp");
  // Both know the topic by the same id: nothing else tells the copies apart.
  assertEquals(
    packetsTo(ANN, bench.publish(BOB, { id }, "on", { retain: true })),
    [publishOf(1, "on", { retain: false })],
  );
  assertEquals(
    packetsTo(CYD, bench.subscribe(CYD, "lamp")).at(-1),
    publishOf(1, "on", { retain: true }),
  );
});

Deno.test("A SUBSCRIBE that comes again within T_retry gets SUBACK alone, a later one what is retained too", () => {
  const bench = withRetained("lamp", "on");
  bench.connect(ANN, "ann");
  assertEquals(typesTo(ANN, bench.subscribe(ANN, "lamp")), [
    "SUBACK",
    "PUBLISH",
  ]);
  bench.advance(RETRY_MS - 1);
  assertEquals(typesTo(ANN, bench.subscribe(ANN, "lamp")), ["SUBACK"]);
  bench.advance(RETRY_MS);
  assertEquals(typesTo(ANN, bench.subscribe(ANN, "lamp")), [
    "SUBACK",
    "PUBLISH",
  ]);
  assertEquals(bench.stats.repeated, 1);
});

Deno.test("A CONNECT that keeps the session lets the same SUBSCRIBE get what is retained again", () => {
  const bench = withRetained("lamp", "on");
  bench.connect(ANN, "ann", { cleanSession: false });
  bench.subscribe(ANN, "lamp", 1);
  // Another keep alive: else it would be the same CONNECT, come twice.
  bench.connect(ANN, "ann", { cleanSession: false, duration: 60 });
  const sent = bench.subscribe(ANN, "lamp", 1);
  assertEquals(typesTo(ANN, sent), ["SUBACK", "PUBLISH"]);
});

// Wills

Deno.test("A will is published as it came, whatever its datagram's buffer holds since", () => {
  const bench = new GatewayBench();
  bench.connect(BOB, "bob");
  bench.subscribe(BOB, "will");
  bench.connect(ANN, "ann", { will: true, duration: 10 });
  bench.take(ANN, willTopic("will"));
  takeAndOverwrite(bench, willMsg("gone"));
  assertEquals(packetsTo(BOB, bench.run(20_000)).map(textOf), ["gone"]);
});

Deno.test("A will's new message is published as it came, whatever its datagram's buffer holds since", () => {
  const bench = new GatewayBench();
  bench.connect(BOB, "bob");
  bench.subscribe(BOB, "will");
  const will = { topicName: "will", data: "old" };
  bench.connectWithWill(ANN, "ann", will, { duration: 10 });
  takeAndOverwrite(bench, { type: "WILLMSGUPD", data: encode("new") });
  assertEquals(packetsTo(BOB, bench.run(20_000)).map(textOf), ["new"]);
});

for (
  const [how, end] of [
    ["nothing follows", (bench: GatewayBench) => bench.run(10 * RETRY_MS)],
    ["it disconnects", (bench: GatewayBench) => bench.take(ANN, GOODBYE)],
    [
      "it connects without a will",
      (bench: GatewayBench) => {
        bench.connect(ANN, "ann");
        bench.take(ANN, GOODBYE);
      },
    ],
  ] as const
) {
  Deno.test(`A client that repeats the topic of its will takes no memory once ${how}`, () => {
    const bench = new GatewayBench();
    bench.connect(ANN, "ann", { will: true });
    for (const topicName of ["will", "a/longer/will", "w", "w"]) {
      assertEquals(bench.take(ANN, willTopic(topicName)), [
        to(ANN, { type: "WILLMSGREQ" }),
      ]);
      assertEquals(bench.stats.nameMemory, topicName.length * 2);
    }
    end(bench);
    assertEquals([bench.stats.prompts, bench.stats.nameMemory], [0, 0]);
  });
}

Deno.test("A client that disconnects while it is asked for its will is not connected by the rest of it", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.connect(ANN, "ann", { will: true });
  bench.take(ANN, willTopic("will"));
  assertEquals(bench.take(ANN, GOODBYE), [to(ANN, GOODBYE)]);
  assertEquals(bench.stats.prompts, 0);
  assertEquals(bench.take(ANN, willMsg("gone")), [to(ANN, GOODBYE)]);
  assertEquals([bench.stats.connected, bench.stats.clients.total], [1, 0]);
});

Deno.test("A WILLMSG that comes late is not accepted after a CONNECT without will", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  assertEquals(bench.take(ANN, willMsg("gone")), []);
  assertEquals(bench.router.stats().dropped.unexpected, 1);
});

// Topics

Deno.test("A topic that a client refused is offered again after it subscribes to it by another filter", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.connect(BOB, "bob");
  bench.subscribe(ANN, "room/+");
  const id = bench.register(BOB, "room/lamp");
  const [offer] = packetsTo(ANN, bench.publish(BOB, { id }, "1"));
  assert(offer?.type === "REGISTER");
  bench.take(ANN, regack(offer.topicId, offer.msgId, 2));
  assertEquals(bench.publish(BOB, { id }, "2"), []);
  // One that does not match it changes nothing.
  bench.subscribe(ANN, "hall/#");
  assertEquals(bench.publish(BOB, { id }, "3"), []);

  bench.subscribe(ANN, "room/#");
  const seen = answerAll(bench, ANN, bench.publish(BOB, { id }, "4"));
  assertEquals(seen.map(({ type }) => type), ["REGISTER", "PUBLISH"]);
  assertEquals(textOf(seen[1]), "4");
});

Deno.test("A topic that a client unsubscribed from makes room for another one", () => {
  const bench = new GatewayBench({ maxTopicIds: 1 });
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "lamp");
  const [refused] = packetsTo(ANN, bench.subscribe(ANN, "door"));
  assert(refused?.type === "SUBACK" && refused.returnCode === 1);
  bench.unsubscribe(ANN, "lamp");
  assertEquals(subscribedId(bench.subscribe(ANN, "door")), 2);
});

// Deliveries

Deno.test("A PUBREC that comes twice is answered with PUBREL at once, twice", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.connect(BOB, "bob");
  bench.subscribe(ANN, { short: "ab" }, 2);
  const [sent] = packetsTo(
    ANN,
    bench.publish(BOB, { short: "ab" }, "x", { qos: 2 }),
  );
  assert(sent?.type === "PUBLISH");
  const { msgId } = sent;
  const released = [to(ANN, { type: "PUBREL", msgId })];
  assertEquals(bench.take(ANN, { type: "PUBREC", msgId }), released);
  assertEquals(bench.take(ANN, { type: "PUBREC", msgId }), released);
  assertEquals([bench.stats.retried, bench.router.stats().dropped.lateAck], [
    0,
    0,
  ]);
  assertEquals(bench.take(ANN, { type: "PUBCOMP", msgId }), []);
  assertEquals(bench.stats.queued, 0);
});

Deno.test("A session with nothing but an unreleased message is kept, and publishes it once", () => {
  const bench = new GatewayBench();
  bench.connect(BOB, "bob");
  bench.subscribe(BOB, { short: "ab" });
  bench.connect(ANN, "ann", { cleanSession: false });
  const message = { qos: 2, msgId: 7 } as const;
  const first = bench.publish(ANN, { short: "ab" }, "x", message);
  assertEquals(first, [
    to(ANN, { type: "PUBREC", msgId: 7 }),
    publishTo(BOB, { short: "ab" }, "x"),
  ]);
  bench.take(ANN, GOODBYE);
  assertEquals(bench.stats.clients.disconnected, 1);

  bench.connect(ANN, "ann", { cleanSession: false });
  const again = { ...message, dup: true };
  assertEquals(bench.publish(ANN, { short: "ab" }, "x", again), [
    to(ANN, { type: "PUBREC", msgId: 7 }),
  ]);
  assertEquals([bench.stats.published, bench.stats.repeated], [1, 1]);
});

Deno.test("A full queue does not refuse what its client gets at QoS 0", () => {
  const bench = new GatewayBench({ maxQueue: 1, overflow: "refuse" });
  bench.connect(ANN, "ann");
  bench.connect(BOB, "bob");
  bench.subscribe(ANN, { short: "q1" }, 1);
  bench.subscribe(ANN, { short: "q0" }, 0);
  bench.sleep(ANN, 60);
  /** The code that a publish at QoS 1 is answered with. */
  const codeOf = (short: string): number | undefined => {
    const [answer] = packetsTo(
      BOB,
      bench.publish(BOB, { short }, "x", { qos: 1 }),
    );
    return answer?.type === "PUBACK" ? answer.returnCode : undefined;
  };
  assertEquals([codeOf("q1"), codeOf("q1"), codeOf("q0")], [0, 1, 0]);
  assertEquals(bench.stats.refused.queue, 1);
});

// The broker's own topics

Deno.test("$SYS tells everybody who subscribes within a second the same values", () => {
  const topic = "$SYS/broker/datagrams/received";
  const bench = new GatewayBench();
  for (const [index, peer] of [ANN, BOB, CYD].entries()) {
    bench.connect(peer, `client ${index}`);
  }
  const told = (peer: Peer): string[] =>
    packetsTo(peer, bench.subscribe(peer, topic)).slice(1).map(textOf);
  assertEquals(told(ANN), ["4"]);
  bench.advance(400);
  assertEquals(told(BOB), ["4"]);
  bench.advance(400);
  assertEquals(told(CYD), ["4"]);
  // And nobody has to wait for longer because others came meanwhile.
  bench.advance(199);
  const sent = bench.advance(1);
  for (const peer of [ANN, BOB, CYD]) {
    assertEquals(packetsTo(peer, sent).map(textOf), ["6"]);
  }
});

Deno.test("$SYS is forgotten when nobody subscribes any more, and then told whole and new", () => {
  const bench = new GatewayBench({ version: "1.2.3" });
  bench.connect(ANN, "ann");
  answerAll(bench, ANN, bench.subscribe(ANN, "$SYS/broker/+"));
  bench.unsubscribe(ANN, "$SYS/broker/+");
  // Past the retry of the last REGISTER, which was scheduled before its answer.
  bench.run(12_000);
  assertEquals(bench.router.nextTimeout(), undefined);

  const sent = bench.subscribe(ANN, "$SYS/broker/+");
  const told = answerAll(bench, ANN, sent).filter(({ type }) =>
    type === "PUBLISH"
  );
  assertEquals(told.map(textOf).sort(), ["12 seconds", "mock-mqtt 1.2.3"]);
});

// Addresses

Deno.test("A client that moves to an address ends the asking for a will there", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.connect(BOB, "bob", { will: true });
  bench.take(BOB, willTopic("will"));
  assertEquals(bench.wake(BOB, "ann"), [to(BOB, PONG)]);
  assertEquals([bench.stats.prompts, bench.stats.moved], [0, 1]);
  assertEquals(bench.take(BOB, willMsg("gone")), []);
  assertEquals([bench.stats.clients.total, bench.stats.connected], [1, 1]);
});

Deno.test("A publish without connection counts against the rate on this machine too", () => {
  const bench = new GatewayBench({ maxRate: 2 });
  const publish = () => bench.publish(ANN, { short: "ab" }, "x", { qos: -1 });
  for (let index = 0; index < 5; index++) assertEquals(publish(), []);
  assertEquals(bench.stats.qosMinusOne, 2);
  assertEquals(bench.router.stats().dropped.qosMinusOne, 3);
  bench.advance(1_000);
  publish();
  assertEquals(bench.stats.qosMinusOne, 3);
});

Deno.test("A client is heard of when it connects with a will from another address", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann", { duration: 10 });
  bench.run(14_000);
  bench.connect(BOB, "ann", { duration: 10, will: true });
  // The keep alive of the session that it has is over, counted from the first.
  bench.run(5_000);
  bench.take(BOB, willTopic("will"));
  assertEquals(
    [bench.stats.clients.active, bench.stats.lostBy.silence],
    [1, 0],
  );
  assertEquals(bench.take(BOB, willMsg("gone")).at(-1), to(BOB, CONNACK));
  assertEquals([bench.stats.takenOver, bench.stats.wills], [1, 0]);
});

// What goes wrong on a network

Deno.test("A sleeping client whose PINGRESP was lost asks again and is answered", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.connect(BOB, "bob");
  bench.subscribe(ANN, { short: "ab" }, 1);
  bench.sleep(ANN, 60);
  bench.publish(BOB, { short: "ab" }, "x", { qos: 1 });
  const seen = answerAll(bench, ANN, bench.wake(ANN, "ann"));
  assertEquals(seen.map(({ type }) => type), ["PUBLISH", "PINGRESP"]);
  bench.advance(5_000);
  assertEquals(bench.wake(ANN, "ann"), [to(ANN, PONG)]);
  assertEquals([bench.stats.clients.asleep, bench.stats.delivered], [1, 1]);
});

Deno.test("A broker that was started anew tells a client that wakes that it is not connected", () => {
  const old = new GatewayBench();
  old.connect(ANN, "ann", { cleanSession: false });
  old.sleep(ANN, 60);

  const bench = new GatewayBench();
  assertEquals(bench.wake(ANN, "ann"), [to(ANN, GOODBYE)]);
  assertEquals(bench.stats.clients.total, 0);
  assertEquals(bench.connect(ANN, "ann", { cleanSession: false }), [
    to(ANN, CONNACK),
  ]);
});

for (const will of [false, true]) {
  const kind = will ? "with a will" : "without a will";
  Deno.test(`A copy of a CONNECT ${kind} that was asked twice comes late, and changes nothing`, () => {
    const bench = new GatewayBench();
    const connect = () => {
      const sent = bench.connect(ANN, "ann", { will });
      if (!will || sent[0]?.[1].type === "CONNACK") return sent;
      bench.take(ANN, willTopic("gone"));
      return bench.take(ANN, willMsg("bye"));
    };
    assertEquals(connect(), [to(ANN, CONNACK)]);
    // That answer was lost.
    bench.advance(RETRY_MS - 100);
    assertEquals(bench.connect(ANN, "ann", { will }), [to(ANN, CONNACK)]);
    bench.subscribe(ANN, "lamp");
    bench.advance(200);
    assertEquals(bench.connect(ANN, "ann", { will }), [to(ANN, CONNACK)]);
    assertEquals([bench.stats.subscriptions, bench.stats.repeated], [1, 2]);
  });
}

/** Sources that nobody need be at, each of another address. */
function* sources(): Generator<Peer> {
  for (let index = 0; index < 10_000; index++) {
    yield peerOf(`198.18.${index >> 8}.${index & 255}`, 4711);
  }
}

Deno.test("10,000 sources that connect fill the table of clients, and no more", () => {
  const bench = new GatewayBench({ maxClients: 100 });
  const codes = [0, 0];
  for (const peer of sources()) {
    const sent = bench.connect(peer, peer.hostname, { duration: 10 });
    assertEquals(sent.length, 1);
    const packet = sent[0]![1];
    assert(packet.type === "CONNACK");
    codes[packet.returnCode]!++;
  }
  assertEquals(codes, [100, 9_900]);
  const { clients, refused } = bench.stats;
  assertEquals([clients.maximum, refused.clients], [100, 9_900]);
  // Those who are not there go, and leave their places.
  bench.run(20_000);
  assertEquals([bench.stats.clients.total, bench.stats.nameMemory], [0, 0]);
  assertEquals(bench.connect(ANN, "ann"), [to(ANN, CONNACK)]);
});

Deno.test("10,000 sources that announce a will are asked for it, no more than there is room for", () => {
  const bench = new GatewayBench({ maxClients: 100 });
  for (const peer of sources()) {
    const sent = bench.connect(peer, peer.hostname, { will: true });
    assertEquals(sent, [to(peer, { type: "WILLTOPICREQ" })]);
    bench.take(peer, willTopic("will"));
    assert(bench.stats.prompts <= 100);
  }
  const { clients, promptsExpired, nameMemory } = bench.stats;
  assertEquals([clients.maximum, promptsExpired, nameMemory], [0, 9_900, 800]);
  bench.run(10 * RETRY_MS);
  assertEquals([bench.stats.prompts, bench.stats.nameMemory], [0, 0]);
});

Deno.test("10,000 sources that ask whether they are connected are told so, as many as are followed", () => {
  const bench = new GatewayBench({ maxSources: 100 });
  let answered = 0;
  for (const peer of sources()) {
    const sent = bench.wake(peer, peer.hostname);
    if (sent.length === 0) continue;
    assertEquals(sent, [to(peer, GOODBYE)]);
    answered++;
  }
  const { dropped } = bench.router.stats();
  assertEquals([answered, dropped.quiet], [100, 9_900]);
  assertEquals(bench.stats.clients.total, 0);
  // A client that has a place is served meanwhile, and others are later.
  bench.connect(ANN, "ann");
  assertEquals(bench.wake(ANN, "ann"), [to(ANN, PONG)]);
  bench.advance(1_000);
  assertEquals(bench.wake(BOB, "bob"), [to(BOB, GOODBYE)]);
});

Deno.test("Broker delivers the longest PUBLISH that UDP carries whole", async () => {
  await using broker = await Broker.listen({ port: 0 });
  await using ann = await SocketClient.towards(broker.address);
  await using bob = await SocketClient.towards(broker.address);
  assertEquals(await ann.ask("09 04 04 01 00 00 61 6E 6E"), "030500");
  assertEquals(await bob.ask("09 04 04 01 00 00 62 6F 62"), "030500");
  assertEquals(await ann.ask("07 12 02 00 01 61 62"), "0813000000000100");

  const data = Uint8Array.from({ length: 65_498 }, (_, index) => index % 251);
  const bytes = encodePacket(
    publishOf(0x6162, data, { topicIdType: "short", qos: 1, msgId: 3 }),
  );
  assertEquals(bytes.length, 65_507);
  assertEquals(await bob.ask(bytes.toHex()), "070d6162000300");
  const [, delivered] = await ann.next();
  // Compared as they are: a difference would be a page of octets.
  const expected = encodePacket(
    publishOf(0x6162, data, { topicIdType: "short" }),
  );
  assertEquals(delivered.length, 65_507);
  assert(delivered.every((octet, index) => octet === expected[index]));
  assertEquals(broker.stats().mqttsn.delivered, 1);
});
