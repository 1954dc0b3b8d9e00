/**
 * A client's subscription: the messages that came for it and wait to be taken.
 *
 * The queue is bounded. Once it is full a message at QoS 0 is dropped and
 * counted; one at QoS 1 or 2 is not acknowledged, so that the broker keeps it,
 * and sends it again after its own T_retry. What was acknowledged is never
 * dropped. But a broker gives a client up that acknowledges nothing for as long
 * as it repeats itself, 50 s with the specification's timers: then the client
 * connects anew, and has lost nothing only if its session is kept.
 *
 * @module
 */

import type { DeviceTopic } from "./commands.ts";
import type { ReceivedMessage } from "./events.ts";
import type { DeliveryQos } from "../wire/message.ts";

/**
 * What a request can be given.
 *
 * @example
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { Broker, Client, type RequestOptions } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * const options: RequestOptions = { signal: AbortSignal.abort() };
 * await assertRejects(() => client.register("lamp", options), DOMException);
 * ```
 */
export interface RequestOptions {
  /** Ends the wait for an answer. */
  readonly signal?: AbortSignal;
}

/**
 * What a subscription belongs to.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Subscription, type SubscriptionOwner } from "../mod.ts";
 *
 * const ended: string[] = [];
 * const owner: SubscriptionOwner = {
 *   unsubscribe: async ({ topics }) => void ended.push(`${topics}`),
 *   dispose: async () => {},
 * };
 * const subscription = new Subscription(["lamp"], 0, 10, owner);
 * await subscription.unsubscribe();
 * assertEquals(ended, ["lamp"]);
 * ```
 */
export interface SubscriptionOwner {
  /** Ends the subscription at the broker too. */
  unsubscribe(
    subscription: Subscription,
    options: RequestOptions,
  ): Promise<void>;
  /** The same, but as long as that may take five seconds: then without it. */
  dispose(subscription: Subscription): Promise<void>;
}

/** A caller that waits for the next message. */
interface Taker {
  resolve(message: ReceivedMessage | undefined): void;
  reject(reason: unknown): void;
}

/** Places at the head of a queue that are given back at once. */
const MAX_SPENT = 1_024;

/**
 * What came for a subscription, in order. To leave the loop ends nothing: the
 * next one goes on where it was left.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * await using messages = await client.subscribe("room/+/light", { qos: 1 });
 *
 * await client.publish("room/1/light", "on", { qos: 1 });
 * await client.publish("room/2/light", "off", { qos: 1 });
 * for await (const message of messages) {
 *   assertEquals(message.text(), "on");
 *   break;
 * }
 * assertEquals((await messages.take()).topicName, "room/2/light");
 * ```
 */
