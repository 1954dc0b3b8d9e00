/**
 * What a durable router does while its store is being loaded, while it keeps
 * nothing, and with promises that were not kept.
 */

import { assert, assertEquals } from "@std/assert";
import { nodePeerOf, wrapFor } from "../../wire/forwarder.ts";
import type { Peer } from "../../base/peer.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import type { RouterOptions } from "../../broker/options.ts";
import type { Connect, MqttSnPacket } from "../../wire/packets.ts";
import { Router } from "../../broker/router.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import {
  answerAll,
  GatewayBench,
  GOODBYE,
  packetsTo,
  PONG,
  puback,
  publishOf,
  publishTo,
  regack,
  type SentPacket,
  textOf,
  to,
} from "../support/gateway.ts";
import { drainSends, packetIn, type Send, takeSends } from "../support/kept.ts";
import { ANN, BOB, CYD, FAR } from "../support/router.ts";

const KEPT = { cleanSession: false } as const;
const CONNACK: MqttSnPacket = { type: "CONNACK", returnCode: 0 };
const FAILED = "Broker has got an error";

function makeBench(options: RouterOptions = {}): GatewayBench {
  return new GatewayBench({ isDurable: true, ...options });
}

function connectOf(clientId: string, fields: Partial<Connect> = {}): Connect {
  return {
    type: "CONNECT",
    will: false,
    cleanSession: true,
    protocolId: 1,
    duration: 0,
    clientId,
    ...fields,
  };
}

const SHORT = { topicIdType: "short", topicId: 0x6162 } as const;
const SUBSCRIBE = {
  type: "SUBSCRIBE",
  dup: false,
  qos: 1,
  msgId: 3,
  topic: { topicIdType: "normal", topicName: "a" },
} as const;
const UNSUBSCRIBE = {
  type: "UNSUBSCRIBE",
  msgId: 4,
  topic: { topicIdType: "normal", topicName: "a" },
} as const;
const REGISTER = {
  type: "REGISTER",
  topicId: 0,
  msgId: 5,
  topicName: "a",
} as const;
const WILL = { qos: 1, retain: false, topicName: "gone" } as const;

function classicOf(request: object): Uint8Array {
  return encodeUtf8(JSON.stringify(request));
}

const PUBLISH = classicOf({ type: "publish", topic: "a", data: "x" });
const ASK = classicOf({ type: "subscribe", topic: "a" });

/** What was sent, as text. */
function textsOf(sends: readonly Send[]): string[] {
  return sends.map(({ bytes }) => new TextDecoder().decode(bytes));
}

// Loading

/** A router that has not been told what was kept. */
function makeLoading(options: RouterOptions = {}): GatewayBench {
  const bench = new GatewayBench();
  bench.router = new Router({ isDurable: true, ...options });
  return bench;
}

const data = encodeUtf8("x");

/** Each message, and what answers it while nobody is known yet. */
const WHILE_LOADING: readonly (readonly [
  MqttSnPacket,
  MqttSnPacket | undefined,
])[] = [
  [connectOf("ann"), { type: "CONNACK", returnCode: 1 }],
  [connectOf("ann", KEPT), { type: "CONNACK", returnCode: 1 }],
  [connectOf("ann", { will: true }), { type: "CONNACK", returnCode: 1 }],
  [{ type: "WILLTOPIC", will: WILL }, undefined],
  [{ type: "WILLTOPIC", will: undefined }, undefined],
  [{ type: "WILLMSG", data }, undefined],
  [REGISTER, regack(0, 5, 1)],
  [{ type: "REGACK", topicId: 1, msgId: 1, returnCode: 0 }, undefined],
  [publishOf(7, "x", { qos: -1 }), undefined],
  [publishOf(7, "x", { qos: 0 }), undefined],
  [publishOf(7, "", { qos: 1, msgId: 6 }), puback(7, 6, 1)],
  // What may have been taken before is not refused, but asked for again.
  [publishOf(7, "x", { qos: 1, msgId: 6, dup: true }), undefined],
  [publishOf(7, "x", { qos: 2, msgId: 6 }), undefined],
  [publishOf(7, "x", { qos: 2, msgId: 6, dup: true }), undefined],
  [puback(1, 1), undefined],
  [{ type: "PUBREC", msgId: 1 }, undefined],
  [{ type: "PUBREL", msgId: 1 }, undefined],
  [{ type: "PUBCOMP", msgId: 1 }, undefined],
  [SUBSCRIBE, undefined], // as a refusal would be longer
  [{
    ...SUBSCRIBE,
    topic: { topicIdType: "normal", topicName: "lamp" },
  }, { type: "SUBACK", qos: 0, topicId: 0, msgId: 3, returnCode: 1 }],
  [UNSUBSCRIBE, undefined],
  [{ type: "PINGREQ", clientId: "" }, undefined],
  [{ type: "PINGREQ", clientId: "ann" }, undefined],
  [PONG, undefined],
  [GOODBYE, undefined],
  [{ type: "DISCONNECT", duration: 60 }, undefined],
  [{ type: "WILLTOPICUPD", will: WILL }, {
    type: "WILLTOPICRESP",
    returnCode: 1,
  }],
  [{ type: "WILLTOPICUPD", will: undefined }, undefined],
  [{ type: "WILLMSGUPD", data }, { type: "WILLMSGRESP", returnCode: 1 }],
  [{ type: "WILLMSGUPD", data: new Uint8Array() }, undefined],
  [CONNACK, undefined],
  [{ type: "GWINFO", gwId: 1, gwAdd: new Uint8Array() }, undefined],
];

