/**
 * Text that comes bit by bit, and how to wait for some of it.
 *
 * @module
 */

/** What was written so far. */
export class Transcript {
  #text = "";
  #position = 0;
  #hasEnded = false;
  #more = Promise.withResolvers<void>();
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #read: Promise<void> = Promise.resolve();

  /** Takes down what a stream of octets in UTF-8 gives. */
  static of(stream: ReadableStream<Uint8Array>): Transcript {
    const transcript = new Transcript();
    transcript.#reader = stream.getReader();
    transcript.#read = transcript.#readAll(transcript.#reader);
    return transcript;
  }

  /** All of it, so far. */
  get text(): string {
    return this.#text;
  }

  /** Takes down some more. */
  add(text: string): void {
    this.#text += text;
    this.#more.resolve();
    this.#more = Promise.withResolvers();
  }

  /** Takes down that there is no more. */
  end(): void {
    this.#hasEnded = true;
    this.add("");
  }

  /** Waits for `text`, behind what was last waited for. */
  async until(text: string): Promise<void> {
    await this.#find(text);
  }

  /** Waits for the next line, behind what was last waited for. */
  async line(): Promise<string> {
    return await this.#find("\n");
  }

  /** Waits for the end. */
  async all(): Promise<string> {
    await this.#read;
    return this.#text;
  }

  /** Reads no more: whoever writes finds the pipe closed. */
  async close(): Promise<void> {
    await this.#reader?.cancel();
    await this.#read;
  }

  /** Waits for `text`, and gives what came before it. */
  async #find(text: string): Promise<string> {
    const start = this.#position;
    let at: number;
    while ((at = this.#text.indexOf(text, start)) === -1) {
      if (this.#hasEnded) {
        throw new Error(
          `There was an end before ${JSON.stringify(text)}: ` +
            JSON.stringify(this.#text.slice(start)),
        );
      }
      await this.#more.promise;
    }
    this.#position = at + text.length;
    return this.#text.slice(start, at);
  }

  async #readAll(
    reader: ReadableStreamDefaultReader<Uint8Array>,
  ): Promise<void> {
    const decoder = new TextDecoder();
    for (let part; !(part = await reader.read()).done;) {
      this.add(decoder.decode(part.value, { stream: true }));
    }
    this.end();
  }
}
