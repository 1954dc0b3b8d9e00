import { assert, assertEquals, assertThrows } from "@std/assert";
import { seededRandom } from "../../base/clock.ts";
import { DROP_REASONS } from "../../broker/events.ts";
import { MAX_DATAGRAM, peerOf } from "../../base/peer.ts";
import { zeros } from "../../broker/outlet.ts";
import { Router } from "../../broker/router.ts";
import {
  ANN,
  BOB,
  CYD,
  FAR,
  RouterBench,
  type Sent,
} from "../support/router.ts";

const ACCEPTED = "Broker has recieved message";

// The replies

const REPLIES: readonly (readonly [string, string, string | undefined])[] = [
  ["not an object", "5", "Invalid request provided"],
  ["an empty object", "{}", "Invalid request provided"],
  ["type missing", '{"topic":"a"}', "Invalid request provided"],
  ["topic missing", '{"type":"subscribe"}', "Invalid request provided"],
  [
    "topic blank",
    '{"type":"subscribe","topic":" \\n"}',
    "Invalid topic provided",
  ],
  ["data missing", '{"type":"publish","topic":"a"}', "Invalid data provided"],
  [
    "data blank",
    '{"type":"publish","topic":"a","data":" "}',
    "Invalid data provided",
  ],
  ["a publish", '{"type":"publish","topic":"a","data":"x"}', ACCEPTED],
  ["an unknown type", '{"type":"x","topic":"a"}', undefined],
  ["no JSON", "hello", undefined],
  ["no octets", "", undefined],
];

for (const [name, request, reply] of REPLIES) {
  Deno.test(`Router answers ${name} with ${reply ?? "nothing"}`, () => {
    const bench = new RouterBench();
    const expected: Sent[] = reply === undefined ? [] : [[ANN.key, reply]];
    assertEquals(bench.take(ANN, request), expected);
  });
}

Deno.test("Router answers a subscribe with the topic's data", () => {
  const bench = new RouterBench();
  bench.publish(ANN, "weather", "21.5");
  assertEquals(bench.subscribe(BOB, "weather"), [[BOB.key, "21.5"]]);
});

// The rules

Deno.test("Router trims the topic (rule 1)", () => {
  const bench = new RouterBench();
  bench.publish(ANN, "  weather\n", "21.5");
  assertEquals(bench.subscribe(BOB, "\tweather "), [[BOB.key, "21.5"]]);
});

Deno.test("Router does not trim the data (rule 1)", () => {
  const bench = new RouterBench();
  bench.publish(ANN, "weather", "  21.5\n ");
  assertEquals(bench.subscribe(BOB, "weather"), [[BOB.key, "  21.5\n "]]);
});

Deno.test("Router knows no wildcards (rule 1)", () => {
  const bench = new RouterBench();
  bench.publish(ANN, "room/1", "x");
  assertEquals(bench.subscribe(BOB, "room/+"), []);
  assertEquals(bench.subscribe(BOB, "#"), []);
  assertEquals(bench.publish(ANN, "room/+", "y"), [
    [ANN.key, ACCEPTED],
    [BOB.key, "y"],
  ]);
});

Deno.test("Router acknowledges a publish before it serves who waits (rule 2)", () => {
  const bench = new RouterBench();
  bench.subscribe(BOB, "weather");
  bench.subscribe(CYD, "weather");
  assertEquals(bench.publish(ANN, "weather", "21.5"), [
    [ANN.key, ACCEPTED],
    [BOB.key, "21.5"],
    [CYD.key, "21.5"],
  ]);
});

Deno.test("Router acknowledges a publisher that waits for the topic itself (rule 2)", () => {
  const bench = new RouterBench();
  bench.subscribe(ANN, "weather");
  assertEquals(bench.publish(ANN, "weather", "21.5"), [
    [ANN.key, ACCEPTED],
    [ANN.key, "21.5"],
  ]);
});

Deno.test("Router sends the whole history in one datagram (rule 3)", () => {
  const bench = new RouterBench();
  for (const data of ["1", "2", "3\n4"]) bench.publish(ANN, "a", data);
  assertEquals(bench.subscribe(BOB, "a"), [[BOB.key, "1\n2\n3\n4"]]);
});

Deno.test("Router serves a subscription once (rule 3)", () => {
  const bench = new RouterBench();
  bench.subscribe(BOB, "a");
  assertEquals(bench.publish(ANN, "a", "1").length, 2);
  assertEquals(bench.publish(ANN, "a", "2"), [[ANN.key, ACCEPTED]]);
});

