/**
 * {@linkcode Input} of `@cliffy/prompt`: what is asked, how keys move through
 * the suggestions, and when an answer will do. The line itself and the screen
 * are `editor.ts`, loaded when the first question is put.
 *
 * A turn is one read: its keys are all dealt with, suggestions and `validate`
 * awaited, and the screen drawn, before the next read begins.
 *
 * @module
 */

import type { Editor, Frame } from "./editor.ts";
import {
  bold,
  brightBlue,
  dim,
  FIGURES,
  green,
  italic,
  red,
  underline,
  visible,
  yellow,
} from "./style.ts";
import { Suggestions } from "./suggestions.ts";

/** The options of {@linkcode Input.prompt}. */
export interface InputOptions {
  /** What is asked. */
  message: string;
  /** The answer when nothing is typed; shown behind the message. */
  default?: string;
  /** What may be meant, or what finds that for what is typed. */
  suggestions?:
    | Array<string | number>
    | ((
      input: string,
    ) => Array<string | number> | Promise<Array<string | number>>);
  /** Whether the suggestions are listed below. */
  list?: boolean;
  /** Whether Enter takes the chosen suggestion: as `list`, when left out. */
  completeOnSubmit?: boolean;
  /** Whether the keys are told below. */
  info?: boolean;
  /** How many suggestions are listed at once: 8, when left out. */
  maxRows?: number;
  /** The fewest characters of an answer, unless `validate` decides. */
  minLength?: number;
  /** The most characters of an answer, unless `validate` decides. */
  maxLength?: number;
  /** Whether an answer will do; a string says why not. */
  validate?: (value: string) => string | boolean | Promise<string | boolean>;
  /** Makes the answer of what was typed: trims it, when left out. */
  transform?: (value: string) => string | undefined;
  /** What to say below the question. */
  hint?: string;
  /** What comes before the message: a yellow `? `, when left out. */
  prefix?: string;
  /** What comes after the message: a blue `›`, when left out. */
  pointer?: string;
  /** What every line begins with: nothing, when left out. */
  indent?: string;
  /** Where keys come from: standard input, when left out. */
  reader?: {
    /** Waits for keys, `null` at the end; at most one call is open. */
    read(p: Uint8Array): Promise<number | null>;
    /** Switches the terminal between single keys and whole lines. */
    setRaw(mode: boolean, options?: Deno.SetRawOptions): void;
    /** Whether there is a terminal to switch. */
    isTerminal(): boolean;
  };
  /** Where the question goes: standard output, when left out. */
  writer?: {
    /** Writes some of the bytes and gives how many. */
    writeSync(p: Uint8Array): number;
  };
}

/** The injected answer; as in the original it serves until it is accepted. */
let injected: string | undefined;

/**
 * Asks for a line of text.
 *
 * @example
 * ```ts
 * import { Input } from "@cliffy/prompt";
 *
 * Input.inject("a/b"); // instead of somebody at a terminal
 * const topic = await Input.prompt({
 *   message: "Topic",
 *   suggestions: ["a/b", "a/c"],
 *   validate: (value) => !value.includes("#") || "A topic has no wildcard",
 * });
 * console.assert(topic === "a/b");
 * ```
 */
export class Input {
  /**
   * Asks, and waits for an answer that will do.
   *
   * Tab, or the right arrow at the end of the line, takes the chosen
   * suggestion; the arrows up and down choose another, Escape none. Ctrl-C
   * removes the question and ends the process with code 130.
   *
   * @param options the message alone, or all options
   * @returns the answer
   * @throws {Error} when the input ends, when an injected answer will not do,
   * and whatever the reader, `suggestions` or `validate` throw; the terminal is
   * then as it was before
   */
  static async prompt(options: string | InputOptions): Promise<string> {
    const question = new Question(
      typeof options === "string" ? { message: options } : options,
    );
    return injected === undefined
      ? await question.ask()
      : await question.answer(injected);
  }

  /**
   * Gives the answer to the next prompt in advance, as a test would.
   *
   * @param value what would have been typed
   */
  static inject(value: string): void {
    injected = value;
  }
}

