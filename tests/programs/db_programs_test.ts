/**
 * Tests of the broker with a file, as whoever runs it meets it: started as a
 * process, killed, started again, beside others, on disks that are full or closed
 * to it. What it says and how it ends is looked at, what clients get, and what
 * becomes of the file.
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
import { basename, dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { ClassicClient } from "../../classic_client.ts";
import { Client } from "../../client.ts";
import type { StoreChange } from "../../broker/records.ts";
import { Store } from "../../store/store.ts";
import {
  assertFailed,
  type Outcome,
  portOf,
  run,
  type Running,
  start,
  testSignals,
} from "../support/programs.ts";
import { Probe } from "../support/probe.ts";
import { SmallDisk, testOnSmallDisk } from "../support/disk.ts";
import { datum, Directory, RECORDS } from "../support/store.ts";
import { KEY, Terminal, testAtTerminal, TIDY } from "../support/terminal.ts";

/** A broker at a free port, with a file. */
function startOn(path: string, ...flags: readonly string[]): Running {
  return start("broker", ["--port", "0", "--db", path, ...flags]);
}

/** One that is expected not to start. */
function runOn(path: string, ...flags: readonly string[]): Promise<Outcome> {
  return run("broker", ["--port", "0", "--db", path, ...flags]);
}

function inspect(path: string): Promise<Outcome> {
  return run("broker", ["--db", path, "--inspect"]);
}

/** What is in a directory: names, and octets. */
function contentOf(path: string): [string, Uint8Array][] {
  return [...Deno.readDirSync(path)].filter(({ isFile }) => isFile)
    .map(({ name }) => name).sort()
    .map((name) => [name, Deno.readFileSync(join(path, name))]);
}

/** Checks that a broker works: it takes something, and gives it back. */
async function assertWorks(broker: Running): Promise<void> {
  await using client = await Client.connect({ port: await portOf(broker) });
  const messages = await client.subscribe("works", { qos: 1 });
  await client.publish("works", "yes", { qos: 1 });
  assertEquals((await messages.take()).text(), "yes");
}

/** Ends a broker as an operator does, and checks that it goes in peace. */
async function stop(broker: Running): Promise<void> {
  broker.kill("SIGTERM");
  const { code, stderr } = await broker.outcome();
  assertEquals(code, 0, stderr);
}

const CONGESTED = 1;

// What outlives it

/** What is acknowledged before the broker's end. */
async function tell(port: number): Promise<void> {
  await using lamp = await Client.connect({
    port,
    clientId: "lamp",
    cleanSession: false,
  });
  await lamp.subscribe("room/+", { qos: 2 });
  await lamp.close();
  await using ann = await Client.connect({ port });
  await ann.publish("room/1", "one", { qos: 1 });
  await ann.publish("room/2", "two", { qos: 2 });
  await ann.publish("state", "on", { qos: 1, retain: true });
  await using classic = await ClassicClient.connect({ port });
  await classic.publish("log", "21.5");
}

/** What is found of it by the next broker. */
async function find(port: number): Promise<void> {
  await using lamp = await Client.connect({
    port,
    clientId: "lamp",
    cleanSession: false,
  });
  const messages = await lamp.subscribe("room/+", { qos: 2 });
  assertEquals((await messages.take()).text(), "one");
  assertEquals((await messages.take()).text(), "two");
  const state = await lamp.subscribe("state");
  assertEquals((await state.take()).text(), "on");
  await using classic = await ClassicClient.connect({ port });
  assertEquals(await classic.subscribe("log"), "21.5");
}

for (const signal of ["SIGTERM", "SIGKILL"] as const) {
  for (const durability of ["full", "normal", "off"]) {
    testSignals(
      `the broker has all that it acknowledged when ${signal} ended the last one, with --durability ${durability}`,
      async () => {
        using directory = new Directory();
        const path = directory.file();
        const flags = ["--durability", durability];
        await using first = startOn(path, ...flags);
        await tell(await portOf(first));
        first.kill(signal);
        await first.outcome();
        if (signal === "SIGTERM") {
          assertEquals(directory.names, [basename(path)]);
        }
        await using second = startOn(path, ...flags);
        await find(await portOf(second));
        await stop(second);
        assertEquals(directory.names, [basename(path)]);
      },
    );
  }
}

