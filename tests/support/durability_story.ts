/**
 * The story of devices, a bad network, and a router with a store that crashes: who
 * publishes and who subscribes to what, who sleeps, how slow the store is, when
 * the router crashes and when the store has no room.
 *
 * @module
 */

import { type Millis, type Random, seededRandom } from "../../base/clock.ts";
import type { DeviceTopic } from "../../client/commands.ts";
import type { DeliveryQos } from "../../wire/message.ts";
import type { Qos } from "../../wire/packets.ts";
import type { Crash } from "./durable_router.ts";
import {
  BROKER,
  type Client,
  type ClientOptions,
  World,
} from "./durable_world.ts";
import { fail, type Story } from "./stories.ts";

/** How long the network is bad and everybody busy. */
const BUSY_MS = 5_000;

/** The longest commit that everybody has the patience for. */
const SLOW_MS = 150;

/** What was begun by then has ended. */
const REST_MS = 1_000;

/** What is published to, and how its publisher may name it. */
const TOPICS: readonly (readonly DeviceTopic[])[] = [
  ["a"],
  ["a/b"],
  ["a/b/c"],
  ["x/y"],
  [{ predefined: 1 }, "p/one"],
  [{ short: "ab" }, "ab"],
];

/** What is subscribed to. */
const FILTERS: readonly DeviceTopic[] = [
  "a",
  "a/b",
  "a/+",
  "a/#",
  "+/b",
  "x/y",
  "x/+",
  "p/+",
  "w/+",
  "r/+",
  "#",
  { predefined: 1 },
  { short: "ab" },
];

/** What a client does besides. */
type Habit = "stays" | "sleeps" | "disconnects" | "vanishes";

/** One story: everything in it depends on the seed alone. */
export class DurabilityStory implements Story {
  readonly #world: World;
  readonly #random: Random;
  /** Whether nothing is lost, doubled, or late. */
  readonly #isCalm: boolean;
  /**
   * Whether an answer may come later than its question is sent again. A copy of
   * CONNECT may then wipe a clean session, as without a store.
   */
  readonly #isSlow: boolean;
  /** Whether worse things happen than datagrams that get lost. */
  readonly #isHard: boolean;

