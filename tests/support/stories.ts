/**
 * Stories that are told by seed, and what they have in common: how many are told,
 * how one that breaks is told again, and MQTT's matching, written down once more.
 *
 * @module
 */

import { AssertionError } from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import type { Device } from "../../client/device.ts";

/** A story: everything in it depends on its seed alone. */
export interface Story {
  /** The conversation so far, a line for each datagram, if it is traced. */
  readonly lines: readonly string[];
  /** What tells how it was told from how others were, or would have been. */
  readonly digest: string;
  /** Tells it; throws at the first promise that is not kept. */
  tell(): void;
}

/** Which stories are told. */
export interface StoriesOptions {
  /** The test's file, to name it in the line that repeats a seed. */
  readonly file: string;
  /** What holds in each of them, as the test's name begins. */
  readonly name: string;
  /** How many are told unless `--seeds` says so. */
  readonly seeds: number;
  /** Makes one, traced or not. */
  readonly begin: (seed: number, trace: boolean) => Story;
}

const BLOCKS = 10;

/** So many failing seeds say enough about a block. */
const ENOUGH = 3;

/** Makes a test of each block of stories, or of the one that `--seed` names. */
export function testStories(options: StoriesOptions): void {
  const { name, begin } = options;
  const flags = parseArgs(Deno.args, { string: ["seed", "seeds"] });
  const only = flags.seed;
  if (only !== undefined) {
    Deno.test(`${name} in the story of seed ${only}`, () => {
      const story = begin(Number(only), true);
      try {
        story.tell();
      } finally {
        // deno-lint-ignore no-console -- a seed run alone prints its conversation
        console.log(story.lines.join("\n"));
      }
    });
    return;
  }
  const seeds = Number(flags.seeds ?? options.seeds);
  const size = Math.ceil(seeds / BLOCKS);
  for (let first = 1; first <= seeds; first += size) {
    const last = Math.min(first + size - 1, seeds);
    Deno.test(`${name} in stories ${first} to ${last}`, () => {
      const troubles: string[] = [];
      for (let seed = first; seed <= last; seed++) {
        const line = trouble(options, seed);
        if (line !== undefined) troubles.push(line);
        if (troubles.length === ENOUGH) break;
      }
      if (troubles.length > 0) fail(`\n${troubles.join("\n")}`);
    });
  }
}

/** The line that repeats a seed, and why one would; nothing when all is well. */
function trouble(
  { file, begin }: StoriesOptions,
  seed: number,
): string | undefined {
  const why = troubleIn(begin, seed);
  return why && `deno test -A ${file} -- --seed ${seed}  # ${why}`;
}

/** As often one story is told twice, to see whether it comes to the same. */
const TWICE = 10;

/** Which promise is not kept in a seed's story, `undefined` when all are. */
export function troubleIn(
  begin: StoriesOptions["begin"],
  seed: number,
): string | undefined {
  const story = begin(seed, false);
  const why = troubleOf(story);
  if (why !== undefined || seed % TWICE !== 0) return why;
  const again = begin(seed, false);
  const isSame = troubleOf(again) === undefined &&
    again.digest === story.digest;
  return isSame ? undefined : "it is not told the same twice";
}

/** Tells a story: which promise was not kept in it, `undefined` when all were. */
export function troubleOf(story: Story): string | undefined {
  try {
    story.tell();
    return undefined;
  } catch (error) {
    return error instanceof AssertionError ? error.message : `${error}`;
  }
}

/** Ends a story that does not go as it should. */
export function fail(why: string): never {
  throw new AssertionError(why);
}

/** Whether a device does something, or is to be connected and is not. */
export function isBusy(device: Device, isWanted: boolean): boolean {
  switch (device.state) {
    case "searching":
    case "connecting":
    case "lost":
      return isWanted;
    case "awake":
      return device.pending > 1; // who wakes by itself has that pending
    default:
      return device.pending > 0;
  }
}

const decoder = new TextDecoder();

/** Octets as text. */
export function textOf(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

const patterns = new Map<string, RegExp>();

/** MQTT's matching, once more and plainly: the router's own is under test. */
export function matches(topicFilter: string, topicName: string): boolean {
  let pattern = patterns.get(topicFilter);
  if (pattern === undefined) {
    const text = topicFilter
      .replace(/\/#$/, "(/.*)?")
      .replace(/^#$/, ".*")
      .replaceAll("+", "[^/]*");
    patterns.set(topicFilter, pattern = new RegExp(`^${text}$`));
  }
  return pattern.test(topicName);
}
