/**
 * Sleeping clients as MQTT-SN 1.2 §6.14 has them, seen from the gateway: each
 * row of its table, and ten mistakes that others have made in it.
 */

import { assert, assertEquals } from "@std/assert";
import { encodeUtf8 } from "../../base/utf8.ts";
import type { Connect, MqttSnPacket, Qos } from "../../wire/packets.ts";
import type { RouterOptions } from "../../broker/options.ts";
import {
  GatewayBench,
  GOODBYE,
  PONG,
  puback,
  publishTo,
  regack,
  type SentPacket,
  to,
} from "../support/gateway.ts";
import { ANN, BOB, CYD, FAR } from "../support/router.ts";

const CONNACK: MqttSnPacket = { type: "CONNACK", returnCode: 0 };

/** What Cyd hears when Ann is lost. */
const LAST_WORDS = publishTo(CYD, { id: 1 }, "ann is lost");

interface Ann {
  /** Her keep alive, in seconds. */
  readonly keepAlive?: number;
  /** How long she sleeps, in seconds; 0 if she does not. */
  readonly duration?: number;
  readonly cleanSession?: boolean;
  /** What she subscribes to, and how. */
  readonly filter?: string;
  readonly qos?: Qos;
}

/**
 * Ann, who has subscribed and sleeps; Bob, who publishes to `a`; Cyd, who hears
 * of Ann's will. Neither Bob nor Cyd has a keep alive.
 */
function begin(ann: Ann = {}, options: RouterOptions = {}) {
  const { keepAlive = 60, duration = 30, cleanSession = true } = ann;
  const { filter = "a", qos = 1 } = ann;
  const bench = new GatewayBench(options);
  bench.connect(BOB, "bob");
  const topic = { id: bench.register(BOB, "a") };
  bench.connect(CYD, "cyd");
  bench.subscribe(CYD, "will");
  const will = { topicName: "will", data: "ann is lost" };
  const connect = { duration: keepAlive, cleanSession };
  assertEquals(bench.connectWithWill(ANN, "ann", will, connect), [
    to(ANN, { type: "WILLTOPICREQ" }),
    to(ANN, { type: "WILLMSGREQ" }),
    to(ANN, CONNACK),
  ]);
  bench.subscribe(ANN, filter, qos);
  if (duration > 0) {
    assertEquals(bench.sleep(ANN, duration), [to(ANN, GOODBYE)]);
  }
  /** Bob publishes; gives what was sent to others than him. */
  const tell = (data: string, at: Qos = 1, msgId = at > 0 ? 400 : 0) =>
    bench.publish(BOB, topic, data, { qos: at, msgId })
      .filter(([peer]) => peer !== BOB.key);
  return { bench, topic, tell };
}

function lateAcks(bench: GatewayBench): number {
  return bench.router.stats().dropped.lateAck;
}

function stateOf(bench: GatewayBench): string {
  const { total: _, maximum: __, ...counts } = bench.stats.clients;
  // Bob and Cyd are active all the time; without Ann nothing else is there.
  const states = Object.entries({ ...counts, active: counts.active - 2 })
    .filter(([, count]) => count > 0);
  assert(states.length <= 1, JSON.stringify(states));
  return states[0]?.[0] ?? "gone";
}

/** That silence ends it this much later, to the millisecond. */
function assertLostAfter(bench: GatewayBench, ms: number): void {
  assertEquals(bench.run(ms - 1), []);
  assertEquals(bench.stats.lostBy.silence, 0);
  assertEquals(bench.run(1), [LAST_WORDS]);
  const { lostBy, wills } = bench.stats;
  assertEquals([lostBy.silence, wills], [1, 1]);
  assertEquals(bench.run(1e9), [], "and no will a second time");
}

/** Durations in seconds, the option, and when a client is lost. */
const TOLERATED: readonly (readonly [number, number | undefined, number])[] = [
  [1, undefined, 1_500],
  [7, undefined, 10_500],
  [60, undefined, 90_000],
  [61, undefined, 67_100],
  [100, undefined, 110_000],
  [65_535, undefined, 72_088_500],
  [60, 1.5, 90_000],
  [61, 1.5, 91_500],
  [1_000, 1.5, 1_500_000],
  [60, 2, 90_000],
];

// – / disconnected / lost

Deno.test("§9 –, CONNECT: it is active", () => {
  const bench = new GatewayBench();
  assertEquals(bench.connect(ANN, "ann"), [to(ANN, CONNACK)]);
  assertEquals(bench.stats.clients.active, 1);
  assertEquals(bench.stats.connected, 1);
});