Deno.test("Router leaves no subscription when it answers at once (rule 4)", () => {
  const bench = new RouterBench();
  bench.publish(ANN, "a", "1");
  bench.subscribe(BOB, "a");
  assertEquals(bench.stats().waiting, 0);
  assertEquals(bench.publish(ANN, "a", "2"), [[ANN.key, ACCEPTED]]);
});

Deno.test("Router lets a subscription without history wait (rule 4)", () => {
  const bench = new RouterBench();
  assertEquals(bench.subscribe(BOB, "a"), []);
  assertEquals(bench.stats().waiting, 1);
  bench.publish(ANN, "b", "1");
  assertEquals(bench.stats().waiting, 1);
});

Deno.test("Router serves an address that waits twice twice (rule 4)", () => {
  const bench = new RouterBench();
  bench.subscribe(BOB, "a");
  bench.subscribe(BOB, "a");
  assertEquals(bench.publish(ANN, "a", "1"), [
    [ANN.key, ACCEPTED],
    [BOB.key, "1"],
    [BOB.key, "1"],
  ]);
});

// The faults of the first broker

Deno.test("Router lives on after what is no JSON, a number, and a long datagram", () => {
  const bench = new RouterBench();
  bench.take(ANN, "hello");
  bench.take(ANN, "5");
  const long = "x".repeat(60_000);
  assertEquals(bench.publish(ANN, "long", long), [[ANN.key, ACCEPTED]]);
  assertEquals(bench.subscribe(BOB, "long"), [[BOB.key, long]]);
});

Deno.test("Router takes data that is no string without breaking the topic", () => {
  const bench = new RouterBench();
  bench.publish(ANN, "a", "x");
  bench.publish(ANN, "a", 5);
  bench.publish(ANN, "a", { b: [null] });
  assertEquals(bench.subscribe(BOB, "a"), [[BOB.key, 'x\n5\n{"b":[null]}']]);
});

Deno.test("Router bounds a history by count and by datagram, and counts what it forgot", () => {
  const bench = new RouterBench({ history: 3 });
  for (let i = 1; i <= 5; i++) bench.publish(ANN, "a", String(i));
  assertEquals(bench.subscribe(BOB, "a"), [[BOB.key, "3\n4\n5"]]);
  const large = "x".repeat(40_000);
  bench.publish(ANN, "b", large);
  bench.publish(ANN, "b", large + "!");
  assertEquals(bench.subscribe(BOB, "b"), [[BOB.key, large + "!"]]);
  assertEquals(bench.stats().forgotten, {
    count: 2,
    datagram: 1,
    memory: 0,
  });
  assertEquals(
    bench.events.filter(({ type }) => type === "forget").map((event) => ({
      ...event,
    })).at(-1),
    { type: "forget", topicName: "b", reason: "datagram", count: 1 } as never,
  );
});

// Limits

Deno.test("Router lets the longest wait go when too many wait, and counts it", () => {
  const bench = new RouterBench({ maxWaiting: 2 });
  bench.subscribe(ANN, "a");
  bench.subscribe(BOB, "b");
  assertEquals(bench.subscribe(CYD, "a"), []);
  const { waiting, dropped } = bench.stats();
  assertEquals([waiting, dropped.displaced], [2, 1]);
  assertEquals(bench.publish(ANN, "a", "1").slice(1), [[CYD.key, "1"]]);
  assertEquals(bench.publish(ANN, "b", "1").slice(1), [[BOB.key, "1"]]);
});

Deno.test("Router refuses a peer that waits too often, and nobody else", () => {
  const bench = new RouterBench({ maxWaitingPerPeer: 3 });
  for (const name of ["a", "b", "c"]) {
    assertEquals(bench.subscribe(ANN, name), []);
  }
  assertEquals(bench.subscribe(ANN, "d"), [[
    ANN.key,
    "Broker has got an error",
  ]]);
  assertEquals(bench.stats().refused.failed, 1);
  assertEquals(bench.subscribe(BOB, "d"), []);
  bench.publish(CYD, "a", "1");
  assertEquals(bench.subscribe(ANN, "a"), [[ANN.key, "1"]]);
  assertEquals(bench.subscribe(ANN, "d"), []);
});

