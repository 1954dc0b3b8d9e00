/**
 * What the judge knows of one gateway, and what the specification forbids it.
 * Knows, from the wire, which client is where and in which state the gateway has
 * to take it for, what it was asked, and which ids it has told.
 *
 * @module
 */

import type { Millis } from "../../base/clock.ts";
import {
  type Connect,
  type MqttSnPacket,
  type MsgType,
  type Pingreq,
  type Publish,
  type Register,
  RETURN_CODE,
  type Suback,
  type TopicAck,
} from "../../wire/packets.ts";
import { LATE_MS } from "../../wire/duplicates.ts";
import { parseTopicName } from "../../wire/topics.ts";
import { isReserved, isSame, Ledger } from "./ledger.ts";

/** An address, and who speaks from there. */
interface Line {
  readonly key: string;
  /** What it has asked. */
  readonly asked: Ledger;
  /** Under which key it has asked last. */
  lastAsked: string | undefined;
  session: SessionRecord | undefined;
  /** The CONNECT that is being answered, or was last. */
  connect: Connect | undefined;
  /** Whether the first part of its will has come. */
  hasWillTopic: boolean;
  /** Whose PINGREQ has come from here, of a client that was elsewhere. */
  mover: SessionRecord | undefined;
}

/** A delivery of QoS 1 or 2. */
interface Flight {
  readonly packet: Publish;
  /** Whether PUBREC has come, and PUBREL was sent. */
  isReceived: boolean;
  isReleased: boolean;
  /** Whether it may name its topic in another way. */
  mayRename: boolean;
  /** Whether another one may take its place. */
  mayEnd: boolean;
  /** Whether its last answer has come; that may have come too late. */
  isOver: boolean;
}

/** A client as the gateway has to know it. */
interface SessionRecord {
  readonly clientId: string;
  line: Line | undefined;
  state: "active" | "asleep" | "awake" | "away";
  acceptedAt: Millis;
  accepted: Connect | undefined;
  /** Which name each id was told for. */
  readonly names: Map<number, string>;
  /** The ids that the client has, or was sent, and has not said to lack. */
  readonly known: Set<number>;
  /** The ids that it does not want. */
  readonly refused: Set<number>;
  /** REGISTERs without an answer, by msgId; the last one counts. */
  readonly registers: Map<number, Register>;
  register: Register | undefined;
  /** Whether the last one may be given up for another. */
  mayRegisterAnew: boolean;
  flight: Flight | undefined;
}

/** One gateway. */
export class GatewayRecord {
  /** Writes down what it does that is forbidden. */
  readonly blame: (what: string) => void;
  /** What it was asked and has not answered, `undefined` for nothing. */
  due: string | undefined;
  readonly #lines = new Map<string, Line>();
  readonly #sessions = new Map<string, SessionRecord>();

  /** A gateway that knows nobody. */
  constructor(blame: (what: string) => void) {
    this.blame = blame;
  }

  /** It says something to everybody (§6.1). */
  handleBroadcast(packet: MqttSnPacket): void {
    if (packet.type === "ADVERTISE") return;
    if (packet.type !== "GWINFO") this.blame(`${packet.type} to everybody`);
    else this.#checkGwInfo(packet.gwAdd);
  }