// Whose the file is

Deno.test("the broker ends when another has its file, which goes on", async () => {
  using directory = new Directory();
  const path = directory.file();
  await using first = startOn(path);
  await assertWorks(first);
  const before = contentOf(directory.path);
  for (const flags of [[], ["--inspect"]]) {
    const what = flags.length === 0 ? "open" : "inspect";
    assertFailed(
      await runOn(path, ...flags),
      "broker",
      `Cannot ${what} the store "${path}": another broker, or another program, has it open; end that one` +
        (flags.length === 0 ? ", or choose another file with --db" : " first"),
    );
  }
  assertEquals(contentOf(directory.path), before);
  await stop(first);
  await using next = startOn(path);
  await assertWorks(next);
});

Deno.test("the broker ends when its file is not its own, which stays as it is", async () => {
  using directory = new Directory();
  const text = directory.file("diary.txt");
  Deno.writeTextFileSync(text, "Dear diary\n".repeat(1_000));
  const other = directory.file("other.db");
  {
    using database = new DatabaseSync(other);
    database.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
  }
  const newer = directory.file("newer.db");
  Store.open(newer).close();
  {
    using database = new DatabaseSync(newer);
    database.exec("PRAGMA user_version = 7");
  }
  const before = contentOf(directory.path);
  for (
    const [path, why, advice] of [
      [text, "it is no store of this broker, and stays as it is", "choose"],
      [other, "it is no store of this broker, and stays as it is", "choose"],
      [
        newer,
        "a newer broker has written it (version 7, and this one knows 2 at most), so it stays as it is",
        "start that one, or choose",
      ],
    ] as const
  ) {
    assertFailed(
      await runOn(path),
      "broker",
      `Cannot open the store "${path}": ${why}; ${advice} another file with --db`,
    );
    assertFailed(
      await inspect(path),
      "broker",
      `Cannot inspect the store "${path}": ${why}`,
    );
  }
  assertEquals(contentOf(directory.path), before);
});

/** A named pipe, whose opening would have to wait, where there are any. */
async function pipeIn(
  directory: Directory,
): Promise<(readonly [file: string, why: string])[]> {
  if (Deno.build.os === "windows") return [];
  const pipe = directory.file("pipe");
  await new Deno.Command("mkfifo", { args: [pipe] }).output();
  return [[pipe, "it is no file"]];
}

Deno.test("the broker ends when its file can be none", async () => {
  using directory = new Directory();
  const { path } = directory;
  Deno.writeTextFileSync(directory.file("text"), "");
  const pipes = await pipeIn(directory);
  const before = directory.names;
  for (
    const [file, why] of [
      [path, "it is a directory"],
      ...pipes,
      [
        directory.file("no/such/file"),
        `there is no directory "${dirname(directory.file("no/such/file"))}"`,
      ],
      [
        directory.file("text/file"),
        `there is no directory "${directory.file("text")}"`,
      ],
    ] as const
  ) {
    assertFailed(
      await runOn(file),
      "broker",
      `Cannot open the store "${file}": ${why}; choose another file with --db`,
    );
  }
  assertEquals(directory.names, before);
});

// What is damaged

