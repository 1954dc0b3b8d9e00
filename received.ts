/**
 * The QoS 2 messages that one client has sent: which have come already, so that
 * each is published once (MQTT-SN 1.2 §6.6). Knows msgIds and a digest of what
 * came under them; nothing of topics, and keeps no message.
 *
 * From PUBLISH to PUBREL the msgId alone says that a message has come before,
 * whatever its DUP flag. After that the msgId is free again; but the network may
 * still deliver a copy of the old PUBLISH. So for a while what comes under a
 * released msgId is taken for a copy if it is the same to the octet.
 *
 * @module
 */

import type { Millis } from "./clock.ts";

interface Entry {
  /** Of the message's octets. */
  readonly digest: number;
  /** Until when a copy may come; `Infinity` before PUBREL. */
  until: Millis;
}

/** Released msgIds that are remembered, at most. */
const MAX_RELEASED = 256;

/**
 * What one client has sent.
 *
 * @example
 * ```ts
 * import { assert, assertFalse } from "@std/assert";
 * import { Received } from "./received.ts";
 *
 * const received = new Received();
 * const lamp = Uint8Array.of(1);
 * assertFalse(received.has(0, 7, lamp));
 * received.add(7, lamp);
 * assert(received.has(0, 7, lamp));
 * received.release(100, 7, 1_000);
 * assert(received.has(200, 7, lamp)); // a late copy
 * assertFalse(received.has(200, 7, Uint8Array.of(2))); // another message
 * assertFalse(received.has(2_000, 7, lamp));
 * ```
 */
export class Received {
  readonly #entries = new Map<number, Entry>();
  /** How many of them are released, and only kept for late copies. */
  #released = 0;

  /** Messages that wait for their PUBREL. */
  get unreleased(): number {
    return this.#entries.size - this.#released;
  }

  /**
   * Whether a message came before.
   *
   * @param msgId the PUBLISH's
   * @param data what it publishes
   */
  has(now: Millis, msgId: number, data: Uint8Array): boolean {
    const entry = this.#entries.get(msgId);
    if (entry === undefined) return false;
    if (entry.until === Infinity) return true;
    return now < entry.until && entry.digest === digestOf(data);
  }

  /** Notes a message that has come. */
  add(msgId: number, data: Uint8Array): void {
    if (this.#entries.delete(msgId)) this.#released--;
    this.#entries.set(msgId, { digest: digestOf(data), until: Infinity });
  }

  /**
   * Notes that the client has released a msgId.
   *
   * @param lateMs how late a copy may come, in milliseconds
   */
  release(now: Millis, msgId: number, lateMs: Millis): void {
    const entry = this.#entries.get(msgId);
    if (entry === undefined || entry.until !== Infinity) return;
    // Away and back: to the end of the order in which they are forgotten.
    this.#entries.delete(msgId);
    entry.until = now + lateMs;
    this.#entries.set(msgId, entry);
    this.#released++;
    this.#forget(now);
  }

  /** Forgets the released ones that no copy can come of any more. */
  #forget(now: Millis): void {
    for (const [msgId, { until }] of this.#entries) {
      if (until === Infinity) continue;
      if (until > now && this.#released <= MAX_RELEASED) return;
      this.#entries.delete(msgId);
      this.#released--;
    }
  }
}

/** FNV-1a: a few copies among one client's messages need no more. */
function digestOf(data: Uint8Array): number {
  let digest = 0x811c9dc5 ^ data.length;
  for (const octet of data) digest = Math.imul(digest ^ octet, 0x01000193);
  return digest >>> 0;
}
