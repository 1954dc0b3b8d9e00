/**
 * What the gateway sends to clients: PUBLISH, REGISTER and PUBREL, as octets.
 * Knows how a message looks to a client, and counts what arrives nowhere; when
 * something is sent is `broker/outbox.ts`.
 *
 * @module
 */

import type { Exchange } from "./exchange.ts";
import { wrappingOf } from "../wire/forwarder.ts";
import type { Message, TopicFilter } from "../wire/message.ts";
import type { Peer } from "../base/peer.ts";
import { encodePacket } from "../wire/mqttsn.ts";
import type { LossReason, OutboxHost, OutgoingPublish } from "./outbox.ts";
import { type Outlet, zeros } from "./outlet.ts";
import type { Session } from "./session.ts";
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
export class Delivery implements OutboxHost<Session> {
  readonly #maxPacket: number;
  readonly #outlet: Outlet;
  readonly #exchange: Exchange;
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
   * @param exchange where clients have their subscriptions
   */
  constructor(maxPacket: number, outlet: Outlet, exchange: Exchange) {
    this.#maxPacket = maxPacket;
    this.#outlet = outlet;
    this.#exchange = exchange;
  }

  /** Sends a PUBLISH to a client; false when it does not fit a packet. */
  sendPublish(session: Session, publish: OutgoingPublish): boolean {
    const peer = session.peer!;
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
    { peer }: Session,
    { topicName, topicId }: TopicEntry,
    msgId: number,
  ): boolean {
    if (!this.#fits(peer!, 6 + utf8Length(topicName))) return false;
    const type = "REGISTER";
    this.#outlet.sendPacket(peer!, { type, topicId, msgId, topicName });
    return true;
  }

  /** Sends a PUBREL to a client. */
  sendPubrel({ peer }: Session, msgId: number): void {
    this.#outlet.sendPacket(peer!, { type: "PUBREL", msgId });
  }

  /** Counts what is sent again. */
  handleRetry(): void {
    this.#retried++;
  }

  /** Tells, and counts, that a client does not get a message. */
  handleLoss(
    { clientId }: Session,
    { topicName }: Message,
    reason: LossReason,
  ): void {
    this.#lost[reason]++;
    this.#outlet.trace({ type: "lose", clientId, topicName, reason });
  }

  /** §6.10: ends the subscription to that topic; one by wildcards goes on. */
  handleTopicRefused(session: Session, { topicName }: TopicEntry): void {
    const filter = topicName as string as TopicFilter;
    if (!session.deleteSubscription(filter)) return;
    session.outbox.dropRetained(filter);
    session.topicIds.unsubscribe(topicName);
    this.#exchange.unsubscribe(filter, session);
    const peer = session.peer!;
    this.#outlet.trace({ type: "unsubscribe", peer, topicName });
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
