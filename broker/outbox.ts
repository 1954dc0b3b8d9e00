/**
 * Everything that is on its way to one client: the retained messages of new
 * subscriptions (`broker/retained_delivery.ts`), the messages that wait
 * (`broker/message_queue.ts`), and the one delivery that is under way. This is the
 * gateway's half of PUBLISH at each QoS and of REGISTER (MQTT-SN 1.2 §6.5, §6.6,
 * §6.10).
 *
 * Messages leave in the order in which they came, one delivery at a time, as the
 * specification asks of a client for the other direction. A topic whose id the
 * client does not know is registered first. A delivery that was begun and not ended,
 * because the client fell asleep or silent, is taken up again: with the same msgId
 * and DUP set, or with PUBREL where PUBREC had come.
 *
 * @module
 */

import type { LossReason } from "./events.ts";
import { MemoryBudget } from "./memory_budget.ts";
import type { Millis } from "../base/clock.ts";
import {
  MessageQueue,
  type Queued,
  type QueueLimits,
} from "./message_queue.ts";
import type {
  DeliveryQos,
  Message,
  TopicFilter,
  TopicName,
} from "../wire/message.ts";
import { RETURN_CODE, type TopicAck } from "../wire/packets.ts";
import type { Settings } from "./options.ts";
import type { Persisted, SessionPersistence } from "./persistence.ts";
import type { QueuedRecord } from "./records.ts";
import { RetainedDelivery } from "./retained_delivery.ts";
import type { TopicAlias, TopicEntry, TopicIds } from "./topic_ids.ts";

/** The limits of an outbox. */
export type OutboxLimits =
  & QueueLimits
  & Pick<Settings, "retryMs" | "retries" | "isDurable" | "nameBudget">;

/** The client whose outbox it is. A session is one; a test has its own. */
export interface OutboxClient extends Persisted {
  /** The client's topic ids. */
  readonly topicIds: TopicIds;
  /** Whether it takes messages now: it is active or awake. */
  readonly isListening: boolean;
  /** Sends a PUBLISH; false when it does not fit a packet: nothing is sent. */
  sendPublish(publish: OutgoingPublish): boolean;
  /** Sends a REGISTER; false when it does not fit a packet. */
  sendRegister(entry: TopicEntry, msgId: number): boolean;
  /** Sends a PUBREL. */
  sendPubrel(msgId: number): void;
  /** Is told that a packet was sent again. */
  handleRetry(): void;
  /** Is told that the client does not get a message. */
  handleLoss(message: Message, reason: LossReason): void;
  /** Is told that the client does not want a topic (§6.10). */
  handleTopicRefused(entry: TopicEntry): void;
  /** Is told that what is retained for a subscription has been delivered. */
  handleRetainedDone(filter: TopicFilter): void;
}

/** How a PUBLISH names its topic. */
export interface TopicReference {
  /** Which kind of name it is. */
  readonly topicIdType: "normal" | TopicAlias["topicIdType"];
  /** The id, or the short name's octets. */
  readonly topicId: number;
}

/** A PUBLISH to a client. */
export interface OutgoingPublish extends TopicReference {
  /** What is published. */
  readonly message: Message;
  /** At which QoS this client gets it. */
  readonly qos: DeliveryQos;
  /** Whether it is sent because it was retained. */
  readonly retain: boolean;
  /** Whether it was sent before. */
  readonly dup: boolean;
  /** 0 at QoS 0. */
  readonly msgId: number;
}

/** What every step that awaits an answer has: when it is repeated, and how often. */
interface Patience {
  /** When the packet is sent again. */
  retryAt: Millis;
  /** How often it may be sent again. */
  triesLeft: number;
}

