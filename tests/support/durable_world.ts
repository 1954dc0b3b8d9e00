/**
 * Devices around a router that crashes, on one network, and a ledger kept outside
 * of all of them: what was asked, what was acknowledged and what came. In the end
 * it says which promise was not kept.
 *
 * What was acknowledged outlives the router: messages at QoS 1 come at least once,
 * at QoS 2 exactly once, in the order of their publisher, to all whose
 * subscription was acknowledged before and whose session is kept, or who sleep;
 * what was retained and what is in a history stays, what was ended stays ended.
 * What is retained for a subscription comes at QoS 2 once for each SUBSCRIBE.
 *
 * @module
 */

import { ClassicDevice } from "../../client/classic_device.ts";
import { type Millis, type Random, seededRandom } from "../../base/clock.ts";
import type { DeviceTopic } from "../../client/commands.ts";
import { Device, type DeviceOptions } from "../../client/device.ts";
import type { DeviceEvent, ReceivedMessage } from "../../client/events.ts";
import type { DeliveryQos } from "../../wire/message.ts";
import { type Peer, peerOf } from "../../base/peer.ts";
import { decodePacket, shortTopicName } from "../../wire/mqttsn.ts";
import type {
  MqttSnPacket,
  Publish,
  Qos,
  TopicReference,
} from "../../wire/packets.ts";
import type { RouterOptions } from "../../broker/options.ts";
import {
  type DurableEvent,
  type DurableOptions,
  DurableRouter,
} from "./durable_router.ts";
import { BadNet, type NetOptions } from "./net.ts";
import { Scales } from "./scales.ts";
import { fail, isBusy, matches, textOf } from "./stories.ts";

/** Where the router is. */
export const BROKER = peerOf("127.0.0.1", 12003);

/** T_retry of all. */
export const RETRY_MS = 100;

/** The pause after a refusal for congestion. */
const WAIT_MS = 300;

/** No datagram is under way for as long. */
const GONE_MS = 70;

/** As long as nothing comes for this time, nothing more is to be expected. */
const QUIET_MS = 3_500;

/** A world that does not come to rest within this time never will. */
const PATIENCE_MS = 120_000;

const PREDEFINED = new Map([[1, "p/one"]]);

const OPTIONS: RouterOptions = {
  retryMs: RETRY_MS,
  retries: 20,
  predefined: PREDEFINED,
};

/** A message that came. */
interface Arrival {
  readonly text: string;
  readonly message: ReceivedMessage;
  /** Which of the client's devices it came to, and in which connection. */
  readonly life: number;
  readonly connection: number;
  readonly at: Millis;
}

/** A message of a client's own. */
interface Publication {
  readonly owner: Client;
  readonly text: string;
  readonly topicName: string;
  readonly qos: Qos;
  readonly retain: boolean;
  /** Whether it ends what its topic retains: nobody can tell it from others. */
  readonly isBlank: boolean;
  /** In which life of its owner. */
  readonly life: number;
  readonly givenAt: Millis;
  /** When its PUBLISH was sent for the first time. */
  sentAt: Millis;
  /** When it was acknowledged, or when it was known that it never is. */
  doneAt: Millis;
  endedAt: Millis;
}

/** A subscription, from its request to its end. */
interface Interest {
  readonly topic: DeviceTopic;
  readonly topicFilter: string;
  qos: DeliveryQos;
  readonly givenAt: Millis;
  doneAt: Millis;
  /** When its end was asked for, and acknowledged. */
  endGivenAt: Millis;
  endedAt: Millis;
}

/** A SUBSCRIBE that the router has taken, or may have. */
interface Ask {
  readonly msgId: number;
  readonly topicFilter: string;
  /** When it came last, as the router knows the time. */
  at: Millis;
}

/** A will that a router has published. */
interface LastWord {
  readonly text: string;
  readonly topicName: string;
  readonly qos: DeliveryQos;
  readonly retain: boolean;
  readonly at: Millis;
  /** Whether it outlives a crash: yes or no, `undefined` as long as nobody knows. */
  isCommitted: boolean | undefined;
}

/** How a client is. */
export type ClientOptions = Partial<
  Omit<DeviceOptions, "clientId" | "gateway" | "random">
>;

/** A client of one name, whichever devices it has been in turn. */
export class Client {
  /** Who it is. */
  readonly name: string;
  /** What came to it, in order. */
  readonly received: Arrival[] = [];
  /** What it asked to be subscribed to. */
  readonly interests: Interest[] = [];
  /** When it began to connect, each time. */
  readonly connectedAt: Millis[] = [];
  /** Which device it is by now, counted from 1. */
  life = 0;
  /** Whether it is to be connected at present. */
  isWanted = true;
  /** Whether nothing is kept of it between connections. */
  isClean = false;
  /** When it last lay down, `Infinity` while it has not since it connected. */
  asleepAt: Millis = Infinity;
  /** Nothing that was published before is promised to it. */
  promisedSince: Millis = -1;
  /** When it knew that it has disconnected, and may be silent. */
  leftAt: Millis = Infinity;
  /** When it asked to begin with a clean session, `Infinity` for never. */
  forgetsAt: Millis = Infinity;
  /** The device, and where it is. */
  device!: Device;
  /** See {@linkcode device}. */
  peer!: Peer;
  /** Whether nothing of what it does is asked of anybody any more. */
  isMute = false;

