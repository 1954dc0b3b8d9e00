/**
 * The client's core for MQTT-SN 1.2: commands and datagrams in, effects out. Its surface
 * is that of every machine (`base/machine.ts`), and a command for each thing that a client
 * can ask for. It has one gateway at a time.
 *
 * Commands stand in queues (`client/queues.ts`), each with one request outstanding. The connection's own are carried out by `client/connection.ts`, all others
 * here, while there is a connection. A request without an answer is sent again
 * after T_retry, N_retry times; then the gateway is taken for lost (§6.13), and
 * the device connects anew, each time after a longer pause, and takes up what it
 * had begun: a message of QoS 1 or 2 under its old msgId with DUP, or with PUBREL
 * where PUBREC had come.
 *
 * After a connection that was lost all subscriptions are asked for again. Ids of
 * topics are asked for anew in each connection.
 *
 * Each command has a number, its token, under which its end is told, once.
 *
 * @module
 */

import { digestOf, DuplicateFilter, LATE_MS } from "../wire/duplicates.ts";
import { earliest, type Millis, type Random } from "../base/clock.ts";
import {
  type Command,
  type DeviceTopic,
  type DeviceWill,
  requireFilter,
  requireName,
  requirePublishable,
  requireTopic,
  requireWill,
  topicIdOf,
  topicIdTypeOf,
} from "./commands.ts";
import {
  type DeviceEvent,
  type DeviceState,
  ReceivedMessage,
} from "./events.ts";
import { SendWindow } from "./send_window.ts";
import {
  GatewaySearch,
  type KnownGateway,
  type SearchOptions,
} from "./gateway_search.ts";
import { KnownTopicIds } from "./topic_ids.ts";
import { type CommandQueue, CommandQueues, type Job } from "./queues.ts";
import { Connection, type WillParts } from "./connection.ts";
import { type Effect, EffectQueue, type Machine } from "../base/machine.ts";
import type { DeliveryQos } from "../wire/message.ts";
import { LocalProtocolError, MalformedPacketError } from "../base/errors.ts";
import type { Peer } from "../base/peer.ts";
import { decodePacket, encodePacket, requireRoom } from "../wire/mqttsn.ts";
import { copyOf } from "../base/slab.ts";
import { requireNumber } from "../base/units.ts";
import {
  type MqttSnPacket,
  type Publish,
  type Qos,
  type Register,
  RETURN_CODE,
  type WillTopic,
} from "../wire/packets.ts";
import { Publishing } from "./publishing.ts";
import { Subscribing } from "./subscribing.ts";
import { parseTopicName } from "../wire/topics.ts";
import { Requests } from "./requests.ts";

/** Who a client is, and how patient. */
export interface DeviceOptions {
  /** The gateway. May be missing where one is searched for. */
  readonly gateway?: Peer;
  /** How gateways are searched for. Default: not at all. */
  readonly search?: SearchOptions;
  /** Who it is, 1 to 23 characters, or more where the gateway takes them. */
  readonly clientId: string;
  /** The source of chance for its first msgId and its pauses. */
  readonly random: Random;
  /** Whether nothing of it is kept between connections. Default true. */
  readonly cleanSession?: boolean;
  /** Keep alive in seconds, 0 to 65535; 0 for none. Default 60. */
  readonly keepAlive?: number;
  /** What is published when it is lost. Default none. */
  readonly will?: DeviceWill;
  /** T_retry, in milliseconds, 1 or more. Default 10,000. */
  readonly retryMs?: Millis;
  /** N_retry, 0 or more. Default 4. */
  readonly retries?: number;
  /**
   * By which factor each wait for an answer is longer than the last, 1 or more.
   * Default 1.5; 1 is what the specification has.
   */
  readonly backoff?: number;
  /** T_WAIT: the pause after a refusal for congestion. Default 300,000. */
  readonly waitMs?: Millis;
  /** The longest pause before it connects again. Default 60,000. */
  readonly maxPauseMs?: Millis;
  /**
   * How long a command may take in all, connections made anew included, in
   * milliseconds; then it ends with silence. Default: any time, except for
   * `connect`, which ends when no gateway has answered any of its tries.
   */
  readonly giveUpMs?: Millis;
  /**
   * Messages at QoS 0 after which it waits until the gateway has answered a
   * PINGREQ, 2 or more, so that they do not come faster than they are taken.
   * Default: it never waits.
   */
  readonly window?: number;
  /** The names of pre-defined topics. Default none. */
  readonly predefined?: ReadonlyMap<number, string>;
  /**
   * Whether there is room for a message at QoS 1 or 2. One that finds none is
   * not acknowledged, so that the gateway keeps it, and sends it again. Default:
   * there always is.
   */
  readonly hasRoom?: (message: ReceivedMessage) => boolean;
  /**
   * Whether the octets of the datagrams that it is handed never change again, so
   * that what it receives may be a part of them. Default false: each message has
   * octets of its own.
   */
  readonly ownsDatagrams?: boolean;
}

