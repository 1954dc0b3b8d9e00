/**
 * The messages that wait for one client, in the order in which they came, within
 * the limits of number, memory and age.
 *
 * Memory is counted until a message is delivered or lost: a message that was
 * taken out of the queue, and is under way, still counts.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import { Deque } from "../base/deque.ts";
import type { DeliveryQos, Message } from "../wire/message.ts";
import type { LossReason } from "./events.ts";
import type { OutboxClient, OutboxLimits } from "./outbox_client.ts";
import type { SessionPersistence } from "./persistence.ts";
import type { RetainedSource } from "./retained_delivery.ts";

/** A message for one client. */
export interface QueuedMessage {
  /** What was published. */
  readonly message: Message;
  /** At which QoS the client gets it. */
  readonly qos: DeliveryQos;
  /** Whether the client gets it because it was retained. */
  readonly retain: boolean;
  /** When it came. */
  readonly at: Millis;
  /** The number under which it is persisted; 0 if it is not. */
  seq: number;
  /** The subscription that it is retained for, if it is. */
  readonly source: RetainedSource | undefined;
}

/** What a message takes beside its name and payload, in octets, roughly. */
const OVERHEAD = 160;

/** The queue of one client. `Outbox` has one as soon as a message has to wait. */
export class MessageQueue {
  readonly #limits: OutboxLimits;
  readonly #client: OutboxClient;
  readonly #messages = new Deque<QueuedMessage>();
  /** How many of them are at QoS 0. */
  #atQos0 = 0;
  /** Memory of the messages that wait or are under way. */
  #octets = 0;
  /** The number of the message that was persisted last. */
  #lastSeq = 0;

  /**
   * Starts empty.
   *
   * @param limits how much may wait, and how long
   * @param client the client that gets the messages
   */
  constructor(limits: OutboxLimits, client: OutboxClient) {
    this.#limits = limits;
    this.#client = client;
  }

  /** How many messages wait. */
  get size(): number {
    return this.#messages.size;
  }

  /** The message that came last, if it still waits. */
  get last(): QueuedMessage | undefined {
    return this.#messages.last;
  }

  /** When the oldest message has waited for too long. */
  get expiresAt(): Millis {
    const oldest = this.#messages.first;
    return oldest === undefined
      ? Infinity
      : oldest.at + this.#limits.messageExpiryMs;
  }

  /** See {@linkcode hasRoom}. */
  hasRoomFor(message: Message, others: number): boolean {
    return this.#messages.size - this.#atQos0 < this.#limits.maxQueue &&
      hasRoom(this.#limits, message, others, this.#octets);
  }

  /**
   * Adds a message, which may take the place of older ones.
   *
   * @returns the message as it waits; `undefined` when there is no room for it
   */
  add(
    now: Millis,
    message: Message,
    qos: DeliveryQos,
    retain: boolean,
  ): QueuedMessage | undefined {
    const reason = this.#makeRoom(message, qos);
    if (reason !== undefined) {
      this.#client.handleLoss(message, reason);
      return undefined;
    }
    this.charge(message);
    const queued: QueuedMessage = {
      message: message.keep(),
      qos,
      retain,
      at: now,
      seq: 0,
      source: undefined,
    };
    this.#push(queued);
    return queued;
  }

  /** Restores a message from the store; limits do not apply. */
  restore(queued: QueuedMessage): void {
    this.restoreTaken(queued);
    this.#push(queued);
  }

  /** Takes over a message that was persisted when it was already under way. */
  restoreTaken({ message, seq }: QueuedMessage): void {
    this.charge(message);
    this.#lastSeq = Math.max(this.#lastSeq, seq);
  }

  /** Takes the next message out that has not waited for too long. */
  take(now: Millis): QueuedMessage | undefined {
    this.expire(now);
    return this.#shift();
  }

  /** Drops the messages that have waited for too long. */
  expire(now: Millis): void {
    while (this.expiresAt <= now) this.#drop(this.#shift()!, "expired");
  }

  /** Counts the memory of a message that is not from the queue. */
  charge(message: Message): void {
    const cost = costOf(message);
    this.#octets += cost;
    this.#limits.queueBudget.charge(cost);
  }

  /** Forgets a message that was taken out and is delivered or lost. */
  end({ message, seq }: QueuedMessage): void {
    const { persistence } = this.#client;
    if (seq !== 0 && persistence !== undefined) {
      const { session } = persistence;
      persistence.persistMessage({ type: "queuedEnd", session, seq });
    }
    const cost = costOf(message);
    this.#octets -= cost;
    this.#limits.queueBudget.give(cost);
  }

  /** Forgets all messages, those that are under way too, and persists nothing. */
  clear(): void {
    this.#limits.queueBudget.give(this.#octets);
    this.#octets = 0;
    this.#messages.clear();
    this.#atQos0 = 0;
  }

  /** Persists all messages that wait. */
  persistAll(persistence: SessionPersistence): void {
    for (const queued of this.#messages) this.persist(persistence, queued);
  }

  /** Persists a message, behind all that were persisted before it. */
  persist(
    persistence: SessionPersistence,
    queued: QueuedMessage,
    { msgId, isReleased }: TransferProgress = NOT_BEGUN,
  ): void {
    const { message: { topicName, payload }, qos, retain, at } = queued;
    const seq = this.#lastSeq + 1;
    const isPersisted = persistence.persistMessage({
      type: "queued",
      session: persistence.session,
      seq,
      topicName,
      payload,
      qos,
      retain,
      at,
      msgId,
      isReleased,
    });
    queued.seq = isPersisted ? seq : 0;
    if (isPersisted) this.#lastSeq = seq;
  }

  #push(queued: QueuedMessage): void {
    this.#messages.push(queued);
    if (queued.qos === 0) this.#atQos0++;
  }

  #shift(): QueuedMessage | undefined {
    const first = this.#messages.shift();
    if (first?.qos === 0) this.#atQos0--;
    return first;
  }

