/**
 * Tests of `Broker.listen()` with a file, in the test's own process: with the
 * file's work in a Web Worker, and in this thread.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertRejects,
} from "@std/assert";
import { Broker, type BrokerOptions } from "../broker.ts";
import { ClassicClient } from "../classic_client.ts";
import { Client } from "../client.ts";
import { Log } from "../base/log.ts";
import { decodePacket, encodePacket } from "../wire/mqttsn.ts";
import type { MqttSnPacket } from "../wire/packets.ts";
import { Store } from "../store/store.ts";
import { StoreError, type StoreErrorKind } from "../store/error.ts";
import type { Transport } from "../transport/transport.ts";
import { MemoryNetwork } from "../transport/memory.ts";
import { SmallDisk, testOnSmallDisk } from "./support/disk.ts";
import { Probe } from "./support/probe.ts";
import { datum, Directory, RECORDS } from "./support/store.ts";
import { Watch } from "./support/watch.ts";
import "./support/sockets.ts";

// Off unless asked for.
Deno.test.sanitizer({ ops: true, resources: true });

/** What the broker is told in each test, and how that is called. */
const PLACES = [
  ["in a worker", { port: 0, workers: 1 }],
  ["in this thread", { port: 0, workers: 0 }],
] as const;

const CONGESTED = 1;

/** A log, and its lines without their times. */
function logged(): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line.slice(25));
  return { log: new Log({ level: "info", write }), lines };
}

/** Lets the event loop go on until something has come true. */
async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Somebody who is away, so that all for him has to be kept. */
async function awayClient(port: number): Promise<void> {
  await using probe = await Probe.to(port);
  assertEquals(await probe.connect("lamp", { clean: false }), 0);
  assertEquals(await probe.subscribe("ro"), 0);
  await probe.disconnect();
}

/** What is acknowledged before the broker's end. */
async function tell(broker: Broker): Promise<void> {
  const { port } = broker;
  await using lamp = await Client.connect({
    port,
    clientId: "lamp",
    cleanSession: false,
  });
  await lamp.subscribe("room/+", { qos: 2 });
  await lamp.close();
  await using ann = await Client.connect({ port });
  await ann.publish("room/1", "one", { qos: 1 });
  await ann.publish("room/2", "two", { qos: 2, retain: true });
  await using classic = await ClassicClient.connect(broker);
  await classic.publish("log", "21.5");
}

/** A transport that a test can break. */
function breakable(): { transport: Transport; breakIt(): void } {
  const broken = Promise.withResolvers<never>();
  const inner = new MemoryNetwork().bind();
  const transport: Transport = {
    address: inner.address,
    get unsent() {
      return inner.unsent;
    },
    send: (peer, bytes) => inner.send(peer, bytes),
    receive: (handle) => Promise.race([inner.receive(handle), broken.promise]),
    flush: () => inner.flush(),
    stats: () => inner.stats(),
    overflowed: () => inner.overflowed(),
    close: () => inner.close(),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  };
  return {
    transport,
    breakIt: () => broken.reject(new Error("The network is gone")),
  };
}

