/**
 * The classic client's core: requests and datagrams in, effects out. Its surface is
 * that of every machine (`base/machine.ts`), and a command for each thing that a
 * client can ask for.
 *
 * A classic reply does not say which request it answers, so only one is
 * outstanding at a time, and nothing is sent twice: a publish that was repeated
 * would be in the history twice, a subscribe would be served twice.
 *
 * @module
 */

import {
  CLASSIC_REPLY,
  type ClassicRefusal,
  decodeReply,
  encodePublish,
  encodeSubscribe,
  parseClassicTopic,
  refusalOf,
} from "../wire/classic.ts";
import type { Millis } from "../base/clock.ts";
import { type Effect, EffectQueue, type Machine } from "../base/machine.ts";
import { LocalProtocolError, MalformedPacketError } from "../base/errors.ts";
import type { Peer } from "../base/peer.ts";

/** How a request ended. */
export type ClassicDeviceEvent =
  | AnswerEvent
  | RefusedEvent
  | SilenceEvent
  | StrayEvent;

/** The broker did what was asked. */
export interface AnswerEvent {
  /** Which event this is. */
  readonly type: "answer";
  /** What it said: a topic's history, or the acknowledgement. */
  readonly text: string;
  /** Whether the question was sent again: further answers to it may come. */
  readonly mayRepeat: boolean;
}

/** The broker refused. */
export interface RefusedEvent {
  /** Which event this is. */
  readonly type: "refused";
  /** Why. */
  readonly refusal: ClassicRefusal;
}

/** The broker did not answer in time. */
export interface SilenceEvent {
  /** Which event this is. */
  readonly type: "silence";
}

/** A datagram came that answers nothing. */
export interface StrayEvent {
  /** Which event this is. */
  readonly type: "stray";
  /** From whom. */
  readonly peer: Peer;
  /** What was wrong with it, for a person. */
  readonly detail: string;
}

/** What the device waits for; what it waits for with an end owns its deadline. */
type Wait =
  | { readonly kind: "idle" }
  | { readonly kind: "publish"; readonly giveUpAt: Millis }
  | { readonly kind: "subscribe"; readonly isBlank: boolean }
  | {
    readonly kind: "ping";
    readonly retryAt: Millis;
    readonly triesLeft: number;
  };

const IDLE: Wait = { kind: "idle" };

/** Times that a ping is sent before its time is up: datagrams get lost. */
const PING_TRIES = 3;

/**
 * What every broker answers and none keeps: a publish with a blank topic. The
 * protocol has no ping of its own.
 */
const PING = encodePublish("", "");

/**
 * The client's core.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { ClassicDevice } from "./classic_device.ts";
 * import { peerOf } from "../base/peer.ts";
 *
 * const broker = peerOf("127.0.0.1", 12003);
 * const device = new ClassicDevice(broker, { timeoutMs: 5_000 });
 * device.publish(0, "weather", "21.5");
 * assertEquals(device.pollEffect()?.type, "send");
 *
 * device.handleTimeout(device.nextTimeout()!);
 * assertEquals(device.pollEffect(), {
 *   type: "trace",
 *   event: { type: "silence" },
 * });
 * ```
 */
export class ClassicDevice implements Machine<ClassicDeviceEvent> {
  readonly #broker: Peer;
  readonly #timeoutMs: Millis;
  readonly #effects = new EffectQueue<ClassicDeviceEvent>();
  #wait: Wait = IDLE;

  /**
   * Makes a device that has nothing to do yet.
   *
   * @param broker whom it talks to
   * @param options `timeoutMs`: how long a publish and a ping wait for their
   * answer, in milliseconds; a subscribe waits for as long as it takes
   */
  constructor(broker: Peer, options: { readonly timeoutMs: Millis }) {
    this.#broker = broker;
    this.#timeoutMs = options.timeoutMs;
  }

  /**
   * Publishes a datum; ends in an answer, a refusal or silence.
   *
   * @throws {LocalProtocolError} when it does not fit a datagram, or when
   * another request is outstanding
   */
  publish(now: Millis, topic: string, data: string): void {
    this.#request(
      { kind: "publish", giveUpAt: now + this.#timeoutMs },
      encodePublish(topic, data),
    );
  }

