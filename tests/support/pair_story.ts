/**
 * The story of devices and routers over a bad network: who publishes and who
 * subscribes to what, who sleeps, who disconnects, who is out of reach for a while,
 * moves to another address or is replaced by another device of the same name, who
 * speaks by a forwarder, who forgets, and how bad the network is. In some stories
 * another router, which knows nobody, takes the place of the first; in some there
 * are two, and one of them dies.
 *
 * In the end the network is healed, everybody connects and publishes once more;
 * what was promised must have come: at QoS 1 at least once, at QoS 2 exactly once,
 * in order, to all who had subscribed before. A judge reads every datagram, and
 * neither side may have done what the specification forbids.
 *
 * @module
 */

import { type Millis, type Random, seededRandom } from "../../base/clock.ts";
import type { DeviceTopic } from "../../client/commands.ts";
import { Device, type DeviceOptions } from "../../client/device.ts";
import type { DeviceEvent, ReceivedMessage } from "../../client/events.ts";
import type { RouterEvent } from "../../broker/events.ts";
import type { DeliveryQos } from "../../wire/message.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { encodePacket } from "../../wire/mqttsn.ts";
import type { RouterOptions } from "../../broker/options.ts";
import type { Qos } from "../../wire/packets.ts";
import { Router } from "../../broker/router.ts";
import type { RouterStats } from "../../broker/sys_topics.ts";
import { Judge } from "./judge.ts";
import { BadNet } from "./net.ts";
import { Forgetful, ForwarderBox } from "./nodes.ts";
import { Scales } from "./scales.ts";
import { fail, isBusy, matches, type Story, textOf } from "./stories.ts";

const GATEWAY = peerOf("127.0.0.1", 12003);
const OTHER_GATEWAY = peerOf("127.0.0.1", 12004);
const RETRY_MS = 100;

/** How long the network is bad and everybody busy. */
const BUSY_MS = 6_000;

/** What was begun by then has ended, and the last sleepers have lain down. */
const REST_MS = 1_000;

/** How often it is looked whether everybody has come back. */
const LOOK_MS = 50;

/** As long as nothing comes for this time, nothing more is to be expected. */
const QUIET_MS = 3_500;

/** A story that is not over by then never will be. */
const LIMIT_MS = 180_000;

/** No datagram is under way for as long. */
const GONE_MS = 70;

/** Seconds between two awakenings of who wakes by itself. */
const SHORT_SLEEP_S = 1;

/** And of who is woken. */
const LONG_SLEEP_S = 30;

const PREDEFINED = new Map([[1, "p/one"]]);

const OPTIONS: RouterOptions = {
  retryMs: RETRY_MS,
  retries: 20,
  predefined: PREDEFINED,
};

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
  "a/b/c",
  "a/+",
  "a/#",
  "+/b",
  "+/+",
  "x/y",
  "x/+",
  "p/+",
  "w/+",
  "#",
  { predefined: 1 },
  { short: "ab" },
];

/** What becomes of the routers. */
type Kind =
  /** There is one, and it stays. */
  | "plain"
  /** Another one takes its place, which knows nobody. */
  | "forgetful"
  /** There are two, and one dies. */
  | "twofold";

/** What a device does besides. */
type Habit =
  | "stays"
  | "sleeps"
  | "disconnects"
  | "is told off"
  | "vanishes"
  | "moves"
  | "is replaced";

/** A message that came, and when in its device's life. */
interface Arrival {
  readonly life: Life;
  /** How often that device had connected by then. */
  readonly connection: number;
  readonly text: string;
  readonly message: ReceivedMessage;
}

/** A message of a device's own. */
interface Publication {
  readonly owner: Participant;
  readonly life: Life;
  readonly text: string;
  readonly topicName: string;
  readonly qos: Qos;
  readonly givenAt: Millis;
  /** When its PUBLISH was sent for the first time. */
  sentAt: Millis;
  /** When the gateway had taken it over. */
  doneAt: Millis;
}

interface Subscription {
  readonly topic: DeviceTopic;
  readonly topicFilter: string;
  /** What was granted. */
  qos: DeliveryQos;
  /** When the gateway had granted it for the first time. */
  doneAt: Millis;
}

/** One device at its place, and what became of its commands. */
interface Life {
  readonly device: Device;
  place: Place;
  readonly isForgetful: boolean;
  readonly publications: Map<number, Publication>;
  readonly subscriptions: Map<number, Subscription>;
  /** The tokens by which it was told to connect. */
  readonly connects: Set<number>;
  /** When it began to connect, each time. */
  readonly connectedAt: Millis[];
  /** When its gateway became another. */
  readonly gatewayAt: Millis[];
  /** What it was to do while it was switched off, `undefined` while it is on. */
  backlog: (() => void)[] | undefined;
  /** Whether another device has taken its place. */
  isOver: boolean;
}

