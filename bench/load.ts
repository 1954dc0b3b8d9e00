// deno-lint-ignore-file no-console -- a program: the console is its output
/**
 * The load generator, in a process of its own: publishers that each keep a window of
 * unanswered publishes full, then one with a single publish under way at a time.
 *
 * `deno run -A bench/load.ts JSON`, where the JSON is a {@linkcode LoadJob}.
 * Prints {@linkcode LoadFigures} as a line of JSON.
 *
 * @module
 */

import { cpuUsage } from "node:process";
import { CLASSIC_REPLY, encodePublish, encodeReply } from "../wire/classic.ts";

/** What to send, to whom, and for how long. */
export interface LoadJob {
  /** UDP port of the server at 127.0.0.1. */
  readonly port: number;
  /** Process of the server, to read its CPU time. */
  readonly pid: number;
  /** Publishers, each with a socket of its own. */
  readonly publishers: number;
  /** Publishes of one publisher that may be unanswered. */
  readonly unanswered: number;
  /** Topics, published to in turn. */
  readonly topics: number;
  /** Length of each datum in octets. */
  readonly octets: number;
  /** How long to publish before anything is measured, in milliseconds. */
  readonly warmUpMs: number;
  /** How long to publish and measure, in milliseconds. */
  readonly loadMs: number;
  /** How long to publish one at a time, in milliseconds. */
  readonly tripMs: number;
}

/** What was measured. */
export interface LoadFigures {
  /** Publishes answered while it was measured. */
  readonly acks: number;
  /** How long it was measured, in milliseconds. */
  readonly ms: number;
  /** CPU time of the server meanwhile, in milliseconds; `null` if unknown. */
  readonly serverCpuMs: number | null;
  /** CPU time of this process meanwhile, in milliseconds. */
  readonly generatorCpuMs: number;
  /** Round trips that were measured one at a time. */
  readonly trips: number;
  /** Percentiles of their time, in microseconds. */
  readonly tripUs: Readonly<Record<Percentile, number>>;
  /** Publishes that never got an answer, whenever it was. */
  readonly lost: number;
}

/** The percentiles that are reported. */
export const PERCENTILES = { p50: 0.5, p99: 0.99, p999: 0.999 } as const;

/** The name of a percentile. */
export type Percentile = keyof typeof PERCENTILES;

/** A publish that has no answer after this time has been lost. */
const LOST_AFTER_MS = 1_000;

/** How often to look for lost ones, in milliseconds. */
const WATCH_EVERY_MS = 100;

/**
 * Publishes after which a publisher lets its window run empty. An answer does
 * not say what it answers: only then is it seen that one was lost.
 */
const EMPTY_EVERY = 10_000;

/** Answers after which the event loop gets a turn: timers want theirs. */
const TURN_EVERY = 256;

/** Linux counts CPU time in hundredths of a second. */
const TICK_MS = 10;

const ACCEPTED = encodeReply(CLASSIC_REPLY.accepted);

class Publisher {
  answered = 0;
  lost = 0;
  readonly #datagrams: readonly Uint8Array[];
  readonly #window: number;
  readonly #onTrip: (ms: number) => void;
  readonly #to: Deno.NetAddr;
  #socket = openSocket();
  #next: number;
  #unanswered = 0;
  #sentSinceEmpty = 0;
  #sentAt = 0;
  #isStopping = false;
  #answeredAtWatch = 0;
  #quietWatches = 0;
  readonly #running: Promise<void>;

