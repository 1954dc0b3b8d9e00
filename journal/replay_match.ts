/**
 * A recorded conversation beside the one that a replay of it leads: what a client's
 * datagram has to say to another broker, and which answers are the same.
 *
 * Theory of operation. Two brokers that do the same need not send the same octets: a
 * broker chooses topic ids, and the msgIds of its own messages. So neither is compared,
 * and both are translated. A client's PUBLISH under an id goes out under the one that
 * this broker has given to the same name; its PUBACK, PUBREC, PUBCOMP or REGACK is for
 * the message that is the counterpart of the one that it was for. Two messages are
 * counterparts if they say the same and are the first, second, third that do so.
 *
 * All else is compared as it is: types, return codes, msgIds that the client has
 * chosen, QoS, flags, names, payloads, and whether there is a topic id at all. Left out
 * is what the broker tells of itself (`$SYS`), as that is another each time.
 *
 * @module
 */

import {
  Conversation,
  type ConversationOptions,
} from "../wire/conversation.ts";
import type { Peer } from "../base/peer.ts";
import type { Publish, Register } from "../wire/packets.ts";
import type { Reading } from "../wire/reading.ts";
import { isReserved } from "../wire/topics.ts";
import { decodeUtf8 } from "../base/utf8.ts";

/** An answer, as it is compared. */
export interface Answer {
  /** What it says, without what a broker chooses. */
  readonly text: string;
  /** The line of the recording, `undefined` for one that came now. */
  readonly line: number | undefined;
}

/** A client, or a node behind a forwarder, and the answers to it. */
export interface Answers {
  /** Who it is, as far as it was said: the client id, or else the address. */
  readonly name: string;
  /** Its address in the recording. */
  readonly peer: Peer;
  /** The answers that were recorded. */
  readonly recorded: readonly Answer[];
  /** The answers that came now. */
  readonly live: readonly Answer[];
}

/** A message of a broker's own that its client has to answer. */
interface Opening {
  /** What it says, and which of those that say so it is. */
  readonly text: string;
  readonly place: number;
  readonly packet: Publish | Register;
}

/** One of the two conversations. */
class ReplayedSide {
  readonly conversation: Conversation;
  /** What was opened and not closed, by client and msgId. */
  readonly open = new Map<string, Opening>();
  /** The msgIds of what says the same, in order, by client and text. */
  readonly #msgIds = new Map<string, number[]>();

  constructor(options: ConversationOptions) {
    this.conversation = new Conversation(options);
  }

  /** Reads an answer: what of it is compared, `undefined` for nothing. */
  read(peer: Peer, bytes: Uint8Array): { text?: string; reading: Reading } {
    const reading = this.conversation.read("broker", peer, bytes);
    const { topicName, packet } = reading;
    if (packet?.type === "PUBLISH" || packet?.type === "REGISTER") {
      this.#open(reading.peer, packet, topicName);
      if (topicName !== undefined && isReserved(topicName)) return { reading };
    }
    return { text: this.#textOf(reading), reading };
  }

  /** The msgId of the message that says so, the first, second, third that does. */
  msgIdOf(peer: Peer, { text, place }: Opening): number | undefined {
    return this.#msgIds.get(`${peer.key} ${text}`)?.[place];
  }

  #open(
    peer: Peer,
    packet: Publish | Register,
    topicName: string | undefined,
  ): void {
    if (packet.type === "PUBLISH" && packet.qos < 1) return;
    const text = packet.type === "REGISTER"
      ? `REGISTER ${topicName}`
      : publishText({ ...packet, dup: false }, topicName);
    const key = `${peer.key} ${packet.msgId}`;
    if (this.open.get(key)?.text === text) return; // it was sent again
    const name = `${peer.key} ${text}`;
    const msgIds = this.#msgIds.get(name) ?? [];
    this.#msgIds.set(name, msgIds);
    const place = msgIds.push(packet.msgId) - 1;
    this.open.set(key, { text, place, packet });
  }

  #textOf(reading: Reading): string {
    const { type, packet, topicName, text } = reading;
    const name = topicName === undefined ? "" : ` ${JSON.stringify(topicName)}`;
    switch (packet?.type) {
      case undefined:
        return `${type} ${text}`;
      case "REGISTER":
        return `REGISTER${name}`;
      case "PUBLISH":
        return publishText(packet, topicName);
      case "PUBREL": {
        const key = `${reading.peer.key} ${packet.msgId}`;
        const opening = this.open.get(key);
        return `PUBREL of ${opening?.text ?? "what was not published"}`;
      }
      case "REGACK":
      case "SUBACK": {
        const { topicId: _, ...rest } = packet;
        const words = Object.entries(rest).slice(1).map(([key, value]) =>
          `${key}=${value}`
        );
        const id = packet.topicId === 0 ? "topicId=0" : "with a topic id";
        return `${type} ${words.join(" ")} ${id}${name}`;
      }
      case "PUBACK": {
        const { msgId, returnCode, topicId } = packet;
        const topic = name || ` topicId=${topicId}`;
        return `PUBACK msgId=${msgId} returnCode=${returnCode}${topic}`;
      }
      default:
        return `${type} ${text}`.trimEnd();
    }
  }
}

