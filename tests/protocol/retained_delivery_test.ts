import { assert, assertEquals } from "@std/assert";
import { peerOf } from "../../base/peer.ts";
import { GatewayBench, packetsTo, textOf } from "../support/gateway.ts";
import { ANN, BOB } from "../support/router.ts";

const WILD = 3_000;

/** A broker with so many retained messages, at QoS 1 each. */
function withRetained(count: number, options = {}): GatewayBench {
  const bench = new GatewayBench(options);
  bench.connect(BOB, "bob");
  for (let i = 0; i < count; i++) {
    const id = bench.register(BOB, `t/${i}`);
    bench.publish(BOB, { id }, `${i}`, { qos: 1, retain: true });
  }
  return bench;
}

/** Answers REGISTER and PUBLISH until nothing comes; gives the payloads. */
function collect(bench: GatewayBench, first: ReturnType<GatewayBench["take"]>) {
  const texts: string[] = [];
  for (let sent = first; sent.length > 0;) {
    const next: typeof sent = [];
    for (const packet of packetsTo(ANN, sent)) {
      if (packet.type === "REGISTER") {
        const { topicId, msgId } = packet;
        next.push(...bench.take(ANN, {
          type: "REGACK",
          topicId,
          msgId,
          returnCode: 0,
        }));
      } else if (packet.type === "PUBLISH") {
        texts.push(`${textOf(packet)}${packet.retain ? "" : " live"}`);
        const { topicId, msgId, qos } = packet;
        if (qos === 0) continue;
        const returnCode = 0;
        next.push(
          ...bench.take(ANN, { type: "PUBACK", topicId, msgId, returnCode }),
        );
      }
    }
    sent = next;
  }
  return texts;
}

Deno.test("§6.9 a new subscriber gets all that is retained, however much it is", () => {
  const bench = withRetained(WILD);
  bench.connect(ANN, "ann");
  const texts = collect(bench, bench.subscribe(ANN, "t/+", 1));
  assertEquals(texts.length, WILD);
  assertEquals(new Set(texts).size, WILD);
  const { lost, queued, queueMemory } = bench.stats;
  assertEquals([lost.overflow, queued, queueMemory], [0, 0, 0]);
});

Deno.test("§6.9 a SUBSCRIBE costs one message at a time, not all that is retained", () => {
  const bench = withRetained(WILD);
  bench.connect(ANN, "ann");
  for (let msgId = 1; msgId <= 50; msgId++) {
    const sent = bench.subscribe(ANN, "#", 0, msgId);
    assert(sent.length <= 2, `${sent.length} datagrams`);
    assert(bench.stats.queued <= 2, `${bench.stats.queued} wait`);
  }
});

Deno.test("§6.9 what is published meanwhile comes behind what is retained", () => {
  const bench = withRetained(20);
  bench.connect(ANN, "ann");
  const sent = bench.subscribe(ANN, "t/+", 1);
  for (let i = 0; i < 5; i++) {
    const id = bench.register(BOB, "t/19");
    bench.publish(BOB, { id }, `${i}`, { qos: 1 });
  }
  const texts = collect(bench, sent);
  assertEquals(texts.slice(19), [
    "19",
    ...[0, 1, 2, 3, 4].map((i) => `${i} live`),
  ]);
});

Deno.test("§6.9 no old value comes behind a newer one", () => {
  const bench = withRetained(3);
  bench.connect(ANN, "ann");
  const sent = bench.subscribe(ANN, "#", 1); // REGISTER of t/0
  const id = bench.register(BOB, "t/1");
  bench.publish(BOB, { id }, "new", { qos: 1, retain: true });
  assertEquals(collect(bench, sent), ["0", "new", "2", "new live"]);
});

