/**
 * Who is connected: sessions by client id and by address, how a connection
 * begins, goes on from another address, sleeps, wakes and ends, and the one queue
 * of all their deadlines (MQTT-SN 1.2 §6.2, §6.3, §6.11 to §6.14). Knows nothing
 * of topics; a will's is handed on as it came.
 *
 * A CONNECT that announces a will changes nothing until both parts of the will
 * have come: until then it is a prompt, and whatever session the client or the
 * address had goes on. Prompts are not sent again by themselves but when the
 * client repeats itself: so nobody is sent more than he asked with before he has
 * shown that he receives it.
 *
 * @module
 */

import type { Millis } from "./clock.ts";
import { Deadlines, type Timed } from "./deadlines.ts";
import type { Refusal } from "./events.ts";
import type { Exchange } from "./exchange.ts";
import type { Peer } from "./message.ts";
import type { Outlet } from "./outlet.ts";
import {
  type Connect,
  type Pingreq,
  PROTOCOL_ID,
  RETURN_CODE,
  type WillMsgPacket,
  type WillTopicPacket,
} from "./packet.ts";
import {
  Session,
  SESSION_STATES,
  type SessionEvent,
  type SessionHost,
  type SessionLimits,
  type SessionState,
  type Will,
} from "./session.ts";
import { parseTopicName } from "./topics.ts";
import { utf8Length } from "./utf8.ts";

/** How connections are treated. */
export interface ConnectionOptions extends SessionLimits {
  /** Sessions, kept ones included, and as many prompts; 1 or more. */
  readonly maxClients: number;
  /**
   * What a keep alive or a sleep of more than a minute is multiplied by before
   * a client is lost; 1 to 10. For a minute or less it is 1.5 (§7.2).
   */
  readonly tolerance: number;
  /** Whether rules that are usually overlooked are held. */
  readonly strict: boolean;
  /** Whether a client without a client id is given one. */
  readonly allowEmptyClientId: boolean;
  /** Whether a CONNECT without keep alive is refused. */
  readonly requireKeepAlive: boolean;
  /** Whether CONNECT only wakes a sleeping client, whatever its flags. */
  readonly connectWakesOnly: boolean;
  /** Whether a PINGREQ with its client id moves a client to a new address. */
  readonly allowMove: boolean;
}

/** What connections ask of the gateway. */
export interface ConnectionHost extends SessionHost {
  /** Publishes the will of a client that was lost. */
  publishWill(now: Millis, session: Session): void;
}

/** What was counted of connections. */
export interface ConnectionStats {
  /** Sessions now. */
  readonly clients: ClientCounts;
  /** Clients that are being asked for their will now. */
  readonly prompts: number;
  /** Messages that wait for clients now. */
  readonly queued: number;
  /** CONNECTs accepted. */
  readonly connected: number;
  /** Of those, ones that came from another address than the session had. */
  readonly takenOver: number;
  /** Clients that went on from another address without a CONNECT. */
  readonly moved: number;
  /** Clients lost, by what happened. */
  readonly lostBy: Readonly<
    Record<"silence" | "retries exhausted" | "displaced", number>
  >;
  /** Times that an awake client left a message unanswered. */
  readonly unanswered: number;
  /** Prompts that were not answered in time. */
  readonly promptsExpired: number;
  /** Requests that came twice and were answered again, nothing else. */
  readonly repeated: number;
}

/** Sessions by state. */
export interface ClientCounts extends Readonly<Record<SessionState, number>> {
  /** All of them. */
  readonly total: number;
  /** The most that there have been at a time. */
  readonly maximum: number;
}

/** A client that is being asked for its will. */
interface Prompt extends Timed {
  readonly peer: Peer;
  readonly packet: Connect;
  /** Where the will goes; `undefined` until that is known. */
  topic: Omit<Will, "payload"> | undefined;
}

/** The longest client id that is accepted, in octets. */
const MAX_CLIENT_ID = 256;

/** The longest that the specification knows, in characters (§5.3.1). */
const STRICT_CLIENT_ID = 23;

