/**
 * What outlives the broker, in a file: the records of its core (`records.ts`) in
 * a SQLite database. All SQL is in this room. It knows rows, the file and how it
 * can be damaged; it must never know a packet, a socket or what a record means.
 *
 * All of it is synchronous: whoever must not wait for a disk gives it a thread of
 * its own (`store_worker.ts`).
 *
 * The file is written ahead (`-wal` beside it, which is empty again after
 * {@linkcode Store.close}) and locked for as long as it is open, so that there is
 * no file of shared memory and a second broker is turned away at once. What
 * another program has written is never touched, and a damaged file never
 * overwritten: it gets another name, and a new one takes its place.
 *
 * @module
 */

import { dirname, join, resolve } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import type { Millis } from "./clock.ts";
import { printable } from "./log.ts";
import type { DeliveryQos } from "./message.ts";
import type {
  DatumRecord,
  PeerRecord,
  QueuedRecord,
  ReceivedRecord,
  RetainedRecord,
  SessionRecord,
  StoreChange,
  StoreRecord,
  SubscriptionRecord,
  TopicIdRecord,
  WillRecord,
} from "./records.ts";
import { decodeUtf8Loosely } from "./utf8.ts";

/**
 * When a commit is safe. `full`: when it returns, whatever happens. `normal`:
 * from the machine's failure some while later, from the process's at once; the
 * file stays whole. `off`: from the process's failure alone; when the machine
 * fails, the file may be damaged.
 */
export type Durability = "full" | "normal" | "off";

/** Why a store cannot do something. */
export type StoreErrorKind =
  /** The disk, or what the file may take of it, is full. */
  | "full"
  /** Another program, or this one, has the file open. */
  | "locked"
  /** A newer program has written the file. */
  | "newer"
  /** The file is damaged. */
  | "damaged"
  /** The file, or its directory, cannot be written. */
  | "readOnly"
  /** The file is no store. */
  | "foreign"
  /** Anything else: no such directory, an error of the disk, a closed store. */
  | "failed";

/**
 * A store cannot do what it should.
 *
 * @example
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { Store, StoreError } from "./store.ts";
 *
 * const error = assertThrows(
 *   () => Store.open("no/such/directory/mqtt.store"),
 *   StoreError,
 * );
 * assertEquals(error.kind, "failed");
 * ```
 */
export class StoreError extends Error {
  /** `"StoreError"`. */
  override readonly name = "StoreError";
  /** Why. */
  readonly kind: StoreErrorKind;

