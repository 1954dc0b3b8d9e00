/**
 * What the datagrams between a gateway and its clients tell about the clients: how
 * each is called, which state it is in, and which topic an id stands for.
 *
 * A datagram of MQTT-SN says little by itself: PUBLISH has a topic's id, and only
 * CONNECT has the client id. So an observer has to see what came before: CONNECT
 * and CONNACK for the client and its session, REGISTER, REGACK, SUBSCRIBE and
 * SUBACK for the names of its ids. The journal reads with it, the faults and the
 * paths of a bad network choose with it.
 *
 * An observer remembers a bounded number of clients and addresses, and a bounded
 * length of names. The ones that it has not heard of for the longest time are
 * forgotten; after that their datagrams have no names.
 *
 * @module
 */

import { shortTopicName } from "./mqttsn.ts";
import type { MqttSnPacket, Qos, Side } from "./packets.ts";
import { digest, FNV_START, mix } from "../base/digest.ts";

/** A client's state at its broker; `unknown` until a datagram has told it. */
export type ClientState =
  | "unknown"
  | "active"
  | "asleep"
  | "awake"
  | "disconnected";

/** What a message is about. */
export interface Subject {
  /** The topic's name, or a filter; `undefined` when it is not known. */
  readonly topicName: string | undefined;
  /** At which QoS, `undefined` when it has none. */
  readonly qos: Qos | undefined;
}

/** Addresses that are remembered, and clients. */
const MAX_REMEMBERED = 20_000;

/** Characters of names that are remembered for their ids. */
const MAX_NAMES = 2 ** 24;

/** Requests of one client without an answer, and PUBLISHes to compare with. */
const MAX_PENDING = 32;

const NO_SUBJECT: Subject = { topicName: undefined, qos: undefined };

/** A PUBLISH that has a msgId. */
export interface Published {
  /** What it is about. */
  readonly subject: Subject;
  /** Of its topic and payload; `undefined` once its msgId is free again. */
  readonly digest: number | undefined;
}

/** What one side has asked from, or at, an address, by msgId. */
class Asked {
  readonly registered = new Map<number, Subject>();
  readonly subscribed = new Map<number, Subject>();
  readonly unsubscribed = new Map<number, Subject>();
}

/** A client, as its datagrams show it. */
export class ObservedClient {
  /** Its client id, `undefined` until it was told. */
  clientId: string | undefined;
  /** Its state at its broker. */
  state: ClientState = "unknown";
  /** Whether the broker's next DISCONNECT answers the client's. */
  isLeaving = false;
  /** The names of its topic ids. */
  readonly names: Map<number, string> = new Map();
  /** The address that it connected from last, or woke at. */
  address = "";
  /** Whether only an address leads to it: its client id does not, or not any more. */
  isStray = true;
  /** What each side has published, by msgId. */
  readonly published: Readonly<Record<Side, Map<number, Published>>> = {
    client: new Map(),
    broker: new Map(),
  };
}

/** An address, and the client that speaks from there. */
class Speaker {
  client = new ObservedClient();
  /** A CONNECT without CONNACK: until then the client of before goes on. */
  connecting: {
    readonly client: ObservedClient;
    readonly cleanSession: boolean;
  } | undefined;
  readonly asked: Readonly<Record<Side, Asked>> = {
    client: new Asked(),
    broker: new Asked(),
  };
}

/**
 * Observes the datagrams between a gateway and its clients, in their order.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { WireObserver } from "./observer.ts";
 *
 * const observer = new WireObserver();
 * const lamp = observer.meet("10.0.0.7:1883", "client", {
 *   type: "PINGREQ",
 *   clientId: "lamp",
 * });
 * observer.learn("10.0.0.7:1883", "client", { type: "DISCONNECT", duration: 60 });
 * assertEquals([lamp.clientId, lamp.state], ["lamp", "asleep"]);
 * ```
 */
export class WireObserver {
  readonly #predefined: ReadonlyMap<number, string>;
  readonly #speakers = new Map<string, Speaker>();
  /** By client id; those without one by `\0` and their address. */
  readonly #clients = new Map<string, ObservedClient>();
  #nameLength = 0;

  /**
   * Makes one that has seen nothing yet.
   *
   * @param predefined the names of pre-defined topic ids
   */
  constructor(predefined: ReadonlyMap<number, string> = new Map()) {
    this.#predefined = predefined;
  }

  /** The client that is connected from a peer's key, as far as was seen. */
  at(key: string): ObservedClient | undefined {
    return this.#speakers.get(key)?.client;
  }

  /** The client that speaks from a peer's key, also before its CONNACK. */
  announcedAt(key: string): ObservedClient | undefined {
    const speaker = this.#speakers.get(key);
    return speaker?.connecting?.client ?? speaker?.client;
  }

  /** Whether a CONNECT from a peer's key has no CONNACK yet. */
  isConnecting(key: string): boolean {
    return this.#speakers.get(key)?.connecting !== undefined;
  }

