/**
 * Tests of publisher and subscriber as programs that speak the classic protocol:
 * started as processes, with flags and pipes, and judged by what they print and
 * how they end.
 *
 * @module
 */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ClassicClient } from "../../classic_client.ts";
import { MAX_DATAGRAM } from "../../base/peer.ts";
import { LoggedBroker } from "../support/broker.ts";
import {
  assertFailed,
  assertUsageErrors,
  DONE,
  noBroker,
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

const CLASSIC = ["--protocol", "classic"] as const;

const ACCEPTED = "Broker has recieved message";
const NO_ANSWER = "Broker is taking too much time for reply";
const TOPIC_TO_PUBLISH = "Enter topic to publish or exit_ to terminate : ";
const DATA_TO_PUBLISH = "Enter data to publish : ";
const TOPIC_TO_SUBSCRIBE = "Enter topic to subscribe or exit_ to terminate : ";

// The flags that mean something here, and command lines that use them.

const CLIENT_FLAGS: readonly string[][] = [
  ["-h", "127.0.0.1"],
  ["--host", "localhost"],
  ["-p", "PORT"],
  ["--port=PORT"],
  ["--timeout", "50"],
  ["--timeout=50.5"],
  ["-d"],
  ["--debug"],
];

const PUBLISHER_FLAGS: readonly string[][] = [
  ...CLIENT_FLAGS,
  ["-t", "a"],
  ["--topic", "a"],
  ["--topic=a"],
  ["-m", "1"],
  ["--message", "1"],
  ["--message=1"],
  ["-f", "deno.json"],
  ["--file", "deno.json"],
  ["-l"],
  ["--stdin-line"],
  ["-s"],
  ["--stdin-file"],
  ["--repeat", "2"],
  ["--repeat", "2", "--repeat-delay", ".001"],
];

const SUBSCRIBER_FLAGS: readonly string[][] = [
  ...CLIENT_FLAGS,
  ["-t", "a"],
  ["--topic", "a"],
  ["--topic=a"],
  ["-C", "1"],
  ["--count", "1"],
  ["-W", "50"],
  ["--wait", "50"],
  ["-v"],
  ["--verbose"],
  ["-N"],
  ["--no-newline"],
];

Deno.test("the publisher takes each flag when --help names it", async () => {
  await using broker = await LoggedBroker.listen();
  const calls = PUBLISHER_FLAGS.map((flags) =>
    callOf("publisher", flags, broker.broker.port)
  );
  const outcomes = await runEach(calls, { input: "1" });
  for (const [i, { code, stdout, stderr }] of outcomes.entries()) {
    const [, args] = calls[i]!;
    const isVerbose = args.includes("-d") || args.includes("--debug");
    assertEquals([code, stdout], [0, ""], args.join(" "));
    assertEquals(stderr !== "", isVerbose, stderr);
  }
  const published = outcomes.length + 2; // two are repeated
  assertEquals(broker.broker.stats().published, published);
});

Deno.test("the subscriber takes each flag when --help names it", async () => {
  await using broker = await LoggedBroker.listen();
  await publish(broker, "a", "1");
  const calls = SUBSCRIBER_FLAGS.map((flags) =>
    callOf("subscriber", flags, broker.broker.port)
  );
  for (const [i, outcome] of (await runEach(calls)).entries()) {
    const [, args] = calls[i]!;
    const isVerbose = args.includes("-d") || args.includes("--debug");
    assertEquals(outcome.code, 0, args.join(" "));
    assertMatch(outcome.stdout, /^(a )?1\n?$/);
    assertEquals(outcome.stderr !== "", isVerbose, outcome.stderr);
  }
});

// The command line

Deno.test("the publisher and the subscriber say what is wrong in a line when their flags are", async () => {
  const to = ["-t", "a", "-m", "1"];
  const calls: [ProgramName, string[], string][] = [
    ["publisher", [...to, "2"], 'Unexpected argument "2"'],
    ["publisher", ["-t", "a", "-m"], 'Flag "-m" needs a value: TEXT'],
    [
      "publisher",
      ["-t", "a"],
      "Nothing to publish: give -m TEXT, -f FILE, -l or -s",
    ],
    ["publisher", ["-m", "1"], 'Flag "--message" needs a topic: -t TOPIC'],
    ["publisher", ["-l"], 'Flag "--stdin-line" needs a topic: -t TOPIC'],
    ...[
      ["--message", "--file", ["-m", "1", "-f", "deno.json"]],
      ["--message", "--stdin-line", ["-l", "-m", "1"]],
      ["--file", "--stdin-file", ["-s", "--file=deno.json"]],
      ["--stdin-line", "--stdin-file", ["-l", "-s"]],
    ].map(([one, other, args]): [ProgramName, string[], string] => [
      "publisher",
      ["-t", "a", ...args as string[]],
      `Flags "${one}" and "${other}" exclude each other`,
    ]),
    [
      "publisher",
      [...to, "--repeat", "0"],
      'Flag "--repeat" takes a whole number from 1 to 1000000000, not "0"',
    ],
    [
      "publisher",
      [...to, "--repeat-delay", "-1"],
      'Flag "--repeat-delay" takes seconds from 0 to 1000000, not "-1"',
    ],
    [
      "publisher",
      [...to, "--timeout", "soon"],
      'Flag "--timeout" takes seconds from 0.001 to 1000000, not "soon"',
    ],
    [
      "subscriber",
      ["-t", "a", "-C", "0"],
      'Flag "--count" takes a whole number from 1 to 1000000000, not "0"',
    ],
    [
      "subscriber",
      ["-t", "a", "-C", "2"],
      'Flag "--count" takes at most one history for each topic, not "2"',
    ],
    [
      "subscriber",
      ["-t", "a", "-W", "0"],
      'Flag "--wait" takes seconds from 0.001 to 1000000, not "0"',
    ],
    ["subscriber", ["-v"], 'Flag "--verbose" needs a topic: -t TOPIC'],
    ["subscriber", ["-W", "1"], 'Flag "--wait" needs a topic: -t TOPIC'],
  ];
  await assertUsageErrors(
    calls.map((
      [name, args, message],
    ) => [name, [...CLASSIC, ...args], message]),
  );
});

// What has no meaning in this protocol.
const SN_FLAGS = {
  publisher: [
    ...["-T=1", "-n", "-q=1", "-r", "--multicast=225.1.1.1", "-i=a", "-k=1"],
    ...["-c", "--will-topic=a", "--will-payload=a", "--will-qos=1"],
    ...["--will-retain", "--predefined=a", "--short-topic"],
  ],
  subscriber: [
    ...["-T=1", "-q=1", "-E", "-R", "-F=%p", "--sleep=1", "-i=a", "-k=1"],
    ...["--multicast=225.1.1.1", "-c", "--will-topic=a", "--will-payload=a"],
    ...["--will-qos=1", "--will-retain", "--predefined=a", "--short-topic"],
  ],
} as const;

for (const name of ["publisher", "subscriber"] as const) {
  Deno.test(`the ${name} says which flags need MQTT-SN when they are given`, async () => {
    const calls: [ProgramName, string[]][] = SN_FLAGS[name].map((flag) => [
      name,
      [...CLASSIC, "-t", "a", flag],
    ]);
    for (const outcome of await runEach(calls)) {
      const message =
        /Flag "--[a-z-]+" needs --protocol mqtt-sn; see [a-z]+ --help/;
      assertFailed(outcome, name, message);
    }
  });
}

// The port, and the broker that is not there

Deno.test("the publisher and the subscriber take the port from PORT when no flag says which", async () => {
  await using broker = await LoggedBroker.listen();
  const env = { PORT: String(broker.broker.port) };
  const args = [...CLASSIC, "-t", "a", "-m", "1"];
  assertEquals(await run("publisher", args, { env }), DONE);
  const outcome = await run("subscriber", [...CLASSIC, "-t", "a"], { env });
  assertEquals(outcome, { ...DONE, stdout: "1\n" });
  // A flag has the last word.
  const wrong = { PORT: "x" };
  const flags = [...broker.flags, ...args];
  assertEquals(await run("publisher", flags, { env: wrong }), DONE);
});

Deno.test("the publisher says in a line that no broker answered when there is none", async () => {
  using nobody = new SilentPort();
  const flags = [...CLASSIC, "-p", String(nobody.port), "--timeout", "0.3"];
  const to = [...flags, "-t", "a"];
  const calls: [ProgramName, string[]][] = [
    ["publisher", [...to, "-m", "1"]],
    ["publisher", [...to, "-l"]],
    ["publisher", [...to, "-s"]],
    ["publisher", [...to, "-f", "deno.json", "--repeat", "3"]],
  ];
  for (const outcome of await runEach(calls, { input: "1\n2\n" })) {
    assertFailed(outcome, "publisher", noBroker(nobody));
  }
  const piped = await run("publisher", flags, { input: "a\n1\n" });
  const asked = `${TOPIC_TO_PUBLISH}${DATA_TO_PUBLISH}`;
  assertFailed(piped, "publisher", noBroker(nobody), {
    stdout: `${asked}${NO_ANSWER}\n${TOPIC_TO_PUBLISH}`,
  });
});

Deno.test("the subscriber says in a line that no broker answered when there is none", async () => {
  using nobody = new SilentPort();
  const flags = [...CLASSIC, "-p", String(nobody.port), "--timeout", "0.3"];
  const calls: [ProgramName, string[]][] = [
    ["subscriber", [...flags, "-t", "a"]],
    ["subscriber", [...flags, "-t", "a", "-t", "b", "-v"]],
  ];
  for (const outcome of await runEach(calls)) {
    assertFailed(outcome, "subscriber", noBroker(nobody));
  }
  const piped = await run("subscriber", flags, { input: "a\n" });
  assertFailed(piped, "subscriber", noBroker(nobody), {
    stdout: TOPIC_TO_SUBSCRIBE,
  });
});

Deno.test("the publisher and the subscriber say so in a line when the host is unknown", async () => {
  for (const host of UNKNOWN_HOSTS) {
    const args = [...CLASSIC, "-h", host, "--timeout", "0.3", "-t", "a"];
    const message = `Cannot find a host called "${host}"`;
    const published = await run("publisher", [...args, "-m", "1"]);
    assertFailed(published, "publisher", message);
    assertFailed(await run("subscriber", args), "subscriber", message);
  }
});

Deno.test("the publisher and the subscriber log each datagram when --debug is given", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.classicFlags, "-d", "-t", "a"];
  const published = await run("publisher", [...args, "-m", "1"]);
  assertMatch(
    published.stderr,
    /^\S+ debug Broker answered "Broker has recieved message"\n$/,
  );
  const { code, stdout, stderr } = await run("subscriber", args);
  assertEquals([code, stdout], [0, "1\n"]);
  assertMatch(stderr, /^\S+ debug Broker answered "1"\n/);
});

