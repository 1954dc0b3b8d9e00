/**
 * How clients find the gateway: ADVERTISE from time to time, GWINFO when one is
 * searched for (MQTT-SN 1.2 §6.1).
 *
 * A standby gateway is silent for as long as another one advertises. When that
 * has missed three of its own announcements in a row, the standby begins; it
 * ends when it hears the other again.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import type { Advertise, GwInfo } from "../wire/packets.ts";
import type { Settings } from "./options.ts";

/** N_ADV: announcements in a row that a gateway misses before it is given up. */
const MAX_MISSED = 3;

/** The longest that another gateway is believed, in seconds, if not one's own. */
const MAX_DURATION = 3_600;

/** How the gateway makes itself known. */
export type AdvertiserOptions = Pick<
  Settings,
  "gwId" | "advertise" | "standby"
>;

/**
 * The announcements of one gateway.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Advertiser } from "./advertise.ts";
 *
 * const advertiser = new Advertiser({ gwId: 1, advertise: 900, standby: false });
 * assertEquals(advertiser.handleTimeout(0)?.duration, 900);
 * assertEquals(advertiser.handleTimeout(0), undefined);
 * assertEquals(advertiser.nextTimeout(), 900_000);
 * ```
 */
export class Advertiser {
  readonly #options: AdvertiserOptions;
  #nextAt: Millis | undefined;
  #hasStarted = false;
  /** The other gateway, while this one stands by. */
  #primary: { gwId: number; duration: number } | undefined;

  /**
   * Starts at the first `handleTimeout`.
   *
   * @param options how the gateway makes itself known
   */
  constructor(options: AdvertiserOptions) {
    this.#options = options;
    if (options.advertise > 0) this.#nextAt = 0;
  }

  /** When there is something to send next, `undefined` for never. */
  nextTimeout(): Millis | undefined {
    return this.#nextAt;
  }

  /**
   * The announcement that is due by `now`, if one is. A standby gateway listens
   * for three of its own intervals before its first.
   */
  handleTimeout(now: Millis): Advertise | undefined {
    if (this.#nextAt === undefined || now < this.#nextAt) return undefined;
    const { gwId, advertise, standby } = this.#options;
    const isFirst = !this.#hasStarted;
    this.#hasStarted = true;
    if (isFirst && standby) {
      this.#nextAt = now + MAX_MISSED * advertise * 1_000;
      return undefined;
    }
    this.#primary = undefined;
    this.#nextAt = now + advertise * 1_000;
    return { type: "ADVERTISE", gwId, duration: advertise };
  }

  /** Hears another gateway's announcement. */
  handleAdvertise(now: Millis, { gwId, duration }: Advertise): void {
    const { gwId: own, standby, advertise } = this.#options;
    if (!standby || advertise === 0 || gwId === own) return;
    // One primary at a time: a gateway that is heard while another is being counted
    // keeps this one silent just as well.
    this.#primary = { gwId, duration };
    this.#hasStarted = true;
    // A duration that nobody means would silence this one for days.
    const longest = Math.max(advertise, MAX_DURATION);
    const interval = Math.min(Math.max(duration, 1), longest);
    this.#nextAt = now + MAX_MISSED * interval * 1_000;
  }

  /** Which gateway keeps this one silent, `undefined` for none. */
  get primary(): number | undefined {
    return this.#primary?.gwId;
  }

  /** The answer to SEARCHGW. */
  get gwInfo(): GwInfo {
    const gwAdd = new Uint8Array(); // a client takes the datagram's source
    return { type: "GWINFO", gwId: this.#options.gwId, gwAdd };
  }
}
