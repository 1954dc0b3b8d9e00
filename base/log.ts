/**
 * A program's log: one line for each thing worth telling, with time and level.
 * Goes to standard error, so that standard output holds results alone.
 *
 * @module
 */

/**
 * How much a line matters, the least first.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { LOG_LEVELS } from "../mod.ts";
 *
 * assertEquals(LOG_LEVELS[0], "debug");
 * ```
 */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;

/**
 * How much a line matters.
 *
 * @example
 * ```ts
 * import { Log, type LogLevel } from "../mod.ts";
 *
 * const level: LogLevel = "warn";
 * new Log({ level, write: () => {} }).info("is not shown");
 * ```
 */
export type LogLevel = (typeof LOG_LEVELS)[number];

/**
 * What a log shows and where.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Log, type LogOptions } from "../mod.ts";
 *
 * const lines: string[] = [];
 * const options: LogOptions = {
 *   level: "info",
 *   write: (line) => void lines.push(line),
 * };
 * new Log(options).info("Started");
 * assertEquals(lines.length, 1);
 * ```
 */
export interface LogOptions {
  /** The least level that is shown; `none` shows nothing. Default `info`. */
  readonly level?: LogLevel | "none";
  /** A JSON object a line instead of text. Default false. */
  readonly json?: boolean;
  /** Takes each line, without its end. Default: standard error. */
  readonly write?: (line: string) => void;
  /** The time of day, in milliseconds since 1970. Default `Date.now`. */
  readonly timeOfDay?: () => number;
}

/**
 * A log.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Log } from "./log.ts";
 *
 * const lines: string[] = [];
 * const log = new Log({
 *   write: (line) => lines.push(line),
 *   timeOfDay: () => 0,
 * });
 * log.info("Broker started");
 * log.debug(() => "never built, as debug is not shown");
 * assertEquals(lines, ["1970-01-01T00:00:00.000Z info  Broker started"]);
 * ```
 */
export class Log {
  readonly #least: number;
  readonly #json: boolean;
  readonly #write: (line: string) => void;
  readonly #timeOfDay: () => number;

  /**
   * Opens a log.
   *
   * @param options what is shown and where
   */
  constructor(options: LogOptions = {}) {
    const { level = "info", json = false } = options;
    this.#least = level === "none"
      ? LOG_LEVELS.length
      : LOG_LEVELS.indexOf(level);
    this.#json = json;
    this.#write = options.write ?? writeToStderr;
    this.#timeOfDay = options.timeOfDay ?? Date.now;
  }

  /** Whether lines of a level are shown. */
  shows(level: LogLevel): boolean {
    return LOG_LEVELS.indexOf(level) >= this.#least;
  }

  /** To look for a fault: each datagram. The text is only built when shown. */
  debug(text: () => string): void {
    if (this.#least === 0) this.#line("debug", text());
  }

  /** What a person who runs the program wants to know. */
  info(text: string): void {
    this.#line("info", text);
  }

  /** What may be wrong. */
  warn(text: string): void {
    this.#line("warn", text);
  }

  /** What is wrong. */
  error(text: string): void {
    this.#line("error", text);
  }

  #line(level: LogLevel, text: string): void {
    if (!this.shows(level)) return;
    const time = new Date(this.#timeOfDay()).toISOString();
    this.#write(
      this.#json
        ? JSON.stringify({ time, level, message: text })
        : `${time} ${level.padEnd(5)} ${printable(text)}`,
    );
  }
}

/**
 * A text as it can be shown on a line of a terminal: control characters, which
 * a hostile peer may have put there to steer the terminal, as their escapes.
 *
 * @param keep control characters to leave as they are
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { printable } from "./log.ts";
 *
 * assertEquals(printable("a\u001b[2Jb\n"), "a\\u001b[2Jb\\u000a");
 * ```
 */
export function printable(text: string, keep = ""): string {
  return text.replace(
    /\p{Cc}/gu,
    (character) =>
      keep.includes(character)
        ? character
        : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function writeToStderr(line: string): void {
  const bytes = new TextEncoder().encode(line + "\n");
  try {
    for (let written = 0; written < bytes.length;) {
      written += Deno.stderr.writeSync(bytes.subarray(written));
    }
  } catch {
    // Nobody reads it any more: no reason to stop what it tells of.
  }
}
