/**
 * A transport that is a UDP socket, by `Deno.listenDatagram`: one datagram in a
 * call of the system, on each system that Deno runs on.
 *
 * @module
 */

import { Deque } from "../base/deque.ts";
import { type Peer, peerOf } from "../base/peer.ts";
import { resolve } from "./resolve.ts";
import {
  type BindOptions,
  type DatagramHandler,
  type Membership,
  newTransportCounts,
  type Transport,
  type TransportCounts,
  type TransportStats,
} from "./transport.ts";

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
 * import { UdpTransport } from "./udp.ts";
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
  protected readonly counts: TransportCounts = newTransportCounts();
  #closed = false;
  /** Datagrams that have not left yet; the first one is being sent. */
  readonly #queue = new Deque<Datagram>();
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
    for (let next; (next = this.#queue.first) !== undefined;) {
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
      this.#queue.shift();
    }
    this.#isSending = false;
    for (const resolve of this.#waitingForSends.splice(0)) resolve();
  }

  get unsent(): number {
    return this.#queue.size;
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

/** A datagram that waits for its turn to be sent. */
export interface Datagram {
  /** Where to. */
  readonly peer: Peer;
  /** Its octets. */
  readonly bytes: Uint8Array;
}

/** How the system calls an error, as `EMSGSIZE`. */
function codeOf(error: unknown): string {
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
