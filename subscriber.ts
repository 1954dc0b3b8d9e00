/**
 * The subscriber: the program that subscribes, with its flags.
 *
 * ```sh
 * deno run -A subscriber.ts --help
 * ```
 *
 * @module
 */

import { BROKER_FLAGS, type Flags, type Program, run } from "./cli.ts";
import type { Interruption } from "./template.ts";

const PROGRAM: Program = {
  name: "subscriber",
  summary:
    "Prints what is published to a topic, or asks which when none is given.",
  examples: [
    ["subscriber", "ask for a topic; from a pipe, read topics as lines"],
    ["subscriber -t weather", "print the topic's history, or wait for it"],
    [
      "subscriber -t a -t b -v",
      "print two topics as they come, with their names",
    ],
  ],
  flags: [
    ...BROKER_FLAGS,
    {
      name: "topic",
      short: "t",
      value: "TOPIC",
      many: true,
      help: "what to subscribe to",
    },
    {
      short: "C",
      name: "count",
      value: "N",
      usual: "one for each topic",
      help: "end after N histories",
    },
    {
      short: "W",
      name: "wait",
      value: "S",
      help: "give up after S seconds, with exit code 27",
    },
    {
      name: "verbose",
      short: "v",
      help: "print the topic before each line",
    },
    {
      name: "no-newline",
      short: "N",
      help: "print no line end behind a history",
    },
  ],
};

async function main(flags: Flags, interruption: Interruption): Promise<number> {
  // Only here: a program loads no protocol but the one that it speaks.
  const { subscribeClassic } = await import("./classic_subscriber.ts");
  return await subscribeClassic(flags, interruption);
}

if (import.meta.main) await run(PROGRAM, main);
