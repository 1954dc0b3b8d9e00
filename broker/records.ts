/**
 * The records that outlive the broker's process, and the changes to them. A store
 * (`store/store.ts`) persists the changes and gives the records back at the next
 * start.
 *
 * A record takes the place of the last one with the same key; an end takes it away.
 * Applied in order, once or twice, changes give the same records.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import type { DeliveryQos } from "../wire/message.ts";

/** A client's session without its parts, which have their own records. Key: `session`. */
export interface SessionRecord {
  /** Its kind. */
  readonly type: "session";
  /** The session's number: 1 or more, and never used for another session. */
  readonly session: number;
  /** Each client has one session at most. */
  readonly clientId: string;
  /** Whether the session ends with its connection. */
  readonly isClean: boolean;
  /** Its state; an awake client counts as asleep. */
  readonly state: "disconnected" | "active" | "asleep" | "lost";
  /** The client's address, if it is connected. */
  readonly peer: PeerRecord | undefined;
  /** How long the client may be silent, in milliseconds; 0 for any time. */
  readonly allowedMs: Millis;
  /** The keep alive of its CONNECT, in seconds. */
  readonly duration: number;
  /** Whether its CONNECT announced a will. */
  readonly announcedWill: boolean;
  /** When its connection ended, if it is not connected. */
  readonly leftAt: Millis;
  /** The client's will. */
  readonly will: WillRecord | undefined;
}

/** A client's address. */
export interface PeerRecord {
  /** IPv4 or IPv6 address. */
  readonly hostname: string;
  /** UDP port, 0 to 65535. */
  readonly port: number;
  /** The node's id, if the address is that of a forwarder. */
  readonly wirelessNodeId: Uint8Array | undefined;
}

/** A client's last will. */
export interface WillRecord {
  /** A will without a topic is never published. */
  readonly topicName: string | undefined;
  /** The QoS. */
  readonly qos: DeliveryQos;
  /** Whether it is retained. */
  readonly retain: boolean;
  /** The payload. */
  readonly payload: Uint8Array;
}

/** A subscription. Key: `session`, `topicFilter`. */
export interface SubscriptionRecord {
  /** Its kind. */
  readonly type: "subscription";
  /** The session's number. */
  readonly session: number;
  /** What was subscribed to. */
  readonly topicFilter: string;
  /** The QoS granted. */
  readonly qos: DeliveryQos;
  /** Whether retained messages for it have still to be delivered. */
  readonly isPending: boolean;
}

/**
 * The delivery of a retained message that was begun at QoS 2 for a subscription. It
 * must not begin again while other messages of the subscription have still to be
 * delivered. Key: all fields.
 */
export interface BegunRecord {
  /** Its kind. */
  readonly type: "begun";
  /** The session's number. */
  readonly session: number;
  /** What was subscribed to. */
  readonly topicFilter: string;
  /** The topic. */
  readonly topicName: string;
}

/** A topic as a client knows it. Key: `session`, `topicName`. */
export interface TopicIdRecord {
  /** Its kind. */
  readonly type: "topicId";
  /** The session's number. */
  readonly session: number;
  /** The topic. */
  readonly topicName: string;
  /** Its normal id, 1 to 65534; 0 for none. */
  readonly topicId: number;
  /** How else the client knows the topic. */
  readonly aliasType: "predefined" | "short" | undefined;
  /** The pre-defined id, or the short name's octets; 0 without either. */
  readonly aliasId: number;
  /** Whether the client has registered the topic. */
  readonly isRegistered: boolean;
  /** Whether the client has subscribed to the topic by its name. */
  readonly isSubscribed: boolean;
}

/** A message on its way to a client. Key: `session`, `seq`. */
export interface QueuedRecord {
  /** Its kind. */
  readonly type: "queued";
  /** The session's number. */
  readonly session: number;
  /** Its place in the queue: higher numbers are delivered later. */
  readonly seq: number;
  /** The topic. */
  readonly topicName: string;
  /** Its octets are never changed. */
  readonly payload: Uint8Array;
  /** The QoS at which the client gets it. */
  readonly qos: DeliveryQos;
  /** Its Retain flag: whether it is delivered because it was retained. */
  readonly retain: boolean;
  /** When it was published. */
  readonly at: Millis;
  /** The msgId of its PUBLISH; 0 before the first. */
  readonly msgId: number;
  /** Whether PUBREC has come for it. */
  readonly isReleased: boolean;
}

