/**
 * Tests of what the pair tests stand on: the virtual network, and what can stand
 * between it and a client. The judge has its own.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Millis, seededRandom } from "../clock.ts";
import { Device } from "../device.ts";
import { type Effect, EffectQueue, type Machine } from "../machine.ts";
import { type Peer, peerOf } from "../message.ts";
import { Router } from "../router.ts";
import { type NetOptions, VirtualNet } from "./support/net.ts";
import { Forgetful, ForwarderBox } from "./support/nodes.ts";

const GATEWAY = peerOf("127.0.0.1", 1);
const ANN = peerOf("127.0.0.1", 1001);
const BOB = peerOf("127.0.0.1", 1002);
const CYD = peerOf("127.0.0.1", 1003);
const PERFECT: NetOptions = {
  seed: 1,
  loss: 0,
  delayMs: [5, 5],
  duplicate: 0,
};
const BAD: NetOptions = {
  seed: 1,
  loss: 0.3,
  delayMs: [0, 60],
  duplicate: 0.2,
};

// The network

/** Sends a datagram every millisecond, and counts what comes. */
class Chatterbox implements Machine<never> {
  readonly came: number[] = [];
  readonly #effects = new EffectQueue<never>();
  readonly #to: Peer;
  #left: number;
  #at = 1;

  constructor(to: Peer, count: number) {
    this.#to = to;
    this.#left = count;
  }

  handleDatagram(now: Millis, _peer: Peer, bytes: Uint8Array): void {
    assertEquals(bytes.length, 2);
    this.came.push(now);
  }

