/**
 * What of the broker's core outlives the process: one record for each row that a
 * store keeps, and what changes them. Holds types and does nothing; what a store
 * makes of them is its own (`store/store.ts`), when they change is told by whoever owns
 * what they hold.
 *
 * A record says what is, so that a store can give it back at the next start; it
 * takes the place of the last one with the same key. An end takes it away. Applied
 * in order, twice or once, they give the same.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import type { DeliveryQos } from "../wire/message.ts";

/** A client's session, but for what is in records of its own. Key: `session`. */
export interface SessionRecord {
  /** Which record this is. */
  readonly type: "session";
  /** The session's number: 1 or more, and no other's, ever. */
  readonly session: number;
  /** Who it is. No two sessions are the same client's. */
  readonly clientId: string;
  /** Whether nothing is kept when its connection ends. */
  readonly isClean: boolean;
  /** Its state; who is awake is asleep here. */
  readonly state: "disconnected" | "active" | "asleep" | "lost";
  /** Where it is reached, if it is connected. */
  readonly peer: PeerRecord | undefined;
  /** The silence that is allowed, in milliseconds; 0 for any. */
  readonly allowedMs: Millis;
  /** The keep alive that it connected with, in seconds. */
  readonly duration: number;
  /** Whether it announced a will when it connected. */
  readonly announcedWill: boolean;
  /** When its connection ended, while it has none. */
  readonly leftAt: Millis;
  /** Its will. */
  readonly will: WillRecord | undefined;
}

/** Where a client is reached. */
export interface PeerRecord {
  /** IPv4 or IPv6 address. */
  readonly hostname: string;
  /** UDP port, 0 to 65535. */
  readonly port: number;
  /** Which node behind the forwarder at that address, if it is one. */
  readonly wirelessNodeId: Uint8Array | undefined;
}

/** A client's last will. */
export interface WillRecord {
  /** Where to; a will without a topic is never published. */
  readonly topicName: string | undefined;
  /** At which QoS. */
  readonly qos: DeliveryQos;
  /** Whether it is retained. */
  readonly retain: boolean;
  /** What. */
  readonly payload: Uint8Array;
}

/** A subscription. Key: `session`, `topicFilter`. */
export interface SubscriptionRecord {
  /** Which record this is. */
  readonly type: "subscription";
  /** Whose. */
  readonly session: number;
  /** To what. */
  readonly topicFilter: string;
  /** The QoS granted. */
  readonly qos: DeliveryQos;
  /** Whether what is retained for it has still to be delivered. */
  readonly isPending: boolean;
}

/**
 * A retained message that was begun at QoS 2 for a subscription while others of
 * it have still to be delivered: it is not to be begun again. Key: all of it.
 */
export interface BegunRecord {
  /** Which record this is. */
  readonly type: "begun";
  /** Whose. */
  readonly session: number;
  /** For which subscription. */
  readonly topicFilter: string;
  /** The topic. */
  readonly topicName: string;
}

/** A topic as a client knows it. Key: `session`, `topicName`. */
export interface TopicIdRecord {
  /** Which record this is. */
  readonly type: "topicId";
  /** Whose. */
  readonly session: number;
  /** The topic. */
  readonly topicName: string;
  /** Its normal id, 1 to 65534; 0 for none. */
  readonly topicId: number;
  /** By what else the client knows it. */
  readonly aliasType: "predefined" | "short" | undefined;
  /** The pre-defined id, or the short name's octets; 0 without either. */
  readonly aliasId: number;
  /** Whether the client has registered it. */
  readonly isRegistered: boolean;
  /** Whether the client has subscribed to it by its name. */
  readonly isSubscribed: boolean;
}

/** A message on its way to a client. Key: `session`, `seq`. */
export interface QueuedRecord {
  /** Which record this is. */
  readonly type: "queued";
  /** For whom. */
  readonly session: number;
  /** Its place in the queue: higher ones go later. */
  readonly seq: number;
  /** The topic. */
  readonly topicName: string;
  /** What. Nobody changes its octets. */
  readonly payload: Uint8Array;
  /** At which QoS the client gets it. */
  readonly qos: DeliveryQos;
  /** Whether it is delivered because it was retained. */
  readonly retain: boolean;
  /** When it was published. */
  readonly at: Millis;
  /** Its msgId once it is under way, else 0. */
  readonly msgId: number;
  /** Whether PUBREC has come for it. */
  readonly isReleased: boolean;
}

