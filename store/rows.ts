/**
 * The records of the broker's core (`broker/records.ts`) as rows of a store, and back:
 * all SQL that reads and writes them. What is written and what is read stand together,
 * as the order of the columns binds them.
 *
 * @module
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Millis } from "../base/clock.ts";
import type { DeliveryQos } from "../wire/message.ts";
import type {
  BegunRecord,
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
} from "../broker/records.ts";
import { asArrays, prepare, type Row, textFrom } from "./sqlite.ts";
import { TABLES } from "./schema.ts";

/** Rows that are read at a time: as many of the largest payload are 13 MB. */
const PAGE = 200;

/** What comes before every text: a key to begin a table with. */
const NO_TEXT = new Uint8Array(0);

/**
 * Reads something, and makes what is thrown meanwhile an error of the store: not
 * all of it is, as the receiver of the records may throw too.
 */
export type ReadScope = <T>(read: () => T) => T;

/**
 * The rows of one database, as records.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { DatabaseSync } from "node:sqlite";
 * import { Rows } from "./rows.ts";
 * import { migrate } from "./schema.ts";
 *
 * using database = new DatabaseSync(":memory:");
 * migrate(database);
 * const rows = new Rows(database, 0);
 * rows.apply({ type: "datum", seq: 1, topicName: "weather", text: "21.5" });
 * assertEquals(rows.count(), 1);
 * assertEquals([...rows.load((read) => read())].map(({ type }) => type), [
 *   "datum",
 * ]);
 * ```
 */
export class Rows {
  readonly #offsetMs: Millis;
  readonly #write: Writes;
  readonly #read: Reads;

  /**
   * Prepares its statements.
   *
   * @param database one with the tables of the newest version
   * @param offsetMs what makes a moment of the records one of the epoch
   * @throws {StoreError} of kind `damaged` when it has other tables
   */
  constructor(database: DatabaseSync, offsetMs: Millis) {
    this.#offsetMs = offsetMs;
    this.#write = prepareWrites(database);
    this.#read = prepareReads(database);
  }

  /** How many there are. Counts them each time. */
  count(): number {
    return (this.#read.size.get() as unknown as Row)[0] as number;
  }

  /** Gives all records, in the order of `Store.load`, reading a few at a time. */
  *load(reading: ReadScope): Generator<StoreRecord> {
    const read = this.#read;
    const [sessions] = reading(() => read.sessions.get() as unknown as Row);
    for (const session of JSON.parse(sessions as string)) {
      const row = reading(() => read.session.get(session));
      if (row !== undefined) {
        yield sessionFrom(row as unknown as Row, this.#offsetMs);
      }
    }
    const all = (
      page: StatementSync,
      key: Row,
      toRecord: (row: Row, offsetMs: Millis) => StoreRecord,
    ) => this.#rows(page, key, toRecord, reading);
    yield* all(read.subscriptions, [0, NO_TEXT], subscriptionFrom);
    yield* all(read.begun, [0, NO_TEXT, NO_TEXT], begunFrom);
    yield* all(read.topicIds, [0, NO_TEXT], topicIdFrom);
    yield* all(read.received, [0, 0], receivedFrom);
    yield* all(read.retained, [NO_TEXT], retainedFrom);
    yield* all(read.queued, [0, 0], queuedFrom);
    yield* all(read.data, [0], datumFrom);
  }

  /** Writes what has changed, within the transaction that is under way. */
  apply(change: StoreChange): void {
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
      case "begun":
        write.begun.run(change.session, change.topicFilter, change.topicName);
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
      case "begunEnd":
        write.begunEnd.run(change.session, change.topicFilter);
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
        write.datumEnd.run(change.seq);
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

  /**
   * All rows of a table, some at a time: a statement that is stepped through
   * would hold the log, and node:sqlite takes an error in the middle of one for
   * its end. The columns of the key come first.
   */
  *#rows(
    page: StatementSync,
    key: Row,
    toRecord: (row: Row, offsetMs: Millis) => StoreRecord,
    reading: ReadScope,
  ): Generator<StoreRecord> {
    for (;;) {
      const rows = reading(() => page.all(...key) as unknown as readonly Row[]);
      for (const row of rows) yield toRecord(row, this.#offsetMs);
      if (rows.length < PAGE) return;
      key = rows.at(-1)!.slice(0, key.length);
    }
  }

  #epoch(at: Millis): number {
    return Math.round(at + this.#offsetMs);
  }
}

/** The statements that change what is kept. */
type Writes = ReturnType<typeof prepareWrites>;

/** The statements that read it. */
type Reads = ReturnType<typeof prepareReads>;

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
    session: put("session", 15),
    subscription: put("subscription", 4),
    begun: put("begun", 3),
    topicId: put("topic_id", 7),
    received: put("received", 4),
    retained: put("retained", 3),
    queued: put("queued", 9),
    datum: put("datum", 3),
    inFlight: prepare(
      database,
      "UPDATE queued SET msg_id = ?, is_released = ? WHERE session = ? AND seq = ?",
    ),
    sessionEnds: [
      ...["session", "subscription", "begun", "topic_id", "received", "queued"],
    ].map((table) => end(table, "session = ?")),
    subscriptionEnd: end("subscription", "session = ? AND topic_filter = ?"),
    begunEnd: end("begun", "session = ? AND topic_filter = ?"),
    topicIdEnd: end("topic_id", "session = ? AND topic_name = ?"),
    receivedEnd: end("received", "session = ? AND msg_id = ?"),
    retainedEnd: end("retained", "topic_name = ?"),
    queuedEnd: end("queued", "session = ? AND seq = ?"),
    datumEnd: end("datum", "seq = ?"),
  };
}

function prepareReads(database: DatabaseSync) {
  const text = (column: string) => `CAST(${column} AS BLOB)`;
  // Without the plus SQLite looks for the first column alone, and each page goes
  // through all that a session has.
  const key = "+CAST(? AS TEXT)";
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
      FROM subscription WHERE (session, topic_filter) > (?, ${key})
      ORDER BY session, topic_filter LIMIT ${PAGE}`),
    begun: rows(`
      SELECT session, ${text("topic_filter")}, ${text("topic_name")}
      FROM begun WHERE (session, topic_filter, topic_name) >
        (?, ${key}, ${key})
      ORDER BY session, topic_filter, topic_name LIMIT ${PAGE}`),
    topicIds: rows(`
      SELECT session, ${text("topic_name")}, topic_id, alias_type, alias_id,
        is_registered, is_subscribed
      FROM topic_id WHERE (session, topic_name) > (?, ${key})
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

function sessionFrom(row: Row, offsetMs: Millis): SessionRecord {
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
    leftAt: row[10] as number - offsetMs,
    will: willFrom(row),
  };
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

function begunFrom(row: Row): BegunRecord {
  return {
    type: "begun",
    session: row[0] as number,
    topicFilter: textFrom(row[1]),
    topicName: textFrom(row[2]),
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
