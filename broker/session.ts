/**
 * One client as the gateway knows it: its state, what supervises it, its will, its
 * subscriptions, and the QoS 2 messages that it has begun to send.
 *
 * A session begins with the first CONNECT of a client id. What happens to it then is
 * one of the events of `broker/session_states.ts`. It has two kinds of deadline: the
 * silence that is allowed, and the retry of what is under way (`broker/outbox.ts`).
 * The silence depends on the state: an active client has its keep alive, a sleeping
 * one the duration of its sleep, each with tolerance. An awake client is supervised
 * by the retries alone, a disconnected or lost one by nothing.
 *
 * @module
 */

import { MemoryBudget } from "./memory_budget.ts";
import type { Millis } from "../base/clock.ts";
import type { Timed } from "../base/deadlines.ts";
import type { Recipient } from "./exchange.ts";
import type {
  DeliveryQos,
  Message,
  TopicFilter,
  TopicName,
} from "../wire/message.ts";
import type { Settings } from "./options.ts";
import type { Peer } from "../base/peer.ts";
import { isNodePeer } from "../wire/forwarder.ts";
import { Outbox } from "./outbox.ts";
import type {
  OutboxClient,
  OutboxLimits,
  PublishHeader,
} from "./outbox_client.ts";
import type { Delivery } from "./delivery.ts";
import {
  type SessionEvent,
  type SessionState,
  TRANSITIONS,
} from "./session_states.ts";
import type { LossReason } from "./events.ts";
import { LocalProtocolError } from "../base/errors.ts";
import type { SessionPersistence } from "./persistence.ts";
import { DuplicateFilter } from "../wire/duplicates.ts";
import type { PeerRecord, ReceivedRecord, SessionRecord } from "./records.ts";
import type { RetainedSubscription } from "./retained_delivery.ts";
import type { TokenBucket } from "./rate_limit.ts";
import { type TopicEntry, type TopicIdLimits, TopicIds } from "./topic_ids.ts";
import { hasWildcard } from "../wire/topics.ts";

/** A client's last will. */
export interface Will {
  /** Where to; a will without a topic is never published (§6.4). */
  readonly topicName: TopicName | undefined;
  /** At which QoS. */
  readonly qos: DeliveryQos;
  /** Whether it is retained. */
  readonly retain: boolean;
  /** What. */
  readonly payload: Uint8Array;
}

/** How a client subscribed to something. */
export interface Grant {
  /** The QoS granted. */
  readonly qos: DeliveryQos;
}

/** The limits of a session. */
export type SessionLimits =
  & OutboxLimits
  & TopicIdLimits
  & Pick<Settings, "maxNameOctets">;

/** What a session asks of the connections that it is one of. */
export interface SessionHost {
  /** Encodes and sends. */
  readonly delivery: Pick<
    Delivery,
    | "sendPublish"
    | "sendPublishQos0"
    | "sendRegister"
    | "sendPubrel"
    | "handleRetry"
    | "handleLoss"
  >;
  /** Sees to it that a session is looked at when something of it is due. */
  schedule(session: Session): void;
  /** Ends a subscription that its client has no place for (§6.10). */
  handleTopicRefused(session: Session, entry: TopicEntry): void;
}

/** What a CONNECT asked for, to know it again when it comes twice. */
export interface ConnectRecord {
  /** Who it was for. */
  readonly clientId: string;
  /** Whether a will was announced. */
  readonly will: boolean;
  /** Whether the session was to be new. */
  readonly cleanSession: boolean;
  /** Keep alive, in seconds. */
  readonly duration: number;
  /** When it was accepted, or the client was told so again. */
  readonly at: Millis;
  /** How often the client was told so, and may have heard of it. */
  readonly told: number;
  /** What silence it was allowed before, if it was asleep and only woke. */
  readonly sleptMs: Millis | undefined;
}

/** What a SUBSCRIBE asked for, to know it again when it comes twice. */
export interface SubscribeRecord {
  /** Its msgId. */
  readonly msgId: number;
  /** Its filter. */
  readonly filter: TopicFilter;
  /** When it was accepted. */
  readonly at: Millis;
}

