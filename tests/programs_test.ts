/**
 * Tests of broker, publisher and subscriber as programs: started as processes,
 * with flags and pipes, and judged by what they print and how they end.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { ClassicClient } from "../classic_client.ts";
import config from "../deno.json" with { type: "json" };
import { MAX_DATAGRAM, peerOf } from "../message.ts";
import { MSG_TYPE } from "../packet.ts";
import { UdpTransport } from "../transport.ts";
import { LoggedBroker } from "./support/broker.ts";
import {
  type Outcome,
  portOf,
  type ProgramName,
  run,
  Running,
  SilentPort,
  start,
} from "./support/programs.ts";

const PROGRAMS = ["broker", "publisher", "subscriber"] as const;
const DONE: Outcome = { code: 0, stdout: "", stderr: "" };

const ACCEPTED = "Broker has recieved message";
const NO_ANSWER = "Broker is taking too much time for reply";
const TOPIC_TO_PUBLISH = "Enter topic to publish or exit_ to terminate : ";
const DATA_TO_PUBLISH = "Enter data to publish : ";
const TOPIC_TO_SUBSCRIBE = "Enter topic to subscribe or exit_ to terminate : ";

/** No address, and no name that anybody has to be asked about. */
const UNKNOWN_HOSTS = ["no..host", "256.1.1.1", ":"];

// What each program's --help names: a flag as it is listed there, and command
// lines that use it.

const PREDEFINED = "tests/predefined.json";

const BROKER_FLAGS: Record<string, string[][]> = {
  "-h, --host ADDRESS": [["-h", "127.0.0.1"], ["--host", "localhost"]],
  "-p, --port N": [["-p", "0"], ["--port=0"]],
  "--history N": [["--history", "2"]],
  "--predefined FILE": [["--predefined", PREDEFINED]],
  "--max-clients N": [["--max-clients", "1"]],
  "--session-expiry S": [["--session-expiry", "0"]],
  "--max-memory MIB": [["--max-memory", "1"]],
  "--max-queue N": [["--max-queue", "1"]],
  "--overflow WORD": [["--overflow", "drop"], ["--overflow", "refuse"]],
  "--retry-ms N": [["--retry-ms", "50"]],
  "--retries N": [["--retries", "0"]],
  "--tolerance X": [["--tolerance", "1.5"], ["--tolerance=2"]],
  "--max-rate N": [["--max-rate", "1"]],
  "--gw-id N": [["--gw-id", "7"]],
  "--multicast ADDRESS[:PORT]": [["--multicast", "225.1.1.1:18831"]],
  "--advertise S": [["--advertise", "900", "--multicast", "225.1.1.1:18831"]],
  "--standby": [
    ["--standby", "--advertise=900", "--multicast", "225.1.1.1:18831"],
  ],
  "--strict": [["--strict"]],
  "--allow-empty-client-id": [["--allow-empty-client-id"]],
  "--require-keep-alive": [["--require-keep-alive"]],
  "--connect-wakes-only": [["--connect-wakes-only"]],
  "--register-predefined": [["--register-predefined"]],
  "--no-qos-minus-one": [["--no-qos-minus-one"]],
  "--named-qos-minus-one": [["--named-qos-minus-one"]],
  "--no-move": [["--no-move"]],
  "--ignore-tail": [["--ignore-tail"]],
  "--log-level LEVEL": ["debug", "info", "warn", "error", "none"]
    .map((level) => ["--log-level", level]),
  "--log-json": [["--log-json"]],
  "--version": [],
  "--help": [],
};

const CLIENT_FLAGS: Record<string, string[][]> = {
  "-h, --host ADDRESS": [["-h", "127.0.0.1"], ["--host", "localhost"]],
  "-p, --port N": [["-p", "PORT"], ["--port=PORT"]],
  "--protocol NAME": [["--protocol", "classic"]],
  "--timeout S": [["--timeout", "50"], ["--timeout=50.5"]],
  "-d, --debug": [["-d"], ["--debug"]],
};

const PUBLISHER_FLAGS: Record<string, string[][]> = {
  ...CLIENT_FLAGS,
  "-t, --topic TOPIC": [["-t", "a"], ["--topic", "a"], ["--topic=a"]],
  "-m, --message TEXT": [["-m", "1"], ["--message", "1"], ["--message=1"]],
  "-f, --file FILE": [["-f", "deno.json"], ["--file", "deno.json"]],
  "-l, --stdin-line": [["-l"], ["--stdin-line"]],
  "-s, --stdin-file": [["-s"], ["--stdin-file"]],
  "--repeat N": [["--repeat", "2"]],
  "--repeat-delay S": [["--repeat", "2", "--repeat-delay", ".001"]],
  "--version": [],
  "--help": [],
};

