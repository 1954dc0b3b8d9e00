/**
 * The names of topics and the filters of subscriptions: what may be one, and which
 * filter matches which name (MQTT 3.1.1 §4.7).
 *
 * Theory of operation. A topic's name is levels between slashes: `a/b` has the
 * levels `a` and `b`. A level may be empty and counts nevertheless, so `/a` has
 * two and is another topic than `a`; nothing is trimmed, folded or normalised.
 * A filter is written as a name is, with two wildcards. `+` takes the place of
 * one level, whichever it is. `#` comes last and takes the place of all levels
 * that follow, also of none: `a/#` matches `a`, `a/b` and `a/b/c`. Names that
 * begin with `$` are the broker's own. They show only to a client that asks for them by
 * their first level: a filter that begins with a wildcard matches none of them.
 *
 * Both are text from a peer. They are checked once, here, and carry a brand
 * from then on: a `TopicName` needs no check any more. What has to be
 * found by them is arranged in trees of levels, made of `LevelNode`.
 *
 * @module
 */

import type { TopicFilter, TopicName } from "./message.ts";
import { decodeUtf8, encodeUtf8, utf8Length } from "../base/utf8.ts";

/**
 * The most levels that a name or a filter has. MQTT knows no such limit; but a
 * tree of topics pays for each level, and a datagram could ask for 65,000.
 */
export const MAX_LEVELS = 200;

/** The longest name or filter, in octets of UTF-8 (MQTT 3.1.1 §4.7.3). */
export const MAX_TOPIC_OCTETS = 65_535;

/**
 * Reads a topic's name.
 *
 * @param text what was received, to the letter
 * @returns the name, or `undefined` when it may not be one: it is blank or too
 * long or too deep, has a wildcard or U+0000 in it, or half a surrogate pair
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseTopicName } from "./topics.ts";
 *
 * assertEquals<string | undefined>(parseTopicName("a/b"), "a/b");
 * assertEquals(parseTopicName("a/+"), undefined);
 * ```
 */
