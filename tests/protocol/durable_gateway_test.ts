/**
 * What a durable router keeps of all that clients tell it, which of its answers
 * are promises, and that it goes on after a restart as if there had been none.
 */

import { assert, assertEquals } from "@std/assert";
import { nodePeerOf, wrapFor } from "../../wire/forwarder.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import type { RouterOptions } from "../../broker/options.ts";
import type { Connect, MqttSnPacket } from "../../wire/packets.ts";
import type { StoreChange } from "../../broker/records.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import {
  answerAll,
  answerOf,
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
import { drainSends, packetIn, takeSends } from "../support/kept.ts";
import { ANN, BOB, CYD } from "../support/router.ts";

const KEPT = { cleanSession: false } as const;
const CONNACK: MqttSnPacket = { type: "CONNACK", returnCode: 0 };

function makeBench(options: RouterOptions = {}): GatewayBench {
  return new GatewayBench({ isDurable: true, ...options });
}

/** The types of what was told since that was asked last; it is kept. */
function changesOf(bench: GatewayBench): string[] {
  const types = bench.changes.map(({ type }) => type);
  bench.commit();
  return types;
}

/** Ends the router after it has kept everything, and starts the next. */
function restart(bench: GatewayBench, options: RouterOptions = {}) {
  bench.commit();
  return bench.restart(options);
}

/** What a client reads of all that it is sent and answers. */
function heard(bench: GatewayBench, peer: Peer, sent: readonly SentPacket[]) {
  return answerAll(bench, peer, sent)
    .filter(({ type }) => type === "PUBLISH")
    .map(textOf);
}

/** Bob, clean, who publishes to `a`. */
function addBob(bench: GatewayBench) {
  bench.connect(BOB, "bob");
  const topic = { id: bench.register(BOB, "a") };
  let msgId = 500;
  return (data: string, qos: 0 | 1 | 2 = 1, retain = false) => {
    const packet = { qos, retain, msgId: qos > 0 ? ++msgId : 0 };
    const sent = bench.publish(BOB, topic, data, packet);
    if (qos === 2) bench.take(BOB, { type: "PUBREL", msgId });
    return sent.filter(([peer]) => peer !== BOB.key);
  };
}

// What each packet persists

Deno.test("Router persists of a kept client what it is, once it is accepted", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", { ...KEPT, duration: 60 });
  assertEquals(bench.changes, [{
    type: "session",
    session: 1,
    clientId: "ann",
    isClean: false,
    state: "active",
    peer: { hostname: "127.0.0.1", port: 1001, wirelessNodeId: undefined },
    allowedMs: 90_000,
    duration: 60,
    announcedWill: false,
    leftAt: 0,
    will: undefined,
  }]);
});

Deno.test("Router persists a will when it is complete, and each change of it", () => {
  const bench = makeBench();
  const will = {
    topicName: "gone",
    data: "ann",
    qos: 1,
    retain: true,
  } as const;
  bench.connect(ANN, "ann", { ...KEPT, will: true });
  bench.take(ANN, {
    type: "WILLTOPIC",
    will: { qos: 1, retain: true, topicName: "gone" },
  });
  assertEquals(bench.changes, [], "nothing is promised yet");
  bench.take(ANN, { type: "WILLMSG", data: encodeUtf8(will.data) });
  const willIs = () => {
    const [change, ...rest] = bench.changes.splice(0);
    assert(change?.type === "session" && rest.length === 0);
    return change.will;
  };
  const { data, ...fields } = will;
  assertEquals(willIs(), { ...fields, payload: encodeUtf8(data) });
  bench.take(ANN, { type: "WILLMSGUPD", data: encodeUtf8("x") });
  assertEquals(willIs(), { ...fields, payload: encodeUtf8("x") });
  bench.take(ANN, {
    type: "WILLTOPICUPD",
    will: { qos: 0, retain: false, topicName: "b" },
  });
  assertEquals(willIs(), {
    topicName: "b",
    qos: 0,
    retain: false,
    payload: encodeUtf8("x"),
  });
  bench.take(ANN, { type: "WILLTOPICUPD", will: undefined });
  assertEquals(willIs(), undefined);
});

Deno.test("Router persists what a kept client registers, subscribes to and takes back", () => {
  const bench = makeBench({ predefined: new Map([[5, "p"]]) });
  bench.connect(ANN, "ann", KEPT);
  changesOf(bench);
  bench.register(ANN, "a");
  assertEquals(changesOf(bench), ["topicId", "topicId"]);
  bench.register(ANN, "a");
  assertEquals(changesOf(bench), [], "that is nothing new");
  bench.subscribe(ANN, "b", 1);
  assertEquals(changesOf(bench), ["topicId", "topicId", "subscription"]);
  bench.subscribe(ANN, "b", 1);
  assertEquals(changesOf(bench), [], "a copy");
  bench.subscribe(ANN, "b", 2, 201);
  assertEquals(changesOf(bench), ["subscription"]);
  bench.subscribe(ANN, "c/+", 1, 202);
  assertEquals(changesOf(bench), ["subscription"]);
  bench.subscribe(ANN, { predefined: 5 }, 1, 203);
  assertEquals(changesOf(bench), ["topicId", "subscription"]);
  bench.subscribe(ANN, { short: "ab" }, 1, 204);
  assertEquals(changesOf(bench), ["topicId", "subscription"]);
  bench.unsubscribe(ANN, "c/+");
  assertEquals(changesOf(bench), ["subscriptionEnd"]);
  bench.unsubscribe(ANN, "b");
  assertEquals(changesOf(bench), ["subscriptionEnd", "topicId"]);
  bench.unsubscribe(ANN, "b");
  assertEquals(changesOf(bench), [], "there is none any more");
});

