/**
 * The QoS 2 messages that one client has sent: which have come already, so that
 * each is published once (MQTT-SN 1.2 §6.6). Knows msgIds and a digest of what
 * came under them; nothing of topics, and keeps no message.
 *
 * From PUBLISH to PUBREL the msgId alone says that a message has come before,
 * whatever its DUP flag. After that the msgId is free again; but the network may
 * still deliver a copy of the old PUBLISH. So for a while what comes under a
 * released msgId is taken for a copy if it is the same message for the same topic.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
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

/** What is persisted of it: no more is known of a msgId after its end. */
export type ReceivedChange =
  | { readonly type: "received" } & ReceivedMsgId
  | { readonly type: "receivedEnd"; readonly msgId: number };

/** Persists what has come, so that it outlives the process. */
export interface ReceivedPersister {
  /** Persists that a message has come, or its release, or its end. */
  persist(change: ReceivedChange): void;
}

/** Says where to persist what has come; nowhere while that is `undefined`. */
export interface ReceivedOwner {
  /** Where to. */
  readonly persister: ReceivedPersister | undefined;
}

interface Entry {
  /** Of the message's octets. */
  readonly digest: number;
  /** Until when a copy may come; `Infinity` before PUBREL. */
  until: Millis;
}

/**
 * How late the network may deliver a copy of a datagram, in milliseconds, unless
 * told otherwise.
 */
export const LATE_MS = 2_000;

/** Released msgIds that are remembered, at most. */
const MAX_RELEASED = 256;

/**
 * What one client has sent.
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
  readonly #entries = new Map<number, Entry>();
  readonly #owner: ReceivedOwner;
  /** How many of them are released, and only kept for late copies. */
  #released = 0;

  /**
   * Starts with nothing.
   *
   * @param owner whose messages they are
   */
  constructor(owner: ReceivedOwner = { persister: undefined }) {
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
   */
  has(now: Millis, msgId: number, digest: number): boolean {
    const entry = this.#entries.get(msgId);
    if (entry === undefined) return false;
    if (entry.until === Infinity) return true;
    return now < entry.until && entry.digest === digest;
  }

  /** Notes a message that has come. */
  add(msgId: number, digest: number): void {
    const last = this.#entries.get(msgId);
    if (last !== undefined && last.until !== Infinity) this.#released--;
    this.#entries.delete(msgId);
    this.#entries.set(msgId, { digest, until: Infinity });
    this.#owner.persister?.persist({
      type: "received",
      msgId,
      digest,
      until: undefined,
    });
  }

  /**
   * Takes what was kept of a message.
   *
   * @param latest until when a copy may come at most: what was kept is by another
   * clock, which may have been ahead
   */
  restore({ msgId, digest, until }: ReceivedMsgId, latest: Millis): void {
    if (until !== undefined) this.#released++;
    this.#entries.set(msgId, {
      digest,
      until: until === undefined ? Infinity : Math.min(until, latest),
    });
  }

  /** Persists all of it. */
  persistAll(persister: ReceivedPersister): void {
    for (const [msgId, { digest, until }] of this.#entries) {
      persister.persist({
        type: "received",
        msgId,
        digest,
        until: finite(until),
      });
    }
  }

  /**
   * Notes that the client has released a msgId. When it says so again after no copy
   * was expected any more, there are copies about after all, as in the socket of a
   * process that was stopped: more may come.
   *
   * @param lateMs how late a copy may come, in milliseconds
   */
  release(now: Millis, msgId: number, lateMs: Millis): void {
    const entry = this.#entries.get(msgId);
    if (entry === undefined) return;
    if (entry.until !== Infinity && now < entry.until) return;
    if (entry.until === Infinity) this.#released++;
    // Away and back: to the end of the order in which they are forgotten.
    this.#entries.delete(msgId);
    entry.until = now + lateMs;
    this.#entries.set(msgId, entry);
    const { digest, until } = entry;
    this.#owner.persister?.persist({ type: "received", msgId, digest, until });
    this.#forget(now);
  }

  /** Forgets the released ones that no copy can come of any more. */
  #forget(now: Millis): void {
    for (const [msgId, { until }] of this.#entries) {
      if (until === Infinity) continue;
      if (until > now && this.#released <= MAX_RELEASED) return;
      this.#entries.delete(msgId);
      this.#released--;
      this.#owner.persister?.persist({ type: "receivedEnd", msgId });
    }
  }
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
  let digest = 0x811c9dc5 ^ data.length;
  digest = Math.imul(digest ^ topicId, 0x01000193);
  digest = Math.imul(digest ^ topicIdType.length, 0x01000193);
  digest = Math.imul(digest ^ (retain ? 1 : 0), 0x01000193);
  for (const octet of data) digest = Math.imul(digest ^ octet, 0x01000193);
  return digest >>> 0;
}
