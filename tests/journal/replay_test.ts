/**
 * A recording played again: at a broker started anew, at one that has chosen other
 * ids, and at one that does something else; in this process, and as a person does it.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { Broker, type BrokerOptions } from "../../broker.ts";
import { ClassicClient } from "../../classic_client.ts";
import { Client } from "../../client.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import type { Connect, MqttSnPacket } from "../../wire/packets.ts";
import { parseRecording, type Recording } from "../../journal/recording.ts";
import { describeReplay, replay } from "../../journal/replay.ts";
import { MemoryNetwork } from "../../transport/memory.ts";
import { UdpTransport } from "../../transport/udp.ts";
import { portOf, ROOT, Running, start } from "../support/programs.ts";
import { Directory } from "../support/store.ts";

// Off unless asked for.
Deno.test.sanitizer({ ops: true, resources: true });

/** Nothing is sent again because a machine is slow. */
const UNHURRIED = { retryMs: 60_000 };

const CONNECT: Connect = {
  ...{ type: "CONNECT", will: false, cleanSession: true, protocolId: 1 },
  ...{ duration: 60, clientId: "bob" },
};

/** Has a broker record what happens. */
async function record(
  converse: (broker: Broker) => Promise<void>,
  options: BrokerOptions = {},
): Promise<Recording> {
  using directory = new Directory();
  const file = directory.file("mqtt.jsonl");
  {
    await using broker = await Broker.listen({
      ...{ port: 0, record: file, workers: 0, ...UNHURRIED, ...options },
    });
    await converse(broker);
  }
  return parseRecording(Deno.readTextFileSync(file));
}

/** A client whose datagrams are written by hand. */
class Raw implements AsyncDisposable {
  readonly #socket: UdpTransport;
  readonly #broker: Broker;
  #heard: (() => void) | undefined;

