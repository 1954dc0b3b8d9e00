/**
 * What was published to the classic protocol's topics, for the clients that ask later.
 *
 * A history forgets its oldest data, each whole, when it has its full count or
 * would no longer fit one datagram. When all histories together are too many or
 * too large, the one published to longest ago goes altogether.
 *
 * @module
 */

import type { ClassicTopic } from "../wire/message.ts";
import { MAX_DATAGRAM } from "../base/peer.ts";
import type { Persistence } from "./persistence.ts";
import { decodeUtf8Loosely, utf8Length } from "../base/utf8.ts";
import type { Settings } from "./options.ts";

/** How much is kept. */
export type HistoryLimits = Pick<
  Settings,
  "history" | "maxTopics" | "maxMemory"
>;

/**
 * Why data left a topic's history.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, ClassicClient } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0, history: 1 });
 * await using client = await ClassicClient.connect({ port: broker.port });
 * for (const data of ["21.5", "21.6"]) await client.publish("weather", data);
 * assertEquals(broker.stats().classic.forgotten.count, 1);
 * ```
 */
export type ForgetReason =
  /** The history had its full count of data. */
  | "count"
  /** The history would not have fitted a datagram. */
  | "datagram"
  /** All histories together were too many or took too much memory. */
  | "memory";

/** Is told what is forgotten: `count` data of one topic. */
export type ForgetListener = (
  topicName: ClassicTopic,
  reason: ForgetReason,
  count: number,
) => void;

/** What a datum or a topic takes besides its octets, roughly. */
const OVERHEAD = 96;

const LINE_END = 0x0a;

/**
 * The histories of all topics.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseClassicTopic } from "../wire/classic.ts";
 * import { ClassicHistory } from "./classic_history.ts";
 * import { decodeUtf8, encodeUtf8 } from "../base/utf8.ts";
 *
 * const limits = { history: 2, maxTopics: 10, maxMemory: 1e6 };
 * const histories = new ClassicHistory(limits, () => {});
 * const weather = parseClassicTopic("weather")!;
 * for (const text of ["20", "21", "22"]) {
 *   histories.append(weather, encodeUtf8(text));
 * }
 * assertEquals(decodeUtf8(histories.read(weather)!), "21\n22");
 * ```
 */
export class ClassicHistory {
  readonly #limits: HistoryLimits;
  readonly #onForget: ForgetListener;
  readonly #persistence: Persistence | undefined;
  readonly #histories = new Map<ClassicTopic, History>();
  /**
   * The first and the last in the order of their last publish. A chain, as it
   * changes with each publish, which a `Map` pays for with a new table each time.
   */
  #oldest: History | undefined;
  #newest: History | undefined;
  #memory = 0;
  #lastSeq = 0;

  /**
   * Starts without any history.
   *
   * @param limits how much is kept
   * @param onForget is told what is forgotten
   * @param persistence where what is not forgotten outlives the process
   */
  constructor(
    limits: HistoryLimits,
    onForget: ForgetListener,
    persistence?: Persistence,
  ) {
    this.#limits = limits;
    this.#onForget = onForget;
    this.#persistence = persistence;
  }

  /** Topics that have a history. */
  get size(): number {
    return this.#histories.size;
  }

  /** Memory that the histories take, in octets, estimated. */
  get memory(): number {
    return this.#memory;
  }

  /** Whether anything was published to the topic that is still known. */
  has(topicName: ClassicTopic): boolean {
    return this.#histories.has(topicName);
  }

  /** The length of what `read` gives, in octets; 0 without a history. */
  octetsOf(topicName: ClassicTopic): number {
    return this.#histories.get(topicName)?.octets ?? 0;
  }

  /**
   * A topic's data, the oldest first, joined by line ends: what one datagram
   * answers. `undefined` when it has no history.
   */
  read(topicName: ClassicTopic): Uint8Array | undefined {
    return this.#histories.get(topicName)?.read();
  }

  /**
   * Adds a datum to a topic's history.
   *
   * @param datum text in UTF-8; it is copied
   * @param isPromised whether somebody is promised that it is kept
   * @throws {RangeError} when the datum alone does not fit a datagram
   */
  append(topicName: ClassicTopic, datum: Uint8Array, isPromised = true): void {
    if (datum.length > MAX_DATAGRAM) {
      throw new RangeError(`Cannot keep a datum of ${datum.length} octets`);
    }
    const seq = ++this.#lastSeq;
    const isKept = this.#persist(seq, topicName, datum, isPromised);
    this.#add(topicName, datum, isKept ? seq : 0);
  }

  /** Takes a datum that was kept; they come in the order of their numbers. */
  restore(topicName: ClassicTopic, datum: Uint8Array, seq: number): void {
    this.#lastSeq = seq;
    this.#add(topicName, datum, seq);
  }

