/**
 * Commits what the broker's core persists, and holds back what may not be sent before
 * it is committed. It joins the queue of what waits (`store/commits.ts`), the file
 * (`store/worker.ts`) and the timers.
 *
 * What comes together is committed together. After a commit that failed nothing is
 * promised, and another is tried each second until one succeeds.
 *
 * @module
 */

import type { Router } from "../broker/router.ts";
import type { StoreChange } from "../broker/records.ts";
import type { Millis } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Peer } from "../base/peer.ts";
import { Commits } from "./commits.ts";
import type { Durability } from "./file.ts";
import { type AsyncStore, openStore } from "./worker.ts";

/** How a store is opened. */
export interface CommitterOptions {
  /** The file. */
  readonly db: string;
  /** What a commit survives. */
  readonly durability: Durability;
  /** 1 for a worker that writes, 0 for this thread. */
  readonly workers: 0 | 1;
  /** Is told how much of the file has been loaded, in records. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** What a committer asks of the program whose store it is. */
export interface CommitterHost {
  /** Whether the program closes, or has closed. */
  readonly isClosed: boolean;
  /** Where the store's health is told. */
  readonly log: Log;
  /** The present moment, by the program's clock. */
  now(): Millis;
  /** Gives the core a command, and carries out what follows; not while it closes. */
  perform(command: (now: Millis) => void): void;
  /** Sends a datagram. */
  send(peer: Peer, bytes: Uint8Array, at: Millis): void;
}

/** The broker's core, as far as it has to do with a store. */
export type StoredCore = Pick<
  Router,
  "restore" | "handleRestored" | "handleStore" | "handleUncommitted"
>;

/**
 * What a broker counted of its store.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * const directory = await Deno.makeTempDir();
 * const db = `${directory}/broker.db`;
 * {
 *   await using broker = await Broker.listen({ port: 0, db, workers: 0 });
 *   await using client = await Client.connect({ port: broker.port });
 *   await client.publish("lamp", "on", { qos: 1, retain: true });
 *   assert(broker.stats().commits!.commits > 0);
 * }
 * await Deno.remove(directory, { recursive: true });
 * ```
 */
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
  /** Datagrams that were left out, as too many waited for a commit. */
  readonly leftOut: number;
  /** Promises that were taken back as a commit failed. */
  readonly takenBack: number;
  /** Records that made no sense as they were loaded. */
  readonly unreadable: number;
}

/** Between two attempts at a commit that fails, in milliseconds. */
const RETRY_COMMIT_MS = 1_000;

