/**
 * A replay: plays the clients' side of a recording at a broker, each client from a
 * socket of its own, and tells where the answers differ.
 *
 * Datagrams go out in the order in which they were recorded. Before each goes, the
 * answers that had been sent by then have come, or its patience is over: so a broker
 * that does the same gets the same in the same order, however fast it is played.
 *
 * @module
 */

import type { Peer } from "../base/peer.ts";
import { requireNumber } from "../base/units.ts";
import { MAX_TIMER } from "../base/system_clock.ts";
import type { Recording } from "./recording.ts";
import {
  type Answers,
  compare,
  type Difference,
  ReplayMatch,
} from "./replay_match.ts";
import type { Transport } from "../transport/transport.ts";
import { UdpTransport } from "../transport/udp.ts";

/** How a recording is played. */
export interface ReplayOptions {
  /** The broker. */
  readonly broker: Peer;
  /**
   * How many times as fast as it was; 0 for as fast as the answers come, the
   * default. What a broker does as time goes by, it does at its own speed.
   */
  readonly speed?: number;
  /** How long an answer is waited for, in milliseconds. Default 2,000. */
  readonly patienceMs?: number;
  /**
   * How long it is listened for what nobody expects, when all has come, in
   * milliseconds. Default 200.
   */
  readonly quietMs?: number;
  /** Opens a client's socket. Default: a UDP socket towards the broker. */
  readonly bind?: () => Promise<Transport> | Transport;
  /** Ends it before its end. */
  readonly signal?: AbortSignal;
  /** Is told how much has been sent, in datagrams. */
  readonly onProgress?: (sent: number, total: number) => void;
}

/** How a client's answers compare. */
export interface ClientReport extends Answers {
  /** The answers, those in both and those in one of the two. */
  readonly differences: readonly Difference[];
  /** How many are only in one. */
  readonly differing: number;
}

/** What a replay found. */
export interface ReplayReport {
  /** Datagrams that were sent. */
  readonly sent: number;
  /** Answers that were recorded. */
  readonly recorded: number;
  /** Answers that came. */
  readonly live: number;
  /** How often its patience was over. */
  readonly timeouts: number;
  /** The clients that got answers, then or now. */
  readonly clients: readonly ClientReport[];
  /** Whether no answer differs. */
  readonly isAlike: boolean;
}

/**
 * Plays a recording.
 *
 * @throws {RangeError} when the speed or a time is out of range
 * @throws {Error} when no socket can be opened, or the signal's reason
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { Broker, ClassicClient } from "../mod.ts";
 * import { parseRecording } from "./recording.ts";
 * import { replay } from "./replay.ts";
 *
 * const record = await Deno.makeTempFile();
 * {
 *   await using broker = await Broker.listen({ port: 0, record });
 *   await using client = await ClassicClient.connect(broker);
 *   await client.publish("weather", "21.5");
 * }
 * const recording = parseRecording(await Deno.readTextFile(record));
 * await using broker = await Broker.listen({ port: 0 });
 * const { isAlike } = await replay(recording, { broker: broker.address });
 * assert(isAlike);
 * await Deno.remove(record);
 * ```
 */
export async function replay(
  recording: Recording,
  options: ReplayOptions,
): Promise<ReplayReport> {
  await using player = new Player(recording, options);
  return await player.play();
}

class Player implements AsyncDisposable {
  readonly #recording: Recording;
  readonly #match: ReplayMatch;
  readonly #options: ReplayOptions;
  readonly #speed: number;
  readonly #patienceMs: number;
  readonly #quietMs: number;
  readonly #sockets = new Map<string, Transport>();
  #heard: (() => void) | undefined;
  #timeouts = 0;

  constructor(recording: Recording, options: ReplayOptions) {
    const { speed = 0, patienceMs = 2_000, quietMs = 200 } = options;
    for (
      const [name, value] of Object.entries({ speed, patienceMs, quietMs })
    ) {
      requireNumber(name, value, 0, Number.MAX_SAFE_INTEGER);
    }
    this.#recording = recording;
    this.#match = new ReplayMatch({ predefined: recording.predefined });
    this.#options = options;
    this.#speed = speed;
    this.#patienceMs = patienceMs;
    this.#quietMs = quietMs;
  }

