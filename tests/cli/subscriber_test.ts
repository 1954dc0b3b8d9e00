/**
 * Tests of the subscriber: its class, and the program as a process at a broker of
 * MQTT-SN, with flags, pipes and signals, judged by what it prints, what the
 * broker hears, and how the program ends.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { Broker } from "../../broker.ts";
import { Client, type PublishOptions } from "../../client.ts";
import { RefusedError } from "../../client/errors.ts";
import { LocalProtocolError, NoAnswerError } from "../../base/errors.ts";
import { Subscriber } from "../../subscriber.ts";
import { LoggedBroker } from "../support/broker.ts";
import { GROUP, HAS_MULTICAST } from "../support/multicast.ts";
import {
  assertFailed,
  assertUsageErrors,
  DONE,
  flagsListed,
  noBroker,
  portRange,
  type ProgramName,
  run,
  runEach,
  Running,
  SilentPort,
  start,
  TempFile,
  testSignals,
  UNKNOWN_HOSTS,
} from "../support/programs.ts";

const PREDEFINED_FILE = "tests/support/predefined.json";
const PREDEFINED = new Map([[5, "a/b"], [7, "p/one"]]);

/** For what is not there on Windows. */
const ignore = Deno.build.os === "windows";

// The class

Deno.test("Subscriber.connect() subscribes to all of its topics, and gives what comes", async () => {
  await using broker = await LoggedBroker.listen({ predefined: PREDEFINED });
  const { port } = broker;
  await publish(broker, [["a/b", "1"], ["c", "2"]], { retain: true });
  await using subscriber = await Subscriber.connect({
    port,
    topics: [{ predefined: 5 }, "c"],
    qos: 1,
    predefined: PREDEFINED,
  });
  assertEquals(subscriber.messages.qos, 1);
  const got: string[] = [];
  for await (const message of subscriber) {
    got.push(`${message.topicName} ${message.text()}`);
    if (got.length === 2) break;
  }
  assertEquals(got.sort(), ["a/b 1", "c 2"]);
});

Deno.test("Subscriber.connect() leaves nothing connected when a topic is refused", async () => {
  await using broker = await LoggedBroker.listen();
  const { port } = broker;
  for (
    const [topic, refusal] of [
      [{ predefined: 9 }, RefusedError],
      ["a#", LocalProtocolError],
    ] as const
  ) {
    await assertRejects(
      () => Subscriber.connect({ port, topics: ["a", topic] }),
      refusal,
    );
  }
  assertEquals(broker.broker.stats().mqttsn.clients.active, 0);
});

Deno.test("Subscriber.open() subscribes to nothing", async () => {
  await using broker = await LoggedBroker.listen();
  await using subscriber = await Subscriber.open({ port: broker.port });
  assertEquals(subscriber.state, "disconnected");
  assertThrows(() => subscriber.messages, Error, "no topics were given");
});

Deno.test("Subscriber.connect() rejects when nobody answers", async () => {
  using nobody = new SilentPort();
  const options = { port: nobody.port, timeoutMs: 50, retryMs: 20 };
  await assertRejects(() => Subscriber.connect(options), NoAnswerError);
});

Deno.test("Client.close() leaves to the next connection of a session what comes too late", async () => {
  await using broker = await LoggedBroker.listen();
  const { port } = broker;
  const options = { port, clientId: "box", cleanSession: false } as const;
  const topics = { topics: ["a"], qos: 1 } as const;
  await (await Subscriber.connect({ ...options, ...topics })).close();
  const sent = Array.from({ length: 20 }, (_, i) => String(i));
  await publish(broker, sent.map((text) => ["a", text]), { qos: 1 });
  const got: string[] = [];
  while (got.length < sent.length) {
    await using subscriber = await Subscriber.connect({
      ...options,
      ...topics,
    });
    got.push((await subscriber.messages.take()).text());
  }
  assertEquals(got, sent);
});

Deno.test("Subscription.admit() leaves to the broker what nobody takes", async () => {
  await using broker = await LoggedBroker.listen({ retryMs: 50 });
  await using client = await Client.connect({ port: broker.port });
  const messages = await client.subscribe("a", { qos: 1, admit: 1 });
  await publish(broker, [["a", "1"], ["a", "2"]], { qos: 1 });
  assertEquals((await messages.take()).text(), "1");
  // Sent again, and not taken again.
  await broker.log.until("PUBLISH dup");
  assertEquals(messages.length, 0);
  messages.admit(1);
  assertEquals((await messages.take()).text(), "2");
  messages.admit(0);
  await publish(broker, [["a", "3"]], { qos: 0 });
  // Which is not acknowledged, so there is nothing to leave.
  assertEquals((await messages.take()).text(), "3");
});

// The flags

