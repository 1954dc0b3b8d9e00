/**
 * The terminal, the pipe and files: what a program writes and reads there, and how it
 * asks a person.
 *
 * @module
 */

import { printable } from "../base/log.ts";
import type { Interruption } from "../base/interruption.ts";

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
  Progress.shown?.[Symbol.dispose]();
  if (KEYS.isRaw) KEYS.setRaw(false);
  Deno.exit(code);
}

/** What a person types, or a pipe says, to end the questions. */
export const EXIT_ANSWER = "exit_";

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
 * Writes octets to standard output.
 *
 * @returns false when nobody reads it any more
 */
export function printOctets(bytes: Uint8Array): boolean {
  try {
    writeAll(Deno.stdout, bytes);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return false;
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

/** Writes to standard error, if anybody reads it; in the place of progress. */
export function printError(text: string): void {
  try {
    write(Deno.stderr, Progress.shown === undefined ? text : CLEARED + text);
  } catch {
    // What went wrong still shows in the exit code.
  }
}

/**
 * Goes on to the line behind the ^C that the terminal shows: not where it shows
 * no keys, nor over progress, whose last figure takes that line.
 */
export function leaveInterruptedLine(): void {
  if (KEYS.areHidden || Progress.shown !== undefined) return;
  if (Deno.stderr.isTerminal()) printError("\n");
}

/** The cursor at the start of its line, with nothing behind it. */
const CLEARED = "\r\x1b[K";

function write(stream: typeof Deno.stdout, text: string): void {
  writeAll(stream, encoder.encode(text));
}

function writeAll(stream: typeof Deno.stdout, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length;) {
    written += stream.writeSync(bytes.subarray(written));
  }
}

/** How a text is set off at a terminal. */
export interface Styles {
  /** In the background. */
  dim(text: string): string;
  /** A name. */
  cyan(text: string): string;
  /** A remark. */
  yellow(text: string): string;
}

/** Styles for standard output: none where nobody sees them, or wants them. */
export function styles(): Styles {
  const isPlain = !Deno.stdout.isTerminal() || Deno.noColor;
  const style = (on: number, off: number) => (text: string) =>
    isPlain ? text : `\x1b[${on}m${text}\x1b[${off}m`;
  return { dim: style(2, 22), cyan: style(36, 39), yellow: style(33, 39) };
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

/** How often a person is told how far it is, in milliseconds. */
const PROGRESS_MS = 200;

/**
 * Tells the person at the terminal how far long work has come; nobody else, and
 * not of work that is done at once.
 */
export class Progress implements Disposable {
  /** The one whose line is at the cursor, `undefined` for none. */
  static shown: Progress | undefined;
  readonly #what: string;
  readonly #total: number | undefined;
  readonly #startedAt = performance.now();
  readonly #isShown = Deno.stderr.isTerminal();
  #count = 0;
  #nextAt = this.#startedAt + PATIENCE_MS;

  /**
   * Begins.
   *
   * @param what is done, as in "published"
   * @param total how often, `undefined` when nobody knows
   */
  constructor(what: string, total?: number) {
    this.#what = what;
    this.#total = total;
  }

  /** So many more are done. */
  tick(count = 1): void {
    this.#count += count;
    if (!this.#isShown) return;
    const now = performance.now();
    if (now < this.#nextAt) return;
    this.#nextAt = now + PROGRESS_MS;
    this.#print(now);
  }

  /** Ends its line. */
  [Symbol.dispose](): void {
    if (Progress.shown !== this) return;
    this.#print(performance.now());
    Progress.shown = undefined;
    printError("\n");
  }

  #print(now: number): void {
    Progress.shown = this;
    const perSecond = this.#count / (now - this.#startedAt) * 1_000;
    const rate = `${Math.round(perSecond).toLocaleString("en")}/s`;
    const done = this.#count.toLocaleString("en");
    const texts = [`${done} ${this.#what}, ${rate}`];
    if (this.#total !== undefined) {
      const of = `${done} of ${this.#total.toLocaleString("en")}`;
      const percent = Math.floor(this.#count / this.#total * 100);
      texts.unshift(
        `${of} (${percent} %) ${this.#what}, ${rate}`,
        `${of} ${this.#what}, ${rate}`,
      );
    }
    // What wraps cannot be taken back.
    const room = columns() - 1;
    const text = texts.find(({ length }) => length <= room) ?? texts.at(-1)!;
    printError(text.slice(0, room));
  }
}

function columns(): number {
  try {
    return Deno.consoleSize().columns || 80;
  } catch {
    return 80; // a terminal that does not know its size
  }
}

/** Whether a person sits at both ends: keys and screen. */
export function isInteractive(): boolean {
  return Deno.stdin.isTerminal() && Deno.stdout.isTerminal();
}

/** Octets of the longest line that is read: no datagram holds as many. */
const MAX_LINE = 1_000_000;

/**
 * The lines of a stream, without their ends, as many at a time as have come.
 *
 * @param what the stream is, for the error
 * @param signal ends it
 * @throws {Error} when a line is longer than any datagram
 * @throws the signal's reason when that aborts
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { linesOf } from "./terminal.ts";
 *
 * const stream = new Blob(["21.5\r\n22", ".0\n"]).stream();
 * const lines: string[] = [];
 * for await (const some of linesOf(stream, "it")) {
 *   for (const line of some) lines.push(new TextDecoder().decode(line));
 * }
 * assertEquals(lines, ["21.5", "22.0"]);
 * ```
 */
export async function* linesOf(
  stream: ReadableStream<Uint8Array>,
  what: string,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array[]> {
  let rest = new Uint8Array(0);
  for await (const chunk of chunksOf(stream, signal)) {
    const bytes = rest.length === 0 ? chunk : concat(rest, chunk);
    const lines: Uint8Array[] = [];
    let start = 0;
    // What is left of before has no end in it.
    for (
      let end = bytes.indexOf(LINE_FEED, rest.length);
      end >= 0;
      end = bytes.indexOf(LINE_FEED, start)
    ) {
      const hasReturn = end > start && bytes[end - 1] === ENTER;
      lines.push(bytes.subarray(start, hasReturn ? end - 1 : end));
      start = end + 1;
    }
    rest = bytes.slice(start);
    if (rest.length > MAX_LINE) {
      throw new Error(`Cannot read ${what}: a line is too long`);
    }
    if (lines.length > 0) yield lines;
  }
  if (rest.length > 0) yield [rest];
}

/** What a stream gives, until it ends or the signal aborts. */
async function* chunksOf(
  stream: ReadableStream<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  // A reader then has the end at once, though nothing has come.
  const cancel = () => void reader.cancel().catch(() => {});
  signal?.addEventListener("abort", cancel);
  try {
    for (let part; !(part = await reader.read()).done;) yield part.value;
    signal?.throwIfAborted();
  } finally {
    signal?.removeEventListener("abort", cancel);
    cancel();
  }
}

function concat(one: Uint8Array, other: Uint8Array) {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}

/**
 * The lines of standard input, without their ends.
 *
 * @param signal ends it
 * @throws {Error} when it is no UTF-8, or when a line is longer than any datagram
 * @throws the signal's reason when that aborts
 */
export async function* inputLines(
  signal?: AbortSignal,
): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const { readable } = Deno.stdin;
  for await (const lines of linesOf(readable, "standard input", signal)) {
    for (const line of lines) {
      let text: string;
      try {
        text = decoder.decode(line);
      } catch (cause) {
        throw new Error("Cannot read standard input: it is no UTF-8", {
          cause,
        });
      }
      yield text;
    }
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
    throw unreadable(file, cause);
  }
}

/**
 * Lets nothing that is typed be seen, until the program ends: keys would stand in
 * the middle of what it shows, and lines of a paste would run as commands after
 * it. Ctrl-C ends the program as ever.
 */
export function swallowKeys(interruption: Interruption): void {
  KEYS.swallow(interruption).catch(() => {}); // there is no keyboard any more
}

/**
 * A file that a person named, to read bit by bit.
 *
 * @throws {Error} when it cannot be read, with the reason in words
 */
export function openFile(file: string): ReadableStream<Uint8Array> {
  try {
    // A directory can be opened, and not be read.
    if (Deno.statSync(file).isDirectory) throw new Deno.errors.IsADirectory();
    return Deno.openSync(file).readable;
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

function unreadable(file: string, cause: unknown): Error {
  const reason = cause instanceof Deno.errors.NotFound
    ? "there is no such file"
    : cause instanceof Deno.errors.IsADirectory
    ? "it is a directory"
    : (cause as Error).message;
  return new Error(`Cannot read "${file}": ${reason}`, { cause });
}

/** What a question can be given. */
export interface AskOptions {
  /** Answers that Tab completes and the arrow keys walk through. */
  readonly suggestions?: readonly string[];
  /** The answer when nothing is typed. */
  readonly usual?: string;
  /** Says what is wrong with an answer, `undefined` when nothing is. */
  readonly check?: (answer: string) => string | undefined;
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
  // Only here: a program that does not ask does not load the prompts.
  const { Input } = await import("@cliffy/prompt");
  try {
    return await Input.prompt({
      message,
      suggestions: [...options.suggestions ?? []],
      ...options.usual !== undefined && { default: options.usual },
      validate: (answer) => options.check?.(answer) ?? true,
      transform: (value) => value,
      reader: KEYS,
    });
  } catch (error) {
    if (!(error instanceof NoMoreKeys)) throw error;
    // Some prompts leave their line, some go on to the next: begin it anew.
    print(CLEARED);
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
  areHidden: false,

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

  /** Lets nothing that is typed be seen, or reach the next reader. */
  async swallow(interruption: Interruption): Promise<void> {
    this.hide();
    if (Deno.build.os !== "windows") {
      // A shell brings a program back from Ctrl-Z in modes of its own.
      Deno.addSignalListener("SIGCONT", () => this.hide());
    }
    const buffer = new Uint8Array(1_024);
    for (
      let keys: Uint8Array | undefined = this.pasted;
      keys !== undefined;
      keys = await this.next(buffer)
    ) {
      // One that came along with the last answer, or that Windows makes no signal.
      if (keys.includes(CTRL_C)) interruption.abort("SIGINT");
    }
  },

  /** Shows no key. Ctrl-C is still a signal, where the system can. */
  hide(): void {
    Deno.stdin.setRaw(true, { cbreak: Deno.build.os !== "windows" });
    this.isRaw = true;
    this.areHidden = true;
  },

  async next(buffer: Uint8Array): Promise<Uint8Array | undefined> {
    const length = await Deno.stdin.read(buffer);
    return length === null ? undefined : buffer.subarray(0, length);
  },

  stop(isInterrupt: boolean): never {
    this.pasted = new Uint8Array(0);
    this.setRaw(false);
    throw new NoMoreKeys(isInterrupt);
  },
};
