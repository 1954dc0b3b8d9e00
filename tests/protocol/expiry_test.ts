/**
 * What does not wait for ever: a session whose client is away, and a message that
 * nobody fetches; and where that is counted.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import type { RouterOptions } from "../../broker/options.ts";
import { Router } from "../../broker/router.ts";
import {
  answerAll,
  GatewayBench,
  GOODBYE,
  packetsTo,
  PONG,
  puback,
  publishTo,
  textOf,
  to,
} from "../support/gateway.ts";
import { ANN, BOB, CYD } from "../support/router.ts";

const KEPT = { cleanSession: false } as const;
const DAY_MS = 86_400_000;
const AB = { short: "ab" } as const;

/** Ann, kept, who has subscribed to `ab` at QoS 2; and Bob, who publishes. */
function makeBench(options: RouterOptions = {}) {
  const bench = new GatewayBench(options);
  bench.connect(ANN, "ann", KEPT);
  bench.subscribe(ANN, AB, 2);
  bench.connect(BOB, "bob");
  let msgId = 0;
  const publish = (text: string, qos: 0 | 1 | 2 = 1) =>
    packetsTo(
      ANN,
      bench.publish(BOB, AB, text, { qos, msgId: qos > 0 ? ++msgId : 0 }),
    );
  return { bench, publish };
}

/** What the broker's own topics say, by the last of their levels. */
function systemOf(bench: GatewayBench, filter: string): string[] {
  bench.connect(CYD, "reader");
  return answerAll(bench, CYD, bench.subscribe(CYD, filter, 0, 900))
    .filter(({ type }) => type === "PUBLISH")
    .map(textOf);
}

// Sessions

Deno.test("Router lets a session go that has been away for as long as it may, and no other", () => {
  const { bench } = makeBench({ sessionExpiry: 60 });
  assertEquals(bench.router.nextTimeout(), undefined);
  bench.take(ANN, GOODBYE);
  assertEquals(bench.router.nextTimeout(), 60_000);
  bench.run(59_999);
  assertEquals([bench.stats.clients.total, bench.stats.expired], [2, 0]);
  bench.events.length = 0;
  bench.run(1);
  const { clients, expired, subscriptions } = bench.stats;
  assertEquals([clients.total, expired, subscriptions], [1, 1, 0]);
  assertEquals(bench.events, [{ type: "expire", clientId: "ann" }]);
  assertEquals(bench.router.nextTimeout(), undefined);
  assertEquals(systemOf(bench, "$SYS/broker/clients/expired"), ["1"]);
});

Deno.test("Router lets sessions go in the order in which their clients left", () => {
  const { bench } = makeBench({ sessionExpiry: 60 });
  bench.connect(CYD, "cyd", KEPT);
  bench.register(CYD, "a");
  bench.take(CYD, GOODBYE);
  bench.run(10_000);
  bench.take(ANN, GOODBYE);
  bench.events.length = 0;
  bench.run(1e6);
  const expired = bench.events.filter(({ type }) => type === "expire");
  assertEquals(expired, [
    { type: "expire", clientId: "cyd" },
    { type: "expire", clientId: "ann" },
  ]);
});

Deno.test("Router counts from anew when a client comes back and leaves again, or is lost", () => {
  const { bench } = makeBench({ sessionExpiry: 60 });
  bench.take(ANN, GOODBYE);
  bench.run(59_000);
  bench.connect(ANN, "ann", { ...KEPT, duration: 10 });
  assertEquals(bench.router.nextTimeout(), 59_000 + 15_000);
  bench.run(15_000);
  assertEquals(bench.stats.clients.lost, 1);
  bench.run(59_999);
  assertEquals(bench.stats.expired, 0);
  bench.run(1);
  assertEquals(bench.stats.expired, 1);
});

Deno.test("Router lets nobody who sleeps expire", () => {
  const { bench } = makeBench({ sessionExpiry: 1 });
  bench.sleep(ANN, 1_000);
  bench.run(1_000_000);
  assertEquals([bench.stats.clients.asleep, bench.stats.expired], [1, 0]);
});

Deno.test("Router with an expiry of 0 keeps no session that has lost its client", () => {
  const { bench } = makeBench({ sessionExpiry: 0 });
  bench.take(ANN, GOODBYE);
  bench.run(0);
  assertEquals([bench.stats.clients.total, bench.stats.expired], [1, 1]);
});

Deno.test("Router keeps a session as long as its place is not needed, and then for a day", () => {
  const { bench } = makeBench({ maxClients: 2 });
  bench.take(ANN, GOODBYE);
  assertEquals(bench.router.nextTimeout(), undefined);
  bench.run(DAY_MS - 1);
  const refused = to(CYD, { type: "CONNACK", returnCode: 1 });
  assertEquals(bench.connect(CYD, "cyd"), [refused]);
  bench.run(1);
  assertEquals(bench.connect(CYD, "cyd").length, 1);
  assertEquals(bench.stats.expired, 1);
  assertEquals(bench.stats.clients.active, 2);

  const { bench: other } = makeBench();
  other.take(ANN, GOODBYE);
  other.run(1_000 * DAY_MS);
  assertEquals(other.stats.clients.disconnected, 1);
});

