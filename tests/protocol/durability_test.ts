/**
 * What was acknowledged outlives the broker: devices, a bad network, and a router
 * with a store that crashes.
 *
 * There are stories by seed (`support/durability_story.ts`), as those of
 * `stories/pair_test.ts`, some of them with hardships besides: the router is stopped for a
 * while, or out of reach, clocks leap, clients get other addresses. And there are scenarios, which are told once for
 * each step of the router and of its store, with a crash just there.
 *
 * - `deno test -A tests/protocol/durability_test.ts -- --seeds 10000` tells more stories.
 * - `deno test -A tests/protocol/durability_test.ts -- --seed 17` tells one, and prints it.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import { type Millis, seededRandom } from "../../base/clock.ts";
import { compact } from "../../store/commits.ts";
import type { DeliveryQos } from "../../wire/message.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { LATE_MS } from "../../wire/duplicates.ts";
import type { StoreChange } from "../../broker/records.ts";
import { DurabilityStory } from "../support/durability_story.ts";
import { MemoryStore } from "../support/memory_store.ts";
import type { Crash } from "../support/durable_router.ts";
import {
  type Client,
  type ClientOptions,
  RETRY_MS,
  World,
} from "../support/durable_world.ts";
import {
  answerAll,
  answerOf,
  GatewayBench,
  octets,
  packetsTo,
  PONG,
  puback,
  type SentPacket,
  textOf,
} from "../support/gateway.ts";
import { fail, testStories } from "../support/stories.ts";

/** A scenario: what somebody does, up to the moment at which it is checked. */
type Scenario = (world: World) => void;

