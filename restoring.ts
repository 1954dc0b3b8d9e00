/**
 * How a broker's core becomes what it was: the records that were kept, one by
 * one, each to where it belongs. Knows which record is whose, and reads each as
 * what came from outside; nothing of when that happens or where they come from.
 *
 * @module
 */

import { parseClassicTopic } from "./classic.ts";
import type { ClassicBroker } from "./classic_broker.ts";
import type { Millis } from "./clock.ts";
import type { Exchange } from "./exchange.ts";
import type { Gateway } from "./gateway.ts";
import { Message, type TopicName } from "./message.ts";
import type {
  QueuedRecord,
  SessionRecord,
  StoreRecord,
  SubscriptionRecord,
  WillRecord,
} from "./records.ts";
import type { Session, Will } from "./session.ts";
import { parseTopicFilter, parseTopicName } from "./topics.ts";

/**
 * MsgIds that a start skips: more than may be on their way to a client as the
 * process ends, and so that many starts go by before one comes again.
 */
const MSG_IDS_A_START = 4_099;

/** What is being restored. */
export class Restoring {
  readonly #gateway: Gateway;
  readonly #exchange: Exchange;
  readonly #classic: ClassicBroker;
  /** By their numbers, and those whose retained messages are to be sent still. */
  readonly #sessions = new Map<number, Session>();
  readonly #pending: [Session, SubscriptionRecord][] = [];
  /** The last message's topic: a queue's are often of one, and share its name. */
  #topicName: TopicName | undefined;

  /**
   * Starts with nothing.
   *
   * @param gateway gets the sessions
   * @param exchange gets subscriptions and retained messages
   * @param classic gets the histories
   */
  constructor(gateway: Gateway, exchange: Exchange, classic: ClassicBroker) {
    this.#gateway = gateway;
    this.#exchange = exchange;
    this.#classic = classic;
  }

  /**
   * Takes a record; a session's own comes before its parts.
   *
   * @returns whether it made sense
   */
  take(now: Millis, record: StoreRecord): boolean {
    switch (record.type) {
      case "session":
        return this.#takeSession(now, record);
      case "subscription":
        return this.#takeSubscription(record);
      case "topicId": {
        const session = this.#sessions.get(record.session);
        const topicName = parseTopicName(record.topicName);
        if (session === undefined || topicName === undefined) return false;
        session.topicIds.restore(topicName, record);
        return true;
      }
      case "received": {
        const session = this.#sessions.get(record.session);
        session?.received.restore(record);
        return session !== undefined;
      }
      case "queued":
        return this.#takeQueued(record);
      case "retained": {
        const { payload, qos } = record;
        const topicName = parseTopicName(record.topicName);
        if (topicName === undefined || payload.length === 0) return false;
        this.#exchange.restore(new Message(topicName, payload, qos, true));
        return true;
      }
      case "datum": {
        const topicName = parseClassicTopic(record.topicName);
        if (topicName === undefined) return false;
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
    for (const [session, { topicFilter, qos }] of this.#pending) {
      const filter = parseTopicFilter(topicFilter)!;
      const retained = this.#exchange.retainedFor(filter);
      session.deliverRetained(now, filter, retained, qos);
    }
  }

  #takeSession(now: Millis, record: SessionRecord): boolean {
    const will = record.will === undefined ? undefined : willOf(record.will);
    const session = this.#gateway.restore(now, record, will);
    this.#sessions.set(record.session, session);
    return true;
  }

  #takeSubscription(record: SubscriptionRecord): boolean {
    const { session: number, topicFilter, qos, isPending } = record;
    const session = this.#sessions.get(number);
    const filter = parseTopicFilter(topicFilter);
    if (session === undefined || filter === undefined) return false;
    session.restoreSubscription(filter, { qos });
    this.#exchange.subscribe(filter, session, qos);
    if (isPending) this.#pending.push([session, record]);
    return true;
  }

  #takeQueued(record: QueuedRecord): boolean {
    const { session: number, payload, qos, retain } = record;
    const session = this.#sessions.get(number);
    const topicName = record.topicName === this.#topicName
      ? this.#topicName
      : parseTopicName(record.topicName);
    if (session === undefined || topicName === undefined) return false;
    this.#topicName = topicName;
    const message = new Message(topicName, payload, qos, retain);
    session.outbox.restore(message, record);
    return true;
  }
}

/** A will that was kept; one whose topic makes no sense is never published. */
function willOf({ topicName, qos, retain, payload }: WillRecord): Will {
  const name = topicName === undefined ? undefined : parseTopicName(topicName);
  return { topicName: name, qos, retain, payload };
}
