/**
 * A bad network in virtual time: machines exchange datagrams that are late, lost
 * or doubled, and the clock jumps from one event to the next. Knows machines and
 * peers; of protocols only how to print a datagram.
 *
 * All chance comes from the seed: the same machines, commands and seed give the
 * same conversation.
 *
 * @module
 */

import { type Millis, type Random, seededRandom } from "../../clock.ts";
import { isNodePeer } from "../../forwarder.ts";
import type { Machine } from "../../machine.ts";
import { type Peer, peerOf } from "../../message.ts";
import { describeDatagram } from "../../packet_text.ts";

/** How bad a network is, each direction alike. */
export interface NetOptions {
  /** Where all chance comes from. */
  readonly seed: number;
  /** How likely a datagram is lost, 0 to 1. */
  readonly loss: number;
  /** The shortest and the longest way, in whole milliseconds. */
  readonly delayMs: readonly [min: Millis, max: Millis];
  /** How likely a datagram that is not lost arrives twice, 0 to 1. */
  readonly duplicate: number;
  /** Whether the conversation is kept in {@linkcode VirtualNet.lines}. */
  readonly trace?: boolean;
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
  /** Those that the network lost. */
  lost: number;
  /** Those that it doubled. */
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

/**
 * A network of machines, and the clock that they share.
 *
 * A command given to a machine from outside takes effect at the next
 * {@linkcode VirtualNet.run} or {@linkcode VirtualNet.at}; one given while the
 * network runs, from `onEvent`, needs {@linkcode VirtualNet.refresh}.
 */
export class VirtualNet {
  /** What was counted so far. */
  readonly counts: NetCounts = {
    sent: 0,
    lost: 0,
    duplicated: 0,
    delivered: 0,
    vanished: 0,
    events: 0,
  };
  /** The conversation, a line for each datagram; empty unless it is traced. */
  readonly lines: string[] = [];

  readonly #random: Random;
  readonly #shortest: Millis;
  readonly #span: Millis;
  readonly #isTraced: boolean;
  readonly #onSend: NetOptions["onSend"];
  readonly #onDelivery: NetOptions["onDelivery"];
  readonly #nodes = new Map<string, Node>();
  readonly #muted = new Set<string>();
  readonly #agenda = new Agenda();
  #loss: number;
  #duplicate: number;
  #now: Millis = 0;
  #atOnce = 0;

  /**
   * Makes a network without machines, at moment 0.
   *
   * @throws {RangeError} when a probability is not 0 to 1, or a delay less than
   * the shortest
   */
  constructor(options: NetOptions) {
    const { seed, loss, duplicate, delayMs: [min, max] } = options;
    for (const probability of [loss, duplicate]) {
      if (probability >= 0 && probability <= 1) continue;
      throw new RangeError(`Cannot take "${probability}" as a probability`);
    }
    if (!(min >= 0 && max >= min)) {
      throw new RangeError(`Cannot take "${min}" to "${max}" ms as a delay`);
    }
    // A test often draws its own chances from the same seed: not these ones.
    this.#random = seededRandom(seed ^ 0x5bd1e995);
    this.#loss = loss;
    this.#duplicate = duplicate;
    this.#shortest = min;
    this.#span = max - min + 1;
    this.#isTraced = options.trace ?? false;
    this.#onSend = options.onSend;
    this.#onDelivery = options.onDelivery;
  }

  /** The present moment. */
  get now(): Millis {
    return this.#now;
  }

