/**
 * What clients publish: PUBLISH at every QoS, and wills (MQTT-SN 1.2 §6.4, §6.6,
 * §6.8).
 *
 * A PUBLISH is checked, answered, and then handed on: a client may want the
 * answer before its own message comes back to it.
 *
 * @module
 */

import { RateLimiter, TokenBucket } from "./rate_limit.ts";
import type { Millis } from "../base/clock.ts";
import { type Refusal, REFUSALS } from "./events.ts";
import type { Exchange } from "./exchange.ts";
import { Message, type TopicName } from "../wire/message.ts";
import type { Peer } from "../base/peer.ts";
import { shortTopicName, spelledOutTopic } from "../wire/mqttsn.ts";
import type { Settings } from "./options.ts";
import type { Outlet } from "./outlet.ts";
import {
  type Publish,
  RETURN_CODE,
  type WillMsgPacket,
  type WillTopic,
  type WillTopicPacket,
} from "../wire/packets.ts";
import type { Persistence } from "./persistence.ts";
import { digestOf } from "../wire/duplicates.ts";
import type { Session } from "./session.ts";
import { isSystem, parseTopicName } from "../wire/topics.ts";

/** What publishing asks of the broker's core. */
export interface PublicationHost {
  /** Hands on a message that was admitted to the exchange. */
  publish(now: Millis, message: Message): void;
}

/** What publishing works with. */
export interface PublicationParts {
  /** The broker's settings. */
  readonly settings: Settings;
  /** The way out. */
  readonly outlet: Outlet;
  /** Where messages meet subscriptions. */
  readonly exchange: Exchange;
  /** Whether anything can be promised. */
  readonly persistence: Persistence;
  /** The broker's core. */
  readonly host: PublicationHost;
}

/**
 * What was counted of publishing.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish("lamp", "on", { qos: 1 });
 * assertEquals(broker.stats().mqttsn.publishedOctets, 2);
 * ```
 */
export interface PublicationStats {
  /** PUBLISHes accepted. */
  readonly published: number;
  /** Their payloads, in octets. */
  readonly publishedOctets: number;
  /** Those among them that came without a connection. */
  readonly qosMinusOne: number;
  /** QoS 2 PUBLISHes that came twice and were published once. */
  readonly republished: number;
  /** Wills published. */
  readonly wills: number;
}

