// deno-lint-ignore-file no-console -- a program: the console is its output
/**
 * `deno task demo` shows publish/subscribe at work in one terminal: it starts a
 * broker, a subscriber, a lamp that sleeps, one that speaks JSON, and publishers,
 * as processes of their own, as one would in five terminals, and shows what each
 * prints under its name.
 *
 * @module
 */

import { styleText } from "node:util";
import { ROOT } from "./house.ts";

type Colour = "cyan" | "green" | "magenta" | "yellow";

/** Colours and pauses are for a person: a pipe gets neither. */
const isWatched = Deno.stdout.isTerminal();
const hasColour = isWatched && !Deno.noColor;

const NAME_WIDTH = 12;

function show(name: string, colour: Colour, text: string): void {
  const label = `${name.padEnd(NAME_WIDTH)} │ `;
  console.log(
    hasColour
      ? styleText(colour, label + text, { validateStream: false })
      : label + text,
  );
}

/** A program at work, its lines shown under a name. */
class Actor implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #shown: Promise<void>[];
  readonly #waiting: {
    readonly wanted: string;
    readonly resolve: (line: string) => void;
  }[] = [];
  readonly #lines: string[] = [];

  constructor(
    readonly name: string,
    readonly colour: Colour,
    program: string,
    args: readonly string[],
  ) {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", `${program}.ts`, ...args],
      cwd: ROOT,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#shown = [this.#child.stdout, this.#child.stderr].map((stream) =>
      this.#show(stream)
    );
  }

  /**
   * Resolves with the first line that holds a text.
   *
   * @throws {Error} when the program ends without it, or it takes longer than a
   * person would watch
   */
  async line(wanted: string): Promise<string> {
    const line = this.#lines.find((line) => line.includes(wanted));
    if (line !== undefined) return line;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const fail = (problem: string) =>
      reject(new Error(`${this.name} ${problem} "${wanted}"`));
    this.#waiting.push({ wanted, resolve });
    Promise.all(this.#shown).then(() => fail("ended without"));
    const timer = setTimeout(() => fail("takes too long for"), 20_000);
    return await promise.finally(() => clearTimeout(timer));
  }

  /**
   * Resolves when the program has ended.
   *
   * @throws {Error} when it has failed
   */
  async end(): Promise<void> {
    const { code } = await this.#child.status;
    await Promise.all(this.#shown);
    if (code !== 0) throw new Error(`${this.name} ended with code ${code}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill();
    } catch {
      // It has ended by itself.
    }
    await this.#child.status;
    await Promise.all(this.#shown);
  }

  async #show(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    let rest = "";
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.#take(line);
    }
  }

  #take(line: string): void {
    // The log's time and level would only be in the way here.
    const text = line.replace(/^\S+Z (?:debug|info {1,2}|warn {1,2}) */, "");
    // What happened is enough: the datagrams are shown with -d.
    if (!/^\S+:\d+ [<>] /.test(text)) show(this.name, this.colour, text);
    this.#lines.push(text);
    for (const { wanted, resolve } of this.#waiting) {
      if (text.includes(wanted)) resolve(text);
    }
  }
}

/** Time to read what is shown. */
async function pause(): Promise<void> {
  if (isWatched) await new Promise((resolve) => setTimeout(resolve, 400));
}

async function demo(): Promise<void> {
  await using broker = new Actor("broker", "yellow", "broker", [
    "--port",
    "0",
    "--log-level",
    "debug",
  ]);
  const ready = await broker.line("Broker started at ");
  const port = ready.slice(ready.lastIndexOf(":") + 1);
  const start = async (
    name: string,
    colour: Colour,
    program: string,
    args: readonly string[],
  ) => {
    await pause();
    const shown = args.map((arg) => /[ #]/.test(arg) ? `"${arg}"` : arg);
    show(name, colour, `$ ${program} ${shown.join(" ")}`);
    return new Actor(name, colour, program, ["--port", port, ...args]);
  };
  const publish = async (...args: readonly string[]) => {
    await using publisher = await start(
      "publisher",
      "green",
      "publisher",
      args,
    );
    await publisher.end();
  };

  await using subscriber = await start("subscriber", "cyan", "subscriber", [
    ...["-t", "room/#", "-v", "-C", "2"],
  ]);
  await broker.line('subscribed to "room/#"');
  await publish("-t", "room/celsius", "-m", "21.5", "-q", "1");

  // What is sent to a sleeper waits at the broker, until it wakes to fetch it.
  await using lamp = await start("lamp", "magenta", "subscriber", [
    ...["-t", "room/lamp", "-q", "1", "-i", "lamp", "--sleep", "2", "-C", "1"],
  ]);
  await broker.line('"lamp" is asleep');
  await publish("-t", "room/lamp", "-m", "on", "-q", "1");
  await subscriber.end();
  await lamp.end();

  await using json = await start("json", "cyan", "subscriber", [
    ...["--protocol", "classic", "-t", "news"],
  ]);
  await broker.line('subscribed to "news"');
  await publish("-t", "news", "-m", "One port, two protocols", "-q", "1");
  await json.end();
}

try {
  await demo();
} catch (error) {
  console.error(`demo: ${error instanceof Error ? error.message : error}`);
  Deno.exit(1);
}
