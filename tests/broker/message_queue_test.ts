/**
 * How much waits in an outbox, and for how long.
 */

import { assert, assertEquals, assertFalse } from "@std/assert";
import { MemoryBudget } from "../../broker/memory_budget.ts";
import { Message } from "../../wire/message.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import { A, makeOutbox, publish, texts } from "../support/outbox.ts";

Deno.test("Outbox with drop: the oldest of QoS 0 goes first, then the oldest", () => {
  const { outbox, client, add, ack, queueBudget } = makeOutbox({ maxQueue: 3 });
  add(0, "1", 1);
  add(0, "2", 0);
  add(0, "3", 0);
  add(0, "4", 1);
  assertEquals(client.losses, ["2: overflow"]);
  add(0, "5", 2);
  assertEquals(client.losses.slice(1), ["3: overflow"]);
  add(0, "6", 1);
  assertEquals(client.losses.slice(2), ["1: overflow"]);
  add(0, "7", 0);
  assertEquals(client.losses.slice(3), ["7: overflow"]);
  assertEquals(outbox.size, 3);
  outbox.open(0);
  ack(0, 1);
  outbox.handlePubrec(0, 2);
  outbox.handlePubcomp(0, 2);
  ack(0, 3);
  assertEquals(texts(client).filter((text) => text !== ""), ["4", "5", "6"]);
  assertEquals(queueBudget.used, 0);
});

Deno.test("Outbox with refuse: only what is of QoS 0 goes", () => {
  const { outbox, client, add } = makeOutbox({
    maxQueue: 3,
    overflow: "refuse",
  });
  const message = new Message(A, encodeUtf8("?"), 1, false);
  add(0, "1", 1);
  add(0, "2", 0);
  add(0, "3", 0);
  assert(outbox.hasRoomFor(message, 0), "in the place of QoS 0");
  add(0, "4", 0);
  assertEquals(client.losses, ["2: overflow"]);
  add(0, "5", 1);
  add(0, "6", 1);
  assertEquals(client.losses.slice(1), ["3: overflow", "4: overflow"]);
  assertFalse(outbox.hasRoomFor(message, 0));
  add(0, "7", 0);
  add(0, "8", 1); // nobody asked before
  assertEquals(client.losses.slice(3), ["7: overflow", "8: overflow"]);
  assertEquals(outbox.size, 3);
});

Deno.test("Outbox drops no message that is under way", () => {
  const { outbox, client, add, ack } = makeOutbox({ maxQueue: 1 });
  outbox.open(0);
  add(0, "1", 1);
  add(0, "2", 1);
  add(0, "3", 1);
  assertEquals(client.losses, ["2: overflow"]);
  client.take();
  assert(ack(1, 1));
  assertEquals(client.take(), [publish("20", 2, "3")]);
});

Deno.test("Outbox counts what is lost to the memory that all share", () => {
  const queueBudget = new MemoryBudget(1_000);
  const one = makeOutbox({ queueBudget });
  const other = makeOutbox({ queueBudget });
  one.add(0, "x".repeat(600), 1);
  other.add(0, "y".repeat(600), 1);
  assertEquals(other.client.losses, [`${"y".repeat(600)}: memory`]);
  assertEquals([one.outbox.size, other.outbox.size], [1, 0]);
  one.outbox.clear();
  assertEquals(queueBudget.used, 0);
  other.add(0, "y".repeat(600), 1);
  assertEquals(other.outbox.size, 1);
});

Deno.test("Outbox drops nothing for what would not fit all the same", () => {
  const queueBudget = new MemoryBudget(2_000);
  const one = makeOutbox({ queueBudget });
  const other = makeOutbox({ queueBudget });
  one.add(0, "x".repeat(1_200), 1);
  other.add(0, "1", 1);
  other.add(0, "2", 0);
  other.add(0, "y".repeat(1_200), 1);
  assertEquals(other.client.losses, [`${"y".repeat(1_200)}: memory`]);
  assertEquals(other.outbox.size, 2);
});

Deno.test("Outbox gives its memory back, whatever becomes of the messages", () => {
  const { outbox, client, add, ack, queueBudget } = makeOutbox();
  add(0, "1", 0);
  add(0, "2", 1);
  add(0, "3", 2);
  add(0, "4", 1);
  assert(queueBudget.used > 0);
  outbox.open(0);
  ack(0, 1);
  outbox.handlePubrec(0, 2);
  assert(queueBudget.used > 0);
  outbox.clear();
  assertEquals([queueBudget.used, outbox.size], [0, 0]);
  assertEquals([outbox.isWaiting, outbox.retryAt], [false, undefined]);
  client.take();
  outbox.open(1);
  assertEquals(client.take(), [], "nothing is left of it");
  add(1, "5", 1);
  assertEquals(client.take().length, 1);
});

Deno.test("Outbox keeps a payload of its own of what waits", () => {
  const { outbox, client } = makeOutbox();
  const datagram = encodeUtf8("x");
  for (const qos of [0, 1] as const) {
    outbox.add(0, new Message(A, datagram, qos, false), qos, false);
  }
  datagram.fill(0);
  outbox.open(0);
  assertEquals(client.take(), [publish("00", 0, "x"), publish("20", 1, "x")]);
});

// How long a message may wait

Deno.test("Outbox.expire() lets go what has waited for as long as it may, and counts it", () => {
  const { outbox, client, add, queueBudget } = makeOutbox({
    messageExpiryMs: 1_000,
  });
  assertEquals(outbox.expiresAt, Infinity);
  add(0, "1", 1);
  add(500, "2", 0);
  add(900, "3", 2);
  assertEquals(outbox.expiresAt, 1_000);
  outbox.expire(999);
  assertEquals(client.losses, []);
  outbox.expire(1_000);
  assertEquals([client.losses, outbox.size], [["1: expired"], 2]);
  assertEquals(outbox.expiresAt, 1_500);
  outbox.expire(5_000);
  assertEquals(client.losses, ["1: expired", "2: expired", "3: expired"]);
  assertEquals([outbox.size, outbox.expiresAt, queueBudget.used], [
    0,
    Infinity,
    0,
  ]);
});

Deno.test("Outbox lets nothing expire unless it is told to", () => {
  const { outbox, client, add } = makeOutbox();
  add(0, "1", 1);
  assertEquals(outbox.expiresAt, Infinity);
  outbox.expire(Number.MAX_SAFE_INTEGER);
  assertEquals([client.losses, outbox.size], [[], 1]);
});

Deno.test("Outbox sends nothing that has waited too long", () => {
  const { outbox, client, add, ack } = makeOutbox({ messageExpiryMs: 1_000 });
  add(0, "1", 1);
  add(600, "2", 1);
  outbox.open(1_200);
  assertEquals(client.losses, ["1: expired"]);
  assertEquals(client.take(), [publish("20", 1, "2")]);
  ack(1_200, 1);
  assertEquals(outbox.size, 0);
});

Deno.test("Outbox lets what is under way not expire, but what waits behind it", () => {
  const { outbox, client, add, ack } = makeOutbox({ messageExpiryMs: 250 });
  outbox.open(0);
  add(0, "1", 1);
  add(10, "2", 1);
  client.take();
  assertEquals(outbox.expiresAt, 260);
  outbox.expire(260);
  assertEquals([client.losses, outbox.size], [["2: expired"], 1]);
  outbox.close();
  outbox.expire(1e9);
  outbox.open(1e9);
  assertEquals(client.take(), [publish("a0", 1, "1")]);
  assert(ack(1e9, 1));
});
