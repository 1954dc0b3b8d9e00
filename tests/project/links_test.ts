/**
 * Tests of what the packages at JSR are used for here. They run against the
 * stand-ins under `links/`, and with `deno task jsr` against the originals.
 *
 * @module
 */

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertExists,
  assertFalse,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  AssertionError,
  assertIsError,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
  fail,
} from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import { Input } from "@cliffy/prompt";
import { stripVTControlCharacters } from "node:util";

// parseArgs

function parse(...argv: string[]): Record<string, unknown> {
  return parseArgs(argv, {
    string: ["topic", "message", "host"],
    boolean: ["verbose", "quiet"],
    collect: ["topic"],
    alias: { topic: "t", message: ["m", "msg"], verbose: "v" },
    default: { port: 1883, host: "localhost" },
  }) as Record<string, unknown>;
}

Deno.test("parseArgs() gives defaults, false and [] when no flag is given", () => {
  assertEquals(parse(), {
    _: [],
    topic: [],
    t: [],
    verbose: false,
    v: false,
    quiet: false,
    port: 1883,
    host: "localhost",
  });
});

Deno.test("parseArgs() takes the value after = and the argument that follows", () => {
  for (
    const argv of [["--message=a b"], ["--message", "a b"], ["-m", "a b"], [
      "-m=a b",
    ], ["--msg", "a b"]]
  ) {
    const { m, message, msg } = parse(...argv);
    assertEquals([m, message, msg], ["a b", "a b", "a b"], argv.join(" "));
  }
});

Deno.test("parseArgs() keeps what follows the first = when there are more", () => {
  assertEquals(parse("--message=a=b").message, "a=b");
  assertEquals(parse("-m=a=b").message, "a=b");
});

Deno.test("parseArgs() takes a number that is attached to a short flag", () => {
  assertEquals(parse("-p1884").p, 1884);
  assertEquals(parse("-p-1").p, -1);
  assertEquals(parse("-m5").message, "5");
  assertEquals(parse("-h10.0.0.1").h, "10.0.0.1");
});

Deno.test("parseArgs() sets every flag of a group when all are boolean", () => {
  const { v, verbose, q } = parse("-vq");
  assertEquals([v, verbose, q], [true, true, true]);
});

Deno.test("parseArgs() gives the argument that follows to the last of a group", () => {
  const { verbose, message } = parse("-vm", "hi");
  assertEquals([verbose, message], [true, "hi"]);
});

Deno.test("parseArgs() makes numbers of what looks like one unless it is a string flag", () => {
  const args = parse("--port", "1884", "--host", "10", "7", "0x10", "1e3", "a");
  assertEquals(args.port, 1884);
  assertEquals(args.host, "10");
  assertEquals(args._, [7, 16, 1000, "a"]);
});

Deno.test("parseArgs() gives a string flag '' when its value is missing", () => {
  assertEquals(parse("--message").message, "");
  assertEquals(parse("-m").message, "");
  assertEquals(parse("--message=").message, "");
});

Deno.test("parseArgs() takes no value that begins with -", () => {
  const args = parse("--message", "-v");
  assertEquals([args.message, args.verbose], ["", true]);
  assertEquals(parse("-m", "-v").message, "");
  assertEquals(parse("--message=-v").message, "-v");
});

Deno.test("parseArgs() takes a lone - for a short flag's value and not for a long one's", () => {
  assertEquals(parse("-m", "-").message, "-");
  const args = parse("--message", "-");
  assertEquals([args.message, args._], ["", ["-"]]);
});

Deno.test("parseArgs() leaves the argument after a boolean flag unless it is true or false", () => {
  assertEquals(parse("--quiet", "x")._, ["x"]);
  const args = parse("--verbose", "false", "-v", "true");
  assertEquals([args.verbose, args._], [true, []]);
  assertEquals(parse("--quiet=false").quiet, false);
});

Deno.test("parseArgs() gathers what is collected and lets the last of others win", () => {
  const args = parse("-t", "a", "--topic=b", "-m", "1", "-m", "2");
  assertEquals(args.topic, ["a", "b"]);
  assertEquals(args.t, ["a", "b"]);
  assertEquals(args.message, "2");
});

