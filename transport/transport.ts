/**
 * How datagrams travel: what a {@linkcode Transport} is, and what it counts.
 * `transport/udp.ts` has one with a socket of the system, `transport/batched.ts`
 * one that sends and receives many datagrams in a call, `transport/memory.ts` a
 * network inside the process for tests.
 *
 * @module
 */

import type { Peer } from "../base/peer.ts";

/**
 * Is given each datagram that arrives. The octets are only valid during the
 * call: the next datagram is received into the same buffer.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { MemoryNetwork } from "../entries/testing.ts";
 * import type { DatagramHandler } from "../mod.ts";
 *
 * const network = new MemoryNetwork();
 * await using there = network.bind();
 * await using here = network.bind();
 * const got = new Promise<number>((resolve) => {
 *   const handle: DatagramHandler = (_peer, bytes) => resolve(bytes.length);
 *   there.receive(handle);
 * });
 * here.send(there.address, Uint8Array.of(1, 2));
 * assertEquals(await got, 2);
 * ```
 */
export type DatagramHandler = (peer: Peer, bytes: Uint8Array) => void;

/**
 * Counts of what a transport did.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish("lamp", "on", { qos: 1 });
 * assertEquals(broker.stats().transport.sendErrors, 0);
 * ```
 */
export interface TransportStats {
  /** Datagrams that were handed to the system. */
  readonly sent: number;
  /** Datagrams that arrived. */
  readonly received: number;
  /** Datagrams that the system would not send. */
  readonly sendErrors: number;
  /** Times that the system reported an error instead of a datagram. */
  readonly receiveErrors: number;
  /** What the system refused to send, by the name of its error, as `EMSGSIZE`. */
  readonly refused: Readonly<Record<string, number>>;
  /** Times that there was no room for what was to be sent, and it had to wait. */
  readonly congested: number;
  /** What the threads counted that send beside; `undefined` where there are none. */
  readonly senders?: SenderStats | undefined;
}

/**
 * What senders counted.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish("lamp", "on", { qos: 1 });
 * assertEquals(broker.stats().transport.senders?.failed ?? 0, 0);
 * ```
 */
export interface SenderStats {
  /** Threads that are at work. */
  readonly senders: number;
  /** Datagrams that they have sent. */
  readonly sent: number;
  /** Datagrams that wait in their rings. */
  readonly waiting: number;
  /** Times that a ring was full, and the broker had to wait. */
  readonly fullRings: number;
  /** Times that the system had no room for what a thread had to send. */
  readonly congested: number;
  /** What the system refused to send, by the name of its error. */
  readonly refused: Readonly<Record<string, number>>;
  /** Threads that failed. */
  readonly failed: number;
  /** Datagrams of a thread that failed, of which nobody knows if they have left. */
  readonly lost: number;
}

/**
 * One end from which datagrams are sent and at which they arrive.
 *
 * @example
 * ```ts
 * import { MemoryNetwork } from "../entries/testing.ts";
 * import { Broker, Client, type Transport } from "../mod.ts";
 *
 * const network = new MemoryNetwork();
 * const transport: Transport = network.bind({ port: 12003 });
 * await using _broker = await Broker.listen({ transport });
 * await using _client = await Client.connect({ transport: network.bind() });
 * ```
 */
export interface Transport extends AsyncDisposable {
  /** Where others reach this end. */
  readonly address: Peer;
  /**
   * Hands every datagram that arrives to `handler`, in order.
   *
   * @returns a promise that resolves when the transport is closed
   */
  receive(handler: DatagramHandler): Promise<void>;
  /**
   * Sends a datagram, without waiting and without a promise that it arrives.
   * The octets must not change afterwards. What the system refuses is counted.
   */
  send(peer: Peer, bytes: Uint8Array): void;
  /** Datagrams that have not left yet. */
  readonly unsent: number;
  /** Resolves when all that was sent so far has left. */
  flush(): Promise<void>;
  /** What was counted so far. */
  stats(): TransportStats;
  /**
   * Datagrams that arrived and found no room, as they were not received in time;
   * 0 where the system does not tell.
   */
  overflowed(): Promise<number>;
  /** Ends it at once; again does nothing. */
  close(): void;
}

/** Where a socket is bound. */
export interface BindOptions {
  /** Address or name of an interface of this machine. Default `127.0.0.1`. */
  readonly hostname?: string;
  /** UDP port, 0 to 65535; 0 lets the system choose. Default 0. */
  readonly port?: number;
  /** Whether other sockets may have the port too, as for multicast. Default false. */
  readonly isShared?: boolean;
}

/** What a socket that belongs to a multicast group can be told. */
export interface Membership {
  /** Limits how many networks what is sent to groups passes, 1 to 255; IPv4 only. */
  setTtl(ttl: number): Promise<void>;
}

/**
 * The counters of a transport.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish("lamp", "on", { qos: 1 });
 * assertEquals(broker.stats().transport.sendErrors, 0);
 * ```
 */
export interface TransportCounts {
  /** Datagrams that were handed to the system. */
  sent: number;
  /** Datagrams that arrived. */
  received: number;
  /** Datagrams that the system would not send. */
  sendErrors: number;
  /** Times that the system reported an error instead of a datagram. */
  receiveErrors: number;
  /** What the system refused to send, by the name of its error. */
  readonly refused: Record<string, number>;
  /** Times that there was no room for what was to be sent. */
  congested: number;
}

/** Counters of a transport that has not done anything. */
export function newTransportCounts(): TransportCounts {
  return {
    sent: 0,
    received: 0,
    sendErrors: 0,
    receiveErrors: 0,
    refused: {},
    congested: 0,
  };
}