/** A client as it is compared. */
class ReplayedClient implements Answers {
  name: string;
  readonly peer: Peer;
  readonly recorded: Answer[] = [];
  readonly live: Answer[] = [];
  /** Answers that are not waited for any more. */
  #waived = 0;

  constructor(name: string, peer: Peer) {
    this.name = name;
    this.peer = peer;
  }

  get owed(): number {
    const missing = Math.max(0, this.recorded.length - this.live.length);
    this.#waived = Math.min(this.#waived, missing); // one may come late
    return missing - this.#waived;
  }

  giveUp(): void {
    this.#waived += this.owed;
  }
}

/** A recorded conversation, and the one that is led now. */
export class ReplayMatch {
  readonly #recorded: ReplayedSide;
  readonly #live: ReplayedSide;
  readonly #clients = new Map<string, ReplayedClient>();
  #owed = 0;

  /**
   * Begins with nothing said.
   *
   * @param options what both brokers were told beforehand
   */
  constructor(options: ConversationOptions = {}) {
    this.#recorded = new ReplayedSide({ ...options, ignoreTail: true });
    this.#live = new ReplayedSide({ ...options, ignoreTail: true });
  }

  /** Answers that are to come: recorded, and not come yet nor given up. */
  get owed(): number {
    return this.#owed;
  }

  /** The answers to each client, in the order in which clients came up. */
  get answers(): readonly Answers[] {
    return [...this.#clients.values()];
  }

  /** Gives up what has not come; it may still come, and is compared then. */
  giveUp(): void {
    for (const client of this.#clients.values()) client.giveUp();
    this.#owed = 0;
  }

  /** Takes a recorded answer, which is to come now too. */
  expect(peer: Peer, bytes: Uint8Array, line: number): void {
    const { text, reading } = this.#recorded.read(peer, bytes);
    if (text === undefined) return;
    const client = this.#clientOf(reading);
    const before = client.owed;
    client.recorded.push({ text, line });
    this.#owed += client.owed - before;
  }

  /**
   * Takes an answer that came.
   *
   * @param peer the client's address in the recording
   */
  handleAnswer(peer: Peer, bytes: Uint8Array): void {
    // It may be kept: the buffer is the next datagram's.
    const { text, reading } = this.#live.read(peer, bytes.slice());
    if (text === undefined) return;
    const client = this.#clientOf(reading);
    const before = client.owed;
    client.live.push({ text, line: undefined });
    this.#owed += client.owed - before;
  }

  /**
   * What a client has to send now in place of what it has sent then.
   *
   * @param peer the client's address in the recording
   * @param bytes the recorded datagram
   */
  translate(peer: Peer, bytes: Uint8Array): Uint8Array {
    const { packet, peer: client } = this.#recorded.conversation
      .read("client", peer, bytes);
    const now = bytes.slice();
    // Whatever is wrapped ends where the datagram does, or has a tail of no concern.
    const at = bytes.length < 2 ? 0 : innerStart(bytes);
    const body = at + (bytes[at] === 1 ? 4 : 2);
    switch (packet?.type) {
      case "PUBLISH":
        if (packet.topicIdType === "normal" && packet.qos !== -1) {
          this.#putTopicId(client, packet.topicId, now, body + 1);
        }
        break;
      case "PUBACK":
      case "REGACK": {
        const key = `${client.key} ${packet.msgId}`;
        const opening = this.#recorded.open.get(key);
        if (opening === undefined) break;
        const isNormal = opening.packet.type === "REGISTER" ||
          opening.packet.topicIdType === "normal";
        if (isNormal) this.#putTopicId(client, packet.topicId, now, body);
        this.#close(client, opening, now, body + 2);
        // A refusal of the id ends the message too: it is another one then.
        this.#recorded.open.delete(key);
        break;
      }
      case "PUBREC":
      case "PUBCOMP": {
        const key = `${client.key} ${packet.msgId}`;
        const opening = this.#recorded.open.get(key);
        if (opening === undefined) break;
        this.#close(client, opening, now, body, packet.type === "PUBCOMP");
        if (packet.type === "PUBCOMP") this.#recorded.open.delete(key);
        break;
      }
    }
    const { clientId } = this.#live.conversation.read("client", peer, now);
    const known = this.#clients.get(client.key);
    if (known !== undefined && clientId !== undefined) known.name = clientId;
    return now;
  }

  /** Puts the id in place that this broker has for the name behind another's. */
  #putTopicId(
    client: Peer,
    topicId: number,
    bytes: Uint8Array,
    at: number,
  ): void {
    const topicName = this.#recorded.conversation.nameOf(client, topicId);
    if (topicName === undefined) return;
    const conversation = this.#live.conversation;
    if (conversation.nameOf(client, topicId) === topicName) return;
    const now = conversation.idOf(client, topicName);
    if (now !== undefined) put16(bytes, at, now);
  }

  /** Puts the msgId in place of the message that is the counterpart. */
  #close(
    client: Peer,
    opening: Opening,
    bytes: Uint8Array,
    at: number,
    isEnd = true,
  ): void {
    const msgId = this.#live.msgIdOf(client, opening);
    if (msgId === undefined) return;
    put16(bytes, at, msgId);
    if (isEnd) this.#live.open.delete(`${client.key} ${msgId}`);
  }