  handleTimeout(now: Millis): void {
    if (this.#left === 0 || now < this.#at) return;
    this.#left--;
    this.#at = now + 1;
    this.#effects.send(this.#to, Uint8Array.of(2, 0x17));
  }

  nextTimeout(): Millis | undefined {
    return this.#left === 0 ? undefined : this.#at;
  }

  pollEffect(): Effect<never> | undefined {
    return this.#effects.poll();
  }
}

function chat(options: NetOptions, count = 10_000) {
  const net = new VirtualNet(options);
  const ann = new Chatterbox(BOB, count);
  const bob = new Chatterbox(ANN, 0);
  net.attach(ANN, ann);
  net.attach(BOB, bob);
  net.run(count + 1_000);
  return { net, ann, bob };
}

Deno.test("VirtualNet gives the same conversation for the same seed", () => {
  const options = { ...BAD, trace: true };
  const [one, other] = [chat(options, 500), chat(options, 500)];
  assertEquals(one.net.lines.length, 500);
  assertEquals(one.net.lines, other.net.lines);
  assertEquals(one.bob.came, other.bob.came);
  const third = chat({ ...options, seed: 2 }, 500);
  assert(one.net.lines.join() !== third.net.lines.join());
});

Deno.test("VirtualNet loses and doubles as often as it is told", () => {
  const { net, bob } = chat({ ...BAD, loss: 0.3, duplicate: 0.2 });
  const { sent, lost, duplicated, delivered } = net.counts;
  assertEquals(sent, 10_000);
  assert(Math.abs(lost / sent - 0.3) < 0.02, `${lost}`);
  assert(Math.abs(duplicated / (sent - lost) - 0.2) < 0.02, `${duplicated}`);
  assertEquals(delivered, sent - lost + duplicated);
  assertEquals(bob.came.length, delivered);
});

Deno.test("VirtualNet delivers each datagram once, in its time, when perfect", () => {
  const { net, bob } = chat(PERFECT, 100);
  assertEquals(net.counts.lost + net.counts.duplicated, 0);
  assertEquals(bob.came, Array.from({ length: 100 }, (_, at) => at + 6));
  assertEquals(net.now, 1_100);
});

Deno.test("VirtualNet loses nothing once it is healed", () => {
  const net = new VirtualNet({ ...BAD, loss: 1 });
  const bob = new Chatterbox(ANN, 0);
  net.attach(ANN, new Chatterbox(BOB, 100));
  net.attach(BOB, bob);
  net.at(51, () => net.heal());
  net.run(1_000);
  assertEquals(net.counts.lost, 50);
  assertEquals(bob.came.length, 50);
});

Deno.test("VirtualNet lets vanish what is sent to nobody", () => {
  const net = new VirtualNet(PERFECT);
  net.attach(ANN, new Chatterbox(BOB, 10));
  net.attach(BOB, new Chatterbox(ANN, 0));
  net.run(8);
  net.detach(BOB);
  net.run(100);
  const { delivered, vanished } = net.counts;
  assertEquals([delivered, vanished], [3, 7]);
});

Deno.test("VirtualNet stops a machine that is always due", () => {
  const net = new VirtualNet(PERFECT);
  const stuck: Machine<never> = {
    handleDatagram: () => {},
    handleTimeout: () => {},
    nextTimeout: () => 0,
    pollEffect: () => undefined,
  };
  net.attach(ANN, stuck);
  assertThrows(() => net.run(1), Error, `"${ANN.key}" is always due`);
});

Deno.test("VirtualNet takes no odds beyond 0 to 1 and no negative delay", () => {
  assertThrows(() => new VirtualNet({ ...BAD, loss: 1.1 }), RangeError);
  assertThrows(() => new VirtualNet({ ...BAD, duplicate: -1 }), RangeError);
  assertThrows(() => new VirtualNet({ ...BAD, delayMs: [9, 8] }), RangeError);
});

Deno.test("VirtualNet lets nothing through to or from who is mute", () => {
  const net = new VirtualNet(PERFECT);
  const [ann, bob] = [new Chatterbox(BOB, 10), new Chatterbox(ANN, 20)];
  net.attach(ANN, ann);
  net.attach(BOB, bob);
  net.mute(ANN, true);
  net.at(15, () => net.mute(ANN, false));
  net.run(100);
  assertEquals([ann.came.length, bob.came.length], [11, 0]);
  assertEquals([net.counts.lost, net.counts.vanished], [10, 9]);
});

Deno.test("VirtualNet carries what is forged, and nobody is seen to send it", () => {
  const seen: string[] = [];
  const net = new VirtualNet({
    ...PERFECT,
    onSend: (now, from, to) => seen.push(`${now} ${from.key} > ${to?.key}`),
    onDelivery: (now, from, to) => seen.push(`${now} ${to.key} < ${from.key}`),
  });
  net.attach(ANN, new Chatterbox(BOB, 1));
  net.attach(BOB, new Chatterbox(ANN, 0));
  net.forge(BOB, ANN, Uint8Array.of(2, 0x17));
  net.run(100);
  assertEquals(seen, [
    `1 ${ANN.key} > ${BOB.key}`,
    `5 ${ANN.key} < ${BOB.key}`,
    `6 ${BOB.key} < ${ANN.key}`,
  ]);
});

Deno.test("VirtualNet carries a broadcast to all but its sender, each by its luck", () => {
  const effects = new EffectQueue<never>();
  const crier: Machine<never> = {
    handleDatagram: () => assert(false),
    handleTimeout: () => {},
    nextTimeout: () => undefined,
    pollEffect: () => effects.poll(),
  };
  let broadcasts = 0;
  const net = new VirtualNet({
    ...BAD,
    duplicate: 0,
    onSend: (_now, _from, to) => broadcasts += to === undefined ? 1 : 0,
  });
  const [bob, cyd] = [new Chatterbox(ANN, 0), new Chatterbox(ANN, 0)];
  net.attach(ANN, crier);
  net.attach(BOB, bob);
  net.attach(CYD, cyd);
  for (let count = 0; count < 1_000; count++) {
    effects.broadcast(Uint8Array.of(2, 0x17), 0);
  }
  net.run(100);
  assertEquals(broadcasts, 1_000);
  assertEquals(net.counts.sent, 2_000);
  for (const { came } of [bob, cyd]) {
    assert(Math.abs(came.length - 700) < 60, `${came.length}`);
  }
});

// What stands between

/** A router, and devices at their places. */
class Bench {
  readonly net = new VirtualNet({ ...PERFECT, trace: true });

