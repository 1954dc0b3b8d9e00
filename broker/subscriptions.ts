/**
 * What clients tell of topics: REGISTER, SUBSCRIBE and UNSUBSCRIBE (MQTT-SN 1.2 §6.5,
 * §6.7, §6.9).
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import type { Settings } from "./options.ts";
import type { Refusal } from "./events.ts";
import type { Exchange } from "./exchange.ts";
import type { DeliveryQos, TopicFilter, TopicName } from "../wire/message.ts";
import type { Peer } from "../base/peer.ts";
import { shortTopicName } from "../wire/mqttsn.ts";
import type { Outlet } from "./outlet.ts";
import {
  type Register,
  RETURN_CODE,
  type Subscribe,
  type TopicReference,
  type Unsubscribe,
} from "../wire/packets.ts";
import type { Session } from "./session.ts";
import {
  hasWildcard,
  isSystem,
  matchesFilter,
  parseTopicFilter,
  parseTopicName,
} from "../wire/topics.ts";

/** What subscriptions ask of the broker's core. */
export interface SubscriptionHost {
  /** Brings `$SYS` up to date for a client that subscribes to it. */
  refreshSystem(now: Millis): void;
}

/** What subscriptions work with. */
export interface SubscriptionParts {
  /** The broker's settings. */
  readonly settings: Settings;
  /** The way out. */
  readonly outlet: Outlet;
  /** Where messages meet subscriptions. */
  readonly exchange: Exchange;
  /** The broker's core. */
  readonly host: SubscriptionHost;
}

/**
 * What was counted of subscriptions.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish("lamp", "on", { qos: 1 });
 * assertEquals(broker.stats().mqttsn.registered, 1);
 * ```
 */
export interface SubscriptionStats {
  /** REGISTERs accepted. */
  readonly registered: number;
  /** SUBSCRIBEs accepted. */
  readonly subscribed: number;
  /** SUBSCRIBEs that came twice, and were only answered again. */
  readonly resubscribed: number;
}

/** What clients of one gateway tell of topics. */
export class Subscriptions {
  readonly #settings: Settings;
  readonly #outlet: Outlet;
  readonly #exchange: Exchange;
  readonly #host: SubscriptionHost;
  readonly #predefinedIds = new Map<TopicName, number>();
  readonly #counts = { registered: 0, subscribed: 0, resubscribed: 0 };

