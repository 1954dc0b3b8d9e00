/**
 * The options of a broker's core: its limits, and what it does where there is a
 * choice. They become {@linkcode Settings} once, at the start: each has a value that
 * was checked, in the unit that the core works with.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import { MAX_DATAGRAM } from "../base/peer.ts";
import { requireInteger, requireNumber } from "../base/units.ts";
import { LATE_MS } from "../wire/duplicates.ts";
import { MemoryBudget } from "./memory_budget.ts";
import type { TopicName } from "../wire/message.ts";
import { MAX_TOPIC_ID } from "../wire/packets.ts";
import { parsePredefined } from "../wire/topics.ts";

/**
 * The limits of a router, and what it does where there is a choice.
 *
 * @example
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { Broker, Client, RefusedError, type RouterOptions } from "../mod.ts";
 *
 * const limits: RouterOptions = { maxClients: 1, maxQueue: 10 };
 * await using broker = await Broker.listen({ port: 0, ...limits });
 * const { port } = broker;
 * await using _first = await Client.connect({ port });
 * await assertRejects(() => Client.connect({ port }), RefusedError);
 * ```
 */
export interface RouterOptions {
  /**
   * Data kept for each classic topic; 0 for no history: then a subscribe waits for
   * the next datum, and gets that alone. Default 1,000.
   */
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
   * MQTT-SN's clients, and retained messages; and four times as much for topic
   * ids, filters and wills. One client has an eighth at most. 65,507 or more.
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
  /** Those connected from one address beyond this machine. Default 1,000. */
  readonly maxClientsPerSource?: number;
  /**
   * Seconds that a client may be away before its kept session is forgotten; 0 or
   * more. Default: it is kept until its place is needed for a new client, and it
   * was away for a day.
   */
  readonly sessionExpiry?: number;
  /**
   * Seconds that a message may wait for a client before it is forgotten; 1 or
   * more. Default: for ever. What is under way already, and what is retained, is
   * not forgotten.
   */
  readonly messageExpiry?: number;
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
  /**
   * How late the network may deliver a copy of a PUBLISH of QoS 2 after its
   * PUBREL, in milliseconds, `retryMs` at most. A client that uses one msgId for
   * everything needs 0. Default 2,000.
   */
  readonly lateMs?: Millis;
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
  /**
   * Whether there is a store: what must outlive the process is told by effects,
   * and nothing is promised before `handleRestored` was called. Default false.
   */
  readonly isDurable?: boolean;
  /** What `$SYS/broker/version` says. Default `unknown`. */
  readonly version?: string;
}

/** Each limit's default, and the least and the most that it can be. */
export const LIMITS = {
  history: [1_000, 0, Infinity],
  maxTopics: [10_000, 1, Infinity],
  maxWaiting: [10_000, 1, Infinity],
  maxWaitingPerPeer: [100, 0, Infinity],
  maxHeldPerSource: [16, 1, Infinity],
  maxMemory: [64 * 1024 * 1024, MAX_DATAGRAM, Infinity],
  allowance: [128 * 1024, 1, Infinity],
  allowanceRate: [16 * 1024, 1, Infinity],
  maxSources: [10_000, 1, Infinity],
  maxClients: [10_000, 1, Infinity],
  maxClientsPerSource: [1_000, 1, Infinity],
  sessionExpiry: [Infinity, 0, Infinity],
  messageExpiry: [Infinity, 1, Infinity],
  maxQueue: [1_000, 1, Infinity],
  maxSubscriptions: [1_000, 1, Infinity],
  maxTopicIds: [10_000, 1, MAX_TOPIC_ID],
  maxRetained: [100_000, 0, Infinity],
  maxUnreleased: [256, 1, 0xffff],
  lateMs: [LATE_MS, 0, Infinity],
  maxRate: [0, 0, Infinity],
  maxPacket: [MAX_DATAGRAM, 32, MAX_DATAGRAM],
  retryMs: [10_000, 1, Infinity],
  retries: [4, 0, Infinity],
  gwId: [1, 0, 255],
  advertise: [0, 0, 65_535],
} as const satisfies Partial<
  Record<keyof RouterOptions, readonly [number, number, number]>
