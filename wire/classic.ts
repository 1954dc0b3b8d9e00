/**
 * The classic protocol's datagrams: JSON requests from a client, plain text
 * back from the broker. Translates octets to values and values to octets; knows
 * nothing of who sent them, of history, or of who waits for what (`broker/router.ts`).
 *
 * A request is one datagram, a UTF-8 JSON object without framing:
 *
 * ```json
 * {"type": "publish", "topic": "weather", "data": "21.5"}
 * {"type": "subscribe", "topic": "weather"}
 * ```
 *
 * Topics are plain strings: `+` and `#` mean nothing here.
 *
 * @module
 */

import type { ClassicTopic } from "./message.ts";
import { LocalProtocolError, MalformedPacketError } from "../base/errors.ts";
import { MAX_DATAGRAM } from "../base/peer.ts";
import { decodeUtf8, encodeUtf8 } from "../base/utf8.ts";

/**
 * What a broker answers, to the letter: clients match on these texts, so the
 * spelling of `accepted` stays as the first broker wrote it.
 */
export const CLASSIC_REPLY = {
  /** A publish was accepted. */
  accepted: "Broker has recieved message",
  /** Not an object, an empty one, or `type` or `topic` missing. */
  invalidRequest: "Invalid request provided",
  /** The topic is blank. */
  invalidTopic: "Invalid topic provided",
  /** A publish without data, or with blank data. */
  invalidData: "Invalid data provided",
  /** The broker could not do what was asked, a full table for instance. */
  failed: "Broker has got an error",
} as const;

/**
 * The refusals among the replies.
 *
 * @example
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { Broker, ClassicClient, ClassicRefusedError } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await ClassicClient.connect({ port: broker.port });
 * await assertRejects(() => client.publish("weather", " "), ClassicRefusedError);
 * ```
 */
export type ClassicRefusal = Exclude<keyof typeof CLASSIC_REPLY, "accepted">;

/** A client appends a datum to a topic's history. */
export interface ClassicPublish {
  /** Which request this is. */
  readonly type: "publish";
  /** Where to. */
  readonly topicName: ClassicTopic;
  /** What; not blank, kept as it came, white space and all. */
  readonly data: string;
}

/** A client asks for a topic's history, once. */
export interface ClassicSubscribe {
  /** Which request this is. */
  readonly type: "subscribe";
  /** Of which topic. */
  readonly topicName: ClassicTopic;
}

/** A request that is JSON but not valid, and the answer that it deserves. */
export interface ClassicInvalid {
  /** Which request this is. */
  readonly type: "invalid";
  /** The reply to give. */
  readonly refusal: ClassicRefusal;
}

/** A well-formed request of a type that nobody knows: it gets no answer. */
export interface ClassicUnknown {
  /** Which request this is. */
  readonly type: "unknown";
}

/** Everything that a datagram of JSON can ask for. */
export type ClassicRequest =
  | ClassicPublish
  | ClassicSubscribe
  | ClassicInvalid
  | ClassicUnknown;

const INVALID_REQUEST: ClassicInvalid = {
  type: "invalid",
  refusal: "invalidRequest",
};
const INVALID_TOPIC: ClassicInvalid = {
  type: "invalid",
  refusal: "invalidTopic",
};
const INVALID_DATA: ClassicInvalid = {
  type: "invalid",
  refusal: "invalidData",
};
const UNKNOWN: ClassicUnknown = { type: "unknown" };

/**
 * Reads a topic's name: white space around it is taken off.
 *
 * @returns the name, or `undefined` when nothing is left
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseClassicTopic } from "./classic.ts";
 *
 * assertEquals(parseClassicTopic(" weather\n") as string, "weather");
 * assertEquals(parseClassicTopic("  "), undefined);
 * ```
 */
export function parseClassicTopic(text: string): ClassicTopic | undefined {
  // Half a surrogate pair, which JSON can write, has no octets to be kept as.
  const trimmed = text.trim().toWellFormed();
  return trimmed === "" ? undefined : trimmed as ClassicTopic;
}

/**
 * Reads a client's datagram.
 *
 * A topic or a datum that is no string is taken as its JSON text: `21.50` is
 * the datum `21.50`.
 *
 * @param bytes the whole datagram
 * @throws {MalformedPacketError} when it is not JSON in UTF-8
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { decodeRequest } from "./classic.ts";
 *
 * const bytes = new TextEncoder().encode('{"type":"subscribe","topic":" a "}');
 * assertEquals(decodeRequest(bytes).type, "subscribe");
 * ```
 */
export function decodeRequest(bytes: Uint8Array): ClassicRequest {
  const text = decodeText(bytes);
  const request = parseJson(text);
  if (typeof request !== "object" || request === null) return INVALID_REQUEST;
  const { type, topic, data } = request as Record<string, unknown>;
  if (Array.isArray(request) || type === undefined || topic === undefined) {
    return INVALID_REQUEST;
  }

  const topicName = parseClassicTopic(asText(topic, "topic", text));
  if (topicName === undefined) return INVALID_TOPIC;

  switch (type) {
    case "subscribe":
      return { type: "subscribe", topicName };
    case "publish": {
      if (data === undefined) return INVALID_DATA;
      const datum = asText(data, "data", text);
      if (datum.trim() === "") return INVALID_DATA;
      return { type: "publish", topicName, data: datum };
    }
    default:
      return UNKNOWN;
  }
}

