/**
 * The connections: sessions by client id and by address, how a connection begins,
 * goes on from another address, sleeps, wakes and ends, and the one queue of all their
 * deadlines (MQTT-SN 1.2 §6.2, §6.3, §6.11 to §6.14).
 *
 * A CONNECT that announces a will changes nothing until both parts of the will have
 * come. Until then the broker only prompts for them, and an earlier session of the
 * client, or of the address, goes on. A prompt is sent again only when the client
 * repeats its message. So a forged address is never sent more octets than came from it.
 *
 * @module
 */

import { earliest, type Millis } from "../base/clock.ts";
import { Deadlines } from "../base/deadlines.ts";
import type { Refusal } from "./events.ts";
import { nodePeerOf } from "../wire/forwarder.ts";
import { isLoopback, type Peer, peerOf } from "../base/peer.ts";
import type { Delivery } from "./delivery.ts";
import type { TopicFilter } from "../wire/message.ts";
import type { Settings } from "./options.ts";
import type { Outlet } from "./outlet.ts";
import type { Publications } from "./publications.ts";
import type { Subscriptions } from "./subscriptions.ts";
import type { TopicEntry } from "./topic_ids.ts";
import {
  type Connect,
  type MsgType,
  type Pingreq,
  PROTOCOL_ID,
  RETURN_CODE,
  type WillMsgPacket,
  type WillTopicPacket,
} from "../wire/packets.ts";
import { type Persistence, SessionPersistence } from "./persistence.ts";
import { type Prompt, WillPrompts } from "./will_prompts.ts";
import { LATE_MS } from "../wire/duplicates.ts";
import type { PeerRecord, SessionRecord } from "./records.ts";
import { costOfWill, Session, type SessionHost, type Will } from "./session.ts";
import {
  SESSION_STATES,
  type SessionEvent,
  type SessionState,
} from "./session_states.ts";
import { isSystem, parseTopicName } from "../wire/topics.ts";
import { utf8Length } from "../base/utf8.ts";

/** What connections work with. */
export interface ConnectionsParts {
  /** The broker's settings. */
  readonly settings: Settings;
  /** The way out. */
  readonly outlet: Outlet;
  /** Encodes what clients are sent. */
  readonly delivery: Delivery;
  /** What clients tell of topics. */
  readonly subscriptions: Subscriptions;
  /** What clients publish, wills among it. */
  readonly publications: Publications;
  /** Where sessions are persisted. */
  readonly persistence: Persistence;
}

/**
 * What was counted of connections.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish("lamp", "on", { qos: 1 });
 * assertEquals(broker.stats().mqttsn.connected, 1);
 * ```
 */
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
  /** Prompts for a will that were not answered in time. */
  readonly promptsExpired: number;
  /** Sessions that were forgotten because their client was away for too long. */
  readonly expired: number;
  /** Requests that came twice, and were only answered again. */
  readonly repeated: number;
}

/**
 * Sessions by state.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await client.publish("lamp", "on", { qos: 1 });
 * assertEquals(broker.stats().mqttsn.clients.total, 1);
 * ```
 */
export interface ClientCounts extends Readonly<Record<SessionState, number>> {
  /** All of them. */
  readonly total: number;
  /** The most that there have been at a time. */
  readonly maximum: number;
}

/** The longest client id that is accepted, in octets. */
const MAX_CLIENT_ID = 256;

/** The longest that the specification knows, in characters (§5.3.1). */
const STRICT_CLIENT_ID = 23;

/** How long a client may be away whose place is needed, unless told otherwise. */
const AWAY_MS = 86_400_000;

/** How often in T_retry a client that asks again is sent its messages again. */
const REMINDERS = 10;