>;

/** One client's messages, or names, take no more than this part of the memory. */
const SHARE = 8;

/** Names take more memory than anything else where there are many clients. */
const NAME_FACTOR = 4;

/** Every option with its value, and the memory budgets that the parts share. */
export interface Settings extends
  Readonly<
    Required<
      Omit<RouterOptions, "sessionExpiry" | "messageExpiry" | "predefined">
    >
  > {
  /**
   * How long a client may be away before its session goes, in milliseconds;
   * `undefined` for as long as its place is not needed, and then for a day.
   */
  readonly sessionExpiryMs: Millis | undefined;
  /** How long a message may wait, in milliseconds; `Infinity` for ever. */
  readonly messageExpiryMs: Millis;
  /** Topics that have an id for everybody. */
  readonly predefined: ReadonlyMap<number, TopicName>;
  /** Memory for one client's messages, in octets, estimated. */
  readonly maxQueueOctets: number;
  /** Memory for one client's topic ids, filters and will, in octets, estimated. */
  readonly maxNameOctets: number;
  /** The memory that the queues of all clients share. */
  readonly queueBudget: MemoryBudget;
  /** The memory that the names, filters and wills of all clients share. */
  readonly nameBudget: MemoryBudget;
}

/**
 * The settings that options ask for.
 *
 * @throws {RangeError} when a limit is out of its range
 * @throws {TypeError} when a pre-defined topic is not valid
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { settingsFrom } from "./options.ts";
 *
 * const { retryMs, messageExpiryMs } = settingsFrom({ messageExpiry: 60 });
 * assertEquals([retryMs, messageExpiryMs], [10_000, 60_000]);
 * ```
 */
export function settingsFrom(options: RouterOptions): Settings {
  const limits = limitsFrom(options);
  const { tolerance = 1.1, predefined = new Map<number, string>() } = options;
  requireNumber("tolerance", tolerance, 1, 10);
  const { sessionExpiry, messageExpiry, ...rest } = limits;
  const share = Math.ceil(limits.maxMemory / SHARE);
  return {
    ...rest,
    tolerance,
    overflow: options.overflow ?? "drop",
    sessionExpiryMs: options.sessionExpiry === undefined
      ? undefined
      : sessionExpiry * 1_000,
    messageExpiryMs: messageExpiry * 1_000,
    maxQueueOctets: share,
    maxNameOctets: share,
    queueBudget: new MemoryBudget(limits.maxMemory),
    nameBudget: new MemoryBudget(limits.maxMemory * NAME_FACTOR),
    predefined: parsePredefined(Object.fromEntries(predefined)),
    standby: options.standby ?? false,
    strict: options.strict ?? false,
    qosMinusOne: options.qosMinusOne ?? true,
    namedQosMinusOne: options.namedQosMinusOne ?? false,
    registerPredefined: options.registerPredefined ?? false,
    allowEmptyClientId: options.allowEmptyClientId ?? false,
    requireKeepAlive: options.requireKeepAlive ?? false,
    connectWakesOnly: options.connectWakesOnly ?? false,
    allowMove: options.allowMove ?? true,
    ignoreTail: options.ignoreTail ?? false,
    isDurable: options.isDurable ?? false,
    version: options.version ?? "unknown",
  };
}

/** The options that are whole numbers, each with a value. */
type Limits = Readonly<Record<keyof typeof LIMITS, number>>;

function limitsFrom(options: RouterOptions): Limits {
  const limits = {} as Record<keyof Limits, number>;
  for (const key of Object.keys(LIMITS)) {
    const name = key as keyof Limits;
    const [usual, least, most] = LIMITS[name];
    const value = options[name] ?? usual;
    if (value !== usual) requireInteger(name, value, least, most);
    limits[name] = value;
  }
  return limits;
}