export class Subscription
  implements AsyncIterable<ReceivedMessage>, AsyncDisposable {
  /** What it is subscribed to. */
  readonly topics: readonly DeviceTopic[];
  /** The QoS that was asked for. For the client. */
  readonly wanted: DeliveryQos;
  readonly #owner: SubscriptionOwner;
  readonly #limit: number;
  #queue: (ReceivedMessage | undefined)[] = [];
  #head = 0;
  readonly #takers: Taker[] = [];
  #qos: DeliveryQos;
  #last: ReceivedMessage | undefined;
  #lost = 0;
  #admitted = Infinity;
  #isEnded = false;
  #reason: unknown;

  /**
   * Makes a subscription to which nothing has come.
   *
   * @param topics what it is subscribed to
   * @param qos what was asked for
   * @param limit messages that may wait, 1 or more
   * @param owner ends it
   */
  constructor(
    topics: readonly DeviceTopic[],
    qos: DeliveryQos,
    limit: number,
    owner: SubscriptionOwner,
  ) {
    this.topics = topics;
    this.wanted = qos;
    this.#qos = qos;
    this.#limit = limit;
    this.#owner = owner;
  }

  /** The QoS that the broker has granted; the lowest, where there are several. */
  get qos(): DeliveryQos {
    return this.#qos;
  }

  /** Messages that wait. */
  get length(): number {
    return this.#queue.length - this.#head;
  }

  /** Messages at QoS 0 that were dropped because too many were waiting. */
  get lost(): number {
    return this.#lost;
  }

  /** Messages that may still come, by {@linkcode Subscription.admit}. */
  get admitted(): number {
    return this.#admitted;
  }

  /** Whether nothing more is to be acknowledged. */
  get isFull(): boolean {
    return this.#admitted <= 0 || this.#isCrowded;
  }

  /** Whether there is no place for another one, whatever is admitted. */
  get #isCrowded(): boolean {
    return this.#isEnded || this.length >= this.#limit;
  }

  /** Whether nothing more will come. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /**
   * Takes the next message, and waits for it where there is none.
   *
   * @throws {Error} when the subscription has ended
   * @throws the signal's reason when that aborts
   */
  async take(options: RequestOptions = {}): Promise<ReceivedMessage> {
    const message = await this.#next(options.signal);
    if (message !== undefined) return message;
    throw new Error("Cannot take a message: the subscription has ended");
  }

  /** The messages, one after the other, until the subscription ends. */
  async *[Symbol.asyncIterator](): AsyncGenerator<ReceivedMessage> {
    for (let message; (message = await this.#next()) !== undefined;) {
      yield message;
    }
  }

  /**
   * Lets so many messages at QoS 1 and 2 come from now on, and then none, as if
   * there were no room: what nobody will take is left to the broker, which keeps
   * it for the next connection of a kept session.
   *
   * @param count how many, 0 or more
   */
  admit(count: number): void {
    this.#admitted = count;
  }

  /**
   * Ends the subscription at the broker. What has come can still be taken.
   *
   * @throws {RefusedError} when the broker refuses
   * @throws {NoAnswerError} when it does not answer in time
   */
  unsubscribe(options: RequestOptions = {}): Promise<void> {
    return this.#owner.unsubscribe(this, options);
  }

  /**
   * Unsubscribes, at the end of an `await using` block; ends by itself when the
   * broker has not answered for five seconds.
   */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#isEnded ? Promise.resolve() : this.#owner.dispose(this);
  }

  /** Notes what was granted. For the client. */
  grant(qos: DeliveryQos): void {
    if (qos < this.#qos) this.#qos = qos;
  }

  /**
   * Takes in a message. For the client.
   *
   * @returns false when it is one at QoS 0 that found no room
   */
  push(message: ReceivedMessage): boolean {
    if (message === this.#last) return true; // it matches several of the topics
    this.#last = message;
    if (this.#isCrowded && message.qos === 0) {
      this.#lost++;
      return false;
    }
    this.#admitted--;
    const taker = this.#takers.shift();
    if (taker !== undefined) taker.resolve(message);
    else this.#queue.push(message);
    return true;
  }

  /** Lets nothing more come. For the client. */
  end(reason?: unknown): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#reason = reason;
    for (const taker of this.#takers.splice(0)) {
      if (reason === undefined) taker.resolve(undefined);
      else taker.reject(reason);
    }
  }

  #next(signal?: AbortSignal): Promise<ReceivedMessage | undefined> {
    // Also while something waits: a program that cannot keep up could not stop otherwise.
    if (signal?.aborted) return Promise.reject(signal.reason);
    const message = this.#queue[this.#head];
    if (message !== undefined) {
      this.#queue[this.#head++] = undefined;
      if (this.#head > MAX_SPENT || this.#head === this.#queue.length) {
        this.#queue = this.#queue.slice(this.#head);
        this.#head = 0;
      }
      return Promise.resolve(message);
    }
    if (this.#isEnded) {
      return this.#reason === undefined
        ? Promise.resolve(undefined)
        : Promise.reject(this.#reason);
    }
    return new Promise((resolve, reject) => {
      const taker = { resolve, reject };
      if (signal === undefined) return void this.#takers.push(taker);
      const abort = () => {
        this.#takers.splice(this.#takers.indexOf(taker), 1);
        reject(signal.reason);
      };
      signal.addEventListener("abort", abort, { once: true });
      taker.resolve = (message) => {
        signal.removeEventListener("abort", abort);
        resolve(message);
      };
      taker.reject = (reason) => {
        signal.removeEventListener("abort", abort);
        reject(reason);
      };
      this.#takers.push(taker);
    });
  }
}