/** One question, until it is answered. */
class Question {
  readonly #options: InputOptions;
  readonly #prefix: string;
  readonly #pointer: string;
  readonly #indent: string;
  readonly #reader: NonNullable<InputOptions["reader"]>;
  readonly #writer: NonNullable<InputOptions["writer"]>;
  readonly #suggestions: Suggestions;
  #error: string | undefined;
  #answer: string | undefined;
  #state: "open" | "answered" | "left" | "interrupted" = "open";
  /** The cursor before the key at hand. */
  #cursor = 0;

  constructor(options: InputOptions) {
    this.#options = options;
    this.#prefix = options.prefix ?? yellow("? ");
    this.#pointer = options.pointer ?? brightBlue(FIGURES.pointerSmall);
    this.#indent = options.indent ?? "";
    this.#reader = options.reader ?? Deno.stdin;
    this.#writer = options.writer ?? Deno.stdout;
    this.#suggestions = new Suggestions(
      options.suggestions ?? [],
      options.maxRows ?? 8,
    );
  }

  /** Answers without asking. */
  async answer(value: string): Promise<string> {
    await this.#submit(value);
    if (this.#answer === undefined) {
      throw new Error(this.#errorLine() ?? "No value came of the answer");
    }
    injected = undefined;
    this.#write(`${this.#answerLine(this.#answer)}\n`);
    return this.#answer;
  }

  /** Asks until there is an answer. */
  async ask(): Promise<string> {
    const raw = this.#reader.isTerminal();
    if (raw) this.#reader.setRaw(true);
    try {
      await this.#suggestions.match("");
      const { Editor } = await import("./editor.ts");
      const editor = new Editor({
        write: (text) => this.#write(text),
        columns: () => this.#columns(),
        frame: (line) => this.#frame(line),
        key: (name) => this.#key(editor, name),
      });
      try {
        await this.#turns(editor);
      } finally {
        if (this.#state === "open") {
          this.#state = "left";
          editor.draw();
        }
        await editor.close(this.#state === "interrupted" ? "clear" : "keep");
      }
    } finally {
      if (raw) this.#reader.setRaw(false);
    }
    if (this.#answer === undefined) Deno.exit(130); // Ctrl-C
    return this.#answer;
  }

  /** Reads until there is an answer or Ctrl-C. */
  async #turns(editor: Editor): Promise<void> {
    const buffer = new Uint8Array(4096);
    const decoder = new TextDecoder();
    while (this.#state === "open") {
      const size = await this.#reader.read(buffer);
      if (size === null) {
        throw new Error(
          `The input ended before "${this.#options.message}" was answered`,
        );
      }
      const text = decoder.decode(buffer.subarray(0, size), { stream: true });
      this.#error = undefined;
      for (const part of text.match(PARTS) ?? []) {
        await this.#take(editor, part);
        if (this.#state !== "open") break;
      }
      editor.draw();
    }
  }

  /** Deals with a key of its own meaning, or leaves others to the editor. */
  async #take(editor: Editor, part: string): Promise<void> {
    switch (part) {
      case "\x03":
        this.#state = "interrupted";
        return;
      case "\r":
      case "\n": {
        const { completeOnSubmit = this.#options.list } = this.#options;
        if (completeOnSubmit) this.#complete(editor);
        await this.#submit(editor.line);
        break;
      }
      case "\t":
        this.#complete(editor);
        break;
      case "\x1b":
        this.#suggestions.dismiss();
        break;
      default: {
        const before = editor.line;
        editor.type(part);
        if (editor.line !== before) this.#suggestions.typed();
      }
    }
    this.#cursor = editor.cursor;
    if (this.#state === "open") await this.#suggestions.match(editor.line);
  }

  /** Deals with a key that the editor has seen already. */
  #key(editor: Editor, name: string | undefined): void {
    // In a list down is down; without one, up leads on as in a shell's history.
    const down = this.#options.list ? 1 : -1;
    if (name === "down") this.#suggestions.move(down);
    if (name === "up") this.#suggestions.move(down === 1 ? -1 : 1);
    if (name === "pagedown") this.#suggestions.turn(down);
    if (name === "pageup") this.#suggestions.turn(down === 1 ? -1 : 1);
    if (name === "right" && this.#cursor === editor.line.length) {
      this.#complete(editor);
    }
    this.#cursor = editor.cursor;
  }

  #complete(editor: Editor): void {
    const { chosen } = this.#suggestions;
    if (chosen === undefined) return;
    editor.line = chosen;
    this.#suggestions.completed();
  }

  async #submit(value: string): Promise<void> {
    const { default: preset, transform, validate } = this.#options;
    if (value === "" && preset !== undefined) {
      this.#answer = preset;
    } else {
      const verdict = await (validate ?? this.#checkLength)(value);
      if (verdict === false) this.#error = "Invalid answer.";
      else if (typeof verdict === "string") this.#error = verdict;
      else this.#answer = transform ? transform(value) : value.trim();
    }
    if (this.#answer !== undefined) this.#state = "answered";
  }

  #checkLength = (value: string): string | boolean => {
    if (typeof value !== "string") return false;
    const { minLength = 0, maxLength = Infinity } = this.#options;
    const length = `but has a length of ${value.length}.`;
    if (value.length < minLength) {
      return `Value must be longer than ${minLength} ${length}`;
    }
    if (value.length > maxLength) {
      return `Value can't be longer than ${maxLength} ${length}`;
    }
    return true;
  };

  #frame(line: string): Frame {
    if (this.#answer !== undefined) {
      return { head: this.#answerLine(this.#answer), body: "", ghost: "" };
    }
    const head = `${this.#messagePart()}${underline(visible(line))}`;
    if (this.#state !== "open") return { head, body: "", ghost: "" };
    const rows = [...this.#listRows(line), this.#infoRow(), this.#footer()];
    return {
      head,
      body: rows.filter((row) => row !== undefined).join("\n"),
      ghost: visible(this.#suggestions.chosen?.slice(line.length) ?? ""),
    };
  }

  #messagePart(): string {
    const { default: preset, message } = this.#options;
    const shown = preset === undefined ? "" : dim(` (${preset})`);
    return `${this.#indent}${this.#prefix}${
      bold(message)
    }${shown} ${this.#pointer} `;
  }

  #answerLine(answer: string): string {
    return this.#messagePart() + green(visible(answer));
  }

  #listRows(line: string): string[] {
    if (!this.#options.list) return [];
    const { chosen, page } = this.#suggestions;
    return page.map((text) => {
      const item = brightBlue(visible(text.slice(0, line.length))) +
        dim(visible(text.slice(line.length)));
      return text === chosen
        ? `${this.#indent}${brightBlue(FIGURES.pointer)} ${underline(item)}`
        : `${this.#indent}  ${item}`;
    });
  }

  #infoRow(): string | undefined {
    if (!this.#options.info) return undefined;
    const { count, place } = this.#suggestions;
    const [next, previous] = this.#options.list ? ["↓", "↑"] : ["↑", "↓"];
    const keys = count === 0 ? [] : [
      `Next: ${bold(next!)}`,
      `Previous: ${bold(previous!)}`,
      `Complete: ${bold("⇥")}`,
    ];
    const counter = count === 0
      ? ""
      : `${brightBlue(FIGURES.info)}${bold(` ${place}/${count} `)}`;
    return this.#indent + counter +
      [...keys, `Submit: ${bold("↵")}`].join(", ");
  }

  #footer(): string | undefined {
    const { hint } = this.#options;
    return this.#errorLine() ?? (hint &&
      this.#indent +
        italic(brightBlue(`${dim(`${FIGURES.pointer} `)}${hint}`)));
  }

  #errorLine(): string | undefined {
    if (!this.#error) return undefined;
    return this.#indent + red(`${bold(`${FIGURES.cross} `)}${this.#error}`);
  }

  #columns(): number {
    const { isTerminal } = this.#writer as { isTerminal?: () => boolean };
    const terminal = isTerminal
      ? isTerminal.call(this.#writer)
      : this.#reader.isTerminal();
    if (!terminal) return 80;
    try {
      return Deno.consoleSize().columns || 80;
    } catch {
      return 80; // a terminal that does not know its size
    }
  }

  #write(text: string): void {
    let bytes = new TextEncoder().encode(text);
    while (bytes.length > 0) {
      bytes = bytes.subarray(this.#writer.writeSync(bytes));
    }
  }
}

/**
 * What a chunk of input is made of: Enter, Tab, Ctrl-C, an Escape that begins
 * nothing, and what the editor understands in between. Ctrl-D and Ctrl-Z, which
 * would close the editor or stop the process, are left out.
 */
const PARTS =
  // deno-lint-ignore no-control-regex -- it is control characters that are meant
  /[\x03\t\r\n]|\x1b(?=\x1b*$)|(?:(?!\x1b+$)[^\x03\x04\x1a\t\r\n])+/g;
