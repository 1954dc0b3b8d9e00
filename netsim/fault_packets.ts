/**
 * What faults do to packets: a field of one altered, an answer in somebody else's
 * place, a packet made up.
 *
 * @module
 */

import type { Random } from "../base/clock.ts";
import {
  type MqttSnPacket,
  type MsgType,
  RETURN_CODE,
} from "../wire/packets.ts";
import { decodeUtf8, encodeUtf8 } from "../base/utf8.ts";

/** A field's value as a file has it: octets are text in UTF-8. */
export type FieldValue = number | boolean | string;

/** What a field can hold: the largest number, or which of the others. */
type FieldKind = number | "boolean" | "text" | "octets" | "qos" | "topicIdType";

/** The fields that can be looked at and altered, by their names in `wire/packets.ts`. */
const FIELDS: Readonly<Record<string, FieldKind>> = {
  cleanSession: "boolean",
  clientId: "text",
  data: "octets",
  duration: 0xffff,
  dup: "boolean",
  gwId: 0xff,
  msgId: 0xffff,
  protocolId: 0xff,
  qos: "qos",
  radius: 0xff,
  retain: "boolean",
  returnCode: 0xff,
  topicId: 0xffff,
  topicIdType: "topicIdType",
  topicName: "text",
  will: "boolean",
};

const TOPIC_ID_TYPES = ["normal", "predefined", "short", "reserved"];

/** The names of all fields. */
export const FIELD_NAMES: readonly string[] = Object.keys(FIELDS);

/** Whether a field can hold a value. */
export function fits(name: string, value: unknown): value is FieldValue {
  const kind = FIELDS[name];
  switch (kind) {
    case undefined:
      return false;
    case "boolean":
      return typeof value === "boolean";
    case "text":
    case "octets":
      return typeof value === "string";
    case "topicIdType":
      return typeof value === "string" && TOPIC_ID_TYPES.includes(value);
    default: {
      const [min, max] = kind === "qos" ? [-1, 2] : [0, kind];
      return Number.isInteger(value) && (value as number) >= min &&
        (value as number) <= max;
    }
  }
}

/** What a field can hold, for the error about another value. */
export function formOfField(name: string): string {
  const kind = FIELDS[name];
  switch (kind) {
    case undefined:
      return "a field";
    case "boolean":
      return "true or false";
    case "text":
    case "octets":
      return "a text";
    case "qos":
      return "one of -1, 0, 1, 2";
    case "topicIdType":
      return `one of ${TOPIC_ID_TYPES.map((type) => `"${type}"`).join(", ")}`;
    default:
      return `a whole number from 0 to ${kind}`;
  }
}

type Fields = Readonly<Record<string, unknown>>;

/** Where a packet has a field: itself, or what it says of a topic or a will. */
function holderOf(packet: MqttSnPacket, name: string): Fields | undefined {
  const fields = packet as unknown as Fields;
  const holders = [fields, fields["topic"], fields["will"]];
  return holders.find((holder): holder is Fields =>
    typeof holder === "object" && holder !== null && Object.hasOwn(holder, name)
  );
}

/** A field's value, `undefined` for a packet that has none of that name. */
export function fieldOf(
  packet: MqttSnPacket,
  name: string,
): FieldValue | undefined {
  const value = holderOf(packet, name)?.[name];
  if (!(value instanceof Uint8Array)) {
    return typeof value === "object" ? undefined : value as FieldValue;
  }
  try {
    return decodeUtf8(value);
  } catch {
    return undefined;
  }
}

/** A packet with another value in a field; `undefined` where it has no such field. */
export function withField(
  packet: MqttSnPacket,
  name: string,
  value: FieldValue | Uint8Array,
): MqttSnPacket | undefined {
  const holder = holderOf(packet, name);
  if (holder === undefined) return undefined;
  const isText = FIELDS[name] === "octets" && typeof value === "string";
  const altered = { ...holder, [name]: isText ? encodeUtf8(value) : value };
  if (holder === (packet as unknown as Fields)) {
    return altered as unknown as MqttSnPacket;
  }
  const where = (packet as unknown as Fields)["topic"] === holder
    ? "topic"
    : "will";
  return { ...packet, [where]: altered } as unknown as MqttSnPacket;
}

/**
 * A packet with a field that is not what it was, by chance; `undefined` where it
 * has no such field, or nothing in it.
 */
export function corrupted(
  packet: MqttSnPacket,
  name: string,
  random: Random,
): MqttSnPacket | undefined {
  const value = holderOf(packet, name)?.[name];
  const kind = FIELDS[name];
  const upTo = (count: number) => Math.floor(random() * count);
  if (typeof value === "boolean") return withField(packet, name, !value);
  if (typeof value === "string" && kind === "topicIdType") {
    const at = TOPIC_ID_TYPES.indexOf(value) + 1 + upTo(3);
    return withField(packet, name, TOPIC_ID_TYPES[at % 4]!);
  }
  if (typeof value === "string" && value !== "") {
    // Another character that takes as many octets and breaks no topic.
    const characters = [...value];
    const at = upTo(characters.length);
    characters[at] = characters[at] === "x" ? "y" : "x";
    return withField(packet, name, characters.join(""));
  }
  if (value instanceof Uint8Array && value.length > 0) {
    const copy = value.slice();
    copy[upTo(copy.length)]! ^= 1 << upTo(8);
    return withField(packet, name, copy);
  }
  if (typeof value !== "number") return undefined;
  if (kind === "qos") {
    return withField(packet, name, (value + 2 + upTo(3)) % 4 - 1);
  }
  return withField(packet, name, value ^ (1 + upTo(kind as number)));
}

