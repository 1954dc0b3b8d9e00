/**
 * Subscriptions, arranged so that a name finds its subscribers without asking
 * the others.
 *
 * Most filters have no wildcard. These are keys of one table, and a name finds
 * them with one look, however many there are. Only those with wildcards are in
 * a tree of levels, which a name walks down: at each level it may follow the
 * branch of that level and the branch of `+`. A walk costs what the name is
 * long and what the filters near it branch, not what others subscribed to.
 *
 * A broker has the subscriptions of many clients that are away, so nothing is made
 * before it is needed: most nodes have one child, most filters one subscriber,
 * and either is held without a table.
 *
 * @module
 */

import type { TopicFilter, TopicName } from "./message.ts";
import { hasWildcard, isReserved, LevelNode, ownLevel } from "./topics.ts";

/**
 * The subscriptions, each a pair of a filter and a subscriber with what was
 * granted.
 *
 * @typeParam Subscriber who subscribed; told apart by identity
 * @typeParam Grant what belongs to the subscription, such as its QoS
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseTopicFilter, parseTopicName } from "./topics.ts";
 * import { SubscriptionTrie } from "./topic_trie.ts";
 *
 * const trie = new SubscriptionTrie<{ id: string }, number>();
 * const ada = { id: "ada" };
 * trie.set(parseTopicFilter("house/+/temperature")!, ada, 1);
 * trie.set(parseTopicFilter("house/attic/#")!, ada, 0);
 * const grants: number[] = [];
 * trie.match(
 *   parseTopicName("house/attic/temperature")!,
 *   (_, grant) => grants.push(grant),
 * );
 * assertEquals(grants.sort(), [0, 1]);
 * ```
 */
export class SubscriptionTrie<Subscriber extends object, Grant> {
  /** Those whose filters have no wildcard, by their filter. */
  readonly #exact = new Map<string, Holders<Subscriber, Grant>>();
  /** Those whose filters have one. */
  readonly #root = new FilterNode<Subscriber, Grant>("");
  /** How many pairs have a filter that begins with the level, after a slash. */
  readonly #firstLevels = new Map<string, number>();
  #size = 0;

  /** How many pairs of a filter and a subscriber there are. */
  get size(): number {
    return this.#size;
  }

  /**
   * Adds a subscription, or replaces what was granted for it.
   *
   * @returns `true` when it is new
   */
  set(filter: TopicFilter, subscriber: Subscriber, grant: Grant): boolean {
    let isNew: boolean;
    if (hasWildcard(filter)) {
      const { node, slot } = this.#grow(filter);
      isNew = !holds(node[slot], subscriber);
      node[slot] = withHolder(node[slot], subscriber, grant);
    } else {
      const holders = this.#exact.get(filter);
      isNew = !holds(holders, subscriber);
      const after = withHolder(holders, subscriber, grant);
      if (after !== holders) this.#exact.set(filter, after);
    }
    if (isNew) this.#count(filter, 1);
    return isNew;
  }

  /**
   * Takes a subscription away, and all that was there for it alone.
   *
   * @returns `false` when there is none
   */
  delete(filter: TopicFilter, subscriber: Subscriber): boolean {
    const isDeleted = hasWildcard(filter)
      ? this.#prune(filter, subscriber)
      : this.#deleteExact(filter, subscriber);
    if (isDeleted) this.#count(filter, -1);
    return isDeleted;
  }

  /**
   * Visits the subscriptions whose filters match a name, each once: a subscriber that has
   * several such filters is visited for each.
   *
   * The trie must not be changed before this returns.
   *
   * @param visit is called with each subscriber and what was granted to it
   */
  match(
    name: TopicName,
    visit: (subscriber: Subscriber, grant: Grant) => void,
  ): void {
    const holders = this.#exact.get(name);
    if (holders !== undefined) visitHolders(holders, visit);
    if (!this.#root.isEmpty) walk(this.#root, name, 0, visit);
  }

  /**
   * Tells whether any filter begins with exactly this level: for `$SYS`,
   * `$SYS/uptime` and `$SYS/#` do, `#` does not.
   */
  hasBelow(firstLevel: string): boolean {
    return this.#firstLevels.has(`/${firstLevel}`);
  }

  #deleteExact(filter: TopicFilter, subscriber: Subscriber): boolean {
    const holders = this.#exact.get(filter);
    if (!holds(holders, subscriber)) return false;
    const after = withoutHolder(holders, subscriber);
    if (after === undefined) this.#exact.delete(filter);
    else if (after !== holders) this.#exact.set(filter, after);
    return true;
  }

