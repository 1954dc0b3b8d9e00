/**
 * What a client can be told to do, as values, and whether MQTT-SN can say it.
 * Knows topics and the room in a datagram; nothing of when a command is carried
 * out.
 *
 * Once a command is taken its packet has to have room in a datagram: there is
 * nobody left to throw at when its turn comes. So each is tried here, before.
 *
 * @module
 */

import type { DeliveryQos } from "../wire/message.ts";
import { LocalProtocolError } from "../base/errors.ts";
import { encodePacket, shortTopicId } from "../wire/mqttsn.ts";
import type {
  MqttSnPacket,
  Qos,
  TopicReference,
  WillTopic,
} from "../wire/packets.ts";
import { parseTopicFilter, parseTopicName } from "../wire/topics.ts";

/** How a client names a topic: by its name or filter, by an id, by two octets. */
export type DeviceTopic =
  | string
  | { readonly predefined: number }
  | { readonly short: string };

/** A client's last will. */
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

/** Publish a message, and how far that has come. */
export interface PublishCommand {
  /** Which command this is. */
  readonly type: "publish";
  /** Where to. */
  readonly topic: DeviceTopic;
  /** What: octets of its own, unless it is sent at once. */
  payload: Uint8Array;
  /** How sure. */
  readonly qos: Qos;
  /** Whether the gateway keeps it for later subscribers. */
  readonly retain: boolean;
  /** That of its PUBLISH; 0 until it was sent. */
  msgId: number;
  /** Whether PUBREC has come. */
  isReleased: boolean;
  /** How often the gateway did not know its topic id. */
  rejections: number;
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

/** The kinds of commands of which one at a time is under way. */
export type LaneName = "link" | "register" | "subscribe" | "publish" | "will";

/** Of which kind a command is. */
export const LANE_OF: Readonly<Record<Command["type"], LaneName>> = {
  connect: "link",
  disconnect: "link",
  sleep: "link",
  wake: "link",
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
  requireWritable({ type: "REGISTER", topicId: 0, msgId: 0, topicName });
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
  const reference = referenceOf(topic);
  requireWritable({ type: "UNSUBSCRIBE", msgId: 0, topic: reference });
}

/**
 * Takes a client's will.
 *
 * @throws {LocalProtocolError} when it can be none
 */
export function requireWill({ topicName, payload }: DeviceWill): void {
  requireName(topicName);
  requireWritable({ type: "WILLMSG", data: payload });
}

/** Octets of a payload that fit a datagram whatever stands before them. */
const SAFE_PAYLOAD = 60_000;

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
  if (payload.length > SAFE_PAYLOAD) {
    requireWritable({
      type: "PUBLISH",
      dup: false,
      qos: 0,
      retain: false,
      topicIdType: "normal",
      topicId: 0,
      msgId: 0,
      data: payload,
    });
  }
  if (typeof topic === "object") topicIdOf(topic);
  else if (qos === -1) {
    throw new LocalProtocolError(
      `Cannot publish to "${topic}" at QoS −1: it takes a pre-defined id or a short name`,
    );
  }
}

/**
 * Takes a packet.
 *
 * @throws {LocalProtocolError} when it does not fit a datagram
 */
export function requireWritable(packet: MqttSnPacket): void {
  encodePacket(packet);
}