const SUBSCRIBER_FLAGS: Record<string, string[][]> = {
  ...CLIENT_FLAGS,
  "-t, --topic TOPIC": [["-t", "a"], ["--topic", "a"], ["--topic=a"]],
  "-C, --count N": [["-C", "1"], ["--count", "1"]],
  "-W, --wait S": [["-W", "50"], ["--wait", "50"]],
  "-v, --verbose": [["-v"], ["--verbose"]],
  "-N, --no-newline": [["-N"], ["--no-newline"]],
  "--version": [],
  "--help": [],
};

Deno.test("each program prints its usage when --help is given", async () => {
  const outcomes = await runEach(PROGRAMS.map((name) => [name, ["--help"]]));
  const flags = [BROKER_FLAGS, PUBLISHER_FLAGS, SUBSCRIBER_FLAGS];
  for (const [i, { code, stdout, stderr }] of outcomes.entries()) {
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /^.+\.\n\nExamples:\n(?: {2}.+\n)+\nFlags:\n/);
    const listed = stdout.matchAll(/^ {2,6}(-.+?) {2,}\S/gm);
    assertEquals([...listed].map(([, flag]) => flag), Object.keys(flags[i]!));
  }
});

Deno.test("each program prints its version when --version is given", async () => {
  for (const name of PROGRAMS) {
    const stdout = `${name} ${config.version}\n`;
    assertEquals(await run(name, ["--version"]), { ...DONE, stdout });
  }
});

Deno.test("each program prints its usage when other flags come with --help", async () => {
  const args = ["-p", "1", "--help"];
  for (const { stdout } of await runEach(PROGRAMS.map((it) => [it, args]))) {
    assertStringIncludes(stdout, "\nFlags:\n");
  }
});

Deno.test("the broker takes each flag when --help names it", async () => {
  for (const args of Object.values(BROKER_FLAGS).flat()) {
    const hasPort = args.join(" ").includes("-p");
    await using broker = start("broker", [
      ...hasPort ? [] : ["--port", "0"],
      ...args,
    ]);
    await using client = await ClassicClient.connect({
      port: await portOf(broker),
    });
    assert(await client.ping(), args.join(" "));
  }
});

// What a flag changes: datagrams to the broker, in hexadecimal, and all that it
// answers.

const CONNECT_A = "07 04 04 01 00 00 61";
const CONNACK = "03 05 00";
const BROKER_DATAGRAMS: readonly (readonly [string[], string[], string[]])[] = [
  [["--gw-id", "7"], [], []],
  [
    ["--predefined", PREDEFINED],
    [CONNECT_A, "07 12 01 00 04 00 05"],
    [CONNACK, "08 13 00 00 05 00 04 00"],
  ],
  [
    ["--predefined", PREDEFINED, "--register-predefined"],
    [CONNECT_A, "09 0A 00 00 00 01 61 2F 62"],
    [CONNACK, "07 0B 00 05 00 01 00"],
  ],
  [
    ["--max-clients", "1"],
    ["07 04 00 01 00 00 62", "07 12 02 00 05 61 62", "02 18", CONNECT_A],
    [CONNACK, "08 13 00 00 00 00 05 00", "02 18", "03 05 01"],
  ],
  [
    ["--max-clients", "1", "--session-expiry", "0"],
    ["07 04 00 01 00 00 62", "07 12 02 00 05 61 62", "02 18", CONNECT_A],
    [CONNACK, "08 13 00 00 00 00 05 00", "02 18", CONNACK],
  ],
  [
    ["--max-memory", "1"],
    [
      CONNECT_A,
      // A name of 65,400 octets takes nearly all of a client's eighth.
      `01 FF 80 0A 00 00 00 01${" 61".repeat(65_400)}`,
      "09 0A 00 00 00 02 61 2F 62",
    ],
    [CONNACK, "07 0B 00 01 00 01 00", "07 0B 00 00 00 02 01"],
  ],
  [
    ["--max-rate", "1"],
    [
      CONNECT_A,
      "08 0C 22 61 62 00 01 78",
      "08 0C 22 61 62 00 02 78",
    ],
    [CONNACK, "07 0D 61 62 00 01 00", "07 0D 61 62 00 02 01"],
  ],
  [
    ["--strict"],
    ["1E 04 04 01 00 00" + " 61".repeat(24)],
    ["03 05 03"],
  ],
  [["--allow-empty-client-id"], ["06 04 04 01 00 00"], [CONNACK]],
  [["--require-keep-alive"], [CONNECT_A], ["03 05 03"]],
  [
    ["--connect-wakes-only"],
    [
      "07 04 00 01 00 00 61",
      "07 12 02 00 05 61 62", // SUBSCRIBE to the short name "ab"
      "04 18 00 0A",
      "08 0C 62 61 62 00 00 78", // QoS −1: buffered
      CONNECT_A,
    ],
    [
      CONNACK,
      "08 13 00 00 00 00 05 00",
      "02 18",
      CONNACK,
      "08 0C 02 61 62 00 00 78",
    ],
  ],
  [
    ["--no-qos-minus-one"],
    [CONNECT_A, "07 12 02 00 05 61 62", "08 0C 62 61 62 00 00 78"],
    [CONNACK, "08 13 00 00 00 00 05 00"],
  ],
  [
    ["--named-qos-minus-one"],
    [CONNECT_A, "07 12 02 00 05 61 62", "0A 0C 60 00 02 00 00 61 62 78"],
    [CONNACK, "08 13 00 00 00 00 05 00", "08 0C 02 61 62 00 00 78"],
  ],
  [["--ignore-tail"], [CONNECT_A + " FF"], [CONNACK]],
];

