/**
 * Faults that are made on purpose: which datagrams of MQTT-SN are dropped, late,
 * doubled, altered or answered by somebody else, by rules that speak the protocol's
 * words.
 *
 * A datagram passes the rules in their order. Each counts what it is for, and the
 * first whose turn it is acts; those behind it only count. All that acts is told.
 *
 * @module
 */

import { type ObservedClient, WireObserver } from "../wire/observer.ts";
import type { Millis, Random } from "../base/clock.ts";
import { answerTo, corrupted, packetOf, withField } from "./fault_packets.ts";
import { type FaultMatch, type FaultRule, matches } from "./fault_rules.ts";
import { nodePeerOf, wrapFor } from "../wire/forwarder.ts";
import { MalformedPacketError } from "../base/errors.ts";
import type { Peer } from "../base/peer.ts";
import { decodePacket, encodePacket, isFramed } from "../wire/mqttsn.ts";
import { type MqttSnPacket, RETURN_CODE, type Side } from "../wire/packets.ts";

/** A datagram, and how long it waits. */
export interface Late {
  /** The whole datagram. */
  readonly bytes: Uint8Array;
  /** How long from now, in milliseconds. */
  readonly afterMs: Millis;
}

/** What becomes of a datagram: what goes on in its stead, and what comes back. */
export interface FaultVerdict {
  /** What its receiver gets, in order. */
  readonly onward: readonly Late[];
  /** What its sender gets. */
  readonly back: readonly Late[];
}

/** A fault that has struck. */
export interface FaultEvent {
  /** When. */
  readonly at: Millis;
  /** Which rule it was, from 1 on; 0 for what follows from an earlier one. */
  readonly rule: number;
  /** What that is called, `undefined` for one without a name. */
  readonly name: string | undefined;
  /** Who sent the datagram that it struck. */
  readonly from: Side;
  /** The other end of the conversation. */
  readonly peer: Peer;
  /** The client's id, `undefined` while it is not known. */
  readonly clientId: string | undefined;
  /** The datagram that it struck. */
  readonly packet: MqttSnPacket;
  /** What was done, for a person. */
  readonly what: string;
}

/** What faults need. */
export interface FaultsOptions {
  /** Decides what is left to chance. */
  readonly random: Random;
  /** The names of pre-defined topic ids. Default: none. */
  readonly predefined?: ReadonlyMap<number, string>;
  /** Is told of each fault that strikes, before anything follows from it. */
  readonly onFault?: (event: FaultEvent) => void;
}

/** Datagrams that are remembered for each client, for a replay. */
const MAX_REPLAY = 16;

/** How long the answers to what a fault has asked are kept from the client, in ms. */
const SWALLOW_MS = 5_000;

/** What is remembered of a client. */
interface Memory {
  /** Topic ids that mean nothing until they have been agreed on again. */
  readonly forgotten: Set<number>;
  /** The messages that it was sent last. */
  readonly published: Uint8Array[];
  /** Answers of the broker's that are not for the client. */
  swallow: string[];
  swallowUntil: Millis;
}

/**
 * Rules, and how often each has counted.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { seededRandom } from "../base/clock.ts";
 * import { parseFaults } from "./fault_text.ts";
 * import { Faults } from "./faults.ts";
 * import { peerOf } from "../base/peer.ts";
 *
 * const rules = parseFaults([
 *   { type: "CONNECT", first: 3, do: { answer: "congestion" } },
 * ]);
 * const faults = new Faults(rules, { random: seededRandom(1) });
 * const connect = Uint8Array.of(10, 4, 4, 1, 0, 60, 0x6c, 0x61, 0x6d, 0x70);
 * const verdict = faults.judge(0, "client", peerOf("10.0.0.7", 1883), connect);
 * assertEquals(verdict, {
 *   onward: [],
 *   back: [{ bytes: Uint8Array.of(3, 5, 1), afterMs: 0 }],
 * });
 * ```
 */
export class Faults {
  readonly #turns: readonly Turn[];
  readonly #random: Random;
  readonly #onFault: (event: FaultEvent) => void;
  readonly #observer: WireObserver;
  readonly #memories = new WeakMap<ObservedClient, Memory>();
  readonly #replays: boolean;
  #struck = 0;

