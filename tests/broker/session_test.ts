import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import { MemoryBudget } from "../../broker/memory_budget.ts";
import type { Millis } from "../../base/clock.ts";
import { Message } from "../../wire/message.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import type { TopicEntry } from "../../broker/topic_ids.ts";
import { LocalProtocolError } from "../../base/errors.ts";
import {
  Session,
  type SessionHost,
  type SessionLimits,
} from "../../broker/session.ts";
import {
  SESSION_STATES,
  type SessionEvent,
  type SessionState,
  TRANSITIONS,
} from "../../broker/session_states.ts";
import { parseTopicFilter, parseTopicName } from "../../wire/topics.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import {
  GatewayBench,
  GOODBYE,
  puback,
  publishTo,
  to,
} from "../support/gateway.ts";
import { makePersistence } from "../support/kept.ts";
import { ANN, BOB, CYD } from "../support/router.ts";

/** Takes everything, and remembers in words what it was told. */
class Host implements SessionHost {
  readonly log: string[] = [];
  readonly delivery = this;
  sendPublish(): boolean {
    this.log.push("PUBLISH");
    return true;
  }
  sendPublishQos0(): boolean {
    return this.sendPublish();
  }
  sendRegister(_peer: Peer, { topicId }: TopicEntry): boolean {
    this.log.push(`REGISTER ${topicId}`);
    return true;
  }
  sendPubrel(): void {
    this.log.push("PUBREL");
  }
  handleRetry(): void {
    this.log.push("retry");
  }
  handleLoss(): void {
    this.log.push("loss");
  }
  handleTopicRefused(): void {
    this.log.push("refused");
  }
  schedule(): void {
    this.log.push("schedule");
  }
}

function makeSession(limits: Partial<SessionLimits> = {}) {
  const host = new Host();
  const queueBudget = new MemoryBudget(1e6);
  const nameBudget = new MemoryBudget(1e6);
  const session = new Session(
    "ann",
    {
      maxQueue: 10,
      overflow: "drop",
      retryMs: 100,
      retries: 2,
      messageExpiryMs: Infinity,
      maxTopicIds: 10,
      maxQueueOctets: 1e6,
      maxNameOctets: 1e6,
      queueBudget,
      isDurable: true,
      nameBudget,
      ...limits,
    },
    host,
  );
  return { session, host, queueBudget, nameBudget };
}

const LAMP = parseTopicName("lamp")!;

function lampMessage(qos: 0 | 1 | 2) {
  return new Message(LAMP, encodeUtf8("on"), qos, false);
}

// The transitions

const EVENTS = [
  "CONNECT",
  "DISCONNECT",
  "DISCONNECT with Duration",
  "PINGREQ",
  "delivered",
  "silence",
  "retries exhausted",
  "displaced",
] as const satisfies readonly SessionEvent[];

/** What §6.14 has happen; everything else does not. */
const HAPPENS: readonly string[] = [
  "disconnected, CONNECT: active",

  "active, CONNECT: active",
  "active, DISCONNECT: disconnected",
  "active, DISCONNECT with Duration: asleep",
  "active, silence: lost",
  "active, retries exhausted: lost",
  "active, displaced: lost",

  "asleep, CONNECT: active",
  "asleep, DISCONNECT: disconnected",
  "asleep, DISCONNECT with Duration: asleep",
  "asleep, PINGREQ: awake",
  "asleep, silence: lost",
  "asleep, displaced: lost",

  "awake, CONNECT: active",
  "awake, DISCONNECT: disconnected",
  "awake, DISCONNECT with Duration: asleep",
  "awake, delivered: asleep",
  "awake, retries exhausted: asleep",
  "awake, displaced: lost",

  "lost, CONNECT: active",
];

const WAY: Readonly<Record<SessionState, readonly SessionEvent[]>> = {
  disconnected: [],
  active: ["CONNECT"],
  asleep: ["CONNECT", "DISCONNECT with Duration"],
  awake: ["CONNECT", "DISCONNECT with Duration", "PINGREQ"],
  lost: ["CONNECT", "silence"],
};