/** The connections of one gateway. */
export class Connections implements SessionHost {
  /** See {@linkcode SessionHost}. */
  readonly delivery: Delivery;
  readonly #settings: Settings;
  readonly #outlet: Outlet;
  readonly #subscriptions: Subscriptions;
  readonly #publications: Publications;
  readonly #byClient = new Map<string, Session>();
  readonly #byPeer = new Map<string, Session>();
  /** Sessions whose client is away, the one that has been for longest first. */
  readonly #away = new Set<Session>();
  /** Clients connected, by address. */
  readonly #bySource = new Map<string, number>();
  readonly #prompts: WillPrompts;
  readonly #deadlines = new Deadlines<Session>();
  readonly #persistence: Persistence;
  /** The number of the last session that was kept. */
  #lastNumber = 0;
  readonly #lostBy = { silence: 0, "retries exhausted": 0, displaced: 0 };
  readonly #counts = {
    connected: 0,
    takenOver: 0,
    moved: 0,
    unanswered: 0,
    expired: 0,
    repeated: 0,
  };
  #maximum = 0;

  /**
   * Starts with nobody.
   *
   * @param parts what they work with
   */
  constructor(parts: ConnectionsParts) {
    const { settings } = parts;
    this.#settings = settings;
    this.#persistence = parts.persistence;
    this.#outlet = parts.outlet;
    this.#subscriptions = parts.subscriptions;
    this.#publications = parts.publications;
    this.delivery = parts.delivery;
    const { maxClients: maxPrompts, retryMs, retries, nameBudget } = settings;
    const lifetimeMs = retryMs * (retries + 1);
    this.#prompts = new WillPrompts({ maxPrompts, lifetimeMs, nameBudget });
  }

  /** The session of the client at an address, `undefined` for none. */
  at(peer: Peer): Session | undefined {
    return this.#byPeer.get(peer.key);
  }

  /** The same, and notes what has just been heard of it. */
  hear(now: Millis, peer: Peer, type: MsgType): Session | undefined {
    const session = this.at(peer);
    if (session === undefined) return undefined;
    session.heardAt = now;
    const isOfConnect = type === "CONNECT" || type === "WILLTOPIC" ||
      type === "WILLMSG";
    if (!isOfConnect) session.hasSpoken = true;
    return session;
  }

  /** Whether a peer is being asked for its will. */
  isPrompting(peer: Peer): boolean {
    return this.#prompts.at(peer) !== undefined;
  }

  /** When something is due next, `undefined` for never. */
  nextTimeout(): Millis | undefined {
    return earliest(
      this.#nextExpiry(),
      earliest(this.#deadlines.next, this.#prompts.nextTimeout()),
    );
  }

  /** Does what is due by `now`. */
  handleTimeout(now: Millis): void {
    this.#prompts.handleTimeout(now);
    while ((this.#nextExpiry() ?? Infinity) <= now) this.#expire();
    for (let due; (due = this.#deadlines.take(now)) !== undefined;) {
      this.#handleSessionTimeout(now, due);
    }
  }

  /** Sees to it that a session is looked at when something of it is due. */
  schedule(session: Session): void {
    const at = session.nextTimeout;
    if (at < session.dueAt) this.#deadlines.set(session, at);
  }

  /** See {@linkcode SessionHost}. */
  handleTopicRefused(session: Session, { topicName }: TopicEntry): void {
    // One by wildcards goes on.
    const filter = topicName as string as TopicFilter;
    this.#subscriptions.remove(session.peer!, session, filter);
  }

  /** Takes a CONNECT (§5.4.4). */
  handleConnect(now: Millis, peer: Peer, packet: Connect): void {
    const connect = packet.clientId === "" && this.#settings.allowEmptyClientId
      ? { ...packet, clientId: `auto-${peer.key}` }
      : packet;
    const refusal = this.#refusalOf(now, peer, connect);
    if (refusal !== undefined) return this.#refuse(peer, refusal);

    // The same CONNECT again: its answer was lost, or the network doubled it.
    const prompt = this.#prompts.at(peer);
    if (prompt !== undefined && isSame(prompt.connect, connect)) {
      this.#counts.repeated++;
      return this.#sendPrompt(prompt);
    }
    const session = this.#byClient.get(connect.clientId);
    if (
      session !== undefined && this.#wasJustAccepted(now, session, peer) &&
      isSame(session.connect!, connect)
    ) {
      return this.#acceptAgain(now, session, peer);
    }

    const wakesOnly = this.#settings.connectWakesOnly &&
      (session?.state === "asleep" || session?.state === "awake");
    if (connect.will && !wakesOnly) {
      if (session !== undefined) session.heardAt = now;
      return this.#sendPrompt(this.#prompts.begin(now, peer, connect));
    }
    const isKept = wakesOnly || !connect.cleanSession;
    const will = isKept ? session?.will : undefined;
    this.#accept(now, peer, connect, will, wakesOnly);
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
    const prompt = this.#prompts.at(peer);
    if (prompt === undefined) {
      return will === undefined && this.#repeatConnack(now, peer);
    }
    if (will === undefined) { // no will after all: what was stored goes
      this.#accept(now, peer, prompt.connect, undefined, false);
      return true;
    }
    const { qos, retain } = will;
    const topicName = parseTopicName(will.topicName);
    if (topicName === undefined || isSystem(topicName) || qos === -1) {
      const isNone = topicName === undefined;
      this.#refuse(peer, isNone ? "topicName" : qos === -1 ? "qos" : "system");
      return true;
    }
    if (prompt.topic !== undefined) this.#counts.repeated++;
    const next = this.#prompts.note(now, prompt, { topicName, qos, retain });
    if (next === undefined) this.#refuse(peer, "memory");
    else this.#sendPrompt(next);
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
    const prompt = this.#prompts.at(peer);
    if (prompt === undefined) return this.#repeatConnack(now, peer);
    if (prompt.topic === undefined) return false;
    const will = { ...prompt.topic, payload: data.slice() };
    this.#accept(now, peer, prompt.connect, will, false);
    return true;
  }

  /** Takes a DISCONNECT of a client that is connected (§5.4.21). */
  handleDisconnect(
    now: Millis,
    session: Session,
    duration: number | undefined,
  ): void {
    const peer = session.peer!;
    this.#prompts.end(peer);
    const isSleep = duration !== undefined && duration > 0;
    const answer = { type: "DISCONNECT", duration: undefined } as const;
    // A sleeper relies on what is buffered. And the will of a client that has gone must
    // not be published by a broker that was started anew and does not know that.
    const isPromise = isSleep || session.persistence !== undefined;
    this.#outlet.sendPacket(peer, answer, isPromise);
    if (!isSleep) return this.#end(now, session, "DISCONNECT");
    this.#transition(now, session, "DISCONNECT with Duration");
    session.supervise(now, this.#toleratedMs(duration));
    this.#persist(session);
    this.schedule(session);
  }

  /**
   * Takes back a CONNACK that could not be sent, as the store could not write what it
   * promises. If it was the only CONNACK, the connection ends: the client is refused,
   * not lost, so its will is not published. A client that was only to be woken sleeps
   * on.
   */
  withdraw(now: Millis, peer: Peer): void {
    const session = this.at(peer);
    if (session?.state !== "active" || session.connect === undefined) return;
    const { told, sleptMs } = session.connect;
    session.connect = { ...session.connect, told: told - 1 };
    if (told > 1) return; // another has left, or may leave yet
    if (sleptMs === undefined) return this.#end(now, session, "DISCONNECT");
    this.#transition(now, session, "DISCONNECT with Duration");
    session.supervise(now, sleptMs);
    this.#persist(session);
    this.schedule(session);
  }

  /** Stops asking a peer for its will. */
  endPrompt(peer: Peer): void {
    this.#prompts.end(peer);
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
      if (!this.#settings.allowMove || this.#isCrowded(peer, named)) {
        return false;
      }
      this.#move(now, named, peer);
      session = named;
    }
    if (session === undefined) return false;
    session.heardAt = now;
    switch (session.state) {
      case "asleep":
        session.remindedAt = now;
        this.#transition(now, session, "PINGREQ");
        this.settle(now, session);
        break;
      case "awake":
        // It asks again: what it was sent may be lost, and it may not listen
        // for as long as the next retry takes.
        this.#counts.repeated++;
        this.#remind(now, session);
        this.settle(now, session);
        break;
      default:
        this.#outlet.sendPacket(peer, { type: "PINGRESP" });
    }
    this.schedule(session);
    return true;
  }

  /** Sends again what is unanswered, but for a PINGREQ that came twice. */
  #remind(now: Millis, session: Session): void {
    if (now - session.remindedAt < this.#settings.retryMs / REMINDERS) return;
    session.remindedAt = now;
    session.outbox.remind(now);
  }

  /** Lets an awake client sleep on when all has been delivered (§6.14). */
  settle(now: Millis, session: Session): void {
    if (session.state === "awake" && session.outbox.isFlushed) {
      this.#transition(now, session, "delivered");
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
      promptsExpired: this.#prompts.expired,
      lostBy: { ...this.#lostBy },
    };
  }

  #refusalOf(now: Millis, peer: Peer, packet: Connect): Refusal | undefined {
    const { protocolId, clientId, duration } = packet;
    const { strict, requireKeepAlive } = this.#settings;
    if (protocolId !== PROTOCOL_ID) return "protocolId"; // §5.3.8
    if (
      clientId === "" || utf8Length(clientId) > MAX_CLIENT_ID ||
      clientId.includes("\0")
    ) {
      return "clientId";
    }
    if (strict && [...clientId].length > STRICT_CLIENT_ID) return "clientId";
    if (duration === 0 && requireKeepAlive) return "keepAlive";
    const session = this.#byClient.get(clientId);
    if (!this.#persistence.mayPromise) {
      // To forget a persisted session is a promise too.
      if (!packet.cleanSession || session?.persistence !== undefined) {
        return "store";
      }
    }
    const hasPlace = session !== undefined || !this.#isFull() ||
      this.#expired(now) !== undefined;
    return hasPlace && !this.#isCrowded(peer, session) ? undefined : "clients";
  }

  #isFull(): boolean {
    return this.#byClient.size >= this.#settings.maxClients;
  }

  /** When the session that has been away for longest goes by itself. */
  #nextExpiry(): Millis | undefined {
    const { sessionExpiryMs = Infinity } = this.#settings;
    if (sessionExpiryMs === Infinity) return undefined;
    for (const { leftAt } of this.#away) return leftAt + sessionExpiryMs;
    return undefined;
  }

  /** Lets the session go that has been away for longest. */
  #expire(): void {
    for (const session of this.#away) {
      const { clientId } = session;
      this.#counts.expired++;
      this.#outlet.trace({ type: "expire", clientId });
      return this.#remove(session);
    }
  }

  /** The session that may go for a new client, `undefined` for none. */
  #expired(now: Millis): Session | undefined {
    const [oldest] = this.#away;
    const { sessionExpiryMs = AWAY_MS } = this.#settings;
    return oldest !== undefined && now - oldest.leftAt >= sessionExpiryMs
      ? oldest
      : undefined;
  }

  /** Whether as many other clients as are allowed come from a peer's address. */
  #isCrowded(peer: Peer, session: Session | undefined): boolean {
    const { hostname } = peer;
    if (isLoopback(peer) || session?.peer?.hostname === hostname) return false;
    // A client at the very same address is displaced, so it does not count.
    const others = (this.#bySource.get(hostname) ?? 0) -
      (this.at(peer) === undefined ? 0 : 1);
    return others >= this.#settings.maxClientsPerSource;
  }

  #wasJustAccepted(now: Millis, session: Session, peer: Peer): boolean {
    if (session.state !== "active" || session.peer?.key !== peer.key) {
      return false;
    }
    // A client that has gone on from there has its answer: then only the network
    // sends the same again, and soon, or it has started anew.
    const { retryMs } = this.#settings;
    const window = session.hasSpoken ? Math.min(retryMs, LATE_MS) : retryMs;
    return session.connect !== undefined && now - session.connect.at < window;
  }

  /**
   * Answers a repeated part of a will by CONNACK, however long ago the CONNECT was
   * accepted: the client has missed the first CONNACK.
   */
  #repeatConnack(now: Millis, peer: Peer): boolean {
    const session = this.at(peer);
    if (session?.state !== "active" || !session.connect?.will) return false;
    // The session may not be committed yet.
    const isKept = session.persistence?.mayPromise ?? true;
    if (isKept) this.#acceptAgain(now, session, peer);
    else this.#refuse(peer, "store");
    return true;
  }

  /** Sends CONNACK for the same CONNECT again. */
  #acceptAgain(now: Millis, session: Session, peer: Peer): void {
    this.#counts.repeated++;
    const connect = session.connect!;
    // A client that has sent nothing else is repeating CONNECT: copies may follow.
    const at = session.hasSpoken ? connect.at : now;
    session.connect = { ...connect, at, told: connect.told + 1 };
    this.#sendConnack(peer, RETURN_CODE.accepted);
  }

  #accept(
    now: Millis,
    peer: Peer,
    packet: Connect,
    will: Will | undefined,
    wakesOnly: boolean,
  ): void {
    const { clientId, cleanSession, duration } = packet;
    // The table, or the memory, may have become full since the client was prompted.
    const refusal = this.#refusalOf(now, peer, packet) ??
      (this.#hasRoomFor(packet, will) ? undefined : "memory");
    if (refusal !== undefined) return this.#refuse(peer, refusal);
    this.#prompts.end(peer);
    const occupant = this.at(peer);
    const session = this.#byClient.get(clientId) ??
      this.#begin(now, clientId);
    if (session.peer !== undefined && session.peer.key !== peer.key) {
      this.#counts.takenOver++;
      this.#outlet.sendPacket(session.peer, {
        type: "DISCONNECT",
        duration: undefined,
      });
    }
    this.#detach(session);
    // §6.3: what is known of the client is forgotten, or else kept; but even
    // then it may itself have forgotten its topic ids.
    if (cleanSession && !wakesOnly) this.#forget(session);
    else session.forgetTopicIds();
    session.isClean = wakesOnly ? session.isClean : cleanSession;
    session.setWill(will);
    session.lastSubscribe = undefined;
    session.hasSpoken = false;
    session.connect = {
      clientId,
      will: packet.will,
      cleanSession,
      duration,
      at: now,
      told: 1,
      sleptMs: wakesOnly ? session.allowedMs : undefined,
    };
    this.#attach(session, peer);
    this.#transition(now, session, "CONNECT");
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
    this.#persist(session);
    session.outbox.open(now);
    this.schedule(session);
    // Another client that had the address cannot be there any more.
    if (occupant !== undefined && occupant !== session) {
      this.#lose(now, occupant, "displaced");
    }
  }

  /** Whether a client's share, and the whole, has room for its will. */
  #hasRoomFor(packet: Connect, will: Will | undefined): boolean {
    const { maxNameOctets, nameBudget } = this.#settings;
    const { clientId, cleanSession } = packet;
    const session = this.#byClient.get(clientId);
    const rest = session === undefined || cleanSession
      ? 0
      : session.nameOctets - costOfWill(session.will);
    const cost = costOfWill(will);
    return rest + cost <= maxNameOctets &&
      (will === undefined || nameBudget.allows(cost));
  }

  #begin(now: Millis, clientId: string): Session {
    if (this.#isFull() && this.#expired(now) !== undefined) this.#expire();
    return this.#add(clientId);
  }

  #add(clientId: string): Session {
    const session = new Session(clientId, this.#settings, this);
    this.#byClient.set(clientId, session);
    this.#maximum = Math.max(this.#maximum, this.#byClient.size);
    return session;
  }

  /** Persists a session, if it is to outlive the process. */
  #persist(session: Session): void {
    if (session.persistence !== undefined) return session.persist();
    if (!this.#persistence.isOn || !session.isToBePersisted) return;
    session.beginPersistence(
      new SessionPersistence(this.#persistence, ++this.#lastNumber),
    );
  }

  /**
   * Restores a session from the store; limits do not apply. Its parts follow.
   *
   * @param will its will, if it has one
   * @returns `undefined` when the client has a session already
   */
  restore(
    now: Millis,
    record: SessionRecord,
    will: Will | undefined,
  ): Session | undefined {
    const { session: number, clientId, peer } = record;
    if (this.#byClient.has(clientId)) return undefined;
    this.#lastNumber = Math.max(this.#lastNumber, number);
    const session = this.#add(clientId);
    const persistence = new SessionPersistence(this.#persistence, number);
    session.restore(now, record, persistence, will);
    if (peer === undefined) this.#away.add(session);
    else this.#attach(session, peerFrom(peer));
    return session;
  }

  /** Goes on with the clients that were connected, once all sessions are restored. */
  handleRestored(now: Millis): void {
    for (const session of this.#byClient.values()) {
      session.heardAt = now; // before that no client could be heard
      if (session.state === "active") session.outbox.open(now);
      this.schedule(session);
    }
  }

  /** A client goes on from another address, as behind a NAT. */
  #move(now: Millis, session: Session, peer: Peer): void {
    const occupant = this.at(peer);
    const from = session.peer!;
    this.#prompts.end(peer);
    this.#uncount(from);
    this.#byPeer.delete(from.key);
    this.#attach(session, peer);
    this.#counts.moved++;
    this.#persist(session);
    const { clientId } = session;
    this.#outlet.trace({ type: "move", clientId, from, peer });
    // What is unacknowledged went to the old address.
    session.hasSpoken = true;
    this.#remind(now, session);
    if (occupant !== undefined) this.#lose(now, occupant, "displaced");
  }

  #handleSessionTimeout(now: Millis, session: Session): void {
    session.outbox.expire(now);
    if (!session.isConnected && session.isBlank) return this.#remove(session);
    if (session.isSilent(now)) return this.#lose(now, session, "silence");
    if (!session.outbox.handleTimeout(now)) {
      if (session.state !== "awake") {
        return this.#lose(now, session, "retries exhausted");
      }
      // It is asleep again, and its messages wait until it wakes.
      this.#transition(now, session, "retries exhausted");
      session.heardAt = now;
      this.#counts.unanswered++;
    }
    this.settle(now, session);
  }

  /** A client is lost: its will is published (§6.14). */
  #lose(
    now: Millis,
    session: Session,
    event: "silence" | "retries exhausted" | "displaced",
  ): void {
    this.#lostBy[event]++;
    this.#end(now, session, event);
  }

  /** Ends a connection, and the session too if it is clean or empty. */
  #end(
    now: Millis,
    session: Session,
    event: "DISCONNECT" | "silence" | "retries exhausted" | "displaced",
  ): void {
    this.#transition(now, session, event);
    if (session.state === "lost") this.#publications.publishWill(now, session);
    this.#deadlines.delete(session);
    if (session.isClean || session.isBlank) return this.#remove(session);
    session.leftAt = now;
    this.#away.add(session);
    this.#persist(session);
    this.schedule(session);
  }

  #remove(session: Session): void {
    this.#deadlines.delete(session);
    this.#forget(session);
    this.#away.delete(session);
    this.#byClient.delete(session.clientId);
  }

  /** A client is reached here from now on. */
  #attach(session: Session, peer: Peer): void {
    this.#away.delete(session);
    this.#byPeer.set(peer.key, session);
    session.peer = peer;
    const { hostname } = peer;
    this.#bySource.set(hostname, (this.#bySource.get(hostname) ?? 0) + 1);
  }

  /** A client has no address from here on. */
  #detach(session: Session): void {
    const { peer } = session;
    session.peer = undefined;
    if (peer === undefined) return;
    this.#uncount(peer);
    // Another one may have the address already.
    if (this.at(peer) === session) this.#byPeer.delete(peer.key);
  }

  #uncount({ hostname }: Peer): void {
    const left = this.#bySource.get(hostname)! - 1;
    if (left === 0) this.#bySource.delete(hostname);
    else this.#bySource.set(hostname, left);
  }

  #forget(session: Session): void {
    session.endPersistence();
    this.#subscriptions.clear(session);
  }

  /**
   * Lets an event happen to a client, and does what the new state asks for: this is
   * the only place where a connection begins to take messages, or ceases to exist.
   */
  #transition(now: Millis, session: Session, event: SessionEvent): void {
    const state = session.apply(event);
    const { clientId } = session;
    // What CONNECT leads to is told together with what it asked for.
    if (event !== "CONNECT") {
      this.#outlet.trace({ type: "state", clientId, event, state });
    }
    switch (state) {
      case "active": // its messages follow CONNACK
      case "asleep":
        return;
      case "awake":
        return session.outbox.openForAwakening(now);
      case "disconnected":
      case "lost":
        return this.#detach(session);
      default:
        state satisfies never;
    }
  }

  #refuse(peer: Peer, reason: Refusal): void {
    this.#prompts.end(peer);
    this.#sendConnack(peer, this.#outlet.refuse(peer, reason));
  }

  #sendConnack(peer: Peer, returnCode: number): void {
    this.#outlet.sendPacket(peer, { type: "CONNACK", returnCode });
  }

  /** Asks for the part of the will that is missing. */
  #sendPrompt({ peer, topic }: Prompt): void {
    const type = topic === undefined ? "WILLTOPICREQ" : "WILLMSGREQ";
    this.#outlet.sendPacket(peer, { type });
  }

  /** §7.2: a little more than was asked for, as datagrams may be late. */
  #toleratedMs(duration: number): Millis {
    const { tolerance } = this.#settings;
    return Math.round(duration * 1_000 * (duration > 60 ? tolerance : 1.5));
  }
}

/** Where a client was when that was kept. */
function peerFrom({ hostname, port, wirelessNodeId }: PeerRecord): Peer {
  const peer = peerOf(hostname, port);
  return wirelessNodeId === undefined
    ? peer
    : nodePeerOf(peer, { wirelessNodeId });
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