  /** Makes rules that have counted nothing yet. */
  constructor(rules: readonly FaultRule[], options: FaultsOptions) {
    this.#turns = rules.map((rule, i) => new Turn(rule, i + 1));
    this.#random = options.random;
    this.#onFault = options.onFault ?? (() => {});
    this.#observer = new WireObserver(options.predefined);
    this.#replays = rules.some(({ act }) => act.type === "replay");
  }

  /** How many faults have struck. */
  get struck(): number {
    return this.#struck;
  }

  /**
   * Decides what becomes of a datagram.
   *
   * @param from which end it comes from
   * @param peer the other end of the conversation, whichever that is here
   * @param bytes the whole datagram; only read during the call, but what goes on
   * may be the same octets
   * @returns `undefined` if it goes on as it is
   */
  judge(
    now: Millis,
    from: Side,
    peer: Peer,
    bytes: Uint8Array,
  ): FaultVerdict | undefined {
    if (!isFramed(bytes, { lenient: true })) return undefined;
    let packet: MqttSnPacket;
    let whose = peer;
    try {
      packet = decodePacket(bytes, { lenient: true });
      if (packet.type === "ENCAPSULATED") {
        whose = nodePeerOf(peer, packet);
        packet = decodePacket(packet.message, { lenient: true });
      }
    } catch (error) {
      if (!(error instanceof MalformedPacketError)) throw error;
      return undefined;
    }
    const who = this.#observer.meet(whose.key, from, packet);
    const memory = this.#memoryOf(who);
    const passing = { now, from, peer: whose, who, memory, packet, bytes };
    if (swallows(passing)) return { onward: [], back: [] };
    const verdict = this.#strike(passing);
    this.#learn(passing, verdict);
    return verdict;
  }

