/**
 * Which paths of a bad network a peer's datagrams take: {@linkcode NetPaths} for a
 * program in real time, {@linkcode FleetPaths} for a fleet in virtual time. What
 * happens on a path is `netsim/netem.ts`.
 *
 * @module
 */

import { WireObserver } from "../wire/observer.ts";
import { type Millis, type Random, seededRandom } from "../base/clock.ts";
import { matchesClientId } from "./fault_rules.ts";
import type { Peer } from "../base/peer.ts";
import { isFramed } from "../wire/mqttsn.ts";
import { decoded } from "../wire/reading.ts";
import type { Chosen, NetSpec, Paths } from "./spec.ts";
import type { Access } from "./virtual_net.ts";
import { Netem, noPathCounts, type PathCounts } from "./netem.ts";

/** Both directions of a path. */
export interface PathPair {
  /** Towards this end. */
  readonly in: Netem;
  /** Away from it. */
  readonly out: Netem;
}

/** A datagram with octets behind its message still tells its client id. */
const LENIENT = { lenient: true };

/** Paths of a kind; beyond them the oldest is forgotten. */
const MAX_PATHS = 10_000;

/**
 * The paths of a network.
 *
 * Each peer has its own unless they are shared, and each path its own luck: that
 * depends on the chance given and on how many paths there were before, and not on
 * what goes over them.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { seededRandom } from "../base/clock.ts";
 * import { peerOf } from "../base/peer.ts";
 * import { NetPaths } from "./paths.ts";
 * import { parseNetSpec } from "./spec_text.ts";
 *
 * const spec = parseNetSpec("loss 5% peer 10.0.0.7: loss 100%");
 * const paths = new NetPaths(spec, seededRandom(1), 0);
 * const datagram = Uint8Array.of(2, 0x16);
 * const { in: path } = paths.of(peerOf("10.0.0.7", 1883), datagram);
 * path.send(0, datagram, () => {
 *   throw new Error("It came through");
 * });
 * assert(paths.counts.in.lost === 1);
 * ```
 */
export class NetPaths {
  /** What happened on all of them so far. */
  readonly counts: Readonly<Record<"in" | "out", PathCounts>> = {
    in: noPathCounts(),
    out: noPathCounts(),
  };
  readonly #random: Random;
  #spec: NetSpec;
  #startAt: Millis;
  /** By peer: everybody's first, then those of each chosen kind. */
  #tables: Map<string, PathPair>[] = [];
  /** Knows client ids; `undefined` where they decide nothing. */
  #observer: WireObserver | undefined;

  /**
   * Makes a network on which nothing is under way.
   *
   * @param random the luck of each path is drawn from it
   * @param now from when on the periods of `down` count
   */
  constructor(spec: NetSpec, random: Random, now: Millis) {
    this.#random = random;
    this.#spec = spec;
    this.#startAt = now;
    this.#prepare();
  }

  /** What the network is. */
  get spec(): NetSpec {
    return this.#spec;
  }

  /** How many paths there are. */
  get size(): number {
    return this.#tables.reduce((sum, { size }) => sum + size, 0);
  }

  /** Makes it another network. Everybody's paths go on with what is queued there. */
  set(spec: NetSpec, now: Millis): void {
    const [usual] = this.#tables;
    const stays = spec.isShared === this.#spec.isShared;
    this.#spec = spec;
    this.#startAt = now;
    this.#prepare();
    if (!stays) return;
    for (const pair of usual!.values()) {
      pair.in.set(spec.in, now);
      pair.out.set(spec.out, now);
    }
    this.#tables[0] = usual!;
  }

  #prepare(): void {
    const { chosen } = this.#spec;
    this.#tables = [this.#spec, ...chosen].map(() => new Map());
    if (!chosen.some(({ who }) => "clientId" in who)) {
      this.#observer = undefined;
    } else this.#observer ??= new WireObserver();
  }

  /**
   * The paths from and to a peer.
   *
   * @param bytes the datagram that is to take one of them: it may say who that is
   */
  of(peer: Peer, bytes: Uint8Array): PathPair {
    const section = this.#sectionOf(peer, bytes);
    const { in: into, out, isShared } = this.#spec.chosen[section] ??
      this.#spec;
    const table = this.#tables[section + 1]!;
    const key = isShared ? "" : peer.key;
    const known = table.get(key);
    if (known !== undefined) return known;
    const { in: inCounts, out: outCounts } = this.counts;
    const pair = {
      in: new Netem(into, this.#luck(), this.#startAt, inCounts),
      out: new Netem(out, this.#luck(), this.#startAt, outCounts),
    };
    table.set(key, pair);
    if (table.size > MAX_PATHS) {
      for (const oldest of table.keys()) {
        table.delete(oldest);
        break;
      }
    }
    return pair;
  }

  #luck(): Random {
    return seededRandom(this.#random() * 2 ** 32);
  }

  /** Whose words hold for a peer: the last of those that mean it; −1 for everybody's. */
  #sectionOf(peer: Peer, bytes: Uint8Array): number {
    const { chosen } = this.#spec;
    if (chosen.length === 0) return -1;
    const clientId = this.#clientIdAt(peer, bytes);
    return chosen.findLastIndex(({ who }) => isMeant(who, clientId, peer));
  }

  /** A peer's client id, where that decides anything; its datagram may tell it. */
  #clientIdAt(peer: Peer, bytes: Uint8Array): string | undefined {
    const observer = this.#observer;
    if (observer === undefined) return undefined;
    const packet = isFramed(bytes, LENIENT)
      ? decoded(bytes, LENIENT)
      : undefined;
    if (packet !== undefined) observer.meet(peer.key, "client", packet);
    return observer.announcedAt(peer.key)?.clientId;
  }
}

/** Keeps the luck of shared paths apart from that of the members. */
const SHARED = 0x6a09e667;

/** The paths between the members of a fleet and their broker, in virtual time. */
export class FleetPaths {
  /** What happened on all of them, in both directions. */
  readonly counts: PathCounts = noPathCounts();
  readonly #net: NetSpec | undefined;
  readonly #seed: number;
  /** Those that are shared, by their description. */
  readonly #shared = new Map<Paths, Access>();

  /**
   * Makes no path yet.
   *
   * @param net as the members see it, `undefined` for a perfect one
   * @param seed where the chances of shared ways come from
   */
  constructor(net: NetSpec | undefined, seed: number) {
    this.#net = net;
    this.#seed = seed;
  }

  /**
   * The paths of a member, `undefined` where datagrams arrive at once.
   *
   * @param random where their chances come from, unless they are shared
   */
  of(clientId: string, peer: Peer, random: Random): Access | undefined {
    if (this.#net === undefined) return undefined;
    const chosen = this.#net.chosen.findLast(({ who }) =>
      isMeant(who, clientId, peer)
    );
    const paths = chosen ?? this.#net;
    if (!paths.isShared) return this.#open(paths, random);
    const shared = this.#shared.get(paths) ??
      this.#open(paths, seededRandom(this.#seed ^ SHARED));
    this.#shared.set(paths, shared);
    return shared;
  }

  #open(paths: Paths, random: Random): Access {
    return {
      in: new Netem(paths.in, random, 0, this.counts),
      out: new Netem(paths.out, random, 0, this.counts),
    };
  }
}

function isMeant(
  who: Chosen,
  clientId: string | undefined,
  peer: Peer,
): boolean {
  if ("hostname" in who) {
    const { hostname, port = peer.port } = who;
    return hostname === peer.hostname && port === peer.port;
  }
  return matchesClientId(who.clientId, clientId);
}
