/**
 * What a router makes of records: of each type, of those that make no sense, and
 * of more than the limits allow.
 */

import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import { LocalProtocolError } from "../../base/errors.ts";
import { MAX_DATAGRAM } from "../../base/peer.ts";
import type { RouterOptions } from "../../broker/options.ts";
import type { MqttSnPacket } from "../../wire/packets.ts";
import type {
  BegunRecord,
  DatumRecord,
  QueuedRecord,
  ReceivedRecord,
  RetainedRecord,
  SessionRecord,
  StoreRecord,
  SubscriptionRecord,
  TopicIdRecord,
} from "../../broker/records.ts";
import { digestOf } from "../../wire/duplicates.ts";
import { Router } from "../../broker/router.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import { GatewayBench, PONG, publishTo, to } from "../support/gateway.ts";
import { drainSends, takeSends } from "../support/kept.ts";
import { ANN, BOB } from "../support/router.ts";

const SESSION: SessionRecord = {
  type: "session",
  session: 3,
  clientId: "ann",
  isClean: false,
  state: "active",
  peer: { hostname: "127.0.0.1", port: 1001, wirelessNodeId: undefined },
  allowedMs: 90_000,
  duration: 60,
  announcedWill: false,
  leftAt: 0,
  will: undefined,
};

const SUBSCRIPTION: SubscriptionRecord = {
  type: "subscription",
  session: 3,
  topicFilter: "a",
  qos: 1,
  isPending: false,
};

const TOPIC_ID: TopicIdRecord = {
  type: "topicId",
  session: 3,
  topicName: "a",
  topicId: 4,
  aliasType: undefined,
  aliasId: 0,
  isRegistered: true,
  isSubscribed: false,
};

const QUEUED: QueuedRecord = {
  type: "queued",
  session: 3,
  seq: 1,
  topicName: "ab",
  payload: encodeUtf8("x"),
  qos: 1,
  retain: false,
  at: 0,
  msgId: 0,
  isReleased: false,
};

const RECEIVED: ReceivedRecord = {
  type: "received",
  session: 3,
  msgId: 5,
  digest: 1,
  until: undefined,
};

const BEGUN: BegunRecord = {
  type: "begun",
  session: 3,
  topicFilter: "+",
  topicName: "ab",
};

const RETAINED: RetainedRecord = {
  type: "retained",
  topicName: "a",
  payload: encodeUtf8("on"),
  qos: 1,
};

const DATUM: DatumRecord = {
  type: "datum",
  seq: 1,
  topicName: "a",
  text: "21.5",
};

/** By a short name Ann needs to register nothing. */
const SHORT: TopicIdRecord = {
  ...TOPIC_ID,
  topicName: "ab",
  topicId: 0,
  aliasType: "short",
  aliasId: 0x6162,
};

/** A router that has taken records, and what each was answered with. */
function restored(
  records: readonly StoreRecord[],
  options: RouterOptions = {},
) {
  const bench = new GatewayBench();
  bench.router = new Router({ isDurable: true, ...options });
  const answers = records.map((record) => bench.router.restore(0, record));
  const loading = drainSends(bench);
  bench.router.handleRestored(0, 1);
  const sent = bench.drain();
  return { bench, answers, loading, sent };
}

// Each type

Deno.test("Router.restore() of a session that was connected: it is, and was heard of now", () => {
  const { bench, answers, loading, sent } = restored([SESSION]);
  assertEquals([answers, loading, sent], [[true], [], []]);
  const { clients, connected } = bench.stats;
  assertEquals([clients.active, clients.maximum, connected], [1, 1, 0]);
  assertEquals(bench.take(ANN, { type: "PINGREQ", clientId: "" }), [
    to(ANN, PONG),
  ]);
  assertEquals(bench.router.nextTimeout(), 90_000);
  bench.run(90_000);
  assertEquals(bench.stats.lostBy.silence, 1);
});

