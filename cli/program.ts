/**
 * What the programs share of a command line: flags and their usage text, the way a
 * program runs and ends, and what it tells a person that went wrong.
 *
 * @module
 */

import { Log, LOG_LEVELS, type LogLevel } from "../base/log.ts";
import { DEFAULT_PORT } from "../base/peer.ts";
import { Interruption } from "../base/interruption.ts";
import { messageOf } from "../base/errors.ts";
import {
  EXIT,
  exit,
  leaveInterruptedLine,
  pause,
  print,
  printError,
  readFile,
} from "./terminal.ts";

/** A flag of a program. */
export interface Flag {
  /** Long name, without dashes. */
  readonly name: string;
  /** One letter, without the dash. */
  readonly short?: string;
  /** What its value is called in the usage text; a flag without it is a switch. */
  readonly value?: string;
  /** Whether it may be given again and again. */
  readonly many?: boolean;
  /** What holds when it is not given, for the usage text. */
  readonly usual?: string;
  /** What it does, in a few words. */
  readonly help: string;
}

/** A program as its user sees it. */
export interface Program {
  /** What it is called. */
  readonly name: string;
  /** What it does, in a sentence. */
  readonly summary: string;
  /** Command lines to start from, each with what it does. */
  readonly examples: readonly (readonly [command: string, does: string])[];
  /** The flags, in the order of the usage text. */
  readonly flags: readonly Flag[];
}

/** A command line that cannot be understood. */
export class UsageError extends Error {
  /** `"UsageError"`. */
  override readonly name = "UsageError";
}

const COMMON_FLAGS: readonly Flag[] = [
  { name: "version", help: "print the version and exit" },
  { name: "help", help: "print this text and exit" },
];

/**
 * The port that the variable `PORT` names, or the usual one.
 *
 * @throws {Error} when it is none from `min` to 65535
 */
export function portFromEnvironment(min: number): number {
  const text = Deno.env.get("PORT");
  if (text === undefined || text === "") return DEFAULT_PORT;
  const port = /^\d+$/.test(text) ? Number(text) : NaN;
  if (port >= min && port <= 65_535) return port;
  throw new Error(
    `Cannot take the variable PORT as the port: "${text}" is no number from ${min} to 65535`,
  );
}

/** The flags of a command line, with their values checked as they are asked for. */
export class Flags {
  readonly #values: Readonly<Record<string, unknown>>;