/** No octets. */
const NOTHING = new Uint8Array();

/** No pre-defined topics. */
const NOT_PREDEFINED: ReadonlyMap<number, string> = new Map();

/** A message at QoS −1 that waits for a gateway. */
interface Unsent {
  readonly packet: Publish;
  readonly token: number;
  readonly giveUpAt: Millis;
}

/**
 * The client's core.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { seededRandom } from "../base/clock.ts";
 * import { Device } from "./device.ts";
 * import { peerOf } from "../base/peer.ts";
 * import { describeDatagram } from "../wire/describe.ts";
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
  readonly #effects = new EffectQueue<DeviceEvent>();
  readonly #queues: CommandQueues;
  readonly #requests: Requests;
  readonly #connection: Connection;
  readonly #search: GatewaySearch | undefined;
  readonly #topics: KnownTopicIds;
  readonly #publishing: Publishing;
  readonly #subscribing: Subscribing;
  /** Made when it is needed: most clients are sent nothing at QoS 2. */
  #received: DuplicateFilter | undefined;
  readonly #will: WillParts;
  readonly #cleanSession: boolean;
  readonly #hasRoom: ((message: ReceivedMessage) => boolean) | undefined;
  readonly #ownsDatagrams: boolean;
  /** At QoS −1, while there is no gateway to send them to. */
  readonly #unsent: Unsent[] = [];
  readonly #giveUpMs: Millis;
  /** How late a copy may come: not later than it is sent again. */
  readonly #lateMs: Millis;
  #lastToken = 0;
  /** What is due next, as long as nothing has happened since it was asked for. */
  #dueAt: Millis | undefined;
  #isDueAtKnown = false;

  /**
   * Makes a device that has nothing to do yet.
   *
   * @param options who it is, and how patient
   * @throws {LocalProtocolError} when CONNECT or the will cannot say so, or when
   * there is neither a gateway nor a search for one
   * @throws {RangeError} when a time or a number is out of range
   */
  constructor(options: DeviceOptions) {
    const {
      gateway,
      search,
      clientId,
      random,
      cleanSession = true,
      keepAlive = 60,
      will,
      retryMs = 10_000,
      retries = 4,
      backoff = 1.5,
      waitMs = 300_000,
      maxPauseMs = 60_000,
      giveUpMs,
      window = Infinity,
      predefined = NOT_PREDEFINED,
      hasRoom,
      ownsDatagrams = false,
    } = options;
    requireNumber("retryMs", retryMs, 1);
    requireNumber("retries", retries, 0);
    requireNumber("backoff", backoff, 1);
    requireNumber("waitMs", waitMs, 0);
    requireNumber("maxPauseMs", maxPauseMs, 1);
    if (giveUpMs !== undefined) requireNumber("giveUpMs", giveUpMs, 1);
    requireNumber("window", window, 2);
    if (gateway === undefined && search === undefined) {
      throw new LocalProtocolError(
        "Cannot make a client: it has no gateway, and searches for none",
      );
    }
    if (clientId === "") {
      throw new LocalProtocolError(
        "Cannot make a client without a client id: it has 1 to 23 characters",
      );
    }
    if (will !== undefined) requireWill(will);
    this.#will = {
      topic: will && willTopicOf(will),
      message: will?.payload.slice() ?? NOTHING,
    };
    const patience = { retryMs, retries, backoff };
    this.#queues = new CommandQueues(this.#effects, { waitMs, giveUpMs });
    // A random start: an answer to an earlier run does not match.
    const msgId = Math.floor(random() * 0x10000);
    this.#requests = new Requests(this.#effects, { gateway, patience, msgId });
    this.#search = search && new GatewaySearch(search, random, gateway);
    this.#topics = new KnownTopicIds(predefined);
    const sendWindow = new SendWindow(window);
    this.#publishing = new Publishing({
      effects: this.#effects,
      queues: this.#queues,
      requests: this.#requests,
      topics: this.#topics,
      sendWindow,
      maxRejections: Math.max(1, retries),
    });
    this.#subscribing = new Subscribing({
      queues: this.#queues,
      requests: this.#requests,
      topics: this.#topics,
    });
    this.#lateMs = Math.min(retryMs, LATE_MS);
    this.#giveUpMs = giveUpMs ?? Infinity;
    this.#cleanSession = cleanSession;
    this.#hasRoom = hasRoom;
    this.#ownsDatagrams = ownsDatagrams;
    const minPauseMs = Math.min(retryMs, maxPauseMs);
    this.#connection = new Connection({
      clientId,
      cleanSession,
      keepAlive,
      minPauseMs,
      maxPauseMs,
      random,
    }, {
      effects: this.#effects,
      queues: this.#queues,
      requests: this.#requests,
      search: this.#search,
      sendWindow,
      will: this.#will,
      onConnected: (now, isForgotten) =>
        this.#handleConnected(now, isForgotten),
      onMoved: (now) => this.#handleMoved(now),
    });
    encodePacket(this.#connection.connectPacket()); // it has to be possible
  }

  /** What its connection is. */
  get state(): DeviceState {
    return this.#connection.state;
  }

  /** The gateway that it talks to, `undefined` while none is found. */
  get gateway(): Peer | undefined {
    return this.#requests.gateway;
  }

  /** The gateways that have made themselves known, while it searches for them. */
  get gateways(): readonly KnownGateway[] {
    return this.#search?.known ?? [];
  }

  /** The token that the next command will have. */
  get nextToken(): number {
    return this.#lastToken + 1;
  }

  /** Messages that it has not handed over yet. */
  get unpublished(): number {
    return this.#queues.publish.length + this.#unsent.length;
  }

  /** Requests that it has sent again, as no answer had come in time. */
  get repeats(): number {
    return this.#requests.repeats;
  }

  /** Commands that have not ended, its own among them. */
  get pending(): number {
    return this.#queues.pending + this.#unsent.length;
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

  /** Leaves at once: what was given is forgotten, and its end not told. */
  leave(now: Millis): void {
    this.#isDueAtKnown = false;
    this.#unsent.length = 0;
    this.#connection.leave(now);
  }

  /**
   * Falls asleep, and wakes once in a while to fetch what was buffered. To send,
   * it connects, and then sleeps on, until it is told to connect or disconnect.
   *
   * @param duration seconds between two awakenings, 1 to 65535
   * @throws {LocalProtocolError} when it is not that
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
    // Most publish again to the same topics.
    if (typeof topic !== "string" || this.#topics.idOf(topic) === undefined) {
      requireTopic(topic);
    }
    requirePublishable(topic, payload, qos);
    if (qos === -1 && typeof topic !== "string") {
      return this.#publishUnconnected(now, topic, payload, retain);
    }
    // What is sent at once, and not again, needs no octets of its own.
    const isSentAtOnce = qos === 0 && this.#isIdle &&
      this.#publishing.isOpenTo(topic);
    return this.#give(now, {
      type: "publish",
      topic,
      payload: isSentAtOnce ? payload : copyOf(payload),
      qos,
      retain,
    });
  }

  /** Whether a command of any queue but the connection's can begin at once. */
  get #isIdle(): boolean {
    const { connection, publish } = this.#queues;
    return this.state === "active" && connection.first === undefined &&
      publish.heldUntil === undefined;
  }

  /**
   * Sends another will's topic, or none, which ends the will; its message stays.
   *
   * @throws {LocalProtocolError} when it may not be a topic's name
   */
  updateWillTopic(
    now: Millis,
    will: Omit<DeviceWill, "payload"> | undefined,
  ): number {
    if (will !== undefined) requireName(will.topicName);
    return this.#give(now, {
      type: "willTopic",
      topic: will && willTopicOf(will),
    });
  }

  /**
   * Sends another will's message; its topic stays.
   *
   * @throws {LocalProtocolError} when it does not fit a datagram
   */
  updateWillMsg(now: Millis, payload: Uint8Array): number {
    requireRoom("WILLMSGUPD", payload.length);
    return this.#give(now, { type: "willMsg", payload: payload.slice() });
  }

  /**
   * Gives a command up: it is taken back if it was not sent yet, else it goes on
   * and its end is not told.
   */
  cancel(now: Millis, token: number): void {
    const at = this.#unsent.findIndex((unsent) => unsent.token === token);
    if (at >= 0) this.#unsent.splice(at, 1);
    for (const queue of this.#queues.all) {
      if (queue.remove(token) || queue.current?.token !== token) continue;
      this.#forsake(queue);
    }
    this.#advance(now);
  }

  /** Takes one datagram. */
  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    const isGateway = peer.key === this.#requests.gateway?.key;
    if (!isGateway && this.#search === undefined) {
      return this.#stray(peer, "from somebody else than the gateway");
    }
    let packet: MqttSnPacket;
    try {
      packet = decodePacket(bytes);
    } catch (error) {
      if (!(error instanceof MalformedPacketError)) throw error;
      return this.#stray(peer, error.message);
    }
    if (isGateway) this.#connection.hear(now);
    if (!this.#handleDiscovery(now, peer, packet)) {
      if (!isGateway) {
        return this.#stray(peer, "from somebody else than the gateway");
      }
      this.#handle(now, peer, packet);
    }
    this.#advance(now);
  }

  /** Does what is due. */
  handleTimeout(now: Millis): void {
    this.#giveUpOverdue(now);
    const packet = this.#search?.handleTimeout(now);
    if (packet !== undefined) this.#requests.broadcast(packet);
    this.#connection.handleTimeout(now);
    for (const queue of this.#queues.all) {
      const { request } = queue;
      if (request === undefined || now < request.retryAt) continue;
      if (!this.#requests.repeat(now, request)) {
        this.#connection.giveUp(now, queue, request);
      }
    }
    this.#advance(now);
  }

  /** The earliest moment at which something is due, `undefined` for none. */
  nextTimeout(): Millis | undefined {
    if (!this.#isDueAtKnown) {
      this.#dueAt = this.#findDueAt();
      this.#isDueAtKnown = true;
    }
    return this.#dueAt;
  }

  #findDueAt(): Millis | undefined {
    let at = earliest(this.#connection.nextTimeout(), this.#queues.giveUpAt());
    if (this.#search !== undefined) {
      at = earliest(at, this.#search.nextTimeout());
    }
    const giveUpAt = this.#unsent[0]?.giveUpAt ?? Infinity;
    if (giveUpAt < Infinity) at = earliest(at, giveUpAt);
    for (const queue of this.#queues.all) {
      const { request, heldUntil } = queue;
      if (request !== undefined) at = earliest(at, request.retryAt);
      else if (heldUntil !== undefined && this.state === "active") {
        const isWaiting = queue.length > 0 ||
          (queue === this.#queues.register && this.#publishing.isUnregistered);
        if (isWaiting) at = earliest(at, heldUntil);
      }
    }
    return at;
  }

  /** The next effect in order, `undefined` when there is none left. */
  pollEffect(): Effect<DeviceEvent> | undefined {
    return this.#effects.poll();
  }

  // Commands

  #give(now: Millis, command: Command): number {
    const token = ++this.#lastToken;
    this.#queues.add(now, command, token);
    this.#advance(now);
    return token;
  }

  /** §6.8: it takes no connection, and nobody answers. */
  #publishUnconnected(
    now: Millis,
    topic: Exclude<DeviceTopic, string>,
    payload: Uint8Array,
    retain: boolean,
  ): number {
    const token = ++this.#lastToken;
    const packet: Publish = {
      type: "PUBLISH",
      dup: false,
      qos: -1,
      retain,
      topicIdType: topicIdTypeOf(topic),
      topicId: topicIdOf(topic),
      msgId: 0,
      data: payload.slice(),
    };
    this.#unsent.push({ packet, token, giveUpAt: now + this.#giveUpMs });
    this.#advance(now);
    return token;
  }

  /** Nobody waits any more for what is under way. */
  #forsake(queue: CommandQueue): void {
    const { current, request, name } = queue;
    if (current === undefined) return;
    // It may wait for a connection, or an id, before it is sent and afterwards.
    const isSent = request !== undefined ||
      name === "subscribe" || name === "will" ||
      (name === "publish" && this.#publishing.isSent);
    if (isSent) queue.forsake();
    else queue.end();
  }

  #giveUpOverdue(now: Millis): void {
    while (this.#unsent.length > 0 && this.#unsent[0]!.giveUpAt <= now) {
      const { token } = this.#unsent.shift()!;
      this.#effects.trace({ type: "silence", token });
    }
    let left: Job | undefined;
    for (const { queue, job } of this.#queues.overdue(now)) {
      if (this.#isHeld(now, queue, job) && job.token !== undefined) {
        // What may not be asked for was refused, as it were.
        const returnCode = RETURN_CODE.congestion;
        this.#effects.trace({ type: "refused", token: job.token, returnCode });
      } else this.#queues.silence(job);
      if (queue.current !== job) {
        if (job.token !== undefined) queue.remove(job.token);
        // A client that wants to go does not wait for ever for what came before.
        if (job.command.type === "disconnect") left = job;
      } else if (queue !== this.#queues.connection) this.#forsake(queue);
      else if (!this.#connection.drop(job.command)) this.#forsake(queue);
    }
    if (left !== undefined) this.#connection.depart(now, left.order);
  }

  /** Whether T_WAIT keeps a command from being asked for. */
  #isHeld(now: Millis, queue: CommandQueue, job: Job): boolean {
    if (queue.current === job && queue.request !== undefined) return false;
    const { connection, register, publish } = this.#queues;
    const isUnregistered = queue === publish && this.#publishing.isUnregistered;
    return queue.isHeld(now) || connection.isHeld(now) ||
      (isUnregistered && register.isHeld(now));
  }

  /** Begins whatever can begin. */
  #advance(now: Millis): void {
    this.#isDueAtKnown = false;
    this.#connection.advance(now);
    if (this.#unsent.length > 0) this.#sendUnsent(now);
    // The search for a gateway is over, or nobody needs it any more.
    const isIdle = this.#unsent.length === 0 && this.state === "disconnected";
    if (isIdle) this.#search?.rest();
    if (this.state === "active") {
      for (const queue of this.#queues.others) this.#advanceQueue(now, queue);
      // What has just ended may be what the connection's queue waited for.
      this.#connection.advance(now);
    }
    this.#connection.keepAlive(now);
  }

  #sendUnsent(now: Millis): void {
    if (this.#requests.gateway === undefined) {
      const found = this.#search?.after(undefined);
      if (found === undefined) return this.#search?.search(now);
      this.#requests.gateway = found;
      this.#effects.trace({ type: "gateway", gateway: found });
    }
    for (const { packet, token } of this.#unsent.splice(0)) {
      this.#requests.send(now, packet);
      this.#effects.trace({ type: "done", token, qos: -1 });
    }
  }

  #advanceQueue(now: Millis, queue: CommandQueue): void {
    while (queue.request === undefined && !queue.isHeld(now)) {
      queue.release();
      if (queue.current === undefined) {
        const { next } = queue;
        if (next === undefined || next.order > this.#queues.barrier) return;
      }
      if (!this.#begin(now, queue, queue.begin()!.command)) return;
    }
  }

  /** Asks for what a command wants; false when it has to wait for another. */
  #begin(now: Millis, queue: CommandQueue, command: Command): boolean {
    switch (command.type) {
      case "register":
      case "publish":
        return this.#publishing.begin(now, queue, command);
      case "subscribe":
      case "unsubscribe":
        this.#subscribing.begin(now, queue, command);
        return true;
      case "willTopic":
        queue.ask(this.#requests.request(now, {
          type: "WILLTOPICUPD",
          will: command.topic,
        }));
        return true;
      case "willMsg":
        queue.ask(this.#requests.request(now, {
          type: "WILLMSGUPD",
          data: command.payload,
        }));
        return true;
      default:
        this.#queues.finish(queue);
        return true;
    }
  }

  // What comes

  /** §6.1: ADVERTISE, GWINFO and SEARCHGW are heard while a gateway is searched for. */
  #handleDiscovery(now: Millis, peer: Peer, packet: MqttSnPacket): boolean {
    if (this.#search === undefined) return false;
    switch (packet.type) {
      case "ADVERTISE":
        this.#search.handleAdvertise(now, peer, packet);
        return true;
      case "GWINFO":
        this.#search.handleGwInfo(now, peer, packet);
        return true;
      case "SEARCHGW":
        this.#search.handleSearchGw(now, packet);
        return true;
      default:
        return false;
    }
  }

  #handle(now: Millis, peer: Peer, packet: MqttSnPacket): void {
    switch (packet.type) {
      case "PUBLISH":
        return this.#handlePublish(now, peer, packet);
      case "PUBACK":
        return this.#publishing.handlePuback(now, packet);
      case "PUBREC":
        return this.#publishing.handlePubrec(packet.msgId);
      case "PUBCOMP":
        return this.#publishing.handlePubcomp(packet.msgId);
      case "PUBREL":
        if (!this.#connection.isReachable) return;
        this.#received?.release(now, packet.msgId, this.#lateMs);
        return this.#requests.send(now, {
          type: "PUBCOMP",
          msgId: packet.msgId,
        });
      case "REGISTER":
        return this.#handleRegister(now, packet);
      case "REGACK":
        return this.#publishing.handleRegack(now, packet);
      case "SUBACK":
        return this.#subscribing.handleSuback(now, packet);
      case "UNSUBACK":
        return this.#subscribing.handleUnsuback(packet.msgId);
      case "CONNACK":
        return this.#connection.handleConnack(now, packet.returnCode);
      case "WILLTOPICREQ":
      case "WILLMSGREQ":
        return this.#connection.handlePrompt(now, packet.type);
      case "WILLTOPICRESP":
        return this.#handleWillResponse(
          now,
          "WILLTOPICUPD",
          packet.returnCode,
        );
      case "WILLMSGRESP":
        return this.#handleWillResponse(now, "WILLMSGUPD", packet.returnCode);
      case "PINGREQ":
        if (!this.#connection.isReachable) return;
        return this.#requests.send(now, { type: "PINGRESP" });
      case "PINGRESP":
        return this.#connection.handlePingresp(now);
      case "DISCONNECT":
        return this.#connection.handleDisconnect(now);
      case "ADVERTISE":
      case "GWINFO":
        return; // it has its gateway
      default:
        this.#stray(peer, `Only a client sends ${packet.type}`);
    }
  }

  #handlePublish(now: Millis, peer: Peer, packet: Publish): void {
    const { dup, qos, retain, topicId, msgId } = packet;
    if (!this.#connection.isReachable || qos === -1) {
      return this.#stray(peer, "a PUBLISH that cannot be taken");
    }
    if (
      qos === 2 &&
      this.#received?.has(now, packet.msgId, digestOf(packet), packet.dup)
    ) {
      return this.#requests.send(now, { type: "PUBREC", msgId });
    }
    const topicName = this.#topics.nameOf(packet);
    if (topicName === undefined) {
      // §6.10: the gateway registers it once more.
      const returnCode = RETURN_CODE.invalidTopicId;
      return this.#requests.send(now, {
        type: "PUBACK",
        topicId,
        msgId,
        returnCode,
      });
    }
    const payload = this.#ownsDatagrams ? packet.data : packet.data.slice();
    const message = new ReceivedMessage(topicName, payload, {
      qos,
      retain,
      dup: dup && qos === 1,
      msgId: qos === 0 ? 0 : msgId,
      predefined: packet.topicIdType === "predefined" ? topicId : undefined,
    });
    if (qos > 0 && this.#hasRoom?.(message) === false) {
      return this.#effects.trace({ type: "held", topicName });
    }
    if (qos === 1) {
      const returnCode = RETURN_CODE.accepted;
      this.#requests.send(now, { type: "PUBACK", topicId, msgId, returnCode });
    } else if (qos === 2) {
      this.#received ??= new DuplicateFilter();
      this.#received.add(packet.msgId, digestOf(packet));
      this.#requests.send(now, { type: "PUBREC", msgId });
    }
    this.#effects.trace({ type: "message", message });
  }

  /** §6.10: whatever the gateway registers is welcome. */
  #handleRegister(now: Millis, { topicId, msgId, topicName }: Register): void {
    if (!this.#connection.isReachable) return;
    const isValid = parseTopicName(topicName) !== undefined;
    if (isValid) this.#topics.learn(topicName, topicId);
    this.#requests.send(now, {
      type: "REGACK",
      topicId,
      msgId,
      returnCode: isValid ? RETURN_CODE.accepted : RETURN_CODE.notSupported,
    });
  }

  #handleConnected(now: Millis, isForgotten: boolean): void {
    if (this.#cleanSession) {
      this.#received?.clear();
      this.#publishing.beginAnew();
    } else if (isForgotten) this.#received?.doubt(now, this.#lateMs);
    if (this.#cleanSession || isForgotten) {
      this.#topics.clear();
      this.#subscribing.resubscribe();
    } else this.#topics.distrust();
  }

  /** Another gateway knows neither the topic ids nor the msgIds of the last one. */
  #handleMoved(now: Millis): void {
    this.#topics.clear();
    this.#received?.doubt(now, this.#lateMs);
  }

  #handleWillResponse(
    now: Millis,
    type: "WILLTOPICUPD" | "WILLMSGUPD",
    returnCode: number,
  ): void {
    const { will: queue } = this.#queues;
    if (queue.asked(type) === undefined) return;
    if (returnCode !== RETURN_CODE.accepted) {
      return this.#queues.refuse(now, queue, returnCode);
    }
    const { command } = queue.current!;
    if (command.type === "willTopic") {
      this.#will.topic = command.topic;
      // §6.4: without a topic there is no message either.
      if (command.topic === undefined) this.#will.message = NOTHING;
    } else if (command.type === "willMsg") {
      this.#will.message = command.payload;
    }
    this.#queues.finish(queue);
  }

  #stray(peer: Peer, detail: string): void {
    this.#effects.trace({ type: "stray", peer, detail });
  }
}

function willTopicOf(will: Omit<DeviceWill, "payload">): WillTopic {
  const { topicName, qos = 0, retain = false } = will;
  return { topicName, qos, retain };
}
