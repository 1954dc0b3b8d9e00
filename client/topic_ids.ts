/**
 * The topic ids that a client knows: those that its gateway has assigned, and the
 * pre-defined ones.
 *
 * Most clients know one topic or two: they stand in a list, which is looked through
 * in no time and takes a tenth of the memory of two tables.
 *
 * @module
 */

import { shortTopicName } from "../wire/mqttsn.ts";
import type { Publish } from "../wire/packets.ts";

/** An id that a gateway has assigned. */
interface KnownTopic {
  readonly topicName: string;
  readonly topicId: number;
  /** Whether the name is published under it: a later one may be in its place. */
  isCurrent: boolean;
}

/** More than these are in tables. */
const FEW = 8;

/** The list of a client that knows none. */
const NONE: readonly KnownTopic[] = [];

/** Many topics. */
interface KnownTopicTables {
  readonly idByName: Map<string, number>;
  readonly nameById: Map<number, string>;
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
export class KnownTopicIds {
  readonly #predefined: ReadonlyMap<number, string>;
  #few = NONE;
  /** Instead of the list, if they are many. */
  #many: KnownTopicTables | undefined;

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
    if (this.#many !== undefined) return this.#many.idByName.get(topicName);
    for (const known of this.#few) {
      if (known.isCurrent && known.topicName === topicName) {
        return known.topicId;
      }
    }
    return undefined;
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
    if (this.#many !== undefined) return this.#many.nameById.get(topicId);
    for (const known of this.#few) {
      if (known.topicId === topicId) return known.topicName;
    }
    return undefined;
  }

  /** Notes what the gateway has assigned. */
  learn(topicName: string, topicId: number): void {
    this.forget(topicId); // it may have been another's
    if (this.#many !== undefined) {
      this.#many.idByName.set(topicName, topicId);
      this.#many.nameById.set(topicId, topicName);
      return;
    }
    for (const known of this.#few) {
      if (known.topicName === topicName) known.isCurrent = false;
    }
    const known: KnownTopic = { topicName, topicId, isCurrent: true };
    this.#few = this.#few.concat(known); // with no room for more
    if (this.#few.length > FEW) this.#makeTables();
  }

  /** Forgets an id, and the name for which it was the last. */
  forget(topicId: number): void {
    if (this.#many === undefined) {
      if (this.nameOfId(topicId) === undefined) return;
      this.#few = this.#few.filter((known) => known.topicId !== topicId);
      return;
    }
    const { idByName, nameById } = this.#many;
    const name = nameById.get(topicId);
    nameById.delete(topicId);
    // The name may have another one by now.
    if (name === undefined || idByName.get(name) !== topicId) return;
    idByName.delete(name);
  }

  /**
   * Asks anew before it publishes, lest a message goes out under an id that is
   * another name's by now; what comes in under an old one is still understood.
   */
  distrust(): void {
    for (const known of this.#few) known.isCurrent = false;
    this.#many?.idByName.clear();
  }

  /** Forgets all that a gateway has assigned. */
  clear(): void {
    this.#few = NONE;
    this.#many = undefined;
  }

  #makeTables(): void {
    const many: KnownTopicTables = { idByName: new Map(), nameById: new Map() };
    for (const { topicName, topicId, isCurrent } of this.#few) {
      many.nameById.set(topicId, topicName);
      if (isCurrent) many.idByName.set(topicName, topicId);
    }
    this.#few = NONE;
    this.#many = many;
  }
}
