/**
 * The flags that put a bad network in front of a program. What reads them is loaded
 * only when they are given, as every program waits for what it loads at its start.
 *
 * @module
 */

import { type Flag, type Flags, UsageError } from "./program.ts";
import type { NetSpec } from "../netsim/spec.ts";
import { messageOf } from "../base/errors.ts";

/** The flags of a bad network for datagrams of any protocol. */
export const NET_FLAGS: readonly Flag[] = [
  {
    name: "net",
    value: "SPEC",
    help:
      'a bad network, in netem\'s words: "loss 10% delay 50ms 20ms", "in: rate 9600bit out: mtu 128", or lan, wifi-poor, 2g, nbiot, lora, satellite, zigbee',
  },
];

/** The flag of faults, which speak of MQTT-SN. */
export const FAULT_FLAGS: readonly Flag[] = [
  {
    name: "faults",
    value: "FILE",
    help:
      'faults by rules, as JSON: [{"type": "PUBACK", "client": "lamp-7", "nth": 2, "do": "drop"}]',
  },
];

/** What the flag `--net` asks for. */
export interface NetFlagOptions {
  /** The network. */
  readonly net?: NetSpec;
}

/** What the flag `--faults` asks for. */
export interface FaultFlagOptions {
  /** The rules, as they stand in the file. */
  readonly faults?: readonly unknown[];
}

/**
 * The network that the flag `--net` asks for.
 *
 * @throws {UsageError} when it cannot be understood
 */
export async function netOptionsFrom(
  flags: Flags,
  side: "broker" | "client",
): Promise<NetFlagOptions> {
  const text = flags.text("net");
  if (text === undefined) return {};
  const { parseNetSpec } = await import("../netsim/spec_text.ts");
  try {
    return { net: parseNetSpec(text, { side }) };
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}

/**
 * The faults that the flag `--faults` asks for.
 *
 * @throws {Error} when the file cannot be read or understood
 */
export async function faultOptionsFrom(
  flags: Flags,
): Promise<FaultFlagOptions> {
  if (!flags.isGiven("faults")) return {};
  const { parseFaults } = await import("../netsim/fault_text.ts");
  const faults = await flags.jsonFile("faults", (json) => {
    parseFaults(json);
    return Array.isArray(json)
      ? json as unknown[]
      : (json as { faults: unknown[] }).faults;
  });
  return faults === undefined ? {} : { faults };
}
