/**
 * The QoS 2 messages that have come from one sender, so that each is taken once
 * (MQTT-SN 1.2 §6.6). The broker has one filter for each client, and a client has
 * one for its gateway. It holds msgIds and digests, and no messages.
 *
 * From PUBLISH to PUBREL the msgId alone says that a message has come before,
 * whatever its DUP flag. After that the msgId is free again; but the network may
 * still deliver a copy of the old PUBLISH. So for a while what comes under a
 * released msgId is taken for a copy if it is the same message for the same topic.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import { digest, FNV_START, mix } from "../base/digest.ts";
import type { Publish } from "./packets.ts";

/** What is known of a message that has come. */
export interface ReceivedMsgId {
  /** The PUBLISH's. */
  readonly msgId: number;
  /** Of all else that it says, by {@linkcode digestOf}. */
  readonly digest: number;
  /** Until when a copy may come; `undefined` before PUBREL. */
  readonly until: Millis | undefined;
}

/** A change of what is known of them. */
export type ReceivedChange =
  | { readonly type: "received" } & ReceivedMsgId
  | { readonly type: "receivedEnd"; readonly msgId: number };

/** Persists what has come, so that it outlives the process. */
export interface ReceivedSink {
  /** Persists a change. */
  persist(change: ReceivedChange): void;
}

/** Whose messages they are. */
export interface ReceivedOwner {
  /** Where they are persisted; `undefined` while they are not. */
  readonly persistence: ReceivedSink | undefined;
}

/** A message that has come. */
interface ReceivedEntry {
  /** The digest of the message's octets. */
  readonly digest: number;
  /** Until when a copy may come; `Infinity` before PUBREL. */
  until: Millis;
  /** Whether its sender may have forgotten it before PUBREL. */
  isDoubted: boolean;
}

/**
 * How late the network may deliver a copy of a datagram, in milliseconds, unless
 * told otherwise.
 */
export const LATE_MS = 2_000;

/** Released msgIds that are remembered, at most. */
const MAX_RELEASED = 256;

/**
 * Knows again what one sender has sent.
 *
 * @example
 * ```ts
 * import { assert, assertFalse } from "@std/assert";
 * import { DuplicateFilter } from "./duplicates.ts";
 *
 * const received = new DuplicateFilter();
 * const digest = 1;
 * assertFalse(received.has(0, 7, digest));
 * received.add(7, digest);
 * assert(received.has(0, 7, digest));
 * received.release(100, 7, 1_000);
 * assert(received.has(200, 7, digest)); // a late copy
 * assertFalse(received.has(200, 7, 2)); // another message
 * assertFalse(received.has(2_000, 7, digest));
 * ```
 */
export class DuplicateFilter {
  readonly #entries = new Map<number, ReceivedEntry>();
  readonly #owner: ReceivedOwner;
  /** How many of them are released, and are there for late copies alone. */
  #released = 0;

  /**
   * Starts with nothing.
   *
   * @param owner whose messages they are
   */
  constructor(owner: ReceivedOwner = { persistence: undefined }) {
    this.#owner = owner;
  }

  /** Messages that wait for their PUBREL. */
  get unreleased(): number {
    return this.#entries.size - this.#released;
  }

  /** Whether nothing is known, not even of what was released. */
  get isEmpty(): boolean {
    return this.#entries.size === 0;
  }

  /**
   * Whether a message came before.
   *
   * @param msgId the PUBLISH's
   * @param digest of all else that it says, by {@linkcode digestOf}
   * @param dup its DUP flag
   */
  has(now: Millis, msgId: number, digest: number, dup = false): boolean {
    const entry = this.#entries.get(msgId);
    if (entry === undefined) return false;
    if (entry.until === Infinity) return true;
    const isSame = entry.digest === digest;
    if (entry.isDoubted && dup && isSame) {
      this.add(msgId, digest); // its sender has not forgotten it after all
      return true;
    }
    return now < entry.until && isSame;
  }

  /** Notes a message that has come. */
  add(msgId: number, digest: number): void {
    const last = this.#entries.get(msgId);
    if (last !== undefined && isReleased(last)) this.#released--;
    this.#entries.delete(msgId);
    this.#entries.set(msgId, { digest, until: Infinity, isDoubted: false });
    this.#persist({ type: "received", msgId, digest, until: undefined });
  }

  /**
   * Restores what was persisted of a message.
   *
   * @param latest until when a copy may come at most: the clock that the message was
   * persisted by may have been ahead
   */
  restore({ msgId, digest, until }: ReceivedMsgId, latest: Millis): void {
    if (until !== undefined) this.#released++;
    this.#entries.set(msgId, {
      digest,
      until: until === undefined ? Infinity : Math.min(until, latest),
      isDoubted: false,
    });
  }

  /** Persists all of it. */
  persistAll(sink: ReceivedSink): void {
    for (const [msgId, { digest, until }] of this.#entries) {
      sink.persist({ type: "received", msgId, digest, until: finite(until) });
    }
  }

  /**
   * Notes that the sender has released a msgId. A PUBREL that comes again after the
   * time for copies shows that there are copies about after all, as in the socket of
   * a process that was stopped: more may come.
   *
   * @param lateMs how late a copy may come, in milliseconds
   */
  release(now: Millis, msgId: number, lateMs: Millis): void {
    const entry = this.#entries.get(msgId);
    if (entry === undefined) return;
    if (isReleased(entry)) {
      if (now < entry.until) return;
    } else this.#released++;
    // Away and back: to the end of the order in which they are forgotten.
    this.#entries.delete(msgId);
    entry.until = now + lateMs;
    entry.isDoubted = false;
    this.#entries.set(msgId, entry);
    const { digest, until } = entry;
    this.#persist({ type: "received", msgId, digest, until });
    this.#forget(now);
  }

  /**
   * Notes that the sender may have forgotten its messages, as a gateway that was
   * started anew: it counts msgIds from the beginning then. What comes under a msgId
   * that waits for PUBREL is now another message, unless it is the same in all else,
   * and has DUP set or comes soon.
   *
   * @param lateMs how late a copy may come, in milliseconds
   */
  doubt(now: Millis, lateMs: Millis): void {
    for (const entry of this.#entries.values()) {
      if (entry.until !== Infinity) continue;
      entry.isDoubted = true;
      entry.until = now + lateMs;
    }
  }

  /** Forgets everything: a new session knows nothing of the last one's exchanges. */
  clear(): void {
    this.#entries.clear();
    this.#released = 0;
  }

  /** Forgets the released ones that no copy can come of any more. */
  #forget(now: Millis): void {
    for (const [msgId, entry] of this.#entries) {
      if (!isReleased(entry)) continue;
      if (entry.until > now && this.#released <= MAX_RELEASED) return;
      this.#entries.delete(msgId);
      this.#released--;
      this.#persist({ type: "receivedEnd", msgId });
    }
  }

  #persist(change: ReceivedChange): void {
    this.#owner.persistence?.persist(change);
  }
}

function isReleased({ until, isDoubted }: ReceivedEntry): boolean {
  return until !== Infinity && !isDoubted;
}

function finite(until: Millis): Millis | undefined {
  return until === Infinity ? undefined : until;
}

/**
 * A number that differs, as a rule, when two messages do: FNV-1a over the topic
 * and the payload. Among the messages of one client no more is needed.
 */
export function digestOf(
  { topicIdType, topicId, retain, data }: Publish,
): number {
  const fields = [topicId, topicIdType.length, retain ? 1 : 0];
  return digest(data, fields.reduce(mix, FNV_START ^ data.length));
}
