/**
 * One exchange at a time: REGISTER, PUBLISH and PUBREL, their answers and retries.
 */

import { assert, assertEquals, assertFalse } from "@std/assert";
import { MemoryBudget } from "../../broker/memory_budget.ts";
import { Message } from "../../wire/message.ts";
import { TopicIds } from "../../broker/topic_ids.ts";
import { parseTopicName } from "../../wire/topics.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import {
  A,
  B,
  makeOutbox,
  publish,
  TestClient,
  TestOutbox,
} from "../support/outbox.ts";

for (const qos of [1, 2] as const) {
  const flags = qos === 1 ? ["20", "a0"] as const : ["40", "c0"] as const;
  Deno.test(`Outbox sends a PUBLISH of QoS ${qos} again at the exact moments, the same octets but DUP`, () => {
    const { outbox, client, add } = makeOutbox();
    outbox.open(1_000);
    add(1_000, "x", qos);
    assertEquals(client.take(), [publish(flags[0], 1, "x")]);
    for (let i = 1; i <= 3; i++) {
      const at = 1_000 + i * 100;
      assertEquals(outbox.retryAt, at);
      assert(outbox.handleTimeout(at - 1));
      assertEquals(client.take(), []);
      assert(outbox.handleTimeout(at));
      assertEquals(client.take(), [publish(flags[1], 1, "x")]);
      assertEquals(client.retries, i);
    }
    assert(outbox.handleTimeout(1_399));
    assertFalse(outbox.handleTimeout(1_400), "it is not there");
    assertEquals([client.take(), client.retries], [[], 3]);
    assertEquals([outbox.size, outbox.isWaiting], [1, false]);
  });
}

Deno.test("Outbox sends a REGISTER again, unchanged", () => {
  const { outbox, client, add } = makeOutbox({ known: false });
  outbox.open(0);
  add(0, "x", 0);
  const register = "070a0001000161";
  assertEquals(client.take(), [register]);
  for (const at of [100, 200, 300]) {
    assert(outbox.handleTimeout(at));
    assertEquals(client.take(), [register]);
  }
  assertFalse(outbox.handleTimeout(400));
  assertEquals(outbox.size, 1);
});

Deno.test("Outbox sends a PUBREL again, unchanged, not the PUBLISH (§6.6)", () => {
  const { outbox, client, add } = makeOutbox();
  outbox.open(0);
  add(0, "x", 2);
  client.take();
  outbox.handlePubrec(50, 1);
  assertEquals(client.take(), ["04100001"]);
  for (const at of [150, 250, 350]) {
    assert(outbox.handleTimeout(at - 1));
    assertEquals(client.take(), []);
    assert(outbox.handleTimeout(at));
    assertEquals(client.take(), ["04100001"]);
  }
  assertFalse(outbox.handleTimeout(450));
});

Deno.test("Outbox with 0 retries gives up after the first", () => {
  const { outbox, client, add } = makeOutbox({ retries: 0 });
  outbox.open(0);
  add(0, "x", 1);
  assertFalse(outbox.handleTimeout(100));
  assertEquals([client.take().length, client.retries], [1, 0]);
});

Deno.test("Outbox begins its retries anew with each step", () => {
  const { outbox, client, add, reg } = makeOutbox({ known: false });
  outbox.open(0);
  add(0, "x", 2);
  for (const at of [100, 200, 300]) assert(outbox.handleTimeout(at));
  reg(350, 1);
  for (const at of [450, 550, 650]) assert(outbox.handleTimeout(at));
  outbox.handlePubrec(700, 2);
  for (const at of [800, 900, 1_000]) assert(outbox.handleTimeout(at));
  assertEquals(client.retries, 9);
  assertFalse(outbox.handleTimeout(1_100));
});

// Closed and opened again

Deno.test("Outbox resumes a PUBLISH with the same msgId, and DUP", () => {
  const { outbox, client, add, ack } = makeOutbox();
  outbox.open(0);
  add(0, "x", 1);
  client.take();
  outbox.close();
  assertEquals([outbox.retryAt, outbox.size], [undefined, 1]);
  assert(outbox.handleTimeout(1e9));
  outbox.remind(1e9);
  assertEquals(client.take(), []);
  outbox.open(2e9);
  assertEquals(client.take(), [publish("a0", 1, "x")]);
  assertEquals(outbox.retryAt, 2e9 + 100);
  assert(ack(2e9, 1));
  assertEquals(outbox.size, 0);
});

