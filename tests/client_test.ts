import {
  assert,
  assertEquals,
  assertFalse,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { Broker, type BrokerOptions } from "../broker.ts";
import { Client, type ClientOptions, RefusedError } from "../client.ts";
import type { DeviceState, ReceivedMessage } from "../client/events.ts";
import { Log } from "../base/log.ts";
import { LocalProtocolError, NoAnswerError } from "../base/errors.ts";
import { type Peer, peerOf } from "../base/peer.ts";
import { decodePacket, encodePacket } from "../wire/mqttsn.ts";
import type { MqttSnPacket, MsgType, Qos } from "../wire/packets.ts";
import type { RequestOptions, Subscription } from "../client/subscription.ts";
import { MemoryNetwork } from "../transport/memory.ts";
import { MAX_UNSENT, UdpTransport } from "../transport/udp.ts";
import { unsoughtPort } from "./support/ports.ts";
import "./support/sockets.ts";

// Off unless asked for.
Deno.test.sanitizer({ ops: true, resources: true });

/** A broker and what its clients need to reach it, all in memory. */
async function setUp(options: BrokerOptions = {}) {
  const network = new MemoryNetwork();
  const listen = () =>
    Broker.listen({
      retryMs: 50,
      ...options,
      transport: network.bind({ port: 12_003 }),
    });
  const opened = (options: ClientOptions) => ({
    transport: network.bind(),
    retryMs: 20,
    ...options,
  });
  const broker = await listen();
  return {
    network,
    broker,
    listen,
    connect: (options: ClientOptions & RequestOptions = {}) =>
      Client.connect(opened(options)),
    open: (options: ClientOptions = {}) => Client.open(opened(options)),
    [Symbol.asyncDispose]: () => broker.close(),
  };
}

/** A network where a gateway should be that a test plays itself. */
class PlayedGateway implements AsyncDisposable {
  readonly network = new MemoryNetwork();
  readonly heard: MqttSnPacket[] = [];
  readonly #transport = this.network.bind({ port: 12_003 });
  #wake = () => {};

  /** @param answer what it says to a packet, if anything */
  constructor(
    answer: (packet: MqttSnPacket) => MqttSnPacket | undefined = usually,
  ) {
    this.#transport.receive((peer, bytes) => {
      const packet = decodePacket(bytes.slice());
      this.heard.push(packet);
      const reply = answer(packet);
      if (reply !== undefined) this.say(peer, reply);
      this.#wake();
    });
  }

  say(peer: Peer, packet: MqttSnPacket): void {
    this.#transport.send(peer, encodePacket(packet));
  }

  connect(options: ClientOptions & RequestOptions = {}): Promise<Client> {
    return Client.connect(this.#optionsFrom(options));
  }

  open(options: ClientOptions = {}): Promise<Client> {
    return Client.open(this.#optionsFrom(options));
  }

  /** What it has heard of a type, once it is that often. */
  async hears<Type extends MsgType>(
    type: Type,
    count = 1,
  ): Promise<Extract<MqttSnPacket, { type: Type }>[]> {
    for (;;) {
      const heard = this.heard.filter((packet) => packet.type === type);
      if (heard.length >= count) {
        return heard as Extract<MqttSnPacket, { type: Type }>[];
      }
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#transport[Symbol.asyncDispose]();
  }

  #optionsFrom<Options>(options: Options) {
    return { transport: this.network.bind(), retryMs: 20, ...options };
  }
}

/** A gateway that takes whatever it is asked. */
function usually(packet: MqttSnPacket): MqttSnPacket | undefined {
  switch (packet.type) {
    case "CONNECT":
      return { type: "CONNACK", returnCode: 0 };
    case "REGISTER":
      return { ...packet, type: "REGACK", topicId: 1, returnCode: 0 };
    case "SUBSCRIBE": {
      const { qos, msgId } = packet;
      return {
        type: "SUBACK",
        qos: qos as 0 | 1 | 2,
        topicId: 0,
        msgId,
        returnCode: 0,
      };
    }
    case "UNSUBSCRIBE":
      return { type: "UNSUBACK", msgId: packet.msgId };
    case "PUBLISH":
      if (packet.qos < 1) return undefined;
      return { ...packet, type: "PUBACK", returnCode: 0 };
    case "DISCONNECT":
      return packet;
    default:
      return undefined;
  }
}

/** The usual, but without an answer to packets of some types. */
function silentTo(...types: readonly MsgType[]) {
  return (packet: MqttSnPacket) =>
    types.includes(packet.type) ? undefined : usually(packet);
}

/** Polls what nothing tells of. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 1));
}

async function take(messages: Subscription, count: number): Promise<string[]> {
  const texts: string[] = [];
  while (texts.length < count) texts.push((await messages.take()).text());
  return texts;
}

/** What is left of an ended subscription. */
async function rest(
  messages: AsyncIterable<ReceivedMessage>,
): Promise<string[]> {
  const texts: string[] = [];
  for await (const message of messages) texts.push(message.text());
  return texts;
}

/**
 * Waits until all that was published to a client before has come to it: a
 * message is behind them.
 */
async function settled(client: Client): Promise<void> {
  await using behind = await client.subscribe("behind", { qos: 1 });
  await client.publish("behind", "", { qos: 1 });
  await behind.take();
}

/** What closes a client too late, in the hands of a test. */
class Limit implements Disposable {
  readonly #timeout = AbortSignal.timeout;
  readonly #controller = new AbortController();
  readonly #listeners: Listeners;
  /** How often it was asked for, each with how long. */
  readonly asked: number[] = [];

  constructor() {
    const { signal } = this.#controller;
    this.#listeners = new Listeners(signal);
    AbortSignal.timeout = (ms) => {
      this.asked.push(ms);
      return signal;
    };
  }

  /** Who listens to it. */
  get listeners(): number {
    return this.#listeners.count;
  }

  /** Says that it is too late. */
  reach(): void {
    this.#controller.abort();
  }

  [Symbol.dispose](): void {
    AbortSignal.timeout = this.#timeout;
  }
}

/** Counts who listens to a signal. */
class Listeners {
  count = 0;

  constructor(signal: AbortSignal) {
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (...args: unknown[]) => {
      this.count++;
      Reflect.apply(addEventListener, signal, args);
    };
    signal.removeEventListener = (...args: unknown[]) => {
      this.count--;
      Reflect.apply(removeEventListener, signal, args);
    };
  }
}

// Connect

Deno.test("Client.connect() rejects with RefusedError and leaves nothing open", async () => {
  await using gateway = new PlayedGateway((packet) =>
    packet.type === "CONNECT"
      ? { type: "CONNACK", returnCode: 3 }
      : usually(packet)
  );
  const error = await assertRejects(
    () => gateway.connect(),
    RefusedError,
    "The broker refuses to connect: it does not support that",
  );
  assertEquals(error.returnCode, 3);
  assertEquals(error.name, "RefusedError");
  // The transport is the client's, and closed with it.
  const before = gateway.heard.length;
  await using socket = await UdpTransport.bind();
  await using broker = await Broker.listen({ port: 0, requireKeepAlive: true });
  await assertRejects(
    () => Client.connect({ port: broker.port, keepAlive: 0 }),
    RefusedError,
  );
  assertEquals(gateway.heard.length, before);
  assert(socket.address.port !== broker.port);
});

Deno.test("RefusedError says why, where the return code has a meaning", () => {
  assertEquals(
    [1, 2, 3, 9].map((code) => new RefusedError("publish", code).message),
    [
      "The broker refuses to publish: it is congested",
      "The broker refuses to publish: it does not know the topic id",
      "The broker refuses to publish: it does not support that",
      "The broker refuses to publish: return code 9",
    ],
  );
});

Deno.test("Client.connect() rejects with NoAnswerError after its last try", async () => {
  await using gateway = new PlayedGateway(silentTo("CONNECT"));
  const states: DeviceState[] = [];
  const error = await assertRejects(
    () =>
      gateway.connect({
        retryMs: 2,
        retries: 3,
        onState: (state) => states.push(state),
      }),
    NoAnswerError,
  );
  assertEquals(error.broker?.port, 12_003);
  const heard = gateway.heard.map(({ type }) => type);
  assertEquals(heard, Array(4).fill("CONNECT"));
  assertEquals(states, ["connecting", "lost", "disconnected"]);
});

Deno.test("Client.connect() rejects with NoAnswerError where there is no broker, and closes its socket", async () => {
  const gone = await UdpTransport.bind();
  const { port } = gone.address;
  gone.close();
  await assertRejects(
    () => Client.connect({ port, retryMs: 2, retries: 1 }),
    NoAnswerError,
    `127.0.0.1:${port}`,
  );
});

Deno.test("Client.connect() rejects with NoAnswerError after timeoutMs, whatever is left of its tries", async () => {
  await using gateway = new PlayedGateway(silentTo("CONNECT"));
  await assertRejects(
    () => gateway.connect({ retryMs: 1e9, timeoutMs: 30 }),
    NoAnswerError,
    "within 0.03 s",
  );
});

Deno.test("Client.connect() rejects with the signal's reason, before and during, and leaves nothing open", async () => {
  await using gateway = new PlayedGateway(silentTo("CONNECT"));
  const reason = new Error("Enough");
  await assertRejects(
    () => gateway.connect({ signal: AbortSignal.abort(reason) }),
    Error,
    "Enough",
  );
  assertEquals(gateway.heard, []);
  const controller = new AbortController();
  const { signal } = controller;
  const connecting = gateway.connect({ signal });
  await gateway.hears("CONNECT");
  controller.abort(reason);
  await assertRejects(() => connecting, Error, "Enough");
  await assertRejects(
    () => Client.connect({ port: 1, signal }),
    Error,
    "Enough",
  );
});

Deno.test("Client.connect() says what is out of range, and leaves no socket open", async () => {
  for (
    const options of [
      { port: 0 },
      { port: 1.5 },
      { maxQueue: 0 },
      { maxQueue: 1.5 },
      { maxQueue: NaN },
      { retryMs: 0 },
      { retries: -1 },
      { backoff: 0.5 },
      { timeoutMs: 0 },
      { multicast: "10.0.0.1" },
    ]
  ) {
    const error = await assertRejects(() => Client.connect(options));
    assert(error instanceof RangeError, JSON.stringify(options));
  }
  for (
    const options of [
      { clientId: "x".repeat(65_600) },
      { keepAlive: 65_536 },
      { will: { topicName: "a/#", payload: "" } },
      { will: { topicName: "a", payload: new Uint8Array(65_600) } },
    ]
  ) {
    const error = await assertRejects(() => Client.connect(options));
    assert(error instanceof LocalProtocolError, Object.keys(options)[0]);
  }
});

Deno.test("Client.connect() again does nothing while it is connected", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  assertEquals(client.state, "active");
  assertEquals(client.broker?.port, 12_003);
  const { sent } = client.stats().transport;
  await client.connect();
  assertEquals(client.stats().transport.sent, sent);
});

