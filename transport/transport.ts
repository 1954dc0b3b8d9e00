/**
 * How datagrams travel: a {@linkcode Transport} sends and receives them.
 * {@linkcode UdpTransport} is a socket of the system, {@linkcode MemoryNetwork}
 * a network inside the process for tests. Knows octets and addresses, nothing of
 * what the octets say.
 *
 * @module
 */

import { addressFrom, type Peer, peerOf } from "../base/peer.ts";

/**
 * Is given each datagram that arrives. The octets are only valid during the
 * call: the next datagram is received into the same buffer.
 */
export type DatagramHandler = (peer: Peer, bytes: Uint8Array) => void;

/** Counts of what a transport did. */
export interface TransportStats {
  /** Datagrams that were handed to the system. */
  readonly sent: number;
  /** Datagrams that arrived. */
  readonly received: number;
  /** Datagrams that the system would not send. */
  readonly sendErrors: number;
  /** Times that the system reported an error instead of a datagram. */
  readonly receiveErrors: number;
  /** What the system refused to send, by the name of its error, as `EMSGSIZE`. */
  readonly refused: Readonly<Record<string, number>>;
  /** Times that there was no room for what was to be sent, and it had to wait. */
  readonly congested: number;
  /** What the threads counted that send beside; `undefined` where there are none. */
  readonly senders?: SenderStats | undefined;
}

/** What senders counted. */
export interface SenderStats {
  /** Threads that are at work. */
  readonly senders: number;
  /** Datagrams that they have sent. */
  readonly sent: number;
  /** Datagrams that wait in their rings. */
  readonly waiting: number;
  /** Times that a ring was full, and the broker had to wait. */
  readonly fullRings: number;
  /** Times that the system had no room for what a thread had to send. */
  readonly congested: number;
  /** What the system refused to send, by the name of its error. */
  readonly refused: Readonly<Record<string, number>>;
  /** Threads that failed. */
  readonly failed: number;
  /** Datagrams of a thread that failed, of which nobody knows if they have left. */
  readonly lost: number;
}

/** One end from which datagrams are sent and at which they arrive. */
export interface Transport extends AsyncDisposable {
  /** Where others reach this end. */
  readonly address: Peer;
  /**
   * Hands every datagram that arrives to `handler`, in order.
   *
   * @returns a promise that resolves when the transport is closed
   */
  receive(handler: DatagramHandler): Promise<void>;
  /**
   * Sends a datagram, without waiting and without a promise that it arrives.
   * The octets must not change afterwards. What the system refuses is counted.
   */
  send(peer: Peer, bytes: Uint8Array): void;
  /** Datagrams that have not left yet. */
  readonly unsent: number;
  /** Resolves when all that was sent so far has left. */
  flush(): Promise<void>;
  /** What was counted so far. */
  stats(): TransportStats;
  /**
   * Datagrams that arrived and found no room, as they were not received in time;
   * 0 where the system does not tell.
   */
  overflowed(): Promise<number>;
  /** Ends it at once; again does nothing. */
  close(): void;
}

/** Where a socket is bound. */
export interface BindOptions {
  /** Address or name of an interface of this machine. Default `127.0.0.1`. */
  readonly hostname?: string;
  /** UDP port, 0 to 65535; 0 lets the system choose. Default 0. */
  readonly port?: number;
  /** Whether other sockets may have the port too, as for multicast. Default false. */
  readonly isShared?: boolean;
}

/** What a socket that belongs to a multicast group can be told. */
export interface Membership {
  /** Limits how many networks what is sent to groups passes, 1 to 255; IPv4 only. */
  setTtl(ttl: number): Promise<void>;
}

/** Sends under way at which nothing more is taken on until some have left. */
export const MAX_UNSENT = 256;

/** Work without a turn of the event loop, in milliseconds: timers want theirs. */
export const TURN_MS = 3;

/** Errors in a row after which a socket is taken for broken. */
export const MAX_ERRORS_IN_A_ROW = 1_000;

/**
 * A UDP socket, by `Deno.listenDatagram`.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { UdpTransport } from "./transport.ts";
 *
 * await using here = await UdpTransport.bind();
 * await using there = await UdpTransport.bind();
 * const arrived = new Promise<string>((resolve) => {
 *   there.receive((peer, bytes) => resolve(`${bytes.length} from ${peer.key}`));
 * });
 * here.send(there.address, new Uint8Array(3));
 * assertEquals(await arrived, `3 from ${here.address.key}`);
 * ```
 */
