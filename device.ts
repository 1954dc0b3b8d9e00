/**
 * The client's core for MQTT-SN 1.2: commands and datagrams in, effects out.
 * Knows the one gateway that it talks to, what it has asked and not been
 * answered, and the ids of topics; never a socket, a timer, the time of day or a
 * log. Its surface is that of every machine (`machine.ts`), and a command for
 * each thing that a client can ask for.
 *
 * Theory of operation. Commands stand in lanes: one for the connection, one for
 * topic ids, one for subscriptions, one for what is published, one for the will.
 * A lane has one request outstanding, as the specification asks (§6.5, §6.6,
 * §6.9), and lanes do not wait for each other; but a command of the connection's,
 * such as to sleep, waits for all that were given before it, and those given
 * after it wait for it. A request without an answer is sent again after T_retry,
 * N_retry times; then the gateway is taken for lost (§6.13), and the device
 * connects anew, each time after a longer pause, and takes up what it had begun:
 * a message of QoS 1 or 2 under its old msgId with DUP, or with PUBREL where
 * PUBREC had come.
 *
 * CONNACK does not tell whether the gateway still knows a client whose session is
 * kept. So what is known of it is trusted after a connection that was ended, and
 * doubted after one that was lost: then all subscriptions are asked for again.
 * Ids of topics are asked for anew in each connection, lest a message goes out
 * under one that is another topic's by now.
 *
 * Each command has a number, its token, under which its end is told.
 *
 * @module
 */

import { earliest, type Millis, type Random } from "./clock.ts";
import { type Effect, EffectQueue, type Machine } from "./machine.ts";
import {
  type DeliveryQos,
  LocalProtocolError,
  MalformedPacketError,
  type Peer,
} from "./message.ts";
import {
  decodePacket,
  encodePacket,
  shortTopicId,
  shortTopicName,
} from "./mqttsn.ts";
import {
  type MqttSnPacket,
  type MsgType,
  PROTOCOL_ID,
  type Publish,
  type Qos,
  type Register,
  RETURN_CODE,
  type Suback,
  type TopicAck,
  type TopicReference,
} from "./packet.ts";
import { digestOf, LATE_MS, Received } from "./received.ts";
import { parseTopicFilter, parseTopicName } from "./topics.ts";

/** How a client names a topic: by its name or filter, by an id, by two octets. */
export type DeviceTopic =
  | string
  | { readonly predefined: number }
  | { readonly short: string };

/** What a client's connection is (§6.14), and what it is on the way to it. */
export type DeviceState =
  | "disconnected"
  | "connecting"
  | "active"
  | "asleep"
  | "awake"
  | "lost";

/** A client's last will. */
export interface DeviceWill {
  /** Where to. */
  readonly topicName: string;
  /** What. */
  readonly payload: Uint8Array;
  /** At which QoS. Default 0. */
  readonly qos?: DeliveryQos;
  /** Whether it is retained. Default false. */
  readonly retain?: boolean;
}

/** Who a client is, and how patient. */
export interface DeviceOptions {
  /** The gateway. */
  readonly gateway: Peer;
  /** Who it is, 1 to 23 characters, or more where the gateway takes them. */
  readonly clientId: string;
  /** Where its chances come from: its first msgId, its pauses. */
  readonly random: Random;
  /** Whether nothing of it is kept between connections. Default true. */
  readonly cleanSession?: boolean;
  /** Keep alive in seconds, 0 to 65535; 0 for none. Default 60. */
  readonly keepAlive?: number;
  /** What is published when it is lost. Default none. */
  readonly will?: DeviceWill;
  /** T_retry, in milliseconds. Default 10,000. */
  readonly retryMs?: Millis;
  /** N_retry. Default 4. */
  readonly retries?: number;
  /** T_WAIT: the pause after a refusal for congestion. Default 300,000. */
  readonly waitMs?: Millis;
  /** The longest pause before it connects again. Default 60,000. */
  readonly maxPauseMs?: Millis;
  /** The pre-defined topics that it knows. Default none. */
  readonly predefined?: ReadonlyMap<number, string>;
}

/** A message that came. */
export interface DeviceMessage {
  /** The topic's name, whatever stood for it on the wire. */
  readonly topicName: string;
  /** What was published: octets of its own. */
  readonly payload: Uint8Array;
  /** At which QoS it came. */
  readonly qos: DeliveryQos;
  /** Whether it was retained. */
  readonly retain: boolean;
  /** Whether it may have come before; never at QoS 2. */
  readonly dup: boolean;
}

/** What a device tells. */
export type DeviceEvent =
  /** A command was carried out; a subscription at this QoS. */
  | { readonly type: "done"; readonly token: number; readonly qos: Qos }
  /** The gateway refused a command. */
  | {
    readonly type: "refused";
    readonly token: number;
    readonly returnCode: number;
  }
  /** The gateway did not answer a command that is given up. */
  | { readonly type: "silence"; readonly token: number }
  /** A message came. */
  | { readonly type: "message"; readonly message: DeviceMessage }
  /** The connection's state is another. */
  | { readonly type: "state"; readonly state: DeviceState }
  /** A datagram came that means nothing here. */
  | {
    readonly type: "stray";
    readonly peer: Peer;
    readonly detail: string;
  };

type Command =
  | { readonly type: "connect" }
  | { readonly type: "disconnect" }
  | { readonly type: "sleep"; readonly duration: number }
  | { readonly type: "wake" }
  | { readonly type: "register"; readonly topicName: string }
  | {
    readonly type: "subscribe";
    readonly topic: DeviceTopic;
    readonly qos: DeliveryQos;
  }
  | { readonly type: "unsubscribe"; readonly topic: DeviceTopic }
  | PublishCommand
  | { readonly type: "willTopic"; readonly will: DeviceWill | undefined }
  | { readonly type: "willMsg"; readonly payload: Uint8Array };

interface PublishCommand {
  readonly type: "publish";
  readonly topic: DeviceTopic;
  readonly payload: Uint8Array;
  readonly qos: Qos;
  readonly retain: boolean;
  /** That of its PUBLISH; 0 until it was sent. */
  msgId: number;
  /** Whether PUBREC has come. */
  isReleased: boolean;
  /** How often the gateway did not know its topic id. */
  rejections: number;
}

