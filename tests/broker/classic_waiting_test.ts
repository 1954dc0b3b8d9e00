import { assert, assertEquals, assertFalse } from "@std/assert";
import { parseClassicTopic } from "../../wire/classic.ts";
import { seededRandom } from "../../base/clock.ts";
import { peerOf } from "../../base/peer.ts";
import {
  type ClassicSubscription,
  ClassicWaitingList,
  type WaitingLimits,
} from "../../broker/classic_waiting.ts";

const topic = (name: string) => parseClassicTopic(name)!;
const peer = (port: number) => peerOf("127.0.0.1", port);
const subscription = (port: number, name: string): ClassicSubscription => ({
  peer: peer(port),
  topicName: topic(name),
});

function waitingList(limits: Partial<WaitingLimits> = {}) {
  const displaced: ClassicSubscription[] = [];
  const usual = { maxWaiting: 100, maxWaitingPerPeer: 10, maxMemory: 1e9 };
  const list = new ClassicWaitingList(
    { ...usual, ...limits },
    (subscription) => displaced.push(subscription),
  );
  return { list, displaced };
}

Deno.test("ClassicWaitingList.take() takes out a topic's in the order in which they came", () => {
  const { list } = waitingList();
  const added = [3, 1, 2, 1].map((port) => subscription(port, "a"));
  for (const one of added) list.add(one);
  list.add(subscription(4, "b"));
  assertEquals(list.take(topic("a")), added);
  assertEquals(list.take(topic("a")), []);
  assertEquals(list.size, 1);
});

Deno.test("ClassicWaitingList.add() displaces the one that has waited longest, of any topic", () => {
  const { list, displaced } = waitingList({ maxWaiting: 2 });
  const added = ["a", "b", "a", "c"].map((name, i) => subscription(i, name));
  for (const one of added) list.add(one);
  assertEquals(displaced, added.slice(0, 2));
  assertEquals(list.take(topic("a")), [added[2]]);
  assertEquals(list.take(topic("b")), []);
});

Deno.test("ClassicWaitingList.add() displaces as many as their memory asks", () => {
  const { list, displaced } = waitingList({ maxMemory: 70_000 });
  list.add(subscription(1, "a"));
  list.add(subscription(2, "b".repeat(50_000)));
  list.add(subscription(3, "c".repeat(60_000)));
  assertEquals(displaced.map(({ peer }) => peer.port), [1, 2]);
  assert(list.memory <= 70_000);
});

Deno.test("ClassicWaitingList.isFullFor() counts what a peer has, and no other's", () => {
  const { list } = waitingList({ maxWaitingPerPeer: 2 });
  list.add(subscription(1, "a"));
  assertFalse(list.isFullFor(peer(1)));
  list.add(subscription(1, "b"));
  assert(list.isFullFor(peer(1)));
  assertFalse(list.isFullFor(peer(2)));
  list.take(topic("a"));
  assertFalse(list.isFullFor(peer(1)));
});

Deno.test("ClassicWaitingList is as it was when all are taken", () => {
  const random = seededRandom(11);
  const below = (limit: number) => Math.floor(random() * limit);
  const { list, displaced } = waitingList({ maxWaiting: 30 });
  let added = 0;
  let taken = 0;
  for (let i = 0; i < 5_000; i++) {
    if (below(3) > 0) {
      list.add(subscription(below(5), `t${below(20)}`));
      added++;
    } else taken += list.take(topic(`t${below(20)}`)).length;
    assertEquals(list.size, added - taken - displaced.length);
  }
  for (let i = 0; i < 20; i++) list.take(topic(`t${i}`));
  assertEquals([list.size, list.memory], [0, 0]);
  for (let port = 0; port < 5; port++) assertFalse(list.isFullFor(peer(port)));
});
