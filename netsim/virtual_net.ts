/**
 * A network in virtual time: machines exchange datagrams by ways that may be bad, and
 * the clock jumps from one event to the next. No promise, no timer and no real clock:
 * thousands of machines are one loop.
 *
 * All chance is in the ways (`netsim/netem.ts`) and the machines: the same of both give
 * the same run to the octet, and {@linkcode VirtualNet.digest} says whether two
 * were the same.
 *
 * A machine's deadline has one entry in the heap. One that moves away is not
 * worth touching it for: when it comes up too early, the machine is asked again.
 *
 * @module
 */

import { digest, FNV_START, mix } from "../base/digest.ts";
import { EventHeap } from "./event_heap.ts";
import type { Millis } from "../base/clock.ts";
import { isNodePeer } from "../wire/forwarder.ts";
import type { Machine } from "../base/machine.ts";
import { type Peer, peerOf } from "../base/peer.ts";
import { describeDatagram } from "../wire/describe.ts";

/** A way that datagrams take, in one direction. */
export interface NetWay {
  /**
   * Takes a datagram, and calls `deliver` before it returns: never when the
   * datagram is lost, more than once when it is doubled.
   *
   * @param now not less than the last time
   * @param deliver takes the moment at which the datagram arrives, and its octets
   */
  send(
    now: Millis,
    bytes: Uint8Array,
    deliver: (at: Millis, bytes: Uint8Array) => void,
  ): void;
}

/** The ways between a machine and all others. */
export interface Access {
  /** What the machine sends. */
  readonly out?: NetWay;
  /** What it is sent. */
  readonly in?: NetWay;
}

/** How a network is. */
export interface VirtualNetOptions {
  /**
   * The way between two machines of which neither has one of its own. Default:
   * datagrams arrive at once.
   */
  readonly way?: NetWay;
  /** Whether the conversation is kept in {@linkcode VirtualNet.lines}. */
  readonly trace?: boolean;
  /**
   * Whether each datagram has octets of its own, which are overwritten when its
   * receiver has had them: a machine that keeps a view instead of a copy shall
   * not go unnoticed. Default false.
   */
  readonly isStrict?: boolean;
  /** Sees each datagram that a machine sends; a broadcast is to nobody. */
  readonly onSend?: (
    now: Millis,
    from: Peer,
    to: Peer | undefined,
    bytes: Uint8Array,
  ) => void;
  /** Sees each datagram that a machine gets, before the machine does. */
  readonly onDelivery?: (
    now: Millis,
    from: Peer,
    to: Peer,
    bytes: Uint8Array,
  ) => void;
}

/** What a network counted. */
export interface NetCounts {
  /** Datagrams that machines sent. */
  sent: number;
  /** Their octets. */
  sentOctets: number;
  /** Those that got lost on their way. */
  lost: number;
  /** Copies that arrived, or are to, beside the first. */
  duplicated: number;
  /** Datagrams handed to a machine. */
  delivered: number;
  /** Datagrams that found nobody at their peer. */
  vanished: number;
  /** Everything that happened: deliveries, timeouts, actions. */
  events: number;
}

/** More calls of `handleTimeout` at one moment than a sound machine needs. */
const MAX_TIMEOUTS_AT_ONCE = 1_000;

/** More events at one moment than sound machines have for each other. */
const MAX_EVENTS_AT_ONCE = 1_000_000;

/** What a datagram's octets become once its receiver has had them. */
const SPENT = 0xee;

/** A machine at its place. */
interface MachinePlace {
  readonly type: "place";
  readonly peer: Peer;
  readonly machine: Machine<unknown, unknown>;
  readonly onEvent: ((event: never, now: Millis) => void) | undefined;
  readonly in: NetWay | undefined;
  readonly out: NetWay | undefined;
  /** Its number, for the digest. */
  readonly number: number;
  /** Its deadline in the heap. */
  readonly slot: number;
  /** Whether it is there still. */
  isAttached: boolean;
  /** Whom it was sent something by last: most of what it sends is an answer. */
  partner: MachinePlace | undefined;
  /** When it is due by its own clock, as it said last. */
  dueAt: Millis;
  /** How much further its clock is than everybody's. */
  aheadMs: Millis;
  /** Until when it does nothing. */
  frozenUntil: Millis;
  /** Datagrams that wait for it meanwhile. */
  held: number;
  /** When `handleTimeout` was called last. */
  lastAt: Millis;
  /** How often it was called at that moment. */
  timeouts: number;
}

/** A datagram on its way. */
interface Flight {
  readonly type: "flight";
  /** The sender: a machine, or an address without one. */
  readonly from: MachinePlace | Peer;
  /** The receiver: the machine that was there when it was sent, or an address. */
  readonly to: MachinePlace | Peer;
  readonly bytes: Uint8Array;
}

