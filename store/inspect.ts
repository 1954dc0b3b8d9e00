/**
 * What a store holds, in numbers and as lines that a person reads: looked at while
 * no broker has it open, without changing anything. Holds the SQL that counts.
 *
 * @module
 */

import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { printable } from "../base/log.ts";
import type { DeliveryQos } from "../wire/message.ts";
import type { SessionRecord } from "../broker/records.ts";
import { asArrays, prepare, type Row, textFrom } from "./sqlite.ts";
import { StoreError, storeError } from "./error.ts";
import { demandUnlocked, examine, fileAt, octetsOf, statOf } from "./file.ts";
import { commitsBehindDamage } from "./wal.ts";
import { demandWhole, migrate } from "./schema.ts";

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
  /** Commits in its log that cannot be read, as that is damaged ahead of them. */
  readonly unreadableCommits: number;
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

/** Sessions whose queues a summary lists. */
const LONGEST = 20;

/**
 * Looks at a store that no broker has open, without changing anything: at a copy in
 * the system's directory for temporary files, as SQLite makes files beside what it reads. What
 * a broker that was killed has left in the log counts.
 *
 * @param path the file
 * @throws {StoreError} when it is not there, no store, damaged, or in use
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Store } from "./store.ts";
 * import { inspectStore } from "./inspect.ts";
 *
 * const directory = Deno.makeTempDirSync();
 * const path = `${directory}/mqtt.store`;
 * Store.open(path).close();
 * assertEquals(inspectStore(path).starts, 1);
 * Deno.removeSync(directory, { recursive: true });
 * ```
 */
export function inspectStore(path: string): StoreSummary {
  let copies: string | undefined;
  try {
    const file = fileAt(path);
    if (statOf(file) === undefined) {
      throw new StoreError("failed", "there is no such file");
    }
    demandUnlocked(file, 0);
    const { isEmpty, version } = examine(file);
    if (isEmpty) throw new StoreError("foreign", "it is empty");
    copies = Deno.makeTempDirSync();
    const copy = join(copies, "store");
    for (const suffix of ["", "-wal", "-journal"]) {
      if (statOf(file + suffix) === undefined) continue;
      Deno.copyFileSync(file + suffix, copy + suffix);
    }
    const database = new DatabaseSync(copy);
    try {
      demandWhole(database);
      migrate(database);
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
 * import { Store } from "./store.ts";
 * import { describeStore, inspectStore } from "./inspect.ts";
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
    ...summary.unreadableCommits === 0 ? [] : [
      `Damaged: the last ${
        grouped(summary.unreadableCommits)
      } commits in its -wal cannot be read, and do not count`,
    ],
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
    unreadableCommits: statOf(path + "-wal") === undefined
      ? 0
      : commitsBehindDamage(path + "-wal"),
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
