/**
 * What was published to the classic protocol's topics, kept for whoever asks
 * later. Knows data and limits; nothing of peers or datagrams.
 *
 * A history forgets its oldest data, each whole, when it has its full count or
 * would no longer fit one datagram. When all histories together are too many or
 * too large, the one published to longest ago goes altogether.
 *
 * @module
 */

import { type ClassicTopic, MAX_DATAGRAM } from "./message.ts";
import type { Persistence } from "./persistence.ts";
import { utf8Length } from "./utf8.ts";

/** How much is kept. */
export interface HistoryLimits {
  /** Data kept for each topic; 1 or more. */
  readonly history: number;
  /** Topics that have a history; 1 or more. */
  readonly maxTopics: number;
  /** Memory for all histories, in octets, estimated; 65,507 or more. */
  readonly maxMemory: number;
}

/** Why data left a topic's history. */
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

interface History {
  readonly topicName: ClassicTopic;
  /** Those published to before and after it, each the next. */
  older: History | undefined;
  newer: History | undefined;
  /** The data, the oldest at `first`; what lay before it is forgotten. */
  readonly data: Datum[];
  /** Counts up, as taking out the first of many costs as much as they are. */
  first: number;
  /** Length of the data joined by line ends, in octets. */
  octets: number;
}

interface Datum {
  readonly text: string;
  readonly octets: number;
  /** Counts up, over all topics; 0 if it does not outlive the process. */
  readonly seq: number;
}

/** Stands where a datum was, so that its text can go. */
const FORGOTTEN: Datum = { text: "", octets: 0, seq: 0 };

/** What the engine needs around a text, roughly: a small datum costs more. */
const OVERHEAD = 96;

/**
 * The histories of all topics.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseClassicTopic } from "./classic.ts";
 * import { Histories } from "./history.ts";
 *
 * const limits = { history: 2, maxTopics: 10, maxMemory: 1e6 };
 * const histories = new Histories(limits, () => {});
 * const weather = parseClassicTopic("weather")!;
 * for (const text of ["20", "21", "22"]) histories.append(weather, text);
 * assertEquals(histories.read(weather), "21\n22");
 * ```
 */
export class Histories {
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
  read(topicName: ClassicTopic): string | undefined {
    const history = this.#histories.get(topicName);
    if (history === undefined) return undefined;
    const { data, first } = history;
    return data.slice(first).map(({ text }) => text).join("\n");
  }

  /**
   * Adds a datum to a topic's history.
   *
   * @param isPromised whether somebody is promised that it is kept
   * @param octets the datum's length in UTF-8, where it is known
   * @returns the datum's length in octets
   * @throws {RangeError} when the datum alone does not fit a datagram
   */
  append(
    topicName: ClassicTopic,
    text: string,
    isPromised = true,
    octets: number = utf8Length(text),
  ): number {
    if (octets > MAX_DATAGRAM) {
      throw new RangeError(`Cannot keep a datum of ${octets} octets`);
    }
    const seq = ++this.#lastSeq;
    const record = { type: "datum", seq, topicName, text } as const;
    let isKept = true;
    if (isPromised) this.#persistence?.persist(record);
    else isKept = this.#persistence?.persistLoosely(record) ?? false;
    this.#add(topicName, { text, octets, seq: isKept ? seq : 0 });
    return octets;
  }

  /** Takes a datum that was kept; they come in the order of their numbers. */
  restore(topicName: ClassicTopic, text: string, seq: number): void {
    this.#lastSeq = seq;
    this.#add(topicName, { text, octets: utf8Length(text), seq });
  }

  #add(topicName: ClassicTopic, datum: Datum): void {
    const { octets } = datum;
    let history = this.#histories.get(topicName);
    const cost = octets + OVERHEAD +
      (history === undefined ? costOf(topicName) : 0);
    if (history !== undefined) this.#unlink(history);
    this.#makeRoom(cost, history);
    if (history === undefined) {
      history = {
        topicName,
        older: undefined,
        newer: undefined,
        data: [],
        first: 0,
        octets: -1,
      };
      this.#histories.set(topicName, history);
    }
    this.#link(history);

    history.data.push(datum);
    history.octets += octets + 1;
    this.#memory += cost;
    this.#shorten(topicName, history);
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
  #shorten(topicName: ClassicTopic, history: History): void {
    const { history: most, maxMemory } = this.#limits;
    const { data } = history;
    const before = history.first;
    let reason: ForgetReason | undefined;
    while (history.first < data.length - 1) {
      if (data.length - history.first > most) reason = "count";
      else if (history.octets > MAX_DATAGRAM) reason = "datagram";
      else if (this.#memory > maxMemory) reason = "memory";
      else break;
      const datum = data[history.first]!;
      history.octets -= datum.octets + 1;
      this.#memory -= datum.octets + OVERHEAD;
      data[history.first++] = FORGOTTEN;
      this.#end(datum);
    }
    if (reason === undefined) return;
    const count = history.first - before;
    if (history.first * 2 > data.length) {
      data.splice(0, history.first);
      history.first = 0;
    }
    this.#onForget(topicName, reason, count);
  }

  #end({ seq }: Datum): void {
    if (seq > 0) this.#persistence?.persist({ type: "datumEnd", seq });
  }

  /** Forgets whole histories until one more, or more of that one, has room. */
  #makeRoom(cost: number, growing: History | undefined): void {
    const { maxMemory, maxTopics } = this.#limits;
    const most = growing === undefined ? maxTopics - 1 : maxTopics;
    for (let history; (history = this.#oldest) !== undefined;) {
      if (
        this.#memory + cost <= maxMemory && this.#histories.size <= most
      ) return;
      const { topicName, data, first, octets } = history;
      this.#unlink(history);
      this.#histories.delete(topicName);
      const count = data.length - first;
      this.#memory -= costOf(topicName) +
        octets - (count - 1) + count * OVERHEAD;
      if (this.#persistence?.isOn) {
        for (const datum of data) this.#end(datum); // FORGOTTEN has none
      }
      this.#onForget(topicName, "memory", count);
    }
  }
}

/** What an entry under a topic's name costs in memory, in octets, roughly. */
export function costOf(topicName: ClassicTopic): number {
  return utf8Length(topicName) + OVERHEAD;
}
