/**
 * What a fleet is told to be, and the words in which a person says so: how many
 * clients, who sleeps, what is published how often and where to.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import type { NetSpec } from "../netsim/spec.ts";
import { parseTopicName } from "../wire/topics.ts";
import { requireNumber, shareFrom, timeFrom } from "../base/units.ts";

/** The shortest payload: the message's number and a check, in octets. */
export const MIN_PAYLOAD = 6;

/** The longest payload that a run takes, in octets. */
const MAX_PAYLOAD = 8_192;

/** Listeners that a message is for, at most. */
export const MAX_FANOUT = 8;

/** Shares of QoS 0, 1 and 2, which sum up to 1. */
export type QosMix = readonly [zero: number, one: number, two: number];

/** What a fleet is. */
export interface FleetOptions {
  /** Where all chance comes from. */
  readonly seed: number;
  /** How many clients, 1 to 1,000,000. */
  readonly clients: number;
  /** For how long they publish, in milliseconds. */
  readonly durationMs: Millis;
  /** Over which time they arrive, in milliseconds. */
  readonly rampMs: Millis;
  /** For how long what is under way may still come in the end, in milliseconds. */
  readonly graceMs: Millis;
  /** Which part of them sleeps, 0 to 1. */
  readonly sleepers: number;
  /** Seconds between two awakenings, 1 to 65535. */
  readonly sleep: number;
  /** Keep alive in seconds, 0 to 65535. */
  readonly keepAlive: number;
  /** Whether nothing of a client is kept between connections. */
  readonly cleanSession: boolean;
  /** What each client publishes a second, on average. */
  readonly rate: number;
  /** What is published to each client a second, on average. */
  readonly commands: number;
  /** The shortest and the longest payload, in octets. */
  readonly payload: readonly [min: number, max: number];
  /** How sure what is published is to be. */
  readonly qos: QosMix;
  /** Where each client publishes. */
  readonly tree: TopicTree;
  /** How many listen. */
  readonly listeners: number;
  /** To how many of them each message goes, 1 to 8. */
  readonly fanout: number;
  /** T_retry of both sides, in milliseconds. */
  readonly retryMs: Millis;
  /** N_retry of both sides. */
  readonly retries: number;
  /** Messages that may wait for one client. */
  readonly maxQueue: number;
  /**
   * The network between the clients and the broker, as the clients see it.
   * Default: datagrams arrive at once. Listeners are beside the broker.
   */
  readonly net?: NetSpec;
}

/** A fleet that nobody has said anything about: small, and on a perfect network. */
export const DEFAULT_FLEET: FleetOptions = {
  seed: 1,
  clients: 1_000,
  durationMs: 600_000,
  rampMs: 60_000,
  graceMs: 600_000,
  sleepers: 0.5,
  sleep: 300,
  keepAlive: 600,
  cleanSession: false,
  rate: 1 / 60,
  commands: 1 / 600,
  payload: [16, 64],
  qos: [0.5, 0.4, 0.1],
  get tree(): TopicTree {
    return TopicTree.parse("site/{10}/{client}");
  },
  listeners: 1,
  fanout: 1,
  retryMs: 10_000,
  retries: 4,
  maxQueue: 1_000,
};

/**
 * Refuses a fleet that cannot be.
 *
 * @throws {RangeError} when an option is out of its range
 */
export function requireFleetOptions(options: FleetOptions): void {
  for (const [name, [min, max]] of Object.entries(RANGES)) {
    const value = options[name as keyof typeof RANGES];
    requireNumber(name, value, min, max);
  }
}

const RANGES = {
  clients: [1, 1_000_000],
  durationMs: [1, 86_400_000],
  rampMs: [0, 86_400_000],
  graceMs: [0, 86_400_000],
  sleepers: [0, 1],
  sleep: [1, 0xffff],
  keepAlive: [0, 0xffff],
  rate: [0, 1_000],
  commands: [0, 1_000],
  listeners: [1, 10_000],
  fanout: [1, MAX_FANOUT],
  retryMs: [1, 3_600_000],
  retries: [0, 1_000],
  maxQueue: [1, 1_000_000],
} as const satisfies Partial<
  Record<keyof FleetOptions, readonly [number, number]>
>;

/**
 * Where clients publish: levels between slashes, of which `{N}` is one of N names
 * and `{client}` the client's own.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { TopicTree } from "./options.ts";
 *
 * const tree = TopicTree.parse("site/{3}/{client}");
 * assertEquals(tree.topicOf(7), "site/1/c7");
 * assertEquals(tree.filtersOf(0, 2, 1), ["site/0/+", "site/2/+"]);
 * ```
 */
export class TopicTree {
  readonly #levels: readonly (string | number | undefined)[];
  /** The level by which listeners share the tree, −1 for none. */
  readonly #branching: number;

  private constructor(levels: readonly (string | number | undefined)[]) {
    this.#levels = levels;
    this.#branching = levels.findIndex((level) => typeof level === "number");
  }

