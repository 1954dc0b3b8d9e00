// deno-lint-ignore-file no-console
/**
 * `deno task compile` builds `dist/broker`, `dist/publisher` and
 * `dist/subscriber`: files that run on a machine without Deno.
 *
 * `deno compile` makes them, for any of five systems, where it can fetch Deno's
 * runtime (`denort`). Where it cannot, they are packed as self-extracting
 * executables (`pack.ts`) for the system of this machine.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import deno from "../deno.json" with { type: "json" };
import { compress, type Compressed, selfExtracting } from "./pack.ts";

/** A program to build. */
export interface Program {
  /** What the executable is called. */
  readonly name: string;
  /** Its main module, from the root of the project. */
  readonly entry: string;
  /** The narrowest permissions that serve, as flags of `deno run`. */
  readonly permissions: readonly string[];
  /** Files that are loaded by name: Web Workers. */
  readonly include: readonly string[];
}

/** The prompt asks what terminal this is, and can do without an answer. */
const CLIENT_PERMISSIONS = ["--allow-net", "--allow-env=PORT", "--ignore-env"];

/** The programs. */
export const PROGRAMS: readonly Program[] = [
  {
    name: "broker",
    entry: "broker.ts",
    // --db, --record and --pcap may be any file; --io batched calls the system by
    // FFI.
    permissions: [
      "--allow-net",
      "--allow-ffi",
      "--allow-env=PORT",
      "--allow-read",
      "--allow-write",
    ],
    include: [
      "store/worker.ts",
      "transport/sender_threads.ts",
      "journal/recorder.ts",
    ],
  },
  {
    name: "publisher",
    entry: "publisher.ts",
    // --file and --predefined may be any file.
    permissions: [...CLIENT_PERMISSIONS, "--allow-read"],
    include: [],
  },
  {
    name: "subscriber",
    entry: "subscriber.ts",
    permissions: [...CLIENT_PERMISSIONS, "--allow-read"], // --predefined
    include: [],
  },
];

/** The systems that `deno compile` builds for. */
const TARGETS: readonly string[] = [
  "x86_64-unknown-linux-gnu",
  "aarch64-unknown-linux-gnu",
  "x86_64-apple-darwin",
  "aarch64-apple-darwin",
  "x86_64-pc-windows-msvc",
];

const PACKINGS = ["auto", "deno", "self-extracting"] as const;
const HOST = Deno.build.target;
const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** The same for `deno compile` and for `deno run` in a packed executable. */
const COMMON_FLAGS = deno.unstable.map((feature) => `--unstable-${feature}`);

const USAGE = `Build the executables broker, publisher and subscriber.

Usage: deno task compile [OPTIONS]

Options:
  --target TRIPLE   System to build for, again and again, or "all"; the file
                    names then end in it. Default: this system, plain names
${TARGETS.map((triple) => `                      ${triple}`).join("\n")}
  --packing HOW     How they are made. Default: auto
                      deno             by deno compile; it needs denort, Deno's
                                       runtime, which it fetches from Deno's
                                       host or which DENORT_BIN names
                      self-extracting  a script, Deno and the program in one
                                       file; for this system, if not Windows
                      auto             deno or, if denort cannot be fetched,
                                       self-extracting
  --out DIR         Directory to write to. Default: dist
  --help            Print this
`;

/** What a person is told in one line, before exit code 1. */
class Failure extends Error {}

/** As above, and `denort` could not be fetched. */
class RuntimeMissing extends Failure {}

/** What to build, as the flags say. */
interface Plan {
  readonly packing: typeof PACKINGS[number];
  /** Undefined: the host's, without its name in the file's name. */
  readonly targets: readonly string[] | undefined;
  readonly out: string;
}

/** Runs the task and returns its exit code. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const plan = parse(args);
    if (plan === undefined) {
      console.log(USAGE.trimEnd());
      return 0;
    }
    await build(plan);
    return 0;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    console.error(`compile: ${error.message}`);
    return 1;
  }
}

function parse(args: readonly string[]): Plan | undefined {
  const usage = (message: string) =>
    new Failure(`${message}; see deno task compile --help`);
  const flags = parseArgs([...args], {
    boolean: ["help"],
    string: ["packing", "out", "target"],
    collect: ["target"],
    default: { packing: "auto", out: join(ROOT, "dist") },
    unknown: (arg) => {
      throw usage(`Unknown argument "${arg}"`);
    },
  });
  if (flags.help) return undefined;
  const out: string = flags.out;
  if (out === "") throw usage("--out needs a directory");
  const packing = PACKINGS.find((name) => name === flags.packing);
  if (packing === undefined) throw usage(`Unknown packing "${flags.packing}"`);
  const named: readonly string[] = flags.target;
  const targets = named.flatMap((name) => name === "all" ? TARGETS : [name]);
  for (const target of targets) {
    if (!TARGETS.includes(target)) throw usage(`Unknown target "${target}"`);
  }
  return {
    packing,
    out: resolve(out),
    targets: targets.length === 0 ? undefined : [...new Set(targets)],
  };
}

async function build(plan: Plan): Promise<void> {
  await Deno.mkdir(plan.out, { recursive: true });
  if (plan.packing === "self-extracting") return await packAll(plan);
  try {
    await compileAll(plan);
  } catch (error) {
    if (!(error instanceof RuntimeMissing) || plan.packing === "deno") {
      throw error;
    }
    if (foreign(plan) !== undefined || Deno.build.os === "windows") throw error;
    console.error(
      `compile: ${error.message}: packing self-extracting executables instead`,
    );
    await packAll(plan);
  }
}

/** Where an executable is written. */
function fileFor(plan: Plan, program: Program, target: string): string {
  const suffix = plan.targets === undefined ? "" : `-${target}`;
  const extension = target.includes("windows") ? ".exe" : "";
  return join(plan.out, program.name + suffix + extension);
}