  #clientOf({ peer, clientId }: Reading): ReplayedClient {
    let client = this.#clients.get(peer.key);
    if (client === undefined) {
      client = new ReplayedClient(clientId ?? peer.key, peer);
      this.#clients.set(peer.key, client);
    }
    if (clientId !== undefined) client.name = clientId;
    return client;
  }
}

/** What a PUBLISH says, without the ids that a broker chooses. */
function publishText(packet: Publish, topicName: string | undefined): string {
  const { dup, qos, retain, topicIdType, topicId, data } = packet;
  const topic = topicIdType === "normal" && topicName !== undefined
    ? JSON.stringify(topicName)
    : `${topicIdType} topicId=${topicId}`;
  const flags = `${dup ? " dup" : ""}${retain ? " retain" : ""}`;
  return `PUBLISH qos=${qos}${flags} ${topic} data=${dataText(data)}`;
}

/** Text where it is some that can be seen, else hexadecimal. */
function dataText(data: Uint8Array): string {
  const isText = data.every((octet) => octet >= 0x20 && octet < 0x7f);
  if (isText) return JSON.stringify(decodeUtf8(data));
  return data.toHex();
}

/** Where the message begins in a datagram that may wrap it (§5.5). */
function innerStart(bytes: Uint8Array): number {
  return bytes[1] === 0xfe ? bytes[0]! : 0;
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 255;
}

/** A line of a comparison: in both, only recorded, only now. */
export interface Difference {
  /** Which. */
  readonly sign: " " | "-" | "+";
  /** The answer. */
  readonly answer: Answer;
}

/** The most steps that are taken to find the shortest comparison. */
const MAX_CELLS = 4_000_000;

/**
 * Compares answers in their order: the fewest that have to go and to come.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { compare } from "./replay_match.ts";
 *
 * const answers = (...texts: string[]) =>
 *   texts.map((text) => ({ text, line: undefined }));
 * const lines = compare(answers("a", "b", "c"), answers("a", "x", "c"));
 * assertEquals(
 *   lines.map(({ sign, answer }) => sign + answer.text),
 *   [" a", "-b", "+x", " c"],
 * );
 * ```
 */
export function compare(
  recorded: readonly Answer[],
  live: readonly Answer[],
): Difference[] {
  let start = 0;
  let end = recorded.length;
  let liveEnd = live.length;
  const isAlike = (i: number, j: number) => recorded[i]!.text === live[j]!.text;
  while (start < end && start < liveEnd && isAlike(start, start)) start++;
  while (end > start && liveEnd > start && isAlike(end - 1, liveEnd - 1)) {
    end--;
    liveEnd--;
  }
  const width = liveEnd - start + 1;
  const height = end - start + 1;
  const lines: Difference[] = recorded.slice(0, start).map(same);
  let i = start;
  let j = start;
  if (width * height <= MAX_CELLS) {
    // The longest that the rests from (i, j) on have in common.
    const common = new Uint32Array(width * height);
    for (let y = height - 2; y >= 0; y--) {
      for (let x = width - 2; x >= 0; x--) {
        const at = y * width + x;
        common[at] = isAlike(start + y, start + x)
          ? common[at + width + 1]! + 1
          : Math.max(common[at + width]!, common[at + 1]!);
      }
    }
    while (i < end && j < liveEnd) {
      const at = (i - start) * width + j - start;
      if (isAlike(i, j)) {
        lines.push(same(recorded[i++]!));
        j++;
      } else if (common[at + width]! >= common[at + 1]!) {
        lines.push({ sign: "-", answer: recorded[i++]! });
      } else lines.push({ sign: "+", answer: live[j++]! });
    }
  }
  while (i < end) lines.push({ sign: "-", answer: recorded[i++]! });
  while (j < liveEnd) lines.push({ sign: "+", answer: live[j++]! });
  return [...lines, ...recorded.slice(end).map(same)];
}

function same(answer: Answer): Difference {
  return { sign: " ", answer };
}