  async play(): Promise<ReplayReport> {
    const { datagrams } = this.#recording;
    const { broker, onProgress, signal } = this.#options;
    const spoke = new Set<string>();
    const total = datagrams.filter(({ way }) => way === "received").length;
    let sent = 0;
    let recorded = 0;
    const startedAt = performance.now();
    for (const { way, peer, bytes, ms, line } of datagrams) {
      if (way === "sent") {
        // A peer that has sent nothing was sent it by multicast.
        if (!spoke.has(peer.key)) continue;
        this.#match.expect(peer, bytes, line);
        recorded++;
        continue;
      }
      spoke.add(peer.key);
      if (this.#speed > 0) await this.#until(startedAt + ms / this.#speed);
      await this.#settle();
      signal?.throwIfAborted();
      const socket = this.#sockets.get(peer.key) ?? await this.#open(peer);
      socket.send(broker, this.#match.translate(peer, bytes));
      // It has left before another's does: so they arrive in this order.
      await socket.flush();
      sent++;
      onProgress?.(sent, total);
    }
    await this.#settle();
    await this.#rest();
    signal?.throwIfAborted();
    return this.#report(sent, recorded);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets.values()) {
      await socket[Symbol.asyncDispose]();
    }
  }

  async #open(peer: Peer): Promise<Transport> {
    const { broker, bind } = this.#options;
    const socket = await (bind?.() ?? UdpTransport.towards(broker));
    this.#sockets.set(peer.key, socket);
    socket.receive((from, bytes) => {
      if (from.key !== broker.key) return; // somebody else's
      this.#match.handleAnswer(peer, bytes);
      this.#heard?.();
    }).catch(() => {}); // what it does not hear shows in the answers
    return socket;
  }

  /** Waits until all has come that was sent by now, or its patience is over. */
  async #settle(): Promise<void> {
    const until = performance.now() + this.#patienceMs;
    while (this.#match.owed > 0) {
      if (await this.#hear(until)) continue;
      if (this.#options.signal?.aborted) return;
      this.#timeouts++;
      this.#match.giveUp();
    }
  }

  /** Listens for as long as something comes, and a little longer. */
  async #rest(): Promise<void> {
    while (await this.#hear(performance.now() + this.#quietMs));
  }

  async #until(moment: number): Promise<void> {
    while (performance.now() < moment && !this.#options.signal?.aborted) {
      await this.#hear(moment);
    }
  }

  /** Waits for an answer, at most until a moment. Returns whether one came. */
  #hear(until: number): Promise<boolean> {
    const { signal } = this.#options;
    return new Promise((resolve) => {
      const end = (hasHeard: boolean) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.#heard = undefined;
        resolve(hasHeard);
      };
      const abort = () => end(false);
      const wait = Math.max(0, until - performance.now());
      const timer = setTimeout(abort, Math.min(wait, MAX_TIMER));
      signal?.addEventListener("abort", abort);
      this.#heard = () => end(true);
      if (signal?.aborted) abort();
    });
  }

  #report(sent: number, recorded: number): ReplayReport {
    const clients = this.#match.answers.map((answers): ClientReport => {
      const differences = compare(answers.recorded, answers.live);
      const differing = differences.filter(({ sign }) => sign !== " ").length;
      const { name, peer, recorded, live } = answers;
      return { name, peer, recorded, live, differences, differing };
    });
    return {
      sent,
      recorded,
      live: clients.reduce((sum, { live }) => sum + live.length, 0),
      timeouts: this.#timeouts,
      clients,
      isAlike: clients.every(({ differing }) => differing === 0),
    };
  }
}

/** Lines that are alike around one that differs. */
const CONTEXT = 2;

/** Lines of one client, and clients, that are shown. */
const MAX_LINES = 40;
const MAX_CLIENTS = 20;

/**
 * What a replay found, as a person reads it: for each client whose answers differ
 * those that do, `-` as it was recorded with the line it is in, `+` as it came now.
 */
export function describeReplay(report: ReplayReport): string {
  const { sent, live, recorded, clients, timeouts } = report;
  const others = clients.filter(({ differing }) => differing > 0);
  const summary = `${count(sent, "datagram")} of ${
    count(clients.length, "client")
  } played, ${count(live, "answer")} to ${recorded} recorded: ${
    others.length === 0
      ? "alike"
      : `different for ${count(others.length, "client")}`
  }${timeouts > 0 ? `; waited in vain ${count(timeouts, "time")}` : ""}`;
  const blocks = others.slice(0, MAX_CLIENTS).map(blockOf);
  const left = others.length - blocks.length;
  if (left > 0) blocks.push(`… and ${count(left, "client")} more`);
  return [...blocks, summary].join("\n\n");
}

function blockOf({ name, peer, differences, differing }: ClientReport): string {
  const who = name === peer.key ? name : `${name} (${peer.key})`;
  const lines = [`${who}: ${count(differing, "line")}, - recorded, + now`];
  let isGap = false;
  for (const [i, { sign, answer }] of differences.entries()) {
    const near = differences.slice(Math.max(0, i - CONTEXT), i + CONTEXT + 1);
    if (near.every((line) => line.sign === " ")) {
      isGap = true;
      continue;
    }
    if (lines.length > MAX_LINES) {
      lines.push("  …");
      break;
    }
    if (isGap) lines.push("  …");
    isGap = false;
    const line = answer.line === undefined ? "" : `line ${answer.line}`;
    lines.push(`${sign} ${line.padEnd(10)}  ${answer.text}`);
  }
  return lines.join("\n");
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