for (const state of ["disconnected", "lost"] as const) {
  Deno.test(`Router.restore() of a session that was ${state}: it is away`, () => {
    const record = { ...SESSION, state, peer: undefined };
    const { bench, answers } = restored([record]);
    assertEquals(answers, [true]);
    assertEquals(bench.stats.clients[state], 1);
    assertEquals(bench.router.nextTimeout(), undefined);
  });
}

Deno.test("Router.restore() of a session that slept: it is asleep, behind a forwarder as well", () => {
  const wirelessNodeId = Uint8Array.of(7);
  const peer = { hostname: "10.0.0.9", port: 9, wirelessNodeId };
  const record = { ...SESSION, state: "asleep", peer } as const;
  const { bench, answers } = restored([record, SHORT, QUEUED]);
  assertEquals(answers, [true, true, true]);
  assertEquals(bench.stats.clients.asleep, 1);
  const forwarder = { hostname: "10.0.0.9", port: 9, key: "10.0.0.9:9" };
  const sends = takeSends(
    bench,
    forwarder,
    Uint8Array.fromHex("04fe0007" + "0516616e6e"),
  );
  assertEquals(sends.map(({ bytes }) => bytes.toHex()), [
    "04fe0007" + "080c22" + "6162" + "1004" + "78",
  ]);
});

Deno.test("Router.restore() of a will: it is published when its client stays silent", () => {
  const will = {
    topicName: "gone",
    qos: 1,
    retain: true,
    payload: encodeUtf8("ann"),
  } as const;
  const { bench } = restored([{ ...SESSION, will }]);
  bench.run(90_000);
  assertEquals([bench.stats.wills, bench.stats.retained], [1, 1]);
});

Deno.test("Router.restore() of a will whose topic makes no sense: it is never published", () => {
  const will = {
    topicName: "a/#",
    qos: 1,
    retain: true,
    payload: encodeUtf8("ann"),
  } as const;
  const { bench, answers } = restored([{ ...SESSION, will }]);
  assertEquals(answers, [true]);
  bench.run(90_000);
  assertEquals([bench.stats.lostBy.silence, bench.stats.wills], [1, 0]);
});

Deno.test("Router.restore() of a subscription: it delivers, by the id that the topic had", () => {
  const { bench } = restored([SESSION, SUBSCRIPTION, TOPIC_ID]);
  assertEquals(bench.stats.subscriptions, 1);
  bench.connect(BOB, "bob");
  const topic = { id: bench.register(BOB, "a") };
  const [, register] = bench.publish(BOB, topic, "x", { qos: 1 });
  const told = { type: "REGISTER", topicId: 4, topicName: "a" } as const;
  assertEquals(register, to(ANN, { ...told, msgId: 4_100 }));
  assertEquals(
    bench.take(ANN, {
      type: "REGACK",
      topicId: 4,
      msgId: 4_100,
      returnCode: 0,
    }),
    [publishTo(ANN, { id: 4 }, "x", { qos: 1, msgId: 4_101 })],
  );
});

Deno.test("Router.restore() of a subscription whose retained messages are pending: they come", () => {
  const { bench, sent } = restored([
    SESSION,
    { ...SUBSCRIPTION, topicFilter: "ab", isPending: true },
    SHORT,
    { ...RETAINED, topicName: "ab" },
  ]);
  const retain = { qos: 1, retain: true, msgId: 4_100 } as const;
  assertEquals(sent, [publishTo(ANN, { short: "ab" }, "on", retain)]);
  assertEquals(
    bench.changes.filter(({ type }) => type === "subscription"),
    [
      { ...SUBSCRIPTION, topicFilter: "ab", isPending: true },
    ],
  );
});