  /**
   * Says what failed.
   *
   * @param kind why
   * @param message what could not be done, in one line
   * @param options the error that led to it
   */
  constructor(kind: StoreErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/** How a store is opened. */
export interface StoreOptions {
  /** When a commit is safe. Default `full`. */
  readonly durability?: Durability;
  /**
   * What makes a moment of the records one of the epoch, in milliseconds: it is
   * added when they are written and taken off when they are read. Default 0.
   */
  readonly offsetMs?: Millis;
  /** How long to wait for whoever has the file open, in milliseconds. Default 1,000. */
  readonly timeoutMs?: Millis;
  /** Pages of 4,096 octets that the file may take. Default: what the disk has. */
  readonly maxPages?: number;
}

/** A damaged file that was given another name. */
export interface SetAside {
  /** Its new name; what lay beside it has the same with its suffix. */
  readonly path: string;
  /** What is wrong with it. */
  readonly reason: string;
}

/** What a store has done so far, and how large it is. */
export interface StoreStats {
  /** Commits that succeeded. */
  readonly commits: number;
  /** Changes in them. */
  readonly changes: number;
  /** Commits that failed, of which nothing is kept. */
  readonly failures: number;
  /** What the files take on the disk, in octets. */
  readonly octets: number;
  /** When a commit is safe, as SQLite tells it. */
  readonly durability: Durability;
}

/** Messages, and what they take. */
export interface Amount {
  /** How many. */
  readonly count: number;
  /** The octets of their payloads together. */
  readonly octets: number;
}

/** A session with messages waiting. */
export interface QueueSummary {
  /** Whose. */
  readonly clientId: string;
  /** Its state when the store was last written. */
  readonly state: SessionRecord["state"];
  /** How many subscriptions it has. */
  readonly subscriptions: number;
  /** The messages waiting. */
  readonly queued: Amount;
  /** When the oldest of them was published, in milliseconds of the epoch. */
  readonly oldestAt: number;
  /** Since when it has no connection, in milliseconds of the epoch; `undefined` if it has one. */
  readonly awaySince: number | undefined;
}

/** What is in a store, in numbers. */
export interface StoreSummary {
  /** The file. */
  readonly path: string;
  /** When it was looked at, in milliseconds of the epoch. */
  readonly at: number;
  /** The version of its schema. */
  readonly version: number;
  /** What the files take on the disk, in octets. */
  readonly octets: number;
  /** How often it was opened. */
  readonly starts: number;
  /** Sessions, by their state. */
  readonly sessions: Readonly<Record<SessionRecord["state"], number>>;
  /** Subscriptions of all sessions. */
  readonly subscriptions: number;
  /** Topics that clients know, of all sessions. */
  readonly topicIds: number;
  /** Messages that wait for clients, by their QoS. */
  readonly queued: Readonly<Record<DeliveryQos, Amount>>;
  /** QoS 2 messages of which a copy may come. */
  readonly received: number;
  /** Retained messages. */
  readonly retained: Amount;
  /** Topics that have a history, their data, and the octets of these. */
  readonly histories: Amount & { readonly topics: number };
  /** Sessions with the longest queues, 20 at most, the longest first. */
  readonly longest: readonly QueueSummary[];
}

/** What SQLite calls 0, 1 and 2. */
const LEVELS = ["off", "normal", "full"] as const;

/** "MMqS" in the file's header: what makes a database ours. */
const APPLICATION_ID = 0x4d4d_7153;

/** Where SQLite's header has the numbers that tell whose a file is. */
const HEADER = {
  length: 100,
  pageSize: 16,
  formats: [18, 19],
  version: 60,
  applicationId: 68,
} as const;

/** How each SQLite database begins. */
const MAGIC = new TextEncoder().encode("SQLite format 3\0");

/** What may lie beside the file. */
const SUFFIXES = ["", "-wal", "-shm", "-journal"] as const;

/** Rows that are read at a time: as many of the largest payload are 13 MB. */
const PAGE = 200;

/**
 * The write-ahead log is carried over at this many pages, 32 MB: a page that many
 * commits change is then written to the file once for all of them.
 */
const CHECKPOINT_PAGES = 8_000;

/** The write-ahead log is cut to this when it has been carried over, in octets. */
const MAX_LOG = 64 * 2 ** 20;

/** Whole numbers that JavaScript has exactly: more cannot be read back. */
const MAX = Number.MAX_SAFE_INTEGER;

/** Sessions whose queues a summary lists. */
const LONGEST = 20;

/**
 * What makes a file of version `n` one of version `n + 1`, from an empty one on.
 * Never change an entry, as there are files that it has made: add one.
 *
 * Every value that has a range has a check, since the look for damage at the
 * start verifies these too. There is no index but one: what is read in an order
 * that no key has is sorted once, when it is loaded.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    starts INTEGER NOT NULL CHECK (starts BETWEEN 0 AND ${MAX})
  ) STRICT;
  INSERT INTO store VALUES (1, 0);

  CREATE TABLE session (
    session INTEGER PRIMARY KEY CHECK (session BETWEEN 1 AND ${MAX}),
    client_id TEXT NOT NULL,
    is_clean INTEGER NOT NULL CHECK (is_clean IN (0, 1)),
    state TEXT NOT NULL
      CHECK (state IN ('disconnected', 'active', 'asleep', 'lost')),
    hostname TEXT,
    port INTEGER CHECK (port BETWEEN 0 AND 65535),
    wireless_node_id BLOB,
    allowed_ms REAL NOT NULL CHECK (allowed_ms BETWEEN 0 AND ${MAX}),
    duration INTEGER NOT NULL CHECK (duration BETWEEN 0 AND 65535),
    announced_will INTEGER NOT NULL CHECK (announced_will IN (0, 1)),
    left_at INTEGER NOT NULL CHECK (left_at BETWEEN -${MAX} AND ${MAX}),
    will_topic TEXT,
    will_qos INTEGER CHECK (will_qos BETWEEN 0 AND 2),
    will_retain INTEGER CHECK (will_retain IN (0, 1)),
    will_payload BLOB,
    CHECK ((hostname IS NULL) = (port IS NULL)),
    CHECK (hostname IS NOT NULL OR wireless_node_id IS NULL),
    CHECK ((will_qos IS NULL) = (will_retain IS NULL)),
    CHECK ((will_qos IS NULL) = (will_payload IS NULL)),
    CHECK (will_qos IS NOT NULL OR will_topic IS NULL)
  ) STRICT;

  CREATE TABLE subscription (
    session INTEGER NOT NULL CHECK (session BETWEEN 1 AND ${MAX}),
    topic_filter TEXT NOT NULL,
    qos INTEGER NOT NULL CHECK (qos BETWEEN 0 AND 2),
    is_pending INTEGER NOT NULL CHECK (is_pending IN (0, 1)),
    PRIMARY KEY (session, topic_filter)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE topic_id (
    session INTEGER NOT NULL CHECK (session BETWEEN 1 AND ${MAX}),
    topic_name TEXT NOT NULL,
    topic_id INTEGER NOT NULL CHECK (topic_id BETWEEN 0 AND 65534),
    alias_type TEXT CHECK (alias_type IN ('predefined', 'short')),
    alias_id INTEGER NOT NULL CHECK (alias_id BETWEEN 0 AND 65535),
    is_registered INTEGER NOT NULL CHECK (is_registered IN (0, 1)),
    is_subscribed INTEGER NOT NULL CHECK (is_subscribed IN (0, 1)),
    PRIMARY KEY (session, topic_name)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE received (
    session INTEGER NOT NULL CHECK (session BETWEEN 1 AND ${MAX}),
    msg_id INTEGER NOT NULL CHECK (msg_id BETWEEN 0 AND 65535),
    digest INTEGER NOT NULL
      CHECK (digest BETWEEN -${2 ** 31} AND ${2 ** 32 - 1}),
    until INTEGER CHECK (until BETWEEN -${MAX} AND ${MAX}),
    PRIMARY KEY (session, msg_id)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE retained (
    topic_name TEXT PRIMARY KEY CHECK (topic_name <> ''),
    payload BLOB NOT NULL,
    qos INTEGER NOT NULL CHECK (qos BETWEEN 0 AND 2)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE queued (
    session INTEGER NOT NULL CHECK (session BETWEEN 1 AND ${MAX}),
    seq INTEGER NOT NULL CHECK (seq BETWEEN -${MAX} AND ${MAX}),
    topic_name TEXT NOT NULL,
    payload BLOB NOT NULL,
    qos INTEGER NOT NULL CHECK (qos BETWEEN 0 AND 2),
    retain INTEGER NOT NULL CHECK (retain IN (0, 1)),
    at INTEGER NOT NULL CHECK (at BETWEEN -${MAX} AND ${MAX}),
    msg_id INTEGER NOT NULL CHECK (msg_id BETWEEN 0 AND 65535),
    is_released INTEGER NOT NULL CHECK (is_released IN (0, 1)),
    PRIMARY KEY (session, seq)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE datum (
    seq INTEGER PRIMARY KEY CHECK (seq BETWEEN 1 AND ${MAX}),
    topic_name TEXT NOT NULL,
    text TEXT NOT NULL
  ) STRICT;
  -- Forgets the oldest of one topic; the row's seq is the entry's second half.
  CREATE INDEX datum_topic ON datum (topic_name);
  `,
];

/**
 * The broker's records in a file.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Store } from "./store.ts";
 *
 * const directory = Deno.makeTempDirSync();
 * const path = `${directory}/mqtt.store`;
 * {
 *   using store = Store.open(path);
 *   const payload = Uint8Array.of(0x6f, 0x6e);
 *   store.commit([{ type: "retained", topicName: "lamp", payload, qos: 1 }]);
 * }
 * {
 *   using store = Store.open(path);
 *   assertEquals([...store.load()].map(({ type }) => type), ["retained"]);
 *   assertEquals(store.starts, 2);
 * }
 * Deno.removeSync(directory, { recursive: true });
 * ```
 */
export class Store implements Disposable {
  /** The file, as an absolute path. */
  readonly path: string;
  /** How often this file was opened, this time included. */
  readonly starts: number;
  /** The damaged file that was found in its place, if one was. */
  readonly setAside: SetAside | undefined;
  readonly #database: DatabaseSync;
  readonly #offsetMs: Millis;
  readonly #write: Writes;
  readonly #read: Reads;
  #counts = { commits: 0, changes: 0, failures: 0 };
  #isOpen = true;

  private constructor(
    path: string,
    { database, starts, write, read }: Opened,
    setAside: SetAside | undefined,
    offsetMs: Millis,
  ) {
    this.path = path;
    this.starts = starts;
    this.setAside = setAside;
    this.#database = database;
    this.#offsetMs = offsetMs;
    this.#write = write;
    this.#read = read;
  }

  /**
   * Opens a store, and makes the file if there is none. A damaged one is set
   * aside. Needs to read and write the file and its directory.
   *
   * @param path the file; its directory has to be there
   * @throws {StoreError} when it cannot be opened; then nothing has changed
   */
  static open(path: string, options: StoreOptions = {}): Store {
    const file = resolve(path);
    let setAside: SetAside | undefined;
    for (;;) {
      try {
        const opened = openFile(file, options);
        return new Store(file, opened, setAside, options.offsetMs ?? 0);
      } catch (error) {
        if (!(error instanceof Damage) || setAside !== undefined) {
          throw storeError(error, `Cannot open the store "${path}"`);
        }
        setAside = error.setAside;
      }
    }
  }

  /** How many records {@linkcode Store.load} will give. Counts them each time. */
  get size(): number {
    return this.#reading(() =>
      this.#read.size.get() as unknown as Row
    )[0] as number;
  }

  /**
   * Gives what is kept: sessions, who left first before the others; then
   * subscriptions, topic ids, received ids, retained messages, each in the order
   * of its key; then queued messages by session and place, and data by number.
   * Holds a few rows at a time. What is committed meanwhile may be given or not.
   *
   * @throws {StoreError} when the file cannot be read
   */
  *load(): Generator<StoreRecord> {
    const read = this.#read;
    const [sessions] = this.#reading(() =>
      read.sessions.get() as unknown as Row
    );
    for (const session of JSON.parse(sessions as string)) {
      const row = this.#reading(() => read.session.get(session));
      if (row !== undefined) yield this.#sessionFrom(row as unknown as Row);
    }
    yield* this.#rows(read.subscriptions, [0, NO_TEXT], subscriptionFrom);
    yield* this.#rows(read.topicIds, [0, NO_TEXT], topicIdFrom);
    yield* this.#rows(
      read.received,
      [0, 0],
      (row) => receivedFrom(row, this.#offsetMs),
    );
    yield* this.#rows(read.retained, [NO_TEXT], retainedFrom);
    yield* this.#rows(
      read.queued,
      [0, 0],
      (row) => queuedFrom(row, this.#offsetMs),
    );
    yield* this.#rows(read.data, [0], datumFrom);
  }