/** One client. `Gateway` has one for each client id. */
export class Session implements Recipient, Timed, OutboxClient {
  /** Who it is. */
  readonly clientId: string;
  /** What is on its way to it. */
  readonly outbox: Outbox;
  /** Where it is reached; `undefined` while it is disconnected or lost. */
  peer: Peer | undefined;
  /** Whether nothing of it is kept when its connection ends. */
  isClean = true;
  /** The CONNECT that was accepted last. */
  connect: ConnectRecord | undefined;
  /** The last SUBSCRIBE, to know it again when it comes twice. */
  lastSubscribe: SubscribeRecord | undefined;
  /** How many PUBLISHes it may send now, if there is a limit. */
  rate: TokenBucket | undefined;
  /** Whether anything else was heard of it since its CONNECT. */
  hasSpoken = false;
  /** When it was last sent its messages again as it asked for them. */
  remindedAt: Millis = -Infinity;
  /** When its connection ended, while it has none. */
  leftAt: Millis = 0;
  /** When it was heard of last. */
  heardAt: Millis = 0;
  /** See {@linkcode OutboxClient}. */
  persistence: SessionPersistence | undefined;
  /** See {@linkcode Timed}. */
  dueAt: Millis = Infinity;
  /** See {@linkcode Timed}. */
  dueIndex: number = -1;
  /** See {@linkcode Recipient}. */
  matchedBy = 0;
  /** See {@linkcode Recipient}. */
  matchedQos: DeliveryQos = 0;

  readonly #limits: SessionLimits;
  readonly #host: SessionHost;
  #state: SessionState = "disconnected";
  /** The silence that is allowed, 0 for any. */
  #allowedMs: Millis = 0;
  // Most clients never need one of these: each is made when it is needed.
  #names: MemoryBudget | undefined;
  #topicIds: TopicIds | undefined;
  #subscriptions: Map<TopicFilter, Grant> | undefined;
  #received: DuplicateFilter | undefined;
  #will: Will | undefined;

  /**
   * Begins a session: disconnected, with nothing.
   *
   * @param clientId who it is
   * @param limits how much it may hold
   * @param host the connections that it is one of
   */
  constructor(clientId: string, limits: SessionLimits, host: SessionHost) {
    this.clientId = clientId;
    this.#limits = limits;
    this.#host = host;
    this.outbox = new Outbox(limits, this);
  }

  /** Its state. */
  get state(): SessionState {
    return this.#state;
  }

  /** Whether it is active, asleep or awake: its address is known. */
  get isConnected(): boolean {
    return this.#state !== "disconnected" && this.#state !== "lost";
  }

  /** See {@linkcode OutboxClient}. */
  get isListening(): boolean {
    return this.#state === "active" || this.#state === "awake";
  }