Deno.test("Router.restore() of what was begun of the retained messages: it is passed over", () => {
  const pending: SubscriptionRecord = {
    ...SUBSCRIPTION,
    topicFilter: "+",
    qos: 2,
    isPending: true,
  };
  const { bench, answers, sent } = restored([
    SESSION,
    pending,
    { ...BEGUN, topicName: "a" },
    { ...BEGUN, topicName: "gone" },
    SHORT,
    { ...RETAINED, topicName: "a", qos: 2 },
    { ...RETAINED, topicName: "ab", qos: 2 },
  ]);
  assertEquals(answers, Array(7).fill(true));
  const retain = { qos: 2, retain: true, msgId: 4_100 } as const;
  assertEquals(sent, [publishTo(ANN, { short: "ab" }, "on", retain)]);
  const begun = bench.changes.filter(({ type }) => type.startsWith("begun"));
  assertEquals(begun, [{ ...BEGUN, topicName: "ab" }]);
  bench.changes.length = 0;
  bench.take(ANN, { type: "PUBREC", msgId: 4_100 });
  bench.take(ANN, { type: "PUBCOMP", msgId: 4_100 });
  assertEquals([bench.stats.queued, bench.changes.slice(-2)], [0, [
    { type: "begunEnd", session: 3, topicFilter: "+" },
    { ...pending, isPending: false },
  ]]);
});

Deno.test("Router.restore() of a topic id: its client publishes by it", () => {
  const { bench } = restored([SESSION, TOPIC_ID]);
  const options = { qos: 1, msgId: 9, retain: true } as const;
  assertEquals(bench.publish(ANN, { id: 4 }, "x", options), [
    to(ANN, { type: "PUBACK", topicId: 4, msgId: 9, returnCode: 0 }),
  ]);
  assertEquals(bench.stats.retained, 1);
});

Deno.test("Router.restore() of a message that came: it is not published again", () => {
  const { bench } = restored([SESSION, TOPIC_ID, RECEIVED]);
  const options = { qos: 2, msgId: 5, dup: true } as const;
  assertEquals(bench.publish(ANN, { id: 4 }, "x", options), [
    to(ANN, { type: "PUBREC", msgId: 5 }),
  ]);
  assertEquals([bench.stats.published, bench.stats.repeated], [0, 1]);
});

Deno.test("Router.restore() of messages that wait: they leave in order, the one under way first", () => {
  const { bench, sent } = restored([
    SESSION,
    SHORT,
    { ...QUEUED, seq: 1, payload: encodeUtf8("1") },
    { ...QUEUED, seq: 2, payload: encodeUtf8("2"), msgId: 9 },
    { ...QUEUED, seq: 3, payload: encodeUtf8("3"), qos: 0 },
  ]);
  const short = { short: "ab" };
  assertEquals(sent, [
    publishTo(ANN, short, "2", { qos: 1, dup: true, msgId: 9 }),
  ]);
  const ack = (msgId: number): MqttSnPacket => {
    return { type: "PUBACK", topicId: 0x6162, msgId, returnCode: 0 };
  };
  assertEquals(bench.take(ANN, ack(9)), [
    publishTo(ANN, short, "1", { qos: 1, msgId: 4_100 }),
  ]);
  assertEquals(bench.take(ANN, ack(4_100)), [publishTo(ANN, short, "3")]);
});

Deno.test("Router.restore() of a retained message: it is there for who subscribes", () => {
  const { bench, answers } = restored([RETAINED]);
  assertEquals([answers, bench.stats.retained], [[true], 1]);
  bench.connect(BOB, "bob");
  const sent = bench.subscribe(BOB, "a");
  assertEquals(sent[1], publishTo(BOB, { id: 1 }, "on", { retain: true }));
});

Deno.test("Router.restore() of a datum: it is in the history, and the next behind it", () => {
  const { bench, answers } = restored([DATUM, { ...DATUM, seq: 5, text: "2" }]);
  assertEquals(answers, [true, true]);
  const ask = encodeUtf8('{"type":"subscribe","topic":"a"}');
  const [send] = takeSends(bench, BOB, ask);
  assertEquals(new TextDecoder().decode(send?.bytes), "21.5\n2");
  takeSends(
    bench,
    BOB,
    encodeUtf8('{"type":"publish","topic":"a","data":"3"}'),
  );
  assertEquals(bench.changes.at(-1), { ...DATUM, seq: 6, text: "3" });
});

// What makes no sense

