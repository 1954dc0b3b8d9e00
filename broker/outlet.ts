/**
 * The one way out of the broker's core: the datagrams that it sends, the events that
 * it traces, and the counts of both.
 *
 * @module
 */

import {
  DROP_REASONS,
  type DropReason,
  type Refusal,
  REFUSALS,
  type RouterEvent,
} from "./events.ts";
import { wrapFor } from "../wire/forwarder.ts";
import type { EffectQueue } from "../base/machine.ts";
import type { Peer } from "../base/peer.ts";
import { encodePacket } from "../wire/mqttsn.ts";
import {
  type MqttSnPacket,
  MSG_TYPE,
  type MsgType,
  RETURN_CODE,
} from "../wire/packets.ts";
import type { StoreChange } from "./records.ts";

/**
 * The messages that promise something to their peer: an id, a subscription, that a
 * message was taken over, or a step of QoS 2. They are sent only after what was
 * persisted before them. A PUBLISH or a DISCONNECT may be a promise, too: its sender
 * says so.
 */
const PROMISES: Partial<Readonly<Record<MsgType, true>>> = {
  CONNACK: true,
  REGISTER: true,
  REGACK: true,
  PUBACK: true,
  PUBREC: true,
  PUBREL: true,
  PUBCOMP: true,
  SUBACK: true,
  UNSUBACK: true,
  WILLTOPICRESP: true,
  WILLMSGRESP: true,
};

/** What was sent, dropped and refused. */
export interface OutletStats {
  /** Datagrams sent. */
  readonly sent: number;
  /** Their octets. */
  readonly sentOctets: number;
  /** MQTT-SN messages sent, by type. */
  readonly sentByType: Readonly<Record<MsgType, number>>;
  /** Datagrams and classic subscriptions left unanswered, by reason. */
  readonly dropped: Readonly<Record<DropReason, number>>;
  /** MQTT-SN requests refused, by reason. */
  readonly refused: Readonly<Record<Refusal, number>>;
}

/** The way out. */
export class Outlet {
  readonly #effects: EffectQueue<RouterEvent, StoreChange>;
  readonly #byType = zeros<MsgType>(MSG_TYPE);
  readonly #dropped = zeros<DropReason>(DROP_REASONS);
  readonly #refused = zeros<Refusal>(REFUSALS);
  #sent = 0;
  #sentOctets = 0;

  /**
   * Starts with nothing sent.
   *
   * @param effects where all of it goes
   */
  constructor(effects: EffectQueue<RouterEvent, StoreChange>) {
    this.#effects = effects;
  }

  /**
   * Sends a message of MQTT-SN, wrapped if its peer is behind a forwarder.
   *
   * @param isPromise whether the peer relies on what was persisted until now
   */
  sendPacket(
    peer: Peer,
    packet: MqttSnPacket,
    isPromise: boolean = isPromising(packet),
  ): void {
    this.sendMessage(peer, packet.type, encodePacket(packet), isPromise);
  }

  /** Sends a message of MQTT-SN that was encoded already. */
  sendMessage(
    peer: Peer,
    type: MsgType,
    bytes: Uint8Array,
    isPromise: boolean,
  ): void {
    this.#byType[type]++;
    this.send(peer, wrapFor(peer, bytes), isPromise);
  }

  /** Sends a datagram. */
  send(peer: Peer, bytes: Uint8Array, isPromise = false): void {
    this.#sent++;
    this.#sentOctets += bytes.length;
    this.#effects.send(peer, bytes, isPromise);
  }

  /** Broadcasts a message of MQTT-SN. */
  broadcast(packet: MqttSnPacket, radius: number): void {
    const bytes = encodePacket(packet);
    this.#byType[packet.type]++;
    this.#sent++;
    this.#sentOctets += bytes.length;
    this.#effects.broadcast(bytes, radius);
  }

  /** Traces an event. */
  trace(event: RouterEvent): void {
    this.#effects.trace(event);
  }

  /** Traces and counts that a datagram or a subscription gets no answer. */
  drop(peer: Peer, reason: DropReason, detail: string = DROP_REASONS[reason]) {
    this.#dropped[reason]++;
    this.#effects.trace({ type: "drop", peer, reason, detail });
  }

  /**
   * Traces and counts that an MQTT-SN request is refused.
   *
   * @returns the return code to answer it with
   */
  refuse(peer: Peer, reason: Refusal): number {
    this.#refused[reason]++;
    this.#effects.trace({ type: "refuse", peer, reason });
    return REFUSALS[reason][0];
  }

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): OutletStats {
    return {
      sent: this.#sent,
      sentOctets: this.#sentOctets,
      sentByType: { ...this.#byType },
      dropped: { ...this.#dropped },
      refused: { ...this.#refused },
    };
  }
}

/** Whether a message is a promise: a refusal is none. */
function isPromising(packet: MqttSnPacket): boolean {
  return PROMISES[packet.type] === true &&
    !("returnCode" in packet && packet.returnCode !== RETURN_CODE.accepted);
}

/** A counter at 0 for each name in a table. */
export function zeros<Name extends string>(
  table: Readonly<Record<Name, unknown>>,
): Record<Name, number> {
  const counts = {} as Record<Name, number>;
  for (const name of Object.keys(table)) counts[name as Name] = 0;
  return counts;
}
