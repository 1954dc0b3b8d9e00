/**
 * The broker: a router (`router.ts`) at work on a UDP socket, and the program
 * that runs one.
 *
 * ```sh
 * deno run -A broker.ts --help
 * ```
 *
 * @module
 */

import type { Millis } from "./clock.ts";
import { bindSocket, DoorbellTransport, type Io } from "./doorbell.ts";
import { Commits } from "./commits.ts";
import {
  type Flags,
  portFromEnvironment,
  type Program,
  run,
  UsageError,
  VERSION,
} from "./cli.ts";
import { describeEvent } from "./event_text.ts";
import type { RouterEvent } from "./events.ts";
import { Journal } from "./journal.ts";
import { Log } from "./log.ts";
import type { Effect } from "./machine.ts";
import {
  DEFAULT_PORT,
  isLoopback,
  LocalProtocolError,
  type Peer,
} from "./message.ts";
import { isFramed } from "./mqttsn.ts";
import { groupFrom, Multicast } from "./multicast.ts";
import {
  FAULT_FLAGS,
  faultOptionsFrom,
  NET_FLAGS,
  netOptionsFrom,
} from "./net_flags.ts";
import type { NetOptions, NetSim, NetStats } from "./netsim.ts";
import { describeDatagram } from "./packet_text.ts";
import type { RouterOptions } from "./options.ts";
import {
  isOneFile,
  isRecorderWorker,
  Recorder,
  type RecorderStats,
} from "./recorder.ts";
import type { StoreChange } from "./records.ts";
import { Router } from "./router.ts";
import {
  canSendersBegin,
  isSenderWorker,
  SenderPool,
  usefulSenders,
} from "./sender.ts";
import { StoreError, type StoreErrorKind } from "./store_error.ts";
import type { Durability } from "./store_file.ts";
import { isStoreWorker, openStore, type StorePort } from "./store_worker.ts";
import type { RouterStats } from "./system.ts";
import type { TapeOptions } from "./tape.ts";
import {
  type Interruption,
  messageOf,
  REAL_CLOCK,
  Template,
  type TemplateOptions,
} from "./template.ts";
import { EXIT, print, Progress } from "./terminal.ts";
import { parsePredefined } from "./topics.ts";
import {
  type BindOptions,
  type Transport,
  type TransportStats,
  UdpTransport,
} from "./transport.ts";

/** Where a broker listens, what it logs, and its limits. */
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
  readonly journal?: boolean | TapeOptions;
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

/** What a broker counted since its start. */
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

/** What a broker is made of besides its core, where it has it. */
interface Parts {
  readonly multicast: Multicast | undefined;
  readonly net: NetSim | undefined;
  readonly journal: Journal | undefined;
  readonly recorder: Recorder | undefined;
}

/** What a broker counted of its store. */
export interface CommitStats {
  /** Commits that succeeded. */
  readonly commits: number;
  /** Changes in them. */
  readonly changes: number;
  /** Commits that failed. */
  readonly failedCommits: number;
  /** Changes that are not committed now. */
  readonly uncommitted: number;
  /** Datagrams that wait for a commit now. */
  readonly held: number;
  /** Promises that were taken back as a commit failed. */
  readonly takenBack: number;
  /** Records that made no sense as they were loaded. */
  readonly unreadable: number;
}

/** How a socket can be used. */
const IOS: readonly Io[] = ["auto", "portable", "batched"];

/** Threads that send, at most. */
const MAX_WORKERS = 16;

/** How much a journal keeps that is recorded: what comes while a disk is slow. */
const RECORDED: TapeOptions = { maxEntries: 65_536, maxOctets: 2 ** 24 };