Deno.test("Outbox takes an answer that comes when it has been closed, and sends nothing", () => {
  const { outbox, client, add, ack } = makeOutbox();
  outbox.open(0);
  add(0, "x", 1);
  add(0, "y", 1);
  outbox.close();
  client.take();
  assert(ack(10, 1));
  assertFalse(ack(10, 1), "once");
  assertEquals([outbox.size, outbox.retryAt, client.take()], [
    1,
    undefined,
    [],
  ]);
  outbox.clear();
  assertFalse(ack(10, 2), "nothing is awaited");
});

Deno.test("Outbox forgets at the next opening that there was no room", () => {
  const { outbox, client, add, ack } = makeOutbox();
  outbox.open(0);
  add(0, "x", 1);
  outbox.close();
  assert(ack(10, 1, 1), "congestion");
  outbox.open(1_000);
  for (let now = 1_100; outbox.retryAt !== undefined; now += 100) {
    outbox.handleTimeout(now);
  }
  assertEquals([outbox.size, client.losses], [1, []], "it is not there");
});

Deno.test("Outbox resumes QoS 2 with PUBREL where PUBREC had come", () => {
  const { outbox, client, add, topicIds } = makeOutbox();
  outbox.open(0);
  add(0, "x", 2);
  outbox.handlePubrec(10, 1);
  client.take();
  outbox.close();
  topicIds.forgetKnown();
  outbox.open(1_000);
  assertEquals(client.take(), ["04100001"], "no REGISTER, no PUBLISH");
  assert(outbox.handlePubcomp(1_000, 1));
  assertEquals(outbox.size, 0);
});

Deno.test("Outbox resumes QoS 2 with PUBLISH where no PUBREC had come", () => {
  const { outbox, client, add } = makeOutbox();
  outbox.open(0);
  add(0, "x", 2);
  client.take();
  outbox.close();
  outbox.open(1_000);
  assertEquals(client.take(), [publish("c0", 1, "x")]);
});

Deno.test("Outbox registers again what the client has forgotten, under a msgId of its own", () => {
  const { outbox, client, add, topicIds, reg } = makeOutbox();
  outbox.open(0);
  add(0, "x", 1);
  client.take();
  outbox.close();
  topicIds.forgetKnown();
  outbox.open(1_000);
  assertEquals(client.take(), ["070a0001000261"]);
  assert(reg(1_000, 2));
  assertEquals(client.take(), [publish("a0", 1, "x")]);
});

// Topics

Deno.test("Outbox registers first, and publishes after REGACK", () => {
  const { outbox, client, add, reg } = makeOutbox({ known: false });
  outbox.open(0);
  add(0, "x", 0);
  add(0, "y", 0);
  assertEquals(client.take(), ["070a0001000161"]);
  assertFalse(reg(1, 2), "another msgId");
  assertEquals(client.take(), []);
  assert(reg(1, 1));
  assertEquals(client.take(), [publish("00", 0, "x"), publish("00", 0, "y")]);
  assertFalse(reg(1, 1), "once");
});

for (const returnCode of [2, 3, 0x80]) {
  Deno.test(`Outbox loses what goes to a topic refused with ${returnCode} (§6.10)`, () => {
    const { outbox, client, a, add, reg } = makeOutbox({ known: false });
    outbox.open(0);
    add(0, "x", 1);
    add(0, "y", 0);
    add(0, "z", 0, B);
    client.take();
    assert(reg(1, 1, returnCode));
    assertEquals(client.losses, ["x: topicRefused", "y: topicRefused"]);
    assertEquals(client.refused, ["a"], "it is told once");
    assertEquals(client.take(), ["070a0002000262"], "the next goes on");
    assert(a.isRefused);
    add(2, "w", 0);
    assertEquals(outbox.size, 2);
    assert(reg(3, 2, 0, 2));
    assertEquals(client.losses.at(-1), "w: topicRefused");
  });
}

for (const topicIdType of ["short", "predefined"] as const) {
  Deno.test(`Outbox needs no REGISTER for a ${topicIdType} topic`, () => {
    const { outbox, client, topicIds, add } = makeOutbox();
    topicIds.setAlias(B, { topicIdType, topicId: 0x6162 });
    outbox.open(0);
    add(0, "x", 0, B);
    add(0, "y", 1, B);
    const type = topicIdType === "short" ? 2 : 1;
    assertEquals(client.take(), [
      `080c0${type}6162000078`,
      `080c2${type}6162000179`,
    ]);
  });
}