for (const state of SESSION_STATES) {
  for (const event of EVENTS) {
    const name = `${state}, ${event}`;
    const expected = HAPPENS.find((line) => line.startsWith(`${name}: `));
    const next = expected?.slice(name.length + 2);
    Deno.test(`Session ${name}: ${next ?? "does not happen"}`, () => {
      const { session } = makeSession();
      for (const step of WAY[state]) session.apply(step);
      assertEquals(session.state, state);
      if (next === undefined) {
        assertThrows(
          () => session.apply(event),
          LocalProtocolError,
          `Cannot apply "${event}" to a client that is ${state}`,
        );
      } else assertEquals(session.apply(event) as string, next);
      assertEquals(session.state as string, next ?? state);
    });
  }
}

Deno.test("TRANSITIONS has nothing beside what these tests expect", () => {
  const all = Object.entries(TRANSITIONS).flatMap(([state, events]) =>
    Object.entries(events).map(([event, next]) => `${state}, ${event}: ${next}`)
  );
  assertEquals(all.toSorted(), HAPPENS.toSorted());
});

Deno.test("Session is connected while active, asleep or awake", () => {
  const connected: SessionState[] = [];
  for (const state of SESSION_STATES) {
    const { session } = makeSession();
    for (const step of WAY[state]) session.apply(step);
    if (session.isConnected) connected.push(state);
  }
  assertEquals(connected, ["active", "asleep", "awake"]);
});

// What supervises it

Deno.test("Session is silent from the very moment on, while active or asleep", () => {
  for (const state of SESSION_STATES) {
    const { session } = makeSession();
    for (const step of WAY[state]) session.apply(step);
    session.supervise(1_000, 500);
    const isSupervised = state === "active" || state === "asleep";
    assertEquals(session.isSupervised, isSupervised, state);
    assertEquals(session.nextTimeout, isSupervised ? 1_500 : Infinity, state);
    assertFalse(session.isSilent(1_499));
    assertEquals(session.isSilent(1_500), isSupervised, state);
  }
});

Deno.test("Session that is allowed any silence is never silent", () => {
  const { session } = makeSession();
  session.apply("CONNECT");
  session.supervise(0, 0);
  assertFalse(session.isSupervised);
  assertFalse(session.isSilent(Number.MAX_SAFE_INTEGER));
  assertEquals(session.nextTimeout, Infinity);
});

Deno.test("Session that is heard of is silent that much later", () => {
  const { session } = makeSession();
  session.apply("CONNECT");
  session.supervise(0, 500);
  session.heardAt = 499;
  assertFalse(session.isSilent(998));
  assert(session.isSilent(999));
});

Deno.test("Session.nextTimeout is the earlier of silence and retry", () => {
  const { session } = makeSession();
  session.apply("CONNECT");
  session.supervise(0, 500);
  session.outbox.open(0);
  session.deliver(10, lampMessage(1), 1, false);
  assertEquals(session.nextTimeout, 110);
  session.supervise(0, 105);
  assertEquals(session.nextTimeout, 105);
  session.apply("DISCONNECT with Duration"); // a sleeper is sent nothing
  session.supervise(0, 500);
  assertEquals(session.nextTimeout, 500);
});

// What it takes

Deno.test("Session.deliver() keeps QoS 1 and 2 for who is away, not QoS 0", () => {
  for (const state of ["disconnected", "lost"] as const) {
    const { session, host, queueBudget } = makeSession();
    for (const step of WAY[state]) session.apply(step);
    session.deliver(0, lampMessage(0), 0, false);
    session.deliver(0, lampMessage(2), 0, false);
    assertEquals([session.outbox.size, queueBudget.used], [0, 0]);
    session.deliver(0, lampMessage(1), 1, false);
    session.deliver(0, lampMessage(2), 2, false);
    assertEquals(session.outbox.size, 2);
    assertFalse(host.log.includes("PUBLISH"));
  }
});

Deno.test("Session.deliver() keeps QoS 0 too for a sleeper", () => {
  const { session } = makeSession();
  for (const step of WAY.asleep) session.apply(step);
  session.deliver(0, lampMessage(0), 0, false);
  assertEquals(session.outbox.size, 1);
});

Deno.test("Session.deliver() tells its host, so that a retry is not forgotten", () => {
  const { session, host } = makeSession();
  session.apply("CONNECT");
  session.outbox.open(0);
  session.deliver(0, lampMessage(1), 1, false);
  assertEquals(host.log, ["REGISTER 1", "schedule"]);
});

