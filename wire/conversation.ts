/**
 * A conversation as the wire shows it: which client a datagram is from or for, and
 * which topic it is about. Knows what was said and what follows from it; nothing of
 * what went on inside either side, and no time.
 *
 * A datagram of MQTT-SN says little by itself: PUBLISH has a topic's id, and the
 * client id is in CONNECT alone. So whoever reads it has to have read what came
 * before: CONNECT and CONNACK for the client id and whether its session is a new
 * one, REGISTER, REGACK, SUBSCRIBE and SUBACK for the names behind its ids. What is
 * wrapped for a node behind a forwarder is unwrapped, and the node is the peer.
 *
 * What is remembered of all that is bounded: clients and addresses by number, names
 * by their length together. Those not heard of for longest are forgotten, and what
 * they say afterwards is read without names.
 *
 * @module
 */

import { isNodePeer, nodePeerOf } from "./forwarder.ts";
import type { Peer } from "../base/peer.ts";
import { isFramed, shortTopicName, spelledOutTopic } from "./mqttsn.ts";
import { type MqttSnPacket, MSG_TYPE, type MsgType } from "./packets.ts";
import { describePacket } from "./describe.ts";
import {
  decoded,
  isRequest,
  malformed,
  readClassic,
  type Reading,
} from "./reading.ts";

/** What the reader is told beforehand. */
export interface ConversationOptions {
  /** The pre-defined topics, by their ids. */
  readonly predefined?: ReadonlyMap<number, string> | undefined;
  /** Whether a PUBLISH at QoS −1 may spell out its topic. Default false. */
  readonly namedQosMinusOne?: boolean | undefined;
  /** Whether octets behind a message do not make it malformed. Default false. */
  readonly ignoreTail?: boolean | undefined;
}

/** Addresses that are remembered, and clients. */
const MAX_REMEMBERED = 20_000;

/** Characters of names that are remembered for their ids. */
const MAX_NAMES = 2 ** 24;

/** Requests of one client without an answer, and PUBLISHes to compare with. */
const MAX_PENDING = 32;

/** What a client is known to have: the names behind its topic ids. */
class KnownClient {
  readonly clientId: string | undefined;
  /** Whether an address alone leads here: it is not, or no more, found by its id. */
  isStray = true;
  /** The address that it connected from last, or woke at. */
  at = "";
  readonly names = new Map<number, string>();
  /** PUBLISHes by their msgIds: what came, and what was sent. */
  readonly seen = {
    up: new Map<number, number>(),
    down: new Map<number, number>(),
  };

  constructor(clientId: string | undefined) {
    this.clientId = clientId;
  }
}

/** Who speaks from an address. */
class Speaker {
  client: KnownClient;
  /** A CONNECT without CONNACK. */
  connecting: { clientId: string; cleanSession: boolean } | undefined;
  readonly registering = new Map<number, string>();
  readonly registered = new Map<number, string>();
  readonly subscribing = new Map<number, string>();
  readonly unsubscribing = new Map<number, string>();

  constructor(client: KnownClient) {
    this.client = client;
  }
}

/**
 * A reader of the datagrams between a gateway and its clients, in their order.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Conversation } from "./conversation.ts";
 * import { peerOf } from "../base/peer.ts";
 * import { encodePacket } from "./mqttsn.ts";
 *
 * const conversation = new Conversation();
 * const lamp = peerOf("127.0.0.1", 4711);
 * const connect = encodePacket({
 *   type: "CONNECT",
 *   will: false,
 *   cleanSession: true,
 *   protocolId: 1,
 *   duration: 60,
 *   clientId: "lamp-7",
 * });
 * conversation.read("up", lamp, connect);
 * const connack = Uint8Array.of(3, 0x05, 0);
 * assertEquals(conversation.read("down", lamp, connack).clientId, "lamp-7");
 * ```
 */