Deno.test("parseArgs() gives a default to all aliases", () => {
  const args = parseArgs([], {
    alias: { port: "p" },
    default: { p: 1 },
  }) as Record<string, unknown>;
  assertEquals([args.p, args.port], [1, 1]);
});

Deno.test("parseArgs() puts what follows -- in _ untouched", () => {
  const args = parse("a", "--", "-v", "7", "--", "--port=1");
  assertEquals(args._, ["a", "-v", "7", "--", "--port=1"]);
  assertEquals(args.verbose, false);
});

Deno.test("parseArgs() gives a group's number, or what follows its =, to the first", () => {
  const args = parse("-mp1884", "-ab=x");
  assertEquals([args.message, args.p], ["p1884", undefined]);
  assertEquals([args.a, args.b], ["x", undefined]);
});

Deno.test("parseArgs() ends a group where something else than a letter follows", () => {
  const args = parse("-vm/b/c", "-ab=");
  assertEquals([args.verbose, args.message], [true, "/b/c"]);
  assertEquals([args.a, args.b], [true, ""]);
});

Deno.test("parseArgs() gives a string flag '' when it is not the last of a group", () => {
  const args = parse("-tmv");
  assertEquals([args.topic, args.message, args.verbose], [[""], "", true]);
});

Deno.test("parseArgs() takes digits for flags when a group begins with one", () => {
  const args = parse("-12", "3");
  assertEquals([args["1"], args["2"], args._], [true, 3, []]);
});

Deno.test("parseArgs() takes a lone - for a positional, or for the value of the flag it is tied to", () => {
  assertEquals(parse("-")._, ["-"]);
  assertEquals(parse("-v", "-")._, ["-"]);
  assertEquals(parse("-m-").message, "-");
  assertEquals(parse("--message=-").message, "-");
});

Deno.test("parseArgs() takes no empty argument for a value, but what is empty after =", () => {
  for (const flag of ["--message", "-m"]) {
    const args = parse(flag, "");
    assertEquals([args.message, args._], ["", [""]], flag);
  }
  for (const flag of ["--what=", "-w="]) {
    const args = parse(flag, "x");
    assertEquals([args.what ?? args.w, args._], ["", ["x"]], flag);
  }
});

Deno.test("parseArgs() never makes anything else of a string flag's value", () => {
  for (const text of ["007", "1e3", "true", "false", " "]) {
    assertEquals(parse("--message", text).message, text);
    assertEquals(parse(`--message=${text}`).message, text);
    assertEquals(parse("-m", text).message, text);
  }
  const { _ } = parseArgs(["7", "0x10"], { string: "_" });
  assertEquals(_, ["7", "0x10"]);
});

Deno.test("parseArgs() takes true and false after = for a boolean flag and no other", () => {
  assertEquals(parse("--quiet=true").quiet, true);
  const args = parse("--verbose=true", "--verbose=false", "--what=false");
  assertEquals([args.verbose, args.v, args.what], [false, false, "false"]);
});

Deno.test("parseArgs() takes --no-x for a flag of that name", () => {
  const args = parse("--verbose", "--no-verbose");
  assertEquals([args.verbose, args["no-verbose"]], [true, true]);
});

Deno.test("parseArgs() gathers flags of every kind", () => {
  const args = parseArgs(["-b", "--bool", "-n1", "-n", "x", "--any", "--any"], {
    boolean: ["bool"],
    alias: { bool: "b" },
    collect: ["bool", "n", "any"],
  }) as Record<string, unknown>;
  assertEquals(args, {
    _: [],
    bool: [true, true],
    b: [true, true],
    n: [1, "x"],
    any: [true, true],
  });
});

Deno.test("parseArgs() knows a flag by any of its names", () => {
  const args = parseArgs(["-s", "007", "--other", "x"], {
    string: "long",
    boolean: "b",
    alias: { s: ["long", "longer"], b: "other" },
  }) as Record<string, unknown>;
  assertEquals(args, {
    _: ["x"],
    s: "007",
    long: "007",
    longer: "007",
    b: true,
    other: true,
  });
});

Deno.test("parseArgs() gives no flag a value from behind --", () => {
  for (const flag of ["--message", "-m"]) {
    const args = parse(flag, "--", "x");
    assertEquals([args.message, args._], ["", ["x"]], flag);
  }
  assertEquals(parse("--")._, []);
});

