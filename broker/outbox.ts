/**
 * What is on its way to one client: the messages that wait for it, and the one
 * exchange that is under way. Knows the gateway's half of PUBLISH at each QoS
 * and of REGISTER (MQTT-SN 1.2 §6.5, §6.6, §6.10), their retries and their
 * limits; nothing of why the client is to have a message, of its subscriptions
 * or of its sleep.
 *
 * Messages leave in the order in which they came, one exchange at a time, as the
 * specification asks of a client for the other direction. A topic whose id the
 * client does not know is registered first. What was begun and not ended, because
 * the client fell asleep or silent, is taken up again: the same msgId, DUP set,
 * or at once with PUBREL where PUBREC had come.
 *
 * @module
 */

import { Begun } from "./begun.ts";
import { MemoryBudget } from "./memory_budget.ts";
import type { Millis } from "../base/clock.ts";
import type {
  DeliveryQos,
  Message,
  TopicFilter,
  TopicName,
} from "../wire/message.ts";
import { RETURN_CODE, type TopicAck } from "../wire/packets.ts";
import type { Persistable, SessionPersister } from "./persistence.ts";
import type { QueuedRecord } from "./records.ts";
import type { TopicAlias, TopicEntry, TopicIds } from "./topic_ids.ts";

/** Why a client does not get a message. */
export type LossReason =
  /** Too much waits for the client already. */
  | "overflow"
  /** Too much waits for all clients together. */
  | "memory"
  /** The message, or its topic's name, does not fit a packet. */
  | "tooLong"
  /** The client refused to register the topic. */
  | "topicRefused"
  /** The client refused the message. */
  | "messageRefused"
  /** The client's table of topic ids is full. */
  | "topicIds"
  /** It has waited for longer than a message may. */
  | "expired";

/** What makes room when too much waits for a client. */
export type Overflow =
  /** The oldest message goes, one of QoS 0 before all others. */
  | "drop"
  /** The oldest of QoS 0 goes; else the publisher is refused: congestion. */
  | "refuse";

/** The limits of an outbox. */
export interface OutboxLimits {
  /** Messages that wait for one client; 1 or more. */
  readonly maxQueue: number;
  /** What makes room. */
  readonly overflow: Overflow;
  /** Until an unanswered packet is sent again, in milliseconds. */
  readonly retryMs: Millis;
  /** How often it is sent again; 0 or more. */
  readonly retries: number;
  /** How long a message may wait, in milliseconds; `Infinity` for ever. */
  readonly messageExpiryMs: Millis;
  /** Memory for one client's messages, in octets, estimated. */
  readonly maxQueueOctets: number;
  /** The memory that all outboxes share. */
  readonly queueBudget: MemoryBudget;
  /** Whether there is a store, in which a session may be kept. */
  readonly isDurable: boolean;
  /** The memory for names that all share. */
  readonly nameBudget: MemoryBudget;
}

/** Whose outbox it is. */
export interface OutboxOwner extends Persistable {
  /** The client's topic ids. */
  readonly topicIds: TopicIds;
  /** Is told that what is retained for a subscription has been delivered. */
  handleRetainedDone(filter: TopicFilter): void;
}

/** How an outbox reaches its client, and whom it tells. */
export interface OutboxHost<Owner extends OutboxOwner> {
  /**
   * Sends a PUBLISH, which is another with the next call.
   *
   * @returns false when it does not fit a packet: nothing is sent
   */
  sendPublish(owner: Owner, publish: OutgoingPublish): boolean;
  /** Sends a REGISTER; false when it does not fit a packet. */
  sendRegister(owner: Owner, entry: TopicEntry, msgId: number): boolean;
  /** Sends a PUBREL. */
  sendPubrel(owner: Owner, msgId: number): void;
  /** Is told that a packet was sent again. */
  handleRetry(owner: Owner): void;
  /** Is told that the client does not get a message. */
  handleLoss(owner: Owner, message: Message, reason: LossReason): void;
  /** Is told that the client does not want a topic (§6.10). */
  handleTopicRefused(owner: Owner, entry: TopicEntry): void;
}