Deno.test("§6.9 what is retained at QoS 0 leaves by the hundred", () => {
  const bench = withRetained(250);
  bench.connect(ANN, "ann");
  for (let i = 0; i < 250; i++) bench.register(ANN, `t/${i}`);
  const [suback, ...first] = bench.subscribe(ANN, "#", 0);
  assertEquals([suback?.[1].type, first.length], ["SUBACK", 100]);
  assertEquals(bench.router.nextTimeout(), 10);
  assertEquals(bench.advance(10).length, 100);
  assertEquals(bench.advance(9).length, 0);
  assertEquals(bench.advance(1).length, 50);
  assertEquals([bench.stats.queued, bench.stats.queueMemory], [0, 0]);
});

Deno.test("§6.10 what is retained and does not fit a packet is lost by the hundred too", () => {
  const bench = new GatewayBench({ maxPacket: 32 });
  bench.connect(BOB, "bob");
  for (let i = 0; i < 250; i++) {
    const id = bench.register(BOB, `t/${i}`);
    bench.publish(BOB, { id }, "x".repeat(30), { qos: 1, retain: true });
  }
  bench.connect(ANN, "ann");
  for (let i = 0; i < 250; i++) bench.register(ANN, `t/${i}`);
  assertEquals(bench.subscribe(ANN, "#", 1).length, 1);
  assertEquals(bench.stats.lost.tooLong, 100);
  bench.run(20);
  assertEquals([bench.stats.lost.tooLong, bench.stats.queued], [250, 0]);
});

Deno.test("§6.9 a client without room for topic ids loses one retained message, not time", () => {
  const bench = withRetained(500, { maxTopicIds: 600 });
  bench.connect(ANN, "ann");
  for (let i = 0; i < 600; i++) bench.register(ANN, `own/${i}`);
  assertEquals(bench.subscribe(ANN, "#", 0).length, 1);
  assertEquals([bench.stats.lost.topicIds, bench.stats.queued], [1, 0]);
});

Deno.test("§6.9 a subscription takes no memory for what is retained and gone", () => {
  const bench = withRetained(5);
  bench.connect(ANN, "ann");
  bench.sleep(ANN, 60);
  bench.subscribe(ANN, "#", 1);
  assertEquals(bench.stats.queueMemory, 0);
  for (let i = 0; i < 5; i++) {
    const id = bench.register(BOB, `t/${i}`);
    bench.publish(BOB, { id }, "", { retain: true });
  }
  const texts = collect(bench, bench.wake(ANN, "ann"));
  assertEquals(texts.filter((text) => text !== " live"), []);
});

Deno.test("§6.9 what is retained waits for a sleeper, and for one who unsubscribes not", () => {
  const bench = withRetained(10);
  bench.connect(ANN, "ann");
  bench.sleep(ANN, 60);
  assertEquals(packetsTo(ANN, bench.subscribe(ANN, "t/+", 1)).length, 1);
  assertEquals(collect(bench, bench.wake(ANN, "ann")).length, 10);
  bench.subscribe(ANN, "t/#", 1, 201);
  bench.unsubscribe(ANN, "t/#");
  assertEquals(bench.wake(ANN, "ann"), [[ANN.key, { type: "PINGRESP" }]]);
  assertEquals(bench.stats.queued, 0);
});

Deno.test("§6.9 what is retained and deleted before its turn is not sent", () => {
  const bench = withRetained(5);
  bench.connect(ANN, "ann");
  const sent = bench.subscribe(ANN, "t/+", 1); // REGISTER of the first
  for (let i = 2; i < 5; i++) {
    const id = bench.register(BOB, `t/${i}`);
    bench.publish(BOB, { id }, "", { retain: true });
  }
  const texts = collect(bench, sent).filter((text) => text !== " live");
  assertEquals(texts, ["0", "1"]);
});

// What asks again, and what moves

