/**
 * Devices and routers over a bad network, in virtual time: each seed is one story
 * (`support/pair_story.ts`).
 *
 * - `deno test -A tests/stories/pair_test.ts -- --seeds 10000` tells more stories.
 * - `deno test -A tests/stories/pair_test.ts -- --seed 17` tells one, and prints it.
 *
 * @module
 */

import { PairStory } from "../support/pair_story.ts";
import { testStories } from "../support/stories.ts";

testStories({
  file: "tests/stories/pair_test.ts",
  name: "Devices and routers keep their promises",
  seeds: 1_000,
  begin: (seed, trace) => new PairStory(seed, trace),
});