/** A target that is not this machine's. */
function foreign(plan: Plan): string | undefined {
  return plan.targets?.find((target) => target !== HOST);
}

async function report(file: string, how: string): Promise<void> {
  const megabytes = ((await Deno.stat(file)).size / 1e6).toFixed(1);
  const path = relative(Deno.cwd(), file);
  console.log(
    `${path.startsWith("..") ? file : path}  ${megabytes} MB  ${how}`,
  );
}

async function compileAll(plan: Plan): Promise<void> {
  const named = Deno.env.get("DENORT_BIN");
  if (named !== undefined && foreign(plan) !== undefined) {
    throw new Failure(
      `DENORT_BIN names one runtime, which cannot serve ${foreign(plan)} too`,
    );
  }
  const checkOnly = named !== undefined && await isDeno(named);
  for (const target of plan.targets ?? [HOST]) {
    for (const program of PROGRAMS) {
      const file = fileFor(plan, program, target) + (checkOnly ? ".check" : "");
      await compile(program, target, file);
      await report(
        file,
        checkOnly
          ? "checked only: DENORT_BIN names deno, so this is not the program"
          : `deno compile, ${target}`,
      );
    }
  }
}

/** Whether an executable is Deno's command line, not its bare runtime. */
async function isDeno(path: string): Promise<boolean> {
  try {
    const { stdout } = await new Deno.Command(path, {
      args: ["--version"],
      stdin: "null",
      stderr: "null",
    }).output();
    return new TextDecoder().decode(stdout).startsWith("deno ");
  } catch (cause) {
    throw new Failure(`DENORT_BIN="${path}" cannot be started`, { cause });
  }
}

async function compile(
  program: Program,
  target: string,
  file: string,
): Promise<void> {
  // deno compile does not overwrite what it has not written.
  const directory = await Deno.makeTempDir({ dir: dirname(file) });
  try {
    const written = join(directory, basename(file));
    const said = await runDeno([
      "compile",
      "--no-prompt",
      // Else the executable keeps one in a directory that all users share.
      "--no-code-cache",
      "--exclude-unused-npm",
      ...COMMON_FLAGS,
      ...program.permissions,
      ...program.include.flatMap((path) => ["--include", path]),
      `--target=${target}`,
      `--output=${written}`,
      program.entry,
    ]);
    if (said === undefined) return await Deno.rename(written, file);
    // Types are checked before the download, so this is the download's failure.
    const [, causes] = said.split("Setting up base binary.");
    if (causes === undefined) {
      throw new Failure(`Cannot compile ${program.entry}:\n${said}`);
    }
    const why = causes.trim().split("\n").at(-1)?.replace(/^\s*\d+: /, "");
    throw new RuntimeMissing(`Cannot fetch denort for ${target} (${why})`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Runs Deno in the project. Returns what it said if it failed. */
async function runDeno(args: readonly string[]): Promise<string | undefined> {
  const { success, stderr, stdout } = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: ROOT,
    stdin: "null",
  }).output();
  if (success) return undefined;
  const decoder = new TextDecoder();
  const said = decoder.decode(stdout) + decoder.decode(stderr);
  const [plain] = stripVTControlCharacters(said).split("\nStack backtrace:");
  return plain?.trim() ?? "";
}

async function packAll(plan: Plan): Promise<void> {
  if (Deno.build.os === "windows") {
    throw new Failure(
      "Windows has no self-extracting executables; deno compile needs denort",
    );
  }
  const target = foreign(plan);
  if (target !== undefined) {
    throw new Failure(
      `A self-extracting executable is for ${HOST} only, not for ${target}`,
    );
  }
  const packedDeno = await compress(
    `deno-${Deno.version.deno}`,
    "",
    await Deno.readFile(Deno.execPath()),
  );
  for (const program of PROGRAMS) {
    const file = fileFor(plan, program, HOST);
    await Deno.writeFile(
      `${file}.tmp`,
      selfExtracting({
        name: program.name,
        version: deno.version,
        flags: [...COMMON_FLAGS, ...program.permissions],
        hasWorkers: program.include.length > 0,
        program: await bundle(program),
        deno: packedDeno,
      }),
    );
    await Deno.chmod(`${file}.tmp`, 0o755);
    await Deno.rename(`${file}.tmp`, file);
    await report(file, `self-extracting, ${HOST}`);
  }
}

/**
 * Bundles a program with all that it imports into one JavaScript file. It keeps
 * its names, for the reader of a stack trace: `--minify` loses them, and
 * with `--keep-names` it breaks CommonJS packages.
 */
async function bundle(program: Program): Promise<Compressed> {
  const directory = await Deno.makeTempDir();
  try {
    const path = join(directory, "bundle.js");
    const said = await runDeno([
      "bundle",
      "--quiet",
      "--check",
      "--platform=deno",
      `--output=${path}`,
      program.entry,
    ]);
    if (said !== undefined) {
      throw new Failure(`Cannot bundle ${program.entry}:\n${said}`);
    }
    const text = withoutPaths(await Deno.readTextFile(path));
    return await compress(
      program.name,
      ".js",
      new TextEncoder().encode(text),
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/**
 * Shortens what a bundle calls npm's modules, in comments and as keys: a path to
 * this machine's cache, which would make each machine's bundle another.
 */
function withoutPaths(bundle: string): string {
  return bundle.replace(
    /(^\/\/ |^ *")(?:\.\.\/)+[^"\n]*?\/npm\/[^"\n/]+\//gm,
    "$1npm/",
  );
}

if (import.meta.main) Deno.exit(await main(Deno.args));