  /** Drops older messages until there is room; gives the reason if there is none. */
  #makeRoom(message: Message, qos: DeliveryQos): LossReason | undefined {
    const { maxQueue, maxQueueOctets, overflow, queueBudget } = this.#limits;
    const cost = costOf(message);
    // The messages of other clients are not dropped for this one. If they leave no
    // room even for this message alone, nothing is dropped for it in vain.
    if (!queueBudget.allows(cost - this.#octets)) return "memory";
    while (true) {
      const isFull = this.#messages.size >= maxQueue ||
        (this.#octets > 0 && this.#octets + cost > maxQueueOctets);
      if (!isFull && queueBudget.allows(cost)) return undefined;
      const reason = isFull ? "overflow" : "memory";
      const dropped = this.#takeDroppable(overflow === "drop" && qos > 0);
      if (dropped === undefined) return reason;
      this.#drop(dropped, reason);
    }
  }

  /** Takes out the oldest message at QoS 0, or else the oldest if it may go. */
  #takeDroppable(mayBeAny: boolean): QueuedMessage | undefined {
    if (this.#atQos0 === 0) {
      return mayBeAny ? this.#messages.shift() : undefined;
    }
    this.#atQos0--;
    return this.#messages.take(({ qos }) => qos === 0);
  }

  #drop(queued: QueuedMessage, reason: LossReason): void {
    this.end(queued);
    this.#client.handleLoss(queued.message, reason);
  }
}

/** How far a message has come. */
export interface TransferProgress {
  /** The msgId of its PUBLISH; 0 before the first. */
  readonly msgId: number;
  /** Whether PUBREC has come for it: from then on PUBREL is sent. */
  readonly isReleased: boolean;
}

const NOT_BEGUN: TransferProgress = { msgId: 0, isReleased: false };

/**
 * Whether the memory has room for a message at QoS 1 or 2 without a loss.
 *
 * @param others how many clients before this one are to get it too
 * @param octets memory that this client's messages take already
 */
export function hasRoom(
  { maxQueueOctets, queueBudget }: OutboxLimits,
  message: Message,
  others: number,
  octets: number,
): boolean {
  const cost = costOf(message);
  return (octets === 0 || octets + cost <= maxQueueOctets) &&
    queueBudget.allows(cost * (others + 1));
}

function costOf({ topicName, payload }: Message): number {
  return payload.length + topicName.length * 2 + OVERHEAD;
}
