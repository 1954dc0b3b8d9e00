/**
 * The limit that a broker can come near: the same calls on the same socket, and no
 * protocol. A datagram of one octet, 1, makes its sender a receiver (2 ends that)
 * and is answered as it came; any other is sent to every receiver.
 *
 * `deno run -A bench/relay.ts portable|batched`
 *
 * @module
 */

import { BatchedTransport } from "../transport/batched.ts";
import type { Peer } from "../base/peer.ts";
import { print } from "../cli/terminal.ts";
import { UdpTransport } from "../transport/udp.ts";

const transport = Deno.args[0] === "batched"
  ? await BatchedTransport.bind()
  : await UdpTransport.bind();
const receivers = new Map<string, Peer>();
let peers: Peer[] = [];
print(`Relay started at ${transport.address.key}\n`);
await transport.receive((peer, bytes) => {
  if (bytes.length === 1) {
    if (bytes[0] === 1) receivers.set(peer.key, peer);
    else receivers.delete(peer.key);
    peers = [...receivers.values()];
    transport.send(peer, bytes.slice());
    return;
  }
  const copy = bytes.slice();
  for (let i = 0; i < peers.length; i++) transport.send(peers[i]!, copy);
});
