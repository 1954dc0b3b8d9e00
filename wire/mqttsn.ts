/**
 * MQTT-SN 1.2 on the wire: octets to packets and packets to octets.
 *
 * A message says its own length, in one octet or, after an octet 01, in two
 * more. Both forms are read for every length; the short one is written wherever
 * it serves. A field without a length of its own runs to the message's end.
 *
 * Decoding copies nothing: the octets of a packet are views into the datagram.
 * A caller that needs them beyond the call copies them.
 *
 * @module
 */

import { LocalProtocolError, MalformedPacketError } from "../base/errors.ts";
import { MAX_DATAGRAM } from "../base/peer.ts";
import {
  type Encapsulated,
  type MqttSnPacket,
  MSG_TYPE,
  type MsgType,
  type Publish,
  type Qos,
  type TopicIdType,
  type TopicReference,
} from "./packets.ts";
import { allocate } from "../base/slab.ts";
import type { TopicName } from "./message.ts";
import { parseTopicName } from "./topics.ts";
import { decodeUtf8, encodeUtf8, utf8Length, writeUtf8 } from "../base/utf8.ts";

// Flags (§5.3.4). Bits that a message does not use are sent as 0 and ignored.
const DUP = 0x80;
const RETAIN = 0x10;
const WILL = 0x08;
const CLEAN_SESSION = 0x04;
const QOS_SHIFT = 5;
const QOS_BY_BITS: readonly Qos[] = [0, 1, 2, -1];
const TOPIC_ID_TYPES: readonly TopicIdType[] = [
  "normal",
  "predefined",
  "short",
  "reserved",
];

const LONG_FORM = 0x01;
const MAX_SHORT = 255;

const NAME_BY_CODE: readonly (MsgType | undefined)[] = (() => {
  const names = new Array<MsgType | undefined>(256).fill(undefined);
  for (const [name, code] of Object.entries(MSG_TYPE)) {
    names[code] = name as MsgType;
  }
  return names;
})();

const NONE = new Uint8Array(0);

/** How strictly a datagram is read. */
export interface DecodeOptions {
  /**
   * Whether octets behind the declared length are ignored instead of being an
   * error. Default false. A length beyond the datagram is always an error.
   */
  readonly lenient?: boolean;
}

/**
 * Reads a datagram.
 *
 * @param bytes the whole datagram; the packet's octets are views into it
 * @throws {MalformedPacketError} when it is no message of MQTT-SN 1.2
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { decodePacket } from "./mqttsn.ts";
 *
 * const bytes = Uint8Array.of(0x03, 0x05, 0x00);
 * assertEquals(decodePacket(bytes), { type: "CONNACK", returnCode: 0 });
 * ```
 */
export function decodePacket(
  bytes: Uint8Array,
  options: DecodeOptions = {},
): MqttSnPacket {
  const { length } = bytes;
  if (length < 2) throw malformed("a datagram", 0, "too short", "§5.2.1");
  const isLong = bytes[0] === LONG_FORM;
  const at = isLong ? 3 : 1;
  if (length <= at) throw malformed("a datagram", 0, "too short", "§5.2.1");
  const declared = isLong ? u16(bytes, 1) : bytes[0]!;
  const type = NAME_BY_CODE[bytes[at]!];
  if (type === undefined) {
    throw malformed("a datagram", at, `reserved type ${bytes[at]}`, "§5.2.2");
  }
  if (type === "ENCAPSULATED") return decodeEncapsulated(bytes, declared);
  if (
    declared > length || declared <= at ||
    (declared < length && !options.lenient)
  ) {
    const problem = `declares ${declared} octets of ${length}`;
    throw malformed(type, 0, problem, "§5.2.1");
  }
  return decodeBody(type, bytes, at + 1, declared);
}

/**
 * Tells whether a datagram begins as a message of MQTT-SN 1.2 does: a type that
 * exists, and a length that is its own. It may still be malformed; but what is
 * not framed so is of another protocol.
 *
 * @example
 * ```ts
 * import { assert, assertFalse } from "@std/assert";
 * import { isFramed } from "./mqttsn.ts";
 *
 * assert(isFramed(Uint8Array.of(0x02, 0x16)));
 * assertFalse(isFramed(new TextEncoder().encode('{"type":"publish"}')));
 * ```
 */