for (
  const [damage, spoil] of [
    ["cut off", (bytes: Uint8Array) => bytes.slice(0, bytes.length - 5_000)],
    ["flipped", (bytes: Uint8Array) => {
      // In the middle of a page that holds records, and in all of it.
      const spoilt = bytes.slice();
      for (let at = 4_096; at < spoilt.length; at += 64) spoilt[at]! ^= 0x55;
      return spoilt;
    }],
  ] as const
) {
  Deno.test(`the broker sets its file aside and begins anew when it is ${damage}`, async () => {
    using directory = new Directory();
    const path = directory.file();
    {
      using store = Store.open(path);
      store.commit(RECORDS);
    }
    const spoilt = spoil(Deno.readFileSync(path));
    Deno.writeFileSync(path, spoilt);

    const inspected = await inspect(path);
    assertFailed(
      inspected,
      "broker",
      /Cannot inspect the store "[^"]+": .*(cut off|malformed|page|Tree).*/,
    );
    assertEquals(contentOf(directory.path), [[basename(path), spoilt]]);

    await using broker = startOn(path);
    await assertWorks(broker);
    const aside = directory.names.find((name) => name.includes("damaged"))!;
    assertMatch(aside, /^mqtt\.store\.damaged-\d{8}T\d{6}Z$/);
    assertEquals(Deno.readFileSync(directory.file(aside)), spoilt);
    await stop(broker);
    const { stderr } = await broker.outcome();
    assertMatch(
      stderr,
      /^\S+ error "[^"]+" is damaged \([^\n]+\): set aside as "[^"]+\.damaged-[^"]+", and begun anew\n\S+ info {2}Ended by SIGTERM\n$/,
    );
    // The next one finds a file that is whole.
    await using next = startOn(path);
    await assertWorks(next);
    assertEquals(next.stderr.text, "");
  });
}

Deno.test("the broker copies its file and goes on with what is whole when its log is damaged", async () => {
  using directory = new Directory();
  const path = directory.file();
  const copy = directory.file("copy");
  {
    using store = Store.open(path);
    store.commit([datum(1)]);
    const end = Deno.statSync(path + "-wal").size;
    for (let seq = 101; seq < 110; seq++) store.commit([datum(seq)]);
    Deno.copyFileSync(path, copy);
    const log = Deno.readFileSync(path + "-wal");
    log[end + 100]! ^= 1;
    Deno.writeFileSync(copy + "-wal", log);
  }
  const { stdout } = await inspect(copy);
  assertStringIncludes(stdout, "\nDamaged: the last 9 commits in its -wal ");
  await using broker = startOn(copy);
  await assertWorks(broker);
  await stop(broker);
  const { stderr } = await broker.outcome();
  assertMatch(
    stderr,
    /^\S+ error "[^"]+" is damaged \(the last 9 commits in its -wal cannot be read\): copied as "[^"]+\.damaged-[^"]+", and gone on with without them\n\S+ info {2}Ended by SIGTERM\n$/,
  );
  await using next = startOn(copy);
  await assertWorks(next);
  assertEquals(next.stderr.text, "");
});

// Where nothing can be written

/** Whether this process may write what it is not allowed to: so may its children. */
const IS_ROOT = Deno.build.os !== "windows" && Deno.uid() === 0;

Deno.test({
  name: "the broker ends when it may not write its file or its directory" +
    (IS_ROOT || Deno.build.os === "windows"
      ? " (skipped: root can write anything)"
      : ""),
  ignore: IS_ROOT || Deno.build.os === "windows",
  async fn() {
    using directory = new Directory();
    const path = directory.file();
    Store.open(path).close();
    Deno.chmodSync(path, 0o400);
    assertFailed(
      await runOn(path),
      "broker",
      `Cannot open the store "${path}": it cannot be read and written; let it be written, or choose another file with --db`,
    );
    Deno.chmodSync(path, 0o600);
    Deno.chmodSync(directory.path, 0o500);
    try {
      for (const file of [path, directory.file("new")]) {
        assertFailed(
          await runOn(file),
          "broker",
          `Cannot open the store "${file}": its directory cannot be written; let it be written, or choose another file with --db`,
        );
      }
      assertEquals((await inspect(path)).code, 0);
    } finally {
      Deno.chmodSync(directory.path, 0o700);
    }
    assertEquals(directory.names, [basename(path)]);
  },
});

