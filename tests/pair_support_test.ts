/**
 * Tests of what the pair tests stand on: the virtual network, and the MQTT-SN
 * client, against a small gateway that lives in this file.
 *
 * @module
 */

import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { type Millis, seededRandom } from "../clock.ts";
import { type Effect, EffectQueue, type Machine } from "../machine.ts";
import { type Peer, peerOf } from "../message.ts";
import { decodePacket, encodePacket, shortTopicName } from "../mqttsn.ts";
import type { MqttSnPacket, Publish, TopicReference } from "../packet.ts";
import { type NetOptions, VirtualNet } from "./support/net.ts";
import { SnClient, type SnClientOptions } from "./support/sn_client.ts";

const GATEWAY = peerOf("127.0.0.1", 1);
const ANN = peerOf("127.0.0.1", 1001);
const BOB = peerOf("127.0.0.1", 1002);
const PREDEFINED = new Map([[7, "p/seven"]]);

const PERFECT: NetOptions = {
  seed: 1,
  loss: 0,
  delayMs: [5, 5],
  duplicate: 0,
};
const BAD: NetOptions = {
  seed: 1,
  loss: 0.3,
  delayMs: [0, 60],
  duplicate: 0.2,
};

// The gateway

interface Letter {
  readonly topicName: string;
  readonly payload: Uint8Array;
  readonly qos: number;
}

interface Flight extends Letter {
  readonly msgId: number;
  stage: "register" | "publish" | "pubrel";
  dup: boolean;
  retryAt: Millis;
}

interface Session {
  readonly peer: Peer;
  state: "prompting" | "active" | "awake" | "asleep" | "disconnected";
  readonly filters: Map<string, number>;
  readonly ids: Map<string, number>;
  /** Names whose id the client has confirmed or been told. */
  readonly told: Set<string>;
  readonly letters: Letter[];
  flight: Flight | undefined;
  /** Message ids at QoS 2 that were taken over. */
  readonly taken: Set<number>;
  msgId: number;
  will: string;
}

const GATEWAY_RETRY_MS = 100;