  /**
   * Puts a machine at a peer.
   *
   * @param onEvent takes the machine's events
   * @throws {RangeError} when there is one at that peer
   */
  attach<Event, Change>(
    peer: Peer,
    machine: Machine<Event, Change>,
    onEvent?: (event: Event, now: Millis) => void,
  ): void {
    if (this.#nodes.has(peer.key)) {
      throw new RangeError(`Cannot attach at "${peer.key}": it is taken`);
    }
    const poll = (node: Node) => {
      for (let effect; (effect = machine.pollEffect()) !== undefined;) {
        if (effect.type === "send") {
          const to = addressOf(effect.peer);
          this.#onSend?.(this.#now, node.peer, to, effect.bytes);
          this.#send(node.peer, to, effect.bytes);
        } else if (effect.type === "broadcast") {
          this.#broadcast(node.peer, effect.bytes);
        } else if (effect.type === "trace") {
          onEvent?.(effect.event, this.#now);
        }
      }
    };
    const node: Node = {
      peer,
      machine,
      poll,
      timer: undefined,
      lastAt: -Infinity,
      timeouts: 0,
    };
    this.#nodes.set(peer.key, node);
    this.#refresh(node);
  }

  /** Takes the machine at a peer out; what is on its way there vanishes. */
  detach(peer: Peer): void {
    const node = this.#nodes.get(peer.key);
    if (node !== undefined) node.timer = undefined; // nor does it send
    this.#nodes.delete(peer.key);
  }

  /** Loses all that the machine at a peer sends and is sent, or no longer. */
  mute(peer: Peer, isMute: boolean): void {
    if (isMute) this.#muted.add(peer.key);
    else this.#muted.delete(peer.key);
  }

  /** Sends a datagram that no machine has sent, in the name of a peer. */
  forge(from: Peer, to: Peer, bytes: Uint8Array): void {
    this.#send(from, to, bytes);
  }

  /** Loses and doubles nothing from now on. Delays stay, and so does reordering. */
  heal(): void {
    this.#loss = 0;
    this.#duplicate = 0;
  }

  /** Calls `action` at a moment of a later run; its commands take effect at once. */
  at(moment: Millis, action: () => void): void {
    this.#agenda.add({
      type: "action",
      at: Math.max(moment, this.#now),
      action,
    });
  }

  /** Looks anew at what the machine at a peer wants to do, and when. */
  refresh(peer: Peer): void {
    const node = this.#nodes.get(peer.key);
    if (node !== undefined) this.#refresh(node);
  }