const FLAGS = [
  "-h, --host ADDRESS",
  "-p, --port N",
  "--protocol NAME",
  "--timeout S",
  "--net SPEC",
  "--seed N",
  "-d, --debug",
  "-t, --topic FILTER",
  "-T, --topic-id ID",
  "-q, --qos N",
  "-C, --count N",
  "-W, --wait S",
  "-E, --exit-subscribed",
  "-R, --no-retained",
  "-v, --verbose",
  "-N, --no-newline",
  "-F, --format FORMAT",
  "--sleep S",
  "--multicast ADDRESS[:PORT]",
  "-i, --id ID",
  "-k, --keepalive S",
  "-c, --disable-clean-session",
  "--will-topic TOPIC",
  "--will-payload TEXT",
  "--will-qos N",
  "--will-retain",
  "--predefined FILE",
  "--short-topic",
  "--faults FILE",
  "--version",
  "--help",
];

Deno.test("the subscriber lists its flags when --help is given", async () => {
  const { stdout } = await run("subscriber", ["--help"]);
  assertEquals(flagsListed(stdout), FLAGS);
});

const CONNECT = 'CONNECT cleanSession protocolId=1 duration=60 clientId="ID"';
const SUBSCRIBE = 'SUBSCRIBE qos=0 topicName="a"';
const USUAL = [CONNECT, SUBSCRIBE, "DISCONNECT"];

const as = (connect: string) => [connect, SUBSCRIBE, "DISCONNECT"];
const to = (...subscribes: string[]) => [
  CONNECT,
  ...subscribes,
  "DISCONNECT",
];
const withWill = (...will: string[]) => [
  'CONNECT will cleanSession protocolId=1 duration=60 clientId="ID"',
  ...will,
  SUBSCRIBE,
  "DISCONNECT",
];

/**
 * What a flag changes: ways to give it, and all that the subscriber sends. It
 * subscribes to "a" as "ID" and ends, unless they say otherwise.
 */
const CONVERSATIONS: readonly (readonly [string[][], string[]])[] = [
  [[["-h", "127.0.0.1"], ["--host", "localhost"], ["--host=127.1"]], USUAL],
  [[["-p", "PORT"], ["--port", "PORT"], ["--port=PORT"]], USUAL],
  [[["--protocol", "mqtt-sn"], ["--timeout", "50"]], USUAL],
  [[["-E"], ["--exit-subscribed"]], USUAL],
  [[["-t", "a"], ["--topic", "a"], ["--topic=a"]], USUAL],
  [
    [["-t", "a", "--topic", "b/+", "-t", "#"]],
    to(
      SUBSCRIBE,
      'SUBSCRIBE qos=0 topicName="b/+"',
      'SUBSCRIBE qos=0 topicName="#"',
    ),
  ],
  [
    [["-T", "5", "-T", "7"], ["--topic-id=5", "--topic-id", "7"]],
    to(
      "SUBSCRIBE qos=0 topicIdType=predefined topicId=5",
      "SUBSCRIBE qos=0 topicIdType=predefined topicId=7",
    ),
  ],
  [
    [["-T", "7", "-t", "a"]],
    to(SUBSCRIBE, "SUBSCRIBE qos=0 topicIdType=predefined topicId=7"),
  ],
  [[["-q", "0"], ["--qos", "0"]], USUAL],
  [[["-q", "1"], ["--qos=1"]], to('SUBSCRIBE qos=1 topicName="a"')],
  [[["-q", "2"], ["--qos", "2"]], to('SUBSCRIBE qos=2 topicName="a"')],
  [
    [["-k", "5"], ["--keepalive", "5"]],
    as('CONNECT cleanSession protocolId=1 duration=5 clientId="ID"'),
  ],
  [
    [["-k", "0"], ["--keepalive=0"]],
    as('CONNECT cleanSession protocolId=1 duration=0 clientId="ID"'),
  ],
  [
    [["-c"], ["--disable-clean-session"]],
    as('CONNECT protocolId=1 duration=60 clientId="ID"'),
  ],
  [
    [["--will-topic", "gone"]],
    withWill('WILLTOPIC qos=0 topicName="gone"', 'WILLMSG data=""'),
  ],
  [
    [[
      "--will-topic=gone",
      "--will-payload",
      "°",
      "--will-qos",
      "2",
      "--will-retain",
    ]],
    withWill('WILLTOPIC qos=2 retain topicName="gone"', 'WILLMSG data="°"'),
  ],
  [
    [["-t", "ab", "--short-topic"]],
    to('SUBSCRIBE qos=0 topicIdType=short topicName="ab"'),
  ],
];