/** A command under way or waiting. */
interface Job {
  /** Its token; 0 when nobody wants to know how it ends. */
  token: number;
  /** Its place among all jobs. */
  readonly order: number;
  readonly command: Command;
}

/** What waits for its answer. */
interface Request {
  readonly packet: MqttSnPacket;
  /** What is sent again. */
  again: Uint8Array;
  retryAt: Millis;
  triesLeft: number;
}

const LANES = ["link", "register", "subscribe", "publish", "will"] as const;

type LaneName = (typeof LANES)[number];

/** One kind of command: one at a time. */
interface Lane {
  readonly queue: Job[];
  current: Job | undefined;
  request: Request | undefined;
  /** T_WAIT: nothing is asked before. */
  holdUntil: Millis;
}

const LANE_OF: Readonly<Record<Command["type"], LaneName>> = {
  connect: "link",
  disconnect: "link",
  sleep: "link",
  wake: "link",
  register: "register",
  subscribe: "subscribe",
  unsubscribe: "subscribe",
  publish: "publish",
  willTopic: "will",
  willMsg: "will",
};

/**
 * The client's core.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { seededRandom } from "./clock.ts";
 * import { Device } from "./device.ts";
 * import { peerOf } from "./message.ts";
 * import { describeDatagram } from "./packet_text.ts";
 *
 * const gateway = peerOf("127.0.0.1", 12003);
 * const random = seededRandom(1);
 * const device = new Device({ gateway, clientId: "lamp", random });
 * device.connect(0);
 *
 * const sent: string[] = [];
 * for (let effect; (effect = device.pollEffect());) {
 *   if (effect.type === "send") sent.push(describeDatagram(effect.bytes));
 * }
 * assertEquals(sent, [
 *   'CONNECT cleanSession protocolId=1 duration=60 clientId="lamp"',
 * ]);
 * ```
 */