/** What a client takes before anything else, so that the steps are its own. */
const KEPT = { cleanSession: false } as const;

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  "messages at QoS 1 to who is active": (world) => tellActive(world, 1),
  "messages at QoS 2 to who is active": (world) => tellActive(world, 2),
  "messages at QoS 1 to who sleeps": (world) => tellSleeper(world, 1, KEPT),
  "messages at QoS 2 to who sleeps": (world) => tellSleeper(world, 2, KEPT),
  "messages to who sleeps with a clean session": (world) =>
    tellSleeper(world, 2, { cleanSession: true }),
  "messages to who is away": (world) => {
    const [lamp, ann] = meet(world);
    lamp.subscribe("a/+", 2);
    world.run(100);
    lamp.disconnect();
    world.run(60);
    for (const qos of [1, 2, 1, 2] as const) ann.publish("a/b", qos);
    world.run(400);
    lamp.connect();
    world.run(400);
  },
  "messages under a pre-defined id and a short name": (world) => {
    const [lamp, ann] = meet(world);
    lamp.subscribe({ predefined: 1 }, 2);
    lamp.subscribe({ short: "ab" }, 2);
    world.run(150);
    for (const topic of [{ predefined: 1 }, { short: "ab" }]) {
      ann.publish(topic, 2);
      ann.publish(topic, 1);
    }
    world.run(500);
  },
  "messages at QoS 1 and 2 to overlapping filters": (world) => {
    const [lamp, ann] = meet(world);
    lamp.subscribe("a/+", 1);
    lamp.subscribe("#", 2);
    lamp.subscribe("a/b", 0);
    world.run(150);
    for (const qos of [2, 1, 2, 0] as const) ann.publish("a/b", qos);
    world.run(500);
  },
  "a subscription to what is retained": (world) => {
    const [lamp, ann] = meet(world);
    for (const name of ["r/1", "r/2", "r/3"]) {
      ann.publish(name, name === "r/2" ? 2 : 1, { retain: true });
    }
    world.run(300);
    lamp.subscribe("r/+", 2);
    world.run(500);
  },
  "a subscription of a sleeper to what is retained": (world) => {
    const [lamp, ann] = meet(world);
    for (const name of ["r/1", "r/2"]) ann.publish(name, 2, { retain: true });
    world.run(300);
    lamp.subscribe("r/#", 1);
    lamp.sleep();
    world.run(200);
    lamp.wake();
    world.run(400);
    lamp.wake();
    world.run(400);
  },
  "a subscription to what is retained at QoS 2": (world) => {
    const [lamp, ann] = meet(world);
    const names = ["r/1", "r/2", "r/3"];
    for (const name of names) ann.publish(name, 2, { retain: true });
    world.run(400);
    lamp.subscribe("r/+", 2);
    world.run(90);
    // Whatever becomes of them meanwhile: they are published to it anyway.
    ann.publish("r/1", 2, { retain: true });
    ann.publish("r/2", 2, { retain: true, isBlank: true });
    world.run(500);
  },
  "subscriptions that overlap to what is retained at QoS 2": (world) => {
    const [lamp, ann] = meet(world);
    for (const name of ["r/1", "r/2"]) ann.publish(name, 2, { retain: true });
    world.run(300);
    lamp.subscribe("r/+", 2);
    lamp.subscribe("r/#", 2);
    world.run(600);
  },
  "a subscription that is repeated to what is retained at QoS 2": (world) => {
    const [lamp, ann] = meet(world);
    for (const name of ["r/1", "r/2"]) ann.publish(name, 2, { retain: true });
    world.run(300);
    lamp.subscribe("r/+", 2);
    world.run(80);
    lamp.subscribe("r/+", 2);
    world.run(500);
  },
  "a sleeper with a clean session to whom what is retained comes": (world) => {
    const [, ann] = meet(world);
    for (const name of ["r/1", "r/2"]) ann.publish(name, 2, { retain: true });
    const bob = world.join("bob", { cleanSession: true });
    world.run(300);
    bob.subscribe("r/+", 2);
    world.run(30); // the first has come, the second is under way
    bob.sleep();
    world.run(100);
    bob.wake();
    world.run(400);
    bob.wake();
    world.run(400);
  },
  "a topic that is registered": (world) => {
    const [lamp, ann] = meet(world);
    lamp.subscribe("a/#", 2);
    world.run(50);
    for (const name of ["a/1", "a/2", "a/3"]) ann.register(name);
    world.run(150);
    for (const name of ["a/3", "a/1", "a/2"]) ann.publish(name, 1);
    world.run(400);
  },
  "an id that the router has told": (world) => {
    const [lamp, ann] = meet(world);
    lamp.subscribe("a/#", 1);
    for (const name of ["a/b", "a/c", "a/d"]) ann.register(name);
    world.run(100);
    for (const [name, ms] of [["a/b", 7], ["a/c", 9], ["a/d", 14]] as const) {
      ann.publish(name, 0); // once only: a copy would have it told again
      // Perhaps sooner than the store can have known of it.
      world.run(ms);
      lamp.publish(name, 1);
      world.run(100);
    }
    world.run(300);
  },
  "a subscription that is ended": (world) => {
    const [lamp, ann] = meet(world);
    lamp.subscribe("a", 1);
    lamp.subscribe("a/b", 2);
    world.run(200);
    ann.publish("a", 1);
    world.run(100);
    lamp.unsubscribe("a");
    world.run(60);
    ann.publish("a", 1);
    ann.publish("a/b", 2);
    world.run(400);
  },
  "a sleeper that wakes again and again": (world) => {
    const [lamp, ann] = meet(world);
    lamp.subscribe("a", 2);
    world.run(60);
    lamp.sleep();
    for (let count = 0; count < 4; count++) {
      ann.publish("a", count % 2 === 0 ? 2 : 1);
      world.run(60 + 10 * count);
      lamp.wake();
    }
    world.run(300);
    lamp.wake();
    world.run(300);
  },
  "a client that goes on from another address": (world) => {
    const [lamp, ann] = meet(world);
    lamp.subscribe("a", 2);
    world.run(60);
    lamp.sleep();
    world.run(60);
    ann.publish("a", 1);
    ann.publish("a", 2);
    world.run(60);
    lamp.move(world.newPeer());
    lamp.wake();
    world.run(400);
    lamp.wake();
    world.run(400);
  },
  "a client that another device takes over": (world) => {
    const [lamp, ann] = meet(world);
    lamp.subscribe("a", 2);
    world.run(60);
    ann.publish("a", 2);
    world.run(15);
    lamp.vanish();
    ann.publish("a", 1);
    world.run(15);
    lamp.become(world.newPeer(), KEPT);
    lamp.connect();
    ann.publish("a", 2);
    world.run(500);
  },
  "the will of a client that is lost": (world) => {
    const [lamp] = meet(world);
    lamp.subscribe("w/+", 2);
    const payload = new TextEncoder().encode("will of bob");
    const will = { topicName: "w/bob", payload, qos: 2, retain: true } as const;
    const bob = world.join("bob", { ...KEPT, keepAlive: 1, will });
    world.run(200);
    bob.vanish();
    bob.isMute = true;
    world.run(2_500);
  },
  "the will of a client that has disconnected": (world) => {
    const [lamp, ann] = meet(world);
    lamp.subscribe("w/+", 2);
    const payload = new TextEncoder().encode("will of bob");
    const will = { topicName: "w/bob", payload, qos: 1 } as const;
    const bob = world.join("bob", { ...KEPT, keepAlive: 1, will });
    bob.subscribe("a", 1);
    world.run(200);
    bob.disconnect();
    world.run(50);
    ann.publish("a", 1); // also later it is not forgotten that he has
    world.run(2_500);
  },
  "a clean session in the place of a kept one": (world) => {
    const [lamp, ann] = meet(world);
    lamp.subscribe("a", 2);
    world.run(60);
    lamp.disconnect();
    world.run(60);
    ann.publish("a", 2);
    ann.publish("a", 1);
    world.run(100);
    lamp.become(world.newPeer(), { cleanSession: true, keepAlive: 1 });
    lamp.forget();
    world.run(200);
    ann.publish("a", 2);
    world.run(300);
    lamp.disconnect();
    world.run(100);
    lamp.become(world.newPeer(), KEPT);
    lamp.connect();
    ann.publish("a", 1);
    world.run(300);
  },
  "a kept session of who was asleep with a clean one": (world) => {
    const [, ann] = meet(world);
    const bob = world.join("bob", { cleanSession: true });
    bob.subscribe("a", 2);
    world.run(100);
    bob.sleep();
    world.run(60);
    ann.publish("a", 2);
    world.run(60);
    bob.become(world.newPeer(), { cleanSession: true, keepAlive: 1 });
    bob.forget();
    world.run(300);
  },
  "retained messages that are set, replaced and cleared": (world) => {
    const [, ann] = meet(world);
    for (const qos of [1, 2] as const) {
      const name = `r/${qos}`;
      ann.publish(name, qos, { retain: true });
      ann.publish(name, qos, { retain: true });
      ann.publish(name, qos, { retain: true, isBlank: true });
      if (qos === 2) ann.publish(name, qos, { retain: true });
    }
    world.run(700);
  },
  "classic publishes": (world) => {
    const [lamp] = meet(world);
    lamp.subscribe("c/#", 1);
    for (let count = 0; count < 4; count++) {
      world.publishClassic("c/1");
      world.publishClassic("c/2");
      world.run(20 * count);
    }
    world.run(400);
  },
};

