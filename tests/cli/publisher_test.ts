/**
 * Tests of the publisher: its class, and the program as a process at a broker of
 * MQTT-SN, with flags, pipes and signals, judged by what the broker hears, what a
 * client receives, and how the program ends.
 *
 * @module
 */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { Client } from "../../client.ts";
import { RefusedError } from "../../client/errors.ts";
import type { ReceivedMessage } from "../../client/events.ts";
import { NoAnswerError } from "../../base/errors.ts";
import { Publisher } from "../../publisher.ts";
import type { Subscription } from "../../client/subscription.ts";
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
  SilentPort,
  start,
  TempFile,
  testSignals,
  UNKNOWN_HOSTS,
} from "../support/programs.ts";

const PREDEFINED_FILE = "tests/support/predefined.json";
const PREDEFINED = new Map([[5, "a/b"], [7, "p/one"]]);

/** All octets that there are, and no UTF-8. */
const BINARY = Uint8Array.from({ length: 256 }, (_, octet) => octet);

const NOTHING_TO_PUBLISH =
  "Nothing to publish: give -m TEXT, -f FILE, -l, -s or -n";

// The class

Deno.test("Publisher.publishAll() publishes in order what a source gives", async () => {
  await using broker = await LoggedBroker.listen({});
  await using client = await Client.connect({ port: broker.port });
  const messages = await client.subscribe("a", { qos: 1 });
  await using publisher = await Publisher.connect({ port: broker.port });
  let ticks = 0;
  const options = { qos: 1, onPublished: () => ticks++ } as const;
  async function* source() {
    yield "1";
    await Promise.resolve();
    yield BINARY;
  }
  assertEquals(await publisher.publishAll("a", source(), options), 2);
  assertEquals(await publisher.publishAll("a", [], options), 0);
  assertEquals(ticks, 2);
  const [first, second] = await take(messages, 2);
  assertEquals(first!.text(), "1");
  assertEquals(second!.payload, BINARY);
});

Deno.test("Publisher.publishAll() rejects at the first that is refused", async () => {
  await using broker = await LoggedBroker.listen({});
  await using publisher = await Publisher.connect({ port: broker.port });
  let ticks = 0;
  await assertRejects(
    () =>
      publisher.publishAll({ predefined: 9 }, ["1", "2"], {
        qos: 1,
        onPublished: () => ticks++,
      }),
    RefusedError,
  );
  assertEquals(ticks, 0);
});

Deno.test("Publisher.open() makes no connection when all is at QoS −1", async () => {
  await using broker = await LoggedBroker.listen({ predefined: PREDEFINED });
  await using publisher = await Publisher.open({ port: broker.port });
  const options = { qos: -1 } as const;
  await publisher.publishAll({ predefined: 5 }, ["1"], options);
  await broker.published("a/b");
  assertEquals(publisher.state, "disconnected");
  assertEquals(broker.broker.stats().mqttsn.connected, 0);
});

