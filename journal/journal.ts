/**
 * The journal of a broker or a client: what went over the wire, kept once and within
 * limits, for a test, a recording or a reader.
 *
 * Keeping a datagram costs a copy of its octets (`journal/buffer.ts`). Only a question has the
 * datagrams read, in their order (`wire/conversation.ts`), and each but once. Of those that
 * go unread the few are read that give names to what follows, so that topics and
 * clients have names also when the beginning is long gone.
 *
 * @module
 */

import type { Clock, Millis } from "../base/clock.ts";
import {
  Conversation,
  type ConversationOptions,
} from "../wire/conversation.ts";
import {
  type Count,
  type DatagramQuery,
  type EntryType,
  type JournalEntry,
  Query,
  Tally,
} from "./query.ts";
import { relevantTo, tableOf, type TableOptions } from "./table.ts";
import type { Peer } from "../base/peer.ts";
import {
  DatagramBuffer,
  type DatagramBufferOptions,
  type Slice,
  type Way,
} from "./buffer.ts";
import { decodeUtf8Loosely, encodeUtf8 } from "../base/utf8.ts";
import { MAX_TIMER, REAL_CLOCK } from "../base/system_clock.ts";

/** What a journal is given. */
export interface JournalOptions
  extends DatagramBufferOptions, ConversationOptions {
  /** Where it reads the time. Default: the system's monotonic clock. */
  readonly clock?: Clock | undefined;
  /** Whose it is: that of a gateway, the default, or that of a client. */
  readonly side?: "gateway" | "client";
}

/** How many are expected, and how long they have. */
export interface Expectation extends Count {
  /**
   * How long it may take, in milliseconds of the journal's clock, from the call on.
   * Default 1,000; for what has to stay away, 0: what is there now decides.
   */
  readonly within?: Millis;
}

/** What is expected to have come. */
export interface ReceivedQuery<Type extends EntryType = EntryType>
  extends DatagramQuery<Type>, Expectation {
  /** From whom: a client id, or an address such as `127.0.0.1:4711`. */
  readonly from?: string | Peer;
}

/** What is expected to have been sent. */
export interface SentQuery<Type extends EntryType = EntryType>
  extends DatagramQuery<Type>, Expectation {
  /** To whom: a client id, or an address such as `127.0.0.1:4711`. */
  readonly to?: string | Peer;
}

/** What is expected to have been noted. */
export interface NotedQuery extends Expectation {
  /** Whom it concerns: a client id, or an address such as `127.0.0.1:4711`. */
  readonly about?: string | Peer;
  /** Only what is not older than this mark. */
  readonly since?: number;
}

/**
 * What was expected of a journal is not in it. The message shows the conversation as
 * a table, below what was expected.
 */
export class ExpectationError extends Error {
  /** `"ExpectationError"`. */
  override readonly name = "ExpectationError";
  /** Those that were looked for, as far as there were any. */
  readonly found: readonly JournalEntry[];

  /** Says what is wrong, and shows the conversation. */
  constructor(message: string, found: readonly JournalEntry[]) {
    super(message);
    this.found = found;
  }
}

const VERBS: Readonly<Record<Way, string>> = {
  received: "receive",
  sent: "send",
  note: "note",
};

/** An assertion that waits for datagrams. */
interface Waiter {
  readonly query: Query;
  readonly tally: Tally;
  readonly until: Millis;
  readonly within: Millis;
  readonly found: JournalEntry[];
  /** The number of the first entry that it has not seen. */
  next: number;
  /** Takes its alarm back. */
  stop: () => void;
  resolve(found: JournalEntry[]): void;
  reject(error: Error): void;
}

/** How long what is expected may take, in milliseconds, if nobody says. */
const USUAL_WITHIN = 1_000;