Deno.test("parseArgs() tells unknown of every flag and positional that is not declared", () => {
  const told: unknown[] = [];
  const args = parseArgs(
    ["-q", "--what=1", "word", "-x", "9", "--known", "k"],
    {
      boolean: ["q"],
      string: ["known"],
      unknown: (arg, key, value) => {
        told.push([arg, key, value]);
        return key !== undefined && key !== "x" ? undefined : false;
      },
    },
  ) as Record<string, unknown>;
  assertEquals(told, [
    ["--what=1", "what", "1"],
    ["word", undefined, undefined],
    ["-x", "x", "9"],
  ]);
  assertEquals(args, { _: [], q: true, what: 1, known: "k" });
});

Deno.test("parseArgs() tells unknown of each flag of a group and of nothing behind --", () => {
  const told: unknown[] = [];
  const args = parseArgs(["-xvy", "--z", "--", "--q", "word"], {
    alias: { verbose: "v" },
    unknown: (arg, key, value) => {
      told.push([arg, key, value]);
      return false;
    },
  }) as Record<string, unknown>;
  assertEquals(told, [
    ["-xvy", "x", true],
    ["-xvy", "y", true],
    ["--z", "z", true],
  ]);
  assertEquals(args, { _: ["--q", "word"], v: true, verbose: true });
});

Deno.test("parseArgs() lets no flag reach an object's prototype", () => {
  const args = parseArgs(["--__proto__", "x", "--__proto__=1", "-a"]);
  assertStrictEquals(Object.getPrototypeOf(args), Object.prototype);
  assertEquals(Object.keys(args).sort(), ["_", "a"]);
});

Deno.test("parseArgs() takes names that every object has for flags", () => {
  const argv = ["--toString", "--valueOf", "x", "--constructor=y"];
  assertEquals(Object.entries(parseArgs(argv)).sort(), [
    ["_", []],
    ["constructor", "y"],
    ["toString", true],
    ["valueOf", "x"],
  ]);
});

Deno.test("parseArgs() guesses when nothing is declared", () => {
  assertEquals(
    parseArgs(["-ab", "--c", "d", "--e=1", "--f"]) as Record<string, unknown>,
    { _: [], a: true, b: true, c: "d", e: 1, f: true },
  );
});

// assertions

class Point {
  constructor(readonly x: number, readonly y: number) {}
  get sum(): number {
    return this.x + this.y;
  }
}

class Hidden {
  readonly #value: number;
  constructor(value: number) {
    this.#value = value;
  }
  get value(): number {
    return this.#value;
  }
}

function ring(name: string): unknown {
  const node: Record<string, unknown> = { name };
  node.self = node;
  return node;
}

/** Each twice made, so that no two are the same object. */
const ALIKE: Array<() => unknown> = [
  () => NaN,
  () => [1, [2, { a: null }]],
  () => ({ a: 1, b: { c: [undefined] } }),
  () => ({ [Symbol.for("s")]: 1 }),
  () => new Uint8Array([1, 2, 3]),
  () => new Float64Array([NaN, 0]),
  () => new Uint8Array([7]).buffer,
  () => new Map<unknown, unknown>([["a", { b: 1 }], [{ k: 1 }, 2]]),
  () => new Set<unknown>([1, "a", { b: [1] }]),
  () => new Date(5),
  () => new Date(NaN),
  () => /a+/gi,
  () => new URL("mqtt://host/topic"),
  () => new Point(1, 2),
  () => new Hidden(1),
  () => ring("a"),
];

const UNLIKE: Array<[unknown, unknown]> = [
  [1, 2],
  [1, "1"],
  [1, 1n],
  [null, undefined],
  [{}, []],
  [{ a: undefined }, {}],
  [{ a: undefined }, { b: undefined }],
  [{ a: 1 }, { a: 1, b: 2 }],
  [[1, 2], [2, 1]],
  [[1], [1, 2]],
  [{ [Symbol.for("s")]: 1 }, { [Symbol.for("s")]: 2 }],
  [new Uint8Array([1]), new Uint8Array([2])],
  [new Uint8Array([1]), new Int8Array([1])],
  [new Uint8Array([1]), [1]],
  [new Map([["a", 1]]), new Map([["a", 2]])],
  [new Map([["a", 1]]), new Map([["b", 1]])],
  [new Map([[{ k: 1 }, 1]]), new Map([[{ k: 2 }, 1]])],
  [new Set([1]), new Set([2])],
  [new Set([{ a: 1 }]), new Set([{ a: 2 }])],
  [new Date(1), new Date(2)],
  [/a/, /a/g],
  [new Point(1, 2), { x: 1, y: 2 }],
  [new Point(1, 2), new Point(2, 1)],
  [new Hidden(1), new Hidden(2)],
  [ring("a"), ring("b")],
];