Deno.test("Router persists which messages of QoS 2 a kept client has sent, and what is retained", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  const topic = { id: bench.register(ANN, "a") };
  changesOf(bench);
  bench.publish(ANN, topic, "x", { qos: 0 });
  bench.publish(ANN, topic, "x", { qos: 1 });
  assertEquals(changesOf(bench), ["datum", "datum"]);
  bench.publish(ANN, topic, "x", { qos: 2 });
  assertEquals(changesOf(bench), ["received", "datum"]);
  bench.publish(ANN, topic, "x", { qos: 2, dup: true });
  assertEquals(changesOf(bench), []);
  bench.take(ANN, { type: "PUBREL", msgId: 400 });
  assertEquals(changesOf(bench), ["received"]);
  bench.take(ANN, { type: "PUBREL", msgId: 400 });
  assertEquals(changesOf(bench), []);
  bench.publish(ANN, topic, "x", { retain: true });
  assertEquals(changesOf(bench), ["retained", "datum"]);
  bench.publish(ANN, topic, "", { retain: true });
  assertEquals(changesOf(bench), ["retainedEnd"]);
  bench.publish(ANN, topic, "", { retain: true });
  assertEquals(changesOf(bench), []);
});

Deno.test("Router persists what waits for a kept client, and how far it is", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, "a", 2);
  const publish = addBob(bench);
  changesOf(bench);
  const types = () => changesOf(bench).filter((type) => type !== "datum");
  publish("0", 0);
  assertEquals(types(), [], "it has left");
  publish("1", 1);
  assertEquals(types(), ["queued"]);
  publish("2", 2);
  assertEquals(types(), ["queued"]);
  bench.take(ANN, puback(1, 1));
  assertEquals(types(), ["queuedEnd", "inFlight"]);
  bench.take(ANN, { type: "PUBREC", msgId: 2 });
  assertEquals(types(), ["inFlight"]);
  bench.take(ANN, { type: "PUBCOMP", msgId: 2 });
  assertEquals(types(), ["queuedEnd"]);
});

Deno.test("Router persists that a kept client sleeps, moves and leaves, not that it wakes", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  bench.register(ANN, "a");
  changesOf(bench);
  bench.take(ANN, { type: "PINGREQ", clientId: "" });
  assertEquals(changesOf(bench), []);
  bench.sleep(ANN, 60);
  assertEquals(changesOf(bench), ["session"]);
  bench.wake(ANN, "ann");
  assertEquals(changesOf(bench), []);
  bench.wake(CYD, "ann");
  assertEquals(changesOf(bench), ["session"]);
  bench.take(CYD, GOODBYE);
  const [change] = bench.changes;
  assert(change?.type === "session" && bench.changes.length === 1);
  assertEquals([change.state, change.peer], ["disconnected", undefined]);
});

Deno.test("Router persists nothing of clean clients that are awake, nor of strangers", () => {
  const bench = makeBench();
  bench.connectWithWill(ANN, "ann", { topicName: "gone", data: "x" });
  bench.subscribe(ANN, "a", 2);
  const publish = addBob(bench);
  for (const qos of [0, 1, 2] as const) publish("x", qos);
  bench.take(ANN, { type: "PUBREC", msgId: 2 });
  bench.wake(CYD, "ann");
  bench.publish(CYD, { short: "ab" }, "x", { qos: -1 });
  bench.publish(CYD, { id: 1 }, "x", { qos: 2 });
  bench.take(CYD, { type: "SEARCHGW", radius: 0 });
  bench.take(BOB, GOODBYE);
  bench.run(1e6);
  assertEquals(new Set(changesOf(bench)), new Set(["datum"]));
});

Deno.test("Router persists all of a clean client that falls asleep, and its end", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", { duration: 10 });
  bench.subscribe(ANN, "a", 1);
  const publish = addBob(bench);
  publish("x", 2);
  changesOf(bench);
  bench.sleep(ANN, 60);
  const types = ["session", "subscription", "topicId", "queued"];
  assertEquals(changesOf(bench), types);
  publish("y", 0);
  assertEquals(changesOf(bench), ["queued", "datum"]);
  bench.connect(ANN, "ann");
  assertEquals(changesOf(bench), ["sessionEnd"]);
  assertEquals(bench.store.load().filter(({ type }) => type !== "datum"), []);
});

