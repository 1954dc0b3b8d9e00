/**
 * The golden table of MQTT-SN 1.2: octets and what they mean. It drives the
 * tests of the codec, seeds their fuzzing, and feeds the benches.
 *
 * @module
 */

import type { MqttSnPacket } from "../../wire/packets.ts";

/** A datagram and its meaning. */
export interface Vector {
  /** The layout's section. */
  readonly section: string;
  /** What it shows. */
  readonly name: string;
  /** The octets, in hexadecimal. */
  readonly hex: string;
  /** What they mean. */
  readonly packet: MqttSnPacket;
  /** Whether it is in the three-octet length form without need. */
  readonly longForm?: true;
}

const bytes = (text: string) => new TextEncoder().encode(text);
const NONE = new Uint8Array(0);

/**
 * A PUBLISH whose total length is given. No message needs 256 or 257 octets:
 * without the two that the long form adds it would fit the short one.
 */
function publishOf(total: number): Vector {
  const head = total > 255 ? 9 : 7;
  const length = total > 255
    ? `01${total.toString(16).padStart(4, "0")}`
    : total.toString(16).padStart(2, "0");
  const data = new Uint8Array(total - head).fill(0x2e);
  return {
    section: "5.2.1",
    name: `PUBLISH of ${total} octets`,
    hex: `${length}0c2000010002${"2e".repeat(data.length)}`,
    packet: {
      type: "PUBLISH",
      dup: false,
      qos: 1,
      retain: false,
      topicIdType: "normal",
      topicId: 1,
      msgId: 2,
      data,
    },
    ...total === 256 || total === 257 ? { longForm: true } : {},
  };
}

const CONNECT_CLIENT_ID: MqttSnPacket = {
  type: "CONNECT",
  will: false,
  cleanSession: true,
  protocolId: 1,
  duration: 60,
  clientId: "clientId",
};