/** Where a device is: at an address of its own, or behind a forwarder. */
interface Place {
  readonly peer: Peer;
  readonly forwarder?: ForwarderBox;
  readonly nodeId?: Uint8Array;
}

/** A client of one name, whichever devices it has been in turn. */
interface Participant {
  readonly name: string;
  readonly habit: Habit;
  readonly isPublisher: boolean;
  readonly isClean: boolean;
  readonly sleepS: number;
  readonly options: Omit<DeviceOptions, "random" | "clientId">;
  readonly received: Arrival[];
  /** By filter. */
  readonly subscriptions: Map<string, Subscription>;
  life: Life;
  lives: number;
  /** Whether it is to be connected at present. */
  isWanted: boolean;
}

/** A will that a router has published. */
interface LastWord {
  readonly text: string;
  readonly topicName: string;
  readonly qos: DeliveryQos;
  readonly at: Millis;
}

/** One story: everything in it depends on the seed alone. */
export class PairStory implements Story {
  readonly net: BadNet;
  readonly participants: Participant[] = [];
  readonly judge: Judge;
  readonly #scales = new Scales([GATEWAY, OTHER_GATEWAY]);
  readonly #random: Random;
  readonly #kind: Kind;
  /** Whether nothing is lost, doubled, or sent twice for impatience. */
  readonly #isCalm: boolean;
  /** Whether copies may be under way for longer than a client pauses. */
  readonly #isSlow: boolean;
  readonly #forwarders: ForwarderBox[] = [];
  /** Where the next who moves goes. */
  #nextPort = 2_001;
  #nextNode = 1;
  /** How many messages each publisher has for each topic. */
  readonly #counts = new Map<string, number>();
  readonly #publications = new Map<string, Publication>();
  readonly #wills: LastWord[] = [];
  /** How often one who has a will was lost. */
  #losses = 0;
  #router: Router;
  /** When a router was replaced, or has died. */
  #brokenAt: Millis = -1;
  /** When all subscriptions were where they belong. */
  #restoredAt: Millis = -1;
  /** When everybody published once more. */
  #finalAt: Millis = Infinity;