export class Device implements Machine<DeviceEvent> {
  readonly #options: Required<Omit<DeviceOptions, "will">>;
  readonly #effects = new EffectQueue<DeviceEvent>();
  readonly #lanes: Readonly<Record<LaneName, Lane>> = {
    link: emptyLane(),
    register: emptyLane(),
    subscribe: emptyLane(),
    publish: emptyLane(),
    will: emptyLane(),
  };
  readonly #idByName = new Map<string, number>();
  readonly #nameById = new Map<number, string>();
  /** What it is subscribed to, by the topic's text, to ask for it again. */
  readonly #subscriptions = new Map<
    string,
    Extract<Command, { type: "subscribe" }>
  >();
  #received = new Received();
  /** The digests of those that wait for PUBREL, by msgId. */
  readonly #unreleased = new Map<number, number>();
  /** The same, of a gateway that may have forgotten them. */
  readonly #doubted = new Map<number, number>();
  #will: DeviceWill | undefined;
  #state: DeviceState = "disconnected";
  /** Whether a connection is wanted, and made anew when it is lost. */
  #isWanted = false;
  /** Whether the gateway may have forgotten what this client subscribed to. */
  #isForgotten = false;
  #connectAt: Millis = 0;
  #pauseMs: Millis;
  #ping: Request | undefined;
  #sentAt: Millis = 0;
  #heardAt: Millis = 0;
  #wakeAt: Millis | undefined;
  #sleepS = 0;
  #lastToken = 0;
  #lastOrder = 0;
  #msgId: number;

  /**
   * Makes a device that has nothing to do yet.
   *
   * @param options who it is, and how patient
   * @throws {LocalProtocolError} when CONNECT or the will cannot say so
   */
  constructor(options: DeviceOptions) {
    const retryMs = options.retryMs ?? 10_000;
    this.#options = {
      gateway: options.gateway,
      clientId: options.clientId,
      random: options.random,
      cleanSession: options.cleanSession ?? true,
      keepAlive: options.keepAlive ?? 60,
      retryMs,
      retries: options.retries ?? 4,
      waitMs: options.waitMs ?? 300_000,
      maxPauseMs: options.maxPauseMs ?? 60_000,
      predefined: options.predefined ?? new Map(),
    };
    this.#will = options.will;
    requireWritable(this.#connectPacket());
    if (options.will !== undefined) requireWill(options.will);
    this.#pauseMs = Math.min(retryMs, this.#options.maxPauseMs);
    // Anywhere, so that an answer to an earlier life does not fit.
    this.#msgId = Math.floor(options.random() * 0x10000);
  }

  /** What its connection is. */
  get state(): DeviceState {
    return this.#state;
  }

  /** Commands that have not ended. */
  get pending(): number {
    let pending = 0;
    for (const name of LANES) {
      const { queue, current } = this.#lanes[name];
      pending += queue.length + (current === undefined ? 0 : 1);
    }
    return pending;
  }

  /**
   * Connects, and stays connected: a connection that is lost is made anew.
   *
   * @returns the token under which its end is told
   */
  connect(now: Millis): number {
    return this.#give(now, { type: "connect" });
  }

  /** Disconnects; for good, unless it is told to connect. */
  disconnect(now: Millis): number {
    return this.#give(now, { type: "disconnect" });
  }

  /**
   * Falls asleep, and wakes once in a while to fetch what was buffered.
   *
   * @param duration seconds between two awakenings, 1 to 65535
   */
  sleep(now: Millis, duration: number): number {
    if (!(Number.isInteger(duration) && duration > 0 && duration <= 0xffff)) {
      throw new LocalProtocolError(
        `Cannot sleep for "${duration}" s: it is a whole number from 1 to 65535`,
      );
    }
    return this.#give(now, { type: "sleep", duration });
  }

  /** Fetches what was buffered, and sleeps on; does nothing unless asleep. */
  wake(now: Millis): number {
    return this.#give(now, { type: "wake" });
  }

  /**
   * Asks for the id of a topic's name, unless it has it.
   *
   * @throws {LocalProtocolError} when it may not be a topic's name
   */
  register(now: Millis, topicName: string): number {
    requireName(topicName);
    return this.#give(now, { type: "register", topicName });
  }

  /**
   * Subscribes.
   *
   * @throws {LocalProtocolError} when the topic is not valid
   */
  subscribe(now: Millis, topic: DeviceTopic, qos: DeliveryQos): number {
    requireFilter(topic);
    return this.#give(now, { type: "subscribe", topic, qos });
  }

  /**
   * Ends a subscription.
   *
   * @throws {LocalProtocolError} when the topic is not valid
   */
  unsubscribe(now: Millis, topic: DeviceTopic): number {
    requireFilter(topic);
    return this.#give(now, { type: "unsubscribe", topic });
  }

  /**
   * Publishes: at QoS 1 and 2 it is done when the gateway has taken it over, at
   * 0 and −1 when it was sent.
   *
   * @param payload what; copied
   * @throws {LocalProtocolError} when the topic is not valid, or needs an id that
   * QoS −1 has no way to ask for, or when the payload does not fit a datagram
   */
  publish(
    now: Millis,
    topic: DeviceTopic,
    payload: Uint8Array,
    options: { readonly qos?: Qos; readonly retain?: boolean } = {},
  ): number {
    const { qos = 0, retain = false } = options;
    requireTopic(topic);
    requireWritable(publishOf(topic, payload));
    if (qos === -1 && typeof topic === "string") {
      throw new LocalProtocolError(
        `Cannot publish to "${topic}" at QoS −1: it takes a pre-defined id or a short name`,
      );
    }
    if (qos === -1 && typeof topic !== "string") {
      return this.#publishUnconnected(now, topic, payload, retain);
    }
    return this.#give(now, {
      type: "publish",
      topic,
      payload: payload.slice(),
      qos,
      retain,
      msgId: 0,
      isReleased: false,
      rejections: 0,
    });
  }

  /**
   * Sets another will's topic, or none, which ends the will.
   *
   * @throws {LocalProtocolError} when it may not be a topic's name
   */
  updateWillTopic(now: Millis, will: DeviceWill | undefined): number {
    if (will !== undefined) requireWill(will);
    return this.#give(now, { type: "willTopic", will });
  }

  /**
   * Sets another will's message.
   *
   * @throws {LocalProtocolError} when it does not fit a datagram
   */
  updateWillMsg(now: Millis, payload: Uint8Array): number {
    requireWritable({ type: "WILLMSGUPD", data: payload });
    return this.#give(now, { type: "willMsg", payload: payload.slice() });
  }

  /**
   * Gives a command up: it is taken back if it was not sent yet, else it goes on
   * and its end is not told.
   */
  cancel(now: Millis, token: number): void {
    for (const name of LANES) {
      const lane = this.#lanes[name];
      const { queue, current, request } = lane;
      const index = queue.findIndex((job) => job.token === token);
      if (index >= 0) queue.splice(index, 1);
      if (current?.token !== token) continue;
      const { command } = current;
      // It may wait for a connection, or an id, as well before as after.
      const isSent = request !== undefined ||
        name === "subscribe" || name === "will" ||
        (command.type === "publish" && command.msgId !== 0);
      if (isSent) current.token = 0;
      else lane.current = undefined;
    }
    this.#advance(now);
  }

  /** Takes one datagram. */
  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    if (peer.key !== this.#options.gateway.key) {
      return this.#stray(peer, "from somebody else than the gateway");
    }
    let packet: MqttSnPacket;
    try {
      packet = decodePacket(bytes);
    } catch (error) {
      if (!(error instanceof MalformedPacketError)) throw error;
      return this.#stray(peer, error.message);
    }
    this.#heardAt = now;
    // §6.14: while it is awake, each message restarts the timer of its PINGREQ.
    const { request } = this.#lanes.link;
    if (this.#state === "awake" && request !== undefined) {
      request.retryAt = now + this.#options.retryMs;
    }
    this.#handle(now, peer, packet);
    this.#advance(now);
  }

  /** Does what is due. */
  handleTimeout(now: Millis): void {
    if (this.#ping !== undefined && now >= this.#ping.retryAt) {
      if (!this.#repeat(now, this.#ping)) this.#lose(now);
    }
    for (const name of LANES) {
      const lane = this.#lanes[name];
      const { request } = lane;
      if (request === undefined || now < request.retryAt) continue;
      if (!this.#repeat(now, request)) this.#giveUp(now, lane, request);
    }
    if (this.#wakeAt !== undefined && now >= this.#wakeAt) {
      this.#wakeAt = undefined;
      this.#add("link", { type: "wake" }, 0);
    }
    this.#advance(now);
  }

  /** The earliest moment at which something is due, `undefined` for none. */
  nextTimeout(): Millis | undefined {
    let at = earliest(this.#ping?.retryAt, this.#wakeAt);
    at = earliest(at, this.#pingAt());
    for (const name of LANES) {
      const { request, holdUntil, current, queue } = this.#lanes[name];
      at = earliest(at, request?.retryAt);
      const isHeld = holdUntil > 0 && request === undefined &&
        (current !== undefined || queue.length > 0 ||
          (name === "register" && this.#isUnregistered()));
      if (isHeld && this.#state === "active") at = earliest(at, holdUntil);
    }
    if (this.#needsLink()) at = earliest(at, this.#connectAt);
    return at;
  }

  /** The next effect in order, `undefined` when there is none left. */
  pollEffect(): Effect<DeviceEvent> | undefined {
    return this.#effects.poll();
  }

  // Commands

  #give(now: Millis, command: Command): number {
    const token = ++this.#lastToken;
    this.#add(LANE_OF[command.type], command, token);
    this.#advance(now);
    return token;
  }

  /** §6.8: it takes no connection, and nobody answers. */
  #publishUnconnected(
    now: Millis,
    topic: Exclude<DeviceTopic, string>,
    data: Uint8Array,
    retain: boolean,
  ): number {
    const token = ++this.#lastToken;
    this.#send(now, {
      type: "PUBLISH",
      dup: false,
      qos: -1,
      retain,
      topicIdType: typeOf(topic),
      topicId: topicIdOf(topic),
      msgId: 0,
      data,
    });
    this.#effects.trace({ type: "done", token, qos: -1 });
    return token;
  }

  #add(lane: LaneName, command: Command, token: number): void {
    this.#lanes[lane].queue.push({ token, order: ++this.#lastOrder, command });
  }

  /** Begins whatever can begin. */
  #advance(now: Millis): void {
    this.#advanceLink(now);
    if (this.#state === "active") {
      for (const name of LANES) {
        if (name !== "link") this.#advanceLane(now, name);
      }
      // What has just ended may be what the connection's lane waited for.
      this.#advanceLink(now);
    }
    const pingAt = this.#pingAt();
    if (pingAt !== undefined && now >= pingAt) {
      this.#ping = this.#request(now, { type: "PINGREQ", clientId: "" });
    }
  }

  /** Connects, disconnects, sleeps or wakes, when nothing before it is left. */
  #advanceLink(now: Millis): void {
    const { link } = this.#lanes;
    while (link.request === undefined) {
      const job = link.current ??= this.#takeLinkJob();
      const needsConnect = job === undefined
        ? this.#needsLink()
        : job.command.type === "connect" ||
          (job.command.type === "sleep" && this.#state !== "active");
      if (needsConnect) {
        if (this.#state === "active") {
          if (job === undefined) return;
          this.#finish(link);
          continue;
        }
        if (now >= this.#connectAt) this.#connect(now);
        return;
      }
      if (job === undefined || this.#isEarly(job)) return;
      this.#beginLink(now, link, job.command);
    }
  }

  /** A command of the connection's waits for all that were given before it. */
  #takeLinkJob(): Job | undefined {
    const { link } = this.#lanes;
    const [next] = link.queue;
    if (next === undefined) return undefined;
    return this.#isEarly(next) ? undefined : link.queue.shift();
  }

  /** Whether a command of the connection's has to wait for one before it. */
  #isEarly({ command, order }: Job): boolean {
    // To connect is what the others wait for themselves.
    if (command.type === "connect" || command.type === "wake") return false;
    return LANES.some((name) => {
      const { current, queue: [first] } = this.#lanes[name];
      return name !== "link" &&
        ((current?.order ?? Infinity) < order ||
          (first?.order ?? Infinity) < order);
    });
  }

  #beginLink(now: Millis, link: Lane, command: Command): void {
    switch (command.type) {
      case "disconnect":
        this.#isWanted = false;
        if (this.#state === "disconnected" || this.#state === "lost") {
          this.#become("disconnected");
          return this.#finish(link);
        }
        link.request = this.#request(now, {
          type: "DISCONNECT",
          duration: undefined,
        });
        return;
      case "sleep": {
        const { duration } = command;
        link.request = this.#request(now, { type: "DISCONNECT", duration });
        return;
      }
      case "wake": {
        if (this.#state !== "asleep") return this.#finish(link);
        this.#become("awake");
        const { clientId } = this.#options;
        link.request = this.#request(now, { type: "PINGREQ", clientId });
        return;
      }
    }
  }

  /** Whether there is something to do that takes a connection it has not. */
  #needsLink(): boolean {
    const { link } = this.#lanes;
    if (link.request !== undefined) return false;
    switch (this.#state) {
      case "disconnected":
      case "lost":
        if (this.#isWanted) return true;
        break;
      case "asleep":
        break;
      default:
        return false;
    }
    const connects = (job: Job | undefined) =>
      job?.command.type === "connect" || job?.command.type === "sleep";
    if (connects(link.current) || connects(link.queue[0])) return true;
    // §6.14: to send, a sleeping client connects first.
    const barrier = link.queue[0]?.order ?? Infinity;
    return LANES.some((name) => {
      const { current, queue: [first] } = this.#lanes[name];
      if (name === "link") return false;
      return (current ?? first)?.order! < barrier;
    });
  }

  #connect(now: Millis): void {
    this.#isWanted = true;
    this.#become("connecting");
    this.#lanes.link.request = this.#request(now, this.#connectPacket());
  }

  #connectPacket(): MqttSnPacket {
    const { clientId, keepAlive, cleanSession } = this.#options;
    return {
      type: "CONNECT",
      will: this.#will !== undefined,
      cleanSession,
      protocolId: PROTOCOL_ID,
      duration: keepAlive,
      clientId,
    };
  }

  #advanceLane(now: Millis, name: LaneName): void {
    const lane = this.#lanes[name];
    const { link } = this.#lanes;
    while (lane.request === undefined && now >= lane.holdUntil) {
      lane.holdUntil = 0;
      if (lane.current === undefined) {
        const barrier = (link.current ?? link.queue[0])?.order ?? Infinity;
        const [next] = lane.queue;
        if (next === undefined || next.order > barrier) return;
        lane.current = lane.queue.shift();
      }
      if (!this.#begin(now, lane, lane.current!.command)) return;
    }
  }

  /** Asks for what a command wants; false when it has to wait for another. */
  #begin(now: Millis, lane: Lane, command: Command): boolean {
    switch (command.type) {
      case "register":
        if (this.#idByName.has(command.topicName)) this.#finish(lane);
        else if (this.#isRegistering(now)) return false;
        else this.#register(now, lane, command.topicName);
        return true;
      case "subscribe":
        lane.request = this.#request(now, {
          type: "SUBSCRIBE",
          dup: false,
          qos: command.qos,
          msgId: this.#nextMsgId(),
          topic: referenceOf(command.topic),
        });
        return true;
      case "unsubscribe":
        lane.request = this.#request(now, {
          type: "UNSUBSCRIBE",
          msgId: this.#nextMsgId(),
          topic: referenceOf(command.topic),
        });
        return true;
      case "publish":
        return this.#publish(now, lane, command);
      case "willTopic": {
        const { will } = command;
        lane.request = this.#request(now, {
          type: "WILLTOPICUPD",
          will: will && {
            qos: will.qos ?? 0,
            retain: will.retain ?? false,
            topicName: will.topicName,
          },
        });
        return true;
      }
      case "willMsg":
        lane.request = this.#request(now, {
          type: "WILLMSGUPD",
          data: command.payload,
        });
        return true;
      default:
        this.#finish(lane);
        return true;
    }
  }

  /** §6.5: one REGISTER at a time, whoever wants it, and none in T_WAIT. */
  #isRegistering(now: Millis): boolean {
    const { register, publish } = this.#lanes;
    return register.request !== undefined || now < register.holdUntil ||
      publish.request?.packet.type === "REGISTER";
  }

  /** Whether a PUBLISH waits for an id. */
  #isUnregistered(): boolean {
    const { current, request } = this.#lanes.publish;
    return current !== undefined && request === undefined;
  }

  #register(now: Millis, lane: Lane, topicName: string): void {
    const msgId = this.#nextMsgId();
    lane.request = this.#request(now, {
      type: "REGISTER",
      topicId: 0,
      msgId,
      topicName,
    });
  }

  #publish(now: Millis, lane: Lane, command: PublishCommand): boolean {
    const { topic, payload, qos, retain } = command;
    if (command.isReleased) {
      lane.request = this.#request(now, {
        type: "PUBREL",
        msgId: command.msgId,
      });
      return true;
    }
    const topicId = typeof topic === "string"
      ? this.#idByName.get(topic)
      : topicIdOf(topic);
    if (topicId === undefined) {
      if (this.#isRegistering(now)) return false;
      this.#register(now, lane, topic as string);
      return true;
    }
    const dup = command.msgId !== 0;
    if (qos > 0 && !dup) command.msgId = this.#nextMsgId();
    const packet: Publish = {
      type: "PUBLISH",
      dup,
      qos,
      retain,
      topicIdType: typeOf(topic),
      topicId,
      msgId: command.msgId,
      data: payload,
    };
    if (qos > 0) {
      lane.request = this.#request(now, packet);
      return true;
    }
    this.#send(now, packet);
    this.#finish(lane);
    return true;
  }

  // What comes

  #handle(now: Millis, peer: Peer, packet: MqttSnPacket): void {
    switch (packet.type) {
      case "PUBLISH":
        return this.#handlePublish(now, peer, packet);
      case "PUBACK":
        return this.#handlePuback(now, packet);
      case "PUBREC": {
        const { publish } = this.#lanes;
        const asked = this.#asked(publish, "PUBLISH");
        if (asked?.msgId !== packet.msgId || asked.qos !== 2) return;
        (publish.current!.command as PublishCommand).isReleased = true;
        publish.request = undefined;
        return;
      }
      case "PUBCOMP": {
        const { publish } = this.#lanes;
        if (this.#asked(publish, "PUBREL")?.msgId !== packet.msgId) return;
        return this.#finish(publish);
      }
      case "PUBREL": {
        const { msgId } = packet;
        if (!this.#isReachable()) return;
        const { retryMs } = this.#options;
        this.#unreleased.delete(msgId);
        this.#doubted.delete(msgId);
        this.#received.release(now, msgId, Math.min(retryMs, LATE_MS));
        return this.#send(now, { type: "PUBCOMP", msgId });
      }
      case "REGISTER":
        return this.#handleRegister(now, packet);
      case "REGACK":
        return this.#handleRegack(now, packet);
      case "SUBACK":
        return this.#handleSuback(now, packet);
      case "UNSUBACK": {
        const { subscribe } = this.#lanes;
        const asked = this.#asked(subscribe, "UNSUBSCRIBE");
        if (asked?.msgId !== packet.msgId) return;
        const command = subscribe.current!.command;
        if (command.type === "unsubscribe") {
          this.#subscriptions.delete(keyOf(command.topic));
        }
        return this.#finish(subscribe);
      }
      case "CONNACK":
        return this.#handleConnack(now, packet.returnCode);
      case "WILLTOPICREQ":
      case "WILLMSGREQ":
        return this.#handlePrompt(now, packet.type);
      case "WILLTOPICRESP":
        return this.#handleWillResponse(
          now,
          "WILLTOPICUPD",
          packet.returnCode,
        );
      case "WILLMSGRESP":
        return this.#handleWillResponse(now, "WILLMSGUPD", packet.returnCode);
      case "PINGREQ":
        if (this.#isReachable()) this.#send(now, { type: "PINGRESP" });
        return;
      case "PINGRESP":
        return this.#handlePingresp(now);
      case "DISCONNECT":
        return this.#handleDisconnect(now);
      case "ADVERTISE":
      case "GWINFO":
        return; // it has its gateway
      default:
        this.#stray(peer, `Only a client sends ${packet.type}`);
    }
  }

  #handlePublish(now: Millis, peer: Peer, packet: Publish): void {
    if (!this.#isReachable() || packet.qos === -1) {
      return this.#stray(peer, "a PUBLISH that cannot be taken");
    }
    const { dup, qos, retain, topicId, msgId } = packet;
    const digest = qos === 2 ? digestOf(packet) : 0;
    if (qos === 2 && this.#hasCome(now, packet, digest)) {
      return this.#send(now, { type: "PUBREC", msgId });
    }
    const topicName = this.#nameOf(packet);
    if (topicName === undefined) {
      // §6.10: the gateway registers it once more.
      const returnCode = RETURN_CODE.invalidTopicId;
      return this.#send(now, { type: "PUBACK", topicId, msgId, returnCode });
    }
    if (qos === 1) {
      const returnCode = RETURN_CODE.accepted;
      this.#send(now, { type: "PUBACK", topicId, msgId, returnCode });
    } else if (qos === 2) {
      this.#note(msgId, digest);
      this.#send(now, { type: "PUBREC", msgId });
    }
    const payload = packet.data.slice();
    this.#effects.trace({
      type: "message",
      message: { topicName, payload, qos, retain, dup: dup && qos === 1 },
    });
  }

  /** Whether a message at QoS 2 came before. */
  #hasCome(now: Millis, { dup, msgId }: Publish, digest: number): boolean {
    if (!dup || this.#doubted.get(msgId) !== digest) {
      return this.#received.has(now, msgId, digest);
    }
    this.#note(msgId, digest); // the gateway has not forgotten after all
    return true;
  }

  #note(msgId: number, digest: number): void {
    this.#received.add(msgId, digest);
    this.#unreleased.set(msgId, digest);
    this.#doubted.delete(msgId);
  }

  /** §6.10: whatever the gateway registers is welcome. */
  #handleRegister(now: Millis, { topicId, msgId, topicName }: Register): void {
    if (!this.#isReachable()) return;
    const isValid = parseTopicName(topicName) !== undefined;
    if (isValid) this.#learn(topicName, topicId);
    this.#send(now, {
      type: "REGACK",
      topicId,
      msgId,
      returnCode: isValid ? RETURN_CODE.accepted : RETURN_CODE.notSupported,
    });
  }

  #handleRegack(now: Millis, packet: TopicAck<"REGACK">): void {
    const lane = [this.#lanes.register, this.#lanes.publish].find((lane) =>
      this.#asked(lane, "REGISTER")?.msgId === packet.msgId
    );
    if (lane === undefined) return;
    if (packet.returnCode !== RETURN_CODE.accepted) {
      return this.#refuse(now, lane, packet.returnCode, this.#lanes.register);
    }
    this.#learn(this.#asked(lane, "REGISTER")!.topicName, packet.topicId);
    if (lane === this.#lanes.register) return this.#finish(lane);
    lane.request = undefined; // and now the PUBLISH
  }

  #handlePuback(now: Millis, packet: TopicAck<"PUBACK">): void {
    const { topicId, msgId, returnCode } = packet;
    const { publish } = this.#lanes;
    const asked = this.#asked(publish, "PUBLISH");
    const isAsked = asked !== undefined && asked.msgId === msgId;
    if (returnCode === RETURN_CODE.accepted) {
      if (isAsked && asked.qos === 1) this.#finish(publish);
      return;
    }
    // §6.6: an error is told whatever the QoS; at 0 nothing waits for it.
    if (!isAsked && msgId !== 0) return;
    if (returnCode === RETURN_CODE.congestion) {
      if (isAsked) return this.#refuse(now, publish, returnCode);
      publish.holdUntil = now + this.#options.waitMs;
      return;
    }
    const isUnknown = returnCode === RETURN_CODE.invalidTopicId;
    if (!isAsked) {
      if (isUnknown) this.#forgetId(topicId);
      return;
    }
    if (!isUnknown || asked.topicIdType !== "normal") {
      return this.#refuse(now, publish, returnCode);
    }
    // The copy of a refusal from before the name had its present id.
    if (topicId !== 0 && topicId !== asked.topicId) return;
    this.#forgetId(asked.topicId);
    const command = publish.current!.command as PublishCommand;
    if (command.rejections++ >= Math.max(1, this.#options.retries)) {
      return this.#refuse(now, publish, returnCode); // it never ends
    }
    publish.request = undefined; // registered again, and sent again
  }

  #handleSuback(now: Millis, packet: Suback): void {
    const { subscribe } = this.#lanes;
    const asked = this.#asked(subscribe, "SUBSCRIBE");
    const command = subscribe.current?.command;
    if (asked?.msgId !== packet.msgId || command?.type !== "subscribe") return;
    if (packet.returnCode !== RETURN_CODE.accepted) {
      return this.#refuse(now, subscribe, packet.returnCode);
    }
    const { topic } = command;
    // §5.4.16: an id of a filter with wildcards means nothing.
    if (isName(topic) && packet.topicId !== 0) {
      this.#learn(topic, packet.topicId);
    }
    this.#subscriptions.set(keyOf(topic), command);
    this.#finish(subscribe, packet.qos);
  }

  #handleConnack(now: Millis, returnCode: number): void {
    const { link } = this.#lanes;
    if (this.#asked(link, "CONNECT") === undefined) return;
    link.request = undefined;
    if (returnCode !== RETURN_CODE.accepted) {
      return this.#handleRefusal(now, returnCode);
    }
    const { cleanSession, retryMs, maxPauseMs } = this.#options;
    this.#pauseMs = Math.min(retryMs, maxPauseMs);
    this.#connectAt = 0;
    if (cleanSession) this.#beginAnew();
    else if (this.#isForgotten) this.#doubtReceived(now);
    // CONNACK does not tell whether the gateway knows this client: a message
    // must not go out under an id that is another name's by now. What comes in
    // under an old one is refused, and registered, at worst.
    this.#idByName.clear();
    if (cleanSession || this.#isForgotten) {
      this.#nameById.clear();
      this.#resubscribe();
    }
    this.#isForgotten = false;
    this.#become("active");
    if (link.current?.command.type === "connect") this.#finish(link);
  }

  /** The gateway does not want this client: what needs it cannot be done. */
  #handleRefusal(now: Millis, returnCode: number): void {
    const { link } = this.#lanes;
    const isCongested = returnCode === RETURN_CODE.congestion;
    this.#become("disconnected");
    if (isCongested) this.#connectAt = now + this.#options.waitMs;
    if (link.current !== undefined || !isCongested) this.#isWanted = false;
    this.#refuse(now, link, returnCode);
    if (isCongested) return; // the others wait until it may be asked again
    const barrier = link.queue[0]?.order ?? Infinity;
    for (const name of LANES) {
      const lane = this.#lanes[name];
      if (name === "link") continue;
      lane.current ??= lane.queue.shift();
      while ((lane.current?.order ?? Infinity) < barrier) {
        this.#refuse(now, lane, returnCode);
        lane.current = lane.queue.shift();
      }
      // Nothing of what is left has been begun.
      if (lane.current !== undefined) lane.queue.unshift(lane.current);
      lane.current = undefined;
    }
  }

  /** Asks again for all subscriptions, before whatever else is about them. */
  #resubscribe(): void {
    const lane = this.#lanes.subscribe;
    if (lane.current !== undefined) lane.queue.unshift(lane.current);
    lane.current = undefined;
    // Those of the last time may not all have been asked for.
    const given = lane.queue.filter(({ order }) => order > 0);
    lane.queue.length = 0;
    for (const command of this.#subscriptions.values()) {
      lane.queue.push({ token: 0, order: 0, command });
    }
    lane.queue.push(...given);
  }

  /**
   * A gateway that has forgotten this client counts its msgIds anew. What comes
   * under one that waits for PUBREL is then another message, unless it is the
   * same in all else, and was sent before or not long ago.
   */
  #doubtReceived(now: Millis): void {
    const lateMs = Math.min(this.#options.retryMs, LATE_MS);
    for (const [msgId, digest] of this.#unreleased) {
      this.#received.release(now, msgId, lateMs);
      this.#doubted.set(msgId, digest);
    }
    this.#unreleased.clear();
  }

  /** A new session knows nothing of exchanges that the last one began. */
  #beginAnew(): void {
    this.#received = new Received();
    this.#unreleased.clear();
    this.#doubted.clear();
    const command = this.#lanes.publish.current?.command;
    if (command?.type !== "publish") return;
    command.msgId = 0;
    command.isReleased = false;
  }

  /** §6.2: the gateway asks for the will, both parts in turn. */
  #handlePrompt(now: Millis, type: "WILLTOPICREQ" | "WILLMSGREQ"): void {
    const will = this.#will;
    const { link } = this.#lanes;
    if (this.#asked(link, "CONNECT") === undefined) return;
    const { qos = 0, retain = false, topicName = "", payload } = will ?? {};
    const answer = encodePacket(
      type === "WILLTOPICREQ"
        ? { type: "WILLTOPIC", will: will && { qos, retain, topicName } }
        : { type: "WILLMSG", data: payload ?? new Uint8Array() },
    );
    const { retryMs, retries } = this.#options;
    const request = link.request!;
    request.again = answer;
    request.retryAt = now + retryMs;
    request.triesLeft = retries;
    this.#sendBytes(now, answer);
  }

  #handleWillResponse(
    now: Millis,
    type: "WILLTOPICUPD" | "WILLMSGUPD",
    returnCode: number,
  ): void {
    const { will: lane } = this.#lanes;
    if (this.#asked(lane, type) === undefined) return;
    if (returnCode !== RETURN_CODE.accepted) {
      return this.#refuse(now, lane, returnCode);
    }
    const { command } = lane.current!;
    const { topicName = "", payload = new Uint8Array() } = this.#will ?? {};
    if (command.type === "willTopic") {
      this.#will = command.will && { ...command.will, payload };
    } else if (command.type === "willMsg" && this.#will !== undefined) {
      this.#will = { ...this.#will, topicName, payload: command.payload };
    }
    this.#finish(lane);
  }

  #handlePingresp(now: Millis): void {
    const { link } = this.#lanes;
    if (this.#state !== "awake") this.#ping = undefined;
    else if (this.#asked(link, "PINGREQ") !== undefined) {
      this.#finish(link);
      this.#fallAsleep(now);
    }
  }

  #handleDisconnect(now: Millis): void {
    const { link } = this.#lanes;
    const asked = this.#asked(link, "DISCONNECT");
    if (asked?.duration !== undefined) {
      this.#sleepS = asked.duration;
      this.#finish(link);
      return this.#fallAsleep(now);
    }
    if (asked !== undefined) {
      this.#become("disconnected");
      this.#ping = undefined;
      return this.#finish(link);
    }
    if (this.#state === "connecting" || !this.#isReachable()) return;
    // §5.4.21: the gateway does not know this client any more.
    this.#lose(now);
  }

  // How things end

  #finish(lane: Lane, qos: Qos = 0): void {
    const token = lane.current?.token ?? 0;
    lane.current = undefined;
    lane.request = undefined;
    if (token !== 0) this.#effects.trace({ type: "done", token, qos });
  }

  #refuse(
    now: Millis,
    lane: Lane,
    returnCode: number,
    /** Of whose kind the request was. */
    asked: Lane = lane,
  ): void {
    const isCongested = returnCode === RETURN_CODE.congestion;
    // §5.3.10: after congestion nothing of the kind is asked for T_WAIT.
    if (isCongested && lane !== this.#lanes.link) {
      asked.holdUntil = now + this.#options.waitMs;
    }
    const job = lane.current;
    lane.request = undefined;
    // Nobody else would ask again for a subscription that there was already.
    if (isCongested && job?.order === 0) return;
    lane.current = undefined;
    if (job === undefined || job.token === 0) return;
    this.#effects.trace({ type: "refused", token: job.token, returnCode });
  }

  /** §6.13: the last of all tries has had no answer. */
  #giveUp(now: Millis, lane: Lane, { packet }: Request): void {
    const token = lane.current?.token ?? 0;
    lane.request = undefined;
    if (packet.type === "CONNECT") {
      this.#isForgotten = true;
      this.#become("lost");
      this.#pause(now);
      if (lane.current?.command.type !== "connect") return;
      this.#isWanted = false;
    } else if (packet.type === "PINGREQ" && this.#state === "awake") {
      this.#fallAsleep(now); // what is buffered there waits for the next time
    } else if (packet.type === "DISCONNECT" && packet.duration === undefined) {
      this.#become("disconnected"); // it wanted to go anyway
      return this.#finish(lane);
    } else return this.#lose(now);
    lane.current = undefined;
    if (token !== 0) this.#effects.trace({ type: "silence", token });
  }

  /** The gateway is gone, or has forgotten this client: connect anew. */
  #lose(now: Millis): void {
    const { link } = this.#lanes;
    this.#ping = undefined;
    for (const name of LANES) this.#lanes[name].request = undefined;
    this.#isWanted = true;
    // MQTT-SN 1.2 has no sign by which CONNACK would tell.
    this.#isForgotten = true;
    // What was asleep sleeps on when it is connected again.
    const isLeft = link.queue.every(({ command }) => command.type === "wake");
    if (this.#state === "awake" && isLeft) {
      const duration = this.#sleepS;
      const order = ++this.#lastOrder;
      const command = { type: "sleep", duration } as const;
      link.queue.unshift({ token: 0, order, command });
    }
    this.#become("lost");
    this.#pause(now);
  }

  /** A while, longer each time, and never the same for two clients. */
  #pause(now: Millis): void {
    const { random, maxPauseMs } = this.#options;
    const half = this.#pauseMs / 2;
    this.#connectAt = now + Math.ceil(half + random() * half);
    this.#pauseMs = Math.min(this.#pauseMs * 2, maxPauseMs);
  }

  #fallAsleep(now: Millis): void {
    this.#ping = undefined;
    this.#wakeAt = now + this.#sleepS * 1_000;
    this.#become("asleep");
  }

  #become(state: DeviceState): void {
    if (state === this.#state) return;
    this.#state = state;
    if (state !== "asleep") this.#wakeAt = undefined;
    this.#effects.trace({ type: "state", state });
  }

  /** Whether the gateway has reason to send something. */
  #isReachable(): boolean {
    return this.#state === "active" || this.#state === "awake" ||
      this.#lanes.link.request !== undefined;
  }

  // Ids

  #learn(topicName: string, topicId: number): void {
    this.#forgetId(topicId); // it may have been another's
    this.#idByName.set(topicName, topicId);
    this.#nameById.set(topicId, topicName);
  }

  #forgetId(topicId: number): void {
    const name = this.#nameById.get(topicId);
    this.#nameById.delete(topicId);
    // The name may have another one by now.
    if (name === undefined || this.#idByName.get(name) !== topicId) return;
    this.#idByName.delete(name);
  }

  #nameOf({ topicIdType, topicId }: Publish): string | undefined {
    switch (topicIdType) {
      case "normal":
        return this.#nameById.get(topicId);
      case "predefined":
        return this.#options.predefined.get(topicId);
      case "short":
        return shortTopicName(topicId);
      case "reserved":
        return undefined;
      default:
        return topicIdType satisfies never;
    }
  }

  #nextMsgId(): number {
    return this.#msgId = this.#msgId >= 0xffff ? 1 : this.#msgId + 1;
  }

  // What goes out

  #request(now: Millis, packet: MqttSnPacket): Request {
    const { retryMs, retries } = this.#options;
    const bytes = encodePacket(packet);
    this.#sendBytes(now, bytes);
    return {
      packet,
      again: packet.type === "PUBLISH" || packet.type === "SUBSCRIBE"
        ? encodePacket({ ...packet, dup: true })
        : bytes,
      retryAt: now + retryMs,
      triesLeft: retries,
    };
  }

  /** Sends a request again; false when that was done often enough. */
  #repeat(now: Millis, request: Request): boolean {
    if (request.triesLeft === 0) return false;
    request.triesLeft--;
    request.retryAt = now + this.#options.retryMs;
    this.#sendBytes(now, request.again);
    return true;
  }

  /** What a lane waits for, if it is of that type. */
  #asked<Type extends MsgType>(
    { request }: Lane,
    type: Type,
  ): Extract<MqttSnPacket, { type: Type }> | undefined {
    const packet = request?.packet;
    return packet?.type === type
      ? packet as Extract<MqttSnPacket, { type: Type }>
      : undefined;
  }

  #send(now: Millis, packet: MqttSnPacket): void {
    this.#sendBytes(now, encodePacket(packet));
  }

  #sendBytes(now: Millis, bytes: Uint8Array): void {
    this.#sentAt = now;
    this.#effects.send(this.#options.gateway, bytes);
  }

  /**
   * §6.11: the gateway hears from it at least once in each keep alive, and it
   * from the gateway: who only publishes at QoS 0 has no other way to learn that
   * nobody is there any more.
   */
  #pingAt(): Millis | undefined {
    const { keepAlive } = this.#options;
    if (this.#state !== "active" || keepAlive === 0) return undefined;
    if (this.#ping !== undefined) return undefined;
    return Math.min(this.#sentAt, this.#heardAt) + keepAlive * 1_000 / 2;
  }

  #stray(peer: Peer, detail: string): void {
    this.#effects.trace({ type: "stray", peer, detail });
  }
}

