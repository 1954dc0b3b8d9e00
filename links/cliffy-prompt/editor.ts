/**
 * The line that is edited, and its place on the screen: the one room that knows
 * `@inquirer/core`, whose readline edits and whose screen draws. Bytes come
 * from the caller and go to the caller; what keys mean besides editing, and
 * what is shown around the line, is the caller's.
 *
 * @module
 */

import { createPrompt, useEffect, useKeypress, useState } from "@inquirer/core";
import type { EventEmitter } from "node:events";
import process from "node:process";
import { Readable, Writable } from "node:stream";
import { dim } from "./style.ts";

type Readline =
  & Parameters<Parameters<typeof useEffect>[0]>[0]
  & { readonly cursor: number };

/** What is to be seen. */
export interface Frame {
  /** All up to and with the line, which comes last. */
  readonly head: string;
  /** What follows on further lines. */
  readonly body: string;
  /** What is proposed behind the line. */
  readonly ghost: string;
}

/** What an {@linkcode Editor} asks of its caller. */
export interface EditorOptions {
  /** Takes what is drawn. */
  readonly write: (text: string) => void;
  /** How wide the screen is, asked anew each time. */
  readonly columns: () => number;
  /** What is to be seen with that on the line, asked for each drawing. */
  readonly frame: (line: string) => Frame;
  /** Told of each key, after it has edited the line. */
  readonly key: (name: string | undefined) => void;
}

/** A line under edit. It draws on the screen from the start to `close`. */
export class Editor {
  readonly #options: EditorOptions;
  readonly #input = new Readable({ read() {} });
  readonly #context: { clearPromptOnDone: boolean };
  readonly #closed: Promise<void>;
  #readline: Readline | undefined;
  #draw = (): void => {};
  #done = (): void => {};

  /** Draws the first frame. */
  constructor(options: EditorOptions) {
    this.#options = options;
    const output = new Writable({
      decodeStrings: false,
      write(chunk, _encoding, done) {
        options.write(String(chunk));
        done();
      },
    });
    Object.defineProperty(output, "columns", { get: options.columns });
    const context = { input: this.#input, output, clearPromptOnDone: false };
    this.#context = context;
    this.#closed = withoutSignals(() => prompt(this, context));
  }

  /** What is on the line. */
  get line(): string {
    return this.#readline?.line ?? "";
  }

  set line(text: string) {
    this.#readline?.clearLine(0);
    if (text) this.#readline?.write(text);
  }

  /** Where the cursor is on the line. */
  get cursor(): number {
    return this.#readline?.cursor ?? 0;
  }

  /** Takes what was typed, at once. */
  type(text: string): void {
    this.#input.emit("data", text);
  }

  /** Draws a new frame. */
  draw(): void {
    this.#draw();
  }

  /** Leaves the screen with the last frame on it, or without. */
  async close(end: "keep" | "clear"): Promise<void> {
    this.#context.clearPromptOnDone = end === "clear";
    this.#done();
    await this.#closed;
    this.#input.destroy();
  }

  /** The view of the prompt: called for each drawing. */
  static view(editor: Editor, done: (value: void) => void): [string, string] {
    const [drawing, setDrawing] = useState(0);
    useEffect((readline) => {
      editor.#readline = readline as Readline;
      editor.#draw = () => setDrawing((drawing) => drawing + 1);
      editor.#done = done;
    }, []);
    useKeypress((key) => editor.#options.key(key.name));
    const { head, body, ghost } = editor.#options.frame(
      editor.line,
    );
    useEffect(() => editor.#propose(ghost), [drawing]);
    return [head, body];
  }

  /** Draws `ghost` behind the line, as far as the row reaches. */
  #propose(ghost: string): void {
    const readline = this.#readline!;
    if (readline.cursor < readline.line.length) return;
    const room = this.#options.columns() - readline.getCursorPos().cols - 1;
    const text = fit(ghost, room);
    if (text) this.#options.write(`\x1b7${dim(text)}\x1b8`);
  }
}

const prompt = createPrompt<void, Editor>(Editor.view);

/** The start of `text` that takes up at most `width` columns. */
function fit(text: string, width: number): string {
  let fitting = "";
  for (const character of text) {
    width -= character < "\u0300" ? 1 : 2;
    if (width < 0) break;
    fitting += character;
  }
  return fitting;
}

/**
 * Runs `start` and takes back the process's signal listeners that it adds:
 * they would send a signal again that the program itself listens to, and the
 * program's own listeners are to hear it once.
 */
function withoutSignals<T>(start: () => T): T {
  const emitter: EventEmitter = process;
  const before = new Map(
    emitter.eventNames().map((name) => [name, emitter.listeners(name)]),
  );
  const result = start();
  for (const name of emitter.eventNames()) {
    if (!String(name).startsWith("SIG")) continue;
    for (const listener of emitter.listeners(name)) {
      if (before.get(name)?.includes(listener)) continue;
      emitter.removeListener(name, listener as () => void);
    }
  }
  return result;
}