export class UdpTransport implements Transport {
  /** The address that the socket is bound to. */
  readonly address: Peer;
  /** The socket as Deno has it. */
  protected readonly socket: Deno.DatagramConn;
  /** Whether it is one of IPv6, and so has addresses of IPv6 only. */
  protected readonly isIpv6: boolean;
  /** What was counted so far. */
  protected readonly counts: TransportCounts = countsOfTransport();
  #closed = false;
  /** What has not left yet, behind what has: so many at the start. */
  readonly #queue: { readonly peer: Peer; readonly bytes: Uint8Array }[] = [];
  #sent = 0;
  #isSending = false;
  readonly #waitingForSends: (() => void)[] = [];

  /** Takes a socket over: it is closed along with the transport. */
  protected constructor(socket: Deno.DatagramConn) {
    const { hostname, port } = socket.addr as Deno.NetAddr;
    this.socket = socket;
    this.isIpv6 = hostname.includes(":");
    this.address = peerOf(hostname, port);
  }

  /**
   * Opens a socket.
   *
   * @throws {Deno.errors.AddrInUse} when the port is taken
   * @throws {Deno.errors.AddrNotAvailable} when no interface has the address
   * @throws {Error} when the name is unknown, or when this Deno was started
   * without `--unstable-net`
   */
  static async bind(options: BindOptions = {}): Promise<UdpTransport> {
    return new UdpTransport(await openSocket(options));
  }

  /**
   * Opens a socket on a port of the system's choice from which a peer can be
   * reached: on loopback for a peer on this machine, else on every interface.
   */
  static towards({ hostname }: Peer): Promise<UdpTransport> {
    const isIpv6 = hostname.includes(":");
    if (hostname.startsWith("127.")) return UdpTransport.bind();
    if (hostname === "::1") return UdpTransport.bind({ hostname });
    return UdpTransport.bind({ hostname: isIpv6 ? "::" : "0.0.0.0" });
  }

  /**
   * Receives, from now on, what is sent to a multicast group at this port, and
   * is able to send to it.
   *
   * @param group the group's address
   * @throws {Error} when the system will not have it
   */
  async join(group: string): Promise<Membership> {
    try {
      if (group.includes(":")) {
        await this.socket.joinMulticastV6(group, 0);
        return { setTtl: async () => {} }; // the system has no way to tell it
      }
      const { hostname } = this.address;
      const onInterface = hostname.includes(":") ? "0.0.0.0" : hostname;
      const membership = await this.socket.joinMulticastV4(group, onInterface);
      return { setTtl: (ttl) => membership.setTTL(ttl) };
    } catch (cause) {
      throw new Error(`Cannot join the multicast group ${group}`, { cause });
    }
  }

