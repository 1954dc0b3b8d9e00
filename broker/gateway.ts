/**
 * The broker's MQTT-SN side: reads each message, and hands it to the part that it
 * concerns (MQTT-SN 1.2 §6). Who is connected is `broker/connections.ts`; what clients
 * tell of topics `broker/subscriptions.ts`, what they publish
 * `broker/publications.ts`, what they are sent `broker/delivery.ts` and
 * `broker/outbox.ts`.
 *
 * @module
 */

import { RateLimiter } from "./rate_limit.ts";
import { earliest, type Millis } from "../base/clock.ts";
import { Connections, type ConnectionStats } from "./connections.ts";
import { Delivery, type DeliveryStats } from "./delivery.ts";
import { Advertiser } from "./advertise.ts";
import type { Exchange } from "./exchange.ts";
import { isNodePeer, nodePeerOf } from "../wire/forwarder.ts";
import type { DeliveryQos, TopicFilter } from "../wire/message.ts";
import { MalformedPacketError } from "../base/errors.ts";
import { type Peer, peerOf } from "../base/peer.ts";
import { decodePacket, encodePacket } from "../wire/mqttsn.ts";
import type { Settings } from "./options.ts";
import { type Outlet, zeros } from "./outlet.ts";
import {
  type MqttSnPacket,
  MSG_TYPE,
  type MsgType,
  RETURN_CODE,
  type SearchGw,
} from "../wire/packets.ts";
import type { Persistence } from "./persistence.ts";
import {
  type PublicationHost,
  Publications,
  type PublicationStats,
} from "./publications.ts";
import type { SessionRecord } from "./records.ts";
import type { Session, Will } from "./session.ts";
import {
  type SubscriptionHost,
  Subscriptions,
  type SubscriptionStats,
} from "./subscriptions.ts";

/** What the gateway asks of the broker's core. */
export interface GatewayHost extends PublicationHost, SubscriptionHost {}

/** What the gateway works with. */
export interface GatewayParts {
  /** The broker's settings. */
  readonly settings: Settings;
  /** The way out. */
  readonly outlet: Outlet;
  /** Where messages meet subscriptions. */
  readonly exchange: Exchange;
  /** Where sessions are persisted. */
  readonly persistence: Persistence;
  /** The broker's core. */
  readonly host: GatewayHost;
}

/**
 * What the gateway counted, and what its tables hold now.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish("lamp", "on", { qos: 1 });
 * assertEquals(broker.stats().mqttsn.receivedByType.CONNECT, 1);
 * ```
 */
export interface GatewayStats
  extends
    ConnectionStats,
    Omit<SubscriptionStats, "resubscribed">,
    Omit<PublicationStats, "republished">,
    DeliveryStats {
  /** MQTT-SN messages received, by type. */
  readonly receivedByType: Readonly<Record<MsgType, number>>;
}

/** DISCONNECTs to peers that are not connected, for one source at once. */
const DISCONNECT_BURST = 100;

/** And a second, after that: two brokers could tell each other for ever. */
const DISCONNECT_RATE = 100;

/** Broadcasts because somebody searches, at once: one search is many datagrams. */
const BROADCAST_BURST = 10;

/** And a second, after that. */
const BROADCAST_RATE = 1;

/** Whose allowance broadcasts are on: everybody's together. */
const EVERYBODY = peerOf("0.0.0.0", 0);

