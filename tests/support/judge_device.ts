/**
 * What the judge knows of one client, and what the specification forbids it.
 *
 * @module
 */

import type { Millis } from "../../base/clock.ts";
import {
  type Connect,
  type Disconnect,
  type MqttSnPacket,
  type MsgType,
  PROTOCOL_ID,
  type Publish,
  RETURN_CODE,
  type TopicAck,
  type TopicReference,
} from "../../wire/packets.ts";
import { parseTopicFilter, parseTopicName } from "../../wire/topics.ts";
import { isSame, Ledger, topicOf } from "./ledger.ts";

/** How long a client waits for an answer, and how often it asks. */
export interface Patience {
  /** T_retry, in milliseconds. */
  readonly retryMs: Millis;
  /** N_retry. */
  readonly retries: number;
}

/** Of which kind a request is: one of each may be outstanding. */
type Kind = "register" | "subscribe" | "publish" | "will" | "ping" | "leave";

/** What waits for its answer. */
interface Request {
  packet: MqttSnPacket;
  sentAt: Millis;
  tries: number;
  /** Whether PUBREC has come. */
  isReceived: boolean;
  /** Whether the id under which it went was refused, or is no more. */
  isUnnamed: boolean;
  /** Whether it may be given up for another. */
  isRefused: boolean;
  /** Whether its answer has come; that may have come when it was given up. */
  isOver: boolean;
}

/** What a client is (§6.14), as far as it knows itself. */
type State = "disconnected" | "connecting" | "active" | "asleep" | "awake";

/** The longest id of a client, in characters (§5.3.1). */
const MAX_CLIENT_ID = 23;

/** One client. */
export class DeviceRecord {
  /** Writes down what it does that is forbidden. */
  blame: (what: string) => void;
  /** What it has been asked and has not answered, `undefined` for nothing. */
  due: string | undefined;
  readonly #patience: Patience | undefined;
  readonly #requests = new Map<Kind, Request>();
  /** The ids that it was given since it connected. */
  readonly #names = new Map<number, string>();
  /** What it may answer. */
  readonly #asked = new Ledger();
  #state: State = "disconnected";
  #gateway: string | undefined;
  #connect: Connect | undefined;
  /** How it has said that it goes, until that is answered. */
  #leaving: "sleep" | "end" | undefined;
  #sentAt: Millis = 0;
  /** When it sent CONNECT last, or a part of its will. */
  #connectAt: Millis = 0;
  /** Whether an answer has come when it may have given the gateway up. */
  #isDoubtful = false;

  /** A client that knows nothing. */
  constructor(blame: (what: string) => void, patience?: Patience) {
    this.blame = blame;
    this.#patience = patience;
  }

  /** Counts its silence from now on. */
  excuse(now: Millis): void {
    this.#sentAt = now;
  }

