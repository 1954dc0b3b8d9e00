/**
 * The Web Workers that are started, and what they are told.
 *
 * @module
 */

import type { StoreChange } from "../../broker/records.ts";
import type { StoreOptions } from "../../store/file.ts";

/** What a store's worker is told. */
interface Post {
  readonly call: string;
  readonly changes?: readonly StoreChange[];
  readonly options?: StoreOptions;
}

/** Workers as they are, but for what is noted of them while this is at hand. */
export class Watch implements Disposable {
  /** All that were started. */
  readonly workers: Worker[] = [];
  /** What was sent to them. */
  readonly posts: Post[] = [];
  readonly #original = globalThis.Worker;

  /** Watches from now on. */
  constructor() {
    const { workers, posts } = this;
    globalThis.Worker = class extends this.#original {
      constructor(url: string | URL, options?: WorkerOptions) {
        super(url, options);
        workers.push(this);
      }

      // deno-lint-ignore no-explicit-any -- what it overrides has it
      override postMessage(message: any): void {
        posts.push(message);
        super.postMessage(message);
      }
    };
  }

  /** Watches no more. */
  [Symbol.dispose](): void {
    globalThis.Worker = this.#original;
  }
}
