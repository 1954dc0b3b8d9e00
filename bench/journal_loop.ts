// deno-lint-ignore-file no-console -- a program: the console is its output
/**
 * What the journal costs the broker, without a socket: publishes and their
 * acknowledgements through `Broker` with a journal and without, by turns, so that
 * both have the same of what else goes on.
 *
 * `deno run -A bench/journal_loop.ts`
 *
 * @module
 */

import { Broker } from "../broker.ts";
import { encodePublish } from "../wire/classic.ts";
import { peerOf } from "../base/peer.ts";
import { encodePacket } from "../wire/mqttsn.ts";
import type { DatagramHandler, Transport } from "../transport/transport.ts";

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
    return {
      sent: 0,
      received: 0,
      sendErrors: 0,
      receiveErrors: 0,
      refused: {},
      congested: 0,
    };
  }

  close(): void {
    this.#closed.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
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

/** Publishes of a turn, turns of each, and those before anything counts. */
const PUBLISHES = 40_000;
const TURNS = 60;
const WARM_UP = 10;

async function loopWith(journal: boolean): Promise<Loop> {
  const loop = new Loop();
  await Broker.listen({ transport: loop, journal });
  for (let i = 0; i < 4; i++) {
    loop.handler(from(i), CONNECT);
    loop.handler(from(i), REGISTER);
  }
  return loop;
}

/** As from a socket, where the peer of each datagram is a new object. */
function from(i: number) {
  return peerOf("127.0.0.1", 40_000 + i % 4);
}

/** Nanoseconds for a publish. */
function turn(loop: Loop, datagrams: readonly Uint8Array[]): number {
  const startedAt = performance.now();
  for (let i = 0; i < PUBLISHES; i++) {
    loop.handler(from(i), datagrams[i % datagrams.length]!);
  }
  return (performance.now() - startedAt) * 1e6 / PUBLISHES;
}

function at(share: number, figures: readonly number[]): number {
  const sorted = figures.toSorted((one, other) => one - other);
  return Math.round(sorted[Math.floor(sorted.length * share)]!);
}

const loops = [await loopWith(false), await loopWith(true)];
for (
  const [what, datagrams] of [["JSON", CLASSIC], ["QoS 1", [PUBLISH]]] as const
) {
  const figures: [number[], number[]] = [[], []];
  for (let i = 0; i < TURNS; i++) {
    for (const which of i % 2 === 0 ? [0, 1] : [1, 0]) {
      const ns = turn(loops[which]!, datagrams);
      if (i >= WARM_UP) figures[which]!.push(ns);
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }
  for (const [which, name] of ["without", "with a journal"].entries()) {
    const those = figures[which]!;
    console.log(
      `${what}, ${name}: median ${at(0.5, those)} ns, tenth ${
        at(0.1, those)
      } to ${at(0.9, those)} ns`,
    );
  }
  const more = figures[1].map((ns, i) => ns - figures[0][i]!);
  console.log(`${what}, what it adds: median ${at(0.5, more)} ns`);
}
Deno.exit(); // the brokers have nothing to close
