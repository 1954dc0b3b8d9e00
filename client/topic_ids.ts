/**
 * The topic ids that a client knows: those that its gateway has assigned, and the
 * pre-defined ones.
 *
 * @module
 */

import { shortTopicName } from "../wire/mqttsn.ts";
import type { Publish } from "../wire/packets.ts";
import { type TopicNameAndId, TopicTable } from "../wire/topic_table.ts";

/** An id that a gateway has assigned. */
export interface KnownTopic extends TopicNameAndId {
  /** Whether the name is published under it: a later one may be in its place. */
  isCurrent: boolean;
}

/**
 * A client's topic ids.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { KnownTopicIds } from "./topic_ids.ts";
 *
 * const topics = new KnownTopicIds(new Map());
 * topics.learn("room/1", 5);
 * assertEquals(topics.idOf("room/1"), 5);
 * topics.forget(5);
 * assertEquals(topics.idOf("room/1"), undefined);
 * ```
 */
export class KnownTopicIds extends TopicTable<KnownTopic> {
  readonly #predefined: ReadonlyMap<number, string>;

  /**
   * Knows no id that a gateway has assigned.
   *
   * @param predefined the pre-defined ids whose names are known
   */
  constructor(predefined: ReadonlyMap<number, string>) {
    super();
    this.#predefined = predefined;
  }

  /** The id to publish under, `undefined` when it has to be asked for. */
  idOf(topicName: string): number | undefined {
    const known = this.get(topicName);
    return known?.isCurrent ? known.topicId : undefined;
  }

  /**
   * The topic of a PUBLISH, `undefined` when its id is not known. A pre-defined
   * id without a name is its own: to ask for it again would not give it one.
   */
  nameOf({ topicIdType, topicId }: Publish): string | undefined {
    switch (topicIdType) {
      case "normal":
        return this.nameOfId(topicId);
      case "predefined":
        return this.#predefined.get(topicId) ?? String(topicId);
      case "short":
        return shortTopicName(topicId);
      case "reserved":
        return undefined;
      default:
        return topicIdType satisfies never;
    }
  }

  /** The name for which the gateway has assigned an id, if it is known. */
  nameOfId(topicId: number): string | undefined {
    return this.at(topicId)?.topicName;
  }

  /** Notes what the gateway has assigned. */
  learn(topicName: string, topicId: number): void {
    this.forget(topicId); // it may have been another's
    const earlier = this.get(topicName);
    if (earlier !== undefined) earlier.isCurrent = false;
    this.insert({ topicName, topicId, isCurrent: true });
  }

  /** Forgets an id, and the name for which it was the last. */
  forget(topicId: number): void {
    const known = this.at(topicId);
    if (known !== undefined) this.remove(known);
  }

  /**
   * Asks anew before it publishes, lest a message goes out under an id that is
   * another name's by now; what comes in under an old one is still understood.
   */
  distrust(): void {
    for (const known of this.entries) known.isCurrent = false;
  }
}
