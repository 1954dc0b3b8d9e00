/**
 * The packets of MQTT-SN 1.2 as values: one type for each message, with its own fields
 * and no others.
 *
 * @module
 */

/** The highest topic id: 0000 and FFFF are reserved (§5.3.11). */
export const MAX_TOPIC_ID = 0xfffe;

/** The two sides of the protocol. */
export type Side = "client" | "broker";

/** The message types and their codes (§5.2.2 table 3). */
export const MSG_TYPE = {
  ADVERTISE: 0x00,
  SEARCHGW: 0x01,
  GWINFO: 0x02,
  CONNECT: 0x04,
  CONNACK: 0x05,
  WILLTOPICREQ: 0x06,
  WILLTOPIC: 0x07,
  WILLMSGREQ: 0x08,
  WILLMSG: 0x09,
  REGISTER: 0x0a,
  REGACK: 0x0b,
  PUBLISH: 0x0c,
  PUBACK: 0x0d,
  PUBCOMP: 0x0e,
  PUBREC: 0x0f,
  PUBREL: 0x10,
  SUBSCRIBE: 0x12,
  SUBACK: 0x13,
  UNSUBSCRIBE: 0x14,
  UNSUBACK: 0x15,
  PINGREQ: 0x16,
  PINGRESP: 0x17,
  DISCONNECT: 0x18,
  WILLTOPICUPD: 0x1a,
  WILLTOPICRESP: 0x1b,
  WILLMSGUPD: 0x1c,
  WILLMSGRESP: 0x1d,
  ENCAPSULATED: 0xfe,
} as const;

/** A message type's name. */
export type MsgType = keyof typeof MSG_TYPE;

/** The return codes that have a meaning; 04 to FF are reserved (§5.3.10). */
export const RETURN_CODE = {
  accepted: 0x00,
  congestion: 0x01,
  invalidTopicId: 0x02,
  notSupported: 0x03,
} as const;

/** The only protocol that CONNECT can ask for (§5.3.8). */
export const PROTOCOL_ID = 0x01;

/**
 * Quality of service; −1 is a PUBLISH without connection (§5.3.4, §6.8).
 *
 * @example
 * ```ts
 * import type { Qos } from "../mod.ts";
 *
 * const _all: Qos[] = [-1, 0, 1, 2];
 * ```
 */
export type Qos = -1 | 0 | 1 | 2;

/**
 * What a topic is named by (§5.3.4). `normal` is an id that was registered, and
 * in SUBSCRIBE and UNSUBSCRIBE the name itself; `reserved` is the fourth value,
 * which a peer may send and nobody may use.
 */
export type TopicIdType = "normal" | "predefined" | "short" | "reserved";

/** A gateway tells that it is there (§5.4.1). */
export interface Advertise {
  /** Which packet this is. */
  readonly type: "ADVERTISE";
  /** The gateway, 0 to 255. */
  readonly gwId: number;
  /** Until the next ADVERTISE, in seconds, 0 to 65535. */
  readonly duration: number;
}

/** A client looks for gateways (§5.4.2). */
export interface SearchGw {
  /** Which packet this is. */
  readonly type: "SEARCHGW";
  /** How far to broadcast, 0 to 255; 0 is the whole network. */
  readonly radius: number;
}

/** The answer to SEARCHGW, by a gateway or by a client that knows one (§5.4.3). */
export interface GwInfo {
  /** Which packet this is. */
  readonly type: "GWINFO";
  /** The gateway, 0 to 255. */
  readonly gwId: number;
  /** The gateway's address when a client answers, else empty. */
  readonly gwAdd: Uint8Array;
}

/** A client sets up a connection (§5.4.4). */
export interface Connect {
  /** Which packet this is. */
  readonly type: "CONNECT";
  /** Whether to ask for the will. */
  readonly will: boolean;
  /** Whether to forget what was known of this client. */
  readonly cleanSession: boolean;
  /** {@linkcode PROTOCOL_ID}, or what nobody supports, 0 to 255. */
  readonly protocolId: number;
  /** Keep alive, in seconds, 0 to 65535. */
  readonly duration: number;
  /** Who it is; 1 to 23 characters, though others occur. */
  readonly clientId: string;
}

/** A gateway's answer that is no more than a return code. */
export interface ReturnCodeOnly<
  Type extends "CONNACK" | "WILLTOPICRESP" | "WILLMSGRESP",
> {
  /** Which packet this is. */
  readonly type: Type;
  /** One of {@linkcode RETURN_CODE}, or a reserved one, 0 to 255. */
  readonly returnCode: number;
}

/** A packet without any fields. */
export interface Bare<
  Type extends "WILLTOPICREQ" | "WILLMSGREQ" | "PINGRESP",
> {
  /** Which packet this is. */
  readonly type: Type;
}

/** Where a will goes. */
export interface WillTopic {
  /** 0 to 2; −1 occurs on the wire and means nothing. */
  readonly qos: Qos;
  /** Whether the will is retained. */
  readonly retain: boolean;
  /** The topic. */
  readonly topicName: string;
}

/** A client says where its will goes (§5.4.7, §5.4.22). */
export interface WillTopicPacket<Type extends "WILLTOPIC" | "WILLTOPICUPD"> {
  /** Which packet this is. */
  readonly type: Type;
  /** Where; `undefined`, the empty form, deletes the will. */
  readonly will: WillTopic | undefined;
}

/** A client says what its will is (§5.4.9, §5.4.23). */
export interface WillMsgPacket<Type extends "WILLMSG" | "WILLMSGUPD"> {
  /** Which packet this is. */
  readonly type: Type;
  /** What is published; may be empty. */
  readonly data: Uint8Array;
}