export function isFramed(
  bytes: Uint8Array,
  options: DecodeOptions = {},
): boolean {
  const isLong = bytes[0] === LONG_FORM;
  const at = isLong ? 3 : 1;
  if (bytes.length <= at) return false;
  const type = NAME_BY_CODE[bytes[at]!];
  if (type === undefined) return false;
  const declared = isLong ? u16(bytes, 1) : bytes[0]!;
  if (type === "ENCAPSULATED") return !isLong && declared < bytes.length;
  return declared === bytes.length ||
    (options.lenient === true && declared > at && declared < bytes.length);
}

/** Reads what stands from `at`, behind the type, to `end`. */
function decodeBody(
  type: Exclude<MsgType, "ENCAPSULATED">,
  bytes: Uint8Array,
  at: number,
  end: number,
): MqttSnPacket {
  const size = end - at;
  switch (type) {
    case "PUBLISH": {
      atLeast(type, size, 5, "§5.4.12");
      const flags = bytes[at]!;
      return {
        type,
        dup: (flags & DUP) !== 0,
        qos: qosOf(flags),
        retain: (flags & RETAIN) !== 0,
        topicIdType: topicIdTypeOf(flags),
        topicId: u16(bytes, at + 1),
        msgId: u16(bytes, at + 3),
        data: viewOf(bytes, at + 5, end),
      };
    }
    case "PUBACK":
    case "REGACK":
      exactly(type, size, 5, type === "PUBACK" ? "§5.4.13" : "§5.4.11");
      return {
        type,
        topicId: u16(bytes, at),
        msgId: u16(bytes, at + 2),
        returnCode: bytes[at + 4]!,
      };
    case "PUBREC":
    case "PUBREL":
    case "PUBCOMP":
    case "UNSUBACK":
      exactly(type, size, 2, type === "UNSUBACK" ? "§5.4.18" : "§5.4.14");
      return { type, msgId: u16(bytes, at) };
    case "REGISTER":
      atLeast(type, size, 5, "§5.4.10");
      return {
        type,
        topicId: u16(bytes, at),
        msgId: u16(bytes, at + 2),
        topicName: text(type, bytes, at + 4, end),
      };
    case "SUBSCRIBE": {
      atLeast(type, size, 4, "§5.4.15");
      const flags = bytes[at]!;
      return {
        type,
        dup: (flags & DUP) !== 0,
        qos: qosOf(flags),
        msgId: u16(bytes, at + 1),
        topic: topicReference(type, bytes, at, end),
      };
    }
    case "UNSUBSCRIBE":
      atLeast(type, size, 4, "§5.4.17");
      return {
        type,
        msgId: u16(bytes, at + 1),
        topic: topicReference(type, bytes, at, end),
      };
    case "SUBACK":
      exactly(type, size, 6, "§5.4.16");
      return {
        type,
        qos: qosOf(bytes[at]!),
        topicId: u16(bytes, at + 1),
        msgId: u16(bytes, at + 3),
        returnCode: bytes[at + 5]!,
      };
    case "PINGREQ":
      return { type, clientId: text(type, bytes, at, end) };
    case "WILLTOPICREQ":
    case "WILLMSGREQ":
    case "PINGRESP":
      exactly(type, size, 0, "§5.4");
      return { type };
    case "CONNACK":
    case "WILLTOPICRESP":
    case "WILLMSGRESP":
      exactly(type, size, 1, "§5.4");
      return { type, returnCode: bytes[at]! };
    case "CONNECT": {
      atLeast(type, size, 4, "§5.4.4");
      const flags = bytes[at]!;
      return {
        type,
        will: (flags & WILL) !== 0,
        cleanSession: (flags & CLEAN_SESSION) !== 0,
        protocolId: bytes[at + 1]!,
        duration: u16(bytes, at + 2),
        clientId: text(type, bytes, at + 4, end),
      };
    }
    case "WILLTOPIC":
    case "WILLTOPICUPD":
      if (size === 0) return { type, will: undefined };
      atLeast(type, size, 2, "§5.4.7");
      return {
        type,
        will: {
          qos: qosOf(bytes[at]!),
          retain: (bytes[at]! & RETAIN) !== 0,
          topicName: text(type, bytes, at + 1, end),
        },
      };
    case "WILLMSG":
    case "WILLMSGUPD":
      return { type, data: bytes.subarray(at, end) };
    case "DISCONNECT":
      if (size === 0) return { type, duration: undefined };
      exactly(type, size, 2, "§5.4.21");
      return { type, duration: u16(bytes, at) };
    case "ADVERTISE":
      exactly(type, size, 3, "§5.4.1");
      return { type, gwId: bytes[at]!, duration: u16(bytes, at + 1) };
    case "SEARCHGW":
      exactly(type, size, 1, "§5.4.2");
      return { type, radius: bytes[at]! };
    case "GWINFO":
      atLeast(type, size, 1, "§5.4.3");
      return { type, gwId: bytes[at]!, gwAdd: bytes.subarray(at + 1, end) };
    default:
      return type satisfies never;
  }
}