for (const [packet, answer] of WHILE_LOADING) {
  const how = answer === undefined ? "drops" : "refuses";
  const bytes = encodePacket(packet);
  Deno.test(`Router ${how} ${packet.type} ${bytes.toHex()} while it is loading`, () => {
    const node = nodePeerOf(FAR, { wirelessNodeId: Uint8Array.of(7) });
    for (const peer of [ANN, FAR, node]) {
      const bench = makeLoading();
      const sends = peer === node
        ? takeSends(bench, FAR, wrapFor(node, bytes))
        : takeSends(bench, peer, bytes);
      const expected = answer === undefined ? [] : [encodePacket(answer)];
      assertEquals(
        sends,
        expected.map((bytes) => ({
          peer,
          bytes: wrapFor(peer, bytes),
          isPromise: false,
        })),
      );
      const sent = sends.reduce((sum, { bytes }) => sum + bytes.length, 0);
      assert(sent <= wrapFor(peer, bytes).length);
      const { dropped, mqttsn, published } = bench.router.stats();
      const isRefused = answer === undefined ? 0 : 1;
      assertEquals(
        [mqttsn.refused.loading, dropped.loading, published],
        [isRefused, 1 - isRefused, 0],
      );
      assertEquals(mqttsn.receivedByType[packet.type], 1);
      const { clients, prompts, nameMemory } = mqttsn;
      assertEquals([clients.total, prompts, nameMemory], [0, 0, 0]);
      assertEquals([bench.changes, bench.router.nextTimeout()], [
        [],
        undefined,
      ]);
    }
  });
}

Deno.test("Router answers a search while it is loading, and advertises itself", () => {
  const bench = makeLoading({ advertise: 60, gwId: 3 });
  const gwInfo = { type: "GWINFO", gwId: 3, gwAdd: new Uint8Array() } as const;
  const sent = bench.take(ANN, { type: "SEARCHGW", radius: 1 });
  assertEquals(sent[0], to(ANN, gwInfo));
  const at = bench.router.nextTimeout();
  assert(at !== undefined);
  const [advertise] = bench.advance(at);
  assertEquals(advertise?.[1].type, "ADVERTISE");
});

Deno.test("Router refuses the classic protocol while it is loading, and adds to no history", () => {
  const bench = makeLoading();
  assertEquals(textsOf(takeSends(bench, ANN, PUBLISH)), [FAILED]);
  assertEquals(textsOf(takeSends(bench, ANN, ASK)), [FAILED]);
  const { classic } = bench.router.stats();
  assertEquals([classic.topics, classic.waiting, classic.published], [0, 0, 0]);
  assertEquals(classic.refused.failed, 2);
  const invalid = classicOf({ type: "publish", topic: " ", data: "x" });
  assertEquals(textsOf(takeSends(bench, ANN, invalid)), [
    "Invalid topic provided",
  ]);
  bench.router.handleRestored(0, 1);
  assertEquals(textsOf(takeSends(bench, ANN, ASK)), [], "it waits");
});

Deno.test("Router without a history refuses the classic protocol while it is loading, and no longer", () => {
  const bench = makeLoading({ history: 0 });
  assertEquals(textsOf(takeSends(bench, ANN, PUBLISH)), [FAILED]);
  assertEquals(textsOf(takeSends(bench, ANN, ASK)), [FAILED]);
  bench.router.handleRestored(0, 1);
  bench.router.handleStore("refusing");
  assertEquals(textsOf(takeSends(bench, BOB, ASK)), [], "it waits");
  const sends = takeSends(bench, ANN, PUBLISH);
  assertEquals(sends.length, 2);
  assertEquals(sends[0]?.isPromise, false, "nothing of it is kept");
  assertEquals(sends[1]?.peer.key, BOB.key);
});

