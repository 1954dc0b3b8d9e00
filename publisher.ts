/**
 * The publisher: a client that publishes.
 *
 * ```sh
 * deno run -A publisher.ts --help
 * ```
 *
 * @module
 */

import { Client, type ClientOptions, type PublishOptions } from "./client.ts";
import type { DeviceTopic } from "./client/commands.ts";
import type { RequestOptions } from "./client/subscription.ts";

/**
 * What {@linkcode Publisher.publishAll} can be given.
 *
 * @example
 * ```ts
 * import { Broker, type PublishAllOptions, Publisher } from "./mod.ts";
 *
 * const options: PublishAllOptions = { qos: 1 };
 * await using broker = await Broker.listen({ port: 0 });
 * await using publisher = await Publisher.connect({ port: broker.port });
 * await publisher.publishAll("lamp", ["on", "off"], options);
 * ```
 */
export interface PublishAllOptions extends PublishOptions {
  /** Is called after each message that was published. */
  readonly onPublished?: () => void;
}

/**
 * A client that publishes, one by one or all that there is.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Publisher } from "./mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using publisher = await Publisher.connect({ port: broker.port });
 * const readings = ["21.5", "21.7", "21.6"];
 * assertEquals(
 *   await publisher.publishAll("weather", readings, { qos: 1 }),
 *   3,
 * );
 * assertEquals(broker.stats().published, 3);
 * ```
 */
export class Publisher extends Client {
  /**
   * Makes a publisher, and connects it.
   *
   * @throws as {@linkcode Client.connect} does
   */
  static override async connect(
    options: ClientOptions & RequestOptions = {},
  ): Promise<Publisher> {
    const publisher = await Publisher.open(options);
    await publisher.connectOrClose(options);
    return publisher;
  }

  /**
   * Makes a publisher that is not connected: for QoS −1, or to connect later.
   *
   * @throws as {@linkcode Client.open} does
   */
  static override async open(options: ClientOptions = {}): Promise<Publisher> {
    return await Client.make(
      options,
      // What came for a subscriber of the same id is not a publisher's.
      (setup) => new Publisher({ ...setup, claimsNothing: true }),
    );
  }

  /**
   * Publishes whatever a source gives, in order, and no faster than it is taken.
   *
   * @param topic where to
   * @param payloads what; text as UTF-8
   * @returns how many were published
   * @throws as {@linkcode Client.publish} does, at the first that fails
   */
  async publishAll(
    topic: DeviceTopic,
    payloads:
      | Iterable<string | Uint8Array>
      | AsyncIterable<string | Uint8Array>,
    options: PublishAllOptions = {},
  ): Promise<number> {
    let published = 0;
    for await (const payload of payloads) {
      await this.publish(topic, payload, options);
      published++;
      options.onPublished?.();
    }
    return published;
  }
}

if (import.meta.main) {
  // Not awaited: the program imports this module, which has to be complete by then.
  import("./cli/publisher.ts").then(({ main }) => main());
}
