/**
 * What the files of the store share of SQLite: statements, rows and pragmas.
 *
 * @module
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import { errcodeOf, SQLITE, StoreError } from "./error.ts";
import { decodeUtf8Loosely } from "../base/utf8.ts";

/** A row, or the key of one. */
export type Row = readonly (string | number | Uint8Array | null)[];

/**
 * The text of a column that is read as octets: as text, node:sqlite ends it at
 * U+0000, and a damaged one would not be found by its key again.
 */
export function textFrom(value: Row[number] | undefined): string {
  return decodeUtf8Loosely(value as Uint8Array);
}

/**
 * Prepares a statement; that it cannot be is the file's fault, not ours.
 *
 * @throws {StoreError} of kind `damaged` when the database lacks what it names
 */
export function prepare(database: DatabaseSync, sql: string): StatementSync {
  try {
    return database.prepare(sql);
  } catch (error) {
    if (errcodeOf(error) !== SQLITE.generic) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new StoreError("damaged", message, { cause: error });
  }
}

/** Runs statements one by one: an error of `exec()` does not tell its code. */
export function runScript(database: DatabaseSync, script: string): void {
  for (const sql of script.split(/;\s*$/m)) {
    if (sql.trim() !== "") database.prepare(sql).run();
  }
}

/** Makes a statement give rows as arrays, which takes a third of the time. */
export function asArrays(statement: StatementSync): StatementSync {
  // Deno has it, its types do not yet.
  (statement as StatementSync & { setReturnArrays(on: boolean): void })
    .setReturnArrays(true);
  return statement;
}

/** What a pragma answers. */
export function pragma(database: DatabaseSync, name: string): unknown {
  const statement = asArrays(prepare(database, `PRAGMA ${name}`));
  return (statement.get() as unknown as Row | undefined)?.[0];
}

/** How many tables and indices a database has. */
export function tablesIn(database: DatabaseSync): number {
  return database.prepare("SELECT count(*) AS tables FROM sqlite_schema")
    .get()!.tables as number;
}