Deno.test("§9 disconnected, CONNECT: it is active", () => {
  const { bench } = begin({ duration: 0, cleanSession: false });
  bench.take(ANN, GOODBYE);
  assertEquals(stateOf(bench), "disconnected");
  assertEquals(bench.connect(ANN, "ann", { cleanSession: false }), [
    to(ANN, CONNACK),
  ]);
  assertEquals(stateOf(bench), "active");
});

Deno.test("§9 lost, CONNECT: it is active", () => {
  const { bench } = begin({ keepAlive: 10, duration: 0, cleanSession: false });
  bench.run(15_000);
  assertEquals(stateOf(bench), "lost");
  assertEquals(bench.connect(ANN, "ann", { cleanSession: false }), [
    to(ANN, CONNACK),
  ]);
  assertEquals(stateOf(bench), "active");
});

// active

const CONNECT: Connect = {
  type: "CONNECT",
  will: true,
  cleanSession: true,
  protocolId: 1,
  duration: 10,
  clientId: "ann",
};

/** Whatever a client sends, it is there. */
const SIGNS_OF_LIFE: readonly (readonly [string, MqttSnPacket])[] = [
  ["PINGREQ", { type: "PINGREQ", clientId: "" }],
  ["PINGREQ with ClientId", { type: "PINGREQ", clientId: "ann" }],
  ["REGISTER", { type: "REGISTER", topicId: 0, msgId: 1, topicName: "b" }],
  ["a refused REGISTER", {
    type: "REGISTER",
    topicId: 0,
    msgId: 1,
    topicName: "#",
  }],
  ["SUBSCRIBE", {
    type: "SUBSCRIBE",
    dup: false,
    qos: 0,
    msgId: 2,
    topic: { topicIdType: "normal", topicName: "b" },
  }],
  ["UNSUBSCRIBE", {
    type: "UNSUBSCRIBE",
    msgId: 3,
    topic: { topicIdType: "normal", topicName: "b" },
  }],
  ["PUBLISH", {
    type: "PUBLISH",
    dup: false,
    qos: 0,
    retain: false,
    topicIdType: "short",
    topicId: 0x7878,
    msgId: 0,
    data: encodeUtf8("x"),
  }],
  ["PUBLISH of QoS −1", {
    type: "PUBLISH",
    dup: false,
    qos: -1,
    retain: false,
    topicIdType: "short",
    topicId: 0x7878,
    msgId: 0,
    data: encodeUtf8("x"),
  }],
  ["PUBREL", { type: "PUBREL", msgId: 9 }],
  ["PUBACK", puback(1, 9)],
  ["REGACK", regack(1, 9)],
  ["PUBREC", { type: "PUBREC", msgId: 9 }],
  ["PUBCOMP", { type: "PUBCOMP", msgId: 9 }],
  ["PINGRESP", PONG],
  ["WILLTOPICUPD", {
    type: "WILLTOPICUPD",
    will: { qos: 0, retain: false, topicName: "will" },
  }],
  ["WILLMSGUPD", { type: "WILLMSGUPD", data: encodeUtf8("ann is lost") }],
  ["SEARCHGW", { type: "SEARCHGW", radius: 0 }],
  ["a repeated CONNECT", CONNECT],
  ["a CONNECT that is answered with a prompt", { ...CONNECT, duration: 20 }],
];

for (const [name, packet] of SIGNS_OF_LIFE) {
  Deno.test(`§9 active, any message: ${name} restarts the timer`, () => {
    const { bench } = begin({ keepAlive: 10, duration: 0 });
    // Within T_retry: later a repeated CONNECT would be a new one.
    bench.run(9_000);
    bench.take(ANN, packet);
    assertLostAfter(bench, 15_000);
  });
}

for (const [duration, tolerance, at] of TOLERATED) {
  const option = tolerance === undefined ? "" : ` with tolerance ${tolerance}`;
  Deno.test(`§9 active, expiry: keep alive ${duration} s${option} publishes the will after ${at} ms`, () => {
    const { bench } = begin(
      { keepAlive: duration, duration: 0, cleanSession: false },
      tolerance === undefined ? {} : { tolerance },
    );
    assertLostAfter(bench, at);
    assertEquals(stateOf(bench), "lost");
  });

  Deno.test(`§9 asleep, expiry: sleep of ${duration} s${option} publishes the will after ${at} ms`, () => {
    const { bench } = begin(
      { duration, cleanSession: false },
      tolerance === undefined ? {} : { tolerance },
    );
    assertEquals(stateOf(bench), "asleep");
    assertLostAfter(bench, at);
    assertEquals(stateOf(bench), "lost");
  });
}