for (const [ways, expected] of CONVERSATIONS) {
  const names = ways.map((flags) => flags.join(" ")).join(", or ");
  Deno.test(`the subscriber sends what it should with ${names}`, async () => {
    await using broker = await LoggedBroker.listen({ predefined: PREDEFINED });
    const port = String(broker.port);
    const calls = ways.map((flags, i): [ProgramName, string[]] => {
      const args = [...flags, "-i", `dev${i}`];
      const lacks = (pattern: RegExp) => !flags.some((it) => pattern.test(it));
      if (lacks(/^(-E|--exit-subscribed)$/)) args.push("-E");
      if (lacks(/^(-p|--port.*)$/)) args.push("-p", port);
      if (lacks(/^(-t|-T|--topic.*)$/)) args.push("-t", "a");
      return ["subscriber", args.map((it) => it.replace("PORT", port))];
    });
    assertEquals(await runEach(calls), calls.map(() => DONE));
    for (const [i, flags] of ways.entries()) {
      const sent = broker.sentBy(`dev${i}`)
        .map((line) => line.replace(`"dev${i}"`, '"ID"'));
      assertEquals(sent, expected, flags.join(" "));
    }
  });
}

/** What is retained where the formats below are tried. */
const MESSAGE = '{"on": "°"}';

/** What a flag changes: ways to give it, and what is printed of a message. */
const PRINTS: readonly (readonly [string[][], string | RegExp])[] = [
  [[[]], `${MESSAGE}\n`],
  [[["-v"], ["--verbose"]], `room/1 ${MESSAGE}\n`],
  [[["-N"], ["--no-newline"]], MESSAGE],
  [[["-v", "-N"]], `room/1 ${MESSAGE}`],
  [[["-F", "%t|%p|%q|%r|%l"]], `room/1|${MESSAGE}|1|1|12\n`],
  [[["--format", "%x"], ["--format=%x"]], "7b226f6e223a2022c2b0227d\n"],
  [[["-F", "%X", "-N"]], "7B226F6E223A2022C2B0227D"],
  [[["-F", "%I"]], /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}\n$/],
  [[["-F", "%U"]], /^\d+\.\d{9}\n$/],
  [[["-F", "%m"]], /^[1-9]\d{0,4}\n$/],
  [[["-F", "@Y-@m-@d @H:@M"]], /^\d{4}-\d\d-\d\d \d\d:\d\d\n$/],
  [[["-F", "%%@@\\\\\\t%8.4t|%-8t|%04l"]], "%@\\\t    room|room/1  |0012\n"],
  [[["-F", ""]], "\n"],
  [[["-R", "-W", "0.2"], ["--no-retained", "--wait=.2"]], ""],
];

for (const [ways, expected] of PRINTS) {
  const names = ways.map((flags) => flags.join(" ") || "no flag").join(", or ");
  Deno.test(`the subscriber prints what it should with ${names}`, async () => {
    await using broker = await LoggedBroker.listen();
    const options = { qos: 1, retain: true } as const;
    await publish(broker, [["room/1", MESSAGE]], options);
    const args = [...broker.flags, "-q", "1", "-C", "1", "-t", "room/+"];
    const calls = ways.map((flags): [ProgramName, string[]] => [
      "subscriber",
      [...args, ...flags],
    ]);
    for (const { code, stdout, stderr } of await runEach(calls)) {
      assertEquals([code, stderr], [expected === "" ? 27 : 0, ""]);
      if (typeof expected === "string") assertEquals(stdout, expected);
      else assertMatch(stdout, expected);
    }
  });
}

Deno.test("the subscriber prints JSON, an object a line, when the format is %j or %J", async () => {
  await using broker = await LoggedBroker.listen();
  const options = { qos: 1, retain: true } as const;
  const payloads = [
    "x",
    'a\n"b"\\',
    '{"on": 1,\n"x": []}',
    Uint8Array.of(255, 0),
  ];
  await publish(
    broker,
    payloads.map((payload, i) => [`t/${i}`, payload]),
    options,
  );
  const args = [...broker.flags, "-q", "1", "-C", "4", "-t", "t/#", "-F"];
  for (const format of ["%j", "%J"]) {
    const { code, stdout, stderr } = await run("subscriber", [...args, format]);
    assertEquals([code, stderr], [0, ""]);
    const lines = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
    lines.sort((one, other) => one.topic < other.topic ? -1 : 1);
    for (const [i, { tst, mid, ...rest }] of lines.entries()) {
      assertMatch(tst, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d{4}$/);
      assert(mid > 0);
      const head = { topic: `t/${i}`, qos: 1, retain: 1 };
      assertEquals(
        rest,
        [
          { ...head, payloadlen: 1, payload: "x" },
          { ...head, payloadlen: 6, payload: payloads[1] },
          {
            ...head,
            payloadlen: 18,
            payload: format === "%j" ? payloads[2] : { on: 1, x: [] },
          },
          {
            ...head,
            payloadlen: 2,
            payload: "\ufffd\0",
            payloadHex: "ff00",
          },
        ][i],
      );
    }
  }
});

