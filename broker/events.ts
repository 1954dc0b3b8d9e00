/**
 * The events of the broker's core: one for each thing that is worth a log line or a
 * place in a journal, the reasons that its counters are named by, and the line that
 * a person reads for each.
 *
 * @module
 */

import { CLASSIC_REPLY, type ClassicRefusal } from "../wire/classic.ts";
import type { ForgetReason } from "./classic_history.ts";
import type { Peer } from "../base/peer.ts";
import { RETURN_CODE } from "../wire/packets.ts";
import type { StoreState } from "./persistence.ts";
import type { SessionEvent } from "./session_states.ts";

/** Why a datagram or a classic subscription got no answer, and what that means. */
export const DROP_REASONS = {
  /** It had no octets. */
  empty: "it has no octets",
  /** It was of no protocol that is known. */
  malformed: "it is of no known protocol",
  /** It was JSON, and its `type` is nobody's. */
  unknownType: "its type of request is unknown",
  /** Its source has no allowance left for the answer. */
  allowance: "its source has no allowance left for the answer",
  /** Too many others have begun to wait since. */
  displaced: "too many others wait",
  /** Only a gateway sends such a message. */
  direction: "only a gateway sends it",
  /** It answers something, and comes from a peer that is not connected. */
  unknownPeer: "its sender is not connected",
  /** Its sender is not connected, and others were told so too often lately. */
  quiet: "its sender is not connected, and was told so",
  /** It answers nothing that was asked, or not any more. */
  lateAck: "it answers nothing that is awaited",
  /** It belongs into a conversation that is not under way. */
  unexpected: "nobody asked for it",
  /** A PUBLISH without connection that cannot be published. */
  qosMinusOne: "it cannot be published without a connection",
  /** What was kept is being loaded. */
  loading: "what was kept is still being loaded",
  /** What it asks for cannot be kept at present. */
  store: "what it asks for cannot be kept at present",
  /** It breaks a rule that is usually overlooked. */
  strict: "it breaks a rule, and the rules are held strictly",
} as const;

/**
 * Why a datagram or a classic subscription got no answer.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0, qosMinusOne: false });
 * await using client = await Client.open({ port: broker.port });
 * await client.publish({ predefined: 7 }, "on", { qos: -1 });
 * await broker.journal.received({ type: "PUBLISH" });
 * assertEquals(broker.stats().dropped.qosMinusOne, 1);
 * ```
 */
export type DropReason = keyof typeof DROP_REASONS;

/**
 * Why a client does not get a message.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish("lamp", "on", { qos: 1 });
 * assertEquals(broker.stats().mqttsn.lost.overflow, 0);
 * ```
 */
export type LossReason =
  /** Too much waits for the client already. */
  | "overflow"
  /** Too much waits for all clients together. */
  | "memory"
  /** The message, or its topic's name, does not fit a packet. */
  | "tooLong"
  /** The client refused to register the topic. */
  | "topicRefused"
  /** The client refused the message. */
  | "messageRefused"
  /** The client's table of topic ids is full. */
  | "topicIds"
  /** It has waited for longer than a message may. */
  | "expired";

/** Why an MQTT-SN request is refused: the return code for it, and words. */
export const REFUSALS = {
  /** CONNECT asks for another protocol (§5.3.8). */
  protocolId: [RETURN_CODE.notSupported, "its protocol id is unknown"],
  /** The client id is empty, too long or holds U+0000 (§5.3.1). */
  clientId: [RETURN_CODE.notSupported, "its client id is not valid"],
  /** Keep alive is 0, and one is required. */
  keepAlive: [RETURN_CODE.notSupported, "it has no keep alive"],
  /** The table of clients is full. */
  clients: [RETURN_CODE.congestion, "there are too many clients"],
  /** The topic's name or filter is not valid. */
  topicName: [RETURN_CODE.notSupported, "the topic is not valid"],
  /** The topic id type is reserved. */
  topicIdType: [RETURN_CODE.notSupported, "the topic id type is reserved"],
  /** The topic is the broker's own. */
  system: [RETURN_CODE.notSupported, "the topic is the broker's own"],
  /** The QoS is −1 where it means nothing. */
  qos: [RETURN_CODE.notSupported, "the QoS is not valid"],
  /** Nothing has this topic id. */
  topicId: [RETURN_CODE.invalidTopicId, "the topic id is unknown"],
  /** The client's table of topic ids is full, or all tables together. */
  topicIds: [RETURN_CODE.congestion, "the table of topic ids is full"],
  /** The client has as many subscriptions as one may have. */
  subscriptions: [RETURN_CODE.congestion, "there are too many subscriptions"],
  /** The client publishes faster than it may. */
  rate: [RETURN_CODE.congestion, "it publishes too fast"],
  /** A subscriber has no room. */
  queue: [RETURN_CODE.congestion, "a subscriber has no room"],
  /** What sessions hold takes all the memory that there is for it. */
  memory: [RETURN_CODE.congestion, "there is no memory left for it"],
  /** Nothing further can be retained. */
  retained: [RETURN_CODE.congestion, "there is no room to retain it"],
  /** What was kept is being loaded. */
  loading: [RETURN_CODE.congestion, "what was kept is still being loaded"],
  /** What it asks for cannot be kept at present. */
  store: [RETURN_CODE.congestion, "what it asks for cannot be kept at present"],
  /** The client has too many QoS 2 messages that it does not release. */
  unreleased: [RETURN_CODE.congestion, "too many PUBREL are outstanding"],
} as const satisfies Record<string, readonly [number, string]>;