  #persist(
    seq: number,
    topicName: ClassicTopic,
    datum: Uint8Array,
    isPromised: boolean,
  ): boolean {
    const persistence = this.#persistence;
    if (!persistence?.isOn) return false;
    const text = decodeUtf8Loosely(datum);
    const record = { type: "datum", seq, topicName, text } as const;
    if (!isPromised) return persistence.persistLoosely(record);
    persistence.persist(record);
    return true;
  }

  #add(topicName: ClassicTopic, datum: Uint8Array, seq: number): void {
    let history = this.#histories.get(topicName);
    const cost = datum.length + OVERHEAD +
      (history === undefined ? costOf(topicName) : 0);
    if (history !== undefined) this.#unlink(history);
    this.#makeRoom(cost, history);
    if (history === undefined) {
      history = new History(topicName);
      this.#histories.set(topicName, history);
    }
    this.#link(history);
    history.append(datum, seq);
    this.#memory += cost;
    this.#shorten(history);
  }

  /** Puts a history behind all others: it was published to last. */
  #link(history: History): void {
    history.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = history;
    else this.#newest.newer = history;
    this.#newest = history;
  }

  #unlink(history: History): void {
    const { older, newer } = history;
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
    history.older = undefined;
    history.newer = undefined;
  }

  /** Forgets a history's oldest data, as many as its limits ask. */
  #shorten(history: History): void {
    const { history: most, maxMemory } = this.#limits;
    let reason: ForgetReason | undefined;
    let count = 0;
    while (history.size > 1) {
      if (history.size > most) reason = "count";
      else if (history.octets > MAX_DATAGRAM) reason = "datagram";
      else if (this.#memory > maxMemory) reason = "memory";
      else break;
      this.#forgetFirst(history);
      count++;
    }
    if (reason !== undefined) this.#onForget(history.topicName, reason, count);
  }

  #forgetFirst(history: History): void {
    const { firstSeq } = history;
    if (firstSeq > 0) {
      this.#persistence?.persist({ type: "datumEnd", seq: firstSeq });
    }
    this.#memory -= history.dropFirst() + OVERHEAD;
  }

  /** Forgets whole histories until one more, or more of that one, has room. */
  #makeRoom(cost: number, growing: History | undefined): void {
    const { maxMemory, maxTopics } = this.#limits;
    const most = growing === undefined ? maxTopics - 1 : maxTopics;
    for (let history; (history = this.#oldest) !== undefined;) {
      if (
        this.#memory + cost <= maxMemory && this.#histories.size <= most
      ) return;
      const { topicName, size } = history;
      this.#unlink(history);
      this.#histories.delete(topicName);
      while (history.size > 0) this.#forgetFirst(history);
      this.#memory -= costOf(topicName);
      this.#onForget(topicName, "memory", size);
    }
  }
}

/**
 * One topic's data, as the octets that a datagram would answer: an append copies
 * what came, and makes nothing that would have to be collected.
 */
class History {
  readonly topicName: ClassicTopic;
  /** Those published to before and after it, each the next. */
  older: History | undefined;
  newer: History | undefined;
  /** The data, a line end behind each, from `#start` to `#end`. */
  #bytes = new Uint8Array(128);
  #start = 0;
  #end = 0;
  /** The length and the number of each; what lay before `#first` is forgotten. */
  readonly #lengths: number[] = [];
  /** They count up, over all topics; 0 of what does not outlive the process. */
  readonly #seqs: number[] = [];
  #first = 0;

  constructor(topicName: ClassicTopic) {
    this.topicName = topicName;
  }

  /** How many data there are. */
  get size(): number {
    return this.#lengths.length - this.#first;
  }

  /** Length of what `read` gives. */
  get octets(): number {
    return Math.max(0, this.#end - this.#start - 1);
  }

  /** The number of the oldest. */
  get firstSeq(): number {
    return this.#seqs[this.#first]!;
  }

  read(): Uint8Array {
    return this.#bytes.slice(this.#start, this.#start + this.octets);
  }

  append(datum: Uint8Array, seq: number): void {
    const end = this.#end + datum.length + 1;
    if (end > this.#bytes.length) this.#makeRoom(datum.length + 1);
    this.#bytes.set(datum, this.#end);
    this.#end += datum.length;
    this.#bytes[this.#end++] = LINE_END;
    this.#lengths.push(datum.length);
    this.#seqs.push(seq);
  }

  /** Forgets the oldest; tells its length. */
  dropFirst(): number {
    const length = this.#lengths[this.#first++]!;
    this.#start += length + 1;
    // Rarely, as what is left moves.
    if (this.#first * 2 > this.#lengths.length) {
      this.#lengths.splice(0, this.#first);
      this.#seqs.splice(0, this.#first);
      this.#first = 0;
    }
    return length;
  }

  /** Moves what is left to the start, of more room if it takes over half. */
  #makeRoom(octets: number): void {
    const used = this.#end - this.#start;
    let { length } = this.#bytes;
    while (used + octets > length / 2) length *= 2;
    const last = this.#bytes.subarray(this.#start, this.#end);
    if (length > this.#bytes.length) this.#bytes = new Uint8Array(length);
    this.#bytes.set(last);
    this.#start = 0;
    this.#end = used;
  }
}

/** What an entry under a topic's name costs in memory, in octets, roughly. */
export function costOf(topicName: ClassicTopic): number {
  return utf8Length(topicName) + OVERHEAD;
}
