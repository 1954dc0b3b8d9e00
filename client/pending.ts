/**
 * The commands of a program that have not ended, each with the promise that ends with
 * it. A command is noted before the client's core has it: many end within the call.
 *
 * @module
 */

import type { Millis } from "../base/clock.ts";
import type { Qos } from "../wire/packets.ts";

/** How a command ended: the QoS that was granted, or why it failed. */
export type CommandEnd =
  | { readonly type: "done"; readonly qos: Qos }
  | { readonly type: "failed"; readonly reason: unknown };

/** What is known of a command from its beginning. */
export interface CommandInfo {
  /** What was asked, for a person, as in "connect". */
  readonly what: string;
  /** When it was given. */
  readonly askedAt: Millis;
  /** What ends it before its time. */
  readonly signal: AbortSignal | undefined;
}

/** A command that was given. */
export class PendingCommand implements CommandInfo {
  /** See {@linkcode CommandInfo}. */
  readonly what: string;
  /** See {@linkcode CommandInfo}. */
  readonly askedAt: Millis;
  /** See {@linkcode CommandInfo}. */
  readonly signal: AbortSignal | undefined;
  #end: CommandEnd | undefined;
  #onEnd: ((end: CommandEnd) => void) | undefined;

  /** Makes one that has not ended. */
  constructor({ what, askedAt, signal }: CommandInfo) {
    this.what = what;
    this.askedAt = askedAt;
    this.signal = signal;
  }

  /** Whether it has ended. */
  get isOver(): boolean {
    return this.#end !== undefined;
  }

  /** Ends it. */
  end(end: CommandEnd): void {
    this.#end = end;
    this.#onEnd?.(end);
  }

  /** The promise that ends with it; to be asked for once. */
  promise(): Promise<Qos> {
    const end = this.#end;
    if (end !== undefined) {
      return end.type === "done"
        ? Promise.resolve(end.qos)
        : Promise.reject(end.reason);
    }
    return new Promise((resolve, reject) => {
      this.#onEnd = (end) =>
        end.type === "done" ? resolve(end.qos) : reject(end.reason);
    });
  }
}

/** A signal, and the commands that end when it aborts. */
interface Watched {
  readonly tokens: Set<number>;
  readonly abort: () => void;
}

/** The commands of a client that have not ended, by their tokens. */
export class PendingCommands {
  readonly #cancel: (token: number) => void;
  readonly #byToken = new Map<number, PendingCommand>();
  readonly #watched = new Map<AbortSignal, Watched>();

  /**
   * Starts with none.
   *
   * @param cancel tells the core that nobody waits for a command any more
   */
  constructor(cancel: (token: number) => void) {
    this.#cancel = cancel;
  }

  /** Whether all of them ask for the same. */
  areAll(what: string): boolean {
    return this.#byToken.values().every((command) => command.what === what);
  }

  /** Notes a command that is about to be given. */
  add(token: number, info: CommandInfo): PendingCommand {
    const command = new PendingCommand(info);
    this.#byToken.set(token, command);
    return command;
  }

  /** Forgets a command that the core has not taken. */
  delete(token: number): void {
    this.#byToken.delete(token);
  }

  /**
   * Takes out the command that has ended.
   *
   * @returns `undefined` when nobody waits for it
   */
  take(token: number): PendingCommand | undefined {
    const command = this.#byToken.get(token);
    if (command === undefined) return undefined;
    this.#byToken.delete(token);
    if (command.signal !== undefined) this.#unwatch(command.signal, token);
    return command;
  }

  /** Waits for the end of a command, or until its signal aborts. */
  wait(token: number, command: PendingCommand): Promise<Qos> {
    const promise = command.promise();
    if (!command.isOver && command.signal !== undefined) {
      this.#watch(command.signal, token);
    }
    return promise;
  }

  /** Ends all of them. */
  endAll(reason: unknown): void {
    for (const token of [...this.#byToken.keys()]) {
      this.take(token)?.end({ type: "failed", reason });
    }
  }

  /**
   * Ends a command when its signal aborts. Many may share a signal. It has one
   * listener for them all, as a new listener is compared with each that there is.
   */
  #watch(signal: AbortSignal, token: number): void {
    const watched = this.#watched.get(signal);
    if (watched !== undefined) return void watched.tokens.add(token);
    const tokens = new Set([token]);
    const abort = () => {
      this.#watched.delete(signal);
      for (const token of tokens) {
        const command = this.#byToken.get(token);
        this.#byToken.delete(token);
        this.#cancel(token);
        command?.end({ type: "failed", reason: signal.reason });
      }
    };
    if (signal.aborted) return abort();
    this.#watched.set(signal, { tokens, abort });
    signal.addEventListener("abort", abort, { once: true });
  }

  #unwatch(signal: AbortSignal, token: number): void {
    const watched = this.#watched.get(signal);
    if (!watched?.tokens.delete(token) || watched.tokens.size > 0) return;
    signal.removeEventListener("abort", watched.abort);
    this.#watched.delete(signal);
  }
}