for (const [flags, datagrams, answers] of BROKER_DATAGRAMS) {
  Deno.test(`the broker answers otherwise with ${flags.join(" ")}`, async () => {
    await using broker = start("broker", ["--port", "0", ...flags]);
    await using socket = await UdpTransport.bind();
    const got: string[] = [];
    const arrived = Promise.withResolvers<void>();
    socket.receive((_peer, bytes) => {
      got.push(bytes.toHex());
      if (bytes[1] === MSG_TYPE.GWINFO) arrived.resolve();
    });
    const there = peerOf("127.0.0.1", await portOf(broker));
    for (const datagram of datagrams) socket.send(there, fromHex(datagram));
    // Behind all others: what asks for an answer in any case.
    socket.send(there, fromHex("03 01 00"));
    await arrived.promise;
    const gwInfo = flags[0] === "--gw-id" ? "030207" : "030201";
    assertEquals(got, [
      ...answers.map((hex) => hex.replaceAll(" ", "").toLowerCase()),
      gwInfo,
    ]);
  });
}

const fromHex = (hex: string) => Uint8Array.fromHex(hex.replaceAll(" ", ""));

Deno.test("the broker moves no client with --no-move", async () => {
  for (const [flags, answer] of [[[], "0217"], [["--no-move"], "0218"]]) {
    await using broker = start("broker", ["--port", "0", ...flags!]);
    const there = peerOf("127.0.0.1", await portOf(broker));
    const answers: string[] = [];
    for (const hex of [CONNECT_A, "03 16 61"]) {
      await using socket = await UdpTransport.bind();
      const arrived = Promise.withResolvers<string>();
      socket.receive((_peer, bytes) => arrived.resolve(bytes.toHex()));
      socket.send(there, fromHex(hex));
      answers.push(await arrived.promise);
    }
    assertEquals(answers, ["030500", answer]);
  }
});

Deno.test("the broker retries as it is told with --retry-ms and --retries", async () => {
  const flags = ["--retry-ms", "20", "--retries", "2"];
  await using broker = start("broker", ["--port", "0", ...flags]);
  await using socket = await UdpTransport.bind();
  const got: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.receive((_peer, bytes) => {
    got.push(bytes.toHex());
    if (got.length === 6) resolve();
  });
  const there = peerOf("127.0.0.1", await portOf(broker));
  for (
    const hex of [
      CONNECT_A,
      "07 12 22 00 05 61 62", // SUBSCRIBE to "ab" at QoS 1
      "08 0C 22 61 62 00 09 78",
    ]
  ) socket.send(there, fromHex(hex));
  await promise;
  assertEquals(got, [
    "030500",
    "0813200000000500",
    "070d6162000900",
    "080c226162000178",
    "080ca26162000178",
    "080ca26162000178",
  ]);
});

Deno.test("the broker says so in a line when a flag's file or word is wrong", async () => {
  for (
    const [args, message] of [
      [["--predefined", "no-such-file.json"], "no-such-file.json"],
      [["--predefined", "README.md"], 'from "README.md"'],
      [["--predefined", "deno.lock"], 'from "deno.lock"'],
      [["--overflow", "burst"], "takes drop, refuse"],
      [["--tolerance", "0.5"], "takes a number from 1 to 10"],
      [["--gw-id", "256"], "from 0 to 255"],
      [["--advertise", "900"], '"--advertise" needs "--multicast"'],
      [["--standby"], '"--standby" needs "--advertise"'],
      [["--multicast", "10.0.0.1"], 'Cannot take "10.0.0.1" as a multicast'],
      [["--multicast", "225.1.1.1:99999"], "as a multicast group"],
    ] as const
  ) {
    const { code, stdout, stderr } = await run("broker", [
      "-p",
      "0",
      ...args,
    ]);
    assertEquals([code, stdout], [1, ""]);
    assertMatch(stderr, /^broker: [^\n]+\n$/);
    assertStringIncludes(stderr, message);
  }
});

