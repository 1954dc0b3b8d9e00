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

import { type Peer, peerOf } from "../message.ts";
import { decodePacket, encodePacket } from "../mqttsn.ts";
import type { MqttSnPacket, Publish } from "../packet.ts";
import { Router } from "../router.ts";

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
const REGISTER: MqttSnPacket = {
  type: "REGISTER",
  topicId: 0,
  msgId: 1,
  topicName: "bench/house/1/temperature",
};
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