Deno.test("Outbox loses a message when the client's table is full", () => {
  const nameBudget = new MemoryBudget(1e6);
  const topicIds = new TopicIds({ maxTopicIds: 1, nameBudget });
  const client = new TestClient(topicIds);
  topicIds.assign(A)!.isRegistered = true;
  const queueBudget = new MemoryBudget(1e6);
  const outbox = new TestOutbox(
    {
      maxQueue: 9,
      maxQueueOctets: 1e6,
      overflow: "drop",
      retryMs: 1,
      retries: 1,
      messageExpiryMs: Infinity,
      queueBudget,
      isDurable: false,
      nameBudget,
    },
    client,
  );
  outbox.open(0);
  outbox.add(0, new Message(B, encodeUtf8("x"), 1, false), 1, false);
  assertEquals(client.losses, ["x: topicIds"]);
  assertEquals([outbox.size, queueBudget.used], [0, 0]);
});

for (const qos of [0, 1, 2] as const) {
  Deno.test(`Outbox silently aborts what is too long at QoS ${qos}, and goes on (§6.10)`, () => {
    const { outbox, client, add, queueBudget } = makeOutbox();
    client.limit = 1;
    outbox.open(0);
    add(0, "long", qos);
    assertEquals(client.losses, ["long: tooLong"]);
    assertEquals([client.take(), outbox.size, queueBudget.used], [[], 0, 0]);
    add(0, "x", 0);
    assertEquals(client.take(), [publish("00", 0, "x")]);
  });
}

Deno.test("Outbox silently aborts what has too long a name (§6.10)", () => {
  const { outbox, client, add } = makeOutbox();
  client.limit = 1;
  outbox.open(0);
  add(0, "x", 1, parseTopicName("long")!);
  assertEquals([client.losses, client.take()], [["x: tooLong"], []]);
});

// Errors that the client reports

for (const returnCode of [2, 3]) {
  Deno.test(`§6.6 PUBACK 0${returnCode}: registers again, then resends`, () => {
    const { outbox, client, add, ack, reg } = makeOutbox();
    outbox.open(0);
    add(0, "x", 1);
    client.take();
    assert(ack(10, 1, returnCode));
    assertEquals(client.take(), ["070a0001000261"]);
    assert(reg(20, 2));
    assertEquals(client.take(), [publish("a0", 1, "x")]);
    assert(ack(30, 1));
    assertEquals([outbox.size, client.losses], [0, []]);
  });

  Deno.test(`§6.6 PUBACK 0${returnCode} to QoS 2: registers again, then resends`, () => {
    const { outbox, client, add, ack, reg } = makeOutbox();
    outbox.open(0);
    add(0, "x", 2);
    client.take();
    assert(ack(10, 1, returnCode));
    assertEquals(client.take(), ["070a0001000261"]);
    assert(reg(20, 2));
    assertEquals(client.take(), [publish("c0", 1, "x")]);
  });
}

Deno.test("§6.6 PUBACK 02 once more than there are retries: counted and stopped", () => {
  const { outbox, client, add, ack, reg } = makeOutbox({ retries: 1 });
  outbox.open(0);
  add(0, "x", 1);
  ack(10, 1, 2);
  reg(20, 2);
  client.take();
  ack(30, 1, 2);
  assertEquals(client.take(), [], "no second REGISTER");
  assertEquals(client.losses, ["x: messageRefused"]);
  assertEquals(outbox.size, 0);
});

Deno.test("§6.6 PUBACK 02 for ever: the loop is stopped at some time", () => {
  const { outbox, client, add, ack, reg, queueBudget } = makeOutbox();
  outbox.open(0);
  add(0, "x", 1);
  for (let msgId = 2; outbox.size > 0; msgId++) {
    assert(msgId < 100);
    ack(msgId, 1, 2);
    reg(msgId, msgId);
  }
  assertEquals(client.losses, ["x: messageRefused"]);
  assertEquals(queueBudget.used, 0);
});

Deno.test("§6.6 PUBACK 02 for QoS 0 drops the mapping: the next one is registered", () => {
  const { outbox, client, add, ack } = makeOutbox();
  outbox.open(0);
  add(0, "x", 0);
  client.take();
  assert(ack(1, 0, 2));
  assertEquals(client.take(), []);
  add(2, "y", 0);
  assertEquals(client.take(), ["070a0001000161"]);
});

Deno.test("§6.6 PUBACK 02 for a pre-defined id: it is registered by a normal one", () => {
  const { outbox, client, topicIds, add, ack, reg } = makeOutbox();
  topicIds.setAlias(B, { topicIdType: "predefined", topicId: 7 });
  outbox.open(0);
  add(0, "x", 1, B);
  assertEquals(client.take(), ["080c210007000178"]);
  assert(ack(1, 1, 2, 7));
  assertEquals(client.take(), ["070a0002000262"]);
  assert(reg(2, 2, 0, 2));
  assertEquals(client.take(), ["080ca00002000178"]);
});