testOnSmallDisk("the broker ends when its disk takes no octet", async () => {
  using disk = SmallDisk.mount();
  const path = disk.file();
  {
    using store = Store.open(path);
    store.commit(RECORDS.slice(0, 4));
  }
  const before = contentOf(disk.path);
  disk.seal();
  assertFailed(
    await runOn(path),
    "broker",
    `Cannot open the store "${path}": it cannot be read and written; let it be written, or choose another file with --db`,
  );
  assertFailed(
    await runOn(disk.file("new")),
    "broker",
    `Cannot open the store "${
      disk.file("new")
    }": its directory cannot be written; let it be written, or choose another file with --db`,
  );
  assertEquals((await inspect(path)).code, 0);
  assertEquals(contentOf(disk.path), before);
});

testOnSmallDisk(
  "the broker refuses what it cannot keep when its disk is full, and goes on when it is not",
  async () => {
    using disk = SmallDisk.mount();
    const path = disk.file();
    await using broker = startOn(path);
    const port = await portOf(broker);

    // The lamp is away, so that all for it has to be kept.
    await using lamp = await Probe.to(port);
    assertEquals(await lamp.connect("lamp", { clean: false }), 0);
    assertEquals(await lamp.subscribe("ro"), 0);
    await lamp.disconnect();
    await using ann = await Probe.to(port);
    await using bob = await Probe.to(port);
    assertEquals(await ann.connect("ann"), 0);
    assertEquals(await bob.connect("bob"), 0);
    assertEquals(await bob.subscribe("cl"), 0);
    assertEquals(await ann.publish("ro", "before"), 0);

    disk.fill();
    // The first is taken back, the second not taken.
    assertEquals(await ann.publish("ro", "full 1"), CONGESTED);
    await broker.stderr.until("the disk is full; ");
    assertEquals(await ann.publish("ro", "full 2"), CONGESTED);
    await using eve = await Probe.to(port);
    assertEquals(await eve.connect("eve", { clean: false }), CONGESTED);
    // What needs no file goes on: a connection, a subscription, QoS 0 and 1.
    assertEquals(await eve.connect("eve"), 0);
    assertEquals(await eve.subscribe("cl"), 0);
    ann.publishUnasked("cl", "qos 0");
    for (const client of [bob, eve]) {
      assertEquals(await client.message(), "qos 0");
    }
    assertEquals(await ann.publish("cl", "qos 1"), 0);
    for (const client of [bob, eve]) {
      assertEquals(await client.message(), "qos 1");
    }

    disk.empty();
    await broker.stderr.until("The store can be written again\n");
    assertEquals(await ann.publish("ro", "after"), 0);
    assertEquals(await eve.connect("eve", { clean: false }), 0);
    broker.kill("SIGKILL");
    const { stderr } = await broker.outcome();
    assertEquals(stderr.split("\n").length, 3, stderr);

    await using next = startOn(path);
    await using back = await Probe.to(await portOf(next));
    assertEquals(await back.connect("lamp", { clean: false }), 0);
    assertEquals(await back.message(), "before");
    // Who was refused does not know what became of the first.
    assertEquals(await back.message(), "full 1");
    assertEquals(await back.message(), "after");
    assertEquals(next.stderr.text, "");
  },
);

testOnSmallDisk(
  "the broker ends in time when its disk is full, and tells what is not kept",
  async () => {
    using disk = SmallDisk.mount();
    const path = disk.file();
    await using broker = startOn(path);
    const port = await portOf(broker);
    await using lamp = await Probe.to(port);
    assertEquals(await lamp.connect("lamp", { clean: false }), 0);
    assertEquals(await lamp.subscribe("ro"), 0);
    await lamp.disconnect();
    await using ann = await Probe.to(port);
    assertEquals(await ann.connect("ann"), 0);
    assertEquals(await ann.publish("ro", "before"), 0);
    disk.fill();
    assertEquals(await ann.publish("ro", "full"), CONGESTED);
    broker.kill("SIGTERM");
    const { code, stderr } = await broker.outcome();
    assertEquals(code, 0);
    const lines = stderr.trimEnd().split("\n").map((line) =>
      line.replace(/^\S+ +/, "")
    );
    assertEquals(lines, [
      `error Cannot write the store "${path}": the disk is full; until it can be written, which is tried each second, requests that have to be stored are refused`,
      "info  Ended by SIGTERM",
      "error Changes that are not kept: 2; what was acknowledged is",
    ]);

    disk.fill(); // the log has been carried over, and gone
    assertFailed(
      await runOn(path),
      "broker",
      `Cannot open the store "${path}": the disk is full; make room, or choose another file with --db`,
    );
    disk.empty();
    await using next = startOn(path);
    await using back = await Probe.to(await portOf(next));
    assertEquals(await back.connect("lamp", { clean: false }), 0);
    assertEquals(await back.message(), "before");
  },
);

