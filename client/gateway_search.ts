/**
 * The gateways that a client knows, and how it looks for one (MQTT-SN 1.2 §6.1).
 *
 * A client that wants a gateway waits for a random time before it asks, as all
 * the others may have been switched on in the same moment; if one of them asks
 * first, that counts as its own question. It asks again after pauses that double.
 * Once it knows a gateway it answers other clients that ask, unless another does.
 *
 * @module
 */

import { earliest, type Millis, type Random } from "../base/clock.ts";
import { type Peer, peerOf } from "../base/peer.ts";
import { requireInteger, requireNumber } from "../base/units.ts";
import type { Advertise, GwInfo, SearchGw } from "../wire/packets.ts";

/** N_ADV: announcements in a row that a gateway misses before it is given up. */
const MAX_MISSED = 3;

/** Gateways that are known at most: any peer can claim to be one. */
const MAX_GATEWAYS = 32;

/** The longest pause between two searches, in milliseconds. */
const MAX_GAP_MS = 300_000;

/** How a client looks for gateways. */
export interface SearchOptions {
  /** How far, in hops, 1 to 255; 0 for as far as it goes. Default 0. */
  readonly radius?: number;
  /**
   * T_SEARCHGW: the longest wait before the first question, in milliseconds, 1 or
   * more. Default 5,000.
   */
  readonly searchMs?: Millis;
  /**
   * T_GWINFO: the longest wait before an answer to others, in milliseconds.
   * Default 5,000.
   */
  readonly infoMs?: Millis;
}

/**
 * A gateway that has made itself known.
 */
export interface KnownGateway {
  /** Where it is. */
  readonly peer: Peer;
  /** Which it says it is, 0 to 255. */
  readonly gwId: number;
}

interface GatewayEntry extends KnownGateway {
  /** When it has missed too many announcements; `Infinity` if it makes none. */
  readonly expiresAt: Millis;
}

/**
 * What one client knows of gateways.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { GatewaySearch } from "./gateway_search.ts";
 * import { peerOf } from "../base/peer.ts";
 *
 * const gateways = new GatewaySearch({ radius: 1 }, () => 0.5);
 * gateways.search(0);
 * assertEquals(gateways.nextTimeout(), 2_500);
 * assertEquals(gateways.handleTimeout(2_500), { type: "SEARCHGW", radius: 1 });
 *
 * const peer = peerOf("192.0.2.1", 12003);
 * const gwAdd = new Uint8Array();
 * gateways.handleGwInfo(2_600, peer, { type: "GWINFO", gwId: 7, gwAdd });
 * assertEquals(gateways.known, [{ peer, gwId: 7 }]);
 * ```
 */
export class GatewaySearch {
  readonly #radius: number;
  readonly #searchMs: Millis;
  readonly #infoMs: Millis;
  readonly #random: Random;
  readonly #home: Peer | undefined;
  /** By the peer's key, those heard of last behind. */
  readonly #entries = new Map<string, GatewayEntry>();
  /** When it asks, `undefined` when it does not look for one. */
  #askAt: Millis | undefined;
  #hasAsked = false;
  #gapMs: Millis;
  /** When it answers somebody else's question. */
  #answerAt: Millis | undefined;

  /**
   * Knows nobody yet, and does not look.
   *
   * @param options how far it looks, and how hastily
   * @param random where its waits come from
   * @param home a gateway that it was told of
   * @throws {RangeError} when the radius is not a whole number from 0 to 255, or
   * a time is out of range
   */
  constructor(options: SearchOptions, random: Random, home?: Peer) {
    const { radius = 0, searchMs = 5_000, infoMs = 5_000 } = options;
    requireInteger("the radius", radius, 0, 255);
    // The pauses double: from 0 they would never grow.
    requireNumber("searchMs", searchMs, 1);
    requireNumber("infoMs", infoMs, 0);
    this.#radius = radius;
    this.#searchMs = searchMs;
    this.#infoMs = infoMs;
    this.#random = random;
    this.#home = home;
    this.#gapMs = searchMs;
  }