  constructor(seed: number, trace: boolean) {
    this.#random = seededRandom(seed);
    const kind = this.#random();
    this.#kind = kind < 0.6 ? "plain" : kind < 0.85 ? "forgetful" : "twofold";
    this.#isCalm = seed % 5 === 0;
    this.#isSlow = !this.#isCalm && this.#chance(0.5);
    const badness = this.#isCalm ? 0 : this.#random();
    const isTwofold = this.#kind === "twofold";
    this.judge = new Judge(isTwofold ? [GATEWAY, OTHER_GATEWAY] : [GATEWAY]);
    this.net = new BadNet({
      seed,
      trace,
      loss: 0.3 * badness,
      duplicate: 0.2 * this.#random() * badness,
      // There and back in less than a retry, unless it is slow.
      delayMs: [0, this.#isSlow ? 60 : RETRY_MS / 2 - 5],
      onSend: (now, from, to, bytes) => this.#handleSend(now, from, to, bytes),
      onDelivery: (now, from, to, bytes) => {
        this.#scales.handleDelivery(from, to, bytes);
        this.judge.handleDelivery(now, from, to, bytes);
      },
    });
    this.#router = this.#openRouter(GATEWAY, 1);
    for (const port of [901, 902]) {
      const forwarder = new ForwarderBox(peerOf("127.0.0.1", port));
      this.#forwarders.push(forwarder);
      this.net.attach(forwarder.peer, forwarder);
    }
    if (isTwofold) this.#planDeath();
    const publishers = 2 + this.#below(2);
    const others = 2 + this.#below(3);
    for (let at = 1; at <= publishers; at++) this.#join(`p${at}`, true);
    for (let at = 1; at <= others; at++) this.#join(`s${at}`, false);
  }

  /** See {@linkcode BadNet.lines}. */
  get lines(): readonly string[] {
    return this.net.lines;
  }

  /** See {@linkcode BadNet.digest}. */
  get digest(): string {
    return this.net.digest;
  }

  /** Tells it; throws at the first promise that is not kept. */
  tell(): void {
    for (const participant of this.participants) this.#plan(participant);
    if (this.#kind === "forgetful") this.#planReplacement();
    this.net.run(BUSY_MS + REST_MS);
    this.net.heal();
    if (this.#kind === "forgetful") {
      // Without a word of ours: whoever sleeps has to find out by itself.
      this.#settle();
      if (this.#restoredAt < 0) fail("not everybody has subscribed again");
    }
    for (const participant of this.participants) this.#connect(participant);
    this.#settle();
    this.#checkPresence();
    this.#finalAt = this.net.now;
    this.#speakOnceMore();
    this.#settle();
    this.#check();
    this.#end();
  }

  // Who there is

  #openRouter(peer: Peer, gwId: number): Router {
    const advertise = this.#kind === "twofold" && gwId === 1 ? 1 : 0;
    const router = new Router({ ...OPTIONS, gwId, advertise });
    this.judge.restart(peer);
    this.net.attach(peer, router, (event, now) => this.#note(event, now));
    return router;
  }

  #join(name: string, isPublisher: boolean): void {
    const isClean = !this.#isSlow && this.#chance(0.25);
    const isVaried = !isPublisher || this.#chance(0.3);
    const habit = isVaried ? this.#habit(isClean) : "stays";
    const isDozing = this.#kind === "forgetful";
    const knowsPredefined = isPublisher || this.#chance(0.5);
    const hasWill = this.#chance(0.3);
    const isAtHome = this.#kind !== "twofold" || this.#chance(0.3);
    const options = {
      // Nothing may be lost with a session that is kept.
      cleanSession: isClean,
      keepAlive: this.#chance(0.5) ? 2 : 3,
      retryMs: RETRY_MS,
      retries: 3 + this.#below(4),
      backoff: this.#chance(0.5) ? 1 : 1.5,
      maxPauseMs: 4 * RETRY_MS,
      ...(knowsPredefined ? { predefined: PREDEFINED } : {}),
      ...(isAtHome ? { gateway: GATEWAY } : {}),
      ...(this.#kind === "twofold"
        ? { search: { searchMs: 2 * RETRY_MS, infoMs: RETRY_MS } }
        : {}),
      ...(hasWill
        ? {
          will: {
            topicName: `w/${name}`,
            payload: new TextEncoder().encode(`will of ${name}`),
            qos: this.#pick<DeliveryQos>([1, 2]),
          },
        }
        : {}),
    };
    const place = this.#newPlace(1001 + this.participants.length);
    const isForgetful = this.#chance(0.25);
    const participant: Participant = {
      name,
      habit,
      isPublisher,
      isClean,
      sleepS: isDozing || this.#chance(0.5) ? SHORT_SLEEP_S : LONG_SLEEP_S,
      options,
      received: [],
      subscriptions: new Map(),
      life: this.#newLife(name, options, place, isForgetful),
      lives: 1,
      isWanted: true,
    };
    this.participants.push(participant);
    this.#attach(participant, participant.life);

    const filters = FILTERS.filter((topic) =>
      knowsPredefined || typeof topic === "string" || "short" in topic
    );
    const wanted = isPublisher ? this.#below(5) === 0 ? 1 : 0 : this.#below(4);
    for (let count = 0; count < wanted; count++) {
      const [topic] = filters.splice(this.#below(filters.length), 1);
      const qos = this.#pick<DeliveryQos>([0, 1, 1, 2, 2, 2]);
      // Some subscribe when others are publishing already.
      const isLate = this.#kind === "plain" && this.#chance(0.2);
      const moment = isLate ? this.#below(BUSY_MS / 2) : 0;
      const subscribe = () => this.#subscribe(participant, topic!, qos);
      this.#at(participant, moment, subscribe);
    }
  }

  #habit(isClean: boolean): Habit {
    const isForgetful = this.#kind === "forgetful";
    return this.#pick<Habit>([
      "stays",
      "sleeps",
      "sleeps",
      // Who has only a CONNECT to say to another router, from a session that is
      // kept, cannot learn that it is another.
      isForgetful && !isClean ? "stays" : "disconnects",
      "is told off",
      this.#isCalm ? "stays" : "vanishes",
      this.#isCalm ? "sleeps" : "moves",
      this.#isCalm ? "stays" : "is replaced",
    ]);
  }

  #newPlace(port: number): Place {
    if (this.#chance(0.75)) return { peer: peerOf("127.0.0.1", port) };
    const forwarder = this.#pick(this.#forwarders);
    const nodeId = Uint8Array.of(0xa0, this.#nextNode++);
    return { peer: forwarder.peerOf(nodeId), forwarder, nodeId };
  }

  #newLife(
    clientId: string,
    options: Participant["options"],
    place: Place,
    isForgetful: boolean,
  ): Life {
    const device = new Device({ ...options, clientId, random: this.#random });
    const { retryMs = RETRY_MS, retries = 0 } = options;
    this.judge.introduce(place.peer, { retryMs, retries });
    return {
      device,
      place,
      isForgetful,
      publications: new Map(),
      subscriptions: new Map(),
      connects: new Set(),
      connectedAt: [],
      gatewayAt: [],
      backlog: undefined,
      isOver: false,
    };
  }

  #attach(participant: Participant, life: Life): void {
    const { device, place: { peer, forwarder, nodeId }, isForgetful } = life;
    const machine = isForgetful ? new Forgetful(device) : device;
    const onEvent = (event: DeviceEvent) =>
      this.#handleEvent(participant, life, event);
    if (forwarder === undefined) this.net.attach(peer, machine, onEvent);
    else forwarder.attach(nodeId!, machine, onEvent);
  }

  #detach({ place: { peer, forwarder, nodeId } }: Life): void {
    if (forwarder === undefined) this.net.detach(peer);
    else forwarder.detach(nodeId!);
  }