  #memoryOf(who: ObservedClient): Memory {
    let memory = this.#memories.get(who);
    if (memory === undefined) {
      memory = {
        forgotten: new Set(),
        published: [],
        swallow: [],
        swallowUntil: 0,
      };
      this.#memories.set(who, memory);
    }
    return memory;
  }

  #strike(passing: Passing): FaultVerdict | undefined {
    const { from, peer, who, packet } = passing;
    const subject = this.#observer.subjectOf(peer.key, from, packet);
    const isOf = (match: FaultMatch) =>
      matches(match, from, who, packet, subject);
    let verdict: FaultVerdict | undefined;
    for (const turn of this.#turns) {
      const isDue = turn.count(who, isOf, this.#random);
      if (!isDue || verdict !== undefined) continue;
      verdict = this.#act(passing, turn);
    }
    return verdict ?? this.#ofForgotten(passing);
  }

  /** What follows from a rule; `undefined` where it can do nothing. */
  #act(passing: Passing, { rule, number }: Turn): FaultVerdict | undefined {
    const { who, memory, packet, bytes, peer } = passing;
    const { act } = rule;
    const told = (what: string) => this.#tell(passing, number, rule.name, what);
    const here = { bytes, afterMs: 0 };
    switch (act.type) {
      case "drop":
        told("dropped");
        return { onward: [], back: [] };
      case "delay":
        told(`delayed by ${act.ms} ms`);
        return { onward: [{ bytes, afterMs: act.ms }], back: [] };
      case "duplicate": {
        told(`sent ${act.times} times`);
        const again = Array.from(
          { length: act.times - 1 },
          (_, i) => ({ bytes, afterMs: (i + 1) * act.afterMs }),
        );
        return { onward: [here, ...again], back: [] };
      }
      case "corrupt": {
        const altered = act.value === undefined
          ? corrupted(packet, act.field, this.#random)
          : withField(packet, act.field, act.value);
        const octets = altered && octetsOf(altered, peer);
        if (octets === undefined) return undefined;
        told(`altered: ${act.field}`);
        return { onward: [{ bytes: octets, afterMs: 0 }], back: [] };
      }
      case "answer": {
        const answer = typeof act.answer === "number"
          ? answerTo(packet, act.answer)
          : packetOf(act.answer, packet);
        told(`answered with ${answer?.type ?? "nothing"}`);
        return { onward: [], back: lateOf(answer, peer, act.afterMs) };
      }
      case "insert": {
        const draft = packetOf(act.packet, packet);
        const sent = lateOf(draft, peer, act.afterMs);
        told(`${draft.type} sent to the ${act.to}`);
        return act.to === passing.from
          ? { onward: [here], back: sent }
          : { onward: [...sent, here], back: [] };
      }
      case "replay": {
        const all = memory.published.slice(-act.count);
        if (all.length === 0) return undefined;
        told(`${all.length} sent again`);
        const again = all.map((bytes) => ({ bytes, afterMs: act.afterMs }));
        return passing.from === "client"
          ? { onward: [here], back: again }
          : { onward: [...again, here], back: [] };
      }
      case "forget": {
        if (act.what === "session") return this.#forgetSession(passing, told);
        const ids = act.what === "topicIds"
          ? [...who.names.keys()]
          : topicIdsOf(packet);
        if (ids.length === 0) return undefined;
        told(`topic ids forgotten: ${ids.join(", ")}`);
        for (const id of ids) memory.forgotten.add(id);
        return this.#ofForgotten(passing) ?? { onward: [here], back: [] };
      }
      default:
        return act satisfies never;
    }
  }

  /** Has the broker forget a client: the client itself seems to want that. */
  #forgetSession(
    passing: Passing,
    told: (what: string) => void,
  ): FaultVerdict | undefined {
    const { now, from, who, memory, peer, bytes } = passing;
    const { clientId } = who;
    if (clientId === undefined) return undefined;
    told("session forgotten");
    const asked = [
      packetOf({
        type: "CONNECT",
        fields: { clientId, cleanSession: true },
      }, { type: "PINGRESP" }),
      { type: "DISCONNECT", duration: undefined } as const,
    ].flatMap((packet) => lateOf(packet, peer, 0));
    memory.swallow = ["CONNACK", "DISCONNECT"];
    memory.swallowUntil = now + SWALLOW_MS;
    const here = { bytes, afterMs: 0 };
    return from === "client"
      ? { onward: [...asked, here], back: [] }
      : { onward: [here], back: asked };
  }

  /** Says of an id that was forgotten what the one who forgot it would say. */
  #ofForgotten(passing: Passing): FaultVerdict | undefined {
    const { memory, packet, peer } = passing;
    if (packet.type !== "PUBLISH" || packet.topicIdType !== "normal") {
      return undefined;
    }
    if (!memory.forgotten.has(packet.topicId)) return undefined;
    const answer = answerTo(packet, RETURN_CODE.invalidTopicId);
    this.#tell(
      passing,
      0,
      undefined,
      "answered that it knows no such topic id",
    );
    return { onward: [], back: lateOf(answer, peer, 0) };
  }

  /** Takes in what the broker takes in. */
  #learn(
    { from, peer, memory, packet, bytes }: Passing,
    verdict: FaultVerdict | undefined,
  ): void {
    const isOnItsWay = verdict === undefined || verdict.onward.length > 0;
    if (from === "client" && !isOnItsWay) return;
    this.#observer.learn(peer.key, from, packet);
    switch (packet.type) {
      case "PUBLISH":
        if (!this.#replays || from !== "broker" || !isOnItsWay) break;
        memory.published.push(bytes.slice());
        if (memory.published.length > MAX_REPLAY) memory.published.shift();
        break;
      case "REGACK":
      case "SUBACK":
        if (packet.returnCode === 0) memory.forgotten.delete(packet.topicId);
        break;
      case "CONNECT":
        if (packet.cleanSession) memory.forgotten.clear();
        break;
    }
  }

  #tell(
    { now, from, peer, who, packet }: Passing,
    rule: number,
    name: string | undefined,
    what: string,
  ): void {
    this.#struck++;
    const { clientId } = who;
    this.#onFault({ at: now, rule, name, from, peer, clientId, packet, what });
  }
}

/** A datagram as it passes. */
interface Passing {
  readonly now: Millis;
  readonly from: Side;
  /** Whose it is: a node, where that is behind a forwarder. */
  readonly peer: Peer;
  readonly who: ObservedClient;
  readonly memory: Memory;
  readonly packet: MqttSnPacket;
  readonly bytes: Uint8Array;
}