/** How far a queued message has come. It changes the record, if there is one. */
export interface InFlightRecord {
  /** Its kind. */
  readonly type: "inFlight";
  /** The session's number. */
  readonly session: number;
  /** The number of the record. */
  readonly seq: number;
  /** The msgId of its PUBLISH, 1 to 65535. */
  readonly msgId: number;
  /** Whether PUBREC has come for it. */
  readonly isReleased: boolean;
}

/** A QoS 2 message that a client has sent. Key: `session`, `msgId`. */
export interface ReceivedRecord {
  /** Its kind. */
  readonly type: "received";
  /** The session's number. */
  readonly session: number;
  /** The msgId of its PUBLISH, 1 to 65535. */
  readonly msgId: number;
  /** A digest of its topic and payload: a whole number of 32 bits. */
  readonly digest: number;
  /** Until when a copy may come; `undefined` before PUBREL. */
  readonly until: Millis | undefined;
}

/** A topic's retained message. Key: `topicName`. */
export interface RetainedRecord {
  /** Its kind. */
  readonly type: "retained";
  /** The topic. */
  readonly topicName: string;
  /** Its octets are never changed. */
  readonly payload: Uint8Array;
  /** The QoS at which it was published. */
  readonly qos: DeliveryQos;
}

/** A datum of a classic topic's history. Key: `seq`. */
export interface DatumRecord {
  /** Its kind. */
  readonly type: "datum";
  /** 1 or more. A higher number came later, also of another topic. */
  readonly seq: number;
  /** The topic. */
  readonly topicName: string;
  /** The text. */
  readonly text: string;
}

/** All records: a store gives them back. */
export type StoreRecord =
  | SessionRecord
  | SubscriptionRecord
  | BegunRecord
  | TopicIdRecord
  | QueuedRecord
  | ReceivedRecord
  | RetainedRecord
  | DatumRecord;

/** A session is over: its record and those of its parts end. */
export interface SessionEnd {
  /** Its kind. */
  readonly type: "sessionEnd";
  /** The session's number. */
  readonly session: number;
}

/** A subscription is over. */
export interface SubscriptionEnd {
  /** Its kind. */
  readonly type: "subscriptionEnd";
  /** The session's number. */
  readonly session: number;
  /** What was subscribed to. */
  readonly topicFilter: string;
}

/** All `begun` records of a subscription end. */
export interface BegunEnd {
  /** Its kind. */
  readonly type: "begunEnd";
  /** The session's number. */
  readonly session: number;
  /** What was subscribed to. */
  readonly topicFilter: string;
}

/** A client has no id for a topic any more. */
export interface TopicIdEnd {
  /** Its kind. */
  readonly type: "topicIdEnd";
  /** The session's number. */
  readonly session: number;
  /** The topic. */
  readonly topicName: string;
}

/** A queued message was delivered, or is lost. */
export interface QueuedEnd {
  /** Its kind. */
  readonly type: "queuedEnd";
  /** The session's number. */
  readonly session: number;
  /** The number of the record. */
  readonly seq: number;
}

/** No copy of a QoS 2 message can come any more. */
export interface ReceivedEnd {
  /** Its kind. */
  readonly type: "receivedEnd";
  /** The session's number. */
  readonly session: number;
  /** The msgId of its PUBLISH, 1 to 65535. */
  readonly msgId: number;
}

/** A topic has no retained message any more. */
export interface RetainedEnd {
  /** Its kind. */
  readonly type: "retainedEnd";
  /** The topic. */
  readonly topicName: string;
}

/** A datum of a history is forgotten. */
export interface DatumEnd {
  /** Its kind. */
  readonly type: "datumEnd";
  /** The number of the record. */
  readonly seq: number;
}

/** All changes that a store persists. */
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