Deno.test("§9 active, expiry: a clean session is forgotten", () => {
  const { bench } = begin({ keepAlive: 10, duration: 0 });
  assertEquals(bench.run(15_000), [LAST_WORDS]);
  assertEquals(stateOf(bench), "gone");
  assertEquals(bench.stats.subscriptions, 1, "Cyd's");
  assertEquals(bench.take(ANN, { type: "PINGREQ", clientId: "" }), [
    to(ANN, GOODBYE),
  ]);
});

Deno.test("§9 active, DISCONNECT: is answered, and there is no will", () => {
  const { bench } = begin({ keepAlive: 10, duration: 0 });
  assertEquals(bench.take(ANN, "02 18"), [to(ANN, GOODBYE)]);
  assertEquals(bench.wire, ["0218"]);
  assertEquals(stateOf(bench), "gone");
  assertEquals(bench.stats.subscriptions, 1, "Cyd's");
  assertEquals(bench.run(1e9), []);
  assertEquals(bench.stats.wills, 0);
});

Deno.test("§9 active, DISCONNECT: the session is kept if Clean was 0", () => {
  const { bench, tell } = begin({ duration: 0, cleanSession: false });
  assertEquals(bench.take(ANN, "02 18"), [to(ANN, GOODBYE)]);
  assertEquals(stateOf(bench), "disconnected");
  assertEquals(bench.stats.subscriptions, 2);
  assertEquals(tell("kept"), []);
  assertEquals(tell("not kept", 0), []);
  assertEquals(bench.stats.queued, 1);
});

Deno.test("§9 active, DISCONNECT with Duration: is answered, and it sleeps", () => {
  const { bench } = begin({ duration: 0 });
  assertEquals(bench.take(ANN, "04 18 00 1E"), [to(ANN, GOODBYE)]);
  assertEquals(bench.wire, ["0218"], "without a Duration");
  assertEquals(stateOf(bench), "asleep");
  assertLostAfter(bench, 45_000);
});

Deno.test("§9 active, DISCONNECT with Duration: what is under way waits too", () => {
  const { bench, tell } = begin({ duration: 0 });
  assertEquals(tell("x"), [
    publishTo(ANN, { id: 1 }, "x", { qos: 1, msgId: 1 }),
  ]);
  assertEquals(bench.sleep(ANN, 1_000), [to(ANN, GOODBYE)]);
  assertEquals(bench.run(1_000_000), []);
  assertEquals(bench.stats.retried, 0);
  assertEquals(bench.stats.queued, 1);
  assertEquals(bench.wake(ANN, "ann"), [
    publishTo(ANN, { id: 1 }, "x", { qos: 1, msgId: 1, dup: true }),
  ]);
});

Deno.test("§9 active, DISCONNECT with Duration: an answer that it overtook counts", () => {
  const { bench, tell } = begin({ duration: 0, qos: 2 });
  tell("1", 1);
  bench.sleep(ANN, 1_000);
  assertEquals(bench.take(ANN, puback(1, 1)), []);
  assertEquals([bench.stats.queued, lateAcks(bench)], [0, 0]);
  assertEquals(bench.take(ANN, puback(1, 1)), []);
  assertEquals(lateAcks(bench), 1, "a copy of it does not");
  assertEquals(bench.wake(ANN, "ann"), [to(ANN, PONG)]);
});

Deno.test("§9 active, DISCONNECT with Duration: PUBREC that it overtook counts, and nothing is sent to who sleeps", () => {
  const { bench, tell } = begin({ duration: 0, qos: 2 });
  tell("1", 2);
  bench.sleep(ANN, 1_000);
  assertEquals(bench.take(ANN, { type: "PUBREC", msgId: 1 }), []);
  assertEquals(bench.take(ANN, { type: "PUBREC", msgId: 1 }), []);
  const release = to(ANN, { type: "PUBREL", msgId: 1 });
  assertEquals(bench.wake(ANN, "ann"), [release]);
  bench.sleep(ANN, 1_000);
  assertEquals(bench.take(ANN, { type: "PUBREC", msgId: 1 }), []);
  assertEquals(bench.take(ANN, { type: "PUBCOMP", msgId: 1 }), []);
  assertEquals(bench.stats.queued, 0);
  assertEquals(bench.wake(ANN, "ann"), [to(ANN, PONG)]);
});

Deno.test("§9 active, DISCONNECT with Duration: REGACK that it overtook counts, and so does a refusal", () => {
  const { bench, tell } = begin({ duration: 0, filter: "#" });
  assertEquals(tell("1").length, 1);
  bench.sleep(ANN, 1_000);
  assertEquals(bench.take(ANN, regack(1, 1)), []);
  assertEquals(bench.wake(ANN, "ann"), [
    publishTo(ANN, { id: 1 }, "1", { qos: 1, msgId: 2 }),
  ]);
  bench.sleep(ANN, 1_000);
  assertEquals(bench.take(ANN, puback(1, 2, 1)), [], "congestion: later");
  assertEquals(bench.stats.queued, 1);
  assertEquals(bench.take(ANN, puback(1, 2, 2)), [], "an id it does not know");
  assertEquals([bench.stats.queued, lateAcks(bench)], [1, 0]);
  assertEquals(bench.wake(ANN, "ann"), [
    to(ANN, { type: "REGISTER", topicId: 1, msgId: 3, topicName: "a" }),
  ]);
});

