/**
 * The errors that every folder may throw, and what an error says in one line.
 *
 * @module
 */

import type { Peer } from "./peer.ts";

/**
 * Our own caller broke the protocol's rules: a request that cannot be put into
 * a datagram, a blank topic.
 *
 * @example
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { Broker, Client, LocalProtocolError } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await assertRejects(() => client.publish("lamp/#", "on"), LocalProtocolError);
 * ```
 */
export class LocalProtocolError extends Error {
  /** `"LocalProtocolError"`. */
  override readonly name: string = "LocalProtocolError";
}

/**
 * The peer broke the protocol's rules.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { RefusedError, RemoteProtocolError } from "../mod.ts";
 *
 * assert(new RefusedError("connect", 1) instanceof RemoteProtocolError);
 * ```
 */
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
 * import { NoAnswerError } from "./errors.ts";
 * import { peerOf } from "./peer.ts";
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
 * else; the caller of the decoder counts it and drops the datagram.
 *
 * @example
 * ```ts
 * import { assert, assertThrows } from "@std/assert";
 * import { decodePacket } from "../entries/core.ts";
 * import { MalformedPacketError } from "../mod.ts";
 *
 * const error = assertThrows(
 *   () => decodePacket(Uint8Array.of(3, 0x05)),
 *   MalformedPacketError,
 * );
 * assert(error.message.startsWith("Cannot read CONNACK"));
 * ```
 */
export class MalformedPacketError extends RemoteProtocolError {
  /** `"MalformedPacketError"`. */
  override readonly name: string = "MalformedPacketError";
}

/** What an error says, in one line. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
