/**
 * {@linkcode parseArgs} of `@std/cli`, in the subset that `mod.ts` names.
 *
 * Which flag takes which value is decided by the rules of the minimist family.
 * Imports nothing, as every program waits for it at its start. Knows nothing of
 * any program's flags.
 *
 * @module
 */

/** What {@linkcode parseArgs} gives: every flag under its name and aliases. */
export type Args =
  // deno-lint-ignore no-explicit-any
  & Record<string, any>
  & {
    /** What belonged to no flag, and everything after `--`. */
    _: Array<string | number>;
  };

/** The options of {@linkcode parseArgs}. */
export interface ParseOptions {
  /** Further names of a flag. A value reaches all of them. */
  alias?: Record<string, string | ReadonlyArray<string>>;
  /** Flags that take no value, `false` when absent. */
  boolean?: string | ReadonlyArray<string>;
  /** Flags that may be repeated; their values are gathered in an array. */
  collect?: string | ReadonlyArray<string>;
  /** Values of flags that are absent. */
  default?: Record<string, unknown>;
  /** Flags whose value stays a string, `""` when it is missing. `_` may be one. */
  string?: string | ReadonlyArray<string>;
  /**
   * Asked about each flag that no other option names, and about each
   * positional (then without `key` and `value`). `false` leaves it out.
   */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/**
 * Reads a command line.
 *
 * A flag's value is attached (`--name=v`, `-n=v`, `-n5`) or follows (`--name v`,
 * `-n v`). What follows is no value when it begins with `-`; a short flag alone
 * takes a lone `-`. `-abc` are three flags, but a number or `=v` at the end is
 * the first one's: `-ab5` gives `a` the value `b5`, `-ab=v` gives it `v`. Values
 * that look like numbers become numbers, save those of `string` flags.
 *
 * @example
 * ```ts
 * import { parseArgs } from "@std/cli/parse-args";
 *
 * const args = parseArgs(["-v", "-p1883", "--topic", "a/b", "hello"], {
 *   alias: { p: "port", v: "verbose" },
 *   boolean: ["verbose"],
 *   string: ["topic"],
 * });
 * console.assert(args.port === 1883 && args.verbose && args.topic === "a/b");
 * console.assert(args._[0] === "hello");
 * ```
 *
 * @param args the command line, without the program's name
 * @param options which flags there are; without any, all are guessed
 * @returns the flags found, the defaults of the others, and the rest under `_`
 */
export function parseArgs(args: string[], options: ParseOptions = {}): Args {
  const names = new Names(options);
  const strings = names.all(options.string);
  const booleans = names.all(options.boolean);
  const collected = names.all(options.collect);
  const unknown = options.unknown ?? (() => true);
  const result: Args = { _: [] };

  function set(key: string, given: string | boolean, arg: string): void {
    const known = strings.has(key) || booleans.has(key) || collected.has(key) ||
      names.has(key);
    if (!known && unknown(arg, key, given) === false) return;
    const value = typeof given === "string" && !strings.has(key)
      ? numeric(given)
      : given;
    for (const name of names.of(key)) {
      if (name === "__proto__") continue; // no property, but the prototype
      if (!collected.has(name)) result[name] = value;
      else if (Array.isArray(result[name])) result[name].push(value);
      else result[name] = [value];
    }
  }

  /** The value of a flag that brought none; true when it is the next argument. */
  function setFromNext(
    key: string,
    arg: string,
    next: string | undefined,
    dashed: RegExp,
  ): boolean {
    if (next && !booleans.has(key) && !dashed.test(next)) {
      set(key, next, arg);
      return true;
    }
    if (next === "true" || next === "false") {
      set(key, next === "true", arg);
      return true;
    }
    set(key, strings.has(key) ? "" : true, arg);
    return false;
  }

  const dashes = args.indexOf("--");
  const end = dashes === -1 ? args.length : dashes;
  for (let i = 0; i < end; i++) {
    const arg = args[i]!;
    const next = i + 1 < end ? args[i + 1] : undefined;
    if (arg === "-" || !arg.startsWith("-")) {
      if (unknown(arg) !== false) {
        result._.push(strings.has("_") ? arg : numeric(arg));
      }
    } else if (arg.startsWith("--")) {
      const equals = arg.indexOf("=", 3); // no name is empty
      if (equals === -1) {
        if (setFromNext(arg.slice(2), arg, next, /^-/)) i++;
      } else {
        const key = arg.slice(2, equals);
        const value = arg.slice(equals + 1);
        set(key, booleans.has(key) ? value !== "false" : value, arg);
      }
    } else {
      const last = splitGroup(arg, (key, value) => {
        set(key, value ?? (strings.has(key) ? "" : true), arg);
      });
      if (last && setFromNext(last, arg, next, /^--?[^-]/)) i++;
    }
  }

  for (const [key, value] of Object.entries(options.default ?? {})) {
    if (Object.hasOwn(result, key)) continue;
    for (const name of names.of(key)) result[name] = value;
  }
  for (const name of booleans) {
    if (!Object.hasOwn(result, name)) {
      result[name] = collected.has(name) ? [] : false;
    }
  }
  for (const name of strings) {
    if (!Object.hasOwn(result, name) && collected.has(name)) result[name] = [];
  }
  result._.push(...args.slice(end + 1));
  return result;
}

/** Which names are names of the same flag. */
class Names {
  readonly #groups = new Map<string, ReadonlyArray<string>>();

  constructor(options: ParseOptions) {
    for (const [key, aliases] of Object.entries(options.alias ?? {})) {
      const group = [key, ...list(aliases)];
      for (const name of group) this.#groups.set(name, group);
    }
  }

  /** Whether `name` has, or is, an alias. */
  has(name: string): boolean {
    return this.#groups.has(name);
  }

  /** All names of the flag `name`. */
  of(name: string): ReadonlyArray<string> {
    return this.#groups.get(name) ?? [name];
  }

  /** All names of all flags in `names`. */
  all(names: string | ReadonlyArray<string> = []): ReadonlySet<string> {
    return new Set(list(names).flatMap((name) => this.of(name)));
  }
}

function list(names: string | ReadonlyArray<string>): ReadonlyArray<string> {
  return typeof names === "string" ? [names] : names;
}

function numeric(text: string): string | number {
  return /\S/.test(text) && Number.isFinite(Number(text)) ? Number(text) : text;
}

/**
 * Takes a group such as `-abc`, `-n5`, `-n=x` or `-x/y` apart. Gives the last
 * flag back where a value may still follow it, and tells `set` of the others.
 */
function splitGroup(
  arg: string,
  set: (key: string, value?: string) => void,
): string | undefined {
  for (let i = 1; i < arg.length - 1; i++) {
    const letter = arg[i]!;
    const rest = arg.slice(i + 1);
    if (rest === "-") {
      set(letter, rest);
      return undefined;
    }
    if (rest === "=") {
      set(letter, "");
      return undefined;
    }
    if (/[a-z]/i.test(letter)) {
      const assigned = rest.indexOf("=");
      if (assigned >= 0 && assigned < rest.length - 1) {
        set(letter, rest.slice(assigned + 1));
        return undefined;
      }
      // A number at the end makes all that comes before it part of the value.
      if (/\d\.?$/.test(rest)) {
        set(letter, rest);
        return undefined;
      }
    }
    if (/\W/.test(rest[0]!) && rest.length > 1) {
      set(letter, rest);
      return undefined;
    }
    set(letter);
  }
  return arg.at(-1);
}
