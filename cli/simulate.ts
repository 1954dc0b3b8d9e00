/**
 * The simulator: a fleet of clients, a bad network and a broker in virtual time,
 * and what comes of it.
 *
 * ```sh
 * deno run -A cli/simulate.ts --help
 * ```
 *
 * @module
 */

import { type Flags, type Program, run, UsageError } from "./program.ts";
import type { Millis } from "../base/clock.ts";
import { Fleet } from "../fleet/fleet.ts";
import {
  DEFAULT_FLEET,
  type FleetOptions,
  MAX_FANOUT,
  parseQosMix,
  parseRate,
  parseShare,
  parseSizes,
  parseTime,
  TopicTree,
} from "../fleet/options.ts";
import { pageOf } from "../fleet/page.ts";
import { describeReport, reportOf, type RunCost } from "../fleet/report.ts";
import { parseNetSpec } from "../netsim/spec_text.ts";
import type { Interruption } from "../base/interruption.ts";
import { messageOf } from "../base/errors.ts";
import { EXIT, pause, print, Progress } from "./terminal.ts";

/** Clients for each listener, unless told otherwise. */
const CLIENTS_A_LISTENER = 1_000;

/** Virtual time between two looks at signals and at the memory. */
const STEP_MS = 1_000;

/** Real time after which the event loop gets its turn. */
const TURN_MS = 50;

const PROGRAM: Program = {
  name: "simulate",
  summary:
    "Runs a fleet of clients, a bad network and a broker in virtual time, and reports.",
  examples: [
    ["simulate", "1,000 clients for ten minutes, on a perfect network"],
    [
      "simulate --net nbiot --html report.html",
      "by radio, as a page to look at",
    ],
    [
      "simulate --clients 10000 --sleepers 80% --duration 1h",
      "and more of them, most asleep",
    ],
    ['simulate --net "loss 5% delay 200ms 50ms"', "a network of your own"],
  ],
  flags: [
    { name: "clients", value: "N", usual: "1000", help: "how many clients" },
    {
      name: "duration",
      value: "TIME",
      usual: "10min",
      help: "for how long they publish",
    },
    {
      name: "net",
      value: "SPEC",
      help: "the network between each client and the broker",
    },
    { name: "seed", value: "N", usual: "1", help: "the same run each time" },
    {
      name: "sleepers",
      value: "PERCENT",
      usual: "50%",
      help: "how many of them sleep",
    },
    {
      name: "sleep",
      value: "S",
      usual: "300",
      help: "seconds between two awakenings",
    },
    {
      name: "rate",
      value: "RATE",
      usual: "1/60",
      help: "what each publishes a second, on average",
    },
    {
      name: "commands",
      value: "RATE",
      usual: "1/600",
      help: "what is published to each a second; 0 for nothing",
    },
    {
      name: "payload",
      value: "OCTETS",
      usual: "16-64",
      help: "the shortest and the longest payload",
    },
    {
      name: "qos",
      value: "MIX",
      usual: "0:50,1:40,2:10",
      help: "each QoS and its share",
    },
    {
      name: "topics",
      value: "TREE",
      usual: "site/{10}/{client}",
      help: "where each publishes; {10} is one of ten names",
    },
    {
      name: "listeners",
      value: "N",
      usual: "one for each 1000 clients",
      help: "how many subscribe; they share the tree",
    },
    {
      name: "fanout",
      value: "N",
      usual: "1",
      help: `to how many of them each message goes, ${MAX_FANOUT} at most`,
    },
    {
      name: "keepalive",
      short: "k",
      value: "S",
      usual: "600",
      help: "keep alive in seconds; 0 for none",
    },
    {
      name: "clean",
      help: "nothing of a client is kept between its connections",
    },
    {
      name: "ramp",
      value: "TIME",
      usual: "1min",
      help: "over which time the clients come",
    },
    {
      name: "grace",
      value: "TIME",
      usual: "two awakenings, 5min at least",
      help: "for how long what is under way may still come",
    },
    {
      name: "retry-ms",
      value: "MS",
      usual: "10000",
      help: "T_retry of clients and broker",
    },
    {
      name: "retries",
      value: "N",
      usual: "4",
      help: "N_retry of clients and broker",
    },
    {
      name: "max-queue",
      value: "N",
      usual: "1000",
      help: "messages that may wait for one client",
    },
    { name: "json", help: "print the report as JSON" },
    {
      name: "html",
      value: "FILE",
      help: "write the report as a page with plots",
    },
  ],
};