/** How far a queued message is. Changes its record, if there is one. */
export interface InFlightRecord {
  /** Which record this is. */
  readonly type: "inFlight";
  /** For whom. */
  readonly session: number;
  /** Which message. */
  readonly seq: number;
  /** Its msgId, 1 to 65535. */
  readonly msgId: number;
  /** Whether PUBREC has come for it. */
  readonly isReleased: boolean;
}

/** A QoS 2 message that a client has sent. Key: `session`, `msgId`. */
export interface ReceivedRecord {
  /** Which record this is. */
  readonly type: "received";
  /** Who sent it. */
  readonly session: number;
  /** Its msgId. */
  readonly msgId: number;
  /** A digest of the rest of it: a whole number of 32 bits. */
  readonly digest: number;
  /** Until when a copy may come; `undefined` before PUBREL. */
  readonly until: Millis | undefined;
}

/** A topic's retained message. Key: `topicName`. */
export interface RetainedRecord {
  /** Which record this is. */
  readonly type: "retained";
  /** The topic. */
  readonly topicName: string;
  /** What. Nobody changes its octets. */
  readonly payload: Uint8Array;
  /** At which QoS it was published. */
  readonly qos: DeliveryQos;
}

/** A datum of a classic topic's history. Key: `seq`. */
export interface DatumRecord {
  /** Which record this is. */
  readonly type: "datum";
  /** Its number: 1 or more, and higher ones came later, whatever their topic. */
  readonly seq: number;
  /** The topic. */
  readonly topicName: string;
  /** What. */
  readonly text: string;
}

/** Whatever is kept: what a store gives back. */
export type StoreRecord =
  | SessionRecord
  | SubscriptionRecord
  | BegunRecord
  | TopicIdRecord
  | QueuedRecord
  | ReceivedRecord
  | RetainedRecord
  | DatumRecord;

/** A session is over, and all records that name it. */
export interface SessionEnd {
  /** Which change this is. */
  readonly type: "sessionEnd";
  /** Its number. */
  readonly session: number;
}

/** A subscription is over. */
export interface SubscriptionEnd {
  /** Which change this is. */
  readonly type: "subscriptionEnd";
  /** Whose. */
  readonly session: number;
  /** To what. */
  readonly topicFilter: string;
}

/** Nothing that was begun for a subscription has to be known any more. */
export interface BegunEnd {
  /** Which change this is. */
  readonly type: "begunEnd";
  /** Whose. */
  readonly session: number;
  /** For which subscription. */
  readonly topicFilter: string;
}

/** A client's topic has no entry any more. */
export interface TopicIdEnd {
  /** Which change this is. */
  readonly type: "topicIdEnd";
  /** Whose. */
  readonly session: number;
  /** The topic. */
  readonly topicName: string;
}

/** A message has been delivered to a client, or is not any more. */
export interface QueuedEnd {
  /** Which change this is. */
  readonly type: "queuedEnd";
  /** For whom it was. */
  readonly session: number;
  /** Which it was. */
  readonly seq: number;
}

/** No copy of a QoS 2 message can come any more. */
export interface ReceivedEnd {
  /** Which change this is. */
  readonly type: "receivedEnd";
  /** Who had sent it. */
  readonly session: number;
  /** Its msgId. */
  readonly msgId: number;
}

/** A topic retains nothing any more. */
export interface RetainedEnd {
  /** Which change this is. */
  readonly type: "retainedEnd";
  /** The topic. */
  readonly topicName: string;
}

/** A datum of a history is forgotten. */
export interface DatumEnd {
  /** Which change this is. */
  readonly type: "datumEnd";
  /** Its number. */
  readonly seq: number;
}

/** Whatever changes what is kept. */
export type StoreChange =
  | StoreRecord
  | InFlightRecord
  | SessionEnd
  | SubscriptionEnd
  | BegunEnd
  | TopicIdEnd
  | QueuedEnd
  | ReceivedEnd
  | RetainedEnd
  | DatumEnd;
