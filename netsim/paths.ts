/**
 * Which paths of a bad network each peer's datagrams take, and what happens on
 * them. Knows peers, and the names that they give themselves; holds no datagram.
 *
 * @module
 */

import { Bystander } from "../wire/bystander.ts";
import { type Millis, type Random, seededRandom } from "../base/clock.ts";
import { matchesClientId } from "./fault_rules.ts";
import { MalformedPacketError } from "../base/errors.ts";
import type { Peer } from "../base/peer.ts";
import { decodePacket, isFramed } from "../wire/mqttsn.ts";
import type { NetSpec } from "./spec.ts";
import { Netem, noPathCounts, type PathCounts } from "./netem.ts";

/** Both directions of a path. */
export interface PathPair {
  /** Towards this end. */
  readonly in: Netem;
  /** Away from it. */
  readonly out: Netem;
}

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
  /** Tells who is who, `undefined` where that decides on nothing. */
  #bystander: Bystander | undefined;

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
      this.#bystander = undefined;
    } else this.#bystander ??= new Bystander();
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
    const bystander = this.#bystander;
    if (bystander !== undefined) introduce(bystander, peer, bytes);
    const clientId = bystander?.clientIdAt(peer.key);
    return chosen.findLastIndex(({ who }) =>
      "clientId" in who
        ? matchesClientId(who.clientId, clientId)
        : who.hostname === peer.hostname &&
          (who.port === undefined || who.port === peer.port)
    );
  }
}

/** Lets a bystander hear what a client is called, where a datagram says so. */
function introduce(
  bystander: Bystander,
  peer: Peer,
  bytes: Uint8Array,
): void {
  if (!isFramed(bytes, { lenient: true })) return;
  try {
    bystander.meet(peer.key, decodePacket(bytes, { lenient: true }));
  } catch (error) {
    if (!(error instanceof MalformedPacketError)) throw error;
  }
}