/** Something that is done from outside. */
interface Action {
  readonly type: "action";
  readonly action: () => void;
}

/** Small datagrams that a socket's buffer holds. */
const MAX_HELD = 256;

/**
 * A network of machines, and the clock that they share.
 *
 * A command given to a machine from outside takes effect at the next
 * {@linkcode VirtualNet.run} or {@linkcode VirtualNet.at}; one given while the
 * network runs, from `onEvent`, needs {@linkcode VirtualNet.refresh}.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { seededRandom } from "../base/clock.ts";
 * import { Device } from "../client/device.ts";
 * import { peerOf } from "../base/peer.ts";
 * import { Router } from "../broker/router.ts";
 * import { VirtualNet } from "./virtual_net.ts";
 *
 * const gateway = peerOf("10.0.0.1", 12003);
 * const device = new Device({
 *   gateway,
 *   clientId: "lamp",
 *   random: seededRandom(1),
 * });
 * const slow = {
 *   send: (now: number, bytes: Uint8Array, deliver: (
 *     at: number,
 *     bytes: Uint8Array,
 *   ) => void) => deliver(now + 1_500, bytes),
 * };
 * const net = new VirtualNet();
 * net.attach(gateway, new Router());
 * net.attach(peerOf("10.0.0.2", 1), device, undefined, { in: slow, out: slow });
 * device.connect(0);
 * net.run(2_999);
 * assertEquals(device.state, "connecting");
 * net.run(3_000);
 * assertEquals(device.state, "active");
 * ```
 */
export class VirtualNet {
  /** What was counted so far. */
  readonly counts: NetCounts = {
    sent: 0,
    sentOctets: 0,
    lost: 0,
    duplicated: 0,
    delivered: 0,
    vanished: 0,
    events: 0,
  };
  /** The conversation, a line for each datagram; empty unless it is traced. */
  readonly lines: string[] = [];

  readonly #way: NetWay | undefined;
  readonly #isTraced: boolean;
  readonly #isStrict: boolean;
  readonly #onSend: VirtualNetOptions["onSend"];
  readonly #onDelivery: VirtualNetOptions["onDelivery"];
  readonly #places = new Map<string, MachinePlace>();
  readonly #muted = new Set<string>();
  readonly #due = new EventHeap();
  /** What each slot of the heap stands for. */
  readonly #events: (MachinePlace | Flight | Action | undefined)[] = [];
  #numbers = 0;
  #now: Millis = 0;
  #atOnce = 0;
  // The datagram that is being sent.
  #from: MachinePlace | Peer | undefined;
  #to: MachinePlace | Peer | undefined;
  #copies = 0;
  #fate = "";
  // The digest's halves.
  #octets = FNV_START;
  #words = 0x9e3779b9;

  /** Makes a network without machines, at moment 0. */
  constructor(options: VirtualNetOptions = {}) {
    this.#way = options.way;
    this.#isTraced = options.trace ?? false;
    this.#isStrict = options.isStrict ?? false;
    this.#onSend = options.onSend;
    this.#onDelivery = options.onDelivery;
  }

  /** The present moment. */
  get now(): Millis {
    return this.#now;
  }

  /** The present moment by the clock of the machine at a peer. */
  nowAt(peer: Peer): Millis {
    return this.#now + (this.#places.get(peer.key)?.aheadMs ?? 0);
  }

