/**
 * Restores a broker's core from its records, one by one. A record is read with the
 * same care as a datagram: one that makes no sense is left out.
 *
 * @module
 */

import { parseClassicTopic } from "../wire/classic.ts";
import type { ClassicBroker } from "./classic.ts";
import type { Millis } from "../base/clock.ts";
import type { Exchange } from "./exchange.ts";
import type { Gateway } from "./gateway.ts";
import {
  type DeliveryQos,
  Message,
  type TopicFilter,
  type TopicName,
} from "../wire/message.ts";
import { MAX_DATAGRAM } from "../base/peer.ts";
import type {
  BegunRecord,
  PeerRecord,
  QueuedRecord,
  SessionRecord,
  StoreRecord,
  SubscriptionRecord,
  TopicIdRecord,
  WillRecord,
} from "./records.ts";
import type { Session, Will } from "./session.ts";
import { MAX_TOPIC_ID } from "../wire/packets.ts";
import { isSystem, parseTopicFilter, parseTopicName } from "../wire/topics.ts";
import { utf8Length } from "../base/utf8.ts";

/**
 * MsgIds that each start skips. They are more than may be under way to a client when
 * the process ends; and many starts go by before the same msgIds come again.
 */
const MSG_IDS_A_START = 4_099;

/** The longest id of a node behind a forwarder, in octets (§5.5). */
const MAX_NODE_ID = 252;

/** A subscription whose retained messages have not all been delivered. */
interface PendingRetained {
  readonly filter: TopicFilter;
  readonly granted: DeliveryQos;
  /** Topics whose messages must not begin again. */
  readonly begun: TopicName[];
}

/** What gets the records. */
export interface RestorerParts {
  /** Gets the sessions and their subscriptions. */
  readonly gateway: Gateway;
  /** Gets the retained messages. */
  readonly exchange: Exchange;
  /** Gets the histories. */
  readonly classic: ClassicBroker;
}

/** Takes the records of one start. */
export class Restorer {
  readonly #gateway: Gateway;
  readonly #exchange: Exchange;
  readonly #classic: ClassicBroker;
  /** Sessions by their numbers. */
  readonly #sessions = new Map<number, Session>();
  /** Subscriptions with retained messages to deliver, by session and filter. */
  readonly #pending = new Map<Session, Map<string, PendingRetained>>();
  /** The last message's topic: messages of the same topic share its name. */
  #topicName: TopicName | undefined;

  /**
   * Starts without a record.
   *
   * @param parts what gets the records
   */
  constructor({ gateway, exchange, classic }: RestorerParts) {
    this.#gateway = gateway;
    this.#exchange = exchange;
    this.#classic = classic;
  }

  /**
   * Takes a record. A session's own record comes before those of its parts.
   *
   * @returns whether it made sense
   */
  take(now: Millis, record: StoreRecord): boolean {
    switch (record.type) {
      case "session":
        return this.#takeSession(now, record);
      case "subscription":
        return this.#takeSubscription(record);
      case "begun":
        return this.#takeBegun(record);
      case "topicId":
        return this.#takeTopicId(record);
      case "received": {
        const session = this.#sessions.get(record.session);
        if (session === undefined || !isBelow(0x10000, record.msgId)) {
          return false;
        }
        session.restoreReceived(now, record);
        return true;
      }
      case "queued":
        return this.#takeQueued(now, record);
      case "retained": {
        const { payload, qos } = record;
        const topicName = parseTopicName(record.topicName);
        if (topicName === undefined || isSystem(topicName)) return false;
        if (payload.length === 0 || !isBelow(3, qos)) return false;
        this.#exchange.restore(new Message(topicName, payload, qos, true));
        return true;
      }
      case "datum": {
        const topicName = parseClassicTopic(record.topicName);
        if (topicName === undefined || topicName !== record.topicName) {
          return false;
        }
        if (utf8Length(record.text) > MAX_DATAGRAM) return false;
        this.#classic.restore(topicName, record.text, record.seq);
        return true;
      }
      default:
        return record satisfies never;
    }
  }

