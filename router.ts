/**
 * The broker's core: datagrams in, effects out. It tells the protocols apart,
 * joins them, so that what one publishes the others receive, and keeps the
 * broker's own topics. Knows neither protocol's rules (`gateway.ts`,
 * `classic_broker.ts`), and never a socket, a timer, the time of day or a log.
 * Its surface is that of every machine (`machine.ts`).
 *
 * A datagram is MQTT-SN if its length and type are, unless it is JSON: an object
 * in JSON begins with 7B, which as MQTT-SN is a message of 123 octets, and what
 * follows in any that a program writes is no type. A peer that is connected by
 * MQTT-SN is believed to speak it.
 *
 * What is published by MQTT-SN enters the topic's classic history, as text; what
 * is published by the classic protocol reaches the subscribers of MQTT-SN at QoS
 * 0, if its topic's name is one of MQTT's.
 *
 * @module
 */

import { Budget } from "./budget.ts";
import { decodeRequest, parseClassicTopic } from "./classic.ts";
import { ClassicBroker } from "./classic_broker.ts";
import type { Millis } from "./clock.ts";
import type { RouterEvent } from "./events.ts";
import { Exchange } from "./exchange.ts";
import { Gateway, type GatewayOptions, SYSTEM_LEVEL } from "./gateway.ts";
import { type Effect, EffectQueue, type Machine } from "./machine.ts";
import {
  type ClassicTopic,
  MalformedPacketError,
  MAX_DATAGRAM,
  Message,
  type Peer,
  type TopicName,
} from "./message.ts";
import { isFramed } from "./mqttsn.ts";
import { Outlet } from "./outlet.ts";
import { type RouterStats, systemTopics } from "./system.ts";
import { MAX_TOPIC_ID } from "./topic_ids.ts";
import { parsePredefined, parseTopicName } from "./topics.ts";
import { encodeUtf8 } from "./utf8.ts";

/** The limits of a router, and what it does where there is a choice. */
export interface RouterOptions {
  /** Data kept for each classic topic; 1 or more. Default 1,000. */
  readonly history?: number;
  /** Classic topics that have a history; 1 or more. Default 10,000. */
  readonly maxTopics?: number;
  /** Classic subscriptions that wait; 1 or more. Default 10,000. */
  readonly maxWaiting?: number;
  /** Those of one peer that wait; 0 or more. Default 100. */
  readonly maxWaitingPerPeer?: number;
  /** Those of one source that are held; 1 or more. Default 16. */
  readonly maxHeldPerSource?: number;
  /**
   * Memory in octets, estimated, for each of: classic histories, classic
   * subscriptions that wait, those that are held, messages that wait for
   * MQTT-SN's clients, their topic ids, and retained messages; 65,507 or more.
   * Default 64 MiB.
   */
  readonly maxMemory?: number;
  /**
   * Octets that a source beyond this machine may be sent at once, by the classic
   * protocol, in excess of what it sent; 1 or more. Default 128 KiB.
   */
  readonly allowance?: number;
  /** Octets a second by which an allowance grows back; 1 or more. Default 16 KiB. */
  readonly allowanceRate?: number;
  /** Sources whose allowance is followed at a time; 1 or more. Default 10,000. */
  readonly maxSources?: number;

