/**
 * What it costs to lose nothing: messages at QoS 1 acknowledged a second, by a
 * broker with a file at each durability and by one without, in turn, in one run.
 * `bench/README.md` tells the method.
 *
 * ```sh
 * deno run -A bench/durable.ts --help
 * ```
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { type Flags, type Program, run } from "../cli/program.ts";
import { EXIT, print } from "../cli/terminal.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

const PROGRAM: Program = {
  name: "durable",
  summary: "Measures a broker with a file against one without.",
  examples: [
    ["durable", "all of it, about two minutes"],
    ["durable --clients 1", "one client, one message under way"],
  ],
  flags: [
    { name: "rounds", value: "N", usual: "5", help: "times for each figure" },
    { name: "clients", value: "N", usual: "64", help: "publishers at once" },
    { name: "ms", value: "N", usual: "2000", help: "how long each publishes" },
    {
      name: "dir",
      value: "DIRECTORY",
      usual: "the system's for temporary files",
      help: "where the files are: on which disk",
    },
    { name: "json", help: "print JSON" },
  ],
};

const KINDS = ["memory", "full", "normal", "off"] as const;
const QUEUES = ["none", "away"] as const;

type Kind = typeof KINDS[number];

/** What one broker did in one round. */
interface Figure {
  readonly kind: Kind;
  readonly queue: typeof QUEUES[number];
  /** Messages acknowledged a second. */
  readonly rate: number;
  /** Commits for a thousand of them; each is an fsync at `full`. */
  readonly commits: number;
  /** CPU time that the broker took for one, in microseconds. */
  readonly cpuUs: number;
}

async function measure(
  flags: Flags,
  dir: string,
  kind: Kind,
  queue: Figure["queue"],
): Promise<Figure> {
  const file = `${dir}/bench-${crypto.randomUUID()}.db`;
  const args = kind === "memory" ? [] : [file, kind];
  const broker = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "bench/durable_broker.ts", ...args],
    cwd: ROOT,
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const reader = broker.stdout.pipeThrough(new TextDecoderStream())
    .getReader();
  const port = Number((await reader.read()).value);
  const load = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "bench/durable_load.ts",
      String(port),
      String(flags.integer("clients", 1, 10_000) ?? 64),
      String(flags.integer("ms", 100, 600_000) ?? 2_000),
      queue,
    ],
    cwd: ROOT,
    stderr: "inherit",
  }).output();
  await broker.stdin.close();
  let text = "";
  for (let part; (part = (await reader.read()).value) !== undefined;) {
    text += part;
  }
  await broker.status;
  if (!load.success) throw new Error(`The load ended with ${load.code}`);
  const { published, cpuUs, commits = 0 } = JSON.parse(text);
  for (const suffix of ["", "-wal", "-shm"]) {
    await Deno.remove(file + suffix).catch(() => {});
  }
  return {
    kind,
    queue,
    rate: Number(new TextDecoder().decode(load.stdout)),
    commits: commits / published * 1_000,
    cpuUs: cpuUs / published,
  };
}

function median(figures: readonly number[]): number {
  return figures.toSorted((one, other) => one - other)[figures.length >> 1]!;
}

function spread(figures: readonly number[], digits: number): string {
  const [least, most] = [Math.min(...figures), Math.max(...figures)];
  return `${least.toFixed(digits)}–${most.toFixed(digits)}`;
}

async function main(flags: Flags): Promise<number> {
  const rounds = flags.integer("rounds", 1, 1_000) ?? 5;
  const parent = flags.text("dir");
  const dir = await Deno.makeTempDir(
    parent === undefined ? {} : { dir: parent },
  );
  const figures: Figure[] = [];
  try {
    for (let round = 0; round < rounds; round++) {
      for (const queue of QUEUES) {
        for (const kind of KINDS) {
          figures.push(await measure(flags, dir, kind, queue));
        }
      }
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
  if (flags.has("json")) {
    print(JSON.stringify(figures) + "\n");
    return EXIT.done;
  }
  for (const queue of QUEUES) {
    print(
      queue === "none"
        ? "\nno subscriber: the classic history alone is kept\n"
        : "\na subscriber that is away: each message is queued for it\n",
    );
    print(
      `${"".padEnd(8)}${"acks/s".padStart(9)}${"of memory".padStart(11)}` +
        `   ${"min–max".padEnd(12)}commits/1,000 acks  CPU µs/ack\n`,
    );
    const of = (kind: Kind) =>
      figures.filter((one) => one.kind === kind && one.queue === queue);
    const memory = of("memory").map(({ rate }) => rate);
    for (const kind of KINDS) {
      const rates = of(kind).map(({ rate }) => rate);
      const ratios = rates.map((rate, round) => rate / memory[round]!);
      const commits = median(of(kind).map((figure) => figure.commits));
      const cpuUs = median(of(kind).map((figure) => figure.cpuUs));
      print(
        `${kind.padEnd(8)}${
          Math.round(median(rates)).toLocaleString("en").padStart(9)
        }${median(ratios).toFixed(2).padStart(11)}   ${
          spread(ratios, 2).padEnd(12)
        }${commits.toFixed(1).padEnd(20)}${cpuUs.toFixed(0)}\n`,
      );
    }
  }
  return EXIT.done;
}

if (import.meta.main) await run(PROGRAM, main);
