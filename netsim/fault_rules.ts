/**
 * The rules of faults: which datagrams each is for, when it is its turn, and what it
 * does. How rules are written is `netsim/fault_text.ts`.
 *
 * @module
 */

import type { ClientState, ObservedClient, Subject } from "../wire/observer.ts";
import type { Millis } from "../base/clock.ts";
import { fieldOf, type FieldValue, type PacketDraft } from "./fault_packets.ts";
import type { TopicFilter, TopicName } from "../wire/message.ts";
import type { MqttSnPacket, MsgType, Qos, Side } from "../wire/packets.ts";
import { matchesFilter } from "../wire/topics.ts";

/** Which datagrams: those to which all applies that is said. */
export interface FaultMatch {
  /** One of these message types. */
  readonly types?: readonly MsgType[];
  /** Which end it comes from. */
  readonly from?: Side;
  /** The client's id; with `*` at its end all that begin so. */
  readonly client?: string;
  /** A filter that the topic matches, which it or what it answers is about. */
  readonly topic?: TopicFilter;
  /** The QoS that it has, or what it answers. */
  readonly qos?: Qos;
  /** What the client is, just before. */
  readonly state?: ClientState;
  /** What stands in fields, by their names in `wire/packets.ts`. */
  readonly where?: Readonly<Record<string, FieldValue>>;
}

/** When it is a rule's turn, of all that it matches. */
export type FaultTurn =
  | { readonly type: "all" }
  | {
    /** At one, at those up to one, or at each multiple. */
    readonly type: "nth" | "first" | "every";
    /** Which, 1 or more. */
    readonly count: number;
  };

/** What a rule does with a datagram. */
export type FaultAct =
  /** Nobody gets it. */
  | { readonly type: "drop" }
  /** It comes later. */
  | { readonly type: "delay"; readonly ms: Millis }
  /** It comes several times, each so long after the last. */
  | {
    readonly type: "duplicate";
    readonly times: number;
    readonly afterMs: Millis;
  }
  /** A field of it holds something else: by chance, unless it says what. */
  | {
    readonly type: "corrupt";
    readonly field: string;
    readonly value: FieldValue | undefined;
  }
  /** Its receiver does not get it, and its sender an answer that is not his. */
  | {
    readonly type: "answer";
    /** A return code, or a packet. */
    readonly answer: number | PacketDraft;
    readonly afterMs: Millis;
  }
  /** Another packet is sent, as if by the other side. */
  | {
    readonly type: "insert";
    readonly packet: PacketDraft;
    readonly to: Side;
    readonly afterMs: Millis;
  }
  /** The client is sent again what it was sent last. */
  | {
    readonly type: "replay";
    readonly count: number;
    readonly afterMs: Millis;
  }
  /** What was agreed on is not known any more. */
  | {
    readonly type: "forget";
    readonly what: "session" | "topicIds" | "topicId";
  };

/** A rule. */
export interface FaultRule {
  /** Its name, for the log. */
  readonly name: string | undefined;
  /** Which datagrams it is for. */
  readonly match: FaultMatch;
  /**
   * It is for a client's datagrams only behind one like this, and counts them anew
   * from there.
   */
  readonly since: FaultMatch | undefined;
  /** Whether it counts each client's by themselves. */
  readonly perClient: boolean;
  /** When it is its turn. */
  readonly turn: FaultTurn;
  /** How often it acts then, 0 to 1. */
  readonly chance: number;
  /** What it does. */
  readonly act: FaultAct;
}

/** Whether a client id is one of those that a text stands for. */
export function matchesClientId(
  pattern: string,
  clientId: string | undefined,
): boolean {
  if (clientId === undefined) return false;
  return pattern.endsWith("*")
    ? clientId.startsWith(pattern.slice(0, -1))
    : clientId === pattern;
}

/** Whether a datagram is one of those that are meant. */
export function matches(
  match: FaultMatch,
  from: Side,
  who: ObservedClient,
  packet: MqttSnPacket,
  { topicName, qos }: Subject,
): boolean {
  const { types, where } = match;
  if (types !== undefined && !types.includes(packet.type as MsgType)) {
    return false;
  }
  if (match.from !== undefined && match.from !== from) return false;
  if (match.state !== undefined && match.state !== who.state) return false;
  if (match.qos !== undefined && match.qos !== qos) return false;
  if (
    match.client !== undefined && !matchesClientId(match.client, who.clientId)
  ) return false;
  if (match.topic !== undefined) {
    // A filter that somebody subscribes to is taken level by level, like a name.
    if (topicName === undefined) return false;
    if (!matchesFilter(match.topic, topicName as TopicName)) return false;
  }
  return where === undefined ||
    Object.entries(where).every(([name, value]) =>
      fieldOf(packet, name) === value
    );
}