  private constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values;
  }

  /**
   * Reads a command line.
   *
   * @param program whose flags
   * @param args the command line
   * @throws {UsageError} for a flag that is unknown, lacks its value, has one
   * too many or is given twice
   */
  static async parse(
    program: Program,
    args: readonly string[],
  ): Promise<Flags> {
    // Only here, for a program that is started away from its deno.json, where
    // the name means nothing: `run` has better words for that.
    const { parseArgs } = await import("@std/cli/parse-args");
    const known = [...program.flags, ...COMMON_FLAGS];
    const withValue = known.filter(({ value }) => value !== undefined);
    const switches = known.filter(({ value }) => value === undefined);
    const values = parseArgs(joinValues(args, known), {
      string: withValue.map(({ name }) => name),
      boolean: switches.map(({ name }) => name),
      collect: withValue.map(({ name }) => name),
      alias: Object.fromEntries(
        known.flatMap(({ name, short }) => short ? [[name, short]] : []),
      ),
      unknown: (arg: string) => {
        throw new UsageError(
          arg.startsWith("-")
            ? `Unknown flag "${arg}"`
            : `Unexpected argument "${arg}"`,
        );
      },
    }) as Record<string, unknown>;
    const [extra] = values["_"] as unknown[]; // what stands behind "--"
    if (extra !== undefined) {
      throw new UsageError(`Unexpected argument "${extra}"`);
    }
    const flags = new Flags(values);
    for (const { name, many } of withValue) {
      if (!many && flags.texts(name).length > 1) {
        throw new UsageError(`Flag "--${name}" is given twice`);
      }
    }
    return flags;
  }

  /** Whether a switch is given. */
  has(name: string): boolean {
    return this.#values[name] === true;
  }

  /** Whether a flag of either kind is given. */
  isGiven(name: string): boolean {
    const value = this.#values[name];
    return Array.isArray(value) ? value.length > 0 : value === true;
  }

  /** A flag's values, in order. */
  texts(name: string): readonly string[] {
    return (this.#values[name] ?? []) as readonly string[];
  }

  /** A flag's value, `undefined` when it is not given. */
  text(name: string): string | undefined {
    return this.texts(name)[0];
  }

  /**
   * A flag's value as a whole number.
   *
   * @throws {UsageError} when it is none from `min` to `max`
   */
  integer(name: string, min: number, max: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = /^\d+$/.test(text) ? Number(text) : NaN;
    if (value >= min && value <= max) return value;
    throw new UsageError(
      `Flag "--${name}" takes a whole number from ${min} to ${max}, not "${text}"`,
    );
  }

  /**
   * A flag's value as a number.
   *
   * @throws {UsageError} when it is none from `min` to `max`
   */
  number(name: string, min: number, max: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = /^\d*\.?\d+$/.test(text) ? Number(text) : NaN;
    if (value >= min && value <= max) return value;
    throw new UsageError(
      `Flag "--${name}" takes a number from ${min} to ${max}, not "${text}"`,
    );
  }

  /**
   * A flag's value in mebibytes, as octets.
   *
   * @throws {UsageError} when it is no whole number from `min` to `max`
   */
  mebibytes(name: string, min: number, max: number): number | undefined {
    const value = this.integer(name, min, max);
    return value === undefined ? undefined : value * 1024 * 1024;
  }

  /**
   * A flag's value in seconds, as milliseconds.
   *
   * @throws {UsageError} when it is no number of seconds from `min` to a million
   */
  secondsAsMs(name: string, min: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = /^\d*\.?\d+$/.test(text) ? Number(text) : NaN;
    if (value >= min && value <= 1e6) return Math.round(value * 1_000);
    throw new UsageError(
      `Flag "--${name}" takes seconds from ${min} to 1000000, not "${text}"`,
    );
  }

  /**
   * A flag's value as one of a few words.
   *
   * @throws {UsageError} when it is none of them
   */
  choice<const Word extends string>(
    name: string,
    words: readonly Word[],
  ): Word | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const word = words.find((word) => word === text);
    if (word !== undefined) return word;
    throw new UsageError(
      `Flag "--${name}" takes ${words.join(", ")}, not "${text}"`,
    );
  }

  /**
   * What the file says that a flag names, as JSON.
   *
   * @param parse takes the JSON's value
   * @throws {Error} when the file cannot be read, or when it is not that
   */
  async jsonFile<Value>(
    name: string,
    parse: (json: unknown) => Value,
  ): Promise<Value | undefined> {
    const file = this.text(name);
    if (file === undefined) return undefined;
    const octets = await readFile(file);
    try {
      return parse(JSON.parse(new TextDecoder().decode(octets)));
    } catch (cause) {
      throw new Error(
        `Cannot take "${file}" for "--${name}": ${messageOf(cause)}`,
        { cause },
      );
    }
  }

  /** The log that `--log-level` and `--log-json`, or `--debug`, ask for. */
  log(usual: LogLevel): Log {
    const isVerbose = this.#values["debug"] === true;
    const level = this.#values["log-level"] === undefined
      ? undefined
      : this.choice("log-level", [...LOG_LEVELS, "none"]);
    return new Log({
      level: level ?? (isVerbose ? "debug" : usual),
      json: this.#values["log-json"] === true,
      write: (line) => printError(`${line}\n`),
    });
  }
}

/**
 * Ties each flag to its value, whatever that begins with: `-m -5` is the
 * message "-5", as it is in the programs that our flags are named after.
 */
