/**
 * What the publisher does for the classic protocol: publishes what its flags say, or
 * what it is told at a terminal or through a pipe.
 *
 * @module
 */

import { CLASSIC_REPLY } from "../wire/classic.ts";
import { ClassicClient, ClassicRefusedError } from "../classic_client.ts";
import { type Flags, UsageError } from "./program.ts";
import { connectOptionsFrom, lookingFor, startHint } from "./client_flags.ts";
import { LocalProtocolError, NoAnswerError } from "../base/errors.ts";
import type { Interruption } from "../base/interruption.ts";
import {
  ask,
  EXIT,
  EXIT_ANSWER,
  inputLines,
  isInteractive,
  pause,
  print,
  readFile,
  tellWhile,
} from "./terminal.ts";

const TOPIC_PROMPT = "Enter topic to publish or exit_ to terminate";
const DATA_PROMPT = "Enter data to publish";
/**
 * Publishes as the flags say, or asks what and where when they name no topic.
 *
 * @param flags the program's, as `publisher.ts` has them
 * @param interruption ends it early
 * @returns the program's exit code
 * @throws {UsageError} when the flags do not go together
 * @throws {Error} when no broker answers, or when it refuses
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Broker } from "../broker.ts";
 * import { publishClassic } from "./classic_publisher.ts";
 * import { Flags } from "./program.ts";
 * import { BROKER_FLAGS } from "./client_flags.ts";
 * import { Interruption } from "../base/interruption.ts";
 *
 * const program = {
 *   name: "publisher",
 *   summary: "",
 *   examples: [],
 *   flags: [
 *     ...BROKER_FLAGS,
 *     { name: "topic", value: "TOPIC", help: "where to publish" },
 *     { name: "message", value: "TEXT", help: "what to publish" },
 *     { name: "repeat", value: "N", help: "how often" },
 *     { name: "repeat-delay", value: "S", help: "seconds between" },
 *   ],
 * };
 * await using broker = await Broker.listen({ port: 0 });
 * using interruption = new Interruption();
 * const args = [`--port=${broker.port}`, "--topic=weather", "--message=21.5"];
 * const flags = await Flags.parse(program, args);
 * assertEquals(await publishClassic(flags, interruption), 0);
 * assertEquals(broker.stats().published, 1);
 * ```
 */
export async function publishClassic(
  flags: Flags,
  interruption: Interruption,
): Promise<number> {
  const { signal } = interruption;
  const topic = flags.text("topic");
  const sources = ["message", "file", "stdin-line", "stdin-file"].filter(
    (name) => flags.isGiven(name),
  );
  if (sources.length > 1) {
    throw new UsageError(
      `Flags "--${sources[0]}" and "--${sources[1]}" exclude each other`,
    );
  }
  if (topic === undefined && sources.length > 0) {
    throw new UsageError(`Flag "--${sources[0]}" needs a topic: -t TOPIC`);
  }
  if (topic !== undefined && sources.length === 0) {
    throw new UsageError("Nothing to publish: give -m TEXT, -f FILE, -l or -s");
  }
  const repeat = flags.integer("repeat", 1, 1_000_000_000) ?? 1;
  const delayMs = flags.secondsAsMs("repeat-delay", 0) ?? 0;

  await using publisher = await ClassicClient.connect(
    await connectOptionsFrom(flags),
  );
  try {
    if (topic === undefined) {
      return isInteractive()
        ? await askAndPublish(publisher, interruption)
        : await readAndPublish(publisher, signal);
    }
    if (sources[0] === "stdin-line") {
      for await (const line of inputLines()) {
        if (line.trim() !== "") {
          await publisher.publish(topic, line, { signal });
        }
      }
      return EXIT.done;
    }
    const data = await dataFrom(flags);
    for (let i = 0; i < repeat; i++) {
      if (i > 0 && delayMs > 0) await pause(delayMs, signal);
      await publisher.publish(topic, data, { signal });
    }
    return EXIT.done;
  } catch (error) {
    if (!(error instanceof NoAnswerError)) throw error;
    throw new Error(startHint(error), { cause: error });
  }
}

/** At a terminal: asks for one topic and datum after the other. */
async function askAndPublish(
  publisher: ClassicClient,
  interruption: Interruption,
): Promise<number> {
  const { signal } = interruption;
  const isThere = await tellWhile(
    lookingFor(publisher.broker),
    publisher.ping({ signal }),
  );
  if (!isThere) throw publisher.noAnswer();
  const used = new Set<string>();
  while (true) {
    const topic = await ask(TOPIC_PROMPT, interruption, {
      suggestions: [...used].reverse(),
    });
    if (topic === undefined || topic.trim() === EXIT_ANSWER) break;
    const data = await ask(DATA_PROMPT, interruption);
    if (data === undefined) break;
    const answer = await publishOnce(publisher, topic, data, signal);
    if (answer === CLASSIC_REPLY.accepted) {
      // Taken out and put in again, it is the latest.
      used.delete(topic.trim());
      used.add(topic.trim());
    }
    print(`${answer}\n`);
  }
  return signal.aborted ? EXIT.interrupted : EXIT.done;
}

/** From a pipe: reads a topic and a datum by turns, as the first program did. */
async function readAndPublish(
  publisher: ClassicClient,
  signal: AbortSignal,
): Promise<number> {
  const lines = inputLines();
  const next = async (prompt: string): Promise<string | undefined> => {
    print(`${prompt} : `);
    return (await lines.next()).value;
  };
  let asked = 0;
  let answered = 0;
  for (let topic; (topic = await next(TOPIC_PROMPT)) !== undefined;) {
    if (topic === EXIT_ANSWER) break;
    const data = await next(DATA_PROMPT);
    if (data === undefined) break;
    asked++;
    const answer = await publishOnce(publisher, topic, data, signal);
    if (answer !== NO_ANSWER) answered++;
    print(`${answer}\n`);
  }
  if (asked > 0 && answered === 0) throw publisher.noAnswer();
  return EXIT.done;
}

/** What the first publisher said when the broker was silent. */
const NO_ANSWER = "Broker is taking too much time for reply";

/** Publishes, and tells what came of it in a line. */
async function publishOnce(
  publisher: ClassicClient,
  topic: string,
  data: string,
  signal: AbortSignal,
): Promise<string> {
  try {
    await publisher.publish(topic, data, { signal });
    return CLASSIC_REPLY.accepted;
  } catch (error) {
    if (error instanceof NoAnswerError) return NO_ANSWER;
    if (
      error instanceof ClassicRefusedError ||
      error instanceof LocalProtocolError
    ) {
      return error.message;
    }
    throw error;
  }
}

async function dataFrom(flags: Flags): Promise<string> {
  const message = flags.text("message");
  if (message !== undefined) return message;
  const file = flags.text("file");
  const bytes = file === undefined
    ? new Uint8Array(await new Response(Deno.stdin.readable).arrayBuffer())
    : await readFile(file);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new Error(
      `Cannot publish ${
        file ?? "standard input"
      }: the classic protocol carries text, and it is no UTF-8`,
      { cause },
    );
  }
}
