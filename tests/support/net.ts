/**
 * The bad network of the stories: machines in virtual time (`netsim/virtual_net.ts`)
 * on one way that all share (`netsim/netem.ts`), whose datagrams are late, lost or
 * doubled. Each datagram is overwritten once its receiver has had it.
 *
 * @module
 */

import { type Millis, seededRandom } from "../../base/clock.ts";
import type { PathSpec } from "../../netsim/spec.ts";
import { Netem } from "../../netsim/netem.ts";
import {
  VirtualNet,
  type VirtualNetOptions,
} from "../../netsim/virtual_net.ts";

/** How bad a network is, each direction alike. */
export interface NetOptions
  extends Pick<VirtualNetOptions, "trace" | "onSend" | "onDelivery"> {
  /** Where all chance comes from. */
  readonly seed: number;
  /** How likely a datagram is lost, 0 to 1. */
  readonly loss: number;
  /** The shortest and the longest way, in milliseconds. */
  readonly delayMs: readonly [min: Millis, max: Millis];
  /** How likely two copies of a datagram set out, 0 to 1. */
  readonly duplicate: number;
}

/** A network of machines that is as bad as it is told, until it is healed. */
export class BadNet extends VirtualNet {
  readonly #way: Netem;
  readonly #delay: PathSpec;

  /** Makes a network without machines, at moment 0. */
  constructor(options: NetOptions) {
    const { seed, loss, duplicate, delayMs: [min, max], ...others } = options;
    const delay: PathSpec = {
      limit: 1_000_000, // never: its losses are those that were asked for
      delay: {
        ms: (min + max) / 2,
        jitterMs: (max - min) / 2,
        correlation: 0,
        distribution: "uniform",
      },
    };
    // A test often draws its own chances from the same seed: not these ones.
    const random = seededRandom(seed ^ 0x5bd1e995);
    const way = new Netem({
      ...delay,
      loss: { chance: loss, correlation: 0 },
      duplicate: { chance: duplicate, correlation: 0 },
    }, random);
    super({ ...others, way, isStrict: true });
    this.#way = way;
    this.#delay = delay;
  }

  /** Loses and doubles nothing from now on. Delays stay, and so does reordering. */
  heal(): void {
    this.#way.set(this.#delay);
  }
}
