/**
 * A transport around a transport: what comes and goes is handed to a network that
 * says when, if at all, it is to go on. Knows both ends and how to close; nothing
 * of what the network does.
 *
 * @module
 */

import type { Peer } from "../base/peer.ts";
import type {
  DatagramHandler,
  Transport,
  TransportStats,
} from "../transport/transport.ts";

/** How long one that closes waits for what is to leave, in milliseconds. */
const CLOSE_MS = 5_000;

/** What the transport around a transport needs of its network. */
export interface Surface {
  /** Whether it does nothing. */
  isOff(): boolean;
  /** Takes what has come over the wire; the octets may be used again afterwards. */
  arrive(end: End, peer: Peer, bytes: Uint8Array): void;
  /** Takes what is to go; the octets do not change afterwards. */
  send(end: End, peer: Peer, bytes: Uint8Array): void;
  /** Lets go of what is under way from or to an end. */
  forget(end: End): void;
}

/** What the network needs of a transport around a transport. */
export interface End {
  /** Datagrams that are to leave yet. */
  leaving: number;
  /** Whether nothing comes or goes any more. */
  readonly isClosed: boolean;
  /** Hands on what has come; the octets may be used again afterwards. */
  take(peer: Peer, bytes: Uint8Array): void;
  /** Sends over the wire. */
  leave(peer: Peer, bytes: Uint8Array): void;
  /** Learns that `leaving` is less than it was. */
  handleLeft(): void;
}

/** A transport whose datagrams go through a network. */
export class BadTransport implements Transport, End {
  leaving = 0;
  isClosed = false;
  readonly #net: Surface;
  readonly #inner: Transport;
  #handler: DatagramHandler | undefined;
  #isClosing = false;
  #onLeft: (() => void) | undefined;

  /** Puts a network in front of a transport, and closes that along with itself. */
  constructor(net: Surface, inner: Transport) {
    this.#net = net;
    this.#inner = inner;
  }

  get address(): Peer {
    return this.#inner.address;
  }

  /** What the network holds has left as far as its sender can know. */
  get unsent(): number {
    return this.#inner.unsent;
  }

  receive(handler: DatagramHandler): Promise<void> {
    this.#handler = handler;
    return this.#inner.receive((peer, bytes) => {
      if (this.#net.isOff()) this.take(peer, bytes);
      else if (!this.#isClosing) this.#net.arrive(this, peer, bytes);
    });
  }

  send(peer: Peer, bytes: Uint8Array): void {
    if (this.#net.isOff()) this.#inner.send(peer, bytes);
    else this.#net.send(this, peer, bytes);
  }

  flush(): Promise<void> {
    return this.#inner.flush();
  }

  stats(): TransportStats {
    return this.#inner.stats();
  }

  overflowed(): Promise<number> {
    return this.#inner.overflowed();
  }

  take(peer: Peer, bytes: Uint8Array): void {
    if (!this.#isClosing) this.#handler?.(peer, bytes);
  }

  leave(peer: Peer, bytes: Uint8Array): void {
    this.#inner.send(peer, bytes);
  }

  handleLeft(): void {
    if (this.leaving === 0) this.#onLeft?.();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#isClosing = true;
    this.#net.forget(this);
    this.#onLeft?.();
    this.#inner.close();
  }

  /** Lets what was sent leave, as far as that does not take too long, and closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true;
    if (this.leaving > 0 && !this.isClosed) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onLeft = resolve;
      const timer = setTimeout(resolve, CLOSE_MS);
      await promise;
      clearTimeout(timer);
    }
    this.isClosed = true;
    this.#net.forget(this);
    await this.#inner[Symbol.asyncDispose]();
  }
}