Deno.test("the publisher takes each flag when --help names it", async () => {
  await using broker = await LoggedBroker.listen();
  const calls = Object.values(PUBLISHER_FLAGS).flat().map((flags) =>
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
  const calls = Object.values(SUBSCRIBER_FLAGS).flat().map((flags) =>
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

Deno.test("each program says what is wrong in a line when its flags are", async () => {
  const to = ["-t", "a", "-m", "1"];
  const calls: [ProgramName, string[], string][] = [
    ["broker", ["--no-such-flag"], 'Unknown flag "--no-such-flag"'],
    ["broker", ["-x"], 'Unknown flag "-x"'],
    ["broker", ["12003"], 'Unexpected argument "12003"'],
    ["broker", ["--", "12003"], 'Unexpected argument "12003"'],
    ["broker", ["--port"], 'Flag "--port" needs a value: N'],
    ["broker", ["--port", "x"], `Flag "--port" takes ${ports(0)}, not "x"`],
    ["broker", ["-p", "65536"], `Flag "--port" takes ${ports(0)}, not "65536"`],
    ["broker", ["-p", "-1"], `Flag "--port" takes ${ports(0)}, not "-1"`],
    ["broker", ["-p", "1e3"], `Flag "--port" takes ${ports(0)}, not "1e3"`],
    ["broker", ["-p", ""], `Flag "--port" takes ${ports(0)}, not ""`],
    ["broker", ["-p", "1", "-p", "2"], 'Flag "--port" is given twice'],
    [
      "broker",
      ["--history", "0"],
      'Flag "--history" takes a whole number from 1 to 1000000, not "0"',
    ],
    [
      "broker",
      ["--log-level", "loud"],
      'Flag "--log-level" takes debug, info, warn, error, none, not "loud"',
    ],
    ["broker", ["--log-json=yes"], 'Flag "--log-json" takes no value'],
    ["publisher", ["--no-such-flag"], 'Unknown flag "--no-such-flag"'],
    ["publisher", ["weather"], 'Unexpected argument "weather"'],
    ["publisher", [...to, "2"], 'Unexpected argument "2"'],
    ["publisher", [...to, "--", "2"], 'Unexpected argument "2"'],
    [
      "publisher",
      [...to, "-p", "0"],
      `Flag "--port" takes ${ports(1)}, not "0"`,
    ],
    ["publisher", [...to, "-p"], 'Flag "-p" needs a value: N'],
    ["publisher", ["-t"], 'Flag "-t" needs a value: TOPIC'],
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
    ["publisher", [...to, "-m", "2"], 'Flag "--message" is given twice'],
    ["publisher", [...to, "-t", "b"], 'Flag "--topic" is given twice'],
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
      "publisher",
      [...to, "--protocol", "mqtt"],
      'Flag "--protocol" takes classic, not "mqtt"',
    ],
    ["subscriber", ["--message", "1"], 'Unknown flag "--message"'],
    ["subscriber", ["weather"], 'Unexpected argument "weather"'],
    ["subscriber", ["-t", "a", "--", "b"], 'Unexpected argument "b"'],
    ["subscriber", ["-t"], 'Flag "-t" needs a value: TOPIC'],
    ["subscriber", ["-p", "x"], `Flag "--port" takes ${ports(1)}, not "x"`],
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
  ];
  const outcomes = await runEach(calls.map(([name, args]) => [name, args]));
  for (const [i, outcome] of outcomes.entries()) {
    const [name, args, message] = calls[i]!;
    const stderr = `${name}: ${message}; see ${name} --help\n`;
    assertEquals(outcome, { code: 1, stdout: "", stderr }, args.join(" "));
  }
});

Deno.test("each program says in a line what Deno lacks when it is started without deno.json", async () => {
  for (const name of PROGRAMS) {
    await using program = new Running(Deno.execPath(), [
      ...["run", "-A", "--no-config", "--no-lock", `${name}.ts`],
      ...name === "broker" ? ["--port", "0"] : ["-t", "a"],
    ]);
    const outcome = await program.outcome();
    assertFailed(outcome, name, /Deno\.listenDatagram .+ --unstable-net/);
  }
});

// The broker

Deno.test("the broker prints where it listens when it has started", async () => {
  await using broker = start("broker", ["--port", "0"]);
  assertMatch(
    await broker.stdout.line(),
    /^Broker started at 127\.0\.0\.1:[1-9]\d*$/,
  );
});

Deno.test("the broker warns when it listens to other machines too", async () => {
  await using broker = start("broker", ["--host", "0.0.0.0", "-p", "0"]);
  assertMatch(
    await broker.stderr.line(),
    /^\S+ warn {2}Whoever reaches 0\.0\.0\.0:\d+ can publish and subscribe: /,
  );
});

Deno.test("the broker takes its port from PORT when no flag says which", async () => {
  using taken = new SilentPort();
  const env = { PORT: String(taken.port) };
  assertFailed(
    await run("broker", [], { env }),
    "broker",
    `Cannot bind 127.0.0.1:${taken.port}: another program has the port; choose one with --port N`,
  );
  await using broker = start("broker", ["--port", "0"], { env });
  await broker.stdout.until("Broker started");
});

Deno.test("the broker says so in a line when its port is taken", async () => {
  await using other = start("broker", ["--port", "0"]);
  const port = await portOf(other);
  assertFailed(
    await run("broker", ["-p", String(port)]),
    "broker",
    `Cannot bind 127.0.0.1:${port}: another program has the port; choose one with --port N`,
  );
});

Deno.test("the broker says so in a line when no interface has its address", async () => {
  assertFailed(
    await run("broker", ["-h", "192.0.2.1", "-p", "0"]),
    "broker",
    "Cannot bind 192.0.2.1:0: no interface of this machine has that address",
  );
});

Deno.test("the broker says so in a line when the host is unknown", async () => {
  for (const host of UNKNOWN_HOSTS) {
    const outcome = await run("broker", ["-h", host, "-p", "0"]);
    const message = `Cannot find a host called "${host}"`;
    assertFailed(outcome, "broker", message);
  }
});

Deno.test("the broker keeps as much as it is told when --history says so", async () => {
  await using broker = start("broker", ["--port", "0", "--history", "2"]);
  const flags = ["-p", String(await portOf(broker)), "-t", "a"];
  await run("publisher", [...flags, "-l"], { input: "1\n2\n3\n" });
  assertEquals(await run("subscriber", flags), { ...DONE, stdout: "2\n3\n" });
});

Deno.test("the broker logs each datagram when the level is debug", async () => {
  await using broker = start("broker", ["-p", "0", "--log-level", "debug"]);
  const flags = ["-p", String(await portOf(broker)), "-t", "a"];
  await run("publisher", [...flags, "-m", "1"]);
  await broker.stderr.until(' published 1 octets to "a"\n');
  await run("subscriber", flags);
  await broker.stderr.until(' subscribed to "a"\n');
  await broker.stderr.until('Sent 1 octets of "a" to 127.0.0.1:');
  await run("publisher", [...flags, "-m", " "]);
  await broker.stderr.until(": Invalid data provided\n");
});

Deno.test("the broker logs a JSON object a line when --log-json is given", async () => {
  await using broker = start("broker", [
    ...["--port", "0", "--log-level", "debug", "--log-json"],
  ]);
  const port = await portOf(broker);
  await run("publisher", ["-p", String(port), "-t", 'a"\n', "-m", "1"]);
  const lines = [await broker.stderr.line(), await broker.stderr.line()];
  const [started, published] = lines.map((line) => JSON.parse(line));
  assertEquals(Object.keys(started), ["time", "level", "message"]);
  assertEquals(started.message, `Listening at 127.0.0.1:${port}`);
  assertEquals(published.level, "debug");
  assert(published.message.endsWith('published 1 octets to "a""'));
});

Deno.test("the broker logs nothing when the level is none", async () => {
  const args = ["-h", "0.0.0.0", "-p", "0", "--log-level", "none"];
  await using broker = start("broker", args);
  await using client = await ClassicClient.connect({
    port: await portOf(broker),
  });
  assert(await client.ping());
  broker.kill("SIGKILL");
  assertEquals((await broker.outcome()).stderr, "");
});

Deno.test("the broker goes on when nobody reads its log any more", async () => {
  await using broker = start("broker", ["-p", "0", "--log-level", "debug"]);
  await using client = await ClassicClient.connect({
    port: await portOf(broker),
  });
  await broker.stderr.close();
  await broker.stdout.close();
  await client.publish("a", "1");
  await client.publish("a", "2");
});

testSignals("the broker ends with 130 when it gets SIGINT", async () => {
  await using broker = start("broker", ["--port", "0"]);
  await broker.stdout.until("Broker started");
  broker.kill("SIGINT");
  const { code, stderr } = await broker.outcome();
  assertEquals(code, 130);
  assertMatch(stderr, /^\S+ info {2}Ended by SIGINT\n$/);
});

testSignals("the broker ends with 0 when it gets SIGTERM", async () => {
  await using broker = start("broker", ["--port", "0"]);
  await broker.stdout.until("Broker started");
  broker.kill("SIGTERM");
  const { code, stderr } = await broker.outcome();
  assertEquals(code, 0);
  assertMatch(stderr, /^\S+ info {2}Ended by SIGTERM\n$/);
});

// The port, and the broker that is not there

Deno.test("the publisher and the subscriber take the port from PORT when no flag says which", async () => {
  await using broker = await LoggedBroker.listen();
  const env = { PORT: String(broker.broker.port) };
  const args = ["-t", "a", "-m", "1"];
  assertEquals(await run("publisher", args, { env }), DONE);
  const outcome = await run("subscriber", ["-t", "a"], { env });
  assertEquals(outcome, { ...DONE, stdout: "1\n" });
  // A flag has the last word.
  const wrong = { PORT: "x" };
  const flags = [...broker.flags, ...args];
  assertEquals(await run("publisher", flags, { env: wrong }), DONE);
});

Deno.test("each program says so in a line when PORT is no port", async () => {
  for (
    const [name, PORT, min] of [
      ["broker", "x", 0],
      ["broker", "65536", 0],
      ["publisher", "-1", 1],
      ["publisher", "0", 1],
      ["subscriber", " 1", 1],
      ["subscriber", "1.5", 1],
    ] as const
  ) {
    const args = name === "broker" ? [] : ["-t", "a"];
    const more = name === "publisher" ? ["-m", "1"] : [];
    assertFailed(
      await run(name, [...args, ...more], { env: { PORT } }),
      name,
      `Cannot take the variable PORT as the port: "${PORT}" is no number from ${min} to 65535`,
    );
  }
});

Deno.test("the publisher says in a line that no broker answered when there is none", async () => {
  using nobody = new SilentPort();
  const flags = ["-p", String(nobody.port), "--timeout", "0.3"];
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
  const flags = ["-p", String(nobody.port), "--timeout", "0.3"];
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
    const args = ["-h", host, "--timeout", "0.3", "-t", "a"];
    const message = `Cannot find a host called "${host}"`;
    const published = await run("publisher", [...args, "-m", "1"]);
    assertFailed(published, "publisher", message);
    assertFailed(await run("subscriber", args), "subscriber", message);
  }
});

Deno.test("the publisher and the subscriber log each datagram when --debug is given", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.flags, "-d", "-t", "a"];
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
  const to = [...broker.flags, "-t", " a "];
  for (const message of messages) {
    assertEquals(await run("publisher", [...to, "-m", message]), DONE);
  }
  assertEquals(await run("publisher", [...to, "--message=-5=6"]), DONE);
  const published = [...messages, "-5=6"].join("\n");
  assertEquals(await broker.history("a"), published);
});

