/**
 * Who is under load: the broker in each of its settings, the relay that shows what
 * the same calls can do, and mosquitto where it is installed.
 *
 * @module
 */

import { type Figures, type Load, OCTETS, WARM_UP_MS } from "./load_job.ts";
import { type Contender, generate, type Server } from "./servers.ts";

/** Someone to put under load. */
export interface Rival extends Contender {
  /** What it speaks. */
  readonly kind: "broker" | "relay" | "tcp";
  /** The relay that makes the same calls; `undefined` without one. */
  readonly limit?: string;
}

/** Threads that send, in the settings that are compared. */
export const SENDERS = [0, 1, 2] as const;

const BROKER = [
  "run",
  "-A",
  "broker.ts",
  "--port",
  "0",
  "--log-level",
  "warn",
];

const RELAY = ["run", "-A", "bench/relay.ts"];

/** The name of the broker without batches. */
export const PORTABLE = "portable";

/** The name of the broker with batches and so many senders. */
export function batched(senders: number): string {
  return `batched, ${senders} sender${senders === 1 ? "" : "s"}`;
}

/** The broker in one setting. */
export function brokerWith(
  name: string,
  flags: readonly string[],
  limit: string,
): Rival {
  return {
    kind: "broker",
    name,
    command: Deno.execPath(),
    args: [...BROKER, ...flags],
    limit,
  };
}

/** All settings of the broker. */
export function brokers(): Rival[] {
  return [
    brokerWith(PORTABLE, ["--io", "portable"], "relay, portable"),
    ...SENDERS.map((senders) =>
      brokerWith(
        batched(senders),
        ["--io", "batched", "--workers", `${senders}`],
        "relay, batched",
      )
    ),
  ];
}

/** The relay, by both ways to use a socket. */
export function relays(): Rival[] {
  return ["portable", "batched"].map((io) => ({
    kind: "relay",
    name: `relay, ${io}`,
    command: Deno.execPath(),
    args: [...RELAY, io],
  }));
}

/** Mosquitto at a port of its own; `undefined` where it is not installed. */
export async function mosquitto(directory: string): Promise<Rival | undefined> {
  // Debian has it where only an administrator's PATH leads.
  for (const command of ["mosquitto", "/usr/sbin/mosquitto"]) {
    if (!await isThere(command)) continue;
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    listener.close();
    const file = `${directory}/mosquitto.conf`;
    await Deno.writeTextFile(
      file,
      `listener ${port} 127.0.0.1\nallow_anonymous true\npersistence false\n`,
    );
    // It does not say on its standard output where it is.
    const script =
      `echo "started at 127.0.0.1:${port}"; exec "$0" -c "$1" 2> /dev/null`;
    return {
      kind: "tcp",
      name: "mosquitto, TCP",
      command: "sh",
      args: ["-c", script, command, file],
    };
  }
  return undefined;
}

/** Puts a server under load once. */
export async function underLoad(
  server: Server,
  { kind }: Rival,
  what: Omit<Load, "server" | "port" | "pid" | "octets" | "warmUpMs">,
  signal: AbortSignal,
): Promise<Figures> {
  const { port, pid } = server;
  const job: Load = {
    ...what,
    octets: OCTETS,
    warmUpMs: WARM_UP_MS,
    server: kind === "relay" ? "relay" : "broker",
    port,
    pid,
  };
  const program = kind === "tcp" ? "bench/tcp_load.ts" : "bench/mqttsn_load.ts";
  return await generate<Figures>(program, job, server, signal);
}

async function isThere(command: string): Promise<boolean> {
  try {
    await new Deno.Command(command, { args: ["-h"] }).output();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