/** As much of a gateway as its clients need; it never gives up. */
class FakeGateway implements Machine<never> {
  readonly sessions = new Map<string, Session>();
  /** Return codes for the next PUBLISHes, or `undefined` to take one. */
  readonly refusals: (number | undefined)[] = [];
  /** Every PUBLISH that came, copies too. */
  readonly published: Publish[] = [];
  readonly #effects = new EffectQueue<never>();

  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    const packet = decodePacket(bytes);
    if (packet.type === "CONNECT") this.#connect(peer, packet);
    const session = this.sessions.get(peer.key);
    if (session === undefined) {
      if (packet.type === "PUBLISH" && packet.qos === -1) {
        this.published.push({ ...packet, data: packet.data.slice() });
      } else this.send(peer, { type: "DISCONNECT", duration: undefined });
      return;
    }
    this.#handle(now, session, packet);
    this.#pump(now, session);
  }

  handleTimeout(now: Millis): void {
    for (const session of this.sessions.values()) {
      const { flight } = session;
      if (flight === undefined || !isListening(session)) continue;
      if (flight.retryAt > now) continue;
      flight.dup = flight.stage === "publish";
      flight.retryAt = now + GATEWAY_RETRY_MS;
      this.#sendFlight(session, flight);
    }
  }

  nextTimeout(): Millis | undefined {
    let earliest: Millis | undefined;
    for (const session of this.sessions.values()) {
      const at = session.flight?.retryAt;
      if (at === undefined || !isListening(session)) continue;
      if (earliest === undefined || at < earliest) earliest = at;
    }
    return earliest;
  }

  pollEffect(): Effect<never> | undefined {
    return this.#effects.poll();
  }

  send(peer: Peer, packet: MqttSnPacket): void {
    this.#effects.send(peer, encodePacket(packet));
  }

  #connect(
    peer: Peer,
    { will, cleanSession }: Extract<MqttSnPacket, { type: "CONNECT" }>,
  ): void {
    let session = this.sessions.get(peer.key);
    if (session === undefined || cleanSession) {
      session = {
        peer,
        state: "disconnected",
        filters: new Map(),
        ids: new Map(),
        told: new Set(),
        letters: [],
        flight: undefined,
        taken: new Set(),
        msgId: 0,
        will: "",
      };
      this.sessions.set(peer.key, session);
    }
    session.told.clear();
    const { flight } = session;
    if (flight !== undefined && flight.stage !== "pubrel") {
      flight.stage = "register";
    }
    session.state = will ? "prompting" : "active";
    this.send(
      peer,
      will ? { type: "WILLTOPICREQ" } : { type: "CONNACK", returnCode: 0 },
    );
    if (flight !== undefined && !will) this.#sendFlight(session, flight);
  }

  #handle(now: Millis, session: Session, packet: MqttSnPacket): void {
    const { peer, flight } = session;
    switch (packet.type) {
      case "WILLTOPIC":
        session.will = packet.will?.topicName ?? "";
        return this.send(peer, { type: "WILLMSGREQ" });
      case "WILLMSG":
        session.will += " " + textOf(packet.data);
        session.state = "active";
        return this.send(peer, { type: "CONNACK", returnCode: 0 });
      case "REGISTER": {
        const topicId = idFor(session, packet.topicName);
        session.told.add(packet.topicName);
        const { msgId } = packet;
        return this.send(peer, {
          type: "REGACK",
          topicId,
          msgId,
          returnCode: 0,
        });
      }
      case "SUBSCRIBE": {
        const { msgId, qos } = packet;
        const filter = filterOf(packet.topic);
        session.filters.set(filter, qos);
        const isPlain = packet.topic.topicIdType === "normal" &&
          !/[+#]/.test(filter);
        const topicId = isPlain ? idFor(session, filter) : 0;
        if (isPlain) session.told.add(filter);
        return this.send(peer, {
          type: "SUBACK",
          qos,
          topicId,
          msgId,
          returnCode: 0,
        });
      }
      case "UNSUBSCRIBE":
        session.filters.delete(filterOf(packet.topic));
        return this.send(peer, { type: "UNSUBACK", msgId: packet.msgId });
      case "PUBLISH":
        return this.#publish(now, session, packet);
      case "PUBREL":
        return this.send(peer, { type: "PUBCOMP", msgId: packet.msgId });
      case "REGACK":
        if (flight?.stage !== "register" || flight.msgId !== packet.msgId) {
          return;
        }
        session.told.add(flight.topicName);
        flight.stage = "publish";
        flight.retryAt = -Infinity;
        return;
      case "PUBACK":
        if (flight?.msgId !== packet.msgId || flight.stage !== "publish") {
          return;
        }
        if (packet.returnCode === 0) session.flight = undefined;
        else {
          session.told.delete(flight.topicName);
          flight.stage = "register";
          flight.retryAt = -Infinity;
        }
        return;
      case "PUBREC":
        if (flight?.msgId !== packet.msgId || flight.stage === "register") {
          return;
        }
        flight.stage = "pubrel";
        flight.retryAt = -Infinity;
        return;
      case "PUBCOMP":
        if (flight?.msgId !== packet.msgId || flight.stage !== "pubrel") {
          return;
        }
        session.flight = undefined;
        return;
      case "PINGREQ":
        if (packet.clientId !== "" && session.state !== "active") {
          if (session.state === "awake") return;
          session.state = "awake";
          if (session.flight !== undefined) session.flight.retryAt = -Infinity;
          return;
        }
        return this.send(peer, { type: "PINGRESP" });
      case "DISCONNECT":
        session.state = packet.duration === undefined
          ? "disconnected"
          : "asleep";
        return this.send(peer, { type: "DISCONNECT", duration: undefined });
    }
  }

  #publish(now: Millis, session: Session, packet: Publish): void {
    const { peer } = session;
    const { msgId, qos, topicId, data } = packet;
    this.published.push({ ...packet, data: data.slice() });
    const name = nameOf(session, packet);
    const returnCode = this.refusals.shift() ??
      (name === undefined ? 2 : undefined);
    if (returnCode !== undefined) {
      if (returnCode === 2 && name !== undefined) session.ids.delete(name);
      return this.send(peer, { type: "PUBACK", topicId, msgId, returnCode });
    }
    if (qos === 1) {
      this.send(peer, { type: "PUBACK", topicId, msgId, returnCode: 0 });
    }
    if (qos === 2) this.send(peer, { type: "PUBREC", msgId });
    if (qos === 2 && session.taken.has(msgId)) return;
    if (qos === 2) session.taken.add(msgId);
    for (const other of this.sessions.values()) {
      const granted = [...other.filters]
        .filter(([filter]) => matches(filter, name!))
        .map(([, granted]) => granted);
      if (granted.length === 0) continue;
      const least = Math.min(qos, Math.max(...granted));
      const payload = data.slice();
      other.letters.push({ topicName: name!, payload, qos: least });
      this.#pump(now, other);
    }
  }

  /** Sends the next letters, as far as the client can have them. */
  #pump(now: Millis, session: Session): void {
    while (isListening(session)) {
      const { flight } = session;
      if (flight !== undefined) {
        if (flight.retryAt > now) return;
        flight.retryAt = now + GATEWAY_RETRY_MS;
        this.#sendFlight(session, flight);
        continue;
      }
      const letter = session.letters.shift();
      if (letter === undefined) break;
      const isTold = session.told.has(letter.topicName);
      session.msgId++;
      session.flight = {
        ...letter,
        msgId: session.msgId,
        stage: isTold ? "publish" : "register",
        dup: false,
        retryAt: -Infinity,
      };
    }
    if (session.state !== "awake") return;
    session.state = "asleep";
    this.send(session.peer, { type: "PINGRESP" });
  }

  #sendFlight(session: Session, flight: Flight): void {
    const { peer } = session;
    const { msgId, topicName, qos, dup, payload } = flight;
    const topicId = idFor(session, topicName);
    switch (flight.stage) {
      case "register":
        return this.send(peer, { type: "REGISTER", topicId, msgId, topicName });
      case "pubrel":
        return this.send(peer, { type: "PUBREL", msgId });
      case "publish":
        this.send(peer, {
          type: "PUBLISH",
          dup: dup && qos > 0,
          qos: qos as 0 | 1 | 2,
          retain: false,
          topicIdType: "normal",
          topicId,
          msgId: qos === 0 ? 0 : msgId,
          data: payload,
        });
        if (qos === 0) session.flight = undefined;
    }
  }
}

