/**
 * What MQTT-SN costs without a socket: reading, writing, and a PUBLISH's way
 * through the router to its subscribers.
 *
 * ```sh
 * deno bench bench/mqttsn_bench.ts
 * ```
 *
 * A fan-out of K makes K deliveries an iteration: divide.
 *
 * @module
 */

import { type Peer, peerOf } from "../base/peer.ts";
import { decodePacket, encodePacket } from "../wire/mqttsn.ts";
import type { MqttSnPacket, Publish, Register } from "../wire/packets.ts";
import { Router } from "../broker/router.ts";

const PUBLISH: Publish = {
  type: "PUBLISH",
  dup: false,
  qos: 0,
  retain: false,
  topicIdType: "normal",
  topicId: 1,
  msgId: 0,
  data: new Uint8Array(64).fill(0x2e),
};
const REGISTER: Register = {
  type: "REGISTER",
  topicId: 0,
  msgId: 1,
  topicName: "bench/house/1/temperature",
};
/** Topics that are published to among many subscriptions. */
const MANY_TOPICS = 10_000;

const publish = encodePacket(PUBLISH);
const register = encodePacket(REGISTER);
const puback = Uint8Array.of(7, 0x0d, 0, 1, 0, 2, 0);

Deno.bench("decodePacket() of a PUBLISH of 64 octets", {
  group: "decode",
}, () => {
  decodePacket(publish);
});

Deno.bench("decodePacket() of a REGISTER", { group: "decode" }, () => {
  decodePacket(register);
});

Deno.bench("decodePacket() of a PUBACK", { group: "decode" }, () => {
  decodePacket(puback);
});

Deno.bench("encodePacket() of a PUBLISH of 64 octets", {
  group: "encode",
}, () => {
  encodePacket(PUBLISH);
});

Deno.bench("encodePacket() of a REGISTER", { group: "encode" }, () => {
  encodePacket(REGISTER);
});

for (const fanOut of [1, 10, 100]) {
  const router = routerWith(fanOut, 0);
  const publisher = peerOf("127.0.0.1", 1);
  let now = 0;

  Deno.bench(`Router, a PUBLISH of QoS 0 to ${fanOut}`, {
    group: "router, QoS 0",
  }, () => {
    router.handleDatagram(now++, publisher, publish);
    if (drain(router) !== fanOut) throw new Error("not delivered");
  });
}

{
  const router = routerWith(1, 1);
  const publisher = peerOf("127.0.0.1", 1);
  const subscriber = peerOf("127.0.0.1", 1_000);
  const atLeastOnce = encodePacket({ ...PUBLISH, qos: 1, msgId: 7 });
  let now = 0;

  Deno.bench("Router, a PUBLISH of QoS 1 to 1, both acknowledged", () => {
    router.handleDatagram(now++, publisher, atLeastOnce);
    for (let effect; (effect = router.pollEffect()) !== undefined;) {
      if (effect.type !== "send" || effect.peer.port !== subscriber.port) {
        continue;
      }
      const { bytes } = effect;
      router.handleDatagram(
        now,
        subscriber,
        Uint8Array.of(7, 0x0d, bytes[3]!, bytes[4]!, bytes[5]!, bytes[6]!, 0),
      );
    }
  });
}

// The whole way of a PUBLISH to one of many topics, each with one subscriber: how
// it grows with what does not match. Made when it is first asked for.
for (const subscriptions of [10_000, 1_000_000]) {
  let router: Router | undefined;
  let next = 0;

  Deno.bench(
    `Router, a PUBLISH of QoS 0 among ${
      subscriptions.toLocaleString("en")
    } subscriptions`,
    { group: "router, many subscriptions" },
    () => {
      router ??= crowdedRouter(subscriptions);
      // The topics in an order that no cache has a use for.
      next = (next + 7_919) % MANY_TOPICS;
      router.handleDatagram(
        0,
        peerOf("127.0.0.1", 1),
        encodePacket({
          ...PUBLISH,
          topicId: next + 1,
        }),
      );
      if (drain(router) !== 1) throw new Error("not delivered");
    },
  );
}

/** A publisher at port 1, and subscribers with a hundred topics each. */
function crowdedRouter(subscriptions: number): Router {
  const router = new Router({ maxClients: 20_000, maxMemory: 4e9, history: 1 });
  const topicOf = (i: number) =>
    `client/${Math.floor(i / 100)}/sensor/${i % 100}`;
  for (let i = 0; i < subscriptions; i++) {
    const client = Math.floor(i / 100);
    const peer = peerOf(`127.1.${client >> 8}.${client & 0xff}`, 1);
    if (i % 100 === 0) connect(router, peer, `subscriber-${client}`);
    take(router, peer, {
      type: "SUBSCRIBE",
      dup: false,
      qos: 0,
      msgId: i % 100 + 1,
      topic: { topicIdType: "normal", topicName: topicOf(i) },
    });
    drain(router);
  }
  connect(router, peerOf("127.0.0.1", 1), "publisher");
  for (let i = 0; i < MANY_TOPICS; i++) {
    const topicName = topicOf(i * (subscriptions / MANY_TOPICS));
    take(router, peerOf("127.0.0.1", 1), { ...REGISTER, topicName });
  }
  drain(router);
  return router;
}

/** A router with a publisher at port 1 and so many subscribers of its topic. */
function routerWith(subscribers: number, qos: 0 | 1): Router {
  const router = new Router();
  const topicName = "bench/house/1/temperature";
  connect(router, peerOf("127.0.0.1", 1), "publisher");
  take(router, peerOf("127.0.0.1", 1), REGISTER);
  for (let i = 0; i < subscribers; i++) {
    const peer = peerOf("127.0.0.1", 1_000 + i);
    connect(router, peer, `subscriber-${i}`);
    take(router, peer, {
      type: "SUBSCRIBE",
      dup: false,
      qos,
      msgId: 1,
      topic: { topicIdType: "normal", topicName },
    });
  }
  drain(router);
  return router;
}

function connect(router: Router, peer: Peer, clientId: string): void {
  take(router, peer, {
    type: "CONNECT",
    will: false,
    cleanSession: true,
    protocolId: 1,
    duration: 0,
    clientId,
  });
}

function take(router: Router, peer: Peer, packet: MqttSnPacket): void {
  router.handleDatagram(0, peer, encodePacket(packet));
}

/** Takes the effects out, as the shell would; gives how many were sent. */
function drain(router: Router): number {
  let sent = 0;
  for (let effect; (effect = router.pollEffect()) !== undefined;) {
    if (effect.type === "send") sent++;
  }
  return sent;
}
