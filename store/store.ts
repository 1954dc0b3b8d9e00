/**
 * What outlives the broker: the records of its core (`broker/records.ts`) in a file.
 *
 * All of it is synchronous: a program that must not wait for a disk gives it a thread of
 * its own (`store/worker.ts`).
 *
 * @module
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { StoreChange, StoreRecord } from "../broker/records.ts";
import { pragma } from "./sqlite.ts";
import { StoreError, storeError } from "./error.ts";
import {
  Damage,
  type Durability,
  fileAt,
  octetsOf,
  type OpenedFile,
  openFile,
  type SetAside,
  type StoreOptions,
} from "./file.ts";
import type { Rows } from "./rows.ts";

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

/** What SQLite calls 0, 1 and 2. */
const LEVELS = ["off", "normal", "full"] as const;

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
  /** The file, as an absolute path, which is no link. */
  readonly path: string;
  /** How often this file was opened, this time included. */
  readonly starts: number;
  /** The damaged file that was found in its place, if one was. */
  readonly setAside: SetAside | undefined;
  readonly #database: DatabaseSync;
  readonly #rows: Rows;
  readonly #begin: StatementSync;
  readonly #commit: StatementSync;
  #counts = { commits: 0, changes: 0, failures: 0 };
  #isOpen = true;

  private constructor(
    path: string,
    { database, starts, rows }: OpenedFile,
    setAside: SetAside | undefined,
  ) {
    this.path = path;
    this.starts = starts;
    this.setAside = setAside;
    this.#database = database;
    this.#rows = rows;
    this.#begin = database.prepare("BEGIN IMMEDIATE");
    this.#commit = database.prepare("COMMIT");
  }

  /**
   * Opens a store, and makes the file if there is none. A damaged one is set
   * aside. Needs to read and write the file and its directory.
   *
   * @param path the file; its directory has to be there
   * @throws {StoreError} when it cannot be opened; then nothing has changed
   */
  static open(path: string, options: StoreOptions = {}): Store {
    let file: string | undefined;
    let setAside: SetAside | undefined;
    for (;;) {
      try {
        file ??= fileAt(path); // once: a link leads nowhere in between
        const opened = openFile(file, options);
        return new Store(file, opened, setAside ?? opened.setAside);
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
    return this.#reading(() => this.#rows.count());
  }

  /**
   * Gives what is kept: sessions, who left first before the others; then
   * subscriptions, what was begun for them, topic ids, received ids, retained
   * messages, each in the order of its key; then queued messages by session and place, and data by number.
   * Holds a few rows at a time. What is committed meanwhile may be given or not.
   *
   * @throws {StoreError} when the file cannot be read
   */
  load(): Generator<StoreRecord> {
    return this.#rows.load((read) => this.#reading(read));
  }

  /**
   * Applies changes, in their order: all of them, or none.
   *
   * @param changes what has changed
   * @throws {StoreError} when they cannot be kept; the store can still be used
   */
  commit(changes: readonly StoreChange[]): void {
    this.#demandOpen();
    const database = this.#database;
    try {
      // Left over only if the last one could not even be taken back.
      if (database.isTransaction) database.prepare("ROLLBACK").run();
      this.#begin.run();
      for (const change of changes) this.#rows.apply(change);
      this.#commit.run();
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

  #takeBack(): void {
    try {
      // A full disk has ended the transaction already, a broken one may not.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
    } catch {
      // The next commit tries again.
    }
  }
}
