/**
 * The retained messages in an outbox: which of them are persisted, and when.
 */

import { assert, assertEquals, assertFalse } from "@std/assert";
import { type DeliveryQos, Message } from "../../wire/message.ts";
import { parseTopicFilter, parseTopicName } from "../../wire/topics.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import {
  A,
  ALL,
  B,
  begun,
  begunEnd,
  inFlight,
  makePersistedOutbox,
  publish,
  queued,
  queuedEnd,
  retained,
} from "../support/outbox.ts";

Deno.test("Outbox persists a retained message once it is under way with a msgId", () => {
  const { outbox, session, ack, reg, done, changes } = makePersistedOutbox({
    known: false,
  });
  const filter = parseTopicFilter("#")!;
  const message = (qos: DeliveryQos, text: string) =>
    new Message(A, encodeUtf8(text), qos, true);
  outbox.open(0);
  const messages = [message(1, "x"), message(0, "y")].values();
  outbox.addRetained(1, { filter, messages, granted: 1 });
  assertEquals(changes(), [], "it waits for its id, and is retained anyway");
  outbox.persistAll(session);
  assertEquals(changes(), [], "that goes for a sleeper as well");
  assert(outbox.isDelivering(filter));
  reg(2, 1);
  const row = queued(1, "x", { retain: true, msgId: 2 });
  assertEquals(changes(), [row]);
  outbox.persistAll(session);
  assertEquals(changes(), [{ ...row, seq: 2 }]);
  ack(3, 2);
  assertEquals(changes(), [queuedEnd(2)]);
  assertEquals(done, ["#"]);
  assertFalse(outbox.isDelivering(filter));
});

Deno.test("Outbox persists at QoS 2 which retained messages were begun, until the last is delivered", () => {
  const { outbox, topicIds, ack, nameBudget, done, changes } =
    makePersistedOutbox();
  topicIds.get(B)!.isKnown = true;
  const before = nameBudget.used;
  outbox.open(0);
  const messages = retained([A, 2, "x"], [B, 1, "y"]);
  outbox.addRetained(1, { filter: ALL, messages, granted: 2 });
  assertEquals(changes(), [
    queued(1, "x", { qos: 2, retain: true, msgId: 1 }),
    begun("a"),
  ]);
  assert(nameBudget.used > before);
  outbox.handlePubrec(2, 1);
  assertEquals(changes(), [inFlight(1, 1, true)]);
  outbox.handlePubcomp(3, 1);
  const next = { topicName: "b", retain: true, msgId: 2, at: 3 };
  assertEquals(changes(), [queuedEnd(1), queued(2, "y", next)]);
  ack(4, 2, 0, 2);
  assertEquals(changes(), [queuedEnd(2), begunEnd()]);
  assertEquals([done, nameBudget.used], [["#"], before]);
});

Deno.test("Outbox does not persist what was begun at less than QoS 2", () => {
  for (const granted of [0, 1] as const) {
    const { outbox, ack, done, changes } = makePersistedOutbox();
    outbox.open(0);
    outbox.addRetained(0, {
      filter: ALL,
      messages: retained([A, 2, "x"]),
      granted,
    });
    ack(1, 1);
    assertEquals(done, ["#"]);
    const types = changes().map(({ type }) => type);
    assertEquals(types, granted === 0 ? [] : ["queued", "queuedEnd"]);
  }
});

Deno.test("Outbox.addRetained() passes over what has been begun, and forgets it in the end", () => {
  const { outbox, client, ack, nameBudget, done, changes } =
    makePersistedOutbox();
  const before = nameBudget.used;
  const messages = retained([B, 2, "y"], [A, 1, "x"], [B, 1, "z"]);
  outbox.addRetained(0, { filter: ALL, messages, granted: 2, begun: [B] });
  assertEquals(changes(), [], "it is kept already");
  outbox.open(1);
  assertEquals(client.take(), [publish("30", 1, "x")]);
  changes();
  ack(2, 1);
  assertEquals([client.take(), changes()], [[], [queuedEnd(1), begunEnd()]]);
  assertEquals([done, nameBudget.used], [["#"], before]);
});

Deno.test("Outbox.addRetained() in the place of what was left begins all again", () => {
  const { outbox, client, nameBudget, changes } = makePersistedOutbox();
  const before = nameBudget.used;
  outbox.open(0);
  outbox.addRetained(0, {
    filter: ALL,
    messages: retained([A, 2, "x"], [B, 2, "y"]),
    granted: 2,
  });
  changes();
  outbox.addRetained(1, {
    filter: ALL,
    messages: retained([A, 2, "x"], [B, 2, "y"]),
    granted: 2,
  });
  assertEquals([changes(), nameBudget.used], [[begunEnd()], before]);
  client.take();
  outbox.handlePubrec(2, 1);
  outbox.handlePubcomp(3, 1);
  assertEquals(client.take(), ["04100001", publish("50", 2, "x")]);
  assertEquals(changes().at(-1), begun("a"));
});