  /**
   * Finds the client whose datagram it is: also the one that asks to be connected, and
   * is not yet.
   *
   * @param key the key of the peer on the client's side
   * @param from the side that has sent it
   */
  meet(key: string, from: Side, packet: MqttSnPacket): ObservedClient {
    const { type } = packet;
    let speaker = this.#speakers.get(key);
    if (speaker === undefined) {
      speaker = new Speaker();
      // A broadcast is to nobody in particular.
      if (from === "broker" && (type === "ADVERTISE" || type === "GWINFO")) {
        return speaker.client;
      }
      this.#addSpeaker(key, speaker);
    }
    if (type === "CONNECT") {
      this.#speakers.delete(key);
      this.#speakers.set(key, speaker);
      const name = packet.clientId || `\0${key}`;
      const client = this.#clientOf(name, speaker.client);
      speaker.connecting = { client, cleanSession: packet.cleanSession };
      return client;
    }
    if (
      type === "PINGREQ" && from === "client" && packet.clientId !== ""
    ) {
      speaker.connecting = undefined;
      this.#become(speaker, this.#clientOf(packet.clientId, speaker.client));
      speaker.client.address = key;
    }
    return speaker.connecting?.client ?? speaker.client;
  }

  /**
   * What a datagram is about.
   *
   * @param key as {@linkcode WireObserver.meet} was given it
   */
  subjectOf(key: string, from: Side, packet: MqttSnPacket): Subject {
    const speaker = this.#speakers.get(key);
    return speaker === undefined
      ? NO_SUBJECT
      : this.#subjectOf(speaker, from, packet);
  }

