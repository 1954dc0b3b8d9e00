import { assert, assertEquals, assertFalse } from "@std/assert";
import type { DeviceTopic } from "../../client/commands.ts";
import { ReceivedMessage } from "../../client/events.ts";
import { Inbox } from "../../client/inbox.ts";
import type { DeliveryQos } from "../../wire/message.ts";
import { Subscription } from "../../client/subscription.ts";

/** A message as it came, under a pre-defined id where one is given. */
function message(
  topicName: string,
  { qos = 0 as DeliveryQos, predefined = undefined as number | undefined } = {},
): ReceivedMessage {
  return new ReceivedMessage(topicName, new Uint8Array(), {
    qos,
    retain: false,
    dup: false,
    msgId: 0,
    predefined,
  });
}

/** Subscribes to topics, in an inbox. */
function subscribe(
  inbox: Inbox,
  topics: readonly DeviceTopic[],
  limit = 10,
): Subscription {
  const subscription = new Subscription(topics, 2, limit, {
    unsubscribe: () => Promise.resolve(),
    dispose: () => Promise.resolve(),
  });
  for (const topic of topics) inbox.add(subscription, topic);
  return subscription;
}

Deno.test("Inbox.deliver() finds whoever has a filter that matches", () => {
  const inbox = new Inbox(false, 10);
  const filters = ["a/b", "a/+", "#", "+/b/#", "a/c", "$SYS/#", "$SYS/up"];
  const subscriptions = filters.map((filter) => subscribe(inbox, [filter]));
  const lengths = () => subscriptions.map(({ length }) => length);
  inbox.deliver(message("a/b"));
  assertEquals(lengths(), [1, 1, 1, 1, 0, 0, 0]);
  // Wildcards at the first level pass over what begins with a dollar.
  inbox.deliver(message("$SYS/up"));
  assertEquals(lengths(), [1, 1, 1, 1, 0, 1, 1]);
  inbox.deliver(message("$SYS"));
  assertEquals(lengths(), [1, 1, 1, 1, 0, 2, 1]);
  assertEquals(inbox.received, 3);
  assertEquals(inbox.dropped, 0);
});

Deno.test("Inbox.deliver() gives a message once to one subscription, and to each of several", () => {
  const inbox = new Inbox(false, 10);
  const one = subscribe(inbox, ["a/b", "a/+", "#", { short: "ab" }, "ab"]);
  const other = subscribe(inbox, ["a/+"]);
  const same = subscribe(inbox, ["a/+"]);
  inbox.deliver(message("a/b"));
  inbox.deliver(message("ab"));
  assertEquals([one.length, other.length, same.length], [2, 1, 1]);
});

Deno.test("Inbox.deliver() takes a pre-defined id by its number, and by its name where that is known", () => {
  const inbox = new Inbox(false, 10);
  const byId = subscribe(inbox, [{ predefined: 7 }]);
  const byName = subscribe(inbox, ["lamp"]);
  const all = subscribe(inbox, ["#"]);
  const byNumber = subscribe(inbox, ["7"]);
  const lengths = () =>
    [byId, byName, all, byNumber].map(({ length }) => length);
  inbox.deliver(message("7", { predefined: 7 }));
  assertEquals(lengths(), [1, 0, 0, 0]);
  inbox.deliver(message("lamp", { predefined: 7 }));
  assertEquals(lengths(), [2, 1, 1, 0]);
  inbox.deliver(message("7"));
  assertEquals(lengths(), [2, 1, 2, 1]);
  inbox.deliver(message("8", { predefined: 8 }));
  assertEquals(lengths(), [2, 1, 2, 1]);
  assertEquals(inbox.dropped, 1);
});

Deno.test("Inbox.deliver() drops and counts what is for nobody, and what finds no room", () => {
  const inbox = new Inbox(false, 10);
  const small = subscribe(inbox, ["a", "+"], 1);
  const large = subscribe(inbox, ["a"], 2);
  inbox.deliver(message("b/c"));
  assertEquals(inbox.dropped, 1);
  inbox.deliver(message("a"));
  inbox.deliver(message("a"));
  inbox.deliver(message("a"));
  assertEquals([small.lost, large.lost], [2, 1]);
  assertEquals(inbox.dropped, 4);
  assertEquals(inbox.received, 4);
  assertEquals(inbox.unclaimed, 0);
});

Deno.test("Inbox.hasRoom() says no when any that it is for is full", () => {
  const inbox = new Inbox(false, 1);
  const one = message("a", { qos: 1 });
  assert(inbox.hasRoom(one)); // nobody wants it
  subscribe(inbox, ["a"], 1);
  subscribe(inbox, ["#"], 2);
  assert(inbox.hasRoom(one));
  inbox.deliver(one);
  assertFalse(inbox.hasRoom(one));
  assert(inbox.hasRoom(message("b", { qos: 1 })));
});