Deno.test("Outbox does not take what an earlier SUBSCRIBE has under way for begun", () => {
  const { outbox, reg, client, changes } = makePersistedOutbox({
    known: false,
  });
  outbox.open(0);
  outbox.addRetained(0, {
    filter: ALL,
    messages: retained([A, 2, "x"]),
    granted: 2,
  });
  outbox.addRetained(1, {
    filter: ALL,
    messages: retained([A, 2, "x"]),
    granted: 2,
  });
  reg(2, 1);
  assertEquals(changes(), [
    queued(1, "x", { qos: 2, retain: true, msgId: 2, at: 0 }),
  ]);
  client.take();
  outbox.handlePubrec(3, 2);
  outbox.handlePubcomp(4, 2);
  assertEquals(client.take(), ["04100002", publish("50", 3, "x")]);
});

Deno.test("Outbox knows of each subscription what has been begun for it", () => {
  const { outbox, client, done, changes } = makePersistedOutbox();
  const other = parseTopicFilter("+")!;
  outbox.open(0);
  outbox.addRetained(0, {
    filter: ALL,
    messages: retained([A, 2, "x"]),
    granted: 2,
  });
  outbox.addRetained(0, {
    filter: other,
    messages: retained([A, 2, "x"]),
    granted: 2,
  });
  client.take();
  outbox.handlePubrec(1, 1);
  outbox.handlePubcomp(2, 1);
  assertEquals(client.take(), ["04100001", publish("50", 2, "x")]);
  assertEquals(changes().slice(-3), [
    begunEnd(),
    queued(2, "x", { qos: 2, retain: true, msgId: 2, at: 2 }),
    begun("a", "+"),
  ]);
  assertEquals(done, ["#"]);
});

Deno.test("Outbox.dropRetained() and clear() forget what has been begun", () => {
  const { outbox, client, nameBudget, changes } = makePersistedOutbox();
  const before = nameBudget.used;
  outbox.open(0);
  outbox.addRetained(0, {
    filter: ALL,
    messages: retained([A, 2, "x"], [B, 2, "y"]),
    granted: 2,
  });
  changes();
  outbox.dropRetained(ALL);
  assertEquals([changes(), nameBudget.used], [[begunEnd()], before]);
  outbox.dropRetained(ALL);
  assertEquals(changes(), []);
  outbox.clear();
  outbox.open(1);
  outbox.addRetained(1, {
    filter: ALL,
    messages: retained([A, 2, "x"], [B, 2, "y"]),
    granted: 2,
  });
  assert(nameBudget.used > before);
  client.persistence = undefined;
  outbox.clear();
  assertEquals(nameBudget.used, before);
});

Deno.test("Outbox.persistAll() persists which retained messages were begun", () => {
  const { outbox, client, session, changes } = makePersistedOutbox();
  client.persistence = undefined;
  outbox.open(0);
  outbox.addRetained(0, {
    filter: ALL,
    messages: retained([A, 2, "x"], [B, 2, "y"]),
    granted: 2,
  });
  outbox.handlePubrec(1, 1);
  outbox.handlePubcomp(2, 1);
  assertEquals(changes(), []);
  client.persistence = session;
  outbox.persistAll(session);
  assertEquals(changes(), [begun("a")], "the other waits for its topic id");
});

Deno.test("Outbox delivers what is retained also without room to know what has been begun", () => {
  const { outbox, client, add, queueBudget, changes } = makePersistedOutbox({
    maxQueueOctets: 10,
  });
  outbox.open(0);
  outbox.addRetained(0, {
    filter: ALL,
    messages: retained([A, 2, "x"], [B, 2, "y"]),
    granted: 2,
  });
  assertEquals(changes().map(({ type }) => type), ["queued"]);
  assertEquals(client.take(), [publish("50", 1, "x")]);
  outbox.dropRetained(ALL);
  assertEquals(changes(), []);
  outbox.handlePubrec(1, 1);
  outbox.handlePubcomp(2, 1);
  assertEquals([outbox.size, queueBudget.used], [0, 0]);
  add(3, "z", 1);
  assertEquals(client.losses, []);
});

Deno.test("Outbox does not count what has been begun among what waits", () => {
  const { outbox, queueBudget } = makePersistedOutbox();
  const counts = () => [outbox.size, queueBudget.used, outbox.expiresAt];
  const source = () => retained([A, 2, "x"], [B, 2, "y"]);
  outbox.addRetained(0, { filter: ALL, messages: source(), granted: 2 });
  const before = counts();
  outbox.addRetained(0, {
    filter: ALL,
    messages: source(),
    granted: 2,
    begun: [A, B],
  });
  assertEquals(counts(), before);
});

Deno.test("Outbox ends what is retained for a subscription where there is no topic id", () => {
  const { outbox, topicIds, client, done } = makePersistedOutbox();
  for (let i = 0; topicIds.size < 10; i++) {
    topicIds.register(topicIds.assign(parseTopicName(`full/${i}`)!)!);
  }
  for (const topic of [A, B]) topicIds.register(topicIds.get(topic)!);
  assertEquals(client.topicIds.size, 10);
  const filter = parseTopicFilter("c/#")!;
  const names = ["c/1", "c/2"].map((text) => parseTopicName(text)!);
  const messages = names.map((name) =>
    new Message(name, encodeUtf8("x"), 0, true)
  );
  outbox.open(0);
  outbox.addRetained(1, { filter, messages: messages.values(), granted: 1 });
  assertEquals([done, outbox.size], [["c/#"], 0]);
});
