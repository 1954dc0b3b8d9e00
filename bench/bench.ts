/**
 * The benchmark of the broker in MQTT-SN: messages delivered a second at each
 * quality of service, to few and to many, by each way to use a socket and with
 * threads that send; next to what the same calls can do without a protocol, and to
 * mosquitto. Then what does not show in a rate: latency, loss, memory, idling, the
 * start, and overload. Servers and generators are processes of their own; this one
 * starts them, takes turns, and reports. `bench/README.md` tells the method.
 *
 * ```sh
 * deno task bench --help
 * ```
 *
 * @module
 */

import { type Flags, type Program, run, UsageError } from "../cli/program.ts";
import type { Interruption } from "../base/interruption.ts";
import { EXIT, print, printError } from "../cli/terminal.ts";
import { type Case, CASES } from "./cases.ts";
import {
  batched,
  brokers,
  mosquitto,
  relays,
  type Rival,
  underLoad,
} from "./contenders.ts";
import { type Context, EXTREMES, type Told } from "./extremes.ts";
import { OCTETS, type Round, WARM_UP_MS } from "./load_job.ts";
import { drawPicture } from "./picture.ts";
import { describe, reportOf, summaryOf } from "./report.ts";
import { machineOf, save, Server } from "./servers.ts";
import { shown, table } from "./tables.ts";

/** Starting a generator, connecting and waiting for the last, roughly. */
const OVERHEAD_MS = 500;

const PROGRAM: Program = {
  name: "bench",
  summary: "Measures the broker under load, in MQTT-SN.",
  examples: [
    ["deno task bench", "the usual, a quarter of an hour"],
    ["deno task bench --quick", "a short look, two minutes"],
    ["deno task bench --only qos0-to-10 --rounds 9", "one load, again"],
    ["deno task bench --only qos0 --only idle", "some of it"],
  ],
  flags: [
    { name: "quick", help: "one short round of the loads that tell most" },
    {
      name: "rounds",
      value: "N",
      usual: "3",
      help: "rounds, in which all take turns",
    },
    {
      name: "seconds",
      value: "S",
      usual: "1",
      help: "length of each load, behind 0.3 s that do not count",
    },
    {
      name: "only",
      value: "NAME",
      many: true,
      help: "loads and measurements whose name begins so",
    },
    { name: "list", help: "print those names and exit" },
    { name: "svg", value: "FILE", help: "draw a picture of the loads" },
  ],
};

async function main(flags: Flags, interruption: Interruption): Promise<number> {
  if (flags.has("list")) {
    for (const { name, title } of [...CASES, ...EXTREMES]) {
      print(`${name.padEnd(16)}${title}\n`);
    }
    return EXIT.done;
  }
  const isQuick = flags.has("quick");
  const rounds = flags.integer("rounds", 1, 1_000) ?? (isQuick ? 1 : 3);
  const loadMs = flags.secondsAsMs("seconds", 0.1) ?? (isQuick ? 500 : 1_000);
  const only = flags.texts("only");
  const isWanted = (one: { name: string; isQuick: boolean }) =>
    only.length > 0
      ? only.some((start) => one.name.startsWith(start))
      : !isQuick || one.isQuick;
  const cases = CASES.filter(isWanted);
  const extremes = EXTREMES.filter(isWanted);
  if (cases.length + extremes.length === 0) {
    throw new UsageError(`Nothing is called "${only.join('" or "')}"`);
  }

  const directory = await Deno.makeTempDir();
  try {
    const machine = machineOf();
    const { signal } = interruption;
    const tcp = await mosquitto(directory);
    const rivals = [
      ...brokers().filter(({ name }) => !isQuick || name !== batched(2)),
      ...relays(),
      ...tcp === undefined ? [] : [tcp],
    ];
    const measured: Round[] = [];
    if (cases.length > 0) {
      measured.push(
        ...await measureCases({ cases, rivals, rounds, loadMs, signal }),
      );
      print(`${describe(rounds, loadMs)}\n`);
    }
    for (const one of cases) {
      print(`\n${reportOf(one, measured, tcp === undefined)}\n`);
    }
    if (cases.length > 1) print(`\n${summaryOf(cases, measured)}\n`);
    const told: Told[] = [];
    const context: Context = { rounds, loadMs, signal };
    for (const extreme of extremes) {
      printError(`${extreme.title}\n`);
      const answer = await extreme.measure(context);
      told.push(answer);
      print(`\n${extreme.title}\n\n${table(answer.rows)}\n`);
    }
    const { cpu, cores, os, memoryBytes, deno, v8 } = machine;
    print(
      `\n${cpu}, ${cores} cores, ${
        shown(memoryBytes / 2 ** 30, 1)
      } GiB, ${os}; Deno ${deno}, V8 ${v8}\n`,
    );
    const svg = flags.text("svg");
    if (svg !== undefined) {
      await Deno.writeTextFile(svg, drawPicture(measured, machine));
    }
    const parameters = { octets: OCTETS, rounds, loadMs };
    const file = await save("mqttsn", { machine, parameters, measured, told });
    print(`Every round's figures: ${file}\n`);
    return EXIT.done;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

interface Plan {
  readonly cases: readonly Case[];
  readonly rivals: readonly Rival[];
  readonly rounds: number;
  readonly loadMs: number;
  readonly signal: AbortSignal;
}

/** Gives each its turn with each load in each round, so that all share the noise. */
async function measureCases(
  { cases, rivals, rounds, loadMs, signal }: Plan,
): Promise<Round[]> {
  const turns = cases.flatMap((one) =>
    rivals.filter((rival) => takesPart(rival, one)).map((rival) => ({
      one,
      rival,
    }))
  );
  const allMs = turns.length * rounds * (loadMs + WARM_UP_MS + OVERHEAD_MS);
  printError(
    `${turns.length * rounds} turns, about ${Math.ceil(allMs / 60_000)} min\n`,
  );
  await using running = new AsyncDisposableStack();
  const servers = new Map<string, Server>();
  for (const rival of rivals) {
    if (!turns.some((turn) => turn.rival === rival)) continue;
    servers.set(rival.name, running.use(await Server.start(rival, signal)));
  }
  const measured: Round[] = [];
  for (let round = 1; round <= rounds; round++) {
    printError(`Round ${round} of ${rounds}\n`);
    for (const { one, rival } of turns) {
      const { qos, pattern, clients } = one;
      const figures = await underLoad(servers.get(rival.name)!, rival, {
        qos,
        pattern,
        clients,
        loadMs,
      }, signal);
      const count = pattern === "acks"
        ? figures.acknowledged
        : figures.delivered;
      const rate = count / figures.ms * 1_000;
      const ended = { case: one.name, rival: rival.name, round, rate };
      measured.push({ ...ended, ...figures });
    }
  }
  return measured;
}

/** Whether someone can be put under a load, and it makes a difference. */
function takesPart(rival: Rival, { qos, pattern, usesSenders }: Case): boolean {
  if (rival.kind === "relay") return qos <= 0 && pattern === "fanOut";
  if (rival.kind === "tcp") return qos >= 0;
  return usesSenders || !/[12] sender/.test(rival.name);
}

if (import.meta.main) await run(PROGRAM, main);
