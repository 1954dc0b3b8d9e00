/**
 * The commands that a client can be given, as values, and the checks whether MQTT-SN
 * can say them.
 *
 * Once a command is taken its packet must fit a datagram: when its turn comes there is
 * no caller left to throw at. So each is checked here, before.
 *
 * @module
 */

import type { DeliveryQos } from "../wire/message.ts";
import { LocalProtocolError } from "../base/errors.ts";
import { requireRoom, shortTopicId } from "../wire/mqttsn.ts";
import { utf8Length } from "../base/utf8.ts";
import type { Qos, TopicReference, WillTopic } from "../wire/packets.ts";
import { parseTopicFilter, parseTopicName } from "../wire/topics.ts";

/**
 * How a client names a topic: by its name or filter, by an id, by two octets.
 *
 * @example
 * ```ts
 * import { Broker, Client, type DeviceTopic } from "../mod.ts";
 *
 * const predefined = new Map([[7, "lamp"]]);
 * await using broker = await Broker.listen({ port: 0, predefined });
 * await using client = await Client.connect({ port: broker.port });
 * const topics: DeviceTopic[] = ["lamp", { predefined: 7 }, { short: "ab" }];
 * for (const topic of topics) await client.publish(topic, "on", { qos: 1 });
 * ```
 */
export type DeviceTopic =
  | string
  | { readonly predefined: number }
  | { readonly short: string };

/**
 * A client's last will.
 *
 * @example
 * ```ts
 * import type { DeviceWill } from "../mod.ts";
 *
 * const _will: DeviceWill = {
 *   topicName: "lamp/state",
 *   payload: new TextEncoder().encode("lost"),
 *   retain: true,
 * };
 * ```
 */
export interface DeviceWill {
  /** Where to. */
  readonly topicName: string;
  /** What. */
  readonly payload: Uint8Array;
  /** At which QoS. Default 0. */
  readonly qos?: DeliveryQos;
  /** Whether it is retained. Default false. */
  readonly retain?: boolean;
}

/** Subscribe to a topic. */
export interface SubscribeCommand {
  /** Which command this is. */
  readonly type: "subscribe";
  /** To what. */
  readonly topic: DeviceTopic;
  /** At which QoS, at most. */
  readonly qos: DeliveryQos;
}

/** Publish a message. */
export interface PublishCommand {
  /** Which command this is. */
  readonly type: "publish";
  /** Where to. */
  readonly topic: DeviceTopic;
  /** What: octets of its own, unless it is sent at once. */
  readonly payload: Uint8Array;
  /** How sure. */
  readonly qos: Qos;
  /** Whether the gateway keeps it for later subscribers. */
  readonly retain: boolean;
}

/** What a client can be told to do. */
export type Command =
  | { readonly type: "connect" }
  | { readonly type: "disconnect" }
  | { readonly type: "sleep"; readonly duration: number }
  | { readonly type: "wake" }
  | { readonly type: "register"; readonly topicName: string }
  | SubscribeCommand
  | { readonly type: "unsubscribe"; readonly topic: DeviceTopic }
  | PublishCommand
  | { readonly type: "willTopic"; readonly topic: WillTopic | undefined }
  | { readonly type: "willMsg"; readonly payload: Uint8Array };

/** The queues in which commands wait. */
export type QueueName =
  | "connection"
  | "register"
  | "subscribe"
  | "publish"
  | "will";

/** The queue of each command. */
export const QUEUE_OF: Readonly<Record<Command["type"], QueueName>> = {
  connect: "connection",
  disconnect: "connection",
  sleep: "connection",
  wake: "connection",
  register: "register",
  subscribe: "subscribe",
  unsubscribe: "subscribe",
  publish: "publish",
  willTopic: "will",
  willMsg: "will",
};

/** How PUBLISH says what kind of topic it is to. */
export function topicIdTypeOf(
  topic: DeviceTopic,
): "normal" | "predefined" | "short" {
  if (typeof topic === "string") return "normal";
  return "predefined" in topic ? "predefined" : "short";
}