  /**
   * Reads a tree.
   *
   * @throws {RangeError} when it is none
   */
  static parse(text: string): TopicTree {
    const form =
      "it is levels of a topic, as site/{10}/{client}, where {10} is one of 10 names";
    const levels = text.split("/").map((level) => {
      if (level === "{client}") return undefined;
      const [, names] = /^\{(\d{1,7})\}$/.exec(level) ?? [];
      if (names !== undefined && Number(names) > 0) return Number(names);
      const isPlain = !/[{}]/.test(level) &&
        (level === "" || parseTopicName(level) !== undefined);
      if (isPlain) return level;
      throw new RangeError(
        `Cannot take "${level}" of "${text}" as a level: ${form}`,
      );
    });
    const isName = parseTopicName(text.replace(/[{}]/g, "")) !== undefined;
    if (isName && !text.startsWith("$")) return new TopicTree(levels);
    throw new RangeError(`Cannot take "${text}" as a topic tree: ${form}`);
  }

  /** Which of the branches a client is in, 0 when there is but one. */
  branchOf(client: number): number {
    return this.#branching < 0 ? 0 : client % this.branches;
  }

  /** How many branches there are. */
  get branches(): number {
    return this.#branching < 0 ? 1 : this.#levels[this.#branching] as number;
  }

  /** Where a client publishes. */
  topicOf(client: number): string {
    let rest = client;
    return this.#levels.map((level) => {
      if (level === undefined) return `c${client}`;
      if (typeof level === "string") return level;
      const name = rest % level;
      rest = Math.floor(rest / level);
      return name;
    }).join("/");
  }

  /**
   * What a listener subscribes to: a branch goes to as many in turn as a message
   * is for.
   */
  filtersOf(listener: number, listeners: number, fanout: number): string[] {
    const filters: string[] = [];
    for (let branch = 0; branch < this.branches; branch++) {
      if (placeOf(branch, listener, listeners) >= fanout) continue;
      const levels = this.#levels.map((level, at) =>
        at === this.#branching
          ? branch
          : typeof level === "string"
          ? level
          : "+"
      );
      filters.push(levels.join("/"));
    }
    return filters;
  }
}

/** Which of those that a branch goes to a listener is, counted from 0. */
export function placeOf(
  branch: number,
  listener: number,
  listeners: number,
): number {
  return (listener - branch % listeners + listeners) % listeners;
}

/**
 * A number of times a second: `0.5`, or `1/60` for once a minute.
 *
 * @throws {RangeError} when it is none, or more than 1,000
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseRate } from "./options.ts";
 *
 * assertEquals(parseRate("1/50"), 0.02);
 * ```
 */
export function parseRate(text: string): number {
  const [, times, seconds = "1"] =
    /^(\d*\.?\d+)(?:\/(\d*\.?\d+))?$/.exec(text) ??
      [];
  const rate = Number(times) / Number(seconds);
  if (rate >= 0 && rate <= 1_000) return rate;
  throw new RangeError(
    `Cannot take "${text}" as a rate: it is times a second, 1000 at most, as 0.5 or 1/60`,
  );
}

/**
 * A part of the clients: `80%`.
 *
 * @throws {RangeError} when it is none
 */
export function parseShare(text: string): number {
  const share = shareFrom(text);
  if (share !== undefined) return share;
  throw new RangeError(
    `Cannot take "${text}" as a part of the clients: it is 0% to 100%, as 80%`,
  );
}

/**
 * A length of time, in milliseconds: `90s`, `15min`, `1h`.
 *
 * @throws {RangeError} when it is none, or longer than a day
 */
export function parseTime(text: string): Millis {
  const time = timeFrom(text);
  if (time !== undefined) return time;
  throw new RangeError(
    `Cannot take "${text}" as a time: it is a day at most, as 90s, 15min or 1h`,
  );
}

/**
 * Payload sizes in octets: `24`, or from `16-64`.
 *
 * @throws {RangeError} when they are none, or out of range
 */
export function parseSizes(text: string): readonly [min: number, max: number] {
  const [, from, to = from] = /^(\d+)(?:-(\d+))?$/.exec(text) ?? [];
  const [min, max] = [Number(from), Number(to)];
  if (min >= MIN_PAYLOAD && max >= min && max <= MAX_PAYLOAD) return [min, max];
  throw new RangeError(
    `Cannot take "${text}" as payload sizes: they are ${MIN_PAYLOAD} to ${MAX_PAYLOAD} octets, as 24 or 16-64`,
  );
}

/**
 * Shares of QoS 0, 1 and 2: `1`, or `0:50,1:40,2:10`.
 *
 * @throws {RangeError} when they are none
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseQosMix } from "./options.ts";
 *
 * assertEquals(parseQosMix("0:3,2:1"), [0.75, 0, 0.25]);
 * ```
 */
export function parseQosMix(text: string): QosMix {
  const shares: [number, number, number] = [0, 0, 0];
  for (const word of text.split(",")) {
    const [, qos, share = "1"] = /^([012])(?::(\d*\.?\d+))?$/.exec(word) ?? [];
    if (qos === undefined) {
      throw new RangeError(
        `Cannot take "${word}" of "${text}" as a QoS and its share: they are as 0:50,1:40,2:10`,
      );
    }
    shares[Number(qos) as 0 | 1 | 2] += Number(share);
  }
  const sum = shares[0] + shares[1] + shares[2];
  if (sum > 0) return [shares[0] / sum, shares[1] / sum, shares[2] / sum];
  throw new RangeError(
    `Cannot take "${text}" as shares of each QoS: they sum up to 0, and are as 0:50,1:40,2:10`,
  );
}