/** §5.5: the length covers the header alone; the inner message has its own. */
function decodeEncapsulated(
  bytes: Uint8Array,
  declared: number,
): Encapsulated {
  const type = "ENCAPSULATED";
  const section = "§5.5";
  if (bytes[0] === LONG_FORM) {
    throw malformed(type, 0, "a length in three octets", section);
  }
  if (declared < 4) throw malformed(type, 0, "no wireless node id", section);
  const message = bytes.subarray(declared);
  if (message.length < 2) {
    throw malformed(type, declared, "no message", section);
  }
  const isLong = message[0] === LONG_FORM;
  if (message[isLong ? 3 : 1] === MSG_TYPE.ENCAPSULATED) {
    throw malformed(type, declared, "encapsulated twice", section);
  }
  const inner = isLong && message.length > 2 ? u16(message, 1) : message[0];
  if (inner !== message.length) {
    const problem = `message declares ${inner} octets of ${message.length}`;
    throw malformed(type, declared, problem, section);
  }
  return {
    type,
    radius: bytes[2]! & 0x03,
    wirelessNodeId: bytes.subarray(3, declared),
    message,
  };
}

function topicReference(
  type: "SUBSCRIBE" | "UNSUBSCRIBE",
  bytes: Uint8Array,
  at: number,
  end: number,
): TopicReference {
  const topicIdType = topicIdTypeOf(bytes[at]!);
  switch (topicIdType) {
    case "normal":
      return { topicIdType, topicName: text(type, bytes, at + 3, end) };
    case "predefined":
    case "short":
      exactly(type, end - at, 5, "§5.4.15");
      return { topicIdType, topicId: u16(bytes, at + 3) };
    case "reserved":
      return { topicIdType };
    default:
      return topicIdType satisfies never;
  }
}

/** As `subarray`, which takes longer. */
function viewOf(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start);
}

function u16(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 8 | bytes[at + 1]!;
}

function qosOf(flags: number): Qos {
  return QOS_BY_BITS[flags >> QOS_SHIFT & 3]!;
}

function topicIdTypeOf(flags: number): TopicIdType {
  return TOPIC_ID_TYPES[flags & 3]!;
}

function text(
  type: MsgType,
  bytes: Uint8Array,
  at: number,
  end: number,
): string {
  try {
    return decodeUtf8(bytes.subarray(at, end));
  } catch (cause) {
    throw malformed(type, at, "not UTF-8", "§5.3.12", cause);
  }
}

function exactly(
  type: MsgType,
  size: number,
  wanted: number,
  section: string,
): void {
  if (size === wanted) return;
  const problem = `${size} octets of fields instead of ${wanted}`;
  throw malformed(type, 0, problem, section);
}

function atLeast(
  type: MsgType,
  size: number,
  wanted: number,
  section: string,
): void {
  if (size >= wanted) return;
  const problem = `${size} octets of fields, ${wanted} or more are needed`;
  throw malformed(type, 0, problem, section);
}

function malformed(
  what: string,
  offset: number,
  problem: string,
  section: string,
  cause?: unknown,
): MalformedPacketError {
  return new MalformedPacketError(
    `Cannot read ${what}: ${problem} (octet ${offset}, MQTT-SN 1.2 ${section})`,
    { cause },
  );
}