Deno.test("§6.14 awake: PINGREQ again sends what is unanswered again at once, but not for ever", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const id = bench.register(ANN, "lamp");
  bench.subscribe(ANN, "lamp", 1);
  bench.sleep(ANN, 60);
  bench.connect(BOB, "bob");
  const from = bench.register(BOB, "lamp");
  bench.publish(BOB, { id: from }, "on", { qos: 1 });
  const [first] = packetsTo(ANN, bench.wake(ANN, "ann"));
  assert(first?.type === "PUBLISH" && !first.dup && first.topicId === id);
  assertEquals(bench.wake(ANN, "ann"), [], "the network doubled it");
  bench.advance(1_000);
  const again = packetsTo(ANN, bench.wake(ANN, "ann"));
  assertEquals(again, [{ ...first, dup: true }]);
  // Where NAT has moved it, too.
  bench.advance(1_000);
  const there = peerOf("192.0.2.9", 4711);
  assertEquals(bench.wake(there, "ann"), [
    [there.key, { ...first, dup: true }],
  ]);
  assertEquals(
    bench.take(there, {
      type: "PUBACK",
      topicId: id,
      msgId: first.msgId,
      returnCode: 0,
    }),
    [[there.key, { type: "PINGRESP" }]],
  );
});

Deno.test("§6.14 active: what was under way is sent again to where the client has moved", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann", { duration: 60 });
  const id = bench.register(ANN, "lamp");
  bench.subscribe(ANN, "lamp", 1);
  bench.publish(ANN, { id }, "on", { qos: 1 });
  const there = peerOf("192.0.2.9", 4711);
  const sent = packetsTo(there, bench.wake(there, "ann"));
  assertEquals(sent.map(({ type }) => type), ["PUBLISH", "PINGRESP"]);
});

Deno.test("§6.14 awake: a storm of moves is answered no more often than a client may ask", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  const id = bench.register(ANN, "lamp");
  bench.subscribe(ANN, "lamp", 1);
  bench.publish(ANN, { id }, "on", { qos: 1 });
  bench.sleep(ANN, 60);
  bench.wake(ANN, "ann");
  let sent = 0;
  for (let port = 5_000; port < 5_100; port++) {
    sent += bench.wake(peerOf("192.0.2.9", port), "ann").length;
  }
  assertEquals([sent, bench.stats.moved], [0, 100]);
  bench.advance(1_000);
  assertEquals(bench.wake(peerOf("192.0.2.9", 5_000), "ann").length, 1);
});

Deno.test("§6.2 a client that has gone on and connects once more begins anew", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "old", 1);
  bench.advance(1_999);
  bench.connect(ANN, "ann"); // still what the network may have doubled
  assertEquals(bench.stats.subscriptions, 1);
  bench.advance(1);
  bench.connect(ANN, "ann"); // it has started anew
  assertEquals(bench.stats.subscriptions, 0);
});

// The table of clients

Deno.test("Limits: a kept session goes for a new client when its own was away for a day", () => {
  const bench = new GatewayBench({ maxClients: 2 });
  for (const [peer, id] of [[ANN, "ann"], [BOB, "bob"]] as const) {
    bench.connect(peer, id, { cleanSession: false });
    bench.subscribe(peer, "t", 1);
    bench.take(peer, "02 18");
    bench.advance(1_000);
  }
  const returnCode = (id: string) => {
    const [sent] = bench.connect(peerOf("127.0.0.1", 9), id);
    return sent?.[1].type === "CONNACK" ? sent[1].returnCode : undefined;
  };
  assertEquals(returnCode("cyd"), 1);
  bench.advance(86_400_000 - 2_000);
  assertEquals(returnCode("cyd"), 0);
  const { clients, expired, subscriptions } = bench.stats;
  assertEquals([clients.total, expired, subscriptions], [2, 1, 1]);
  // Bob's is there yet.
  bench.connect(BOB, "bob", { cleanSession: false });
  assertEquals(bench.stats.subscriptions, 1);
});

Deno.test("Limits: one address has so many clients at most, this machine any number", () => {
  for (
    const [hostname, most] of [["192.0.2.7", 3], ["127.0.0.1", 5]] as const
  ) {
    const bench = new GatewayBench({ maxClientsPerSource: 3 });
    const peers = [1, 2, 3, 4, 5].map((port) => peerOf(hostname, port));
    peers.forEach((peer, i) => bench.connect(peer, `${i}`));
    assertEquals(bench.stats.clients.active, most);
    assertEquals(bench.stats.refused.clients, 5 - most);
    bench.take(peers[0]!, "02 18");
    bench.connect(peers[4]!, "4");
    assertEquals(bench.stats.clients.active, most === 5 ? 4 : 3);
  }
});