/** The types of messages that can be answered with a return code. */
export const ANSWERABLE: readonly MsgType[] = [
  "CONNECT",
  "REGISTER",
  "PUBLISH",
  "SUBSCRIBE",
  "WILLTOPICUPD",
  "WILLMSGUPD",
];

/** Those that can only be accepted. */
export const ACCEPTABLE: readonly MsgType[] = [
  ...ANSWERABLE,
  "UNSUBSCRIBE",
  "PUBREC",
  "PUBREL",
  "PINGREQ",
  "DISCONNECT",
];

/**
 * What the other end would answer, with that return code; `undefined` where it
 * would say nothing.
 */
export function answerTo(
  packet: MqttSnPacket,
  returnCode: number,
): MqttSnPacket | undefined {
  const isAccepted = returnCode === RETURN_CODE.accepted;
  switch (packet.type) {
    case "CONNECT":
      return { type: "CONNACK", returnCode };
    case "REGISTER": {
      const { topicId, msgId } = packet;
      return { type: "REGACK", topicId, msgId, returnCode };
    }
    case "PUBLISH": {
      const { topicId, msgId, qos } = packet;
      if (qos === -1 || (qos === 0 && isAccepted)) return undefined;
      if (qos === 2 && isAccepted) return { type: "PUBREC", msgId };
      return { type: "PUBACK", topicId, msgId, returnCode };
    }
    case "SUBSCRIBE": {
      const { msgId } = packet;
      const qos = packet.qos === -1 ? 0 : packet.qos;
      return { type: "SUBACK", qos, topicId: 0, msgId, returnCode };
    }
    case "WILLTOPICUPD":
      return { type: "WILLTOPICRESP", returnCode };
    case "WILLMSGUPD":
      return { type: "WILLMSGRESP", returnCode };
    case "UNSUBSCRIBE":
      return { type: "UNSUBACK", msgId: packet.msgId };
    case "PUBREC":
      return { type: "PUBREL", msgId: packet.msgId };
    case "PUBREL":
      return { type: "PUBCOMP", msgId: packet.msgId };
    case "PINGREQ":
      return { type: "PINGRESP" };
    case "DISCONNECT":
      return { type: "DISCONNECT", duration: undefined };
    default:
      return undefined;
  }
}

/** The packets that can be made up. */
export type DraftType =
  | "CONNECT"
  | "CONNACK"
  | "WILLTOPICREQ"
  | "WILLMSGREQ"
  | "REGISTER"
  | "REGACK"
  | "PUBLISH"
  | "PUBACK"
  | "PUBREC"
  | "PUBREL"
  | "PUBCOMP"
  | "SUBACK"
  | "UNSUBACK"
  | "PINGREQ"
  | "PINGRESP"
  | "DISCONNECT";

/** A packet that is made up: what is not said is usual, or that of another. */
export interface PacketDraft {
  /** Which packet it is. */
  readonly type: DraftType;
  /** Its fields, as far as they are said. */
  readonly fields: Readonly<Record<string, FieldValue>>;
}

const NOTHING: Uint8Array = new Uint8Array(0);

const DRAFTS: {
  readonly [Type in DraftType]: Extract<MqttSnPacket, { type: Type }>;
} = {
  CONNECT: {
    type: "CONNECT",
    will: false,
    cleanSession: true,
    protocolId: 1,
    duration: 60,
    clientId: "nobody",
  },
  CONNACK: { type: "CONNACK", returnCode: 0 },
  WILLTOPICREQ: { type: "WILLTOPICREQ" },
  WILLMSGREQ: { type: "WILLMSGREQ" },
  REGISTER: { type: "REGISTER", topicId: 0, msgId: 1, topicName: "topic" },
  REGACK: { type: "REGACK", topicId: 0, msgId: 1, returnCode: 0 },
  PUBLISH: {
    type: "PUBLISH",
    dup: false,
    qos: 0,
    retain: false,
    topicIdType: "normal",
    topicId: 0,
    msgId: 0,
    data: NOTHING,
  },
  PUBACK: { type: "PUBACK", topicId: 0, msgId: 1, returnCode: 0 },
  PUBREC: { type: "PUBREC", msgId: 1 },
  PUBREL: { type: "PUBREL", msgId: 1 },
  PUBCOMP: { type: "PUBCOMP", msgId: 1 },
  SUBACK: { type: "SUBACK", qos: 0, topicId: 0, msgId: 1, returnCode: 0 },
  UNSUBACK: { type: "UNSUBACK", msgId: 1 },
  PINGREQ: { type: "PINGREQ", clientId: "" },
  PINGRESP: { type: "PINGRESP" },
  DISCONNECT: { type: "DISCONNECT", duration: undefined },
};

/** Their names. */
export const DRAFT_TYPES = Object.keys(DRAFTS) as readonly DraftType[];

/** The fields that a packet has that can be made up. */
export function fieldsOf(type: DraftType): readonly string[] {
  return Object.keys(DRAFTS[type]).filter((name) => name !== "type");
}

/**
 * Makes a packet up.
 *
 * @param about the packet on whose account: its numbers hold unless others are
 * said
 */
export function packetOf(
  { type, fields }: PacketDraft,
  about: MqttSnPacket,
): MqttSnPacket {
  let packet: MqttSnPacket = DRAFTS[type];
  for (const name of ["msgId", "topicId", "topicIdType"]) {
    const value = fieldOf(about, name);
    if (value === undefined) continue;
    packet = withField(packet, name, value) ?? packet;
  }
  for (const [name, value] of Object.entries(fields)) {
    packet = withField(packet, name, value) ?? packet;
  }
  return packet;
}
