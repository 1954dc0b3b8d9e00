/**
 * Web Workers that send: each takes datagrams out of a ring in shared memory
 * (`transport/shared_ring.ts`) and sends them by the broker's own socket, many in a
 * call. Which thread sends to which peer is decided in `transport/batched.ts`.
 *
 * The threads start when they are first needed, so that a broker that never has a
 * large fan-out has no threads. When a thread fails, another takes its place and goes
 * on with what is left in the ring. Nothing is sent twice: a datagram that may have
 * left already is not sent again, and the protocol repeats what matters.
 *
 * `base/worker.ts` says what a program in a bundle has to heed.
 *
 * @module
 */

import { SendBatch, type SendTally } from "./batches.ts";
import { type Libc, openLibc, waitForRoom } from "./libc.ts";
import {
  RING_COUNTERS,
  type RingCounter,
  SharedRingReader,
  SharedRingWriter,
} from "./shared_ring.ts";
import { messageOf } from "../base/errors.ts";
import { isWorker, serveWorker, WorkerClient } from "../base/worker.ts";
import type { SenderStats } from "./transport.ts";

/** What the worker is for, which is a part of its name. */
const ROLE = "sender";

/** Times that a sender may fail before it is done without. */
const MAX_FAILURES = 5;

/** Datagrams after which the threads are told of them, while more are written. */
const PUBLISH_EVERY = 128;

/**
 * Datagrams in one go from which on senders are of use, unless told otherwise: to
 * wake one takes as long as to send several.
 */
const SPREAD_FROM = 64;

/** How long a thread waits for room in the socket, in milliseconds. */
const ROOM_MS = 50;

/** What a worker needs to send. */
interface SenderTask {
  readonly memory: SharedArrayBuffer;
  /** The socket. */
  readonly descriptor: number;
  /** Octets of the socket's addresses. */
  readonly sockaddrLength: number;
}

/** What a worker is asked: to prepare itself, then to send until it is stopped. */
type SenderQuestion =
  | { readonly call: "prepare"; readonly task: SenderTask }
  | { readonly call: "send" };

/** Is told that a sender has failed, and whether another follows. */
export type FailureListener = (reason: string, isReplaced: boolean) => void;

/**
 * How many senders are of use.
 *
 * @param cores of the machine
 * @returns one for two cores, two for four and more: one thread of protocol keeps
 * no more than that busy
 */
export function usefulSenders(cores: number): number {
  return cores < 2 ? 0 : cores < 4 ? 1 : 2;
}

/**
 * Tells whether threads can begin without a question: the system of permissions
 * asks at a terminal whether their module may be read, in the middle of all else.
 */
export function canSendersBegin(): boolean {
  const { protocol, pathname } = new URL(import.meta.url);
  if (protocol !== "file:") return true;
  const path = Deno.build.os === "windows" ? pathname.slice(1) : pathname;
  const read = { name: "read", path: decodeURIComponent(path) } as const;
  return Deno.permissions.querySync(read).state === "granted";
}

/** What a pool can be given. */
export interface SenderThreadsOptions {
  /** Datagrams in one go from which on the threads are used. Default 64. */
  readonly from?: number;
  /** Is told when a thread fails. */
  readonly onFailure?: FailureListener;
}

/**
 * Threads that send by one socket.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { SenderThreads } from "./sender_threads.ts";
 *
 * await using senders = new SenderThreads(2);
 * assertEquals(senders.stats().senders, 0); // they begin when they are wanted
 * ```
 */
export class SenderThreads implements AsyncDisposable {
  /** Datagrams in one go from which on the threads are used. */
  readonly from: number;
  readonly #senders: readonly SenderThread[];
  readonly #onFailure: FailureListener;
  /** The pool's own descriptor of the socket, which others may close. */
  #descriptor: number | undefined;
  #closing: Promise<void> | undefined;
  #fullRings = 0;
  #unpublished = 0;

  /**
   * Makes a pool, whose threads begin when they are first wanted.
   *
   * @param size threads, 0 or more
   */
  constructor(size: number, options: SenderThreadsOptions = {}) {
    this.from = options.from ?? SPREAD_FROM;
    this.#onFailure = options.onFailure ?? (() => {});
    this.#senders = Array.from({ length: size }, () => new SenderThread());
  }

  /** The rings from which the threads take what they send. */
  get rings(): readonly SharedRingWriter[] {
    return this.#senders.map(({ ring }) => ring);
  }

