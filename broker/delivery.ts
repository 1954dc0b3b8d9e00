/**
 * Encodes PUBLISH, REGISTER and PUBREL to clients, and counts them. The same octets
 * for many clients are encoded once. When something is sent decides
 * `broker/outbox.ts`.
 *
 * @module
 */

import { wrappingOf } from "../wire/forwarder.ts";
import type { Message } from "../wire/message.ts";
import type { Peer } from "../base/peer.ts";
import { encodePacket } from "../wire/mqttsn.ts";
import type { OutgoingPublish } from "./outbox.ts";
import type { LossReason } from "./events.ts";
import { type Outlet, zeros } from "./outlet.ts";
import type { TopicEntry } from "./topic_ids.ts";
import { utf8Length } from "../base/utf8.ts";

/** What was counted of what clients are sent. */
export interface DeliveryStats {
  /** PUBLISHes sent, those sent again not counted. */
  readonly delivered: number;
  /** Their payloads, in octets. */
  readonly deliveredOctets: number;
  /** Packets sent again because they were not answered. */
  readonly retried: number;
  /** Messages that a client did not get, by reason. */
  readonly lost: Readonly<Record<LossReason, number>>;
}

/** Why a client does not get a message; the table that its counter is made from. */
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
  /**
   * What was written of the last message, by all that may differ from client to
   * client: many are sent the same octets. The first has a place of its own, as
   * most messages are for one.
   */
  readonly #written = new Map<number, Uint8Array>();
  #writtenOf: Message | undefined;
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
  sendPublish(peer: Peer, publish: OutgoingPublish): boolean {
    if (!this.#fits(peer, 7 + publish.message.payload.length)) return false;
    if (!publish.dup) {
      this.#delivered++;
      this.#deliveredOctets += publish.message.payload.length;
    }
    // At QoS 2 it must be known again under its msgId, whatever happens.
    const isPromise = publish.qos === 2;
    this.#outlet.sendMessage(
      peer,
      "PUBLISH",
      this.#write(publish),
      isPromise,
    );
    return true;
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

  /** Counts what is sent again. */
  handleRetry(): void {
    this.#retried++;
  }

  /** Tells, and counts, that a client does not get a message. */
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

  /** Whether a message, in its short form of so many octets, can be sent. */
  #fits(peer: Peer, octets: number): boolean {
    const total = octets + (octets > 255 ? 2 : 0) + wrappingOf(peer);
    return total <= this.#maxPacket;
  }

  #write(publish: OutgoingPublish): Uint8Array {
    const key = keyOf(publish);
    if (publish.message !== this.#writtenOf) {
      this.#writtenOf = publish.message;
      if (this.#written.size > 0) this.#written.clear();
      this.#firstKey = key;
      return this.#firstBytes = encodePublish(publish);
    }
    if (key === this.#firstKey) return this.#firstBytes!;
    let bytes = this.#written.get(key);
    if (bytes === undefined) {
      bytes = encodePublish(publish);
      this.#written.set(key, bytes);
    }
    return bytes;
  }
}

/** All that makes the octets of one message differ, in 38 bits. */
function keyOf(publish: OutgoingPublish): number {
  const { qos, retain, dup, topicIdType, topicId, msgId } = publish;
  const flags = qos << 4 | TOPIC_ID_TYPES[topicIdType] << 2 |
    (retain ? 2 : 0) | (dup ? 1 : 0);
  return (msgId * 0x1_0000 + topicId) * 64 + flags;
}

const TOPIC_ID_TYPES = { normal: 0, predefined: 1, short: 2 } as const;

function encodePublish(publish: OutgoingPublish): Uint8Array {
  const { message, qos, retain, dup, topicIdType, topicId, msgId } = publish;
  const data = message.payload;
  return encodePacket({
    type: "PUBLISH",
    dup,
    qos,
    retain,
    topicIdType,
    topicId,
    msgId,
    data,
  });
}