  /**
   * Applies changes, in their order: all of them, or none.
   *
   * @param changes what has changed
   * @throws {StoreError} when they cannot be kept; the store can still be used
   */
  commit(changes: readonly StoreChange[]): void {
    this.#demandOpen();
    try {
      // Left over only if the last one could not even be taken back.
      if (this.#database.isTransaction) this.#write.rollback.run();
      this.#write.begin.run();
      for (const change of changes) this.#apply(change);
      this.#write.commit.run();
    } catch (error) {
      this.#counts.failures++;
      this.#takeBack();
      throw storeError(error, `Cannot write the store "${this.path}"`);
    }
    this.#counts.commits++;
    this.#counts.changes += changes.length;
  }

  /**
   * What it has done so far, and how large it is.
   *
   * @throws {StoreError} when it is closed
   */
  stats(): StoreStats {
    this.#demandOpen();
    const level = pragma(this.#database, "synchronous") as 0 | 1 | 2;
    return {
      ...this.#counts,
      octets: octetsOf(this.path),
      durability: LEVELS[level],
    };
  }

  /** Closes the file, which alone is left then; again does nothing. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    try {
      this.#database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } catch {
      // The next start carries the log over: what was committed is in it.
    }
    this.#database.close();
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.close();
  }

  #demandOpen(): void {
    if (this.#isOpen) return;
    throw new StoreError("failed", `The store "${this.path}" is closed`);
  }

  #reading<T>(read: () => T): T {
    this.#demandOpen();
    try {
      return read();
    } catch (error) {
      throw storeError(error, `Cannot read the store "${this.path}"`);
    }
  }

  /**
   * All rows of a table, some at a time: a statement that is stepped through
   * would hold the log, and node:sqlite takes an error in the middle of one for
   * its end. The columns of the key come first.
   */
  *#rows(
    page: StatementSync,
    key: Row,
    toRecord: (row: Row) => StoreRecord,
  ): Generator<StoreRecord> {
    for (;;) {
      const rows = this.#reading(() =>
        page.all(...key) as unknown as readonly Row[]
      );
      for (const row of rows) yield toRecord(row);
      if (rows.length < PAGE) return;
      key = rows.at(-1)!.slice(0, key.length);
    }
  }

  #takeBack(): void {
    try {
      // A full disk has ended the transaction already, a broken one may not.
      if (this.#database.isTransaction) this.#write.rollback.run();
    } catch {
      // The next commit tries again.
    }
  }

  #epoch(at: Millis): number {
    return Math.round(at + this.#offsetMs);
  }