  constructor() {
    this.net.attach(GATEWAY, new Router({ gwId: 7 }));
  }

  device(clientId: string, gateway: Peer | undefined = GATEWAY): Device {
    return new Device({
      ...(gateway === GATEWAY ? { gateway } : {
        search: { searchMs: 40 },
      }),
      clientId,
      random: seededRandom(1),
      keepAlive: 0,
      cleanSession: false,
    });
  }

  run(): void {
    this.net.run(this.net.now + 200);
  }

  /** What was said since the last time, without moments and addresses. */
  take(from: Peer): string[] {
    const mine = this.net.lines.filter((line) =>
      line.split(" ")[1] === from.key
    );
    this.net.lines.length = 0;
    return mine.map((line) => line.split(" ").slice(4).join(" "))
      .map((line) => line.replace(/ \(.*$/, ""));
  }
}

Deno.test("ForwarderBox speaks for its nodes, and hands on what is theirs alone", () => {
  const bench = new Bench();
  const forwarder = new ForwarderBox(ANN);
  bench.net.attach(ANN, forwarder);
  const got: string[] = [];
  const nodes = ["bob", "cyd"].map((clientId, at) => {
    const device = bench.device(clientId);
    forwarder.attach(Uint8Array.of(at), device, (event) => {
      if (event.type === "message") {
        got.push(`${clientId} ${event.message.text()}`);
      }
    });
    return device;
  });
  const [bob, cyd] = nodes as [Device, Device];
  bob.subscribe(0, { short: "ab" }, 1);
  bench.run();
  cyd.publish(bench.net.now, { short: "ab" }, new TextEncoder().encode("x"));
  bench.run();
  assertEquals(got, ["bob x"]);
  assertEquals(bench.take(ANN).slice(0, 2), [
    'node 00: CONNECT protocolId=1 duration=0 clientId="bob"',
    'node 00: SUBSCRIBE qos=1 msgId=38561 topicIdType=short topicName="ab"',
  ]);
  assertEquals([bob.state, cyd.state], ["active", "active"]);

  forwarder.detach(Uint8Array.of(0));
  cyd.publish(bench.net.now, { short: "ab" }, new TextEncoder().encode("y"));
  bench.run();
  assertEquals(got, ["bob x"]);
});

Deno.test("ForwarderBox broadcasts for a node that looks for a gateway", () => {
  const bench = new Bench();
  const forwarder = new ForwarderBox(ANN);
  bench.net.attach(ANN, forwarder);
  const device = bench.device("bob", ANN);
  forwarder.attach(Uint8Array.of(9), device);
  device.connect(0);
  bench.run();
  assertEquals(device.state, "active");
  assertEquals(bench.take(GATEWAY), [
    'node 09: GWINFO gwId=7 gwAdd=""',
    "node 09: CONNACK returnCode=0",
  ]);
});

Deno.test("Forgetful asks for an id once more that it had before it slept", () => {
  const bench = new Bench();
  const [ann, bob] = [bench.device("ann"), bench.device("bob")];
  const got: string[] = [];
  bench.net.attach(ANN, new Forgetful(ann), (event) => {
    if (event.type === "message") got.push(event.message.text());
  });
  bench.net.attach(BOB, bob);
  const publish = (text: string) => {
    const payload = new TextEncoder().encode(text);
    bob.publish(bench.net.now, "lamp", payload, { qos: 1 });
    bench.run();
  };
  ann.subscribe(0, "lamp", 1);
  bench.run();
  publish("on");
  ann.sleep(bench.net.now, 60);
  bench.run();
  publish("off");
  bench.take(ANN);
  ann.wake(bench.net.now);
  bench.run();
  assertEquals(got, ["on", "off"]);
  assertEquals(bench.take(ANN), [
    'PINGREQ clientId="ann"',
    "PUBACK topicId=1 msgId=2 returnCode=2",
    "REGACK topicId=1 msgId=3 returnCode=0",
    "PUBACK topicId=1 msgId=2 returnCode=0",
  ]);
});