Deno.test("Router lets a session expire that was away when the process ended, its time counted through", () => {
  const { bench } = makeBench({ isDurable: true, sessionExpiry: 60 });
  bench.take(ANN, GOODBYE);
  bench.run(20_000);
  bench.commit();
  bench.restart();
  assertEquals(bench.router.nextTimeout(), 60_000);
  bench.run(39_999);
  assertEquals(bench.stats.expired, 0);
  bench.run(1);
  assertEquals([bench.stats.expired, bench.stats.clients.total], [1, 0]);
  assertEquals(bench.changes.map(({ type }) => type), ["sessionEnd"]);
  bench.commit();
  assertEquals(bench.store.load(), []);
});

Deno.test("Router lets a session expire at once whose time was over before the start", () => {
  const { bench } = makeBench({ isDurable: true, sessionExpiry: 60 });
  bench.take(ANN, GOODBYE);
  bench.commit();
  bench.clock.advance(1e6);
  bench.restart();
  assertEquals(bench.stats.clients.disconnected, 1);
  assert(bench.router.nextTimeout()! <= bench.clock.now());
  bench.advance(0);
  assertEquals([bench.stats.expired, bench.stats.clients.total], [1, 0]);
});

Deno.test("Router lets the session go for a new client that was away longest, after a restart too", () => {
  const { bench } = makeBench({ isDurable: true, maxClients: 2 });
  bench.connect(BOB, "bob", KEPT);
  bench.register(BOB, "a");
  bench.take(BOB, GOODBYE);
  bench.run(1_000);
  bench.take(ANN, GOODBYE);
  bench.commit();
  bench.restart();
  bench.run(DAY_MS);
  bench.connect(CYD, "cyd");
  const expired = bench.events.filter(({ type }) => type === "expire");
  assertEquals(expired, [{ type: "expire", clientId: "bob" }]);
});

Deno.test("Router with an endless expiry never has one due, nor gives a place away", () => {
  const { bench } = makeBench({ sessionExpiry: Infinity, maxClients: 2 });
  bench.take(ANN, GOODBYE);
  assertEquals(bench.router.nextTimeout(), undefined);
  bench.run(1_000 * DAY_MS);
  const refused = to(CYD, { type: "CONNACK", returnCode: 1 });
  assertEquals(bench.connect(CYD, "cyd"), [refused]);
});

// Messages

Deno.test("Router lets messages expire that wait for who is away", () => {
  const { bench, publish } = makeBench({ messageExpiry: 10 });
  bench.take(ANN, GOODBYE);
  publish("1", 1);
  bench.run(4_000);
  publish("2", 2);
  assertEquals(bench.router.nextTimeout(), 10_000);
  bench.run(5_999);
  assertEquals([bench.stats.queued, bench.stats.lost.expired], [2, 0]);
  bench.events.length = 0;
  bench.run(1);
  assertEquals([bench.stats.queued, bench.stats.lost.expired], [1, 1]);
  assertEquals(bench.events, [
    { type: "lose", clientId: "ann", topicName: "ab", reason: "expired" },
  ]);
  assertEquals(bench.router.nextTimeout(), 14_000);
  const sent = bench.connect(ANN, "ann", KEPT);
  assertEquals(packetsTo(ANN, sent).slice(1).map(textOf), ["2"]);
  const topic = "$SYS/broker/publish/messages/dropped";
  assertEquals(systemOf(bench, topic), ["1"]);
  assertEquals(systemOf(bench, `${topic} by/expired`), ["1"]);
});

Deno.test("Router lets messages expire that wait for a sleeper, at every QoS", () => {
  const { bench, publish } = makeBench({ messageExpiry: 10 });
  bench.sleep(ANN, 1_000);
  for (const qos of [0, 1, 2] as const) publish(`${qos}`, qos);
  bench.run(9_999);
  assertEquals(bench.stats.queued, 3);
  bench.run(1);
  assertEquals([bench.stats.queued, bench.stats.lost.expired], [0, 3]);
  assertEquals(bench.wake(ANN, "ann"), [to(ANN, PONG)]);
  assertEquals(bench.stats.queueMemory, 0);
});

Deno.test("Router lets expire what waits behind an unanswered message, not that one", () => {
  const { bench, publish } = makeBench({
    messageExpiry: 10,
    retryMs: 60_000,
  });
  const qos1 = { qos: 1, msgId: 1 } as const;
  assertEquals(publish("1"), [publishTo(ANN, AB, "1", qos1)[1]]);
  publish("2", 1);
  publish("3", 0);
  bench.run(10_000);
  assertEquals([bench.stats.queued, bench.stats.lost.expired], [1, 2]);
  assertEquals(bench.take(ANN, puback(0x6162, 1)), []);
  assertEquals(bench.stats.queued, 0);
});

