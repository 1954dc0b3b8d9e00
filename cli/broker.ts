/**
 * The program `broker`: its flags, the options that they ask for, and its life from
 * the first line that it prints to its exit code.
 *
 * @module
 */

import { Broker, type BrokerOptions, IOS, MAX_WORKERS } from "../broker.ts";
import type { Interruption } from "../base/interruption.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { EXIT, print, Progress } from "./terminal.ts";
import {
  type Flags,
  portFromEnvironment,
  type Program,
  run,
  UsageError,
} from "./program.ts";
import {
  FAULT_FLAGS,
  faultOptionsFrom,
  NET_FLAGS,
  netOptionsFrom,
} from "./net_flags.ts";
import { StoreError, type StoreErrorKind } from "../store/error.ts";
import { parsePredefined } from "../wire/topics.ts";

/** The broker as a program: what its `--help` prints. */
const BROKER_PROGRAM: Program = {
  name: "broker",
  summary:
    "Passes what publishers publish on to subscribers, over UDP: MQTT-SN 1.2, and JSON datagrams.",
  examples: [
    ["broker", "listen at 127.0.0.1:12003"],
    ["broker --port 0", "listen at a free port, and print which"],
    ["broker --host 0.0.0.0", "listen to other machines too"],
    ["broker --db broker.db", "keep in a file what was acknowledged"],
    ['broker --net "loss 10% delay 50ms"', "put a bad network in front of it"],
    [
      "broker --pcap mqttsn.pcap",
      "capture what goes over the wire for Wireshark",
    ],
  ],
  flags: [
    {
      name: "host",
      short: "h",
      value: "ADDRESS",
      usual: "127.0.0.1",
      help: "interface to listen at; 0.0.0.0 and :: are all of them",
    },
    {
      name: "port",
      short: "p",
      value: "N",
      usual: "12003, or the variable PORT",
      help: "UDP port; 0 picks a free one and prints it",
    },
    {
      name: "db",
      value: "FILE",
      help:
        "file that keeps sessions, queues, retained messages and histories, made if missing: what was acknowledged survives kill -9",
    },
    {
      name: "durability",
      value: "WORD",
      usual: "full",
      help:
        "what an acknowledged message survives: full kill -9 and a power cut; normal kill -9, and a power cut but for its last seconds; off kill -9 alone",
    },
    {
      name: "inspect",
      help: "print what the file of --db holds and exit",
    },
    {
      name: "io",
      value: "WORD",
      usual: "auto",
      help:
        "batched: many datagrams in a call of the system (Linux, FFI); portable; or auto, whichever can be had",
    },
    {
      name: "workers",
      value: "N",
      usual: "auto, by the machine's cores",
      help:
        "threads that send what many subscribers get, 0 to 16; 0 is one thread for all",
    },
    {
      name: "record",
      value: "FILE",
      help:
        "record each datagram in a file, a JSON object a line, to be played again by deno task replay; overwritten",
    },
    {
      name: "pcap",
      value: "FILE",
      help: "capture each datagram in a file for Wireshark; overwritten",
    },
    {
      name: "history",
      value: "N",
      usual: "1000",
      help:
        "data kept for each classic topic; 0 for none: a subscribe waits for the next, and what a file has is forgotten",
    },
    {
      name: "predefined",
      value: "FILE",
      help: 'pre-defined topic ids, as JSON: {"1": "a/b"}',
    },
    {
      name: "max-clients",
      value: "N",
      usual: "10000",
      help: "MQTT-SN clients, kept sessions included",
    },
    {
      name: "session-expiry",
      value: "S",
      usual: "a day, and only when its place is needed",
      help: "seconds away after which a kept session is forgotten",
    },
    {
      name: "message-expiry",
      value: "S",
      usual: "never",
      help: "seconds that a message may wait for a client",
    },
    {
      name: "max-memory",
      value: "MIB",
      usual: "64",
      help:
        "memory for each kind of table; topic ids and filters have four times as much",
    },
    {
      name: "max-queue",
      value: "N",
      usual: "1000",
      help: "messages that wait for one client",
    },
    {
      name: "overflow",
      value: "WORD",
      usual: "drop",
      help: "when too many wait: drop the oldest, or refuse the publisher",
    },
    {
      name: "retry-ms",
      value: "N",
      usual: "10000",
      help: "milliseconds until an unanswered packet is sent again",
    },
    {
      name: "retries",
      value: "N",
      usual: "4",
      help: "how often, before the client is lost",
    },
    {
      name: "tolerance",
      value: "X",
      usual: "1.1",
      help: "times a keep alive of over a minute before a client is lost",
    },
    {
      name: "max-rate",
      value: "N",
      usual: "any number",
      help: "publishes a second from one client",
    },
    {
      name: "gw-id",
      value: "N",
      usual: "1",
      help: "which gateway this is, 0 to 255",
    },
    {
      name: "multicast",
      value: "ADDRESS[:PORT]",
      help: "group in which clients search for gateways",
    },
    {
      name: "advertise",
      value: "S",
      usual: "never",
      help: "seconds between two ADVERTISEs in that group",
    },
    { name: "standby", help: "advertise only while no other gateway does" },
    {
      name: "strict",
      help: "hold rules that are usually overlooked, such as 23 characters",
    },
    {
      name: "allow-empty-client-id",
      help: "give a client that has no client id one",
    },
    { name: "require-keep-alive", help: "refuse a CONNECT without keep alive" },
    {
      name: "connect-wakes-only",
      help: "let CONNECT wake a sleeping client, whatever its flags",
    },
    {
      name: "register-predefined",
      help: "answer REGISTER of a pre-defined topic with that id",
    },
    {
      name: "no-qos-minus-one",
      help: "drop what is published without a connection",
    },
    {
      name: "named-qos-minus-one",
      help: "let such a publish spell out its topic, as Paho's client does",
    },
    {
      name: "no-move",
      help: "do not move a client to the address that its PINGREQ comes from",
    },
    { name: "ignore-tail", help: "ignore octets behind an MQTT-SN message" },
    ...NET_FLAGS,
    ...FAULT_FLAGS,
    {
      name: "seed",
      value: "N",
      help: "the same chances each time in that network and of those faults",
    },
    {
      name: "log-level",
      value: "LEVEL",
      usual: "info",
      help: "debug (each datagram), info, warn, error or none",
    },
    { name: "log-json", help: "log a JSON object a line" },
  ],
};