for (const [place, options] of PLACES) {
  Deno.test(`Broker.listen() finds what the last broker acknowledged, ${place}`, async () => {
    using directory = new Directory();
    const db = directory.file();
    {
      await using broker = await Broker.listen({ ...options, db });
      await tell(broker);
      const { commits } = broker.stats();
      assert(commits!.commits > 0);
      assertEquals([commits!.failedCommits, commits!.takenBack], [0, 0]);
      await broker.close();
      assertEquals(broker.stats().commits!.uncommitted, 0);
    }
    assertEquals(directory.names, ["mqtt.store"]);
    await using broker = await Broker.listen({ ...options, db });
    await using lamp = await Client.connect({
      port: broker.port,
      clientId: "lamp",
      cleanSession: false,
    });
    const messages = await lamp.subscribe("room/+", { qos: 2 });
    const texts = [await messages.take(), await messages.take()]
      .map((message) => message.text());
    assertEquals(texts, ["one", "two"]);
    await using classic = await ClassicClient.connect(broker);
    assertEquals(await classic.subscribe("log"), "21.5");
  });

  Deno.test(`Broker.listen() rejects with the store's error, ${place}`, async () => {
    using directory = new Directory();
    const open = directory.file("open");
    using _held = Store.open(open);
    const foreign = directory.file("foreign");
    Deno.writeTextFileSync(foreign, "Dear diary\n");
    for (
      const [db, kind] of [
        [open, "locked"],
        [foreign, "foreign"],
        [directory.path, "failed"],
        [directory.file("no/such"), "failed"],
      ] as readonly (readonly [string, StoreErrorKind])[]
    ) {
      const error = await assertRejects(
        () => Broker.listen({ ...options, db }),
        StoreError,
      );
      assertEquals(error.kind, kind);
      assertMatch(error.message, /^Cannot open the store "/);
    }
  });

  Deno.test(`Broker.listen() says what it loads, ${place}`, async () => {
    using directory = new Directory();
    const db = directory.file();
    {
      using store = Store.open(db);
      store.commit(Array.from({ length: 2_500 }, (_, i) => datum(i + 1)));
    }
    const told: [number, number][] = [];
    await using broker = await Broker.listen({
      ...options,
      db,
      history: 10_000,
      onProgress: (done, total) => told.push([done, total]),
    });
    assertEquals(told, [[1_000, 2_500], [2_000, 2_500], [2_500, 2_500]]);
    assertEquals(broker.stats().store, "ready");
  });

  Deno.test(`Broker.listen() leaves no file open when its transport breaks, ${place}`, async () => {
    using directory = new Directory();
    const db = directory.file();
    {
      using store = Store.open(db);
      store.commit(RECORDS);
      store.commit(Array.from({ length: 5_000 }, (_, i) => datum(i + 10)));
    }
    const early = breakable();
    const opening = Broker.listen({
      ...options,
      db,
      transport: early.transport,
    });
    early.breakIt();
    await assertRejects(() => opening, Error);

    const late = breakable();
    const listening: BrokerOptions = {
      ...options,
      db,
      transport: late.transport,
      onProgress: () => late.breakIt(),
    };
    await assertRejects(() => Broker.listen(listening), Error);
    using store = Store.open(db, { timeoutMs: 0 });
    assertEquals(store.starts, 4);
  });

  testOnSmallDisk(
    `Broker refuses what it cannot keep, says so once, and goes on, ${place}`,
    async () => {
      using disk = SmallDisk.mount();
      const db = disk.file();
      const { log, lines } = logged();
      await using broker = await Broker.listen({ ...options, db, log });
      await awayClient(broker.port);
      await using ann = await Probe.to(broker.port);
      assertEquals(await ann.connect("ann"), 0);
      disk.fill();
      assertEquals(await ann.publish("ro", "1"), CONGESTED);
      assertEquals(broker.stats().store, "refusing");
      await until(() => broker.stats().commits!.failedCommits >= 2);
      assertEquals(await ann.publish("ro", "2"), CONGESTED);
      assertEquals(broker.stats().commits!.takenBack, 1);
      assertEquals(lines.length, 1, lines.join("\n"));
      disk.empty();
      await until(() => broker.stats().store === "ready");
      assertEquals(await ann.publish("ro", "3"), 0);
      assertEquals(lines.slice(1), ["info  The store can be written again"]);
      await broker.close();
      assertEquals(lines.length, 2);
      assertEquals([...Deno.readDirSync(disk.path)].length, 1);
    },
  );
}

testOnSmallDisk(
  "Broker.close() acknowledges nothing any more when the commit that is under way fails",
  async () => {
    using disk = SmallDisk.mount();
    const db = disk.file();
    const network = new MemoryNetwork();
    await using broker = await Broker.listen({
      db,
      transport: network.bind(),
      workers: 1,
    });
    await using ann = network.bind();
    const codes: number[] = [];
    ann.receive((_peer, bytes) => {
      const packet = decodePacket(bytes);
      if (packet.type === "PUBACK") codes.push(packet.returnCode);
    });
    const send = (packet: MqttSnPacket) =>
      ann.send(broker.address, encodePacket(packet));
    const turn = () => new Promise((go) => setImmediate(go));
    send({
      type: "CONNECT",
      will: false,
      cleanSession: true,
      protocolId: 1,
      duration: 0,
      clientId: "ann",
    });
    await until(() => broker.stats().mqttsn.clients.active === 1);
    let msgId = 0;
    const publish = () =>
      send({
        type: "PUBLISH",
        dup: false,
        qos: 1,
        retain: true,
        topicIdType: "short",
        topicId: 0x726f,
        msgId: ++msgId,
        data: new Uint8Array(1_000),
      });
    disk.fill();
    publish();
    for (let turns = 0; turns < 2; turns++) await turn(); // it is under way
    let isClosed = false;
    const closing = broker.close().then(() => isClosed = true);
    while (!isClosed) {
      // Not before: that nothing is promised must follow from the failure alone.
      if (broker.stats().commits!.failedCommits > 0) publish();
      await turn();
    }
    await closing;
    assert(broker.stats().commits!.failedCommits > 0);
    assertEquals(codes.filter((code) => code === 0), []);
  },
);

Deno.test("Broker refuses, and goes on, when its store's worker has died", async () => {
  using directory = new Directory();
  const db = directory.file();
  const { log, lines } = logged();
  {
    using watch = new Watch();
    await using broker = await Broker.listen({ port: 0, db, log });
    await awayClient(broker.port);
    await using ann = await Probe.to(broker.port);
    assertEquals(await ann.connect("ann"), 0);
    assertEquals(await ann.publish("ro", "1"), 0);
    watch.workers[0]!.postMessage({ call: "nonsense", id: -1 });
    assertEquals(await ann.publish("ro", "2"), CONGESTED);
    assertEquals(await ann.publish("ro", "3"), CONGESTED);
    assertEquals(await ann.connect("eve", { clean: false }), CONGESTED);
    assertEquals(await ann.connect("eve"), 0);
    await broker.close();
    assertEquals(broker.failures, 0);
  }
  assertMatch(lines[0]!, /^error Cannot use the store: its worker has ended: /);
  assertMatch(lines[1]!, /^error Changes that are not kept: \d+; /);
  assertEquals(lines.length, 2);
  // What was acknowledged is there.
  await using broker = await Broker.listen({ port: 0, db });
  await using lamp = await Probe.to(broker.port);
  assertEquals(await lamp.connect("lamp", { clean: false }), 0);
  assertEquals(await lamp.message(), "1");
});

Deno.test("Broker.listen() tells its store what is to survive", async () => {
  using directory = new Directory();
  using watch = new Watch();
  for (const durability of ["full", "normal", "off", undefined] as const) {
    await using _broker = await Broker.listen({
      port: 0,
      db: directory.file(),
      ...durability !== undefined && { durability },
    });
    const { options } = watch.posts.findLast(({ call }) => call === "open")!;
    assertEquals(options?.durability, durability ?? "full");
  }
});

Deno.test("Broker.listen() starts no worker without a file, nor when told not to", async () => {
  using directory = new Directory();
  using watch = new Watch();
  for (const options of [{}, { db: directory.file(), workers: 0 }] as const) {
    await using broker = await Broker.listen({ port: 0, ...options });
    assertEquals(broker.stats().commits === undefined, !("db" in options));
    assertFalse(watch.workers.length > 0);
  }
});