  #apply(change: StoreChange): void {
    const write = this.#write;
    switch (change.type) {
      case "session":
        this.#putSession(change);
        break;
      case "subscription":
        write.subscription.run(
          change.session,
          change.topicFilter,
          change.qos,
          Number(change.isPending),
        );
        break;
      case "topicId":
        write.topicId.run(
          change.session,
          change.topicName,
          change.topicId,
          change.aliasType ?? null,
          change.aliasId,
          Number(change.isRegistered),
          Number(change.isSubscribed),
        );
        break;
      case "queued":
        write.queued.run(
          change.session,
          change.seq,
          change.topicName,
          change.payload,
          change.qos,
          Number(change.retain),
          this.#epoch(change.at),
          change.msgId,
          Number(change.isReleased),
        );
        break;
      case "inFlight":
        write.inFlight.run(
          change.msgId,
          Number(change.isReleased),
          change.session,
          change.seq,
        );
        break;
      case "received":
        write.received.run(
          change.session,
          change.msgId,
          change.digest,
          change.until === undefined ? null : this.#epoch(change.until),
        );
        break;
      case "retained":
        write.retained.run(change.topicName, change.payload, change.qos);
        break;
      case "datum":
        write.datum.run(change.seq, change.topicName, change.text);
        break;
      case "sessionEnd":
        for (const end of write.sessionEnds) end.run(change.session);
        break;
      case "subscriptionEnd":
        write.subscriptionEnd.run(change.session, change.topicFilter);
        break;
      case "topicIdEnd":
        write.topicIdEnd.run(change.session, change.topicName);
        break;
      case "queuedEnd":
        write.queuedEnd.run(change.session, change.seq);
        break;
      case "receivedEnd":
        write.receivedEnd.run(change.session, change.msgId);
        break;
      case "retainedEnd":
        write.retainedEnd.run(change.topicName);
        break;
      case "datumEnd":
        write.datumEnd.run(change.topicName, change.seq);
        break;
      default:
        change satisfies never;
    }
  }

  #putSession(record: SessionRecord): void {
    const { peer, will } = record;
    this.#write.session.run(
      record.session,
      record.clientId,
      Number(record.isClean),
      record.state,
      peer?.hostname ?? null,
      peer?.port ?? null,
      peer?.wirelessNodeId ?? null,
      record.allowedMs,
      record.duration,
      Number(record.announcedWill),
      this.#epoch(record.leftAt),
      will?.topicName ?? null,
      will?.qos ?? null,
      will === undefined ? null : Number(will.retain),
      will?.payload ?? null,
    );
  }

  #sessionFrom(row: Row): SessionRecord {
    return {
      type: "session",
      session: row[0] as number,
      clientId: textFrom(row[1]),
      isClean: row[2] === 1,
      state: row[3] as SessionRecord["state"],
      peer: peerFrom(row),
      allowedMs: row[7] as number,
      duration: row[8] as number,
      announcedWill: row[9] === 1,
      leftAt: row[10] as number - this.#offsetMs,
      will: willFrom(row),
    };
  }
}

/**
 * Brings a database to the version that a list of migrations ends at, each in a
 * transaction of its own. Changes nothing when it is there already.
 *
 * @param database an open database
 * @param migrations what leads from each version to the next
 * @throws {StoreError} of kind `newer` when the database is of a later version
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { DatabaseSync } from "node:sqlite";
 * import { migrate, MIGRATIONS } from "./store.ts";
 *
 * using database = new DatabaseSync(":memory:");
 * migrate(database, [...MIGRATIONS, "CREATE TABLE extra (id INTEGER) STRICT"]);
 * const version = database.prepare("PRAGMA user_version").get();
 * assertEquals(version?.user_version, MIGRATIONS.length + 1);
 * ```
 */
export function migrate(
  database: DatabaseSync,
  migrations: readonly string[] = MIGRATIONS,
): void {
  for (;;) {
    // Asked again inside: another program may have been there first.
    const version = pragma(database, "user_version") as number;
    demandNotNewer(version, migrations.length);
    const migration = migrations[version];
    if (migration === undefined) return;
    database.prepare("BEGIN EXCLUSIVE").run();
    try {
      if (pragma(database, "user_version") === version) {
        runScript(database, migration);
        database.exec(`PRAGMA application_id = ${APPLICATION_ID}`);
        database.exec(`PRAGMA user_version = ${version + 1}`);
      }
      database.prepare("COMMIT").run();
    } catch (error) {
      if (database.isTransaction) database.exec("ROLLBACK");
      throw error;
    }
  }
}

/**
 * Looks at a store that no broker has open, without changing anything. What a
 * broker that was killed has left in the log counts; then a copy is looked at, in
 * the system's directory for temporary files. Deno's permission to read must not
 * be for some paths alone.
 *
 * @param path the file
 * @throws {StoreError} when it is not there, no store, damaged, or in use
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { inspectStore, Store } from "./store.ts";
 *
 * const directory = Deno.makeTempDirSync();
 * const path = `${directory}/mqtt.store`;
 * Store.open(path).close();
 * assertEquals(inspectStore(path).starts, 1);
 * Deno.removeSync(directory, { recursive: true });
 * ```
 */
export function inspectStore(path: string): StoreSummary {
  const file = resolve(path);
  let copies: string | undefined;
  try {
    if (statOf(file) === undefined) {
      throw new StoreError("failed", "there is no such file");
    }
    demandUnlocked(file, 0);
    const { isEmpty, version } = examine(file);
    if (isEmpty) throw new StoreError("foreign", "it is empty");
    let at: string | URL;
    if (hasLog(file) || version < MIGRATIONS.length) {
      copies = Deno.makeTempDirSync();
      at = join(copies, "store");
      for (const suffix of ["", "-wal", "-journal"]) {
        if (statOf(file + suffix) === undefined) continue;
        Deno.copyFileSync(file + suffix, at + suffix);
      }
    } else at = immutable(file);
    const database = new DatabaseSync(at, { readOnly: copies === undefined });
    try {
      demandWhole(database);
      if (copies !== undefined) migrate(database);
      return summarize(database, file, version);
    } finally {
      database.close();
    }
  } catch (error) {
    throw storeError(error, `Cannot inspect the store "${path}"`);
  } finally {
    if (copies !== undefined) Deno.removeSync(copies, { recursive: true });
  }
}

/**
 * A summary as a person reads it: lines, the last without its end. Moments are in
 * UTC.
 *
 * @example
 * ```ts
 * import { assertStringIncludes } from "@std/assert";
 * import { describeStore, inspectStore, Store } from "./store.ts";
 *
 * const directory = Deno.makeTempDirSync();
 * const path = `${directory}/mqtt.store`;
 * Store.open(path).close();
 * assertStringIncludes(describeStore(inspectStore(path)), "opened once");
 * Deno.removeSync(directory, { recursive: true });
 * ```
 */
