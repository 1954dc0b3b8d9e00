/**
 * What the tests of the store share: a directory for its files, a record of each
 * kind, and changes by seed with a model of what they lead to.
 *
 * @module
 */

import { join } from "node:path";
import type { Random } from "../../base/clock.ts";
import type { StoreChange, StoreRecord } from "../../broker/records.ts";

/** A directory that is gone with its files when it is disposed of. */
export class Directory implements Disposable {
  /** Where it is. */
  readonly path: string = Deno.makeTempDirSync();

  /** A file in it. */
  file(name = "mqtt.store"): string {
    return join(this.path, name);
  }

  /** The names of the files in it, in order. */
  get names(): string[] {
    return [...Deno.readDirSync(this.path)].map(({ name }) => name).sort();
  }

  /** Removes it. */
  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** A text with all that may go wrong: long, astral, right to left, U+0000. */
export const ODD_TEXT = "\0a\0 \u{1f680}é\u202e\uffff\ufeff'\"\n";

/** As few octets as there may be, and as many. */
export const PAYLOADS: readonly Uint8Array[] = [0, 65_507].map((length) =>
  Uint8Array.from({ length }, (_, i) => i)
);

/** Records of each type, with and without what may be missing, as loaded. */
export const RECORDS: readonly StoreRecord[] = [
  {
    type: "session",
    session: 7,
    clientId: "lamp",
    isClean: true,
    state: "active",
    peer: { hostname: "192.0.2.1", port: 65_535, wirelessNodeId: undefined },
    allowedMs: 0,
    duration: 0,
    announcedWill: false,
    leftAt: 0,
    will: undefined,
  },
  {
    type: "session",
    session: 2 ** 40,
    clientId: ODD_TEXT,
    isClean: false,
    state: "asleep",
    peer: {
      hostname: "2001:db8::1",
      port: 1,
      wirelessNodeId: Uint8Array.of(1, 0, 2),
    },
    allowedMs: 1_500.25,
    duration: 65_535,
    announcedWill: true,
    leftAt: 1,
    will: { topicName: "will", qos: 2, retain: true, payload: PAYLOADS[0]! },
  },
  {
    type: "session",
    session: 3,
    clientId: "",
    isClean: false,
    state: "lost",
    peer: undefined,
    allowedMs: 1,
    duration: 1,
    announcedWill: true,
    leftAt: 5,
    will: {
      topicName: undefined,
      qos: 0,
      retain: false,
      payload: PAYLOADS[1]!,
    },
  },
  {
    type: "session",
    session: 4,
    clientId: "door",
    isClean: false,
    state: "disconnected",
    peer: undefined,
    allowedMs: 1,
    duration: 1,
    announcedWill: false,
    leftAt: 5,
    will: undefined,
  },
  {
    type: "subscription",
    session: 3,
    topicFilter: ODD_TEXT + "/+",
    qos: 2,
    isPending: false,
  },
  {
    type: "subscription",
    session: 3,
    topicFilter: "#",
    qos: 0,
    isPending: true,
  },
  { type: "begun", session: 3, topicFilter: ODD_TEXT, topicName: "" },
  { type: "begun", session: 3, topicFilter: "#", topicName: ODD_TEXT },
  { type: "begun", session: 3, topicFilter: "#", topicName: "a" },
  { type: "begun", session: 4, topicFilter: "", topicName: "a" },
  {
    type: "topicId",
    session: 3,
    topicName: "a",
    topicId: 0,
    aliasType: "predefined",
    aliasId: 65_535,
    isRegistered: false,
    isSubscribed: true,
  },
  {
    type: "topicId",
    session: 3,
    topicName: "b",
    topicId: 65_534,
    aliasType: undefined,
    aliasId: 0,
    isRegistered: true,
    isSubscribed: false,
  },
  {
    type: "topicId",
    session: 4,
    topicName: "ab",
    topicId: 1,
    aliasType: "short",
    aliasId: 0x6162,
    isRegistered: false,
    isSubscribed: false,
  },
  { type: "received", session: 3, msgId: 1, digest: -(2 ** 31), until: 9 },
  {
    type: "received",
    session: 3,
    msgId: 65_535,
    digest: 2 ** 32 - 1,
    until: undefined,
  },
  { type: "retained", topicName: ODD_TEXT, payload: PAYLOADS[0]!, qos: 2 },
  { type: "retained", topicName: "a", payload: PAYLOADS[1]!, qos: 0 },
  {
    type: "queued",
    session: 3,
    seq: 1,
    topicName: ODD_TEXT,
    payload: PAYLOADS[0]!,
    qos: 2,
    retain: true,
    at: 3,
    msgId: 65_535,
    isReleased: true,
  },
  {
    type: "queued",
    session: 3,
    seq: 2 ** 31 + 1,
    topicName: "a",
    payload: PAYLOADS[1]!,
    qos: 0,
    retain: false,
    at: 4,
    msgId: 0,
    isReleased: false,
  },
  {
    type: "queued",
    session: 4,
    seq: 0,
    topicName: "a",
    payload: Uint8Array.of(1),
    qos: 1,
    retain: false,
    at: -4,
    msgId: 1,
    isReleased: false,
  },
  { type: "datum", seq: 1, topicName: ODD_TEXT, text: ODD_TEXT },
  { type: "datum", seq: 2 ** 33, topicName: "a", text: "" },
];

/** A record of one octet or so. */
export function datum(seq: number, topicName = "a"): StoreRecord {
  return { type: "datum", seq, topicName, text: String(seq) };
}

/** A message that waits. */
export function queued(
  session: number,
  seq: number,
  payload: Uint8Array = Uint8Array.of(seq),
): StoreRecord {
  return {
    type: "queued",
    session,
    seq,
    topicName: "a",
    payload,
    qos: 1,
    retain: false,
    at: 0,
    msgId: 0,
    isReleased: false,
  };
}

const ORDER = [
  ...["session", "subscription", "begun", "topicId", "received", "retained"],
  ...["queued", "datum"],
];

/** What a store should hold: plain maps, and no thought of speed. */
export class Model {
  readonly #records = new Map<string, StoreRecord>();