/**
 * The number that stands for a topic which needs no registration.
 *
 * @throws {LocalProtocolError} when a short name has not two octets
 */
export function topicIdOf(topic: Exclude<DeviceTopic, string>): number {
  if ("predefined" in topic) return topic.predefined;
  const topicId = shortTopicId(topic.short);
  if (topicId !== undefined) return topicId;
  throw new LocalProtocolError(
    `Cannot take "${topic.short}" as a short topic name: it has not two octets`,
  );
}

/** A topic as SUBSCRIBE and UNSUBSCRIBE carry it. */
export function referenceOf(topic: DeviceTopic): TopicReference {
  if (typeof topic === "string") {
    return { topicIdType: "normal", topicName: topic };
  }
  const topicIdType = "predefined" in topic ? "predefined" : "short";
  return { topicIdType, topicId: topicIdOf(topic) };
}

/**
 * A topic as the key of a table. A short name is the same topic as that name; an
 * id is none, as what it stands for may not be known.
 */
export function topicKeyOf(topic: DeviceTopic): string {
  if (typeof topic === "string") return `=${topic}`;
  return "predefined" in topic ? `#${topic.predefined}` : `=${topic.short}`;
}

/** Whether a topic is a name, by which an id is known, and no filter. */
export function isName(topic: DeviceTopic): topic is string {
  return typeof topic === "string" && parseTopicName(topic) !== undefined;
}

/**
 * Takes a topic's name.
 *
 * @throws {LocalProtocolError} when it may not be one, or is too long
 */
export function requireName(topicName: string): void {
  if (parseTopicName(topicName) === undefined) {
    throw new LocalProtocolError(
      `Cannot take "${topicName}" as a topic's name: it is empty, too long, or has a wildcard`,
    );
  }
  requireRoom("REGISTER", 4 + utf8Length(topicName));
}

/**
 * What is published to: no wildcard, not even as a short name.
 *
 * @throws {LocalProtocolError} when it may not be that
 */
export function requireTopic(topic: DeviceTopic): void {
  if (typeof topic === "string") return requireName(topic);
  if ("short" in topic) return requireName(topic.short);
  const { predefined: id } = topic;
  if (Number.isInteger(id) && id >= 1 && id <= 0xfffe) return;
  throw new LocalProtocolError(
    `Cannot take "${id}" as a pre-defined topic id: it is a whole number from 1 to 65534`,
  );
}

/**
 * Takes what is subscribed to.
 *
 * @throws {LocalProtocolError} when it cannot be
 */
export function requireFilter(topic: DeviceTopic): void {
  // §6.7: a short name has no wildcards.
  if (typeof topic !== "string") requireTopic(topic);
  else if (parseTopicFilter(topic) === undefined) {
    throw new LocalProtocolError(
      `Cannot take "${topic}" as a topic's filter: it is empty, too long, or + and # share a level, or # is not the last`,
    );
  }
  if (typeof topic === "string") {
    requireRoom("UNSUBSCRIBE", 3 + utf8Length(topic));
  } else topicIdOf(topic);
}

/**
 * Takes a client's will.
 *
 * @throws {LocalProtocolError} when it can be none
 */
export function requireWill({ topicName, payload }: DeviceWill): void {
  requireName(topicName);
  requireRoom("WILLMSG", payload.length);
}

/**
 * Takes what is published to a valid topic.
 *
 * @throws {LocalProtocolError} when it cannot be
 */
export function requirePublishable(
  topic: DeviceTopic,
  payload: Uint8Array,
  qos: Qos,
): void {
  requireRoom("PUBLISH", 5 + payload.length);
  if (typeof topic === "object") topicIdOf(topic);
  else if (qos === -1) {
    throw new LocalProtocolError(
      `Cannot publish to "${topic}" at QoS −1: it takes a pre-defined id or a short name`,
    );
  }
}