export function describeStore(summary: StoreSummary): string {
  const { sessions, queued, histories, longest } = summary;
  const states = Object.entries(sessions);
  const total = states.reduce((sum, [, count]) => sum + count, 0);
  const opened = summary.starts === 1
    ? "opened once"
    : `opened ${grouped(summary.starts)} times`;
  const octets = (count: number) => `${grouped(count)} octets`;
  const rows = [
    ["Sessions", grouped(total), ""],
    ...states.map(([state, count]) => [`  ${state}`, grouped(count), ""]),
    ["Subscriptions", grouped(summary.subscriptions), ""],
    ["Topic ids", grouped(summary.topicIds), ""],
    ...([0, 1, 2] as const).map((qos) => [
      `Queued at QoS ${qos}`,
      grouped(queued[qos].count),
      octets(queued[qos].octets),
    ]),
    ["QoS 2 ids received", grouped(summary.received), ""],
    [
      "Retained messages",
      grouped(summary.retained.count),
      octets(summary.retained.octets),
    ],
    ["Topics with a history", grouped(histories.topics), ""],
    ["  data", grouped(histories.count), octets(histories.octets)],
  ];
  const lines = [
    `Store "${printable(summary.path)}"`,
    `Schema ${summary.version}, ${octets(summary.octets)}, ${opened}`,
    "",
    ...table(rows, [1, 2]),
  ];
  if (longest.length === 0) return lines.join("\n");
  const queues = longest.map((queue) => [
    printable(queue.clientId),
    queue.state,
    grouped(queue.subscriptions),
    grouped(queue.queued.count),
    grouped(queue.queued.octets),
    age(summary.at - queue.oldestAt),
    queue.awaySince === undefined ? "–" : moment(queue.awaySince),
  ]);
  const heading = [
    ...["Longest queues", "state", "subscriptions", "queued", "octets"],
    ...["oldest", "away since"],
  ];
  return [...lines, "", ...table([heading, ...queues], [2, 3, 4, 5])]
    .join("\n");
}

/** A row, or the key of one. */
type Row = readonly (string | number | Uint8Array | null)[];

/** What comes before every text: a key to begin a table with. */
const NO_TEXT = new Uint8Array(0);

/** The statements that change what is kept. */
type Writes = ReturnType<typeof prepareWrites>;

/** The statements that read it. */
type Reads = ReturnType<typeof prepareReads>;

interface Opened {
  readonly database: DatabaseSync;
  readonly starts: number;
  readonly write: Writes;
  readonly read: Reads;
}

/** A file was damaged, and has another name now. */
class Damage extends StoreError {
  readonly setAside: SetAside;

  constructor(setAside: SetAside) {
    super("damaged", setAside.reason);
    this.setAside = setAside;
  }
}

/** Opens what is there, or makes it. Throws {@linkcode Damage} if it was set aside. */
function openFile(path: string, options: StoreOptions): Opened {
  const { timeoutMs = 1_000 } = options;
  let database: DatabaseSync | undefined;
  try {
    // A log without its file holds commits that nothing can be made of; SQLite
    // would remove it. There is none until a new file has its header.
    if (!hasOctets(path) && hasOctets(path + "-wal")) {
      throw damaged("of it only its -wal is left");
    }
    if (statOf(path) === undefined) createFile(path);
    demandUnlocked(path, timeoutMs);
    examine(path, true);
    database = connect(path, timeoutMs);
    return setUp(database, options);
  } catch (error) {
    const kind = kindOf(error);
    if (kind !== "damaged") {
      database?.close();
      // The file itself could be opened: it is the log that could not be made.
      if (errcodeOf(error) !== SQLITE.cantOpen) throw error;
      throw new StoreError("readOnly", "its directory cannot be written", {
        cause: error,
      });
    }
    // SQLite carries the log over when it closes a file, but not if that was
    // moved: then all stays as it was found. Windows cannot move an open one.
    if (Deno.build.os === "windows") database?.close();
    try {
      const reason = error instanceof Error ? oneLine(error.message) : "";
      throw new Damage({ path: moveAside(path), reason });
    } finally {
      if (Deno.build.os !== "windows") database?.close();
    }
  }
}

