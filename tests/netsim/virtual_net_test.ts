/**
 * Tests of the network in virtual time.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import { type Millis, seededRandom } from "../../base/clock.ts";
import { type Effect, EffectQueue, type Machine } from "../../base/machine.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { Netem } from "../../netsim/netem.ts";
import { type Access, VirtualNet } from "../../netsim/virtual_net.ts";
import { BadNet, type NetOptions } from "../support/net.ts";

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
  const net = new BadNet(options);
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
  // Of two copies each has its own luck.
  assert(Math.abs(lost / sent - (0.8 * 0.3 + 0.2 * 0.09)) < 0.02, `${lost}`);
  assert(Math.abs(duplicated / sent - 0.2 * 0.49) < 0.02, `${duplicated}`);
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
  const net = new BadNet({ ...BAD, loss: 1 });
  const bob = new Chatterbox(ANN, 0);
  net.attach(ANN, new Chatterbox(BOB, 100));
  net.attach(BOB, bob);
  net.at(51, () => net.heal());
  net.run(1_000);
  assertEquals(net.counts.lost, 50);
  assertEquals(bob.came.length, 50);
});

Deno.test("VirtualNet lets vanish what is sent to nobody", () => {
  const net = new BadNet(PERFECT);
  net.attach(ANN, new Chatterbox(BOB, 10));
  net.attach(BOB, new Chatterbox(ANN, 0));
  net.run(8);
  net.detach(BOB);
  net.run(100);
  const { delivered, vanished } = net.counts;
  assertEquals([delivered, vanished], [3, 7]);
});

Deno.test("VirtualNet stops a machine that is always due", () => {
  const net = new BadNet(PERFECT);
  const stuck: Machine<never> = {
    handleDatagram: () => {},
    handleTimeout: () => {},
    nextTimeout: () => 0,
    pollEffect: () => undefined,
  };
  net.attach(ANN, stuck);
  assertThrows(() => net.run(1), Error, `"${ANN.key}" is always due`);
});

Deno.test("VirtualNet lets nothing through to or from who is mute", () => {
  const net = new BadNet(PERFECT);
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
  const net = new BadNet({
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
  const net = new BadNet({
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

/** A machine that is due once, and notes when it is asked. */
class Alarm implements Machine<never> {
  readonly calls: Millis[] = [];
  /** When it is due, by its own clock. */
  at: Millis | undefined;

  constructor(at: Millis) {
    this.at = at;
  }

  handleDatagram(now: Millis): void {
    this.calls.push(now);
  }

  handleTimeout(now: Millis): void {
    assert(now >= this.at!, `${now}`);
    this.calls.push(now);
    this.at = undefined;
  }

  nextTimeout(): Millis | undefined {
    return this.at;
  }

  pollEffect(): undefined {}
}

Deno.test("VirtualNet calls a machine at its deadline, also when that has moved", () => {
  const net = new VirtualNet();
  const alarm = new Alarm(100);
  net.attach(ANN, alarm);
  net.run(50);
  alarm.at = 200; // later: the entry is found to be early
  net.run(150);
  alarm.at = 175.5; // earlier
  net.run(1_000);
  assertEquals(alarm.calls, [175.5]);
  alarm.at = 10; // long ago
  net.run(1_000);
  assertEquals(alarm.calls, [175.5, 1_000]);
});

Deno.test("VirtualNet takes the sender's way out, else the receiver's way in", () => {
  const wayOf = (ms: Millis) => ({
    send: (
      now: Millis,
      bytes: Uint8Array,
      deliver: (at: Millis, bytes: Uint8Array) => void,
    ) => deliver(now + ms, bytes),
  });
  const far: Access = { out: wayOf(100), in: wayOf(200) };
  const net = new VirtualNet({ way: wayOf(1) });
  const [ann, bob, cyd] = [new Alarm(1e9), new Alarm(1e9), new Alarm(1e9)];
  net.attach(ANN, ann, undefined, far);
  net.attach(BOB, bob, undefined, far);
  net.attach(CYD, cyd);
  const hello = Uint8Array.of(2, 0x17);
  net.forge(ANN, BOB, hello);
  net.forge(CYD, BOB, hello);
  net.forge(ANN, CYD, hello);
  net.forge(BOB, CYD, hello);
  net.run(500);
  net.detach(BOB);
  net.forge(BOB, CYD, hello); // nobody's way any more
  net.run(1_000);
  assertEquals([ann.calls, bob.calls, cyd.calls], [[], [100, 200], [
    100,
    100,
    501,
  ]]);
});

/** Answers each datagram, and is done. */
class Echo implements Machine<never> {
  readonly asked: Peer[] = [];
  readonly #effects = new EffectQueue<never>();

  handleDatagram(_now: Millis, peer: Peer, bytes: Uint8Array): void {
    this.asked.push(peer);
    this.#effects.send(peer, bytes);
  }

  handleTimeout(): void {}

  nextTimeout(): undefined {}

  pollEffect(): Effect<never> | undefined {
    return this.#effects.poll();
  }
}