Deno.test("Session.clear() forgets everything, and gives back what it took", () => {
  const { session, queueBudget, nameBudget } = makeSession();
  session.apply("CONNECT");
  session.peer = peerOf("127.0.0.1", 1);
  session.outbox.open(0);
  session.deliver(0, lampMessage(1), 1, false);
  session.deliver(0, lampMessage(1), 1, false);
  session.addSubscription(parseTopicFilter("#")!, { qos: 1 });
  session.received.add(1, 7);
  session.lastSubscribe = { msgId: 1, filter: parseTopicFilter("#")!, at: 0 };
  session.setWill({
    topicName: LAMP,
    qos: 0,
    retain: false,
    payload: new Uint8Array(),
  });
  assert(queueBudget.used > 0);
  assert(nameBudget.used > 0);
  session.clear();
  assertEquals([queueBudget.used, nameBudget.used], [0, 0]);
  assertEquals(session.outbox.size, 0);
  assertEquals(session.topicIds.size, 0);
  assertEquals(session.subscriptions.size, 0);
  assertEquals(session.unreleased, 0);
  assertEquals(session.will, undefined);
  assertEquals(session.lastSubscribe, undefined);
  assertEquals(session.outbox.retryAt, undefined);
  assertEquals(session.peer?.port, 1, "but not where it is");
  assertEquals(session.clientId, "ann");
});

Deno.test("Session.deleteSubscription() tells whether there was one", () => {
  const { session } = makeSession();
  const filter = parseTopicFilter("a/+")!;
  assertFalse(session.deleteSubscription(filter));
  session.addSubscription(filter, { qos: 1 });
  session.addSubscription(filter, { qos: 2 });
  assertEquals([...session.subscriptions], [[filter, { qos: 2 }]]);
  assert(session.deleteSubscription(filter));
  assertFalse(session.deleteSubscription(filter));
});

Deno.test("Session.forgetTopicIds() keeps the ids, and takes them for unknown", () => {
  const { session } = makeSession();
  session.forgetTopicIds();
  const entry = session.topicIds.assign(LAMP)!;
  entry.isKnown = true;
  session.forgetTopicIds();
  assertFalse(entry.isKnown);
  assertEquals(session.topicIds.at(1), entry);
});

// What a gateway's sessions may cost

Deno.test("§14 state for each source is bounded: prompts, whoever they are for", () => {
  for (const clientId of ["ann", "eve"]) {
    const bench = new GatewayBench({ maxClients: 5 });
    bench.connect(ANN, "ann", { cleanSession: false });
    for (let port = 2_000; port < 2_100; port++) {
      // As a forger sends it: from everywhere, for a client that exists or not.
      bench.connect(peerOf("192.0.2.1", port), clientId, { will: true });
    }
    // The oldest went for the next: a client that is there has long answered.
    const { prompts, promptsExpired, clients } = bench.stats;
    assertEquals([prompts, promptsExpired, clients.total], [5, 95, 1]);
  }
});

Deno.test("§14 who forges CONNECTs with wills does not lock out a client that is known", () => {
  const bench = new GatewayBench({ maxClients: 5 });
  bench.connect(ANN, "ann", { cleanSession: false });
  for (let port = 2_000; port < 2_100; port++) {
    bench.connect(peerOf("192.0.2.1", port), "ann", { will: true });
  }
  // It needs neither a place in the table nor a prompt.
  bench.run(10_000);
  assertEquals(bench.connect(ANN, "ann", { cleanSession: false }), [
    to(ANN, { type: "CONNACK", returnCode: 0 }),
  ]);
});

Deno.test("§14 state for each source is bounded: clients, and the next is told 01", () => {
  const bench = new GatewayBench({ maxClients: 3 });
  for (let i = 0; i < 5; i++) {
    assertEquals(bench.connect(peerOf("192.0.2.1", 2_000 + i), `${i}`), [
      to(peerOf("192.0.2.1", 2_000 + i), {
        type: "CONNACK",
        returnCode: i < 3 ? 0 : 1,
      }),
    ]);
  }
  assertEquals(bench.stats.clients.total, 3);
  assertEquals(bench.stats.refused.clients, 2);
  // Who is known may always return.
  assertEquals(bench.connect(peerOf("192.0.2.1", 2_000), "0").length, 1);
  assertEquals(bench.stats.clients.total, 3);
});

