/**
 * The programs as processes: how a test starts them, waits for what they write, and
 * looks at how they ended.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { assertEquals, assertFalse, assertMatch } from "@std/assert";
import { socketFlags } from "./sockets.ts";
import { Transcript } from "./transcript.ts";

/** The project's directory. */
export const ROOT: string = fileURLToPath(new URL("../..", import.meta.url));

/** The programs. */
export type ProgramName = "broker" | "publisher" | "subscriber" | "simulate";

/** No address, and no name that anybody has to be asked about. */
export const UNKNOWN_HOSTS = ["no..host", "256.1.1.1", ":"] as const;

/** How a process is started. */
export interface StartOptions {
  /** Variables on top of this process's; `PORT` is not passed on. */
  readonly env?: Readonly<Record<string, string>>;
  /** How long it may live, in milliseconds, before it counts as stuck. Default a minute. */
  readonly patienceMs?: number;
}

/** What a process left when it ended. */
export interface Outcome {
  /** Its exit code. */
  readonly code: number;
  /** What it wrote to standard output. */
  readonly stdout: string;
  /** What it wrote to standard error. */
  readonly stderr: string;
}

/** One that did what was asked, and said nothing. */
export const DONE: Outcome = { code: 0, stdout: "", stderr: "" };

/** How long a process may live, in milliseconds, unless told otherwise. */
const PATIENCE_MS = 60_000;

/** A process at work, ended at the latest when it is disposed of. */
export class Running implements AsyncDisposable {
  /** What it wrote to standard output so far. */
  readonly stdout: Transcript;
  /** What it wrote to standard error so far. */
  readonly stderr: Transcript;
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #guard: ReturnType<typeof setTimeout>;
  readonly #status: Promise<Deno.CommandStatus>;
  #hasEnded = false;