  constructor(
    datagrams: readonly Uint8Array[],
    options: {
      port: number;
      window: number;
      first: number;
      onTrip?: (ms: number) => void;
    },
  ) {
    this.#datagrams = datagrams;
    this.#window = options.window;
    this.#next = options.first;
    this.#onTrip = options.onTrip ?? (() => {});
    this.#to = {
      transport: "udp",
      hostname: "127.0.0.1",
      port: options.port,
    };
    this.#running = this.#run();
  }

  /** Sends nothing more; resolves when each publish is answered or lost. */
  stop(): Promise<void> {
    this.#isStopping = true;
    return this.#running;
  }

  /** To be called all {@linkcode WATCH_EVERY_MS}: gives up what is lost. */
  watch(): void {
    const isQuiet = this.#unanswered > 0 &&
      this.answered === this.#answeredAtWatch;
    this.#answeredAtWatch = this.answered;
    this.#quietWatches = isQuiet ? this.#quietWatches + 1 : 0;
    if (this.#quietWatches * WATCH_EVERY_MS < LOST_AFTER_MS) return;
    this.#quietWatches = 0;
    this.#socket.close(); // Ends the wait in `#run`.
  }

  async #run(): Promise<void> {
    const buffer = new Uint8Array(65_536);
    while (this.#fill() > 0) {
      const answer = await this.#socket.receive(buffer).catch(() => undefined);
      if (answer === undefined) {
        // From a new port: a late answer must not pass for one to what follows.
        this.lost += this.#unanswered;
        this.#unanswered = 0;
        closeQuietly(this.#socket);
        this.#socket = openSocket();
        continue;
      }
      this.#onTrip(this.#sentAt);
      const [bytes] = answer;
      if (bytes.length !== ACCEPTED.length) {
        const text = new TextDecoder().decode(bytes);
        throw new Error(`Cannot go on: the answer to a publish was "${text}"`);
      }
      this.#unanswered--;
      if (++this.answered % TURN_EVERY === 0) {
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    closeQuietly(this.#socket);
  }

  /** Fills the window up; returns how many are unanswered. */
  #fill(): number {
    if (this.#unanswered === 0) this.#sentSinceEmpty = 0;
    while (
      !this.#isStopping && this.#unanswered < this.#window &&
      this.#sentSinceEmpty < EMPTY_EVERY
    ) {
      this.#unanswered++;
      this.#sentSinceEmpty++;
      const datagram = this.#datagrams[this.#next]!;
      this.#next = (this.#next + 1) % this.#datagrams.length;
      this.#sentAt = performance.now();
      this.#socket.send(datagram, this.#to).catch(ignore);
    }
    return this.#unanswered;
  }
}

function ignore(): void {}

function openSocket(): Deno.DatagramConn {
  return Deno.listenDatagram({
    transport: "udp",
    hostname: "127.0.0.1",
    port: 0,
  });
}

function closeQuietly(socket: Deno.DatagramConn): void {
  try {
    socket.close();
  } catch { /* It was closed already. */ }
}

async function measure(job: LoadJob): Promise<LoadFigures> {
  const data = "x".repeat(job.octets);
  const datagrams = Array.from(
    { length: job.topics },
    (_, i) => encodePublish(`bench/${i}`, data),
  );
  const load = await measureLoad(job, datagrams);
  const trips = await measureTrips(job, datagrams);
  return { ...load, ...trips, lost: load.lost + trips.lost };
}

async function measureLoad(job: LoadJob, datagrams: readonly Uint8Array[]) {
  const { port, pid, unanswered } = job;
  const publishers = Array.from(
    { length: job.publishers },
    (_, i) =>
      new Publisher(datagrams, {
        port,
        window: unanswered,
        // Apart from each other, as publishers of different topics would be.
        first: Math.floor(i * datagrams.length / job.publishers),
      }),
  );
  const answered = () => publishers.reduce((sum, p) => sum + p.answered, 0);
  const watch = setInterval(
    () => publishers.forEach((publisher) => publisher.watch()),
    WATCH_EVERY_MS,
  );
  await sleep(job.warmUpMs);

  const serverCpu = cpuMsOf(pid);
  const ownCpu = cpuUsage();
  const answeredBefore = answered();
  const start = performance.now();
  await sleep(job.loadMs);
  const ms = performance.now() - start;
  const acks = answered() - answeredBefore;
  const { user, system } = cpuUsage(ownCpu);
  const serverCpuAfter = cpuMsOf(pid);

  await Promise.all(publishers.map((publisher) => publisher.stop()));
  clearInterval(watch);
  return {
    acks,
    ms,
    serverCpuMs: serverCpu === null || serverCpuAfter === null
      ? null
      : serverCpuAfter - serverCpu,
    generatorCpuMs: (user + system) / 1_000,
    lost: publishers.reduce((sum, publisher) => sum + publisher.lost, 0),
  };
}

async function measureTrips(job: LoadJob, datagrams: readonly Uint8Array[]) {
  const times: number[] = [];
  const publisher = new Publisher(datagrams, {
    port: job.port,
    window: 1,
    first: 0,
    onTrip: (sentAt) => times.push((performance.now() - sentAt) * 1_000),
  });
  const watch = setInterval(() => publisher.watch(), WATCH_EVERY_MS);
  await sleep(job.tripMs);
  await publisher.stop();
  clearInterval(watch);

  const sorted = Float64Array.from(times).sort();
  const at = (share: number) =>
    sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
  const { p50, p99, p999 } = PERCENTILES;
  return {
    trips: sorted.length,
    tripUs: { p50: at(p50), p99: at(p99), p999: at(p999) },
    lost: publisher.lost,
  };
}

/** CPU time of a process with all its threads, where Linux tells it. */
function cpuMsOf(pid: number): number | null {
  if (Deno.build.os !== "linux") return null;
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  // The second field is the program's name, which may hold blanks and brackets.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

if (import.meta.main) {
  // A wrong answer ends it at once, whatever is waited for.
  globalThis.addEventListener("unhandledrejection", ({ reason }) => {
    console.error(reason instanceof Error ? reason.message : String(reason));
    Deno.exit(1);
  });
  console.log(JSON.stringify(await measure(JSON.parse(Deno.args[0]!))));
}
