/**
 * Why a store cannot do something, in a line that a person can act on: what SQLite and
 * the system say, put into the few kinds that make a difference.
 *
 * @module
 */

import { printable } from "../base/log.ts";

/**
 * Why a store cannot do something.
 *
 * @example
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { Broker, StoreError } from "../mod.ts";
 *
 * const db = "/nowhere/broker.db";
 * await assertRejects(() => Broker.listen({ port: 0, db }), StoreError);
 * ```
 */
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
 * import { Store } from "./store.ts";
 * import { StoreError } from "./error.ts";
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

/** The result codes of SQLite that mean something of their own here. */
export const SQLITE = {
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

/**
 * The kind of an error, from whatever it was thrown: the system, SQLite or a store.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { kindOf } from "./error.ts";
 *
 * assertEquals(kindOf(new Deno.errors.PermissionDenied()), "readOnly");
 * assertEquals(kindOf(new Error("the disk is on fire")), "failed");
 * ```
 */
export function kindOf(error: unknown): StoreErrorKind {
  if (error instanceof StoreError) return error.kind;
  if (!(error instanceof Error)) return "failed";
  if (
    error instanceof Deno.errors.PermissionDenied ||
    "code" in error && error.code === "EROFS"
  ) return "readOnly";
  if (!("code" in error)) return "failed";
  if (error.code === "ENOSPC") return "full";
  if (error.code !== "ERR_SQLITE_ERROR") return "failed";
  const code = errcodeOf(error);
  if (code !== undefined) return KINDS[code] ?? "failed";
  return MESSAGES.find(([text]) => text.test(error.message))?.[1] ?? "failed";
}

/** SQLite's result code, without what it adds to it. */
export function errcodeOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("errcode" in error)) return undefined;
  return typeof error.errcode === "number" ? error.errcode & 0xff : undefined;
}

/**
 * An error as one of the store's.
 *
 * @param error whatever was thrown
 * @param what could not be done
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { storeError } from "./error.ts";
 *
 * const error = storeError(new Error("no luck"), "Cannot open the store");
 * assertEquals(error.message, "Cannot open the store: no luck");
 * ```
 */
export function storeError(error: unknown, what: string): StoreError {
  const kind = kindOf(error);
  return new StoreError(kind, `${what}: ${reasonFor(error, kind)}`, {
    cause: error,
  });
}

/** What a person reads, also where SQLite and the system word it for programmers. */
function reasonFor(error: unknown, kind: StoreErrorKind): string {
  const said = error instanceof Error ? error.message : String(error);
  const ours = error instanceof StoreError ? undefined : WHY[kind];
  return ours ?? oneLine(said);
}

const WHY: Partial<Record<StoreErrorKind, string>> = {
  full: "the disk is full",
  locked: "another broker, or another program, has it open",
  readOnly: "it cannot be written",
};

/** A text of others as part of a line of ours. */
export function oneLine(text: string): string {
  return printable(text.trim().replace(/\s*\n\s*/g, ", "));
}

/** A file is damaged, and by what one sees it. */
export function damaged(reason: string): StoreError {
  return new StoreError("damaged", reason);
}

/** A file is another program's. */
export function foreign(): StoreError {
  return new StoreError(
    "foreign",
    "it is no store of this broker, and stays as it is",
  );
}