/** Two clients with kept sessions who are connected: a lamp, and Ann. */
function meet(world: World): [Client, Client] {
  const lamp = world.join("lamp", KEPT);
  const ann = world.join("ann", KEPT);
  world.run(60);
  return [lamp, ann];
}

function tellActive(world: World, qos: DeliveryQos): void {
  const [lamp, ann] = meet(world);
  lamp.subscribe("a/#", qos);
  world.run(60);
  for (let count = 0; count < 3; count++) {
    ann.publish("a/b", qos);
    ann.publish("a/c", qos);
    lamp.publish("a/b", qos);
  }
  world.run(700);
}

function tellSleeper(
  world: World,
  qos: DeliveryQos,
  options: ClientOptions,
): void {
  const ann = world.join("ann", KEPT);
  const bob = world.join("bob", options);
  world.run(60);
  bob.subscribe("a/#", 2);
  world.run(60);
  bob.sleep();
  world.run(60);
  for (let count = 0; count < 3; count++) ann.publish("a/b", qos);
  world.run(200);
  bob.wake();
  world.run(80);
  ann.publish("a/c", qos);
  world.run(300);
  bob.wake();
  world.run(300);
}

/** What happens at a step. */
interface Accident extends Crash {
  /** For how long the store has no room from there on; default not at all. */
  readonly fullMs?: Millis;
  /** How much later the router crashes; default at once. */
  readonly laterMs?: Millis;
}

const SHORT = { downMs: 40, loadMs: 0 } as const;

