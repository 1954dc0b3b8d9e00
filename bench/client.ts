/**
 * The benchmark of publisher and subscriber as programs: from the start to the
 * first acknowledgement, lines a second at QoS 0 and 1, and what a subscriber
 * writes to a file of it. Each next to the same datagrams by hand
 * (`raw_client.ts`), in turn, in one run. `bench/README.md` tells the method.
 *
 * ```sh
 * deno run -A bench/client.ts --help
 * ```
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { type Flags, type Program, run } from "../cli/program.ts";
import { Client } from "../client.ts";
import { EXIT, pause, print } from "../cli/terminal.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

const PROGRAM: Program = {
  name: "client",
  summary: "Measures publisher and subscriber as programs.",
  examples: [
    ["client", "all of it, about two minutes"],
    ["client --rounds 3", "a quick look"],
  ],
  flags: [
    { name: "rounds", value: "N", usual: "9", help: "times for each figure" },
    {
      name: "lines",
      value: "N",
      usual: "100000",
      help: "lines published at QoS 0; at QoS 1 a fifth of them",
    },
  ],
};

interface Ended {
  readonly ms: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function timed(args: readonly string[], input?: string): Promise<Ended> {
  const startedAt = performance.now();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", ...args],
    cwd: ROOT,
    stdin: input === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writing = input === undefined
    ? undefined
    : new Blob([input]).stream().pipeTo(child.stdin).catch(() => {});
  const [{ code, stdout, stderr }] = await Promise.all([
    child.output(),
    writing,
  ]);
  const ms = performance.now() - startedAt;
  const text = new TextDecoder().decode(stderr);
  if (code !== 0) {
    throw new Error(`${args.join(" ")} ended with ${code}: ${text}`);
  }
  return { ms, stdout: new TextDecoder().decode(stdout), stderr: text };
}

/** The median, and the least and the most. */
function spreadOf(figures: readonly number[]) {
  const sorted = figures.toSorted((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)]!;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

function tell(name: string, figures: readonly number[], digits: number): void {
  const { median, min, max } = spreadOf(figures);
  const [middle, least, most] = [median, min, max].map((figure) =>
    figure.toLocaleString("en", {
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    })
  );
  print(`${name.padEnd(52)} ${middle!.padStart(9)}  ${least}–${most}\n`);
}

/** Pairs of the same round, one divided by the other. */
function tellRatio(name: string, own: number[], other: number[]): void {
  tell(name, own.map((figure, i) => figure / other[i]!), 2);
}

async function main(flags: Flags): Promise<number> {
  const rounds = flags.integer("rounds", 1, 1_000) ?? 9;
  const lines = flags.integer("lines", 100, 1_000_000) ?? 100_000;
  const directory = await Deno.makeTempDir();
  const broker = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "broker.ts",
      "--port",
      "0",
      "--log-level",
      "none",
      "--max-queue",
      "100000",
    ],
    cwd: ROOT,
    stdout: "piped",
  }).spawn();
  try {
    const reader = broker.stdout.getReader();
    const { value } = await reader.read();
    const port = /:(\d+)\n/.exec(new TextDecoder().decode(value))![1]!;
    reader.releaseLock();
    const empty = `${directory}/empty.ts`;
    await Deno.writeTextFile(empty, "console.log(1);\n");
    print(`${"median of the rounds".padEnd(52)} ${"".padStart(9)}  min–max\n`);
    await measureStart(rounds, port, empty);
    await measureFlood(rounds, port, lines);
    await measurePace(rounds, port, Math.ceil(lines / 5));
    for (const qos of [0, 1]) {
      const count = qos === 0 ? lines : Math.ceil(lines / 5);
      await measureSubscriber(rounds, { port, count, qos, directory });
    }
  } finally {
    broker.kill();
    await broker.status;
    await Deno.remove(directory, { recursive: true });
  }
  return EXIT.done;
}

async function measureStart(
  rounds: number,
  port: string,
  empty: string,
): Promise<void> {
  const publish = ["publisher.ts", "-p", port, "-t", "bench/start", "-m", "1"];
  const bare: number[] = [];
  const raw: number[] = [];
  const full: number[] = [];
  // The first of each fills Deno's caches.
  for (let round = -1; round < rounds * 3; round++) {
    const figures = [
      await timed([empty]),
      await timed(["bench/raw_client.ts", "start", port]),
      await timed([...publish, "-q", "1"]),
    ].map(({ ms }) => ms);
    if (round < 0) continue;
    bare.push(figures[0]!);
    raw.push(figures[1]!);
    full.push(figures[2]!);
  }
  tell("an empty deno run, ms", bare, 1);
  tell("connect, publish at QoS 1, disconnect by hand, ms", raw, 1);
  tell("publisher -m 1 -q 1, ms", full, 1);
  tellRatio("publisher / empty", full, bare);
}

