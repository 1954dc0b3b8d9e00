/**
 * A recording as text: JSON, a line for each datagram and note, behind a line about
 * the broker.
 *
 * The first line says which broker it was and when it began, the others what came
 * and went:
 *
 * ```json
 * {"mockMqttRecording":1,"broker":"127.0.0.1:12003","startedAt":"2026-05-04T06:55:15.120Z","predefined":{}}
 * {"ms":12.345,"time":"2026-05-04T06:55:15.132345Z","way":"received","peer":"127.0.0.1:4711","octets":"0216","type":"PINGREQ","text":"clientId=\"\""}
 * {"ms":20.1,"time":"2026-05-04T06:55:15.140100Z","way":"note","text":"the network is down"}
 * {"lost":17}
 * ```
 *
 * `ms` counts from the beginning, on a clock that never goes back. `type`, `client`,
 * `topic` and `text` are for people and their tools; a reader of a recording needs
 * nothing but `ms`, `way`, `peer` and `octets`. `lost` says how many datagrams are
 * missing at its place.
 *
 * @module
 */

import { Conversation } from "../wire/conversation.ts";
import { type Peer, peerOf } from "../base/peer.ts";
import { type Slice, type Way, WAYS } from "./buffer.ts";
import { parsePredefined } from "../wire/topics.ts";
import { decodeUtf8Loosely } from "../base/utf8.ts";

/** What a recording says of itself. */
export interface RecordingHeader {
  /** The broker. */
  readonly broker: Peer;
  /** When it began, in milliseconds since 1970. */
  readonly startedAt: number;
  /** The pre-defined topics, by their ids. */
  readonly predefined: ReadonlyMap<number, string>;
}

/** A datagram of a recording. */
export interface RecordedDatagram {
  /** The line that it stands in, from 1. */
  readonly line: number;
  /** When it was, in milliseconds from the beginning. */
  readonly ms: number;
  /** Which way it went, seen from the broker. */
  readonly way: "received" | "sent";
  /** The client's address, or a multicast group's. */
  readonly peer: Peer;
  /** The whole datagram. */
  readonly bytes: Uint8Array;
}

/** What was read of a recording. */
export interface Recording extends RecordingHeader {
  /** What came and went, in order. */
  readonly datagrams: readonly RecordedDatagram[];
  /** Datagrams that it says are missing. */
  readonly lost: number;
}

/** A line of a recording makes no sense. */
export class RecordingError extends Error {
  /** `"RecordingError"`. */
  override readonly name = "RecordingError";
  /** Which line, from 1. */
  readonly line: number;

  /**
   * Says which line, and what is wrong with it.
   *
   * @param line which line, from 1
   * @param why what is wrong
   */
  constructor(line: number, why: string) {
    super(`Cannot read line ${line} of the recording: ${why}`);
    this.line = line;
  }
}

/** The first line of a recording, with its end. */
export function headerLine(header: RecordingHeader): string {
  const { broker, startedAt, predefined } = header;
  return JSON.stringify({
    mockMqttRecording: 1,
    broker: broker.key,
    startedAt: new Date(startedAt).toISOString(),
    predefined: Object.fromEntries(predefined),
  }) + "\n";
}

/**
 * Writes the lines of what came and went, and has to be given all of it.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { peerOf } from "../base/peer.ts";
 * import { headerLine, parseRecording, RecordingLines } from "./recording.ts";
 * import { DatagramBuffer } from "./buffer.ts";
 *
 * const header = {
 *   broker: peerOf("127.0.0.1", 12003),
 *   startedAt: 0,
 *   predefined: new Map(),
 * };
 * const buffer = new DatagramBuffer();
 * buffer.add(500, "received", peerOf("127.0.0.1", 4711), Uint8Array.of(2, 0x16));
 * const lines = new RecordingLines(header, 100);
 * const text = headerLine(header) + lines.write(buffer.slice(0, 10, 1_000));
 * const { datagrams } = parseRecording(text);
 * assertEquals(datagrams[0]?.ms, 400);
 * assertEquals(datagrams[0]?.bytes, Uint8Array.of(2, 0x16));
 * ```
 */
export class RecordingLines {
  readonly #conversation: Conversation;
  readonly #startedAt: number;
  readonly #zero: number;
  /** The second that was written last, and how: most lines are in the same. */
  #second = NaN;
  #written = "";