function isListening({ state }: Session): boolean {
  return state === "active" || state === "awake";
}

function idFor({ ids }: Session, topicName: string): number {
  const id = ids.get(topicName) ??
    Math.max(0, ...ids.values()) + 1;
  ids.set(topicName, id);
  return id;
}

function nameOf(
  { ids }: Session,
  { topicIdType, topicId }: Publish,
): string | undefined {
  if (topicIdType === "predefined" || topicIdType === "short") {
    return filterOf({ topicIdType, topicId });
  }
  return [...ids].find(([, id]) => id === topicId)?.[0];
}

function filterOf(topic: TopicReference): string {
  switch (topic.topicIdType) {
    case "normal":
      return topic.topicName;
    case "predefined":
      return PREDEFINED.get(topic.topicId) ?? `(${topic.topicId})`;
    case "short":
      return shortTopicName(topic.topicId) ?? "?";
    case "reserved":
      return "?";
  }
}

function matches(filter: string, name: string): boolean {
  const names = name.split("/");
  const levels = filter.split("/");
  for (const [at, level] of levels.entries()) {
    if (level === "#") return true;
    if (names[at] === undefined) return false;
    if (level !== "+" && level !== names[at]) return false;
  }
  return names.length === levels.length;
}

// The bench

class Bench {
  readonly net: VirtualNet;
  readonly gateway = new FakeGateway();

  constructor(options: NetOptions = PERFECT) {
    this.net = new VirtualNet(options);
    this.net.attach(GATEWAY, this.gateway);
  }

  client(peer: Peer, options: Partial<SnClientOptions> = {}): SnClient {
    const client = new SnClient({
      clientId: `c${peer.port}`,
      gateway: GATEWAY,
      cleanSession: false,
      keepAliveS: 0,
      retryMs: 100,
      retries: 4,
      random: seededRandom(peer.port),
      predefined: PREDEFINED,
      ...options,
    });
    this.net.attach(peer, client);
    return client;
  }