Deno.test("Router serves a newcomer to a new topic after 10,000 that wait", () => {
  const bench = new RouterBench();
  for (let i = 0; i < 11_000; i++) {
    bench.subscribe(peerOf("127.0.0.1", 2_000 + i), `n${i}`);
  }
  bench.subscribe(BOB, "new");
  assertEquals(bench.publish(ANN, "new", "1").at(-1), [BOB.key, "1"]);
  assertEquals(bench.stats().dropped.displaced, 1_001);
});

Deno.test("Router keeps the memory of names that wait within its limit", () => {
  const bench = new RouterBench({ maxMemory: 100_000 });
  const name = (i: number) => `${i}`.padEnd(30_000, "x");
  for (let i = 0; i < 9; i++) bench.subscribe(ANN, name(i));
  const { memory, waiting, dropped } = bench.stats();
  assert(memory <= 100_000, String(memory));
  assertEquals([waiting, dropped.displaced], [3, 6]);
});

Deno.test("ClassicBroker.stats() shows empty tables when all is served", () => {
  const bench = new RouterBench();
  for (let i = 0; i < 50; i++) bench.subscribe(BOB, `topic/${i % 10}`);
  for (let i = 0; i < 10; i++) bench.publish(ANN, `topic/${i}`, "x");
  const { waiting, delivered, topics } = bench.stats();
  assertEquals({ waiting, delivered, topics }, {
    waiting: 0,
    delivered: 50,
    topics: 10,
  });
});

Deno.test("Router drops a datagram longer than UDP carries", () => {
  const bench = new RouterBench();
  const long = new Uint8Array(MAX_DATAGRAM + 1).fill(0x20);
  long.set(new TextEncoder().encode("{}"));
  assertEquals(bench.take(ANN, long), []);
  assertEquals(bench.stats().dropped.malformed, 1);
});

Deno.test("Router throws RangeError for a limit that makes no sense", () => {
  for (
    const options of [
      { history: -1 },
      { history: 1.5 },
      { maxTopics: NaN },
      { maxWaiting: 0 },
      { maxWaitingPerPeer: -1 },
      { maxHeldPerSource: 0 },
      { maxMemory: 1_000 },
      { allowance: 0 },
      { allowanceRate: 0 },
      { maxSources: Infinity },
    ]
  ) {
    const [name] = Object.keys(options);
    assertThrows(() => new Router(options), RangeError, name);
  }
});

// Without a history

Deno.test("Router without a history answers a subscribe with the next datum, and that alone", () => {
  const bench = new RouterBench({ history: 0 });
  assertEquals(bench.publish(ANN, "weather", "20"), [[ANN.key, ACCEPTED]]);
  assertEquals(bench.subscribe(BOB, "weather"), []);
  assertEquals(bench.subscribe(CYD, "weather"), []);
  assertEquals(bench.subscribe(CYD, "other"), []);
  assertEquals(bench.stats().waiting, 3);
  assertEquals(bench.publish(ANN, "weather", "21"), [
    [ANN.key, ACCEPTED],
    [BOB.key, "21"],
    [CYD.key, "21"],
  ]);
  assertEquals(bench.publish(ANN, "weather", "22"), [[ANN.key, ACCEPTED]]);
  assertEquals(bench.subscribe(BOB, "weather"), []);
  const { published, delivered, topics, forgotten, waiting } = bench.stats();
  assertEquals([published, delivered, topics, waiting], [3, 2, 0, 2]);
  assertEquals(forgotten, { count: 0, datagram: 0, memory: 0 });
});

Deno.test("Router without a history has who may not be sent a datum wait for another", () => {
  const bench = new RouterBench({
    history: 0,
    allowance: 10,
    allowanceRate: 10,
  });
  const serve = (data: string) => {
    assertEquals(bench.subscribe(FAR, "a"), []);
    return bench.publish(ANN, "a", data).slice(1);
  };
  assertEquals(serve("x".repeat(20)), [[FAR.key, "x".repeat(20)]]);
  assertEquals(serve("y"), [], "it is overdrawn");
  assertEquals(bench.stats().held, 1);
  assertEquals(bench.advance(10_000), [], "that datum is gone");
  assertEquals(bench.stats().waiting, 1);
  assertEquals(bench.publish(ANN, "a", "z").slice(1), [[FAR.key, "z"]]);
});

// No reflector

