// deno-lint-ignore-file no-console -- a program: the console is its output
/**
 * What a simulated fleet costs: datagrams a second of real time, and of the
 * processor's, through router, devices and netem; and memory for each client, on
 * either side.
 *
 * ```sh
 * deno run -A --v8-flags=--expose-gc bench/fleet.ts
 * deno run -A --v8-flags=--expose-gc bench/fleet.ts --rounds 3
 * ```
 *
 * @module
 */

import { cpuUsage } from "node:process";
import { parseArgs } from "@std/cli/parse-args";
import { seededRandom } from "../base/clock.ts";
import { Device } from "../client/device.ts";
import { Fleet } from "../fleet/fleet.ts";
import { DEFAULT_FLEET, type FleetOptions } from "../fleet/options.ts";
import { peerOf } from "../base/peer.ts";
import type { NetSpec } from "../netsim/spec.ts";
import { parseNetSpec } from "../netsim/spec_text.ts";

const { rounds } = parseArgs(Deno.args, {
  string: ["rounds"],
  default: { rounds: "5" },
});

const NET = parseNetSpec("loss 2% delay 350ms 150ms", { side: "client" });

/** Clients whose memory is measured. */
const CLIENTS = 10_000;

/** The runs whose speed is measured. */
const RUNS: Readonly<Record<string, Partial<FleetOptions>>> = {
  "1,000 awake, QoS 0": {
    clients: 1_000,
    sleepers: 0,
    commands: 0,
    rate: 1,
    qos: [1, 0, 0],
    durationMs: 300_000,
    net: NET,
  },
  "1,000 awake, QoS 1": {
    clients: 1_000,
    sleepers: 0,
    commands: 0,
    rate: 1,
    qos: [0, 1, 0],
    durationMs: 200_000,
    net: NET,
  },
  "1,000, half asleep, all QoS": { clients: 1_000, net: NET },
  "10,000, half asleep, all QoS": {
    clients: 10_000,
    listeners: 10,
    net: NET,
  },
};

console.log(
  "                              thousand datagrams/s   of processor time",
);
const figures = new Map<string, { wall: number[]; cpu: number[] }>();
for (let round = 0; round < Number(rounds); round++) {
  for (const [name, options] of Object.entries(RUNS)) {
    const { wall, cpu } = measure({ ...DEFAULT_FLEET, ...options });
    const all = figures.get(name) ?? { wall: [], cpu: [] };
    all.wall.push(wall);
    all.cpu.push(cpu);
    figures.set(name, all);
  }
}
for (const [name, { wall, cpu }] of figures) {
  console.log(`${name.padEnd(30)}${spread(wall).padEnd(23)}${spread(cpu)}`);
}
measureMemory();

/** Datagrams a second after everybody has come, by two clocks, in thousands. */
function measure(options: FleetOptions): { wall: number; cpu: number } {
  const fleet = new Fleet(options);
  fleet.run(options.rampMs + 20_000);
  const { counts } = fleet.net;
  const [sent, at, used] = [counts.sent, performance.now(), cpuUsage()];
  fleet.run(fleet.quietAt);
  const seconds = (performance.now() - at) / 1_000;
  const { user, system } = cpuUsage(used);
  const datagrams = (counts.sent - sent) / 1_000;
  return {
    wall: datagrams / seconds,
    cpu: datagrams / ((user + system) / 1e6),
  };
}

function spread(values: readonly number[]): string {
  const sorted = values.toSorted((one, other) => one - other);
  const [min, median, max] = [0, Math.floor(sorted.length / 2), -1].map((at) =>
    Math.round(sorted.at(at)!)
  );
  return `${median} (${min}–${max})`;
}

function measureMemory(): void {
  console.log(`a device: ${deviceMemory()} octets`);
  console.log(`a member: ${memberMemory().join(" ")}`);
  console.log(`and its network: ${memberMemory(NET).join(" ")}`);
}

function deviceMemory(): number {
  const gateway = peerOf("127.0.0.1", 1);
  const random = seededRandom(1);
  const before = heapUsed();
  const devices = Array.from(
    { length: CLIENTS },
    (_, at) => new Device({ gateway, clientId: `c${at}`, random }),
  );
  return Math.round((heapUsed() - before) / devices.length);
}

/** Octets before anybody comes, and at work, the broker's side included. */
function memberMemory(net?: NetSpec): readonly [string, string] {
  const before = heapUsed();
  const fleet = new Fleet({
    ...DEFAULT_FLEET,
    clients: CLIENTS,
    listeners: 10,
    ...net !== undefined && { net },
  });
  const made = heapUsed();
  fleet.run(300_000);
  const worked = heapUsed();
  const perClient = (after: number) =>
    Math.round((after - before) / fleet.options.clients);
  return [
    `${perClient(made)} octets;`,
    `${perClient(worked)} at work, with the broker's side`,
  ];
}

function heapUsed(): number {
  const { gc } = globalThis as { gc?: () => void };
  if (gc === undefined) throw new Error("Start it with --v8-flags=--expose-gc");
  gc();
  gc();
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}
