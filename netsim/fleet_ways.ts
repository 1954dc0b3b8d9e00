/**
 * The ways between the members of a fleet and their broker, from the description
 * of a network: each member has its own, or all share one. Knows descriptions and
 * who is meant by them; what a way does is `netsim/netem.ts`.
 *
 * @module
 */

import { type Random, seededRandom } from "../base/clock.ts";
import { matchesClientId } from "./fault_rules.ts";
import type { Peer } from "../base/peer.ts";
import type { Chosen, NetSpec, Paths } from "./spec.ts";
import { Netem, noPathCounts, type PathCounts } from "./netem.ts";
import type { Access } from "./virtual_net.ts";

/** What tells the shared ways' chances from those of the parties. */
const SHARED = 0x6a09e667;

/** The ways of a fleet. */
export class FleetWays {
  /** What happened on all of them, in both directions. */
  readonly counts: PathCounts = noPathCounts();
  readonly #net: NetSpec | undefined;
  readonly #seed: number;
  /** Those that are shared, by their description. */
  readonly #shared = new Map<Paths, Access>();

  /**
   * Makes no way yet.
   *
   * @param net as the members see it, `undefined` for a perfect one
   * @param seed where the chances of shared ways come from
   */
  constructor(net: NetSpec | undefined, seed: number) {
    this.#net = net;
    this.#seed = seed;
  }

  /**
   * The ways of a member, `undefined` where datagrams arrive at once.
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

function isMeant(who: Chosen, clientId: string, peer: Peer): boolean {
  if ("hostname" in who) {
    const { hostname, port = peer.port } = who;
    return hostname === peer.hostname && port === peer.port;
  }
  return matchesClientId(who.clientId, clientId);
}
