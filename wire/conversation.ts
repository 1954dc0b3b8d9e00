/**
 * Reads a conversation: each datagram between a gateway and its clients, of either
 * protocol, as values for the journal. What earlier datagrams told, such as the name
 * behind a topic id, comes from `wire/observer.ts`.
 *
 * A message that is wrapped for a node behind a forwarder is unwrapped, and the node
 * is the peer.
 *
 * @module
 */

import { isNodePeer, nodePeerOf } from "./forwarder.ts";
import type { Peer } from "../base/peer.ts";
import { isFramed, spelledOutTopic } from "./mqttsn.ts";
import { type ObservedClient, WireObserver } from "./observer.ts";
import {
  type MqttSnPacket,
  MSG_TYPE,
  type MsgType,
  type Side,
} from "./packets.ts";
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
 * conversation.read("client", lamp, connect);
 * const connack = Uint8Array.of(3, 0x05, 0);
 * assertEquals(conversation.read("broker", lamp, connack).clientId, "lamp-7");
 * ```
 */
export class Conversation {
  readonly #observer: WireObserver;
  readonly #namedQosMinusOne: boolean;
  readonly #framing: { readonly lenient: boolean };

  /** Makes a reader that has read nothing. */
  constructor(options: ConversationOptions = {}) {
    this.#observer = new WireObserver(options.predefined);
    this.#namedQosMinusOne = options.namedQosMinusOne ?? false;
    this.#framing = { lenient: options.ignoreTail ?? false };
  }

  /**
   * Whether a datagram can change how later ones are read. A reader that has no
   * time for all of them reads these.
   */
  static matters(bytes: Uint8Array): boolean {
    const type = bytes[0] === 1 ? bytes[3] : bytes[1];
    return type !== undefined && MATTERING[type] === 1;
  }

  /**
   * Reads the next datagram.
   *
   * @param from the side that has sent it
   * @param peer the client's address, or the forwarder's; a node will do as well
   * @param bytes the whole datagram
   */
  read(from: Side, peer: Peer, bytes: Uint8Array): Reading {
    const packet = this.#decode(from, peer, bytes);
    if (packet === undefined) return readClassic(from, peer, bytes);
    if (packet.type !== "ENCAPSULATED") return this.#follow(from, peer, packet);
    const { hostname, port } = peer;
    const forwarder = isNodePeer(peer)
      ? { hostname, port, key: peer.key.slice(0, peer.key.lastIndexOf("/")) }
      : peer;
    const node = nodePeerOf(forwarder, packet);
    const inner = decoded(packet.message, this.#framing);
    if (inner === undefined) return malformed(node, bytes);
    return this.#follow(from, node, inner);
  }

  /** The id of the client that speaks from an address, if that was read. */
  clientAt(peer: Peer): string | undefined {
    return this.#observer.at(peer.key)?.clientId;
  }

  /** The name for which a client has an id, if that was read. */
  nameOf(peer: Peer, topicId: number): string | undefined {
    return this.#observer.at(peer.key)?.names.get(topicId);
  }

  /** The id that a client has for a name: the last that was read. */
  idOf(peer: Peer, topicName: string): number | undefined {
    let last: number | undefined;
    for (const [id, name] of this.#observer.at(peer.key)?.names ?? []) {
      if (name === topicName) last = id;
    }
    return last;
  }

  #decode(
    from: Side,
    peer: Peer,
    bytes: Uint8Array,
  ): MqttSnPacket | undefined {
    if (!isFramed(bytes, this.#framing)) return undefined;
    // What may be either is what the other side has been speaking so far.
    if (from === "client" && bytes[0] === BRACE && isRequest(bytes)) {
      const isPrompted = this.#observer.isConnecting(peer.key);
      if (bytes[1] !== MSG_TYPE.WILLMSG || !isPrompted) return undefined;
    }
    if (
      from === "broker" && this.#observer.at(peer.key) === undefined &&
      isBlankType(bytes[1])
    ) return undefined;
    return decoded(bytes, this.#framing);
  }

  /** Reads a message of MQTT-SN, and learns what it tells of its client. */
  #follow(from: Side, peer: Peer, packet: MqttSnPacket): Reading {
    const observer = this.#observer;
    const announced = observer.meet(peer.key, from, packet);
    // Names are those of the client that is connected, until another one is.
    const client = observer.at(peer.key) ?? announced;
    const clientId = announced.clientId ??
      (packet.type === "CONNECT" ? undefined : client.clientId);
    const isDuplicate = packet.type === "PUBLISH" &&
      observer.isDuplicate(client, from, packet);
    const spelled = this.#namedQosMinusOne && packet.type === "PUBLISH" &&
        packet.qos === -1 && packet.topicIdType === "normal"
      ? spelledOutTopic(packet)
      : undefined;
    const topicName = spelled?.topicName ??
      this.#topicNamed(client, peer, from, packet);
    observer.learn(peer.key, from, packet);
    const { type } = packet;
    let text = describePacket(packet).slice(type.length + 1);
    if (topicName !== undefined && !("topicName" in packet)) {
      text += `${text && " "}(${JSON.stringify(topicName)})`;
    }
    const payload = type === "PUBLISH"
      ? spelled?.payload ?? packet.data
      : undefined;
    return {
      type,
      peer,
      clientId,
      packet,
      topicName,
      payload,
      isDuplicate,
      text,
    };
  }

  /** The topic that a message names by itself, also by an id. */
  #topicNamed(
    client: ObservedClient,
    peer: Peer,
    from: Side,
    packet: MqttSnPacket,
  ): string | undefined {
    switch (packet.type) {
      case "PUBACK":
        return client.names.get(packet.topicId);
      case "PUBREC":
      case "PUBREL":
      case "PUBCOMP":
        return undefined;
      default:
        return this.#observer.subjectOf(peer.key, from, packet).topicName;
    }
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
