/**
 * A program at a terminal, and the person in front of it, by way of
 * `terminal.py`.
 *
 * @module
 */

import { programArgs, type ProgramName, type Running } from "./programs.ts";
import { hasModules, startScript } from "./python.ts";
import { Screen } from "./screen.ts";

/** Whether there are terminals to be had here. */
const HAS_TERMINALS = hasModules("pty", "termios", "fcntl");

/** The leftovers of a program that leaves none. */
export const TIDY: readonly string[] = [];

/** A test that needs terminals. */
export function testAtTerminal(name: string, fn: () => Promise<void>): void {
  const ignore = !HAS_TERMINALS;
  const why = ignore ? " (skipped: there is no Python 3 with terminals)" : "";
  Deno.test({ name: name + why, ignore, fn });
}

/** How a program at a terminal ended. */
export interface Ending {
  /** Its exit code. */
  readonly code: number;
  /** What was left on the screen. */
  readonly screen: readonly string[];
  /** What was not as a shell expects it: nothing, when all is well. */
  readonly leftovers: readonly string[];
}

/** What {@linkcode Terminal} is told to be. */
export interface TerminalOptions {
  /** How wide the screen is. Default 80. */
  readonly columns?: number;
  /** How high it is. Default 24. */
  readonly rows?: number;
  /** Variables on top of those of a terminal. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Keys that are no characters. */
export const KEY = {
  up: "\x1b[A",
  down: "\x1b[B",
  right: "\x1b[C",
  left: "\x1b[D",
  home: "\x1b[H",
  end: "\x1b[F",
  delete: "\x1b[3~",
  backspace: "\x7f",
  enter: "\r",
  tab: "\t",
  escape: "\x1b",
  ctrlA: "\x01",
  ctrlC: "\x03",
  ctrlD: "\x04",
  ctrlU: "\x15",
} as const;

/** A terminal with a program at work. */
export class Terminal implements AsyncDisposable {
  readonly #script: Running;
  #output = "";

  /** Starts a program there. */
  constructor(
    name: ProgramName,
    args: readonly string[],
    { columns = 80, rows = 24, env = {} }: TerminalOptions = {},
  ) {
    const task = {
      command: [Deno.execPath(), ...programArgs(name, args)],
      columns,
      rows,
      env,
    };
    this.#script = startScript("terminal.py", [JSON.stringify(task)]);
  }

  /** Waits until a text is shown, behind the last one. */
  async expect(text: string): Promise<void> {
    await this.#do({ expect: text });
  }

  /** Types. */
  async type(...keys: readonly string[]): Promise<void> {
    await this.#do({ send: keys.join("") });
  }

  /** Changes the size of the screen. */
  async resize(columns: number, rows: number): Promise<void> {
    await this.#do({ resize: [columns, rows] });
  }

  /** Sends the program a signal. */
  async kill(signal: Deno.Signal): Promise<void> {
    await this.#do({ signal });
  }

  /** Waits for a question, and types a line. */
  async answer(question: string, line: string): Promise<void> {
    await this.expect(question);
    await this.type(line, KEY.enter);
    // The line as it stays: up to here it may be drawn again.
    await this.expect(`${line.slice(-10)}\r\n`);
  }

  /** Waits until the program has read all that was typed. */
  async drain(): Promise<void> {
    await this.#do({ drain: true });
  }

  /** Sets the modes that it had before the program, as a shell does. */
  async reset(): Promise<void> {
    await this.#do({ reset: true });
  }

  /** Waits until no key is shown. */
  async hide(): Promise<void> {
    await this.#do({ hide: true });
  }

  /** All that was written to it, colors and all, once the program has ended. */
  get output(): string {
    return this.#output;
  }

  /** Waits for the program's end. */
  async end(): Promise<Ending> {
    await this.#script.endInput();
    const { shown, code, modes, unread } = await this.#answer() as Result;
    this.#output = shown.map(({ text }) => text).join("");
    const screen = new Screen(shown[0]!.columns, shown[0]!.rows);
    for (const { columns, rows, text } of shown) {
      screen.resize(columns, rows);
      screen.write(text);
    }
    const { lines, cursor, isCursorShown } = screen;
    const leftovers = [
      ...modes ? [] : ["the terminal's modes"],
      ...unread === "" ? [] : [`keys for the next: ${JSON.stringify(unread)}`],
      ...isCursorShown ? [] : ["a hidden cursor"],
      ...cursor.x === 0 && cursor.y === lines.length
        ? []
        : [`the cursor at column ${cursor.x} of line ${cursor.y}`],
    ];
    return { code, screen: lines, leftovers };
  }

  /** Hangs up, which ends the program when it has not ended by itself. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#script[Symbol.asyncDispose]();
  }

  async #do(step: Record<string, unknown>): Promise<void> {
    await this.#script.write(`${JSON.stringify(step)}\n`);
    await this.#answer();
  }

  async #answer(): Promise<unknown> {
    const answer = JSON.parse(await this.#script.stdout.line());
    if (answer.failure !== undefined) throw new Error(answer.failure);
    return answer;
  }
}

interface Result {
  readonly shown: readonly {
    readonly columns: number;
    readonly rows: number;
    readonly text: string;
  }[];
  readonly code: number;
  readonly modes: boolean;
  readonly unread: string;
}
