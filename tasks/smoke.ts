// deno-lint-ignore-file no-console
/**
 * The smoke test of the three executables: does each start, and do they talk?
 *
 * `deno run -A tasks/smoke.ts DIRECTORY [SUFFIX]`, where the suffix is what
 * follows the names: `-x86_64-pc-windows-msvc.exe`. It knows the programs'
 * command lines and nothing of how the files were made.
 *
 * @module
 */

import { join } from "node:path";
import deno from "../deno.json" with { type: "json" };

/** The executables, and how to start them. */
export interface SmokeOptions {
  /** Where they are. */
  readonly directory: string;
  /** What follows `broker`, `publisher` and `subscriber` in their file names. */
  readonly suffix?: string;
  /** The whole environment. Default: this process's. */
  readonly env?: Readonly<Record<string, string>>;
}

/** What a program left when it ended. */
export interface Outcome {
  /** Its exit code. */
  readonly code: number;
  /** What it wrote to standard output. */
  readonly stdout: string;
  /** What it wrote to standard error. */
  readonly stderr: string;
}

/** How long a program may take before it counts as stuck. */
const PATIENCE_MS = 20_000;

/**
 * Starts the three programs and lets them talk.
 *
 * @throws {Error} If one of them does something else than expected.
 */
export async function smoke(options: SmokeOptions): Promise<void> {
  for (const program of ["broker", "publisher", "subscriber"]) {
    const version = await run(options, program, ["--version"]);
    if (version.code !== 0 || !version.stdout.includes(deno.version)) {
      throw unexpected(program, "--version", version);
    }
    const help = await run(options, program, ["--help"]);
    if (help.code !== 0 || !help.stdout.includes("--version")) {
      throw unexpected(program, "--help", help);
    }
    const bad = await run(options, program, ["--no-such-flag"]);
    if (bad.code !== 1 || bad.stdout !== "" || bad.stderr === "") {
      throw unexpected(program, "--no-such-flag", bad);
    }
  }
  await using broker = await startBroker(options, ["--port", "0"]);
  await talk(options, broker.port);
  await broker.stop();
}

/** Publishes until a subscriber has it. */
async function talk(options: SmokeOptions, port: string): Promise<void> {
  const to = ["-h", "127.0.0.1", "-p", port, "-t", "smoke/test"];
  let isWaiting = true;
  const subscriber = run(options, "subscriber", [...to, "-C", "1"])
    .finally(() => isWaiting = false);
  // Again and again: the first may come before the subscription, and be lost.
  while (isWaiting) {
    const published = await run(options, "publisher", [...to, "-m", "21.5 °C"]);
    if (published.code !== 0) throw unexpected("publisher", "-m", published);
  }
  const received = await subscriber;
  const [line] = received.stdout.split(/\r?\n/);
  if (received.code !== 0 || line !== "21.5 °C") {
    throw unexpected("subscriber", "-C 1", received);
  }
}

/** Runs a program to its end, with `input` on standard input. */
export async function run(
  options: SmokeOptions,
  program: string,
  args: readonly string[],
  input = "",
): Promise<Outcome> {
  const stuck = new AbortController();
  const timer = setTimeout(() => stuck.abort(), PATIENCE_MS);
  try {
    const child = command(options, program, args, stuck.signal, "piped")
      .spawn();
    const writer = child.stdin.getWriter();
    // A program may end without having read it.
    writer.write(new TextEncoder().encode(input)).catch(() => {});
    writer.close().catch(() => {});
    const output = await child.output();
    const decoder = new TextDecoder();
    return {
      code: output.code,
      stdout: decoder.decode(output.stdout),
      stderr: decoder.decode(output.stderr),
    };
  } finally {
    clearTimeout(timer);
  }
}

function command(
  { directory, suffix = "", env }: SmokeOptions,
  program: string,
  args: readonly string[],
  signal: AbortSignal,
  stdin: "piped" | "null" = "null",
): Deno.Command {
  return new Deno.Command(join(directory, program + suffix), {
    args: [...args],
    ...(env === undefined ? {} : { clearEnv: true, env: { ...env } }),
    signal,
    stdin,
    stdout: "piped",
    stderr: "piped",
  });
}

/** A broker that says it is ready. Disposing of it kills it. */
export interface RunningBroker extends AsyncDisposable {
  /** The port that it has chosen. */
  readonly port: string;
  /** Asks it to end, and waits until it has. */
  stop(): Promise<void>;
}

/**
 * Starts the broker and waits until it is ready.
 *
 * @throws {Error} If it ends before.
 */
export async function startBroker(
  options: SmokeOptions,
  flags: readonly string[],
): Promise<RunningBroker> {
  const stuck = new AbortController();
  const timer = setTimeout(() => stuck.abort(), 2 * PATIENCE_MS);
  const child = command(options, "broker", flags, stuck.signal).spawn();
  const stderr = child.stderr.text();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const broker = {
    port: "",
    async stop() {
      child.kill("SIGTERM");
      const { code, signal } = await child.status;
      // Windows has no signals to handle: there a program is just ended.
      if (Deno.build.os !== "windows" && (code !== 0 || signal !== null)) {
        throw unexpected("broker", "SIGTERM", { code, stderr: await stderr });
      }
    },
    async [Symbol.asyncDispose]() {
      stuck.abort();
      clearTimeout(timer);
      await Promise.all([child.status, stderr, lines.cancel()]);
    },
  };
  let stdout = "";
  while (broker.port === "") {
    const { value, done } = await lines.read();
    if (done) {
      await broker[Symbol.asyncDispose]();
      throw unexpected("broker", flags.join(" "), {
        stdout,
        stderr: await stderr,
      });
    }
    stdout += value;
    const ready = /^Broker started at 127\.0\.0\.1:(\d+)\r?\n/.exec(stdout);
    broker.port = ready?.[1] ?? "";
  }
  return broker;
}

function unexpected(
  program: string,
  flags: string,
  outcome: Partial<Outcome>,
): Error {
  return new Error(`${program} ${flags}: ${JSON.stringify(outcome)}`);
}

if (import.meta.main) {
  const [directory, suffix] = Deno.args;
  if (directory === undefined) {
    console.error("Usage: deno run -A tasks/smoke.ts DIRECTORY [SUFFIX]");
    Deno.exit(1);
  }
  try {
    await smoke({ directory, ...(suffix === undefined ? {} : { suffix }) });
    console.log("The three programs start and talk");
  } catch (error) {
    console.error(`smoke: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  }
}