  /** Those that are known, the one heard of first in front. */
  get known(): readonly KnownGateway[] {
    return [...this.#entries.values()].map(({ peer, gwId }) => ({
      peer,
      gwId,
    }));
  }

  /** Whether it looks for one, and has asked. */
  get hasAsked(): boolean {
    return this.#askAt !== undefined && this.#hasAsked;
  }

  /** Which gateway to try after that one: in turn, and from the start again. */
  after(last: Peer | undefined): Peer | undefined {
    const peers = [...this.#entries.values()].map(({ peer }) => peer);
    const home = this.#home;
    if (home && !this.#entries.has(home.key)) peers.unshift(home);
    const at = peers.findIndex(({ key }) => key === last?.key);
    return peers[(at + 1) % peers.length];
  }

  /** Looks for a gateway, from now on; does nothing if it does so already. */
  search(now: Millis): void {
    if (this.#askAt !== undefined) return;
    this.#hasAsked = false;
    this.#gapMs = this.#searchMs;
    this.#askAt = now + this.#random() * this.#searchMs;
  }

  /** Looks no longer. */
  rest(): void {
    this.#askAt = undefined;
  }

  /** A gateway announces itself, and when it will again (§5.4.1). */
  handleAdvertise(
    now: Millis,
    peer: Peer,
    { gwId, duration }: Advertise,
  ): void {
    const expiresAt = now + MAX_MISSED * Math.max(1, duration) * 1_000;
    this.#add({ peer, gwId, expiresAt });
  }

  /** A gateway answers, or a client that knows one (§5.4.3). */
  handleGwInfo(now: Millis, sender: Peer, { gwId, gwAdd }: GwInfo): void {
    this.#answerAt = undefined;
    const peer = gwAdd.length === 0 ? sender : peerFrom(gwAdd);
    if (peer === undefined) return;
    // It may announce itself too; if not, it stays.
    const expiresAt = this.#entries.get(peer.key)?.expiresAt ?? Infinity;
    if (expiresAt > now) this.#add({ peer, gwId, expiresAt });
  }

  /** Somebody else looks for a gateway. */
  handleSearchGw(now: Millis, { radius }: SearchGw): void {
    if (this.#askAt === undefined) {
      if (this.#entries.size === 0) return;
      this.#answerAt ??= now + this.#random() * this.#infoMs;
      return;
    }
    // While it searches it has no gateway to name; and this may be its own echo.
    if (!this.#hasAsked && radius === this.#radius) this.#scheduleNext(now);
  }

  /** What is to be broadcast by now, in turn; `undefined` for nothing. */
  handleTimeout(now: Millis): SearchGw | GwInfo | undefined {
    for (const [key, { expiresAt }] of this.#entries) {
      if (expiresAt <= now) this.#entries.delete(key);
    }
    if (this.#askAt !== undefined && this.#askAt <= now) {
      this.#scheduleNext(now);
      return { type: "SEARCHGW", radius: this.#radius };
    }
    if (this.#answerAt === undefined || this.#answerAt > now) return undefined;
    this.#answerAt = undefined;
    for (const { peer, gwId } of this.#entries.values()) {
      const gwAdd = addressOf(peer);
      if (gwAdd !== undefined) return { type: "GWINFO", gwId, gwAdd };
    }
    return undefined;
  }

  /** When there is something to do, `undefined` for never. */
  nextTimeout(): Millis | undefined {
    let at = earliest(this.#askAt, this.#answerAt);
    for (const { expiresAt } of this.#entries.values()) {
      if (expiresAt < Infinity) at = earliest(at, expiresAt);
    }
    return at;
  }

  #scheduleNext(now: Millis): void {
    this.#hasAsked = true; // or somebody for it
    this.#askAt = now + this.#gapMs;
    this.#gapMs = Math.min(this.#gapMs * 2, MAX_GAP_MS);
  }

  #add(entry: GatewayEntry): void {
    const { key } = entry.peer;
    if (!this.#entries.has(key) && this.#entries.size >= MAX_GATEWAYS) {
      for (const first of this.#entries.keys()) {
        this.#entries.delete(first);
        break;
      }
    }
    this.#entries.set(key, entry);
  }
}

/**
 * §5.3.5 leaves the form of a gateway's address to the network. Over UDP: its
 * length, the four octets of IPv4, and the port.
 */
function addressOf({ hostname, port }: Peer): Uint8Array | undefined {
  const octets = hostname.split(".").map(Number);
  if (octets.length !== 4) return undefined; // IPv6: others answer
  return Uint8Array.of(6, ...octets, port >> 8, port & 255);
}

function peerFrom(gwAdd: Uint8Array): Peer | undefined {
  if (gwAdd.length !== 7 || gwAdd[0] !== 6) return undefined;
  const port = gwAdd[5]! << 8 | gwAdd[6]!;
  return port === 0 ? undefined : peerOf(gwAdd.slice(1, 5).join("."), port);
}