Deno.test("Client has an id of its own unless it is given one", async () => {
  await using system = await setUp();
  await using one = await system.connect();
  await using other = await system.connect();
  assertNotEquals(one.clientId, other.clientId);
  assert(/^mock-mqtt-\w+$/.test(one.clientId), one.clientId);
  await using seeded = await system.open({ seed: 1 });
  await using again = await system.open({ seed: 1 });
  assertEquals(seeded.clientId, again.clientId);
  await using lamp = await system.connect({ clientId: "lamp" });
  assertEquals(lamp.clientId, "lamp");
});

Deno.test("Client.open() makes a client that publishes at QoS −1 without a connection", async () => {
  const predefined = new Map([[7, "lamp"]]);
  await using system = await setUp({ predefined });
  await using subscriber = await system.connect();
  await using messages = await subscriber.subscribe(["lamp", "ab"]);
  {
    await using client = await system.open();
    await client.publish({ predefined: 7 }, "on", { qos: -1 });
    await client.publish({ short: "ab" }, "off", { qos: -1 });
    assertEquals(client.state, "disconnected");
    await assertRejects(
      () => client.publish("lamp", "on", { qos: -1 }),
      LocalProtocolError,
      'Cannot publish to "lamp" at QoS −1: it takes a pre-defined id or a short name',
    );
    assertEquals(client.stats().transport.sent, 2);
  }
  assertEquals(await take(messages, 2), ["on", "off"]);
});

Deno.test("Client.open() makes a client that connects when it has something to do", async () => {
  await using system = await setUp();
  const states: DeviceState[] = [];
  await using client = await system.open({
    onState: (state) => states.push(state),
  });
  assertEquals(client.state, "disconnected");
  await client.publish("a", "1", { qos: 1 });
  assertEquals(states, ["connecting", "active"]);
});

Deno.test("Client goes on when onState throws, and logs that", async () => {
  await using system = await setUp();
  const lines: string[] = [];
  await using client = await system.connect({
    retryMs: 1e9,
    onState(state) {
      throw new Error(`No ${state}`);
    },
    log: new Log({ write: (line) => lines.push(line.slice(25)) }),
  });
  assertEquals(client.state, "active");
  assertEquals(lines, [
    "error Failed in onState: No connecting",
    "error Failed in onState: No active",
  ]);
  assertEquals(client.failures, 0);
});

Deno.test("Client can be told what to do from within onState", async () => {
  await using system = await setUp();
  await using subscriber = await system.connect();
  await using messages = await subscriber.subscribe("state", { qos: 1 });
  const published: Promise<void>[] = [];
  await using client: Client = await system.open({
    onState(state) {
      if (state !== "active") return;
      published.push(client.publish("state", state, { qos: 1 }));
    },
  });
  await client.connect();
  assertEquals(await take(messages, 1), ["active"]);
  await Promise.all(published);
});

// Publish

Deno.test("Client.publish() reaches subscribers at every QoS, by name, pre-defined id and short name", async () => {
  const predefined = new Map([[7, "lamp"]]);
  await using system = await setUp({ predefined });
  await using subscriber = await system.connect();
  await using messages = await subscriber.subscribe("#", { qos: 2 });
  await using client = await system.connect();
  for (const topic of ["room/1", { predefined: 7 }, { short: "ab" }]) {
    for (const qos of [0, 1, 2, -1] satisfies Qos[]) {
      if (qos === -1 && typeof topic === "string") continue;
      const payload = `${JSON.stringify(topic)} ${qos}`;
      await client.publish(topic, payload, { qos });
      const message = await messages.take();
      assertEquals(message.text(), payload);
      assertEquals(message.qos, Math.max(0, qos));
      assertFalse(message.retain);
      assertFalse(message.dup);
    }
  }
  await client.publish("bytes", Uint8Array.of(0, 255));
  assertEquals((await messages.take()).payload, Uint8Array.of(0, 255));
  await client.publish("empty");
  assertEquals((await messages.take()).payload.length, 0);
});