  /** Finds where a filter's holders are, making the nodes that are missing. */
  #grow(filter: TopicFilter): TriePlace<Subscriber, Grant> {
    const { levels, slot } = pathOf(filter);
    let node = this.#root;
    for (const level of levels) {
      if (level === "+") node = node.plus ??= new FilterNode("+");
      else node = node.child(level) ?? node.adopt(new FilterNode(level));
    }
    return { node, slot };
  }

  #prune(filter: TopicFilter, subscriber: Subscriber): boolean {
    const { levels, slot } = pathOf(filter);
    let node: FilterNode<Subscriber, Grant> | undefined = this.#root;
    const path = [];
    for (const level of levels) {
      path.push(node);
      node = level === "+" ? node.plus : node.child(level);
      if (node === undefined) return false;
    }
    if (!holds(node[slot], subscriber)) return false;
    node[slot] = withoutHolder(node[slot], subscriber);
    for (let parent = path.pop(); parent && node.isEmpty; parent = path.pop()) {
      if (node === parent.plus) parent.plus = undefined;
      else parent.drop(node);
      node = parent;
    }
    return true;
  }

  #count(filter: TopicFilter, by: 1 | -1): void {
    this.#size += by;
    const end = filter.indexOf("/");
    const key = `/${end < 0 ? filter : filter.slice(0, end)}`;
    const count = this.#firstLevels.get(key);
    if (count === undefined) this.#firstLevels.set(ownLevel(key), by);
    else if (count + by === 0) this.#firstLevels.delete(key);
    else this.#firstLevels.set(key, count + by);
  }
}

/** Where a filter with wildcards ends, but for a last `#`. */
class FilterNode<Subscriber extends object, Grant>
  extends LevelNode<FilterNode<Subscriber, Grant>> {
  /** The child for a `+`. */
  plus: FilterNode<Subscriber, Grant> | undefined = undefined;
  /** Those whose filter ends with this node's level. */
  here: Holders<Subscriber, Grant> | undefined = undefined;
  /** Those whose filter goes on with `#` and so ends. */
  below: Holders<Subscriber, Grant> | undefined = undefined;

  /** Whether no filter passes or ends here. */
  get isEmpty(): boolean {
    return this.isLeaf && this.plus === undefined &&
      this.here === undefined && this.below === undefined;
  }
}

interface TriePlace<Subscriber extends object, Grant> {
  readonly node: FilterNode<Subscriber, Grant>;
  readonly slot: "here" | "below";
}

/** A filter's only subscriber. */
class Holder<Subscriber, Grant> {
  readonly subscriber: Subscriber;
  readonly grant: Grant;

  constructor(subscriber: Subscriber, grant: Grant) {
    this.subscriber = subscriber;
    this.grant = grant;
  }
}

/** A filter's subscribers, one or more. */
type Holders<Subscriber, Grant> =
  | Holder<Subscriber, Grant>
  | Map<Subscriber, Grant>;

function pathOf(filter: TopicFilter) {
  const levels = filter.split("/");
  if (levels.at(-1) !== "#") return { levels, slot: "here" } as const;
  levels.pop();
  return { levels, slot: "below" } as const;
}

/** Whether the subscriber is among them. */
function holds<Subscriber extends object, Grant>(
  holders: Holders<Subscriber, Grant> | undefined,
  subscriber: Subscriber,
): holders is Holders<Subscriber, Grant> {
  if (holders instanceof Map) return holders.has(subscriber);
  return holders?.subscriber === subscriber;
}

/** Them and the subscriber, or what was granted to it replaced. */
function withHolder<Subscriber extends object, Grant>(
  holders: Holders<Subscriber, Grant> | undefined,
  subscriber: Subscriber,
  grant: Grant,
): Holders<Subscriber, Grant> {
  if (holders instanceof Map) return holders.set(subscriber, grant);
  if (holders === undefined || holders.subscriber === subscriber) {
    return new Holder(subscriber, grant);
  }
  return new Map([[holders.subscriber, holders.grant], [subscriber, grant]]);
}

/** The list without a subscriber that is in it. */
function withoutHolder<Subscriber extends object, Grant>(
  holders: Holders<Subscriber, Grant>,
  subscriber: Subscriber,
): Holders<Subscriber, Grant> | undefined {
  if (!(holders instanceof Map)) return undefined;
  holders.delete(subscriber);
  if (holders.size > 1) return holders;
  for (const [last, grant] of holders) return new Holder(last, grant);
  return undefined;
}

function visitHolders<Subscriber extends object, Grant>(
  holders: Holders<Subscriber, Grant>,
  visit: (subscriber: Subscriber, grant: Grant) => void,
): void {
  if (holders instanceof Map) {
    for (const [subscriber, grant] of holders) visit(subscriber, grant);
  } else visit(holders.subscriber, holders.grant);
}

/**
 * Visits what matches below a node, where the name's next level begins at
 * `start`: beyond the name's end when there is none.
 */
function walk<Subscriber extends object, Grant>(
  node: FilterNode<Subscriber, Grant>,
  name: TopicName,
  start: number,
  visit: (subscriber: Subscriber, grant: Grant) => void,
): void {
  for (;;) {
    // A name's first level begins at 0, and no other does. §4.7.2
    const isHidden = start === 0 && isReserved(name);
    if (node.below !== undefined && !isHidden) visitHolders(node.below, visit);
    if (start > name.length) {
      if (node.here !== undefined) visitHolders(node.here, visit);
      return;
    }
    const slash = name.indexOf("/", start);
    const end = slash < 0 ? name.length : slash;
    const child = node.childAt(name, start, end);
    start = end + 1;
    if (node.plus !== undefined && !isHidden) {
      if (child !== undefined) walk(child, name, start, visit);
      node = node.plus;
    } else if (child !== undefined) node = child;
    else return;
  }
}
