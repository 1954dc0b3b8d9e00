/**
 * What the journal costs the broker, without a socket: a publish and its
 * acknowledgement through `Broker`, with and without.
 *
 * @module
 */

import { Broker } from "../broker.ts";
import { encodePublish } from "../classic.ts";
import { peerOf } from "../message.ts";
import { encodePacket } from "../mqttsn.ts";
import type { DatagramHandler, Transport } from "../transport.ts";

/** A transport that sends to nobody, and receives what it is told to. */
class Loop implements Transport {
  readonly address = peerOf("127.0.0.1", 12003);
  readonly unsent = 0;
  readonly #closed = Promise.withResolvers<void>();
  handler: DatagramHandler = () => {};

  receive(handler: DatagramHandler): Promise<void> {
    this.handler = handler;
    return this.#closed.promise;
  }

  send(): void {}

  async flush(): Promise<void> {}

  overflowed(): Promise<number> {
    return Promise.resolve(0);
  }

  stats() {
    return { sent: 0, received: 0, sendErrors: 0, receiveErrors: 0 };
  }

  close(): void {
    this.#closed.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

const CLASSIC = Array.from(
  { length: 100 },
  (_, i) => encodePublish(`topic/${i}`, "x".repeat(40)),
);
const CONNECT = encodePacket({
  ...{ type: "CONNECT", will: false, cleanSession: true, protocolId: 1 },
  ...{ duration: 0, clientId: "bench" },
});
const REGISTER = encodePacket({
  ...{ type: "REGISTER", topicId: 0, msgId: 1, topicName: "a/b" },
});
const PUBLISH = encodePacket({
  ...{ type: "PUBLISH", dup: false, qos: 1, retain: false },
  ...{ topicIdType: "normal", topicId: 1, msgId: 7 },
  data: new Uint8Array(64),
});

for (const journal of [false, true]) {
  const loop = new Loop();
  await Broker.listen({ transport: loop, journal });
  // As from a socket, where each datagram's peer is a new object.
  const from = (i: number) => peerOf("127.0.0.1", 40_000 + i % 4);
  loop.handler(from(0), CONNECT);
  loop.handler(from(0), REGISTER);
  let turn = 0;
  const name = journal ? "with a journal" : "without";
  const options = { baseline: !journal };
  Deno.bench(`JSON publish, ${name}`, { ...options, group: "JSON" }, () => {
    turn++;
    loop.handler(from(turn), CLASSIC[turn % 100]!);
  });
  Deno.bench(`QoS 1, ${name}`, { ...options, group: "QoS 1" }, () => {
    loop.handler(from(0), PUBLISH);
  });
}