Deno.test("the publisher says so in a line when the broker refuses", async () => {
  await using broker = await LoggedBroker.listen();
  const flags = [...broker.flags];
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
  const to = [...broker.flags, "-t", "a", "-m", "1"];
  const repeat = ["--repeat", "3", "--repeat-delay", "0"];
  assertEquals(await run("publisher", [...to, ...repeat]), DONE);
  assertEquals(await broker.history("a"), "1\n1\n1");
});

Deno.test("the publisher publishes a file as one datum when --file is given", async () => {
  await using broker = await LoggedBroker.listen();
  await using file = await TempFile.with(" 21.5 °C\r\n\n22\n");
  const args = [...broker.flags, "-t", "a", "-f", file.path];
  assertEquals(await run("publisher", [...args, "--repeat", "2"]), DONE);
  const text = " 21.5 °C\r\n\n22\n";
  assertEquals(await broker.history("a"), `${text}\n${text}`);
});

Deno.test("the publisher says so in a line when it cannot publish a file", async () => {
  await using broker = await LoggedBroker.listen();
  await using binary = await TempFile.with(new Uint8Array([0x61, 0xff]));
  await using large = await TempFile.with("x".repeat(MAX_DATAGRAM));
  const to = [...broker.flags, "-t", "a"];
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
  const args = [...broker.flags, "-t", "a", "-s"];
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
  const args = [...broker.flags, "-t", "a", "-l"];
  const input = "\n  1 \n\r\n2\r\n \t\n3 °C\n\n4";
  assertEquals(await run("publisher", args, { input }), DONE);
  assertEquals(await broker.history("a"), "  1 \n2\n3 °C\n4");
});

