/**
 * The broker: a router (`broker/router.ts`) at work on a UDP socket, and the program
 * that runs one.
 *
 * ```sh
 * deno run -A broker.ts --help
 * ```
 *
 * @module
 */

import type { Millis } from "./base/clock.ts";
import { BatchedTransport, bindSocket, type Io } from "./transport/batched.ts";
import {
  type CommitStats,
  Committer,
  type CommitterHost,
} from "./store/committer.ts";
import { VERSION } from "./base/version.ts";
import { describeEvent } from "./broker/events.ts";
import type { RouterEvent } from "./broker/events.ts";
import { Journal } from "./journal/journal.ts";
import { Log } from "./base/log.ts";
import type { Effect } from "./base/machine.ts";
import { LocalProtocolError, messageOf } from "./base/errors.ts";
import { DEFAULT_PORT, isLoopback, type Peer } from "./base/peer.ts";
import { isFramed } from "./wire/mqttsn.ts";
import { groupFrom, Multicast } from "./transport/multicast.ts";
import type { NetOptions, NetSim, NetStats } from "./netsim/netsim.ts";
import { openNet } from "./netsim/open.ts";
import { describeDatagram } from "./wire/describe.ts";
import { isOneFile, Recorder, type RecorderStats } from "./journal/recorder.ts";
import type { StoreChange } from "./broker/records.ts";
import { Router } from "./broker/router.ts";
import {
  canSendersBegin,
  SenderThreads,
  usefulSenders,
} from "./transport/sender_threads.ts";
import { isWorker } from "./base/worker.ts";
import { Template, type TemplateOptions } from "./template.ts";
import { REAL_CLOCK } from "./base/system_clock.ts";
import { requireInteger } from "./base/units.ts";
import type {
  BindOptions,
  Transport,
  TransportStats,
} from "./transport/transport.ts";
import { UdpTransport } from "./transport/udp.ts";
import type { RouterOptions } from "./broker/options.ts";
import type { Durability } from "./store/file.ts";
import type { RouterStats } from "./broker/sys_topics.ts";
import type { DatagramBufferOptions } from "./journal/buffer.ts";

/**
 * Where a broker listens, what it logs, and its limits.
 *
 * @example
 * ```ts
 * import { Broker, type BrokerOptions } from "./mod.ts";
 *
 * // A broker for a test: a free port, short timers, and a slow network.
 * const options: BrokerOptions = { port: 0, retryMs: 50, net: "delay 5ms" };
 * await using _broker = await Broker.listen(options);
 * ```
 */
