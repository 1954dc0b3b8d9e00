/**
 * The one surface of every protocol machine: octets and time go in, effects
 * come out. A machine holds no socket, no timer, no promise and no log, so that
 * each of its behaviours is a plain function call in a test; a shell
 * (`template.ts`) gives it the real ones.
 *
 * The order of calls: any `handle*` (or a command of the machine's own), then
 * `pollEffect` until it answers `undefined`, then `nextTimeout` to arm the one
 * timer. Effects are carried out in the order in which they are polled: it is
 * part of the contract. What is to be persisted comes first, and a promise may
 * leave only when that has been.
 *
 * @module
 */

import type { Peer } from "./peer.ts";
import type { Millis } from "./clock.ts";

/**
 * Send one datagram. The octets belong to the shell that polls the effect: the machine
 * never changes them afterwards, and several effects may share them.
 */
export interface SendEffect {
  /** Which effect this is. */
  readonly type: "send";
  /** Where to. */
  readonly peer: Peer;
  /** The whole datagram. */
  readonly bytes: Uint8Array;
  /**
   * Whether it tells its peer to rely on something: it must not leave before all
   * that was persisted until then has been.
   */
  readonly isPromise: boolean;
}

/**
 * Send one datagram to the multicast group. What that means is the
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

/**
 * Something has changed that is to outlive the process. All that changed in one
 * call of the machine comes before all else that follows from that call.
 */
export interface PersistEffect<Change> {
  /** Which effect this is. */
  readonly type: "persist";
  /** What has changed. */
  readonly change: Change;
}

/** Something happened that a log, a counter or a waiting caller wants to know. */
export interface TraceEffect<Event> {
  /** Which effect this is. */
  readonly type: "trace";
  /** What happened. */
  readonly event: Event;
}

/**
 * What a machine asks of its shell.
 *
 * @typeParam Event what it tells
 * @typeParam Change what it persists; nothing unless it says so
 */
export type Effect<Event, Change = never> =
  | SendEffect
  | BroadcastEffect
  | TraceEffect<Event>
  | ([Change] extends [never] ? never : PersistEffect<Change>);

/**
 * A protocol machine, without input or output of its own.
 *
 * @typeParam Event what it tells
 * @typeParam Change what it persists; nothing unless it says so
 */
export interface Machine<Event, Change = never> {
  /**
   * Takes one datagram. The octets are only read during the call: the caller
   * may reuse their buffer afterwards. Never throws, whatever the octets.
   */
  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void;
  /** Does what is due by `now`. Harmless when it is early. */
  handleTimeout(now: Millis): void;
  /** The earliest moment at which something is due, `undefined` for none. */
  nextTimeout(): Millis | undefined;
  /**
   * The next effect in order, `undefined` when there is none left. An effect is
   * the caller's until then: afterwards it may be empty, or another.
   */
  pollEffect(): Effect<Event, Change> | undefined;
}

/** Effects, and sends among them, that most calls have at most. */
const FIRST_EFFECTS = 4;
const FIRST_SENDS = 2;

/** Sends, and room, that are kept to be used again; a larger fan-out's are not. */
const MAX_KEPT = 1_024;

/** No octets. */
const NOTHING = new Uint8Array();

/** A type whose fields can be written, for what is used again. */
export type Mutable<T> = { -readonly [Field in keyof T]: T[Field] };

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
export class EffectQueue<Event, Change = never> {
  /** Sends that were polled, to be used again: a fan-out makes no garbage. */
  readonly #sends: (Mutable<SendEffect> | undefined)[] = new Array(FIRST_SENDS);
  #nextSend = 0;
  /** Made when it is needed: most machines persist nothing. */
  #changes: PersistEffect<Change>[] | undefined;
  #nextChange = 0;
  /** Keeps its room when all were polled, as it is needed again at once. */
  readonly #effects:
    (SendEffect | BroadcastEffect | TraceEffect<Event> | undefined)[] =
      new Array(FIRST_EFFECTS);
  #count = 0;
  #next = 0;

  /** Adds a change to persist: it goes before all that is no change. */
  persist(change: Change): void {
    (this.#changes ??= []).push({ type: "persist", change });
  }

  /**
   * Adds a datagram to send.
   *
   * @param isPromise whether its peer relies on what was persisted until now
   */
  send(peer: Peer, bytes: Uint8Array, isPromise = false): void {
    const at = this.#nextSend++;
    const used = this.#sends[at];
    if (used === undefined) {
      const effect: SendEffect = { type: "send", peer, bytes, isPromise };
      if (at < MAX_KEPT) this.#sends[at] = effect;
      this.#effects[this.#count++] = effect;
      return;
    }
    used.peer = peer;
    used.bytes = bytes;
    used.isPromise = isPromise;
    this.#effects[this.#count++] = used;
  }

  /** Adds a datagram to broadcast. */
  broadcast(bytes: Uint8Array, radius: number): void {
    this.#effects[this.#count++] = { type: "broadcast", bytes, radius };
  }

  /** Adds an event. */
  trace(event: Event): void {
    this.#effects[this.#count++] = { type: "trace", event };
  }

  /** Takes the next effect out, `undefined` when there is none. */
  poll(): Effect<Event, Change> | undefined {
    if (this.#changes !== undefined && this.#changes.length > 0) {
      const change = this.#changes[this.#nextChange++];
      if (change !== undefined) return change as Effect<Event, Change>;
      this.#changes.length = 0;
      this.#nextChange = 0;
    }
    if (this.#next === this.#count) {
      if (this.#count > 0) this.#reset();
      return undefined;
    }
    const effect = this.#effects[this.#next];
    this.#effects[this.#next++] = undefined; // its receiver may let it go
    return effect;
  }

  #reset(): void {
    // Octets are a part of more than they take: they are not to stay for these.
    const used = Math.min(this.#nextSend, MAX_KEPT);
    for (let i = 0; i < used; i++) this.#sends[i]!.bytes = NOTHING;
    if (this.#count > MAX_KEPT) this.#effects.length = 0;
    this.#count = 0;
    this.#next = 0;
    this.#nextSend = 0;
  }
}
