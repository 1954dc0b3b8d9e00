/**
 * Which retained messages have been begun at QoS 2 for one subscription, while the
 * rest of them is still to be delivered: a broker that starts again looks for all
 * of them anew, and passes these over. Knows topics, and tells of each; nothing of
 * messages or of how far one is.
 *
 * A topic that is noted comes no second time for the same subscription, whatever
 * becomes of its message: a newer one was published to the subscriber like any other.
 *
 * @module
 */

import type { MemoryBudget } from "./memory_budget.ts";
import type { TopicFilter, TopicName } from "../wire/message.ts";
import type { SessionPersister } from "./persistence.ts";

/** What the engine needs around a topic, in octets, roughly: the name is shared. */
const OVERHEAD = 40;

/**
 * The topics of one subscription.
 *
 * @example
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { Begun } from "./begun.ts";
 * import { MemoryBudget } from "./memory_budget.ts";
 * import { parseTopicFilter, parseTopicName } from "../wire/topics.ts";
 *
 * const budget = new MemoryBudget(1_000);
 * const begun = new Begun(parseTopicFilter("room/+")!, budget);
 * begun.add(parseTopicName("room/1")!, undefined);
 * assert(begun.has(parseTopicName("room/1")!));
 * begun.end(undefined);
 * assertEquals(budget.used, 0);
 * ```
 */
export class Begun {
  readonly #filter: TopicFilter;
  readonly #budget: MemoryBudget;
  readonly #topics = new Set<TopicName>();

  /**
   * Starts with none.
   *
   * @param filter what was subscribed to
   * @param budget memory for the topics of one client
   */
  constructor(filter: TopicFilter, budget: MemoryBudget) {
    this.#filter = filter;
    this.#budget = budget;
  }

  /** Whether a topic's message has been begun. */
  has(topicName: TopicName): boolean {
    return this.#topics.has(topicName);
  }

  /**
   * Notes a topic, unless there is no room: its message may come twice then, if the
   * process ends before the last one has been delivered.
   *
   * @param persister of the session, if it is kept
   */
  add(topicName: TopicName, persister: SessionPersister | undefined): void {
    if (this.has(topicName) || !this.#budget.take(costOf(topicName))) return;
    this.#topics.add(topicName);
    this.#persist(topicName, persister);
  }

  /** Takes a topic that was kept, whatever the limits. */
  restore(topicName: TopicName): void {
    if (this.has(topicName)) return;
    this.#budget.charge(costOf(topicName));
    this.#topics.add(topicName);
  }

  /** Persists all topics. */
  persistAll(persister: SessionPersister): void {
    for (const topicName of this.#topics) this.#persist(topicName, persister);
  }

  #persist(
    topicName: TopicName,
    persister: SessionPersister | undefined,
  ): void {
    const topicFilter = this.#filter;
    persister?.persist({ type: "begun", topicFilter, topicName });
  }

  /**
   * Forgets all of them.
   *
   * @param persister of the session, if it is kept
   */
  end(persister: SessionPersister | undefined): void {
    if (this.#topics.size === 0) return;
    for (const topicName of this.#topics) this.#budget.give(costOf(topicName));
    this.#topics.clear();
    persister?.persist({ type: "begunEnd", topicFilter: this.#filter });
  }
}

function costOf(topicName: TopicName): number {
  return topicName.length * 2 + OVERHEAD;
}