// The publisher, told by flags

Deno.test("the publisher keeps the message as it is when it publishes", async () => {
  await using broker = await LoggedBroker.listen();
  const messages = ["  padded  ", "21.5 °C 🌡", "a\nb", "-5", "-m", "--", "="];
  const to = [...broker.classicFlags, "-t", " a "];
  for (const message of messages) {
    assertEquals(await run("publisher", [...to, "-m", message]), DONE);
  }
  assertEquals(await run("publisher", [...to, "--message=-5=6"]), DONE);
  const published = [...messages, "-5=6"].join("\n");
  assertEquals(await broker.history("a"), published);
});

Deno.test("the publisher says so in a line when the broker refuses", async () => {
  await using broker = await LoggedBroker.listen();
  const flags = [...broker.classicFlags];
  const calls: [string[], string][] = [
    [["-t", "a", "-m", ""], "Invalid data provided"],
    [["-m", "", "-t", "a"], "Invalid data provided"],
    [["-t", "a", "--message="], "Invalid data provided"],
    [["-t", "a", "-m", " "], "Invalid data provided"],
    [["-t", "", "-m", "1"], "Invalid topic provided"],
    [["-t", " ", "-m", "1"], "Invalid topic provided"],
    [["-t", "a", "-s"], "Invalid data provided"],
  ];
  const outcomes = await runEach(
    calls.map(([args]) => ["publisher", [...flags, ...args]]),
  );
  for (const [i, outcome] of outcomes.entries()) {
    assertFailed(outcome, "publisher", calls[i]![1]);
  }
  assertEquals(broker.broker.stats().published, 0);
});