/**
 * What the flags ask for.
 *
 * @throws {UsageError} when one makes no sense, or needs another
 */
async function brokerOptionsFrom(flags: Flags): Promise<BrokerOptions> {
  for (const [flag, needed] of NEEDS) {
    if (flags.isGiven(flag) && !flags.isGiven(needed)) {
      throw new UsageError(`Flag "--${flag}" needs "--${needed}"`);
    }
  }
  for (const flag of ["db", "record", "pcap"]) {
    if (flags.text(flag) === "") {
      throw new UsageError(`Flag "--${flag}" takes the name of a file, not ""`);
    }
  }
  return {
    hostname: flags.text("host") ?? "127.0.0.1",
    port: flags.integer("port", 0, 65_535) ?? portFromEnvironment(0),
    ...await limitsFrom(flags),
    standby: flags.has("standby"),
    strict: flags.has("strict"),
    allowEmptyClientId: flags.has("allow-empty-client-id"),
    requireKeepAlive: flags.has("require-keep-alive"),
    connectWakesOnly: flags.has("connect-wakes-only"),
    registerPredefined: flags.has("register-predefined"),
    qosMinusOne: !flags.has("no-qos-minus-one"),
    namedQosMinusOne: flags.has("named-qos-minus-one"),
    allowMove: !flags.has("no-move"),
    ignoreTail: flags.has("ignore-tail"),
    journal: false,
  };
}

async function serve(
  flags: Flags,
  interruption: Interruption,
): Promise<number> {
  const log = flags.log("info");
  const options = await brokerOptionsFrom(flags);
  if (flags.has("inspect")) return await inspect(flags.text("db")!);
  using progress = new LoadProgress();
  const listening = Broker.listen({
    ...options,
    log,
    onProgress: progress.tell,
  }).catch((error) => {
    throw new Error(messageOf(error) + adviceOn(error), { cause: error });
  });
  // A file may be long in loading. Nothing is promised meanwhile, so that the end of
  // the process costs nothing.
  await Promise.race([interruption.wait(), listening]);
  if (interruption.signal.aborted) return endedBy(interruption, log);
  await using broker = await listening;
  progress[Symbol.dispose]();
  print(`Broker started at ${broker.address.key}\n`);
  if (broker.network !== undefined) {
    const { obeyKeyboard } = await import("./net_console.ts");
    obeyKeyboard(broker.network, interruption.signal);
  }
  await Promise.race([interruption.wait(), broker.closed]);
  if (!interruption.signal.aborted) return EXIT.failed;
  return endedBy(interruption, log);
}