Deno.test("Client.publish() copies what it is given", async () => {
  await using system = await setUp();
  await using client = await system.open();
  await using subscriber = await system.connect();
  await using messages = await subscriber.subscribe("a", { qos: 1 });
  const payload = Uint8Array.of(1);
  const published = client.publish("a", payload, { qos: 1 });
  payload[0] = 2;
  await published;
  assertEquals((await messages.take()).payload, Uint8Array.of(1));
});

Deno.test("Client.publish() rejects with LocalProtocolError for a topic that is none, and lives on", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  const topics = [
    "",
    "a/+",
    "#",
    "a\0",
    "x".repeat(70_000),
    { short: "a" },
    { short: "abc" },
    { short: "a#" },
    { predefined: -1 },
    { predefined: 65_536 },
    { predefined: 1.5 },
  ];
  const { sent } = client.stats().transport;
  for (const topic of topics) {
    await assertRejects(
      () => client.publish(topic, "x", { qos: 1 }),
      LocalProtocolError,
    );
  }
  await assertRejects(
    () => client.publish("a", new Uint8Array(65_536)),
    LocalProtocolError,
  );
  assertEquals(client.stats().transport.sent, sent);
  await client.publish("a", "x", { qos: 1 });
});

Deno.test("Client.publish() and Client.subscribe() throw RangeError for a QoS that is none", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  for (const qos of [3, -2, 1.5, NaN, "1"] as unknown as Qos[]) {
    await assertRejects(() => client.publish("a", "", { qos }), RangeError);
  }
  for (const qos of [3, -1, 1.5, NaN, "1"] as unknown as (0 | 1 | 2)[]) {
    await assertRejects(
      () => client.subscribe("a", { qos }),
      RangeError,
      `Cannot take "${qos}" as the QoS: it is a whole number from 0 to 2`,
    );
  }
});

Deno.test("Client.publish() rejects with RefusedError, and the next goes on", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  const error = await assertRejects(
    () => client.publish({ predefined: 7 }, "on", { qos: 2 }),
    RefusedError,
    "The broker refuses to publish: it does not know the topic id",
  );
  assertEquals(error.returnCode, 2);
  await client.publish("a", "on", { qos: 2 });
});

Deno.test("Client.publish() that is not waited for keeps order, over thousands", async () => {
  await using system = await setUp({ maxQueue: 10_000 });
  await using client = await system.connect();
  await using subscriber = await system.connect();
  await using messages = await subscriber.subscribe("a", { qos: 2 });
  const published: Promise<void>[] = [];
  for (let i = 0; i < 3_000; i++) {
    published.push(client.publish("a", String(i), { qos: (i % 3) as Qos }));
  }
  await Promise.all(published);
  const expected = Array.from({ length: 3_000 }, (_, i) => String(i));
  assertEquals(await take(messages, 3_000), expected);
  assertEquals(subscriber.stats().received, 3_000);
});

Deno.test("Client.publish() is ended by its signal, and the others go on", async () => {
  await using gateway = new PlayedGateway(silentTo("PUBLISH"));
  await using client = await gateway.connect({ retryMs: 1e6 });
  const controller = new AbortController();
  const { signal } = controller;
  const reason = new Error("Enough");
  const peer = client.address;
  const acknowledge = (msgId: number) =>
    gateway.say(peer, { type: "PUBACK", topicId: 1, msgId, returnCode: 0 });
  const first = client.publish("a", "1", { qos: 1 });
  const second = client.publish("a", "2", { qos: 1, signal });
  const third = client.publish("a", "3", { qos: 1 });
  const [sent] = await gateway.hears("PUBLISH");
  // One that waits for its turn never leaves.
  controller.abort(reason);
  await assertRejects(() => second, Error, "Enough");
  acknowledge(sent!.msgId);
  await first;
  const [, next] = await gateway.hears("PUBLISH", 2);
  assertEquals(new TextDecoder().decode(next!.data), "3");
  acknowledge(next!.msgId);
  await third;
  // One that has left is not waited for.
  const late = new AbortController();
  const fourth = client.publish("a", "4", { qos: 1, signal: late.signal });
  const fifth = client.publish("a", "5", { qos: 1 });
  const [, , left] = await gateway.hears("PUBLISH", 3);
  late.abort(reason);
  await assertRejects(() => fourth, Error, "Enough");
  acknowledge(left!.msgId);
  const [, , , last] = await gateway.hears("PUBLISH", 4);
  acknowledge(last!.msgId);
  await fifth;
  await assertRejects(
    () => client.publish("a", "6", { signal }),
    Error,
    "Enough",
  );
  assertEquals(gateway.heard.filter((it) => it.type === "PUBLISH").length, 4);
});

Deno.test("Client listens to a signal no longer than it waits", async () => {
  await using system = await setUp();
  const { signal } = new AbortController();
  const listeners = new Listeners(signal);
  await using client = await system.connect({ signal });
  assertEquals(listeners.count, 0);
  const published = client.publish("a", "", { qos: 1, signal });
  assertEquals(listeners.count, 1);
  await published;
  await assertRejects(
    () => client.publish({ predefined: 7 }, "", { qos: 1, signal }),
    RefusedError,
  );
  await assertRejects(
    () => client.publish("#", "", { signal }),
    LocalProtocolError,
  );
  assertEquals(listeners.count, 0);
});

Deno.test("Client.publish() at QoS 0 in a loop does not outrun its socket", async () => {
  await using broker = await Broker.listen({ port: 0 });
  let mostUnsent = 0;
  const socket = await UdpTransport.bind();
  const send = socket.send.bind(socket);
  socket.send = (peer, bytes) => {
    send(peer, bytes);
    mostUnsent = Math.max(mostUnsent, socket.unsent);
  };
  const { port } = broker;
  await using client = await Client.connect({ port, transport: socket });
  const payload = new Uint8Array(200);
  for (let i = 0; i < 20_000; i++) await client.publish("a", payload);
  assert(mostUnsent <= MAX_UNSENT, String(mostUnsent));
  await client.publish("a", "last", { qos: 1 });
  assert(client.stats().transport.sent + socket.unsent >= 20_000);
});

Deno.test("Client.register() asks for an id once", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  await client.register("a");
  const { sent } = client.stats().transport;
  await client.register("a");
  assertEquals(client.stats().transport.sent, sent);
  await client.publish("a", "", { qos: 1 });
  assertEquals(client.stats().transport.sent, sent + 1);
  await assertRejects(() => client.register("a/+"), LocalProtocolError);
});

// Subscribe

Deno.test("Client.subscribe() to several topics gives each message once, in order", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  await using messages = await client.subscribe(
    ["a/b", "a/+", "#", { short: "ab" }, "ab", "a/b"],
    { qos: 1 },
  );
  assertEquals(messages.topics.length, 6);
  const topics = ["a/b", "ab", "a/c", "d", "a/b"];
  for (const topic of topics) await client.publish(topic, topic, { qos: 1 });
  assertEquals(await take(messages, 5), topics);
  await settled(client);
  assertEquals(await take(messages, 1), [""]);
  assertEquals(messages.length, 0);
});

