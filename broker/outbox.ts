/**
 * What is on its way to one client: retained messages for its new subscriptions
 * (`broker/retained_delivery.ts`), then the messages that wait
 * (`broker/message_queue.ts`), one exchange at a time (`broker/in_flight.ts`).
 *
 * Messages leave in the order in which they came. MQTT-SN asks a client for one
 * exchange at a time, and so does this gateway in the other direction. An outbox
 * is open while its client is active or awake; else messages wait in it.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import { MemoryBudget } from "./memory_budget.ts";
import type { DeliveryQos, Message, TopicFilter } from "../wire/message.ts";
import type { TopicAck } from "../wire/packets.ts";
import { InFlight, type Outcome } from "./in_flight.ts";
import { hasRoom, MessageQueue, type QueuedMessage } from "./message_queue.ts";
import type { OutboxClient, OutboxLimits } from "./outbox_client.ts";
import type { SessionPersistence } from "./persistence.ts";
import type { QueuedRecord } from "./records.ts";
import {
  RetainedDelivery,
  type RetainedSubscription,
} from "./retained_delivery.ts";

/** Retained messages that leave, or are lost, at once: others want a turn. */
const MAX_BURST = 100;

/** The pause until as many leave again, in milliseconds. */
const PAUSE_MS = 10;

/** The pause until the store is asked again, in milliseconds. */
const STORE_PAUSE_MS = 1_000;

/** More than waited at the start that one awakening may deliver. */
const AWAKE_MARGIN = 100;

/** The outbox of one client. `Session` has one. */
export class Outbox {
  readonly #limits: OutboxLimits;
  readonly #client: OutboxClient;
  /** Deliveries until it sends no more; `Infinity` for an active client. */
  #left = 0;
  /** The msgId behind which the first exchange starts. */
  #lastMsgId = 0;
  // Most clients never need one of these: each is made when it is needed.
  #queue: MessageQueue | undefined;
  #inFlight: InFlight | undefined;
  /**
   * It goes before the queue: else a topic's old value would come behind a newer
   * one.
   */
  #retained: RetainedDelivery | undefined;

  /**
   * Starts empty. It sends nothing before it is opened.
   *
   * @param limits how much may wait, how long, and how often a packet is sent
   * @param client the client that gets the messages
   */
  constructor(limits: OutboxLimits, client: OutboxClient) {
    this.#limits = limits;
    this.#client = client;
  }