Deno.test("Router persists that a session has gone: by CONNECT, DISCONNECT, silence", () => {
  const ends: ((bench: GatewayBench) => void)[] = [
    (bench) => bench.connect(CYD, "ann"),
    (bench) => {
      bench.unsubscribe(ANN, "c/+");
      bench.take(ANN, GOODBYE);
    },
    (bench) => {
      bench.connect(ANN, "ann");
      bench.sleep(ANN, 10);
      bench.run(15_000);
    },
  ];
  for (const end of ends) {
    const bench = makeBench();
    bench.connect(ANN, "ann", KEPT);
    bench.subscribe(ANN, "c/+", 1);
    bench.commit();
    assertEquals(bench.store.load().length, 2);
    end(bench);
    assertEquals(changesOf(bench).at(-1), "sessionEnd");
    assertEquals(bench.store.load(), []);
  }
});

Deno.test("Router gives each session that it keeps a number of its own, also after a restart", () => {
  const bench = makeBench();
  const numbers = () => {
    bench.commit();
    return bench.store.load().flatMap((row) =>
      row.type === "session" ? [row.session] : []
    );
  };
  bench.connect(ANN, "ann", KEPT);
  bench.connect(BOB, "bob", KEPT);
  assertEquals(numbers(), [1, 2]);
  bench.connect(ANN, "ann");
  bench.connect(ANN, "ann", KEPT);
  assertEquals(numbers(), [2, 3]);
  restart(bench);
  bench.connect(CYD, "cyd", KEPT);
  assertEquals(numbers(), [2, 3, 4]);
});

Deno.test("Router persists no topics of its own", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  answerAll(bench, ANN, bench.subscribe(ANN, "$SYS/broker/uptime", 1));
  answerAll(bench, ANN, bench.run(5_000));
  bench.commit();
  const types = bench.store.load().map(({ type }) => type);
  assertEquals(types, ["session", "subscription", "topicId"]);
});

Deno.test("Router persists nothing without a store", () => {
  const bench = new GatewayBench();
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, "a", 2);
  addBob(bench)("x", 2, true);
  bench.sleep(ANN, 60);
  assertEquals(bench.changes, []);
  assertEquals(bench.router.stats().store, "none");
  bench.router.handleStore("refusing");
  assertEquals(bench.router.stats().store, "none");
});

// Which answers are promises

/** What was sent, by type, and whether it is a promise. */
function promisesOf(
  bench: GatewayBench,
  peer: Peer,
  packet: MqttSnPacket,
  receiver = peer,
): (readonly [type: string, isPromise: boolean])[] {
  return takeSends(bench, peer, packet)
    .filter(({ peer: { key } }) => key === receiver.key)
    .map(({ bytes, isPromise }) => [packetIn(bytes).type, isPromise] as const);
}

function connectOf(clientId: string, fields: Partial<Connect> = {}): Connect {
  return {
    type: "CONNECT",
    will: false,
    cleanSession: false,
    protocolId: 1,
    duration: 0,
    clientId,
    ...fields,
  };
}

for (const cleanSession of [false, true]) {
  const who = cleanSession ? "clean" : "kept";
  Deno.test(`Router promises by what it acknowledges to a ${who} client, and only by that`, () => {
    const bench = makeBench({ maxSubscriptions: 2 });
    const say = (packet: MqttSnPacket) => promisesOf(bench, ANN, packet);
    assertEquals(say(connectOf("ann", { cleanSession, will: true })), [
      ["WILLTOPICREQ", false],
    ]);
    const will = { qos: 0, retain: false, topicName: "gone" } as const;
    assertEquals(say({ type: "WILLTOPIC", will }), [["WILLMSGREQ", false]]);
    const data = encodeUtf8("x");
    assertEquals(say({ type: "WILLMSG", data }), [["CONNACK", true]]);
    assertEquals(say({ type: "WILLTOPICUPD", will }), [[
      "WILLTOPICRESP",
      true,
    ]]);
    assertEquals(say({ type: "WILLMSGUPD", data }), [["WILLMSGRESP", true]]);
    const register = { type: "REGISTER", topicId: 0, msgId: 1 } as const;
    assertEquals(say({ ...register, topicName: "a" }), [["REGACK", true]]);
    assertEquals(say({ ...register, topicName: "#" }), [["REGACK", false]]);
    const subscribe = (topicName: string, msgId: number): MqttSnPacket => ({
      type: "SUBSCRIBE",
      dup: false,
      qos: 2,
      msgId,
      topic: { topicIdType: "normal", topicName },
    });
    assertEquals(say(subscribe("b", 2)), [["SUBACK", true]]);
    assertEquals(say(subscribe("b", 2)), [["SUBACK", true]]);
    assertEquals(say(subscribe("c", 3)), [["SUBACK", true]]);
    assertEquals(say(subscribe("d", 4)), [["SUBACK", false]]);
    const unsubscribe = { type: "UNSUBSCRIBE", msgId: 5 } as const;
    const topic = { topicIdType: "normal", topicName: "c" } as const;
    assertEquals(say({ ...unsubscribe, topic }), [["UNSUBACK", true]]);
    assertEquals(say(publishOf(1, "x", { qos: 0 })), []);
    const one = publishOf(1, "x", { qos: 1, msgId: 6 });
    assertEquals(say(one), [["PUBACK", true]]);
    assertEquals(say({ ...one, topicId: 99 }), [["PUBACK", false]]);
    const two = publishOf(1, "x", { qos: 2, msgId: 7 });
    assertEquals(say(two), [["PUBREC", true]]);
    assertEquals(say({ ...two, dup: true }), [["PUBREC", true]]);
    assertEquals(say({ type: "PUBREL", msgId: 7 }), [["PUBCOMP", true]]);
    assertEquals(say({ type: "PUBREL", msgId: 8 }), [["PUBCOMP", true]]);
    assertEquals(say({ type: "PINGREQ", clientId: "" }), [["PINGRESP", false]]);
    assertEquals(say({ type: "SEARCHGW", radius: 0 }), [["GWINFO", false]]);
    const sleep = { type: "DISCONNECT", duration: 60 } as const;
    assertEquals(say(sleep), [["DISCONNECT", true]]);
    assertEquals(say({ type: "PINGREQ", clientId: "ann" }), [
      ["PINGRESP", false],
    ]);
    assertEquals(say(GOODBYE), [["DISCONNECT", true]], "its will is void");
    assertEquals(say(GOODBYE), [["DISCONNECT", false]], "a stranger by now");
    assertEquals(say({ type: "PUBREL", msgId: 9 }), [["DISCONNECT", false]]);
  });
}