Deno.test("the subscriber prints octets as they are when they are no text", async () => {
  await using broker = await LoggedBroker.listen();
  const payload = Uint8Array.from({ length: 256 }, (_, octet) => octet);
  await publish(broker, [["a", payload]], { qos: 1, retain: true });
  const child = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "subscriber.ts", ...broker.flags],
      ...["-t", "a", "-C", "1", "-N", "-W", "20"],
    ],
    cwd: new URL("../..", import.meta.url),
    stdin: "null",
  }).output();
  assertEquals([child.code, child.stderr.length], [0, 0]);
  assertEquals(child.stdout, payload);
});

Deno.test("the subscriber prints each message once when several topics match it", async () => {
  await using broker = await LoggedBroker.listen();
  await using subscriber = start("subscriber", [
    ...broker.flags,
    ...["-v", "-q", "1", "-C", "3", "-t", "a/#", "-t", "a/+", "-t", "a/b"],
    ...["-t", "c"],
  ]);
  await broker.subscribed("c");
  const messages = [["a/b", "1"], ["c", "2"], ["d", "3"], ["a/c/d", "4"]];
  await publish(broker, messages as [string, string][], { qos: 1 });
  const stdout = "a/b 1\nc 2\na/c/d 4\n";
  assertEquals(await subscriber.outcome(), { ...DONE, stdout });
});

Deno.test("the subscriber tells pre-defined topics by their names when --predefined has them", async () => {
  await using broker = await LoggedBroker.listen({ predefined: PREDEFINED });
  await publish(broker, [["a/b", "1"]], { retain: true });
  const args = [...broker.flags, "-v", "-T", "5", "-C", "1"];
  const named = [...args, "--predefined", PREDEFINED_FILE];
  assertEquals(await run("subscriber", named), { ...DONE, stdout: "a/b 1\n" });
  assertEquals(await run("subscriber", args), { ...DONE, stdout: "5 1\n" });
});

Deno.test("the subscriber gets no more than it asks for when --qos says how sure", async () => {
  await using broker = await LoggedBroker.listen();
  await publish(broker, [["a", "1"]], { qos: 2, retain: true });
  for (const qos of ["0", "1", "2"]) {
    const args = [...broker.flags, "-t", "a", "-C", "1", "-F", "%q", "-q", qos];
    const stdout = `${qos}\n`;
    assertEquals(await run("subscriber", args), { ...DONE, stdout });
  }
});

Deno.test("the subscriber ends after as many messages as --count says", async () => {
  await using broker = await LoggedBroker.listen();
  for (const flag of ["-C", "--count"]) {
    const args = [...broker.flags, "-t", "a", "-i", "dev", flag, "2"];
    await using subscriber = start("subscriber", args);
    await broker.subscribed("a");
    await publish(broker, [["a", "1"], ["a", "2"], ["a", "3"]], { qos: 1 });
    const outcome = await subscriber.outcome();
    assertEquals(outcome, { ...DONE, stdout: "1\n2\n" });
    assertEquals(broker.sentBy("dev").at(-1), "DISCONNECT");
  }
});

Deno.test("the subscriber counts what it prints only when --no-retained is given", async () => {
  await using broker = await LoggedBroker.listen();
  await publish(broker, [["a", "old"]], { retain: true });
  const args = [...broker.flags, "-t", "a", "-R", "-C", "1"];
  await using subscriber = start("subscriber", args);
  await broker.subscribed("a");
  await publish(broker, [["a", "new"]], { qos: 1 });
  assertEquals(await subscriber.outcome(), { ...DONE, stdout: "new\n" });
});

Deno.test("the subscriber leaves what it does not print to the next run when --no-retained and --count are given", async () => {
  await using broker = await LoggedBroker.listen({ retryMs: 50 });
  await publish(broker, [["a", "old"]], { retain: true });
  const kept = [...broker.flags, "-i", "box", "-c", "-q", "1", "-t", "a"];
  await run("subscriber", [...kept, "-E"]);
  const texts = ["1", "2", "3", "4", "5", "6"];
  await publish(broker, texts.map((text) => ["a", text]), { qos: 1 });
  const lines: string[] = [];
  for (const _ of texts) {
    const { stdout } = await run("subscriber", [
      ...kept,
      "-R",
      "-C",
      "1",
      "-W",
      "20",
    ]);
    lines.push(stdout.trim());
  }
  assertEquals(lines, texts);
});

Deno.test("the publisher leaves what a kept session brings to its subscriber", async () => {
  await using broker = await LoggedBroker.listen({ retryMs: 50 });
  const kept = [...broker.flags, "-i", "box", "-c", "-q", "1"];
  await run("subscriber", [...kept, "-t", "a", "-E"]);
  await publish(broker, [["a", "1"]], { qos: 1 });
  const { code } = await run("publisher", [...kept, "-t", "b", "-m", "x"]);
  assertEquals(code, 0);
  const args = [...kept, "-t", "a", "-C", "1", "-W", "20"];
  assertEquals(await run("subscriber", args), { ...DONE, stdout: "1\n" });
});