/** A PUBLISH to a client. */
export interface OutgoingPublish {
  /** What is published. */
  readonly message: Message;
  /** At which QoS this client gets it. */
  readonly qos: DeliveryQos;
  /** Whether it is sent because it was retained. */
  readonly retain: boolean;
  /** Whether it was sent before. */
  readonly dup: boolean;
  /** How the client knows the topic. */
  readonly topicIdType: "normal" | TopicAlias["topicIdType"];
  /** The id, or the short name's octets. */
  readonly topicId: number;
  /** 0 at QoS 0. */
  readonly msgId: number;
}

/**
 * The PUBLISH that is being sent: one for all, as a message of QoS 0 to many would
 * otherwise make one for each.
 */
const publishing: {
  -readonly [Field in keyof OutgoingPublish]: OutgoingPublish[Field];
} = {
  message: undefined as unknown as Message,
  qos: 0,
  retain: false,
  dup: false,
  topicIdType: "normal",
  topicId: 0,
  msgId: 0,
};

/** A message that waits for the client. */
interface Queued {
  readonly message: Message;
  readonly qos: DeliveryQos;
  readonly retain: boolean;
  /** When it came. */
  readonly at: Millis;
  /** Under which number it is kept; 0 if it is not. */
  seq: number;
  /** Of what it is, if it is retained. */
  readonly source?: RetainedSource | undefined;
}

/** The delivery that is under way. */
interface InFlight extends Queued {
  /** That of the PUBLISH; 0 as long as it has none. */
  msgId: number;
  /** Whether the PUBLISH has been sent. */
  wasSent: boolean;
  /** Whether PUBREC has come: from here on it is PUBREL that is sent. */
  isReleased: boolean;
  /** The topic as it was named, or registered, last. */
  entry: TopicEntry | undefined;
  /** How the PUBLISH named the topic: sent again, it says the same. */
  topicIdType: OutgoingPublish["topicIdType"];
  /** The id, or the short name's octets, in that PUBLISH. */
  topicId: number;
  /** How often the topic was registered once more because the client asked. */
  repairs: number;
  /** Whether the client said congestion to it. */
  isCongested: boolean;
}

/** What is retained for a subscription. */
interface RetainedSource {
  readonly filter: TopicFilter;
  readonly messages: Iterator<Message>;
  readonly granted: DeliveryQos;
  /** Those that shall not come again, also if the rest is looked for anew. */
  begun: Begun | undefined;
}

/** What an outbox waits for. */
type Wait =
  | { readonly kind: "nothing" }
  | {
    readonly kind: "REGACK" | "PUBACK" | "PUBREC" | "PUBCOMP";
    readonly msgId: number;
    retryAt: Millis;
    triesLeft: number;
  }
  /** Others want a moment, or what comes next cannot be kept at present. */
  | { readonly kind: "pause"; readonly retryAt: Millis };

const NOTHING = { kind: "nothing" } as const;

/** What the engine needs around a message that waits, in octets, roughly. */
const OVERHEAD = 160;

/** Retained messages that leave, or are lost, at once. */
const MAX_BURST = 100;

/** And the pause until the next as many, in milliseconds. */
const PAUSE_MS = 10;

/** Until it is looked again whether what comes next can be kept. */
const STORE_PAUSE_MS = 1_000;

/** More than waited at the start that one awakening may deliver. */
const AWAKE_MARGIN = 100;

/** The outbox of one client. `Session` has one. */
export class Outbox<Owner extends OutboxOwner> {
  readonly #limits: OutboxLimits;
  readonly #owner: Owner;
  readonly #host: OutboxHost<Owner>;
  #isOpen = false;
  /** Deliveries until it closes by itself; endless for an active client. */
  #left = 0;
  #queue: Queued[] = [];
  /** How many in the queue are of QoS 0. */
  #atMostOnce = 0;
  /** Memory of what waits and of what is under way. */
  #octets = 0;
  /**
   * What is retained for new subscriptions, by filter. It goes before what waits
   * in the queue: else a topic's old value would come behind a newer one.
   */
  #retained: Map<TopicFilter, RetainedSource> | undefined;
  /** Memory for what has been begun of it. Most clients never need any. */
  #begunBudget: MemoryBudget | undefined;
  #current: InFlight | undefined;
  #wait: Wait = NOTHING;
  #lastMsgId = 0;
  /** The number of the last message that was kept. */
  #lastSeq = 0;

