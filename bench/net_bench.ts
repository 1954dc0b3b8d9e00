/**
 * What the bad network costs a datagram: what is decided for it, and what the
 * transport around a transport adds, switched on and off.
 *
 * ```sh
 * deno bench bench/net_bench.ts
 * ```
 *
 * @module
 */

import { seededRandom } from "../base/clock.ts";
import { parseFaults } from "../netsim/fault_text.ts";
import { Faults } from "../netsim/faults.ts";
import { peerOf } from "../base/peer.ts";
import { parseNetSpec } from "../netsim/spec_text.ts";
import { Netem } from "../netsim/netem.ts";
import { NetSim, type NetSimOptions } from "../netsim/netsim.ts";
import type { Transport } from "../transport/transport.ts";

const PEER = peerOf("127.0.0.1", 1);
const DATAGRAM = Uint8Array.of(7, 0x0c, 0, 0, 1, 0, 0);

for (
  const text of [
    "off",
    "loss 10%",
    "loss 10% 25%",
    "delay 50ms",
    "loss 10% delay 50ms 10ms distribution normal",
    "wifi-poor",
  ]
) {
  const path = new Netem(parseNetSpec(text).out, seededRandom(1));
  let now = 0;
  let last = 0;
  Deno.bench(`Netem.send() by ${text}`, { group: "path" }, () => {
    path.send(now += 2, DATAGRAM, (at) => last = at);
  });
  if (last < 0) throw new Error("Time has gone back");
}

/** A transport that sends nowhere. */
class Nowhere implements Transport {
  readonly address = PEER;
  readonly unsent = 0;
  sent = 0;
  receive = () => Promise.resolve();
  flush = () => Promise.resolve();
  overflowed = () => Promise.resolve(0);
  stats = () => ({
    sent: this.sent,
    received: 0,
    sendErrors: 0,
    receiveErrors: 0,
    refused: {},
    congested: 0,
  });
  close = () => {};
  [Symbol.asyncDispose] = () => Promise.resolve();
  send(): void {
    this.sent++;
  }
}

function around(options: Omit<NetSimOptions, "side" | "seed">): Transport {
  const net = new NetSim({ side: "broker", seed: 1, ...options });
  return net.around(new Nowhere());
}

for (
  const [name, transport] of [
    ["no network", new Nowhere()],
    ["one that is off", around({ net: "off" })],
    ["loss 10%", around({ net: "loss 10%" })],
    [
      "a rule for another type",
      around({ faults: [{ type: "PUBACK", do: "drop" }] }),
    ],
  ] as const
) {
  Deno.bench(`Transport.send() through ${name}`, { group: "send" }, () => {
    transport.send(PEER, DATAGRAM);
  });
}

const faults = new Faults(
  parseFaults([{ type: "PUBLISH", topic: "room/+", do: "drop" }]),
  { random: seededRandom(1) },
);
Deno.bench("Faults.judge() by a topic filter", { group: "faults" }, () => {
  faults.judge(0, "client", PEER, DATAGRAM);
});
