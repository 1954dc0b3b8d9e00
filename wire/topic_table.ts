/**
 * Topics by their names and by their ids, for one client: the table under the topic ids
 * of both sides.
 *
 * As long as they are few they stand in a list, in the order in which they came: most
 * clients have one or two, which are found there as soon, and take a tenth of the memory
 * of two tables. A broker has many clients.
 *
 * @module
 */

/** What stands in a table. */
export interface TopicNameAndId {
  /** Its name. */
  readonly topicName: string;
  /** Its normal id, 1 to 65534; 0 as long as it has none. */
  readonly topicId: number;
}

/** More than these are in tables. */
const FEW = 8;

/** The list of a client that has none. */
const NONE: readonly never[] = [];

/** Topics, each by its name and, as soon as it has one, by its id. */
export class TopicTable<Entry extends TopicNameAndId> {
  #few: readonly Entry[] = NONE;
  /** Instead of the list, if they are many. */
  #many: {
    readonly byName: Map<string, Entry>;
    readonly byId: Map<number, Entry>;
  } | undefined;

  /** How many names it has. */
  get size(): number {
    return this.#many?.byName.size ?? this.#few.length;
  }

  /** The topic that an id stands for, `undefined` for none. */
  at(topicId: number): Entry | undefined {
    if (this.#many !== undefined) return this.#many.byId.get(topicId);
    if (topicId === 0) return undefined; // that of all that have none
    for (const entry of this.#few) if (entry.topicId === topicId) return entry;
    return undefined;
  }

  /** The topic that came last by a name, `undefined` when there is none. */
  get(topicName: string): Entry | undefined {
    if (this.#many !== undefined) return this.#many.byName.get(topicName);
    for (let i = this.#few.length - 1; i >= 0; i--) {
      if (this.#few[i]!.topicName === topicName) return this.#few[i];
    }
    return undefined;
  }

  /** The topics that are found by their names, in the order in which they came. */
  protected get entries(): Iterable<Entry> {
    return this.#many?.byName.values() ?? this.#few;
  }

  /** Adds a topic; another of the same name is found by its id alone from now on. */
  protected insert(entry: Entry): void {
    const entries = this.#few.concat(entry); // with no room for more
    if (this.#many === undefined && entries.length <= FEW) {
      this.#few = entries;
      return;
    }
    this.#many ??= { byName: new Map(), byId: new Map() };
    for (const one of entries) {
      this.#many.byName.set(one.topicName, one);
      this.index(one);
    }
    this.#few = NONE;
  }

  /** Has a topic found by the id that it has got since it was added. */
  protected index(entry: Entry): void {
    if (entry.topicId !== 0) this.#many?.byId.set(entry.topicId, entry);
  }

  /** Takes a topic out. */
  protected remove(entry: Entry): void {
    if (this.#many === undefined) {
      this.#few = this.#few.filter((one) => one !== entry);
      return;
    }
    const { byName, byId } = this.#many;
    byId.delete(entry.topicId);
    // A later one may have its name.
    if (byName.get(entry.topicName) === entry) byName.delete(entry.topicName);
  }

  /** Takes all topics out. */
  clear(): void {
    this.#few = NONE;
    this.#many = undefined;
  }
}
