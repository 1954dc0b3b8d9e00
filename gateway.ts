/**
 * The broker's MQTT-SN side: what each message of a client leads to
 * (MQTT-SN 1.2 §6). Knows the requests and what they are answered with; who is
 * connected is `connections.ts`, what is on its way to a client `outbox.ts`, who
 * subscribed to what `exchange.ts`.
 *
 * A request is checked, answered, and then carried out: a client may want the
 * answer to its own PUBLISH before the message itself comes back to it.
 *
 * @module
 */

import { Allowances } from "./allowance.ts";
import type { Millis } from "./clock.ts";
import {
  type ConnectionOptions,
  Connections,
  type ConnectionStats,
} from "./connections.ts";
import { Discovery, type DiscoveryOptions } from "./discovery.ts";
import { type Refusal, REFUSALS } from "./events.ts";
import type { Exchange } from "./exchange.ts";
import { isNodePeer, nodePeerOf, wrappingOf } from "./forwarder.ts";
import {
  MalformedPacketError,
  Message,
  type Peer,
  type TopicFilter,
  type TopicName,
} from "./message.ts";
import { decodePacket, encodePacket, shortTopicName } from "./mqttsn.ts";
import type { LossReason, OutgoingPublish } from "./outbox.ts";
import { type Outlet, zeros } from "./outlet.ts";
import {
  type MqttSnPacket,
  MSG_TYPE,
  type MsgType,
  type Publish,
  type Register,
  RETURN_CODE,
  type Subscribe,
  type TopicReference,
  type Unsubscribe,
  type WillMsgPacket,
  type WillTopicPacket,
} from "./packet.ts";
import type { Session } from "./session.ts";
import type { TopicEntry } from "./topic_ids.ts";
import { hasWildcard, parseTopicFilter, parseTopicName } from "./topics.ts";
import { decodeUtf8, utf8Length } from "./utf8.ts";

/** How the gateway works. */
export interface GatewayOptions extends ConnectionOptions, DiscoveryOptions {
  /** Topics that have an id for everybody. */
  readonly predefined: ReadonlyMap<number, TopicName>;
  /** Subscriptions of one client; 1 or more. */
  readonly maxSubscriptions: number;
  /** QoS 2 messages of one client that wait for its PUBREL; 1 or more. */
  readonly maxUnreleased: number;
  /** PUBLISHes a second from one client; 0 for any number. */
  readonly maxRate: number;
  /** The longest message that is sent, in octets, its wrapping included. */
  readonly maxPacket: number;
  /** Whether a PUBLISH without connection is taken (§6.8). */
  readonly qosMinusOne: boolean;
  /** Whether such a PUBLISH may spell out its topic, as Paho's client does. */
  readonly namedQosMinusOne: boolean;
  /** Whether REGISTER of a pre-defined topic gives its pre-defined id. */
  readonly registerPredefined: boolean;
  /** Whether octets behind a message are ignored. */
  readonly ignoreTail: boolean;
}

/** What the gateway asks of the broker's core. */
export interface GatewayHost {
  /** Hands on a message that was admitted to the exchange. */
  publish(now: Millis, message: Message): void;
  /** Brings `$SYS` up to date for somebody who subscribes to it. */
  refreshSystem(now: Millis): void;
}

/** What the gateway counted, and what its tables hold now. */
export interface GatewayStats extends ConnectionStats {
  /** MQTT-SN messages received, by type. */
  readonly receivedByType: Readonly<Record<MsgType, number>>;
  /** PUBLISHes accepted. */
  readonly published: number;
  /** Those among them that came without a connection. */
  readonly qosMinusOne: number;
  /** PUBLISHes sent, those sent again not counted. */
  readonly delivered: number;
  /** SUBSCRIBEs accepted. */
  readonly subscribed: number;
  /** Packets sent again because they were not answered. */
  readonly retried: number;
  /** Wills published. */
  readonly wills: number;
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
};

/** DISCONNECTs to peers that are not connected, for one source at once. */
const DISCONNECT_BURST = 100;

/** And a second, after that: two brokers could tell each other for ever. */
const DISCONNECT_RATE = 100;