/** What the flags ask for. */
function fleetOptionsFrom(flags: Flags): FleetOptions {
  const clients = flags.integer("clients", 1, 1_000_000) ??
    DEFAULT_FLEET.clients;
  const sleep = flags.integer("sleep", 1, 0xffff) ?? DEFAULT_FLEET.sleep;
  const sleepers = parsed(flags, "sleepers", parseShare) ??
    DEFAULT_FLEET.sleepers;
  const awakeningsMs = sleepers > 0 ? 2 * sleep * 1_000 : 0;
  const net = parsed(
    flags,
    "net",
    (text) => parseNetSpec(text, { side: "client" }),
  );
  const usualListeners = Math.ceil(clients / CLIENTS_A_LISTENER);
  const listeners = flags.integer("listeners", 1, 10_000) ?? usualListeners;
  const fanout = flags.integer("fanout", 1, MAX_FANOUT) ?? DEFAULT_FLEET.fanout;
  if (fanout > listeners) {
    throw new UsageError(
      `Flag "--fanout" takes no more than there are listeners, ${listeners}, not "${fanout}"`,
    );
  }
  return {
    seed: flags.integer("seed", 0, 2 ** 32 - 1) ?? DEFAULT_FLEET.seed,
    clients,
    durationMs: parsed(flags, "duration", parseTime) ??
      DEFAULT_FLEET.durationMs,
    rampMs: parsed(flags, "ramp", parseTime) ?? DEFAULT_FLEET.rampMs,
    graceMs: parsed(flags, "grace", parseTime) ??
      Math.max(300_000, awakeningsMs),
    sleepers,
    sleep,
    keepAlive: flags.integer("keepalive", 0, 0xffff) ??
      DEFAULT_FLEET.keepAlive,
    cleanSession: flags.has("clean"),
    rate: parsed(flags, "rate", parseRate) ?? DEFAULT_FLEET.rate,
    commands: parsed(flags, "commands", parseRate) ?? DEFAULT_FLEET.commands,
    payload: parsed(flags, "payload", parseSizes) ?? DEFAULT_FLEET.payload,
    qos: parsed(flags, "qos", parseQosMix) ?? DEFAULT_FLEET.qos,
    tree: parsed(flags, "topics", TopicTree.parse) ?? DEFAULT_FLEET.tree,
    listeners,
    fanout,
    retryMs: flags.integer("retry-ms", 1, 3_600_000) ?? DEFAULT_FLEET.retryMs,
    retries: flags.integer("retries", 0, 1_000) ?? DEFAULT_FLEET.retries,
    maxQueue: flags.integer("max-queue", 1, 1_000_000) ??
      DEFAULT_FLEET.maxQueue,
    ...net !== undefined && { net },
  };
}

/** A flag's value in a language of its own, which says itself what is wrong. */
function parsed<Value>(
  flags: Flags,
  name: string,
  parse: (text: string) => Value,
): Value | undefined {
  const text = flags.text(name);
  if (text === undefined) return undefined;
  try {
    return parse(text);
  } catch (error) {
    throw new UsageError(`Flag "--${name}": ${messageOf(error)}`);
  }
}

/** Lets a fleet run to its end, and a person see how far it is. */
async function runFleet(
  fleet: Fleet,
  { signal }: Interruption,
): Promise<RunCost> {
  using progress = new Progress(
    "virtual seconds",
    Math.ceil(fleet.endsAt / STEP_MS),
  );
  const startedAt = performance.now();
  let turnAt = startedAt;
  let peakMemory = 0;
  for (let at: Millis = 0; at < fleet.endsAt && !signal.aborted;) {
    at = Math.min(at + STEP_MS, fleet.endsAt);
    fleet.run(at);
    progress.tick();
    if (performance.now() < turnAt) continue;
    peakMemory = Math.max(peakMemory, Deno.memoryUsage().rss);
    await pause(0, signal);
    turnAt = performance.now() + TURN_MS;
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  return {
    seconds,
    datagramsPerSecond: fleet.net.counts.sent / seconds,
    peakMemory,
  };
}

async function main(flags: Flags, interruption: Interruption): Promise<number> {
  const options = fleetOptionsFrom(flags);
  const file = flags.text("html");
  if (file === "") throw new UsageError('Flag "--html" needs a file\'s name');
  // A path that cannot be written is an error before a long run, not after it.
  if (file !== undefined) await requireWritable(file);
  const fleet = new Fleet(options);
  const cost = await runFleet(fleet, interruption);
  if (interruption.signal.aborted) return EXIT.interrupted;
  const report = reportOf(fleet, flags.text("net"));
  if (file !== undefined) await writePage(file, pageOf(report, cost));
  print(
    flags.has("json")
      ? `${JSON.stringify({ ...report, cost }, undefined, 2)}\n`
      : describeReport(report, cost),
  );
  return EXIT.done;
}

/** Makes the file if there is none; what is in one stays until the end. */
async function requireWritable(file: string): Promise<void> {
  try {
    (await Deno.open(file, { write: true, create: true })).close();
  } catch (cause) {
    throw cannotWrite(file, cause);
  }
}

async function writePage(file: string, page: string): Promise<void> {
  try {
    await Deno.writeTextFile(file, page);
  } catch (cause) {
    throw cannotWrite(file, cause);
  }
}

function cannotWrite(file: string, cause: unknown): Error {
  return new Error(`Cannot write "${file}": ${messageOf(cause)}`, { cause });
}

if (import.meta.main) await run(PROGRAM, main);
