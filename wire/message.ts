/**
 * The nouns that every room shares: who a datagram comes from, what a topic is
 * called, and the errors of a protocol. Knows no protocol, no socket, no time.
 *
 * @module
 */

import { copyOf } from "../base/slab.ts";

/**
 * The other end of a datagram: an address and a UDP port.
 *
 * Two peers are the same peer when their {@linkcode Peer.key} is equal, which
 * is what tables are keyed by.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { peerOf } from "./message.ts";
 *
 * assertEquals(peerOf("127.0.0.1", 12003).key, "127.0.0.1:12003");
 * assertEquals(peerOf("::1", 12003).key, "[::1]:12003");
 * ```
 */
export interface Peer {
  /** IPv4 or IPv6 address, never a name. */
  readonly hostname: string;
  /** UDP port, 0 to 65535. */
  readonly port: number;
  /** `hostname:port`, an IPv6 address in brackets: identity, and what logs show. */
  readonly key: string;
}

/**
 * Makes a {@linkcode Peer}.
 *
 * An IPv4 address that a dual-stack socket shows as `::ffff:a.b.c.d` becomes
 * `a.b.c.d`, so that a peer has one key whatever the socket was bound to.
 *
 * @param hostname IPv4 or IPv6 address
 * @param port UDP port, 0 to 65535
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { peerOf } from "./message.ts";
 *
 * assertEquals(peerOf("::ffff:10.0.0.7", 9).key, "10.0.0.7:9");
 * ```
 */
export function peerOf(hostname: string, port: number): Peer {
  if (!hostname.includes(":")) {
    return { hostname, port, key: `${hostname}:${port}` };
  }
  if (hostname.startsWith("::ffff:") && hostname.includes(".")) {
    return peerOf(hostname.slice(7), port);
  }
  return { hostname, port, key: `[${hostname}]:${port}` };
}

/**
 * An address as the system writes it, so that it compares: `::1`, not `0:0::1`, and
 * IPv4 within IPv6 as IPv4; `undefined` for what is a name, or nothing.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { addressFrom } from "./message.ts";
 *
 * assertEquals(addressFrom("0:0::1"), "::1");
 * assertEquals(addressFrom("::ffff:10.0.0.7"), "10.0.0.7");
 * assertEquals(addressFrom("localhost"), undefined);
 * ```
 */
export function addressFrom(text: string): string | undefined {
  if (!text.includes(":")) {
    const octets = text.split(".");
    const isV4 = octets.length === 4 &&
      octets.every((octet) => /^\d{1,3}$/.test(octet) && Number(octet) <= 255);
    return isV4 ? octets.map(Number).join(".") : undefined;
  }
  const [address, ...zone] = text.split("%"); // an interface may belong to it
  const url = `http://[${address}]`;
  if (!URL.canParse(url)) return undefined;
  const plain = new URL(url).hostname.slice(1, -1);
  if (zone.length > 0) return [plain, ...zone].join("%");
  const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(plain);
  if (mapped === null) return plain;
  const [high, low] = [mapped[1]!, mapped[2]!].map((part) =>
    parseInt(part, 16)
  );
  return [high! >> 8, high! & 255, low! >> 8, low! & 255].join(".");
}

/**
 * Tells whether a peer is on this machine. A datagram from the network cannot
 * claim such an address: systems drop it on arrival.
 *
 * @example
 * ```ts
 * import { assert, assertFalse } from "@std/assert";
 * import { isLoopback, peerOf } from "./message.ts";
 *
 * assert(isLoopback(peerOf("127.0.0.1", 1)));
 * assertFalse(isLoopback(peerOf("192.0.2.1", 1)));
 * ```
 */
export function isLoopback(peer: Peer): boolean {
  return peer.hostname.startsWith("127.") || peer.hostname === "::1";
}

/**
 * A topic of the classic protocol: never blank, never padded. Only
 * `parseClassicTopic` in `wire/classic.ts` makes one.
 */
export type ClassicTopic = string & { readonly brand: "ClassicTopic" };

/**
 * A topic's name as MQTT has them: levels between slashes, without wildcards.
 * Only `parseTopicName` in `wire/topics.ts` makes one.
 */
export type TopicName = string & { readonly brand: "TopicName" };