Deno.test("§9 awake, retries exhausted: an answer that comes after all counts", () => {
  const { bench, tell } = begin({}, { retryMs: 100, retries: 1 });
  tell("1");
  bench.wake(ANN, "ann");
  bench.run(200);
  assertEquals(stateOf(bench), "asleep");
  assertEquals(bench.take(ANN, puback(1, 1)), []);
  assertEquals(bench.stats.queued, 0);
  assertEquals(bench.wake(ANN, "ann"), [to(ANN, PONG)]);
});

// asleep

for (const qos of [0, 1, 2] as const) {
  Deno.test(`§9 asleep, message for the client: QoS ${qos} is buffered`, () => {
    const { bench, tell } = begin({ qos: 2 });
    for (let i = 1; i <= 5; i++) assertEquals(tell(`${i}`, qos, i), []);
    assertEquals(bench.stats.queued, 5);
    assert(bench.stats.queueMemory > 0);
    assertEquals(bench.run(44_999), []);
    assertEquals(stateOf(bench), "asleep");
  });
}

Deno.test("§9 asleep, message for the client: it does not restart the timer", () => {
  const { bench, tell } = begin();
  bench.run(44_000);
  assertEquals(tell("x"), []);
  assertLostAfter(bench, 1_000);
  assertEquals(bench.stats.queueMemory, 0, "a clean session keeps nothing");
});

Deno.test("§9 asleep, PINGREQ with ClientId, buffer empty: PINGRESP at once, and the timer restarts", () => {
  const { bench } = begin();
  for (let i = 0; i < 3; i++) {
    assertEquals(bench.run(44_999), []);
    assertEquals(bench.take(ANN, "05 16 61 6E 6E"), [to(ANN, PONG)]);
    assertEquals(bench.wire, ["0217"]);
    assertEquals(stateOf(bench), "asleep");
  }
  assertLostAfter(bench, 45_000);
});

Deno.test("§9 asleep, PINGREQ with ClientId, buffer not empty: QoS 0 and PINGRESP in order", () => {
  const { bench, tell } = begin();
  tell("1", 0);
  tell("2", 0);
  assertEquals(bench.wake(ANN, "ann"), [
    publishTo(ANN, { id: 1 }, "1"),
    publishTo(ANN, { id: 1 }, "2"),
    to(ANN, PONG),
  ]);
  assertEquals(stateOf(bench), "asleep");
});

Deno.test("§9 asleep, PINGREQ with ClientId, buffer not empty: the handshake of QoS 1", () => {
  const { bench, tell } = begin();
  tell("1");
  tell("2");
  assertEquals(bench.wake(ANN, "ann"), [
    publishTo(ANN, { id: 1 }, "1", { qos: 1, msgId: 1 }),
  ]);
  assertEquals(stateOf(bench), "awake");
  assertEquals(bench.take(ANN, puback(1, 1)), [
    publishTo(ANN, { id: 1 }, "2", { qos: 1, msgId: 2 }),
  ]);
  assertEquals(stateOf(bench), "awake");
  assertEquals(bench.take(ANN, puback(1, 2)), [to(ANN, PONG)]);
  assertEquals(stateOf(bench), "asleep");
  assertEquals(bench.stats.queueMemory, 0);
});

Deno.test("§9 asleep, PINGREQ with ClientId, buffer not empty: the handshake of QoS 2", () => {
  const { bench, tell } = begin({ qos: 2 });
  tell("1", 2);
  assertEquals(bench.wake(ANN, "ann"), [
    publishTo(ANN, { id: 1 }, "1", { qos: 2, msgId: 1 }),
  ]);
  assertEquals(bench.take(ANN, { type: "PUBREC", msgId: 1 }), [
    to(ANN, { type: "PUBREL", msgId: 1 }),
  ]);
  assertEquals(stateOf(bench), "awake");
  assertEquals(bench.take(ANN, { type: "PUBCOMP", msgId: 1 }), [
    to(ANN, PONG),
  ]);
  assertEquals(stateOf(bench), "asleep");
});