Deno.test("VirtualNet takes an answer to who asked, or to who is there by now", () => {
  const net = new VirtualNet();
  const [first, second] = [new Chatterbox(BOB, 3), new Chatterbox(BOB, 2)];
  const echo = new Echo();
  net.attach(ANN, first);
  net.attach(BOB, echo);
  net.attach(CYD, second);
  net.run(2);
  assertEquals([first.came, second.came], [[1, 2], [1, 2]]);
  net.detach(ANN);
  const later = new Chatterbox(BOB, 1);
  net.attach(ANN, later);
  net.run(3);
  assertEquals([first.came, later.came], [[1, 2], [2]]);
  net.forge(ANN, BOB, Uint8Array.of(2, 0x17));
  net.run(4);
  assertEquals([first.came, later.came], [[1, 2], [2, 3]]);
  net.detach(ANN);
  net.forge(ANN, BOB, Uint8Array.of(2, 0x17));
  net.run(5);
  assertEquals(net.counts.vanished, 1);
  assertEquals(echo.asked.at(-1), ANN);
});

Deno.test("VirtualNet.leap() has one machine's clock ahead of the others'", () => {
  const net = new VirtualNet();
  const [ann, bob] = [new Alarm(5_000.3), new Alarm(5_000.3)];
  net.attach(ANN, ann);
  net.attach(BOB, bob);
  net.run(1_000);
  net.leap(ANN, 3_000);
  net.run(1_500);
  net.forge(BOB, ANN, Uint8Array.of(2, 0x17));
  net.run(10_000);
  assertEquals(ann.calls.map(Math.round), [4_500, 5_000]);
  assertEquals(bob.calls, [5_000.3]);
  net.leap(CYD, 1); // nobody
});

Deno.test("VirtualNet.freeze() holds back what comes and what is due, as far as there is room", () => {
  const net = new VirtualNet();
  const ann = new Alarm(100);
  net.attach(ANN, ann);
  net.run(50);
  net.freeze(ANN, 1_000);
  for (let count = 0; count < 300; count++) {
    net.forge(BOB, ANN, Uint8Array.of(2, 0x17));
  }
  net.run(1_049);
  assertEquals(ann.calls, []);
  net.run(2_000);
  assertEquals(ann.calls.length, 256 + 1);
  assertEquals(new Set(ann.calls), new Set([1_050]));
  assertEquals(net.counts.vanished, 300 - 256);
  net.forge(BOB, ANN, Uint8Array.of(2, 0x17));
  net.run(3_000);
  assertEquals(ann.calls.at(-1), 2_000);
});

Deno.test("VirtualNet.digest is the same for the same run alone", () => {
  const digestOf = (options: NetOptions, count = 200) =>
    chat(options, count).net.digest;
  const digest = digestOf(BAD);
  assertEquals(digest.length, 16);
  assertEquals(digestOf(BAD), digest);
  assertNotEquals(digestOf({ ...BAD, seed: 2 }), digest);
  assertNotEquals(digestOf(BAD, 201), digest);
  // An octet, an end, or a fraction of a millisecond make the difference.
  const forged = (from: Peer, octet: number, at: Millis) => {
    const net = new VirtualNet();
    net.attach(ANN, new Alarm(1e9));
    net.attach(CYD, new Alarm(1e9));
    net.run(at);
    net.forge(from, ANN, Uint8Array.of(2, octet));
    return net.digest;
  };
  const all = [
    forged(CYD, 1, 7),
    forged(CYD, 2, 7),
    forged(ANN, 1, 7),
    forged(CYD, 1, 7.25),
    forged(CYD, 1, 7 + 2 ** 32),
  ];
  assertEquals(new Set(all).size, all.length);
  assertEquals(forged(CYD, 1, 7), all[0]);
});

Deno.test("VirtualNet gives a receiver octets of its own if it is strict", () => {
  for (const isStrict of [true, false]) {
    const net = new VirtualNet({ isStrict });
    const kept: Uint8Array[] = [];
    net.attach(ANN, {
      handleDatagram: (_now, _peer, bytes) => kept.push(bytes),
      handleTimeout: () => {},
      nextTimeout: () => undefined,
      pollEffect: () => undefined,
    });
    const bytes = Uint8Array.of(2, 0x17);
    net.forge(BOB, ANN, bytes);
    net.run(1);
    assertEquals(bytes, Uint8Array.of(2, 0x17));
    assertEquals(kept[0], isStrict ? Uint8Array.of(0xee, 0xee) : bytes);
  }
});

Deno.test("VirtualNet is as bad as netem on the ways it is given", () => {
  const way = new Netem(
    { loss: { chance: 0.5, correlation: 0 } },
    seededRandom(3),
  );
  const net = new VirtualNet({ way });
  net.attach(ANN, new Chatterbox(BOB, 1_000));
  net.attach(BOB, new Chatterbox(ANN, 0));
  net.run(2_000);
  assertEquals(net.counts.lost, way.counts.lost);
  assertEquals(net.counts.delivered, way.counts.delivered);
  assert(Math.abs(net.counts.lost - 500) < 60);
});