/** Each of them at each step. */
const ACCIDENTS: readonly Accident[] = [
  { ...SHORT, isDone: false },
  { ...SHORT, isDone: true },
  // So long that everybody notices, and with a while in which it is congested.
  { downMs: 1_200, loadMs: 150, isDone: false },
  // Commits fail first, and all that was refused is lost.
  { ...SHORT, isDone: false, fullMs: 2_000, laterMs: 150 },
  // Or it is committed in the end, and only then comes the crash.
  { ...SHORT, isDone: false, fullMs: 500, laterMs: 1_020 },
];

/** No crash is noticed that is over before a request has been sent twice more. */
const STEADY_MS = 2 * RETRY_MS;

/**
 * Tells a scenario, and has an accident happen at a step.
 *
 * @returns how many steps there were
 */
function enact(scenario: Scenario, at?: number, accident?: Accident): number {
  const { downMs = 0, fullMs = 0, laterMs = 0 } = accident ?? {};
  const world: World = new World({
    seed: 1,
    net: { loss: 0, duplicate: 0, delayMs: [3, 3] },
    store: {
      commitMs: () => 7,
      onStep: (step, now) => {
        if (step !== at || accident === undefined) return;
        const { net, broker } = world;
        if (fullMs > 0) {
          broker.isFull = true;
          net.at(now + fullMs, () => broker.isFull = false);
        }
        if (laterMs === 0) broker.crash(now, accident);
        else net.at(now + laterMs, () => broker.crash(net.now, accident));
      },
    },
    isSteady: downMs < STEADY_MS && fullMs === 0,
    quietMs: 2_000,
  });
  scenario(world);
  const { steps } = world.broker;
  world.settle();
  for (const client of world.clients) client.fetch();
  world.settle();
  for (const client of world.clients) {
    if (!client.isMute && !client.isClean) client.connect();
  }
  world.settle();
  world.check();
  return steps;
}

const { seed: onlySeed } = parseArgs(Deno.args, { string: ["seed"] });

for (const [name, scenario] of Object.entries(SCENARIOS)) {
  Deno.test({
    name: `No crash costs anybody what was promised: ${name}`,
    ignore: onlySeed !== undefined,
    fn: () => {
      const steps = enact(scenario);
      for (let at = 0; at < steps; at++) {
        for (const accident of ACCIDENTS) {
          try {
            enact(scenario, at, accident);
          } catch (error) {
            const why = error instanceof Error ? error.message : `${error}`;
            fail(`step ${at} of ${steps}, ${JSON.stringify(accident)}: ${why}`);
          }
        }
      }
    },
  });
}

Deno.test("compact() gives fewer changes that come to the same", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = seededRandom(seed);
    const below = (count: number) => Math.floor(random() * count);
    const changes = Array.from(
      { length: 1 + below(60) },
      (_, at) => someChange(below, at + 1),
    ).filter((change, at, all) => {
      if (change.type !== "inFlight") return true;
      const { session, seq } = change;
      const last = all.slice(0, at).findLast((other) =>
        other.type !== "inFlight" && "session" in other &&
        other.session === session && (!("seq" in other) || other.seq === seq)
      );
      return last?.type === "queued"; // no delivery goes on that is over
    });
    const first = changes.splice(0, below(changes.length));
    const [plain, merged] = [changes, compact(changes)].map((rest) => {
      const store = new MemoryStore();
      store.commit([...first, ...rest]);
      return store.load().map((record) => JSON.stringify(record)).sort();
    });
    assertEquals(merged, plain, `seed ${seed}`);
    assert(compact(changes).length <= changes.length);
  }
});

/** Any change, of few rows, so that most concern one that others do too. */
function someChange(
  below: (count: number) => number,
  seq: number,
): StoreChange {
  const session = 1 + below(2);
  const topicName = `topic ${below(2)}`;
  const ids = { session, seq: 1 + below(3) };
  const flight = { msgId: 1 + below(9), isReleased: below(2) === 0 };
  const payload = Uint8Array.of(below(256));
  const changes: readonly StoreChange[] = [
    {
      type: "queued",
      ...ids,
      ...flight,
      topicName,
      payload,
      qos: 1,
      retain: false,
      at: seq,
    },
    { type: "inFlight", ...ids, ...flight },
    { type: "queuedEnd", ...ids },
    { type: "sessionEnd", session },
    { type: "received", session, msgId: 1, digest: seq, until: undefined },
    { type: "receivedEnd", session, msgId: 1 },
    { type: "retained", topicName, payload, qos: 0 },
    { type: "retainedEnd", topicName },
    { type: "datum", seq, topicName, text: `${seq}` },
    { type: "datumEnd", seq },
    {
      type: "subscription",
      session,
      topicFilter: "#",
      qos: 1,
      isPending: flight.isReleased,
    },
    { type: "subscriptionEnd", session, topicFilter: "#" },
    { type: "begun", session, topicFilter: "#", topicName },
    { type: "begun", session, topicFilter: "+", topicName },
    { type: "begunEnd", session, topicFilter: "#" },
  ];
  return changes[below(changes.length)]!;
}