Deno.test("§9 asleep, PINGREQ with ClientId, buffer not empty: REGISTER comes first where needed", () => {
  const { bench, tell } = begin({ filter: "#" });
  tell("1", 0);
  tell("2", 1);
  const topicName = "a";
  assertEquals(bench.wake(ANN, "ann"), [
    to(ANN, { type: "REGISTER", topicId: 1, msgId: 1, topicName }),
  ]);
  assertEquals(bench.take(ANN, regack(1, 1)), [
    publishTo(ANN, { id: 1 }, "1"),
    publishTo(ANN, { id: 1 }, "2", { qos: 1, msgId: 2 }),
  ]);
  assertEquals(bench.take(ANN, puback(1, 2)), [to(ANN, PONG)]);
});

Deno.test("§9 asleep, PINGREQ with ClientId, buffer not empty: the sleep timer stops", () => {
  const { bench, tell } = begin({ duration: 1 }, { retryMs: 10_000 });
  tell("1");
  bench.wake(ANN, "ann");
  assertEquals(bench.run(9_999), [], "six times what the sleep allows");
  assertEquals(bench.stats.lostBy.silence, 0);
  assertEquals(stateOf(bench), "awake");
  assertEquals(bench.take(ANN, puback(1, 1)), [to(ANN, PONG)]);
  assertLostAfter(bench, 1_500);
});

// awake

Deno.test("§9 awake, last message done: PINGRESP, and the sleep timer restarts", () => {
  const { bench, tell } = begin();
  tell("1");
  bench.run(40_000);
  bench.wake(ANN, "ann");
  bench.run(5_000);
  assertEquals(bench.take(ANN, puback(1, 1)), [to(ANN, PONG)]);
  assertLostAfter(bench, 45_000);
});

Deno.test("§9 awake, last message done: also when it is given up, as the client has no room", () => {
  const { bench, tell } = begin({}, { retryMs: 1_000, retries: 1 });
  tell("1");
  bench.wake(ANN, "ann");
  assertEquals(bench.take(ANN, puback(1, 1, 1)), []);
  assertEquals(bench.run(1_000).length, 1);
  assertEquals(bench.run(1_000), [to(ANN, PONG)]);
  assertEquals(bench.stats.lost.messageRefused, 1);
  assertLostAfter(bench, 45_000);
});

Deno.test("§9 awake, T_retry per message: it is sent again with DUP", () => {
  const { bench, tell } = begin({}, { retryMs: 100, retries: 4 });
  tell("1");
  bench.wake(ANN, "ann");
  for (let i = 1; i <= 4; i++) {
    assertEquals(bench.run(99), []);
    assertEquals(bench.run(1), [
      publishTo(ANN, { id: 1 }, "1", { qos: 1, msgId: 1, dup: true }),
    ]);
    assertEquals(bench.stats.retried, i);
  }
});

Deno.test("§9 awake, new message for the client: it is appended before PINGRESP", () => {
  const { bench, tell } = begin();
  tell("1");
  bench.wake(ANN, "ann");
  assertEquals(tell("2", 0), [], "in its turn");
  assertEquals(bench.take(ANN, puback(1, 1)), [
    publishTo(ANN, { id: 1 }, "2"),
    to(ANN, PONG),
  ]);
});

Deno.test("§9 awake, new message for the client: no more than up to a cap", () => {
  const { bench, tell } = begin();
  tell("first");
  let sent = bench.wake(ANN, "ann");
  let delivered = 0;
  // For each message that Ann takes, Bob has another one.
  while (sent[0]?.[1].type === "PUBLISH") {
    assert(++delivered < 2_000, "She never gets to sleep again");
    assertEquals(tell("another"), []);
    sent = bench.take(ANN, puback(1, sent[0][1].msgId));
    assertEquals(sent.length, 1);
  }
  assertEquals(sent, [to(ANN, PONG)]);
  assertEquals(stateOf(bench), "asleep");
  assertEquals(bench.stats.queued, 1, "the rest is for the next time");
});

Deno.test("§9 awake, retries exhausted: keeps the message, restarts the sleep timer, no PINGRESP", () => {
  const { bench, tell } = begin({}, { retryMs: 100, retries: 2 });
  tell("1");
  bench.wake(ANN, "ann");
  const again = publishTo(ANN, { id: 1 }, "1", {
    qos: 1,
    msgId: 1,
    dup: true,
  });
  assertEquals(bench.run(299), [again, again]);
  assertEquals(stateOf(bench), "awake");
  assertEquals(bench.run(1), []);
  assertEquals(stateOf(bench), "asleep");
  assertEquals([bench.stats.unanswered, bench.stats.wills], [1, 0]);
  assertEquals(bench.stats.queued, 1);
  assertEquals(bench.run(44_999), []);
  assertEquals(bench.wake(ANN, "ann"), [again]);
  assertEquals(bench.take(ANN, puback(1, 1)), [to(ANN, PONG)]);
  assertLostAfter(bench, 45_000);
});

