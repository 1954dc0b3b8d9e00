/**
 * The benchmark of the broker in the classic protocol: publishes acknowledged
 * per second, and round trips one at a time, next to a bare echo and to a
 * broker that starts a thread for each datagram. Servers and load generator
 * are processes of their own; this one starts them, takes turns between the
 * servers, and reports. `bench/README.md` tells the method.
 *
 * ```sh
 * deno task bench:classic --help
 * ```
 *
 * @module
 */

import { type Flags, type Program, run, UsageError } from "../cli/program.ts";
import type { Interruption } from "../base/interruption.ts";
import { EXIT, print, printError } from "../cli/terminal.ts";
import {
  type LoadFigures,
  type LoadJob,
  type Percentile,
  PERCENTILES,
} from "./load.ts";
import {
  answers,
  type Contender,
  generate,
  type Machine,
  machineOf,
  save,
  Server,
} from "./servers.ts";
import { shown, spread, table } from "./tables.ts";

/** The load: what a published figure is about, so nobody turns these. */
const LOAD = {
  publishers: 4,
  unanswered: 8,
  topics: 100,
  octets: 40,
  warmUpMs: 250,
} as const;

/** The longest that all rounds may take together, in milliseconds. */
const LIMIT_MS = 60_000;

/** Starting a load generator and waiting for its last answers, roughly. */
const OVERHEAD_MS = 150;

const BROKER: Contender = {
  name: "broker",
  command: Deno.execPath(),
  args: ["run", "-A", "broker.ts", "--port", "0"],
};
const ECHO: Contender = {
  name: "bare echo",
  command: Deno.execPath(),
  args: ["run", "-A", "bench/echo.ts"],
};
const THREADED: Contender = {
  name: "threaded, Python",
  command: "python3",
  args: ["bench/threaded_broker.py"],
};

/** What one contender did in one round. */
interface Round extends LoadFigures {
  /** Which contender. */
  readonly contender: string;
  /** Which round, from 1. */
  readonly round: number;
  /** Publishes acknowledged per second. */
  readonly acksPerSecond: number;
}

const PROGRAM: Program = {
  name: "bench",
  summary: "Measures the broker under load, in the classic protocol.",
  examples: [
    ["deno task bench:classic", "the usual, a minute"],
    ["deno task bench:classic --rounds 3 --seconds 0.5", "a quick look"],
  ],
  flags: [
    {
      name: "rounds",
      value: "N",
      usual: "5",
      help: "rounds for each server, after one that does not count",
    },
    {
      name: "seconds",
      value: "S",
      usual: "2",
      help: "length of a round's load; round trips take a quarter of it",
    },
  ],
};

async function main(flags: Flags, interruption: Interruption): Promise<number> {
  const rounds = flags.integer("rounds", 1, 1_000) ?? 5;
  const loadMs = flags.secondsAsMs("seconds", 0.1) ?? 2_000;
  const tripMs = Math.round(loadMs / 4);
  const hasPython = await answers(THREADED.command, ["--version"]);
  const contenders = [ECHO, BROKER, ...hasPython ? [THREADED] : []];

  const roundMs = LOAD.warmUpMs + loadMs + tripMs + OVERHEAD_MS;
  const allMs = (rounds + 1) * contenders.length * roundMs;
  if (allMs > LIMIT_MS) {
    throw new UsageError(
      `${rounds} rounds of ${loadMs / 1_000} s would take ${
        Math.round(allMs / 1_000)
      } s, and ${LIMIT_MS / 1_000} s is the limit`,
    );
  }
  // Whatever hangs, this ends: lost datagrams cost a second each.
  const late = new AbortController();
  const timer = setTimeout(() => {
    late.abort(new Error(`Gave up after ${LIMIT_MS * 1.5 / 1_000} s`));
  }, LIMIT_MS * 1.5);
  const signal = AbortSignal.any([interruption.signal, late.signal]);

  try {
    const parameters = { ...LOAD, rounds, loadMs, tripMs };
    const measured = await measure(contenders, parameters, signal);
    const machine = machineOf();
    print(report(measured, machine, parameters));
    const file = await save("classic", { machine, parameters, measured });
    print(`\nEvery round's figures: ${file}\n`);
    return EXIT.done;
  } finally {
    clearTimeout(timer);
  }
}

type Parameters = Omit<LoadJob, "port" | "pid"> & { readonly rounds: number };

