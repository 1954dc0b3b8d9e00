/**
 * The base class of every program: it joins a protocol machine, which does nothing by
 * itself, to a transport, a clock, the one timer and a log, and looks after their
 * life.
 *
 * @module
 */

import type { Clock, Millis } from "./base/clock.ts";
import { messageOf } from "./base/errors.ts";
import { MAX_TIMER, REAL_CLOCK } from "./base/system_clock.ts";
import { Log } from "./base/log.ts";
import type { Effect, Machine } from "./base/machine.ts";
import type { Peer } from "./base/peer.ts";
import type { Transport } from "./transport/transport.ts";

/**
 * What a program can be given instead of the usual.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, Log, type TemplateOptions } from "./mod.ts";
 *
 * const lines: string[] = [];
 * const options: TemplateOptions = {
 *   log: new Log({ level: "debug", write: (line) => void lines.push(line) }),
 * };
 * await using _broker = await Broker.listen({ port: 0, ...options });
 * assertEquals(lines.length > 0, true);
 * ```
 */
export interface TemplateOptions {
  /** Where it tells what it does. Default: a log that shows nothing. */
  readonly log?: Log;
  /** Where it reads the time. Default: the system's monotonic clock. */
  readonly clock?: Clock;
}

/**
 * The first timer of a process takes Deno a quarter of the time that an empty
 * program takes in all. A program that is done sooner than this, in milliseconds, shall
 * not pay for that.
 */
const LOAD_AFTER_MS = 20;

let areTimersLoaded = false;

/**
 * A program: a machine at work on a transport.
 *
 * `Broker`, `Client` and `ClassicClient` extend it. It starts to receive when it is made, and
 * ends with `close`, or at the end of an `await using` block.
 *
 * @example
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { Broker, Template } from "./mod.ts";
 *
 * const broker = await Broker.listen({ port: 0 });
 * assert(broker instanceof Template);
 * await broker.close();
 * assertEquals(broker.isClosed, true);
 * ```
 */
