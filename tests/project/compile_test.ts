import { assert, assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { PROGRAMS } from "../../tasks/compile.ts";
import { TOOLS } from "../../tasks/pack.ts";
import { type Outcome, run, smoke, startBroker } from "../../tasks/smoke.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const NAMES = PROGRAMS.map(({ name }) => name);

/** One build serves every test; what a test unpacks is its own. */
let workshop = "";
/** The only commands that the executables find: there is no Deno. */
let tools = "";
let build: Outcome | undefined;

Deno.test.beforeAll(async () => {
  workshop = await Deno.makeTempDir();
  if (Deno.build.os === "windows") return;
  tools = join(workshop, "tools");
  await Deno.mkdir(tools);
  for (const tool of TOOLS) {
    await Deno.symlink(find(tool) ?? tool, join(tools, tool));
  }
  build = await compile("dist", ["--packing", "self-extracting"]);
});

Deno.test.afterAll(async () => {
  await Deno.remove(workshop, { recursive: true });
});

testUnlessWindows(
  "`compile` packs executables that run without Deno when it is told to",
  async () => {
    assertEquals(build?.stderr, "");
    assertEquals(build?.code, 0);
    const home = await makeHome();
    const cache = join(home, "a cache");
    await smoke(packed({ HOME: home, XDG_CACHE_HOME: cache }));

    assertEquals(await list(home), ["a cache"]);
    assertEquals(await list(cache), ["mock-mqtt"]);
    const { mode } = await Deno.stat(join(cache, "mock-mqtt"));
    assertEquals(mode! & 0o777, 0o700);
    const unpacked = await list(join(cache, "mock-mqtt"));
    const hashless = unpacked.map((name) => name.replace(/-[0-9a-f]{16}/, ""));
    assertEquals(hashless, [
      "broker.js",
      `deno-${Deno.version.deno}`,
      "publisher.js",
      "state",
      "subscriber.js",
    ]);
  },
);

testUnlessWindows(
  "`compile` packs executables that may start for the first time together",
  async () => {
    const home = await makeHome();
    const options = packed({ HOME: home });
    const outcomes = await Promise.all(
      [...NAMES, "broker"].map((name) => run(options, name, ["--version"])),
    );
    for (const outcome of outcomes) assertEquals(outcome.stderr, "");
    for (const outcome of outcomes) assertEquals(outcome.code, 0);
    const unpacked = await list(cacheOf(home));
    assertEquals(unpacked.filter((name) => name.startsWith("deno-")).length, 1);
    assertEquals(unpacked.filter((name) => name.startsWith("new.")), []);
  },
);

testUnlessWindows(
  "`compile` packs a broker that records",
  async () => {
    const home = await makeHome();
    const options = packed({ HOME: home });
    const record = join(home, "mqtt.jsonl");
    await using broker = await startBroker(options, [
      ...["-p", "0", "--record", record],
    ]);
    const to = ["-p", broker.port, "-t", "a", "-q", "1", "-m", "recorded"];
    assertEquals((await run(options, "publisher", to)).code, 0);
    await broker.stop();
    const text = await Deno.readTextFile(record);
    assertMatch(text, /"type":"PUBLISH".+"topic":"a".+recorded.+\n/);
    assertMatch(text, /"type":"DISCONNECT".+\n$/);
  },
);

testUnlessWindows(
  "`compile` packs a broker whose file outlives it",
  async () => {
    const home = await makeHome();
    const options = packed({ HOME: home });
    const db = join(home, "broker.db");
    const topic = ["-t", "a topic", "-q", "1"];
    {
      await using broker = await startBroker(options, ["-p", "0", "--db", db]);
      const to = ["-p", broker.port, ...topic, "-r", "-m", "kept"];
      assertEquals((await run(options, "publisher", to)).code, 0);
      const other = await run(options, "broker", ["-p", "0", "--db", db]);
      assertEquals(other.code, 1);
      assertMatch(other.stderr, /^broker: Cannot open .+ has it open; .+\n$/);
    }
    const inspected = await run(options, "broker", ["--db", db, "--inspect"]);
    assertEquals([inspected.code, inspected.stderr], [0, ""]);
    assertMatch(inspected.stdout, /\nRetained messages +1 +4 octets\n/);
    await using broker = await startBroker(options, ["-p", "0", "--db", db]);
    const from = ["-p", broker.port, ...topic, "-C", "1"];
    const received = await run(options, "subscriber", from);
    assertEquals(received, { code: 0, stdout: "kept\n", stderr: "" });
    await broker.stop();
  },
);

testUnlessWindows(
  "`compile` packs executables that leave standard input to the program when they unpack",
  async () => {
    const options = packed({ HOME: await makeHome() });
    await using broker = await startBroker(options, ["--port", "0"]);
    const to = ["-p", broker.port, "-t", "a topic"];
    const fresh = packed({ HOME: await makeHome() });
    const retained = [...to, "-s", "-r"];
    const sent = await run(fresh, "publisher", retained, "from a pipe");
    assertEquals(sent, { code: 0, stdout: sent.stdout, stderr: "" });
    const received = await run(options, "subscriber", [...to, "-C", "1"]);
    assertEquals(received, { code: 0, stdout: "from a pipe\n", stderr: "" });
    await broker.stop();
  },
);

const HAS_TERMINAL = Deno.build.os === "linux" && find("script") !== undefined;
Deno.test({
  name: "`PROGRAMS` has permissions enough when a person is asked" +
    (HAS_TERMINAL ? "" : " (skipped: there is no script(1) of Linux)"),
  ignore: !HAS_TERMINAL,
  async fn() {
    const options = packed({ HOME: await makeHome() });
    await using broker = await startBroker(options, ["--port", "0"]);
    const { denoDir } = await infoOf();
    const classic = ["--protocol", "classic"];
    const dialogues = [
      ["publisher", classic, [
        ["topic to publish", "a topic\r"],
        ["data to publish", "21.5\r"],
        ["Broker has recieved message", ""],
        ["topic to publish", "exit_\r"],
      ]],
      ["subscriber", classic, [
        ["topic to subscribe", "a topic\r"],
        ["\n21.5", ""],
        ["topic to subscribe", "exit_\r"],
      ]],
      ["publisher", [], [
        ["Topic", "a topic\r"],
        ["Payload", "22\r"],
        ["QoS", "1\r"],
        ["Retain", "y\r"],
        ["Acknowledged", ""],
        ["Topic", "exit_\r"],
      ]],
      ["subscriber", ["-C", "1"], [
        ["Topic filter", "a topic\r"],
        ["22", ""],
      ]],
    ] as const;
    for (const [name, flags, dialogue] of dialogues) {
      const { entry, permissions } = PROGRAMS.find((it) => it.name === name)!;
      const run = ["run", "--no-prompt", "--cached-only", "--no-lock"]
        .concat(permissions);
      for (
        const command of [
          [join(options.directory, name)],
          // As deno compile embeds it: not bundled.
          [Deno.execPath(), ...run, join(ROOT, entry)],
        ]
      ) {
        await converse(
          [...command, "-p", broker.port, ...flags],
          { ...options.env, DENO_DIR: denoDir },
          dialogue,
        );
      }
    }
    await broker.stop();
  },
});

testUnlessWindows(
  "`compile` packs executables that unpack to a private place when there is no home",
  async () => {
    const home = await makeHome();
    const options = packed({ HOME: "/dev/null/home", TMPDIR: home });
    assertEquals((await run(options, "broker", ["--version"])).code, 0);
    assertEquals(await list(home), [`mock-mqtt-${Deno.uid()}`]);
    const { mode } = await Deno.stat(join(home, `mock-mqtt-${Deno.uid()}`));
    assertEquals(mode! & 0o777, 0o700);
  },
);

testUnlessWindows(
  "`compile` packs executables that say so in one line when they cannot unpack",
  async () => {
    const nowhere = packed({
      HOME: "/dev/null/a",
      TMPDIR: "/dev/null/b",
    });
    const unplaced = await run(nowhere, "broker", ["--version"]);
    assertEquals(unplaced.code, 126);
    assertMatch(unplaced.stderr, /^broker: cannot unpack itself: .+\n$/);

    const home = await makeHome();
    const whole = packed({ HOME: home, TMPDIR: home });
    const half = { ...whole, directory: await makeHome() };
    const file = await Deno.readFile(join(whole.directory, "broker"));
    const path = join(half.directory, "broker");
    await Deno.writeFile(path, file.subarray(0, 1_000_000), { mode: 0o755 });
    const cut = await run(half, "broker", ["--version"]);
    assertEquals(cut.code, 126);
    assertMatch(cut.stderr, /^broker: cannot unpack itself: .+\n$/);
    assertEquals(await list(cacheOf(home)), []);
  },
);

testUnlessWindows(
  "`compile` says so in one line and packs when denort cannot be fetched",
  async () => {
    const env = await offline();
    const other = await compile("offline", [
      "--target",
      TARGET_ELSEWHERE,
    ], env);
    assertEquals(other.code, 1);
    assertEquals(other.stdout, "");
    assertMatch(other.stderr, /^compile: Cannot fetch denort for .+\n$/);

    const here = await compile("offline", [], env);
    assertMatch(
      here.stderr,
      /^compile: Cannot fetch denort for .+: packing .+\n$/,
    );
    assertEquals(here.code, 0);
    assertEquals(await list(join(workshop, "offline")), [...NAMES].sort());
  },
);

Deno.test("`compile` says what is wrong in one line when a flag is", async () => {
  for (const flags of [["--packing", "zip"], ["--target", "pdp11"], ["-x"]]) {
    const { code, stdout, stderr } = await compile("none", flags);
    assertEquals({ code, stdout }, { code: 1, stdout: "" });
    assertMatch(
      stderr,
      /^compile: Unknown .+; see deno task compile --help\n$/,
    );
  }
});

const ON_LINUX = Deno.build.os === "linux";
Deno.test({
  name:
    "`compile` embeds each module and no wide permission when deno compiles" +
    (ON_LINUX ? "" : " (skipped: reads Linux executables)"),
  ignore: !ON_LINUX,
  async fn() {
    // Deno in the place of its runtime gives no program, but all of the rest.
    const outcome = await compile("graphs", ["--packing", "deno"], {
      DENORT_BIN: Deno.execPath(),
    });
    assertEquals(outcome.stderr, "");
    assertMatch(outcome.stdout, /(.+\.check .+ this is not the program\n){3}/);
    for (const { name, entry, permissions, include } of PROGRAMS) {
      const path = join(workshop, "graphs", `${name}.check`);
      const embedded = embeddedIn(await Deno.readFile(path));
      assertEquals(embedded.entry, entry);
      assertEquals(embedded.permissions, [...permissions].sort());
      assert(embedded.features.includes("net"));
      const graphs = await Promise.all([entry, ...include].map(graphOf));
      for (const { sources, packages } of graphs) {
        assert(sources.size > 0);
        for (const source of sources) {
          const text = await Deno.readTextFile(source);
          assert(embedded.files.includes(text), `${name} lacks ${source}`);
        }
        for (const id of packages) {
          assert(embedded.files.includes(id), `${name} lacks ${id}`);
        }
      }
    }
  },
});

const TARGET_ELSEWHERE = Deno.build.os === "darwin"
  ? "x86_64-unknown-linux-gnu"
  : "aarch64-apple-darwin";

function testUnlessWindows(name: string, fn: () => Promise<void>): void {
  const ignore = Deno.build.os === "windows";
  const why = ignore ? " (skipped: Windows has no such executables)" : "";
  Deno.test({ name: name + why, ignore, fn });
}

/** Runs `deno task compile`, to write to the directory `to` of the workshop. */
async function compile(
  to: string,
  flags: readonly string[],
  env: Record<string, string> = {},
): Promise<Outcome> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "tasks/compile.ts", "--out", join(workshop, to)]
      .concat(flags),
    cwd: ROOT,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return {
    code,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
  };
}

