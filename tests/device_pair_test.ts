// deno-lint-ignore-file no-console -- a seed run alone prints its conversation
/**
 * The router and a few devices over a bad network, in virtual time.
 *
 * Each seed is one story: who publishes and subscribes, who sleeps, who
 * disconnects, who is out of reach for a while, and how bad the network is. In
 * one story of three another router, which knows nobody, takes the place of the
 * first: the devices have to find that out, and to subscribe again. In the end
 * the network is healed, everybody publishes once more, and what was promised
 * must have come: at QoS 1 at least once, at QoS 2 exactly once, in order.
 *
 * - `deno test -A tests/device_pair_test.ts -- --seeds 10000` tells more stories.
 * - `deno test -A tests/device_pair_test.ts -- --seed 17` tells one, and prints
 *   it.
 *
 * @module
 */

import { AssertionError } from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import { type Millis, type Random, seededRandom } from "../clock.ts";
import type { DeviceTopic } from "../commands.ts";
import { Device } from "../device.ts";
import type { DeviceEvent, ReceivedMessage } from "../device_event.ts";
import { type DeliveryQos, type Peer, peerOf } from "../message.ts";
import type { Effect, Machine } from "../machine.ts";
import type { RouterOptions } from "../options.ts";
import { Router } from "../router.ts";
import type { MqttSnStats } from "../system.ts";
import { matchesFilter, parseTopicFilter, parseTopicName } from "../topics.ts";
import { VirtualNet } from "./support/net.ts";

const GATEWAY = peerOf("127.0.0.1", 12003);
const RETRY_MS = 100;

/** How long the network is bad and everybody busy. */
const BUSY_MS = 6_000;

/** How often it is looked whether everybody has come back. */
const LOOK_MS = 50;

/** As long as nothing comes for this time, nothing more is to be expected. */
const QUIET_MS = 3_500;

/** A story that is not over by then never will be. */
const LIMIT_MS = 180_000;

/** Of a sleep, and of a keep alive, in seconds. */
const SLEEP_S = 1;
const KEEP_ALIVE_S = 2;

const PREDEFINED = new Map([[1, "p/one"]]);

const OPTIONS: RouterOptions = {
  retryMs: RETRY_MS,
  retries: 20,
  predefined: PREDEFINED,
};

/** What is published to. */
const TOPICS: readonly DeviceTopic[] = [
  "a",
  "a/b",
  "x/y",
  { predefined: 1 },
  { short: "ab" },
];

/** What is subscribed to. */
const FILTERS: readonly DeviceTopic[] = [
  "a",
  "a/b",
  "a/#",
  "+/b",
  "+/+",
  "#",
  { predefined: 1 },
  { short: "ab" },
];

/** What a device does besides. */
type Habit = "stays" | "sleeps" | "disconnects" | "vanishes";

interface Publication {
  readonly text: string;
  readonly topicName: string;
  readonly qos: DeliveryQos;
  readonly givenAt: Millis;
  /** When the gateway had taken it over. */
  doneAt: Millis;
}

interface Subscription {
  readonly topicFilter: string;
  qos: DeliveryQos;
  /** When the gateway had granted it. */
  doneAt: Millis;
}

/** A device, and what a test knows of it. */
class Participant {
  readonly name: string;
  readonly peer: Peer;
  readonly device: Device;
  readonly habit: Habit;
  readonly received: ReceivedMessage[] = [];
  readonly publications = new Map<number, Publication>();
  readonly subscriptions = new Map<number, Subscription>();

  constructor(name: string, peer: Peer, habit: Habit, random: Random) {
    this.name = name;
    this.peer = peer;
    this.habit = habit;
    this.device = new Device({
      gateway: GATEWAY,
      clientId: name,
      random,
      // Nothing may be lost with a session.
      cleanSession: false,
      keepAlive: KEEP_ALIVE_S,
      retryMs: RETRY_MS,
      retries: 3 + Math.floor(random() * 4),
      maxPauseMs: 4 * RETRY_MS,
      predefined: PREDEFINED,
    });
  }

  handle(event: DeviceEvent, now: Millis): void {
    switch (event.type) {
      case "message":
        this.received.push(event.message);
        return;
      case "refused":
        return fail(
          `${this.name}: command ${event.token} refused with ${event.returnCode}`,
        );
      case "done": {
        const publication = this.publications.get(event.token);
        if (publication !== undefined) publication.doneAt = now;
        const subscription = this.subscriptions.get(event.token);
        if (subscription === undefined) return;
        subscription.doneAt = now;
        subscription.qos = event.qos as DeliveryQos;
      }
    }
  }
}

/** Where a router is at work, or none for a while: then nobody answers. */
class Site implements Machine<unknown> {
  router: Router | undefined;

