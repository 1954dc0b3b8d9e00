/**
 * One client's topic ids: the numbers that stand for topics' names between it and the
 * gateway (MQTT-SN 1.2 §6.5).
 *
 * Each client has a table of its own (§7.3): the same name may have another id
 * with another client. A name keeps its id for as long as the session lasts,
 * also while the client sleeps. What the client knows can be less: after it has
 * connected anew it may have forgotten everything, and an id is told to it again
 * before it is used.
 *
 * @module
 */

import type { TopicName } from "../wire/message.ts";
import { MAX_TOPIC_ID } from "../wire/packets.ts";
import { TopicTable } from "../wire/topic_table.ts";
import type { Settings } from "./options.ts";
import {
  NOT_PERSISTED,
  type Persisted,
  type SessionPersistence,
} from "./persistence.ts";
import type { TopicIdRecord } from "./records.ts";

/** What the engine needs around a name, in octets, roughly. */
const OVERHEAD = 160;

/** How many topics a table takes, and the memory that all tables share. */
export type TopicIdLimits = Pick<Settings, "maxTopicIds" | "nameBudget">;

/** A topic as one client knows it. */
export interface TopicEntry {
  /** The topic. */
  readonly topicName: TopicName;
  /** Its normal id, 1 to 65534; 0 as long as it has none. */
  topicId: number;
  /** Whether the client has been told the normal id. */
  isKnown: boolean;
  /** Whether the client has refused to be told it (§6.10). */
  isRefused: boolean;
  /** How the client subscribed to it if not by name: no normal id is needed. */
  alias: TopicAlias | undefined;
  /** Whether the client has registered it: it may count on its id. */
  isRegistered: boolean;
  /** Whether the client has subscribed to it by its name: so may it then. */
  isSubscribed: boolean;
}

/** A name for a topic that needs no registration (§6.7). */
export interface TopicAlias {
  /** Which kind. */
  readonly topicIdType: "predefined" | "short";
  /** The pre-defined id, or the short name's two octets. */
  readonly topicId: number;
}

/**
 * The table of one client.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { MemoryBudget } from "./memory_budget.ts";
 * import { TopicIds } from "./topic_ids.ts";
 * import { parseTopicName } from "../wire/topics.ts";
 *
 * const topicIds = new TopicIds({
 *   maxTopicIds: 10,
 *   nameBudget: new MemoryBudget(1e6),
 * });
 * const lamp = parseTopicName("lamp")!;
 * assertEquals(topicIds.assign(lamp)?.topicId, 1);
 * assertEquals(topicIds.assign(lamp)?.topicId, 1);
 * assertEquals(topicIds.at(1)?.topicName, lamp);
 * ```
 */
export class TopicIds extends TopicTable<TopicEntry> {
  readonly #limits: TopicIdLimits;
  readonly #owner: Persisted;
  /** Counts up, so that an id is given to another name as late as can be. */
  #lastId = 0;
  #hasRefused = false;
  /** Whether all were looked at in vain: it is a long way for each message. */
  #hasNoneToGo = false;

  /**
   * Starts with no topic.
   *
   * @param limits how many, and the memory that they come from
   * @param owner whose they are
   */
  constructor(limits: TopicIdLimits, owner: Persisted = NOT_PERSISTED) {
    super();
    this.#limits = limits;
    this.#owner = owner;
  }

  /**
   * A topic's entry with a normal id, the one that it has if it has one.
   *
   * @param wanted the id to take if it is free, else the next
   * @returns the entry, or `undefined` when the table is full of topics that the
   * client counts on
   */
  assign(topicName: TopicName, wanted?: number): TopicEntry | undefined {
    const known = this.get(topicName);
    if (known !== undefined && known.topicId !== 0) return known;
    const entry = known ?? this.#add(topicName);
    if (entry === undefined) return undefined;
    const topicId = this.#freeId(wanted);
    entry.topicId = topicId;
    this.index(entry);
    this.#persist(entry);
    return entry;
  }

  /** Notes that the client has asked for a topic's id: it counts on it. */
  register(entry: TopicEntry): void {
    entry.isKnown = true;
    entry.isRefused = false;
    if (entry.isRegistered) return;
    entry.isRegistered = true;
    this.#persist(entry);
  }

  /** Notes that the client has subscribed to a topic by its name. */
  subscribe(entry: TopicEntry): void {
    entry.isKnown = true;
    entry.isRefused = false;
    if (entry.isSubscribed) return;
    entry.isSubscribed = true;
    this.#persist(entry);
  }

  /**
   * Notes by which alias the client knows a topic.
   *
   * @returns whether there was room for it
   */
  setAlias(topicName: TopicName, alias: TopicAlias): boolean {
    const entry = this.get(topicName) ?? this.#add(topicName);
    if (entry === undefined) return false;
    entry.alias = alias;
    entry.isRefused = false;
    this.#persist(entry);
    return true;
  }