Deno.test("assertEquals() passes when both have the same structure", () => {
  for (const make of ALIKE) {
    assertEquals(make(), make());
    assertThrows(() => assertNotEquals(make(), make()), AssertionError);
  }
});

Deno.test("assertEquals() fails when structure, type or value differ", () => {
  for (const [a, b] of UNLIKE) {
    assertThrows(
      () => assertEquals(a, b),
      AssertionError,
      "Values are not equal",
    );
    assertThrows(() => assertEquals(b, a), AssertionError);
    assertNotEquals(a, b);
  }
});

Deno.test("assertEquals() takes 0 and -0, and literals with and without prototype, for equal", () => {
  assertEquals(0, -0);
  assertEquals([{ a: -0 }], [{ a: 0 }]);
  assertEquals(Object.assign(Object.create(null), { a: 1 }), { a: 1 });
});

Deno.test("assertEquals() ignores the order of keys and members", () => {
  assertEquals<unknown>({ a: 1, b: 2 }, { b: 2, a: 1 });
  assertEquals(new Set([1, 2]), new Set([2, 1]));
  assertEquals(new Map([[1, 2], [3, 4]]), new Map([[3, 4], [1, 2]]));
});

Deno.test("assertEquals() shows what differs, and the caller's words, when it fails", () => {
  const error = assertThrows(
    () => assertEquals({ qos: 1, topic: "a" }, { qos: 2, topic: "a" }, "frame"),
    AssertionError,
  );
  const message = stripVTControlCharacters(error.message);
  assertStringIncludes(message, "frame");
  assertMatch(message, /^[-+]\s+qos: 1/m);
  assertMatch(message, /^[-+]\s+qos: 2/m);
  assertMatch(message, /^\s+topic: "a"|^\s+topic: 'a'/m);
});

Deno.test("assertEquals() compares many bytes when both are equal", () => {
  assertEquals(new Uint8Array(1 << 20), new Uint8Array(1 << 20));
});

Deno.test("assertStrictEquals() passes only when both are the same value", () => {
  const list = [1];
  assertStrictEquals(list, list);
  assertStrictEquals(NaN, NaN);
  assertThrows(() => assertStrictEquals([1], [1]), AssertionError);
  assertThrows(() => assertStrictEquals(0, -0), AssertionError);
  assertThrows(() => assertStrictEquals(1, 2, "why"), AssertionError, "why");
});

Deno.test("assert() fails with the caller's words when the value is falsy", () => {
  assert("a");
  for (const value of [false, 0, "", null, undefined, NaN]) {
    const error = assertThrows(() => assert(value, "why"), AssertionError);
    assertEquals(error.message, "why");
    assertEquals(error.name, "AssertionError");
    assertFalse(value);
  }
  assertThrows(() => assertFalse(1, "why"), AssertionError, "why");
});

Deno.test("assertExists() fails when the value is null or undefined", () => {
  const value: string | undefined = ["a"][0];
  assertExists(value);
  assertEquals(value.length, 1);
  for (const present of [0, "", false, NaN]) assertExists(present);
  for (const absent of [null, undefined]) {
    assertThrows(() => assertExists(absent, "why"), AssertionError, "why");
  }
});

Deno.test("assertInstanceOf() fails when the value is of another class", () => {
  const value: unknown = new RangeError("a");
  assertInstanceOf(value, Error);
  assertEquals(value.message, "a");
  for (const other of [null, undefined, 1, {}, new Error("a"), RangeError]) {
    assertThrows(
      () => assertInstanceOf(other, RangeError, "why"),
      AssertionError,
      "why",
    );
  }
});