Deno.test("Client.subscribe() gives both of two subscriptions what both match", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  await using one = await client.subscribe("a/+");
  await using other = await client.subscribe("a/#");
  await using same = await client.subscribe("a/#");
  await client.publish("a/b", "1");
  await client.publish("a", "2");
  await client.publish("a/b", "3");
  assertEquals(await take(one, 2), ["1", "3"]);
  assertEquals(await take(other, 3), ["1", "2", "3"]);
  assertEquals(await take(same, 3), ["1", "2", "3"]);
  assertEquals(client.stats().received, 3);
});

Deno.test("Client.subscribe() gives what is retained first", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  await client.publish("a/1", "old", { qos: 1, retain: true });
  await client.publish("a/2", "older", { qos: 1, retain: true });
  await client.publish("a/2", "", { qos: 1, retain: true });
  await using messages = await client.subscribe("a/+", { qos: 1 });
  await client.publish("a/1", "new", { qos: 1, retain: true });
  const first = await messages.take();
  assertEquals([first.text(), first.retain], ["old", true]);
  const second = await messages.take();
  assertEquals([second.text(), second.retain], ["new", false]);
});

Deno.test("Client.subscribe() takes what comes before the broker has granted it", async () => {
  await using gateway = new PlayedGateway(silentTo("SUBSCRIBE"));
  await using client = await gateway.connect({ retryMs: 1e6 });
  const subscribing = client.subscribe({ short: "ab" }, { qos: 1 });
  const [asked] = await gateway.hears("SUBSCRIBE");
  gateway.say(client.address, {
    type: "PUBLISH",
    dup: false,
    qos: 0,
    retain: true,
    topicIdType: "short",
    topicId: 0x6162,
    msgId: 0,
    data: new TextEncoder().encode("old"),
  });
  gateway.say(client.address, {
    type: "SUBACK",
    qos: 0,
    topicId: 0,
    msgId: asked!.msgId,
    returnCode: 0,
  });
  const messages = await subscribing;
  assertEquals(messages.qos, 0);
  assertEquals(await take(messages, 1), ["old"]);
});

Deno.test("Client.subscribe() tells what QoS was granted", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  for (const qos of [0, 1, 2] as const) {
    const messages = await client.subscribe("a", { qos });
    assertEquals(messages.qos, qos);
    await client.publish("a", "", { qos: 2 });
    assertEquals((await messages.take()).qos, qos);
    await messages.unsubscribe();
  }
  assertEquals((await client.subscribe("b")).qos, 0);
});

Deno.test("Client.subscribe() rejects for a topic that is none, and asks for none of the others", async () => {
  await using gateway = new PlayedGateway();
  await using client = await gateway.connect();
  for (
    const topics of [
      "",
      "a/#/b",
      "a+",
      { short: "a+" },
      { short: "a" },
      { predefined: 70_000 },
      [],
      ["a", "b", "c/#/d"],
    ]
  ) {
    await assertRejects(() => client.subscribe(topics), LocalProtocolError);
  }
  for (const maxQueue of [0, -1, 1.5, NaN]) {
    await assertRejects(() => client.subscribe("a", { maxQueue }), RangeError);
  }
  await client.publish("a", "", { qos: 1 });
  assertEquals(gateway.heard.map(({ type }) => type), [
    "CONNECT",
    "REGISTER",
    "PUBLISH",
  ]);
});

Deno.test("Client.subscribe() rejects when the broker refuses, and leaves nothing", async () => {
  await using gateway = new PlayedGateway((packet) => {
    if (packet.type !== "SUBSCRIBE") return usually(packet);
    const { msgId, topic } = packet;
    const isRefused = topic.topicIdType === "normal" &&
      topic.topicName === "no";
    const returnCode = isRefused ? 3 : 0;
    return { type: "SUBACK", qos: 0, topicId: 0, msgId, returnCode };
  });
  await using client = await gateway.connect({ cleanSession: false });
  await using other = await client.subscribe("b");
  await assertRejects(() => client.subscribe("no"), RefusedError);
  const error = await assertRejects(
    () => client.subscribe(["a", "no", "b", "c"]),
    RefusedError,
    "The broker refuses to subscribe: it does not support that",
  );
  assertEquals(error.returnCode, 3);
  // What was granted is ended, but for what another has; of the other nothing
  // was there.
  const ended = await gateway.hears("UNSUBSCRIBE", 2);
  await client.register("behind");
  assertEquals(gateway.heard.filter(({ type }) => type === "UNSUBSCRIBE"), [
    ...ended,
  ]);
  assertEquals(
    ended.map(({ topic }) => "topicName" in topic && topic.topicName),
    ["a", "c"],
  );
  // Nobody takes what comes for them: it waits for whoever subscribes.
  for (const short of ["ab", "cd"]) {
    gateway.say(client.address, {
      type: "PUBLISH",
      dup: false,
      qos: 0,
      retain: false,
      topicIdType: "short",
      topicId: short === "ab" ? 0x6162 : 0x6364,
      msgId: 0,
      data: new Uint8Array(),
    });
  }
  await until(() => client.stats().unclaimed === 2);
  assertFalse(other.isEnded);
});

Deno.test("Client.subscribe() rejects at once when one of several is refused for congestion", async () => {
  await using system = await setUp({ maxSubscriptions: 1 });
  // What is still to be asked for has to wait for T_WAIT.
  await using client = await system.connect({ waitMs: 1e6, timeoutMs: 50 });
  await assertRejects(
    () => client.subscribe(["a", "b"]),
    RefusedError,
    "it is congested",
  );
});

Deno.test("Client.subscribe() is ended by its signal, and then at the broker", async () => {
  await using gateway = new PlayedGateway(silentTo("SUBSCRIBE"));
  await using client = await gateway.connect({
    retryMs: 1e6,
    cleanSession: false,
  });
  const controller = new AbortController();
  const { signal } = controller;
  const topics = [{ short: "ab" }, "b"];
  const subscribing = client.subscribe(topics, { signal });
  const [asked] = await gateway.hears("SUBSCRIBE");
  controller.abort(new Error("Enough"));
  await assertRejects(() => subscribing, Error, "Enough");
  // It takes nothing any more, though the broker has not answered.
  gateway.say(client.address, {
    type: "PUBLISH",
    dup: false,
    qos: 0,
    retain: false,
    topicIdType: "short",
    topicId: 0x6162,
    msgId: 0,
    data: new Uint8Array(),
  });
  await until(() => client.stats().unclaimed === 1);
  gateway.say(client.address, {
    type: "SUBACK",
    qos: 0,
    topicId: 0,
    msgId: asked!.msgId,
    returnCode: 0,
  });
  await gateway.hears("UNSUBSCRIBE", 2);
  assertEquals((await gateway.hears("SUBSCRIBE")).length, 1);
  const before = gateway.heard.length;
  await assertRejects(
    () => client.subscribe("c", { signal }),
    Error,
    "Enough",
  );
  await client.register("behind");
  assertEquals(gateway.heard.length, before + 1);
});

Deno.test("Client.subscribe() is ended by its signal while the broker is silent", async () => {
  await using gateway = new PlayedGateway(silentTo("SUBSCRIBE", "UNSUBSCRIBE"));
  const client = await gateway.connect({ retryMs: 1, retries: 1 });
  const controller = new AbortController();
  const { signal } = controller;
  const subscribing = client.subscribe(["a", "b"], { signal });
  const isLost = until(() => client.state === "lost");
  await gateway.hears("SUBSCRIBE");
  controller.abort(new Error("Enough"));
  await assertRejects(() => subscribing, Error, "Enough");
  await isLost;
  await until(() => client.state === "lost");
  await client.close();
});

