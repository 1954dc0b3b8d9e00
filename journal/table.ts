/**
 * A journal as a person reads it: a table with a row for each datagram, cut to what a
 * question is about.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import type { JournalEntry, Query } from "./query.ts";
import { printable } from "../base/log.ts";

/** Rows that are shown unless told otherwise. */
const MAX_ROWS = 40;

/** Characters of a datagram's fields that are shown. */
const MAX_FIELDS = 120;

/** The types that say how it stands with a client. */
const OF_CONNECTIONS: ReadonlySet<string> = new Set([
  "CONNECT",
  "CONNACK",
  "DISCONNECT",
  "note",
]);

/** How a table looks. */
export interface TableOptions {
  /** The numbers of the entries to mark. */
  readonly marked?: ReadonlySet<number>;
  /** The most rows; of more the last are shown. Default 40. */
  readonly maxRows?: number;
  /** The moment from which seconds count, on the journal's clock. Default 0. */
  readonly zero?: Millis;
  /** Entries that are older than those given, and gone. Default 0. */
  readonly forgotten?: number;
}

/**
 * The table of a conversation: seconds from its beginning, `>` for what came and
 * `<` for what was sent, the client's id or the address, the message, its fields.
 *
 * @param entries in their order
 */
export function tableOf(
  entries: readonly JournalEntry[],
  options: TableOptions = {},
): string {
  const { marked = new Set(), maxRows = MAX_ROWS } = options;
  const { zero = 0, forgotten = 0 } = options;
  const left = entries.length - maxRows;
  const rows = entries.slice(-maxRows).map((entry) => [
    marked.has(entry.number) ? "*" : "",
    ((entry.at - zero) / 1_000).toFixed(3),
    entry.way === "received" ? ">" : entry.way === "sent" ? "<" : "",
    printable(entry.clientId ?? entry.peer?.key ?? ""),
    entry.type,
    cut(printable(entry.text)) + (entry.isDuplicate ? "  [again]" : ""),
  ]);
  const head = ["", "seconds", "", "client", "message", "fields"];
  const widths = head.map((title, i) =>
    Math.max(title.length, ...rows.map((row) => row[i]!.length))
  );
  const lines = [head, ...rows].map((row) =>
    row.map((cell, i) =>
      i === 1 ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)
    ).join("  ").trimEnd()
  );
  if (rows.length === 0) lines.splice(0, 1, "  (nothing)");
  if (left > 0) lines.splice(1, 0, `   … ${left} before these`);
  if (forgotten > 0) lines.push(`   ${forgotten} older ones are not kept`);
  return lines.join("\n");
}

/** The entries that help to see why a question was answered as it was. */
export function relevantTo(
  query: Query,
  entries: readonly JournalEntry[],
): readonly JournalEntry[] {
  const chosen = entries.filter((entry) =>
    query.matches(entry) || entry.type === "note" ||
    (query.who !== undefined
      ? query.concerns(entry)
      : query.filter === undefined || query.isAbout(entry) ||
        entry.type.endsWith("ublish") || entry.type === "PUBLISH" ||
        OF_CONNECTIONS.has(entry.type))
  );
  // There is no such client: the table shows which there are.
  return chosen.some(({ type }) => type !== "note") ? chosen : entries;
}

function cut(text: string): string {
  return text.length <= MAX_FIELDS ? text : `${text.slice(0, MAX_FIELDS)}…`;
}