Deno.test("Router sends a source beyond this machine no more than its allowance", () => {
  const bench = new RouterBench({ allowance: 100_000, allowanceRate: 1_000 });
  const data = "x".repeat(60_000);
  bench.publish(ANN, "a", data);
  assertEquals(bench.subscribe(FAR, "a").length, 1);
  assertEquals(bench.subscribe(FAR, "a").length, 1); // overdrawn by 20,000
  for (let i = 0; i < 100; i++) assertEquals(bench.subscribe(FAR, "a"), []);
  const { held, dropped } = bench.stats();
  assertEquals([held, dropped.allowance], [16, 84]);
  assertEquals(bench.subscribe(BOB, "a"), [[BOB.key, data]]);
});

Deno.test("Router minds the limit for a peer when what it held back was forgotten", () => {
  const bench = new RouterBench({
    maxTopics: 1,
    maxWaitingPerPeer: 1,
    allowance: 10,
    allowanceRate: 10,
  });
  bench.publish(ANN, "t", "x".repeat(100));
  for (let i = 0; i < 6; i++) bench.subscribe(FAR, "t");
  bench.publish(ANN, "u", "x"); // "t" is forgotten
  for (let at; (at = bench.router.nextTimeout()) !== undefined;) {
    bench.advance(Math.max(0, at - bench.clock.now()));
  }
  const { waiting, held, refused, dropped } = bench.stats();
  assertEquals([waiting, held], [1, 5]);
  assertEquals(refused.failed + dropped.allowance, 4);
});

Deno.test("Router lets no subscribe overtake one that is held for the same source", () => {
  const bench = new RouterBench({ allowance: 100, allowanceRate: 1_000 });
  bench.publish(ANN, "a", "x".repeat(1_000));
  const first = peerOf(FAR.hostname, 1);
  const other = peerOf(FAR.hostname, 2);
  bench.subscribe(first, "a");
  bench.subscribe(first, "a"); // held
  const served: string[] = [];
  for (let ms = 0; ms < 5_000 && served.length < 2; ms += 10) {
    // Another port of the same address asks all the time.
    const sent = [...bench.subscribe(other, "a"), ...bench.advance(10)];
    served.push(...sent.map(([peer]) => peer));
  }
  assertEquals(served, [first.key, other.key]);
});

Deno.test("Router sends a history that it held back whole when its time has come", () => {
  const bench = new RouterBench({ allowance: 100, allowanceRate: 1_000 });
  bench.publish(ANN, "a", "x".repeat(5_000));
  assertEquals(bench.subscribe(FAR, "a").length, 1);
  assertEquals(bench.subscribe(FAR, "a"), []);
  bench.publish(ANN, "a", "later");

  const at = bench.router.nextTimeout()!;
  assertEquals(bench.advance(at - 1), []);
  const whole = "x".repeat(5_000) + "\nlater";
  assertEquals(bench.advance(1), [[FAR.key, whole]]);
  assertEquals(bench.router.nextTimeout(), undefined);
  assertEquals(bench.stats().waiting, 0);
});

Deno.test("Router sends what it held back in order, one overdraft at a time", () => {
  const bench = new RouterBench({ allowance: 100, allowanceRate: 1_000 });
  bench.publish(ANN, "spend", "x".repeat(1_000));
  for (const name of ["a", "b", "c"]) {
    bench.publish(ANN, name, name.repeat(2_000));
  }
  bench.subscribe(FAR, "spend");
  for (const name of ["a", "b", "c"]) bench.subscribe(FAR, name);
  const order: string[] = [];
  for (let at; (at = bench.router.nextTimeout()) !== undefined;) {
    for (const [peer, text] of bench.advance(at - bench.clock.now())) {
      assertEquals(peer, FAR.key);
      order.push(text[0]!);
    }
  }
  assertEquals(order, ["a", "b", "c"]);
  assert(bench.clock.now() > 4_000);
});

Deno.test("Router holds back what a publish would set off for an address that waits often", () => {
  const bench = new RouterBench({ allowance: 10_000, allowanceRate: 1_000 });
  for (let i = 0; i < 50; i++) bench.subscribe(FAR, "a");
  const sent = bench.publish(ANN, "a", "x".repeat(6_000));
  assertEquals(sent.filter(([peer]) => peer === FAR.key).length, 2);
  const { waiting, dropped } = bench.stats();
  assertEquals([waiting, dropped.allowance], [16, 32]);
});