/**
 * Writes a client's datagram that publishes. The broker is the judge of a blank
 * topic or datum: it answers with a refusal.
 *
 * @throws {LocalProtocolError} when it does not fit a datagram
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { decodeRequest, encodePublish } from "./classic.ts";
 *
 * const { type } = decodeRequest(encodePublish("weather", "21.5"));
 * assertEquals(type, "publish");
 * ```
 */
export function encodePublish(topic: string, data: string): Uint8Array {
  return encodeRequest({ type: "publish", topic, data });
}

/**
 * Writes a client's datagram that subscribes.
 *
 * @throws {LocalProtocolError} when it does not fit a datagram
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { decodeRequest, encodeSubscribe } from "./classic.ts";
 *
 * assertEquals(decodeRequest(encodeSubscribe("weather")).type, "subscribe");
 * ```
 */
export function encodeSubscribe(topic: string): Uint8Array {
  return encodeRequest({ type: "subscribe", topic });
}

/**
 * Reads a broker's datagram: plain text.
 *
 * @throws {MalformedPacketError} when it is not UTF-8
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { CLASSIC_REPLY, decodeReply, encodeReply } from "./classic.ts";
 *
 * const bytes = encodeReply(CLASSIC_REPLY.accepted);
 * assertEquals(decodeReply(bytes), "Broker has recieved message");
 * ```
 */
export function decodeReply(bytes: Uint8Array): string {
  return decodeText(bytes);
}

/** Writes a broker's datagram: plain text in UTF-8. */
export function encodeReply(text: string): Uint8Array {
  return encodeUtf8(text);
}

/**
 * The refusal that a reply's text stands for, `undefined` when the text is a
 * topic's data or the acknowledgement.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { refusalOf } from "./classic.ts";
 *
 * assertEquals(refusalOf("Invalid data provided"), "invalidData");
 * assertEquals(refusalOf("21.5"), undefined);
 * ```
 */
export function refusalOf(text: string): ClassicRefusal | undefined {
  return REFUSALS.find((refusal) => CLASSIC_REPLY[refusal] === text);
}

const REFUSALS: readonly ClassicRefusal[] = [
  "invalidRequest",
  "invalidTopic",
  "invalidData",
  "failed",
];

function encodeRequest(
  request: { type: string; topic: string; data?: string },
): Uint8Array {
  const bytes = encodeUtf8(JSON.stringify(request));
  if (bytes.length > MAX_DATAGRAM) {
    throw new LocalProtocolError(
      `Cannot ${request.type}: ${bytes.length} octets do not fit a datagram of ${MAX_DATAGRAM}`,
    );
  }
  return bytes;
}

function decodeText(bytes: Uint8Array): string {
  try {
    return decodeUtf8(bytes);
  } catch (cause) {
    throw new MalformedPacketError("Cannot read the datagram: not UTF-8", {
      cause,
    });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new MalformedPacketError("Cannot read the datagram: not JSON", {
      cause,
    });
  }
}

/** A member's text: itself when it is a string, else the JSON that it came as. */
function asText(value: unknown, member: string, json: string): string {
  return typeof value === "string" ? value : sourceOf(member, json);
}

/**
 * The JSON text of an object's member, as it was written: `1.50` and
 * `12345678901234567890` would not survive the way through a number. One pass
 * over text that is known to be valid, whatever a hostile peer has nested in it.
 */
function sourceOf(member: string, json: string): string {
  let source = "";
  let depth = 0;
  let start = 0;
  let key = "";
  for (let at = 0; at < json.length; at++) {
    switch (json[at]) {
      case '"': {
        const end = endOfString(json, at);
        // At depth 1 a string is a key, unless one is waiting for its value.
        if (depth === 1 && key === "") key = json.slice(at, end + 1);
        at = end;
        break;
      }
      case ":":
        if (depth === 1) start = at + 1;
        break;
      case "[":
      case "{":
        depth++;
        break;
      case "]":
      case "}":
        depth--;
        if (depth > 0) break;
        if (isKey(key, member)) source = json.slice(start, at).trim();
        break;
      case ",":
        if (depth > 1) break;
        if (isKey(key, member)) source = json.slice(start, at).trim();
        key = "";
        break;
    }
  }
  return source;
}

function endOfString(json: string, start: number): number {
  let end = start + 1;
  while (json[end] !== '"') end += json[end] === "\\" ? 2 : 1;
  return end;
}

function isKey(key: string, member: string): boolean {
  return key.includes("\\")
    ? JSON.parse(key) === member
    : key.slice(1, -1) === member;
}
