/**
 * A router with a store, as a machine: what `broker.ts` does around a router, on a
 * virtual clock. It commits what the router tells to be kept, holds its promises
 * until then, crashes when it is told to, and comes back with what was committed.
 *
 * A crash takes all along that was not committed. Of a commit that is under way
 * nobody can say how it ends: it is lost or done, but always whole.
 *
 * @module
 */

import { earliest, type Millis } from "../../base/clock.ts";
import { Commits } from "../../store/commits.ts";
import type { RouterEvent } from "../../broker/events.ts";
import { type Effect, EffectQueue, type Machine } from "../../base/machine.ts";
import type { Peer } from "../../base/peer.ts";
import type { RouterOptions } from "../../broker/options.ts";
import type { StoreChange, StoreRecord } from "../../broker/records.ts";
import { Router } from "../../broker/router.ts";
import { MemoryStore } from "./memory_store.ts";

/** What a router with a store tells besides. */
export type DurableEvent =
  | RouterEvent
  /** All that it has told so far has been committed. */
  | { readonly type: "committed" }
  /** It is gone, and with it all that was not committed. */
  | { readonly type: "crashed" };

/** What a crash is like. */
export interface Crash {
  /** Until a router is there again, in milliseconds. */
  readonly downMs: Millis;
  /** For how long that one reads what was kept, in milliseconds. */
  readonly loadMs: Millis;
  /** Whether a commit that is under way is done, not lost. */
  readonly isDone: boolean;
}

/** How its store behaves. */
export interface DurableOptions {
  /** The router's. */
  readonly router?: RouterOptions;
  /** How long the next commit takes, in milliseconds. */
  readonly commitMs: () => Millis;
  /**
   * Is called at each step, numbered from 0: a moment at which a crash leaves
   * something else behind. Before each effect, before a commit begins and ends,
   * and after. The router may crash there. Default: nothing is done.
   */
  readonly onStep?: (step: number, now: Millis) => void;
}

/** Until a commit that failed is tried again, in milliseconds. */
const RETRY_MS = 1_000;

/** A router and its store. */
export class DurableRouter implements Machine<DurableEvent> {
  /** What is committed. */
  readonly store = new MemoryStore();
  /** Whether the store has no room: commits fail. */
  isFull = false;
  /** The steps so far; see {@linkcode DurableOptions.onStep}. */
  steps = 0;
  readonly #options: DurableOptions;
  readonly #effects = new EffectQueue<DurableEvent>();
  #router: Router | undefined;
  /** What the router has sent to each peer, in order, and has not left yet. */
  readonly #order = new Map<string, Uint8Array[]>();
  #commits = new Commits();
  /** What is being committed, and when that is done. */
  #underWay: readonly StoreChange[] = [];
  #commitAt: Millis | undefined;
  /** What the router told and is not committed, as it told it. */
  #told: StoreChange[] = [];
  /** How much of that is being committed. */
  #toldUnderWay = 0;
  #retryAt: Millis | undefined;
  /** When there will be a router again. */
  #upAt: Millis | undefined;
  #loadMs: Millis = 0;
  /** What has still to be restored, and when that is done. */
  #records: readonly StoreRecord[] = [];
  #loadedAt: Millis | undefined;

  /**
   * Starts with an empty store, at moment 0.
   *
   * @param options how the store behaves
   */
  constructor(options: DurableOptions) {
    this.#options = options;
    this.store.starts = 0;
    this.#start(0);
  }

  /** Whether a router is there that has read what was kept. */
  get isUp(): boolean {
    return this.#router !== undefined && this.#loadedAt === undefined;
  }

  /** Whether nothing waits for the store. */
  get isIdle(): boolean {
    return this.isUp && this.#commits.uncommitted === 0 &&
      this.#commits.held === 0;
  }

  /** What the router counted; only while there is one. */
  stats(): ReturnType<Router["stats"]> {
    return this.#router!.stats();
  }

  /** Ends the router without a word. */
  crash(now: Millis, { downMs, loadMs, isDone }: Crash): void {
    if (this.#commitAt !== undefined && isDone && !this.isFull) {
      this.#commit();
    }
    this.#told.length = 0;
    this.#router = undefined;
    this.#order.clear();
    this.#commits = new Commits();
    this.#commitAt = undefined;
    this.#retryAt = undefined;
    this.#loadedAt = undefined;
    this.#upAt = now + downMs;
    this.#loadMs = loadMs;
    this.#effects.trace({ type: "crashed" });
  }

