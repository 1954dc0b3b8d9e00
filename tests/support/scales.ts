/**
 * Scales for the datagrams of a broker: to who has never connected it sends no more
 * octets of MQTT-SN than have come from there, or it could be used to flood others in
 * the name of a victim.
 *
 * @module
 */

import type { Millis } from "../../base/clock.ts";
import type { RouterEvent } from "../../broker/events.ts";
import type { Peer } from "../../base/peer.ts";
import { isFramed } from "../../wire/mqttsn.ts";
import { fail } from "./stories.ts";

/** What came from each address and what went there. */
export class Scales {
  /** Octets that each address may still be sent. */
  readonly #balance = new Map<string, number>();
  /** Where somebody has connected, or has moved to. */
  readonly #connected = new Set<string>();
  readonly #isBroker: (peer: Peer) => boolean;
  /** Datagrams that were weighed, as they went to who has not connected. */
  weighed = 0;

  /**
   * Begins with nothing on them.
   *
   * @param brokers where brokers are
   */
  constructor(brokers: readonly Peer[]) {
    const keys = new Set(brokers.map(({ key }) => key));
    this.#isBroker = ({ key }) => keys.has(key);
  }

  /** Weighs what comes to a broker. */
  handleDelivery(from: Peer, to: Peer, bytes: Uint8Array): void {
    if (this.#isBroker(to)) this.#add(from.key, bytes.length);
  }

  /** Weighs what a broker sends; a broadcast is to nobody. */
  handleSend(
    now: Millis,
    from: Peer,
    to: Peer | undefined,
    bytes: Uint8Array,
  ): void {
    if (!this.#isBroker(from) || to === undefined) return;
    // The classic protocol's answers have an allowance of their own.
    if (!isFramed(bytes)) return;
    if (this.#connected.has(to.key)) return;
    this.weighed++;
    if (this.#add(to.key, -bytes.length) >= 0) return;
    fail(
      `at ${now} more octets went to "${to.key}", which has not connected, than came from there`,
    );
  }

  /** Hears where a client has connected, or goes on. */
  handleEvent(event: RouterEvent): void {
    if (event.type !== "connect" && event.type !== "move") return;
    // One behind a forwarder is sent things at the forwarder's address.
    const { hostname, port } = event.peer;
    this.#connected.add(`${hostname}:${port}`);
  }

  #add(key: string, octets: number): number {
    const balance = (this.#balance.get(key) ?? 0) + octets;
    this.#balance.set(key, balance);
    return balance;
  }
}
