/**
 * What a single datagram says, of either protocol or of none, as values for a reader.
 *
 * @module
 */

import { type ClassicRequest, decodeReply, decodeRequest } from "./classic.ts";
import { MalformedPacketError } from "../base/errors.ts";
import type { Peer } from "../base/peer.ts";
import { decodePacket } from "./mqttsn.ts";
import type { MqttSnPacket, MsgType, Side } from "./packets.ts";
import { encodeUtf8 } from "../base/utf8.ts";

/** What a datagram is of the classic protocol, or of none. */
export const OTHER_TYPES = [
  "classic publish",
  "classic subscribe",
  "classic request",
  "classic reply",
  "malformed",
] as const;

/**
 * What a datagram is: a message type of MQTT-SN, or one of {@linkcode OTHER_TYPES};
 * a `classic request` is one that is refused or that nobody knows.
 */
export type ReadingType = MsgType | typeof OTHER_TYPES[number];

/** What a datagram says, and to or from whom. */
export interface Reading {
  /** What it is. */
  readonly type: ReadingType;
  /** The client's side: an address, or a node behind one. */
  readonly peer: Peer;
  /** The client's id, if it was seen to connect. */
  readonly clientId: string | undefined;
  /** The message of MQTT-SN, unwrapped; its octets are views into the datagram. */
  readonly packet: MqttSnPacket | undefined;
  /** The topic's name, or the filter, that it is about, if it is known. */
  readonly topicName: string | undefined;
  /** What is published, of a publish of either protocol. */
  readonly payload: Uint8Array | undefined;
  /** Whether it is a PUBLISH that was read before: sent again, or come twice. */
  readonly isDuplicate: boolean;
  /** Its fields in a line, and what its topic is called. */
  readonly text: string;
}

/** The message of MQTT-SN that octets are, `undefined` when they are none. */
export function decoded(
  bytes: Uint8Array,
  framing: { readonly lenient: boolean },
): MqttSnPacket | undefined {
  try {
    return decodePacket(bytes, framing);
  } catch (error) {
    if (!(error instanceof MalformedPacketError)) throw error;
    return undefined;
  }
}

function request(bytes: Uint8Array): ClassicRequest | undefined {
  try {
    return decodeRequest(bytes);
  } catch (error) {
    if (!(error instanceof MalformedPacketError)) throw error;
    return undefined;
  }
}

/** Whether octets can be read as the classic protocol's request. */
export function isRequest(bytes: Uint8Array): boolean {
  return request(bytes) !== undefined;
}

/** Characters of a text that are shown. */
const MAX_SHOWN = 64;

/**
 * Reads a datagram that is none of MQTT-SN.
 *
 * @param from the side that has sent it
 */
export function readClassic(
  from: Side,
  peer: Peer,
  bytes: Uint8Array,
): Reading {
  const common = {
    peer,
    clientId: undefined,
    packet: undefined,
    topicName: undefined,
    payload: undefined,
    isDuplicate: false,
  };
  if (from === "broker") {
    try {
      const text = quoted(decodeReply(bytes));
      return { ...common, type: "classic reply", text };
    } catch {
      return malformed(peer, bytes);
    }
  }
  const read = request(bytes);
  switch (read?.type) {
    case undefined:
      return malformed(peer, bytes);
    case "publish": {
      const { topicName, data } = read;
      const text = `${JSON.stringify(topicName)} data=${quoted(data)}`;
      const payload = encodeUtf8(data);
      return { ...common, type: "classic publish", topicName, payload, text };
    }
    case "subscribe": {
      const { topicName } = read;
      const text = JSON.stringify(topicName);
      return { ...common, type: "classic subscribe", topicName, text };
    }
    case "invalid":
      return { ...common, type: "classic request", text: read.refusal };
    case "unknown":
      return { ...common, type: "classic request", text: "unknown" };
  }
}

/** What is of no protocol. */
export function malformed(peer: Peer, bytes: Uint8Array): Reading {
  const hex = bytes.subarray(0, MAX_SHOWN / 2).toHex();
  return {
    type: "malformed",
    peer,
    clientId: undefined,
    packet: undefined,
    topicName: undefined,
    payload: undefined,
    isDuplicate: false,
    text: `${hex}${bytes.length > MAX_SHOWN / 2 ? "…" : ""} (${bytes.length})`,
  };
}

function quoted(text: string): string {
  return text.length <= MAX_SHOWN
    ? JSON.stringify(text)
    : `${
      JSON.stringify(text.slice(0, MAX_SHOWN))
    }… (${text.length} characters)`;
}
