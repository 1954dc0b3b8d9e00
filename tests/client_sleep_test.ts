/**
 * Client: sleep, wills, and a broker that is lost.
 *
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { Broker } from "../broker.ts";
import { Client } from "../client.ts";
import type { DeviceState } from "../client/events.ts";
import { LocalProtocolError, NoAnswerError } from "../base/errors.ts";
import { unsoughtPort } from "./support/ports.ts";
import "./support/sockets.ts";
import {
  PlayedGateway,
  settled,
  setUp,
  take,
  until,
  usually,
} from "./support/client.ts";

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