export function parseTopicName(text: string): TopicName | undefined {
  if (/[+#]/.test(text) || !isWithinLimits(text)) return undefined;
  return text as TopicName;
}

/**
 * Reads a subscription's filter.
 *
 * @param text what was received, to the letter
 * @returns the filter, or `undefined` when it may not be one: beside what a
 * name has to keep to, `+` is a whole level and `#` is the whole last one
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseTopicFilter } from "./topics.ts";
 *
 * assertEquals<string | undefined>(parseTopicFilter("a/+/#"), "a/+/#");
 * assertEquals(parseTopicFilter("a+/b"), undefined);
 * assertEquals(parseTopicFilter("#/b"), undefined);
 * ```
 */
export function parseTopicFilter(text: string): TopicFilter | undefined {
  // A wildcard that shares its level, or a # that is not the end: §4.7.1.
  if (/[^/][+#]|[+#][^/]|#\//.test(text)) return undefined;
  return isWithinLimits(text) ? text as TopicFilter : undefined;
}

/**
 * Tells whether a filter may match more names than the one that it spells.
 *
 * @example
 * ```ts
 * import { assert, assertFalse } from "@std/assert";
 * import { hasWildcard, parseTopicFilter } from "./topics.ts";
 *
 * assert(hasWildcard(parseTopicFilter("a/+")!));
 * assertFalse(hasWildcard(parseTopicFilter("a/b")!));
 * ```
 */
export function hasWildcard(filter: TopicFilter): boolean {
  // No other character may stand beside a wildcard, so none is a false alarm.
  return filter.includes("+") || filter.endsWith("#");
}

/**
 * Tells whether a filter matches a name, one by one: the definition that faster
 * ways have to agree with.
 *
 * @example
 * ```ts
 * import { assert, assertFalse } from "@std/assert";
 * import {
 *   matchesFilter,
 *   parseTopicFilter,
 *   parseTopicName,
 * } from "./topics.ts";
 *
 * const filter = parseTopicFilter("house/+/temperature/#")!;
 * assert(matchesFilter(filter, parseTopicName("house/attic/temperature")!));
 * assertFalse(matchesFilter(filter, parseTopicName("house/temperature")!));
 * ```
 */
export function matchesFilter(filter: TopicFilter, name: TopicName): boolean {
  if (isReserved(name) && /^[+#]/.test(filter)) return false; // §4.7.2
  const wanted = filter.split("/");
  const levels = name.split("/");
  for (const [i, level] of wanted.entries()) {
    if (level === "#") return true; // §4.7.1.2, also for what ends before it
    if (i >= levels.length) return false;
    if (level !== "+" && level !== levels[i]) return false; // §4.7.1.3
  }
  return wanted.length === levels.length;
}

/**
 * Tells whether a topic is the broker's own: its name begins with `$`
 * (MQTT 3.1.1 §4.7.2).
 *
 * @param name a topic's name; its first level will do
 * @example
 * ```ts
 * import { assert, assertFalse } from "@std/assert";
 * import { isReserved, parseTopicName } from "./topics.ts";
 *
 * assert(isReserved(parseTopicName("$SYS/uptime")!));
 * assertFalse(isReserved(parseTopicName("a/$SYS")!));
 * ```
 */
export function isReserved(name: string): boolean {
  return name.charCodeAt(0) === 0x24;
}

/** The first level of the topics by which the broker tells of itself. */
export const SYSTEM_LEVEL = "$SYS";

/** Whether a topic's name, or a filter, is among those: nobody publishes there. */
export function isSystem(topic: TopicName | TopicFilter): boolean {
  return topic === SYSTEM_LEVEL || topic.startsWith(`${SYSTEM_LEVEL}/`);
}

/**
 * Reads which topics are predefined: known by an id to both sides beforehand
 * (MQTT-SN 1.2 §6.7). A topic may have several ids.
 *
 * @param json an object such as `{ "1": "a/b" }`: ids from 1 to 65534, names
 * @throws {TypeError} when it is anything else
 * @example
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { parsePredefined } from "./topics.ts";
 *
 * const topics = parsePredefined(JSON.parse('{ "1": "a/b", "20": "c" }'));
 * assertEquals<string | undefined>(topics.get(20), "c");
 * assertThrows(
 *   () => parsePredefined({ "0": "a" }),
 *   TypeError,
 *   'Cannot predefine a topic by the id "0"',
 * );
 * ```
 */
export function parsePredefined(json: unknown): ReadonlyMap<number, TopicName> {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new TypeError(`Cannot predefine topics by ${quote(json)}`);
  }
  const topics = new Map<number, TopicName>();
  for (const [key, value] of Object.entries(json)) {
    // 0 and 65535 are reserved (§5.3.11).
    if (!/^[1-9]\d{0,4}$/.test(key) || Number(key) > 65_534) {
      throw new TypeError(`Cannot predefine a topic by the id ${quote(key)}`);
    }
    const name = typeof value === "string" ? parseTopicName(value) : undefined;
    if (name === undefined) {
      throw new TypeError(
        `Cannot predefine the topic ${quote(value)} by the id "${key}"`,
      );
    }
    topics.set(Number(key), name);
  }
  return topics;
}

/**
 * A node of a tree of levels, and its children by their levels. What else a
 * node holds is its subclass's.
 *
 * @typeParam Self the subclass
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { LevelNode } from "./topics.ts";
 *
 * class Node extends LevelNode<Node> {}
 * const root = new Node("");
 * const house = root.adopt(new Node("house"));
 * assertEquals(root.childAt("house/attic", 0, 5), house);
 * assertEquals(house.isLeaf, true);
 * ```
 */
export class LevelNode<Self extends LevelNode<Self>> {
  /**
   * The level that leads here, with a slash before it. V8 enters each key that a
   * `Map` is asked for into one table of strings, where decimal numbers lie side
   * by side. Levels often are such numbers, and a million of them in a row made
   * each look at any other key six times as long.
   */
  readonly #key: string;
  /** An only child without a table, as most nodes have one. */
  #children: Self | Map<string, Self> | undefined = undefined;

  /**
   * Makes a node without children.
   *
   * @param level what leads to it, well formed
   */
  constructor(level: string) {
    this.#key = ownLevel(`/${level}`);
  }

  /** The level that leads here from the parent. */
  get level(): string {
    return this.#key.slice(1);
  }

  /** Whether it has no children. */
  get isLeaf(): boolean {
    return this.#children === undefined;
  }

  /** The children, in the order in which they came. */
  get children(): Iterable<Self> {
    const children = this.#children;
    if (children instanceof Map) return children.values();
    return children === undefined ? [] : [children];
  }

  /** The child that a level leads to. */
  child(level: string): Self | undefined {
    const children = this.#children;
    if (children === undefined) return undefined;
    const key = `/${level}`;
    if (children instanceof Map) return children.get(key);
    return children.#key === key ? children : undefined;
  }

  /**
   * The child that a part of a name leads to.
   *
   * @param name a name
   * @param start where the level begins in it
   * @param end where the level has ended in it
   */
  childAt(name: string, start: number, end: number): Self | undefined {
    const children = this.#children;
    if (children === undefined) return undefined;
    // Only the first level has no slash before it in the name.
    const isFirst = start === 0;
    if (children instanceof Map) {
      const key = isFirst
        ? `/${name.slice(0, end)}`
        : name.slice(start - 1, end);
      return children.get(key);
    }
    // An only child is compared in place: most often no string is made for it.
    const key = children.#key;
    if (key.length !== end - start + 1) return undefined;
    const isSame = isFirst
      ? name.startsWith(children.level)
      : name.startsWith(key, start - 1);
    return isSame ? children : undefined;
  }

  /** Adds a child whose level leads to none yet, and returns it. */
  adopt(child: Self): Self {
    const children = this.#children;
    if (children === undefined) this.#children = child;
    else if (children instanceof Map) children.set(child.#key, child);
    else {
      this.#children = new Map<string, Self>()
        .set(children.#key, children).set(child.#key, child);
    }
    return child;
  }

  /** Takes a child away. */
  drop(child: Self): void {
    const children = this.#children;
    if (!(children instanceof Map)) {
      this.#children = undefined;
      return;
    }
    children.delete(child.#key);
    if (children.size > 1) return;
    for (const only of children.values()) this.#children = only;
  }
}

/**
 * A copy of a level that is no part of the text any more that it was cut from.
 *
 * V8 keeps a part of a string as a view of the whole. What outlives the filter
 * that it was cut from would keep all of it, 64 KiB perhaps.
 *
 * @param level a level, well formed
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { ownLevel } from "./topics.ts";
 *
 * assertEquals(ownLevel("house/attic".slice(6)), "attic");
 * ```
 */
export function ownLevel(level: string): string {
  // V8 makes no views that are shorter than this.
  return level.length < 13 ? level : decodeUtf8(encodeUtf8(level));
}

/** What a name and a filter have in common (§1.5.3, §4.7.3). */
function isWithinLimits(text: string): boolean {
  return text !== "" && !text.includes("\0") && text.isWellFormed() &&
    utf8Length(text) <= MAX_TOPIC_OCTETS && !isTooDeep(text);
}

function isTooDeep(text: string): boolean {
  let levels = 1;
  for (let at = text.indexOf("/"); at >= 0; at = text.indexOf("/", at + 1)) {
    if (++levels > MAX_LEVELS) return true;
  }
  return false;
}

/** A value within quotes, on one line whatever it is. */
function quote(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (Array.isArray(value)) return '"[…]"';
  if (typeof value === "object" && value !== null) return '"{…}"';
  return JSON.stringify(String(value));
}
