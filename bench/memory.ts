// deno-lint-ignore-file no-console -- a program: the console is its output
/**
 * What clients cost in memory: the router's heap with 200,000 clients that are
 * connected and idle, and with 20,000 kept sessions of 10 subscriptions each
 * whose clients are away.
 *
 * ```sh
 * deno run --v8-flags=--expose-gc bench/memory.ts
 * ```
 *
 * @module
 */

import { peerOf } from "../base/peer.ts";
import { encodePacket } from "../wire/mqttsn.ts";
import type { MqttSnPacket } from "../wire/packets.ts";
import { Router } from "../broker/router.ts";

const CLIENTS = 200_000;
const SESSIONS = 20_000;
const SUBSCRIPTIONS = 10;

const idle = measure(CLIENTS, (router, i) => connect(router, i, true));
console.log(`an idle connected client        ${idle} octets`);

const kept = measure(SESSIONS, (router, i) => {
  connect(router, i, false);
  for (let n = 0; n < SUBSCRIPTIONS; n++) {
    take(router, i, {
      type: "SUBSCRIBE",
      dup: false,
      qos: 1,
      msgId: n + 1,
      topic: {
        topicIdType: "normal",
        topicName: `client/${i}/sensor/${n}`,
      },
    });
  }
  take(router, i, { type: "DISCONNECT", duration: undefined });
});
console.log(`a kept session, ${SUBSCRIPTIONS} subscriptions ${kept} octets`);

/** Heap for each of so many clients, in octets. */
function measure(
  clients: number,
  add: (router: Router, i: number) => void,
): number {
  const router = new Router({ maxClients: clients, maxMemory: 1e9 });
  const before = heapUsed();
  for (let i = 0; i < clients; i++) add(router, i);
  const after = heapUsed();
  const { total } = router.stats().mqttsn.clients;
  if (total !== clients) throw new Error(`${total} clients`);
  return Math.round((after - before) / clients);
}

function heapUsed(): number {
  const { gc } = globalThis as { gc?: () => void };
  if (gc === undefined) throw new Error("Start it with --v8-flags=--expose-gc");
  gc();
  gc();
  return Deno.memoryUsage().heapUsed + Deno.memoryUsage().external;
}

function connect(router: Router, i: number, cleanSession: boolean): void {
  take(router, i, {
    type: "CONNECT",
    will: false,
    cleanSession,
    protocolId: 1,
    duration: 600,
    clientId: `client-${i}`,
  });
}

function take(router: Router, i: number, packet: MqttSnPacket): void {
  // A new peer for each datagram, as the transport makes them.
  const host = `10.${i >> 16}.${i >> 8 & 0xff}.${i & 0xff}`;
  router.handleDatagram(0, peerOf(host, 4_711), encodePacket(packet));
  while (router.pollEffect() !== undefined);
}
