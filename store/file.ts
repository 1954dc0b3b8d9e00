/**
 * A store's file: whose it is, who has it open, whether it is whole.
 *
 * It is written ahead (`-wal` beside it, which is empty again after a close) and
 * locked for as long as it is open, so that there is no file of shared memory and
 * a second broker is turned away at once. What another program has written is never
 * touched, and a damaged file never overwritten: it gets another name, and a new
 * one takes its place.
 *
 * @module
 */

import { dirname, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Millis } from "../base/clock.ts";
import { pragma, prepare, tablesIn } from "./sqlite.ts";
import {
  damaged,
  errcodeOf,
  foreign,
  kindOf,
  oneLine,
  SQLITE,
  StoreError,
} from "./error.ts";
import { commitsBehindDamage } from "./wal.ts";
import { Rows } from "./rows.ts";
import {
  APPLICATION_ID,
  demandNotNewer,
  demandWhole,
  migrate,
  MIGRATIONS,
} from "./schema.ts";

/**
 * When a commit is safe. `full`: when it returns, whatever happens. `normal`:
 * from the machine's failure some while later, from the process's at once; the
 * file stays whole. `off`: from the process's failure alone; when the machine
 * fails, the file may be damaged.
 *
 * @example
 * ```ts
 * import { Broker, type Durability } from "../mod.ts";
 *
 * const durability: Durability = "normal"; // survives kill -9
 * const directory = await Deno.makeTempDir();
 * const db = `${directory}/broker.db`;
 * {
 *   await using _broker = await Broker.listen({ port: 0, db, durability });
 * }
 * await Deno.remove(directory, { recursive: true });
 * ```
 */
export type Durability = "full" | "normal" | "off";

/** How a store is opened. */
export interface StoreOptions {
  /** When a commit is safe. Default `full`. */
  readonly durability?: Durability;
  /**
   * What makes a moment of the records one of the epoch, in milliseconds: it is
   * added when they are written and taken off when they are read. Default 0.
   */
  readonly offsetMs?: Millis;
  /** How long to wait while another process has the file open, in milliseconds. Default 1,000. */
  readonly timeoutMs?: Millis;
  /** Pages of 4,096 octets that the file may take. Default: what the disk has. */
  readonly maxPages?: number;
}

/** A damaged file that was given another name, or copied. */
export interface SetAside {
  /** Its new name; what lay beside it has the same with its suffix. */
  readonly path: string;
  /** What is wrong with it. */
  readonly reason: string;
  /** Whether that is a copy, as the store goes on with what is whole of it. */
  readonly isCopy: boolean;
}

/** Where SQLite's header has the numbers that tell whose a file is. */
const HEADER = {
  length: 100,
  pageSize: 16,
  formats: [18, 19],
  version: 60,
  applicationId: 68,
} as const;

/** Where its first page has what kind it is of, and how many entries. */
const FIRST_PAGE = {
  type: HEADER.length,
  cells: HEADER.length + 3,
  end: HEADER.length + 8,
} as const;

/** A page of rows that has none below it. */
const LEAF = 0x0d;

/** How each SQLite database begins. */
const MAGIC = new TextEncoder().encode("SQLite format 3\0");

/** What may lie beside the file. */
const SUFFIXES = ["", "-wal", "-shm", "-journal"] as const;

/**
 * The write-ahead log is carried over at this many pages, 32 MB: a page that many
 * commits change is then written to the file once for all of them.
 */
const CHECKPOINT_PAGES = 8_000;

/** The write-ahead log is cut to this when it has been carried over, in octets. */
const MAX_LOG = 64 * 2 ** 20;

/** A file that is open. */
export interface OpenedFile {
  /** What is in it. */
  readonly database: DatabaseSync;
  /** How often it was opened, this time included. */
  readonly starts: number;
  /** Its records. */
  readonly rows: Rows;
  /** What was found of it with a damaged log, if it was. */
  readonly setAside?: SetAside | undefined;
}

/** A file was damaged, and has another name now. */
export class Damage extends StoreError {
  /** Which. */
  readonly setAside: SetAside;

  /** Says where it is now. */
  constructor(setAside: SetAside) {
    super("damaged", setAside.reason);
    this.setAside = setAside;
  }
}

/**
 * Opens what is there, or makes it.
 *
 * @param path the file, absolute
 * @throws {Damage} when it was damaged, and is set aside now: nothing is there
 * any more
 * @throws {Error} when it cannot be opened; then nothing has changed
 */
export function openFile(path: string, options: StoreOptions): OpenedFile {
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
    const setAside = copyDamaged(path);
    database = connect(path, timeoutMs);
    return { ...setUp(database, options), setAside };
  } catch (error) {
    const kind = kindOf(error);
    if (kind !== "damaged") {
      database?.close();
      // The file itself could be opened: it is the log that could not be made.
      const code = errcodeOf(error);
      throw code === SQLITE.cantOpen || code === SQLITE.readOnly
        ? closedDirectory(error)
        : error;
    }
    // SQLite carries the log over when it closes a file, but not if that was
    // moved: then all stays as it was found. Windows cannot move an open one.
    if (Deno.build.os === "windows") database?.close();
    try {
      const reason = error instanceof Error ? oneLine(error.message) : "";
      const aside = giveAside(path, Deno.renameSync);
      throw new Damage({ path: aside, reason, isCopy: false });
    } finally {
      if (Deno.build.os !== "windows") database?.close();
    }
  }
}