Deno.test("the publisher publishes as often as it is told when --repeat is given", async () => {
  await using broker = await LoggedBroker.listen();
  const to = [...broker.classicFlags, "-t", "a", "-m", "1"];
  const repeat = ["--repeat", "3", "--repeat-delay", "0"];
  assertEquals(await run("publisher", [...to, ...repeat]), DONE);
  assertEquals(await broker.history("a"), "1\n1\n1");
});

Deno.test("the publisher publishes a file as one datum when --file is given", async () => {
  await using broker = await LoggedBroker.listen();
  await using file = await TempFile.with(" 21.5 °C\r\n\n22\n");
  const args = [...broker.classicFlags, "-t", "a", "-f", file.path];
  assertEquals(await run("publisher", [...args, "--repeat", "2"]), DONE);
  const text = " 21.5 °C\r\n\n22\n";
  assertEquals(await broker.history("a"), `${text}\n${text}`);
});

Deno.test("the publisher says so in a line when it cannot publish a file", async () => {
  await using broker = await LoggedBroker.listen();
  await using binary = await TempFile.with(new Uint8Array([0x61, 0xff]));
  await using large = await TempFile.with("x".repeat(MAX_DATAGRAM));
  const to = [...broker.classicFlags, "-t", "a"];
  const missing = `${binary.path}.missing`;
  const calls: [string[], string | RegExp][] = [
    [["-f", missing], `Cannot read "${missing}": there is no such file`],
    [["-f", "tests"], /Cannot read "tests": .+/],
    [
      ["-f", binary.path],
      `Cannot publish ${binary.path}: the classic protocol carries text, and it is no UTF-8`,
    ],
    [
      ["-f", large.path],
      /Cannot publish: 65\d{3} octets do not fit a datagram of 65507/,
    ],
  ];
  for (const [args, message] of calls) {
    const outcome = await run("publisher", [...to, ...args]);
    assertFailed(outcome, "publisher", message);
  }
  assertEquals(broker.broker.stats().published, 0);
});

