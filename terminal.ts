/**
 * The terminal, the pipe and files: what a program writes and reads there, and
 * how it asks a person. Knows nothing of flags or protocols.
 *
 * @module
 */

import { printable } from "./log.ts";
import type { Interruption } from "./template.ts";

/** How a program ends. */
export const EXIT = {
  /** It did what was asked. */
  done: 0,
  /** The command line was wrong, or something failed. */
  failed: 1,
  /** The time given by `-W` was over. */
  timedOut: 27,
  /** Ctrl-C. */
  interrupted: 130,
} as const;

/**
 * Ends the program, with the terminal as it was: if a prompt has changed it, as
 * the system stops a program in the background that only tries.
 */
export function exit(code: number): never {
  if (KEYS.isRaw) KEYS.setRaw(false);
  Deno.exit(code);
}

/** Waits for a while, in milliseconds, or until the signal aborts. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done, { once: true });
  });
}

const encoder = new TextEncoder();

/**
 * Writes to standard output. Ends the program, in peace, when nobody reads it
 * any more (`| head -1`).
 */
export function print(text: string): void {
  try {
    write(Deno.stdout, text);
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) exit(EXIT.done);
    throw error;
  }
}

/**
 * Writes what somebody else wrote to standard output: at a terminal, with the
 * control characters that would steer it as their escapes.
 */
export function printData(text: string): void {
  print(Deno.stdout.isTerminal() ? printable(text, "\n\t") : text);
}

/** Writes to standard error, if anybody reads it. */
export function printError(text: string): void {
  try {
    write(Deno.stderr, text);
  } catch {
    // What went wrong still shows in the exit code.
  }
}

function write(stream: typeof Deno.stdout, text: string): void {
  const bytes = encoder.encode(text);
  for (let written = 0; written < bytes.length;) {
    written += stream.writeSync(bytes.subarray(written));
  }
}

/** How long a person does not wonder why nothing happens. */
const PATIENCE_MS = 500;

/**
 * Waits for what may take long, and tells the person at the terminal so, unless
 * it comes soon.
 */
export async function tellWhile<Result>(
  text: string,
  result: Promise<Result>,
): Promise<Result> {
  const hint = setTimeout(() => printError(`${text}\n`), PATIENCE_MS);
  try {
    return await result;
  } finally {
    clearTimeout(hint);
  }
}

/** Whether a person sits at both ends: keys and screen. */
export function isInteractive(): boolean {
  return Deno.stdin.isTerminal() && Deno.stdout.isTerminal();
}

/** Characters of the longest line that is read: no datagram holds as many. */
const MAX_LINE = 1_000_000;

/**
 * The lines of standard input, without their ends.
 *
 * @throws {Error} when it is no UTF-8, or when a line is longer than any datagram
 */
export async function* inputLines(): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let parts: string[] = [];
  let length = 0;
  for await (const bytes of Deno.stdin.readable) {
    const [first, ...others] = decode(decoder, bytes).split("\n");
    parts.push(first!);
    length += first!.length;
    if (length > MAX_LINE) {
      throw new Error("Cannot read standard input: a line is too long");
    }
    for (const other of others) {
      yield parts.join("").replace(/\r$/, "");
      parts = [other];
      length = other.length;
    }
  }
  const rest = parts.join("") + decode(decoder);
  if (rest !== "") yield rest;
}

function decode(decoder: TextDecoder, bytes?: Uint8Array<ArrayBuffer>): string {
  try {
    return bytes === undefined
      ? decoder.decode()
      : decoder.decode(bytes, { stream: true });
  } catch (cause) {
    throw new Error("Cannot read standard input: it is no UTF-8", { cause });
  }
}

/**
 * The octets of a file that a person named.
 *
 * @throws {Error} when it cannot be read, with the reason in words
 * @example
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { readFile } from "./terminal.ts";
 *
 * await assertRejects(
 *   () => readFile("no such file"),
 *   Error,
 *   'Cannot read "no such file": there is no such file',
 * );
 * ```
 */
export async function readFile(file: string): Promise<Uint8Array> {
  try {
    return await Deno.readFile(file);
  } catch (cause) {
    const reason = cause instanceof Deno.errors.NotFound
      ? "there is no such file"
      : cause instanceof Deno.errors.IsADirectory
      ? "it is a directory"
      : (cause as Error).message;
    throw new Error(`Cannot read "${file}": ${reason}`, { cause });
  }
}

/** What a question can be given. */
export interface AskOptions {
  /** Answers that Tab completes and the arrow keys walk through. */
  readonly suggestions?: readonly string[];
}

/**
 * Asks the person at the terminal for a line.
 *
 * @returns the line as typed, `undefined` when there is none: at Ctrl-D, at
 * Ctrl-C (which also sets off the interruption), or at its end
 */
export async function ask(
  message: string,
  interruption: Interruption,
  options: AskOptions = {},
): Promise<string | undefined> {
  // Only here: whoever does not ask does not pay for what asking needs.
  const { Input } = await import("@cliffy/prompt");
  try {
    return await Input.prompt({
      message,
      suggestions: [...options.suggestions ?? []],
      transform: (value) => value,
      reader: KEYS,
    });
  } catch (error) {
    if (!(error instanceof NoMoreKeys)) throw error;
    // Some prompts leave their line, some go on to the next: begin it anew.
    print("\r\x1b[K");
    if (error.isInterrupt) interruption.abort("SIGINT");
    return undefined;
  }
}

class NoMoreKeys extends Error {
  constructor(readonly isInterrupt: boolean) {
    super("There are no more keys");
  }
}

const CTRL_C = 0x03;
const CTRL_D = 0x04;
const ENTER = 0x0d;
/** What Enter was typed as while no prompt had the keyboard. */
const LINE_FEED = 0x0a;

/**
 * The keyboard, as the prompts read it. Gives out one line of a paste at a
 * time, so that the next prompt gets the next one, and ends at Ctrl-C and
 * Ctrl-D with an error of ours: the prompts alone would end the program in the
 * one case and nothing in the other.
 */
const KEYS = {
  pasted: new Uint8Array(0),
  isRaw: false,

  isTerminal(): boolean {
    return Deno.stdin.isTerminal();
  },

  setRaw(mode: boolean): void {
    Deno.stdin.setRaw(mode);
    this.isRaw = mode;
  },

  async read(into: Uint8Array): Promise<number | null> {
    if (this.pasted.length === 0) {
      const buffer = new Uint8Array(4_096);
      const length = await Deno.stdin.read(buffer);
      if (length === null) return this.stop(false);
      this.pasted = buffer.subarray(0, length).filter((octet, i, all) =>
        octet !== LINE_FEED || all[i - 1] !== ENTER
      );
    }
    const key = this.pasted[0];
    if (key === CTRL_C || key === CTRL_D) this.stop(key === CTRL_C);

    const end = this.pasted.findIndex((octet) =>
      octet === ENTER || octet === LINE_FEED || octet === CTRL_C ||
      octet === CTRL_D
    );
    const isLine = this.pasted[end] === ENTER || this.pasted[end] === LINE_FEED;
    const atEnd = isLine ? end + 1 : end;
    const length = Math.min(
      into.length,
      end === -1 ? this.pasted.length : atEnd,
    );
    into.set(this.pasted.subarray(0, length));
    this.pasted = this.pasted.subarray(length);
    return length;
  },

  stop(isInterrupt: boolean): never {
    this.pasted = new Uint8Array(0);
    this.setRaw(false);
    throw new NoMoreKeys(isInterrupt);
  },
};