function emptyLane(): Lane {
  return {
    queue: [],
    current: undefined,
    request: undefined,
    holdUntil: 0,
  };
}

function typeOf(topic: DeviceTopic): "normal" | "predefined" | "short" {
  if (typeof topic === "string") return "normal";
  return "predefined" in topic ? "predefined" : "short";
}

function topicIdOf(topic: Exclude<DeviceTopic, string>): number {
  if ("predefined" in topic) return topic.predefined;
  const topicId = shortTopicId(topic.short);
  if (topicId !== undefined) return topicId;
  throw new LocalProtocolError(
    `Cannot take "${topic.short}" as a short topic name: it has not two octets`,
  );
}

function referenceOf(topic: DeviceTopic): TopicReference {
  if (typeof topic === "string") {
    return { topicIdType: "normal", topicName: topic };
  }
  const topicIdType = "predefined" in topic ? "predefined" : "short";
  return { topicIdType, topicId: topicIdOf(topic) };
}

/** A topic as the key of a table: no two of different kinds are the same. */
function keyOf(topic: DeviceTopic): string {
  if (typeof topic === "string") return `=${topic}`;
  return "predefined" in topic ? `#${topic.predefined}` : `~${topic.short}`;
}

/** Whether a topic is a name, by which an id is known, and no filter. */
function isName(topic: DeviceTopic): topic is string {
  return typeof topic === "string" && parseTopicName(topic) !== undefined;
}