  /** Applies a change. */
  apply(change: StoreChange): void {
    const records = this.#records;
    const forget = (isMeant: (record: StoreRecord) => boolean) => {
      for (const [key, record] of records) {
        if (isMeant(record)) records.delete(key);
      }
    };
    switch (change.type) {
      case "inFlight": {
        const key = keyOf({ ...change, type: "queued" });
        const { msgId, isReleased } = change;
        const record = records.get(key);
        if (record?.type !== "queued") break;
        records.set(key, { ...record, msgId, isReleased });
        break;
      }
      case "sessionEnd":
        forget((record) =>
          "session" in record && record.session === change.session
        );
        break;
      case "datumEnd":
        forget((record) =>
          record.type === "datum" && record.seq === change.seq
        );
        break;
      case "subscriptionEnd":
        records.delete(keyOf({ ...change, type: "subscription" }));
        break;
      case "begunEnd":
        forget((record) =>
          record.type === "begun" && record.session === change.session &&
          record.topicFilter === change.topicFilter
        );
        break;
      case "topicIdEnd":
        records.delete(keyOf({ ...change, type: "topicId" }));
        break;
      case "queuedEnd":
        records.delete(keyOf({ ...change, type: "queued" }));
        break;
      case "receivedEnd":
        records.delete(keyOf({ ...change, type: "received" }));
        break;
      case "retainedEnd":
        records.delete(keyOf({ ...change, type: "retained" }));
        break;
      default:
        records.set(keyOf(change), change);
    }
  }