Deno.test("Subscription.unsubscribe() leaves the broker's to others that have the topic", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  const one = await client.subscribe(["a", "b"], { qos: 1 });
  const other = await client.subscribe("a", { qos: 1 });
  await client.publish("a", "1", { qos: 1 });
  await one.unsubscribe();
  assert(one.isEnded);
  assertFalse(other.isEnded);
  await client.publish("a", "2", { qos: 1 });
  await client.publish("b", "3", { qos: 1 });
  assertEquals(await take(other, 2), ["1", "2"]);
  assertEquals(await rest(one), ["1"]);
  await other.unsubscribe();
  await other.unsubscribe();
  assert(other.isEnded);
  const { received } = client.stats();
  await client.publish("a", "4", { qos: 1 });
  await settled(client);
  assertEquals(client.stats().received, received + 1);
});

Deno.test("Subscription.unsubscribe() of two at once ends the broker's", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  const one = await client.subscribe("a");
  const other = await client.subscribe("a");
  await Promise.all([one.unsubscribe(), other.unsubscribe()]);
  await client.publish("a", "1", { qos: 1 });
  await settled(client);
  assertEquals(client.stats().received, 1);
});

Deno.test("Subscription.unsubscribe() does not end one that is made meanwhile", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  const first = await client.subscribe("a");
  const unsubscribed = first.unsubscribe();
  const second = await client.subscribe("a");
  await unsubscribed;
  assert(first.isEnded);
  assertFalse(second.isEnded);
  await client.publish("a", "1");
  assertEquals(await take(second, 1), ["1"]);
});

Deno.test("Subscription.unsubscribe() does not end what it has no more", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  const one = await client.subscribe(["a", "b"]);
  await client.unsubscribe("a");
  const other = await client.subscribe("a");
  await one.unsubscribe();
  assert(one.isEnded);
  assertFalse(other.isEnded);
  await client.publish("a", "1");
  assertEquals(await take(other, 1), ["1"]);
});

Deno.test("Client.unsubscribe() ends all subscriptions to that topic, and no others", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  const one = await client.subscribe(["a", "b"]);
  const other = await client.subscribe("a");
  await client.publish("a", "1", { qos: 1 });
  await settled(client);
  await client.unsubscribe("a");
  assertFalse(one.isEnded);
  assert(other.isEnded);
  await client.publish("b", "2");
  assertEquals(await take(one, 2), ["1", "2"]);
  assertEquals(await rest(other), ["1"]);
  await one.unsubscribe();
  assert(one.isEnded);
  await assertRejects(() => client.unsubscribe("a/#/b"), LocalProtocolError);
  await client.unsubscribe("never/was");
});

Deno.test("Client.unsubscribe() ends a subscription of a kept session that nobody has", async () => {
  await using system = await setUp();
  const options = { clientId: "kept", cleanSession: false };
  {
    await using client = await system.connect(options);
    await client.subscribe("a");
  }
  await using client = await system.connect(options);
  await client.unsubscribe("a");
  await client.publish("a", "1", { qos: 1 });
  await settled(client);
  assertEquals(client.stats().received, 1);
});

Deno.test("Subscription ends at the end of its block, at the broker as well", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  {
    await using messages = await client.subscribe("a");
    await client.publish("a", "1");
    await messages.take();
  }
  await client.publish("a", "2", { qos: 1 });
  await settled(client);
  assertEquals(client.stats().received, 2);
  assertEquals(client.stats().dropped, 0);
});

Deno.test("Subscription can be left and taken up again while messages come", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  await using messages = await client.subscribe("a", { qos: 1 });
  const texts: string[] = [];
  for (let i = 0; i < 9; i++) await client.publish("a", String(i), { qos: 1 });
  while (texts.length < 9) {
    for await (const message of messages) {
      texts.push(message.text());
      if (texts.length % 3 === 0) break;
    }
  }
  assertEquals(texts.join(""), "012345678");
});

Deno.test("Client.subscribe() finds pre-defined topics by id and by name, known to it or not", async () => {
  const predefined = new Map([[7, "lamp"]]);
  await using system = await setUp({ predefined });
  for (const options of [{ predefined }, {}]) {
    const isKnown = "predefined" in options;
    await using client = await system.connect(options);
    for (const topic of [{ predefined: 7 }, "lamp", "#"]) {
      await using messages = await client.subscribe(topic, { qos: 1 });
      for (const to of [{ predefined: 7 }, "lamp"]) {
        await client.publish(to, "on", { qos: 1 });
        const message = await messages.take();
        // Without a name it is called by its number.
        const isNamed = isKnown || typeof topic === "string";
        assertEquals(message.topicName, isNamed ? "lamp" : "7");
        if (typeof topic !== "string") assertEquals(message.predefined, 7);
      }
    }
  }
});

Deno.test("Client.subscribe() to everything leaves out what begins with a dollar", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  await using all = await client.subscribe("#");
  await using system$ = await client.subscribe("$SYS/broker/version");
  const message = await system$.take();
  assertEquals(message.topicName, "$SYS/broker/version");
  await settled(client);
  assertEquals(await take(all, 1), [""]);
  assertEquals(all.length, 0);
});

// Back-pressure

Deno.test("Client drops and counts at QoS 0 what finds no room", async () => {
  await using system = await setUp();
  await using client = await system.connect({ maxQueue: 3 });
  await using messages = await client.subscribe("a");
  await using more = await client.subscribe("a", { maxQueue: 4 });
  for (let i = 0; i < 10; i++) await client.publish("a", String(i));
  await settled(client);
  assertEquals([messages.length, messages.lost], [3, 7]);
  assertEquals([more.length, more.lost], [4, 6]);
  assertEquals(client.stats().dropped, 13);
  assertEquals(client.stats().received, 11);
  assertEquals(await take(messages, 3), ["0", "1", "2"]);
  await client.publish("a", "10");
  assertEquals(await take(messages, 1), ["10"]);
});

for (const qos of [1, 2] as const) {
  Deno.test(`Client leaves at QoS ${qos} to the broker what finds no room, and loses nothing`, async () => {
    await using system = await setUp({ retryMs: 50, retries: 100 });
    await using publisher = await system.connect();
    await using client = await system.connect();
    await using slow = await client.subscribe("a", { qos, maxQueue: 2 });
    await using quick = await client.subscribe("#", { qos });
    for (let i = 0; i < 6; i++) await publisher.publish("a", `${i}`, { qos });
    await until(() => client.stats().held > 1);
    assertEquals(slow.length, 2);
    assertEquals(quick.length, 2);
    assertEquals(client.stats().received, 2);
    // The broker sends it again after its T_retry.
    assertEquals(await take(slow, 6), ["0", "1", "2", "3", "4", "5"]);
    await settled(client);
    assertEquals(await take(quick, 7), ["0", "1", "2", "3", "4", "5", ""]);
    assertEquals([slow.length, quick.length, slow.lost], [0, 0, 0]);
    const { received, dropped } = client.stats();
    assertEquals([received, dropped], [7, 0]);
  });
}