  /**
   * Restores a topic from the store; limits do not apply. The client may not know its
   * id: it is told again.
   *
   * @returns false when another topic has its name or its id
   */
  restore(
    topicName: TopicName,
    { topicId, aliasType, aliasId, isRegistered, isSubscribed }: TopicIdRecord,
  ): boolean {
    const isKnown = this.get(topicName) !== undefined ||
      this.at(topicId) !== undefined;
    if (isKnown) return false;
    const alias = aliasType === undefined
      ? undefined
      : { topicIdType: aliasType, topicId: aliasId };
    const entry: TopicEntry = {
      topicName,
      topicId,
      isKnown: false,
      isRefused: false,
      alias,
      isRegistered,
      isSubscribed,
    };
    this.#limits.nameBudget.charge(costOf(topicName));
    this.insert(entry);
    this.#lastId = Math.max(this.#lastId, topicId);
    return true;
  }

  /** Persists all of it. */
  persistAll(persistence: SessionPersistence): void {
    for (const entry of this.entries) persistence.persist(rowOf(entry));
  }

  /** Notes that the client has unsubscribed from a topic. */
  unsubscribe(topicName: TopicName): void {
    const entry = this.get(topicName);
    if (entry === undefined) return;
    entry.alias = undefined;
    entry.isSubscribed = false;
    this.#hasNoneToGo = false;
    this.#persist(entry);
  }

  /** Assumes that the client knows a topic neither by its id nor by its alias. */
  unlearn(entry: TopicEntry): void {
    entry.isKnown = false;
    this.#hasNoneToGo = false;
    if (entry.alias === undefined) return;
    entry.alias = undefined; // one that is unknown cannot be registered
    this.#persist(entry);
  }

  /**
   * Assumes that the client does not know what an id stands for. The client does not
   * say which kind of id it means: if there is such a pre-defined id, it is that.
   *
   * @returns whether there was such an id
   */
  forget(topicId: number): boolean {
    let hadAlias = false;
    for (const entry of this.entries) {
      const { alias } = entry;
      if (alias?.topicIdType !== "predefined" || alias.topicId !== topicId) {
        continue;
      }
      entry.alias = undefined;
      this.#hasNoneToGo = false;
      hadAlias = true;
      this.#persist(entry);
    }
    const entry = this.at(topicId);
    if (hadAlias || entry === undefined) return hadAlias;
    entry.isKnown = false;
    return true;
  }

  /** Assumes that the client has forgotten every id, and what it refused. */
  forgetKnown(): void {
    for (const entry of this.entries) {
      entry.isKnown = false;
      entry.isRefused = false;
    }
    this.#hasRefused = false;
  }

  /** Notes that the client does not want a topic. */
  refuse(entry: TopicEntry): void {
    entry.isRefused = true;
    this.#hasRefused = true;
  }

  /** Takes refusals back: the client wants what a filter matches after all. */
  forgive(matches: (topicName: TopicName) => boolean): void {
    if (!this.#hasRefused) return;
    for (const entry of this.entries) {
      if (entry.isRefused && matches(entry.topicName)) entry.isRefused = false;
    }
  }

  /** Empties the table. */
  override clear(): void {
    for (const { topicName } of this.entries) {
      this.#limits.nameBudget.give(costOf(topicName));
    }
    super.clear();
    this.#lastId = 0;
    this.#hasRefused = false;
    this.#hasNoneToGo = false;
  }

  #freeId(wanted: number | undefined): number {
    if (wanted !== undefined && this.at(wanted) === undefined) return wanted;
    do this.#lastId = this.#lastId % MAX_TOPIC_ID + 1; while (
      this.at(this.#lastId) !== undefined
    );
    return this.#lastId;
  }

  #add(topicName: TopicName): TopicEntry | undefined {
    const cost = costOf(topicName);
    const { maxTopicIds, nameBudget } = this.#limits;
    while (this.size >= maxTopicIds || !nameBudget.allows(cost)) {
      if (!this.#recycle()) return undefined;
    }
    nameBudget.take(cost);
    const entry: TopicEntry = {
      topicName,
      topicId: 0,
      isKnown: false,
      isRefused: false,
      alias: undefined,
      isRegistered: false,
      isSubscribed: false,
    };
    this.insert(entry);
    this.#hasNoneToGo = false;
    return entry;
  }

  /** Lets the oldest entry go that the client does not count on. */
  #recycle(): boolean {
    if (this.#hasNoneToGo) return false;
    for (const entry of this.entries) {
      if (
        entry.isRegistered || entry.isSubscribed || entry.alias !== undefined
      ) continue;
      this.remove(entry);
      this.#limits.nameBudget.give(costOf(entry.topicName));
      const { topicName } = entry;
      this.#owner.persistence?.persist({ type: "topicIdEnd", topicName });
      return true;
    }
    this.#hasNoneToGo = true;
    return false;
  }

  #persist(entry: TopicEntry): void {
    this.#owner.persistence?.persist(rowOf(entry));
  }
}

function rowOf(entry: TopicEntry): Omit<TopicIdRecord, "session"> {
  const { topicName, topicId, alias, isRegistered, isSubscribed } = entry;
  return {
    type: "topicId",
    topicName,
    topicId,
    aliasType: alias?.topicIdType,
    aliasId: alias?.topicId ?? 0,
    isRegistered,
    isSubscribed,
  };
}

/** What an entry costs, in octets, roughly; a character counts as one or two. */
function costOf(topicName: TopicName): number {
  return topicName.length * 2 + OVERHEAD;
}
