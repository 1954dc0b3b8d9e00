/**
 * The broker's core: datagrams in, effects out. Knows who waits for which topic
 * and what was published to it; never a socket, a timer, the time of day or a
 * log. Its surface is that of every machine (`machine.ts`).
 *
 * A publish adds to its topic's history, is acknowledged, and then serves
 * whoever waits for the topic. A subscribe is answered with the whole history in
 * one datagram or, where there is none yet, waits for it. Either way it is over
 * after one answer.
 *
 * A history that its source has no allowance for (`allowance.ts`) is held back
 * and sent, whole, when the allowance has grown again.
 *
 * @module
 */

import { Allowances } from "./allowance.ts";
import {
  CLASSIC_REPLY,
  type ClassicRefusal,
  type ClassicRequest,
  decodeRequest,
  encodeReply,
} from "./classic.ts";
import type { Millis } from "./clock.ts";
import { costOf, type ForgetReason, Histories } from "./history.ts";
import { type Effect, EffectQueue, type Machine } from "./machine.ts";
import {
  type ClassicTopic,
  MalformedPacketError,
  MAX_DATAGRAM,
  type Peer,
} from "./message.ts";
import { type Subscription, WaitingList } from "./waiting.ts";

/** Why a datagram or a subscription got no answer. */
export type DropReason =
  /** It had no octets. */
  | "empty"
  /** It was of no protocol that is known. */
  | "malformed"
  /** Its `type` is nobody's. */
  | "unknownType"
  /** Its source has no allowance left for the answer. */
  | "allowance"
  /** Too many others have begun to wait since. */
  | "displaced";

/** What the router tells about its work. */
export type RouterEvent =
  | PublishEvent
  | SubscribeEvent
  | DeliverEvent
  | HoldEvent
  | RefuseEvent
  | DropEvent
  | ForgetEvent;

/** A publish was accepted. */
export interface PublishEvent {
  /** Which event this is. */
  readonly type: "publish";
  /** Who published. */
  readonly peer: Peer;
  /** To which topic. */
  readonly topicName: ClassicTopic;
  /** Length of the datum in octets. */
  readonly octets: number;
}

/** A subscribe was accepted. */
export interface SubscribeEvent {
  /** Which event this is. */
  readonly type: "subscribe";
  /** Who subscribed. */
  readonly peer: Peer;
  /** To which topic. */
  readonly topicName: ClassicTopic;
}

/** A history was sent to a subscriber. */
export interface DeliverEvent {
  /** Which event this is. */
  readonly type: "deliver";
  /** To whom. */
  readonly peer: Peer;
  /** Of which topic. */
  readonly topicName: ClassicTopic;
  /** Length of the datagram in octets. */
  readonly octets: number;
}

/** A history is held back until its source's allowance has grown. */
export interface HoldEvent {
  /** Which event this is. */
  readonly type: "hold";
  /** Who has to wait. */
  readonly peer: Peer;
  /** For which topic. */
  readonly topicName: ClassicTopic;
}

/** A request was refused. */
export interface RefuseEvent {
  /** Which event this is. */
  readonly type: "refuse";
  /** Whose request. */
  readonly peer: Peer;
  /** Which reply it got. */
  readonly reason: ClassicRefusal;
}

/** A datagram or a subscription was left unanswered. */
export interface DropEvent {
  /** Which event this is. */
  readonly type: "drop";
  /** Whose. */
  readonly peer: Peer;
  /** Why, for a counter. */
  readonly reason: DropReason;
  /** Why, for a person. */
  readonly detail: string;
}

/** Data left a topic's history. */
export interface ForgetEvent {
  /** Which event this is. */
  readonly type: "forget";
  /** Of which topic. */
  readonly topicName: ClassicTopic;
  /** Why. */
  readonly reason: ForgetReason;
  /** How many data. */
  readonly count: number;
}