  /**
   * Starts empty and closed.
   *
   * @param limits how much, how long and how often
   * @param owner whose it is
   * @param host how the client is reached
   */
  constructor(limits: OutboxLimits, owner: Owner, host: OutboxHost<Owner>) {
    this.#limits = limits;
    this.#owner = owner;
    this.#host = host;
  }

  /**
   * How many messages wait, the one under way included; those that are retained
   * for a new subscription count as one, as nobody knows how many they are.
   */
  get size(): number {
    return this.#queue.length + (this.#current === undefined ? 0 : 1) +
      (this.#retained?.size ?? 0);
  }

  /** Whether an answer of the client is awaited. */
  get isWaiting(): boolean {
    return this.#isOpen && this.#wait.kind !== "nothing";
  }

  /** Whether all that an awakening delivers has been delivered. */
  get isFlushed(): boolean {
    return this.#wait.kind === "nothing" &&
      (this.size === 0 || this.#left <= 0);
  }

  /** When it will send again, `undefined` when nothing is awaited. */
  get retryAt(): Millis | undefined {
    const wait = this.#wait;
    return this.#isOpen && wait.kind !== "nothing" ? wait.retryAt : undefined;
  }

  /** When the message that has waited longest has waited too long. */
  get expiresAt(): Millis {
    const oldest = this.#queue[0];
    return oldest === undefined
      ? Infinity
      : oldest.at + this.#limits.messageExpiryMs;
  }

  /** Whether what is retained for a subscription has still to be delivered. */
  isDelivering(filter: TopicFilter): boolean {
    return this.#retained?.has(filter) ?? false;
  }

  /**
   * Whether a message of QoS 1 or 2 would find room without a loss.
   *
   * @param others how many clients before this one are to get it too
   */
  hasRoomFor(message: Message, others: number): boolean {
    const { maxQueue, maxQueueOctets, queueBudget } = this.#limits;
    const cost = costOf(message);
    return this.#queue.length - this.#atMostOnce < maxQueue &&
      (this.#octets === 0 || this.#octets + cost <= maxQueueOctets) &&
      queueBudget.allows(cost * (others + 1));
  }

  /** Sends what waits, and what comes, from now on. */
  open(now: Millis): void {
    this.#left = Infinity;
    this.#start(now);
  }

  /** Sends what waits now, and a little of what comes meanwhile. */
  openForAwakening(now: Millis): void {
    this.#left = this.size + AWAKE_MARGIN;
    this.#start(now);
  }

  /**
   * Sends nothing from now on; what is under way is kept for later. Its answer is
   * taken meanwhile: it may have crossed the word by which the client left.
   */
  close(): void {
    this.#isOpen = false;
  }

  /** Closes and forgets everything. */
  clear(): void {
    this.close();
    for (const { message } of this.#queue) this.#release(message);
    if (this.#current !== undefined) this.#release(this.#current.message);
    this.#queue.length = 0;
    this.#atMostOnce = 0;
    for (const { begun } of this.#retained?.values() ?? []) {
      begun?.end(undefined); // nothing of the session is kept any more
    }
    this.#retained = undefined;
    this.#current = undefined;
    this.#wait = NOTHING;
  }

  /** Takes a message for the client. */
  add(
    now: Millis,
    message: Message,
    qos: DeliveryQos,
    retain: boolean,
  ): void {
    if (qos === 0 && this.#sendAtOnce(message, retain)) return;
    if (!this.#makeRoom(message, qos)) return;
    const queued: Queued = {
      message: message.keep(),
      qos,
      retain,
      at: now,
      seq: 0,
    };
    this.#queue.push(queued);
    if (qos === 0) this.#atMostOnce++;
    this.#pump(now);
    // Here and not before: what has left by now need not be kept, and what is
    // under way has been told of with its msgId.
    const { persister } = this.#owner;
    if (persister === undefined) return;
    const place = this.#queue.at(-1) === queued ? queued : this.#current;
    if (place?.seq !== 0 || place.source !== undefined) return;
    this.#persist(persister, place);
  }

  /**
   * Takes what is retained for a subscription, in the place of what was left of
   * the same one's. It takes no room: each is looked for when its turn comes.
   *
   * @param topics of what was kept: those that have been begun at QoS 2 already
   */
  addRetained(
    now: Millis,
    filter: TopicFilter,
    messages: Iterator<Message>,
    granted: DeliveryQos,
    topics: Iterable<TopicName> = [],
  ): void {
    const source: RetainedSource = {
      filter,
      messages,
      granted,
      begun: undefined,
    };
    for (const topicName of topics) this.#begunOf(source).restore(topicName);
    const retained = this.#retained ??= new Map();
    retained.get(filter)?.begun?.end(this.#owner.persister);
    retained.set(filter, source);
    this.#pump(now);
  }

  /** Forgets what is retained for a subscription that is no more. */
  dropRetained(filter: TopicFilter): void {
    const source = this.#retained?.get(filter);
    if (source === undefined) return;
    this.#retained!.delete(filter);
    source.begun?.end(this.#owner.persister);
  }

  /**
   * Takes a message that was kept, whatever the limits. One that has a msgId was
   * under way, and may have arrived.
   */
  restore(now: Millis, message: Message, record: QueuedRecord): void {
    const { qos, retain, seq, msgId, isReleased } = record;
    // A clock that was ahead would have it, and all behind it, wait for as long.
    const at = Math.min(record.at, now);
    const queued: Queued = { message, qos, retain, at, seq };
    this.#hold(costOf(message));
    this.#lastSeq = Math.max(this.#lastSeq, seq);
    if (msgId !== 0 && this.#current === undefined) {
      this.#current = begun(queued, msgId, isReleased);
      this.#wait = {
        kind: answerTo(this.#current),
        msgId,
        retryAt: now,
        triesLeft: 0,
      };
      return;
    }
    this.#queue.push(queued);
    if (qos === 0) this.#atMostOnce++;
  }

  /**
   * Numbers what is sent from here on behind this: an answer to what was sent
   * before the process ended shall not pass for one to what is sent now.
   */
  restoreMsgId(lastMsgId: number): void {
    this.#lastMsgId = lastMsgId;
  }

  /** Persists all that waits or is under way. */
  persistAll(persister: SessionPersister): void {
    const current = this.#current;
    // What is retained is kept anyway, unless it is under way.
    if (current?.source === undefined || current.msgId !== 0) {
      if (current !== undefined) this.#persist(persister, current);
    }
    for (const { begun } of this.#retained?.values() ?? []) {
      begun?.persistAll(persister);
    }
    for (const queued of this.#queue) this.#persist(persister, queued);
  }

  /** Lets go what has waited too long. */
  expire(now: Millis): void {
    while (this.expiresAt <= now) {
      this.#drop(0, "expired");
    }
  }

  /** Takes a REGACK; false when none is awaited under its msgId. */
  handleRegack(
    now: Millis,
    { msgId, returnCode }: TopicAck<"REGACK">,
  ): boolean {
    if (!this.#isAwaited("REGACK", msgId)) return false;
    const current = this.#current!;
    if (returnCode === RETURN_CODE.congestion) {
      current.isCongested = true; // and again at the next retry
      return true;
    }
    const entry = current.entry!;
    this.#wait = NOTHING;
    if (returnCode === RETURN_CODE.accepted) entry.isKnown = true;
    else {
      // §6.10: never to be published to, as the client has no place for it.
      this.#owner.topicIds.refuse(entry);
      this.#lose("topicRefused");
      this.#host.handleTopicRefused(this.#owner, entry);
    }
    this.#pump(now);
    return true;
  }

  /** Takes a PUBACK; false when it answers nothing. */
  handlePuback(now: Millis, ack: TopicAck<"PUBACK">): boolean {
    const { msgId, returnCode } = ack;
    const isUnknownTopic = returnCode === RETURN_CODE.invalidTopicId ||
      returnCode === RETURN_CODE.notSupported; // what some clients say instead
    if (
      this.#isAwaited("PUBACK", msgId) && returnCode === RETURN_CODE.accepted
    ) {
      this.#finish();
    } else if (
      !this.#isAwaited("PUBACK", msgId) && !this.#isAwaited("PUBREC", msgId)
    ) {
      // §6.6: an error is reported whatever the QoS, at QoS 0 without a msgId.
      return isUnknownTopic && this.#owner.topicIds.forget(ack.topicId);
    } else if (returnCode === RETURN_CODE.accepted) return false;
    else if (returnCode === RETURN_CODE.congestion) {
      this.#current!.isCongested = true; // and again at the next retry
      return true;
    } else if (isUnknownTopic && this.#mayRepair()) this.#repair();
    else this.#lose("messageRefused");
    this.#pump(now);
    return true;
  }

  /** Takes a PUBREC; false when it answers nothing. */
  handlePubrec(now: Millis, msgId: number): boolean {
    if (this.#isAwaited("PUBCOMP", msgId)) {
      // That PUBREC has come may not be kept yet, or the client does not listen:
      // it is sent again later then.
      if (this.#isOpen && this.#mayPromise) {
        this.#host.sendPubrel(this.#owner, msgId);
      }
      return true;
    }
    if (!this.#isAwaited("PUBREC", msgId)) return false;
    if (!this.#mayPromise) return true; // the PUBLISH is sent again, and so is it
    const current = this.#current!;
    current.isReleased = true;
    this.#owner.persister?.persist({
      type: "inFlight",
      seq: current.seq,
      msgId,
      isReleased: true,
    });
    this.#wait = NOTHING;
    this.#pump(now);
    return true;
  }

  /** Takes a PUBCOMP; false when it answers nothing. */
  handlePubcomp(now: Millis, msgId: number): boolean {
    if (!this.#isAwaited("PUBCOMP", msgId)) return false;
    this.#finish();
    this.#pump(now);
    return true;
  }

  /**
   * Sends again what is unanswered for too long.
   *
   * @returns false when it has been sent often enough: the client is not there,
   * and the outbox is closed
   */
  handleTimeout(now: Millis): boolean {
    const wait = this.#wait;
    if (!this.#isOpen || wait.kind === "nothing" || now < wait.retryAt) {
      return true;
    }
    if (wait.kind === "pause") {
      this.#wait = NOTHING;
      this.#pump(now);
      return true;
    }
    if (!this.#mayPromise && wait.kind !== "PUBACK") {
      // It may not have been sent, nor may it be yet.
      wait.retryAt = now + this.#limits.retryMs;
      return true;
    }
    if (wait.triesLeft === 0) {
      if (!this.#current!.isCongested) {
        this.close();
        return false;
      }
      this.#lose("messageRefused"); // it is there, and has no room
      this.#pump(now);
      return true;
    }
    wait.triesLeft--;
    this.#resend(now, wait);
    return true;
  }

  /** Sends again at once what is unanswered: the client asks for it. */
  remind(now: Millis): void {
    const wait = this.#wait;
    if (!this.#isOpen || wait.kind === "nothing" || wait.kind === "pause") {
      return;
    }
    if (this.#mayPromise || wait.kind === "PUBACK") this.#resend(now, wait);
  }

  /** Whether what is told of this client now is kept, or need not be. */
  get #mayPromise(): boolean {
    return this.#owner.persister?.mayPromise ?? true;
  }

  #resend(now: Millis, wait: Extract<Wait, { msgId: number }>): void {
    wait.retryAt = now + this.#limits.retryMs;
    this.#host.handleRetry(this.#owner);
    const current = this.#current!;
    let fits = true;
    switch (wait.kind) {
      case "REGACK":
        fits = this.#host.sendRegister(this.#owner, current.entry!, wait.msgId);
        break;
      case "PUBACK":
      case "PUBREC":
        fits = this.#publish(current);
        break;
      case "PUBCOMP":
        this.#host.sendPubrel(this.#owner, current.msgId);
        break;
      default:
        wait.kind satisfies never;
    }
    if (fits) return;
    // The client has moved to where less fits a packet.
    this.#lose("tooLong");
    this.#pump(now);
  }

  #start(now: Millis): void {
    this.#isOpen = true;
    this.#wait = NOTHING;
    // What it had no room for then, it may have by now; or not be there at all.
    if (this.#current !== undefined) this.#current.isCongested = false;
    this.#pump(now);
  }

  /** The short way of a message of QoS 0 that has nothing to wait for. */
  #sendAtOnce(message: Message, retain: boolean): boolean {
    if (!this.#isOpen || this.#left <= 0 || this.size > 0) return false;
    const entry = this.#owner.topicIds.get(message.topicName);
    if (entry === undefined || entry.isRefused) return false;
    const { alias } = entry;
    if (alias === undefined && !entry.isKnown) return false;
    publishing.message = message;
    publishing.qos = 0;
    publishing.retain = retain;
    publishing.dup = false;
    publishing.topicIdType = alias === undefined ? "normal" : alias.topicIdType;
    publishing.topicId = alias === undefined ? entry.topicId : alias.topicId;
    publishing.msgId = 0;
    const wasSent = this.#host.sendPublish(this.#owner, publishing);
    if (!wasSent) this.#host.handleLoss(this.#owner, message, "tooLong");
    this.#left--;
    return true;
  }

  /** Goes as far as it can without an answer. */
  #pump(now: Millis): void {
    let burst = 0;
    while (this.#isOpen && this.#left > 0 && this.#wait.kind === "nothing") {
      const current = this.#current ??= this.#takeNext(now);
      if (current === undefined) return;
      if (!this.#mayPromise && this.#isPromised(current)) {
        return this.#postpone(now);
      }
      if (current.isReleased) {
        this.#host.sendPubrel(this.#owner, current.msgId);
        return this.#expect(now, answerTo(current), current.msgId);
      }
      this.#begin(now, current);
      // Also those that are lost: a hundred thousand would take a second.
      if (current.source === undefined || ++burst < MAX_BURST) continue;
      if (this.#wait.kind !== "nothing") return;
      this.#wait = { kind: "pause", retryAt: now + PAUSE_MS };
    }
  }

  /** Whether the next step of a delivery has to be kept before it is made. */
  #isPromised({ qos, message }: InFlight): boolean {
    const known = this.#owner.topicIds.get(message.topicName);
    return qos === 2 ||
      (known?.alias === undefined && !(known?.isKnown ?? false));
  }

  /** Nothing is sent until it can be kept; who is awake need not wait for it. */
  #postpone(now: Millis): void {
    if (this.#left !== Infinity) this.#left = 0;
    else this.#wait = { kind: "pause", retryAt: now + STORE_PAUSE_MS };
  }

  /** Registers the topic, or publishes. */
  #begin(now: Millis, current: InFlight): void {
    const { topicIds } = this.#owner;
    const { topicName } = current.message;
    const known = topicIds.get(topicName);
    if (known?.isRefused) return this.#lose("topicRefused");
    const entry = known?.alias === undefined
      ? topicIds.assign(topicName)
      : known;
    if (entry === undefined) {
      // Nor would there be an id for the rest of what is retained.
      const filter = current.source?.filter;
      if (filter !== undefined && this.isDelivering(filter)) {
        this.#endRetained(filter);
      }
      return this.#lose("topicIds");
    }
    current.entry = entry;
    if (entry.alias === undefined && !entry.isKnown) {
      const msgId = this.#nextMsgId();
      if (this.#host.sendRegister(this.#owner, entry, msgId)) {
        return this.#expect(now, "REGACK", msgId);
      }
      return this.#lose("tooLong");
    }
    if (current.qos > 0 && current.msgId === 0) {
      current.msgId = this.#nextMsgId();
      this.#persistMsgId(current);
      this.#noteBegun(current);
    }
    const { alias, topicId } = entry;
    current.topicIdType = alias === undefined ? "normal" : alias.topicIdType;
    current.topicId = alias === undefined ? topicId : alias.topicId;
    if (!this.#publish(current)) return this.#lose("tooLong");
    if (current.qos === 0) return this.#finish();
    this.#expect(now, answerTo(current), current.msgId);
  }

  #publish(current: InFlight): boolean {
    publishing.message = current.message;
    publishing.qos = current.qos;
    publishing.retain = current.retain;
    publishing.dup = current.wasSent;
    publishing.topicIdType = current.topicIdType;
    publishing.topicId = current.topicId;
    publishing.msgId = current.msgId;
    current.wasSent = current.qos > 0;
    return this.#host.sendPublish(this.#owner, publishing);
  }

  /**
   * Whether there is sense in registering the topic once more. Once should do;
   * but the refusal may have come twice, or its cause too.
   */
  #mayRepair(): boolean {
    return this.#current!.repairs < Math.max(1, this.#limits.retries);
  }

  /** Registers the topic once more: the client does not know its id. */
  #repair(): void {
    const current = this.#current!;
    const { topicIds } = this.#owner;
    current.repairs++;
    this.#wait = NOTHING;
    // One that was restored has not been named since.
    const entry = current.entry ?? topicIds.get(current.message.topicName);
    if (entry !== undefined) topicIds.unlearn(entry);
  }

  #expect(
    now: Millis,
    kind: Extract<Wait, { msgId: number }>["kind"],
    msgId: number,
  ): void {
    const { retryMs, retries } = this.#limits;
    this.#wait = { kind, msgId, retryAt: now + retryMs, triesLeft: retries };
  }

  #isAwaited(kind: Wait["kind"], msgId: number): boolean {
    const wait = this.#wait;
    return "msgId" in wait && wait.kind === kind && wait.msgId === msgId;
  }

  #takeNext(now: Millis): InFlight | undefined {
    const next = this.#takeQueued(now);
    return next === undefined ? undefined : begun(next, 0, false);
  }

  #takeQueued(now: Millis): Queued | undefined {
    const retained = this.#takeRetained(now);
    if (retained !== undefined) return retained;
    this.expire(now);
    const next = this.#queue.shift();
    if (next?.qos === 0) this.#atMostOnce--;
    return next;
  }

  #takeRetained(now: Millis): Queued | undefined {
    if (this.#retained === undefined) return undefined;
    for (const source of this.#retained.values()) {
      const message = nextOf(source);
      if (message === undefined) {
        this.#endRetained(source.filter);
        continue;
      }
      this.#hold(costOf(message));
      const { granted } = source;
      const qos = granted < message.qos ? granted : message.qos;
      return { message, qos, retain: true, at: now, seq: 0, source };
    }
    this.#retained = undefined;
    return undefined;
  }

  /** What is retained for a subscription has been delivered, as far as it can be. */
  #endRetained(filter: TopicFilter): void {
    this.dropRetained(filter);
    this.#owner.handleRetainedDone(filter);
  }

  /**
   * Notes a retained message at QoS 2 as one that shall not come again. Told in one
   * breath with its msgId: the one without the other would double or lose it.
   */
  #noteBegun({ qos, source, message: { topicName } }: InFlight): void {
    if (qos < 2 || source === undefined || !this.#limits.isDurable) return;
    // Another SUBSCRIBE, or none any more, has nothing to do with what this began.
    if (this.#retained?.get(source.filter) !== source) return;
    this.#begunOf(source).add(topicName, this.#owner.persister);
  }

  #begunOf(source: RetainedSource): Begun {
    const { maxQueueOctets, nameBudget } = this.#limits;
    this.#begunBudget ??= new MemoryBudget(maxQueueOctets, nameBudget);
    return source.begun ??= new Begun(source.filter, this.#begunBudget);
  }

  /** One that is retained already takes no memory anew: it is only counted. */
  #hold(cost: number): void {
    this.#octets += cost;
    this.#limits.queueBudget.charge(cost);
  }

  /** Tells of the msgId of the delivery that is about to begin. */
  #persistMsgId(current: InFlight): void {
    const { persister } = this.#owner;
    if (persister === undefined) return;
    const { seq, msgId } = current;
    if (seq === 0) this.#persist(persister, current);
    else persister.persist({ type: "inFlight", seq, msgId, isReleased: false });
  }

  /** Tells of a message, as one that was not told of before. */
  #persist(persister: SessionPersister, place: Queued | InFlight): void {
    const { message: { topicName, payload }, qos, retain, at } = place;
    const { msgId, isReleased } = "msgId" in place ? place : NOT_BEGUN;
    const seq = this.#lastSeq + 1;
    const isPersisted = persister.persist({
      type: "queued",
      seq,
      topicName,
      payload,
      qos,
      retain,
      at,
      msgId,
      isReleased,
    });
    place.seq = isPersisted ? seq : 0;
    if (isPersisted) this.#lastSeq = seq;
  }

  /** Tells that a message that was told of has gone. */
  #persistEnd({ seq }: Queued): void {
    if (seq !== 0) this.#owner.persister?.persist({ type: "queuedEnd", seq });
  }