Deno.test("the publisher publishes a line as it comes when --stdin-line is given", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.flags, "-t", "a", "-l"];
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
  assertEquals(await run("publisher", broker.flags, { input }), {
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
    const outcome = await run("publisher", broker.flags, { input });
    assertEquals(outcome, { ...DONE, stdout }, JSON.stringify(input));
  }
});

Deno.test("the publisher takes lines that end in \\r\\n when it reads from a pipe", async () => {
  await using broker = await LoggedBroker.listen();
  const input = "a\r\n1\r\n2\r\n \r\nexit_\r\n";
  const { code, stdout } = await run("publisher", broker.flags, { input });
  assertEquals(code, 0);
  assertStringIncludes(stdout, `${ACCEPTED}\n`);
  assertStringIncludes(stdout, "Invalid data provided\n");
  assertEquals(await broker.history("a"), "1");
});

Deno.test("the publisher goes on when a datum from a pipe does not fit", async () => {
  await using broker = await LoggedBroker.listen();
  const input = `a\n${"x".repeat(70_000)}\na\n1\n`;
  const { code, stdout } = await run("publisher", broker.flags, { input });
  assertEquals(code, 0);
  assertMatch(
    stdout,
    / : Cannot publish: \d+ octets do not fit a datagram .+\n/,
  );
  assertEquals(await broker.history("a"), "1");
});

