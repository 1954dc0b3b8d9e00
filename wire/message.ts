/**
 * What the protocols share: the names of topics, QoS and the message itself.
 *
 * @module
 */

import { copyOf } from "../base/slab.ts";

/**
 * A topic of the classic protocol: never blank, never padded. Only
 * `parseClassicTopic` in `wire/classic.ts` makes one.
 */
export type ClassicTopic = string & { readonly brand: "ClassicTopic" };

/**
 * A topic's name as MQTT has them: levels between slashes, without wildcards.
 * Only `parseTopicName` in `wire/topics.ts` makes one.
 */
export type TopicName = string & { readonly brand: "TopicName" };

/**
 * What a subscription asks for: a topic's name in which `+` stands for a level
 * and a last `#` for all that follow. Only `parseTopicFilter` in `wire/topics.ts`
 * makes one.
 */
export type TopicFilter = string & { readonly brand: "TopicFilter" };

/**
 * How sure a delivery is: 0 at most once, 1 at least once, 2 exactly once.
 * MQTT-SN's −1 exists on the wire alone.
 *
 * @example
 * ```ts
 * import type { DeliveryQos } from "../mod.ts";
 *
 * const _wanted: DeliveryQos = 2; // 0, 1 or 2, but not −1
 * ```
 */
export type DeliveryQos = 0 | 1 | 2;

/**
 * What is published.
 *
 * Its payload may be a view into the datagram that it came in, valid for as long
 * as that is being handled. A part that keeps a message longer calls
 * {@linkcode Message.keep}; most messages are passed on at once and never copied.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Message } from "./message.ts";
 * import { parseTopicName } from "./topics.ts";
 *
 * const datagram = Uint8Array.of(0x6f, 0x6e);
 * const topicName = parseTopicName("lamp")!;
 * const message = new Message(topicName, datagram, 1, false);
 * message.keep();
 * datagram.fill(0);
 * assertEquals(message.payload, Uint8Array.of(0x6f, 0x6e));
 * ```
 */
export class Message {
  /** Where to. */
  readonly topicName: TopicName;
  /** How sure its publisher wants it. */
  readonly qos: DeliveryQos;
  /** Whether it stays with its topic for later subscribers. */
  readonly retain: boolean;
  #payload: Uint8Array;
  #isKept = false;

  /**
   * Makes a message.
   *
   * @param topicName where to
   * @param payload what; may be empty, may be a view
   * @param qos how sure its publisher wants it
   * @param retain whether it stays with its topic
   */
  constructor(
    topicName: TopicName,
    payload: Uint8Array,
    qos: DeliveryQos,
    retain: boolean,
  ) {
    this.topicName = topicName;
    this.#payload = payload;
    this.qos = qos;
    this.retain = retain;
  }

  /** What is published. */
  get payload(): Uint8Array {
    return this.#payload;
  }

  /** Gives the message a payload of its own, once; itself again. */
  keep(): this {
    if (!this.#isKept) {
      this.#payload = copyOf(this.#payload);
      this.#isKept = true;
    }
    return this;
  }
}
