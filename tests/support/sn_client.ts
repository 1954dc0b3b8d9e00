/**
 * An MQTT-SN 1.2 client as a pure machine, for tests: it does what the
 * specification wants of a client, and writes down whatever a gateway does that
 * the specification forbids. Knows nothing of any gateway's inside.
 *
 * Commands queue up and are carried out one at a time, in order, so that there
 * is never more than one request outstanding (§6.5, §6.6, §6.9). A command
 * begins with the next `handleTimeout`, which {@linkcode SnClient.nextTimeout}
 * asks for at once. A request that gets no answer is sent again; after the last
 * time the client counts itself as disconnected, connects, and resumes.
 *
 * MQTT's exactly once supposes a transport that keeps order. Over datagrams a
 * late copy of a PUBLISH may come when its exchange is over: the client
 * remembers a message id for {@linkcode SnClientOptions.lateMs} beyond it.
 *
 * @module
 */

import type { Millis, Random } from "../../clock.ts";
import { type Effect, EffectQueue, type Machine } from "../../machine.ts";
import { MalformedPacketError, type Peer } from "../../message.ts";
import {
  decodePacket,
  encodePacket,
  shortTopicId,
  shortTopicName,
} from "../../mqttsn.ts";
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
  type WillTopic,
} from "../../packet.ts";

/** How a client names a topic: by its name or filter, an id, or two octets. */
export type SnTopic =
  | string
  | { readonly predefined: number }
  | { readonly short: string };

/** What a client is; awake while it collects what came as it slept (§6.14). */
export type SnState =
  | "disconnected"
  | "connecting"
  | "active"
  | "asleep"
  | "awake";

/** A message that came. */
export interface ReceivedMessage {
  /** The topic's name, whatever stood for it on the wire. */
  readonly topicName: string;
  /** What was published. */
  readonly payload: Uint8Array;
  /** At which QoS it came. */
  readonly qos: Qos;
  /** Its Retain flag. */
  readonly retain: boolean;
  /** Its DUP flag. */
  readonly dup: boolean;
  /** When. */
  readonly at: Millis;
}

/** A message of its own that the gateway took over, at QoS 1 or 2. */
export interface AcknowledgedMessage {
  /** The topic's name. */
  readonly topicName: string;
  /** What was published. */
  readonly payload: Uint8Array;
  /** At which QoS. */
  readonly qos: Qos;
  /** When its PUBLISH went out for the first time. */
  readonly sentAt: Millis;
  /** When the last packet of its exchange came. */
  readonly at: Millis;
}

/** A subscription that the gateway confirmed. */
export interface SnSubscription {
  /** To what. */
  readonly topic: SnTopic;
  /** The same as a name or filter. */
  readonly topicFilter: string;
  /** What was granted. */
  readonly qos: Qos;
  /** When the SUBACK came. */
  readonly at: Millis;
}

/** A command that the gateway refused for good. */
export interface SnFailure {
  /** Which packet was refused. */
  readonly type: MsgType;
  /** With which return code. */
  readonly returnCode: number;
}

/** What a client tells. */
export type SnEvent =
  | { readonly type: "state"; readonly state: SnState }
  | { readonly type: "received"; readonly message: ReceivedMessage }
  | { readonly type: "violation"; readonly detail: string };

/** Who a client is and how patient. */
export interface SnClientOptions {
  /** 1 to 23 characters. */
  readonly clientId: string;
  /** The gateway that it keeps to. */
  readonly gateway: Peer;
  /** Whether it begins anew whenever it connects of its own accord. */
  readonly cleanSession: boolean;
  /** Keep alive in seconds; 0 is none. */
  readonly keepAliveS: number;
  /** What is published when it is lost. */
  readonly will?: WillTopic & { readonly payload: Uint8Array };
  /** How long a request waits for its answer. */
  readonly retryMs: Millis;
  /** How often a request is sent again. */
  readonly retries: number;
  /** Where its chances come from: the first message id, pauses. */
  readonly random: Random;
  /** The pre-defined ids that it knows. Default none. */
  readonly predefined?: ReadonlyMap<number, string>;
  /** Whether it forgets topic ids when it connects and when it falls asleep. */
  readonly forgetsIds?: boolean;
  /** Which names it refuses when the gateway registers them. Default none. */
  readonly refuses?: (topicName: string) => boolean;
  /** How long copies of a packet may be under way. Default twice `retryMs`. */
  readonly lateMs?: Millis;
  /**
   * How long after falling asleep a datagram is no violation: it may have been
   * under way. Infinity when copies of its own requests may reach the gateway
   * afterwards and wake its picture of the client. Default 0.
   */
  readonly graceMs?: Millis;
}

