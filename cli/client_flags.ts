/**
 * What publisher and subscriber share of a command line: which broker, by which
 * protocol, and who they are. Names and meanings are those of mosquitto_pub and
 * mosquitto_sub where these have them.
 *
 * @module
 */

import {
  type Flag,
  type Flags,
  portFromEnvironment,
  UsageError,
} from "./program.ts";
import type { ClientOptions, ClientWill } from "../client.ts";
import type { DeviceTopic } from "../client/commands.ts";
import type { Log } from "../base/log.ts";
import type { DeliveryQos } from "../wire/message.ts";
import type { NoAnswerError } from "../base/errors.ts";
import { DEFAULT_PORT, type Peer } from "../base/peer.ts";
import {
  FAULT_FLAGS,
  faultOptionsFrom,
  NET_FLAGS,
  type NetFlagOptions,
  netOptionsFrom,
} from "./net_flags.ts";
import { parsePredefined } from "../wire/topics.ts";

/** The flags that say which broker a client talks to, by either protocol. */
export const BROKER_FLAGS: readonly Flag[] = [
  {
    name: "host",
    short: "h",
    value: "ADDRESS",
    usual: "127.0.0.1",
    help: "the broker's address or name",
  },
  {
    name: "port",
    short: "p",
    value: "N",
    usual: "12003, or the variable PORT",
    help: "the broker's UDP port",
  },
  {
    name: "protocol",
    value: "NAME",
    usual: "mqtt-sn",
    help: "mqtt-sn: MQTT-SN 1.2; classic: JSON datagrams",
  },
  {
    name: "timeout",
    value: "S",
    usual: "5",
    help: "seconds that the broker may take for a request",
  },
  ...NET_FLAGS,
  {
    name: "seed",
    value: "N",
    help: "the same chances each time: network, client id, pauses",
  },
  {
    name: "debug",
    short: "d",
    help: "log each datagram to standard error",
  },
];

/** The flags that say who a client of MQTT-SN is. */
export const IDENTITY_FLAGS: readonly Flag[] = [
  {
    name: "multicast",
    value: "ADDRESS[:PORT]",
    help: "search for a gateway in this group, if no -h is given",
  },
  {
    name: "id",
    short: "i",
    value: "ID",
    usual: "one by chance",
    help: "client id, 1 to 23 characters",
  },
  {
    name: "keepalive",
    short: "k",
    value: "S",
    usual: "60",
    help: "keep alive in seconds; 0 for none",
  },
  {
    name: "disable-clean-session",
    short: "c",
    help: "have the broker keep the session of -i between connections",
  },
  {
    name: "will-topic",
    value: "TOPIC",
    help: "publish a will there if this client is lost",
  },
  { name: "will-payload", value: "TEXT", help: "what the will says" },
  { name: "will-qos", value: "N", usual: "0", help: "the will's QoS" },
  { name: "will-retain", help: "retain the will" },
  {
    name: "predefined",
    value: "FILE",
    help: 'names of pre-defined topic ids, as JSON: {"1": "a/b"}',
  },
  {
    name: "short-topic",
    help: "send topics of two octets as they are, without an id",
  },
  ...FAULT_FLAGS,
];

/** Which protocol the flags ask for. */
export function protocolFrom(flags: Flags): "mqtt-sn" | "classic" {
  return flags.choice("protocol", ["mqtt-sn", "classic"]) ?? "mqtt-sn";
}

/** What {@linkcode BROKER_FLAGS} ask for: options of a client of any protocol. */
export interface ConnectOptions extends NetFlagOptions {
  /** Address or name of the broker's machine. */
  readonly hostname: string;
  /** The broker's UDP port, 1 to 65535. */
  readonly port: number;
  /** How long to wait for the broker's answer, in milliseconds. */
  readonly timeoutMs: number;
  /** Where the client tells what it does. */
  readonly log: Log;
  /** Makes its chances the same each time. */
  readonly seed?: number;
}

/** The options of a client that {@linkcode BROKER_FLAGS} ask for. */
export async function connectOptionsFrom(
  flags: Flags,
): Promise<ConnectOptions> {
  const seed = flags.integer("seed", 0, 2 ** 32 - 1);
  return {
    ...await netOptionsFrom(flags, "client"),
    ...seed !== undefined && { seed },
    hostname: flags.text("host") ?? "127.0.0.1",
    port: flags.integer("port", 1, 65_535) ?? portFromEnvironment(1),
    timeoutMs: flags.secondsAsMs("timeout", 0.001) ?? 5_000,
    log: flags.log("warn"),
  };
}

/** The longest client id (§5.3.1), in characters. */
const MAX_CLIENT_ID = 23;

