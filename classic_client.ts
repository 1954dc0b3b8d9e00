/**
 * A client of the classic protocol: a device (`client/classic_device.ts`) at work on a
 * transport, and its requests as promises.
 *
 * @module
 */

import { CLASSIC_REPLY, type ClassicRefusal } from "./wire/classic.ts";
import type { Millis } from "./base/clock.ts";
import {
  ClassicDevice,
  type ClassicDeviceEvent,
} from "./client/classic_device.ts";
import { NoAnswerError, RemoteProtocolError } from "./base/errors.ts";
import { closedError } from "./client/errors.ts";
import { DEFAULT_PORT, type Peer } from "./base/peer.ts";
import { openNet } from "./netsim/open.ts";
import type { NetOptions, NetSim } from "./netsim/netsim.ts";
import { Template, type TemplateOptions } from "./template.ts";
import type { RequestOptions } from "./client/subscription.ts";
import type { Transport } from "./transport/transport.ts";
import { findBroker } from "./transport/resolve.ts";
import { UdpTransport } from "./transport/udp.ts";

/**
 * Where the broker is, and how long to wait for it.
 *
 * @example
 * ```ts
 * import { Broker, ClassicClient, type ClassicClientOptions } from "./mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * const options: ClassicClientOptions = { port: broker.port, timeoutMs: 1_000 };
 * await using client = await ClassicClient.connect(options);
 * await client.publish("weather", "21.5");
 * ```
 */
export interface ClassicClientOptions extends TemplateOptions, NetOptions {
  /** Address or name of the broker's machine. Default `127.0.0.1`. */
  readonly hostname?: string;
  /** The broker's UDP port, 1 to 65535. Default 12003. */
  readonly port?: number;
  /**
   * How long a publish or a ping waits for its answer, in milliseconds, more
   * than 0. Default 5,000.
   */
  readonly timeoutMs?: number;
  /** Makes its bad network's chances the same each time. Default: by chance. */
  readonly seed?: number;
  /** Opens what carries the datagrams. Default: a UDP socket. */
  readonly open?: (broker: Peer) => Promise<Transport> | Transport;
}

/**
 * The broker answered that it will not do what was asked.
 *
 * @example
 * ```ts
 * import { assertEquals, assertRejects } from "@std/assert";
 * import { Broker } from "./broker.ts";
 * import { ClassicClient, ClassicRefusedError } from "./classic_client.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await ClassicClient.connect({ port: broker.port });
 * const error = await assertRejects(
 *   () => client.publish("weather", ""),
 *   ClassicRefusedError,
 * );
 * assertEquals(error.refusal, "invalidData");
 * ```
 */
export class ClassicRefusedError extends RemoteProtocolError {
  /** `"ClassicRefusedError"`. */
  override readonly name = "ClassicRefusedError";
  /** Which refusal it was. */
  readonly refusal: ClassicRefusal;

  /**
   * Says what the broker said.
   *
   * @param refusal which refusal; its text becomes the message
   */
  constructor(refusal: ClassicRefusal) {
    super(CLASSIC_REPLY[refusal]);
    this.refusal = refusal;
  }
}

interface PendingRequest {
  resolve(text: string): void;
  reject(error: unknown): void;
}

/**
 * A client of one broker that publishes and subscribes. Requests that are made
 * while another is outstanding wait for their turn.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker } from "./broker.ts";
 * import { ClassicClient } from "./classic_client.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using subscriber = await ClassicClient.connect({ port: broker.port });
 * const history = subscriber.subscribe("weather");
 *
 * await using publisher = await ClassicClient.connect({ port: broker.port });
 * await publisher.publish("weather", "21.5");
 * assertEquals(await history, "21.5");
 * ```
 */
export class ClassicClient extends Template<ClassicDeviceEvent> {
  /** The broker that it talks to. */
  readonly broker: Peer;
  /**
   * The bad network in front of it, which can be made another one at any time;
   * `undefined` without one.
   */
  readonly network: NetSim | undefined;
  readonly #device: ClassicDevice;
  readonly #timeoutMs: number;
  readonly #open: (broker: Peer) => Promise<Transport> | Transport;
  #lastTurn: Promise<unknown> = Promise.resolve();
  #pending: PendingRequest | undefined;
  #isStale = false;

  private constructor(
    broker: Peer,
    transport: Transport,
    net: NetSim | undefined,
    options: ClassicClientOptions,
  ) {
    const timeoutMs = timeoutFrom(options);
    const device = new ClassicDevice(broker, { timeoutMs });
    super(device, net?.around(transport) ?? transport, options);
    this.broker = broker;
    this.network = net;
    this.#device = device;
    this.#timeoutMs = timeoutMs;
    this.#open = options.open ?? UdpTransport.towards;
  }

