/**
 * What waits for the store: changes for the next commit, and datagrams that may not
 * leave before one.
 *
 * One commit is under way at a time, and what comes meanwhile is the next. So a
 * change waits for two commits at most, and the more there is to do, the more is
 * done in one. A promise waits for all changes that were told before it; whatever
 * follows it to the same peer waits behind it, so that each peer is sent all in
 * order. All else leaves at once.
 *
 * When a commit fails its changes are kept for the next, which takes its time to
 * come. What waits then is given back, for its promises to be refused, and from
 * there on nothing waits: the core promises nothing until a commit has succeeded.
 *
 * @module
 */

import type { Peer } from "../base/peer.ts";
import { copyOf } from "../base/slab.ts";
import type { StoreChange } from "../broker/records.ts";

/** A datagram that waited for a commit. */
export interface Held {
  /** Where to. */
  readonly peer: Peer;
  /** The whole datagram. */
  readonly bytes: Uint8Array;
  /** Whether its peer relies on what was persisted before it. */
  readonly isPromise: boolean;
  /** How many changes have to be committed first. */
  readonly after: number;
}

/** Octets of changes that wait, estimated, at which nothing more is promised. */
const MAX_WAITING = 64 * 1024 * 1024;

/**
 * Octets of datagrams that are held, estimated, at which no more are: the store
 * has not answered for long. What is left out then is as good as lost on its way.
 */
const MAX_HELD = 64 * 1024 * 1024;

/** Changes that wait, at which only what is promised is kept: some 10 ms of work. */
const BUSY_FROM = 2_000;

/** Changes that wait while commits fail, until the first look at which to merge. */
const COMPACT_FROM = 10_000;

/** What a change, or a datagram, takes besides its octets, roughly. */
const OVERHEAD = 200;

/**
 * What waits for one store.
 *
 * @example
 * ```ts
 * import { assert, assertEquals, assertFalse } from "@std/assert";
 * import { Commits } from "./commits.ts";
 * import { peerOf } from "../base/peer.ts";
 *
 * const commits = new Commits();
 * const ann = peerOf("127.0.0.1", 1001);
 * commits.persist({ type: "retainedEnd", topicName: "lamp" });
 * assert(commits.hold(ann, Uint8Array.of(1), true));
 * assertFalse(commits.hold(peerOf("127.0.0.1", 2), Uint8Array.of(2), false));
 * assertEquals(commits.take()?.length, 1);
 * const released = commits.handleCommitted();
 * assertEquals(released.map(({ bytes }) => bytes), [Uint8Array.of(1)]);
 * ```
 */
export class Commits {
  #waiting: StoreChange[] = [];
  #waitingOctets = 0;
  /** What is being committed, `undefined` while nothing is. */
  #underWay: readonly StoreChange[] | undefined;
  /** How many changes were told, and how many of those are committed. */
  #told = 0;
  #committed = 0;
  #held: Held[] = [];
  #heldOctets = 0;
  #leftOut = 0;
  /** How many datagrams to each peer are held. */
  readonly #peers = new Map<string, number>();
  #isFailing = false;
  #compactAt = COMPACT_FROM;

  /** Changes that are told and not committed. */
  get uncommitted(): number {
    return this.#told - this.#committed;
  }

  /** Datagrams that are held. */
  get held(): number {
    return this.#held.length;
  }

  /** Datagrams that were neither held nor to be sent, as too many were held. */
  get leftOut(): number {
    return this.#leftOut;
  }

