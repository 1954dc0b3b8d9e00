/**
 * What a bad network can be asked for, as values: the words of Linux's netem, each
 * direction by itself, and for chosen peers.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";

/** Something that happens to a datagram by chance. */
export interface Chance {
  /** How often, 0 to 1. */
  readonly chance: number;
  /** How much each draw is like the one before, 0 to 1. */
  readonly correlation: number;
}

/**
 * Losses in bursts, by the model of Gilbert and Elliott: a path is good or bad,
 * and each datagram may change that for the next. Four chances, 0 to 1.
 */
export interface GeModel {
  /** `p`: that a good path turns bad. */
  readonly toBad: number;
  /** `r`: that a bad path turns good. */
  readonly toGood: number;
  /** `1-h`: that a datagram is lost while the path is bad. */
  readonly lossInBad: number;
  /** `1-k`: that a datagram is lost while the path is good. */
  readonly lossInGood: number;
}

/** How delays are spread around their mean. */
export type Distribution = "uniform" | "normal" | "pareto";

/** How long datagrams are under way. */
export interface Delay {
  /** The mean, in milliseconds. */
  readonly ms: Millis;
  /**
   * How far they spread, in milliseconds: the most on either side for `uniform`,
   * the standard deviation for the others.
   */
  readonly jitterMs: Millis;
  /** How much each is like the one before, 0 to 1. */
  readonly correlation: number;
  /** By which law. */
  readonly distribution: Distribution;
}

/** Datagrams that overtake those before them. */
export interface Reorder extends Chance {
  /** Every how many datagrams one may: 1 is any of them. */
  readonly gap: number;
}

/** How fast datagrams can leave. */
export interface Rate {
  /** In bits a second. */
  readonly bitsPerSecond: number;
  /** What each datagram takes beyond its own octets, in octets: headers. */
  readonly overhead: number;
}

/** When nothing gets through. */
export interface Down {
  /** How long, in milliseconds. */
  readonly ms: Millis;
  /** Once in how many milliseconds, at the end of each such period. */
  readonly everyMs: Millis;
}

/**
 * What happens to datagrams in one direction of one path. What is not given does
 * not happen.
 */
export interface PathSpec {
  /** Some are lost. */
  readonly loss?: Chance | GeModel;
  /** All are late. */
  readonly delay?: Delay;
  /** Some come twice. */
  readonly duplicate?: Chance;
  /** Some overtake others; only where there is a delay. */
  readonly reorder?: Reorder;
  /** In some a bit is flipped. */
  readonly corrupt?: Chance;
  /** They leave one after another. */
  readonly rate?: Rate;
  /** How many may be under way, 1 or more; the next is lost. Default 1,000. */
  readonly limit?: number;
  /** The longest that gets through, in octets of its payload. */
  readonly mtu?: number;
  /** There are times at which nothing gets through. */
  readonly down?: Down;
}

/** How many datagrams may be under way in one direction unless told otherwise. */
export const DEFAULT_LIMIT = 1_000;

/** What happens to datagrams in both directions. */
export interface Paths {
  /** To those that come to this end. */
  readonly in: PathSpec;
  /** To those that leave it. */
  readonly out: PathSpec;
  /**
   * Whether all peers share one path in each direction, as the stations of a radio
   * cell do; else each has its own.
   */
  readonly isShared: boolean;
}

/** Some peers: those at an address, or those that are called so. */
export type Chosen =
  | {
    /** IPv4 or IPv6 address, as a `Peer` has it. */
    readonly hostname: string;
    /** UDP port; `undefined` for any. */
    readonly port: number | undefined;
  }
  | {
    /** Client id of MQTT-SN; with `*` at its end all that begin so. */
    readonly clientId: string;
  };

/**
 * A network: what happens to everybody's datagrams, and to those of some.
 *
 * @example
 * ```ts
 * import { parseNetSpec } from "../entries/testing.ts";
 * import { Broker, type NetSpec } from "../mod.ts";
 *
 * const net: NetSpec = parseNetSpec("lora loss 30%");
 * await using _broker = await Broker.listen({ port: 0, net });
 * ```
 */
export interface NetSpec extends Paths {
  /** Peers who have it otherwise; of several that fit one peer the last holds. */
  readonly chosen: readonly (Paths & { readonly who: Chosen })[];
}