async function measureFlood(
  rounds: number,
  port: string,
  count: number,
): Promise<void> {
  const args = ["publisher.ts", "-p", port, "-t", "bench/line", "-l"];
  const input = linesOf(count);
  const start: number[] = [];
  const raw: number[] = [];
  const full: number[] = [];
  for (let round = 0; round < rounds; round++) {
    start.push((await timed(args, linesOf(1))).ms);
    const { stdout } = await timed([
      "bench/raw_client.ts",
      "flood",
      port,
      `${count}`,
    ]);
    raw.push(Number(stdout));
    full.push(count / ((await timed(args, input)).ms / 1_000));
  }
  tell(`publisher -l, ${count} lines at QoS 0, lines/s`, full, 0);
  const net = full.map((rate, i) => count / (count / rate - start[i]! / 1_000));
  tell("the same without the program's start, lines/s", net, 0);
  tell("the same datagrams by hand, /s", raw, 0);
  tellRatio("publisher -l / by hand, without the start", net, raw);
}

async function measurePace(
  rounds: number,
  port: string,
  count: number,
): Promise<void> {
  const args = ["publisher.ts", "-p", port, "-t", "bench/line", "-l"];
  const input = linesOf(count);
  const raw: number[] = [];
  const full: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = (await timed([...args, "-q", "1"], linesOf(1))).ms;
    const { stdout } = await timed([
      "bench/raw_client.ts",
      "pace",
      port,
      `${count}`,
    ]);
    raw.push(Number(stdout));
    const { ms } = await timed([...args, "-q", "1"], input);
    full.push((count - 1) / ((ms - start) / 1_000));
  }
  tell(`publisher -l -q 1, ${count} lines, lines/s`, full, 0);
  tell("one at a time by hand, 1/RTT, /s", raw, 0);
  tellRatio("publisher -l -q 1 / 1/RTT", full, raw);
}

interface SubscriberJob {
  readonly port: string;
  readonly count: number;
  readonly qos: number;
  readonly directory: string;
}

/** A subscriber that writes to a file, while a publisher floods. */
async function measureSubscriber(
  rounds: number,
  { port, count, qos, directory }: SubscriberJob,
): Promise<void> {
  const input = linesOf(count);
  const rates: number[] = [];
  const printed: number[] = [];
  const told: number[] = [];
  const atBroker: number[] = [];
  await using prober = await Client.connect({ port: Number(port) });
  for (let round = 0; round < rounds; round++) {
    const topic = `bench/file/${qos}/${round}`;
    const path = `${directory}/${qos}-${round}`;
    const command = `exec "$0" run -A subscriber.ts -p ${port} -t ${topic} ` +
      `-q ${qos} -i file${qos} > ${path}`;
    const subscriber = new Deno.Command("sh", {
      args: ["-c", command, Deno.execPath()],
      cwd: ROOT,
      stderr: "piped",
    }).spawn();
    const output = subscriber.output();
    while (await sizeOf(path) === 0) {
      await prober.publish(topic, "probe");
      await pause(20);
    }
    await pause(100);
    const before = await overflowsOf(port);
    const args = [
      "publisher.ts",
      "-p",
      port,
      "-t",
      topic,
      "-l",
      "-q",
      `${qos}`,
    ];
    const { ms } = await timed(args, input);
    rates.push(count / (ms / 1_000));
    for (let size = -1; size !== await sizeOf(path);) {
      size = await sizeOf(path);
      await pause(500);
    }
    atBroker.push(await overflowsOf(port) - before);
    subscriber.kill("SIGINT");
    const stderr = new TextDecoder().decode((await output).stderr);
    told.push(Number(/(\d+) datagrams/.exec(stderr)?.[1] ?? 0));
    const lines = (await Deno.readTextFile(path)).split("\n");
    printed.push(lines.filter((line) => line.startsWith("line ")).length);
  }
  tell(`publisher -l -q ${qos} beside a subscriber, lines/s`, rates, 0);
  tell(`subscriber -q ${qos} > file, of ${count} lines`, printed, 0);
  tell("lost on the way to the broker's socket", atBroker, 0);
  tell("lost on the way to the subscriber's, as it says", told, 0);
}

async function sizeOf(path: string): Promise<number> {
  return await Deno.stat(path).then(({ size }) => size, () => 0);
}

/** Datagrams that the system dropped because the socket's buffer was full. */
async function overflowsOf(port: string): Promise<number> {
  const table = await Deno.readTextFile("/proc/net/udp").catch(() => "");
  const hex = Number(port).toString(16).toUpperCase().padStart(4, "0");
  const line = table.split("\n").find((line) =>
    line.trim().split(/\s+/)[1]?.endsWith(`:${hex}`)
  );
  return Number(line?.trim().split(/\s+/).at(-1) ?? 0);
}

function linesOf(count: number): string {
  let text = "";
  for (let i = 0; i < count; i++) text += `line number ${i}\n`;
  return text;
}

await run(PROGRAM, main);