const ANN = peerOf("127.0.0.1", 1001);
const LAMP = peerOf("127.0.0.1", 1002);

/** A durable router with a kept session of a lamp, subscribed to "a" at QoS 1. */
function benchWithLamp(): GatewayBench {
  const bench = new GatewayBench({ isDurable: true });
  bench.connect(LAMP, "lamp", { cleanSession: false });
  bench.subscribe(LAMP, "a", 1);
  bench.commit();
  return bench;
}

function payloads(sent: readonly SentPacket[]): string[] {
  return sent.map(([, packet]) => packet).filter(({ type }) =>
    type === "PUBLISH"
  ).map(textOf);
}

Deno.test("Router knows after a crash what a clean session sent before it fell asleep", () => {
  const bench = benchWithLamp();
  bench.connect(ANN, "ann");
  const id = bench.register(ANN, "a");
  bench.publish(ANN, { id }, "on", { qos: 2, msgId: 7 });
  bench.sleep(ANN, 60);
  bench.commit();
  bench.restart();
  bench.publish(ANN, { id }, "on", { qos: 2, msgId: 7, dup: true });
  assertEquals(bench.stats.published, 0);
  assertEquals(bench.stats.repeated, 1);
});

Deno.test("Router lets the store forget the msgIds that no copy can come of any more", () => {
  const bench = benchWithLamp();
  for (let msgId = 1; msgId <= 5; msgId++) {
    bench.publish(LAMP, { id: 1 }, "on", { qos: 2, msgId });
    bench.take(LAMP, { type: "PUBREL", msgId });
    bench.advance(LATE_MS);
  }
  bench.commit();
  const kept = bench.store.load().filter(({ type }) => type === "received");
  assertEquals(kept.length, 1);
});

Deno.test("Router knows after a crash to which address a client has moved", () => {
  const bench = benchWithLamp();
  bench.sleep(LAMP, 60);
  bench.wake(ANN, "lamp"); // from another address
  bench.commit();
  bench.restart();
  assertEquals(packetsTo(ANN, bench.wake(ANN, "")), [PONG]);
});

Deno.test("Router takes no late acknowledgement for one of what it sends after a crash", () => {
  const bench = benchWithLamp();
  bench.connect(ANN, "ann");
  const id = bench.register(ANN, "a");
  bench.publish(ANN, { id }, "one", { qos: 1, msgId: 1 });
  bench.publish(ANN, { id }, "two", { qos: 1, msgId: 2 });
  bench.commit();
  const [register] = packetsTo(LAMP, bench.restart());
  const again = bench.take(LAMP, answerOf(register!)!);
  assertEquals(payloads(again), ["one"]);
  const acknowledgement = puback(1, 1);
  assertEquals(payloads(bench.take(LAMP, acknowledgement)), ["two"]);
  bench.take(LAMP, acknowledgement); // that of "one", sent before the crash
  assertEquals(payloads(bench.run(10_000)), ["two"]);
});

Deno.test("Router does not tell again that a CONNECT was accepted while it cannot be kept", () => {
  const bench = new GatewayBench({ isDurable: true });
  const will = { topicName: "w", data: "gone" };
  const sent = bench.connectWithWill(LAMP, "lamp", will, {
    cleanSession: false,
  });
  assertEquals(packetsTo(LAMP, sent).at(-1), {
    type: "CONNACK",
    returnCode: 0,
  });
  bench.router.handleStore("refusing");
  const data = new TextEncoder().encode("gone");
  const answer = bench.take(LAMP, { type: "WILLMSG", data });
  assertEquals(packetsTo(LAMP, answer), [{ type: "CONNACK", returnCode: 1 }]);
});