  #subjectOf(
    { client, asked }: Speaker,
    from: Side,
    packet: MqttSnPacket,
  ): Subject {
    const { published } = client;
    const other = from === "client" ? "broker" : "client";
    switch (packet.type) {
      case "PUBLISH": {
        const { topicIdType, topicId, qos } = packet;
        return { topicName: this.#nameOf(client, topicIdType, topicId), qos };
      }
      case "REGISTER":
        return { topicName: packet.topicName, qos: undefined };
      case "SUBSCRIBE":
      case "UNSUBSCRIBE": {
        const { topic } = packet;
        const topicName = topic.topicIdType === "normal"
          ? topic.topicName
          : topic.topicIdType === "reserved"
          ? undefined
          : this.#nameOf(client, topic.topicIdType, topic.topicId);
        const qos = packet.type === "SUBSCRIBE" ? packet.qos : undefined;
        return { topicName, qos };
      }
      case "WILLTOPIC":
      case "WILLTOPICUPD":
        return { topicName: packet.will?.topicName, qos: packet.will?.qos };
      case "REGACK":
        return asked[other].registered.get(packet.msgId) ?? NO_SUBJECT;
      case "SUBACK":
        return asked[other].subscribed.get(packet.msgId) ?? NO_SUBJECT;
      case "UNSUBACK":
        return asked[other].unsubscribed.get(packet.msgId) ?? NO_SUBJECT;
      case "PUBREL":
        return published[from].get(packet.msgId)?.subject ?? NO_SUBJECT;
      case "PUBACK":
      case "PUBREC":
      case "PUBCOMP":
        return published[other].get(packet.msgId)?.subject ?? NO_SUBJECT;
      default:
        return NO_SUBJECT;
    }
  }

  /** Whether a PUBLISH is one that was learned before: it was sent again, or came twice. */
  isDuplicate(
    client: ObservedClient,
    from: Side,
    packet: Extract<MqttSnPacket, { type: "PUBLISH" }>,
  ): boolean {
    if (!packet.dup && packet.qos !== 2) return false;
    const last = client.published[from].get(packet.msgId)?.digest;
    return last !== undefined && last === digestOf(packet);
  }

  /**
   * Takes in what a datagram changes. A datagram that does not reach the broker is
   * not learned.
   *
   * @param key as {@linkcode WireObserver.meet} was given it
   */
  learn(key: string, from: Side, packet: MqttSnPacket): void {
    const speaker = this.#speakers.get(key);
    if (speaker === undefined) return;
    const { client } = speaker;
    const announced = speaker.connecting?.client ?? client;
    const asked = speaker.asked[from];
    const published = client.published[from];
    const subject = this.#subjectOf(speaker, from, packet);
    switch (packet.type) {
      case "CONNACK":
        if (packet.returnCode === 0) announced.state = "active";
        this.#connected(key, speaker, packet.returnCode);
        break;
      case "DISCONNECT":
        if (from === "client") {
          announced.state = packet.duration ? "asleep" : "disconnected";
          announced.isLeaving = true;
        } else if (announced.isLeaving) announced.isLeaving = false;
        else announced.state = "disconnected";
        break;
      case "PINGREQ":
        if (client.state === "asleep" && packet.clientId !== "") {
          client.state = "awake";
        }
        break;
      case "PINGRESP":
        if (from === "broker" && client.state === "awake") {
          client.state = "asleep";
        }
        break;
      case "REGISTER":
        // The broker uses its ids at once, and does not wait for REGACK.
        if (from === "broker") {
          this.#name(client, packet.topicId, packet.topicName);
        }
        remember(asked.registered, packet.msgId, subject);
        break;
      case "REGACK":
        if (from === "broker" && packet.returnCode === 0) {
          this.#name(client, packet.topicId, subject.topicName);
        }
        break;
      case "SUBSCRIBE":
        remember(asked.subscribed, packet.msgId, subject);
        break;
      case "SUBACK":
        // An id that is a name by itself repeats what was asked.
        if (
          packet.returnCode === 0 && packet.topicId !== 0 &&
          shortTopicName(packet.topicId) !== subject.topicName &&
          this.#predefined.get(packet.topicId) !== subject.topicName
        ) this.#name(client, packet.topicId, subject.topicName);
        break;
      case "UNSUBSCRIBE":
        remember(asked.unsubscribed, packet.msgId, subject);
        break;
      case "PUBLISH":
        if (packet.qos > 0) {
          const digest = digestOf(packet);
          remember(published, packet.msgId, { subject, digest });
        }
        break;
      case "PUBREL":
        // The next PUBLISH of this msgId is another message.
        if (published.has(packet.msgId)) {
          published.set(packet.msgId, { subject, digest: undefined });
        }
        break;
    }
  }

  #addSpeaker(key: string, speaker: Speaker): void {
    this.#speakers.set(key, speaker);
    if (this.#speakers.size <= MAX_REMEMBERED) return;
    for (const [oldest, { client }] of this.#speakers) {
      this.#speakers.delete(oldest);
      this.#leave(client);
      return;
    }
  }

  #connected(key: string, speaker: Speaker, returnCode: number): void {
    const { connecting } = speaker;
    speaker.connecting = undefined;
    if (connecting === undefined || returnCode !== 0) return;
    const { client } = connecting;
    // The same again from the same address may be a copy of the first, as the
    // gateway alone can know: ids are told anew before they mean another name.
    const isRepeated = client.address === key;
    if (connecting.cleanSession && !isRepeated) this.#empty(client);
    this.#become(speaker, client);
    client.address = key;
  }

  /**
   * The client of a name; it is remembered from here on.
   *
   * @param speaks the client that speaks from the address: one without a name has it
   * from now on
   */
  #clientOf(name: string, speaks: ObservedClient): ObservedClient {
    let client = this.#clients.get(name);
    if (client === undefined) {
      client = new ObservedClient();
      if (speaks.isStray) client.state = speaks.state;
    }
    client.clientId = name.startsWith("\0") ? undefined : name;
    client.isStray = false;
    // The last one in the table is the one heard of last.
    this.#clients.delete(name);
    this.#clients.set(name, client);
    if (this.#clients.size > MAX_REMEMBERED) this.#forgetOldest();
    return client;
  }

  /** A client speaks from an address. */
  #become(speaker: Speaker, client: ObservedClient): void {
    if (speaker.client === client) return;
    this.#leave(speaker.client);
    speaker.client = client;
  }

  /** An address leads to a client no more. */
  #leave(client: ObservedClient): void {
    if (client.isStray) this.#empty(client);
  }

  #forgetOldest(): void {
    for (const [name, client] of this.#clients) {
      this.#clients.delete(name);
      client.isStray = true;
      this.#empty(client);
      return;
    }
  }

  #empty(client: ObservedClient): void {
    for (const name of client.names.values()) this.#nameLength -= name.length;
    client.names.clear();
  }

  #name(
    client: ObservedClient,
    topicId: number,
    topicName: string | undefined,
  ): void {
    if (topicName === undefined) return;
    const { names } = client;
    this.#nameLength += topicName.length - (names.get(topicId)?.length ?? 0);
    names.delete(topicId); // the last in the table is the last learned
    names.set(topicId, topicName);
    while (this.#nameLength > MAX_NAMES && this.#clients.size > 0) {
      this.#forgetOldest();
    }
    if (this.#nameLength > MAX_NAMES) this.#empty(client);
  }

  #nameOf(
    client: ObservedClient,
    topicIdType: string,
    topicId: number,
  ): string | undefined {
    switch (topicIdType) {
      case "normal":
        return client.names.get(topicId);
      case "predefined":
        return this.#predefined.get(topicId);
      case "short":
        return shortTopicName(topicId);
      default:
        return undefined;
    }
  }
}

/** Tells two messages apart, as well as 32 bits can. */
function digestOf(
  { topicId, data }: Extract<MqttSnPacket, { type: "PUBLISH" }>,
): number {
  return digest(data, mix(FNV_START, topicId));
}

/** Sets an entry, and drops the oldest where there are too many. */
function remember<Value>(
  map: Map<number, Value>,
  key: number,
  value: Value,
): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= MAX_PENDING) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    return;
  }
}
