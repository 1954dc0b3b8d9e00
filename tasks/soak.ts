/**
 * `deno task soak` tells as many stories as there is time for, a night's worth by
 * default: of devices and brokers on bad networks, of brokers that crash with a
 * slow store, of hardships, of crowds. What is promised in each is in its file
 * under `tests/support`. A story in which a promise is not kept says so in the line
 * that tells it again; the run goes on.
 *
 * ```sh
 * deno task soak --seeds 10000
 * deno task soak --story hardship --seed 17
 * ```
 *
 * @module
 */

import { type Flags, type Program, run } from "../cli/program.ts";
import { EXIT, pause, print, Progress } from "../cli/terminal.ts";
import type { Interruption } from "../base/interruption.ts";
import { CrowdStory } from "../tests/support/crowd_story.ts";
import { DurabilityStory } from "../tests/support/durability_story.ts";
import { PairStory } from "../tests/support/pair_story.ts";
import {
  type StoriesOptions,
  troubleIn,
  troubleOf,
} from "../tests/support/stories.ts";

type Begin = StoriesOptions["begin"];

/** The stories there are, each by its name. */
const STORIES = {
  pair: (seed, trace) => new PairStory(seed, trace),
  crash: (seed, trace) => new DurabilityStory(seed, trace),
  hardship: (seed, trace) => new DurabilityStory(seed, trace, true),
  crowd: (seed, trace) => new CrowdStory(seed, trace),
} as const satisfies Record<string, Begin>;

type Name = keyof typeof STORIES;

const NAMES = Object.keys(STORIES) as Name[];

/** The last seed that there is. */
const MAX_SEED = 2 ** 31;

const PROGRAM: Program = {
  name: "soak",
  summary:
    "Tells stories of bad networks, crashes and crowds, and says which promise was not kept.",
  examples: [
    ["soak", "10,000 seeds of each story"],
    ["soak --seeds 100", "a quick look"],
    ["soak --story hardship --seed 17", "one again, with its conversation"],
  ],
  flags: [
    {
      name: "seeds",
      value: "N",
      usual: "10000",
      help: "how many of each story",
    },
    { name: "first", value: "N", usual: "1", help: "the first seed" },
    {
      name: "story",
      value: "NAME",
      help: `one of ${NAMES.join(", ")}; all unless given`,
    },
    {
      name: "seed",
      value: "N",
      help: "tell this one alone, and print its conversation",
    },
  ],
};

async function main(flags: Flags, interruption: Interruption): Promise<number> {
  const story = flags.choice("story", NAMES);
  const names = story === undefined ? NAMES : [story];
  const only = flags.integer("seed", 0, MAX_SEED);
  if (only !== undefined) return tellAlone(names, only);
  const first = flags.integer("first", 0, MAX_SEED) ?? 1;
  const seeds = flags.integer("seeds", 1, MAX_SEED) ?? 10_000;
  let told = 0;
  let broken = 0;
  {
    using progress = new Progress("stories", seeds * names.length);
    for (let seed = first; seed < first + seeds; seed++) {
      for (const name of names) {
        const why = troubleIn(STORIES[name], seed);
        told++;
        progress.tick();
        if (why === undefined) continue;
        broken++;
        print(`deno task soak --story ${name} --seed ${seed}  # ${why}\n`);
      }
      await pause(0, interruption.signal);
      if (interruption.signal.aborted) break;
    }
  }
  print(`${told} stories told, ${broken} in which a promise was not kept\n`);
  if (interruption.signal.aborted) return EXIT.interrupted;
  return broken > 0 ? EXIT.failed : EXIT.done;
}

/** Tells a seed's story with its conversation. */
function tellAlone(names: readonly Name[], seed: number): number {
  let code: number = EXIT.done;
  for (const name of names) {
    const story = STORIES[name](seed, true);
    const why = troubleOf(story);
    print(`${story.lines.join("\n")}\n`);
    print(`${name}, seed ${seed}: ${why ?? "every promise was kept"}\n`);
    if (why !== undefined) code = EXIT.failed;
  }
  return code;
}

if (import.meta.main) await run(PROGRAM, main);