Deno.test("G37 maxRate takes so many PUBLISHes a second, and refuses the next with 01", () => {
  // Whenever a client comes, its first second is as good as any other.
  for (const begin of [0, 100, 999, 60_000] satisfies Millis[]) {
    const bench = new GatewayBench({ maxRate: 2 });
    bench.clock.advance(begin);
    bench.connect(ANN, "ann");
    const tell = () => bench.publish(ANN, { short: "ab" }, "x", { qos: 1 });
    const accepted = [to(ANN, puback(0x6162, 400))];
    const refused = [to(ANN, puback(0x6162, 400, 1))];
    const answers = [tell(), tell(), tell()];
    assertEquals(answers, [accepted, accepted, refused], `At ${begin} ms`);
    assertEquals(bench.stats.refused.rate, 1);
    bench.clock.advance(500);
    assertEquals([tell(), tell()], [accepted, refused]);
  }
});

Deno.test("G37 maxSubscriptions and maxTopicIds: the next is told 01", () => {
  const bench = new GatewayBench({ maxSubscriptions: 2, maxTopicIds: 3 });
  bench.connect(ANN, "ann");
  const codes = ["a", "+", "b"].map((filter) => {
    const packet = bench.subscribe(ANN, filter)[0]![1];
    return packet.type === "SUBACK" ? packet.returnCode : packet.type;
  });
  assertEquals(codes, [0, 0, 1]);
  assertEquals(bench.stats.subscriptions, 2);
  assertEquals(bench.subscribe(ANN, "a", 1)[0]![1], {
    type: "SUBACK",
    qos: 1,
    topicId: 1,
    msgId: 200,
    returnCode: 0,
  }, "an old one may change");
  for (const name of ["c", "d"]) bench.register(ANN, name);
  const register = { type: "REGISTER", topicId: 0, msgId: 8 } as const;
  assertEquals(bench.take(ANN, { ...register, topicName: "e" }), [
    to(ANN, { type: "REGACK", topicId: 0, msgId: 8, returnCode: 1 }),
  ]);
  assertEquals(bench.stats.refused.topicIds, 1);
});

Deno.test("G29 an active client that leaves a message unanswered is lost, with its will", () => {
  const bench = new GatewayBench({ retryMs: 100, retries: 3 });
  bench.connect(BOB, "bob");
  const a = { id: bench.register(BOB, "a") };
  bench.connect(CYD, "cyd");
  bench.subscribe(CYD, "will");
  const will = { topicName: "will", data: "lost" };
  bench.connectWithWill(ANN, "ann", will, { cleanSession: false });
  bench.subscribe(ANN, "a", 1);
  bench.publish(BOB, a, "x", { qos: 1 });
  const again = publishTo(ANN, { id: 1 }, "x", {
    qos: 1,
    msgId: 1,
    dup: true,
  });
  assertEquals(bench.run(399), [again, again, again]);
  assertEquals(bench.run(1), [publishTo(CYD, { id: 1 }, "lost")]);
  const { clients, lostBy, retried, queued } = bench.stats;
  assertEquals([clients.lost, lostBy["retries exhausted"]], [1, 1]);
  assertEquals([retried, queued], [3, 1], "the message waits for its return");
  assertEquals(bench.run(1e9), []);
  assertEquals(bench.take(ANN, GOODBYE), [to(ANN, GOODBYE)]);
});

// What is kept of it

const RECORD = {
  type: "session",
  session: 1,
  clientId: "ann",
  isClean: false,
  state: "active",
  peer: { hostname: "127.0.0.1", port: 1001, wirelessNodeId: undefined },
  allowedMs: 90_000,
  duration: 60,
  announcedWill: true,
  leftAt: 0,
  will: undefined,
} as const;

const WILL = {
  topicName: LAMP,
  qos: 1,
  retain: true,
  payload: encodeUtf8("gone"),
} as const;

Deno.test("Session.isToBePersisted says so of who is not clean, and of all who sleep", () => {
  const kept: string[] = [];
  for (const isClean of [true, false]) {
    for (const state of SESSION_STATES) {
      const { session } = makeSession();
      for (const step of WAY[state]) session.apply(step);
      session.isClean = isClean;
      if (session.isToBePersisted) {
        kept.push(`${state}${isClean ? ", clean" : ""}`);
      }
    }
  }
  assertEquals(kept, ["asleep, clean", "awake, clean", ...SESSION_STATES]);
});