  /**
   * Lets everything happen that happens by `until`, which is the moment then.
   *
   * @throws {Error} when a machine never stops being due, with its peer's key
   */
  run(until: Millis): void {
    this.#refreshAll();
    for (let entry; (entry = this.#agenda.takeBy(until)) !== undefined;) {
      // A deadline that its machine has moved since.
      if (entry.type === "timeout" && entry.node.timer !== entry) continue;
      this.#advance(entry.at);
      switch (entry.type) {
        case "arrival":
          this.#deliver(entry);
          break;
        case "timeout":
          this.#expire(entry.node);
          break;
        case "action":
          entry.action();
          this.#refreshAll();
          break;
        default:
          entry satisfies never;
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

  #deliver({ from, to, bytes }: Arrival): void {
    const node = this.#nodes.get(to);
    if (node === undefined || this.#muted.has(to)) {
      this.counts.vanished++;
      return;
    }
    this.counts.delivered++;
    this.#onDelivery?.(this.#now, from, node.peer, bytes);
    node.machine.handleDatagram(this.#now, from, bytes);
    // A machine that keeps a view instead of a copy shall not go unnoticed.
    bytes.fill(SPENT);
    this.#refresh(node);
  }

  #expire(node: Node): void {
    node.timer = undefined;
    if (node.lastAt !== this.#now) node.timeouts = 0;
    node.lastAt = this.#now;
    if (++node.timeouts > MAX_TIMEOUTS_AT_ONCE) {
      throw new Error(
        `Cannot leave moment ${this.#now}: "${node.peer.key}" is always due`,
      );
    }
    node.machine.handleTimeout(this.#now);
    this.#refresh(node);
  }

  #refreshAll(): void {
    for (const node of this.#nodes.values()) this.#refresh(node);
  }

  #refresh(node: Node): void {
    node.poll(node);
    const due = node.machine.nextTimeout();
    if (due === undefined) {
      node.timer = undefined;
      return;
    }
    const at = Math.max(due, this.#now);
    if (node.timer?.at === at) return;
    node.timer = { type: "timeout", at, node };
    this.#agenda.add(node.timer);
  }

  /** To every other machine, to each by its own luck. */
  #broadcast(from: Peer, bytes: Uint8Array): void {
    this.#onSend?.(this.#now, from, undefined, bytes);
    for (const { peer } of this.#nodes.values()) {
      if (peer.key !== from.key) this.#send(from, peer, bytes);
    }
  }

  #send(from: Peer, to: Peer, bytes: Uint8Array): void {
    this.counts.sent++;
    if (this.#random() < this.#loss || this.#muted.has(from.key)) {
      this.counts.lost++;
      this.#note(from, to, bytes, "lost");
      return;
    }
    const first = this.#launch(from, to, bytes);
    if (this.#random() >= this.#duplicate) {
      this.#note(from, to, bytes, `at ${first}`);
      return;
    }
    this.counts.duplicated++;
    const second = this.#launch(from, to, bytes);
    this.#note(from, to, bytes, `at ${first} and at ${second}`);
  }

  #launch(from: Peer, to: Peer, bytes: Uint8Array): Millis {
    const delay = this.#shortest + Math.floor(this.#random() * this.#span);
    const at = this.#now + delay;
    const copy = bytes.slice();
    this.#agenda.add({ type: "arrival", at, from, to: to.key, bytes: copy });
    return at;
  }

  #note(from: Peer, to: Peer, bytes: Uint8Array, fate: string): void {
    if (!this.#isTraced) return;
    this.lines.push(
      `${this.#now} ${from.key} -> ${to.key} ${
        describeDatagram(bytes)
      } (${fate})`,
    );
  }
}

/** Where a datagram goes: what is for a node goes to its forwarder. */
function addressOf(peer: Peer): Peer {
  return isNodePeer(peer) ? peerOf(peer.hostname, peer.port) : peer;
}

/** A machine at its place. */
interface Node {
  readonly peer: Peer;
  readonly machine: Pick<
    Machine<unknown, unknown>,
    "handleDatagram" | "handleTimeout" | "nextTimeout"
  >;
  /** Carries out the machine's effects. */
  readonly poll: (node: Node) => void;
  /** The entry of its deadline; others that name it are out of date. */
  timer: Timeout | undefined;
  /** When `handleTimeout` was called last. */
  lastAt: Millis;
  /** How often it was called at that moment. */
  timeouts: number;
}

interface Arrival {
  readonly type: "arrival";
  readonly at: Millis;
  readonly from: Peer;
  readonly to: string;
  readonly bytes: Uint8Array;
}

interface Timeout {
  readonly type: "timeout";
  readonly at: Millis;
  readonly node: Node;
}

interface Action {
  readonly type: "action";
  readonly at: Millis;
  readonly action: () => void;
}

type Entry = Arrival | Timeout | Action;

/** What is to happen, in order: a binary heap, first in first out at a moment. */
class Agenda {
  readonly #entries: Entry[] = [];
  readonly #orders: number[] = [];
  #order = 0;

  add(entry: Entry): void {
    const entries = this.#entries;
    const orders = this.#orders;
    const order = this.#order++;
    let at = entries.length;
    entries.push(entry);
    orders.push(order);
    // Nothing that is in has a higher order: moments alone decide.
    for (
      let up;
      at > 0 && entries[up = (at - 1) >> 1]!.at > entry.at;
      at = up
    ) {
      entries[at] = entries[up]!;
      orders[at] = orders[up]!;
    }
    entries[at] = entry;
    orders[at] = order;
  }

  /** Takes the first entry out, unless it is later than `until`. */
  takeBy(until: Millis): Entry | undefined {
    const entries = this.#entries;
    const orders = this.#orders;
    const first = entries[0];
    if (first === undefined || first.at > until) return undefined;
    const entry = entries.pop()!;
    const order = orders.pop()!;
    const size = entries.length;
    if (size === 0) return first;
    let at = 0;
    for (let down; (down = 2 * at + 1) < size; at = down) {
      if (down + 1 < size && this.#isBefore(down + 1, down)) down++;
      const { at: moment } = entries[down]!;
      if (
        moment > entry.at || (moment === entry.at && orders[down]! > order)
      ) break;
      entries[at] = entries[down]!;
      orders[at] = orders[down]!;
    }
    entries[at] = entry;
    orders[at] = order;
    return first;
  }

  #isBefore(one: number, other: number): boolean {
    const difference = this.#entries[one]!.at - this.#entries[other]!.at;
    return difference < 0 ||
      (difference === 0 && this.#orders[one]! < this.#orders[other]!);
  }
}