/**
 * Why an MQTT-SN request is refused.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish({ predefined: 7 }, "on", { qos: 1 }).catch(() => {});
 * assertEquals(broker.stats().mqttsn.refused.topicId, 1);
 * ```
 */
export type Refusal = keyof typeof REFUSALS;

/** What the broker's core tells about its work. */
export type RouterEvent =
  | PublishEvent
  | SubscribeEvent
  | UnsubscribeEvent
  | DeliverEvent
  | HoldEvent
  | RefuseEvent
  | DropEvent
  | ForgetEvent
  | ConnectEvent
  | SessionStateEvent
  | MoveEvent
  | RegisterEvent
  | WillEvent
  | LoseEvent
  | ExpireEvent
  | StoreEvent;

/** A publish was accepted. */
export interface PublishEvent {
  /** Which event this is. */
  readonly type: "publish";
  /** Who published. */
  readonly peer: Peer;
  /** To which topic. */
  readonly topicName: string;
  /** Length of what was published, in octets. */
  readonly octets: number;
}

/** A subscribe was accepted. */
export interface SubscribeEvent {
  /** Which event this is. */
  readonly type: "subscribe";
  /** Who subscribed. */
  readonly peer: Peer;
  /** To which topic, or by which filter. */
  readonly topicName: string;
}

/** A subscription was taken away. */
export interface UnsubscribeEvent {
  /** Which event this is. */
  readonly type: "unsubscribe";
  /** Whose. */
  readonly peer: Peer;
  /** Of which topic, or by which filter. */
  readonly topicName: string;
}

/** A history was sent to a classic subscriber. */
export interface DeliverEvent {
  /** Which event this is. */
  readonly type: "deliver";
  /** To whom. */
  readonly peer: Peer;
  /** Of which topic. */
  readonly topicName: string;
  /** Length of the datagram in octets. */
  readonly octets: number;
}

/** A history is held back until its source's allowance has grown. */
export interface HoldEvent {
  /** Which event this is. */
  readonly type: "hold";
  /** Who has to wait. */
  readonly peer: Peer;
  /** For which topic. */
  readonly topicName: string;
}

/** A request was refused. */
export interface RefuseEvent {
  /** Which event this is. */
  readonly type: "refuse";
  /** Whose request. */
  readonly peer: Peer;
  /** Why: a classic reply, or an MQTT-SN refusal. */
  readonly reason: ClassicRefusal | Refusal;
}

/** A datagram or a subscription was left unanswered. */
export interface DropEvent {
  /** Which event this is. */
  readonly type: "drop";
  /** Whose. */
  readonly peer: Peer;
  /** Why, for a counter. */
  readonly reason: DropReason;
  /** Why, for a person. */
  readonly detail: string;
}

/** Data left a classic topic's history. */
export interface ForgetEvent {
  /** Which event this is. */
  readonly type: "forget";
  /** Of which topic. */
  readonly topicName: string;
  /** Why. */
  readonly reason: ForgetReason;
  /** How many data. */
  readonly count: number;
}