Deno.test("the subscriber gives up with 27 when --wait is over", async () => {
  await using broker = await LoggedBroker.listen();
  await publish(broker, [["a", "1"]], { retain: true });
  const args = [...broker.flags, "-i", "dev", "-t", "a", "-C", "2"];
  for (const flags of [["-W", "0.2"], ["--wait", ".2"]]) {
    const outcome = await run("subscriber", [...args, ...flags]);
    assertEquals(outcome, { ...DONE, code: 27, stdout: "1\n" });
    assertEquals(broker.sentBy("dev").at(-1), "DISCONNECT");
  }
  using nobody = new SilentPort();
  const elsewhere = ["-p", String(nobody.port), "-t", "a", "-W", "0.2"];
  const outcome = await run("subscriber", elsewhere);
  assertEquals(outcome, { ...DONE, code: 27 });
  // It waits for input as well.
  await using piped = start("subscriber", [...broker.flags, "-W", "0.2"]);
  assertEquals(await piped.outcome(), { ...DONE, code: 27 });
});

Deno.test("the subscriber says in a line that no broker answered when --timeout is over before --wait", async () => {
  using nobody = new SilentPort();
  const flags = ["-p", String(nobody.port), "-t", "a", "--timeout", "0.3"];
  const calls: [ProgramName, string[]][] = [
    ["subscriber", flags],
    ["subscriber", [...flags, "-W", "50"]],
    ["subscriber", [...flags, "-t", "b", "-v", "--sleep", "60"]],
  ];
  for (const outcome of await runEach(calls)) {
    assertFailed(outcome, "subscriber", noBroker(nobody));
  }
});

// Sessions, sleep

Deno.test("the subscriber gets what came while it was away when its session is kept", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.flags, "-i", "box", "-c", "-q", "1", "-t", "a"];
  assertEquals(await run("subscriber", [...args, "-E"]), DONE);
  const { clients } = broker.broker.stats().mqttsn;
  assertEquals([clients.active, clients.total], [0, 1]);
  const messages = ["1", "2", "3"].map((it): [string, string] => ["a", it]);
  await publish(broker, messages, { qos: 1 });
  // One at a time, and none is lost in between.
  assertEquals(await run("subscriber", [...args, "-E"]), DONE);
  for (const text of ["1", "2", "3"]) {
    const outcome = await run("subscriber", [...args, "-C", "1", "-W", "20"]);
    assertEquals(outcome, { ...DONE, stdout: `${text}\n` });
  }
  assertEquals(broker.broker.stats().mqttsn.queued, 0);
});

Deno.test("the subscriber sleeps, and wakes for what has come, when --sleep is given", async () => {
  await using broker = await LoggedBroker.listen();
  const sleeping = ["-i", "box", "--sleep", "1"];
  const args = [...broker.flags, ...sleeping, "-q", "1", "-t", "a", "-C", "2"];
  await using subscriber = start("subscriber", args);
  await broker.log.until('"box" is asleep');
  assertEquals(broker.broker.stats().mqttsn.clients.asleep, 1);
  await publish(broker, [["a", "1"], ["a", "2"]], { qos: 1 });
  assertEquals(broker.broker.stats().mqttsn.queued, 2);
  assertEquals(await subscriber.outcome(), { ...DONE, stdout: "1\n2\n" });
  const sent = broker.sentBy("box");
  assertEquals(sent.slice(2, 4), [
    "DISCONNECT duration=1",
    'PINGREQ clientId="box"',
  ]);
  assertEquals(sent.at(-1), "DISCONNECT");
});

Deno.test("the subscriber has its will published when it is lost", async () => {
  await using broker = await LoggedBroker.listen();
  await using client = await Client.connect({ port: broker.port });
  await using messages = await client.subscribe("gone", { qos: 1 });
  await using subscriber = start("subscriber", [
    ...broker.flags,
    ...["-t", "a", "-k", "1", "--will-topic", "gone"],
    ...["--will-payload", "bye", "--will-qos", "1"],
  ]);
  await broker.subscribed("a");
  subscriber.kill("SIGKILL");
  assertEquals((await messages.take()).text(), "bye");
});

Deno.test("the subscriber takes a client id by chance when it is not told one", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.flags, "-t", "a", "-E"];
  const seeds = [[], [], ["--seed", "7"], ["--seed=7"]];
  // One after the other: two by one id would be taken for one that moves.
  for (const seed of seeds) await run("subscriber", [...args, ...seed]);
  const ids = [...broker.log.text.matchAll(/clientId="(sub-[0-9a-z]{8})"/g)]
    .map(([, id]) => id!);
  assertEquals(ids.length, 4);
  assertEquals(ids.filter((id) => id === "sub-00000007").length, 2);
  assertEquals(new Set(ids).size, 3);
});

