/**
 * What is looked for among datagrams, and how many of it are expected: values that say
 * of an entry whether it is one, and of a number whether it will do.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import type { TopicFilter } from "../wire/message.ts";
import type { Peer } from "../base/peer.ts";
import { type MqttSnPacket, MSG_TYPE } from "../wire/packets.ts";
import {
  OTHER_TYPES,
  type Reading,
  type ReadingType,
} from "../wire/reading.ts";
import type { Way } from "./buffer.ts";
import {
  matchesFilter,
  parseTopicFilter,
  parseTopicName,
} from "../wire/topics.ts";
import { encodeUtf8 } from "../base/utf8.ts";

/** What an entry of a journal is: a datagram of some type, or a remark. */
export type EntryType = ReadingType | "note";

/** A datagram that came or went, or a remark between them. */
export interface JournalEntry extends Omit<Reading, "type" | "peer"> {
  /** Its number, from 0. */
  readonly number: number;
  /** When it was, on the clock of the program that has the journal. */
  readonly at: Millis;
  /** Which way it went. */
  readonly way: Way;
  /** What it is. */
  readonly type: EntryType;
  /** The other side; a remark may concern nobody. */
  readonly peer: Peer | undefined;
  /** The whole datagram, or the remark's text. */
  readonly bytes: Uint8Array;
}

/** The fields of a message type, any of them. */
export type FieldsOf<Type> = Type extends MqttSnPacket["type"]
  ? Partial<Omit<Extract<MqttSnPacket, { readonly type: Type }>, "type">>
  : Readonly<Record<string, never>>;

/** What is looked for: all that is given has to be so. */
export interface DatagramQuery<Type extends EntryType = EntryType> {
  /** Which type. With a `topic` or a `payload` and no type: a publish. */
  readonly type?: Type;
  /** The filter that its topic's name matches, or that it spells, as SUBSCRIBE does. */
  readonly topic?: string;
  /** What is published. */
  readonly payload?: string | Uint8Array;
  /** Fields that it has; parts of one that has parts will do. */
  readonly with?: FieldsOf<Type>;
  /** Only what is not older than this mark. */
  readonly since?: number;
  /** Whether what was sent again counts again. Default false. */
  readonly duplicates?: boolean;
}

/** How many are expected; without a word one, and more will do. */
export interface Count {
  /** So many, and not more by then; 0 is `never`. */
  readonly count?: number;
  /** So many, or more. */
  readonly atLeast?: number;
  /** So many when the time is over, and not more: it waits for its end. */
  readonly exactly?: number;
  /** None until the time is over. */
  readonly never?: boolean;
}

const TYPES: ReadonlySet<string> = new Set<EntryType>([
  ...Object.keys(MSG_TYPE) as (keyof typeof MSG_TYPE)[],
  ...OTHER_TYPES,
  "note",
]);

const PUBLISHES: readonly EntryType[] = ["PUBLISH", "classic publish"];

/**
 * A query that has been found to make sense.
 *
 * @example
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { Query } from "./query.ts";
 *
 * assertThrows(
 *   () => new Query("received", undefined, { topic: "room/#/light" }),
 *   TypeError,
 *   'Cannot look for the topic "room/#/light"',
 * );
 * ```
 */
export class Query {
  /** The client id, or the address, that is asked for. */
  readonly who: string | undefined;
  /** The filter that is asked for. */
  readonly filter: TopicFilter | undefined;
  /** Which way it went, if only one will do. */
  readonly way: Way | undefined;
  readonly #query: DatagramQuery & { readonly says?: string | undefined };
  readonly #types: readonly EntryType[] | undefined;

  /**
   * Checks a query.
   *
   * @param way which way it went; either, without one
   * @param peer client id or address of the other side; anyone, without one
   * @param query what it looks for; a remark `says` what is a part of its text
   * @throws {TypeError} when there is no such type, or the topic is no filter
   */
  constructor(
    way: Way | undefined,
    peer: string | Peer | undefined,
    query: DatagramQuery & { readonly says?: string | undefined },
  ) {
    const { type, topic } = query;
    if (type === "note" && (way === "received" || way === "sent")) {
      throw new TypeError(
        `Cannot look for the type "note" among what was ${way}: ask noted()`,
      );
    }
    if (type !== undefined && !TYPES.has(type)) {
      throw new TypeError(
        `Cannot look for the type "${type}": it is one of ${
          [...TYPES].join(", ")
        }`,
      );
    }
    if (topic !== undefined) {
      this.filter = parseTopicFilter(topic);
      if (this.filter === undefined) {
        throw new TypeError(
          `Cannot look for the topic "${topic}": it is no topic filter`,
        );
      }
    }
    const isPublish = topic !== undefined || query.payload !== undefined;
    this.#types = type !== undefined
      ? [type]
      : isPublish
      ? PUBLISHES
      : undefined;
    this.way = way;
    this.who = typeof peer === "object" ? peer.key : peer;
    this.#query = query;
  }