/** How a packet is written. */
export interface EncodeOptions {
  /**
   * Whether the length takes three octets even where one would do. Default
   * false: many clients read the short form alone.
   */
  readonly longForm?: boolean;
}

/**
 * Writes a datagram. What it gives may be a part of an array that others are parts
 * of too: to hand its array to another thread, copy it first.
 *
 * @throws {LocalProtocolError} when a number is out of its range, a name is
 * empty that must not be, or it does not fit a datagram
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { encodePacket } from "./mqttsn.ts";
 *
 * const bytes = encodePacket({ type: "DISCONNECT", duration: 10 });
 * assertEquals(bytes, Uint8Array.of(0x04, 0x18, 0x00, 0x0a));
 * ```
 */
export function encodePacket(
  packet: MqttSnPacket,
  options: EncodeOptions = {},
): Uint8Array {
  if (packet.type === "ENCAPSULATED") return encodeEncapsulated(packet);
  if (packet.type === "PUBLISH" && !options.longForm) {
    return encodePublish(packet);
  }
  const tail = tailOf(packet);
  writer.begin(packet.type);
  writeFixed(packet, writer);
  return writer.finish(tail, options.longForm === true);
}

/** What is written most, without the detour that suits all. */
function encodePublish(packet: Publish): Uint8Array {
  const { type, topicId, msgId, data } = packet;
  checkRange(type, "topicId", topicId, 0xffff);
  checkRange(type, "msgId", msgId, 0xffff);
  const flags = flagsOf(packet);
  const isLong = 7 + data.length > MAX_SHORT;
  const total = (isLong ? 9 : 7) + data.length;
  requireDatagram(type, total);
  const bytes = allocate(total);
  let at = 0;
  if (isLong) {
    bytes[at++] = LONG_FORM;
    bytes[at++] = total >> 8;
  }
  bytes[at++] = total & 0xff;
  bytes[at++] = MSG_TYPE.PUBLISH;
  bytes[at++] = flags;
  bytes[at++] = topicId >> 8;
  bytes[at++] = topicId & 0xff;
  bytes[at++] = msgId >> 8;
  bytes[at++] = msgId & 0xff;
  bytes.set(data, at);
  return bytes;
}

function flagsOf(packet: Publish): number {
  return (packet.dup ? DUP : 0) | qosBits(packet.qos) |
    (packet.retain ? RETAIN : 0) | topicIdTypeBits(packet);
}

type Plain = Exclude<MqttSnPacket, Encapsulated>;

/** What runs to the message's end. */
function tailOf(packet: Plain): Uint8Array | string {
  switch (packet.type) {
    case "PUBLISH":
    case "WILLMSG":
    case "WILLMSGUPD":
      return packet.data;
    case "GWINFO":
      return packet.gwAdd;
    case "CONNECT":
    case "PINGREQ":
      return packet.clientId;
    case "REGISTER":
      return nameIn(packet.type, packet.topicName);
    case "WILLTOPIC":
    case "WILLTOPICUPD":
      return packet.will === undefined
        ? NONE
        : nameIn(packet.type, packet.will.topicName);
    case "SUBSCRIBE":
    case "UNSUBSCRIBE":
      switch (packet.topic.topicIdType) {
        case "normal":
          return nameIn(packet.type, packet.topic.topicName);
        case "reserved":
          throw new LocalProtocolError(
            `Cannot write ${packet.type}: its topic id type is reserved`,
          );
        default:
          return NONE;
      }
    default:
      return NONE;
  }
}

function nameIn(type: MsgType, name: string): string {
  if (name !== "") return name;
  throw new LocalProtocolError(`Cannot write ${type}: its topic name is empty`);
}

function isById(
  topic: TopicReference,
): topic is Extract<TopicReference, { topicId: number }> {
  return topic.topicIdType === "predefined" || topic.topicIdType === "short";
}