/** T_SEARCHGW: who starts a program does not start a hundred at once. */
const SEARCH_MS = 100;

/** How often a request is sent before its time is up, at least. */
const TRIES = 4;

/** T_retry, at the longest: in most networks a datagram is lost by then. */
const MAX_RETRY_MS = 1_000;

/**
 * The options of a client of MQTT-SN that all flags together ask for.
 *
 * @param flags the program's
 * @param prefix what a client id by chance begins with
 * @throws {UsageError} when the flags do not go together
 * @throws {Error} when a file cannot be read
 */
export async function clientOptionsFrom(
  flags: Flags,
  prefix: string,
): Promise<ClientOptions> {
  const { hostname, ...options } = await connectOptionsFrom(flags);
  const clientId = clientIdFrom(flags);
  const isKept = flags.has("disable-clean-session");
  if (isKept && clientId === undefined) {
    throw new UsageError(
      'Flag "--disable-clean-session" needs a client id: -i ID',
    );
  }
  const multicast = flags.text("multicast");
  const predefined = await flags.jsonFile("predefined", parsePredefined);
  const will = willFrom(flags);
  return {
    ...options,
    ...(multicast === undefined || flags.isGiven("host")) && { hostname },
    ...multicast !== undefined && { multicast, searchMs: SEARCH_MS },
    ...will !== undefined && { will },
    ...predefined !== undefined && { predefined },
    ...await faultOptionsFrom(flags),
    clientId: clientId ?? chanceId(prefix, options.seed),
    cleanSession: !isKept,
    keepAlive: flags.integer("keepalive", 0, 65_535) ?? 60,
    retryMs: Math.min(MAX_RETRY_MS, Math.max(1, options.timeoutMs / TRIES)),
  };
}

function clientIdFrom(flags: Flags): string | undefined {
  const id = flags.text("id");
  if (id === undefined || (id !== "" && [...id].length <= MAX_CLIENT_ID)) {
    return id;
  }
  throw new UsageError(
    `Flag "--id" takes 1 to ${MAX_CLIENT_ID} characters, not "${id}"`,
  );
}

/** A topic as a flag names it. */
export function topicFrom(flags: Flags, text: string): DeviceTopic {
  if (!flags.has("short-topic")) return text;
  if (new TextEncoder().encode(text).length === 2) return { short: text };
  throw new UsageError(
    `Flag "--short-topic" takes topics of two octets, not "${text}"`,
  );
}

/** A pre-defined topic id, as "-T" names it. */
export function topicIdFrom(text: string): DeviceTopic {
  const id = /^\d+$/.test(text) ? Number(text) : NaN;
  if (id >= 1 && id <= 0xfffe) return { predefined: id };
  throw new UsageError(
    `Flag "--topic-id" takes a whole number from 1 to 65534, not "${text}"`,
  );
}

/**
 * Refuses flags that mean something for MQTT-SN only.
 *
 * @throws {UsageError} when one of them is given
 */
export function requireClassic(flags: Flags, names: readonly string[]): void {
  for (const name of names) {
    if (!flags.isGiven(name)) continue;
    throw new UsageError(`Flag "--${name}" needs --protocol mqtt-sn`);
  }
}

/** What to tell a person while nobody has answered. */
export function lookingFor(broker: Peer | undefined): string {
  return broker === undefined
    ? "Searching for a gateway"
    : `Looking for a broker at ${broker.key}`;
}

/** What to tell a person whose broker does not answer. */
export function startHint({ message, broker }: NoAnswerError): string {
  if (broker === undefined) return message;
  const isExecutable = Deno.build.standalone ||
    !import.meta.url.endsWith(".ts");
  const command = isExecutable ? "broker" : "deno run -A broker.ts";
  const port = broker.port === DEFAULT_PORT ? "" : ` --port ${broker.port}`;
  return `${message}; start one with: ${command}${port}`;
}

function willFrom(flags: Flags): ClientWill | undefined {
  const topicName = flags.text("will-topic");
  if (topicName === undefined) {
    for (const name of ["will-payload", "will-qos", "will-retain"]) {
      if (!flags.isGiven(name)) continue;
      throw new UsageError(`Flag "--${name}" needs "--will-topic"`);
    }
    return undefined;
  }
  return {
    topicName,
    payload: flags.text("will-payload") ?? "",
    qos: (flags.integer("will-qos", 0, 2) ?? 0) as DeliveryQos,
    retain: flags.has("will-retain"),
  };
}

/** So that two programs at once are not taken for one. */
function chanceId(prefix: string, seed: number | undefined): string {
  const chance = seed ?? Math.floor(Math.random() * 36 ** 8);
  return `${prefix}-${chance.toString(36).padStart(8, "0")}`;
}