/** Takes the lock, looks for damage, and only then writes. */
function setUp(database: DatabaseSync, options: StoreOptions): Opened {
  const { durability = "full", maxPages } = options;
  const version = pragma(database, "user_version") as number;
  demandNotNewer(version, MIGRATIONS.length);
  if (version > 0 || tablesIn(database) > 0) demandWhole(database);
  if (maxPages !== undefined) {
    database.exec(`PRAGMA max_page_count = ${Math.trunc(maxPages)}`);
  }
  // The count of starts seeds ids: lost with the machine, they would come again.
  const first = durability === "off" ? "OFF" : "FULL";
  database.exec(`PRAGMA synchronous = ${first}`);
  database.exec(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
  database.exec(`PRAGMA journal_size_limit = ${MAX_LOG}`);
  // A new file is made before it has a log, so that from its first octets on its
  // header says whose it is.
  migrate(database);
  pragma(database, "journal_mode = WAL");
  const count = prepare(
    database,
    "UPDATE store SET starts = starts + 1 RETURNING starts",
  );
  const opened = {
    database,
    write: prepareWrites(database),
    read: prepareReads(database),
  };
  const row = count.get() as { starts: number } | undefined;
  if (row === undefined) throw damaged("its count of starts is missing");
  database.exec(`PRAGMA synchronous = ${durability.toUpperCase()}`);
  return { ...opened, starts: row.starts };
}

/** What a file's first octets tell. */
interface Examined {
  /** Whether nothing was ever written to it. */
  readonly isEmpty: boolean;
  /** The version of its schema, as far as the log has been carried over. */
  readonly version: number;
}

/**
 * Tells whose a file is from its header, before SQLite may write to it.
 *
 * @param write whether it is to be written, which SQLite finds out too late
 * @throws {StoreError} of kind `foreign`, `newer`, `readOnly` or `damaged`
 */
function examine(path: string, write = false): Examined {
  const { header, size } = readHeader(path, write);
  if (size === 0) return { isEmpty: true, version: 0 };
  const view = new DataView(header.buffer);
  const isSqlite = MAGIC.every((octet, i) => i >= size || header[i] === octet);
  const isOurs = view.getUint32(HEADER.applicationId) === APPLICATION_ID;
  if (!isSqlite && !isOurs) throw foreign();
  if (size < HEADER.length) throw damaged("it is cut off in its header");
  if (!isOurs) {
    // Made by another program, unless nothing is in it.
    if (!isBlank(path)) throw foreign();
    return { isEmpty: true, version: 0 };
  }
  const version = view.getInt32(HEADER.version);
  if (isSqlite) demandNotNewer(version, MIGRATIONS.length);
  // SQLite would take the file for one that only a later SQLite can write.
  if (HEADER.formats.some((at) => header[at] !== 1 && header[at] !== 2)) {
    throw damaged("its header has no known format");
  }
  // SQLite takes what is missing of a page for zeros. While there is a log, the
  // page may be one that was just being carried over, and will be again.
  const pageSize = view.getUint16(HEADER.pageSize);
  if (pageSize > 1 && size % pageSize !== 0 && !hasLog(path)) {
    throw damaged("it is cut off");
  }
  return { isEmpty: false, version };
}

function readHeader(
  path: string,
  write: boolean,
): { header: Uint8Array; size: number } {
  const header = new Uint8Array(HEADER.length);
  // As closing any of a file's handles drops all locks that this process has on
  // it, this is only for a file of which it is known that nobody holds it.
  using file = Deno.openSync(path, { read: true, write });
  const { size, isFile } = file.statSync();
  if (!isFile) throw new StoreError("failed", "it is no file");
  for (let at = 0; at < header.length;) {
    const count = file.readSync(header.subarray(at));
    if (count === null) break;
    at += count;
  }
  return { header, size };
}

/** Whether a database that does not say that it is ours has nothing in it. */
function isBlank(path: string): boolean {
  if (hasLog(path)) return false;
  try {
    const database = new DatabaseSync(immutable(path), { readOnly: true });
    try {
      return pragma(database, "application_id") === 0 &&
        tablesIn(database) === 0;
    } finally {
      database.close();
    }
  } catch {
    return false;
  }
}

/** A file as SQLite opens it without a lock, and without looking beside it. */
function immutable(path: string): URL {
  const url = pathToFileURL(path);
  url.search = "?immutable=1";
  return url;
}

/**
 * @throws {StoreError} of kind `locked` when somebody has the file open
 */
function demandUnlocked(path: string, timeoutMs: Millis): void {
  // Windows keeps locks by handle: opening for good will tell.
  if (Deno.build.os === "windows") return;
  let database: DatabaseSync | undefined;
  try {
    database = connect(path, timeoutMs, true);
    pragma(database, "user_version");
  } catch (error) {
    if (kindOf(error) === "locked") throw error;
    // A log cannot be read without writing: nothing was, and nobody was there.
  } finally {
    database?.close();
  }
}

/** Opens a database, of which nothing is read yet. */
function connect(
  path: string,
  timeoutMs: Millis,
  readOnly = false,
): DatabaseSync {
  const database = new DatabaseSync(path, { readOnly });
  database.exec(`PRAGMA busy_timeout = ${Math.trunc(timeoutMs)}`);
  // Kept for as long as it is open, and without shared memory for the log.
  database.exec("PRAGMA locking_mode = EXCLUSIVE");
  return database;
}

function createFile(path: string): void {
  try {
    // What clients send is nobody else's business; the log gets the same mode.
    Deno.openSync(path, { write: true, createNew: true, mode: 0o600 }).close();
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const message = `there is no directory "${dirname(path)}"`;
    throw new StoreError("failed", message, { cause: error });
  }
}

function demandNotNewer(version: number, known: number): void {
  if (version <= known) return;
  throw new StoreError(
    "newer",
    `its version is "${version}", and this program knows "${known}" at most: nothing was changed`,
  );
}

/** @throws {StoreError} of kind `damaged` when a look through the file finds it so */
function demandWhole(database: DatabaseSync): void {
  if (pragma(database, "application_id") !== APPLICATION_ID) throw foreign();
  const found = String(pragma(database, "quick_check(1)"));
  // Its first line, if there are more, says that this is about the database.
  if (found !== "ok") throw damaged(found.split("\n").at(-1)!);
  if (pragma(database, "user_version") as number < 1) {
    throw damaged("it has no version");
  }
}

/** Moves a file, and what lies beside it, to a name that is free. */
function moveAside(path: string): string {
  const stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const name = `${path}.damaged-${stamp}`;
  for (let count = 1;; count++) {
    const target = count === 1 ? name : `${name}-${count}`;
    if (SUFFIXES.some((suffix) => statOf(target + suffix) !== undefined)) {
      continue;
    }
    // The file first: without it no one takes what is beside it for whole.
    for (const suffix of SUFFIXES) {
      if (statOf(path + suffix) === undefined) continue;
      Deno.renameSync(path + suffix, target + suffix);
    }
    return target;
  }
}

function prepareWrites(database: DatabaseSync) {
  const put = (table: string, columns: number) =>
    prepare(
      database,
      `INSERT OR REPLACE INTO ${table} VALUES (${
        Array(columns).fill("?").join(", ")
      })`,
    );
  const end = (table: string, condition: string) =>
    prepare(database, `DELETE FROM ${table} WHERE ${condition}`);
  return {
    begin: prepare(database, "BEGIN IMMEDIATE"),
    commit: prepare(database, "COMMIT"),
    rollback: prepare(database, "ROLLBACK"),
    session: put("session", 15),
    subscription: put("subscription", 4),
    topicId: put("topic_id", 7),
    received: put("received", 4),
    retained: put("retained", 3),
    queued: put("queued", 9),
    datum: put("datum", 3),
    inFlight: prepare(
      database,
      "UPDATE queued SET msg_id = ?, is_released = ? WHERE session = ? AND seq = ?",
    ),
    sessionEnds: ["session", "subscription", "topic_id", "received", "queued"]
      .map((table) => end(table, "session = ?")),
    subscriptionEnd: end("subscription", "session = ? AND topic_filter = ?"),
    topicIdEnd: end("topic_id", "session = ? AND topic_name = ?"),
    receivedEnd: end("received", "session = ? AND msg_id = ?"),
    retainedEnd: end("retained", "topic_name = ?"),
    queuedEnd: end("queued", "session = ? AND seq = ?"),
    datumEnd: end("datum", "topic_name = ? AND seq <= ?"),
  };
}

/**
 * Texts are read as octets: node:sqlite ends one at U+0000, and a damaged one
 * would not be found by its key again.
 */
function prepareReads(database: DatabaseSync) {
  const text = (column: string) => `CAST(${column} AS BLOB)`;
  const rows = (sql: string) => asArrays(prepare(database, sql));
  return {
    size: rows(
      `SELECT ${
        TABLES.map((table) => `(SELECT count(*) FROM ${table})`).join(" + ")
      }`,
    ),
    sessions: rows(
      "SELECT json_group_array(session ORDER BY left_at, session) FROM session",
    ),
    session: rows(`
      SELECT session, ${text("client_id")}, is_clean, state, hostname, port,
        wireless_node_id, allowed_ms, duration, announced_will, left_at,
        ${text("will_topic")}, will_qos, will_retain, will_payload
      FROM session WHERE session = ?`),
    subscriptions: rows(`
      SELECT session, ${text("topic_filter")}, qos, is_pending
      FROM subscription WHERE (session, topic_filter) > (?, CAST(? AS TEXT))
      ORDER BY session, topic_filter LIMIT ${PAGE}`),
    topicIds: rows(`
      SELECT session, ${text("topic_name")}, topic_id, alias_type, alias_id,
        is_registered, is_subscribed
      FROM topic_id WHERE (session, topic_name) > (?, CAST(? AS TEXT))
      ORDER BY session, topic_name LIMIT ${PAGE}`),
    received: rows(`
      SELECT session, msg_id, digest, until
      FROM received WHERE (session, msg_id) > (?, ?)
      ORDER BY session, msg_id LIMIT ${PAGE}`),
    retained: rows(`
      SELECT ${text("topic_name")}, payload, qos
      FROM retained WHERE topic_name > CAST(? AS TEXT)
      ORDER BY topic_name LIMIT ${PAGE}`),
    queued: rows(`
      SELECT session, seq, ${text("topic_name")}, payload, qos, retain, at,
        msg_id, is_released
      FROM queued WHERE (session, seq) > (?, ?)
      ORDER BY session, seq LIMIT ${PAGE}`),
    data: rows(`
      SELECT seq, ${text("topic_name")}, ${text("text")}
      FROM datum WHERE seq > ? ORDER BY seq LIMIT ${PAGE}`),
  };
}

/** The tables of records. */
const TABLES = [
  ...["session", "subscription", "topic_id", "received", "retained"],
  ...["queued", "datum"],
] as const;

function textFrom(value: Row[number] | undefined): string {
  return decodeUtf8Loosely(value as Uint8Array);
}

function peerFrom(row: Row): PeerRecord | undefined {
  const hostname = row[4] as string | null;
  if (hostname === null) return undefined;
  return {
    hostname,
    port: row[5] as number,
    wirelessNodeId: (row[6] as Uint8Array | null) ?? undefined,
  };
}

function willFrom(row: Row): WillRecord | undefined {
  const qos = row[12] as DeliveryQos | null;
  if (qos === null) return undefined;
  return {
    topicName: row[11] === null ? undefined : textFrom(row[11]),
    qos,
    retain: row[13] === 1,
    payload: row[14] as Uint8Array,
  };
}

function subscriptionFrom(row: Row): SubscriptionRecord {
  return {
    type: "subscription",
    session: row[0] as number,
    topicFilter: textFrom(row[1]),
    qos: row[2] as DeliveryQos,
    isPending: row[3] === 1,
  };
}

function topicIdFrom(row: Row): TopicIdRecord {
  return {
    type: "topicId",
    session: row[0] as number,
    topicName: textFrom(row[1]),
    topicId: row[2] as number,
    aliasType: (row[3] as "predefined" | "short" | null) ?? undefined,
    aliasId: row[4] as number,
    isRegistered: row[5] === 1,
    isSubscribed: row[6] === 1,
  };
}

function receivedFrom(row: Row, offsetMs: Millis): ReceivedRecord {
  return {
    type: "received",
    session: row[0] as number,
    msgId: row[1] as number,
    digest: row[2] as number,
    until: row[3] === null ? undefined : row[3] as number - offsetMs,
  };
}

function retainedFrom(row: Row): RetainedRecord {
  return {
    type: "retained",
    topicName: textFrom(row[0]),
    payload: row[1] as Uint8Array,
    qos: row[2] as DeliveryQos,
  };
}

function queuedFrom(row: Row, offsetMs: Millis): QueuedRecord {
  return {
    type: "queued",
    session: row[0] as number,
    seq: row[1] as number,
    topicName: textFrom(row[2]),
    payload: row[3] as Uint8Array,
    qos: row[4] as DeliveryQos,
    retain: row[5] === 1,
    at: row[6] as number - offsetMs,
    msgId: row[7] as number,
    isReleased: row[8] === 1,
  };
}

function datumFrom(row: Row): DatumRecord {
  return {
    type: "datum",
    seq: row[0] as number,
    topicName: textFrom(row[1]),
    text: textFrom(row[2]),
  };
}

/** Counts what is in a database. */
function summarize(
  database: DatabaseSync,
  path: string,
  version: number,
): StoreSummary {
  const rows = (sql: string): readonly Row[] => {
    const statement = asArrays(prepare(database, sql));
    return statement.all() as unknown as Row[];
  };
  const one = (sql: string): readonly number[] => rows(sql)[0] as number[];
  const count = (table: string) => one(`SELECT count(*) FROM ${table}`)[0]!;
  const amount = ([count, octets]: readonly number[]): Amount => ({
    count: count!,
    octets: octets!,
  });
  const queued = rows(
    "SELECT qos, count(*), sum(length(payload)) FROM queued GROUP BY qos",
  ) as number[][];
  const queuedAt = (qos: DeliveryQos) =>
    amount(queued.find(([at]) => at === qos)?.slice(1) ?? [0, 0]);
  const states = Object.fromEntries(
    rows("SELECT state, count(*) FROM session GROUP BY state") as [
      string,
      number,
    ][],
  );
  const [topics, data, octets] = one(
    "SELECT count(DISTINCT topic_name), count(*), total(octet_length(text)) FROM datum",
  ) as [number, number, number];
  const longest = rows(`
    SELECT CAST(client_id AS BLOB), state, left_at, count, octets, oldest,
      (SELECT count(*) FROM subscription WHERE session = queue.session)
    FROM (
      SELECT session, count(*) AS count, sum(length(payload)) AS octets,
        min(at) AS oldest
      FROM queued GROUP BY session ORDER BY count DESC, session LIMIT ${LONGEST}
    ) AS queue JOIN session USING (session)
    ORDER BY count DESC, queue.session`);
  return {
    path,
    at: Date.now(),
    version,
    octets: octetsOf(path),
    starts: one("SELECT starts FROM store")[0]!,
    sessions: { active: 0, asleep: 0, disconnected: 0, lost: 0, ...states },
    subscriptions: count("subscription"),
    topicIds: count("topic_id"),
    queued: { 0: queuedAt(0), 1: queuedAt(1), 2: queuedAt(2) },
    received: count("received"),
    retained: amount(
      one("SELECT count(*), total(length(payload)) FROM retained"),
    ),
    histories: { topics, count: data, octets },
    longest: longest.map((row) => ({
      clientId: textFrom(row[0]),
      state: row[1] as SessionRecord["state"],
      subscriptions: row[6] as number,
      queued: amount([row[3] as number, row[4] as number]),
      oldestAt: row[5] as number,
      awaySince: row[1] === "disconnected" || row[1] === "lost"
        ? row[2] as number
        : undefined,
    })),
  };
}

/** Rows in columns, some of them ranged right. */
function table(rows: readonly string[][], right: readonly number[]): string[] {
  const widths = rows[0]!.map((_, column) =>
    Math.max(...rows.map((row) => row[column]!.length))
  );
  return rows.map((row) =>
    row.map((cell, column) =>
      right.includes(column)
        ? cell.padStart(widths[column]!)
        : cell.padEnd(widths[column]!)
    ).join("  ").trimEnd()
  );
}

function grouped(count: number): string {
  return count.toLocaleString("en");
}

function moment(at: number): string {
  const date = new Date(at);
  // A moment that no calendar has comes from a clock that was never set.
  return isNaN(date.getTime())
    ? String(at)
    : date.toISOString().replace(/\.\d+/, "");
}

const UNITS = [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000]] as const;