/** Every message, each of its forms, and both forms of length. */
export const VECTORS: readonly Vector[] = [
  {
    section: "5.4.1",
    name: "ADVERTISE gateway 1, 900 s",
    hex: "05 00 01 03 84",
    packet: { type: "ADVERTISE", gwId: 1, duration: 900 },
  },
  {
    section: "5.4.2",
    name: "SEARCHGW radius 0",
    hex: "03 01 00",
    packet: { type: "SEARCHGW", radius: 0 },
  },
  {
    section: "5.4.3",
    name: "GWINFO from gateway 1",
    hex: "03 02 01",
    packet: { type: "GWINFO", gwId: 1, gwAdd: NONE },
  },
  {
    section: "5.4.3",
    name: "GWINFO from a client, IPv4 127.0.0.1",
    hex: "08 02 01 04 7F 00 00 01",
    packet: {
      type: "GWINFO",
      gwId: 1,
      gwAdd: Uint8Array.of(4, 127, 0, 0, 1),
    },
  },
  {
    section: "5.4.4",
    name: "CONNECT clean",
    hex: "0E 04 04 01 00 3C 63 6C 69 65 6E 74 49 64",
    packet: CONNECT_CLIENT_ID,
  },
  {
    section: "5.2.1",
    name: "the same CONNECT in the long form",
    hex: "01 00 10 04 04 01 00 3C 63 6C 69 65 6E 74 49 64",
    packet: CONNECT_CLIENT_ID,
    longForm: true,
  },
  {
    section: "5.4.4",
    name: "CONNECT clean with will",
    hex: "08 04 0C 01 00 0A 63 31",
    packet: {
      type: "CONNECT",
      will: true,
      cleanSession: true,
      protocolId: 1,
      duration: 10,
      clientId: "c1",
    },
  },
  {
    section: "5.4.4",
    name: "CONNECT of another protocol, without a client id",
    hex: "06 04 00 02 FF FF",
    packet: {
      type: "CONNECT",
      will: false,
      cleanSession: false,
      protocolId: 2,
      duration: 65_535,
      clientId: "",
    },
  },
  {
    section: "5.4.5",
    name: "CONNACK accepted",
    hex: "03 05 00",
    packet: { type: "CONNACK", returnCode: 0 },
  },
  {
    section: "5.4.5",
    name: "CONNACK congestion",
    hex: "03 05 01",
    packet: { type: "CONNACK", returnCode: 1 },
  },
  {
    section: "5.4.6",
    name: "WILLTOPICREQ",
    hex: "02 06",
    packet: { type: "WILLTOPICREQ" },
  },
  {
    section: "5.4.7",
    name: "WILLTOPIC QoS 1 retained",
    hex: "06 07 30 61 2F 77",
    packet: {
      type: "WILLTOPIC",
      will: { qos: 1, retain: true, topicName: "a/w" },
    },
  },
  {
    section: "5.4.7",
    name: "the empty WILLTOPIC",
    hex: "02 07",
    packet: { type: "WILLTOPIC", will: undefined },
  },
  {
    section: "5.4.8",
    name: "WILLMSGREQ",
    hex: "02 08",
    packet: { type: "WILLMSGREQ" },
  },
  {
    section: "5.4.9",
    name: "WILLMSG",
    hex: "05 09 62 79 65",
    packet: { type: "WILLMSG", data: bytes("bye") },
  },
  {
    section: "5.4.9",
    name: "an empty WILLMSG",
    hex: "02 09",
    packet: { type: "WILLMSG", data: NONE },
  },
  {
    section: "5.4.10",
    name: "REGISTER from a client",
    hex: "09 0A 00 00 00 01 61 2F 62",
    packet: { type: "REGISTER", topicId: 0, msgId: 1, topicName: "a/b" },
  },
  {
    section: "5.4.10",
    name: "REGISTER from a gateway, a name beyond ASCII",
    hex: "0A 0A 12 34 00 05 C3 A9 2F 62",
    packet: { type: "REGISTER", topicId: 0x1234, msgId: 5, topicName: "é/b" },
  },
  {
    section: "5.4.11",
    name: "REGACK accepted",
    hex: "07 0B 00 05 00 01 00",
    packet: { type: "REGACK", topicId: 5, msgId: 1, returnCode: 0 },
  },
  {
    section: "5.4.12",
    name: "PUBLISH QoS 1",
    hex: "09 0C 20 00 01 00 02 68 69",
    packet: {
      type: "PUBLISH",
      dup: false,
      qos: 1,
      retain: false,
      topicIdType: "normal",
      topicId: 1,
      msgId: 2,
      data: bytes("hi"),
    },
  },
  {
    section: "5.4.12",
    name: "PUBLISH again, QoS 2, retained, pre-defined id",
    hex: "09 0C D1 00 07 00 09 6F 6B",
    packet: {
      type: "PUBLISH",
      dup: true,
      qos: 2,
      retain: true,
      topicIdType: "predefined",
      topicId: 7,
      msgId: 9,
      data: bytes("ok"),
    },
  },
  {
    section: "5.4.12",
    name: "PUBLISH QoS −1, short name",
    hex: "08 0C 62 61 62 00 00 78",
    packet: {
      type: "PUBLISH",
      dup: false,
      qos: -1,
      retain: false,
      topicIdType: "short",
      topicId: 0x6162,
      msgId: 0,
      data: bytes("x"),
    },
  },
  {
    section: "5.4.12",
    name: "PUBLISH QoS −1, short name X1",
    hex: "08 0C 62 58 31 00 00 41",
    packet: {
      type: "PUBLISH",
      dup: false,
      qos: -1,
      retain: false,
      topicIdType: "short",
      topicId: 0x5831,
      msgId: 0,
      data: bytes("A"),
    },
  },
  {
    section: "5.4.12",
    name: "PUBLISH QoS 0 without data",
    hex: "07 0C 00 00 01 00 00",
    packet: {
      type: "PUBLISH",
      dup: false,
      qos: 0,
      retain: false,
      topicIdType: "normal",
      topicId: 1,
      msgId: 0,
      data: NONE,
    },
  },
  ...[253, 254, 255, 256, 257, 258, 309, 65_507].map(publishOf),
  {
    section: "5.4.13",
    name: "PUBACK accepted",
    hex: "07 0D 00 01 00 02 00",
    packet: { type: "PUBACK", topicId: 1, msgId: 2, returnCode: 0 },
  },
  {
    section: "5.4.13",
    name: "PUBACK invalid topic id to a QoS 0 PUBLISH",
    hex: "07 0D 00 63 00 00 02",
    packet: { type: "PUBACK", topicId: 0x63, msgId: 0, returnCode: 2 },
  },
  {
    section: "5.4.14",
    name: "PUBREC",
    hex: "04 0F 00 02",
    packet: { type: "PUBREC", msgId: 2 },
  },
  {
    section: "5.4.14",
    name: "PUBREL",
    hex: "04 10 00 02",
    packet: { type: "PUBREL", msgId: 2 },
  },
  {
    section: "5.4.14",
    name: "PUBCOMP",
    hex: "04 0E 00 02",
    packet: { type: "PUBCOMP", msgId: 2 },
  },
  {
    section: "5.4.15",
    name: "SUBSCRIBE QoS 0 to a name",
    hex: "09 12 00 00 01 74 65 73 74",
    packet: {
      type: "SUBSCRIBE",
      dup: false,
      qos: 0,
      msgId: 1,
      topic: { topicIdType: "normal", topicName: "test" },
    },
  },
  {
    section: "5.4.15",
    name: "SUBSCRIBE QoS 1 to a name",
    hex: "0A 12 20 00 01 54 45 53 54 31",
    packet: {
      type: "SUBSCRIBE",
      dup: false,
      qos: 1,
      msgId: 1,
      topic: { topicIdType: "normal", topicName: "TEST1" },
    },
  },
  {
    section: "5.4.15",
    name: "SUBSCRIBE QoS 1 to a pre-defined id",
    hex: "07 12 21 00 04 00 05",
    packet: {
      type: "SUBSCRIBE",
      dup: false,
      qos: 1,
      msgId: 4,
      topic: { topicIdType: "predefined", topicId: 5 },
    },
  },
  {
    section: "5.4.15",
    name: "SUBSCRIBE again, QoS 2, to a short name",
    hex: "07 12 C2 00 05 61 62",
    packet: {
      type: "SUBSCRIBE",
      dup: true,
      qos: 2,
      msgId: 5,
      topic: { topicIdType: "short", topicId: 0x6162 },
    },
  },
  {
    section: "5.4.16",
    name: "SUBACK QoS 0",
    hex: "08 13 00 00 01 00 01 00",
    packet: { type: "SUBACK", qos: 0, topicId: 1, msgId: 1, returnCode: 0 },
  },
  {
    section: "5.4.16",
    name: "SUBACK QoS 1",
    hex: "08 13 20 00 01 00 01 00",
    packet: { type: "SUBACK", qos: 1, topicId: 1, msgId: 1, returnCode: 0 },
  },
  {
    section: "5.4.17",
    name: "UNSUBSCRIBE from a name",
    hex: "09 14 00 00 03 74 65 73 74",
    packet: {
      type: "UNSUBSCRIBE",
      msgId: 3,
      topic: { topicIdType: "normal", topicName: "test" },
    },
  },
  {
    section: "5.4.17",
    name: "UNSUBSCRIBE from a pre-defined id",
    hex: "07 14 01 00 03 00 05",
    packet: {
      type: "UNSUBSCRIBE",
      msgId: 3,
      topic: { topicIdType: "predefined", topicId: 5 },
    },
  },
  {
    section: "5.4.18",
    name: "UNSUBACK",
    hex: "04 15 00 03",
    packet: { type: "UNSUBACK", msgId: 3 },
  },
  {
    section: "5.4.19",
    name: "PINGREQ",
    hex: "02 16",
    packet: { type: "PINGREQ", clientId: "" },
  },
  {
    section: "5.4.19",
    name: "PINGREQ of a client that wakes",
    hex: "04 16 63 31",
    packet: { type: "PINGREQ", clientId: "c1" },
  },
  {
    section: "5.4.20",
    name: "PINGRESP",
    hex: "02 17",
    packet: { type: "PINGRESP" },
  },
  {
    section: "5.4.21",
    name: "DISCONNECT",
    hex: "02 18",
    packet: { type: "DISCONNECT", duration: undefined },
  },
  {
    section: "5.4.21",
    name: "DISCONNECT to sleep 10 s",
    hex: "04 18 00 0A",
    packet: { type: "DISCONNECT", duration: 10 },
  },
  {
    section: "5.4.22",
    name: "WILLTOPICUPD QoS 1 retained",
    hex: "06 1A 30 61 2F 77",
    packet: {
      type: "WILLTOPICUPD",
      will: { qos: 1, retain: true, topicName: "a/w" },
    },
  },
  {
    section: "5.4.22",
    name: "the empty WILLTOPICUPD",
    hex: "02 1A",
    packet: { type: "WILLTOPICUPD", will: undefined },
  },
  {
    section: "5.4.23",
    name: "WILLMSGUPD",
    hex: "05 1C 62 79 65",
    packet: { type: "WILLMSGUPD", data: bytes("bye") },
  },
  {
    section: "5.4.24",
    name: "WILLTOPICRESP",
    hex: "03 1B 00",
    packet: { type: "WILLTOPICRESP", returnCode: 0 },
  },
  {
    section: "5.4.25",
    name: "WILLMSGRESP",
    hex: "03 1D 00",
    packet: { type: "WILLMSGRESP", returnCode: 0 },
  },
  {
    section: "5.5",
    name: "a PINGREQ that a forwarder passes on",
    hex: "05 FE 00 01 02 02 16",
    packet: {
      type: "ENCAPSULATED",
      radius: 0,
      wirelessNodeId: Uint8Array.of(1, 2),
      message: Uint8Array.of(2, 0x16),
    },
  },
  {
    section: "5.5",
    name: "a long-form PINGRESP towards a forwarder",
    hex: "04 FE 03 09 01 00 04 17",
    packet: {
      type: "ENCAPSULATED",
      radius: 3,
      wirelessNodeId: Uint8Array.of(9),
      message: Uint8Array.of(1, 0, 4, 0x17),
    },
  },
];

/** The octets of a vector's hexadecimal. */
export function octetsOf({ hex }: { readonly hex: string }): Uint8Array {
  return Uint8Array.fromHex(hex.replaceAll(" ", ""));
}