Deno.test("Router promises a clean client that leaves nothing", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann");
  assertEquals(promisesOf(bench, ANN, GOODBYE), [["DISCONNECT", false]]);
});

Deno.test("Router promises by REGISTER, PUBREL and PUBLISH at QoS 2, not by PUBLISH at 0 and 1", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, "+", 2);
  bench.connect(BOB, "bob");
  const id = bench.register(BOB, "a");
  const publish = (qos: 0 | 1 | 2) =>
    promisesOf(bench, BOB, publishOf(id, "x", { qos, msgId: qos }), ANN);
  const say = (packet: MqttSnPacket) => promisesOf(bench, ANN, packet);
  assertEquals(publish(0), [["REGISTER", true]]);
  assertEquals(say(regack(1, 1)), [["PUBLISH", false]]);
  assertEquals(publish(1), [["PUBLISH", false]]);
  assertEquals(say(puback(1, 2)), []);
  assertEquals(publish(2), [["PUBLISH", true]]);
  assertEquals(say({ type: "PUBREC", msgId: 3 }), [["PUBREL", true]]);
  assertEquals(say({ type: "PUBREC", msgId: 3 }), [["PUBREL", true]]);
  assertEquals(say({ type: "PUBCOMP", msgId: 3 }), []);
});

Deno.test("Router promises nothing to who is taken over, refused, or listens", () => {
  const bench = makeBench({ maxClients: 1, advertise: 60 });
  takeSends(bench, ANN, connectOf("ann"));
  assertEquals(promisesOf(bench, BOB, connectOf("ann"), ANN), [
    ["DISCONNECT", false],
  ]);
  assertEquals(promisesOf(bench, CYD, connectOf("cyd")), [["CONNACK", false]]);
  assertEquals(promisesOf(bench, BOB, connectOf("ann", { protocolId: 9 })), [
    ["CONNACK", false],
  ]);
});

Deno.test("Router promises to a forwarded node what it promises to others", () => {
  const bench = makeBench();
  const node = nodePeerOf(CYD, { wirelessNodeId: Uint8Array.of(7) });
  const wrapped = wrapFor(node, encodePacket(connectOf("node")));
  const [send] = takeSends(bench, CYD, wrapped);
  assertEquals([send?.peer.key, send?.isPromise], [node.key, true]);
});

Deno.test("Router promises by the acknowledgement of a classic publish, not by a history or a refusal", () => {
  const bench = makeBench();
  const ask = (request: object) =>
    takeSends(bench, ANN, encodeUtf8(JSON.stringify(request)))
      .map(({ bytes, isPromise }) => [
        new TextDecoder().decode(bytes),
        isPromise,
      ]);
  assertEquals(ask({ type: "publish", topic: "a", data: "x" }), [
    ["Broker has recieved message", true],
  ]);
  assertEquals(ask({ type: "subscribe", topic: "a" }), [["x", false]]);
  assertEquals(ask({ type: "publish", topic: " ", data: "x" }), [
    ["Invalid topic provided", false],
  ]);
});

Deno.test("Router tells what is to be kept before it sends anything that follows from it", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, "+", 2);
  bench.connect(BOB, "bob", KEPT);
  bench.register(BOB, "a");
  const bytes = encodePacket(
    publishOf(1, "x", { qos: 2, msgId: 1, retain: true }),
  );
  bench.router.handleDatagram(0, BOB, bytes);
  const types: string[] = [];
  for (let effect; (effect = bench.router.pollEffect()) !== undefined;) {
    types.push(effect.type);
  }
  assertEquals(
    types.lastIndexOf("persist") + 1,
    types.filter((type) => type === "persist").length,
  );
  assert(types.includes("send"));
});

// After a restart