Deno.test("the subscriber logs each datagram when --debug is given", async () => {
  await using broker = await LoggedBroker.listen();
  await publish(broker, [["a", "1"]], { retain: true });
  for (const flag of ["-d", "--debug"]) {
    const args = [...broker.flags, "-i", "dev", "-t", "a", "-C", "1", flag];
    const { code, stdout, stderr } = await run("subscriber", args);
    assertEquals([code, stdout], [0, "1\n"]);
    const there = `127.0.0.1:${broker.port}`;
    const lines = stderr.trimEnd().split("\n").map((line) =>
      line.replace(/^\S+ debug /, "").replace(/ msgId=\d+/, "")
    );
    assertEquals(lines, [
      "Now connecting",
      `> ${there} CONNECT cleanSession protocolId=1 duration=60 clientId="dev"`,
      `< ${there} CONNACK returnCode=0`,
      "Now active",
      `> ${there} SUBSCRIBE qos=0 topicName="a"`,
      `< ${there} SUBACK qos=0 topicId=1 returnCode=0`,
      `< ${there} PUBLISH qos=0 retain topicId=1 data="1"`,
      `> ${there} DISCONNECT`,
      `< ${there} DISCONNECT`,
      "Now disconnected",
    ]);
  }
});

Deno.test("the subscriber takes its port from PORT when no flag says which", async () => {
  await using broker = await LoggedBroker.listen();
  const env = { PORT: String(broker.port) };
  assertEquals(await run("subscriber", ["-t", "a", "-E"], { env }), DONE);
  // A flag has the last word.
  const wrong = { PORT: "x" };
  const flags = [...broker.flags, "-t", "b", "-E"];
  assertEquals(await run("subscriber", flags, { env: wrong }), DONE);
  assertEquals(broker.broker.stats().mqttsn.connected, 2);
});

Deno.test({
  name: "the subscriber searches for a gateway when --multicast is given",
  ignore: !HAS_MULTICAST,
  async fn() {
    await using broker = await LoggedBroker.listen({
      hostname: "0.0.0.0",
      multicast: GROUP, // at the broker's own port
    });
    await publish(broker, [["a", "1"]], { retain: true });
    const args = ["-t", "a", "-C", "1", `--multicast=${GROUP}:${broker.port}`];
    assertEquals(await run("subscriber", args), { ...DONE, stdout: "1\n" });
    using nobody = new SilentPort();
    const search = [`--multicast=${GROUP}:${nobody.port}`, "--timeout=0.3"];
    assertFailed(
      await run("subscriber", [...search, "-t", "a"]),
      "subscriber",
      "No broker answered to the search within 0.3 s",
    );
  },
});

// What is wrong

Deno.test("the subscriber says what is wrong in a line when its flags are", async () => {
  const to = ["-t", "a"];
  const formats: [string, string][] = [
    [
      "%k",
      'There is no "%k" in a format, but %% %I %J %U %X %j %l %m %p %q %r %t %x',
    ],
    ["%", 'The format ends within "%", for "%" itself write "%%"'],
    ["%20", 'The format ends within "%20", for "%" itself write "%%"'],
    ["%C", '"%C" is about MQTT 5, MQTT-SN has no such thing'],
    ["%99999t", '"%99999t" is wider than 10000'],
  ];
  const calls: [string[], string][] = [
    [["-t"], 'Flag "-t" needs a value: FILTER'],
    [["-t", "a", "b"], 'Unexpected argument "b"'],
    [["-t", "a", "--", "b"], 'Unexpected argument "b"'],
    [["-m", "1"], 'Unknown flag "-m"'],
    [[...to, "-p", "x"], `Flag "--port" takes ${portRange(1)}, not "x"`],
    [
      [...to, "--protocol", "mqtt"],
      'Flag "--protocol" takes mqtt-sn, classic, not "mqtt"',
    ],
    [
      [...to, "-q", "-1"],
      'Flag "--qos" takes a whole number from 0 to 2, not "-1"',
    ],
    [
      [...to, "-q", "3"],
      'Flag "--qos" takes a whole number from 0 to 2, not "3"',
    ],
    [
      [...to, "-C", "0"],
      'Flag "--count" takes a whole number from 1 to 1000000000, not "0"',
    ],
    [
      [...to, "-W", "0"],
      'Flag "--wait" takes seconds from 0.001 to 1000000, not "0"',
    ],
    [
      [...to, "--sleep", "65536"],
      'Flag "--sleep" takes a whole number from 1 to 65535, not "65536"',
    ],
    [
      [...to, "--sleep", "0"],
      'Flag "--sleep" takes a whole number from 1 to 65535, not "0"',
    ],
    [
      [...to, "-F", "%p", "-v"],
      'Flags "--format" and "--verbose" exclude each other',
    ],
    ...formats.map(([format, message]): [string[], string] => [
      [...to, "-F", format],
      message,
    ]),
    [
      ["-T", "0"],
      'Flag "--topic-id" takes a whole number from 1 to 65534, not "0"',
    ],
    [
      [...to, "--short-topic"],
      'Flag "--short-topic" takes topics of two octets, not "a"',
    ],
    [[...to, "-i", ""], 'Flag "--id" takes 1 to 23 characters, not ""'],
    [
      [...to, "-i", "x".repeat(24)],
      `Flag "--id" takes 1 to 23 characters, not "${"x".repeat(24)}"`,
    ],
    [
      [...to, "-c"],
      'Flag "--disable-clean-session" needs a client id: -i ID',
    ],
    [[...to, "--will-qos=1"], 'Flag "--will-qos" needs "--will-topic"'],
    [
      [...to, "-k", "x"],
      'Flag "--keepalive" takes a whole number from 0 to 65535, not "x"',
    ],
    [
      [...to, "--seed", "-1"],
      'Flag "--seed" takes a whole number from 0 to 4294967295, not "-1"',
    ],
  ];
  await assertUsageErrors(
    calls.map(([args, message]) => ["subscriber", args, message]),
  );
});