Deno.test("Router keeps what is under way for who is away, however long", () => {
  const { bench, publish } = makeBench({ messageExpiry: 10 });
  publish("1", 2);
  bench.take(ANN, GOODBYE);
  publish("2", 2);
  bench.run(1e6);
  assertEquals([bench.stats.queued, bench.stats.lost.expired], [1, 1]);
  const sent = bench.connect(ANN, "ann", KEPT);
  const dup = { qos: 2, msgId: 1, dup: true } as const;
  assertEquals(sent[1], publishTo(ANN, AB, "1", dup));
});

Deno.test("Router lets nothing retained expire", () => {
  const { bench } = makeBench({ messageExpiry: 1 });
  bench.publish(BOB, { short: "xy" }, "x", { retain: true });
  bench.subscribe(ANN, { short: "xy" }, 0);
  bench.take(ANN, GOODBYE);
  bench.run(1e6);
  assertEquals(bench.stats.retained, 1);
});

Deno.test("Router forgets a session whose last message has expired, if there is nothing else", () => {
  const { bench, publish } = makeBench({ messageExpiry: 10 });
  bench.connect(CYD, "cyd", KEPT);
  bench.subscribe(CYD, "+", 1);
  bench.take(CYD, GOODBYE);
  publish("1");
  assertEquals(bench.unsubscribe(CYD, "+").length, 1, "a stranger by now");
  bench.connect(CYD, "cyd", KEPT);
  bench.take(CYD, { type: "REGACK", topicId: 1, msgId: 1, returnCode: 3 });
  assertEquals(bench.stats.clients.total, 3);
  bench.run(1e6);
  assertEquals(bench.stats.clients.total, 3, "Cyd has a subscription");

  const { bench: other, publish: tell } = makeBench({ messageExpiry: 10 });
  other.connect(CYD, "cyd", KEPT);
  other.subscribe(CYD, "+", 1);
  other.sleep(CYD, 100);
  tell("1");
  other.unsubscribe(CYD, "+");
  other.take(CYD, GOODBYE);
  assertEquals(other.stats.clients.total, 3, "a message waits");
  other.run(10_000);
  assertEquals(other.stats.clients.total, 2);
  assertEquals(other.stats.nameMemory > 0, true);
});

Deno.test("Router lets messages expire that waited before a restart, their time counted through", () => {
  const { bench, publish } = makeBench({ isDurable: true, messageExpiry: 10 });
  bench.take(ANN, GOODBYE);
  publish("1");
  bench.run(5_000);
  publish("2");
  bench.commit();
  bench.clock.advance(5_000);
  bench.restart();
  assertEquals([bench.stats.queued, bench.router.nextTimeout()], [2, 10_000]);
  bench.advance(0);
  assertEquals([bench.stats.queued, bench.stats.lost.expired], [1, 1]);
  assertEquals(bench.changes.map(({ type }) => type), ["queuedEnd"]);
  bench.commit();
  bench.restart();
  const sent = bench.connect(ANN, "ann", KEPT);
  assertEquals(packetsTo(ANN, sent).slice(1).map(textOf), ["2"]);
});

Deno.test("Router lets no message expire unless it is told to", () => {
  const { bench, publish } = makeBench();
  bench.take(ANN, GOODBYE);
  publish("1");
  assertEquals(bench.router.nextTimeout(), undefined);
  bench.run(1_000 * DAY_MS);
  assertEquals([bench.stats.queued, bench.stats.lost.expired], [1, 0]);
});

Deno.test("Router has nothing to do in vain for what may expire some time", () => {
  const { bench, publish } = makeBench({
    messageExpiry: 10,
    sessionExpiry: 60,
  });
  bench.take(ANN, GOODBYE);
  for (let i = 0; i < 100; i++) publish(`${i}`);
  let steps = 0;
  for (
    let at;
    (at = bench.router.nextTimeout()) !== undefined && at < 1e6;
  ) {
    bench.advance(Math.max(0, at - bench.clock.now()));
    assert(++steps < 10, `at ${at}`);
  }
  assertEquals([bench.stats.expired, bench.stats.lost.expired], [1, 100]);
});

// The options

for (
  const [name, values] of [
    ["sessionExpiry", [-1, 0.5, NaN]],
    ["messageExpiry", [0, -1, 1.5]],
  ] as const
) {
  Deno.test(`Router takes no ${name} out of its range`, () => {
    for (const value of values) {
      assertThrows(() => new Router({ [name]: value }), RangeError, name);
    }
    new Router({ [name]: 1 });
    new Router({ [name]: Infinity });
  });
}