Deno.test("Client gives at QoS 2 once what comes twice", async () => {
  await using gateway = new PlayedGateway();
  await using client = await gateway.connect();
  await using messages = await client.subscribe({ short: "ab" }, { qos: 2 });
  for (const dup of [false, true, true]) {
    gateway.say(client.address, {
      type: "PUBLISH",
      dup,
      qos: 2,
      retain: false,
      topicIdType: "short",
      topicId: 0x6162,
      msgId: 7,
      data: new TextEncoder().encode("once"),
    });
  }
  assertEquals((await gateway.hears("PUBREC", 3)).length, 3);
  gateway.say(client.address, { type: "PUBREL", msgId: 7 });
  await gateway.hears("PUBCOMP");
  const message = await messages.take();
  assertEquals([message.text(), message.dup], ["once", false]);
  assertEquals(messages.length, 0);
  assertEquals(client.stats().received, 1);
});

// Kept sessions

Deno.test("Client of a kept session keeps what comes before anyone has subscribed", async () => {
  await using system = await setUp();
  await using publisher = await system.connect();
  const options = { clientId: "kept", cleanSession: false, maxQueue: 3 };
  {
    await using client = await system.connect(options);
    await client.subscribe("a/#", { qos: 1 });
    await client.subscribe("b", { qos: 2 });
  }
  for (let i = 0; i < 2; i++) {
    await publisher.publish(`a/${i}`, `a${i}`, { qos: 1 });
    await publisher.publish("b", `b${i}`, { qos: 2 });
  }
  await using client = await system.connect(options);
  // One more than there is room for: it comes when there is some.
  await until(() => client.stats().held > 0);
  assertEquals(client.stats().unclaimed, 3);
  await using b = await client.subscribe("b", { qos: 2 });
  assertEquals(await take(b, 2), ["b0", "b1"]);
  await using a0 = await client.subscribe("a/0", { qos: 1 });
  assertEquals(await take(a0, 1), ["a0"]);
  await using a = await client.subscribe("a/#", { qos: 1 });
  assertEquals(await take(a, 1), ["a1"]);
  await settled(client);
  const { unclaimed, dropped, received } = client.stats();
  assertEquals([unclaimed, dropped, received], [0, 0, 5]);
});

// Sleep

Deno.test("Client sleeps, fetches at wake() what was buffered, and sleeps on", async () => {
  await using system = await setUp();
  await using publisher = await system.connect();
  const states: DeviceState[] = [];
  await using client = await system.connect({
    onState: (state) => states.push(state),
  });
  await using messages = await client.subscribe("a/+", { qos: 1 });
  await client.wake(); // it is awake: nothing to do
  await client.sleep(3_600);
  assertEquals(client.state, "asleep");
  for (let i = 0; i < 3; i++) {
    await publisher.publish(`a/${i}`, String(i), { qos: 1 });
  }
  assertEquals(messages.length, 0);
  await client.wake();
  assertEquals(client.state, "asleep");
  assertEquals(messages.length, 3);
  assertEquals(await take(messages, 3), ["0", "1", "2"]);

  // To publish it connects; then it sleeps on.
  await client.publish("a/3", "3", { qos: 1 });
  await until(() => client.state === "asleep");
  assertEquals(states, [
    "connecting",
    "active",
    "asleep",
    "awake",
    "asleep",
    "connecting",
    "active",
    "asleep",
  ]);
  assertEquals(await take(messages, 1), ["3"]);

  await client.connect();
  assertEquals(client.state, "active");
  await publisher.publish("a/4", "4", { qos: 1 });
  assertEquals(await take(messages, 1), ["4"]);
  assertEquals(client.state, "active");
});

Deno.test("Client.sleep() rejects for what is no time to sleep", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  for (const seconds of [0, -1, 65_536, 1.5, NaN]) {
    await assertRejects(() => client.sleep(seconds), LocalProtocolError);
  }
  assertEquals(client.state, "active");
});

Deno.test("Client.close() of a sleeping client disconnects it", async () => {
  await using system = await setUp();
  const client = await system.connect();
  await client.sleep(3_600);
  await client.close();
  assertEquals(client.state, "disconnected");
  assertEquals(system.broker.stats().mqttsn.clients.asleep ?? 0, 0);
});

// Wills

Deno.test("Client has its will published when it is lost, not when it closes", async () => {
  await using system = await setUp();
  await using watcher = await system.connect();
  await using wills = await watcher.subscribe("will/+", { qos: 1 });
  await using retained = await system.connect();
  const connect = async (name: string) => {
    const transport = system.network.bind();
    const client = await system.connect({
      transport,
      keepAlive: 1,
      will: { topicName: `will/${name}`, payload: name, qos: 1, retain: true },
    });
    return { client, transport };
  };
  const { client: closed } = await connect("closed");
  const lost = await connect("lost");
  const none = await connect("none");
  const changed = await connect("changed");
  await none.client.updateWill(undefined);
  await changed.client.updateWill({ topicName: "will/other", payload: "new" });
  const before = changed.client.stats().transport.sent;
  await assertRejects(
    () => changed.client.updateWill({ topicName: "will/#", payload: "" }),
    LocalProtocolError,
  );
  assertEquals(changed.client.stats().transport.sent, before);
  await closed.close();
  for (const { transport } of [lost, none, changed]) transport.close();
  const messages = [await wills.take(), await wills.take()];
  assertEquals(
    messages.map((message) => `${message.topicName} ${message.text()}`).sort(),
    ["will/lost lost", "will/other new"],
  );
  await until(() => system.broker.stats().mqttsn.lostBy.silence === 3);
  await settled(watcher);
  assertEquals(wills.length, 0);
  await using late = await retained.subscribe("will/+");
  assertEquals((await late.take()).topicName, "will/lost");
  const clients = [lost, none, changed].map(({ client }) => client);
  await Promise.all(clients.map((client) => client.close()));
});

// A broker that is lost

Deno.test("Client connects to a broker that was started anew, and goes on", async () => {
  const port = unsoughtPort();
  const first = await Broker.listen({ port, retryMs: 50 });
  const states: DeviceState[] = [];
  await using client = await Client.connect({
    port,
    retryMs: 20,
    onState: (state) => states.push(state),
  });
  const messages = await client.subscribe(["a/+", { short: "ab" }], {
    qos: 1,
  });
  await client.publish("a/1", "1", { qos: 1 });
  assertEquals(await take(messages, 1), ["1"]);
  await first.close();

  const pending = Promise.all([
    client.publish("a/2", "2", { qos: 1 }),
    client.publish("a/3", "3", { qos: 2 }),
    client.publish("a/4", "4"),
  ]);
  // What fails before they are waited for is to be told in place of them.
  pending.catch(() => {});
  await until(() => client.state === "lost");
  await using _second = await Broker.listen({ port, retryMs: 50 });
  await pending;
  await until(() => client.state === "active");
  assertEquals(states.slice(0, 3), ["connecting", "active", "lost"]);
  assertEquals(states.at(-1), "active");
  // They may have gone out before it was subscribed again.
  await settled(client);
  while (messages.length > 0) await messages.take();
  await client.publish("a/5", "5", { qos: 1 });
  assertEquals(await take(messages, 1), ["5"]);
  await client.publish({ short: "ab" }, "6", { qos: 1 });
  assertEquals(await take(messages, 1), ["6"]);
});

Deno.test("Client connects anew when the broker no longer knows it", async () => {
  await using system = await setUp();
  const states: DeviceState[] = [];
  await using client = await system.connect({
    onState: (state) => states.push(state),
  });
  const messages = await client.subscribe("a", { qos: 1 });
  await system.broker.close();
  await using _again = await system.listen();
  await client.publish("a", "1", { qos: 1 });
  await settled(client);
  await client.publish("a", "2", { qos: 1 });
  while (await messages.take().then((message) => message.text() !== "2"));
  assertEquals(states, [
    "connecting",
    "active",
    "lost",
    "connecting",
    "active",
  ]);
});