Deno.test("Router has nobody connected whom it has refused in the end, and no will of theirs", () => {
  for (const cleanSession of [true, false]) {
    const bench = new GatewayBench({ isDurable: true });
    bench.connect(ANN, "ann");
    bench.subscribe(ANN, "w", 1);
    const will = { topicName: "w", data: "gone" };
    const connect = { cleanSession, duration: 10 };
    bench.connectWithWill(LAMP, "lamp", will, connect);
    const refusal = { type: "CONNACK", returnCode: 1 } as const;
    const taken = takeBack(bench, LAMP, "03 05 00");
    assertEquals(packetsTo(LAMP, taken), [refusal]);
    const { active, total } = bench.stats.clients;
    assertEquals([active, total], [1, cleanSession ? 1 : 2]);
    assertEquals(bench.run(100_000), []);
    assertEquals(bench.stats.wills, 0);
    // A stray datagram is no sign that its CONNACK has come.
    bench.router.handleStore("ready");
    bench.connect(LAMP, "lamp", connect);
    bench.take(LAMP, puback(1, 9));
    assertEquals(packetsTo(LAMP, takeBack(bench, LAMP, "03 05 00")), [refusal]);
    assertEquals(bench.stats.clients.active, 1);
  }
});

Deno.test("Router keeps connected whom it has told so once, whatever becomes of a copy", () => {
  const bench = new GatewayBench({ isDurable: true });
  const connect = { cleanSession: false, duration: 10 };
  bench.connect(LAMP, "lamp", connect);
  assertEquals(bench.connect(LAMP, "lamp", connect).length, 1); // doubled
  assertEquals(takeBack(bench, LAMP, "03 05 00").length, 1);
  assertEquals(bench.stats.clients.active, 1);
  // That was the other one.
  assertEquals(takeBack(bench, LAMP, "03 05 00").length, 1);
  assertEquals(bench.stats.clients.active, 0);
});

Deno.test("Router lets a client sleep on that was only to be woken, and is refused", () => {
  const bench = new GatewayBench({ isDurable: true, connectWakesOnly: true });
  bench.connect(ANN, "ann", { duration: 0 });
  const id = bench.register(ANN, "a");
  bench.connect(LAMP, "lamp", { duration: 10 });
  bench.subscribe(LAMP, "a", 1);
  bench.sleep(LAMP, 1_000);
  bench.publish(ANN, { id }, "on", { qos: 1, msgId: 1 });
  bench.connect(LAMP, "lamp", { duration: 10 });
  takeBack(bench, LAMP, "03 05 00");
  const { asleep } = bench.stats.clients;
  assertEquals([asleep, bench.stats.subscriptions, bench.stats.queued], [
    1,
    1,
    1,
  ]);
  bench.router.handleStore("ready");
  bench.run(1_099_999);
  assertEquals(bench.stats.clients.asleep, 1);
  bench.run(1);
  assertEquals(bench.stats.lostBy.silence, 1, "as long as it may sleep");
});

Deno.test("Router takes a late answer to what was under way before a crash, a refusal too", () => {
  for (const returnCode of [1, 2, 3, 0]) {
    const bench = benchWithLamp();
    bench.connect(ANN, "ann");
    const id = bench.register(ANN, "a");
    bench.sleep(LAMP, 1_000);
    bench.publish(ANN, { id }, "on", { qos: 1, msgId: 1 });
    let [publish] = packetsTo(LAMP, bench.wake(LAMP, "lamp"));
    while (publish?.type === "REGISTER") {
      [publish] = packetsTo(LAMP, bench.take(LAMP, answerOf(publish)!));
    }
    assert(publish?.type === "PUBLISH");
    bench.sleep(LAMP, 1_000);
    bench.commit();
    bench.restart();
    const waits = bench.stats.queued;
    assertEquals(waits, 1);
    const { topicId, msgId } = publish;
    bench.take(LAMP, puback(topicId, msgId, returnCode));
    assertEquals(bench.stats.queued, returnCode === 0 ? 0 : 1);
    const again = packetsTo(LAMP, bench.wake(LAMP, "lamp"));
    // It may have forgotten its ids, too.
    const type = returnCode === 0 ? "PINGRESP" : "REGISTER";
    assertEquals(again[0]?.type, type, `${returnCode}`);
  }
});