Deno.test("§9 awake, retries exhausted: from there on the sleep timer runs", () => {
  const { bench, tell } = begin({}, { retryMs: 100, retries: 0 });
  tell("1");
  bench.wake(ANN, "ann");
  assertEquals(bench.run(100), []);
  assertEquals(bench.stats.unanswered, 1);
  assertLostAfter(bench, 45_000);
});

Deno.test("§9 awake, retries exhausted: of a REGISTER", () => {
  const { bench, tell } = begin({ filter: "+" }, { retryMs: 100, retries: 1 });
  tell("1", 0);
  const register = to(ANN, {
    type: "REGISTER",
    topicId: 1,
    msgId: 1,
    topicName: "a",
  });
  assertEquals(bench.wake(ANN, "ann"), [register]);
  assertEquals(bench.run(200), [register]);
  assertEquals(stateOf(bench), "asleep");
  assertEquals(bench.stats.queued, 1);
});

Deno.test("§9 awake, PINGREQ again: its messages are under way, and no PINGRESP before them", () => {
  const { bench, tell } = begin();
  tell("1");
  bench.wake(ANN, "ann");
  const sent = bench.wake(ANN, "ann");
  assert(!sent.some(([, { type }]) => type === "PINGRESP"));
  assertEquals(bench.take(ANN, puback(1, 1)), [to(ANN, PONG)]);
});

// asleep, awake

/** Ann, with one message in her buffer, asleep or awake. */
function withOneMessage(state: "asleep" | "awake", ann: Ann = {}) {
  const { bench, tell } = begin(ann);
  tell("1");
  if (state === "awake") bench.wake(ANN, "ann");
  assertEquals(stateOf(bench), state);
  return bench;
}

for (const state of ["asleep", "awake"] as const) {
  Deno.test(`§9 ${state}, CONNECT: it is active, and gets the rest as normal traffic`, () => {
    const bench = withOneMessage(state, { cleanSession: false });
    const connect = { cleanSession: false, duration: 20 };
    assertEquals(bench.connect(ANN, "ann", connect), [
      to(ANN, CONNACK),
      // It may have forgotten its ids.
      to(ANN, {
        type: "REGISTER",
        topicId: 1,
        msgId: state === "awake" ? 2 : 1,
        topicName: "a",
      }),
    ]);
    assertEquals(stateOf(bench), "active");
    const dup = state === "awake";
    assertEquals(bench.take(ANN, regack(1, dup ? 2 : 1)), [
      publishTo(ANN, { id: 1 }, "1", { qos: 1, msgId: dup ? 1 : 2, dup }),
    ]);
    assertEquals(bench.take(ANN, puback(1, dup ? 1 : 2)), []);
    assertEquals(stateOf(bench), "active");
    assertLostAfter(bench, 30_000);
  });

  Deno.test(`§9 ${state}, CONNECT with Clean: everything is forgotten`, () => {
    const bench = withOneMessage(state);
    assertEquals(bench.connect(ANN, "ann"), [to(ANN, CONNACK)]);
    assertEquals(stateOf(bench), "active");
    const { queued, queueMemory, subscriptions } = bench.stats;
    assertEquals([queued, queueMemory, subscriptions], [0, 0, 1]);
    assertEquals(bench.run(1e9), [], "neither message nor will");
  });

  Deno.test(`§9 ${state}, DISCONNECT: is answered, and there is no will`, () => {
    const bench = withOneMessage(state, { cleanSession: false });
    assertEquals(bench.take(ANN, GOODBYE), [to(ANN, GOODBYE)]);
    assertEquals(stateOf(bench), "disconnected");
    assertEquals(bench.stats.queued, 1);
    assertEquals(bench.run(1e9), []);
    assertEquals(bench.stats.wills, 0);
  });

  Deno.test(`§9 ${state}, DISCONNECT with Duration: is answered, and the new duration counts`, () => {
    const bench = withOneMessage(state);
    bench.run(9_000);
    assertEquals(bench.sleep(ANN, 10), [to(ANN, GOODBYE)]);
    assertEquals(stateOf(bench), "asleep");
    assertEquals(bench.stats.queued, 1);
    assertLostAfter(bench, 15_000);
  });

  Deno.test(`§9 ${state}, DISCONNECT with a longer Duration: the old one does not end it`, () => {
    const bench = withOneMessage(state);
    assertEquals(bench.sleep(ANN, 1_000), [to(ANN, GOODBYE)]);
    assertLostAfter(bench, 1_100_000);
  });
}

// disconnected

