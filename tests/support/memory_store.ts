/**
 * A store that is a table in memory: what `store/store.ts` does with SQL, in as few
 * words as can be. What was committed outlives a router; all else is lost.
 *
 * @module
 */

import type { StoreChange, StoreRecord } from "../../broker/records.ts";

/** Order in which a store gives its records back. */
const ORDER: readonly StoreRecord["type"][] = [
  "session",
  "subscription",
  "begun",
  "topicId",
  "received",
  "retained",
  "queued",
  "datum",
];

/** What was committed, by key. */
export class MemoryStore {
  readonly #rows = new Map<string, StoreRecord>();
  /** How often a router has started on it. */
  starts = 1;

  /** Applies changes, all of them. */
  commit(changes: readonly StoreChange[]): void {
    for (const change of changes) this.#apply(structuredClone(change));
  }

  /** What is kept, in the order in which a store gives it. */
  load(): StoreRecord[] {
    const rows = [...this.#rows.values()];
    rows.sort((one, other) =>
      ORDER.indexOf(one.type) - ORDER.indexOf(other.type) || compare(one, other)
    );
    return rows.map((row) => structuredClone(row));
  }

  #apply(change: StoreChange): void {
    const rows = this.#rows;
    switch (change.type) {
      case "session":
        rows.set(`session ${change.session}`, change);
        break;
      case "subscription":
        rows.set(`sub ${change.session} ${change.topicFilter}`, change);
        break;
      case "begun": {
        const { session, topicFilter, topicName } = change;
        rows.set(`begun ${session} ${topicFilter}\0${topicName}`, change);
        break;
      }
      case "topicId":
        rows.set(`id ${change.session} ${change.topicName}`, change);
        break;
      case "queued":
        rows.set(`queued ${change.session} ${change.seq}`, change);
        break;
      case "received":
        rows.set(`received ${change.session} ${change.msgId}`, change);
        break;
      case "retained":
        rows.set(`retained ${change.topicName}`, change);
        break;
      case "datum":
        rows.set(`datum ${change.seq}`, change);
        break;
      case "inFlight": {
        const { session, seq, msgId, isReleased } = change;
        const key = `queued ${session} ${seq}`;
        const row = rows.get(key);
        if (row?.type === "queued") {
          rows.set(key, { ...row, msgId, isReleased });
        }
        break;
      }
      case "sessionEnd":
        for (const [key, row] of rows) {
          if ("session" in row && row.session === change.session) {
            rows.delete(key);
          }
        }
        break;
      case "subscriptionEnd":
        rows.delete(`sub ${change.session} ${change.topicFilter}`);
        break;
      case "begunEnd":
        for (const [key, row] of rows) {
          const isMeant = row.type === "begun" &&
            row.session === change.session &&
            row.topicFilter === change.topicFilter;
          if (isMeant) rows.delete(key);
        }
        break;
      case "topicIdEnd":
        rows.delete(`id ${change.session} ${change.topicName}`);
        break;
      case "queuedEnd":
        rows.delete(`queued ${change.session} ${change.seq}`);
        break;
      case "receivedEnd":
        rows.delete(`received ${change.session} ${change.msgId}`);
        break;
      case "retainedEnd":
        rows.delete(`retained ${change.topicName}`);
        break;
      case "datumEnd":
        rows.delete(`datum ${change.seq}`);
        break;
      default:
        change satisfies never;
    }
  }
}

/** Which of two records of a type comes first. */
function compare(one: StoreRecord, other: StoreRecord): number {
  if (one.type === "session" && other.type === "session") {
    return one.leftAt - other.leftAt;
  }
  if (one.type === "queued" && other.type === "queued") {
    return one.session - other.session || one.seq - other.seq;
  }
  if (one.type === "datum" && other.type === "datum") {
    return one.seq - other.seq;
  }
  return 0;
}