  async receive(handler: DatagramHandler): Promise<void> {
    // A buffer of our own: without one each datagram would allocate 64 KiB.
    const buffer = new Uint8Array(65_536);
    let turnEndsAt = performance.now() + TURN_MS;
    let errorsInARow = 0;
    while (!this.#closed) {
      let arrival: [Uint8Array, Deno.Addr];
      try {
        arrival = await this.socket.receive(buffer);
      } catch (cause) {
        if (this.#closed) return;
        // On Windows a peer that is gone shows as an error of our own socket.
        this.counts.receiveErrors++;
        if (++errorsInARow < MAX_ERRORS_IN_A_ROW) continue;
        throw new Error(`Cannot receive at ${this.address.key}`, { cause });
      }
      if (this.#closed) return;
      errorsInARow = 0;
      this.counts.received++;
      const { hostname, port } = arrival[1] as Deno.NetAddr;
      handler(peerOf(hostname, port), arrival[0]);
      const isLong = this.unsent >= MAX_UNSENT;
      if (isLong) await this.flush();
      // A look at the clock costs a tenth of a microsecond.
      if (this.counts.received % 32 > 0 && !isLong) continue;
      if (performance.now() >= turnEndsAt) {
        await new Promise((resolve) => setImmediate(resolve));
        turnEndsAt = performance.now() + TURN_MS;
      }
    }
  }

  send(peer: Peer, bytes: Uint8Array): void {
    this.#queue.push({ peer, bytes });
    if (!this.#isSending) this.#sendQueue();
  }

  /**
   * Sends one after the other: of several that are under way the system's socket
   * takes the last first.
   */
  async #sendQueue(): Promise<void> {
    this.#isSending = true;
    for (let next; (next = this.#queue[this.#sent]) !== undefined;) {
      const { peer, bytes } = next;
      try {
        await this.socket.send(bytes, {
          transport: "udp",
          // A dual-stack socket takes IPv4 addresses in their IPv6 form only.
          hostname: this.isIpv6 && !peer.hostname.includes(":")
            ? `::ffff:${peer.hostname}`
            : peer.hostname,
          port: peer.port,
        });
        this.counts.sent++;
      } catch (error) {
        this.countRefused(codeOf(error));
      }
      // Rarely, as what is left moves.
      if (++this.#sent < 1_024) continue;
      this.#queue.splice(0, this.#sent);
      this.#sent = 0;
    }
    this.#queue.length = 0;
    this.#sent = 0;
    this.#isSending = false;
    for (const resolve of this.#waitingForSends.splice(0)) resolve();
  }

  get unsent(): number {
    return this.#queue.length - this.#sent;
  }

  flush(): Promise<void> {
    if (!this.#isSending) return Promise.resolve();
    return new Promise((resolve) => this.#waitingForSends.push(resolve));
  }

  stats(): TransportStats {
    return { ...this.counts, refused: { ...this.counts.refused } };
  }

  overflowed(): Promise<number> {
    return Promise.resolve(this.#countOverflowed());
  }

  #countOverflowed(): number {
    if (Deno.build.os !== "linux" || this.#closed) return 0;
    const file = `/proc/net/udp${this.isIpv6 ? "6" : ""}`;
    const read = { name: "read", path: file } as const;
    if (Deno.permissions.querySync(read).state !== "granted") return 0;
    const port = this.address.port.toString(16).toUpperCase().padStart(4, "0");
    // Before this returns: the socket may be closed in the next moment.
    let table: string;
    try {
      table = Deno.readTextFileSync(file);
    } catch {
      return 0;
    }
    // Each socket has a line: number, ADDRESS:PORT, …, and its drops at the end.
    const line = table.split("\n").find((line) =>
      line.trim().split(/\s+/)[1]?.endsWith(`:${port}`)
    );
    return Number(line?.trim().split(/\s+/).at(-1) ?? 0);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.socket.close();
  }

  /** Lets what was sent leave, then closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closed) await this.flush();
    this.close();
  }

  /** Counts a datagram that the system would not send, by its error. */
  protected countRefused(code: string): void {
    this.counts.sendErrors++;
    this.counts.refused[code] = (this.counts.refused[code] ?? 0) + 1;
  }
}

/** The counters of a transport. */
export interface TransportCounts {
  /** Datagrams that were handed to the system. */
  sent: number;
  /** Datagrams that arrived. */
  received: number;
  /** Datagrams that the system would not send. */
  sendErrors: number;
  /** Times that the system reported an error instead of a datagram. */
  receiveErrors: number;
  /** What the system refused to send, by the name of its error. */
  readonly refused: Record<string, number>;
  /** Times that there was no room for what was to be sent. */
  congested: number;
}

function countsOfTransport(): TransportCounts {
  return {
    sent: 0,
    received: 0,
    sendErrors: 0,
    receiveErrors: 0,
    refused: {},
    congested: 0,
  };
}

/** How the system calls an error, as `EMSGSIZE`. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return "code" in error && typeof error.code === "string"
    ? error.code
    : error.name;
}

/**
 * Opens a socket, for a transport to take over.
 *
 * @throws {Deno.errors.AddrInUse} when the port is taken
 * @throws {Deno.errors.AddrNotAvailable} when no interface has the address
 * @throws {Error} when the name is unknown, or when this Deno was started
 * without `--unstable-net`
 */
export async function openSocket(
  options: BindOptions,
): Promise<Deno.DatagramConn> {
  const { hostname: name = "127.0.0.1", port: wanted = 0 } = options;
  if (typeof Deno.listenDatagram !== "function") {
    throw new Error(
      "Cannot open a UDP socket: Deno.listenDatagram is missing, start Deno with --unstable-net",
    );
  }
  const { hostname, port, key } = await resolve(name, wanted);
  try {
    return Deno.listenDatagram({
      transport: "udp",
      hostname,
      port,
      reuseAddress: options.isShared === true,
      loopback: true, // clients on this machine are to hear a group as well
    });
  } catch (cause) {
    if (cause instanceof Deno.errors.AddrInUse) {
      throw new Deno.errors.AddrInUse(
        `Cannot bind ${key}: another program has the port`,
        { cause },
      );
    }
    if (cause instanceof Deno.errors.AddrNotAvailable) {
      throw new Deno.errors.AddrNotAvailable(
        `Cannot bind ${key}: no interface of this machine has that address`,
        { cause },
      );
    }
    throw cause;
  }
}

/**
 * Finds the address behind a name, as the system's own programs would.
 *
 * @param hostname address or name
 * @param port UDP port, 0 to 65535
 * @throws {Error} when the name is unknown
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { resolve } from "./transport.ts";
 *
 * assertEquals((await resolve("127.0.0.1", 12003)).key, "127.0.0.1:12003");
 * ```
 */
export async function resolve(hostname: string, port: number): Promise<Peer> {
  const literal = addressFrom(hostname);
  if (literal !== undefined) return peerOf(literal, port);
  try {
    // Only here: who was given an address shall not wait until it is loaded.
    const { lookup } = await import("node:dns/promises");
    // IPv4 first: a broker's default is 127.0.0.1, and that is what
    // "localhost" has to find.
    const { address } = await lookup(hostname, { order: "ipv4first" });
    return peerOf(address, port);
  } catch (cause) {
    throw new Error(`Cannot find a host called "${hostname}"`, { cause });
  }
}

/** Addresses that only a broker can be bound to, and where it is reached. */
const REACHABLE: ReadonlyMap<string, string> = new Map([
  ["0.0.0.0", "127.0.0.1"],
  ["::", "::1"],
]);

/**
 * Finds where a broker is reached: as {@linkcode resolve} does, and on this
 * machine when the address stands for every interface.
 *
 * @param hostname address or name of the broker's machine
 * @param port the broker's UDP port, 1 to 65535
 * @throws {RangeError} when the port is out of range
 * @throws {Error} when the name is unknown
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { findBroker } from "./transport.ts";
 *
 * assertEquals((await findBroker("0.0.0.0", 12003)).key, "127.0.0.1:12003");
 * ```
 */
export async function findBroker(
  hostname: string,
  port: number,
): Promise<Peer> {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new RangeError(
      `Cannot take "${port}" as the port: it is a number from 1 to 65535`,
    );
  }
  const found = await resolve(hostname, port);
  return peerOf(REACHABLE.get(found.hostname) ?? found.hostname, port);
}

/** Datagrams that a socket of a {@linkcode MemoryNetwork} keeps until it is read. */
const MEMORY_BACKLOG = 256;

/**
 * A network inside the process: no sockets, no loss, order kept. Datagrams
 * arrive in a later microtask, never within the call that sent them.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { MemoryNetwork } from "./transport.ts";
 *
 * const network = new MemoryNetwork();
 * await using here = network.bind();
 * await using there = network.bind({ port: 12003 });
 * const arrived = new Promise<number>((resolve) => {
 *   there.receive((_peer, bytes) => resolve(bytes.length));
 * });
 * here.send(there.address, new Uint8Array(3));
 * assertEquals(await arrived, 3);
 * ```
 */
export class MemoryNetwork {
  readonly #ends = new Map<string, MemoryTransport>();
  #nextPort = 49_152;

  /**
   * Opens an end.
   *
   * @throws {Deno.errors.AddrInUse} when the port is taken
   */
  bind(options: BindOptions = {}): Transport {
    const { hostname = "127.0.0.1", port = 0 } = options;
    const address = peerOf(hostname, port === 0 ? this.#nextPort++ : port);
    if (this.#ends.has(address.key)) {
      throw new Deno.errors.AddrInUse(
        `Cannot bind "${address.key}": it is taken`,
      );
    }
    const end = new MemoryTransport(address, this.#ends);
    this.#ends.set(address.key, end);
    return end;
  }
}

class MemoryTransport implements Transport {
  readonly address: Peer;
  readonly unsent = 0;
  readonly #ends: Map<string, MemoryTransport>;
  #handler: DatagramHandler | undefined;
  readonly #backlog: { readonly peer: Peer; readonly bytes: Uint8Array }[] = [];
  readonly #closed = Promise.withResolvers<void>();
  #overflowed = 0;
  readonly #counts = countsOfTransport();

  constructor(address: Peer, ends: Map<string, MemoryTransport>) {
    this.address = address;
    this.#ends = ends;
  }

  receive(handler: DatagramHandler): Promise<void> {
    this.#handler = handler;
    for (const { peer, bytes } of this.#backlog.splice(0)) {
      queueMicrotask(() => this.take(peer, bytes));
    }
    return this.#closed.promise;
  }

  send(peer: Peer, bytes: Uint8Array): void {
    if (!this.#isOpen) {
      this.#counts.sendErrors++;
      return;
    }
    this.#counts.sent++;
    queueMicrotask(() => this.#ends.get(peer.key)?.take(this.address, bytes));
  }

  async flush(): Promise<void> {
    await Promise.resolve();
  }

  overflowed(): Promise<number> {
    return Promise.resolve(this.#overflowed);
  }

  stats(): TransportStats {
    return { ...this.#counts, refused: {} };
  }

  /** Its address may be another's by now. */
  get #isOpen(): boolean {
    return this.#ends.get(this.address.key) === this;
  }

  close(): void {
    if (this.#isOpen) this.#ends.delete(this.address.key);
    this.#closed.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.flush();
    this.close();
  }

  take(peer: Peer, bytes: Uint8Array): void {
    if (this.#handler !== undefined) {
      this.#counts.received++;
      this.#handler(peer, bytes);
    } else if (this.#backlog.length < MEMORY_BACKLOG) {
      this.#backlog.push({ peer, bytes });
    } else this.#overflowed++;
  }
}