  /** Whether an entry is one that is looked for. */
  matches(entry: JournalEntry): boolean {
    const { with: fields, payload, since = 0, duplicates } = this.#query;
    if (this.way !== undefined && entry.way !== this.way) return false;
    if (this.#types !== undefined && !this.#types.includes(entry.type)) {
      return false;
    }
    if (entry.number < since) return false;
    if (entry.isDuplicate && duplicates !== true) return false;
    if (this.who !== undefined && !this.concerns(entry)) return false;
    if (this.filter !== undefined && !this.isAbout(entry)) return false;
    if (payload !== undefined && !isSame(entry.payload, payload)) return false;
    const { says } = this.#query;
    if (says !== undefined && !entry.text.includes(says)) return false;
    return fields === undefined ||
      (entry.packet !== undefined && isSame(entry.packet, fields));
  }

  /** Whether an entry is to or from whom is asked for. */
  concerns({ clientId, peer }: JournalEntry): boolean {
    return clientId === this.who || peer?.key === this.who;
  }

  /** Whether an entry's topic is one that is asked for. */
  isAbout({ topicName }: JournalEntry): boolean {
    if (topicName === undefined || this.filter === undefined) return false;
    if (topicName === this.filter) return true;
    const name = parseTopicName(topicName);
    return name !== undefined && matchesFilter(this.filter, name);
  }

  /** What is looked for, as the middle of a sentence. */
  toString(): string {
    const { type, topic, payload, with: fields, says } = this.#query;
    const words: string[] = [
      says !== undefined
        ? shown(says)
        : type ?? (this.#types === undefined ? "datagram" : "publish"),
    ];
    if (topic !== undefined) words.push(`on "${topic}"`);
    if (payload !== undefined) words.push(`of ${shown(payload)}`);
    if (fields !== undefined) {
      const pairs = Object.entries(fields);
      words.push(
        "with",
        ...pairs.map(([key, part]) => `${key}=${shown(part)}`),
      );
    }
    if (this.who !== undefined) {
      const towards = this.way === "received"
        ? "from"
        : this.way === "note"
        ? "about"
        : "to";
      words.push(`${towards} "${this.who}"`);
    }
    return words.join(" ");
  }
}

/** How it stands with a number: `met` and `missed` are final. */
export type Verdict = "met" | "missed" | "open";

/**
 * A number that is expected.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Tally } from "./query.ts";
 *
 * const three = new Tally({ count: 3 });
 * assertEquals(three.judge(2, false), "open");
 * assertEquals(three.judge(3, false), "met");
 * assertEquals(three.judge(4, false), "missed");
 * assertEquals(new Tally({ never: true }).judge(0, false), "open");
 * ```
 */
export class Tally {
  readonly #least: number;
  readonly #most: number;
  /** Whether it can be met only when the time is over. */
  readonly isPatient: boolean;

  /**
   * Checks it.
   *
   * @throws {TypeError} when more than one of its words is given
   * @throws {RangeError} when a number is none
   */
  constructor({ count, atLeast, exactly, never }: Count) {
    const given = [count, atLeast, exactly, never].filter((n) =>
      n !== undefined
    );
    if (given.length > 1) {
      throw new TypeError(
        "Cannot count in several ways: give one of count, atLeast, exactly and never",
      );
    }
    for (const number of [count, atLeast, exactly]) {
      if (number === undefined) continue;
      if (Number.isInteger(number) && number >= 0) continue;
      throw new RangeError(`Cannot expect "${number}" of it`);
    }
    if (never === false) {
      throw new TypeError('Cannot expect "never: false": leave it out');
    }
    const exact = never ? 0 : exactly ?? (count === 0 ? 0 : undefined);
    this.isPatient = exact !== undefined;
    this.#least = exact ?? count ?? atLeast ?? 1;
    this.#most = exact ?? count ?? Infinity;
  }

  /**
   * Says how it stands.
   *
   * @param number how many there are
   * @param isOver whether the time is over
   */
  judge(number: number, isOver: boolean): Verdict {
    if (number > this.#most) return "missed";
    if (number < this.#least) return isOver ? "missed" : "open";
    return this.isPatient && !isOver ? "open" : "met";
  }

  /** How many: `3 ×`, `at least 1 ×`, `no`. */
  toString(): string {
    if (this.#most === 0) return "no";
    return this.#most === Infinity
      ? `at least ${this.#least} ×`
      : `${this.#least} ×`;
  }
}

/** Whether a value is as expected: parts of an object, octets as text. */
function isSame(value: unknown, expected: unknown): boolean {
  if (expected instanceof Uint8Array || value instanceof Uint8Array) {
    const one = octetsOf(value);
    const other = octetsOf(expected);
    return one !== undefined && other !== undefined &&
      one.length === other.length &&
      one.every((octet, i) => octet === other[i]);
  }
  if (typeof expected !== "object" || expected === null) {
    return Object.is(value, expected);
  }
  return typeof value === "object" && value !== null &&
    Object.entries(expected).every(([name, part]) =>
      isSame((value as Readonly<Record<string, unknown>>)[name], part)
    );
}

function octetsOf(value: unknown): Uint8Array | undefined {
  if (typeof value === "string") return encodeUtf8(value);
  return value instanceof Uint8Array ? value : undefined;
}

function shown(value: unknown): string {
  if (!(value instanceof Uint8Array)) return JSON.stringify(value) ?? "nothing";
  return value.toHex();
}