  /** Whether the last commit failed. */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  /** What the core may expect of the store. */
  get state(): "ready" | "busy" | "refusing" {
    const isFull = this.#waitingOctets > MAX_WAITING ||
      this.#heldOctets > MAX_HELD;
    if (this.#isFailing || isFull) return "refusing";
    return this.#waiting.length >= BUSY_FROM ? "busy" : "ready";
  }

  /** Takes a change for the next commit. */
  persist(change: StoreChange): void {
    this.#told++;
    this.#waiting.push(change);
    this.#waitingOctets += octetsOf(change);
    if (this.#isFailing && this.#waiting.length >= this.#compactAt) {
      this.#compact();
    }
  }

  /**
   * Holds a datagram that may not leave yet, or leaves it out when too much is
   * held.
   *
   * @returns whether it does; if not, it is to be sent now
   */
  hold(peer: Peer, bytes: Uint8Array, isPromise: boolean): boolean {
    if (this.#isFailing) return false;
    const count = this.#peers.get(peer.key) ?? 0;
    const isFree = !isPromise || this.#told === this.#committed;
    if (count === 0 && isFree) return false;
    if (this.#heldOctets > MAX_HELD) {
      this.#leftOut++;
      return true;
    }
    this.#heldOctets += OVERHEAD + bytes.length;
    this.#peers.set(peer.key, count + 1);
    // It may have to wait for long, and is a part of more.
    const held = { peer, bytes: copyOf(bytes), isPromise, after: this.#told };
    this.#held.push(held);
    return true;
  }

  /** Takes what is to be committed now, `undefined` for nothing. */
  take(): readonly StoreChange[] | undefined {
    if (this.#underWay !== undefined || this.#waiting.length === 0) {
      return undefined;
    }
    const batch = this.#waiting;
    this.#underWay = batch;
    this.#waiting = [];
    this.#waitingOctets = 0;
    return batch;
  }

  /**
   * Notes that what was taken is committed.
   *
   * @returns what may leave now, in order
   */
  handleCommitted(): readonly Held[] {
    this.#committed = this.#told - this.#waiting.length;
    this.#underWay = undefined;
    this.#isFailing = false;
    this.#compactAt = COMPACT_FROM;
    const index = this.#held.findIndex(({ after }) => after > this.#committed);
    const count = index < 0 ? this.#held.length : index;
    return this.#release(count);
  }

  /**
   * Notes that what was taken is not committed: it is to be tried again.
   *
   * @returns all that was held, in order
   */
  handleFailed(): readonly Held[] {
    this.#waiting = [...this.#underWay ?? [], ...this.#waiting];
    this.#underWay = undefined;
    this.#isFailing = true;
    this.#compact();
    return this.#release(this.#held.length);
  }

  #release(count: number): readonly Held[] {
    if (count === 0) return [];
    const released = this.#held.splice(0, count);
    for (const { peer: { key }, bytes } of released) {
      this.#heldOctets -= OVERHEAD + bytes.length;
      const left = this.#peers.get(key)! - 1;
      if (left === 0) this.#peers.delete(key);
      else this.#peers.set(key, left);
    }
    return released;
  }

  /** Merges what waits, as it may have to wait for long. */
  #compact(): void {
    this.#waiting = compact(this.#waiting);
    const underWay = this.#underWay?.length ?? 0;
    this.#told = this.#committed + underWay + this.#waiting.length;
    this.#waitingOctets = 0;
    for (const change of this.#waiting) {
      this.#waitingOctets += octetsOf(change);
    }
    this.#compactAt = Math.max(COMPACT_FROM, 2 * this.#waiting.length);
  }
}

/**
 * Fewer changes that come to the same: of all that concern one row the last.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { compact } from "./commits.ts";
 *
 * const end = { type: "retainedEnd", topicName: "lamp" } as const;
 * assertEquals(compact([end, end]), [end]);
 * ```
 */
export function compact(changes: readonly StoreChange[]): StoreChange[] {
  /** By the session that they belong to, 0 for none, and by their row. */
  const sessions = new Map<number, Map<string, StoreChange>>();
  for (const change of changes) {
    const session = "session" in change ? change.session : 0;
    let rows = sessions.get(session);
    if (rows === undefined) sessions.set(session, rows = new Map());
    if (change.type === "sessionEnd") rows.clear();
    const key = keyOf(change);
    const last = rows.get(key);
    // What has gone cannot be under way.
    if (change.type === "inFlight" && last?.type === "queuedEnd") continue;
    rows.delete(key); // to the end of the order
    const isMerged = change.type === "inFlight" && last?.type === "queued";
    const { type: _, ...step } = change;
    rows.set(key, isMerged ? { ...last, ...step } : change);
  }
  return [...sessions.values()].flatMap((rows) => [...rows.values()]);
}

/** Which row of its session a change concerns. */
function keyOf(change: StoreChange): string {
  switch (change.type) {
    case "session":
    case "sessionEnd":
      return "session";
    case "subscription":
    case "subscriptionEnd":
      return `subscription ${change.topicFilter}`;
    case "begun": // no topic has U+0000 in it; its end stays behind it
      return `begun ${change.topicFilter}\0${change.topicName}`;
    case "begunEnd":
      return `begunEnd ${change.topicFilter}`;
    case "topicId":
    case "topicIdEnd":
      return `topicId ${change.topicName}`;
    case "queued":
    case "inFlight":
    case "queuedEnd":
      return `queued ${change.seq}`;
    case "received":
    case "receivedEnd":
      return `received ${change.msgId}`;
    case "retained":
    case "retainedEnd":
      return `retained ${change.topicName}`;
    case "datum":
    case "datumEnd":
      return `datum ${change.seq}`;
    default:
      return change satisfies never;
  }
}

function octetsOf(change: StoreChange): number {
  switch (change.type) {
    case "queued":
    case "retained":
      return OVERHEAD + change.payload.length;
    case "datum":
      return OVERHEAD + change.text.length * 2;
    case "session":
      return OVERHEAD + (change.will?.payload.length ?? 0);
    default:
      return OVERHEAD;
  }
}