Deno.test("Client.publish() rejects with NoAnswerError after timeoutMs, and the next may succeed", async () => {
  let isSilent = false;
  await using gateway = new PlayedGateway((packet) =>
    isSilent ? undefined : usually(packet)
  );
  await using client = await gateway.connect({ timeoutMs: 60, retries: 0 });
  isSilent = true;
  await assertRejects(
    () => client.publish("a", "1", { qos: 1 }),
    NoAnswerError,
    "No broker answered at 127.0.0.1:12003 within 0.06 s",
  );
  await assertRejects(() => client.subscribe(["a", "b"]), NoAnswerError);
  isSilent = false;
  for (;;) {
    try {
      await client.publish("a", "2", { qos: 1 });
      break;
    } catch (error) {
      assert(error instanceof NoAnswerError);
    }
  }
});

// Close

Deno.test("Client.close() waits for what was published, then disconnects", async () => {
  await using system = await setUp();
  await using subscriber = await system.connect();
  await using messages = await subscriber.subscribe("a", { qos: 2 });
  const lost = () => system.broker.stats().mqttsn.lostBy;
  const client = await system.connect({ clientId: "closing" });
  const published = [0, 1, 2, 0, 1, 2].map((qos, i) =>
    client.publish("a", String(i), { qos: qos as Qos })
  );
  const closing = client.close();
  assertEquals(client.close(), closing);
  assert(client.isClosed);
  await closing;
  await client.closed;
  const outcomes = await Promise.allSettled(published);
  for (const { status } of outcomes) assertEquals(status, "fulfilled");
  assertEquals(await take(messages, 6), ["0", "1", "2", "3", "4", "5"]);
  assertEquals(client.state, "disconnected");
  assertEquals(Object.values(lost()), [0, 0, 0]);
  assertEquals(client.close(), closing);
});

Deno.test("Client.close() rejects what is asked for later, and ends loops", async () => {
  await using system = await setUp();
  const client = await system.connect();
  const messages = await client.subscribe("a", { qos: 1 });
  await client.publish("a", "1", { qos: 1 });
  const loop = rest(messages);
  const other = await client.subscribe(["b", "c"]);
  const taker = assertRejects(() => other.take(), Error, "has ended");
  const closing = client.close();
  const requests = [
    () => client.connect(),
    () => client.publish("a", "2"),
    () => client.publish({ predefined: 1 }, "2", { qos: -1 }),
    () => client.subscribe("a"),
    () => client.unsubscribe("a"),
    () => client.register("a"),
    () => client.sleep(1),
    () => client.wake(),
    () => client.updateWill(undefined),
  ];
  for (const request of requests) {
    await assertRejects(request, Error, "The client was closed");
  }
  await closing;
  for (const request of requests) {
    await assertRejects(request, Error, "The client was closed");
  }
  assertEquals(await loop, ["1"]);
  await taker;
  assert(messages.isEnded);
  await other[Symbol.asyncDispose]();
});

Deno.test("Client.close() rejects what is under way when that takes too long, and disconnects", async () => {
  await using gateway = new PlayedGateway(silentTo("PUBLISH", "DISCONNECT"));
  using limit = new Limit();
  const client = await gateway.connect({ retryMs: 1e6 });
  const outcome = assertRejects(
    () => client.publish("a", "1", { qos: 1 }),
    Error,
    "The client was closed",
  );
  await gateway.hears("PUBLISH");
  const closing = client.close();
  assertEquals(limit.asked, [5_000]);
  assertEquals(limit.listeners, 1);
  limit.reach();
  await closing;
  await outcome;
  assertEquals(limit.listeners, 0);
  await gateway.hears("DISCONNECT");
});

Deno.test("Client.close() rejects what is under way when the broker is lost", async () => {
  using limit = new Limit();
  await using gateway = new PlayedGateway(
    silentTo("PUBLISH", "SUBSCRIBE", "DISCONNECT"),
  );
  const client = await gateway.connect({ retryMs: 1, retries: 0 });
  const asked = [
    client.publish("a", "1", { qos: 1 }),
    client.publish("a", "2", { qos: 0 }),
    client.subscribe(["b", "c"]),
  ];
  const outcomes = Promise.allSettled(asked);
  await until(() => client.state === "lost");
  await client.close();
  for (const outcome of await outcomes) {
    assertEquals(outcome.status, "rejected");
    if (outcome.status === "rejected") {
      assertEquals(outcome.reason.message, "The client was closed");
    }
  }
  assertEquals(limit.asked, []);
});

Deno.test("Client.close() does not wait for ever for a silent broker", async () => {
  await using gateway = new PlayedGateway(silentTo("DISCONNECT"));
  using limit = new Limit();
  const client = await gateway.connect({ retryMs: 1, retries: 2 });
  await client.close();
  assertEquals(limit.listeners, 0);
  assertEquals(client.state, "disconnected");
  assert((await gateway.hears("DISCONNECT")).length >= 3);
});

Deno.test("A signal that many requests share ends those that are left, by one listener", async () => {
  await using gateway = new PlayedGateway(silentTo("PUBLISH"));
  await using client = await gateway.connect({ retryMs: 1e6 });
  const controller = new AbortController();
  const { signal } = controller;
  let listeners = 0;
  const add = signal.addEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners++;
    add(...args);
  };
  await client.publish("a", "0", { signal });
  const ends = Promise.allSettled(
    ["1", "2", "3"].map((text) =>
      client.publish("a", text, { qos: 1, signal })
    ),
  );
  const before = listeners;
  controller.abort(new Error("Enough"));
  assertEquals(
    (await ends).map((end) => end.status === "rejected" && end.reason.message),
    ["Enough", "Enough", "Enough"],
  );
  assertEquals(before <= 2, true);
  await assertRejects(
    () => client.publish("a", "4", { signal }),
    Error,
    "Enough",
  );
});

Deno.test("A signal that aborts while a request is made ends it", async () => {
  await using gateway = new PlayedGateway(silentTo("CONNECT"));
  const controller = new AbortController();
  const client = await gateway.open({
    retryMs: 1e6,
    onState: () => controller.abort(new Error("Enough")),
  });
  await assertRejects(
    () => client.connect({ signal: controller.signal }),
    Error,
    "Enough",
  );
  await client.close();
});

Deno.test("A second subscription to a topic does not lower what the first was granted", async () => {
  await using broker = await Broker.listen({ port: 0 });
  await using client = await Client.connect({ port: broker.port });
  const first = await client.subscribe("a", { qos: 2 });
  await client.subscribe("a", { qos: 0 });
  await client.publish("a", "1", { qos: 2 });
  assertEquals((await first.take()).qos, 2);
});

Deno.test("A subscription is disposed of although the broker is silent", async () => {
  await using gateway = new PlayedGateway(
    silentTo("UNSUBSCRIBE", "DISCONNECT"),
  );
  const client = await gateway.connect({ retryMs: 1e6 });
  const messages = await client.subscribe("a");
  {
    using limit = new Limit();
    const disposed = messages[Symbol.asyncDispose]();
    await gateway.hears("UNSUBSCRIBE");
    limit.reach();
    await disposed;
  }
  assertEquals(messages.isEnded, true);
  using limit = new Limit();
  const closed = client.close();
  limit.reach();
  await closed;
});