const NONSENSE: readonly (readonly [string, StoreRecord])[] = [
  ["a second session of a client", { ...SESSION, session: 4 }],
  ["a second session of a number", { ...SESSION, clientId: "bob" }],
  ...([
    ["a session whose number is none", { session: -1 }],
    ["a session whose number is no whole one", { session: 1.5 }],
    ["an active session without an address", { peer: undefined }],
    ["a sleeper without an address", { state: "asleep", peer: undefined }],
    ["a lost session with an address", { state: "lost" }],
    ["a session at no port", { peer: { ...SESSION.peer!, port: 65_536 } }],
    ["a session at no address", { peer: { ...SESSION.peer!, hostname: "" } }],
    ["a session of a node without id", {
      peer: { ...SESSION.peer!, wirelessNodeId: new Uint8Array() },
    }],
    ["a session of a node whose id is too long", {
      peer: { ...SESSION.peer!, wirelessNodeId: new Uint8Array(253) },
    }],
    ["a session whose will has no QoS", {
      will: {
        topicName: "a",
        qos: 3 as 2,
        retain: false,
        payload: new Uint8Array(),
      },
    }],
  ] as const).map(([what, fields]) =>
    [what, { ...SESSION, session: 4, clientId: "bob", ...fields }] as const
  ),
  ["nobody's subscription", { ...SUBSCRIPTION, session: 9 }],
  ["a subscription to no filter", { ...SUBSCRIPTION, topicFilter: "a/#/b" }],
  ["a subscription at no QoS", { ...SUBSCRIPTION, qos: 3 as 2 }],
  ["nobody's topic id", { ...TOPIC_ID, session: 9 }],
  ["a topic id of no topic", { ...TOPIC_ID, topicName: "" }],
  ["a topic id that is too high", { ...TOPIC_ID, topicId: 0xffff }],
  ["a topic id that is negative", { ...TOPIC_ID, topicId: -1 }],
  ["an alias that is too high", { ...TOPIC_ID, aliasId: 0x10000 }],
  ["nobody's message", { ...QUEUED, session: 9 }],
  ["a message to no topic", { ...QUEUED, topicName: "a/+" }],
  ["a message at no QoS", { ...QUEUED, qos: -1 as 0 }],
  ["a message whose msgId is none", { ...QUEUED, msgId: 0x10000 }],
  ["what was begun for nobody", { ...BEGUN, session: 9 }],
  ["what was begun for no subscription", BEGUN],
  ["nobody's received message", { ...RECEIVED, session: 9 }],
  ["a received message whose msgId is none", { ...RECEIVED, msgId: -1 }],
  ["a retained message of no topic", { ...RETAINED, topicName: "#" }],
  ["a retained message of the broker's own", {
    ...RETAINED,
    topicName: "$SYS/a",
  }],
  ["an empty retained message", { ...RETAINED, payload: new Uint8Array() }],
  ["a retained message at no QoS", { ...RETAINED, qos: 3 as 2 }],
  ["a datum of a blank topic", { ...DATUM, topicName: " " }],
  ["a datum of a topic that nobody can ask for", {
    ...DATUM,
    topicName: " a",
  }],
  ["a datum too long for a datagram", {
    ...DATUM,
    text: "x".repeat(MAX_DATAGRAM + 1),
  }],
];

for (const [what, record] of NONSENSE) {
  Deno.test(`Router.restore() says false to ${what}, and harms nothing`, () => {
    const { bench, answers, loading, sent } = restored([SESSION, record]);
    assertEquals([answers, loading, sent], [[true, false], [], []]);
    const {
      clients,
      subscriptions,
      queued,
      retained,
      nameMemory,
      queueMemory,
    } = bench.stats;
    assertEquals(
      [clients.total, subscriptions, queued, retained, nameMemory, queueMemory],
      [1, 0, 0, 0, 0, 0],
    );
    assertEquals(bench.router.stats().classic.topics, 0);
    assertEquals(bench.take(ANN, { type: "PINGREQ", clientId: "" }), [
      to(ANN, PONG),
    ]);
    bench.run(1e9);
  });
}