  /** It sends something to a client. */
  handleSend(now: Millis, key: string, packet: MqttSnPacket): void {
    const line = this.#lineAt(key);
    if (packet.type === "DISCONNECT") {
      return this.#disconnect(line, packet.duration);
    }
    if (line.mover !== undefined) this.#move(line, line.mover);
    switch (packet.type) {
      case "CONNACK":
        if (!this.#answer(line, packet.type, "CONNECT")) return;
        line.hasWillTopic = false;
        if (packet.returnCode === RETURN_CODE.accepted) this.#bind(now, line);
        return;
      case "WILLTOPICREQ":
      case "WILLMSGREQ":
        return this.#prompt(line, packet.type);
      case "REGACK":
        return this.#confirm(line, packet);
      case "SUBACK":
        return this.#grant(line, packet);
      case "UNSUBACK":
        this.#answer(line, packet.type, `UNSUBSCRIBE ${packet.msgId}`);
        return;
      case "PUBACK":
        return this.#acknowledge(line, packet);
      case "PUBREC": {
        const asked = `PUBLISH ${packet.msgId}`;
        const publish = this.#answer(line, packet.type, asked);
        if (publish?.type === "PUBLISH" && publish.qos !== 2) {
          this.#blame(line, `PUBREC for a PUBLISH at QoS ${publish.qos}`);
        }
        return;
      }
      case "PUBCOMP":
        this.#answer(line, packet.type, `PUBREL ${packet.msgId}`);
        return;
      case "PINGRESP":
        if (!this.#answer(line, packet.type, "PINGREQ")) return;
        if (line.session?.state !== "awake") return;
        line.session.state = "asleep";
        line.asked.delete("PINGREQ"); // the one answer is for all of them
        return;
      case "WILLTOPICRESP":
        this.#answer(line, packet.type, "WILLTOPICUPD");
        return;
      case "WILLMSGRESP":
        this.#answer(line, packet.type, "WILLMSGUPD");
        return;
      case "GWINFO":
        this.#answer(line, packet.type, "SEARCHGW");
        return this.#checkGwInfo(packet.gwAdd);
      case "PINGREQ":
        if (packet.clientId !== "") {
          this.#blame(line, "PINGREQ with a client id");
        }
        this.#listener(line, packet.type);
        return;
      case "REGISTER":
        return this.#register(line, packet);
      case "PUBLISH":
        return this.#publish(line, packet);
      case "PUBREL":
        return this.#release(line, packet.msgId);
      case "ADVERTISE":
        return;
      default:
        this.#blame(line, `${packet.type}, which a client never gets`);
    }
  }

  /** Something reaches it. */
  handleDelivery(key: string, packet: MqttSnPacket): void {
    this.due = undefined;
    const line = this.#lineAt(key);
    switch (packet.type) {
      case "CONNECT":
        line.connect = packet;
        return this.#ask(line, "CONNECT", packet, true);
      case "WILLTOPIC":
      case "WILLMSG":
        if (packet.type === "WILLTOPIC") line.hasWillTopic = true;
        return this.#ask(line, "CONNECT", packet, false);
      case "REGISTER":
      case "SUBSCRIBE":
      case "UNSUBSCRIBE":
      case "PUBREL":
        return this.#ask(line, `${packet.type} ${packet.msgId}`, packet, true);
      case "PUBLISH":
        if (packet.qos === -1) return;
        return this.#ask(
          line,
          `PUBLISH ${packet.msgId}`,
          packet,
          packet.qos > 0,
        );
      case "WILLTOPICUPD":
      case "WILLMSGUPD":
      case "SEARCHGW":
        return this.#ask(line, packet.type, packet, true);
      case "PINGREQ":
        return this.#handlePing(line, packet);
      case "DISCONNECT":
        return this.#handleDisconnect(line, packet);
      case "PUBACK":
        return this.#handlePuback(line, packet);
      case "PUBREC":
      case "PUBCOMP": {
        const flight = line.session?.flight;
        if (flight?.packet.msgId !== packet.msgId) return;
        if (flight.packet.qos !== 2) return;
        if (packet.type === "PUBREC") flight.isReceived = true;
        else if (flight.isReleased) flight.isOver = true;
        return;
      }
      case "REGACK":
        return this.#handleRegack(line, packet);
    }
  }

  // What it sends

  /** What it answers, if there is something. */
  #answer(line: Line, type: MsgType, asked: string): MqttSnPacket | undefined {
    const request = line.asked.take(asked);
    if (request === undefined) {
      this.#blame(line, `${type} that nothing asked for`);
    }
    if (this.due === `${asked} of ${line.key}`) this.due = undefined;
    return request;
  }