function requireName(topicName: string): void {
  if (parseTopicName(topicName) === undefined) {
    throw new LocalProtocolError(
      `Cannot take "${topicName}" as a topic's name`,
    );
  }
  requireWritable({ type: "REGISTER", topicId: 0, msgId: 0, topicName });
}

/** What is published to: no wildcard, not even as a short name. */
function requireTopic(topic: DeviceTopic): void {
  if (typeof topic === "string") requireName(topic);
  else if ("short" in topic) requireName(topic.short);
}

function requireFilter(topic: DeviceTopic): void {
  // §6.7: a short name has no wildcards.
  if (typeof topic !== "string") requireTopic(topic);
  else if (parseTopicFilter(topic) === undefined) {
    throw new LocalProtocolError(`Cannot take "${topic}" as a topic's filter`);
  }
  const reference = referenceOf(topic);
  requireWritable({ type: "UNSUBSCRIBE", msgId: 0, topic: reference });
}

function requireWill({ topicName, payload }: DeviceWill): void {
  requireName(topicName);
  requireWritable({ type: "WILLMSG", data: payload });
}

/** A PUBLISH of a payload, to see whether there can be one. */
function publishOf(topic: DeviceTopic, data: Uint8Array): Publish {
  return {
    type: "PUBLISH",
    dup: false,
    qos: 0,
    retain: false,
    topicIdType: typeOf(topic),
    topicId: typeof topic === "string" ? 0 : topicIdOf(topic),
    msgId: 0,
    data,
  };
}

/**
 * Once a command is taken its packet has to have room in a datagram: there is
 * nobody left to throw at when its turn comes.
 */
function requireWritable(packet: MqttSnPacket): void {
  encodePacket(packet);
}
