/**
 * The retained messages that one client is to get for its new subscriptions. They
 * take no memory: each is looked for when its turn comes.
 *
 * A retained message whose delivery at QoS 2 has begun must not come a second time
 * for the same subscription, also if the broker starts anew meanwhile and looks for
 * all of them again. So its topic is noted, and persisted, until the whole of the
 * subscription's messages has been delivered. A newer message of that topic reaches
 * the client like any other publish.
 *
 * @module
 */

import type { MemoryBudget } from "./memory_budget.ts";
import type {
  DeliveryQos,
  Message,
  TopicFilter,
  TopicName,
} from "../wire/message.ts";
import type { SessionPersistence } from "./persistence.ts";

/** What the engine needs around a noted topic, in octets: the name is shared. */
const OVERHEAD = 40;

/** A subscription that has retained messages to deliver. */
export interface RetainedSubscription {
  /** What was subscribed to. */
  readonly filter: TopicFilter;
  /** The retained messages that it matches. */
  readonly messages: Iterator<Message>;
  /** The QoS granted. */
  readonly granted: DeliveryQos;
  /** Topics that were noted before the broker started anew. */
  readonly begun?: Iterable<TopicName> | undefined;
}

/** The retained messages of one subscription. */
export interface RetainedSource extends RetainedSubscription {
  /** The retained messages of all subscriptions of the client. */
  readonly delivery: RetainedDelivery;
  /** Topics whose message at QoS 2 has been begun. Most have none. */
  begun: Set<TopicName> | undefined;
}

/** A step through the retained messages. */
export type RetainedStep =
  /** The next message. */
  | {
    readonly type: "message";
    readonly message: Message;
    readonly source: RetainedSource;
  }
  /** A subscription has no further ones. */
  | { readonly type: "end"; readonly filter: TopicFilter };

/**
 * The retained messages for one client.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { MemoryBudget } from "./memory_budget.ts";
 * import { RetainedDelivery } from "./retained_delivery.ts";
 * import { parseTopicFilter } from "../wire/topics.ts";
 *
 * const filter = parseTopicFilter("room/+")!;
 * const retained = new RetainedDelivery(new MemoryBudget(1_000));
 * retained.add({ filter, messages: [].values(), granted: 1 }, undefined);
 * assertEquals(retained.next(), { type: "end", filter });
 * ```
 */
export class RetainedDelivery {
  readonly #budget: MemoryBudget;
  /** By filter, in the order in which they were subscribed to. */
  readonly #sources = new Map<TopicFilter, RetainedSource>();

  /**
   * Starts with no subscription.
   *
   * @param budget memory for the noted topics of this client
   */
  constructor(budget: MemoryBudget) {
    this.#budget = budget;
  }

  /** How many subscriptions there are. */
  get size(): number {
    return this.#sources.size;
  }

  /** Whether a subscription has further messages. */
  has(filter: TopicFilter): boolean {
    return this.#sources.has(filter);
  }

  /**
   * Takes a subscription's messages, in place of what was left of the same one's.
   *
   * @param persistence of the session, if it has one
   */
  add(
    { filter, messages, granted, begun = [] }: RetainedSubscription,
    persistence: SessionPersistence | undefined,
  ): void {
    this.#endBegun(this.#sources.get(filter), persistence);
    const source: RetainedSource = {
      filter,
      delivery: this,
      messages,
      granted,
      begun: undefined,
    };
    for (const topicName of begun) {
      if (source.begun?.has(topicName)) continue;
      this.#budget.charge(costOf(topicName));
      (source.begun ??= new Set()).add(topicName);
    }
    // In the place of the same subscription, if it is made anew.
    this.#sources.set(filter, source);
  }

  /** Forgets the messages of a subscription. */
  drop(filter: TopicFilter, persistence: SessionPersistence | undefined): void {
    this.#endBegun(this.#sources.get(filter), persistence);
    this.#sources.delete(filter);
  }

  /** The next step; `undefined` when there is no subscription left. */
  next(): RetainedStep | undefined {
    for (const source of this.#sources.values()) {
      const { messages, begun, filter } = source;
      let message: Message | undefined;
      do message = messages.next().value; while (
        message !== undefined && begun?.has(message.topicName)
      );
      return message === undefined
        ? { type: "end", filter }
        : { type: "message", message, source };
    }
    return undefined;
  }

  /**
   * Notes a topic whose message at QoS 2 is about to leave. It has to be persisted
   * together with the message's msgId: the one without the other would double or
   * lose the message. Where there is no room, the message may come twice if the
   * process ends before its delivery does.
   */
  note(
    source: RetainedSource,
    topicName: TopicName,
    persistence: SessionPersistence | undefined,
  ): void {
    const { filter } = source;
    // A later SUBSCRIBE of the same filter begins anew.
    if (this.#sources.get(filter) !== source) return;
    if (source.begun?.has(topicName)) return;
    if (!this.#budget.take(costOf(topicName))) return;
    (source.begun ??= new Set()).add(topicName);
    persistence?.persist({ type: "begun", topicFilter: filter, topicName });
  }

  /** Persists the topics that are noted. */
  persistAll(persistence: SessionPersistence): void {
    for (const { filter, begun } of this.#sources.values()) {
      for (const topicName of begun ?? []) {
        persistence.persist({ type: "begun", topicFilter: filter, topicName });
      }
    }
  }

  /** Forgets all subscriptions, of a session that is not persisted any more. */
  clear(): void {
    for (const { begun } of this.#sources.values()) {
      if (begun !== undefined) this.#release(begun);
    }
    this.#sources.clear();
  }

  #endBegun(
    source: RetainedSource | undefined,
    persistence: SessionPersistence | undefined,
  ): void {
    if (source?.begun === undefined) return;
    this.#release(source.begun);
    persistence?.persist({ type: "begunEnd", topicFilter: source.filter });
  }

  #release(topics: ReadonlySet<TopicName>): void {
    for (const topicName of topics) this.#budget.give(costOf(topicName));
  }
}

function costOf(topicName: TopicName): number {
  return topicName.length * 2 + OVERHEAD;
}
