/**
 * The publisher: the program that publishs, with its flags.
 *
 * ```sh
 * deno run -A publisher.ts --help
 * ```
 *
 * @module
 */

import { BROKER_FLAGS, type Flags, type Program, run } from "./cli.ts";
import type { Interruption } from "./template.ts";

const PROGRAM: Program = {
  name: "publisher",
  summary: "Publishes to a topic, or asks what and where when none is given.",
  examples: [
    ["publisher", "ask for topic and data; from a pipe, read them as lines"],
    ["publisher -t weather -m 21.5", "publish once"],
    ["sensor | publisher -t weather -l", "publish each line as it comes"],
  ],
  flags: [
    ...BROKER_FLAGS,
    { name: "topic", short: "t", value: "TOPIC", help: "where to publish" },
    { name: "message", short: "m", value: "TEXT", help: "what to publish" },
    {
      name: "file",
      short: "f",
      value: "FILE",
      help: "publish what a file holds, as one datum",
    },
    {
      name: "stdin-line",
      short: "l",
      help: "publish each line of standard input that is not blank",
    },
    {
      name: "stdin-file",
      short: "s",
      help: "publish all of standard input, as one datum",
    },
    {
      name: "repeat",
      value: "N",
      usual: "1",
      help: "publish the message or file N times",
    },
    {
      name: "repeat-delay",
      value: "S",
      usual: "0",
      help: "seconds between the times",
    },
  ],
};

async function main(flags: Flags, interruption: Interruption): Promise<number> {
  // Only here: a program loads no protocol but the one that it speaks.
  const { publishClassic } = await import("./classic_publisher.ts");
  return await publishClassic(flags, interruption);
}

if (import.meta.main) await run(PROGRAM, main);