/**
 * A journal.
 *
 * @example
 * ```ts
 * import { assertEquals, assertRejects } from "@std/assert";
 * import { Broker, Client } from "../mod.ts";
 * import { ExpectationError } from "./journal.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using lamp = await Client.connect({
 *   port: broker.port,
 *   clientId: "lamp-7",
 * });
 * await lamp.publish("room/1/light", "on", { qos: 1 });
 *
 * const [publish] = await broker.journal.received("room/+/light");
 * assertEquals(publish?.clientId, "lamp-7");
 * await broker.journal.sent({ type: "PUBACK", to: "lamp-7" });
 * await broker.journal.sent({ type: "PUBACK", with: { returnCode: 1 }, never: true });
 * await assertRejects(
 *   () => broker.journal.received("room/+/light", { count: 2, within: 0 }),
 *   ExpectationError,
 *   'Expected to receive 2 × publish on "room/+/light", but there was 1',
 * );
 * ```
 */
export class Journal {
  readonly #datagrams: DatagramBuffer;
  readonly #clock: Clock;
  readonly #conversation: Conversation;
  readonly #isGateway: boolean;
  readonly #startedAt: Millis;
  /** What has been read, as long as it is kept. */
  readonly #readings = new Map<number, JournalEntry>();
  /** The number of the first entry that has not been read. */
  #unread = 0;
  readonly #waiters = new Set<Waiter>();
  #follower: (() => void) | undefined;
  #isClosed = false;

  /**
   * Begins a journal.
   *
   * @throws {RangeError} when a limit is out of its range
   */
  constructor(options: JournalOptions = {}) {
    this.#datagrams = new DatagramBuffer(options);
    this.#datagrams.onForget = (entry) => this.#forget(entry);
    this.#clock = options.clock ?? REAL_CLOCK;
    this.#conversation = new Conversation(options);
    this.#startedAt = this.#clock.now();
    this.#isGateway = options.side !== "client";
  }

  /** Datagrams and notes that are kept. */
  get size(): number {
    return this.#datagrams.next - this.#datagrams.first;
  }

  /** Their octets. */
  get octets(): number {
    return this.#datagrams.octets;
  }

  /** Those that had to go, as there was no more room for them. */
  get forgotten(): number {
    return this.#datagrams.first;
  }

