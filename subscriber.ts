/**
 * The subscriber: a client that subscribes.
 *
 * ```sh
 * deno run -A subscriber.ts --help
 * ```
 *
 * @module
 */

import { Client, type ClientOptions } from "./client.ts";
import type { DeviceTopic } from "./client/commands.ts";
import type { ReceivedMessage } from "./client/events.ts";
import type { DeliveryQos } from "./wire/message.ts";
import type { RequestOptions, Subscription } from "./client/subscription.ts";

/**
 * What a subscriber subscribes to.
 *
 * @example
 * ```ts
 * import { Broker, Subscriber, type SubscriberOptions } from "./mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * const { port } = broker;
 * const options: SubscriberOptions = { port, topics: ["lamp/#"], qos: 1 };
 * await using _subscriber = await Subscriber.connect(options);
 * ```
 */
export interface SubscriberOptions extends ClientOptions {
  /** Names, filters, pre-defined ids or short names. Default: none. */
  readonly topics?: readonly DeviceTopic[];
  /** At which QoS, at most. Default 0. */
  readonly qos?: DeliveryQos;
}

/**
 * A client that subscribes, and gives all that comes in one loop.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Publisher, Subscriber } from "./mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * const { port } = broker;
 * await using publisher = await Publisher.connect({ port });
 * await using subscriber = await Subscriber.connect({
 *   port,
 *   topics: ["weather/#", "door"],
 *   qos: 1,
 * });
 * await publisher.publish("weather/roof", "21.5", { qos: 1 });
 * await publisher.publish("door", "open", { qos: 1 });
 * for await (const { topicName } of subscriber) {
 *   if (topicName === "door") break;
 * }
 * assertEquals(broker.stats().delivered, 2);
 * ```
 */
export class Subscriber extends Client
  implements AsyncIterable<ReceivedMessage> {
  #messages: Subscription | undefined;

  /**
   * Makes a subscriber, connects it, and subscribes it.
   *
   * @throws as {@linkcode Client.connect} and {@linkcode Client.subscribe} do
   */
  static override async connect(
    options: SubscriberOptions & RequestOptions = {},
  ): Promise<Subscriber> {
    const { topics = [], qos = 0, signal } = options;
    const request = signal === undefined ? {} : { signal };
    const subscriber = await Subscriber.open(options);
    await subscriber.connectOrClose(request);
    if (topics.length === 0) return subscriber;
    try {
      subscriber.#messages = await subscriber.subscribe(topics, {
        qos,
        ...request,
      });
    } catch (error) {
      await subscriber.close();
      throw error;
    }
    return subscriber;
  }

  /**
   * Makes a subscriber that is not connected, and subscribed to nothing.
   *
   * @throws as {@linkcode Client.open} does
   */
  static override async open(
    options: ClientOptions = {},
  ): Promise<Subscriber> {
    return await Client.make(options, (setup) => new Subscriber(setup));
  }

  /** What comes for the topics that `connect` was given. */
  get messages(): Subscription {
    if (this.#messages !== undefined) return this.#messages;
    throw new Error("Cannot give messages: no topics were given to connect()");
  }

  /** The messages, one after the other, until the subscriber is closed. */
  [Symbol.asyncIterator](): AsyncIterator<ReceivedMessage> {
    return this.messages[Symbol.asyncIterator]();
  }
}

if (import.meta.main) {
  // Not awaited: the program imports this module, which has to be complete by then.
  import("./cli/subscriber.ts").then(({ main }) => main());
}