  private constructor(socket: UdpTransport, broker: Broker) {
    this.#socket = socket;
    this.#broker = broker;
    socket.receive(() => this.#heard?.());
  }

  static async to(broker: Broker): Promise<Raw> {
    return new Raw(await UdpTransport.bind(), broker);
  }

  /** Says something, and waits for the answer. */
  async ask(packet: MqttSnPacket): Promise<void> {
    const heard = new Promise<void>((resolve) => this.#heard = resolve);
    this.#socket.send(this.#broker.address, encodePacket(packet));
    await heard;
  }

  /** Says something that is not answered. */
  async say(packet: MqttSnPacket): Promise<void> {
    const before = this.#broker.stats().received;
    this.#socket.send(this.#broker.address, encodePacket(packet));
    while (this.#broker.stats().received === before) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#socket[Symbol.asyncDispose]();
  }
}

const PREDEFINED = new Map([[7, "seven"]]);

/** All that the protocols have, by several clients. */
async function converse(broker: Broker): Promise<void> {
  const to = { port: broker.port, ...UNHURRIED };
  // A sleeper with a kept session, wildcards, QoS 2.
  await using lamp = await Client.connect({
    ...{ ...to, clientId: "lamp-7", cleanSession: false, keepAlive: 600 },
  });
  const commands = await lamp.subscribe("room/+/light", { qos: 2 });
  await lamp.subscribe("all", { qos: 1 });
  await lamp.sleep(3_600);
  await using ann = await Client.connect({ ...to, clientId: "ann" });
  const seen = await ann.subscribe("#", { qos: 1 });
  for (let i = 0; i < 3; i++) {
    await ann.publish(`room/${i}/light`, "on", { qos: 2 });
    await ann.publish("all", `${i}`, { qos: 1 });
  }
  await ann.publish("room/0/light", "on", { qos: 2 }); // the same once more
  for (let i = 0; i < 7; i++) await seen.take();
  await lamp.wake();
  for (let i = 0; i < 4; i++) await commands.take();
  // Retained messages, for who comes later.
  await ann.publish("state/a", "open", { qos: 1, retain: true });
  await ann.publish({ predefined: 7 }, "by its id", { qos: 1, retain: true });
  await using late = await Client.connect({
    ...{ ...to, clientId: "late", predefined: PREDEFINED },
  });
  const states = await late.subscribe("state/#", { qos: 2 });
  await states.take();
  await (await late.subscribe({ predefined: 7 }, { qos: 1 })).take();
  // A will, of one in whose place another connects.
  await using bob = await Raw.to(broker);
  await bob.ask({ ...CONNECT, will: true });
  const will = { topicName: "state/bob", qos: 1, retain: true } as const;
  await bob.ask({ type: "WILLTOPIC", will });
  await bob.ask({ type: "WILLMSG", data: new TextEncoder().encode("gone") });
  await bob.ask({ ...CONNECT, clientId: "bill" });
  await states.take();
  // Without a connection, behind a forwarder, and in JSON.
  await bob.say({
    ...{ type: "PUBLISH", dup: false, qos: -1, retain: false },
    ...{ topicIdType: "predefined", topicId: 7, msgId: 0 },
    data: new TextEncoder().encode("unasked"),
  });
  const wrap = (packet: MqttSnPacket): MqttSnPacket => ({
    ...{ type: "ENCAPSULATED", radius: 0 },
    wirelessNodeId: Uint8Array.of(1, 2),
    message: encodePacket(packet),
  });
  await bob.ask(wrap({ ...CONNECT, clientId: "node" }));
  const topicName = "node/x";
  await bob.ask(wrap({ type: "REGISTER", topicId: 0, msgId: 5, topicName }));
  await bob.ask(wrap({
    ...{ type: "PUBLISH", dup: false, qos: 1, retain: false },
    ...{ topicIdType: "normal", topicId: 1, msgId: 6 },
    data: Uint8Array.of(0, 255),
  }));
  await using classic = await ClassicClient.connect(broker);
  await classic.publish("log", "21.5");
  await classic.publish("log", "22");
  assertEquals(await classic.subscribe("log"), "21.5\n22");
  await late.close();
  await ann.close();
  await lamp.close();
}

for (const speed of [0, 5]) {
  Deno.test(`replay() finds no difference at a broker started anew, at speed ${speed}`, async () => {
    const predefined = PREDEFINED;
    const recording = await record(converse, { predefined });
    await using broker = await Broker.listen({
      ...{ port: 0, predefined, ...UNHURRIED },
    });
    const report = await replay(recording, { broker: broker.address, speed });
    assert(report.isAlike, describeReplay(report));
    assertEquals([report.timeouts, report.live], [0, report.recorded]);
    assert(report.recorded > 70, `${report.recorded}`);
    assertEquals(
      report.clients.map(({ name }) => name).sort(),
      [
        ...["ann", "bill", `${report.clients.at(-1)!.peer.key}`],
        ...["lamp-7", "late", "node"],
      ].sort(),
    );
  });
}

Deno.test("replay() finds no difference where only what a broker chooses is another", async () => {
  const predefined = PREDEFINED;
  const recording = await record(converse, { predefined });
  await using broker = await Broker.listen({
    ...{ port: 0, predefined, ...UNHURRIED },
  });
  {
    // The lamp has a session here, ids and messages of its own; it lets go of what
    // it had subscribed to.
    await using lamp = await Client.connect({
      ...{ port: broker.port, clientId: "lamp-7", cleanSession: false },
    });
    for (const name of ["x", "y", "z"]) await lamp.register(name);
    const messages = await lamp.subscribe("x", { qos: 2 });
    for (let i = 0; i < 5; i++) await lamp.publish("x", "1", { qos: 1 });
    for (let i = 0; i < 5; i++) await messages.take();
    await lamp.unsubscribe("x");
  }
  const since = broker.journal.mark();
  const report = await replay(recording, { broker: broker.address });
  assert(report.isAlike, describeReplay(report));
  // Else the test would say nothing.
  const ids = (entries: typeof found) =>
    entries.map(({ packet }) => packet?.type === "PUBLISH" && packet.topicId);
  const light = "room/1/light";
  const found = await broker.journal.sent(light, { to: "lamp-7", since });
  assert(!ids(found).includes(1), `${ids(found)}`);
});

Deno.test("replay() shows what another broker answers, by client", async () => {
  const recording = await record(async (broker) => {
    const { port } = broker;
    await using ann = await Client.connect({ port, clientId: "ann" });
    for (const text of ["1", "2", "3"]) {
      await ann.publish("count", text, { qos: 1 });
    }
    await using bob = await Raw.to(broker);
    await bob.ask({ ...CONNECT, duration: 0 });
    await ann.publish("count", "4", { qos: 1 });
    await bob.ask({ ...CONNECT, clientId: "bobby-with-a-long-name-24" });
  });
  await using broker = await Broker.listen({
    ...{ port: 0, requireKeepAlive: true, strict: true },
  });
  const { address } = broker;
  const report = await replay(recording, { broker: address, patienceMs: 100 });
  assertEquals(
    describeReplay(report).replaceAll(/127\.0\.0\.1:\d+/g, "HERE"),
    `\
bobby-with-a-long-name-24 (HERE): 4 lines, - recorded, + now
- line 13     CONNACK returnCode=0
- line 17     CONNACK returnCode=0
+             CONNACK returnCode=3
+             CONNACK returnCode=3

9 datagrams of 2 clients played, 9 answers to 9 recorded: different for 1 client`,
  );
  assertEquals(report.isAlike, false);
});

Deno.test("replay() goes on when nothing is answered, and tells what came unasked", async () => {
  const recording = await record(async (broker) => {
    await using ann = await Client.connect({ port: broker.port });
    await ann.subscribe("a", { qos: 1 });
    await ann.publish("a", "1");
  });
  const network = new MemoryNetwork();
  await using deaf = network.bind();
  const silent = await replay(recording, {
    ...{ broker: deaf.address, bind: () => network.bind() },
    ...{ patienceMs: 5, quietMs: 0 },
  });
  assertEquals([silent.isAlike, silent.live], [false, 0]);
  assert(silent.timeouts > 0);
  // One that answers everything twice.
  await using echo = network.bind();
  await using broker = await Broker.listen({ transport: network.bind() });
  const inner = network.bind();
  let client = deaf.address;
  inner.receive((_, bytes) => {
    for (let i = 0; i < 2; i++) echo.send(client, bytes.slice());
  });
  echo.receive((peer, bytes) => {
    client = peer;
    inner.send(broker.address, bytes.slice());
  });
  const doubled = await replay(recording, {
    ...{ broker: echo.address, bind: () => network.bind(), quietMs: 20 },
  });
  await inner[Symbol.asyncDispose]();
  assertEquals(doubled.live, 2 * doubled.recorded);
  const [report] = doubled.clients;
  assertEquals(report?.differing, doubled.recorded);
  assert(report?.differences.every(({ sign }) => sign !== "-"));
});

Deno.test("replay() refuses times that are none, and ends when it is told to", async () => {
  const recording = await record(async (broker) => {
    await using _ = await Client.connect({ port: broker.port });
  });
  const network = new MemoryNetwork();
  await using deaf = network.bind();
  const options = { broker: deaf.address, bind: () => network.bind() };
  for (const wrong of [{ speed: -1 }, { patienceMs: NaN }]) {
    await assertRejects(
      () => replay(recording, { ...options, ...wrong }),
      RangeError,
    );
  }
  const controller = new AbortController();
  const played = replay(recording, {
    ...{ ...options, patienceMs: 60_000, signal: controller.signal },
  });
  setTimeout(() => controller.abort(new Error("Enough")), 10);
  await assertRejects(() => played, Error, "Enough");
});

// The task

function startReplay(...args: readonly string[]): Running {
  return new Running(Deno.execPath(), [
    "run",
    "-A",
    "cli/replay.ts",
    ...args,
  ]);
}

async function played(...args: readonly string[]) {
  await using replay = startReplay(...args);
  await replay.endInput();
  return await replay.outcome();
}

Deno.test("deno task replay plays what --record has written, and its exit code says whether it is alike", async () => {
  assertStringIncludes(
    await Deno.readTextFile(`${ROOT}/deno.json`),
    '"command": "deno run -A cli/replay.ts"',
  );
  using directory = new Directory();
  const file = directory.file("mqtt.jsonl");
  {
    await using broker = start("broker", ["-p", "0", "--record", file]);
    const port = await portOf(broker);
    await using ann = await Client.connect({ port });
    await ann.publish("a", "1", { qos: 2 });
    await ann.close();
    broker.kill("SIGTERM");
    await broker.outcome();
  }
  await using same = start("broker", ["-p", "0"]);
  await using other = start("broker", ["-p", "0", "--max-clients", "1"]);
  const ports = [await portOf(same), await portOf(other)];
  // The only place is taken.
  await using _ = await Client.connect({ port: ports[1]! });
  const patience = ["--patience", "50"];
  const [alike, different] = await Promise.all([
    played(file, "-p", `${ports[0]}`),
    played("--file", file, "-p", `${ports[1]}`, ...patience),
  ]);
  const speedy = await played(file, "--port", `${ports[0]}`, "--speed", "10");
  const summary =
    "5 datagrams of 1 client played, 5 answers to 5 recorded: alike\n";
  assertEquals(alike, { code: 0, stdout: summary, stderr: "" });
  assertEquals(speedy, { code: 0, stdout: summary, stderr: "" });
  assertEquals([different.code, different.stderr], [1, ""]);
  assertStringIncludes(different.stdout, "- line 3");
  assertStringIncludes(different.stdout, "CONNACK returnCode=1");
});

Deno.test("deno task replay says in one line what is wrong", async () => {
  using directory = new Directory();
  const file = directory.file("mqtt.jsonl");
  const header =
    '{"mockMqttRecording":1,"broker":"127.0.0.1:1","startedAt":"2026-05-04T06:55:15Z","predefined":{}}\n';
  Deno.writeTextFileSync(file, `${header}{"ms":0,"way":"up"}\n`);
  const silent = directory.file("silent.jsonl");
  Deno.writeTextFileSync(
    silent,
    `${header}{"ms":0,"way":"received","peer":"10.0.0.1:1","octets":"0216"}\n` +
      '{"lost":2}\n{"ms":0,"way":"sent","peer":"10.0.0.1:1","octets":"0217"}\n',
  );
  await using socket = await UdpTransport.bind();
  const cases: readonly (readonly [readonly string[], string])[] = [
    [[], "Give the recording to play: replay FILE; see replay --help"],
    [
      [file],
      `Cannot read line 2 of "${file}": "way" is "up", not received, sent or note`,
    ],
    [["no such file"], 'Cannot read "no such file": there is no such file'],
    [
      [silent, "--speed", "x"],
      'Flag "--speed" takes a number from 0 to 1000000, not "x"; see replay --help',
    ],
    [
      [silent, "-p", `${socket.address.port}`, "--patience", "20"],
      `The recording lacks 2 datagrams, so that answers may differ\nreplay: No broker answered at ${socket.address.key}`,
    ],
  ];
  await Promise.all(cases.map(async ([args, message]) => {
    assertEquals(await played(...args), {
      ...{ code: 1, stdout: "", stderr: `replay: ${message}\n` },
    });
  }));
});
