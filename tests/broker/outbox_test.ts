/**
 * The outbox as a whole: what leaves in which order, what an awakening delivers, and
 * what goes on while nothing can be persisted.
 */

import { assert, assertEquals, assertFalse } from "@std/assert";
import { makeOutbox, makePersistedOutbox, publish } from "../support/outbox.ts";

// What leaves, and when

Deno.test("Outbox sends nothing while it is closed", () => {
  const { outbox, client, add } = makeOutbox();
  add(0, "x", 0);
  add(0, "y", 1);
  assertEquals(client.take(), []);
  assertEquals([outbox.size, outbox.isWaiting], [2, false]);
  assertEquals(outbox.retryAt, undefined);
});

Deno.test("Outbox sends in the order of coming, one exchange at a time", () => {
  const { outbox, client, add, ack } = makeOutbox();
  outbox.open(0);
  add(0, "1", 1);
  add(0, "2", 0);
  add(0, "3", 2);
  add(0, "4", 0);
  assertEquals(client.take(), [publish("20", 1, "1")]);
  assertEquals(outbox.size, 4);
  assert(ack(1, 1));
  assertEquals(client.take(), [publish("00", 0, "2"), publish("40", 2, "3")]);
  assert(outbox.handlePubrec(2, 2));
  assertEquals(client.take(), ["04100002"]);
  assert(outbox.handlePubcomp(3, 2));
  assertEquals(client.take(), [publish("00", 0, "4")]);
  assertEquals([outbox.size, outbox.isWaiting], [0, false]);
});

Deno.test("Outbox.openForAwakening() tells when all has been delivered", () => {
  const { outbox, client, add, ack } = makeOutbox();
  add(0, "1", 0);
  add(0, "2", 1);
  outbox.openForAwakening(10);
  assertFalse(outbox.isFlushed);
  assertEquals(client.take(), [publish("00", 0, "1"), publish("20", 1, "2")]);
  ack(20, 1);
  assert(outbox.isFlushed);
  outbox.close();
  add(30, "3", 0);
  assertEquals(client.take(), []);
});

// While nothing can be kept

Deno.test("Outbox leaves at QoS 0 and 1 what needs no store", () => {
  const { outbox, client, add, ack, persistence, changes } =
    makePersistedOutbox();
  persistence.state = "refusing";
  outbox.open(0);
  add(0, "x", 0);
  add(0, "y", 1);
  assertEquals(client.take(), [publish("00", 0, "x"), publish("20", 1, "y")]);
  assertEquals(changes().length, 1, "in case that the store can keep it");
  assert(outbox.handleTimeout(100));
  assertEquals(client.take(), [publish("a0", 1, "y")]);
  assert(ack(150, 1));
  assertEquals(outbox.size, 0);
});

Deno.test("Outbox pauses before a REGISTER and before a PUBLISH of QoS 2, and then goes on", () => {
  for (const known of [false, true]) {
    const { outbox, client, add, persistence } = makePersistedOutbox({ known });
    persistence.state = "refusing";
    outbox.open(0);
    add(0, "x", known ? 2 : 0);
    add(0, "y", 0);
    assertEquals([client.take(), outbox.size], [[], 2]);
    for (const at of [1_000, 2_000, 3_000]) {
      assertEquals(outbox.retryAt, at);
      assert(outbox.handleTimeout(at), "its client is not lost for it");
      assertEquals(client.take(), []);
    }
    persistence.state = "ready";
    assert(outbox.handleTimeout(4_000));
    assertEquals(client.take(), [
      known ? publish("40", 1, "x") : "070a0001000161",
    ]);
  }
});

Deno.test("Outbox does not give a client up for what it may not send again", () => {
  const { outbox, client, add, reg, persistence, changes } =
    makePersistedOutbox({
      known: false,
    });
  outbox.open(0);
  add(0, "x", 2);
  client.take();
  persistence.state = "refusing";
  for (let at = 100; at <= 2_000; at += 100) {
    assert(outbox.handleTimeout(at));
    outbox.remind(at);
  }
  assertEquals([client.take(), client.retries], [[], 0]);
  persistence.state = "ready";
  assert(outbox.handleTimeout(2_100));
  assertEquals(client.take(), ["070a0001000161"]);
  reg(2_100, 1);
  assertEquals(client.take(), [publish("40", 2, "x")]);

  persistence.state = "refusing";
  changes();
  assert(outbox.handlePubrec(2_150, 2), "it is awaited");
  assert(outbox.handleTimeout(2_300));
  assertEquals([client.take(), changes()], [[], []], "but not answered");
  persistence.state = "ready";
  assert(outbox.handleTimeout(2_400));
  assertEquals(client.take(), [publish("c0", 2, "x")]);
  assert(outbox.handlePubrec(2_450, 2));
  assertEquals(client.take(), ["04100002"]);

  persistence.state = "refusing";
  assert(outbox.handlePubrec(2_500, 2), "again, as PUBREL was lost");
  for (let at = 2_550; at <= 5_000; at += 100) assert(outbox.handleTimeout(at));
  assertEquals(client.take(), [], "that PUBREC came may not be kept");
  assert(outbox.handlePubcomp(5_000, 2), "what is over is over");
  assertEquals(outbox.size, 0);
});

Deno.test("Outbox lets an awake client sleep on instead of waiting for the store", () => {
  const { outbox, client, add, persistence } = makePersistedOutbox();
  add(0, "x", 0);
  add(0, "y", 2);
  add(0, "z", 0);
  persistence.state = "refusing";
  outbox.openForAwakening(10);
  assertEquals(client.take(), [publish("00", 0, "x")]);
  assert(outbox.isFlushed);
  assertEquals(outbox.size, 2);
  outbox.close();
  persistence.state = "ready";
  outbox.openForAwakening(20);
  assertEquals(client.take(), [publish("40", 1, "y")]);
  assertFalse(outbox.isFlushed);
});

Deno.test("Outbox of a session that is not persisted does not mind the store", () => {
  const { outbox, client, add, persistence } = makePersistedOutbox({
    known: false,
  });
  client.persistence = undefined;
  persistence.state = "refusing";
  outbox.open(0);
  add(0, "x", 2);
  assertEquals(client.take(), ["070a0001000161"]);
});
