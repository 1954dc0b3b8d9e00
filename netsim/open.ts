/**
 * Opens the bad network that the options of a broker or a client ask for. Where they
 * ask for none, its code is not loaded.
 *
 * @module
 */

import type { Peer } from "../base/peer.ts";
import type { NetSim, NetSimOptions } from "./netsim.ts";

/** Notes faults beside the datagrams that they struck; a journal is one. */
export interface FaultNotes {
  /** Notes what happened to a datagram from or to a peer. */
  note(text: string, peer: Peer): void;
}

/**
 * Opens a bad network.
 *
 * @param notes where the faults that strike are noted. Default: nowhere
 * @returns `undefined` where the options have neither `net` nor `faults`
 * @throws {TypeError} when one of them cannot be understood
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openNet } from "./open.ts";
 *
 * const net = await openNet({ side: "client", net: "loss 10%" });
 * assertEquals(`${net}`, "loss 10%");
 * assertEquals(await openNet({ side: "client" }), undefined);
 * ```
 */
export async function openNet(
  options: NetSimOptions,
  notes?: FaultNotes,
): Promise<NetSim | undefined> {
  if (options.net === undefined && options.faults === undefined) return;
  const [{ NetSim }, { describeFault }] = await Promise.all([
    import("./netsim.ts"),
    import("./faults.ts"),
  ]);
  return new NetSim({
    ...options,
    onFault(event) {
      notes?.note(describeFault(event), event.peer);
      options.onFault?.(event);
    },
  });
}