function joinValues(
  args: readonly string[],
  flags: readonly Flag[],
): string[] {
  const joined: string[] = [];
  let tied = false;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    // Behind a flag it may be an unknown one's value: that is told elsewhere.
    if (!arg.startsWith("-") && !(args[i - 1]?.startsWith("-") && !tied)) {
      throw new UsageError(`Unexpected argument "${arg}"`);
    }
    tied = false;
    const flag = flags.find(({ name, short }) =>
      arg === `--${name}` || (short !== undefined && arg === `-${short}`)
    );
    if (flag?.value === undefined) {
      const [name, value] = arg.split("=", 2);
      const isSwitch = value !== undefined &&
        flags.some((flag) =>
          name === `--${flag.name}` && flag.value === undefined
        );
      if (isSwitch) throw new UsageError(`Flag "${name}" takes no value`);
      joined.push(arg);
      continue;
    }
    const value = args[++i];
    tied = true;
    if (value === undefined) {
      throw new UsageError(`Flag "${arg}" needs a value: ${flag.value}`);
    }
    // An empty value cannot be tied: it is what a flag alone stands for, and
    // first, so that nothing behind it is taken for its value.
    if (value === "") joined.unshift(`--${flag.name}`);
    else joined.push(`--${flag.name}=${value}`);
  }
  return joined;
}

/** The text that `--help` prints. */
export function usageOf(program: Program): string {
  const flags = [...program.flags, ...COMMON_FLAGS].map((flag) => {
    const short = flag.short ? `-${flag.short}, ` : "    ";
    const value = flag.value ? ` ${flag.value}` : "";
    const usual = flag.usual ? ` (default: ${flag.usual})` : "";
    const again = flag.many ? "; may be repeated" : "";
    return [`  ${short}--${flag.name}${value}`, flag.help + again + usual];
  });
  const width = Math.max(...flags.map(([flag]) => flag!.length)) + 2;
  const commands = program.examples;
  const commandWidth = Math.max(...commands.map(([line]) => line.length)) + 2;
  return [
    program.summary,
    "",
    "Examples:",
    ...commands.map(([line, does]) => `  ${line.padEnd(commandWidth)}${does}`),
    "",
    "Flags:",
    ...flags.map(([flag, help]) => flag!.padEnd(width) + help),
    "",
  ].join("\n");
}

/**
 * Runs a program to its end: parses its flags, turns errors into one line on
 * standard error, signals into the interruption, and the outcome into the exit
 * code. Does not return.
 */
export async function run(
  program: Program,
  main: (flags: Flags, interruption: Interruption) => Promise<number>,
  args: readonly string[] = Deno.args,
): Promise<never> {
  const interruption = new Interruption();
  let code: number;
  try {
    requireDatagrams();
    const flags = await Flags.parse(program, args);
    if (flags.has("help")) print(usageOf(program));
    else if (flags.has("version")) {
      const { VERSION } = await import("../base/version.ts");
      print(`${program.name} ${VERSION}\n`);
    } else {
      const ended = main(flags, interruption);
      await Promise.race([ended, interruption.wait()]);
      // One that was interrupted has a moment to close, and no more.
      const { aborted } = interruption.signal;
      if (interruption.isSignal) leaveInterruptedLine();
      code = await (aborted ? Promise.race([ended, grace()]) : ended);
      return exit(code);
    }
    code = EXIT.done;
  } catch (error) {
    code = interruption.signal.aborted ? EXIT.interrupted : EXIT.failed;
    if (code === EXIT.failed) complain(program, error);
  }
  return exit(code);
}

async function grace(): Promise<number> {
  await pause(500);
  return EXIT.interrupted;
}

function requireDatagrams(): void {
  if (typeof Deno.listenDatagram === "function") return;
  throw new Error(
    "Deno.listenDatagram is missing: start where deno.json is, which sets --unstable-net",
  );
}

/** The longest that a person reads of what is wrong, in characters. */
const MAX_COMPLAINT = 600;

function complain(program: Program, error: unknown): void {
  let text = messageOf(error).replace(/\s*\n\s*/g, " ");
  if (text.length > MAX_COMPLAINT) {
    // What is wrong stands before what was given, and why behind it.
    const half = MAX_COMPLAINT / 2;
    text = `${text.slice(0, half)} … ${text.slice(-half)}`;
  }
  const hint = error instanceof UsageError
    ? `; see ${program.name} --help`
    : "";
  printError(`${program.name}: ${text}${hint}\n`);
}