function writeFixed(packet: Plain, to: Writer): void {
  switch (packet.type) {
    case "PUBLISH":
      to.u8("flags", flagsOf(packet)).u16("topicId", packet.topicId)
        .u16("msgId", packet.msgId);
      break;
    case "PUBACK":
    case "REGACK":
      to.u16("topicId", packet.topicId).u16("msgId", packet.msgId)
        .u8("returnCode", packet.returnCode);
      break;
    case "PUBREC":
    case "PUBREL":
    case "PUBCOMP":
    case "UNSUBACK":
      to.u16("msgId", packet.msgId);
      break;
    case "REGISTER":
      to.u16("topicId", packet.topicId).u16("msgId", packet.msgId);
      break;
    case "SUBSCRIBE":
      to.u8(
        "flags",
        (packet.dup ? DUP : 0) | qosBits(packet.qos) |
          topicIdTypeBits({ type: packet.type, ...packet.topic }),
      ).u16("msgId", packet.msgId);
      if (isById(packet.topic)) to.u16("topicId", packet.topic.topicId);
      break;
    case "UNSUBSCRIBE":
      to.u8("flags", topicIdTypeBits({ type: packet.type, ...packet.topic }))
        .u16("msgId", packet.msgId);
      if (isById(packet.topic)) to.u16("topicId", packet.topic.topicId);
      break;
    case "SUBACK":
      to.u8("flags", qosBits(packet.qos)).u16("topicId", packet.topicId)
        .u16("msgId", packet.msgId).u8("returnCode", packet.returnCode);
      break;
    case "CONNECT":
      to.u8(
        "flags",
        (packet.will ? WILL : 0) | (packet.cleanSession ? CLEAN_SESSION : 0),
      ).u8("protocolId", packet.protocolId).u16("duration", packet.duration);
      break;
    case "CONNACK":
    case "WILLTOPICRESP":
    case "WILLMSGRESP":
      to.u8("returnCode", packet.returnCode);
      break;
    case "WILLTOPIC":
    case "WILLTOPICUPD":
      if (packet.will === undefined) break;
      to.u8(
        "flags",
        qosBits(packet.will.qos) | (packet.will.retain ? RETAIN : 0),
      );
      break;
    case "DISCONNECT":
      if (packet.duration !== undefined) to.u16("duration", packet.duration);
      break;
    case "ADVERTISE":
      to.u8("gwId", packet.gwId).u16("duration", packet.duration);
      break;
    case "SEARCHGW":
      to.u8("radius", packet.radius);
      break;
    case "GWINFO":
      to.u8("gwId", packet.gwId);
      break;
    case "PINGREQ":
    case "PINGRESP":
    case "WILLTOPICREQ":
    case "WILLMSGREQ":
    case "WILLMSG":
    case "WILLMSGUPD":
      break;
    default:
      packet satisfies never;
  }
}

function encodeEncapsulated(packet: Encapsulated): Uint8Array {
  const { type, radius, wirelessNodeId, message } = packet;
  if (wirelessNodeId.length < 1 || wirelessNodeId.length > MAX_SHORT - 3) {
    throw new LocalProtocolError(
      `Cannot write ${type}: a wireless node id has 1 to 252 octets, not ${wirelessNodeId.length}`,
    );
  }
  if (!(radius >= 0 && radius <= 3)) {
    throw new LocalProtocolError(
      `Cannot write ${type}: radius is 0 to 3, not "${radius}"`,
    );
  }
  const header = 3 + wirelessNodeId.length;
  requireDatagram(type, header + message.length);
  const bytes = new Uint8Array(header + message.length);
  bytes.set([header, MSG_TYPE[type], radius]);
  bytes.set(wirelessNodeId, 3);
  bytes.set(message, header);
  return bytes;
}

function qosBits(qos: Qos): number {
  return (qos & 3) << QOS_SHIFT;
}

function topicIdTypeBits(
  { type, topicIdType }: { type: MsgType; topicIdType: TopicIdType },
): number {
  if (topicIdType !== "reserved") return TOPIC_ID_TYPES.indexOf(topicIdType);
  throw new LocalProtocolError(
    `Cannot write ${type}: its topic id type is reserved`,
  );
}

function requireDatagram(type: MsgType, total: number): void {
  if (total <= MAX_DATAGRAM) return;
  throw new LocalProtocolError(
    `Cannot write ${type}: ${total} octets do not fit a datagram of ${MAX_DATAGRAM}`,
  );
}

