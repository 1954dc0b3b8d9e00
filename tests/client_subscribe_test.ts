/**
 * Client: to subscribe, and what happens when nobody takes the messages.
 *
 * @module
 */

import { assert, assertEquals, assertFalse, assertRejects } from "@std/assert";
import { RefusedError } from "../client/errors.ts";
import { LocalProtocolError } from "../base/errors.ts";
import "./support/sockets.ts";
import {
  PlayedGateway,
  rest,
  settled,
  setUp,
  silentTo,
  take,
  until,
  usually,
} from "./support/client.ts";

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