Deno.test("the publisher publishes all of its input as one datum when --stdin-file is given", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.classicFlags, "-t", "a", "-s"];
  const input = "  21.5 °C\r\n\n22\n";
  assertEquals(await run("publisher", args, { input }), DONE);
  assertEquals(await broker.history("a"), input);
  assertFailed(
    await run("publisher", args, { input: new Uint8Array([0x61, 0xff]) }),
    "publisher",
    "Cannot publish standard input: the classic protocol carries text, and it is no UTF-8",
  );
});

Deno.test("the publisher publishes each line that is not blank when --stdin-line is given", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.classicFlags, "-t", "a", "-l"];
  const input = "\n  1 \n\r\n2\r\n \t\n3 °C\n\n4";
  assertEquals(await run("publisher", args, { input }), DONE);
  assertEquals(await broker.history("a"), "  1 \n2\n3 °C\n4");
});

Deno.test("the publisher publishes a line as it comes when --stdin-line is given", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.classicFlags, "-t", "a", "-l"];
  await using publisher = start("publisher", args);
  await publisher.write("1\n2");
  await broker.published("a");
  assertEquals(await broker.history("a"), "1");
  await publisher.write("2\n");
  await broker.published("a");
  assertEquals(await broker.history("a"), "1\n22");
  await publisher.endInput();
  assertEquals(await publisher.outcome(), DONE);
});

// The publisher, from a pipe

Deno.test("the publisher prints prompts and answers as the first one did when it reads from a pipe", async () => {
  await using broker = await LoggedBroker.listen();
  const input = "weather\n21.5\n\n1\nweather\n\nweather\n  22 °C \nexit_\nx\n";
  assertEquals(await run("publisher", broker.classicFlags, { input }), {
    ...DONE,
    stdout: [
      ACCEPTED,
      "Invalid topic provided",
      "Invalid data provided",
      ACCEPTED,
    ]
      .map((answer) => `${TOPIC_TO_PUBLISH}${DATA_TO_PUBLISH}${answer}\n`)
      .join("") + TOPIC_TO_PUBLISH,
  });
  assertEquals(await broker.history("weather"), "21.5\n  22 °C ");
});

