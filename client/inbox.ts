/**
 * Which of a client's subscriptions a message is for.
 *
 * The broker sends a message once to a client, however many of its subscriptions
 * match. So each message is matched here again. One of a kept session may come
 * before anybody has subscribed for it in this run: it waits, as the others do,
 * and is handed to the first subscription that matches.
 *
 * @module
 */

import { type DeviceTopic, topicKeyOf } from "./commands.ts";
import type { ReceivedMessage } from "./events.ts";
import type { TopicFilter, TopicName } from "../wire/message.ts";
import type { Subscription } from "./subscription.ts";
import { parseTopicFilter } from "../wire/topics.ts";
import { SubscriptionTrie } from "../wire/topic_trie.ts";

/** Subscriptions to the very same topic. */
type Group = Set<Subscription>;

/** A client's subscriptions. */
export class Inbox {
  readonly #isKept: boolean;
  readonly #limit: number;
  #mayWait: boolean;
  readonly #groups = new Map<string, Group>();
  readonly #byFilter = new SubscriptionTrie<Group, true>();
  #unclaimed: ReceivedMessage[] = [];
  #received = 0;
  #dropped = 0;

  /**
   * Makes an inbox without subscriptions.
   *
   * @param isKept whether what is for none of them may be of a kept session
   * @param limit how much of that waits, 1 or more
   * @param mayWait whether any of that may wait before anybody has subscribed
   */
  constructor(isKept: boolean, limit: number, mayWait = true) {
    this.#isKept = isKept;
    this.#limit = limit;
    this.#mayWait = mayWait;
  }

  /** Messages that came. */
  get received(): number {
    return this.#received;
  }

  /** Messages that found neither room nor subscription. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Messages that wait for a subscription. */
  get unclaimed(): number {
    return this.#unclaimed.length;
  }

  /** The subscriptions to the very same topic. */
  to(topic: DeviceTopic): readonly Subscription[] {
    return [...this.#groups.get(topicKeyOf(topic)) ?? []];
  }

  /** Adds a subscription to a topic, and gives it what has waited for it. */
  add(subscription: Subscription, topic: DeviceTopic): void {
    const key = topicKeyOf(topic);
    const group = this.#groups.get(key) ?? new Set();
    if (group.size === 0) {
      this.#groups.set(key, group);
      const filter = filterOf(topic);
      if (filter !== undefined) this.#byFilter.set(filter, group, true);
    }
    group.add(subscription);
    this.#mayWait = true;
    const unclaimed = this.#unclaimed;
    this.#unclaimed = [];
    for (const message of unclaimed) {
      if (!this.#offer(message)) this.#unclaimed.push(message);
    }
  }

  /** Takes a subscription from a topic; it ends when it has none left. */
  remove(subscription: Subscription, topic: DeviceTopic): void {
    const key = topicKeyOf(topic);
    const group = this.#groups.get(key);
    if (!group?.delete(subscription)) return;
    if (group.size === 0) {
      this.#groups.delete(key);
      const filter = filterOf(topic);
      if (filter !== undefined) this.#byFilter.delete(filter, group);
    }
    const isLeft = subscription.topics.some((other) =>
      this.#groups.get(topicKeyOf(other))?.has(subscription)
    );
    if (!isLeft) subscription.end();
  }

  /** Ends all subscriptions, each of which has what came before. */
  end(): void {
    for (const group of this.#groups.values()) {
      for (const subscription of group) subscription.end();
    }
  }

  /** Whether there is room for a message wherever it has to go. */
  hasRoom(message: ReceivedMessage): boolean {
    let hasRoom = true;
    let isClaimed = false;
    this.#visit(message, (subscription) => {
      isClaimed = true;
      if (subscription.isFull) hasRoom = false;
    });
    if (isClaimed || !this.#isKept) return hasRoom;
    return this.#mayWait && this.#unclaimed.length < this.#limit;
  }

  /** Hands out a message that has come. */
  deliver(message: ReceivedMessage): void {
    this.#received++;
    if (this.#offer(message)) return;
    const isFull = this.#unclaimed.length >= this.#limit;
    const mayWait = this.#isKept && this.#mayWait;
    if (!mayWait || (isFull && message.qos === 0)) this.#dropped++;
    else this.#unclaimed.push(message);
  }

  #offer(message: ReceivedMessage): boolean {
    let isClaimed = false;
    this.#visit(message, (subscription) => {
      isClaimed = true;
      if (!subscription.push(message)) this.#dropped++;
    });
    return isClaimed;
  }

  #visit(
    { topicName, predefined }: ReceivedMessage,
    visit: (subscription: Subscription) => void,
  ): void {
    const visitAll = (group: Group) => group.forEach(visit);
    if (predefined !== undefined) {
      const group = this.#groups.get(topicKeyOf({ predefined }));
      if (group !== undefined) visitAll(group);
      // What has no name but its number is nobody's topic.
      if (topicName === String(predefined)) return;
    }
    this.#byFilter.match(topicName as TopicName, visitAll);
  }
}

/** What a subscription matches by, `undefined` for a pre-defined id. */
function filterOf(topic: DeviceTopic): TopicFilter | undefined {
  if (typeof topic === "string") return parseTopicFilter(topic);
  return "short" in topic ? parseTopicFilter(topic.short) : undefined;
}