Deno.test("Session.keep() tells of it and of all its parts, and then of each change", () => {
  const { session } = makeSession();
  const { session: persistence, take } = makePersistence();
  const filter = parseTopicFilter("lamp")!;
  for (const step of WAY.asleep) session.apply(step);
  session.connect = {
    clientId: "ann",
    will: true,
    cleanSession: false,
    duration: 60,
    at: 0,
    told: 1,
    sleptMs: undefined,
  };
  session.isClean = false;
  session.peer = ANN;
  session.supervise(0, 90_000);
  session.setWill(WILL);
  session.addSubscription(filter, { qos: 1 });
  session.topicIds.assign(LAMP);
  session.received.add(3, 4);
  session.deliver(5, lampMessage(1), 1, false);
  session.beginPersistence(persistence);
  const record = { ...RECORD, state: "asleep", will: WILL } as const;
  const changes = take();
  assertEquals(changes.map(({ type }) => type), [
    "session",
    "subscription",
    "topicId",
    "received",
    "queued",
  ]);
  assertEquals(changes[0], record);
  session.apply("PINGREQ");
  session.setWill(undefined);
  session.persist();
  assertEquals(take(), [{ ...record, will: undefined }], "awake is asleep");
  session.deleteSubscription(filter);
  assertEquals(take(), [
    { type: "subscriptionEnd", session: 1, topicFilter: "lamp" },
  ]);
  session.endPersistence();
  assertEquals(take(), [{ type: "sessionEnd", session: 1 }]);
  session.persist();
  session.endPersistence();
  session.clear();
  assertEquals(take(), [], "it is kept no longer");
});

Deno.test("Session.deliverRetained() tells whether all that is retained has been delivered", () => {
  const { session } = makeSession();
  const { session: persistence, take } = makePersistence();
  session.apply("CONNECT");
  session.beginPersistence(persistence);
  const filter = parseTopicFilter("lamp")!;
  const told = {
    type: "subscription",
    session: 1,
    topicFilter: "lamp",
    qos: 1,
  } as const;
  session.addSubscription(filter, { qos: 1 });
  take();
  session.deliverRetained(0, {
    filter,
    messages: [lampMessage(0)].values(),
    granted: 1,
  });
  assertEquals(take(), [{ ...told, isPending: true }]);
  session.outbox.open(0);
  session.outbox.handleRegack(0, {
    type: "REGACK",
    topicId: 1,
    msgId: 1,
    returnCode: 0,
  });
  assertEquals(
    take().filter(({ type }) => type === "subscription"),
    [{ ...told, isPending: false }],
  );
  session.deliverRetained(0, { filter, messages: [].values(), granted: 1 });
  assertEquals(take(), [{ ...told, isPending: false }], "there is nothing");
});

Deno.test("Session.restore() makes it what it was, heard of now, whatever the limits", () => {
  const { session, nameBudget } = makeSession();
  const { session: persistence, take } = makePersistence();
  session.restore(5_000, { ...RECORD, leftAt: 7 }, persistence, WILL);
  assertEquals(session.state, "active");
  assertEquals([session.isClean, session.leftAt, session.heardAt], [
    false,
    7,
    5_000,
  ]);
  assertEquals(session.connect?.will, true);
  assertEquals(session.connect?.duration, 60);
  assertEquals(session.will, WILL);
  assertEquals(session.nextTimeout, 95_000);
  assert(session.nameOctets > 0);
  const before = session.nameOctets;
  session.restoreSubscription(parseTopicFilter("a/+")!, { qos: 2 });
  assert(session.nameOctets > before);
  assertEquals(take(), [], "it is kept already");
  session.peer = ANN;
  session.persist();
  assertEquals(take(), [{ ...RECORD, leftAt: 7, will: WILL }]);
  session.clear();
  assertEquals([session.nameOctets, nameBudget.used], [0, 0]);
});

Deno.test("Session.deliver() has it looked at when a message may wait no longer", () => {
  const { session, host } = makeSession({ messageExpiryMs: 1_000 });
  for (const step of WAY.lost) session.apply(step);
  session.deliver(10, lampMessage(1), 1, false);
  assertEquals([host.log, session.nextTimeout], [["schedule"], 1_010]);
  session.dueAt = 1_010;
  session.deliver(20, lampMessage(1), 1, false);
  assertEquals(host.log, ["schedule"], "it will be");
});
