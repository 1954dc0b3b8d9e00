/**
 * Tests of what all programs share, and of the broker as one: started as
 * processes, with flags, and judged by what they print and how they end. What
 * publisher and subscriber do is in tests of their own, for each protocol.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { dirname, join } from "node:path";
import { ClassicClient } from "../../classic_client.ts";
import config from "../../deno.json" with { type: "json" };
import { peerOf } from "../../base/peer.ts";
import { MSG_TYPE } from "../../wire/packets.ts";
import { UdpTransport } from "../../transport/udp.ts";
import {
  assertFailed,
  assertUsageErrors,
  DONE,
  flagsListed,
  portOf,
  portRange,
  type ProgramName,
  run,
  runEach,
  Running,
  SilentPort,
  start,
  testSignals,
  UNKNOWN_HOSTS,
} from "../support/programs.ts";

const PROGRAMS = ["broker", "publisher", "subscriber"] as const;
const CLASSIC = ["--protocol", "classic"] as const;

// What each program's --help names: a flag as it is listed there, and command
// lines that use it.

const PREDEFINED = "tests/support/predefined.json";

/** A file that only one broker at a time has open. */
const STORE = join(Deno.makeTempDirSync(), "broker.db");

const BROKER_FLAGS: Record<string, string[][]> = {
  "-h, --host ADDRESS": [["-h", "127.0.0.1"], ["--host", "localhost"]],
  "-p, --port N": [["-p", "0"], ["--port=0"]],
  "--db FILE": [["--db", STORE], [`--db=${STORE}`]],
  "--durability WORD": ["full", "normal", "off"]
    .map((word) => ["--db", STORE, "--durability", word]),
  "--inspect": [], // it does not listen: see programs/db_programs_test.ts
  "--io WORD": ["auto", "portable"].map((word) => ["--io", word]),
  "--workers N": ["auto", "0", "2"].map((n) => ["--workers", n]),
  "--record FILE": [["--record", `${STORE}.jsonl`]],
  "--pcap FILE": [["--pcap", `${STORE}.pcap`]],
  "--history N": [["--history", "2"], ["--history", "0"]],
  "--predefined FILE": [["--predefined", PREDEFINED]],
  "--max-clients N": [["--max-clients", "1"]],
  "--session-expiry S": [["--session-expiry", "0"]],
  "--message-expiry S": [["--message-expiry", "1"]],
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
  "--net SPEC": [["--net", "delay 1ms"], ["--net=lan"]],
  "--faults FILE": [["--faults", "examples/faults/01_no_final_pingresp.json"]],
  "--seed N": [["--seed", "7", "--net", "off"]],
  "--log-level LEVEL": ["debug", "info", "warn", "error", "none"]
    .map((level) => ["--log-level", level]),
  "--log-json": [["--log-json"]],
  "--version": [],
  "--help": [],
};

Deno.test.afterAll(() => {
  Deno.removeSync(dirname(STORE), { recursive: true });
});

