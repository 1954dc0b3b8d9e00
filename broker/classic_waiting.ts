/**
 * The subscriptions that wait for their topic's first datum.
 *
 * One may wait for ever, and nothing tells that its peer is gone. So one peer
 * may have only so many, and where all together are too many the one that has
 * waited longest goes: there is most likely nobody left.
 *
 * @module
 */

import { costOf } from "./classic_history.ts";
import type { ClassicTopic } from "../wire/message.ts";
import type { Peer } from "../base/peer.ts";
import type { Settings } from "./options.ts";

/** Who asked for which topic. */
export interface ClassicSubscription {
  /** Who. */
  readonly peer: Peer;
  /** Which. */
  readonly topicName: ClassicTopic;
}

/** How many may wait. */
export type WaitingLimits = Pick<
  Settings,
  "maxWaiting" | "maxWaitingPerPeer" | "maxMemory"
>;

/**
 * The list of those that wait.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseClassicTopic } from "../wire/classic.ts";
 * import { peerOf } from "../base/peer.ts";
 * import { ClassicWaitingList } from "./classic_waiting.ts";
 *
 * const limits = { maxWaiting: 9, maxWaitingPerPeer: 2, maxMemory: 1e6 };
 * const waiting = new ClassicWaitingList(limits, () => {});
 * const peer = peerOf("127.0.0.1", 4711);
 * const topicName = parseClassicTopic("weather")!;
 * waiting.add({ peer, topicName });
 * assertEquals(waiting.take(topicName), [{ peer, topicName }]);
 * assertEquals(waiting.size, 0);
 * ```
 */
export class ClassicWaitingList {
  readonly #limits: WaitingLimits;
  readonly #onDisplace: (subscription: ClassicSubscription) => void;
  readonly #byTopic = new Map<ClassicTopic, Set<ClassicSubscription>>();
  /** All of them, the one that has waited longest first. */
  readonly #queue = new Set<ClassicSubscription>();
  /** How many a peer has, by its key. */
  readonly #counts = new Map<string, number>();
  #memory = 0;

  /**
   * Starts with nobody.
   *
   * @param limits how many may wait
   * @param onDisplace is told who had to go for others
   */
  constructor(
    limits: WaitingLimits,
    onDisplace: (subscription: ClassicSubscription) => void,
  ) {
    this.#limits = limits;
    this.#onDisplace = onDisplace;
  }

  /** How many wait. */
  get size(): number {
    return this.#queue.size;
  }

  /** Memory that they take, in octets, estimated. */
  get memory(): number {
    return this.#memory;
  }

  /** Whether a peer has as many as one may have. */
  isFullFor({ key }: Peer): boolean {
    return (this.#counts.get(key) ?? 0) >= this.#limits.maxWaitingPerPeer;
  }

  /** Lets a subscription wait. */
  add(subscription: ClassicSubscription): void {
    const { peer, topicName } = subscription;
    const others = this.#byTopic.get(topicName);
    if (others === undefined) {
      this.#byTopic.set(topicName, new Set([subscription]));
    } else others.add(subscription);
    this.#queue.add(subscription);
    this.#counts.set(peer.key, (this.#counts.get(peer.key) ?? 0) + 1);
    this.#memory += costOf(topicName);

    const { maxMemory, maxWaiting } = this.#limits;
    for (const oldest of this.#queue) {
      if (this.size <= maxWaiting && this.#memory <= maxMemory) break;
      this.#remove(oldest);
      this.#onDisplace(oldest);
    }
  }

  /** Takes out those that wait for a topic, in the order in which they came. */
  take(topicName: ClassicTopic): ClassicSubscription[] {
    const subscriptions = [...this.#byTopic.get(topicName) ?? []];
    for (const subscription of subscriptions) this.#remove(subscription);
    return subscriptions;
  }

  #remove(subscription: ClassicSubscription): void {
    const { peer: { key }, topicName } = subscription;
    const others = this.#byTopic.get(topicName)!;
    others.delete(subscription);
    if (others.size === 0) this.#byTopic.delete(topicName);
    this.#queue.delete(subscription);
    const left = this.#counts.get(key)! - 1;
    if (left === 0) this.#counts.delete(key);
    else this.#counts.set(key, left);
    this.#memory -= costOf(topicName);
  }
}
