/**
 * What a source may be sent beyond what it asked with. An answer may be far
 * longer than the question, and the question's source address can be forged: a
 * broker that answers everything at once would multiply an attacker's traffic
 * and aim it at somebody else. Knows addresses and octets, and nothing of what
 * they mean.
 *
 * Each source, an address whatever its port, has an allowance of octets. An
 * answer is charged with what it exceeds its question by; a spent allowance
 * grows back at a steady rate. One answer may overdraw it, so that an answer
 * longer than the allowance is late but never impossible. Loopback addresses are
 * not charged, unless that is asked for: no datagram from the network can claim
 * them.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import { isLoopback, type Peer } from "../base/peer.ts";

/** How much, how fast, and for how many. */
export interface AllowanceLimits {
  /** Octets that a source has at first, and at most; 1 or more. */
  readonly allowance: number;
  /** Octets a second by which a spent allowance grows back; 1 or more. */
  readonly allowanceRate: number;
  /** Sources that are followed at a time; 1 or more. */
  readonly maxSources: number;
  /** Whether this machine's own addresses are charged too. Default false. */
  readonly chargesLoopback?: boolean;
}

interface Source {
  /** Octets left at `updatedAt`; below zero when overdrawn. */
  left: number;
  updatedAt: Millis;
}

/**
 * The allowances of all sources.
 *
 * @example
 * ```ts
 * import { assert, assertEquals, assertFalse } from "@std/assert";
 * import { RateLimiter } from "./rate_limit.ts";
 * import { peerOf } from "../base/peer.ts";
 *
 * const allowances = new RateLimiter({
 *   allowance: 1_000,
 *   allowanceRate: 100,
 *   maxSources: 10,
 * });
 * const peer = peerOf("192.0.2.1", 4711);
 * assert(allowances.spend(0, peer, 1_500));
 * assertFalse(allowances.spend(0, peer, 1));
 * assertEquals(allowances.readyAt(peer), 5_010);
 * assert(allowances.spend(5_010, peer, 1));
 * ```
 */
export class RateLimiter {
  readonly #limits: AllowanceLimits;
  readonly #sources = new Map<string, Source>();

  /**
   * Starts with every allowance whole.
   *
   * @param limits how much, how fast, and for how many
   */
  constructor(limits: AllowanceLimits) {
    this.#limits = limits;
  }

  /**
   * Charges a source with an answer.
   *
   * @param octets what the answer exceeds its question by; 0 or less is free
   * @returns whether the answer may go now; nothing is charged if not
   */
  spend(now: Millis, peer: Peer, octets: number): boolean {
    if (octets <= 0 || this.#isFree(peer)) return true;
    const source = this.#sourceOf(now, peer.hostname);
    if (source === undefined || source.left <= 0) return false;
    source.left -= octets;
    return true;
  }

  /**
   * When a source that was just denied may be answered again.
   *
   * @returns the moment, or `undefined` when the source is not followed because
   * too many others are
   */
  readyAt({ hostname }: Peer): Millis | undefined {
    const source = this.#sources.get(hostname);
    if (source === undefined) return undefined;
    const missing = Math.max(0, 1 - source.left);
    const { allowanceRate } = this.#limits;
    return source.updatedAt + Math.ceil(missing * 1_000 / allowanceRate);
  }

  #isFree(peer: Peer): boolean {
    return isLoopback(peer) && this.#limits.chargesLoopback !== true;
  }

  #sourceOf(now: Millis, hostname: string): Source | undefined {
    const known = this.#sources.get(hostname);
    if (known !== undefined) {
      this.#refill(now, known);
      return known;
    }
    const { allowance, maxSources } = this.#limits;
    if (this.#sources.size >= maxSources && !this.#forgetOldest(now)) {
      return undefined;
    }
    const source = { left: allowance, updatedAt: now };
    this.#sources.set(hostname, source);
    return source;
  }

  /**
   * Makes room for one source. Only one whose allowance is whole can go: else
   * whoever forges many addresses would get a fresh allowance each time round.
   */
  #forgetOldest(now: Millis): boolean {
    const [oldest] = this.#sources;
    if (oldest === undefined) return false;
    const [hostname, source] = oldest;
    this.#refill(now, source);
    this.#sources.delete(hostname);
    if (source.left >= this.#limits.allowance) return true;
    // Back to the end, so that the next attempt looks at another one.
    this.#sources.set(hostname, source);
    return false;
  }

  #refill(now: Millis, source: Source): void {
    const { allowance, allowanceRate } = this.#limits;
    const grown = (now - source.updatedAt) * allowanceRate / 1_000;
    source.left = Math.min(allowance, source.left + grown);
    source.updatedAt = now;
  }
}
