/**
 * The recorder: follows a journal and writes what is added to it into files, a
 * recording (`journal/recording.ts`) and a capture (`journal/pcap.ts`), in a Web
 * Worker of its own, or in this thread.
 *
 * The journal is the buffer: entries are copied out of it some at a time, and only so
 * many parts are on their way to the worker. Traffic that is faster for long loses entries
 * as the journal forgets them; they are counted, and the recording says at which
 * place. So recording takes no more memory than the journal and those parts, and
 * nobody ever waits for a disk.
 *
 * `base/worker.ts` says what a program in a bundle has to heed.
 *
 * @module
 */

import type { Clock, Millis } from "../base/clock.ts";
import type { Journal } from "./journal.ts";
import { type Log, printable } from "../base/log.ts";
import { messageOf } from "../base/errors.ts";
import {
  isWorker,
  serveWorker,
  WorkerClient,
  WorkerFailure,
} from "../base/worker.ts";
import { isLoopback, type Peer } from "../base/peer.ts";
import { pcapEnd, pcapHeader, pcapRecord } from "./pcap.ts";
import {
  headerLine,
  type RecordingHeader,
  RecordingLines,
} from "./recording.ts";
import { type Slice, WAYS } from "./buffer.ts";

/** What is written, and where. */
export interface RecorderOptions {
  /** The file of the recording, which is overwritten. */
  readonly record?: string | undefined;
  /** The file of the capture, which is overwritten. */
  readonly pcap?: string | undefined;
  /** 1 for a worker of its own, 0 for this thread. Default 1. */
  readonly workers?: 0 | 1 | undefined;
  /** The broker. */
  readonly broker: Peer;
  /** The pre-defined topics, by their ids. */
  readonly predefined?: ReadonlyMap<number, string> | undefined;
  /** The journal's clock. */
  readonly clock: Clock;
  /** The time of day, in milliseconds since 1970. Default `Date.now`. */
  readonly timeOfDay?: () => number;
  /** Where it says what it cannot do. */
  readonly log: Log;
}

/**
 * What a recorder counted.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker } from "../mod.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * assertEquals(broker.stats().recording, undefined); // none was asked for
 * ```
 */
export interface RecorderStats {
  /** Datagrams and notes that were handed on to be written. */
  readonly recorded: number;
  /** Those that were not, as it could not keep up. */
  readonly lost: number;
  /** Files that could not be written any more. */
  readonly failed: number;
}

/** Entries of a part, and after how many octets no further one is begun. */
const PART = 2_048;
const PART_OCTETS = 2 ** 19;

/** Parts that may be on their way. */
const MAX_PARTS = 8;

/** The longest that an entry waits for more, in milliseconds. */
const IDLE_MS = 50;

/** What the worker is for, which is a part of its name. */
const ROLE = "recorder";

/**
 * A recorder at work.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker, ClassicClient } from "../mod.ts";
 * import { parseRecording } from "./recording.ts";
 *
 * const record = await Deno.makeTempFile();
 * {
 *   await using broker = await Broker.listen({ port: 0, record });
 *   await using client = await ClassicClient.connect(broker);
 *   await client.publish("weather", "21.5");
 * }
 * const { datagrams } = parseRecording(await Deno.readTextFile(record));
 * assertEquals(datagrams.map(({ way }) => way), ["received", "sent"]);
 * await Deno.remove(record);
 * ```
 */
export class Recorder implements AsyncDisposable {
  readonly #journal: Journal;
  readonly #log: Log;
  readonly #sink: Sink;
  /** The number of the next entry to write. */
  #next: number;
  #parts = 0;
  #waiting = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #settled: (() => void) | undefined;
  #closing: Promise<void> | undefined;
  readonly #counts = { recorded: 0, lost: 0, failed: 0 };

