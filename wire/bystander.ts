/**
 * What somebody learns of MQTT-SN clients who sees their datagrams pass: who is
 * called how, who sleeps, which topic an id stands for. Knows what the octets
 * say; sends nothing and changes nothing.
 *
 * What it knows is what the broker knows, as far as it has seen: it was not there
 * when a session of long ago was set up.
 *
 * @module
 */

import type { MqttSnPacket, Qos } from "./packets.ts";
import { shortTopicName } from "./mqttsn.ts";

/** Which end a datagram comes from. */
export type End = "client" | "broker";

/** What a client is to its broker; `unknown` until it has been seen to be something. */
export type ClientState =
  | "unknown"
  | "active"
  | "asleep"
  | "awake"
  | "disconnected";

/** What a message is about. */
export interface Subject {
  /** The topic's name, or a filter; `undefined` when it is not known. */
  readonly topic: string | undefined;
  /** At which QoS, `undefined` when it has none. */
  readonly qos: Qos | undefined;
}

/** Clients that are known at once; the one met first is forgotten. */
const MAX_CLIENTS = 10_000;

/** Topic ids and messages of one client that are remembered. */
const MAX_TOPICS = 1_000;
const MAX_MESSAGES = 64;

const NO_SUBJECT: Subject = { topic: undefined, qos: undefined };

/** A client, as a bystander knows it. */
export class Acquaintance {
  /** What it is called, `undefined` until it has said so. */
  clientId: string | undefined;
  /** What it is to its broker. */
  state: ClientState = "unknown";
  /** Whether a DISCONNECT of the broker's would answer one of its own. */
  takesLeave = false;
  /** The names of topic ids. */
  readonly topics = new Map<number, string>();
  /** What those messages were about that have a number, by who sent them. */
  readonly messages: Readonly<Record<End, Map<number, Subject>>> = {
    client: new Map(),
    broker: new Map(),
  };
}

/**
 * Somebody who sees datagrams pass.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Bystander } from "./bystander.ts";
 *
 * const bystander = new Bystander();
 * const lamp = bystander.meet("10.0.0.7:1883", {
 *   type: "PINGREQ",
 *   clientId: "lamp",
 * });
 * bystander.learn(lamp, "client", { type: "DISCONNECT", duration: 60 });
 * assertEquals([lamp.clientId, lamp.state], ["lamp", "asleep"]);
 * ```
 */
export class Bystander {
  readonly #predefined: ReadonlyMap<number, string>;
  readonly #byKey = new Map<string, Acquaintance>();
  readonly #byClientId = new Map<string, Acquaintance>();

  /**
   * Makes one who has seen nothing yet.
   *
   * @param predefined the names of pre-defined topic ids
   */
  constructor(predefined: ReadonlyMap<number, string> = new Map()) {
    this.#predefined = predefined;
  }

  /** What the client is called that is at a peer's key, if that is known. */
  clientIdAt(key: string): string | undefined {
    return this.#byKey.get(key)?.clientId;
  }

  /**
   * Tells whose datagram it is.
   *
   * @param key that of the peer on the client's side of the conversation
   */
  meet(key: string, packet: MqttSnPacket): Acquaintance {
    const known = this.#byKey.get(key);
    const says = packet.type === "CONNECT" || packet.type === "PINGREQ"
      ? packet.clientId
      : "";
    if (known !== undefined && (says === "" || known.clientId === says)) {
      return known;
    }
    // Whoever it was, it may have come from elsewhere before.
    const who = this.#byClientId.get(says) ??
      (known?.clientId === undefined ? known : undefined) ??
      new Acquaintance();
    remember(this.#byKey, key, who, MAX_CLIENTS);
    if (says !== "") {
      who.clientId = says;
      remember(this.#byClientId, says, who, MAX_CLIENTS);
    }
    return who;
  }

  /** What a datagram is about. */
  subjectOf(who: Acquaintance, from: End, packet: MqttSnPacket): Subject {
    const other = from === "client" ? "broker" : "client";
    switch (packet.type) {
      case "PUBLISH":
        return {
          topic: this.#nameOf(who, packet.topicIdType, packet.topicId),
          qos: packet.qos,
        };
      case "REGISTER":
        return { topic: packet.topicName, qos: undefined };
      case "SUBSCRIBE":
      case "UNSUBSCRIBE": {
        const { topic } = packet;
        const name = topic.topicIdType === "normal"
          ? topic.topicName
          : topic.topicIdType === "reserved"
          ? undefined
          : this.#nameOf(who, topic.topicIdType, topic.topicId);
        const qos = packet.type === "SUBSCRIBE" ? packet.qos : undefined;
        return { topic: name, qos };
      }
      case "WILLTOPIC":
      case "WILLTOPICUPD":
        return { topic: packet.will?.topicName, qos: packet.will?.qos };
      case "PUBREL":
        return who.messages[from].get(packet.msgId) ?? NO_SUBJECT;
      case "REGACK":
      case "PUBACK":
      case "PUBREC":
      case "PUBCOMP":
      case "SUBACK":
      case "UNSUBACK":
        return who.messages[other].get(packet.msgId) ?? NO_SUBJECT;
      default:
        return NO_SUBJECT;
    }
  }

  #nameOf(
    who: Acquaintance,
    topicIdType: string,
    topicId: number,
  ): string | undefined {
    switch (topicIdType) {
      case "normal":
        return who.topics.get(topicId);
      case "predefined":
        return this.#predefined.get(topicId);
      case "short":
        return shortTopicName(topicId);
      default:
        return undefined;
    }
  }

  /** Takes in what a datagram changes that the broker has sent, or gets. */
  learn(who: Acquaintance, from: End, packet: MqttSnPacket): void {
    switch (packet.type) {
      case "CONNECT":
        if (packet.cleanSession) who.topics.clear();
        break;
      case "CONNACK":
        if (packet.returnCode === 0) who.state = "active";
        break;
      case "DISCONNECT":
        if (from === "client") {
          who.state = packet.duration ? "asleep" : "disconnected";
          who.takesLeave = true;
        } else if (who.takesLeave) who.takesLeave = false;
        else who.state = "disconnected";
        break;
      case "PINGREQ":
        if (who.state === "asleep" && packet.clientId !== "") {
          who.state = "awake";
        }
        break;
      case "PINGRESP":
        if (from === "broker" && who.state === "awake") who.state = "asleep";
        break;
      case "REGISTER":
        if (from === "broker") {
          remember(who.topics, packet.topicId, packet.topicName, MAX_TOPICS);
        }
        this.#keep(who, from, packet);
        break;
      case "REGACK":
      case "SUBACK": {
        const { topic } = this.subjectOf(who, from, packet);
        const isNamed = topic !== undefined && packet.topicId !== 0;
        if (isNamed && packet.returnCode === 0) {
          remember(who.topics, packet.topicId, topic, MAX_TOPICS);
        }
        break;
      }
      case "PUBLISH":
        if (packet.qos > 0) this.#keep(who, from, packet);
        break;
      case "SUBSCRIBE":
      case "UNSUBSCRIBE":
        this.#keep(who, from, packet);
        break;
    }
  }

  #keep(
    who: Acquaintance,
    from: End,
    packet: Extract<MqttSnPacket, { msgId: number }>,
  ): void {
    const subject = this.subjectOf(who, from, packet);
    remember(who.messages[from], packet.msgId, subject, MAX_MESSAGES);
  }
}

/** Sets an entry, and has the oldest go where there are too many. */
function remember<Key, Value>(
  map: Map<Key, Value>,
  key: Key,
  value: Value,
  max: number,
): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= max) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    return;
  }
}