Deno.test("Router sends nobody a longer refusal while it is loading than the classic protocol allows", () => {
  const bench = makeLoading({ allowance: 1, allowanceRate: 1 });
  for (let i = 0; i < 10; i++) {
    const asked = ASK.length;
    const sent = takeSends(bench, FAR, ASK)
      .reduce((sum, { bytes }) => sum + bytes.length, 0);
    assert(sent <= asked + 1);
  }
});

Deno.test("Router has nothing due while it is loading, whatever it has restored", () => {
  const bench = makeLoading({ sessionExpiry: 1, messageExpiry: 1 });
  const session = {
    type: "session",
    session: 1,
    clientId: "ann",
    isClean: false,
    state: "active",
    peer: { hostname: "127.0.0.1", port: 1001, wirelessNodeId: undefined },
    allowedMs: 1_000,
    duration: 1,
    announcedWill: false,
    leftAt: 0,
    will: undefined,
  } as const;
  bench.clock.advance(1e6);
  const lost = { state: "lost", peer: undefined } as const;
  bench.router.restore(1e6, session);
  bench.router.restore(1e6, {
    ...session,
    ...lost,
    session: 2,
    clientId: "bob",
  });
  assertEquals(bench.router.nextTimeout(), undefined);
  assertEquals(bench.advance(1e6), []);
  assertEquals(bench.stats.clients.total, 2);
  bench.router.handleRestored(bench.clock.now(), 1);
  bench.drain();
  bench.run(0);
  assertEquals(bench.stats.clients.total, 1, "Bob has been away for too long");
  bench.run(999);
  assertEquals(bench.stats.clients.active, 1, "Ann could not be heard before");
  bench.run(1);
  assertEquals(bench.stats.lostBy.silence, 1);
});

Deno.test("Router is told of no store while it is loading", () => {
  const bench = makeLoading();
  for (const state of ["ready", "busy", "refusing"] as const) {
    bench.router.handleStore(state);
    assertEquals(bench.router.stats().store, "loading");
  }
});

Deno.test("Router takes everything once it has been loaded", () => {
  const bench = makeLoading();
  bench.connect(ANN, "ann", KEPT);
  bench.router.handleRestored(0, 1);
  assertEquals(bench.drain(), []);
  assertEquals(bench.connect(ANN, "ann", KEPT), [to(ANN, CONNACK)]);
  const suback = { type: "SUBACK", qos: 1, topicId: 1 } as const;
  assertEquals(bench.take(ANN, SUBSCRIBE), [
    to(ANN, { ...suback, msgId: 3, returnCode: 0 }),
  ]);
  assertEquals(textsOf(takeSends(bench, BOB, PUBLISH)).length, 2);
});

// Refusing

/** Ann, kept, and Bob, clean, each with a topic; and a store that fails. */
function makeRefusing(options: RouterOptions = {}) {
  const bench = makeBench(options);
  bench.connect(ANN, "ann", KEPT);
  bench.register(ANN, "a");
  bench.subscribe(ANN, { short: "ab" }, 2);
  bench.connect(BOB, "bob");
  bench.register(BOB, "a");
  bench.subscribe(BOB, "b", 2);
  bench.commit();
  bench.router.handleStore("refusing");
  assertEquals(bench.drain(), []);
  assertEquals(bench.events.at(-1), { type: "store", state: "refusing" });
  return bench;
}

/** What a kept client asks for that has to be kept, and its refusal. */
const REFUSED: readonly (readonly [MqttSnPacket, MqttSnPacket | undefined])[] =
  [
    [REGISTER, regack(0, 5, 1)],
    [SUBSCRIBE, {
      type: "SUBACK",
      qos: 0,
      topicId: 0,
      msgId: 3,
      returnCode: 1,
    }],
    [UNSUBSCRIBE, undefined],
    [{ type: "PUBREL", msgId: 1 }, undefined],
    [{ type: "WILLTOPICUPD", will: WILL }, {
      type: "WILLTOPICRESP",
      returnCode: 1,
    }],
    [{ type: "WILLMSGUPD", data }, { type: "WILLMSGRESP", returnCode: 1 }],
    [{ type: "DISCONNECT", duration: 60 }, undefined],
    [publishOf(1, "x", { qos: 2, msgId: 6 }), puback(1, 6, 1)],
    [publishOf(1, "x", { qos: 0, retain: true }), puback(1, 0, 1)],
    [publishOf(1, "x", { qos: 1, msgId: 6, retain: true }), puback(1, 6, 1)],
    [{ ...publishOf(0, "x", { qos: 1, msgId: 6 }), ...SHORT }, {
      ...puback(0x6162, 6, 1),
    }],
    [connectOf("ann", KEPT), { type: "CONNACK", returnCode: 1 }],
    [connectOf("ann"), { type: "CONNACK", returnCode: 1 }],
    [connectOf("new", KEPT), { type: "CONNACK", returnCode: 1 }],
  ];