Deno.test("Router publishes after a crash the will that a client has changed to", () => {
  const bench = benchWithLamp();
  const will = { topicName: "x", data: "old" };
  const kept = { cleanSession: false, duration: 10 };
  bench.connectWithWill(ANN, "ann", will, kept);
  const changed = { qos: 1, retain: false, topicName: "a" } as const;
  bench.take(ANN, { type: "WILLTOPICUPD", will: changed });
  bench.commit();
  bench.restart(); // or the next change would tell of this one too
  const data = new TextEncoder().encode("new");
  bench.take(ANN, { type: "WILLMSGUPD", data });
  bench.commit();
  const [register] = [...bench.restart(), ...bench.run(20_000)]
    .map(([, packet]) => packet);
  assertEquals(payloads(bench.take(LAMP, answerOf(register!)!)), ["new"]);
});

Deno.test("Router lets no id go after a crash that a client has asked for", () => {
  const bench = new GatewayBench({ isDurable: true, maxTopicIds: 2 });
  bench.connect(LAMP, "lamp", { cleanSession: false });
  const id = bench.register(LAMP, "a");
  bench.subscribe(LAMP, "+", 1);
  bench.connect(ANN, "ann");
  bench.commit();
  bench.restart();
  bench.connect(ANN, "ann");
  for (const name of ["b", "c"]) {
    const topic = { id: bench.register(ANN, name) };
    answerAll(bench, LAMP, bench.publish(ANN, topic, "on", { qos: 1 }));
  }
  bench.subscribe(ANN, "a", 1);
  const sent = bench.publish(LAMP, { id }, "off", { qos: 1 });
  assertEquals(packetsTo(LAMP, sent)[0], puback(id, 400));
});

/** Has the store fail, and takes back what was to be sent last. */
function takeBack(bench: GatewayBench, peer: Peer, hex: string): SentPacket[] {
  bench.router.handleStore("refusing");
  bench.router.handleUncommitted(bench.clock.now(), peer, octets(hex));
  return bench.drain();
}

Deno.test("Router sends no PUBREL again while it may not be kept that PUBREC has come", () => {
  const bench = benchWithLamp();
  bench.subscribe(LAMP, "a", 2, 201);
  bench.connect(ANN, "ann");
  const id = bench.register(ANN, "a");
  bench.publish(ANN, { id }, "on", { qos: 2, msgId: 7 });
  const pubrec = { type: "PUBREC", msgId: 1 } as const;
  const pubrel = { type: "PUBREL", msgId: 1 } as const;
  assertEquals(packetsTo(LAMP, bench.take(LAMP, pubrec)), [pubrel]);
  assertEquals(takeBack(bench, LAMP, "04 10 00 01"), []);
  assertEquals(bench.take(LAMP, pubrec), []);
  assertEquals(bench.run(10_000), []);
  bench.router.handleStore("ready");
  assertEquals(packetsTo(LAMP, bench.take(LAMP, pubrec)), [pubrel]);
});

Deno.test("Router does not say that it took a message at QoS 2 while that is not kept", () => {
  const bench = benchWithLamp();
  bench.connect(ANN, "ann", { cleanSession: false });
  const id = bench.register(ANN, "a");
  const publish = () =>
    packetsTo(ANN, bench.publish(ANN, { id }, "on", { qos: 2, msgId: 7 }));
  const pubrec = { type: "PUBREC", msgId: 7 } as const;
  assertEquals(publish(), [pubrec]);
  // Refused it would be published again as another: so it is told nothing.
  const taken = takeBack(bench, ANN, "04 0f 00 07");
  assertEquals(packetsTo(ANN, taken), []);
  assertEquals(publish(), []);
  bench.router.handleStore("ready");
  assertEquals(publish(), [pubrec]);
  assertEquals(bench.stats.published, 1);
});

testStories({
  file: "tests/protocol/durability_test.ts",
  name: "What was acknowledged outlives the broker",
  seeds: 200,
  begin: (seed, trace) => new DurabilityStory(seed, trace),
});

testStories({
  file: "tests/protocol/durability_test.ts",
  name: "What was acknowledged outlives hardships",
  seeds: 200,
  begin: (seed, trace) => new DurabilityStory(seed, trace, true),
});
