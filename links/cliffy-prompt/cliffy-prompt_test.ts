/**
 * Tests of what the stand-in for `@cliffy/prompt` promises beyond the original:
 * how it leaves the terminal, and that nothing of it stays behind. What both
 * promise is in `tests/project/links_test.ts`.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { Input, type InputOptions } from "@cliffy/prompt";
import process from "node:process";
import { stripVTControlCharacters } from "node:util";

/** The cursor at the start of the next row, and shown. */
const NEXT_ROW = "\n\x1b[G\x1b[?25h";

/** A terminal that gives those chunks and then nothing, for good. */
class Terminal {
  readonly raw: boolean[] = [];
  readonly openReads: number[] = [];
  output = "";
  open = 0;
  isTerminal = true;
  readonly #chunks: Array<string | null | Error>;

  constructor(...chunks: Array<string | null | Error>) {
    this.#chunks = chunks;
  }

  get text(): string {
    return stripVTControlCharacters(this.output);
  }

  prompt(options: Partial<InputOptions> = {}): Promise<string> {
    return Input.prompt({
      message: "Topic",
      ...options,
      reader: {
        read: async (p) => {
          this.openReads.push(++this.open);
          await Promise.resolve();
          const chunk = this.#chunks.shift();
          if (chunk === undefined) await new Promise(() => {});
          this.open--;
          if (chunk instanceof Error) throw chunk;
          if (chunk === null) return null;
          return new TextEncoder().encodeInto(chunk!, p).written;
        },
        setRaw: (mode) => void this.raw.push(mode),
        isTerminal: () => this.isTerminal,
      },
      writer: {
        writeSync: (p) => {
          // A byte at a time now and then, as a full pipe would take it.
          const part = p.subarray(0, this.output.length % 7 === 0 ? 1 : 64);
          this.output += new TextDecoder("latin1").decode(part);
          return part.length;
        },
      },
    });
  }
}

Deno.test("Input.prompt() has one read open at a time and none when it is done", async () => {
  const terminal = new Terminal("a", "b", "\r");
  assertEquals(await terminal.prompt(), "ab");
  assertEquals(terminal.openReads, [1, 1, 1]);
  assertEquals(terminal.open, 0);
});

Deno.test("Input.prompt() takes a chunk of many keys with Enter at its end", async () => {
  const terminal = new Terminal("sensors/kitchen\x1b[D\x1b[D\x7fx\r");
  assertEquals(await terminal.prompt(), "sensors/kitcxen");
});

Deno.test("Input.prompt() puts a character together when a read cuts it", async () => {
  const bytes = new TextEncoder().encode("é😀\r");
  let at = 0;
  const answer = await Input.prompt({
    message: "Topic",
    reader: {
      read(p) {
        p[0] = bytes[at++]!;
        return Promise.resolve(1);
      },
      setRaw() {},
      isTerminal: () => false,
    },
    writer: { writeSync: (p) => p.length },
  });
  assertEquals(answer, "é😀");
});

Deno.test("Input.prompt() leaves a clean terminal when a read fails", async () => {
  const terminal = new Terminal("s", new Error("Interrupted"));
  await assertRejects(
    () => terminal.prompt({ suggestions: ["sensors"], list: true }),
    Error,
    "Interrupted",
  );
  assertEquals(terminal.raw, [true, false]);
  assertEquals(terminal.open, 0);
  assert(terminal.output.endsWith(NEXT_ROW));
  const last = terminal.output.slice(terminal.output.lastIndexOf("\x1b[2K"));
  assertMatch(stripVTControlCharacters(last), /^\? Topic \S+ s\n$/);
});

Deno.test("Input.prompt() leaves a clean terminal when the answer is given", async () => {
  const terminal = new Terminal("s", "\r");
  await terminal.prompt();
  assertEquals(terminal.raw, [true, false]);
  assert(terminal.output.endsWith(NEXT_ROW));
});

Deno.test("Input.prompt() rejects when the input ends", async () => {
  const terminal = new Terminal("a", null);
  await assertRejects(
    () => terminal.prompt(),
    Error,
    'The input ended before "Topic" was answered',
  );
  assertEquals(terminal.raw, [true, false]);
});

Deno.test("Input.prompt() leaves raw mode alone when there is no terminal", async () => {
  const terminal = new Terminal("a\n");
  terminal.isTerminal = false;
  assertEquals(await terminal.prompt(), "a");
  assertEquals(terminal.raw, []);
});

Deno.test("Input.prompt() leaves no timer when an Escape comes last", async () => {
  const terminal = new Terminal("a\x1b", new Error("Interrupted"));
  await assertRejects(() => terminal.prompt(), Error, "Interrupted");
});

Deno.test("Input.prompt() ignores Ctrl-D and Ctrl-Z", async () => {
  const terminal = new Terminal("\x04", "\x1a", "a\x04b", "\r");
  assertEquals(await terminal.prompt(), "ab");
});

Deno.test("Input.prompt() takes what is typed from a list when completeOnSubmit is false", async () => {
  const terminal = new Terminal("s", "\r");
  const options = { suggestions: ["sensors"], list: true };
  assertEquals(
    await terminal.prompt({ ...options, completeOnSubmit: false }),
    "s",
  );
});

Deno.test("Input.prompt() shows no control character of a suggestion", async () => {
  const terminal = new Terminal("a", "\t", "\r");
  const suggestions = ["a\x1b]0;title\x07\x9b31m"];
  assertEquals(
    await terminal.prompt({ suggestions, list: true }),
    suggestions[0],
  );
  assertFalse(terminal.output.includes("\x1b]"));
  assertFalse(terminal.output.includes("\x07"));
});

Deno.test("Input.prompt() cuts the proposal where the row ends", async () => {
  const terminal = new Terminal("a", "\r");
  terminal.isTerminal = false; // 80 columns
  await terminal.prompt({ suggestions: ["a".repeat(200)] });
  const proposals = terminal.text.match(/a+/g)!.map((text) => text.length);
  assert(Math.max(...proposals) <= 70, String(proposals));
});

Deno.test("Input.prompt() tells the keys when info is set", async () => {
  const terminal = new Terminal("a", "\r");
  await terminal.prompt({ info: true, suggestions: ["abc", "abd"] });
  assertStringIncludes(terminal.text, " 1/2 Next: ");
});

Deno.test("Input.prompt() adds no listener to the process", async () => {
  const counts = () =>
    ["SIGINT", "SIGTERM", "SIGHUP", "exit"].map((name) =>
      process.listenerCount(name)
    );
  const before = counts();
  const during: number[][] = [];
  const terminal = new Terminal("a", "\r");
  await terminal.prompt({
    validate: () => {
      during.push(counts());
      return true;
    },
  });
  assertEquals(during, [before]);
  assertEquals(counts(), before);
});

Deno.test("Input.prompt() removes the question and exits with 130 when Ctrl-C is pressed", async () => {
  await using program = new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      "--no-lock",
      `import { Input } from "@cliffy/prompt"; await Input.prompt("Topic");`,
    ],
    cwd: new URL("../..", import.meta.url),
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = program.stdin.getWriter();
  await writer.write(new TextEncoder().encode("abc\x03"));
  const { code, stdout } = await program.output();
  await writer.close().catch(() => {}); // the program is gone
  assertEquals(code, 130);
  const output = new TextDecoder().decode(stdout);
  assert(output.endsWith("\x1b[2K\x1b[G\x1b[G\x1b[?25h"), output);
});