/** Gives each contender its turn in each round, so that all share the noise. */
async function measure(
  contenders: readonly Contender[],
  { rounds, ...load }: Parameters,
  signal: AbortSignal,
): Promise<Round[]> {
  await using running = new AsyncDisposableStack();
  const servers: Server[] = [];
  for (const contender of contenders) {
    servers.push(running.use(await Server.start(contender, signal)));
  }
  const measured: Round[] = [];
  // Round 0 does not count: engines warm up, histories fill.
  for (let round = 0; round <= rounds; round++) {
    printError(round === 0 ? "Warming up\n" : `Round ${round} of ${rounds}\n`);
    for (const server of servers) {
      const { port, pid, contender: { name } } = server;
      const figures = await generate<LoadFigures>(
        "bench/load.ts",
        { ...load, port, pid },
        server,
        signal,
      );
      if (round === 0) continue;
      const acksPerSecond = figures.acks / figures.ms * 1_000;
      measured.push({ contender: name, round, acksPerSecond, ...figures });
    }
  }
  return measured;
}

function report(
  measured: readonly Round[],
  { cpu, cores, os, memoryBytes, deno, v8 }: Machine,
  { publishers, unanswered, topics, octets, rounds, loadMs }: Parameters,
): string {
  const roundsOf = ({ name }: Contender) =>
    measured.filter(({ contender }) => contender === name);
  const echo = roundsOf(ECHO);
  const contenders = [BROKER, ECHO, THREADED];

  const loads = contenders.map((contender) => {
    const rounds = roundsOf(contender);
    if (rounds.length === 0) return [contender.name, "skipped"];
    const rate = rounds.map(({ acksPerSecond }) => acksPerSecond);
    // Against the echo of the same round: both had the same noise.
    const share = rate.map((rate, i) => rate / echo[i]!.acksPerSecond);
    const core = (cpuMs: (round: Round) => number | null) =>
      spread(rounds.map((round) => cpuOf(cpuMs(round), round.ms, 100)), 0);
    return [
      contender.name,
      ...spread(rate, 0),
      spread(share, 2)[0]!,
      core(({ serverCpuMs }) => serverCpuMs)[0]!,
      spread(
        rounds.map(({ serverCpuMs, acks }) => cpuOf(serverCpuMs, acks, 1_000)),
        1,
      )[0]!,
      core(({ generatorCpuMs }) => generatorCpuMs)[0]!,
      lostOf(rounds),
    ];
  });
  const trips = contenders.map((contender) => {
    const rounds = roundsOf(contender);
    if (rounds.length === 0) return [contender.name, "skipped"];
    const names = Object.keys(PERCENTILES) as Percentile[];
    return [
      contender.name,
      ...names.flatMap((name) =>
        spread(rounds.map(({ tripUs }) => tripUs[name]), 0)
      ),
    ];
  });

  // One of the two should be the bottleneck, or something else took the cores.
  const busiest = spread(
    echo.map(({ serverCpuMs, generatorCpuMs, ms }) =>
      cpuOf(Math.max(serverCpuMs ?? 0, generatorCpuMs), ms, 100)
    ),
    0,
  )[0];
  const note = Number(busiest) < 80
    ? ["Other programs were at work here: the rates are too low.", ""]
    : [];

  return [
    `Publishes acknowledged per second: ${publishers} publishers with ${unanswered} unanswered each,`,
    `${topics} topics, ${octets}-octet data; median and spread of ${rounds} ${
      rounds === 1 ? "round" : "rounds"
    } of ${loadMs / 1_000} s`,
    "",
    table([
      [
        "",
        "acks/s",
        "min–max",
        "of echo",
        "CPU %",
        "µs/ack",
        "generator %",
        "lost",
      ],
      ...loads,
    ]),
    "",
    "Round trip in microseconds, one at a time",
    "",
    table([
      ["", "p50", "min–max", "p99", "min–max", "p99.9", "min–max"],
      ...trips,
    ]),
    "",
    ...note,
    `${cpu}, ${cores} cores, ${
      (memoryBytes / 2 ** 30).toFixed(1)
    } GiB, ${os}; Deno ${deno}, V8 ${v8}`,
    "",
  ].join("\n");
}

/** CPU time for each of something; NaN, a dash, where it is unknown. */
function cpuOf(cpuMs: number | null, each: number, scale: number): number {
  return cpuMs === null ? NaN : cpuMs / each * scale;
}

function lostOf(rounds: readonly Round[]): string {
  return shown(rounds.reduce((sum, { lost }) => sum + lost, 0), 0);
}

if (import.meta.main) await run(PROGRAM, main);