Deno.test("Router.restore() says false to what was begun of no topic, or with all delivered", () => {
  const subscription = { ...SUBSCRIPTION, topicFilter: "+" };
  const { answers } = restored([
    SESSION,
    { ...subscription, isPending: true },
    { ...BEGUN, topicName: "a/+" },
    { ...subscription, topicFilter: "#", isPending: false },
    { ...BEGUN, topicFilter: "#" },
  ]);
  assertEquals(answers, [true, true, false, true, false]);
});

Deno.test("Router.restore() takes each part of a session once", () => {
  const { answers } = restored([
    SESSION,
    SUBSCRIPTION,
    SUBSCRIPTION,
    TOPIC_ID,
    { ...TOPIC_ID, topicId: 5 },
    { ...TOPIC_ID, topicName: "b" },
  ]);
  assertEquals(answers, [true, true, false, true, false, false]);
});

// Limits

Deno.test("Router.restore() knows no limits, but what is new does", () => {
  const limits = {
    maxClients: 1,
    maxSubscriptions: 1,
    maxTopicIds: 1,
    maxQueue: 1,
    maxRetained: 1,
    maxUnreleased: 1,
  };
  const { bench, answers, sent } = restored([
    SESSION,
    { ...SESSION, session: 4, clientId: "x", state: "lost", peer: undefined },
    SUBSCRIPTION,
    { ...SUBSCRIPTION, topicFilter: "b" },
    TOPIC_ID,
    { ...TOPIC_ID, topicName: "b", topicId: 5 },
    RECEIVED,
    { ...RECEIVED, msgId: 6 },
    RETAINED,
    { ...RETAINED, topicName: "b" },
    QUEUED,
    { ...QUEUED, seq: 2 },
    { ...QUEUED, seq: 3 },
  ], limits);
  assertFalse(answers.includes(false));
  const { clients, subscriptions, queued, retained } = bench.stats;
  assertEquals([clients.total, subscriptions, retained], [2, 2, 2]);
  assertEquals([queued, bench.stats.lost.topicIds, sent], [0, 3, []]);

  const code = (packet: MqttSnPacket) => {
    const answer = bench.take(ANN, packet).find(([peer]) => peer === ANN.key);
    return answer !== undefined && "returnCode" in answer[1]
      ? answer[1].returnCode
      : undefined;
  };
  const topic = { topicIdType: "normal", topicName: "c" } as const;
  const subscribe = {
    type: "SUBSCRIBE",
    dup: false,
    qos: 0,
    msgId: 1,
  } as const;
  const publish = {
    type: "PUBLISH",
    dup: false,
    qos: 1,
    retain: true,
    topicIdType: "short",
    topicId: 0x7879,
    msgId: 8,
    data: encodeUtf8("x"),
  } as const;
  assertEquals(code({ ...subscribe, topic }), 1);
  const register = { type: "REGISTER", topicId: 0, msgId: 1 } as const;
  assertEquals(code({ ...register, topicName: "c" }), 1);
  assertEquals(code(publish), 1);
  assertEquals(code({ ...publish, retain: false, qos: 2 }), 1);
  assertEquals(bench.connect(BOB, "bob"), [
    to(BOB, { type: "CONNACK", returnCode: 1 }),
  ]);
  assertEquals(code({ ...register, topicName: "b" }), 0, "what is there");
});

Deno.test("Router.restore() keeps to a history's limits, and tells what goes", () => {
  const bench = new GatewayBench();
  bench.router = new Router({ isDurable: true, history: 2 });
  for (const seq of [1, 2, 3, 4]) {
    assert(bench.router.restore(0, { ...DATUM, seq }));
  }
  drainSends(bench);
  assertEquals(bench.changes, [
    { type: "datumEnd", seq: 1 },
    { type: "datumEnd", seq: 2 },
  ]);
});

Deno.test("Router.restore() forgets every datum where no history is kept", () => {
  const bench = new GatewayBench();
  bench.router = new Router({ isDurable: true, history: 0 });
  for (const seq of [1, 2]) {
    assert(bench.router.restore(0, { ...DATUM, seq }));
  }
  drainSends(bench);
  assertEquals(bench.changes, [
    { type: "datumEnd", seq: 1 },
    { type: "datumEnd", seq: 2 },
  ]);
  const { topics, forgotten } = bench.router.stats().classic;
  assertEquals([topics, forgotten.count], [0, 2]);
});

