/**
 * The store (`store/store.ts`) behind promises: in a Web Worker of its own, so that no
 * datagram waits for a disk, or in this thread. Knows how records and changes get
 * across; nothing of what they say, and no SQL.
 *
 * The worker runs this same module, whose name tells it what it is: so it is
 * found in a directory, in a bundle and in an executable alike. A bundle is the
 * whole program, so a program that is one of its own has to ask
 * {@linkcode isStoreWorker} before it begins, and to import this module at its
 * top: what is only loaded when needed, a bundle's worker never loads. The store
 * itself, and with it SQLite, is only loaded when one is opened.
 *
 * @module
 */

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

/** What the worker is called, and by what it knows itself. */
const NAME = "mock-mqtt store";

/**
 * Tells whether this thread is the worker that a store is at work in. A program
 * does nothing then: `import.meta.main` is true there too.
 *
 * @example
 * ```ts
 * import { assertFalse } from "@std/assert";
 * import { isStoreWorker } from "./worker.ts";
 *
 * assertFalse(isStoreWorker());
 * ```
 */
export function isStoreWorker(): boolean {
  return "WorkerGlobalScope" in globalThis && "name" in globalThis &&
    globalThis.name === NAME;
}

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
  const line = new Line();
  try {
    return new WorkerStore(
      line,
      await line.ask({ call: "open", path, options: storeOptions }) as Opened,
    );
  } catch (error) {
    line.hangUp();
    throw error;
  }
}

/** What a store tells when it is opened. */
type Opened = Pick<AsyncStore, "starts" | "size" | "setAside">;

/** Some of the records. */
interface Chunk {
  readonly records: readonly StoreRecord[];
  readonly total: number;
  readonly isLast: boolean;
}

/** What the worker is asked. */
type Question =
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

/** A question, and the number that its answer will have. */
type Numbered = Question & { readonly id: number };

/** What it answers; number 0, without being asked, that it listens. */
type Answer =
  | { readonly id: number; readonly value: unknown }
  | {
    readonly id: number;
    readonly kind: StoreErrorKind;
    readonly message: string;
  };

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
      // Whoever else has work in this thread gets a turn.
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
  readonly #line: Line;
  #loads = 0;
  #closed: Promise<void> | undefined;

  constructor(line: Line, { starts, size, setAside }: Opened) {
    this.#line = line;
    this.starts = starts;
    this.size = size;
    this.setAside = setAside;
  }

  async load(take: RecordTaker): Promise<void> {
    const load = ++this.#loads;
    const ask = () => this.#line.ask({ call: "load", load }) as Promise<Chunk>;
    let done = 0;
    let next: Promise<Chunk> | undefined = ask();
    try {
      while (next !== undefined) {
        const { records, total, isLast }: Chunk = await next;
        next = isLast ? undefined : ask();
        done += records.length;
        if (records.length > 0) take(records, done, total);
      }
    } catch (error) {
      // What was on its way is not wanted any more, nor why it did not come.
      next?.catch(() => {});
      this.#line.ask({ call: "stop", load }).catch(() => {});
      throw error;
    }
  }

  async commit(changes: readonly StoreChange[]): Promise<void> {
    await this.#line.ask({ call: "commit", changes: changes.map(trimmed) });
  }

  stats(): Promise<StoreStats> {
    return this.#line.ask({ call: "stats" }) as Promise<StoreStats>;
  }

  close(): Promise<void> {
    return this.#closed ??= this.#line.ask({ call: "close" })
      // A worker that has ended has nothing to close.
      .then(() => {}, () => {})
      .finally(() => this.#line.hangUp());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The way to the worker and back: questions are answered in their order. */
class Line {
  readonly #worker: Worker;
  readonly #waiting = new Map<
    number,
    { resolve(value: unknown): void; reject(error: StoreError): void }
  >();
  readonly #unsent: Numbered[] = [];
  #isReady = false;
  #asked = 0;
  #end: string | undefined;

  constructor() {
    this.#worker = new Worker(import.meta.url, { type: "module", name: NAME });
    this.#worker.onmessage = ({ data }) => this.#hear(data);
    this.#worker.onmessageerror = () => this.#fail("an answer was unreadable");
    this.#worker.onerror = (event) => {
      event.preventDefault(); // else this thread would end too
      this.#fail(event.message);
    };
  }

  ask(question: Question): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const id = ++this.#asked;
      if (this.#end !== undefined) return reject(this.#ended(this.#end));
      this.#waiting.set(id, { resolve, reject });
      // What comes before the worker listens would be lost.
      if (!this.#isReady) this.#unsent.push({ ...question, id });
      else this.#send({ ...question, id });
    });
  }

  /** Ends the worker, which has nothing under way. */
  hangUp(): void {
    this.#end ??= "the store is closed";
    // One that is at work would stay for ever, so it has ended itself before.
    this.#worker.terminate();
  }

  #send(question: Numbered): void {
    try {
      this.#worker.postMessage(question);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#hear({ id: question.id, kind: "failed", message });
    }
    // The file is being closed: nothing that is asked from now on is answered.
    if (question.call === "close") this.#end ??= "the store is closed";
  }

  #hear(answer: Answer): void {
    if (answer.id === 0) {
      this.#isReady = true;
      for (const question of this.#unsent.splice(0)) this.#send(question);
      return;
    }
    const asker = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if ("value" in answer) asker?.resolve(answer.value);
    else asker?.reject(new StoreError(answer.kind, answer.message));
  }

  #fail(why: string): void {
    this.#end = `its worker has ended: ${why}`;
    const askers = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#unsent.length = 0;
    for (const { reject } of askers) reject(this.#ended(this.#end));
  }

  #ended(why: string): StoreError {
    return new StoreError("failed", `Cannot use the store: ${why}`);
  }
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
function* chunksOf(store: Store): Generator<Chunk> {
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

/** What a worker's global scope has, of which the types of a program know nothing. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<Numbered>) => void) | null;
  postMessage(answer: Answer): void;
  close(): void;
}

/** The worker's side: opens a store and does what it is asked. */
async function serve(scope: WorkerScope): Promise<void> {
  const { Store } = await import("./store.ts");
  let store: Store | undefined;
  const loads = new Map<number, Generator<Chunk>>();

  const answer = (question: Numbered): unknown => {
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
        const chunk: Chunk = chunks.next().value;
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

  scope.onmessage = ({ data }) => {
    const { id } = data;
    try {
      scope.postMessage({ id, value: answer(data) });
    } catch (error) {
      // Anything else is a fault of ours: it ends the worker, and is told there.
      if (!(error instanceof StoreError)) throw error;
      scope.postMessage({ id, kind: error.kind, message: error.message });
      if (store === undefined) scope.close(); // it could not be opened
    }
    if (data.call === "close") scope.close();
  };
  scope.postMessage({ id: 0, value: undefined });
}

if (isStoreWorker()) await serve(globalThis as unknown as WorkerScope);
