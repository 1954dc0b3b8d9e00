/**
 * The signals that end a program, as one `AbortSignal`.
 *
 * @module
 */

/**
 * SIGINT and SIGTERM as one `AbortSignal`. The signals do what they usually do
 * again when it is disposed of.
 *
 * @example
 * ```ts
 * import { Interruption } from "./interruption.ts";
 *
 * using interruption = new Interruption();
 * interruption.signal.addEventListener("abort", () => console.log("Bye"));
 * ```
 */
export class Interruption implements Disposable {
  readonly #controller = new AbortController();
  readonly #listeners: [Deno.Signal, () => void][] = [];
  #cause: Deno.Signal | undefined;
  #isSignal = false;

  /** Listens from now on. */
  constructor() {
    // Windows has no SIGTERM; SIGBREAK is what its consoles send instead.
    const signals: Deno.Signal[] = Deno.build.os === "windows"
      ? ["SIGINT", "SIGBREAK"]
      : ["SIGINT", "SIGTERM"];
    for (const cause of signals) {
      const listener = () => {
        this.#isSignal = true;
        this.abort(cause);
      };
      Deno.addSignalListener(cause, listener);
      this.#listeners.push([cause, listener]);
    }
  }

  /** Aborts at the first signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Which signal it was, `undefined` as long as there was none. */
  get cause(): Deno.Signal | undefined {
    return this.#cause;
  }

  /** Whether it was a signal, not a call of `abort`. */
  get isSignal(): boolean {
    return this.#isSignal;
  }

  /** Acts as if a signal had come. */
  abort(cause: Deno.Signal): void {
    this.#cause ??= cause;
    this.#controller.abort(new Error(`Interrupted by ${cause}`));
  }

  /** Resolves at the first signal. */
  async wait(): Promise<void> {
    const { signal } = this;
    if (signal.aborted) return;
    await new Promise((resolve) =>
      signal.addEventListener("abort", resolve, { once: true })
    );
  }

  /** Stops listening. */
  [Symbol.dispose](): void {
    for (const [cause, listener] of this.#listeners) {
      Deno.removeSignalListener(cause, listener);
    }
    this.#listeners.length = 0;
  }
}