  /**
   * Begins.
   *
   * @param header the recording's
   * @param zero the moment on the slices' clock at which it began
   */
  constructor(header: RecordingHeader, zero: number) {
    this.#conversation = new Conversation({
      predefined: header.predefined,
      ignoreTail: true,
    });
    this.#startedAt = header.startedAt;
    this.#zero = zero;
  }

  /** The line that says how many are missing, with its end. */
  lost(count: number): string {
    return `{"lost":${count}}\n`;
  }

  /** The lines of a slice, each with its end. */
  write(slice: Slice): string {
    let text = "";
    let at = 0;
    // A node's address is its forwarder's.
    const addresses = slice.peers.map(({ hostname, port }) =>
      JSON.stringify(peerOf(hostname, port).key)
    );
    for (let i = 0; i < slice.times.length; i++) {
      const bytes = slice.octets.subarray(at, at += slice.lengths[i]!);
      text += this.#line(
        slice.times[i]! - this.#zero,
        WAYS[slice.ways[i]!]!,
        slice.peers[slice.owners[i]! - 1],
        addresses[slice.owners[i]! - 1],
        bytes,
      );
    }
    return text;
  }

  #line(
    at: number,
    way: Way,
    peer: Peer | undefined,
    address: string | undefined,
    bytes: Uint8Array,
  ): string {
    const ms = Math.round(at * 1_000) / 1_000;
    let line = `{"ms":${ms},"time":"${this.#timeOf(at)}","way":"${way}"`;
    if (address !== undefined) line += `,"peer":${address}`;
    if (way === "note" || peer === undefined) {
      return `${line},"text":${JSON.stringify(decodeUtf8Loosely(bytes))}}\n`;
    }
    line += `,"octets":"${bytes.toHex()}"`;
    const { type, clientId, topicName, text } = this.#conversation
      .read(way === "received" ? "client" : "broker", peer, bytes);
    line += `,"type":"${type}"`;
    if (clientId !== undefined) line += `,"client":${JSON.stringify(clientId)}`;
    if (topicName !== undefined) {
      line += `,"topic":${JSON.stringify(topicName)}`;
    }
    return `${line},"text":${JSON.stringify(text)}}\n`;
  }

  /** A time of day to the microsecond. */
  #timeOf(at: number): string {
    const micros = Math.round((this.#startedAt + at) * 1_000);
    const second = Math.floor(micros / 1e6);
    if (second !== this.#second) {
      this.#second = second;
      this.#written = new Date(second * 1_000).toISOString().slice(0, 19);
    }
    return `${this.#written}.${String(micros % 1e6).padStart(6, "0")}Z`;
  }
}

/**
 * Reads a recording.
 *
 * @param text the whole file; its last line may be cut off, as when the disk was full
 * @throws {RecordingError} when a line makes no sense
 */
export function parseRecording(text: string): Recording {
  const lines = text.split("\n");
  const isCut = lines.pop() !== "";
  const header = headerOf(lines[0]);
  const datagrams: RecordedDatagram[] = [];
  let lost = isCut ? 1 : 0;
  let last = 0;
  const peers = new Map<string, Peer>();
  for (let i = 1; i < lines.length; i++) {
    const line = i + 1;
    const entry = objectOf(lines[i]!, line);
    if ("lost" in entry) {
      lost += positive(entry["lost"], "lost", line);
      continue;
    }
    const ms = entry["ms"];
    if (typeof ms !== "number" || !(ms >= 0)) {
      throw new RecordingError(line, `"ms" is ${shown(ms)}, not a time`);
    }
    if (ms < last) {
      throw new RecordingError(line, `"ms" goes back from ${last} to ${ms}`);
    }
    last = ms;
    const way = entry["way"];
    if (way === "note") continue;
    if (way !== "received" && way !== "sent") {
      throw new RecordingError(
        line,
        `"way" is ${shown(way)}, not received, sent or note`,
      );
    }
    const peer = peerFrom(entry["peer"], line, peers);
    const bytes = octetsFrom(entry["octets"], line);
    datagrams.push({ line, ms, way, peer, bytes });
  }
  return { ...header, datagrams, lost };
}

function headerOf(line: string | undefined): RecordingHeader {
  const header = objectOf(line ?? "", 1);
  if (header["mockMqttRecording"] !== 1) {
    throw new RecordingError(
      1,
      `it is not the first of a recording: {"mockMqttRecording":1,…}`,
    );
  }
  const startedAt = Date.parse(String(header["startedAt"]));
  if (Number.isNaN(startedAt)) {
    throw new RecordingError(
      1,
      `"startedAt" is ${shown(header["startedAt"])}, not a time`,
    );
  }
  try {
    return {
      broker: peerFrom(header["broker"], 1, new Map()),
      startedAt,
      predefined: parsePredefined(header["predefined"]),
    };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new RecordingError(1, error.message);
  }
}

function objectOf(text: string, line: number): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new RecordingError(line, "it is not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new RecordingError(line, "it is not an object in JSON");
  }
  return value as Record<string, unknown>;
}

function peerFrom(
  key: unknown,
  line: number,
  known: Map<string, Peer>,
): Peer {
  const seen = known.get(String(key));
  if (seen !== undefined) return seen;
  const [, v6, v4, port] = /^(?:\[([\da-f:.%\w]+)\]|([\d.]+)):(\d{1,5})$/i
    .exec(String(key)) ?? [];
  const hostname = v6 ?? v4;
  if (hostname === undefined || Number(port) > 65_535) {
    throw new RecordingError(
      line,
      `${shown(key)} is no address such as "127.0.0.1:4711"`,
    );
  }
  const peer = peerOf(hostname, Number(port));
  known.set(String(key), peer);
  return peer;
}

function octetsFrom(hex: unknown, line: number): Uint8Array {
  if (typeof hex === "string") {
    try {
      return Uint8Array.fromHex(hex);
    } catch {
      // It is said below.
    }
  }
  throw new RecordingError(line, `"octets" is ${shown(hex)}, not hexadecimal`);
}

function positive(value: unknown, name: string, line: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value > 0) {
    return value;
  }
  throw new RecordingError(line, `"${name}" is ${shown(value)}, not a number`);
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "missing";
  return text.length <= 40 ? text : `${text.slice(0, 40)}…`;
}