/** Asks for, or tells, the id of a topic's name (§5.4.10). */
export interface Register {
  /** Which packet this is. */
  readonly type: "REGISTER";
  /** 0 from a client, the id from a gateway, 0 to 65535. */
  readonly topicId: number;
  /** 0 to 65535. */
  readonly msgId: number;
  /** The name, not empty. */
  readonly topicName: string;
}

/** The answer to REGISTER or PUBLISH (§5.4.11, §5.4.13). */
export interface TopicAck<Type extends "REGACK" | "PUBACK"> {
  /** Which packet this is. */
  readonly type: Type;
  /** The topic's id, 0 to 65535. */
  readonly topicId: number;
  /** That of the packet answered, 0 to 65535. */
  readonly msgId: number;
  /** One of {@linkcode RETURN_CODE}, or a reserved one, 0 to 255. */
  readonly returnCode: number;
}

/** A message for a topic (§5.4.12). */
export interface Publish {
  /** Which packet this is. */
  readonly type: "PUBLISH";
  /** Whether it was sent before. */
  readonly dup: boolean;
  /** −1 to 2. */
  readonly qos: Qos;
  /** Whether it is retained. */
  readonly retain: boolean;
  /** What `topicId` is. */
  readonly topicIdType: TopicIdType;
  /** An id, or a short name's two octets ({@linkcode shortTopicName}), 0 to 65535. */
  readonly topicId: number;
  /** 0 to 65535; 0 at QoS 0 and −1. */
  readonly msgId: number;
  /** What is published; may be empty. */
  readonly data: Uint8Array;
}

/** A packet with a message id alone (§5.4.14, §5.4.18). */
export interface MsgIdOnly<
  Type extends "PUBREC" | "PUBREL" | "PUBCOMP" | "UNSUBACK",
> {
  /** Which packet this is. */
  readonly type: Type;
  /** 0 to 65535. */
  readonly msgId: number;
}

/** What SUBSCRIBE and UNSUBSCRIBE are about. */
export type TopicReference =
  /** A name or a filter, not empty. */
  | { readonly topicIdType: "normal"; readonly topicName: string }
  /** A pre-defined id, or a short name's two octets. */
  | {
    readonly topicIdType: "predefined" | "short";
    readonly topicId: number;
  }
  /** What nobody may use: it is refused. */
  | { readonly topicIdType: "reserved" };

/** A client subscribes (§5.4.15). */
export interface Subscribe {
  /** Which packet this is. */
  readonly type: "SUBSCRIBE";
  /** Whether it was sent before. */
  readonly dup: boolean;
  /** The most that is wanted, 0 to 2; −1 occurs on the wire and is refused. */
  readonly qos: Qos;
  /** 0 to 65535. */
  readonly msgId: number;
  /** To what. */
  readonly topic: TopicReference;
}

/** The answer to SUBSCRIBE (§5.4.16). */
export interface Suback {
  /** Which packet this is. */
  readonly type: "SUBACK";
  /** What is granted, 0 to 2. */
  readonly qos: Qos;
  /** The topic's id; 0 where there is none, for a filter with wildcards. */
  readonly topicId: number;
  /** That of the SUBSCRIBE, 0 to 65535. */
  readonly msgId: number;
  /** One of {@linkcode RETURN_CODE}, or a reserved one, 0 to 255. */
  readonly returnCode: number;
}

/** A client ends a subscription (§5.4.17). */
export interface Unsubscribe {
  /** Which packet this is. */
  readonly type: "UNSUBSCRIBE";
  /** 0 to 65535. */
  readonly msgId: number;
  /** To what. */
  readonly topic: TopicReference;
}

/** Asks whether the other is there (§5.4.19). */
export interface Pingreq {
  /** Which packet this is. */
  readonly type: "PINGREQ";
  /** Who it is, from a client that wakes; else empty. */
  readonly clientId: string;
}

/** Ends a connection, or begins a sleep (§5.4.21). */
export interface Disconnect {
  /** Which packet this is. */
  readonly type: "DISCONNECT";
  /** How long a client will sleep, in seconds, 0 to 65535; none ends it. */
  readonly duration: number | undefined;
}

/** A message that a forwarder passes on, and for which node (§5.5). */
export interface Encapsulated {
  /** Which packet this is. */
  readonly type: "ENCAPSULATED";
  /** How far to broadcast, 0 to 3; means something towards a forwarder only. */
  readonly radius: number;
  /** The node behind the forwarder, 1 to 252 octets. */
  readonly wirelessNodeId: Uint8Array;
  /** A whole message, its own length first; not itself encapsulated. */
  readonly message: Uint8Array;
}

/** Every message of MQTT-SN 1.2. */
export type MqttSnPacket =
  | Advertise
  | SearchGw
  | GwInfo
  | Connect
  | ReturnCodeOnly<"CONNACK">
  | Bare<"WILLTOPICREQ">
  | WillTopicPacket<"WILLTOPIC">
  | Bare<"WILLMSGREQ">
  | WillMsgPacket<"WILLMSG">
  | Register
  | TopicAck<"REGACK">
  | Publish
  | TopicAck<"PUBACK">
  | MsgIdOnly<"PUBCOMP">
  | MsgIdOnly<"PUBREC">
  | MsgIdOnly<"PUBREL">
  | Subscribe
  | Suback
  | Unsubscribe
  | MsgIdOnly<"UNSUBACK">
  | Pingreq
  | Bare<"PINGRESP">
  | Disconnect
  | WillTopicPacket<"WILLTOPICUPD">
  | ReturnCodeOnly<"WILLTOPICRESP">
  | WillMsgPacket<"WILLMSGUPD">
  | ReturnCodeOnly<"WILLMSGRESP">
  | Encapsulated;