// By another clock

Deno.test("Router.restore() of a moment that is yet to come, as the clock has been set back: it is now", () => {
  const day = 86_400_000;
  const away = { ...SESSION, state: "disconnected", peer: undefined } as const;
  const { bench } = restored(
    [
      { ...away, session: 1, clientId: "cat", leftAt: day },
      { ...away, leftAt: day },
      { ...SUBSCRIPTION, topicFilter: "ab" },
      { ...QUEUED, at: day },
    ],
    { messageExpiry: 10, sessionExpiry: 60 },
  );
  bench.run(10_000);
  assertEquals(bench.stats.lost.expired, 1);
  bench.run(60_000);
  assertEquals([bench.stats.expired, bench.stats.clients.total], [2, 0]);
});

Deno.test("Router.restore() of a released msgId: a copy comes no later than T_retry, whatever the clock was", () => {
  const publish = {
    type: "PUBLISH",
    dup: false,
    qos: 2,
    retain: false,
    topicIdType: "short",
    topicId: 0x6162,
    msgId: 5,
    data: encodeUtf8("x"),
  } as const;
  const digest = digestOf(publish);
  const { bench } = restored(
    [SESSION, { ...RECEIVED, digest, until: 86_400_000 }],
    { retryMs: 1_000 },
  );
  const pubrec = to(ANN, { type: "PUBREC", msgId: 5 });
  bench.clock.advance(999);
  assertEquals(bench.take(ANN, publish), [pubrec]);
  assertEquals([bench.stats.published, bench.stats.repeated], [0, 1]);
  bench.clock.advance(1);
  assertEquals(bench.take(ANN, publish), [pubrec]);
  assertEquals([bench.stats.published, bench.stats.repeated], [1, 1]);
});

// When

Deno.test("Router.restore() throws once all has been restored, and without a store", () => {
  const { bench } = restored([]);
  assertThrows(() => bench.router.restore(0, RETAINED), LocalProtocolError);
  assertThrows(() => new Router().restore(0, RETAINED), LocalProtocolError);
});

Deno.test("Router.handleRestored() tells that the store is ready", () => {
  const { bench } = restored([]);
  assertEquals(bench.events, [{ type: "store", state: "ready" }]);
  assertEquals(bench.router.stats().store, "ready");
});

Deno.test("Router.handleRestored() numbers what it sends otherwise at each start", () => {
  const msgIds: number[] = [];
  for (const starts of [1, 2, 3, 16, 17, 65_535]) {
    const bench = new GatewayBench();
    bench.router = new Router({ isDurable: true });
    for (const record of [SESSION, SHORT, QUEUED]) {
      bench.router.restore(0, record);
    }
    bench.router.handleRestored(0, starts);
    const packet = bench.drain()[0]?.[1];
    assert(packet?.type === "PUBLISH");
    msgIds.push(packet.msgId);
  }
  assertEquals(msgIds, [4_100, 8_199, 12_298, 50, 4_149, 1]);
});

Deno.test("Router.handleRestored() tells of itself again to who subscribed to $SYS", () => {
  const filter = "$SYS/broker/version";
  const name = { ...TOPIC_ID, topicName: filter, isSubscribed: true };
  const { bench } = restored(
    [SESSION, { ...SUBSCRIPTION, topicFilter: filter }, name],
    { version: "7" },
  );
  assertEquals(bench.router.nextTimeout(), 0);
  const [register] = bench.advance(0);
  assert(register?.[1].type === "REGISTER");
  const { topicId, msgId } = register[1];
  assertEquals(
    bench.take(ANN, { type: "REGACK", topicId, msgId, returnCode: 0 }),
    [publishTo(ANN, { id: 4 }, "mock-mqtt 7")],
  );
  assertEquals(bench.router.nextTimeout(), 1_000, "and from then on as always");
});
