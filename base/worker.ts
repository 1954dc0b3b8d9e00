/**
 * Web Workers that answer questions. {@linkcode WorkerClient} starts a worker and
 * asks, {@linkcode serveWorker} answers inside it.
 *
 * A worker runs the same module that starts it: the module passes its own
 * `import.meta.url` and asks {@linkcode isWorker} whether it is the worker. So the
 * worker is found in a directory, in a bundle and in an executable alike. In a
 * bundle that module is the whole program. Therefore a program has to ask
 * {@linkcode isWorker} before it starts, and has to import the module at its top: a
 * bundle's worker never loads what the program imports later.
 *
 * @module
 */

import { messageOf } from "./errors.ts";

/** The names of all workers begin with this. */
const PREFIX = "mock-mqtt ";

/**
 * Tells whether this thread is a worker of this library. A program does nothing
 * then, although `import.meta.main` may be true there.
 *
 * @param role which worker is meant, as `"store"`. Default: any
 * @example
 * ```ts
 * import { assertFalse } from "@std/assert";
 * import { isWorker } from "./worker.ts";
 *
 * assertFalse(isWorker());
 * ```
 */
export function isWorker(role = ""): boolean {
  if (!("WorkerGlobalScope" in globalThis && "name" in globalThis)) {
    return false;
  }
  const { name } = globalThis;
  return typeof name === "string" &&
    (role === "" ? name.startsWith(PREFIX) : name === PREFIX + role);
}

/** What a worker says. */
type WorkerMessage<Answer> =
  | { readonly type: "ready" }
  | { readonly type: "answer"; readonly answer: Answer }
  | { readonly type: "failed"; readonly reason: string };

/** A worker has ended by a fault, and answers nothing more. */
export class WorkerFailure extends Error {
  /** `"WorkerFailure"`. */
  override readonly name = "WorkerFailure";
}

/** A question that waits for its answer. */
interface WaitingQuestion<Answer> {
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

/**
 * Starts a worker and asks it. It answers all questions, one by one, in order.
 *
 * @example A module that is its own worker
 * ```ts ignore
 * import { isWorker, serveWorker, WorkerClient } from "./worker.ts";
 *
 * export async function twice(number: number): Promise<number> {
 *   const worker = new WorkerClient<number, number>(import.meta.url, "doubler");
 *   const answer = await worker.ask(number);
 *   worker.terminate();
 *   return answer;
 * }
 *
 * if (isWorker("doubler")) {
 *   serveWorker((number: number) => 2 * number);
 * }
 * ```
 */
export class WorkerClient<Question, Answer> {
  readonly #worker: Worker;
  readonly #waiting: WaitingQuestion<Answer>[] = [];
  /** Questions from before the worker listened: it would never get them. */
  readonly #unsent: (() => void)[] = [];
  #isReady = false;
  #failure: WorkerFailure | undefined;

  /**
   * Starts the worker.
   *
   * @param module the URL of the module that it runs, `import.meta.url`
   * @param role what the worker is for, as `"store"`
   */
  constructor(module: string, role: string) {
    const name = PREFIX + role;
    this.#worker = new Worker(module, { type: "module", name });
    this.#worker.onmessage = ({ data }) => this.#handleMessage(data);
    this.#worker.onmessageerror = () => this.#fail("an answer was unreadable");
    this.#worker.onerror = (event) => {
      event.preventDefault(); // else this thread would end too
      this.#fail(event.message);
    };
  }

  /**
   * Asks a question, which is copied before this returns if the worker is ready.
   *
   * @param transfer what the worker gets instead of a copy
   * @throws {WorkerFailure} when the worker has ended by a fault
   * @throws {DOMException} when the question cannot be copied
   */
  ask(question: Question, transfer: ArrayBuffer[] = []): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      const send = () => {
        try {
          this.#worker.postMessage(question, transfer);
        } catch (error) {
          return reject(error);
        }
        this.#waiting.push({ resolve, reject });
      };
      if (this.#isReady) send();
      else {this.#unsent.push(() =>
          this.#failure ? reject(this.#failure) : send()
        );}
    });
  }

  /**
   * Ends the worker, which has nothing left to do. A worker that is busy would
   * stay until it has answered.
   */
  terminate(): void {
    this.#worker.terminate();
  }

  #handleMessage(message: WorkerMessage<Answer>): void {
    switch (message.type) {
      case "ready":
        this.#isReady = true;
        for (const send of this.#unsent.splice(0)) send();
        break;
      case "answer":
        this.#waiting.shift()?.resolve(message.answer);
        break;
      case "failed":
        this.#fail(message.reason);
        break;
      default:
        message satisfies never;
    }
  }

  #fail(reason: string): void {
    if (this.#failure !== undefined) return; // the first reason is the cause
    this.#failure = new WorkerFailure(`its worker has ended: ${reason}`);
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure);
    for (const send of this.#unsent.splice(0)) send();
  }
}

/** A worker's global scope, which the types of a program do not know. */
interface WorkerScope {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

/**
 * Answers questions, in the worker. What `answer` throws is a fault of ours: it ends
 * the worker, and the {@linkcode WorkerClient} is told.
 *
 * @param answer answers a question; its second argument ends the worker behind the
 * answer
 */
export function serveWorker<Question, Answer>(
  answer: (question: Question, end: () => void) => Answer,
): void {
  const scope = globalThis as unknown as WorkerScope;
  const post = (message: WorkerMessage<Answer>) => scope.postMessage(message);
  scope.onmessage = ({ data }) => {
    let isLast = false;
    try {
      post({ type: "answer", answer: answer(data, () => isLast = true) });
    } catch (error) {
      post({ type: "failed", reason: messageOf(error) });
      isLast = true;
    }
    if (isLast) scope.close();
  };
  post({ type: "ready" });
}