export abstract class Template<Event, Change = never>
  implements AsyncDisposable {
  /** Where the program tells what it does. */
  readonly log: Log;
  readonly #machine: Machine<Event, Change>;
  readonly #clock: Clock;
  #transport: Transport;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the machine will be called at the latest. */
  #timerAt: Millis = Infinity;
  #loading: AbortSignal | undefined;
  readonly #closed = Promise.withResolvers<void>();
  #closing: Promise<void> | undefined;
  #receiving: Promise<void>;
  #failures = 0;
  /** Whether it takes nothing any more: it lets what was sent leave, and ends. */
  #isDeaf = false;
  /** When the machine was called last. */
  #calledAt: Millis = 0;

  /**
   * Puts a machine to work.
   *
   * @param machine does the protocol's work
   * @param transport carries its datagrams; closed along with the program
   */
  constructor(
    machine: Machine<Event, Change>,
    transport: Transport,
    options: TemplateOptions = {},
  ) {
    this.log = options.log ?? new Log({ level: "none" });
    this.#clock = options.clock ?? REAL_CLOCK;
    this.#machine = machine;
    this.#transport = transport;
    this.#receiving = this.#receive(transport);
    this.#arm(machine.nextTimeout());
  }

  /** Where this end is reached. */
  get address(): Peer {
    return this.#transport.address;
  }

  /** The address that it is bound to. */
  get hostname(): string {
    return this.address.hostname;
  }

  /** The UDP port that it is bound to. */
  get port(): number {
    return this.address.port;
  }

  /** Whether `close` was called. */
  get isClosed(): boolean {
    return this.#closing !== undefined;
  }

  /** Resolves when it has closed, by `close` or because its transport broke. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /** Times that the machine failed: a fault of ours, each in the log. */
  get failures(): number {
    return this.#failures;
  }

  /** The present moment. */
  protected now(): Millis {
    return this.#clock.now();
  }

  /** The transport in use. */
  protected get transport(): Transport {
    return this.#transport;
  }

  /** Learns what happened in the machine. */
  protected abstract handleEvent(event: Event): void;

  /** Sends a datagram to the multicast group: to nobody, unless overridden. */
  protected broadcast(_bytes: Uint8Array, _radius: number): void {}

  /**
   * Sees each datagram as it comes or goes: nothing is done, unless overridden.
   *
   * @param _at when it came, or when that happened from which it follows
   */
  protected observe(
    _way: "received" | "sent",
    _peer: Peer,
    _bytes: Uint8Array,
    _at: Millis,
  ): void {}

  /** Lets go of what a program holds of its own, at the start of a close. */
  protected handleClose(): void | Promise<void> {}

  /**
   * Lets what was sent leave, and ends. A second call waits for the first.
   *
   * @returns a promise that resolves when nothing is left open
   */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  /** Closes, at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Gives the machine a command, and carries out what follows from it. */
  protected perform(command: (now: Millis) => void): void {
    if (this.#closing !== undefined) return;
    command(this.#calledAt = this.now());
    this.#settle();
  }

  /** Goes on with another transport; the one used so far is closed. */
  protected switchTransport(next: Transport): void {
    const last = this.#transport;
    this.#transport = next;
    this.#receiving = this.#receive(next);
    last.close();
  }

  async #receive(transport: Transport): Promise<void> {
    try {
      await transport.receive(this.handleDatagram);
    } catch (error) {
      this.log.error(messageOf(error));
      this.close();
    }
  }

  /** Hands the machine a datagram, whichever way it came. */
  protected readonly handleDatagram = (
    peer: Peer,
    bytes: Uint8Array,
  ): void => {
    if (this.#isDeaf) return;
    try {
      const now = this.#calledAt = this.now(); // once: it is not cheap
      this.observe("received", peer, bytes, now);
      this.#machine.handleDatagram(now, peer, bytes);
      this.#settle();
    } catch (error) {
      this.#fail(
        `a datagram of ${bytes.length} octets from ${peer.key}`,
        error,
      );
    }
  };

  readonly #handleTimeout = (): void => {
    this.#timer = undefined;
    this.#timerAt = Infinity;
    try {
      this.perform((now) => this.#machine.handleTimeout(now));
    } catch (error) {
      this.#fail("a timeout", error);
    }
  };

  /** Neither datagram nor timeout ends the program, whatever fault it finds. */
  #fail(what: string, error: unknown): void {
    this.#failures++;
    this.log.error(`Failed on ${what}: ${messageOf(error)}`);
  }

  /** Carries out the machine's effects, in order, and arms the timer anew. */
  #settle(): void {
    for (let effect; (effect = this.#machine.pollEffect()) !== undefined;) {
      this.carryOut(effect);
    }
    this.handleSettled();
    this.#arm(this.#machine.nextTimeout());
  }

  /** Does what the machine asks for. Nothing is persisted, unless overridden. */
  protected carryOut(effect: Effect<Event, Change>): void {
    switch (effect.type) {
      case "send":
        this.send(effect.peer, effect.bytes);
        break;
      case "broadcast":
        this.broadcast(effect.bytes, effect.radius);
        break;
      case "trace":
        this.handleEvent(effect.event);
        break;
    }
  }

  /**
   * Sends a datagram.
   *
   * @param at when that happened which it follows from. Default: the last call
   */
  protected send(
    peer: Peer,
    bytes: Uint8Array,
    at: Millis = this.#calledAt,
  ): void {
    this.observe("sent", peer, bytes, at);
    this.#transport.send(peer, bytes);
  }

  /** Learns that all effects have been carried out: nothing is done, unless overridden. */
  protected handleSettled(): void {}

  /**
   * Sees to it that the machine is called by then. One call too many is harmless,
   * and costs less than another timer for each deadline that has moved.
   */
  #arm(at: Millis | undefined): void {
    if (at === undefined || at >= this.#timerAt) return;
    if (this.#closing !== undefined) return;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timerAt = at;
    const wait = Math.max(0, at - this.#clock.now());
    if (wait > LOAD_AFTER_MS && !areTimersLoaded) return this.#armLater();
    areTimersLoaded = true;
    this.#timer = setTimeout(this.#handleTimeout, Math.min(wait, MAX_TIMER));
  }

  /** Arms the timer when the program has turned out to be no short one. */
  #armLater(): void {
    this.#timer = undefined;
    if (this.#loading !== undefined) return;
    this.#loading = AbortSignal.timeout(LOAD_AFTER_MS);
    this.#loading.addEventListener("abort", this.#handleLoading);
  }

  readonly #handleLoading = (): void => {
    areTimersLoaded = true;
    this.#loading = undefined;
    const at = this.#timerAt;
    this.#timerAt = Infinity;
    this.#arm(at);
  };

  async #close(): Promise<void> {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    // A signal that somebody listens to keeps the process from its end.
    this.#loading?.removeEventListener("abort", this.#handleLoading);
    await this.handleClose();
    this.#isDeaf = true; // or under load there would be no end to what is sent
    await this.#transport[Symbol.asyncDispose]();
    await this.#receiving;
    this.#closed.resolve();
  }
}