  /** A router that was made of what is committed, to compare it with this one. */
  revive(now: Millis): Router {
    const router = new Router({ ...this.#options.router, isDurable: true });
    for (const record of this.store.load()) restore(router, now, record);
    router.handleRestored(now, this.store.starts);
    return router;
  }

  /** Hands the router a datagram; while there is none nobody takes it. */
  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    this.#router?.handleDatagram(now, peer, bytes);
    this.#settle(now);
  }

  /** Does what is due: to start, to read, to commit, and what the router has. */
  handleTimeout(now: Millis): void {
    if (isDue(this.#upAt, now)) this.#start(now);
    if (isDue(this.#loadedAt, now)) this.#endLoading(now);
    if (isDue(this.#commitAt, now)) this.#endCommit(now);
    if (isDue(this.#retryAt, now)) {
      this.#retryAt = undefined;
      this.#beginCommit(now);
    }
    this.#router?.handleTimeout(now);
    this.#settle(now);
  }

  /** When something is due. */
  nextTimeout(): Millis | undefined {
    if (this.#router === undefined) return this.#upAt;
    let at = earliest(this.#loadedAt, this.#commitAt);
    at = earliest(at, this.#retryAt);
    return earliest(at, this.#router.nextTimeout());
  }

  /** What leaves, and what is told. */
  pollEffect(): Effect<DurableEvent> | undefined {
    return this.#effects.poll();
  }

  #start(now: Millis): void {
    this.#upAt = undefined;
    this.store.starts++;
    this.#router = new Router({ ...this.#options.router, isDurable: true });
    const records = this.store.load();
    // It answers meanwhile, and that must not depend on how far it is.
    const half = Math.ceil(records.length / 2);
    for (const record of records.slice(0, half)) {
      restore(this.#router, now, record);
    }
    this.#records = records.slice(half);
    this.#loadedAt = now + this.#loadMs;
    if (this.#loadMs === 0) this.#endLoading(now);
    this.#settle(now);
  }

  #endLoading(now: Millis): void {
    this.#loadedAt = undefined;
    for (const record of this.#records) restore(this.#router!, now, record);
    this.#records = [];
    this.#router!.handleRestored(now, this.store.starts);
  }

  /** Carries out what the router asks for, and has it committed. */
  #settle(now: Millis): void {
    if (this.#drain(now)) this.#beginCommit(now);
  }

  /**
   * Carries out what the router asks for.
   *
   * @param isInPlace whether it takes the place of what was to leave first
   * @returns false when it crashed on the way
   */
  #drain(now: Millis, isInPlace = false): boolean {
    while (true) {
      const effect = this.#router?.pollEffect();
      if (effect === undefined) return this.#router !== undefined;
      if (effect.type === "trace") {
        this.#effects.trace(effect.event);
        continue;
      }
      if (this.#isOver(now)) return false;
      if (effect.type === "persist") {
        this.#commits.persist(effect.change);
        this.#told.push(structuredClone(effect.change));
      } else if (effect.type === "broadcast") {
        this.#effects.broadcast(effect.bytes, effect.radius);
      } else {
        const { peer, bytes, isPromise } = effect;
        this.#noteOrder(peer, bytes, isInPlace);
        if (this.#commits.hold(peer, bytes, isPromise)) continue;
        this.#send(peer, bytes);
      }
    }
  }

  #beginCommit(now: Millis): void {
    if (this.#commitAt !== undefined || this.#retryAt !== undefined) return;
    const batch = this.#commits.take();
    if (batch === undefined || this.#isOver(now)) return;
    this.#underWay = batch;
    this.#toldUnderWay = this.#told.length;
    this.#commitAt = now + this.#options.commitMs();
  }

  #endCommit(now: Millis): void {
    // Here it is under way still, and may be found done.
    if (this.#isOver(now)) return;
    this.#commitAt = undefined;
    const router = this.#router!;
    if (this.isFull) {
      this.#retryAt = now + RETRY_MS;
      router.handleStore("refusing");
      for (const { peer, bytes, isPromise } of this.#commits.handleFailed()) {
        if (isPromise) {
          this.#order.get(peer.key)!.shift();
          router.handleUncommitted(now, peer, bytes);
        } else this.#send(peer, bytes);
        if (!this.#drain(now, true)) return;
      }
      return;
    }
    this.#commit();
    if (this.#isOver(now)) return;
    const released = this.#commits.handleCommitted();
    router.handleStore("ready");
    for (const { peer, bytes } of released) {
      if (this.#isOver(now)) return;
      this.#send(peer, bytes);
    }
    if (this.#commits.uncommitted === 0) {
      this.#effects.trace({ type: "committed" });
    }
  }

  /** Commits what is under way: all that was told by then, or what comes to it. */
  #commit(): void {
    const told = this.#told.splice(0, this.#toldUnderWay);
    const isMerged = told.length !== this.#underWay.length;
    const plain = new MemoryStore();
    if (isMerged) plain.commit([...this.store.load(), ...told]);
    this.store.commit(this.#underWay);
    if (!isMerged || isSame(plain.load(), this.store.load())) return;
    throw new Error("What was merged for the store comes to something else");
  }

  /** One step further; true when it crashes here. */
  #isOver(now: Millis): boolean {
    this.#options.onStep?.(this.steps++, now);
    return this.#router === undefined;
  }

  /** Sends what the router has sent, as no peer is to be sent things out of order. */
  #send(peer: Peer, bytes: Uint8Array): void {
    const order = this.#order.get(peer.key) ?? [];
    const next = order.shift(); // the same octets, not the same array
    if (next?.toHex() !== bytes.toHex()) {
      throw new Error(`What was sent to "${peer.key}" leaves in another order`);
    }
    this.#effects.send(peer, bytes);
  }

  #noteOrder(peer: Peer, bytes: Uint8Array, isInPlace: boolean): void {
    const order = this.#order.get(peer.key);
    if (order === undefined) this.#order.set(peer.key, [bytes]);
    else if (isInPlace) order.unshift(bytes);
    else order.push(bytes);
  }
}

function isSame(some: StoreRecord[], others: StoreRecord[]): boolean {
  const [one, other] = [some, others].map((records) =>
    records.map((record) => JSON.stringify(Object.entries(record).sort()))
      .sort().join()
  );
  return one === other;
}

function isDue(at: Millis | undefined, now: Millis): boolean {
  return at !== undefined && at <= now;
}

function restore(router: Router, now: Millis, record: StoreRecord): void {
  if (router.restore(now, record)) return;
  throw new Error(`Cannot restore a record of type "${record.type}"`);
}