  /**
   * Keeps a datagram that came or went.
   *
   * @param at when, on the journal's clock; not earlier than the last
   */
  add(
    way: "received" | "sent",
    peer: Peer,
    bytes: Uint8Array,
    at: Millis = this.#clock.now(),
  ): void {
    this.#datagrams.add(at, way, peer, bytes);
    if (this.#follower !== undefined) this.#follower();
    if (this.#waiters.size > 0) this.#serve();
  }

  /**
   * Keeps a remark between the datagrams: `dropped the second PUBACK`.
   *
   * @param text what there is to say; what is beyond 65,536 octets is cut off
   * @param peer whom it concerns
   */
  note(text: string, peer?: Peer): void {
    const bytes = encodeUtf8(text).subarray(0, 65_536);
    this.#datagrams.add(this.#clock.now(), "note", peer, bytes);
    if (this.#follower !== undefined) this.#follower();
    if (this.#waiters.size > 0) this.#serve();
  }

  /** A mark for `since`: what is added from now on is not older. */
  mark(): number {
    return this.#datagrams.next;
  }

  /**
   * What is kept, in order.
   *
   * @param query only what it looks for
   * @throws {TypeError} when the query makes no sense
   */
  entries(query: ReceivedQuery & SentQuery = {}): JournalEntry[] {
    const { from, to } = query;
    const way = from !== undefined
      ? "received"
      : to !== undefined
      ? "sent"
      : undefined;
    const checked = new Query(way, from ?? to, query);
    return this.#all().filter((entry) => checked.matches(entry));
  }

  /**
   * Expects datagrams to have come, or to come. Those that are there already count,
   * unless `since` says otherwise; what was sent again does not count again.
   *
   * A topic's filter alone is a publish, of either protocol: it counts as it comes,
   * whatever the broker makes of it.
   *
   * @param what the filter of a publish's topic, or what else is looked for
   * @param options more of what is looked for, how many, and within what time
   * @returns a promise of those that were found, once there are enough
   * @throws {ExpectationError} when it is not so, or no more
   * @throws {TypeError} when the query makes no sense
   */
  received<Type extends EntryType>(
    what: string | ReceivedQuery<Type>,
    options: ReceivedQuery<Type> = {},
  ): Promise<JournalEntry[]> {
    const query = typeof what === "string"
      ? { ...options, topic: what }
      : { ...what, ...options };
    return this.#expect("received", query.from, query as ReceivedQuery);
  }

  /**
   * Expects datagrams to have been sent, or to be sent, as {@linkcode received} does.
   * A topic's filter alone is a PUBLISH of MQTT-SN.
   *
   * @param what the filter of a publish's topic, or what else is looked for
   * @param options more of what is looked for, how many, and within what time
   * @returns a promise of those that were found, once there are enough
   * @throws {ExpectationError} when it is not so, or no more
   * @throws {TypeError} when the query makes no sense
   */
  sent<Type extends EntryType>(
    what: string | SentQuery<Type>,
    options: SentQuery<Type> = {},
  ): Promise<JournalEntry[]> {
    const query = typeof what === "string"
      ? { ...options, topic: what }
      : { ...what, ...options };
    return this.#expect("sent", query.to, query as SentQuery);
  }

  /**
   * Expects remarks, as {@linkcode received} expects datagrams: a fault that strikes
   * is one, `Fault 1 (second): PUBACK to lamp-7 (127.0.0.1:4711) dropped`.
   *
   * @param text a part of what it says; anything, without one
   * @param options whom it concerns, how many, and within what time
   * @returns a promise of those that were found, once there are enough
   * @throws {ExpectationError} when it is not so, or no more
   */
  noted(text?: string, options: NotedQuery = {}): Promise<JournalEntry[]> {
    const { about, ...query } = options;
    return this.#expect("note", about, { ...query, type: "note", says: text });
  }

  /** All that is kept as a table, the last 40 unless told otherwise. */
  toString(options: TableOptions = {}): string {
    return tableOf(this.#all(), {
      zero: this.#startedAt,
      forgotten: this.forgotten,
      ...options,
    });
  }

  /**
   * Copies what is kept, in order: as long as an entry is, it can be had.
   *
   * @param from the number of the first; what has gone by then is left out
   * @param maxEntries how many at most
   * @param maxOctets after how many octets no further one is begun
   */
  slice(from: number, maxEntries: number, maxOctets: number): Slice {
    return this.#datagrams.slice(
      Math.max(from, this.#datagrams.first),
      maxEntries,
      maxOctets,
    );
  }

  /** Is called after each entry from now on; nobody else is then. */
  follow(follower: (() => void) | undefined): void {
    this.#follower = follower;
  }

  /** Ends what waits: nothing comes any more. What is kept can still be read. */
  close(): void {
    this.#isClosed = true;
    for (const waiter of this.#waiters) this.#judge(waiter, true);
  }

  #expect(
    way: Way,
    peer: string | Peer | undefined,
    query: DatagramQuery & Expectation & { says?: string | undefined },
  ): Promise<JournalEntry[]> {
    return new Promise((resolve, reject) => {
      const tally = new Tally(query);
      const { within = tally.isPatient ? 0 : USUAL_WITHIN } = query;
      if (!(within >= 0)) {
        throw new RangeError(`Cannot wait for "${within}" ms`);
      }
      const now = this.#clock.now();
      const waiter: Waiter = {
        query: new Query(way, peer, query),
        tally,
        within,
        until: now + within,
        found: [],
        next: 0,
        stop: () => {},
        resolve,
        reject,
      };
      this.#show(waiter);
      if (this.#judge(waiter, within === 0 || this.#isClosed)) return;
      this.#waiters.add(waiter);
      this.#wake(waiter);
    });
  }

  /** Shows those who wait what has come. */
  #serve(): void {
    for (const waiter of this.#waiters) {
      this.#judge(waiter, this.#show(waiter));
    }
  }

  /** Shows somebody what has come since. Returns whether the time was over by then. */
  #show(waiter: Waiter): boolean {
    this.#catchUp();
    const { query, found, until } = waiter;
    let at = Math.max(waiter.next, this.#datagrams.first);
    waiter.next = this.#datagrams.next;
    for (; at < waiter.next; at++) {
      const entry = this.#readings.get(at)!;
      if (entry.at > until) return true;
      if (query.matches(entry)) found.push(entry);
    }
    return false;
  }

  /** Lets somebody go, if it can be said how it stands. Returns whether it can. */
  #judge(waiter: Waiter, isOver: boolean): boolean {
    const { tally, found } = waiter;
    const verdict = tally.judge(found.length, isOver);
    if (verdict === "open") return false;
    this.#waiters.delete(waiter);
    waiter.stop();
    if (verdict === "met") waiter.resolve(found);
    else waiter.reject(this.#errorFor(waiter));
    return true;
  }

  #errorFor({ query, tally, within, found }: Waiter): ExpectationError {
    const { length } = found;
    const message = [
      `Expected to ${VERBS[query.way ?? "received"]}`,
      `${tally} ${query}${within > 0 ? ` within ${within} ms` : ""},`,
      `but there ${length > 1 ? "were" : "was"} ${
        length === 0 ? "none" : length
      }`,
      ...this.#isClosed ? ["when it was closed"] : [],
    ].join(" ");
    const table = tableOf(relevantTo(query, this.#all()), {
      marked: new Set(found.map(({ number }) => number)),
      zero: this.#startedAt,
      forgotten: this.forgotten,
    });
    return new ExpectationError(`${message}\n\n${table}\n`, found);
  }

  /** Sees to it that somebody is judged when the time is over. */
  #wake(waiter: Waiter): void {
    const clock = this.#clock;
    const ring = () => {
      if (clock.now() < waiter.until) return this.#wake(waiter);
      this.#judge(waiter, true);
    };
    if (clock.alarm !== undefined) {
      waiter.stop = clock.alarm(waiter.until, ring);
      return;
    }
    const wait = Math.ceil(waiter.until - clock.now());
    const timer = setTimeout(ring, Math.min(wait, MAX_TIMER));
    waiter.stop = () => clearTimeout(timer);
  }

  #all(): JournalEntry[] {
    this.#catchUp();
    return [...this.#readings.values()];
  }

  /** Reads what has not been read. */
  #catchUp(): void {
    const { next } = this.#datagrams;
    for (; this.#unread < next; this.#unread++) {
      this.#readings.set(this.#unread, this.#entryOf(this.#unread));
    }
  }