  /** What a store would give, in its order. */
  load(): StoreRecord[] {
    return [...this.#records.values()].sort((one, other) =>
      ORDER.indexOf(one.type) - ORDER.indexOf(other.type) ||
      compared(placeOf(one), placeOf(other))
    );
  }
}

/** What a record is found by, as far as it has it. */
interface Key {
  readonly type: StoreRecord["type"];
  readonly session?: number;
  readonly seq?: number;
  readonly msgId?: number;
  readonly topicName?: string;
  readonly topicFilter?: string;
}

function keyOf(record: Key): string {
  const { type, session } = record;
  switch (type) {
    case "session":
      return JSON.stringify([type, session]);
    case "subscription":
      return JSON.stringify([type, session, record.topicFilter]);
    case "begun":
      return JSON.stringify([
        ...[type, session, record.topicFilter, record.topicName],
      ]);
    case "topicId":
      return JSON.stringify([type, session, record.topicName]);
    case "received":
      return JSON.stringify([type, session, record.msgId]);
    case "queued":
      return JSON.stringify([type, session, record.seq]);
    case "retained":
      return JSON.stringify([type, record.topicName]);
    case "datum":
      return JSON.stringify([type, record.seq]);
  }
}

function placeOf(record: StoreRecord): (number | string)[] {
  switch (record.type) {
    case "session":
      return [record.leftAt, record.session];
    case "subscription":
      return [record.session, record.topicFilter];
    case "begun":
      return [record.session, record.topicFilter, record.topicName];
    case "topicId":
      return [record.session, record.topicName];
    case "received":
      return [record.session, record.msgId];
    case "retained":
      return [record.topicName];
    case "queued":
      return [record.session, record.seq];
    case "datum":
      return [record.seq];
  }
}

function compared(
  one: readonly (number | string)[],
  other: readonly (number | string)[],
): number {
  const at = one.findIndex((value, i) => value !== other[i]);
  if (at < 0) return 0;
  return one[at]! < other[at]! ? -1 : 1;
}

/** A change that is as good as any, of few sessions and topics, so that they meet. */
export function randomChange(random: Random): StoreChange {
  const below = (limit: number) => Math.floor(random() * limit);
  const one = <T>(values: readonly T[]): T => values[below(values.length)]!;
  const session = 1 + below(4);
  const topicName = one(["a", "b", "b/c", "é"]);
  const msgId = below(5);
  const seq = 1 + below(30);
  const qos = one([0, 1, 2] as const);
  const payload = Uint8Array.from({ length: below(9) }, () => below(256));
  const yes = () => random() < 0.5;
  return one<() => StoreChange>([
    () => ({
      type: "session",
      session,
      clientId: `client ${session}`,
      isClean: yes(),
      state: one(["disconnected", "active", "asleep", "lost"] as const),
      peer: yes() ? undefined : {
        hostname: "192.0.2.1",
        port: below(65_536),
        wirelessNodeId: yes() ? undefined : payload,
      },
      allowedMs: below(9),
      duration: below(9),
      announcedWill: yes(),
      leftAt: below(9),
      will: yes() ? undefined : {
        topicName: yes() ? undefined : topicName,
        qos,
        retain: yes(),
        payload,
      },
    }),
    () => ({
      type: "subscription",
      session,
      topicFilter: topicName,
      qos,
      isPending: yes(),
    }),
    () => ({
      type: "begun",
      session,
      topicFilter: one(["#", "+"]),
      topicName,
    }),
    () => ({ type: "begunEnd", session, topicFilter: one(["#", "+"]) }),
    () => ({
      type: "topicId",
      session,
      topicName,
      topicId: below(9),
      aliasType: one([undefined, "predefined", "short"] as const),
      aliasId: below(9),
      isRegistered: yes(),
      isSubscribed: yes(),
    }),
    () => ({
      type: "queued",
      session,
      seq,
      topicName,
      payload,
      qos,
      retain: yes(),
      at: below(9),
      msgId,
      isReleased: yes(),
    }),
    () => ({
      type: "inFlight",
      session,
      seq,
      msgId: 1 + msgId,
      isReleased: yes(),
    }),
    () => ({
      type: "received",
      session,
      msgId,
      digest: below(2 ** 32),
      until: yes() ? undefined : below(9),
    }),
    () => ({ type: "retained", topicName, payload, qos }),
    () => ({ type: "datum", seq, topicName, text: "x".repeat(below(9)) }),
    () => ({ type: "sessionEnd", session }),
    () => ({ type: "subscriptionEnd", session, topicFilter: topicName }),
    () => ({ type: "topicIdEnd", session, topicName }),
    () => ({ type: "queuedEnd", session, seq }),
    () => ({ type: "receivedEnd", session, msgId }),
    () => ({ type: "retainedEnd", topicName }),
    () => ({ type: "datumEnd", seq }),
  ])();
}
