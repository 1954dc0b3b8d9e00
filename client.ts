/**
 * The base class of publisher and subscriber: a device (`classic_device.ts`) at work on
 * a transport, and its requests as promises. Knows one broker.
 *
 * @module
 */

import { CLASSIC_REPLY, type ClassicRefusal } from "./classic.ts";
import type { Millis } from "./clock.ts";
import { ClassicDevice, type ClassicDeviceEvent } from "./classic_device.ts";
import {
  DEFAULT_PORT,
  type Peer,
  peerOf,
  RemoteProtocolError,
} from "./message.ts";
import { Template, type TemplateOptions } from "./template.ts";
import { resolve, type Transport, UdpTransport } from "./transport.ts";

/** Where the broker is, and how long to wait for it. */
export interface ClientOptions extends TemplateOptions {
  /** Address or name of the broker's machine. Default `127.0.0.1`. */
  readonly hostname?: string;
  /** The broker's UDP port, 1 to 65535. Default 12003. */
  readonly port?: number;
  /**
   * How long a publish or a ping waits for its answer, in milliseconds, more
   * than 0. Default 5,000.
   */
  readonly timeoutMs?: number;
  /** Opens what carries the datagrams. Default: a UDP socket. */
  readonly open?: (broker: Peer) => Promise<Transport> | Transport;
}

/** What a request can be given. */
export interface RequestOptions {
  /** Ends the wait for an answer. */
  readonly signal?: AbortSignal;
}

/** The broker answered that it will not do what was asked. */
export class RefusedError extends RemoteProtocolError {
  /** `"RefusedError"`. */
  override readonly name = "RefusedError";
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

/** The broker did not answer in time: it may not be there. */
export class NoAnswerError extends Error {
  /** `"NoAnswerError"`. */
  override readonly name = "NoAnswerError";
  /** Whom was asked. */
  readonly broker: Peer;

  /**
   * Says whom was asked and how long it had.
   *
   * @param broker whom was asked
   * @param timeoutMs how long it had, in milliseconds
   */
  constructor(broker: Peer, timeoutMs: number) {
    super(`No broker answered at ${broker.key} within ${timeoutMs / 1_000} s`);
    this.broker = broker;
  }
}

/** What {@linkcode Client.connect} has made ready for a constructor. */
export interface ClientSetup {
  /** The broker. */
  readonly broker: Peer;
  /** What carries the datagrams. */
  readonly transport: Transport;
  /** The options as given. */
  readonly options: ClientOptions;
}

/** Addresses that only a broker can be bound to, and where it is reached. */
const REACHABLE: ReadonlyMap<string, string> = new Map([
  ["0.0.0.0", "127.0.0.1"],
  ["::", "::1"],
]);

interface Pending {
  resolve(text: string): void;
  reject(error: unknown): void;
}

/**
 * A client of one broker. Requests that are made while another is outstanding
 * wait for their turn.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { Broker } from "./broker.ts";
 * import { Client } from "./client.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using client = await Client.connect({ port: broker.port });
 * assert(await client.ping());
 * ```
 */
export class Client extends Template<ClassicDeviceEvent> {
  /** The broker that it talks to. */
  readonly broker: Peer;
  readonly #device: ClassicDevice;
  readonly #timeoutMs: number;
  readonly #open: (broker: Peer) => Promise<Transport> | Transport;
  #lastTurn: Promise<unknown> = Promise.resolve();
  #pending: Pending | undefined;
  #isStale = false;

  /**
   * Makes a client of what `connect` has made ready.
   *
   * @param setup all that it needs
   */
  protected constructor({ broker, transport, options }: ClientSetup) {
    const timeoutMs = timeoutFrom(options);
    const device = new ClassicDevice(broker, { timeoutMs });
    super(device, transport, options);
    this.broker = broker;
    this.#device = device;
    this.#timeoutMs = timeoutMs;
    this.#open = options.open ?? UdpTransport.towards;
  }

  /**
   * Makes a client. Nothing is sent: whether a broker is there shows at the
   * first request, or by {@linkcode Client.ping}.
   *
   * @throws {RangeError} when the port or the timeout is out of range
   * @throws {Error} when the name is unknown or no socket can be opened
   */
  static async connect(options: ClientOptions = {}): Promise<Client> {
    return new Client(await Client.setUp(options));
  }

  /** Makes ready what a constructor needs. For the subclasses' `connect`. */
  protected static async setUp(options: ClientOptions): Promise<ClientSetup> {
    const { hostname = "127.0.0.1", port = DEFAULT_PORT } = options;
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw new RangeError(
        `Cannot take "${port}" as the port: it is a number from 1 to 65535`,
      );
    }
    timeoutFrom(options);
    const found = await resolve(hostname, port);
    const broker = peerOf(
      REACHABLE.get(found.hostname) ?? found.hostname,
      port,
    );
    const open = options.open ?? UdpTransport.towards;
    return { broker, transport: await open(broker), options };
  }

  /**
   * Asks whether a broker is there, a few times within the timeout.
   *
   * @returns whether it answered
   */
  async ping(options: RequestOptions = {}): Promise<boolean> {
    try {
      await this.request((device, now) => device.ping(now), options);
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

  /**
   * Makes a request when it is its turn.
   *
   * @returns what the broker answered
   * @throws {RefusedError} when the broker refuses
   * @throws {NoAnswerError} when it does not answer in time
   * @throws the signal's reason when that aborts
   */
  protected request(
    start: (device: ClassicDevice, now: Millis) => void,
    options: RequestOptions,
  ): Promise<string> {
    const turn = abortable(this.#lastTurn, options.signal)
      .then(() => this.#request(start, options));
    this.#lastTurn = Promise.allSettled([this.#lastTurn, turn]);
    return turn;
  }

  /** Settles the request that is outstanding. */
  protected override handleEvent(event: ClassicDeviceEvent): void {
    switch (event.type) {
      case "answer":
        this.log.debug(() => `Broker answered "${event.text}"`);
        if (event.mayRepeat) this.#isStale = true;
        return this.#pending?.resolve(event.text);
      case "refused":
        return this.#pending?.reject(new RefusedError(event.refusal));
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

  async #request(
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
    this.switchTransport(transport);
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

function closedError(): Error {
  return new Error("The client was closed");
}

function timeoutFrom({ timeoutMs = 5_000 }: ClientOptions): number {
  if (!(timeoutMs > 0)) {
    throw new RangeError(
      `Cannot take "${timeoutMs}" as timeoutMs: it is more than 0`,
    );
  }
  return timeoutMs;
}