Deno.test("Client.open() says which option is wrong", async () => {
  await assertRejects(
    () => Client.open({ timeoutMs: 0 }),
    RangeError,
    'Cannot take "0" as timeoutMs',
  );
  await assertRejects(() => Client.open({ clientId: "" }), LocalProtocolError);
  const transport = new MemoryNetwork().bind();
  await assertRejects(
    () => Client.open({ multicast: "225.1.1.1:1883", transport }),
    TypeError,
  );
});

Deno.test("Client.close() of one that never connected, or has no broker, is over at once", async () => {
  using limit = new Limit();
  await using gateway = new PlayedGateway(silentTo("CONNECT"));
  const idle = await gateway.open();
  await idle.close();
  assertEquals(gateway.heard, []);
  const client = await gateway.open({ retryMs: 1e6 });
  const outcome = assertRejects(
    () => client.connect(),
    Error,
    "The client was closed",
  );
  await gateway.hears("CONNECT");
  await client.close();
  await outcome;
  assertEquals(limit.asked, []);
});

Deno.test("Client closes when its transport breaks", async () => {
  await using gateway = new PlayedGateway();
  const transport = gateway.network.bind();
  const broken = Promise.withResolvers<void>();
  const receive = transport.receive.bind(transport);
  transport.receive = (handler) =>
    Promise.race([receive(handler), broken.promise]);
  const lines: string[] = [];
  const client = await gateway.connect({
    transport,
    log: new Log({ write: (line) => lines.push(line.slice(25)) }),
  });
  const messages = await client.subscribe("a");
  const loop = rest(messages);
  broken.reject(new Error("Cannot receive at all"));
  await client.closed;
  assertEquals(await loop, []);
  assertEquals(lines, ["error Cannot receive at all"]);
  assert(client.isClosed);
});

Deno.test("Client closes at the end of its block", async () => {
  await using system = await setUp();
  let client: Client;
  {
    await using inner = await system.connect();
    client = inner;
    assertFalse(client.isClosed);
  }
  assert(client.isClosed);
  assertEquals(client.state, "disconnected");
});

// What it tells

Deno.test("Client logs each datagram at debug, decoded", async () => {
  await using system = await setUp();
  const lines: string[] = [];
  {
    await using client = await system.connect({
      clientId: "lamp",
      log: new Log({
        level: "debug",
        write: (line) => lines.push(line.slice(25)),
      }),
    });
    await client.publish({ short: "ab" }, "on", { qos: 1 });
  }
  const plain = lines.map((line) => line.replace(/msgId=\d+/, "msgId=N"));
  assertEquals(plain, [
    "debug Now connecting",
    'debug > 127.0.0.1:12003 CONNECT cleanSession protocolId=1 duration=60 clientId="lamp"',
    "debug < 127.0.0.1:12003 CONNACK returnCode=0",
    "debug Now active",
    'debug > 127.0.0.1:12003 PUBLISH qos=1 topicIdType=short topicName="ab" msgId=N data="on"',
    "debug < 127.0.0.1:12003 PUBACK topicId=24930 msgId=N returnCode=0",
    "debug > 127.0.0.1:12003 DISCONNECT",
    "debug < 127.0.0.1:12003 DISCONNECT",
    "debug Now disconnected",
  ]);
});

Deno.test("Client.stats() is a snapshot, and counts strays", async () => {
  await using system = await setUp();
  await using client = await system.connect();
  const before = client.stats();
  assertEquals(before, {
    received: 0,
    dropped: 0,
    unclaimed: 0,
    held: 0,
    rejected: 0,
    strays: 0,
    failures: 0,
    transport: {
      sent: 1,
      received: 1,
      sendErrors: 0,
      receiveErrors: 0,
      refused: {},
      congested: 0,
    },
    net: undefined,
  });
  await using stranger = system.network.bind();
  await using messages = await client.subscribe({ short: "ab" });
  stranger.send(
    client.address,
    encodePacket({ type: "PINGREQ", clientId: "" }),
  );
  stranger.send(
    client.address,
    encodePacket({
      type: "PUBLISH",
      dup: false,
      qos: 0,
      retain: false,
      topicIdType: "short",
      topicId: 0x6162,
      msgId: 0,
      data: new Uint8Array(),
    }),
  );
  stranger.send(client.address, Uint8Array.of(1, 2, 3));
  await until(() => client.stats().strays === 3);
  assertEquals(messages.length, 0);
  assertEquals(before.strays, 0);
  assertEquals(before.transport.received, 1);
  assertEquals(await client.overflowed(), 0);
});

// GatewaySearch that are searched for

const GROUP = "225.1.1.1";

/** Whether this machine lets a datagram to a group through to itself. */
async function hasMulticast(): Promise<boolean> {
  await using listener = await UdpTransport.bind({ hostname: "0.0.0.0" });
  await using sender = await UdpTransport.bind({ hostname: "0.0.0.0" });
  try {
    await listener.join(GROUP);
  } catch {
    return false;
  }
  const arrived = Promise.withResolvers<boolean>();
  listener.receive(() => arrived.resolve(true));
  const tooLong = setTimeout(() => arrived.resolve(false), 500);
  const port = listener.address.port;
  sender.send(peerOf(GROUP, port), Uint8Array.of(0));
  const has = await arrived.promise;
  clearTimeout(tooLong);
  return has;
}

const ignore = !await hasMulticast();

Deno.test({
  name: "Client finds a broker in a multicast group",
  ignore,
  async fn() {
    await using free = await UdpTransport.bind({ hostname: "0.0.0.0" });
    const { port } = free.address;
    free.close();
    const multicast = `${GROUP}:${port}`;
    await using broker = await Broker.listen({
      hostname: "0.0.0.0",
      port: 0,
      multicast,
    });
    const states: DeviceState[] = [];
    await using client = await Client.connect({
      multicast,
      seed: 8, // by which it searches without a long pause
      onState: (state) => states.push(state),
    });
    assertEquals(states, ["searching", "connecting", "active"]);
    assertEquals(client.broker?.port, broker.port);
    await using messages = await client.subscribe("a");
    await client.publish("a", "1");
    assertEquals(await take(messages, 1), ["1"]);
  },
});

Deno.test({
  name:
    "Client that finds no broker in its group is ended by its signal, and leaves nothing open",
  ignore,
  async fn() {
    await using free = await UdpTransport.bind({ hostname: "0.0.0.0" });
    const { port } = free.address;
    free.close();
    const controller = new AbortController();
    await assertRejects(
      () =>
        Client.connect({
          multicast: `${GROUP}:${port}`,
          signal: controller.signal,
          onState: (state) => {
            if (state === "searching") controller.abort(new Error("Enough"));
          },
        }),
      Error,
      "Enough",
    );
    const error = await assertRejects(
      () => Client.connect({ multicast: `${GROUP}:${port}`, timeoutMs: 20 }),
      NoAnswerError,
    );
    assertEquals(error.broker, undefined);
  },
});

Deno.test({
  name: "Client that searches leaves nothing open when it cannot be made",
  ignore,
  async fn() {
    await using taken = await UdpTransport.bind({ hostname: "0.0.0.0" });
    const { port } = taken.address;
    taken.close();
    await assertRejects(
      () => Client.connect({ multicast: `${GROUP}:${port}`, retryMs: 0 }),
      RangeError,
    );
  },
});