  /** The delivery under way is over. */
  #finish(): void {
    this.#persistEnd(this.#current!);
    this.#release(this.#current!.message);
    this.#current = undefined;
    this.#wait = NOTHING;
    this.#left--;
  }

  #lose(reason: LossReason): void {
    const { message } = this.#current!;
    this.#finish();
    this.#host.handleLoss(this.#owner, message, reason);
  }

  #release(message: Message): void {
    const cost = costOf(message);
    this.#octets -= cost;
    this.#limits.queueBudget.give(cost);
  }

  /** Makes room for a message, and takes it; false when there is none. */
  #makeRoom(message: Message, qos: DeliveryQos): boolean {
    const { maxQueue, maxQueueOctets, overflow, queueBudget } = this.#limits;
    const cost = costOf(message);
    // What others hold does not go for this client's sake: nothing is dropped
    // for a message that would not fit then either.
    if (!queueBudget.allows(cost - this.#octets)) {
      this.#host.handleLoss(this.#owner, message, "memory");
      return false;
    }
    while (true) {
      const isFull = this.#queue.length >= maxQueue ||
        (this.#octets > 0 && this.#octets + cost > maxQueueOctets);
      if (!isFull && queueBudget.take(cost)) {
        this.#octets += cost;
        return true;
      }
      const reason = isFull ? "overflow" : "memory";
      const mayDrop = this.#atMostOnce > 0 ||
        (overflow === "drop" && qos > 0 && this.#queue.length > 0);
      if (!mayDrop) {
        this.#host.handleLoss(this.#owner, message, reason);
        return false;
      }
      const index = this.#atMostOnce > 0
        ? this.#queue.findIndex((queued) => queued.qos === 0)
        : 0;
      this.#drop(index, reason);
    }
  }

  /** Lets one that waits go. */
  #drop(index: number, reason: LossReason): void {
    // The first goes without the others being moved.
    const queued = index === 0
      ? this.#queue.shift()!
      : this.#queue.splice(index, 1)[0]!;
    const { message, qos } = queued;
    if (qos === 0) this.#atMostOnce--;
    this.#persistEnd(queued);
    this.#release(message);
    this.#host.handleLoss(this.#owner, message, reason);
  }

  /** 1 to 65535, and not that of the delivery under way. */
  #nextMsgId(): number {
    do {
      this.#lastMsgId = this.#lastMsgId % 0xffff + 1;
    } while (this.#lastMsgId === this.#current?.msgId);
    return this.#lastMsgId;
  }
}

/** What a client answers to the step that a delivery at QoS 1 or 2 has come to. */
function answerTo(
  { qos, isReleased }: InFlight,
): "PUBACK" | "PUBREC" | "PUBCOMP" {
  if (isReleased) return "PUBCOMP";
  return qos === 1 ? "PUBACK" : "PUBREC";
}

const NOT_BEGUN = { msgId: 0, isReleased: false } as const;

/** A delivery of what waited; with a msgId one that was begun before. */
function begun(
  { message, qos, retain, at, seq, source }: Queued,
  msgId: number,
  isReleased: boolean,
): InFlight {
  return {
    message,
    qos,
    retain,
    at,
    seq,
    source,
    msgId,
    wasSent: msgId !== 0,
    isReleased,
    entry: undefined,
    topicIdType: "normal",
    topicId: 0,
    repairs: 0,
    isCongested: false,
  };
}

/** The next retained message that has not been begun; `undefined` for none. */
function nextOf({ messages, begun }: RetainedSource): Message | undefined {
  let message: Message | undefined;
  do message = messages.next().value; while (
    message !== undefined && begun?.has(message.topicName)
  );
  return message;
}

function costOf({ topicName, payload }: Message): number {
  return payload.length + topicName.length * 2 + OVERHEAD;
}