/** How far a delivery is. */
type Step =
  /** Its topic has yet to be registered, or its PUBLISH to be sent. */
  | { readonly kind: "toPublish" }
  /** REGISTER was sent, REGACK is awaited. */
  | Patience & {
    readonly kind: "registering";
    readonly entry: TopicEntry;
    /** The REGISTER's. */
    readonly msgId: number;
  }
  /** PUBLISH was sent; PUBACK, or at QoS 2 PUBREC, is awaited. */
  | Patience & {
    readonly kind: "publishing";
    /** How it named the topic: when it is sent again, it says the same. */
    readonly topic: TopicReference;
  }
  /** PUBREC has come, PUBREL has yet to be sent. */
  | { readonly kind: "toRelease" }
  /** PUBREL was sent, PUBCOMP is awaited. */
  | Patience & { readonly kind: "releasing" };

const TO_PUBLISH: Step = { kind: "toPublish" };

const TO_RELEASE: Step = { kind: "toRelease" };

/** The delivery that is under way. */
interface Delivery {
  /** What is delivered. */
  readonly queued: Queued;
  /** Its PUBLISH's msgId; `undefined` as long as it has none. */
  msgId: number | undefined;
  /** How far it is. */
  step: Step;
  /** How often the topic was registered once more because the client asked. */
  repairs: number;
  /** Whether the client's last answer was congestion. */
  isCongested: boolean;
}

/** How the topic of a restored delivery was named: nobody knows. */
const NOT_NAMED: TopicReference = { topicIdType: "normal", topicId: 0 };

/** Retained messages that leave, or are lost, at once. */
const MAX_BURST = 100;

/** And the pause until the next as many, in milliseconds. */
const PAUSE_MS = 10;

/** Until it is looked again whether what comes next can be persisted. */
const STORE_PAUSE_MS = 1_000;

/** More than waited at the start that one awakening may deliver. */
const AWAKE_MARGIN = 100;

/**
 * The outbox of one client. It sends while the client is listening. When the client
 * stops, the delivery under way is left for later; an answer to it is taken
 * meanwhile, as it may have crossed the word by which the client left.
 */
export class Outbox {
  readonly #limits: OutboxLimits;
  readonly #client: OutboxClient;
  /** Deliveries until it stops by itself; endless for an active client. */
  #left = 0;
  // Most clients never need one of these two: each is made when it is needed.
  #queue: MessageQueue | undefined;
  /**
   * What is retained for new subscriptions. It goes before what waits in the queue:
   * else a topic's old value would come behind a newer one.
   */
  #retained: RetainedDelivery | undefined;
  #delivery: Delivery | undefined;
  /** No further delivery is begun before this moment. */
  #pausedUntil: Millis | undefined;
  #lastMsgId = 0;
  /** The number of the last message that was persisted. */
  #lastSeq = 0;

  /**
   * Starts empty. It sends nothing before it is opened.
   *
   * @param limits how much, how long and how often
   * @param client whose it is, and how it is reached
   */
  constructor(limits: OutboxLimits, client: OutboxClient) {
    this.#limits = limits;
    this.#client = client;
  }

