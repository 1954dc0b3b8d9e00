/**
 * Token buckets: one for a client that publishes, and many, by source, for answers.
 *
 * An answer may be far longer than its question, and a question's source address can
 * be forged: a broker that answers everything at once would multiply an attacker's
 * traffic and aim it at somebody else. So each source, which is an address whatever
 * its port, has a bucket. An answer costs what it exceeds its question by, and the
 * bucket fills again at a steady rate. One answer may overdraw it, so that an answer
 * longer than the bucket is late but never impossible. Loopback addresses are not
 * charged, unless that is asked for: no datagram from the network can claim them.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import { isLoopback, type Peer } from "../base/peer.ts";

/** The size of a token bucket; a token is an octet, or a datagram. */
export interface BucketLimits {
  /** Tokens that it has at first, and at most; 1 or more. */
  readonly burst: number;
  /** Tokens a second by which it fills again; 1 or more. */
  readonly rate: number;
}

/**
 * A token bucket.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { TokenBucket } from "./rate_limit.ts";
 *
 * const limits = { burst: 2, rate: 10 };
 * const bucket = new TokenBucket(0, limits.burst);
 * const taken = [0, 0, 0, 100].map((now) => bucket.take(now, limits));
 * assertEquals(taken, [true, true, false, true]);
 * ```
 */
export class TokenBucket {
  /** Tokens at `#updatedAt`; below zero when overdrawn. */
  #left: number;
  #updatedAt: Millis;

  /** Makes a bucket that has so many tokens. */
  constructor(now: Millis, left: number) {
    this.#left = left;
    this.#updatedAt = now;
  }

  /** Takes one token; false when there is not a whole one. */
  take(now: Millis, limits: BucketLimits): boolean {
    this.#refill(now, limits);
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }

  /** Takes tokens, also more than there are; false when there is none. */
  overdraw(now: Millis, limits: BucketLimits, tokens: number): boolean {
    this.#refill(now, limits);
    if (this.#left <= 0) return false;
    this.#left -= tokens;
    return true;
  }

  /** Whether it is full. */
  isFull(now: Millis, limits: BucketLimits): boolean {
    this.#refill(now, limits);
    return this.#left >= limits.burst;
  }

  /** When it has a token again, as far as is known now. */
  readyAt({ rate }: BucketLimits): Millis {
    const missing = Math.max(0, 1 - this.#left);
    return this.#updatedAt + Math.ceil(missing * 1_000 / rate);
  }

  #refill(now: Millis, { burst, rate }: BucketLimits): void {
    const grown = (now - this.#updatedAt) * rate / 1_000;
    this.#left = Math.min(burst, this.#left + grown);
    this.#updatedAt = now;
  }
}

/** How much each source may get, how fast, and how many sources there are. */
export interface RateLimits extends BucketLimits {
  /** Sources that are followed at a time; 1 or more. */
  readonly maxSources: number;
  /** Whether this machine's own addresses are charged too. Default false. */
  readonly chargesLoopback?: boolean;
}

/**
 * The token buckets of all sources.
 *
 * @example
 * ```ts
 * import { assert, assertEquals, assertFalse } from "@std/assert";
 * import { RateLimiter } from "./rate_limit.ts";
 * import { peerOf } from "../base/peer.ts";
 *
 * const limiter = new RateLimiter({ burst: 1_000, rate: 100, maxSources: 10 });
 * const peer = peerOf("192.0.2.1", 4711);
 * assert(limiter.spend(0, peer, 1_500));
 * assertFalse(limiter.spend(0, peer, 1));
 * assertEquals(limiter.readyAt(peer), 5_010);
 * assert(limiter.spend(5_010, peer, 1));
 * ```
 */
export class RateLimiter {
  readonly #limits: RateLimits;
  readonly #sources = new Map<string, TokenBucket>();

  /**
   * Starts with every bucket full.
   *
   * @param limits how much, how fast, and for how many
   */
  constructor(limits: RateLimits) {
    this.#limits = limits;
  }

  /**
   * Charges a source.
   *
   * @param tokens 0 or less is free
   * @returns whether the source may get that now; nothing is charged if not
   */
  spend(now: Millis, peer: Peer, tokens: number): boolean {
    if (tokens <= 0 || this.#isFree(peer)) return true;
    return this.#bucketOf(now, peer.hostname)
      ?.overdraw(now, this.#limits, tokens) ?? false;
  }

  /**
   * When a source that was just denied may get something again.
   *
   * @returns the moment, or `undefined` when the source is not followed because
   * too many others are
   */
  readyAt({ hostname }: Peer): Millis | undefined {
    return this.#sources.get(hostname)?.readyAt(this.#limits);
  }

  #isFree(peer: Peer): boolean {
    return isLoopback(peer) && this.#limits.chargesLoopback !== true;
  }

  #bucketOf(now: Millis, hostname: string): TokenBucket | undefined {
    const known = this.#sources.get(hostname);
    if (known !== undefined) return known;
    const { burst, maxSources } = this.#limits;
    if (this.#sources.size >= maxSources && !this.#forgetOldest(now)) {
      return undefined;
    }
    const bucket = new TokenBucket(now, burst);
    this.#sources.set(hostname, bucket);
    return bucket;
  }

  /**
   * Makes room for one source. Only one whose bucket is full can go: else an attacker
   * that forges many addresses would get a full bucket each time round.
   */
  #forgetOldest(now: Millis): boolean {
    const [oldest] = this.#sources;
    if (oldest === undefined) return false;
    const [hostname, bucket] = oldest;
    this.#sources.delete(hostname);
    if (bucket.isFull(now, this.#limits)) return true;
    // Back to the end, so that the next attempt looks at another one.
    this.#sources.set(hostname, bucket);
    return false;
  }
}