// What is in it

Deno.test("the broker prints what its file holds when --inspect is given", async () => {
  using directory = new Directory();
  const path = directory.file();
  {
    using store = Store.open(path, { offsetMs: Date.now() });
    store.commit(RECORDS);
  }
  const before = contentOf(directory.path);
  const { code, stdout, stderr } = await inspect(path);
  assertEquals([code, stderr], [0, ""]);
  const text = stdout.replaceAll(path, "PATH")
    .replace(/[\d,]+ octets, opened/, "N octets, opened")
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g, "TIME")
    .replaceAll(/\d+ s {2}/g, "N s  ");
  assertEquals(text.split("\n"), [
    'Store "PATH"',
    "Schema 2, N octets, opened once",
    "",
    "Sessions               4",
    "  active               1",
    "  asleep               1",
    "  disconnected         1",
    "  lost                 1",
    "Subscriptions          2",
    "Topic ids              3",
    "Queued at QoS 0        1  65,507 octets",
    "Queued at QoS 1        1       1 octets",
    "Queued at QoS 2        1       0 octets",
    "QoS 2 ids received     2",
    "Retained messages      2  65,507 octets",
    "Topics with a history  2",
    "  data                 2      22 octets",
    "",
    "Longest queues  state         subscriptions  queued  octets  oldest  away since",
    "                lost                      2       2  65,507     N s  TIME",
    "door            disconnected              0       1       1     N s  TIME",
    "",
  ]);
  assertEquals(contentOf(directory.path), before);
});

Deno.test("the broker inspects an empty store, and says so in a line when there is none", async () => {
  using directory = new Directory();
  const path = directory.file();
  const missing = directory.file("missing");
  Store.open(path).close();
  const { code, stdout, stderr } = await inspect(path);
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /^Store .+\n.+ opened once\n\nSessions +0\n/);
  assertFalse(stdout.includes("Longest"));
  Deno.writeTextFileSync(directory.file("empty"), "");
  const pipes = await pipeIn(directory);
  const before = directory.names;
  for (
    const [file, why] of [
      [missing, "there is no such file"],
      [directory.file("no/such"), "there is no such file"],
      [directory.file("empty"), "it is empty"],
      [directory.path, "it is a directory"],
      ...pipes,
    ] as const
  ) {
    assertFailed(
      await inspect(file),
      "broker",
      `Cannot inspect the store "${file}": ${why}`,
    );
  }
  assertEquals(directory.names, before);
});

testSignals(
  "the broker inspects what one that was killed has left in the log",
  async () => {
    using directory = new Directory();
    const path = directory.file();
    await using broker = startOn(path);
    await tell(await portOf(broker));
    broker.kill("SIGKILL");
    await broker.outcome();
    const before = contentOf(directory.path);
    assert(before.some(([name]) => name.endsWith("-wal")));
    const { code, stdout, stderr } = await inspect(path);
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /\nRetained messages +1 /);
    assertMatch(stdout, /\nlamp +disconnected +1 +2 /);
    assertEquals(contentOf(directory.path), before);
  },
);

// While it is loading

/** A file that takes long to load: a second or two. */
let large: Directory | undefined;

Deno.test.beforeAll(() => {
  large = new Directory();
  using store = Store.open(large.file(), { durability: "off" });
  store.commit([...largeContent(20_000, 4)]);
});

Deno.test.afterAll(() => {
  large?.[Symbol.dispose]();
});

