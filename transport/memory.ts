/**
 * A network inside the process, without sockets, for tests.
 *
 * @module
 */

import { type Peer, peerOf } from "../base/peer.ts";
import {
  type BindOptions,
  type DatagramHandler,
  newTransportCounts,
  type Transport,
  type TransportStats,
} from "./transport.ts";

/** Datagrams that a socket of a {@linkcode MemoryNetwork} keeps until it is read. */
const MEMORY_BACKLOG = 256;

/**
 * A network inside the process: no sockets, no loss, order kept. Datagrams
 * arrive in a later microtask, never within the call that sent them.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { MemoryNetwork } from "./memory.ts";
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
  readonly #counts = newTransportCounts();

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
