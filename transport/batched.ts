/**
 * A UDP socket that receives and sends many datagrams in one call of the system:
 * Deno's socket is the doorbell. Waiting for a datagram by `receive` costs nothing;
 * when one has come, `recvmmsg` takes those behind it, and what is sent in answer
 * leaves together by `sendmmsg`.
 *
 * Order is kept: what is sent leaves in the order in which it was. When the system
 * has no room for more, what is left waits, and no further datagram is taken
 * until it has gone.
 *
 * @module
 */

import { ReceiveBatch, SendBatch, type SendTally } from "./batches.ts";
import {
  BatchesError,
  dropsOf,
  findDescriptor,
  type Libc,
  openLibc,
  raiseReceiveBuffer,
} from "./libc.ts";
import { Deque } from "../base/deque.ts";
import { type Peer, peerOf } from "../base/peer.ts";
import type { SenderThreads } from "./sender_threads.ts";
import { PeerTable, SOCKADDR_WORDS, USER_WORD } from "./sockaddr.ts";
import type {
  BindOptions,
  DatagramHandler,
  TransportStats,
} from "./transport.ts";
import {
  type Datagram,
  MAX_ERRORS_IN_A_ROW,
  openSocket,
  TURN_MS,
  UdpTransport,
} from "./udp.ts";

/**
 * Octets that a socket is asked to hold until they are received: the system's
 * usual 208 KiB are 256 small datagrams.
 */
const RECEIVE_BUFFER = 8 * 1024 * 1024;

/** Until the system is asked again whether it has room, in milliseconds. */
const RETRY_MS = 1;

/** Where a socket is bound, and the threads that send by it. */
export interface BatchedOptions extends BindOptions {
  /** Threads that send large fan-outs; closed along with the transport. */
  readonly senders?: SenderThreads;
  /** The system's calls. Default: those of its library. */
  readonly libc?: Libc;
}

/**
 * How a socket is used: many datagrams in a call where that can be had, or not.
 *
 * @example
 * ```ts
 * import { Broker, type Io } from "../mod.ts";
 *
 * const io: Io = "portable";
 * await using _broker = await Broker.listen({ port: 0, io });
 * ```
 */
export type Io = "auto" | "portable" | "batched";

/**
 * Opens a socket for much traffic.
 *
 * @param options where it is bound
 * @param io `auto` for batches where they can be had, else `portable`
 * @param onFallback is told why they cannot, and that it is portable
 * @throws {Deno.errors.AddrInUse} when the port is taken
 * @throws {Deno.errors.AddrNotAvailable} when no interface has the address
 * @throws {Error} when the name is unknown, when this Deno was started without
 * `--unstable-net`, or when it is to be batched and cannot
 */
export async function bindSocket(
  options: BatchedOptions,
  io: Io,
  onFallback: (reason: string) => void,
): Promise<UdpTransport> {
  if (io === "portable") return await UdpTransport.bind(options);
  try {
    return await BatchedTransport.bind(options);
  } catch (error) {
    if (!(error instanceof BatchesError)) throw error;
    if (io === "batched") throw error;
    onFallback(error.reason);
    return await UdpTransport.bind(options);
  }
}

/**
 * A UDP socket with batches. Linux only, and FFI has to be granted.
 *
 * @example
 * ```ts ignore
 * import { BatchedTransport } from "./batched.ts";
 *
 * await using here = await BatchedTransport.bind();
 * await using there = await BatchedTransport.bind();
 * const arrived = new Promise<string>((resolve) => {
 *   there.receive((peer, bytes) => resolve(`${bytes.length} from ${peer.key}`));
 * });
 * here.send(there.address, new Uint8Array(3));
 * console.log(await arrived); // 3 from 127.0.0.1:50123
 * ```
 */