Deno.test("Router goes on with an active kept client without a CONNECT", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", { ...KEPT, duration: 60 });
  bench.subscribe(ANN, "a", 1);
  assertEquals(restart(bench), []);
  assertEquals(bench.take(ANN, { type: "PINGREQ", clientId: "" }), [
    to(ANN, PONG),
  ]);
  const publish = addBob(bench);
  assertEquals(heard(bench, ANN, publish("x")), ["x"]);
});

Deno.test("Router takes a CONNECT after a restart for one, not for a copy", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  restart(bench);
  assertEquals(bench.connect(ANN, "ann", KEPT), [to(ANN, CONNACK)]);
  assertEquals([bench.stats.connected, bench.stats.repeated], [1, 0]);
});

Deno.test("Router knows topic ids after a restart, and gives no other name one of them", () => {
  const bench = makeBench({ predefined: new Map([[5, "p"]]) });
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, { predefined: 5 }, 1);
  const ids = ["a", "b", "c"].map((name) => bench.register(ANN, name));
  bench.connect(CYD, "cyd", KEPT);
  bench.subscribe(CYD, "b", 1);
  restart(bench);
  const sent = bench.publish(ANN, { id: ids[1]! }, "x", { qos: 1 });
  assertEquals(sent[0], to(ANN, puback(ids[1]!, 400)));
  assertEquals(heard(bench, CYD, sent), ["x"]);
  assertEquals(bench.register(ANN, "b"), ids[1]);
  assertEquals(bench.register(ANN, "d"), ids[2]! + 1);
  // By a pre-defined id nothing has to be registered again.
  const [publish] = packetsTo(ANN, bench.publish(CYD, { predefined: 5 }, "y"));
  assertEquals(publish, publishOf(5, "y", { topicIdType: "predefined" }));
});

Deno.test("Router publishes the will of a client that stays silent after a restart", () => {
  const bench = makeBench();
  const will = {
    topicName: "gone",
    data: "ann",
    qos: 1,
    retain: true,
  } as const;
  bench.connectWithWill(ANN, "ann", will, { ...KEPT, duration: 10 });
  bench.connect(CYD, "cyd", KEPT);
  bench.subscribe(CYD, "gone", 1);
  bench.run(10_000);
  restart(bench);
  assertEquals(bench.run(14_999), []);
  assertEquals(heard(bench, CYD, bench.run(1)), ["ann"]);
  const { wills, retained, clients } = bench.stats;
  assertEquals([wills, retained, clients.lost], [1, 1, 1]);
  restart(bench);
  bench.run(1e6);
  assertEquals(bench.stats.wills, 0, "not twice");
});

Deno.test("Router delivers what it queued to a client that comes back after a restart", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, "a", 2);
  bench.take(ANN, GOODBYE);
  const publish = addBob(bench);
  for (const qos of [0, 1, 2] as const) publish(`${qos}`, qos);
  restart(bench);
  assertEquals(bench.stats.queued, 2);
  const sent = bench.connect(CYD, "ann", KEPT);
  assertEquals(heard(bench, CYD, sent), ["1", "2"]);
  restart(bench);
  assertEquals([bench.stats.queued, bench.connect(CYD, "ann", KEPT)], [
    0,
    [to(CYD, CONNACK)],
  ]);
});

Deno.test("Router goes on with QoS 2 where it was: the same PUBLISH with DUP, or PUBREL", () => {
  for (const isReleased of [false, true]) {
    const bench = makeBench();
    bench.connect(ANN, "ann", KEPT);
    bench.subscribe(ANN, { short: "ab" }, 2);
    bench.connect(BOB, "bob");
    const qos2 = { qos: 2, msgId: 1 } as const;
    assertEquals(
      packetsTo(ANN, bench.publish(BOB, { short: "ab" }, "x", qos2)),
      [publishTo(ANN, { short: "ab" }, "x", qos2)[1]],
    );
    if (isReleased) bench.take(ANN, { type: "PUBREC", msgId: 1 });
    const sent = restart(bench);
    const pubrel = to(ANN, { type: "PUBREL", msgId: 1 });
    const dup = { ...qos2, dup: true };
    assertEquals(sent, [
      isReleased ? pubrel : publishTo(ANN, { short: "ab" }, "x", dup),
    ]);
    if (!isReleased) {
      assertEquals(bench.take(ANN, { type: "PUBREC", msgId: 1 }), [pubrel]);
    }
    bench.take(ANN, { type: "PUBCOMP", msgId: 1 });
    assertEquals(bench.stats.queued, 0);
    assertEquals(restart(bench), []);
  }
});

Deno.test("Router remembers what came at QoS 2: a copy after a restart is not published", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  const topic = { id: bench.register(ANN, "a") };
  const qos2 = { qos: 2, msgId: 7 } as const;
  bench.publish(ANN, topic, "x", qos2);
  restart(bench);
  assertEquals(bench.publish(ANN, topic, "x", { ...qos2, dup: true }), [
    to(ANN, { type: "PUBREC", msgId: 7 }),
  ]);
  bench.take(ANN, { type: "PUBREL", msgId: 7 });
  restart(bench);
  bench.publish(ANN, topic, "x", { ...qos2, dup: true });
  assertEquals([bench.stats.published, bench.stats.repeated], [0, 1], "late");
  bench.publish(ANN, topic, "y", qos2);
  assertEquals(bench.stats.published, 1, "another message");
  bench.take(ANN, { type: "PUBREL", msgId: 7 });
  restart(bench);
  bench.run(2_000);
  bench.publish(ANN, topic, "y", qos2);
  assertEquals(bench.stats.published, 1, "the same, but much later");
});