  /**
   * How many messages wait, the one under way included; those that are retained
   * for a new subscription count as one, as nobody knows how many they are.
   */
  get size(): number {
    return (this.#queue?.length ?? 0) + (this.#delivery === undefined ? 0 : 1) +
      (this.#retained?.size ?? 0);
  }

  /** Whether an answer of the client, or the end of a pause, is awaited. */
  get isWaiting(): boolean {
    return this.retryAt !== undefined;
  }

  /** Whether all that an awakening delivers has been delivered. */
  get isFlushed(): boolean {
    return this.#waitsUntil === undefined &&
      (this.size === 0 || this.#left <= 0);
  }

  /** When it will send again, `undefined` when nothing is awaited. */
  get retryAt(): Millis | undefined {
    return this.#client.isListening ? this.#waitsUntil : undefined;
  }

  /** When the message that has waited longest has waited too long. */
  get expiresAt(): Millis {
    return this.#queue?.expiresAt ?? Infinity;
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
    return this.#messages.hasRoomFor(message, others);
  }

  /** Sends what waits, and what comes, while the client is active. */
  open(now: Millis): void {
    this.#left = Infinity;
    this.#start(now);
  }

  /** Sends what waits now, and a little of what comes while the client is awake. */
  openForAwakening(now: Millis): void {
    this.#left = this.size + AWAKE_MARGIN;
    this.#start(now);
  }

  /** Forgets everything, of a session that is not persisted any more. */
  clear(): void {
    this.#left = 0;
    if (this.#delivery !== undefined) {
      this.#messages.release(this.#delivery.queued.message);
      this.#delivery = undefined;
    }
    this.#queue?.clear();
    this.#retained?.clear();
    this.#retained = undefined;
    this.#pausedUntil = undefined;
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
      source: undefined,
    };
    this.#messages.push(queued);
    this.#pump(now);
    // Here and not before: what has left by now need not be persisted, and what is
    // under way was persisted with its msgId.
    const { persistence } = this.#client;
    if (persistence === undefined || queued.seq !== 0) return;
    if (this.#delivery?.queued === queued) {
      this.#persist(persistence, queued, this.#delivery);
    } else if (this.#queue?.last === queued) this.#persist(persistence, queued);
  }

  /**
   * Takes what is retained for a subscription, in the place of what was left of
   * the same one's. It takes no room: each is looked for when its turn comes.
   *
   * @param begun of a restored subscription: topics that have been begun at QoS 2
   */
  addRetained(
    now: Millis,
    filter: TopicFilter,
    messages: Iterator<Message>,
    granted: DeliveryQos,
    begun?: Iterable<TopicName>,
  ): void {
    const { maxQueueOctets, nameBudget } = this.#limits;
    this.#retained ??= new RetainedDelivery(
      new MemoryBudget(maxQueueOctets, nameBudget),
    );
    const { persistence } = this.#client;
    this.#retained.add({ filter, messages, granted }, persistence, begun);
    this.#pump(now);
  }

  /** Forgets what is retained for a subscription that is no more. */
  dropRetained(filter: TopicFilter): void {
    this.#retained?.drop(filter, this.#client.persistence);
  }

  /**
   * Restores a message that was persisted, whatever the limits. One that has a msgId
   * was under way, and may have arrived.
   */
  restore(now: Millis, message: Message, record: QueuedRecord): void {
    const { qos, retain, seq, msgId, isReleased } = record;
    // A clock that was ahead would have it, and all behind it, wait for as long.
    const at = Math.min(record.at, now);
    const queued = { message, qos, retain, at, seq, source: undefined };
    this.#messages.charge(message);
    this.#lastSeq = Math.max(this.#lastSeq, seq);
    if (msgId === 0 || this.#delivery !== undefined) {
      this.#messages.push(queued);
      return;
    }
    const patience = { retryAt: now, triesLeft: 0 };
    this.#delivery = {
      queued,
      msgId,
      step: isReleased
        ? { kind: "releasing", ...patience }
        : { kind: "publishing", topic: NOT_NAMED, ...patience },
      repairs: 0,
      isCongested: false,
    };
  }

  /**
   * Numbers what is sent from here on behind this: an answer to what was sent
   * before the process ended shall not pass for one to what is sent now.
   */
  restoreMsgId(lastMsgId: number): void {
    this.#lastMsgId = lastMsgId;
  }

  /** Persists all of it. */
  persistAll(persistence: SessionPersistence): void {
    const delivery = this.#delivery;
    // A retained message is persisted for itself, unless it is under way.
    if (
      delivery !== undefined &&
      (delivery.queued.source === undefined || delivery.msgId !== undefined)
    ) this.#persist(persistence, delivery.queued, delivery);
    this.#retained?.persistAll(persistence);
    for (const queued of this.#queue ?? []) this.#persist(persistence, queued);
  }

  /** Drops what has waited too long. */
  expire(now: Millis): void {
    while (this.expiresAt <= now) {
      this.#drop(this.#messages.shift()!, "expired");
    }
  }

  /** Takes a REGACK; false when none is awaited under its msgId. */
  handleRegack(
    now: Millis,
    { msgId, returnCode }: TopicAck<"REGACK">,
  ): boolean {
    const delivery = this.#delivery;
    const step = delivery?.step;
    if (step?.kind !== "registering" || step.msgId !== msgId) return false;
    if (returnCode === RETURN_CODE.congestion) {
      delivery!.isCongested = true; // and again at the next retry
      return true;
    }
    const { entry } = step;
    delivery!.step = TO_PUBLISH;
    if (returnCode === RETURN_CODE.accepted) entry.isKnown = true;
    else {
      // §6.10: never to be published to, as the client has no place for it.
      this.#client.topicIds.refuse(entry);
      this.#lose("topicRefused");
      this.#client.handleTopicRefused(entry);
    }
    this.#pump(now);
    return true;
  }

  /** Takes a PUBACK; false when it answers nothing. */
  handlePuback(now: Millis, ack: TopicAck<"PUBACK">): boolean {
    const { returnCode } = ack;
    const isAccepted = returnCode === RETURN_CODE.accepted;
    const isUnknownTopic = returnCode === RETURN_CODE.invalidTopicId ||
      returnCode === RETURN_CODE.notSupported; // what some clients say instead
    const delivery = this.#delivery;
    if (delivery?.step.kind !== "publishing" || delivery.msgId !== ack.msgId) {
      // §6.6: an error is reported whatever the QoS, at QoS 0 without a msgId.
      return isUnknownTopic && this.#client.topicIds.forget(ack.topicId);
    }
    if (isAccepted) {
      if (delivery.queued.qos !== 1) return false;
      this.#finish();
    } else if (returnCode === RETURN_CODE.congestion) {
      delivery.isCongested = true; // and again at the next retry
      return true;
    } else if (isUnknownTopic && this.#mayRepair(delivery)) {
      this.#repair(delivery);
    } else this.#lose("messageRefused");
    this.#pump(now);
    return true;
  }

  /** Takes a PUBREC; false when it answers nothing. */
  handlePubrec(now: Millis, msgId: number): boolean {
    const delivery = this.#delivery;
    if (delivery?.msgId !== msgId) return false;
    const { step, queued } = delivery;
    if (step.kind === "releasing") {
      // That PUBREC has come may not be persisted yet, or the client does not
      // listen: it is sent again later then.
      if (this.#client.isListening && this.#mayPromise) {
        this.#client.sendPubrel(msgId);
      }
      return true;
    }
    if (step.kind !== "publishing" || queued.qos !== 2) return false;
    if (!this.#mayPromise) return true; // the PUBLISH is sent again, and so is it
    delivery.step = TO_RELEASE;
    const { seq } = queued;
    this.#client.persistence?.persist({
      type: "inFlight",
      seq,
      msgId,
      isReleased: true,
    });
    this.#pump(now);
    return true;
  }

  /** Takes a PUBCOMP; false when it answers nothing. */
  handlePubcomp(now: Millis, msgId: number): boolean {
    const delivery = this.#delivery;
    if (delivery?.step.kind !== "releasing" || delivery.msgId !== msgId) {
      return false;
    }
    this.#finish();
    this.#pump(now);
    return true;
  }

  /**
   * Sends again what is unanswered for too long.
   *
   * @returns false when it has been sent often enough: the client is not there
   */
  handleTimeout(now: Millis): boolean {
    const { retryAt } = this;
    if (retryAt === undefined || now < retryAt) return true;
    const delivery = this.#delivery;
    if (this.#pausedUntil !== undefined || delivery === undefined) {
      this.#pausedUntil = undefined;
      this.#pump(now);
      return true;
    }
    const { step } = delivery;
    if (!isAwaiting(step)) return true;
    if (!this.#mayPromise && this.#needsPromise(delivery)) {
      // It may not have been sent, nor may it be yet.
      step.retryAt = now + this.#limits.retryMs;
      return true;
    }
    if (step.triesLeft === 0) {
      if (!delivery.isCongested) return false;
      this.#lose("messageRefused"); // it is there, and has no room
      this.#pump(now);
      return true;
    }
    step.triesLeft--;
    this.#resend(now, delivery, step);
    return true;
  }

  /** Sends again at once what is unanswered: the client asks for it. */
  remind(now: Millis): void {
    const delivery = this.#delivery;
    if (!this.#client.isListening || delivery === undefined) return;
    const { step } = delivery;
    if (!isAwaiting(step)) return;
    if (!this.#mayPromise && this.#needsPromise(delivery)) return;
    this.#resend(now, delivery, step);
  }

  /** The queue of what waits. */
  get #messages(): MessageQueue {
    return this.#queue ??= new MessageQueue(this.#limits);
  }

  /** When what it waits for is over; `undefined` when it waits for nothing. */
  get #waitsUntil(): Millis | undefined {
    if (this.#pausedUntil !== undefined) return this.#pausedUntil;
    const step = this.#delivery?.step;
    return step !== undefined && isAwaiting(step) ? step.retryAt : undefined;
  }

  /** Whether what is persisted of this client now is kept, or need not be. */
  get #mayPromise(): boolean {
    return this.#client.persistence?.mayPromise ?? true;
  }

  /** Whether the packet whose answer is awaited is a promise. */
  #needsPromise({ step, queued }: Delivery): boolean {
    return step.kind !== "publishing" || queued.qos === 2;
  }