/** What clients of one gateway publish. */
export class Publications {
  readonly #settings: Settings;
  readonly #persistence: Persistence;
  readonly #outlet: Outlet;
  readonly #exchange: Exchange;
  readonly #host: PublicationHost;
  readonly #strangers: RateLimiter;
  readonly #counts = {
    published: 0,
    publishedOctets: 0,
    qosMinusOne: 0,
    republished: 0,
    wills: 0,
  };

  /**
   * Starts with nothing published.
   *
   * @param parts what it works with
   */
  constructor(parts: PublicationParts) {
    const { maxRate, maxSources } = parts.settings;
    this.#settings = parts.settings;
    this.#persistence = parts.persistence;
    this.#outlet = parts.outlet;
    this.#exchange = parts.exchange;
    this.#host = parts.host;
    this.#strangers = new RateLimiter({
      burst: maxRate,
      rate: maxRate,
      maxSources,
      chargesLoopback: true,
    });
  }

  /** Takes a PUBLISH of a client (§6.6). */
  publish(
    now: Millis,
    peer: Peer,
    session: Session,
    packet: Publish,
  ): void {
    const { msgId, topicId, retain, data } = packet;
    const qos = packet.qos === -1 ? 0 : packet.qos;
    const digest = qos === 2 ? digestOf(packet) : 0;
    if (qos === 2 && session.received.has(now, msgId, digest)) {
      this.#counts.republished++;
      // It has been taken already, so a refusal would be wrong; the client asks again.
      if (!this.#persistence.mayPromise) {
        return this.#outlet.drop(peer, "store");
      }
      return this.#outlet.sendPacket(peer, { type: "PUBREC", msgId });
    }
    const { name: topicName, refusal } = this.#topicOf(session, packet);
    if (topicName === undefined) {
      return this.#refusePublish(peer, packet, refusal);
    }
    const { maxUnreleased } = this.#settings;
    if (qos === 2 && session.unreleased >= maxUnreleased) {
      return this.#refusePublish(peer, packet, "unreleased");
    }
    if (!this.#isWithinRate(now, session)) {
      return this.#refusePublish(peer, packet, "rate");
    }
    if (
      qos === 2 && session.persistence !== undefined &&
      !this.#persistence.mayPromise
    ) {
      return this.#refusePublish(peer, packet, "store");
    }
    const message = new Message(topicName, data, qos, retain);
    const notAdmitted = this.#exchange.admit(message);
    if (notAdmitted !== undefined) {
      return this.#refusePublish(peer, packet, notAdmitted);
    }
    if (qos === 1) {
      const returnCode = RETURN_CODE.accepted;
      this.#outlet.sendPacket(peer, {
        type: "PUBACK",
        topicId,
        msgId,
        returnCode,
      });
    } else if (qos === 2) {
      session.received.add(msgId, digest);
      this.#outlet.sendPacket(peer, { type: "PUBREC", msgId });
    }
    this.#handOn(now, peer, message);
  }

  /** §6.6: an error is told whatever the QoS; at QoS 0 there is no msgId. */
  #refusePublish(peer: Peer, packet: Publish, reason: Refusal): void {
    const { topicId, msgId, qos } = packet;
    this.#outlet.sendPacket(peer, {
      type: "PUBACK",
      topicId,
      msgId: qos === 0 ? 0 : msgId,
      returnCode: this.#outlet.refuse(peer, reason),
    });
  }

  /** Takes a PUBLISH of QoS −1 (§6.8): from anyone, and never answered. */
  publishUnconnected(now: Millis, peer: Peer, packet: Publish): void {
    const { qosMinusOne, namedQosMinusOne, maxRate } = this.#settings;
    if (!qosMinusOne) {
      return this.#outlet.drop(peer, "qosMinusOne", "QoS −1 is switched off");
    }
    if (maxRate > 0 && !this.#strangers.spend(now, peer, 1)) {
      const [, why] = REFUSALS.rate;
      return this.#outlet.drop(peer, "qosMinusOne", `QoS −1, but ${why}`);
    }
    const spelled = namedQosMinusOne && packet.topicIdType === "normal"
      ? spelledOutTopic(packet)
      : undefined;
    const { name: topicName, refusal } = spelled === undefined
      ? this.#topicOf(undefined, packet)
      : targetOf(spelled.topicName, "topicName");
    if (topicName === undefined) {
      const [, why] = REFUSALS[refusal];
      return this.#outlet.drop(peer, "qosMinusOne", `QoS −1, but ${why}`);
    }
    const payload = spelled?.payload ?? packet.data;
    const message = new Message(topicName, payload, 0, packet.retain);
    const notAdmitted = this.#exchange.admit(message);
    if (notAdmitted !== undefined) {
      const [, why] = REFUSALS[notAdmitted];
      return this.#outlet.drop(peer, "qosMinusOne", `QoS −1, but ${why}`);
    }
    this.#counts.qosMinusOne++;
    this.#handOn(now, peer, message);
  }

  #handOn(now: Millis, peer: Peer, message: Message): void {
    const { topicName, payload } = message;
    this.#counts.published++;
    this.#counts.publishedOctets += payload.length;
    const octets = payload.length;
    this.#outlet.trace({ type: "publish", peer, topicName, octets });
    this.#host.publish(now, message);
  }

  /** The topic of a PUBLISH, or why there is none. */
  #topicOf(session: Session | undefined, packet: Publish): Target {
    const { topicIdType, topicId } = packet;
    switch (topicIdType) {
      case "normal":
        return targetOf(session?.topicIds.at(topicId)?.topicName, "topicId");
      case "predefined":
        return targetOf(this.#settings.predefined.get(topicId), "topicId");
      case "short": {
        const name = shortTopicName(topicId) ?? "";
        return targetOf(parseTopicName(name), "topicName");
      }
      case "reserved":
        return { name: undefined, refusal: "topicIdType" };
      default:
        return topicIdType satisfies never;
    }
  }

  #isWithinRate(now: Millis, session: Session): boolean {
    const { maxRate } = this.#settings;
    if (maxRate === 0) return true;
    session.rate ??= new TokenBucket(now, maxRate);
    return session.rate.take(now, { burst: maxRate, rate: maxRate });
  }

  /** Takes a PUBREL, also for what is not known (§6.6). */
  release(now: Millis, peer: Peer, session: Session, msgId: number): void {
    // The answer was lost, or the session is another one: without an answer the
    // client would ask for ever.
    const { retryMs, lateMs } = this.#settings;
    session.received.release(now, msgId, Math.min(retryMs, lateMs));
    this.#outlet.sendPacket(peer, { type: "PUBCOMP", msgId });
  }

  /** Takes a WILLTOPICUPD (§6.4). */
  updateWillTopic(
    peer: Peer,
    session: Session,
    { will }: WillTopicPacket<"WILLTOPICUPD">,
  ): void {
    const refusal = this.#setWillTopic(session, will);
    session.persist();
    const returnCode = refusal === undefined
      ? RETURN_CODE.accepted
      : this.#outlet.refuse(peer, refusal);
    this.#outlet.sendPacket(peer, { type: "WILLTOPICRESP", returnCode });
  }

  #setWillTopic(
    session: Session,
    will: WillTopic | undefined,
  ): Refusal | undefined {
    if (will === undefined) {
      session.setWill(undefined);
      return undefined;
    }
    const { qos, retain } = will;
    if (qos === -1) return "qos";
    const { name, refusal } = targetOf(
      parseTopicName(will.topicName),
      "topicName",
    );
    if (name === undefined) return refusal;
    const { payload } = session.will ?? NO_WILL;
    const next = { topicName: name, qos, retain, payload };
    return session.setWill(next) ? undefined : "memory";
  }

  /** Takes a WILLMSGUPD (§6.4): also before there is a topic for it. */
  updateWillMsg(
    peer: Peer,
    session: Session,
    { data }: WillMsgPacket<"WILLMSGUPD">,
  ): void {
    const { topicName, qos, retain } = session.will ?? NO_WILL;
    const will = { topicName, qos, retain, payload: data.slice() };
    const returnCode = session.setWill(will)
      ? RETURN_CODE.accepted
      : this.#outlet.refuse(peer, "memory");
    session.persist();
    this.#outlet.sendPacket(peer, { type: "WILLMSGRESP", returnCode });
  }

  /** Publishes the will of a client that was lost. */
  publishWill(now: Millis, { clientId, will }: Session): void {
    if (will?.topicName === undefined) return;
    const { topicName, payload, qos, retain } = will;
    const message = new Message(topicName, payload, qos, retain);
    this.#counts.wills++;
    this.#outlet.trace({ type: "will", clientId, topicName });
    if (retain) this.#exchange.retain(message); // there is nobody to refuse it to
    this.#host.publish(now, message);
  }

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): PublicationStats {
    return { ...this.#counts };
  }
}

const NO_WILL = {
  topicName: undefined,
  qos: 0,
  retain: false,
  payload: new Uint8Array(),
} as const;

/** Where a PUBLISH goes, or why it cannot. */
type Target =
  | { readonly name: TopicName; readonly refusal?: undefined }
  | { readonly name: undefined; readonly refusal: Refusal };

/** A topic that may be published to, or why it may not. */
function targetOf(name: TopicName | undefined, otherwise: Refusal): Target {
  if (name === undefined) return { name, refusal: otherwise };
  return isSystem(name) ? { name: undefined, refusal: "system" } : { name };
}