/** How many times `retryMs` to wait after "rejected: congestion" (T_WAIT). */
const CONGESTION_RETRIES = 10;

/** A client at work in a test. */
export class SnClient implements Machine<SnEvent> {
  /** What came, in order; copies at QoS 2 are left out. */
  readonly received: ReceivedMessage[] = [];
  /** Its own messages that were taken over. */
  readonly acknowledged: AcknowledgedMessage[] = [];
  /** What is subscribed. */
  readonly subscriptions: SnSubscription[] = [];
  /** What the gateway did that the specification forbids. */
  readonly violations: string[] = [];
  /** What the gateway refused for good. */
  readonly failures: SnFailure[] = [];
  /** How often it counted itself as disconnected without having asked for it. */
  losses = 0;

  readonly #options: SnClientOptions;
  readonly #lateMs: Millis;
  readonly #graceMs: Millis;
  readonly #effects = new EffectQueue<SnEvent>();
  readonly #queue: Command[] = [];
  readonly #idByName = new Map<string, number>();
  readonly #nameById = new Map<number, string>();
  /** Ids whose REGISTER was refused. */
  readonly #refused = new Set<number>();
  /** Message ids at QoS 2 that wait for their PUBREL. */
  readonly #unreleased = new Set<number>();
  /** Message ids whose exchange is over: at which QoS, and when. */
  readonly #over = new Map<number, { qos: Qos; at: Millis }>();
  #state: SnState = "disconnected";
  #current: Command | undefined;
  #request: Request | undefined;
  /** Whether it lost a connection that it wants back. */
  #isMissed = false;
  /** Whether a DISCONNECT has come that may be about the CONNECT under way. */
  #isDoubtful = false;
  #holdUntil: Millis = 0;
  #asleepAt: Millis = 0;
  #sentAt: Millis = 0;
  #now: Millis = 0;
  #msgId: number;

  constructor(options: SnClientOptions) {
    this.#options = options;
    this.#lateMs = options.lateMs ?? 2 * options.retryMs;
    this.#graceMs = options.graceMs ?? 0;
    // Anywhere: both ends count on their own, and past 65535 goes on at 1.
    this.#msgId = Math.floor(options.random() * 0x10000);
  }

  /** What it is now. */
  get state(): SnState {
    return this.#state;
  }

  /** Whether no request is outstanding, save a keep alive's, and none queues. */
  get isIdle(): boolean {
    return this.#current === undefined && this.#queue.length === 0 &&
      !this.#isMissed;
  }

  /** Connects, unless it is connected. */
  connect(): void {
    const { cleanSession } = this.#options;
    this.#queue.push({ type: "connect", cleanSession, isForced: false });
  }

  /** Connects without disconnecting before, like a device that has restarted. */
  reconnect(cleanSession: boolean): void {
    this.#queue.push({ type: "connect", cleanSession, isForced: true });
  }

  /** Asks for a name's id, unless it has one. */
  register(topicName: string): void {
    this.#queue.push({ type: "register", topicName });
  }

  /** Subscribes. */
  subscribe(topic: SnTopic, qos: Qos): void {
    this.#queue.push({ type: "subscribe", topic, qos });
  }

  /** Ends a subscription. */
  unsubscribe(topic: SnTopic): void {
    this.#queue.push({ type: "unsubscribe", topic });
  }