/** The router's limits: whole numbers. */
export interface RouterOptions {
  /** Data kept for each topic; 1 or more. Default 1,000. */
  readonly history?: number;
  /** Topics that have a history; 1 or more. Default 10,000. */
  readonly maxTopics?: number;
  /** Subscriptions that wait for a first datum; 1 or more. Default 10,000. */
  readonly maxWaiting?: number;
  /** Those of one peer that wait; 0 or more. Default 100. */
  readonly maxWaitingPerPeer?: number;
  /** Those of one source that are held; 1 or more. Default 16. */
  readonly maxHeldPerSource?: number;
  /**
   * Memory in octets, estimated, for all histories, as much again for all
   * subscriptions that wait and for all that are held; 65,507 or more. Default
   * 64 MiB.
   */
  readonly maxMemory?: number;
  /**
   * Octets that a source beyond this machine may be sent at once in excess of
   * what it sent; 1 or more. Default 128 KiB.
   */
  readonly allowance?: number;
  /** Octets a second by which an allowance grows back; 1 or more. Default 16 KiB. */
  readonly allowanceRate?: number;
  /** Sources whose allowance is followed at a time; 1 or more. Default 10,000. */
  readonly maxSources?: number;
}

/** What the router counted since its start, and what its tables hold now. */
export interface RouterStats {
  /** Datagrams taken. */
  readonly received: number;
  /** Datagrams sent. */
  readonly sent: number;
  /** Publishes accepted. */
  readonly published: number;
  /** Subscribes accepted. */
  readonly subscribed: number;
  /** Histories sent to subscribers. */
  readonly delivered: number;
  /** Histories held back until an allowance had grown. */
  readonly held: number;
  /** Requests refused, by reply. */
  readonly refused: Readonly<Record<ClassicRefusal, number>>;
  /** Datagrams and subscriptions left unanswered, by reason. */
  readonly dropped: Readonly<Record<DropReason, number>>;
  /** Data that left a history, by reason. */
  readonly forgotten: Readonly<Record<ForgetReason, number>>;
  /** Topics that have a history now. */
  readonly topics: number;
  /** Subscriptions that wait or are held now. */
  readonly waiting: number;
  /** Memory that histories and subscriptions take now, in octets, estimated. */
  readonly memory: number;
}

/** Each limit's default and least value. */
const LIMITS = {
  history: [1_000, 1],
  maxTopics: [10_000, 1],
  maxWaiting: [10_000, 1],
  maxWaitingPerPeer: [100, 0],
  maxHeldPerSource: [16, 1],
  maxMemory: [64 * 1024 * 1024, MAX_DATAGRAM],
  allowance: [128 * 1024, 1],
  allowanceRate: [16 * 1024, 1],
  maxSources: [10_000, 1],
} as const satisfies Record<keyof RouterOptions, readonly [number, number]>;

const ACCEPTED = encodeReply(CLASSIC_REPLY.accepted);
const REFUSALS: Readonly<Record<ClassicRefusal, Uint8Array>> = {
  invalidRequest: encodeReply(CLASSIC_REPLY.invalidRequest),
  invalidTopic: encodeReply(CLASSIC_REPLY.invalidTopic),
  invalidData: encodeReply(CLASSIC_REPLY.invalidData),
  failed: encodeReply(CLASSIC_REPLY.failed),
};

/**
 * The broker's core.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { peerOf } from "./message.ts";
 * import { Router } from "./router.ts";
 *
 * const router = new Router();
 * const peer = peerOf("127.0.0.1", 4711);
 * const request = '{"type":"publish","topic":"weather","data":"21.5"}';
 * router.handleDatagram(0, peer, new TextEncoder().encode(request));
 *
 * const replies: string[] = [];
 * for (let effect; (effect = router.pollEffect());) {
 *   if (effect.type === "send") {
 *     replies.push(new TextDecoder().decode(effect.bytes));
 *   }
 * }
 * assertEquals(replies, ["Broker has recieved message"]);
 * ```
 */
export class Router implements Machine<RouterEvent> {
  readonly #limits: Required<RouterOptions>;
  readonly #effects = new EffectQueue<RouterEvent>();
  readonly #allowances: Allowances;
  readonly #histories: Histories;
  readonly #waiting: WaitingList;
  /** What is held back, in order, by the source's address. */
  readonly #held = new Map<string, Subscription[]>();
  #heldCount = 0;
  #heldMemory = 0;
  #heldUntil: Millis | undefined;
  /** The history that was sent last: many may ask for the same. */
  #encoded: { topicName: ClassicTopic; bytes: Uint8Array } | undefined;