/**
 * Refuses a message that would not fit a datagram, without writing it.
 *
 * @param body how many octets it has behind its type
 * @throws {LocalProtocolError} when that is too many
 * @example
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { requireRoom } from "./mqttsn.ts";
 *
 * requireRoom("WILLMSG", 65_503);
 * assertThrows(() => requireRoom("WILLMSG", 65_504));
 * ```
 */
export function requireRoom(type: MsgType, body: number): void {
  requireDatagram(type, body + (2 + body > MAX_SHORT ? 4 : 2));
}

/** The most octets of fields of fixed size that a message has. */
const MAX_FIXED = 6;

/**
 * Takes the fields of fixed size, minds the range of each, and makes the datagram
 * when its length is known.
 */
class Writer {
  readonly #fixed = new Uint8Array(MAX_FIXED);
  #type: MsgType = "PINGRESP";
  #size = 0;

  /** Begins a message. */
  begin(type: MsgType): void {
    this.#type = type;
    this.#size = 0;
  }

  u8(field: string, value: number): this {
    checkRange(this.#type, field, value, 0xff);
    this.#fixed[this.#size++] = value;
    return this;
  }

  u16(field: string, value: number): this {
    checkRange(this.#type, field, value, 0xffff);
    this.#fixed[this.#size++] = value >> 8;
    this.#fixed[this.#size++] = value & 0xff;
    return this;
  }

  /** Writes length and type, the fields, and what follows them. */
  finish(tail: Uint8Array | string, longForm: boolean): Uint8Array {
    const fixed = this.#fixed;
    const size = this.#size;
    const rest = typeof tail === "string" ? utf8Length(tail) : tail.length;
    const isLong = longForm || 2 + size + rest > MAX_SHORT;
    const total = (isLong ? 4 : 2) + size + rest;
    requireDatagram(this.#type, total);
    const bytes = allocate(total);
    let at = 0;
    if (isLong) {
      bytes[at++] = LONG_FORM;
      bytes[at++] = total >> 8;
    }
    bytes[at++] = total & 0xff;
    bytes[at++] = MSG_TYPE[this.#type];
    for (let i = 0; i < size; i++) bytes[at++] = fixed[i]!;
    if (typeof tail === "string") writeUtf8(tail, rest, bytes, at);
    else if (rest > 0) bytes.set(tail, at);
    return bytes;
  }
}

/** One for all: it holds nothing between two messages. */
const writer = new Writer();

function checkRange(
  type: MsgType,
  field: string,
  value: number,
  most: number,
): void {
  if (value >= 0 && value <= most && Number.isInteger(value)) return;
  throw new LocalProtocolError(
    `Cannot write ${type}: ${field} is 0 to ${most}, not "${value}"`,
  );
}

/**
 * The two octets of a short topic name as they stand in a topic id's place
 * (§6.7).
 *
 * @returns the number, or `undefined` when the name has not exactly two octets
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { shortTopicId, shortTopicName } from "./mqttsn.ts";
 *
 * assertEquals(shortTopicId("ab"), 0x6162);
 * assertEquals(shortTopicId("abc"), undefined);
 * assertEquals(shortTopicName(0x6162), "ab");
 * ```
 */
export function shortTopicId(name: string): number | undefined {
  const bytes = encodeUtf8(name);
  return bytes.length === 2 ? u16(bytes, 0) : undefined;
}

/**
 * The short topic name that stands in a topic id's place (§6.7).
 *
 * @returns the name, or `undefined` when the two octets are not UTF-8
 */
export function shortTopicName(topicId: number): string | undefined {
  const known = SHORT_NAMES.get(topicId);
  if (known !== undefined) return known;
  try {
    const name = decodeUtf8(Uint8Array.of(topicId >> 8, topicId & 0xff));
    SHORT_NAMES.set(topicId, name);
    return name;
  } catch {
    return undefined;
  }
}

/** Those that were asked for: a string at hand is found faster in any table. */
const SHORT_NAMES = new Map<number, string>();

/**
 * The topic and the payload of a PUBLISH that has the name's length in the topic
 * id's place, and the name before the data; `undefined` when it has not.
 */
export function spelledOutTopic(
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