  #disconnect(line: Line, duration: number | undefined): void {
    if (duration !== undefined) {
      this.#blame(line, "DISCONNECT with a duration");
    }
    line.mover = undefined;
    if (line.asked.take("DISCONNECT") !== undefined) {
      if (this.due === `DISCONNECT of ${line.key}`) this.due = undefined;
      return;
    }
    // A16: who connects from elsewhere takes over.
    const { session } = line;
    const isTakenOver = session !== undefined &&
      [...this.#lines.values()].some((other) =>
        other !== line && other.connect?.clientId === session.clientId &&
        other.asked.has("CONNECT")
      );
    if (isTakenOver) {
      line.session = undefined;
      session.line = undefined;
      return;
    }
    // §5.4.21: who is not connected is told so, when it asks for something.
    const asked = line.lastAsked;
    line.lastAsked = undefined;
    if (asked === undefined || line.asked.take(asked) === undefined) {
      this.#blame(line, "DISCONNECT that nothing asked for");
    }
    this.due = undefined;
    if (session === undefined) return;
    session.state = "away";
    session.line = undefined;
    line.session = undefined;
  }

  #prompt(line: Line, type: "WILLTOPICREQ" | "WILLMSGREQ"): void {
    this.#answer(line, type, "CONNECT");
    if (line.connect?.will !== true) {
      this.#blame(line, `${type} without Will flag`);
    }
    if (type === "WILLMSGREQ" && !line.hasWillTopic) {
      this.#blame(line, "WILLMSGREQ before WILLTOPIC");
    }
  }

  #confirm(line: Line, packet: TopicAck<"REGACK">): void {
    const { topicId, msgId, returnCode } = packet;
    const asked = this.#answer(line, packet.type, `REGISTER ${msgId}`);
    if (returnCode !== RETURN_CODE.accepted) return;
    if (asked?.type === "REGISTER") this.#tell(line, asked.topicName, packet);
    line.session?.known.add(topicId);
    line.session?.refused.delete(topicId);
  }

  #grant(line: Line, packet: Suback): void {
    const { topicId, msgId, returnCode, qos } = packet;
    const asked = this.#answer(line, packet.type, `SUBSCRIBE ${msgId}`);
    if (asked?.type !== "SUBSCRIBE") return;
    if (returnCode !== RETURN_CODE.accepted) return;
    if (qos < 0 || qos > asked.qos) {
      this.#blame(
        line,
        `SUBACK grants QoS ${qos} where ${asked.qos} was asked`,
      );
    }
    if (asked.topic.topicIdType !== "normal") return;
    const { topicName } = asked.topic;
    if (parseTopicName(topicName) !== undefined) {
      this.#tell(line, topicName, packet);
      line.session?.known.add(topicId);
      line.session?.refused.delete(topicId);
    } else if (topicId !== 0) {
      this.#blame(line, `SUBACK of "${topicName}" with the id ${topicId}`);
    }
  }

  /** It gives a name an id. */
  #tell(
    line: Line,
    topicName: string,
    { type, topicId }: { readonly type: MsgType; readonly topicId: number },
  ): void {
    if (isReserved(topicId)) {
      this.#blame(line, `${type} with the reserved id ${topicId}`);
    }
    const { session } = line;
    if (session === undefined) return;
    const other = session.names.get(topicId);
    if (other !== undefined && other !== topicName) {
      this.#blame(
        line,
        `${type} of "${topicName}" with the id ${topicId} of "${other}"`,
      );
    }
    session.names.set(topicId, topicName);
  }

  #acknowledge(line: Line, packet: TopicAck<"PUBACK">): void {
    const { topicId, msgId, returnCode } = packet;
    const asked = this.#answer(line, packet.type, `PUBLISH ${msgId}`);
    if (asked?.type !== "PUBLISH") return;
    if (asked.topicId !== topicId) {
      this.#blame(line, `PUBACK of ${asked.topicId} with the id ${topicId}`);
    }
    if (returnCode === RETURN_CODE.accepted && asked.qos !== 1) {
      this.#blame(line, `PUBACK of a PUBLISH at QoS ${asked.qos}`);
    }
  }

  #register(line: Line, packet: Register): void {
    const { msgId, topicName } = packet;
    if (parseTopicName(topicName) === undefined) {
      this.#blame(line, `REGISTER of "${topicName}", which is no name`);
    }
    if (msgId === 0) this.#blame(line, "REGISTER, msgId 0");
    const session = this.#listener(line, packet.type);
    this.#tell(line, topicName, packet);
    if (session === undefined) return;
    const { register: last } = session;
    if (last !== undefined && last.msgId === msgId) {
      if (!isSame(last, packet, false)) {
        this.#blame(line, `REGISTER ${msgId} again, but not as it was`);
      }
    } else if (last !== undefined && !session.mayRegisterAnew) {
      this.#blame(line, `REGISTER ${msgId} while ${last.msgId} is out`);
    }
    session.register = packet;
    session.mayRegisterAnew = false;
    session.registers.set(msgId, packet);
  }

  #publish(line: Line, packet: Publish): void {
    const { dup, qos, topicIdType, topicId, msgId } = packet;
    if (qos === -1) return this.#blame(line, "PUBLISH at QoS -1");
    if (topicIdType === "reserved") {
      this.#blame(line, "PUBLISH with the reserved topic id type");
    }
    const session = this.#listener(line, packet.type);
    if (session !== undefined && topicIdType === "normal") {
      if (session.refused.has(topicId)) {
        this.#blame(line, `PUBLISH to ${topicId}, whose REGISTER was refused`);
      } else if (!session.known.has(topicId)) {
        this.#blame(
          line,
          `PUBLISH under the id ${topicId}, which was not told`,
        );
      }
    }
    if (qos === 0) {
      if (dup) this.#blame(line, "PUBLISH at QoS 0 with DUP");
      if (msgId !== 0) this.#blame(line, `PUBLISH at QoS 0, msgId ${msgId}`);
      return;
    }
    if (msgId === 0) this.#blame(line, `PUBLISH at QoS ${qos}, msgId 0`);
    if (session !== undefined) this.#deliver(line, session, packet);
  }

  /** §6.6, for a gateway too: one PUBLISH at QoS 1 or 2 at a time. */
  #deliver(line: Line, session: SessionRecord, packet: Publish): void {
    const { dup, msgId } = packet;
    const last = session.flight;
    if (last === undefined || last.packet.msgId !== msgId) {
      if (dup) this.#blame(line, `PUBLISH ${msgId} with DUP at first`);
      if (last !== undefined && !last.isOver && !last.mayEnd) {
        const { packet: { msgId: other } } = last;
        this.#blame(line, `PUBLISH ${msgId} while ${other} is under way`);
      }
      session.flight = {
        packet: { ...packet, data: packet.data.slice() },
        isReceived: false,
        isReleased: false,
        mayRename: false,
        mayEnd: false,
        isOver: false,
      };
      return;
    }
    if (!dup) this.#blame(line, `PUBLISH ${msgId} again without DUP`);
    if (!isSame(last.packet, packet, last.mayRename)) {
      this.#blame(line, `PUBLISH ${msgId} again, but not as it was`);
    }
    if (last.isReleased) this.#blame(line, `PUBLISH ${msgId} after PUBREL`);
    const data = packet.data.slice();
    session.flight = { ...last, packet: { ...packet, data }, isOver: false };
  }

  #release(line: Line, msgId: number): void {
    const flight = this.#listener(line, "PUBREL")?.flight;
    if (flight?.packet.msgId === msgId && flight.isReceived) {
      flight.isReleased = true;
    } else if (line.session !== undefined) {
      this.#blame(line, `PUBREL ${msgId} without PUBREC`);
    }
  }

  #checkGwInfo(gwAdd: Uint8Array): void {
    if (gwAdd.length > 0) this.blame("GWINFO of a gateway with an address");
  }

  /** Who gets what nothing asked for: a client that is connected, and awake. */
  #listener(line: Line, type: MsgType): SessionRecord | undefined {
    const { session } = line;
    if (session === undefined) {
      this.#blame(line, `${type} to who is not connected`);
    } else if (session.state === "asleep" || session.state === "away") {
      this.#blame(line, `${type} to a client that is ${session.state}`);
    }
    return session;
  }

  // What reaches it

  /** A request, which is to be answered. */
  #ask(line: Line, key: string, packet: MqttSnPacket, isDue: boolean): void {
    line.asked.add(key, packet);
    line.lastAsked = key;
    if (isDue) this.due = `${key} of ${line.key}`;
  }

  #handlePing(line: Line, packet: Pingreq): void {
    const { clientId } = packet;
    const isOwn = clientId === "" || line.session?.clientId === clientId;
    const session = isOwn ? line.session : this.#sessions.get(clientId);
    // An awake client waits for its messages first, a stranger may move.
    this.#ask(line, "PINGREQ", packet, isOwn && session?.state === "active");
    if (session === undefined) return;
    if (!isOwn) line.mover = session;
    if (session.state === "active" || session.state === "away") return;
    session.state = "awake";
    this.#loosen(session);
  }

  #handleDisconnect(
    line: Line,
    packet: Extract<MqttSnPacket, { type: "DISCONNECT" }>,
  ): void {
    const { session } = line;
    this.#ask(line, "DISCONNECT", packet, session !== undefined);
    if (session === undefined) return;
    const sleeps = packet.duration !== undefined && packet.duration > 0;
    session.state = sleeps ? "asleep" : "away";
    this.#loosen(session);
    if (sleeps) return;
    session.line = undefined;
    line.session = undefined;
  }

  #handlePuback(line: Line, packet: TopicAck<"PUBACK">): void {
    const { msgId, returnCode } = packet;
    const { session } = line;
    const flight = session?.flight;
    if (session === undefined || flight?.packet.msgId !== msgId) return;
    if (returnCode === RETURN_CODE.accepted) {
      if (flight.packet.qos === 1) flight.isOver = true;
      return;
    }
    if (flight.isOver) return;
    flight.mayEnd = true;
    const isUnknown = returnCode === RETURN_CODE.invalidTopicId ||
      returnCode === RETURN_CODE.notSupported;
    if (!isUnknown || flight.packet.topicIdType !== "normal") {
      flight.mayRename = true;
      return;
    }
    // §6.10: it is registered before it is published to again.
    flight.mayRename = true;
    session.known.delete(flight.packet.topicId);
  }

  #handleRegack(line: Line, packet: TopicAck<"REGACK">): void {
    const { session } = line;
    const register = session?.registers.get(packet.msgId);
    if (session === undefined || register === undefined) return;
    if (packet.returnCode === RETURN_CODE.congestion) {
      session.mayRegisterAnew = true; // it is sent again, or given up
      return;
    }
    session.registers.delete(packet.msgId);
    if (session.register === register) session.register = undefined;
    const { topicId } = register;
    if (packet.returnCode === RETURN_CODE.accepted) {
      session.known.add(topicId);
      session.refused.delete(topicId);
    } else {
      session.refused.add(topicId);
      if (session.flight !== undefined) session.flight.mayEnd = true;
    }
  }

  // Who is where

  #lineAt(key: string): Line {
    let line = this.#lines.get(key);
    if (line === undefined) {
      line = {
        key,
        asked: new Ledger(),
        lastAsked: undefined,
        session: undefined,
        connect: undefined,
        hasWillTopic: false,
        mover: undefined,
      };
      this.#lines.set(key, line);
    }
    return line;
  }

  /** Its CONNECT is accepted. */
  #bind(now: Millis, line: Line): void {
    const { connect } = line;
    if (connect === undefined) return;
    const { clientId, cleanSession } = connect;
    const session = this.#sessions.get(clientId) ?? newSession(clientId);
    this.#sessions.set(clientId, session);
    // It may be the same CONNECT's second answer, and nothing begins with it.
    const isCopy = session.line === line && session.accepted !== undefined &&
      isSame(session.accepted, connect, false) &&
      now - session.acceptedAt <= LATE_MS;
    if (cleanSession) {
      session.names.clear();
      if (!isCopy) {
        session.known.clear();
        session.flight = undefined;
        session.registers.clear();
        session.register = undefined;
      } else if (session.flight !== undefined) session.flight.mayEnd = true;
    }
    session.refused.clear();
    this.#loosen(session);
    session.accepted = connect;
    session.acceptedAt = now;
    session.state = "active";
    this.#place(line, session);
  }

  /** It goes on from another address, as nobody has told it otherwise. */
  #move(line: Line, session: SessionRecord): void {
    line.mover = undefined;
    this.#place(line, session);
  }

  #place(line: Line, session: SessionRecord): void {
    const { session: occupant } = line;
    if (occupant !== undefined && occupant !== session) {
      occupant.line = undefined;
      occupant.state = "away";
    }
    if (session.line !== undefined) session.line.session = undefined;
    session.line = line;
    line.session = session;
  }

  /** What was under way may be given up, or begun anew, from here on. */
  #loosen(session: SessionRecord): void {
    session.mayRegisterAnew = true;
    if (session.flight !== undefined) session.flight.mayRename = true;
  }

  #blame(line: Line, what: string): void {
    this.blame(`to ${line.key}: ${what}`);
  }
}

function newSession(clientId: string): SessionRecord {
  return {
    clientId,
    line: undefined,
    state: "away",
    acceptedAt: 0,
    accepted: undefined,
    names: new Map(),
    known: new Set(),
    refused: new Set(),
    registers: new Map(),
    register: undefined,
    mayRegisterAnew: false,
    flight: undefined,
  };
}