Deno.test("assertMatch() and assertStringIncludes() fail when the text lacks it", () => {
  assertMatch("client-1", /^client-\d$/);
  assertStringIncludes("client-1", "ent");
  assertThrows(() => assertMatch("a", /b/, "why"), AssertionError, "why");
  assertThrows(
    () => assertStringIncludes("a", "b", "why"),
    AssertionError,
    "why",
  );
});

Deno.test("assertGreater() and its like fail when the order is another", () => {
  assertGreater(2, 1);
  assertGreaterOrEqual(2, 2);
  assertLess("a", "b");
  assertLessOrEqual(2n, 2n);
  assertThrows(() => assertGreater(1, 1), AssertionError, "1 > 1");
  assertThrows(() => assertGreaterOrEqual(0, 1), AssertionError, "0 >= 1");
  assertThrows(() => assertLess(1, 1), AssertionError, "1 < 1");
  assertThrows(() => assertLessOrEqual(1, 0), AssertionError, "1 <= 0");
  assertThrows(() => assertLess(NaN, 0, "why"), AssertionError, "why");
});

Deno.test("assertAlmostEquals() fails when the numbers are further apart than told", () => {
  assertAlmostEquals(0.1 + 0.2, 0.3);
  assertAlmostEquals(1, 1.05, 0.1);
  assertAlmostEquals(Infinity, Infinity);
  assertAlmostEquals(NaN, NaN);
  assertThrows(() => assertAlmostEquals(1, 1.001), AssertionError);
  assertThrows(
    () => assertAlmostEquals(1, 1.2, 0.1, "why"),
    AssertionError,
    "why",
  );
  assertThrows(() => assertAlmostEquals(1, NaN), AssertionError);
});

Deno.test("fail() throws when it is reached", () => {
  assertThrows(() => fail("why"), AssertionError, "why");
});

Deno.test("assertThrows() gives the error when it is of the class and says so", () => {
  const thrown = new RangeError("Out of range");
  const error: RangeError = assertThrows(
    () => {
      throw thrown;
    },
    RangeError,
    "of range",
  );
  assertStrictEquals(error, thrown);
  assertEquals(
    assertThrows(() => {
      throw 7;
    }),
    7,
  );
});

Deno.test("assertThrows() fails when nothing, or something else, is thrown", () => {
  const range = () => {
    throw new RangeError("Out of range");
  };
  assertThrows(() => assertThrows(() => {}), AssertionError);
  assertThrows(() => assertThrows(() => {}, "why"), AssertionError, "why");
  assertThrows(() => assertThrows(range, TypeError), AssertionError);
  assertThrows(() => assertThrows(range, RangeError, "in"), AssertionError);
  const number = () => {
    throw 7;
  };
  assertThrows(() => assertThrows(number, Error), AssertionError, "non-Error");
});

Deno.test("assertRejects() gives the error when it is of the class and says so", async () => {
  const rejected = new TypeError("No such type");
  const error: TypeError = await assertRejects(
    () => Promise.reject(rejected),
    TypeError,
    "such",
  );
  assertStrictEquals(error, rejected);
});

Deno.test("assertRejects() fails when nothing, or something else, is rejected", async () => {
  const reject = () => Promise.reject(new TypeError("No such type"));
  for (
    const attempt of [
      () => assertRejects(() => Promise.resolve(1)),
      () => assertRejects(reject, RangeError),
      () => assertRejects(reject, TypeError, "other"),
      () => assertRejects(() => Promise.reject(7), Error),
      () =>
        assertRejects(() => {
          throw new TypeError("Not a promise");
        }, TypeError),
    ]
  ) {
    assertInstanceOf(await attempt().catch((error) => error), AssertionError);
  }
});

Deno.test("assertIsError() fails when the value is no such error", () => {
  const error: unknown = new RangeError("\x1b[31mOut of range\x1b[39m");
  assertIsError(error);
  assertIsError(error, RangeError, "Out of range");
  assertIsError(error, Error, /^Out of/);
  assertThrows(() => assertIsError("a"), AssertionError);
  assertThrows(() => assertIsError(error, TypeError), AssertionError);
  assertThrows(() => assertIsError(error, Error, "other"), AssertionError);
  assertThrows(() => assertIsError(error, Error, /^range/), AssertionError);
});