  readonly #counts = {
    received: 0,
    sent: 0,
    published: 0,
    subscribed: 0,
    delivered: 0,
    held: 0,
  };
  readonly #refused = {
    invalidRequest: 0,
    invalidTopic: 0,
    invalidData: 0,
    failed: 0,
  };
  readonly #dropped = {
    empty: 0,
    malformed: 0,
    unknownType: 0,
    allowance: 0,
    displaced: 0,
  };
  readonly #forgotten = { count: 0, datagram: 0, memory: 0 };

  /**
   * Makes a router with empty tables.
   *
   * @param options limits other than the defaults
   * @throws {RangeError} when a limit is too small or no whole number
   */
  constructor(options: RouterOptions = {}) {
    this.#limits = limitsFrom(options);
    this.#allowances = new Allowances(this.#limits);
    this.#waiting = new WaitingList(
      this.#limits,
      ({ peer }) => this.#drop(peer, "displaced", "Others wait since"),
    );
    this.#histories = new Histories(
      this.#limits,
      (topicName, reason, count) => {
        this.#forgotten[reason] += count;
        this.#effects.trace({ type: "forget", topicName, reason, count });
      },
    );
  }

  /** Takes one datagram from a peer. */
  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    this.#counts.received++;
    if (bytes.length === 0) return this.#drop(peer, "empty", "No octets");
    if (bytes.length > MAX_DATAGRAM) {
      return this.#drop(peer, "malformed", `${bytes.length} octets`);
    }

    let request: ClassicRequest;
    try {
      request = decodeRequest(bytes);
    } catch (error) {
      if (!(error instanceof MalformedPacketError)) throw error;
      return this.#drop(peer, "malformed", error.message);
    }

    const { length } = bytes;
    switch (request.type) {
      case "publish":
        return this.#publish(now, peer, request.topicName, request.data);
      case "subscribe":
        return this.#subscribe(now, peer, request.topicName, length);
      case "invalid":
        return this.#refuse(now, peer, request.refusal, length);
      case "unknown":
        return this.#drop(peer, "unknownType", "Unknown type of request");
      default:
        request satisfies never;
    }
  }

  /** Sends what was held back and may go by now. */
  handleTimeout(now: Millis): void {
    if (this.#heldUntil === undefined || now < this.#heldUntil) return;
    this.#heldUntil = undefined;
    for (const [hostname, held] of this.#held) {
      for (let first; (first = held[0]) !== undefined;) {
        const readyAt = this.#allowances.readyAt(first.peer) ?? now;
        if (readyAt > now) {
          this.#heldUntil = Math.min(this.#heldUntil ?? readyAt, readyAt);
          break;
        }
        held.shift();
        this.#heldCount--;
        this.#heldMemory -= costOf(first.topicName);
        this.#answerHeld(now, first);
      }
      if (held.length === 0) this.#held.delete(hostname);
    }
  }

  /** When the next history that was held back may go. */
  nextTimeout(): Millis | undefined {
    return this.#heldUntil;
  }

  /** The next effect in order, `undefined` when there is none left. */
  pollEffect(): Effect<RouterEvent> | undefined {
    return this.#effects.poll();
  }

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): RouterStats {
    return {
      ...this.#counts,
      refused: { ...this.#refused },
      dropped: { ...this.#dropped },
      forgotten: { ...this.#forgotten },
      topics: this.#histories.size,
      waiting: this.#waiting.size + this.#heldCount,
      memory: this.#histories.memory + this.#waiting.memory +
        this.#heldMemory,
    };
  }

  #publish(
    now: Millis,
    peer: Peer,
    topicName: ClassicTopic,
    data: string,
  ): void {
    const octets = this.#histories.append(topicName, data);
    this.#encoded = undefined;
    this.#counts.published++;
    this.#effects.trace({ type: "publish", peer, topicName, octets });
    // The acknowledgement goes first: the publisher may be waiting itself.
    this.#send(peer, ACCEPTED);

    for (const subscription of this.#waiting.take(topicName)) {
      this.#answer(now, subscription, 0);
    }
  }

  #subscribe(
    now: Millis,
    peer: Peer,
    topicName: ClassicTopic,
    asked: number,
  ): void {
    const hasHistory = this.#histories.has(topicName);
    if (!hasHistory && this.#waiting.isFullFor(peer)) {
      return this.#refuse(now, peer, "failed", asked);
    }
    this.#counts.subscribed++;
    this.#effects.trace({ type: "subscribe", peer, topicName });
    if (hasHistory) this.#answer(now, { peer, topicName }, asked);
    else this.#waiting.add({ peer, topicName });
  }

  /** Sends a history now, or when those held back before it have gone. */
  #answer(now: Millis, subscription: Subscription, asked: number): void {
    const { peer, topicName } = subscription;
    const excess = this.#histories.octetsOf(topicName) - asked;
    const isNext = excess <= 0 || !this.#held.has(peer.hostname);
    if (isNext && this.#allowances.spend(now, peer, excess)) {
      return this.#deliver(subscription);
    }
    this.#hold(subscription);
  }

  /** Sends a history that was held back, if it has not been forgotten since. */
  #answerHeld(now: Millis, subscription: Subscription): void {
    const { peer, topicName } = subscription;
    if (!this.#histories.has(topicName)) {
      if (!this.#waiting.isFullFor(peer)) {
        return this.#waiting.add(subscription);
      }
      return this.#refuse(now, peer, "failed", 0);
    }
    this.#allowances.spend(now, peer, this.#histories.octetsOf(topicName));
    this.#deliver(subscription);
  }

  #deliver({ peer, topicName }: Subscription): void {
    if (this.#encoded?.topicName !== topicName) {
      const bytes = encodeReply(this.#histories.read(topicName) ?? "");
      this.#encoded = { topicName, bytes };
    }
    const { bytes } = this.#encoded;
    this.#counts.delivered++;
    const octets = bytes.length;
    this.#effects.trace({ type: "deliver", peer, topicName, octets });
    this.#send(peer, bytes);
  }

  #hold(subscription: Subscription): void {
    const { peer, topicName } = subscription;
    const { maxHeldPerSource, maxMemory } = this.#limits;
    const readyAt = this.#allowances.readyAt(peer);
    const held = this.#held.get(peer.hostname) ?? [];
    const memory = this.#heldMemory + costOf(topicName);
    if (
      readyAt === undefined || held.length >= maxHeldPerSource ||
      memory > maxMemory
    ) return this.#drop(peer, "allowance", "Too much is held back already");
    this.#heldUntil = Math.min(this.#heldUntil ?? readyAt, readyAt);
    held.push(subscription);
    this.#held.set(peer.hostname, held);
    this.#heldCount++;
    this.#heldMemory = memory;
    this.#counts.held++;
    this.#effects.trace({ type: "hold", peer, topicName });
  }

  #refuse(
    now: Millis,
    peer: Peer,
    reason: ClassicRefusal,
    asked: number,
  ): void {
    const reply = REFUSALS[reason];
    if (!this.#allowances.spend(now, peer, reply.length - asked)) {
      return this.#drop(peer, "allowance", CLASSIC_REPLY[reason]);
    }
    this.#refused[reason]++;
    this.#effects.trace({ type: "refuse", peer, reason });
    this.#send(peer, reply);
  }

  #drop(peer: Peer, reason: DropReason, detail: string): void {
    this.#dropped[reason]++;
    this.#effects.trace({ type: "drop", peer, reason, detail });
  }

  #send(peer: Peer, bytes: Uint8Array): void {
    this.#counts.sent++;
    this.#effects.send(peer, bytes);
  }
}

function limitsFrom(options: RouterOptions): Required<RouterOptions> {
  const limits: Record<string, number> = {};
  for (const [name, [usual, least]] of Object.entries(LIMITS)) {
    const value = options[name as keyof RouterOptions] ?? usual;
    if (!Number.isSafeInteger(value) || value < least) {
      throw new RangeError(
        `Cannot take "${value}" as ${name}: it is a whole number, ${least} or more`,
      );
    }
    limits[name] = value;
  }
  return limits as Required<Record<keyof RouterOptions, number>>;
}
