/**
 * What does not show in a rate: latency when there is room, loss near the limit,
 * what could be sent if receiving cost nothing, memory, idling, the start, and
 * what is left of punctuality under overload.
 *
 * @module
 */

import { peerOf } from "../base/peer.ts";
import { decodePacket, encodePacket } from "../wire/mqttsn.ts";
import type { MqttSnPacket } from "../wire/packets.ts";
import { pause } from "../cli/terminal.ts";
import { UdpTransport } from "../transport/udp.ts";
import type { Capacity, CapacityJob } from "./capacity_load.ts";
import {
  batched,
  brokers,
  PORTABLE,
  relays,
  type Rival,
  underLoad,
} from "./contenders.ts";
import { spreadOf } from "./figures.ts";
import type { KeepAliveJob, KeptAlive } from "./keep_alive_load.ts";
import type { Figures } from "./load_job.ts";
import { threadMsSince, threadTimesOf } from "./processes.ts";
import { generate, ROOT, Server } from "./servers.ts";
import { shown, spread } from "./tables.ts";

/** What a measurement is given. */
export interface Context {
  /** How often to measure. */
  readonly rounds: number;
  /** How long each time, in milliseconds. */
  readonly loadMs: number;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** What a measurement tells. */
export interface Told {
  /** Which, by its name. */
  readonly name: string;
  /** What people read, the first row being the heads. */
  readonly rows: readonly (readonly string[])[];
  /** All figures. */
  readonly figures: unknown;
}

/** A measurement. */
export interface Extreme {
  /** Its name, by which it can be chosen. */
  readonly name: string;
  /** What it is, for the heading of its table. */
  readonly title: string;
  /** Whether a short look has it. */
  readonly isQuick: boolean;
  /** Takes it. */
  readonly measure: (context: Context) => Promise<Told>;
}

/** All of them, in the order in which they are taken. */
export const EXTREMES: readonly Extreme[] = [
  {
    name: "latency",
    title:
      "Latency at 10,000 messages a second to one subscriber, each sent when it is due, in ms",
    isQuick: true,
    measure: latency,
  },
  {
    name: "loss",
    title:
      "Loss at 90 % of what a window let through right before, the least of three",
    isQuick: false,
    measure: loss,
  },
  {
    name: "capacity",
    title: "Deliveries sent a second, to 100 subscribers that cost nothing",
    isQuick: true,
    measure: capacity,
  },
  {
    name: "clients",
    title: "100,000 connected clients with a keep alive of 20 s",
    isQuick: false,
    measure: clients,
  },
  {
    name: "idle",
    title: "Idling after a fan-out, CPU in % of a core",
    isQuick: true,
    measure: idle,
  },
  {
    name: "start",
    title: "From the start to the first answer, in ms",
    isQuick: true,
    measure: start,
  },
  {
    name: "overload",
    title:
      "Under twice what it can do: how late repetitions are, and how long until SIGTERM ends it, in ms",
    isQuick: true,
    measure: overload,
  },
];

/** Messages a second that a broker shall have no trouble with. */
const EASY_RATE = 10_000;

/** By how much that is watched for longer than others: it is about what is rare. */
const EASY_TIMES = 8;

/** How often it is measured what can be sustained. */
const LIMITS = 3;

/** Clients that are connected at once. */
const CROWD = 100_000;

/** Their keep alive in seconds, and how long they stay in milliseconds. */
const [CROWD_KEEP_ALIVE, CROWD_MS] = [20, 30_000];

/** How long idling is watched, in milliseconds. */
const IDLE_MS = 5_000;

/** Messages a second, to ten subscribers each, that no broker can do here. */
const OVERLOAD_RATE = 100_000;

/** Between two repetitions of what is not acknowledged, in milliseconds. */
const RETRY_MS = 100;

/** How long overload is watched, in milliseconds. */
const OVERLOAD_MS = 2_000;

async function latency(context: Context): Promise<Told> {
  const rivals = [
    ...brokers().filter(({ name }) => name === PORTABLE || name === batched(0)),
    ...relays(),
  ];
  const load = { qos: 0, pattern: "fanOut", clients: 1 } as const;
  const { loadMs, signal } = context;
  const easy = { ...load, loadMs: EASY_TIMES * loadMs, rate: EASY_RATE };
  const figures = await inTurn(rivals, context, async (server, rival) => {
    // The same before it counts: at this rate it takes a while to be compiled.
    await underLoad(server, rival, easy, signal);
    return await underLoad(server, rival, easy, signal);
  });
  const rows = figures.map(([name, rounds]) => [
    name,
    ...(["p50", "p99", "p999", "max"] as const).flatMap((share) =>
      spread(rounds.map(({ latency }) => latency[share] / 1_000), 2)
    ),
    ...spread(rounds.map(({ lateness }) => lateness.p99 / 1_000), 2),
    sumOf(rounds, ({ lost }) => lost),
  ]);
  const heads = [
    "p50",
    "min–max",
    "p99",
    "min–max",
    "p99.9",
    "min–max",
    "longest",
    "min–max",
    "sent late, p99",
    "min–max",
    "lost",
  ];
  return { name: "latency", rows: [["", ...heads], ...rows], figures };
}

async function loss(context: Context): Promise<Told> {
  const rivals = brokers().filter(({ name }) => name !== batched(2));
  const all: unknown[] = [];
  const rows: string[][] = [];
  for (const clients of [1, 10, 100]) {
    const load = { qos: 0, pattern: "fanOut", clients } as const;
    const { loadMs, signal } = context;
    const figures = await inTurn(rivals, context, async (server, rival) => {
      // Right before, as the machine is not as fast at all times, and the least,
      // as what a lucky moment let through was not sustained.
      const limit = { ...load, loadMs: loadMs / 2 };
      const rates: number[] = [];
      while (rates.length < LIMITS) {
        const { sent, ms } = await underLoad(server, rival, limit, signal);
        rates.push(sent / ms * 1_000);
      }
      const rate = Math.min(...rates) * 0.9;
      const held = { ...load, loadMs, rate };
      return { rate, ...await underLoad(server, rival, held, signal) };
    });
    all.push({ clients, figures });
    for (const [name, rounds] of figures) {
      rows.push([
        `${name}, to ${clients}`,
        ...spread(rounds.map(({ rate }) => rate * clients), 0),
        ...spread(rounds.map(({ lost }) => lost), 0),
        ...spread(rounds.map(({ latency }) => latency.p99 / 1_000), 1),
        sumOf(rounds, ({ drops }) => drops),
      ]);
    }
  }
  const heads = [
    "deliveries/s",
    "min–max",
    "lost",
    "min–max",
    "p99, ms",
    "min–max",
    "by the generator",
  ];
  return { name: "loss", rows: [["", ...heads], ...rows], figures: all };
}

async function capacity(context: Context): Promise<Told> {
  const rivals = brokers();
  const figures = await inTurn(rivals, context, async (server) => {
    const { port, pid } = server;
    const job: CapacityJob = {
      port,
      pid,
      clients: 100,
      loadMs: context.loadMs,
    };
    const file = "bench/capacity_load.ts";
    return await generate<Capacity>(file, job, server, context.signal);
  });
  const rateOf = ({ delivered, ms }: Capacity) => delivered / ms * 1_000;
  const alone = figures.find(([name]) => name === batched(0))?.[1] ?? [];
  const rows = figures.map(([name, rounds]) => [
    name,
    ...spread(rounds.map(rateOf), 0),
    ...spread(rounds.map((round, i) => rateOf(round) / rateOf(alone[i]!)), 2),
    shown(
      spreadOf(
        rounds.map(({ brokerCpuMs, ms }) => (brokerCpuMs ?? NaN) / ms * 100),
      ).median,
      0,
    ),
    shown(
      spreadOf(
        rounds.map(({ generatorCpuMs, ms }) => generatorCpuMs / ms * 100),
      ).median,
      0,
    ),
  ]);
  const heads = ["sent/s", "min–max", "of 0 senders", "min–max"];
  return {
    name: "capacity",
    rows: [["", ...heads, "CPU %", "generator %"], ...rows],
    figures,
  };
}

async function clients({ signal }: Context): Promise<Told> {
  const figures: [string, KeptAlive][] = [];
  for (const rival of brokers()) {
    if (rival.name !== PORTABLE && rival.name !== batched(1)) continue;
    await using server = await Server.start({
      ...rival,
      args: [...rival.args, "--max-clients", `${CROWD}`],
    }, signal);
    const job: KeepAliveJob = {
      port: server.port,
      pid: server.pid,
      clients: CROWD,
      keepAlive: CROWD_KEEP_ALIVE,
      ms: CROWD_MS,
    };
    const file = "bench/keep_alive_load.ts";
    const kept = await generate<KeptAlive>(file, job, server, signal);
    figures.push([rival.name, kept]);
  }
  const rows = figures.map(([name, kept]) => [
    name,
    shown(kept.residentBefore / 1e6, 0),
    shown(kept.residentMost / 1e6, 0),
    shown(kept.connectMs / 1_000, 1),
    shown(kept.asked, 0),
    shown(kept.answered, 0),
    shown(kept.lost, 0),
    shown(kept.brokerCpuMs / CROWD_MS * 100, 0),
  ]);
  const heads = [
    "MB before",
    "MB",
    "s to connect",
    "PINGREQ",
    "PINGRESP",
    "clients lost",
    "CPU %",
  ];
  return { name: "clients", rows: [["", ...heads], ...rows], figures };
}

async function idle(context: Context): Promise<Told> {
  const { signal } = context;
  const once = { ...context, rounds: 1 };
  const figures = await inTurn(brokers(), once, async (server, rival) => {
    const load = { qos: 0, pattern: "fanOut", clients: 100 } as const;
    await underLoad(server, rival, { ...load, loadMs: 200 }, signal);
    await pause(1_000);
    const before = threadTimesOf(server.pid);
    const from = performance.now();
    await pause(IDLE_MS);
    const ms = performance.now() - from;
    return { share: threadMsSince(server.pid, before) / ms * 100 };
  });
  const rows = figures.map(([name, rounds]) => [
    name,
    shown(rounds[0]!.share, 2),
  ]);
  return { name: "idle", rows: [["", "CPU %"], ...rows], figures };
}

async function start({ rounds }: Context): Promise<Told> {
  const directory = await Deno.makeTempDir();
  try {
    const empty = `${directory}/empty.ts`;
    await Deno.writeTextFile(empty, "\n");
    const figures = new Map<string, number[]>();
    const names = ["an empty deno run", PORTABLE, batched(0), batched(1)];
    for (const name of names) figures.set(name, []);
    for (let round = 0; round < 2 + 2 * rounds; round++) {
      for (const name of names) {
        const rival = brokers().find((rival) => rival.name === name);
        const ms = rival === undefined
          ? await timeOf(empty)
          : await firstAnswerOf(rival);
        // The first of each fills caches.
        if (round > 0) figures.get(name)!.push(ms);
      }
    }
    const bare = figures.get(names[0]!)!;
    const rows = [...figures].map(([name, times]) => [
      name,
      ...spread(times, 0),
      ...spread(times.map((ms, i) => ms - bare[i]!), 0),
    ]);
    const heads = ["ms", "min–max", "more than empty", "min–max"];
    return {
      name: "start",
      rows: [["", ...heads], ...rows],
      figures: [...figures],
    };
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function timeOf(file: string): Promise<number> {
  const from = performance.now();
  await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", file],
    cwd: ROOT,
  }).output();
  return performance.now() - from;
}

/** From the start of a broker to its answer to a CONNECT. */
async function firstAnswerOf(rival: Rival): Promise<number> {
  const from = performance.now();
  await using server = await Server.start(rival, AbortSignal.timeout(20_000));
  await using probe = await Probe.connect(server.port);
  return probe.connectedAt - from;
}

async function overload({ signal }: Context): Promise<Told> {
  const figures: [string, { late: readonly number[]; endMs: number }][] = [];
  for (const rival of brokers()) {
    if (rival.name === batched(2)) continue;
    const retry = ["--retry-ms", `${RETRY_MS}`, "--retries", "1000"];
    await using server = await Server.start({
      ...rival,
      args: [...rival.args, ...retry],
    }, signal);
    await using probe = await Probe.connect(server.port);
    await probe.askForRepetitions();
    const flood = underLoad(server, rival, {
      qos: 0,
      pattern: "fanOut",
      clients: 10,
      rate: OVERLOAD_RATE,
      loadMs: 2 * OVERLOAD_MS,
    }, signal).catch(() => {}); // it ends with the broker
    await pause(OVERLOAD_MS / 2);
    const from = performance.now();
    await pause(OVERLOAD_MS);
    const late = probe.latenessSince(from);
    const endsAt = performance.now();
    server.signal("SIGTERM");
    await server.ended;
    const endMs = performance.now() - endsAt;
    await flood;
    figures.push([rival.name, { late, endMs }]);
  }
  const rows = figures.map(([name, { late, endMs }]) => [
    name,
    shown(late.length, 0),
    ...spread(late, 1),
    shown(endMs, 0),
  ]);
  const heads = ["repetitions", "late", "min–max", "SIGTERM"];
  return { name: "overload", rows: [["", ...heads], ...rows], figures };
}

/** A client that notes when it is sent what. */
class Probe implements AsyncDisposable {
  connectedAt = NaN;
  readonly #transport: UdpTransport;
  readonly #port: number;
  readonly #repeatedAt: number[] = [];
  #answer = Promise.withResolvers<MqttSnPacket>();

