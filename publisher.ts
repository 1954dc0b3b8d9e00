/**
 * The publisher: a client that publishes, and the program that runs one.
 *
 * ```sh
 * deno run -A publisher.ts --help
 * ```
 *
 * @module
 */

import { CLASSIC_REPLY } from "./classic.ts";
import {
  BROKER_FLAGS,
  clientOptionsFrom,
  type Flags,
  type Program,
  run,
  startHint,
  UsageError,
} from "./cli.ts";
import {
  Client,
  type ClientOptions,
  NoAnswerError,
  RefusedError,
  type RequestOptions,
} from "./client.ts";
import { LocalProtocolError } from "./message.ts";
import type { Interruption } from "./template.ts";
import {
  ask,
  EXIT,
  inputLines,
  isInteractive,
  pause,
  print,
  tellWhile,
} from "./terminal.ts";

/**
 * A client that publishes.
 *
 * @example
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { Broker } from "./broker.ts";
 * import { RefusedError } from "./client.ts";
 * import { Publisher } from "./publisher.ts";
 *
 * await using broker = await Broker.listen({ port: 0 });
 * await using publisher = await Publisher.connect({ port: broker.port });
 * await publisher.publish("weather", "21.5");
 * await assertRejects(() => publisher.publish("weather", ""), RefusedError);
 * ```
 */
export class Publisher extends Client {
  /**
   * Makes a publisher. Nothing is sent yet.
   *
   * @throws {RangeError} when the port or the timeout is out of range
   * @throws {Error} when the name is unknown or no socket can be opened
   */
  static override async connect(
    options: ClientOptions = {},
  ): Promise<Publisher> {
    return new Publisher(await Client.setUp(options));
  }

  /**
   * Publishes a datum. It may have arrived even when no answer did, so think
   * before you publish it again.
   *
   * @param topic where to; white space around it does not count
   * @param data what; not blank
   * @returns a promise that resolves when the broker has acknowledged it
   * @throws {RefusedError} when the broker refuses: topic or data blank
   * @throws {NoAnswerError} when it does not answer in time
   * @throws {LocalProtocolError} when it does not fit a datagram
   */
  async publish(
    topic: string,
    data: string,
    options: RequestOptions = {},
  ): Promise<void> {
    await this.request(
      (device, now) => device.publish(now, topic, data),
      options,
    );
  }
}

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

const TOPIC_PROMPT = "Enter topic to publish or exit_ to terminate";
const DATA_PROMPT = "Enter data to publish";
const EXIT_TOPIC = "exit_";

async function main(flags: Flags, interruption: Interruption): Promise<number> {
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

  await using publisher = await Publisher.connect(clientOptionsFrom(flags));
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
  publisher: Publisher,
  interruption: Interruption,
): Promise<number> {
  const { signal } = interruption;
  const isThere = await tellWhile(
    `Looking for a broker at ${publisher.broker.key}`,
    publisher.ping({ signal }),
  );
  if (!isThere) throw publisher.noAnswer();
  const used = new Set<string>();
  while (true) {
    const topic = await ask(TOPIC_PROMPT, interruption, {
      suggestions: [...used].reverse(),
    });
    if (topic === undefined || topic.trim() === EXIT_TOPIC) break;
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
  publisher: Publisher,
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
    if (topic === EXIT_TOPIC) break;
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
  publisher: Publisher,
  topic: string,
  data: string,
  signal: AbortSignal,
): Promise<string> {
  try {
    await publisher.publish(topic, data, { signal });
    return CLASSIC_REPLY.accepted;
  } catch (error) {
    if (error instanceof NoAnswerError) return NO_ANSWER;
    if (error instanceof RefusedError || error instanceof LocalProtocolError) {
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

async function readFile(file: string): Promise<Uint8Array> {
  try {
    return await Deno.readFile(file);
  } catch (cause) {
    const reason = cause instanceof Deno.errors.NotFound
      ? "there is no such file"
      : cause instanceof Deno.errors.IsADirectory
      ? "it is a directory"
      : (cause as Error).message;
    throw new Error(`Cannot read "${file}": ${reason}`, { cause });
  }
}

if (import.meta.main) await run(PROGRAM, main);
