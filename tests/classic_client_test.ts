import {
  assert,
  assertEquals,
  assertFalse,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { Broker } from "../broker.ts";
import { encodeReply } from "../wire/classic.ts";
import {
  ClassicClient,
  type ClassicClientOptions,
  ClassicRefusedError,
} from "../classic_client.ts";
import { LocalProtocolError, NoAnswerError } from "../base/errors.ts";
import { MemoryNetwork } from "../transport/memory.ts";

/** A broker and what its clients need to reach it, all in memory. */
async function setUp() {
  const network = new MemoryNetwork();
  const transport = network.bind({ port: 12_003 });
  const options: ClassicClientOptions = {
    open: () => network.bind(),
    timeoutMs: 50,
  };
  return { network, options, broker: await Broker.listen({ transport }) };
}

/** A network where a broker should be that a test plays itself. */
function playBroker() {
  const network = new MemoryNetwork();
  const broker = network.bind({ port: 12_003 });
  const requests: { from: string; text: string }[] = [];
  const waiting: ((request: { from: string; text: string }) => void)[] = [];
  const peers = new Map<string, Parameters<typeof broker.send>[0]>();
  broker.receive((peer, bytes) => {
    const request = { from: peer.key, text: new TextDecoder().decode(bytes) };
    peers.set(peer.key, peer);
    const next = waiting.shift();
    if (next) next(request);
    else requests.push(request);
  });
  return {
    options: {
      open: () => network.bind(),
      timeoutMs: 20,
    } as ClassicClientOptions,
    next: (): Promise<{ from: string; text: string }> => {
      const request = requests.shift();
      if (request) return Promise.resolve(request);
      return new Promise((resolve) => waiting.push(resolve));
    },
    reply: (to: string, text: string) =>
      broker.send(peers.get(to)!, encodeReply(text)),
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  };
}

const ACCEPTED = "Broker has recieved message";

Deno.test("ClassicClient.publish() and ClassicClient.subscribe() pass data through a broker", async () => {
  const { options, broker } = await setUp();
  await using _ = broker;
  await using publisher = await ClassicClient.connect(options);
  await using subscriber = await ClassicClient.connect(options);
  const first = subscriber.subscribe("weather");
  await publisher.publish("weather", "21.5");
  assertEquals(await first, "21.5");
  await publisher.publish("weather", "22");
  assertEquals(await subscriber.subscribe("weather"), "21.5\n22");
});

Deno.test("ClassicClient.publish() rejects with ClassicRefusedError when the broker refuses", async () => {
  const { options, broker } = await setUp();
  await using _ = broker;
  await using publisher = await ClassicClient.connect(options);
  const error = await assertRejects(
    () => publisher.publish("a", " "),
    ClassicRefusedError,
    "Invalid data provided",
  );
  assertEquals(error.refusal, "invalidData");
  await assertRejects(() => publisher.publish(" ", "x"), ClassicRefusedError);
  await publisher.publish("a", "x");
});

Deno.test("ClassicClient.subscribe() rejects with ClassicRefusedError when the broker refuses", async () => {
  const { options, broker } = await setUp();
  await using _ = broker;
  await using subscriber = await ClassicClient.connect(options);
  await assertRejects(
    () => subscriber.subscribe(""),
    ClassicRefusedError,
    "Invalid topic",
  );
});

Deno.test("ClassicClient.publish() rejects with LocalProtocolError for what fits no datagram, and lives on", async () => {
  const { options, broker } = await setUp();
  await using _ = broker;
  await using publisher = await ClassicClient.connect(options);
  await assertRejects(
    () => publisher.publish("a", "x".repeat(70_000)),
    LocalProtocolError,
  );
  await publisher.publish("a", "x");
});

Deno.test("ClassicClient.publish() waits for its turn while another is outstanding", async () => {
  await using broker = playBroker();
  await using publisher = await ClassicClient.connect(broker.options);
  const publishes = ["1", "2", "3"].map((data) => publisher.publish("a", data));
  for (const data of ["1", "2", "3"]) {
    const { from, text } = await broker.next();
    assertEquals(JSON.parse(text).data, data);
    broker.reply(from, ACCEPTED);
  }
  await Promise.all(publishes);
});

Deno.test("ClassicClient.publish() rejects with NoAnswerError in time, and a late answer is not the next one's", async () => {
  await using broker = playBroker();
  await using publisher = await ClassicClient.connect(broker.options);
  const silent = publisher.publish("a", "1");
  const first = await broker.next();
  const error = await assertRejects(
    () => silent,
    NoAnswerError,
    "No broker answered at 127.0.0.1:12003 within 0.02 s",
  );
  assertEquals(error.broker?.port, 12_003);

  const second = publisher.publish("a", "2");
  const { from } = await broker.next();
  assertNotEquals(from, first.from);
  broker.reply(first.from, ACCEPTED);
  broker.reply(from, "Invalid data provided");
  await assertRejects(() => second, ClassicRefusedError);
});

Deno.test("ClassicClient.subscribe() rejects with the signal's reason, and goes on from a new port", async () => {
  await using broker = playBroker();
  await using subscriber = await ClassicClient.connect(broker.options);
  const controller = new AbortController();
  const { signal } = controller;
  const given = subscriber.subscribe("a", { signal });
  const first = await broker.next();
  controller.abort(new Error("Enough"));
  await assertRejects(() => given, Error, "Enough");
  await assertRejects(
    () => subscriber.subscribe("a", { signal }),
    Error,
    "Enough",
  );

  const second = subscriber.subscribe("b");
  const { from } = await broker.next();
  assertNotEquals(from, first.from);
  broker.reply(from, "x");
  assertEquals(await second, "x");
});

Deno.test("ClassicClient.ping() tells whether a broker is there", async () => {
  const { options, broker } = await setUp();
  await using client = await ClassicClient.connect(options);
  assert(await client.ping());
  await broker.close();
  assertFalse(await client.ping());
});

Deno.test("ClassicClient.close() rejects what waits and what comes later", async () => {
  await using broker = playBroker();
  const subscriber = await ClassicClient.connect(broker.options);
  const waiting = subscriber.subscribe("a");
  const queued = subscriber.subscribe("b");
  await broker.next();
  const outcome = Promise.allSettled([waiting, queued]);
  await subscriber.close();
  for (const { status } of await outcome) assertEquals(status, "rejected");
  await assertRejects(() => subscriber.subscribe("c"), Error, "closed");
});

Deno.test("ClassicClient.connect() throws RangeError for a port or timeout out of range", async () => {
  for (
    const options of [{ port: 0 }, { port: 65_536 }, { port: 1.5 }, {
      timeoutMs: 0,
    }, { timeoutMs: NaN }]
  ) {
    await assertRejects(() => ClassicClient.connect(options), RangeError);
  }
});

Deno.test("ClassicClient.connect() says that it does not know a name", async () => {
  await assertRejects(
    () => ClassicClient.connect({ hostname: "no-such-host.invalid" }),
    Error,
    "no-such-host.invalid",
  );
});

Deno.test("ClassicClient.subscribe() can be aborted while it waits for its turn", async () => {
  await using broker = playBroker();
  await using subscriber = await ClassicClient.connect(broker.options);
  const first = subscriber.subscribe("first");
  const { from } = await broker.next();
  const controller = new AbortController();
  const queued = subscriber.subscribe("queued", { signal: controller.signal });
  const last = subscriber.subscribe("last");
  controller.abort(new Error("Enough"));
  await assertRejects(() => queued, Error, "Enough");

  // Neither the one before nor the one behind is disturbed.
  broker.reply(from, "1");
  assertEquals(await first, "1");
  const next = await broker.next();
  assertEquals(JSON.parse(next.text).topic, "last");
  broker.reply(next.from, "2");
  assertEquals(await last, "2");
});

Deno.test("ClassicClient.publish() can be aborted while a new port is opened", async () => {
  await using broker = playBroker();
  const opened = Promise.withResolvers<void>();
  let ports = 0;
  await using publisher = await ClassicClient.connect({
    ...broker.options,
    open: async (peer) => {
      if (ports++ > 0) await opened.promise;
      return await broker.options.open!(peer);
    },
  });
  await assertRejects(() => publisher.publish("a", "1"), NoAnswerError);
  await broker.next();

  const controller = new AbortController();
  const second = publisher.publish("a", "2", { signal: controller.signal });
  while (ports < 2) await Promise.resolve();
  controller.abort(new Error("Enough"));
  opened.resolve();
  await assertRejects(() => second, Error, "Enough");

  const third = publisher.publish("a", "3");
  const { from, text } = await broker.next();
  assertEquals(JSON.parse(text).data, "3");
  broker.reply(from, ACCEPTED);
  await third;
});

Deno.test("ClassicClient.close() closes a port that is still being opened", async () => {
  await using broker = playBroker();
  const opened = Promise.withResolvers<void>();
  let ports = 0;
  const publisher = await ClassicClient.connect({
    ...broker.options,
    open: async (peer) => {
      if (ports++ > 0) await opened.promise;
      return await broker.options.open!(peer);
    },
  });
  await assertRejects(() => publisher.publish("a", "1"), NoAnswerError);
  const second = publisher.publish("a", "2");
  while (ports < 2) await Promise.resolve();
  await publisher.close();
  opened.resolve();
  await assertRejects(() => second, Error, "closed");
});

Deno.test("ClassicClient.ping() that asked twice leaves no answer for the next request", async () => {
  await using broker = playBroker();
  await using subscriber = await ClassicClient.connect({
    ...broker.options,
    timeoutMs: 60,
  });
  const ping = subscriber.ping();
  const first = await broker.next();
  await broker.next(); // It asks again.
  broker.reply(first.from, "Invalid topic provided");
  assert(await ping);
  const history = subscriber.subscribe("a");
  const { from } = await broker.next();
  assertNotEquals(from, first.from);
  broker.reply(first.from, "Invalid topic provided");
  broker.reply(from, "21.5");
  assertEquals(await history, "21.5");
});

Deno.test("ClassicClient.connect() reaches a broker by each spelling of its address", async () => {
  await using broker = await Broker.listen({ port: 0 });
  for (
    const hostname of ["127.0.0.1", "localhost", "0.0.0.0", "::ffff:7f00:1"]
  ) {
    const { port } = broker;
    await using client = await ClassicClient.connect({ hostname, port });
    assert(await client.ping(), hostname);
  }
});

Deno.test("ClassicClient.close() rejects a request whose new port has just been opened", async () => {
  await using broker = playBroker();
  // Whichever microtask it comes in.
  for (let turns = 0; turns < 12; turns++) {
    let ports = 0;
    const publisher: ClassicClient = await ClassicClient.connect({
      ...broker.options,
      timeoutMs: 1,
      open: (peer) => {
        const close = (turn: number): void => {
          if (turn === 0) publisher.close();
          else queueMicrotask(() => close(turn - 1));
        };
        if (ports++ > 0) queueMicrotask(() => close(turns));
        return broker.options.open!(peer);
      },
    });
    await assertRejects(() => publisher.publish("a", "1"), NoAnswerError);
    await assertRejects(() => publisher.publish("a", "2"), Error);
    await publisher.close();
  }
});