Deno.test("the publisher ends when its input does", async () => {
  await using broker = await LoggedBroker.listen();
  const once = `${TOPIC_TO_PUBLISH}${DATA_TO_PUBLISH}`;
  for (
    const [input, stdout] of [
      ["", TOPIC_TO_PUBLISH],
      ["a", once],
      ["a\n", once],
      ["a\n1", `${once}${ACCEPTED}\n${TOPIC_TO_PUBLISH}`],
      ["a\n1\n", `${once}${ACCEPTED}\n${TOPIC_TO_PUBLISH}`],
    ] as const
  ) {
    const outcome = await run("publisher", broker.classicFlags, { input });
    assertEquals(outcome, { ...DONE, stdout }, JSON.stringify(input));
  }
});

Deno.test("the publisher takes lines that end in \\r\\n when it reads from a pipe", async () => {
  await using broker = await LoggedBroker.listen();
  const input = "a\r\n1\r\n2\r\n \r\nexit_\r\n";
  const { code, stdout } = await run("publisher", broker.classicFlags, {
    input,
  });
  assertEquals(code, 0);
  assertStringIncludes(stdout, `${ACCEPTED}\n`);
  assertStringIncludes(stdout, "Invalid data provided\n");
  assertEquals(await broker.history("a"), "1");
});

Deno.test("the publisher goes on when a datum from a pipe does not fit", async () => {
  await using broker = await LoggedBroker.listen();
  const input = `a\n${"x".repeat(70_000)}\na\n1\n`;
  const { code, stdout } = await run("publisher", broker.classicFlags, {
    input,
  });
  assertEquals(code, 0);
  assertMatch(
    stdout,
    / : Cannot publish: \d+ octets do not fit a datagram .+\n/,
  );
  assertEquals(await broker.history("a"), "1");
});

Deno.test("the publisher answers each line from a pipe when it comes", async () => {
  await using broker = await LoggedBroker.listen();
  await using publisher = start("publisher", broker.classicFlags);
  await publisher.stdout.until(TOPIC_TO_PUBLISH);
  await publisher.write("a\n");
  await publisher.stdout.until(DATA_TO_PUBLISH);
  await publisher.write("1\n");
  await publisher.stdout.until(`${ACCEPTED}\n${TOPIC_TO_PUBLISH}`);
  await publisher.write("exit_\n");
  assertEquals((await publisher.outcome()).code, 0);
});

// The subscriber

Deno.test("the subscriber prints a topic's history when it has one", async () => {
  await using broker = await LoggedBroker.listen();
  await publish(broker, "weather", "  21.5 °C ", "22");
  const args = [...broker.classicFlags, "-t", " weather "];
  const stdout = "  21.5 °C \n22\n";
  assertEquals(await run("subscriber", args), { ...DONE, stdout });
});

Deno.test("the subscriber waits for the first publish when a topic has no history", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.classicFlags, "-t", "a"];
  await using subscriber = start("subscriber", args);
  await broker.subscribed("a");
  await publish(broker, "a", "1", "2");
  assertEquals(await subscriber.outcome(), { ...DONE, stdout: "1\n" });
});

Deno.test("the subscriber prints topics as they come when more than one is given", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.classicFlags, "-t", "a", "-t", "b"];
  await using subscriber = start("subscriber", args);
  await bothSubscribed(broker);
  await publish(broker, "b", "2");
  assertEquals(await subscriber.stdout.line(), "2");
  await publish(broker, "a", "1");
  assertEquals(await subscriber.outcome(), { ...DONE, stdout: "2\n1\n" });
});

Deno.test("the subscriber puts the topic before each line when --verbose is given", async () => {
  await using broker = await LoggedBroker.listen();
  await publish(broker, "$& b", "1\r2\n", "3");
  const args = [...broker.classicFlags, "-t", "$& b", "-v"];
  const stdout = "$& b 1\r2\n$& b \n$& b 3\n";
  assertEquals(await run("subscriber", args), { ...DONE, stdout });
});

Deno.test("the subscriber prints no line end when --no-newline is given", async () => {
  await using broker = await LoggedBroker.listen();
  await publish(broker, "a", "1", "2");
  const args = [...broker.classicFlags, "-t", "a", "-N"];
  assertEquals(await run("subscriber", args), { ...DONE, stdout: "1\n2" });
});