function age(ms: number): string {
  const [unit, length] = UNITS.find(([, length]) => ms >= length) ??
    ["s", 1_000] as const;
  return `${grouped(Math.max(0, Math.floor(ms / length)))} ${unit}`;
}

/** The result codes of SQLite that mean something of their own here. */
const SQLITE = {
  generic: 1,
  busy: 5,
  locked: 6,
  readOnly: 8,
  corrupt: 11,
  full: 13,
  cantOpen: 14,
  notADatabase: 26,
} as const;

const KINDS: Readonly<Record<number, StoreErrorKind>> = {
  [SQLITE.busy]: "locked",
  [SQLITE.locked]: "locked",
  [SQLITE.readOnly]: "readOnly",
  [SQLITE.corrupt]: "damaged",
  [SQLITE.full]: "full",
  [SQLITE.notADatabase]: "damaged",
};

/** For errors without a code: those of `exec()`. */
const MESSAGES: readonly (readonly [RegExp, StoreErrorKind])[] = [
  [/^database (table )?is locked/, "locked"],
  [/readonly database/, "readOnly"],
  [/malformed|is not a database/, "damaged"],
  [/^database or disk is full/, "full"],
];

function kindOf(error: unknown): StoreErrorKind {
  if (error instanceof StoreError) return error.kind;
  if (!(error instanceof Error)) return "failed";
  if (
    error instanceof Deno.errors.PermissionDenied ||
    "code" in error && error.code === "EROFS"
  ) return "readOnly";
  if (!("code" in error) || error.code !== "ERR_SQLITE_ERROR") return "failed";
  const code = errcodeOf(error);
  if (code !== undefined) return KINDS[code] ?? "failed";
  return MESSAGES.find(([text]) => text.test(error.message))?.[1] ?? "failed";
}

