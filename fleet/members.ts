/**
 * Who takes part in a fleet: members, which publish, sleep and take commands, and
 * listeners, which they publish for. Each is a machine around a `Device`, which it
 * tells what to do when.
 *
 * @module
 */

import type { Millis, Random } from "../base/clock.ts";
import { Device, type DeviceOptions } from "../client/device.ts";
import type { DeviceEvent, ReceivedMessage } from "../client/events.ts";
import { type Ledger, type MessageKind, numberPayload } from "./ledger.ts";
import { type FleetOptions, placeOf, type QosMix } from "./options.ts";
import type { Effect, Machine } from "../base/machine.ts";
import type { DeliveryQos } from "../wire/message.ts";
import type { Peer } from "../base/peer.ts";

/** What a party's fleet is to it. */
export interface FleetHost {
  /** What it was told to be. */
  readonly options: FleetOptions;
  /** What was published and what has come. */
  readonly ledger: Ledger;
  /** Where the broker is. */
  readonly broker: Peer;
  /** When nobody publishes any more. */
  readonly quietAt: Millis;
  /** A member by chance, `undefined` if it takes no commands yet. */
  memberFor(random: Random): Member | undefined;
}

/** What a party may have given its device and not got rid of, in messages. */
const MAX_PENDING = 100;

/** Until a party that nobody answered tries again, at most. */
const AGAIN_MS = 60_000;

/** Payloads are written here, by their size: a device copies what it keeps. */
const scratch: Uint8Array[] = [];

/** What members and listeners have in common: they connect, and publish at a rate. */
export abstract class Party implements Machine<never> {
  /** The client's core. */
  readonly device: Device;
  /** Messages that were not published, as too many waited to be. */
  withheld = 0;
  /** How often it was told that it cannot connect, or heard nothing. */
  turnedAway = 0;
  /** Its fleet. */
  protected readonly host: FleetHost;
  /** Where its chances come from. */
  protected readonly random: Random;
  #connectToken = 0;
  #connectAt: Millis;
  #publishAt: Millis = Infinity;
  #now: Millis = 0;

  /**
   * Makes a party that connects at a moment.
   *
   * @param options of its device, which differ from the fleet's
   */
  constructor(
    host: FleetHost,
    random: Random,
    connectAt: Millis,
    options: Pick<DeviceOptions, "clientId" | "cleanSession" | "keepAlive">,
  ) {
    const { retryMs, retries } = host.options;
    this.host = host;
    this.random = random;
    this.#connectAt = connectAt;
    this.device = new Device({
      ...options,
      gateway: host.broker,
      random,
      retryMs,
      retries,
      // A message is looked at once and for all when it comes.
      ownsDatagrams: true,
    });
  }

  /** Hands its device a datagram. */
  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    this.#now = now;
    this.device.handleDatagram(now, peer, bytes);
  }

  /** Does what is due: to connect, to publish, and what its device has. */
  handleTimeout(now: Millis): void {
    this.#now = now;
    if (now >= this.#connectAt) {
      const isFirst = this.#connectToken === 0;
      this.#connectAt = Infinity;
      this.#connectToken = this.device.connect(now);
      if (isFirst) this.#planNext(now);
      this.settleDown(now, isFirst);
    }
    if (now >= this.#publishAt) {
      if (this.device.unpublished < MAX_PENDING) this.publish(now);
      else this.withheld++;
      this.#planNext(now);
    }
    // It is not asked to look for what is due where nothing is.
    const dueAt = this.device.nextTimeout();
    if (dueAt !== undefined && now >= dueAt) this.device.handleTimeout(now);
  }

  /** When something is due. */
  nextTimeout(): Millis | undefined {
    const at = Math.min(this.#connectAt, this.#publishAt);
    const dueAt = this.device.nextTimeout() ?? Infinity;
    return dueAt < at ? dueAt : at < Infinity ? at : undefined;
  }

  /** What its device sends. */
  pollEffect(): Effect<never> | undefined {
    for (let effect; (effect = this.device.pollEffect()) !== undefined;) {
      if (effect.type !== "trace") return effect;
      this.#handle(effect.event);
    }
    return undefined;
  }

  /** Gives its device what is to be done once it is connected. */
  protected abstract settleDown(now: Millis, isFirst: boolean): void;

  /** What it publishes a second, on average. */
  protected abstract get rate(): number;

  /** Publishes a message. */
  protected abstract publish(now: Millis): void;

  /** Takes a message that came. */
  protected abstract receive(now: Millis, message: ReceivedMessage): void;

  /** A command of its device has ended well. */
  protected handleDone(_token: number): void {}

  /** Enters a message into the ledger and hands it to the device. */
  protected send(
    now: Millis,
    flow: MessageKind,
    topicName: string,
    client: number,
    receivers: number,
  ): void {
    const { ledger, options: { payload: [min, max], qos: mix } } = this.host;
    const qos = this.#qosOf(mix);
    const size = min + Math.floor(this.random() * (max - min + 1));
    const payload = scratch[size] ??= new Uint8Array(size);
    const number = ledger.publish(now, flow, client, qos, receivers);
    numberPayload(payload, number);
    this.device.publish(now, topicName, payload, { qos });
  }

  #qosOf([zero, one]: QosMix): DeliveryQos {
    const chance = this.random();
    return chance < zero ? 0 : chance < zero + one ? 1 : 2;
  }

  /** Gaps between events at random are exponential. */
  #planNext(now: Millis): void {
    const gapMs = -Math.log(1 - this.random()) * 1_000 / this.rate;
    const at = now + gapMs;
    this.#publishAt = at < this.host.quietAt ? at : Infinity;
  }

  #handle(event: DeviceEvent): void {
    switch (event.type) {
      case "message":
        return this.receive(this.#now, event.message);
      case "done":
        return this.handleDone(event.token);
      case "refused":
      case "silence":
        if (event.token !== this.#connectToken) return;
        this.turnedAway++;
        this.#connectAt = this.#now + AGAIN_MS * (0.5 + this.random() / 2);
    }
  }
}

