/**
 * Clients behind a forwarder: a node that has no address of its own here speaks
 * through one that has, which wraps each message and says whose it is (MQTT-SN 1.2
 * §5.5).
 *
 * To the gateway a node is a peer like any other: its key holds the forwarder's
 * address and its own id, so that two nodes of a forwarder are two peers, and so
 * is the forwarder itself.
 *
 * @module
 */

import type { Peer } from "../base/peer.ts";
import { encodePacket } from "./mqttsn.ts";
import type { Encapsulated } from "./packets.ts";

/** A client behind a forwarder, at the forwarder's address. */
export interface NodePeer extends Peer {
  /** Which of the forwarder's nodes: 1 to 252 octets that mean nothing here. */
  readonly wirelessNodeId: Uint8Array;
}

/**
 * The peer that an encapsulated message comes from.
 *
 * @param forwarder who sent the datagram
 * @param packet what it held
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { nodePeerOf } from "./forwarder.ts";
 * import { peerOf } from "../base/peer.ts";
 *
 * const peer = nodePeerOf(peerOf("10.0.0.7", 1883), {
 *   wirelessNodeId: Uint8Array.of(1, 2),
 * });
 * assertEquals(peer.key, "10.0.0.7:1883/0102");
 * ```
 */
export function nodePeerOf(
  forwarder: Peer,
  { wirelessNodeId }: Pick<Encapsulated, "wirelessNodeId">,
): NodePeer {
  const { hostname, port } = forwarder;
  const key = `${forwarder.key}/${wirelessNodeId.toHex()}`;
  return { hostname, port, key, wirelessNodeId: wirelessNodeId.slice() };
}

/** Whether a peer is behind a forwarder. */
export function isNodePeer(peer: Peer): peer is NodePeer {
  return "wirelessNodeId" in peer;
}

/** Octets that the wrapping adds to a message for a peer. */
export function wrappingOf(peer: Peer): number {
  return isNodePeer(peer) ? 3 + peer.wirelessNodeId.length : 0;
}

/** A message as it is sent to a peer: wrapped if it is behind a forwarder. */
export function wrapFor(peer: Peer, message: Uint8Array): Uint8Array {
  if (!isNodePeer(peer)) return message;
  const { wirelessNodeId } = peer;
  return encodePacket({
    type: "ENCAPSULATED",
    radius: 0, // to this node alone: what "all" nodes are called is nowhere said
    wirelessNodeId,
    message,
  });
}
