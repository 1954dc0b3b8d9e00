/**
 * What the journal costs the broker, and what recording costs it: brokers with and
 * without, in turn, under the load of `load.ts`. `README.md` tells how to read it.
 *
 * ```sh
 * deno run -A bench/journal.ts --rounds 5
 * ```
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { type Flags, type Program, run } from "../cli/program.ts";
import { EXIT, print, printError } from "../cli/terminal.ts";
import type { LoadFigures, LoadJob } from "./load.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

const KINDS = ["off", "journal", "record", "pcap", "both"] as const;

type Kind = typeof KINDS[number];

/** What one broker did in one round. */
interface Figure {
  readonly kind: Kind;
  /** Publishes acknowledged a second. */
  readonly rate: number;
  /** CPU time of the broker for one of them, in microseconds, all threads. */
  readonly cpu: number;
  /** Of it that of the protocol's thread, from the start on; NaN if unknown. */
  readonly own: number;
  /** Share of the datagrams that are not in the recording. */
  readonly lost: number;
}

const PROGRAM: Program = {
  name: "bench/journal",
  summary: "Measures what the journal and its recording cost the broker.",
  examples: [["deno run -A bench/journal.ts", "the usual, two minutes"]],
  flags: [
    { name: "rounds", value: "N", usual: "5", help: "rounds for each kind" },
    { name: "ms", value: "N", usual: "2000", help: "length of a round's load" },
    { name: "dir", value: "DIR", help: "where the files are, for a while" },
  ],
};

async function measure(
  kind: Kind,
  dir: string,
  loadMs: number,
): Promise<Figure> {
  const broker = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "bench/journal_broker.ts", kind, dir],
    cwd: ROOT,
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const reader = broker.stdout.pipeThrough(new TextDecoderStream())
    .getReader();
  const job: LoadJob = {
    port: Number((await reader.read()).value),
    pid: broker.pid,
    ...{ publishers: 4, unanswered: 8, topics: 100, octets: 40 },
    ...{ warmUpMs: 1_000, loadMs, tripMs: 100 },
  };
  const load = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "bench/load.ts", JSON.stringify(job)],
    cwd: ROOT,
    stderr: "inherit",
  }).output();
  const own = ownCpuMs(broker.pid);
  await broker.stdin.close();
  let text = "";
  for (let part; (part = (await reader.read()).value) !== undefined;) {
    text += part;
  }
  await broker.status;
  if (!load.success) throw new Error(`The load ended with ${load.code}`);
  const figures: LoadFigures = JSON.parse(
    new TextDecoder().decode(load.stdout),
  );
  const { published, recorded = 1, lost = 0 } = JSON.parse(text);
  return {
    kind,
    rate: figures.acks / figures.ms * 1_000,
    cpu: (figures.serverCpuMs ?? NaN) / figures.acks * 1_000,
    own: own / published * 1_000,
    lost: lost / (lost + recorded),
  };
}

/** CPU time of a process's first thread, in milliseconds; Linux tells it. */
function ownCpuMs(pid: number): number {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/task/${pid}/stat`);
    const [utime, stime] = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
      .slice(11, 13);
    return (Number(utime) + Number(stime)) * 10;
  } catch {
    return NaN;
  }
}

function median(figures: readonly number[]): number {
  return figures.toSorted((one, other) => one - other)[figures.length >> 1]!;
}

function summary(figures: readonly number[], digits: number): string {
  const [least, most] = [Math.min(...figures), Math.max(...figures)];
  return `${median(figures).toFixed(digits)} (${least.toFixed(digits)}–${
    most.toFixed(digits)
  })`;
}

async function main(flags: Flags): Promise<number> {
  const rounds = flags.integer("rounds", 1, 1_000) ?? 5;
  const ms = flags.integer("ms", 100, 60_000) ?? 2_000;
  const parent = flags.text("dir");
  const figures: Figure[] = [];
  for (let round = 0; round < rounds; round++) {
    printError(`Round ${round + 1} of ${rounds}\n`);
    // In turn, and each first as often as the others.
    const order = KINDS.map((_, i) => KINDS[(i + round) % KINDS.length]!);
    for (const kind of order) {
      const dir = await Deno.makeTempDir(
        parent === undefined ? {} : { dir: parent },
      );
      try {
        figures.push(await measure(kind, dir, ms));
      } finally {
        await Deno.remove(dir, { recursive: true });
      }
    }
  }
  const of = (kind: Kind) => figures.filter((figure) => figure.kind === kind);
  const off = of("off").map(({ rate }) => rate);
  print(
    `kind      acks/s of "off"      CPU µs/ack          its own             left out %\n`,
  );
  for (const kind of KINDS) {
    const those = of(kind);
    const ratio = those.map(({ rate }, i) => rate / off[i]!);
    print(
      [
        kind.padEnd(8),
        summary(ratio, 2).padEnd(19),
        summary(those.map(({ cpu }) => cpu), 1).padEnd(18),
        summary(those.map(({ own }) => own), 1).padEnd(18),
        summary(those.map(({ lost }) => lost * 100), 1),
      ].join("  ") + "\n",
    );
  }
  print(`acks/s of "off": ${summary(off, 0)}\n`);
  return EXIT.done;
}

if (import.meta.main) await run(PROGRAM, main);
