/**
 * Opens a store (`store/store.ts`) in a Web Worker of its own, so that no datagram
 * waits for a disk, or in this thread. Either way it has the same methods, which
 * return promises.
 *
 * `base/worker.ts` says what a program in a bundle has to heed. The store itself, and
 * with it SQLite, is only loaded when one is opened.
 *
 * @module
 */

import { messageOf } from "../base/errors.ts";
import {
  isWorker,
  serveWorker,
  WorkerClient,
  WorkerFailure,
} from "../base/worker.ts";
import type { StoreChange, StoreRecord } from "../broker/records.ts";
import type { Store, StoreStats } from "./store.ts";
import { StoreError, type StoreErrorKind } from "./error.ts";
import type { SetAside, StoreOptions } from "./file.ts";

/**
 * Is given records, some at a time.
 *
 * @param records what is next
 * @param done how many were given so far, these included
 * @param total how many there are, if nothing is committed meanwhile
 */
export type RecordTaker = (
  records: readonly StoreRecord[],
  done: number,
  total: number,
) => void;

/** A store, wherever it is at work. */
export interface AsyncStore extends AsyncDisposable {
  /** How often its file was opened, this time included. */
  readonly starts: number;
  /** How many records it held when it was opened. */
  readonly size: number;
  /** The damaged file that was found in its place, if one was. */
  readonly setAside: SetAside | undefined;
  /**
   * Gives what is kept, in the order of `Store.load`, about 1,000 records at a
   * time. While some are taken, the next are on their way, and no others.
   *
   * @param take is given them; what it throws ends the load
   * @returns a promise that resolves when all were taken
   * @throws {StoreError} when the file cannot be read
   */
  load(take: RecordTaker): Promise<void>;
  /**
   * Applies changes, all or none, after those of earlier calls. Payloads are
   * copied before this returns.
   *
   * @param changes what has changed
   * @returns a promise that resolves when they are kept
   * @throws {StoreError} when they cannot be; the store can still be used
   */
  commit(changes: readonly StoreChange[]): Promise<void>;
  /** What it has done so far, and how large it is. */
  stats(): Promise<StoreStats>;
  /**
   * Closes the file when all that was asked for is done, and ends the worker;
   * again does nothing more.
   */
  close(): Promise<void>;
}

/** How a store is opened, and where it is at work. */
export interface AsyncStoreOptions extends StoreOptions {
  /** 1 for a worker of its own, 0 for this thread. Default 1. */
  readonly workers?: 0 | 1;
}

/** Records that are given at a time, at most. */
const CHUNK = 1_000;

/** Fewer are given at a time when their payloads have this many octets. */
const CHUNK_OCTETS = 2 ** 20;

/** What the worker is for, which is a part of its name. */
const ROLE = "store";

/**
 * Opens a store, and makes the file if there is none.
 *
 * @param path the file; its directory has to be there
 * @throws {StoreError} when it cannot be opened
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openStore } from "./worker.ts";
 *
 * const directory = await Deno.makeTempDir();
 * {
 *   await using store = await openStore(`${directory}/mqtt.store`);
 *   await store.commit([
 *     { type: "datum", seq: 1, topicName: "weather", text: "21.5" },
 *   ]);
 *   await store.load((records, done, total) => {
 *     assertEquals([records.length, done, total], [1, 1, 1]);
 *   });
 * }
 * await Deno.remove(directory, { recursive: true });
 * ```
 */
export async function openStore(
  path: string,
  options: AsyncStoreOptions = {},
): Promise<AsyncStore> {
  const { workers = 1, ...storeOptions } = options;
  if (workers === 0) {
    const { Store } = await import("./store.ts");
    return new LocalStore(Store.open(path, storeOptions));
  }
  const worker = new WorkerClient<StoreQuestion, StoreAnswer>(
    import.meta.url,
    ROLE,
  );
  try {
    const question = { call: "open", path, options: storeOptions } as const;
    return new WorkerStore(worker, await ask(worker, question) as StoreOpened);
  } catch (error) {
    worker.terminate();
    throw error;
  }
}