  /** Runs until every one of these is idle. */
  settle(...clients: SnClient[]): void {
    const until = this.net.now + 60_000;
    do {
      assert(this.net.now < until, "never idle");
      this.net.run(this.net.now + 10);
    } while (!clients.every(({ isIdle }) => isIdle));
    this.net.run(this.net.now + 200);
  }

  /** Hands a client a packet that its gateway had no reason to send. */
  impose(peer: Peer, packet: MqttSnPacket): void {
    this.gateway.send(peer, packet);
    this.net.run(this.net.now + 50);
  }
}

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function textsOf(client: SnClient): string[] {
  return client.received.map(({ topicName, payload }) =>
    `${topicName} ${textOf(payload)}`
  );
}

/** The packets of a conversation as types, from one peer to the other. */
function typesOf({ lines }: VirtualNet, from: Peer): string[] {
  return lines.filter((line) => line.split(" ")[1] === from.key)
    .map((line) => line.split(" ")[4]!);
}

// The network

/** Sends a datagram every millisecond, and counts what comes. */
class Chatterbox implements Machine<never> {
  readonly came: number[] = [];
  readonly #effects = new EffectQueue<never>();
  readonly #to: Peer;
  #left: number;
  #at = 1;

  constructor(to: Peer, count: number) {
    this.#to = to;
    this.#left = count;
  }

  handleDatagram(now: Millis, _peer: Peer, bytes: Uint8Array): void {
    assertEquals(bytes.length, 2);
    this.came.push(now);
  }