  /** MQTT-SN clients, kept sessions included; 1 or more. Default 10,000. */
  readonly maxClients?: number;
  /** Messages that wait for one client; 1 or more. Default 1,000. */
  readonly maxQueue?: number;
  /** Subscriptions of one client; 1 or more. Default 1,000. */
  readonly maxSubscriptions?: number;
  /** Topics that one client has ids for, 1 to 65,534. Default 10,000. */
  readonly maxTopicIds?: number;
  /** Topics that have a retained message; 0 or more. Default 100,000. */
  readonly maxRetained?: number;
  /** QoS 2 messages of one client that wait for PUBREL. Default 256. */
  readonly maxUnreleased?: number;
  /** PUBLISHes a second from one client; 0, the default, for any number. */
  readonly maxRate?: number;
  /** The longest MQTT-SN message that is sent, in octets, 32 to 65,507, the default. */
  readonly maxPacket?: number;
  /** Until an unanswered packet is sent again, in milliseconds. Default 10,000. */
  readonly retryMs?: Millis;
  /** How often it is sent again before a client is lost; 0 or more. Default 4. */
  readonly retries?: number;
  /**
   * What a keep alive or a sleep of more than a minute is multiplied by before a
   * client is lost, 1 to 10. Default 1.1. For a minute or less it is 1.5.
   */
  readonly tolerance?: number;
  /**
   * What happens when too much waits for a client: `drop`, the default, lets the
   * oldest go, one of QoS 0 before all others; `refuse` lets only those of QoS 0
   * go, and else answers the publisher with congestion.
   */
  readonly overflow?: "drop" | "refuse";
  /** Topics that have an id for everybody, by id, 1 to 65,534. */
  readonly predefined?: ReadonlyMap<number, string>;
  /** Which gateway it is, 0 to 255. Default 1. */
  readonly gwId?: number;
  /** Seconds between two ADVERTISEs, 1 to 65,535; 0, the default, for none. */
  readonly advertise?: number;
  /** Whether it advertises only while no other gateway does. Default false. */
  readonly standby?: boolean;
  /**
   * Whether rules that are usually overlooked are held: a client id of 23
   * characters at most, no msgId 0 where one is needed, no wildcard in a short
   * topic name. Default false.
   */
  readonly strict?: boolean;
  /** Whether a PUBLISH of QoS −1, without connection, is taken. Default true. */
  readonly qosMinusOne?: boolean;
  /** Whether it may spell out its topic, as Paho's client does. Default false. */
  readonly namedQosMinusOne?: boolean;
  /** Whether REGISTER of a pre-defined topic gives that id. Default false. */
  readonly registerPredefined?: boolean;
  /** Whether a client without client id is given one. Default false. */
  readonly allowEmptyClientId?: boolean;
  /** Whether a CONNECT without keep alive is refused. Default false. */
  readonly requireKeepAlive?: boolean;
  /** Whether CONNECT only wakes a sleeping client, whatever its flags. Default false. */
  readonly connectWakesOnly?: boolean;
  /** Whether PINGREQ with a client id moves it to a new address. Default true. */
  readonly allowMove?: boolean;
  /** Whether octets behind an MQTT-SN message are ignored. Default false. */
  readonly ignoreTail?: boolean;
  /** What `$SYS/broker/version` says. Default `unknown`. */
  readonly version?: string;
}

/** Each limit's default, and the least and the most that it can be. */
const LIMITS = {
  history: [1_000, 1, Infinity],
  maxTopics: [10_000, 1, Infinity],
  maxWaiting: [10_000, 1, Infinity],
  maxWaitingPerPeer: [100, 0, Infinity],
  maxHeldPerSource: [16, 1, Infinity],
  maxMemory: [64 * 1024 * 1024, MAX_DATAGRAM, Infinity],
  allowance: [128 * 1024, 1, Infinity],
  allowanceRate: [16 * 1024, 1, Infinity],
  maxSources: [10_000, 1, Infinity],
  maxClients: [10_000, 1, Infinity],
  maxQueue: [1_000, 1, Infinity],
  maxSubscriptions: [1_000, 1, Infinity],
  maxTopicIds: [10_000, 1, MAX_TOPIC_ID],
  maxRetained: [100_000, 0, Infinity],
  maxUnreleased: [256, 1, 0xffff],
  maxRate: [0, 0, Infinity],
  maxPacket: [MAX_DATAGRAM, 32, MAX_DATAGRAM],
  retryMs: [10_000, 1, Infinity],
  retries: [4, 0, Infinity],
  gwId: [1, 0, 255],
  advertise: [0, 0, 65_535],
} as const satisfies Partial<
  Record<keyof RouterOptions, readonly [number, number, number]>
>;

type Limits = Record<keyof typeof LIMITS, number>;

/** Between two looks at the broker's own topics, while anyone subscribes. */
const SYSTEM_INTERVAL_MS = 1_000;

/**
 * The broker's core.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { peerOf } from "./message.ts";
 * import { Router } from "./router.ts";
 *
 * const router = new Router();
 * const peer = peerOf("127.0.0.1", 4711);
 * const request = '{"type":"publish","topic":"weather","data":"21.5"}';
 * router.handleDatagram(0, peer, new TextEncoder().encode(request));
 *
 * const replies: string[] = [];
 * for (let effect; (effect = router.pollEffect());) {
 *   if (effect.type === "send") {
 *     replies.push(new TextDecoder().decode(effect.bytes));
 *   }
 * }
 * assertEquals(replies, ["Broker has recieved message"]);
 * ```
 */
