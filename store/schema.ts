/**
 * The tables of a store, from the first version of them on: what makes a database one
 * of this broker, and of which version.
 *
 * @module
 */

import type { DatabaseSync } from "node:sqlite";
import { pragma, runScript } from "./sqlite.ts";
import { damaged, foreign, StoreError } from "./error.ts";

/** "MMqS" in the file's header: what makes a database ours. */
export const APPLICATION_ID = 0x4d4d_7153;

/** Whole numbers that JavaScript has exactly: more cannot be read back. */
const MAX = Number.MAX_SAFE_INTEGER;

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
  `,
  // What is under way of a subscription's retained messages is not to be begun
  // again. Whose of several it is was not written down: it comes once for all.
  `
  CREATE TABLE begun (
    session INTEGER NOT NULL CHECK (session BETWEEN 1 AND ${MAX}),
    topic_filter TEXT NOT NULL,
    topic_name TEXT NOT NULL,
    PRIMARY KEY (session, topic_filter, topic_name)
  ) STRICT, WITHOUT ROWID;

  INSERT INTO begun
    SELECT DISTINCT session, topic_filter, topic_name
    FROM subscription JOIN queued USING (session)
    WHERE is_pending = 1 AND retain = 1 AND queued.qos = 2 AND msg_id > 0;
  `,
];

/** The tables of records. */
export const TABLES = [
  ...["session", "subscription", "begun", "topic_id", "received"],
  ...["retained", "queued", "datum"],
] as const;

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
 * import { migrate, MIGRATIONS } from "./schema.ts";
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
 * Turns away a database that a later program has made.
 *
 * @param version its version
 * @param known the last one that is known here
 * @throws {StoreError} of kind `newer` when it is of a later version
 */
export function demandNotNewer(version: number, known: number): void {
  if (version <= known) return;
  throw new StoreError(
    "newer",
    `a newer broker has written it (version ${version}, and this one knows ${known} at most), so it stays as it is`,
  );
}

/**
 * Looks through a whole database.
 *
 * @throws {StoreError} of kind `damaged` when it is, of kind `foreign` when it is
 * another program's
 */
export function demandWhole(database: DatabaseSync): void {
  if (pragma(database, "application_id") !== APPLICATION_ID) throw foreign();
  const found = String(pragma(database, "quick_check(1)"));
  // Its first line, if there are more, says that this is about the database.
  if (found !== "ok") throw damaged(found.split("\n").at(-1)!);
  if (pragma(database, "user_version") as number < 1) {
    throw damaged("it has no version");
  }
}
