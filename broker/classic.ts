/**
 * The broker's classic side: what each request leads to.
 *
 * A publish adds to its topic's history, is acknowledged, and then serves
 * the clients that wait for the topic. A subscribe is answered with the whole history in
 * one datagram or, where there is none yet, waits for it. Either way it is over
 * after one answer.
 *
 * A history that its source has no allowance for (`broker/rate_limit.ts`) is held back
 * and sent, whole, when the allowance has grown again.
 *
 * A broker that keeps no history has nothing to answer with but what is published
 * just then: each subscribe waits for the next publish, whose datum alone it gets.
 * If the source has no allowance for it, it waits for another.
 *
 * @module
 */

import { RateLimiter } from "./rate_limit.ts";
import {
  CLASSIC_REPLY,
  type ClassicRefusal,
  type ClassicRequest,
  decodeRequest,
  encodeReply,
} from "../wire/classic.ts";
import type { Millis } from "../base/clock.ts";
import {
  ClassicHistory,
  costOf,
  type ForgetReason,
} from "./classic_history.ts";
import type { ClassicTopic } from "../wire/message.ts";
import { MalformedPacketError } from "../base/errors.ts";
import { MAX_DATAGRAM, type Peer } from "../base/peer.ts";
import type { Settings } from "./options.ts";
import type { Outlet } from "./outlet.ts";
import type { Persistence } from "./persistence.ts";
import { decodeUtf8Loosely, encodeUtf8 } from "../base/utf8.ts";
import {
  type ClassicSubscription,
  ClassicWaitingList,
} from "./classic_waiting.ts";

/** What the classic side asks of the broker's core. */
export interface ClassicHost {
  /** Hands on what was published, once it has been acknowledged. */
  publishClassic(now: Millis, topicName: ClassicTopic, data: string): void;
  /** Drops what is no request; nor is it a message of another protocol. */
  dropMalformed(peer: Peer, bytes: Uint8Array): void;
}

/** What the classic side works with. */
export interface ClassicParts {
  /** The broker's settings. */
  readonly settings: Settings;
  /** The way out. */
  readonly outlet: Outlet;
  /** Where histories are persisted. */
  readonly persistence: Persistence;
  /** The broker's core. */
  readonly host: ClassicHost;
}

/**
 * What the classic side counted, and what its tables hold now.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, ClassicClient } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await ClassicClient.connect({ port: broker.port });
 * await client.publish("weather", "21.5");
 * assertEquals(broker.stats().classic.topics, 1);
 * ```
 */
export interface ClassicStats {
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
  /** Data that left a history, by reason. */
  readonly forgotten: Readonly<Record<ForgetReason, number>>;
  /** Topics that have a history now. */
  readonly topics: number;
  /** Subscriptions that wait or are held now. */
  readonly waiting: number;
  /** Memory that histories and subscriptions take now, in octets, estimated. */
  readonly memory: number;
}

const ACCEPTED = encodeReply(CLASSIC_REPLY.accepted);
const REFUSALS: Readonly<Record<ClassicRefusal, Uint8Array>> = {
  invalidRequest: encodeReply(CLASSIC_REPLY.invalidRequest),
  invalidTopic: encodeReply(CLASSIC_REPLY.invalidTopic),
  invalidData: encodeReply(CLASSIC_REPLY.invalidData),
  failed: encodeReply(CLASSIC_REPLY.failed),
};

/** The classic side of a broker. */
export class ClassicBroker {
  readonly #settings: Settings;
  readonly #persistence: Persistence;
  readonly #outlet: Outlet;
  readonly #host: ClassicHost;
  readonly #allowances: RateLimiter;
  readonly #histories: ClassicHistory;
  readonly #waiting: ClassicWaitingList;
  /** What is held back, in order, by the source's address. */
  readonly #held = new Map<string, ClassicSubscription[]>();
  #heldCount = 0;
  #heldMemory = 0;
  #heldUntil: Millis | undefined;
  /** The history, or the datum, that was sent last: many may ask for the same. */
  #encoded: { topicName: ClassicTopic; bytes: Uint8Array } | undefined;

  readonly #counts = {
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
  readonly #forgotten = { count: 0, datagram: 0, memory: 0 };