// Input

const ENTER = "\r", TAB = "\t", BACKSPACE = "\x7f", ESCAPE = "\x1b";
const UP = "\x1b[A", DOWN = "\x1b[B", RIGHT = "\x1b[C", LEFT = "\x1b[D";

/** A terminal at which those keys are pressed, one a read. */
class Keyboard {
  readonly raw: boolean[] = [];
  readonly #keys: Array<string | Error>;
  #shown = "";

  constructor(...keys: Array<string | Error>) {
    this.#keys = keys;
  }

  get left(): number {
    return this.#keys.length;
  }

  get shown(): string {
    return stripVTControlCharacters(this.#shown);
  }

  get lastLine(): string {
    return this.shown.trimEnd().split("\n").at(-1)!;
  }

  readonly reader = {
    read: async (p: Uint8Array): Promise<number> => {
      await Promise.resolve();
      const key = this.#keys.shift() ?? new Error("No key is left");
      if (key instanceof Error) throw key;
      return new TextEncoder().encodeInto(key, p).written;
    },
    setRaw: (mode: boolean): void => {
      this.raw.push(mode);
    },
    isTerminal: (): boolean => true,
  };

  readonly writer = {
    writeSync: (p: Uint8Array): number => {
      this.#shown += new TextDecoder().decode(p);
      return p.length;
    },
  };
}

const NAMES = ["sensors/kitchen", "sensors/hall", "home"];

function typed(text: string): string[] {
  return text.split("");
}

Deno.test("Input.prompt() gives what is typed, trimmed, when Enter is pressed", async () => {
  const { reader, writer } = new Keyboard(...typed(" a b "), ENTER);
  assertEquals(
    await Input.prompt({ message: "Topic", reader, writer }),
    "a b",
  );
});

Deno.test("Input.prompt() leaves the message and the answer on a line when it is done", async () => {
  const keyboard = new Keyboard(...typed("a/b"), ENTER);
  const { reader, writer } = keyboard;
  await Input.prompt({ message: "Topic", suggestions: NAMES, reader, writer });
  assertMatch(keyboard.lastLine, /\? Topic . a\/b$/);
  assertMatch(keyboard.shown, /\n$/);
});

Deno.test("Input.prompt() has the terminal in raw mode only while it asks", async () => {
  const keyboard = new Keyboard("a", ENTER);
  const { reader, writer } = keyboard;
  await Input.prompt({ message: "Topic", reader, writer });
  assertEquals([keyboard.raw.at(0), keyboard.raw.at(-1)], [true, false]);
});

Deno.test("Input.prompt() reads no key of the next prompt", async () => {
  const keyboard = new Keyboard("a", ENTER, "b", ENTER);
  const { reader, writer } = keyboard;
  assertEquals(await Input.prompt({ message: "1", reader, writer }), "a");
  assertEquals(keyboard.left, 2);
  assertEquals(await Input.prompt({ message: "2", reader, writer }), "b");
});

Deno.test("Input.prompt() edits where the cursor is", async () => {
  const { reader, writer } = new Keyboard(
    ...typed("ac"),
    LEFT,
    "b",
    RIGHT,
    "x",
    BACKSPACE,
    ENTER,
  );
  assertEquals(await Input.prompt({ message: "?", reader, writer }), "abc");
});

Deno.test("Input.prompt() gives the default when nothing is typed", async () => {
  const keyboard = new Keyboard(ENTER);
  const { reader, writer } = keyboard;
  const answer = await Input.prompt({
    message: "Host",
    default: "localhost",
    validate: () => false,
    reader,
    writer,
  });
  assertEquals(answer, "localhost");
  assertStringIncludes(keyboard.shown, "Host (localhost)");
});

Deno.test("Input.prompt() asks neither validate nor transform when the default is taken", async () => {
  const asked: string[] = [];
  const keyboard = new Keyboard(ENTER);
  const { reader, writer } = keyboard;
  const answer = await Input.prompt({
    message: "QoS",
    default: " 0",
    suggestions: NAMES,
    validate: (value) => asked.push(value) < 0,
    transform: (value) => `${value}!`,
    reader,
    writer,
  });
  assertEquals([answer, asked], [" 0", []]);
  assertMatch(keyboard.lastLine, /\? QoS \( 0\) . {2}0$/);
});

Deno.test("Input.prompt() validates what is typed, to the letter, when there is a default", async () => {
  const asked: string[] = [];
  const keyboard = new Keyboard("7", ENTER, BACKSPACE, " ", ENTER, "1", ENTER);
  const { reader, writer } = keyboard;
  const answer = await Input.prompt({
    message: "QoS",
    default: "0",
    validate: (value) => asked.push(value) === 3,
    reader,
    writer,
  });
  assertEquals([answer, asked], ["1", ["7", " ", " 1"]]);
  assertStringIncludes(keyboard.shown, "Invalid answer.");
  assertMatch(keyboard.lastLine, /\? QoS \(0\) . 1$/);
});

Deno.test("Input.prompt() takes the default when what was refused is removed", async () => {
  const { reader, writer } = new Keyboard("7", ENTER, BACKSPACE, ENTER);
  const answer = await Input.prompt({
    message: "QoS",
    default: "0",
    validate: () => false,
    reader,
    writer,
  });
  assertEquals(answer, "0");
});

Deno.test("Input.prompt() completes the suggestion when Tab or the right arrow is pressed", async () => {
  for (const key of [TAB, RIGHT]) {
    const keyboard = new Keyboard("H", key, ENTER);
    const { reader, writer } = keyboard;
    const answer = await Input.prompt({
      message: "Topic",
      suggestions: NAMES,
      reader,
      writer,
    });
    assertEquals(answer, "home");
    assertStringIncludes(keyboard.shown, "Home"); // the "H" typed, "ome" shown
  }
});

Deno.test("Input.prompt() gives what is typed when a suggestion is only shown", async () => {
  const { reader, writer } = new Keyboard("h", ENTER);
  assertEquals(
    await Input.prompt({
      message: "Topic",
      suggestions: NAMES,
      reader,
      writer,
    }),
    "h",
  );
});

Deno.test("Input.prompt() walks the suggestions when the arrows up and down are pressed", async () => {
  for (
    const [keys, answer] of [
      [[], "sensors/hall"], // the shorter one is closer
      [[UP], "sensors/kitchen"],
      [[UP, UP, UP, DOWN], "sensors/hall"],
    ] as const
  ) {
    const { reader, writer } = new Keyboard("s", ...keys, TAB, ENTER);
    const options = { message: "?", suggestions: NAMES, reader, writer };
    assertEquals(await Input.prompt(options), answer);
  }
});

Deno.test("Input.prompt() lists the suggestions, and takes the chosen one, when told to list", async () => {
  const keyboard = new Keyboard("s", DOWN, ENTER);
  const { reader, writer } = keyboard;
  const answer = await Input.prompt({
    message: "Topic",
    suggestions: NAMES,
    list: true,
    reader,
    writer,
  });
  assertEquals(answer, "sensors/kitchen");
  assertStringIncludes(keyboard.shown, "  home");
});

Deno.test("Input.prompt() gives what is typed from a list when Escape dismissed the choice", async () => {
  const { reader, writer } = new Keyboard("s", DOWN, ESCAPE, ENTER);
  const answer = await Input.prompt({
    message: "Topic",
    suggestions: NAMES,
    list: true,
    reader,
    writer,
  });
  assertEquals(answer, "s");
});

Deno.test("Input.prompt() lists no more than maxRows at once", async () => {
  const keyboard = new Keyboard("x", ENTER);
  const { reader, writer } = keyboard;
  await Input.prompt({
    message: "Topic",
    suggestions: ["a1", "a2", "a3"],
    list: true,
    maxRows: 2,
    reader,
    writer,
  });
  assertStringIncludes(keyboard.shown, "a2");
  assertFalse(keyboard.shown.includes("a3"));
});

Deno.test("Input.prompt() asks a function for the suggestions of what is typed", async () => {
  const asked: string[] = [];
  const { reader, writer } = new Keyboard("a", TAB, ENTER);
  const answer = await Input.prompt({
    message: "Topic",
    suggestions: async (input) => {
      await Promise.resolve();
      asked.push(input);
      return [`${input}bc`, 7];
    },
    reader,
    writer,
  });
  assertEquals(answer, "abc");
  assertEquals(asked.slice(0, 2), ["", "a"]);
});

Deno.test("Input.prompt() says why and goes on when validate refuses", async () => {
  const keyboard = new Keyboard("x", ENTER, BACKSPACE, "y", ENTER);
  const { reader, writer } = keyboard;
  const answer = await Input.prompt({
    message: "Topic",
    validate: async (value) => {
      await Promise.resolve();
      return value === "y" || `Not "${value}"`;
    },
    reader,
    writer,
  });
  assertEquals(answer, "y");
  assertStringIncludes(keyboard.shown, 'Not "x"');
});

Deno.test("Input.prompt() keeps what was refused, and why until a key is pressed", async () => {
  const keyboard = new Keyboard("a", ENTER, "b", ENTER, ENTER);
  const { reader, writer } = keyboard;
  const reasons = ["", "Too short"];
  const answer = await Input.prompt({
    message: "Topic",
    hint: "such as a/b",
    validate: () => reasons.shift() ?? true,
    reader,
    writer,
  });
  assertEquals(answer, "ab");
  // An empty reason is one all the same: the hint stays in its place.
  assertFalse(keyboard.shown.includes("Invalid answer."));
  assertEquals(keyboard.shown.split("Too short").length, 2);
});

Deno.test("Input.prompt() goes on when the answer is too short or too long", async () => {
  const keyboard = new Keyboard("a", ENTER, "b", "c", ENTER, BACKSPACE, ENTER);
  const { reader, writer } = keyboard;
  const answer = await Input.prompt({
    message: "Topic",
    minLength: 2,
    maxLength: 2,
    reader,
    writer,
  });
  assertEquals(answer, "ab");
  assertStringIncludes(keyboard.shown, "has a length of 1");
  assertStringIncludes(keyboard.shown, "has a length of 3");
});

Deno.test("Input.prompt() gives what transform makes of the text", async () => {
  const { reader, writer } = new Keyboard("a", " ", ENTER);
  const answer = await Input.prompt({
    message: "Topic",
    transform: (value) => `${value}!`,
    reader,
    writer,
  });
  assertEquals(answer, "a !");
});

Deno.test("Input.prompt() shows prefix, pointer, indent and hint when they are given", async () => {
  const keyboard = new Keyboard("a", ENTER);
  const { reader, writer } = keyboard;
  await Input.prompt({
    message: "Topic",
    prefix: "# ",
    pointer: "=>",
    indent: "__",
    hint: "such as a/b",
    reader,
    writer,
  });
  assertStringIncludes(keyboard.lastLine, "__# Topic => a");
  assertStringIncludes(keyboard.shown, "such as a/b");
});

Deno.test("Input.prompt() rejects with the reader's error when a read fails", async () => {
  const interrupted = new Error("Interrupted");
  const keyboard = new Keyboard("a", interrupted, "b");
  const { reader, writer } = keyboard;
  const error = await assertRejects(() =>
    Input.prompt({ message: "Topic", reader, writer })
  );
  assertStrictEquals(error, interrupted);
  assertEquals(keyboard.left, 1);
});

Deno.test("Input.prompt() rejects with the error of validate or suggestions", async () => {
  for (const option of ["validate", "suggestions"]) {
    const { reader, writer } = new Keyboard("a", ENTER);
    const options = {
      message: "Topic",
      [option]: (value: string) => {
        if (value === "a") throw new TypeError("Broken");
        return [];
      },
      reader,
      writer,
    };
    await assertRejects(() => Input.prompt(options), TypeError, "Broken");
  }
});

Deno.test("Input.inject() answers the next prompt", async () => {
  const { reader, writer } = new Keyboard("b", ENTER);
  const options = { message: "Topic", reader, writer };
  Input.inject(" a ");
  assertEquals(await Input.prompt(options), "a");
  assertEquals(await Input.prompt(options), "b");
});

Deno.test("Input.inject() makes the prompt reject when the answer will not do", async () => {
  const { writer } = new Keyboard();
  Input.inject("a");
  await assertRejects(
    () => Input.prompt({ message: "Topic", minLength: 2, writer }),
    Error,
    "has a length of 1",
  );
  // It serves until it is accepted.
  assertEquals(await Input.prompt({ message: "Topic", writer }), "a");
});
