/**
 * The other end of a datagram: its address, and how addresses are written.
 *
 * @module
 */

/**
 * The other end of a datagram: an address and a UDP port.
 *
 * Two peers are the same peer when their {@linkcode Peer.key} is equal, which
 * is what tables are keyed by.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { peerOf } from "./peer.ts";
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
 * import { peerOf } from "./peer.ts";
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
 * import { addressFrom } from "./peer.ts";
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
 * import { isLoopback, peerOf } from "./peer.ts";
 *
 * assert(isLoopback(peerOf("127.0.0.1", 1)));
 * assertFalse(isLoopback(peerOf("192.0.2.1", 1)));
 * ```
 */
export function isLoopback(peer: Peer): boolean {
  return peer.hostname.startsWith("127.") || peer.hostname === "::1";
}

/**
 * The UDP port that brokers listen at unless told otherwise.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { DEFAULT_PORT } from "../mod.ts";
 *
 * assertEquals(DEFAULT_PORT, 12003);
 * ```
 */
export const DEFAULT_PORT = 12_003;

/** The longest payload of a UDP datagram over IPv4, in octets. */
export const MAX_DATAGRAM = 65_507;