for (const [packet, answer] of REFUSED) {
  const how = answer === undefined ? "drops" : "refuses";
  const hex = encodePacket(packet).toHex();
  Deno.test(`Router ${how} ${packet.type} ${hex} of a kept client while nothing is kept`, () => {
    const bench = makeRefusing();
    const before = bench.stats;
    const sent = bench.take(ANN, packet);
    assertEquals(sent, answer === undefined ? [] : [to(ANN, answer)]);
    assertEquals(bench.changes, [], "and nothing has changed");
    const { dropped } = bench.router.stats();
    const after = bench.stats;
    const isRefused = answer === undefined ? 0 : 1;
    assertEquals([after.refused.store, dropped.store], [
      isRefused,
      1 - isRefused,
    ]);
    assertEquals(after.clients, before.clients);
    assertEquals(
      [after.subscriptions, after.retained, after.published, after.nameMemory],
      [
        before.subscriptions,
        before.retained,
        before.published,
        before.nameMemory,
      ],
    );
    // And as soon as the store is back it is taken.
    bench.router.handleStore("ready");
    bench.drain();
    const [taken] = packetsTo(ANN, bench.take(ANN, packet));
    const code = taken !== undefined && "returnCode" in taken
      ? taken.returnCode
      : 0;
    assertEquals(code, 0);
    if (packet.type === "PUBLISH" && packet.qos === 0) return;
    assert(taken !== undefined);
  });
}

Deno.test("Router takes of a kept client what needs no store while nothing is kept", () => {
  const bench = makeRefusing();
  assertEquals(bench.take(ANN, { type: "PINGREQ", clientId: "" }), [
    to(ANN, PONG),
  ]);
  assertEquals(bench.publish(ANN, { id: 1 }, "x"), []);
  assertEquals(bench.publish(ANN, { id: 1 }, "x", { qos: 1 }), [
    to(ANN, puback(1, 400)),
  ]);
  assertEquals(bench.publish(ANN, { short: "ab" }, "x"), [
    publishTo(ANN, { short: "ab" }, "x"),
  ]);
  assertEquals(bench.take(ANN, GOODBYE), [to(ANN, GOODBYE)]);
  assertEquals(bench.stats.published, 3);
});

Deno.test("Router takes of clean clients all but what others are promised while nothing is kept", () => {
  const bench = makeRefusing();
  assertEquals(bench.connect(CYD, "cyd"), [to(CYD, CONNACK)]);
  const c = bench.register(CYD, "b");
  const qos2 = { qos: 2, msgId: 7 } as const;
  assertEquals(bench.publish(CYD, { id: c }, "x", qos2), [
    to(CYD, { type: "PUBREC", msgId: 7 }),
    publishTo(BOB, { id: 2 }, "x", { qos: 2, msgId: 1 }),
  ]);
  bench.take(CYD, { type: "PUBREL", msgId: 7 });
  assertEquals(bench.take(BOB, { type: "PUBREC", msgId: 1 }), [
    to(BOB, { type: "PUBREL", msgId: 1 }),
  ]);
  bench.take(BOB, { type: "PUBCOMP", msgId: 1 });
  assertEquals(bench.unsubscribe(BOB, "b"), [
    to(BOB, { type: "UNSUBACK", msgId: 300 }),
  ]);
  // Nor may it sleep, as who sleeps is kept; and it is not lost for that.
  assertEquals(bench.sleep(CYD, 60), []);
  assertEquals(bench.stats.clients.asleep, 0);
  for (const qos of [1, 2] as const) {
    assertEquals(bench.publish(CYD, { short: "ab" }, "x", { qos }), [
      to(CYD, puback(0x6162, 400, 1)),
    ]);
  }
  assertEquals(bench.publish(CYD, { id: c }, "x", { retain: true }), [
    to(CYD, puback(c, 0, 1)),
  ]);
  const retained = bench.publish(FAR, { short: "xy" }, "x", {
    qos: -1,
    retain: true,
  });
  assertEquals([retained, bench.stats.retained], [[], 0]);
  assertEquals(bench.router.stats().dropped.qosMinusOne, 1);
  assertEquals(bench.changes, []);
});