/** One of a fleet's clients. */
export class Member extends Party {
  /** Whether it takes commands. */
  isReady = false;
  /** Where commands for it go. */
  readonly commandTopic: string;
  /** Which of the clients it is. */
  readonly number: number;
  readonly #topicName: string;
  readonly #isSleeper: boolean;
  #subscribeToken = 0;

  /** Makes a member that comes at a moment. */
  constructor(
    host: FleetHost,
    number: number,
    random: Random,
    comesAt: Millis,
  ) {
    const { keepAlive, cleanSession, sleepers, tree } = host.options;
    super(host, random, comesAt, {
      clientId: `c${number}`,
      cleanSession,
      keepAlive,
    });
    this.number = number;
    this.commandTopic = `command/c${number}`;
    this.#topicName = tree.topicOf(number);
    this.#isSleeper = random() < sleepers;
  }

  /** What it publishes a second, on average. */
  protected override get rate(): number {
    return this.host.options.rate;
  }

  /** Gives its device what is to be done once it is connected. */
  protected override settleDown(now: Millis, isFirst: boolean): void {
    const { commands, sleep } = this.host.options;
    if (isFirst && commands > 0) {
      this.#subscribeToken = this.device.subscribe(now, this.commandTopic, 2);
    }
    if (this.#isSleeper) this.device.sleep(now, sleep);
  }

  /** Publishes a message. */
  protected override publish(now: Millis): void {
    const { fanout, listeners } = this.host.options;
    const receivers = Math.min(fanout, listeners);
    this.send(now, "readings", this.#topicName, this.number, receivers);
  }

  /** Takes a message that came. */
  protected override receive(now: Millis, { payload }: ReceivedMessage): void {
    const { ledger } = this.host;
    const entry = ledger.find(payload);
    if (entry?.flow !== "commands" || entry.client !== this.number) return;
    ledger.arrive(now, entry.number, 0);
  }

  /** Notes that it takes commands. */
  protected override handleDone(token: number): void {
    if (token === this.#subscribeToken) this.isReady = true;
  }
}

/** One for whom a fleet publishes, and who commands it: beside the broker, awake. */
export class Listener extends Party {
  /** Datagrams that it has sent and been sent. */
  datagrams = 0;
  /** Their octets. */
  octets = 0;
  readonly #number: number;

  /** Makes a listener that connects at a moment. */
  constructor(
    host: FleetHost,
    number: number,
    random: Random,
    comesAt: Millis,
  ) {
    super(host, random, comesAt, {
      clientId: `listener${number}`,
      cleanSession: false,
      keepAlive: 60,
    });
    this.#number = number;
  }

  /** Hands its device a datagram, and counts it. */
  override handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    this.datagrams++;
    this.octets += bytes.length;
    super.handleDatagram(now, peer, bytes);
  }

  /** What its device sends, counted. */
  override pollEffect(): Effect<never> | undefined {
    const effect = super.pollEffect();
    if (effect?.type === "send") {
      this.datagrams++;
      this.octets += effect.bytes.length;
    }
    return effect;
  }

  /** What it publishes a second, on average. */
  protected override get rate(): number {
    const { clients, commands, listeners } = this.host.options;
    return clients * commands / listeners;
  }

  /** Gives its device what is to be done once it is connected. */
  protected override settleDown(now: Millis, isFirst: boolean): void {
    const { tree, listeners, fanout } = this.host.options;
    if (!isFirst) return;
    for (const filter of tree.filtersOf(this.#number, listeners, fanout)) {
      this.device.subscribe(now, filter, 2);
    }
  }

  /** Publishes a message. */
  protected override publish(now: Millis): void {
    const member = this.host.memberFor(this.random);
    if (member === undefined) return;
    this.send(now, "commands", member.commandTopic, member.number, 1);
  }

  /** Takes a message that came. */
  protected override receive(now: Millis, { payload }: ReceivedMessage): void {
    const { ledger, options: { tree, listeners, fanout } } = this.host;
    const entry = ledger.find(payload);
    if (entry?.flow !== "readings") return;
    const branch = tree.branchOf(entry.client);
    const place = placeOf(branch, this.#number, listeners);
    if (place < fanout) ledger.arrive(now, entry.number, place);
  }
}