  /**
   * Publishes; registers a name first that has no id yet.
   *
   * @throws {RangeError} for QoS −1 to a name: it needs an id that both know
   */
  publish(
    topic: SnTopic,
    payload: Uint8Array,
    qos: Qos,
    retain: boolean = false,
  ): void {
    if (qos === -1 && typeof topic === "string") {
      throw new RangeError(`Cannot publish to "${topic}" at QoS -1`);
    }
    this.#queue.push({
      type: "publish",
      topic,
      payload: payload.slice(),
      qos,
      retain,
      msgId: undefined,
      isReceived: false,
      sentAt: undefined,
    });
  }

  /** Falls asleep, connecting first if need be. */
  sleep(duration: number): void {
    this.#queue.push({ type: "sleep", duration });
  }

  /** Collects what came as it slept; nothing unless it sleeps. */
  wake(): void {
    this.#queue.push({ type: "wake" });
  }

  /** Disconnects. */
  disconnect(): void {
    this.#queue.push({ type: "disconnect" });
  }

  /** Takes one datagram. */
  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    this.#now = now;
    if (peer.key !== this.#options.gateway.key) {
      return this.#blame(`a datagram from ${peer.key}`);
    }
    if (this.#state === "asleep" && this.#request === undefined) {
      // Its radio is off: it misses what comes.
      if (now - this.#asleepAt > this.#graceMs) {
        this.#blame(`${nameOf(bytes)} to a client asleep`);
      }
      return;
    }
    let packet: MqttSnPacket;
    try {
      packet = decodePacket(bytes);
    } catch (error) {
      if (!(error instanceof MalformedPacketError)) throw error;
      return this.#blame(error.message);
    }
    this.#handle(now, packet);
    if (this.#state === "awake" && this.#request !== undefined) {
      // §6.14: each message that comes restarts the timer of the PINGREQ.
      this.#request.retryAt = now + this.#options.retryMs;
    }
    this.#advance(now);
  }

  /** Does what is due, and begins what was commanded. */
  handleTimeout(now: Millis): void {
    this.#now = now;
    const request = this.#request;
    if (request !== undefined && now >= request.retryAt) {
      if (request.triesLeft > 0) {
        request.triesLeft--;
        request.retryAt = now + this.#options.retryMs;
        this.#sendBytes(now, request.again);
      } else {
        this.#giveUp(now, request);
      }
    }
    this.#advance(now);
    const pingAt = this.#pingAt();
    if (pingAt !== undefined && now >= pingAt) {
      this.#ask(now, { type: "PINGREQ", clientId: "" });
    }
  }

  /** When something is due; at once when a command waits. */
  nextTimeout(): Millis | undefined {
    if (this.#request !== undefined) return this.#request.retryAt;
    const pingAt = this.#pingAt();
    if (this.isIdle) return pingAt;
    const holdUntil = Math.max(this.#holdUntil, this.#now);
    return Math.min(holdUntil, pingAt ?? holdUntil);
  }

  /** The next effect in order, `undefined` when there is none left. */
  pollEffect(): Effect<SnEvent> | undefined {
    return this.#effects.poll();
  }

  // Commands

  #advance(now: Millis): void {
    while (this.#request === undefined && now >= this.#holdUntil) {
      const command = this.#current ??= this.#queue.shift();
      if (this.#isMissed && command?.type !== "connect") {
        return this.#connect(now, this.#options.cleanSession);
      }
      if (command === undefined) return;
      this.#begin(now, command);
    }
  }

  #begin(now: Millis, command: Command): void {
    switch (command.type) {
      case "connect":
        if (this.#state === "active" && !command.isForced) {
          return this.#finish();
        }
        return this.#connect(now, command.cleanSession);
      case "disconnect":
        if (this.#state === "disconnected") return this.#finish();
        return this.#ask(now, { type: "DISCONNECT", duration: undefined });
      case "wake": {
        if (this.#state !== "asleep") return this.#finish();
        this.#become("awake");
        const { clientId } = this.#options;
        return this.#ask(now, { type: "PINGREQ", clientId });
      }
      case "publish":
        if (command.qos === -1) {
          this.#send(now, this.#publishOf(command, 0));
          return this.#finish();
        }
        break;
    }
    // §6.14: to send, a sleeping client connects first.
    if (this.#state !== "active") {
      return this.#connect(now, this.#options.cleanSession);
    }
    switch (command.type) {
      case "register":
        if (this.#idByName.has(command.topicName)) return this.#finish();
        return this.#register(now, command.topicName);
      case "subscribe":
        return this.#ask(now, {
          type: "SUBSCRIBE",
          dup: false,
          qos: command.qos,
          msgId: this.#nextMsgId(),
          topic: referenceOf(command.topic),
        });
      case "unsubscribe":
        return this.#ask(now, {
          type: "UNSUBSCRIBE",
          msgId: this.#nextMsgId(),
          topic: referenceOf(command.topic),
        });
      case "sleep":
        return this.#ask(now, {
          type: "DISCONNECT",
          duration: command.duration,
        });
      case "publish":
        return this.#publish(now, command);
      default:
        command satisfies never;
    }
  }

  #connect(now: Millis, cleanSession: boolean): void {
    const { clientId, keepAliveS, will, forgetsIds } = this.#options;
    this.#become("connecting");
    this.#isDoubtful = false;
    if (cleanSession || forgetsIds) this.#forgetIds();
    if (cleanSession) {
      this.#unreleased.clear();
      this.#over.clear();
      this.subscriptions.length = 0;
      if (this.#current?.type === "publish") {
        this.#current.msgId = undefined;
        this.#current.isReceived = false;
      }
    }
    this.#ask(now, {
      type: "CONNECT",
      will: will !== undefined,
      cleanSession,
      protocolId: PROTOCOL_ID,
      duration: keepAliveS,
      clientId,
    });
  }

  #register(now: Millis, topicName: string): void {
    const msgId = this.#nextMsgId();
    this.#ask(now, { type: "REGISTER", topicId: 0, msgId, topicName });
  }

  #publish(now: Millis, command: PublishCommand): void {
    if (command.isReceived) {
      return this.#ask(now, { type: "PUBREL", msgId: command.msgId! });
    }
    const { topic, qos } = command;
    if (typeof topic === "string" && !this.#idByName.has(topic)) {
      return this.#register(now, topic);
    }
    command.sentAt ??= now;
    if (qos === 0) {
      this.#send(now, this.#publishOf(command, 0));
      return this.#finish();
    }
    const dup = command.msgId !== undefined;
    command.msgId ??= this.#nextMsgId();
    this.#ask(now, { ...this.#publishOf(command, command.msgId), dup });
  }

  #publishOf(command: PublishCommand, msgId: number): Publish {
    const { topic, payload, qos, retain } = command;
    const reference = typeof topic === "string"
      ? {
        topicIdType: "normal" as const,
        topicId: this.#idByName.get(topic) ?? 0,
      }
      : idOf(topic);
    const dup = false;
    return {
      type: "PUBLISH",
      dup,
      qos,
      retain,
      ...reference,
      msgId,
      data: payload,
    };
  }

  #finish(): void {
    this.#current = undefined;
    this.#request = undefined;
  }

  #fail(type: MsgType, returnCode: number): void {
    this.failures.push({ type, returnCode });
    this.#finish();
  }

  /** §5.3.10: what is refused for congestion is tried again, later. */
  #hold(now: Millis): void {
    this.#request = undefined;
    this.#holdUntil = now + CONGESTION_RETRIES * this.#options.retryMs;
  }

  /** §6.13: no answer to the last of all tries. */
  #giveUp(now: Millis, { packet }: Request): void {
    const { random, retryMs } = this.#options;
    this.#request = undefined;
    switch (packet.type) {
      case "CONNECT":
        this.#holdUntil = now + Math.ceil(random() * retryMs);
        return;
      case "PINGREQ":
        if (this.#state !== "awake") break;
        // §6.14: back to sleep; the next time may have more luck.
        this.#fallAsleep(now);
        return;
      case "DISCONNECT":
        if (packet.duration !== undefined) break;
        this.#become("disconnected");
        return this.#finish();
    }
    this.#miss();
  }

  /** Counts itself as disconnected, and wants to be connected. */
  #miss(): void {
    this.losses++;
    this.#request = undefined;
    this.#isMissed = true;
    this.#become("disconnected");
  }

  #fallAsleep(now: Millis): void {
    this.#asleepAt = now;
    if (this.#options.forgetsIds) this.#forgetIds();
    this.#become("asleep");
    this.#finish();
  }

  // What comes

  #handle(now: Millis, packet: MqttSnPacket): void {
    switch (packet.type) {
      case "CONNACK":
        return this.#handleConnack(now, packet.returnCode);
      case "WILLTOPICREQ":
      case "WILLMSGREQ":
        return this.#handlePrompt(now, packet.type);
      case "REGISTER":
        return this.#handleRegister(now, packet);
      case "PUBLISH":
        return this.#handlePublish(now, packet);
      case "PUBREL":
        if (this.#state === "disconnected") return;
        if (this.#unreleased.delete(packet.msgId)) {
          this.#over.set(packet.msgId, { qos: 2, at: now });
        }
        return this.#send(now, { type: "PUBCOMP", msgId: packet.msgId });
      case "REGACK":
        return this.#handleRegack(now, packet);
      case "PUBACK":
        return this.#handlePuback(now, packet);
      case "PUBREC": {
        const publish = this.#awaited("PUBLISH");
        const command = this.#current;
        if (publish?.msgId !== packet.msgId || publish.qos !== 2) return;
        if (command?.type !== "publish") return;
        command.isReceived = true;
        this.#request = undefined;
        return;
      }
      case "PUBCOMP":
        if (this.#awaited("PUBREL")?.msgId !== packet.msgId) return;
        return this.#acknowledge(now);
      case "SUBACK":
        return this.#handleSuback(now, packet);
      case "UNSUBACK": {
        const command = this.#current;
        if (this.#awaited("UNSUBSCRIBE")?.msgId !== packet.msgId) return;
        if (command?.type !== "unsubscribe") return;
        const filter = this.#filterOf(command.topic);
        const at = this.subscriptions.findIndex(({ topicFilter }) =>
          topicFilter === filter
        );
        if (at >= 0) this.subscriptions.splice(at, 1);
        return this.#finish();
      }
      case "PINGREQ":
        if (packet.clientId !== "") {
          this.#blame("PINGREQ with a client id");
        }
        if (this.#state === "disconnected") return;
        return this.#send(now, { type: "PINGRESP" });
      case "PINGRESP":
        if (this.#awaited("PINGREQ") === undefined) return;
        if (this.#state === "awake") return this.#fallAsleep(now);
        this.#request = undefined;
        return;
      case "DISCONNECT":
        return this.#handleDisconnect(now, packet.duration);
      case "ADVERTISE":
      case "GWINFO":
        return;
      case "CONNECT":
      case "SEARCHGW":
      case "WILLTOPIC":
      case "WILLMSG":
      case "SUBSCRIBE":
      case "UNSUBSCRIBE":
      case "WILLTOPICUPD":
      case "WILLMSGUPD":
      case "ENCAPSULATED":
        return this.#blame(`${packet.type}, which a client never gets`);
      case "WILLTOPICRESP":
      case "WILLMSGRESP":
        return this.#blame(`${packet.type} that nothing asked for`);
      default:
        packet satisfies never;
    }
  }

  #handleConnack(now: Millis, returnCode: number): void {
    if (this.#awaited("CONNECT") === undefined) return;
    if (returnCode === RETURN_CODE.congestion) return this.#hold(now);
    this.#request = undefined;
    this.#isMissed = this.#isDoubtful;
    if (this.#isDoubtful) return;
    if (returnCode !== RETURN_CODE.accepted) {
      this.#become("disconnected");
      return this.#fail("CONNECT", returnCode);
    }
    this.#become("active");
    if (this.#current?.type === "connect") this.#finish();
  }

  /** §6.2: the gateway asks for the will, both parts in turn. */
  #handlePrompt(now: Millis, type: "WILLTOPICREQ" | "WILLMSGREQ"): void {
    const { will, retryMs } = this.#options;
    if (will === undefined) return this.#blame(`${type} without Will flag`);
    // Else it is a copy that comes late.
    if (this.#awaited("CONNECT") === undefined) return;
    this.#request!.retryAt = now + retryMs;
    this.#send(
      now,
      type === "WILLTOPICREQ"
        ? { type: "WILLTOPIC", will }
        : { type: "WILLMSG", data: will.payload },
    );
  }

  #handleRegister(now: Millis, packet: Register): void {
    if (this.#state === "disconnected") return;
    const { topicId, msgId, topicName } = packet;
    let returnCode: number = RETURN_CODE.accepted;
    if (isReserved(topicId)) {
      this.#blame(`REGISTER of the reserved id ${topicId}`);
    }
    if (hasWildcard(topicName)) {
      this.#blame(`REGISTER of "${topicName}", which has wildcards`);
    }
    if (this.#options.refuses?.(topicName)) {
      returnCode = RETURN_CODE.notSupported;
      this.#refused.add(topicId);
    } else {
      this.#refused.delete(topicId);
      this.#learn(topicName, topicId);
    }
    this.#send(now, { type: "REGACK", topicId, msgId, returnCode });
  }

  #handlePublish(now: Millis, packet: Publish): void {
    if (this.#state === "disconnected") return;
    const { dup, qos, retain, topicId, msgId } = packet;
    if (qos === -1) return this.#blame("PUBLISH at QoS -1");
    if (qos === 0 && dup) this.#blame("PUBLISH at QoS 0 with DUP");
    if (qos > 0 && msgId === 0) this.#blame(`PUBLISH at QoS ${qos}, msgId 0`);
    if (packet.topicIdType === "reserved") {
      return this.#blame("PUBLISH with the reserved topic id type");
    }
    if (qos === 2 && this.#isKnown(now, msgId)) {
      return this.#send(now, { type: "PUBREC", msgId });
    }
    if (packet.topicIdType === "normal" && this.#refused.has(topicId)) {
      this.#blame(`PUBLISH to ${topicId}, whose REGISTER was refused`);
    }
    const topicName = this.#nameOf(packet);
    if (topicName === undefined) {
      // §6.10: the gateway shall register it anew.
      const returnCode = RETURN_CODE.invalidTopicId;
      return this.#send(now, { type: "PUBACK", topicId, msgId, returnCode });
    }
    if (qos > 0) {
      this.#checkAlone(now, packet);
      if (qos === 1) {
        this.#over.set(msgId, { qos, at: now });
        const returnCode = RETURN_CODE.accepted;
        this.#send(now, { type: "PUBACK", topicId, msgId, returnCode });
      } else {
        this.#unreleased.add(msgId);
        this.#send(now, { type: "PUBREC", msgId });
      }
    }
    const payload = packet.data.slice();
    const message = { topicName, payload, qos, retain, dup, at: now };
    this.received.push(message);
    this.#effects.trace({ type: "received", message });
  }

  /** Whether a PUBLISH at QoS 2 is a copy of one that came before. */
  #isKnown(now: Millis, msgId: number): boolean {
    if (this.#unreleased.has(msgId)) return true;
    const over = this.#over.get(msgId);
    return over?.qos === 2 && now - over.at <= this.#lateMs;
  }

  /** §6.6, for the gateway too: one PUBLISH at QoS 1 or 2 at a time. */
  #checkAlone(now: Millis, { qos, msgId }: Publish): void {
    const over = this.#over.get(msgId);
    if (over !== undefined && now - over.at <= this.#lateMs) return;
    for (const other of this.#unreleased) {
      this.#blame(`PUBLISH ${msgId} at QoS ${qos} while ${other} is under way`);
    }
  }

  #handleRegack(now: Millis, packet: TopicAck<"REGACK">): void {
    const { topicId, returnCode } = packet;
    const register = this.#awaited("REGISTER");
    if (register?.msgId !== packet.msgId) return;
    if (returnCode === RETURN_CODE.congestion) return this.#hold(now);
    if (returnCode !== RETURN_CODE.accepted) {
      return this.#fail("REGISTER", returnCode);
    }
    if (isReserved(topicId)) this.#blame(`REGACK with the id ${topicId}`);
    this.#learn(register.topicName, topicId);
    this.#request = undefined;
    if (this.#current?.type === "register") this.#finish();
  }

  #handlePuback(now: Millis, packet: TopicAck<"PUBACK">): void {
    const { topicId, msgId, returnCode } = packet;
    const publish = this.#awaited("PUBLISH");
    const isAwaited = publish !== undefined && publish.msgId === msgId;
    if (isAwaited && publish.topicId !== topicId) {
      // The copy of a refusal, from before the name had its present id.
      if (returnCode === RETURN_CODE.invalidTopicId) return;
      this.#blame(`PUBACK of ${publish.topicId} with the id ${topicId}`);
    }
    switch (returnCode) {
      case RETURN_CODE.accepted:
        if (isAwaited && publish.qos === 1) this.#acknowledge(now);
        return;
      case RETURN_CODE.congestion:
        // §6.6: at QoS 0 as well, where nothing waits for it.
        if (isAwaited) this.#hold(now);
        else if (msgId === 0 && this.#request === undefined) this.#hold(now);
        return;
      case RETURN_CODE.invalidTopicId:
        if (isAwaited && publish.topicIdType !== "normal") {
          return this.#fail("PUBLISH", returnCode);
        }
        if (isAwaited || msgId === 0) this.#forgetId(topicId);
        if (isAwaited) this.#request = undefined;
        return;
      default:
        if (isAwaited) this.#fail("PUBLISH", returnCode);
    }
  }

  #acknowledge(now: Millis): void {
    const command = this.#current;
    if (command?.type !== "publish") return;
    const { topic, payload, qos } = command;
    const topicName = this.#filterOf(topic);
    const sentAt = command.sentAt ?? now;
    this.acknowledged.push({ topicName, payload, qos, sentAt, at: now });
    this.#finish();
  }

  #handleSuback(now: Millis, packet: Suback): void {
    const { topicId, returnCode, qos } = packet;
    const command = this.#current;
    if (this.#awaited("SUBSCRIBE")?.msgId !== packet.msgId) return;
    if (command?.type !== "subscribe") return;
    if (returnCode === RETURN_CODE.congestion) return this.#hold(now);
    if (returnCode !== RETURN_CODE.accepted) {
      return this.#fail("SUBSCRIBE", returnCode);
    }
    const { topic } = command;
    const topicFilter = this.#filterOf(topic);
    if (qos < 0 || qos > command.qos) {
      this.#blame(`SUBACK grants QoS ${qos} where ${command.qos} was asked`);
    }
    if (typeof topic === "string") {
      if (!hasWildcard(topic)) {
        if (isReserved(topicId)) this.#blame(`SUBACK with the id ${topicId}`);
        this.#learn(topic, topicId);
      } else if (topicId !== 0) {
        this.#blame(`SUBACK of "${topic}" with the id ${topicId}`);
      }
    }
    this.subscriptions.push({ topic, topicFilter, qos, at: now });
    this.#finish();
  }

  #handleDisconnect(now: Millis, duration: number | undefined): void {
    if (duration !== undefined) this.#blame("DISCONNECT with a duration");
    const asked = this.#awaited("DISCONNECT");
    if (asked?.duration !== undefined) return this.#fallAsleep(now);
    if (asked !== undefined) {
      this.#become("disconnected");
      return this.#finish();
    }
    // §5.4.21: the gateway does not know it any more. A late copy of an answer
    // looks the same, and costs one CONNECT. It may have overtaken a CONNACK.
    if (this.#state === "connecting") this.#isDoubtful = true;
    else if (this.#state !== "disconnected") this.#miss();
  }

  // Ids

  #learn(topicName: string, topicId: number): void {
    this.#idByName.set(topicName, topicId);
    this.#nameById.set(topicId, topicName);
  }

  #forgetId(topicId: number): void {
    const name = this.#nameById.get(topicId);
    if (name === undefined) return;
    this.#nameById.delete(topicId);
    if (this.#idByName.get(name) === topicId) this.#idByName.delete(name);
  }

  #forgetIds(): void {
    this.#idByName.clear();
    this.#nameById.clear();
    this.#refused.clear();
  }

  #nameOf({ topicIdType, topicId }: Publish): string | undefined {
    switch (topicIdType) {
      case "normal":
        return this.#nameById.get(topicId);
      case "predefined":
        return this.#options.predefined?.get(topicId);
      case "short":
        return shortTopicName(topicId);
      case "reserved":
        return undefined;
      default:
        return topicIdType satisfies never;
    }
  }

  #filterOf(topic: SnTopic): string {
    if (typeof topic === "string") return topic;
    if ("short" in topic) return topic.short;
    const { predefined } = topic;
    return this.#options.predefined?.get(predefined) ?? `(${predefined})`;
  }

  #nextMsgId(): number {
    return this.#msgId = this.#msgId >= 0xffff ? 1 : this.#msgId + 1;
  }

  // What goes out

  #ask(now: Millis, packet: MqttSnPacket): void {
    const bytes = encodePacket(packet);
    const again = packet.type === "PUBLISH"
      ? encodePacket({ ...packet, dup: true })
      : bytes;
    const { retryMs, retries } = this.#options;
    const retryAt = now + retryMs;
    this.#request = { packet, again, retryAt, triesLeft: retries };
    this.#sendBytes(now, bytes);
  }

  /** The outstanding request, if it is of that type. */
  #awaited<Type extends MsgType>(
    type: Type,
  ): Extract<MqttSnPacket, { type: Type }> | undefined {
    const packet = this.#request?.packet;
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

  /** When the gateway has to hear from it, if nothing else is sent (§6.11). */
  #pingAt(): Millis | undefined {
    const { keepAliveS } = this.#options;
    if (this.#state !== "active" || keepAliveS === 0) return undefined;
    if (this.#request !== undefined) return undefined;
    return this.#sentAt + keepAliveS * 1_000 / 2;
  }

  #become(state: SnState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#effects.trace({ type: "state", state });
  }

  #blame(what: string): void {
    const detail = `${this.#options.clientId} at ${this.#now}: ${what}`;
    this.violations.push(detail);
    this.#effects.trace({ type: "violation", detail });
  }
}

