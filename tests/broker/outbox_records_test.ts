/**
 * What an outbox persists and restores.
 */

import { assert, assertEquals } from "@std/assert";
import { Message } from "../../wire/message.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import {
  A,
  inFlight,
  makePersistedOutbox,
  publish,
  queued,
  queuedEnd,
} from "../support/outbox.ts";

Deno.test("Outbox persists what waits in its order, and its end", () => {
  const { outbox, add, ack, changes } = makePersistedOutbox();
  add(1, "x", 1);
  add(2, "y", 0);
  add(3, "z", 2);
  assertEquals(changes(), [
    queued(1, "x"),
    queued(2, "y", { qos: 0 }),
    queued(3, "z", { qos: 2 }),
  ]);
  outbox.open(4);
  assertEquals(changes(), [inFlight(1, 1)]);
  ack(5, 1);
  assertEquals(changes(), [queuedEnd(1), queuedEnd(2), inFlight(3, 2)]);
  outbox.handlePubrec(6, 2);
  assertEquals(changes(), [inFlight(3, 2, true)]);
  outbox.handlePubrec(6, 2);
  outbox.handleTimeout(1_000);
  assertEquals(changes(), [], "what is sent again is nothing new");
  outbox.handlePubcomp(7, 2);
  assertEquals(changes(), [queuedEnd(3)]);
});

Deno.test("Outbox persists what leaves at once with its msgId, and nothing of it at QoS 0", () => {
  const { outbox, add, changes } = makePersistedOutbox();
  outbox.open(0);
  add(1, "x", 0);
  assertEquals(changes(), []);
  add(1, "y", 1);
  assertEquals(changes(), [queued(1, "y", { msgId: 1 })]);
  add(2, "z", 1);
  assertEquals(changes(), [queued(2, "z")]);
});

Deno.test("Outbox persists what waits for its topic to be registered", () => {
  const { outbox, add, reg, changes } = makePersistedOutbox({ known: false });
  outbox.open(0);
  add(1, "x", 0);
  assertEquals(changes(), [queued(1, "x", { qos: 0 })]);
  reg(2, 1);
  assertEquals(changes(), [queuedEnd(1)]);
});

Deno.test("Outbox persists what is lost: dropped, expired, refused, too long", () => {
  const { outbox, client, add, ack, changes } = makePersistedOutbox({
    maxQueue: 1,
    messageExpiryMs: 1_000,
  });
  add(1, "1", 1);
  add(2, "2", 1);
  assertEquals(changes(), [queued(1, "1"), queuedEnd(1), queued(2, "2")]);
  outbox.expire(1_002);
  assertEquals(changes(), [queuedEnd(2)]);
  outbox.open(2_000);
  add(2_000, "3", 1);
  changes();
  ack(2_000, 1, 4);
  assertEquals(changes(), [queuedEnd(3)]);
  client.limit = 0;
  add(2_000, "4", 1);
  assertEquals(changes(), [
    queued(4, "4", { at: 2_000, msgId: 2 }),
    queuedEnd(4),
  ]);
  assertEquals(client.losses, [
    "1: overflow",
    "2: expired",
    "3: messageRefused",
    "4: tooLong",
  ]);
});

Deno.test("Outbox.persistAll() persists what is under way, and what waits behind it", () => {
  const { outbox, client, session, add, changes } = makePersistedOutbox();
  client.persistence = undefined;
  outbox.open(0);
  add(1, "x", 2);
  outbox.handlePubrec(2, 1);
  add(2, "y", 0);
  add(3, "z", 1);
  assertEquals(changes(), []);
  client.persistence = session;
  outbox.persistAll(session);
  assertEquals(changes(), [
    queued(1, "x", { qos: 2, msgId: 1, isReleased: true }),
    queued(2, "y", { qos: 0 }),
    queued(3, "z"),
  ]);
  outbox.handlePubcomp(4, 1);
  assertEquals(changes(), [queuedEnd(1), queuedEnd(2), inFlight(3, 2)]);
});

Deno.test("Outbox.restore() goes on as before: DUP before PUBREC, PUBREL after", () => {
  for (const isReleased of [false, true]) {
    const { outbox, client, add, changes } = makePersistedOutbox();
    const message = new Message(A, encodeUtf8("x"), 2, false);
    const next = new Message(A, encodeUtf8("y"), 1, false);
    outbox.restore(0, next, queued(4, "y"));
    outbox.restore(
      0,
      message,
      queued(5, "x", { qos: 2, msgId: 9, isReleased }),
    );
    outbox.restoreMsgId(9);
    assertEquals([outbox.size, client.take(), changes()], [2, [], []]);
    outbox.open(10);
    if (!isReleased) {
      assertEquals(client.take(), [publish("c0", 9, "x")]);
      assert(outbox.handlePubrec(11, 9));
    }
    assertEquals(client.take(), ["04100009"]);
    assert(outbox.handlePubcomp(12, 9));
    assertEquals(client.take(), [publish("20", 10, "y")]);
    changes();
    add(13, "z", 1);
    assertEquals(changes(), [queued(6, "z", { at: 13 })], "behind all");
  }
});

Deno.test("Outbox.restore() knows no limit, but what is new does", () => {
  const { outbox, client, add, queueBudget } = makePersistedOutbox({
    maxQueue: 2,
    maxQueueOctets: 1,
  });
  for (const seq of [1, 2, 3]) {
    const message = new Message(A, encodeUtf8(`${seq}`), 1, false);
    outbox.restore(0, message, queued(seq, `${seq}`));
  }
  assertEquals(outbox.size, 3);
  const cost = queueBudget.used / 3;
  add(4, "4", 1);
  assertEquals(client.losses, ["1: overflow", "2: overflow", "3: overflow"]);
  assertEquals([outbox.size, queueBudget.used], [1, cost]);
  outbox.clear();
  assertEquals(queueBudget.used, 0);
});

Deno.test("Outbox.restore() lets QoS 0 go first for what is new", () => {
  const { outbox, client, add } = makePersistedOutbox({ maxQueue: 2 });
  outbox.restore(0, new Message(A, encodeUtf8("1"), 1, false), queued(1, "1"));
  outbox.restore(
    0,
    new Message(A, encodeUtf8("2"), 0, false),
    queued(2, "2", { qos: 0 }),
  );
  add(3, "3", 1);
  assertEquals([client.losses, outbox.size], [["2: overflow"], 2]);
});