const noFilter = (filter: string) =>
  `Cannot take "${filter}" as a topic's filter: it is empty, too long, or + and # share a level, or # is not the last`;

Deno.test("the subscriber says so in a line when what it is to subscribe to is wrong", async () => {
  await using broker = await LoggedBroker.listen();
  const calls: [string[], string][] = [
    ...["", "a#", "#/a", "a+/b"].map((filter): [string[], string] => [
      ["-t", "a", "-t", filter],
      noFilter(filter),
    ]),
    [
      ["-t", "a#", "--short-topic"],
      `Cannot take "a#" as a topic's name: it is empty, too long, or has a wildcard`,
    ],
    [
      ["-T", "9"],
      "The broker refuses to subscribe: it does not know the topic id",
    ],
    [
      ["-t", "a", "--predefined", "no-such"],
      'Cannot read "no-such": there is no such file',
    ],
  ];
  const outcomes = await runEach(
    calls.map(([args]) => ["subscriber", [...broker.flags, ...args]]),
  );
  for (const [i, outcome] of outcomes.entries()) {
    assertFailed(outcome, "subscriber", calls[i]![1]);
  }
});

Deno.test("the subscriber says so in a line when the broker has no room for it", async () => {
  await using broker = await LoggedBroker.listen({ maxClients: 1 });
  await using _first = await Client.connect({ port: broker.port });
  assertFailed(
    await run("subscriber", [...broker.flags, "-t", "a"]),
    "subscriber",
    "The broker refuses to connect: it is congested",
  );
});

Deno.test("the subscriber says so in a line when the host is unknown", async () => {
  for (const host of UNKNOWN_HOSTS) {
    const args = ["-h", host, "--timeout", "0.3", "-t", "a"];
    const message = `Cannot find a host called "${host}"`;
    assertFailed(await run("subscriber", args), "subscriber", message);
  }
});

// From a pipe

Deno.test("the subscriber reads filters, a line each, when it reads from a pipe", async () => {
  await using broker = await LoggedBroker.listen();
  await publish(broker, [["a", "1"], ["b/c", "2"], ["d", "3"]], {
    retain: true,
  });
  const args = [...broker.flags, "-v", "-C", "2"];
  for (const input of ["a\r\n\nb/+", "a\nb/+\nexit_\nd\n"]) {
    const { code, stdout, stderr } = await run("subscriber", args, { input });
    assertEquals([code, stderr], [0, ""]);
    assertEquals(stdout.split("\n").sort(), ["", "a 1", "b/c 2"]);
  }
});

Deno.test("the subscriber says so in a line when what it reads is no filter", async () => {
  await using broker = await LoggedBroker.listen();
  const nothing =
    "Nothing to subscribe to: give -t FILTER; see subscriber --help";
  for (
    const [input, message] of [
      ["", nothing],
      ["\n", nothing],
      ["exit_\na\n", nothing],
      ["a\na#\n", noFilter("a#")],
      [
        Uint8Array.of(0xff, 0x0a),
        "Cannot read standard input: it is no UTF-8",
      ],
    ] as const
  ) {
    const outcome = await run("subscriber", broker.flags, { input });
    assertFailed(outcome, "subscriber", message);
  }
});

// Where its output goes

Deno.test("the subscriber prints a message as it comes when its output is a pipe", async () => {
  await using broker = await LoggedBroker.listen();
  await using client = await Client.connect({ port: broker.port });
  await using subscriber = start("subscriber", [...broker.flags, "-t", "a"]);
  await broker.subscribed("a");
  for (const text of ["1", "2"]) {
    await client.publish("a", text, { qos: 1 });
    assertEquals(await subscriber.stdout.line(), text);
  }
});