  get #messages(): MessageQueue {
    return this.#queue ??= new MessageQueue(this.#limits, this.#client);
  }

  get #exchange(): InFlight {
    return this.#inFlight ??= new InFlight({
      limits: this.#limits,
      client: this.#client,
      queue: this.#messages,
      lastMsgId: this.#lastMsgId,
    });
  }

  /**
   * How many messages wait, with the one under way. The retained messages of a
   * subscription count as one, as nobody knows how many they are.
   */
  get size(): number {
    return (this.#queue?.size ?? 0) + (this.#retained?.size ?? 0) +
      (this.#inFlight?.message === undefined ? 0 : 1);
  }

  /** Whether an answer of the client, or the end of a pause, is awaited. */
  get isWaiting(): boolean {
    return this.#client.isListening && this.#isBusy;
  }

  get #isBusy(): boolean {
    return this.#inFlight?.isWaiting ?? false;
  }

  /** Whether everything has been delivered that an awakening delivers. */
  get isFlushed(): boolean {
    return !this.#isBusy && (this.#left <= 0 || this.size === 0);
  }

  /** When it will send again, `undefined` when it waits for nothing. */
  get retryAt(): Millis | undefined {
    return this.#client.isListening ? this.#inFlight?.retryAt : undefined;
  }

  /** When the message that has waited longest has waited for too long. */
  get expiresAt(): Millis {
    return this.#queue?.expiresAt ?? Infinity;
  }

  /** Whether retained messages of a subscription have still to be delivered. */
  isDelivering(filter: TopicFilter): boolean {
    return this.#retained?.has(filter) ?? false;
  }

  /**
   * Whether a message of QoS 1 or 2 would find room without a loss.
   *
   * @param others how many clients before this one are to get it too
   */
  hasRoomFor(message: Message, others: number): boolean {
    return this.#queue?.hasRoomFor(message, others) ??
      hasRoom(this.#limits, message, others, 0);
  }

  /** Sends from now on what waits, and what comes. */
  open(now: Millis): void {
    this.#left = Infinity;
    this.#start(now);
  }

  /** Sends what waits now, and a little of what comes meanwhile. */
  openForAwakening(now: Millis): void {
    this.#left = this.size + AWAKE_MARGIN;
    this.#start(now);
  }

  #start(now: Millis): void {
    this.#inFlight?.resume();
    this.#pump(now);
  }

  /** Forgets everything, of a session that is not persisted any more. */
  clear(): void {
    this.#left = 0;
    this.#queue?.clear();
    this.#inFlight?.clear();
    this.#retained?.clear();
    this.#retained = undefined;
  }

  /** Takes a message for the client. */
  add(now: Millis, message: Message, qos: DeliveryQos, retain: boolean): void {
    if (qos === 0 && this.#sendAtOnce(message, retain)) return;
    const queued = this.#messages.add(now, message, qos, retain);
    if (queued === undefined) return;
    this.#pump(now);
    // Not before now: a message that has left need not be persisted, and one that
    // is under way was persisted with its msgId.
    const { persistence } = this.#client;
    if (persistence === undefined || queued.seq !== 0) return;
    const isThere = this.#messages.last === queued ||
      this.#inFlight?.message === queued;
    if (isThere) this.#messages.persist(persistence, queued);
  }

  /** Sends a message of QoS 0 directly, if it has nothing to wait for. */
  #sendAtOnce(message: Message, retain: boolean): boolean {
    if (!this.#client.isListening || this.#left <= 0 || this.size > 0) {
      return false;
    }
    const entry = this.#client.topicIds.get(message.topicName);
    if (entry === undefined || entry.isRefused) return false;
    if (entry.alias === undefined && !entry.isKnown) return false;
    if (!this.#client.sendPublishQos0(message, entry, retain)) {
      this.#client.handleLoss(message, "tooLong");
    }
    this.#left--;
    return true;
  }

  /**
   * Takes the retained messages of a subscription, in the place of those that an
   * earlier one to the same filter has left.
   */
  addRetained(now: Millis, subscription: RetainedSubscription): void {
    const { maxQueueOctets, nameBudget } = this.#limits;
    this.#retained ??= new RetainedDelivery(
      new MemoryBudget(maxQueueOctets, nameBudget),
    );
    this.#retained.add(subscription, this.#client.persistence);
    this.#pump(now);
  }

  /** Forgets the retained messages of a subscription that is no more. */
  dropRetained(filter: TopicFilter): void {
    this.#retained?.drop(filter, this.#client.persistence);
  }

  /**
   * Takes over a message that was persisted, whatever the limits. One with a msgId
   * was under way, and may have arrived.
   */
  restore(now: Millis, message: Message, record: QueuedRecord): void {
    const { qos, retain, seq, msgId, isReleased } = record;
    // By a clock that was ahead it would not have come yet.
    const at = Math.min(record.at, now);
    const source = undefined;
    const queued: QueuedMessage = { message, qos, retain, at, seq, source };
    if (qos > 0 && msgId !== 0 && this.#inFlight?.message === undefined) {
      this.#messages.restoreTaken(queued);
      this.#exchange.restore(now, queued, { msgId, isReleased });
    } else this.#messages.restore(queued);
  }

  /**
   * Starts msgIds behind this one: an answer to a packet from before a restart must
   * not be taken for an answer to a new one.
   */
  restoreMsgId(lastMsgId: number): void {
    this.#lastMsgId = lastMsgId;
    this.#inFlight?.restoreMsgId(lastMsgId);
  }

  /** Persists all that waits or is under way. */
  persistAll(persistence: SessionPersistence): void {
    this.#inFlight?.persist(persistence);
    this.#retained?.persistAll(persistence);
    this.#queue?.persistAll(persistence);
  }

  /** Drops the messages that have waited for too long. */
  expire(now: Millis): void {
    this.#queue?.expire(now);
  }

  /** Takes a REGACK; false when it answers nothing. */
  handleRegack(now: Millis, packet: TopicAck<"REGACK">): boolean {
    return this.#follow(now, this.#inFlight?.handleRegack(packet));
  }

  /** Takes a PUBACK; false when it answers nothing. */
  handlePuback(now: Millis, packet: TopicAck<"PUBACK">): boolean {
    return this.#follow(now, this.#exchange.handlePuback(packet));
  }

  /** Takes a PUBREC; false when it answers nothing. */
  handlePubrec(now: Millis, msgId: number): boolean {
    return this.#follow(now, this.#inFlight?.handlePubrec(msgId));
  }

  /** Takes a PUBCOMP; false when it answers nothing. */
  handlePubcomp(now: Millis, msgId: number): boolean {
    return this.#follow(now, this.#inFlight?.handlePubcomp(msgId));
  }

  /**
   * Sends again what is unanswered for too long.
   *
   * @returns false when it has been sent often enough: the client is not there
   */
  handleTimeout(now: Millis): boolean {
    if (!this.#client.isListening || this.#inFlight === undefined) return true;
    const outcome = this.#inFlight.handleTimeout(now);
    if (outcome === "unanswered") return false;
    this.#follow(now, outcome);
    return true;
  }

  /** Sends again at once what is unanswered: the client asks for it. */
  remind(now: Millis): void {
    if (this.#client.isListening) {
      this.#follow(now, this.#inFlight?.remind(now));
    }
  }

  /** Goes on after a packet or a timeout; tells whether it was expected. */
  #follow(now: Millis, outcome: Outcome = "unexpected"): boolean {
    if (outcome === "over") this.#left--;
    if (outcome === "over" || outcome === "ready") this.#pump(now);
    return outcome !== "unexpected";
  }

  /** Goes as far as possible without an answer. */
  #pump(now: Millis): void {
    let burst = 0;
    while (this.#client.isListening && this.#left > 0 && !this.#isBusy) {
      if (!this.#hasNext(now)) return;
      const inFlight = this.#exchange;
      if (!inFlight.mayAdvance) return this.#postpone(now);
      const source = inFlight.message!.source;
      let outcome = inFlight.advance(now);
      if (outcome === "noTopicId") {
        // The other retained messages would not get a topic id either.
        if (source !== undefined && this.isDelivering(source.filter)) {
          this.#endRetained(source.filter);
        }
        outcome = inFlight.lose("topicIds");
      }
      if (outcome === "over") this.#left--;
      // Losses count, too: a hundred thousand of them would take a second.
      if (source === undefined || ++burst < MAX_BURST) continue;
      if (!inFlight.isWaiting) inFlight.pause(now + PAUSE_MS);
    }
  }

  /** Takes the next message if none is under way; false when there is none. */
  #hasNext(now: Millis): boolean {
    if (this.#inFlight?.message !== undefined) return true;
    const next = this.#takeRetained(now) ?? this.#queue?.take(now);
    if (next === undefined) return false;
    this.#exchange.take(next);
    return true;
  }

  #takeRetained(now: Millis): QueuedMessage | undefined {
    for (let step; (step = this.#retained?.next()) !== undefined;) {
      if (step.type === "end") {
        this.#endRetained(step.filter);
        continue;
      }
      const { message, source } = step;
      // It has its memory already, and takes none anew; it is only counted.
      this.#messages.charge(message);
      const qos = source.granted < message.qos ? source.granted : message.qos;
      return { message, qos, retain: true, at: now, seq: 0, source };
    }
    this.#retained = undefined;
    return undefined;
  }

  /** The retained messages of a subscription were delivered, as far as possible. */
  #endRetained(filter: TopicFilter): void {
    this.dropRetained(filter);
    this.#client.handleRetainedDone(filter);
  }

  /**
   * Sends nothing until the store can persist again. An awake client does not wait
   * for it, and sleeps on.
   */
  #postpone(now: Millis): void {
    if (this.#left === Infinity) this.#exchange.pause(now + STORE_PAUSE_MS);
    else this.#left = 0;
  }
}
