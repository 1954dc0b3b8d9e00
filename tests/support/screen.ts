/**
 * A screen: what a person sees of what a program writes to a terminal.
 *
 * @module
 */

/** What is seen. */
export class Screen {
  #columns: number;
  #rows: number;
  #lines: string[][] = [[]];
  #x = 0;
  #y = 0;
  #saved: readonly [x: number, y: number] = [0, 0];
  #isCursorShown = true;

  /** An empty screen. */
  constructor(columns: number, rows: number) {
    this.#columns = columns;
    this.#rows = rows;
  }

  /** What is on it, without the space around; lines that left it at the top too. */
  get lines(): readonly string[] {
    const lines = this.#lines.map((line) => line.join("").trimEnd());
    return lines.slice(0, lines.findLastIndex((line) => line !== "") + 1);
  }

  /** Where the cursor is, the first line being 0. */
  get cursor(): { readonly x: number; readonly y: number } {
    return { x: this.#x, y: this.#y };
  }

  /** Whether the cursor is seen. */
  get isCursorShown(): boolean {
    return this.#isCursorShown;
  }

  /** Changes its size, and nothing of what is on it. */
  resize(columns: number, rows: number): void {
    this.#columns = columns;
    this.#rows = rows;
    this.#x = Math.min(this.#x, columns - 1);
  }

  /** Shows what a program writes. */
  write(text: string): void {
    for (const [part] of text.matchAll(PARTS)) {
      if (part.startsWith("\x1b")) this.#obey(part);
      else this.#put(part);
    }
  }

  #put(character: string): void {
    switch (character) {
      case "\r":
        this.#x = 0;
        return;
      case "\n":
        return this.#moveTo(this.#x, this.#y + 1);
      case "\b":
        return this.#moveTo(this.#x - 1, this.#y);
      case "\t":
        return this.#moveTo(
          Math.min((this.#x >> 3) + 1 << 3, this.#columns - 1),
        );
    }
    if (/\p{Cc}/u.test(character)) {
      throw new Error(`No terminal shows ${JSON.stringify(character)}`);
    }
    // The column behind the last one is where the next character wraps.
    if (this.#x === this.#columns) this.#moveTo(0, this.#y + 1);
    this.#line()[this.#x++] = character;
  }

  #obey(sequence: string): void {
    const [, mark, number, command] =
      // deno-lint-ignore no-control-regex -- it is control characters that are meant
      /^\x1b(?:\[(\??)([\d;]*))?(.)$/.exec(sequence) ?? [];
    const count = Number(number || 1);
    switch (mark === undefined ? `ESC ${command}` : `${mark}${command}`) {
      case "A":
        return this.#moveTo(this.#x, Math.max(this.#y - count, this.#top));
      case "B":
        return this.#moveTo(this.#x, this.#y + count);
      case "C":
        return this.#moveTo(Math.min(this.#x + count, this.#columns - 1));
      case "D":
        return this.#moveTo(Math.min(this.#x, this.#columns - 1) - count);
      case "G":
        return this.#moveTo(count - 1);
      case "J":
        if (number === "" || number === "0") {
          this.#line().length = Math.min(this.#x, this.#line().length);
          this.#lines.length = this.#y + 1;
          return;
        }
        break;
      case "K":
        if (number === "2") return void (this.#lines[this.#y] = []);
        if (number === "" || number === "0") {
          this.#line().length = Math.min(this.#x, this.#line().length);
          return;
        }
        break;
      case "m":
        return;
      case "?h":
      case "?l":
        if (number === "25") {
          this.#isCursorShown = command === "h";
          return;
        }
        break;
      case "ESC 7":
        this.#saved = [this.#x, this.#y];
        return;
      case "ESC 8":
        return this.#moveTo(...this.#saved);
    }
    throw new Error(`No meaning is known of ${JSON.stringify(sequence)}`);
  }

  get #top(): number {
    return Math.max(0, this.#lines.length - this.#rows);
  }

  #moveTo(x: number, y = this.#y): void {
    this.#x = Math.max(0, x);
    this.#y = y;
    this.#line();
  }

  /** The line that the cursor is on, filled up to it. */
  #line(): string[] {
    while (this.#lines.length <= this.#y) this.#lines.push([]);
    const line = this.#lines[this.#y]!;
    while (line.length < this.#x) line.push(" ");
    return line;
  }
}

/** Sequences, and characters. */
// deno-lint-ignore no-control-regex -- it is control characters that are meant
const PARTS = /\x1b(?:\[[\d;?]*[@-~]|[^[])|[^]/gu;