/** What a store tells when it is opened. */
type StoreOpened = Pick<AsyncStore, "starts" | "size" | "setAside">;

/** Some of the records. */
interface RecordChunk {
  readonly records: readonly StoreRecord[];
  readonly total: number;
  readonly isLast: boolean;
}

/** What the worker is asked. */
type StoreQuestion =
  | {
    readonly call: "open";
    readonly path: string;
    readonly options: StoreOptions;
  }
  | { readonly call: "load"; readonly load: number }
  | { readonly call: "stop"; readonly load: number }
  | { readonly call: "commit"; readonly changes: readonly StoreChange[] }
  | { readonly call: "stats" }
  | { readonly call: "close" };

/** What it answers. */
type StoreAnswer =
  | { readonly value: unknown }
  | { readonly kind: StoreErrorKind; readonly message: string };

/** A store in this thread. */
class LocalStore implements AsyncStore {
  readonly starts: number;
  readonly size: number;
  readonly setAside: SetAside | undefined;
  readonly #store: Store;

  constructor(store: Store) {
    this.starts = store.starts;
    this.size = store.size;
    this.setAside = store.setAside;
    this.#store = store;
  }

  async load(take: RecordTaker): Promise<void> {
    let done = 0;
    for (const { records, total } of chunksOf(this.#store)) {
      done += records.length;
      take(records, done, total);
      // Other work in this thread gets a turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  // An error is to be a rejection, and the end of the call to come first.
  // deno-lint-ignore require-await
  async commit(changes: readonly StoreChange[]): Promise<void> {
    this.#store.commit(changes);
  }

  // deno-lint-ignore require-await
  async stats(): Promise<StoreStats> {
    return this.#store.stats();
  }

  // deno-lint-ignore require-await
  async close(): Promise<void> {
    this.#store.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** A store in a worker. */
class WorkerStore implements AsyncStore {
  readonly starts: number;
  readonly size: number;
  readonly setAside: SetAside | undefined;
  readonly #worker: WorkerClient<StoreQuestion, StoreAnswer>;
  #loads = 0;
  #closed: Promise<void> | undefined;

  constructor(
    worker: WorkerClient<StoreQuestion, StoreAnswer>,
    { starts, size, setAside }: StoreOpened,
  ) {
    this.#worker = worker;
    this.starts = starts;
    this.size = size;
    this.setAside = setAside;
  }

  async load(take: RecordTaker): Promise<void> {
    const load = ++this.#loads;
    const ask = () => this.#ask({ call: "load", load }) as Promise<RecordChunk>;
    let done = 0;
    let next: Promise<RecordChunk> | undefined = ask();
    try {
      while (next !== undefined) {
        const { records, total, isLast }: RecordChunk = await next;
        next = isLast ? undefined : ask();
        done += records.length;
        if (records.length > 0) take(records, done, total);
      }
    } catch (error) {
      // What was on its way is not wanted any more, nor why it did not come.
      next?.catch(() => {});
      this.#ask({ call: "stop", load }).catch(() => {});
      throw error;
    }
  }

  async commit(changes: readonly StoreChange[]): Promise<void> {
    await this.#ask({ call: "commit", changes: changes.map(trimmed) });
  }

  stats(): Promise<StoreStats> {
    return this.#ask({ call: "stats" }) as Promise<StoreStats>;
  }

  close(): Promise<void> {
    return this.#closed ??= ask(this.#worker, { call: "close" })
      // A worker that has ended has nothing to close.
      .then(() => {}, () => {})
      // It has ended itself by now: one that is busy would stay for ever.
      .finally(() => this.#worker.terminate());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #ask(question: StoreQuestion): Promise<unknown> {
    if (this.#closed === undefined) return ask(this.#worker, question);
    return Promise.reject(unusable("the store is closed"));
  }
}

/** Asks the worker; what it cannot do is a {@linkcode StoreError}. */
async function ask(
  worker: WorkerClient<StoreQuestion, StoreAnswer>,
  question: StoreQuestion,
): Promise<unknown> {
  let answer: StoreAnswer;
  try {
    answer = await worker.ask(question);
  } catch (error) {
    if (error instanceof WorkerFailure) throw unusable(error.message);
    throw new StoreError("failed", messageOf(error));
  }
  if ("value" in answer) return answer.value;
  throw new StoreError(answer.kind, answer.message);
}

function unusable(why: string): StoreError {
  return new StoreError("failed", `Cannot use the store: ${why}`);
}

/**
 * A change whose octets are no view into more: all of what they are a view into
 * would be copied.
 */
function trimmed(change: StoreChange): StoreChange {
  switch (change.type) {
    case "queued":
    case "retained": {
      const payload = own(change.payload);
      return payload === change.payload ? change : { ...change, payload };
    }
    case "session": {
      const { will, peer } = change;
      const payload = will && own(will.payload);
      const wirelessNodeId = peer?.wirelessNodeId && own(peer.wirelessNodeId);
      return payload === will?.payload &&
          wirelessNodeId === peer?.wirelessNodeId
        ? change
        : {
          ...change,
          will: will && { ...will, payload: payload! },
          peer: peer && { ...peer, wirelessNodeId },
        };
    }
    default:
      return change;
  }
}

function own(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
}

/** All records, some at a time; there is always a last chunk. */
function* chunksOf(store: Store): Generator<RecordChunk> {
  const total = store.size;
  let records: StoreRecord[] = [];
  let octets = 0;
  for (const record of store.load()) {
    // Only when there is another: so the last one is known to be.
    if (records.length >= CHUNK || octets >= CHUNK_OCTETS) {
      yield { records: pooled(records, octets), total, isLast: false };
      records = [];
      octets = 0;
    }
    records.push(record);
    if ("payload" in record) octets += record.payload.length;
  }
  yield { records: pooled(records, octets), total, isLast: true };
}

/**
 * The same records with their payloads in one array: as many arrays as messages
 * would take more memory than the messages.
 */
function pooled(
  records: readonly StoreRecord[],
  octets: number,
): readonly StoreRecord[] {
  const pool = new Uint8Array(octets);
  let used = 0;
  return records.map((record) => {
    if (!("payload" in record)) return record;
    pool.set(record.payload, used);
    const payload = pool.subarray(used, used += record.payload.length);
    return { ...record, payload };
  });
}

/** The worker's side: opens a store and does what it is asked. */
async function serve(): Promise<void> {
  const { Store } = await import("./store.ts");
  let store: Store | undefined;
  const loads = new Map<number, Generator<RecordChunk>>();

  const answer = (question: StoreQuestion): unknown => {
    if (question.call === "open") {
      store = Store.open(question.path, question.options);
      const { starts, size, setAside } = store;
      return { starts, size, setAside };
    }
    if (store === undefined) return; // only "close" is asked then
    switch (question.call) {
      case "load": {
        const { load } = question;
        const chunks = loads.get(load) ?? chunksOf(store);
        loads.set(load, chunks);
        const chunk: RecordChunk = chunks.next().value;
        if (chunk.isLast) loads.delete(load);
        return chunk;
      }
      case "stop":
        loads.delete(question.load);
        return;
      case "commit":
        return store.commit(question.changes);
      case "stats":
        return store.stats();
      case "close":
        return store.close();
      default:
        question satisfies never;
        throw new TypeError("Cannot answer a question that is none");
    }
  };

  serveWorker((question: StoreQuestion, end): StoreAnswer => {
    if (question.call === "close") end();
    try {
      return { value: answer(question) };
    } catch (error) {
      // Anything else is a fault of ours: it ends the worker, and is told there.
      if (!(error instanceof StoreError)) throw error;
      if (store === undefined) end(); // it could not be opened
      return { kind: error.kind, message: error.message };
    }
  });
}

if (isWorker(ROLE)) await serve();
