/**
 * The messages at QoS 2 that have come to a client, so that each is taken once
 * (MQTT-SN 1.2 §6.6), also over connections of a kept session. Knows msgIds and
 * digests; keeps no message.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import type { Publish } from "./packets.ts";
import { digestOf, DuplicateFilter, LATE_MS } from "./duplicates.ts";

/** What has come at QoS 2. */
export class Arrivals {
  readonly #lateMs: Millis;
  #received = new DuplicateFilter();
  /** The digests of those that wait for PUBREL, by msgId. */
  readonly #unreleased = new Map<number, number>();
  /** The same, of a gateway that may have forgotten them. */
  readonly #doubted = new Map<number, number>();

  /**
   * Nothing has come yet.
   *
   * @param retryMs the client's T_retry: late copies are remembered for as long,
   * but no longer than the network delays them
   */
  constructor(retryMs: Millis) {
    this.#lateMs = Math.min(retryMs, LATE_MS);
  }

  /** Whether a message came before. */
  has(now: Millis, packet: Publish): boolean {
    const { dup, msgId } = packet;
    const digest = digestOf(packet);
    if (!dup || this.#doubted.get(msgId) !== digest) {
      return this.#received.has(now, msgId, digest);
    }
    this.add(packet); // the gateway has not forgotten after all
    return true;
  }

  /** Notes a message that is taken. */
  add(packet: Publish): void {
    const { msgId } = packet;
    const digest = digestOf(packet);
    this.#received.add(msgId, digest);
    this.#unreleased.set(msgId, digest);
    this.#doubted.delete(msgId);
  }

  /** Notes PUBREL. */
  release(now: Millis, msgId: number): void {
    // A copy may come from now on, not from when it was put in doubt.
    const digest = this.#doubted.get(msgId);
    if (digest !== undefined) this.#received.add(msgId, digest);
    this.#unreleased.delete(msgId);
    this.#doubted.delete(msgId);
    this.#received.release(now, msgId, this.#lateMs);
  }

  /**
   * A gateway that has forgotten this client counts its msgIds anew. What comes
   * under one that waits for PUBREL is then another message, unless it is the
   * same in all else, and was sent before or not long ago.
   */
  doubt(now: Millis): void {
    for (const [msgId, digest] of this.#unreleased) {
      this.#received.release(now, msgId, this.#lateMs);
      this.#doubted.set(msgId, digest);
    }
    this.#unreleased.clear();
  }

  /** A new session knows nothing of exchanges that the last one began. */
  clear(): void {
    this.#received = new DuplicateFilter();
    this.#unreleased.clear();
    this.#doubted.clear();
  }
}