Deno.test("Router drops refusals beyond an allowance, and counts them", () => {
  const bench = new RouterBench({ allowance: 100, allowanceRate: 1 });
  let sent = 0;
  for (let i = 0; i < 100; i++) sent += bench.take(FAR, "{}").length;
  assertEquals(sent, 5); // 22 octets more than asked, each
  const { dropped, refused } = bench.stats();
  assertEquals([dropped.allowance, refused.invalidRequest], [95, 5]);
});

Deno.test("Router never charges for the acknowledgement of a publish", () => {
  const bench = new RouterBench({ allowance: 1, allowanceRate: 1 });
  for (let i = 0; i < 100; i++) {
    assertEquals(bench.publish(FAR, "a", "x"), [[FAR.key, ACCEPTED]]);
  }
});

Deno.test("Router drops what it cannot hold, and keeps its tables small, under many forged sources", () => {
  const limits = {
    maxSources: 100,
    maxWaiting: 200,
    allowance: 1_000,
    allowanceRate: 1,
  };
  const bench = new RouterBench(limits);
  bench.publish(ANN, "a", "x".repeat(60_000));
  let octets = 0;
  for (let i = 0; i < 10_000; i++) {
    const forged = peerOf(`198.51.${i >> 8}.${i & 255}`, 1);
    for (const [, text] of bench.subscribe(forged, "a")) octets += text.length;
    bench.subscribe(forged, "a");
  }
  assertEquals(octets, 100 * 60_000);
  const { waiting, dropped } = bench.stats();
  assertEquals(waiting, 100);
  assert(dropped.allowance > 19_000, String(dropped.allowance));
});

// Any octets

Deno.test("Router never throws, and its tables stay bounded, whatever it is sent", () => {
  const seed = 7_531;
  const random = seededRandom(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const bench = new RouterBench({
    history: 9,
    maxTopics: 24,
    maxWaiting: 50,
    maxWaitingPerPeer: 2,
    maxMemory: 400_000,
    maxSources: 10,
    allowance: 500,
  });
  const encoder = new TextEncoder();
  for (let round = 0; round < 40_000; round++) {
    const peer = peerOf(
      below(2) ? "127.0.0.1" : `192.0.2.${below(40)}`,
      below(9),
    );
    const request = encoder.encode(JSON.stringify({
      type: ["publish", "subscribe", "x"][below(3)],
      topic: `${below(25)}`.repeat(below(9) ? 1 : below(2) * 9_000),
      data: "é".repeat(below(below(9) ? 99 : 30_000)),
    }));
    if (below(4) === 0) request[below(request.length)] = below(256);
    try {
      const start = below(9) ? 0 : below(request.length + 1);
      bench.take(peer, request.subarray(below(99) ? start : request.length));
      if (below(50) === 0) bench.advance(below(2_000));
    } catch (error) {
      throw new Error(`seed ${seed} round ${round}`, { cause: error });
    }
    bench.events.length = 0;
    const { topics, waiting, memory } = bench.stats();
    assert(
      topics <= 24 && waiting <= 50 + 40 * 16 && memory <= 1_200_000,
      `round ${round}`,
    );
  }
  // It did all that it can do, or the bounds above have shown nothing.
  const { received, held, delivered, dropped, refused, forgotten } = bench
    .stats();
  assertEquals(received, 40_000);
  const { empty, malformed, unknownType, allowance, displaced } = dropped;
  const drops = { empty, malformed, unknownType, allowance, displaced };
  const counts = { held, delivered, ...drops, ...refused, ...forgotten };
  assertEquals(
    Object.values(counts).filter((count) => count < 10),
    [],
    `${JSON.stringify(counts)}`,
  );
});

Deno.test("Router counts what it takes and sends", () => {
  const bench = new RouterBench();
  bench.subscribe(BOB, "a");
  bench.publish(ANN, "a", "1");
  bench.subscribe(BOB, "a");
  bench.take(ANN, "{}");
  bench.take(ANN, '{"type":"x","topic":"a"}');
  bench.take(ANN, "");
  bench.take(ANN, "?");
  const { memory, ...stats } = bench.stats();
  assert(memory > 0);
  assertEquals(stats, {
    received: 7,
    sent: 4,
    published: 1,
    subscribed: 2,
    delivered: 2,
    held: 0,
    refused: { invalidRequest: 1, invalidTopic: 0, invalidData: 0, failed: 0 },
    dropped: {
      ...zeros(DROP_REASONS),
      empty: 1,
      malformed: 1,
      unknownType: 1,
    },
    forgotten: { count: 0, datagram: 0, memory: 0 },
    topics: 1,
    waiting: 0,
  });
});
