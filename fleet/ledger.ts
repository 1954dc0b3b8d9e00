/**
 * The ledger of a fleet: what was published and has to arrive, and what has.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import { MIN_PAYLOAD } from "./options.ts";
import { Histogram } from "./histogram.ts";
import type { DeliveryQos } from "../wire/message.ts";

/** Messages whose columns are made at a time. */
const CHUNK = 65_536;

/** Which way messages go: from clients to listeners, or to clients. */
export const MESSAGE_KINDS = ["readings", "commands"] as const;

/** Which way a message goes. */
export type MessageKind = (typeof MESSAGE_KINDS)[number];

/** What became of the messages of one flow at one QoS. */
export class Account {
  /** Messages published. */
  published = 0;
  /** Deliveries that their subscribers were promised, or could hope for. */
  expected = 0;
  /** Those that came. */
  arrived = 0;
  /** Deliveries of what had come before. */
  duplicates = 0;
  /** How long those that came took from the publisher to the receiver. */
  readonly latency: Histogram = new Histogram();
}

/** Columns of so many messages. */
interface LedgerChunk {
  readonly at: Float64Array;
  readonly owner: Uint32Array;
  /** QoS, and whether it is a command. */
  readonly kind: Uint8Array;
  /** Who has it: a bit for each receiver. */
  readonly got: Uint8Array;
}

/** A message as its receiver finds it in the ledger. */
export interface LedgerEntry {
  /** Its number. */
  readonly number: number;
  /** The client that published it, or that it is for. */
  readonly client: number;
  /** Which way it goes. */
  readonly flow: MessageKind;
}

/** The ledger. */
export class Ledger {
  /** What became of the messages, by flow and QoS. */
  readonly accounts: Readonly<
    Record<MessageKind, readonly [Account, Account, Account]>
  > = {
    readings: [new Account(), new Account(), new Account()],
    commands: [new Account(), new Account(), new Account()],
  };
  /** Messages whose payload is not what was published. */
  spoiled = 0;
  readonly #chunks: LedgerChunk[] = [];
  #count = 0;

  /** Messages published. */
  get published(): number {
    return this.#count;
  }

  /** Deliveries that are expected. */
  get expected(): number {
    return this.#sum("expected");
  }

  /** Deliveries that came. */
  get arrived(): number {
    return this.#sum("arrived");
  }

  #sum(column: "expected" | "arrived"): number {
    return MESSAGE_KINDS.flatMap((flow) => this.accounts[flow])
      .reduce((sum, account) => sum + account[column], 0);
  }

  /**
   * Enters a message.
   *
   * @param client the client that publishes it, or that it is for
   * @param receivers how many are to get it, 1 to 8
   * @returns its number
   */
  publish(
    now: Millis,
    flow: MessageKind,
    client: number,
    qos: DeliveryQos,
    receivers: number,
  ): number {
    const number = this.#count++;
    const row = number % CHUNK;
    if (row === 0) this.#chunks.push(newChunk());
    const chunk = this.#chunks.at(-1)!;
    chunk.at[row] = now;
    chunk.owner[row] = client;
    chunk.kind[row] = flow === "commands" ? COMMAND | qos : qos;
    const account = this.accounts[flow][qos];
    account.published++;
    account.expected += receivers;
    return number;
  }

  /** The message that a payload is, `undefined` when it is none of ours. */
  find(payload: Uint8Array): LedgerEntry | undefined {
    const number = numberIn(payload);
    if (number === undefined || number >= this.#count) {
      this.spoiled++;
      return undefined;
    }
    const { owner, kind } = this.#chunkOf(number);
    const row = number % CHUNK;
    return {
      number,
      client: owner[row]!,
      flow: (kind[row]! & COMMAND) === 0 ? "readings" : "commands",
    };
  }

  /**
   * Enters that a receiver has a message.
   *
   * @param receiver which of its receivers, counted from 0
   * @returns how long it took, in milliseconds; `undefined` if it had it before
   */
  arrive(now: Millis, number: number, receiver: number): Millis | undefined {
    const { at, kind, got } = this.#chunkOf(number);
    const row = number % CHUNK;
    const flow = (kind[row]! & COMMAND) === 0 ? "readings" : "commands";
    const account = this.accounts[flow][(kind[row]! & QOS) as DeliveryQos];
    const bit = 1 << receiver;
    if ((got[row]! & bit) !== 0) {
      account.duplicates++;
      return undefined;
    }
    got[row]! |= bit;
    account.arrived++;
    const ms = now - at[row]!;
    account.latency.add(ms);
    return ms;
  }

  #chunkOf(number: number): LedgerChunk {
    return this.#chunks[Math.floor(number / CHUNK)]!;
  }
}

const COMMAND = 0x80;
const QOS = 0x03;

function newChunk(): LedgerChunk {
  return {
    at: new Float64Array(CHUNK),
    owner: new Uint32Array(CHUNK),
    kind: new Uint8Array(CHUNK),
    got: new Uint8Array(CHUNK),
  };
}

/** Writes a message's number into a payload, and a check: the rest is its own. */
export function numberPayload(payload: Uint8Array, number: number): void {
  payload[0] = number >>> 24;
  payload[1] = number >>> 16;
  payload[2] = number >>> 8;
  payload[3] = number;
  const check = checkOf(number, payload.length);
  payload[4] = check >>> 8;
  payload[5] = check;
  for (let at = MIN_PAYLOAD; at < payload.length; at++) {
    payload[at] = check + at;
  }
}

/** The number in a payload, `undefined` when an octet of it is another. */
export function numberIn(payload: Uint8Array): number | undefined {
  if (payload.length < MIN_PAYLOAD) return undefined;
  const number = (payload[0]! << 24 | payload[1]! << 16 | payload[2]! << 8 |
    payload[3]!) >>> 0;
  const check = checkOf(number, payload.length);
  if (payload[4] !== check >>> 8 || payload[5] !== (check & 0xff)) {
    return undefined;
  }
  for (let at = MIN_PAYLOAD; at < payload.length; at++) {
    if (payload[at] !== (check + at & 0xff)) return undefined;
  }
  return number;
}

/** 16 bits that another number, or another length, hardly has. */
function checkOf(number: number, length: number): number {
  const mixed = Math.imul(number ^ Math.imul(length, 0x9e3779b1), 0x85ebca6b);
  return (mixed ^ (mixed >>> 15)) >>> 16;
}