  /**
   * Makes a client. Nothing is sent: whether a broker is there shows at the
   * first request, or by {@linkcode ClassicClient.ping}.
   *
   * @throws {RangeError} when the port or the timeout is out of range
   * @throws {TypeError} when `net` or `faults` is not valid
   * @throws {Error} when the name is unknown or no socket can be opened
   */
  static async connect(
    options: ClassicClientOptions = {},
  ): Promise<ClassicClient> {
    const { hostname = "127.0.0.1", port = DEFAULT_PORT } = options;
    timeoutFrom(options);
    const broker = await findBroker(hostname, port);
    const net = await openNet({ ...options, side: "client" });
    const open = options.open ?? UdpTransport.towards;
    return new ClassicClient(broker, await open(broker), net, options);
  }

  /**
   * Publishes a datum. It may have arrived even when no answer did, so think
   * before you publish it again.
   *
   * @param topic where to; white space around it does not count
   * @param data what; not blank
   * @returns a promise that resolves when the broker has acknowledged it
   * @throws {ClassicRefusedError} when the broker refuses: topic or data blank
   * @throws {NoAnswerError} when it does not answer in time
   * @throws {LocalProtocolError} when it does not fit a datagram
   * @throws the signal's reason when that aborts
   */
  async publish(
    topic: string,
    data: string,
    options: RequestOptions = {},
  ): Promise<void> {
    await this.#request(
      (device, now) => device.publish(now, topic, data),
      options,
    );
  }

  /**
   * Asks for a topic's history, once. Waits for as long as it takes: for the
   * first publish, where there was none yet.
   *
   * @param topic which; white space around it does not count
   * @returns all data that the broker keeps of the topic, the oldest first,
   * joined by line ends
   * @throws {ClassicRefusedError} when the broker refuses: topic blank
   * @throws {LocalProtocolError} when the topic does not fit a datagram
   * @throws the signal's reason when that aborts
   */
  subscribe(topic: string, options: RequestOptions = {}): Promise<string> {
    return this.#request(
      (device, now) => device.subscribe(now, topic),
      options,
    );
  }

  /**
   * Asks whether a broker is there, a few times within the timeout.
   *
   * @returns whether it answered
   * @throws the signal's reason when that aborts
   */
  async ping(options: RequestOptions = {}): Promise<boolean> {
    try {
      await this.#request((device, now) => device.ping(now), options);
      return true;
    } catch (error) {
      if (error instanceof NoAnswerError) return false;
      throw error;
    }
  }

  /** The error that says that this broker did not answer in time. */
  noAnswer(): NoAnswerError {
    return new NoAnswerError(this.broker, this.#timeoutMs);
  }

  /** Settles the request that is outstanding. */
  protected override handleEvent(event: ClassicDeviceEvent): void {
    switch (event.type) {
      case "answer":
        this.log.debug(() => `Broker answered "${event.text}"`);
        if (event.mayRepeat) this.#isStale = true;
        return this.#pending?.resolve(event.text);
      case "refused":
        return this.#pending?.reject(new ClassicRefusedError(event.refusal));
      case "silence":
        this.#isStale = true;
        return this.#pending?.reject(this.noAnswer());
      case "stray":
        return this.log.debug(() =>
          `Ignored a datagram from ${event.peer.key}: ${event.detail}`
        );
      default:
        event satisfies never;
    }
  }

  /** Ends the request that is outstanding. */
  protected override handleClose(): void {
    this.#pending?.reject(closedError());
  }

  /** Makes a request when it is its turn. */
  #request(
    start: (device: ClassicDevice, now: Millis) => void,
    options: RequestOptions,
  ): Promise<string> {
    const turn = abortable(this.#lastTurn, options.signal)
      .then(() => this.#requestNow(start, options));
    this.#lastTurn = Promise.allSettled([this.#lastTurn, turn]);
    return turn;
  }

  async #requestNow(
    start: (device: ClassicDevice, now: Millis) => void,
    { signal }: RequestOptions,
  ): Promise<string> {
    if (this.isClosed) throw closedError();
    signal?.throwIfAborted();
    if (this.#isStale) {
      // A reply does not say what it answers. A late one to a request that was
      // given up would pass for the next one's, so that goes from a new port.
      await this.#renewTransport();
      if (this.isClosed) throw closedError();
      signal?.throwIfAborted();
    }
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    this.#pending = { resolve, reject };
    const abort = () => {
      this.#device.abandon();
      this.#isStale = true;
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", abort, { once: true });
    try {
      this.perform((now) => start(this.#device, now));
      return await promise;
    } finally {
      signal?.removeEventListener("abort", abort);
      this.#pending = undefined;
    }
  }

  async #renewTransport(): Promise<void> {
    const transport = await this.#open(this.broker);
    if (this.isClosed) {
      transport.close();
      throw closedError();
    }
    this.switchTransport(this.network?.around(transport) ?? transport);
    this.#isStale = false;
  }
}

/** The same promise, but rejected when the signal aborts before. */
async function abortable(
  promise: Promise<unknown>,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (signal === undefined) return void await promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    signal.throwIfAborted();
    await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function timeoutFrom({ timeoutMs = 5_000 }: ClassicClientOptions): number {
  if (!(timeoutMs > 0)) {
    throw new RangeError(
      `Cannot take "${timeoutMs}" as timeoutMs: it is more than 0`,
    );
  }
  return timeoutMs;
}