  /** Starts it. */
  constructor(
    command: string,
    args: readonly string[],
    { env, patienceMs = PATIENCE_MS }: StartOptions = {},
  ) {
    const { PORT: _, ...inherited } = Deno.env.toObject();
    this.#child = new Deno.Command(command, {
      args: [...args],
      cwd: ROOT,
      clearEnv: true,
      env: { ...inherited, NO_COLOR: "1", ...env },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.stdout = Transcript.of(this.#child.stdout);
    this.stderr = Transcript.of(this.#child.stderr);
    this.#stdin = this.#child.stdin.getWriter();
    this.#guard = setTimeout(() => this.kill("SIGKILL"), patienceMs);
    this.#status = this.#child.status.finally(() => {
      this.#hasEnded = true;
      clearTimeout(this.#guard);
    });
  }

  /** Writes to its standard input. */
  async write(input: string | Uint8Array<ArrayBuffer>): Promise<void> {
    const bytes = typeof input === "string"
      ? new TextEncoder().encode(input)
      : input;
    // It may end, or close its input, without having read all of it.
    await this.#stdin.write(bytes).catch(() => {});
  }

  /** Ends its standard input. */
  async endInput(): Promise<void> {
    await this.#stdin.close().catch(() => {});
  }

  /** Sends it a signal. */
  kill(signal: Deno.Signal): void {
    if (this.#hasEnded) return;
    try {
      this.#child.kill(signal);
    } catch {
      // It has ended this very moment.
    }
  }

  /** Waits for its end. */
  async outcome(): Promise<Outcome> {
    const { code } = await this.#status;
    return {
      code,
      stdout: await this.stdout.all(),
      stderr: await this.stderr.all(),
    };
  }

  /** Ends it, when it has not ended by itself. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.kill("SIGKILL");
    await this.#status;
    await this.endInput();
    await Promise.all([this.stdout.close(), this.stderr.close()]);
  }
}

/** The command line, after `deno`, of a program. */
export function programArgs(
  name: ProgramName,
  args: readonly string[],
): string[] {
  const flags = name === "broker" ? socketFlags() : [];
  const file = name === "simulate" ? `cli/${name}.ts` : `${name}.ts`;
  return ["run", "-A", file, ...flags, ...args];
}

/** Starts a program. */
export function start(
  name: ProgramName,
  args: readonly string[] = [],
  options: StartOptions = {},
): Running {
  return new Running(Deno.execPath(), programArgs(name, args), options);
}

/** Runs a program to its end, with `input` on standard input. */
export async function run(
  name: ProgramName,
  args: readonly string[] = [],
  { input = "", ...options }:
    & StartOptions
    & { readonly input?: string | Uint8Array<ArrayBuffer> } = {},
): Promise<Outcome> {
  await using program = start(name, args, options);
  await program.write(input);
  await program.endInput();
  return await program.outcome();
}

/** The port that a broker printed when it was ready. */
export async function portOf(broker: Running): Promise<number> {
  await broker.stdout.until("Broker started at ");
  return Number((await broker.stdout.line()).split(":").at(-1));
}

/** A port that is taken and does not answer. */
export class SilentPort implements Disposable {
  /** The UDP port, on 127.0.0.1. */
  readonly port: number;
  readonly #socket: Deno.DatagramConn;

  /** Takes a free one. */
  constructor() {
    this.#socket = Deno.listenDatagram({
      transport: "udp",
      hostname: "127.0.0.1",
      port: 0,
    });
    this.port = (this.#socket.addr as Deno.NetAddr).port;
  }

  /** Gives it back. */
  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/** Runs programs to their ends, a few at a time. */
export async function runEach(
  calls: readonly (readonly [ProgramName, readonly string[]])[],
  options: { readonly input?: string } = {},
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const rest = calls.entries();
  const work = async () => {
    for (const [i, [name, args]] of rest) {
      outcomes[i] = await run(name, args, options);
    }
  };
  await Promise.all([work(), work(), work(), work()]);
  return outcomes;
}

/** Checks that a program failed, and said why in exactly one line. */
export function assertFailed(
  { code, stdout, stderr }: Outcome,
  name: ProgramName,
  message: string | RegExp,
  expected: { readonly stdout: string } = { stdout: "" },
): void {
  assertFalse(/\n./.test(stderr), stderr);
  if (typeof message === "string") {
    assertEquals(stderr, `${name}: ${message}\n`);
  } else {
    assertMatch(stderr, new RegExp(`^${name}: ${message.source}\n$`));
  }
  assertEquals({ code, stdout }, { code: 1, ...expected });
}

/** Runs programs whose command lines are wrong: each says so in a line. */
export async function assertUsageErrors(
  calls: readonly (readonly [ProgramName, readonly string[], string])[],
): Promise<void> {
  const outcomes = await runEach(calls.map(([name, args]) => [name, args]));
  for (const [i, outcome] of outcomes.entries()) {
    const [name, args, message] = calls[i]!;
    const stderr = `${name}: ${message}; see ${name} --help\n`;
    assertEquals(outcome, { code: 1, stdout: "", stderr }, args.join(" "));
  }
}

/** The flags that a usage text lists, each as it stands there. */
export function flagsListed(usage: string): string[] {
  const listed = usage.matchAll(/^ {2,6}(-.+?) {2,}\S/gm);
  return [...listed].map(([, flag]) => flag!);
}

/** A test of what signals do. */
export function testSignals(name: string, fn: () => Promise<void>): void {
  const ignore = Deno.build.os === "windows";
  const why = ignore ? " (skipped: Windows sends no such signals)" : "";
  Deno.test({ name: name + why, ignore, fn });
}

/** What is said where a flag wants a port of its range. */
export function portRange(min: number): string {
  return `a whole number from ${min} to 65535`;
}

/** What is said of a port where nobody answers. */
export function noBroker({ port }: SilentPort, timeoutS = 0.3): string {
  return `No broker answered at 127.0.0.1:${port} within ${timeoutS} s; ` +
    `start one with: deno run -A broker.ts --port ${port}`;
}

/** A file that goes when it is disposed of. */
export class TempFile implements AsyncDisposable {
  /** Where it is. */
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Makes one. */
  static async with(content: string | Uint8Array): Promise<TempFile> {
    const file = new TempFile(await Deno.makeTempFile());
    const bytes = typeof content === "string"
      ? new TextEncoder().encode(content)
      : content;
    await Deno.writeFile(file.path, bytes);
    return file;
  }

  /** Removes it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path);
  }
}