  constructor(seed: number, trace: boolean, isHard = false) {
    this.#random = seededRandom(seed ^ (isHard ? 0x1b873593 : 0x2545f491));
    this.#isHard = isHard;
    this.#isCalm = seed % 4 === 0;
    const badness = this.#isCalm ? 0 : this.#random();
    this.#isSlow = this.#chance(0.5);
    const slowest = this.#pick(
      isHard
        ? [10, 40, 150, 600]
        : this.#isSlow
        ? [10, 40, 150]
        : [0, 1, 10, 25],
    );
    const isOver = (): boolean => this.#world.net.now > BUSY_MS;
    this.#world = new World({
      seed,
      net: {
        trace,
        loss: 0.25 * badness,
        duplicate: 0.2 * this.#random() * badness,
        delayMs: [0, this.#isCalm ? 10 : this.#isSlow ? 45 : 20],
      },
      store: {
        // Nobody's patience is longer than some commits; but not for ever.
        commitMs: () =>
          this.#below((isOver() ? Math.min(slowest, SLOW_MS) : slowest) + 1),
      },
    });
  }

  /** See {@linkcode Story}. */
  get lines(): readonly string[] {
    return this.#world.net.lines;
  }

  /** See {@linkcode Story}. */
  get digest(): string {
    return this.#world.net.digest;
  }

  /** See {@linkcode Story}. */
  tell(): void {
    const world = this.#world;
    const publishers = 2 + this.#below(2);
    const others = 2 + this.#below(3);
    for (let at = 1; at <= publishers; at++) this.#join(`p${at}`, true);
    for (let at = 1; at <= others; at++) this.#join(`s${at}`, false);
    for (let at = 0; at < this.#below(12); at++) {
      const topicName = this.#pick(["c/1", "c/2"]);
      world.net.at(
        this.#below(BUSY_MS),
        () => world.publishClassic(topicName),
      );
    }
    this.#planCrashes();
    this.#planFullness();
    if (this.#isHard) this.#planHardships();
    world.run(BUSY_MS + REST_MS);
    world.net.heal();
    world.settle(); // who sleeps is served in its sleep
    for (const client of world.clients) client.fetch();
    world.settle();
    this.#speakOnceMore();
  }

  /** Everybody connects and publishes to all topics: what is there works. */
  #speakOnceMore(): void {
    const world = this.#world;
    const sleepers = world.clients.filter(({ device: { state } }) =>
      state === "asleep" || state === "awake"
    );
    const others = world.clients.filter((client) => !sleepers.includes(client));
    if (this.#isHard) {
      // A late copy of CONNACK may have a client believe that it is connected.
      for (const client of others) client.disconnect();
      world.settle();
    }
    for (const client of others) client.connect();
    world.settle();
    for (const client of world.clients) {
      const { name, device: { state } } = client;
      if (state === "active" || sleepers.includes(client)) continue;
      fail(`${name} is ${state}`);
    }
    world.finalAt = world.net.now;
    for (const client of world.clients) {
      if (sleepers.includes(client)) continue;
      for (const [topic] of TOPICS) {
        client.publish(topic!, this.#pick<Qos>([1, 2]));
      }
    }
    world.settle();
    for (const client of sleepers) client.fetch();
    world.settle();
    // A late copy of CONNECT may have the router believe that nobody sleeps.
    for (const client of sleepers) {
      if (client.isClean) client.fetch();
      else client.connect();
    }
    world.settle();
    world.check();
  }

  #join(name: string, isPublisher: boolean): void {
    const world = this.#world;
    // What is held up for a while may wipe a clean session when it comes.
    const isClean = !this.#isSlow && !this.#isHard && this.#chance(0.3);
    const habit: Habit = isPublisher && this.#chance(0.6)
      ? "stays"
      : this.#pick<Habit>([
        "stays",
        "sleeps",
        "sleeps",
        "disconnects",
        this.#isCalm ? "stays" : "vanishes",
      ]);
    const hasWill = this.#chance(0.3);
    const options: ClientOptions = {
      cleanSession: isClean,
      // Without a keep alive who has a clean session may never notice a crash.
      keepAlive: this.#pick(isClean ? [2, 3] : [0, 2, 3]),
      retries: 3 + this.#below(6),
      backoff: this.#pick([1, 1.5]),
      ...(hasWill
        ? {
          will: {
            topicName: `w/${name}`,
            payload: new TextEncoder().encode(`will of ${name}`),
            qos: this.#pick<DeliveryQos>([1, 2]),
            retain: this.#chance(0.3),
          },
        }
        : {}),
    };
    const client = world.join(name, options);
    // A clean session is promised something only while it sleeps, untroubled.
    const isDozing = isClean && habit === "sleeps";
    this.#planInterests(client, isPublisher, isDozing);
    if (!isDozing) this.#planMessages(client, isPublisher);
    this.#planHabit(client, habit);
  }

  #planInterests(client: Client, isFew: boolean, isDozing: boolean): void {
    const filters = [...FILTERS];
    const wanted = isFew ? this.#below(4) === 0 ? 1 : 0 : this.#below(4);
    for (let count = 0; count < wanted; count++) {
      const [topic] = filters.splice(this.#below(filters.length), 1);
      const qos = this.#pick<DeliveryQos>([0, 1, 1, 2, 2, 2]);
      const isLate = !isDozing && this.#chance(0.3);
      const moment = isLate ? this.#below(BUSY_MS) : 0;
      this.#at(moment, () => client.subscribe(topic!, qos));
      if (isDozing || typeof topic !== "string" || !this.#chance(0.25)) {
        continue;
      }
      this.#at(
        moment + this.#below(BUSY_MS - moment),
        () => client.unsubscribe(topic),
      );
    }
  }

  #planMessages(client: Client, isPublisher: boolean): void {
    const messages = isPublisher
      ? 6 + this.#below(10)
      : this.#chance(0.4)
      ? 1 + this.#below(4)
      : 0;
    const topics = Array.from(
      { length: 1 + this.#below(3) },
      () => this.#pick(TOPICS),
    );
    for (let count = 0; count < messages; count++) {
      const topic = this.#pick(this.#pick(topics));
      const qos = this.#pick<Qos>([0, 1, 1, 2, 2, 2]);
      this.#at(this.#below(BUSY_MS), () => client.publish(topic, qos));
    }
    const changes = isPublisher && this.#chance(0.6) ? 1 + this.#below(5) : 0;
    for (let count = 0; count < changes; count++) {
      // At QoS 1 a copy that is late would bring an old value back.
      const qos = this.#isCalm ? this.#pick<Qos>([1, 2]) : 2;
      const isBlank = this.#chance(0.3);
      this.#at(this.#below(BUSY_MS), () => {
        client.publish(`r/${client.name}`, qos, { retain: true, isBlank });
      });
    }
    if (this.#chance(0.1)) {
      const moment = this.#below(BUSY_MS);
      this.#at(moment, () => client.register(`x/${client.name}`));
    }
  }

  #planHabit(client: Client, habit: Habit): void {
    const { net } = this.#world;
    let moment = 200 + this.#below(1_500);
    switch (habit) {
      case "stays":
        return;
      case "sleeps": {
        const seconds = client.isClean ? 30 : this.#pick([1, 30]);
        const sleep = () => client.sleep(seconds);
        this.#at(moment, sleep);
        while ((moment += 100 + this.#below(1_000)) < BUSY_MS) {
          if (client.isClean || this.#chance(0.7)) {
            this.#at(moment, () => client.wake());
          } else {
            this.#at(moment, () => client.connect());
            this.#at(moment += this.#below(500), sleep);
          }
        }
        return;
      }
      case "disconnects":
        while (moment < BUSY_MS) {
          this.#at(moment, () => client.disconnect());
          moment += this.#below(800);
          this.#at(moment, () => client.connect());
          moment += 300 + this.#below(2_000);
        }
        return;
      case "vanishes":
        this.#at(moment, () => net.mute(client.peer, true));
        moment += this.#below(BUSY_MS / 2);
        this.#at(moment, () => net.mute(client.peer, false));
        return;
      default:
        habit satisfies never;
    }
  }

  #planCrashes(): void {
    const { net, broker } = this.#world;
    const crashes = 1 + this.#below(5);
    for (let count = 0; count < crashes; count++) {
      const crash: Crash = {
        downMs: this.#below(this.#pick([1, 50, 400, 1_500])),
        loadMs: this.#chance(0.3) ? this.#below(400) : 0,
        isDone: this.#chance(0.5),
      };
      this.#at(
        100 + this.#below(BUSY_MS),
        () => broker.crash(net.nowAt(BROKER), crash),
      );
    }
  }

  #planFullness(): void {
    if (!this.#chance(0.3)) return;
    const { broker } = this.#world;
    const moment = this.#below(BUSY_MS);
    this.#at(moment, () => broker.isFull = true);
    this.#at(moment + this.#below(2_500), () => broker.isFull = false);
  }

  /**
   * Somebody is stopped for a while, or has its clock leap as after a suspension,
   * the broker is out of reach, clients go on from other addresses.
   */
  #planHardships(): void {
    const { net, clients } = this.#world;
    for (let count = 1 + this.#below(5); count > 0; count--) {
      const moment = 100 + this.#below(BUSY_MS);
      const client = this.#pick(clients);
      const peerOf = () => this.#chance(0.5) ? BROKER : client.peer;
      switch (this.#pick(["stop", "leap", "partition", "move"])) {
        case "stop": {
          const ms = this.#below(this.#pick([100, 1_500]));
          this.#at(moment, () => net.freeze(peerOf(), ms));
          break;
        }
        case "leap": {
          const ms = this.#below(this.#pick([50, 2_000, 600_000]));
          this.#at(moment, () => net.leap(peerOf(), ms));
          break;
        }
        case "partition":
          this.#at(moment, () => net.mute(BROKER, true));
          this.#at(
            moment + this.#below(2_000),
            () => net.mute(BROKER, false),
          );
          break;
        case "move":
          this.#at(moment, () => client.move(this.#world.newPeer()));
      }
    }
  }

  #at(moment: Millis, action: () => void): void {
    this.#world.net.at(moment, action);
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