Deno.test("Inbox of a kept session keeps what is for nobody yet, for the first that matches", async () => {
  const inbox = new Inbox(true, 10);
  for (const name of ["a/1", "b/1", "a/2", "$SYS/a"]) {
    inbox.deliver(message(name));
  }
  assertEquals(inbox.unclaimed, 4);
  const b = subscribe(inbox, ["b/1"]);
  assertEquals([b.length, inbox.unclaimed], [1, 3]);
  const all = subscribe(inbox, ["#"]);
  assertEquals([all.length, inbox.unclaimed], [2, 1]);
  assertEquals((await all.take()).topicName, "a/1");
  assertEquals((await all.take()).topicName, "a/2");
  const late = subscribe(inbox, ["a/+"]);
  assertEquals(late.length, 0);
  assertEquals(inbox.dropped, 0);
});

Deno.test("Inbox of a kept session keeps so many and no more", () => {
  const inbox = new Inbox(true, 2);
  const one = message("a", { qos: 1 });
  inbox.deliver(message("a"));
  assert(inbox.hasRoom(one));
  inbox.deliver(message("a"));
  assertFalse(inbox.hasRoom(one));
  inbox.deliver(message("a"));
  assertEquals([inbox.unclaimed, inbox.dropped], [2, 1]);
  inbox.deliver(one); // acknowledged before: not to be lost
  assertEquals([inbox.unclaimed, inbox.dropped], [3, 1]);
  // What is at QoS 0 finds no more room in a queue than elsewhere.
  const small = subscribe(inbox, ["a"], 1);
  assertEquals([small.length, small.lost], [2, 1]);
  assertEquals([inbox.unclaimed, inbox.dropped], [0, 2]);
  assertFalse(inbox.hasRoom(one));
  assert(inbox.hasRoom(message("b", { qos: 1 })));
});

Deno.test("Inbox.remove() ends a subscription with its last topic, and leaves the others", () => {
  const inbox = new Inbox(false, 10);
  const two = subscribe(inbox, ["a", "b/#"]);
  const one = subscribe(inbox, ["a"]);
  assertEquals(inbox.to("a"), [two, one]);
  inbox.remove(two, "a");
  inbox.remove(two, "a");
  assertFalse(two.isEnded);
  inbox.deliver(message("a"));
  inbox.deliver(message("b"));
  assertEquals([two.length, one.length], [1, 1]);
  inbox.remove(two, "b/#");
  assert(two.isEnded);
  inbox.deliver(message("b"));
  assertEquals([two.length, inbox.dropped], [1, 1]);
  assertEquals(inbox.to("b/#"), []);
  inbox.remove(one, "a");
  assert(one.isEnded);
  assertEquals(inbox.to("a"), []);
});

Deno.test("Inbox.remove() tells names from ids, not from short names", () => {
  const inbox = new Inbox(false, 10);
  const topics: DeviceTopic[] = ["7", { predefined: 7 }, "ab", { short: "ab" }];
  const subscriptions = topics.map((topic) => subscribe(inbox, [topic]));
  const [seven, id, name, short] = subscriptions;
  assertEquals(inbox.to("7"), [seven!]);
  assertEquals(inbox.to({ predefined: 7 }), [id!]);
  // The broker knows one subscription for the two.
  assertEquals(inbox.to("ab"), [name!, short!]);
  assertEquals(inbox.to({ short: "ab" }), [name!, short!]);
  inbox.remove(name!, "ab");
  inbox.deliver(message("ab"));
  assertEquals(subscriptions.map(({ length }) => length), [0, 0, 0, 1]);
});

Deno.test("Inbox that claims nothing leaves a kept session's messages until somebody subscribes", () => {
  const inbox = new Inbox(true, 10, false);
  assertEquals(inbox.hasRoom(message("a", { qos: 1 })), false);
  inbox.deliver(message("a"));
  assertEquals([inbox.unclaimed, inbox.dropped], [0, 1]);
  subscribe(inbox, ["b"]);
  assertEquals(inbox.hasRoom(message("a", { qos: 1 })), true);
  inbox.deliver(message("a", { qos: 1 }));
  assertEquals(inbox.unclaimed, 1);
});

Deno.test("Inbox.end() ends all, however many topics they have", () => {
  const inbox = new Inbox(false, 10);
  const subscriptions = [
    subscribe(inbox, ["a", "b"]),
    subscribe(inbox, [{ predefined: 7 }]),
  ];
  inbox.deliver(message("b"));
  inbox.end();
  assertEquals(subscriptions.map(({ isEnded }) => isEnded), [true, true]);
  assertEquals(subscriptions[0]!.length, 1);
});