  /**
   * Starts with empty tables.
   *
   * @param parts what it works with
   */
  constructor({ settings, outlet, persistence, host }: ClassicParts) {
    const { allowance, allowanceRate, maxSources } = settings;
    this.#settings = settings;
    this.#persistence = persistence;
    this.#outlet = outlet;
    this.#host = host;
    this.#allowances = new RateLimiter({
      burst: allowance,
      rate: allowanceRate,
      maxSources,
    });
    this.#waiting = new ClassicWaitingList(
      this.#settings,
      ({ peer }) => this.#outlet.drop(peer, "displaced"),
    );
    this.#histories = new ClassicHistory(
      this.#settings,
      (topicName, reason, count) =>
        this.#handleForgotten(topicName, reason, count),
      persistence,
    );
  }

  /**
   * Whether it needs no message of another protocol: no history is kept, and
   * nobody waits for a datum.
   */
  get isIdle(): boolean {
    return !this.#keepsHistory && this.#waiting.size === 0;
  }

  /** Takes one datagram from a peer. */
  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    let request: ClassicRequest;
    try {
      request = decodeRequest(bytes);
    } catch (error) {
      if (!(error instanceof MalformedPacketError)) throw error;
      return this.#host.dropMalformed(peer, bytes);
    }

    const { length } = bytes;
    if (this.#isUnable(request)) {
      return this.#refuse(now, peer, "failed", length);
    }
    switch (request.type) {
      case "publish":
        return this.#publish(now, peer, request.topicName, request.data);
      case "subscribe":
        return this.#subscribe(now, peer, request.topicName, length);
      case "invalid":
        return this.#refuse(now, peer, request.refusal, length);
      case "unknown":
        return this.#outlet.drop(peer, "unknownType");
      default:
        request satisfies never;
    }
  }

  /**
   * Takes what was published by another protocol, as text. What this one could
   * not have published, a blank datum or one too long, is left out.
   *
   * @param isPromised whether its publisher is promised that it is kept
   */
  enter(
    now: Millis,
    topicName: ClassicTopic,
    payload: Uint8Array,
    isPromised: boolean,
  ): void {
    const datum = textIn(payload);
    if (datum === undefined || datum.length > MAX_DATAGRAM) return;
    const isKept = isPromised && this.#persistence.mayPromise;
    this.#enter(topicName, datum, isKept);
    this.#serve(now, topicName);
  }

  /**
   * Refuses what was accepted and cannot be kept.
   *
   * @param bytes the reply that was to be sent
   * @returns whether there was anything to refuse
   */
  handleUncommitted(now: Millis, peer: Peer, bytes: Uint8Array): boolean {
    const isAccepted = bytes.length === ACCEPTED.length &&
      ACCEPTED.every((octet, i) => octet === bytes[i]);
    if (!isAccepted) return false;
    this.#refuse(now, peer, "failed", bytes.length);
    return true;
  }

  /** Takes a datum that was kept. */
  restore(topicName: ClassicTopic, text: string, seq: number): void {
    if (!this.#keepsHistory) {
      // The history was persisted by an earlier run: it is not to be read again.
      this.#persistence.persist({ type: "datumEnd", seq });
      return this.#handleForgotten(topicName, "count", 1);
    }
    this.#histories.restore(topicName, encodeUtf8(text), seq);
  }

  /** Whether the store does not let it do what is asked. */
  #isUnable({ type }: ClassicRequest): boolean {
    if (type === "publish" && this.#keepsHistory) {
      return !this.#persistence.mayPromise;
    }
    return (type === "publish" || type === "subscribe") &&
      this.#persistence.state === "loading";
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

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): ClassicStats {
    return {
      ...this.#counts,
      refused: { ...this.#refused },
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
    const datum = encodeUtf8(data);
    const octets = datum.length;
    this.#enter(topicName, datum, true);
    this.#counts.published++;
    this.#outlet.trace({ type: "publish", peer, topicName, octets });
    // The acknowledgement goes first: the publisher may be waiting itself.
    this.#outlet.send(peer, ACCEPTED, this.#keepsHistory);

    this.#serve(now, topicName);
    this.#host.publishClassic(now, topicName, data);
  }

  /** Adds a datum to its topic's history, or keeps it for the clients that wait now. */
  #enter(
    topicName: ClassicTopic,
    datum: Uint8Array,
    isPromised: boolean,
  ): void {
    if (this.#keepsHistory) {
      this.#histories.append(topicName, datum, isPromised);
      this.#encoded = undefined;
    } else this.#encoded = { topicName, bytes: datum.slice() };
  }

  /** Answers those who wait for a topic. */
  #serve(now: Millis, topicName: ClassicTopic): void {
    for (const subscription of this.#waiting.take(topicName)) {
      this.#answer(now, subscription, 0);
    }
    if (!this.#keepsHistory) this.#encoded = undefined;
  }

  get #keepsHistory(): boolean {
    return this.#settings.history > 0;
  }

  #handleForgotten(
    topicName: ClassicTopic,
    reason: ForgetReason,
    count: number,
  ): void {
    this.#forgotten[reason] += count;
    this.#outlet.trace({ type: "forget", topicName, reason, count });
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
    this.#outlet.trace({ type: "subscribe", peer, topicName });
    if (hasHistory) this.#answer(now, { peer, topicName }, asked);
    else this.#waiting.add({ peer, topicName });
  }

  /** Sends a history now, or when those held back before it have gone. */
  #answer(now: Millis, subscription: ClassicSubscription, asked: number): void {
    const { peer, topicName } = subscription;
    const octets = this.#encoded?.topicName === topicName
      ? this.#encoded.bytes.length
      : this.#histories.octetsOf(topicName);
    const excess = octets - asked;
    const isNext = excess <= 0 || !this.#held.has(peer.hostname);
    if (isNext && this.#allowances.spend(now, peer, excess)) {
      return this.#deliver(subscription);
    }
    this.#hold(subscription);
  }

  /** Sends a history that was held back, if it has not been forgotten since. */
  #answerHeld(now: Millis, subscription: ClassicSubscription): void {
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

  #deliver({ peer, topicName }: ClassicSubscription): void {
    if (this.#encoded?.topicName !== topicName) {
      const bytes = this.#histories.read(topicName) ?? new Uint8Array();
      this.#encoded = { topicName, bytes };
    }
    const { bytes } = this.#encoded;
    this.#counts.delivered++;
    const octets = bytes.length;
    this.#outlet.trace({ type: "deliver", peer, topicName, octets });
    this.#outlet.send(peer, bytes);
  }

  #hold(subscription: ClassicSubscription): void {
    const { peer, topicName } = subscription;
    const { maxHeldPerSource, maxMemory } = this.#settings;
    const readyAt = this.#allowances.readyAt(peer);
    const held = this.#held.get(peer.hostname) ?? [];
    const memory = this.#heldMemory + costOf(topicName);
    if (
      readyAt === undefined || held.length >= maxHeldPerSource ||
      memory > maxMemory
    ) {
      return this.#outlet.drop(
        peer,
        "allowance",
        "Too much is held back already",
      );
    }
    this.#heldUntil = Math.min(this.#heldUntil ?? readyAt, readyAt);
    held.push(subscription);
    this.#held.set(peer.hostname, held);
    this.#heldCount++;
    this.#heldMemory = memory;
    this.#counts.held++;
    this.#outlet.trace({ type: "hold", peer, topicName });
  }

  #refuse(
    now: Millis,
    peer: Peer,
    reason: ClassicRefusal,
    asked: number,
  ): void {
    const reply = REFUSALS[reason];
    if (!this.#allowances.spend(now, peer, reply.length - asked)) {
      return this.#outlet.drop(peer, "allowance", CLASSIC_REPLY[reason]);
    }
    this.#refused[reason]++;
    this.#outlet.trace({ type: "refuse", peer, reason });
    this.#outlet.send(peer, reply);
  }
}

/**
 * The octets of a payload as text: the payload itself, if it is text; `undefined`
 * for what is blank. Most is ASCII, and is seen to be without making text of it.
 */
function textIn(payload: Uint8Array): Uint8Array | undefined {
  let isBlank = true;
  for (let i = 0; i < payload.length; i++) {
    const octet = payload[i]!;
    if (octet >= 0x80) return anyTextIn(payload);
    // Space, and from tab to carriage return.
    if (octet !== 0x20 && (octet < 0x09 || octet > 0x0d)) isBlank = false;
  }
  return isBlank ? undefined : payload;
}

function anyTextIn(payload: Uint8Array): Uint8Array | undefined {
  const text = decodeUtf8Loosely(payload);
  if (text.trim() === "") return undefined;
  return text.includes("\ufffd") ? encodeUtf8(text) : payload;
}