Deno.test("Router retains after a restart what it retained before, and no more", () => {
  const bench = makeBench();
  const publish = addBob(bench);
  publish("old", 1, true);
  publish("new", 1, true);
  bench.publish(BOB, { short: "ab" }, "x", { retain: true });
  bench.publish(BOB, { short: "ab" }, "", { retain: true });
  restart(bench);
  assertEquals(bench.stats.retained, 1);
  bench.connect(ANN, "ann");
  assertEquals(heard(bench, ANN, bench.subscribe(ANN, "#", 1)), ["new"]);
});

for (const cleanSession of [true, false]) {
  Deno.test(`Router lets a sleeper${cleanSession ? " with a clean session" : ""} fetch after a restart all that was buffered`, () => {
    const bench = makeBench();
    bench.connect(ANN, "ann", { cleanSession, duration: 60 });
    bench.subscribe(ANN, "a", 2);
    bench.sleep(ANN, 100);
    const publish = addBob(bench);
    for (const qos of [0, 1, 2] as const) publish(`${qos}`, qos);
    restart(bench);
    addBob(bench)("3", 0);
    assertEquals(bench.stats.clients.asleep, 1);
    const packets = answerAll(bench, CYD, bench.wake(CYD, "ann"));
    assertEquals(
      packets.filter(({ type }) => type === "PUBLISH").map(textOf),
      ["0", "1", "2", "3"],
    );
    assertEquals(packets.at(-1), PONG);
    restart(bench);
    assertEquals(bench.wake(CYD, "ann"), [to(CYD, PONG)]);
    bench.run(110_000);
    const { clients } = bench.stats;
    assertEquals([clients.asleep, clients.lost], [0, cleanSession ? 0 : 1]);
  });
}

Deno.test("Router goes on with who was awake: it asks again for what it did not get", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, { short: "ab" }, 1);
  bench.sleep(ANN, 100);
  bench.connect(BOB, "bob");
  bench.publish(BOB, { short: "ab" }, "x", { qos: 1 });
  const first = bench.wake(ANN, "ann");
  const qos1 = { qos: 1, msgId: 1 } as const;
  assertEquals(first, [publishTo(ANN, { short: "ab" }, "x", qos1)]);
  assertEquals(restart(bench), [], "who sleeps is not spoken to");
  assertEquals(bench.wake(ANN, "ann"), [
    publishTo(ANN, { short: "ab" }, "x", { ...qos1, dup: true }),
  ]);
});

Deno.test("Router speaks after a restart to a node behind its forwarder", () => {
  const bench = makeBench();
  const node = nodePeerOf(CYD, { wirelessNodeId: Uint8Array.of(7, 8) });
  const say = (packet: MqttSnPacket) =>
    takeSends(bench, CYD, wrapFor(node, encodePacket(packet)));
  say(connectOf("node"));
  const subscribe = {
    type: "SUBSCRIBE",
    dup: false,
    qos: 1,
    msgId: 1,
  } as const;
  const topic = { topicIdType: "short", topicId: 0x6162 } as const;
  say({ ...subscribe, topic });
  restart(bench);
  bench.connect(BOB, "bob");
  const packet: MqttSnPacket = {
    ...publishOf(0x6162, "x"),
    topicIdType: "short",
  };
  const [send] = takeSends(bench, BOB, packet);
  assertEquals(send?.peer.key, node.key);
  assertEquals(send?.bytes.toHex(), "05fe000708" + "080c02616200" + "0078");
});

Deno.test("Router delivers after a restart what is retained and had not all been delivered", () => {
  const bench = makeBench();
  bench.connect(BOB, "bob");
  for (const name of ["aa", "bb", "cc"]) {
    bench.publish(BOB, { short: name }, name, { qos: 1, retain: true });
  }
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, "+", 1);
  const sent = restart(bench);
  assertEquals(heard(bench, ANN, sent), ["aa", "bb", "cc"]);
  assertEquals(restart(bench), [], "now they have been");
});

/** A client that answers only so often; it knows what comes twice. */
class Listener {
  readonly heard: string[] = [];
  readonly #unreleased = new Set<number>();
  readonly #bench: GatewayBench;

  constructor(bench: GatewayBench) {
    this.#bench = bench;
  }