  /** Its topic ids. */
  get topicIds(): TopicIds {
    const { maxTopicIds } = this.#limits;
    return this.#topicIds ??= new TopicIds({
      maxTopicIds,
      nameBudget: this.#share,
    }, this);
  }

  /** Memory for its topic ids, filters and will, in octets, estimated. */
  get nameOctets(): number {
    return this.#names?.used ?? 0;
  }

  /** Its share of the memory for names. */
  get #share(): MemoryBudget {
    const { maxNameOctets, nameBudget } = this.#limits;
    return this.#names ??= new MemoryBudget(maxNameOctets, nameBudget);
  }

  /** Assumes that the client has forgotten its topic ids. */
  forgetTopicIds(): void {
    this.#topicIds?.forgetKnown();
  }

  /** What it subscribed to. */
  get subscriptions(): ReadonlyMap<TopicFilter, Grant> {
    return this.#subscriptions ?? NO_SUBSCRIPTIONS;
  }

  /** QoS 2 messages that it has sent and not yet released. */
  get unreleased(): number {
    return this.#received?.unreleased ?? 0;
  }

  /** Its QoS 2 messages. */
  get received(): DuplicateFilter {
    return this.#received ??= new DuplicateFilter(this);
  }

  /** Whether it is to outlive the process: a sleeping client is promised that too. */
  get isToBePersisted(): boolean {
    return !this.isClean || this.#state === "asleep" || this.#state === "awake";
  }

  /** The earliest moment at which something is due. */
  get nextTimeout(): Millis {
    const silenceAt = this.isSupervised
      ? this.heardAt + this.#allowedMs
      : Infinity;
    const { retryAt = Infinity, expiresAt } = this.outbox;
    return Math.min(silenceAt, retryAt, expiresAt);
  }

  /** Whether its silence is limited in its present state. */
  get isSupervised(): boolean {
    return this.#allowedMs > 0 &&
      (this.#state === "active" || this.#state === "asleep");
  }

  /** Whether it was silent for longer than is allowed. */
  isSilent(now: Millis): boolean {
    return this.isSupervised && now >= this.heardAt + this.#allowedMs;
  }

  /**
   * Lets an event happen. `Connections` alone does that, and does what follows.
   *
   * @returns the state that it leads to
   * @throws {LocalProtocolError} when it cannot happen in the present state
   */
  apply(event: SessionEvent): SessionState {
    const next = TRANSITIONS[this.#state][event];
    if (next === undefined) {
      throw new LocalProtocolError(
        `Cannot apply "${event}" to a client that is ${this.#state}`,
      );
    }
    return this.#state = next;
  }

  /** For how long it may be silent, in milliseconds; 0 for as long as it likes. */
  get allowedMs(): Millis {
    return this.#allowedMs;
  }

  /** Supervises it from now on: silence for longer than this is too much. */
  supervise(now: Millis, allowedMs: Millis): void {
    this.heardAt = now;
    this.#allowedMs = allowedMs;
  }

  /** Its will. */
  get will(): Will | undefined {
    return this.#will;
  }

  /**
   * Gives it a will, or none.
   *
   * @returns whether there was room for it; nothing changes if not
   */
  setWill(will: Will | undefined): boolean {
    const last = costOfWill(this.#will);
    const cost = costOfWill(will);
    if (cost > last && !this.#share.allows(cost - last)) return false;
    this.#share.give(last);
    this.#share.charge(cost);
    this.#will = will;
    return true;
  }

  /** Persists it from now on, with all its parts. */
  beginPersistence(persistence: SessionPersistence): void {
    this.persistence = persistence;
    this.persist();
    for (const filter of this.subscriptions.keys()) {
      this.#persistSubscription(filter);
    }
    this.#topicIds?.persistAll(persistence);
    this.#received?.persistAll(persistence);
    this.outbox.persistAll(persistence);
  }

  /** Persists it without its parts, if it is persisted at all. */
  persist(): void {
    const { persistence, connect, clientId, isClean, peer, leftAt } = this;
    if (persistence === undefined) return;
    persistence.persist({
      type: "session",
      clientId,
      isClean,
      state: this.#state === "awake" ? "asleep" : this.#state,
      peer: peer === undefined ? undefined : recordOf(peer),
      allowedMs: this.#allowedMs,
      duration: connect?.duration ?? 0,
      announcedWill: connect?.will ?? false,
      leftAt,
      will: this.#will,
    });
  }

  /** Persists it no longer, nor any of its parts. */
  endPersistence(): void {
    this.persistence?.persist({ type: "sessionEnd" });
    this.persistence = undefined;
  }

  /**
   * Restores it from the store; limits do not apply, and its parts follow one by one. A
   * client that was connected still is, and counts as heard now.
   */
  restore(
    now: Millis,
    record: SessionRecord,
    persistence: SessionPersistence,
    will: Will | undefined,
  ): void {
    const { clientId, isClean, state, allowedMs, leftAt } = record;
    const { announcedWill, duration } = record;
    this.persistence = persistence;
    this.isClean = isClean;
    this.#state = state;
    // If the clock was ahead then, the client would seem to leave in the future.
    this.leftAt = Math.min(leftAt, now);
    this.connect = {
      clientId,
      will: announcedWill,
      cleanSession: isClean,
      duration,
      at: -Infinity,
      told: Infinity,
      sleptMs: undefined,
    };
    this.hasSpoken = true;
    this.supervise(now, allowedMs);
    this.#share.charge(costOfWill(will));
    this.#will = will;
  }

  /** Restores the record of a QoS 2 message that the client has sent. */
  restoreReceived(now: Millis, record: ReceivedRecord): void {
    // No copy is awaited for longer than T_retry.
    this.received.restore(record, now + this.#limits.retryMs);
  }

  /** Restores a subscription from the store; limits do not apply. */
  restoreSubscription(filter: TopicFilter, grant: Grant): void {
    this.#share.charge(costOfFilter(filter));
    (this.#subscriptions ??= new Map()).set(filter, grant);
  }

  /** Persists a subscription, if the session is persisted. */
  #persistSubscription(filter: TopicFilter): void {
    const grant = this.#subscriptions?.get(filter);
    if (grant === undefined) return;
    this.persistence?.persist({
      type: "subscription",
      topicFilter: filter,
      qos: grant.qos,
      isPending: this.outbox.isDelivering(filter),
    });
  }

  /** See {@linkcode OutboxClient}. */
  sendPublish(message: Message, header: PublishHeader): boolean {
    return this.#host.delivery.sendPublish(this.peer!, message, header);
  }

  /** See {@linkcode OutboxClient}. */
  sendPublishQos0(
    message: Message,
    entry: TopicEntry,
    retain: boolean,
  ): boolean {
    const { delivery } = this.#host;
    return delivery.sendPublishQos0(this.peer!, message, entry, retain);
  }

  /** See {@linkcode OutboxClient}. */
  sendRegister(entry: TopicEntry, msgId: number): boolean {
    return this.#host.delivery.sendRegister(this.peer!, entry, msgId);
  }

  /** See {@linkcode OutboxClient}. */
  sendPubrel(msgId: number): void {
    this.#host.delivery.sendPubrel(this.peer!, msgId);
  }

  /** See {@linkcode OutboxClient}. */
  handleRetry(): void {
    this.#host.delivery.handleRetry();
  }

  /** See {@linkcode OutboxClient}. */
  handleLoss(message: Message, reason: LossReason): void {
    this.#host.delivery.handleLoss(this.clientId, message, reason);
  }

  /** See {@linkcode OutboxClient}. */
  handleTopicRefused(entry: TopicEntry): void {
    this.#host.handleTopicRefused(this, entry);
  }

  /** See {@linkcode OutboxClient}. */
  handleRetainedDone(filter: TopicFilter): void {
    this.#persistSubscription(filter);
  }

  /**
   * Notes a subscription, or another grant for one.
   *
   * @returns whether there was room for it
   */
  addSubscription(filter: TopicFilter, grant: Grant): boolean {
    const subscriptions = this.#subscriptions ??= new Map();
    const isNew = !subscriptions.has(filter);
    if (isNew && !this.#share.take(costOfFilter(filter))) {
      return false;
    }
    subscriptions.set(filter, grant);
    return true;
  }

  /** Forgets a subscription; false when there was none. */
  deleteSubscription(filter: TopicFilter): boolean {
    if (!(this.#subscriptions?.delete(filter) ?? false)) return false;
    this.#share.give(costOfFilter(filter));
    this.persistence?.persist({
      type: "subscriptionEnd",
      topicFilter: filter,
    });
    return true;
  }

  /** Whether nothing would be missed if it were forgotten. */
  get isBlank(): boolean {
    return this.outbox.size === 0 && this.#will === undefined &&
      this.subscriptions.size === 0 && (this.#topicIds?.size ?? 0) === 0 &&
      (this.#received?.isEmpty ?? true);
  }

  /** Forgets everything but who it is and where. */
  clear(): void {
    this.outbox.clear();
    this.#topicIds?.clear();
    for (const filter of this.subscriptions.keys()) {
      this.#share.give(costOfFilter(filter));
    }
    this.#subscriptions = undefined;
    this.#received = undefined;
    this.setWill(undefined);
    this.lastSubscribe = undefined;
  }

  /** See {@linkcode Recipient}. */
  hasRoomFor(message: Message, others: number): boolean {
    return this.outbox.hasRoomFor(message, others);
  }

  /** Takes the retained messages of a new subscription, or of a restored one. */
  deliverRetained(now: Millis, subscription: RetainedSubscription): void {
    const { filter } = subscription;
    this.outbox.addRetained(now, subscription);
    if (this.outbox.isDelivering(filter)) this.#persistSubscription(filter);
    if (this.outbox.isWaiting) this.#host.schedule(this);
  }

  /** See {@linkcode Recipient}. */
  deliver(
    now: Millis,
    message: Message,
    qos: DeliveryQos,
    retain: boolean,
  ): void {
    // MQTT keeps QoS 1 and 2 for a client that is away; a sleeper is promised all (§6.14).
    if (qos === 0 && !this.isConnected) return;
    this.outbox.add(now, message, qos, retain);
    const { isWaiting, expiresAt } = this.outbox;
    if (isWaiting || expiresAt < this.dueAt) this.#host.schedule(this);
  }
}

/** Where a client is, to be kept. */
function recordOf(peer: Peer): PeerRecord {
  const { hostname, port } = peer;
  const wirelessNodeId = isNodePeer(peer) ? peer.wirelessNodeId : undefined;
  return { hostname, port, wirelessNodeId };
}

const NO_SUBSCRIPTIONS: ReadonlyMap<TopicFilter, Grant> = new Map();

/** What the engine needs around a level of a filter, in octets, roughly. */
const LEVEL_OVERHEAD = 200;

/** What a subscription costs, in octets, roughly. */
function costOfFilter(filter: TopicFilter): number {
  const levels = hasWildcard(filter) ? filter.split("/").length : 1;
  return filter.length * 2 + (levels + 1) * LEVEL_OVERHEAD;
}

/** What a will costs, in octets, roughly. */
export function costOfWill(will: Will | undefined): number {
  if (will === undefined) return 0;
  const { topicName = "", payload } = will;
  return topicName.length * 2 + payload.length + LEVEL_OVERHEAD;
}