Deno.test("each program prints its usage when --help is given", async () => {
  const outcomes = await runEach(PROGRAMS.map((name) => [name, ["--help"]]));
  for (const { code, stdout, stderr } of outcomes) {
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /^.+\.\n\nExamples:\n(?: {2}.+\n)+\nFlags:\n/);
    assertEquals(flagsListed(stdout).slice(-2), ["--version", "--help"]);
  }
  assertEquals(flagsListed(outcomes[0]!.stdout), Object.keys(BROKER_FLAGS));
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
      [
        ["--predefined", "README.md"],
        'Cannot take "README.md" for "--predefined"',
      ],
      [
        ["--predefined", "deno.lock"],
        'Cannot take "deno.lock" for "--predefined"',
      ],
      [["--overflow", "burst"], "takes drop, refuse"],
      [["--tolerance", "0.5"], "takes a number from 1 to 10"],
      [["--gw-id", "256"], "from 0 to 255"],
      [["--db", "no/such/file"], "there is no directory"],
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

// The command line

Deno.test("each program says what is wrong in a line when its flags are", async () => {
  const calls: [ProgramName, string[], string][] = [
    ...PROGRAMS.map((name): [ProgramName, string[], string] => [
      name,
      ["--net", "loss 10"],
      'Cannot take "10" in the network "loss 10": write loss PERCENT [CORRELATION], or loss gemodel P [R [1-H [1-K]]] (a percentage is a number from 0% to 100%)',
    ]),
    ["broker", ["--no-such-flag"], 'Unknown flag "--no-such-flag"'],
    ["broker", ["-x"], 'Unknown flag "-x"'],
    ["broker", ["12003"], 'Unexpected argument "12003"'],
    ["broker", ["--", "12003"], 'Unexpected argument "12003"'],
    ["broker", ["--port"], 'Flag "--port" needs a value: N'],
    ["broker", ["--port", "x"], `Flag "--port" takes ${portRange(0)}, not "x"`],
    [
      "broker",
      ["-p", "65536"],
      `Flag "--port" takes ${portRange(0)}, not "65536"`,
    ],
    ["broker", ["-p", "-1"], `Flag "--port" takes ${portRange(0)}, not "-1"`],
    ["broker", ["-p", "1e3"], `Flag "--port" takes ${portRange(0)}, not "1e3"`],
    ["broker", ["-p", ""], `Flag "--port" takes ${portRange(0)}, not ""`],
    ["broker", ["-p", "1", "-p", "2"], 'Flag "--port" is given twice'],
    [
      "broker",
      ["--history", "-1"],
      'Flag "--history" takes a whole number from 0 to 1000000, not "-1"',
    ],
    [
      "broker",
      ["--log-level", "loud"],
      'Flag "--log-level" takes debug, info, warn, error, none, not "loud"',
    ],
    ["broker", ["--log-json=yes"], 'Flag "--log-json" takes no value'],
    ["broker", ["--db"], 'Flag "--db" needs a value: FILE'],
    ["broker", ["--db", ""], 'Flag "--db" takes the name of a file, not ""'],
    ["broker", ["--durability", "full"], 'Flag "--durability" needs "--db"'],
    ["broker", ["--inspect"], 'Flag "--inspect" needs "--db"'],
    [
      "broker",
      ["--db", STORE, "--durability", "maybe"],
      'Flag "--durability" takes full, normal, off, not "maybe"',
    ],
    [
      "broker",
      ["--message-expiry", "0"],
      'Flag "--message-expiry" takes a whole number from 1 to 1000000000, not "0"',
    ],
    [
      "broker",
      ["--net", ""],
      'Cannot take the network "": it is empty, write for example loss 10% delay 50ms, or off',
    ],
    ["publisher", ["--no-such-flag"], 'Unknown flag "--no-such-flag"'],
    ["publisher", ["weather"], 'Unexpected argument "weather"'],
    ["subscriber", ["--message", "1"], 'Unknown flag "--message"'],
    ["subscriber", ["weather"], 'Unexpected argument "weather"'],
  ];
  await assertUsageErrors(calls);
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

Deno.test("each program ends with 1 when it fails and nobody reads why", async () => {
  for (const program of PROGRAMS) {
    await using running = start(program, ["--no-such-flag"]);
    await running.stderr.close();
    assertEquals((await running.outcome()).code, 1, program);
  }
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
    /^\S+ warn {2}Everybody who reaches 0\.0\.0\.0:\d+ can publish and subscribe: /,
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
  const flags = [...CLASSIC, "-p", String(await portOf(broker)), "-t", "a"];
  await run("publisher", [...flags, "-l"], { input: "1\n2\n3\n" });
  assertEquals(await run("subscriber", flags), { ...DONE, stdout: "2\n3\n" });
});

Deno.test("the broker keeps no history when --history is 0", async () => {
  await using broker = start("broker", [
    ...["-p", "0", "--history", "0", "--log-level", "debug"],
  ]);
  const flags = [...CLASSIC, "-p", String(await portOf(broker)), "-t", "a"];
  await run("publisher", [...flags, "-m", "1"]);
  await using subscriber = start("subscriber", flags);
  await broker.stderr.until(' subscribed to "a"\n');
  await run("publisher", [...flags, "-m", "2"]);
  await subscriber.stdout.until("2\n");
  assertEquals(await subscriber.outcome(), { ...DONE, stdout: "2\n" });
});

Deno.test("the broker logs each datagram when the level is debug", async () => {
  await using broker = start("broker", ["-p", "0", "--log-level", "debug"]);
  const flags = [...CLASSIC, "-p", String(await portOf(broker)), "-t", "a"];
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
  await run("publisher", [
    ...CLASSIC,
    "-p",
    String(port),
    "-t",
    'a"\n',
    "-m",
    "1",
  ]);
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