/** A client was connected. */
export interface ConnectEvent {
  /** Which event this is. */
  readonly type: "connect";
  /** Where it is. */
  readonly peer: Peer;
  /** Who it is. */
  readonly clientId: string;
  /** Whether what was known of it was forgotten. */
  readonly cleanSession: boolean;
  /** Keep alive in seconds, 0 for none. */
  readonly duration: number;
}

/** A client's state changed otherwise. */
export interface SessionStateEvent {
  /** Which event this is. */
  readonly type: "state";
  /** Who. */
  readonly clientId: string;
  /** What happened to it. */
  readonly event: SessionEvent;
  /** The state that it is in now. */
  readonly state: string;
}

/** A client goes on from another address. */
export interface MoveEvent {
  /** Which event this is. */
  readonly type: "move";
  /** Who. */
  readonly clientId: string;
  /** From where. */
  readonly from: Peer;
  /** To where. */
  readonly peer: Peer;
}

/** A client was given a topic id that it asked for. */
export interface RegisterEvent {
  /** Which event this is. */
  readonly type: "register";
  /** Who asked. */
  readonly peer: Peer;
  /** For which topic. */
  readonly topicName: string;
  /** The id. */
  readonly topicId: number;
}

/** A client was lost, and its will is published. */
export interface WillEvent {
  /** Which event this is. */
  readonly type: "will";
  /** Whose. */
  readonly clientId: string;
  /** To which topic. */
  readonly topicName: string;
}

/** A client does not get a message. */
export interface LoseEvent {
  /** Which event this is. */
  readonly type: "lose";
  /** Who. */
  readonly clientId: string;
  /** Of which topic. */
  readonly topicName: string;
  /** Why. */
  readonly reason: LossReason;
}

/** A client was away for too long, and its session is forgotten. */
export interface ExpireEvent {
  /** Which event this is. */
  readonly type: "expire";
  /** Who. */
  readonly clientId: string;
}

/** It is different with the store. */
export interface StoreEvent {
  /** Which event this is. */
  readonly type: "store";
  /** How it is now. */
  readonly state: StoreState;
}

/**
 * An event in a line.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { describeEvent } from "./events.ts";
 * import { peerOf } from "../base/peer.ts";
 *
 * const peer = peerOf("127.0.0.1", 4711);
 * assertEquals(
 *   describeEvent({ type: "refuse", peer, reason: "topicId" }),
 *   "Refused 127.0.0.1:4711: the topic id is unknown",
 * );
 * ```
 */
export function describeEvent(event: RouterEvent): string {
  switch (event.type) {
    case "publish":
      return `${event.peer.key} published ${event.octets} octets to "${event.topicName}"`;
    case "subscribe":
      return `${event.peer.key} subscribed to "${event.topicName}"`;
    case "deliver":
      return `Sent ${event.octets} octets of "${event.topicName}" to ${event.peer.key}`;
    case "hold":
      return `Held back "${event.topicName}" for ${event.peer.key}: its allowance is spent`;
    case "refuse":
      return `Refused ${event.peer.key}: ${refusalText(event)}`;
    case "drop":
      return `Dropped a datagram from ${event.peer.key}: ${event.detail}`;
    case "forget":
      return `Forgot ${event.count} of "${event.topicName}": ${event.reason}`;
    case "unsubscribe":
      return `${event.peer.key} unsubscribed from "${event.topicName}"`;
    case "register":
      return `${event.peer.key} registered "${event.topicName}" as ${event.topicId}`;
    case "connect":
      return `"${event.clientId}" connected from ${event.peer.key}, keep alive ${event.duration} s${
        event.cleanSession ? ", clean session" : ""
      }`;
    case "state":
      return `"${event.clientId}" is ${event.state}: ${event.event}`;
    case "move":
      return `"${event.clientId}" goes on from ${event.peer.key}, no longer ${event.from.key}`;
    case "will":
      return `Published the will of "${event.clientId}" to "${event.topicName}"`;
    case "lose":
      return `"${event.clientId}" does not get a message of "${event.topicName}": ${event.reason}`;
    case "expire":
      return `Forgot the session of "${event.clientId}": it was away for too long`;
    case "store":
      return `The store is ${event.state}`;
    default:
      return event satisfies never;
  }
}

/** Why a request was refused, for a person. */
function refusalText({ reason }: RefuseEvent): string {
  return reason in CLASSIC_REPLY
    ? CLASSIC_REPLY[reason as ClassicRefusal]
    : REFUSALS[reason as Refusal][1];
}