/** Sources that are counted for that. */
const DISCONNECT_SOURCES = 10_000;

/** The first level of the broker's own topics. */
export const SYSTEM_LEVEL = "$SYS";

/** The MQTT-SN side of a broker. */
export class Gateway {
  readonly #options: GatewayOptions;
  readonly #outlet: Outlet;
  readonly #exchange: Exchange;
  readonly #host: GatewayHost;
  readonly #connections: Connections;
  readonly #discovery: Discovery;
  readonly #disconnects = new Allowances({
    allowance: DISCONNECT_BURST,
    allowanceRate: DISCONNECT_RATE,
    maxSources: DISCONNECT_SOURCES,
    chargesLoopback: true,
  });
  readonly #predefinedIds: ReadonlyMap<TopicName, number>;
  readonly #received = zeros<MsgType>(MSG_TYPE);
  readonly #lost = zeros<LossReason>(LOSSES);
  readonly #counts = {
    published: 0,
    qosMinusOne: 0,
    delivered: 0,
    subscribed: 0,
    retried: 0,
    wills: 0,
  };
  /** The PUBLISH that was written last: many may be sent the same octets. */
  #written: { publish: OutgoingPublish; bytes: Uint8Array } | undefined;

  /**
   * Starts with nobody connected.
   *
   * @param options how it works
   * @param outlet the way out
   * @param exchange where messages meet subscriptions
   * @param host the broker's core
   */
  constructor(
    options: GatewayOptions,
    outlet: Outlet,
    exchange: Exchange,
    host: GatewayHost,
  ) {
    this.#options = options;
    this.#outlet = outlet;
    this.#exchange = exchange;
    this.#host = host;
    this.#connections = new Connections(options, outlet, exchange, this);
    this.#discovery = new Discovery(options);
    const ids = new Map<TopicName, number>();
    for (const [topicId, topicName] of options.predefined) {
      if (!ids.has(topicName)) ids.set(topicName, topicId);
    }
    this.#predefinedIds = ids;
  }

  /** Whether a peer is connected or about to be: MQTT-SN is what it speaks. */
  knows(peer: Peer): boolean {
    return this.#connections.knows(peer);
  }

  /** When something is due next, `undefined` for never. */
  nextTimeout(): Millis | undefined {
    const announceAt = this.#discovery.nextTimeout();
    const at = this.#connections.nextTimeout();
    if (announceAt === undefined || at === undefined) return announceAt ?? at;
    return Math.min(announceAt, at);
  }

  /** Does what is due by `now`. */
  handleTimeout(now: Millis): void {
    this.#connections.handleTimeout(now);
    const advertise = this.#discovery.handleTimeout(now);
    if (advertise !== undefined) this.#outlet.broadcast(advertise, 0);
  }

  /** Takes one datagram, or what a forwarder had wrapped into one. */
  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    let packet: MqttSnPacket;
    try {
      packet = decodePacket(bytes, { lenient: this.#options.ignoreTail });
    } catch (error) {
      if (!(error instanceof MalformedPacketError)) throw error;
      return this.#outlet.drop(peer, "malformed", error.message);
    }
    this.#received[packet.type]++;
    this.#handlePacket(now, peer, packet);
  }

  #handlePacket(now: Millis, peer: Peer, packet: MqttSnPacket): void {
    switch (packet.type) {
      case "PUBLISH": {
        if (packet.qos === -1) {
          return this.#publishUnconnected(now, peer, packet);
        }
        const session = this.#hear(now, peer);
        if (session === undefined) return this.#tellUnknown(now, peer);
        return this.#publish(now, peer, session, packet);
      }
      case "PUBACK":
      case "REGACK":
      case "PUBREC":
      case "PUBCOMP":
        return this.#handleAck(now, peer, packet);
      case "CONNECT":
        return this.#connections.handleConnect(now, peer, packet);
      case "ENCAPSULATED":
        // §5.5. Wrapped twice it would not have been read.
        return this.handleDatagram(
          now,
          nodePeerOf(peer, packet),
          packet.message,
        );
      case "SEARCHGW":
        return this.#handleSearch(peer, packet.radius);
      case "ADVERTISE":
        return this.#discovery.handleAdvertise(now, packet);
      case "GWINFO":
        return; // what other gateways there are is for clients to know
      case "WILLTOPIC":
        if (this.#connections.handleWillTopic(now, peer, packet)) return;
        return this.#handleStray(now, peer);
      case "WILLMSG":
        if (this.#connections.handleWillMsg(now, peer, packet)) return;
        return this.#handleStray(now, peer);
      case "PINGREQ":
        if (this.#connections.handlePingreq(now, peer, packet)) return;
        return this.#tellUnknown(now, peer);
      case "DISCONNECT": {
        const session = this.#hear(now, peer);
        if (session === undefined) {
          this.#connections.handleEarlyDisconnect(peer);
          return this.#tellUnknown(now, peer);
        }
        return this.#connections.handleDisconnect(
          now,
          peer,
          session,
          packet.duration,
        );
      }
      case "REGISTER":
      case "SUBSCRIBE":
      case "UNSUBSCRIBE":
      case "PUBREL":
      case "WILLTOPICUPD":
      case "WILLMSGUPD": {
        const session = this.#hear(now, peer);
        if (session === undefined) return this.#tellUnknown(now, peer);
        return this.#handleRequest(now, peer, session, packet);
      }
      case "PINGRESP":
        this.#hear(now, peer);
        return this.#outlet.drop(peer, "lateAck"); // nothing was asked
      case "CONNACK":
      case "WILLTOPICREQ":
      case "WILLMSGREQ":
      case "SUBACK":
      case "UNSUBACK":
      case "WILLTOPICRESP":
      case "WILLMSGRESP":
        return this.#outlet.drop(
          peer,
          "direction",
          `Only a gateway sends ${packet.type}`,
        );
      default:
        packet satisfies never;
    }
  }

  #handleRequest(
    now: Millis,
    peer: Peer,
    session: Session,
    packet:
      | Register
      | Subscribe
      | Unsubscribe
      | Extract<MqttSnPacket, { type: "PUBREL" }>
      | WillTopicPacket<"WILLTOPICUPD">
      | WillMsgPacket<"WILLMSGUPD">,
  ): void {
    switch (packet.type) {
      case "REGISTER":
        return this.#register(peer, session, packet);
      case "SUBSCRIBE":
        return this.#subscribe(now, peer, session, packet);
      case "UNSUBSCRIBE":
        return this.#unsubscribe(peer, session, packet);
      case "PUBREL": {
        // Also for what is not known: the answer was lost, or the session is
        // another one, and without an answer it would be asked for ever.
        const { msgId } = packet;
        session.received.release(now, msgId, this.#options.retryMs);
        return this.#outlet.sendPacket(peer, { type: "PUBCOMP", msgId });
      }
      case "WILLTOPICUPD":
        return this.#updateWillTopic(peer, session, packet);
      case "WILLMSGUPD": {
        const { topicName, qos, retain } = session.will ?? NO_WILL;
        const payload = packet.data.slice();
        session.will = { topicName, qos, retain, payload };
        const returnCode = RETURN_CODE.accepted;
        return this.#outlet.sendPacket(peer, {
          type: "WILLMSGRESP",
          returnCode,
        });
      }
      default:
        packet satisfies never;
    }
  }

  /** The client at an address, which has just been heard of. */
  #hear(now: Millis, peer: Peer): Session | undefined {
    const session = this.#connections.at(peer);
    if (session !== undefined) session.heardAt = now;
    return session;
  }

  /** §5.4.21: whoever is not connected is told so, within bounds. */
  #tellUnknown(now: Millis, peer: Peer): void {
    if (!this.#disconnects.spend(now, peer, 1)) {
      return this.#outlet.drop(peer, "quiet");
    }
    this.#outlet.sendPacket(peer, { type: "DISCONNECT", duration: undefined });
  }

  /** A message of a conversation that is not under way. */
  #handleStray(now: Millis, peer: Peer): void {
    if (this.#hear(now, peer) === undefined) {
      return this.#tellUnknown(now, peer);
    }
    this.#outlet.drop(peer, "unexpected");
  }

  /** §6.1: to whoever asked, and to all who listen for gateways. */
  #handleSearch(peer: Peer, radius: number): void {
    const { gwInfo } = this.#discovery;
    this.#outlet.sendPacket(peer, gwInfo);
    if (!isNodePeer(peer)) this.#outlet.broadcast(gwInfo, radius);
  }

  #handleAck(
    now: Millis,
    peer: Peer,
    packet: Extract<
      MqttSnPacket,
      { type: "PUBACK" | "REGACK" | "PUBREC" | "PUBCOMP" }
    >,
  ): void {
    const session = this.#hear(now, peer);
    if (session === undefined) return this.#outlet.drop(peer, "unknownPeer");
    const { outbox } = session;
    let isAwaited: boolean;
    switch (packet.type) {
      case "PUBACK":
        isAwaited = outbox.handlePuback(now, packet);
        break;
      case "REGACK":
        isAwaited = outbox.handleRegack(now, packet);
        break;
      case "PUBREC":
        isAwaited = outbox.handlePubrec(now, packet.msgId);
        break;
      case "PUBCOMP":
        isAwaited = outbox.handlePubcomp(now, packet.msgId);
        break;
      default:
        isAwaited = packet satisfies never;
    }
    if (!isAwaited) return this.#outlet.drop(peer, "lateAck");
    this.#connections.settle(now, session);
  }

  /** §6.5 */
  #register(peer: Peer, session: Session, packet: Register): void {
    const { msgId } = packet;
    const type = "REGACK";
    const topicName = parseTopicName(packet.topicName);
    if (topicName === undefined) {
      const returnCode = this.#outlet.refuse(peer, "topicName");
      return this.#outlet.sendPacket(peer, {
        type,
        topicId: 0,
        msgId,
        returnCode,
      });
    }
    const wanted = this.#options.registerPredefined
      ? this.#predefinedIds.get(topicName)
      : undefined;
    const entry = session.topicIds.assign(topicName, wanted);
    if (entry === undefined) {
      const returnCode = this.#outlet.refuse(peer, "topicIds");
      return this.#outlet.sendPacket(peer, {
        type,
        topicId: 0,
        msgId,
        returnCode,
      });
    }
    entry.isKnown = true;
    entry.isRefused = false;
    const { topicId } = entry;
    this.#outlet.trace({ type: "register", peer, topicName, topicId });
    const returnCode = RETURN_CODE.accepted;
    this.#outlet.sendPacket(peer, { type, topicId, msgId, returnCode });
  }

  /** §6.9 */
  #subscribe(
    now: Millis,
    peer: Peer,
    session: Session,
    packet: Subscribe,
  ): void {
    const { qos, msgId, topic } = packet;
    if (this.#isStrictlyWrong(peer, msgId)) return;
    const target = qos === -1 ? "qos" : this.#filterOf(topic);
    if (typeof target === "string") {
      return this.#refuseSubscribe(peer, packet, target);
    }
    const { filter, predefinedId } = target;
    const topicId = this.#enter(session, topic, filter, predefinedId);
    if (typeof topicId === "string") {
      return this.#refuseSubscribe(peer, packet, topicId);
    }
    // Once more, because the answer was lost: no need for what is retained.
    const { lastSubscribe: last } = session;
    const isAgain = last?.msgId === msgId && last.filter === filter &&
      session.subscriptions.get(filter)?.qos === qos;
    const granted = qos === -1 ? 0 : qos;
    if (isAgain) this.#connections.countRepeated();
    else {
      session.lastSubscribe = { msgId, filter };
      session.addSubscription(filter, { qos: granted });
      this.#exchange.subscribe(filter, session, granted);
      this.#counts.subscribed++;
      this.#outlet.trace({ type: "subscribe", peer, topicName: filter });
    }
    this.#outlet.sendPacket(peer, {
      type: "SUBACK",
      qos: granted,
      topicId,
      msgId,
      returnCode: RETURN_CODE.accepted,
    });
    if (isAgain) return;
    if (isSystem(filter)) this.#host.refreshSystem(now);
    this.#exchange.deliverRetained(now, filter, session, granted);
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
    const isNew = !session.subscriptions.has(filter);
    if (
      isNew && session.subscriptions.size >= this.#options.maxSubscriptions
    ) return "subscriptions";
    const { topicIds } = session;
    // §6.9: filters have no ids; the topics that match are registered later.
    if (hasWildcard(filter)) return 0;
    const topicName = filter as string as TopicName; // as it has no wildcard
    if (topicIdType === "normal") {
      const entry = topicIds.assign(topicName);
      if (entry === undefined) return "topicIds";
      entry.isKnown = true;
      entry.isRefused = false;
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

  /** §6.9; always answered, as there is no way to refuse. */
  #unsubscribe(peer: Peer, session: Session, packet: Unsubscribe): void {
    const { msgId, topic } = packet;
    const target = this.#filterOf(topic);
    if (typeof target !== "string") {
      const { filter } = target;
      this.#endSubscription(peer, session, filter);
      if (topic.topicIdType !== "normal" && !hasWildcard(filter)) {
        const topicName = filter as string as TopicName;
        session.topicIds.setAlias(topicName, undefined);
      }
      session.lastSubscribe = undefined;
    }
    this.#outlet.sendPacket(peer, { type: "UNSUBACK", msgId });
  }

  #endSubscription(
    peer: Peer | undefined,
    session: Session,
    filter: TopicFilter,
  ): void {
    if (!session.deleteSubscription(filter)) return;
    this.#exchange.unsubscribe(filter, session);
    if (peer === undefined) return;
    this.#outlet.trace({ type: "unsubscribe", peer, topicName: filter });
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
        const name = this.#options.predefined.get(topicId);
        return name === undefined
          ? "topicId"
          : { filter: name as string as TopicFilter, predefinedId: topicId };
      }
      case "short": {
        const { topicId } = topic;
        const filter = parseTopicFilter(shortTopicName(topicId) ?? "");
        // §6.7: short names hold no wildcards; some clients send "/#" so.
        return filter === undefined ||
            (this.#options.strict && hasWildcard(filter))
          ? "topicName"
          : { filter, predefinedId: topicId };
      }
      case "reserved":
        return "topicIdType";
      default:
        return topic satisfies never;
    }
  }

  /** §6.6 */
  #publish(
    now: Millis,
    peer: Peer,
    session: Session,
    packet: Publish,
  ): void {
    const { msgId, topicId, retain, data } = packet;
    const qos = packet.qos === -1 ? 0 : packet.qos;
    if (qos > 0 && this.#isStrictlyWrong(peer, msgId)) return;
    if (qos === 2 && session.received.has(now, msgId, data)) {
      this.#connections.countRepeated();
      return this.#outlet.sendPacket(peer, { type: "PUBREC", msgId });
    }
    const { name: topicName, refusal } = this.#topicOf(session, packet);
    if (topicName === undefined) {
      return this.#refusePublish(peer, packet, refusal);
    }
    const { maxUnreleased } = this.#options;
    if (qos === 2 && session.unreleased >= maxUnreleased) {
      return this.#refusePublish(peer, packet, "unreleased");
    }
    if (!this.#isWithinRate(now, session)) {
      return this.#refusePublish(peer, packet, "rate");
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
      session.received.add(msgId, data);
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

  /** §6.8: from anyone, at no QoS at all, and never answered. */
  #publishUnconnected(now: Millis, peer: Peer, packet: Publish): void {
    const { qosMinusOne, namedQosMinusOne } = this.#options;
    this.#hear(now, peer);
    if (!qosMinusOne) {
      return this.#outlet.drop(peer, "qosMinusOne", "QoS −1 is switched off");
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
        return targetOf(this.#options.predefined.get(topicId), "topicId");
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
    const { maxRate } = this.#options;
    if (maxRate === 0) return true;
    const grown = (now - session.rateAt) * maxRate / 1_000;
    session.rateLeft = Math.min(maxRate, session.rateLeft + grown);
    session.rateAt = now;
    if (session.rateLeft < 1) return false;
    session.rateLeft--;
    return true;
  }

  /** A msgId of 0 where one is needed: overlooked unless rules are strict. */
  #isStrictlyWrong(peer: Peer, msgId: number): boolean {
    if (!this.#options.strict || msgId !== 0) return false;
    this.#outlet.drop(peer, "strict", "A msgId of 0");
    return true;
  }

  /** §6.4 */
  #updateWillTopic(
    peer: Peer,
    session: Session,
    { will }: WillTopicPacket<"WILLTOPICUPD">,
  ): void {
    const type = "WILLTOPICRESP";
    if (will === undefined) session.will = undefined;
    else {
      const { qos, retain } = will;
      const { name: topicName, refusal } = targetOf(
        parseTopicName(will.topicName),
        "topicName",
      );
      if (topicName === undefined || qos === -1) {
        const returnCode = this.#outlet.refuse(peer, refusal ?? "qos");
        return this.#outlet.sendPacket(peer, { type, returnCode });
      }
      const { payload } = session.will ?? NO_WILL;
      session.will = { topicName, qos, retain, payload };
    }
    const returnCode = RETURN_CODE.accepted;
    this.#outlet.sendPacket(peer, { type, returnCode });
  }

  /** Publishes the will of a client that was lost. */
  publishWill(now: Millis, { clientId, will }: Session): void {
    if (will?.topicName === undefined) return;
    const { topicName, payload, qos, retain } = will;
    const message = new Message(topicName, payload, qos, retain);
    this.#counts.wills++;
    this.#outlet.trace({ type: "will", clientId, topicName });
    this.#exchange.admit(message); // there is nobody to refuse it to
    this.#host.publish(now, message);
  }

  /** Sends a PUBLISH to a client; false when it does not fit a packet. */
  sendPublish(session: Session, publish: OutgoingPublish): boolean {
    const peer = session.peer!;
    if (!this.#fits(peer, 7 + publish.message.payload.length)) return false;
    if (!publish.dup) this.#counts.delivered++;
    this.#outlet.sendMessage(peer, "PUBLISH", this.#write(publish));
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
    this.#counts.retried++;
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
    this.#endSubscription(session.peer, session, filter);
  }

  /** Sees to it that the retries of what was just sent are not forgotten. */
  handleDelivery(session: Session): void {
    if (session.outbox.isWaiting) this.#connections.schedule(session);
  }

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): GatewayStats {
    return {
      ...this.#connections.stats(),
      ...this.#counts,
      receivedByType: { ...this.#received },
      lost: { ...this.#lost },
    };
  }

  /** Whether a message, in its short form of so many octets, can be sent. */
  #fits(peer: Peer, octets: number): boolean {
    const total = octets + (octets > 255 ? 2 : 0) + wrappingOf(peer);
    return total <= this.#options.maxPacket;
  }

  #write(publish: OutgoingPublish): Uint8Array {
    const last = this.#written;
    if (last !== undefined && isSameOnTheWire(last.publish, publish)) {
      return last.bytes;
    }
    const { message, qos, retain, dup, topicIdType, topicId, msgId } = publish;
    const bytes = encodePacket({
      type: "PUBLISH",
      dup,
      qos,
      retain,
      topicIdType,
      topicId,
      msgId,
      data: message.payload,
    });
    this.#written = { publish, bytes };
    return bytes;
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

/** Whether a topic, or a filter, is among the broker's own. */
function isSystem(topic: string | undefined): boolean {
  return topic === SYSTEM_LEVEL ||
    topic?.startsWith(`${SYSTEM_LEVEL}/`) === true;
}

function isSameOnTheWire(one: OutgoingPublish, other: OutgoingPublish) {
  return one.message === other.message && one.topicId === other.topicId &&
    one.msgId === other.msgId && one.qos === other.qos &&
    one.topicIdType === other.topicIdType && one.retain === other.retain &&
    one.dup === other.dup;
}

/** The name's length in the topic id's place, and the name before the data. */
function spelledOutTopic(
  { topicId: length, data }: Publish,
): { topicName: TopicName; payload: Uint8Array } | undefined {
  if (length > data.length) return undefined;
  let text: string;
  try {
    text = decodeUtf8(data.subarray(0, length));
  } catch {
    return undefined;
  }
  const topicName = parseTopicName(text);
  if (topicName === undefined) return undefined;
  return { topicName, payload: data.subarray(length) };
}
