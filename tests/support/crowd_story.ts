/**
 * The story of a crowd: strangers send a broker whatever they like, some play along
 * for a while, and more clients come than it has room for. Nothing of what they do
 * ends it, grows its tables beyond their limits, or has it send more to who has
 * never connected than came from there.
 *
 * @module
 */

import { type Millis, type Random, seededRandom } from "../../base/clock.ts";
import { Device } from "../../client/device.ts";
import { type Effect, EffectQueue, type Machine } from "../../base/machine.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { isFramed } from "../../wire/mqttsn.ts";
import { Router } from "../../broker/router.ts";
import { BadNet } from "./net.ts";
import { Scales } from "./scales.ts";
import { fail, type Story } from "./stories.ts";
import { answer, assertBounded, datagram, LIMITS } from "./strangers.ts";

const BROKER = peerOf("127.0.0.1", 12_003);

/** How long the crowd is there. */
const BUSY_MS = 10_000;

/** How often it is looked at the tables. */
const LOOK_MS = 100;

/** Somebody who sends something once in a while, and may answer what comes. */
class Stranger implements Machine<never> {
  readonly #effects = new EffectQueue<never>();
  readonly #random: Random;
  readonly #answers: boolean;
  readonly #gapMs: Millis;
  #at: Millis = 0;

  constructor(random: Random) {
    this.#random = random;
    this.#answers = random() < 0.5;
    this.#gapMs = 10 + random() * 300;
  }

  handleDatagram(_now: Millis, _peer: Peer, bytes: Uint8Array): void {
    if (!this.#answers || !isFramed(bytes)) return;
    const reply = answer(bytes, this.#random);
    if (reply !== undefined) this.#effects.send(BROKER, reply);
  }

  handleTimeout(now: Millis): void {
    if (now < this.#at || now > BUSY_MS) return;
    this.#at = now + this.#random() * 2 * this.#gapMs;
    const bytes = datagram(this.#random);
    this.#effects.send(BROKER, bytes);
  }

  nextTimeout(): Millis | undefined {
    return this.#at > BUSY_MS ? undefined : this.#at;
  }

  pollEffect(): Effect<never> | undefined {
    return this.#effects.poll();
  }
}

/** One story: everything in it depends on the seed alone. */
export class CrowdStory implements Story {
  readonly #random: Random;
  readonly #net: BadNet;
  readonly #router: Router;
  readonly #scales = new Scales([BROKER]);

  /** Gathers a crowd. */
  constructor(seed: number, trace: boolean) {
    this.#random = seededRandom(seed ^ 0x243f6a88);
    this.#net = new BadNet({
      seed,
      trace,
      loss: 0.2 * this.#random(),
      duplicate: 0.2 * this.#random(),
      delayMs: [0, 80],
      onSend: (now, from, to, bytes) =>
        this.#scales.handleSend(now, from, to, bytes),
      onDelivery: (_now, from, to, bytes) =>
        this.#scales.handleDelivery(from, to, bytes),
    });
    this.#router = new Router({
      ...LIMITS,
      overflow: this.#random() < 0.3 ? "refuse" : "drop",
      strict: this.#random() < 0.2,
    });
    this.#net.attach(
      BROKER,
      this.#router,
      (event) => this.#scales.handleEvent(event),
    );
    const strangers = 4 + this.#below(12);
    for (let at = 0; at < strangers; at++) {
      // Some with an address of their own, beyond this machine.
      const peer = at % 3 === 0
        ? peerOf(`192.0.2.${at}`, 4_711)
        : peerOf("127.0.0.1", 1_000 + at);
      this.#net.attach(peer, new Stranger(this.#random));
    }
    const devices = this.#below(2 * LIMITS.maxClients);
    for (let at = 0; at < devices; at++) this.#join(at);
  }

  /** See {@linkcode Story}. */
  get lines(): readonly string[] {
    return this.#net.lines;
  }

  /** See {@linkcode Story}. */
  get digest(): string {
    return this.#net.digest;
  }

  /** See {@linkcode Story}. */
  tell(): void {
    for (let at = 0; at < BUSY_MS + 5_000; at += LOOK_MS) {
      this.#net.run(at);
      assertBounded(this.#router);
    }
    if (this.#scales.weighed === 0) fail("no stranger was answered");
    if (this.#router.stats().received === 0) fail("nothing came");
  }

  #join(at: number): void {
    const peer = peerOf("127.0.0.1", 5_000 + at);
    const device = new Device({
      gateway: BROKER,
      clientId: `d${at}`,
      random: this.#random,
      keepAlive: 1 + this.#below(3),
      cleanSession: this.#random() < 0.5,
      retryMs: 200,
      waitMs: 500,
      maxPauseMs: 1_000,
    });
    this.#net.attach(peer, device);
    for (let count = 0; count < 30; count++) {
      const topicName = `a/${this.#below(6)}`;
      const qos = this.#below(3) as 0 | 1 | 2;
      const size = this.#below(200);
      const action = this.#below(4);
      this.#net.at(this.#below(BUSY_MS), () => {
        const { now } = this.#net;
        if (action === 0) device.subscribe(now, topicName, qos);
        else if (action === 1) device.sleep(now, 1);
        else device.publish(now, topicName, new Uint8Array(size), { qos });
      });
    }
    this.#net.at(this.#below(BUSY_MS), () => device.connect(this.#net.now));
  }

  #below(count: number): number {
    return Math.floor(this.#random() * count);
  }
}
