/**
 * Where messages and subscriptions meet: who subscribed to what, which message each
 * topic retains, and who gets a message that is published.
 *
 * A subscriber whose filters overlap gets a message once, at the highest QoS
 * among those that match, as MQTT lets a server choose. A message is delivered
 * at the lower of its own QoS and that (MQTT 3.1.1 §3.8.4).
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import type {
  DeliveryQos,
  Message,
  TopicFilter,
  TopicName,
} from "../wire/message.ts";
import type { Persisted, Persistence } from "./persistence.ts";
import { RetainedMessages } from "./retained.ts";
import { isSystem } from "../wire/topics.ts";
import { SubscriptionTrie } from "../wire/topic_trie.ts";
import type { Settings } from "./options.ts";

/** A receiver of messages: a session is one. */
export interface Recipient extends Partial<Persisted> {
  /** Which message it is to get next; set by {@linkcode Exchange}. */
  matchedBy: number;
  /** The highest QoS granted among the filters that match that message. */
  matchedQos: DeliveryQos;
  /** Whether it has room for a message of QoS 1 or 2 that so many others get too. */
  hasRoomFor(message: Message, others: number): boolean;
  /** Takes a message. */
  deliver(
    now: Millis,
    message: Message,
    qos: DeliveryQos,
    retain: boolean,
  ): void;
}

/** The limits of an exchange. */
export type ExchangeLimits = Pick<
  Settings,
  "maxRetained" | "maxMemory" | "overflow"
>;

/** Why a message is not accepted. */
export type AdmissionRefusal =
  /** No further message can be retained. */
  | "retained"
  /** A subscriber has no room for it. */
  | "queue"
  /** It would have to be kept, and cannot be at present. */
  | "store";

/**
 * The exchange of one broker.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Exchange, type Recipient } from "./exchange.ts";
 * import { Message } from "../wire/message.ts";
 * import { parseTopicFilter, parseTopicName } from "../wire/topics.ts";
 *
 * const got: string[] = [];
 * const ann: Recipient = {
 *   matchedBy: 0,
 *   matchedQos: 0,
 *   hasRoomFor: () => true,
 *   deliver: (_now, { topicName }, qos) => got.push(`${topicName} at ${qos}`),
 * };
 * const exchange = new Exchange({
 *   maxRetained: 10,
 *   maxMemory: 1e6,
 *   overflow: "drop",
 * });
 * exchange.subscribe(parseTopicFilter("room/+")!, ann, 1);
 * const topicName = parseTopicName("room/1")!;
 * const message = new Message(topicName, new Uint8Array(), 2, false);
 * exchange.deliver(0, message);
 * assertEquals(got, ["room/1 at 1"]);
 * ```
 */
