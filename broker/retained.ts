/**
 * The retained message of each topic, for clients that subscribe later.
 *
 * The messages are in a tree of the levels of their topics. A filter walks down the
 * tree and looks only at what may match: a name is one step, `+` as many steps as
 * there are levels in its place, and `#` all that is below.
 *
 * A message that would exceed a limit is not taken, and no other one is forgotten for
 * it: if a topic's state vanished by itself, that would be worse than if the topic
 * had never had any.
 *
 * @module
 */

import type { Message, TopicFilter, TopicName } from "../wire/message.ts";
import { isReserved, LevelNode } from "../wire/topics.ts";
import { utf8Length } from "../base/utf8.ts";

/** How much may be retained. */
export interface RetainedLimits {
  /** Messages, 0 or more. */
  readonly maxRetained: number;
  /** Memory for all of them, in octets, estimated; 0 or more. */
  readonly maxMemory: number;
}

const UNLIMITED: RetainedLimits = {
  maxRetained: Infinity,
  maxMemory: Infinity,
};

/** What a message takes beside its name and payload, in octets, roughly. */
const OVERHEAD = 256;

/** What a level takes that no other topic has, in octets, roughly. */
const NODE = 96;

/**
 * The retained message of each topic.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Message } from "../wire/message.ts";
 * import { RetainedMessages } from "./retained.ts";
 * import { parseTopicFilter, parseTopicName } from "../wire/topics.ts";
 * import { encodeUtf8 } from "../base/utf8.ts";
 *
 * const retained = new RetainedMessages({ maxRetained: 9, maxMemory: 1e6 });
 * const topicName = parseTopicName("house/attic/temperature")!;
 * retained.set(new Message(topicName, encodeUtf8("21.5"), 0, true));
 * const names: string[] = [];
 * const matches = retained.match(parseTopicFilter("house/+/temperature")!);
 * for (let next; !(next = matches.next()).done;) {
 *   names.push(next.value.topicName);
 * }
 * assertEquals(names, ["house/attic/temperature"]);
 * ```
 */
export class RetainedMessages {
  readonly #limits: RetainedLimits;
  readonly #root = new MessageNode("");
  #size = 0;
  #nodes = 0;
  /** Memory of all names and payloads. */
  #octets = 0;

  /**
   * Starts with no message.
   *
   * @param limits how much may be retained
   */
  constructor(limits: RetainedLimits) {
    this.#limits = limits;
  }

  /** How many topics have a retained message. */
  get size(): number {
    return this.#size;
  }

  /** Memory that the messages take, in octets, estimated. */
  get memory(): number {
    return this.#octets + this.#size * OVERHEAD + this.#nodes * NODE;
  }

  /**
   * Retains a message in the place of its topic's last one.
   *
   * An empty payload is like any other here. In MQTT it clears the topic: call
   * `delete` for that.
   *
   * @param message it gets a payload of its own, as it is kept
   * @returns `false` when a limit forbids it, and nothing has changed
   */
  set(message: Message): boolean {
    return this.#set(message, this.#limits);
  }

  /** Retains a message; limits do not apply. */
  restore(message: Message): void {
    this.#set(message, UNLIMITED);
  }

  #set(message: Message, limits: RetainedLimits): boolean {
    const levels = message.topicName.split("/");
    let node = this.#root;
    let depth = 0;
    for (; depth < levels.length; depth++) {
      const child = node.child(levels[depth]!);
      if (child === undefined) break;
      node = child;
    }
    const missing = levels.length - depth;
    const last = missing === 0 ? node.message : undefined;
    const isNew = last === undefined;
    const octets = octetsOf(message) - (isNew ? 0 : octetsOf(last));

    const { maxRetained, maxMemory } = limits;
    const memory = octets + (isNew ? OVERHEAD : 0) + missing * NODE;
    if (isNew && this.#size >= maxRetained) return false;
    if (memory > 0 && this.memory + memory > maxMemory) return false;

    for (; depth < levels.length; depth++) {
      node = node.adopt(new MessageNode(levels[depth]!));
    }
    node.message = message.keep();
    this.#octets += octets;
    this.#nodes += missing;
    if (isNew) this.#size++;
    return true;
  }

  /**
   * Forgets a topic's message.
   *
   * @returns `false` when there is none
   */
  delete(name: TopicName): boolean {
    const path = [];
    let node: MessageNode | undefined = this.#root;
    for (const level of name.split("/")) {
      path.push(node);
      node = node.child(level);
      if (node === undefined) return false;
    }
    if (node.message === undefined) return false;
    this.#octets -= octetsOf(node.message);
    this.#size--;
    node.message = undefined;
    for (let parent = path.pop(); parent && node.isEmpty; parent = path.pop()) {
      parent.drop(node);
      this.#nodes--;
      node = parent;
    }
    return true;
  }

  /** A topic's message, or `undefined` when there is none. */
  get(name: TopicName): Message | undefined {
    let node: MessageNode | undefined = this.#root;
    for (const level of name.split("/")) {
      node = node.child(level);
      if (node === undefined) return undefined;
    }
    return node.message;
  }

  /**
   * The messages whose topics a filter matches, each once, and each before those
   * of the topics below it. A message is looked for when it is asked for: so the
   * first of a hundred thousand costs no more than a single one, and messages may
   * be set and deleted meanwhile.
   */
  match(filter: TopicFilter): Iterator<Message> {
    return walk(this.#root, filter.split("/"), 0);
  }
}

/** A level of topics: some names end here, others go on. */
class MessageNode extends LevelNode<MessageNode> {
  message: Message | undefined = undefined;

  get isEmpty(): boolean {
    return this.isLeaf && this.message === undefined;
  }
}

function octetsOf({ topicName, payload }: Message): number {
  return utf8Length(topicName) + payload.length;
}

/** The messages below a node that match a filter's levels from `depth` on. */
function* walk(
  node: MessageNode,
  levels: readonly string[],
  depth: number,
): Generator<Message, undefined> {
  for (; depth < levels.length; depth++) {
    const level = levels[depth]!;
    if (level === "+" || level === "#") {
      if (level === "#" && node.message !== undefined) yield node.message;
      for (const child of node.children) {
        if (depth === 0 && isReserved(child.level)) continue; // §4.7.2
        if (level === "+") yield* walk(child, levels, depth + 1);
        else yield* all(child);
      }
      return undefined;
    }
    const child = node.child(level);
    if (child === undefined) return undefined;
    node = child;
  }
  if (node.message !== undefined) yield node.message;
  return undefined;
}

function* all(node: MessageNode): Generator<Message, undefined> {
  if (node.message !== undefined) yield node.message;
  for (const child of node.children) yield* all(child);
  return undefined;
}