/** Copies a file whose log is damaged, before SQLite writes on behind the damage. */
function copyDamaged(path: string): SetAside | undefined {
  if (!hasOctets(path + "-wal")) return undefined;
  const commits = commitsBehindDamage(path + "-wal");
  if (commits === 0) return undefined;
  return {
    path: giveAside(path, Deno.copyFileSync),
    reason: `the last ${commits} commits in its -wal cannot be read`,
    isCopy: true,
  };
}

/** Takes the lock, looks for damage, and only then writes. */
function setUp(database: DatabaseSync, options: StoreOptions): OpenedFile {
  const { durability = "full", offsetMs = 0, maxPages } = options;
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
  const count = prepare(database, "UPDATE store SET starts = starts + 1");
  const starts = prepare(database, "SELECT starts FROM store");
  const rows = new Rows(database, offsetMs);
  // In two steps: what RETURNING gives comes before the commit, of whose failure,
  // on a full disk, node:sqlite says nothing.
  count.run();
  const row = starts.get() as { starts: number } | undefined;
  if (row === undefined) throw damaged("its count of starts is missing");
  database.exec(`PRAGMA synchronous = ${durability.toUpperCase()}`);
  return { database, rows, starts: row.starts };
}

/** What a file's first octets tell. */
export interface Examined {
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
export function examine(path: string, write = false): Examined {
  const { header, size } = readHeader(path, write);
  if (size === 0) return { isEmpty: true, version: 0 };
  const view = new DataView(header.buffer);
  const isSqlite = MAGIC.every((octet, i) => i >= size || header[i] === octet);
  const isOurs = view.getUint32(HEADER.applicationId) === APPLICATION_ID;
  if (!isSqlite && !isOurs) throw foreign();
  if (size < HEADER.length) throw damaged("it is cut off in its header");
  if (!isOurs) {
    // Made by another program, unless nothing is in it.
    if (!isBlank(view, path)) throw foreign();
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
  const header = new Uint8Array(FIRST_PAGE.end);
  // As closing any of a file's handles drops all locks that this process has on
  // it, this is only for a file of which it is known that nobody holds it.
  using file = openForHeader(path, write);
  const { size } = file.statSync();
  for (let at = 0; at < header.length;) {
    const count = file.readSync(header.subarray(at));
    if (count === null) break;
    at += count;
  }
  return { header, size };
}

function openForHeader(path: string, write: boolean): Deno.FsFile {
  try {
    return Deno.openSync(path, { read: true, write });
  } catch (cause) {
    if (kindOf(cause) !== "readOnly") throw cause;
    const message = `it cannot be read${write ? " and written" : ""}`;
    throw new StoreError("readOnly", message, { cause });
  }
}

/**
 * Whether a database that does not say that it is ours has nothing in it: nobody's
 * id, and on its first page the list of its tables, which is empty.
 */
function isBlank(view: DataView, path: string): boolean {
  return view.getUint32(HEADER.applicationId) === 0 &&
    view.getUint8(FIRST_PAGE.type) === LEAF &&
    view.getUint16(FIRST_PAGE.cells) === 0 && !hasLog(path);
}

/**
 * Refuses a second process, and what is no file.
 *
 * @param timeoutMs how long to wait for the first
 * @throws {StoreError} of kind `locked` when somebody has the file open, and of
 * kind `failed` when it is none
 */
export function demandUnlocked(path: string, timeoutMs: Millis): void {
  const there = statOf(path);
  // To open a named pipe waits for a process at its other end.
  if (there !== undefined && !there.isFile) {
    const what = there.isDirectory ? "a directory" : "no file";
    throw new StoreError("failed", `it is ${what}`);
  }
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
    if (kindOf(error) === "readOnly") throw closedDirectory(error);
    if (!isMissing(error)) throw error;
    const message = `there is no directory "${dirname(path)}"`;
    throw new StoreError("failed", message, { cause: error });
  }
}

/** Moves a file, and what lies beside it, to a name that is free. */
function giveAside(
  path: string,
  give: (from: string, to: string) => void,
): string {
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
      give(path + suffix, target + suffix);
    }
    return target;
  }
}

/**
 * The file that a path leads to, absolute. SQLite follows a link to it, and has the
 * log beside the file, not beside the link.
 */
export function fileAt(path: string): string {
  const file = resolve(path);
  try {
    if (!Deno.lstatSync(file).isSymlink) return file;
    // Where it leads there may be nothing yet.
    if (statOf(file) !== undefined) return Deno.realPathSync(file);
    return resolve(dirname(file), Deno.readLinkSync(file));
  } catch (error) {
    if (isMissing(error)) return file;
    throw error;
  }
}

/** What there is at a path, `undefined` for nothing. */
export function statOf(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Whether there is nothing at a path, its directory perhaps not either. */
function isMissing(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound ||
    error instanceof Deno.errors.NotADirectory;
}

function closedDirectory(cause: unknown): StoreError {
  return new StoreError("readOnly", "its directory cannot be written", {
    cause,
  });
}

/** Whether there is more to a file than what is in it. */
function hasLog(path: string): boolean {
  return hasOctets(path + "-wal") || hasOctets(path + "-journal");
}

function hasOctets(path: string): boolean {
  return (statOf(path)?.size ?? 0) > 0;
}

/** What a file takes on the disk with its log, in octets. */
export function octetsOf(path: string): number {
  return (statOf(path)?.size ?? 0) + (statOf(path + "-wal")?.size ?? 0);
}
