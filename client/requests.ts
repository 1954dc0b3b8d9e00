/**
 * What a client sends to its gateway: packets as datagrams, and requests that are sent
 * again until they are answered (MQTT-SN 1.2 §6.13).
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import type { DeviceEvent } from "./events.ts";
import type { EffectQueue } from "../base/machine.ts";
import type { Peer } from "../base/peer.ts";
import { encodePacket } from "../wire/mqttsn.ts";
import type { GwInfo, MqttSnPacket, SearchGw } from "../wire/packets.ts";
import { LATE_MS } from "../wire/duplicates.ts";

/** How patient a client is with an answer. */
export interface Patience {
  /** T_retry: how long the first answer may take, in milliseconds. */
  readonly retryMs: Millis;
  /** N_retry: how often a request is sent again. */
  readonly retries: number;
  /** By how much each wait is longer than the one before, 1 or more. */
  readonly backoff: number;
}

/** What a way to a gateway begins with. */
export interface RequestsOptions {
  /** Where to, if that is known. */
  readonly gateway: Peer | undefined;
  /** How long answers may take. */
  readonly patience: Patience;
  /** The msgId before the first, 0 to 65535. */
  readonly msgId: number;
}

/** What waits for its answer. */
export interface Request {
  /** What was asked. */
  readonly packet: MqttSnPacket;
  /** What is sent again, once it is needed. */
  again: Uint8Array | undefined;
  /** When it is sent again, or given up. */
  retryAt: Millis;
  /** The wait that ends then, in milliseconds. */
  waitMs: Millis;
  /** How often it may still be sent. */
  triesLeft: number;
}

/** The way to one gateway. */
export class Requests {
  /** The gateway; `undefined` until one is found. */
  gateway: Peer | undefined;
  /** When something was sent last. */
  sentAt: Millis = 0;
  /** Requests that were sent again. */
  repeats = 0;
  readonly #effects: EffectQueue<DeviceEvent>;
  readonly #patience: Patience;
  #msgId: number;

  /**
   * Makes the way.
   *
   * @param effects takes what is sent
   */
  constructor(effects: EffectQueue<DeviceEvent>, options: RequestsOptions) {
    this.#effects = effects;
    this.#patience = options.patience;
    this.#msgId = options.msgId;
    this.gateway = options.gateway;
  }

  /** A msgId for the next request, 1 to 65535 in turn. */
  nextMsgId(): number {
    return this.#msgId = this.#msgId >= 0xffff ? 1 : this.#msgId + 1;
  }

  /** Sends a packet that nothing answers. */
  send(now: Millis, packet: MqttSnPacket): void {
    this.#sendBytes(now, encodePacket(packet));
  }

  /** Sends to the multicast group of gateways. */
  broadcast(packet: SearchGw | GwInfo): void {
    const radius = packet.type === "SEARCHGW" ? packet.radius : 0;
    this.#effects.broadcast(encodePacket(packet), radius);
  }

  /** Sends a packet that has to be answered. */
  request(now: Millis, packet: MqttSnPacket): Request {
    const { retryMs, retries } = this.#patience;
    const bytes = encodePacket(packet);
    this.#sendBytes(now, bytes);
    return {
      packet,
      again: undefined,
      retryAt: now + retryMs,
      waitMs: retryMs,
      triesLeft: retries,
    };
  }

  /** Goes on with another packet for the same answer, as often again. */
  replace(now: Millis, request: Request, packet: MqttSnPacket): void {
    request.again = encodePacket(packet);
    request.triesLeft = this.#patience.retries;
    this.restart(now, request);
    this.#sendBytes(now, request.again);
  }

  /** Goes back to the packet that it began with, the next time. */
  revert(request: Request): void {
    request.again = encodePacket(request.packet);
  }

  /** Until when copies of a request may be on their way; 0 if it was sent once. */
  strayUntil({ triesLeft, retryAt, waitMs }: Request): Millis {
    const { retries, retryMs } = this.#patience;
    if (triesLeft === retries) return 0;
    return retryAt - waitMs + Math.min(retryMs, LATE_MS);
  }

  /** Waits from now on as long as at first. */
  restart(now: Millis, request: Request): void {
    request.waitMs = this.#patience.retryMs;
    request.retryAt = now + request.waitMs;
  }

  /** Sends a request again; false when that was done often enough. */
  repeat(now: Millis, request: Request): boolean {
    if (request.triesLeft < 1) return false;
    request.triesLeft--;
    this.repeats++;
    request.waitMs *= this.#patience.backoff;
    request.retryAt = now + request.waitMs;
    request.again ??= encodePacket(repeated(request.packet));
    this.#sendBytes(now, request.again);
    return true;
  }

  #sendBytes(now: Millis, bytes: Uint8Array): void {
    this.sentAt = now;
    if (this.gateway !== undefined) this.#effects.send(this.gateway, bytes);
  }
}

/** §5.3.4, §5.4.15: with its DUP flag set, if it has one. */
function repeated(packet: MqttSnPacket): MqttSnPacket {
  return packet.type === "PUBLISH" || packet.type === "SUBSCRIBE"
    ? { ...packet, dup: true }
    : packet;
}
