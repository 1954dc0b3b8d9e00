/**
 * Which suggestions match what is typed, and which of them is chosen. Does no
 * I/O, save what the source of suggestions does.
 *
 * @module
 */

/** Suggestions, or what finds some for what is typed. */
export type Source =
  | Array<string | number>
  | ((
    input: string,
  ) => Array<string | number> | Promise<Array<string | number>>);

/** The suggestions for what is typed, the chosen one, and those in view. */
export class Suggestions {
  readonly #source: Source;
  readonly #maxRows: number;
  #matches: ReadonlyArray<string> = [];
  #index = -1;
  #offset = 0;
  #dismissed = false;

  /** Starts with nothing chosen; `maxRows` of them are in view. */
  constructor(source: Source, maxRows: number) {
    this.#source = source;
    this.#maxRows = maxRows;
  }

  /** The chosen one. */
  get chosen(): string | undefined {
    return this.#matches[this.#index];
  }

  /** How many match. */
  get count(): number {
    return this.#matches.length;
  }

  /** The place of the chosen one, from 1; 0 when none is chosen. */
  get place(): number {
    return this.#index + 1;
  }

  /** Those in view. */
  get page(): ReadonlyArray<string> {
    return this.#matches.slice(this.#offset, this.#offset + this.#rows);
  }

  /** Finds those that begin with `input`, the closest first. */
  async match(input: string): Promise<void> {
    const found = typeof this.#source === "function"
      ? await this.#source(input)
      : this.#source;
    const unique = [...new Set(found.map(String))].filter((text) => text);
    const prefix = input.toLowerCase();
    const matches = unique.filter((text) =>
      text.toLowerCase().startsWith(prefix)
    );
    this.#matches = input
      ? matches.toSorted((a, b) => distance(a, input) - distance(b, input))
      : matches;

    // What is typed chooses the first match; nothing typed chooses none.
    const least = this.#dismissed || !input.trim() ? -1 : 0;
    const most = this.#dismissed ? -1 : this.count - 1;
    this.#index = Math.max(least, Math.min(most, this.#index));
    const lastPage = this.count - this.#rows;
    this.#offset = Math.max(0, Math.min(lastPage, this.#offset));
  }

  /** Chooses the one `by` further down, or up when it is negative. */
  move(by: 1 | -1): void {
    this.#dismissed = false;
    const index = this.#index + by;
    if (index < -1 || index >= this.count) return;
    this.#index = index;
    if (index < this.#offset) this.#offset = Math.max(0, index);
    if (index >= this.#offset + this.#rows) this.#offset++;
  }

  /** Turns a page down, or up when `by` is negative. */
  turn(by: 1 | -1): void {
    this.#dismissed = false;
    const lastPage = Math.max(0, this.count - this.#rows);
    const offset = Math.max(
      0,
      Math.min(lastPage, this.#offset + by * this.#rows),
    );
    this.#index = Math.max(-1, this.#index + offset - this.#offset);
    this.#offset = offset;
  }

  /** Chooses none, until something is typed or chosen. */
  dismiss(): void {
    this.#dismissed = true;
    this.#index = -1;
    this.#offset = 0;
  }

  /** Takes note that something was typed. */
  typed(): void {
    this.#dismissed = false;
  }

  /** Takes note that the chosen one was taken over into what is typed. */
  completed(): void {
    this.#dismissed = false;
    this.#index = 0;
    this.#offset = 0;
  }

  get #rows(): number {
    return Math.min(this.count, this.#maxRows || this.count);
  }
}

/** How far `text`, which begins with `input` but for case, is from it. */
function distance(text: string, input: string): number {
  let other = text.length - input.length;
  for (let i = 0; i < input.length; i++) if (text[i] !== input[i]) other++;
  return other;
}