  private constructor(transport: UdpTransport, port: number) {
    this.#transport = transport;
    this.#port = port;
    transport.receive((_, bytes) => {
      const packet = decodePacket(bytes);
      if (packet.type !== "PUBLISH") return this.#answer.resolve(packet);
      if (packet.dup) this.#repeatedAt.push(performance.now());
    });
  }

  static async connect(port: number): Promise<Probe> {
    const probe = new Probe(await UdpTransport.bind(), port);
    await probe.#ask({
      type: "CONNECT",
      will: false,
      cleanSession: true,
      protocolId: 1,
      duration: 600,
      clientId: "probe",
    });
    probe.connectedAt = performance.now();
    return probe;
  }

  /** Subscribes, publishes to itself, and never acknowledges it. */
  async askForRepetitions(): Promise<void> {
    const topic = { topicIdType: "short", topicId: 0x7072 } as const;
    await this.#ask({
      type: "SUBSCRIBE",
      dup: false,
      qos: 1,
      msgId: 1,
      topic,
    });
    await this.#ask({
      type: "PUBLISH",
      dup: false,
      qos: 1,
      retain: false,
      ...topic,
      msgId: 2,
      data: new Uint8Array(1),
    });
  }

  /** How much later than they were due repetitions came, in milliseconds. */
  latenessSince(moment: number): number[] {
    const times = this.#repeatedAt.filter((at) => at >= moment);
    return times.slice(1).map((at, i) =>
      Math.max(0, at - times[i]! - RETRY_MS)
    );
  }

  async #ask(packet: MqttSnPacket): Promise<void> {
    this.#answer = Promise.withResolvers();
    const peer = peerOf("127.0.0.1", this.#port);
    this.#transport.send(peer, encodePacket(packet));
    await this.#answer.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#transport[Symbol.asyncDispose]();
  }
}

/** Measures each in each round. */
async function inTurn<Result>(
  rivals: readonly Rival[],
  { rounds, signal }: Context,
  measure: (server: Server, rival: Rival) => Promise<Result>,
): Promise<[string, Result[]][]> {
  await using running = new AsyncDisposableStack();
  const servers: Server[] = [];
  for (const rival of rivals) {
    servers.push(running.use(await Server.start(rival, signal)));
  }
  const results = rivals.map(({ name }): [string, Result[]] => [name, []]);
  for (let round = 0; round < rounds; round++) {
    for (const [i, server] of servers.entries()) {
      results[i]![1].push(await measure(server, rivals[i]!));
    }
  }
  return results;
}

function sumOf(
  rounds: readonly Figures[],
  figure: (figures: Figures) => number,
): string {
  return shown(rounds.reduce((sum, round) => sum + figure(round), 0), 0);
}
