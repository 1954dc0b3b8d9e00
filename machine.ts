/**
 * The one surface of every protocol machine: octets and time go in, effects
 * come out. A machine holds no socket, no timer, no promise and no log, so that
 * each of its behaviours is a plain function call in a test; a shell
 * (`template.ts`) gives it the real ones.
 *
 * The order of calls: any `handle*` (or a command of the machine's own), then
 * `pollEffect` until it answers `undefined`, then `nextTimeout` to arm the one
 * timer. Effects are carried out in the order in which they are polled: it is
 * part of the contract.
 *
 * @module
 */

import type { Peer } from "./message.ts";
import type { Millis } from "./clock.ts";

/**
 * Send one datagram. The octets belong to whoever polls the effect: the machine
 * never changes them afterwards, and several effects may share them.
 */
export interface SendEffect {
  /** Which effect this is. */
  readonly type: "send";
  /** Where to. */
  readonly peer: Peer;
  /** The whole datagram. */
  readonly bytes: Uint8Array;
}

/**
 * Send one datagram to whoever listens for gateways. What that means is the
 * shell's to know: a multicast group, or nobody.
 */
export interface BroadcastEffect {
  /** Which effect this is. */
  readonly type: "broadcast";
  /** The whole datagram. */
  readonly bytes: Uint8Array;
  /** How far, in hops, 1 to 255; 0 for the usual. */
  readonly radius: number;
}

/** Something happened that a log, a counter or a waiting caller wants to know. */
export interface TraceEffect<Event> {
  /** Which effect this is. */
  readonly type: "trace";
  /** What happened. */
  readonly event: Event;
}

/** What a machine asks of its shell. */
export type Effect<Event> = SendEffect | BroadcastEffect | TraceEffect<Event>;

/** A protocol machine, without input or output of its own. */
export interface Machine<Event> {
  /**
   * Takes one datagram. The octets are only read during the call: the caller
   * may reuse their buffer afterwards. Never throws, whatever the octets.
   */
  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void;
  /** Does what is due by `now`. Harmless when it is early. */
  handleTimeout(now: Millis): void;
  /** The earliest moment at which something is due, `undefined` for none. */
  nextTimeout(): Millis | undefined;
  /** The next effect in order, `undefined` when there is none left. */
  pollEffect(): Effect<Event> | undefined;
}

/**
 * The effects that a machine has still to hand out, in order.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { EffectQueue } from "./machine.ts";
 *
 * const effects = new EffectQueue<string>();
 * effects.trace("it rang");
 * assertEquals(effects.poll(), { type: "trace", event: "it rang" });
 * assertEquals(effects.poll(), undefined);
 * ```
 */
export class EffectQueue<Event> {
  #effects: Effect<Event>[] = [];
  #next = 0;

  /** Adds a datagram to send. */
  send(peer: Peer, bytes: Uint8Array): void {
    this.#effects.push({ type: "send", peer, bytes });
  }

  /** Adds a datagram to broadcast. */
  broadcast(bytes: Uint8Array, radius: number): void {
    this.#effects.push({ type: "broadcast", bytes, radius });
  }

  /** Adds an event. */
  trace(event: Event): void {
    this.#effects.push({ type: "trace", event });
  }

  /** Takes the oldest effect out, `undefined` when there is none. */
  poll(): Effect<Event> | undefined {
    const effect = this.#effects[this.#next];
    if (effect === undefined) {
      this.#effects.length = 0;
      this.#next = 0;
      return undefined;
    }
    this.#next++;
    return effect;
  }
}