  #entryOf(number: number): JournalEntry {
    const at = this.#datagrams.atOf(number);
    const way = this.#datagrams.wayOf(number);
    const peer = this.#datagrams.peerOf(number);
    // A packet's octets are views into these.
    const bytes = this.#datagrams.bytesOf(number).slice();
    if (way !== "note" && peer !== undefined) {
      const reading = this.#follow(way, peer, bytes);
      return { ...reading, number, at, way, bytes };
    }
    return {
      ...{ number, at, way, type: "note", peer, bytes },
      clientId: peer && this.#conversation.clientAt(peer),
      packet: undefined,
      topicName: undefined,
      payload: undefined,
      isDuplicate: false,
      text: decodeUtf8Loosely(bytes),
    };
  }

  #follow(way: "received" | "sent", peer: Peer, bytes: Uint8Array) {
    const isUp = (way === "received") === this.#isGateway;
    return this.#conversation.read(isUp ? "client" : "broker", peer, bytes);
  }

  /** Learns from the oldest, before it goes, if nobody has read it. */
  #forget(number: number): void {
    if (number < this.#unread) {
      this.#readings.delete(number);
      return;
    }
    this.#unread = number + 1;
    const way = this.#datagrams.wayOf(number);
    const peer = this.#datagrams.peerOf(number);
    if (way === "note" || peer === undefined) return;
    const bytes = this.#datagrams.bytesOf(number);
    if (Conversation.matters(bytes)) this.#follow(way, peer, bytes);
  }
}