interface PublishCommand {
  readonly type: "publish";
  readonly topic: SnTopic;
  readonly payload: Uint8Array;
  readonly qos: Qos;
  readonly retain: boolean;
  /** That of its PUBLISH once it was sent. */
  msgId: number | undefined;
  /** Whether its PUBREC came. */
  isReceived: boolean;
  sentAt: Millis | undefined;
}

type Command =
  | {
    readonly type: "connect";
    readonly cleanSession: boolean;
    readonly isForced: boolean;
  }
  | { readonly type: "register"; readonly topicName: string }
  | { readonly type: "subscribe"; readonly topic: SnTopic; readonly qos: Qos }
  | { readonly type: "unsubscribe"; readonly topic: SnTopic }
  | PublishCommand
  | { readonly type: "sleep"; readonly duration: number }
  | { readonly type: "wake" }
  | { readonly type: "disconnect" };

/** What waits for its answer. */
interface Request {
  readonly packet: MqttSnPacket;
  /** The datagram for the next times. */
  readonly again: Uint8Array;
  retryAt: Millis;
  triesLeft: number;
}

function idOf(
  topic: Exclude<SnTopic, string>,
): Extract<TopicReference, { topicId: number }> {
  if ("predefined" in topic) {
    return { topicIdType: "predefined", topicId: topic.predefined };
  }
  const topicId = shortTopicId(topic.short);
  if (topicId !== undefined) return { topicIdType: "short", topicId };
  throw new RangeError(`Cannot take "${topic.short}" as a short topic name`);
}

function referenceOf(topic: SnTopic): TopicReference {
  return typeof topic === "string"
    ? { topicIdType: "normal", topicName: topic }
    : idOf(topic);
}

function hasWildcard(name: string): boolean {
  return name.includes("+") || name.includes("#");
}

function isReserved(topicId: number): boolean {
  return topicId === 0 || topicId === 0xffff;
}

function nameOf(bytes: Uint8Array): string {
  try {
    return decodePacket(bytes).type;
  } catch (error) {
    if (!(error instanceof MalformedPacketError)) throw error;
    return "a datagram";
  }
}