  /**
   * Asks for a topic's history; ends in an answer, for which it may wait for
   * ever, or a refusal.
   *
   * @throws {LocalProtocolError} when it does not fit a datagram, or when
   * another request is outstanding
   */
  subscribe(_now: Millis, topic: string): void {
    const isBlank = parseClassicTopic(topic) === undefined;
    this.#request({ kind: "subscribe", isBlank }, encodeSubscribe(topic));
  }

  /**
   * Asks whether a broker is there; ends in an answer or silence.
   *
   * @throws {LocalProtocolError} when another request is outstanding
   */
  ping(now: Millis): void {
    const retryAt = now + this.#timeoutMs / PING_TRIES;
    this.#request({ kind: "ping", retryAt, triesLeft: PING_TRIES - 1 }, PING);
  }

  /** Takes one datagram. */
  handleDatagram(_now: Millis, peer: Peer, bytes: Uint8Array): void {
    if (peer.key !== this.#broker.key) {
      return this.#stray(peer, `Not from the broker at ${this.#broker.key}`);
    }
    let text: string;
    try {
      text = decodeReply(bytes);
    } catch (error) {
      if (!(error instanceof MalformedPacketError)) throw error;
      return this.#stray(peer, error.message);
    }

    const refusal = refusalOf(text);
    switch (this.#wait.kind) {
      case "idle":
        return this.#stray(peer, "Nothing was asked");
      case "ping":
        return this.#answer(text, this.#wait.triesLeft < PING_TRIES - 1);
      case "publish":
        if (refusal !== undefined) {
          return this.#end({ type: "refused", refusal });
        }
        if (text === CLASSIC_REPLY.accepted) return this.#answer(text, false);
        return this.#stray(peer, "It answers no publish");
      case "subscribe":
        // Other refusals answer no such subscribe: they are what was published.
        if (refusal === "failed" || this.#wait.isBlank && refusal) {
          return this.#end({ type: "refused", refusal });
        }
        return this.#answer(text, false);
      default:
        this.#wait satisfies never;
    }
  }

  /** Gives up, or sends a ping again, when it is time. */
  handleTimeout(now: Millis): void {
    const at = this.nextTimeout();
    if (at === undefined || now < at) return;
    if (this.#wait.kind !== "ping" || this.#wait.triesLeft === 0) {
      return this.#end({ type: "silence" });
    }
    this.#wait = {
      kind: "ping",
      retryAt: now + this.#timeoutMs / PING_TRIES,
      triesLeft: this.#wait.triesLeft - 1,
    };
    this.#effects.send(this.#broker, PING);
  }

  /** When it gives up or tries again, `undefined` when it has no such moment. */
  nextTimeout(): Millis | undefined {
    switch (this.#wait.kind) {
      case "publish":
        return this.#wait.giveUpAt;
      case "ping":
        return this.#wait.retryAt;
      default:
        return undefined;
    }
  }

  /** The next effect in order, `undefined` when there is none left. */
  pollEffect(): Effect<ClassicDeviceEvent> | undefined {
    return this.#effects.poll();
  }

  /** Waits no longer. A late answer would be taken for the next request's. */
  abandon(): void {
    this.#wait = IDLE;
  }

  #request(wait: Wait, bytes: Uint8Array): void {
    if (this.#wait.kind !== "idle") {
      throw new LocalProtocolError(
        `Cannot ${wait.kind}: a ${this.#wait.kind} is outstanding`,
      );
    }
    this.#wait = wait;
    this.#effects.send(this.#broker, bytes);
  }

  #answer(text: string, mayRepeat: boolean): void {
    this.#end({ type: "answer", text, mayRepeat });
  }

  #end(event: ClassicDeviceEvent): void {
    this.#wait = IDLE;
    this.#effects.trace(event);
  }

  #stray(peer: Peer, detail: string): void {
    this.#effects.trace({ type: "stray", peer, detail });
  }
}
