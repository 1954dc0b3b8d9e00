/**
 * Datagrams of MQTT-SN as a person reads them: for logs and for what a failed test
 * shows.
 *
 * @module
 */

import { MalformedPacketError } from "../base/errors.ts";
import { decodePacket, shortTopicName } from "./mqttsn.ts";
import type { MqttSnPacket } from "./packets.ts";
import { decodeUtf8 } from "../base/utf8.ts";

/** Octets of a payload that are shown. */
const MAX_SHOWN = 64;

/**
 * A datagram in a line: the type and the fields that say something, or its
 * octets in hexadecimal when it is no message of MQTT-SN.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { describeDatagram } from "./describe.ts";
 *
 * const datagram = Uint8Array.of(9, 0x0c, 0xa0, 0, 1, 0, 2, 0x6f, 0x6e);
 * assertEquals(
 *   describeDatagram(datagram),
 *   'PUBLISH dup qos=1 topicId=1 msgId=2 data="on"',
 * );
 * ```
 */
export function describeDatagram(bytes: Uint8Array): string {
  try {
    return describePacket(decodePacket(bytes, { lenient: true }));
  } catch (error) {
    if (!(error instanceof MalformedPacketError)) throw error;
    return textOf(bytes);
  }
}

/** A packet in a line: its type and the fields that say something. */
export function describePacket(packet: MqttSnPacket): string {
  if (packet.type === "ENCAPSULATED") {
    const node = packet.wirelessNodeId.toHex();
    return `node ${node}: ${describeDatagram(packet.message)}`;
  }
  const { type, ...fields } = packet;
  return [type, ...wordsOf(fields)].join(" ");
}

function wordsOf(fields: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(fields).flatMap(([name, value]) => {
    if (value === false || value === undefined || value === "normal") return [];
    if (value === true) return [name];
    if (value instanceof Uint8Array) return [`${name}=${textOf(value)}`];
    if (typeof value === "string") {
      return [`${name}=${name === "topicIdType" ? value : quoted(value)}`];
    }
    if (typeof value === "object" && value !== null) {
      return wordsOf(value as Record<string, unknown>);
    }
    if (name === "topicId" && fields["topicIdType"] === "short") {
      return [`topicName=${quoted(shortTopicName(value as number) ?? "?")}`];
    }
    return [`${name}=${value}`];
  });
}

/** Text where it is some, else hexadecimal; both cut short. */
function textOf(bytes: Uint8Array): string {
  const shown = bytes.subarray(0, MAX_SHOWN);
  const rest = bytes.length > MAX_SHOWN ? `… (${bytes.length} octets)` : "";
  try {
    return quoted(decodeUtf8(shown)) + rest;
  } catch {
    return shown.toHex() + rest;
  }
}

function quoted(text: string): string {
  return JSON.stringify(text);
}