  /** Resolves when the threads, which have begun, are at work. */
  async whenReady(): Promise<void> {
    await Promise.all(this.#senders.map(({ ready }) => ready.promise));
  }

  /** How many threads there are, at work or not. */
  get size(): number {
    return this.#senders.length;
  }

  /** Whether datagrams can be given to all of them. */
  get isReady(): boolean {
    return this.size > 0 &&
      this.#senders.every(({ isReady, isGone }) => isReady || isGone);
  }

  /** Whether a thread is given datagrams; one that has failed for good is not. */
  accepts(index: number): boolean {
    return !this.#senders[index]!.isGone;
  }

  /** Datagrams that were given to threads and have not left. */
  get pending(): number {
    let pending = 0;
    for (const sender of this.#senders) pending += sender.ring.pending;
    return pending;
  }

  /**
   * Has the threads begin; again does nothing.
   *
   * @param descriptor the socket
   * @param sockaddrLength octets of its addresses
   */
  begin(descriptor: number, sockaddrLength: number): void {
    if (this.#descriptor !== undefined) return;
    const own = openLibc().dup(descriptor);
    if (own < 0) return; // as too many are open: perhaps the next time
    this.#descriptor = own;
    const task = { descriptor: this.#descriptor, sockaddrLength };
    for (const sender of this.#senders) sender.begin(task, this.#onFailure);
  }

  /**
   * Gives a datagram to a thread.
   *
   * @param index which, 0 to `size` − 1
   * @param words where the receiver's `sockaddr` stands
   * @param at its first word there
   * @param bytes the datagram
   * @returns false when its ring is full
   */
  write(
    index: number,
    words: Int32Array,
    at: number,
    bytes: Uint8Array,
  ): boolean {
    if (!this.#senders[index]!.ring.write(words, at, bytes)) {
      this.#fullRings++;
      this.publish();
      return false;
    }
    if (++this.#unpublished >= PUBLISH_EVERY) this.publish();
    return true;
  }

  /** Lets the threads have what was written. */
  publish(): void {
    if (this.#unpublished === 0) return;
    this.#unpublished = 0;
    for (const { ring } of this.#senders) ring.publish();
  }

  /** What was counted so far. */
  stats(): SenderStats {
    const refused: Record<string, number> = {};
    for (const counter of RING_COUNTERS.slice(3)) {
      const count = this.#counted(counter);
      if (count > 0) refused[counter] = count;
    }
    return {
      senders: this.#senders.filter(({ isReady }) => isReady).length,
      sent: this.#counted("sent"),
      waiting: this.pending,
      fullRings: this.#fullRings,
      congested: this.#counted("congested"),
      refused,
      failed: this.#senders.reduce((sum, { failures }) => sum + failures, 0),
      lost: this.#counted("lost"),
    };
  }

  #counted(counter: RingCounter): number {
    let count = 0;
    for (const { ring } of this.#senders) count += ring.counted(counter);
    return count;
  }

  /** Lets the threads send what they have, and ends them. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    this.publish();
    await Promise.all(this.#senders.map((sender) => sender.end()));
    if (this.#descriptor !== undefined) openLibc().close(this.#descriptor);
    this.#descriptor = -1; // nothing begins any more
  }
}

/** What all threads of a pool are told. */
type Socket = Pick<SenderTask, "descriptor" | "sockaddrLength">;

/** A ring and the thread that empties it. */
class SenderThread {
  readonly ring: SharedRingWriter = new SharedRingWriter();
  failures = 0;
  isReady = false;
  /** Whether no thread empties the ring any more. */
  isGone = false;
  #worker: WorkerClient<SenderQuestion, void> | undefined;
  #isEnding = false;
  readonly ready = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();

  async begin(socket: Socket, onFailure: FailureListener): Promise<void> {
    const worker = new WorkerClient<SenderQuestion, void>(
      import.meta.url,
      ROLE,
    );
    this.#worker = worker;
    try {
      const task = { memory: this.ring.memory, ...socket };
      await worker.ask({ call: "prepare", task });
      this.isReady = true;
      this.ready.resolve();
      await worker.ask({ call: "send" });
      this.#ended.resolve();
    } catch (error) {
      this.#handleFailure(worker, messageOf(error), socket, onFailure);
    }
  }

  #handleFailure(
    worker: WorkerClient<SenderQuestion, void>,
    reason: string,
    socket: Socket,
    onFailure: FailureListener,
  ): void {
    worker.terminate();
    this.#worker = undefined;
    this.isReady = false;
    const isReplaced = ++this.failures <= MAX_FAILURES && !this.#isEnding;
    onFailure(reason, isReplaced);
    if (isReplaced) {
      this.begin(socket, onFailure);
      return;
    }
    this.isGone = true;
    this.ready.resolve();
    // It may have been its last word, and nobody is to wait for what is left.
    new SharedRingReader(this.ring.memory).abandon();
    this.#ended.resolve();
  }

  /** Lets the thread send what is in its ring, and ends it. */
  async end(): Promise<void> {
    this.#isEnding = true;
    if (this.#worker === undefined) return;
    this.ring.stop();
    await this.#ended.promise;
    this.#worker?.terminate();
  }
}

/** Sends what is in a ring, until it is empty. */
function empty(
  reader: SharedRingReader,
  libc: Libc,
  descriptor: number,
  batch: SendBatch,
  tally: SendTally,
): void {
  while (reader.take((words, at, bytes) => batch.add(words, at, bytes)) > 0) {
    reader.claim();
    while (!batch.sendAll(libc, descriptor, tally)) {
      waitForRoom(libc, descriptor, ROOM_MS);
    }
    reader.release();
  }
}

/** Counts in shared memory, where the broker's thread reads it. */
function tallyFor(reader: SharedRingReader): SendTally {
  return {
    sent: (datagrams) => reader.count("sent", datagrams),
    congested: () => reader.count("congested"),
    refused(code) {
      const known = RING_COUNTERS.find((counter) => counter === code);
      reader.count(known ?? "other");
    },
  };
}

/** The worker's side. */
function serve(): void {
  let send: (() => void) | undefined;
  serveWorker((question: SenderQuestion, end): void => {
    switch (question.call) {
      case "prepare":
        send = prepare(question.task);
        break;
      case "send":
        send!();
        end();
        break;
      default:
        question satisfies never;
    }
  });
}

/** Prepares to send; the function returned sends until the ring is stopped. */
function prepare(
  { memory, descriptor, sockaddrLength }: SenderTask,
): () => void {
  const libc = openLibc();
  const batch = new SendBatch(sockaddrLength);
  const reader = new SharedRingReader(memory);
  const tally = tallyFor(reader);
  return () => {
    for (let isLast = false; !isLast; reader.wait()) {
      // Read before the ring is emptied: what is published before the stop is sent.
      isLast = reader.isStopped;
      empty(reader, libc, descriptor, batch, tally);
    }
  };
}

if (isWorker(ROLE)) serve();