/** Sessions with subscriptions and messages. */
function* largeContent(sessions: number, each: number): Generator<StoreChange> {
  const template = RECORDS[3]!;
  assert(template.type === "session");
  for (let session = 1; session <= sessions; session++) {
    yield { ...template, session, clientId: `client ${session}` };
    for (let seq = 1; seq <= each; seq++) {
      const topicName = `topic/${seq}`;
      yield {
        type: "subscription",
        session,
        topicFilter: topicName,
        qos: 1,
        isPending: false,
      };
      yield {
        type: "queued",
        session,
        seq,
        topicName,
        payload: Uint8Array.of(seq),
        qos: 1,
        retain: false,
        at: 0,
        msgId: 0,
        isReleased: false,
      };
    }
  }
}

/** A copy of it: who starts on one changes it. */
function largeIn(directory: Directory): string {
  const path = directory.file();
  Deno.copyFileSync(large!.file(), path);
  return path;
}

const LARGE_FLAGS = ["--max-clients", "30000"];

Deno.test("the broker answers with congestion while it is loading, and has started only then", async () => {
  using directory = new Directory();
  const flags = [...LARGE_FLAGS, "--log-level", "debug"];
  await using broker = startOn(largeIn(directory), ...flags);
  await broker.stderr.until("Listening at 127.0.0.1:");
  const port = Number(await broker.stderr.line());
  await using known = await Probe.to(port);
  await using stranger = await Probe.to(port);
  let refusals = 0;
  for (;;) {
    // Whoever was connected before would take a DISCONNECT for the end.
    const code = await stranger.publish("ab", "1");
    if (await known.connect("client 7", { clean: false }) === 0) break;
    assertEquals(code, CONGESTED);
    assertEquals(broker.stdout.text, "");
    refusals++;
  }
  assert(refusals > 0);
  assertEquals(await portOf(broker), port);
  assertFalse(known.log.includes("DISCONNECT"));
  assertFalse(broker.stderr.text.includes("records loaded"));
});

testAtTerminal("the broker tells a person how much it has loaded", async () => {
  using directory = new Directory();
  const flags = ["--port", "0", "--db", largeIn(directory), ...LARGE_FLAGS];
  await using terminal = new Terminal("broker", flags);
  await terminal.expect(" of 180,000 (");
  await terminal.expect("Broker started at 127.0.0.1:");
  await terminal.type(KEY.ctrlC);
  const { code, screen, leftovers } = await terminal.end();
  assertEquals([code, leftovers], [130, TIDY]);
  assertMatch(
    screen[0]!,
    /^180,000 of 180,000 \(100 %\) records loaded, [\d,]+\/s$/,
  );
  assertMatch(screen[1]!, /^Broker started at /);
});

testAtTerminal(
  "the broker ends at once when Ctrl-C comes as it is loading",
  async () => {
    using directory = new Directory();
    const path = largeIn(directory);
    const flags = ["--port", "0", "--db", path, ...LARGE_FLAGS];
    await using terminal = new Terminal("broker", flags);
    await terminal.expect(" of 180,000 (");
    await terminal.type(KEY.ctrlC);
    const { code, screen, leftovers } = await terminal.end();
    assertEquals([code, leftovers], [130, TIDY]);
    assertFalse(screen.some((line) => line.includes("Broker started")));
    // And nothing is lost by it.
    assertStringIncludes(
      (await inspect(path)).stdout,
      "Sessions               20,000",
    );
  },
);

testSignals(
  "the broker ends with 0 when SIGTERM comes as it is loading",
  async () => {
    using directory = new Directory();
    const flags = [...LARGE_FLAGS, "--log-level", "debug"];
    await using broker = startOn(largeIn(directory), ...flags);
    await broker.stderr.until("Listening at ");
    broker.kill("SIGTERM");
    const { code, stdout, stderr } = await broker.outcome();
    assertEquals([code, stdout], [0, ""]);
    assertMatch(stderr, /info {2}Ended by SIGTERM\n$/);
  },
);