Deno.test("Publisher.connect() rejects when nobody answers", async () => {
  using nobody = new SilentPort();
  const options = { port: nobody.port, timeoutMs: 50, retryMs: 20 };
  await assertRejects(() => Publisher.connect(options), NoAnswerError);
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
  "-t, --topic TOPIC",
  "-T, --topic-id ID",
  "-m, --message TEXT",
  "-f, --file FILE",
  "-l, --stdin-line",
  "-s, --stdin-file",
  "-n, --null-message",
  "-q, --qos N",
  "-r, --retain",
  "--repeat N",
  "--repeat-delay S",
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

Deno.test("the publisher lists its flags when --help is given", async () => {
  const { stdout } = await run("publisher", ["--help"]);
  assertEquals(flagsListed(stdout), FLAGS);
});

const CONNECT = 'CONNECT cleanSession protocolId=1 duration=60 clientId="ID"';
const REGISTER = 'REGISTER topicId=0 topicName="a"';
const PUBLISH = 'PUBLISH qos=0 topicId=1 data="1"';
const USUAL = [CONNECT, REGISTER, PUBLISH, "DISCONNECT"];

const as = (connect: string) => [connect, ...USUAL.slice(1)];
const withWill = (...will: string[]) => [
  'CONNECT will cleanSession protocolId=1 duration=60 clientId="ID"',
  ...will,
  ...USUAL.slice(1),
];
const to = (publish: string, ...more: string[]) => [
  CONNECT,
  publish,
  ...more,
  "DISCONNECT",
];

/**
 * What a flag changes: ways to give it, and all that the publisher sends. It
 * publishes "1" to "a" as "ID", unless they say otherwise.
 */
const CONVERSATIONS: readonly (readonly [string[][], string[]])[] = [
  [[["-h", "127.0.0.1"], ["--host", "localhost"], ["--host=127.1"]], USUAL],
  [[["-p", "PORT"], ["--port", "PORT"], ["--port=PORT"]], USUAL],
  [[["--protocol", "mqtt-sn"], ["--timeout", "50"]], USUAL],
  [[["-t", "a"], ["--topic", "a"], ["--topic=a"]], USUAL],
  [[["-m", "1"], ["--message", "1"], ["--message=1"]], USUAL],
  [
    [["-m", ""], ["--message="], ["-n"], ["--null-message"]],
    [CONNECT, REGISTER, 'PUBLISH qos=0 topicId=1 data=""', "DISCONNECT"],
  ],
  [[["-l"], ["--stdin-line"], ["-s"], ["--stdin-file"]], USUAL],
  [
    [["-T", "5"], ["--topic-id", "5"], ["-t", "a/b"]]
      .map((topic) => [...topic, "--predefined", PREDEFINED_FILE]),
    to('PUBLISH qos=0 topicIdType=predefined topicId=5 data="1"'),
  ],
  [[["-q", "0"], ["--qos", "0"]], USUAL],
  [
    [["-q", "1"], ["--qos=1"]],
    [CONNECT, REGISTER, 'PUBLISH qos=1 topicId=1 data="1"', "DISCONNECT"],
  ],
  [
    [["-q", "2"], ["--qos", "2"]],
    [
      CONNECT,
      REGISTER,
      'PUBLISH qos=2 topicId=1 data="1"',
      "PUBREL",
      "DISCONNECT",
    ],
  ],
  [
    [["-r"], ["--retain"]],
    [
      CONNECT,
      REGISTER,
      'PUBLISH qos=0 retain topicId=1 data="1"',
      "DISCONNECT",
    ],
  ],
  [
    [["--repeat", "3"], ["--repeat=3", "--repeat-delay", ".001"]],
    [CONNECT, REGISTER, PUBLISH, PUBLISH, PUBLISH, "DISCONNECT"],
  ],
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
    [["--will-topic=gone", "--will-payload", "°", "--will-qos", "2"]],
    withWill('WILLTOPIC qos=2 topicName="gone"', 'WILLMSG data="°"'),
  ],
  [
    [["--will-topic=gone", "--will-retain", "--will-payload=-"]],
    withWill('WILLTOPIC qos=0 retain topicName="gone"', 'WILLMSG data="-"'),
  ],
  [
    [["-t", "ab", "--short-topic"]],
    to('PUBLISH qos=0 topicIdType=short topicName="ab" data="1"'),
  ],
  [
    [["-d"], ["--debug"]],
    USUAL,
  ],
];

for (const [ways, expected] of CONVERSATIONS) {
  const names = ways.map((flags) => flags.join(" ")).join(", or ");
  Deno.test(`the publisher sends what it should with ${names}`, async () => {
    await using broker = await LoggedBroker.listen({ predefined: PREDEFINED });
    const calls = ways.map((flags, i) => callOf(flags, `dev${i}`, broker));
    const outcomes = await runEach(calls, { input: "1" });
    for (const [i, { code, stdout, stderr }] of outcomes.entries()) {
      assertEquals([code, stdout], [0, ""], stderr);
      const isVerbose = names.startsWith("-d");
      assertEquals(stderr !== "", isVerbose, stderr);
      const sent = broker.sentBy(`dev${i}`).map((line) =>
        line.replace(` msgId=0`, "").replace(`"dev${i}"`, '"ID"')
      );
      assertEquals(sent, expected, ways[i]!.join(" "));
    }
  });
}

Deno.test("the publisher takes a client id when -i or --id says which", async () => {
  await using broker = await LoggedBroker.listen({});
  const args = [...broker.flags, "-t", "a", "-m", "1"];
  for (
    const flags of [["-i", "lamp 1"], ["--id", "é"], ["--id=" + "x".repeat(23)]]
  ) {
    assertEquals(await run("publisher", [...args, ...flags]), DONE);
  }
  for (const clientId of ["lamp 1", "é", "x".repeat(23)]) {
    assertEquals(broker.sentBy(clientId).at(-1), "DISCONNECT");
  }
});

Deno.test("the publisher takes a client id by chance when it is not told one", async () => {
  await using broker = await LoggedBroker.listen({});
  const args = [...broker.flags, "-t", "a", "-m", "1"];
  const seeds = [[], [], ["--seed", "7"], ["--seed=7"]];
  // One after the other: two by one id would be taken for one that moves.
  for (const seed of seeds) await run("publisher", [...args, ...seed]);
  const log = broker.log.text;
  const ids = [...log.matchAll(/clientId="(pub-[0-9a-z]{8})"/g)]
    .map(([, id]) => id!);
  assertEquals(ids.length, 4);
  assertEquals(ids.filter((id) => id === "pub-00000007").length, 2);
  assertEquals(new Set(ids).size, 3);
});

Deno.test("the publisher logs each datagram when --debug is given", async () => {
  await using broker = await LoggedBroker.listen({});
  for (const flag of ["-d", "--debug"]) {
    const args = [...broker.flags, "-i", "dev", "-t", "a", "-m", "1", flag];
    const { code, stdout, stderr } = await run("publisher", args);
    assertEquals([code, stdout], [0, ""]);
    const there = `127.0.0.1:${broker.port}`;
    const lines = stderr.trimEnd().split("\n").map((line) => {
      assertMatch(line, /^\d{4}-\d\d-\d\dT\S+Z debug /);
      return line.replace(/^\S+ debug /, "").replace(/ msgId=\d+/, "");
    });
    assertEquals(lines, [
      "Now connecting",
      `> ${there} CONNECT cleanSession protocolId=1 duration=60 clientId="dev"`,
      `< ${there} CONNACK returnCode=0`,
      "Now active",
      `> ${there} REGISTER topicId=0 topicName="a"`,
      `< ${there} REGACK topicId=1 returnCode=0`,
      `> ${there} PUBLISH qos=0 topicId=1 data="1"`,
      `> ${there} DISCONNECT`,
      `< ${there} DISCONNECT`,
      "Now disconnected",
    ]);
  }
});

Deno.test("the publisher takes its port from PORT when no flag says which", async () => {
  await using broker = await LoggedBroker.listen({});
  const args = ["-t", "a", "-m", "1"];
  const env = { PORT: String(broker.port) };
  assertEquals(await run("publisher", args, { env }), DONE);
  // A flag has the last word.
  const wrong = { PORT: "x" };
  const flags = [...broker.flags, ...args];
  assertEquals(await run("publisher", flags, { env: wrong }), DONE);
  assertEquals(broker.broker.stats().published, 2);
});

Deno.test("the publisher makes no connection when the QoS is -1", async () => {
  await using broker = await LoggedBroker.listen({ predefined: PREDEFINED });
  const args = [...broker.flags, "-m", "1", "-q", "-1"];
  for (
    const [flags, topicName] of [
      [["-T", "5"], "a/b"],
      [["-t", "ab"], "ab"],
      [["-t", "ab", "--short-topic"], "ab"],
      [["-t", "p/one", "--predefined", PREDEFINED_FILE], "p/one"],
    ] as const
  ) {
    assertEquals(await run("publisher", [...args, ...flags]), DONE);
    await broker.published(topicName);
  }
  const { connected, qosMinusOne } = broker.broker.stats().mqttsn;
  assertEquals([connected, qosMinusOne], [0, 4]);
  using nobody = new SilentPort();
  const elsewhere = ["-p", String(nobody.port), "-m", "1", "-q=-1", "-T=5"];
  assertEquals(await run("publisher", elsewhere), DONE);
});

Deno.test({
  name: "the publisher searches for a gateway when --multicast is given",
  ignore: !HAS_MULTICAST,
  async fn() {
    await using broker = await LoggedBroker.listen({
      hostname: "0.0.0.0",
      multicast: GROUP, // at the broker's own port
    });
    const { port } = broker.broker;
    const args = ["-t", "a", "-m", "1"];
    for (
      const flags of [
        [`--multicast=${GROUP}:${port}`],
        ["--multicast", GROUP, "-p", String(port)],
        ["--multicast", GROUP, "-h", "127.0.0.1", ...broker.flags],
      ]
    ) assertEquals(await run("publisher", [...flags, ...args]), DONE);
    assertEquals(broker.broker.stats().published, 3);
    using nobody = new SilentPort();
    const search = [`--multicast=${GROUP}:${nobody.port}`, "--timeout=0.3"];
    assertFailed(
      await run("publisher", [...search, ...args]),
      "publisher",
      "No broker answered to the search within 0.3 s",
    );
  },
});

// What is published

Deno.test("the publisher keeps the message as it is when it publishes", async () => {
  await using hearer = await Hearer.of("#");
  const messages = [
    "",
    "  padded  ",
    "21.5 °C 🌡",
    "a\nb",
    "-5",
    "-m",
    "--",
    "=",
  ];
  const args = [...hearer.flags, "-q", "1", "-t", " a "];
  const calls = messages.map((message): [ProgramName, string[]] => [
    "publisher",
    [...args, "-m", message],
  ]);
  calls.push(["publisher", [...args, "--message=-5=6"]]);
  assertEquals(await runEach(calls), calls.map(() => DONE));
  const heard = await hearer.take(calls.length);
  assertEquals(
    heard.map((message) => message.text()).sort(),
    [...messages, "-5=6"].sort(),
  );
  for (const { topicName } of heard) assertEquals(topicName, " a ");
});

Deno.test("the publisher publishes octets as they are when they are no text", async () => {
  await using hearer = await Hearer.of("#");
  await using file = await TempFile.with(BINARY);
  const args = [...hearer.flags, "-q", "1", "-t", "a"];
  for (const flags of [["-f", file.path], ["--file", file.path]]) {
    assertEquals(await run("publisher", [...args, ...flags]), DONE);
  }
  for (const flags of [["-s"], ["--stdin-file"]]) {
    const input = { input: BINARY };
    assertEquals(await run("publisher", [...args, ...flags], input), DONE);
  }
  for (const { payload } of await hearer.take(4)) assertEquals(payload, BINARY);
});

Deno.test("the publisher publishes what is empty when a file or the input is", async () => {
  await using hearer = await Hearer.of("#");
  await using file = await TempFile.with("");
  const args = [...hearer.flags, "-q", "1", "-t", "a"];
  assertEquals(await run("publisher", [...args, "-s"]), DONE);
  assertEquals(await run("publisher", [...args, "-f", file.path]), DONE);
  // Here it is no line, and so no message.
  assertEquals(await run("publisher", [...args, "-l"]), DONE);
  assertEquals(await run("publisher", [...args, "-l", "-f", file.path]), DONE);
  assertEquals(await hearer.texts(2), ["", ""]);
  assertEquals(hearer.published, 2);
});

Deno.test("the publisher publishes the longest message that fits, and says so in a line when it does not", async () => {
  await using hearer = await Hearer.of("a");
  const args = [...hearer.flags, "-q", "1", "-t", "a"];
  const most = new Uint8Array(65_507 - 9).fill(0x78);
  await using fits = await TempFile.with(most);
  await using large = await TempFile.with("x".repeat(70_000));
  assertEquals(await run("publisher", [...args, "-f", fits.path]), DONE);
  assertEquals((await hearer.take(1))[0]!.payload, most);
  const message =
    "Cannot write PUBLISH: 70009 octets do not fit a datagram of 65507";
  const input = "x".repeat(70_000);
  for (const flags of [["-f", large.path], ["-l"], ["-s"], ["-m", input]]) {
    const outcome = await run("publisher", [...args, ...flags], { input });
    assertFailed(outcome, "publisher", message);
  }
  assertEquals(hearer.published, 1);
});

Deno.test("the publisher says so in a line when it cannot read a file", async () => {
  await using broker = await LoggedBroker.listen({});
  const to = [...broker.flags, "-t", "a"];
  const calls: [string[], string][] = [
    [["-f", "no-such"], 'Cannot read "no-such": there is no such file'],
    [["-l", "-f", "no-such"], 'Cannot read "no-such": there is no such file'],
    [["-l", "-f", "tests"], 'Cannot read "tests": it is a directory'],
    [
      ["-m", "1", "--predefined", "no-such"],
      'Cannot read "no-such": there is no such file',
    ],
    [
      ["-m", "1", "--predefined", "deno.lock"],
      'Cannot take "deno.lock" for "--predefined": Cannot predefine a topic by the id "version"',
    ],
  ];
  if (Deno.build.os !== "windows") {
    calls.push([["-f", "tests"], 'Cannot read "tests": it is a directory']);
  }
  for (const [args, message] of calls) {
    const outcome = await run("publisher", [...to, ...args]);
    assertFailed(outcome, "publisher", message);
  }
  assertEquals(broker.broker.stats().mqttsn.connected, 0);
});

Deno.test("the publisher publishes each line that is not empty when --stdin-line is given", async () => {
  await using hearer = await Hearer.of("#");
  const args = [...hearer.flags, "-q", "1", "-t", "a"];
  const lines = "\n  1 \n\r\n2\r\n \t\n\r3\n4 °C\n\n";
  // Neither an end, nor UTF-8.
  const input = new Uint8Array([...new TextEncoder().encode(lines), 0xff, 0]);
  await using file = await TempFile.with(input);
  for (
    const flags of [["-l"], ["--stdin-line"], ["-l", "-f", file.path]]
  ) {
    const outcome = await run("publisher", [...args, ...flags], { input });
    assertEquals(outcome, DONE);
    const heard = await hearer.take(6);
    assertEquals(
      heard.slice(0, 5).map((message) => message.text()),
      ["  1 ", "2", " \t", "\r3", "4 °C"],
    );
    assertEquals(heard[5]!.payload, Uint8Array.of(0xff, 0));
  }
  assertEquals(hearer.published, 18);
});

Deno.test("the publisher publishes a line as it comes when --stdin-line is given", async () => {
  await using hearer = await Hearer.of("#");
  const args = [...hearer.flags, "-t", "a", "-l"];
  await using publisher = start("publisher", args);
  await publisher.write("1\n2");
  assertEquals(await hearer.texts(1), ["1"]);
  await publisher.write("2\n");
  assertEquals(await hearer.texts(1), ["22"]);
  await publisher.write("3");
  await publisher.endInput();
  assertEquals(await publisher.outcome(), DONE);
  assertEquals(await hearer.texts(1), ["3"]);
});

Deno.test("the publisher loses no line when there are many", async () => {
  await using hearer = await Hearer.of("a");
  const lines = Array.from({ length: 3_000 }, (_, i) => `line ${i}`);
  const args = [...hearer.flags, "-q", "1", "-t", "a", "-l"];
  const input = lines.join("\n");
  assertEquals(await run("publisher", args, { input }), DONE);
  assertEquals(await hearer.texts(lines.length), lines);
});

Deno.test("the publisher has the broker retain a message, and clear it, when --retain is given", async () => {
  await using broker = await LoggedBroker.listen({});
  const args = [...broker.flags, "-t", "a", "-q", "1"];
  assertEquals(await run("publisher", [...args, "-r", "-m", "1"]), DONE);
  assertEquals(await run("publisher", [...args, "-m", "2"]), DONE);
  assertEquals(await run("publisher", [...args, "-n"]), DONE);
  assertEquals(await retained(broker), ["1"]);
  assertEquals(await run("publisher", [...args, "-r", "-n"]), DONE);
  assertEquals(await retained(broker), []);
});

// Who it is

Deno.test("the publisher has its will published when it is lost", async () => {
  await using hearer = await Hearer.of("gone");
  await using publisher = start("publisher", [
    ...hearer.flags,
    ...["-t", "a", "-l", "-k", "1"],
    ...["--will-topic", "gone", "--will-payload", "bye", "--will-retain"],
  ]);
  await publisher.write("1\n");
  await hearer.broker.published("a");
  publisher.kill("SIGKILL");
  assertEquals(await hearer.texts(1), ["bye"]);
  assertEquals(hearer.broker.broker.stats().mqttsn.wills, 1);
  assertEquals(await retained(hearer.broker, "gone"), ["bye"]);
});

Deno.test("the publisher goes on with its session when -c is given", async () => {
  await using broker = await LoggedBroker.listen({});
  const args = [...broker.flags, "-i", "dev", "-c", "-t", "a", "-m", "1"];
  assertEquals(await run("publisher", args), DONE);
  assertEquals(broker.broker.stats().mqttsn.clients.total, 1);
  assertEquals(await run("publisher", args), DONE);
  const clean = args.filter((flag) => flag !== "-c");
  assertEquals(await run("publisher", clean), DONE);
  assertEquals(broker.broker.stats().mqttsn.clients.total, 0);
  assertEquals(broker.broker.stats().published, 3);
});

// What is wrong

Deno.test("the publisher says what is wrong in a line when its flags are", async () => {
  const to = ["-t", "a", "-m", "1"];
  const excluding: [string, string, string[]][] = [
    ["message", "file", ["-m", "1", "-f", "deno.json"]],
    ["message", "stdin-line", ["-l", "-m", "1"]],
    ["message", "null-message", ["-n", "-m", "1"]],
    ["file", "stdin-file", ["-s", "--file=deno.json"]],
    ["file", "null-message", ["-n", "--file=deno.json"]],
    ["file", "stdin-line", ["-l", "-s", "-f", "deno.json"]],
    ["stdin-line", "stdin-file", ["-l", "-s"]],
    ["stdin-line", "null-message", ["-l", "-n"]],
    ["repeat", "l", ["-l", "--repeat", "2"]],
    ["repeat-delay", "l", ["-l", "--repeat-delay", "2"]],
    ["topic", "topic-id", ["-T", "1", "-n"]],
  ];
  const calls: [string[], string][] = [
    [["-t"], 'Flag "-t" needs a value: TOPIC'],
    [["-t", "a", "-m"], 'Flag "-m" needs a value: TEXT'],
    [[...to, "2"], 'Unexpected argument "2"'],
    [[...to, "--", "2"], 'Unexpected argument "2"'],
    [[...to, "-m", "2"], 'Flag "--message" is given twice'],
    [[...to, "-t", "b"], 'Flag "--topic" is given twice'],
    [["-t", "a"], NOTHING_TO_PUBLISH],
    [["-T", "1"], NOTHING_TO_PUBLISH],
    ...[
      ["message", "-m=1"],
      ["file", "-f=deno.json"],
      ["stdin-line", "-l"],
      ["stdin-file", "-s"],
      ["null-message", "-n"],
      ["repeat", "--repeat=2"],
      ["repeat-delay", "--repeat-delay=2"],
    ].map(([name, flag]): [string[], string] => [
      [flag!],
      `Flag "--${name}" needs a topic: -t TOPIC`,
    ]),
    ...excluding.map(([one, other, args]): [string[], string] => [
      ["-t", "a", ...args],
      `Flags "--${one}" and "${
        other === "l" ? "-l" : `--${other}`
      }" exclude each other`,
    ]),
    [[...to, "-p"], 'Flag "-p" needs a value: N'],
    [[...to, "-p", "0"], `Flag "--port" takes ${portRange(1)}, not "0"`],
    [[...to, "-p", "x"], `Flag "--port" takes ${portRange(1)}, not "x"`],
    [
      [...to, "--repeat", "0"],
      'Flag "--repeat" takes a whole number from 1 to 1000000000, not "0"',
    ],
    [
      [...to, "--repeat-delay", "-1"],
      'Flag "--repeat-delay" takes seconds from 0 to 1000000, not "-1"',
    ],
    [
      [...to, "--timeout", "soon"],
      'Flag "--timeout" takes seconds from 0.001 to 1000000, not "soon"',
    ],
    [
      [...to, "--protocol", "mqtt"],
      'Flag "--protocol" takes mqtt-sn, classic, not "mqtt"',
    ],
    [[...to, "-q", "3"], 'Flag "--qos" takes -1, 0, 1, 2, not "3"'],
    [[...to, "--qos="], 'Flag "--qos" takes -1, 0, 1, 2, not ""'],
    [
      ["-q", "-1"],
      "QoS -1 needs a topic: -T ID, or -t with two octets",
    ],
    [
      ["-q", "-1", "-m", "1", "-t", "abc"],
      'QoS -1 takes a pre-defined topic (-T ID) or one of two octets, not "abc"',
    ],
    ...["0", "65535", "-1", "x", ""].map((id): [string[], string] => [
      ["-T", id, "-m", "1"],
      `Flag "--topic-id" takes a whole number from 1 to 65534, not "${id}"`,
    ]),
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
      [...to, "-k", "65536"],
      'Flag "--keepalive" takes a whole number from 0 to 65535, not "65536"',
    ],
    [
      [...to, "-c"],
      'Flag "--disable-clean-session" needs a client id: -i ID',
    ],
    ...["--will-payload=1", "--will-qos=1", "--will-retain"].map(
      (flag): [string[], string] => [
        [...to, flag],
        `Flag "${flag.split("=")[0]}" needs "--will-topic"`,
      ],
    ),
    [
      [...to, "--will-topic", "gone", "--will-qos", "-1"],
      'Flag "--will-qos" takes a whole number from 0 to 2, not "-1"',
    ],
    [
      [...to, "--seed", "4294967296"],
      'Flag "--seed" takes a whole number from 0 to 4294967295, not "4294967296"',
    ],
  ];
  await assertUsageErrors(
    calls.map(([args, message]) => ["publisher", args, message]),
  );
});