  /** §6.11: the gateway has to hear from it once in each keep alive. */
  checkSilence(now: Millis): void {
    const { duration = 0 } = this.#connect ?? {};
    if (this.#state !== "active" || duration === 0) return;
    const silence = now - this.#sentAt;
    if (silence <= duration * 1_000) return;
    this.blame(`silent for ${silence} ms with a keep alive of ${duration} s`);
  }

  /** It says something to everybody (§6.1). */
  handleBroadcast(packet: MqttSnPacket): void {
    if (packet.type === "SEARCHGW") return;
    if (packet.type !== "GWINFO") {
      this.blame(`${packet.type} to everybody`);
    } else if (packet.gwAdd.length === 0) {
      this.blame("GWINFO of a client without the gateway's address");
    }
  }

  /** It sends something to a gateway. */
  handleSend(now: Millis, gateway: string, packet: MqttSnPacket): void {
    // §6.8: this takes no connection, and no gateway in particular.
    if (packet.type === "PUBLISH" && packet.qos === -1) {
      if (gateway === this.#gateway) this.#sentAt = now;
      return this.#checkUnconnected(packet);
    }
    this.checkSilence(now);
    this.#sentAt = now;
    if (packet.type === "SEARCHGW") return; // §6.1: of any gateway
    if (packet.type === "CONNECT") {
      return this.#handleConnect(now, gateway, packet);
    }
    if (gateway !== this.#gateway) {
      this.blame(`${packet.type} to a gateway that it is not connected to`);
    }
    switch (packet.type) {
      case "WILLTOPIC":
      case "WILLMSG":
        this.#connectAt = now;
        return this.#checkWill(packet);
      case "REGISTER":
        if (packet.topicId !== 0) {
          this.blame(`REGISTER with the id ${packet.topicId}`);
        }
        if (parseTopicName(packet.topicName) === undefined) {
          this.blame(`REGISTER of "${packet.topicName}"`);
        }
        return this.#request(now, "register", packet);
      case "SUBSCRIBE":
        if (packet.qos === -1) this.blame("SUBSCRIBE at QoS -1");
        this.#checkFilter(packet.type, packet.topic);
        return this.#request(now, "subscribe", packet);
      case "UNSUBSCRIBE":
        this.#checkFilter(packet.type, packet.topic);
        return this.#request(now, "subscribe", packet);
      case "PUBLISH":
        return this.#publish(now, packet);
      case "PUBREL":
        return this.#release(now, packet.msgId);
      case "WILLTOPICUPD":
      case "WILLMSGUPD":
        return this.#request(now, "will", packet);
      case "PINGREQ":
        return this.#ping(now, packet.clientId);
      case "DISCONNECT":
        return this.#disconnect(now, packet);
      case "REGACK":
        this.#answer(packet, `REGISTER ${packet.msgId}`);
        return;
      case "PUBACK":
        return this.#acknowledge(packet);
      case "PUBREC": {
        const publish = this.#answer(packet, `PUBLISH ${packet.msgId}`);
        if (publish?.type === "PUBLISH" && publish.qos !== 2) {
          this.blame(`PUBREC for a PUBLISH at QoS ${publish.qos}`);
        }
        return;
      }
      case "PUBCOMP":
        this.#answer(packet, `PUBREL ${packet.msgId}`);
        return;
      case "PINGRESP":
        this.#answer(packet, "PINGREQ");
        return;
      default:
        this.blame(`${packet.type}, which only a gateway sends`);
    }
  }

  /** Something reaches it. */
  handleDelivery(now: Millis, gateway: string, packet: MqttSnPacket): void {
    this.due = undefined;
    if (gateway !== this.#gateway) return;
    // Its radio is off: it misses what comes.
    if (this.#state === "asleep" || this.#state === "disconnected") return;
    this.#checkDoubt(now);
    switch (packet.type) {
      case "CONNACK":
        return this.#handleConnack(now, packet.returnCode);
      case "DISCONNECT":
        return this.#handleDisconnect(now);
      case "PINGRESP":
        this.#requests.delete("ping");
        if (this.#state === "awake") this.#state = "asleep";
        return;
      case "WILLTOPICREQ":
      case "WILLMSGREQ":
        return this.#asked.add(packet.type, packet);
      case "REGISTER":
        this.#names.set(packet.topicId, packet.topicName);
        return this.#oblige(`REGISTER ${packet.msgId}`, packet);
      case "PUBLISH":
        if (packet.qos === -1) return;
        return this.#oblige(
          `PUBLISH ${packet.msgId}`,
          packet,
          packet.qos > 0,
        );
      case "PUBREL":
        return this.#oblige(`PUBREL ${packet.msgId}`, packet);
      case "PINGREQ":
        return this.#oblige("PINGREQ", packet);
      case "REGACK": {
        const asked = this.#outstanding("register", packet.msgId);
        if (asked?.packet.type !== "REGISTER") return;
        this.#requests.delete("register");
        if (packet.returnCode !== RETURN_CODE.accepted) return;
        this.#names.set(packet.topicId, asked.packet.topicName);
        return;
      }
      case "SUBACK": {
        const asked = this.#outstanding("subscribe", packet.msgId);
        if (asked?.packet.type !== "SUBSCRIBE") return;
        this.#requests.delete("subscribe");
        if (packet.returnCode !== RETURN_CODE.accepted) return;
        const { topic } = asked.packet;
        if (packet.topicId === 0 || topic.topicIdType !== "normal") return;
        this.#names.set(packet.topicId, topic.topicName);
        return;
      }
      case "UNSUBACK": {
        const asked = this.#outstanding("subscribe", packet.msgId);
        if (asked?.packet.type === "UNSUBSCRIBE") {
          this.#requests.delete("subscribe");
        }
        return;
      }
      case "PUBACK":
        return this.#handlePuback(packet);
      case "PUBREC": {
        const asked = this.#outstanding("publish", packet.msgId);
        if (asked?.packet.type !== "PUBLISH" || asked.packet.qos !== 2) return;
        asked.isReceived = true;
        asked.tries = 0;
        return;
      }
      case "PUBCOMP": {
        const asked = this.#outstanding("publish", packet.msgId);
        if (asked?.packet.type === "PUBREL") asked.isOver = true;
        return;
      }
      case "WILLTOPICRESP":
      case "WILLMSGRESP":
        this.#requests.delete("will");
        return;
    }
  }

  // What it sends

  #handleConnect(now: Millis, gateway: string, packet: Connect): void {
    const { clientId, protocolId, cleanSession } = packet;
    if (protocolId !== PROTOCOL_ID) {
      this.blame(`CONNECT with the protocol ${protocolId}`);
    }
    const { length } = [...clientId];
    if (length === 0 || length > MAX_CLIENT_ID) {
      this.blame(`CONNECT with a client id of ${length} characters`);
    }
    if (this.#connect !== undefined && this.#connect.clientId !== clientId) {
      this.blame(`CONNECT as "${clientId}" after "${this.#connect.clientId}"`);
    }
    const publish = this.#requests.get("publish");
    this.#requests.clear();
    this.#names.clear();
    this.#asked.delete("WILLTOPICREQ");
    this.#asked.delete("WILLMSGREQ");
    // §6.6: what was begun in a kept session is taken up again.
    if (publish !== undefined && !cleanSession) {
      publish.isUnnamed = true;
      publish.tries = 0;
      this.#requests.set("publish", publish);
    }
    this.#connect = packet;
    this.#gateway = gateway;
    this.#leaving = undefined;
    this.#isDoubtful = false;
    this.#connectAt = now;
    this.#state = "connecting";
  }

  /** §6.2: the will is sent when it is asked for, again if need be. */
  #checkWill(
    packet: Extract<MqttSnPacket, { type: "WILLTOPIC" | "WILLMSG" }>,
  ): void {
    if (packet.type === "WILLTOPIC" && packet.will !== undefined) {
      const { topicName } = packet.will;
      if (parseTopicName(topicName) === undefined) {
        this.blame(`a will to "${topicName}"`);
      }
    }
    const prompt = packet.type === "WILLTOPIC" ? "WILLTOPICREQ" : "WILLMSGREQ";
    if (!this.#asked.has(prompt)) {
      this.blame(`${packet.type} that was not asked for`);
    }
  }

  #publish(now: Millis, packet: Publish): void {
    const { dup, qos, topicIdType, topicId, msgId } = packet;
    if (topicIdType === "reserved") {
      this.blame("PUBLISH with the reserved topic id type");
    }
    if (topicIdType === "normal" && !this.#names.has(topicId)) {
      this.blame(`PUBLISH under the id ${topicId}, which it was not given`);
    }
    if (qos === 0) {
      if (dup) this.blame("PUBLISH at QoS 0 with DUP");
      if (msgId !== 0) this.blame(`PUBLISH at QoS 0, msgId ${msgId}`);
      return this.#checkConnected(packet.type);
    }
    this.#request(now, "publish", packet);
  }

  /** §6.6: PUBREL goes out once PUBREC has come, and takes PUBLISH's place. */
  #release(now: Millis, msgId: number): void {
    this.#checkConnected("PUBREL");
    const asked = this.#outstanding("publish", msgId);
    if (asked === undefined || !asked.isReceived) {
      return this.blame(`PUBREL ${msgId} without PUBREC`);
    }
    this.#checkPatience(now, asked, asked.packet.type === "PUBREL");
    asked.packet = { type: "PUBREL", msgId };
    asked.sentAt = now;
    asked.tries++;
    asked.isOver = false;
  }