Deno.test("Router takes a message while nothing is kept that a kept client gets at QoS 0", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, { short: "ab" }, 0);
  bench.connect(BOB, "bob");
  bench.router.handleStore("refusing");
  bench.drain();
  for (const [qos, type] of [[1, "PUBACK"], [2, "PUBREC"]] as const) {
    const sent = bench.publish(BOB, { short: "ab" }, "x", { qos });
    assertEquals(sent.map(([, { type }]) => type), [type, "PUBLISH"]);
    assertEquals(packetsTo(ANN, sent), [
      publishTo(ANN, { short: "ab" }, "x")[1],
    ]);
  }
});

Deno.test("Router tells of itself while nothing is kept", () => {
  const bench = makeRefusing();
  const sent = bench.subscribe(BOB, "$SYS/broker/store/state", 0, 201);
  assertEquals(answerAll(bench, BOB, sent).slice(1).map(textOf), ["refusing"]);
});

Deno.test("Router takes no will of a kept client while nothing is kept, but of a clean one", () => {
  const bench = makeRefusing();
  const will = { topicName: "gone", data: "x" };
  const refused: MqttSnPacket = { type: "CONNACK", returnCode: 1 };
  assertEquals(
    bench.connectWithWill(CYD, "cyd", will, KEPT)[0],
    to(CYD, refused),
  );
  assertEquals(
    bench.connectWithWill(CYD, "cyd", will).at(-1),
    to(CYD, CONNACK),
  );
  // Also if the store fails between the parts of a will.
  bench.router.handleStore("ready");
  bench.connect(FAR, "far", { ...KEPT, will: true });
  bench.router.handleStore("refusing");
  bench.drain();
  bench.take(FAR, { type: "WILLTOPIC", will: WILL });
  assertEquals(bench.take(FAR, { type: "WILLMSG", data }), [to(FAR, refused)]);
  assertEquals(bench.stats.prompts, 0);
});

Deno.test("Router lets no kept client be lost for what it cannot be sent, and goes on later", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, "+", 2);
  bench.connect(BOB, "bob");
  const id = bench.register(BOB, "a");
  bench.router.handleStore("refusing");
  bench.drain();
  // The topic would have to be registered with Ann.
  assertEquals(packetsTo(ANN, bench.publish(BOB, { id }, "1")), []);
  assertEquals(packetsTo(ANN, bench.publish(BOB, { id }, "2")), []);
  assertEquals(bench.run(3_600_000), []);
  const { clients, queued } = bench.stats;
  assertEquals([clients.active, queued], [2, 2]);
  bench.router.handleStore("ready");
  const sent = [...bench.drain(), ...bench.run(1_000)];
  const packets = answerAll(bench, ANN, sent);
  assertEquals(packets.slice(1).map(textOf), ["1", "2"]);
});

Deno.test("Router lets a sleeper fetch what needs no store, and sleep on, while nothing is kept", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, { short: "ab" }, 2);
  bench.sleep(ANN, 60);
  bench.connect(BOB, "bob");
  for (const qos of [0, 1, 2] as const) {
    bench.publish(BOB, { short: "ab" }, `${qos}`, { qos, msgId: 1 });
  }
  bench.router.handleStore("refusing");
  bench.drain();
  const packets = answerAll(bench, ANN, bench.wake(ANN, "ann"));
  assertEquals(packets.at(-1), PONG);
  assertEquals(packets.slice(0, -1).map(textOf), ["0", "1"]);
  assertEquals(bench.stats.queued, 1);
  bench.router.handleStore("ready");
  bench.drain();
  const rest = answerAll(bench, ANN, bench.wake(ANN, "ann"));
  assertEquals(rest.map(({ type }) => type), ["PUBLISH", "PUBREL", "PINGRESP"]);
});

Deno.test("Router waits with PUBREL until PUBREC can be kept", () => {
  const bench = makeBench({ retryMs: 1_000, retries: 1 });
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, { short: "ab" }, 2);
  bench.connect(BOB, "bob");
  bench.publish(BOB, { short: "ab" }, "x", { qos: 2 });
  bench.commit();
  bench.router.handleStore("refusing");
  bench.drain();
  assertEquals(bench.take(ANN, { type: "PUBREC", msgId: 1 }), []);
  assertEquals([bench.changes, bench.run(60_000)], [[], []]);
  bench.router.handleStore("ready");
  bench.drain();
  const qos2 = { qos: 2, msgId: 1, dup: true } as const;
  assertEquals(bench.run(1_000), [publishTo(ANN, { short: "ab" }, "x", qos2)]);
  assertEquals(bench.take(ANN, { type: "PUBREC", msgId: 1 }), [
    to(ANN, { type: "PUBREL", msgId: 1 }),
  ]);
});