Deno.test("the subscriber ends after as many histories as --count says", async () => {
  await using broker = await LoggedBroker.listen();
  await publish(broker, "b", "2");
  const topics = ["-t", "a", "-t", "b", "-t", "c"];
  const args = [...broker.classicFlags, ...topics, "--count", "1"];
  assertEquals(await run("subscriber", args), { ...DONE, stdout: "2\n" });
});

Deno.test("the subscriber gives up with 27 when --wait is over", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.classicFlags, "-t", "a", "-W"];
  const outcomeOfOne = await run("subscriber", [...args, "0.05"]);
  assertEquals(outcomeOfOne, { ...DONE, code: 27 });
  await publish(broker, "b", "2");
  const outcome = await run("subscriber", [...args, "1", "-t", "b"]);
  assertEquals(outcome, { ...DONE, code: 27, stdout: "2\n" });
});

Deno.test("the subscriber says so in a line when the broker refuses", async () => {
  await using broker = await LoggedBroker.listen();
  for (const topic of ["", " "]) {
    const outcome = await run("subscriber", [
      ...broker.classicFlags,
      "-t",
      topic,
    ]);
    assertFailed(outcome, "subscriber", "Invalid topic provided");
  }
  await using full = await LoggedBroker.listen({ maxWaitingPerPeer: 0 });
  const outcome = await run("subscriber", [...full.classicFlags, "-t", "a"]);
  assertFailed(outcome, "subscriber", "Broker has got an error");
});

Deno.test("the subscriber prints prompts and histories as the first one did when it reads from a pipe", async () => {
  await using broker = await LoggedBroker.listen();
  await publish(broker, "weather", "21.5 °C", "  22 ");
  await using subscriber = start("subscriber", broker.classicFlags);
  await subscriber.write("weather\r\n\n  weather\nlater\n");
  await broker.subscribed("later");
  await publish(broker, "later", "1");
  await subscriber.write("exit_\nweather\n");
  const history = "21.5 °C\n  22 ";
  assertEquals(await subscriber.outcome(), {
    ...DONE,
    stdout: [history, "Invalid topic provided", history, "1"]
      .map((answer) => `${TOPIC_TO_SUBSCRIBE}${answer}\n`)
      .join("") + TOPIC_TO_SUBSCRIBE,
  });
});

Deno.test("the subscriber ends when its input does", async () => {
  await using broker = await LoggedBroker.listen();
  await publish(broker, "a", "1");
  const once = `${TOPIC_TO_SUBSCRIBE}1\n${TOPIC_TO_SUBSCRIBE}`;
  for (
    const [input, stdout] of [
      ["", TOPIC_TO_SUBSCRIBE],
      ["a", once],
      ["a\n", once],
    ] as const
  ) {
    const outcome = await run("subscriber", broker.classicFlags, { input });
    assertEquals(outcome, { ...DONE, stdout }, JSON.stringify(input));
  }
});

// Pipes and signals

Deno.test("the publisher ends in peace when nobody reads what it prints", async () => {
  await using broker = await LoggedBroker.listen();
  await using publisher = start("publisher", broker.classicFlags);
  await publisher.write("a\n1\n");
  await publisher.stdout.until(`${ACCEPTED}\n${TOPIC_TO_PUBLISH}`);
  await publisher.stdout.close();
  await publisher.write("a\n2\n");
  const { code, stderr } = await publisher.outcome();
  assertEquals([code, stderr], [0, ""]);
});

Deno.test("the subscriber ends in peace when nobody reads what it prints", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.classicFlags, "-t", "a", "-t", "b"];
  await using subscriber = start("subscriber", args);
  await bothSubscribed(broker);
  await publish(broker, "a", "1");
  assertEquals(await subscriber.stdout.line(), "1");
  await subscriber.stdout.close();
  await publish(broker, "b", "2");
  const { code, stderr } = await subscriber.outcome();
  assertEquals([code, stderr], [0, ""]);
});