  private constructor(journal: Journal, log: Log, sink: Sink) {
    this.#journal = journal;
    this.#log = log;
    this.#sink = sink;
    this.#next = journal.mark();
    journal.follow(() => this.#handleEntry());
  }

  /**
   * Opens the files and follows a journal from now on.
   *
   * @throws {Error} when a file cannot be written
   */
  static async start(
    journal: Journal,
    options: RecorderOptions,
  ): Promise<Recorder> {
    const { record, pcap, broker, predefined = new Map() } = options;
    const { timeOfDay = Date.now, clock, log, workers = 1 } = options;
    if (record !== undefined && pcap !== undefined && isOneFile(record, pcap)) {
      throw new TypeError(
        `Cannot write recording and capture to one file, "${record}"`,
      );
    }
    const plan: FilesPlan = {
      record,
      pcap,
      header: { broker, startedAt: timeOfDay(), predefined },
      zero: clock.now(),
    };
    const sink = workers === 0 ? new Files(plan) : await WorkerSink.open(plan);
    return new Recorder(journal, log, sink);
  }

  /** What was counted so far. */
  stats(): RecorderStats {
    return { ...this.#counts };
  }

  /** Writes what there is, and closes the files; again does nothing more. */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  /** Closes, at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #handleEntry(): void {
    // Nothing is left to be written: nobody needs to follow.
    if (!this.#sink.isOpen) return this.#journal.follow(undefined);
    if (++this.#waiting >= PART) return this.#write();
    this.#timer ??= setTimeout(this.#handleIdle, IDLE_MS);
  }

  readonly #handleIdle = (): void => {
    this.#timer = undefined;
    this.#write();
  };

  /** Hands parts on, as many as may be on their way. */
  #write(): void {
    const journal = this.#journal;
    while (
      this.#parts < MAX_PARTS && this.#next < journal.mark() &&
      this.#sink.isOpen
    ) {
      const slice = journal.slice(this.#next, PART, PART_OCTETS);
      const count = slice.times.length;
      const lost = slice.first - this.#next;
      this.#next = slice.first + count;
      if (lost > 0) this.#lose(lost);
      this.#counts.recorded += count;
      this.#parts++;
      const errors = this.#sink.write(slice, lost);
      if (errors instanceof Promise) errors.then(this.#handleWritten);
      else this.#handleWritten(errors);
    }
    this.#waiting = journal.mark() - this.#next;
  }

  readonly #handleWritten = (errors: readonly string[]): void => {
    this.#parts--;
    this.#tell(errors);
    // What has become a whole part meanwhile is not left until the next entry.
    if (this.#waiting >= PART) this.#write();
    if (this.#parts === 0) this.#settled?.();
  };

  #lose(count: number): void {
    if (this.#counts.lost === 0) {
      this.#log.warn(
        "The recording cannot keep up: some datagrams are left out, and counted in it",
      );
    }
    this.#counts.lost += count;
  }

  #tell(errors: readonly string[]): void {
    for (const error of errors) {
      this.#counts.failed++;
      this.#log.error(`${error}; the broker goes on without it`);
    }
  }

  async #close(): Promise<void> {
    this.#journal.follow(undefined);
    clearTimeout(this.#timer);
    // Under load there is always more: what has come by now is the end.
    const end = this.#journal.mark();
    while (this.#parts > 0 || (this.#next < end && this.#sink.isOpen)) {
      const settled = new Promise<void>((resolve) => this.#settled = resolve);
      this.#write();
      if (this.#parts > 0) await settled;
    }
    this.#tell(await this.#sink.close());
    const { lost } = this.#counts;
    if (lost > 0) {
      this.#log.warn(`Datagrams left out of the recording: ${lost}`);
    }
  }
}

/** Whether two paths lead to one file, also to one that is still to be made. */
export function isOneFile(one: string, other: string): boolean {
  return placeOf(one) === placeOf(other);
}

function placeOf(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch {
    // There is none yet: what counts is how the path reads from here.
    const words = path.split("/").map(encodeURIComponent).join("/");
    return new URL(words, `file://${Deno.cwd()}/`).pathname;
  }
}

/** What the files begin with. */
interface FilesPlan {
  readonly record: string | undefined;
  readonly pcap: string | undefined;
  readonly header: RecordingHeader;
  /** The moment of the beginning on the slices' clock. */
  readonly zero: Millis;
}

/** Where entries are written. */
interface Sink {
  /** Whether there is a file left that can be written. */
  readonly isOpen: boolean;
  /** Writes a part, behind `lost` that are missing. Gives what went wrong. */
  write(
    slice: Slice,
    lost: number,
  ): readonly string[] | Promise<readonly string[]>;
  /** Ends the files. Gives what went wrong. */
  close(): readonly string[] | Promise<readonly string[]>;
}

/** One of the files: it is written until that fails. */
interface OpenFile {
  readonly path: string;
  readonly file: Deno.FsFile;
  /** The octets of a part. */
  octetsOf(slice: Slice, lost: number): Uint8Array;
}

/** The files themselves, written at once. */
class Files implements Sink {
  readonly #open: OpenFile[] = [];

  constructor({ record, pcap, header, zero }: FilesPlan) {
    try {
      if (record !== undefined) {
        const lines = new RecordingLines(header, zero);
        const encoder = new TextEncoder();
        this.#begin(record, encoder.encode(headerLine(header)), {
          octetsOf: (slice, lost) =>
            encoder.encode(
              (lost > 0 ? lines.lost(lost) : "") + lines.write(slice),
            ),
        });
      }
      if (pcap !== undefined) {
        const offset = header.startedAt - zero;
        this.#begin(pcap, pcapHeader(), {
          octetsOf: (slice) => captureOf(slice, header.broker, offset),
        });
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get isOpen(): boolean {
    return this.#open.length > 0;
  }

  write(slice: Slice, lost: number): readonly string[] {
    const errors: string[] = [];
    for (const open of [...this.#open]) {
      try {
        writeAll(open.file, open.octetsOf(slice, lost));
      } catch (error) {
        this.#open.splice(this.#open.indexOf(open), 1);
        errors.push(cannotWrite(open.path, error));
        open.file.close();
      }
    }
    return errors;
  }

  close(): readonly string[] {
    for (const { file } of this.#open.splice(0)) file.close();
    return [];
  }

  #begin(
    path: string,
    head: Uint8Array,
    { octetsOf }: Pick<OpenFile, "octetsOf">,
  ): void {
    try {
      const file = Deno.openSync(path, {
        write: true,
        create: true,
        truncate: true,
      });
      this.#open.push({ path, file, octetsOf });
      writeAll(file, head);
    } catch (error) {
      throw new Error(cannotWrite(path, error), { cause: error });
    }
  }
}

function writeAll(file: Deno.FsFile, octets: Uint8Array): void {
  for (let at = 0; at < octets.length;) {
    at += file.writeSync(octets.subarray(at));
  }
}

function cannotWrite(path: string, error: unknown): string {
  return `Cannot write "${printable(path)}": ${reasonOf(error)}`;
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof Deno.errors.NotFound) {
    return "there is no such directory";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "it may not be written";
  }
  if ("code" in error && error.code === "ENOSPC") return "the disk is full";
  return printable(error.message);
}

/** A slice as a capture file has it. */
function captureOf(slice: Slice, broker: Peer, offset: Millis): Uint8Array {
  const ends = slice.peers.map((peer) => ({
    there: pcapEnd(peer.hostname, peer.port),
    here: pcapEnd(hostnameFor(peer, broker), broker.port),
  }));
  const records: Uint8Array[] = [];
  let length = 0;
  let at = 0;
  for (let i = 0; i < slice.times.length; i++) {
    const bytes = slice.octets.subarray(at, at += slice.lengths[i]!);
    const way = WAYS[slice.ways[i]!];
    const end = ends[slice.owners[i]! - 1];
    if (way === "note" || end === undefined) continue;
    const { here, there } = end;
    const [from, to] = way === "received" ? [there, here] : [here, there];
    const record = pcapRecord(slice.times[i]! + offset, from, to, bytes);
    records.push(record);
    length += record.length;
  }
  const octets = new Uint8Array(length);
  let done = 0;
  for (const record of records) {
    octets.set(record, done);
    done += record.length;
  }
  return octets;
}

/** The broker's address towards a peer: one that listens everywhere has none. */
function hostnameFor(peer: Peer, { hostname }: Peer): string {
  if (hostname !== "0.0.0.0" && hostname !== "::") return hostname;
  const isV6 = peer.hostname.includes(":");
  if (isLoopback(peer)) return isV6 ? "::1" : "127.0.0.1";
  return isV6 ? "::" : "0.0.0.0";
}

/** What the worker is told. */
type Order =
  | { readonly call: "open"; readonly plan: FilesPlan }
  | { readonly call: "write"; readonly slice: Slice; readonly lost: number }
  | { readonly call: "close" };

/** What it answers to each order. */
type FilesAnswer =
  | { readonly errors: readonly string[]; readonly isOpen: boolean }
  | { readonly fault: string };

/** The files in a worker. */
class WorkerSink implements Sink {
  readonly #worker = new WorkerClient<Order, FilesAnswer>(
    import.meta.url,
    ROLE,
  );
  #hasFailed = false;
  #isOpen = true;

  static async open(plan: FilesPlan): Promise<WorkerSink> {
    const sink = new WorkerSink();
    const answer = await sink.#ask({ call: "open", plan });
    if (!("fault" in answer)) return sink;
    sink.#worker.terminate();
    throw new Error(answer.fault);
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  async write(slice: Slice, lost: number): Promise<readonly string[]> {
    const { times, ways, lengths, owners, octets } = slice;
    const arrays = [times, ways, lengths, owners, octets];
    const answer = await this.#ask(
      { call: "write", slice, lost },
      arrays.map(({ buffer }) => buffer),
    );
    if ("fault" in answer || !answer.isOpen) this.#isOpen = false;
    return errorsOf(answer);
  }

  async close(): Promise<readonly string[]> {
    const answer = await this.#ask({ call: "close" });
    this.#worker.terminate();
    return errorsOf(answer);
  }

  async #ask(order: Order, transfer?: ArrayBuffer[]): Promise<FilesAnswer> {
    try {
      return await this.#worker.ask(order, transfer);
    } catch (error) {
      if (!(error instanceof WorkerFailure)) throw error;
      // Said once, in answer to the first order that it concerns.
      if (this.#hasFailed) return { errors: [], isOpen: false };
      this.#hasFailed = true;
      return { fault: `Cannot record: ${printable(error.message)}` };
    }
  }
}

function errorsOf(answer: FilesAnswer): readonly string[] {
  return "fault" in answer ? [answer.fault] : answer.errors;
}

/** The worker's side: opens the files and writes what it is given. */
function serve(): void {
  let files: Files | undefined;
  const written = (errors: readonly string[] = []) => ({
    errors,
    isOpen: files?.isOpen ?? false,
  });
  serveWorker((order: Order): FilesAnswer => {
    switch (order.call) {
      case "open":
        try {
          files = new Files(order.plan);
          return written();
        } catch (error) {
          return { fault: messageOf(error) };
        }
      case "write":
        return written(files?.write(order.slice, order.lost));
      case "close":
        return written(files?.close());
      default:
        order satisfies never;
        throw new TypeError("Cannot follow an order that is none");
    }
  });
}

if (isWorker(ROLE)) serve();
