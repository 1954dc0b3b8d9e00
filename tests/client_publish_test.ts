/**
 * Client: to publish.
 *
 * @module
 */

import { assert, assertEquals, assertFalse, assertRejects } from "@std/assert";
import { Broker } from "../broker.ts";
import { Client } from "../client.ts";
import { RefusedError } from "../client/errors.ts";
import { LocalProtocolError } from "../base/errors.ts";
import type { Qos } from "../wire/packets.ts";
import { MAX_UNSENT, UdpTransport } from "../transport/udp.ts";
import "./support/sockets.ts";
import {
  Listeners,
  PlayedGateway,
  setUp,
  silentTo,
  take,
} from "./support/client.ts";

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
