/**
 * A router with a clock, and its effects as a test reads them.
 *
 * @module
 */

import type { ClassicStats } from "../../broker/classic.ts";
import { ManualClock, type Millis } from "../../base/clock.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import type { RouterEvent } from "../../broker/events.ts";
import type { RouterOptions } from "../../broker/options.ts";
import { Router } from "../../broker/router.ts";
import type { RouterStats } from "../../broker/sys_topics.ts";

/** Peers on this machine. */
export const ANN = peerOf("127.0.0.1", 1001);
/** Another one. */
export const BOB = peerOf("127.0.0.1", 1002);
/** A third one. */
export const CYD = peerOf("127.0.0.1", 1003);
/** A peer beyond this machine. */
export const FAR = peerOf("192.0.2.7", 4711);

/** A datagram that was sent: to whom, and its text. */
export type Sent = readonly [peer: string, text: string];

/** A router at work in a test. */
export class RouterBench {
  readonly clock = new ManualClock();
  readonly router: Router;
  /** All events so far. */
  readonly events: RouterEvent[] = [];

  constructor(options: RouterOptions = {}) {
    this.router = new Router(options);
  }

  /** Hands the router a datagram, and gives what it sent. */
  take(peer: Peer, datagram: string | Uint8Array): Sent[] {
    const bytes = typeof datagram === "string"
      ? new TextEncoder().encode(datagram)
      : datagram;
    this.router.handleDatagram(this.clock.now(), peer, bytes);
    return this.drain();
  }

  publish(peer: Peer, topic: string, data: unknown): Sent[] {
    return this.take(peer, JSON.stringify({ type: "publish", topic, data }));
  }

  subscribe(peer: Peer, topic: string): Sent[] {
    return this.take(peer, JSON.stringify({ type: "subscribe", topic }));
  }

  /** Moves the clock, and gives what the router sent as its time had come. */
  advance(ms: Millis): Sent[] {
    this.clock.advance(ms);
    this.router.handleTimeout(this.clock.now());
    return this.drain();
  }

  /** What the classic side counted, and what was dropped. */
  stats(): ClassicStats & Pick<RouterStats, "received" | "sent" | "dropped"> {
    const { received, sent, dropped, classic } = this.router.stats();
    return { ...classic, received, sent, dropped };
  }

  drain(): Sent[] {
    const sent: Sent[] = [];
    for (let effect; (effect = this.router.pollEffect()) !== undefined;) {
      if (effect.type === "trace") this.events.push(effect.event);
      else if (effect.type === "send") {
        sent.push([effect.peer.key, new TextDecoder().decode(effect.bytes)]);
      }
    }
    return sent;
  }
}