  /** Answers what it is sent and what follows; gives how often it could. */
  answer(sent: readonly SentPacket[], most = Infinity): number {
    const queue = packetsTo(ANN, sent);
    let count = 0;
    for (let packet; (packet = queue.shift()) !== undefined;) {
      if (packet.type === "PUBLISH") {
        if (!this.#unreleased.has(packet.msgId)) {
          this.heard.push(textOf(packet));
        }
        if (packet.qos === 2) this.#unreleased.add(packet.msgId);
      } else if (packet.type === "PUBREL") {
        this.#unreleased.delete(packet.msgId);
      }
      const answer = answerOf(packet);
      if (answer === undefined) continue;
      if (count++ === most) return most;
      queue.push(...packetsTo(ANN, this.#bench.take(ANN, answer)));
    }
    return count;
  }
}

Deno.test("Router delivers what is retained at QoS 2 once, however often it is restarted meanwhile", () => {
  const names = ["aa", "bb", "cc"];
  for (let first = 0; first <= 9; first++) {
    for (let second = 0; second <= 9; second++) {
      const bench = makeBench();
      bench.connect(BOB, "bob");
      for (const name of names) {
        const packet = { qos: 2, retain: true, msgId: 1 } as const;
        bench.publish(BOB, { short: name }, name, packet);
        bench.take(BOB, { type: "PUBREL", msgId: 1 });
      }
      bench.connect(ANN, "ann", KEPT);
      const listener = new Listener(bench);
      assertEquals(listener.answer(bench.subscribe(ANN, "+", 2), first), first);
      listener.answer(restart(bench), second);
      listener.answer(restart(bench));
      const told = `after ${first} and ${second} answers`;
      assertEquals(listener.heard.toSorted(), names, told);
      bench.commit();
      const left = bench.store.load().filter(({ type }) =>
        type === "begun" || type === "queued"
      );
      assertEquals([left, bench.stats.queued], [[], 0], told);
      // Who asks again is served again.
      bench.connect(ANN, "ann", KEPT);
      listener.answer(bench.subscribe(ANN, "+", 2, 77));
      assertEquals(listener.heard.length, 6, told);
    }
  }
});

Deno.test("Router passes over after a restart what was begun, whatever was published meanwhile", () => {
  const bench = makeBench();
  const retain = (name: string, text: string, qos: 1 | 2) => {
    bench.connect(BOB, "bob");
    const packet = { qos, retain: true, msgId: 1 } as const;
    bench.publish(BOB, { short: name }, text, packet);
    if (qos === 2) bench.take(BOB, { type: "PUBREL", msgId: 1 });
  };
  for (const name of ["aa", "bb", "cc"]) retain(name, `old ${name}`, 2);
  bench.connect(ANN, "ann", KEPT);
  const listener = new Listener(bench);
  listener.answer(bench.subscribe(ANN, "+", 2), 4); // "aa", and "bb" is named
  bench.take(ANN, GOODBYE);
  retain("aa", "new aa", 2);
  retain("bb", "new bb", 1);
  retain("cc", "", 2);
  restart(bench);
  listener.answer(bench.connect(ANN, "ann", KEPT));
  // What is retained is the newest; and each is published, as to all.
  assertEquals(listener.heard, [
    ...["old aa", "old bb", "new aa", "new bb", ""],
  ]);
});

Deno.test("Router forgets what was begun with the subscription, or with the session", () => {
  for (const end of ["UNSUBSCRIBE", "CONNECT", "expiry"]) {
    const bench = makeBench({ sessionExpiry: 60 });
    bench.connect(BOB, "bob");
    for (const name of ["aa", "bb"]) {
      const packet = { qos: 2, retain: true, msgId: 1 } as const;
      bench.publish(BOB, { short: name }, name, packet);
      bench.take(BOB, { type: "PUBREL", msgId: 1 });
    }
    bench.connect(ANN, "ann", KEPT);
    new Listener(bench).answer(bench.subscribe(ANN, "+", 2), 3);
    const begun = () => {
      bench.commit();
      return bench.store.load().filter(({ type }) => type === "begun").length;
    };
    assertEquals(begun(), 1, end);
    if (end === "UNSUBSCRIBE") bench.unsubscribe(ANN, "+");
    else if (end === "CONNECT") bench.connect(ANN, "ann");
    else {
      bench.take(ANN, GOODBYE);
      assertEquals(begun(), 1, "who is away comes back");
      bench.run(61_000);
    }
    assertEquals(begun(), 0, end);
  }
});

Deno.test("Router delivers what is retained to who left before it had all, after a restart", () => {
  const bench = makeBench();
  bench.connect(BOB, "bob");
  for (const name of ["aa", "bb"]) {
    bench.publish(BOB, { short: name }, name, { qos: 1, retain: true });
  }
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, "+", 1);
  bench.take(ANN, GOODBYE);
  assertEquals(restart(bench), []);
  const sent = bench.connect(ANN, "ann", KEPT);
  assertEquals(heard(bench, ANN, sent), ["aa", "bb"]);
});

Deno.test("Router keeps octets of its own, whatever becomes of a datagram's", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, { short: "ab" }, 1);
  bench.connect(BOB, "bob");
  bench.commit();
  const bytes = encodePacket({
    type: "PUBLISH",
    dup: false,
    qos: 1,
    retain: true,
    topicIdType: "short",
    topicId: 0x6162,
    msgId: 7,
    data: encodeUtf8("21.5"),
  });
  bench.router.handleDatagram(0, BOB, bytes);
  bytes.fill(0); // as a socket does that receives the next into the same
  bench.drain();
  const kept = bench.changes.flatMap((change) =>
    "payload" in change ? [[change.type, change.payload]] : []
  );
  const payload = encodeUtf8("21.5");
  assertEquals(kept.toSorted(), [["queued", payload], ["retained", payload]]);
});

