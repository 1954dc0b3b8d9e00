/**
 * Finds the address behind a host name.
 *
 * @module
 */

import { addressFrom, type Peer, peerOf } from "../base/peer.ts";
import { requireInteger } from "../base/units.ts";

/**
 * Finds the address behind a name, as the system's own programs would.
 *
 * @param hostname address or name
 * @param port UDP port, 0 to 65535
 * @throws {Error} when the name is unknown
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { resolve } from "./resolve.ts";
 *
 * assertEquals((await resolve("127.0.0.1", 12003)).key, "127.0.0.1:12003");
 * ```
 */
export async function resolve(hostname: string, port: number): Promise<Peer> {
  const literal = addressFrom(hostname);
  if (literal !== undefined) return peerOf(literal, port);
  try {
    // Only here: a program that was given an address does not wait until it is loaded.
    const { lookup } = await import("node:dns/promises");
    // IPv4 first: a broker's default is 127.0.0.1, and that is what
    // "localhost" has to find.
    const { address } = await lookup(hostname, { order: "ipv4first" });
    return peerOf(address, port);
  } catch (cause) {
    throw new Error(`Cannot find a host called "${hostname}"`, { cause });
  }
}

/** Addresses that only a broker can be bound to, and where it is reached. */
const REACHABLE: ReadonlyMap<string, string> = new Map([
  ["0.0.0.0", "127.0.0.1"],
  ["::", "::1"],
]);

/**
 * Finds where a broker is reached: as {@linkcode resolve} does, and on this
 * machine when the address stands for every interface.
 *
 * @param hostname address or name of the broker's machine
 * @param port the broker's UDP port, 1 to 65535
 * @throws {RangeError} when the port is out of range
 * @throws {Error} when the name is unknown
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { findBroker } from "./resolve.ts";
 *
 * assertEquals((await findBroker("0.0.0.0", 12003)).key, "127.0.0.1:12003");
 * ```
 */
export async function findBroker(
  hostname: string,
  port: number,
): Promise<Peer> {
  requireInteger("the port", port, 1, 65_535);
  const found = await resolve(hostname, port);
  return peerOf(REACHABLE.get(found.hostname) ?? found.hostname, port);
}