  #resend(now: Millis, delivery: Delivery, step: Awaiting): void {
    step.retryAt = now + this.#limits.retryMs;
    const client = this.#client;
    client.handleRetry();
    let fits = true;
    switch (step.kind) {
      case "registering":
        fits = client.sendRegister(step.entry, step.msgId);
        break;
      case "publishing":
        fits = this.#publish(delivery, step.topic, true);
        break;
      case "releasing":
        client.sendPubrel(delivery.msgId!);
        break;
      default:
        step satisfies never;
    }
    if (fits) return;
    // The client has moved to where less fits a packet.
    this.#lose("tooLong");
    this.#pump(now);
  }

  #start(now: Millis): void {
    this.#pausedUntil = undefined;
    const delivery = this.#delivery;
    if (delivery !== undefined) {
      const { kind } = delivery.step;
      delivery.step = kind === "releasing" || kind === "toRelease"
        ? TO_RELEASE
        : TO_PUBLISH;
      // What it had no room for then, it may have by now; or not be there at all.
      delivery.isCongested = false;
    }
    this.#pump(now);
  }

  /** The short way of a message of QoS 0 that has nothing to wait for. */
  #sendAtOnce(message: Message, retain: boolean): boolean {
    if (!this.#client.isListening || this.#left <= 0 || this.size > 0) {
      return false;
    }
    const entry = this.#client.topicIds.get(message.topicName);
    if (entry === undefined || entry.isRefused) return false;
    const { alias } = entry;
    if (alias === undefined && !entry.isKnown) return false;
    const wasSent = this.#client.sendPublish({
      message,
      qos: 0,
      retain,
      dup: false,
      topicIdType: alias === undefined ? "normal" : alias.topicIdType,
      topicId: alias === undefined ? entry.topicId : alias.topicId,
      msgId: 0,
    });
    if (!wasSent) this.#client.handleLoss(message, "tooLong");
    this.#left--;
    return true;
  }

  /** Goes as far as it can without an answer. */
  #pump(now: Millis): void {
    let burst = 0;
    while (
      this.#client.isListening && this.#left > 0 &&
      this.#waitsUntil === undefined
    ) {
      const delivery = this.#delivery ??= this.#takeNext(now);
      if (delivery === undefined) return;
      if (!this.#mayPromise && this.#isPromised(delivery.queued)) {
        return this.#postpone(now);
      }
      if (delivery.step.kind === "toRelease") {
        this.#client.sendPubrel(delivery.msgId!);
        delivery.step = { kind: "releasing", ...this.#patience(now) };
        return;
      }
      this.#begin(now, delivery);
      // Also those that are lost: a hundred thousand would take a second.
      if (delivery.queued.source === undefined || ++burst < MAX_BURST) continue;
      if (this.#waitsUntil !== undefined) return;
      this.#pausedUntil = now + PAUSE_MS;
    }
  }

  /** Whether the next step of a delivery has to be persisted before it is made. */
  #isPromised({ qos, message }: Queued): boolean {
    const known = this.#client.topicIds.get(message.topicName);
    return qos === 2 ||
      (known?.alias === undefined && !(known?.isKnown ?? false));
  }

  /** Nothing is sent until it can be persisted; an awakening does not wait for it. */
  #postpone(now: Millis): void {
    if (this.#left !== Infinity) this.#left = 0;
    else this.#pausedUntil = now + STORE_PAUSE_MS;
  }

  /** Registers the topic, or publishes. */
  #begin(now: Millis, delivery: Delivery): void {
    const { topicIds } = this.#client;
    const { qos, source, message: { topicName } } = delivery.queued;
    const known = topicIds.get(topicName);
    if (known?.isRefused) return this.#lose("topicRefused");
    const entry = known?.alias === undefined
      ? topicIds.assign(topicName)
      : known;
    if (entry === undefined) {
      // Nor would there be an id for the rest of what is retained.
      if (source !== undefined && this.isDelivering(source.filter)) {
        this.#endRetained(source.filter);
      }
      return this.#lose("topicIds");
    }
    const { alias } = entry;
    if (alias === undefined && !entry.isKnown) {
      const msgId = this.#nextMsgId();
      if (!this.#client.sendRegister(entry, msgId)) {
        return this.#lose("tooLong");
      }
      delivery.step = {
        kind: "registering",
        entry,
        msgId,
        ...this.#patience(now),
      };
      return;
    }
    const dup = delivery.msgId !== undefined;
    if (qos > 0 && !dup) {
      delivery.msgId = this.#nextMsgId();
      this.#persistBegun(delivery);
    }
    const topic: TopicReference = alias ??
      { topicIdType: "normal", topicId: entry.topicId };
    if (!this.#publish(delivery, topic, dup)) return this.#lose("tooLong");
    if (qos === 0) return this.#finish();
    delivery.step = { kind: "publishing", topic, ...this.#patience(now) };
  }

  #publish(
    { queued: { message, qos, retain }, msgId = 0 }: Delivery,
    { topicIdType, topicId }: TopicReference,
    dup: boolean,
  ): boolean {
    return this.#client.sendPublish({
      message,
      qos,
      retain,
      dup,
      topicIdType,
      topicId,
      msgId,
    });
  }

  /**
   * Whether there is sense in registering the topic once more. Once should do;
   * but the refusal may have come twice, or its cause too.
   */
  #mayRepair({ repairs }: Delivery): boolean {
    return repairs < Math.max(1, this.#limits.retries);
  }

  /** Registers the topic once more: the client does not know its id. */
  #repair(delivery: Delivery): void {
    const { topicIds } = this.#client;
    delivery.repairs++;
    delivery.step = TO_PUBLISH;
    const entry = topicIds.get(delivery.queued.message.topicName);
    if (entry !== undefined) topicIds.unlearn(entry);
  }

  #patience(now: Millis): Patience {
    const { retryMs, retries } = this.#limits;
    return { retryAt: now + retryMs, triesLeft: retries };
  }

  #takeNext(now: Millis): Delivery | undefined {
    let queued = this.#takeRetained(now);
    if (queued === undefined) {
      this.expire(now);
      queued = this.#queue?.shift();
    }
    return queued && {
      queued,
      msgId: undefined,
      step: TO_PUBLISH,
      repairs: 0,
      isCongested: false,
    };
  }

  #takeRetained(now: Millis): Queued | undefined {
    for (let step; (step = this.#retained?.next()) !== undefined;) {
      if (step.type === "end") {
        this.#endRetained(step.filter);
        continue;
      }
      const { message, source } = step;
      this.#messages.charge(message);
      const qos = source.granted < message.qos ? source.granted : message.qos;
      return { message, qos, retain: true, at: now, seq: 0, source };
    }
    this.#retained = undefined;
    return undefined;
  }

  /** What is retained for a subscription has been delivered, as far as it can be. */
  #endRetained(filter: TopicFilter): void {
    this.dropRetained(filter);
    this.#client.handleRetainedDone(filter);
  }

  /** Persists the msgId of a delivery that is about to begin. */
  #persistBegun(delivery: Delivery): void {
    const { persistence } = this.#client;
    const { queued, msgId } = delivery;
    const { seq, qos, source, message } = queued;
    if (persistence !== undefined) {
      if (seq === 0) this.#persist(persistence, queued, delivery);
      else {
        persistence.persist({
          type: "inFlight",
          seq,
          msgId: msgId!,
          isReleased: false,
        });
      }
    }
    if (qos === 2 && source !== undefined && this.#limits.isDurable) {
      this.#retained?.note(source, message.topicName, persistence);
    }
  }

  /** Persists a message that was not persisted before. */
  #persist(
    persistence: SessionPersistence,
    queued: Queued,
    delivery?: Delivery,
  ): void {
    const { message: { topicName, payload }, qos, retain, at } = queued;
    const kind = delivery?.step.kind;
    const seq = this.#lastSeq + 1;
    const isPersisted = persistence.persist({
      type: "queued",
      seq,
      topicName,
      payload,
      qos,
      retain,
      at,
      msgId: delivery?.msgId ?? 0,
      isReleased: kind === "toRelease" || kind === "releasing",
    });
    queued.seq = isPersisted ? seq : 0;
    if (isPersisted) this.#lastSeq = seq;
  }

  /** The delivery under way is over. */
  #finish(): void {
    this.#end(this.#delivery!.queued);
    this.#delivery = undefined;
    this.#left--;
  }

  #lose(reason: LossReason): void {
    const { message } = this.#delivery!.queued;
    this.#finish();
    this.#client.handleLoss(message, reason);
  }

  /** Drops a message that was taken out of the queue. */
  #drop(queued: Queued, reason: LossReason): void {
    this.#end(queued);
    this.#client.handleLoss(queued.message, reason);
  }

  /** A message waits no more, and is not under way. */
  #end({ seq, message }: Queued): void {
    if (seq !== 0) {
      this.#client.persistence?.persist({ type: "queuedEnd", seq });
    }
    this.#messages.release(message);
  }

  /** Makes room for a message, and takes it; false when there is none. */
  #makeRoom(message: Message, qos: DeliveryQos): boolean {
    const messages = this.#messages;
    for (let lack; (lack = messages.lackFor(message)) !== undefined;) {
      const reason = lack === "never" ? "memory" : lack;
      const victim = lack === "never" ? undefined : messages.takeVictim(qos);
      if (victim === undefined) {
        this.#client.handleLoss(message, reason);
        return false;
      }
      this.#drop(victim, reason);
    }
    messages.charge(message);
    return true;
  }

  /** 1 to 65535, and not that of the delivery under way. */
  #nextMsgId(): number {
    do {
      this.#lastMsgId = this.#lastMsgId % 0xffff + 1;
    } while (this.#lastMsgId === this.#delivery?.msgId);
    return this.#lastMsgId;
  }
}

/** A step in which an answer is awaited. */
type Awaiting = Extract<Step, Patience>;

function isAwaiting(step: Step): step is Awaiting {
  return "retryAt" in step;
}