/** Between two attempts at a commit that fails, in milliseconds. */
const RETRY_COMMIT_MS = 1_000;

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
  /** What waits for the store; `undefined` without one. */
  readonly #commits: Commits | undefined;
  #store: StorePort | undefined;
  /** The commit that is under way, or was last. */
  #committing: Promise<void> | undefined;
  #commitSoon: ReturnType<typeof setImmediate> | undefined;
  #commitTimer: ReturnType<typeof setTimeout> | undefined;
  /** Why the last commit failed, `undefined` if it did not. */
  #fault: string | undefined;
  readonly #counts = {
    commits: 0,
    changes: 0,
    failedCommits: 0,
    takenBack: 0,
    unreadable: 0,
  };

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
    this.#commits = options.db === undefined ? undefined : new Commits();
    this.#router = router;
    this.#multicast = multicast;
    multicast?.receive(this.handleDatagram).catch((error) =>
      this.log.warn(messageOf(error))
    );
    this.log.debug(() => `Listening at ${this.address.key}`);
    if (!isLoopback(this.address)) {
      this.log.warn(
        `Whoever reaches ${this.address.key} can publish and subscribe: there are no passwords`,
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
    if (!Number.isInteger(port) || port < 0 || port > 65_535) {
      throw new RangeError(
        `Cannot take "${port}" as the port: it is a number from 0 to 65535`,
      );
    }
    const isDurable = options.db !== undefined;
    const router = new Router({ version: VERSION, ...options, isDurable });
    if (options.multicast !== undefined) groupFrom(options.multicast, port);
    const { transport } = options;
    const journal = journalFor(options);
    const net = await openNet(options, journal);
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
      commits: this.#commits === undefined ? undefined : {
        ...this.#counts,
        uncommitted: this.#commits.uncommitted,
        held: this.#commits.held,
      },
      net: this.network?.stats(),
      recording: this.#recorder?.stats(),
    };
  }

  /** Takes back what was kept, if there is a file. */
  async #load(options: BrokerOptions): Promise<void> {
    const { db, durability = "full", workers, onProgress } = options;
    if (db === undefined) return;
    const store = await openStore(db, {
      durability,
      workers: workers === 0 ? 0 : 1,
      // Whole moments take less memory than others.
      offsetMs: Math.round(Date.now() - this.now()),
    });
    // Its transport may have broken meanwhile: then nobody else closes the file.
    if (this.isClosed) {
      await store.close();
      throw new Error(`Cannot load "${db}": the broker has closed`);
    }
    this.#store = store;
    if (store.setAside !== undefined) {
      const { path, reason, isCopy } = store.setAside;
      this.log.error(
        isCopy
          ? `"${db}" is damaged (${reason}): copied as "${path}", and gone on with without them`
          : `"${db}" is damaged (${reason}): set aside as "${path}", and begun anew`,
      );
    }
    await store.load((records, done, total) => {
      for (const record of records) {
        if (this.#router.restore(this.now(), record)) continue;
        this.#counts.unreadable++;
      }
      onProgress?.(done, total);
    });
    const { unreadable } = this.#counts;
    if (unreadable > 0) {
      this.log.error(`"${db}" holds ${unreadable} records that make no sense`);
    }
    this.perform((now) => {
      this.#router.handleRestored(now, store.starts);
      // A commit may have failed by then: nothing is to be promised.
      this.#router.handleStore(this.#commits!.state);
    });
  }

  /** Holds back what may not be sent before it is kept. */
  protected override carryOut(effect: Effect<RouterEvent, StoreChange>): void {
    const commits = this.#commits;
    if (commits !== undefined) {
      if (effect.type === "persist") return commits.persist(effect.change);
      if (effect.type === "send") {
        const { peer, bytes, isPromise } = effect;
        if (commits.hold(peer, bytes, isPromise)) return;
      }
    }
    super.carryOut(effect);
  }

  /**
   * Begins a commit when all that has arrived has been taken, or when the transport
   * lets others have a turn: what comes together is committed together.
   */
  protected override handleSettled(): void {
    const commits = this.#commits;
    if (commits !== undefined && commits.uncommitted > 0) {
      this.#commitNext(commits);
    }
  }

  #commitNext(commits: Commits): void {
    this.#commitSoon ??= setImmediate(() => {
      this.#commitSoon = undefined;
      this.#commit(commits);
    });
  }

  #commit(commits: Commits): void {
    // A commit that has failed is tried again when its time has come.
    if (this.#store === undefined || this.#commitTimer !== undefined) return;
    const changes = commits.take();
    this.#router.handleStore(this.isClosed ? "refusing" : commits.state);
    if (changes === undefined) return;
    this.#committing = this.#store.commit(changes).then(
      () => this.#handleCommitted(commits, changes.length),
      (error) => this.#handleFailed(commits, messageOf(error)),
    );
  }

  #handleCommitted(commits: Commits, changes: number): void {
    this.#counts.commits++;
    this.#counts.changes += changes;
    if (this.#fault !== undefined) {
      this.log.info("The store can be written again");
      this.#fault = undefined;
    }
    const kept = commits.handleCommitted();
    if (kept.length > 0) this.now(); // that of what is sent
    for (const { peer, bytes } of kept) this.send(peer, bytes);
    this.#commitNext(commits);
  }

  /** Takes back the promises that cannot be kept, and goes on without any. */
  #handleFailed(commits: Commits, fault: string): void {
    this.#counts.failedCommits++;
    if (this.#fault !== fault) {
      this.log.error(
        `${fault}; until it can be written, which is tried each second, whoever asks for what would have to be kept is refused`,
      );
      this.#fault = fault;
    }
    this.#commitTimer = setTimeout(() => {
      this.#commitTimer = undefined;
      this.#commit(commits);
    }, RETRY_COMMIT_MS);
    const held = commits.handleFailed();
    // Also while it closes, when what was held is not even refused any more.
    this.#router.handleStore("refusing");
    this.perform((now) => {
      for (const { peer, bytes, isPromise } of held) {
        if (!isPromise) this.send(peer, bytes);
        else {
          this.#counts.takenBack++;
          this.#router.handleUncommitted(now, peer, bytes);
        }
      }
    });
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

  /** Leaves the multicast group, and keeps what is still to be kept. */
  protected override async handleClose(): Promise<void> {
    await this.#multicast?.[Symbol.asyncDispose]();
    if (this.#commits !== undefined) await this.#closeStore(this.#commits);
    this.#journal?.close();
    await this.#recorder?.close();
  }

  async #closeStore(commits: Commits): Promise<void> {
    this.#callOff();
    await this.#committing;
    // What failed before may succeed now; what fails now is not tried again.
    while (commits.uncommitted > 0 && this.#store !== undefined) {
      this.#commit(commits);
      await this.#committing;
      if (commits.isFailing) break;
    }
    const store = this.#store;
    this.#store = undefined;
    this.#callOff();
    if (commits.uncommitted > 0) {
      this.log.error(
        `Changes that are not kept: ${commits.uncommitted}; what was acknowledged is`,
      );
    }
    await store?.close();
  }

  /** Begins no commit any more by itself. */
  #callOff(): void {
    clearImmediate(this.#commitSoon);
    this.#commitSoon = undefined;
    clearTimeout(this.#commitTimer);
    this.#commitTimer = undefined;
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
  const senders = new SenderPool(isAllowed ? count : 0, {
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
    workers !== "auto" && workers > 0 && !(socket instanceof DoorbellTransport)
  ) {
    log?.info("Sends in one thread: more of them need a batched socket");
  } else if (!isAllowed && socket instanceof DoorbellTransport) {
    log?.info(
      "Sends in one thread: more of them may not read their module (--allow-read)",
    );
  }
  return socket;
}

/** The bad network that the options ask for. It is loaded only then. */
async function openNet(
  options: BrokerOptions,
  journal: Journal | undefined,
): Promise<NetSim | undefined> {
  if (options.net === undefined && options.faults === undefined) return;
  const [{ NetSim }, { describeFault }] = await Promise.all([
    import("./netsim.ts"),
    import("./faults.ts"),
  ]);
  return new NetSim({
    ...options,
    side: "broker",
    onFault(event) {
      journal?.note(describeFault(event), event.peer);
      options.onFault?.(event);
    },
  });
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

const PROGRAM: Program = {
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
        "what it survives: full kill -9 and a power cut, normal kill -9 and a power cut but for its last seconds, off kill -9 alone (SQLite's synchronous)",
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
      help: "data kept for each classic topic",
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
      help: "when too many wait: drop the oldest, or refuse whoever publishes",
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

async function main(flags: Flags, interruption: Interruption): Promise<number> {
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
  if (flags.has("inspect")) return await inspect(flags.text("db")!);
  const log = flags.log("info");
  const limits = await limitsFrom(flags);
  using progress = new LoadProgress();
  const listening = Broker.listen({
    hostname: flags.text("host") ?? "127.0.0.1",
    port: flags.integer("port", 0, 65_535) ?? portFromEnvironment(0),
    log,
    ...limits,
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

/** Prints what a file holds. */
async function inspect(db: string): Promise<number> {
  const { describeStore, inspectStore } = await import("./store_summary.ts");
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
    history: flags.integer("history", 1, 1_000_000),
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

// In an executable that is one file, this is what its Web Workers start too.
const isWorker = isStoreWorker() || isSenderWorker() || isRecorderWorker();
if (import.meta.main && !isWorker) {
  await run(PROGRAM, main);
}
