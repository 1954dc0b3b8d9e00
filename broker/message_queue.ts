/**
 * The messages that wait for one client, in the order in which they came, and the
 * memory that they take.
 *
 * @module
 */

import { Deque } from "../base/deque.ts";
import type { Millis } from "../base/clock.ts";
import type { DeliveryQos, Message } from "../wire/message.ts";
import type { Settings } from "./options.ts";
import type { RetainedSource } from "./retained_delivery.ts";

/** How much may wait for a client, and how long. */
export type QueueLimits = Pick<
  Settings,
  "maxQueue" | "overflow" | "messageExpiryMs" | "maxQueueOctets" | "queueBudget"
>;

/** A message that waits for a client. */
export interface Queued {
  /** The message. */
  readonly message: Message;
  /** At which QoS this client gets it. */
  readonly qos: DeliveryQos;
  /** Its Retain flag. */
  readonly retain: boolean;
  /** When it came. */
  readonly at: Millis;
  /** The number by which it is persisted; 0 if it is not. */
  seq: number;
  /** The subscription that it is retained for, if it is. */
  readonly source: RetainedSource | undefined;
}

/** What the engine needs around a message that waits, in octets, roughly. */
const OVERHEAD = 160;

/** The queue of one client. */
export class MessageQueue {
  readonly #limits: QueueLimits;
  readonly #waiting = new Deque<Queued>();
  /** How many of those that wait are of QoS 0. */
  #atMostOnce = 0;
  /** Memory of what waits, and of what is under way. */
  #octets = 0;

  /**
   * Makes an empty queue.
   *
   * @param limits how much may wait, and how long
   */
  constructor(limits: QueueLimits) {
    this.#limits = limits;
  }

  /** How many messages wait. */
  get length(): number {
    return this.#waiting.size;
  }

  /** The message that came last. */
  get last(): Queued | undefined {
    return this.#waiting.last;
  }

  /** When the message that has waited longest has waited too long. */
  get expiresAt(): Millis {
    const oldest = this.#waiting.first;
    return oldest === undefined
      ? Infinity
      : oldest.at + this.#limits.messageExpiryMs;
  }

  /**
   * Whether a message of QoS 1 or 2 would find room without a loss.
   *
   * @param others how many clients before this one are to get it too
   */
  hasRoomFor(message: Message, others: number): boolean {
    const { maxQueue, queueBudget } = this.#limits;
    return this.length - this.#atMostOnce < maxQueue &&
      !this.#isTooMuch(message) &&
      queueBudget.allows(costOf(message) * (others + 1));
  }

  /**
   * What a message lacks to be put in the queue now; `undefined` if nothing.
   *
   * What other clients hold does not go for this one's sake. So where the memory
   * would not do even if this queue were empty, it says so at once, as `never`.
   */
  lackFor(message: Message): "overflow" | "memory" | "never" | undefined {
    const { maxQueue, queueBudget } = this.#limits;
    const cost = costOf(message);
    if (!queueBudget.allows(cost - this.#octets)) return "never";
    if (this.length >= maxQueue || this.#isTooMuch(message)) return "overflow";
    return queueBudget.allows(cost) ? undefined : "memory";
  }

  /**
   * Takes out the message that goes first for another: the oldest of QoS 0, else
   * the oldest, as far as `overflow` lets it.
   *
   * @param qos that of the message that wants room
   */
  takeVictim(qos: DeliveryQos): Queued | undefined {
    if (this.#atMostOnce > 0) {
      this.#atMostOnce--;
      return this.#waiting.take((queued) => queued.qos === 0);
    }
    return this.#limits.overflow === "drop" && qos > 0
      ? this.#waiting.shift()
      : undefined;
  }

  /** Puts a message at the end. Its memory was taken by {@linkcode charge}. */
  push(queued: Queued): void {
    this.#waiting.push(queued);
    if (queued.qos === 0) this.#atMostOnce++;
  }

  /** Takes the next message out. Its memory is taken until {@linkcode release}. */
  shift(): Queued | undefined {
    const queued = this.#waiting.shift();
    if (queued?.qos === 0) this.#atMostOnce--;
    return queued;
  }

  /** Takes memory for a message, whether it is there or not. */
  charge(message: Message): void {
    const cost = costOf(message);
    this.#octets += cost;
    this.#limits.queueBudget.charge(cost);
  }

  /** Gives a message's memory back. */
  release(message: Message): void {
    const cost = costOf(message);
    this.#octets -= cost;
    this.#limits.queueBudget.give(cost);
  }

  /** Takes all messages out, and gives their memory back. */
  clear(): void {
    for (const { message } of this.#waiting) this.release(message);
    this.#waiting.clear();
    this.#atMostOnce = 0;
  }

  /** The messages that wait, in order. */
  [Symbol.iterator](): IterableIterator<Queued> {
    return this.#waiting[Symbol.iterator]();
  }

  /** A message of any size finds room where nothing else is. */
  #isTooMuch(message: Message): boolean {
    return this.#octets > 0 &&
      this.#octets + costOf(message) > this.#limits.maxQueueOctets;
  }
}

function costOf({ topicName, payload }: Message): number {
  return payload.length + topicName.length * 2 + OVERHEAD;
}