  // What happens

  #handleSend(
    now: Millis,
    from: Peer,
    to: Peer | undefined,
    bytes: Uint8Array,
  ): void {
    this.#scales.handleSend(now, from, to, bytes);
    const packet = this.judge.handleSend(now, from, to, bytes);
    if (packet?.type !== "PUBLISH") return;
    const publication = this.#publications.get(textOf(packet.data));
    if (publication?.sentAt === Infinity) publication.sentAt = now;
  }

  #handleEvent(
    participant: Participant,
    life: Life,
    event: DeviceEvent,
  ): void {
    const { now } = this.net;
    switch (event.type) {
      case "message": {
        const { message } = event;
        const connection = life.connectedAt.length;
        const text = textOf(message.payload);
        participant.received.push({ life, connection, text, message });
        return;
      }
      case "state":
        if (event.state === "connecting") life.connectedAt.push(now);
        return;
      case "gateway":
        life.gatewayAt.push(now);
        return;
      case "refused":
        return fail(
          `${participant.name}: command ${event.token} refused with ${event.returnCode}`,
        );
      case "silence":
        // Nobody was there when it was to connect: whoever wants it asks again.
        if (!life.connects.has(event.token) || !participant.isWanted) return;
        if (participant.life !== life) return;
        return this.net.at(now + RETRY_MS, () => {
          if (participant.isWanted) this.#connect(participant);
        });
      case "done": {
        const publication = life.publications.get(event.token);
        if (publication !== undefined) publication.doneAt = now;
        const subscription = life.subscriptions.get(event.token);
        if (subscription === undefined) return;
        subscription.doneAt = Math.min(subscription.doneAt, now);
        subscription.qos = event.qos as DeliveryQos;
      }
    }
  }

  /** Notes a client that is lost, and a will that is published. */
  #note(event: RouterEvent, now: Millis): void {
    this.#scales.handleEvent(event);
    if (event.type !== "will" && event.type !== "state") return;
    const { clientId } = event;
    const { options: { will } } = this.participants.find(({ name }) =>
      name === clientId
    )!;
    if (will === undefined) return;
    const { topicName, qos = 0 } = will;
    const text = `will of ${clientId}`;
    if (event.type === "will") {
      this.#wills.push({ text, topicName, qos, at: now });
    } else if (event.state === "lost") this.#losses++;
  }

  // What they do

  #connect(participant: Participant): void {
    const { life } = participant;
    participant.isWanted = true;
    life.connects.add(life.device.connect(this.net.now));
  }

  #disconnect(participant: Participant): void {
    participant.isWanted = false;
    participant.life.device.disconnect(this.net.now);
  }

  #sleep({ life, sleepS }: Participant): void {
    life.device.sleep(this.net.now, sleepS);
  }

  #subscribe(
    { life, subscriptions }: Participant,
    topic: DeviceTopic,
    qos: DeliveryQos,
  ): void {
    const token = life.device.subscribe(this.net.now, topic, qos);
    const topicFilter = nameOf(topic);
    const subscription = subscriptions.get(topicFilter) ??
      { topic, topicFilter, qos, doneAt: Infinity };
    subscriptions.set(topicFilter, subscription);
    life.subscriptions.set(token, subscription);
  }

  /** Numbered for each device and topic: "p1:a/b:17". */
  #publish(
    owner: Participant,
    topic: DeviceTopic,
    qos: Qos,
  ): void {
    const { name, life, lives } = owner;
    const { now } = this.net;
    const topicName = nameOf(topic);
    const key = `${name}${lives > 1 ? `.${lives}` : ""}:${topicName}`;
    const count = (this.#counts.get(key) ?? 0) + 1;
    this.#counts.set(key, count);
    const text = `${key}:${count}`;
    const publication: Publication = {
      owner,
      life,
      text,
      topicName,
      qos,
      givenAt: now,
      sentAt: Infinity,
      doneAt: Infinity,
    };
    this.#publications.set(text, publication);
    const payload = new TextEncoder().encode(text);
    const token = life.device.publish(now, topic, payload, { qos });
    life.publications.set(token, publication);
  }

  /** At a moment, or when its device is on again. */
  #at(participant: Participant, moment: Millis, action: () => void): void {
    this.net.at(moment, () => {
      const { backlog } = participant.life;
      if (backlog === undefined) action();
      else backlog.push(action);
    });
  }

  #plan(participant: Participant): void {
    const { isPublisher, isClean, habit } = participant;
    const start = this.#below(1_500);
    // As its CONNECT may be all that it says to another router, it just sleeps.
    const isDozing = this.#kind === "forgetful" && !isClean &&
      habit === "sleeps";
    this.#at(participant, 0, () => this.#connect(participant));
    const messages = isPublisher
      ? 5 + this.#below(6)
      : this.#chance(0.5)
      ? 2 + this.#below(4)
      : 0;
    const topics = Array.from(
      { length: 1 + this.#below(3) },
      () => this.#pick(TOPICS),
    );
    for (let count = 0; count < messages; count++) {
      const topic = this.#pick(this.#pick(topics));
      const isNamed = typeof topic === "string";
      const qos = this.#pick<Qos>([0, 1, 1, 2, 2, isNamed ? 2 : -1]);
      this.#at(
        participant,
        this.#below(isDozing ? start : BUSY_MS),
        () => this.#publish(participant, topic, qos),
      );
    }
    if (this.#chance(0.1)) {
      const topicName = `r/${participant.name}`;
      this.#at(participant, this.#below(isDozing ? start : BUSY_MS), () => {
        participant.life.device.register(this.net.now, topicName);
      });
    }
    const { will } = participant.options;
    if (will !== undefined && this.#chance(0.3)) {
      this.#at(participant, this.#below(isDozing ? start : BUSY_MS), () => {
        const { device } = participant.life;
        device.updateWillTopic(this.net.now, will);
        device.updateWillMsg(this.net.now, will.payload);
      });
    }
    switch (habit) {
      case "stays":
        return;
      case "sleeps":
        if (!isDozing) return this.#planSleep(participant, start);
        return this.#at(participant, start, () => this.#sleep(participant));
      case "disconnects":
        return this.#planDisconnects(participant, start);
      case "is told off":
        return this.#planTellingOff(participant, start);
      case "vanishes":
        return this.#planAbsence(participant, start);
      case "moves":
        return this.#planMoves(participant, start);
      case "is replaced":
        return this.#planSuccession(participant);
      default:
        habit satisfies never;
    }
  }

  #planSleep(participant: Participant, start: Millis): void {
    const sleep = () => this.#sleep(participant);
    let moment = start;
    this.#at(participant, moment, sleep);
    while ((moment += 200 + this.#below(1_000)) < BUSY_MS) {
      if (this.#chance(0.6)) {
        this.#at(participant, moment, () => {
          participant.life.device.wake(this.net.now);
        });
      } else if (this.#chance(0.5)) this.#at(participant, moment, sleep);
      else {
        // Back for a while, and to bed again.
        this.#at(participant, moment, () => this.#connect(participant));
        this.#at(participant, moment += this.#below(500), sleep);
      }
    }
  }

  #planDisconnects(participant: Participant, start: Millis): void {
    let moment = start;
    while (moment < BUSY_MS) {
      this.#at(participant, moment, () => this.#disconnect(participant));
      moment += this.#below(800);
      this.#at(participant, moment, () => this.#connect(participant));
      moment += 300 + this.#below(2_000);
    }
  }

  /**
   * A DISCONNECT comes that its gateway has not sent, or not now: it connects
   * without having disconnected.
   */
  #planTellingOff({ life }: Participant, start: Millis): void {
    const { device, place: { peer, forwarder, nodeId } } = life;
    const goodbye = encodePacket({ type: "DISCONNECT", duration: undefined });
    const bytes = nodeId === undefined ? goodbye : encodePacket({
      type: "ENCAPSULATED",
      radius: 0,
      wirelessNodeId: nodeId,
      message: goodbye,
    });
    let moment = start;
    while ((moment += 300 + this.#below(2_000)) < BUSY_MS) {
      this.net.at(moment, () => {
        const { gateway } = device;
        if (gateway === undefined) return;
        this.net.forge(gateway, forwarder?.peer ?? peer, bytes);
      });
    }
  }

  /** Out of reach, or switched off, for less or more than anybody is patient. */
  #planAbsence(participant: Participant, start: Millis): void {
    const { life } = participant;
    const { place: { peer, forwarder } } = life;
    const back = start + this.#below(BUSY_MS / 2);
    if (forwarder !== undefined || this.#chance(0.5)) {
      // With a forwarder all who are behind it are.
      const address = forwarder?.peer ?? peer;
      this.net.at(start, () => this.net.mute(address, true));
      this.net.at(back, () => this.net.mute(address, false));
      return;
    }
    this.net.at(start, () => {
      life.backlog = [];
      this.#detach(life);
    });
    this.net.at(back, () => {
      const { backlog = [] } = life;
      life.backlog = undefined;
      this.judge.excuse(this.net.now, peer);
      this.#attach(participant, life);
      for (const action of backlog) action();
    });
  }

  /** Goes on from other addresses, as NAT may have it: awake, asleep, or between. */
  #planMoves(participant: Participant, start: Millis): void {
    const isDozing = this.#kind === "forgetful" && !participant.isClean;
    if (!isDozing && this.#chance(0.6)) this.#planSleep(participant, start);
    let moment = 0;
    while ((moment += 500 + this.#below(2_500)) < BUSY_MS) {
      this.net.at(moment, () => {
        const { life } = participant;
        const place = this.#newPlace(this.#nextPort++);
        this.judge.move(life.place.peer, place.peer);
        this.#detach(life);
        life.place = place;
        this.#attach(participant, life);
      });
    }
  }

  /**
   * Another device takes over its name, at the same place or elsewhere. Where the
   * first is still there, it fights for a while.
   */
  #planSuccession(participant: Participant): void {
    const moment = this.#below(BUSY_MS - 1_000);
    const fightMs = this.#chance(0.5) ? this.#below(600) : -GONE_MS;
    const isAtHome = fightMs < 0 && this.#chance(0.5);
    const end = (life: Life) => {
      this.#detach(life);
      this.judge.dismiss(life.place.peer);
      life.isOver = true;
    };
    this.net.at(moment, () => {
      const { life: last } = participant;
      if (fightMs < 0) end(last);
      else this.net.at(moment + fightMs, () => end(last));
    });
    // What is on its way to the first is gone by then.
    this.net.at(moment + (fightMs < 0 ? GONE_MS : 0), () => {
      const { name, life: last, options } = participant;
      const place = isAtHome ? last.place : this.#newPlace(this.#nextPort++);
      const { isForgetful } = last;
      const life = this.#newLife(name, options, place, isForgetful);
      participant.life = life;
      participant.lives++;
      this.#attach(participant, life);
      this.#connect(participant);
      for (const { topic, qos } of [...participant.subscriptions.values()]) {
        this.#subscribe(participant, topic, qos);
      }
    });
  }

  // What becomes of the routers

  #planReplacement(): void {
    const at = 1_500 + this.#below(2_000);
    this.net.at(at, () => this.net.detach(GATEWAY));
    // No copy of what was for the first comes to the second.
    this.net.at(at + GONE_MS, () => {
      this.#brokenAt = at;
      this.#router = this.#openRouter(GATEWAY, 1);
      this.#look();
    });
  }

  #planDeath(): void {
    const other = this.#openRouter(OTHER_GATEWAY, 2);
    const dies = this.#chance(0.5) ? GATEWAY : OTHER_GATEWAY;
    if (dies === GATEWAY) this.#router = other;
    const at = 1_500 + this.#below(2_000);
    this.net.at(at, () => {
      this.#brokenAt = at;
      this.net.detach(dies);
    });
  }

  /** Looks whether all have subscribed again. */
  #look(): void {
    if (this.#hasAllSubscriptions()) this.#restoredAt = this.net.now;
    else this.net.at(this.net.now + LOOK_MS, () => this.#look());
  }

  #hasAllSubscriptions(): boolean {
    const wanted = this.participants.reduce(
      (sum, { subscriptions }) => sum + subscriptions.size,
      0,
    );
    return this.#router.stats().mqttsn.subscriptions === wanted;
  }

  // The end

  /** Waits until nothing is pending and nothing more comes. */
  #settle(): void {
    let quietSince = this.net.now;
    let progress = -1;
    while (this.net.now - quietSince < QUIET_MS) {
      this.net.run(this.net.now + RETRY_MS);
      const busy = this.participants.filter(({ life: { device }, isWanted }) =>
        isBusy(device, isWanted)
      );
      const sum = this.participants.reduce(
        (sum, { received }) => sum + received.length,
        0,
      );
      if (busy.length > 0 || sum !== progress) quietSince = this.net.now;
      progress = sum;
      if (this.net.now < LIMIT_MS) continue;
      this.#checkJudgement();
      const who = busy.map(({ name, life }) => `${name} ${life.device.state}`);
      fail(`never quiet: ${who.join(", ") || "the router"}`);
    }
  }

  #checkPresence(): void {
    for (const { name, life: { device } } of this.participants) {
      if (device.state !== "active") fail(`${name} is ${device.state}`);
    }
    if (!this.#hasAllSubscriptions()) {
      const { subscriptions } = this.#router.stats().mqttsn;
      fail(`there are ${subscriptions} subscriptions, not all`);
    }
  }

  #speakOnceMore(): void {
    for (const participant of this.participants) {
      for (const [topic] of TOPICS) {
        this.#publish(participant, topic!, this.#pick<Qos>([1, 2]));
      }
    }
  }

  #checkJudgement(): void {
    this.judge.rest(this.net.now);
    const [violation] = this.judge.violations;
    if (violation !== undefined) fail(violation);
  }

  #check(): void {
    this.#checkJudgement();
    if (this.#wills.length !== this.#losses) {
      fail(`${this.#wills.length} wills of ${this.#losses} who were lost`);
    }
    for (const receiver of this.participants) {
      const arrivals = new Map<string, Arrival[]>();
      for (const arrival of receiver.received) {
        const { text } = arrival;
        const arrivalsOf = arrivals.get(text);
        if (arrivalsOf === undefined) arrivals.set(text, [arrival]);
        else arrivalsOf.push(arrival);
      }
      const known = new Set(this.#wills.map(({ text }) => text));
      for (const text of arrivals.keys()) {
        if (known.has(text) || this.#publications.has(text)) continue;
        fail(`${receiver.name}: "${text}" came from nowhere`);
      }
      for (const publication of this.#publications.values()) {
        const { life, text, qos, doneAt } = publication;
        if (doneAt === Infinity && !life.isOver && qos > 0) {
          fail(`"${text}" was never taken over`);
        }
        const came = arrivals.get(text) ?? [];
        this.#checkMessage(receiver, publication, came);
      }
      for (const text of known) {
        this.#checkWill(receiver, text, arrivals.get(text) ?? []);
      }
      this.#checkOrder(receiver);
    }
  }

  /** The moment from which on a receiver is promised everything. */
  #promisedSince({ isClean }: Participant): Millis {
    if (isClean || this.#kind === "twofold") return this.#finalAt - 1;
    return this.#restoredAt;
  }

  /** One message and one possible receiver of it. */
  #checkMessage(
    receiver: Participant,
    publication: Publication,
    came: readonly Arrival[],
  ): void {
    const { name, subscriptions, isClean } = receiver;
    const { text, topicName, sentAt, doneAt } = publication;
    const matching = [...subscriptions.values()].filter(({ topicFilter }) =>
      matches(topicFilter, topicName)
    );
    if (came.some(({ message }) => message.topicName !== topicName)) {
      fail(`${name}: "${text}" came under another topic than "${topicName}"`);
    }
    if (matching.length === 0) {
      if (came.length > 0) fail(`${name}: "${text}" came unasked`);
      return;
    }
    const sentQos = Math.max(0, publication.qos);
    const most = Math.min(Math.max(...matching.map(({ qos }) => qos)), sentQos);
    if (came.some(({ message }) => message.qos > most)) {
      fail(`${name}: "${text}" came at a higher QoS than was asked`);
    }
    const exact = came.filter(({ message }) => message.qos === 2);
    const bound = this.#copiesOf(publication);
    // A device remembers what came, but for one whose session begins anew.
    const perDevice = new Map<unknown, number>();
    for (const { life, connection } of exact) {
      const key = isClean
        ? `${receiver.lives} ${life.connectedAt[0]} ${connection}`
        : life;
      const count = (perDevice.get(key) ?? 0) + 1;
      perDevice.set(key, count);
      if (count <= bound) continue;
      fail(`${name}: "${text}" at QoS 2 came ${count} times`);
    }
    // A router that is gone has taken along what it had not delivered.
    if (sentAt <= this.#promisedSince(receiver)) return;
    if (doneAt === Infinity) return;
    const granted = matching
      .filter((subscription) => subscription.doneAt < sentAt)
      .map(({ qos }) => qos);
    const qos = Math.min(Math.max(0, ...granted), sentQos);
    if (qos >= 1 && came.length === 0) {
      fail(`${name}: "${text}" at QoS ${qos} never came`);
    }
    if (qos === 2 && (exact.length === 0 || came.length !== exact.length)) {
      const got = came.map(({ message }) => message.qos).join();
      fail(`${name}: "${text}" at QoS 2 came at QoS ${got}`);
    }
  }

  /** How often routers may have taken over a message at QoS 2. */
  #copiesOf({ owner: { isClean }, life, sentAt, doneAt }: Publication): number {
    const isMeanwhile = (at: Millis) => at >= sentAt && at <= doneAt;
    // A session that begins anew knows nothing of what the last one began.
    const times = [
      ...life.gatewayAt,
      ...(isClean ? life.connectedAt : []),
      this.#brokenAt,
    ];
    return 1 + times.filter(isMeanwhile).length;
  }

  #checkWill(
    receiver: Participant,
    text: string,
    came: readonly Arrival[],
  ): void {
    const { name, subscriptions, isClean, lives } = receiver;
    const wills = this.#wills.filter((will) => will.text === text);
    const [{ topicName, qos: sentQos }] = wills as [LastWord];
    const matching = [...subscriptions.values()].filter(({ topicFilter }) =>
      matches(topicFilter, topicName)
    );
    if (came.some(({ message }) => message.topicName !== topicName)) {
      fail(`${name}: "${text}" came under another topic than "${topicName}"`);
    }
    if (matching.length === 0) {
      if (came.length > 0) fail(`${name}: "${text}" came unasked`);
      return;
    }
    const exact = came.filter(({ message }) => message.qos === 2);
    if (exact.length > wills.length * lives) {
      fail(`${name}: "${text}" came ${exact.length} times of ${wills.length}`);
    }
    if (isClean || this.#kind !== "plain") return;
    const promised = wills.filter(({ at }) =>
      matching.some(({ doneAt, qos }) =>
        doneAt < at && Math.min(qos, sentQos) > 0
      )
    );
    if (came.length < promised.length) {
      fail(
        `${name}: "${text}" came ${came.length} times of ${promised.length}`,
      );
    }
  }

  /**
   * First arrivals at QoS 1 and 2 ascend for each device and topic. Of a message
   * that was sent before its receiver subscribed, or subscribed again, only a
   * late copy may come, out of order: it promises nothing.
   */
  #checkOrder(receiver: Participant): void {
    const { name, received, subscriptions } = receiver;
    const since = this.#promisedSince(receiver);
    const seen = new Set<string>();
    const last = new Map<string, number>();
    for (const { text, message: { topicName, qos } } of received) {
      const publication = this.#publications.get(text);
      if (qos === 0 || publication === undefined || seen.has(text)) continue;
      seen.add(text);
      const { sentAt } = publication;
      const isLate = sentAt <= since ||
        [...subscriptions.values()].some(({ topicFilter, doneAt }) =>
          doneAt >= sentAt && matches(topicFilter, topicName)
        );
      if (isLate) continue;
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
    for (const participant of this.participants) {
      const { life: { device }, subscriptions } = participant;
      for (const { topic } of subscriptions.values()) {
        device.unsubscribe(this.net.now, topic);
      }
      this.#disconnect(participant);
    }
    this.#settle();
    const { clients, subscriptions, queued } = this.#router.stats().mqttsn;
    if (subscriptions > 0) fail(`${subscriptions} subscriptions stay behind`);
    if (queued > 0) fail(`${queued} messages stay behind`);
    if (clients.total !== clients.disconnected) fail("not everybody has left");
    for (const { name, life: { device } } of this.participants) {
      if (device.pending > 0) fail(`${name}: ${device.pending} are pending`);
      if (device.state !== "disconnected") fail(`${name} is ${device.state}`);
      const at = device.nextTimeout();
      if (at === undefined || this.#kind === "twofold") continue;
      fail(`${name}: something is due at ${at}`);
    }
    this.#wipe();
    this.#checkJudgement();
  }

  /** Each name connects once more, with a session that is not kept. */
  #wipe(): void {
    for (const participant of this.participants) {
      const { name, life: last, options } = participant;
      this.#detach(last);
      const clean = { ...options, cleanSession: true };
      participant.life = this.#newLife(name, clean, last.place, false);
      this.#attach(participant, participant.life);
      this.#connect(participant);
    }
    // A copy of that CONNECT must not come behind the DISCONNECT: it would be
    // a new client.
    this.#settle();
    for (const participant of this.participants) this.#disconnect(participant);
    this.#settle();
    assertEmpty(this.#router.stats());
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

/** Everybody has left: every table is empty. */
function assertEmpty({ mqttsn }: RouterStats): void {
  const { clients, subscriptions, queued, prompts } = mqttsn;
  const { queueMemory, nameMemory } = mqttsn;
  const tables = {
    clients: clients.total,
    subscriptions,
    queued,
    prompts,
    queueMemory,
    nameMemory,
  };
  for (const [name, size] of Object.entries(tables)) {
    if (size !== 0) fail(`${name} is ${size} when everybody has left`);
  }
}

function nameOf(topic: DeviceTopic): string {
  if (typeof topic === "string") return topic;
  if ("short" in topic) return topic.short;
  return PREDEFINED.get(topic.predefined)!;
}