Deno.test("Limits: moves and takeovers do not pass the limit of an address", () => {
  const bench = new GatewayBench({ maxClientsPerSource: 1 });
  for (let i = 0; i < 10; i++) {
    const here = peerOf("192.0.2.1", 100 + i);
    const there = peerOf("192.0.2.2", 100 + i);
    bench.connect(here, `${i}`);
    bench.wake(there, `${i}`);
    bench.connect(there, `${i}`, { duration: 5 });
  }
  // One at each address: the first that moved, and the next that could not.
  assertEquals(bench.stats.clients.active, 2);
  // But who comes from the very address of another takes its place.
  const [sent] = bench.connect(peerOf("192.0.2.2", 100), "new");
  assertEquals(sent?.[1], { type: "CONNACK", returnCode: 0 });
});

Deno.test("Limits: a session goes for a client that comes, not for one that may", () => {
  const bench = new GatewayBench({ maxClients: 1, sessionExpiry: 0 });
  bench.connect(ANN, "ann", { cleanSession: false });
  bench.subscribe(ANN, "t", 1);
  bench.take(ANN, "02 18");
  assertEquals(bench.connect(BOB, "bob", { will: true }).length, 1);
  assertEquals([bench.stats.expired, bench.stats.subscriptions], [0, 1]);
  bench.connect(BOB, "bob");
  assertEquals([bench.stats.expired, bench.stats.subscriptions], [1, 0]);
});

Deno.test("§6.4 a will that a client's share has no room for is refused with 01", () => {
  const bench = new GatewayBench({ maxMemory: 65_507 });
  const options = { cleanSession: false };
  const small = { topicName: "will", data: "old" };
  bench.connectWithWill(ANN, "ann", small, options);
  bench.subscribe(BOB, "will");
  bench.advance(10_000); // or it would be the same CONNECT once more
  const large = { topicName: "will", data: "x".repeat(9_000) };
  const sent = bench.connectWithWill(ANN, "ann", large, options);
  assertEquals(sent.at(-1)?.[1], { type: "CONNACK", returnCode: 1 });
  assertEquals(bench.stats.refused.memory, 1);
});

Deno.test("Limits: one client does not take the room for all names", () => {
  const bench = new GatewayBench({ maxMemory: 100_000 });
  bench.connect(ANN, "ann");
  for (let i = 0; i < 500; i++) {
    const topicName = `${i}`.padEnd(1_000, "x");
    bench.take(ANN, { type: "REGISTER", topicId: 0, msgId: 1, topicName });
  }
  assert(bench.stats.refused.topicIds > 400);
  bench.connect(BOB, "bob");
  assertEquals(bench.register(BOB, "lamp"), 1);
});

Deno.test("§6.10 a message that no longer fits where the client has moved is given up", () => {
  const bench = new GatewayBench({ maxPacket: 40, retryMs: 100 });
  bench.connect(ANN, "ann");
  const id = bench.register(ANN, "lamp");
  bench.subscribe(ANN, "lamp", 1);
  bench.publish(ANN, { id }, "x".repeat(30), { qos: 1 });
  assertEquals(bench.stats.queued, 1);
  // Behind a forwarder now, whose wrapping takes 3 octets and the node's id.
  const wrapped = Uint8Array.of(8, 0xfe, 0, 1, 2, 3, 4, 5, 5, 0x16);
  bench.take(ANN, Uint8Array.of(...wrapped, 0x61, 0x6e, 0x6e));
  assertEquals([bench.stats.moved, bench.stats.lost.tooLong], [1, 1]);
  assertEquals([bench.stats.queued, bench.stats.clients.active], [0, 1]);
});
