/**
 * The topic ids that a client knows: those that its gateway has assigned, and the
 * pre-defined ones. Knows which name stands behind a number; nothing of how that
 * was learned.
 *
 * @module
 */

import { shortTopicName } from "./mqttsn.ts";
import type { Publish } from "./packet.ts";

/**
 * A client's topic ids.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { KnownTopics } from "./known_topics.ts";
 *
 * const topics = new KnownTopics(new Map());
 * topics.learn("room/1", 5);
 * assertEquals(topics.idOf("room/1"), 5);
 * topics.forget(5);
 * assertEquals(topics.idOf("room/1"), undefined);
 * ```
 */
export class KnownTopics {
  readonly #predefined: ReadonlyMap<number, string>;
  readonly #idByName = new Map<string, number>();
  readonly #nameById = new Map<number, string>();

  /**
   * Knows no id that a gateway has assigned.
   *
   * @param predefined the pre-defined ids whose names are known
   */
  constructor(predefined: ReadonlyMap<number, string>) {
    this.#predefined = predefined;
  }

  /** The id to publish under, `undefined` when it has to be asked for. */
  idOf(topicName: string): number | undefined {
    return this.#idByName.get(topicName);
  }

  /**
   * The topic of a PUBLISH, `undefined` when its id is not known. A pre-defined
   * id without a name is its own: to ask for it again would not give it one.
   */
  nameOf({ topicIdType, topicId }: Publish): string | undefined {
    switch (topicIdType) {
      case "normal":
        return this.#nameById.get(topicId);
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
    return this.#nameById.get(topicId);
  }

  /** Notes what the gateway has assigned. */
  learn(topicName: string, topicId: number): void {
    this.forget(topicId); // it may have been another's
    this.#idByName.set(topicName, topicId);
    this.#nameById.set(topicId, topicName);
  }

  /** Forgets an id, and the name for which it was the last. */
  forget(topicId: number): void {
    const name = this.#nameById.get(topicId);
    this.#nameById.delete(topicId);
    // The name may have another one by now.
    if (name === undefined || this.#idByName.get(name) !== topicId) return;
    this.#idByName.delete(name);
  }

  /**
   * Asks anew before it publishes, lest a message goes out under an id that is
   * another name's by now; what comes in under an old one is still understood.
   */
  distrust(): void {
    this.#idByName.clear();
  }

  /** Forgets all that a gateway has assigned. */
  clear(): void {
    this.#idByName.clear();
    this.#nameById.clear();
  }
}