/** Whether it answers what a fault has asked in the client's name. */
function swallows({ now, from, memory, packet }: Passing): boolean {
  if (memory.swallow.length === 0 || from !== "broker") return false;
  if (now > memory.swallowUntil) memory.swallow = [];
  if (memory.swallow[0] !== packet.type) return false;
  memory.swallow.shift();
  return true;
}

/** The topic ids that a packet speaks of. */
function topicIdsOf(packet: MqttSnPacket): readonly number[] {
  switch (packet.type) {
    case "PUBLISH":
      return packet.topicIdType === "normal" ? [packet.topicId] : [];
    case "REGISTER":
    case "REGACK":
    case "PUBACK":
    case "SUBACK":
      return packet.topicId === 0 ? [] : [packet.topicId];
    default:
      return [];
  }
}

function octetsOf(packet: MqttSnPacket, peer: Peer): Uint8Array | undefined {
  try {
    return wrapFor(peer, encodePacket(packet));
  } catch {
    return undefined; // what was asked for cannot be written: a name too long
  }
}

function lateOf(
  packet: MqttSnPacket | undefined,
  peer: Peer,
  afterMs: Millis,
): readonly Late[] {
  const bytes = packet && octetsOf(packet, peer);
  return bytes === undefined ? [] : [{ bytes, afterMs }];
}

/** A rule, and how often it has matched. */
class Turn {
  readonly rule: FaultRule;
  readonly number: number;
  #matched = 0;
  /** By client, for a rule that counts so; a client that is not in has not met the rule's `since` yet. */
  readonly #byClient = new WeakMap<ObservedClient, number>();

  constructor(rule: FaultRule, number: number) {
    this.rule = rule;
    this.number = number;
  }

  /** Counts a datagram if it is for it, and tells whether it is its turn. */
  count(
    who: ObservedClient,
    isOf: (match: FaultMatch) => boolean,
    random: Random,
  ): boolean {
    const { rule } = this;
    const isArmed = rule.since === undefined || this.#byClient.has(who);
    const isDue = isArmed && isOf(rule.match) && this.#isTurn(who) &&
      (rule.chance === 1 || random() < rule.chance);
    if (rule.since !== undefined && isOf(rule.since)) {
      this.#byClient.set(who, 0);
    }
    return isDue;
  }

  #isTurn(who: ObservedClient): boolean {
    const { rule } = this;
    let matched: number;
    if (rule.perClient || rule.since !== undefined) {
      matched = (this.#byClient.get(who) ?? 0) + 1;
      this.#byClient.set(who, matched);
    } else matched = ++this.#matched;
    switch (rule.turn.type) {
      case "all":
        return true;
      case "nth":
        return matched === rule.turn.count;
      case "first":
        return matched <= rule.turn.count;
      case "every":
        return matched % rule.turn.count === 0;
      default:
        return rule.turn satisfies never;
    }
  }
}

/**
 * A fault that has struck, in a line.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { describeFault } from "./faults.ts";
 * import { peerOf } from "../base/peer.ts";
 *
 * const line = describeFault({
 *   at: 0,
 *   rule: 1,
 *   name: "the second PUBACK",
 *   from: "broker",
 *   peer: peerOf("10.0.0.7", 1883),
 *   clientId: "lamp-7",
 *   packet: { type: "PINGRESP" },
 *   what: "dropped",
 * });
 * assertEquals(
 *   line,
 *   "Fault 1 (the second PUBACK): PINGRESP to lamp-7 (10.0.0.7:1883) dropped",
 * );
 * ```
 */
export function describeFault(event: FaultEvent): string {
  const { rule, name, from, peer, clientId, packet, what } = event;
  const which = rule === 0 ? "Fault" : `Fault ${rule}`;
  const title = name === undefined ? which : `${which} (${name})`;
  const way = from === "broker" ? "to" : "from";
  const client = clientId === undefined ? "a client" : clientId;
  return `${title}: ${packet.type} ${way} ${client} (${peer.key}) ${what}`;
}