  /** §6.8: to a topic that needs no id, without DUP and msgId. */
  #checkUnconnected({ topicIdType, dup, msgId }: Publish): void {
    if (topicIdType !== "predefined" && topicIdType !== "short") {
      this.blame(`PUBLISH at QoS -1 to a ${topicIdType} topic`);
    }
    if (dup) this.blame("PUBLISH at QoS -1 with DUP");
    if (msgId !== 0) this.blame(`PUBLISH at QoS -1, msgId ${msgId}`);
  }

  #checkFilter(type: MsgType, topic: TopicReference): void {
    const isValid = topic.topicIdType === "normal"
      ? parseTopicFilter(topic.topicName) !== undefined
      : topic.topicIdType !== "reserved";
    if (!isValid) this.blame(`${type} to what is no filter`);
  }

  #ping(now: Millis, clientId: string): void {
    const isWaking = this.#state === "asleep" || this.#state === "awake";
    if (isWaking && clientId !== this.#connect?.clientId) {
      this.blame(`PINGREQ as "${clientId}" of a client that wakes`);
    }
    if (!isWaking && clientId !== "") {
      this.blame(`PINGREQ as "${clientId}" of a client that is ${this.#state}`);
    }
    if (isWaking) this.#state = "awake";
    else this.#checkConnected("PINGREQ");
    const packet = { type: "PINGREQ", clientId } as const;
    const last = this.#requests.get("ping");
    this.#requests.set("ping", newRequest(now, packet, last?.tries));
  }

  #disconnect(now: Millis, packet: Disconnect): void {
    const { duration } = packet;
    if (duration === 0) this.blame("DISCONNECT for 0 s");
    if (this.#state === "disconnected") {
      this.blame("DISCONNECT of a client that is not connected");
    }
    if (this.#state === "connecting" && duration !== undefined) {
      this.blame("a sleep before CONNACK");
    }
    this.#leaving = duration === undefined ? "end" : "sleep";
    const last = this.#requests.get("leave");
    this.#requests.set("leave", newRequest(now, packet, last?.tries));
  }

  #acknowledge(packet: TopicAck<"PUBACK">): void {
    const { topicId, msgId, returnCode } = packet;
    const asked = this.#answer(packet, `PUBLISH ${msgId}`);
    if (asked?.type !== "PUBLISH") return;
    if (asked.topicId !== topicId) {
      this.blame(`PUBACK of ${asked.topicId} with the id ${topicId}`);
    }
    if (returnCode === RETURN_CODE.accepted && asked.qos !== 1) {
      this.blame(`PUBACK of a PUBLISH at QoS ${asked.qos}`);
    }
  }

  /** What it answers, if there is something. */
  #answer(packet: MqttSnPacket, asked: string): MqttSnPacket | undefined {
    const { type } = packet;
    const request = this.#asked.take(asked);
    if (request === undefined) {
      this.blame(`${type} that nothing asked for`);
    } else if (request.type === "REGISTER" && packet.type === "REGACK") {
      const { topicId } = request;
      if (topicId !== packet.topicId) {
        this.blame(`REGACK of ${topicId} with the id ${packet.topicId}`);
      }
      if (packet.returnCode !== RETURN_CODE.accepted) {
        this.#names.delete(topicId);
      }
    }
    if (this.#state === "asleep" || this.#state === "disconnected") {
      this.blame(`${type} of a client that is ${this.#state}`);
    }
    if (this.due === asked) this.due = undefined;
    return request;
  }

  /**
   * §6.5, §6.6, §6.9: one request of a kind at a time. Sent again it says the
   * same, but for DUP.
   */
  #request(
    now: Millis,
    kind: Kind,
    packet: Extract<
      MqttSnPacket,
      {
        type:
          | "REGISTER"
          | "SUBSCRIBE"
          | "UNSUBSCRIBE"
          | "PUBLISH"
          | "WILLTOPICUPD"
          | "WILLMSGUPD";
      }
    >,
  ): void {
    const { type } = packet;
    this.#checkConnected(type);
    if ("msgId" in packet && packet.msgId === 0) this.blame(`${type}, msgId 0`);
    const last = this.#requests.get(kind);
    const isAgain = last !== undefined && idOf(last.packet) === idOf(packet);
    const isFlagged = "dup" in packet && packet.dup;
    if (isAgain) {
      if ("dup" in packet && !isFlagged) {
        this.blame(`${nameOf(packet)} again without DUP`);
      }
      if (!isSame(last.packet, packet, last.isUnnamed)) {
        this.blame(`${nameOf(packet)} again, but not as it was`);
      }
      this.#checkPatience(now, last, !last.isUnnamed);
    } else {
      if (isFlagged) this.blame(`${nameOf(packet)} with DUP at first`);
      if (last !== undefined && !last.isRefused && !last.isOver) {
        this.blame(`${nameOf(packet)} while ${nameOf(last.packet)} is out`);
      }
    }
    if (this.#leaving !== undefined) {
      this.blame(`${type} after DISCONNECT`);
    }
    const tries = isAgain ? last.tries : 0;
    this.#requests.set(kind, newRequest(now, packet, tries));
    this.#isDoubtful = false;
  }

  /** §6.13: not sooner than T_retry, and N_retry times at most. */
  #checkPatience(now: Millis, last: Request, isAgain: boolean): void {
    if (this.#patience === undefined || !isAgain || last.tries === 0) return;
    const { retryMs, retries } = this.#patience;
    const waited = now - last.sentAt;
    const name = nameOf(last.packet);
    if (waited < retryMs) this.blame(`${name} again after ${waited} ms`);
    if (last.tries > retries) {
      this.blame(`${name} sent ${last.tries + 1} times`);
    }
  }

  #checkConnected(type: MsgType): void {
    if (this.#state === "active") return;
    this.blame(`${type} of a client that is ${this.#state}`);
  }

  // What reaches it

  /** Whether the time for an answer may be over. */
  #checkDoubt(now: Millis): void {
    const { retryMs = 0, retries = 0 } = this.#patience ?? {};
    for (const { tries, sentAt, isOver } of this.#requests.values()) {
      if (isOver || tries <= retries || now - sentAt < retryMs) continue;
      this.#isDoubtful = true;
    }
  }

  #handleConnack(now: Millis, returnCode: number): void {
    if (this.#state !== "connecting") return;
    if (now - this.#connectAt >= (this.#patience?.retryMs ?? Infinity)) {
      this.#isDoubtful = true;
    }
    const isAccepted = returnCode === RETURN_CODE.accepted;
    this.#state = isAccepted ? "active" : "disconnected";
    this.#sentAt = now;
  }

  #handleDisconnect(now: Millis): void {
    this.#requests.delete("leave");
    if (this.#leaving === "sleep") {
      this.#state = "asleep";
      this.#requests.delete("ping");
      this.#leaving = undefined;
      this.#sentAt = now;
      return;
    }
    // Who has asked more than once may have given up, and sleeps on.
    const { tries = 0 } = this.#requests.get("ping") ?? {};
    if (this.#state === "awake" && tries > 1) {
      this.#state = "asleep";
      return;
    }
    // One that was meant for the connection before is about nothing.
    if (this.#leaving === undefined && this.#state === "connecting") return;
    this.#state = "disconnected";
    this.#leaving = undefined;
  }

  #handlePuback({ topicId, msgId, returnCode }: TopicAck<"PUBACK">): void {
    const isUnknown = returnCode === RETURN_CODE.invalidTopicId;
    const asked = this.#outstanding("publish", msgId);
    if (asked?.packet.type !== "PUBLISH") {
      if (isUnknown && msgId === 0) this.#names.delete(topicId);
      return;
    }
    if (returnCode === RETURN_CODE.accepted) {
      if (asked.packet.qos === 1) asked.isOver = true;
      return;
    }
    if (!isUnknown || asked.packet.topicIdType !== "normal") {
      asked.isOver = true;
      return;
    }
    // The copy of a refusal may be of an id before the present one.
    if (topicId === asked.packet.topicId) this.#names.delete(topicId);
    asked.isUnnamed = true;
    asked.isRefused = true;
    asked.tries = 0;
  }

  /** Something that it is to answer. */
  #oblige(asked: string, packet: MqttSnPacket, isDue = true): void {
    this.#asked.add(asked, packet);
    // Who connects may not be ready; who has asked often may have given up.
    const isReady = this.#state === "active" || this.#state === "awake";
    const isPatient = [...this.#requests.values()].every(({ tries, isOver }) =>
      isOver || tries <= 1
    );
    if (isDue && isReady && isPatient && !this.#isDoubtful) this.due = asked;
  }

  #outstanding(kind: Kind, msgId: number): Request | undefined {
    const request = this.#requests.get(kind);
    if (request === undefined || !("msgId" in request.packet)) return undefined;
    return request.packet.msgId === msgId ? request : undefined;
  }
}

function newRequest(
  now: Millis,
  packet: MqttSnPacket,
  tries: number = 0,
): Request {
  return {
    packet: keep(packet),
    sentAt: now,
    tries: tries + 1,
    isReceived: false,
    isUnnamed: false,
    isRefused: false,
    isOver: false,
  };
}

/** With octets of its own, as those of a datagram are only lent. */
function keep(packet: MqttSnPacket): MqttSnPacket {
  return "data" in packet ? { ...packet, data: packet.data.slice() } : packet;
}

/** What makes a request another one. */
function idOf(packet: MqttSnPacket): string {
  return "msgId" in packet ? `${packet.type} ${packet.msgId}` : packet.type;
}

function nameOf(packet: MqttSnPacket): string {
  if (packet.type === "PUBLISH") {
    return `PUBLISH ${packet.msgId} to ${topicOf(packet)}`;
  }
  return idOf(packet);
}