export interface BrokerOptions
  extends TemplateOptions, RouterOptions, NetOptions {
  /** Address or name of an interface of this machine. Default `127.0.0.1`. */
  readonly hostname?: string;
  /** UDP port, 0 to 65535; 0 lets the system choose. Default 12003. */
  readonly port?: number;
  /**
   * How the socket is used: `batched`, many datagrams in a call of the system, which
   * takes Linux and FFI; `portable`; or `auto`, the default: batched where it can be.
   */
  readonly io?: Io;
  /** Carries the datagrams. Default: a UDP socket at `hostname` and `port`. */
  readonly transport?: Transport;
  /**
   * The multicast group in which clients look for gateways, as `ADDRESS` or
   * `ADDRESS:PORT`; without a port it is the broker's. Default: none. A group
   * that cannot be joined is a warning in the log.
   */
  readonly multicast?: string;
  /**
   * The file in which sessions, queues, retained messages and histories outlive
   * the process; made where it is missing. Default: none, all is in memory.
   */
  readonly db?: string;
  /**
   * What a promise survives, if there is a file: `full`, the default, also a cut of
   * the power; `normal` and `off` the end of the process, however sudden.
   */
  readonly durability?: Durability;
  /**
   * Web Workers that send what many subscribers get, 0 to 16, beside this thread;
   * they need a `batched` socket. With 0 the work on files is done in this thread
   * too. Default `auto`: as many as the machine's cores make use of.
   */
  readonly workers?: "auto" | number;
  /** Makes its bad network's chances the same each time. Default: by chance. */
  readonly seed?: number;
  /**
   * Whether it keeps what goes over the wire, for `broker.journal`, and how much
   * of it. Default true: the last 8,192 datagrams, at most 1 MiB.
   */
  readonly journal?: boolean | DatagramBufferOptions;
  /**
   * The file for a recording of what goes over the wire, to be played again, and
   * overwritten. Its journal keeps more, unless it is told how much.
   */
  readonly record?: string;
  /** The file for a capture of the same, for Wireshark, overwritten. */
  readonly pcap?: string;
  /** Is told how much of the file has been loaded, in records. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * What a broker counted since its start.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "./mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish("lamp", "on", { qos: 1 });
 * assertEquals(broker.stats().published, 1);
 * ```
 */
export interface BrokerStats extends RouterStats {
  /** What its transport counted. */
  readonly transport: TransportStats;
  /** Times that the broker failed: a fault of ours, each in the log. */
  readonly failures: number;
  /** What it counted of its store; `undefined` without one. */
  readonly commits: CommitStats | undefined;
  /** What its bad network counted; `undefined` without one. */
  readonly net: NetStats | undefined;
  /** What it counted of its recording; `undefined` without one. */
  readonly recording: RecorderStats | undefined;
}

/**
 * How a socket can be used.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { IOS } from "./mod.ts";
 *
 * assert(IOS.includes("portable"));
 * ```
 */
export const IOS: readonly Io[] = ["auto", "portable", "batched"];

/**
 * Threads that send, at most.
 *
 * @example
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { Broker, MAX_WORKERS } from "./mod.ts";
 *
 * await assertRejects(
 *   () => Broker.listen({ port: 0, workers: MAX_WORKERS + 1 }),
 *   RangeError,
 * );
 * ```
 */
export const MAX_WORKERS = 16;

/** What a broker is made of besides its core, where it has it. */
interface Parts {
  readonly multicast: Multicast | undefined;
  readonly net: NetSim | undefined;
  readonly journal: Journal | undefined;
  readonly recorder: Recorder | undefined;
}

/** How much a journal keeps that is recorded: what comes while a disk is slow. */
const RECORDED: DatagramBufferOptions = {
  maxEntries: 65_536,
  maxOctets: 2 ** 24,
};

/**
 * A broker.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker } from "./broker.ts";
 * import { ClassicClient } from "./classic_client.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using publisher = await ClassicClient.connect({ port: broker.port });
 * await using subscriber = await ClassicClient.connect({ port: broker.port });
 *
 * await publisher.publish("weather", "21.5");
 * assertEquals(await subscriber.subscribe("weather"), "21.5");
 * assertEquals(broker.stats().published, 1);
 * ```
 */
export class Broker extends Template<RouterEvent, StoreChange> {
  /**
   * The bad network in front of it, which can be made another one at any time;
   * `undefined` without one.
   */
  readonly network: NetSim | undefined;
  readonly #router: Router;
  readonly #multicast: Multicast | undefined;
  readonly #journal: Journal | undefined;
  readonly #recorder: Recorder | undefined;
  /** Whether the log shows each datagram. */
  readonly #isTelling: boolean;
  /** Its store at work; `undefined` without one. */
  readonly #committer: Committer | undefined;

  private constructor(
    router: Router,
    transport: Transport,
    options: BrokerOptions,
    { multicast, net, journal, recorder }: Parts,
  ) {
    super(router, transport, options);
    this.network = net;
    this.#journal = journal;
    this.#recorder = recorder;
    this.#isTelling = this.log.shows("debug");
    this.#committer = options.db === undefined
      ? undefined
      : new Committer(router, this.#storeHost());
    this.#router = router;
    this.#multicast = multicast;
    multicast?.receive(this.handleDatagram).catch((error) =>
      this.log.warn(messageOf(error))
    );
    this.log.debug(() => `Listening at ${this.address.key}`);
    if (!isLoopback(this.address)) {
      this.log.warn(
        `Everybody who reaches ${this.address.key} can publish and subscribe: there are no passwords`,
      );
    }
  }

  /**
   * Starts a broker. With a file it answers from the start, with congestion, and
   * is given back when all has been loaded.
   *
   * @throws {RangeError} when the port, a limit or the group is out of range
   * @throws {TypeError} when a pre-defined topic, `net` or `faults` is not valid
   * @throws {Deno.errors.AddrInUse} when the port is taken
   * @throws {Error} when the host's name is unknown, when this Deno was started
   * without `--unstable-net`, or when a file for what is recorded cannot be written
   * @throws {StoreError} when the file cannot be used
   */
  static async listen(options: BrokerOptions = {}): Promise<Broker> {
    const { hostname = "127.0.0.1", port = DEFAULT_PORT } = options;
    requireInteger("the port", port, 0, 65_535);
    const isDurable = options.db !== undefined;
    const router = new Router({ version: VERSION, ...options, isDurable });
    if (options.multicast !== undefined) groupFrom(options.multicast, port);
    const { transport } = options;
    const journal = journalFor(options);
    const net = await openNet({ ...options, side: "broker" }, journal);
    const socket = transport ?? await open({ hostname, port }, options);
    const recorder = await startRecorder(journal, socket, options);
    const multicast = socket instanceof UdpTransport
      ? await join(socket, options)
      : undefined;
    const carrier = net?.around(socket) ?? socket;
    const parts = { multicast, net, journal, recorder };
    const broker = new Broker(router, carrier, options, parts);
    try {
      await broker.#load(options);
      return broker;
    } catch (error) {
      await broker.close();
      throw error;
    }
  }

  /**
   * What went over the wire, to be asked about in a test.
   *
   * @throws {LocalProtocolError} when it was told to keep none
   */
  get journal(): Journal {
    if (this.#journal !== undefined) return this.#journal;
    throw new LocalProtocolError(
      "Cannot ask the journal: this broker was started with journal: false",
    );
  }

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): BrokerStats {
    return {
      ...this.#router.stats(),
      transport: this.transport.stats(),
      failures: this.failures,
      commits: this.#committer?.stats(),
      net: this.network?.stats(),
      recording: this.#recorder?.stats(),
    };
  }

  /** Restores what was persisted, if there is a file. */
  async #load(options: BrokerOptions): Promise<void> {
    const { db, durability = "full", workers, onProgress } = options;
    if (db === undefined) return;
    await this.#committer?.load({
      db,
      durability,
      workers: workers === 0 ? 0 : 1,
      onProgress,
    });
  }

  /** What of this program its store needs, and nobody else gets. */
  #storeHost(): CommitterHost {
    const isClosed = () => this.isClosed;
    return {
      log: this.log,
      get isClosed() {
        return isClosed();
      },
      now: () => this.now(),
      perform: (command) => this.perform(command),
      send: (peer, bytes, at) => this.send(peer, bytes, at),
    };
  }

  /** Holds back what may not be sent before it is persisted. */
  protected override carryOut(effect: Effect<RouterEvent, StoreChange>): void {
    const committer = this.#committer;
    if (committer !== undefined) {
      if (effect.type === "persist") return committer.persist(effect.change);
      if (effect.type === "send") {
        const { peer, bytes, isPromise } = effect;
        if (committer.hold(peer, bytes, isPromise)) return;
      }
    }
    super.carryOut(effect);
  }

  /** Commits what was persisted. */
  protected override handleSettled(): void {
    this.#committer?.commitSoon();
  }

  /** Says something in the multicast group, if there is one. */
  protected override broadcast(bytes: Uint8Array, radius: number): void {
    if (this.#multicast === undefined) return;
    this.#journal?.add("sent", this.#multicast.group, bytes);
    this.#multicast.send(bytes, radius);
  }

  /** Keeps each datagram, if there is a journal, and logs each datagram of MQTT-SN; the classic protocol's events tell as much. */
  protected override observe(
    way: "received" | "sent",
    peer: Peer,
    bytes: Uint8Array,
    at: Millis,
  ): void {
    if (this.#journal !== undefined) this.#journal.add(way, peer, bytes, at);
    if (!this.#isTelling) return;
    if (!isFramed(bytes, { lenient: true })) return;
    const sign = way === "received" ? ">" : "<";
    this.log.debug(() => `${peer.key} ${sign} ${describeDatagram(bytes)}`);
  }

  /** Leaves the multicast group, and commits what is left. */
  protected override async handleClose(): Promise<void> {
    await this.#multicast?.[Symbol.asyncDispose]();
    await this.#committer?.close();
    this.#journal?.close();
    await this.#recorder?.close();
  }

  /** Logs what happened. */
  protected override handleEvent(event: RouterEvent): void {
    this.log.debug(() => describeEvent(event));
  }
}

/** Opens the socket, and has threads at hand that send by it. */
async function open(
  where: BindOptions,
  { io = "auto", workers = "auto", log }: BrokerOptions,
): Promise<UdpTransport> {
  const count = workers === "auto"
    ? usefulSenders(navigator.hardwareConcurrency)
    : workers;
  if (!Number.isInteger(count) || count < 0 || count > MAX_WORKERS) {
    throw new RangeError(
      `Cannot take "${workers}" as the workers: it is a number from 0 to ${MAX_WORKERS}, or "auto"`,
    );
  }
  if (!IOS.includes(io)) {
    throw new TypeError(
      `Cannot use a socket in the way "${io}": ${IOS.join(", ")} are known`,
    );
  }
  const isAllowed = count === 0 || canSendersBegin();
  const senders = new SenderThreads(isAllowed ? count : 0, {
    onFailure(reason, isReplaced) {
      const next = isReplaced
        ? "another takes its place"
        : "it is the last one";
      log?.error(`A thread that sends has failed: ${reason}; ${next}`);
    },
  });
  const socket = await bindSocket({ ...where, senders }, io, (reason) => {
    log?.info(`Sends and receives one datagram at a time: ${reason}`);
  });
  if (
    workers !== "auto" && workers > 0 && !(socket instanceof BatchedTransport)
  ) {
    log?.info("Sends in one thread: more of them need a batched socket");
  } else if (!isAllowed && socket instanceof BatchedTransport) {
    log?.info(
      "Sends in one thread: more of them may not read their module (--allow-read)",
    );
  }
  return socket;
}

/** The journal that the options ask for. */
function journalFor(options: BrokerOptions): Journal | undefined {
  const { journal = true, record, pcap } = options;
  const isRecorded = record !== undefined || pcap !== undefined;
  if (journal === false && !isRecorded) return undefined;
  const size = typeof journal === "object" ? journal : {};
  return new Journal({ ...options, ...isRecorded ? RECORDED : {}, ...size });
}

/** Starts to record, if the options ask for it. */
async function startRecorder(
  journal: Journal | undefined,
  transport: Transport,
  options: BrokerOptions,
): Promise<Recorder | undefined> {
  const { record, pcap } = options;
  if (journal === undefined) return undefined;
  if (record === undefined && pcap === undefined) return undefined;
  try {
    for (const file of [record, pcap]) {
      // It would be overwritten before anything of it is read.
      if (file === undefined || options.db === undefined) continue;
      if (!isOneFile(file, options.db)) continue;
      throw new TypeError(
        `Cannot record into "${file}": it is the file that keeps the sessions`,
      );
    }
    return await Recorder.start(journal, {
      ...options,
      workers: options.workers === 0 ? 0 : 1,
      broker: transport.address,
      clock: options.clock ?? REAL_CLOCK,
      log: options.log ?? new Log({ level: "none" }),
    });
  } catch (error) {
    transport.close();
    throw error;
  }
}

/** Joins the group that the options name; without it a broker is still one. */
async function join(
  socket: UdpTransport,
  { multicast, log }: BrokerOptions,
): Promise<Multicast | undefined> {
  if (multicast === undefined) return undefined;
  try {
    const { port } = socket.address;
    return await Multicast.join(socket, groupFrom(multicast, port));
  } catch (error) {
    log?.warn(`${messageOf(error)}: clients cannot search for this broker`);
    return undefined;
  }
}

// In an executable that is one file, its Web Workers run this module too.
if (import.meta.main && !isWorker()) {
  // Not awaited: the program imports this module, which has to be complete by then.
  import("./cli/broker.ts").then(({ main }) => main());
}