Deno.test("Router has the history of a classic topic with half a surrogate pair after a restart", () => {
  const bench = makeBench();
  const ask = (type: string) =>
    encodeUtf8(`{"type":"${type}","topic":"room/\\ud800","data":"21.5"}`);
  takeSends(bench, ANN, ask("publish"));
  // As a file has it: a text in it is octets.
  for (const change of bench.changes) {
    if (change.type !== "datum") continue;
    assertEquals(change.topicName, change.topicName.toWellFormed());
  }
  restart(bench);
  const [send] = takeSends(bench, BOB, ask("subscribe"));
  assertEquals(send?.bytes, encodeUtf8("21.5"));
});

Deno.test("Router has the classic histories after a restart, of both protocols", () => {
  const bench = makeBench({ history: 2 });
  const ask = (request: object) => {
    const [send] = takeSends(bench, CYD, encodeUtf8(JSON.stringify(request)));
    return new TextDecoder().decode(send?.bytes);
  };
  for (const data of ["1", "2"]) ask({ type: "publish", topic: "a", data });
  addBob(bench)("3");
  ask({ type: "publish", topic: "b", data: "4" });
  restart(bench);
  assertEquals(ask({ type: "subscribe", topic: "a" }), "2\n3");
  assertEquals(ask({ type: "subscribe", topic: "b" }), "4");
});

Deno.test("Router knows nobody after a restart who was clean", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann");
  bench.subscribe(ANN, "a", 1);
  restart(bench);
  for (
    const packet of [
      { type: "PINGREQ", clientId: "" },
      { type: "PINGREQ", clientId: "ann" },
      publishOf(1, "x", { qos: 1, msgId: 1 }),
      { type: "PUBREL", msgId: 1 },
    ] as const
  ) {
    assertEquals(bench.take(ANN, packet), [to(ANN, GOODBYE)], packet.type);
  }
  const { clients, subscriptions } = bench.stats;
  assertEquals([clients.total, subscriptions], [0, 0]);
});

Deno.test("Router takes over and moves who was restored as it does others", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  bench.register(ANN, "a");
  restart(bench);
  assertEquals(bench.connect(CYD, "ann", KEPT), [
    to(ANN, GOODBYE),
    to(CYD, CONNACK),
  ]);
  restart(bench);
  assertEquals(bench.wake(ANN, "ann"), [to(ANN, PONG)]);
  restart(bench);
  assertEquals(bench.take(CYD, { type: "PINGREQ", clientId: "" }), [
    to(CYD, GOODBYE),
  ]);
  // Who takes the address of another displaces him.
  assertEquals(bench.connect(ANN, "bob", KEPT), [to(ANN, CONNACK)]);
  restart(bench);
  const { clients } = bench.stats;
  assertEquals([clients.active, clients.lost], [1, 1]);
});

Deno.test("Router counts from one address those who were restored", () => {
  const bench = makeBench({ maxClientsPerSource: 1 });
  const [one, two] = [1, 2].map((port) => peerOf("192.0.2.9", port));
  bench.connect(one!, "ann", KEPT);
  restart(bench);
  const refused = to(two!, { type: "CONNACK", returnCode: 1 });
  assertEquals(bench.connect(two!, "bob", KEPT), [refused]);
  bench.take(one!, GOODBYE);
  assertEquals(bench.connect(two!, "bob", KEPT), [to(two!, CONNACK)]);
});

Deno.test("Router that was not told to keep something has not promised it", () => {
  const bench = makeBench();
  bench.connect(ANN, "ann", KEPT);
  const id = bench.register(ANN, "a");
  bench.commit();
  bench.subscribe(ANN, "a", 1);
  bench.publish(ANN, { id }, "x", { qos: 2 });
  bench.restart(); // and what was not committed is lost
  assertEquals(bench.stats.subscriptions, 0);
  bench.publish(ANN, { id }, "x", { qos: 2, dup: true });
  assertEquals(bench.stats.published, 1);
});

Deno.test("Router keeps over many restarts what nobody touches", () => {
  const bench = makeBench();
  bench.connectWithWill(ANN, "ann", { topicName: "g", data: "x" }, KEPT);
  bench.subscribe(ANN, "+/b", 2);
  bench.subscribe(ANN, "a", 2);
  bench.take(ANN, GOODBYE);
  const publish = addBob(bench);
  publish("1", 1, true);
  publish("2", 2);
  bench.connect(CYD, "cyd", KEPT);
  bench.sleep(CYD, 1_000);
  bench.commit();
  const before = bench.store.load();
  for (let i = 0; i < 5; i++) {
    restart(bench);
    const changes: StoreChange[] = bench.changes;
    assertEquals(changes, []);
    assertEquals(bench.store.load(), before);
  }
  assertEquals(drainSends(bench), []);
});