  constructor(router: Router) {
    this.router = router;
  }

  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    this.router?.handleDatagram(now, peer, bytes);
  }

  handleTimeout(now: Millis): void {
    this.router?.handleTimeout(now);
  }

  nextTimeout(): Millis | undefined {
    return this.router?.nextTimeout();
  }

  pollEffect(): Effect<unknown> | undefined {
    return this.router?.pollEffect();
  }
}

/** One story: everything in it depends on the seed alone. */
class Story {
  readonly net: VirtualNet;
  readonly participants: Participant[] = [];
  readonly #random: Random;
  /** Whether another router takes the place of the first. */
  readonly #isForgetful: boolean;
  /** How many messages each publisher has for each topic. */
  readonly #counts = new Map<string, number>();
  readonly #site = new Site(new Router(OPTIONS));
  /** When the other router came. */
  #replacedAt: Millis = -1;
  /** When it had all subscriptions. */
  #restoredAt: Millis = -1;

  constructor(seed: number, trace: boolean) {
    this.#random = seededRandom(seed);
    this.#isForgetful = seed % 3 === 0;
    const badness = seed % 5 === 0 ? 0 : this.#random();
    this.net = new VirtualNet({
      seed,
      trace,
      loss: 0.3 * badness,
      duplicate: 0.2 * this.#random() * badness,
      // There and back in less than a retry, when nothing is bad.
      delayMs: [0, badness === 0 ? RETRY_MS / 2 - 5 : 60],
    });
    this.net.attach(GATEWAY, this.#site);
    const count = 2 + this.#below(4);
    for (let at = 1; at <= count; at++) this.#join(`d${at}`);
  }

  /** Tells it; throws at the first promise that is not kept. */
  tell(): void {
    for (const participant of this.participants) this.#plan(participant);
    if (this.#isForgetful) this.#planReplacement();
    this.net.run(BUSY_MS);
    this.net.heal();
    this.#settle();
    if (this.#isForgetful && this.#restoredAt < 0) {
      fail("not everybody has subscribed again");
    }
    this.#speakOnceMore();
    this.#settle();
    this.#check();
    this.#end();
  }

  #join(name: string): void {
    const peer = peerOf("127.0.0.1", 1001 + this.participants.length);
    const habit = this.#pick<Habit>([
      "stays",
      "sleeps",
      "sleeps",
      this.#isForgetful ? "stays" : "disconnects",
      "vanishes",
    ]);
    const participant = new Participant(name, peer, habit, this.#random);
    this.participants.push(participant);
    this.net.attach(peer, participant.device, (event, now) => {
      participant.handle(event, now);
    });
  }

  #plan(participant: Participant): void {
    const { device, habit, peer } = participant;
    let moment = this.#below(1_500);
    // Who has only a CONNECT to say to another router, from a session that is
    // kept, cannot learn that it is another: such a device sleeps, and wakes.
    const isDozing = this.#isForgetful && habit === "sleeps";
    this.net.at(0, () => device.connect(this.net.now));
    const filters = [...FILTERS];
    for (let count = this.#below(4); count > 0; count--) {
      const [topic] = filters.splice(this.#below(filters.length), 1);
      const qos = this.#pick<DeliveryQos>([0, 1, 1, 2, 2, 2]);
      // Some subscribe when others are publishing already.
      const isLate = !this.#isForgetful && this.#chance(0.2);
      const moment = isLate ? this.#below(BUSY_MS / 2) : 0;
      this.net.at(moment, () => this.#subscribe(participant, topic!, qos));
    }
    for (let count = 3 + this.#below(8); count > 0; count--) {
      const topic = this.#pick(TOPICS);
      const qos = this.#pick<DeliveryQos>([0, 1, 1, 2, 2]);
      this.net.at(
        this.#below(isDozing ? moment : BUSY_MS),
        () => this.#publish(participant, topic, qos),
      );
    }
    switch (habit) {
      case "stays":
        return;
      case "sleeps":
        if (isDozing) {
          this.net.at(moment, () => device.sleep(this.net.now, SLEEP_S));
          return;
        }
        for (; moment < BUSY_MS; moment += 200 + this.#below(1_500)) {
          // To send, it connects: it is sent to bed again and again.
          const isWoken = this.#chance(0.3);
          this.net.at(moment, () => {
            if (isWoken) device.wake(this.net.now);
            else device.sleep(this.net.now, SLEEP_S);
          });
        }
        return;
      case "disconnects":
        while (moment < BUSY_MS) {
          this.net.at(moment, () => device.disconnect(this.net.now));
          moment += this.#below(800);
          this.net.at(moment, () => device.connect(this.net.now));
          moment += 300 + this.#below(2_000);
        }
        return;
      case "vanishes": {
        // For less or more than either side is patient.
        const back = moment + this.#below(BUSY_MS / 2);
        this.net.at(moment, () => this.net.detach(peer));
        this.net.at(back, () => {
          this.net.attach(peer, device, (event, now) => {
            participant.handle(event, now);
          });
        });
        return;
      }
      default:
        habit satisfies never;
    }
  }

  #subscribe(
    { device, subscriptions }: Participant,
    topic: DeviceTopic,
    qos: DeliveryQos,
  ): void {
    const token = device.subscribe(this.net.now, topic, qos);
    const topicFilter = nameOf(topic);
    subscriptions.set(token, { topicFilter, qos, doneAt: Infinity });
  }