Deno.test("the publisher answers each line from a pipe when it comes", async () => {
  await using broker = await LoggedBroker.listen();
  await using publisher = start("publisher", broker.flags);
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
  const args = [...broker.flags, "-t", " weather "];
  const stdout = "  21.5 °C \n22\n";
  assertEquals(await run("subscriber", args), { ...DONE, stdout });
});

Deno.test("the subscriber waits for the first publish when a topic has no history", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.flags, "-t", "a"];
  await using subscriber = start("subscriber", args);
  await broker.subscribed("a");
  await publish(broker, "a", "1", "2");
  assertEquals(await subscriber.outcome(), { ...DONE, stdout: "1\n" });
});

Deno.test("the subscriber prints topics as they come when more than one is given", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.flags, "-t", "a", "-t", "b"];
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
  const args = [...broker.flags, "-t", "$& b", "-v"];
  const stdout = "$& b 1\r2\n$& b \n$& b 3\n";
  assertEquals(await run("subscriber", args), { ...DONE, stdout });
});

Deno.test("the subscriber prints no line end when --no-newline is given", async () => {
  await using broker = await LoggedBroker.listen();
  await publish(broker, "a", "1", "2");
  const args = [...broker.flags, "-t", "a", "-N"];
  assertEquals(await run("subscriber", args), { ...DONE, stdout: "1\n2" });
});

Deno.test("the subscriber ends after as many histories as --count says", async () => {
  await using broker = await LoggedBroker.listen();
  await publish(broker, "b", "2");
  const topics = ["-t", "a", "-t", "b", "-t", "c"];
  const args = [...broker.flags, ...topics, "--count", "1"];
  assertEquals(await run("subscriber", args), { ...DONE, stdout: "2\n" });
});

Deno.test("the subscriber gives up with 27 when --wait is over", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.flags, "-t", "a", "-W"];
  const outcomeOfOne = await run("subscriber", [...args, "0.05"]);
  assertEquals(outcomeOfOne, { ...DONE, code: 27 });
  await publish(broker, "b", "2");
  const outcome = await run("subscriber", [...args, "1", "-t", "b"]);
  assertEquals(outcome, { ...DONE, code: 27, stdout: "2\n" });
});

Deno.test("the subscriber says so in a line when the broker refuses", async () => {
  await using broker = await LoggedBroker.listen();
  for (const topic of ["", " "]) {
    const outcome = await run("subscriber", [...broker.flags, "-t", topic]);
    assertFailed(outcome, "subscriber", "Invalid topic provided");
  }
  await using full = await LoggedBroker.listen({ maxWaitingPerPeer: 0 });
  const outcome = await run("subscriber", [...full.flags, "-t", "a"]);
  assertFailed(outcome, "subscriber", "Broker has got an error");
});

Deno.test("the subscriber prints prompts and histories as the first one did when it reads from a pipe", async () => {
  await using broker = await LoggedBroker.listen();
  await publish(broker, "weather", "21.5 °C", "  22 ");
  await using subscriber = start("subscriber", broker.flags);
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
    const outcome = await run("subscriber", broker.flags, { input });
    assertEquals(outcome, { ...DONE, stdout }, JSON.stringify(input));
  }
});

// Pipes and signals

Deno.test("the publisher ends in peace when nobody reads what it prints", async () => {
  await using broker = await LoggedBroker.listen();
  await using publisher = start("publisher", broker.flags);
  await publisher.write("a\n1\n");
  await publisher.stdout.until(`${ACCEPTED}\n${TOPIC_TO_PUBLISH}`);
  await publisher.stdout.close();
  await publisher.write("a\n2\n");
  const { code, stderr } = await publisher.outcome();
  assertEquals([code, stderr], [0, ""]);
});

Deno.test("the subscriber ends in peace when nobody reads what it prints", async () => {
  await using broker = await LoggedBroker.listen();
  const args = [...broker.flags, "-t", "a", "-t", "b"];
  await using subscriber = start("subscriber", args);
  await bothSubscribed(broker);
  await publish(broker, "a", "1");
  assertEquals(await subscriber.stdout.line(), "1");
  await subscriber.stdout.close();
  await publish(broker, "b", "2");
  const { code, stderr } = await subscriber.outcome();
  assertEquals([code, stderr], [0, ""]);
});