/** The MQTT-SN side of a broker. */
export class Gateway {
  readonly #outlet: Outlet;
  readonly #connections: Connections;
  readonly #subscriptions: Subscriptions;
  readonly #publications: Publications;
  readonly #delivery: Delivery;
  readonly #advertiser: Advertiser;
  readonly #persistence: Persistence;
  readonly #disconnects: RateLimiter;
  readonly #broadcasts = new RateLimiter({
    burst: BROADCAST_BURST,
    rate: BROADCAST_RATE,
    maxSources: 1,
  });
  readonly #isStrict: boolean;
  readonly #framing: { readonly lenient: boolean };
  readonly #received = zeros<MsgType>(MSG_TYPE);

  /**
   * Starts with nobody connected.
   *
   * @param parts what it works with
   */
  constructor(parts: GatewayParts) {
    const { settings, outlet, persistence } = parts;
    this.#outlet = outlet;
    this.#persistence = persistence;
    this.#isStrict = settings.strict;
    this.#framing = { lenient: settings.ignoreTail };
    this.#disconnects = new RateLimiter({
      burst: DISCONNECT_BURST,
      rate: DISCONNECT_RATE,
      maxSources: settings.maxSources,
      chargesLoopback: true,
    });
    this.#advertiser = new Advertiser(settings);
    this.#delivery = new Delivery(settings.maxPacket, outlet);
    this.#subscriptions = new Subscriptions(parts);
    this.#publications = new Publications(parts);
    this.#connections = new Connections({
      ...parts,
      delivery: this.#delivery,
      subscriptions: this.#subscriptions,
      publications: this.#publications,
    });
  }

  /** Whether a peer is being asked for its will. */
  isPrompting(peer: Peer): boolean {
    return this.#connections.isPrompting(peer);
  }

  /** When something is due next, `undefined` for never. */
  nextTimeout(): Millis | undefined {
    const discovery = this.#advertiser.nextTimeout();
    return this.#persistence.state === "loading"
      ? discovery
      : earliest(discovery, this.#connections.nextTimeout());
  }

  /** Does what is due by `now`. */
  handleTimeout(now: Millis): void {
    if (this.#persistence.state !== "loading") {
      this.#connections.handleTimeout(now);
    }
    const advertise = this.#advertiser.handleTimeout(now);
    if (advertise !== undefined) this.#outlet.broadcast(advertise, 0);
  }

  /** Takes one datagram, or what a forwarder had wrapped into one. */
  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    let packet: MqttSnPacket;
    try {
      packet = decodePacket(bytes, this.#framing);
    } catch (error) {
      if (!(error instanceof MalformedPacketError)) throw error;
      return this.#outlet.drop(peer, "malformed", error.message);
    }
    this.#received[packet.type]++;
    if (this.#persistence.state === "loading") {
      return this.#handleWhileLoading(now, peer, packet, bytes.length);
    }
    // Whatever it is: its sender is alive.
    const session = this.#connections.hear(now, peer, packet.type);
    if (session === undefined) this.#handleStranger(now, peer, packet);
    else this.#handleClient(now, peer, session, packet);
  }

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): GatewayStats {
    const connections = this.#connections.stats();
    const { resubscribed, ...subscriptions } = this.#subscriptions.stats();
    const { republished, ...publications } = this.#publications.stats();
    return {
      ...connections,
      ...subscriptions,
      ...publications,
      ...this.#delivery.stats(),
      repeated: connections.repeated + resubscribed + republished,
      receivedByType: { ...this.#received },
    };
  }

  /** Takes a session that was kept; see {@linkcode Connections.restore}. */
  restore(
    now: Millis,
    record: SessionRecord,
    will: Will | undefined,
  ): Session | undefined {
    return this.#connections.restore(now, record, will);
  }

  /** Restores a subscription; see {@linkcode Subscriptions.restore}. */
  restoreSubscription(
    session: Session,
    filter: TopicFilter,
    qos: DeliveryQos,
  ): boolean {
    return this.#subscriptions.restore(session, filter, qos);
  }

  /** Goes on with the clients that were connected, once all is restored. */
  handleRestored(now: Millis): void {
    this.#connections.handleRestored(now);
  }

  /**
   * Takes back a datagram that promises what could not be committed. Most
   * acknowledgements become refusals; any other datagram is dropped. The message itself
   * has been taken nevertheless. So a PUBREC is dropped and not made a refusal: after a
   * refusal the client may send the same message under another msgId, and it would be
   * published twice. A client whose CONNACK becomes a refusal is not connected.
   */
  handleUncommitted(now: Millis, peer: Peer, bytes: Uint8Array): void {
    const packet = decodePacket(bytes);
    switch (packet.type) {
      case "ENCAPSULATED": {
        const node = isNodePeer(peer) ? peer : nodePeerOf(peer, packet);
        return this.handleUncommitted(now, node, packet.message);
      }
      case "CONNACK":
      case "REGACK":
      case "PUBACK":
      case "SUBACK":
      case "WILLTOPICRESP":
      case "WILLMSGRESP": {
        if (packet.type === "CONNACK") this.#connections.withdraw(now, peer);
        const returnCode = this.#outlet.refuse(peer, "store");
        return this.#outlet.sendPacket(peer, { ...packet, returnCode });
      }
    }
    this.#outlet.drop(peer, "store");
  }

  /** A message that comes before the sessions are restored. */
  #handleWhileLoading(
    now: Millis,
    peer: Peer,
    packet: MqttSnPacket,
    asked: number,
  ): void {
    switch (packet.type) {
      case "ENCAPSULATED":
      case "SEARCHGW":
      case "ADVERTISE":
        return this.#handleAnybody(now, peer, packet, undefined);
    }
    const answer = refusalOf(packet);
    // What is sent again may have been taken before, and is not refused then; at
    // QoS 2 nor is what the network has doubled. Nobody is known, and so nobody is
    // sent more octets than came from there.
    if (packet.type === "PUBLISH" && (packet.dup || packet.qos === 2)) {
      return this.#outlet.drop(peer, "loading");
    }
    if (answer === undefined || encodePacket(answer).length > asked) {
      return this.#outlet.drop(peer, "loading");
    }
    this.#outlet.refuse(peer, "loading");
    this.#outlet.sendPacket(peer, answer);
  }

  /**
   * Refuses what a client asks for if that would have to be kept and cannot be;
   * what cannot be refused is left for it to ask again.
   *
   * @returns whether it was
   */
  #isRefusedByStore(
    peer: Peer,
    { persistence }: Session,
    packet: MqttSnPacket,
  ): boolean {
    if (this.#persistence.mayPromise) return false;
    switch (packet.type) {
      case "DISCONNECT":
        if ((packet.duration ?? 0) === 0) return false;
        break; // a sleeper is persisted
      case "REGISTER":
      case "SUBSCRIBE":
      case "UNSUBSCRIBE":
      case "PUBREL":
      case "WILLTOPICUPD":
      case "WILLMSGUPD":
        if (persistence === undefined) return false;
        break;
      default:
        return false; // CONNECT and PUBLISH depend on more
    }
    const answer = refusalOf(packet);
    if (answer === undefined) this.#outlet.drop(peer, "store");
    else {
      this.#outlet.refuse(peer, "store");
      this.#outlet.sendPacket(peer, answer);
    }
    return true;
  }

  /** A message of a client that is connected. */
  #handleClient(
    now: Millis,
    peer: Peer,
    session: Session,
    packet: MqttSnPacket,
  ): void {
    if (this.#isRefusedByStore(peer, session, packet)) return;
    switch (packet.type) {
      case "PUBLISH":
        if (packet.qos === -1) break; // as from anyone
        if (packet.qos > 0 && this.#isStrictlyWrong(peer, packet)) return;
        return this.#publications.publish(now, peer, session, packet);
      case "PUBREL":
        return this.#publications.release(now, peer, session, packet.msgId);
      case "PUBACK":
      case "REGACK":
      case "PUBREC":
      case "PUBCOMP":
        return this.#handleAck(now, peer, session, packet);
      case "REGISTER":
        return this.#subscriptions.register(peer, session, packet);
      case "SUBSCRIBE":
        if (this.#isStrictlyWrong(peer, packet)) return;
        return this.#subscriptions.subscribe(now, peer, session, packet);
      case "UNSUBSCRIBE":
        return this.#subscriptions.unsubscribe(peer, session, packet);
      case "WILLTOPICUPD":
        return this.#publications.updateWillTopic(peer, session, packet);
      case "WILLMSGUPD":
        return this.#publications.updateWillMsg(peer, session, packet);
      case "DISCONNECT": {
        const { duration } = packet;
        return this.#connections.handleDisconnect(now, session, duration);
      }
      case "PINGRESP":
        return this.#outlet.drop(peer, "lateAck"); // nothing was asked
    }
    this.#handleAnybody(now, peer, packet, session);
  }

  /** A message of a peer that is not connected. */
  #handleStranger(now: Millis, peer: Peer, packet: MqttSnPacket): void {
    switch (packet.type) {
      case "PUBLISH":
        if (packet.qos === -1) break; // §6.8
        return this.#tellStranger(now, peer);
      case "PUBACK":
      case "REGACK":
      case "PUBREC":
      case "PUBCOMP":
      case "PINGRESP":
        return this.#outlet.drop(peer, "unknownPeer");
      case "DISCONNECT":
        this.#connections.endPrompt(peer);
        return this.#tellStranger(now, peer);
      case "REGISTER":
      case "SUBSCRIBE":
      case "UNSUBSCRIBE":
      case "PUBREL":
      case "WILLTOPICUPD":
      case "WILLMSGUPD":
        return this.#tellStranger(now, peer);
    }
    this.#handleAnybody(now, peer, packet, undefined);
  }

  /** A message for which it matters little whether its sender is connected. */
  #handleAnybody(
    now: Millis,
    peer: Peer,
    packet: MqttSnPacket,
    session: Session | undefined,
  ): void {
    switch (packet.type) {
      case "PUBLISH":
        return this.#publications.publishUnconnected(now, peer, packet);
      case "CONNECT":
        return this.#connections.handleConnect(now, peer, packet);
      case "WILLTOPIC":
        if (this.#connections.handleWillTopic(now, peer, packet)) return;
        break;
      case "WILLMSG":
        if (this.#connections.handleWillMsg(now, peer, packet)) return;
        break;
      case "PINGREQ":
        if (this.#connections.handlePingreq(now, peer, packet)) return;
        return this.#tellStranger(now, peer);
      case "ENCAPSULATED": {
        // §5.5. Wrapped twice it would not have been read.
        const node = nodePeerOf(peer, packet);
        return this.handleDatagram(now, node, packet.message);
      }
      case "SEARCHGW":
        return this.#handleSearch(now, peer, packet);
      case "ADVERTISE":
        return this.#advertiser.handleAdvertise(now, packet);
      case "GWINFO":
        return; // what other gateways there are is for clients to know
      default: {
        const detail = `Only a gateway sends ${packet.type}`;
        return this.#outlet.drop(peer, "direction", detail);
      }
    }
    // A part of a will that nobody asked for.
    if (session === undefined) return this.#tellStranger(now, peer);
    this.#outlet.drop(peer, "unexpected");
  }

  #handleAck(
    now: Millis,
    peer: Peer,
    session: Session,
    packet: Extract<
      MqttSnPacket,
      { type: "PUBACK" | "REGACK" | "PUBREC" | "PUBCOMP" }
    >,
  ): void {
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

  /** §5.4.21: a peer that is not connected is told so, within bounds. */
  #tellStranger(now: Millis, peer: Peer): void {
    if (!this.#disconnects.spend(now, peer, 1)) {
      return this.#outlet.drop(peer, "quiet");
    }
    this.#outlet.sendPacket(peer, { type: "DISCONNECT", duration: undefined });
  }

  /** §6.1: to the peer that asked, and to the multicast group. */
  #handleSearch(now: Millis, peer: Peer, { radius }: SearchGw): void {
    const { gwInfo } = this.#advertiser;
    this.#outlet.sendPacket(peer, gwInfo);
    if (isNodePeer(peer)) return;
    if (this.#broadcasts.spend(now, EVERYBODY, 1)) {
      this.#outlet.broadcast(gwInfo, radius);
    }
  }

  /** A msgId of 0 where one is needed: overlooked unless rules are strict. */
  #isStrictlyWrong(
    peer: Peer,
    { type, msgId }: { readonly type: MsgType; readonly msgId: number },
  ): boolean {
    if (!this.#isStrict || msgId !== 0) return false;
    this.#outlet.drop(peer, "strict", `A msgId of 0 in ${type}`);
    return true;
  }
}

/** What tells congestion to who sent a message, `undefined` where nothing does. */
function refusalOf(packet: MqttSnPacket): MqttSnPacket | undefined {
  const returnCode = RETURN_CODE.congestion;
  switch (packet.type) {
    case "CONNECT":
      return { type: "CONNACK", returnCode };
    case "REGISTER": {
      const { msgId } = packet;
      return { type: "REGACK", topicId: 0, msgId, returnCode };
    }
    case "PUBLISH": {
      const { topicId, msgId, qos } = packet;
      if (qos <= 0) return undefined;
      return { type: "PUBACK", topicId, msgId, returnCode };
    }
    case "SUBSCRIBE": {
      const { msgId } = packet;
      return { type: "SUBACK", qos: 0, topicId: 0, msgId, returnCode };
    }
    case "WILLTOPICUPD":
      return { type: "WILLTOPICRESP", returnCode };
    case "WILLMSGUPD":
      return { type: "WILLMSGRESP", returnCode };
    default:
      return undefined;
  }
}