/** SQLite's result code, without what it adds to it. */
function errcodeOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("errcode" in error)) return undefined;
  return typeof error.errcode === "number" ? error.errcode & 0xff : undefined;
}

function storeError(error: unknown, what: string): StoreError {
  const kind = kindOf(error);
  const why = error instanceof Error ? error.message : String(error);
  return new StoreError(kind, `${what}: ${WHY[kind] ?? oneLine(why)}`, {
    cause: error,
  });
}

/** What a person reads for an error that SQLite words for programmers. */
const WHY: Partial<Record<StoreErrorKind, string>> = {
  locked: "another program has it open",
};

function oneLine(text: string): string {
  return printable(text.trim().replace(/\s*\n\s*/g, ", "));
}

function damaged(reason: string): StoreError {
  return new StoreError("damaged", reason);
}

function foreign(): StoreError {
  return new StoreError(
    "foreign",
    "it is no store of this broker: nothing was changed",
  );
}

/** Prepares a statement; that it cannot be is the file's fault, not ours. */
function prepare(database: DatabaseSync, sql: string): StatementSync {
  try {
    return database.prepare(sql);
  } catch (error) {
    if (errcodeOf(error) !== SQLITE.generic) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new StoreError("damaged", message, { cause: error });
  }
}

/** Runs statements one by one: an error of `exec()` does not tell its code. */
function runScript(database: DatabaseSync, script: string): void {
  for (const sql of script.split(/;\s*$/m)) {
    if (sql.trim() !== "") database.prepare(sql).run();
  }
}

/** Makes a statement give rows as arrays, which takes a third of the time. */
function asArrays(statement: StatementSync): StatementSync {
  // Deno has it, its types do not yet.
  (statement as StatementSync & { setReturnArrays(on: boolean): void })
    .setReturnArrays(true);
  return statement;
}

/** What a pragma answers. */
function pragma(database: DatabaseSync, name: string): unknown {
  const statement = asArrays(prepare(database, `PRAGMA ${name}`));
  return (statement.get() as unknown as Row | undefined)?.[0];
}

function tablesIn(database: DatabaseSync): number {
  return database.prepare("SELECT count(*) AS tables FROM sqlite_schema")
    .get()!.tables as number;
}

function statOf(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Whether there is more to a file than what is in it. */
function hasLog(path: string): boolean {
  return hasOctets(path + "-wal") || hasOctets(path + "-journal");
}

function hasOctets(path: string): boolean {
  return (statOf(path)?.size ?? 0) > 0;
}

function octetsOf(path: string): number {
  return (statOf(path)?.size ?? 0) + (statOf(path + "-wal")?.size ?? 0);
}