/** The store of one broker, at work. */
export class Committer {
  readonly #core: StoredCore;
  readonly #host: CommitterHost;
  readonly #commits = new Commits();
  #store: AsyncStore | undefined;
  /** The commit that is under way, or was last. */
  #committing: Promise<void> | undefined;
  #soon: ReturnType<typeof setImmediate> | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  /** What the log says of the store now; `undefined` while it is well. */
  #fault: string | undefined;
  readonly #counts = {
    commits: 0,
    changes: 0,
    failedCommits: 0,
    takenBack: 0,
    unreadable: 0,
  };

  /**
   * Makes one that has no file yet: what is persisted waits.
   *
   * @param core the broker's core
   * @param host the program
   */
  constructor(core: StoredCore, host: CommitterHost) {
    this.#core = core;
    this.#host = host;
  }

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): CommitStats {
    const { uncommitted, held, leftOut } = this.#commits;
    return { ...this.#counts, uncommitted, held, leftOut };
  }

  /**
   * Opens the file, and restores the core from it.
   *
   * @throws {StoreError} when the file cannot be used
   */
  async load(options: CommitterOptions): Promise<void> {
    const { db, durability, workers, onProgress } = options;
    const { log } = this.#host;
    const store = await openStore(db, {
      durability,
      workers,
      // Whole moments take less memory than others.
      offsetMs: Math.round(Date.now() - this.#host.now()),
    });
    // Its transport may have broken meanwhile: then nobody else closes the file.
    if (this.#host.isClosed) {
      await store.close();
      throw new Error(`Cannot load "${db}": the broker has closed`);
    }
    this.#store = store;
    if (store.setAside !== undefined) {
      const { path, reason, isCopy } = store.setAside;
      log.error(
        isCopy
          ? `"${db}" is damaged (${reason}): copied as "${path}", and gone on with without them`
          : `"${db}" is damaged (${reason}): set aside as "${path}", and begun anew`,
      );
    }
    await store.load((records, done, total) => {
      for (const record of records) {
        if (this.#core.restore(this.#host.now(), record)) continue;
        this.#counts.unreadable++;
      }
      onProgress?.(done, total);
    });
    const { unreadable } = this.#counts;
    if (unreadable > 0) {
      log.error(`"${db}" holds ${unreadable} records that make no sense`);
    }
    this.#host.perform((now) => {
      this.#core.handleRestored(now, store.starts);
      // A commit may have failed by then: nothing is to be promised.
      this.#core.handleStore(this.#commits.state);
    });
  }

  /** Takes a change for the next commit. */
  persist(change: StoreChange): void {
    this.#commits.persist(change);
  }

  /**
   * Takes a datagram that has to wait for a commit.
   *
   * @returns whether it has to; if not, it is to be sent now
   */
  hold(peer: Peer, bytes: Uint8Array, isPromise: boolean): boolean {
    return this.#commits.hold(peer, bytes, isPromise);
  }

  /**
   * Begins a commit when all that has arrived has been taken, or when the transport
   * lets others have a turn.
   */
  commitSoon(): void {
    if (this.#commits.uncommitted > 0) this.#commitNext();
  }

  /** Commits what is left, and closes the file. */
  async close(): Promise<void> {
    const commits = this.#commits;
    this.#callOff();
    await this.#committing;
    // What failed before may succeed now; what fails now is not tried again.
    while (commits.uncommitted > 0 && this.#store !== undefined) {
      this.#commit();
      await this.#committing;
      if (commits.isFailing) break;
    }
    const store = this.#store;
    this.#store = undefined;
    this.#callOff();
    if (commits.uncommitted > 0) {
      this.#host.log.error(
        `Changes that are not kept: ${commits.uncommitted}; what was acknowledged is`,
      );
    }
    await store?.close();
  }

  #commitNext(): void {
    this.#soon ??= setImmediate(() => {
      this.#soon = undefined;
      this.#commit();
    });
  }

  /** Begins a commit, if one can be, and tells the core how the store is. */
  #commit(): void {
    // A commit that has failed is tried again when its time has come.
    if (this.#store === undefined || this.#retryTimer !== undefined) return;
    const commits = this.#commits;
    const changes = commits.take();
    this.#core.handleStore(this.#host.isClosed ? "refusing" : commits.state);
    if (commits.state === "refusing" && this.#fault === undefined) {
      this.#fault = "The store does not keep up";
      this.#host.log.error(
        `${this.#fault}; until it does, requests that have to be stored are refused`,
      );
    }
    if (changes === undefined) return;
    this.#committing = this.#store.commit(changes).then(
      () => this.#handleCommitted(changes.length),
      (error) => this.#handleFailed(messageOf(error)),
    );
  }

  #handleCommitted(changes: number): void {
    this.#counts.commits++;
    this.#counts.changes += changes;
    const released = this.#commits.handleCommitted();
    if (this.#fault !== undefined && this.#commits.state !== "refusing") {
      this.#host.log.info("The store can be written again");
      this.#fault = undefined;
    }
    const now = this.#host.now();
    for (const { peer, bytes } of released) this.#host.send(peer, bytes, now);
    this.#commitNext();
  }

  /** Takes back the promises that cannot be held, and goes on without any. */
  #handleFailed(fault: string): void {
    this.#counts.failedCommits++;
    if (this.#fault !== fault) {
      this.#host.log.error(
        `${fault}; until it can be written, which is tried each second, requests that have to be stored are refused`,
      );
      this.#fault = fault;
    }
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      this.#commit();
    }, RETRY_COMMIT_MS);
    const held = this.#commits.handleFailed();
    // Also while it closes, when what was held is not even refused any more.
    this.#core.handleStore("refusing");
    if (this.#host.isClosed) return;
    for (const { peer, bytes, isPromise } of held) {
      if (!isPromise) this.#host.send(peer, bytes, this.#host.now());
      else {
        // One by one: what follows a refusal to the same peer leaves behind it.
        this.#counts.takenBack++;
        this.#host.perform((now) =>
          this.#core.handleUncommitted(now, peer, bytes)
        );
      }
    }
  }

  /** Begins no commit any more by itself. */
  #callOff(): void {
    clearImmediate(this.#soon);
    this.#soon = undefined;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
  }
}
