/**
 * The processes of a benchmark: servers that are started, generators of load, and the
 * machine that both share.
 *
 * @module
 */

import { availableParallelism, cpus } from "node:os";
import { fileURLToPath } from "node:url";

/** Where the project is. */
export const ROOT: string = fileURLToPath(new URL("..", import.meta.url));

/** Where the results go. */
const RESULTS = new URL("results/", import.meta.url);

/** How long a server may take until it is ready. */
const START_WITHIN_MS = 20_000;

/** A server under load. */
export interface Contender {
  /** Its name in the table. */
  readonly name: string;
  /** What starts it. */
  readonly command: string;
  /** The command's arguments. */
  readonly args: readonly string[];
}

/** A contender's process. */
export class Server implements AsyncDisposable {
  /** Which it is. */
  readonly contender: Contender;
  /** Its port at 127.0.0.1. */
  readonly port: number;
  readonly #process: Deno.ChildProcess;

  private constructor(
    contender: Contender,
    process: Deno.ChildProcess,
    port: number,
  ) {
    this.contender = contender;
    this.#process = process;
    this.port = port;
  }

  /** Starts it, and waits until it says at which port it is ready. */
  static async start(
    contender: Contender,
    signal: AbortSignal,
  ): Promise<Server> {
    const { name, command, args } = contender;
    const within = AbortSignal.any([
      signal,
      AbortSignal.timeout(START_WITHIN_MS),
    ]);
    const process = spawn({ command, args });
    const complaint = process.stderr.text();
    const kill = () => process.kill("SIGKILL");
    within.addEventListener("abort", kill);
    let said = "";
    const output = process.stdout.pipeThrough(new TextDecoderStream());
    for await (const chunk of output.values({ preventCancel: true })) {
      said += chunk;
      const port = /started at 127\.0\.0\.1:(\d+)\r?\n/.exec(said)?.[1];
      if (port === undefined) continue;
      within.removeEventListener("abort", kill);
      output.pipeTo(new WritableStream()).catch(() => {});
      return new Server(contender, process, Number(port));
    }
    within.removeEventListener("abort", kill);
    await process.status;
    signal.throwIfAborted();
    throw new Error(
      `Cannot start the server "${name}": ${said}${await complaint}`.trim(),
    );
  }

  /** Its process. */
  get pid(): number {
    return this.#process.pid;
  }

  /** Resolves when it has ended. */
  get ended(): Promise<Deno.CommandStatus> {
    return this.#process.status;
  }

  /** Sends it a signal. */
  signal(signal: Deno.Signal): void {
    this.#process.kill(signal);
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch { /* It has ended already. */ }
    await this.ended;
  }
}

function spawn(
  { command, args, signal }: {
    command: string;
    args: readonly string[];
    signal?: AbortSignal;
  },
): Deno.ChildProcess {
  return new Deno.Command(command, {
    args: [...args],
    cwd: ROOT,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    ...signal === undefined ? {} : { signal },
  }).spawn();
}

/** Whether a program is there and takes these arguments. */
export async function answers(
  command: string,
  args: string[],
): Promise<boolean> {
  try {
    return (await new Deno.Command(command, { args }).output()).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * Runs a load generator once.
 *
 * @param program its file, which prints its figures as JSON
 * @param job what it is asked for
 * @param server who is under load; its end is the generator's
 * @throws {Error} when either fails
 */
export async function generate<Result>(
  program: string,
  job: object,
  server: Server,
  signal: AbortSignal,
): Promise<Result> {
  const stop = new AbortController();
  const generator = spawn({
    command: Deno.execPath(),
    args: ["run", "-A", program, JSON.stringify(job)],
    signal: AbortSignal.any([signal, stop.signal]),
  });
  const output = generator.output();
  const ended = await Promise.race([output, server.ended]);
  signal.throwIfAborted();
  if (!("stdout" in ended)) {
    stop.abort();
    await output;
    throw new Error(`The server "${server.contender.name}" ended`);
  }
  const text = new TextDecoder();
  if (!ended.success) {
    throw new Error(
      `The load generator failed: ${text.decode(ended.stderr).trim()}`,
    );
  }
  return JSON.parse(text.decode(ended.stdout));
}

/** What the figures were measured on. */
export interface Machine {
  /** Its processor. */
  readonly cpu: string;
  /** Its cores. */
  readonly cores: number;
  /** Its system. */
  readonly os: string;
  /** Its memory in octets. */
  readonly memoryBytes: number;
  /** The version of Deno. */
  readonly deno: string;
  /** The version of V8. */
  readonly v8: string;
}

/** This machine. */
export function machineOf(): Machine {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    os: `${Deno.build.os} ${Deno.osRelease()} ${Deno.build.arch}`,
    memoryBytes: Deno.systemMemoryInfo().total,
    deno: Deno.version.deno,
    v8: Deno.version.v8,
  };
}

/** Writes a run's figures to a file of its own; gives its name. */
export async function save(
  kind: string,
  result: Record<string, unknown>,
): Promise<string> {
  const time = new Date().toISOString();
  // Windows has no colons in the names of files.
  const name = `${kind}-${time.replaceAll(":", "-")}.json`;
  await Deno.mkdir(RESULTS, { recursive: true });
  await Deno.writeTextFile(
    new URL(name, RESULTS),
    JSON.stringify({ time, ...result }, null, 2) + "\n",
  );
  return `bench/results/${name}`;
}