function endedBy({ cause }: Interruption, log: Log): number {
  log.info(`Ended by ${cause}`);
  return cause === "SIGTERM" ? EXIT.done : EXIT.interrupted;
}

/** Prints what a file holds. */
async function inspect(db: string): Promise<number> {
  const { describeStore, inspectStore } = await import("../store/inspect.ts");
  try {
    print(`${describeStore(inspectStore(db))}\n`);
    return EXIT.done;
  } catch (error) {
    if (!(error instanceof StoreError) || error.kind !== "locked") throw error;
    throw new Error(`${error.message}; end that one first`, { cause: error });
  }
}

/** Tells a person at the terminal how much of a file has been loaded. */
class LoadProgress implements Disposable {
  #progress: Progress | undefined;
  #done = 0;

  readonly tell = (done: number, total: number): void => {
    this.#progress ??= new Progress("records loaded", total);
    this.#progress.tick(done - this.#done);
    this.#done = done;
  };

  [Symbol.dispose](): void {
    this.#progress?.[Symbol.dispose]();
    this.#progress = undefined;
  }
}

/** Runs the program to its end. */
export async function main(): Promise<never> {
  return await run(BROKER_PROGRAM, serve);
}

/** What a person can do about a broker that does not start, as the end of a line. */
function adviceOn(error: unknown): string {
  if (error instanceof Deno.errors.AddrInUse) {
    return "; choose one with --port N";
  }
  return error instanceof StoreError ? ADVICE[error.kind] : "";
}

const OTHER_FILE = "choose another file with --db";

const ADVICE: Readonly<Record<StoreErrorKind, string>> = {
  full: `; make room, or ${OTHER_FILE}`,
  locked: `; end that one, or ${OTHER_FILE}`,
  newer: `; start that one, or ${OTHER_FILE}`,
  damaged: `; ${OTHER_FILE}`,
  readOnly: `; let it be written, or ${OTHER_FILE}`,
  foreign: `; ${OTHER_FILE}`,
  failed: `; ${OTHER_FILE}`,
};

/** Flags that mean nothing without another. */
const NEEDS = [
  ["advertise", "multicast"],
  ["standby", "advertise"],
  ["durability", "db"],
  ["inspect", "db"],
] as const;

function workersFrom(flags: Flags): "auto" | number | undefined {
  if (flags.text("workers") === "auto") return "auto";
  return flags.integer("workers", 0, MAX_WORKERS);
}

/** What the flags with a value ask for; the router has the defaults. */
async function limitsFrom(flags: Flags): Promise<BrokerOptions> {
  const given = {
    workers: workersFrom(flags),
    io: flags.choice("io", IOS),
    history: flags.integer("history", 0, 1_000_000),
    predefined: await flags.jsonFile("predefined", parsePredefined),
    maxClients: flags.integer("max-clients", 1, 10_000_000),
    sessionExpiry: flags.integer("session-expiry", 0, 1_000_000_000),
    messageExpiry: flags.integer("message-expiry", 1, 1_000_000_000),
    db: flags.text("db"),
    record: flags.text("record"),
    pcap: flags.text("pcap"),
    durability: flags.choice("durability", ["full", "normal", "off"]),
    maxMemory: flags.mebibytes("max-memory", 1, 1_000_000),
    maxQueue: flags.integer("max-queue", 1, 100_000),
    overflow: flags.choice("overflow", ["drop", "refuse"]),
    retryMs: flags.integer("retry-ms", 1, 3_600_000),
    retries: flags.integer("retries", 0, 1_000),
    tolerance: flags.number("tolerance", 1, 10),
    maxRate: flags.integer("max-rate", 1, 10_000_000),
    gwId: flags.integer("gw-id", 0, 255),
    multicast: flags.text("multicast"),
    advertise: flags.integer("advertise", 1, 65_535),
    seed: flags.integer("seed", 0, 2 ** 32 - 1),
    ...await netOptionsFrom(flags, "broker"),
    ...await faultOptionsFrom(flags),
  };
  return Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== undefined),
  );
}