Deno.test("Router buffers at QoS 0 for a sleeper while nothing is kept, and counts what a crash would lose", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, { short: "ab" }, 2);
  bench.sleep(ANN, 60);
  bench.connect(BOB, "bob");
  bench.commit();
  bench.router.handleStore("refusing");
  bench.drain();
  bench.publish(BOB, { short: "ab" }, "1");
  assertEquals(bench.changes, []);
  assertEquals(bench.router.stats().unstored, 2, "and a datum");
  bench.router.handleStore("ready");
  bench.publish(BOB, { short: "ab" }, "2");
  const packets = answerAll(bench, ANN, bench.wake(ANN, "ann"));
  assertEquals(packets.slice(0, -1).map(textOf), ["1", "2"]);
});

Deno.test("Router publishes a will while nothing is kept, and tells it in case that it can be", () => {
  const bench = makeBench();
  const will = { topicName: "gone", data: "x", qos: 1, retain: true } as const;
  bench.connectWithWill(ANN, "ann", will, { ...KEPT, duration: 10 });
  bench.connect(BOB, "bob", KEPT);
  bench.subscribe(BOB, "gone", 1);
  bench.commit();
  bench.router.handleStore("refusing");
  bench.drain();
  const sent = bench.run(15_000);
  assertEquals(packetsTo(BOB, sent).map(({ type }) => type), ["PUBLISH"]);
  const types = bench.changes.map(({ type }) => type);
  assertEquals(
    types,
    ["retained", "queued", "datum", "session"].filter(
      (type) => type !== "datum",
    ),
  );
});

Deno.test("Router refuses a classic publish while nothing is kept, not a subscribe", () => {
  const bench = makeBench();
  takeSends(bench, ANN, PUBLISH);
  bench.router.handleStore("refusing");
  assertEquals(textsOf(takeSends(bench, ANN, PUBLISH)), [FAILED]);
  assertEquals(textsOf(takeSends(bench, ANN, ASK)), ["x"]);
  bench.router.handleStore("ready");
  takeSends(bench, ANN, PUBLISH);
  assertEquals(textsOf(takeSends(bench, ANN, ASK)), ["x\nx"]);
});

Deno.test("Router.handleStore() tells each change of its state once, also below $SYS", () => {
  const bench = makeBench();
  bench.connect(BOB, "bob");
  const sys = "$SYS/broker/store";
  answerAll(bench, BOB, bench.subscribe(BOB, `${sys}/+`, 0));
  bench.events.length = 0;
  for (
    const state of ["ready", "busy", "busy", "refusing", "refusing", "ready"]
  ) bench.router.handleStore(state as "ready" | "busy" | "refusing");
  bench.drain();
  assertEquals(bench.events, [
    { type: "store", state: "busy" },
    { type: "store", state: "refusing" },
    { type: "store", state: "ready" },
  ]);
  bench.router.handleStore("refusing");
  bench.publish(BOB, { short: "ab" }, "x"); // a datum that is left out
  const said = answerAll(bench, BOB, bench.run(1_000)).map(textOf);
  assertEquals(said.toSorted(), ["1", "refusing"]);
});

// Promises that were not kept

/** What takes the place of all that was to be sent, as a commit has failed. */
function fail(bench: GatewayBench, sends: readonly Send[]): SentPacket[] {
  bench.router.handleStore("refusing");
  const left: SentPacket[] = [];
  const note = ({ peer, bytes, isPromise }: Send) => {
    if (isPromise) {
      bench.router.handleUncommitted(bench.clock.now(), peer, bytes);
      for (const { peer, bytes } of drainSends(bench)) {
        left.push([peer.key, packetIn(bytes)]);
      }
    } else left.push([peer.key, packetIn(bytes)]);
  };
  sends.forEach(note);
  return left;
}

const UNKEPT: readonly (readonly [MqttSnPacket, MqttSnPacket | undefined])[] = [
  [connectOf("ann", { ...KEPT, duration: 9 }), {
    type: "CONNACK",
    returnCode: 1,
  }],
  [REGISTER, regack(1, 5, 1)],
  [SUBSCRIBE, {
    type: "SUBACK",
    qos: 1,
    topicId: 1,
    msgId: 3,
    returnCode: 1,
  }],
  [publishOf(1, "x", { qos: 1, msgId: 6 }), puback(1, 6, 1)],
  [{ type: "WILLTOPICUPD", will: WILL }, {
    type: "WILLTOPICRESP",
    returnCode: 1,
  }],
  [{ type: "WILLMSGUPD", data }, { type: "WILLMSGRESP", returnCode: 1 }],
  [publishOf(1, "x", { qos: 2, msgId: 6 }), undefined],
  [UNSUBSCRIBE, undefined],
  [{ type: "PUBREL", msgId: 6 }, undefined],
  [{ type: "DISCONNECT", duration: 60 }, undefined],
];