/** The connections of one gateway. */
export class Connections {
  readonly #options: ConnectionOptions;
  readonly #outlet: Outlet;
  readonly #exchange: Exchange;
  readonly #host: ConnectionHost;
  readonly #byClient = new Map<string, Session>();
  readonly #byPeer = new Map<string, Session>();
  readonly #prompts = new Map<string, Prompt>();
  readonly #deadlines = new Deadlines<Session | Prompt>();
  readonly #lostBy = { silence: 0, "retries exhausted": 0, displaced: 0 };
  readonly #counts = {
    connected: 0,
    takenOver: 0,
    moved: 0,
    unanswered: 0,
    promptsExpired: 0,
    repeated: 0,
  };
  #maximum = 0;

  /**
   * Starts with nobody.
   *
   * @param options how connections are treated
   * @param outlet the way out
   * @param exchange where sessions have their subscriptions
   * @param host the gateway
   */
  constructor(
    options: ConnectionOptions,
    outlet: Outlet,
    exchange: Exchange,
    host: ConnectionHost,
  ) {
    this.#options = options;
    this.#outlet = outlet;
    this.#exchange = exchange;
    this.#host = host;
  }

  /** The session of the client at an address, `undefined` for none. */
  at(peer: Peer): Session | undefined {
    return this.#byPeer.get(peer.key);
  }

  /** Whether a peer is connected or about to be: MQTT-SN is what it speaks. */
  knows(peer: Peer): boolean {
    return this.#byPeer.has(peer.key) || this.#prompts.has(peer.key);
  }

  /** When something is due next, `undefined` for never. */
  nextTimeout(): Millis | undefined {
    return this.#deadlines.next;
  }

  /** Does what is due by `now`. */
  handleTimeout(now: Millis): void {
    for (let due; (due = this.#deadlines.take(now)) !== undefined;) {
      if (due instanceof Session) this.#handleSessionTimeout(now, due);
      else {
        this.#prompts.delete(due.peer.key);
        this.#counts.promptsExpired++;
      }
    }
  }

  /** Sees to it that a session is looked at when something of it is due. */
  schedule(session: Session): void {
    const at = session.nextTimeout;
    if (at < session.dueAt) this.#deadlines.set(session, at);
  }

  /** Counts a request that came twice and is answered again. */
  countRepeated(): void {
    this.#counts.repeated++;
  }

  /** Takes a CONNECT (§5.4.4). */
  handleConnect(now: Millis, peer: Peer, packet: Connect): void {
    const refusal = this.#refusalOf(peer, packet);
    if (refusal !== undefined) {
      this.#endPrompt(peer);
      return this.#sendConnack(peer, this.#outlet.refuse(peer, refusal));
    }
    const connect = packet.clientId === ""
      ? { ...packet, clientId: `auto-${peer.key}` }
      : packet;
    const { clientId } = connect;

    // The same CONNECT again: its answer was lost, or the network doubled it.
    const prompt = this.#prompts.get(peer.key);
    if (prompt !== undefined && isSame(prompt.packet, connect)) {
      this.#counts.repeated++;
      return this.#sendPrompt(prompt);
    }
    const session = this.#byClient.get(clientId);
    if (session !== undefined && this.#wasJustAccepted(now, session, peer)) {
      if (isSame(session.connect!, connect)) {
        this.#counts.repeated++;
        return this.#sendConnack(peer, RETURN_CODE.accepted);
      }
    }

    const wakesOnly = this.#options.connectWakesOnly &&
      (session?.state === "asleep" || session?.state === "awake");
    if (!connect.will || wakesOnly) {
      this.#endPrompt(peer);
      const { will } = connect.cleanSession && !wakesOnly
        ? { will: undefined }
        : { will: session?.will };
      return this.#accept(now, peer, connect, will, wakesOnly);
    }
    this.#endPrompt(peer);
    const next: Prompt = {
      peer,
      packet: connect,
      topic: undefined,
      dueAt: Infinity,
      dueIndex: -1,
    };
    this.#prompts.set(peer.key, next);
    this.#sendPrompt(next);
    this.#awaitAnswer(now, next);
  }

  /**
   * Takes a WILLTOPIC (§5.4.7).
   *
   * @returns whether it was asked for
   */
  handleWillTopic(
    now: Millis,
    peer: Peer,
    { will }: WillTopicPacket<"WILLTOPIC">,
  ): boolean {
    const prompt = this.#prompts.get(peer.key);
    if (prompt === undefined) {
      return will === undefined && this.#repeatConnack(now, peer);
    }
    if (will === undefined) { // no will after all: what was stored goes
      this.#endPrompt(peer);
      this.#accept(now, peer, prompt.packet, undefined, false);
      return true;
    }
    const topicName = parseTopicName(will.topicName);
    const refusal = topicName === undefined
      ? "topicName"
      : will.qos === -1
      ? "qos"
      : undefined;
    if (refusal !== undefined) {
      this.#endPrompt(peer);
      this.#sendConnack(peer, this.#outlet.refuse(peer, refusal));
      return true;
    }
    if (prompt.topic !== undefined) this.#counts.repeated++;
    const qos = will.qos === -1 ? 0 : will.qos;
    prompt.topic = { topicName, qos, retain: will.retain };
    this.#sendPrompt(prompt);
    this.#awaitAnswer(now, prompt);
    return true;
  }

  /**
   * Takes a WILLMSG (§5.4.9).
   *
   * @returns whether it was asked for
   */
  handleWillMsg(
    now: Millis,
    peer: Peer,
    { data }: WillMsgPacket<"WILLMSG">,
  ): boolean {
    const prompt = this.#prompts.get(peer.key);
    if (prompt === undefined) return this.#repeatConnack(now, peer);
    if (prompt.topic === undefined) return false;
    this.#endPrompt(peer);
    const will = { ...prompt.topic, payload: data.slice() };
    this.#accept(now, peer, prompt.packet, will, false);
    return true;
  }

  /** Takes a DISCONNECT of a client that is connected (§5.4.21). */
  handleDisconnect(
    now: Millis,
    peer: Peer,
    session: Session,
    duration: number | undefined,
  ): void {
    this.#endPrompt(peer);
    this.#outlet.sendPacket(peer, { type: "DISCONNECT", duration: undefined });
    if (duration !== undefined && duration > 0) {
      session.outbox.close();
      this.#apply(session, "DISCONNECT with Duration");
      session.supervise(now, this.#toleratedMs(duration));
      return this.schedule(session);
    }
    this.#apply(session, "DISCONNECT");
    this.#leave(session);
  }

  /**
   * Takes a DISCONNECT of a peer that is not connected.
   *
   * @returns whether it was about to be, and is no more
   */
  handleEarlyDisconnect(peer: Peer): boolean {
    return this.#endPrompt(peer);
  }

  /**
   * Takes a PINGREQ (§5.4.19): a sign of life, or of waking up.
   *
   * @returns false when nobody is connected who could have sent it
   */
  handlePingreq(now: Millis, peer: Peer, { clientId }: Pingreq): boolean {
    let session = this.at(peer);
    if (clientId !== "" && session?.clientId !== clientId) {
      const named = this.#byClient.get(clientId);
      if (named === undefined || !named.isConnected) return false;
      if (!this.#options.allowMove) return false;
      this.#move(now, named, peer);
      session = named;
    }
    if (session === undefined) return false;
    session.heardAt = now;
    switch (session.state) {
      case "asleep":
        this.#apply(session, "PINGREQ");
        session.outbox.openForAwakening(now);
        this.settle(now, session);
        break;
      case "awake": // it asks again: its messages are on their way
        this.#counts.repeated++;
        break;
      default:
        this.#outlet.sendPacket(peer, { type: "PINGRESP" });
    }
    this.schedule(session);
    return true;
  }

  /** Lets an awake client sleep on when all has been delivered (§6.14). */
  settle(now: Millis, session: Session): void {
    if (session.state === "awake" && session.outbox.isFlushed) {
      session.outbox.close();
      this.#apply(session, "delivered");
      session.heardAt = now;
      this.#outlet.sendPacket(session.peer!, { type: "PINGRESP" });
    }
    this.schedule(session);
  }

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): ConnectionStats {
    const states = {} as Record<SessionState, number>;
    for (const state of SESSION_STATES) states[state] = 0;
    let queued = 0;
    for (const { state, outbox } of this.#byClient.values()) {
      states[state]++;
      queued += outbox.size;
    }
    const total = this.#byClient.size;
    return {
      clients: { ...states, total, maximum: this.#maximum },
      prompts: this.#prompts.size,
      queued,
      ...this.#counts,
      lostBy: { ...this.#lostBy },
    };
  }

  #refusalOf(peer: Peer, packet: Connect): Refusal | undefined {
    const { protocolId, clientId, duration } = packet;
    const { strict, allowEmptyClientId, requireKeepAlive, maxClients } =
      this.#options;
    if (protocolId !== PROTOCOL_ID) return "protocolId"; // §5.3.8
    if (clientId === "" && !allowEmptyClientId) return "clientId";
    if (utf8Length(clientId) > MAX_CLIENT_ID || clientId.includes("\0")) {
      return "clientId";
    }
    if (strict && [...clientId].length > STRICT_CLIENT_ID) return "clientId";
    if (duration === 0 && requireKeepAlive) return "keepAlive";
    const others = this.#prompts.size - (this.#prompts.has(peer.key) ? 1 : 0);
    const isNew = !this.#byClient.has(clientId);
    const taken = others + (isNew ? this.#byClient.size : 0);
    return taken >= maxClients ? "clients" : undefined;
  }

  #wasJustAccepted(now: Millis, session: Session, peer: Peer): boolean {
    return session.state === "active" && session.peer?.key === peer.key &&
      session.connect !== undefined &&
      now - session.connect.at < this.#options.retryMs;
  }

  /** Says again that a CONNECT with a will was accepted, if it just was. */
  #repeatConnack(now: Millis, peer: Peer): boolean {
    const session = this.at(peer);
    if (session === undefined || !this.#wasJustAccepted(now, session, peer)) {
      return false;
    }
    if (!session.connect!.will) return false;
    this.#counts.repeated++;
    this.#sendConnack(peer, RETURN_CODE.accepted);
    return true;
  }

  #accept(
    now: Millis,
    peer: Peer,
    packet: Connect,
    will: Will | undefined,
    wakesOnly: boolean,
  ): void {
    const { clientId, cleanSession, duration } = packet;
    const occupant = this.at(peer);
    if (occupant !== undefined && occupant.clientId !== clientId) {
      this.#lose(now, occupant, "displaced");
    }
    const session = this.#byClient.get(clientId) ?? this.#begin(clientId);
    if (session.peer !== undefined && session.peer.key !== peer.key) {
      this.#counts.takenOver++;
      this.#outlet.sendPacket(session.peer, {
        type: "DISCONNECT",
        duration: undefined,
      });
      this.#byPeer.delete(session.peer.key);
    }
    session.outbox.close();
    // §6.3: what is known of the client is forgotten, or else kept; but even
    // then it may itself have forgotten its topic ids.
    if (cleanSession && !wakesOnly) this.#forget(session);
    else session.forgetTopicIds();
    session.isClean = wakesOnly ? session.isClean : cleanSession;
    session.will = will;
    session.lastSubscribe = undefined;
    session.connect = {
      clientId,
      will: packet.will,
      cleanSession,
      duration,
      at: now,
    };
    session.peer = peer;
    this.#byPeer.set(peer.key, session);
    session.apply("CONNECT");
    session.supervise(now, this.#toleratedMs(duration));
    this.#counts.connected++;
    this.#outlet.trace({
      type: "connect",
      peer,
      clientId,
      cleanSession,
      duration,
    });
    this.#sendConnack(peer, RETURN_CODE.accepted);
    session.outbox.open(now);
    this.schedule(session);
  }

  #begin(clientId: string): Session {
    const session = new Session(clientId, this.#options, this.#host);
    this.#byClient.set(clientId, session);
    this.#maximum = Math.max(this.#maximum, this.#byClient.size);
    return session;
  }

  /** A client goes on from another address, as NAT may have it. */
  #move(now: Millis, session: Session, peer: Peer): void {
    const occupant = this.at(peer);
    if (occupant !== undefined) this.#lose(now, occupant, "displaced");
    const from = session.peer!;
    this.#byPeer.delete(from.key);
    this.#byPeer.set(peer.key, session);
    session.peer = peer;
    this.#counts.moved++;
    const { clientId } = session;
    this.#outlet.trace({ type: "move", clientId, from, peer });
  }

  #handleSessionTimeout(now: Millis, session: Session): void {
    if (session.isSilent(now)) return this.#lose(now, session, "silence");
    if (!session.outbox.handleTimeout(now)) {
      if (session.state !== "awake") {
        return this.#lose(now, session, "retries exhausted");
      }
      // It is supervised as a sleeper again: its messages wait for its return.
      session.outbox.close();
      this.#apply(session, "retries exhausted");
      session.heardAt = now;
      this.#counts.unanswered++;
    }
    this.settle(now, session);
  }

  /** A client is gone without a word: its will is published (§6.14). */
  #lose(
    now: Millis,
    session: Session,
    event: "silence" | "retries exhausted" | "displaced",
  ): void {
    this.#apply(session, event);
    this.#lostBy[event]++;
    this.#byPeer.delete(session.peer!.key);
    session.peer = undefined;
    session.outbox.close();
    this.#host.publishWill(now, session);
    this.#leave(session);
  }

  /** A connection is over; its session too, unless it is to be kept. */
  #leave(session: Session): void {
    if (session.peer !== undefined) this.#byPeer.delete(session.peer.key);
    session.peer = undefined;
    session.outbox.close();
    this.#deadlines.delete(session);
    if (!session.isClean) return;
    this.#forget(session);
    this.#byClient.delete(session.clientId);
  }

  #forget(session: Session): void {
    for (const filter of session.subscriptions.keys()) {
      this.#exchange.unsubscribe(filter, session);
    }
    session.clear();
  }

  #apply(session: Session, event: SessionEvent): void {
    session.apply(event);
    const { clientId, state } = session;
    this.#outlet.trace({ type: "state", clientId, event, state });
  }

  #sendConnack(peer: Peer, returnCode: number): void {
    this.#outlet.sendPacket(peer, { type: "CONNACK", returnCode });
  }

  /** Asks for the part of the will that is missing. */
  #sendPrompt({ peer, topic }: Prompt): void {
    const type = topic === undefined ? "WILLTOPICREQ" : "WILLMSGREQ";
    this.#outlet.sendPacket(peer, { type });
  }

  #awaitAnswer(now: Millis, prompt: Prompt): void {
    const { retryMs, retries } = this.#options;
    this.#deadlines.set(prompt, now + retryMs * (retries + 1));
  }

  #endPrompt(peer: Peer): boolean {
    const prompt = this.#prompts.get(peer.key);
    if (prompt === undefined) return false;
    this.#deadlines.delete(prompt);
    return this.#prompts.delete(peer.key);
  }

  /** §7.2: a little more than was asked for, as datagrams may be late. */
  #toleratedMs(duration: number): Millis {
    const { tolerance } = this.#options;
    return duration * 1_000 * (duration > 60 ? tolerance : 1.5);
  }
}

/** Whether two CONNECTs ask for the same thing for the same client. */
function isSame(
  one: Pick<Connect, "clientId" | "will" | "cleanSession" | "duration">,
  other: Connect,
): boolean {
  return one.clientId === other.clientId && one.will === other.will &&
    one.cleanSession === other.cleanSession &&
    one.duration === other.duration;
}
