/**
 * Client: to connect, and to close.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertFalse,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { Broker } from "../broker.ts";
import { Client } from "../client.ts";
import { RefusedError } from "../client/errors.ts";
import type { DeviceState } from "../client/events.ts";
import { Log } from "../base/log.ts";
import { LocalProtocolError, NoAnswerError } from "../base/errors.ts";
import type { Qos } from "../wire/packets.ts";
import { MemoryNetwork } from "../transport/memory.ts";
import { UdpTransport } from "../transport/udp.ts";
import "./support/sockets.ts";
import {
  Limit,
  PlayedGateway,
  rest,
  setUp,
  silentTo,
  take,
  until,
  usually,
} from "./support/client.ts";

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