for (const [packet, refusal] of UNKEPT) {
  const how = refusal === undefined ? "sends nothing" : `sends a refusal`;
  const hex = encodePacket(packet).toHex();
  Deno.test(`Router.handleUncommitted() ${how} for the answer to ${packet.type} ${hex}`, () => {
    const node = nodePeerOf(FAR, { wirelessNodeId: Uint8Array.of(7) });
    for (const peer of [ANN, node] as const) {
      const bench = makeBench();
      const say = (packet: MqttSnPacket) => {
        const bytes = wrapFor(peer, encodePacket(packet));
        return takeSends(bench, peer === node ? FAR : peer, bytes);
      };
      say(connectOf("ann", KEPT));
      say({ ...REGISTER, msgId: 1 });
      const sends = say(packet);
      assertEquals(sends.map(({ isPromise }) => isPromise), [true]);
      const { dropped, mqttsn } = bench.router.stats();
      const left = fail(bench, sends);
      assertEquals(left, refusal === undefined ? [] : [to(peer, refusal)]);
      const after = bench.router.stats();
      const isRefused = refusal === undefined ? 0 : 1;
      assertEquals(
        after.mqttsn.refused.store,
        mqttsn.refused.store + isRefused,
      );
      assertEquals(after.dropped.store, dropped.store + 1 - isRefused);
    }
  });
}

for (
  const [name, qos] of [["REGISTER", 0], ["PUBLISH", 2], ["PUBREL", 2]] as const
) {
  Deno.test(`Router.handleUncommitted() sends no ${name}, which comes again later`, () => {
    const bench = makeBench({ retryMs: 1_000, retries: 2 });
    bench.connect(ANN, "ann", KEPT);
    bench.subscribe(ANN, name === "REGISTER" ? "+" : "a", 2);
    bench.connect(BOB, "bob");
    const id = bench.register(BOB, "a");
    const publish = publishOf(id, "x", { qos, msgId: qos });
    let sends = takeSends(bench, BOB, publish)
      .filter(({ peer }) => peer.key === ANN.key);
    if (name === "PUBREL") {
      sends = takeSends(bench, ANN, { type: "PUBREC", msgId: 1 });
    }
    assertEquals(sends.map(({ bytes }) => packetIn(bytes).type), [name]);
    assertEquals(fail(bench, sends), []);
    assertEquals(bench.run(60_000), [], "and its client is not lost for it");
    bench.router.handleStore("ready");
    bench.drain();
    assertEquals(bench.run(1_000).map(([, { type }]) => type), [name]);
    assertEquals(bench.stats.clients.active, 2);
  });
}

/** Ann, kept, whose PUBLISH of QoS 2 was published, and not acknowledged. */
function makeUnkept(peer: Peer = ANN) {
  const bench = makeBench();
  const say = (packet: MqttSnPacket) =>
    takeSends(
      bench,
      peer === ANN ? ANN : FAR,
      wrapFor(peer, encodePacket(packet)),
    );
  say(connectOf("ann", KEPT));
  bench.connect(BOB, "bob");
  bench.subscribe(BOB, { short: "ab" }, 0);
  bench.commit();
  const publish = (text: string, dup = false) =>
    say({ ...publishOf(0, text, { qos: 2, msgId: 7, dup }), ...SHORT });
  const [pubrec, toBob] = publish("1");
  assertEquals(fail(bench, [pubrec!]), [], "no refusal");
  assertEquals(textOf(packetIn(toBob!.bytes)), "1");
  const types = (sends: readonly Send[]) =>
    sends.map(({ peer, bytes }) => `${peer.key} ${packetIn(bytes).type}`);
  return { bench, say, publish, types };
}

const NODE = nodePeerOf(FAR, { wirelessNodeId: Uint8Array.of(7) });

for (const peer of [ANN, NODE]) {
  const who = peer === ANN ? "a client" : "a forwarded node";
  for (const isRestarted of [false, true]) {
    const when = isRestarted ? " and the broker has been restarted" : "";
    Deno.test(`Router publishes once what ${who} asks again for as it was not kept${when}`, () => {
      const { bench, publish, types, say } = makeUnkept(peer);
      const before = bench.router.stats().dropped.store;
      assertEquals(publish("1", true), [], "as long as nothing is kept");
      assertEquals(say({ type: "PUBREL", msgId: 7 }), []);
      assertEquals(bench.router.stats().dropped.store, before + 2);
      assertEquals(bench.stats.refused.store, 0);
      bench.router.handleStore("ready");
      bench.drain();
      bench.commit();
      if (isRestarted) bench.restart();
      const { published } = bench.stats;
      assertEquals(types(publish("1", true)), [`${peer.key} PUBREC`]);
      assertEquals(types(say({ type: "PUBREL", msgId: 7 })), [
        `${peer.key} PUBCOMP`,
      ]);
      assertEquals(bench.stats.published, published);
    });
  }
}