  /**
   * Ends: all records have been taken.
   *
   * @param now the present moment
   * @param starts how often a broker has started on this store
   */
  end(now: Millis, starts: number): void {
    const lastMsgId = starts * MSG_IDS_A_START % 0xffff;
    for (const session of this.#sessions.values()) {
      session.outbox.restoreMsgId(lastMsgId);
    }
    for (const [session, subscriptions] of this.#pending) {
      for (const { filter, granted, begun } of subscriptions.values()) {
        const retained = this.#exchange.retainedFor(filter);
        session.deliverRetained(now, {
          filter,
          messages: retained,
          granted,
          begun,
        });
      }
    }
  }

  #takeSession(now: Millis, record: SessionRecord): boolean {
    const { session: number, state, peer } = record;
    const isConnected = state === "active" || state === "asleep";
    if (isConnected !== (peer !== undefined)) return false;
    if (this.#sessions.has(number) || !isBelow(Infinity, number)) return false;
    if (peer !== undefined && !isReachable(peer)) return false;
    if (record.will !== undefined && !isBelow(3, record.will.qos)) return false;
    const will = record.will === undefined ? undefined : willOf(record.will);
    const session = this.#gateway.restore(now, record, will);
    if (session === undefined) return false;
    this.#sessions.set(number, session);
    return true;
  }

  #takeTopicId(record: TopicIdRecord): boolean {
    const { topicId, aliasId } = record;
    const session = this.#sessions.get(record.session);
    const topicName = parseTopicName(record.topicName);
    if (session === undefined || topicName === undefined) return false;
    if (!isBelow(MAX_TOPIC_ID + 1, topicId) || !isBelow(0x10000, aliasId)) {
      return false;
    }
    return session.topicIds.restore(topicName, record);
  }

  #takeSubscription(record: SubscriptionRecord): boolean {
    const { session: number, topicFilter, qos, isPending } = record;
    const session = this.#sessions.get(number);
    const filter = parseTopicFilter(topicFilter);
    if (session === undefined || filter === undefined) return false;
    if (!isBelow(3, qos)) return false;
    if (!this.#gateway.restoreSubscription(session, filter, qos)) return false;
    if (!isPending) return true;
    const pending = this.#pending.get(session) ??
      new Map<string, PendingRetained>();
    this.#pending.set(session, pending);
    pending.set(topicFilter, { filter, granted: qos, begun: [] });
    return true;
  }

  #takeBegun(record: BegunRecord): boolean {
    const session = this.#sessions.get(record.session);
    const topicName = parseTopicName(record.topicName);
    if (session === undefined || topicName === undefined) return false;
    const pending = this.#pending.get(session)?.get(record.topicFilter);
    if (pending === undefined) return false;
    pending.begun.push(topicName);
    return true;
  }

  #takeQueued(now: Millis, record: QueuedRecord): boolean {
    const { session: number, payload, qos, retain, msgId } = record;
    const session = this.#sessions.get(number);
    const topicName = record.topicName === this.#topicName
      ? this.#topicName
      : parseTopicName(record.topicName);
    if (session === undefined || topicName === undefined) return false;
    if (!isBelow(3, qos) || !isBelow(0x10000, msgId)) return false;
    this.#topicName = topicName;
    const message = new Message(topicName, payload, qos, retain);
    session.outbox.restore(now, message, record);
    return true;
  }
}

/** A will from its record. If its topic makes no sense, it is never published. */
function willOf(
  { topicName, qos, retain, payload }: WillRecord,
): Will {
  const name = topicName === undefined ? undefined : parseTopicName(topicName);
  return { topicName: name, qos, retain, payload };
}

/** Whether a number is an integer, 0 or more, and below a limit. */
function isBelow(limit: number, number: number): boolean {
  return Number.isSafeInteger(number) && number >= 0 && number < limit;
}

/** Whether something can be sent to a client at an address. */
function isReachable({ hostname, port, wirelessNodeId }: PeerRecord): boolean {
  const { length } = wirelessNodeId ?? [0];
  return hostname !== "" && isBelow(0x10000, port) &&
    length > 0 && length <= MAX_NODE_ID;
}