export class Router implements Machine<RouterEvent> {
  readonly #effects = new EffectQueue<RouterEvent>();
  readonly #outlet = new Outlet(this.#effects);
  readonly #exchange: Exchange;
  readonly #gateway: Gateway;
  readonly #classic: ClassicBroker;
  readonly #framing: { readonly lenient: boolean };
  readonly #queueBudget: Budget;
  readonly #topicIdBudget: Budget;
  readonly #version: string;
  #received = 0;
  #receivedOctets = 0;
  #startedAt: Millis | undefined;
  /** When the broker's own topics are due, while anyone subscribes to them. */
  #systemAt: Millis | undefined;
  /** What they said last. */
  readonly #system = new Map<TopicName, string>();

  /**
   * Makes a router with empty tables.
   *
   * @param options limits and choices other than the defaults
   * @throws {RangeError} when a limit is out of its range
   * @throws {TypeError} when a pre-defined topic is not valid
   */
  constructor(options: RouterOptions = {}) {
    const limits = limitsFrom(options);
    const { overflow = "drop", ignoreTail = false } = options;
    this.#version = options.version ?? "unknown";
    this.#framing = { lenient: ignoreTail };
    this.#queueBudget = new Budget(limits.maxMemory);
    this.#topicIdBudget = new Budget(limits.maxMemory);
    this.#exchange = new Exchange({ ...limits, overflow });
    this.#classic = new ClassicBroker(limits, this.#outlet, this);
    const gatewayOptions: GatewayOptions = {
      ...limits,
      overflow,
      ignoreTail,
      tolerance: toleranceFrom(options),
      queueBudget: this.#queueBudget,
      topicIdBudget: this.#topicIdBudget,
      predefined: parsePredefined(
        Object.fromEntries(options.predefined ?? new Map()),
      ),
      standby: options.standby ?? false,
      strict: options.strict ?? false,
      qosMinusOne: options.qosMinusOne ?? true,
      namedQosMinusOne: options.namedQosMinusOne ?? false,
      registerPredefined: options.registerPredefined ?? false,
      allowEmptyClientId: options.allowEmptyClientId ?? false,
      requireKeepAlive: options.requireKeepAlive ?? false,
      connectWakesOnly: options.connectWakesOnly ?? false,
      allowMove: options.allowMove ?? true,
    };
    this.#gateway = new Gateway(
      gatewayOptions,
      this.#outlet,
      this.#exchange,
      this,
    );
  }

  /** Takes one datagram from a peer. */
  handleDatagram(now: Millis, peer: Peer, bytes: Uint8Array): void {
    this.#startedAt ??= now;
    this.#received++;
    this.#receivedOctets += bytes.length;
    if (bytes.length === 0) return this.#outlet.drop(peer, "empty");
    if (bytes.length > MAX_DATAGRAM) {
      return this.#outlet.drop(peer, "malformed", `${bytes.length} octets`);
    }
    if (this.#isMqttSn(peer, bytes)) {
      return this.#gateway.handleDatagram(now, peer, bytes);
    }
    this.#classic.handleDatagram(now, peer, bytes);
  }

  /** Does what is due by `now`. */
  handleTimeout(now: Millis): void {
    this.#startedAt ??= now;
    this.#classic.handleTimeout(now);
    this.#gateway.handleTimeout(now);
    if (this.#systemAt !== undefined && now >= this.#systemAt) {
      this.#publishSystem(now);
    }
  }

  /** When something is due next, `undefined` for never. */
  nextTimeout(): Millis | undefined {
    return earliest(
      this.#systemAt,
      earliest(this.#gateway.nextTimeout(), this.#classic.nextTimeout()),
    );
  }

  /** The next effect in order, `undefined` when there is none left. */
  pollEffect(): Effect<RouterEvent> | undefined {
    return this.#effects.poll();
  }

  /** What was counted so far: a snapshot, it does not change afterwards. */
  stats(): RouterStats {
    const { sent, sentOctets, sentByType, dropped, refused } = this.#outlet
      .stats();
    const classic = this.#classic.stats();
    const gateway = this.#gateway.stats();
    return {
      received: this.#received,
      receivedOctets: this.#receivedOctets,
      sent,
      sentOctets,
      published: classic.published + gateway.published,
      subscribed: classic.subscribed + gateway.subscribed,
      delivered: classic.delivered + gateway.delivered,
      dropped,
      classic,
      mqttsn: {
        ...gateway,
        sentByType,
        refused,
        subscriptions: this.#exchange.subscriptions,
        retained: this.#exchange.retained,
        retainedMemory: this.#exchange.memory,
        queueMemory: this.#queueBudget.used,
        topicIdMemory: this.#topicIdBudget.used,
      },
    };
  }

  /** Hands on what was published by MQTT-SN. */
  publish(now: Millis, message: Message): void {
    this.#exchange.deliver(now, message);
    const { topicName, payload } = message;
    // A name that the classic protocol would trim is none that it can ask for.
    const classicTopic = parseClassicTopic(topicName);
    if (classicTopic as string === topicName) {
      this.#classic.enter(now, classicTopic!, payload);
    }
  }

  /** Hands on what was published by the classic protocol. */
  publishClassic(now: Millis, topic: ClassicTopic, data: string): void {
    const topicName = parseTopicName(topic);
    if (topicName === undefined || topicName.startsWith("$")) return;
    const message = new Message(topicName, encodeUtf8(data), 0, false);
    this.#exchange.deliver(now, message);
  }

  /** Brings the broker's own topics up to date for a new subscriber. */
  refreshSystem(now: Millis): void {
    if (this.#systemAt !== undefined) return; // less than a second old
    for (const message of this.#systemChanges(now)) {
      this.#exchange.admit(message);
    }
    this.#systemAt = now + SYSTEM_INTERVAL_MS;
  }

  #publishSystem(now: Millis): void {
    if (!this.#exchange.hasSubscriptionBelow(SYSTEM_LEVEL)) {
      for (const topicName of this.#system.keys()) {
        this.#exchange.forget(topicName);
      }
      this.#system.clear();
      this.#systemAt = undefined;
      return;
    }
    for (const message of this.#systemChanges(now)) {
      this.#exchange.admit(message);
      this.#exchange.deliver(now, message);
    }
    this.#systemAt = now + SYSTEM_INTERVAL_MS;
  }

  /** The broker's own topics that say something else than they did last. */
  #systemChanges(now: Millis): Message[] {
    const uptime = Math.floor((now - (this.#startedAt ?? now)) / 1_000);
    const changes: Message[] = [];
    for (
      const [name, value] of systemTopics(this.stats(), this.#version, uptime)
    ) {
      const topicName = parseTopicName(name)!;
      if (this.#system.get(topicName) === value) continue;
      this.#system.set(topicName, value);
      changes.push(new Message(topicName, encodeUtf8(value), 0, true));
    }
    return changes;
  }

  #isMqttSn(peer: Peer, bytes: Uint8Array): boolean {
    if (!isFramed(bytes, this.#framing)) return false;
    return bytes[0] !== BRACE || this.#gateway.knows(peer) || !isJson(bytes);
  }
}

/** `{`, with which an object in JSON begins. */
const BRACE = 0x7b;

function isJson(bytes: Uint8Array): boolean {
  try {
    decodeRequest(bytes);
    return true;
  } catch (error) {
    if (!(error instanceof MalformedPacketError)) throw error;
    return false;
  }
}

function earliest(
  one: Millis | undefined,
  other: Millis | undefined,
): Millis | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return Math.min(one, other);
}

function limitsFrom(options: RouterOptions): Limits {
  const limits = {} as Limits;
  for (const key of Object.keys(LIMITS)) {
    const name = key as keyof Limits;
    const [usual, least, most] = LIMITS[name];
    const value = options[name] ?? usual;
    if (!Number.isSafeInteger(value) || value < least || value > most) {
      const range = most === Infinity
        ? `${least} or more`
        : `${least} to ${most}`;
      throw new RangeError(
        `Cannot take "${value}" as ${name}: it is a whole number, ${range}`,
      );
    }
    limits[name] = value;
  }
  return limits;
}

function toleranceFrom({ tolerance = 1.1 }: RouterOptions): number {
  if (tolerance >= 1 && tolerance <= 10) return tolerance;
  throw new RangeError(
    `Cannot take "${tolerance}" as tolerance: it is a number, 1 to 10`,
  );
}