  readonly #world: World;
  #options: ClientOptions = {};
  /** By token, what becomes of a command. */
  #ends = new Map<number, (event: DeviceEvent) => void>();

  /** Begins without a device. */
  constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
  }

  /** Goes on as another device; the last is switched off. */
  become(peer: Peer, options: ClientOptions): void {
    const { net, random } = this.#world;
    if (this.life > 0) this.vanish();
    this.#options = options;
    this.life++;
    this.isClean = options.cleanSession ?? false;
    this.asleepAt = Infinity;
    this.peer = peer;
    this.#ends = new Map();
    const device = this.device = new Device({
      cleanSession: false,
      keepAlive: 0,
      retryMs: RETRY_MS,
      retries: 5,
      backoff: 1,
      waitMs: WAIT_MS,
      maxPauseMs: 4 * RETRY_MS,
      predefined: PREDEFINED,
      ...options,
      clientId: this.name,
      gateway: BROKER,
      random,
    });
    const ends = this.#ends;
    const { life } = this;
    net.attach(peer, device, (event: DeviceEvent) => {
      if (life === this.life) this.#handle(event, ends);
    });
  }

  /** Its device is switched off. */
  vanish(): void {
    this.#world.net.detach(this.peer);
  }

  /** Its device goes on from another address. */
  move(peer: Peer): void {
    const { net } = this.#world;
    const aheadMs = this.#clock - this.#now;
    this.vanish();
    this.peer = peer;
    const ends = this.#ends;
    const { life } = this;
    net.attach(peer, this.device, (event: DeviceEvent) => {
      if (life === this.life) this.#handle(event, ends);
    });
    net.leap(peer, aheadMs); // its clock goes with it
  }

  /** Connects, and again if it is refused. */
  connect(): void {
    this.isWanted = true;
    this.leftAt = Infinity;
    this.#give(this.device.connect(this.#clock), (event) => {
      if (event.type === "done") return;
      this.#again(() => this.connect());
    });
  }

  /** Disconnects. */
  disconnect(): void {
    this.isWanted = false;
    this.#give(this.device.disconnect(this.#clock), () => {
      // Unless it gave up, or was told to connect meanwhile.
      if (this.#world.isSteady && !this.isWanted) this.leftAt = this.#now;
    });
  }

  /** Lies down, waking after each `duration` seconds. */
  sleep(duration = 30): void {
    this.#give(this.device.sleep(this.#clock, duration), (event) => {
      if (event.type !== "done") this.#again(() => this.sleep(duration));
    });
  }

  /** Fetches what waits for it. */
  wake(): void {
    this.#give(this.device.wake(this.#clock), () => {});
  }

  /** Fetches all that waits for it, however often it has to ask. */
  fetch(): void {
    this.#give(this.device.wake(this.#clock), (event) => {
      if (event.type === "silence") this.#again(() => this.fetch());
    });
  }

  /** Registers a topic. */
  register(topicName: string): void {
    this.#give(this.device.register(this.#clock, topicName), () => {});
  }

  /** Subscribes, and again if it is refused. */
  subscribe(topic: DeviceTopic, qos: DeliveryQos): void {
    const interest: Interest = {
      topic,
      topicFilter: nameOf(topic),
      qos,
      givenAt: this.#now,
      doneAt: Infinity,
      endGivenAt: Infinity,
      endedAt: Infinity,
    };
    this.interests.push(interest);
    this.#subscribe(interest);
  }

  #subscribe(interest: Interest): void {
    const { topic, qos } = interest;
    this.#give(this.device.subscribe(this.#clock, topic, qos), (event) => {
      if (event.type === "done") interest.doneAt = this.#now;
      else this.#again(() => this.#subscribe(interest));
    });
  }

  /** Ends a subscription that was acknowledged a while ago; false if none is. */
  unsubscribe(topicFilter: string): boolean {
    const interest = this.interests.find((interest) =>
      interest.topicFilter === topicFilter && interest.endGivenAt === Infinity
    );
    // What is late of the SUBSCRIBE must not come behind.
    if (interest === undefined || interest.doneAt + GONE_MS > this.#now) {
      return false;
    }
    interest.endGivenAt = this.#now;
    const { device } = this;
    this.#give(device.unsubscribe(this.#clock, interest.topic), (event) => {
      if (event.type === "done") interest.endedAt = this.#now;
    });
    return true;
  }

  /** Publishes a message that nobody else has published. */
  publish(
    topic: DeviceTopic,
    qos: Qos,
    options: { readonly retain?: boolean; readonly isBlank?: boolean } = {},
  ): void {
    const { retain = false, isBlank = false } = options;
    const publication = this.#world.note(this, nameOf(topic), qos, {
      retain,
      isBlank,
    });
    const payload = new TextEncoder().encode(isBlank ? "" : publication.text);
    const token = this.device.publish(this.#clock, topic, payload, {
      qos,
      retain,
    });
    this.#give(token, (event) => {
      publication.endedAt = this.#now;
      if (event.type === "done") publication.doneAt = this.#now;
    });
  }

  /** Begins with a clean session: what was before is over. */
  forget(): void {
    for (const interest of this.interests) {
      interest.endGivenAt = Math.min(interest.endGivenAt, this.#now);
    }
    this.promisedSince = Infinity;
    this.forgetsAt = Math.min(this.forgetsAt, this.#now);
    this.#give(this.device.connect(this.#clock), (event) => {
      if (event.type !== "done") return this.#again(() => this.forget());
      this.promisedSince = this.#now;
      for (const interest of this.interests) {
        interest.endedAt = Math.min(interest.endedAt, this.#now);
      }
    });
  }

  get #now(): Millis {
    return this.#world.net.now;
  }

  /** The time as its device knows it. */
  get #clock(): Millis {
    return this.#world.net.nowAt(this.peer);
  }

  #give(token: number, end: (event: DeviceEvent) => void): void {
    this.#ends.set(token, end);
    this.#world.net.refresh(this.peer);
  }

  #again(action: () => void): void {
    const { life } = this;
    this.#world.net.at(this.#now + WAIT_MS, () => {
      if (life === this.life && this.isWanted) action();
    });
  }

  #handle(
    event: DeviceEvent,
    ends: Map<number, (event: DeviceEvent) => void>,
  ): void {
    if (event.type !== "message" && event.type !== "stray") {
      const { lines } = this.#world.net;
      lines.push(`${this.#now} ${this.name}: ${JSON.stringify(event)}`);
    }
    switch (event.type) {
      case "message": {
        const { message } = event;
        this.received.push({
          text: textOf(message.payload),
          message,
          life: this.life,
          connection: this.connectedAt.length,
          at: this.#now,
        });
        return;
      }
      case "state":
        if (event.state === "connecting") {
          this.connectedAt.push(this.#now);
          this.asleepAt = Infinity;
        } else if (event.state === "asleep") {
          this.asleepAt = Math.min(this.asleepAt, this.#now);
        }
        return this.#world.handleState(this, event.state);
      case "refused":
      case "done":
      case "silence":
        if (event.type === "refused" && event.returnCode !== 1) {
          fail(`${this.name}: a command was refused with ${event.returnCode}`);
        }
        ends.get(event.token)?.(event);
        ends.delete(event.token);
    }
  }
}

/** A client of the classic protocol, which publishes to a topic of its own. */
interface ClassicClient {
  readonly device: ClassicDevice;
  readonly topicName: string;
  readonly waiting: string[];
  readonly given: string[];
  readonly done: string[];
  current: string | undefined;
}

/** How a world is. */
export interface WorldOptions {
  /** Where all chance comes from. */
  readonly seed: number;
  /** How bad its network is. */
  readonly net: Omit<NetOptions, "seed" | "onSend" | "onDelivery">;
  /** How its store behaves. */
  readonly store: Omit<DurableOptions, "router">;
  /**
   * Whether the devices never notice more than silence: who loses its connection
   * has been broken a promise.
   */
  readonly isSteady?: boolean;
  /**
   * As long as nothing comes for this time, in milliseconds, nothing more is to be
   * expected. Default 3,500, for a bad network.
   */
  readonly quietMs?: Millis;
}

/** A network with a router that crashes, and whoever uses it. */
export class World {
  /** The network. */
  readonly net: BadNet;
  /** The router. */
  readonly broker: DurableRouter;
  /** Who there is. */
  readonly clients: Client[] = [];
  /** Where their chances come from. */
  readonly random: Random;
  /** When everybody published once more. */
  finalAt: Millis = Infinity;
  /** See {@linkcode WorldOptions.isSteady}. */
  readonly isSteady: boolean;
  /** The PUBLISHes that the router has sent, by peer, msgId and text. */
  readonly #published = new Set<string>();
  readonly #quietMs: Millis;
  readonly #scales = new Scales([BROKER]);
  readonly #classic: ClassicClient[] = [];
  readonly #publications = new Map<string, Publication>();
  /** What was retained or ended, by topic, in order. */
  readonly #retained = new Map<string, Publication[]>();
  readonly #counts = new Map<string, number>();
  readonly #wills: LastWord[] = [];
  /** The wills of who is there, to know them when they come. */
  readonly #willOf = new Map<string, ClientOptions["will"]>();
  /** When a SUBSCRIBE came last, by client and filter. */
  readonly #asked = new Map<string, Millis>();
  /** Who sends SUBSCRIBEs, by address. */
  readonly #askers = new Map<string, string>();
  /** What each has asked for, by name. */
  readonly #asks = new Map<string, Ask[]>();
  /** The last of these, while the router knows it again if it comes twice. */
  readonly #lastAsk = new Map<string, Ask>();
  /** When the first copy of the last UNSUBSCRIBE came. */
  readonly #unasked = new Map<string, { msgId: number; at: Millis }>();
  #isEnding = false;
  #nextPort = 1_001;

  /** Makes a world with nobody in it. */
  constructor(options: WorldOptions) {
    const { seed, net, store, isSteady = false, quietMs = QUIET_MS } = options;
    this.#quietMs = quietMs;
    this.random = seededRandom(seed);
    this.isSteady = isSteady;
    this.net = new BadNet({
      ...net,
      seed,
      onSend: (now, from, to, bytes) => this.#handleSend(now, from, to, bytes),
      onDelivery: (now, from, to, bytes) =>
        this.#handleDelivery(now, from, to, bytes),
    });
    this.broker = new DurableRouter({ ...store, router: OPTIONS });
    this.net.attach(
      BROKER,
      this.broker,
      (event, now) => this.#handleEvent(event, now),
    );
  }

  /** Somebody comes, and connects unless told. */
  join(name: string, options: ClientOptions = {}, connects = true): Client {
    const client = new Client(this, name);
    this.clients.push(client);
    this.#willOf.set(name, options.will);
    client.become(this.newPeer(), options);
    if (connects) client.connect();
    return client;
  }

  /** An address where nobody has been. */
  newPeer(): Peer {
    return peerOf("127.0.0.1", this.#nextPort++);
  }

  /** Somebody publishes by the classic protocol, to a topic of its own. */
  publishClassic(topicName: string): void {
    let client = this.#classic.find((client) => client.topicName === topicName);
    if (client === undefined) {
      client = {
        device: new ClassicDevice(BROKER, { timeoutMs: 2 * RETRY_MS }),
        topicName,
        waiting: [],
        given: [],
        done: [],
        current: undefined,
      };
      this.#classic.push(client);
      this.#openClassic(client);
    }
    client.waiting.push(`${topicName}:${client.waiting.length}`);
    this.#advance(client);
  }

  /** Lets so much time pass. */
  run(ms: Millis): void {
    this.net.run(this.net.now + ms);
  }

  /** Waits until nothing is pending and nothing more comes. */
  settle(): void {
    const { net } = this;
    const limit = net.now + PATIENCE_MS;
    let quietSince = net.now;
    let progress = -1;
    while (net.now - quietSince < this.#quietMs) {
      this.run(RETRY_MS);
      const busy = this.clients.filter(({ device, isWanted, isMute }) =>
        !isMute && isBusy(device, isWanted)
      );
      const isBusyStill = busy.length > 0 || !this.broker.isIdle ||
        this.#classic.some(({ current }) => current !== undefined);
      const sum = this.clients.reduce(
        (sum, { received }) => sum + received.length,
        0,
      );
      if (isBusyStill || sum !== progress) quietSince = net.now;
      progress = sum;
      if (net.now < limit) continue;
      const who = busy.map(({ name, device }) => `${name} ${device.state}`);
      fail(`never quiet: ${who.join(", ") || "the broker"}`);
    }
  }

  /** Notes what somebody publishes: "p1:a/b:17", numbered for each topic. */
  note(
    owner: Client,
    topicName: string,
    qos: Qos,
    { retain, isBlank }: { retain: boolean; isBlank: boolean },
  ): Publication {
    const life = owner.life > 1 ? `.${owner.life}` : "";
    const key = `${owner.name}${life}:${topicName}`;
    const count = (this.#counts.get(key) ?? 0) + 1;
    this.#counts.set(key, count);
    const publication: Publication = {
      owner,
      text: `${key}:${count}`,
      topicName,
      qos,
      retain,
      isBlank,
      life: owner.life,
      givenAt: this.net.now,
      sentAt: Infinity,
      doneAt: Infinity,
      endedAt: Infinity,
    };
    this.#publications.set(publication.text, publication);
    if (retain) {
      const list = this.#retained.get(topicName) ?? [];
      list.push(publication);
      this.#retained.set(topicName, list);
    }
    return publication;
  }

  /** A device's connection is another. */
  handleState({ name, isClean }: Client, state: string): void {
    if (!this.isSteady || isClean || state !== "lost") return;
    fail(`${name} was lost, although the broker was only silent for a while`);
  }

  #handleSend(
    now: Millis,
    from: Peer,
    to: Peer | undefined,
    bytes: Uint8Array,
  ): void {
    this.#scales.handleSend(now, from, to, bytes);
    const packet = packetOf(bytes);
    if (from.key === BROKER.key) {
      if (packet?.type === "PUBACK") this.#checkAck(to, packet.returnCode);
      else if (packet?.type === "PUBLISH") this.#checkDup(to!, packet);
    }
    if (to?.key !== BROKER.key) return;
    if (packet?.type === "SUBSCRIBE") {
      const asker = this.clients.find(({ peer }) => peer.key === from.key);
      if (asker !== undefined) this.#askers.set(from.key, asker.name);
    }
    if (packet?.type !== "PUBLISH") return;
    const publication = this.#publications.get(textOf(packet.data));
    if (publication?.sentAt === Infinity) publication.sentAt = now;
  }

  /** What is sent again under its msgId says so, whoever sent it before. */
  #checkDup(to: Peer, { qos, dup, msgId, data }: Publish): void {
    const client = this.clients.find(({ peer }) => peer.key === to.key);
    // A clean session begins with the same msgIds each time.
    if (qos <= 0 || client === undefined || client.isClean) return;
    const key = `${to.key} ${msgId} ${textOf(data)}`;
    if (!dup && this.#published.has(key)) {
      fail(`"${textOf(data)}" was sent to "${to.key}" again without DUP`);
    }
    this.#published.add(key);
  }

  /** Who was told an id may count on it. */
  #checkAck(to: Peer | undefined, returnCode: number): void {
    if (!this.isSteady || returnCode !== 2) return;
    const client = this.clients.find(({ peer }) => peer.key === to?.key);
    if (client === undefined || client.isClean) return;
    fail(`${client.name} was told an id that the router does not know`);
  }

  #handleDelivery(now: Millis, from: Peer, to: Peer, bytes: Uint8Array): void {
    this.#scales.handleDelivery(from, to, bytes);
    const packet = packetOf(bytes);
    if (to.key === BROKER.key) this.#noteAsk(from, packet);
    if (packet?.type !== "SUBSCRIBE" && packet?.type !== "UNSUBSCRIBE") return;
    const client = this.clients.find(({ peer }) => peer.key === from.key);
    if (client === undefined || to.key !== BROKER.key) return;
    const { topic, msgId } = packet;
    if (topic.topicIdType !== "normal") return;
    const key = `${client.name} ${topic.topicName}`;
    if (packet.type === "SUBSCRIBE") this.#asked.set(key, now);
    else if (this.#unasked.get(key)?.msgId !== msgId) {
      this.#unasked.set(key, { msgId, at: now });
    }
  }

  /** Counts the SUBSCRIBEs for each of which what is retained is delivered. */
  #noteAsk(from: Peer, packet: MqttSnPacket | undefined): void {
    const name = this.#askers.get(from.key);
    if (name === undefined || !this.broker.isUp) return;
    if (packet?.type === "CONNECT" || packet?.type === "UNSUBSCRIBE") {
      this.#lastAsk.delete(name); // from here on it may be another
    }
    if (packet?.type !== "SUBSCRIBE") return;
    const at = this.net.nowAt(BROKER);
    const { msgId, topic } = packet;
    const topicFilter = nameIn(topic);
    const last = this.#lastAsk.get(name);
    const isCopy = last?.msgId === msgId && last.topicFilter === topicFilter &&
      at - last.at < RETRY_MS;
    if (isCopy) {
      last.at = at;
      return;
    }
    const ask: Ask = { msgId, topicFilter, at };
    this.#lastAsk.set(name, ask);
    const asks = this.#asks.get(name);
    if (asks === undefined) this.#asks.set(name, [ask]);
    else asks.push(ask);
  }

  /** Whether a late copy of a SUBSCRIBE may have undone its end. */
  #isUndone({ name }: Client, topicFilter: string): boolean {
    const key = `${name} ${topicFilter}`;
    const unasked = this.#unasked.get(key);
    if (unasked === undefined) return false;
    return (this.#asked.get(key) ?? -1) >= unasked.at;
  }

  #handleEvent(event: DurableEvent, now: Millis): void {
    switch (event.type) {
      case "will": {
        const { clientId } = event;
        const will = this.#willOf.get(clientId);
        if (will === undefined) return;
        const owner = this.clients.find(({ name }) => name === clientId)!;
        if (owner.leftAt <= now && !owner.isClean) {
          fail(`${clientId} had disconnected, and its will was published`);
        }
        const { topicName, qos = 0, retain = false, payload } = will;
        this.#wills.push({
          text: textOf(payload),
          topicName,
          qos,
          retain,
          at: now,
          isCommitted: undefined,
        });
        return;
      }
      case "connect":
      case "move":
        return this.#scales.handleEvent(event);
      case "committed":
        for (const will of this.#wills) will.isCommitted ??= true;
        return;
      case "crashed":
        for (const will of this.#wills) will.isCommitted ??= false;
        this.#lastAsk.clear(); // that one was the last is not kept
        this.net.lines.push(`${now} the router crashes`);
        return;
      case "store":
        this.net.lines.push(`${now} the store is ${event.state}`);
    }
  }

  // The classic protocol

  #openClassic(client: ClassicClient): void {
    const peer = this.newPeer();
    this.net.attach(peer, client.device, (event) => {
      if (event.type === "stray") return;
      // A late answer would pass for the next one's: from a new port then.
      if (event.type === "answer") client.done.push(client.current!);
      client.current = undefined;
      this.net.at(this.net.now + 1, () => {
        this.net.detach(peer);
        this.#openClassic(client);
        this.#advance(client);
      });
    });
  }

  #advance(client: ClassicClient): void {
    if (client.current !== undefined) return;
    const next = client.waiting[client.given.length];
    if (next === undefined) return;
    client.current = next;
    client.given.push(next);
    client.device.publish(this.net.now, client.topicName, next);
  }

  // The end

  /** Throws at the first promise that is not kept; all must have settled. */
  check(): void {
    this.#checkRevival();
    for (const receiver of this.clients) {
      const arrivals = new Map<string, Arrival[]>();
      for (const arrival of receiver.received) {
        const { text } = arrival;
        const arrivalsOf = arrivals.get(text);
        if (arrivalsOf === undefined) arrivals.set(text, [arrival]);
        else arrivalsOf.push(arrival);
      }
      const wills = new Set(this.#wills.map(({ text }) => text));
      for (const [text, [first]] of arrivals) {
        if (text === "" || wills.has(text) || this.#publications.has(text)) {
          continue;
        }
        if (first!.message.topicName.startsWith("c/")) continue; // classic
        fail(`${receiver.name}: "${text}" came from nowhere`);
      }
      for (const publication of this.#publications.values()) {
        if (publication.isBlank) continue;
        const came = arrivals.get(publication.text) ?? [];
        this.#checkMessage(receiver, publication, came);
      }
      for (const text of wills) {
        this.#checkWill(receiver, text, arrivals.get(text) ?? []);
      }
      this.#checkRetainedOf(receiver, arrivals);
      this.#checkOrder(receiver);
    }
    this.#checkRetained();
    this.#checkHistories();
    this.#end();
  }

  /** What is committed makes the same router again. */
  #checkRevival(): void {
    this.#checkReleased();
    // Of who is connected and has a clean session nothing is kept.
    const hasClean = this.clients.some(({ isClean, device: { state } }) =>
      isClean && state === "active"
    );
    if (hasClean) return;
    const { mqttsn: live, unstored } = this.broker.stats();
    const { mqttsn: revived } = this.broker.revive(this.net.nowAt(BROKER))
      .stats();
    // What came at QoS 0 while the store had no time for it waits all the same.
    const fleeting = live.queued - revived.queued;
    const isRight = countsOf(live) === countsOf(revived) && fleeting >= 0 &&
      fleeting <= unstored;
    if (isRight) return;
    fail(
      `a router made of the store has ${countsOf(revived)} and ` +
        `${revived.queued} queued, not ${countsOf(live)} and ${live.queued}`,
    );
  }

  /** A message at QoS 2 that is done waits for no PUBREL any more. */
  #checkReleased(): void {
    // Of one that was refused it may, as it may have been taken before.
    for (const { doneAt, endedAt } of this.#publications.values()) {
      if (doneAt === Infinity && endedAt < Infinity) return;
    }
    for (const record of this.broker.store.load()) {
      if (record.type !== "received" || record.until !== undefined) continue;
      fail(
        `msgId ${record.msgId} of session ${record.session} is not released`,
      );
    }
  }

  /** Whether a message was published while a client was promised it. */
  #isPromised(
    receiver: Client,
    { sentAt, doneAt }: { sentAt: Millis; doneAt: Millis },
  ): boolean {
    if (sentAt <= receiver.promisedSince) return false;
    if (!receiver.isClean || sentAt > this.finalAt) return true;
    // Only who sleeps, and has not begun anew before it could come.
    return receiver.asleepAt < sentAt && doneAt < Infinity;
  }

  #checkMessage(
    receiver: Client,
    publication: Publication,
    came: readonly Arrival[],
  ): void {
    const { name, interests } = receiver;
    const { text, topicName, sentAt, doneAt } = publication;
    const matching = interests.filter(({ topicFilter }) =>
      matches(topicFilter, topicName)
    );
    if (came.some(({ message }) => message.topicName !== topicName)) {
      fail(`${name}: "${text}" came under another topic than "${topicName}"`);
    }
    this.#checkOnce(receiver, topicName, came);
    const live = came.filter(({ message }) => !message.retain);
    if (receiver.forgetsAt < Infinity && doneAt < receiver.forgetsAt) {
      const isLate = live.some(({ at }) => at > receiver.promisedSince);
      if (isLate) fail(`${name}: "${text}" came although it was forgotten`);
    }
    const wanted = matching.filter(({ topicFilter, endedAt }) =>
      endedAt >= sentAt || this.#isUndone(receiver, topicFilter)
    );
    if (wanted.length === 0) {
      if (live.length > 0) fail(`${name}: "${text}" came unasked`);
      return;
    }
    // What was there before anybody asked for it was retained, and says so; but
    // at less than QoS 2 it may be a late copy.
    const isOld = publication.retain && publication.qos === 2 &&
      matching.every(({ givenAt }) => givenAt > doneAt);
    if (isOld && live.length > 0) {
      fail(`${name}: "${text}" came as if it were new`);
    }
    const sentQos = Math.max(0, publication.qos);
    const most = Math.min(Math.max(...matching.map(({ qos }) => qos)), sentQos);
    if (came.some(({ message }) => message.qos > most)) {
      fail(`${name}: "${text}" came at a higher QoS than was asked`);
    }
    const exact = live.filter(({ message }) => message.qos === 2);
    const bound = this.#copiesOf(publication);
    const perSession = new Map<string, number>();
    for (const { life, connection } of exact) {
      const key = receiver.isClean ? `${life} ${connection}` : `${life}`;
      const count = (perSession.get(key) ?? 0) + 1;
      perSession.set(key, count);
      if (count <= bound) continue;
      fail(`${name}: "${text}" at QoS 2 came ${count} times`);
    }
    if (doneAt === Infinity || !this.#isPromised(receiver, publication)) return;
    const granted = matching
      .filter(({ doneAt: from, endGivenAt }) =>
        from < sentAt && doneAt < endGivenAt
      )
      .map(({ qos }) => qos);
    const qos = Math.min(Math.max(0, ...granted), sentQos);
    if (qos >= 1 && live.length === 0) {
      fail(`${name}: "${text}" at QoS ${qos} never came`);
    }
    if (qos === 2 && live.length !== exact.length) {
      const got = live.map(({ message }) => message.qos).join();
      fail(`${name}: "${text}" at QoS 2 came at QoS ${got}`);
    }
  }

  /** What is retained comes at QoS 2 no more often than it was asked for. */
  #checkOnce(
    receiver: Client,
    topicName: string,
    came: readonly Arrival[],
  ): void {
    const { name, isClean } = receiver;
    const exact = came.filter(({ message: { retain, qos } }) =>
      retain && qos === 2
    );
    if (exact.length < 2) return;
    const bound =
      (this.#asks.get(name) ?? []).filter(({ topicFilter }) =>
        matches(topicFilter, topicName)
      ).length;
    const perSession = new Map<string, number>();
    for (const { text, life, connection } of exact) {
      const key = isClean ? `${life} ${connection}` : `${life}`;
      const count = (perSession.get(key) ?? 0) + 1;
      perSession.set(key, count);
      if (count <= bound) continue;
      fail(`${name}: "${text}", retained, came ${count} times of ${bound}`);
    }
  }

  /** How often the router may have taken a message at QoS 2. */
  #copiesOf({ owner, life, sentAt, endedAt }: Publication): number {
    // A session that begins anew knows nothing of what the last one began.
    if (!owner.isClean && owner.life === life) return 1;
    return 1 +
      owner.connectedAt.filter((at) => at >= sentAt && at <= endedAt).length;
  }

  #checkWill(receiver: Client, text: string, came: readonly Arrival[]): void {
    const { name, interests, isClean } = receiver;
    const wills = this.#wills.filter((will) => will.text === text);
    const [{ topicName, qos: sentQos }] = wills as [LastWord];
    this.#checkOnce(receiver, topicName, came);
    const matching = interests.filter(({ topicFilter }) =>
      matches(topicFilter, topicName)
    );
    if (matching.length === 0) {
      if (came.length > 0) fail(`${name}: "${text}" came unasked`);
      return;
    }
    const live = came.filter(({ message }) => !message.retain);
    const exact = live.filter(({ message }) => message.qos === 2);
    const committed = wills.filter(({ isCommitted }) => isCommitted);
    if (!isClean && exact.length > wills.length) {
      fail(`${name}: "${text}" came ${exact.length} times of ${wills.length}`);
    }
    if (isClean) return;
    const isPromised = ({ at }: LastWord) =>
      matching.some(({ doneAt, endGivenAt, qos }) =>
        doneAt < at && at + QUIET_MS < endGivenAt && Math.min(qos, sentQos) > 0
      );
    // Who never comes back is lost again, if its loss was.
    const isGone = this.clients.some((client) =>
      client.isMute && text === `will of ${client.name}`
    );
    const least = isGone && isPromised(wills[0]!) ? 1 : 0;
    const promised = Math.max(least, committed.filter(isPromised).length);
    if (live.length < promised) {
      fail(`${name}: "${text}" came ${live.length} times of ${promised}`);
    }
  }

  /** Who subscribes gets what was retained by then, if that has stayed. */
  #checkRetainedOf(receiver: Client, arrivals: Map<string, Arrival[]>): void {
    const { name, interests, isClean } = receiver;
    if (isClean) return;
    for (const { topicFilter, qos, givenAt, doneAt, endGivenAt } of interests) {
      if (qos === 0 || doneAt === Infinity || endGivenAt < Infinity) continue;
      for (const [topicName, list] of this.#retained) {
        const last = list.at(-1)!;
        const isStable = last.doneAt < givenAt && !last.isBlank;
        if (!isStable || !matches(topicFilter, topicName)) continue;
        if (last.qos === 0 || arrivals.has(last.text)) continue;
        fail(`${name}: "${last.text}", retained for it, never came`);
      }
    }
  }

  /** First arrivals at QoS 1 and 2 ascend for each publisher and topic. */
  #checkOrder(receiver: Client): void {
    const { name, received, interests } = receiver;
    const seen = new Set<string>();
    const last = new Map<string, number>();
    for (const { text, message: { topicName, qos, retain } } of received) {
      const publication = this.#publications.get(text);
      if (qos === 0 || retain || publication === undefined) continue;
      if (seen.has(text)) continue;
      seen.add(text);
      const isLate = !this.#isPromised(receiver, publication) ||
        interests.some(({ topicFilter, doneAt }) =>
          doneAt >= publication.sentAt && matches(topicFilter, topicName)
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

  /** Somebody new gets what was acknowledged last, and nothing that was ended. */
  #checkRetained(): void {
    const newcomer = this.join("newcomer", { cleanSession: true });
    newcomer.subscribe("#", 2);
    this.settle();
    const got = new Map<string, string>();
    for (const { text, message } of newcomer.received) {
      if (got.has(message.topicName)) {
        fail(`"${message.topicName}" has more than one retained message`);
      }
      got.set(message.topicName, text);
      const qos = this.#publications.get(text)?.qos ?? message.qos;
      if (message.qos === qos) continue;
      fail(`"${text}" is retained at QoS ${message.qos}, not ${qos}`);
    }
    for (const { topicName, text, retain, isCommitted } of this.#wills) {
      if (!retain || !isCommitted || got.get(topicName) === text) continue;
      fail(`"${topicName}" does not retain "${text}"`);
    }
    for (const [topicName, list] of this.#retained) {
      const last = list.findLastIndex(({ doneAt }) => doneAt < Infinity);
      // What came after may have been taken, and not acknowledged.
      const fitting = list.slice(Math.max(0, last));
      const values = fitting.map(({ text, isBlank }) => isBlank ? "" : text);
      if (last < 0) values.push("");
      const value = got.get(topicName) ?? "";
      got.delete(topicName);
      if (values.includes(value)) continue;
      fail(`"${topicName}" retains "${value}", not "${values.join('" or "')}"`);
    }
    for (const [topicName, text] of got) {
      if (this.#wills.some((will) => will.text === text)) continue;
      fail(`"${topicName}" retains "${text}" from nowhere`);
    }
  }

  /** What was acknowledged is in the histories, in order. */
  #checkHistories(): void {
    for (const { topicName, given, done } of this.#classic) {
      const device = new ClassicDevice(BROKER, { timeoutMs: RETRY_MS });
      let history = "";
      this.net.attach(this.newPeer(), device, (event) => {
        if (event.type === "answer") history = event.text;
      });
      device.subscribe(this.net.now, topicName);
      this.run(2 * GONE_MS);
      const data = history === "" ? [] : history.split("\n");
      let at = -1;
      for (const datum of done) {
        const next = data.indexOf(datum, at + 1);
        if (next < 0) {
          fail(`"${datum}" is not in its history, or not in its place`);
        }
        at = next;
      }
      for (const datum of data) {
        if (!given.includes(datum)) fail(`"${datum}" came from nowhere`);
      }
    }
  }

  /** Everybody leaves for good: nothing stays behind in the store. */
  #end(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    for (const client of this.clients) {
      client.become(this.newPeer(), { cleanSession: true });
      client.isMute = false;
      client.connect();
    }
    this.settle();
    for (const client of this.clients) client.disconnect();
    this.settle();
    const left = this.broker.store.load().filter(({ type }) =>
      type !== "retained" && type !== "datum"
    );
    if (left.length > 0) {
      fail(`in the store ${left.map(({ type }) => type).join()} stay behind`);
    }
  }
}

