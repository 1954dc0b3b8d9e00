import {
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { Flags, type Program, UsageError, usageOf } from "../../cli/program.ts";

const PROGRAM: Program = {
  name: "program",
  summary: "Does a thing.",
  examples: [["program -t a", "do it"], ["program", "ask"]],
  flags: [
    {
      name: "host",
      short: "h",
      value: "ADDRESS",
      usual: "here",
      help: "where",
    },
    { name: "port", short: "p", value: "N", help: "which port" },
    { name: "topic", short: "t", value: "TOPIC", many: true, help: "what" },
    { name: "message", short: "m", value: "TEXT", help: "text" },
    { name: "wait", short: "W", value: "S", help: "how long" },
    { name: "verbose", short: "v", help: "say more" },
    { name: "debug", short: "d", help: "say all" },
  ],
};

const parse = (...args: string[]) => Flags.parse(PROGRAM, args);

Deno.test("Flags.parse() reads long and short names, values apart and tied", async () => {
  for (
    const args of [["-p", "5"], ["-p5"], ["-p=5"], ["--port", "5"], [
      "--port=5",
    ]]
  ) {
    assertEquals((await parse(...args)).text("port"), "5", args.join(" "));
  }
});

Deno.test("Flags.parse() takes a flag's next word as its value, whatever it begins with", async () => {
  for (const value of ["-5", "--help", "-", "a=b", "", " ", "é\n", "-m"]) {
    const flags = await parse("-m", value, "-v", "-t", "a");
    assertEquals(flags.text("message"), value);
    assertEquals(flags.has("verbose"), true);
    assertEquals(flags.has("help"), false);
    assertEquals(flags.texts("topic"), ["a"]);
  }
});

Deno.test("Flags.parse() collects what may be repeated, and only that", async () => {
  const flags = await parse("-t", "a", "--topic=b", "-t", "a");
  assertEquals(flags.texts("topic"), ["a", "b", "a"]);
  await assertRejects(
    () => parse("-p", "1", "--port", "2"),
    UsageError,
    'Flag "--port" is given twice',
  );
});

Deno.test("Flags.parse() reads switches alone and together", async () => {
  const flags = await parse("-vd");
  assertEquals([flags.has("verbose"), flags.has("debug")], [true, true]);
  assertEquals((await parse()).has("verbose"), false);
  await assertRejects(
    () => parse("--verbose=false"),
    UsageError,
    'Flag "--verbose" takes no value',
  );
});

const WRONG: readonly (readonly [string[], string])[] = [
  [["--prot", "5"], 'Unknown flag "--prot"'],
  [["--prot=5"], 'Unknown flag "--prot=5"'],
  [["-x"], 'Unknown flag "-x"'],
  [["--no-verbose"], 'Unknown flag "--no-verbose"'],
  [["word"], 'Unexpected argument "word"'],
  [["-t", "", "word"], 'Unexpected argument "word"'],
  [["-t", "-x", "word"], 'Unexpected argument "word"'],
  [["-v", "word"], 'Unexpected argument "word"'],
  [["--", "word"], 'Unexpected argument "word"'],
  [["--port"], 'Flag "--port" needs a value: N'],
  [["-v", "-t"], 'Flag "-t" needs a value: TOPIC'],
];

for (const [args, message] of WRONG) {
  Deno.test(`Flags.parse() rejects ${args.join(" ")}`, async () => {
    await assertRejects(() => parse(...args), UsageError, message);
  });
}

Deno.test("Flags.integer() takes whole numbers in range only", async () => {
  const port = async (text: string) =>
    (await parse("-p", text)).integer("port", 0, 65_535);
  assertEquals(await port("0"), 0);
  assertEquals(await port("65535"), 65_535);
  assertEquals((await parse()).integer("port", 0, 1), undefined);
  for (const text of ["65536", "-1", "1.5", "1e3", "0x10", "", " 5", "five"]) {
    await assertRejects(
      () => port(text),
      UsageError,
      `Flag "--port" takes a whole number from 0 to 65535, not "${text}"`,
    );
  }
});

Deno.test("Flags.secondsAsMs() takes seconds with a fraction", async () => {
  const wait = async (text: string) =>
    (await parse("-W", text)).secondsAsMs("wait", 0.001);
  assertEquals(await wait("2"), 2_000);
  assertEquals(await wait("0.25"), 250);
  assertEquals(await wait(".5"), 500);
  for (const text of ["0", "-1", "1s", "", "1e3", "1000001"]) {
    await assertRejects(
      () => wait(text),
      UsageError,
      'Flag "--wait" takes seconds',
    );
  }
});

Deno.test("Flags.choice() takes one of its words only", async () => {
  const flags = await parse("-h", "there");
  assertEquals(flags.choice("host", ["here", "there"]), "there");
  assertThrows(
    () => flags.choice("host", ["a", "b"]),
    UsageError,
    'Flag "--host" takes a, b, not "there"',
  );
});

Deno.test("usageOf() tells every flag with its value, default and purpose", () => {
  const usage = usageOf(PROGRAM);
  for (const { name, help } of PROGRAM.flags) {
    assertStringIncludes(usage, `--${name}`);
    assertStringIncludes(usage, help);
  }
  assertMatch(usage, /^ {2}-h, --host ADDRESS {2,}where \(default: here\)$/m);
  assertMatch(usage, /^ {2}-t, --topic TOPIC {2,}what; may be repeated$/m);
  assertMatch(usage, /^ {6}--version {2,}print the version and exit$/m);
});
