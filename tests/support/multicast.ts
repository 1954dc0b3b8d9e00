/**
 * Whether this machine can be reached by multicast.
 *
 * @module
 */

import { peerOf } from "../../base/peer.ts";
import { UdpTransport } from "../../transport/udp.ts";

/** A group that is nobody's. */
export const GROUP = "225.1.1.1";

/** Whether this machine lets a datagram to a group through to itself. */
export const HAS_MULTICAST: boolean = await hasMulticast();

async function hasMulticast(): Promise<boolean> {
  await using listener = await UdpTransport.bind({ hostname: "0.0.0.0" });
  await using sender = await UdpTransport.bind({ hostname: "0.0.0.0" });
  try {
    await listener.join(GROUP);
  } catch {
    return false;
  }
  const arrived = Promise.withResolvers<boolean>();
  listener.receive(() => arrived.resolve(true));
  const tooLong = setTimeout(() => arrived.resolve(false), 500);
  sender.send(peerOf(GROUP, listener.address.port), Uint8Array.of(0));
  const has = await arrived.promise;
  clearTimeout(tooLong);
  return has;
}