/** How a topic is written. */
export function nameOf(topic: DeviceTopic): string {
  if (typeof topic === "string") return topic;
  if ("short" in topic) return topic.short;
  return PREDEFINED.get(topic.predefined)!;
}

/** The topic that a SUBSCRIBE names. */
function nameIn(topic: TopicReference): string {
  switch (topic.topicIdType) {
    case "normal":
      return topic.topicName;
    case "short":
      return shortTopicName(topic.topicId)!;
    case "predefined":
      return PREDEFINED.get(topic.topicId)!;
    default:
      return fail(
        `nobody subscribes to a topic of type "${topic.topicIdType}"`,
      );
  }
}

/** A packet, `undefined` for what is of the classic protocol. */
function packetOf(bytes: Uint8Array): MqttSnPacket | undefined {
  try {
    return decodePacket(bytes);
  } catch {
    return undefined;
  }
}

/** What has to be the same in a router that was made anew. */
function countsOf(
  { subscriptions, retained, retainedMemory, clients }: ReturnType<
    DurableRouter["stats"]
  >["mqttsn"],
): string {
  return `${subscriptions} subscriptions, ${retained} retained in ` +
    `${retainedMemory} octets, ${clients.disconnected} disconnected, ` +
    `${clients.asleep} asleep`;
}