export class BatchedTransport extends UdpTransport {
  /** Octets that the socket holds until they are received, as the system counts. */
  readonly receiveBuffer: number;
  readonly #libc: Libc;
  readonly #descriptor: number;
  readonly #peers: PeerTable;
  readonly #incoming: ReceiveBatch;
  /** Datagrams of the batch that was received last, and how many were handled. */
  #arrived = 0;
  #handled = 0;
  readonly #outgoing: SendBatch;
  readonly #tally: SendTally = {
    sent: (datagrams) => this.counts.sent += datagrams,
    congested: () => this.counts.congested++,
    refused: (code) => this.countRefused(code),
  };
  readonly #senders: SenderThreads | undefined;
  /** Whether senders have some of what was sent, so that order is by thread. */
  #isSpread = false;
  /** Whose turn it is to have a peer that has no sender yet; 0 is this thread. */
  #nextOwner = 0;
  /** Which of the table's slots the owners belong to. */
  #generation = 0;
  /** What found no room in the batch, as the system has none either. */
  readonly #behind = new Deque<Datagram>();
  /** Whether the system is being waited for. */
  #isWaiting = false;
  /** Whether the batch will be sent when what goes on now has been done. */
  #isFlushDue = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;
  readonly #waitingForSends: (() => void)[] = [];
  readonly #waitingForRoom: (() => void)[] = [];
  #drops = 0;

  private constructor(
    socket: Deno.DatagramConn,
    libc: Libc,
    descriptor: number,
    senders: SenderThreads | undefined,
  ) {
    super(socket);
    this.#senders = senders;
    this.#libc = libc;
    this.#descriptor = descriptor;
    this.#peers = new PeerTable({ isIpv6: this.isIpv6 });
    const { sockaddrLength } = this.#peers;
    this.#incoming = new ReceiveBatch(sockaddrLength);
    this.#outgoing = new SendBatch(sockaddrLength);
    this.receiveBuffer = raiseReceiveBuffer(libc, descriptor, RECEIVE_BUFFER);
  }

  /**
   * Opens a socket.
   *
   * @throws {Deno.errors.AddrInUse} when the port is taken
   * @throws {Deno.errors.AddrNotAvailable} when no interface has the address
   * @throws {Error} when the name is unknown, or when this Deno was started
   * without `--unstable-net`
   * @throws {BatchesError} when the system or its permissions allow no batches
   */
  static override async bind(
    options: BatchedOptions = {},
  ): Promise<BatchedTransport> {
    const { libc = openLibc() } = options;
    if (options.isShared === true) {
      throw new BatchesError(
        "which socket is meant is not known of a shared port",
      );
    }
    const socket = await openSocket(options);
    const descriptor = findDescriptor(libc, wordsOf(socket));
    if (descriptor !== undefined) {
      return new BatchedTransport(socket, libc, descriptor, options.senders);
    }
    socket.close();
    throw new BatchesError("the descriptor of the socket cannot be found");
  }

  /** Hands every datagram that arrives to `handler`, in order. */
  override async receive(handler: DatagramHandler): Promise<void> {
    const first = new Uint8Array(65_536);
    let errorsInARow = 0;
    let turnEndsAt = performance.now() + TURN_MS;
    while (!this.#isClosed) {
      let arrival: [Uint8Array, Deno.Addr];
      try {
        arrival = await this.socket.receive(first);
      } catch (cause) {
        if (this.#isClosed) return;
        this.counts.receiveErrors++;
        if (++errorsInARow < MAX_ERRORS_IN_A_ROW) continue;
        throw new Error(`Cannot receive at ${this.address.key}`, { cause });
      }
      if (this.#isClosed) return;
      errorsInARow = 0;
      const { hostname, port } = arrival[1] as Deno.NetAddr;
      this.counts.received++;
      this.#isFlushDue = true; // until the batch behind it has been handled
      handler(this.#peers.meet(peerOf(hostname, port)), arrival[0]);
      for (let isMore = true; isMore;) {
        isMore = this.#receiveBatch(handler, turnEndsAt);
        if (this.#isWaiting) await this.#room();
        if (performance.now() < turnEndsAt) continue;
        await new Promise((resolve) => setImmediate(resolve));
        turnEndsAt = performance.now() + TURN_MS;
      }
    }
  }

  /**
   * Handles what has come behind the first, and sends what follows from it: all of
   * a batch, or as much as there is time and room for, as each datagram may be for
   * a thousand subscribers.
   *
   * @param turnEndsAt when others are to have a turn
   * @returns whether there may be more
   */
  #receiveBatch(handler: DatagramHandler, turnEndsAt: number): boolean {
    if (this.#isClosed) return false;
    this.#isFlushDue = true;
    const incoming = this.#incoming;
    if (this.#handled >= this.#arrived && !this.#isWaiting) {
      this.#arrived = incoming.receive(this.#libc, this.#descriptor);
      this.#handled = 0;
    }
    while (this.#handled < this.#arrived) {
      if (this.#isWaiting || performance.now() >= turnEndsAt) break;
      const i = this.#handled++;
      this.counts.received++;
      const peer = this.#peers.find(incoming.words, incoming.nameAt(i));
      handler(peer, incoming.datagram(i));
      if (this.#isClosed) return false;
    }
    this.#flushSoon();
    return this.#handled < this.#arrived || this.#arrived === incoming.size;
  }

  /** Sends a datagram along with what else is sent in one go. */
  override send(peer: Peer, bytes: Uint8Array): void {
    if (this.#isClosed) return this.countRefused("EBADF");
    if (this.#behind.size > 0 || !this.#add(peer, bytes)) {
      this.#behind.push({ peer, bytes });
      this.#wait();
    }
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    queueMicrotask(this.#flushSoon);
  }

  readonly #flushSoon = (): void => {
    this.#isFlushDue = false;
    this.#flush();
  };

  /** Adds a datagram to the batch, which is sent first when it is full. */
  #add(peer: Peer, bytes: Uint8Array): boolean {
    if (this.#addToBatch(peer, bytes)) return true;
    this.#flush();
    return this.#addToBatch(peer, bytes);
  }

  #addToBatch(peer: Peer, bytes: Uint8Array): boolean {
    const at = this.#peers.slotOf(peer) * SOCKADDR_WORDS;
    const { words, generation } = this.#peers;
    const senders = this.#senders;
    if (senders !== undefined && this.#isToBeSpread(senders)) {
      // Owners are assigned anew, which has to wait until nothing is under way.
      if (generation !== this.#generation) return false;
      const owner = words[at + USER_WORD] ||
        this.#assignOwner(words, at, senders);
      if (owner > 1 && senders.accepts(owner - 2)) {
        return senders.write(owner - 2, words, at, bytes);
      }
    }
    return this.#outgoing.add(words, at, bytes);
  }

  /**
   * Whether senders are to have their share of what is sent now. They are once
   * there is much, and then until they have sent all: so no datagram overtakes
   * another to the same peer, whose sender is always the same.
   */
  #isToBeSpread(senders: SenderThreads): boolean {
    if (this.#isSpread) return true;
    if (this.#outgoing.size < senders.from || senders.size === 0) return false;
    if (!senders.isReady) {
      senders.begin(this.#descriptor, this.#peers.sockaddrLength);
      return false;
    }
    this.#sendBatch();
    this.#generation = this.#peers.generation;
    this.#isSpread = this.#outgoing.size === 0;
    return this.#isSpread;
  }

  #assignOwner(words: Int32Array, at: number, { size }: SenderThreads): number {
    const owner = this.#nextOwner + 1;
    this.#nextOwner = owner % (size + 1);
    return words[at + USER_WORD] = owner;
  }

  /** Sends what there is, or as much as there is room for. */
  #flush(): void {
    if (this.#isWaiting || this.#isClosed) return;
    do this.#sendBatch(); while (!this.#isWaiting && this.#refill());
    this.#senders?.publish();
    if (this.#isSpread && this.#senders!.pending === 0) this.#isSpread = false;
    if (this.#behind.size > 0) return this.#wait();
    if (!this.#isWaiting) this.#settle(this.#waitingForRoom);
    if (this.#waitingForSends.length === 0) return;
    if (this.unsent === 0) this.#settle(this.#waitingForSends);
    else this.#wait();
  }

  #settle(waiting: (() => void)[]): void {
    for (const resolve of waiting.splice(0)) resolve();
  }

  #sendBatch(): void {
    if (this.#isClosed) return;
    const hasRoom = this.#outgoing.sendAll(
      this.#libc,
      this.#descriptor,
      this.#tally,
    );
    if (!hasRoom) this.#wait();
  }

  /** Puts what found no room into the batch; tells whether any of it was. */
  #refill(): boolean {
    const behind = this.#behind;
    const before = behind.size;
    for (let next; (next = behind.first) !== undefined;) {
      if (!this.#addToBatch(next.peer, next.bytes)) break;
      behind.shift();
    }
    return behind.size < before;
  }

  /** Looks again later whether there is room. */
  #wait(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#timer = setTimeout(() => {
      this.#isWaiting = false;
      this.#flush();
    }, RETRY_MS);
  }

  /** Datagrams that have not left yet, those of threads included. */
  override get unsent(): number {
    return this.#outgoing.size + this.#behind.size +
      (this.#senders?.pending ?? 0);
  }

  /** Resolves when all that was sent so far has left. */
  override flush(): Promise<void> {
    this.#flush();
    if (this.unsent === 0 || this.#isClosed) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waitingForSends.push(resolve);
    this.#wait();
    return promise;
  }

  /** Resolves when there is room for what is behind. */
  async #room(): Promise<void> {
    if (!this.#isWaiting || this.#isClosed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waitingForRoom.push(resolve);
    await promise;
  }

  /** What was counted so far, of this thread and of those that send beside. */
  override stats(): TransportStats {
    return { ...super.stats(), senders: this.#senders?.stats() };
  }

  /** Datagrams that arrived and found no room, as the system counts them. */
  override overflowed(): Promise<number> {
    if (!this.#isClosed) this.#drops = dropsOf(this.#libc, this.#descriptor);
    return Promise.resolve(this.#drops);
  }

  /** Ends it at once; what threads still have they send. */
  override close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    super.close();
    this.#senders?.[Symbol.asyncDispose]();
    this.#settle(this.#waitingForRoom);
    this.#settle(this.#waitingForSends);
  }

  /** Lets what was sent leave, then closes. */
  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    await this.#senders?.[Symbol.asyncDispose]();
  }
}

/** The words of the `sockaddr` that a socket is bound to, without the scope. */
function wordsOf(socket: Deno.DatagramConn): Int32Array {
  const { hostname, port } = socket.addr as Deno.NetAddr;
  const isIpv6 = hostname.includes(":");
  const table = new PeerTable({ isIpv6, maxPeers: 1 });
  const at = table.slotOf(peerOf(hostname, port)) * SOCKADDR_WORDS;
  return table.words.subarray(at, at + (isIpv6 ? 6 : 2));
}