Deno.test("the publisher says what is wrong in a line when what it is to publish is", async () => {
  await using broker = await LoggedBroker.listen({});
  const name = (topic: string) =>
    `Cannot take "${topic}" as a topic's name: it is empty, too long, or has a wildcard`;
  const long = "x".repeat(70_000);
  const calls: [string[], string | RegExp][] = [
    [["-t", "a/#", "-m", "1"], name("a/#")],
    [["-t", "+", "-m", "1"], /Cannot take "\+" as a topic's name: .+/],
    [["-t", "", "-m", "1"], name("")],
    [["-t", "a#", "-m", "1", "--short-topic"], name("a#")],
    [["-t", long, "-m", "1"], /Cannot take "x+ … x+" as a .+ has a wildcard/],
    [["-t", "a", "-m", "1", "--will-topic", "a/+"], name("a/+")],
    [["-t", "a", "-m", "1", "--will-topic", ""], name("")],
    [
      ["-t", "a", "-m", "1", "--will-topic=a", "--will-payload", long],
      /Cannot write WILLMSG: \d+ octets do not fit a datagram of 65507/,
    ],
    [
      ["-t", "a", "-m", "1", "--multicast", "10.0.0.1"],
      /Cannot take "10\.0\.0\.1" as a multicast group: .+/,
    ],
  ];
  const outcomes = await runEach(
    calls.map(([args]) => ["publisher", [...broker.flags, ...args]]),
  );
  for (const [i, outcome] of outcomes.entries()) {
    assertFailed(outcome, "publisher", calls[i]![1]);
  }
  assertEquals(broker.broker.stats().published, 0);
});

Deno.test("the publisher says so in a line when the broker refuses", async () => {
  await using broker = await LoggedBroker.listen({ maxClients: 1 });
  const args = [...broker.flags, "-m", "1", "-q", "1"];
  for (
    const [topic, reason] of [
      [["-T", "9"], "it does not know the topic id"],
      [["-t", "$SYS/a"], "it does not support that"],
    ] as const
  ) {
    const message = `The broker refuses to publish: ${reason}`;
    const outcome = await run("publisher", [...args, ...topic]);
    assertFailed(outcome, "publisher", message);
  }
  await using _first = await Client.connect({ port: broker.port });
  assertFailed(
    await run("publisher", [...args, "-t", "a"]),
    "publisher",
    "The broker refuses to connect: it is congested",
  );
});

Deno.test("the publisher says in a line that no broker answered when there is none", async () => {
  using nobody = new SilentPort();
  const flags = ["-p", String(nobody.port), "--timeout", "0.3"];
  const to = [...flags, "-t", "a"];
  const calls: [ProgramName, string[]][] = [
    ["publisher", [...to, "-m", "1"]],
    ["publisher", [...to, "-l"]],
    ["publisher", [...to, "-s", "-q", "2"]],
    ["publisher", [...to, "-f", "deno.json", "--repeat", "3"]],
    ["publisher", flags],
  ];
  for (const outcome of await runEach(calls, { input: "1\n2\n" })) {
    assertFailed(outcome, "publisher", noBroker(nobody));
  }
});

Deno.test("the publisher says so in a line when the host is unknown", async () => {
  for (const host of UNKNOWN_HOSTS) {
    const args = ["-h", host, "--timeout", "0.3", "-t", "a", "-m", "1"];
    const message = `Cannot find a host called "${host}"`;
    assertFailed(await run("publisher", args), "publisher", message);
  }
});

// From a pipe

Deno.test("the publisher reads topics and payloads by turns when it reads from a pipe", async () => {
  await using hearer = await Hearer.of("#");
  const args = [...hearer.flags, "-q", "1", "-r"];
  const input = "a\r\n21.5 °C\r\n b \n  \nc\n\na\n22\nexit_\na\n23\n";
  assertEquals(await run("publisher", args, { input }), DONE);
  const heard = await hearer.take(4);
  assertEquals(
    heard.map((message) => [message.topicName, message.text(), message.qos]),
    [["a", "21.5 °C", 1], [" b ", "  ", 1], ["c", "", 1], ["a", "22", 1]],
  );
  assertEquals(hearer.published, 4);
  assertEquals(await retained(hearer.broker), ["22"]);
});

Deno.test("the publisher ends when its input does", async () => {
  await using hearer = await Hearer.of("#");
  for (
    const [input, expected] of [
      ["", []],
      ["exit_", []],
      ["a", []],
      ["a\n", []],
      ["a\n1", ["1"]],
      ["a\nexit_\n", ["exit_"]],
      ["ab\n1\n", ["1"]],
    ] as [string, string[]][]
  ) {
    const args = [...hearer.flags, "-q", "1"];
    assertEquals(await run("publisher", args, { input }), DONE);
    assertEquals(await hearer.texts(expected.length), expected);
  }
  assertEquals(hearer.published, 3);
});

Deno.test("the publisher says so and ends with 1 when the broker refuses at QoS 0", async () => {
  await using broker = await LoggedBroker.listen({});
  const args = [...broker.flags, "-t", "$SYS/x", "-m", "1"];
  const { code, stderr } = await run("publisher", args);
  assertEquals(code, 1);
  assertMatch(stderr, /refuses to take a message at QoS 0 to "\$SYS\/x"/);
  const input = "$SYS/x\n1\n";
  assertEquals((await run("publisher", broker.flags, { input })).code, 1);
});

Deno.test("the publisher goes on, and ends with 1, when one message from a pipe is refused", async () => {
  await using hearer = await Hearer.of("#");
  const args = [...hearer.flags, "-q", "1"];
  const long = "x".repeat(70_000);
  const input = `a/#\n1\n$SYS/a\n2\na\n${long}\na\n3\n`;
  const outcome = await run("publisher", args, { input });
  assertEquals(outcome, {
    code: 1,
    stdout: "",
    stderr: [
      `Cannot take "a/#" as a topic's name: it is empty, too long, or has a wildcard`,
      "The broker refuses to publish: it does not support that",
      "Cannot write PUBLISH: 70009 octets do not fit a datagram of 65507",
    ].map((message) => `publisher: ${message}\n`).join(""),
  });
  assertEquals(await hearer.texts(1), ["3"]);
});

Deno.test("the publisher publishes each pair of lines from a pipe when it comes", async () => {
  await using hearer = await Hearer.of("#");
  await using publisher = start("publisher", hearer.flags);
  await publisher.write("a\n1\na\n");
  assertEquals(await hearer.texts(1), ["1"]);
  await publisher.write("2\n");
  assertEquals(await hearer.texts(1), ["2"]);
  await publisher.write("exit_\n");
  assertEquals(await publisher.outcome(), DONE);
});

Deno.test("the publisher takes topics of two octets from a pipe when --short-topic is given", async () => {
  await using broker = await LoggedBroker.listen({});
  const args = [...broker.flags, "-i", "dev", "--short-topic"];
  const outcome = await run("publisher", args, { input: "ab\n1\nabc\n2\n" });
  assertFailed(
    outcome,
    "publisher",
    'Cannot take "abc" as a short topic name: it has not two octets',
  );
  assertEquals(broker.sentBy("dev").map((line) => line.split(" ")[0]), [
    "CONNECT",
    "PUBLISH",
    "DISCONNECT",
  ]);
});

Deno.test("the publisher says so in a line when what it reads is no text", async () => {
  await using broker = await LoggedBroker.listen({});
  assertFailed(
    await run("publisher", broker.flags, { input: Uint8Array.of(0xff, 0x0a) }),
    "publisher",
    "Cannot read standard input: it is no UTF-8",
  );
  const endless = "x".repeat(1_100_000);
  for (const flags of [[], ["-t", "a", "-l"]]) {
    const args = [...broker.flags, ...flags];
    assertFailed(
      await run("publisher", args, { input: endless }),
      "publisher",
      "Cannot read standard input: a line is too long",
    );
  }
});

// Signals

testSignals(
  "the publisher disconnects, and ends with 130, when it gets SIGINT or SIGTERM",
  async () => {
    await using broker = await LoggedBroker.listen({});
    const will = ["--will-topic", "gone"];
    const to = [...broker.flags, ...will, "-t", "a"];
    const delayed = ["-m", "1", "--repeat", "2", "--repeat-delay", "1000"];
    await using repeating = start("publisher", [...to, ...delayed, "-i", "a"]);
    await broker.published("a");
    await using reading = start("publisher", [...to, "-l", "-i", "b"]);
    await reading.write("1\n");
    await broker.published("a");
    const piped = [...broker.flags, ...will, "-i", "c"];
    await using asking = start("publisher", piped);
    await asking.write("a\n1\n");
    await broker.published("a");
    for (
      const [id, publisher, signal] of [
        ["a", repeating, "SIGINT"],
        ["b", reading, "SIGTERM"],
        ["c", asking, "SIGINT"],
      ] as const
    ) {
      publisher.kill(signal);
      assertEquals(await publisher.outcome(), { ...DONE, code: 130 });
      assertEquals(broker.sentBy(id).at(-1), "DISCONNECT");
    }
    assertEquals(broker.broker.stats().mqttsn.wills, 0);
  },
);

testSignals(
  "the publisher ends with 130 when it gets SIGINT before an answer",
  async () => {
    using nobody = new SilentPort();
    const flags = ["-p", String(nobody.port), "--timeout", "1000"];
    await using publisher = start("publisher", [
      ...flags,
      "-d",
      "-t",
      "a",
      "-n",
    ]);
    await publisher.stderr.until("CONNECT");
    publisher.kill("SIGINT");
    const { code, stdout, stderr } = await publisher.outcome();
    assertEquals([code, stdout], [130, ""]);
    for (const line of stderr.trimEnd().split("\n")) {
      assertMatch(line, / debug /);
    }
  },
);

/** A broker, and a client of it that hears what is published. */
class Hearer implements AsyncDisposable {
  readonly broker: LoggedBroker;
  readonly #client: Client;
  readonly #messages: Subscription;

  private constructor(
    broker: LoggedBroker,
    client: Client,
    messages: Subscription,
  ) {
    this.broker = broker;
    this.#client = client;
    this.#messages = messages;
  }

  static async of(filter: string): Promise<Hearer> {
    const broker = await LoggedBroker.listen({ maxQueue: 10_000 });
    const client = await Client.connect({ port: broker.port });
    const messages = await client.subscribe(filter, { qos: 2 });
    return new Hearer(broker, client, messages);
  }

  /** The flags that lead a program there. */
  get flags(): readonly string[] {
    return this.broker.flags;
  }

  /** How many messages the broker has taken. */
  get published(): number {
    return this.broker.broker.stats().published;
  }

  /** Waits for as many messages. */
  take(count: number): Promise<ReceivedMessage[]> {
    return take(this.#messages, count);
  }

  /** Waits for as many messages, for their texts. */
  async texts(count: number): Promise<string[]> {
    return (await this.take(count)).map((message) => message.text());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close();
    await this.broker[Symbol.asyncDispose]();
  }
}

async function take(
  messages: Subscription,
  count: number,
): Promise<ReceivedMessage[]> {
  const signal = AbortSignal.timeout(30_000);
  const taken: ReceivedMessage[] = [];
  while (taken.length < count) taken.push(await messages.take({ signal }));
  return taken;
}

/** What the broker has retained for a topic. */
async function retained(
  { port }: LoggedBroker,
  topic = "a",
): Promise<string[]> {
  await using client = await Client.connect({ port });
  const messages = await client.subscribe([topic, "mark"], { qos: 1 });
  // It comes behind what is retained.
  await client.publish("mark", "", { qos: 1 });
  const texts: string[] = [];
  for await (const message of messages) {
    if (message.topicName === "mark") break;
    texts.push(message.text());
  }
  return texts;
}

/** A call with these flags, and with those that it needs besides. */
function callOf(
  flags: readonly string[],
  id: string,
  broker: LoggedBroker,
): [ProgramName, string[]] {
  const port = String(broker.port);
  const args = flags.map((flag) => flag.replace("PORT", port));
  const given = args.map((arg) => arg.split("=")[0]!);
  const lacks = (...names: string[]) =>
    !names.some((name) => given.includes(name));
  args.push("-i", id);
  if (lacks("-p", "--port")) args.push("-p", port);
  if (lacks("-t", "--topic", "-T", "--topic-id")) args.push("-t", "a");
  const sources = ["-m", "--message", "-l", "--stdin-line", "-s"];
  if (lacks(...sources, "--stdin-file", "-n", "--null-message")) {
    args.push("-m", "1");
  }
  return ["publisher", args];
}