Deno.test({
  name: "the subscriber loses nothing when many messages go to a file",
  ignore,
  async fn() {
    const count = 10_000;
    // So that the broker drops none, however much faster it gets them; and what a
    // busy system drops comes soon, and once.
    const patience = { maxQueue: count, retryMs: 500, retries: 100 };
    await using broker = await Broker.listen({ port: 0, ...patience });
    await using client = await Client.connect({ port: broker.port });
    await using file = await TempFile.with("");
    const flags = `-p ${broker.port} -q 2 -t a -C ${count} -W 50`;
    const command = `"${Deno.execPath()}" run -A subscriber.ts ${flags}`;
    const qos = { qos: 2 } as const;
    await client.publish("a", "0", { ...qos, retain: true });
    await using shell = new Running("sh", ["-c", `${command} >"${file.path}"`]);
    // The first has come: it has subscribed.
    while (broker.stats().mqttsn.delivered === 0) {
      await client.publish("b", "", { qos: 1 });
    }
    const rest = Array.from({ length: count - 1 }, (_, i) => String(i + 1));
    await Promise.all(rest.map((text) => client.publish("a", text, qos)));
    assertEquals(await shell.outcome(), DONE);
    const lines = (await Deno.readTextFile(file.path)).split("\n");
    assertEquals(lines.length, count + 1);
    assertEquals(lines.findIndex((line, i) => line !== String(i)), count);
  },
});

Deno.test({
  name: "the subscriber ends in peace when nobody reads what it prints",
  ignore,
  async fn() {
    await using broker = await LoggedBroker.listen();
    await using client = await Client.connect({ port: broker.port });
    const flags = [...broker.flags, "-t", "a", "-i", "dev"].join(" ");
    const command = `"${Deno.execPath()}" run -A subscriber.ts ${flags}`;
    await using shell = new Running("sh", ["-c", `${command} | head -1`]);
    await broker.subscribed("a");
    // It notices at the next message, once head is gone.
    while (broker.sentBy("dev").at(-1) !== "DISCONNECT") {
      await client.publish("a", "1", { qos: 1 });
    }
    assertEquals(await shell.outcome(), { ...DONE, stdout: "1\n" });
  },
});

Deno.test({
  name: "the subscriber fails when what it prints is lost",
  ignore: Deno.build.os !== "linux", // the others have no /dev/full
  async fn() {
    await using broker = await LoggedBroker.listen();
    await publish(broker, [["a", "1"]], { retain: true });
    const flags = [...broker.flags, "-t", "a", "-i", "dev"].join(" ");
    const command = `"${Deno.execPath()}" run -A subscriber.ts ${flags}`;
    await using shell = new Running("sh", ["-c", `${command} >/dev/full`]);
    assertFailed(await shell.outcome(), "subscriber", /.*No space left.*/);
    assertEquals(broker.sentBy("dev").at(-1), "DISCONNECT");
  },
});

// Signals

testSignals(
  "the subscriber disconnects, and ends with 130, when it gets SIGINT or SIGTERM",
  async () => {
    await using broker = await LoggedBroker.listen();
    const args = [...broker.flags, "--will-topic", "gone"];
    for (
      const [id, signal, ...flags] of [
        ["a", "SIGINT", "-t", "a", "-W", "1000"],
        ["b", "SIGTERM", "-t", "b", "-q", "2"],
        ["c", "SIGINT", "-t", "c", "--sleep", "60"],
      ] as const
    ) {
      const all = [...args, "-i", id, ...flags];
      await using subscriber = start("subscriber", all);
      await broker.subscribed(id);
      if (id === "c") await broker.log.until('"c" is asleep');
      subscriber.kill(signal);
      assertEquals(await subscriber.outcome(), { ...DONE, code: 130 });
      assertEquals(broker.sentBy(id).at(-1), "DISCONNECT");
    }
    assertEquals(broker.broker.stats().mqttsn.wills, 0);
  },
);

testSignals(
  "the subscriber ends with 130 when it gets SIGINT before an answer, or before input",
  async () => {
    using nobody = new SilentPort();
    const flags = ["-p", String(nobody.port), "--timeout", "1000", "-d"];
    await using waiting = start("subscriber", [...flags, "-t", "a"]);
    await waiting.stderr.until("CONNECT");
    waiting.kill("SIGINT");
    assertEquals((await waiting.outcome()).code, 130);
    await using broker = await LoggedBroker.listen();
    await using reading = start("subscriber", broker.flags);
    // More than a pipe holds: it has begun to read.
    await reading.write("a\n".repeat(100_000));
    reading.kill("SIGINT");
    assertEquals(await reading.outcome(), { ...DONE, code: 130 });
  },
);

/** Publishes from this process. */
async function publish(
  { port }: LoggedBroker,
  messages: readonly (readonly [topic: string, payload: string | Uint8Array])[],
  options: PublishOptions,
): Promise<void> {
  await using client = await Client.connect({ port });
  for (const [topic, payload] of messages) {
    await client.publish(topic, payload, options);
  }
}