  /** Numbered for each publisher and topic: "d1:a/b:17". */
  #publish(
    { name, device, publications }: Participant,
    topic: DeviceTopic,
    qos: DeliveryQos,
  ): void {
    const { now } = this.net;
    const topicName = nameOf(topic);
    const key = `${name}:${topicName}`;
    const count = (this.#counts.get(key) ?? 0) + 1;
    this.#counts.set(key, count);
    const text = `${key}:${count}`;
    const payload = new TextEncoder().encode(text);
    const token = device.publish(now, topic, payload, { qos });
    const doneAt = Infinity;
    publications.set(token, { text, topicName, qos, givenAt: now, doneAt });
  }

  #planReplacement(): void {
    const at = 1_500 + this.#below(2_000);
    this.net.at(at, () => this.#site.router = undefined);
    // No copy of what was for the first comes to the second.
    this.net.at(at + RETRY_MS, () => {
      this.#replacedAt = at;
      this.#site.router = new Router(OPTIONS);
      this.#look();
    });
  }

  get #stats(): MqttSnStats {
    return this.#site.router!.stats().mqttsn;
  }

  #look(): void {
    const wanted = this.participants.reduce(
      (sum, { subscriptions }) => sum + subscriptions.size,
      0,
    );
    if (this.#stats.subscriptions === wanted) {
      this.#restoredAt = this.net.now;
      return;
    }
    this.net.at(this.net.now + LOOK_MS, () => this.#look());
  }

  #speakOnceMore(): void {
    for (const participant of this.participants) {
      for (const topic of TOPICS) {
        this.#publish(participant, topic, this.#pick<DeliveryQos>([1, 2]));
      }
    }
  }

  /** Waits until nothing is pending and nothing more comes. */
  #settle(): void {
    let quietSince = this.net.now;
    let progress = -1;
    while (this.net.now - quietSince < QUIET_MS) {
      this.net.run(this.net.now + RETRY_MS);
      const busy = this.participants.filter(({ device }) =>
        // Who is awake has only its sleep pending, nothing that it was told.
        device.pending > 0 && device.state !== "awake"
      );
      const sum = this.participants.reduce(
        (sum, { received }) => sum + received.length,
        0,
      );
      if (busy.length > 0 || sum !== progress) quietSince = this.net.now;
      progress = sum;
      if (this.net.now < LIMIT_MS) continue;
      const who = busy.map(({ name, device }) => `${name} ${device.state}`);
      fail(`never quiet: ${who.join(", ") || "the router"}`);
    }
  }

  #check(): void {
    for (const publisher of this.participants) {
      for (const message of publisher.publications.values()) {
        if (message.doneAt === Infinity) {
          fail(`${publisher.name}: "${message.text}" was never taken over`);
        }
        for (const receiver of this.participants) {
          this.#checkMessage(receiver, message);
        }
      }
    }
    for (const participant of this.participants) this.#checkOrder(participant);
  }

  /** One message and one possible receiver of it. */
  #checkMessage(
    { name, subscriptions, received }: Participant,
    { text, topicName, qos: sentQos, givenAt, doneAt }: Publication,
  ): void {
    const matching = [...subscriptions.values()].filter(({ topicFilter }) =>
      matches(topicFilter, topicName)
    );
    const came = received.filter(({ payload }) => textOf(payload) === text);
    if (came.some((copy) => copy.topicName !== topicName)) {
      fail(`${name}: "${text}" came under another topic than "${topicName}"`);
    }
    if (matching.length === 0) {
      if (came.length > 0) fail(`${name}: "${text}" came unasked`);
      return;
    }
    // What both routers took over may come twice.
    const isTorn = givenAt <= this.#replacedAt && doneAt >= this.#replacedAt;
    const exact = came.filter(({ qos }) => qos === 2).length;
    if (exact > (isTorn ? 2 : 1)) {
      fail(`${name}: "${text}" at QoS 2 came ${exact} times`);
    }
    const granted = matching
      .filter((subscription) => subscription.doneAt < givenAt)
      .map(({ qos }) => qos);
    // A router that is gone has taken along what it had not delivered.
    if (this.#isForgetful && givenAt <= this.#restoredAt) return;
    const qos = Math.min(Math.max(0, ...granted), sentQos);
    if (qos >= 1 && came.length === 0) {
      fail(`${name}: "${text}" at QoS ${qos} never came`);
    }
    if (qos === 2 && (exact !== 1 || came.length !== 1)) {
      const got = came.map((copy) => copy.qos).join();
      fail(`${name}: "${text}" at QoS 2 came at QoS ${got}`);
    }
  }

  /**
   * First arrivals at QoS 1 and 2 ascend for each publisher and topic. Of a
   * message from before its receiver subscribed, or subscribed again, only a
   * late copy may come.
   */
  #checkOrder({ name, received, subscriptions }: Participant): void {
    const givenAt = new Map<string, Millis>();
    for (const { publications } of this.participants) {
      for (const { text, givenAt: at } of publications.values()) {
        givenAt.set(text, at);
      }
    }
    const seen = new Set<string>();
    const last = new Map<string, number>();
    for (const { topicName, payload, qos } of received) {
      const text = textOf(payload);
      if (qos === 0 || seen.has(text)) continue;
      seen.add(text);
      const at = givenAt.get(text)!;
      const isEarly = at <= this.#restoredAt ||
        [...subscriptions.values()].some((subscription) =>
          subscription.doneAt >= at &&
          matches(subscription.topicFilter, topicName)
        );
      if (isEarly) continue;
      const colon = text.lastIndexOf(":");
      const key = text.slice(0, colon);
      const count = Number(text.slice(colon + 1));
      const previous = last.get(key) ?? 0;
      if (count < previous) fail(`${name}: "${text}" came after ${previous}`);
      last.set(key, count);
    }
  }

  /** Everybody leaves for good: nothing stays behind, on either side. */
  #end(): void {
    for (const { device, subscriptions } of this.participants) {
      for (const topic of FILTERS) {
        const isMine = [...subscriptions.values()].some(({ topicFilter }) =>
          topicFilter === nameOf(topic)
        );
        if (isMine) device.unsubscribe(this.net.now, topic);
      }
      device.disconnect(this.net.now);
    }
    this.#settle();
    const { clients, subscriptions, queued } = this.#stats;
    if (subscriptions > 0) fail(`${subscriptions} subscriptions stay behind`);
    if (queued > 0) fail(`${queued} messages stay behind`);
    if (clients.total !== clients.disconnected) fail("not everybody has left");
    for (const { name, device } of this.participants) {
      if (device.pending > 0) fail(`${name}: ${device.pending} are pending`);
      const at = device.nextTimeout();
      if (at !== undefined) fail(`${name}: something is due at ${at}`);
      if (device.state !== "disconnected") fail(`${name} is ${device.state}`);
    }
  }

  #below(count: number): number {
    return Math.floor(this.#random() * count);
  }

  #chance(probability: number): boolean {
    return this.#random() < probability;
  }

  #pick<Value>(values: readonly Value[]): Value {
    return values[this.#below(values.length)]!;
  }
}