export class Exchange {
  readonly #limits: ExchangeLimits;
  readonly #trie = new SubscriptionTrie<Recipient, DeliveryQos>();
  readonly #persistence: Persistence | undefined;
  readonly #retained: RetainedMessages;
  /** The broker's own: they are few, and take no place from anybody. */
  readonly #system = new RetainedMessages({
    maxRetained: Infinity,
    maxMemory: Infinity,
  });
  /** Who gets the message that is being matched; one array, used again. */
  readonly #matched: Recipient[] = [];
  #matchNumber = 0;

  /**
   * Starts without subscriptions or messages.
   *
   * @param limits how much is retained, and what a full queue means
   * @param persistence where retained messages are kept
   */
  constructor(limits: ExchangeLimits, persistence?: Persistence) {
    this.#limits = limits;
    this.#persistence = persistence;
    this.#retained = new RetainedMessages(limits);
  }

  /** Subscriptions, one for each subscriber and filter. */
  get subscriptions(): number {
    return this.#trie.size;
  }

  /** Topics that have a retained message. */
  get retained(): number {
    return this.#retained.size;
  }

  /** Memory that retained messages take, in octets, estimated. */
  get memory(): number {
    return this.#retained.memory;
  }

  /** Whether any filter's first level is exactly this. */
  hasSubscriptionBelow(firstLevel: string): boolean {
    return this.#trie.hasBelow(firstLevel);
  }

  /** Adds a subscription, or grants an old one another QoS. */
  subscribe(
    filter: TopicFilter,
    subscriber: Recipient,
    qos: DeliveryQos,
  ): void {
    this.#trie.set(filter, subscriber, qos);
  }

  /** Takes a subscription away, if there is one. */
  unsubscribe(filter: TopicFilter, subscriber: Recipient): void {
    this.#trie.delete(filter, subscriber);
  }

  /**
   * Accepts a message or not, before it is acknowledged; what is to be retained
   * is retained from here on, and an empty payload ends that.
   *
   * @returns why it is refused, `undefined` when it is accepted
   */
  admit(message: Message): AdmissionRefusal | undefined {
    if (
      this.#persistence?.mayPromise === false && this.#isToBePersisted(message)
    ) {
      return "store";
    }
    if (message.qos > 0 && this.#limits.overflow === "refuse") {
      let others = 0;
      for (const subscriber of this.#match(message.topicName)) {
        if (subscriber.matchedQos === 0) continue;
        if (!subscriber.hasRoomFor(message, others++)) return "queue";
      }
    }
    if (!message.retain) return undefined;
    return this.retain(message) ? undefined : "retained";
  }

  /**
   * Retains a message in the place of its topic's last one; an empty payload ends
   * that.
   *
   * @returns `false` when there is no room
   */
  retain(message: Message): boolean {
    const { topicName, payload, qos } = message;
    if (isSystem(topicName)) {
      if (payload.length > 0) return this.#system.set(message);
      this.#system.delete(topicName);
      return true;
    }
    if (payload.length === 0) {
      if (!this.#retained.delete(topicName)) return true;
      this.#persistence?.persist({ type: "retainedEnd", topicName });
      return true;
    }
    if (!this.#retained.set(message)) return false;
    const { payload: kept } = message; // its own by now
    this.#persistence?.persist({
      type: "retained",
      topicName,
      payload: kept,
      qos,
    });
    return true;
  }

  /** Restores a retained message from the store; limits do not apply. */
  restore(message: Message): void {
    this.#retained.restore(message);
  }

  /** Whether somebody is promised that a message outlives the process. */
  #isToBePersisted(message: Message): boolean {
    const { topicName, qos, retain } = message;
    if (isSystem(topicName)) return false;
    if (retain) return true;
    if (qos === 0) return false;
    return this.#match(topicName).some(({ persistence, matchedQos }) =>
      persistence !== undefined && matchedQos > 0
    );
  }

  /**
   * Hands a message to everyone who subscribed to its topic.
   *
   * @returns how many
   */
  deliver(now: Millis, message: Message): number {
    const matched = this.#match(message.topicName);
    for (const subscriber of matched) {
      const { matchedQos } = subscriber;
      const qos = matchedQos < message.qos ? matchedQos : message.qos;
      subscriber.deliver(now, message, qos, false);
    }
    return matched.length;
  }

  /** What is retained of the topics that a filter matches, one at a time. */
  retainedFor(filter: TopicFilter): Iterator<Message> {
    const retained = isSystem(filter) ? this.#system : this.#retained;
    return retained.match(filter);
  }

  /** Lets one of the broker's own topics retain nothing any more. */
  forget(topicName: TopicName): void {
    this.#system.delete(topicName);
  }

  /** Who subscribed to a topic, each once; valid until the next call. */
  #match(topicName: TopicName): readonly Recipient[] {
    this.#matched.length = 0;
    this.#matchNumber++;
    this.#trie.match(topicName, this.#note);
    return this.#matched;
  }

  readonly #note = (subscriber: Recipient, qos: DeliveryQos): void => {
    if (subscriber.matchedBy !== this.#matchNumber) {
      subscriber.matchedBy = this.#matchNumber;
      subscriber.matchedQos = qos;
      this.#matched.push(subscriber);
    } else if (qos > subscriber.matchedQos) subscriber.matchedQos = qos;
  };
}
