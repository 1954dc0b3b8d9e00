/**
 * Messages to clients as octets: PUBLISH, REGISTER and PUBREL, and the counts of
 * them. A message for many clients is encoded once for all that get the same
 * octets. When something is sent is decided by `broker/outbox.ts`.
 *
 * @module
 */

import { wrappingOf } from "../wire/forwarder.ts";
import type { Message } from "../wire/message.ts";
import type { Mutable } from "../base/machine.ts";
import type { Peer } from "../base/peer.ts";
import { encodePacket } from "../wire/mqttsn.ts";
import type { LossReason } from "./events.ts";
import type { PublishHeader } from "./outbox_client.ts";
import { type Outlet, zeros } from "./outlet.ts";
import type { TopicEntry } from "./topic_ids.ts";
import { utf8Length } from "../base/utf8.ts";

/**
 * What was counted of the messages to clients.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish("lamp", "on", { qos: 1 });
 * assertEquals(broker.stats().mqttsn.delivered, 0);
 * ```
 */
export interface DeliveryStats {
  /** PUBLISHes sent; those sent again do not count. */
  readonly delivered: number;
  /** Their payloads, in octets. */
  readonly deliveredOctets: number;
  /** Packets sent again because they were not answered. */
  readonly retried: number;
  /** Messages that a client did not get, by reason. */
  readonly lost: Readonly<Record<LossReason, number>>;
}

/** The reasons for which a message can be lost, each of which has a counter. */
const LOSSES: Readonly<Record<LossReason, true>> = {
  overflow: true,
  memory: true,
  tooLong: true,
  topicRefused: true,
  messageRefused: true,
  topicIds: true,
  expired: true,
};

/** Sends to the clients of one gateway. */
export class Delivery {
  readonly #maxPacket: number;
  readonly #outlet: Outlet;
  readonly #lost = zeros<LossReason>(LOSSES);
  #delivered = 0;
  #deliveredOctets = 0;
  #retried = 0;
  /** The header at QoS 0, filled in anew each time: there are many. */
  readonly #qos0: Mutable<PublishHeader> = {
    qos: 0,
    retain: false,
    dup: false,
    topicIdType: "normal",
    topicId: 0,
    msgId: 0,
  };
  /**
   * The last message, encoded with each header that it was sent with. The first
   * has a place of its own, as most messages are for one client.
   */
  readonly #encoded = new Map<number, Uint8Array>();
  #encodedMessage: Message | undefined;
  #firstKey = 0;
  #firstBytes: Uint8Array | undefined;

  /**
   * Starts with nothing sent.
   *
   * @param maxPacket the longest message, in octets, its wrapping included
   * @param outlet the way out
   */
  constructor(maxPacket: number, outlet: Outlet) {
    this.#maxPacket = maxPacket;
    this.#outlet = outlet;
  }

  /** Sends a PUBLISH to a client; false when it does not fit a packet. */
  sendPublish(peer: Peer, message: Message, header: PublishHeader): boolean {
    const { length } = message.payload;
    if (!this.#fits(peer, 7 + length)) return false;
    if (!header.dup) {
      this.#delivered++;
      this.#deliveredOctets += length;
    }
    // At QoS 2 the client is promised that the msgId is known again after a crash.
    const isPromise = header.qos === 2;
    const bytes = this.#encode(message, header);
    this.#outlet.sendMessage(peer, "PUBLISH", bytes, isPromise);
    return true;
  }

  /** Sends a PUBLISH at QoS 0 to a client; false when it does not fit a packet. */
  sendPublishQos0(
    peer: Peer,
    message: Message,
    { alias, topicId }: TopicEntry,
    retain: boolean,
  ): boolean {
    const header = this.#qos0;
    header.retain = retain;
    header.topicIdType = alias === undefined ? "normal" : alias.topicIdType;
    header.topicId = alias === undefined ? topicId : alias.topicId;
    return this.sendPublish(peer, message, header);
  }

  /** Sends a REGISTER to a client; false when it does not fit a packet. */
  sendRegister(
    peer: Peer,
    { topicName, topicId }: TopicEntry,
    msgId: number,
  ): boolean {
    if (!this.#fits(peer, 6 + utf8Length(topicName))) return false;
    const type = "REGISTER";
    this.#outlet.sendPacket(peer, { type, topicId, msgId, topicName });
    return true;
  }

  /** Sends a PUBREL to a client. */
  sendPubrel(peer: Peer, msgId: number): void {
    this.#outlet.sendPacket(peer, { type: "PUBREL", msgId });
  }

  /** Counts a packet that is sent again. */
  handleRetry(): void {
    this.#retried++;
  }

  /** Counts and traces that a client does not get a message. */
  handleLoss(
    clientId: string,
    { topicName }: Message,
    reason: LossReason,
  ): void {
    this.#lost[reason]++;
    this.#outlet.trace({ type: "lose", clientId, topicName, reason });
  }

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): DeliveryStats {
    return {
      delivered: this.#delivered,
      deliveredOctets: this.#deliveredOctets,
      retried: this.#retried,
      lost: { ...this.#lost },
    };
  }

  /** Whether a message can be sent that has so many octets in its short form. */
  #fits(peer: Peer, octets: number): boolean {
    const total = octets + (octets > 255 ? 2 : 0) + wrappingOf(peer);
    return total <= this.#maxPacket;
  }

  #encode(message: Message, header: PublishHeader): Uint8Array {
    const key = keyOf(header);
    if (message !== this.#encodedMessage) {
      this.#encodedMessage = message;
      if (this.#encoded.size > 0) this.#encoded.clear();
      this.#firstKey = key;
      return this.#firstBytes = encodePublish(message, header);
    }
    if (key === this.#firstKey) return this.#firstBytes!;
    let bytes = this.#encoded.get(key);
    if (bytes === undefined) {
      bytes = encodePublish(message, header);
      this.#encoded.set(key, bytes);
    }
    return bytes;
  }
}

/** All that makes the octets of one message differ, in 38 bits. */
function keyOf(header: PublishHeader): number {
  const { qos, retain, dup, topicIdType, topicId, msgId } = header;
  const flags = qos << 4 | TOPIC_ID_TYPES[topicIdType] << 2 |
    (retain ? 2 : 0) | (dup ? 1 : 0);
  return (msgId * 0x1_0000 + topicId) * 64 + flags;
}

const TOPIC_ID_TYPES = { normal: 0, predefined: 1, short: 2 } as const;

function encodePublish(message: Message, header: PublishHeader): Uint8Array {
  const { qos, retain, dup, topicIdType, topicId, msgId } = header;
  return encodePacket({
    type: "PUBLISH",
    dup,
    qos,
    retain,
    topicIdType,
    topicId,
    msgId,
    data: message.payload,
  });
}