export class Conversation {
  readonly #predefined: ReadonlyMap<number, string>;
  readonly #namedQosMinusOne: boolean;
  readonly #framing: { readonly lenient: boolean };
  readonly #speakers = new Map<string, Speaker>();
  readonly #clients = new Map<string, KnownClient>();
  #nameLength = 0;

  /** Has heard nothing. */
  constructor(options: ConversationOptions = {}) {
    this.#predefined = options.predefined ?? new Map();
    this.#namedQosMinusOne = options.namedQosMinusOne ?? false;
    this.#framing = { lenient: options.ignoreTail ?? false };
  }

  /**
   * Whether a datagram can change how later ones are read. Whoever has no time to
   * read all of them reads these.
   */
  static matters(bytes: Uint8Array): boolean {
    const type = bytes[0] === 1 ? bytes[3] : bytes[1];
    return type !== undefined && MATTERING[type] === 1;
  }

  /**
   * Reads the next datagram.
   *
   * @param way `up` from a client, `down` to it
   * @param peer the client's address, or the forwarder's; a node will do as well
   * @param bytes the whole datagram
   */
  read(way: "up" | "down", peer: Peer, bytes: Uint8Array): Reading {
    const packet = this.#decode(way, peer, bytes);
    if (packet === undefined) return readClassic(way, peer, bytes);
    if (packet.type !== "ENCAPSULATED") return this.#follow(way, peer, packet);
    const { hostname, port } = peer;
    const forwarder = isNodePeer(peer)
      ? { hostname, port, key: peer.key.slice(0, peer.key.lastIndexOf("/")) }
      : peer;
    const node = nodePeerOf(forwarder, packet);
    const inner = decoded(packet.message, this.#framing);
    if (inner === undefined) return malformed(node, bytes);
    return this.#follow(way, node, inner);
  }

  /** The id of the client that speaks from an address, if that was read. */
  clientAt(peer: Peer): string | undefined {
    return this.#speakers.get(peer.key)?.client.clientId;
  }

  /** The name for which a client has an id, if that was read. */
  nameOf(peer: Peer, topicId: number): string | undefined {
    return this.#speakers.get(peer.key)?.client.names.get(topicId);
  }

  /** The id that a client has for a name: the last that was read. */
  idOf(peer: Peer, topicName: string): number | undefined {
    let last: number | undefined;
    for (const [id, name] of this.#speakers.get(peer.key)?.client.names ?? []) {
      if (name === topicName) last = id;
    }
    return last;
  }

  #decode(
    way: "up" | "down",
    peer: Peer,
    bytes: Uint8Array,
  ): MqttSnPacket | undefined {
    if (!isFramed(bytes, this.#framing)) return undefined;
    // What may be either is what the other side has been speaking so far.
    if (way === "up" && bytes[0] === BRACE && isRequest(bytes)) {
      const isPrompted = this.#speakers.get(peer.key)?.connecting !== undefined;
      if (bytes[1] !== MSG_TYPE.WILLMSG || !isPrompted) return undefined;
    }
    if (
      way === "down" && !this.#speakers.has(peer.key) && isBlankType(bytes[1])
    ) return undefined;
    return decoded(bytes, this.#framing);
  }

  /** Learns what a message tells of its client, and says what it is about. */
  #follow(way: "up" | "down", peer: Peer, packet: MqttSnPacket): Reading {
    const speaker = this.#speakerAt(way, peer, packet);
    const { type } = packet;
    let topicName: string | undefined;
    let payload: Uint8Array | undefined;
    let isDuplicate = false;
    let clientId = speaker.connecting?.clientId || speaker.client.clientId;
    switch (type) {
      case "CONNECT":
        speaker.connecting = packet;
        clientId = packet.clientId || undefined;
        break;
      case "CONNACK":
        this.#connected(peer, speaker, packet.returnCode);
        break;
      case "PINGREQ":
        if (way === "up" && packet.clientId !== "") {
          this.#become(peer, speaker, packet.clientId);
          speaker.connecting = undefined;
          clientId = packet.clientId;
        }
        break;
      case "WILLTOPIC":
      case "WILLTOPICUPD":
        topicName = packet.will?.topicName;
        break;
      case "REGISTER":
        topicName = packet.topicName;
        if (way === "down") {
          // It is told before it is used, so nobody has to wait for REGACK.
          this.#learn(speaker.client, packet.topicId, topicName);
          remember(speaker.registered, packet.msgId, topicName);
        } else remember(speaker.registering, packet.msgId, topicName);
        break;
      case "REGACK": {
        const asked = way === "down" ? speaker.registering : speaker.registered;
        topicName = asked.get(packet.msgId);
        if (way === "down" && packet.returnCode === 0) {
          this.#learn(speaker.client, packet.topicId, topicName);
        }
        break;
      }
      case "SUBSCRIBE":
        topicName = this.#topicOf(packet.topic);
        if (topicName !== undefined) {
          remember(speaker.subscribing, packet.msgId, topicName);
        }
        break;
      case "SUBACK":
        topicName = speaker.subscribing.get(packet.msgId);
        if (packet.returnCode === 0 && packet.topicId !== 0) {
          this.#learn(speaker.client, packet.topicId, topicName, "unlessAlias");
        }
        break;
      case "UNSUBSCRIBE":
        topicName = this.#topicOf(packet.topic);
        if (topicName !== undefined) {
          remember(speaker.unsubscribing, packet.msgId, topicName);
        }
        break;
      case "UNSUBACK":
        topicName = speaker.unsubscribing.get(packet.msgId);
        break;
      case "PUBLISH": {
        const spelled = packet.qos === -1 && this.#namedQosMinusOne &&
            packet.topicIdType === "normal"
          ? spelledOutTopic(packet)
          : undefined;
        payload = spelled?.payload ?? packet.data;
        topicName = spelled?.topicName ??
          this.#nameOf(speaker.client, packet.topicIdType, packet.topicId);
        if (packet.qos > 0) {
          const digest = digestOf(packet.topicId, packet.data);
          const seen = speaker.client.seen[way];
          isDuplicate = (packet.dup || packet.qos === 2) &&
            seen.get(packet.msgId) === digest;
          remember(seen, packet.msgId, digest);
        }
        break;
      }
      case "PUBACK":
        topicName = speaker.client.names.get(packet.topicId);
        break;
      case "PUBREL":
        // The next PUBLISH of this msgId is another message.
        speaker.client.seen[way].delete(packet.msgId);
        break;
    }
    let text = describePacket(packet).slice(type.length + 1);
    if (topicName !== undefined && !("topicName" in packet)) {
      text += `${text && " "}(${JSON.stringify(topicName)})`;
    }
    return {
      ...{
        type,
        peer,
        clientId,
        packet,
        topicName,
        payload,
        isDuplicate,
        text,
      },
    };
  }

  #speakerAt(way: "up" | "down", peer: Peer, { type }: MqttSnPacket): Speaker {
    let speaker = this.#speakers.get(peer.key);
    if (speaker === undefined) {
      speaker = new Speaker(new KnownClient(undefined));
      // A broadcast is to nobody.
      if (way === "down" && (type === "ADVERTISE" || type === "GWINFO")) {
        return speaker;
      }
      this.#speakers.set(peer.key, speaker);
    } else if (type === "CONNECT") {
      this.#speakers.delete(peer.key);
      this.#speakers.set(peer.key, speaker);
    }
    if (this.#speakers.size > MAX_REMEMBERED) {
      for (const [key, { client }] of this.#speakers) {
        this.#speakers.delete(key);
        this.#leave(client);
        break;
      }
    }
    return speaker;
  }

  #connected(peer: Peer, speaker: Speaker, returnCode: number): void {
    const { connecting } = speaker;
    speaker.connecting = undefined;
    if (connecting === undefined || returnCode !== 0) return;
    const { clientId, cleanSession } = connecting;
    // One that has not said who it is has its address for a name.
    const name = clientId || `\0${peer.key}`;
    // The same again from the same address may be a copy of the first, as the
    // gateway alone can know: ids are told anew before they mean another name.
    const isRepeated = this.#clients.get(name)?.at === peer.key;
    if (cleanSession && !isRepeated) this.#forget(name);
    this.#become(peer, speaker, name);
  }