Deno.test("§6.6 PUBACK 02 for QoS 0 by a pre-defined id is not taken for the normal one", () => {
  const { outbox, client, a, topicIds, add, ack } = makeOutbox();
  topicIds.setAlias(B, { topicIdType: "predefined", topicId: 1 });
  outbox.open(0);
  add(0, "x", 0, B);
  assertEquals(client.take(), ["080c010001000078"]);
  ack(1, 0, 2, 1);
  add(2, "y", 0, B);
  const wire = client.take();
  assertEquals(wire.length, 1);
  assert(wire[0]!.startsWith("070a"), "the client does not know that id");
  assert(a.isKnown, "nobody said anything of it");
});

Deno.test("PUBACK 01: it is there, and gets the message again after T_retry", () => {
  const { outbox, client, add, ack } = makeOutbox();
  outbox.open(0);
  add(0, "x", 1);
  client.take();
  assert(ack(10, 1, 1));
  assertEquals(client.take(), [], "not at once");
  assert(outbox.handleTimeout(99));
  assertEquals(client.take(), []);
  assert(outbox.handleTimeout(100));
  assertEquals(client.take(), [publish("a0", 1, "x")]);
  assert(ack(110, 1));
  assertEquals([outbox.size, client.losses], [0, []]);
});

Deno.test("PUBACK 01 to all retries: the message is lost, the client is not", () => {
  const { outbox, client, add, ack } = makeOutbox();
  outbox.open(0);
  add(0, "x", 1);
  add(0, "y", 1);
  for (const at of [100, 200, 300]) {
    assert(ack(at - 10, 1, 1));
    assert(outbox.handleTimeout(at));
  }
  assert(ack(390, 1, 1));
  client.take();
  assert(outbox.handleTimeout(400));
  assertEquals(client.losses, ["x: messageRefused"]);
  assertEquals(client.take(), [publish("20", 2, "y")]);
});

Deno.test("Outbox takes no answer that is not awaited (§6.6)", () => {
  const { outbox, client, add, ack, reg } = makeOutbox();
  outbox.open(0);
  assertFalse(ack(0, 1));
  assertFalse(ack(0, 1, 1));
  assertFalse(reg(0, 1));
  assertFalse(outbox.handlePubrec(0, 1));
  assertFalse(outbox.handlePubcomp(0, 1));
  add(0, "x", 1);
  client.take();
  assertFalse(ack(1, 2));
  assertFalse(reg(1, 1), "of another type");
  assertFalse(outbox.handlePubrec(1, 1));
  assertFalse(outbox.handlePubcomp(1, 1));
  assertEquals([client.take(), outbox.size], [[], 1]);
  assert(ack(1, 1));
  add(2, "y", 2);
  client.take();
  assertFalse(ack(3, 2), "PUBACK 00 is no answer to QoS 2");
  assertFalse(outbox.handlePubcomp(3, 2), "PUBREC comes first");
  assertEquals([client.take(), outbox.size], [[], 1]);
  assertEquals(client.losses, []);
});

// msgIds

Deno.test("§5.3.7 msgIds run from 1 to 65535, and begin again at 1", () => {
  const { outbox, client, add, ack } = makeOutbox();
  outbox.open(0);
  const msgIds: number[] = [];
  for (let i = 0; i < 65_537; i++) {
    add(0, "x", 1);
    const [hex] = client.take();
    const msgId = parseInt(hex!.slice(10, 14), 16);
    msgIds.push(msgId);
    assert(ack(0, msgId));
  }
  assertEquals(msgIds.slice(0, 3), [1, 2, 3]);
  assertEquals(msgIds.slice(-3), [65_535, 1, 2]);
  assertEquals(new Set(msgIds).size, 65_535);
});

Deno.test("§5.3.7 the msgId of what is in flight is skipped", () => {
  const { outbox, client, add, ack, topicIds } = makeOutbox();
  outbox.open(0);
  for (let msgId = 1; msgId < 5; msgId++) {
    add(0, "x", 1);
    ack(0, msgId);
  }
  add(0, "y", 1);
  client.take();
  // Msg 5 stays in flight, while REGISTERs use up all others.
  const msgIds: number[] = [];
  for (let i = 0; i < 65_536; i++) {
    outbox.close();
    topicIds.forgetKnown();
    outbox.open(0);
    const [hex] = client.take();
    assertEquals(hex!.slice(0, 8), "070a0001");
    msgIds.push(parseInt(hex!.slice(8, 12), 16));
  }
  assertEquals(msgIds[0], 6);
  assertEquals(new Set(msgIds).size, 65_534, "all but 0 and 5");
  assertFalse(msgIds.includes(5));
  assertFalse(msgIds.includes(0));
});