  handleTimeout(now: Millis): void {
    if (this.#left === 0 || now < this.#at) return;
    this.#left--;
    this.#at = now + 1;
    this.#effects.send(this.#to, Uint8Array.of(2, 0x17));
  }

  nextTimeout(): Millis | undefined {
    return this.#left === 0 ? undefined : this.#at;
  }

  pollEffect(): Effect<never> | undefined {
    return this.#effects.poll();
  }
}

function chat(options: NetOptions, count = 10_000) {
  const net = new VirtualNet(options);
  const ann = new Chatterbox(BOB, count);
  const bob = new Chatterbox(ANN, 0);
  net.attach(ANN, ann);
  net.attach(BOB, bob);
  net.run(count + 1_000);
  return { net, ann, bob };
}

Deno.test("VirtualNet gives the same conversation for the same seed", () => {
  const options = { ...BAD, trace: true };
  const [one, other] = [chat(options, 500), chat(options, 500)];
  assertEquals(one.net.lines.length, 500);
  assertEquals(one.net.lines, other.net.lines);
  assertEquals(one.bob.came, other.bob.came);
  const third = chat({ ...options, seed: 2 }, 500);
  assert(one.net.lines.join() !== third.net.lines.join());
});

Deno.test("VirtualNet loses and doubles as often as it is told", () => {
  const { net, bob } = chat({ ...BAD, loss: 0.3, duplicate: 0.2 });
  const { sent, lost, duplicated, delivered } = net.counts;
  assertEquals(sent, 10_000);
  assert(Math.abs(lost / sent - 0.3) < 0.02, `${lost}`);
  assert(Math.abs(duplicated / (sent - lost) - 0.2) < 0.02, `${duplicated}`);
  assertEquals(delivered, sent - lost + duplicated);
  assertEquals(bob.came.length, delivered);
});

Deno.test("VirtualNet delivers each datagram once, in its time, when perfect", () => {
  const { net, bob } = chat(PERFECT, 100);
  assertEquals(net.counts.lost + net.counts.duplicated, 0);
  assertEquals(bob.came, Array.from({ length: 100 }, (_, at) => at + 6));
  assertEquals(net.now, 1_100);
});

Deno.test("VirtualNet loses nothing once it is healed", () => {
  const net = new VirtualNet({ ...BAD, loss: 1 });
  const bob = new Chatterbox(ANN, 0);
  net.attach(ANN, new Chatterbox(BOB, 100));
  net.attach(BOB, bob);
  net.at(51, () => net.heal());
  net.run(1_000);
  assertEquals(net.counts.lost, 50);
  assertEquals(bob.came.length, 50);
});

Deno.test("VirtualNet lets vanish what is sent to nobody", () => {
  const net = new VirtualNet(PERFECT);
  net.attach(ANN, new Chatterbox(BOB, 10));
  net.attach(BOB, new Chatterbox(ANN, 0));
  net.run(8);
  net.detach(BOB);
  net.run(100);
  const { delivered, vanished } = net.counts;
  assertEquals([delivered, vanished], [3, 7]);
});

Deno.test("VirtualNet stops a machine that is always due", () => {
  const net = new VirtualNet(PERFECT);
  const stuck: Machine<never> = {
    handleDatagram: () => {},
    handleTimeout: () => {},
    nextTimeout: () => 0,
    pollEffect: () => undefined,
  };
  net.attach(ANN, stuck);
  assertThrows(() => net.run(1), Error, `"${ANN.key}" is always due`);
});

Deno.test("VirtualNet takes no odds beyond 0 to 1 and no negative delay", () => {
  assertThrows(() => new VirtualNet({ ...BAD, loss: 1.1 }), RangeError);
  assertThrows(() => new VirtualNet({ ...BAD, duplicate: -1 }), RangeError);
  assertThrows(() => new VirtualNet({ ...BAD, delayMs: [9, 8] }), RangeError);
});

// The client

Deno.test("SnClient registers a name once, then publishes at each QoS", () => {
  const bench = new Bench({ ...PERFECT, trace: true });
  const ann = bench.client(ANN);
  ann.connect();
  for (const qos of [0, 1, 2] as const) ann.publish("a/b", bytesOf("x"), qos);
  bench.settle(ann);
  assertEquals(typesOf(bench.net, ANN), [
    "CONNECT",
    "REGISTER",
    "PUBLISH",
    "PUBLISH",
    "PUBLISH",
    "PUBREL",
  ]);
  assertEquals(ann.acknowledged.map(({ qos }) => qos), [1, 2]);
  assertEquals(ann.violations, []);
});

Deno.test("SnClient publishes at QoS -1 without a connection", () => {
  const bench = new Bench({ ...PERFECT, trace: true });
  const ann = bench.client(ANN);
  ann.publish({ predefined: 7 }, bytesOf("x"), -1);
  ann.publish({ short: "ab" }, bytesOf("y"), -1);
  bench.settle(ann);
  assertEquals(typesOf(bench.net, ANN), ["PUBLISH", "PUBLISH"]);
  assertEquals(
    bench.gateway.published.map(({ topicIdType }) => topicIdType),
    ["predefined", "short"],
  );
  assertThrows(() => ann.publish("a", bytesOf("x"), -1), RangeError);
});

for (const seed of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) {
  Deno.test(`SnClient carries out every command on a bad network, seed ${seed}`, () => {
    const bench = new Bench({ ...BAD, seed });
    const ann = bench.client(ANN, { retries: 2 });
    const bob = bench.client(BOB, { retries: 2, graceMs: Infinity });
    bob.connect();
    bob.subscribe("a/b", 1);
    bob.subscribe("c/+", 2);
    bob.subscribe({ predefined: 7 }, 2);
    bob.subscribe({ short: "ab" }, 1);
    bench.settle(bob);
    assertEquals(
      bob.subscriptions.map(({ topicFilter, qos }) => [
        topicFilter,
        qos,
      ]),
      [["a/b", 1], ["c/+", 2], ["p/seven", 2], ["ab", 1]],
    );

    ann.register("a/b");
    const wanted: string[] = [];
    for (let count = 0; count < 5; count++) {
      ann.publish("a/b", bytesOf(`${count}`), 1);
      ann.publish("c/d", bytesOf(`${count}`), 2);
      ann.publish({ predefined: 7 }, bytesOf(`${count}`), 2);
      ann.publish({ short: "ab" }, bytesOf(`${count}`), 1);
      for (const name of ["a/b", "c/d", "p/seven", "ab"]) {
        wanted.push(`${name} ${count}`);
      }
    }
    for (let count = 0; count < 3; count++) {
      bob.sleep(30);
      bob.wake();
    }
    bench.settle(ann, bob);
    bench.net.heal();
    bob.reconnect(false);
    bench.settle(ann, bob);
    bench.net.run(bench.net.now + 10_000);

    assertEquals(ann.acknowledged.length, 20);
    assertEquals([...new Set(textsOf(bob))], wanted);
    const exact = bob.received.filter(({ qos }) => qos === 2);
    assertEquals(exact.length, 10);
    for (const topic of ["a/b", "c/+", { predefined: 7 }, { short: "ab" }]) {
      bob.unsubscribe(topic);
    }
    bob.disconnect();
    bench.settle(bob);
    assertEquals(bob.subscriptions, []);
    assertEquals(bob.state, "disconnected");
    assertEquals([...ann.violations, ...bob.violations], []);
    assertEquals([...ann.failures, ...bob.failures], []);
  });
}

Deno.test("SnClient gives its will when it is asked", () => {
  const bench = new Bench(BAD);
  const will = {
    topicName: "gone",
    payload: bytesOf("bye"),
    qos: 1,
    retain: false,
  } as const;
  const ann = bench.client(ANN, { will });
  ann.connect();
  bench.settle(ann);
  assertEquals(ann.state, "active");
  assertEquals(bench.gateway.sessions.get(ANN.key)?.will, "gone bye");
});

Deno.test("SnClient sends a request again, PUBLISH with DUP, then connects anew", () => {
  const bench = new Bench({ ...PERFECT, trace: true });
  const ann = bench.client(ANN, { retries: 2 });
  ann.connect();
  ann.register("a");
  bench.settle(ann);
  bench.net.detach(GATEWAY);
  ann.publish("a", bytesOf("x"), 1);
  const begin = bench.net.now;
  bench.net.run(begin + 250);
  assertEquals(ann.state, "active");
  bench.net.run(begin + 400);
  assertEquals(ann.state, "connecting");
  assertEquals(ann.losses, 1);
  bench.net.attach(GATEWAY, bench.gateway);
  bench.settle(ann);
  const sent = bench.net.lines
    .filter((line) => line.includes(`${ANN.key} ->`))
    .map((line) => line.replace(/^.*:1 (\w+)(?: (dup))?.*$/, "$1 $2"));
  assertEquals(sent.slice(0, 5), [
    "CONNECT ",
    "REGISTER ",
    "PUBLISH ",
    "PUBLISH dup",
    "PUBLISH dup",
  ]);
  assertEquals(sent.at(-1), "PUBLISH dup");
  const [first, ...others] = bench.gateway.published;
  assertEquals(ann.acknowledged.length, 1);
  assertEquals([first?.dup, others.length], [true, 0]);
});

Deno.test("SnClient resumes with PUBREL when PUBREC had come", () => {
  const bench = new Bench({ ...PERFECT, trace: true });
  const ann = bench.client(ANN, { retries: 0 });
  ann.connect();
  ann.publish({ short: "ab" }, bytesOf("x"), 2);
  // Until the PUBREC is there and the PUBREL under way.
  bench.net.run(22);
  bench.net.detach(GATEWAY);
  bench.net.run(110);
  bench.net.attach(GATEWAY, bench.gateway);
  bench.settle(ann);
  assertEquals(bench.gateway.published.length, 1);
  const types = typesOf(bench.net, ANN);
  assertEquals(types.slice(0, 3), ["CONNECT", "PUBLISH", "PUBREL"]);
  assertEquals(types.slice(-2), ["CONNECT", "PUBREL"]);
  assertEquals(ann.acknowledged.length, 1);
});

Deno.test("SnClient registers anew when its id is refused", () => {
  const bench = new Bench({ ...PERFECT, trace: true });
  const ann = bench.client(ANN);
  bench.gateway.refusals.push(2);
  ann.publish("a", bytesOf("x"), 1);
  bench.settle(ann);
  assertEquals(typesOf(bench.net, ANN), [
    "CONNECT",
    "REGISTER",
    "PUBLISH",
    "REGISTER",
    "PUBLISH",
  ]);
  assertEquals(ann.acknowledged.length, 1);
});

Deno.test("SnClient forgets an id that is refused at QoS 0", () => {
  const bench = new Bench();
  const ann = bench.client(ANN);
  bench.gateway.refusals.push(2);
  ann.publish("a", bytesOf("x"), 0);
  bench.settle(ann);
  ann.publish("a", bytesOf("y"), 0);
  bench.settle(ann);
  assertEquals(bench.gateway.published.length, 2);
  assertEquals(ann.failures, []);
});

Deno.test("SnClient counts a refused pre-defined id as a failure", () => {
  const bench = new Bench();
  const ann = bench.client(ANN);
  bench.gateway.refusals.push(2);
  ann.publish({ predefined: 7 }, bytesOf("x"), 1);
  bench.settle(ann);
  assertEquals(ann.failures, [{ type: "PUBLISH", returnCode: 2 }]);
});

Deno.test("SnClient waits ten times retryMs after congestion", () => {
  const bench = new Bench();
  const ann = bench.client(ANN);
  ann.register("a");
  bench.settle(ann);
  bench.gateway.refusals.push(1);
  const begin = bench.net.now;
  ann.publish("a", bytesOf("x"), 1);
  bench.settle(ann);
  assertEquals(bench.gateway.published.length, 2);
  assertEquals(ann.acknowledged[0]!.at - begin, 10 + 1_000 + 10);
});

Deno.test("SnClient pings when it has sent nothing for half its keep alive", () => {
  const bench = new Bench({ ...PERFECT, trace: true });
  const ann = bench.client(ANN, { keepAliveS: 2 });
  ann.connect();
  bench.net.run(3_500);
  assertEquals(typesOf(bench.net, ANN), [
    "CONNECT",
    "PINGREQ",
    "PINGREQ",
    "PINGREQ",
  ]);
});

Deno.test("SnClient connects anew when it is told that nobody knows it", () => {
  const bench = new Bench();
  const ann = bench.client(ANN);
  ann.connect();
  bench.settle(ann);
  bench.gateway.sessions.clear();
  ann.publish("a", bytesOf("x"), 1);
  bench.settle(ann);
  assertEquals(ann.acknowledged.length, 1);
  assertEquals(ann.losses, 1);
});

Deno.test("SnClient collects what came as it slept, and connects to send", () => {
  const bench = new Bench();
  const ann = bench.client(ANN);
  const bob = bench.client(BOB);
  bob.subscribe("a/#", 2);
  bob.sleep(60);
  bench.settle(bob);
  assertEquals(bob.state, "asleep");
  ann.publish("a/b", bytesOf("1"), 2);
  ann.publish("a/c", bytesOf("2"), 1);
  bench.settle(ann);
  assertEquals(textsOf(bob), []);
  bob.wake();
  bench.settle(bob);
  assertEquals(textsOf(bob), ["a/b 1", "a/c 2"]);
  assertEquals(bob.state, "asleep");
  bob.publish("a/b", bytesOf("3"), 1);
  bench.settle(bob);
  assertEquals(bob.state, "active");
  assertEquals(textsOf(bob).at(-1), "a/b 3");
  assertEquals(bob.violations, []);
});

Deno.test("SnClient goes back to sleep when nobody answers as it wakes", () => {
  const bench = new Bench();
  const bob = bench.client(BOB, { retries: 2 });
  bob.sleep(60);
  bench.settle(bob);
  bench.net.detach(GATEWAY);
  bob.wake();
  bench.settle(bob);
  assertEquals([bob.state, bob.losses], ["asleep", 0]);
});

Deno.test("SnClient answers PUBACK 02 for an id that it does not know", () => {
  const bench = new Bench({ ...PERFECT, trace: true });
  const ann = bench.client(ANN);
  const bob = bench.client(BOB, { forgetsIds: true });
  bob.subscribe("a", 1);
  bob.sleep(60);
  bench.settle(bob);
  ann.publish("a", bytesOf("1"), 1);
  bench.settle(ann);
  bob.wake();
  bench.settle(bob);
  assertEquals(textsOf(bob), ["a 1"]);
  assertEquals(typesOf(bench.net, BOB).slice(-4), [
    "PINGREQ",
    "PUBACK",
    "REGACK",
    "PUBACK",
  ]);
});

const FORBIDDEN: readonly (readonly [string, MqttSnPacket, string])[] = [
  ["its own direction", {
    type: "SUBSCRIBE",
    dup: false,
    qos: 0,
    msgId: 1,
    topic: { topicIdType: "normal", topicName: "a" },
  }, "never gets"],
  ["QoS -1", publishOf({ qos: -1 }), "QoS -1"],
  ["QoS 1 without msgId", publishOf({ qos: 1, msgId: 0 }), "msgId 0"],
  ["QoS 0 with DUP", publishOf({ qos: 0, dup: true }), "DUP"],
  ["a will that it does not have", { type: "WILLTOPICREQ" }, "Will flag"],
  ["a wildcard to register", {
    type: "REGISTER",
    topicId: 9,
    msgId: 1,
    topicName: "a/+",
  }, "wildcards"],
  ["a reserved id to register", {
    type: "REGISTER",
    topicId: 0xffff,
    msgId: 1,
    topicName: "a",
  }, "reserved id"],
  [
    "a duration from a gateway",
    { type: "DISCONNECT", duration: 5 },
    "duration",
  ],
  ["a ping that names it", { type: "PINGREQ", clientId: "x" }, "client id"],
];

for (const [name, packet, detail] of FORBIDDEN) {
  Deno.test(`SnClient writes down that it was sent ${name}`, () => {
    const bench = new Bench();
    const ann = bench.client(ANN);
    ann.connect();
    bench.settle(ann);
    bench.impose(ANN, packet);
    assertEquals(ann.violations.length, 1, ann.violations.join());
    assert(ann.violations[0]!.includes(detail), ann.violations[0]);
  });
}

Deno.test("SnClient writes down what comes to it asleep, beyond its grace", () => {
  const bench = new Bench();
  const ann = bench.client(ANN, { graceMs: 250 });
  ann.sleep(60);
  bench.settle(ann);
  bench.impose(ANN, publishOf({ qos: 1 }));
  assertEquals(ann.violations, []);
  bench.impose(ANN, publishOf({ qos: 1 }));
  assertEquals(ann.violations.length, 1);
  assertEquals(ann.received, []);
});

Deno.test("SnClient writes down a second exchange before the first is over", () => {
  const bench = new Bench();
  const ann = bench.client(ANN);
  ann.connect();
  bench.settle(ann);
  bench.impose(ANN, publishOf({ qos: 2, msgId: 5 }));
  bench.impose(ANN, publishOf({ qos: 2, msgId: 5, dup: true }));
  assertEquals(ann.violations, []);
  assertEquals(ann.received.length, 1);
  bench.impose(ANN, publishOf({ qos: 1, msgId: 6 }));
  assertEquals(ann.violations.length, 1);
  bench.impose(ANN, { type: "PUBREL", msgId: 5 });
  bench.impose(ANN, publishOf({ qos: 2, msgId: 5, dup: true }));
  assertEquals(ann.violations.length, 1);
  // The late copy was none of its own; a new one is, once the time is over.
  assertEquals(ann.received.length, 2);
  bench.net.run(bench.net.now + 1_000);
  bench.impose(ANN, publishOf({ qos: 2, msgId: 5 }));
  assertEquals(ann.received.length, 3);
});

Deno.test("SnClient refuses a topic, and writes down that it gets it all the same", () => {
  const bench = new Bench({ ...PERFECT, trace: true });
  const ann = bench.client(ANN, { refuses: (name) => name === "no" });
  ann.connect();
  bench.settle(ann);
  bench.impose(ANN, {
    type: "REGISTER",
    topicId: 4,
    msgId: 1,
    topicName: "no",
  });
  assert(bench.net.lines.at(-1)!.includes("REGACK topicId=4"));
  assert(bench.net.lines.at(-1)!.includes("returnCode=3"));
  bench.impose(ANN, {
    ...publishOf({ qos: 1 }),
    topicIdType: "normal",
    topicId: 4,
  });
  assertEquals(ann.violations.length, 1);
});

Deno.test("SnClient counts message ids past 65535 on from 1", () => {
  const bench = new Bench();
  const ann = bench.client(ANN, { random: () => 0.99998 });
  for (let count = 0; count < 3; count++) {
    ann.publish({ short: "ab" }, bytesOf("x"), 1);
  }
  bench.settle(ann);
  const ids = bench.gateway.published.map(({ msgId }) => msgId);
  assertEquals(ids.slice(-2), [1, 2]);
  assertGreater(ids[0]!, 65_000);
});

function publishOf(
  fields: Partial<Publish> & Pick<Publish, "qos">,
): Publish {
  return {
    type: "PUBLISH",
    dup: false,
    retain: false,
    topicIdType: "short",
    topicId: 0x6162,
    msgId: fields.qos > 0 ? 3 : 0,
    data: bytesOf("x"),
    ...fields,
  };
}