  #become(peer: Peer, speaker: Speaker, clientId: string): void {
    const known = this.#clients.get(clientId);
    const client = known ??
      new KnownClient(clientId.startsWith("\0") ? undefined : clientId);
    client.isStray = false;
    client.at = peer.key;
    // The last one in the table is the one heard of last.
    this.#clients.delete(clientId);
    this.#clients.set(clientId, client);
    if (speaker.client !== client) {
      this.#leave(speaker.client);
      speaker.client = client;
    }
    if (this.#clients.size > MAX_REMEMBERED) this.#forgetLongestAway();
  }

  /** An address leads to a client no more. */
  #leave(client: KnownClient): void {
    if (client.isStray) this.#empty(client);
  }

  #forget(clientId: string): void {
    const client = this.#clients.get(clientId);
    if (client === undefined) return;
    this.#clients.delete(clientId);
    client.isStray = true;
    this.#empty(client);
  }

  #empty(client: KnownClient): void {
    for (const name of client.names.values()) this.#nameLength -= name.length;
    client.names.clear();
  }

  #forgetLongestAway(): void {
    for (const clientId of this.#clients.keys()) return this.#forget(clientId);
  }

  #learn(
    client: KnownClient,
    topicId: number,
    topicName: string | undefined,
    which: "always" | "unlessAlias" = "always",
  ): void {
    if (topicName === undefined) return;
    // SUBACK of a pre-defined or short topic repeats what it was asked by.
    if (
      which === "unlessAlias" && (shortTopicName(topicId) === topicName ||
        this.#predefined.get(topicId) === topicName)
    ) return;
    this.#nameLength += topicName.length -
      (client.names.get(topicId)?.length ?? 0);
    client.names.delete(topicId); // the last in the table is the last learned
    client.names.set(topicId, topicName);
    while (this.#nameLength > MAX_NAMES && this.#clients.size > 0) {
      this.#forgetLongestAway();
    }
    if (this.#nameLength > MAX_NAMES) this.#empty(client);
  }

  #nameOf(
    client: KnownClient,
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

  #topicOf(
    topic: {
      readonly topicIdType: string;
      readonly topicName?: string;
      readonly topicId?: number;
    },
  ): string | undefined {
    if (topic.topicName !== undefined) return topic.topicName;
    if (topic.topicId === undefined) return undefined;
    return topic.topicIdType === "short"
      ? shortTopicName(topic.topicId)
      : this.#predefined.get(topic.topicId);
  }
}

/** The types of messages from which something is learned, by their codes. */
const MATTERING: Uint8Array = (() => {
  const codes = new Uint8Array(256);
  const types: readonly MsgType[] = [
    ...["CONNECT", "CONNACK", "REGISTER", "REGACK", "SUBSCRIBE"] as const,
    ...["SUBACK", "PINGREQ", "ENCAPSULATED"] as const,
  ];
  for (const type of types) codes[MSG_TYPE[type]] = 1;
  return codes;
})();

/** `{`, with which an object in JSON begins. */
const BRACE = 0x7b;

/** Whether a type's code is white space too, so that a text may have it. */
function isBlankType(code: number | undefined): boolean {
  return code === MSG_TYPE.WILLMSG || code === MSG_TYPE.REGISTER ||
    code === MSG_TYPE.PUBACK;
}

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

/** Tells two messages apart, as good as 32 bits can (FNV-1a). */
function digestOf(topicId: number, data: Uint8Array): number {
  let digest = Math.imul(0x811c9dc5 ^ topicId, 0x01000193);
  for (const octet of data) digest = Math.imul(digest ^ octet, 0x01000193);
  return digest;
}