Deno.test("§9 disconnected: nothing supervises it", () => {
  const { bench } = begin({ duration: 0, cleanSession: false });
  bench.take(ANN, GOODBYE);
  assertEquals(bench.run(1e12), []);
  assertEquals(stateOf(bench), "disconnected");
  assertEquals(bench.stats.lostBy.silence, 0);
  assertEquals(bench.router.nextTimeout(), undefined);
});

// The ten bugs

Deno.test("bug 1: the last buffered message is followed by PINGRESP", () => {
  const { bench, tell } = begin({ qos: 2 });
  tell("0", 0);
  tell("1", 1);
  tell("2", 2);
  const sent = bench.wake(ANN, "ann");
  sent.push(...bench.take(ANN, puback(1, 1)));
  sent.push(...bench.take(ANN, { type: "PUBREC", msgId: 2 }));
  sent.push(...bench.take(ANN, { type: "PUBCOMP", msgId: 2 }));
  assertEquals(sent, [
    publishTo(ANN, { id: 1 }, "0"),
    publishTo(ANN, { id: 1 }, "1", { qos: 1, msgId: 1 }),
    publishTo(ANN, { id: 1 }, "2", { qos: 2, msgId: 2 }),
    to(ANN, { type: "PUBREL", msgId: 2 }),
    to(ANN, PONG),
  ]);
});

Deno.test("bug 1: also when the message cannot be delivered", () => {
  const { bench, tell } = begin({}, { maxPacket: 32 });
  tell("x".repeat(100));
  assertEquals(bench.wake(ANN, "ann"), [to(ANN, PONG)]);
  assertEquals(bench.stats.lost.tooLong, 1);
});

Deno.test("bug 2: PINGRESP does not come before the buffered messages", () => {
  const { bench, tell } = begin();
  tell("1");
  const types = bench.wake(ANN, "ann").map(([, { type }]) => type);
  assertEquals(types, ["PUBLISH"]);
  assertEquals(bench.run(9_999), []);
});

Deno.test("bug 3: what was delivered is not delivered at the next awakening", () => {
  const { bench, tell } = begin({ qos: 2 });
  tell("0", 0);
  tell("1", 1);
  tell("2", 2);
  bench.wake(ANN, "ann");
  bench.take(ANN, puback(1, 1));
  bench.take(ANN, { type: "PUBREC", msgId: 2 });
  bench.take(ANN, { type: "PUBCOMP", msgId: 2 });
  const { delivered } = bench.stats;
  for (let i = 0; i < 3; i++) {
    bench.run(10_000);
    assertEquals(bench.wake(ANN, "ann"), [to(ANN, PONG)]);
  }
  assertEquals([bench.stats.delivered, delivered], [3, 3]);
});

for (const qos of [0, 1] as const) {
  Deno.test(`bug 4: after PINGRESP nothing is pushed to the sleeper at QoS ${qos}`, () => {
    const { bench, tell } = begin();
    tell("1", 0);
    assertEquals(bench.wake(ANN, "ann").at(-1), to(ANN, PONG));
    assertEquals(tell("2", qos), []);
    assertEquals(bench.run(44_999), []);
    assertEquals(
      bench.wake(ANN, "ann")[0],
      publishTo(ANN, { id: 1 }, "2", { qos, msgId: qos }),
    );
  });
}

Deno.test("bug 5: the keep alive does not run while it sleeps", () => {
  const { bench } = begin({ keepAlive: 5, duration: 1_000 });
  assertLostAfter(bench, 1_100_000);
});

Deno.test("bug 5: nor between two awakenings", () => {
  const { bench, tell } = begin({ keepAlive: 5, duration: 1_000 });
  tell("1", 0);
  assertEquals(bench.wake(ANN, "ann").length, 2);
  assertLostAfter(bench, 1_100_000);
});

Deno.test("bug 6: who returns by CONNECT gets what was buffered, QoS 0 included", () => {
  const { bench, tell } = begin({ cleanSession: false });
  tell("0", 0);
  tell("1", 1);
  assertEquals(bench.connect(ANN, "ann", { cleanSession: false }), [
    to(ANN, CONNACK),
    to(ANN, { type: "REGISTER", topicId: 1, msgId: 1, topicName: "a" }),
  ]);
  assertEquals(bench.take(ANN, regack(1, 1)), [
    publishTo(ANN, { id: 1 }, "0"),
    publishTo(ANN, { id: 1 }, "1", { qos: 1, msgId: 2 }),
  ]);
  assertEquals(bench.take(ANN, puback(1, 2)), []);
  assertEquals(bench.stats.queued, 0);
});