  /**
   * What tells this run from others: 16 hexadecimal digits, made of every
   * datagram, its ends, when it was sent and when each copy arrives.
   */
  get digest(): string {
    return [this.#octets, this.#words]
      .map((half) => (half >>> 0).toString(16).padStart(8, "0")).join("");
  }

  /**
   * Puts a machine at a peer.
   *
   * @param onEvent takes the machine's events
   * @param access the ways between it and all others, instead of the network's.
   * Of two who have some the sender's is taken
   * @throws {RangeError} when there is one at that peer
   */
  attach<Event, Change>(
    peer: Peer,
    machine: Machine<Event, Change>,
    onEvent?: (event: Event, now: Millis) => void,
    access: Access = {},
  ): void {
    if (this.#places.has(peer.key)) {
      throw new RangeError(`Cannot attach at "${peer.key}": it is taken`);
    }
    const place: MachinePlace = {
      type: "place",
      peer,
      machine: machine as Machine<unknown, unknown>,
      onEvent,
      in: access.in,
      out: access.out,
      number: ++this.#numbers,
      slot: this.#due.open(),
      isAttached: true,
      partner: undefined,
      dueAt: Infinity,
      aheadMs: 0,
      frozenUntil: -Infinity,
      held: 0,
      lastAt: -Infinity,
      timeouts: 0,
    };
    this.#events[place.slot] = place;
    this.#places.set(peer.key, place);
    this.#refresh(place);
  }

  /** Takes the machine at a peer out; what is on its way there vanishes. */
  detach(peer: Peer): void {
    const place = this.#places.get(peer.key);
    if (place === undefined) return;
    place.isAttached = false;
    this.#places.delete(peer.key);
  }

  /** Loses all that the machine at a peer sends and is sent, or no longer. */
  mute(peer: Peer, isMute: boolean): void {
    if (isMute) this.#muted.add(peer.key);
    else this.#muted.delete(peer.key);
  }

  /**
   * Has the clock of the machine at a peer leap forward, and stay ahead, as that
   * of a process whose machine was suspended.
   *
   * @param ms how far, in milliseconds, 0 or more
   */
  leap(peer: Peer, ms: Millis): void {
    const place = this.#places.get(peer.key);
    if (place === undefined) return;
    place.aheadMs += ms;
    this.#refresh(place);
  }

  /**
   * Has the machine at a peer do nothing for a while, as a process that is
   * stopped: what comes meanwhile waits in its socket, as far as that has room.
   *
   * @param ms how long, in milliseconds, 0 or more
   */
  freeze(peer: Peer, ms: Millis): void {
    const place = this.#places.get(peer.key);
    if (place === undefined) return;
    place.frozenUntil = Math.max(place.frozenUntil, this.#now + ms);
    this.#refresh(place);
  }

  /** Sends a datagram that no machine has sent, in the name of a peer. */
  forge(from: Peer, to: Peer, bytes: Uint8Array): void {
    this.#send(from, this.#places.get(from.key), to, bytes);
  }

  /** Calls `action` at a moment of a later run; its commands take effect at once. */
  at(moment: Millis, action: () => void): void {
    this.#enter(Math.max(moment, this.#now), { type: "action", action });
  }

  /** Looks anew at what the machine at a peer wants to do, and when. */
  refresh(peer: Peer): void {
    const place = this.#places.get(peer.key);
    if (place !== undefined) this.#refresh(place);
  }

  /**
   * Lets everything happen that happens by `until`, which is the moment then.
   *
   * @throws {Error} when a machine never stops being due, with its peer's key
   */
  run(until: Millis): void {
    this.#refreshAll();
    this.proceed(until);
  }

  /**
   * The same, when no machine was told anything from outside since the last time:
   * nobody is asked what it wants to do.
   *
   * @throws {Error} when a machine never stops being due, with its peer's key
   */
  proceed(until: Millis): void {
    const heap = this.#due;
    const events = this.#events;
    for (let slot; (slot = heap.take(until)) !== undefined;) {
      const event = events[slot]!;
      this.#advance(heap.taken);
      if (event.type === "place") {
        this.#expire(event);
        continue;
      }
      events[slot] = undefined;
      heap.close(slot);
      if (event.type === "flight") this.#deliver(event);
      else {
        event.action();
        this.#refreshAll();
      }
    }
    if (until > this.#now) this.#now = until;
  }

  #advance(at: Millis): void {
    this.counts.events++;
    if (at > this.#now) {
      this.#now = at;
      this.#atOnce = 0;
    } else if (++this.#atOnce > MAX_EVENTS_AT_ONCE) {
      throw new Error(`Cannot leave moment ${at}: it has no end of events`);
    }
  }

  #enter(at: Millis, event: Flight | Action): void {
    const slot = this.#due.open();
    this.#events[slot] = event;
    this.#due.set(slot, at);
  }

  #deliver(flight: Flight): void {
    const { to, bytes } = flight;
    const from = "machine" in flight.from ? flight.from.peer : flight.from;
    // Another machine may be there by now, or one at all.
    const place = "machine" in to && to.isAttached
      ? to
      : this.#places.get("machine" in to ? to.peer.key : to.key);
    if (place === undefined || this.#isMuted(place.peer)) {
      this.counts.vanished++;
      return;
    }
    if (place.frozenUntil > this.#now) {
      if (place.held === MAX_HELD) this.counts.vanished++;
      else {
        place.held++;
        this.#enter(place.frozenUntil, { ...flight, to: place });
      }
      return;
    }
    place.held = 0;
    this.counts.delivered++;
    this.#onDelivery?.(this.#now, from, place.peer, bytes);
    if ("machine" in flight.from) place.partner = flight.from;
    place.machine.handleDatagram(this.#now + place.aheadMs, from, bytes);
    if (this.#isStrict) bytes.fill(SPENT);
    this.#refresh(place);
  }

  #expire(place: MachinePlace): void {
    if (!place.isAttached) return;
    const { dueAt, aheadMs, machine } = place;
    const isThawing = place.frozenUntil > -Infinity;
    if (isThawing || dueAt - aheadMs > this.#now) return this.#refresh(place);
    if (place.lastAt !== this.#now) place.timeouts = 0;
    place.lastAt = this.#now;
    if (++place.timeouts > MAX_TIMEOUTS_AT_ONCE) {
      throw new Error(
        `Cannot leave moment ${this.#now}: "${place.peer.key}" is always due`,
      );
    }
    // What is subtracted and added again may come to a hair less.
    machine.handleTimeout(Math.max(dueAt, this.#now + aheadMs));
    this.#refresh(place);
  }

  #refreshAll(): void {
    for (const place of this.#places.values()) this.#refresh(place);
  }

  /** Carries out what a machine asks for, and sees to it that it is called in time. */
  #refresh(place: MachinePlace): void {
    const { machine, slot, frozenUntil } = place;
    if (frozenUntil > this.#now) {
      if (frozenUntil < this.#due.at(slot)) {
        this.#due.set(slot, frozenUntil);
      }
      return;
    }
    place.frozenUntil = -Infinity;
    for (let effect; (effect = machine.pollEffect()) !== undefined;) {
      if (effect.type === "send") {
        const to = addressOf(effect.peer);
        this.#onSend?.(this.#now, place.peer, to, effect.bytes);
        this.#send(place.peer, place, to, effect.bytes);
      } else if (effect.type === "broadcast") {
        this.#broadcast(place, effect.bytes);
      } else if (effect.type === "trace") {
        place.onEvent?.(effect.event as never, this.#now);
      }
    }
    const dueAt = machine.nextTimeout() ?? Infinity;
    place.dueAt = dueAt;
    if (dueAt === Infinity) return;
    const at = Math.max(dueAt - place.aheadMs, this.#now);
    if (at < this.#due.at(slot)) this.#due.set(slot, at);
  }

  /** To every other machine, to each by its own luck. */
  #broadcast(from: MachinePlace, bytes: Uint8Array): void {
    this.#onSend?.(this.#now, from.peer, undefined, bytes);
    for (const { peer } of this.#places.values()) {
      if (peer.key !== from.peer.key) this.#send(from.peer, from, peer, bytes);
    }
  }

  #send(
    from: Peer,
    place: MachinePlace | undefined,
    to: Peer,
    bytes: Uint8Array,
  ): void {
    const partner = place?.partner;
    const target = partner?.peer === to && partner.isAttached
      ? partner
      : this.#places.get(to.key);
    const way = place?.out ?? target?.in ?? this.#way;
    this.counts.sent++;
    this.counts.sentOctets += bytes.length;
    this.#digest(place?.number ?? 0, target?.number ?? 0, bytes);
    this.#from = place ?? from;
    this.#to = target ?? to;
    this.#copies = 0;
    this.#fate = "lost";
    if (!this.#isMuted(from)) {
      if (way === undefined) this.#launch(this.#now, bytes);
      else way.send(this.#now, bytes, this.#launch);
    }
    if (this.#copies === 0) this.counts.lost++;
    else this.counts.duplicated += this.#copies - 1;
    if (!this.#isTraced) return;
    this.lines.push(
      `${this.#now} ${from.key} -> ${to.key} ${
        describeDatagram(bytes)
      } (${this.#fate})`,
    );
  }

  /** One copy of the datagram that is being sent arrives at a moment. */
  readonly #launch = (at: Millis, bytes: Uint8Array): void => {
    const isFirst = this.#copies++ === 0;
    if (this.#isTraced) {
      this.#fate = isFirst ? `at ${at}` : `${this.#fate} and at ${at}`;
    }
    this.#digestMoment(at);
    this.#enter(Math.max(at, this.#now), {
      type: "flight",
      from: this.#from!,
      to: this.#to!,
      bytes: this.#isStrict ? bytes.slice() : bytes,
    });
  };

  #isMuted(peer: Peer): boolean {
    return this.#muted.size > 0 && this.#muted.has(peer.key);
  }

  /** FNV-1a over the octets, and over the words beside them. */
  #digest(from: number, to: number, bytes: Uint8Array): void {
    this.#octets = digest(bytes, this.#octets);
    this.#word(this.#octets);
    this.#word(bytes.length);
    this.#word(from);
    this.#word(to);
    this.#digestMoment(this.#now);
  }

  #digestMoment(at: Millis): void {
    this.#word(Math.floor(at / 2 ** 32));
    this.#word(at); // whole milliseconds
    this.#word((at % 1) * 2 ** 32);
  }

  #word(word: number): void {
    const mixed = mix(this.#words, word);
    this.#words = mixed ^ (mixed >>> 15);
  }
}

/** Where a datagram goes: what is for a node goes to its forwarder. */
function addressOf(peer: Peer): Peer {
  return isNodePeer(peer) ? peerOf(peer.hostname, peer.port) : peer;
}
