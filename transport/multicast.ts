/**
 * The multicast group in which clients look for gateways.
 *
 * What is sent to the group leaves from the broker's own socket: a client takes
 * the datagram's source for the gateway's address (MQTT-SN 1.2 §6.1). What is
 * said in the group arrives at the same socket where it is bound to every
 * interface and to the group's port, else at one that is only for listening.
 *
 * @module
 */

import { type Peer, peerOf } from "../base/peer.ts";
import type { DatagramHandler, Membership } from "./transport.ts";
import { UdpTransport } from "./udp.ts";

/** Networks that a datagram to a group passes unless told otherwise. */
const USUAL_TTL = 1;

/**
 * Reads a group's address, with a port or without: `225.1.1.1:1883`,
 * `225.1.1.1`, `[ff02::1]:1883`, `ff02::1`.
 *
 * @param text the address
 * @param usualPort the port where it has none, 0 to 65535
 * @throws {RangeError} when it is no multicast address
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { groupFrom } from "./multicast.ts";
 *
 * assertEquals(groupFrom("225.1.1.1:1883", 12003).port, 1883);
 * assertEquals(groupFrom("ff02::1", 12003).key, "[ff02::1]:12003");
 * ```
 */
export function groupFrom(text: string, usualPort: number): Peer {
  const [, v6, v4, port] =
    /^(?:\[(ff[\da-f:]+)\]|(\d+(?:\.\d+){3}))(?::(\d{1,5}))?$/i.exec(text) ??
      [];
  const bare = /^ff[\da-f]{2}:[\da-f:]*$/i.test(text) ? text : undefined;
  const address = bare ?? v6 ?? v4;
  const number = port === undefined ? usualPort : Number(port);
  const isGroup = address !== undefined && number <= 65_535 &&
    (port === undefined || number > 0) &&
    (v4 === undefined || isGroupV4(v4));
  if (isGroup) return peerOf(address, number);
  throw new RangeError(
    `Cannot take "${text}" as a multicast group: it is an address from 224.0.0.0 to 239.255.255.255 or ff00::/8, with :PORT or without`,
  );
}

function isGroupV4(text: string): boolean {
  const octets = text.split(".").map(Number);
  return octets.every((octet) => octet <= 255) && octets[0]! >= 224 &&
    octets[0]! <= 239;
}

/**
 * A multicast group that a broker's socket has joined.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { groupFrom } from "./multicast.ts";
 *
 * assertEquals(groupFrom("225.1.1.1", 1883).key, "225.1.1.1:1883");
 * ```
 */
export class Multicast implements AsyncDisposable {
  /** The group's address and port. */
  readonly group: Peer;
  readonly #sender: UdpTransport;
  readonly #membership: Membership;
  readonly #listener: UdpTransport | undefined;
  #ttl = USUAL_TTL;

  private constructor(
    group: Peer,
    sender: UdpTransport,
    membership: Membership,
    listener: UdpTransport | undefined,
  ) {
    this.group = group;
    this.#sender = sender;
    this.#membership = membership;
    this.#listener = listener;
  }

  /**
   * Joins a group.
   *
   * @param sender the broker's or the client's own socket
   * @param group where clients look for gateways
   * @param mayBeDeaf whether it will do to speak there, where the port is another
   * program's alone: that of a broker on the same machine
   * @throws {Error} when the system will not have it
   */
  static async join(
    sender: UdpTransport,
    group: Peer,
    mayBeDeaf = false,
  ): Promise<Multicast> {
    const { hostname, port } = sender.address;
    const isV6 = group.hostname.includes(":");
    if (isV6 !== hostname.includes(":")) {
      throw new Error(
        `Cannot join the multicast group ${group.hostname}: the broker listens at ${hostname}, which is of another kind`,
      );
    }
    const membership = await sender.join(group.hostname);
    const everywhere = isV6 ? "::" : "0.0.0.0";
    if (hostname === everywhere && port === group.port) {
      return new Multicast(group, sender, membership, undefined);
    }
    let listener: UdpTransport;
    try {
      listener = await UdpTransport.bind({
        hostname: everywhere,
        port: group.port,
        isShared: true,
      });
    } catch (error) {
      if (!mayBeDeaf || !(error instanceof Deno.errors.AddrInUse)) throw error;
      return new Multicast(group, sender, membership, undefined);
    }
    try {
      await listener.join(group.hostname);
    } catch (error) {
      listener.close();
      throw error;
    }
    return new Multicast(group, sender, membership, listener);
  }

  /**
   * Hands on what is said in the group, if the broker's own socket does not.
   *
   * @returns a promise that resolves when it is closed
   */
  receive(handler: DatagramHandler): Promise<void> {
    return this.#listener?.receive(handler) ?? Promise.resolve();
  }

  /**
   * Says something to the group.
   *
   * @param bytes the datagram
   * @param radius networks that it passes, 1 to 255; 0 for the usual
   */
  send(bytes: Uint8Array, radius: number): void {
    const ttl = radius === 0 ? USUAL_TTL : radius;
    if (ttl === this.#ttl) return this.#sender.send(this.group, bytes);
    this.#ttl = ttl;
    this.#membership.setTtl(ttl).catch(() => {}).then(() =>
      this.#sender.send(this.group, bytes)
    );
  }

  /** Ends listening; the broker's own socket is not touched. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#listener?.[Symbol.asyncDispose]() ?? Promise.resolve();
  }
}