/** How to start what the tests share. */
function packed(env: Record<string, string>) {
  return { directory: join(workshop, "dist"), env: { PATH: tools, ...env } };
}

function makeHome(): Promise<string> {
  return Deno.makeTempDir({ dir: workshop, prefix: "home of " });
}

function cacheOf(home: string): string {
  const cache = Deno.build.os === "darwin" ? "Library/Caches" : ".cache";
  return join(home, cache, "mock-mqtt");
}

async function list(directory: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(directory));
  return entries.map(({ name }) => name).sort();
}

function find(tool: string): string | undefined {
  return (Deno.env.get("PATH") ?? "").split(delimiter)
    .map((directory) => join(directory, tool)).find(existsSync);
}

/** Runs a command at a terminal: waits for each text, and types the answer. */
async function converse(
  command: readonly string[],
  env: Record<string, string>,
  dialogue: readonly (readonly [text: string, answer: string])[],
): Promise<void> {
  const quoted = command.map((word) => `'${word}'`).join(" ");
  await using child = new Deno.Command(find("script")!, {
    args: ["-qec", quoted, "/dev/null"],
    clearEnv: true,
    env: { SHELL: "/bin/sh", TERM: "xterm", ...env },
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const stuck = setTimeout(() => child.kill("SIGKILL"), 20_000);
  const keyboard = child.stdin.getWriter();
  const screen = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let shown = "";
  for (const [text, answer] of dialogue) {
    while (!shown.includes(text)) {
      const { value, done } = await screen.read();
      assert(!done, `${command[0]} ended before "${text}": ${shown}`);
      shown += value;
    }
    shown = shown.slice(shown.indexOf(text) + text.length);
    await keyboard.write(new TextEncoder().encode(answer));
  }
  const { code } = await child.status;
  clearTimeout(stuck);
  await screen.cancel();
  await keyboard.close().catch(() => {});
  assertEquals(code, 0);
}

async function infoOf(...args: string[]) {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", ...args],
    cwd: ROOT,
    stderr: "null",
  }).output();
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** An environment without a network and denort: only Deno's cache of the rest. */
async function offline(): Promise<Record<string, string>> {
  const { denoDir } = await infoOf();
  const cache = await Deno.makeTempDir({ dir: workshop });
  const downloads = join(denoDir, "dl");
  await Deno.mkdir(join(cache, "dl"));
  for await (const { name, isDirectory } of Deno.readDir(denoDir)) {
    if (!isDirectory || name === "dl") continue;
    await Deno.symlink(join(denoDir, name), join(cache, name));
  }
  // There denort is below "release", and esbuild in a directory of its own.
  for await (const { name } of Deno.readDir(downloads)) {
    if (!name.startsWith("esbuild")) continue;
    await Deno.symlink(join(downloads, name), join(cache, "dl", name));
  }
  const nobody = "http://127.0.0.1:1";
  return {
    DENO_DIR: cache,
    HTTPS_PROXY: nobody,
    https_proxy: nobody,
    NO_PROXY: "",
    no_proxy: "",
  };
}

/** What a program is made of when it runs: our files, and npm's packages. */
async function graphOf(entry: string) {
  interface Module {
    readonly specifier: string;
    readonly local?: string;
    readonly dependencies?: readonly { code?: { specifier: string } }[];
  }
  const info = await infoOf(entry);
  const modules = new Map(
    (info.modules as readonly Module[]).map((it) => [it.specifier, it]),
  );
  const sources = new Set<string>();
  // Grows while it is walked. Imports of types alone have no code.
  const reached = new Set<string>(info.roots);
  for (const specifier of reached) {
    const { local, dependencies = [] } = modules.get(specifier) ?? {};
    if (specifier.startsWith("file:")) sources.add(local!);
    for (const { code } of dependencies) if (code) reached.add(code.specifier);
  }
  return { sources, packages: Object.keys(info.npmPackages ?? {}) };
}

/** What `deno compile` appended to the runtime. */
function embeddedIn(executable: Uint8Array) {
  // Latin-1, so that an index counts octets; the last is ours, not Deno's own.
  const octets = new TextDecoder("latin1").decode(executable);
  const at = octets.lastIndexOf('{"argv":');
  assert(at > 0);
  const length = Number(
    new DataView(executable.buffer).getBigUint64(at - 8, true),
  );
  const metadata = JSON.parse(octets.slice(at, at + length));
  const granted = Object.entries<string[] | null>(metadata.permissions)
    .filter(([, value]) => Array.isArray(value))
    // Where a program may import from, which is Deno's usual list.
    .filter(([key]) => key !== "allow_import")
    .map(([key, value]) => {
      const flag = `--${key.replace("_", "-")}`;
      return value!.length === 0 ? flag : `${flag}=${value!.join(",")}`;
    });
  return {
    entry: metadata.entrypoint_key as string,
    permissions: granted.sort(),
    features: metadata.unstable_config.features as string[],
    files: new TextDecoder().decode(executable.subarray(at + length)),
  };
}