/**
 * What a subscription asks for: a topic's name in which `+` stands for a level
 * and a last `#` for all that follow. Only `parseTopicFilter` in `wire/topics.ts`
 * makes one.
 */
export type TopicFilter = string & { readonly brand: "TopicFilter" };

/**
 * How sure a delivery is: 0 at most once, 1 at least once, 2 exactly once.
 * MQTT-SN's −1 exists on the wire alone.
 */
export type DeliveryQos = 0 | 1 | 2;

/**
 * What is published.
 *
 * Its payload may be a view into the datagram that it came in, valid for as long
 * as that is being handled. Whoever keeps a message longer says so with
 * {@linkcode Message.keep}; most messages are passed on at once and never copied.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Message } from "./message.ts";
 * import { parseTopicName } from "./topics.ts";
 *
 * const datagram = Uint8Array.of(0x6f, 0x6e);
 * const topicName = parseTopicName("lamp")!;
 * const message = new Message(topicName, datagram, 1, false);
 * message.keep();
 * datagram.fill(0);
 * assertEquals(message.payload, Uint8Array.of(0x6f, 0x6e));
 * ```
 */
export class Message {
  /** Where to. */
  readonly topicName: TopicName;
  /** How sure its publisher wants it. */
  readonly qos: DeliveryQos;
  /** Whether it stays with its topic for whoever subscribes later. */
  readonly retain: boolean;
  #payload: Uint8Array;
  #isKept = false;

  /**
   * Makes a message.
   *
   * @param topicName where to
   * @param payload what; may be empty, may be a view
   * @param qos how sure its publisher wants it
   * @param retain whether it stays with its topic
   */
  constructor(
    topicName: TopicName,
    payload: Uint8Array,
    qos: DeliveryQos,
    retain: boolean,
  ) {
    this.topicName = topicName;
    this.#payload = payload;
    this.qos = qos;
    this.retain = retain;
  }

  /** What is published. */
  get payload(): Uint8Array {
    return this.#payload;
  }

  /** Gives the message a payload of its own, once; itself again. */
  keep(): this {
    if (!this.#isKept) {
      this.#payload = copyOf(this.#payload);
      this.#isKept = true;
    }
    return this;
  }
}

/** The UDP port that brokers listen at unless told otherwise. */
export const DEFAULT_PORT = 12_003;

/** The longest payload of a UDP datagram over IPv4, in octets. */
export const MAX_DATAGRAM = 65_507;

/**
 * Our own caller broke the protocol's rules: a request that cannot be put into
 * a datagram, a blank topic.
 */
export class LocalProtocolError extends Error {
  /** `"LocalProtocolError"`. */
  override readonly name: string = "LocalProtocolError";
}

/** The peer broke the protocol's rules. */
export class RemoteProtocolError extends Error {
  /** `"RemoteProtocolError"`. */
  override readonly name: string = "RemoteProtocolError";
}

/**
 * The broker did not answer in time: it may not be there.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { NoAnswerError, peerOf } from "./message.ts";
 *
 * const error = new NoAnswerError(peerOf("127.0.0.1", 12003), 5_000);
 * assertEquals(
 *   error.message,
 *   "No broker answered at 127.0.0.1:12003 within 5 s",
 * );
 * ```
 */
export class NoAnswerError extends Error {
  /** `"NoAnswerError"`. */
  override readonly name = "NoAnswerError";
  /** Whom was asked; `undefined` when none was found to ask. */
  readonly broker: Peer | undefined;

  /**
   * Says whom was asked and how long it had.
   *
   * @param broker whom was asked; `undefined` when none was found to ask
   * @param timeoutMs how long it had, in milliseconds
   */
  constructor(broker: Peer | undefined, timeoutMs: number) {
    const where = broker === undefined ? "to the search" : `at ${broker.key}`;
    super(`No broker answered ${where} within ${timeoutMs / 1_000} s`);
    this.broker = broker;
  }
}

/**
 * Octets that are no message of the protocol. Decoders throw this and nothing
 * else; whoever called the decoder counts it and drops the datagram.
 */
export class MalformedPacketError extends RemoteProtocolError {
  /** `"MalformedPacketError"`. */
  override readonly name: string = "MalformedPacketError";
}