  /**
   * Starts with no subscription.
   *
   * @param parts what it works with
   */
  constructor({ settings, outlet, exchange, host }: SubscriptionParts) {
    this.#settings = settings;
    this.#outlet = outlet;
    this.#exchange = exchange;
    this.#host = host;
    for (const [topicId, topicName] of settings.predefined) {
      if (this.#predefinedIds.has(topicName)) continue;
      this.#predefinedIds.set(topicName, topicId);
    }
  }

  /** Takes a REGISTER (§6.5). */
  register(peer: Peer, session: Session, packet: Register): void {
    const { msgId } = packet;
    const topicName = parseTopicName(packet.topicName);
    const topicId = topicName === undefined
      ? "topicName"
      : this.#assign(session, topicName);
    const isRefused = typeof topicId === "string";
    if (!isRefused) {
      this.#counts.registered++;
      const { topicName } = packet;
      this.#outlet.trace({ type: "register", peer, topicName, topicId });
    }
    this.#outlet.sendPacket(peer, {
      type: "REGACK",
      topicId: isRefused ? 0 : topicId,
      msgId,
      returnCode: isRefused
        ? this.#outlet.refuse(peer, topicId)
        : RETURN_CODE.accepted,
    });
  }

  /** The id of a topic that a client is to count on, or why there is none. */
  #assign(session: Session, topicName: TopicName): number | Refusal {
    const wanted = this.#settings.registerPredefined
      ? this.#predefinedIds.get(topicName)
      : undefined;
    const entry = session.topicIds.assign(topicName, wanted);
    if (entry === undefined) return "topicIds";
    session.topicIds.register(entry);
    return entry.topicId;
  }

  /** Takes a SUBSCRIBE (§6.9). */
  subscribe(
    now: Millis,
    peer: Peer,
    session: Session,
    packet: Subscribe,
  ): void {
    const { qos, msgId, topic } = packet;
    const target = qos === -1 ? "qos" : this.#filterOf(topic);
    if (typeof target === "string") {
      return this.#refuseSubscribe(peer, packet, target);
    }
    const { filter, predefinedId } = target;
    const granted = qos === -1 ? 0 : qos;
    const topicId = this.#enter(session, topic, filter, predefinedId);
    if (typeof topicId === "string") {
      return this.#refuseSubscribe(peer, packet, topicId);
    }
    const isAgain = this.#isCopy(now, session, msgId, filter, granted);
    if (!isAgain && !this.#add(peer, session, filter, granted)) {
      return this.#refuseSubscribe(peer, packet, "memory");
    }
    session.lastSubscribe = { msgId, filter, at: now };
    this.#outlet.sendPacket(peer, {
      type: "SUBACK",
      qos: granted,
      topicId,
      msgId,
      returnCode: RETURN_CODE.accepted,
    });
    if (isAgain) return;
    if (isSystem(filter)) this.#host.refreshSystem(now);
    const retained = this.#exchange.retainedFor(filter);
    session.deliverRetained(now, { filter, messages: retained, granted });
  }

  /** The same again: its answer was lost, and what is retained was sent. */
  #isCopy(
    now: Millis,
    session: Session,
    msgId: number,
    filter: TopicFilter,
    granted: DeliveryQos,
  ): boolean {
    const { lastSubscribe: last, subscriptions } = session;
    const isAgain = last?.msgId === msgId && last.filter === filter &&
      now - last.at < this.#settings.retryMs &&
      subscriptions.get(filter)?.qos === granted;
    if (isAgain) this.#counts.resubscribed++;
    return isAgain;
  }

  #add(
    peer: Peer,
    session: Session,
    filter: TopicFilter,
    qos: DeliveryQos,
  ): boolean {
    if (!session.addSubscription(filter, { qos })) return false;
    this.#exchange.subscribe(filter, session, qos);
    this.#counts.subscribed++;
    this.#outlet.trace({ type: "subscribe", peer, topicName: filter });
    return true;
  }

  /**
   * Gives a client what it needs to know of a topic that it subscribes to.
   *
   * @returns the topic id for SUBACK, or why there is no room
   */
  #enter(
    session: Session,
    { topicIdType }: TopicReference,
    filter: TopicFilter,
    predefinedId: number,
  ): number | Refusal {
    const { subscriptions, topicIds } = session;
    const { maxSubscriptions } = this.#settings;
    if (!subscriptions.has(filter) && subscriptions.size >= maxSubscriptions) {
      return "subscriptions";
    }
    if (hasWildcard(filter)) {
      // §6.9: filters have no ids; the topics that match are registered later,
      // also those that the client refused before.
      topicIds.forgive((topicName) => matchesFilter(filter, topicName));
      return 0;
    }
    const topicName = filter as string as TopicName; // as it has no wildcard
    if (topicIdType === "normal") {
      const entry = topicIds.assign(topicName);
      if (entry === undefined) return "topicIds";
      topicIds.subscribe(entry);
      return entry.topicId;
    }
    const isShort = topicIdType === "short";
    const alias = {
      topicIdType: isShort ? "short" as const : "predefined" as const,
      topicId: predefinedId,
    };
    if (!topicIds.setAlias(topicName, alias)) return "topicIds";
    return isShort ? 0 : predefinedId;
  }

  #refuseSubscribe(peer: Peer, packet: Subscribe, reason: Refusal): void {
    const { msgId, qos, topic } = packet;
    this.#outlet.sendPacket(peer, {
      type: "SUBACK",
      qos: qos === -1 ? 0 : qos,
      topicId: topic.topicIdType === "predefined" ? topic.topicId : 0,
      msgId,
      returnCode: this.#outlet.refuse(peer, reason),
    });
  }

  /** Takes an UNSUBSCRIBE (§6.9): there is no way to refuse it. */
  unsubscribe(peer: Peer, session: Session, packet: Unsubscribe): void {
    const { msgId, topic } = packet;
    const target = this.#filterOf(topic);
    if (typeof target !== "string") {
      this.remove(peer, session, target.filter);
      session.lastSubscribe = undefined;
    }
    this.#outlet.sendPacket(peer, { type: "UNSUBACK", msgId });
  }

  /** Ends a client's subscription, if it has that one. */
  remove(peer: Peer, session: Session, filter: TopicFilter): void {
    if (!session.deleteSubscription(filter)) return;
    session.outbox.dropRetained(filter);
    this.#exchange.unsubscribe(filter, session);
    this.#outlet.trace({ type: "unsubscribe", peer, topicName: filter });
    if (!hasWildcard(filter)) {
      session.topicIds.unsubscribe(filter as string as TopicName);
    }
  }

  /** Forgets all subscriptions of a session that is over, or begins anew. */
  clear(session: Session): void {
    for (const filter of session.subscriptions.keys()) {
      this.#exchange.unsubscribe(filter, session);
    }
    session.clear();
  }

  /**
   * Restores a subscription from the store; limits do not apply.
   *
   * @returns false when the session has it already
   */
  restore(session: Session, filter: TopicFilter, qos: DeliveryQos): boolean {
    if (session.subscriptions.has(filter)) return false;
    session.restoreSubscription(filter, { qos });
    this.#exchange.subscribe(filter, session, qos);
    return true;
  }

  /** What SUBSCRIBE and UNSUBSCRIBE are about, or why that cannot be. */
  #filterOf(
    topic: TopicReference,
  ): { filter: TopicFilter; predefinedId: number } | Refusal {
    switch (topic.topicIdType) {
      case "normal": {
        const filter = parseTopicFilter(topic.topicName);
        return filter === undefined ? "topicName" : { filter, predefinedId: 0 };
      }
      case "predefined": {
        const { topicId } = topic;
        const name = this.#settings.predefined.get(topicId);
        return name === undefined
          ? "topicId"
          : { filter: name as string as TopicFilter, predefinedId: topicId };
      }
      case "short": {
        const { topicId } = topic;
        const filter = parseTopicFilter(shortTopicName(topicId) ?? "");
        // §6.7: short names hold no wildcards; some clients send "/#" so.
        return filter === undefined ||
            (this.#settings.strict && hasWildcard(filter))
          ? "topicName"
          : { filter, predefinedId: topicId };
      }
      case "reserved":
        return "topicIdType";
      default:
        return topic satisfies never;
    }
  }

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): SubscriptionStats {
    return { ...this.#counts };
  }
}