Deno.test({
  name: "the subscriber fails when what it prints is lost",
  ignore: Deno.build.os !== "linux", // the others have no /dev/full
  async fn() {
    await using broker = await LoggedBroker.listen();
    await publish(broker, "a", "1");
    const command = [
      Deno.execPath(),
      "run -A subscriber.ts",
      ...broker.classicFlags,
    ];
    await using shell = new Running("sh", [
      "-c",
      `${command.join(" ")} -t a >/dev/full`,
    ]);
    const { code, stderr } = await shell.outcome();
    assertEquals(code, 1);
    assertEquals(stderr.split("\n").length, 2, stderr);
  },
});

Deno.test("the subscriber ends when one of its topics is refused", async () => {
  await using broker = await LoggedBroker.listen();
  await using subscriber = start("subscriber", [
    ...broker.classicFlags,
    ...["-t", "quiet", "-t", " "],
  ]);
  assertEquals(await subscriber.outcome(), {
    code: 1,
    stdout: "",
    stderr: "subscriber: Invalid topic provided\n",
  });
});

testSignals("the publisher ends with 130 when it gets SIGINT", async () => {
  await using broker = await LoggedBroker.listen();
  const to = [...broker.classicFlags, "-t", "a"];
  const delayed = ["-m", "1", "--repeat", "2", "--repeat-delay", "1000"];
  await using repeating = start("publisher", [...to, ...delayed]);
  await broker.published("a");
  await using reading = start("publisher", [...to, "-l"]);
  await reading.write("1\n");
  await broker.published("a");
  await using asking = start("publisher", broker.classicFlags);
  await asking.stdout.until(TOPIC_TO_PUBLISH);
  for (const publisher of [repeating, reading, asking]) {
    publisher.kill("SIGINT");
    const { code, stderr } = await publisher.outcome();
    assertEquals([code, stderr], [130, ""]);
  }
});

testSignals(
  "the publisher ends with 130 when it gets SIGINT before an answer",
  async () => {
    using nobody = new SilentPort();
    const flags = [...CLASSIC, "-p", String(nobody.port), "--timeout", "1000"];
    await using publisher = start("publisher", flags);
    await publisher.write("a\n1\n");
    await publisher.stdout.until(DATA_TO_PUBLISH);
    publisher.kill("SIGINT");
    const { code, stderr } = await publisher.outcome();
    assertEquals([code, stderr], [130, ""]);
  },
);

testSignals("the subscriber ends with 130 when it gets SIGINT", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.classicFlags, "-t", "a", "-W", "1000"];
  await using waiting = start("subscriber", args);
  await broker.subscribed("a");
  await using piped = start("subscriber", broker.classicFlags);
  await piped.write("b\n");
  await broker.subscribed("b");
  await using asking = start("subscriber", broker.classicFlags);
  await asking.stdout.until(TOPIC_TO_SUBSCRIBE);
  for (const subscriber of [waiting, piped, asking]) {
    subscriber.kill("SIGINT");
    const { code, stderr } = await subscriber.outcome();
    assertEquals([code, stderr], [130, ""]);
  }
});

/** A call with these flags, and with those that it needs besides. */
function callOf(
  name: "publisher" | "subscriber",
  flags: readonly string[],
  port: number,
): [ProgramName, string[]] {
  const args = [...CLASSIC, ...flags].map((flag) =>
    flag.replace("PORT", String(port))
  );
  const given = args.map((arg) => arg.split("=")[0]!);
  const lacks = (...names: string[]) =>
    !names.some((name) => given.includes(name));
  if (lacks("-p", "--port")) args.push("-p", String(port));
  if (lacks("-t", "--topic")) args.push("-t", "a");
  const sources = PUBLISHER_SOURCES.flatMap((source) => source.split(", "));
  if (name === "publisher" && lacks(...sources)) args.push("-m", "1");
  return [name, args];
}

const PUBLISHER_SOURCES = [
  "-m, --message",
  "-f, --file",
  "-l, --stdin-line",
  "-s, --stdin-file",
];

/** Publishes from this process. */
async function publish(
  { broker }: LoggedBroker,
  topic: string,
  ...data: string[]
): Promise<void> {
  await using publisher = await ClassicClient.connect(broker);
  for (const datum of data) await publisher.publish(topic, datum);
}

/** Waits until a subscriber of `a` and `b` waits for both, in whatever order. */
async function bothSubscribed({ log }: LoggedBroker): Promise<void> {
  await log.until(" subscribed to ");
  await log.until(" subscribed to ");
}