Deno.test("Router publishes anew at QoS 2 what a crash took with it, and nobody was acknowledged", () => {
  const { bench, publish, types } = makeUnkept();
  bench.restart(); // and nothing of it was committed
  assertEquals(types(publish("1", true)), [`${ANN.key} PUBREC`]);
  assertEquals(bench.stats.published, 1);
});

Deno.test("Router that is busy promises all, and leaves out what nobody is promised", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, { short: "ab" }, 2);
  bench.sleep(ANN, 60);
  bench.connect(BOB, "bob");
  bench.commit();
  bench.router.handleStore("busy");
  bench.drain();
  assertEquals(bench.connect(CYD, "cyd", KEPT), [to(CYD, CONNACK)]);
  for (const qos of [0, 1, 2] as const) {
    bench.publish(BOB, { short: "ab" }, `${qos}`, { qos, msgId: qos });
  }
  assertEquals(
    bench.changes.map((change) =>
      change.type === "queued" ? `queued ${change.qos}` : change.type
    ),
    ["session", "queued 1", "datum", "queued 2", "datum"],
  );
  assertEquals(bench.router.stats().unstored, 2, "a message and a datum");
  assertEquals(textsOf(takeSends(bench, BOB, PUBLISH)), [
    "Broker has recieved message",
  ]);
  const packets = answerAll(bench, ANN, bench.wake(ANN, "ann"));
  const heard = packets.filter(({ type }) => type === "PUBLISH").map(textOf);
  assertEquals(heard, ["0", "1", "2"], "which is there as long as the broker");
});

Deno.test("Router.handleUncommitted() says of a classic publish that it failed", () => {
  const bench = makeBench();
  const sends = takeSends(bench, ANN, PUBLISH);
  bench.router.handleStore("refusing");
  for (const { peer, bytes } of sends) {
    bench.router.handleUncommitted(0, peer, bytes);
  }
  const [refusal, ...rest] = drainSends(bench);
  assertEquals([textsOf([refusal!]), rest], [[FAILED], []]);
  assertEquals(refusal?.isPromise, false);
  assertEquals(bench.router.stats().classic.refused.failed, 1);
});

Deno.test("Router accepts no CONNECT with a will once more while it may not be kept", () => {
  for (const [clean, returnCode] of [[false, 1], [true, 0]] as const) {
    const bench = makeBench();
    const will = { topicName: "w", qos: 1, retain: false } as const;
    const last = { type: "WILLMSG", data: encodeUtf8("gone") } as const;
    bench.take(ANN, {
      type: "CONNECT",
      will: true,
      cleanSession: clean,
      protocolId: 1,
      duration: 60,
      clientId: "ann",
    });
    bench.take(ANN, { type: "WILLTOPIC", will });
    assertEquals(bench.take(ANN, last), [
      to(ANN, { type: "CONNACK", returnCode: 0 }),
    ]);
    bench.router.handleStore("refusing");
    bench.drain();
    assertEquals(bench.take(ANN, last), [
      to(ANN, { type: "CONNACK", returnCode }),
    ]);
  }
});

Deno.test("Router takes a CONNECT again that was refused as it was not kept", () => {
  const bench = makeBench();
  const sends = takeSends(bench, ANN, connectOf("ann", KEPT));
  const refused = to(ANN, { type: "CONNACK", returnCode: 1 } as const);
  assertEquals(fail(bench, sends), [refused]);
  assertEquals(bench.connect(ANN, "ann", KEPT), [refused]);
  bench.router.handleStore("ready");
  bench.drain();
  assertEquals(bench.connect(ANN, "ann", KEPT), [to(ANN, CONNACK)]);
  bench.commit();
  assertEquals(bench.store.load().length, 1);
});

Deno.test("Router lets a sleeper say again that it sleeps, as its DISCONNECT was not kept", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann");
  const sends = takeSends(bench, ANN, { type: "DISCONNECT", duration: 60 });
  assertEquals(fail(bench, sends), []);
  assertEquals(bench.sleep(ANN, 60), []);
  bench.router.handleStore("ready");
  bench.drain();
  assertEquals(bench.sleep(ANN, 60), [to(ANN, GOODBYE)]);
  assertEquals(bench.stats.clients.asleep, 1);
});