Deno.test("each program ends with 1 when it fails and nobody reads why", async () => {
  for (const program of PROGRAMS) {
    await using running = start(program, ["--no-such-flag"]);
    await running.stderr.close();
    assertEquals((await running.outcome()).code, 1, program);
  }
});

Deno.test({
  name: "the subscriber fails when what it prints is lost",
  ignore: Deno.build.os !== "linux", // the others have no /dev/full
  async fn() {
    await using broker = await LoggedBroker.listen();
    await publish(broker, "a", "1");
    const command = [Deno.execPath(), "run -A subscriber.ts", ...broker.flags];
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
    ...broker.flags,
    ...["-t", "quiet", "-t", " "],
  ]);
  assertEquals(await subscriber.outcome(), {
    code: 1,
    stdout: "",
    stderr: "subscriber: Invalid topic provided\n",
  });
});

Deno.test("the subscriber says which flags need a topic", async () => {
  for (const [name, ...args] of [["verbose", "-v"], ["wait", "-W", "1"]]) {
    await using subscriber = start("subscriber", args);
    assertEquals(await subscriber.outcome(), {
      code: 1,
      stdout: "",
      stderr:
        `subscriber: Flag "--${name}" needs a topic: -t TOPIC; see subscriber --help\n`,
    });
  }
});

testSignals("the publisher ends with 130 when it gets SIGINT", async () => {
  await using broker = await LoggedBroker.listen();
  const to = [...broker.flags, "-t", "a"];
  const delayed = ["-m", "1", "--repeat", "2", "--repeat-delay", "1000"];
  await using repeating = start("publisher", [...to, ...delayed]);
  await broker.published("a");
  await using reading = start("publisher", [...to, "-l"]);
  await reading.write("1\n");
  await broker.published("a");
  await using asking = start("publisher", broker.flags);
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
    const flags = ["-p", String(nobody.port), "--timeout", "1000"];
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
  const args = [...broker.flags, "-t", "a", "-W", "1000"];
  await using waiting = start("subscriber", args);
  await broker.subscribed("a");
  await using piped = start("subscriber", broker.flags);
  await piped.write("b\n");
  await broker.subscribed("b");
  await using asking = start("subscriber", broker.flags);
  await asking.stdout.until(TOPIC_TO_SUBSCRIBE);
  for (const subscriber of [waiting, piped, asking]) {
    subscriber.kill("SIGINT");
    const { code, stderr } = await subscriber.outcome();
    assertEquals([code, stderr], [130, ""]);
  }
});

function testSignals(name: string, fn: () => Promise<void>): void {
  const ignore = Deno.build.os === "windows";
  const why = ignore ? " (skipped: Windows sends no such signals)" : "";
  Deno.test({ name: name + why, ignore, fn });
}

/** A call with these flags, and with those that it needs besides. */
function callOf(
  name: "publisher" | "subscriber",
  flags: readonly string[],
  port: number,
): [ProgramName, string[]] {
  const args = flags.map((flag) => flag.replace("PORT", String(port)));
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

/** Runs programs to their ends, a few at a time. */
async function runEach(
  calls: readonly (readonly [ProgramName, readonly string[]])[],
  options: { readonly input?: string } = {},
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const rest = calls.entries();
  const work = async () => {
    for (const [i, [name, args]] of rest) {
      outcomes[i] = await run(name, args, options);
    }
  };
  await Promise.all([work(), work(), work(), work()]);
  return outcomes;
}

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

/** Checks that a program failed, and said why in exactly one line. */
function assertFailed(
  { code, stdout, stderr }: Outcome,
  name: ProgramName,
  message: string | RegExp,
  expected: { readonly stdout: string } = { stdout: "" },
): void {
  assertFalse(/\n./.test(stderr), stderr);
  if (typeof message === "string") {
    assertEquals(stderr, `${name}: ${message}\n`);
  } else {
    assertMatch(stderr, new RegExp(`^${name}: ${message.source}\n$`));
  }
  assertEquals({ code, stdout }, { code: 1, ...expected });
}

function noBroker({ port }: SilentPort): string {
  return `No broker answered at 127.0.0.1:${port} within 0.3 s; ` +
    `start one with: deno run -A broker.ts --port ${port}`;
}

function ports(min: number): string {
  return `a whole number from ${min} to 65535`;
}

/** A file that goes when it is disposed of. */
class TempFile implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async with(content: string | Uint8Array): Promise<TempFile> {
    const file = new TempFile(await Deno.makeTempFile());
    const bytes = typeof content === "string"
      ? new TextEncoder().encode(content)
      : content;
    await Deno.writeFile(file.path, bytes);
    return file;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path);
  }
}