Deno.test("bug 7: after the REGISTER of a wildcard's topic comes its PUBLISH", () => {
  const { bench, tell } = begin({ filter: "+" });
  tell("x", 0);
  const [first] = bench.wake(ANN, "ann");
  assertEquals(first?.[1].type, "REGISTER");
  assertEquals(bench.take(ANN, regack(1, 1)), [
    publishTo(ANN, { id: 1 }, "x"),
    to(ANN, PONG),
  ]);
  // From then on she knows it.
  tell("y", 0);
  assertEquals(bench.wake(ANN, "ann"), [
    publishTo(ANN, { id: 1 }, "y"),
    to(ANN, PONG),
  ]);
});

Deno.test("bug 8: topic ids outlive a sleep", () => {
  const { bench, topic } = begin({ duration: 0 });
  const id = bench.register(ANN, "b");
  bench.subscribe(ANN, "b");
  for (let i = 0; i < 2; i++) {
    bench.sleep(ANN, 30);
    const b = { id: bench.register(BOB, "b") };
    bench.publish(BOB, b, "x");
    assertEquals(bench.wake(ANN, "ann"), [
      publishTo(ANN, { id }, "x"),
      to(ANN, PONG),
    ]);
  }
  assert(topic.id !== id);
});

Deno.test("bug 8: after CONNECT without Clean an id is registered before it is used", () => {
  const { bench, tell } = begin({ duration: 0, cleanSession: false });
  bench.take(ANN, GOODBYE);
  tell("1");
  assertEquals(bench.connect(ANN, "ann", { cleanSession: false }), [
    to(ANN, CONNACK),
    to(ANN, { type: "REGISTER", topicId: 1, msgId: 1, topicName: "a" }),
  ]);
  assertEquals(tell("2", 0), [], "not before REGACK");
  assertEquals(bench.take(ANN, regack(1, 1)), [
    publishTo(ANN, { id: 1 }, "1", { qos: 1, msgId: 2 }),
  ]);
});

Deno.test("bug 8: a message that was acknowledged to its publisher is not lost", () => {
  const { bench, topic } = begin({ cleanSession: false });
  assertEquals(bench.publish(BOB, topic, "x", { qos: 1 }), [
    to(BOB, puback(topic.id, 400)),
  ]);
  assertEquals(bench.run(45_000), [LAST_WORDS]);
  assertEquals(stateOf(bench), "lost");
  assertEquals(bench.stats.queued, 1);
  const types = bench.connect(ANN, "ann", { cleanSession: false })
    .map(([, { type }]) => type);
  assertEquals(types, ["CONNACK", "REGISTER"]);
});

Deno.test("bug 9: an id that the client refused is not published to", () => {
  const { bench, tell } = begin({ filter: "#" });
  tell("1", 0);
  tell("2", 1);
  bench.wake(ANN, "ann");
  assertEquals(bench.take(ANN, regack(1, 1, 2)), [to(ANN, PONG)]);
  assertEquals(bench.stats.lost.topicRefused, 2);
  assertEquals(tell("3"), []);
  assertEquals(bench.wake(ANN, "ann"), [to(ANN, PONG)]);
  assertEquals(bench.stats.lost.topicRefused, 3);
  assertEquals(bench.stats.subscriptions, 2, "the wildcard's stays (§6.10)");
});

Deno.test("bug 9: until the client registers that topic itself", () => {
  const { bench, tell } = begin({ filter: "#" });
  tell("1", 0);
  bench.wake(ANN, "ann");
  bench.take(ANN, regack(1, 1, 2));
  assertEquals(bench.register(ANN, "a"), 1);
  tell("2", 0);
  assertEquals(bench.wake(ANN, "ann"), [
    publishTo(ANN, { id: 1 }, "2"),
    to(ANN, PONG),
  ]);
});

Deno.test("bug 10: a wake-up PINGREQ is known by its address", () => {
  const { bench, tell } = begin();
  tell("1", 0);
  assertEquals(bench.wake(ANN, "ann"), [
    publishTo(ANN, { id: 1 }, "1"),
    to(ANN, PONG),
  ]);
  assertEquals(bench.stats.moved, 0);
});

Deno.test("bug 10: a wake-up PINGREQ is known by its ClientId from a new address", () => {
  const { bench, tell } = begin();
  tell("1");
  const expected: SentPacket[] = [
    publishTo(FAR, { id: 1 }, "1", { qos: 1, msgId: 1 }),
  ];
  assertEquals(bench.wake(FAR, "ann"), expected);
  assertEquals(bench.stats.moved, 1);
  assertEquals(bench.take(ANN, puback(1, 1)), [], "she is not there any more");
  assertEquals(bench.take(FAR, puback(1, 1)), [to(FAR, PONG)]);
  assertEquals(bench.run(44_999), []);
  assertEquals(bench.wake(FAR, "ann"), [to(FAR, PONG)]);
});