function fail(why: string): never {
  throw new AssertionError(why);
}

function nameOf(topic: DeviceTopic): string {
  if (typeof topic === "string") return topic;
  if ("short" in topic) return topic.short;
  return PREDEFINED.get(topic.predefined)!;
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function matches(topicFilter: string, topicName: string): boolean {
  return matchesFilter(
    parseTopicFilter(topicFilter)!,
    parseTopicName(topicName)!,
  );
}

/** The line that repeats a seed, and why one would; nothing when all is well. */
function trouble(seed: number): string | undefined {
  try {
    new Story(seed, false).tell();
    return undefined;
  } catch (error) {
    const why = error instanceof AssertionError ? error.message : `${error}`;
    return `deno test -A tests/device_pair_test.ts -- --seed ${seed}  # ${why}`;
  }
}

const BLOCKS = 10;

/** So many failing seeds say enough about a block. */
const ENOUGH = 3;

const flags = parseArgs(Deno.args, { string: ["seed", "seeds"] });
const only = flags.seed;

if (only !== undefined) {
  Deno.test(`Device keeps its promises in the story of seed ${only}`, () => {
    const story = new Story(Number(only), true);
    try {
      story.tell();
    } finally {
      console.log(story.net.lines.join("\n"));
    }
  });
} else {
  const seeds = Number(flags.seeds ?? 300);
  const size = Math.ceil(seeds / BLOCKS);
  for (let first = 1; first <= seeds; first += size) {
    const last = Math.min(first + size - 1, seeds);
    Deno.test(`Device keeps its promises in stories ${first} to ${last}`, () => {
      const troubles: string[] = [];
      for (let seed = first; seed <= last; seed++) {
        const line = trouble(seed);
        if (line !== undefined) troubles.push(line);
        if (troubles.length === ENOUGH) break;
      }
      if (troubles.length > 0) fail(`\n${troubles.join("\n")}`);
    });
  }
}
