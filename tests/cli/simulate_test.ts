/**
 * Tests of the simulator's program.
 *
 * @module
 */

import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertStringIncludes,
} from "@std/assert";
import {
  assertFailed,
  assertUsageErrors,
  flagsListed,
  run,
  runEach,
  TempFile,
} from "../support/programs.ts";

const SMALL = [
  ...["--clients", "20", "--duration", "2min", "--grace", "1min"],
] as const;

/** What each flag that `--help` lists is used like. */
const FLAGS: Readonly<Record<string, readonly string[]>> = {
  "--clients N": ["--clients", "3"],
  "--duration TIME": ["--duration", "30s"],
  "--net SPEC": ["--net", "lora"],
  "--seed N": ["--seed", "5"],
  "--sleepers PERCENT": ["--sleepers", "100%"],
  "--sleep S": ["--sleep", "10"],
  "--rate RATE": ["--rate", "1/7"],
  "--commands RATE": ["--commands", "0"],
  "--payload OCTETS": ["--payload", "6-600"],
  "--qos MIX": ["--qos", "2"],
  "--topics TREE": ["--topics", "a/{2}/b/{client}"],
  "--listeners N": ["--listeners", "3"],
  "--fanout N": ["--listeners", "3", "--fanout", "3"],
  "-k, --keepalive S": ["-k", "20"],
  "--clean": ["--clean"],
  "--ramp TIME": ["--ramp", "500ms"],
  "--grace TIME": ["--grace", "0s"],
  "--retry-ms MS": ["--retry-ms", "500"],
  "--retries N": ["--retries", "0"],
  "--max-queue N": ["--max-queue", "1"],
  "--json": ["--json"],
  "--html FILE": [],
  "--version": [],
  "--help": [],
};

Deno.test("simulate --help lists its flags, and each of them works", async () => {
  const { stdout } = await run("simulate", ["--help"]);
  assertEquals(flagsListed(stdout), Object.keys(FLAGS));
  const used = Object.values(FLAGS).filter(({ length }) => length > 0);
  // So bad, and so busy, that nothing is without consequence.
  const usual = [...SMALL, "--net", "loss 20%", "--commands", "1/10"];
  const outcomes = await runEach(
    [[], ...used].map((args) => {
      const others = usual.filter((_, at) =>
        !args.includes(usual[at - at % 2]!)
      );
      return ["simulate", [...others, ...args]];
    }),
  );
  const digests = outcomes.map(({ code, stderr, stdout }) => {
    assertEquals([code, stderr], [0, ""]);
    return digestIn(stdout)!;
  });
  const [digest] = digests;
  const idle = used.filter((_, at) => digests[at + 1] === digest);
  assertEquals(idle, [["--json"]]);
});

const digestIn = (stdout: string) =>
  /digest\W+([0-9a-f]{16})/.exec(stdout)?.[1];

Deno.test("simulate comes to the same for the same seed, and to something else for another", async () => {
  const args = [...SMALL, "--net", "wifi-poor loss 10%", "--json"];
  const [one, same, other] = await runEach([
    ["simulate", args],
    ["simulate", args],
    ["simulate", [...args, "--seed", "2"]],
  ]);
  const read = (stdout: string) => {
    const { cost, ...report } = JSON.parse(stdout);
    assert(cost.seconds > 0 && cost.peakMemory > 0, JSON.stringify(cost));
    return report;
  };
  const report = read(one!.stdout);
  assertEquals(read(same!.stdout), report);
  assertNotEquals(digestIn(other!.stdout), report.digest);
  assertEquals(report.network, "wifi-poor loss 10%");
  assertEquals(report.flows.length, 6);
  assertEquals(report.samples.length, 120);
});

Deno.test("simulate --html writes a page that stands by itself", async () => {
  await using file = await TempFile.with("");
  const { code, stderr, stdout } = await run("simulate", [
    ...SMALL,
    "--html",
    file.path,
  ]);
  assertEquals([code, stderr], [0, ""]);
  const page = await Deno.readTextFile(file.path);
  assertMatch(page, /^<!doctype html>[^]*<\/html>\n$/);
  assertStringIncludes(page, digestIn(stdout)!);
  // It is said before a run that would take a while.
  const long = ["--clients", "10000", "--duration", "24h"];
  assertFailed(
    await run("simulate", [...long, "--html", "/no/such/folder/a.html"]),
    "simulate",
    /Cannot write "\/no\/such\/folder\/a\.html": .*/,
  );
});

Deno.test("simulate names the word that it cannot take, and what may stand there", async () => {
  const rate = "it is times a second, 1000 at most, as 0.5 or 1/60";
  const mix = "they are as 0:50,1:40,2:10";
  await assertUsageErrors([
    [
      "simulate",
      ["--rate", "often"],
      `Flag "--rate": Cannot take "often" as a rate: ${rate}`,
    ],
    [
      "simulate",
      ["--qos", "0:50,7:50"],
      `Flag "--qos": Cannot take "7:50" of "0:50,7:50" as a QoS and its share: ${mix}`,
    ],
    [
      "simulate",
      ["--fanout", "2"],
      'Flag "--fanout" takes no more than there are listeners, 1, not "2"',
    ],
    [
      "simulate",
      ["--clients", "0"],
      'Flag "--clients" takes a whole number from 1 to 1000000, not "0"',
    ],
    ["simulate", ["--html", ""], 'Flag "--html" needs a file\'s name'],
  ]);
  const { code, stderr } = await run("simulate", ["--net", "loss much"]);
  assertEquals(code, 1);
  assertMatch(stderr, /^simulate: Flag "--net": .*much.*loss PERCENT.*\n$/);
});
